//! Trees and what is done to their results: sums and multiples of trees are trees with other
//! leaves, and so is any function of one tree's result. Boosting that an exporter writes as one
//! ensemble for each tree, with the arithmetic between them, becomes a single one.

use std::sync::Arc;

use ndarray::{Axis, concatenate};

use super::build::Builder;
use super::trees::Trees;
use super::{Graph, Node, NodeId, Op};

/// The same network with such operations as part of the trees that they alone read.
pub fn absorb(graph: Graph) -> Graph {
    let users = graph.users();
    let mut builder = Builder { graph: Graph { name: graph.name.clone(), nodes: Vec::new() }, node: String::new() };
    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        builder.node.clone_from(&node.name);
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| renamed[input.0]).collect();
        let sole = node.inputs.iter().all(|input| users[input.0].len() == 1);
        let joined = if sole { joined(&mut builder.graph, node, &inputs) } else { None };
        renamed.push(match joined {
            Some((trees, x)) => builder.push(Op::Trees(Arc::new(trees)), vec![x], node.shape.clone()),
            None => builder.push(node.op.clone(), inputs, node.shape.clone()),
        });
    }
    match renamed.last() {
        Some(output) => builder.graph.reachable(*output),
        None => graph,
    }
}

/// The trees that `node` of `inputs` is, and what they read. The trees that become part of them are
/// taken from where they were.
fn joined(graph: &mut Graph, node: &Node, inputs: &[NodeId]) -> Option<(Trees, NodeId)> {
    let mut read = inputs.iter().map(|input| match graph.node(*input) {
        Node { op: Op::Trees(_), inputs, .. } => Some(inputs[0]),
        _ => None,
    });
    let x = read.next()??;
    if read.any(|other| other != Some(x)) {
        return None;
    }
    let joins = match &node.op {
        Op::Scale(_) | Op::Affine(_) => true,
        Op::Add => inputs[0] != inputs[1],
        Op::Pointwise(_) | Op::Relu => trees_of(graph, inputs[0])?.forest.extent()?.trees == 1,
        _ => false,
    };
    if !joins {
        return None;
    }
    let mut taken = inputs.iter().map(|input| match std::mem::replace(&mut graph.nodes[input.0].op, Op::Reshape) {
        Op::Trees(trees) => Arc::unwrap_or_clone(trees),
        _ => unreachable!("trees, as was looked at"),
    });
    let (first, second) = (taken.next()?, taken.next());
    let trees = match (&node.op, second) {
        (Op::Scale(factor), _) => mapped(first, |_, x| f64::from(*factor) * x, |_, x| f64::from(*factor) * x),
        (Op::Affine(affine), _) => {
            let at = affine.indices(&node.shape);
            let factor = |row: usize| f64::from(affine.scale[at[row]]);
            let summand = |row: usize| f64::from(affine.shift[at[row]]);
            mapped(first, |row, x| factor(row) * x, |row, x| factor(row) * x + summand(row))
        }
        (Op::Add, Some(second)) => both(first, second),
        (op, _) => {
            let f = |x: f64| match op {
                Op::Pointwise(f) => f.at(x),
                _ => x.max(0.0),
            };
            let base = first.base.clone();
            mapped(first, |row, x| f(base[row] + x), |_, _| 0.0)
        }
    };
    Some((trees, x))
}

fn trees_of(graph: &Graph, id: NodeId) -> Option<&Trees> {
    if let Op::Trees(trees) = &graph.node(id).op { Some(trees) } else { None }
}

/// Leaves and bases of each result replaced.
fn mapped(mut trees: Trees, leaf: impl Fn(usize, f64) -> f64, base: impl Fn(usize, f64) -> f64) -> Trees {
    for (row, mut leaves) in trees.leaves.rows_mut().into_iter().enumerate() {
        leaves.mapv_inplace(|x| leaf(row, x));
        trees.base[row] = base(row, trees.base[row]);
    }
    trees
}

/// The sum of two ensembles on the same features.
fn both(mut first: Trees, second: Trees) -> Trees {
    first.forest.0.extend(second.forest.0);
    first.tests.extend(second.tests);
    first.leaves = concatenate(Axis(1), &[first.leaves.view(), second.leaves.view()]).expect("as many results");
    first.base.iter_mut().zip(second.base).for_each(|(base, other)| *base += other);
    first
}

#[cfg(test)]
mod tests {
    use fusion_ir::input::ordered;
    use ndarray::Array2;

    use super::*;
    use crate::nn::Affine;
    use crate::nn::eval;
    use crate::nn::expr::{Expr, Unary};
    use crate::nn::trees::Test;

    fn stump(threshold: f32, leaves: [f64; 4], base: f64) -> Op {
        Op::Trees(Arc::new(Trees {
            forest: "[o..]".parse().unwrap(),
            tests: vec![Test { feature: 0, most: ordered(threshold), above: false, missing: false }],
            leaves: Array2::from_shape_vec((2, 2), leaves.to_vec()).unwrap(),
            base: vec![base; 2],
        }))
    }

    #[test]
    fn what_is_done_to_trees_is_a_forest() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [1]);
        let one = b.push(stump(0.0, [1.0, -2.0, 3.0, 0.5], 0.25), vec![x], [2]);
        let other = b.push(stump(1.0, [0.0, 4.0, -1.0, 2.0], 0.0), vec![x], [2]);
        let one = b.pointwise(Expr::unary(Unary::Exp, Expr::X), one);
        let one = b.affine(one, Affine { shape: vec![2], scale: vec![2.0, -3.0], shift: vec![1.0, 0.0] });
        let other = b.relu(other);
        let other = b.scale(0.5, other);
        let y = b.add(one, other);
        let plain = b.graph.reachable(y);
        let joined = absorb(plain.clone());
        assert_eq!(joined.nodes.len(), 2);
        assert_eq!(trees_of(&joined, NodeId(1)).unwrap().forest.to_string(), "[2*o..]");
        for x in [-1.0, 0.0, 0.5, 1.0, 2.0, f32::NAN] {
            let [a, b] = [&plain, &joined].map(|graph| eval::run(graph, &[x]).pop().unwrap());
            a.iter().zip(&b).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{x}: {a} {b}"));
        }
    }

    #[test]
    fn functions_of_several_trees_and_trees_that_others_read_stay() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [1]);
        let one = b.push(stump(0.0, [1.0; 4], 0.0), vec![x], [2]);
        let other = b.push(stump(1.0, [2.0; 4], 0.0), vec![x], [2]);
        let sum = b.add(one, other);
        let y = b.pointwise(Expr::unary(Unary::Exp, Expr::X), sum);
        let y = b.add(y, sum);
        let joined = absorb(b.graph.reachable(y));
        let names: Vec<&str> = joined.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["input", "trees", "pointwise", "add"]);
    }
}
