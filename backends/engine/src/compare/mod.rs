//! What families of comparisons share: the trait [`Compare`], and everything that is made of it.
//!
//! Operands and results are shares `x = x_client + x_server mod 2^bits` as `u64 < 2^bits`.
//! [`max_pool`], [`arg_max`] and [`top_k`] are tournaments, [`piecewise`] is many ReLUs at once,
//! [`mat_mul`] many products.
//! Results are those of [`fusion_ir::interp`] bit for bit.

#[cfg(test)]
pub(crate) mod laws;
mod mat_mul;
pub(crate) mod pieces;
mod piecewise;
pub(crate) mod shares;
mod tournament;
pub(crate) mod words;

use fusion_catalogue::compare::{Comparison, Nonlinear};
use fusion_ir::{Party, interp};

pub use mat_mul::mat_mul;
pub use piecewise::piecewise;
pub use tournament::{arg_max, max_pool, top_k};

use crate::Error;

/// A family of protocols for [`Comparison`], at one party.
pub trait Compare {
    /// Who this is.
    fn party(&self) -> Party;

    /// `operation` on shares of equally many elements: one operand `x`, or `a, b`, or `a, b, i, j`.
    /// Returns the shares of the one result, or of maximum and index.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    ///
    /// # Panics
    /// If there are not as many operands as the operation has, or they differ in length.
    fn compare(&mut self, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error>;
}

/// The operation by a family's comparisons, on shares of its operands, position-major.
///
/// # Errors
/// Whatever the channel gives, and [`Error::PeerMisbehaved`].
pub fn evaluate(
    ctx: &mut dyn Compare,
    operation: &Nonlinear,
    operands: &[&[u64]],
    positions: usize,
) -> Result<Vec<u64>, Error> {
    let x = operands[0];
    match *operation {
        Nonlinear::Elementwise { comparison, elements } => {
            let spread: Vec<u64>;
            // A square has its operand once.
            let mut operands = operands[..comparison.operands().min(operands.len())].to_vec();
            if let [x, factors] = &mut operands[..]
                && factors.len() < x.len()
            {
                spread = interp::spread(factors, positions * elements).copied().collect();
                *factors = &spread;
            }
            Ok(ctx.compare(&comparison, &operands)?.swap_remove(0))
        }
        Nonlinear::Piecewise { bits, ref function, .. } => piecewise(ctx, bits, function, x),
        Nonlinear::MaxPool { bits, ref window, input: [_, height, width] } => {
            max_pool(ctx, bits, window, height, width, x)
        }
        Nonlinear::MatMul { bits, ref matrices } => mat_mul(ctx, bits, matrices, [x, operands[1]], positions),
        Nonlinear::ArgMax { bits, index_bits, classes } => arg_max(ctx, bits, index_bits, classes, x),
        Nonlinear::TopK { bits, index_bits, classes, k } => top_k(ctx, bits, index_bits, classes, k, x),
    }
}
