//! Levels of correlated GGM trees.

use aes::Block;
use aes::cipher::BlockCipherEncrypt;
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::Permutation;

/// The length-doubling function of correlated GGM trees (Guo, Yang, Wang, Zhang, Xie, Liu, Zhao:
/// "Half-Tree", EUROCRYPT 2023, IACR ePrint 2022/1431, figure 3): a node `x` has the children
/// `H(x)` and `x + H(x)`, whose sum it is. `H(x) = pi(s(x)) + s(x)` with a public permutation `pi`
/// and `s(a, b) = (a + b, a)` on halves is circular correlation robust (theorem 4.3 there, from
/// Guo, Katz, Wang, Yu).
pub(crate) struct Doubler(Permutation);

impl Doubler {
    /// With the permutation of this key.
    pub fn new(key: u128) -> Doubler {
        Doubler(Permutation::new(key))
    }

    /// `H(x)`.
    pub fn hash(&self, x: u128) -> u128 {
        let mut nodes = [x, 0];
        self.double(&mut nodes, u128::MAX);
        nodes[0]
    }

    /// Replaces the parents, the first half of `nodes`, by their left children, and the second half
    /// by their right children; only the bits of `mask` are kept. Returns the sum of the left and
    /// the sum of the right children.
    ///
    /// # Panics
    /// If the number of nodes is not a power of two, at least 2.
    pub fn double(&self, nodes: &mut [u128], mask: u128) -> [u128; 2] {
        assert!(nodes.len() >= 2 && nodes.len().is_power_of_two(), "two children for every parent");
        let (left, right) = nodes.split_at_mut(nodes.len() / 2);
        let permutation = match &self.0 {
            Permutation::Vector(vector, keys) => return vector.double(keys, left, right, mask),
            Permutation::Portable(permutation) => permutation,
        };
        const AT_ONCE: usize = 64;
        let mut sums = [0; 2];
        for (left, right) in left.chunks_mut(AT_ONCE).zip(right.chunks_mut(AT_ONCE)) {
            let mut blocks = [Block::default(); AT_ONCE];
            let blocks = &mut blocks[..left.len()];
            for (block, x) in blocks.iter_mut().zip(left.iter()) {
                *block = spread(*x).to_le_bytes().into();
            }
            permutation.encrypt_blocks(blocks);
            for ((left, right), block) in left.iter_mut().zip(right).zip(blocks) {
                let child = u128::from_le_bytes((*block).into()) ^ spread(*left);
                *right = (*left ^ child) & mask;
                *left = child & mask;
                sums[0] ^= *left;
                sums[1] ^= *right;
            }
        }
        sums
    }
}

/// Writes `value` to place `index` of `nodes`, touching every place alike.
pub(crate) fn set(nodes: &mut [u128], index: usize, value: u128) {
    match super::in_use() {
        Some(vector) => vector.set(nodes, index, value),
        None => set_portable(nodes, index, value),
    }
}

pub(super) fn set_portable(nodes: &mut [u128], index: usize, value: u128) {
    for (place, node) in nodes.iter_mut().enumerate() {
        node.conditional_assign(&value, (place as u64).ct_eq(&(index as u64)));
    }
}

/// The linear orthomorphism `s` on two halves, high and low: `s(high, low) = (high ^ low, high)`.
fn spread(x: u128) -> u128 {
    (x << 64) ^ (x >> 64 << 64) | x >> 64
}

#[cfg(test)]
mod tests {
    use aes::Aes128Enc;
    use aes::cipher::KeyInit;

    use super::super::tests::random;
    use super::*;

    #[test]
    fn doubling_is_the_papers_in_all_forms() {
        let key = random(1, 1)[0];
        let cipher = Aes128Enc::new(&key.to_le_bytes().into());
        let hash = |x: u128| {
            let [low, high] = [x as u64, (x >> 64) as u64];
            let spread = u128::from(high) | u128::from(low ^ high) << 64;
            let mut block = Block::from(spread.to_le_bytes());
            cipher.encrypt_block(&mut block);
            u128::from_le_bytes(block.into()) ^ spread
        };
        for doubler in super::super::all().into_iter().map(|vector| Doubler(Permutation::with(vector, key))) {
            assert_eq!(doubler.hash(77), hash(77));
            for (parents, mask) in [(1, u128::MAX), (2, !1), (16, !1), (32, u128::MAX), (256, !1)] {
                let before = random(parents, 2);
                let mut nodes = before.clone();
                nodes.resize(2 * parents, 0);
                let sums = doubler.double(&mut nodes, mask);
                for (place, parent) in before.iter().enumerate() {
                    assert_eq!(nodes[place], hash(*parent) & mask);
                    assert_eq!(nodes[parents + place], (parent ^ hash(*parent)) & mask);
                }
                let sum = |nodes: &[u128]| nodes.iter().fold(0, |sum, node| sum ^ node);
                assert_eq!(sums, [sum(&nodes[..parents]), sum(&nodes[parents..])]);
            }
        }
    }

    #[test]
    fn setting_changes_one_place() {
        for n in [1, 2, 4, 64, 1024] {
            for index in [0, n / 2, n - 1] {
                for vector in super::super::all() {
                    let before = random(n, 3);
                    let mut after = before.clone();
                    match vector {
                        Some(vector) => vector.set(&mut after, index, 42),
                        None => set_portable(&mut after, index, 42),
                    }
                    assert!(after.iter().enumerate().all(|(i, node)| *node == if i == index { 42 } else { before[i] }));
                }
            }
        }
    }
}
