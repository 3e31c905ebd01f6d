//! AES under a fixed key, and the hash made of it.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};

use super::vector::Vector;
use super::{COLUMNS, RoundKeys};

/// AES-128 under one key as a public permutation `pi`.
pub(crate) enum Permutation {
    /// By the cipher's library.
    Portable(Aes128Enc),
    /// By vector instructions.
    Vector(Vector, Box<RoundKeys>),
}

impl Permutation {
    /// With this key.
    pub fn new(key: u128) -> Permutation {
        Permutation::with(super::in_use(), key)
    }

    pub(super) fn with(vector: Option<Vector>, key: u128) -> Permutation {
        match vector {
            Some(vector) => Permutation::Vector(vector, Box::new(vector.round_keys(key))),
            None => Permutation::Portable(Aes128Enc::new(&key.to_le_bytes().into())),
        }
    }

    /// The low 64 bits of `pi(pi(x) + tweak) + pi(x)` for every `x = row + offset`, with tweaks
    /// that count up from `tweak`.
    pub fn hash(&self, tweak: u128, rows: &[u128; COLUMNS], offset: u128) -> [u64; COLUMNS] {
        let permutation = match self {
            Permutation::Vector(vector, keys) => return vector.hash(keys, tweak, rows, offset),
            Permutation::Portable(permutation) => permutation,
        };
        let (mut once, mut twice) = ([Block::default(); COLUMNS], [Block::default(); COLUMNS]);
        for (once, row) in once.iter_mut().zip(rows) {
            *once = (row ^ offset).to_le_bytes().into();
        }
        permutation.encrypt_blocks(&mut once);
        for ((twice, once), tweak) in twice.iter_mut().zip(&once).zip(tweak..) {
            *twice = (u128::from_le_bytes((*once).into()) ^ tweak).to_le_bytes().into();
        }
        permutation.encrypt_blocks(&mut twice);
        let mut words = [0; COLUMNS];
        for ((word, twice), once) in words.iter_mut().zip(&twice).zip(&once) {
            *word = (u128::from_le_bytes((*twice).into()) ^ u128::from_le_bytes((*once).into())) as u64;
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::random;
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_paper_in_all_forms() {
        let rows: [u128; COLUMNS] = random(COLUMNS, 1).try_into().unwrap();
        let (key, offset, tweak) = (random(1, 2)[0], random(1, 3)[0], 2 << 64 | 77);
        let cipher = Aes128Enc::new(&key.to_le_bytes().into());
        let pi = |x: u128| {
            let mut block = Block::from(x.to_le_bytes());
            cipher.encrypt_block(&mut block);
            u128::from_le_bytes(block.into())
        };
        for permutation in super::super::all().into_iter().map(|vector| Permutation::with(vector, key)) {
            let words = permutation.hash(tweak, &rows, offset);
            for ((word, row), tweak) in words.iter().zip(&rows).zip(tweak..) {
                let once = pi(row ^ offset);
                assert_eq!(*word, (pi(once ^ tweak) ^ once) as u64);
            }
        }
    }
}
