//! Sums of products in double precision: each product in two parts, a multiple of `2^51` and what
//! remains, which are summed as the integers that the low bits of doubles are (Emmart, Zheng,
//! Weems: "Faster modular exponentiation using double precision floating point arithmetic on the
//! GPU", ARITH 2018; there with rounding to zero, here to nearest, so that the remainder has a
//! sign).

use std::ops::Range;

use fusion_catalogue::cpu::Form;
use pulp::bytemuck;

use super::double::{DIGIT_BITS, Field, Kernel, Vectors, factor, run};
use super::{Combinations, LANES, Lanes, MAX_DEPTH, Pair, Slice, TILE};
use fusion_catalogue::rlwe::PRIMES;

/// Products that are summed before the next row: with a whole tile of kernels, what the nearest
/// cache holds.
const CHUNK: usize = 32;

/// `1.5 * 2^103`: added to a product of residues it rounds that to a multiple of `2^51`.
const HIGH: f64 = 15211807202738752817960438464512.0;
/// `1.5 * 2^52`: added to an integer of magnitude up to `2^51` it puts that into a double's low
/// bits.
const LOW: f64 = 6755399441055744.0;
/// What sums of low parts, of magnitude up to `2^61`, are kept positive by.
const BIAS: u64 = 1 << 62;

/// [`Slice::add_to`] for `tile` kernels with the vectors of a form; says whether it has any.
pub fn add_to(form: Form, slice: &Slice, tile: usize, sums: &mut [Pair]) -> bool {
    run(form, AddTo { slice, tile, sums })
}

/// [`Combinations::write_to`] with the vectors of a form; says whether it has any.
pub fn combine(form: Form, combinations: &Combinations, kernels: &mut [Lanes]) -> bool {
    run(form, Combine { combinations, kernels })
}

/// Adds products of residues of prime number `prime`, one by one, with the vectors of a form; says
/// whether it has any.
pub fn multiply_add(form: Form, prime: usize, sums: &mut [u64], left: &[u64], right: &[u64]) -> bool {
    run(form, MultiplyAdd { prime, sums, left, right })
}

/// The low and the high parts of some sums of products.
#[derive(Clone, Copy)]
struct Wide<S: Vectors> {
    low: S::u64s,
    high: S::u64s,
}

/// Constants of sums of products, in registers.
#[derive(Clone, Copy)]
struct Summer<S: Vectors> {
    simd: S,
    high: S::f64s,
    both: S::f64s,
}

impl<S: Vectors> Summer<S> {
    #[inline(always)]
    fn new(simd: S) -> Summer<S> {
        Summer { simd, high: simd.splat_f64s(HIGH), both: simd.splat_f64s(HIGH + LOW) }
    }

    /// `before`, residues, with as much less as `products` products will add too much.
    #[inline(always)]
    fn begin(self, before: S::u64s, products: usize) -> Wide<S> {
        let (simd, products) = (self.simd, products as u64);
        let low = BIAS.wrapping_sub(LOW.to_bits().wrapping_mul(products));
        let high = (BIAS >> DIGIT_BITS).wrapping_add(HIGH.to_bits().wrapping_mul(products)).wrapping_neg();
        Wide { low: simd.add_u64s(before, simd.splat_u64s(low)), high: simd.splat_u64s(high) }
    }

    /// The low and the high parts with those of the product of two residues.
    #[inline(always)]
    fn plus(self, [low, high]: [S::u64s; 2], a: S::f64s, b: S::f64s) -> [S::u64s; 2] {
        let simd = self.simd;
        let upper = simd.mul_add_f64s(a, b, self.high);
        let lower = simd.mul_add_f64s(a, b, simd.sub_f64s(self.both, upper));
        [simd.add_u64s(low, simd.transmute_u64s_f64s(lower)), simd.add_u64s(high, simd.transmute_u64s_f64s(upper))]
    }
}

/// What reduces sums of products, in registers.
#[derive(Clone, Copy)]
struct Reducer<S: Vectors> {
    field: Field<S>,
    /// `2^51` and `2^102`.
    powers: [[S::f64s; 2]; 2],
}

impl<S: Vectors> Reducer<S> {
    #[inline(always)]
    fn new(simd: S, prime: usize) -> Reducer<S> {
        let prime = PRIMES[prime];
        let one = (1u128 << DIGIT_BITS) % u128::from(prime);
        let two = one * one % u128::from(prime);
        let powers = [one, two].map(|power| factor(prime, power as u64).map(|value| simd.splat_f64s(value)));
        Reducer { field: Field::new(simd, prime), powers }
    }

    /// The residue of a sum.
    #[inline(always)]
    fn reduce(self, sum: Wide<S>) -> S::f64s {
        let Reducer { field, powers } = self;
        let simd = field.simd;
        let mask = simd.splat_u64s((1 << DIGIT_BITS) - 1);
        // In digits of 51 bits. The high one of at most 2048 products stays below 2^11.
        let high = simd.add_u64s(sum.high, simd.high_digit(sum.low));
        let low = field.double(simd.and_u64s(sum.low, mask));
        let middle = field.double(simd.and_u64s(high, mask));
        let top = field.double(simd.high_digit(high));
        // The low digit is below three times the prime.
        let upper = simd.add_f64s(field.times(middle, powers[0]), field.times(top, powers[1]));
        field.canonical(field.reduced(simd.add_f64s(upper, low)))
    }
}

struct AddTo<'a> {
    slice: &'a Slice<'a>,
    tile: usize,
    sums: &'a mut [Pair],
}

impl Kernel for AddTo<'_> {
    #[inline(always)]
    fn run<S: Vectors>(self, simd: S) {
        const { assert!(MAX_DEPTH as u64 <= BIAS >> DIGIT_BITS) };
        let AddTo { slice, tile, sums } = self;
        // Sums that wait for their next chunk, in the order in which they are worked on.
        let mut waiting: Vec<Wide<S>> = Vec::new();
        let chunk = if slice.starts.len() == 1 { slice.depth } else { CHUNK };
        for first in (0..slice.depth).step_by(chunk) {
            let chunk = first..slice.depth.min(first + chunk);
            let mut place = 0;
            for row in 0..slice.starts.len() {
                for part in 0..LANES / S::F64_LANES {
                    for unit in (0..tile).step_by(S::KERNELS) {
                        let at = At { tile, unit, row, part, chunk: chunk.clone(), place };
                        // Calls by name: what is called through a pointer is not compiled for the
                        // vectors.
                        place += match (tile - unit).min(S::KERNELS) {
                            1 => step::<S, 1>(simd, slice, at, &mut waiting, sums),
                            2 => step::<S, 2>(simd, slice, at, &mut waiting, sums),
                            3 => step::<S, 3>(simd, slice, at, &mut waiting, sums),
                            4 => step::<S, 4>(simd, slice, at, &mut waiting, sums),
                            5 => step::<S, 5>(simd, slice, at, &mut waiting, sums),
                            _ => step::<S, TILE>(simd, slice, at, &mut waiting, sums),
                        };
                    }
                }
            }
        }
    }
}

/// The kernels from number `unit` of a tile of `tile` on, a row, which part of all lanes, and a
/// chunk of the depth. Sums wait from `place` on.
struct At {
    tile: usize,
    unit: usize,
    row: usize,
    part: usize,
    chunk: Range<usize>,
    place: usize,
}

/// Adds up the products of `U` kernels; says how many sums these are.
#[inline(always)]
fn step<S: Vectors, const U: usize>(
    simd: S,
    slice: &Slice,
    at: At,
    waiting: &mut Vec<Wide<S>>,
    sums: &mut [Pair],
) -> usize {
    let (chunk, place) = (at.chunk.clone(), at.place);
    let (rows, summer) = (slice.starts.len(), Summer::new(simd));
    let zero = simd.splat_u64s(0);
    let mut wide = [[Wide::<S> { low: zero, high: zero }; 2]; U];
    for (u, wide) in wide.iter_mut().enumerate() {
        for (component, wide) in wide.iter_mut().enumerate() {
            *wide = if chunk.start > 0 {
                waiting[place + 2 * u + component]
            } else if slice.empty {
                summer.begin(zero, slice.depth)
            } else {
                summer.begin(words::<S>(&sums[(at.unit + u) * rows + at.row][component], at.part), slice.depth)
            };
        }
    }
    let operands = &slice.operands[slice.starts[at.row]..][chunk.clone()];
    let kernels = &slice.kernels[chunk.start * at.tile..chunk.end * at.tile];
    let wide = products::<S, U>(summer, wide, operands, kernels, &at);
    if chunk.end < slice.depth {
        for (place, wide) in (place..).zip(wide.as_flattened()) {
            match waiting.get_mut(place) {
                Some(waiting) => *waiting = *wide,
                None => waiting.push(*wide),
            }
        }
    } else {
        let reducer = Reducer::new(simd, slice.prime);
        for (u, wide) in wide.iter().enumerate() {
            for (sum, wide) in sums[(at.unit + u) * rows + at.row].iter_mut().zip(wide) {
                S::as_mut_simd_u64s(&mut sum.0).0[at.part] = reducer.field.word(reducer.reduce(*wide));
            }
        }
    }
    2 * U
}

/// The sums with the products of some operands with their kernels. All sums stay in registers.
#[inline(always)]
fn products<S: Vectors, const U: usize>(
    summer: Summer<S>,
    sums: [[Wide<S>; 2]; U],
    operands: &[Pair],
    kernels: &[Lanes],
    at: &At,
) -> [[Wide<S>; 2]; U] {
    let zero = summer.simd.splat_u64s(0);
    let (mut low, mut high) = ([[zero; 2]; U], [[zero; 2]; U]);
    for u in 0..U {
        for component in 0..2 {
            low[u][component] = sums[u][component].low;
            high[u][component] = sums[u][component].high;
        }
    }
    for (pair, kernels) in operands.iter().zip(kernels.chunks_exact(at.tile)) {
        let (a, b) = (doubles::<S>(&pair[0], at.part), doubles::<S>(&pair[1], at.part));
        let kernels: &[Lanes; U] = kernels[at.unit..].first_chunk().expect("as many");
        for u in 0..U {
            let kernel = doubles::<S>(&kernels[u], at.part);
            [low[u][0], high[u][0]] = summer.plus([low[u][0], high[u][0]], kernel, a);
            [low[u][1], high[u][1]] = summer.plus([low[u][1], high[u][1]], kernel, b);
        }
    }
    let mut sums = sums;
    for u in 0..U {
        for component in 0..2 {
            sums[u][component] = Wide { low: low[u][component], high: high[u][component] };
        }
    }
    sums
}

/// One part of residues.
#[inline(always)]
fn words<S: Vectors>(lanes: &Lanes, part: usize) -> S::u64s {
    S::as_simd_u64s(&lanes.0).0[part]
}

/// One part of factors.
#[inline(always)]
fn doubles<S: Vectors>(lanes: &Lanes, part: usize) -> S::f64s {
    let lanes: &[f64; LANES] = bytemuck::cast_ref(&lanes.0);
    S::as_simd_f64s(lanes).0[part]
}

struct Combine<'a> {
    combinations: &'a Combinations<'a>,
    kernels: &'a mut [Lanes],
}

impl Kernel for Combine<'_> {
    #[inline(always)]
    fn run<S: Vectors>(self, simd: S) {
        let Combine { combinations, kernels } = self;
        let (summer, reducer) = (Summer::new(simd), Reducer::new(simd, combinations.prime));
        let (mut kernels, mut weights) = (kernels.iter_mut(), combinations.weights);
        for tile in (0..combinations.units).step_by(TILE) {
            for terms in combinations.terms {
                for kernel in kernels.by_ref().take(TILE.min(combinations.units - tile)) {
                    let (own, rest) = weights.split_at(terms.len());
                    weights = rest;
                    for (part, kernel) in S::as_mut_simd_u64s(&mut kernel.0).0.iter_mut().enumerate() {
                        let mut wide = summer.begin(simd.splat_u64s(0), terms.len());
                        for (&power, &weight) in terms.iter().zip(own) {
                            let power = doubles::<S>(&combinations.powers[usize::from(power)], part);
                            let weight = simd.splat_f64s(f64::from_bits(weight));
                            [wide.low, wide.high] = summer.plus([wide.low, wide.high], power, weight);
                        }
                        *kernel = simd.transmute_u64s_f64s(reducer.reduce(wide));
                    }
                }
            }
        }
    }
}

struct MultiplyAdd<'a> {
    prime: usize,
    sums: &'a mut [u64],
    left: &'a [u64],
    right: &'a [u64],
}

impl Kernel for MultiplyAdd<'_> {
    #[inline(always)]
    fn run<S: Vectors>(self, simd: S) {
        let field = Field::new(simd, PRIMES[self.prime]);
        let (sums, left, right) =
            (S::as_mut_simd_u64s(self.sums), S::as_simd_u64s(self.left), S::as_simd_u64s(self.right));
        assert!(sums.1.is_empty() && left.1.is_empty() && right.1.is_empty());
        for (sum, (left, right)) in sums.0.iter_mut().zip(left.0.iter().zip(right.0)) {
            let product = field.product(field.double(*left), field.double(*right));
            let value = simd.add_f64s(field.double(*sum), product);
            *sum = field.word(field.canonical(field.reduced(value)));
        }
    }
}
