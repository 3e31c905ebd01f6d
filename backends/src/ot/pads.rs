//! What random OTs leave with each party, in compact streams that are consumed front to back, each pad once.

use fusion_catalogue::ot::{Ots, TABLE_WIDTHS};
use zeroize::{Zeroize, Zeroizing};

use super::hash::RowHash;
use crate::bits::Bits;
use crate::kernels::{self, COLUMNS};

/// One party's pads of both directions.
#[derive(Default)]
pub struct Pads {
    /// Of the OTs that this party sends.
    pub sending: SenderPads,
    /// Of the OTs that this party receives.
    pub receiving: ReceiverPads,
}

impl Pads {
    /// Adds `more`, to be consumed after these. Of both nothing may have been taken yet.
    pub fn append(&mut self, more: Pads) {
        let Pads { sending, receiving } = more;
        self.sending.append(sending);
        self.receiving.append(receiving);
    }

    /// The memory that they take up.
    pub(super) fn bytes(&self) -> usize {
        let (sending, receiving) = (&self.sending, &self.receiving);
        let sent = [&sending.bits, &sending.pairs].into_iter().chain(&sending.tables);
        let received = [&receiving.bits, &receiving.pairs, &receiving.choices].into_iter().chain(&receiving.tables);
        let words = sending.words.iter().chain([&receiving.words]).map(|words| 8 * words.len());
        sent.chain(received).map(Stream::bytes).sum::<usize>() + words.sum::<usize>()
    }

    /// Overwrites them.
    pub(super) fn wipe(&mut self) {
        let (sending, receiving) = (&mut self.sending, &mut self.receiving);
        let sent = [&mut sending.bits, &mut sending.pairs].into_iter().chain(&mut sending.tables);
        let received = [&mut receiving.bits, &mut receiving.pairs, &mut receiving.choices];
        sent.chain(received)
            .chain(&mut receiving.tables)
            .for_each(|stream| stream.bits.iter_mut().for_each(Bits::wipe));
        sending.words.iter_mut().chain([&mut receiving.words]).for_each(Zeroize::zeroize);
    }
}

/// The sender's pads.
#[derive(Default)]
pub struct SenderPads {
    bits: Stream,
    pairs: Stream,
    tables: [Stream; 3],
    words: [Vec<u64>; 2],
    words_taken: usize,
}

/// The receiver's pads.
#[derive(Default)]
pub struct ReceiverPads {
    bits: Stream,
    pairs: Stream,
    tables: [Stream; 3],
    choices: Stream,
    words: Vec<u64>,
    words_taken: usize,
}

impl SenderPads {
    fn append(&mut self, more: SenderPads) {
        self.bits.append(more.bits);
        self.pairs.append(more.pairs);
        self.tables.iter_mut().zip(more.tables).for_each(|(table, more)| table.append(more));
        self.words.iter_mut().zip(more.words).for_each(|(words, more)| append(words, more));
    }

    /// Of the next `n` one-bit OTs: every `r_0` and every `r_0 + r_1`.
    pub fn bits(&mut self, n: usize) -> [Bits; 2] {
        self.bits.take(n)
    }

    /// Of the next `n` two-bit OTs: both bits of every `r_0`, both of every `r_0 + r_1`.
    pub fn pairs(&mut self, n: usize) -> [[Bits; 2]; 2] {
        let [a, b, c, d] = self.pairs.take(n);
        [[a, b], [c, d]]
    }

    /// Of the next `n` 1-of-`2^width` OTs: both bits of every pad `r_0`, `r_1` and so on.
    ///
    /// # Panics
    /// If the width is none of [`TABLE_WIDTHS`].
    pub fn tables(&mut self, width: usize, n: usize) -> Vec<[Bits; 2]> {
        let pads = self.tables[width - TABLE_WIDTHS.start()].take_all(n);
        pads.as_chunks().0.to_vec()
    }

    /// Of the next `n` word OTs: every `r_0` and every `r_1`, as words of 64 bits.
    pub fn words(&mut self, n: usize) -> [&[u64]; 2] {
        let taken = self.words_taken..self.words_taken + n;
        self.words_taken = taken.end;
        self.words.each_ref().map(|words| &words[taken.clone()])
    }

    /// Whether every pad was taken.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
            && self.pairs.is_empty()
            && self.tables.iter().all(Stream::is_empty)
            && self.words_taken == self.words[0].len()
    }
}

impl ReceiverPads {
    fn append(&mut self, more: ReceiverPads) {
        self.bits.append(more.bits);
        self.pairs.append(more.pairs);
        self.tables.iter_mut().zip(more.tables).for_each(|(table, more)| table.append(more));
        self.choices.append(more.choices);
        append(&mut self.words, more.words);
    }

    /// Of the next `n` one-bit OTs: every choice `c` and every `r_c`.
    pub fn bits(&mut self, n: usize) -> [Bits; 2] {
        self.bits.take(n)
    }

    /// Of the next `n` two-bit OTs: every choice `c` and both bits of every `r_c`.
    pub fn pairs(&mut self, n: usize) -> (Bits, [Bits; 2]) {
        let [choice, a, b] = self.pairs.take(n);
        (choice, [a, b])
    }

    /// Of the next `n` 1-of-`2^width` OTs: the bits of every choice `c`, lowest first, and both bits of every `r_c`.
    ///
    /// # Panics
    /// If the width is none of [`TABLE_WIDTHS`].
    pub fn tables(&mut self, width: usize, n: usize) -> (Vec<Bits>, Vec<Bits>) {
        let mut choices = self.tables[width - TABLE_WIDTHS.start()].take_all(n);
        let pad = choices.split_off(width);
        (choices, pad)
    }

    /// Of the next `n` word OTs: every choice `c` and every `r_c`, a word of 64 bits.
    pub fn words(&mut self, n: usize) -> (Bits, &[u64]) {
        let taken = self.words_taken..self.words_taken + n;
        self.words_taken = taken.end;
        let [choice] = self.choices.take(n);
        (choice, &self.words[taken])
    }

    /// Whether every pad was taken.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
            && self.pairs.is_empty()
            && self.tables.iter().all(Stream::is_empty)
            && self.words_taken == self.words.len()
    }
}

/// Sequences of bits of one length that are consumed together.
#[derive(Default)]
struct Stream {
    bits: Vec<Bits>,
    taken: usize,
}

impl Stream {
    fn new(words: Vec<Vec<u64>>, len: u64) -> Stream {
        Stream { bits: words.into_iter().map(|words| Bits::from_words(words, len as usize)).collect(), taken: 0 }
    }

    fn append(&mut self, more: Stream) {
        debug_assert_eq!((self.taken, more.taken), (0, 0));
        if self.bits.iter().all(Bits::is_empty) {
            *self = more;
        } else {
            self.bits.iter_mut().zip(&more.bits).for_each(|(bits, more)| bits.extend(more));
        }
    }

    fn take_all(&mut self, n: usize) -> Vec<Bits> {
        let start = self.taken;
        self.taken += n;
        self.bits.iter().map(|bits| bits.slice(start, n)).collect()
    }

    /// As [`Stream::take_all`] of `N` sequences.
    fn take<const N: usize>(&mut self, n: usize) -> [Bits; N] {
        let mut bits = self.take_all(n).into_iter();
        std::array::from_fn(|_| bits.next().unwrap_or_default())
    }

    fn is_empty(&self) -> bool {
        self.bits.iter().all(|bits| bits.len() == self.taken)
    }

    fn bytes(&self) -> usize {
        self.bits.iter().map(|bits| bits.len().div_ceil(64) * 8).sum()
    }
}

fn append(words: &mut Vec<u64>, more: Vec<u64>) {
    if words.is_empty() {
        *words = more;
    } else {
        words.extend(more);
    }
}

/// Which pads a tile of rows becomes: first all one-bit OTs, then two-bit ones, then words, then tables by width, each kind from a
/// new tile on. A table's OTs take as many tiles as it is wide.
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
struct Dealer {
    ots: Ots,
    next: u64,
}

impl Dealer {
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
}

/// Multiplication by `x` in `GF(2^128)` modulo `x^128 + x^7 + x^2 + x + 1`. Rows `q_i = t_i + c_i delta` make `sum x^i q_i =
/// sum x^i t_i + (sum c_i x^i) delta`, one row with a choice of many.
fn double(block: u128) -> u128 {
    block << 1 ^ 0x87 & (block >> 127).wrapping_neg()
}

/// The tiles of a table that were pushed.
struct Joined {
    choices: Vec<[u64; 2]>,
    rows: Zeroizing<[u128; COLUMNS]>,
}

impl Joined {
    fn new() -> Joined {
        Joined { choices: Vec::new(), rows: Zeroizing::new([0; COLUMNS]) }
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

/// The difference of the rows for choice `choice` and for choice 0: its bit `part` belongs to that tile of [`Joined::push`].
fn multiple(delta: u128, width: usize, choice: usize) -> u128 {
    (0..width).fold(0, |sum, part| double(sum) ^ delta & ((choice >> part & 1) as u128).wrapping_neg())
}

/// Streams of words to be filled.
fn streams(count: usize) -> Vec<Vec<u64>> {
    vec![Vec::new(); count]
}

/// Makes the receiver's pads of rows.
pub(super) struct ReceiverBuilder<'a> {
    hash: &'a RowHash,
    dealer: Dealer,
    joined: Joined,
    bits: Vec<Vec<u64>>,
    pairs: Vec<Vec<u64>>,
    tables: [Vec<Vec<u64>>; 3],
    choices: Vec<Vec<u64>>,
    words: Vec<u64>,
}

impl<'a> ReceiverBuilder<'a> {
    /// For this many OTs.
    pub fn new(ots: &Ots, hash: &'a RowHash) -> ReceiverBuilder<'a> {
        ReceiverBuilder {
            hash,
            dealer: Dealer { ots: *ots, next: 0 },
            joined: Joined::new(),
            bits: streams(2),
            pairs: streams(3),
            tables: [2, 3, 4].map(|width| streams(width + 2)),
            choices: streams(1),
            words: Vec::with_capacity(ots.words as usize + COLUMNS),
        }
    }

    /// Adds tile number `tile`: its choice bits and its rows `t`.
    pub fn push(&mut self, tile: u64, choices: u128, rows: &[u128; COLUMNS]) {
        let kind = self.dealer.next();
        if let Kind::Table { width, part } = kind {
            self.joined.push(part, choices, rows);
            if part + 1 == width {
                let hashes = self.hash.hash_tile(tile, &self.joined.rows, 0);
                let planes = self.joined.choices.iter().copied().chain([plane(&hashes, 0), plane(&hashes, 1)]);
                push_all(&mut self.tables[width - TABLE_WIDTHS.start()], planes);
            }
            return;
        }
        let hashes = self.hash.hash_tile(tile, rows, 0);
        match kind {
            Kind::Bits => push_all(&mut self.bits, [halves(choices), plane(&hashes, 0)]),
            Kind::Pairs => push_all(&mut self.pairs, [halves(choices), plane(&hashes, 0), plane(&hashes, 1)]),
            _ => {
                push_all(&mut self.choices, [halves(choices)]);
                self.words.extend_from_slice(&hashes);
            }
        }
    }

    /// The pads, once every tile was pushed.
    pub fn finish(mut self) -> ReceiverPads {
        let ots = self.dealer.ots;
        self.words.truncate(ots.words as usize);
        let mut lens = ots.tables.into_iter();
        ReceiverPads {
            bits: Stream::new(self.bits, ots.bits),
            pairs: Stream::new(self.pairs, ots.pairs),
            tables: self.tables.map(|table| Stream::new(table, lens.next().unwrap_or(0))),
            choices: Stream::new(self.choices, ots.words),
            words: self.words,
            words_taken: 0,
        }
    }
}

/// Makes the sender's pads of rows.
pub(super) struct SenderBuilder<'a> {
    hash: &'a RowHash,
    delta: Zeroizing<u128>,
    dealer: Dealer,
    joined: Joined,
    bits: Vec<Vec<u64>>,
    pairs: Vec<Vec<u64>>,
    tables: [Vec<Vec<u64>>; 3],
    words: [Vec<u64>; 2],
}

impl<'a> SenderBuilder<'a> {
    /// For this many OTs with the correlation `delta`.
    pub fn new(ots: &Ots, hash: &'a RowHash, delta: u128) -> SenderBuilder<'a> {
        let words = || Vec::with_capacity(ots.words as usize + COLUMNS);
        SenderBuilder {
            hash,
            delta: Zeroizing::new(delta),
            dealer: Dealer { ots: *ots, next: 0 },
            joined: Joined::new(),
            bits: streams(2),
            pairs: streams(4),
            tables: [2, 3, 4].map(|width| streams(2 << width)),
            words: [words(), words()],
        }
    }

    /// Adds tile number `tile`: its rows `q`.
    pub fn push(&mut self, tile: u64, rows: &[u128; COLUMNS]) {
        let kind = self.dealer.next();
        if let Kind::Table { width, part } = kind {
            self.joined.push(part, 0, rows);
            if part + 1 == width {
                let pad = |choice| {
                    let offset = multiple(*self.delta, width, choice);
                    let hashes = self.hash.hash_tile(tile, &self.joined.rows, offset);
                    [plane(&hashes, 0), plane(&hashes, 1)]
                };
                push_all(&mut self.tables[width - TABLE_WIDTHS.start()], (0..1 << width).flat_map(pad));
            }
            return;
        }
        let [zeros, ones] = [0, *self.delta].map(|offset| self.hash.hash_tile(tile, rows, offset));
        let planes = |bit| {
            let (zero, one) = (plane(&zeros, bit), plane(&ones, bit));
            [zero, [zero[0] ^ one[0], zero[1] ^ one[1]]]
        };
        match kind {
            Kind::Bits => push_all(&mut self.bits, planes(0)),
            Kind::Pairs => {
                let [[a, c], [b, d]] = [planes(0), planes(1)];
                push_all(&mut self.pairs, [a, b, c, d]);
            }
            _ => {
                for (words, hashes) in self.words.iter_mut().zip([zeros, ones]) {
                    words.extend_from_slice(&hashes);
                }
            }
        }
    }

    /// The pads, once every tile was pushed.
    pub fn finish(mut self) -> SenderPads {
        let ots = self.dealer.ots;
        self.words.iter_mut().for_each(|words| words.truncate(ots.words as usize));
        let mut lens = ots.tables.into_iter();
        SenderPads {
            bits: Stream::new(self.bits, ots.bits),
            pairs: Stream::new(self.pairs, ots.pairs),
            tables: self.tables.map(|table| Stream::new(table, lens.next().unwrap_or(0))),
            words: self.words,
            words_taken: 0,
        }
    }
}

fn push_all(streams: &mut [Vec<u64>], planes: impl IntoIterator<Item = [u64; 2]>) {
    for (stream, plane) in streams.iter_mut().zip(planes) {
        stream.extend_from_slice(&plane);
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
