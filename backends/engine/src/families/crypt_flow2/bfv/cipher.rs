//! Ciphertexts: encrypted by the client, rotated, multiplied and summed by the server, returned as
//! a masked result.

use fusion_catalogue::crypt_flow2::he::{A_EXTRA_BITS, B_EXTRA_BITS, DEGREE, DIGIT_BITS, DIGITS, PRIMES, Slots};
use fusion_catalogue::packed_bytes;
use fusion_catalogue::rlwe::SEED_BYTES;
use fusion_ir::types::{mask, signed};

use super::key::{ClientKey, ServerKey, encrypt_zero, power};
use super::ring::{MODULI, Poly, Spectrum};
use super::slots::Encoder;
use crate::Error;
use crate::bits::{pack, unpack};
use crate::ring::Factor;
use crate::ring::sample::{Seed, Stream, stream};

/// A ciphertext at the server.
#[derive(Clone)]
pub struct Ciphertext {
    a: Spectrum,
    b: Spectrum,
}

/// A ciphertext taken apart to be rotated, by several steps perhaps.
pub struct Hoisted {
    digits: Vec<Spectrum>,
    b: Spectrum,
}

impl ClientKey {
    /// Encrypts slots as ciphertext `index` of an upload. Returns `b`, packed; `a` follows from the
    /// upload's public seed and `index`.
    pub fn encrypt(&self, [public, errors]: [&Seed; 2], index: u64, encoder: &Encoder, slots: &[u64]) -> Vec<u8> {
        let mut b = encrypt_zero(&self.secret, Poly::uniform(&mut stream(public, index)), &mut stream(errors, index));
        for (place, coefficient) in encoder.coefficients(slots).into_iter().enumerate() {
            b.add_to(place, encoder.scale(coefficient));
        }
        b.encode()
    }
}

impl Ciphertext {
    /// An encryption of zero without noise: the empty sum.
    pub fn zero() -> Ciphertext {
        Ciphertext { a: Spectrum::zero(), b: Spectrum::zero() }
    }

    /// Reads ciphertext `index` of an upload; refuses a wrong length and coefficients out of range.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`].
    pub fn decode(public: &[u8; SEED_BYTES], index: u64, bytes: &[u8]) -> Result<Ciphertext, Error> {
        let b = Spectrum::of(Poly::decode(bytes)?);
        Ok(Ciphertext { a: Spectrum::of(Poly::uniform(&mut stream(public, index))), b })
    }

    /// Adds `ciphertext` times a plaintext.
    pub fn add_product(&mut self, ciphertext: &Ciphertext, plaintext: &Spectrum) {
        self.a.add_product(&ciphertext.a, plaintext);
        self.b.add_product(&ciphertext.b, plaintext);
    }

    /// Takes the ciphertext apart.
    #[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
    pub fn hoist(self) -> Hoisted {
        let a = self.a.into_poly();
        let digit = |number: usize| {
            let (prime, place) = (number % PRIMES.len(), number / PRIMES.len());
            let residues = &a.0[prime * DEGREE..(prime + 1) * DEGREE];
            let digits = residues.iter().map(|x| x >> (DIGIT_BITS as usize * place) & mask(DIGIT_BITS as u8));
            Spectrum::of_small(&digits.collect::<Vec<u64>>())
        };
        Hoisted { digits: (0..DIGITS).map(digit).collect(), b: self.b }
    }

    /// What the client gets, and the slots that were added to it, uniform modulo `p`.
    ///
    /// Both components are re-randomised under the sample's public key, so `a` is a fresh sample
    /// whatever it was; `b` gets the flood in place of a second error, and the mask. Switching the
    /// modulus works on what is already hidden.
    #[allow(clippy::integer_division_remainder_used, reason = "of the modulus, which is public")]
    pub fn into_result(
        mut self,
        key: &ServerKey,
        encoder: &Encoder,
        slots: &Slots,
        rng: &mut Stream,
    ) -> (Vec<u8>, Vec<u64>) {
        let u = Spectrum::of(Poly(std::mem::take(&mut Poly::ternary(rng).0)));
        self.a.add_product(&key.public[0], &u);
        self.b.add_product(&key.public[1], &u);
        let (mut a, mut b) = (self.a.into_poly(), self.b.into_poly());
        a.add_error(rng);
        let flood = Flood::new(slots.flood_bits());
        (0..DEGREE).for_each(|place| b.add_to(place, flood.draw(rng)));
        let mask = uniform(encoder.modulus(), rng);
        let unit = u128::MAX / u128::from(encoder.modulus());
        let switch = Switch::new();
        let a: Vec<u64> =
            (0..DEGREE).map(|place| round(switch.fraction(a.coefficient(place)), slots.a_bits())).collect();
        let b = mask.iter().enumerate().map(|(place, mask)| {
            let fraction = switch.fraction(b.coefficient(place)).wrapping_add(u128::from(*mask) * unit);
            round(fraction, slots.b_bits())
        });
        let mut bytes = pack(&a, slots.a_bits());
        bytes.extend(pack(&b.collect::<Vec<u64>>(), slots.b_bits()));
        (bytes, encoder.slots(mask))
    }
}

impl Hoisted {
    /// The ciphertext rotated by `step` to the left.
    ///
    /// # Panics
    /// If the keys are not for that step.
    pub fn rotate(&self, step: usize, key: &ServerKey) -> Ciphertext {
        let power = power(step);
        let mut rotated = Ciphertext { a: Spectrum::zero(), b: self.b.substitute(power) };
        for (digit, [a, b]) in self.digits.iter().zip(key.rotation(step)) {
            let digit = digit.substitute(power);
            rotated.a.add_product(&digit, a);
            rotated.b.add_product(&digit, b);
        }
        rotated
    }
}

/// The slots of a result, with the server's mask on them; refuses a wrong length.
///
/// # Errors
/// [`Error::PeerMisbehaved`].
pub fn decrypt(key: &ClientKey, encoder: &Encoder, slots: &Slots, bytes: &[u8]) -> Result<Vec<u64>, Error> {
    let short = || Error::PeerMisbehaved("a result of the wrong size".into());
    let (a, b) = bytes.split_at_checked(packed_bytes(DEGREE, slots.a_bits()) as usize).ok_or_else(short)?;
    let (a, b) = (unpack(a, DEGREE, slots.a_bits())?, unpack(b, DEGREE, slots.b_bits())?);
    let a: Vec<i64> = a.into_iter().map(|a| signed(a, slots.a_bits())).collect();
    let mut product = Spectrum::zero();
    product.add_product(&Spectrum::of(Poly::from_signed(&a)), &key.secret);
    let product = product.into_poly();
    let inverse = MODULI[1].factor(MODULI[1].inverse(MODULI[1].reduce_once(PRIMES[0])));
    let decode = |(place, b): (usize, u64)| {
        // a s is below half of the first two primes' product, so their residues give it mod 2^64
        // (Garner).
        let [first, second, ..] = product.coefficient(place);
        let digit = MODULI[1].centred(inverse.times(MODULI[1].sub(second, MODULI[1].reduce_once(first))));
        let a_times_secret = first.wrapping_add(PRIMES[0].wrapping_mul(digit as u64));
        let phase = (b << (A_EXTRA_BITS - B_EXTRA_BITS)).wrapping_sub(a_times_secret) & mask(slots.a_bits());
        let half = 1u128 << (slots.a_bits() - 1);
        let rounded = ((u128::from(phase) * u128::from(encoder.modulus()) + half) >> slots.a_bits()) as u64;
        // What rounds up to p is 0.
        rounded - encoder.modulus() * u64::from(rounded == encoder.modulus())
    };
    Ok(encoder.slots(b.into_iter().enumerate().map(decode).collect()))
}

/// The sum of three uniform integers of so many bits, less half its range.
struct Flood {
    bits: u32,
    /// `2^(64 k)` modulo each prime.
    words: [[Factor; 4]; 4],
    centre: [u64; 4],
}

impl Flood {
    #[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
    fn new(bits: u32) -> Flood {
        let word = |k: usize| {
            MODULI.map(|prime| {
                let step = prime.factor(1).times(1 << 32);
                let step = prime.factor(step);
                prime.factor((0..2 * k).fold(1, |power, _| step.times(power)))
            })
        };
        let mut flood = Flood { bits, words: [word(0), word(1), word(2), word(3)], centre: [0; 4] };
        let mut centre = [0u64; 4];
        // 3 * 2^(bits-1).
        centre[(bits - 1) as usize / 64] |= 1 << ((bits - 1) % 64);
        centre[bits as usize / 64] |= 1 << (bits % 64);
        flood.centre = flood.residues(centre);
        flood
    }

    fn draw(&self, rng: &mut Stream) -> [u64; 4] {
        let mut sum = [0u64; 4];
        for _ in 0..3 {
            let mut carry = false;
            for (k, sum) in sum.iter_mut().enumerate() {
                let bits = self.bits.saturating_sub(64 * k as u32).min(64);
                let word = if bits == 0 { 0 } else { rng.next_u64() >> (64 - bits) };
                let (partial, first) = sum.overflowing_add(word);
                let (total, second) = partial.overflowing_add(u64::from(carry));
                (*sum, carry) = (total, first | second);
            }
        }
        let residues = self.residues(sum);
        std::array::from_fn(|i| MODULI[i].sub(residues[i], self.centre[i]))
    }

    fn residues(&self, words: [u64; 4]) -> [u64; 4] {
        let residue = |i: usize| {
            let terms = words.iter().zip(&self.words).map(|(word, factors)| factors[i].times(*word));
            terms.fold(0, |sum, term| MODULI[i].add(sum, term))
        };
        std::array::from_fn(residue)
    }
}

/// Coefficients as fractions of `q`.
struct Switch {
    /// Inverses of the product of the other primes.
    cofactors: [Factor; 4],
}

impl Switch {
    fn new() -> Switch {
        let cofactors = std::array::from_fn(|i| {
            let prime = MODULI[i];
            let others = PRIMES.iter().filter(|other| **other != prime.prime());
            let product = others.fold(1, |product, other| prime.factor(product).times(*other));
            prime.factor(prime.inverse(product))
        });
        Switch { cofactors }
    }

    /// `coefficient / q` as a fraction of 2^128, modulo 1; less than 2^53 units too small.
    #[allow(clippy::integer_division_remainder_used, reason = "of the modulus, which is public")]
    fn fraction(&self, coefficient: [u64; 4]) -> u128 {
        let term = |i: usize| u128::from(self.cofactors[i].times(coefficient[i])) * (u128::MAX / u128::from(PRIMES[i]));
        (0..4).fold(0u128, |sum, i| sum.wrapping_add(term(i)))
    }
}

/// The fraction in units of `2^-bits`, to nearest, modulo 1.
fn round(fraction: u128, bits: u8) -> u64 {
    let unit = 128 - u32::from(bits);
    (fraction.wrapping_add(1 << (unit - 1)) >> unit) as u64
}

/// `DEGREE` residues, uniform modulo `modulus`.
fn uniform(modulus: u64, rng: &mut Stream) -> Vec<u64> {
    let bits = modulus.ilog2() + 1;
    let residue = |rng: &mut Stream| loop {
        let candidate = rng.next_u64() >> (64 - bits);
        if candidate < modulus {
            break candidate;
        }
    };
    (0..DEGREE).map(|_| residue(rng)).collect()
}

#[cfg(test)]
mod tests {
    use fusion_catalogue::linear::Geometry;
    use zeroize::Zeroizing;

    use super::*;

    fn setup() -> (Slots, Encoder, ClientKey, ServerKey) {
        // The widest modulus: 54 bits.
        let slots = Slots::of(&Geometry::dense(1 << 13, 8), 30, 11).unwrap();
        let encoder = Encoder::new(slots.modulus());
        let (client, message) = ClientKey::from_seed(Zeroizing::new([9; 32]), &[1, 4000]);
        let server = ServerKey::decode(&message, &[1, 4000]).unwrap();
        assert!(ServerKey::decode(&message[1..], &[1, 4000]).is_err());
        (slots, encoder, client, server)
    }

    #[test]
    fn rotated_products_decrypt_with_their_masks() {
        let (slots, encoder, mut client, server) = setup();
        let p = encoder.modulus();
        assert_eq!(slots.modulus_bits(), 54);
        let seeds = client.next_upload();
        let values: Vec<u64> = (0..DEGREE as u64).map(|i| i * 0x9e37_79b9_7f4a % p).collect();
        let bytes = client.encrypt([&seeds.0, &seeds.1], 5, &encoder, &values);
        let ciphertext = Ciphertext::decode(&seeds.0, 5, &bytes).unwrap();
        let weights: Vec<u64> = (0..DEGREE as i64).map(|i| encoder.residue(i % 2048 - 1024)).collect();
        let multiplier = Spectrum::of(encoder.multiplier(&weights));
        // Rotate by one, multiply, rotate by 4000, and add the unrotated.
        let rotated = ciphertext.clone().hoist().rotate(1, &server);
        let mut product = Ciphertext::zero();
        product.add_product(&rotated, &multiplier);
        let mut sum = product.hoist().rotate(4000, &server);
        sum.add_product(&ciphertext, &Spectrum::of(encoder.multiplier(&vec![1; DEGREE])));
        let (bytes, masks) = sum.into_result(&server, &encoder, &slots, &mut stream(&[4; 32], 0));
        assert_eq!(bytes.len(), slots.result_bytes());
        let found = decrypt(&client, &encoder, &slots, &bytes).unwrap();
        let times = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(p)) as u64;
        for (slot, found) in found.iter().enumerate() {
            let (row, place) = (slot / 4096 * 4096, slot % 4096);
            let from = |step: usize| row + (place + step) % 4096;
            let expected = times(values[from(4001)], weights[from(4000)]);
            assert_eq!((expected + values[slot] + masks[slot]) % p, *found % p, "{slot}");
            assert!(*found < p);
        }
        assert!(decrypt(&client, &encoder, &slots, &bytes[1..]).is_err());
    }

    #[test]
    fn results_of_one_sum_share_nothing() {
        let (slots, encoder, _, server) = setup();
        let result = |number| Ciphertext::zero().into_result(&server, &encoder, &slots, &mut stream(&[5; 32], number));
        let ((first, masks), (second, others)) = (result(0), result(1));
        let different: u32 = first.iter().zip(&second).map(|(a, b)| (a ^ b).count_ones()).sum();
        let share = f64::from(different) / (8 * first.len()) as f64;
        assert!((0.495..0.505).contains(&share), "{share}");
        assert!(masks.iter().zip(&others).filter(|(a, b)| a == b).count() < 3);
    }

    #[test]
    fn the_flood_fills_its_range() {
        let flood = Flood::new(143);
        let mut rng = stream(&[6; 32], 0);
        let switch = Switch::new();
        // As fractions of q, below 1.5 times 2^143, of deviation 2^142.
        let unit = (143.0 - 199.99999999638905 + 128.0_f64).exp2();
        let draws: Vec<f64> = (0..4000).map(|_| switch.fraction(flood.draw(&mut rng)) as i128 as f64 / unit).collect();
        assert!(draws.iter().all(|draw| draw.abs() < 1.501));
        let deviation = (draws.iter().map(|draw| draw * draw).sum::<f64>() / 4000.0).sqrt();
        assert!((0.47..0.53).contains(&deviation), "{deviation}");
    }
}
