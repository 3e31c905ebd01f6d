//! Sampling: uniform, ternary and error polynomials, and the flood.
//!
//! Secret samplers take the same time whatever they return, but for the rejections of [`ternary`],
//! whose number says nothing about the values kept.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256Enc, Block};
use zeroize::{Zeroize, Zeroizing};

use fusion_catalogue::cheetah::noise::MAX_FLOOD_BITS;
use fusion_catalogue::rlwe::ERROR_FLIPS;
use fusion_catalogue::rlwe::{RESIDUE_BITS, SEED_BYTES};

use super::residues::Residues;
use super::{DEGREE, Factor, MODULI, Modulus, Poly, vectorised};

/// A seed; zeroized when dropped.
pub type Seed = Zeroizing<[u8; SEED_BYTES]>;

/// A seed from the operating system.
pub fn fresh_seed() -> Result<Seed, crate::Error> {
    let mut seed = Seed::default();
    getrandom::fill(seed.as_mut()).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(seed)
}

/// Blocks that a [`Stream`] makes at once.
const BLOCKS: usize = 128;
/// Words of a block.
const BLOCK_WORDS: usize = 2;
/// Coefficients of the flood that are made at once: their words stay in the nearest cache.
const FLOOD_AT_ONCE: usize = 256;
/// Words of one coefficient of the flood.
const FLOOD_WORDS: usize = 4;

/// A pseudorandom generator: AES-256 in counter mode, keyed with a seed. Zeroized when dropped.
///
/// The streams of a seed are its disjoint parts of 2^64 blocks. All parts together are as good as
/// uniform: `n` blocks are told from uniform ones with advantage at most `n^2 / 2^129` beyond AES's
/// own (n < 2^30 for one layer of a micro-batch). Public polynomials are expanded from public seeds
/// with it as Kyber's "90s" variant does.
pub struct Stream {
    cipher: Aes256Enc,
    number: u64,
    /// The next block.
    counter: u64,
    blocks: [Block; BLOCKS],
    words: [u64; BLOCKS * BLOCK_WORDS],
    /// How many of `words` are taken.
    taken: usize,
}

impl Stream {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        if self.taken == self.words.len() {
            self.refill();
        }
        self.taken += 1;
        self.words[self.taken - 1]
    }

    /// The next words, as many as there is room for.
    pub fn fill(&mut self, mut words: &mut [u64]) {
        while !words.is_empty() {
            if self.taken == self.words.len() {
                self.refill();
            }
            let ready = &self.words[self.taken..];
            let (now, later) = words.split_at_mut(ready.len().min(words.len()));
            now.copy_from_slice(&ready[..now.len()]);
            self.taken += now.len();
            words = later;
        }
    }

    #[inline(never)]
    fn refill(&mut self) {
        for (i, block) in self.blocks.iter_mut().enumerate() {
            let counter = u128::from(self.counter + i as u64) | u128::from(self.number) << 64;
            *block = counter.to_le_bytes().into();
        }
        self.counter += BLOCKS as u64;
        self.cipher.encrypt_blocks(&mut self.blocks);
        for (words, block) in self.words.as_chunks_mut::<BLOCK_WORDS>().0.iter_mut().zip(&self.blocks) {
            let both = u128::from_le_bytes((*block).into());
            *words = [both as u64, (both >> 64) as u64];
        }
        self.taken = 0;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.blocks.iter_mut().for_each(|block| block.zeroize());
        self.words.zeroize();
    }
}

/// The generator number `number` of `seed`: different streams are independent.
pub fn stream(seed: &[u8; SEED_BYTES], number: u64) -> Stream {
    let cipher = Aes256Enc::new(seed.into());
    let words = [0; BLOCKS * BLOCK_WORDS];
    Stream { cipher, number, counter: 0, blocks: [Block::default(); BLOCKS], words, taken: words.len() }
}

/// A uniform polynomial, the same for both parties from the same generator. Not for secrets: its
/// time varies.
pub fn uniform(rng: &mut Stream) -> Poly {
    let mut poly = Poly(Residues::any());
    for (half, modulus) in poly.0.chunks_mut(DEGREE).zip(MODULI) {
        let candidate = |word: u64| word >> (64 - RESIDUE_BITS);
        rng.fill(half);
        let largest = vectorised(|| {
            half.iter_mut().fold(0, |largest, residue| {
                *residue = candidate(*residue);
                largest.max(*residue)
            })
        });
        // One in thousands is no residue: those are drawn again, after all others.
        if largest >= modulus.prime() {
            for residue in half {
                while *residue >= modulus.prime() {
                    *residue = candidate(rng.next_u64());
                }
            }
        }
    }
    poly
}

/// A polynomial with coefficients uniform in {-1, 0, 1}.
pub fn ternary(rng: &mut Stream) -> Zeroizing<Poly> {
    let mut words = Zeroizing::new([0u64; DEGREE / 8]);
    rng.fill(words.as_mut());
    let mut bytes = Zeroizing::new([0u8; DEGREE]);
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words.iter()) {
        *bytes = word.to_le_bytes();
    }
    // 255 is the one byte too many for three equal shares.
    for byte in bytes.iter_mut().filter(|byte| **byte == u8::MAX) {
        while *byte == u8::MAX {
            *byte = rng.next_u64() as u8;
        }
    }
    let mut poly = Zeroizing::new(Poly(Residues::any()));
    vectorised(|| {
        for (half, modulus) in poly.0.chunks_mut(DEGREE).zip(MODULI) {
            for (residue, byte) in half.iter_mut().zip(bytes.iter()) {
                *residue = modulus.reduce_once(u64::from(byte % 3) + modulus.prime() - 1);
            }
        }
    });
    poly
}

/// Adds to every coefficient a centred binomial one: heads of [`ERROR_FLIPS`] coins less heads of
/// as many others. (Or, which is the same, plus tails of the others less their number.)
pub fn add_error(poly: &mut Poly, rng: &mut Stream) {
    const COINS: u64 = (1 << (2 * ERROR_FLIPS)) - 1;
    let mut words = Zeroizing::new([0u64; DEGREE]);
    rng.fill(words.as_mut());
    let (first, second) = poly.0.split_at_mut(DEGREE);
    vectorised(|| {
        for ((first, second), word) in first.iter_mut().zip(second).zip(words.iter()) {
            let error = i64::from((word & COINS).count_ones()) - i64::from(ERROR_FLIPS);
            *first = MODULI[0].add(*first, MODULI[0].reduce_signed(error));
            *second = MODULI[1].add(*second, MODULI[1].reduce_signed(error));
        }
    });
}

/// Adds to every coefficient, given by its residues modulo either prime, one of the flood: the sum
/// of three uniform integers of `bits` bits (`2..=`[`MAX_FLOOD_BITS`]), less half its range.
pub fn add_flood(coefficients: [&mut [u64]; 2], rng: &mut Stream, bits: u32) {
    const HALF: u64 = u32::MAX as u64;
    const FACTORS: [[Factor; 2]; 2] = [powers(MODULI[0]), powers(MODULI[1])];
    debug_assert!((2..=MAX_FLOOD_BITS).contains(&bits));
    let (low_bits, high_bits) = (bits.min(64), bits.saturating_sub(64));
    let high_mask = (1 << high_bits) - 1;
    let centre = residues(3 << (bits - 1));
    let mut words = Zeroizing::new([0u64; FLOOD_AT_ONCE * FLOOD_WORDS]);
    let [first, second] = coefficients;
    for (first, second) in first.chunks_mut(FLOOD_AT_ONCE).zip(second.chunks_mut(FLOOD_AT_ONCE)) {
        let words = &mut words[..first.len() * FLOOD_WORDS];
        rng.fill(words);
        vectorised(|| {
            for ((first, second), words) in first.iter_mut().zip(second).zip(words.as_chunks::<FLOOD_WORDS>().0) {
                let [a, b, c, highs] = *words;
                let [a, b, c] = [a, b, c].map(|word| word >> (64 - low_bits));
                // The fourth word holds the high parts of the three.
                let high = |i: u32| highs >> (i * high_bits) & high_mask;
                let low = (a & HALF) + (b & HALF) + (c & HALF);
                let middle = (a >> 32) + (b >> 32) + (c >> 32);
                let high = high(0) + high(1) + high(2);
                for (i, coefficient) in [first, second].into_iter().enumerate() {
                    let [times_middle, times_high] = FACTORS[i];
                    let flood = MODULI[i].add(low, times_middle.times(middle));
                    let flood = MODULI[i].add(flood, times_high.times(high));
                    *coefficient = MODULI[i].add(*coefficient, MODULI[i].sub(flood, centre[i]));
                }
            }
        });
    }
}

/// 2^32 and 2^64.
const fn powers(modulus: Modulus) -> [Factor; 2] {
    let half = modulus.factor(1 << 32);
    [half, modulus.factor(half.times(1 << 32))]
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
    use super::super::PRIMES;
    use super::*;

    #[test]
    fn uniform_polynomials_depend_on_seed_and_stream_only() {
        let first = uniform(&mut stream(&[1; 32], 0));
        assert_eq!(first, uniform(&mut stream(&[1; 32], 0)));
        assert_ne!(first, uniform(&mut stream(&[1; 32], 1)));
        assert_ne!(first, uniform(&mut stream(&[2; 32], 0)));
        assert!(first.residues().chunks(DEGREE).zip(PRIMES).all(|(half, prime)| half.iter().all(|r| *r < prime)));
        let mean = first.residues()[..DEGREE].iter().map(|&r| r as f64 / PRIMES[0] as f64).sum::<f64>() / DEGREE as f64;
        assert!((mean - 0.5).abs() < 0.03);
    }

    #[test]
    fn small_samplers_have_their_moments() {
        let mut rng = stream(&[3; 32], 0);
        let moments = |polys: &[Poly]| {
            let values: Vec<i64> =
                polys.iter().flat_map(|poly| (0..DEGREE).map(|i| poly.small_coefficient(i))).collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<i64>() as f64 / n;
            (mean, values.iter().map(|&v| (v * v) as f64).sum::<f64>() / n)
        };
        let trits: Vec<Poly> = (0..16).map(|_| ternary(&mut rng).take()).collect();
        assert!(trits.iter().all(|poly| (0..DEGREE).all(|i| poly.small_coefficient(i).abs() <= 1)));
        let (mean, square) = moments(&trits);
        assert!(mean.abs() < 0.02 && (square - 2.0 / 3.0).abs() < 0.01);
        let mut errors = vec![Poly::zero(); 16];
        errors.iter_mut().for_each(|poly| add_error(poly, &mut rng));
        let small = |poly: &Poly| (0..DEGREE).all(|i| poly.small_coefficient(i).unsigned_abs() <= ERROR_FLIPS.into());
        assert!(errors.iter().all(small));
        let (mean, square) = moments(&errors);
        assert!(mean.abs() < 0.08 && (square - 10.5).abs() < 0.35, "{mean} {square}");
    }

    #[test]
    fn a_stream_is_the_cipher_in_counter_mode() {
        let mut rng = stream(&[5; 32], 7);
        let words: Vec<u64> = (0..600).map(|_| rng.next_u64()).collect();
        for (counter, pair) in words.chunks(2).enumerate() {
            let mut block = Block::from((counter as u128 + (7 << 64)).to_le_bytes());
            Aes256Enc::new(&[5; 32].into()).encrypt_block(&mut block);
            assert_eq!(u128::from_le_bytes(block.into()), u128::from(pair[0]) | u128::from(pair[1]) << 64);
        }
    }

    #[test]
    fn the_flood_fills_its_range_and_has_its_deviation() {
        let mut rng = stream(&[4; 32], 0);
        for bits in [20, 49, 63, 64, 65, 85] {
            // Both residues stand for the same integer, recovered here by the Chinese remainder
            // theorem.
            let inverse = MODULI[1].factor(MODULI[1].inverse(PRIMES[0] % PRIMES[1]));
            let mut squares = 0.0;
            for _ in 0..4000 {
                let [mut first, mut second] = [0, 0];
                add_flood([std::slice::from_mut(&mut first), std::slice::from_mut(&mut second)], &mut rng, bits);
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
