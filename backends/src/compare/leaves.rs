//! The leaves of a carry tree: generate and propagate bits of the lowest positions, from the parties' own bits of them.
//!
//! **Two bits** `a` of the OT's sender and `b` of its receiver, both as numbers below four: they generate iff `a + b >= 4` and
//! propagate iff `a + b = 3`, a table of four entries `m_b` of two bits that depends on `a`. The receiver looks it up in a 1-of-4 OT as in
//! CrypTFlow2 (Rathee et al., CCS 2020, section 3.1). With the random OT's pads `r_0 .. r_3` at the sender, `c, r_c` at the receiver, the
//! receiver opens `d = b + c`. The sender's share of the result is `s = m_0 + r_d`, which saves the answer for `b = 0`;
//! for `b = 1, 2, 3` it answers `e_b = m_b + s + r_{b + d}`. The receiver's share is `r_c + e_b`, with `e_0 = 0`.
//!
//! **One bit**, the odd one of a segment: it generates iff both shares have it, a private product, and propagates iff one has it.

use fusion_catalogue::compare::Carries;
use fusion_ir::Party;

use super::gates::{Gates, Inputs, Received};
use crate::Error;
use crate::bits::Bits;

/// The generate and propagate bits of a range of positions, shared mod 2: whether it makes a carry, and whether it hands one on.
pub(super) struct Node {
    pub generate: Bits,
    /// Absent where position 0 is included, into which nothing carries.
    pub propagate: Option<Bits>,
}

/// A leaf of two bits between its two flights.
struct Pair {
    receiver: Party,
    /// This party's own bits, lower first.
    own: [Bits; 2],
    /// As receiver, `r_c`; empty as sender.
    pad: Vec<Bits>,
}

/// The leaves of both segments on shares `x`, lowest first: one exchange, and a second one if there are leaves of two bits.
pub(super) fn leaves(gates: &mut Gates, x: &[u64], tree: Carries) -> Result<[Vec<Node>; 2], Error> {
    let planes: Vec<Bits> = (0..tree.low + tree.high).map(|i| Bits::plane(x, i as u8)).collect();
    let (low, high) = planes.split_at(tree.low);
    let (low, high) = (low.as_chunks::<2>(), high.as_chunks::<2>());

    let mut first = Inputs::default();
    let mut pairs = Vec::new();
    for (own, receiver) in low.0.iter().chain(high.0).zip(tree.pairs()) {
        first.opened[receiver as usize] += 1;
        let mut pad = Vec::new();
        if receiver == gates.party {
            let [choices, own_pad] = gates.pads.receiving.quads(gates.n());
            own.iter().zip(&choices).for_each(|(bit, choice)| first.masked.extend(&bit.xor(choice)));
            pad = own_pad.into();
        }
        pairs.push(Pair { receiver, own: own.clone(), pad });
    }
    let receivers = [Party::Client, Party::Server].into_iter();
    first.private = receivers.zip(low.1.iter().chain(high.1).cloned()).collect();
    let outputs = gates.exchange(first)?;
    let mut generated = outputs.private.into_iter();

    let mut nodes = if pairs.is_empty() {
        Vec::new().into_iter()
    } else {
        answer(gates, pairs, outputs.masked, tree.pair_0_is_lowest())?.into_iter()
    };
    let mut segment = |count: usize, odd: &[Bits], lowest: bool| {
        let mut segment: Vec<Node> = nodes.by_ref().take(count).collect();
        for bit in odd {
            let propagate = (!lowest || count > 0).then(|| bit.clone());
            segment.extend(generated.next().map(|generate| Node { generate, propagate }));
        }
        segment
    };
    Ok([segment(low.0.len(), low.1, true), segment(high.0.len(), high.1, tree.bit_0_is_high())])
}

/// The second flight: senders answer what receivers `opened`.
fn answer(
    gates: &mut Gates,
    pairs: Vec<Pair>,
    mut opened: Received,
    first_is_lowest: bool,
) -> Result<Vec<Node>, Error> {
    let mut second = Inputs::default();
    let mut shares = Vec::with_capacity(pairs.len());
    for (index, pair) in pairs.iter().enumerate() {
        let results = if index == 0 && first_is_lowest { 1 } else { 2 };
        second.answered[pair.receiver as usize] += results;
        if pair.receiver == gates.party {
            shares.push(pair.pad[..results].to_vec());
            continue;
        }
        let pads = gates.pads.sending.quads(gates.n());
        let pads = turn(pads, &[opened.next(), opened.next()]);
        let tables = table(&pair.own);
        let mut own = Vec::with_capacity(results);
        for (result, [m0, rest @ ..]) in tables.iter().enumerate().take(results) {
            let share = m0.xor(&pads[0][result]);
            for (message, pad) in rest.iter().zip(&pads[1..]) {
                second.masked.extend(&message.xor(&share).xor(&pad[result]));
            }
            own.push(share);
        }
        shares.push(own);
    }
    let mut answers = gates.exchange(second)?.masked;
    let node = |(pair, mut shares): (Pair, Vec<Bits>)| {
        if pair.receiver == gates.party {
            let [low, high] = &pair.own;
            let chosen = [low.and(&high.not()), high.and(&low.not()), low.and(high)];
            for share in &mut shares {
                for chosen in &chosen {
                    *share = share.xor(&answers.next().and(chosen));
                }
            }
        }
        let mut shares = shares.into_iter();
        Node { generate: shares.next().unwrap_or_default(), propagate: shares.next() }
    };
    Ok(pairs.into_iter().zip(shares).map(node).collect())
}

/// For each result, generate and propagate, its four entries by the receiver's number.
fn table([low, high]: &[Bits; 2]) -> [[Bits; 4]; 2] {
    let both = low.and(high);
    let either = low.xor(high).xor(&both);
    let (only_low, only_high) = (low.xor(&both), high.xor(&both));
    [[Bits::zeros(low.len()), both.clone(), high.clone(), either.clone()], [both, only_high, only_low, either.not()]]
}

/// The pads in the order `r_d, r_{1 + d}, r_{2 + d}, r_{3 + d}`, sums mod 2 of both bits, without a branch on `d`.
fn turn(mut pads: [[Bits; 2]; 4], d: &[Bits; 2]) -> [[Bits; 2]; 4] {
    for (bit, places) in d.iter().zip([[(0, 1), (2, 3)], [(0, 2), (1, 3)]]) {
        for (a, b) in places {
            let moved = [0, 1].map(|i| pads[a][i].xor(&pads[b][i]).and(bit));
            for place in [a, b] {
                pads[place] = [0, 1].map(|i| pads[place][i].xor(&moved[i]));
            }
        }
    }
    pads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_say_what_sums_of_two_bits_do() {
        // Every number of the sender, one to an element.
        let own = [0, 1].map(|bit| Bits::plane(&[0, 1, 2, 3], bit));
        let [generate, propagate] = table(&own);
        for b in 0..4 {
            for a in 0..4 {
                assert_eq!(generate[b].words()[0] >> a & 1 == 1, a + b >= 4);
                assert_eq!(propagate[b].words()[0] >> a & 1 == 1, a + b == 3);
            }
        }
    }
}
