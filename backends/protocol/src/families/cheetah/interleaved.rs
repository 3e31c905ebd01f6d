//! Output packing: the server turns many sums of few wanted coefficients into few full ciphertexts
//! before it returns them.
//!
//! **Layout.** With `D = 2^levels`, a polynomial in `X` is `D` polynomials in `Y = X^D`, one for
//! each residue class of exponents modulo `D`. Operand channels are dealt out to the classes, and
//! the packing of [`Packing`](super::Packing) is that of degree `N / D` in `Y`. A kernel holds the
//! weights of class `c` in class `-c`. So what is wanted of a product lies in class 0, and every
//! other class holds sums that mix channels.
//!
//! **Packing.** Let `s_r` be the automorphism `X -> X^(1 + N / 2^r)`: it negates `X^(2^r)` and
//! fixes `X^(2^(r+1))`. Level by level, `r = levels - 1` down to 0, two ciphertexts `e`, `o` become
//!
//! ```text
//! u + s_r(v),  u = (e + X^(2^r) o) / 2,  v = (e - X^(2^r) o) / 2    (modulo q)
//! ```
//!
//! where the key of `s_r(v)` is changed back. After all levels class 0 of each of `D` sums is a
//! class of one ciphertext, multiplied by 1, and all other classes are gone: the composed map is
//! `1 / D` times the trace onto polynomials in `Y` (Chen, Dai, Kim, Song: "Efficient homomorphic
//! conversion between (ring) LWE ciphertexts", ACNS 2021, algorithm 2, for whole residue classes
//! instead of single coefficients, as ciphertexts are interleaved in Rhombus, CCS 2024).
//!
//! **Noise.** Halving modulo `q` at every level instead of dividing by `D` once changes nothing for
//! a message. But what a change of key adds is halved as often as the levels after it double it: it
//! stays as it is, instead of being multiplied by up to `D / 2`. In between, a phase is no small
//! multiple of anything; nobody decrypts it there. So [`switching_variance`] is that of one change
//! of key times the levels.
//!
//! **Changes of key** take the residues of `a` modulo either prime apart into [`DIGITS`] signed
//! digits of [`DIGIT_BITS`] bits; the key of a level is an encryption of each digit's weight times
//! `s_r(secret)` (a special prime would take the room that the flood needs). Digits follow from
//! public randomness and weights alone, never from errors.

use crate::rlwe::{DEGREE, ERROR_FLIPS, POLYNOMIAL_BYTES, PRIMES, RESIDUE_BITS, SEED_BYTES};

/// The most levels: more would save little and cost the server more changes of key.
pub const MAX_LEVELS: u32 = 6;

/// Bits of a digit. With one digit fewer, the noise of wide accumulators could not be hidden.
pub const DIGIT_BITS: u32 = 13;

/// Digits of a residue modulo one prime.
pub const DIGITS: usize = RESIDUE_BITS.div_ceil(DIGIT_BITS) as usize;

/// Key polynomials of a level.
pub const KEYS_PER_LEVEL: usize = PRIMES.len() * DIGITS;

/// Bytes that must be saved for a change of key to be worth it: about what a network of some 160
/// Mbit/s carries meanwhile.
pub const SWITCH_BYTES: usize = 2048;

/// Bytes of one position's keys for so many levels: a seed, and `b` of every key polynomial.
pub fn key_bytes(levels: u32) -> usize {
    SEED_BYTES + levels as usize * KEYS_PER_LEVEL * POLYNOMIAL_BYTES
}

/// Bytes of memory that the server needs for one position's packing of so many levels: its keys,
/// and what waits in a tree.
pub fn memory_bytes(levels: u32) -> u64 {
    let spectra = 2 * levels as usize * KEYS_PER_LEVEL + 2 * (levels as usize + 1);
    (spectra * PRIMES.len() * DEGREE * size_of::<u64>()) as u64
}

/// Changes of key until `sums` sums are packed, each result of `2^levels` of them (the last maybe
/// of fewer).
pub fn switches(sums: usize, levels: u32) -> usize {
    let of = |count: usize| (1..=levels).map(|level| count.div_ceil(1 << level)).sum::<usize>();
    (sums >> levels) * of(1 << levels) + of(sums % (1 << levels))
}

/// The class that sum number `index` of a result of `2^levels` sums goes to: those that meet first
/// come one after the other.
pub fn class(index: usize, levels: u32) -> usize {
    debug_assert!(index < 1 << levels);
    (0..levels).fold(0, |class, bit| class << 1 | index >> bit & 1)
}

/// A bound on the variance of what the changes of key of all levels add to a coefficient, in units
/// of 1 modulo `q`: whatever the digits are, over the errors in the keys.
pub fn switching_variance(levels: u32) -> f64 {
    // All digits but the last are at most half of 2^DIGIT_BITS in magnitude, the last is what
    // remains of half a prime.
    let last = RESIDUE_BITS - DIGIT_BITS * (DIGITS as u32 - 1);
    let squares = (DIGITS - 1) as f64 * f64::from(2 * (DIGIT_BITS - 1)).exp2() + f64::from(2 * (last - 1)).exp2();
    let error = f64::from(ERROR_FLIPS) / 2.0;
    f64::from(levels) * (PRIMES.len() * DEGREE) as f64 * squares * error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_key_are_the_inner_nodes_of_the_trees() {
        assert_eq!(switches(100, 0), 0);
        assert_eq!(switches(64, 6), 63);
        assert_eq!(switches(1, 6), 6);
        // Three of four: two pairs, of which one has nothing to be paired with, and one at the top.
        assert_eq!(switches(4 * 5 + 3, 2), 5 * 3 + 3);
    }

    #[test]
    fn classes_are_a_permutation_in_which_neighbours_are_half_apart() {
        for levels in 0..=MAX_LEVELS {
            let mut classes: Vec<usize> = (0..1 << levels).map(|index| class(index, levels)).collect();
            assert!(classes.chunks_exact(2).all(|pair| pair[1] == pair[0] + (1 << levels) / 2));
            classes.sort_unstable();
            assert!(classes.into_iter().eq(0..1 << levels));
        }
    }

    #[test]
    fn digits_cover_a_residue() {
        assert!(DIGITS as u32 * DIGIT_BITS >= RESIDUE_BITS && (DIGITS as u32 - 1) * DIGIT_BITS < RESIDUE_BITS - 1);
    }
}
