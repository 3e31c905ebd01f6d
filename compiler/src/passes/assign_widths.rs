//! Where extensions go. Three rules, each exact:
//!
//! 1. An extension behind local operations that provably do not wrap moves in front of them, where
//!    the sign is more often known: `extend(sum_pool(extend(x)))` becomes `sum_pool(extend(x))`.
//! 2. The input needs no extension: the client shares it in whatever ring its readers want.
//! 3. A value is extended once, to the widest ring that a reader wants; narrower readers truncate,
//!    which is local.

use std::collections::HashMap;

use fusion_ir::{Op, TensorType, ValueId};

use super::widths::{can_set_width, set_width, unwrapped_magnitude};
use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    let users = program.function.users();
    while hoist(program, &users) {}
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
        if unwrapped_magnitude(&program.function, x).is_none() || !can_set_width(program, users, x, bits) {
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
    let readers = function.users()[0].clone();
    let extensions = readers.iter().filter(|reader| function.value(**reader).op == Op::Extend);
    let Some(bits) = extensions.map(|reader| function.value(*reader).ty.bits).max() else { return };
    if readers.iter().any(|reader| function.value(*reader).op != Op::Extend) {
        return;
    }
    function.values[0].ty.bits = bits;
    for reader in readers {
        let value = &mut function.values[reader.index()];
        value.op = if value.ty.bits == bits { Op::Reshape } else { Op::Truncate };
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
            let truncated = TensorType { sign: fusion_ir::Sign::Any, ..value.ty };
            *rings
                .entry((source, bits))
                .or_insert_with(|| function.push(Op::Truncate, vec![extended], truncated, value.node.clone()))
        });
    }
}
