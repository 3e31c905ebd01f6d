//! Ciphertexts: encrypted by the client, summed by the server, returned as a masked result.

use fusion_catalogue::linear::noise::flood_bits;
use fusion_catalogue::linear::{RESIDUE_BITS, SEED_BYTES};

use super::key::{ClientKey, PublicKey, UploadSeeds, decode_polynomial, encrypt_zero};
use super::scale::Scale;
use crate::Error;
use crate::bits::pack;
use crate::ring::sample::{Stream, add_error, flood, stream, ternary, uniform};
use crate::ring::{DEGREE, Poly, Spectrum};

/// A ciphertext, or a sum of products of some, at the server.
pub struct Ciphertext {
    a: Spectrum,
    b: Spectrum,
}

/// One returned polynomial: what the client decrypts.
///
/// The server adds `u` times the sample's public key and a fresh error to `a` (`u` ternary), so that `a` is a fresh
/// RLWE sample whatever it was; `b` gets the same `u`, and on every coefficient that is sent the flood, which takes the place
/// of the second error, and a uniform mask. Switching the modulus and cutting low bits work on what is already hidden.
pub struct ResultCiphertext {
    /// All of `a` modulo `2^a_bits`, packed.
    pub a: Vec<u8>,
    /// The wanted coefficients of `b` modulo `2^b_bits`, in the order in which they were wanted.
    pub b: Vec<u64>,
}

impl ClientKey {
    /// Encrypts the plaintexts mod `2^acc` at the given coefficients (others are 0) as polynomial `index` of an upload.
    /// Returns `b`, packed; `a` follows from the upload's public seed and `index`.
    pub fn encrypt(
        &self,
        seeds: &UploadSeeds,
        index: u64,
        scale: &Scale,
        plaintexts: impl Iterator<Item = (usize, u64)>,
    ) -> Vec<u8> {
        let a = Spectrum::of(uniform(&mut stream(&seeds.public, index)));
        let mut b = encrypt_zero(&self.secret, a, &mut stream(&seeds.errors, index));
        plaintexts.for_each(|(coefficient, plaintext)| b.add_to(coefficient, scale.encode(plaintext)));
        pack(b.residues(), RESIDUE_BITS as u8)
    }

    /// `a s` for the `a` of a result, coefficients as signed integers.
    pub fn times_secret(&self, a: &[u64], scale: &Scale) -> Vec<i64> {
        let a: Vec<i64> = a.iter().map(|&a| scale.centre_a(a)).collect();
        let mut product = Spectrum::zero();
        product.add_product(&Spectrum::of(Poly::from_signed(&a)), &self.secret);
        let product = product.into_poly();
        (0..DEGREE).map(|index| product.small_coefficient(index)).collect()
    }
}

impl Ciphertext {
    /// The sum with these components `[a, b]`.
    pub fn from_components([a, b]: [Spectrum; 2]) -> Ciphertext {
        Ciphertext { a, b }
    }

    /// The components `[a, b]`. Any sum of products of ciphertexts and plaintext polynomials is one of their components.
    pub fn into_components(self) -> [Spectrum; 2] {
        [self.a, self.b]
    }

    /// Reads polynomial `index` of an upload and adds the server's own plaintexts mod `2^acc`; refuses a wrong length and
    /// coefficients out of range.
    pub fn decode(
        public_seed: &[u8; SEED_BYTES],
        index: u64,
        bytes: &[u8],
        scale: &Scale,
        plaintexts: impl Iterator<Item = (usize, u64)>,
    ) -> Result<Ciphertext, Error> {
        let mut b = decode_polynomial(bytes)?;
        plaintexts.for_each(|(coefficient, plaintext)| b.add_to(coefficient, scale.encode(plaintext)));
        Ok(Ciphertext { a: Spectrum::of(uniform(&mut stream(public_seed, index))), b: Spectrum::of(b) })
    }

    /// Hides everything but the plaintexts at the wanted coefficients, each with its mask mod `2^acc` added.
    ///
    /// `rng` must be fresh for this result.
    pub fn into_result(
        self,
        key: &PublicKey,
        scale: &Scale,
        rng: &mut Stream,
        wanted: &[(usize, u64)],
    ) -> ResultCiphertext {
        let hiding = Hiding { rerandomise: !cfg!(feature = "without-rerandomisation"), ..Hiding::FULL };
        self.hide(key, scale, rng, wanted, hiding).switch(scale, wanted)
    }

    /// Re-randomises both components, and floods `b` where it is wanted.
    pub(super) fn hide(
        mut self,
        key: &PublicKey,
        scale: &Scale,
        rng: &mut Stream,
        wanted: &[(usize, u64)],
        hiding: Hiding,
    ) -> Hidden {
        if hiding.rerandomise {
            let u = Spectrum::of(ternary(rng).take());
            self.a.add_product(&key.a, &u);
            self.b.add_product(&key.b, &u);
        }
        let mut hidden = Hidden { a: self.a.into_poly(), b: self.b.into_poly() };
        if hiding.rerandomise {
            add_error(&mut hidden.a, rng);
        }
        if hiding.flood {
            let flood_bits = flood_bits(scale.acc_bits());
            for &(index, _) in wanted {
                hidden.b.add_to(index, flood(rng, flood_bits));
            }
        }
        hidden
    }
}

/// What of a result is hidden. Only tests leave anything out.
#[derive(Clone, Copy)]
pub(super) struct Hiding {
    pub(super) rerandomise: bool,
    pub(super) flood: bool,
}

impl Hiding {
    pub(super) const FULL: Hiding = Hiding { rerandomise: true, flood: true };
}

/// A result modulo `q`.
pub(super) struct Hidden {
    pub(super) a: Poly,
    pub(super) b: Poly,
}

impl Hidden {
    /// Switches to the moduli of a result and adds the masks.
    pub(super) fn switch(self, scale: &Scale, wanted: &[(usize, u64)]) -> ResultCiphertext {
        let a: Vec<u64> = (0..DEGREE).map(|index| scale.switch_a(self.a.coefficient(index))).collect();
        let b = wanted.iter().map(|&(index, mask)| scale.switch_b(self.b.coefficient(index), mask)).collect();
        ResultCiphertext { a: pack(&a, scale.a_bits()), b }
    }
}

#[cfg(test)]
mod tests {
    use fusion_catalogue::linear::noise::{A_EXTRA_BITS, B_EXTRA_BITS, Noise};
    use fusion_catalogue::linear::{POLYNOMIAL_BYTES, PRIMES};
    use fusion_ir::types::{mask, signed};
    use zeroize::Zeroizing;

    use super::*;
    use crate::bits::unpack;
    use crate::ring::MODULI;

    impl Ciphertext {
        /// An encryption of zero without noise: the empty sum.
        fn zero() -> Ciphertext {
            Ciphertext { a: Spectrum::zero(), b: Spectrum::zero() }
        }

        /// Adds `ciphertext` times a plaintext polynomial.
        fn add_product(&mut self, ciphertext: &Ciphertext, plaintext: &Spectrum) {
            self.a.add_product(&ciphertext.a, plaintext);
            self.b.add_product(&ciphertext.b, plaintext);
        }
    }

    const ACC_BITS: u8 = 34;
    const WEIGHT_BITS: u8 = 12;
    const CIPHERTEXTS: u64 = 9;

    /// A sum of products with weights of the largest magnitude, and the plaintexts in it, mod 2^64.
    fn weighted_sum(key: &mut ClientKey, rng: &mut Stream, plaintexts: bool) -> (Ciphertext, Vec<u64>) {
        let scale = Scale::new(ACC_BITS);
        let seeds = key.next_upload();
        let (mut sum, mut expected) = (Ciphertext::zero(), vec![0u64; DEGREE]);
        for index in 0..CIPHERTEXTS {
            let sparse: Vec<(usize, u64)> = (0..16)
                .filter(|_| plaintexts)
                .map(|_| (rng.next_u64() as usize % DEGREE, rng.next_u64() & mask(ACC_BITS)))
                .collect();
            let weights: Vec<i64> =
                (0..DEGREE).map(|_| if rng.next_u64() & 1 == 0 { 1 } else { -1 } << (WEIGHT_BITS - 1)).collect();
            for &(at, plaintext) in &sparse {
                for (i, &weight) in weights.iter().enumerate() {
                    let product = (plaintext as i64).wrapping_mul(weight) as u64;
                    let sum = &mut expected[(i + at) % DEGREE];
                    *sum = if i + at >= DEGREE { sum.wrapping_sub(product) } else { sum.wrapping_add(product) };
                }
            }
            // Each plaintext is shared.
            let parts = |x: u64| (x / 3, x.wrapping_sub(x / 3));
            let bytes = key.encrypt(&seeds, index, &scale, sparse.iter().map(|&(at, x)| (at, parts(x).0)));
            let own = sparse.iter().map(|&(at, x)| (at, parts(x).1));
            let ciphertext = Ciphertext::decode(&seeds.public, index, &bytes, &scale, own).unwrap();
            sum.add_product(&ciphertext, &Spectrum::of(Poly::from_signed(&weights)));
        }
        (sum, expected)
    }

    fn deviation(values: impl Iterator<Item = f64>) -> f64 {
        let (count, squares) = values.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value * value));
        (squares / count).sqrt()
    }

    fn predicted() -> Noise {
        Noise::new(ACC_BITS, WEIGHT_BITS, CIPHERTEXTS as usize * DEGREE).unwrap()
    }

    #[test]
    fn weighted_noise_is_as_predicted() {
        let mut key = ClientKey::from_seed(Zeroizing::new([1; 32]));
        let (sum, _) = weighted_sum(&mut key, &mut stream(&[2; 32], 0), false);
        let mut product = Spectrum::zero();
        product.add_product(&sum.a, &key.secret);
        let (b, product) = (sum.b.into_poly(), product.into_poly());
        let noise = (0..DEGREE).map(|index| {
            let (b, product) = (b.coefficient(index), product.coefficient(index));
            let mut difference = Poly::zero();
            difference.add_to(0, [0, 1].map(|i| MODULI[i].sub(b[i], product[i])));
            difference.small_coefficient(0) as f64
        });
        let ratio = deviation(noise) / predicted().weighted_deviation();
        assert!((0.95..1.02).contains(&ratio), "{ratio}");
    }

    #[test]
    fn results_decrypt_and_their_noise_is_flood_and_rounding() {
        let mut key = ClientKey::from_seed(Zeroizing::new([3; 32]));
        let public = PublicKey::decode(key.public()).unwrap();
        let mut rng = stream(&[4; 32], 0);
        let (sum, expected) = weighted_sum(&mut key, &mut rng, true);
        let scale = Scale::new(ACC_BITS);
        let wanted: Vec<(usize, u64)> = (0..DEGREE).map(|i| (i, i as u64)).collect();
        let result = sum.into_result(&public, &scale, &mut rng, &wanted);
        let a_times_secret = key.times_secret(&unpack(&result.a, DEGREE, scale.a_bits()).unwrap(), &scale);
        let noise: Vec<f64> = (0..DEGREE)
            .map(|i| {
                let plaintext = expected[i].wrapping_add(i as u64) & mask(ACC_BITS);
                assert_eq!(scale.decode(result.b[i], a_times_secret[i]), plaintext);
                let phase = (result.b[i] << (A_EXTRA_BITS - B_EXTRA_BITS)).wrapping_sub(a_times_secret[i] as u64);
                signed(phase.wrapping_sub(plaintext << A_EXTRA_BITS), scale.a_bits()) as f64
            })
            .collect();
        let unit = PRIMES.iter().map(|&prime| prime as f64).product::<f64>() / f64::from(scale.a_bits()).exp2();
        let flood = predicted().flood_deviation() / unit;
        let cut = f64::from(A_EXTRA_BITS - B_EXTRA_BITS).exp2();
        let rounding = (DEGREE as f64 * 2.0 / 3.0 + cut * cut) / 12.0;
        let ratio = deviation(noise.into_iter()) / (flood * flood + rounding).sqrt();
        assert!((0.95..1.05).contains(&ratio), "{ratio}");
    }

    #[test]
    fn both_components_of_a_result_are_fresh_whatever_was_summed() {
        let key = ClientKey::from_seed(Zeroizing::new([6; 32]));
        let public = PublicKey::decode(key.public()).unwrap();
        let scale = Scale::new(ACC_BITS);
        let bits = |bytes: &[u8]| bytes.iter().map(|byte| f64::from(byte.count_ones())).sum::<f64>();
        let results: Vec<ResultCiphertext> = (0..2)
            .flat_map(|run| {
                // The same sum each time, then the empty one, of which `a` is zero before it is re-randomised.
                let mut again = ClientKey::from_seed(Zeroizing::new([6; 32]));
                let (sum, _) = weighted_sum(&mut again, &mut stream(&[7; 32], 0), true);
                [(sum, 0), (Ciphertext::zero(), 1)].map(|(sum, number)| {
                    let rng = &mut stream(&[8 + run; 32], number);
                    let wanted: Vec<(usize, u64)> = (0..DEGREE).map(|i| (i, 0)).collect();
                    sum.into_result(&public, &scale, rng, &wanted)
                })
            })
            .collect();
        for (i, left) in results.iter().enumerate() {
            let share = bits(&left.a) / (8 * left.a.len()) as f64;
            assert!((0.49..0.51).contains(&share), "{share}");
            for right in &results[i + 1..] {
                let difference: Vec<u8> = left.a.iter().zip(&right.a).map(|(a, b)| a ^ b).collect();
                let share = bits(&difference) / (8 * difference.len()) as f64;
                assert!((0.49..0.51).contains(&share), "{share}");
                assert!(left.b.iter().zip(&right.b).filter(|(a, b)| a == b).count() < 4);
            }
        }
    }

    #[test]
    fn ciphertexts_out_of_range_are_refused() {
        let scale = Scale::new(20);
        let none = || std::iter::empty();
        let mut bytes = vec![0; POLYNOMIAL_BYTES];
        assert!(Ciphertext::decode(&[0; 32], 0, &bytes[1..], &scale, none()).is_err());
        assert!(Ciphertext::decode(&[0; 32], 0, &bytes, &scale, none()).is_ok());
        bytes[..7].fill(0xff);
        assert!(Ciphertext::decode(&[0; 32], 0, &bytes, &scale, none()).is_err());
    }
}
