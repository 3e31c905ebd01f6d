//! Affine maps that several nodes read, as those of a normalisation behind each block of a
//! transformer do: the next layer, and the sum around it.
//!
//! - `layer(x) + affine(y)` becomes one layer of `x` and `y` side by side, whose further weights
//!   are the map's factors.
//! - An affine map that only layers read goes into all of them.
//! - What a layer makes, less its mean over the layer's channels, is what a layer with other
//!   weights makes.
//!
//! So none of these takes a product, an extension or a requantisation of its own.

use super::build::Builder;
use super::{Affine, Conv, Graph, NodeId, Op, eval};

/// What moves a tensor's elements, from what is moved first to what is last.
type Moves = Vec<NodeId>;

/// Does one of these once; whether there was one.
pub(super) fn into_layers(graph: &mut Graph) -> bool {
    let users = graph.users();
    for id in (0..graph.nodes.len()).map(NodeId) {
        let done = match &graph.node(id).op {
            Op::Add => {
                let &[a, b] = graph.node(id).inputs.as_slice() else { continue };
                let either = [(a, b), (b, a)];
                let joined = either.iter().find_map(|(layer, skip)| side_by_side(graph, &users, id, *layer, *skip));
                if let Some(joined) = joined {
                    *graph = joined;
                    return true;
                }
                either.iter().any(|(x, sums)| centre(graph, &users, id, *x, *sums))
            }
            Op::Affine(map) => scales(map) && into_readers(graph, &users, id),
            _ => false,
        };
        if done {
            return true;
        }
    }
    false
}

/// Whether an affine map is more than a sum, which is local.
fn scales(map: &Affine) -> bool {
    map.scale.iter().any(|s| *s != 1.0)
}

/// The convolution, if each of its results is made of one pixel.
fn pointwise(op: &Op) -> Option<&Conv> {
    match op {
        Op::Conv(conv) => {
            let one = conv.weight.shape()[2..] == [1, 1] && conv.pads == [0; 4] && conv.strides == [1, 1];
            Some(conv).filter(|conv| one && conv.groups == 1)
        }
        _ => None,
    }
}

/// What `id` is made of by reshapes and transpositions, and these.
fn below(graph: &Graph, mut id: NodeId) -> (NodeId, Moves) {
    let mut moves = Moves::new();
    while matches!(graph.node(id).op, Op::Reshape | Op::Transpose { .. }) {
        moves.push(id);
        id = graph.node(id).inputs[0];
    }
    moves.reverse();
    (id, moves)
}

/// For each element of what `nodes`, one after the other, make of `from`, the element of `from`
/// that it is. The nodes move elements or copy them.
fn elements(graph: &Graph, from: NodeId, nodes: &[NodeId]) -> Vec<usize> {
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); graph.nodes.len()];
    values[from.0] = (0..graph.node(from).len()).map(|i| i as f32).collect();
    let mut at = from;
    for id in nodes {
        let node = graph.node(*id);
        values[id.0] = match node.op {
            Op::Scale(_) => values[at.0].clone(),
            _ => eval::apply(graph, node, &values, &[]),
        };
        at = *id;
    }
    values[at.0].iter().map(|i| *i as usize).collect()
}

/// Floats count up to here.
const MOST_ELEMENTS: usize = 1 << 24;

/// One number for each of so many channels, if all that are given for it are equal.
fn per_channel(channels: usize, given: impl Iterator<Item = (usize, f32)>) -> Option<Vec<f32>> {
    let mut found: Vec<Option<f32>> = vec![None; channels];
    for (channel, number) in given {
        if *found[channel].get_or_insert(number) != number {
            return None;
        }
    }
    found.into_iter().collect()
}

/// `graph` with the sum `id` of `layer` and `skip`, moved around, as one layer, if these are a
/// layer that nothing else reads and an affine map that others read too.
fn side_by_side(graph: &Graph, users: &[Vec<NodeId>], id: NodeId, layer: NodeId, skip: NodeId) -> Option<Graph> {
    let (layer, moves) = below(graph, layer);
    let (skip, skip_moves) = below(graph, skip);
    let Op::Affine(map) = &graph.node(skip).op else { return None };
    let conv = pointwise(&graph.node(layer).op)?;
    let alone = std::iter::once(&layer).chain(&moves).all(|at| users[at.0].len() == 1);
    let shared = users[skip.0].len() > 1 && meets_layers(graph, users, skip);
    if !alone || !scales(map) || !shared || graph.node(skip).len() >= MOST_ELEMENTS {
        return None;
    }
    let shape = graph.node(layer).shape.clone();
    let (channels, pixels) = (shape[0], shape[1..].iter().product::<usize>());
    let places = map.indices(&graph.node(skip).shape);
    let pairs = || elements(graph, layer, &moves).into_iter().zip(elements(graph, skip, &skip_moves));
    let of = |numbers: &[f32]| per_channel(channels, pairs().map(|(a, b)| (a / pixels, numbers[places[b]])));
    let (scale, shift) = (of(&map.scale)?, of(&map.shift)?);

    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    let mut b = Builder::default();
    b.graph.name.clone_from(&graph.name);
    for (at, node) in graph.iter() {
        if at != id {
            let inputs = node.inputs.iter().map(|input| renamed[input.0]).collect();
            renamed.push(b.graph.push(node.op.clone(), inputs, node.shape.clone(), node.name.clone()));
            continue;
        }
        b.node.clone_from(&graph.node(layer).name);
        // What the map reads, in the layer's order of elements.
        let mut x = renamed[graph.node(skip).inputs[0].0];
        for at in &skip_moves {
            x = again(&mut b, graph, *at, x);
        }
        for at in moves.iter().rev() {
            let node = graph.node(*at);
            x = match &node.op {
                Op::Transpose { perm } => {
                    let mut back = vec![0; perm.len()];
                    perm.iter().enumerate().for_each(|(i, axis)| back[*axis] = i);
                    b.transpose(x, &back)
                }
                _ => b.reshape(x, &graph.node(node.inputs[0]).shape.clone()),
            };
        }
        let given = graph.node(layer).inputs[0];
        let before = conv.weight.shape()[1];
        let both = vec![before + channels, shape[1], shape[2]];
        let x = b.push(Op::Concat { axis: 0 }, vec![renamed[given.0], x], both);
        let weight = ndarray::Array4::from_shape_fn((channels, before + channels, 1, 1), |(row, column, ..)| {
            match column.checked_sub(before) {
                None => conv.weight[[row, column, 0, 0]],
                Some(own) if own == row => scale[row],
                Some(_) => 0.0,
            }
        });
        let bias = conv.bias.iter().zip(&shift).map(|(bias, shift)| bias + shift).collect();
        let mut y = b.push(Op::Conv(Conv { weight, bias, ..conv.clone() }), vec![x], shape.clone());
        for at in &moves {
            y = again(&mut b, graph, *at, y);
        }
        renamed.push(y);
    }
    let output = *renamed.last()?;
    Some(b.graph.reachable(output))
}

/// Whether what reads `id`, through moves, are layers and sums, which may take an affine map with
/// them: else it is computed by itself all the same.
fn meets_layers(graph: &Graph, users: &[Vec<NodeId>], id: NodeId) -> bool {
    users[id.0].iter().all(|user| match graph.node(*user).op {
        Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } => meets_layers(graph, users, *user),
        Op::Conv(_) | Op::Dense(_) | Op::Add => true,
        _ => false,
    })
}

/// The move `at` of `graph`, of `x`.
fn again(b: &mut Builder, graph: &Graph, at: NodeId, x: NodeId) -> NodeId {
    let node = graph.node(at);
    match &node.op {
        Op::Transpose { perm } => b.transpose(x, perm),
        _ => b.reshape(x, &node.shape),
    }
}

/// A sum so large beside what is computed with it that float32 would lose digits is left alone.
const FAR: f32 = 1024.0;

/// Takes the affine map `id` into all that reads it, if that is nothing but layers without padding,
/// each of whose channels has one factor and summand; whether it did.
fn into_readers(graph: &mut Graph, users: &[Vec<NodeId>], id: NodeId) -> bool {
    let Op::Affine(map) = graph.node(id).op.clone() else { return false };
    if graph.node(id).len() >= MOST_ELEMENTS || users[id.0].is_empty() {
        return false;
    }
    let places = map.indices(&graph.node(id).shape);
    let mut open: Vec<(NodeId, Moves)> = vec![(id, Moves::new())];
    let mut found: Vec<(NodeId, Vec<f32>, Vec<f32>)> = Vec::new();
    while let Some((at, moves)) = open.pop() {
        if users[at.0].is_empty() {
            return false;
        }
        for user in &users[at.0] {
            let node = graph.node(*user);
            if matches!(node.op, Op::Reshape | Op::Transpose { .. } | Op::Slice { .. }) {
                open.push((*user, moves.iter().copied().chain([*user]).collect()));
                continue;
            }
            let unpadded = matches!(&node.op, Op::Conv(conv) if conv.pads == [0; 4]);
            if !unpadded && !matches!(node.op, Op::Dense(_)) {
                return false;
            }
            let channels = graph.node(at).shape[0];
            let pixels = (graph.node(at).len() / channels).max(1);
            let given = elements(graph, id, &moves);
            let of = |numbers: &[f32]| {
                per_channel(channels, given.iter().enumerate().map(|(i, from)| (i / pixels, numbers[places[*from]])))
            };
            let (Some(scale), Some(shift)) = (of(&map.scale), of(&map.shift)) else { return false };
            let most = match &node.op {
                Op::Conv(conv) => conv.weight.iter().fold(0f32, |most, w| most.max(w.abs())),
                Op::Dense(dense) if channels == dense.weight.ncols() => {
                    dense.weight.iter().fold(0f32, |most, w| most.max(w.abs()))
                }
                _ => return false,
            };
            if shift.iter().any(|shift| (shift * most).abs() >= FAR) {
                return false;
            }
            found.push((*user, scale, shift));
        }
    }
    for (reader, scale, shift) in found {
        match &mut graph.nodes[reader.0].op {
            Op::Conv(conv) => super::fold::absorb(conv, &scale, &shift),
            Op::Dense(dense) => {
                for ((row, column), w) in dense.weight.indexed_iter_mut() {
                    dense.bias[row] += *w * shift[column];
                    *w *= scale[column];
                }
            }
            _ => {}
        }
    }
    graph.nodes[id.0].op = Op::Reshape;
    true
}

/// Makes the sum `id` of `x` and of multiples of the sums of its rows a layer's own, if `x` is what
/// a layer makes, a row has all its channels of one pixel, and nothing else reads any of it;
/// whether it did.
fn centre(graph: &mut Graph, users: &[Vec<NodeId>], id: NodeId, x: NodeId, sums: NodeId) -> bool {
    let Some((layer, own, multiple)) = less_sums(graph, users, id, x, sums) else { return false };
    let Op::Conv(conv) = &mut graph.nodes[layer.0].op else { return false };
    let (rows, columns) = (conv.weight.shape()[0], conv.weight.shape()[1]);
    for column in 0..columns {
        let sum: f64 = (0..rows).map(|row| f64::from(conv.weight[[row, column, 0, 0]])).sum();
        for row in 0..rows {
            let w = &mut conv.weight[[row, column, 0, 0]];
            *w = (own * f64::from(*w) + multiple * sum) as f32;
        }
    }
    let sum: f64 = conv.bias.iter().copied().map(f64::from).sum();
    conv.bias.iter_mut().for_each(|b| *b = (own * f64::from(*b) + multiple * sum) as f32);
    let (_, path) = scaled_below(graph, x);
    for at in path {
        if matches!(graph.node(at).op, Op::Scale(_)) {
            graph.nodes[at.0].op = Op::Reshape;
        }
    }
    (graph.nodes[id.0].op, graph.nodes[id.0].inputs) = (Op::Reshape, vec![x]);
    true
}

/// What `id` is made of by reshapes, transpositions, public factors and copies, and these.
fn scaled_below(graph: &Graph, mut id: NodeId) -> (NodeId, Moves) {
    let mut path = Moves::new();
    loop {
        let node = graph.node(id);
        let copies = matches!(node.op, Op::Concat { .. }) && node.inputs.iter().all(|input| *input == node.inputs[0]);
        if !copies && !matches!(node.op, Op::Reshape | Op::Transpose { .. } | Op::Scale(_)) {
            path.reverse();
            return (id, path);
        }
        path.push(id);
        id = node.inputs[0];
    }
}

/// The layer below the sum, what it is multiplied by, and what the sums of its channels are.
fn less_sums(graph: &Graph, users: &[Vec<NodeId>], id: NodeId, x: NodeId, sums: NodeId) -> Option<(NodeId, f64, f64)> {
    let (layer, own_path) = scaled_below(graph, x);
    let (pool, spread) = scaled_below(graph, sums);
    let Op::SumPool(window) = &graph.node(pool).op else { return None };
    let operand = graph.node(pool).inputs[0];
    let (source, pool_path) = scaled_below(graph, operand);
    pointwise(&graph.node(layer).op)?;
    let copies = |path: &Moves| path.iter().any(|at| matches!(graph.node(*at).op, Op::Concat { .. }));
    if source != layer || copies(&own_path) || copies(&pool_path) || graph.node(layer).len() >= MOST_ELEMENTS {
        return None;
    }
    let inside: Vec<NodeId> = [&own_path[..], &spread, &pool_path, &[layer, pool, id]].concat();
    let others = |at: &NodeId| users[at.0].iter().any(|user| !inside.contains(user));
    if inside.iter().any(|at| *at != id && others(at)) {
        return None;
    }
    let &[channels, ref pixels @ ..] = graph.node(layer).shape.as_slice() else { return None };
    let pixels: usize = pixels.iter().product();
    let whole = graph.node(operand).shape[1..] == [1, channels] && window.kernel == [1, channels];
    if !whole || window.pads != [0; 4] || graph.node(pool).len() != pixels {
        return None;
    }
    let summed = elements(graph, layer, &pool_path);
    let of_pixel: Vec<usize> = summed.chunks_exact(channels).map(|row| row[0] % pixels).collect();
    let is_row = |(row, pixel): (&[usize], &usize)| {
        let mut channels: Vec<usize> = row.iter().map(|i| i / pixels).collect();
        channels.sort_unstable();
        channels.iter().enumerate().all(|(at, channel)| at == *channel) && row.iter().all(|i| i % pixels == *pixel)
    };
    let own = elements(graph, layer, &own_path);
    let rows = elements(graph, pool, &spread);
    let fits = summed.chunks_exact(channels).zip(&of_pixel).all(is_row)
        && own.iter().zip(&rows).all(|(own, row)| own % pixels == of_pixel[*row]);
    let factor = |path: &Moves| -> f64 {
        let factors = path.iter().map(|at| match graph.node(*at).op {
            Op::Scale(factor) => f64::from(factor),
            _ => 1.0,
        });
        factors.product()
    };
    fits.then(|| (layer, factor(&own_path), factor(&spread) * factor(&pool_path)))
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::super::fold::fold;
    use super::*;

    const CHANNELS: usize = 4;
    const PIXELS: usize = 3;

    fn ramp(n: usize, from: usize) -> Vec<f32> {
        (from..from + n).map(|i| (i * 7 % 11) as f32 / 8.0 - 0.5).collect()
    }

    /// A layer on pixels, `[CHANNELS, 1, PIXELS]`.
    fn layer(b: &mut Builder, x: NodeId, from: usize) -> NodeId {
        let given = b.shape(x)[0];
        let weight = Array4::from_shape_vec((CHANNELS, given, 1, 1), ramp(CHANNELS * given, from)).unwrap();
        let (bias, one) = (ramp(CHANNELS, from + 3), [1, 1]);
        let conv = Conv { weight, bias, strides: one, pads: [0; 4], dilations: one, groups: 1 };
        b.push(Op::Conv(conv), vec![x], [CHANNELS, 1, PIXELS])
    }

    /// Rows of a pixel's channels, and back.
    fn rows(b: &mut Builder, x: NodeId) -> NodeId {
        let x = b.reshape(x, &[CHANNELS, PIXELS]);
        b.transpose(x, &[1, 0])
    }

    fn pixels(b: &mut Builder, x: NodeId) -> NodeId {
        let x = b.transpose(x, &[1, 0]);
        b.reshape(x, &[CHANNELS, 1, PIXELS])
    }

    fn affine(b: &mut Builder, x: NodeId, scale: Vec<f32>, shape: [usize; 2]) -> NodeId {
        let shift = ramp(scale.len(), 5);
        b.push(Op::Affine(Affine { shape: shape.to_vec(), scale, shift }), vec![x], [PIXELS, CHANNELS])
    }

    /// A row less its mean.
    fn centred(b: &mut Builder, x: NodeId) -> NodeId {
        let sum = b.pool_rows(Op::SumPool, x);
        let mean = b.scale(1.0 / CHANNELS as f32, sum);
        let mean = b.reshape(mean, &[PIXELS, 1]);
        let mean = b.expand(mean, &[PIXELS, CHANNELS]).unwrap();
        b.sub(x, mean)
    }

    /// The factors of the affine map that a block of two layers has around it.
    fn block(scale: Vec<f32>, shape: [usize; 2]) -> Graph {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [PIXELS, CHANNELS]);
        let x = b.relu(x);
        let y = affine(&mut b, x, scale, shape);
        let flat = pixels(&mut b, y);
        let inner = layer(&mut b, flat, 1);
        let inner = b.push(Op::Relu, vec![inner], [CHANNELS, 1, PIXELS]);
        let outer = layer(&mut b, inner, 2);
        let outer = rows(&mut b, outer);
        let sum = b.push(Op::Add, vec![outer, y], [PIXELS, CHANNELS]);
        let c = centred(&mut b, sum);
        let c = b.relu(c);
        b.graph.reachable(c)
    }

    fn same(a: &Graph, b: &Graph) {
        let sample = ramp(PIXELS * CHANNELS, 4);
        let [x, y] = [a, b].map(|graph| eval::run(graph, &sample).pop().unwrap());
        assert!(x.iter().any(|x| *x > 0.1) && x.len() == y.len());
        x.iter().zip(&y).for_each(|(x, y)| assert!((x - y).abs() < 1e-5, "{x} {y}"));
    }

    fn count(graph: &Graph, is: fn(&Op) -> bool) -> usize {
        graph.nodes.iter().filter(|node| is(&node.op)).count()
    }

    #[test]
    fn a_block_with_a_skip_and_a_mean_is_its_two_layers() {
        let graph = block(ramp(CHANNELS, 6), [1, CHANNELS]);
        let folded = fold(graph.clone());
        same(&graph, &folded);
        assert_eq!(count(&folded, |op| matches!(op, Op::Conv(_))), 2);
        assert_eq!(count(&folded, |op| matches!(op, Op::Add | Op::Affine(_) | Op::SumPool(_) | Op::Scale(_))), 0);
        let both = folded.nodes.iter().find_map(|node| match &node.op {
            Op::Conv(conv) if conv.weight.shape()[1] == 2 * CHANNELS => Some(conv),
            _ => None,
        });
        assert!(both.is_some());
    }

    #[test]
    fn factors_that_vary_from_pixel_to_pixel_stay() {
        let graph = block(ramp(PIXELS * CHANNELS, 6), [PIXELS, CHANNELS]);
        let folded = fold(graph.clone());
        same(&graph, &folded);
        // The map is a layer of its own, and the sum is there.
        assert_eq!(count(&folded, |op| matches!(op, Op::Conv(_))), 3);
        assert_eq!(count(&folded, |op| matches!(op, Op::Add)), 2);
    }

    #[test]
    fn a_mean_of_what_others_read_stays() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [CHANNELS, 1, PIXELS]);
        let x = layer(&mut b, x, 1);
        let x = rows(&mut b, x);
        let c = centred(&mut b, x);
        let alone = b.graph.clone().reachable(c);
        let y = b.push(Op::Mul, vec![c, x], [PIXELS, CHANNELS]);
        let shared = b.graph.reachable(y);
        for (graph, pools) in [(alone, 0), (shared, 1)] {
            let folded = fold(graph.clone());
            same(&graph, &folded);
            assert_eq!(count(&folded, |op| matches!(op, Op::SumPool(_))), pools);
        }
    }
}
