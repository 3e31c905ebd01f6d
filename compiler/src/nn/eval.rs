//! The float32 interpreter: reference of calibration and of the agreement figures.

use rayon::prelude::*;

use super::{Graph, Node, NodeId, Op, kernels};

/// Every node's elements for one sample.
///
/// # Panics
/// If `input` does not have the graph's input shape.
pub fn run(graph: &Graph, input: &[f32]) -> Vec<Vec<f32>> {
    assert_eq!(input.len(), graph.nodes[0].len(), "input elements");
    let mut values: Vec<Vec<f32>> = Vec::with_capacity(graph.nodes.len());
    for (_, node) in graph.iter() {
        let value = apply(graph, node, &values, input);
        values.push(value);
    }
    values
}

/// The last node's elements for each sample, samples in parallel.
pub fn outputs(graph: &Graph, samples: &[Vec<f32>]) -> Vec<Vec<f32>> {
    samples.par_iter().map(|sample| run(graph, sample).pop().unwrap_or_default()).collect()
}

/// For every node, the largest `|x|` and the largest `-x` over all samples (0 if none is negative).
pub fn ranges(graph: &Graph, samples: &[Vec<f32>]) -> Vec<f32> {
    let largest = |values: Vec<Vec<f32>>| -> Vec<f32> {
        values.iter().map(|value| value.iter().fold(0f32, |m, x| m.max(x.abs()))).collect()
    };
    let none = || vec![0f32; graph.nodes.len()];
    let join = |a: Vec<f32>, b: Vec<f32>| a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect();
    samples.par_iter().map(|sample| largest(run(graph, sample))).reduce(none, join)
}

/// Index of the largest element; the lowest index wins ties.
pub fn argmax(values: &[f32]) -> usize {
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).reduce(better).unwrap_or(0)
}

fn apply(graph: &Graph, node: &Node, values: &[Vec<f32>], input: &[f32]) -> Vec<f32> {
    let Some(&first) = node.inputs.first() else { return input.to_vec() };
    let (x, shape) = (values[first.0].as_slice(), graph.node(first).shape.as_slice());
    match &node.op {
        Op::Input => input.to_vec(),
        Op::Conv(conv) => kernels::conv(conv, x, shape, &node.shape),
        Op::Dense(dense) => kernels::dense(dense, x),
        Op::Affine { scale, shift } => {
            let per_channel = x.len() / scale.len().max(1);
            let channels = x.chunks_exact(per_channel.max(1)).zip(scale.iter().zip(shift));
            channels.flat_map(|(plane, (s, t))| plane.iter().map(move |v| v * s + t)).collect()
        }
        Op::Scale(factor) => x.iter().map(|v| v * factor).collect(),
        Op::Relu => x.iter().map(|v| v.max(0.0)).collect(),
        Op::Add => x.iter().zip(&values[node.inputs[1].0]).map(|(a, b)| a + b).collect(),
        Op::MaxPool(window) => kernels::pool(window, x, shape, &node.shape, f32::NEG_INFINITY, f32::max),
        Op::SumPool(window) => kernels::pool(window, x, shape, &node.shape, 0.0, |a, b| a + b),
        Op::Concat { axis } => concat(graph, &node.inputs, values, *axis),
        Op::Transpose { perm } => transpose(x, shape, perm),
        Op::Reshape => x.to_vec(),
        Op::Softmax => {
            let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exp: Vec<f32> = x.iter().map(|v| (v - top).exp()).collect();
            let sum: f32 = exp.iter().sum();
            exp.into_iter().map(|e| e / sum).collect()
        }
        Op::ArgMax => vec![argmax(x) as f32],
    }
}

fn concat(graph: &Graph, inputs: &[NodeId], values: &[Vec<f32>], axis: usize) -> Vec<f32> {
    let outer: usize = graph.node(inputs[0]).shape[..axis].iter().product();
    let mut y = Vec::new();
    for i in 0..outer {
        for input in inputs {
            let block = values[input.0].len() / outer;
            y.extend_from_slice(&values[input.0][i * block..][..block]);
        }
    }
    y
}

fn transpose(x: &[f32], shape: &[usize], perm: &[usize]) -> Vec<f32> {
    match ndarray::ArrayViewD::from_shape(shape, x) {
        Ok(view) => view.permuted_axes(perm.to_vec()).iter().copied().collect(),
        Err(_) => x.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(op: Op, shape: &[usize]) -> Graph {
        let mut graph = Graph::default();
        let x = graph.push(Op::Input, vec![], vec![2, 1, 3], "x");
        graph.push(op, vec![x], shape.to_vec(), "y");
        graph
    }

    fn eval(op: Op, shape: &[usize]) -> Vec<f32> {
        run(&graph(op, shape), &[1.0, -2.0, 3.0, -4.0, 5.0, 5.0]).pop().unwrap()
    }

    #[test]
    fn moving_and_pointwise_operations() {
        assert_eq!(eval(Op::Relu, &[2, 1, 3]), [1.0, 0.0, 3.0, 0.0, 5.0, 5.0]);
        assert_eq!(eval(Op::Transpose { perm: vec![2, 0, 1] }, &[3, 2, 1]), [1.0, -4.0, -2.0, 5.0, 3.0, 5.0]);
        let affine = Op::Affine { scale: vec![2.0, 1.0], shift: vec![0.0, -1.0] };
        assert_eq!(eval(affine, &[2, 1, 3]), [2.0, -4.0, 6.0, -5.0, 4.0, 4.0]);
        assert_eq!(eval(Op::ArgMax, &[1]), [4.0]);
        let mut graph = graph(Op::Relu, &[2, 1, 3]);
        graph.push(Op::Concat { axis: 2 }, vec![NodeId(0), NodeId(1)], vec![2, 1, 6], "c");
        let joined = run(&graph, &[1.0, -2.0, 3.0, -4.0, 5.0, 5.0]).pop().unwrap();
        assert_eq!(joined, [1.0, -2.0, 3.0, 1.0, 0.0, 3.0, -4.0, 5.0, 5.0, 0.0, 5.0, 5.0]);
    }

    #[test]
    fn ranges_are_over_all_samples() {
        let samples = [vec![1.0, -7.0, 0.0, 0.0, 0.0, 0.0], vec![0.0, 0.0, 0.0, 0.0, 3.0, 0.0]];
        assert_eq!(ranges(&graph(Op::Relu, &[2, 1, 3]), &samples), [7.0, 3.0]);
    }
}
