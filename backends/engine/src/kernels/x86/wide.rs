//! The kernels in AVX-512 (F, BW, DQ) with byte permutations (VBMI), VAES, GFNI and VPCLMULQDQ.

#![allow(unsafe_code, reason = "vector loads and stores, and calls of functions that need CPU features")]

use std::arch::x86_64::*;

use zeroize::Zeroize;

use super::super::{COLUMNS, RoundKeys};

/// Vectors that are worked on at once, as many as the cipher's pipeline holds.
pub(super) const WIDE: usize = 8;
/// Tiles whose counters they hold.
const TILES: usize = 4 * WIDE;

/// One leaf's key stream over [`TILES`] tiles.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Stream([u128; TILES]);

/// As [`super::super::Trees::expand`] for trees of `leaves` leaves with these keys.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,vaes")]
pub(super) fn expand(keys: &[RoundKeys], leaves: usize, first: u64, matrix: &mut [u128], sums: &mut [u128]) {
    let trees = keys.len() / leaves;
    // One for each leaf, and one for each column of a tree.
    let mut streams = vec![Stream([0; TILES]); leaves + leaves.trailing_zeros() as usize];
    let parts = matrix.chunks_mut(TILES * COLUMNS).zip(sums.chunks_mut(TILES * trees));
    for (first, (matrix, sums)) in (first..).step_by(TILES).zip(parts) {
        for (tree, keys) in keys.chunks_exact(leaves).enumerate() {
            fold(keys, first, tree, matrix, sums, &mut streams);
        }
    }
    streams.iter_mut().for_each(|stream| stream.0.zeroize());
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(blocks: &[u128; 4]) -> __m512i {
    // SAFETY: 64 bytes are there; no alignment is needed.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(vector: __m512i, blocks: &mut [u128; 4]) {
    // SAFETY: as for `load`.
    unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_bytes(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: as for `load`.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_words(words: &[u64; 8]) -> __m512i {
    // SAFETY: as for `load`.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// The block in all four places.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn broadcast(block: u128) -> __m512i {
    let (low, high) = (block as i64, (block >> 64) as i64);
    _mm512_set_epi64(high, low, high, low, high, low, high, low)
}

/// `first + 0 ..= first + 3`; the low halves must not overflow.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn count(first: u128) -> __m512i {
    let (low, high) = (first as i64, (first >> 64) as i64);
    _mm512_set_epi64(high, low + 3, high, low + 2, high, low + 1, high, low)
}

#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn encrypt(keys: &RoundKeys, blocks: &mut [__m512i; WIDE]) {
    let key = broadcast(keys[0]);
    for block in blocks.iter_mut() {
        *block = _mm512_xor_si512(*block, key);
    }
    for key in &keys[1..10] {
        let key = broadcast(*key);
        for block in blocks.iter_mut() {
            *block = _mm512_aesenc_epi128(*block, key);
        }
    }
    let key = broadcast(keys[10]);
    for block in blocks.iter_mut() {
        *block = _mm512_aesenclast_epi128(*block, key);
    }
}

/// One tree over at most [`TILES`] tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,vaes")]
fn fold(keys: &[RoundKeys], first: u64, tree: usize, matrix: &mut [u128], sums: &mut [u128], streams: &mut [Stream]) {
    let mut counters = [_mm512_setzero_si512(); WIDE];
    for (place, counter) in counters.iter_mut().enumerate() {
        *counter = count(u128::from(first + 4 * place as u64));
    }
    for (keys, stream) in keys.iter().zip(streams.iter_mut()) {
        let mut blocks = counters;
        encrypt(keys, &mut blocks);
        for (block, place) in blocks.into_iter().zip(stream.0.as_chunks_mut::<4>().0) {
            store(block, place);
        }
    }
    let k = keys.len().trailing_zeros() as usize;
    let (streams, columns) = streams.split_at_mut(keys.len());
    for (bit, column) in columns.iter_mut().enumerate().rev() {
        let (lower, upper) = streams[..2 << bit].split_at_mut(1 << bit);
        let mut sum = [_mm512_setzero_si512(); WIDE];
        for (lower, upper) in lower.iter_mut().zip(upper.iter()) {
            let blocks = lower.0.as_chunks_mut::<4>().0.iter_mut().zip(upper.0.as_chunks::<4>().0);
            for ((lower, upper), sum) in blocks.zip(sum.iter_mut()) {
                let upper = load(upper);
                *sum = _mm512_xor_si512(*sum, upper);
                store(_mm512_xor_si512(load(lower), upper), lower);
            }
        }
        for (sum, place) in sum.into_iter().zip(column.0.as_chunks_mut::<4>().0) {
            store(sum, place);
        }
    }
    let trees = sums.len() / (matrix.len() / COLUMNS);
    let tiles = matrix.chunks_exact_mut(COLUMNS).zip(sums.chunks_exact_mut(trees));
    for (index, (tile, sums)) in tiles.enumerate() {
        for (block, column) in tile[tree * k..][..k].iter_mut().zip(columns.iter()) {
            *block = column.0[index];
        }
        sums[tree] = streams[0].0[index];
    }
}

/// The places in `8 columns x 16 bytes` of byte `half * 8 + lane` of every column, the last column
/// first, for every lane.
const GATHER: [[u8; 64]; 2] = {
    let mut places = [[0; 64]; 2];
    let mut i = 0;
    while i < 128 {
        let (half, lane, byte) = (i / 64, i / 8 % 8, i % 8);
        places[half][i % 64] = ((7 - byte) * 16 + half * 8 + lane) as u8;
        i += 1;
    }
    places
};

/// The places in `16 lanes x 8 bytes` of byte `row` of every lane, for four rows.
const SPREAD: [[u8; 64]; 2] = {
    let mut places = [[0; 64]; 2];
    let mut i = 0;
    while i < 128 {
        let (row, lane) = (i / 16, i % 16);
        places[i / 64][i % 64] = (lane * 8 + row) as u8;
        i += 1;
    }
    places
};

/// Bits in `8 x 8` by an affine map, then bytes and lanes by permutations.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
pub(super) fn transpose(tile: &mut [u128; COLUMNS]) {
    let unit = _mm512_set1_epi64(0x8040_2010_0804_0201u64 as i64);
    let gather = [load_bytes(&GATHER[0]), load_bytes(&GATHER[1])];
    let mut lanes = [[_mm512_setzero_si512(); 16]; 2];
    for (place, columns) in tile.as_chunks::<8>().0.iter().enumerate() {
        let [low, high] = [load(&[columns[0], columns[1], columns[2], columns[3]]), {
            load(&[columns[4], columns[5], columns[6], columns[7]])
        }];
        for (half, gather) in lanes.iter_mut().zip(gather) {
            let bytes = _mm512_permutex2var_epi8(low, gather, high);
            half[place] = _mm512_gf2p8affine_epi64_epi8::<0>(unit, bytes);
        }
    }
    let spread = [load_bytes(&SPREAD[0]), load_bytes(&SPREAD[1])];
    for (lanes, rows) in lanes.iter().zip(tile.as_chunks_mut::<64>().0) {
        let (lower, upper) = lanes.split_at(8);
        let lower = transpose_lanes(lower);
        let upper = transpose_lanes(upper);
        for ((lower, upper), rows) in lower.into_iter().zip(upper).zip(rows.as_chunks_mut::<8>().0) {
            for (rows, spread) in rows.as_chunks_mut::<4>().0.iter_mut().zip(spread) {
                store(_mm512_permutex2var_epi8(lower, spread, upper), rows);
            }
        }
    }
}

/// The transpose of `8 x 8` lanes of 64 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_lanes(rows: &[__m512i]) -> [__m512i; 8] {
    let mut columns = [_mm512_setzero_si512(); 8];
    for odd in 0..2 {
        let mut pairs = [_mm512_setzero_si512(); 4];
        for (pair, rows) in pairs.iter_mut().zip(rows.as_chunks::<2>().0) {
            *pair = match odd {
                0 => _mm512_unpacklo_epi64(rows[0], rows[1]),
                _ => _mm512_unpackhi_epi64(rows[0], rows[1]),
            };
        }
        let [a, b, c, d] = pairs;
        let even = [_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0x88>(c, d)];
        let uneven = [_mm512_shuffle_i64x2::<0xdd>(a, b), _mm512_shuffle_i64x2::<0xdd>(c, d)];
        columns[odd] = _mm512_shuffle_i64x2::<0x88>(even[0], even[1]);
        columns[odd + 2] = _mm512_shuffle_i64x2::<0x88>(uneven[0], uneven[1]);
        columns[odd + 4] = _mm512_shuffle_i64x2::<0xdd>(even[0], even[1]);
        columns[odd + 6] = _mm512_shuffle_i64x2::<0xdd>(uneven[0], uneven[1]);
    }
    columns
}

#[target_feature(enable = "avx512f")]
pub(super) fn plane(chunks: &[[u64; 64]], bit: u8, words: &mut [u64]) {
    let bit = _mm512_set1_epi64(1 << bit);
    for (chunk, word) in chunks.iter().zip(words) {
        *word = 0;
        for values in chunk.as_chunks::<8>().0.iter().rev() {
            *word = *word << 8 | u64::from(_mm512_test_epi64_mask(load_words(values), bit));
        }
    }
}

#[target_feature(enable = "avx512f,vaes")]
pub(super) fn hash(keys: &RoundKeys, tweak: u128, rows: &[u128; COLUMNS], offset: u128) -> [u64; COLUMNS] {
    let offset = broadcast(offset);
    let low = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    let mut words = [0; COLUMNS];
    let parts = rows.as_chunks::<TILES>().0.iter().zip(words.as_chunks_mut::<TILES>().0);
    for (tweak, (rows, words)) in (tweak..).step_by(TILES).zip(parts) {
        let mut once = [_mm512_setzero_si512(); WIDE];
        for (block, rows) in once.iter_mut().zip(rows.as_chunks::<4>().0) {
            *block = _mm512_xor_si512(load(rows), offset);
        }
        encrypt(keys, &mut once);
        let mut twice = once;
        for (place, block) in twice.iter_mut().enumerate() {
            *block = _mm512_xor_si512(*block, count(tweak + 4 * place as u128));
        }
        encrypt(keys, &mut twice);
        for place in 0..WIDE {
            twice[place] = _mm512_xor_si512(once[place], twice[place]);
        }
        for (pair, words) in twice.as_chunks::<2>().0.iter().zip(words.as_chunks_mut::<8>().0) {
            let halves = _mm512_permutex2var_epi64(pair[0], low, pair[1]);
            // SAFETY: 64 bytes are there; no alignment is needed.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), halves) };
        }
    }
    words
}

#[target_feature(enable = "avx512f,vpclmulqdq")]
pub(super) fn weighted_sums(matrix: &[[u128; COLUMNS]], weights: &[u128]) -> [[u128; 2]; COLUMNS] {
    const GROUPS: usize = 4;
    let mut result = [[0; 2]; COLUMNS];
    for (group, result) in result.as_chunks_mut::<{ 4 * GROUPS }>().0.iter_mut().enumerate() {
        let mut sums = [[_mm512_setzero_si512(); 3]; GROUPS];
        for (tile, weight) in matrix.iter().zip(weights) {
            let weight = broadcast(*weight);
            let blocks = &tile.as_chunks::<{ 4 * GROUPS }>().0[group];
            for (sum, blocks) in sums.iter_mut().zip(blocks.as_chunks::<4>().0) {
                let blocks = load(blocks);
                let cross = _mm512_xor_si512(
                    _mm512_clmulepi64_epi128::<0x01>(blocks, weight),
                    _mm512_clmulepi64_epi128::<0x10>(blocks, weight),
                );
                sum[0] = _mm512_xor_si512(sum[0], _mm512_clmulepi64_epi128::<0x00>(blocks, weight));
                sum[1] = _mm512_xor_si512(sum[1], cross);
                sum[2] = _mm512_xor_si512(sum[2], _mm512_clmulepi64_epi128::<0x11>(blocks, weight));
            }
        }
        for (sum, result) in sums.into_iter().zip(result.as_chunks_mut::<4>().0) {
            let mut parts = [[0; 4]; 3];
            for (sum, part) in sum.into_iter().zip(parts.iter_mut()) {
                store(sum, part);
            }
            for (lane, result) in result.iter_mut().enumerate() {
                let [low, cross, high] = [parts[0][lane], parts[1][lane], parts[2][lane]];
                *result = [low ^ cross << 64, high ^ cross >> 64];
            }
        }
    }
    result
}
