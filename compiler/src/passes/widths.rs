//! Changing the ring of a value and of what feeds it, shared by the passes that do.

use fusion_ir::types::{signed, wrap};
use fusion_ir::{Function, Op, TensorType, ValueId};

use super::Program;

/// Operations whose result in a wider ring follows from operands in the wider ring.
fn follows(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::Dense { .. }
            | Op::ShiftLeft { .. }
            | Op::Scale { .. }
            | Op::Offset { .. }
            | Op::Bias { .. }
            | Op::Add
            | Op::Mul
            | Op::SumPool(_)
            | Op::Concat { .. }
            | Op::Pad { .. }
            | Op::Slice { .. }
            | Op::Transpose { .. }
            | Op::Reshape
    )
}

/// Whether [`set_width`] can give `id` the width `bits`: everything up to the extensions that feed
/// it has one reader.
pub(super) fn can_set_width(program: &Program, users: &[Vec<ValueId>], id: ValueId, bits: u8) -> bool {
    let value = program.function.value(id);
    let sole = users[id.index()].len() <= 1;
    match &value.op {
        _ if value.ty.magnitude >= bits || !sole => false,
        Op::Extend => program.function.value(value.operands[0]).ty.bits < bits,
        op if follows(op) => {
            let fits = |b: &i64| *b == signed(wrap(*b, bits), bits);
            let bias_fits = op.bias().iter().all(|bias| program.weights.get(*bias).iter().all(fits));
            bias_fits && value.operands.iter().all(|operand| can_set_width(program, users, *operand, bits))
        }
        _ => false,
    }
}

/// Gives `id` and what feeds it, up to the extensions, the width `bits`. Exact where nothing wraps.
pub(super) fn set_width(function: &mut Function, id: ValueId, bits: u8) {
    let value = &mut function.values[id.index()];
    let ty = value.ty.clone();
    value.ty = TensorType { bits, ..ty };
    if value.op == Op::Extend {
        return;
    }
    let operands = value.operands.clone();
    if let Some(bias) = value.op.bias() {
        function.weights[bias.index()].bits = bits;
    }
    operands.into_iter().for_each(|operand| set_width(function, operand, bits));
}

/// The `p` for which `-2^p <= x < 2^p` is proven whatever the input is, if `id` is made of an
/// extension by local operations none of which can wrap: then its extension to any wider ring is
/// the same operations in that ring.
pub(super) fn unwrapped_magnitude(function: &Function, id: ValueId) -> Option<u8> {
    let value = function.value(id);
    let operand = || unwrapped_magnitude(function, value.operands[0]);
    let proven = match &value.op {
        Op::Extend => function.value(value.operands[0]).ty.bits - 1,
        Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Pad { .. } => operand()?,
        Op::SumPool(window) => {
            operand()? + (window.kernel[0] * window.kernel[1]).next_power_of_two().trailing_zeros() as u8
        }
        Op::ShiftLeft { by } => operand()? + by,
        Op::Scale { factor } => operand()? + (u64::BITS - factor.unsigned_abs().leading_zeros()) as u8,
        _ => return None,
    };
    (proven < value.ty.bits).then_some(proven)
}
