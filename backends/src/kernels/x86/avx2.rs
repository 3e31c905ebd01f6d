//! Kernels on bits in AVX2.

#![allow(unsafe_code, reason = "vector loads and stores")]

use std::arch::x86_64::*;

use super::super::COLUMNS;

/// Bytes of a block.
const BYTES: usize = 16;

/// As [`super::super::transpose`]: bytes by permutations, then a bit of each of 32 bytes at a time.
#[target_feature(enable = "avx2")]
pub fn transpose(tile: &mut [u128; COLUMNS]) {
    // Byte `b` of every column, for 32 columns at a time.
    let mut bytes = [[_mm256_setzero_si256(); COLUMNS / 32]; BYTES];
    for (place, columns) in tile.as_chunks::<32>().0.iter().enumerate() {
        for (byte, vector) in transpose_bytes(columns).into_iter().enumerate() {
            bytes[byte][place] = vector;
        }
    }
    for (rows, bytes) in tile.as_chunks_mut::<8>().0.iter_mut().zip(bytes) {
        let mut bytes = bytes;
        for row in rows.iter_mut().rev() {
            let mut words = [0u128; COLUMNS / 32];
            for (word, bytes) in words.iter_mut().zip(&mut bytes) {
                *word = (_mm256_movemask_epi8(*bytes) as u32).into();
                *bytes = _mm256_add_epi8(*bytes, *bytes);
            }
            *row = words[0] | words[1] << 32 | words[2] << 64 | words[3] << 96;
        }
    }
}

/// Byte `b` of all columns, in their order, for every `b`.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose_bytes(columns: &[u128; 32]) -> [__m256i; BYTES] {
    // Columns 16 apart share a vector; a step interleaves those half as far apart as the last one did.
    let mut vectors = [_mm256_setzero_si256(); BYTES];
    for (i, vector) in vectors.iter_mut().enumerate() {
        let halves = [columns[i], columns[i + BYTES]];
        // SAFETY: 32 bytes are there; no alignment is needed.
        *vector = unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) };
    }
    for _ in 0..4 {
        let mut next = vectors;
        for i in 0..BYTES / 2 {
            next[2 * i] = _mm256_unpacklo_epi8(vectors[i], vectors[i + BYTES / 2]);
            next[2 * i + 1] = _mm256_unpackhi_epi8(vectors[i], vectors[i + BYTES / 2]);
        }
        vectors = next;
    }
    vectors
}

/// Bit `bit` of every value of every chunk.
#[target_feature(enable = "avx2")]
pub fn plane(chunks: &[[u64; 64]], bit: u8, words: &mut [u64]) {
    let up = _mm_cvtsi32_si128(63 - i32::from(bit));
    for (chunk, word) in chunks.iter().zip(words) {
        *word = chunk.as_chunks::<4>().0.iter().rev().fold(0, |word, values| {
            // SAFETY: 32 bytes are there; no alignment is needed.
            let values = unsafe { _mm256_loadu_si256(values.as_ptr().cast()) };
            word << 4 | signs(_mm256_sll_epi64(values, up))
        });
    }
}

/// The highest bits of four words.
#[inline]
#[target_feature(enable = "avx2")]
fn signs(words: __m256i) -> u64 {
    _mm256_movemask_pd(_mm256_castsi256_pd(words)) as u64
}

/// As [`super::super::lowest_bits`].
#[target_feature(enable = "avx2")]
pub fn lowest_bits(rows: &[u128; COLUMNS]) -> u128 {
    rows.as_chunks::<4>().0.iter().rev().fold(0, |bits, rows| {
        // SAFETY: 32 bytes are there; no alignment is needed.
        let [a, b] = [0, 2].map(|i| unsafe { _mm256_loadu_si256(rows[i..i + 2].as_ptr().cast()) });
        let low = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpacklo_epi64(a, b));
        bits << 4 | u128::from(signs(_mm256_slli_epi64::<63>(low)))
    })
}

/// As [`super::super::set`].
#[target_feature(enable = "avx2")]
pub fn set(nodes: &mut [u128], index: usize, value: u128) {
    let (low, high) = (value as i64, (value >> 64) as i64);
    let (value, index) = (_mm256_set_epi64x(high, low, high, low), _mm256_set1_epi64x(index as i64));
    let mut places = _mm256_set_epi64x(1, 1, 0, 0);
    let (two, rest) = nodes.as_chunks_mut::<2>();
    for nodes in two {
        let here = _mm256_cmpeq_epi64(places, index);
        // SAFETY: 32 bytes are there; no alignment is needed.
        unsafe {
            let before = _mm256_loadu_si256(nodes.as_ptr().cast());
            _mm256_storeu_si256(nodes.as_mut_ptr().cast(), _mm256_blendv_epi8(before, value, here));
        }
        places = _mm256_add_epi64(places, _mm256_set1_epi64x(2));
    }
    if let [node] = rest {
        let here = _mm256_cmpeq_epi64(places, index);
        let (mask, new) = (_mm256_castsi256_si128(here), _mm256_castsi256_si128(value));
        // SAFETY: 16 bytes are there; no alignment is needed.
        unsafe {
            let pointer: *mut __m128i = std::ptr::from_mut(node).cast();
            _mm_storeu_si128(pointer, _mm_blendv_epi8(_mm_loadu_si128(pointer), new, mask));
        }
    }
}
