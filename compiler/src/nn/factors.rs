//! One factor behind a product of two computed tensors, such as the `1 / sqrt(d)` of attention's
//! scores: it goes into the linear layer that makes one of the factors, where it costs nothing.
//! Where the layer makes other things, too, as one layer for queries, keys and values does, only
//! the rows that the product reads are multiplied, and by no more than the root of two: they share
//! formats with the others. The power of two that is left only changes the product's format.

use super::{Affine, Graph, Node, NodeId, Op, eval};

/// What makes an operand of a product, and how much of it.
struct Source {
    layer: NodeId,
    /// The rows that the product alone reads; `None` if they are all of them.
    rows: Option<Vec<usize>>,
}

/// Takes such factors into layers; whether one was.
pub(super) fn into_layers(graph: &mut Graph) -> bool {
    let maps = |node: &Node| matches!(&node.op, Op::Affine(map) if single(map).is_some());
    let found: Vec<NodeId> = graph.iter().filter(|(_, node)| maps(node)).map(|(id, _)| id).collect();
    if found.is_empty() {
        return false;
    }
    let users = graph.users();
    let mut changed = false;
    for id in found {
        changed |= into_layer(graph, &users, id);
    }
    changed
}

/// The factor, if it is one for all elements and no zero.
pub(super) fn single(map: &Affine) -> Option<f32> {
    let first = *map.scale.first()?;
    (first != 1.0 && first != 0.0 && map.scale.iter().all(|s| *s == first)).then_some(first)
}

/// Whether `id` is what a product of two computed tensors makes, moved around.
pub(super) fn is_of_product(graph: &Graph, mut id: NodeId) -> bool {
    while graph.node(id).op.moves() {
        id = graph.node(id).inputs[0];
    }
    is_product(graph.node(id))
}

fn into_layer(graph: &mut Graph, users: &[Vec<NodeId>], id: NodeId) -> bool {
    let Op::Affine(map) = &graph.node(id).op else { return false };
    let Some(factor) = single(map) else { return false };
    let unshifted = map.shift.iter().all(|s| *s == 0.0);
    let above = || source(graph, users, id, graph.node(id).inputs[0]);
    let beside = || unshifted.then(|| other_factor(graph, users, id))?;
    let Some(Source { layer, rows }) = above().or_else(beside) else { return false };
    // What shares its format with other rows keeps its size.
    let (taken, left) = match &rows {
        None => (factor, 1.0),
        Some(_) => apart(factor),
    };
    if taken == 1.0 {
        return false;
    }
    let of = |row: usize| rows.as_ref().is_none_or(|rows| rows.binary_search(&row).is_ok());
    match &mut graph.nodes[layer.0].op {
        Op::Conv(conv) => {
            let taken = |row: usize| if of(row) { taken } else { 1.0 };
            conv.weight.indexed_iter_mut().for_each(|((row, ..), w)| *w *= taken(row));
            conv.bias.iter_mut().enumerate().for_each(|(row, b)| *b *= taken(row));
        }
        Op::Dense(dense) => {
            let taken = |row: usize| if of(row) { taken } else { 1.0 };
            dense.weight.indexed_iter_mut().for_each(|((row, _), w)| *w *= taken(row));
            dense.bias.iter_mut().enumerate().for_each(|(row, b)| *b *= taken(row));
        }
        _ => return false,
    }
    if let Op::Affine(map) = &mut graph.nodes[id.0].op {
        map.scale.iter_mut().for_each(|s| *s = left);
        if left == 1.0 && unshifted {
            graph.nodes[id.0].op = Op::Reshape;
        }
    }
    true
}

/// A factor as one between the roots of a half and of two, and a power of two.
fn apart(factor: f32) -> (f32, f32) {
    let power = factor.abs().log2().round().exp2();
    (factor / power, power)
}

fn is_product(node: &Node) -> bool {
    matches!(node.op, Op::Mul | Op::MatMul) && node.inputs[0] != node.inputs[1]
}

/// The layer that makes `x`, which `reader` reads, so that a factor of the layer is one of `x` and
/// of nothing else.
fn source(graph: &Graph, users: &[Vec<NodeId>], reader: NodeId, x: NodeId) -> Option<Source> {
    let (mut at, mut alone) = (x, users[x.0].len() == 1);
    while graph.node(at).op.moves() {
        at = graph.node(at).inputs[0];
        alone &= users[at.0].len() == 1;
    }
    let node = graph.node(at);
    match node.op {
        Op::Conv(_) | Op::Dense(_) if alone => Some(Source { layer: at, rows: None }),
        Op::Conv(_) | Op::Dense(_) => Some(Source { layer: at, rows: Some(own_rows(graph, users, at, reader, x)?) }),
        _ if is_product(node) && alone => node.inputs.iter().find_map(|factor| source(graph, users, at, *factor)),
        _ => None,
    }
}

/// The rows of `layer` that `reader` has by way of `x`, if nothing else has any of them.
fn own_rows(graph: &Graph, users: &[Vec<NodeId>], layer: NodeId, reader: NodeId, x: NodeId) -> Option<Vec<usize>> {
    // The row of every element, counted from one: zero is what a padding adds.
    let mut rows: Vec<Vec<f32>> = vec![Vec::new(); graph.nodes.len()];
    let Node { shape, .. } = graph.node(layer);
    let each: usize = shape[1..].iter().product();
    rows[layer.0] = (1..=shape[0]).flat_map(|row| std::iter::repeat_n(row as f32, each)).collect();
    for (id, node) in graph.iter().skip(layer.0 + 1) {
        if node.op.moves() && !rows[node.inputs[0].0].is_empty() {
            rows[id.0] = eval::apply(graph, node, &rows, &[]);
        }
    }
    let mut own = vec![false; shape[0] + 1];
    rows[x.0].iter().for_each(|row| own[*row as usize] = true);
    own[0] = false;
    let mut once = false;
    for (id, node) in graph.iter().filter(|(_, node)| !node.op.moves()) {
        for input in &node.inputs {
            let here = id == reader && *input == x && !std::mem::replace(&mut once, true);
            if !here && rows[input.0].iter().any(|row| own[*row as usize]) {
                return None;
            }
        }
    }
    let unread = |id: &NodeId| users[id.0].is_empty() && !rows[id.0].is_empty();
    if graph.iter().any(|(id, _)| unread(&id)) {
        return None;
    }
    Some((0..shape[0]).filter(|row| own[row + 1]).collect())
}

/// What makes the other operand of the product that alone reads `id`, if it does.
fn other_factor(graph: &Graph, users: &[Vec<NodeId>], id: NodeId) -> Option<Source> {
    let mut at = id;
    loop {
        let &[reader] = users[at.0].as_slice() else { return None };
        let node = graph.node(reader);
        if is_product(node) {
            let other = if node.inputs[0] == at { node.inputs[1] } else { node.inputs[0] };
            return source(graph, users, reader, other);
        }
        // A slice or a padding changes nothing about a factor.
        if !node.op.moves() {
            return None;
        }
        at = reader;
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array4};

    use super::super::build::Builder;
    use super::super::fold::fold;
    use super::super::{Conv, Dense};
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7 + seed * 5 + 3) % 23) as f32 / 8.0 - 1.375).collect()
    }

    /// Rows of tokens, `[width, tokens]`, by a linear layer of each token.
    fn layer(b: &mut Builder, x: NodeId, out: usize, seed: usize) -> NodeId {
        let (width, tokens) = (b.shape(x)[0], b.shape(x)[2]);
        let weight = Array4::from_shape_vec([out, width, 1, 1], numbers(out * width, seed)).unwrap();
        let (strides, dilations) = ([1, 1], [1, 1]);
        let conv = Conv { weight, bias: numbers(out, seed + 1), strides, pads: [0; 4], dilations, groups: 1 };
        b.push(Op::Conv(conv), vec![x], [out, 1, tokens])
    }

    fn affine(b: &mut Builder, x: NodeId, scale: f32, shift: &[f32]) -> NodeId {
        let shape = [vec![1; b.shape(x).len() - 1], vec![shift.len()]].concat();
        b.push(
            Op::Affine(Affine { shape, scale: vec![scale; shift.len()], shift: shift.to_vec() }),
            vec![x],
            b.shape(x).to_vec(),
        )
    }

    /// Scores of two heads of width 2 on 3 tokens, `factor` and `shift` behind them, and a
    /// softmax's worth of a function that is not homogeneous.
    fn scores(b: &mut Builder, q: NodeId, k: NodeId, factor: f32, shift: &[f32]) -> NodeId {
        let q = b.push(Op::Reshape, vec![q], [2, 2, 3]);
        let q = b.push(Op::Transpose { perm: vec![0, 2, 1] }, vec![q], [2, 3, 2]);
        let k = b.push(Op::Reshape, vec![k], [2, 2, 3]);
        let s = b.mat_mul(q, k);
        let flat = b.push(Op::Reshape, vec![s], [6, 3]);
        let plain = factor == 1.0 && shift.iter().all(|b| *b == 0.0);
        let s = if plain { flat } else { affine(b, flat, factor, shift) };
        b.pointwise(crate::nn::expr::Expr::unary(crate::nn::expr::Unary::Tanh, crate::nn::expr::Expr::X), s)
    }

    /// `fold`ed it has `ops`, and computes the same.
    fn folds(b: Builder, y: NodeId, ops: &[&str]) -> Graph {
        let before = b.graph.reachable(y);
        let after = fold(before.clone());
        let found: Vec<&str> =
            after.nodes.iter().map(|node| node.op.name()).filter(|op| !["reshape", "transpose"].contains(op)).collect();
        assert_eq!(found, ops);
        for seed in 0..4 {
            let x = numbers(before.nodes[0].len(), seed);
            let (a, b) = (eval::run(&before, &x).pop().unwrap(), eval::run(&after, &x).pop().unwrap());
            a.iter().zip(&b).for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{a} {b}"));
        }
        after
    }

    fn input(b: &mut Builder) -> NodeId {
        b.push(Op::Input, vec![], [5, 1, 3])
    }

    #[test]
    fn a_factor_of_scores_goes_into_a_layer_whatever_its_size() {
        for factor in [0.088_388_35f32, 0.125, -3.0] {
            let mut b = Builder::default();
            let x = input(&mut b);
            let (q, k) = (layer(&mut b, x, 4, 1), layer(&mut b, x, 4, 2));
            let y = scores(&mut b, q, k, factor, &[0.0; 3]);
            folds(b, y, &["input", "conv", "conv", "mat_mul", "pointwise"]);
        }
    }

    #[test]
    fn a_summand_behind_it_stays_and_adds() {
        let mut b = Builder::default();
        let x = input(&mut b);
        let (q, k) = (layer(&mut b, x, 4, 1), layer(&mut b, x, 4, 2));
        let y = scores(&mut b, q, k, 0.3, &[0.5, -1.0, 0.25]);
        let after = folds(b, y, &["input", "conv", "conv", "mat_mul", "affine", "pointwise"]);
        let adds = |node: &Node| matches!(&node.op, Op::Affine(map) if map.scale.iter().all(|s| *s == 1.0));
        assert!(after.nodes.iter().any(adds));
    }

    #[test]
    fn a_factor_of_one_operand_goes_into_the_layer_of_the_other() {
        let mut b = Builder::default();
        let x = input(&mut b);
        let k = layer(&mut b, x, 4, 2);
        let q = b.push(Op::Slice { start: vec![0, 0, 0] }, vec![x], [4, 1, 3]);
        let q = affine(&mut b, q, 0.3, &[0.0]);
        let y = scores(&mut b, q, k, 1.0, &[0.0; 3]);
        folds(b, y, &["input", "conv", "slice", "mat_mul", "pointwise"]);
    }

    /// Of one layer for queries, keys and values the rows of one are multiplied, and their size
    /// stays.
    #[test]
    fn rows_of_their_own_are_multiplied_by_little() {
        let mut b = Builder::default();
        let x = input(&mut b);
        let all = layer(&mut b, x, 12, 1);
        let part = |b: &mut Builder, at: usize| b.push(Op::Slice { start: vec![4 * at, 0, 0] }, vec![all], [4, 1, 3]);
        let [q, k, v] = [0, 1, 2].map(|at| part(&mut b, at));
        let s = scores(&mut b, q, k, 0.1, &[0.0; 3]);
        let v = b.push(Op::Reshape, vec![v], [2, 2, 3]);
        let v = b.push(Op::Transpose { perm: vec![0, 2, 1] }, vec![v], [2, 3, 2]);
        let s = b.push(Op::Reshape, vec![s], [2, 3, 3]);
        let y = b.mat_mul(s, v);
        let weights = |graph: &Graph| {
            graph.nodes.iter().find_map(|node| match &node.op {
                Op::Conv(conv) => Some(conv.weight.clone()),
                _ => None,
            })
        };
        let before = weights(&b.graph).unwrap();
        let ops = ["input", "conv", "slice", "slice", "slice", "mat_mul", "scale", "pointwise", "mat_mul"];
        let after = folds(b, y, &ops);
        let found = weights(&after).unwrap();
        for ((row, column, ..), w) in before.indexed_iter() {
            let expected = w * if row < 4 { 0.8 } else { 1.0 };
            assert!((found[[row, column, 0, 0]] - expected).abs() < 1e-6, "row {row}");
        }
        assert!(after.nodes.iter().any(|node| node.op == Op::Scale(0.125)));
    }

    #[test]
    fn what_others_read_keeps_its_size() {
        // A layer that both factors and the sum read.
        let mut b = Builder::default();
        let x = input(&mut b);
        let q = layer(&mut b, x, 4, 1);
        let y = scores(&mut b, q, q, 0.3, &[0.0; 3]);
        folds(b, y, &["input", "conv", "mat_mul", "conv", "pointwise"]);
        // Nobody makes the factors; a power of two is only another format.
        for (factor, op) in [(0.25, "scale"), (0.3, "conv")] {
            let mut b = Builder::default();
            let x = input(&mut b);
            let [q, k] = [0, 1].map(|at| b.push(Op::Slice { start: vec![at, 0, 0] }, vec![x], [4, 1, 3]));
            let y = scores(&mut b, q, k, factor, &[0.0; 3]);
            folds(b, y, &["input", "slice", "slice", "mat_mul", op, "pointwise"]);
        }
    }

    #[test]
    fn so_it_is_with_vectors() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [4]);
        let dense = |b: &mut Builder, seed| {
            let weight = Array2::from_shape_vec([3, 4], numbers(12, seed)).unwrap();
            b.push(Op::Dense(Dense { weight, bias: numbers(3, seed + 1) }), vec![x], [3])
        };
        let (p, q) = (dense(&mut b, 1), dense(&mut b, 2));
        let product = b.push(Op::Mul, vec![p, q], [3]);
        let y = affine(&mut b, product, 0.7, &[0.0]);
        let y = b.relu(y);
        folds(b, y, &["input", "dense", "dense", "mul", "relu"]);
    }
}
