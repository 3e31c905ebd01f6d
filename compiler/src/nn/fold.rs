//! Folding on floats: every per-channel affine map (a BatchNorm, a bias written as an addition) and every averaging factor goes into a
//! neighbouring convolution or fully connected layer; what finds no neighbour becomes a 1x1 depthwise convolution.
//!
//! Folding is exact up to float rounding. A shift is never folded forward into a padded convolution: it would shift the padding too.

use ndarray::{Array4, ArrayViewMut1, Axis};

use super::{Conv, Graph, NodeId, Op};

/// Folds until nothing changes.
pub fn fold(mut graph: Graph) -> Graph {
    while backward(&mut graph) || forward(&mut graph) {
        graph = bypass(graph);
    }
    remaining_affine(graph)
}

/// `affine(linear(x))` becomes one linear map and `affine(affine(x))` one affine map, if nothing else reads the inner one.
fn backward(graph: &mut Graph) -> bool {
    let users = graph.users();
    for id in (0..graph.nodes.len()).map(NodeId) {
        let Some((scale, shift)) = affine(graph, id) else { continue };
        let inner = graph.node(id).inputs[0];
        if users[inner.0].len() != 1 {
            continue;
        }
        let (bias, rows): (&mut Vec<f32>, Vec<_>) = match &mut graph.nodes[inner.0].op {
            Op::Conv(conv) => (&mut conv.bias, conv.weight.axis_iter_mut(Axis(0)).map(|row| row.into_dyn()).collect()),
            Op::Dense(dense) => {
                (&mut dense.bias, dense.weight.axis_iter_mut(Axis(0)).map(|row| row.into_dyn()).collect())
            }
            Op::Affine { scale: inner, shift } => {
                let rows = inner.iter_mut().map(|factor| ArrayViewMut1::from(std::slice::from_mut(factor)).into_dyn());
                (shift, rows.collect())
            }
            _ => continue,
        };
        for (((mut row, bias), scale), shift) in rows.into_iter().zip(bias).zip(&scale).zip(&shift) {
            row.mapv_inplace(|w| w * scale);
            *bias = *bias * scale + shift;
        }
        become_identity(graph, id);
        return true;
    }
    false
}

/// `linear(affine(x))` becomes one linear map, if nothing else reads the inner one; a uniform factor also passes reshapes.
fn forward(graph: &mut Graph) -> bool {
    let users = graph.users();
    let sole_reader = |id: NodeId| if let [reader] = users[id.0].as_slice() { Some(*reader) } else { None };
    for id in (0..graph.nodes.len()).map(NodeId) {
        let Some((scale, shift)) = affine(graph, id) else { continue };
        let uniform = scale.iter().all(|s| *s == scale[0]) && shift.iter().all(|s| *s == 0.0);
        let mut reader = sole_reader(id);
        while uniform && let Some(next) = reader.filter(|next| moves(&graph.node(*next).op)) {
            reader = sole_reader(next);
        }
        let Some(reader) = reader else { continue };
        let channels = graph.node(id).shape[0];
        let direct = graph.node(reader).inputs == [id];
        match &mut graph.nodes[reader.0].op {
            Op::Conv(conv) if uniform => conv.weight.mapv_inplace(|w| w * scale[0]),
            Op::Dense(dense) if uniform => dense.weight.mapv_inplace(|w| w * scale[0]),
            Op::Conv(conv) if direct && (conv.pads == [0; 4] || shift.iter().all(|s| *s == 0.0)) => {
                absorb(conv, &scale, &shift);
            }
            Op::Dense(dense) if direct && channels == dense.weight.ncols() => {
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
        return true;
    }
    false
}

fn absorb(conv: &mut Conv, scale: &[f32], shift: &[f32]) {
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
    matches!(op, Op::Reshape | Op::Transpose { .. })
}

/// The node as scale and shift per channel.
fn affine(graph: &Graph, id: NodeId) -> Option<(Vec<f32>, Vec<f32>)> {
    let channels = graph.node(id).shape[0];
    match &graph.node(id).op {
        Op::Affine { scale, shift } => Some((scale.clone(), shift.clone())),
        Op::Scale(factor) => Some((vec![*factor; channels], vec![0.0; channels])),
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

/// What is left of private affine maps becomes a depthwise convolution, with reshapes around it if the data is no image.
fn remaining_affine(graph: Graph) -> Graph {
    let mut result = Graph { name: graph.name.clone(), nodes: Vec::new() };
    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| renamed[input.0]).collect();
        let Op::Affine { scale, shift } = &node.op else {
            renamed.push(result.push(node.op.clone(), inputs, node.shape.clone(), node.name.clone()));
            continue;
        };
        let channels = scale.len();
        let image = vec![channels, 1, node.len() / channels.max(1)];
        let weight = Array4::from_shape_fn((channels, 1, 1, 1), |(channel, ..)| scale[channel]);
        let (strides, dilations) = ([1, 1], [1, 1]);
        let conv = Conv { weight, bias: shift.clone(), strides, pads: [0; 4], dilations, groups: channels };
        let (x, shape) = if node.shape.len() == 3 {
            (inputs[0], node.shape.clone())
        } else {
            (result.push(Op::Reshape, inputs, image.clone(), node.name.clone()), image)
        };
        let mut y = result.push(Op::Conv(conv), vec![x], shape.clone(), node.name.clone());
        if shape != node.shape {
            y = result.push(Op::Reshape, vec![y], node.shape.clone(), node.name.clone());
        }
        renamed.push(y);
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
        let affine = || Op::Affine { scale: vec![2.0, -1.0], shift: vec![0.5, 3.0] };
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
        assert_eq!(ops, ["input", "conv", "conv", "relu", "sum_pool", "reshape", "dense"]);
        same(&graph, &folded);
    }

    #[test]
    fn a_shared_linear_map_is_left_alone() {
        let mut graph = Graph::default();
        let x = graph.push(Op::Input, vec![], vec![2, 4, 4], "x");
        let y = graph.push(conv(2, [1; 4]), vec![x], vec![2, 4, 4], "conv");
        let scaled = Op::Affine { scale: vec![2.0, 3.0], shift: vec![1.0, 0.0] };
        let z = graph.push(scaled, vec![y], vec![2, 4, 4], "bn");
        graph.push(Op::Add, vec![y, z], vec![2, 4, 4], "sum");
        same(&graph, &fold(graph.clone()));
    }
}
