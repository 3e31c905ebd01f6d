//! The float32 interpreter: reference of calibration and of the agreement figures.

use rayon::prelude::*;

use super::build::transpose;
use super::expr::Expr;
use super::scales::Layout;
use super::{FAR, Graph, Node, NodeId, Op, kernels};

/// The smallest and the largest element of a node over all samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest.
    pub low: f32,
    /// Largest.
    pub high: f32,
}

impl Range {
    /// Nothing seen yet.
    pub const NONE: Range = Range { low: f32::INFINITY, high: f32::NEG_INFINITY };

    /// That of these numbers.
    pub fn of(values: &[f32]) -> Range {
        // Several at a time: the order does not matter.
        let (mut lows, mut highs, mut nan) = ([f32::INFINITY; 16], [f32::NEG_INFINITY; 16], false);
        for block in values.chunks(16) {
            for (x, (low, high)) in block.iter().zip(lows.iter_mut().zip(&mut highs)) {
                *low = if x < low { *x } else { *low };
                *high = if x > high { *x } else { *high };
                nan |= x.is_nan();
            }
        }
        let missing = if nan { f32::NAN } else { f32::INFINITY };
        let ends = lows.iter().zip(&highs).map(|(low, high)| Range { low: *low, high: *high });
        ends.fold(Range { low: missing, high: -missing }, Range::join)
    }

    /// Both ranges; what is not a number stays so.
    pub fn join(self, other: Range) -> Range {
        let nan = [self, other].iter().any(|range| range.low.is_nan() || range.high.is_nan());
        if nan {
            return Range { low: f32::NAN, high: f32::NAN };
        }
        Range { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// The largest absolute value.
    pub fn magnitude(self) -> f32 {
        self.low.abs().max(self.high.abs())
    }
}

/// The largest absolute element of each of a node's variables, in the order of its [`Layout`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channels(pub Vec<f32>);

impl Channels {
    /// The largest absolute element.
    pub fn largest(&self) -> f32 {
        self.0.iter().copied().fold(0.0, f32::max)
    }

    fn look(&mut self, layout: &Layout, value: &[f32]) {
        self.0.resize(layout.vars.len(), 0.0);
        for (block, elements) in value.chunks(layout.inner).enumerate() {
            let channel = &mut self.0[block % layout.vars.len()];
            *channel = elements.iter().fold(*channel, |most, x| most.max(x.abs()));
        }
    }

    fn join(&mut self, other: &Channels) {
        self.0.resize(other.0.len(), 0.0);
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a = a.max(*b));
    }
}

/// What a network does on samples.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Every node's range.
    pub ranges: Vec<Range>,
    /// For every node that a linear map reads, the mean of each slice along its leading axis;
    /// nothing for others.
    pub means: Vec<Vec<f32>>,
    /// The mean square of each of these slices.
    pub squares: Vec<Vec<f32>>,
    /// For every node that is a function or an affine map of each element, the mean square of its
    /// elements; zero for others.
    pub powers: Vec<f64>,
    /// Every node's channels.
    pub channels: Vec<Channels>,
    /// For every sample, every node's range.
    pub each: Vec<Vec<Range>>,
    /// For every sample, the last node's elements.
    pub outputs: Vec<Vec<f32>>,
}

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
    samples.par_iter().map(|sample| visit(graph, sample, |_, _| ())).collect()
}

/// Samples that are run before what they did is joined.
const CHUNK: usize = 16;

/// Runs all samples, in parallel, and says what was seen, by channels as `layouts` has them.
pub fn observe(graph: &Graph, layouts: &[Layout], samples: &[Vec<f32>]) -> Observed {
    let mut averaged = vec![false; graph.nodes.len()];
    for (_, node) in graph.iter().filter(|(_, node)| matches!(node.op, Op::Conv(_) | Op::Dense(_))) {
        averaged[node.inputs[0].0] = true;
    }
    let nothing = || Observed {
        ranges: vec![Range::NONE; graph.nodes.len()],
        means: vec![Vec::new(); graph.nodes.len()],
        squares: vec![Vec::new(); graph.nodes.len()],
        powers: vec![0.0; graph.nodes.len()],
        channels: vec![Channels::default(); graph.nodes.len()],
        each: Vec::new(),
        outputs: Vec::new(),
    };
    let run = |sample: &Vec<f32>| {
        let mut seen = nothing();
        let output = visit(graph, sample, |id, value| {
            seen.ranges[id.0] = Range::of(value);
            seen.channels[id.0].look(&layouts[id.0], value);
            if matches!(graph.node(id).op, Op::Pointwise(_) | Op::Affine(_)) {
                let power: f64 = value.iter().map(|x| f64::from(*x).powi(2)).sum();
                seen.powers[id.0] = power / (value.len() * samples.len()) as f64;
            }
            if averaged[id.0] {
                let slice = value.len() / graph.node(id).shape[0].max(1);
                let part = 1.0 / (slice * samples.len()) as f32;
                let slices = || value.chunks_exact(slice.max(1));
                seen.means[id.0] = slices().map(|slice| slice.iter().sum::<f32>() * part).collect();
                let square = |slice: &[f32]| slice.iter().map(|x| x * x).sum::<f32>() * part;
                seen.squares[id.0] = slices().map(square).collect();
            }
        });
        seen.outputs.push(output);
        seen.each.push(seen.ranges.clone());
        seen
    };
    let join = |mut all: Observed, one: Observed| {
        all.ranges.iter_mut().zip(one.ranges).for_each(|(all, one)| *all = all.join(one));
        let sums = all.means.iter_mut().chain(&mut all.squares);
        for (all, one) in sums.zip(one.means.into_iter().chain(one.squares)) {
            all.resize(one.len(), 0.0);
            all.iter_mut().zip(one).for_each(|(all, one)| *all += one);
        }
        all.powers.iter_mut().zip(one.powers).for_each(|(all, one)| *all += one);
        all.channels.iter_mut().zip(&one.channels).for_each(|(all, one)| all.join(one));
        all.each.extend(one.each);
        all.outputs.extend(one.outputs);
        all
    };
    let chunk = |chunk: &[Vec<f32>]| chunk.par_iter().map(run).collect::<Vec<_>>();
    samples.chunks(CHUNK).flat_map(chunk).fold(nothing(), join)
}

/// Runs one sample, shows every node's elements to `look` and returns the last node's; what nobody
/// reads any more is dropped.
pub fn visit(graph: &Graph, input: &[f32], mut look: impl FnMut(NodeId, &[f32])) -> Vec<f32> {
    let mut last = vec![0; graph.nodes.len()];
    for (id, node) in graph.iter() {
        node.inputs.iter().for_each(|read| last[read.0] = id.0);
    }
    let mut values: Vec<Vec<f32>> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        let value = apply(graph, node, &values, input);
        look(id, &value);
        node.inputs.iter().filter(|read| last[read.0] == id.0).for_each(|read| values[read.0] = Vec::new());
        values.push(value);
    }
    values.pop().unwrap_or_default()
}

/// Index of the largest element; the lowest index wins ties.
pub fn argmax(values: &[f32]) -> usize {
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).reduce(better).unwrap_or(0)
}

/// A node's elements, given those of the nodes it reads; the input's are `input`.
pub(crate) fn apply(graph: &Graph, node: &Node, values: &[Vec<f32>], input: &[f32]) -> Vec<f32> {
    let Some(&first) = node.inputs.first() else { return input.to_vec() };
    let (x, shape) = (values[first.0].as_slice(), graph.node(first).shape.as_slice());
    match &node.op {
        Op::Input => input.to_vec(),
        Op::Normalise(normalise) => normalise.apply(x, shape),
        Op::Conv(conv) => kernels::conv(conv, x, shape, &node.shape),
        Op::Dense(dense) => kernels::dense(dense, x),
        Op::Affine(affine) => {
            let at = affine.indices(&node.shape);
            x.iter().zip(at).map(|(v, i)| v * affine.scale[i] + affine.shift[i]).collect()
        }
        Op::Scale(factor) => x.iter().map(|v| v * factor).collect(),
        Op::Pointwise(f) => pointwise(f, x),
        Op::Relu => x.iter().map(|v| v.max(0.0)).collect(),
        Op::Add => x.iter().zip(&values[node.inputs[1].0]).map(|(a, b)| a + b).collect(),
        Op::Mul => {
            let other = &values[node.inputs[1].0];
            let row = x.len() / other.len().max(1);
            x.chunks_exact(row.max(1)).zip(other).flat_map(|(row, b)| row.iter().map(move |a| a * b)).collect()
        }
        Op::MatMul => kernels::mat_mul(x, &values[node.inputs[1].0], shape, node.shape[2]),
        Op::Binary(op) => {
            let both = x.iter().zip(&values[node.inputs[1].0]);
            both.map(|(a, b)| op.at(f64::from(*a), f64::from(*b)) as f32).collect()
        }
        Op::Select => {
            let choices = values[node.inputs[1].0].iter().zip(&values[node.inputs[2].0]);
            x.iter().zip(choices).map(|(c, (a, b))| if *c != 0.0 { *a } else { *b }).collect()
        }
        Op::MaxPool(window) => kernels::pool(window, x, shape, &node.shape, f32::NEG_INFINITY, f32::max),
        Op::SumPool(window) => kernels::pool(window, x, shape, &node.shape, 0.0, |a, b| a + b),
        Op::Concat { axis } => concat(graph, &node.inputs, values, *axis),
        Op::Slice { start } => slice(x, shape, start, &node.shape),
        Op::Pad { before, .. } => pad(x, shape, before, &node.shape),
        Op::Transpose { perm } => transpose(x, shape, perm),
        Op::Reshape => x.to_vec(),
        Op::Softmax { axis, log } => softmax(x, shape, *axis, *log),
        Op::Mask(mask) => {
            let at = mask.indices(&node.shape).into_iter();
            let hides = |i: usize| mask.scale[i] == 0.0;
            x.iter().zip(at).map(|(v, i)| if hides(i) { mask.shift[i] } else { v + mask.shift[i] }).collect()
        }
        Op::MaskBy { value, when } => {
            let hides = values[node.inputs[1].0].iter().map(|c| (*c != 0.0) == *when);
            x.iter().zip(hides).map(|(v, hides)| if hides { *value } else { *v }).collect()
        }
        Op::MaskSum => {
            let sums = x.iter().zip(&values[node.inputs[1].0]);
            sums.map(|(a, b)| if *b < FAR { f32::NEG_INFINITY } else { a + b }).collect()
        }
        Op::Round { step } => x.iter().map(|v| (v / step).round_ties_even() * step).collect(),
        Op::ArgMax => vec![argmax(x) as f32],
        Op::Trees(trees) => trees.apply(x),
    }
}

/// In blocks that stay in the cache.
fn pointwise(f: &Expr, x: &[f32]) -> Vec<f32> {
    let mut y = Vec::with_capacity(x.len());
    for block in x.chunks(1024) {
        let block: Vec<f64> = block.iter().map(|v| f64::from(*v)).collect();
        y.extend(f.each(&block).into_iter().map(|v| v as f32));
    }
    y
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

/// For each element of `shape`, what `visit` gets is its index and its position along every axis.
fn positions(shape: &[usize], mut visit: impl FnMut(usize, &[usize])) {
    let mut at = vec![0; shape.len()];
    for index in 0..shape.iter().product() {
        visit(index, &at);
        for axis in (0..at.len()).rev() {
            at[axis] += 1;
            if at[axis] < shape[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
}

fn row_major(shape: &[usize], at: impl Iterator<Item = usize>) -> usize {
    at.zip(shape).fold(0, |index, (i, extent)| index * extent + i)
}

fn slice(x: &[f32], shape: &[usize], start: &[usize], out: &[usize]) -> Vec<f32> {
    let mut y = Vec::with_capacity(out.iter().product());
    positions(out, |_, at| y.push(x[row_major(shape, at.iter().zip(start).map(|(i, s)| i + s))]));
    y
}

fn pad(x: &[f32], shape: &[usize], before: &[usize], out: &[usize]) -> Vec<f32> {
    let mut y = vec![0.0; out.iter().product()];
    positions(shape, |index, at| y[row_major(out, at.iter().zip(before).map(|(i, b)| i + b))] = x[index]);
    y
}

fn softmax(x: &[f32], shape: &[usize], axis: usize, log: bool) -> Vec<f32> {
    let (n, stride) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let mut y = vec![0.0; x.len()];
    for start in (0..x.len()).filter(|i| i / stride % n == 0) {
        let row = || (0..n).map(|i| start + i * stride);
        let top = row().map(|i| x[i]).fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = row().map(|i| (x[i] - top).exp()).sum();
        row().for_each(|i| y[i] = if log { x[i] - top - sum.ln() } else { (x[i] - top).exp() / sum });
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::scales::Scales;
    use crate::nn::{Affine, Conv};

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
        let affine = Op::Affine(Affine { shape: vec![2, 1, 1], scale: vec![2.0, 1.0], shift: vec![0.0, -1.0] });
        assert_eq!(eval(affine, &[2, 1, 3]), [2.0, -4.0, 6.0, -5.0, 4.0, 4.0]);
        assert_eq!(eval(Op::ArgMax, &[1]), [4.0]);
        assert_eq!(eval(Op::Slice { start: vec![1, 0, 1] }, &[1, 1, 2]), [5.0, 5.0]);
        let pad = Op::Pad { before: vec![0, 1, 0], after: vec![0, 0, 1] };
        let framed = [0.0, 0.0, 0.0, 0.0, 1.0, -2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, -4.0, 5.0, 5.0, 0.0];
        assert_eq!(eval(pad, &[2, 2, 4]), framed);
        let mut graph = graph(Op::Relu, &[2, 1, 3]);
        graph.push(Op::Concat { axis: 2 }, vec![NodeId(0), NodeId(1)], vec![2, 1, 6], "c");
        let joined = run(&graph, &[1.0, -2.0, 3.0, -4.0, 5.0, 5.0]).pop().unwrap();
        assert_eq!(joined, [1.0, -2.0, 3.0, 1.0, 0.0, 3.0, -4.0, 5.0, 5.0, 0.0, 5.0, 5.0]);
    }

    #[test]
    fn ranges_are_over_all_samples() {
        let samples = [vec![1.0, -7.0, 0.0, 0.0, 0.0, 0.0], vec![0.0, 0.0, 0.0, 0.0, 3.0, 0.0]];
        let mut graph = graph(Op::Relu, &[2, 1, 3]);
        let found = observe(&graph, &Scales::of(&graph).layouts, &samples);
        assert_eq!(found.ranges, [Range { low: -7.0, high: 3.0 }, Range { low: 0.0, high: 3.0 }]);
        assert_eq!(found.outputs[1], samples[1]);
        assert_eq!(found.means, [[], []] as [[f32; 0]; 2]);
        assert!(Range::NONE.join(Range { low: f32::NAN, high: 0.0 }).high.is_nan());
        for n in [0, 1, 15, 16, 17, 50] {
            let mut x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() * 9.0).collect();
            let joined = |x: &[f32]| x.iter().map(|x| Range { low: *x, high: *x }).fold(Range::NONE, Range::join);
            assert_eq!(Range::of(&x), joined(&x));
            x.extend([f32::NAN, 3.0]);
            assert!(Range::of(&x).low.is_nan() && Range::of(&x).high.is_nan());
        }

        let conv = Conv {
            weight: ndarray::Array4::ones([1, 2, 1, 1]),
            bias: vec![0.0],
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
            groups: 1,
        };
        graph.push(Op::Conv(conv), vec![NodeId(0)], vec![1, 1, 3], "c");
        assert_eq!(observe(&graph, &Scales::of(&graph).layouts, &samples).means[0], [-1.0, 0.5]);
    }
}
