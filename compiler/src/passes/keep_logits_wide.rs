//! The last requantisation, in front of the argmax, is not needed: the accumulator itself can be
//! compared, without a rounding error, if it has a spare bit for differences.

use fusion_ir::{Op, TensorType};

use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    let function = &mut program.function;
    let mut at = function.values.len() - 1;
    let mut reshapes = Vec::new();
    while function.values[at].op == Op::Reshape {
        reshapes.push(at);
        at = function.values[at].operands[0].index();
    }
    if !matches!(function.values[at].op, Op::Requant { .. }) {
        return;
    }
    let users = function.users();
    if reshapes.iter().any(|reshape| users[function.values[*reshape].operands[0].index()].len() != 1) {
        return;
    }
    let accumulator = function.value(function.values[at].operands[0]).ty.clone();
    if accumulator.magnitude + 2 > accumulator.bits {
        return;
    }
    // A reshape to the same shape stands in for the requantisation; shapes are tidied later.
    reshapes.push(at);
    for index in reshapes {
        let value = &mut function.values[index];
        value.op = Op::Reshape;
        value.ty = TensorType { shape: value.ty.shape.clone(), ..accumulator.clone() };
    }
}
