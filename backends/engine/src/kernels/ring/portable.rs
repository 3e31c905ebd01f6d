//! The form for every processor: sums in 128 bits.

use super::{Combinations, LANES, Lanes, Pair, Slice, TILE};
use crate::ring::modulus::{Factor, MODULI, Modulus};

/// [`Slice::add_to`] for `tile` kernels.
pub fn add_to(slice: &Slice, tile: usize, sums: &mut [Pair]) {
    let modulus = MODULI[slice.prime];
    let split = modulus.factor(1 << SPLIT);
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
                sum.0 = wide.map(|wide| reduce(modulus, split, wide));
            }
        }
    }
}

/// [`Combinations::write_to`].
pub fn combine(combinations: &Combinations, kernels: &mut [Lanes]) {
    let modulus = MODULI[combinations.prime];
    let split = modulus.factor(1 << SPLIT);
    let (mut kernels, mut weights) = (kernels.iter_mut(), combinations.weights);
    for tile in (0..combinations.units).step_by(TILE) {
        for terms in combinations.terms {
            for kernel in kernels.by_ref().take(TILE.min(combinations.units - tile)) {
                let (own, rest) = weights.split_at(terms.len());
                weights = rest;
                let mut wide = [0; LANES];
                for (&power, &weight) in terms.iter().zip(own) {
                    let values = combinations.powers[usize::from(power)].0;
                    wide.iter_mut()
                        .zip(values)
                        .for_each(|(wide, value)| *wide += u128::from(value) * u128::from(weight));
                }
                kernel.0 = wide.map(|wide| reduce(modulus, split, wide));
            }
        }
    }
}

/// The low part of a sum is a residue; the high part of at most 2048 products fits a word.
pub(super) const SPLIT: u32 = 49;

/// The residue of a sum of products.
pub(super) fn reduce(modulus: Modulus, split: Factor, wide: u128) -> u64 {
    modulus.add(split.times((wide >> SPLIT) as u64), wide as u64 & ((1 << SPLIT) - 1))
}
