//! What the verifier can prove about signs.

use crate::op::{Op, Piecewise};
use crate::types::{Sign, TensorType};

/// Whether every element is in `0..2^(bits-1)` whatever the inputs are, wrapped or not.
pub fn sign_is_proven(op: &Op, operands: &[&TensorType], ty: &TensorType) -> bool {
    match op {
        Op::Relu | Op::Step | Op::ArgMax | Op::TopK { .. } => true,
        Op::RequantClip { limit, .. } => (0..1 << (ty.bits - 1)).contains(limit),
        // The rounded accumulator is below 2^(bits-1), so what is left of it is below
        // 2^(bits-1-shift).
        Op::RequantRelu { shift } => ty.bits.checked_add(*shift) == Some(operands[0].bits),
        Op::Piecewise(function) => piecewise_is_non_negative(function, operands[0], ty.bits),
        Op::Mix(_)
        | Op::Extend
        | Op::MaxPool(_)
        | Op::Concat { .. }
        | Op::Pad { .. }
        | Op::Slice { .. }
        | Op::Transpose { .. }
        | Op::Reshape
        | Op::Reveal(_)
        | Op::Check => operands.iter().all(|operand| operand.sign == Sign::NonNegative),
        _ => false,
    }
}

/// Whether `function` has results in `0..2^(bits-1)` for every operand of its type.
///
/// Between breakpoints, the places where a slope changes or a difference wraps, the exact sum is
/// linear. So it stays within one period of `2^bits`, and in the lower half of it, if it does at
/// both ends of every part.
fn piecewise_is_non_negative(function: &Piecewise, operand: &TensorType, bits: u8) -> bool {
    let half = 1i128 << (bits - 1);
    let least = if operand.sign == Sign::NonNegative { 0 } else { -half };
    // Where a part begins: at thresholds, and where `x - threshold` leaves the signed range and
    // comes back negative or positive.
    let breaks = function.knots.iter().flat_map(|(t, _)| [0, half, -half].map(|wrap| i128::from(*t) + wrap));
    let mut starts: Vec<i128> = breaks.chain([least]).filter(|x| (least..half).contains(x)).collect();
    starts.sort_unstable();
    starts.dedup();
    let exact = |x: i128, part: i128| {
        let line = i128::from(function.first_slope).checked_mul(x)?.checked_add(i128::from(function.offset))?;
        function.knots.iter().try_fold(line, |y, (threshold, change)| {
            // Which turn of the ring brings the difference into the signed range is the same in all
            // of a part.
            let turn = (part - i128::from(*threshold) + half).div_euclid(2 * half) * 2 * half;
            let is_above = part - i128::from(*threshold) - turn >= 0;
            let above = if is_above { x - i128::from(*threshold) - turn } else { 0 };
            y.checked_add(i128::from(*change).checked_mul(above)?)
        })
    };
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([half - 1]);
    starts.iter().zip(ends).all(|(start, end)| match (exact(*start, *start), exact(end, *start)) {
        (Some(a), Some(b)) => {
            a.div_euclid(2 * half) == b.div_euclid(2 * half) && [a, b].iter().all(|y| y.rem_euclid(2 * half) < half)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interp::apply_public;

    #[test]
    fn proofs_about_piecewise_functions_are_right() {
        // All functions of one or two knots on a ring of four bits, against all elements.
        let mut state = 3u64;
        let mut random = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        let mut proven = 0;
        for _ in 0..20_000 {
            let mut knots: Vec<(i64, i64)> =
                (0..1 + random(2)).map(|_| (random(16) as i64 - 8, random(16) as i64 - 8)).collect();
            knots.sort_unstable();
            knots.dedup_by_key(|knot| knot.0);
            let [first_slope, offset] = [random(5) as i64 - 2, random(16) as i64 - 8];
            let function = Piecewise { first_slope, slope_frac: 0, offset, knots };
            let sign = if random(2) == 0 { Sign::Any } else { Sign::NonNegative };
            let x: Vec<i64> = if sign == Sign::Any { (-8..8).collect() } else { (0..8).collect() };
            let ty = TensorType { shape: vec![x.len()], bits: 4, frac: 0, magnitude: 3, sign };
            let op = Op::Piecewise(function);
            let never_negative = apply_public(&op, &[&x], &[&ty], &ty).iter().all(|y| *y >= 0);
            if sign_is_proven(&op, &[&ty], &ty) {
                assert!(never_negative, "{op:?} on {sign:?}");
                proven += 1;
            }
        }
        assert!(proven > 300, "{proven}");
    }

    #[test]
    fn clipped_requantisations_are_non_negative() {
        let ty = |bits| TensorType { shape: vec![1], bits, frac: 0, magnitude: 3, sign: Sign::Any };
        for (limit, k, proven) in [(7, 4, true), (8, 4, false), (1, 2, true), (0, 4, true), (-1, 4, false)] {
            assert_eq!(sign_is_proven(&Op::RequantClip { shift: 2, limit }, &[&ty(12)], &ty(k)), proven);
        }
    }

    #[test]
    fn clips_of_non_negative_numbers_stay_so() {
        let clip = |t| Op::Piecewise(Piecewise { first_slope: 1, slope_frac: 0, offset: 0, knots: vec![(t, -1)] });
        let ty = |sign| TensorType { shape: vec![1], bits: 63, frac: 0, magnitude: 60, sign };
        assert!(sign_is_proven(&clip(96), &[&ty(Sign::NonNegative)], &ty(Sign::Any)));
        assert!(!sign_is_proven(&clip(96), &[&ty(Sign::Any)], &ty(Sign::Any)));
        assert!(!sign_is_proven(&clip(-1), &[&ty(Sign::NonNegative)], &ty(Sign::Any)));
    }
}
