//! Between plaintexts mod `2^acc`, polynomials mod `q`, and the switched moduli of a result.

use fusion_catalogue::cheetah::noise::{A_EXTRA_BITS, B_EXTRA_BITS};
use fusion_catalogue::rlwe::{MAX_ACC_BITS, PRIMES};
use fusion_ir::types::{mask, signed};

use crate::ring::{DEGREE, Factor, MODULI, Poly, multiply_high, vectorised};

/// The plaintext modulus `t = 2^acc` and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    acc_bits: u8,
    /// `(q - 1) / t` modulo each prime; exact, the primes being 1 mod `t`.
    delta: [Factor; 2],
}

impl Scale {
    /// The scale of `acc_bits`, at most [`MAX_ACC_BITS`].
    #[allow(clippy::integer_division_remainder_used, reason = "of the modulus, which is public")]
    pub fn new(acc_bits: u8) -> Scale {
        assert!(acc_bits <= MAX_ACC_BITS);
        let delta = (u128::from(PRIMES[0]) * u128::from(PRIMES[1]) - 1) >> acc_bits;
        let delta = [0, 1].map(|i| MODULI[i].factor((delta % u128::from(PRIMES[i])) as u64));
        Scale { acc_bits, delta }
    }

    /// Bits of a plaintext.
    pub fn acc_bits(&self) -> u8 {
        self.acc_bits
    }

    /// Bits of a switched coefficient of `a`.
    pub fn a_bits(&self) -> u8 {
        self.acc_bits + A_EXTRA_BITS
    }

    /// Bits of a switched coefficient of `b`.
    pub fn b_bits(&self) -> u8 {
        self.acc_bits + B_EXTRA_BITS
    }

    /// `round(q x / t)` for the ring element `x`, read as signed: `(q - 1) / t * x`, since
    /// `|x / t| <= 1/2`.
    #[inline(always)]
    pub fn encode(&self, x: u64) -> [u64; 2] {
        let x = signed(x, self.acc_bits);
        [0, 1].map(|i| self.delta[i].times(MODULI[i].reduce_signed(x)))
    }

    /// Adds `plaintext`, coefficients mod `t`, encoded.
    pub fn add_encoded(&self, plaintext: &[u64; DEGREE], poly: &mut Poly) {
        let [first, second] = poly.halves_mut();
        vectorised(|| {
            for ((first, second), x) in first.iter_mut().zip(second).zip(plaintext) {
                let encoded = self.encode(*x);
                *first = MODULI[0].add(*first, encoded[0]);
                *second = MODULI[1].add(*second, encoded[1]);
            }
        });
    }

    /// Coefficients of a result's `a`, by their residues, switched to the modulus `2^a_bits`.
    pub fn switch_a(&self, coefficients: [&[u64]; 2], switched: &mut [u64]) {
        let [first, second] = coefficients;
        vectorised(|| {
            for (switched, (first, second)) in switched.iter_mut().zip(first.iter().zip(second)) {
                *switched = round(phase([*first, *second]), self.a_bits());
            }
        });
    }

    /// Coefficients of a result's `b`, by their residues, with `plaintexts` (mod `t`) added,
    /// switched to the modulus `2^b_bits` in place of the plaintexts.
    pub fn switch_b(&self, coefficients: [&[u64]; 2], plaintexts: &mut [u64]) {
        let [first, second] = coefficients;
        vectorised(|| {
            for (value, (first, second)) in plaintexts.iter_mut().zip(first.iter().zip(second)) {
                let added = *value << (64 - self.acc_bits);
                *value = round(phase([*first, *second]).wrapping_add(added), self.b_bits());
            }
        });
    }

    /// A switched coefficient of `a`, as the signed integer nearest to zero.
    pub fn centre_a(&self, a: u64) -> i64 {
        signed(a, self.a_bits())
    }

    /// The plaintext mod `t` of a switched coefficient `b`, given the same coefficient of `a s`
    /// modulo 2^64.
    pub fn decode(&self, b: u64, a_times_secret: u64) -> u64 {
        let phase = (b << (A_EXTRA_BITS - B_EXTRA_BITS)).wrapping_sub(a_times_secret);
        (phase.wrapping_add(1 << (A_EXTRA_BITS - 1)) >> A_EXTRA_BITS) & mask(self.acc_bits)
    }
}

/// `coefficient / q` as a fraction of 2^64, modulo 1; less than three units too small.
#[inline(always)]
fn phase(coefficient: [u64; 2]) -> u64 {
    // c / q = c0 f0 + c1 f1 modulo 1, where f_i = ((q / q_i)^-1 mod q_i) / q_i, here to 128 bits
    // behind the point.
    const FRACTIONS: [[u64; 2]; 2] = [fraction(0), fraction(1)];
    let part = |i: usize| {
        let [high, low] = FRACTIONS[i];
        coefficient[i].wrapping_mul(high).wrapping_add(multiply_high(coefficient[i], low))
    };
    part(0).wrapping_add(part(1))
}

/// `((q / q_i)^-1 mod q_i) / q_i`: the first 64 bits behind the point, and the next 64.
#[allow(clippy::integer_division_remainder_used, reason = "of the modulus, which is public")]
const fn fraction(i: usize) -> [u64; 2] {
    let prime = PRIMES[i];
    let numerator = MODULI[i].inverse(PRIMES[1 - i] % prime) as u128;
    let (high, rest) = ((numerator << 64) / prime as u128, (numerator << 64) % prime as u128);
    [high as u64, ((rest << 64) / prime as u128) as u64]
}

/// The fraction `phase / 2^64` in units of `2^-bits`, to nearest, modulo 1.
#[inline(always)]
fn round(phase: u64, bits: u8) -> u64 {
    let unit = 64 - bits;
    phase.wrapping_add(1 << (unit - 1)) >> unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::sample::{stream, uniform};

    fn switched_a(scale: &Scale, [first, second]: [u64; 2]) -> u64 {
        let mut switched = [0];
        scale.switch_a([&[first], &[second]], &mut switched);
        switched[0]
    }

    fn switched_b(scale: &Scale, [first, second]: [u64; 2], plaintext: u64) -> u64 {
        let mut switched = [plaintext];
        scale.switch_b([&[first], &[second]], &mut switched);
        switched[0]
    }

    #[test]
    fn phases_are_those_of_wide_integers() {
        let q = u128::from(PRIMES[0]) * u128::from(PRIMES[1]);
        let poly = uniform(&mut stream(&[1; 32], 0));
        for index in 0..200 {
            let coefficient = poly.coefficient(index);
            // Any integer with these residues, by stepping through Garner's digits.
            let inverse = MODULI[1].factor(MODULI[1].inverse(PRIMES[0] % PRIMES[1]));
            let digit = inverse.times(MODULI[1].sub(coefficient[1], coefficient[0] % PRIMES[1]));
            let value = u128::from(coefficient[0]) + u128::from(PRIMES[0]) * u128::from(digit);
            // floor(value 2^64 / q) in two steps of 2^27 and one of 2^10.
            let (mut quotient, mut rest) = (0u128, value);
            for step in [27, 27, 10] {
                rest <<= step;
                quotient = (quotient << step) + rest / q;
                rest %= q;
            }
            let short = (quotient as u64).wrapping_sub(phase(coefficient));
            assert!(short < 3, "{short}");
        }
    }

    #[test]
    fn what_is_encoded_decodes() {
        for acc_bits in [2, 16, 28, MAX_ACC_BITS] {
            let scale = Scale::new(acc_bits);
            let top = 1u64 << (acc_bits - 1);
            for x in [0, 1, top - 1, top, top + 1, 2 * top - 1] {
                let b = switched_b(&scale, scale.encode(x), 3);
                assert_eq!(scale.decode(b, 0), (x + 3) & mask(acc_bits));
                assert_eq!(
                    scale.decode(b, scale.centre_a(switched_a(&scale, scale.encode(1))) as u64),
                    (x + 2) & mask(acc_bits)
                );
            }
        }
    }
}
