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

#[cfg(test)]
mod tests {
    use super::super::testing::expect;

    #[test]
    fn shifts_and_factors_join() {
        expect(
            "fold_constants",
            "v0 = input : i24.0~9[2] \"x\"\nv1 = shift_left v0 by=2 : i24.2~11[2] \"a\"\nv2 = shift_left v1 by=3 : i24.5~14[2] \"b\"\n\
             v3 = scale v2 factor=3 : i24.5~16[2] \"c\"\nv4 = scale v3 factor=-5 : i24.5~19[2] \"d\"\n\
             v5 = shift_left v4 by=0 : i24.5~19[2] \"e\"\nv6 = relu v5 : i24.5~19+[2] \"r\"\n",
            "v0 = input : i24.0~9[2] \"x\"\nv1 = shift_left v0 by=5 : i24.5~14[2] \"b\"\n\
             v2 = scale v1 factor=-15 : i24.5~19[2] \"d\"\nv3 = relu v2 : i24.5~19+[2] \"r\"\n",
            true,
        );
    }
}
