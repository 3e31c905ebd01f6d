//! The noise of a linear layer, from public data only, and the flood that hides it.
//!
//! Lengths are in units of 1 modulo `q` unless said otherwise. A returned coefficient decrypts to
//! `(q / t) * result + weighted + flood + rounding` with `t = 2^acc`:
//!
//! - *weighted*: the fresh errors and the encoding errors of the operand times the weights, plus
//!   the noise of re-randomisation (`u * e_pk - e1 * s`), plus that of changes of key where results
//!   are [packed](super::interleaved), whose digits depend on the weights. So the flood must hide
//!   all of it.
//! - *flood*: the sum of three independent uniform integers of [`flood_bits`] bits, centred. Its
//!   standard deviation is half of one summand's range.
//! - *rounding*: switching to the modulus `2^(acc + A_EXTRA_BITS)` rounds every coefficient of `a`
//!   (times the ternary secret) and cuts `b` to `acc + B_EXTRA_BITS` bits.
//!
//! **Why this flood.** Shifting a density `f` by `d` changes it by a squared Hellinger distance of
//! at most `d^2 I(f) / 8`, where `I` is the Fisher information; Hellinger distances of independent
//! coefficients add up in squares, so `n` coefficients are within statistical distance
//! `sqrt(n I) * rms(d) / 2`. That is the square-root composition for which one takes a Gaussian,
//! and unlike a Gaussian this flood is sampled exactly and bounded: none of the noise budget goes
//! to a tail. Of all densities on an interval of length `3w` the least information is
//! `(2 pi / 3w)^2` (a squared cosine; Huber 1964); three uniforms of range `w` have
//! `(2.136 / w)^2`, two per cent more than that in `sqrt(I)`.
//!
//! **Failure.** Every part is strictly sub-Gaussian (uniform, centred binomial, and sums of them),
//! so Chernoff's bound applies with the exact moment generating function of the flood.
//! [`Noise::failure_log2`] is at most [`FAILURE_LOG2`] per coefficient: below 2^-40 for 2^14
//! positions of 2^26 coefficients each.

use super::interleaved::switching_variance;
use crate::linear::Refusal;
use crate::rlwe::{DEGREE, ERROR_FLIPS, MAX_ACC_BITS, PRIMES};

/// Bits of the switched modulus beyond the accumulator's: components `a` are sent modulo
/// `2^(acc + A_EXTRA_BITS)`.
pub const A_EXTRA_BITS: u8 = 9;

/// Bits of a returned `b` coefficient beyond the accumulator's: the low ones are cut.
pub const B_EXTRA_BITS: u8 = 5;

/// The widest coefficients of a result's `a` whose products with the secret fit one prime: uniform
/// below `2^(a_bits - 1)` in magnitude, sums of up to 3046 of them are below 2^49 but with
/// probability 2^-180 (sixteen deviations, strictly sub-Gaussian).
pub const ONE_PRIME_A_BITS: u8 = 41;

/// The standard deviation of the flood is at least `2^HIDING_BITS` times that of the noise it
/// hides.
pub const HIDING_BITS: f64 = 40.0;

/// Binary logarithm of the decryption failure allowed per coefficient.
pub const FAILURE_LOG2: f64 = -80.0;

/// Bits of each of the three uniform summands of the flood, at most [`MAX_FLOOD_BITS`]: all the
/// room there is.
pub fn flood_bits(acc_bits: u8) -> u32 {
    (97 - u32::from(acc_bits)).min(MAX_FLOOD_BITS)
}

/// The largest value of [`flood_bits`]: a word, and a third of another for each summand.
pub const MAX_FLOOD_BITS: u32 = 64 + 21;

/// Noise of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    acc_bits: u8,
    weighted_variance: f64,
}

impl Noise {
    /// The noise when one output coefficient sums `products` products with weights in
    /// `-2^(weight_bits-1) .. 2^(weight_bits-1)` and results are packed in so many levels; refused
    /// if the flood could not hide it.
    pub fn new(acc_bits: u8, weight_bits: u8, products: usize, levels: u32) -> Result<Noise, Refusal> {
        if acc_bits > MAX_ACC_BITS {
            return Err(Refusal::Accumulator(acc_bits));
        }
        let error = f64::from(ERROR_FLIPS) / 2.0;
        // Encodings are off by the signed shares over t, and those of x add up to x / t = xi or,
        // wrapping, to xi - 1 with probability xi: mean 0, variance xi (1 - xi). Those of an
        // operand that is not shared add up to result / t.
        let encoding = 1.0 / 4.0;
        let ternary = 2.0 / 3.0;
        let rerandomisation = 2.0 * DEGREE as f64 * ternary * error;
        let weights = products as f64 * (2.0 * (f64::from(weight_bits) - 1.0)).exp2();
        let weighted_variance = weights * (error + encoding) + rerandomisation + switching_variance(levels);
        let noise = Noise { acc_bits, weighted_variance };
        let refused = Refusal::Flood { acc_bits, weight_bits, products };
        if noise.hiding_bits() >= HIDING_BITS && noise.failure_log2() <= FAILURE_LOG2 {
            Ok(noise)
        } else {
            Err(refused)
        }
    }

    /// Standard deviation of the noise that depends on weights or on re-randomisation.
    pub fn weighted_deviation(&self) -> f64 {
        self.weighted_variance.sqrt()
    }

    /// Standard deviation of the flood.
    pub fn flood_deviation(&self) -> f64 {
        f64::from(flood_bits(self.acc_bits) - 1).exp2()
    }

    /// Binary logarithm of the flood's standard deviation over that of the noise it hides.
    pub fn hiding_bits(&self) -> f64 {
        (self.flood_deviation() / self.weighted_deviation()).log2()
    }

    /// Binary logarithm of a bound on the probability that one coefficient decrypts wrongly.
    pub fn failure_log2(&self) -> f64 {
        // In units of the switched modulus.
        let unit = (modulus_log2() - f64::from(self.acc_bits) - f64::from(A_EXTRA_BITS)).exp2();
        let tolerated = f64::from(A_EXTRA_BITS - 1).exp2();
        let summand = f64::from(flood_bits(self.acc_bits)).exp2() / unit;
        // The secret's weight exceeds its mean by eleven deviations with probability below 2^-80.
        let weight = DEGREE as f64 * 2.0 / 3.0 + 11.0 * (DEGREE as f64 * 2.0 / 9.0).sqrt();
        let cut = f64::from(A_EXTRA_BITS - B_EXTRA_BITS).exp2();
        let variance = (weight + cut * cut) / 12.0 + self.weighted_variance / (unit * unit);
        let log_uniform = |x: f64| if x < 1e-3 { x * x / 6.0 } else { (x.sinh() / x).ln() };
        let exponent = |s: f64| 3.0 * log_uniform(s * summand / 2.0) + s * s * variance / 2.0 - s * tolerated;
        let best = (1..400).map(|step| exponent(f64::from(step) / 400.0)).fold(f64::INFINITY, f64::min);
        1.0 + best / std::f64::consts::LN_2
    }
}

/// `log2 q`.
fn modulus_log2() -> f64 {
    PRIMES.iter().map(|&prime| (prime as f64).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_that_hides_enough_also_decrypts() {
        for acc_bits in 2..=MAX_ACC_BITS {
            let mut widest = 0;
            for weight_bits in 2..=32 {
                if let Ok(noise) = Noise::new(acc_bits, weight_bits, 36_864, 0) {
                    assert!(noise.hiding_bits() >= HIDING_BITS && noise.failure_log2() <= FAILURE_LOG2);
                    widest = weight_bits;
                }
            }
            assert!(widest >= 12, "{acc_bits}");
        }
    }

    #[test]
    fn the_known_case_has_the_known_margins() {
        let noise = Noise::new(34, 12, 4608 * 8, 0).unwrap();
        assert!((noise.weighted_deviation().log2() - 20.30).abs() < 0.05);
        assert_eq!(noise.flood_deviation().log2(), 62.0);
        assert!(noise.failure_log2() < -80.0 && noise.failure_log2() > -90.0, "{}", noise.failure_log2());
        assert_eq!(Noise::new(35, 2, 1, 0), Err(Refusal::Accumulator(35)));
        assert!(matches!(Noise::new(34, 20, 36_864, 0), Err(Refusal::Flood { .. })));
    }

    #[test]
    fn encoding_errors_of_any_shared_operand_are_covered() {
        // One product with weight 1, less the fresh error and re-randomisation of the same product
        // with nothing shared.
        let t = 64i64;
        let fresh = f64::from(ERROR_FLIPS) / 2.0 + 2.0 * DEGREE as f64 * 2.0 / 3.0 * f64::from(ERROR_FLIPS) / 2.0;
        let allowed = Noise::new(28, 1, 1, 0).unwrap().weighted_variance - fresh;
        let centred = |x: i64| (x + t / 2).rem_euclid(t) - t / 2;
        for x in 0..t {
            let off = (0..t).map(|share| (centred(share) + centred(x - share)) as f64 / t as f64);
            let square = off.map(|off| off * off).sum::<f64>() / t as f64;
            // The ring's asymmetry is -1 / t, which vanishes for the widths in use.
            assert!(square <= allowed + 1.01 / (t * t) as f64, "{x}: {square} > {allowed}");
        }
    }

    #[test]
    fn one_more_flood_bit_or_one_less_message_bit_would_fail() {
        let noise = Noise::new(34, 12, 36_864, 0).unwrap();
        let wider = Noise { acc_bits: 34, weighted_variance: noise.weighted_variance + 4f64.powi(62) };
        assert!(wider.failure_log2() > FAILURE_LOG2);
    }
}
