//! Linear layers over RLWE ciphertexts: which coefficient holds what ([`Packing`]), how much noise may grow
//! ([`noise`]), and what goes over the wire ([`cost`]).
//!
//! The client encrypts its share of the operand, coefficient-packed; the server adds its own share, multiplies by
//! kernel polynomials and returns masked results (Cheetah, Huang et al., USENIX Security 2022, section 3, with
//! several output channels per product), packed into few ciphertexts where that is chosen ([`interleaved`]). Everything here is public geometry: it depends on shapes and widths,
//! never on a weight's value.

mod geometry;
pub mod interleaved;
pub mod noise;
mod packing;
mod placement;
mod progression;

use fusion_ir::Party;

pub use geometry::{Geometry, Shape};
pub use packing::{Packing, Packings, Run, Term};

use crate::{Cost, Primitive};

/// Ring degree `N`: polynomials are in `Z_q[X] / (X^N + 1)`.
pub const DEGREE: usize = 4096;

/// The primes whose product is the ciphertext modulus `q`: the two largest below 2^50 that are 1 mod 2^34.
///
/// 1 mod `2N`, so the number-theoretic transform exists; 1 mod every admissible plaintext modulus `2^acc`, so the
/// scale `q / 2^acc` is an integer but for `2^-acc` and plaintexts are encoded by one multiplication. With `N = 4096`,
/// `q < 2^100` and ternary secrets this is within the 128-bit row (109 bits) of the Homomorphic Encryption
/// Standard (Albrecht et al. 2018, table 1).
pub const PRIMES: [u64; 2] = [0x3_ffc0_0000_0001, 0x3_ffa0_0000_0001];

/// Bits of one coefficient modulo one prime on the wire.
pub const RESIDUE_BITS: u32 = 50;

/// Bytes of a seed from which a uniform polynomial is expanded.
pub const SEED_BYTES: usize = 32;

/// Bytes of one polynomial modulo `q`.
pub const POLYNOMIAL_BYTES: usize = PRIMES.len() * DEGREE * RESIDUE_BITS as usize / 8;

/// Bytes of a public key: the seed of `a`, then `b`.
pub const PUBLIC_KEY_BYTES: usize = SEED_BYTES + POLYNOMIAL_BYTES;

/// The widest accumulator: more bits would leave too little room for the flood.
pub const MAX_ACC_BITS: u8 = 34;

/// The most rows or columns of a layer's operand and result.
pub const MAX_EXTENT: usize = 1 << 16;

/// The most taps of a kernel's window, under any protocol.
pub const MAX_TAPS: usize = 1 << 18;

/// Why a protocol cannot carry an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The value is not a convolution or a fully connected layer, or its shapes contradict each other.
    #[error("not a well-formed linear layer")]
    Malformed,
    /// The operand is not of the shape that the operation takes.
    #[error("its operand is not of the shape that it takes")]
    Operand,
    /// The accumulator is wider than [`MAX_ACC_BITS`].
    #[error("an accumulator of {0} bits is wider than {MAX_ACC_BITS}")]
    Accumulator(u8),
    /// The operand or the result has more than [`MAX_EXTENT`] rows or columns.
    #[error("an image of more than {MAX_EXTENT} rows or columns")]
    Extent,
    /// The kernel has more than [`MAX_TAPS`] taps.
    #[error("a kernel of more than {MAX_TAPS} taps")]
    Window,
    /// Not even one output fits a polynomial.
    #[error("the kernel reaches over more than {DEGREE} elements")]
    Kernel,
    /// The chosen family has no linear layers.
    #[error("garbled circuits have no linear layers")]
    Circuit,
    /// The weights are so wide or so many that their noise could not be hidden.
    #[error("{products} products with {weight_bits}-bit weights are too noisy to hide at {acc_bits} accumulator bits")]
    Flood {
        /// Width of the accumulator.
        acc_bits: u8,
        /// Width of the weights.
        weight_bits: u8,
        /// Products that one output coefficient sums.
        products: usize,
    },
}

/// Terms of a kernel polynomial up to which the server sums them up instead of transforming the polynomial.
pub const FEW_TERMS: usize = 24;

/// The messages of one linear layer on a micro-batch of `positions`: the encrypted operands up, the masked results down.
pub fn cost(packing: &Packing, positions: usize) -> Cost {
    let mut cost = Cost::default();
    cost.send(Party::Client, (positions * packing.upload_bytes()) as u64);
    cost.send(Party::Server, (positions * packing.download_bytes()) as u64);
    let (operands, results) = (positions * packing.operands(), positions * packing.results());
    let sums = positions * packing.sums();
    cost.compute(Primitive::Ciphertext, operands as u64);
    match packing.terms() / packing.products() {
        terms @ ..=FEW_TERMS => cost.compute(Primitive::KernelTerm, (packing.kernels() * terms) as u64),
        _ => cost.compute(Primitive::Kernel, packing.kernels() as u64),
    }
    cost.compute(Primitive::Product, (sums * packing.products()) as u64);
    cost.compute(Primitive::KeySwitch, (positions * packing.switches()) as u64);
    cost.compute(Primitive::Result, results as u64);
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
