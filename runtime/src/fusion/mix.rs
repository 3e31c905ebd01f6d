//! `fusion.mix`: which position of the batch holds which sample, known to the client alone.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::Error;

/// What one position holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// A copy of the query with this index.
    Query(usize),
    /// The public sample with this index.
    Public(usize),
    /// The known-answer probe with this index.
    Probe(usize),
}

/// One batch: `copies` copies of each query, and every public sample and probe once, under a
/// uniform permutation of all positions.
///
/// The permutation is the client's secret: whoever knows it can be wrong on all copies of a query
/// and on nothing else.
#[derive(Clone, Debug)]
pub struct Mix {
    queries: usize,
    public: usize,
    probes: usize,
    samples: Vec<Sample>,
}

impl Mix {
    /// A batch under a fresh permutation from the operating system's randomness.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn new(queries: usize, copies: usize, public: usize, probes: usize) -> Result<Mix, Error> {
        Ok(Mix::from_rng(queries, copies, public, probes, &mut system_rng()?))
    }

    /// A batch under a permutation drawn from `rng`.
    fn from_rng(queries: usize, copies: usize, public: usize, probes: usize, rng: &mut impl Rng) -> Mix {
        let copies = (0..copies).flat_map(|_| (0..queries).map(Sample::Query));
        let known = (0..public).map(Sample::Public).chain((0..probes).map(Sample::Probe));
        let mut samples: Vec<Sample> = copies.chain(known).collect();
        shuffle(&mut samples, rng);
        Mix { queries, public, probes, samples }
    }

    /// What each position holds, in the order in which they are sent.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Sorts `answers`, one per position, by sample: the answers to all copies of each query, and
    /// the answer to each public sample and probe.
    ///
    /// # Errors
    /// [`Error::Bug`] if there is not exactly one answer per position.
    pub fn unmix<T>(&self, answers: Vec<T>) -> Result<Unmixed<T>, Error> {
        if answers.len() != self.samples.len() {
            let text = format!("{} answers for {} positions", answers.len(), self.samples.len());
            return Err(Error::Bug(text));
        }
        let mut queries: Vec<Vec<T>> = (0..self.queries).map(|_| Vec::new()).collect();
        let mut public: Vec<Option<T>> = (0..self.public).map(|_| None).collect();
        let mut probes: Vec<Option<T>> = (0..self.probes).map(|_| None).collect();
        for (sample, answer) in self.samples.iter().zip(answers) {
            match *sample {
                Sample::Query(index) => queries[index].push(answer),
                Sample::Public(index) => public[index] = Some(answer),
                Sample::Probe(index) => probes[index] = Some(answer),
            }
        }
        let all = |answers: Vec<Option<T>>| answers.into_iter().flatten().collect();
        Ok(Unmixed { queries, public: all(public), probes: all(probes) })
    }
}

/// Answers by sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmixed<T> {
    /// For each query the answers to its copies.
    pub queries: Vec<Vec<T>>,
    /// For each public sample its answer.
    pub public: Vec<T>,
    /// For each probe its answer.
    pub probes: Vec<T>,
}

/// `items` in uniformly random order.
pub(super) fn shuffled<T>(mut items: Vec<T>) -> Result<Vec<T>, Error> {
    shuffle(&mut items, &mut system_rng()?);
    Ok(items)
}

fn system_rng() -> Result<ChaCha20Rng, Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(ChaCha20Rng::from_seed(seed))
}

/// Fisher-Yates: every permutation equally likely.
fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        let other = below(last as u64 + 1, rng) as usize;
        items.swap(last, other);
    }
}

/// Uniform in `0..bound`: the high word of a product, without the bias that it has where the low
/// word is below `2^64 mod bound`; those draws are thrown away (Lemire, ACM TOMACS 2019). Nothing
/// secret is divided.
fn below(bound: u64, rng: &mut impl Rng) -> u64 {
    let excess = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= excess {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_and_every_public_sample_has_a_position() {
        let mix = Mix::new(3, 4, 5, 2).unwrap();
        let count = |sample| mix.samples().iter().filter(|found| **found == sample).count();
        assert_eq!(mix.samples().len(), 19);
        assert!((0..3).all(|query| count(Sample::Query(query)) == 4));
        assert!((0..5).all(|public| count(Sample::Public(public)) == 1));
        assert!((0..2).all(|probe| count(Sample::Probe(probe)) == 1));
    }

    #[test]
    fn unmix_undoes_mix() {
        for (queries, copies, public, probes) in [(1, 1, 0, 0), (3, 4, 5, 2), (0, 2, 3, 1), (7, 0, 1, 4)] {
            let mix = Mix::new(queries, copies, public, probes).unwrap();
            let unmixed = mix.unmix(mix.samples().to_vec()).unwrap();
            let expected = Unmixed {
                queries: (0..queries).map(|query| vec![Sample::Query(query); copies]).collect(),
                public: (0..public).map(Sample::Public).collect(),
                probes: (0..probes).map(Sample::Probe).collect(),
            };
            assert_eq!(unmixed, expected);
        }
        assert!(matches!(Mix::new(2, 2, 2, 0).unwrap().unmix(vec![0; 5]), Err(Error::Bug(_))));
    }

    #[test]
    fn the_system_gives_another_permutation_each_time() {
        assert_ne!(Mix::new(0, 0, 64, 0).unwrap().samples(), Mix::new(0, 0, 64, 0).unwrap().samples());
    }

    #[test]
    fn all_permutations_are_equally_likely() {
        // Chi-square over the 24 permutations of 4 items: 23 degrees of freedom, 49.7 is the 0.1 %
        // tail. The biased shuffle that swaps with any position fails by orders of magnitude.
        const DRAWS: u32 = 24_000;
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..DRAWS {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut items, &mut rng);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        let expected = f64::from(DRAWS) / 24.0;
        let chi_square: f64 = counts.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        assert_eq!(counts.len(), 24);
        assert!(chi_square < 49.7, "{chi_square}");
    }

    #[test]
    fn every_sample_is_equally_likely_everywhere() {
        // A 10 x 10 table of (item, place): 81 degrees of freedom, 126.1 is the 0.1 % tail.
        const DRAWS: usize = 20_000;
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        let mut table = [[0u32; 10]; 10];
        for _ in 0..DRAWS {
            let mut items: Vec<usize> = (0..10).collect();
            shuffle(&mut items, &mut rng);
            items.iter().enumerate().for_each(|(place, item)| table[*item][place] += 1);
        }
        let expected = DRAWS as f64 / 10.0;
        let chi_square: f64 = table.iter().flatten().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        assert!(chi_square < 126.1, "{chi_square}");
    }

    #[test]
    fn draws_that_would_bias_the_remainder_are_thrown_away() {
        /// Gives the listed values.
        struct Fixed(Vec<u64>);
        impl rand_core::TryRng for Fixed {
            type Error = std::convert::Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
                self.try_next_u64().map(|word| word as u32)
            }
            fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
                Ok(self.0.pop().unwrap())
            }
            fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
                unreachable!("shuffling draws words")
            }
        }
        // 2^64 = 1 mod 3 and mod 5: only the word 0 is one too many. 2^64 = 0 mod 4: none is.
        assert_eq!(below(3, &mut Fixed(vec![u64::MAX, 0])), 2);
        assert_eq!(below(5, &mut Fixed(vec![1 << 63, 0])), 2);
        assert_eq!(below(4, &mut Fixed(vec![0])), 0);
        // Each of `0..3` has as many words as the others: a third of all but one.
        let third = u64::MAX / 3;
        for value in 0..3 {
            let [first, last] = [value * third + 1, (value + 1) * third];
            assert_eq!([first, last].map(|word| below(3, &mut Fixed(vec![word]))), [value, value]);
        }
    }
}
