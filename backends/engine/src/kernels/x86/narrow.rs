//! What [`super::super::narrow`] needs of this architecture.

#![allow(unsafe_code, reason = "vector intrinsics, and calls of functions that need CPU features")]

use std::arch::x86_64::*;

use super::super::lpn::DENSITY;
use super::super::narrow::{self, Blocks};

macro_rules! vectors {
    ($module:ident, $vector:ident, $len:literal, $features:literal, $load:ident, $store:ident, $store_low:ident, $splat:ident, $count:ident, $xor:ident,
        $and:ident, $round:ident, $last:ident, $swap:ident, $down:ident, $up:ident, $product:ident) => {
        pub mod $module {
            use super::super::super::{COLUMNS, RoundKeys};
            use super::*;

            /// Proof of the features; made only by functions that need them.
            #[derive(Clone, Copy)]
            struct Features(());

            // SAFETY, throughout: a value of the type proves the features. Loads and stores need no
            // alignment, and the slices are checked to be long enough.
            impl Blocks for Features {
                type Vector = $vector;
                const LEN: usize = $len;

                #[inline(always)]
                fn load(self, blocks: &[u128]) -> $vector {
                    unsafe { $load(blocks[..$len].as_ptr().cast()) }
                }
                #[inline(always)]
                fn store(self, vector: $vector, blocks: &mut [u128]) {
                    unsafe { $store(blocks[..$len].as_mut_ptr().cast(), vector) }
                }
                #[inline(always)]
                fn store_words(self, vector: $vector, words: &mut [u32]) {
                    unsafe { $store(words[..4 * $len].as_mut_ptr().cast(), vector) }
                }
                #[inline(always)]
                fn store_low(self, vector: $vector, words: &mut [u64]) {
                    unsafe { $store_low(vector, words[..$len].as_mut_ptr()) }
                }
                #[inline(always)]
                fn splat(self, block: u128) -> $vector {
                    let (low, high) = (block as i64, (block >> 64) as i64);
                    unsafe { $splat(low, high) }
                }
                #[inline(always)]
                fn count(self, first: u128) -> $vector {
                    let (low, high) = (first as i64, (first >> 64) as i64);
                    unsafe { $count(low, high) }
                }
                #[inline(always)]
                fn xor(self, a: $vector, b: $vector) -> $vector {
                    unsafe { $xor(a, b) }
                }
                #[inline(always)]
                fn and(self, a: $vector, b: $vector) -> $vector {
                    unsafe { $and(a, b) }
                }
                #[inline(always)]
                fn round(self, block: $vector, key: $vector) -> $vector {
                    unsafe { $round(block, key) }
                }
                #[inline(always)]
                fn last_round(self, block: $vector, key: $vector) -> $vector {
                    unsafe { $last(block, key) }
                }
                #[inline(always)]
                fn swap(self, a: $vector) -> $vector {
                    unsafe { $swap::<0b01_00_11_10>(a) }
                }
                #[inline(always)]
                fn down(self, a: $vector) -> $vector {
                    unsafe { $down::<8>(a) }
                }
                #[inline(always)]
                fn up(self, a: $vector) -> $vector {
                    unsafe { $up::<8>(a) }
                }
                #[inline(always)]
                fn low(self, a: $vector, b: $vector) -> $vector {
                    unsafe { $product::<0x00>(a, b) }
                }
                #[inline(always)]
                fn high(self, a: $vector, b: $vector) -> $vector {
                    unsafe { $product::<0x11>(a, b) }
                }
                #[inline(always)]
                fn gather(self, row: u128, blocks: &[u128], positions: &[u32; DENSITY]) -> u128 {
                    unsafe { gather(row, blocks, positions) }
                }
                #[inline(always)]
                fn prefetch(self, blocks: &[u128], index: usize) {
                    // Prefetching may be given any address. The second level takes more requests at
                    // a time, and most of a secret lies in the third.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(blocks.as_ptr().wrapping_add(index).cast()) }
                }
            }

            #[target_feature(enable = $features)]
            pub fn expand(keys: &[RoundKeys], leaves: usize, first: u64, matrix: &mut [u128], sums: &mut [u128]) {
                narrow::expand(Features(()), keys, leaves, first, matrix, sums)
            }
            #[target_feature(enable = $features)]
            pub fn hash(keys: &RoundKeys, tweak: u128, rows: &[u128; COLUMNS], offset: u128) -> [u64; COLUMNS] {
                narrow::hash(Features(()), keys, tweak, rows, offset)
            }
            #[target_feature(enable = $features)]
            pub fn weighted_sums(matrix: &[[u128; COLUMNS]], weights: &[u128]) -> [[u128; 2]; COLUMNS] {
                narrow::weighted_sums(Features(()), matrix, weights)
            }
            #[target_feature(enable = $features)]
            pub fn double(keys: &RoundKeys, left: &mut [u128], right: &mut [u128], mask: u128) -> [u128; 2] {
                narrow::double(Features(()), keys, left, right, mask)
            }
            #[target_feature(enable = $features)]
            pub fn add_sparse(keys: &RoundKeys, first: u64, secret: &[u128], rows: &mut [u128]) {
                narrow::add_sparse(Features(()), keys, first, secret, rows)
            }
            #[target_feature(enable = $features)]
            pub fn product(a: u128, b: u128) -> u128 {
                narrow::product(Features(()), a, b)
            }
            #[target_feature(enable = $features)]
            pub fn polynomial(key: u128, blocks: &[u128]) -> u128 {
                narrow::polynomial(Features(()), key, blocks)
            }
        }
    };
}

vectors!(
    single,
    __m128i,
    1,
    "avx2,aes,pclmulqdq",
    _mm_loadu_si128,
    _mm_storeu_si128,
    store_low_single,
    splat_single,
    splat_single,
    _mm_xor_si128,
    _mm_and_si128,
    _mm_aesenc_si128,
    _mm_aesenclast_si128,
    _mm_shuffle_epi32,
    _mm_srli_si128,
    _mm_slli_si128,
    _mm_clmulepi64_si128
);

vectors!(
    pair,
    __m256i,
    2,
    "avx2,aes,pclmulqdq,vaes,vpclmulqdq",
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    store_low_pair,
    splat_pair,
    count_pair,
    _mm256_xor_si256,
    _mm256_and_si256,
    _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128,
    _mm256_shuffle_epi32,
    _mm256_srli_si256,
    _mm256_slli_si256,
    _mm256_clmulepi64_epi128
);

#[inline]
#[target_feature(enable = "avx2")]
fn splat_single(low: i64, high: i64) -> __m128i {
    _mm_set_epi64x(high, low)
}

#[inline]
#[target_feature(enable = "avx2")]
fn splat_pair(low: i64, high: i64) -> __m256i {
    _mm256_set_epi64x(high, low, high, low)
}

#[inline]
#[target_feature(enable = "avx2")]
fn count_pair(low: i64, high: i64) -> __m256i {
    _mm256_set_epi64x(high, low + 1, high, low)
}

#[inline]
#[target_feature(enable = "avx2")]
fn gather(row: u128, blocks: &[u128], positions: &[u32; DENSITY]) -> u128 {
    let mut sum = splat_single(row as i64, (row >> 64) as i64);
    let last = blocks.len().checked_sub(1).expect("blocks");
    for position in positions {
        // SAFETY: the place is at most the last one; no alignment is needed.
        let block = unsafe { _mm_loadu_si128(blocks.as_ptr().add(*position as usize & last).cast()) };
        sum = _mm_xor_si128(sum, block);
    }
    let mut words = [0u64; 2];
    // SAFETY: 16 bytes are there; no alignment is needed.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), sum) };
    u128::from(words[0]) | u128::from(words[1]) << 64
}

/// One word must be there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_low_single(vector: __m128i, words: *mut u64) {
    // SAFETY: the caller's.
    unsafe { _mm_storel_epi64(words.cast(), vector) }
}

/// Two words must be there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_low_pair(vector: __m256i, words: *mut u64) {
    let low = _mm256_permute4x64_epi64::<0b11_01_10_00>(vector);
    // SAFETY: the caller's.
    unsafe { _mm_storeu_si128(words.cast(), _mm256_castsi256_si128(low)) }
}
