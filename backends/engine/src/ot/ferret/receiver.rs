//! The side with choices.

use fusion_catalogue::ot::{Ferret, SECURITY_BITS};
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
    #[allow(clippy::integer_division_remainder_used, reason = "of sizes, which are public")]
    pub fn begin(&mut self, message: &[u8]) -> Result<[u8; Ferret::CHECK_BYTES as usize], Error> {
        if message.len() as u64 != self.common.set.trees_bytes() {
            return Err(Error::PeerMisbehaved("trees of the wrong size".into()));
        }
        debug_assert!(self.common.round.is_none() || self.checked, "the round before was not checked");
        let keys = std::mem::take(&mut self.keys);
        self.checked = false;
        self.common.advance(|common, tree| expand(common, &keys, tree));
        let set = self.common.set;
        self.keys = Zeroizing::new(Vec::with_capacity(message.len() / 16));
        let (mut folded, mut points) = (0, 0);
        for (tree, message) in (0..set.trees).zip(message.chunks_exact(16 * self.common.depth())) {
            let sums = message.as_chunks::<16>().0.iter().map(|sum| u128::from_le_bytes(*sum));
            self.keys.extend(sums.zip(self.common.tree_base(tree)).map(|(sum, row)| sum ^ row));
            let weight = self.common.absorb(message);
            let point = evaluate(&mut self.common, &self.keys, tree);
            folded ^= field::polynomial(weight, &self.common.leaves);
            points ^= field::power(weight, self.common.leaves.len() - point, u32::from(set.depth) + 1);
        }
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

    /// The rows of the tree that was handed out last.
    pub fn rows(&self) -> &[u128] {
        &self.common.leaves
    }

    /// Step 3: the rows `t` of the next tree; none if the round is used up or not checked.
    pub fn next_tree(&mut self) -> Option<&[u128]> {
        if self.common.trees_left() == 0 || !self.checked {
            return None;
        }
        let tree = self.common.next;
        self.common.next += 1;
        expand(&mut self.common, &self.keys, tree);
        Some(&self.common.leaves)
    }
}

fn expand(common: &mut Common, keys: &[u128], tree: u64) {
    evaluate(common, keys, tree);
    common.encode(tree);
}

/// The leaves of tree `tree`; its point.
fn evaluate(common: &mut Common, keys: &[u128], tree: u64) -> usize {
    let depth = common.depth();
    let choices = common.tree_base(tree).iter().enumerate();
    let point = choices.fold(0, |point, (level, row)| point | ((!row & 1) as usize) << level);
    tree::evaluate(&common.doubler, point, &keys[tree as usize * depth..][..depth], &mut common.leaves);
    point
}
