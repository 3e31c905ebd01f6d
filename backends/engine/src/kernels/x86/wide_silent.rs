//! The kernels of silent oblivious transfer in the same.

#![allow(unsafe_code, reason = "vector loads and stores, and calls of functions that need CPU features")]

use std::arch::x86_64::*;

use super::super::lpn::{BLOCKS, DENSITY, ROWS};
use super::super::{COLUMNS, RoundKeys};
use super::wide::{WIDE, broadcast, count, load, store};

/// Blocks of a polynomial that are taken in one step.
const STEP: usize = 4 * WIDE;

#[target_feature(enable = "avx512f,avx512dq,vaes")]
pub(super) fn double(keys: &RoundKeys, left: &mut [u128], right: &mut [u128], mask: u128) -> [u128; 2] {
    let (mut sums, mask) = ([_mm512_setzero_si512(); 2], broadcast(mask));
    if left.len() < STEP {
        let mut padded = [0; STEP];
        padded[..left.len()].copy_from_slice(left);
        for (start, parents) in (0..left.len()).step_by(4).zip(padded.as_chunks::<4>().0) {
            let parents = [load(parents)];
            let [children] = children(keys, parents, mask);
            let end = left.len().min(start + 4);
            let mut four = [[0; 4]; 2];
            for ((children, four), half) in children.into_iter().zip(&mut four).zip([&mut *left, &mut *right]) {
                store(children, four);
                half[start..end].copy_from_slice(&four[..end - start]);
            }
        }
        let sum = |nodes: &[u128]| nodes.iter().fold(0, |sum, node| sum ^ node);
        return [sum(left), sum(right)];
    }
    for (left, right) in left.as_chunks_mut::<STEP>().0.iter_mut().zip(right.as_chunks_mut::<STEP>().0) {
        let (left, right) = (left.as_chunks_mut::<4>().0, right.as_chunks_mut::<4>().0);
        let mut parents = [_mm512_setzero_si512(); WIDE];
        for (parent, place) in parents.iter_mut().zip(left.iter()) {
            *parent = load(place);
        }
        for ((children, left), right) in children(keys, parents, mask).into_iter().zip(left).zip(right) {
            store(children[0], left);
            store(children[1], right);
            for (sum, child) in sums.iter_mut().zip(children) {
                *sum = _mm512_xor_si512(*sum, child);
            }
        }
    }
    sums.map(|sum| add_lanes(sum))
}

/// The left and right children of every lane, as far as `mask` goes.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn children<const N: usize>(keys: &RoundKeys, parents: [__m512i; N], mask: __m512i) -> [[__m512i; 2]; N] {
    let mut spread = [_mm512_setzero_si512(); N];
    for (spread, parent) in spread.iter_mut().zip(parents) {
        // The halves exchanged, and the former high half added to the new one.
        let swapped = _mm512_permutex_epi64::<0b10_11_00_01>(parent);
        *spread = _mm512_mask_xor_epi64(swapped, 0b1010_1010, swapped, parent);
    }
    let mut hashes = spread;
    encrypt_any(keys, &mut hashes);
    let mut result = [[_mm512_setzero_si512(); 2]; N];
    for (((children, hash), spread), parent) in result.iter_mut().zip(hashes).zip(spread).zip(parents) {
        let hash = _mm512_xor_si512(hash, spread);
        *children = [_mm512_and_si512(hash, mask), _mm512_and_si512(_mm512_xor_si512(hash, parent), mask)];
    }
    result
}

/// As [`encrypt`], of any number of vectors.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn encrypt_any<const N: usize>(keys: &RoundKeys, blocks: &mut [__m512i; N]) {
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

/// The sum of the four lanes of 128 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_lanes(vector: __m512i) -> u128 {
    let mut lanes = [0; 4];
    store(vector, &mut lanes);
    lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3]
}

#[target_feature(enable = "avx512f")]
pub(super) fn set(nodes: &mut [u128], index: usize, value: u128) {
    let (value, index) = (broadcast(value), _mm512_set1_epi64(index as i64));
    let mut places = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
    let (four, rest) = nodes.as_chunks_mut::<4>();
    for nodes in four.iter_mut() {
        let here = _mm512_cmpeq_epi64_mask(places, index);
        store(_mm512_mask_mov_epi64(load(nodes), here, value), nodes);
        places = _mm512_add_epi64(places, _mm512_set1_epi64(4));
    }
    if !rest.is_empty() {
        let mut padded = [0; 4];
        padded[..rest.len()].copy_from_slice(rest);
        let here = _mm512_cmpeq_epi64_mask(places, index);
        store(_mm512_mask_mov_epi64(load(&padded), here, value), &mut padded);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

#[target_feature(enable = "avx512f")]
pub(super) fn lowest_bits(rows: &[u128; COLUMNS]) -> u128 {
    // The low halves of eight rows in one vector.
    let low = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    let one = _mm512_set1_epi64(1);
    rows.as_chunks::<8>().0.iter().rev().fold(0, |bits, rows| {
        let [first, second] = [&rows.as_chunks::<4>().0[0], &rows.as_chunks::<4>().0[1]].map(|four| load(four));
        let halves = _mm512_permutex2var_epi64(first, low, second);
        bits << 8 | u128::from(_mm512_test_epi64_mask(halves, one))
    })
}

/// Vectors of one group's positions.
const VECTORS: usize = BLOCKS / 4;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Positions([u32; ROWS * DENSITY]);

#[target_feature(enable = "avx512f,vaes")]
pub(super) fn add_sparse(keys: &RoundKeys, first: u64, secret: &[u128], rows: &mut [u128]) {
    assert!(secret.len().is_power_of_two() && secret.len() <= 1 << 31, "positions are taken modulo the length");
    let mask = _mm512_set1_epi32((secret.len() - 1) as i32);
    let mut positions = positions(keys, first, mask);
    for (group, rows) in rows.chunks_mut(ROWS).enumerate() {
        let next = self::positions(keys, first + ((group + 1) * BLOCKS) as u64, mask);
        let ahead = next.0.as_chunks::<DENSITY>().0;
        for ((row, positions), ahead) in rows.iter_mut().zip(positions.0.as_chunks::<DENSITY>().0).zip(ahead) {
            // Into the second level, which takes more requests at a time: most of the secret lies
            // in the third.
            for position in ahead {
                // SAFETY: positions are below the length; prefetching has no other effect anyway.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(secret.as_ptr().add(*position as usize).cast()) };
            }
            let mut sum = *row;
            for position in positions {
                // SAFETY: every position was masked to be below the length, which is a power of
                // two.
                sum ^= unsafe { *secret.get_unchecked(*position as usize) };
            }
            *row = sum;
        }
        positions = next;
    }
}

/// The positions of one group, from cipher block `first` on.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn positions(keys: &RoundKeys, first: u64, mask: __m512i) -> Positions {
    let mut blocks = [_mm512_setzero_si512(); VECTORS];
    for (place, block) in blocks.iter_mut().enumerate() {
        *block = count(u128::from(first + 4 * place as u64));
    }
    encrypt_any(keys, &mut blocks);
    let mut positions = Positions([0; ROWS * DENSITY]);
    for (block, place) in blocks.into_iter().zip(positions.0.as_chunks_mut::<16>().0) {
        // SAFETY: 64 bytes are there; no alignment is needed.
        unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), _mm512_and_si512(block, mask)) };
    }
    positions
}

#[target_feature(enable = "pclmulqdq")]
pub(super) fn product(a: u128, b: u128) -> u128 {
    let block = |x: u128| _mm_set_epi64x((x >> 64) as i64, x as i64);
    let (a, b) = (block(a), block(b));
    let cross = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
    let low = _mm_xor_si128(_mm_clmulepi64_si128::<0x00>(a, b), _mm_slli_si128::<8>(cross));
    let high = _mm_xor_si128(_mm_clmulepi64_si128::<0x11>(a, b), _mm_srli_si128::<8>(cross));
    // Twice adds the multiple of the field's polynomial that clears the lowest 64 bits.
    let poly = block(POLY);
    let once = _mm_xor_si128(_mm_shuffle_epi32::<0b01_00_11_10>(low), _mm_clmulepi64_si128::<0x00>(low, poly));
    let twice = _mm_xor_si128(_mm_shuffle_epi32::<0b01_00_11_10>(once), _mm_clmulepi64_si128::<0x00>(once, poly));
    let mut halves = [0u64; 2];
    // SAFETY: 16 bytes are there; no alignment is needed.
    unsafe { _mm_storeu_si128(halves.as_mut_ptr().cast(), _mm_xor_si128(high, twice)) };
    u128::from(halves[0]) | u128::from(halves[1]) << 64
}

/// `x^63 + x^62 + x^57`: the field's polynomial without its ends, divided by `x^64`.
const POLY: u128 = 0xc200_0000_0000_0000;

/// Sums of products that are not yet reduced: low, cross and high ones.
type Sums = [__m512i; 3];

/// Horner's rule in every lane with the fourth power of the key, then the lanes' own powers.
#[target_feature(enable = "avx512f,pclmulqdq,vpclmulqdq")]
pub(super) fn polynomial(key: u128, blocks: &[u128]) -> u128 {
    let mut powers = [key; 4];
    for i in 1..4 {
        powers[i] = product(powers[i - 1], key);
    }
    // The powers 4, 8 and so on of the key, highest first.
    let mut fourths = [powers[3]; WIDE];
    for i in (0..WIDE - 1).rev() {
        fourths[i] = product(fourths[i + 1], powers[3]);
    }
    let fourth = broadcast(powers[3]);
    let mut wide = [fourth; WIDE];
    for (wide, power) in wide.iter_mut().zip(fourths) {
        *wide = broadcast(power);
    }
    let mut total = _mm512_setzero_si512();
    let (steps, rest) = blocks.as_chunks::<STEP>();
    for step in steps {
        let four = step.as_chunks::<4>().0;
        let mut sums = multiply([_mm512_setzero_si512(); 3], total, wide[0]);
        for (blocks, power) in four.iter().zip(&wide[1..]) {
            sums = multiply(sums, load(blocks), *power);
        }
        total = _mm512_xor_si512(reduce(sums), load(&four[WIDE - 1]));
    }
    for blocks in rest.as_chunks::<4>().0 {
        let sums = multiply([_mm512_setzero_si512(); 3], total, fourth);
        total = _mm512_xor_si512(reduce(sums), load(blocks));
    }
    let mut lanes = [0; 4];
    store(total, &mut lanes);
    lanes.iter().zip(powers.iter().rev()).fold(0, |sum, (lane, power)| sum ^ product(*lane, *power))
}

#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn multiply(sums: Sums, a: __m512i, b: __m512i) -> Sums {
    let cross = _mm512_xor_si512(_mm512_clmulepi64_epi128::<0x01>(a, b), _mm512_clmulepi64_epi128::<0x10>(a, b));
    [
        _mm512_xor_si512(sums[0], _mm512_clmulepi64_epi128::<0x00>(a, b)),
        _mm512_xor_si512(sums[1], cross),
        _mm512_xor_si512(sums[2], _mm512_clmulepi64_epi128::<0x11>(a, b)),
    ]
}

/// As at the end of [`product`], in every lane.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn reduce([low, cross, high]: Sums) -> __m512i {
    let zero = _mm512_setzero_si512();
    let low = _mm512_xor_si512(low, _mm512_unpacklo_epi64(zero, cross));
    let high = _mm512_xor_si512(high, _mm512_unpackhi_epi64(cross, zero));
    let poly = broadcast(POLY);
    let fold = |x: __m512i| {
        let swapped = _mm512_permutex_epi64::<0b10_11_00_01>(x);
        _mm512_xor_si512(swapped, _mm512_clmulepi64_epi128::<0x00>(x, poly))
    };
    _mm512_xor_si512(high, fold(fold(low)))
}
