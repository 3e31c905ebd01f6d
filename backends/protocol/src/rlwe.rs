//! The parameters of RLWE ciphertexts: what carries linear layers of the `cheetah` family.

use fusion_ir::Party;

use crate::{Cost, Primitive};

/// Ring degree `N`: polynomials are in `Z_q[X] / (X^N + 1)`.
pub const DEGREE: usize = 4096;

/// The primes whose product is the ciphertext modulus `q`: the two largest below 2^50 that are 1
/// mod 2^34.
///
/// 1 mod `2N`, so the number-theoretic transform exists; 1 mod every admissible plaintext modulus
/// `2^acc`, so the scale `q / 2^acc` is an integer but for `2^-acc` and plaintexts are encoded by
/// one multiplication. With `N = 4096`, `q < 2^100` and ternary secrets this is within the 128-bit
/// row (109 bits) of the Homomorphic Encryption Standard (Albrecht et al. 2018, table 1).
pub const PRIMES: [u64; 2] = [0x3_ffc0_0000_0001, 0x3_ffa0_0000_0001];

/// Bits of one coefficient modulo one prime on the wire.
pub const RESIDUE_BITS: u32 = 50;

/// Bytes of a seed from which a uniform polynomial is expanded.
pub const SEED_BYTES: usize = 32;

/// Bytes of one polynomial modulo `q`.
pub const POLYNOMIAL_BYTES: usize = PRIMES.len() * DEGREE * RESIDUE_BITS as usize / 8;

/// Bytes of a public key: the seed of `a`, then `b`.
pub const PUBLIC_KEY_BYTES: usize = SEED_BYTES + POLYNOMIAL_BYTES;

/// Fresh errors are centred binomial with this many coin flips on each side (standard deviation
/// 3.24, at least the 3.2 of the Homomorphic Encryption Standard; the sampler of Microsoft SEAL).
pub const ERROR_FLIPS: u32 = 21;

/// The widest accumulator: more bits would leave too little room for the flood.
pub const MAX_ACC_BITS: u8 = 34;

/// A public key for each position: one message.
pub fn public_keys(positions: usize) -> Cost {
    let mut cost = Cost::default();
    cost.send(Party::Client, (positions * PUBLIC_KEY_BYTES) as u64);
    cost.compute(Primitive::KeyPair, positions as u64);
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primes_are_the_largest_of_their_form() {
        let candidates = (1u64..1 << 16).rev().map(|k| (k << MAX_ACC_BITS) + 1);
        let prime = |n: &u64| (3..1 << (RESIDUE_BITS / 2)).step_by(2).all(|divisor| !n.is_multiple_of(divisor));
        assert_eq!(candidates.filter(prime).take(2).collect::<Vec<_>>(), PRIMES);
    }
}
