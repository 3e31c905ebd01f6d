//! OTs of one among `2^w` with short pads, `w` up to 4: Kolesnikov and Kumaresan (CRYPTO 2013) with
//! the Walsh-Hadamard code.
//!
//! **Correlation.** The sender has a secret `s` of 256 bits and for every row
//! `q = t + (C(c) and s)`, of which the receiver has `t` and its choice `c`; `C(c)` is the codeword
//! of which bit `i` is the inner product of `c` and the low `w` bits `p` of `i`. Columns come as in
//! IKNP: of each the receiver knows two key streams, the sender the one its bit of `s` says; the
//! receiver sends their sum plus the codewords' bits. Columns with `p = 0` are the same for all
//! choices, and drop out.
//!
//! **Compression.** Rows are hashed after a linear map to 128 bits. Codewords of two choices differ
//! by a codeword; in the columns in which that one is set, `s` has 128 uniform bits, and the map is
//! a *bijection* on these for every codeword (`LINES`). So pads hash points whose unknown
//! differences are, each by itself, uniform blocks: the very condition under which rows of
//! SoftSpoken are hashed ([`super::hash`]).
//!
//! **Malicious parties.** There is no consistency check, because the receiver is always the client,
//! who is assumed to follow the protocol. A malicious *sender* sees nothing but sums with key
//! streams that it lacks: whatever it does, it learns nothing about a choice.

use fusion_catalogue::crypt_flow2::ot::{CODE_BITS, sent_positions};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::hash::RowHash;
use crate::Error;
use crate::bits::Bits;
use crate::kernels::{self, COLUMNS, Trees, transpose};
use crate::threads::part;

/// Tiles that are expanded at once.
const TILES: usize = 32;
/// Tiles that a thread expands at least.
const FEWEST_TILES: usize = 16;
/// Halves of a codeword, each of as many columns as a tile has.
#[allow(clippy::integer_division_remainder_used, reason = "of sizes, which are public")]
const HALVES: usize = CODE_BITS / COLUMNS;

/// For every width `w` and every `p` below `2^w`, the symbols of the compressed row that columns
/// `p` are added to. For each choice that is not 0, the `2^(w-1)` entries whose `p` has inner
/// product 1 with it are linearly independent. For `w = 4` the entries are `p` and its inverse in
/// `GF(16)` with `x^4 + x + 1`.
const LINES: [&[u8]; 5] = [
    &[],
    &[0, 1],
    &[0, 1, 3, 2],
    &[0, 1, 11, 2, 7, 4, 13, 8],
    &[0x00, 0x11, 0x92, 0xe3, 0xd4, 0xb5, 0x76, 0x67, 0xf8, 0x29, 0xca, 0x5b, 0xac, 0x4d, 0x3e, 0x8f],
];

/// The receiver's side.
pub struct Receiver(State);

/// The sender's side.
pub struct Sender {
    state: State,
    /// `s`, by halves.
    secret: Zeroizing<[u128; HALVES]>,
    /// For every width, the compressed `C(c) and s` of every choice `c`.
    offsets: [Zeroizing<Vec<u128>>; 5],
}

struct State {
    trees: [Trees; HALVES],
    hash: RowHash,
    next_tile: u64,
    columns: [Zeroizing<Vec<u128>>; HALVES],
    sums: [Zeroizing<Vec<u128>>; HALVES],
}

impl Receiver {
    /// From both keys of 256 base OTs.
    pub(super) fn new(keys: [&[[u128; 2]]; HALVES], hash: RowHash) -> Receiver {
        let trees = |keys: &[[u128; 2]]| -> Vec<_> { keys.iter().map(|pair| Zeroizing::new(pair.to_vec())).collect() };
        Receiver(State::new(keys.map(|keys| Trees::new(&trees(keys))), hash))
    }

    /// OTs with the given choices, bit by bit, lowest first: appends the receiver's message and
    /// returns both bits of the chosen pads.
    #[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
    pub fn receive(&mut self, choices: &[Bits], message: &mut Vec<u8>) -> [Bits; 2] {
        let (width, n) = (choices.len(), choices[0].len());
        let mut pads = [Vec::new(), Vec::new()];
        self.0.tiles(n, |tile, rows, columns, sums, hash| {
            // Of every p, the sum of the choice bits that it selects.
            let mut parities = [0u128; 1 << 4];
            for p in 1..1usize << width {
                let low = p.trailing_zeros() as usize;
                parities[p] = parities[p & (p - 1)] ^ block(choices[low].words(), tile.index);
            }
            for (half, sums) in sums.iter().enumerate() {
                for (column, sum) in sums.iter().enumerate() {
                    let p = (half * COLUMNS + column) % (1 << width);
                    if p != 0 {
                        message.extend_from_slice(&(sum ^ parities[p]).to_le_bytes()[..rows.div_ceil(8)]);
                    }
                }
            }
            let compressed = Zeroizing::new(compress(width, columns));
            push(&mut pads, &hash.hash_tile(tile.number, &compressed, 0));
        });
        pads.map(|words| Bits::from_words(words, n))
    }
}

impl Sender {
    /// From `secret` and the key of every base OT that is opposite to its bit.
    pub(super) fn new(secret: Zeroizing<[u128; HALVES]>, keys: [&[u128]; HALVES], hash: RowHash) -> Sender {
        // The key stream that is not known has factor zero.
        let trees = |keys: &[u128]| -> Vec<_> { keys.iter().map(|key| Zeroizing::new(vec![0, *key])).collect() };
        let state = State::new(keys.map(|keys| Trees::new(&trees(keys))), hash);
        let offsets = std::array::from_fn(|width| {
            let of = |choice: usize| offset(width, choice, &secret);
            Zeroizing::new(if width == 0 { Vec::new() } else { (0..1 << width).map(of).collect() })
        });
        Sender { state, secret, offsets }
    }

    /// `n` OTs of one among `2^width`: takes the receiver's part off the front of `message`, and
    /// returns both bits of every pad.
    #[allow(clippy::integer_division_remainder_used, reason = "of sizes, which are public")]
    pub fn send(&mut self, width: usize, n: usize, message: &mut &[u8]) -> Result<Vec<[Bits; 2]>, Error> {
        let short = || Error::PeerMisbehaved("an OT extension of the wrong size".into());
        let bytes = fusion_catalogue::crypt_flow2::ot::kkot_bytes(width, n) as usize;
        let (part, rest) = message.split_at_checked(bytes).ok_or_else(short)?;
        *message = rest;
        let mut pads = vec![[Vec::new(), Vec::new()]; 1 << width];
        let (secret, offsets) = (&self.secret, &self.offsets[width]);
        self.state.tiles(n, |tile, rows, columns, _, hash| {
            let bytes = rows.div_ceil(8);
            let start = tile.index * sent_positions(width) * (COLUMNS / 8);
            let mut corrections = part[start..].chunks_exact(bytes);
            for (half, columns) in columns.iter_mut().enumerate() {
                for (column, value) in columns.iter_mut().enumerate() {
                    if !(half * COLUMNS + column).is_multiple_of(1 << width) {
                        let mut block = [0; 16];
                        block[..bytes].copy_from_slice(corrections.next().unwrap_or(&[0; 16][..bytes]));
                        *value ^= u128::from_le_bytes(block) & (secret[half] >> column & 1).wrapping_neg();
                    }
                }
            }
            let compressed = Zeroizing::new(compress(width, columns));
            for (pads, offset) in pads.iter_mut().zip(offsets.iter()) {
                push(pads, &hash.hash_tile(tile.number, &compressed, *offset));
            }
        });
        Ok(pads.into_iter().map(|pads| pads.map(|words| Bits::from_words(words, n))).collect())
    }
}

/// Which tile: within a call, and of all.
#[derive(Clone, Copy)]
struct Tile {
    index: usize,
    number: u64,
}

/// One tile's columns, by halves.
type Columns<'a> = [&'a mut [u128]; HALVES];

impl State {
    fn new(trees: [Trees; HALVES], hash: RowHash) -> State {
        let buffer = || Zeroizing::new(vec![0; TILES * COLUMNS]);
        State { trees, hash, next_tile: 0, columns: [buffer(), buffer()], sums: [buffer(), buffer()] }
    }

    /// Expands as many tiles as `n` rows take and hands each over: its place, its rows, its columns
    /// and sums.
    fn tiles(&mut self, n: usize, mut each: impl FnMut(Tile, usize, &mut Columns, [&[u128]; HALVES], &RowHash)) {
        let total = n.div_ceil(COLUMNS);
        for first in (0..total).step_by(TILES) {
            let tiles = TILES.min(total - first);
            let buffers = self.columns.iter_mut().zip(&mut self.sums);
            for (trees, (columns, sums)) in self.trees.iter().zip(buffers) {
                let part = part(tiles, FEWEST_TILES);
                let parts = columns[..tiles * COLUMNS].par_chunks_mut(part * COLUMNS);
                let parts = parts.zip(sums[..tiles * COLUMNS].par_chunks_mut(part * COLUMNS)).enumerate();
                let first = self.next_tile;
                parts.for_each(|(place, (columns, sums))| trees.expand(first + (place * part) as u64, columns, sums));
            }
            let [left, right] = &mut self.columns;
            for index in 0..tiles {
                let tile = Tile { index: first + index, number: self.next_tile + index as u64 };
                let range = index * COLUMNS..(index + 1) * COLUMNS;
                let mut columns = [&mut left[range.clone()], &mut right[range.clone()]];
                let sums = self.sums.each_ref().map(|sums| &sums[range.clone()]);
                each(tile, COLUMNS.min(n - tile.index * COLUMNS), &mut columns, sums, &self.hash);
            }
            self.next_tile += tiles as u64;
        }
    }
}

/// The tile of compressed rows of 256 columns.
fn compress(width: usize, columns: &Columns) -> [u128; COLUMNS] {
    let mut compressed = [0; COLUMNS];
    for (index, column) in columns.iter().flat_map(|half| half.iter()).enumerate() {
        lines(width, index, |line| compressed[line] ^= column);
    }
    transpose(&mut compressed);
    compressed
}

/// The compressed row of `C(choice) and secret`.
#[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
fn offset(width: usize, choice: usize, secret: &[u128; HALVES]) -> u128 {
    let mut compressed = 0;
    for index in 0..CODE_BITS {
        let bit = secret[index / COLUMNS] >> (index % COLUMNS) & u128::from((choice & index).count_ones() & 1);
        lines(width, index, |line| compressed ^= (bit & 1) << line);
    }
    compressed
}

/// The columns of the compressed matrix that column `index` is added to.
#[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
fn lines(width: usize, index: usize, mut each: impl FnMut(usize)) {
    let symbol_bits = CODE_BITS >> width;
    let mut symbols = LINES[width][index % (1 << width)];
    while symbols != 0 {
        each(symbols.trailing_zeros() as usize * symbol_bits + (index >> width));
        symbols &= symbols - 1;
    }
}

/// Two words of a sequence of bits as one block; zeros past the end.
fn block(words: &[u64], index: usize) -> u128 {
    let word = |i: usize| u128::from(words.get(2 * index + i).copied().unwrap_or(0));
    word(0) | word(1) << 64
}

/// Appends the lowest two bits of every hash.
fn push(pads: &mut [Vec<u64>; 2], hashes: &[u64; COLUMNS]) {
    for (bit, words) in (0..).zip(pads) {
        let mut plane = [0; 2];
        kernels::plane(hashes, bit, &mut plane);
        words.extend_from_slice(&plane);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use chacha20::ChaCha20Rng;
    use fusion_catalogue::crypt_flow2::ot::kkot_bytes;
    use fusion_ir::Party;
    use rand_core::{Rng, SeedableRng};

    use super::super::base::Domain;
    use super::*;

    fn deal(seed: u64) -> (Receiver, Sender) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut block = || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let secret = Zeroizing::new([block(), block()]);
        let keys: Vec<Vec<[u128; 2]>> = (0..2).map(|_| (0..COLUMNS).map(|_| [block(), block()]).collect()).collect();
        let known = |half: usize| -> Vec<u128> {
            let side = |i: usize| 1 - (secret[half] >> i & 1) as usize;
            keys[half].iter().enumerate().map(|(i, pair)| pair[side(i)]).collect()
        };
        let hash = || RowHash::new(Domain { session_id: &[1; 32], receiver: Party::Client });
        let known = [known(0), known(1)];
        (Receiver::new([&keys[0], &keys[1]], hash()), Sender::new(secret.clone(), [&known[0], &known[1]], hash()))
    }

    #[test]
    fn compression_is_a_bijection_where_codewords_differ() {
        for (width, lines) in LINES.iter().enumerate().skip(1) {
            assert_eq!(lines.len(), 1 << width);
            for choice in 1..1usize << width {
                let mut basis: Vec<u8> = Vec::new();
                for p in (0..1usize << width).filter(|p| (p & choice).count_ones() % 2 == 1) {
                    let reduced = basis.iter().fold(lines[p], |value, known| value.min(value ^ known));
                    assert!(reduced != 0 && u16::from(reduced) < 1 << (1 << (width - 1)), "{width} {choice} {p}");
                    basis.push(reduced);
                    basis.sort_unstable_by(|a, b| b.cmp(a));
                }
                assert_eq!(basis.len(), 1 << (width - 1));
            }
        }
    }

    #[test]
    fn offsets_are_distinct_and_additive() {
        let (_, sender) = deal(1);
        for width in 1..=4 {
            let offsets = &sender.offsets[width];
            for a in 0..1usize << width {
                for b in 0..1usize << width {
                    assert_eq!(offsets[a] ^ offsets[b], offsets[a ^ b]);
                    assert_eq!(offsets[a] == offsets[b], a == b);
                }
            }
        }
    }

    #[test]
    fn the_receiver_gets_the_chosen_pad_and_only_it() {
        let (mut receiver, mut sender) = deal(2);
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for (width, n) in [(4, 300usize), (3, 128), (2, 5), (1, 1), (4, 5000), (3, 0)] {
            let words = |rng: &mut ChaCha20Rng| (0..n.div_ceil(64)).map(|_| rng.next_u64()).collect();
            let choices: Vec<Bits> = (0..width).map(|_| Bits::from_words(words(&mut rng), n)).collect();
            let mut message = vec![7];
            let chosen = receiver.receive(&choices, &mut message);
            assert_eq!(message.len() as u64, 1 + kkot_bytes(width, n));
            let mut rest = &message[1..];
            let pads = sender.send(width, n, &mut rest).unwrap();
            assert!(rest.is_empty());
            let mut equal = vec![0; 1 << width];
            for i in 0..n {
                let bit = |bits: &Bits| bits.words()[i / 64] >> (i % 64) & 1;
                let choice = choices.iter().rev().fold(0, |choice, bits| choice << 1 | bit(bits)) as usize;
                assert_eq!([bit(&chosen[0]), bit(&chosen[1])], pads[choice].each_ref().map(bit));
                for other in 0..1 << width {
                    equal[choice ^ other] +=
                        u64::from(pads[other].each_ref().map(bit) == [bit(&chosen[0]), bit(&chosen[1])]);
                }
            }
            // Every other pad agrees with the chosen one as often as chance has it.
            let quarter = n as f64 / 4.0;
            let close = |count: &u64| (*count as f64 - quarter).abs() <= 5.0 * (quarter * 0.75).sqrt();
            assert!(equal[1..].iter().all(close), "{width} {n} {equal:?}");
        }
    }

    #[test]
    fn a_short_message_is_refused() {
        let (_, mut sender) = deal(4);
        assert!(sender.send(4, 10, &mut &[0; 100][..]).is_err());
    }
}
