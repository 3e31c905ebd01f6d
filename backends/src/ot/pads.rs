//! What random OTs leave with each party, in compact streams that are consumed front to back, each pad once.

use fusion_catalogue::ot::Ots;

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
    words: [Vec<u64>; 2],
    words_taken: usize,
}

/// The receiver's pads.
#[derive(Default)]
pub struct ReceiverPads {
    bits: Stream<2>,
    pairs: Stream<3>,
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

    /// Of the next `n` word OTs: every `r_0` and every `r_1`, as words of 64 bits.
    pub fn words(&mut self, n: usize) -> [&[u64]; 2] {
        let taken = self.words_taken..self.words_taken + n;
        self.words_taken = taken.end;
        self.words.each_ref().map(|words| &words[taken.clone()])
    }

    /// Whether every pad was taken.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty() && self.pairs.is_empty() && self.words_taken == self.words[0].len()
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

    /// Of the next `n` word OTs: every choice `c` and every `r_c`, a word of 64 bits.
    pub fn words(&mut self, n: usize) -> (Bits, &[u64]) {
        let taken = self.words_taken..self.words_taken + n;
        self.words_taken = taken.end;
        let [choice] = self.choices.take(n);
        (choice, &self.words[taken])
    }

    /// Whether every pad was taken.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty() && self.pairs.is_empty() && self.words_taken == self.words.len()
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

/// Which pads a tile of rows becomes: first all one-bit OTs, then two-bit ones, then words, each from a new tile on.
enum Tile {
    Bits,
    Pairs,
    Words,
}

/// Deals tiles to the three kinds.
struct Dealer {
    ots: Ots,
    bits: u64,
    pairs: u64,
}

impl Dealer {
    fn new(ots: &Ots) -> Dealer {
        let tiles = |n: u64| n.div_ceil(COLUMNS as u64);
        Dealer { ots: *ots, bits: tiles(ots.bits), pairs: tiles(ots.pairs) }
    }

    fn next(&mut self) -> Tile {
        let kinds = [(&mut self.bits, Tile::Bits), (&mut self.pairs, Tile::Pairs)];
        for (left, tile) in kinds {
            if *left > 0 {
                *left -= 1;
                return tile;
            }
        }
        Tile::Words
    }
}

/// Collects the receiver's pads.
pub(super) struct ReceiverBuilder {
    dealer: Dealer,
    bits: [Vec<u64>; 2],
    pairs: [Vec<u64>; 3],
    choices: Vec<u64>,
    words: Vec<u64>,
}

impl ReceiverBuilder {
    /// For this many OTs.
    pub fn new(ots: &Ots) -> ReceiverBuilder {
        ReceiverBuilder {
            dealer: Dealer::new(ots),
            bits: Default::default(),
            pairs: Default::default(),
            choices: Vec::new(),
            words: Vec::with_capacity(ots.words as usize + COLUMNS),
        }
    }

    /// Adds a tile: its choice bits and the hashes of its rows.
    pub fn push(&mut self, choices: u128, hashes: &[u64; COLUMNS]) {
        let choices = [choices as u64, (choices >> 64) as u64];
        match self.dealer.next() {
            Tile::Bits => push_all(&mut self.bits, [choices, plane(hashes, 0)]),
            Tile::Pairs => push_all(&mut self.pairs, [choices, plane(hashes, 0), plane(hashes, 1)]),
            Tile::Words => {
                push_all(std::slice::from_mut(&mut self.choices), [choices]);
                self.words.extend_from_slice(hashes);
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
            choices: stream([self.choices], ots.words),
            words: self.words,
            words_taken: 0,
        }
    }
}

/// Collects the sender's pads.
pub(super) struct SenderBuilder {
    dealer: Dealer,
    bits: [Vec<u64>; 2],
    pairs: [Vec<u64>; 4],
    words: [Vec<u64>; 2],
}

impl SenderBuilder {
    /// For this many OTs.
    pub fn new(ots: &Ots) -> SenderBuilder {
        let words = || Vec::with_capacity(ots.words as usize + COLUMNS);
        SenderBuilder {
            dealer: Dealer::new(ots),
            bits: Default::default(),
            pairs: Default::default(),
            words: [words(), words()],
        }
    }

    /// Adds a tile: the hashes of its rows for choice 0 and for choice 1.
    pub fn push(&mut self, zeros: &[u64; COLUMNS], ones: &[u64; COLUMNS]) {
        let planes = |bit| {
            let (zero, one) = (plane(zeros, bit), plane(ones, bit));
            [zero, [zero[0] ^ one[0], zero[1] ^ one[1]]]
        };
        match self.dealer.next() {
            Tile::Bits => push_all(&mut self.bits, planes(0)),
            Tile::Pairs => {
                let [[a, c], [b, d]] = [planes(0), planes(1)];
                push_all(&mut self.pairs, [a, b, c, d]);
            }
            Tile::Words => {
                for (words, hashes) in self.words.iter_mut().zip([zeros, ones]) {
                    words.extend_from_slice(hashes);
                }
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
            words: self.words,
            words_taken: 0,
        }
    }
}

fn stream<const N: usize>(words: [Vec<u64>; N], len: u64) -> Stream<N> {
    Stream { bits: words.map(|words| Bits::from_words(words, len as usize)), taken: 0 }
}

fn push_all<const N: usize>(streams: &mut [Vec<u64>], planes: [[u64; 2]; N]) {
    for (stream, plane) in streams.iter_mut().zip(planes) {
        stream.extend_from_slice(&plane);
    }
}

/// Bit `bit` of every hash.
fn plane(hashes: &[u64; COLUMNS], bit: u8) -> [u64; 2] {
    let plane = kernels::plane(hashes, bit);
    [plane[0], plane[1]]
}
