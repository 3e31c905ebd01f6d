//! What can be scaled without changing what a network computes: a channel that one linear map makes
//! and another reads may be multiplied by a power of two between them, if everything in between is
//! positively homogeneous, `f(s x) = s f(x)` for `s > 0` (Nagel et al., ICCV 2019, section 4.1).
//!
//! Every element of every node has a *variable*, the logarithm of its factor. Operations equate
//! variables; what a function that is not homogeneous reads, and the output, have the variable
//! [`FIXED`], whose factor is 1.

use super::{Graph, Node, NodeId, Op};

/// The variable of elements that keep their scale.
pub const FIXED: u32 = 0;

/// Each element's variable: that of element `i` is `vars[i / inner % vars.len()]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The variables.
    pub vars: Vec<u32>,
    /// How many consecutive elements share one.
    pub inner: usize,
}

/// The variables of a network.
#[derive(Clone, Debug)]
pub struct Scales {
    /// Every node's.
    pub layouts: Vec<Layout>,
    /// Number of variables.
    pub count: usize,
}

impl Layout {
    /// One variable for all elements.
    pub fn uniform(var: u32) -> Layout {
        Layout { vars: vec![var], inner: 1 }
    }

    /// The variable of element `at`.
    pub fn var(&self, at: usize) -> u32 {
        self.vars[at / self.inner % self.vars.len()]
    }

    /// The variables of `shape`'s elements by their index along `axis`, if they differ along no
    /// other.
    pub fn along(&self, shape: &[usize], axis: usize) -> Option<Vec<u32>> {
        let extent = *shape.get(axis)?;
        let stride: usize = shape[axis + 1..].iter().product();
        let period = self.vars.len() * self.inner;
        // What a reshape spread over several axes may have been tied together since.
        let uniform = self.vars.iter().all(|var| *var == self.vars[0]);
        let varies = uniform || self.inner.is_multiple_of(stride) && (extent * stride).is_multiple_of(period);
        varies.then(|| (0..extent).map(|i| self.var(i * stride)).collect())
    }

    /// Those of an operand with one of `shape`'s elements for each index along an axis.
    fn of_axis(vars: Vec<u32>, shape: &[usize], axis: usize) -> Layout {
        if vars.iter().all(|var| *var == vars[0]) {
            return Layout::uniform(vars[0]);
        }
        Layout { vars, inner: shape[axis + 1..].iter().product() }
    }

    /// What a move of the operand of shape `from` makes of its variables; zeros that it adds are
    /// [`FIXED`]. `None` if the result is not of this form.
    pub fn moved(&self, node: &Node, from: &[usize]) -> Option<Layout> {
        if node.op == Op::Reshape || self.vars.len() == 1 {
            return Some(self.clone());
        }
        let (axis, vars) = (0..from.len()).find_map(|axis| Some((axis, self.along(from, axis)?)))?;
        match &node.op {
            Op::Transpose { perm } => {
                let to = perm.iter().position(|old| *old == axis)?;
                Some(Layout::of_axis(vars, &node.shape, to))
            }
            Op::Slice { start } => {
                let kept = vars[start[axis]..][..node.shape[axis]].to_vec();
                Some(Layout::of_axis(kept, &node.shape, axis))
            }
            Op::Pad { before, after } => {
                let frame = |n: usize| vec![FIXED; n];
                let padded = [frame(before[axis]), vars, frame(after[axis])].concat();
                Some(Layout::of_axis(padded, &node.shape, axis))
            }
            Op::MaxPool(_) | Op::SumPool(_) if axis == 0 => Some(Layout::of_axis(vars, &node.shape, 0)),
            _ => None,
        }
    }
}

impl Scales {
    /// The variables of `graph`.
    pub fn of(graph: &Graph) -> Scales {
        let mut analysis = Analysis { parents: vec![FIXED] };
        let mut layouts: Vec<Layout> = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let layout = analysis.node(graph, node, &layouts);
            layouts.push(layout);
        }
        if let Some(output) = layouts.last() {
            analysis.fix(output);
        }
        let count = analysis.parents.len();
        for var in layouts.iter_mut().flat_map(|layout| &mut layout.vars) {
            *var = analysis.root(*var);
        }
        Scales { layouts, count }
    }

    /// The variables of the operand of a linear map, one for each of its kernel's input channels.
    pub fn read(&self, graph: &Graph, x: NodeId) -> Option<Vec<u32>> {
        self.layouts[x.0].along(&graph.node(x).shape, 0)
    }

    /// The same network with every element multiplied by two to the power of its variable's
    /// exponent; that of [`FIXED`] is zero. What gives the elements of a
    /// [`Normalise`](Op::Normalise) their factors is the caller's business.
    pub fn apply(&self, graph: &mut Graph, exponents: &[i32]) {
        let factor = |var: u32| exponents[var as usize];
        for index in 0..graph.nodes.len() {
            let out = &self.layouts[index];
            let read = graph.nodes[index].inputs.first().and_then(|x| self.read(graph, *x));
            let node = &mut graph.nodes[index];
            let rows = || out.along(&node.shape, 0).unwrap_or_default();
            match &mut node.op {
                Op::Conv(conv) => {
                    let (rows, read) = (rows(), read.unwrap_or_default());
                    let [per_row, per_group] = [conv.weight.shape()[0] / conv.groups, conv.weight.shape()[1]];
                    for ((m, c, ..), w) in conv.weight.indexed_iter_mut() {
                        *w = scaled(*w, factor(rows[m]) - factor(read[m / per_row * per_group + c]));
                    }
                    conv.bias.iter_mut().zip(&rows).for_each(|(b, var)| *b = scaled(*b, factor(*var)));
                }
                Op::Dense(dense) => {
                    let (rows, read) = (rows(), read.unwrap_or_default());
                    for ((m, c), w) in dense.weight.indexed_iter_mut() {
                        *w = scaled(*w, factor(rows[m]) - factor(read[c]));
                    }
                    dense.bias.iter_mut().zip(&rows).for_each(|(b, var)| *b = scaled(*b, factor(*var)));
                }
                Op::Affine(affine) => {
                    let at = affine.indices(&node.shape);
                    let mut shift = affine.shift.clone();
                    at.iter()
                        .enumerate()
                        .for_each(|(i, at)| shift[*at] = scaled(affine.shift[*at], factor(out.var(i))));
                    affine.shift = shift;
                }
                _ => {}
            }
        }
    }
}

/// Exact unless the result is too small for a float.
fn scaled(x: f32, exponent: i32) -> f32 {
    (f64::from(x) * f64::from(exponent).exp2()) as f32
}

struct Analysis {
    parents: Vec<u32>,
}

impl Analysis {
    fn fresh(&mut self, n: usize, inner: usize) -> Layout {
        let first = self.parents.len() as u32;
        let vars: Vec<u32> = (first..first + n as u32).collect();
        self.parents.extend(&vars);
        Layout { vars, inner }
    }

    fn root(&mut self, mut var: u32) -> u32 {
        while self.parents[var as usize] != var {
            let above = self.parents[self.parents[var as usize] as usize];
            self.parents[var as usize] = above;
            var = above;
        }
        var
    }

    /// The smaller one becomes the root, so that [`FIXED`] always is.
    fn equate(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }

    fn fix(&mut self, layout: &Layout) {
        layout.vars.iter().for_each(|var| self.equate(*var, FIXED));
    }

    fn is_fixed(&mut self, layout: &Layout) -> bool {
        layout.vars.iter().all(|var| self.root(*var) == FIXED)
    }

    /// Elements of two operands of one shape get equal variables.
    fn merge(&mut self, a: &Layout, b: &Layout, shape: &[usize]) {
        let pairs: Option<Vec<(u32, u32)>> = if a.inner == b.inner && a.vars.len() == b.vars.len() {
            Some(a.vars.iter().copied().zip(b.vars.iter().copied()).collect())
        } else {
            let common = |axis| Some(a.along(shape, axis)?.into_iter().zip(b.along(shape, axis)?).collect());
            (0..shape.len()).find_map(common)
        };
        match pairs {
            Some(pairs) => pairs.into_iter().for_each(|(a, b)| self.equate(a, b)),
            None => [a, b].into_iter().for_each(|layout| self.fix(layout)),
        }
    }

    /// What is left of `layout` if its variables differ along the leading axis only: else they are
    /// fixed.
    fn by_channel(&mut self, layout: &Layout, shape: &[usize]) {
        if layout.along(shape, 0).is_none() {
            self.fix(layout);
        }
    }

    fn node(&mut self, graph: &Graph, node: &Node, layouts: &[Layout]) -> Layout {
        let operand = |at: usize| (&layouts[node.inputs[at].0], graph.node(node.inputs[at]).shape.as_slice());
        let image = || node.shape[1..].iter().product::<usize>();
        match &node.op {
            Op::Input => Layout::uniform(FIXED),
            Op::Normalise(normalise) if normalise.format.features.is_empty() => Layout::uniform(FIXED),
            Op::Normalise(normalise) => {
                let axis = normalise.format.axis;
                self.fresh(node.shape[axis], node.shape[axis + 1..].iter().product())
            }
            Op::Conv(_) | Op::Dense(_) => {
                let (x, shape) = operand(0);
                self.by_channel(x, shape);
                self.fresh(node.shape[0], image())
            }
            Op::Relu | Op::Scale(_) => operand(0).0.clone(),
            Op::Pointwise(f) if f.is_homogeneous() => operand(0).0.clone(),
            Op::Affine(affine) => {
                let x = operand(0).0;
                // Elements that share a summand share a factor.
                let mut first: Vec<Option<u32>> = vec![None; affine.shift.len()];
                for (i, at) in affine.indices(&node.shape).into_iter().enumerate() {
                    let var = *first[at].get_or_insert(x.var(i));
                    self.equate(var, x.var(i));
                }
                x.clone()
            }
            Op::Add => {
                let (a, shape) = operand(0);
                self.merge(a, operand(1).0, shape);
                a.clone()
            }
            Op::Mul => {
                let ((a, shape), (b, other)) = (operand(0), operand(1));
                let (factor, product) = if shape == other && self.is_fixed(a) { (a, b) } else { (b, a) };
                self.fix(factor);
                product.clone()
            }
            Op::Concat { axis } => self.concat(graph, node, *axis, layouts),
            Op::Reshape
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::MaxPool(_)
            | Op::SumPool(_) => {
                let (x, shape) = operand(0);
                x.moved(node, shape).unwrap_or_else(|| {
                    self.fix(x);
                    Layout::uniform(FIXED)
                })
            }
            Op::Pointwise(_)
            | Op::MatMul
            | Op::Binary(_)
            | Op::Select
            | Op::Softmax { .. }
            | Op::Mask(_)
            | Op::MaskBy { .. }
            | Op::MaskSum
            | Op::Round { .. }
            | Op::Trees(_)
            | Op::ArgMax => {
                node.inputs.iter().for_each(|x| self.fix(&layouts[x.0]));
                Layout::uniform(FIXED)
            }
        }
    }

    fn concat(&mut self, graph: &Graph, node: &Node, axis: usize, layouts: &[Layout]) -> Layout {
        let parts: Vec<(&Layout, &[usize])> =
            node.inputs.iter().map(|x| (&layouts[x.0], graph.node(*x).shape.as_slice())).collect();
        let along = |axis: usize| parts.iter().map(|(part, shape)| part.along(shape, axis)).collect::<Option<Vec<_>>>();
        if let Some(joined) = along(axis) {
            return Layout::of_axis(joined.concat(), &node.shape, axis);
        }
        for other in (0..node.shape.len()).filter(|other| *other != axis) {
            if let Some(parts) = along(other) {
                for part in &parts[1..] {
                    parts[0].iter().zip(part).for_each(|(a, b)| self.equate(*a, *b));
                }
                return Layout::of_axis(parts[0].clone(), &node.shape, other);
            }
        }
        parts.iter().for_each(|(part, _)| self.fix(part));
        Layout::uniform(FIXED)
    }
}

#[cfg(test)]
mod tests {
    use fusion_ir::op::Window;
    use ndarray::{Array2, Array4};

    use super::*;
    use crate::nn::build::Builder;
    use crate::nn::expr::{Binary, Expr, Unary};
    use crate::nn::{Affine, Conv, Dense, eval};

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7 + seed * 5 + 3) % 23) as f32 / 8.0 - 1.375).collect()
    }

    fn conv(b: &mut Builder, x: NodeId, out: usize, groups: usize) -> NodeId {
        let (per_group, seed) = (b.shape(x)[0] / groups, b.graph.nodes.len());
        let weight = Array4::from_shape_vec([out, per_group, 3, 3], numbers(out * per_group * 9, seed)).unwrap();
        let (strides, pads, dilations) = ([1, 1], [1; 4], [1, 1]);
        let op = Conv { weight, bias: numbers(out, seed + 1), strides, pads, dilations, groups };
        let shape = [out, b.shape(x)[1], b.shape(x)[2]];
        b.push(Op::Conv(op), vec![x], shape)
    }

    fn dense(b: &mut Builder, x: NodeId, out: usize) -> NodeId {
        let (n, seed) = (b.shape(x)[0], b.graph.nodes.len());
        let weight = Array2::from_shape_vec([out, n], numbers(out * n, seed)).unwrap();
        b.push(Op::Dense(Dense { weight, bias: numbers(out, seed + 1) }), vec![x], [out])
    }

    fn leaky() -> Expr {
        let scaled = Expr::binary(Binary::Mul, Expr::X, Expr::Const(0.25));
        Expr::select(Expr::binary(Binary::Less, Expr::X, Expr::Const(0.0)), scaled, Expr::X)
    }

    /// Every operation that scales pass, in one network; also where they must not.
    fn network() -> Graph {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [2, 6, 6]);
        let first = conv(&mut b, x, 4, 1);
        let first = b.relu(first);
        let depthwise = conv(&mut b, first, 4, 4);
        let depthwise = b.pointwise(leaky(), depthwise);
        let second = conv(&mut b, depthwise, 4, 2);
        let sum = b.add(first, second);
        let shift = Affine { shape: vec![4, 1, 1], scale: vec![1.0; 4], shift: numbers(4, 9) };
        let sum = b.push(Op::Affine(shift), vec![sum], [4, 6, 6]);
        let gate = conv(&mut b, x, 4, 1);
        let gate = b.pointwise(Expr::unary(Unary::Sigmoid, Expr::X), gate);
        let gated = b.mul(gate, sum).unwrap();
        let window = Window { kernel: [2, 2], strides: [2, 2], pads: [0; 4] };
        let pooled = b.push(Op::MaxPool(window.clone()), vec![gated], [4, 3, 3]);
        let other = conv(&mut b, depthwise, 3, 1);
        let other = b.push(Op::SumPool(window), vec![other], [3, 3, 3]);
        let other = b.scale(0.25, other);
        let joined = b.concat(&[pooled, other], 0);
        let moved = b.transpose(joined, &[1, 2, 0]);
        let part = b.slice(moved, &[0, 0, 2], &[3, 3, 4]);
        let framed = b.pad(part, &[0, 0, 1], &[1, 0, 0]);
        let back = b.transpose(framed, &[2, 0, 1]);
        let third = conv(&mut b, back, 2, 1);
        let flat = b.reshape(third, &[24]);
        let hidden = dense(&mut b, flat, 5);
        let hidden = b.relu(hidden);
        let y = dense(&mut b, hidden, 3);
        let clipped = b.pointwise(Expr::binary(Binary::Min, Expr::X, Expr::Const(6.0)), y);
        let last = dense(&mut b, clipped, 3);
        b.graph.reachable(last)
    }

    #[test]
    fn scaled_networks_compute_the_same_bits() {
        let graph = network();
        let scales = Scales::of(&graph);
        let free: Vec<usize> = (1..scales.count)
            .filter(|var| scales.layouts.iter().any(|layout| layout.vars.contains(&(*var as u32))))
            .collect();
        // The depthwise map's 4, the first's 4 (equated with the second's by the sum), 3 of the
        // other branch, 2, and 5 before the last.
        assert_eq!(free.len(), 4 + 4 + 3 + 2 + 5);
        let x = numbers(72, 4);
        let before = eval::run(&graph, &x).pop().unwrap();
        for seed in 0..8 {
            let mut exponents = vec![0; scales.count];
            for var in &free {
                exponents[*var] = ((var * 5 + seed * 3) % 17) as i32 - 8;
            }
            let mut scaled = graph.clone();
            scales.apply(&mut scaled, &exponents);
            assert_ne!(scaled, graph);
            assert_eq!(eval::run(&scaled, &x).pop().unwrap(), before);
        }
    }

    #[test]
    fn what_is_not_homogeneous_keeps_its_scale() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [3]);
        let h = dense(&mut b, x, 4);
        let s = b.pointwise(Expr::unary(Unary::Tanh, Expr::X), h);
        let squared = dense(&mut b, s, 4);
        let squared = b.mul(squared, squared).unwrap();
        let y = dense(&mut b, squared, 2);
        let scales = Scales::of(&b.graph.reachable(y));
        assert!(scales.layouts.iter().all(|layout| layout.vars.iter().all(|var| *var == FIXED)));
    }
    #[test]
    fn channels_that_another_map_reads_across_keep_their_scale() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [2, 3, 3]);
        let first = conv(&mut b, x, 4, 1);
        // The next map's channels are rows of several of these channels.
        let mixed = b.reshape(first, &[2, 6, 3]);
        let last = conv(&mut b, mixed, 2, 1);
        let graph = b.graph.reachable(last);
        let scales = Scales::of(&graph);
        let read = graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv(_)));
        for node in read {
            assert_eq!(scales.read(&graph, node.inputs[0]).map(|vars| vars.len()), Some(2));
        }
        assert_eq!(scales.layouts[1].vars, [FIXED; 4]);
    }
}
