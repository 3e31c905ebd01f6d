//! Exact costs: the messages of a protocol, in the order the client sees them, and what is computed
//! between them.

use std::collections::BTreeMap;

use fusion_ir::Party;
use serde::{Deserialize, Serialize};

use crate::ot::OtCount;

/// Bytes that every message carries on the wire beside its payload.
pub const FRAME_HEADER_BYTES: u64 = 8;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sends it.
    pub from: Party,
    /// Payload, without the frame header.
    pub payload_bytes: u64,
}

/// What one run of a protocol costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Every message of the layers in the order in which the client sends or receives it. In an
    /// exchange (both send, then both receive) the client's message comes first.
    pub messages: Vec<Message>,
    /// Places in `messages` of the server's half of every exchange: it was sent without waiting for
    /// the message before it.
    pub exchanges: Vec<usize>,
    /// The random OTs that layers use up, draw by draw. Those who make them have a channel of their
    /// own: see [`Cost::generator`].
    pub draws: Vec<OtCount>,
    /// Correlated OTs consumed in which the client is the receiver.
    pub client_receives_ots: u64,
    /// Correlated OTs consumed in which the server is the receiver.
    pub server_receives_ots: u64,
    /// How often each primitive is computed.
    pub work: BTreeMap<Primitive, u64>,
}

/// What protocols compute, as far as forecasts of time tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Primitive {
    /// A base OT, at both parties.
    BaseOt,
    /// A key pair made by the client, the public half read by the server.
    KeyPair,
    /// A ciphertext, encrypted by the client, read and transformed by the server.
    Ciphertext,
    /// A kernel polynomial of many terms, filled and transformed by the server, once for a
    /// micro-batch.
    Kernel,
    /// A term of a kernel polynomial of few, which are summed up without a transform.
    KernelTerm,
    /// A product of a ciphertext and a kernel polynomial.
    Product,
    /// A result, masked, re-randomised, flooded and switched to its modulus by the server,
    /// decrypted by the client.
    Result,
    /// A change of key when results are packed, by the server.
    KeySwitch,
    /// A polynomial of the keys for packed ciphertexts: made by the client, read and transformed by
    /// the server.
    PackedKey,
    /// A packed ciphertext, encrypted by the client, read and transformed by the server.
    PackedCiphertext,
    /// A packed plaintext of weights, encoded and transformed by the server, once for a
    /// micro-batch.
    PackedKernel,
    /// A product of a packed ciphertext and a plaintext.
    PackedProduct,
    /// A rotation of a packed ciphertext: its digits, their transforms and products with a key.
    Rotation,
    /// A packed result, masked, re-randomised, flooded and switched to its modulus by the server,
    /// decrypted by the client.
    PackedResult,
    /// A correlated OT of SoftSpokenOT, at both parties.
    CorrelatedOt,
    /// A correlated OT of those that silent OT begins with, by SoftSpokenOT of least traffic, at
    /// both parties.
    SeedOt,
    /// An OT of an extension that sends 128 columns of bits (IKNP), at both parties; one of twice
    /// the columns (KKOT) counts twice.
    ColumnOt,
    /// A correlated OT of silent OT, at both parties.
    SilentOt,
    /// A block hashed for the pads of OTs, by either party.
    Hash,
    /// An AND gate, garbled by the server and evaluated by the client.
    AndGate,
    /// A gate of a circuit, once for all elements that go through it together.
    Circuit,
    /// A single bit of a gate, sent by either party and received by the other.
    GateBit,
    /// A word of a product of a bit and a word.
    GateWord,
    /// A bit of a weight that a vector is multiplied by: the key streams of its OT.
    WeightBit,
    /// A word of such a vector.
    VectorWord,
    /// An element that a comparison takes apart into bits and puts together again.
    Element,
    /// A message: threads that wake up, memory that is asked for.
    Message,
    /// An element that a local operation reads or writes in order, at either party.
    LocalElement,
    /// An element that a local operation moves elsewhere or sums up with others, at either party.
    MovedElement,
}

impl Primitive {
    /// Every primitive.
    pub const ALL: [Primitive; 29] = [
        Primitive::BaseOt,
        Primitive::KeyPair,
        Primitive::Ciphertext,
        Primitive::Kernel,
        Primitive::KernelTerm,
        Primitive::Product,
        Primitive::Result,
        Primitive::KeySwitch,
        Primitive::PackedKey,
        Primitive::PackedCiphertext,
        Primitive::PackedKernel,
        Primitive::PackedProduct,
        Primitive::Rotation,
        Primitive::PackedResult,
        Primitive::CorrelatedOt,
        Primitive::SeedOt,
        Primitive::ColumnOt,
        Primitive::SilentOt,
        Primitive::Hash,
        Primitive::AndGate,
        Primitive::Circuit,
        Primitive::GateBit,
        Primitive::GateWord,
        Primitive::WeightBit,
        Primitive::VectorWord,
        Primitive::Element,
        Primitive::Message,
        Primitive::LocalElement,
        Primitive::MovedElement,
    ];
}

impl Cost {
    /// Adds `count` computations of `primitive`.
    pub fn compute(&mut self, primitive: Primitive, count: u64) {
        if count > 0 {
            *self.work.entry(primitive).or_default() += count;
        }
    }

    /// Appends a message, which its sender sends after it has received all before it.
    pub fn send(&mut self, from: Party, payload_bytes: u64) {
        self.messages.push(Message { from, payload_bytes });
        self.compute(Primitive::Message, 1);
    }

    /// Appends an exchange: both parties send so many bytes, the client's first, and then receive.
    pub fn exchange(&mut self, [client_bytes, server_bytes]: [u64; 2]) {
        self.send(Party::Client, client_bytes);
        self.exchanges.push(self.messages.len());
        self.send(Party::Server, server_bytes);
    }

    /// Appends a draw of random OTs; none if nothing is needed.
    pub fn draw(&mut self, need: OtCount) {
        if need == OtCount::default() {
            return;
        }
        let (client, server) = (&need.client_receives, &need.server_receives);
        self.client_receives_ots += client.total();
        self.server_receives_ots += server.total();
        self.draws.push(need);
    }

    /// [Tiles](crate::ot::Ots::tiles) of all draws, by receiver: what a
    /// [supply](crate::ot::OtSource::for_demand) is chosen by.
    pub fn tiles(&self) -> [u64; 2] {
        let tiles = |tiles: [u64; 2], need: &OtCount| {
            [tiles[0] + need.client_receives.tiles(), tiles[1] + need.server_receives.tiles()]
        };
        self.draws.iter().fold([0; 2], tiles)
    }

    /// Appends all of `other`, run after this.
    pub fn then(&mut self, other: &Cost) {
        let before = self.messages.len();
        self.exchanges.extend(other.exchanges.iter().map(|place| before + place));
        self.messages.extend_from_slice(&other.messages);
        self.draws.extend_from_slice(&other.draws);
        self.client_receives_ots += other.client_receives_ots;
        self.server_receives_ots += other.server_receives_ots;
        other.work.iter().for_each(|(primitive, count)| self.compute(*primitive, *count));
    }

    /// As many of it, one after the other.
    pub fn times(mut self, n: usize) -> Cost {
        let one = self.messages.len();
        self.exchanges = (0..n).flat_map(|run| self.exchanges.iter().map(move |place| run * one + place)).collect();
        self.messages = self.messages.repeat(n);
        self.draws = self.draws.repeat(n);
        self.client_receives_ots *= n as u64;
        self.server_receives_ots *= n as u64;
        self.work.values_mut().for_each(|count| *count *= n as u64);
        self.work.retain(|_, count| *count > 0);
        self
    }

    /// Payload of all messages, and their headers, both ways.
    pub fn both_ways(&self) -> u64 {
        self.bytes(Party::Client) + self.bytes(Party::Server)
    }

    /// Bytes on the wire sent by `from`, frame headers included.
    pub fn bytes(&self, from: Party) -> u64 {
        self.messages.iter().filter(|m| m.from == from).map(|m| m.payload_bytes + FRAME_HEADER_BYTES).sum()
    }

    /// Rounds: how often the client turns from sending to receiving.
    pub fn rounds(&self) -> u64 {
        let turns = self.messages.windows(2).filter(|w| w[0].from == Party::Client && w[1].from == Party::Server);
        turns.count() as u64
    }
}

impl std::iter::Sum for Cost {
    /// One after the other.
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |mut all, cost| {
            all.then(&cost);
            all
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_count_the_clients_turns() {
        let mut cost = Cost::default();
        cost.send(Party::Server, 3);
        assert_eq!(cost.rounds(), 0);
        cost.exchange([10, 10]);
        cost.exchange([0, 0]);
        cost.send(Party::Client, 1);
        assert_eq!((cost.rounds(), cost.bytes(Party::Client), cost.bytes(Party::Server)), (2, 35, 37));
        let mut twice = cost.clone();
        twice.then(&cost);
        assert_eq!(twice.exchanges, [2, 4, 8, 10]);
        assert_eq!(twice.work[&Primitive::Message], 12);
    }

    #[test]
    fn many_of_a_kind_cost_as_much_as_one_after_the_other() {
        let mut one = Cost::default();
        one.exchange([10, 7]);
        one.send(Party::Server, 3);
        one.compute(Primitive::Hash, 5);
        let mut need = OtCount::default();
        (need.client_receives.bits, need.server_receives.words) = (4, 6);
        one.draw(need);
        assert!(one.client_receives_ots > 0 && one.server_receives_ots > 0);
        for n in 0..4 {
            assert_eq!(one.clone().times(n), (0..n).map(|_| one.clone()).sum(), "{n}");
        }
    }
}
