//! `requant(requant(x))` becomes one requantisation that drops both numbers of bits, if nothing
//! else reads the inner one: it takes one comparison tree, and rounds once.

use fusion_ir::Op;

use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    let function = &mut program.function;
    let users = function.users();
    for index in 0..function.values.len() {
        let Op::Requant { shift } = function.values[index].op else { continue };
        let inner = function.values[index].operands[0];
        let Op::Requant { shift: before } = function.value(inner).op else { continue };
        let x = function.value(inner).operands[0];
        let bits = function.value(x).ty.bits;
        // What the inner one keeps is all that is left of `x`.
        let whole = function.value(inner).ty.bits == bits - before;
        if users[inner.index()].len() == 1 && whole && before + shift < bits {
            let value = &mut function.values[index];
            (value.op, value.operands) = (Op::Requant { shift: before + shift }, vec![x]);
        }
    }
}
