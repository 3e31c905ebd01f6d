//! Where a session's random OTs come from, and what drawing them costs as a function of what was
//! drawn before.

use fusion_ir::Party;

use super::{BATCH_ROWS, Ferret, OtCount, SoftSpoken, TILE_ROWS};
use crate::{Cost, Primitive};

/// Where a session's correlated OTs come from. Both parties choose the same from what both know:
/// the plan and the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtSource {
    /// SoftSpokenOT: as many as are needed whenever they are, much traffic.
    SoftSpoken(SoftSpoken),
    /// Silent OT in large rounds, of which the first begins with SoftSpokenOT: hardly any traffic.
    Silent(Ferret),
}

/// What a supply is chosen by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Choice {
    /// By the demand.
    #[default]
    Auto,
    /// SoftSpokenOT, whatever the demand.
    SoftSpoken,
    /// Silent OT, whatever the demand.
    Silent,
}

impl Choice {
    /// The supply for a session that draws `tiles` [tiles](super::Ots::tiles) in all with the
    /// client and with the server as receiver.
    pub fn supply(self, tiles: [u64; 2]) -> OtSource {
        match self {
            Choice::Auto => OtSource::for_demand(tiles),
            Choice::SoftSpoken => OtSource::default(),
            Choice::Silent => OtSource::quietest(tiles),
        }
    }
}

impl Default for OtSource {
    fn default() -> OtSource {
        OtSource::SoftSpoken(SoftSpoken::default())
    }
}

impl std::fmt::Display for OtSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OtSource::SoftSpoken(soft_spoken) => write!(f, "softspoken(k={})", soft_spoken.k()),
            OtSource::Silent(set) => write!(f, "silent(b{})", set.depth),
        }
    }
}

impl OtSource {
    /// The supply for a session that draws `tiles` [tiles](super::Ots::tiles) in all with the
    /// client and with the server as receiver: the one with the least traffic, set-up included, but
    /// silent OT only if it saves a mebibyte at least, since a first round takes some time.
    pub fn for_demand(tiles: [u64; 2]) -> OtSource {
        const WORTHWHILE_BYTES: u64 = 1 << 20;
        let (soft_spoken, silent) = (OtSource::default(), OtSource::quietest(tiles));
        if silent.bytes(tiles) + WORTHWHILE_BYTES <= soft_spoken.bytes(tiles) { silent } else { soft_spoken }
    }

    /// The silent OT of least traffic.
    fn quietest(tiles: [u64; 2]) -> OtSource {
        let [small, large] = Ferret::SETS.map(OtSource::Silent);
        if small.bytes(tiles) <= large.bytes(tiles) { small } else { large }
    }

    /// The OT extension proper: of all OTs, or of the base of the first rounds.
    pub fn extension(&self) -> SoftSpoken {
        match self {
            OtSource::SoftSpoken(soft_spoken) => *soft_spoken,
            // Few rows, so that the least traffic counts.
            OtSource::Silent(_) => SoftSpoken::LEAST_TRAFFIC,
        }
    }

    /// The messages of setting up both directions, before anything is drawn.
    pub fn setup(&self) -> Cost {
        self.extension().setup()
    }

    /// What a correlated OT takes on average in a long session: what is computed, and bytes in the
    /// direction that has most.
    pub fn each(&self) -> (Primitive, f64) {
        match self {
            OtSource::SoftSpoken(soft_spoken) => {
                let batch = soft_spoken.batch_bytes(BATCH_ROWS / TILE_ROWS) as f64;
                (Primitive::CorrelatedOt, batch / BATCH_ROWS as f64)
            }
            OtSource::Silent(set) => {
                (Primitive::SilentOt, set.trees_bytes() as f64 / (set.round_tiles() * TILE_ROWS) as f64)
            }
        }
    }

    /// Payload of everything, both ways.
    fn bytes(&self, tiles: [u64; 2]) -> u64 {
        let mut stock = OtPool::new(*self);
        let mut cost = self.setup();
        stock.take(tiles, &mut cost);
        cost.messages.iter().map(|message| message.payload_bytes).sum()
    }
}

/// A session's supply as it is used up: predicts every message that drawing exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtPool {
    supply: OtSource,
    /// By receiver: tiles left of the present round of silent OT; `None` before the first.
    left: [Option<u64>; 2],
}

impl OtPool {
    /// The stock of a session with this supply that has drawn nothing yet.
    pub fn new(supply: OtSource) -> OtPool {
        OtPool { supply, left: [None; 2] }
    }

    /// The stock of a session in which the first rounds of both directions have begun, and what
    /// that took: for estimates of a part of a session.
    pub fn begun(supply: OtSource) -> (OtPool, Cost) {
        let (mut stock, mut cost) = (OtPool::new(supply), Cost::default());
        if let OtSource::Silent(set) = supply {
            stock.begin_round(set, [true; 2], &mut cost);
        }
        (stock, cost)
    }

    /// Where the OTs come from.
    pub fn supply(&self) -> OtSource {
        self.supply
    }

    /// The messages of drawing `need`.
    ///
    /// SoftSpokenOT sends one message in each direction in which there is something to draw. Silent
    /// OT begins a round whenever the last one is used up; both directions' rounds go together if
    /// both are due.
    pub fn draw(&mut self, need: &OtCount) -> Cost {
        let mut cost = Cost::default();
        let receivers = [Party::Client, Party::Server].map(|receiver| need.received_by(receiver));
        self.take(receivers.map(|ots| ots.tiles()), &mut cost);
        cost.compute(Primitive::Hash, receivers.iter().map(|ots| ots.hashes()).sum());
        cost
    }

    fn take(&mut self, mut tiles: [u64; 2], cost: &mut Cost) {
        match self.supply {
            OtSource::SoftSpoken(soft_spoken) => {
                send_each(cost, tiles.map(|tiles| soft_spoken.extension_bytes(tiles)));
                cost.compute(Primitive::CorrelatedOt, tiles.iter().sum::<u64>() * TILE_ROWS);
            }
            OtSource::Silent(set) => loop {
                for (left, tiles) in self.left.iter_mut().zip(&mut tiles) {
                    let taken = left.unwrap_or(0).min(*tiles);
                    *left = left.map(|left| left - taken);
                    *tiles -= taken;
                }
                if tiles == [0; 2] {
                    return;
                }
                self.begin_round(set, tiles.map(|tiles| tiles > 0), cost);
            },
        }
    }

    /// The messages of a round in the directions in which it is `due`, by receiver.
    fn begin_round(&mut self, set: Ferret, due: [bool; 2], cost: &mut Cost) {
        let fresh = [0, 1].map(|receiver| due[receiver] && self.left[receiver].is_none());
        // By receiver.
        let bytes = |which: [bool; 2], bytes: u64| which.map(|which| if which { bytes } else { 0 });
        let swapped = |[client_receives, server_receives]: [u64; 2]| [server_receives, client_receives];
        let base = self.supply.extension().extension_bytes(set.base_tiles());
        send_each(cost, bytes(fresh, base));
        send_each(cost, swapped(bytes(due, set.trees_bytes())));
        send_each(cost, bytes(due, Ferret::CHECK_BYTES));
        send_each(cost, swapped(bytes(due, Ferret::DIGEST_BYTES)));
        for ((left, due), fresh) in self.left.iter_mut().zip(due).zip(fresh) {
            cost.compute(Primitive::SeedOt, if fresh { set.base_tiles() * TILE_ROWS } else { 0 });
            if due {
                cost.compute(Primitive::SilentOt, set.trees << set.depth);
                *left = Some(set.round_tiles());
            }
        }
    }
}

impl Cost {
    /// The messages by which all draws are made out of `stock`, on the generator's channel.
    pub fn generator(&self, stock: &mut OtPool) -> Cost {
        let mut cost = Cost::default();
        self.draws.iter().for_each(|need| cost.then(&stock.draw(need)));
        cost
    }

    /// Everything: what the generator does for this cost's draws, then the cost itself. They have
    /// different channels, so this is what happens if nothing is made ahead.
    pub fn with_generator(&self, stock: &mut OtPool) -> Cost {
        let mut cost = self.generator(stock);
        cost.then(self);
        cost
    }
}

/// A message of so many bytes from the client and from the server, if it is not 0; an exchange if
/// neither is.
fn send_each(cost: &mut Cost, bytes: [u64; 2]) {
    match bytes {
        [0, 0] => {}
        [client, 0] => cost.send(Party::Client, client),
        [0, server] => cost.send(Party::Server, server),
        both => cost.exchange(both),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ots;
    use super::*;

    fn bits(client: u64, server: u64) -> OtCount {
        let ots = |bits| Ots { bits, ..Ots::default() };
        OtCount { client_receives: ots(client), server_receives: ots(server) }
    }

    #[test]
    fn nothing_needed_is_nothing_sent() {
        for supply in [OtSource::default(), OtSource::Silent(Ferret::B12)] {
            assert_eq!(OtPool::new(supply).draw(&OtCount::default()), Cost::default());
        }
        let one = Ots { words: 1, ..Ots::default() };
        let cost = OtPool::new(OtSource::default()).draw(&OtCount { server_receives: one, ..OtCount::default() });
        assert_eq!(cost.messages.len(), 1);
        assert_eq!(cost.bytes(Party::Server), 31 * 16 * 2 + 48 + 8);
    }

    #[test]
    fn rounds_begin_when_the_last_one_is_used_up() {
        let set = Ferret::B11;
        let mut stock = OtPool::new(OtSource::Silent(set));
        let round = set.round_tiles() * TILE_ROWS;
        let first = stock.draw(&bits(1, 0));
        let senders: Vec<Party> = first.messages.iter().map(|message| message.from).collect();
        assert_eq!(senders, [Party::Client, Party::Server, Party::Client, Party::Server]);
        assert_eq!(stock.draw(&bits(round - TILE_ROWS, 0)).messages, []);
        let both = stock.draw(&bits(1, 2 * round));
        // Trees, check and digest of both; the server's base and another round of its own.
        assert_eq!(both.messages.len(), 1 + 6 + 3);
        assert_eq!(stock.draw(&bits(round - TILE_ROWS, 0)).messages, []);
        assert_eq!(stock.draw(&bits(1, 1)).messages.len(), 6);
    }

    #[test]
    fn large_sessions_are_silent_and_small_ones_are_not() {
        assert_eq!(OtSource::for_demand([0, 0]), OtSource::default());
        assert_eq!(OtSource::for_demand([1000, 1000]), OtSource::default());
        assert_eq!(OtSource::for_demand([1 << 13, 1 << 13]), OtSource::Silent(Ferret::B11));
        assert_eq!(OtSource::for_demand([1 << 20, 1 << 20]), OtSource::Silent(Ferret::B12));
        let both = [1 << 15, 1 << 15];
        assert!(OtSource::for_demand(both).bytes(both) < OtSource::default().bytes(both) / 8);
    }
}
