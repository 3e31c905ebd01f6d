//! The number-theoretic transform modulo one prime.
//!
//! The value of a polynomial at the root that bit reversal puts at `64 b + 8 l + i` is kept at
//! `64 b + 8 i + l`: in each block of 64 the vectors of the transform's last three stages, as its
//! butterflies leave them. So a polynomial in `X^(2^v)` has runs of `2^min(v, 3)` equal vectors.

use fusion_catalogue::cpu::Form;
use tfhe_ntt::prime64::Plan;

use super::tables::Tables;
use super::{LANES, double_sums, double_transform};
#[cfg(target_arch = "x86_64")]
use super::{ifma, ifma_transform};
use crate::ring::modulus::{MODULI, Modulus};
use fusion_catalogue::rlwe::DEGREE;

/// The transform modulo a prime, forth and back, in one form.
pub struct Transform {
    form: Form,
    /// Number of the prime.
    prime: usize,
    /// For the portable form.
    plan: Plan,
    /// For the others.
    tables: Tables,
}

impl Transform {
    /// The transform modulo prime number `prime` in the form in use, checked: one that is wrong for
    /// a prime on some processor would be silent.
    pub fn new(prime: usize) -> Transform {
        let transform = Transform::of(Form::in_use(), prime);
        transform.check(MODULI[prime]);
        transform
    }

    fn of(form: Form, prime: usize) -> Transform {
        let modulus = MODULI[prime];
        let plan = Plan::try_new(DEGREE, modulus.prime()).expect("the primes are 1 modulo twice the degree");
        let factor = match form {
            #[cfg(target_arch = "x86_64")]
            Form::Avx512Ifma => ifma_transform::factor,
            _ => double_transform::factor,
        };
        let tables = Tables::new(modulus, root(&plan), |value| factor(modulus.prime(), value));
        Transform { form, prime, plan, tables }
    }

    /// Coefficients to values, all of them residues.
    pub fn forward(&self, polynomial: &mut [u64]) {
        assert_eq!(polynomial.len(), DEGREE);
        let done = match self.form {
            #[cfg(target_arch = "x86_64")]
            Form::Avx512Ifma => ifma_transform::forward(&self.tables, polynomial),
            form => double_transform::forward(form, &self.tables, polynomial),
        };
        if !done {
            self.plan.fwd(polynomial);
            transpose(polynomial);
        }
    }

    /// Values to coefficients, all of them residues.
    pub fn inverse(&self, polynomial: &mut [u64]) {
        assert_eq!(polynomial.len(), DEGREE);
        let done = match self.form {
            #[cfg(target_arch = "x86_64")]
            Form::Avx512Ifma => ifma_transform::inverse(&self.tables, polynomial),
            form => double_transform::inverse(form, &self.tables, polynomial),
        };
        if !done {
            transpose(polynomial);
            self.plan.inv(polynomial);
            self.plan.normalize(polynomial);
        }
    }

    /// Adds the products `left * right`, value by value, [`DEGREE`] residues each.
    pub fn multiply_add(&self, sums: &mut [u64], left: &[u64], right: &[u64]) {
        assert!([sums.len(), left.len(), right.len()] == [DEGREE; 3]);
        let done = match self.form {
            #[cfg(target_arch = "x86_64")]
            Form::Avx512Ifma => ifma::multiply_add(self.prime, sums, left, right),
            form => double_sums::multiply_add(form, self.prime, sums, left, right),
        };
        if !done {
            self.plan.mul_accumulate(sums, left, right);
        }
    }

    /// Panics unless a polynomial comes back, and a product with a sparse polynomial is what its
    /// definition says.
    fn check(&self, modulus: Modulus) {
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
                expected[at] =
                    if wraps { modulus.sub(expected[at], product) } else { modulus.add(expected[at], product) };
            }
        }
        let mut transformed = dense.clone();
        self.forward(&mut transformed);
        self.forward(&mut sparse);
        let mut product = vec![0; DEGREE];
        self.multiply_add(&mut product, &transformed, &sparse);
        for (values, expected) in [(&mut transformed, dense), (&mut product, expected)] {
            self.inverse(values);
            assert_eq!(*values, expected, "the number-theoretic transform is wrong on this processor");
        }
    }
}

/// The root of unity that a plan's values are numbered by: the value of `X` at number 0.
fn root(plan: &Plan) -> u64 {
    let mut x = vec![0; DEGREE];
    x[1] = 1;
    plan.fwd(&mut x);
    x[0]
}

/// Exchanges rows and columns in every block of [`LANES`] vectors.
fn transpose(values: &mut [u64]) {
    for block in values.as_chunks_mut::<{ LANES * LANES }>().0 {
        for row in 0..LANES {
            for column in 0..row {
                block.swap(row * LANES + column, column * LANES + row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::modulus::MODULI;

    #[test]
    fn every_form_gives_the_same_values_and_coefficients() {
        let mut state = 1u64;
        for (number, modulus) in MODULI.into_iter().enumerate() {
            let twin = Transform::of(Form::Portable, number);
            let mut random = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 14) % modulus.prime()
            };
            let mut polynomials: Vec<Vec<u64>> = (0..20).map(|_| (0..DEGREE).map(|_| random()).collect()).collect();
            polynomials.push(vec![0; DEGREE]);
            polynomials.push(vec![modulus.prime() - 1; DEGREE]);
            polynomials.push((0..DEGREE as u64).map(|i| (i & 1) * (modulus.prime() - 1)).collect());
            for form in Form::available() {
                let transform = Transform::of(form, number);
                transform.check(modulus);
                for (i, polynomial) in polynomials.iter().enumerate() {
                    for turn in [Transform::forward, Transform::inverse] {
                        let [mut found, mut expected] = [polynomial.clone(), polynomial.clone()];
                        turn(&transform, &mut found);
                        turn(&twin, &mut expected);
                        assert!(found == expected, "{form:?}, polynomial {i}");
                    }
                    let [mut found, mut expected] = [polynomial.clone(), polynomial.clone()];
                    let other = &polynomials[i / 2];
                    transform.multiply_add(&mut found, polynomial, other);
                    twin.multiply_add(&mut expected, polynomial, other);
                    assert!(found == expected, "{form:?}, polynomial {i}");
                }
            }
        }
    }

    #[test]
    fn polynomials_in_powers_of_x_have_runs_of_equal_vectors() {
        for log in 0..5 {
            let mut polynomial = vec![0; DEGREE];
            (0..DEGREE).step_by(1 << log).for_each(|i| polynomial[i] = i as u64 + 3);
            Transform::new(0).forward(&mut polynomial);
            let vectors = polynomial.as_chunks::<LANES>().0;
            let runs = |len: usize| vectors.chunks(len).all(|run| run.iter().all(|vector| *vector == run[0]));
            let longest = 1 << log.min(3);
            assert!(runs(longest) && (longest == LANES || !runs(2 * longest)));
        }
    }
}
