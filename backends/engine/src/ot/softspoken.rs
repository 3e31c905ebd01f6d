//! SoftSpokenOT (Roy, "SoftSpokenOT: Quieter OT Extension from Small-Field Silent VOLE in the
//! Minicrypt Model", CRYPTO 2022; IACR ePrint 2022/192) with malicious security.
//!
//! **Result.** The sender of the OTs has a fixed secret `delta` of 128 bits and for every row a
//! block `q`; the receiver has a random choice bit `u` and a block `t` with `q = t + u delta` (sums
//! mod 2). Hashing `q` and `q + delta` against `t` makes random OTs of them ([`super::hash`]).
//!
//! **Small-field VOLE** (section 3.1). `delta` is cut into `128/k` elements of `GF(2^k)`. For each
//! there is a punctured PRF ([`super::pprf`]) whose `2^k` leaves the receiver knows and of which
//! the sender lacks the one at its element `d`. With `r_x` the key stream of leaf `x`,
//! `u = sum r_x`, `v = sum x r_x` and `w = sum (x + d) r_x`, in which the unknown leaf has factor
//! zero, it holds that `w = v + u d`: `k` columns of bits each.
//!
//! **Subspace VOLE** (section 3.2) for the repetition code. The receiver sends `c_i = u_i + u_0`
//! for every tree `i` but the first; the sender adds `d_i c_i` to its columns. Then all trees have
//! the one choice vector `u_0`.
//!
//! **Consistency check** (section 4). A malicious receiver could send `c_i` that belong to
//! different choice vectors. With a universal hash `h` that is linear ([`ColumnHash`], one
//! polynomial over `GF(2^128)`), the receiver sends `h(u_0)` and a digest of the hashes of all its
//! 128 columns; the sender hashes its own 128 columns, adds `delta_j h(u_0)` to the one of column
//! `j` and compares digests. 128 rows of every batch are *sacrificed*: they enter the hash as its
//! mask, so that `h(u_0)` is uniform to the sender, and are then dropped. The key of `h` is the
//! digest of the transcript up to and including the corrections (Fiat-Shamir), so a batch is one
//! message. It must bind every correction, and be unpredictable before all of them are fixed:
//! BLAKE3 of their digest, keyed by the transcript so far, modelled as a random oracle. Only these
//! short hashes wait for each other; batches are expanded, digested and checked beside each other.
//!
//! **What a malicious receiver can do.** For two trees with different errors in their corrections
//! (the first tree, which is not corrected, has none), the errors hash to the same value for at
//! most 2^8 of the 2^128 keys. Over all pairs of trees a trial at finding a lucky transcript, which
//! costs the receiver one digest offline, succeeds with probability below 2^-111 for `k = 4`
//! (2^-107 for `k = 1`, which has the most trees). Otherwise the check passes only for a receiver
//! that has guessed `d_i`, all `k` bits of it, for every tree whose error differs from the one that
//! it compensates in `h(u_0)`: with probability `2^-(k m)` for `m` such trees. It then knows `k m`
//! bits of `delta`, the rest remaining uniform: the leakage that the functionality of section 4
//! grants and the hash tolerates (section 5). Failing, it is [`Error::PeerMisbehaved`], and the
//! caller must drop the state. The sender learns nothing.

use std::ops::Range;

use blake3::Hasher;
use fusion_catalogue::ot::{SoftSpoken, batches};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::base::first_block;
use super::builders::Tiles;
use crate::Error;
use crate::kernels::{COLUMNS, ColumnHash, Trees};
use crate::threads::part;

/// Tiles that a thread expands or hashes at least.
const FEWEST_TILES: usize = 32;
/// Memory of the batches that several threads work on at once; the fewer there are, the more often
/// all wait for the last. Tests have little to extend.
const GROUP_BYTES: usize = if cfg!(test) { 1 << 20 } else { 5 << 20 };

/// The batches in which `tiles` tiles are extended, by groups that are worked on at once.
pub(super) fn groups(params: SoftSpoken, tiles: u64) -> Vec<Vec<usize>> {
    let batches: Vec<usize> = batches(tiles).map(|tiles| tiles as usize).collect();
    let largest = batches.first().map_or(1, |tiles| (tiles + 1) * (COLUMNS + params.trees() + 1) * 16);
    let most = match rayon::current_num_threads() {
        1 => 1,
        _ => (1..).take_while(|n| n * largest <= GROUP_BYTES).last().unwrap_or(1),
    };
    batches.chunks(most).map(<[usize]>::to_vec).collect()
}

/// One batch of correlated rows, without the sacrificed ones.
pub(super) struct Batch<'a> {
    /// Number of its first tile within the direction.
    pub first_tile: u64,
    /// The blocks `t` or `q` by columns: 128 blocks for each tile, to be transposed.
    pub columns: &'a mut [u128],
    /// The receiver's choice bits, one block for each tile; the sender has none.
    pub choices: &'a [u128],
}

impl<'a> Batch<'a> {
    /// To be made pads of.
    pub fn tiles(self) -> Tiles<'a> {
        let Batch { first_tile: first, columns, choices } = self;
        Tiles { first, choices, blocks: columns.as_chunks_mut().0, are_columns: true }
    }
}

/// What both sides keep.
struct State {
    params: SoftSpoken,
    trees: Trees,
    chain: Chain,
    /// Of the last batches, sacrificed tiles included: their columns, and by tiles the sum of the
    /// leaves of every tree and the receiver's choices.
    columns: Zeroizing<Vec<u128>>,
    sums: Zeroizing<Vec<u128>>,
    choices: Zeroizing<Vec<u128>>,
}

/// How far the tiles and the transcript have come.
struct Chain {
    next_tile: u64,
    transcript: [u8; 32],
}

impl State {
    fn new(params: SoftSpoken, leaves: &[Zeroizing<Vec<u128>>], transcript: [u8; 32]) -> State {
        let [columns, sums, choices] = Default::default();
        State { params, trees: Trees::new(leaves), chain: Chain { next_tile: 0, transcript }, columns, sums, choices }
    }

    /// Makes room for a group's batches; their tiles.
    fn reserve(&mut self, group: &[usize]) -> usize {
        let tiles = tiles_of(group);
        let sums = tiles * self.params.trees();
        for (buffer, len) in [(&mut self.columns, tiles * COLUMNS), (&mut self.sums, sums), (&mut self.choices, tiles)]
        {
            if buffer.capacity() < len {
                // Growing in place could leave a copy that is not wiped.
                *buffer = Zeroizing::new(Vec::with_capacity(len));
            }
            // Every block that is read is overwritten.
            buffer.resize(len, 0);
        }
        tiles
    }

    /// The batches of a group whose keys were all drawn.
    fn batches(&mut self, group: &[usize], has_choices: bool) -> Vec<Batch<'_>> {
        let mut next_tile = self.chain.next_tile - tiles_of(group) as u64;
        let (mut columns, mut choices) = (self.columns.as_mut_slice(), self.choices.as_slice());
        let batch = |tiles: &usize| {
            let first_tile = next_tile;
            next_tile += *tiles as u64 + 1;
            let columns = &mut split_mut(&mut columns, (tiles + 1) * COLUMNS)[..tiles * COLUMNS];
            let choices = split(&mut choices, tiles + 1);
            Batch { first_tile, columns, choices: if has_choices { &choices[..*tiles] } else { &[] } }
        };
        group.iter().map(batch).collect()
    }
}

impl Chain {
    /// The keys of a group's column hashes, each with the places of its batch's tiles within the
    /// group.
    fn keys<'a>(
        &mut self,
        group: &[usize],
        corrections: impl IndexedParallelIterator<Item = &'a [u8]>,
    ) -> Vec<(ColumnHash, Range<usize>)> {
        let digests: Vec<blake3::Hash> = corrections.map(blake3::hash).collect();
        let mut end = 0;
        let key = |(tiles, digest): (&usize, blake3::Hash)| {
            let start = end;
            end += tiles + 1;
            (self.challenge(tiles + 1, digest), start..end)
        };
        group.iter().zip(digests).map(key).collect()
    }

    /// Counts a batch's tiles, appends the digest of its corrections to the transcript and derives
    /// the key of the column hash from it.
    fn challenge(&mut self, tiles: usize, corrections: blake3::Hash) -> ColumnHash {
        self.next_tile += tiles as u64;
        let mut hash = Hasher::new_keyed(&self.transcript);
        hash.update(b"fusion ot v3 softspoken check ").update(&self.next_tile.to_le_bytes());
        self.transcript = hash.update(corrections.as_bytes()).finalize().into();
        ColumnHash::new(first_block(&self.transcript))
    }
}

/// Tiles of a group's batches with the sacrificed ones.
fn tiles_of(group: &[usize]) -> usize {
    group.iter().map(|tiles| tiles + 1).sum()
}

/// Takes the first `n` off.
fn split<'a, T>(rest: &mut &'a [T], n: usize) -> &'a [T] {
    rest.split_off(..n).expect("as many as there are")
}

/// As [`split`], of what may be written.
fn split_mut<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    rest.split_off_mut(..n).expect("as many as there are")
}

/// The receiver of the OTs: sender of the trees, with all leaves.
pub(super) struct Receiver(State);

impl Receiver {
    /// From the leaves of every tree. `transcript` is a digest of how they came about, the same on
    /// both sides.
    pub fn new(params: SoftSpoken, leaves: &[Zeroizing<Vec<u128>>], transcript: [u8; 32]) -> Receiver {
        Receiver(State::new(params, leaves, transcript))
    }

    /// A digest of all corrections so far and of how the leaves came about, the same on both sides.
    pub fn transcript(&self) -> [u8; 32] {
        self.0.chain.transcript
    }

    /// Extends by a group of batches of so many tiles and writes their messages, each of
    /// [`SoftSpoken::batch_bytes`].
    ///
    /// # Panics
    /// If `message` is of another size.
    pub fn extend(&mut self, group: &[usize], mut message: &mut [u8]) -> Vec<Batch<'_>> {
        let tiles = self.0.reserve(group);
        let State { params, trees, chain, columns, sums, choices } = &mut self.0;
        let (n, part) = (params.trees(), part(tiles, FEWEST_TILES));
        let mut messages: Vec<_> = group
            .iter()
            .map(|tiles| {
                let corrections = split_mut(&mut message, (tiles + 1) * (n - 1) * 16);
                (corrections, split_mut(&mut message, CHECK_BYTES))
            })
            .collect();
        assert!(message.is_empty(), "the messages of a group");

        let mut pieces = Vec::new();
        let mut first = chain.next_tile;
        let (mut columns_left, mut sums_left) = (columns.as_mut_slice(), sums.as_mut_slice());
        let mut choices_left = choices.as_mut_slice();
        for ((corrections, _), tiles) in messages.iter_mut().zip(group.iter().map(|tiles| tiles + 1)) {
            let columns = split_mut(&mut columns_left, tiles * COLUMNS).chunks_mut(part * COLUMNS);
            let sums = split_mut(&mut sums_left, tiles * n).chunks_mut(part * n);
            let choices = split_mut(&mut choices_left, tiles).chunks_mut(part);
            let corrections = corrections.as_chunks_mut::<16>().0.chunks_mut(part * (n - 1));
            let firsts = (first..).step_by(part);
            pieces.extend(firsts.zip(columns).zip(sums).zip(choices).zip(corrections));
            first += tiles as u64;
        }
        pieces.into_par_iter().for_each(|((((first, columns), sums), choices), corrections)| {
            trees.expand(first, columns, sums);
            let by_tile = sums.chunks_exact(n).zip(corrections.chunks_exact_mut(n - 1));
            for ((sums, corrections), choice) in by_tile.zip(choices) {
                *choice = sums[0];
                for (correction, sum) in corrections.iter_mut().zip(&sums[1..]) {
                    *correction = (sum ^ sums[0]).to_le_bytes();
                }
            }
        });

        let keys = chain.keys(group, messages.par_iter().map(|(corrections, _)| &**corrections));
        keys.into_par_iter().zip(messages).for_each(|((key, tiles), (_, check))| {
            let (sacrifice, rest) = check.split_at_mut(16);
            sacrifice.copy_from_slice(&key.hash(choices[tiles.clone()].iter().copied()).to_le_bytes());
            let columns = &columns[tiles.start * COLUMNS..tiles.end * COLUMNS];
            rest.copy_from_slice(&digest(&key.hash_columns(columns, part)));
        });
        self.0.batches(group, true)
    }
}

/// The sender of the OTs: receiver of the trees, which lacks one leaf of each.
pub(super) struct Sender {
    state: State,
    delta: Zeroizing<u128>,
}

impl Sender {
    /// From `delta` and the leaves of every tree in the order of [`super::pprf::puncture`].
    pub fn new(params: SoftSpoken, delta: u128, leaves: &[Zeroizing<Vec<u128>>], transcript: [u8; 32]) -> Sender {
        Sender { state: State::new(params, leaves, transcript), delta: Zeroizing::new(delta) }
    }

    /// The correlation's secret.
    pub fn delta(&self) -> u128 {
        *self.delta
    }

    /// As [`Receiver::transcript`].
    pub fn transcript(&self) -> [u8; 32] {
        self.state.chain.transcript
    }

    /// Extends by a group of batches of so many tiles with their messages, each of
    /// [`SoftSpoken::batch_bytes`], and checks them all.
    pub fn extend(&mut self, group: &[usize], mut message: &[u8]) -> Result<Vec<Batch<'_>>, Error> {
        if message.len() != self.state.params.group_bytes(group) {
            return Err(wrong_size());
        }
        let tiles = self.state.reserve(group);
        let State { params, trees, chain, columns, sums, .. } = &mut self.state;
        let (n, k, part) = (params.trees(), params.k(), part(tiles, FEWEST_TILES));
        let messages: Vec<_> = group
            .iter()
            .map(|tiles| (split(&mut message, (tiles + 1) * (n - 1) * 16), split(&mut message, CHECK_BYTES)))
            .collect();
        let masks: Zeroizing<Vec<u128>> =
            Zeroizing::new((0..COLUMNS).map(|column| (*self.delta >> column & 1).wrapping_neg()).collect());

        let mut pieces = Vec::new();
        let mut first = chain.next_tile;
        let (mut columns_left, mut sums_left) = (columns.as_mut_slice(), sums.as_mut_slice());
        for ((corrections, _), tiles) in messages.iter().zip(group.iter().map(|tiles| tiles + 1)) {
            let columns = split_mut(&mut columns_left, tiles * COLUMNS).chunks_mut(part * COLUMNS);
            let sums = split_mut(&mut sums_left, tiles * n).chunks_mut(part * n);
            let corrections = corrections.as_chunks::<16>().0.chunks(part * (n - 1));
            pieces.extend((first..).step_by(part).zip(columns).zip(sums).zip(corrections));
            first += tiles as u64;
        }
        pieces.into_par_iter().for_each(|(((first, columns), sums), corrections)| {
            // The leaf at place 0 is unknown, but no column depends on it.
            trees.expand(first, columns, sums);
            for (columns, corrections) in columns.chunks_exact_mut(COLUMNS).zip(corrections.chunks_exact(n - 1)) {
                let corrected = columns[k..].chunks_exact_mut(k).zip(masks[k..].chunks_exact(k));
                for ((columns, masks), correction) in corrected.zip(corrections) {
                    let correction = u128::from_le_bytes(*correction);
                    columns.iter_mut().zip(masks).for_each(|(column, mask)| *column ^= correction & mask);
                }
            }
        });

        let keys = chain.keys(group, messages.par_iter().map(|(corrections, _)| *corrections));
        let passes = keys.into_par_iter().zip(messages).map(|((key, tiles), (_, check))| {
            let (sacrifice, expected) = check.split_first_chunk().expect("a check of its size");
            let sacrifice = u128::from_le_bytes(*sacrifice);
            let columns = &columns[tiles.start * COLUMNS..tiles.end * COLUMNS];
            let mut hashes = Zeroizing::new(key.hash_columns(columns, part));
            hashes.iter_mut().zip(masks.iter()).for_each(|(hash, mask)| *hash ^= sacrifice & mask);
            bool::from(digest(&hashes).as_slice().ct_eq(expected))
        });
        let passes = passes.reduce(|| true, |a, b| a & b);
        if !passes && !cfg!(fusion_ablate = "without-ot-check") {
            return Err(Error::PeerMisbehaved("an OT extension failed its consistency check".into()));
        }
        Ok(self.state.batches(group, false))
    }
}

/// Bytes of a batch's message behind its corrections: the hash of the choices, and a digest.
const CHECK_BYTES: usize = 16 + 32;

/// The blame of a peer whose message has not the bytes of its batches.
pub(super) fn wrong_size() -> Error {
    Error::PeerMisbehaved("an OT extension of the wrong size".into())
}

fn digest(hashes: &[u128]) -> [u8; 32] {
    let mut digest = Sha256::new_with_prefix(b"fusion ot v1 softspoken columns ");
    hashes.iter().for_each(|hash| digest.update(hash.to_le_bytes()));
    digest.finalize().into()
}

#[cfg(test)]
pub(super) mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    /// Both sides as honest base OTs and trees would leave them.
    pub fn deal(k: u8, seed: u64) -> (Receiver, Sender) {
        let params = SoftSpoken::new(k).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut block = || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let delta = block();
        let leaves: Vec<Zeroizing<Vec<u128>>> =
            (0..params.trees()).map(|_| Zeroizing::new((0..params.leaves()).map(|_| block()).collect())).collect();
        let puncture = |(tree, leaves): (usize, &Zeroizing<Vec<u128>>)| {
            let point = (delta >> (tree * params.k())) as usize & (params.leaves() - 1);
            Zeroizing::new((0..params.leaves()).map(|y| if y == 0 { 0 } else { leaves[point ^ y] }).collect())
        };
        let punctured: Vec<Zeroizing<Vec<u128>>> = leaves.iter().enumerate().map(puncture).collect();
        (Receiver::new(params, &leaves, [0; 32]), Sender::new(params, delta, &punctured, [0; 32]))
    }

    /// Room for the messages of a group.
    pub fn message(k: u8, group: &[usize]) -> Vec<u8> {
        let params = SoftSpoken::new(k).unwrap();
        vec![0; group.iter().map(|tiles| params.batch_bytes(*tiles as u64) as usize).sum()]
    }

    #[test]
    fn the_correlation_holds_in_every_row() {
        for k in [1, 2, 4, 8] {
            let (mut receiver, mut sender) = deal(k, 1);
            for group in [&[1][..], &[5, 40, 2], &[2]] {
                let mut message = message(k, group);
                let theirs = receiver.extend(group, &mut message);
                let delta = sender.delta();
                let ours = sender.extend(group, &message).unwrap();
                assert_eq!((ours.len(), theirs.len()), (group.len(), group.len()));
                for ((ours, theirs), tiles) in ours.into_iter().zip(theirs).zip(group) {
                    assert_eq!((ours.columns.len(), theirs.choices.len()), (tiles * COLUMNS, *tiles));
                    assert_eq!(ours.first_tile, theirs.first_tile);
                    for (place, (q, t)) in ours.columns.iter().zip(theirs.columns.iter()).enumerate() {
                        let delta = delta >> (place % COLUMNS) & 1;
                        assert_eq!(q ^ t, theirs.choices[place / COLUMNS] & delta.wrapping_neg());
                    }
                    assert!(theirs.choices.iter().all(|choices| (32..96).contains(&choices.count_ones())));
                }
            }
        }
    }

    #[test]
    fn both_sides_have_one_transcript_and_other_corrections_another() {
        let (mut receiver, mut sender) = deal(8, 9);
        let before = receiver.transcript();
        let mut message = message(8, &[3]);
        receiver.extend(&[3], &mut message);
        assert!(sender.extend(&[3], &message).is_ok());
        assert!(receiver.transcript() == sender.transcript() && receiver.transcript() != before);
        let (_, mut other) = deal(8, 9);
        message[7] ^= 1;
        assert!(other.extend(&[3], &message).is_err());
        assert_ne!(other.transcript(), sender.transcript());
    }

    #[test]
    fn any_flipped_bit_is_caught() {
        let group = [2, 3];
        let bytes = message(4, &group[..1]).len();
        // A choice bits' hash, a digest, and corrections: these also change the hash's key.
        let in_batch = |bytes| [bytes - 48, bytes - 33, bytes - 32, bytes - 1, 0, 10, bytes - 49];
        let second = in_batch(message(4, &group[1..]).len()).map(|byte| bytes + byte);
        for byte in in_batch(bytes).into_iter().chain(second) {
            let (mut receiver, mut sender) = deal(4, 2);
            let mut message = message(4, &group);
            receiver.extend(&group, &mut message);
            message[byte] ^= 4;
            assert!(matches!(sender.extend(&group, &message), Err(Error::PeerMisbehaved(_))), "byte {byte}");
        }
    }

    /// Expands one batch of so many tiles.
    fn expand(receiver: &mut Receiver, tiles: usize) {
        receiver.0.reserve(&[tiles - 1]);
        let State { trees, chain, columns, sums, .. } = &mut receiver.0;
        trees.expand(chain.next_tile, columns, sums);
    }

    /// Corrupts the correction of tree `tree` and makes the check consistent with the guess
    /// `element` of its part of delta.
    fn cheat(receiver: &mut Receiver, tree: usize, element: u128) -> Vec<u8> {
        let params = receiver.0.params;
        expand(receiver, 2);
        let (mut columns, sums) = (receiver.0.columns.clone(), receiver.0.sums.clone());
        let mut corrections = Vec::new();
        for (tile, sums) in sums.chunks_exact(params.trees()).enumerate() {
            for (index, sum) in sums.iter().enumerate().skip(1) {
                let error = if index == tree && tile == 0 { 0xdead } else { 0 };
                corrections.extend_from_slice(&(sum ^ sums[0] ^ error).to_le_bytes());
            }
        }
        for bit in 0..params.k() {
            // If the guess is right the sender's columns of this tree are off by the error exactly
            // where it says.
            columns[tree * params.k() + bit] ^= 0xdead & (element >> bit & 1).wrapping_neg();
        }
        let hash = receiver.0.chain.challenge(2, blake3::hash(&corrections));
        corrections.extend_from_slice(&hash.hash(sums.iter().step_by(params.trees()).copied()).to_le_bytes());
        corrections.extend_from_slice(&digest(&hash.hash_columns(&columns, 2)));
        corrections
    }

    #[test]
    fn an_inconsistent_receiver_passes_only_by_guessing_its_part_of_delta() {
        for (k, tree) in [(1, 5), (2, 5), (4, 5), (8, 5), (8, 15)] {
            let (_, sender) = deal(k, 3);
            let element = sender.delta() >> (tree * usize::from(k)) & ((1 << k) - 1);
            let passed: Vec<u128> = (0..1 << k)
                .filter(|guess| {
                    let (mut receiver, mut sender) = deal(k, 3);
                    sender.extend(&[1], &cheat(&mut receiver, tree, *guess)).is_ok()
                })
                .collect();
            assert_eq!(passed, [element], "of 2^{k} guesses exactly the right one");
        }
    }

    #[test]
    fn an_error_that_fits_the_key_of_other_corrections_is_caught() {
        let (mut receiver, _) = deal(4, 4);
        let mut message = message(4, &[1]);
        receiver.extend(&[1], &mut message);
        let corrections = message.len() - 48;
        let (mut receiver, mut sender) = deal(4, 4);
        expand(&mut receiver, 2);
        let hash = receiver.0.chain.challenge(2, blake3::hash(&message[..corrections]));
        // In one tree whose element of delta is not zero, an error that this key hashes to zero.
        let error = [0xdead, hash.hash([0xdead, 0].into_iter())];
        assert_eq!(hash.hash(error.into_iter()), 0);
        let tree = (1..32).find(|tree| sender.delta() >> (4 * tree) & 15 != 0).expect("delta is not zero");
        for (tile, error) in error.into_iter().enumerate() {
            let place = (tile * 31 + tree - 1) * 16;
            let bytes = message[place..place + 16].iter_mut().zip(error.to_le_bytes());
            bytes.for_each(|(byte, error)| *byte ^= error);
        }
        assert!(sender.extend(&[1], &message).is_err());
        let (mut receiver, mut sender) = deal(4, 4);
        expand(&mut receiver, 2);
        let (columns, sums) = (receiver.0.columns.clone(), receiver.0.sums.clone());
        let hash = receiver.0.chain.challenge(2, blake3::hash(&message[..corrections]));
        message.truncate(corrections);
        message.extend_from_slice(&hash.hash(sums.iter().step_by(32).copied()).to_le_bytes());
        message.extend_from_slice(&digest(&hash.hash_columns(&columns, 2)));
        assert!(sender.extend(&[1], &message).is_err());
    }

    #[test]
    fn nothing_comes_twice_in_a_direction() {
        let (mut receiver, _) = deal(4, 5);
        let (mut tile, mut blocks, mut keys) = (0, Vec::new(), Vec::new());
        for tiles in [1, 5, 1, 2] {
            let mut message = message(4, &[tiles]);
            let batch = receiver.extend(&[tiles], &mut message).pop().expect("a batch");
            assert!(batch.first_tile >= tile, "tile numbers are hash tweaks");
            tile = batch.first_tile + tiles as u64;
            blocks.extend(batch.columns.iter().chain(batch.choices.iter()).copied());
            blocks.extend(message.as_chunks::<16>().0.iter().map(|block| u128::from_le_bytes(*block)));
            keys.push(receiver.0.chain.transcript);
        }
        let count = (blocks.len(), keys.len());
        blocks.sort_unstable();
        blocks.dedup();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((blocks.len(), keys.len()), count);
    }

    #[test]
    fn over_random_deltas_cheating_passes_as_often_as_the_paper_says() {
        let passed = |k: u8| {
            let trial = |seed: u64| {
                let (mut receiver, mut sender) = deal(k, 1000 + seed);
                sender.extend(&[1], &cheat(&mut receiver, 7, 1)).is_ok()
            };
            (0..1024u64).filter(|seed| trial(*seed)).count()
        };
        // Expected 512 of 1024 with standard deviation 16, 256 with 13.9, 64 with 7.7, and 4 with
        // 2.0.
        assert!((448..576).contains(&passed(1)));
        assert!((200..312).contains(&passed(2)));
        assert!((33..95).contains(&passed(4)));
        assert!((0..13).contains(&passed(8)));
    }
}
