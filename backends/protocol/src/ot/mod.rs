//! What oblivious transfers cost: the random OTs that comparisons draw ([`OtCount`]), and where
//! they come from ([`OtSource`]).

mod ferret;
mod soft_spoken;
mod source;

use fusion_ir::Party;

pub use ferret::Ferret;
pub use soft_spoken::{BATCH_ROWS, SoftSpoken, batches};
pub use source::{Choice, OtPool, OtSource};

/// Computational security parameter: base OTs, columns of the extension, sacrificed rows.
pub const SECURITY_BITS: u64 = 128;

/// Correlated rows come in tiles of 128, the height of one bit-matrix transposition.
pub const TILE_ROWS: u64 = 128;

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
    /// 1-of-`2^w` OTs with pads of two bits, for every width `w` in [`TABLE_WIDTHS`]. Each takes
    /// `w` correlated OTs.
    pub tables: [u64; 3],
}

impl Ots {
    /// All of them, as correlated OTs.
    pub fn total(&self) -> u64 {
        self.bits + self.pairs + self.words + self.tables().map(|(width, n)| width as u64 * n).sum::<u64>()
    }

    /// Blocks hashed for the pads by both parties: the sender's for every choice, the receiver's
    /// for its own.
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
pub struct OtCount {
    /// OTs in which the client is the receiver.
    pub client_receives: Ots,
    /// OTs in which the server is the receiver.
    pub server_receives: Ots,
}

impl OtCount {
    /// The OTs in which `party` is the receiver.
    pub fn received_by(&self, party: Party) -> Ots {
        match party {
            Party::Client => self.client_receives,
            Party::Server => self.server_receives,
        }
    }

    /// As [`OtCount::received_by`], to change.
    pub fn received_by_mut(&mut self, party: Party) -> &mut Ots {
        match party {
            Party::Client => &mut self.client_receives,
            Party::Server => &mut self.server_receives,
        }
    }
}

impl std::ops::AddAssign for OtCount {
    fn add_assign(&mut self, more: OtCount) {
        self.client_receives += more.client_receives;
        self.server_receives += more.server_receives;
    }
}

impl std::ops::Mul<u64> for OtCount {
    type Output = OtCount;

    fn mul(self, times: u64) -> OtCount {
        OtCount { client_receives: self.client_receives * times, server_receives: self.server_receives * times }
    }
}
