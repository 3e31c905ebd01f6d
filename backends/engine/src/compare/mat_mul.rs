//! Products of matrices, scalar by scalar.

use fusion_catalogue::compare::Comparison;
use fusion_catalogue::linear::Matrices;
use fusion_ir::types::mask;

use super::Compare;
use crate::Error;

/// Shares of the products from shares of the factors, all positions' one after the other. Memory is
/// bounded: so many results at a time as [`Matrices::sums`] says.
///
/// # Errors
/// Whatever the channel gives, and [`Error::PeerMisbehaved`].
#[allow(clippy::integer_division_remainder_used, reason = "places in matrices")]
pub fn mat_mul(
    ctx: &mut dyn Compare,
    bits: u8,
    matrices: &Matrices,
    [x, y]: [&[u64]; 2],
    positions: usize,
) -> Result<Vec<u64>, Error> {
    let Matrices { rows, inner, columns, .. } = *matrices;
    let mut results = Vec::with_capacity(positions * matrices.result_len());
    for sums in matrices.sums(bits, positions) {
        // Row by row of the first factors, of all positions' matrices; the column of a second.
        let row = |sum: usize| &x[sum / columns * inner..][..inner];
        let column = |sum: usize| {
            let matrix = &y[sum / columns / rows * inner * columns..][..inner * columns];
            matrix[sum % columns..].iter().step_by(columns)
        };
        let left: Vec<u64> = sums.clone().flat_map(row).copied().collect();
        let right: Vec<u64> = sums.flat_map(column).copied().collect();
        let products = ctx.compare(&Comparison::Mul { bits }, &[&left, &right])?.swap_remove(0);
        let sum = |terms: &[u64]| terms.iter().fold(0u64, |sum, term| sum.wrapping_add(*term)) & mask(bits);
        results.extend(products.chunks_exact(inner).map(sum));
    }
    Ok(results)
}
