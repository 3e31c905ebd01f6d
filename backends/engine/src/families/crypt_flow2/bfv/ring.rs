//! The ring `R_q = Z_q[X] / (X^N + 1)` with `N = 8192` and `q` the product of four primes.

use std::sync::OnceLock;

use fusion_catalogue::crypt_flow2::he::{DEGREE, PRIMES, RESIDUE_BITS};
use fusion_catalogue::rlwe::ERROR_FLIPS;
use tfhe_ntt::prime64::Plan;
use zeroize::{Zeroize, Zeroizing};

use crate::Error;
use crate::bits::{pack, unpack};
use crate::ring::Modulus;
use crate::ring::sample::Stream;

/// The four moduli.
pub const MODULI: [Modulus; 4] =
    [Modulus::new(PRIMES[0]), Modulus::new(PRIMES[1]), Modulus::new(PRIMES[2]), Modulus::new(PRIMES[3])];

/// A polynomial by its coefficients: `DEGREE` residues modulo each prime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poly(pub(super) Vec<u64>);

/// A polynomial by its transform modulo each prime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spectrum(pub(super) Vec<u64>);

impl Poly {
    /// Zero.
    pub fn zero() -> Poly {
        Poly(vec![0; PRIMES.len() * DEGREE])
    }

    /// The polynomial with these coefficients, each below 2^63 in magnitude.
    pub fn from_signed(coefficients: &[i64]) -> Poly {
        let mut poly = Poly::zero();
        for (residues, modulus) in poly.0.chunks_mut(DEGREE).zip(MODULI) {
            let one = modulus.factor(1);
            for (residue, &coefficient) in residues.iter_mut().zip(coefficients) {
                // The magnitude is public neither, so both signs take the same path.
                let sign = (coefficient >> 63) as u64;
                let magnitude = one.times(coefficient.unsigned_abs());
                let negated = modulus.sub(0, magnitude);
                *residue = magnitude ^ (magnitude ^ negated) & sign;
            }
        }
        poly
    }

    /// Reads a polynomial as sent; refuses a wrong length and residues out of range.
    pub fn decode(bytes: &[u8]) -> Result<Poly, Error> {
        let residues = unpack(bytes, PRIMES.len() * DEGREE, RESIDUE_BITS as u8)?;
        let canonical = |(part, modulus): (&[u64], Modulus)| part.iter().all(|&residue| residue < modulus.prime());
        match residues.chunks(DEGREE).zip(MODULI).all(canonical) {
            true => Ok(Poly(residues)),
            false => Err(Error::PeerMisbehaved("a polynomial with a coefficient out of range".into())),
        }
    }

    /// The polynomial as sent.
    pub fn encode(&self) -> Vec<u8> {
        pack(&self.0, RESIDUE_BITS as u8)
    }

    /// The residues of one coefficient.
    pub fn coefficient(&self, index: usize) -> [u64; 4] {
        std::array::from_fn(|i| self.0[i * DEGREE + index])
    }

    /// Adds a value given by its residues to one coefficient.
    pub fn add_to(&mut self, index: usize, value: [u64; 4]) {
        for (i, (modulus, value)) in MODULI.into_iter().zip(value).enumerate() {
            let residue = &mut self.0[i * DEGREE + index];
            *residue = modulus.add(*residue, value);
        }
    }

    /// A uniform polynomial, the same for both parties from the same generator. Not for secrets:
    /// its time varies.
    pub fn uniform(rng: &mut Stream) -> Poly {
        let mut poly = Poly::zero();
        for (residues, modulus) in poly.0.chunks_mut(DEGREE).zip(MODULI) {
            for residue in residues {
                *residue = loop {
                    let candidate = rng.next_u64() >> (64 - RESIDUE_BITS);
                    if candidate < modulus.prime() {
                        break candidate;
                    }
                };
            }
        }
        poly
    }

    /// A polynomial with coefficients uniform in {-1, 0, 1}.
    #[allow(clippy::integer_division_remainder_used, reason = "by a constant: a product")]
    pub fn ternary(rng: &mut Stream) -> Zeroizing<Poly> {
        let trit = |rng: &mut Stream| loop {
            // 255 is the one byte too many for three equal shares.
            let byte = rng.next_u64() as u8;
            if byte != u8::MAX {
                break i64::from(byte % 3) - 1;
            }
        };
        let trits: Zeroizing<Vec<i64>> = Zeroizing::new((0..DEGREE).map(|_| trit(rng)).collect());
        Zeroizing::new(Poly::from_signed(&trits))
    }

    /// Adds to every coefficient a centred binomial one: heads of [`ERROR_FLIPS`] coins less heads
    /// of as many others.
    pub fn add_error(&mut self, rng: &mut Stream) {
        const COINS: u64 = (1 << (2 * ERROR_FLIPS)) - 1;
        for index in 0..DEGREE {
            let error = i64::from((rng.next_u64() & COINS).count_ones()) - i64::from(ERROR_FLIPS);
            self.add_to(index, MODULI.map(|modulus| modulus.reduce_signed(error)));
        }
    }
}

impl Zeroize for Poly {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Spectrum {
    /// Zero.
    pub fn zero() -> Spectrum {
        Spectrum(vec![0; PRIMES.len() * DEGREE])
    }

    /// The transform of `poly`.
    pub fn of(mut poly: Poly) -> Spectrum {
        let mut values = std::mem::take(&mut poly.0);
        for (part, plan) in values.chunks_mut(DEGREE).zip(&transforms().plans) {
            plan.fwd(part);
        }
        Spectrum(values)
    }

    /// The transform of a polynomial with coefficients below every prime, the same modulo each.
    pub fn of_small(coefficients: &[u64]) -> Spectrum {
        Spectrum::of(Poly(coefficients.repeat(PRIMES.len())))
    }

    /// The polynomial of which this is the transform.
    pub fn into_poly(self) -> Poly {
        let Spectrum(mut values) = self;
        for (part, plan) in values.chunks_mut(DEGREE).zip(&transforms().plans) {
            plan.inv(part);
            plan.normalize(part);
        }
        Poly(values)
    }

    /// Adds `left * right`.
    pub fn add_product(&mut self, left: &Spectrum, right: &Spectrum) {
        let parts = self.0.chunks_mut(DEGREE).zip(left.0.chunks(DEGREE).zip(right.0.chunks(DEGREE)));
        for ((sum, (left, right)), plan) in parts.zip(&transforms().plans) {
            plan.mul_accumulate(sum, left, right);
        }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Spectrum) {
        let parts = self.0.chunks_mut(DEGREE).zip(other.0.chunks(DEGREE)).zip(MODULI);
        for ((sum, other), modulus) in parts {
            sum.iter_mut().zip(other).for_each(|(sum, other)| *sum = modulus.add(*sum, *other));
        }
    }

    /// The transform of the polynomial at `X^power`, `power` odd.
    pub fn substitute(&self, power: usize) -> Spectrum {
        let places = transforms().order.substitution(power);
        let part = |part: &[u64]| places.iter().map(|place| part[usize::from(*place)]).collect::<Vec<u64>>();
        Spectrum(self.0.chunks(DEGREE).flat_map(part).collect())
    }
}

impl Zeroize for Spectrum {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// In which order a transform lists its values: place `i` is the value at `psi^exponents[i]`, for
/// some primitive root `psi`.
pub(super) struct Order {
    exponents: Vec<u16>,
    /// Of an odd exponent, at half of it.
    places: Vec<u16>,
}

impl Order {
    /// The order of `plan`, which is found out by transforming `X`.
    #[allow(clippy::integer_division_remainder_used, reason = "of the modulus, which is public")]
    pub fn of(plan: &Plan) -> Order {
        let mut values = vec![0; DEGREE];
        values[1] = 1;
        plan.fwd(&mut values);
        let multiply = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(plan.modulus())) as u64;
        let (psi, square) = (values[0], multiply(values[0], values[0]));
        let mut roots: Vec<(u64, u16)> = values.iter().copied().zip(0..).collect();
        roots.sort_unstable();
        let mut order = Order { exponents: vec![0; DEGREE], places: vec![0; DEGREE] };
        let mut power = psi;
        for half in 0..DEGREE {
            let found = roots.binary_search_by_key(&power, |(root, _)| *root).expect("a transform has all odd powers");
            let place = roots[found].1;
            order.exponents[usize::from(place)] = 2 * half as u16 + 1;
            order.places[half] = place;
            power = multiply(power, square);
        }
        order
    }

    /// The place of the value at `psi^exponent`, `exponent` odd.
    #[allow(clippy::integer_division_remainder_used, reason = "of exponents, which are public")]
    pub fn place(&self, exponent: usize) -> usize {
        usize::from(self.places[exponent % (2 * DEGREE) / 2])
    }

    /// For every place, that of the value which comes there if `X` is replaced by `X^power`.
    fn substitution(&self, power: usize) -> Vec<u16> {
        self.exponents.iter().map(|exponent| self.place(usize::from(*exponent) * power) as u16).collect()
    }
}

struct Transforms {
    plans: [Plan; 4],
    order: Order,
}

/// The transforms, checked at first use: one that is wrong on some processor, or not in the order
/// of the others, would be silent.
fn transforms() -> &'static Transforms {
    static TRANSFORMS: OnceLock<Transforms> = OnceLock::new();
    TRANSFORMS.get_or_init(|| {
        let plans = PRIMES.map(|prime| Plan::try_new(DEGREE, prime).expect("the primes are 1 modulo twice the degree"));
        let order = Order::of(&plans[0]);
        for plan in &plans {
            assert!(Order::of(plan).exponents == order.exponents, "transforms of different orders");
            check(plan);
        }
        Transforms { plans, order }
    })
}

/// Panics unless `plan` takes a polynomial there and back.
#[allow(clippy::integer_division_remainder_used, reason = "a self-test")]
pub(super) fn check(plan: &Plan) {
    let mut state = 1u64;
    let values: Vec<u64> = (0..DEGREE)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 9) % plan.modulus()
        })
        .collect();
    let mut there = values.clone();
    plan.fwd(&mut there);
    plan.inv(&mut there);
    plan.normalize(&mut there);
    assert_eq!(there, values, "the number-theoretic transform is wrong on this processor");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::sample::stream;

    #[test]
    fn products_and_substitutions_are_those_of_polynomials() {
        // (2 + X^8191) (3 - X) = 6 - 2 X + 3 X^8191 + 1, and at X^3.
        let mut left = vec![0; DEGREE];
        (left[0], left[DEGREE - 1]) = (2, 1);
        let mut sum = Spectrum::zero();
        sum.add_product(&Spectrum::of(Poly::from_signed(&left)), &Spectrum::of(Poly::from_signed(&[3, -1])));
        let mut expected = vec![0; DEGREE];
        (expected[0], expected[1], expected[DEGREE - 1]) = (7, -2, 3);
        let product = sum.clone().into_poly();
        assert_eq!(product, Poly::from_signed(&expected));
        let mut substituted = vec![0; DEGREE];
        // X^(3 * 8191) = X^(2 * 8192 + 8189) = X^8189.
        (substituted[0], substituted[3], substituted[DEGREE - 3]) = (7, -2, 3);
        assert_eq!(sum.substitute(3).into_poly(), Poly::from_signed(&substituted));
    }

    #[test]
    fn malformed_polynomials_are_refused() {
        let poly = Poly::uniform(&mut stream(&[1; 32], 0));
        let mut bytes = poly.encode();
        assert_eq!(Poly::decode(&bytes).unwrap(), poly);
        assert!(Poly::decode(&bytes[1..]).is_err());
        bytes[..7].fill(0xff);
        assert!(Poly::decode(&bytes).is_err());
    }
}
