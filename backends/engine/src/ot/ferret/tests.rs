//! Rounds at lowered parameters, honest and not.

use chacha20::ChaCha20Rng;
use fusion_ir::Party;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::Error;

/// Small, and as secure as it looks.
const TOY: Ferret = Ferret { log_k: 6, depth: 5, trees: 20 };

/// Both sides after an honest extension.
fn deal(set: Ferret, seed: u64) -> (Sender, Receiver) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut block = || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    let delta = block() | 1;
    let ours: Vec<u128> = (0..set.base_rows()).map(|_| block() & ROW_MASK).collect();
    let theirs = ours.iter().map(|row| row ^ delta & (block() & 1).wrapping_neg()).collect();
    let domain = Domain { session_id: &[5; 32], receiver: Party::Client };
    let sender = Sender::new(set, delta, domain, [1; 32], Zeroizing::new(ours), ChaCha20Rng::seed_from_u64(seed + 1));
    (sender, Receiver::new(set, domain, [1; 32], Zeroizing::new(theirs)))
}

/// Runs an honest round; whether the receiver was satisfied.
fn round(sender: &mut Sender, receiver: &mut Receiver) -> Result<(), Error> {
    let trees = sender.begin();
    assert_eq!(trees.len() as u64, sender.common.set.trees_bytes());
    let challenge = receiver.begin(&trees)?;
    receiver.check(&sender.answer(challenge))
}

#[test]
fn the_correlation_holds_in_every_row_of_every_round() {
    for set in [TOY, Ferret { log_k: 5, depth: 4, trees: 31 }, Ferret { log_k: 9, depth: 8, trees: 5 }] {
        let (mut sender, mut receiver) = deal(set, 1);
        let delta = *sender.delta;
        let mut ones = 0;
        let mut all = Vec::new();
        for _ in 0..3 {
            assert!(sender.next_trees(1).is_empty() && receiver.next_trees(1).is_empty());
            round(&mut sender, &mut receiver).unwrap();
            let wanted = ((set.trees - set.refill_trees()) as usize) << set.depth;
            let mut handed_out = 0;
            while handed_out < wanted {
                // Not more than either works on at once.
                let (q, t) = (sender.next_trees(3), receiver.next_trees(3));
                assert!(!q.is_empty() && q.len() == t.len());
                handed_out += q.len();
                for (q, t) in q.iter().zip(t.iter()) {
                    assert_eq!((q & 1, q ^ t), (0, delta & (t & 1).wrapping_neg()));
                    ones += t & 1;
                }
                all.extend_from_slice(q);
            }
        }
        let n = all.len() as u128;
        assert!(ones * 5 > 2 * n && ones * 5 < 3 * n, "{ones} of {n} choices are 1");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len() as u128, n, "no row comes twice");
    }
}

#[test]
fn rows_are_not_handed_out_before_the_check() {
    let (mut sender, mut receiver) = deal(TOY, 2);
    let trees = sender.begin();
    assert!(receiver.begin(&trees[1..]).is_err());
    assert!(receiver.check(&[0; 32]).is_err(), "nothing to check");
    assert!(receiver.next_trees(1).is_empty());
    let (mut sender, mut receiver) = deal(TOY, 2);
    let challenge = receiver.begin(&sender.begin()).unwrap();
    assert!(receiver.next_trees(1).is_empty());
    let mut digest = sender.answer(challenge);
    digest[31] ^= 1;
    assert!(matches!(receiver.check(&digest), Err(Error::PeerMisbehaved(_))));
    digest[31] ^= 1;
    assert!(receiver.check(&digest).is_err(), "no second try");
    assert!(receiver.next_trees(1).is_empty());
}

/// Adds `error` to level `level` (from 1) of tree `tree`.
fn spoil(trees: &mut [u8], tree: usize, level: usize, error: u128) {
    let at = (tree * usize::from(TOY.depth) + level - 1) * 16;
    trees[at..at + 16].iter_mut().zip(error.to_le_bytes()).for_each(|(byte, error)| *byte ^= error);
}

/// The digest of a sender that works out what the receiver folds of `trees` if the point of tree
/// `wrong` is `guess`.
fn forge(sender: &Sender, start: [u8; 32], trees: &[u8], wrong: u64, guess: usize, challenge: [u8; 16]) -> [u8; 32] {
    let Common { doubler, set, base, .. } = &sender.common;
    let depth = sender.common.depth();
    let domain = Domain { session_id: &[0; 32], receiver: Party::Client };
    let mut common = Common::new(*set, domain, [0; 32], base.clone());
    common.transcript = start;
    let mut folded = 0;
    for (tree, message) in (0..set.trees).zip(trees.chunks_exact(depth * 16)) {
        let weight = common.absorb(message);
        let point = if tree == wrong { guess } else { 0 };
        // The sums it would receive at that point: of the side that the point is not on.
        let key = |(level, (sum, row)): (usize, (&[u8; 16], &u128))| {
            let left = u128::from_le_bytes(*sum) ^ row;
            if point >> level & 1 == 1 { left } else { left ^ *sender.delta }
        };
        let keys: Vec<u128> =
            message.as_chunks::<16>().0.iter().zip(common.tree_base(tree)).enumerate().map(key).collect();
        let mut leaves = vec![0; 1 << depth];
        tree::evaluate(doubler, point, &keys, &mut leaves);
        leaves[point] ^= *sender.delta;
        folded ^= field::polynomial(weight, &leaves);
    }
    common.digest(folded ^ common.packed() ^ field::product(u128::from_le_bytes(challenge), *sender.delta))
}

/// A sender that spoils level `j` of a tree divides the points into `2^(j-1)` classes by what the
/// receiver folds; it passes if it guesses the class, and otherwise is caught. One that answers as
/// if nothing had happened is caught always.
#[test]
fn a_sender_with_a_wrong_tree_passes_only_by_guessing_the_point() {
    const TREE: u64 = 7;
    const RUNS: u64 = 48;
    let mut trials = 0;
    for level in 1..=usize::from(TOY.depth) {
        let classes = 1usize << (level - 1);
        for seed in 0..RUNS {
            let mut passed = Vec::new();
            let mut point = 0;
            for guess in 0..classes {
                let (mut sender, mut receiver) = deal(TOY, seed);
                let start = sender.common.transcript;
                let mut trees = sender.begin();
                spoil(&mut trees, TREE as usize, level, 0xdead_beef << (40 + seed));
                let challenge = receiver.begin(&trees).unwrap();
                let rows = receiver.common.tree_base(TREE);
                point = rows.iter().enumerate().fold(0, |point, (l, row)| point | ((!row & 1) as usize) << l);
                if receiver.check(&forge(&sender, start, &trees, TREE, guess, challenge)).is_ok() {
                    passed.push(guess);
                }
                trials += 1;
            }
            assert!(passed.iter().all(|guess| *guess == point % classes), "level {level}: {passed:?} for {point}");
            assert!(passed.len() <= 1 && (level < usize::from(TOY.depth) || passed.len() == 1), "level {level}");
            let (mut sender, mut receiver) = deal(TOY, seed);
            let mut trees = sender.begin();
            spoil(&mut trees, TREE as usize, level, 1 << (seed + 1));
            let challenge = receiver.begin(&trees).unwrap();
            let verdict = receiver.check(&sender.answer(challenge));
            assert!(matches!(verdict, Err(Error::PeerMisbehaved(_))), "level {level}, seed {seed}");
        }
    }
    assert!(trials >= 1_000, "{trials}");
}

#[test]
fn an_honest_digest_forged_is_the_honest_digest() {
    let (mut sender, mut receiver) = deal(TOY, 3);
    let start = sender.common.transcript;
    let trees = sender.begin();
    let challenge = receiver.begin(&trees).unwrap();
    assert_eq!(forge(&sender, start, &trees, 0, 5, challenge), sender.answer(challenge));
}

#[test]
fn a_receivers_wrong_challenge_gets_another_digest() {
    for bit in 0..128 {
        let (mut sender, mut receiver) = deal(TOY, bit);
        let mut challenge = receiver.begin(&sender.begin()).unwrap();
        challenge[bit as usize / 8] ^= 1 << (bit % 8);
        assert!(receiver.check(&sender.answer(challenge)).is_err());
    }
}
