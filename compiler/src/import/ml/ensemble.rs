//! Tree ensembles as nodes that refer to each other, of whatever version of the operator, and what
//! they are in preorder.

use std::collections::HashMap;
use std::ops::Range;

use fusion_ir::Forest;

use super::ask::Ask;

/// What an inner node asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mode {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
    /// Of these numbers, in any order.
    Member(Vec<f64>),
}

/// A node or a leaf of one tree.
#[derive(Clone, Debug)]
pub(super) enum Branch {
    Node { feature: usize, mode: Mode, threshold: f64, missing: bool, yes: usize, no: usize },
    Leaf(Vec<(usize, f64)>),
}

/// Nodes of all trees, and where each tree begins. Leaves have the results that they add to, and
/// what.
#[derive(Clone, Debug, Default)]
pub(super) struct Arena {
    pub branches: Vec<Branch>,
    pub roots: Vec<usize>,
}

/// Trees in preorder, with what is tested and what leaves add.
#[derive(Clone, Debug, Default)]
pub(super) struct Ensemble {
    pub forest: Forest,
    pub asks: Vec<Ask>,
    pub leaves: Vec<Vec<(usize, f64)>>,
}

/// Most tests of one node.
const MOST_TESTS: usize = 1 << 10;

impl Ensemble {
    /// Each tree's leaves.
    pub fn trees(&self) -> Vec<Range<usize>> {
        let (mut trees, mut leaf, mut first, mut pending) = (Vec::new(), 0, 0, 1usize);
        for tests in &self.forest.0 {
            if *tests > 0 {
                pending += 1;
                continue;
            }
            leaf += 1;
            pending -= 1;
            if pending == 0 {
                trees.push(first..leaf);
                (first, pending) = (leaf, 1);
            }
        }
        trees
    }
}

impl Arena {
    /// In preorder.
    ///
    /// # Errors
    /// Nodes that do not make trees.
    pub fn grow(&self) -> Result<Ensemble, String> {
        let mut ensemble = Ensemble::default();
        let mut seen = vec![false; self.branches.len()];
        let mut pending: Vec<usize> = Vec::new();
        for root in &self.roots {
            pending.push(*root);
            while let Some(at) = pending.pop() {
                let branch = self.branches.get(at).ok_or_else(|| format!("there is no node {at}"))?;
                if std::mem::replace(&mut seen[at], true) {
                    return Err("a node of it has two parents".into());
                }
                match branch {
                    Branch::Leaf(weights) => {
                        ensemble.forest.0.push(0);
                        ensemble.leaves.push(weights.clone());
                    }
                    Branch::Node { feature, mode, threshold, missing, yes, no } => {
                        let (asks, turned) = asks(*feature, mode, *threshold, *missing)?;
                        ensemble.forest.0.push(asks.len() as u16);
                        ensemble.asks.extend(asks);
                        pending.extend(if turned { [*yes, *no] } else { [*no, *yes] });
                    }
                }
            }
        }
        Ok(ensemble)
    }
}

/// The comparisons whose alternating sum is a node's truth, and whether it is that of its opposite.
fn asks(feature: usize, mode: &Mode, threshold: f64, missing: bool) -> Result<(Vec<Ask>, bool), String> {
    let one = |strict: bool, above: bool| vec![Ask { feature, threshold, strict, above, missing }];
    let point = |threshold: f64, missing: bool| {
        let at = |strict: bool| Ask { feature, threshold, strict, above: false, missing: missing && !strict };
        [at(false), at(true)]
    };
    Ok(match mode {
        Mode::LessOrEqual => (one(false, false), false),
        Mode::Less => (one(true, false), false),
        Mode::Greater => (one(false, true), false),
        Mode::GreaterOrEqual => (one(true, true), false),
        Mode::Equal => (point(threshold, missing).to_vec(), false),
        // A missing value is no number that there is, so it differs.
        Mode::NotEqual => (point(threshold, false).to_vec(), true),
        Mode::Member(values) => {
            let mut values = values.clone();
            values.sort_by(f64::total_cmp);
            values.dedup();
            if values.is_empty() || 2 * values.len() > MOST_TESTS {
                return Err(format!("a node of it asks for one of {} values", values.len()));
            }
            let each = values.iter().enumerate().flat_map(|(i, value)| point(*value, missing && i == 0));
            (each.collect(), false)
        }
    })
}

/// Children by tree and node, as operator sets 1 to 4 name them.
#[derive(Default)]
pub(super) struct Names(HashMap<(i64, i64), usize>);

impl Names {
    /// Gives node `node` of tree `tree` the place `at`.
    pub fn insert(&mut self, tree: i64, node: i64, at: usize) -> Result<(), String> {
        match self.0.insert((tree, node), at) {
            Some(_) => Err(format!("tree {tree} has node {node} twice")),
            None => Ok(()),
        }
    }

    /// Its place.
    pub fn place(&self, tree: i64, node: i64) -> Result<usize, String> {
        self.0.get(&(tree, node)).copied().ok_or_else(|| format!("tree {tree} has no node {node}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mode as a node's truth, against what ONNX says of it.
    #[test]
    fn modes_are_tests() {
        let values = [f32::NAN, f32::NEG_INFINITY, -1.0, 0.0, 1.0, 1.5, 2.0, 3.0, f32::INFINITY];
        let members = Mode::Member(vec![3.0, -1.0, 1.5]);
        type Rule = fn(f32) -> bool;
        let modes: [(Mode, Rule); 7] = [
            (Mode::LessOrEqual, |x| x <= 1.5),
            (Mode::Less, |x| x < 1.5),
            (Mode::GreaterOrEqual, |x| x >= 1.5),
            (Mode::Greater, |x| x > 1.5),
            (Mode::Equal, |x| x == 1.5),
            (Mode::NotEqual, |x| x != 1.5),
            (members, |x| [3.0, -1.0, 1.5].contains(&x)),
        ];
        for (mode, truth) in modes {
            for missing in [false, true] {
                let (asks, turned) = asks(0, &mode, 1.5, missing).unwrap();
                for x in values {
                    let expected = truth(x) || x.is_nan() && missing;
                    let of = |holds: &dyn Fn(&Ask) -> bool| {
                        let signed = |(i, ask): (usize, &Ask)| i32::from(holds(ask)) * if i % 2 == 0 { 1 } else { -1 };
                        asks.iter().enumerate().map(signed).sum::<i32>()
                    };
                    for sum in [of(&|ask| ask.holds(x.into())), of(&|ask| ask.test().holds(x))] {
                        assert!(sum == 0 || sum == 1);
                        assert_eq!((sum == 1) != turned, expected, "{mode:?} {missing} {x}");
                    }
                }
            }
        }
        assert!(asks(0, &Mode::Member(vec![]), 0.0, false).is_err());
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let leaf = || Branch::Leaf(vec![]);
        let node = |yes, no| {
            let (feature, mode, threshold, missing) = (0, Mode::Less, 0.0, false);
            Branch::Node { feature, mode, threshold, missing, yes, no }
        };
        let grown = |branches: Vec<Branch>| Arena { branches, roots: vec![0] }.grow();
        assert_eq!(grown(vec![node(2, 1), leaf(), node(3, 4), leaf(), leaf()]).unwrap().forest.0, [1, 1, 0, 0, 0]);
        assert!(grown(vec![node(1, 1), leaf()]).unwrap_err().contains("two parents"));
        assert!(grown(vec![node(0, 1), leaf()]).unwrap_err().contains("two parents"));
        assert!(grown(vec![node(1, 7), leaf()]).unwrap_err().contains("no node 7"));
    }
}
