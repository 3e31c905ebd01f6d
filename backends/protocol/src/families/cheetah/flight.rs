//! What one flight of a comparison evaluates and sends.

use fusion_ir::Party;

use crate::ot::{OtCount, TABLE_WIDTHS};
use crate::{Cost, Primitive, packed_bytes};

/// The gates of one flight, each over all elements at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flight {
    /// Products of a bit that the client knows and a bit that the server knows, by who receives the
    /// OT: client, server.
    pub private: [usize; 2],
    /// Widths of the leaves of more than one bit that are begun: 1-of-many OTs whose choice bits
    /// their receiver opens, by receiver.
    pub opened: [Vec<usize>; 2],
    /// Masked bits with which senders answer what was opened in the flight before, by receiver.
    pub answered: [usize; 2],
    /// Products of two shared bits.
    pub narrow: usize,
    /// Two products of shared bits with one factor in common.
    pub wide: usize,
    /// Products of the client's bit and the server's word of so many bits (the client receives the
    /// OT).
    pub client_chooses: Vec<u8>,
    /// Products of the server's bit and the client's word of so many bits.
    pub server_chooses: Vec<u8>,
}

impl Flight {
    /// Widths of the words in products with a bit that `party` knows.
    pub fn chosen_by(&self, party: Party) -> &[u8] {
        match party {
            Party::Client => &self.client_chooses,
            Party::Server => &self.server_chooses,
        }
    }

    /// Single bits that `party` sends per element.
    pub fn bits_sent(&self, party: Party) -> usize {
        let leaves = self.opened[party as usize].iter().sum::<usize>() + self.answered[party.peer() as usize];
        self.private[0] + self.private[1] + leaves + 2 * self.narrow + 3 * self.wide + self.chosen_by(party).len()
    }

    /// Payload of the message of `party` for `n` elements: single bits, then one packing for each
    /// word.
    pub fn payload_bytes(&self, party: Party, n: usize) -> u64 {
        let words = self.chosen_by(party.peer()).iter().map(|bits| packed_bytes(n, *bits));
        packed_bytes(n * self.bits_sent(party), 1) + words.sum::<u64>()
    }

    pub(super) fn need(&self, n: usize) -> OtCount {
        let mut need = OtCount::default();
        for party in [Party::Client, Party::Server] {
            let ots = need.received_by_mut(party);
            ots.bits = (n * (self.private[party as usize] + self.narrow)) as u64;
            for width in &self.opened[party as usize] {
                ots.tables[width - TABLE_WIDTHS.start()] += n as u64;
            }
            ots.pairs = (n * self.wide) as u64;
            ots.words = (n * self.chosen_by(party).len()) as u64;
        }
        need
    }

    pub(super) fn cost(&self, n: usize) -> Cost {
        let mut cost = Cost::default();
        match [Party::Client, Party::Server].map(|party| self.payload_bytes(party, n)) {
            // Who has nothing to say says nothing, and nobody waits for it.
            [client, 0] => cost.send(Party::Client, client),
            [0, server] => cost.send(Party::Server, server),
            both => cost.exchange(both),
        }
        let bits = self.bits_sent(Party::Client) + self.bits_sent(Party::Server);
        let words = self.client_chooses.len() + self.server_chooses.len();
        cost.compute(Primitive::GateBit, (n * bits) as u64);
        cost.compute(Primitive::GateWord, (n * words) as u64);
        cost
    }
}
