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

#[cfg(test)]
mod tests {
    use super::super::testing::expect;

    #[test]
    fn what_cancels_disappears() {
        expect(
            "simplify_shapes",
            "v0 = input : i16.0~9[2,3,4] \"x\"\nv1 = transpose v0 perm=[1,2,0] : i16.0~9[3,4,2] \"a\"\n\
             v2 = transpose v1 perm=[2,0,1] : i16.0~9[2,3,4] \"b\"\nv3 = reshape v2 : i16.0~9[6,4] \"c\"\n\
             v4 = reshape v3 : i16.0~9[24] \"d\"\nv5 = relu v4 : i16.0~9+[24] \"r\"\n",
            "v0 = input : i16.0~9[2,3,4] \"x\"\nv1 = reshape v0 : i16.0~9[24] \"d\"\nv2 = relu v1 : i16.0~9+[24] \"r\"\n",
            true,
        );
    }
}
