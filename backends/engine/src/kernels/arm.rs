//! The kernels for processors of this architecture with NEON, its cipher and its carry-less
//! multiplication; bits are moved by the portable kernels.

#![allow(unsafe_code, reason = "vector intrinsics, and calls of functions that need CPU features")]

use std::arch::aarch64::*;

use fusion_catalogue::cpu::Form;

use super::lpn::DENSITY;
use super::narrow::{self, Blocks};
use super::{COLUMNS, RoundKeys};

/// Proof that the CPU has the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Vector(());

impl Vector {
    /// The kernels of a form, if it has any and the CPU can run them.
    pub fn of(form: Form) -> Option<Vector> {
        (form == Form::Neon && form.missing().is_empty()).then_some(Vector(()))
    }

    /// The round keys of AES-128 under `key`.
    pub fn round_keys(self, key: u128) -> RoundKeys {
        // SAFETY: `self` proves the features, here and below.
        unsafe { round_keys(key) }
    }

    /// As [`super::Trees::expand`] for trees of `leaves` leaves with these keys.
    pub fn expand(self, keys: &[RoundKeys], leaves: usize, first: u64, matrix: &mut [u128], sums: &mut [u128]) {
        // SAFETY: as above.
        unsafe { expand(keys, leaves, first, matrix, sums) }
    }

    /// As [`super::transpose`].
    pub fn transpose(self, tile: &mut [u128; COLUMNS]) {
        super::transpose_portable(tile);
    }

    /// Bit `bit` of every value of every chunk.
    pub fn plane(self, chunks: &[[u64; 64]], bit: u8, words: &mut [u64]) {
        words.iter_mut().zip(chunks).for_each(|(word, chunk)| *word = super::plane_portable(chunk, bit));
    }

    /// As [`super::Permutation::hash`].
    pub fn hash(self, keys: &RoundKeys, tweak: u128, rows: &[u128; COLUMNS], offset: u128) -> [u64; COLUMNS] {
        // SAFETY: as above.
        unsafe { hash(keys, tweak, rows, offset) }
    }

    /// For every column the sum of its blocks times those of `weights`, as carry-less products of
    /// 256 bits, low half first.
    pub fn weighted_sums(self, matrix: &[[u128; COLUMNS]], weights: &[u128]) -> [[u128; 2]; COLUMNS] {
        // SAFETY: as above.
        unsafe { weighted_sums(matrix, weights) }
    }

    /// As [`super::Doubler::double`] of the parents in `left`.
    pub fn double(self, keys: &RoundKeys, left: &mut [u128], right: &mut [u128], mask: u128) -> [u128; 2] {
        // SAFETY: as above.
        unsafe { double(keys, left, right, mask) }
    }

    /// As [`super::set`].
    pub fn set(self, nodes: &mut [u128], index: usize, value: u128) {
        super::ggm::set_portable(nodes, index, value);
    }

    /// As [`super::lowest_bits`].
    pub fn lowest_bits(self, rows: &[u128; COLUMNS]) -> u128 {
        super::lowest_bits_portable(rows)
    }

    /// As [`super::SparseCode::add`] with positions from cipher block `first` on, modulo the length
    /// of `secret`, a power of two.
    pub fn add_sparse(self, keys: &RoundKeys, first: u64, secret: &[u128], rows: &mut [u128]) {
        // SAFETY: as above.
        unsafe { add_sparse(keys, first, secret, rows) }
    }

    /// As [`super::field::product`].
    pub fn product(self, a: u128, b: u128) -> u128 {
        // SAFETY: as above.
        unsafe { product(a, b) }
    }

    /// As [`super::field::polynomial`] of a multiple of four blocks.
    pub fn polynomial(self, key: u128, blocks: &[u128]) -> u128 {
        // SAFETY: as above.
        unsafe { polynomial(key, blocks) }
    }
}

/// Proof of the features; made only by functions that need them.
#[derive(Clone, Copy)]
struct Features(());

// SAFETY, throughout: a value of the type proves the features. Loads and stores need no alignment,
// and the slices are checked to be long enough.
impl Blocks for Features {
    type Vector = uint8x16_t;
    const LEN: usize = 1;

    #[inline(always)]
    fn load(self, blocks: &[u128]) -> uint8x16_t {
        unsafe { vld1q_u8(blocks[..1].as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, vector: uint8x16_t, blocks: &mut [u128]) {
        unsafe { vst1q_u8(blocks[..1].as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn store_words(self, vector: uint8x16_t, words: &mut [u32]) {
        unsafe { vst1q_u8(words[..4].as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn store_low(self, vector: uint8x16_t, words: &mut [u64]) {
        unsafe { vst1_u8(words[..1].as_mut_ptr().cast(), vget_low_u8(vector)) }
    }

    #[inline(always)]
    fn splat(self, block: u128) -> uint8x16_t {
        self.load(&[block])
    }

    #[inline(always)]
    fn count(self, first: u128) -> uint8x16_t {
        self.load(&[first])
    }

    #[inline(always)]
    fn xor(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        unsafe { veorq_u8(a, b) }
    }

    #[inline(always)]
    fn and(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        unsafe { vandq_u8(a, b) }
    }

    // The instruction adds a key before its round; here it is added after.
    #[inline(always)]
    fn round(self, block: uint8x16_t, key: uint8x16_t) -> uint8x16_t {
        unsafe { veorq_u8(vaesmcq_u8(vaeseq_u8(block, vdupq_n_u8(0))), key) }
    }

    #[inline(always)]
    fn last_round(self, block: uint8x16_t, key: uint8x16_t) -> uint8x16_t {
        unsafe { veorq_u8(vaeseq_u8(block, vdupq_n_u8(0)), key) }
    }

    #[inline(always)]
    fn swap(self, a: uint8x16_t) -> uint8x16_t {
        unsafe { vextq_u8::<8>(a, a) }
    }

    #[inline(always)]
    fn down(self, a: uint8x16_t) -> uint8x16_t {
        unsafe { vextq_u8::<8>(a, vdupq_n_u8(0)) }
    }

    #[inline(always)]
    fn up(self, a: uint8x16_t) -> uint8x16_t {
        unsafe { vextq_u8::<8>(vdupq_n_u8(0), a) }
    }

    #[inline(always)]
    fn low(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        unsafe {
            let [a, b] = [vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)];
            vreinterpretq_u8_p128(vmull_p64(vgetq_lane_u64::<0>(a), vgetq_lane_u64::<0>(b)))
        }
    }

    #[inline(always)]
    fn high(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        unsafe { vreinterpretq_u8_p128(vmull_high_p64(vreinterpretq_p64_u8(a), vreinterpretq_p64_u8(b))) }
    }

    #[inline(always)]
    fn gather(self, row: u128, blocks: &[u128], positions: &[u32; DENSITY]) -> u128 {
        let mut sum = self.load(&[row]);
        let last = blocks.len().checked_sub(1).expect("blocks");
        for position in positions {
            // The place is at most the last one.
            sum = self.xor(sum, unsafe { vld1q_u8(blocks.as_ptr().add(*position as usize & last).cast()) });
        }
        let mut blocks = [0];
        self.store(sum, &mut blocks);
        blocks[0]
    }

    #[inline(always)]
    fn prefetch(self, blocks: &[u128], index: usize) {
        let place = blocks.as_ptr().wrapping_add(index);
        // Prefetching may be given any address.
        unsafe { std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) place, options(nostack, preserves_flags, readonly)) }
    }
}

#[target_feature(enable = "neon,aes")]
fn round_keys(key: u128) -> RoundKeys {
    let mut keys = [key; 11];
    let mut constant = 1u32;
    for round in 1..11 {
        let last = keys[round - 1];
        // With four equal words the rows' rotation changes nothing.
        let words = vdupq_n_u32((last >> 96) as u32);
        let substituted = vaeseq_u8(vreinterpretq_u8_u32(words), vdupq_n_u8(0));
        let word = vgetq_lane_u32::<0>(vreinterpretq_u32_u8(substituted)).rotate_right(8) ^ constant;
        constant = if constant == 0x80 { 0x1b } else { constant << 1 };
        // Every word is the sum of all words up to it of the last key and the substituted word.
        let summed = last ^ last << 32 ^ last << 64 ^ last << 96;
        let word = u128::from(word);
        keys[round] = summed ^ (word | word << 32 | word << 64 | word << 96);
    }
    keys
}

#[target_feature(enable = "neon,aes")]
fn expand(keys: &[RoundKeys], leaves: usize, first: u64, matrix: &mut [u128], sums: &mut [u128]) {
    narrow::expand(Features(()), keys, leaves, first, matrix, sums)
}

#[target_feature(enable = "neon,aes")]
fn hash(keys: &RoundKeys, tweak: u128, rows: &[u128; COLUMNS], offset: u128) -> [u64; COLUMNS] {
    narrow::hash(Features(()), keys, tweak, rows, offset)
}

#[target_feature(enable = "neon,aes")]
fn weighted_sums(matrix: &[[u128; COLUMNS]], weights: &[u128]) -> [[u128; 2]; COLUMNS] {
    narrow::weighted_sums(Features(()), matrix, weights)
}

#[target_feature(enable = "neon,aes")]
fn double(keys: &RoundKeys, left: &mut [u128], right: &mut [u128], mask: u128) -> [u128; 2] {
    narrow::double(Features(()), keys, left, right, mask)
}

#[target_feature(enable = "neon,aes")]
fn add_sparse(keys: &RoundKeys, first: u64, secret: &[u128], rows: &mut [u128]) {
    narrow::add_sparse(Features(()), keys, first, secret, rows)
}

#[target_feature(enable = "neon,aes")]
fn product(a: u128, b: u128) -> u128 {
    narrow::product(Features(()), a, b)
}

#[target_feature(enable = "neon,aes")]
fn polynomial(key: u128, blocks: &[u128]) -> u128 {
    narrow::polynomial(Features(()), key, blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_keys_are_those_of_the_standard() {
        for vector in Form::available().into_iter().filter_map(Vector::of) {
            // FIPS 197, appendix A.1.
            let key = u128::from_be_bytes(*b"\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c");
            let keys = vector.round_keys(key.swap_bytes());
            assert_eq!(keys[1].swap_bytes(), 0xa0fafe17_88542cb1_23a33939_2a6c7605);
            assert_eq!(keys[10].swap_bytes(), 0xd014f9a8_c9ee2589_e13f0cc8_b6630ca6);
        }
    }
}
