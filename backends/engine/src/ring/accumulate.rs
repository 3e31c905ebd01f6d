//! Sums of products of many spectra: at every frequency a product of matrices.
//!
//! Spectra are kept in *slices* of [`LANES`] frequencies: slice by slice, all that one block of the
//! matrix product needs lies together, in the order in which it is needed.

use std::ops::Range;

use rayon::prelude::*;

use super::{DEGREE, MODULI, PRIMES, Poly, Spectrum};
use crate::kernels::ring::{Combinations, LANES, Lanes, MAX_DEPTH, Pair, Slice, TILE, make_factors, prefetch};

/// Slices of a spectrum.
pub(super) const SLICES: usize = PRIMES.len() * DEGREE / LANES;
/// Kernels that are transformed before they are moved to where they are multiplied: what a cache
/// holds.
const PASSING: usize = 8;
/// Slices that a thread takes at least when it moves spectra.
const SLICES_AT_ONCE: usize = 64;
/// Slices ahead of which sums are asked for when they are gathered.
const SLICES_AHEAD: usize = 16;
/// Pairs of operands that a run of slices has at most if they stay near while it is worked off tile
/// by tile.
const PAIRS_AT_ONCE: usize = 2048;

/// The operands: pairs of spectra in rows of `depth` pairs.
#[derive(Default)]
pub struct Operands {
    depth: usize,
    pairs: usize,
    /// Per slice: row by row.
    values: Vec<Pair>,
}

impl Operands {
    /// Makes these `rows` rows of `depth` pairs, of which every one must then be
    /// [set](Operands::set).
    pub fn resize(&mut self, rows: usize, depth: usize) {
        (self.depth, self.pairs) = (depth, rows * depth);
        self.values.resize(SLICES * self.pairs, Pair::default());
    }

    /// Sets the pairs from number `first` on, counted over all rows.
    pub fn set(&mut self, first: usize, pairs: &[[Spectrum; 2]]) {
        let slices = self.values.par_chunks_mut(self.pairs).with_min_len(SLICES_AT_ONCE).enumerate();
        slices.for_each(|(slice, values)| {
            for (value, pair) in values[first..].iter_mut().zip(pairs) {
                *value = pair.each_ref().map(|spectrum| factors(spectrum.groups()[slice]));
            }
        });
    }
}

/// A block of kernels: for each of `units` results the kernels of `depth` consecutive operands of a
/// row.
#[derive(Default)]
pub struct Kernels {
    units: usize,
    depth: usize,
    /// Per slice: tiles of [`TILE`] units (the last maybe fewer), in a tile operand by operand.
    values: Vec<Lanes>,
    /// Spectra on their way to `values`.
    passing: Vec<Spectrum>,
    /// The powers of `X` that kernels of few terms are made of.
    powers: Powers,
    /// What kernels of few terms are made of instead of `values`.
    few: Option<FewTerms>,
}

/// Kernels of few terms; what [`Combinations`] are made of.
struct FewTerms {
    terms: Vec<Vec<u16>>,
    /// Modulo each prime.
    weights: [Vec<u64>; PRIMES.len()],
}

impl Kernels {
    /// Makes this the block of the kernels `kernel(unit, k, zero)`, which are best made of the
    /// polynomial given, zero.
    pub fn set(&mut self, units: usize, depth: usize, kernel: impl Fn(usize, usize, Poly) -> Spectrum + Sync) {
        let len = units * depth;
        (self.units, self.depth, self.few) = (units, depth, None);
        self.values.resize(SLICES * len, Lanes::default());
        self.passing.resize_with(PASSING, Spectrum::zero);
        for first in (0..len).step_by(PASSING) {
            let passing = &mut self.passing[..PASSING.min(len - first)];
            passing.par_iter_mut().enumerate().for_each(|(i, spectrum)| {
                let (tile, number) = ((first + i) / (TILE * depth) * TILE, (first + i) % (TILE * depth));
                let width = TILE.min(units - tile);
                let zero = spectrum.take().into_zero();
                *spectrum = kernel(tile + number % width, number / width, zero);
            });
            let slices = self.values.par_chunks_mut(len).with_min_len(SLICES_AT_ONCE).enumerate();
            slices.for_each(|(slice, values)| {
                for (value, spectrum) in values[first..].iter_mut().zip(&*passing) {
                    *value = factors(spectrum.groups()[slice]);
                }
            });
        }
    }

    /// Sets the powers of `X` that [`combine`](Kernels::combine) refers to by number: their
    /// exponents, each below [`DEGREE`].
    pub fn set_powers(&mut self, exponents: &[u16]) {
        self.powers.set(exponents);
    }

    /// Makes this the block of kernels of few terms: kernel `k` of every unit has the powers
    /// `terms[k]` and the weights that `weights(unit, k, all)` fills in for the zeros given, each
    /// below 2^49 in magnitude.
    pub fn combine(&mut self, units: usize, terms: &[Vec<u16>], weights: impl Fn(usize, usize, &mut [i64])) {
        (self.units, self.depth) = (units, terms.len());
        let mut signed = Vec::with_capacity(units * terms.iter().map(Vec::len).sum::<usize>());
        for tile in (0..units).step_by(TILE) {
            for (k, terms) in terms.iter().enumerate() {
                for unit in tile..units.min(tile + TILE) {
                    let first = signed.len();
                    signed.resize(first + terms.len(), 0);
                    weights(unit, k, &mut signed[first..]);
                }
            }
        }
        let weights = MODULI.map(|modulus| {
            let mut weights: Vec<u64> = signed.iter().map(|w| modulus.reduce_signed(*w)).collect();
            make_factors(&mut weights);
            weights
        });
        self.few = Some(FewTerms { terms: terms.to_vec(), weights });
    }

    /// How many slices, from a multiple of that number on, have the same kernels.
    fn run(&self) -> usize {
        self.few.as_ref().map_or(1, |_| self.powers.run)
    }

    /// The kernels of some whole tiles of units at one slice, made in `scratch` if they are of few
    /// terms.
    fn tiles<'a>(&'a self, units: Range<usize>, slice: usize, scratch: &'a mut Vec<Lanes>) -> &'a [Lanes] {
        let len = units.len() * self.depth;
        let Some(few) = &self.few else {
            return &self.values[slice * self.units * self.depth + units.start * self.depth..][..len];
        };
        scratch.resize(len, Lanes::default());
        let (prime, powers) = (slice / (SLICES / PRIMES.len()), self.powers.slice(slice));
        let weights = &few.weights[prime];
        let weights = &weights[weights.len() / self.units * units.start..][..weights.len() / self.units * units.len()];
        Combinations { prime, units: units.len(), powers, terms: &few.terms, weights }.write_to(scratch);
        scratch
    }
}

fn factors(mut residues: [u64; LANES]) -> Lanes {
    make_factors(&mut residues);
    Lanes(residues)
}

/// The values of some powers of `X`.
#[derive(Default)]
struct Powers {
    count: usize,
    /// Slices at which all powers are the same, where that begins with a multiple of it.
    run: usize,
    /// Per slice: power by power.
    values: Vec<Lanes>,
}

impl Powers {
    fn set(&mut self, exponents: &[u16]) {
        self.count = exponents.len();
        let common = exponents.iter().fold(LANES as u16, |all, exponent| all | exponent);
        self.run = 1 << common.trailing_zeros();
        self.values.resize(SLICES * self.count, Lanes::default());
        for (number, &exponent) in exponents.iter().enumerate() {
            let mut power = Poly::zero();
            power.add_to(exponent.into(), [1, 1]);
            let power = Spectrum::of(power);
            for (values, group) in self.values.chunks_mut(self.count).zip(power.groups()) {
                values[number] = factors(*group);
            }
        }
    }

    /// All powers at one slice.
    fn slice(&self, slice: usize) -> &[Lanes] {
        &self.values[slice * self.count..][..self.count]
    }
}

/// The sums: for each of `units` units and some rows a pair of spectra.
#[derive(Default)]
pub struct Sums {
    rows: usize,
    pairs: usize,
    /// Whether nothing is added up yet, and `values` are whatever they were.
    empty: bool,
    /// Per slice: unit by unit.
    values: Vec<Pair>,
}

impl Sums {
    /// Makes these the sums of `units` times `rows` pairs, all empty.
    pub fn resize(&mut self, units: usize, rows: usize) {
        (self.rows, self.pairs, self.empty) = (rows, units * rows, true);
        self.values.resize(SLICES * self.pairs, Pair::default());
    }

    /// Adds for every unit and every `r` the products of the unit's kernels with the pairs of row
    /// `rows[r]` of the operands from number `first` of that row on.
    pub fn add_products(&mut self, operands: &Operands, rows: &[usize], first: usize, kernels: &Kernels) {
        assert!(self.rows == rows.len() && self.pairs == kernels.units * self.rows);
        assert!(first + kernels.depth <= operands.depth && kernels.depth <= MAX_DEPTH);
        let empty = std::mem::replace(&mut self.empty, false);
        let starts: Vec<usize> = rows.iter().map(|row| row * operands.depth + first).collect();
        let (units, depth, run) = (kernels.units, kernels.depth, kernels.run());
        // What is made for a tile serves a run of slices, if these do not drive each other's
        // operands out of a cache.
        let at_once = if run * rows.len() * depth <= PAIRS_AT_ONCE { TILE } else { units };
        let (pairs, pairs_of_operands) = (self.pairs, operands.pairs);
        let operands = operands.values.par_chunks(pairs_of_operands * run);
        let slices = self.values.par_chunks_mut(pairs * run).zip(operands).enumerate();
        slices.for_each_init(Vec::new, |scratch, (number, (sums, operands))| {
            let prime = number * run / (SLICES / PRIMES.len());
            for first in (0..units).step_by(at_once) {
                let some = first..units.min(first + at_once);
                let kernels = kernels.tiles(some.clone(), number * run, scratch);
                for (sums, operands) in sums.chunks_mut(pairs).zip(operands.chunks(pairs_of_operands)) {
                    let sums = &mut sums[some.start * rows.len()..some.end * rows.len()];
                    let tiles = sums.chunks_mut(TILE * rows.len()).zip(kernels.chunks(TILE * depth));
                    for (sums, kernels) in tiles {
                        Slice { prime, depth, operands, starts: &starts, kernels, empty }.add_to(sums);
                    }
                }
            }
        });
    }

    /// Copies the sums from number `first` on, counted over all units, row by row in each.
    pub fn get(&self, first: usize, pairs: &mut [[Spectrum; 2]]) {
        for (slice, values) in self.values.chunks(self.pairs).enumerate() {
            // Slices lie pages apart.
            let ahead = self.values.get((slice + SLICES_AHEAD) * self.pairs + first..).unwrap_or_default();
            ahead.iter().take(pairs.len()).for_each(prefetch);
            for (pair, value) in pairs.iter_mut().zip(&values[first..]) {
                for (spectrum, value) in pair.iter_mut().zip(value) {
                    spectrum.groups_mut()[slice] = value.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn blocks_add_up_to_the_products_of_every_row() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut spectrum = || {
            let coefficients: Vec<i64> = (0..DEGREE).map(|_| rng.next_u64() as i64 >> 20).collect();
            Spectrum::of(Poly::from_signed(&coefficients))
        };
        let (units, rows, depth) = (8, 3, 5);
        let pairs: Vec<[Spectrum; 2]> = (0..rows * depth).map(|_| [spectrum(), spectrum()]).collect();
        let kernels: Vec<Spectrum> = (0..units * depth).map(|_| spectrum()).collect();
        let mut operands = Operands::default();
        operands.resize(rows, depth);
        operands.set(0, &pairs[..4]);
        operands.set(4, &pairs[4..]);
        let picked = [2, 0];
        let (mut sums, mut block) = (Sums::default(), Kernels::default());
        sums.resize(units, picked.len());
        for (first, depth_of_block) in [(0, 2), (2, 3)] {
            block.set(units, depth_of_block, |unit, k, zero| {
                assert_eq!(zero, Poly::zero());
                kernels[unit * depth + first + k].clone()
            });
            sums.add_products(&operands, &picked, first, &block);
        }
        let mut all: Vec<[Spectrum; 2]> = (1..15).map(|_| [Spectrum::zero(), Spectrum::zero()]).collect();
        sums.get(1, &mut all);
        for (number, found) in all.into_iter().enumerate().map(|(i, found)| (i + 1, found)) {
            let (unit, row) = (number / 2, picked[number % 2]);
            for (component, found) in found.into_iter().enumerate() {
                let mut expected = Spectrum::zero();
                for k in 0..depth {
                    expected.add_product(&pairs[row * depth + k][component], &kernels[unit * depth + k]);
                }
                assert!(found == expected, "{unit} {row} {component}");
            }
        }
    }

    #[test]
    fn kernels_of_few_terms_are_their_transforms() {
        let exponents = [0, 5, 17, 4095];
        let terms = [vec![0, 1, 3], vec![2]];
        let weight = |unit: usize, k: usize, t: usize| (unit as i64 - 3) * 1000 + (10 * k + t) as i64;
        let (mut combined, mut transformed) = (Kernels::default(), Kernels::default());
        combined.set_powers(&exponents);
        combined.combine(7, &terms, |unit, k, weights| {
            weights.iter_mut().enumerate().for_each(|(t, all)| *all = weight(unit, k, t));
        });
        transformed.set(7, 2, |unit, k, mut kernel| {
            for (t, &power) in terms[k].iter().enumerate() {
                kernel.add_signed_to(exponents[usize::from(power)].into(), weight(unit, k, t));
            }
            Spectrum::of(kernel)
        });
        let [mut left, mut right] = [Vec::new(), Vec::new()];
        for slice in 0..SLICES {
            assert!(combined.tiles(0..7, slice, &mut left) == transformed.tiles(0..7, slice, &mut right));
            assert!(combined.tiles(6..7, slice, &mut left) == transformed.tiles(6..7, slice, &mut right));
        }
        assert_eq!(combined.run(), 1);
    }

    #[test]
    fn kernels_that_repeat_serve_their_runs() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut random = || rng.next_u64() as i64 >> 20;
        for (exponents, rows, run) in [([0u16, 12, 4], 1, 4), ([0, 16, 48], 2, LANES), ([0, 784, 1570], 700, 2)] {
            let (units, depth) = (8, 3);
            let mut spectrum = || Spectrum::of(Poly::from_signed(&[(); 9].map(|()| random())));
            let pairs: Vec<[Spectrum; 2]> = (0..depth).map(|_| [spectrum(), spectrum()]).collect();
            let mut operands = Operands::default();
            operands.resize(1, depth);
            operands.set(0, &pairs);
            let weights: Vec<i64> = (0..units * depth * 3).map(|_| random()).collect();
            let (mut block, mut sums) = (Kernels::default(), Sums::default());
            block.set_powers(&exponents);
            block.combine(units, &vec![vec![0, 1, 2]; depth], |unit, k, all| {
                all.copy_from_slice(&weights[(unit * depth + k) * 3..][..3]);
            });
            assert_eq!(block.run(), run);
            sums.resize(units, rows);
            sums.add_products(&operands, &vec![0; rows], 0, &block);
            let mut all: Vec<[Spectrum; 2]> = (0..units * rows).map(|_| [Spectrum::zero(), Spectrum::zero()]).collect();
            sums.get(0, &mut all);
            for (number, found) in all.iter().enumerate().step_by(rows - rows / 2) {
                let mut expected = [Spectrum::zero(), Spectrum::zero()];
                for (k, pair) in pairs.iter().enumerate() {
                    let mut kernel = Poly::zero();
                    for (t, exponent) in exponents.into_iter().enumerate() {
                        kernel.add_signed_to(exponent.into(), weights[(number / rows * depth + k) * 3 + t]);
                    }
                    let kernel = Spectrum::of(kernel);
                    expected.iter_mut().zip(pair).for_each(|(sum, component)| sum.add_product(component, &kernel));
                }
                assert!(*found == expected, "{number}");
            }
        }
    }
}
