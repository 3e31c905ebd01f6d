//! The side that knows `delta`.

use chacha20::ChaCha20Rng;
use fusion_catalogue::ot::Ferret;
use rand_core::Rng;
use zeroize::Zeroizing;

use super::super::base::Domain;
use super::{Common, tree};
use crate::kernels::field;

/// The sender of the OTs.
pub(in crate::ot) struct Sender {
    pub(super) common: Common,
    pub(super) delta: Zeroizing<u128>,
    /// Of the present round's trees.
    pub(super) seeds: Zeroizing<Vec<u128>>,
    /// All leaves folded.
    pub(super) folded: Zeroizing<u128>,
    rng: ChaCha20Rng,
}

impl Sender {
    /// From the rows `q` of the first round's base, with lowest bits 0, and `delta`, with lowest
    /// bit 1. Seeds come from `rng`.
    pub fn new(
        set: Ferret,
        delta: u128,
        domain: Domain,
        transcript: [u8; 32],
        base: Zeroizing<Vec<u128>>,
        rng: ChaCha20Rng,
    ) -> Sender {
        let delta = Zeroizing::new(delta | 1);
        let common = Common::new(set, domain, transcript, base);
        Sender { common, delta, seeds: Zeroizing::default(), folded: Zeroizing::default(), rng }
    }

    /// Begins a round: step 1, the message of [`Ferret::trees_bytes`].
    pub fn begin(&mut self) -> Vec<u8> {
        let (delta, seeds) = (*self.delta, std::mem::take(&mut self.seeds));
        self.common.advance(|common, tree| expand(common, delta, &seeds, tree));
        let set = self.common.set;
        self.seeds = Zeroizing::new((0..set.trees).map(|_| self.random_block()).collect());
        *self.folded = 0;
        let mut sums = Zeroizing::new(vec![0; self.common.depth()]);
        let mut message = Vec::with_capacity(set.trees_bytes() as usize);
        for tree in 0..set.trees {
            self.grow(tree, &mut sums);
            let start = message.len();
            for (row, sum) in self.common.tree_base(tree).iter().zip(sums.iter()) {
                message.extend_from_slice(&(row ^ sum).to_le_bytes());
            }
            let weight = self.common.absorb(&message[start..]);
            *self.folded ^= field::polynomial(weight, &self.common.leaves);
        }
        message
    }

    /// Step 2: the digest that answers the receiver's challenge.
    pub fn answer(&self, challenge: [u8; Ferret::CHECK_BYTES as usize]) -> [u8; Ferret::DIGEST_BYTES as usize] {
        let offset = field::product(u128::from_le_bytes(challenge), *self.delta);
        self.common.digest(*self.folded ^ self.common.packed() ^ offset)
    }

    /// The rows of the tree that was handed out last.
    pub fn rows(&self) -> &[u128] {
        &self.common.leaves
    }

    /// Step 3: the rows `q` of the next tree; none if the round is used up.
    pub fn next_tree(&mut self) -> Option<&[u128]> {
        if self.common.trees_left() == 0 {
            return None;
        }
        let tree = self.common.next;
        self.common.next += 1;
        expand(&mut self.common, *self.delta, &self.seeds, tree);
        Some(&self.common.leaves)
    }

    fn grow(&mut self, tree: u64, sums: &mut [u128]) {
        let Common { doubler, leaves, .. } = &mut self.common;
        tree::grow(doubler, self.seeds[tree as usize], *self.delta, leaves, sums);
    }

    fn random_block(&mut self) -> u128 {
        u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64())
    }
}

fn expand(common: &mut Common, delta: u128, seeds: &[u128], tree: u64) {
    let mut sums = Zeroizing::new(vec![0; common.depth()]);
    tree::grow(&common.doubler, seeds[tree as usize], delta, &mut common.leaves, &mut sums);
    common.encode(tree);
}
