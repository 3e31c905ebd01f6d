//! `max_pool(relu(x))` becomes `relu(max_pool(x))`: the maximum of clipped values is the clipped
//! maximum, and there are fewer elements after the pool. The pool then compares values of either
//! sign, so their magnitude must leave a bit for the difference.

use fusion_ir::{Op, Sign, TensorType, ValueId};

use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    let function = &mut program.function;
    let users = function.users();
    for pool in 0..function.values.len() {
        let Op::MaxPool(window) = function.values[pool].op.clone() else { continue };
        let relu = function.values[pool].operands[0];
        if function.value(relu).op != Op::Relu || users[relu.index()] != [ValueId(pool as u32)] {
            continue;
        }
        let x = function.value(relu).operands[0];
        let x_ty = function.value(x).ty.clone();
        if x_ty.magnitude + 2 > x_ty.bits {
            continue;
        }
        let pooled = TensorType { shape: function.values[pool].ty.shape.clone(), ..x_ty };
        let names = (function.value(relu).node.clone(), function.values[pool].node.clone());
        let first = &mut function.values[relu.index()];
        (first.op, first.node) = (Op::MaxPool(window), names.1);
        first.ty = pooled.clone();
        let second = &mut function.values[pool];
        (second.op, second.node) = (Op::Relu, names.0);
        second.ty = TensorType { sign: Sign::NonNegative, ..pooled };
    }
}
