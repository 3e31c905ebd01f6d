//! The leaves of a carry tree: generate and propagate bits of neighbouring positions, from the
//! parties' own bits of them.
//!
//! **Several bits**, `a` of the OT's sender and `b` of its receiver, numbers below `2^w`: they
//! generate iff `a + b >= 2^w` and propagate iff `a + b = 2^w - 1`, a table of `2^w` entries `m_b`
//! of two bits that depends on `a`. The receiver looks it up in a 1-of-`2^w` OT as in CrypTFlow2
//! (Rathee et al., CCS 2020, section 3.1). With the random OT's pads `r_0, r_1, ..` at the sender,
//! `c, r_c` at the receiver, and sums of numbers bit by bit, the receiver opens `d = b + c`. The
//! sender's share of the result is `s = m_0 + r_d`, which saves the answer for `b = 0`; for every
//! other `b` it answers `e_b = m_b + s + r_{b + d}`. The receiver's share is `r_c + e_b`, with
//! `e_0 = 0`.
//!
//! **One bit**: it generates iff both shares have it, a private product, and propagates iff one has
//! it.

use fusion_catalogue::cheetah::{Carries, Leaf, SEGMENTS};
use rayon::prelude::*;

use super::gates::{Gates, Inputs, Received};
use crate::Error;
use crate::bits::Bits;
use crate::compare::shares::equals;
use crate::threads::items;

/// The generate and propagate bits of a range of positions, shared mod 2: whether it makes a carry,
/// and whether it hands one on.
pub(super) struct Node {
    pub generate: Bits,
    /// Absent where position 0 is included, into which nothing carries.
    pub propagate: Option<Bits>,
}

/// A leaf between its two flights.
struct Opened {
    leaf: Leaf,
    /// This party's own bits, lowest first.
    own: Vec<Bits>,
    /// As receiver of a leaf of several bits, `r_c`; its generate bit if it has one bit; else
    /// nothing yet.
    share: Vec<Bits>,
}

/// The leaves of every segment, lowest first, over this party's `planes` of all of them: one
/// exchange, and a second one if there are leaves of several bits.
pub(super) fn leaves(
    gates: &mut Gates,
    mut planes: impl Iterator<Item = Bits>,
    tree: Carries,
) -> Result<[Vec<Node>; SEGMENTS], Error> {
    let segments = tree.leaves();
    let mut first = Inputs::default();
    let mut all = Vec::new();
    for leaf in segments.iter().flatten() {
        let own: Vec<Bits> = planes.by_ref().take(leaf.width).collect();
        let mut share = Vec::new();
        if leaf.width == 1 {
            first.private.push((leaf.receiver, own[0].clone()));
        } else {
            first.opened[leaf.receiver as usize].push(leaf.width);
            if leaf.receiver == gates.party {
                let (choices, pad) = gates.pads.receiving.tables(leaf.width, gates.n());
                own.iter().zip(&choices).for_each(|(bit, choice)| first.masked.extend(&bit.xor(choice)));
                share = pad;
            }
        }
        all.push(Opened { leaf: *leaf, own, share });
    }
    let outputs = gates.exchange(first)?;
    let mut generated = outputs.private.into_iter();
    for opened in all.iter_mut().filter(|opened| opened.leaf.width == 1) {
        opened.share = generated.by_ref().take(1).chain([opened.own[0].clone()]).collect();
    }
    if all.iter().any(|opened| opened.leaf.width > 1) {
        answer(gates, &mut all, outputs.masked)?;
    }
    let mut nodes = all.into_iter().map(|opened| {
        let mut share = opened.share.into_iter().take(opened.leaf.results());
        Node { generate: share.next().unwrap_or_default(), propagate: share.next() }
    });
    Ok(segments.map(|segment| nodes.by_ref().take(segment.len()).collect()))
}

/// The second flight: senders answer what receivers opened, which completes the shares of leaves of
/// several bits.
fn answer(gates: &mut Gates, all: &mut [Opened], mut theirs: Received) -> Result<(), Error> {
    let mut second = Inputs::default();
    let together = items(gates.n());
    let mut sent = Vec::new();
    for Opened { leaf, own, share } in all.iter_mut().filter(|opened| opened.leaf.width > 1) {
        second.answered[leaf.receiver as usize] += leaf.results() * leaf.answers();
        if leaf.receiver != gates.party {
            let d: Vec<Bits> = (0..leaf.width).map(|_| theirs.next()).collect();
            let pads = gates.pads.sending.tables(leaf.width, gates.n());
            sent.push((leaf, own, share, d, pads));
        }
    }
    let answers = sent.into_par_iter().with_min_len(together).map(|(leaf, own, share, d, pads)| {
        let pads = turn(pads, &d);
        let mut answers = Bits::default();
        for (result, entries) in table(own).iter().enumerate().take(leaf.results()) {
            let masked = |b: usize| entries[b].xor(&pads[b][result]);
            let own = masked(0);
            (1..=leaf.answers()).for_each(|b| answers.extend(&masked(b).xor(&own)));
            share.push(own);
        }
        answers
    });
    let answers: Vec<Bits> = answers.collect();
    answers.iter().for_each(|answers| second.masked.extend(answers));
    let mut answers = gates.exchange(second)?.masked;
    let received = all.iter_mut().filter(|opened| opened.leaf.width > 1 && opened.leaf.receiver == gates.party);
    let received = received.map(|Opened { leaf, own, share }| {
        let count = leaf.results() * leaf.answers();
        (leaf, own, share, (0..count).map(|_| answers.next()).collect::<Vec<Bits>>())
    });
    let received: Vec<_> = received.collect();
    received.into_par_iter().with_min_len(together).for_each(|(leaf, own, share, answers)| {
        let mut answers = answers.iter();
        for share in share.iter_mut().take(leaf.results()) {
            for (b, answer) in (1..=leaf.answers()).zip(&mut answers) {
                *share = share.xor(&answer.and(&equals(own, b)));
            }
        }
    });
    Ok(())
}

/// For each result, generate and propagate, its entries by the receiver's number.
fn table(own: &[Bits]) -> [Vec<Bits>; 2] {
    let zeros = Bits::zeros(own[0].len());
    let carry = |b: usize| {
        own.iter().enumerate().fold(zeros.clone(), |carry, (i, bit)| match b >> i & 1 {
            0 => carry.and(bit),
            _ => carry.zip(bit, |carry, bit| carry | bit),
        })
    };
    let last = (1 << own.len()) - 1;
    [(0..=last).map(carry).collect(), (0..=last).map(|b| equals(own, last - b)).collect()]
}

/// The pads in the order `r_d, r_{1 + d}, r_{2 + d}` and so on, without a branch on `d`.
fn turn(mut pads: Vec<[Bits; 2]>, d: &[Bits]) -> Vec<[Bits; 2]> {
    for (i, bit) in d.iter().enumerate() {
        for a in (0..pads.len()).filter(|place| place >> i & 1 == 0) {
            let b = a | 1 << i;
            let moved = [0, 1].map(|result| pads[a][result].xor(&pads[b][result]).and(bit));
            for place in [a, b] {
                pads[place] = [0, 1].map(|result| pads[place][result].xor(&moved[result]));
            }
        }
    }
    pads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_say_what_sums_do() {
        for width in [2, 3, 4] {
            // Every number of the sender, one to an element.
            let numbers: Vec<u64> = (0..1 << width).collect();
            let own: Vec<Bits> = (0..width).map(|bit| Bits::plane(&numbers, bit)).collect();
            let [generate, propagate] = table(&own);
            for b in 0..1 << width {
                for a in 0..1 << width {
                    assert_eq!(generate[b].words()[0] >> a & 1 == 1, a + b >= 1 << width);
                    assert_eq!(propagate[b].words()[0] >> a & 1 == 1, a + b == (1 << width) - 1);
                }
            }
        }
    }
}
