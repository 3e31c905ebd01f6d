//! The universal hash of a matrix's columns.

use aes::Block;
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use rayon::prelude::*;

use super::COLUMNS;
use super::field::{self, ONE};
use super::vector::Vector;

/// A linear universal hash of columns over `GF(2^128)`, which is represented as POLYVAL's (RFC
/// 8452): a polynomial in a random `key` over a column's blocks, without constant term, plus the
/// column's last block. It is uniform if the last block is, whatever the others are; two different
/// columns of `n + 1` blocks collide for at most `n` of the `2^128` keys.
pub(crate) struct ColumnHash(Polyval);

impl ColumnHash {
    /// The hash with this key.
    pub fn new(key: u128) -> ColumnHash {
        ColumnHash(Polyval::new(&key.to_le_bytes().into()))
    }

    /// The hash of one column.
    pub fn hash(&self, column: impl ExactSizeIterator<Item = u128>) -> u128 {
        let mut hash = self.0.clone();
        let masked = column.len().saturating_sub(1);
        let mut mask = 0;
        for (index, block) in column.enumerate() {
            match index < masked {
                true => hash.update(&[Block::from(block.to_le_bytes())]),
                false => mask = block,
            }
        }
        u128::from_le_bytes(hash.finalize().into()) ^ mask
    }

    /// The hash of every column of `matrix`, by threads that take `part` tiles each, at least one.
    pub fn hash_columns(&self, matrix: &[u128], part: usize) -> Vec<u128> {
        self.hash_columns_with(super::in_use(), matrix, part)
    }

    fn hash_columns_with(&self, vector: Option<Vector>, matrix: &[u128], part: usize) -> Vec<u128> {
        let Some((mask, matrix)) = matrix.as_chunks::<COLUMNS>().0.split_last() else {
            return vec![0; COLUMNS];
        };
        match vector {
            Some(vector) => {
                let powers = self.powers(matrix.len());
                let parts = matrix.par_chunks(part).zip(powers.par_chunks(part));
                let sums = parts.map(|(matrix, powers)| vector.weighted_sums(matrix, powers));
                let sums = sums.reduce(|| [[0; 2]; COLUMNS], add);
                sums.iter().zip(mask).map(|(sum, mask)| reduce(*sum) ^ mask).collect()
            }
            None => {
                let column = |c: usize| matrix.iter().chain([mask]).map(move |tile| tile[c]).collect::<Vec<_>>();
                (0..COLUMNS).map(|c| self.hash(column(c).into_iter())).collect()
            }
        }
    }

    /// The `n` first powers of the key, highest first.
    fn powers(&self, n: usize) -> Vec<u128> {
        // The hash of one block is its product with the key.
        let mut key = self.0.clone();
        key.update(&[Block::from(ONE.to_le_bytes())]);
        let key = u128::from_le_bytes(key.finalize().into());
        let powers = std::iter::successors(Some(key), |power| Some(field::product(*power, key)));
        let mut powers: Vec<u128> = powers.take(n).collect();
        powers.reverse();
        powers
    }
}

fn add(mut a: [[u128; 2]; COLUMNS], b: [[u128; 2]; COLUMNS]) -> [[u128; 2]; COLUMNS] {
    a.as_flattened_mut().iter_mut().zip(b.as_flattened()).for_each(|(a, b)| *a ^= b);
    a
}

/// `(low + x^128 high) x^-128` modulo POLYVAL's polynomial.
fn reduce([low, high]: [u128; 2]) -> u128 {
    // Twice adds the multiple of the polynomial that clears the lowest 64 bits.
    let fold = |v: u128| {
        let v = v as u64;
        let carried = u128::from(v) << 64 ^ u128::from(v >> 1 ^ v >> 2 ^ v >> 7) << 64;
        (carried, u128::from(v << 63 ^ v << 62 ^ v << 57))
    };
    let (upper, lower) = fold(low);
    let middle = (low >> 64) ^ lower ^ upper;
    let (upper, lower) = fold(middle);
    high ^ (middle >> 64) ^ lower ^ upper
}

#[cfg(test)]
mod tests {
    use super::super::tests::random;
    use super::*;

    fn hash_all(hash: &ColumnHash, column: &[u128]) -> u128 {
        hash.hash(column.iter().copied())
    }

    #[test]
    fn column_hashes_are_linear_and_masked_by_the_last_block() {
        let hash = ColumnHash::new(random(1, 3)[0]);
        let (a, b) = (random(9, 4), random(9, 5));
        let both: Vec<u128> = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
        assert_eq!(hash_all(&hash, &a) ^ hash_all(&hash, &b), hash_all(&hash, &both));
        let mut changed = a.clone();
        changed[8] ^= 77;
        assert_eq!(hash_all(&hash, &changed), hash_all(&hash, &a) ^ 77);
        changed = a.clone();
        changed[0] ^= 1;
        assert_ne!(hash_all(&hash, &changed), hash_all(&hash, &a));
    }

    #[test]
    fn all_columns_at_once_are_each_column() {
        let hash = ColumnHash::new(random(1, 6)[0]);
        for tiles in [1, 2, 9, 130] {
            let matrix = random(tiles * COLUMNS, 7);
            let expected = (0..COLUMNS).map(|c| hash.hash((0..tiles).map(|tile| matrix[tile * COLUMNS + c])));
            let expected: Vec<u128> = expected.collect();
            for vector in super::super::all() {
                assert!(hash.hash_columns_with(vector, &matrix, 32) == expected, "{tiles} tiles");
            }
        }
        assert_eq!(hash.hash_columns(&[], 1), [0; COLUMNS]);
    }

    #[test]
    fn powers_begin_with_the_key() {
        let key = random(1, 8)[0];
        assert_eq!(ColumnHash::new(key).powers(3)[2], key);
    }
}
