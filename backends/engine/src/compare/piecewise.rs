//! Piecewise linear functions: the ReLUs of all knots side by side, and a public linear map of
//! them.

use fusion_catalogue::compare::Comparison;
use fusion_ir::Party;
use fusion_ir::op::Piecewise;
use fusion_ir::types::{mask, wrap};

use super::Compare;
use crate::Error;

/// Shares of [`Op::Piecewise`](fusion_ir::Op::Piecewise) of every element of `x`. Exchanges the
/// messages of [`fusion_catalogue::compare::piecewise`].
#[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
pub fn piecewise(ctx: &mut dyn Compare, bits: u8, function: &Piecewise, x: &[u64]) -> Result<Vec<u64>, Error> {
    // Public constants enter one share only.
    let constant = |value: i64| match ctx.party() {
        Party::Client => 0,
        Party::Server => wrap(value, bits),
    };
    let offset = constant(function.offset);
    let thresholds: Vec<u64> = function.knots.iter().map(|(threshold, _)| constant(*threshold)).collect();
    let mut y: Vec<u64> =
        x.iter().map(|x| x.wrapping_mul(function.first_slope as u64).wrapping_add(offset) & mask(bits)).collect();
    // Comparison `i` is that of element `i mod n` and knot `i / n`.
    let n = x.len().max(1);
    let relu = Comparison::Relu { bits };
    for wave in relu.waves(x.len() * thresholds.len()) {
        let differences: Vec<u64> =
            wave.clone().map(|i| x[i % n].wrapping_sub(thresholds[i / n]) & mask(bits)).collect();
        let above = ctx.compare(&relu, &[&differences])?;
        for (i, above) in wave.zip(above.iter().flatten()) {
            let bend = above.wrapping_mul(function.knots[i / n].1 as u64);
            y[i % n] = y[i % n].wrapping_add(bend) & mask(bits);
        }
    }
    Ok(y)
}
