//! Decision trees in the float network: tests of features, and sums of the leaves that are reached.

use fusion_ir::Forest;
use fusion_ir::input::ordered;
use ndarray::Array2;

use super::{Graph, NodeId, Op};

/// One test: whether a feature is at most a float32, by its [order](ordered), so that the integer may lie below all numbers too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Test {
    /// The feature's index.
    pub feature: usize,
    /// The largest number that is at most the threshold.
    pub most: i64,
    /// Whether the test is true of numbers above instead.
    pub above: bool,
    /// What it is of a missing value.
    pub missing: bool,
}

/// The order of the largest number, infinity.
pub const LARGEST: i64 = 0x7f80_0000;

/// The number of an order.
pub fn unordered(order: i64) -> f32 {
    let magnitude = f32::from_bits(order.unsigned_abs() as u32);
    if order < 0 { -magnitude } else { magnitude }
}

/// An ensemble of trees on a vector of features. Everything but the forest is private.
#[derive(Clone, Debug, PartialEq)]
pub struct Trees {
    /// The trees' shape.
    pub forest: Forest,
    /// What is tested, in the forest's order.
    pub tests: Vec<Test>,
    /// What each leaf adds to each result: `[results, leaves]`.
    pub leaves: Array2<f64>,
    /// What is added to each result.
    pub base: Vec<f64>,
}

impl Test {
    /// Whether it is true of `x`.
    pub fn holds(&self, x: f32) -> bool {
        if x.is_nan() { self.missing } else { (ordered(x) <= self.most) != self.above }
    }
}

impl Trees {
    /// For each tree, the index of the leaf that `x` reaches, among the leaves of all trees.
    pub fn reached(&self, x: &[f32]) -> Vec<usize> {
        let (mut reached, mut pending) = (Vec::new(), Vec::new());
        let (mut tests, mut leaf) = (self.tests.iter(), 0);
        for count in &self.forest.0 {
            let live = pending.pop().unwrap_or(true);
            if *count == 0 {
                if live {
                    reached.push(leaf);
                }
                leaf += 1;
                continue;
            }
            let signed = |(place, test): (usize, &Test)| {
                let holds = i32::from(test.holds(x[test.feature]));
                if place % 2 == 0 { holds } else { -holds }
            };
            let truth: i32 = tests.by_ref().take(usize::from(*count)).enumerate().map(signed).sum();
            pending.extend([live && truth != 1, live && truth == 1]);
        }
        reached
    }

    /// The results for the features `x`.
    pub fn apply(&self, x: &[f32]) -> Vec<f32> {
        let reached = self.reached(x);
        let rows = self.leaves.rows().into_iter().zip(&self.base);
        rows.map(|(row, base)| reached.iter().fold(*base, |sum, leaf| sum + row[*leaf]) as f32).collect()
    }

    /// For each result, between what it is, whatever the features are.
    pub fn ranges(&self) -> Vec<[f64; 2]> {
        let mut ranges: Vec<[f64; 2]> = self.base.iter().map(|base| [*base; 2]).collect();
        let mut first = 0;
        for leaves in self.leaves_of_trees() {
            for (row, range) in self.leaves.rows().into_iter().zip(&mut ranges) {
                let tree = row.iter().skip(first).take(leaves);
                let join = |[low, high]: [f64; 2], x: &f64| [low.min(*x), high.max(*x)];
                let [low, high] = tree.fold([f64::INFINITY, f64::NEG_INFINITY], join);
                *range = [range[0] + low, range[1] + high];
            }
            first += leaves;
        }
        ranges
    }

    fn leaves_of_trees(&self) -> Vec<usize> {
        let (mut counts, mut pending) = (Vec::new(), 0usize);
        for tests in &self.forest.0 {
            if pending == 0 {
                (pending, _) = (1, counts.push(0));
            }
            match tests {
                0 => {
                    pending -= 1;
                    *counts.last_mut().expect("a tree has begun") += 1;
                }
                _ => pending += 1,
            }
        }
        counts
    }
}

/// Which nodes are elements of the sample as it is, if trees are all that the input is for: then nothing of a sample counts but how its
/// features compare with thresholds. Else none.
pub fn given(graph: &Graph) -> Vec<bool> {
    let none = vec![false; graph.nodes.len()];
    let mut given = none.clone();
    given[0] = true;
    let mut read = false;
    for (NodeId(id), node) in graph.iter().skip(1) {
        if !node.inputs.iter().any(|input| given[input.0]) {
            continue;
        }
        match &node.op {
            Op::Trees(_) => read = true,
            Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } => given[id] = true,
            Op::Concat { .. } if node.inputs.iter().all(|input| given[input.0]) => given[id] = true,
            _ => return none,
        }
    }
    let reveals = given.last().copied().unwrap_or(true);
    if read && !reveals { given } else { none }
}

/// Whether trees are all that the input is for.
pub fn decide_alone(graph: &Graph) -> bool {
    given(graph).first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_go_down_their_paths() {
        let test = |feature, threshold: f32, above, missing| Test { feature, most: ordered(threshold), above, missing };
        // x0 <= 1 ? (x1 > 2 ? 1 : 10) : 100; and x1 == 3 ? 5 : 0 as an interval.
        let below = Test { most: ordered(3.0) - 1, ..test(1, 3.0, false, false) };
        let trees = Trees {
            forest: "[oo...,2o..]".parse().unwrap(),
            tests: vec![test(0, 1.0, false, true), test(1, 2.0, true, false), test(1, 3.0, false, false), below],
            leaves: Array2::from_shape_vec((1, 5), vec![1.0, 10.0, 100.0, 5.0, 0.0]).unwrap(),
            base: vec![0.5],
        };
        for (x, expected) in [([1.0, 2.0], 10.5), ([1.0, 3.0], 6.5), ([1.1, 3.0], 105.5), ([f32::NAN, f32::NAN], 10.5)]
        {
            assert_eq!(trees.apply(&x), [expected], "{x:?}");
        }
        assert_eq!(trees.ranges(), [[1.5, 105.5]]);
    }
}
