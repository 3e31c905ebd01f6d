//! The form for AVX-512 IFMA: products of 52 bits by 52, their low and high halves summed apart and
//! reduced at the end.
#![expect(
    unsafe_code,
    reason = "vector intrinsics: loads and stores of whole `Lanes`, and calls guarded by the processor's features"
)]

use std::arch::x86_64::*;

use super::{Combinations, HALF_BITS, LANES, Lanes, MAX_DEPTH, Pair, REDUCTIONS, Slice, TILE, detected_ifma, prefetch};

/// Products that are summed before the next row: with a whole tile of kernels, what half of the
/// nearest cache holds.
const CHUNK: usize = 64;

/// [`super::Slice::add_to`] for `tile` kernels, if this processor can; says whether it could.
pub fn add_to(slice: &Slice, tile: usize, sums: &mut [Pair]) -> bool {
    if !detected_ifma() {
        return false;
    }
    let run = match tile {
        1 => tiled::<1>,
        2 => tiled::<2>,
        3 => tiled::<3>,
        4 => tiled::<4>,
        5 => tiled::<5>,
        TILE => tiled::<TILE>,
        _ => return false,
    };
    // SAFETY: the processor has both features.
    unsafe { run(slice, sums) };
    true
}

/// Unreduced sums of one row: for every kernel and component the low halves and the high halves.
#[derive(Clone, Copy)]
struct Wide<const U: usize> {
    low: [[__m512i; 2]; U],
    high: [[__m512i; 2]; U],
}

impl<const U: usize> Wide<U> {
    /// These and the products of some operands with their kernels. All sums stay in registers, and
    /// the operands of the `next` call, as many or none, come near.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn plus(&self, operands: &[Pair], kernels: &[[Lanes; U]], next: &[Pair]) -> Wide<U> {
        let (mut lows, mut highs) = (self.low, self.high);
        let nexts = if next.is_empty() { operands } else { next };
        for ((pair, kernels), next) in operands.iter().zip(kernels).zip(nexts) {
            prefetch(next);
            let (a, b) = (load(&pair[0]), load(&pair[1]));
            for ((low, high), kernel) in lows.iter_mut().zip(&mut highs).zip(kernels) {
                let kernel = load(kernel);
                low[0] = _mm512_madd52lo_epu64(low[0], kernel, a);
                high[0] = _mm512_madd52hi_epu64(high[0], kernel, a);
                low[1] = _mm512_madd52lo_epu64(low[1], kernel, b);
                high[1] = _mm512_madd52hi_epu64(high[1], kernel, b);
            }
        }
        Wide { low: lows, high: highs }
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn tiled<const U: usize>(slice: &Slice, sums: &mut [Pair]) {
    const { assert!((MAX_DEPTH as u128 + 1) << HALF_BITS <= 1 << 64) };
    let rows = slice.starts.len();
    let reducer = Reducer::new(slice.prime);
    let zero = _mm512_setzero_si512();
    let mut waiting: Vec<Wide<U>> = Vec::new();
    let chunk = if rows == 1 { slice.depth } else { CHUNK };
    for first in (0..slice.depth).step_by(chunk) {
        let chunk = chunk.min(slice.depth - first);
        let kernels = slice.kernels[first * U..][..chunk * U].as_chunks::<U>().0;
        for (row, &start) in slice.starts.iter().enumerate() {
            let mut wide = Wide { low: [[zero; 2]; U], high: [[zero; 2]; U] };
            if first > 0 {
                wide = waiting[row];
            } else if !slice.empty {
                for (u, low) in wide.low.iter_mut().enumerate() {
                    let [a, b] = &sums[u * rows + row];
                    *low = [load(a), load(b)];
                }
            }
            let operands = |start: usize| &slice.operands[start + first..][..chunk];
            let next = slice.starts.get(row + 1).map_or(&[][..], |start| operands(*start));
            wide = wide.plus(operands(start), kernels, next);
            if first + chunk == slice.depth {
                for (u, (low, high)) in wide.low.iter().zip(&wide.high).enumerate() {
                    let [a, b] = &mut sums[u * rows + row];
                    store(a, reducer.reduce(low[0], high[0]));
                    store(b, reducer.reduce(low[1], high[1]));
                }
            } else if first == 0 {
                waiting.push(wide);
            } else {
                waiting[row] = wide;
            }
        }
    }
}

/// [`Combinations::write_to`], if this processor can; says whether it could.
pub fn combine(combinations: &Combinations, kernels: &mut [Lanes]) -> bool {
    if !detected_ifma() {
        return false;
    }
    let (units, terms) = (combinations.units, combinations.terms);
    let per_unit = terms.iter().map(Vec::len).sum::<usize>();
    let tiles = kernels.chunks_mut(TILE * terms.len()).zip(combinations.weights.chunks(TILE * per_unit));
    for (tile, (kernels, weights)) in tiles.enumerate() {
        let run = match TILE.min(units - tile * TILE) {
            1 => combined::<1>,
            2 => combined::<2>,
            3 => combined::<3>,
            4 => combined::<4>,
            5 => combined::<5>,
            _ => combined::<TILE>,
        };
        // SAFETY: the processor has both features.
        unsafe { run(combinations, weights, kernels) };
    }
    true
}

/// One tile of `U` units.
#[target_feature(enable = "avx512f,avx512ifma")]
fn combined<const U: usize>(combinations: &Combinations, weights: &[u64], kernels: &mut [Lanes]) {
    let reducer = Reducer::new(combinations.prime);
    let mut rest = weights;
    for (terms, kernels) in combinations.terms.iter().zip(kernels.as_chunks_mut::<U>().0) {
        let (weights, behind) = rest.split_at(U * terms.len());
        rest = behind;
        let zero = _mm512_setzero_si512();
        let (mut low, mut high) = ([zero; U], [zero; U]);
        for (t, &power) in terms.iter().enumerate() {
            let power = load(&combinations.powers[usize::from(power)]);
            for u in 0..U {
                let weight = _mm512_set1_epi64(weights[u * terms.len() + t] as i64);
                low[u] = _mm512_madd52lo_epu64(low[u], power, weight);
                high[u] = _mm512_madd52hi_epu64(high[u], power, weight);
            }
        }
        // Few enough that the high halves, and what the low ones carry over, stay within one digit.
        let few = terms.len() < 16;
        for (kernel, (low, high)) in kernels.iter_mut().zip(low.into_iter().zip(high)) {
            store(kernel, if few { reducer.reduce_few(low, high) } else { reducer.reduce(low, high) });
        }
    }
}

/// Adds products of residues of prime number `prime`, one by one, if this processor can; says
/// whether it could.
pub fn multiply_add(prime: usize, sums: &mut [u64], left: &[u64], right: &[u64]) -> bool {
    if !detected_ifma() {
        return false;
    }
    let (sums, left, right) = (sums.as_chunks_mut(), left.as_chunks(), right.as_chunks());
    assert!(sums.1.is_empty() && left.1.is_empty() && right.1.is_empty());
    // SAFETY: the processor has both features.
    unsafe { products(prime, sums.0, left.0, right.0) };
    true
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn products(prime: usize, sums: &mut [[u64; LANES]], left: &[[u64; LANES]], right: &[[u64; LANES]]) {
    let (reducer, zero) = (Reducer::new(prime), _mm512_setzero_si512());
    for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
        // SAFETY: each is 64 bytes.
        let [before, left, right] =
            unsafe { [&*sum, left, right].map(|lanes| _mm512_loadu_si512(lanes.as_ptr().cast())) };
        let (low, high) = (_mm512_madd52lo_epu64(before, left, right), _mm512_madd52hi_epu64(zero, left, right));
        let residue = reducer.reduce_few(low, high);
        // SAFETY: it is 64 bytes.
        unsafe { _mm512_storeu_si512(sum.as_mut_ptr().cast(), residue) };
    }
}

/// What reduces `high 2^52 + low`: [`super::Reduction`] in registers.
struct Reducer {
    prime: __m512i,
    factors: [[__m512i; 2]; 2],
}

impl Reducer {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(prime: usize) -> Reducer {
        let splat = |value: u64| _mm512_set1_epi64(value as i64);
        let reduction = &REDUCTIONS[prime];
        Reducer { prime: splat(reduction.prime), factors: reduction.factors.map(|factor| factor.map(splat)) }
    }

    /// The residue of `high 2^52 + low`, any words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduce(&self, low: __m512i, high: __m512i) -> __m512i {
        let mask = _mm512_set1_epi64((1 << HALF_BITS) - 1);
        let two = _mm512_slli_epi64::<1>(self.prime);
        let four = _mm512_slli_epi64::<2>(self.prime);
        // In digits of 52 bits; the high word stays below 2^64, being a sum of less than 2^12
        // halves.
        let high = _mm512_add_epi64(high, _mm512_srli_epi64::<HALF_BITS>(low));
        let top = _mm512_srli_epi64::<HALF_BITS>(high);
        let middle = _mm512_and_si512(high, mask);
        // Each product is below twice the prime, and 2^52 is below five times.
        let products = _mm512_add_epi64(self.times(0, middle), self.times(1, top));
        let sum = _mm512_add_epi64(subtract_once(products, two), _mm512_and_si512(low, mask));
        subtract_once(subtract_once(subtract_once(sum, four), two), self.prime)
    }

    /// The residue of `high 2^52 + low`, the sums of the halves of fewer than sixteen products of
    /// residues.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduce_few(&self, low: __m512i, high: __m512i) -> __m512i {
        let mask = _mm512_set1_epi64((1 << HALF_BITS) - 1);
        let two = _mm512_slli_epi64::<1>(self.prime);
        let four = _mm512_slli_epi64::<2>(self.prime);
        // A product's high half is below 2^48.
        let middle = _mm512_add_epi64(high, _mm512_srli_epi64::<HALF_BITS>(low));
        let sum = _mm512_add_epi64(self.times(0, middle), _mm512_and_si512(low, mask));
        subtract_once(subtract_once(subtract_once(sum, four), two), self.prime)
    }

    /// `value` below 2^52 times a factor, below twice the prime.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn times(&self, factor: usize, value: __m512i) -> __m512i {
        let (zero, [factor, quotient]) = (_mm512_setzero_si512(), self.factors[factor]);
        let quotient = _mm512_madd52hi_epu64(zero, value, quotient);
        let difference = _mm512_sub_epi64(
            _mm512_madd52lo_epu64(zero, value, factor),
            _mm512_madd52lo_epu64(zero, quotient, self.prime),
        );
        _mm512_and_si512(difference, _mm512_set1_epi64((1 << HALF_BITS) - 1))
    }
}

/// `value - by` where that is not negative.
#[inline]
#[target_feature(enable = "avx512f")]
fn subtract_once(value: __m512i, by: __m512i) -> __m512i {
    _mm512_min_epu64(value, _mm512_sub_epi64(value, by))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(lanes: &Lanes) -> __m512i {
    // SAFETY: `Lanes` is 64 bytes, aligned to 64.
    unsafe { _mm512_load_si512(std::ptr::from_ref(lanes).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(lanes: &mut Lanes, value: __m512i) {
    // SAFETY: `Lanes` is 64 bytes, aligned to 64.
    unsafe { _mm512_store_si512(std::ptr::from_mut(lanes).cast(), value) }
}
