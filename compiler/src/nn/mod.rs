//! The float network: what an ONNX model means, before any number format is chosen.
//!
//! A [`Graph`] is the program of one sample; its input has no batch axis, other nodes have it where
//! ONNX's operators do. The importer makes it through a [`Builder`](build::Builder), [`compose`]
//! and [`fold`] simplify it, [`eval`] runs it in float32 for calibration, and [`crate::lower`]
//! turns it into the secure IR.

pub mod absorb;
pub mod build;
pub mod commute;
pub mod compose;
pub mod eval;
pub mod expr;
mod factors;
pub mod fold;
pub mod gates;
mod kernels;
pub mod mask;
mod print;
pub mod scales;
mod skips;
mod softmax;
pub mod trees;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fusion_ir::InputFormat;
use fusion_ir::op::Window;
use ndarray::{Array2, Array4};

use expr::{Binary, Expr};

/// Masks below this are as good as minus infinity.
const FAR: f32 = -1e3;

/// Index of a node in its [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A convolution `[C_in, H, W] -> [C_out, H', W']`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Kernel `[C_out, C_in / groups, kh, kw]`.
    pub weight: Array4<f32>,
    /// One per output channel.
    pub bias: Vec<f32>,
    /// Rows, columns.
    pub strides: [usize; 2],
    /// Zero padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Rows, columns.
    pub dilations: [usize; 2],
    /// Number of channel groups.
    pub groups: usize,
}

/// A fully connected layer `[n] -> [m]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Matrix `[m, n]`.
    pub weight: Array2<f32>,
    /// One per output.
    pub bias: Vec<f32>,
}

/// `x * scale + shift`, both private. Coefficients have the extents `shape`, one for each axis of
/// `x`: either the axis's extent, or 1 where they do not vary along it.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Extents of the coefficients.
    pub shape: Vec<usize>,
    /// Factors, row-major.
    pub scale: Vec<f32>,
    /// Summands, row-major.
    pub shift: Vec<f32>,
}

/// What every element of a sample is, whatever the sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Elements {
    /// 0 or 1.
    Bit,
    /// A whole number.
    Whole,
    /// A number.
    #[default]
    Real,
}

/// The sample in units of its public format: `x * 2^frac - offset` of each feature's, times two to
/// the power of `-frac` of the whole. As it is, without features.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalise {
    /// What the client applies.
    pub format: InputFormat,
    /// Fractional bits of the result.
    pub frac: i8,
    /// Bits of its largest element, in units of the last of them.
    pub magnitude: u8,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The sample.
    Input,
    /// The sample, of which it is the only reader, with every feature in its own format.
    Normalise(Normalise),
    /// Convolution with zero padding.
    Conv(Conv),
    /// Fully connected.
    Dense(Dense),
    /// A private factor and summand for each element.
    Affine(Affine),
    /// `x * factor`; the factor is part of the architecture (an averaging pool's `1 / n`, a sign),
    /// hence public.
    Scale(f32),
    /// `max(x, 0)`.
    Relu,
    /// A public function of each element, for each element by itself.
    Pointwise(Expr),
    /// Elementwise sum of two operands of one shape.
    Add,
    /// Elementwise product; the second operand has the first's shape, or is a vector of one factor
    /// for each element of its leading axis.
    Mul,
    /// Products of two secret matrices, `[b, m, k]` times `[b, k, n]`.
    MatMul,
    /// Elementwise operation on two operands of one shape that has no counterpart in the IR:
    /// [`compose`] replaces it.
    Binary(Binary),
    /// The second operand where the first is 1, the third where it is 0; all of one shape.
    /// [`compose`] replaces it.
    Select,
    /// Maximum over each window of `[C, H, W]`, padding excluded.
    MaxPool(Window),
    /// Sum over each window of `[C, H, W]`, padding counted as zero.
    SumPool(Window),
    /// Concatenation along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// The part of the operand that begins at `start`; its extents are the result's.
    Slice {
        /// First element of each axis.
        start: Vec<usize>,
    },
    /// Zeros around the operand.
    Pad {
        /// Elements before each axis.
        before: Vec<usize>,
        /// Elements after each axis.
        after: Vec<usize>,
    },
    /// Axes permuted: result axis `i` is operand axis `perm[i]`.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// The same elements in row-major order under another shape.
    Reshape,
    /// Softmax (or its logarithm) along an axis; keeps the order of the elements. Left out at the
    /// output, else taken apart.
    Softmax {
        /// The axis.
        axis: usize,
        /// Whether the logarithm is meant.
        log: bool,
    },
    /// As [`Op::Affine`], with summands that hide scores from what reads them: [`mask::settle`]
    /// replaces it.
    Mask(Affine),
    /// The first operand, and where the second is 1 (or, if `when` is false, 0) a number that hides
    /// it. [`mask::settle`] replaces it.
    MaskBy {
        /// The number.
        value: f32,
        /// What the second operand is where the number is.
        when: bool,
    },
    /// The sum of scores and of what may hide them: [`mask::settle`] replaces it.
    MaskSum,
    /// To the nearest multiple of `step`, ties to even ones. [`mask::settle`] replaces it.
    Round {
        /// The distance of results.
        step: f32,
    },
    /// Index of the largest element.
    ArgMax,
    /// Decision trees on a vector of features.
    Trees(Arc<trees::Trees>),
}

/// One node: an operation applied to earlier nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Earlier nodes.
    pub inputs: Vec<NodeId>,
    /// Extents of the result.
    pub shape: Vec<usize>,
    /// The ONNX node it comes from.
    pub name: String,
}

/// The program of one sample, in topological order; node 0 is the input and the last node the
/// output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
}

impl Affine {
    /// One factor and one summand for each element of the leading axis, if they vary along no
    /// other.
    pub fn per_channel(&self, channels: usize) -> Option<(Vec<f32>, Vec<f32>)> {
        let leading = self.shape.first().copied().unwrap_or(1);
        if self.scale.len() != leading {
            return None;
        }
        let spread = |values: &[f32]| if leading == 1 { vec![values[0]; channels] } else { values.to_vec() };
        Some((spread(&self.scale), spread(&self.shift)))
    }

    /// The factor and the summand, if there is one of each for all elements.
    pub fn uniform(&self) -> Option<(f32, f32)> {
        if let ([scale], [shift]) = (self.scale.as_slice(), self.shift.as_slice()) {
            Some((*scale, *shift))
        } else {
            None
        }
    }

    /// For each element of an operand of `shape`, the index of its coefficients.
    pub fn indices(&self, shape: &[usize]) -> Vec<usize> {
        let mut strides = vec![0; shape.len()];
        let mut stride = 1;
        for axis in (0..shape.len()).rev() {
            strides[axis] = if self.shape[axis] == 1 { 0 } else { stride };
            stride *= self.shape[axis];
        }
        let mut indices = vec![0usize];
        for (extent, stride) in shape.iter().zip(strides) {
            indices = indices.into_iter().flat_map(|base| (0..*extent).map(move |i| base + i * stride)).collect();
        }
        indices
    }
}

impl Normalise {
    /// The result for the sample `x` of extents `shape`.
    pub fn apply(&self, x: &[f32], shape: &[usize]) -> Vec<f32> {
        if self.format.features.is_empty() {
            return x.to_vec();
        }
        let inner: usize = shape[self.format.axis + 1..].iter().product();
        let one = |(at, x): (usize, &f32)| {
            let feature = self.format.features[at / inner % self.format.features.len()];
            let units = f64::from(*x) * f64::from(feature.frac).exp2() - feature.offset as f64;
            (units * (-f64::from(self.frac)).exp2()) as f32
        };
        x.iter().enumerate().map(one).collect()
    }
}

impl Op {
    /// Whether it only moves elements, drops some, or adds zeros.
    pub fn moves(&self) -> bool {
        matches!(self, Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Pad { .. })
    }

    /// The operation's name in messages and dumps.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Normalise(_) => "normalise",
            Op::Conv(_) => "conv",
            Op::Dense(_) => "dense",
            Op::Affine(_) => "affine",
            Op::Scale(_) => "scale",
            Op::Relu => "relu",
            Op::Pointwise(_) => "pointwise",
            Op::Add => "add",
            Op::Mul => "mul",
            Op::MatMul => "mat_mul",
            Op::Binary(_) => "binary",
            Op::Select => "select",
            Op::MaxPool(_) => "max_pool",
            Op::SumPool(_) => "sum_pool",
            Op::Concat { .. } => "concat",
            Op::Slice { .. } => "slice",
            Op::Pad { .. } => "pad",
            Op::Transpose { .. } => "transpose",
            Op::Reshape => "reshape",
            Op::Softmax { .. } => "softmax",
            Op::Mask(_) => "mask",
            Op::MaskBy { .. } => "mask_by",
            Op::MaskSum => "mask_sum",
            Op::Round { .. } => "round",
            Op::ArgMax => "argmax",
            Op::Trees(_) => "trees",
        }
    }
}

impl Node {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether some extent is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Graph {
    /// The node `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Appends a node.
    pub fn push(&mut self, op: Op, inputs: Vec<NodeId>, shape: Vec<usize>, name: impl Into<String>) -> NodeId {
        self.nodes.push(Node { op, inputs, shape, name: name.into() });
        NodeId(self.nodes.len() - 1)
    }

    /// Ids with their nodes, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i), node))
    }

    /// For every node, the nodes that read it.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.iter() {
            node.inputs.iter().for_each(|input| users[input.0].push(id));
        }
        users
    }

    /// The nodes that `output` depends on, which becomes the last; the input stays even if unused.
    pub fn reachable(self, output: NodeId) -> Graph {
        let mut live = HashSet::from([NodeId(0), output]);
        for (id, node) in self.iter().rev() {
            if live.contains(&id) {
                live.extend(&node.inputs);
            }
        }
        let mut renamed = HashMap::new();
        let mut result = Graph { name: self.name, nodes: Vec::new() };
        for (index, mut node) in self.nodes.into_iter().enumerate().take(output.0 + 1) {
            if live.contains(&NodeId(index)) {
                node.inputs.iter_mut().for_each(|input| *input = renamed[input]);
                result.nodes.push(node);
                renamed.insert(NodeId(index), NodeId(result.nodes.len() - 1));
            }
        }
        result
    }

    /// The shape of one sample, without a batch axis.
    pub fn input_shape(&self) -> &[usize] {
        &self.nodes[0].shape
    }

    /// Multiply-accumulates of its linear layers.
    pub fn macs(&self) -> usize {
        let macs = |node: &Node| match &node.op {
            Op::Conv(conv) => node.len() * conv.weight.len() / conv.bias.len().max(1),
            Op::Dense(dense) => dense.weight.len(),
            _ => 0,
        };
        self.nodes.iter().map(macs).sum()
    }
}
