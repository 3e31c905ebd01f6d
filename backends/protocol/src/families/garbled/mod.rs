//! What garbled circuits cost: for every operation its circuit's inputs, AND gates and outputs; the
//! messages follow from these.
//!
//! The server garbles, the client evaluates: one message up, which chooses the client's input
//! labels, and one down. XOR gates are free (Kolesnikov and Schneider, ICALP 2008); an AND gate is
//! two blocks (Zahur, Rosulek and Evans, EUROCRYPT 2015).

mod family;

use std::ops::Range;

use fusion_ir::Party;

use crate::compare::{Comparison, Nonlinear};
use crate::ot::OtCount;
use crate::{Cost, Primitive, packed_bytes};

pub use family::{Comparisons, Family, Layer, Products};

/// Bytes of a label.
pub const LABEL_BYTES: u64 = 16;

/// Most bytes of one message, unless one element alone takes more.
const MESSAGE_BYTES: u64 = 1 << 24;

/// The circuit of one element of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    /// Bits that each party gives: its shares of the operands.
    pub share_bits: usize,
    /// Bits of the result; the server gives as many more, which mask it.
    pub result_bits: usize,
    /// AND gates.
    pub ands: usize,
}

impl Circuit {
    /// The circuit of `operation`.
    pub fn of(operation: &Comparison) -> Circuit {
        let circuit = |share_bits, result_bits, inner| Circuit {
            share_bits,
            result_bits,
            // Shares are added up, and the mask is added to the result; the highest carry of a sum
            // is not needed.
            ands: share_bits - 1 + inner + result_bits - 1,
        };
        let width = usize::from;
        match *operation {
            Comparison::Sign { bits } => circuit(width(bits), 1, 0),
            Comparison::Step { bits, k } => circuit(width(bits), width(k), 0),
            Comparison::Relu { bits } | Comparison::Max { bits } => circuit(width(bits), width(bits), width(bits)),
            Comparison::Requant { bits, k, .. } | Comparison::Extend { bits, k, .. } => {
                circuit(width(bits), width(k), 0)
            }
            Comparison::RequantRelu { bits, k, .. } => circuit(width(bits), width(k), width(k)),
            Comparison::RequantClip { bits, shift, k, limit } => {
                // Below the limit's lowest one nothing is compared, and its own place needs no
                // gate; then whether the number is between both thresholds, and all bits but the
                // highest.
                let compared = width(bits - shift) - 1 - limit.trailing_zeros() as usize;
                circuit(width(bits), width(k), compared - 1 + 1 + width(k) - 1)
            }
            Comparison::MaxIndex { bits, index_bits } => {
                let (value, index) = (width(bits), width(index_bits));
                // Two sums of each kind.
                let both = circuit(value + index, value + index, value + index);
                Circuit { ands: both.ands - 2, ..both }
            }
            Comparison::Mul { bits } | Comparison::Square { bits } => {
                let bits = width(bits);
                // Two operands; partial products of every width, and sums of all but the first.
                let partial = bits * (bits + 1) / 2 + bits * (bits - 1) / 2 - (bits - 1);
                let both = circuit(2 * bits, bits, partial);
                Circuit { ands: both.ands - 1, ..both }
            }
        }
    }

    /// The circuit of an argmax of `classes` elements: all sums, then a tournament of values and
    /// indices.
    pub fn arg_max(bits: u8, index_bits: u8, classes: usize) -> Circuit {
        let (bits, index_bits) = (usize::from(bits), usize::from(index_bits));
        let pair = (bits - 1) + bits + index_bits;
        let ands = classes * (bits - 1) + (classes - 1) * pair + index_bits - 1;
        Circuit { share_bits: classes * bits, result_bits: index_bits, ands }
    }

    /// The OTs for `n` elements: the client receives a label for each of its bits, as two words.
    pub fn need(&self, n: usize) -> OtCount {
        let mut need = OtCount::default();
        need.client_receives.words = (2 * n * self.share_bits) as u64;
        need
    }

    /// Payload of the client's message: its choices.
    pub fn choice_bytes(&self, n: usize) -> u64 {
        packed_bytes(2 * n * self.share_bits, 1)
    }

    /// Payload of the server's message: a block for each of the client's bits, the labels of its
    /// own, the gates, and what the labels of the result mean.
    pub fn garbled_bytes(&self, n: usize) -> u64 {
        let blocks = 2 * self.share_bits + self.result_bits + 2 * self.ands;
        n as u64 * blocks as u64 * LABEL_BYTES + packed_bytes(n * self.result_bits, 1)
    }

    /// The chunks of `n` elements, so that memory stays bounded.
    pub fn chunks(&self, n: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let most = (MESSAGE_BYTES / self.garbled_bytes(1)).max(1) as usize;
        (0..n).step_by(most).map(move |start| start..n.min(start + most))
    }

    /// Everything for `n` elements.
    pub fn cost(&self, n: usize) -> Cost {
        let mut cost = Cost::default();
        for chunk in self.chunks(n) {
            let n = chunk.len();
            cost.draw(self.need(n));
            cost.send(Party::Client, self.choice_bytes(n));
            cost.send(Party::Server, self.garbled_bytes(n));
            cost.compute(Primitive::AndGate, (n * self.ands) as u64);
            cost.compute(Primitive::Circuit, self.ands as u64);
            cost.compute(Primitive::GateWord, (2 * n * self.share_bits) as u64);
        }
        cost
    }
}

/// What an operation takes on `positions` positions: an argmax is one circuit, others are made of
/// [comparisons](Circuit::of).
pub fn cost(operation: &Nonlinear, positions: usize) -> Cost {
    match *operation {
        Nonlinear::ArgMax { bits, index_bits, classes } => Circuit::arg_max(bits, index_bits, classes).cost(positions),
        _ => operation.cost(&|comparison, n| Circuit::of(comparison).cost(n), positions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_two_blocks_and_rounds_one() {
        let circuit = Circuit::of(&Comparison::Relu { bits: 37 });
        assert_eq!(circuit, Circuit { share_bits: 37, result_bits: 37, ands: 36 + 37 + 36 });
        assert_eq!(circuit.garbled_bytes(8), 8 * 16 * (3 * 37 + 2 * 109) + 37);
        assert_eq!(circuit.cost(10).rounds(), 1);
        assert_eq!(Circuit::arg_max(24, 5, 10).cost(3).rounds(), 1);
        assert_eq!(circuit.cost(0), Cost::default());
    }
}
