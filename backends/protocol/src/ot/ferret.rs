//! What silent OT costs.

use super::{SECURITY_BITS, TILE_ROWS};

/// A parameter set of silent correlated OT (Yang, Weng, Lan, Zhang, Wang: "Ferret", CCS 2020) with
/// regular noise.
///
/// A round turns [`base_rows`](Ferret::base_rows) correlated OTs into `trees * 2^depth`, of which
/// the last [`refill_trees`](Ferret::refill_trees) trees' are the next round's base. Its security
/// is that of primal LPN with a random code of `2^log_k` columns and ten ones in each row, and
/// noise that has one one in each block of `2^depth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ferret {
    /// Binary logarithm of the length of the LPN secret.
    pub log_k: u8,
    /// Binary logarithm of the length of a block of noise: the depth of its tree.
    pub depth: u8,
    /// Number of blocks.
    pub trees: u64,
}

impl Ferret {
    /// 1.86 M OTs a round, for sessions that draw little more.
    pub const B11: Ferret = Ferret { log_k: 18, depth: 11, trees: 1040 };
    /// 4.17 M OTs a round, of half the traffic.
    pub const B12: Ferret = Ferret { log_k: 19, depth: 12, trees: 1150 };

    /// The sets, the smallest first. The attacks counted in `security/` of this crate take at least
    /// 2^128 operations on bits, and 2^100 if 40 bits on the noise have leaked.
    pub const SETS: [Ferret; 2] = [Ferret::B11, Ferret::B12];

    /// Correlated OTs that a round uses up: those sacrificed in its check, the LPN secret, and one
    /// for each level of each tree.
    pub const fn base_rows(&self) -> u64 {
        SECURITY_BITS + (1 << self.log_k) + self.trees * self.depth as u64
    }

    /// The same as whole tiles: what SoftSpokenOT makes for the first round.
    pub fn base_tiles(&self) -> u64 {
        self.base_rows().div_ceil(TILE_ROWS)
    }

    /// Trees whose leaves are the base of the next round.
    pub fn refill_trees(&self) -> u64 {
        self.base_rows().div_ceil(1 << self.depth)
    }

    /// Tiles of correlated OTs that a round yields beyond the base of the next one.
    pub fn round_tiles(&self) -> u64 {
        (self.trees - self.refill_trees()) * self.tree_tiles()
    }

    /// Tiles that a tree yields.
    pub fn tree_tiles(&self) -> u64 {
        (1 << self.depth) / TILE_ROWS
    }

    /// Bytes of the trees, sender to receiver: a block for each level.
    pub fn trees_bytes(&self) -> u64 {
        self.trees * u64::from(self.depth) * 16
    }

    /// Bytes of the check's challenge, receiver to sender: the sum of the weights of all points,
    /// masked.
    pub const CHECK_BYTES: u64 = 16;
    /// Bytes of its answer, sender to receiver: a digest.
    pub const DIGEST_BYTES: u64 = 32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_makes_its_own_base_and_far_more() {
        // Base rows, trees that refill them, all rows, and bits for each OT.
        let expected = [(273_712, 134, 2_129_920, 0.789), (538_216, 132, 4_710_400, 0.424)];
        for (set, (base, refill, rows, bits)) in Ferret::SETS.into_iter().zip(expected) {
            assert_eq!((set.base_rows(), set.refill_trees(), set.trees << set.depth), (base, refill, rows));
            let found = 8.0 * (set.trees_bytes() + 48) as f64 / (set.round_tiles() * TILE_ROWS) as f64;
            assert!((found - bits).abs() < 1e-3, "{found} bits each");
        }
    }
}
