//! `min(requant_relu(x), limit)` becomes `requant_clip(x)`: both thresholds share one comparison
//! tree, up to the bits in which they differ. The result keeps only the bits that the limit needs
//! if all its readers extend it.

use fusion_ir::op::Piecewise;
use fusion_ir::{Op, Sign, ValueId};

use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, _: &Settings) {
    let function = &mut program.function;
    let users = function.users();
    for clip in 0..function.values.len() {
        let Op::Piecewise(table) = &function.values[clip].op else { continue };
        let Some(limit) = limit(table) else { continue };
        let relu = function.values[clip].operands[0];
        let Op::RequantRelu { shift } = function.value(relu).op else { continue };
        let x = function.value(relu).operands[0];
        let (left, kept) = (function.value(x).ty.bits - shift, function.value(relu).ty.bits);
        let below = i64::BITS as u8 - limit.leading_zeros() as u8;
        if users[relu.index()] != [ValueId(clip as u32)] || kept < left || below >= kept {
            continue;
        }
        let extended = !users[clip].is_empty() && users[clip].iter().all(|user| function.value(*user).op == Op::Extend);
        let value = &mut function.values[clip];
        value.op = Op::RequantClip { shift, limit };
        value.operands = vec![x];
        value.ty.sign = Sign::NonNegative;
        if extended {
            value.ty.bits = below + 1;
            value.ty.magnitude = value.ty.magnitude.min(below);
        }
    }
}

/// The limit, if the function is a minimum with a positive constant.
fn limit(function: &Piecewise) -> Option<i64> {
    match (function.first_slope, function.slope_frac, function.offset, function.knots.as_slice()) {
        (1, 0, 0, [(limit @ 1.., -1)]) => Some(*limit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::expect;

    #[test]
    fn one_tree_for_both_thresholds() {
        expect(
            "fuse_requant_clip",
            "v0 = input : i14.4~11[4] \"x\"\nv1 = requant_relu v0 shift=4 : i10.0~7+[4] \"c\"\n\
             v2 = piecewise v1 slope=1 slope_frac=0 offset=0 knots=[24:-1] : i10.0~5+[4] \"c\"\n",
            "v0 = input : i14.4~11[4] \"x\"\nv1 = requant_clip v0 shift=4 limit=24 : i10.0~5+[4] \"c\"\n",
            true,
        );
    }

    #[test]
    fn no_more_bits_are_kept_than_the_limit_has_if_the_result_is_extended() {
        expect(
            "fuse_requant_clip",
            "v0 = input : i14.4~11[4] \"x\"\nv1 = requant_relu v0 shift=4 : i10.0~7+[4] \"c\"\n\
             v2 = piecewise v1 slope=1 slope_frac=0 offset=0 knots=[24:-1] : i10.0~5+[4] \"c\"\nv3 = extend v2 : i20.0~5+[4] \"d\"\n",
            "v0 = input : i14.4~11[4] \"x\"\nv1 = requant_clip v0 shift=4 limit=24 : i6.0~5+[4] \"c\"\nv2 = extend v1 : i20.0~5+[4] \"d\"\n",
            true,
        );
    }

    #[test]
    fn not_if_what_is_clipped_has_wrapped_or_is_read_elsewhere_or_the_function_is_another() {
        for before in [
            "v0 = input : i14.4~11[4] \"x\"\nv1 = requant_relu v0 shift=4 : i8.0~6[4] \"c\"\n\
             v2 = piecewise v1 slope=1 slope_frac=0 offset=0 knots=[24:-1] : i8.0~6[4] \"c\"\n",
            "v0 = input : i14.4~11[4] \"x\"\nv1 = requant_relu v0 shift=4 : i10.0~7+[4] \"c\"\n\
             v2 = piecewise v1 slope=1 slope_frac=0 offset=0 knots=[24:-1] : i10.0~5+[4] \"c\"\nv3 = add v1, v2 : i10.0~8[4] \"s\"\n",
            "v0 = input : i14.4~11[4] \"x\"\nv1 = requant_relu v0 shift=4 : i10.0~7+[4] \"c\"\n\
             v2 = piecewise v1 slope=1 slope_frac=0 offset=1 knots=[24:-1] : i10.0~5+[4] \"c\"\n",
        ] {
            expect("fuse_requant_clip", before, before, true);
        }
    }
}
