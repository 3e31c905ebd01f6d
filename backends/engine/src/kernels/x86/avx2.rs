//! Kernels on bits in AVX2.

#![allow(unsafe_code, reason = "vector loads and stores")]

use std::arch::x86_64::*;

use super::super::COLUMNS;

/// As [`super::super::transpose`]: bits of eight neighbouring columns change places with columns,
/// then bytes with bytes.
#[target_feature(enable = "avx2")]
pub fn transpose(tile: &mut [u128; COLUMNS]) {
    // By `i` and `q`: byte `b` of the lower lane holds bit `8 b + i` of columns `8 q` to `8 q + 7`;
    // of the upper lane, those of `q + 8`.
    let mut bytes = [[_mm256_setzero_si256(); 8]; 8];
    let (lower, upper) = tile.split_at(COLUMNS / 2);
    for (q, (lower, upper)) in lower.as_chunks::<8>().0.iter().zip(upper.as_chunks::<8>().0).enumerate() {
        let mut columns = [_mm256_setzero_si256(); 8];
        for (column, (lower, upper)) in columns.iter_mut().zip(lower.iter().zip(upper)) {
            *column = load(&[*lower, *upper]);
        }
        swap_bits::<4>(&mut columns, 0x0f0f_0f0f_0f0f_0f0f);
        swap_bits::<2>(&mut columns, 0x3333_3333_3333_3333);
        swap_bits::<1>(&mut columns, 0x5555_5555_5555_5555);
        for (bytes, column) in bytes.iter_mut().zip(columns) {
            bytes[q] = column;
        }
    }
    for (i, bytes) in bytes.iter().enumerate() {
        // Three interleavings of halves take byte `b` of vector `q` to byte `8 (b mod 2) + q` of
        // vector `b / 2`.
        let mut vectors = *bytes;
        for _ in 0..3 {
            let mut next = vectors;
            for k in 0..4 {
                next[2 * k] = _mm256_unpacklo_epi8(vectors[k], vectors[k + 4]);
                next[2 * k + 1] = _mm256_unpackhi_epi8(vectors[k], vectors[k + 4]);
            }
            vectors = next;
        }
        for (pair, vector) in vectors.into_iter().enumerate() {
            let mut rows = [0; 2];
            store(_mm256_permute4x64_epi64::<0b11_01_10_00>(vector), &mut rows);
            [tile[16 * pair + i], tile[16 * pair + 8 + i]] = rows;
        }
    }
}

/// Exchanges bit `SIDE` of the number of a vector and of the number of a bit.
#[inline]
#[target_feature(enable = "avx2")]
fn swap_bits<const SIDE: i32>(vectors: &mut [__m256i; 8], mask: u64) {
    let mask = _mm256_set1_epi64x(mask as i64);
    for i in 0..8 {
        let other = i + SIDE as usize;
        if i & SIDE as usize == 0 {
            let (a, b) = (vectors[i], vectors[other]);
            let moved = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi64::<SIDE>(a), b), mask);
            vectors[other] = _mm256_xor_si256(b, moved);
            vectors[i] = _mm256_xor_si256(a, _mm256_slli_epi64::<SIDE>(moved));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(blocks: &[u128; 2]) -> __m256i {
    // SAFETY: 32 bytes are there; no alignment is needed.
    unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(vector: __m256i, blocks: &mut [u128; 2]) {
    // SAFETY: as for `load`.
    unsafe { _mm256_storeu_si256(blocks.as_mut_ptr().cast(), vector) }
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
        let (a, b) = (load(&[rows[0], rows[1]]), load(&[rows[2], rows[3]]));
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
        store(_mm256_blendv_epi8(load(nodes), value, here), nodes);
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
