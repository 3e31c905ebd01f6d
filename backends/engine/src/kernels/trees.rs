//! Key streams of punctured PRFs and their fold into small-field VOLEs.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use zeroize::{Zeroize, Zeroizing};

use super::vector::Vector;
use super::{COLUMNS, RoundKeys};

/// Blocks of key stream that are expanded at once, over all leaves of a tree: what stays in the
/// caches nearby.
const STREAM_BLOCKS: usize = 2048;
/// Tiles that are expanded at once at least, to keep the cipher's pipeline full.
const FEWEST_TILES: usize = 16;

/// Trees of `2^k` leaves each, the leaves as keys of AES in counter mode; the counter is the tile.
pub(crate) struct Trees {
    leaves: usize,
    keys: Keys,
}

enum Keys {
    Portable(Vec<Aes128Enc>),
    Vector(Vector, Zeroizing<Vec<RoundKeys>>),
}

impl Trees {
    /// The trees with these leaves, equally many in each and a power of two.
    pub fn new(trees: &[Zeroizing<Vec<u128>>]) -> Trees {
        let leaves = trees.first().map_or(1, |tree| tree.len());
        Trees::with(super::in_use(), leaves, trees.iter().flat_map(|tree| tree.iter()))
    }

    fn with<'a>(vector: Option<Vector>, leaves: usize, keys: impl Iterator<Item = &'a u128>) -> Trees {
        let keys = match vector {
            Some(vector) => Keys::Vector(vector, Zeroizing::new(keys.map(|key| vector.round_keys(*key)).collect())),
            None => Keys::Portable(keys.map(|key| Aes128Enc::new(&key.to_le_bytes().into())).collect()),
        };
        Trees { leaves, keys }
    }

    /// The small-field VOLEs of the tiles from `first` on, with `r_y` the key stream of leaf `y`:
    /// writes the sum of the `r_y` of tree `i` with bit `j` of `y` set to column `k i + j` of
    /// `matrix`, and the sum of all of them to block `i` of the tile's blocks in `sums`. The trees
    /// must have 128 columns together.
    pub fn expand(&self, first: u64, matrix: &mut [u128], sums: &mut [u128]) {
        match &self.keys {
            Keys::Portable(keys) => self.expand_portable(keys, first, matrix, sums),
            Keys::Vector(vector, keys) => vector.expand(keys, self.leaves, first, matrix, sums),
        }
    }

    fn expand_portable(&self, keys: &[Aes128Enc], first: u64, matrix: &mut [u128], sums: &mut [u128]) {
        let trees = keys.len() / self.leaves;
        let k = self.leaves.trailing_zeros() as usize;
        let most = (STREAM_BLOCKS >> k).max(FEWEST_TILES);
        let mut scratch = Scratch::new(most, self.leaves);
        let parts = matrix.chunks_mut(most * COLUMNS).zip(sums.chunks_mut(most * trees));
        for (first, (matrix, sums)) in (first..).step_by(most).zip(parts) {
            for (tree, leaves) in keys.chunks_exact(self.leaves).enumerate() {
                fold(leaves, first, tree, matrix, sums, &mut scratch);
            }
        }
    }
}

/// Working memory: key streams as cipher blocks, the same as integers, and one sum.
struct Scratch(Vec<Block>, Vec<u128>, Vec<u128>);

impl Scratch {
    fn new(tiles: usize, leaves: usize) -> Scratch {
        Scratch(vec![Block::default(); tiles * leaves], vec![0; tiles * leaves], vec![0; tiles])
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|block| block.as_mut_slice().zeroize());
        self.1.zeroize();
        self.2.zeroize();
    }
}

fn fold(leaves: &[Aes128Enc], first: u64, tree: usize, matrix: &mut [u128], sums: &mut [u128], scratch: &mut Scratch) {
    let tiles = matrix.len() / COLUMNS;
    for (leaf, stream) in leaves.iter().zip(scratch.0.chunks_exact_mut(tiles)) {
        for (tile, block) in (first..).zip(stream.iter_mut()) {
            *block = u128::from(tile).to_le_bytes().into();
        }
        leaf.encrypt_blocks(stream);
    }
    let k = leaves.len().trailing_zeros() as usize;
    let (streams, sum) = (&mut scratch.1[..tiles << k], &mut scratch.2[..tiles]);
    for (sum, block) in streams.iter_mut().zip(&scratch.0) {
        *sum = u128::from_le_bytes((*block).into());
    }
    // From the highest bit down: the upper half of the leaves has it set. Added to the lower half,
    // the upper half need not be looked at again.
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
            tile[tree * k + bit] = *sum;
        }
    }
    let trees = sums.len() / tiles;
    for (sums, total) in sums.chunks_exact_mut(trees).zip(streams.iter()) {
        sums[tree] = *total;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::random;
    use super::*;

    #[test]
    fn expansions_sum_the_leaves_by_their_bits() {
        for k in [1, 2, 4, 8] {
            let trees = COLUMNS / k;
            let leaves: Vec<Zeroizing<Vec<u128>>> =
                (0..trees as u64).map(|tree| Zeroizing::new(random(1 << k, tree))).collect();
            let tiles = 37;
            let all = super::super::all().into_iter().map(|vector| {
                let way = Trees::with(vector, 1 << k, leaves.iter().flat_map(|tree| tree.iter()));
                let (mut matrix, mut sums) = (vec![0; tiles * COLUMNS], vec![0; tiles * trees]);
                way.expand(5, &mut matrix, &mut sums);
                (matrix, sums)
            });
            let all: Vec<_> = all.collect();
            assert!(all.iter().all(|found| *found == all[0]), "k = {k}");
            let (matrix, sums) = &all[0];
            for (tree, tile) in [(0, 0), (trees - 1, 36), (trees / 2, 31), (1, 32)] {
                let stream = |y: usize| {
                    let mut block = Block::from(u128::from(5 + tile as u64).to_le_bytes());
                    Aes128Enc::new(&leaves[tree][y].to_le_bytes().into()).encrypt_block(&mut block);
                    u128::from_le_bytes(block.into())
                };
                let sum = |wanted: &dyn Fn(usize) -> bool| {
                    (0..1 << k).filter(|y| wanted(*y)).fold(0, |sum, y| sum ^ stream(y))
                };
                assert_eq!(sums[tile * trees + tree], sum(&|_| true));
                for bit in 0..k {
                    assert_eq!(matrix[tile * COLUMNS + tree * k + bit], sum(&|y| y >> bit & 1 == 1));
                }
            }
        }
    }
}
