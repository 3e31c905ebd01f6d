//! The client's keys of one sample, and what the server gets of them.

use fusion_catalogue::crypt_flow2::he::{DEGREE, DIGIT_BITS, DIGITS, POLYNOMIAL_BYTES, PRIMES, key_bytes};
use fusion_catalogue::rlwe::SEED_BYTES;
use zeroize::Zeroizing;

use super::ring::{MODULI, Poly, Spectrum};
use crate::Error;
use crate::ring::sample::{Seed, Stream, fresh_seed, stream};

/// The secret key of one sample for one session, zeroized when dropped.
///
/// Everything random about a sample comes from one seed: stream 0 gives the keys, every later
/// stream one upload.
pub struct ClientKey {
    root: Seed,
    pub(super) secret: Zeroizing<Spectrum>,
    uploads: u64,
}

/// What the server gets of a sample's keys.
pub struct ServerKey {
    /// An encryption `(a, b)` of zero, to re-randomise results with.
    pub(super) public: [Spectrum; 2],
    /// For every step its rotation's key: for each digit an encryption of minus its weight times
    /// the secret at `X^(3^step)`.
    rotations: Vec<(usize, Vec<[Spectrum; 2]>)>,
}

impl ClientKey {
    /// A fresh key from the operating system's randomness, and the message that lets the server
    /// rotate by `steps`.
    ///
    /// # Errors
    /// If the operating system has no randomness.
    pub fn generate(steps: &[usize]) -> Result<(ClientKey, Vec<u8>), Error> {
        Ok(ClientKey::from_seed(fresh_seed()?, steps))
    }

    /// As [`ClientKey::generate`], from a seed, which must be uniform and used for this alone.
    #[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
    pub(super) fn from_seed(root: Seed, steps: &[usize]) -> (ClientKey, Vec<u8>) {
        let mut rng = stream(&root, 0);
        let secret = Zeroizing::new(Spectrum::of(std::mem::replace(&mut *Poly::ternary(&mut rng), Poly(Vec::new()))));
        let public_seed = seed(&mut rng);
        let mut uniform = stream(&public_seed, 0);
        let mut message = Vec::with_capacity(key_bytes(steps.len()));
        message.extend_from_slice(&public_seed[..]);
        message.extend(encrypt_zero(&secret, Poly::uniform(&mut uniform), &mut rng).encode());
        for step in steps {
            let rotated = Zeroizing::new(secret.substitute(power(*step)).into_poly());
            for digit in 0..DIGITS {
                let mut b = encrypt_zero(&secret, Poly::uniform(&mut uniform), &mut rng);
                // Digit d of the residues modulo prime i weighs 2^(bits d), and that modulo prime i
                // only.
                let (prime, place) = (digit % PRIMES.len(), digit / PRIMES.len());
                let weight = MODULI[prime].factor(1 << (DIGIT_BITS as usize * place));
                let range = prime * DEGREE..(prime + 1) * DEGREE;
                for (b, s) in b.0[range.clone()].iter_mut().zip(&rotated.0[range]) {
                    *b = MODULI[prime].sub(*b, weight.times(*s));
                }
                message.extend(b.encode());
            }
        }
        (ClientKey { root, secret, uploads: 0 }, message)
    }

    /// The randomness of the next upload: the seed of its uniform polynomials, which is sent, and
    /// that of its errors.
    pub fn next_upload(&mut self) -> (Seed, Seed) {
        self.uploads += 1;
        let mut rng = stream(&self.root, self.uploads);
        (seed(&mut rng), seed(&mut rng))
    }
}

impl ServerKey {
    /// Reads the message of [`ClientKey::generate`] for the same steps; refuses a wrong length and
    /// coefficients out of range.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`].
    pub fn decode(bytes: &[u8], steps: &[usize]) -> Result<ServerKey, Error> {
        let wrong = || Error::PeerMisbehaved(format!("keys of {} bytes", bytes.len()));
        if bytes.len() != key_bytes(steps.len()) {
            return Err(wrong());
        }
        let (seed, polynomials) = bytes.split_first_chunk::<SEED_BYTES>().ok_or_else(wrong)?;
        let mut uniform = stream(seed, 0);
        let mut pairs = polynomials.chunks_exact(POLYNOMIAL_BYTES).map(|b| {
            let a = Spectrum::of(Poly::uniform(&mut uniform));
            Ok::<_, Error>([a, Spectrum::of(Poly::decode(b)?)])
        });
        let public = pairs.next().ok_or_else(wrong)??;
        let mut rotations = Vec::with_capacity(steps.len());
        for step in steps {
            rotations.push((*step, pairs.by_ref().take(DIGITS).collect::<Result<Vec<_>, Error>>()?));
        }
        Ok(ServerKey { public, rotations })
    }

    /// The key of the rotation by `step`.
    ///
    /// # Panics
    /// If the keys are not for that step.
    pub(super) fn rotation(&self, step: usize) -> &[[Spectrum; 2]] {
        let found = self.rotations.iter().find(|(known, _)| *known == step);
        &found.expect("the layers' steps are known").1
    }
}

/// The power that `X` is raised to in a rotation by `step` to the left.
#[allow(clippy::integer_division_remainder_used, reason = "of exponents, which are public")]
pub(super) fn power(step: usize) -> usize {
    (0..step).fold(1, |power, _| power * 3 % (2 * DEGREE))
}

/// `a s + e` with a fresh error from `rng`.
pub(super) fn encrypt_zero(secret: &Spectrum, a: Poly, rng: &mut Stream) -> Poly {
    let mut product = Spectrum::zero();
    product.add_product(&Spectrum::of(a), secret);
    let mut b = product.into_poly();
    b.add_error(rng);
    b
}

fn seed(rng: &mut Stream) -> Seed {
    let mut seed = Seed::default();
    for word in seed.as_chunks_mut().0 {
        *word = rng.next_u64().to_le_bytes();
    }
    seed
}
