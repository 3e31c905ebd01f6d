//! What comparisons cost: the schedules that the protocols follow, and the exact messages that
//! result.
//!
//! Every comparison is a sequence of *flights*. In a flight both parties send one message, unless
//! they have nothing to say in it, and then receive one; it evaluates gates that do not depend on
//! each other ([`Flight`]). The gates use up random OTs, drawn beforehand ([`OtCount`]) a chunk of
//! [`CHUNK`] elements at a time. Up to [`WAVE`] elements go through the flights together. The core
//! is one carry tree ([`Carries`]) over the bits of the two shares: generate/propagate nodes as in
//! a carry-lookahead adder, over secret bits. Two thresholds of one number share the tree up to the
//! lowest bit in which they differ. How many bits its leaves have at most, and who receives their
//! OTs, is a choice: [`Leaves`].
//!
//! An OT of `2^w` choices takes as many correlated OTs as `w` leaves of one bit and saves the
//! merges between them, of two correlated OTs each; its answers are `2 (2^w - 1)` bits. Two bits
//! send least, three need fewest correlations.

use fusion_ir::types::Sign;

use super::carries::{Carries, Leaves};
use super::flight::Flight;
use crate::compare::{Comparison, square_words};
use crate::ot::OtCount;
use crate::{Cost, Primitive};

impl Comparison {
    /// The carry tree, if the operation needs one.
    pub fn carries(&self, leaves: impl Into<Leaves>) -> Option<Carries> {
        let leaves = leaves.into();
        let tree = |low: u8, total: u8| Carries::new(low, total - low, leaves);
        match *self {
            Comparison::Requant { bits, shift, k } if k <= bits - shift => Some(tree(shift, shift)),
            Comparison::Requant { bits, shift, .. } => Some(tree(shift, bits)),
            Comparison::RequantRelu { bits, shift, .. } => Some(tree(shift, bits - 1)),
            Comparison::RequantClip { bits, shift, limit, .. } => {
                let [low, common] = [shift, trailing_zeros(limit)].map(usize::from);
                let differing = usize::from(bits) - 1 - low - common;
                Some(Carries { segments: [low, common, differing, differing], leaves })
            }
            Comparison::Extend { sign: Sign::NonNegative, .. } => None,
            Comparison::Extend { bits, .. } => Some(tree(0, bits)),
            Comparison::Sign { bits }
            | Comparison::Step { bits, .. }
            | Comparison::Relu { bits }
            | Comparison::Max { bits }
            | Comparison::MaxIndex { bits, .. } => Some(tree(0, bits - 1)),
            Comparison::Mul { .. } | Comparison::Square { .. } => None,
        }
    }

    /// The flights of one chunk.
    pub fn flights(&self, leaves: impl Into<Leaves>) -> Vec<Flight> {
        let carries = self.carries(leaves);
        let mut flights = carries.map_or_else(Vec::new, |carries| carries.flights());
        let join = carries.map_or(0, |carries| usize::from(carries.segments[..2].iter().all(|bits| *bits > 0)));
        // A shared bit to a word of `bits` bits: the product doubles, so its own highest bit does
        // not matter.
        let to_word = |bits: u8| if bits > 1 { vec![bits - 1] } else { Vec::new() };
        let select = |widths: &[u8]| Flight {
            client_chooses: widths.to_vec(),
            server_chooses: widths.to_vec(),
            ..Flight::default()
        };
        let joined = |k| Flight { narrow: join, client_chooses: to_word(k), ..Flight::default() };
        match *self {
            Comparison::Sign { .. } => {}
            Comparison::Step { k, .. } => flights.push(Flight { client_chooses: to_word(k), ..Flight::default() }),
            Comparison::Requant { bits, shift, k } => {
                flights.push(joined(k));
                if k > bits - shift {
                    flights.push(Flight { client_chooses: to_word(k - (bits - shift)), ..Flight::default() });
                }
            }
            Comparison::RequantRelu { k, .. } => flights.extend([joined(k), select(&[k])]),
            Comparison::RequantClip { k, limit, .. } => {
                // The carry into the bits in which the thresholds differ; whether the number is
                // between them, for both of its values.
                let first = joined(k);
                flights.push(Flight { narrow: first.narrow + 2, ..first });
                flights.push(Flight { wide: 1, ..Flight::default() });
                let mut last = select(&[k]);
                last.client_chooses.extend(to_word(k - trailing_zeros(limit)));
                flights.push(last);
            }
            Comparison::Relu { bits } | Comparison::Max { bits } => flights.push(select(&[bits])),
            Comparison::MaxIndex { bits, index_bits } => flights.push(select(&[bits, index_bits])),
            Comparison::Extend { bits, k, sign: Sign::NonNegative } => {
                flights.push(Flight { client_chooses: vec![k - bits], ..Flight::default() });
            }
            Comparison::Extend { bits, k, sign: Sign::Any } => {
                flights.push(Flight { client_chooses: to_word(k - bits), ..Flight::default() });
            }
            // Bit i of a factor multiplies what is left of the ring above it.
            Comparison::Mul { bits } => flights.push(select(&(1..=bits).rev().collect::<Vec<u8>>())),
            Comparison::Square { bits } => {
                let [client_chooses, server_chooses] = square_words(bits);
                flights.push(Flight { client_chooses, server_chooses, ..Flight::default() });
            }
        }
        flights.retain(|flight| *flight != Flight::default());
        flights
    }

    /// The random OTs of one chunk of `n` elements.
    pub fn need(&self, leaves: impl Into<Leaves>, n: usize) -> OtCount {
        let mut need = OtCount::default();
        self.flights(leaves).iter().for_each(|flight| need += flight.need(n));
        need
    }

    /// The messages of one wave of `n` elements after its draws.
    pub fn online(&self, leaves: impl Into<Leaves>, n: usize) -> Cost {
        let mut cost = Cost::default();
        self.flights(leaves).iter().for_each(|flight| cost.then(&flight.cost(n)));
        cost.compute(Primitive::Element, n as u64);
        cost
    }

    /// Everything for `n` elements: wave by wave the draws of its chunks and its online phase.
    pub fn cost(&self, leaves: impl Into<Leaves>, n: usize) -> Cost {
        let leaves = leaves.into();
        let mut cost = Cost::default();
        for wave in self.waves(n) {
            for chunk in self.chunks(wave.len()) {
                cost.draw(self.need(leaves, chunk.len()));
            }
            cost.then(&self.online(leaves, wave.len()));
        }
        cost
    }
}

/// Bits below the lowest one of `limit`, which is not 0: in them a number less the limit is the
/// number.
fn trailing_zeros(limit: u64) -> u8 {
    limit.trailing_zeros() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{CHUNK, WAVE};

    #[test]
    fn a_fused_requantisation_costs_what_the_design_says() {
        let op = Comparison::RequantRelu { bits: 28, shift: 12, k: 16 };
        let need = op.need(3, 1);
        // 9 leaves of three bits, 7 merges within segments and the join with two OTs each; one to
        // arithmetic, two to select.
        assert_eq!(need.client_receives.total() + need.server_receives.total(), 9 * 3 + 8 * 2 + 1 + 2);
        // Bits per element, both ways: leaves 17, but 10 where nothing propagates; merges 6, but
        // those at bit 0 (two levels and the join) 4; a word of 15 and its choice; two words of 16
        // and their choices.
        let online = op.online(3, 1 << 10);
        let bits: u64 = online.messages.iter().map(|message| message.payload_bytes * 8).sum();
        assert_eq!(bits >> 10, 9 * 17 - 7 + 8 * 6 - 3 * 2 + 16 + 34);
        assert_eq!(online.rounds(), 2 + 3 + 1 + 1);
    }

    #[test]
    fn a_clip_costs_little_more_than_the_requantisation_before_it() {
        let clip = Comparison::RequantClip { bits: 28, shift: 12, k: 16, limit: 3 << 12 };
        assert_eq!(clip.carries(3).unwrap().segments, [12, 12, 3, 3]);
        let bits = |op: Comparison| {
            let messages = op.online(3, 1 << 10).messages;
            messages.iter().map(|message| message.payload_bytes * 8).sum::<u64>() >> 10
        };
        // Ten leaves instead of nine; in all seven merges within segments, of which two take the
        // lowest leaf; the carry into the highest segment and two products of two factors, one of
        // three; a word of 15, one of 3, two of 16 and their choices.
        assert_eq!(bits(clip), 10 * 17 - 7 + 6 * 6 - 2 * 2 + 3 * 4 + 6 + 16 + 4 + 34);
        let relu = Comparison::RequantRelu { bits: 28, shift: 12, k: 16 };
        assert!(bits(clip) + 90 < bits(relu) + bits(Comparison::Relu { bits: 16 }));
        assert_eq!(clip.online(3, 8).rounds(), relu.online(3, 8).rounds());
    }

    #[test]
    fn low_carries_need_only_the_low_bits() {
        let narrow = Comparison::Requant { bits: 34, shift: 6, k: 16 };
        assert_eq!(narrow.carries(2), Some(Carries::new(6, 0, 2.into())));
        let exact = Comparison::Requant { bits: 16, shift: 6, k: 16 };
        assert_eq!(exact.carries(1), Some(Carries::new(6, 10, 1.into())));
        let sign_known = Comparison::Extend { bits: 16, k: 28, sign: Sign::NonNegative };
        assert_eq!(sign_known.need(3, 10).client_receives.total(), 10);
        assert_eq!(sign_known.online(3, 8).messages.iter().map(|m| m.payload_bytes).collect::<Vec<_>>(), [1, 12]);
    }

    #[test]
    fn waves_follow_each_other_and_chunks_draw_for_themselves() {
        let op = Comparison::Relu { bits: 16 };
        let mut both = op.cost(2, WAVE);
        both.then(&op.cost(2, 3));
        assert_eq!(op.cost(2, WAVE + 3), both);
        assert_eq!(op.cost(0, 0), Cost::default());
        let [more, few] = [CHUNK + 3, 3].map(|n| op.cost(2, n));
        assert_eq!((more.messages.len(), more.draws.len()), (few.messages.len(), few.draws.len() + 1));
    }
}
