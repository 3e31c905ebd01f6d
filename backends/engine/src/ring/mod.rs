//! The ring `R_q = Z_q[X] / (X^N + 1)`, `N = 4096`, `q` the product of two primes: polynomials as
//! residues.
//!
//! A polynomial is a [`Poly`] (coefficients) or a [`Spectrum`] (values of the number-theoretic
//! transform), each as its residues modulo both primes. Products are taken on spectra, long sums of
//! them by [`Sums`]. What goes over the wire are coefficients only: the order of a spectrum is the
//! transform's own business.

mod accumulate;
pub mod automorphism;
pub(crate) mod modulus;
mod residues;
pub mod sample;
mod spectrum;

pub use crate::kernels::ring::{MAX_DEPTH, MAX_TERMS, TILE};
pub use accumulate::{Kernels, Operands, Sums};
pub use fusion_catalogue::rlwe::{DEGREE, PRIMES};
pub(crate) use modulus::multiply_high;
pub use modulus::{Factor, MODULI, Modulus};
pub use spectrum::{Half, Spectrum};

use crate::Error;
use fusion_catalogue::cpu::Form;
use residues::Residues;
use zeroize::Zeroize;

/// Runs loops compiled for the widest vectors of the form in use. What they compute does not depend
/// on which those are.
#[inline(always)]
pub(crate) fn vectorised<R>(loops: impl FnOnce() -> R) -> R {
    match Form::in_use() {
        Form::Portable => loops(),
        #[cfg(target_arch = "x86_64")]
        Form::Avx2 | Form::Avx2Vaes => match pulp::x86::V3::try_new() {
            Some(simd) => simd.vectorize(loops),
            None => loops(),
        },
        _ => pulp::Arch::new().dispatch(loops),
    }
}

/// A polynomial by its coefficients: `DEGREE` residues modulo the first prime, then as many modulo
/// the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poly(Residues);

impl Poly {
    /// Zero.
    pub fn zero() -> Poly {
        Poly(Residues::zero())
    }

    /// The polynomial with these signed coefficients, at most `DEGREE` of them, each below 2^49 in
    /// magnitude.
    pub fn from_signed(coefficients: &[i64]) -> Poly {
        let mut poly = Poly::zero();
        vectorised(|| {
            for (half, modulus) in poly.0.chunks_mut(DEGREE).zip(MODULI) {
                for (residue, &coefficient) in half.iter_mut().zip(coefficients) {
                    *residue = modulus.reduce_signed(coefficient);
                }
            }
        });
        poly
    }

    /// The polynomial of which `write` writes all residues; refuses one that is not below its
    /// prime.
    pub fn from_residues(write: impl FnOnce(&mut [u64]) -> Result<(), Error>) -> Result<Poly, Error> {
        let mut residues = Residues::any();
        write(&mut residues)?;
        let largest = |half: &[u64]| vectorised(|| half.iter().fold(0, |largest, &residue| residue.max(largest)));
        let canonical = |(half, modulus): (&[u64], Modulus)| largest(half) < modulus.prime();
        if !residues.chunks(DEGREE).zip(MODULI).all(canonical) {
            return Err(Error::PeerMisbehaved("a polynomial with a coefficient out of range".into()));
        }
        Ok(Poly(residues))
    }

    /// All residues, modulo the first prime first.
    pub fn residues(&self) -> &[u64] {
        &self.0
    }

    /// The coefficients' residues modulo the first and modulo the second prime.
    pub fn halves(&self) -> [&[u64]; 2] {
        self.0.split_at(DEGREE).into()
    }

    /// The coefficients' residues modulo the first and modulo the second prime, each of which must
    /// stay below its prime.
    pub(crate) fn halves_mut(&mut self) -> [&mut [u64]; 2] {
        self.0.split_at_mut(DEGREE).into()
    }

    /// The residues of one coefficient.
    pub fn coefficient(&self, index: usize) -> [u64; 2] {
        [self.0[index], self.0[DEGREE + index]]
    }

    /// One coefficient as a signed integer, of which the magnitude must be below `q / 2` and 2^63.
    pub fn small_coefficient(&self, index: usize) -> i64 {
        const INVERSE: Factor = MODULI[1].factor(MODULI[1].inverse(PRIMES[0] - PRIMES[1]));
        let [first, second] = self.coefficient(index);
        // first + PRIMES[0] * digit, the digit taken nearest to zero (Garner).
        let digit = INVERSE.times(MODULI[1].sub(second, MODULI[1].reduce_once(first)));
        first.wrapping_add(PRIMES[0].wrapping_mul(MODULI[1].centred(digit) as u64)) as i64
    }

    /// Adds `value`, given by its residues, to one coefficient.
    pub fn add_to(&mut self, index: usize, value: [u64; 2]) {
        for (i, value) in value.into_iter().enumerate() {
            let residue = &mut self.0[i * DEGREE + index];
            *residue = MODULI[i].add(*residue, value);
        }
    }

    /// Adds `value`, below 2^49 in magnitude, to one coefficient.
    pub fn add_signed_to(&mut self, index: usize, value: i64) {
        self.add_to(index, MODULI.map(|modulus| modulus.reduce_signed(value)));
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Poly) {
        let halves = self.0.chunks_mut(DEGREE).zip(other.0.chunks(DEGREE));
        for ((half, other), modulus) in halves.zip(MODULI) {
            for (residue, &other) in half.iter_mut().zip(other) {
                *residue = modulus.add(*residue, other);
            }
        }
    }
}

impl Poly {
    /// The polynomial; no copy of it stays behind.
    pub(crate) fn take(&mut self) -> Poly {
        Poly(std::mem::take(&mut self.0))
    }
}

impl Zeroize for Poly {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residues_out_of_range_are_refused() {
        let with = |index: usize, residue| {
            Poly::from_residues(|residues| {
                residues.fill(0);
                residues[index] = residue;
                Ok(())
            })
        };
        for (index, prime) in
            [(0, PRIMES[0]), (DEGREE - 1, PRIMES[0]), (DEGREE, PRIMES[1]), (2 * DEGREE - 1, PRIMES[1])]
        {
            assert!(with(index, prime - 1).is_ok() && with(index, prime).is_err());
        }
        assert!(Poly::from_residues(|_| Err(Error::PeerMisbehaved("as it says".into()))).is_err());
    }

    #[test]
    fn signed_coefficients_add() {
        let mut poly = Poly::from_signed(&[-3, 5]);
        poly.add(&Poly::from_signed(&[1, -7]));
        poly.add_to(2, [1, 1]);
        assert_eq!(poly, Poly::from_signed(&[-2, -2, 1]));
        assert_eq!(poly.coefficient(0), [PRIMES[0] - 2, PRIMES[1] - 2]);
        assert_eq!([0, 1, 2, 3].map(|i| poly.small_coefficient(i)), [-2, -2, 1, 0]);
    }

    #[test]
    fn wide_signed_coefficients_come_back() {
        for value in [1i64 << 60, -(1 << 60), (1 << 62) - 1, PRIMES[0] as i64 - 1, -(PRIMES[1] as i64)] {
            let mut poly = Poly::zero();
            poly.add_to(5, [0, 1].map(|i| value.rem_euclid(PRIMES[i] as i64) as u64));
            assert_eq!(poly.small_coefficient(5), value);
        }
    }
}
