//! Functions of each element.

use rayon::prelude::*;

use crate::op::Piecewise;
use crate::types::signed;

/// Elements that are worth a thread of their own.
pub(super) const BLOCK: usize = 1 << 14;

/// `f` of each element.
pub(super) fn map(x: &[i64], f: impl Fn(i64) -> i64 + Sync) -> Vec<i64> {
    let mut y = vec![0; x.len()];
    let apply = |y: &mut [i64], x: &[i64]| y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
    if x.len() <= BLOCK {
        apply(&mut y, x);
    } else {
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| apply(y, x));
    }
    y
}

/// `f` of each pair of elements.
///
/// # Panics
/// If there are not equally many.
pub(super) fn zip(a: &[i64], b: &[i64], f: impl Fn(i64, i64) -> i64 + Sync) -> Vec<i64> {
    assert_eq!(a.len(), b.len(), "operands");
    let mut y = vec![0; a.len()];
    let apply = |y: &mut [i64], a: &[i64], b: &[i64]| {
        y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f(*a, *b));
    };
    if a.len() <= BLOCK {
        apply(&mut y, a, b);
    } else {
        let operands = a.par_chunks(BLOCK).zip(b.par_chunks(BLOCK));
        y.par_chunks_mut(BLOCK).zip(operands).for_each(|(y, (a, b))| apply(y, a, b));
    }
    y
}

/// `f` of each element of `a` and the element of `b` that it meets if each of those is taken so
/// often in a row that there are enough.
///
/// # Panics
/// If that is impossible.
pub(super) fn zip_spread(a: &[i64], b: &[i64], f: impl Fn(i64, i64) -> i64 + Sync) -> Vec<i64> {
    let each = a.len() / b.len().max(1);
    assert_eq!(each * b.len(), a.len(), "{} elements over {}", b.len(), a.len());
    if each == 1 {
        return zip(a, b, f);
    }
    let mut y = vec![0; a.len()];
    let rows = y.par_chunks_mut(each.max(1)).zip(a.par_chunks(each.max(1)).zip(b));
    rows.with_min_len(BLOCK.div_ceil(each.max(1))).for_each(|(y, (a, b))| {
        y.iter_mut().zip(a).for_each(|(y, a)| *y = f(*a, *b));
    });
    y
}

/// The smallest and the largest element; the other way round if there are none.
pub(super) fn ends(x: &[i64]) -> (i64, i64) {
    let of = |x: &[i64]| x.iter().fold((i64::MAX, i64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
    if x.len() <= BLOCK {
        return of(x);
    }
    x.par_chunks(BLOCK).map(of).reduce(|| (i64::MAX, i64::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// `(x + 2^(shift-1)) mod 2^bits`, signed.
pub(super) fn rounded(x: i64, shift: u8, bits: u8) -> i64 {
    signed((x as u64).wrapping_add(1 << (shift - 1)), bits)
}

/// Whether `left` loses against `right`: the sign of their difference in `Z_2^bits`.
pub(super) fn left_loses(left: i64, right: i64, bits: u8) -> bool {
    signed(left.wrapping_sub(right) as u64, bits) < 0
}

/// `function` of each element.
pub(super) fn piecewise(function: &Piecewise, x: &[i64], bits: u8) -> Vec<i64> {
    let rising = function.knots.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !rising || !differences_hold(function, x, bits) {
        return map(x, |x| bent(function, x, bits));
    }
    // Without a difference that wraps, all that bends below an element adds up to one line.
    let (mut slope, mut offset) = (function.first_slope, function.offset);
    let mut lines = vec![(slope, offset)];
    for (threshold, change) in &function.knots {
        slope = slope.wrapping_add(*change);
        offset = offset.wrapping_sub(change.wrapping_mul(*threshold));
        lines.push((slope, offset));
    }
    let thresholds: Vec<i64> = function.knots.iter().map(|(threshold, _)| *threshold).collect();
    map(x, |x| {
        let (slope, offset) = lines[thresholds.partition_point(|threshold| *threshold <= x)];
        signed(slope.wrapping_mul(x).wrapping_add(offset) as u64, bits)
    })
}

/// Whether no element of `x` is so far from a threshold that the difference leaves the signed
/// integers of `bits` bits.
pub(super) fn differences_hold(function: &Piecewise, x: &[i64], bits: u8) -> bool {
    let (low, high) = ends(x);
    let half = 1i128 << (bits - 1);
    let fits = |threshold: i128| i128::from(high) - threshold < half && i128::from(low) - threshold >= -half;
    function.knots.iter().all(|(threshold, _)| fits(i128::from(*threshold)))
}

/// The definition.
fn bent(function: &Piecewise, x: i64, bits: u8) -> i64 {
    let start = function.offset.wrapping_add(function.first_slope.wrapping_mul(x));
    let above = |threshold: i64| signed(x.wrapping_sub(threshold) as u64, bits).max(0);
    let bend = |y: i64, (threshold, change): &(i64, i64)| y.wrapping_add(change.wrapping_mul(above(*threshold)));
    signed(function.knots.iter().fold(start, bend) as u64, bits)
}
