//! The tweakable circular-correlation-robust hash that breaks the correlation of extended OTs:
//! `H(x, i) = pi(pi(x) + i) + pi(x)` with `pi` AES-128 under a fixed key (TMMO of Guo, Katz, Wang and Yu, IEEE S&P 2020).
//!
//! The key is derived from the session's identifier, so that no two sessions hash with one permutation. A tweak is a direction
//! and a row's running number in it; rows are numbered once, so no tweak of a session comes twice.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use fusion_ir::Party;
use sha2::Sha256;
use sha2::digest::Digest;

use super::base::{Domain, first_block};
use super::kernels::COLUMNS;

/// The hash of one direction of a session.
pub(super) struct RowHash {
    permutation: Aes128Enc,
    direction: u128,
}

impl RowHash {
    /// The hash for `domain`.
    pub fn new(domain: Domain) -> RowHash {
        // Both directions share one permutation; their tweaks differ.
        let shared = Domain { receiver: Party::Client, ..domain };
        let key = first_block(&shared.hash::<Sha256>("fixed key ").finalize());
        RowHash {
            permutation: Aes128Enc::new(&key.to_le_bytes().into()),
            direction: (domain.receiver as u128 + 1) << 64,
        }
    }

    /// Hashes the 128 rows of tile number `tile` in place.
    pub fn hash_tile(&self, tile: u64, rows: &mut [u128; COLUMNS]) {
        let (mut once, mut twice) = ([Block::default(); COLUMNS], [Block::default(); COLUMNS]);
        for (once, row) in once.iter_mut().zip(rows.iter()) {
            *once = row.to_le_bytes().into();
        }
        self.permutation.encrypt_blocks(&mut once);
        let first = self.direction + u128::from(tile) * COLUMNS as u128;
        for ((twice, once), tweak) in twice.iter_mut().zip(&once).zip(first..) {
            *twice = (u128::from_le_bytes((*once).into()) ^ tweak).to_le_bytes().into();
        }
        self.permutation.encrypt_blocks(&mut twice);
        for ((row, twice), once) in rows.iter_mut().zip(&twice).zip(&once) {
            *row = u128::from_le_bytes((*twice).into()) ^ u128::from_le_bytes((*once).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permutation_is_aes() {
        // FIPS 197, appendix C.1.
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let mut block = Block::from(std::array::from_fn(|i| i as u8 * 0x11));
        Aes128Enc::new(&key.into()).encrypt_block(&mut block);
        assert_eq!(u128::from_be_bytes(block.into()), 0x69c4e0d86a7b0430d8cdb78070b4c55a);
    }

    #[test]
    fn rows_are_hashed_with_their_own_tweaks() {
        let domain = Domain { session_id: &[1; 32], receiver: Party::Server };
        let hash = RowHash::new(domain);
        let mut rows = [42; COLUMNS];
        hash.hash_tile(3, &mut rows);
        let pi = |x: u128| {
            let mut block = Block::from(x.to_le_bytes());
            hash.permutation.encrypt_block(&mut block);
            u128::from_le_bytes(block.into())
        };
        for (r, row) in rows.iter().enumerate() {
            let tweak = 2 << 64 | (3 * 128 + r as u128);
            assert_eq!(*row, pi(pi(42) ^ tweak) ^ pi(42));
        }
        let mut others = [42; COLUMNS];
        RowHash::new(Domain { receiver: Party::Client, ..domain }).hash_tile(3, &mut others);
        assert!(rows.iter().zip(&others).all(|(a, b)| a != b));
    }
}
