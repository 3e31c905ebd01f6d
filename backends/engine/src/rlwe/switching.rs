//! Changes of key, and the tree of them that packs the wanted coefficients of many ciphertexts into
//! one.
//!
//! The construction and its noise are [`fusion_catalogue::cheetah::interleaved`]'s. The key of a
//! level is, for each digit, an encryption of minus its weight times the secret's image, under the
//! same sample's secret: RLWE is assumed to be circular secure for the images of its own secret, as
//! every scheme with automorphisms assumes. Nothing here depends on what is packed but the values.

use std::sync::OnceLock;

use fusion_catalogue::cheetah::interleaved::{KEYS_PER_LEVEL, MAX_LEVELS, key_bytes};
use fusion_catalogue::rlwe::{POLYNOMIAL_BYTES, RESIDUE_BITS, SEED_BYTES};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::Ciphertext;
use super::key::{ClientKey, PackingKeys, PublicKey, bytes, decode_polynomial, encrypt_zero};
use crate::Error;
use crate::bits::pack_into;
use crate::ring::automorphism::{Automorphism, digit_weight, digits, monomial};
use crate::ring::sample::{Seed, stream, uniform};
use crate::ring::{DEGREE, MODULI, Spectrum};

impl ClientKey {
    /// The keys with which the server packs results in so many levels, as sent. The same every
    /// time: send them once.
    pub fn packing_keys(&self, levels: u32) -> Vec<u8> {
        // Uploads, counted from 1, never get there.
        let mut rng = stream(self.root(), u64::MAX);
        let (public, errors) = (bytes(&mut rng), Seed::new(bytes(&mut rng)));
        let mut message = vec![0; key_bytes(levels)];
        let (seed, polynomials) = message.split_at_mut(SEED_BYTES);
        seed.copy_from_slice(&public);
        for (level, polynomials) in (0..).zip(polynomials.chunks_mut(KEYS_PER_LEVEL * POLYNOMIAL_BYTES)) {
            let image = Zeroizing::new(Level::of(level).automorphism.apply(&self.secret).into_poly());
            polynomials.par_chunks_mut(POLYNOMIAL_BYTES).enumerate().for_each(|(digit, polynomial)| {
                let number = u64::from(level) * KEYS_PER_LEVEL as u64 + digit as u64;
                let a = Spectrum::of(uniform(&mut stream(&public, number)));
                let mut b = encrypt_zero(&self.secret, a, &mut stream(&errors, number));
                let halves = b.halves_mut().into_iter().zip(image.halves());
                for (((b, image), weight), modulus) in halves.zip(digit_weight(digit)).zip(MODULI) {
                    let weight = modulus.factor(weight);
                    b.iter_mut().zip(image).for_each(|(b, image)| *b = modulus.sub(*b, weight.times(*image)));
                }
                pack_into(b.residues(), RESIDUE_BITS as u8, polynomial);
            });
        }
        message
    }
}

impl PublicKey {
    /// Takes what [`ClientKey::packing_keys`] wrote for so many levels.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`] if the length is wrong or a coefficient out of range.
    pub fn set_packing_keys(&mut self, bytes: &[u8], levels: u32) -> Result<(), Error> {
        let wrong = || Error::PeerMisbehaved(format!("packing keys of {} bytes", bytes.len()));
        if levels > MAX_LEVELS || bytes.len() != key_bytes(levels) {
            return Err(wrong());
        }
        let (seed, polynomials) = bytes.split_first_chunk::<SEED_BYTES>().ok_or_else(wrong)?;
        let key = |(number, b): (usize, &[u8])| {
            let a = Spectrum::of(uniform(&mut stream(seed, number as u64)));
            Ok([a, Spectrum::of(decode_polynomial(b)?)])
        };
        let keys: Result<Vec<[Spectrum; 2]>, Error> =
            polynomials.par_chunks(POLYNOMIAL_BYTES).enumerate().map(key).collect();
        let mut keys = keys?.into_iter();
        let levels = (0..levels).map(|_| keys.by_ref().take(KEYS_PER_LEVEL).collect());
        self.packing = PackingKeys { levels: levels.collect() };
        Ok(())
    }
}

/// Ciphertexts on their way into one, in the order of
/// [`fusion_catalogue::cheetah::interleaved::class`]: those that wait for one to meet.
#[derive(Default)]
pub struct Tree {
    /// With the levels that each has behind it, which decrease.
    waiting: Vec<(u32, Ciphertext)>,
}

impl Tree {
    /// Adds the next ciphertext of `2^levels`; what is wanted of it lies at multiples of
    /// `2^levels`.
    ///
    /// # Panics
    /// If the sample has keys of fewer levels.
    pub fn push(&mut self, ciphertext: Ciphertext, levels: u32, key: &PublicKey) {
        let (mut done, mut merged) = (0, ciphertext);
        while let Some((_, even)) = self.waiting.pop_if(|(behind, _)| *behind == done) {
            done += 1;
            merged = merge(even, Some(merged), levels - done, key);
        }
        self.waiting.push((done, merged));
    }

    /// The one ciphertext, whatever number of them there was, leaving an empty tree; the empty sum
    /// if there was none.
    ///
    /// # Panics
    /// As [`Tree::push`].
    pub fn finish(&mut self, levels: u32, key: &PublicKey) -> Ciphertext {
        let last = self.waiting.pop();
        let (mut done, mut merged) = last.unwrap_or_else(|| (levels, Ciphertext::zero()));
        while done < levels {
            let even = self.waiting.pop_if(|(behind, _)| *behind == done);
            done += 1;
            merged = match even {
                Some((_, even)) => merge(even, Some(merged), levels - done, key),
                None => merge(merged, None, levels - done, key),
            };
        }
        merged
    }
}

/// One step: `u + s(v)` with `u`, `v` half the sum and half the difference of `even` and
/// `X^(2^level) odd`, `s` the automorphism of the level.
fn merge(even: Ciphertext, odd: Option<Ciphertext>, level: u32, key: &PublicKey) -> Ciphertext {
    let Level { automorphism, shift } = Level::of(level);
    let [mut a, mut b] = even.into_components();
    let odd = odd.map(Ciphertext::into_components);
    let [mut a_difference, mut b_difference] = [0, 1].map(|component| {
        let mut shifted = Spectrum::zero();
        odd.iter().for_each(|odd| shifted.add_product(&odd[component], shift));
        shifted
    });
    a.halve(&mut a_difference);
    b.halve(&mut b_difference);
    b.add(&automorphism.apply(&b_difference));
    let a_image = automorphism.apply(&a_difference).into_poly();
    for (digit, [key_a, key_b]) in digits(&a_image).zip(&key.packing.levels[level as usize]) {
        let digit = Spectrum::of(digit);
        a.add_product(&digit, key_a);
        b.add_product(&digit, key_b);
    }
    Ciphertext::from_components([a, b])
}

/// What all keys of a level have in common.
struct Level {
    automorphism: Automorphism,
    /// `X^(2^level)`.
    shift: Spectrum,
}

impl Level {
    fn of(level: u32) -> &'static Level {
        static LEVELS: [OnceLock<Level>; MAX_LEVELS as usize] = [const { OnceLock::new() }; MAX_LEVELS as usize];
        LEVELS[level as usize].get_or_init(|| Level {
            automorphism: Automorphism::new(1 + (DEGREE >> level)),
            shift: Spectrum::of(monomial(1 << level)),
        })
    }
}

#[cfg(test)]
mod tests {
    use fusion_catalogue::cheetah::interleaved::{class, switching_variance};

    use super::*;
    use crate::ring::{PRIMES, Poly};
    use crate::rlwe::Scale;

    /// A key, what the server has of it, and encryptions of polynomials with random bits at all
    /// coefficients, scaled up beyond all noise.
    fn encrypted(count: usize, levels: u32) -> (ClientKey, PublicKey, Vec<(Vec<i64>, Ciphertext)>) {
        let mut key = ClientKey::from_seed(Zeroizing::new([1; 32]));
        let mut public = PublicKey::decode(key.public()).unwrap();
        public.set_packing_keys(&key.packing_keys(levels), levels).unwrap();
        let (scale, seeds, mut rng) = (Scale::new(2), key.next_upload(), stream(&[2; 32], 0));
        let encrypt = |index: usize| {
            let bits: Vec<i64> = (0..DEGREE).map(|_| (rng.next_u64() & 1) as i64).collect();
            let plaintext: [u64; DEGREE] = std::array::from_fn(|i| bits[i] as u64);
            let mut b = [0; POLYNOMIAL_BYTES];
            key.encrypt(&seeds, index as u64, &scale, &[0; DEGREE], &mut b);
            (bits, Ciphertext::decode(&seeds.public, index as u64, &b, &scale, &plaintext).unwrap())
        };
        let ciphertexts = (0..count).map(encrypt).collect();
        (key, public, ciphertexts)
    }

    /// `b - a s`, and what is left of it without the encoded bits.
    fn noise(key: &ClientKey, ciphertext: Ciphertext, bits: &[i64]) -> Vec<f64> {
        let [a, b] = ciphertext.into_components();
        let mut product = Spectrum::zero();
        product.add_product(&a, &key.secret);
        let (product, b, scale) = (product.into_poly(), b.into_poly(), Scale::new(2));
        let noise = |i: usize| {
            let (b, product, encoded) = (b.coefficient(i), product.coefficient(i), scale.encode(bits[i] as u64));
            let mut noise = Poly::zero();
            noise.add_to(0, [0, 1].map(|j| MODULI[j].sub(MODULI[j].sub(b[j], product[j]), encoded[j])));
            noise.small_coefficient(0) as f64
        };
        (0..DEGREE).map(noise).collect()
    }

    #[test]
    fn every_class_holds_the_first_class_of_its_ciphertext_and_predicted_noise() {
        for (levels, count) in [(1, 2), (3, 8), (3, 5), (2, 1), (MAX_LEVELS, 64)] {
            let (key, public, ciphertexts) = encrypted(count, levels);
            let (mut expected, mut wanted) = (vec![0; DEGREE], vec![false; DEGREE]);
            let mut tree = Tree::default();
            for (index, (bits, ciphertext)) in ciphertexts.into_iter().enumerate() {
                for i in (0..DEGREE).step_by(1 << levels) {
                    expected[i + class(index, levels)] = bits[i];
                    wanted[i + class(index, levels)] = true;
                }
                tree.push(ciphertext, levels, &public);
            }
            let noise = noise(&key, tree.finish(levels, &public), &expected);
            // Classes that nothing was packed into have less.
            let squares: Vec<f64> =
                noise.iter().zip(wanted).filter(|pair| pair.1).map(|pair| pair.0 * pair.0).collect();
            let square = squares.iter().sum::<f64>() / squares.len() as f64;
            // Digits are uniform here instead of as large as can be: a third of the bound.
            let ratio = square / (switching_variance(levels) / 3.0);
            assert!((0.85..1.15).contains(&ratio), "{levels} {count}: {ratio}");
        }
    }

    #[test]
    fn nothing_packs_to_nothing() {
        let (key, public, _) = encrypted(0, 2);
        assert!(noise(&key, Tree::default().finish(2, &public), &[0; DEGREE]).iter().all(|noise| *noise == 0.0));
    }

    #[test]
    fn keys_are_independent_of_uploads_and_each_encrypts_a_digit_of_an_image() {
        let mut key = ClientKey::from_seed(Zeroizing::new([3; 32]));
        let message = key.packing_keys(2);
        assert!(
            message[..SEED_BYTES] != key.next_upload().public && message[..SEED_BYTES] != key.public()[..SEED_BYTES]
        );
        assert_eq!(message, key.packing_keys(2));
        assert!(message != ClientKey::from_seed(Zeroizing::new([4; 32])).packing_keys(2));
        let mut public = PublicKey::decode(key.public()).unwrap();
        public.set_packing_keys(&message, 2).unwrap();
        for (level, keys) in (0..).zip(&public.packing.levels) {
            let image = Level::of(level).automorphism.apply(&key.secret).into_poly();
            for (digit, [a, b]) in keys.iter().enumerate() {
                let mut product = Spectrum::zero();
                product.add_product(a, &key.secret);
                let (product, b, weight) = (product.into_poly(), b.clone().into_poly(), digit_weight(digit));
                for i in 0..DEGREE {
                    let mut error = Poly::zero();
                    error.add_to(
                        0,
                        [0, 1].map(|j| {
                            let weighted = MODULI[j].factor(weight[j]).times(image.coefficient(i)[j]);
                            MODULI[j].add(MODULI[j].sub(b.coefficient(i)[j], product.coefficient(i)[j]), weighted)
                        }),
                    );
                    assert!(error.small_coefficient(0).abs() <= 21, "{level} {digit}");
                }
            }
        }
        assert_eq!(public.packing.levels[0].len(), 2 * PRIMES.len() * 2);
    }
}
