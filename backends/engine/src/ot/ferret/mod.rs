//! Silent correlated OT with malicious security: Ferret (Yang, Weng, Lan, Zhang, Wang, CCS 2020;
//! IACR ePrint 2020/924) with regular noise, its trees being the correlated ones of Half-Tree (Guo,
//! Yang, Wang, Zhang, Xie, Liu, Zhao, EUROCRYPT 2023; ePrint 2022/1431).
//!
//! **Rows.** The sender has `delta` with lowest bit 1 and for every OT a row `q` with lowest bit 0;
//! the receiver has `t = q + u delta`, whose lowest bit therefore is its choice `u`.
//!
//! **A round** turns `M` rows (of the last round; at first of SoftSpokenOT) into `n` new ones.
//! These are parts of the `M`: 128 rows for the check, `k = 2^log_k` rows as LPN secret, and for
//! each of the trees as many rows as it is deep.
//!
//! 1. *Trees, sender to receiver* (Half-Tree, figures 3 and 4). The sender grows each tree
//!    ([`tree`]) from a fresh seed such that the nodes of every level add up to `delta`, and sends
//!    `q_j + (sum of the left nodes of level j)` for each level. With `t_j` the receiver gets from
//!    it the sum of the left or of the right nodes, by its choice `u_j`, and so all leaves but one,
//!    at a point whose bits are the opposite choices. Leaves have lowest bit 0. The one that the
//!    receiver lacks it sets to the sum of all others plus 1: that is the sender's plus `delta`. So
//!    leaves are `n` rows whose choices are the indicator of the points, one in each block: the
//!    regular noise `e`.
//! 2. *Check, receiver to sender to receiver* (Ferret, section 4.3; Wolverine). A malicious sender
//!    could send wrong sums. Each tree has a weight `z`, a hash of all that was sent up to and
//!    including that tree (Fiat-Shamir), and its leaves are folded with powers of `z` over
//!    `GF(2^128)`. With `V` the sum of the sender's folds, `W` of the receiver's and `f` of the
//!    weights of all points, `W = V + f delta`. The 128 rows for the check make the same relation
//!    `T = Q + U delta` with `U` uniform. The receiver sends `f + U`; the sender replies with a
//!    digest of `V + Q + (f + U) delta`, which the receiver compares with that of `W + T`.
//! 3. *Expansion, local*. Row `i` is the sum of leaf `i` and ten rows of the LPN secret, at public
//!    positions: its choices are `u A + e`. The last trees' rows are the next round's `M`, the
//!    others are handed out, tree by tree. A tree is grown again when it is its turn: no row leaves
//!    before the check has passed, and a round never lies in memory.
//!
//! **What a malicious sender can do.** Wrong sums make the receiver's leaves (and so its `W`)
//! depend on the point. For leaves that differ the folds of a tree differ but for `2^depth` of
//! `2^128` weights, and the last wrong tree's weight is drawn after every error is fixed. (A trial
//! at finding errors whose weight makes it the same for some two of the `2^depth` points costs one
//! digest and succeeds with probability below `2^(3 depth - 129)`; it would save one bit of the
//! guess.) So the check passes only if the sender has guessed what the receiver's points make of
//! its errors. It thereby learns that its guess was right, and is caught otherwise: the leakage
//! that Ferret's functionality grants (section 4.2), one bit on average, under which LPN is assumed
//! to hold. The receiver then drops the state with [`Error::PeerMisbehaved`].
//!
//! **What a malicious receiver can do.** Its one message in a round is `f + U`. A wrong one by `x`
//! gives it a digest of a value that is off by `x delta`, which tells it nothing unless it guesses
//! `delta`. Bits of `delta` that it has learnt from SoftSpokenOT's first extension it keeps.

mod receiver;
mod sender;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::Range;

use fusion_catalogue::ot::{Ferret, SECURITY_BITS};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub(super) use receiver::Receiver;
pub(super) use sender::Sender;

use super::base::{Domain, first_block};
use crate::kernels::{Doubler, SparseCode, field};

/// What both parties keep.
struct Common {
    set: Ferret,
    doubler: Doubler,
    code: SparseCode,
    transcript: [u8; 32],
    /// The rows that the present round uses up.
    base: Zeroizing<Vec<u128>>,
    /// The present round, from 0; `None` before the first.
    round: Option<u64>,
    /// The tree whose rows come next.
    next: u64,
    /// Leaves, or rows, of the trees that are worked on at once.
    leaves: Zeroizing<Vec<u128>>,
}

/// Trees that each thread works on at once, so that few wait for the last.
const TREES_PER_THREAD: usize = 8;
/// Trees that are worked on at once at most, however many threads there are: their leaves take
/// 64 KiB each.
const MOST_TREES: usize = 16;

impl Common {
    /// Both parties must have the same `transcript`, a digest of how `base` came about. Everything
    /// public that follows depends on it and on all of `set`.
    fn new(set: Ferret, domain: Domain, transcript: [u8; 32], base: Zeroizing<Vec<u128>>) -> Common {
        debug_assert_eq!(base.len() as u64, set.base_rows());
        let bound = |purpose: &str| -> [u8; 32] {
            let hash = domain.hash::<Sha256>(purpose).chain_update([set.log_k, set.depth]);
            hash.chain_update(set.trees.to_le_bytes()).chain_update(transcript).finalize().into()
        };
        let key = |purpose: &str| first_block(&bound(purpose));
        let at_once = match rayon::current_num_threads() {
            1 => 1,
            threads => (TREES_PER_THREAD * threads).min(MOST_TREES),
        };
        Common {
            set,
            doubler: Doubler::new(key("ferret tree ")),
            code: SparseCode::new(key("ferret code "), set.log_k),
            transcript: bound("ferret begin "),
            base,
            round: None,
            next: 0,
            leaves: Zeroizing::new(vec![0; at_once << set.depth]),
        }
    }

    /// Levels of a tree.
    fn depth(&self) -> usize {
        usize::from(self.set.depth)
    }

    /// The rows of the base for tree `tree`, one for each level.
    fn tree_base(&self, tree: u64) -> &[u128] {
        let first = (SECURITY_BITS + (1 << self.set.log_k) + tree * u64::from(self.set.depth)) as usize;
        &self.base[first..first + self.depth()]
    }

    /// Adds a tree's message to the transcript; the tree's weight.
    fn absorb(&mut self, message: &[u8]) -> u128 {
        let hash = Sha256::new_with_prefix(b"fusion ot v1 ferret weight ").chain_update(self.transcript);
        self.transcript = hash.chain_update(message).finalize().into();
        first_block(&self.transcript)
    }

    /// The rows for the check as one element: the sum of `x^i` times row `i`.
    fn packed(&self) -> u128 {
        let rows = self.base.iter().take(SECURITY_BITS as usize);
        rows.enumerate().fold(0, |sum, (i, row)| sum ^ field::product(1 << i, *row))
    }

    /// The digest by which the check's sides are compared.
    fn digest(&self, folded: u128) -> [u8; Ferret::DIGEST_BYTES as usize] {
        let hash = Sha256::new_with_prefix(b"fusion ot v1 ferret check ").chain_update(self.transcript);
        hash.chain_update(folded.to_le_bytes()).finalize().into()
    }

    /// The trees of a round from `first` on, in parts that are worked on at once.
    fn parts(&self, first: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let (at_once, end) = (self.leaves.len() as u64 >> self.set.depth, self.set.trees);
        (first..end).step_by(at_once as usize).map(move |first| first..end.min(first + at_once))
    }

    /// Every tree of `trees`, at most as many as are worked on at once, with the memory for its
    /// leaves.
    fn each<'a>(
        &self,
        leaves: &'a mut [u128],
        trees: &Range<u64>,
    ) -> impl IndexedParallelIterator<Item = (u64, &'a mut [u128])> + use<'a> {
        let (first, count) = (trees.start, (trees.end - trees.start) as usize);
        let leaves = leaves.par_chunks_mut(1 << self.set.depth).take(count);
        leaves.enumerate().map(move |(i, leaves)| (first + i as u64, leaves))
    }

    /// The rows of `trees`, at most as many as are worked on at once. Their leaves are made by
    /// `grow`.
    fn rows(&mut self, trees: &Range<u64>, grow: &(impl Fn(&Common, u64, &mut [u128]) + Sync)) -> &mut [u128] {
        let mut leaves = std::mem::take(&mut self.leaves);
        self.each(&mut leaves, trees).for_each(|(tree, leaves)| {
            grow(self, tree, leaves);
            self.encode(tree, leaves);
        });
        self.leaves = leaves;
        &mut self.leaves[..((trees.end - trees.start) as usize) << self.set.depth]
    }

    /// Adds the sums of the code to the leaves of tree `tree`.
    fn encode(&self, tree: u64, leaves: &mut [u128]) {
        let secret = &self.base[SECURITY_BITS as usize..][..1 << self.set.log_k];
        let first = (self.round.unwrap_or(0) * self.set.trees + tree) << self.set.depth;
        self.code.add(first, secret, leaves);
    }

    /// At most `most` of the trees whose rows are not yet handed out, which now are.
    fn next_trees(&mut self, most: u64) -> Range<u64> {
        let at_once = self.leaves.len() as u64 >> self.set.depth;
        let first = self.next;
        self.next += self.trees_left().min(most).min(at_once);
        first..self.next
    }

    /// Trees whose rows are not yet handed out.
    fn trees_left(&self) -> u64 {
        self.round.map_or(0, |_| self.set.trees - self.set.refill_trees() - self.next)
    }

    /// Begins the next round. Its base are the rows of the present round's last trees, whose leaves
    /// `grow` makes; the first round has its base already.
    fn advance(&mut self, grow: &(impl Fn(&Common, u64, &mut [u128]) + Sync)) {
        let Some(round) = self.round else {
            self.round = Some(0);
            return;
        };
        let mut base = Zeroizing::new(Vec::with_capacity(self.base.len()));
        for trees in self.parts(self.set.trees - self.set.refill_trees()) {
            let missing = self.base.len() - base.len();
            let rows = self.rows(&trees, grow);
            base.extend_from_slice(&rows[..rows.len().min(missing)]);
        }
        self.base = base;
        self.next = 0;
        self.round = Some(round + 1);
    }
}

/// The bits of a row that are not its choice.
const ROW_MASK: u128 = !1;
