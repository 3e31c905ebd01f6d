//! Sampling: uniform, ternary and error polynomials, and the flood.
//!
//! Secret samplers take the same time whatever they return, but for the rejections of [`ternary`], whose number says
//! nothing about the values kept.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use fusion_catalogue::linear::noise::{ERROR_FLIPS, MAX_FLOOD_BITS};
use fusion_catalogue::linear::{RESIDUE_BITS, SEED_BYTES};

use super::{DEGREE, Factor, MODULI, PRIMES, Poly};

/// A seed; zeroized when dropped.
pub type Seed = Zeroizing<[u8; SEED_BYTES]>;

/// A seed from the operating system.
pub fn fresh_seed() -> Result<Seed, crate::Error> {
    let mut seed = Seed::default();
    getrandom::fill(seed.as_mut()).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(seed)
}

/// The generator number `stream` of `seed`: different streams are independent.
pub fn stream(seed: &[u8; SEED_BYTES], stream: u64) -> ChaCha20Rng {
    let mut rng = ChaCha20Rng::from_seed(*seed);
    rng.set_stream(stream);
    rng
}

/// A uniform polynomial, the same for both parties from the same generator. Not for secrets: its time varies.
pub fn uniform(rng: &mut ChaCha20Rng) -> Poly {
    let mut poly = Poly(words(rng, PRIMES.len() * DEGREE).to_vec());
    for (half, prime) in poly.0.chunks_mut(DEGREE).zip(PRIMES) {
        for residue in half {
            *residue >>= 64 - RESIDUE_BITS;
            while *residue >= prime {
                *residue = rng.next_u64() >> (64 - RESIDUE_BITS);
            }
        }
    }
    poly
}

/// Coefficients uniform in {-1, 0, 1}.
pub fn ternary(rng: &mut ChaCha20Rng) -> Zeroizing<Vec<i64>> {
    let mut bytes = Zeroizing::new([0u8; DEGREE]);
    rng.fill_bytes(bytes.as_mut());
    let trit = |byte: &mut u8| {
        // 255 is the one byte too many for three equal shares.
        while *byte == u8::MAX {
            *byte = rng.next_u32() as u8;
        }
        i64::from(*byte % 3) - 1
    };
    Zeroizing::new(bytes.iter_mut().map(trit).collect())
}

/// Coefficients centred binomial: heads of [`ERROR_FLIPS`] coins less heads of as many others.
pub fn error(rng: &mut ChaCha20Rng) -> Zeroizing<Vec<i64>> {
    let coins = (1u64 << ERROR_FLIPS) - 1;
    let heads = |word: u64| i64::from((word & coins).count_ones());
    let words = words(rng, DEGREE);
    Zeroizing::new(words.iter().map(|word| heads(*word) - heads(word >> ERROR_FLIPS)).collect())
}

/// The residues of `n` coefficients of the flood, each the sum of three uniform integers of `bits` bits (`2..=`
/// [`MAX_FLOOD_BITS`]), less half its range.
pub fn flood(rng: &mut ChaCha20Rng, bits: u32, n: usize) -> impl Iterator<Item = [u64; 2]> + use<> {
    debug_assert!((2..=MAX_FLOOD_BITS).contains(&bits));
    let (low_bits, high_bits) = (bits.min(64), bits.saturating_sub(64));
    let centre = residues(3 << (bits - 1));
    let words = words(rng, 4 * n);
    (0..n).map(move |i| {
        // The fourth word holds the high parts of the three.
        let low = |j: usize| u128::from(words[4 * i + j] >> (64 - low_bits));
        let high = |j: u32| u128::from(words[4 * i + 3] >> (j * high_bits) & ((1 << high_bits) - 1));
        let sum = residues(low(0) + low(1) + low(2) + ((high(0) + high(1) + high(2)) << 64));
        [0, 1].map(|prime| MODULI[prime].sub(sum[prime], centre[prime]))
    })
}

/// The next `n` words.
fn words(rng: &mut ChaCha20Rng, n: usize) -> Zeroizing<Vec<u64>> {
    let mut words = Zeroizing::new(vec![0; n]);
    let mut bytes = Zeroizing::new([0; 4096]);
    for chunk in words.chunks_mut(bytes.len() / 8) {
        rng.fill_bytes(&mut bytes[..8 * chunk.len()]);
        for (word, bytes) in chunk.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
    }
    words
}

/// The residues of an integer below 2^112.
fn residues(value: u128) -> [u64; 2] {
    // The low part is a residue of either prime.
    const SPLIT: u32 = 49;
    const FACTORS: [Factor; 2] = [MODULI[0].factor(1 << SPLIT), MODULI[1].factor(1 << SPLIT)];
    let (high, low) = ((value >> SPLIT) as u64, value as u64 & ((1 << SPLIT) - 1));
    [0, 1].map(|i| MODULI[i].add(FACTORS[i].times(high), low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_polynomials_depend_on_seed_and_stream_only() {
        let first = uniform(&mut stream(&[1; 32], 0));
        assert_eq!(first, uniform(&mut stream(&[1; 32], 0)));
        assert_ne!(first, uniform(&mut stream(&[1; 32], 1)));
        assert_ne!(first, uniform(&mut stream(&[2; 32], 0)));
        assert!(Poly::from_residues(first.residues().to_vec()).is_ok());
        let mean = first.residues()[..DEGREE].iter().map(|&r| r as f64 / PRIMES[0] as f64).sum::<f64>() / DEGREE as f64;
        assert!((mean - 0.5).abs() < 0.03);
    }

    #[test]
    fn small_samplers_have_their_moments() {
        let mut rng = stream(&[3; 32], 0);
        let moments = |values: &[i64]| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<i64>() as f64 / n;
            (mean, values.iter().map(|&v| (v * v) as f64).sum::<f64>() / n)
        };
        let many = |sampler: &mut dyn FnMut() -> Zeroizing<Vec<i64>>| {
            (0..16).flat_map(|_| sampler().to_vec()).collect::<Vec<_>>()
        };
        let trits = many(&mut || ternary(&mut rng));
        assert!(trits.iter().all(|trit| trit.abs() <= 1));
        let (mean, square) = moments(&trits);
        assert!(mean.abs() < 0.02 && (square - 2.0 / 3.0).abs() < 0.01);
        let errors = many(&mut || error(&mut rng));
        assert!(errors.iter().all(|error| error.unsigned_abs() <= ERROR_FLIPS.into()));
        let (mean, square) = moments(&errors);
        assert!(mean.abs() < 0.08 && (square - 10.5).abs() < 0.35, "{mean} {square}");
    }

    #[test]
    fn the_flood_fills_its_range_and_has_its_deviation() {
        let mut rng = stream(&[4; 32], 0);
        for bits in [20, 49, 63, 64, 65, 85] {
            // Both residues stand for the same integer, recovered here by the Chinese remainder theorem.
            let inverse = MODULI[1].factor(MODULI[1].inverse(PRIMES[0] % PRIMES[1]));
            let mut squares = 0.0;
            for [first, second] in flood(&mut rng, bits, 4000) {
                let digit = inverse.times(MODULI[1].sub(second, first % PRIMES[1]));
                let value = i128::from(first) + i128::from(PRIMES[0]) * i128::from(digit);
                let q = i128::from(PRIMES[0]) * i128::from(PRIMES[1]);
                let centred = if value > q / 2 { value - q } else { value };
                assert!(centred.unsigned_abs() <= 3 << (bits - 1), "{bits} {centred}");
                squares += (centred as f64).powi(2);
            }
            let deviation = (squares / 4000.0).sqrt() / f64::from(bits - 1).exp2();
            assert!((deviation - 1.0).abs() < 0.08, "{bits} {deviation}");
        }
    }
}
