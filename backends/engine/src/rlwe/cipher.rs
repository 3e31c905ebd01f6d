//! Ciphertexts: encrypted by the client, summed by the server, returned as a masked result.

use std::ops::Range;

use fusion_catalogue::cheetah::noise::{ONE_PRIME_A_BITS, flood_bits};
use fusion_catalogue::rlwe::{RESIDUE_BITS, SEED_BYTES};
use zeroize::Zeroizing;

use super::key::{ClientKey, PublicKey, UploadSeeds, decode_polynomial, encrypt_zero};
use super::scale::Scale;
use crate::Error;
use crate::bits::pack_into;
use crate::ring::sample::{Stream, add_error, add_flood, stream, ternary, uniform};
use crate::ring::{DEGREE, Half, Poly, Spectrum};

/// A ciphertext, or a sum of products of some, at the server.
pub struct Ciphertext {
    a: Spectrum,
    b: Spectrum,
}

impl ClientKey {
    /// Encrypts the plaintext, coefficients mod `2^acc`, as polynomial `index` of an upload. Writes
    /// `b`, packed (a polynomial of 2^12 residues); `a` follows from the upload's public seed and
    /// `index`.
    pub fn encrypt(&self, seeds: &UploadSeeds, index: u64, scale: &Scale, plaintext: &[u64; DEGREE], bytes: &mut [u8]) {
        let a = Spectrum::of(uniform(&mut stream(&seeds.public, index)));
        let mut b = encrypt_zero(&self.secret, a, &mut stream(&seeds.errors, index));
        scale.add_encoded(plaintext, &mut b);
        pack_into(b.residues(), RESIDUE_BITS as u8, bytes);
    }

    /// `a s` for the `a` of a result, coefficients modulo 2^64 as words; for honest results never
    /// wrong by more than that.
    ///
    /// Where the coefficients fit one prime (see [`ONE_PRIME_A_BITS`]) they are computed modulo
    /// that alone. A server whose `a` makes them not fit spoils its own result.
    pub fn times_secret(&self, a: &[u64], scale: &Scale) -> Zeroizing<Vec<u64>> {
        let a: Vec<i64> = a.iter().map(|&a| scale.centre_a(a)).collect();
        if scale.a_bits() <= ONE_PRIME_A_BITS {
            return Zeroizing::new(Half::from_signed(&a).times(&self.secret));
        }
        let mut product = Spectrum::zero();
        product.add_product(&Spectrum::of(Poly::from_signed(&a)), &self.secret);
        let product = Zeroizing::new(product.into_poly());
        Zeroizing::new((0..DEGREE).map(|index| product.small_coefficient(index) as u64).collect())
    }
}

impl Ciphertext {
    /// The sum with these components `[a, b]`.
    pub fn from_components([a, b]: [Spectrum; 2]) -> Ciphertext {
        Ciphertext { a, b }
    }

    /// An encryption of zero without noise: the empty sum.
    pub fn zero() -> Ciphertext {
        Ciphertext { a: Spectrum::zero(), b: Spectrum::zero() }
    }

    /// The components `[a, b]`. Any sum of products of ciphertexts and plaintext polynomials is one
    /// of their components.
    pub fn into_components(self) -> [Spectrum; 2] {
        [self.a, self.b]
    }

    /// Reads polynomial `index` of an upload and adds the server's own plaintext mod `2^acc`;
    /// refuses a wrong length and coefficients out of range.
    pub fn decode(
        public_seed: &[u8; SEED_BYTES],
        index: u64,
        bytes: &[u8],
        scale: &Scale,
        plaintext: &[u64; DEGREE],
    ) -> Result<Ciphertext, Error> {
        let mut b = decode_polynomial(bytes)?;
        scale.add_encoded(plaintext, &mut b);
        Ok(Ciphertext { a: Spectrum::of(uniform(&mut stream(public_seed, index))), b: Spectrum::of(b) })
    }

    /// Writes the result that the client gets: all of `a` modulo `2^a_bits`, and the wanted
    /// coefficients of `b` modulo `2^b_bits`, one after the other, each with its mask mod `2^acc`
    /// added; both packed. Uses up the sum, but not its memory.
    ///
    /// Everything but the plaintexts at the wanted coefficients is hidden: the server adds `u`
    /// times the sample's public key and a fresh error to `a` (`u` ternary), so that `a` is a fresh
    /// RLWE sample whatever it was; `b` gets the same `u`, and on every coefficient that is sent
    /// the flood, which takes the place of the second error, and a uniform mask. Switching the
    /// modulus and cutting low bits work on what is already hidden. `rng` must be fresh for this
    /// result.
    ///
    /// # Panics
    /// If there are not as many masks as wanted coefficients, or if `a` and `b` are not as long as
    /// what is written there.
    pub fn write_result(
        &mut self,
        key: &PublicKey,
        scale: &Scale,
        rng: &mut Stream,
        wanted: &[Range<usize>],
        masks: &mut [u64],
        [a, b]: [&mut [u8]; 2],
    ) {
        let hiding = Hiding { rerandomise: !cfg!(fusion_ablate = "without-rerandomisation"), ..Hiding::FULL };
        let hidden = self.hide(key, scale, rng, wanted, hiding);
        hidden.switch(scale, masks, [a, b]);
        self.a = Spectrum::from_memory(hidden.a);
    }

    /// Re-randomises both components, and floods `b` where it is wanted.
    pub(super) fn hide(
        &mut self,
        key: &PublicKey,
        scale: &Scale,
        rng: &mut Stream,
        wanted: &[Range<usize>],
        hiding: Hiding,
    ) -> Hidden {
        if hiding.rerandomise {
            let u = Spectrum::of(ternary(rng).take());
            self.a.add_product(&key.a, &u);
            self.b.add_product(&key.b, &u);
        }
        let [mut a, b] = [&mut self.a, &mut self.b].map(|component| component.take().into_poly());
        if hiding.rerandomise {
            add_error(&mut a, rng);
        }
        let [mut first, mut second] = b.halves().map(|half| {
            let mut coefficients = Vec::with_capacity(DEGREE);
            wanted.iter().for_each(|run| coefficients.extend_from_slice(&half[run.clone()]));
            coefficients
        });
        self.b = Spectrum::from_memory(b);
        if hiding.flood {
            add_flood([&mut first, &mut second], rng, flood_bits(scale.acc_bits()));
        }
        Hidden { a, b: [first, second] }
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
    /// The residues of the wanted coefficients.
    pub(super) b: [Vec<u64>; 2],
}

impl Hidden {
    /// Switches to the moduli of a result, adds the masks, in whose place the switched `b` stays,
    /// and packs.
    pub(super) fn switch(&self, scale: &Scale, masks: &mut [u64], [a, b]: [&mut [u8]; 2]) {
        let [first, second] = &self.b;
        assert_eq!(first.len(), masks.len());
        let mut switched = [0; DEGREE];
        scale.switch_a(self.a.halves(), &mut switched);
        pack_into(&switched, scale.a_bits(), a);
        scale.switch_b([first, second], masks);
        pack_into(masks, scale.b_bits(), b);
    }
}

#[cfg(test)]
mod tests {
    use fusion_catalogue::cheetah::noise::{A_EXTRA_BITS, B_EXTRA_BITS, Noise};
    use fusion_catalogue::rlwe::{POLYNOMIAL_BYTES, PRIMES};
    use fusion_ir::types::{mask, signed};

    use super::*;
    use crate::bits::unpack;
    use crate::ring::MODULI;

    impl Ciphertext {
        /// Adds `ciphertext` times a plaintext polynomial.
        fn add_product(&mut self, ciphertext: &Ciphertext, plaintext: &Spectrum) {
            self.a.add_product(&ciphertext.a, plaintext);
            self.b.add_product(&ciphertext.b, plaintext);
        }
    }

    /// What the client unpacks of a result.
    struct ResultCiphertext {
        a: Vec<u8>,
        b: Vec<u64>,
    }

    /// The result with all coefficients wanted, each with its mask.
    fn result(
        mut sum: Ciphertext,
        key: &PublicKey,
        scale: &Scale,
        rng: &mut Stream,
        mut masks: Vec<u64>,
    ) -> ResultCiphertext {
        let [mut a, mut b] = [scale.a_bits(), scale.b_bits()].map(|bits| vec![0; DEGREE / 8 * usize::from(bits)]);
        let wanted = Range { start: 0, end: DEGREE };
        sum.write_result(key, scale, rng, &[wanted], &mut masks, [&mut a, &mut b]);
        assert_eq!(unpack(&b, DEGREE, scale.b_bits()).unwrap(), masks);
        ResultCiphertext { a, b: masks }
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
                .map(|i| (rng.next_u64() as usize % (DEGREE / 16) * 16 + i, rng.next_u64() & mask(ACC_BITS)))
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
            let (mut clients, mut own) = ([0; DEGREE], [0; DEGREE]);
            for &(at, x) in &sparse {
                (clients[at], own[at]) = parts(x);
            }
            let mut bytes = [0; POLYNOMIAL_BYTES];
            key.encrypt(&seeds, index, &scale, &clients, &mut bytes);
            let ciphertext = Ciphertext::decode(&seeds.public, index, &bytes, &scale, &own).unwrap();
            sum.add_product(&ciphertext, &Spectrum::of(Poly::from_signed(&weights)));
        }
        (sum, expected)
    }

    fn deviation(values: impl Iterator<Item = f64>) -> f64 {
        let (count, squares) = values.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value * value));
        (squares / count).sqrt()
    }

    fn predicted() -> Noise {
        Noise::new(ACC_BITS, WEIGHT_BITS, CIPHERTEXTS as usize * DEGREE, 0).unwrap()
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
        let result = result(sum, &public, &scale, &mut rng, (0..DEGREE as u64).collect());
        let a_times_secret = key.times_secret(&unpack(&result.a, DEGREE, scale.a_bits()).unwrap(), &scale);
        let noise: Vec<f64> = (0..DEGREE)
            .map(|i| {
                let plaintext = expected[i].wrapping_add(i as u64) & mask(ACC_BITS);
                assert_eq!(scale.decode(result.b[i], a_times_secret[i]), plaintext);
                let phase = (result.b[i] << (A_EXTRA_BITS - B_EXTRA_BITS)).wrapping_sub(a_times_secret[i]);
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
                // The same sum each time, then the empty one, of which `a` is zero before it is
                // re-randomised.
                let mut again = ClientKey::from_seed(Zeroizing::new([6; 32]));
                let (sum, _) = weighted_sum(&mut again, &mut stream(&[7; 32], 0), true);
                [(sum, 0), (Ciphertext::zero(), 1)].map(|(sum, number)| {
                    let rng = &mut stream(&[8 + run; 32], number);
                    result(sum, &public, &scale, rng, vec![0; DEGREE])
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
        let none = &[0; DEGREE];
        let mut bytes = vec![0; POLYNOMIAL_BYTES];
        assert!(Ciphertext::decode(&[0; 32], 0, &bytes[1..], &scale, none).is_err());
        assert!(Ciphertext::decode(&[0; 32], 0, &bytes, &scale, none).is_ok());
        bytes[..7].fill(0xff);
        assert!(Ciphertext::decode(&[0; 32], 0, &bytes, &scale, none).is_err());
    }
}
