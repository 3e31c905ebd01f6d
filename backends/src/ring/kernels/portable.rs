//! The form for every processor: sums in 128 bits.

use super::super::{Factor, Modulus};
use super::{Pair, Slice};

/// [`Slice::add_to`] for `tile` kernels.
pub fn add_to(slice: &Slice, tile: usize, sums: &mut [Pair]) {
    let split = slice.modulus.factor(1 << SPLIT);
    for (unit, sums) in sums.chunks_mut(slice.starts.len()).enumerate() {
        for (sums, &start) in sums.iter_mut().zip(slice.starts) {
            let operands = &slice.operands[start..start + slice.depth];
            let kernels = slice.kernels[unit..].iter().step_by(tile);
            let mut wide = sums.map(|sum| sum.0.map(|sum| if slice.empty { 0 } else { sum.into() }));
            for (pair, kernel) in operands.iter().zip(kernels) {
                for (wide, operand) in wide.iter_mut().zip(pair) {
                    for (wide, (operand, kernel)) in wide.iter_mut().zip(operand.0.into_iter().zip(kernel.0)) {
                        *wide += u128::from(operand) * u128::from(kernel);
                    }
                }
            }
            for (sum, wide) in sums.iter_mut().zip(wide) {
                sum.0 = wide.map(|wide| reduce(slice.modulus, split, wide));
            }
        }
    }
}

/// The low part of a sum is a residue; the high part of at most 2048 products fits a word.
const SPLIT: u32 = 49;

/// The residue of a sum of products.
fn reduce(modulus: Modulus, split: Factor, wide: u128) -> u64 {
    modulus.add(split.times((wide >> SPLIT) as u64), wide as u64 & ((1 << SPLIT) - 1))
}
