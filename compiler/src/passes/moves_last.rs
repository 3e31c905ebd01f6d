//! Extensions and requantisations come before the moves and repetitions of what they read:
//! `extend(transpose(x))` becomes `transpose(extend(x))`. So they meet what makes `x`, one
//! extension serves all that read `x` in some order, and of what is repeated only one copy is
//! extended, as the maximum of a softmax's row is. Of a value that is cut into parts most of which
//! are extended, all is extended at once, as the gates of a recurrent layer are. A change of sign
//! moves behind an extension, too: only the ring's lowest number, which no format claims to hold,
//! becomes another one by that.

use std::collections::HashSet;

use fusion_ir::{Function, Op, Sign, TensorType, Value, ValueId};

use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    let cut = parts(&program.function);
    let function = &mut program.function;
    let old = std::mem::take(&mut function.values);
    let mut renamed: Vec<ValueId> = Vec::with_capacity(old.len());
    let mut parts = HashSet::new();
    for (index, mut value) in old.into_iter().enumerate() {
        value.operands.iter_mut().for_each(|operand| *operand = renamed[operand.index()]);
        if matches!(value.op, Op::Extend | Op::Requant { .. }) {
            renamed.push(moved(function, &parts, value));
        } else {
            function.values.push(value);
            renamed.push(ValueId(function.values.len() as u32 - 1));
        }
        if cut.contains(&ValueId(index as u32)) {
            parts.insert(renamed[index]);
        }
    }
}

/// The slices of values whose extended parts have three quarters of their elements or more; of each
/// of these parts nothing but extensions is read.
fn parts(function: &Function) -> HashSet<ValueId> {
    let users = function.users();
    let mut extended = vec![false; users.len()];
    for (id, _) in function.iter().collect::<Vec<_>>().into_iter().rev() {
        let passes = |user: &ValueId| match function.value(*user).op {
            Op::Extend => true,
            Op::Reshape | Op::Transpose { .. } | Op::Scale { factor: 1 } => extended[user.index()],
            _ => false,
        };
        extended[id.index()] = !users[id.index()].is_empty() && users[id.index()].iter().all(passes);
    }
    let is_part = |id: &&ValueId| extended[id.index()] && matches!(function.value(**id).op, Op::Slice { .. });
    let mut found = HashSet::new();
    for (id, value) in function.iter() {
        let parts: HashSet<ValueId> = users[id.index()].iter().filter(is_part).copied().collect();
        let elements: usize = parts.iter().map(|part| function.value(*part).ty.len()).sum();
        if parts.len() > 1 && 4 * elements >= 3 * value.ty.len() {
            found.extend(parts);
        }
    }
    found
}

/// Appends `value`, on what its operand is made of by moves, and the moves; what is one of `parts`
/// is a move for an extension.
fn moved(function: &mut Function, parts: &HashSet<ValueId>, value: Value) -> ValueId {
    let mut moves = Vec::new();
    let mut root = value.operands[0];
    while passes(&value.op, function.value(root)) || value.op == Op::Extend && parts.contains(&root) {
        moves.push(root);
        root = function.value(root).operands[0];
    }
    let (from, ty) = (function.value(root).ty.clone(), value.ty);
    let lost = function.value(value.operands[0]).ty.frac - ty.frac;
    let sign = if value.op == Op::Extend { from.sign } else { Sign::Any };
    let first = TensorType { shape: from.shape, frac: from.frac - lost, sign, ..ty };
    let mut at = function.push(value.op, vec![root], first, value.node);
    for id in moves.into_iter().rev() {
        let Value { op, operands, ty: old, node, .. } = function.value(id).clone();
        let sign = if matches!(op, Op::Scale { .. }) { Sign::Any } else { function.value(at).ty.sign };
        let ty = TensorType { shape: old.shape, bits: ty.bits, frac: old.frac - lost, magnitude: ty.magnitude, sign };
        at = function.push(op, vec![at; operands.len()], ty, node);
    }
    at
}

/// Whether `op` may be applied before `value` instead of after it.
fn passes(op: &Op, value: &Value) -> bool {
    match &value.op {
        Op::Reshape | Op::Transpose { .. } => true,
        Op::Concat { .. } => value.operands.iter().all(|operand| *operand == value.operands[0]),
        // Half of a unit is rounded up, of a negative number down.
        Op::Scale { factor: -1 } => *op == Op::Extend,
        Op::Scale { factor: 1 } => true,
        _ => false,
    }
}
