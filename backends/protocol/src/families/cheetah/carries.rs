//! The shape of carry trees.

use fusion_ir::Party;

use super::flight::Flight;
use crate::ot::TABLE_WIDTHS;

/// Segments of a tree at most.
pub const SEGMENTS: usize = 4;

/// How trees begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaves {
    /// Most bits of a leaf, `1..=4`.
    pub bits: u8,
    /// Who receives every leaf's OT; if `None`, the parties by turns, so that both send as much.
    ///
    /// Who knows its share long before the other does opens its leaves ahead; the answers and what
    /// the other party opens of the next level then go the same way at once.
    pub receiver: Option<Party>,
}

impl Leaves {
    /// Most bits that a leaf may have.
    pub const WIDEST: u8 = *TABLE_WIDTHS.end() as u8;
}

impl From<u8> for Leaves {
    /// Leaves of so many bits, received by turns.
    fn from(bits: u8) -> Leaves {
        Leaves { bits, receiver: None }
    }
}

/// One carry tree: generate/propagate pairs of up to four *segments*, ranges of neighbouring
/// positions, lowest first. Of the first one that is not empty it is the carry out of it.
///
/// Each segment begins where the one before ends. The last one may also be the bits of another
/// number, with other leaves and merges of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carries {
    /// Bits of each segment.
    pub segments: [usize; SEGMENTS],
    /// How it begins.
    pub leaves: Leaves,
}

/// A leaf of a carry tree: neighbouring positions whose generate and propagate bits come from one
/// OT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// How many positions.
    pub width: usize,
    /// Who receives the OT.
    pub receiver: Party,
    /// Whether position 0 is among them, so that nothing can be propagated.
    pub lowest: bool,
}

impl Leaf {
    /// Results: whether it generates, and, unless it is the lowest, whether it propagates.
    pub fn results(&self) -> usize {
        if self.lowest { 1 } else { 2 }
    }

    /// Answers of the sender of a leaf of more than one bit, for every choice but 0.
    pub fn answers(&self) -> usize {
        (1 << self.width) - 1
    }
}

impl Carries {
    /// A tree whose lowest two segments have `low` and `high` bits.
    pub fn new(low: u8, high: u8, leaves: Leaves) -> Carries {
        Carries { segments: [low.into(), high.into(), 0, 0], leaves }
    }

    /// The leaves of every segment, lowest first, all of nearly one width.
    pub fn leaves(&self) -> [Vec<Leaf>; SEGMENTS] {
        let by_turns = [Party::Client, Party::Server].into_iter().cycle();
        let mut receivers = by_turns.map(|party| self.leaves.receiver.unwrap_or(party));
        let mut lowest = true;
        self.segments.map(|bits| {
            let count = bits.div_ceil(usize::from(self.leaves.bits));
            let leaf = |(index, receiver)| {
                let width = bits / count + usize::from(index < bits % count);
                Leaf { width, receiver, lowest: std::mem::take(&mut lowest) }
            };
            (0..count).zip(receivers.by_ref()).map(leaf).collect()
        })
    }

    /// The merges within each segment on each level of the tree, leaves not counted: of neighbours,
    /// lowest first; an odd one out stays.
    pub fn levels(&self) -> Vec<[usize; SEGMENTS]> {
        let mut nodes = self.segments.map(|bits| bits.div_ceil(usize::from(self.leaves.bits)));
        let mut levels = Vec::new();
        while nodes.iter().any(|nodes| *nodes > 1) {
            levels.push(nodes.map(|nodes| nodes / 2));
            nodes = nodes.map(|nodes| nodes.div_ceil(2));
        }
        levels
    }

    pub(super) fn flights(&self) -> Vec<Flight> {
        let (mut first, mut second) = (Flight::default(), Flight::default());
        for leaf in self.leaves().iter().flatten() {
            let receiver = leaf.receiver as usize;
            if leaf.width == 1 {
                first.private[receiver] += 1;
            } else {
                first.opened[receiver].push(leaf.width);
                second.answered[receiver] += leaf.results() * leaf.answers();
            }
        }
        let mut flights = vec![first, second];
        flights.retain(|flight| *flight != Flight::default());
        // The merge with position 0 needs no propagate bit.
        let lowest = self.segments.iter().position(|bits| *bits > 0).unwrap_or(0);
        for level in self.levels() {
            let narrow = level[lowest].min(1);
            flights.push(Flight { narrow, wide: level.iter().sum::<usize>() - narrow, ..Flight::default() });
        }
        flights
    }
}
