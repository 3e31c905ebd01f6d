//! Rounds at lowered parameters, honest and not.

use fusion_ir::Party;
use rand_chacha::ChaCha20Rng;
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
            assert!(sender.next_tree().is_none() && receiver.next_tree().is_none());
            round(&mut sender, &mut receiver).unwrap();
            for _ in 0..set.trees - set.refill_trees() {
                let (q, t) = (sender.next_tree().unwrap(), receiver.next_tree().unwrap());
                for (q, t) in q.iter().zip(t) {
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
    assert!(receiver.next_tree().is_none());
    let (mut sender, mut receiver) = deal(TOY, 2);
    let challenge = receiver.begin(&sender.begin()).unwrap();
    assert!(receiver.next_tree().is_none());
    let mut digest = sender.answer(challenge);
    digest[31] ^= 1;
    assert!(matches!(receiver.check(&digest), Err(Error::PeerMisbehaved(_))));
    digest[31] ^= 1;
    assert!(receiver.check(&digest).is_err(), "no second try");
    assert!(receiver.next_tree().is_none());
}
