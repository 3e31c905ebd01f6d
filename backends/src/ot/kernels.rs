//! The inner loops of the extension: key streams and their fold, bit-matrix transposition, column hashes.
//!
//! A matrix of bits is kept in *tiles* of 128 rows. Tile `t` of a matrix of 128 columns is the 128 blocks
//! `matrix[128 t ..]`, block `c` being its part of column `c`: bit `r` is row `128 t + r`.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

/// Columns of a matrix, and rows of a tile.
pub(super) const COLUMNS: usize = 128;

/// Blocks of key stream that are expanded at once, over all leaves of a tree: what stays in the caches nearby.
const STREAM_BLOCKS: usize = 2048;
/// Tiles that are expanded at once at least, to keep the cipher's pipeline full.
const FEWEST_TILES: usize = 16;

/// The leaves of one tree as keys of AES in counter mode; the counter is the tile.
pub(super) struct Tree {
    leaves: Vec<Aes128Enc>,
}

impl Tree {
    /// The tree with these leaves, `2^k` of them.
    pub fn new(leaves: &[u128]) -> Tree {
        Tree { leaves: leaves.iter().map(|leaf| Aes128Enc::new(&leaf.to_le_bytes().into())).collect() }
    }

    /// Tiles that [`Tree::fold`] takes at once for trees of `2^k` leaves.
    pub fn tiles_at_once(k: usize) -> usize {
        (STREAM_BLOCKS >> k).max(FEWEST_TILES)
    }

    /// The small-field VOLE of tiles `first .. first + choices.len()`, with `r_y` the key stream of leaf `y`: adds the sum of
    /// the `r_y` with bit `j` of `y` set to column `column + j` of `matrix`, and writes the sum of all `r_y` to
    /// `choices`. At most [`Tree::tiles_at_once`] tiles; `matrix` begins with the first of them.
    pub fn fold(&self, first: u64, column: usize, matrix: &mut [u128], choices: &mut [u128], scratch: &mut Scratch) {
        let tiles = choices.len();
        for (leaf, stream) in self.leaves.iter().zip(scratch.0.chunks_exact_mut(tiles)) {
            for (tile, block) in (first..).zip(stream.iter_mut()) {
                *block = u128::from(tile).to_le_bytes().into();
            }
            leaf.encrypt_blocks(stream);
        }
        let k = self.leaves.len().trailing_zeros() as usize;
        let (streams, sum) = (&mut scratch.1[..tiles << k], &mut scratch.2[..tiles]);
        for (sum, block) in streams.iter_mut().zip(&scratch.0) {
            *sum = u128::from_le_bytes((*block).into());
        }
        // From the highest bit down: the upper half of the leaves has it set. Added to the lower half, the upper half
        // need not be looked at again.
        for bit in (0..k).rev() {
            let (lower, upper) = streams[..tiles << (bit + 1)].split_at_mut(tiles << bit);
            sum.fill(0);
            for (lower, upper) in lower.chunks_exact_mut(tiles).zip(upper.chunks_exact(tiles)) {
                for ((lower, upper), sum) in lower.iter_mut().zip(upper).zip(sum.iter_mut()) {
                    *lower ^= upper;
                    *sum ^= upper;
                }
            }
            for (tile, sum) in matrix.chunks_exact_mut(COLUMNS).zip(sum.iter()) {
                tile[column + bit] ^= sum;
            }
        }
        choices.copy_from_slice(&streams[..tiles]);
    }
}

/// Working memory of [`Tree::fold`]: key streams as cipher blocks, the same as integers, and one sum.
pub(super) struct Scratch(Vec<Block>, Vec<u128>, Vec<u128>);

impl Scratch {
    /// Enough for trees of `2^k` leaves.
    pub fn new(k: usize) -> Scratch {
        let tiles = Tree::tiles_at_once(k);
        Scratch(vec![Block::default(); tiles << k], vec![0; tiles << k], vec![0; tiles])
    }
}

/// Transposes one tile: afterwards block `r` is row `r`, bit `c` being column `c`.
pub(super) fn transpose(tile: &mut [u128; COLUMNS]) {
    let mut lanes = [0u64; 2 * COLUMNS];
    for (pair, block) in lanes.chunks_exact_mut(2).zip(tile.iter()) {
        pair.copy_from_slice(&[*block as u64, (*block >> 64) as u64]);
    }
    // The largest blocks move between whole lanes, the others within them.
    for row in 0..COLUMNS / 2 {
        lanes.swap(2 * row + 1, 2 * (row + COLUMNS / 2));
    }
    swap_blocks::<32>(&mut lanes, 0x0000_0000_ffff_ffff);
    swap_blocks::<16>(&mut lanes, 0x0000_ffff_0000_ffff);
    swap_blocks::<8>(&mut lanes, 0x00ff_00ff_00ff_00ff);
    swap_blocks::<4>(&mut lanes, 0x0f0f_0f0f_0f0f_0f0f);
    swap_blocks::<2>(&mut lanes, 0x3333_3333_3333_3333);
    swap_blocks::<1>(&mut lanes, 0x5555_5555_5555_5555);
    for (block, pair) in tile.iter_mut().zip(lanes.chunks_exact(2)) {
        *block = u128::from(pair[0]) | u128::from(pair[1]) << 64;
    }
}

/// In every block of `2 SIDE x 2 SIDE` bits, exchanges the upper right and the lower left quarter.
fn swap_blocks<const SIDE: usize>(lanes: &mut [u64; 2 * COLUMNS], mask: u64) {
    for rows in lanes.chunks_exact_mut(4 * SIDE) {
        let (upper, lower) = rows.split_at_mut(2 * SIDE);
        for (a, b) in upper.iter_mut().zip(lower) {
            let moved = (*a >> SIDE ^ *b) & mask;
            *b ^= moved;
            *a ^= moved << SIDE;
        }
    }
}

/// A linear universal hash of columns over `GF(2^128)`: a polynomial in a random `key` over a column's blocks, without
/// constant term, plus the column's last block. It is uniform if the last block is, whatever the others are; two
/// different columns of `n + 1` blocks collide for at most `n` of the `2^128` keys.
pub(super) struct ColumnHash(Polyval);

impl ColumnHash {
    /// The hash with this key.
    pub fn new(key: u128) -> ColumnHash {
        ColumnHash(Polyval::new(&key.to_le_bytes().into()))
    }

    /// The hash of one column.
    pub fn hash(&self, column: &[u128]) -> u128 {
        let blocks: Vec<Block> = column.iter().map(|block| block.to_le_bytes().into()).collect();
        self.hash_blocks(&blocks)
    }

    /// The hash of every column of `matrix`.
    pub fn hash_columns(&self, matrix: &[u128]) -> Vec<u128> {
        let tiles = matrix.len() / COLUMNS;
        let mut column = vec![Block::default(); tiles];
        let mut hashes = Vec::with_capacity(COLUMNS);
        for index in 0..COLUMNS {
            for (block, tile) in column.iter_mut().zip(matrix.chunks_exact(COLUMNS)) {
                *block = tile[index].to_le_bytes().into();
            }
            hashes.push(self.hash_blocks(&column));
        }
        hashes
    }

    fn hash_blocks(&self, column: &[Block]) -> u128 {
        let Some((mask, blocks)) = column.split_last() else { return 0 };
        let mut hash = self.0.clone();
        hash.update(blocks);
        u128::from_le_bytes(hash.finalize().into()) ^ u128::from_le_bytes((*mask).into())
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    fn random(n: usize, seed: u64) -> Vec<u128> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        (0..n).map(|_| u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())).collect()
    }

    #[test]
    fn transposition_moves_every_bit() {
        let columns: [u128; COLUMNS] = random(COLUMNS, 1).try_into().unwrap();
        let mut rows = columns;
        transpose(&mut rows);
        for (r, row) in rows.iter().enumerate() {
            for (c, column) in columns.iter().enumerate() {
                assert_eq!(row >> c & 1, column >> r & 1);
            }
        }
    }

    #[test]
    fn a_fold_sums_the_leaves_by_their_bits() {
        for k in [1, 2, 4, 8] {
            let leaves = random(1 << k, 2);
            let tiles = Tree::tiles_at_once(k).min(3);
            let (mut matrix, mut choices) = (vec![0; tiles * COLUMNS], vec![0; tiles]);
            Tree::new(&leaves).fold(5, 8, &mut matrix, &mut choices, &mut Scratch::new(k));
            for tile in 0..tiles {
                let stream = |y: usize| {
                    let mut block = Block::from(u128::from(5 + tile as u64).to_le_bytes());
                    Aes128Enc::new(&leaves[y].to_le_bytes().into()).encrypt_block(&mut block);
                    u128::from_le_bytes(block.into())
                };
                let sum = |wanted: &dyn Fn(usize) -> bool| {
                    (0..1 << k).filter(|y| wanted(*y)).fold(0, |sum, y| sum ^ stream(y))
                };
                assert_eq!(choices[tile], sum(&|_| true));
                for column in 0..COLUMNS {
                    let expected = if (8..8 + k).contains(&column) { sum(&|y| y >> (column - 8) & 1 == 1) } else { 0 };
                    assert_eq!(matrix[tile * COLUMNS + column], expected);
                }
            }
        }
    }

    #[test]
    fn column_hashes_are_linear_and_masked_by_the_last_block() {
        let hash = ColumnHash::new(random(1, 3)[0]);
        let (a, b) = (random(9, 4), random(9, 5));
        let both: Vec<u128> = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
        assert_eq!(hash.hash(&a) ^ hash.hash(&b), hash.hash(&both));
        let mut changed = a.clone();
        changed[8] ^= 77;
        assert_eq!(hash.hash(&changed), hash.hash(&a) ^ 77);
        changed = a.clone();
        changed[0] ^= 1;
        assert_ne!(hash.hash(&changed), hash.hash(&a));
        let matrix = random(9 * COLUMNS, 6);
        let column: Vec<u128> = (0..9).map(|tile| matrix[tile * COLUMNS + 100]).collect();
        assert_eq!(hash.hash_columns(&matrix)[100], hash.hash(&column));
    }
}
