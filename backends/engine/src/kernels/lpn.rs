//! The sparse code of primal LPN.

use aes::Block;
use aes::cipher::BlockCipherEncrypt;

use super::Permutation;

/// Positions of the secret that are added up in every row.
pub(crate) const DENSITY: usize = 10;
/// Rows whose positions are drawn together: a whole number of cipher blocks.
pub(super) const ROWS: usize = 16;
/// Their cipher blocks, of four positions each.
pub(super) const BLOCKS: usize = ROWS * DENSITY / 4;

/// A public random matrix of `2^log_k` columns with [`DENSITY`] ones (not necessarily distinct) in
/// each of its rows: number `4 b + w` of all positions, row by row, is word `w` of 32 bits of
/// AES(`b`), modulo `2^log_k`.
pub(crate) struct SparseCode {
    permutation: Permutation,
    log_k: u8,
}

impl SparseCode {
    /// The matrix of this key.
    pub fn new(key: u128, log_k: u8) -> SparseCode {
        SparseCode { permutation: Permutation::new(key), log_k }
    }

    /// Adds the products of `secret` and the rows of the matrix from `first` on to `rows`.
    ///
    /// # Panics
    /// If the secret has not `2^log_k` blocks, or `first` is not a multiple of 16.
    pub fn add(&self, first: u64, secret: &[u128], rows: &mut [u128]) {
        assert_eq!(secret.len(), 1 << self.log_k, "a block for every column");
        assert!(first.is_multiple_of(ROWS as u64), "rows in groups");
        let first_block = first / ROWS as u64 * BLOCKS as u64;
        let permutation = match &self.permutation {
            Permutation::Vector(vector, keys) => return vector.add_sparse(keys, first_block, secret, rows),
            Permutation::Portable(permutation) => permutation,
        };
        let mask = (1 << self.log_k) - 1;
        for (group, rows) in rows.chunks_mut(ROWS).enumerate() {
            let mut blocks = [Block::default(); BLOCKS];
            let counter = first_block + (group * BLOCKS) as u64;
            for (counter, block) in (counter..).zip(&mut blocks) {
                *block = u128::from(counter).to_le_bytes().into();
            }
            permutation.encrypt_blocks(&mut blocks);
            let mut positions = [0; ROWS * DENSITY];
            let words = blocks.iter().flat_map(|block| block.as_chunks::<4>().0);
            for (position, word) in positions.iter_mut().zip(words) {
                *position = u32::from_le_bytes(*word) as usize & mask;
            }
            for (row, positions) in rows.iter_mut().zip(positions.as_chunks::<DENSITY>().0) {
                *row = positions.iter().fold(*row, |sum, position| sum ^ secret[*position]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aes::Aes128Enc;
    use aes::cipher::KeyInit;

    use super::super::tests::random;
    use super::*;

    #[test]
    fn rows_are_sums_of_the_positions_that_the_cipher_gives() {
        let key = random(1, 1)[0];
        for (log_k, first, n) in [(1, 0, 16), (10, 32, 48), (14, 1600, 21), (3, 1 << 40, 1)] {
            let secret = random(1 << log_k, 2);
            let before = random(n, 3);
            let all = super::super::all().into_iter().map(|vector| {
                let mut rows = before.clone();
                SparseCode { permutation: Permutation::with(vector, key), log_k }.add(first, &secret, &mut rows);
                rows
            });
            let all: Vec<_> = all.collect();
            assert!(all.iter().all(|rows| *rows == all[0]));
            let cipher = Aes128Enc::new(&key.to_le_bytes().into());
            for row in [0, n - 1] {
                let mut expected = before[row];
                for j in 0..DENSITY as u64 {
                    let number = (first + row as u64) * DENSITY as u64 + j;
                    let mut block = Block::from(u128::from(number / 4).to_le_bytes());
                    cipher.encrypt_block(&mut block);
                    let word = u128::from_le_bytes(block.into()) >> (32 * (number % 4));
                    expected ^= secret[word as usize % secret.len()];
                }
                assert_eq!(all[0][row], expected);
            }
        }
    }
}
