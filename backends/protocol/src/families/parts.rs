//! What every family says of its linear layers, of its products of secret matrices, and of its
//! protocols for what looks at bits.

use fusion_ir::Party;

use crate::compare::{Comparison, Nonlinear};
use crate::linear::Geometry;
use crate::{Cost, Keys};

/// A linear layer, as its family lays it out.
pub trait Layer {
    /// What it takes on a micro-batch, its own public keys included where it has some.
    fn cost(&self, keys: Keys, positions: usize) -> Cost;

    /// Its shape.
    fn geometry(&self) -> &Geometry;

    /// Bytes that `party` keeps at once on so many positions beside the shares that are `alive`,
    /// each of so many bytes of one position, its `result`'s share included.
    fn peak_bytes(&self, party: Party, positions: u64, alive: u64, result: u64) -> u64;
}

/// Products of secret matrices, as their family lays them out.
pub trait Products {
    /// What they take on a micro-batch, their own public keys included where they have some.
    fn cost(&self, keys: Keys, positions: usize) -> Cost;

    /// As [`Layer::peak_bytes`].
    fn peak_bytes(&self, party: Party, positions: u64, alive: u64, result: u64) -> u64;
}

/// A family's protocols for operations that look at bits.
pub trait Comparisons {
    /// What one comparison of `n` elements takes.
    fn price(&self, comparison: &Comparison, n: usize) -> Cost;

    /// What an operation takes on a micro-batch.
    fn cost(&self, operation: &Nonlinear, positions: usize) -> Cost {
        operation.cost(&|comparison, n| self.price(comparison, n), positions)
    }
}

/// The layers, or the products of whole matrices, of a family that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {}

impl Layer for Absent {
    fn cost(&self, _: Keys, _: usize) -> Cost {
        match *self {}
    }

    fn geometry(&self) -> &Geometry {
        match *self {}
    }

    fn peak_bytes(&self, _: Party, _: u64, _: u64, _: u64) -> u64 {
        match *self {}
    }
}

impl Products for Absent {
    fn cost(&self, _: Keys, _: usize) -> Cost {
        match *self {}
    }

    fn peak_bytes(&self, _: Party, _: u64, _: u64, _: u64) -> u64 {
        match *self {}
    }
}

/// [`Layer::peak_bytes`] of a layer that is one message up and one down, of so many bytes for a
/// position.
pub(crate) fn peak_bytes(party: Party, messages: [usize; 2], positions: u64, alive: u64, result: u64) -> u64 {
    let [upload, download] = messages.map(|bytes| bytes as u64);
    match party {
        // The message that is sent; or one that came and what is read out of it, by position
        // and in all.
        Party::Client => positions * (alive - result + upload).max(alive + download + result),
        Party::Server => positions * (alive - result + upload).max(alive + download),
    }
}
