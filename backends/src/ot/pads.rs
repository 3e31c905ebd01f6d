//! What random OTs leave with each party, in compact streams that are consumed front to back, each pad once.

use fusion_catalogue::ot::Ots;
use zeroize::Zeroizing;

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

/// The sender's pads.
#[derive(Default)]
pub struct SenderPads {
    bits: Stream<2>,
    pairs: Stream<4>,
    quads: Stream<8>,
    words: [Vec<u64>; 2],
    words_taken: usize,
}

/// The receiver's pads.
#[derive(Default)]
pub struct ReceiverPads {
    bits: Stream<2>,
    pairs: Stream<3>,
    quads: Stream<4>,
    choices: Stream<1>,
    words: Vec<u64>,
    words_taken: usize,
}

impl SenderPads {
    /// Of the next `n` one-bit OTs: every `r_0` and every `r_0 + r_1`.
    pub fn bits(&mut self, n: usize) -> [Bits; 2] {
        self.bits.take(n)
    }

    /// Of the next `n` two-bit OTs: both bits of every `r_0`, both of every `r_0 + r_1`.
    pub fn pairs(&mut self, n: usize) -> [[Bits; 2]; 2] {
        let [a, b, c, d] = self.pairs.take(n);
        [[a, b], [c, d]]
    }

    /// Of the next `n` 1-of-4 OTs: both bits of every pad `r_0`, `r_1`, `r_2` and `r_3`.
    pub fn quads(&mut self, n: usize) -> [[Bits; 2]; 4] {
        let [a, b, c, d, e, f, g, h] = self.quads.take(n);
        [[a, b], [c, d], [e, f], [g, h]]
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
            && self.quads.is_empty()
            && self.words_taken == self.words[0].len()
    }
}

impl ReceiverPads {
    /// Of the next `n` one-bit OTs: every choice `c` and every `r_c`.
    pub fn bits(&mut self, n: usize) -> [Bits; 2] {
        self.bits.take(n)
    }

    /// Of the next `n` two-bit OTs: every choice `c` and both bits of every `r_c`.
    pub fn pairs(&mut self, n: usize) -> (Bits, [Bits; 2]) {
        let [choice, a, b] = self.pairs.take(n);
        (choice, [a, b])
    }

    /// Of the next `n` 1-of-4 OTs: both bits of every choice `c`, the lower first, and both of every `r_c`.
    pub fn quads(&mut self, n: usize) -> [[Bits; 2]; 2] {
        let [a, b, c, d] = self.quads.take(n);
        [[a, b], [c, d]]
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
        self.bits.is_empty() && self.pairs.is_empty() && self.quads.is_empty() && self.words_taken == self.words.len()
    }
}

/// Sequences of bits of one length that are consumed together.
struct Stream<const N: usize> {
    bits: [Bits; N],
    taken: usize,
}

impl<const N: usize> Default for Stream<N> {
    fn default() -> Stream<N> {
        Stream { bits: std::array::from_fn(|_| Bits::default()), taken: 0 }
    }
}

impl<const N: usize> Stream<N> {
    fn take(&mut self, n: usize) -> [Bits; N] {
        let start = self.taken;
        self.taken += n;
        self.bits.each_ref().map(|bits| bits.slice(start, n))
    }

    fn is_empty(&self) -> bool {
        self.taken == self.bits[0].len()
    }
}

/// Which pads a tile of rows becomes: first all one-bit OTs, then two-bit ones, then words, then pairs of tiles for 1-of-4 OTs,
/// each kind from a new tile on.
enum Kind {
    Bits,
    Pairs,
    Words,
    /// The first tile of 1-of-4 OTs, which waits for the second.
    First,
    Second,
}

/// Deals tiles to the kinds.
struct Dealer {
    ots: Ots,
    next: u64,
}

impl Dealer {
    fn next(&mut self) -> Kind {
        let tiles = |n: u64| n.div_ceil(COLUMNS as u64);
        let ots = &self.ots;
        let mut place = self.next;
        self.next += 1;
        for (tiles, kind) in
            [(tiles(ots.bits), Kind::Bits), (tiles(ots.pairs), Kind::Pairs), (tiles(ots.words), Kind::Words)]
        {
            match place.checked_sub(tiles) {
                None => return kind,
                Some(after) => place = after,
            }
        }
        if place.is_multiple_of(2) { Kind::First } else { Kind::Second }
    }
}

/// Multiplication by an element `w` of `GF(4)` with `w^2 = w + 1`, blocks being pairs of halves over it. With rows `q_i = t_i + c_i
/// delta` for `i = 0, 1`, it makes `q_0 + w q_1 = (t_0 + w t_1) + (c_0 + w c_1) delta`, one row with a choice of four.
fn twist(block: u128) -> u128 {
    let (low, high) = (block as u64, (block >> 64) as u64);
    u128::from(high) | u128::from(low ^ high) << 64
}

/// A tile that waits for its second: choices and rows.
struct Waiting {
    choices: u128,
    rows: Zeroizing<[u128; COLUMNS]>,
}

impl Waiting {
    fn new() -> Waiting {
        Waiting { choices: 0, rows: Zeroizing::new([0; COLUMNS]) }
    }

    fn put(&mut self, choices: u128, rows: &[u128; COLUMNS]) {
        self.choices = choices;
        *self.rows = *rows;
    }

    /// The rows joined with those of the second tile.
    fn join(&mut self, rows: &[u128; COLUMNS]) -> &[u128; COLUMNS] {
        self.rows.iter_mut().zip(rows).for_each(|(first, second)| *first ^= twist(*second));
        &self.rows
    }
}

/// Makes the receiver's pads of rows.
pub(super) struct ReceiverBuilder<'a> {
    hash: &'a RowHash,
    dealer: Dealer,
    waiting: Waiting,
    bits: [Vec<u64>; 2],
    pairs: [Vec<u64>; 3],
    quads: [Vec<u64>; 4],
    choices: [Vec<u64>; 1],
    words: Vec<u64>,
}

impl<'a> ReceiverBuilder<'a> {
    /// For this many OTs.
    pub fn new(ots: &Ots, hash: &'a RowHash) -> ReceiverBuilder<'a> {
        ReceiverBuilder {
            hash,
            dealer: Dealer { ots: *ots, next: 0 },
            waiting: Waiting::new(),
            bits: Default::default(),
            pairs: Default::default(),
            quads: Default::default(),
            choices: Default::default(),
            words: Vec::with_capacity(ots.words as usize + COLUMNS),
        }
    }

    /// Adds tile number `tile`: its choice bits and its rows `t`.
    pub fn push(&mut self, tile: u64, choices: u128, rows: &[u128; COLUMNS]) {
        let kind = self.dealer.next();
        let rows = match kind {
            Kind::First => return self.waiting.put(choices, rows),
            Kind::Second => self.waiting.join(rows),
            _ => rows,
        };
        let hashes = self.hash.hash_tile(tile, rows, 0);
        match kind {
            Kind::Bits => push_all(&mut self.bits, [halves(choices), plane(&hashes, 0)]),
            Kind::Pairs => push_all(&mut self.pairs, [halves(choices), plane(&hashes, 0), plane(&hashes, 1)]),
            Kind::Words => {
                push_all(&mut self.choices, [halves(choices)]);
                self.words.extend_from_slice(&hashes);
            }
            Kind::First | Kind::Second => {
                let choices = [halves(self.waiting.choices), halves(choices)];
                push_all(&mut self.quads, [choices[0], choices[1], plane(&hashes, 0), plane(&hashes, 1)]);
            }
        }
    }

    /// The pads, once every tile was pushed.
    pub fn finish(mut self) -> ReceiverPads {
        let ots = self.dealer.ots;
        self.words.truncate(ots.words as usize);
        ReceiverPads {
            bits: stream(self.bits, ots.bits),
            pairs: stream(self.pairs, ots.pairs),
            quads: stream(self.quads, ots.quads),
            choices: stream(self.choices, ots.words),
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
    waiting: Waiting,
    bits: [Vec<u64>; 2],
    pairs: [Vec<u64>; 4],
    quads: [Vec<u64>; 8],
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
            waiting: Waiting::new(),
            bits: Default::default(),
            pairs: Default::default(),
            quads: Default::default(),
            words: [words(), words()],
        }
    }

    /// Adds tile number `tile`: its rows `q`.
    pub fn push(&mut self, tile: u64, rows: &[u128; COLUMNS]) {
        let kind = self.dealer.next();
        let rows = match kind {
            Kind::First => return self.waiting.put(0, rows),
            Kind::Second => self.waiting.join(rows),
            _ => rows,
        };
        let delta = *self.delta;
        let [zeros, ones] = [0, delta].map(|offset| self.hash.hash_tile(tile, rows, offset));
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
            Kind::Words => {
                for (words, hashes) in self.words.iter_mut().zip([zeros, ones]) {
                    words.extend_from_slice(&hashes);
                }
            }
            Kind::First | Kind::Second => {
                let others = [twist(delta), delta ^ twist(delta)];
                let [twos, threes] = others.map(|offset| self.hash.hash_tile(tile, rows, offset));
                let planes = [zeros, ones, twos, threes].map(|hashes| [plane(&hashes, 0), plane(&hashes, 1)]);
                let [[a, b], [c, d], [e, f], [g, h]] = planes;
                push_all(&mut self.quads, [a, b, c, d, e, f, g, h]);
            }
        }
    }

    /// The pads, once every tile was pushed.
    pub fn finish(mut self) -> SenderPads {
        let ots = self.dealer.ots;
        self.words.iter_mut().for_each(|words| words.truncate(ots.words as usize));
        SenderPads {
            bits: stream(self.bits, ots.bits),
            pairs: stream(self.pairs, ots.pairs),
            quads: stream(self.quads, ots.quads),
            words: self.words,
            words_taken: 0,
        }
    }
}

fn stream<const N: usize>(words: [Vec<u64>; N], len: u64) -> Stream<N> {
    Stream { bits: words.map(|words| Bits::from_words(words, len as usize)), taken: 0 }
}

fn push_all<const N: usize>(streams: &mut [Vec<u64>; N], planes: [[u64; 2]; N]) {
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
    fn the_twist_has_order_three_and_fixes_nothing() {
        for block in [1, 1 << 64, 0xdead << 60, u128::MAX] {
            assert_eq!(twist(twist(block)), twist(block) ^ block);
            assert_eq!(twist(twist(twist(block))), block);
            assert_ne!(twist(block), block);
        }
    }
}
