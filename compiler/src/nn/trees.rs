//! Decision trees in the float network: tests of features, and sums of the leaves that are reached.

use std::sync::Arc;

use fusion_ir::Forest;
use fusion_ir::forest::Extent;
use fusion_ir::input::ordered;
use ndarray::{Array2, Axis};

use super::{Graph, NodeId, Op};

/// One test: whether a feature is at most a float32, by its [order](ordered), so that the integer
/// may lie below all numbers too.
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

/// What of the trees' shape is hidden, by tests that are always true and leaves that are never
/// reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HideShape {
    /// All but how many trees there are and how deep the deepest is: every tree becomes complete.
    Depth,
    /// How many nodes each tree has: all get as many as the largest.
    Nodes,
}

/// Most leaves of complete trees together.
const MOST_LEAVES: usize = 1 << 22;

impl Test {
    /// One that is true, or false, of everything.
    fn constant(truth: bool) -> Test {
        Test { feature: 0, most: LARGEST, above: !truth, missing: truth }
    }

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

    /// The same results by trees of a shape that says less. Every node gets as many tests as the
    /// one with most.
    ///
    /// # Errors
    /// If complete trees would have too many leaves.
    pub fn hidden(&self, hide: HideShape) -> Result<Trees, String> {
        let extent = self.forest.extent().ok_or("trees that are not whole")?;
        let counts = self.leaves_of_trees();
        let most_leaves = counts.iter().copied().max().unwrap_or(0);
        let complete = 1usize.checked_shl(extent.depth as u32).unwrap_or(usize::MAX).saturating_mul(extent.trees);
        if hide == HideShape::Depth && complete > MOST_LEAVES {
            let Extent { trees, depth, .. } = extent;
            return Err(format!(
                "{trees} complete trees of depth {depth} have more than {MOST_LEAVES} leaves: limit the depth when training, or hide the number of nodes only"
            ));
        }
        let width = self.forest.0.iter().copied().max().unwrap_or(0).max(1);
        let mut made = Hidden { width: usize::from(width), ..Hidden::default() };
        let (mut tests, mut pending, mut leaf) = (self.tests.iter(), Vec::new(), 0);
        let mut ends = counts.iter().scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        let mut end = 0;
        for count in &self.forest.0 {
            let level: usize = pending.pop().unwrap_or_else(|| {
                end = ends.next().unwrap_or(0);
                0
            });
            if *count > 0 {
                made.node(tests.by_ref().take(usize::from(*count)).copied());
                pending.extend([level + 1; 2]);
                continue;
            }
            match hide {
                HideShape::Depth => made.complete(leaf, extent.depth - level),
                HideShape::Nodes => {
                    let own = counts[made.trees];
                    for _ in 0..if leaf + 1 == end { most_leaves - own } else { 0 } {
                        made.node([Test::constant(true)].into_iter());
                        made.leaf(leaf);
                    }
                    made.leaf(leaf);
                }
            }
            leaf += 1;
            made.trees += usize::from(leaf == end);
        }
        let leaves = self.leaves.select(Axis(1), &made.leaves);
        Ok(Trees { forest: Forest(made.items), tests: made.tests, leaves, base: self.base.clone() })
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

/// Trees in the making, with the indices of the leaves that theirs are copies of.
#[derive(Default)]
struct Hidden {
    /// Tests of every node.
    width: usize,
    /// Trees that are whole.
    trees: usize,
    items: Vec<u16>,
    tests: Vec<Test>,
    leaves: Vec<usize>,
}

impl Hidden {
    fn node(&mut self, tests: impl Iterator<Item = Test>) {
        self.items.push(self.width as u16);
        let until = self.tests.len() + self.width;
        self.tests.extend(tests);
        self.tests.resize(until, Test::constant(false));
    }

    fn leaf(&mut self, of: usize) {
        self.items.push(0);
        self.leaves.push(of);
    }

    /// A complete tree of so many levels all of whose leaves are one.
    fn complete(&mut self, of: usize, levels: usize) {
        let mut pending = vec![levels];
        while let Some(levels) = pending.pop() {
            if levels == 0 {
                self.leaf(of);
            } else {
                self.node([Test::constant(true)].into_iter());
                pending.extend([levels - 1; 2]);
            }
        }
    }
}

/// The network with trees of hidden shape.
///
/// # Errors
/// As [`Trees::hidden`], and if there are none.
pub fn hide(mut graph: Graph, hide: HideShape) -> Result<Graph, String> {
    let mut found = false;
    for node in &mut graph.nodes {
        if let Op::Trees(trees) = &mut node.op {
            found = true;
            *trees = Arc::new(trees.hidden(hide)?);
        }
    }
    if found { Ok(graph) } else { Err("the model has no trees".into()) }
}

/// Which nodes are elements of the sample as it is, if trees are all that the input is for: then
/// nothing of a sample counts but how its features compare with thresholds. Else none.
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

        let [depth, nodes] = [HideShape::Depth, HideShape::Nodes].map(|hide| trees.hidden(hide).unwrap());
        assert_eq!(depth.forest.to_string(), "[2*2o2o..2o..]");
        assert_eq!(nodes.forest.to_string(), "[2o2o...,2o.2o..]");
        for x in [[1.0, 2.0], [1.0, 3.0], [1.1, 3.0], [f32::NAN, f32::NAN], [-1.0, 3.5]] {
            assert!([&depth, &nodes].iter().all(|hidden| hidden.apply(&x) == trees.apply(&x)), "{x:?}");
        }
        let deep = Trees { forest: Forest([1, 0].repeat(30).into_iter().chain([0]).collect()), ..trees };
        assert!(deep.hidden(HideShape::Depth).unwrap_err().contains("depth 30"));
    }
}
