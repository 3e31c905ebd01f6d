//! Consecutive shifts become one, consecutive constant factors become one, and a shift by nothing
//! or a factor of 1 that keeps the format disappears.

use fusion_ir::{Function, Op, Value};

use super::{Program, Settings, peephole};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    peephole::rewrite(&mut program.function, join, nothing);
}

fn join(outer: &Value, inner: &Op) -> Option<Op> {
    match (&outer.op, inner) {
        (Op::ShiftLeft { by }, Op::ShiftLeft { by: before }) if by + before < outer.ty.bits => {
            Some(Op::ShiftLeft { by: by + before })
        }
        (Op::Scale { factor }, Op::Scale { factor: before }) => {
            Some(Op::Scale { factor: factor.checked_mul(*before)? })
        }
        _ => None,
    }
}

fn nothing(function: &Function, value: &Value) -> bool {
    match value.op {
        Op::ShiftLeft { by } => by == 0,
        Op::Scale { factor } => factor == 1 && value.ty.frac == function.value(value.operands[0]).ty.frac,
        _ => false,
    }
}
