//! What SoftSpokenOT costs.

use crate::{Cost, Primitive};

use super::{SECURITY_BITS, TILE_ROWS};

/// Rows that are extended and checked together, sacrificed ones not counted; with these it is a
/// power of two.
pub const BATCH_ROWS: u64 = (1 << 15) - TILE_ROWS;

/// Bytes of one column of one tile.
const TILE_BYTES: u64 = TILE_ROWS / 8;

/// SoftSpokenOT (Roy, CRYPTO 2022) with subfield `GF(2^k)`. It turns 128 base OTs into any number
/// of correlated OTs; `k` trades traffic against computation: an OT costs `128/k - 1` bits and
/// `2^k * 128/k` bits of key stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftSpoken {
    k: u8,
}

impl Default for SoftSpoken {
    /// `k = 4`: 31 bits per OT.
    fn default() -> SoftSpoken {
        SoftSpoken { k: 4 }
    }
}

impl SoftSpoken {
    /// `k = 8`: 15 bits per OT, at several times the computation.
    pub const LEAST_TRAFFIC: SoftSpoken = SoftSpoken { k: 8 };

    /// The parameter `k`, one of 1, 2, 4 and 8; `None` for any other.
    pub fn new(k: u8) -> Option<SoftSpoken> {
        [1, 2, 4, 8].contains(&k).then_some(SoftSpoken { k })
    }

    /// Bits of the subfield.
    pub fn k(&self) -> usize {
        usize::from(self.k)
    }

    /// Punctured PRF trees, one per subfield VOLE.
    pub fn trees(&self) -> usize {
        SECURITY_BITS as usize / self.k()
    }

    /// Leaves of each tree.
    pub fn leaves(&self) -> usize {
        1 << self.k
    }

    /// Both directions' set-up, two exchanges: base OTs (the receiver's two points and the sender's
    /// one for each of 128), then the trees (two sums of 16 bytes for each level but the first, and
    /// a check of 64 bytes).
    pub fn setup(&self) -> Cost {
        let mut cost = Cost::default();
        cost.exchange([SECURITY_BITS * 3 * 32; 2]);
        cost.compute(Primitive::BaseOt, 2 * SECURITY_BITS);
        cost.exchange([self.tree_bytes() * self.trees() as u64; 2]);
        cost
    }

    /// Bytes of one tree's message.
    pub fn tree_bytes(&self) -> u64 {
        (u64::from(self.k) - 1) * 2 * 16 + 64
    }

    /// Bytes of one batch of `tiles` tiles: the corrections of these and of one sacrificed tile,
    /// the choice bits' hash and a digest.
    pub fn batch_bytes(&self, tiles: u64) -> u64 {
        (self.trees() as u64 - 1) * TILE_BYTES * (tiles + 1) + 16 + 32
    }

    /// Bytes of the batches of so many tiles.
    pub fn group_bytes(&self, group: &[usize]) -> usize {
        group.iter().map(|tiles| self.batch_bytes(*tiles as u64) as usize).sum()
    }

    /// Bytes of the one message, receiver to sender, that extends by `tiles` tiles; none if there
    /// are none.
    pub fn extension_bytes(&self, tiles: u64) -> u64 {
        batches(tiles).map(|tiles| self.batch_bytes(tiles)).sum()
    }
}

/// The batches that `tiles` tiles are extended in.
pub fn batches(tiles: u64) -> impl Iterator<Item = u64> {
    let most = BATCH_ROWS / TILE_ROWS;
    (0..tiles.div_ceil(most)).map(move |i| most.min(tiles - i * most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ot_costs_the_bits_of_the_paper() {
        for (k, bits) in [(1, 127.0), (2, 63.0), (4, 31.0), (8, 15.0)] {
            let soft_spoken = SoftSpoken::new(k).unwrap();
            let found = soft_spoken.extension_bytes(1 << 13) as f64 * 8.0 / (1 << 20) as f64;
            assert!(found >= bits && found < bits * 1.01, "{found} bits for k = {k}");
        }
        assert!(SoftSpoken::new(3).is_none());
    }
}
