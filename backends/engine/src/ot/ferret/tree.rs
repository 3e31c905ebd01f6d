//! Correlated GGM trees (Half-Tree, figure 3).
//!
//! The nodes of a level lie with all left children before all right ones, so that a child's place
//! is its parent's with one more *high* bit. A leaf keeps all bits but the lowest.

use super::ROW_MASK;
use crate::kernels::{Doubler, set};

/// Grows the tree of this seed: all leaves, and for each level the sum of its left nodes. The nodes
/// of a level add up to `delta`, but for the lowest bit of the leaves.
pub(super) fn grow(doubler: &Doubler, seed: u128, delta: u128, leaves: &mut [u128], sums: &mut [u128]) {
    let depth = sums.len();
    leaves[..2].copy_from_slice(&[seed, seed ^ delta]);
    sums[0] = seed;
    for level in 2..=depth {
        [sums[level - 1], _] = doubler.double(&mut leaves[..1 << level], mask(level, depth));
    }
}

/// The leaves of a tree of which `keys[j]` is the sum of those nodes of level `j + 1` that lie on
/// the side opposite to bit `j` of `point`. The leaf at the point, which is unknown, becomes what
/// makes all leaves add up to 1. Runs in time and touches memory independently of the point.
pub(super) fn evaluate(doubler: &Doubler, point: usize, keys: &[u128], leaves: &mut [u128]) {
    let depth = keys.len();
    // The unknown node is kept as zero: so are its children's hashes known.
    let junk = doubler.hash(0);
    leaves[0] = keys[0] & side(point, 0);
    leaves[1] = keys[0] & !side(point, 0);
    for level in 2..=depth {
        let mask = mask(level, depth);
        let half = 1 << (level - 1);
        let hole = point & (half - 1);
        let right = side(point, level - 1);
        let sums = doubler.double(&mut leaves[..2 * half], mask);
        let sibling = ((sums[0] & right | sums[1] & !right) ^ junk ^ keys[level - 1]) & mask;
        let own = if level == depth { sums[0] ^ sums[1] ^ sibling ^ 1 } else { 0 };
        let (left_half, right_half) = leaves[..2 * half].split_at_mut(half);
        set(left_half, hole, sibling & right | own & !right);
        set(right_half, hole, own & right | sibling & !right);
    }
}

/// All ones if the point is on the right side at level `level + 1`, else zero.
fn side(point: usize, level: usize) -> u128 {
    ((point >> level & 1) as u128).wrapping_neg()
}

fn mask(level: usize, depth: usize) -> u128 {
    if level == depth { ROW_MASK } else { u128::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receivers_leaves_differ_by_delta_at_the_point() {
        let doubler = Doubler::new(7);
        for depth in [2, 3, 6, 9] {
            let delta = 0xdead_beef << 90 | 0x1234_5679;
            let (mut leaves, mut sums) = (vec![0; 1 << depth], vec![0; depth]);
            grow(&doubler, 5 << 80 | 99, delta, &mut leaves, &mut sums);
            assert_eq!(leaves.iter().fold(1, |sum, leaf| sum ^ leaf), delta);
            for point in (0..1 << depth).step_by(if depth == 9 { 37 } else { 1 }) {
                let key = |(level, sum): (usize, &u128)| if point >> level & 1 == 1 { *sum } else { sum ^ delta };
                let keys: Vec<u128> = sums.iter().enumerate().map(key).collect();
                let mut known = vec![0; 1 << depth];
                evaluate(&doubler, point, &keys, &mut known);
                for (place, (known, leaf)) in known.iter().zip(&leaves).enumerate() {
                    assert_eq!(known ^ leaf, if place == point { delta } else { 0 }, "{place} of point {point}");
                }
            }
        }
    }
}
