//! What each operation of the IR costs on this family.

use fusion_ir::op::CryptFlow2;
use fusion_ir::{Backend, Function, Op, ValueId};

use super::compare;
use super::he::Slots;
use super::matmul::Products;
use crate::linear::Unsupported;
use crate::{Cost, contests};

/// What one operation that is neither local nor a reveal costs on a micro-batch of `positions`.
///
/// # Errors
/// If the operation is a linear layer that the chosen protocol cannot carry.
pub fn layer(function: &Function, id: ValueId, positions: usize) -> Result<Cost, Unsupported> {
    let value = function.value(id);
    if matches!(value.op, Op::Conv(_) | Op::Dense { .. }) {
        return match value.backend {
            Backend::CryptFlow2(CryptFlow2::He) => Ok(Slots::new(function, id)?.cost(positions)),
            _ => Ok(Products::new(function, id)?.cost(positions)),
        };
    }
    let Some(operand) = value.operands.first().map(|operand| &function.value(*operand).ty) else {
        return Ok(Cost::default());
    };
    Ok(contests::cost(&compare::cost, value, operand, positions))
}
