//! `extend(requant(x))` becomes one requantisation to the wider ring, where that is quicker: one
//! comparison tree gives both the carry out of the dropped bits and the wrap. Other readers of the
//! narrow value truncate, which is local.

use std::collections::HashMap;

use fusion_ir::{Op, Sign, TensorType, Value, ValueId};

use super::weigh::Weigh;
use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, settings: &Settings) {
    let function = &mut program.function;
    // The widest ring to which each requantisation is extended.
    let mut widest: HashMap<ValueId, u8> = HashMap::new();
    for value in function.values.iter().filter(|value| value.op == Op::Extend) {
        let x = value.operands[0];
        let Op::Requant { shift } = function.value(x).op else { continue };
        // A high bit that is lost is no part of what is extended.
        let whole = function.value(function.value(x).operands[0]).ty.bits - shift;
        if function.value(x).ty.bits >= whole {
            let bits = widest.entry(x).or_default();
            *bits = value.ty.bits.max(*bits);
        }
    }
    if widest.is_empty() {
        return;
    }
    let mut weigh = Weigh::new(function, &settings.target);
    widest.retain(|id, bits| {
        let value = function.value(*id);
        let x = &function.value(value.operands[0]).ty;
        let wide = TensorType { bits: *bits, ..value.ty.clone() };
        let requant = weigh.seconds(function, &value.op, x, &value.ty);
        let extend = weigh.seconds(function, &Op::Extend, &value.ty, &wide);
        weigh.seconds(function, &value.op, x, &wide) < requant + extend
    });
    if widest.is_empty() {
        return;
    }
    let old = std::mem::take(&mut function.values);
    let users = {
        let mut users = vec![false; old.len()];
        for value in old.iter().filter(|value| value.op != Op::Extend) {
            value.operands.iter().for_each(|operand| users[operand.index()] = true);
        }
        users
    };
    let mut renamed: Vec<ValueId> = Vec::with_capacity(old.len());
    // The wide value of each that is fused, and what it is in narrower rings.
    let mut rings: HashMap<(ValueId, u8), ValueId> = HashMap::new();
    for (index, mut value) in old.into_iter().enumerate() {
        let (id, source) = (ValueId(index as u32), value.operands.first().copied());
        let fused = source.filter(|source| value.op == Op::Extend && widest.contains_key(source));
        if let Some(source) = fused {
            let wide = rings[&(source, widest[&source])];
            let bits = value.ty.bits;
            renamed.push(*rings.entry((source, bits)).or_insert_with(|| {
                let ty = TensorType { sign: Sign::Any, ..value.ty };
                function.push(Op::Truncate, vec![wide], ty, value.node)
            }));
            continue;
        }
        value.operands.iter_mut().for_each(|operand| *operand = renamed[operand.index()]);
        let Some(wide) = widest.get(&id) else {
            function.values.push(value);
            renamed.push(ValueId(function.values.len() as u32 - 1));
            continue;
        };
        let narrow = value.ty.clone();
        let node = value.node.clone();
        value.ty.bits = *wide;
        function.values.push(value);
        let at = ValueId(function.values.len() as u32 - 1);
        rings.insert((id, *wide), at);
        renamed.push(if users[index] { function.push(Op::Truncate, vec![at], narrow, node) } else { at });
    }
    // The last value stays the last.
    if let Some(at) = renamed.last().filter(|at| at.index() + 1 != function.values.len()) {
        let Value { ty, node, .. } = function.value(*at).clone();
        function.push(Op::Reshape, vec![*at], ty, node);
    }
}
