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
//! BLAKE3 keyed by the transcript so far, modelled as a random oracle.
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

use blake3::Hasher;
use fusion_catalogue::ot::SoftSpoken;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::base::first_block;
use crate::Error;
use crate::kernels::{COLUMNS, ColumnHash, Trees};
use crate::threads::part;

/// Tiles that a thread corrects at least.
const FEWEST_TILES: usize = 32;

/// One batch of correlated rows, without the sacrificed ones.
pub(super) struct Batch<'a> {
    /// Number of its first tile within the direction.
    pub first_tile: u64,
    /// The blocks `t` or `q` by columns: 128 blocks for each tile, to be transposed.
    pub columns: &'a mut [u128],
    /// The receiver's choice bits, one block for each tile; the sender has none.
    pub choices: Zeroizing<Vec<u128>>,
}

/// What both sides keep.
struct State {
    params: SoftSpoken,
    trees: Trees,
    next_tile: u64,
    transcript: [u8; 32],
    /// Of the last batch: its columns, and by tiles the sum of the leaves of every tree.
    columns: Zeroizing<Vec<u128>>,
    sums: Zeroizing<Vec<u128>>,
}

impl State {
    fn new(params: SoftSpoken, leaves: &[Zeroizing<Vec<u128>>], transcript: [u8; 32]) -> State {
        let (columns, sums) = Default::default();
        State { params, trees: Trees::new(leaves), next_tile: 0, transcript, columns, sums }
    }

    /// Expands every tree over `tiles` tiles, into `columns` and `sums`.
    fn expand(&mut self, tiles: usize) {
        for (buffer, len) in [(&mut self.columns, tiles * COLUMNS), (&mut self.sums, tiles * self.params.trees())] {
            if buffer.capacity() < len {
                // Growing in place could leave a copy that is not wiped.
                *buffer = Zeroizing::new(Vec::with_capacity(len));
            }
            // Every block is overwritten.
            buffer.resize(len, 0);
        }
        self.trees.expand(self.next_tile, &mut self.columns, &mut self.sums);
        self.next_tile += tiles as u64;
    }

    /// Appends `corrections` to the transcript and derives the key of the column hash from it.
    fn challenge(&mut self, corrections: &[u8]) -> ColumnHash {
        let mut hash = Hasher::new_keyed(&self.transcript);
        hash.update(b"fusion ot v2 softspoken check ").update(&self.next_tile.to_le_bytes());
        match rayon::current_num_threads() {
            1 => hash.update(corrections),
            _ => hash.update_rayon(corrections),
        };
        self.transcript = hash.finalize().into();
        ColumnHash::new(first_block(&self.transcript))
    }
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
        self.0.transcript
    }

    /// Extends by `tiles` tiles and appends the batch's message, of [`SoftSpoken::batch_bytes`], to
    /// `message`.
    pub fn extend(&mut self, tiles: usize, message: &mut Vec<u8>) -> Batch<'_> {
        let first_tile = self.0.next_tile;
        self.0.expand(tiles + 1);
        let start = message.len();
        let trees = self.0.params.trees();
        message.resize(start + (trees - 1) * 16 * (tiles + 1), 0);
        let mut choices = Zeroizing::new(vec![0; tiles + 1]);
        let part = part(tiles + 1, FEWEST_TILES);
        let corrections = message[start..].as_chunks_mut::<16>().0.par_chunks_mut(part * (trees - 1));
        let by_part = self.0.sums.par_chunks(part * trees).zip(corrections).zip(choices.par_chunks_mut(part));
        by_part.for_each(|((sums, corrections), choices)| {
            let by_tile = sums.chunks_exact(trees).zip(corrections.chunks_exact_mut(trees - 1));
            for ((sums, corrections), choice) in by_tile.zip(choices) {
                *choice = sums[0];
                for (correction, sum) in corrections.iter_mut().zip(&sums[1..]) {
                    *correction = (sum ^ sums[0]).to_le_bytes();
                }
            }
        });
        let hash = self.0.challenge(&message[start..]);
        message.extend_from_slice(&hash.hash(choices.iter().copied()).to_le_bytes());
        message.extend_from_slice(&digest(&hash.hash_columns(&self.0.columns)));
        choices.truncate(tiles);
        Batch { first_tile, columns: &mut self.0.columns[..tiles * COLUMNS], choices }
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
        self.state.transcript
    }

    /// Extends by `tiles` tiles with the batch's message, of [`SoftSpoken::batch_bytes`], and
    /// checks it.
    pub fn extend(&mut self, tiles: usize, message: &[u8]) -> Result<Batch<'_>, Error> {
        let params = self.state.params;
        let first_tile = self.state.next_tile;
        let wrong_size = || Error::PeerMisbehaved("an OT extension of the wrong size".into());
        let corrections_bytes = (params.trees() - 1) * 16 * (tiles + 1);
        let (corrections, check) = message.split_at_checked(corrections_bytes).ok_or_else(wrong_size)?;
        let (sacrifice, expected) = check.split_first_chunk::<16>().ok_or_else(wrong_size)?;

        // The leaf at place 0 is unknown, but no column depends on it.
        self.state.expand(tiles + 1);
        let masks: Zeroizing<Vec<u128>> =
            Zeroizing::new((0..COLUMNS).map(|column| (*self.delta >> column & 1).wrapping_neg()).collect());
        let k = params.k();
        let (corrected, part) = (params.trees() - 1, part(tiles + 1, FEWEST_TILES));
        let by_part = corrections.as_chunks::<16>().0.par_chunks(part * corrected);
        self.state.columns.par_chunks_mut(part * COLUMNS).zip(by_part).for_each(|(columns, corrections)| {
            let by_tile = columns.chunks_exact_mut(COLUMNS).zip(corrections.chunks_exact(corrected));
            for (columns, corrections) in by_tile {
                let corrected = columns[k..].chunks_exact_mut(k).zip(masks[k..].chunks_exact(k));
                for ((columns, masks), correction) in corrected.zip(corrections) {
                    let correction = u128::from_le_bytes(*correction);
                    columns.iter_mut().zip(masks).for_each(|(column, mask)| *column ^= correction & mask);
                }
            }
        });

        let hash = self.state.challenge(corrections);
        let sacrifice = u128::from_le_bytes(*sacrifice);
        let mut hashes = hash.hash_columns(&self.state.columns);
        hashes.iter_mut().zip(masks.iter()).for_each(|(hash, mask)| *hash ^= sacrifice & mask);
        let passes = bool::from(digest(&hashes).as_slice().ct_eq(expected));
        if !passes && !cfg!(fusion_ablate = "without-ot-check") {
            return Err(Error::PeerMisbehaved("an OT extension failed its consistency check".into()));
        }
        Ok(Batch { first_tile, columns: &mut self.state.columns[..tiles * COLUMNS], choices: Zeroizing::default() })
    }
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

    #[test]
    fn the_correlation_holds_in_every_row() {
        for k in [1, 2, 4, 8] {
            let (mut receiver, mut sender) = deal(k, 1);
            for tiles in [1, 5, 2] {
                let mut message = Vec::new();
                let theirs = receiver.extend(tiles, &mut message);
                assert_eq!(message.len() as u64, SoftSpoken::new(k).unwrap().batch_bytes(tiles as u64));
                let delta = sender.delta();
                let ours = sender.extend(tiles, &message).unwrap();
                assert_eq!((ours.columns.len(), theirs.choices.len()), (tiles * COLUMNS, tiles));
                assert_eq!(ours.first_tile, theirs.first_tile);
                for (place, (q, t)) in ours.columns.iter().zip(theirs.columns.iter()).enumerate() {
                    let delta = delta >> (place % COLUMNS) & 1;
                    assert_eq!(q ^ t, theirs.choices[place / COLUMNS] & delta.wrapping_neg());
                }
                assert!(theirs.choices.iter().all(|choices| (32..96).contains(&choices.count_ones())));
            }
        }
    }

    #[test]
    fn both_sides_have_one_transcript_and_other_corrections_another() {
        let (mut receiver, mut sender) = deal(8, 9);
        let before = receiver.transcript();
        let mut message = Vec::new();
        receiver.extend(3, &mut message);
        assert!(sender.extend(3, &message).is_ok());
        assert!(receiver.transcript() == sender.transcript() && receiver.transcript() != before);
        let (_, mut other) = deal(8, 9);
        message[7] ^= 1;
        assert!(other.extend(3, &message).is_err());
        assert_ne!(other.transcript(), sender.transcript());
    }

    #[test]
    fn any_flipped_bit_is_caught() {
        let bytes = SoftSpoken::default().batch_bytes(2) as usize;
        // A choice bits' hash, a digest, and corrections: these also change the hash's key.
        for byte in [bytes - 48, bytes - 33, bytes - 32, bytes - 1, 0, 10, bytes - 49] {
            let (mut receiver, mut sender) = deal(4, 2);
            let mut message = Vec::new();
            receiver.extend(2, &mut message);
            message[byte] ^= 4;
            assert!(matches!(sender.extend(2, &message), Err(Error::PeerMisbehaved(_))), "byte {byte}");
        }
    }

    /// Corrupts the correction of tree `tree` and makes the check consistent with the guess
    /// `element` of its part of delta.
    fn cheat(receiver: &mut Receiver, tree: usize, element: u128) -> Vec<u8> {
        let params = receiver.0.params;
        receiver.0.expand(2);
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
        let hash = receiver.0.challenge(&corrections);
        corrections.extend_from_slice(&hash.hash(sums.iter().step_by(params.trees()).copied()).to_le_bytes());
        corrections.extend_from_slice(&digest(&hash.hash_columns(&columns)));
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
                    sender.extend(1, &cheat(&mut receiver, tree, *guess)).is_ok()
                })
                .collect();
            assert_eq!(passed, [element], "of 2^{k} guesses exactly the right one");
        }
    }

    #[test]
    fn an_error_that_fits_the_key_of_other_corrections_is_caught() {
        let (mut receiver, _) = deal(4, 4);
        let mut message = Vec::new();
        receiver.extend(1, &mut message);
        let corrections = message.len() - 48;
        let (mut receiver, mut sender) = deal(4, 4);
        receiver.0.expand(2);
        let hash = receiver.0.challenge(&message[..corrections]);
        // In one tree whose element of delta is not zero, an error that this key hashes to zero.
        let error = [0xdead, hash.hash([0xdead, 0].into_iter())];
        assert_eq!(hash.hash(error.into_iter()), 0);
        let tree = (1..32).find(|tree| sender.delta() >> (4 * tree) & 15 != 0).expect("delta is not zero");
        for (tile, error) in error.into_iter().enumerate() {
            let place = (tile * 31 + tree - 1) * 16;
            let bytes = message[place..place + 16].iter_mut().zip(error.to_le_bytes());
            bytes.for_each(|(byte, error)| *byte ^= error);
        }
        assert!(sender.extend(1, &message).is_err());
        let (mut receiver, mut sender) = deal(4, 4);
        receiver.0.expand(2);
        let (columns, sums) = (receiver.0.columns.clone(), receiver.0.sums.clone());
        let hash = receiver.0.challenge(&message[..corrections]);
        message.truncate(corrections);
        message.extend_from_slice(&hash.hash(sums.iter().step_by(32).copied()).to_le_bytes());
        message.extend_from_slice(&digest(&hash.hash_columns(&columns)));
        assert!(sender.extend(1, &message).is_err());
    }

    #[test]
    fn nothing_comes_twice_in_a_direction() {
        let (mut receiver, _) = deal(4, 5);
        let (mut tile, mut blocks, mut keys) = (0, Vec::new(), Vec::new());
        for tiles in [1, 5, 1, 2] {
            let mut message = Vec::new();
            let batch = receiver.extend(tiles, &mut message);
            assert!(batch.first_tile >= tile, "tile numbers are hash tweaks");
            tile = batch.first_tile + tiles as u64;
            blocks.extend(batch.columns.iter().chain(batch.choices.iter()).copied());
            blocks.extend(message.as_chunks::<16>().0.iter().map(|block| u128::from_le_bytes(*block)));
            keys.push(receiver.0.transcript);
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
                sender.extend(1, &cheat(&mut receiver, 7, 1)).is_ok()
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
