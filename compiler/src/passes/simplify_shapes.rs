//! Consecutive reshapes become one, consecutive transpositions become one, and those that change
//! nothing disappear, as does a concatenation of one operand.

use fusion_ir::{Function, Op, Value};

use super::{Program, Settings, peephole};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    peephole::rewrite(&mut program.function, join, nothing);
}

fn join(outer: &Value, inner: &Op) -> Option<Op> {
    match (&outer.op, inner) {
        (Op::Reshape, Op::Reshape) => Some(Op::Reshape),
        (Op::Transpose { perm }, Op::Transpose { perm: before }) => {
            Some(Op::Transpose { perm: perm.iter().map(|axis| before[*axis]).collect() })
        }
        _ => None,
    }
}

fn nothing(function: &Function, value: &Value) -> bool {
    match &value.op {
        Op::Reshape => value.ty.shape == function.value(value.operands[0]).ty.shape,
        Op::Transpose { perm } => perm.is_sorted(),
        Op::Concat { .. } => value.operands.len() == 1,
        _ => false,
    }
}
