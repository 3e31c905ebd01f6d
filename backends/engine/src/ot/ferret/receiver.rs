//! The side with choices.

use fusion_catalogue::ot::{Ferret, SECURITY_BITS};
use rayon::prelude::*;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::super::base::Domain;
use super::{Common, tree};
use crate::Error;
use crate::kernels::field;

/// The receiver of the OTs.
pub(in crate::ot) struct Receiver {
    pub(super) common: Common,
    /// Of the present round's trees, a sum for each level.
    keys: Zeroizing<Vec<u128>>,
    /// The digest that an honest sender will send.
    expected: Option<[u8; Ferret::DIGEST_BYTES as usize]>,
    /// Whether it has; before, no row is handed out.
    checked: bool,
}

impl Receiver {
    /// From the rows `t` of the first round's base, their lowest bits being the choices.
    pub fn new(set: Ferret, domain: Domain, transcript: [u8; 32], base: Zeroizing<Vec<u128>>) -> Receiver {
        let common = Common::new(set, domain, transcript, base);
        Receiver { common, keys: Zeroizing::default(), expected: None, checked: false }
    }

    /// Begins a round with the sender's message of [`Ferret::trees_bytes`]. Returns the challenge
    /// of step 2.
    pub fn begin(&mut self, message: &[u8]) -> Result<[u8; Ferret::CHECK_BYTES as usize], Error> {
        if message.len() as u64 != self.common.set.trees_bytes() {
            return Err(Error::PeerMisbehaved("trees of the wrong size".into()));
        }
        debug_assert!(self.common.round.is_none() || self.checked, "the round before was not checked");
        let keys = std::mem::take(&mut self.keys);
        self.checked = false;
        self.common.advance(&|common, tree, leaves| {
            evaluate(common, &keys, tree, leaves);
        });
        let (set, depth) = (self.common.set, self.common.depth());
        self.keys = Zeroizing::new(vec![0; set.trees as usize * depth]);
        let sums = message.as_chunks::<16>().0.chunks_exact(depth).zip(self.keys.chunks_exact_mut(depth));
        for (tree, (sums, keys)) in (0..).zip(sums) {
            for ((key, sum), row) in keys.iter_mut().zip(sums).zip(self.common.tree_base(tree)) {
                *key = u128::from_le_bytes(*sum) ^ row;
            }
        }
        let (mut folded, mut points) = (0, 0);
        let parts = self.common.parts(0);
        let mut leaves = std::mem::take(&mut self.common.leaves);
        let mut messages = message.chunks_exact(16 * depth);
        for trees in parts {
            let (common, keys) = (&self.common, &self.keys);
            let at: Zeroizing<Vec<usize>> = Zeroizing::new(
                common.each(&mut leaves, &trees).map(|(tree, leaves)| evaluate(common, keys, tree, leaves)).collect(),
            );
            let weights = trees.clone().zip(&mut messages).map(|(_, message)| self.common.absorb(message));
            let weights: Vec<u128> = weights.collect();
            let folds = self.common.each(&mut leaves, &trees).zip(weights).zip(at.par_iter());
            let folds = folds.map(|(((_, leaves), weight), point)| {
                let power = field::power(weight, leaves.len() - point, u32::from(set.depth) + 1);
                [field::polynomial(weight, leaves), power]
            });
            let sums = folds.reduce(|| [0; 2], |a, b| [a[0] ^ b[0], a[1] ^ b[1]]);
            (folded, points) = (folded ^ sums[0], points ^ sums[1]);
        }
        self.common.leaves = leaves;
        self.expected = Some(self.common.digest(folded ^ self.common.packed()));
        let choices = self.common.base.iter().take(SECURITY_BITS as usize);
        let mask = choices.rev().fold(0, |mask, row| mask << 1 | row & 1);
        Ok((points ^ mask).to_le_bytes())
    }

    /// Step 2: the sender's answer to the challenge.
    pub fn check(&mut self, digest: &[u8]) -> Result<(), Error> {
        self.checked = self.expected.take().is_some_and(|expected| expected.as_slice().ct_eq(digest).into());
        match self.checked {
            true => Ok(()),
            false => Err(Error::PeerMisbehaved("silent OT failed its consistency check".into())),
        }
    }

    /// The rows of the trees that were handed out last, perhaps among others.
    pub fn rows(&mut self) -> &mut [u128] {
        &mut self.common.leaves
    }

    /// Step 3: the rows `t` of the next trees, `most` at most; none if the round is used up or not
    /// checked.
    pub fn next_trees(&mut self, most: u64) -> &mut [u128] {
        if !self.checked {
            return &mut [];
        }
        let (trees, keys) = (self.common.next_trees(most), &self.keys);
        self.common.rows(&trees, &|common, tree, leaves| {
            evaluate(common, keys, tree, leaves);
        })
    }
}

/// The leaves of tree `tree`; its point.
fn evaluate(common: &Common, keys: &[u128], tree: u64, leaves: &mut [u128]) -> usize {
    let depth = common.depth();
    let choices = common.tree_base(tree).iter().enumerate();
    let point = choices.fold(0, |point, (level, row)| point | ((!row & 1) as usize) << level);
    tree::evaluate(&common.doubler, point, &keys[tree as usize * depth..][..depth], leaves);
    point
}
