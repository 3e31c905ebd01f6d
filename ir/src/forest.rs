//! The public shape of decision trees: which nodes there are, not what they test.
//!
//! A *test* is a number that is 1 or 0. An inner node reads one test, or several whose alternating
//! sum is its truth: an interval is one threshold less the other, a set the sum of its intervals.
//! Trees are written in preorder, the subtree of truth first, and tests and leaves are numbered in
//! that order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Trees in preorder, one after the other: 0 for a leaf, else the number of tests of an inner node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forest(pub Vec<u16>);

/// How large a forest is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Trees.
    pub trees: usize,
    /// Tests of all inner nodes.
    pub tests: usize,
    /// Leaves.
    pub leaves: usize,
    /// Inner nodes on the longest path.
    pub depth: usize,
}

impl Forest {
    /// Its size; `None` if the last tree is not whole, or there is none.
    pub fn extent(&self) -> Option<Extent> {
        let mut extent = Extent::default();
        // Depths of the subtrees that are still to come.
        let mut pending: Vec<usize> = Vec::new();
        for tests in &self.0 {
            let depth = pending.pop().unwrap_or_else(|| {
                extent.trees += 1;
                0
            });
            match tests {
                0 => {
                    extent.leaves += 1;
                    extent.depth = extent.depth.max(depth);
                }
                tests => {
                    extent.tests += usize::from(*tests);
                    pending.extend([depth + 1; 2]);
                }
            }
        }
        (pending.is_empty() && extent.trees > 0).then_some(extent)
    }

    /// For every leaf, how many nodes on the way to it have another truth than it needs, as a
    /// negative number mod `2^64`: 0 for the leaf that is reached. It is linear in the tests but
    /// for `one`, which stands for 1: of two parties with shares of the tests, one gives 1 and the
    /// other 0.
    ///
    /// # Panics
    /// If there are not as many tests as the forest has.
    pub fn paths(&self, tests: &[u64], one: u64) -> Vec<u64> {
        let mut tests = tests.iter();
        let mut pending: Vec<u64> = Vec::new();
        let mut leaves = Vec::new();
        for count in &self.0 {
            let above = pending.pop().unwrap_or(0);
            if *count == 0 {
                leaves.push(above);
                continue;
            }
            let mut truth = 0u64;
            for place in 0..*count {
                let test = *tests.next().expect("a test for every place");
                truth = if place % 2 == 0 { truth.wrapping_add(test) } else { truth.wrapping_sub(test) };
            }
            pending.push(above.wrapping_sub(truth));
            pending.push(above.wrapping_add(truth).wrapping_sub(one));
        }
        assert!(tests.next().is_none(), "more tests than places");
        leaves
    }

    /// The items of each tree.
    fn trees(&self) -> Vec<&[u16]> {
        let (mut trees, mut start, mut pending) = (Vec::new(), 0, 1usize);
        for (at, tests) in self.0.iter().enumerate() {
            pending = if *tests == 0 { pending - 1 } else { pending + 1 };
            if pending == 0 {
                trees.push(&self.0[start..=at]);
                (start, pending) = (at + 1, 1);
            }
        }
        if start < self.0.len() {
            trees.push(&self.0[start..]);
        }
        trees
    }
}

impl fmt::Display for Forest {
    /// `[3*oo...,o..]`: `.` is a leaf, `o` a node of one test, `2o` of two; `3*` says that a tree
    /// comes three times.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trees = self.trees();
        f.write_str("[")?;
        for (index, alike) in trees.chunk_by(|a, b| a == b).enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            if alike.len() > 1 {
                write!(f, "{}*", alike.len())?;
            }
            for tests in alike[0] {
                match tests {
                    0 => f.write_str(".")?,
                    1 => f.write_str("o")?,
                    tests => write!(f, "{tests}o")?,
                }
            }
        }
        f.write_str("]")
    }
}

/// Most items of a forest in text, so that a short text cannot ask for much memory.
const MAX_ITEMS: usize = 1 << 26;

impl FromStr for Forest {
    type Err = String;

    fn from_str(text: &str) -> Result<Forest, String> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or("trees are [..]")?;
        let mut items = Vec::new();
        for tree in inner.split(',') {
            let (times, tree) = match tree.split_once('*') {
                Some((times, tree)) => (times.parse::<usize>().map_err(|_| format!("{times:?} times a tree"))?, tree),
                None => (1, tree),
            };
            let mut one = Vec::new();
            let mut digits = String::new();
            for c in tree.trim().chars() {
                match c {
                    '.' if digits.is_empty() => one.push(0),
                    'o' if digits.is_empty() => one.push(1),
                    'o' => {
                        let tests = std::mem::take(&mut digits);
                        one.push(tests.parse().map_err(|_| format!("a node of {tests} tests"))?);
                    }
                    c if c.is_ascii_digit() => digits.push(c),
                    c => return Err(format!("{c:?} in a tree")),
                }
            }
            if !digits.is_empty() {
                return Err(format!("{digits:?} ends a tree"));
            }
            if one.len().saturating_mul(times).saturating_add(items.len()) > MAX_ITEMS {
                return Err("more nodes than a forest may have".into());
            }
            (0..times).for_each(|_| items.extend_from_slice(&one));
        }
        Ok(Forest(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_extent_of_a_forest() {
        let forest: Forest = "[2*oo...,.,4o..]".parse().unwrap();
        assert_eq!(forest.0, [1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 4, 0, 0]);
        assert_eq!(forest.to_string(), "[2*oo...,.,4o..]");
        assert_eq!(forest.extent(), Some(Extent { trees: 4, tests: 8, leaves: 9, depth: 2 }));
        assert_eq!([Forest(vec![]), Forest(vec![1, 0]), Forest(vec![0, 1])].map(|f| f.extent()), [None; 3]);
        assert_eq!(Forest(vec![0, 1, 0]).to_string(), "[.,o.]", "what is not whole still prints");
        for bad in ["oo...", "[x]", "[3]", "[o3..]", "[99999999*o..]", "[70000o..]", "[-1*o..]"] {
            assert!(bad.parse::<Forest>().is_err(), "{bad}");
        }
    }

    /// The leaf that a tree's tests lead to, by walking down.
    fn reached(
        tree: &[u16],
        tests: &mut impl Iterator<Item = u64>,
        at: &mut usize,
        leaf: &mut usize,
        on: bool,
    ) -> Option<usize> {
        let count = tree[*at];
        *at += 1;
        if count == 0 {
            *leaf += 1;
            return on.then(|| *leaf - 1);
        }
        let truth = (0..count).map(|i| tests.next().unwrap() as i64 * if i % 2 == 0 { 1 } else { -1 }).sum::<i64>();
        let yes = reached(tree, tests, at, leaf, on && truth == 1);
        let no = reached(tree, tests, at, leaf, on && truth == 0);
        yes.or(no)
    }

    #[test]
    fn the_leaf_that_is_reached_counts_zero_and_shares_add_up() {
        let forest: Forest = "[oo.2o..oo...]".parse().unwrap();
        for bits in 0..64u64 {
            let tests: Vec<u64> = (0..6).map(|i| bits >> i & 1).collect();
            let interval = tests[2] >= tests[3];
            let leaves = forest.paths(&tests, 1);
            if interval {
                let leaf = reached(&forest.0, &mut tests.iter().copied(), &mut 0, &mut 0, true).unwrap();
                let zeros: Vec<usize> = (0..leaves.len()).filter(|i| leaves[*i] == 0).collect();
                assert_eq!(zeros, [leaf], "{bits:b}");
                assert!(leaves.iter().all(|y| (-3..=0).contains(&(*y as i64))), "{leaves:?}");
            }
            let own: Vec<u64> = (0..6).map(|i| bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> i).collect();
            let theirs: Vec<u64> = tests.iter().zip(&own).map(|(t, o)| t.wrapping_sub(*o)).collect();
            let sums = forest.paths(&own, 0).into_iter().zip(forest.paths(&theirs, 1)).map(|(a, b)| a.wrapping_add(b));
            assert_eq!(sums.collect::<Vec<u64>>(), leaves);
        }
    }
}
