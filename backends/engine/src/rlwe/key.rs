//! The client's key of one sample, and its public part.

use fusion_catalogue::rlwe::{PUBLIC_KEY_BYTES, RESIDUE_BITS, SEED_BYTES};
use zeroize::Zeroizing;

use crate::Error;
use crate::bits::{pack, unpack_into};
use crate::ring::sample::{Seed, Stream, add_error, fresh_seed, stream, ternary, uniform};
use crate::ring::{Poly, Spectrum};

/// The secret key of one sample for one session. Zeroized when dropped.
///
/// Everything random about a sample comes from one seed: stream 0 gives the key, every later stream
/// one upload, the last one the keys for output packing.
pub struct ClientKey {
    root: Seed,
    pub(super) secret: Zeroizing<Spectrum>,
    public: Vec<u8>,
    uploads: u64,
}

/// The randomness of one upload of one sample. No seed is ever used for two.
pub struct UploadSeeds {
    /// Expands to `a`; sent.
    pub public: [u8; SEED_BYTES],
    /// Expands to the errors; zeroized when dropped.
    pub(super) errors: Seed,
}

/// What the server re-randomises one sample's results with: an encryption `(a, b)` of zero. Where
/// it packs results, also what it does that with.
pub struct PublicKey {
    pub(super) a: Spectrum,
    pub(super) b: Spectrum,
    /// None unless [set](PublicKey::set_packing_keys).
    pub(super) packing: PackingKeys,
}

/// The keys of one sample's levels, for the server.
#[derive(Default)]
pub struct PackingKeys {
    /// For each level, digit by digit.
    pub(super) levels: Vec<Vec<[Spectrum; 2]>>,
}

impl ClientKey {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Result<ClientKey, Error> {
        Ok(ClientKey::from_seed(fresh_seed()?))
    }

    /// The key that follows from `seed`, which must be uniform and used for this alone.
    pub fn from_seed(seed: Seed) -> ClientKey {
        let mut rng = stream(&seed, 0);
        let secret = Zeroizing::new(Spectrum::of(ternary(&mut rng).take()));
        let a_seed = bytes(&mut rng);
        let b = encrypt_zero(&secret, Spectrum::of(uniform(&mut stream(&a_seed, 0))), &mut rng);
        let mut public = a_seed.to_vec();
        public.extend(pack(b.residues(), RESIDUE_BITS as u8));
        ClientKey { root: seed, secret, public, uploads: 0 }
    }

    /// The public key as sent: [`PUBLIC_KEY_BYTES`].
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// What everything random follows from.
    pub(super) fn root(&self) -> &Seed {
        &self.root
    }

    /// The randomness of the next upload.
    pub fn next_upload(&mut self) -> UploadSeeds {
        self.uploads += 1;
        let mut rng = stream(&self.root, self.uploads);
        UploadSeeds { public: bytes(&mut rng), errors: Zeroizing::new(bytes(&mut rng)) }
    }
}

impl PublicKey {
    /// Reads what [`ClientKey::public`] wrote; refuses a wrong length and coefficients out of
    /// range.
    pub fn decode(bytes: &[u8]) -> Result<PublicKey, Error> {
        let wrong = || Error::PeerMisbehaved(format!("a public key of {} bytes", bytes.len()));
        if bytes.len() != PUBLIC_KEY_BYTES {
            return Err(wrong());
        }
        let (seed, b) = bytes.split_first_chunk::<SEED_BYTES>().ok_or_else(wrong)?;
        let (a, b) = (Spectrum::of(uniform(&mut stream(seed, 0))), Spectrum::of(decode_polynomial(b)?));
        Ok(PublicKey { a, b, packing: PackingKeys::default() })
    }
}

/// A polynomial mod `q` as sent; refuses a wrong length and coefficients out of range.
pub(super) fn decode_polynomial(bytes: &[u8]) -> Result<Poly, Error> {
    Poly::from_residues(|residues| unpack_into(bytes, RESIDUE_BITS as u8, residues))
}

/// `a s + e` with a fresh error from `rng`.
pub(super) fn encrypt_zero(secret: &Spectrum, a: Spectrum, rng: &mut Stream) -> Poly {
    let mut product = Spectrum::zero();
    product.add_product(&a, secret);
    let mut b = product.into_poly();
    add_error(&mut b, rng);
    b
}

pub(super) fn bytes(rng: &mut Stream) -> [u8; SEED_BYTES] {
    let mut bytes = [0; SEED_BYTES];
    for word in bytes.as_chunks_mut().0 {
        *word = rng.next_u64().to_le_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::DEGREE;

    #[test]
    fn keys_and_uploads_are_independent() {
        let (mut first, second) = (ClientKey::generate().unwrap(), ClientKey::generate().unwrap());
        assert!(first.secret != second.secret && first.public() != second.public());
        assert_eq!(first.public().len(), PUBLIC_KEY_BYTES);
        let (one, two) = (first.next_upload(), first.next_upload());
        assert!(one.public != two.public && one.errors != two.errors && one.public != *one.errors);
        let again = ClientKey::from_seed(Zeroizing::new([7; 32]));
        assert_eq!(again.public(), ClientKey::from_seed(Zeroizing::new([7; 32])).public());
    }

    #[test]
    fn a_public_key_encrypts_zero_with_small_noise() {
        let key = ClientKey::from_seed(Zeroizing::new([1; 32]));
        let public = PublicKey::decode(key.public()).unwrap();
        let mut product = Spectrum::zero();
        product.add_product(&public.a, &key.secret);
        let (product, b) = (product.into_poly(), public.b.into_poly());
        let noise: Vec<i64> = (0..DEGREE)
            .map(|i| {
                let mut difference = Poly::zero();
                let (left, right) = (b.coefficient(i), product.coefficient(i));
                difference.add_to(i, [0, 1].map(|j| crate::ring::MODULI[j].sub(left[j], right[j])));
                difference.small_coefficient(i)
            })
            .collect();
        assert!(noise.iter().all(|noise| noise.abs() <= 21) && noise.iter().any(|&noise| noise != 0));
    }

    #[test]
    fn malformed_public_keys_are_refused() {
        let key = ClientKey::from_seed(Zeroizing::new([1; 32]));
        let mut bytes = key.public().to_vec();
        assert!(PublicKey::decode(&bytes[1..]).is_err());
        assert!(PublicKey::decode(&[]).is_err());
        bytes[SEED_BYTES..SEED_BYTES + 7].fill(0xff);
        assert!(PublicKey::decode(&bytes).is_err());
    }
}
