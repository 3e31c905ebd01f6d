//! Affine maps that several nodes read, as those of a normalisation behind each block of a
//! transformer do: the next layer, and the sum around it.
//!
//! - `layer(x) + affine(y)` becomes one layer of `x` and `y` side by side, whose further weights
//!   are the map's factors. So does `layer(x) + y` if only its rows' differences from their means
//!   are read.
//! - An affine map that only layers read goes into all of them.
//! - What a layer makes, less its mean over the layer's channels, is what a layer with other
//!   weights makes, also if each element has a summand of its own.
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
                if either.iter().any(|(x, sums)| centre(graph, &users, id, *x, *sums)) {
                    return true;
                }
                let joined = either.iter().find_map(|(layer, skip)| centred_skip(graph, &users, id, *layer, *skip));
                if let Some(joined) = joined {
                    *graph = joined;
                    return true;
                }
                false
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
            Op::Scale(_) | Op::Affine(_) => values[at.0].clone(),
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
    let (skip, skip_moves) = below(graph, skip);
    let Op::Affine(map) = &graph.node(skip).op else { return None };
    let shared = users[skip.0].len() > 1 && meets_layers(graph, users, skip);
    if !scales(map) || !shared || graph.node(skip).len() >= MOST_ELEMENTS {
        return None;
    }
    let places = map.indices(&graph.node(skip).shape);
    let of = |numbers: &[f32], at: usize| numbers[places[at]];
    let x = graph.node(skip).inputs[0];
    joined(graph, users, id, layer, (x, skip, skip_moves), &|at| [of(&map.scale, at), of(&map.shift, at)])
}

/// `graph` with the sum `id` of `layer` and `skip`, moved around, as one layer that makes it less
/// the mean of each row, if that is all that is read of it.
fn centred_skip(graph: &Graph, users: &[Vec<NodeId>], id: NodeId, layer: NodeId, skip: NodeId) -> Option<Graph> {
    let (skip, skip_moves) = below(graph, skip);
    if users[skip.0].len() < 2 || graph.node(skip).len() >= MOST_ELEMENTS || !leads_to_mean(graph, users, id) {
        return None;
    }
    let mut joined = joined(graph, users, id, layer, (skip, skip, skip_moves), &|_| [1.0, 0.0])?;
    let users = joined.users();
    // The one whose factors of what is added are ones.
    let centred = (0..joined.nodes.len()).map(NodeId).any(|id| {
        let &[a, b] = joined.node(id).inputs.as_slice() else { return false };
        let new = |x: NodeId| {
            let layer = scaled_below(&joined, x).0;
            pointwise(&joined.node(layer).op).is_some_and(adds_as_it_is)
        };
        let found = [(a, b), (b, a)].into_iter().find(|(x, _)| joined.node(id).op == Op::Add && new(*x));
        found.is_some_and(|(x, sums)| centre(&mut joined, &users, id, x, sums))
    });
    centred.then_some(joined)
}

/// Whether the last of a layer's operands are added to its results as they are.
fn adds_as_it_is(conv: &Conv) -> bool {
    let (rows, columns) = (conv.weight.shape()[0], conv.weight.shape()[1]);
    let one = |row: usize, column: usize| if row == column { 1.0 } else { 0.0 };
    columns > rows
        && (0..rows).all(|row| (0..rows).all(|to| conv.weight[[row, columns - rows + to, 0, 0]] == one(row, to)))
}

/// Whether `id` is read by a sum of its rows and by an addition, through moves and public factors.
fn leads_to_mean(graph: &Graph, users: &[Vec<NodeId>], id: NodeId) -> bool {
    let (mut pools, mut sums, mut open) = (0, 0, vec![id]);
    while let Some(at) = open.pop() {
        for user in &users[at.0] {
            match graph.node(*user).op {
                Op::Reshape | Op::Transpose { .. } | Op::Scale(_) => open.push(*user),
                Op::SumPool(_) => pools += 1,
                Op::Add => sums += 1,
                _ => return false,
            }
        }
    }
    (pools, sums) == (1, 1)
}

/// `graph` with the sum `id` of `layer` and what `of` says of each element of `skip`, moved by some
/// nodes, its factor and summand: one layer of the layer's operand and `x`, if nothing else reads
/// what the layer makes.
fn joined(
    graph: &Graph,
    users: &[Vec<NodeId>],
    id: NodeId,
    layer: NodeId,
    (x, skip, skip_moves): (NodeId, NodeId, Moves),
    of: &dyn Fn(usize) -> [f32; 2],
) -> Option<Graph> {
    let (layer, moves) = below(graph, layer);
    let conv = pointwise(&graph.node(layer).op)?;
    if std::iter::once(&layer).chain(&moves).any(|at| users[at.0].len() != 1) {
        return None;
    }
    let shape = graph.node(layer).shape.clone();
    let (channels, pixels) = (shape[0], shape[1..].iter().product::<usize>());
    let pairs: Vec<(usize, usize)> =
        elements(graph, layer, &moves).into_iter().zip(elements(graph, skip, &skip_moves)).collect();
    let each = |which: usize| per_channel(channels, pairs.iter().map(|(a, b)| (a / pixels, of(*b)[which])));
    let (scale, shift) = (each(0)?, each(1)?);
    // Every element is added to one of its own pixel and channel.
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
        let mut x = renamed[x.0];
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
    let (_, path) = scaled_below(graph, x);
    if let Some(at) = path.iter().position(|at| matches!(graph.node(*at).op, Op::Affine(_))) {
        // A factor before the summands is none of theirs.
        let earlier = path[..at].iter().any(|at| matches!(graph.node(*at).op, Op::Scale(_)));
        if earlier {
            return false;
        }
        centre_summands(graph, layer, &path[..=at], own, multiple);
    }
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
    for at in path {
        if matches!(graph.node(at).op, Op::Scale(_)) {
            graph.nodes[at.0].op = Op::Reshape;
        }
    }
    (graph.nodes[id.0].op, graph.nodes[id.0].inputs) = (Op::Reshape, vec![x]);
    true
}

/// Takes the sums of rows from summands that the last of `path` adds to what `layer` makes.
fn centre_summands(graph: &mut Graph, layer: NodeId, path: &[NodeId], own: f64, multiple: f64) {
    let Some(last) = path.last().copied() else { return };
    let shape = graph.node(last).shape.clone();
    let from = elements(graph, layer, path);
    let channels = graph.node(layer).shape[0];
    let pixels = graph.node(layer).len() / channels;
    let Op::Affine(map) = &mut graph.nodes[last.0].op else { return };
    let shift: Vec<f64> = map.indices(&shape).into_iter().map(|at| f64::from(map.shift[at])).collect();
    let mut sums = vec![0.0; pixels];
    from.iter().zip(&shift).for_each(|(from, shift)| sums[from % pixels] += shift);
    let shift: Vec<f32> =
        from.iter().zip(&shift).map(|(from, shift)| (own * shift + multiple * sums[from % pixels]) as f32).collect();
    *map = Affine { scale: vec![1.0; shift.len()], shape, shift };
}

/// What `id` is made of by reshapes, transpositions, public factors, summands and copies, and
/// these.
fn scaled_below(graph: &Graph, mut id: NodeId) -> (NodeId, Moves) {
    let mut path = Moves::new();
    loop {
        let node = graph.node(id);
        let copies = matches!(node.op, Op::Concat { .. }) && node.inputs.iter().all(|input| *input == node.inputs[0]);
        let shifts = matches!(&node.op, Op::Affine(map) if !scales(map));
        if !copies && !shifts && !matches!(node.op, Op::Reshape | Op::Transpose { .. } | Op::Scale(_)) {
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
    let shifts = |path: &Moves| -> Vec<NodeId> {
        path.iter().copied().filter(|at| matches!(graph.node(*at).op, Op::Affine(_))).collect()
    };
    let (pool, spread) = scaled_below(graph, sums);
    let Op::SumPool(window) = &graph.node(pool).op else { return None };
    let operand = graph.node(pool).inputs[0];
    let (source, pool_path) = scaled_below(graph, operand);
    pointwise(&graph.node(layer).op)?;
    let copies = |path: &Moves| path.iter().any(|at| matches!(graph.node(*at).op, Op::Concat { .. }));
    // Both sides have the same summands, and those of sums are none of a layer's.
    if shifts(&own_path) != shifts(&pool_path) || !shifts(&spread).is_empty() || shifts(&own_path).len() > 1 {
        return None;
    }
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
        // The map is a layer of its own, which the sum takes as it is.
        assert_eq!(count(&folded, |op| matches!(op, Op::Conv(_))), 3);
        assert_eq!(count(&folded, |op| matches!(op, Op::Add)), 0);
    }

    #[test]
    fn a_skip_without_factors_is_part_of_a_layer_whose_mean_is_taken() {
        let graph = |centres: bool| {
            let mut b = Builder::default();
            let x = b.push(Op::Input, vec![], [PIXELS, CHANNELS]);
            let y = b.relu(x);
            let flat = pixels(&mut b, y);
            let inner = layer(&mut b, flat, 1);
            let inner = b.push(Op::Relu, vec![inner], [CHANNELS, 1, PIXELS]);
            let outer = layer(&mut b, inner, 2);
            let outer = rows(&mut b, outer);
            let sum = b.push(Op::Add, vec![outer, y], [PIXELS, CHANNELS]);
            let y = if centres { centred(&mut b, sum) } else { sum };
            let y = b.relu(y);
            b.graph.reachable(y)
        };
        for (centres, sums) in [(true, 0), (false, 1)] {
            let graph = graph(centres);
            let folded = fold(graph.clone());
            same(&graph, &folded);
            assert_eq!(count(&folded, |op| matches!(op, Op::Add)), sums);
            assert_eq!(count(&folded, |op| matches!(op, Op::SumPool(_) | Op::Scale(_))), 0);
        }
    }

    #[test]
    fn a_mean_is_taken_of_summands_too() {
        for shape in [[PIXELS, CHANNELS], [PIXELS, 1], [1, CHANNELS]] {
            let mut b = Builder::default();
            let x = b.push(Op::Input, vec![], [CHANNELS, 1, PIXELS]);
            let x = layer(&mut b, x, 1);
            let x = rows(&mut b, x);
            let x = affine(&mut b, x, vec![1.0; shape.iter().product()], shape);
            let c = centred(&mut b, x);
            let y = b.relu(c);
            let graph = b.graph.reachable(y);
            let folded = fold(graph.clone());
            same(&graph, &folded);
            assert_eq!(count(&folded, |op| matches!(op, Op::SumPool(_) | Op::Add | Op::Scale(_))), 0, "{shape:?}");
        }
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
