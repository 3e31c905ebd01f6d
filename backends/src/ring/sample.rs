//! Sampling: uniform, ternary and error polynomials, and the flood.
//!
//! Secret samplers take the same time whatever they return, but for the rejections of [`ternary`], whose number says
//! nothing about the values kept.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256Enc, Block};
use zeroize::{Zeroize, Zeroizing};

use fusion_catalogue::linear::noise::{ERROR_FLIPS, MAX_FLOOD_BITS};
use fusion_catalogue::linear::{RESIDUE_BITS, SEED_BYTES};

use super::{DEGREE, Factor, MODULI, Poly};

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

/// A pseudorandom generator: AES-256 in counter mode, keyed with a seed. Zeroized when dropped.
///
/// The streams of a seed are its disjoint parts of 2^64 blocks. All parts together are as good as uniform: `n` blocks are told
/// from uniform ones with advantage at most `n^2 / 2^129` beyond AES's own (n < 2^30 for one layer of a micro-batch). Public
/// polynomials are expanded from public seeds with it as Kyber's "90s" variant does.
pub struct Stream {
    cipher: Aes256Enc,
    number: u64,
    /// The next block.
    counter: u64,
    blocks: [Block; BLOCKS],
    /// Words taken of `blocks`.
    taken: usize,
}

impl Stream {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        if self.taken == BLOCKS * BLOCK_WORDS {
            self.refill();
        }
        let block = &self.blocks[self.taken / BLOCK_WORDS];
        let word = block.as_chunks::<8>().0[self.taken % BLOCK_WORDS];
        self.taken += 1;
        u64::from_le_bytes(word)
    }

    #[inline(never)]
    fn refill(&mut self) {
        for block in &mut self.blocks {
            let (counter, number) = block.split_at_mut(8);
            counter.copy_from_slice(&self.counter.to_le_bytes());
            number.copy_from_slice(&self.number.to_le_bytes());
            self.counter += 1;
        }
        self.cipher.encrypt_blocks(&mut self.blocks);
        self.taken = 0;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.blocks.iter_mut().for_each(|block| block.zeroize());
    }
}

/// The generator number `number` of `seed`: different streams are independent.
pub fn stream(seed: &[u8; SEED_BYTES], number: u64) -> Stream {
    let cipher = Aes256Enc::new(seed.into());
    Stream { cipher, number, counter: 0, blocks: [Block::default(); BLOCKS], taken: BLOCKS * BLOCK_WORDS }
}

/// A uniform polynomial, the same for both parties from the same generator. Not for secrets: its time varies.
pub fn uniform(rng: &mut Stream) -> Poly {
    let mut poly = Poly::zero();
    for (half, modulus) in poly.0.chunks_mut(DEGREE).zip(MODULI) {
        for residue in half {
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
pub fn ternary(rng: &mut Stream) -> Zeroizing<Poly> {
    let mut bytes = Zeroizing::new([0u8; DEGREE]);
    for word in bytes.as_chunks_mut().0 {
        *word = rng.next_u64().to_le_bytes();
    }
    // 255 is the one byte too many for three equal shares.
    for byte in bytes.iter_mut().filter(|byte| **byte == u8::MAX) {
        while *byte == u8::MAX {
            *byte = rng.next_u64() as u8;
        }
    }
    let mut poly = Zeroizing::new(Poly::zero());
    for (half, modulus) in poly.0.chunks_mut(DEGREE).zip(MODULI) {
        for (residue, byte) in half.iter_mut().zip(bytes.iter()) {
            *residue = modulus.reduce_once(u64::from(byte % 3) + modulus.prime() - 1);
        }
    }
    poly
}

/// Adds to every coefficient a centred binomial one: heads of [`ERROR_FLIPS`] coins less heads of as many others. (Or, which
/// is the same, plus tails of the others less their number.)
pub fn add_error(poly: &mut Poly, rng: &mut Stream) {
    const COINS: u64 = (1 << (2 * ERROR_FLIPS)) - 1;
    let (first, second) = poly.0.split_at_mut(DEGREE);
    for (first, second) in first.iter_mut().zip(second) {
        let error = i64::from((rng.next_u64() & COINS).count_ones()) - i64::from(ERROR_FLIPS);
        *first = MODULI[0].add(*first, MODULI[0].reduce_signed(error));
        *second = MODULI[1].add(*second, MODULI[1].reduce_signed(error));
    }
}

/// The residues of the next coefficient of the flood, the sum of three uniform integers of `bits` bits (`2..=`
/// [`MAX_FLOOD_BITS`]), less half its range.
pub fn flood(rng: &mut Stream, bits: u32) -> [u64; 2] {
    debug_assert!((2..=MAX_FLOOD_BITS).contains(&bits));
    let (low_bits, high_bits) = (bits.min(64), bits.saturating_sub(64));
    let [first, second, third, highs] = [(); 4].map(|()| rng.next_u64());
    let low = |word: u64| u128::from(word >> (64 - low_bits));
    // The fourth word holds the high parts of the three.
    let high = |i: u32| u128::from(highs >> (i * high_bits) & ((1 << high_bits) - 1));
    let sum = low(first) + low(second) + low(third) + ((high(0) + high(1) + high(2)) << 64);
    let (sum, centre) = (residues(sum), residues(3 << (bits - 1)));
    [0, 1].map(|prime| MODULI[prime].sub(sum[prime], centre[prime]))
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
        assert!(Poly::from_residues(first.residues().to_vec()).is_ok());
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
            // Both residues stand for the same integer, recovered here by the Chinese remainder theorem.
            let inverse = MODULI[1].factor(MODULI[1].inverse(PRIMES[0] % PRIMES[1]));
            let mut squares = 0.0;
            for _ in 0..4000 {
                let [first, second] = flood(&mut rng, bits);
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
