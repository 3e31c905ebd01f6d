//! The kernels for processors of this architecture, in three kinds: for vectors of four blocks
//! ([`wide`]), of two and of one ([`narrow`]).

#![allow(unsafe_code, reason = "calls of functions that need CPU features")]

use std::arch::x86_64::*;

use fusion_catalogue::cpu::Form;

use super::{COLUMNS, RoundKeys};

mod avx2;
mod narrow;
mod wide;
mod wide_silent;

/// Which kernels; a value is proof that the CPU has the instructions that they use.
#[derive(Clone, Copy)]
pub(crate) struct Vector(Kind);

#[derive(Clone, Copy)]
enum Kind {
    /// Of four blocks.
    Wide,
    /// Of two.
    Pair,
    /// Of one.
    Single,
}

impl Vector {
    /// The kernels of a form, if it has any and the CPU can run them.
    pub fn of(form: Form) -> Option<Vector> {
        let kind = match form {
            Form::Avx512Ifma => Kind::Wide,
            Form::Avx2Vaes => Kind::Pair,
            Form::Avx2 | Form::Avx512 => Kind::Single,
            Form::Portable | Form::Neon => return None,
        };
        form.missing().is_empty().then_some(Vector(kind))
    }

    /// The round keys of AES-128 under `key`.
    pub fn round_keys(self, key: u128) -> RoundKeys {
        // SAFETY: `self` proves the features, here and below.
        unsafe { round_keys(key) }
    }

    /// As [`super::Trees::expand`] for trees of `leaves` leaves with these keys.
    pub fn expand(self, keys: &[RoundKeys], leaves: usize, first: u64, matrix: &mut [u128], sums: &mut [u128]) {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide::expand(keys, leaves, first, matrix, sums),
                Kind::Pair => narrow::pair::expand(keys, leaves, first, matrix, sums),
                Kind::Single => narrow::single::expand(keys, leaves, first, matrix, sums),
            }
        }
    }

    /// As [`super::transpose`].
    pub fn transpose(self, tile: &mut [u128; COLUMNS]) {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide::transpose(tile),
                Kind::Pair | Kind::Single => avx2::transpose(tile),
            }
        }
    }

    /// Bit `bit` of every value of every chunk.
    pub fn plane(self, chunks: &[[u64; 64]], bit: u8, words: &mut [u64]) {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide::plane(chunks, bit, words),
                Kind::Pair | Kind::Single => avx2::plane(chunks, bit, words),
            }
        }
    }

    /// As [`super::Permutation::hash`].
    pub fn hash(self, keys: &RoundKeys, tweak: u128, rows: &[u128; COLUMNS], offset: u128) -> [u64; COLUMNS] {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide::hash(keys, tweak, rows, offset),
                Kind::Pair => narrow::pair::hash(keys, tweak, rows, offset),
                Kind::Single => narrow::single::hash(keys, tweak, rows, offset),
            }
        }
    }

    /// For every column the sum of its blocks times those of `weights`, as carry-less products of
    /// 256 bits, low half first.
    pub fn weighted_sums(self, matrix: &[[u128; COLUMNS]], weights: &[u128]) -> [[u128; 2]; COLUMNS] {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide::weighted_sums(matrix, weights),
                Kind::Pair => narrow::pair::weighted_sums(matrix, weights),
                Kind::Single => narrow::single::weighted_sums(matrix, weights),
            }
        }
    }

    /// As [`super::Doubler::double`] of the parents in `left`.
    pub fn double(self, keys: &RoundKeys, left: &mut [u128], right: &mut [u128], mask: u128) -> [u128; 2] {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide_silent::double(keys, left, right, mask),
                Kind::Pair => narrow::pair::double(keys, left, right, mask),
                Kind::Single => narrow::single::double(keys, left, right, mask),
            }
        }
    }

    /// As [`super::set`].
    pub fn set(self, nodes: &mut [u128], index: usize, value: u128) {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide_silent::set(nodes, index, value),
                Kind::Pair | Kind::Single => avx2::set(nodes, index, value),
            }
        }
    }

    /// As [`super::lowest_bits`].
    pub fn lowest_bits(self, rows: &[u128; COLUMNS]) -> u128 {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide_silent::lowest_bits(rows),
                Kind::Pair | Kind::Single => avx2::lowest_bits(rows),
            }
        }
    }

    /// As [`super::SparseCode::add`] with positions from cipher block `first` on, modulo the length
    /// of `secret`, a power of two.
    pub fn add_sparse(self, keys: &RoundKeys, first: u64, secret: &[u128], rows: &mut [u128]) {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide_silent::add_sparse(keys, first, secret, rows),
                Kind::Pair => narrow::pair::add_sparse(keys, first, secret, rows),
                Kind::Single => narrow::single::add_sparse(keys, first, secret, rows),
            }
        }
    }

    /// As [`super::field::product`].
    pub fn product(self, a: u128, b: u128) -> u128 {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide_silent::product(a, b),
                Kind::Pair => narrow::pair::product(a, b),
                Kind::Single => narrow::single::product(a, b),
            }
        }
    }

    /// As [`super::field::polynomial`] of a multiple of four blocks.
    pub fn polynomial(self, key: u128, blocks: &[u128]) -> u128 {
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Kind::Wide => wide_silent::polynomial(key, blocks),
                Kind::Pair => narrow::pair::polynomial(key, blocks),
                Kind::Single => narrow::single::polynomial(key, blocks),
            }
        }
    }
}

#[target_feature(enable = "aes")]
fn round_keys(key: u128) -> RoundKeys {
    let mut keys = [key; 11];
    for round in 1..11 {
        let last = keys[round - 1];
        let previous = _mm_set_epi64x((last >> 64) as i64, last as i64);
        let assist = match round {
            1 => _mm_aeskeygenassist_si128::<0x01>(previous),
            2 => _mm_aeskeygenassist_si128::<0x02>(previous),
            3 => _mm_aeskeygenassist_si128::<0x04>(previous),
            4 => _mm_aeskeygenassist_si128::<0x08>(previous),
            5 => _mm_aeskeygenassist_si128::<0x10>(previous),
            6 => _mm_aeskeygenassist_si128::<0x20>(previous),
            7 => _mm_aeskeygenassist_si128::<0x40>(previous),
            8 => _mm_aeskeygenassist_si128::<0x80>(previous),
            9 => _mm_aeskeygenassist_si128::<0x1b>(previous),
            _ => _mm_aeskeygenassist_si128::<0x36>(previous),
        };
        let mut halves = [0u64; 2];
        // SAFETY: 16 bytes are there; no alignment is needed.
        unsafe { _mm_storeu_si128(halves.as_mut_ptr().cast(), assist) };
        let substituted = u128::from((halves[1] >> 32) as u32);
        // Every word is the sum of all words up to it of the last key and the substituted word.
        let summed = last ^ last << 32 ^ last << 64 ^ last << 96;
        keys[round] = summed ^ (substituted | substituted << 32 | substituted << 64 | substituted << 96);
    }
    keys
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
