//! Values that are the same operation on the same operands become one.

use std::collections::HashMap;

use fusion_ir::{Op, TensorType, ValueId};

use super::Program;

/// Lets the first of equal values stand for all, which nothing reads then. The last value stays.
pub(super) fn merge(program: &mut Program) {
    let function = &mut program.function;
    let last = function.values.len().saturating_sub(1);
    let mut first: HashMap<(String, Vec<ValueId>, TensorType), ValueId> = HashMap::new();
    let mut stand_in: Vec<ValueId> = Vec::with_capacity(function.values.len());
    for (index, value) in function.values.iter_mut().enumerate() {
        value.operands.iter_mut().for_each(|operand| *operand = stand_in[operand.index()]);
        let id = ValueId(index as u32);
        // A weight belongs to one operation, so what has weights has no equal.
        let unique = index == last || value.op.weights().next().is_some() || is_large(&value.op);
        let key = || (format!("{:?}", value.op), value.operands.clone(), value.ty.clone());
        stand_in.push(if unique { id } else { *first.entry(key()).or_insert(id) });
    }
}

/// What a function has one of, and whose description is long.
fn is_large(op: &Op) -> bool {
    matches!(op, Op::Input(_) | Op::Mix(_) | Op::Paths(_) | Op::Reveal(_) | Op::Check)
}
