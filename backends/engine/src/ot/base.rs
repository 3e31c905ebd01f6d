//! Base oblivious transfers with malicious security: "Endemic Oblivious Transfer" of Masny and
//! Rindal (CCS 2019; IACR ePrint 2019/706), its Diffie-Hellman instance of one simultaneous round,
//! over Ristretto.
//!
//! For each OT with choice `b`, the receiver draws a random point `r_{1-b}` of unknown discrete
//! logarithm and a scalar `x`, and sends `r_0, r_1` with `r_b = xG - H_b(r_{1-b})`. The sender
//! draws `y`, sends `A = yG` and derives `key_i = KDF(y (r_i + H_i(r_{1-i})))`; the receiver
//! derives `key_b = KDF(x A)`. Neither message depends on the other, so both directions' OTs take
//! one exchange. The hashes to the group and the key derivation are separated by session,
//! direction, index and branch, and the key binds the whole transcript of its OT.
//!
//! What each learns: the receiver one key of each pair, the sender both and nothing about the
//! choice. A malicious party may choose *its own* outputs (that is what "endemic" says), which
//! SoftSpoken's trees allow. Points are decoded strictly: an invalid encoding and the identity are
//! [`Error::PeerMisbehaved`].

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use fusion_ir::Party;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, Zeroizing};

use crate::Error;

/// Bytes of an encoded point.
const POINT_BYTES: usize = 32;
/// OTs in one run.
const OTS: usize = 128;
/// Bytes of the sender's message.
pub(super) const SENDER_BYTES: usize = OTS * POINT_BYTES;
/// Bytes of the receiver's message.
pub(super) const RECEIVER_BYTES: usize = 2 * OTS * POINT_BYTES;

/// What the hashes of one direction of one session are separated by.
#[derive(Clone, Copy)]
pub(super) struct Domain<'a> {
    /// The session.
    pub session_id: &'a [u8; 32],
    /// The receiver of the extended OTs of this direction.
    pub receiver: Party,
}

impl Domain<'_> {
    /// A hash for `purpose`, which no other purpose is a prefix of.
    pub fn hash<D: Digest>(&self, purpose: &str) -> D {
        let direction = [self.receiver as u8];
        D::new_with_prefix(b"fusion ot v1 ").chain_update(purpose).chain_update(self.session_id).chain_update(direction)
    }

    fn hash_to_group(&self, index: usize, branch: u8, point: &[u8; POINT_BYTES]) -> RistrettoPoint {
        let place = [index as u8, branch];
        RistrettoPoint::from_hash(self.hash::<Sha512>("base point ").chain_update(place).chain_update(point))
    }

    /// The key of one branch from its shared point and the messages of its OT.
    fn key(&self, index: usize, branch: u8, points: &[&[u8; POINT_BYTES]; 3], shared: &RistrettoPoint) -> u128 {
        let mut hash = self.hash::<Sha256>("base key ").chain_update([index as u8, branch]);
        for point in points {
            hash.update(point);
        }
        let shared = Zeroizing::new(shared.compress().to_bytes());
        first_block(hash.chain_update(&shared[..]).finalize().as_slice())
    }
}

/// The first 16 bytes of a digest.
pub(super) fn first_block(digest: &[u8]) -> u128 {
    let mut block = [0; 16];
    block.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(block)
}

/// The sender before it has the receiver's message.
pub(super) struct Sender {
    secrets: Zeroizing<Vec<Scalar>>,
    message: Vec<u8>,
}

impl Sender {
    /// Draws the secrets; returns the message of [`SENDER_BYTES`] too.
    pub fn new(rng: &mut impl CryptoRng) -> (Sender, Vec<u8>) {
        let secrets: Vec<Scalar> = (0..OTS).map(|_| Scalar::random(rng)).collect();
        let message: Vec<u8> = secrets.iter().flat_map(|y| RistrettoPoint::mul_base(y).compress().to_bytes()).collect();
        (Sender { secrets: Zeroizing::new(secrets), message: message.clone() }, message)
    }

    /// Both keys of every OT.
    pub fn finish(self, domain: Domain, message: &[u8]) -> Result<Zeroizing<Vec<[u128; 2]>>, Error> {
        let (own, theirs) = (encodings(&self.message, OTS)?, encodings(message, 2 * OTS)?);
        let mut keys = Zeroizing::new(Vec::with_capacity(OTS));
        for (index, (y, (a, r))) in self.secrets.iter().zip(own.iter().zip(theirs.chunks_exact(2))).enumerate() {
            let points = [decode(&r[0])?, decode(&r[1])?];
            let key = |branch: usize| {
                let shared = y * (points[branch] + domain.hash_to_group(index, branch as u8, &r[1 - branch]));
                domain.key(index, branch as u8, &[a, &r[0], &r[1]], &shared)
            };
            keys.push([key(0), key(1)]);
        }
        Ok(keys)
    }
}

/// The receiver before it has the sender's message.
pub(super) struct Receiver {
    secrets: Zeroizing<Vec<Scalar>>,
    choices: Zeroizing<u128>,
    message: Vec<u8>,
}

impl Receiver {
    /// Draws the secrets for choice bit `i` of `choices` in OT `i`; returns the message of
    /// [`RECEIVER_BYTES`] too.
    pub fn new(domain: Domain, choices: u128, rng: &mut impl CryptoRng) -> (Receiver, Vec<u8>) {
        let mut secrets = Zeroizing::new(Vec::with_capacity(OTS));
        let mut message = Vec::with_capacity(RECEIVER_BYTES);
        for index in 0..OTS {
            let branch = choice(choices, index);
            let (x, other) = (Scalar::random(rng), RistrettoPoint::random(rng));
            let hashed = domain.hash_to_group(index, branch, &other.compress().to_bytes());
            let chosen = RistrettoPoint::mul_base(&x) - hashed;
            for place in [Choice::from(1 - branch), Choice::from(branch)] {
                // Branch 0 holds the chosen point iff the choice is 0, branch 1 iff it is 1.
                let point = RistrettoPoint::conditional_select(&other, &chosen, place);
                message.extend_from_slice(point.compress().as_bytes());
            }
            secrets.push(x);
        }
        (Receiver { secrets, choices: Zeroizing::new(choices), message: message.clone() }, message)
    }

    /// The chosen key of every OT.
    pub fn finish(self, domain: Domain, message: &[u8]) -> Result<Zeroizing<Vec<u128>>, Error> {
        let (own, theirs) = (encodings(&self.message, 2 * OTS)?, encodings(message, OTS)?);
        let mut keys = Zeroizing::new(Vec::with_capacity(OTS));
        for (index, (x, (a, r))) in self.secrets.iter().zip(theirs.iter().zip(own.chunks_exact(2))).enumerate() {
            let mut shared = x * decode(a)?;
            keys.push(domain.key(index, choice(*self.choices, index), &[a, &r[0], &r[1]], &shared));
            shared.zeroize();
        }
        Ok(keys)
    }
}

fn choice(choices: u128, index: usize) -> u8 {
    (choices >> index & 1) as u8
}

fn encodings(message: &[u8], points: usize) -> Result<&[[u8; POINT_BYTES]], Error> {
    match message.as_chunks() {
        (encodings, []) if encodings.len() == points => Ok(encodings),
        _ => Err(Error::PeerMisbehaved(format!("{} bytes for {points} points", message.len()))),
    }
}

fn decode(encoding: &[u8; POINT_BYTES]) -> Result<RistrettoPoint, Error> {
    let point = CompressedRistretto(*encoding).decompress().filter(|point| !point.is_identity());
    point.ok_or_else(|| Error::PeerMisbehaved("a base OT holds no valid point".into()))
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    const DOMAIN: Domain = Domain { session_id: &[7; 32], receiver: Party::Client };

    fn messages(choices: u128) -> (Sender, Vec<u8>, Receiver, Vec<u8>) {
        let mut rng = ChaCha20Rng::seed_from_u64(choices as u64);
        let (sender, from_sender) = Sender::new(&mut rng);
        let (receiver, from_receiver) = Receiver::new(DOMAIN, choices, &mut rng);
        (sender, from_sender, receiver, from_receiver)
    }

    #[test]
    fn the_receiver_gets_the_chosen_key_and_only_it() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let choices = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let (sender, from_sender, receiver, from_receiver) = messages(choices);
        assert_eq!((from_sender.len(), from_receiver.len()), (SENDER_BYTES, RECEIVER_BYTES));
        let pairs = sender.finish(DOMAIN, &from_receiver).unwrap();
        let keys = receiver.finish(DOMAIN, &from_sender).unwrap();
        for (index, (pair, key)) in pairs.iter().zip(keys.iter()).enumerate() {
            let chosen = usize::from(choice(choices, index));
            assert_eq!(pair[chosen], *key);
            assert_ne!(pair[1 - chosen], *key);
        }
        let mut all: Vec<u128> = pairs.iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2 * OTS);
    }

    #[test]
    fn another_session_or_direction_gives_other_keys() {
        let (sender, from_sender, receiver, from_receiver) = messages(0);
        let pairs = sender.finish(Domain { receiver: Party::Server, ..DOMAIN }, &from_receiver).unwrap();
        let keys = receiver.finish(DOMAIN, &from_sender).unwrap();
        assert!(pairs.iter().zip(keys.iter()).all(|(pair, key)| pair[0] != *key && pair[1] != *key));
    }

    #[test]
    fn tampered_points_are_refused() {
        let identity = [0; POINT_BYTES];
        let not_canonical = [0xff; POINT_BYTES];
        for bad in [identity, not_canonical] {
            let (sender, mut from_sender, receiver, mut from_receiver) = messages(5);
            from_sender[17 * POINT_BYTES..18 * POINT_BYTES].copy_from_slice(&bad);
            from_receiver[200 * POINT_BYTES..201 * POINT_BYTES].copy_from_slice(&bad);
            assert!(matches!(sender.finish(DOMAIN, &from_receiver), Err(Error::PeerMisbehaved(_))));
            assert!(matches!(receiver.finish(DOMAIN, &from_sender), Err(Error::PeerMisbehaved(_))));
        }
        let (sender, _, receiver, from_receiver) = messages(5);
        assert!(sender.finish(DOMAIN, &from_receiver[1..]).is_err());
        assert!(receiver.finish(DOMAIN, &[]).is_err());
    }
}
