//! From correlated rows to pads: tiles are dealt to the kinds of OTs that are wanted, hashed, and
//! put side by side.
//!
//! Rows `q_i = t_i + c_i delta` make `sum x^i q_i = sum x^i t_i + (sum c_i x^i) delta`, one row
//! with a choice of many.

use fusion_catalogue::ot::{Ots, TABLE_WIDTHS};
use zeroize::{Zeroize, Zeroizing};

use std::collections::VecDeque;
use std::ops::Range;

use rayon::prelude::*;

use super::hash::RowHash;
use super::pads::{Queue, ReceiverPads, SenderPads};
use crate::bits::Bits;
use crate::kernels::{self, COLUMNS, lowest_bits, transpose};
use crate::threads::part;

/// Tiles that a thread turns into pads at least.
pub(super) const FEWEST_TILES: usize = 32;

/// Consecutive tiles of one direction.
#[derive(Default)]
pub(super) struct Tiles<'a> {
    /// Number of the first one within the direction.
    pub first: u64,
    /// At the receiver, the choices of each tile; none where rows have theirs in their lowest bit.
    pub choices: &'a [u128],
    /// Rows, or columns to be transposed.
    pub blocks: &'a mut [[u128; COLUMNS]],
    /// Which.
    pub are_columns: bool,
}

impl<'a> Tiles<'a> {
    /// The first `n` of them, and the others.
    fn split(self, n: usize) -> [Tiles<'a>; 2] {
        let (first, are_columns) = (self.first, self.are_columns);
        let (blocks, other_blocks) = self.blocks.split_at_mut(n);
        let (choices, other_choices) = self.choices.split_at(n.min(self.choices.len()));
        let others = Tiles { first: first + n as u64, choices: other_choices, blocks: other_blocks, are_columns };
        [Tiles { first, choices, blocks, are_columns }, others]
    }

    /// Their numbers, choices and rows.
    fn rows(self) -> impl Iterator<Item = (u64, u128, &'a [u128; COLUMNS])> {
        let Tiles { first, choices, blocks, are_columns } = self;
        (first..).zip(blocks).enumerate().map(move |(i, (number, tile))| {
            if are_columns {
                transpose(tile);
            }
            let choices = choices.get(i).copied().unwrap_or_else(|| lowest_bits(tile));
            (number, choices, &*tile)
        })
    }
}

/// Tiles in order, taken off the front in parts.
struct Remaining<'a>(VecDeque<Tiles<'a>>);

impl<'a> Remaining<'a> {
    /// The next `n`.
    fn take(&mut self, mut n: usize) -> Vec<Tiles<'a>> {
        let mut taken = Vec::new();
        while n > 0 {
            let next = self.0.pop_front().expect("no more tiles than there are");
            let [own, others] = if next.blocks.len() > n { next.split(n) } else { [next, Tiles::default()] };
            if !others.blocks.is_empty() {
                self.0.push_front(others);
            }
            n -= own.blocks.len();
            taken.push(own);
        }
        taken
    }
}

/// What one side makes of tiles.
pub(super) trait Side: Sync {
    /// Its pads of a kind, once all are there.
    type Pads;

    /// How many sequences the pads of a kind are.
    fn sequences(kind: Kind) -> usize;

    /// How many sequences of bits word OTs have besides.
    const WORD_CHOICES: usize;

    /// Writes the pads of a tile of this kind: its number, choice bits and rows. Of a table the
    /// tiles before the last have left what is in `joined`.
    fn write(&self, kind: Kind, tile: (u64, u128, &[u128; COLUMNS]), joined: &mut Joined, slots: &mut Slots<'_>);

    /// As pads that are consumed front to back.
    fn finish(room: Room, ots: &Ots) -> Self::Pads;
}

/// Makes one side's pads of tiles.
pub(super) struct Builder<S> {
    side: S,
    dealer: Dealer,
    joined: Joined,
    room: Room,
}

impl<S: Side> Builder<S> {
    /// For this many OTs.
    pub fn new(side: S, ots: &Ots) -> Builder<S> {
        Builder { side, dealer: Dealer { ots: *ots, next: 0 }, joined: Joined::new(), room: Room::new::<S>(ots) }
    }

    /// Adds the next tiles, in order, by several threads if there are: each writes where its pads
    /// lie.
    pub fn push(&mut self, tiles: Vec<Tiles<'_>>) {
        let count: usize = tiles.iter().map(|tiles| tiles.blocks.len()).sum();
        if count == 0 {
            return;
        }
        let first = self.dealer;
        let mut remaining = Remaining(tiles.into());
        let mut slots = self.room.rest();
        let mut begun = Some(std::mem::replace(&mut self.joined, Joined::new()));
        let parts = first.cut(count, part(count, FEWEST_TILES)).into_iter().map(|range| {
            let dealer = Dealer { next: first.next + range.start as u64, ..first };
            let slots = slots.take(&dealer.coming(range.len()));
            (dealer, begun.take().unwrap_or_else(Joined::new), remaining.take(range.len()), slots)
        });
        let parts: Vec<_> = parts.collect();
        let side = &self.side;
        let ends = parts.into_par_iter().map(|(mut dealer, mut joined, tiles, mut slots)| {
            for tile in tiles.into_iter().flat_map(Tiles::rows) {
                side.write(dealer.next(), tile, &mut joined, &mut slots);
            }
            assert!(slots.are_filled(), "pads for every OT");
            (dealer, joined)
        });
        let ends: Vec<(Dealer, Joined)> = ends.collect();
        self.room.advance(&first.coming(count));
        if let Some(end) = ends.into_iter().next_back() {
            (self.dealer, self.joined) = end;
        }
    }

    /// The pads.
    ///
    /// # Panics
    /// If not every tile was pushed: what lacks would be zeros.
    pub fn finish(self) -> S::Pads {
        assert_eq!(self.dealer.next, self.dealer.ots.tiles(), "every tile is pushed");
        S::finish(self.room, &self.dealer.ots)
    }
}

/// Which pads a tile of rows becomes: first all one-bit OTs, then two-bit ones, then words, then
/// tables by width, each kind from a new tile on. A table's OTs take as many tiles as it is wide.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Bits,
    Pairs,
    Words,
    /// Tile `part` of a table's `width`.
    Table {
        width: usize,
        part: usize,
    },
}

/// Deals tiles to the kinds.
#[derive(Clone, Copy)]
struct Dealer {
    ots: Ots,
    next: u64,
}

impl Dealer {
    #[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
    fn next(&mut self) -> Kind {
        let ots = &self.ots;
        let simple = [(Kind::Bits, ots.bits, 1), (Kind::Pairs, ots.pairs, 1), (Kind::Words, ots.words, 1)];
        let tables = ots.tables().map(|(width, n)| (Kind::Table { width, part: 0 }, n, width as u64));
        let mut place = self.next;
        self.next += 1;
        for (kind, n, width) in simple.into_iter().chain(tables) {
            let tiles = n.div_ceil(COLUMNS as u64) * width;
            match (place.checked_sub(tiles), kind) {
                (Some(after), _) => place = after,
                (None, Kind::Table { .. }) => {
                    return Kind::Table { width: width as usize, part: (place % width) as usize };
                }
                (None, _) => return kind,
            }
        }
        unreachable!("no more tiles than were asked for")
    }

    /// How many OTs of each kind the next `count` tiles end.
    fn coming(mut self, count: usize) -> Ots {
        let mut ots = Ots::default();
        for _ in 0..count {
            let kind = match self.next() {
                Kind::Bits => &mut ots.bits,
                Kind::Pairs => &mut ots.pairs,
                Kind::Words => &mut ots.words,
                Kind::Table { width, part } if part + 1 == width => &mut ots.tables[width - TABLE_WIDTHS.start()],
                Kind::Table { .. } => continue,
            };
            *kind += COLUMNS as u64;
        }
        ots
    }

    /// Cuts the next `count` tiles into parts of about `most`. Only the last may end within a
    /// table.
    fn cut(mut self, count: usize, most: usize) -> Vec<Range<usize>> {
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        for end in 1..=count {
            let whole = match self.next() {
                Kind::Table { width, part } => part + 1 == width,
                _ => true,
            };
            if end == count || (whole && end - start >= most) {
                parts.push(start..end);
                start = end;
            }
        }
        parts
    }
}

/// Multiplication by `x` in `GF(2^128)` modulo `x^128 + x^7 + x^2 + x + 1`. Rows
/// `q_i = t_i + c_i delta` make `sum x^i q_i = sum x^i t_i + (sum c_i x^i) delta`, one row with a
/// choice of many.
fn double(block: u128) -> u128 {
    block << 1 ^ 0x87 & (block >> 127).wrapping_neg()
}

/// The tiles of a table that were pushed. Its rows stay where they are if it moves, so that they
/// are wiped.
pub(super) struct Joined {
    choices: Zeroizing<Vec<[u64; 2]>>,
    rows: Box<Zeroizing<[u128; COLUMNS]>>,
}

impl Joined {
    fn new() -> Joined {
        let choices = Zeroizing::new(Vec::with_capacity(*TABLE_WIDTHS.end()));
        Joined { choices, rows: Box::new(Zeroizing::new([0; COLUMNS])) }
    }

    /// Adds a tile, the one of the highest power of `x` first.
    fn push(&mut self, part: usize, choices: u128, rows: &[u128; COLUMNS]) {
        if part == 0 {
            self.choices.clear();
            self.rows.fill(0);
        }
        self.choices.push(halves(choices));
        self.rows.iter_mut().zip(rows).for_each(|(joined, row)| *joined = double(*joined) ^ row);
    }
}

/// The difference of the rows for choice `choice` and for choice 0: its bit `part` belongs to that
/// tile of [`Joined::push`].
fn multiple(delta: u128, width: usize, choice: usize) -> u128 {
    (0..width).fold(0, |sum, part| double(sum) ^ delta & ((choice >> part & 1) as u128).wrapping_neg())
}

/// Equally long sequences of words, filled tile by tile, and wiped if they are not finished.
struct Sequences {
    words: Vec<Vec<u64>>,
    /// Words of each that are filled.
    filled: usize,
}

impl Sequences {
    /// `count` of them, of so many words.
    fn new(count: usize, words: usize) -> Sequences {
        Sequences { words: (0..count).map(|_| vec![0; words]).collect(), filled: 0 }
    }

    fn rest(&mut self) -> Slot<'_> {
        Slot(self.words.iter_mut().map(|words| &mut words[self.filled..]).collect())
    }

    /// As bits, the first `n` of each.
    fn bits(mut self, n: u64) -> Queue<Bits> {
        let words = std::mem::take(&mut self.words);
        Queue::new(words.into_iter().map(|words| Bits::from_words(words, n as usize)).collect())
    }

    /// As words, the first `n` of each.
    fn words(mut self, n: u64) -> Queue<Vec<u64>> {
        let mut words = std::mem::take(&mut self.words);
        words.iter_mut().for_each(|words| words.truncate(n as usize));
        Queue::new(words)
    }
}

impl Drop for Sequences {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

/// What is not yet filled of some [`Sequences`], or a part of it.
struct Slot<'a>(Vec<&'a mut [u64]>);

impl<'a> Slot<'a> {
    /// The first `n` words of each.
    fn take(&mut self, n: usize) -> Slot<'a> {
        Slot(self.0.iter_mut().map(|words| words.split_off_mut(..n).expect("room for every tile")).collect())
    }

    fn is_filled(&self) -> bool {
        self.0.iter().all(|words| words.is_empty())
    }

    /// Fills the next words of every sequence.
    fn push<const N: usize>(&mut self, tiles: impl IntoIterator<Item = [u64; N]>) {
        for (words, tile) in self.0.iter_mut().zip(tiles) {
            let (place, rest) = std::mem::take(words).split_first_chunk_mut().expect("room for every tile");
            (*place, *words) = (tile, rest);
        }
    }
}

/// Where a side's pads lie, by kinds.
pub(super) struct Room {
    bits: Sequences,
    pairs: Sequences,
    words: Sequences,
    /// The choices of word OTs, at the receiver.
    choices: Sequences,
    tables: [Sequences; 3],
}

/// What of it is not yet filled, or a part of that.
pub(super) struct Slots<'a> {
    bits: Slot<'a>,
    pairs: Slot<'a>,
    words: Slot<'a>,
    choices: Slot<'a>,
    tables: [Slot<'a>; 3],
}

/// Words of a sequence of bits for so many OTs, in whole tiles.
fn bit_words(ots: u64) -> usize {
    2 * ots.div_ceil(COLUMNS as u64) as usize
}

/// Words of a sequence of words for so many OTs, in whole tiles.
fn word_words(ots: u64) -> usize {
    (ots as usize).next_multiple_of(COLUMNS)
}

impl Room {
    /// For this many OTs.
    fn new<S: Side>(ots: &Ots) -> Room {
        let bits = |kind, n| Sequences::new(S::sequences(kind), bit_words(n));
        let mut tables = TABLE_WIDTHS.zip(ots.tables);
        Room {
            bits: bits(Kind::Bits, ots.bits),
            pairs: bits(Kind::Pairs, ots.pairs),
            words: Sequences::new(S::sequences(Kind::Words), word_words(ots.words)),
            choices: Sequences::new(S::WORD_CHOICES, bit_words(ots.words)),
            tables: std::array::from_fn(|_| {
                let (width, n) = tables.next().unwrap_or_default();
                bits(Kind::Table { width, part: 0 }, n)
            }),
        }
    }

    fn rest(&mut self) -> Slots<'_> {
        Slots {
            bits: self.bits.rest(),
            pairs: self.pairs.rest(),
            words: self.words.rest(),
            choices: self.choices.rest(),
            tables: self.tables.each_mut().map(Sequences::rest),
        }
    }

    /// So many OTs were filled.
    fn advance(&mut self, ots: &Ots) {
        self.bits.filled += bit_words(ots.bits);
        self.pairs.filled += bit_words(ots.pairs);
        self.words.filled += word_words(ots.words);
        self.choices.filled += bit_words(ots.words);
        self.tables.iter_mut().zip(ots.tables).for_each(|(table, n)| table.filled += bit_words(n));
    }
}

impl<'a> Slots<'a> {
    fn are_filled(&self) -> bool {
        let simple = [&self.bits, &self.pairs, &self.words, &self.choices];
        simple.into_iter().chain(&self.tables).all(Slot::is_filled)
    }

    /// Those of the first OTs.
    fn take(&mut self, ots: &Ots) -> Slots<'a> {
        let mut lens = ots.tables.into_iter();
        Slots {
            bits: self.bits.take(bit_words(ots.bits)),
            pairs: self.pairs.take(bit_words(ots.pairs)),
            words: self.words.take(word_words(ots.words)),
            choices: self.choices.take(bit_words(ots.words)),
            tables: self.tables.each_mut().map(|table| table.take(bit_words(lens.next().unwrap_or(0)))),
        }
    }
}

/// The side with choices.
pub(super) struct Receiving<'a> {
    pub hash: &'a RowHash,
}

impl Side for Receiving<'_> {
    type Pads = ReceiverPads;
    const WORD_CHOICES: usize = 1;

    fn sequences(kind: Kind) -> usize {
        match kind {
            Kind::Bits => 2,
            Kind::Pairs => 3,
            Kind::Words => 1,
            Kind::Table { width, .. } => width + 2,
        }
    }

    fn write(
        &self,
        kind: Kind,
        (tile, choices, rows): (u64, u128, &[u128; COLUMNS]),
        joined: &mut Joined,
        slots: &mut Slots<'_>,
    ) {
        if let Kind::Table { width, part } = kind {
            joined.push(part, choices, rows);
            if part + 1 == width {
                let hashes = self.hash.hash_tile(tile, &joined.rows, 0);
                let planes = joined.choices.iter().copied().chain([plane(&hashes, 0), plane(&hashes, 1)]);
                slots.tables[width - TABLE_WIDTHS.start()].push(planes);
            }
            return;
        }
        let hashes = self.hash.hash_tile(tile, rows, 0);
        match kind {
            Kind::Bits => slots.bits.push([halves(choices), plane(&hashes, 0)]),
            Kind::Pairs => slots.pairs.push([halves(choices), plane(&hashes, 0), plane(&hashes, 1)]),
            _ => {
                slots.choices.push([halves(choices)]);
                slots.words.push([hashes]);
            }
        }
    }

    fn finish(room: Room, ots: &Ots) -> ReceiverPads {
        let mut lens = ots.tables.into_iter();
        ReceiverPads {
            bits: room.bits.bits(ots.bits),
            pairs: room.pairs.bits(ots.pairs),
            tables: room.tables.map(|table| table.bits(lens.next().unwrap_or(0))),
            choices: room.choices.bits(ots.words),
            words: room.words.words(ots.words),
        }
    }
}

/// The side that knows both pads of every OT.
pub(super) struct Sending<'a> {
    pub hash: &'a RowHash,
    pub delta: &'a u128,
}

impl Side for Sending<'_> {
    type Pads = SenderPads;
    const WORD_CHOICES: usize = 0;

    fn sequences(kind: Kind) -> usize {
        match kind {
            Kind::Bits | Kind::Words => 2,
            Kind::Pairs => 4,
            Kind::Table { width, .. } => 2 << width,
        }
    }

    fn write(
        &self,
        kind: Kind,
        (tile, _, rows): (u64, u128, &[u128; COLUMNS]),
        joined: &mut Joined,
        slots: &mut Slots<'_>,
    ) {
        if let Kind::Table { width, part } = kind {
            joined.push(part, 0, rows);
            if part + 1 == width {
                let pad = |choice| {
                    let offset = multiple(*self.delta, width, choice);
                    let hashes = self.hash.hash_tile(tile, &joined.rows, offset);
                    [plane(&hashes, 0), plane(&hashes, 1)]
                };
                slots.tables[width - TABLE_WIDTHS.start()].push((0..1 << width).flat_map(pad));
            }
            return;
        }
        let [zeros, ones] = [0, *self.delta].map(|offset| self.hash.hash_tile(tile, rows, offset));
        let planes = |bit| {
            let (zero, one) = (plane(&zeros, bit), plane(&ones, bit));
            [zero, [zero[0] ^ one[0], zero[1] ^ one[1]]]
        };
        match kind {
            Kind::Bits => slots.bits.push(planes(0)),
            Kind::Pairs => {
                let [[a, c], [b, d]] = [planes(0), planes(1)];
                slots.pairs.push([a, b, c, d]);
            }
            _ => slots.words.push([zeros, ones]),
        }
    }

    fn finish(room: Room, ots: &Ots) -> SenderPads {
        let mut lens = ots.tables.into_iter();
        SenderPads {
            bits: room.bits.bits(ots.bits),
            pairs: room.pairs.bits(ots.pairs),
            tables: room.tables.map(|table| table.bits(lens.next().unwrap_or(0))),
            words: room.words.words(ots.words),
        }
    }
}

fn halves(block: u128) -> [u64; 2] {
    [block as u64, (block >> 64) as u64]
}

/// Bit `bit` of every hash.
fn plane(hashes: &[u64; COLUMNS], bit: u8) -> [u64; 2] {
    let mut words = [0; 2];
    kernels::plane(hashes, bit, &mut words);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_choices_are_different_multiples() {
        for width in TABLE_WIDTHS {
            for delta in [1, 1 << 127, 0xdead << 100, u128::MAX] {
                let mut multiples: Vec<u128> = (0..1 << width).map(|choice| multiple(delta, width, choice)).collect();
                assert_eq!([multiples[0], multiples[1 << (width - 1)]], [0, delta]);
                multiples.sort_unstable();
                multiples.dedup();
                assert_eq!(multiples.len(), 1 << width);
            }
        }
        assert_eq!(double(1 << 127), 0x87);
    }
}
