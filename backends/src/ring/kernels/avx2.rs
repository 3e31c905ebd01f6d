//! The form for AVX2: factors in halves of 25 bits, whose products are summed in three words and put together at the end.
#![expect(
    unsafe_code,
    reason = "vector intrinsics: loads and stores of whole half `Lanes`, and calls guarded by the processor's features"
)]

use std::arch::x86_64::*;

use super::super::MODULI;
use super::portable::{SPLIT, reduce};
use super::{LANES, Lanes, MAX_DEPTH, Pair, Slice};

/// Bits of the low half of a factor.
const HALF_BITS: u32 = 25;
/// Values of a register.
const WIDTH: usize = 4;
/// Kernels that are multiplied with an operand while it is in registers.
const AT_ONCE: usize = 2;

/// [`super::Slice::add_to`] for `tile` kernels, if this processor can; says whether it could.
pub fn add_to(slice: &Slice, tile: usize, sums: &mut [Pair]) -> bool {
    if !is_x86_feature_detected!("avx2") {
        return false;
    }
    for unit in (0..tile).step_by(AT_ONCE) {
        // SAFETY: the processor has the feature.
        match (tile - unit).min(AT_ONCE) {
            1 => unsafe { tiled::<1>(slice, tile, unit, sums) },
            _ => unsafe { tiled::<AT_ONCE>(slice, tile, unit, sums) },
        }
    }
    true
}

/// Unreduced sums of one kernel and component: of the low halves' products, of the mixed ones, of the high halves'.
type Wide = [__m256i; 3];

/// The kernels from number `unit` on, `U` of them.
#[target_feature(enable = "avx2")]
fn tiled<const U: usize>(slice: &Slice, tile: usize, unit: usize, sums: &mut [Pair]) {
    // The mixed products are twice as many.
    const { assert!((MAX_DEPTH as u64) < 1 << (63 - 2 * HALF_BITS)) };
    let (rows, zero) = (slice.starts.len(), _mm256_setzero_si256());
    for (row, &start) in slice.starts.iter().enumerate() {
        let operands = &slice.operands[start..start + slice.depth];
        for part in 0..LANES / WIDTH {
            let mut wide = [[[zero; 3]; 2]; U];
            for (pair, kernels) in operands.iter().zip(slice.kernels.chunks_exact(tile)) {
                let pair = pair.each_ref().map(|component| halves(component, part));
                for (wide, kernel) in wide.iter_mut().zip(&kernels[unit..]) {
                    let kernel = halves(kernel, part);
                    for (wide, component) in wide.iter_mut().zip(&pair) {
                        add_product(wide, component, &kernel);
                    }
                }
            }
            for (u, wide) in wide.iter().enumerate() {
                for (sum, wide) in sums[(unit + u) * rows + row].iter_mut().zip(wide) {
                    put_together(slice, wide, &mut sum.0[part * WIDTH..][..WIDTH]);
                }
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn add_product(wide: &mut Wide, left: &[__m256i; 2], right: &[__m256i; 2]) {
    let mixed = _mm256_add_epi64(_mm256_mul_epu32(left[0], right[1]), _mm256_mul_epu32(left[1], right[0]));
    wide[0] = _mm256_add_epi64(wide[0], _mm256_mul_epu32(left[0], right[0]));
    wide[1] = _mm256_add_epi64(wide[1], mixed);
    wide[2] = _mm256_add_epi64(wide[2], _mm256_mul_epu32(left[1], right[1]));
}

/// Adds to `sums`, or overwrites them if those of the slice are empty.
#[target_feature(enable = "avx2")]
fn put_together(slice: &Slice, wide: &Wide, sums: &mut [u64]) {
    let modulus = MODULI[slice.prime];
    let split = modulus.factor(1 << SPLIT);
    let words = wide.map(|values| store(values));
    for (lane, sum) in sums.iter_mut().enumerate() {
        let [low, mixed, high] = words.map(|words| u128::from(words[lane]));
        let before = if slice.empty { 0 } else { u128::from(*sum) };
        *sum = reduce(modulus, split, before + low + (mixed << HALF_BITS) + (high << (2 * HALF_BITS)));
    }
}

/// The low and the high halves of one half of some lanes.
#[target_feature(enable = "avx2")]
fn halves(lanes: &Lanes, part: usize) -> [__m256i; 2] {
    let values: &[u64; WIDTH] = &lanes.0.as_chunks().0[part];
    // SAFETY: 32 bytes, and the load needs no alignment.
    let values = unsafe { _mm256_loadu_si256(std::ptr::from_ref(values).cast()) };
    let low = _mm256_and_si256(values, _mm256_set1_epi64x((1 << HALF_BITS) - 1));
    [low, _mm256_srli_epi64::<{ HALF_BITS as i32 }>(values)]
}

#[target_feature(enable = "avx2")]
fn store(values: __m256i) -> [u64; WIDTH] {
    let mut words = [0; WIDTH];
    // SAFETY: 32 bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), values) };
    words
}
