//! Polynomials as values of the number-theoretic transform, and the multiply-accumulate on them.

use std::sync::OnceLock;

use tfhe_ntt::prime64::Plan;
use zeroize::Zeroize;

use super::kernels::LANES;
use super::residues::Residues;
use super::{DEGREE, MODULI, PRIMES, Poly, vectorised};

/// A polynomial by its transform modulo each prime. Where products add up before they are transformed back.
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
        for (half, plan) in values.chunks_mut(DEGREE).zip(plans()) {
            plan.fwd(half);
        }
        Spectrum(values)
    }

    /// The polynomial of which this is the transform.
    pub fn into_poly(self) -> Poly {
        let Spectrum(mut values) = self;
        for (half, plan) in values.chunks_mut(DEGREE).zip(plans()) {
            plan.inv(half);
            plan.normalize(half);
        }
        Poly(values)
    }

    /// Adds `left * right`. Sums of many products are the business of [`Sums`](super::Sums).
    pub fn add_product(&mut self, left: &Spectrum, right: &Spectrum) {
        let halves = self.0.chunks_mut(DEGREE).zip(left.0.chunks(DEGREE).zip(right.0.chunks(DEGREE)));
        for ((sum, (left, right)), plan) in halves.zip(plans()) {
            plan.mul_accumulate(sum, left, right);
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

/// A polynomial modulo the first prime alone, by its coefficients: half the work where coefficients fit it.
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

    /// The coefficients of the product with the polynomial of `spectrum`, each the integer nearest to zero, modulo 2^64.
    pub fn times(self, spectrum: &Spectrum) -> Vec<u64> {
        let Half(mut values) = self;
        let plan = &plans()[0];
        plan.fwd(&mut values);
        plan.mul_assign_normalize(&mut values, &spectrum.0[..DEGREE]);
        plan.inv(&mut values);
        vectorised(|| values.iter_mut().for_each(|value| *value = MODULI[0].centred(*value) as u64));
        values
    }
}

impl Zeroize for Spectrum {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// The transforms, checked at first use: a transform that is wrong for a prime on some processor would be silent.
fn plans() -> &'static [Plan; 2] {
    static PLANS: OnceLock<[Plan; 2]> = OnceLock::new();
    PLANS.get_or_init(|| {
        PRIMES.map(|prime| {
            let plan = Plan::try_new(DEGREE, prime).expect("the primes are 1 modulo twice the degree");
            self_check(&plan);
            plan
        })
    })
}

/// Panics unless `plan` takes a polynomial there and back, and a product with a sparse polynomial is what its definition says.
fn self_check(plan: &Plan) {
    let modulus = MODULI.into_iter().find(|modulus| modulus.prime() == plan.modulus()).expect("one of the two primes");
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 14) % modulus.prime()
    };
    let dense: Vec<u64> = (0..DEGREE).map(|_| next()).collect();
    let mut sparse = vec![0; DEGREE];
    let mut expected = vec![0; DEGREE];
    for index in [0, 1, 2047, DEGREE - 1] {
        let coefficient = next();
        sparse[index] = coefficient;
        let factor = modulus.factor(coefficient);
        for (i, &value) in dense.iter().enumerate() {
            let (product, at) = (factor.times(value), (i + index) % DEGREE);
            let wraps = i + index >= DEGREE;
            expected[at] = if wraps { modulus.sub(expected[at], product) } else { modulus.add(expected[at], product) };
        }
    }
    let mut transformed = dense.clone();
    plan.fwd(&mut transformed);
    plan.fwd(&mut sparse);
    let mut product = vec![0; DEGREE];
    plan.mul_accumulate(&mut product, &transformed, &sparse);
    for (values, expected) in [(&mut transformed, dense), (&mut product, expected)] {
        plan.inv(values);
        plan.normalize(values);
        assert_eq!(*values, expected, "the number-theoretic transform is wrong on this processor");
    }
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
