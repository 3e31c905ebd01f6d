//! Where extensions go. Four rules, each exact:
//!
//! 1. An extension behind local operations that provably do not wrap moves in front of them, where
//!    the sign is more often known: `extend(sum_pool(extend(x)))` becomes `sum_pool(extend(x))`.
//! 2. Equal values are one, so what reads them reads one.
//! 3. The input needs no extension: the client shares it in whatever ring its readers want, however
//!    its elements are moved before they are read; what wants a narrower ring truncates.
//! 4. A value is extended once, to the widest ring that a reader wants; narrower readers truncate,
//!    which is local.

use std::collections::HashMap;

use fusion_ir::verify::sign_is_proven;
use fusion_ir::{Op, Sign, TensorType, ValueId};

use super::widths::{can_set_width, never_wraps, set_width};
use super::{Program, Settings, dead_code, equal_values};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    let users = program.function.users();
    while hoist(program, &users) {}
    equal_values::merge(program);
    dead_code::remove(program);
    widen_input(program);
    share(program);
}

/// Goes through all extensions once; whether one has moved.
fn hoist(program: &mut Program, users: &[Vec<ValueId>]) -> bool {
    let mut moved = false;
    for index in 0..program.function.values.len() {
        let value = &program.function.values[index];
        if value.op != Op::Extend {
            continue;
        }
        let (x, bits) = (value.operands[0], value.ty.bits);
        if !never_wraps(&program.function, x) || !can_set_width(program, users, x, bits) {
            continue;
        }
        set_width(&mut program.function, x, bits);
        // A reshape to the same shape stands in for the extension, so readers stay; shapes are
        // tidied later.
        let ty = program.function.value(x).ty.clone();
        let value = &mut program.function.values[index];
        (value.op, value.ty) = (Op::Reshape, ty);
        moved = true;
    }
    moved
}

fn widen_input(program: &mut Program) {
    let function = &mut program.function;
    let Some(narrow) = function.values.first().map(|input| input.ty.bits) else { return };
    // The input and what it is moved to.
    let mut given = vec![false; function.values.len()];
    let mut wide = narrow;
    for (id, value) in function.iter() {
        let reads_given = value.operands.first().is_some_and(|x| given[x.index()]);
        let moves = matches!(value.op, Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Pad { .. });
        given[id.index()] = id == ValueId(0) || moves && reads_given;
        if value.op == Op::Extend && reads_given {
            wide = wide.max(value.ty.bits);
        }
    }
    if wide == narrow || given.last() == Some(&true) {
        return;
    }
    let old = std::mem::take(&mut function.values);
    let mut renamed: Vec<ValueId> = Vec::with_capacity(old.len());
    let mut truncated: HashMap<ValueId, ValueId> = HashMap::new();
    for (index, mut value) in old.into_iter().enumerate() {
        let reads = value.operands.clone();
        value.operands.iter_mut().for_each(|operand| *operand = renamed[operand.index()]);
        if given[index] {
            value.ty.bits = wide;
        } else if value.op == Op::Extend && given[reads[0].index()] {
            value.op = if value.ty.bits == wide { Op::Reshape } else { Op::Truncate };
        } else {
            for (operand, _) in value.operands.iter_mut().zip(&reads).filter(|(_, read)| given[read.index()]) {
                let ty = TensorType { bits: narrow, ..function.value(*operand).ty.clone() };
                let truncate = || function.push(Op::Truncate, vec![*operand], ty, value.node.clone());
                *operand = *truncated.entry(*operand).or_insert_with(truncate);
            }
        }
        function.values.push(value);
        renamed.push(ValueId(function.values.len() as u32 - 1));
    }
}

fn share(program: &mut Program) {
    let mut widest: HashMap<ValueId, u8> = HashMap::new();
    for value in program.function.values.iter().filter(|value| value.op == Op::Extend) {
        let bits = widest.entry(value.operands[0]).or_default();
        *bits = value.ty.bits.max(*bits);
    }
    let old = std::mem::take(&mut program.function.values);
    let mut renamed: Vec<ValueId> = Vec::with_capacity(old.len());
    let mut rings: HashMap<(ValueId, u8), ValueId> = HashMap::new();
    let function = &mut program.function;
    for mut value in old {
        let source = value.operands.first().copied();
        value.operands.iter_mut().for_each(|operand| *operand = renamed[operand.index()]);
        // What is truncated has no proven sign any more.
        let types: Vec<&TensorType> = value.operands.iter().map(|operand| &function.value(*operand).ty).collect();
        if !sign_is_proven(&value.op, &types, &value.ty) {
            value.ty.sign = Sign::Any;
        }
        let Some(source) = source.filter(|_| value.op == Op::Extend) else {
            function.values.push(value);
            renamed.push(ValueId(function.values.len() as u32 - 1));
            continue;
        };
        let (wide, bits) = (widest[&source], value.ty.bits);
        let ty = TensorType { bits: wide, ..value.ty.clone() };
        let extended = *rings
            .entry((source, wide))
            .or_insert_with(|| function.push(Op::Extend, value.operands.clone(), ty, value.node.clone()));
        renamed.push(if bits == wide {
            extended
        } else {
            let truncated = TensorType { sign: Sign::Any, ..value.ty };
            *rings
                .entry((source, bits))
                .or_insert_with(|| function.push(Op::Truncate, vec![extended], truncated, value.node.clone()))
        });
    }
}
