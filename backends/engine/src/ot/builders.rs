//! From correlated rows to pads: tiles are dealt to the kinds of OTs that are wanted, hashed, and
//! put side by side.
//!
//! Rows `q_i = t_i + c_i delta` make `sum x^i q_i = sum x^i t_i + (sum c_i x^i) delta`, one row
//! with a choice of many.

use fusion_catalogue::ot::{Ots, TABLE_WIDTHS};
use zeroize::{Zeroize, Zeroizing};

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

/// What makes pads of tiles.
pub(super) trait Builder: Sized + Send + Sync {
    /// An empty one for some tiles that begin where `dealer` is, with what is left of a table that
    /// was begun before.
    fn begun(&self, dealer: Dealer, tiles: usize, joined: Joined) -> Self;

    /// Its state between tiles.
    fn state(&mut self) -> (&mut Dealer, &mut Joined);

    /// Adds one tile: its number, its choice bits and its rows.
    fn push(&mut self, tile: u64, choices: u128, rows: &[u128; COLUMNS]);

    /// Adds the pads of a part.
    fn append(&mut self, part: Self);

    /// Adds tiles, by several threads if there are.
    fn push_all(&mut self, tiles: Tiles<'_>) {
        let dealer = *self.state().0;
        let ranges = dealer.cut(tiles.blocks.len(), part(tiles.blocks.len(), FEWEST_TILES));
        if ranges.len() < 2 {
            tiles.rows().for_each(|(tile, choices, rows)| self.push(tile, choices, rows));
            return;
        }
        let mut begun = Some(std::mem::replace(self.state().1, Joined::new()));
        let mut rest = tiles;
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let [own, others] = rest.split(range.len());
            rest = others;
            let dealer = Dealer { next: dealer.next + range.start as u64, ..dealer };
            parts.push((self.begun(dealer, range.len(), begun.take().unwrap_or_else(Joined::new)), own));
        }
        let make = |(mut part, tiles): (Self, Tiles<'_>)| {
            tiles.rows().for_each(|(tile, choices, rows)| part.push(tile, choices, rows));
            part
        };
        let parts: Vec<Self> = parts.into_par_iter().map(make).collect();
        for mut part in parts {
            let (dealer, joined) = part.state();
            (*self.state().0, *self.state().1) = (*dealer, std::mem::replace(joined, Joined::new()));
            self.append(part);
        }
    }
}

/// Which pads a tile of rows becomes: first all one-bit OTs, then two-bit ones, then words, then
/// tables by width, each kind from a new tile on. A table's OTs take as many tiles as it is wide.
#[derive(Clone, Copy)]
enum Kind {
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
pub(super) struct Dealer {
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

/// Sequences of bits that grow by tiles, wiped if they are not finished.
struct Planes(Vec<Vec<u64>>);

impl Planes {
    /// With room for `n` bits in each of `count` sequences; none of them moves while it grows.
    fn new(count: usize, n: u64) -> Planes {
        Planes((0..count).map(|_| Vec::with_capacity(2 * n.div_ceil(COLUMNS as u64) as usize)).collect())
    }

    /// A tile's part of every sequence.
    fn push(&mut self, tiles: impl IntoIterator<Item = [u64; 2]>) {
        self.0.iter_mut().zip(tiles).for_each(|(words, tile)| words.extend_from_slice(&tile));
    }

    /// Adds what `part` has.
    fn append(&mut self, part: &Planes) {
        self.0.iter_mut().zip(&part.0).for_each(|(words, part)| words.extend_from_slice(part));
    }

    /// The first `n` bits of each.
    fn finish(mut self, n: u64) -> Queue<Bits> {
        let words = std::mem::take(&mut self.0);
        Queue::new(words.into_iter().map(|words| Bits::from_words(words, n as usize)).collect())
    }
}

impl Drop for Planes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Sequences of words, likewise.
struct Words<const N: usize>([Vec<u64>; N]);

impl<const N: usize> Words<N> {
    fn new(n: u64) -> Words<N> {
        Words(std::array::from_fn(|_| Vec::with_capacity((n as usize).next_multiple_of(COLUMNS))))
    }

    fn push(&mut self, tiles: [&[u64; COLUMNS]; N]) {
        self.0.iter_mut().zip(tiles).for_each(|(words, tile)| words.extend_from_slice(tile));
    }

    fn append(&mut self, part: &Words<N>) {
        self.0.iter_mut().zip(&part.0).for_each(|(words, part)| words.extend_from_slice(part));
    }

    fn finish(mut self, n: u64) -> Queue<Vec<u64>> {
        let words = std::mem::replace(&mut self.0, [const { Vec::new() }; N]);
        Queue::new(
            words
                .into_iter()
                .map(|mut words| {
                    words.truncate(n as usize);
                    words
                })
                .collect(),
        )
    }
}

impl<const N: usize> Drop for Words<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Makes the receiver's pads of rows.
pub(super) struct ReceiverBuilder<'a> {
    hash: &'a RowHash,
    dealer: Dealer,
    joined: Joined,
    bits: Planes,
    pairs: Planes,
    tables: [Planes; 3],
    choices: Planes,
    words: Words<1>,
}

impl<'a> ReceiverBuilder<'a> {
    /// For this many OTs.
    pub fn new(ots: &Ots, hash: &'a RowHash) -> ReceiverBuilder<'a> {
        ReceiverBuilder::with(hash, Dealer { ots: *ots, next: 0 }, ots, Joined::new())
    }

    fn with(hash: &'a RowHash, dealer: Dealer, ots: &Ots, joined: Joined) -> ReceiverBuilder<'a> {
        ReceiverBuilder {
            hash,
            dealer,
            joined,
            bits: Planes::new(2, ots.bits),
            pairs: Planes::new(3, ots.pairs),
            tables: each_table(ots, |width, n| Planes::new(width + 2, n)),
            choices: Planes::new(1, ots.words),
            words: Words::new(ots.words),
        }
    }

    /// The pads, once every tile was pushed.
    pub fn finish(self) -> ReceiverPads {
        let ots = self.dealer.ots;
        let mut lens = ots.tables.into_iter();
        ReceiverPads {
            bits: self.bits.finish(ots.bits),
            pairs: self.pairs.finish(ots.pairs),
            tables: self.tables.map(|table| table.finish(lens.next().unwrap_or(0))),
            choices: self.choices.finish(ots.words),
            words: self.words.finish(ots.words),
        }
    }
}

impl Builder for ReceiverBuilder<'_> {
    fn begun(&self, dealer: Dealer, tiles: usize, joined: Joined) -> Self {
        ReceiverBuilder::with(self.hash, dealer, &dealer.coming(tiles), joined)
    }

    fn state(&mut self) -> (&mut Dealer, &mut Joined) {
        (&mut self.dealer, &mut self.joined)
    }

    fn push(&mut self, tile: u64, choices: u128, rows: &[u128; COLUMNS]) {
        let kind = self.dealer.next();
        if let Kind::Table { width, part } = kind {
            self.joined.push(part, choices, rows);
            if part + 1 == width {
                let hashes = self.hash.hash_tile(tile, &self.joined.rows, 0);
                let planes = self.joined.choices.iter().copied().chain([plane(&hashes, 0), plane(&hashes, 1)]);
                self.tables[width - TABLE_WIDTHS.start()].push(planes);
            }
            return;
        }
        let hashes = self.hash.hash_tile(tile, rows, 0);
        match kind {
            Kind::Bits => self.bits.push([halves(choices), plane(&hashes, 0)]),
            Kind::Pairs => self.pairs.push([halves(choices), plane(&hashes, 0), plane(&hashes, 1)]),
            _ => {
                self.choices.push([halves(choices)]);
                self.words.push([&hashes]);
            }
        }
    }

    fn append(&mut self, part: Self) {
        self.bits.append(&part.bits);
        self.pairs.append(&part.pairs);
        self.tables.iter_mut().zip(&part.tables).for_each(|(table, part)| table.append(part));
        self.choices.append(&part.choices);
        self.words.append(&part.words);
    }
}

/// Makes the sender's pads of rows.
pub(super) struct SenderBuilder<'a> {
    hash: &'a RowHash,
    delta: &'a u128,
    dealer: Dealer,
    joined: Joined,
    bits: Planes,
    pairs: Planes,
    tables: [Planes; 3],
    words: Words<2>,
}

impl<'a> SenderBuilder<'a> {
    /// For this many OTs with the correlation `delta`.
    pub fn new(ots: &Ots, hash: &'a RowHash, delta: &'a u128) -> SenderBuilder<'a> {
        SenderBuilder::with(hash, delta, Dealer { ots: *ots, next: 0 }, ots, Joined::new())
    }

    fn with(hash: &'a RowHash, delta: &'a u128, dealer: Dealer, ots: &Ots, joined: Joined) -> SenderBuilder<'a> {
        SenderBuilder {
            hash,
            delta,
            dealer,
            joined,
            bits: Planes::new(2, ots.bits),
            pairs: Planes::new(4, ots.pairs),
            tables: each_table(ots, |width, n| Planes::new(2 << width, n)),
            words: Words::new(ots.words),
        }
    }

    /// The pads, once every tile was pushed.
    pub fn finish(self) -> SenderPads {
        let ots = self.dealer.ots;
        let mut lens = ots.tables.into_iter();
        SenderPads {
            bits: self.bits.finish(ots.bits),
            pairs: self.pairs.finish(ots.pairs),
            tables: self.tables.map(|table| table.finish(lens.next().unwrap_or(0))),
            words: self.words.finish(ots.words),
        }
    }
}

impl Builder for SenderBuilder<'_> {
    fn begun(&self, dealer: Dealer, tiles: usize, joined: Joined) -> Self {
        SenderBuilder::with(self.hash, self.delta, dealer, &dealer.coming(tiles), joined)
    }

    fn state(&mut self) -> (&mut Dealer, &mut Joined) {
        (&mut self.dealer, &mut self.joined)
    }

    fn push(&mut self, tile: u64, _: u128, rows: &[u128; COLUMNS]) {
        let kind = self.dealer.next();
        if let Kind::Table { width, part } = kind {
            self.joined.push(part, 0, rows);
            if part + 1 == width {
                let pad = |choice| {
                    let offset = multiple(*self.delta, width, choice);
                    let hashes = self.hash.hash_tile(tile, &self.joined.rows, offset);
                    [plane(&hashes, 0), plane(&hashes, 1)]
                };
                self.tables[width - TABLE_WIDTHS.start()].push((0..1 << width).flat_map(pad));
            }
            return;
        }
        let [zeros, ones] = [0, *self.delta].map(|offset| self.hash.hash_tile(tile, rows, offset));
        let planes = |bit| {
            let (zero, one) = (plane(&zeros, bit), plane(&ones, bit));
            [zero, [zero[0] ^ one[0], zero[1] ^ one[1]]]
        };
        match kind {
            Kind::Bits => self.bits.push(planes(0)),
            Kind::Pairs => {
                let [[a, c], [b, d]] = [planes(0), planes(1)];
                self.pairs.push([a, b, c, d]);
            }
            _ => self.words.push([&zeros, &ones]),
        }
    }

    fn append(&mut self, part: Self) {
        self.bits.append(&part.bits);
        self.pairs.append(&part.pairs);
        self.tables.iter_mut().zip(&part.tables).for_each(|(table, part)| table.append(part));
        self.words.append(&part.words);
    }
}

/// One of each for every width of tables with its number.
fn each_table<T>(ots: &Ots, mut make: impl FnMut(usize, u64) -> T) -> [T; 3] {
    let mut lens = TABLE_WIDTHS.zip(ots.tables);
    std::array::from_fn(|_| {
        let (width, n) = lens.next().unwrap_or_default();
        make(width, n)
    })
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
