//! Folding on floats: every per-channel affine map (a BatchNorm, a bias written as an addition) and
//! every averaging factor goes into a neighbouring convolution or fully connected layer. What finds
//! no neighbour stays if it only adds, which is local, and else becomes a 1x1 depthwise
//! convolution.
//!
//! Folding is exact up to float rounding. A shift is never folded forward into a padded
//! convolution: it would shift the padding too.

use ndarray::{Array4, Axis};

use super::{Affine, Conv, Graph, NodeId, Op, factors, skips};

/// Folds until nothing changes.
pub fn fold(mut graph: Graph) -> Graph {
    while into_squares(&mut graph)
        || backward(&mut graph)
        || forward(&mut graph)
        || factors::into_layers(&mut graph)
        || skips::into_layers(&mut graph)
    {
        graph = bypass(graph);
    }
    remaining_affine(bypass(graph))
}

/// `affine(linear(x))` becomes one linear map and `affine(affine(x))` one affine map, if nothing
/// else reads the inner one. Goes through the network once; whether something was joined.
fn backward(graph: &mut Graph) -> bool {
    let users = graph.users();
    let mut joined = false;
    for id in (0..graph.nodes.len()).map(NodeId) {
        let Some(outer) = affine(graph, id) else { continue };
        let inner = graph.node(id).inputs[0];
        if users[inner.0].len() != 1 {
            continue;
        }
        if matches!(graph.node(inner).op, Op::Affine(_)) {
            let Some(both) = after(&outer, graph, inner) else { continue };
            graph.nodes[inner.0].op = Op::Affine(both);
            become_identity(graph, id);
            joined = true;
            continue;
        }
        let Some((scale, shift)) = outer.per_channel(graph.node(inner).shape[0]) else { continue };
        let (bias, rows): (&mut Vec<f32>, Vec<_>) = match &mut graph.nodes[inner.0].op {
            Op::Conv(conv) => (&mut conv.bias, conv.weight.axis_iter_mut(Axis(0)).map(|row| row.into_dyn()).collect()),
            Op::Dense(dense) => {
                (&mut dense.bias, dense.weight.axis_iter_mut(Axis(0)).map(|row| row.into_dyn()).collect())
            }
            _ => continue,
        };
        for (((mut row, bias), scale), shift) in rows.into_iter().zip(bias).zip(&scale).zip(&shift) {
            row.mapv_inplace(|w| w * scale);
            *bias = *bias * scale + shift;
        }
        become_identity(graph, id);
        joined = true;
    }
    joined
}

/// `s * x^2` becomes `(sqrt(s) x)^2` where `s` is positive and varies from element to element, as
/// in a distance in units of its own spread: the factor meets what makes `x`, and the square has
/// one format for numbers of one scale. Whether something was changed.
fn into_squares(graph: &mut Graph) -> bool {
    let users = graph.users();
    let mut changed = false;
    for id in (0..graph.nodes.len()).map(NodeId) {
        let Op::Affine(factors) = &graph.node(id).op else { continue };
        let positive = factors.scale.iter().all(|s| *s > 0.0) && factors.shift.iter().all(|s| *s == 0.0);
        let square = graph.node(id).inputs[0];
        let node = graph.node(square);
        let &[x, other] = node.inputs.as_slice() else { continue };
        let squares = node.op == Op::Mul && x == other && node.shape == graph.node(x).shape;
        if !positive || !squares || factors.uniform().is_some() || users[square.0].len() != 1 {
            continue;
        }
        let roots = factors.scale.iter().map(|s| s.sqrt()).collect();
        let roots = Affine { shape: factors.shape.clone(), scale: roots, shift: factors.shift.clone() };
        (graph.nodes[square.0].op, graph.nodes[square.0].inputs) = (Op::Affine(roots), vec![x]);
        (graph.nodes[id.0].op, graph.nodes[id.0].inputs) = (Op::Mul, vec![square, square]);
        changed = true;
    }
    changed
}

/// A sum so large beside what is computed with it, whose own size is about one, that float32 would
/// lose digits of the difference: that of a scaler's offset, of seconds since an epoch for example.
/// It is taken from the data before anything else is done.
const FAR: f32 = 1024.0;

/// Whether `factor` of `x + shift` is to be left as it is.
fn is_far(shift: f32, factor: f32) -> bool {
    (shift * factor).abs() >= FAR
}

/// Whether a factor is one or minus one, which loses no digit: such a map only shifts what it
/// reads, the right way around or turned.
fn keeps_digits(factor: &f32) -> bool {
    factor.abs() == 1.0
}

/// `outer` of the affine map `inner` as one affine map; `None` if they are better two.
fn after(outer: &Affine, graph: &Graph, inner: NodeId) -> Option<Affine> {
    let shape = &graph.node(inner).shape;
    let before = affine(graph, inner)?;
    let shifts = before.scale.iter().all(keeps_digits);
    if let (Some((s, t)), Some((scale, shift))) = (before.uniform(), outer.uniform()) {
        let both = || Affine { shape: vec![1; shape.len()], scale: vec![s * scale], shift: vec![t * scale + shift] };
        return (!shifts || keeps_digits(&scale) || !is_far(t, scale)).then(both);
    }
    let extents: Vec<usize> = before.shape.iter().zip(&outer.shape).map(|(a, b)| *a.max(b)).collect();
    let (before_at, outer_at) = (before.indices(&extents), outer.indices(&extents));
    let pairs = || before_at.iter().zip(&outer_at);
    let far = |(b, o): (&usize, &usize)| !keeps_digits(&outer.scale[*o]) && is_far(before.shift[*b], outer.scale[*o]);
    if shifts && pairs().any(far) {
        return None;
    }
    let scale = pairs().map(|(b, o)| before.scale[*b] * outer.scale[*o]).collect();
    let shift = pairs().map(|(b, o)| before.shift[*b] * outer.scale[*o] + outer.shift[*o]).collect();
    Some(Affine { shape: extents, scale, shift })
}

/// `linear(affine(x))` becomes one linear map, if nothing else reads the inner one; a uniform
/// factor also passes reshapes. Goes through the network once; whether something was joined.
fn forward(graph: &mut Graph) -> bool {
    let users = graph.users();
    let mut joined = false;
    let sole_reader = |id: NodeId| if let [reader] = users[id.0].as_slice() { Some(*reader) } else { None };
    for id in (0..graph.nodes.len()).map(NodeId) {
        let Some(map) = affine(graph, id) else { continue };
        let factor = map.uniform().filter(|(scale, shift)| *shift == 0.0 && *scale != 1.0).map(|(scale, _)| scale);
        let mut reader = sole_reader(id);
        while factor.is_some()
            && let Some(next) = reader.filter(|next| moves(&graph.node(*next).op))
        {
            reader = sole_reader(next);
        }
        let Some(reader) = reader else { continue };
        let direct = graph.node(reader).inputs == [id];
        let channels = graph.node(id).shape[0];
        let coefficients = map.per_channel(channels).filter(|_| direct);
        match (&mut graph.nodes[reader.0].op, factor, coefficients) {
            (Op::Conv(conv), Some(factor), _) => conv.weight.mapv_inplace(|w| w * factor),
            (Op::Dense(dense), Some(factor), _) => dense.weight.mapv_inplace(|w| w * factor),
            (Op::Conv(conv), _, Some((scale, shift))) => {
                let padded = conv.pads != [0; 4] && shift.iter().any(|s| *s != 0.0);
                if padded {
                    // The sum stays in front of the padding.
                    let sum = sum_first(&scale, &shift).filter(|_| scale.iter().any(|s| *s != 1.0));
                    let Some(sum) = sum else { continue };
                    absorb(conv, &scale, &vec![0.0; channels]);
                    graph.nodes[id.0].op = sum.of_rank(graph.node(id).shape.len());
                    joined = true;
                    continue;
                }
                absorb(conv, &scale, &shift);
            }
            (Op::Dense(dense), _, Some((scale, shift))) if channels == dense.weight.ncols() => {
                let far = |((_, column), w): ((usize, usize), &f32)| is_far(shift[column], *w);
                let sum = dense.weight.indexed_iter().any(far).then(|| sum_first(&scale, &shift)).flatten();
                if let Some(sum) = sum {
                    // The sum stays, and factors go into the weights.
                    if scale.iter().any(|s| *s != 1.0) {
                        for mut row in dense.weight.axis_iter_mut(Axis(0)) {
                            row.iter_mut().zip(&scale).for_each(|(w, scale)| *w *= scale);
                        }
                        graph.nodes[id.0].op = sum.of_rank(graph.node(id).shape.len());
                        joined = true;
                    }
                    continue;
                }
                for (mut row, bias) in dense.weight.axis_iter_mut(Axis(0)).zip(&mut dense.bias) {
                    for ((w, scale), shift) in row.iter_mut().zip(&scale).zip(&shift) {
                        *bias += *w * shift;
                        *w *= scale;
                    }
                }
            }
            _ => continue,
        }
        become_identity(graph, id);
        joined = true;
    }
    joined
}

/// A sum for each channel.
struct Sum(Vec<f32>);

/// What `x` is summed with in `scale x + shift = scale (x + shift / scale)`, if there is such a
/// number for each channel.
fn sum_first(scale: &[f32], shift: &[f32]) -> Option<Sum> {
    let sums: Vec<f32> = shift.iter().zip(scale).map(|(shift, scale)| shift / scale).collect();
    sums.iter().all(|sum| sum.is_finite()).then_some(Sum(sums))
}

impl Sum {
    /// With a tensor of so many axes.
    fn of_rank(self, rank: usize) -> Op {
        let channels = self.0.len();
        let shape = [&[channels][..], &vec![1; rank - 1]].concat();
        Op::Affine(Affine { shape, scale: vec![1.0; channels], shift: self.0 })
    }
}

pub(super) fn absorb(conv: &mut Conv, scale: &[f32], shift: &[f32]) {
    let per_group = conv.weight.shape()[1];
    let rows = conv.weight.shape()[0] / conv.groups;
    for ((m, c, ..), w) in conv.weight.indexed_iter_mut() {
        let channel = m / rows * per_group + c;
        conv.bias[m] += *w * shift[channel];
        *w *= scale[channel];
    }
}

/// Operations under which a uniform factor stays a uniform factor.
fn moves(op: &Op) -> bool {
    matches!(op, Op::Reshape | Op::Transpose { .. } | Op::Slice { .. })
}

/// The node as an affine map.
fn affine(graph: &Graph, id: NodeId) -> Option<Affine> {
    match &graph.node(id).op {
        Op::Affine(affine) => Some(affine.clone()),
        Op::Scale(factor) => {
            Some(Affine { shape: vec![1; graph.node(id).shape.len()], scale: vec![*factor], shift: vec![0.0] })
        }
        _ => None,
    }
}

/// Marks a node whose work another one now does; [`bypass`] removes it.
fn become_identity(graph: &mut Graph, id: NodeId) {
    graph.nodes[id.0].op = Op::Reshape;
}

/// Removes reshapes to the same shape and joins consecutive ones.
pub fn bypass(mut graph: Graph) -> Graph {
    let Some(mut output) = graph.nodes.len().checked_sub(1).map(NodeId) else { return graph };
    for index in 0..graph.nodes.len() {
        for slot in 0..graph.nodes[index].inputs.len() {
            let input = graph.nodes[index].inputs[slot];
            graph.nodes[index].inputs[slot] = source(&graph, input);
        }
        if graph.nodes[index].op == Op::Reshape {
            let inner = graph.nodes[index].inputs[0];
            if graph.node(inner).op == Op::Reshape {
                graph.nodes[index].inputs[0] = graph.node(inner).inputs[0];
            }
        }
    }
    output = source(&graph, output);
    graph.reachable(output)
}

/// What a reshape to the same shape reads; any other node itself.
fn source(graph: &Graph, id: NodeId) -> NodeId {
    let node = graph.node(id);
    let identity = node.op == Op::Reshape && graph.node(node.inputs[0]).shape == node.shape;
    if identity { source(graph, node.inputs[0]) } else { id }
}

/// What is left of private affine maps: those that only add stay, of a product's a power of two is
/// public, others become depthwise convolutions between reshapes.
fn remaining_affine(graph: Graph) -> Graph {
    let mut result = Graph { name: graph.name.clone(), nodes: Vec::new() };
    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in graph.nodes {
        let mut inputs: Vec<NodeId> = node.inputs.iter().map(|input| renamed[input.0]).collect();
        let Op::Affine(mut affine) = node.op else {
            renamed.push(result.push(node.op, inputs, node.shape, node.name));
            continue;
        };
        let power = factors::single(&affine).filter(|factor| factor.abs().log2().fract() == 0.0);
        if let Some(power) = power.filter(|_| factors::is_of_product(&result, inputs[0])) {
            inputs = vec![result.push(Op::Scale(power), inputs, node.shape.clone(), node.name.clone())];
            if affine.shift.iter().all(|s| *s == 0.0) {
                renamed.push(inputs[0]);
                continue;
            }
            affine.scale.iter_mut().for_each(|s| *s = 1.0);
        }
        // Channels are the axes up to the last one along which a coefficient varies.
        let last = affine.shape.iter().rposition(|extent| *extent != 1).map_or(1, |axis| axis + 1);
        let channels: usize = node.shape[..last].iter().product();
        let rest: usize = node.shape[last..].iter().product();
        let at = Affine { shape: affine.shape[..last].to_vec(), ..affine.clone() }.indices(&node.shape[..last]);
        let pick = |from: &[f32]| at.iter().map(|i| from[*i]).collect::<Vec<f32>>();
        let (scale, shift) = (pick(&affine.scale), pick(&affine.shift));
        let adds = scale.iter().all(|s| *s == 1.0);
        let image = if node.shape.len() == 3 && node.shape[0] == channels && !adds {
            node.shape.clone()
        } else if adds {
            vec![channels, rest]
        } else {
            vec![channels, 1, rest]
        };
        let op = if adds {
            Op::Affine(Affine { shape: vec![channels, 1], scale, shift })
        } else {
            let weight = Array4::from_shape_fn((channels, 1, 1, 1), |(channel, ..)| scale[channel]);
            let (strides, dilations) = ([1, 1], [1, 1]);
            Op::Conv(Conv { weight, bias: shift, strides, pads: [0; 4], dilations, groups: channels })
        };
        let mut id = inputs[0];
        if image != node.shape {
            id = result.push(Op::Reshape, vec![id], image.clone(), node.name.clone());
        }
        id = result.push(op, vec![id], image.clone(), node.name.clone());
        if image != node.shape {
            id = result.push(Op::Reshape, vec![id], node.shape, node.name);
        }
        renamed.push(id);
    }
    result
}

#[cfg(test)]
mod tests {
    use fusion_ir::op::Window;

    use super::*;
    use crate::nn::{Dense, eval};

    fn ramp(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i * 7 % 11) as f32 / 4.0 - 1.0).collect()
    }

    fn conv(channels: usize, pads: [usize; 4]) -> Op {
        let weight = Array4::from_shape_vec((2, channels, 3, 3), ramp(18 * channels)).unwrap();
        Op::Conv(Conv { weight, bias: vec![0.5, -0.25], strides: [1, 1], pads, dilations: [1, 1], groups: 1 })
    }

    /// x[2,4,4] -> affine -> conv -> affine -> relu -> sum_pool -> scale -> reshape -> dense
    fn network(pads: [usize; 4], side: usize) -> Graph {
        let mut graph = Graph::default();
        let affine = || Op::Affine(Affine { shape: vec![2, 1, 1], scale: vec![2.0, -1.0], shift: vec![0.5, 3.0] });
        let mut at = graph.push(Op::Input, vec![], vec![2, 4, 4], "x");
        at = graph.push(affine(), vec![at], vec![2, 4, 4], "bn0");
        at = graph.push(conv(2, pads), vec![at], vec![2, side, side], "conv");
        at = graph.push(affine(), vec![at], vec![2, side, side], "bn1");
        at = graph.push(Op::Relu, vec![at], vec![2, side, side], "relu");
        let window = Window { kernel: [side, side], strides: [1, 1], pads: [0; 4] };
        at = graph.push(Op::SumPool(window), vec![at], vec![2, 1, 1], "pool");
        at = graph.push(Op::Scale(0.25), vec![at], vec![2, 1, 1], "pool");
        at = graph.push(Op::Reshape, vec![at], vec![2], "flat");
        let weight = ndarray::Array2::from_shape_vec((3, 2), ramp(6)).unwrap();
        graph.push(Op::Dense(Dense { weight, bias: ramp(3) }), vec![at], vec![3], "fc");
        graph
    }

    fn same(before: &Graph, after: &Graph) {
        let x = ramp(32);
        let (a, b) = (eval::run(before, &x).pop().unwrap(), eval::run(after, &x).pop().unwrap());
        a.iter().zip(&b).for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{a} {b}"));
    }

    /// Of an offset that is large beside what it leaves, no digit is lost.
    #[test]
    fn large_offsets_are_subtracted_first() {
        for offset in [1.7e9f32, 1e7, 100.0] {
            let mut g = Graph { name: "far".into(), nodes: Vec::new() };
            let x = g.push(Op::Input, vec![], vec![2], "x");
            let affine =
                |scale: f32, shift: [f32; 2]| Affine { shape: vec![2], scale: vec![scale; 2], shift: shift.to_vec() };
            let centred = g.push(Op::Affine(affine(1.0, [-offset, 1.0])), vec![x], vec![2], "scaler");
            let scaled = g.push(Op::Affine(affine(0.001, [0.0; 2])), vec![centred], vec![2], "scaler");
            let weight = ndarray::arr2(&[[3.039_367_2f32, 0.5]]);
            g.push(Op::Dense(Dense { weight, bias: vec![0.25] }), vec![scaled], vec![1], "dense");
            let folded = fold(g);
            let kept = folded.nodes.iter().any(|node| matches!(node.op, Op::Affine(_)));
            assert_eq!(kept, offset > 1e6, "{offset}");
            for step in [-1024.0f32, 0.0, 512.0] {
                let sample = [offset + step, 3.0];
                let exact = f64::from(sample[0] - offset) * 0.001 * 3.039_367_2 + 4.0 * 0.001 * 0.5 + 0.25;
                let found = f64::from(eval::run(&folded, &sample).pop().unwrap()[0]);
                assert!((found - exact).abs() < 1e-6, "{offset} {step}: {found} {exact}");
            }
        }
    }

    /// `c - x` in every place that a sum may have: before a factor, behind it, before a layer.
    #[test]
    fn large_offsets_are_subtracted_from_first() {
        for (first, second) in
            [([-1.0f32, -1.0], 0.001f32), ([-1.0, 1.0], -0.001), ([1.0, -1.0], 0.001), ([-1.0, -1.0], -1.0)]
        {
            let offset = 1.7e9f32;
            let mut g = Graph { name: "far".into(), nodes: Vec::new() };
            let x = g.push(Op::Input, vec![], vec![2], "x");
            let turned = Affine { shape: vec![2], scale: first.to_vec(), shift: vec![-first[0] * offset, 1.0] };
            let turned = g.push(Op::Affine(turned), vec![x], vec![2], "sub");
            let scale = Affine { shape: vec![2], scale: vec![second, 2.0], shift: vec![0.0; 2] };
            let scaled = g.push(Op::Affine(scale), vec![turned], vec![2], "mul");
            let weight = ndarray::arr2(&[[3.039_367_2f32, 0.5]]);
            g.push(Op::Dense(Dense { weight, bias: vec![0.25] }), vec![scaled], vec![1], "dense");
            let folded = fold(g);
            // What is left only adds: a factor would have to be multiplied in the protocol.
            let ops: Vec<&str> = folded.nodes.iter().map(|node| node.op.name()).filter(|op| *op != "reshape").collect();
            assert_eq!(ops, ["input", "affine", "dense"]);
            for step in [-1024.0f32, 0.0, 512.0] {
                let sample = [offset + step, 3.0];
                let away = f64::from(first[0]) * (f64::from(sample[0]) - f64::from(offset)) * f64::from(second);
                let exact = away * 3.039_367_2 + f64::from(first[1] * 3.0 + 1.0) * 2.0 * 0.5 + 0.25;
                let found = f64::from(eval::run(&folded, &sample).pop().unwrap()[0]);
                assert!(
                    (found - exact).abs() < 1e-6 * (1.0 + exact.abs()),
                    "{first:?} {second} {step}: {found} {exact}"
                );
            }
        }
    }

    #[test]
    fn everything_folds_without_padding() {
        let graph = network([0; 4], 2);
        let folded = fold(graph.clone());
        let ops: Vec<&str> = folded.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["input", "conv", "relu", "sum_pool", "reshape", "dense"]);
        same(&graph, &folded);
    }

    #[test]
    fn a_shift_does_not_enter_padding() {
        let graph = network([1; 4], 4);
        let folded = fold(graph.clone());
        let ops: Vec<&str> = folded.nodes.iter().map(|node| node.op.name()).collect();
        // Only the sum is left in front: the factor went into the kernel.
        assert_eq!(ops, ["input", "reshape", "affine", "reshape", "conv", "relu", "sum_pool", "reshape", "dense"]);
        same(&graph, &folded);
    }

    #[test]
    fn a_distance_is_squared_in_units_of_its_spread() {
        let mut graph = Graph::default();
        let affine = |scale: &[f32], shift: &[f32]| {
            Op::Affine(Affine { shape: vec![2, 1, 1], scale: scale.to_vec(), shift: shift.to_vec() })
        };
        let shape = || vec![2, 4, 4];
        let x = graph.push(Op::Input, vec![], shape(), "x");
        let centred = graph.push(affine(&[1.0, 1.0], &[-0.5, 2.0]), vec![x], shape(), "centre");
        let square = graph.push(Op::Mul, vec![centred, centred], shape(), "square");
        graph.push(affine(&[0.01, 25.0], &[0.0, 0.0]), vec![square], shape(), "spread");
        let folded = fold(graph.clone());
        let ops: Vec<&str> = folded.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["input", "conv", "mul"]);
        same(&graph, &folded);
    }

    #[test]
    fn a_shared_linear_map_is_left_alone() {
        let mut graph = Graph::default();
        let x = graph.push(Op::Input, vec![], vec![2, 4, 4], "x");
        let y = graph.push(conv(2, [1; 4]), vec![x], vec![2, 4, 4], "conv");
        let scaled = Op::Affine(Affine { shape: vec![2, 1, 1], scale: vec![2.0, 3.0], shift: vec![1.0, 0.0] });
        let z = graph.push(scaled, vec![y], vec![2, 4, 4], "bn");
        graph.push(Op::Add, vec![y, z], vec![2, 4, 4], "sum");
        same(&graph, &fold(graph.clone()));
    }
}
