//! The tweakable circular-correlation-robust hash that breaks the correlation of extended OTs:
//! `H(x, i) = pi(pi(x) + i) + pi(x)` with `pi` AES-128 under a fixed key (TMMO of Guo, Katz, Wang
//! and Yu, IEEE S&P 2020).
//!
//! Where `w` rows make a 1-of-`2^w` OT, the unknown hashes are at `x + y` for the products `y` of
//! the secret and the elements of `GF(2^128)` of degree below `w` other than zero, each a fixed
//! bijection of it, as in section 5 of SoftSpokenOT (Roy, CRYPTO 2022).
//!
//! The key is derived from the session's identifier, so that no two sessions hash with one
//! permutation. A tweak is a direction and a row's running number in it; rows are numbered once, so
//! no tweak of a session comes twice.

use fusion_ir::Party;
use sha2::Sha256;
use sha2::digest::Digest;

use super::base::{Domain, first_block};
use crate::kernels::{COLUMNS, Permutation};

/// The hash of one direction of a session.
pub(super) struct RowHash {
    permutation: Permutation,
    direction: u128,
}

impl RowHash {
    /// The hash for `domain`.
    pub fn new(domain: Domain) -> RowHash {
        // Both directions share one permutation; their tweaks differ.
        let shared = Domain { receiver: Party::Client, ..domain };
        let key = first_block(&shared.hash::<Sha256>("fixed key ").finalize());
        RowHash { permutation: Permutation::new(key), direction: (domain.receiver as u128 + 1) << 64 }
    }

    /// The low 64 bits of the hashes of the 128 rows of tile number `tile`, with `offset` added to
    /// every row.
    pub fn hash_tile(&self, tile: u64, rows: &[u128; COLUMNS], offset: u128) -> [u64; COLUMNS] {
        let tweak = self.direction + u128::from(tile) * COLUMNS as u128;
        self.permutation.hash(tweak, rows, offset)
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use aes::{Aes128Enc, Block};

    use super::*;

    fn aes(key: u128, block: u128) -> u128 {
        let mut block = Block::from(block.to_le_bytes());
        Aes128Enc::new(&key.to_le_bytes().into()).encrypt_block(&mut block);
        u128::from_le_bytes(block.into())
    }

    #[test]
    fn the_permutation_is_aes() {
        // FIPS 197, appendix C.1.
        let key = u128::from_le_bytes(std::array::from_fn(|i| i as u8));
        let block = u128::from_le_bytes(std::array::from_fn(|i| i as u8 * 0x11));
        assert_eq!(aes(key, block).to_be(), 0x69c4e0d86a7b0430d8cdb78070b4c55a);
    }

    #[test]
    fn rows_are_hashed_with_their_own_tweaks() {
        let domain = Domain { session_id: &[1; 32], receiver: Party::Server };
        let words = RowHash::new(domain).hash_tile(3, &[42 ^ 9; COLUMNS], 9);
        let shared = Domain { receiver: Party::Client, ..domain };
        let key = first_block(&shared.hash::<Sha256>("fixed key ").finalize());
        for (r, word) in words.iter().enumerate() {
            let tweak = 2 << 64 | (3 * 128 + r as u128);
            let once = aes(key, 42);
            assert_eq!(*word, (aes(key, once ^ tweak) ^ once) as u64);
        }
        let others = RowHash::new(shared).hash_tile(3, &[42; COLUMNS], 0);
        assert!(words.iter().zip(&others).all(|(a, b)| a != b));
    }
}
