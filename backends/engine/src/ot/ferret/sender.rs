//! The side that knows `delta`.

use chacha20::ChaCha20Rng;
use fusion_catalogue::ot::Ferret;
use rand_core::Rng;
use rayon::prelude::*;
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
        self.common.advance(&|common, tree, leaves| drop(grow(common, delta, &seeds, tree, leaves)));
        let set = self.common.set;
        self.seeds = Zeroizing::new((0..set.trees).map(|_| self.random_block()).collect());
        *self.folded = 0;
        let tree_bytes = 16 * self.common.depth();
        let mut message = vec![0; set.trees_bytes() as usize];
        let parts = self.common.parts(0);
        let mut leaves = std::mem::take(&mut self.common.leaves);
        let mut rest = message.as_mut_slice();
        for trees in parts {
            let (part, others) = rest.split_at_mut((trees.end - trees.start) as usize * tree_bytes);
            rest = others;
            let (common, seeds) = (&self.common, &self.seeds);
            let by_tree = common.each(&mut leaves, &trees).zip(part.par_chunks_mut(tree_bytes));
            by_tree.for_each(|((tree, leaves), message)| {
                let sums = grow(common, delta, seeds, tree, leaves);
                let masked = common.tree_base(tree).iter().zip(sums.iter()).map(|(row, sum)| row ^ sum);
                message.as_chunks_mut().0.iter_mut().zip(masked).for_each(|(bytes, sum)| *bytes = sum.to_le_bytes());
            });
            let weights: Vec<u128> = part.chunks_exact(tree_bytes).map(|message| self.common.absorb(message)).collect();
            let folded = self.common.each(&mut leaves, &trees).zip(weights);
            let folded = folded.map(|((_, leaves), weight)| field::polynomial(weight, leaves));
            *self.folded ^= folded.reduce(|| 0, |a, b| a ^ b);
        }
        self.common.leaves = leaves;
        message
    }

    /// Step 2: the digest that answers the receiver's challenge.
    pub fn answer(&self, challenge: [u8; Ferret::CHECK_BYTES as usize]) -> [u8; Ferret::DIGEST_BYTES as usize] {
        let offset = field::product(u128::from_le_bytes(challenge), *self.delta);
        self.common.digest(*self.folded ^ self.common.packed() ^ offset)
    }

    /// The rows of the trees that were handed out last, perhaps among others.
    pub fn rows(&mut self) -> &mut [u128] {
        &mut self.common.leaves
    }

    /// Step 3: the rows `q` of the next trees, `most` at most; none if the round is used up.
    pub fn next_trees(&mut self, most: u64) -> &mut [u128] {
        let (delta, seeds) = (*self.delta, &self.seeds);
        let trees = self.common.next_trees(most);
        self.common.rows(&trees, &|common, tree, leaves| drop(grow(common, delta, seeds, tree, leaves)))
    }

    fn random_block(&mut self) -> u128 {
        u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64())
    }
}

/// The leaves of tree `tree`; for each level the sum of its left nodes.
fn grow(common: &Common, delta: u128, seeds: &[u128], tree: u64, leaves: &mut [u128]) -> Zeroizing<Vec<u128>> {
    let mut sums = Zeroizing::new(vec![0; common.depth()]);
    tree::grow(&common.doubler, seeds[tree as usize], delta, leaves, &mut sums);
    sums
}
