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
