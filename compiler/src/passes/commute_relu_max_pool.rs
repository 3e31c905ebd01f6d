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

#[cfg(test)]
mod tests {
    use super::super::testing::expect;

    const WINDOW: &str = "kernel=[2,2] strides=[2,2] pads=[0,0,0,0]";

    #[test]
    fn relu_moves_behind_the_pool() {
        let before = format!(
            "v0 = input : i16.0~10[1,4,4] \"x\"\nv1 = relu v0 : i16.0~10+[1,4,4] \"r\"\n\
             v2 = max_pool v1 {WINDOW} : i16.0~10+[1,2,2] \"p\"\n"
        );
        let after = format!(
            "v0 = input : i16.0~10[1,4,4] \"x\"\nv1 = max_pool v0 {WINDOW} : i16.0~10[1,2,2] \"p\"\n\
             v2 = relu v1 : i16.0~10+[1,2,2] \"r\"\n"
        );
        expect("commute_relu_max_pool", &before, &after, true);
    }

    #[test]
    fn not_where_differences_could_wrap() {
        let before = format!(
            "v0 = input : i16.0~15[1,4,4] \"x\"\nv1 = relu v0 : i16.0~14+[1,4,4] \"r\"\n\
             v2 = max_pool v1 {WINDOW} : i16.0~14+[1,2,2] \"p\"\n"
        );
        expect("commute_relu_max_pool", &before, &before, true);
    }
}
