//! Making networks: constructors that keep them in a simple form.
//!
//! Reshapes and transpositions cost nothing, but they stand between operations that could be
//! joined. So elementwise operations are put *before* the moves that produced their operand:
//! `relu(transpose(x))` becomes `transpose(relu(x))`. What a channels-last export writes around
//! every layer cancels that way, and a BatchNormalization meets its convolution.

use fusion_ir::op::Window;

use super::expr::{Binary, Expr, Unary};
use super::{Affine, Graph, NodeId, Op};

/// A network in the making. The name given last is that of the nodes that follow.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// What has been made.
    pub graph: Graph,
    /// The ONNX node that is being translated.
    pub node: String,
}

impl Builder {
    /// Extents of `id`.
    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.graph.node(id).shape
    }

    /// Appends a node as it is.
    pub fn push(&mut self, op: Op, inputs: Vec<NodeId>, shape: impl Into<Vec<usize>>) -> NodeId {
        let name = self.node.clone();
        self.graph.push(op, inputs, shape.into(), name)
    }

    /// `x` under another shape of as many elements.
    pub fn reshape(&mut self, x: NodeId, shape: &[usize]) -> NodeId {
        // A scalar is a vector of one element here.
        let shape = if shape.is_empty() { &[1] } else { shape };
        let node = self.graph.node(x);
        let x = if node.op == Op::Reshape { node.inputs[0] } else { x };
        if self.shape(x) == shape { x } else { self.push(Op::Reshape, vec![x], shape) }
    }

    /// Result axis `i` is axis `perm[i]` of `x`.
    pub fn transpose(&mut self, x: NodeId, perm: &[usize]) -> NodeId {
        let node = self.graph.node(x);
        if let Op::Transpose { perm: before } = &node.op {
            let joined: Vec<usize> = perm.iter().map(|axis| before[*axis]).collect();
            let inner = node.inputs[0];
            return self.transpose(inner, &joined);
        }
        let shape: Vec<usize> = perm.iter().map(|axis| node.shape[*axis]).collect();
        if perm.iter().filter(|axis| node.shape[**axis] != 1).is_sorted() {
            return self.reshape(x, &shape);
        }
        if node.op == Op::Reshape
            && let Some((inner, perm)) = self.below(x, perm)
        {
            let moved = self.transpose(inner, &perm);
            return self.reshape(moved, &shape);
        }
        self.push(Op::Transpose { perm: perm.to_vec() }, vec![x], shape)
    }

    /// An elementwise operation of one operand.
    pub fn unary(&mut self, op: Op, x: NodeId) -> NodeId {
        let node = self.graph.node(x);
        let (inner, shape) = (node.inputs.first().copied(), node.shape.clone());
        match (&node.op, inner) {
            (Op::Reshape, Some(inner)) => {
                let op = reshaped(op, &shape, self.shape(inner));
                let y = self.unary(op, inner);
                self.reshape(y, &shape)
            }
            (Op::Transpose { perm }, Some(inner)) => {
                let perm = perm.clone();
                let op = transposed(op, &shape, &perm, self.shape(inner));
                let y = self.unary(op, inner);
                self.transpose(y, &perm)
            }
            _ => self.push(op, vec![x], shape),
        }
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: NodeId) -> NodeId {
        self.unary(Op::Relu, x)
    }

    /// A public function of each element.
    pub fn pointwise(&mut self, f: Expr, x: NodeId) -> NodeId {
        if f == Expr::X { x } else { self.unary(Op::Pointwise(f), x) }
    }

    /// `x * factor`, a public factor.
    pub fn scale(&mut self, factor: f32, x: NodeId) -> NodeId {
        if factor == 1.0 { x } else { self.unary(Op::Scale(factor), x) }
    }

    /// `x * scale + shift`, coefficients of extents `shape` as [`Affine`] says.
    pub fn affine(&mut self, x: NodeId, affine: Affine) -> NodeId {
        let nothing = affine.scale.iter().all(|s| *s == 1.0) && affine.shift.iter().all(|s| *s == 0.0);
        if nothing { x } else { self.unary(Op::Affine(affine), x) }
    }

    /// `a + b`, of one shape.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.zip(Op::Add, &[a, b])
    }

    /// `a - b`, of one shape.
    pub fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let minus = self.scale(-1.0, b);
        self.add(a, minus)
    }

    /// An elementwise operation of several operands of one shape; moves that all of them went
    /// through come after it.
    pub fn zip(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let shape = self.shape(operands[0]).to_vec();
        let first = self.graph.node(operands[0]);
        let moves = matches!(first.op, Op::Reshape | Op::Transpose { .. });
        let same = |id: &NodeId| {
            let node = self.graph.node(*id);
            node.op == first.op && self.shape(node.inputs[0]) == self.shape(first.inputs[0])
        };
        if moves && operands.iter().all(same) {
            let moved = first.op.clone();
            let inner: Vec<NodeId> = operands.iter().map(|id| self.graph.node(*id).inputs[0]).collect();
            let y = self.zip(op, &inner);
            return match moved {
                Op::Transpose { perm } => self.transpose(y, &perm),
                _ => self.reshape(y, &shape),
            };
        }
        self.push(op, operands.to_vec(), shape)
    }

    /// `a * b`, broadcast against each other.
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, String> {
        let shape = broadcast(self.shape(a), self.shape(b))?;
        let (a, b) = if self.shape(a) == shape { (a, b) } else { (b, a) };
        if self.shape(a) == shape
            && self.shape(b) != shape
            && let Some(rows) = leading(&shape, self.shape(b))
        {
            let total: usize = shape.iter().product();
            let a = self.reshape(a, &[rows, total / rows]);
            let b = self.reshape(b, &[rows]);
            let y = self.push(Op::Mul, vec![a, b], [rows, total / rows]);
            return Ok(self.reshape(y, &shape));
        }
        let (a, b) = (self.expand(a, &shape)?, self.expand(b, &shape)?);
        Ok(self.zip(Op::Mul, &[a, b]))
    }

    /// `[b, m, k]` times `[b, k, n]`.
    pub fn mat_mul(&mut self, x: NodeId, y: NodeId) -> NodeId {
        let shape = [self.shape(x)[0], self.shape(x)[1], self.shape(y)[2]];
        self.push(Op::MatMul, vec![x, y], shape)
    }

    /// `x` repeated along axes of extent 1 (and new leading axes) up to `shape`.
    pub fn expand(&mut self, x: NodeId, shape: &[usize]) -> Result<NodeId, String> {
        if broadcast(self.shape(x), shape)? != shape {
            return Err(format!("{:?} cannot be repeated to {shape:?}", self.shape(x)));
        }
        let mut full = vec![1; shape.len() - self.shape(x).len()];
        full.extend(self.shape(x));
        let mut y = self.reshape(x, &full);
        for axis in (0..shape.len()).rev().filter(|axis| full[*axis] != shape[*axis]) {
            y = self.repeat(y, axis, shape[axis]);
        }
        Ok(y)
    }

    /// `times` copies of `x` one after the other along an axis of extent 1: small factors first,
    /// so that all operands of a concatenation are equal where it can be, then doubled as long as
    /// it fits, then joined.
    fn repeat(&mut self, x: NodeId, axis: usize, times: usize) -> NodeId {
        let (mut power, mut parts, mut left) = (x, Vec::new(), times);
        for factor in [3, 5, 7, 11, 13] {
            while left % factor == 0 && left > 0 {
                power = self.concat(&vec![power; factor], axis);
                left /= factor;
            }
        }
        while left > 0 {
            if left % 2 == 1 {
                parts.push(power);
            }
            left /= 2;
            if left > 0 {
                power = self.concat(&[power, power], axis);
            }
        }
        self.concat(&parts, axis)
    }

    /// The operands one after the other along `axis`.
    pub fn concat(&mut self, parts: &[NodeId], axis: usize) -> NodeId {
        if let [only] = parts {
            return *only;
        }
        let mut shape = self.shape(parts[0]).to_vec();
        shape[axis] = parts.iter().map(|part| self.shape(*part)[axis]).sum();
        if let Some((inner, inner_axis)) = self.concat_below(parts, axis) {
            let y = self.concat(&inner, inner_axis);
            return self.reshape(y, &shape);
        }
        match self.rejoined(parts, axis).as_slice() {
            [only] => *only,
            joined => self.push(Op::Concat { axis }, joined.to_vec(), shape),
        }
    }

    /// The same parts, those that are neighbouring slices of one tensor as one.
    fn rejoined(&mut self, parts: &[NodeId], axis: usize) -> Vec<NodeId> {
        let slice = |graph: &Graph, part: NodeId| match &graph.node(part).op {
            Op::Slice { start } => Some((graph.node(part).inputs[0], start.clone())),
            _ => None,
        };
        let mut joined: Vec<NodeId> = Vec::with_capacity(parts.len());
        for part in parts.iter().copied() {
            let last = joined.last().copied();
            let both = last.and_then(|last| Some((last, slice(&self.graph, last)?, slice(&self.graph, part)?)));
            let Some((last, (x, start), (y, mut next))) = both else {
                joined.push(part);
                continue;
            };
            let mut shape = self.shape(last).to_vec();
            let neighbours = next[axis] == start[axis] + shape[axis];
            next[axis] = start[axis];
            if x != y || !neighbours || next != start {
                joined.push(part);
                continue;
            }
            shape[axis] += self.shape(part)[axis];
            joined.pop();
            let whole = self.slice(x, &start, &shape);
            joined.push(whole);
        }
        joined
    }

    /// The part of `x` that begins at `start`.
    pub fn slice(&mut self, x: NodeId, start: &[usize], shape: &[usize]) -> NodeId {
        if self.shape(x) == shape { x } else { self.push(Op::Slice { start: start.to_vec() }, vec![x], shape) }
    }

    /// The elements number `indices` of `x` along `axis`, in that order.
    pub fn select(&mut self, x: NodeId, axis: usize, indices: &[usize]) -> NodeId {
        let mut parts = Vec::new();
        let mut from = 0;
        while from < indices.len() {
            let run = (from + 1..indices.len()).take_while(|i| indices[*i] == indices[from] + i - from).count() + 1;
            let (mut start, mut shape) = (vec![0; self.shape(x).len()], self.shape(x).to_vec());
            (start[axis], shape[axis]) = (indices[from], run);
            parts.push(self.slice(x, &start, &shape));
            from += run;
        }
        self.concat(&parts, axis)
    }

    /// Zeros around `x`.
    pub fn pad(&mut self, x: NodeId, before: &[usize], after: &[usize]) -> NodeId {
        let shape: Vec<usize> =
            self.shape(x).iter().zip(before.iter().zip(after)).map(|(n, (b, a))| n + b + a).collect();
        if self.shape(x) == shape {
            return x;
        }
        self.push(Op::Pad { before: before.to_vec(), after: after.to_vec() }, vec![x], shape)
    }

    /// `max(a, b)` or `min(a, b)` of operands of one shape, or a comparison of them: an operation
    /// that [`super::compose`] replaces.
    pub fn binary(&mut self, op: Binary, a: NodeId, b: NodeId) -> NodeId {
        self.zip(Op::Binary(op), &[a, b])
    }

    /// A pool over each row of `x`, a matrix `[rows, n]`: a vector of `rows`.
    pub fn pool_rows(&mut self, op: impl FnOnce(Window) -> Op, x: NodeId) -> NodeId {
        let (rows, n) = (self.shape(x)[0], self.shape(x)[1]);
        let image = self.reshape(x, &[rows, 1, n]);
        let window = Window { kernel: [1, n], strides: [1, 1], pads: [0; 4] };
        let y = self.push(op(window), vec![image], [rows, 1, 1]);
        self.reshape(y, &[rows])
    }

    /// `1 / x`.
    pub fn reciprocal(&mut self, x: NodeId) -> NodeId {
        self.pointwise(Expr::unary(Unary::Reciprocal, Expr::X), x)
    }

    /// What a transposition of the reshape `x` is on what it reshapes, if the reshape only adds or
    /// drops extents of 1.
    fn below(&self, x: NodeId, perm: &[usize]) -> Option<(NodeId, Vec<usize>)> {
        let node = self.graph.node(x);
        let inner = node.inputs[0];
        let visible = |shape: &[usize]| (0..shape.len()).filter(|axis| shape[*axis] != 1).collect::<Vec<usize>>();
        let (outer_axes, inner_axes) = (visible(&node.shape), visible(self.shape(inner)));
        let extents = |shape: &[usize], axes: &[usize]| axes.iter().map(|axis| shape[*axis]).collect::<Vec<_>>();
        if extents(&node.shape, &outer_axes) != extents(self.shape(inner), &inner_axes) {
            return None;
        }
        let mut order = perm.iter().filter_map(|axis| outer_axes.iter().position(|outer| outer == axis));
        let mut place = |axis: usize| {
            if inner_axes.contains(&axis) { order.next().map(|at| inner_axes[at]) } else { Some(axis) }
        };
        let perm: Vec<usize> = (0..self.shape(inner).len()).map(&mut place).collect::<Option<_>>()?;
        Some((inner, perm))
    }

    /// What a concatenation of reshapes is on what they reshape, if it is one there.
    fn concat_below(&self, parts: &[NodeId], axis: usize) -> Option<(Vec<NodeId>, usize)> {
        let split = |shape: &[usize], axis: usize| {
            (shape[..axis].iter().product::<usize>(), shape[axis + 1..].iter().product::<usize>())
        };
        let mut inner = Vec::new();
        for part in parts {
            let node = self.graph.node(*part);
            inner.push(*node.inputs.first().filter(|_| node.op == Op::Reshape)?);
        }
        let wanted = split(self.shape(parts[0]), axis);
        let first = self.shape(inner[0]);
        let inner_axis = (0..first.len()).find(|axis| split(first, *axis) == wanted)?;
        let agrees = |id: &NodeId| {
            let shape = self.shape(*id);
            shape.len() == first.len() && (0..first.len()).all(|i| i == inner_axis || shape[i] == first[i])
        };
        inner.iter().all(agrees).then_some((inner, inner_axis))
    }
}

/// The common shape of two operands by ONNX's (NumPy's) rule.
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let join = |axis| match (extent(a, axis), extent(b, axis)) {
        (1, n) | (n, 1) => Ok(n),
        (n, m) if n == m => Ok(n),
        _ => Err(format!("shapes {a:?} and {b:?} do not fit together")),
    };
    (0..rank).map(join).collect()
}

/// The number of `part`'s elements, if they are one for each index of some leading axes of `shape`.
fn leading(shape: &[usize], part: &[usize]) -> Option<usize> {
    let mut full = vec![1; shape.len().checked_sub(part.len())?];
    full.extend(part);
    let last = full.iter().rposition(|extent| *extent != 1).map_or(0, |axis| axis + 1);
    (full[..last] == shape[..last]).then(|| full.iter().product())
}

/// An elementwise operation on `from`-shaped data, as one on the same data under the shape `to`.
fn reshaped(op: Op, from: &[usize], to: &[usize]) -> Op {
    match op {
        Op::Mask(affine) => {
            let indices = affine.indices(from);
            Op::Mask(compressed(&affine, &indices, to))
        }
        Op::Affine(affine) if affine.uniform().is_none() => {
            let indices = affine.indices(from);
            Op::Affine(compressed(&affine, &indices, to))
        }
        Op::Affine(affine) => Op::Affine(Affine { shape: vec![1; to.len()], ..affine }),
        op => op,
    }
}

/// An elementwise operation behind a transposition that gives `from`, as one before it, on `to`.
fn transposed(op: Op, from: &[usize], perm: &[usize], to: &[usize]) -> Op {
    let (affine, wrap): (Affine, fn(Affine) -> Op) = match op {
        Op::Affine(affine) if affine.uniform().is_some() => return Op::Affine(affine),
        Op::Affine(affine) => (affine, Op::Affine),
        Op::Mask(affine) => (affine, Op::Mask),
        op => return op,
    };
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, axis)| back[*axis] = i);
    let indices = transpose(&affine.indices(from), from, &back);
    wrap(compressed(&affine, &indices, to))
}

/// Coefficients by element, with axes along which they do not vary dropped.
fn compressed(affine: &Affine, indices: &[usize], shape: &[usize]) -> Affine {
    let mut kept = indices.to_vec();
    let mut extents = shape.to_vec();
    for axis in 0..shape.len() {
        let inner: usize = extents[axis + 1..].iter().product();
        let block = extents[axis] * inner;
        let value = |i: usize| (affine.scale[kept[i]].to_bits(), affine.shift[kept[i]].to_bits());
        let constant = (0..kept.len()).all(|i| value(i) == value(i / block * block + i % inner));
        if constant {
            kept = kept.chunks_exact(block).flat_map(|chunk| chunk[..inner].to_vec()).collect();
            extents[axis] = 1;
        }
    }
    let pick = |from: &[f32]| kept.iter().map(|i| from[*i]).collect();
    Affine { shape: extents, scale: pick(&affine.scale), shift: pick(&affine.shift) }
}

/// Elements of `shape` with axes permuted as [`Op::Transpose`] says.
pub(super) fn transpose<T: Copy>(x: &[T], shape: &[usize], perm: &[usize]) -> Vec<T> {
    match ndarray::ArrayViewD::from_shape(shape, x) {
        Ok(view) => view.permuted_axes(perm.to_vec()).iter().copied().collect(),
        Err(_) => x.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::eval;

    fn start(shape: &[usize]) -> (Builder, NodeId) {
        let mut builder = Builder::default();
        let x = builder.push(Op::Input, vec![], shape);
        (builder, x)
    }

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i * 7 % 11) as f32 - 5.0).collect()
    }

    fn last(builder: &Builder, id: NodeId) -> (Vec<&'static str>, Vec<f32>) {
        let graph = builder.graph.clone().reachable(id);
        let y = eval::run(&graph, &numbers(graph.nodes[0].len())).pop().unwrap();
        (graph.nodes.iter().map(|node| node.op.name()).collect(), y)
    }

    #[test]
    fn copies_are_of_equal_parts_where_they_can_be() {
        for (times, equal) in [(768, true), (45, true), (17 * 4, false)] {
            let (mut b, x) = start(&[2, 1]);
            let y = b.expand(x, &[2, times]).unwrap();
            let all = b.graph.nodes.iter().filter(|node| matches!(node.op, Op::Concat { .. }));
            let equals = |node: &super::super::Node| node.inputs.iter().all(|input| *input == node.inputs[0]);
            assert_eq!(all.clone().all(equals), equal, "{times}");
            let expected: Vec<f32> = numbers(2).into_iter().flat_map(|x| vec![x; times]).collect();
            assert_eq!(last(&b, y).1, expected);
        }
    }

    #[test]
    fn a_channels_last_detour_cancels() {
        let (mut b, x) = start(&[1, 2, 3, 4]);
        let nhwc = b.transpose(x, &[0, 2, 3, 1]);
        let y = b.affine(nhwc, Affine { shape: vec![1, 1, 1, 2], scale: vec![2.0, -1.0], shift: vec![0.5, 0.0] });
        let y = b.relu(y);
        let back = b.transpose(y, &[0, 3, 1, 2]);
        let (ops, found) = last(&b, back);
        assert_eq!(ops, ["input", "affine", "relu"]);
        let expected = numbers(24).into_iter().enumerate().map(|(i, x)| {
            let y = if i < 12 { 2.0 * x + 0.5 } else { -x };
            y.max(0.0)
        });
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn coefficients_follow_reshapes() {
        let (mut b, x) = start(&[2, 6]);
        let wide = b.reshape(x, &[1, 2, 3, 2]);
        let y = b.affine(wide, Affine { shape: vec![1, 1, 3, 1], scale: vec![1.0, 2.0, 3.0], shift: vec![0.0; 3] });
        let flat = b.reshape(y, &[12]);
        let (ops, found) = last(&b, flat);
        assert_eq!(ops, ["input", "affine", "reshape"]);
        let factors = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0];
        assert_eq!(found, numbers(12).iter().enumerate().map(|(i, x)| x * factors[i % 6]).collect::<Vec<_>>());
    }

    #[test]
    fn broadcasts_repeat_or_use_leading_axes() {
        let (mut b, x) = start(&[1, 2, 3]);
        let factors = b.slice(x, &[0, 0, 0], &[1, 2, 1]);
        let y = b.mul(x, factors).unwrap();
        let (ops, found) = last(&b, y);
        assert_eq!(ops, ["input", "slice", "reshape", "reshape", "mul", "reshape"]);
        let n = numbers(6);
        assert_eq!(found, [0, 1, 2, 3, 4, 5].map(|i| n[i] * n[i / 3 * 3]));
        let row = b.slice(x, &[0, 1, 0], &[1, 1, 3]);
        let row = b.reshape(row, &[3]);
        let five = b.expand(row, &[5, 3]).unwrap();
        assert_eq!(last(&b, five).1, n[3..].repeat(5));
        assert!(b.expand(row, &[5, 4]).is_err());
        assert_eq!(broadcast(&[3, 1, 2], &[4, 1]), Ok(vec![3, 4, 2]));
    }

    #[test]
    fn neighbouring_slices_are_one_again() {
        let (mut b, x) = start(&[6]);
        let mut part = |i| {
            let part = b.slice(x, &[i], &[1]);
            b.reshape(part, &[1, 1])
        };
        let parts: Vec<NodeId> = (0..6).map(&mut part).collect();
        let all = b.concat(&parts, 1);
        assert_eq!(last(&b, all).0, ["input", "reshape"]);
        let some = b.concat(&[parts[2], parts[3], parts[1], parts[0]], 1);
        let (ops, found) = last(&b, some);
        assert_eq!(ops, ["input", "slice", "slice", "slice", "concat", "reshape"]);
        let n = numbers(6);
        assert_eq!(found, [n[2], n[3], n[1], n[0]]);
    }

    #[test]
    fn joins_of_images_stay_joins_of_images() {
        let (mut b, x) = start(&[2, 3, 3]);
        let r = b.relu(x);
        let parts = [x, r].map(|part| b.reshape(part, &[1, 2, 3, 3]));
        let joined = b.concat(&parts, 1);
        let back = b.reshape(joined, &[4, 3, 3]);
        assert_eq!(last(&b, back).0, ["input", "relu", "concat"]);
    }
}
