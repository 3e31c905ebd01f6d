//! Puncturable PRFs from OTs with a malicious consistency check: SoftSpokenOT (Roy, CRYPTO 2022),
//! figures 13 and 14.
//!
//! A GGM tree with `2^k` leaves turns `k` OTs into one all-but-one OT. The sender of the tree
//! learns every leaf, the receiver every leaf but the one at its secret `point`. The keys of the
//! first OT are the nodes of the first level; for every further level the sender sends the sum of
//! all left and the sum of all right children, each under the key of one branch, and the receiver
//! opens the side it needs. A child's index is its parent's with one more *high* bit, so that level
//! `i` uses bit `i` of the point.
//!
//! A malicious sender could send wrong sums and so make some leaves depend on the point. Against
//! that every leaf also yields a check value of 256 bits; the sender sends their sum, which gives
//! the receiver the one it lacks, and a digest of all of them, which the receiver verifies. What
//! remains is selective failure: the sender may guess some bits of the point and is caught if
//! wrong, exactly the leakage that the functionality of the extension grants anyway.

use sha2::{Digest, Sha256, Sha512};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::base::{Domain, first_block};
use crate::Error;

/// Bytes of a check value, and of the digest of all of them.
const CHECK_BYTES: usize = 32;

/// The sender's side of tree number `tree` from both keys of each of its `k` OTs.
///
/// Returns the `2^k` leaves and the message of `32 (k - 1) + 64` bytes.
#[allow(clippy::integer_division_remainder_used, reason = "of sizes, which are public")]
pub(super) fn expand(domain: Domain, tree: usize, keys: &[[u128; 2]]) -> (Zeroizing<Vec<u128>>, Vec<u8>) {
    let mut message = Vec::with_capacity(keys.len() * 32 + 32);
    let mut nodes = Zeroizing::new(Vec::new());
    for (level, pair) in keys.iter().enumerate() {
        if level == 0 {
            nodes.extend_from_slice(pair);
            continue;
        }
        nodes = children(domain, &nodes);
        let (left, right) = nodes.split_at(nodes.len() / 2);
        for (side, key) in [left, right].into_iter().zip(pair) {
            message.extend_from_slice(&(sum(side) ^ key).to_le_bytes());
        }
    }
    let (leaves, checks) = leaves(domain, tree, &nodes);
    let total = checks.iter().fold([0; CHECK_BYTES], |sum, check| xor(sum, *check));
    message.extend_from_slice(&total);
    message.extend_from_slice(&digest(domain, tree, &checks));
    (leaves, message)
}

/// The receiver's side of tree number `tree`: `keys[i]` is the key of OT `i` for the choice
/// *opposite* to bit `i` of `point < 2^k`.
///
/// Returns the leaves reordered so that place `y` holds leaf `point ^ y`; place 0, the unknown
/// leaf, holds 0. Runs in time independent of the point. A failed check is
/// [`Error::PeerMisbehaved`].
#[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
pub(super) fn puncture(
    domain: Domain,
    tree: usize,
    keys: &[u128],
    point: u8,
    message: &[u8],
) -> Result<Zeroizing<Vec<u128>>, Error> {
    let short = || Error::PeerMisbehaved("a punctured PRF message of the wrong size".into());
    let (sums, tail) = message.split_at_checked(32 * (keys.len() - 1)).ok_or_else(short)?;
    let (total, expected) = tail.split_first_chunk::<CHECK_BYTES>().ok_or_else(short)?;
    let mut sums = sums.as_chunks::<16>().0.chunks_exact(2);

    let mut nodes = Zeroizing::new(Vec::new());
    for (level, key) in keys.iter().enumerate() {
        let known_side = !point >> level & 1;
        let hole = point & ((1 << level) - 1);
        let (own, half) = match level {
            0 => {
                nodes.extend_from_slice(&[0, 0]);
                (*key, 1)
            }
            _ => {
                let pair = sums.next().ok_or_else(short)?.iter().map(|bytes| u128::from_le_bytes(*bytes));
                let half = nodes.len();
                nodes = children(domain, &nodes);
                // What descends from the unknown node is arbitrary: clear it, then fill in the
                // known side.
                for (y, node) in nodes.iter_mut().enumerate() {
                    node.conditional_assign(&0, ((y % half) as u8).ct_eq(&hole));
                }
                let mut own = 0;
                for (side, (sent, nodes)) in pair.zip(nodes.chunks_exact(half)).enumerate() {
                    own.conditional_assign(&(sent ^ key ^ sum(nodes)), (side as u8).ct_eq(&known_side));
                }
                (own, half)
            }
        };
        let place = hole | known_side << level;
        debug_assert_eq!(nodes.len(), 2 * half);
        for (y, node) in nodes.iter_mut().enumerate() {
            node.conditional_assign(&own, (y as u8).ct_eq(&place));
        }
    }

    let (mut leaves, mut checks) = leaves(domain, tree, &nodes);
    let mut missing = *total;
    for (x, check) in checks.iter_mut().enumerate() {
        let is_hole = (x as u8).ct_eq(&point);
        for (byte, sum) in check.iter_mut().zip(&mut missing) {
            byte.conditional_assign(&0, is_hole);
            *sum ^= *byte;
        }
    }
    for (x, check) in checks.iter_mut().enumerate() {
        for (byte, known) in check.iter_mut().zip(&missing) {
            byte.conditional_assign(known, (x as u8).ct_eq(&point));
        }
    }
    if !bool::from(digest(domain, tree, &checks).as_slice().ct_eq(expected)) {
        return Err(Error::PeerMisbehaved("a punctured PRF failed its consistency check".into()));
    }
    for level in 0..keys.len() {
        let swap = (point >> level & 1).into();
        for pair in leaves.chunks_exact_mut(2 << level) {
            let (low, high) = pair.split_at_mut(1 << level);
            for (a, b) in low.iter_mut().zip(high) {
                u128::conditional_swap(a, b, swap);
            }
        }
    }
    leaves[0] = 0;
    Ok(leaves)
}

/// All left children, then all right ones.
fn children(domain: Domain, nodes: &[u128]) -> Zeroizing<Vec<u128>> {
    let digests =
        nodes.iter().map(|node| domain.hash::<Sha256>("ggm node ").chain_update(node.to_le_bytes()).finalize());
    let pairs: Zeroizing<Vec<[u128; 2]>> =
        Zeroizing::new(digests.map(|digest| [first_block(&digest), first_block(&digest[16..])]).collect());
    Zeroizing::new(pairs.iter().map(|pair| pair[0]).chain(pairs.iter().map(|pair| pair[1])).collect())
}

/// The leaf and the check value of every node of the last level.
fn leaves(domain: Domain, tree: usize, nodes: &[u128]) -> (Zeroizing<Vec<u128>>, Vec<[u8; CHECK_BYTES]>) {
    let mut leaves = Zeroizing::new(Vec::with_capacity(nodes.len()));
    let mut checks = Vec::with_capacity(nodes.len());
    for (x, node) in nodes.iter().enumerate() {
        let place = [tree as u8, x as u8];
        let hash = domain.hash::<Sha512>("ggm leaf ").chain_update(place).chain_update(node.to_le_bytes()).finalize();
        leaves.push(first_block(&hash));
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(&hash[16..16 + CHECK_BYTES]);
        checks.push(check);
    }
    (leaves, checks)
}

fn digest(domain: Domain, tree: usize, checks: &[[u8; CHECK_BYTES]]) -> [u8; CHECK_BYTES] {
    domain.hash::<Sha256>("ggm check ").chain_update([tree as u8]).chain_update(checks.as_flattened()).finalize().into()
}

fn sum(nodes: &[u128]) -> u128 {
    nodes.iter().fold(0, |sum, node| sum ^ node)
}

fn xor(mut a: [u8; CHECK_BYTES], b: [u8; CHECK_BYTES]) -> [u8; CHECK_BYTES] {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
    a
}

#[cfg(test)]
mod tests {
    use fusion_ir::Party;

    use super::*;

    const DOMAIN: Domain = Domain { session_id: &[9; 32], receiver: Party::Server };

    fn keys(k: usize) -> Vec<[u128; 2]> {
        (0..k as u128).map(|i| [1000 + i, 2000 + i]).collect()
    }

    fn chosen(pairs: &[[u128; 2]], point: u8) -> Vec<u128> {
        pairs.iter().enumerate().map(|(i, pair)| pair[usize::from(!point >> i & 1)]).collect()
    }

    #[test]
    fn every_leaf_but_the_point_is_known() {
        for k in [1, 2, 4, 8] {
            let pairs = keys(k);
            let (leaves, message) = expand(DOMAIN, 3, &pairs);
            assert_eq!((leaves.len(), message.len()), (1 << k, 32 * (k - 1) + 64));
            for point in (0..1 << k).step_by(if k == 8 { 51 } else { 1 }) {
                let known = puncture(DOMAIN, 3, &chosen(&pairs, point as u8), point as u8, &message).unwrap();
                for y in 0..1 << k {
                    assert_eq!(known[y], if y == 0 { 0 } else { leaves[point ^ y] });
                }
            }
        }
    }

    #[test]
    fn a_wrong_sum_is_caught_unless_the_point_was_guessed() {
        for k in [2usize, 4, 8] {
            let pairs = keys(k);
            for level in 1..k {
                for side in 0..2 {
                    // A side's sum is only opened by a receiver whose point lies on the other one.
                    let (_, mut message) = expand(DOMAIN, 0, &pairs);
                    message[32 * (level - 1) + 16 * side] ^= 1;
                    for point in (0..=u8::MAX >> (8 - k)).step_by(if k == 8 { 17 } else { 1 }) {
                        let found = puncture(DOMAIN, 0, &chosen(&pairs, point), point, &message);
                        let opened = usize::from(!point >> level & 1) == side;
                        assert_eq!(found.is_err(), opened, "side {side} of level {level}, point {point}");
                    }
                }
            }
            for byte in [32 * (k - 1), 32 * k] {
                let (_, mut message) = expand(DOMAIN, 0, &pairs);
                message[byte] ^= 0x80;
                assert!((0..4).all(|point| puncture(DOMAIN, 0, &chosen(&pairs, point), point, &message).is_err()));
            }
            let (_, message) = expand(DOMAIN, 1, &pairs);
            assert!(puncture(DOMAIN, 0, &chosen(&pairs, 0), 0, &message).is_err(), "another tree's message");
            assert!(puncture(DOMAIN, 0, &chosen(&pairs, 0), 0, &message[..40]).is_err());
        }
    }
}
