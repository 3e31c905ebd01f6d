//! What oblivious transfers cost: base OTs, SoftSpoken set-up, and the random OTs that comparisons draw.
//!
//! SoftSpokenOT (Roy, CRYPTO 2022) turns 128 base OTs into any number of correlated OTs. Its parameter `k` trades
//! traffic against computation: an OT costs `128/k - 1` bits and `2^k * 128/k` bits of key stream.

use fusion_ir::Party;

use crate::{Cost, Primitive};

/// Computational security parameter: base OTs, columns of the extension, sacrificed rows.
pub const SECURITY_BITS: u64 = 128;
/// Rows that are extended and checked together, sacrificed ones not counted; with these it is a power of two.
pub const BATCH_ROWS: u64 = (1 << 15) - TILE_ROWS;

/// Rows come in tiles of 128, the height of one bit-matrix transposition.
const TILE_ROWS: u64 = 128;
/// Bytes of one column of one tile.
const TILE_BYTES: u64 = TILE_ROWS / 8;

/// Choice bits of 1-of-many OTs.
pub const TABLE_WIDTHS: std::ops::RangeInclusive<usize> = 2..=4;

/// Numbers of random OTs in one direction, by what their pads are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ots {
    /// OTs with pads of one bit.
    pub bits: u64,
    /// OTs with pads of two bits.
    pub pairs: u64,
    /// OTs with pads of one word of 64 bits (used mod `2^k` for any `k <= 64`).
    pub words: u64,
    /// 1-of-`2^w` OTs with pads of two bits, for every width `w` in [`TABLE_WIDTHS`]. Each takes `w` correlated OTs.
    pub tables: [u64; 3],
}

impl Ots {
    /// All of them, as correlated OTs.
    pub fn total(&self) -> u64 {
        self.bits + self.pairs + self.words + self.tables().map(|(width, n)| width as u64 * n).sum::<u64>()
    }

    /// Blocks hashed for the pads by both parties: the sender's for every choice, the receiver's for its own.
    pub fn hashes(&self) -> u64 {
        let tables: u64 = self.tables().map(|(width, n)| ((1 << width) + 1) * n).sum();
        3 * (self.bits + self.pairs + self.words) + tables
    }

    /// Tiles of 128 rows: every kind begins a new tile.
    pub fn tiles(&self) -> u64 {
        let tiles = |n: u64| n.div_ceil(TILE_ROWS);
        let tables = self.tables().map(|(width, n)| width as u64 * tiles(n));
        tiles(self.bits) + tiles(self.pairs) + tiles(self.words) + tables.sum::<u64>()
    }

    /// The widths of tables with their numbers.
    pub fn tables(&self) -> impl Iterator<Item = (usize, u64)> {
        TABLE_WIDTHS.zip(self.tables)
    }
}

impl std::ops::AddAssign for Ots {
    fn add_assign(&mut self, more: Ots) {
        self.bits += more.bits;
        self.pairs += more.pairs;
        self.words += more.words;
        self.tables.iter_mut().zip(more.tables).for_each(|(n, more)| *n += more);
    }
}

impl std::ops::Mul<u64> for Ots {
    type Output = Ots;

    fn mul(self, times: u64) -> Ots {
        Ots {
            bits: self.bits * times,
            pairs: self.pairs * times,
            words: self.words * times,
            tables: self.tables.map(|n| n * times),
        }
    }
}

/// The random OTs that an online phase consumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// OTs in which the client is the receiver.
    pub client_receives: Ots,
    /// OTs in which the server is the receiver.
    pub server_receives: Ots,
}

impl Need {
    /// The OTs in which `party` is the receiver.
    pub fn received_by(&self, party: Party) -> Ots {
        match party {
            Party::Client => self.client_receives,
            Party::Server => self.server_receives,
        }
    }

    /// As [`Need::received_by`], to change.
    pub fn received_by_mut(&mut self, party: Party) -> &mut Ots {
        match party {
            Party::Client => &mut self.client_receives,
            Party::Server => &mut self.server_receives,
        }
    }
}

impl std::ops::AddAssign for Need {
    fn add_assign(&mut self, more: Need) {
        self.client_receives += more.client_receives;
        self.server_receives += more.server_receives;
    }
}

impl std::ops::Mul<u64> for Need {
    type Output = Need;

    fn mul(self, times: u64) -> Need {
        Need { client_receives: self.client_receives * times, server_receives: self.server_receives * times }
    }
}

/// SoftSpokenOT with subfield `GF(2^k)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftSpoken {
    k: u8,
}

impl Default for SoftSpoken {
    /// `k = 4`: 31 bits per OT.
    fn default() -> SoftSpoken {
        SoftSpoken { k: 4 }
    }
}

impl SoftSpoken {
    /// The parameter `k`, one of 1, 2, 4 and 8; `None` for any other.
    pub fn new(k: u8) -> Option<SoftSpoken> {
        [1, 2, 4, 8].contains(&k).then_some(SoftSpoken { k })
    }

    /// Bits of the subfield.
    pub fn k(&self) -> usize {
        usize::from(self.k)
    }

    /// Punctured PRF trees, one per subfield VOLE.
    pub fn trees(&self) -> usize {
        SECURITY_BITS as usize / self.k()
    }

    /// Leaves of each tree.
    pub fn leaves(&self) -> usize {
        1 << self.k
    }

    /// Both directions' set-up, two exchanges: base OTs (the receiver's two points and the sender's one for each of
    /// 128), then the trees (two sums of 16 bytes for each level but the first, and a check of 64 bytes).
    pub fn setup(&self) -> Cost {
        let mut cost = Cost::default();
        cost.exchange([SECURITY_BITS * 3 * 32; 2]);
        cost.exchange([self.tree_bytes() * self.trees() as u64; 2]);
        cost
    }

    /// Bytes of one tree's message.
    pub fn tree_bytes(&self) -> u64 {
        (u64::from(self.k) - 1) * 2 * 16 + 64
    }

    /// Bytes of one batch of `tiles` tiles: the corrections of these and of one sacrificed tile, the choice bits' hash
    /// and a digest.
    pub fn batch_bytes(&self, tiles: u64) -> u64 {
        (self.trees() as u64 - 1) * TILE_BYTES * (tiles + 1) + 16 + 32
    }

    /// Bytes of the one message, receiver to sender, that extends by `ots`; none if there are none.
    pub fn extension_bytes(&self, ots: &Ots) -> u64 {
        batches(ots.tiles()).map(|tiles| self.batch_bytes(tiles)).sum()
    }

    /// Drawing `need`: one message in each direction in which there is something to draw.
    pub fn draw(&self, need: &Need) -> Cost {
        let mut cost = Cost {
            client_receives_ots: need.client_receives.total(),
            server_receives_ots: need.server_receives.total(),
            ..Cost::default()
        };
        let bytes = [Party::Client, Party::Server].map(|party| self.extension_bytes(&need.received_by(party)));
        match bytes {
            [0, 0] => {}
            [client, 0] => cost.send(Party::Client, client),
            [0, server] => cost.send(Party::Server, server),
            both => cost.exchange(both),
        }
        cost.compute(Primitive::CorrelatedOt, cost.client_receives_ots + cost.server_receives_ots);
        cost.compute(Primitive::Hash, need.client_receives.hashes() + need.server_receives.hashes());
        cost
    }
}

/// The batches that `tiles` tiles are extended in.
pub fn batches(tiles: u64) -> impl Iterator<Item = u64> {
    let most = BATCH_ROWS / TILE_ROWS;
    (0..tiles.div_ceil(most)).map(move |i| most.min(tiles - i * most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ot_costs_the_bits_of_the_paper() {
        for (k, bits) in [(1, 127.0), (2, 63.0), (4, 31.0), (8, 15.0)] {
            let soft_spoken = SoftSpoken::new(k).unwrap();
            let ots = Ots { bits: 1 << 20, ..Ots::default() };
            let found = soft_spoken.extension_bytes(&ots) as f64 * 8.0 / (1 << 20) as f64;
            assert!(found >= bits && found < bits * 1.01, "{found} bits for k = {k}");
        }
        assert!(SoftSpoken::new(3).is_none());
    }

    #[test]
    fn nothing_needed_is_nothing_sent() {
        assert_eq!(SoftSpoken::default().draw(&Need::default()), Cost::default());
        let one = Ots { words: 1, ..Ots::default() };
        let cost = SoftSpoken::default().draw(&Need { server_receives: one, ..Need::default() });
        assert_eq!(cost.messages.len(), 1);
        assert_eq!(cost.bytes(Party::Server), 31 * 16 * 2 + 48 + 8);
        assert_eq!(cost.server_receives_ots, 1);
    }
}
