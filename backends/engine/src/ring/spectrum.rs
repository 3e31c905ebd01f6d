//! Polynomials as values of the number-theoretic transform, and the multiply-accumulate on them.

use std::sync::OnceLock;

use zeroize::Zeroize;

use super::residues::Residues;
use super::{DEGREE, MODULI, Poly, vectorised};
use crate::kernels::ring::{LANES, Transform};

/// A polynomial by its transform modulo each prime. Where products add up before they are
/// transformed back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spectrum(Residues);

impl Spectrum {
    /// Zero.
    pub fn zero() -> Spectrum {
        Spectrum(Residues::zero())
    }

    /// The transform of `poly`.
    pub fn of(poly: Poly) -> Spectrum {
        let Poly(mut values) = poly;
        for (half, transform) in values.chunks_mut(DEGREE).zip(transforms()) {
            transform.forward(half);
        }
        Spectrum(values)
    }

    /// The polynomial of which this is the transform.
    pub fn into_poly(self) -> Poly {
        let Spectrum(mut values) = self;
        for (half, transform) in values.chunks_mut(DEGREE).zip(transforms()) {
            transform.inverse(half);
        }
        Poly(values)
    }

    /// Adds `left * right`. Sums of many products are the business of [`Sums`](super::Sums).
    pub fn add_product(&mut self, left: &Spectrum, right: &Spectrum) {
        let halves = self.0.chunks_mut(DEGREE).zip(left.0.chunks(DEGREE).zip(right.0.chunks(DEGREE)));
        for ((sum, (left, right)), transform) in halves.zip(transforms()) {
            transform.multiply_add(sum, left, right);
        }
    }
}

impl Spectrum {
    /// The spectrum; what stays behind has no memory and may only be overwritten.
    pub(crate) fn take(&mut self) -> Spectrum {
        Spectrum(std::mem::take(&mut self.0))
    }

    /// Some spectrum, in the memory of a polynomial that is no longer needed.
    pub(crate) fn from_memory(poly: Poly) -> Spectrum {
        Spectrum(poly.0)
    }

    /// Zero, in the same memory.
    pub(super) fn into_zero(self) -> Poly {
        let Spectrum(mut values) = self;
        values.fill(0);
        Poly(values)
    }

    /// The values in groups of neighbours.
    pub(super) fn groups(&self) -> &[[u64; LANES]] {
        self.0.as_chunks().0
    }

    /// The values in groups of neighbours.
    pub(super) fn groups_mut(&mut self) -> &mut [[u64; LANES]] {
        self.0.as_chunks_mut().0
    }
}

/// A polynomial modulo the first prime alone, by its coefficients: half the work where coefficients
/// fit it.
pub struct Half(Vec<u64>);

impl Half {
    /// The polynomial with these [`DEGREE`] signed coefficients, each below 2^49 in magnitude.
    pub fn from_signed(coefficients: &[i64]) -> Half {
        let mut values = vec![0; DEGREE];
        vectorised(|| {
            for (value, coefficient) in values.iter_mut().zip(coefficients) {
                *value = MODULI[0].reduce_signed(*coefficient);
            }
        });
        Half(values)
    }

    /// The coefficients of the product with the polynomial of `spectrum`, each the integer nearest
    /// to zero, modulo 2^64.
    pub fn times(self, spectrum: &Spectrum) -> Vec<u64> {
        let Half(mut values) = self;
        let transform = &transforms()[0];
        transform.forward(&mut values);
        let mut product = vec![0; DEGREE];
        transform.multiply_add(&mut product, &values, &spectrum.0[..DEGREE]);
        transform.inverse(&mut product);
        vectorised(|| product.iter_mut().for_each(|value| *value = MODULI[0].centred(*value) as u64));
        product
    }
}

impl Zeroize for Spectrum {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// The transforms modulo both primes, checked at first use.
fn transforms() -> &'static [Transform; 2] {
    static TRANSFORMS: OnceLock<[Transform; 2]> = OnceLock::new();
    TRANSFORMS.get_or_init(|| [0, 1].map(Transform::new))
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    /// Signed coefficients of the product, by definition.
    fn product(left: &[i64], right: &[i64]) -> Vec<i64> {
        let mut product = vec![0; DEGREE];
        for (i, a) in left.iter().enumerate() {
            for (j, b) in right.iter().enumerate() {
                let sign = if i + j >= DEGREE { -1 } else { 1 };
                product[(i + j) % DEGREE] += sign * a * b;
            }
        }
        product
    }

    #[test]
    fn sums_of_products_are_those_of_the_definition() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut random = || (0..DEGREE).map(|_| rng.next_u64() as i64 >> 46).collect::<Vec<_>>();
        let mut expected = vec![0i64; DEGREE];
        let mut sum = Spectrum::zero();
        for _ in 0..2 {
            let (left, right) = (random(), random());
            expected.iter_mut().zip(product(&left, &right)).for_each(|(sum, value)| *sum += value);
            sum.add_product(&Spectrum::of(Poly::from_signed(&left)), &Spectrum::of(Poly::from_signed(&right)));
        }
        assert_eq!(sum.into_poly(), Poly::from_signed(&expected));
    }

    #[test]
    fn half_products_are_those_of_the_definition() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut random = |shift| (0..DEGREE).map(|_| rng.next_u64() as i64 >> shift).collect::<Vec<_>>();
        let (left, right) = (random(33), random(62));
        let found = Half::from_signed(&left).times(&Spectrum::of(Poly::from_signed(&right)));
        let expected: Vec<u64> = product(&left, &right).into_iter().map(|value| value as u64).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn extreme_residues_accumulate() {
        let minus_one = Spectrum::of(Poly::from_signed(&[-1; DEGREE]));
        let one = Spectrum::of(Poly::from_signed(&[1]));
        let mut sum = Spectrum::zero();
        for _ in 0..1000 {
            sum.add_product(&minus_one, &one);
        }
        assert_eq!(sum.into_poly(), Poly::from_signed(&[-1000; DEGREE]));
    }
}
