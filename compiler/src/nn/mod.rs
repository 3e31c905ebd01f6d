//! The float network: what an ONNX model means, before any number format is chosen.
//!
//! A [`Graph`] is the program of one sample; shapes have no batch axis. The importer builds it, [`fold`] simplifies it, [`eval`]
//! runs it in float32 for calibration, and [`crate::lower`] turns it into the secure IR.

pub mod eval;
pub mod fold;
mod kernels;

use std::collections::{HashMap, HashSet};

use fusion_ir::op::Window;
use ndarray::{Array2, Array4};

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

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The sample.
    Input,
    /// Convolution with zero padding.
    Conv(Conv),
    /// Fully connected.
    Dense(Dense),
    /// `x * scale + shift`, both private and per channel (the first axis).
    Affine {
        /// One factor per channel.
        scale: Vec<f32>,
        /// One summand per channel.
        shift: Vec<f32>,
    },
    /// `x * factor`; the factor is part of the architecture (an averaging pool's `1 / n`), hence public.
    Scale(f32),
    /// `max(x, 0)`.
    Relu,
    /// Elementwise sum of two operands of one shape.
    Add,
    /// Maximum over each window, padding excluded.
    MaxPool(Window),
    /// Sum over each window, padding counted as zero.
    SumPool(Window),
    /// Concatenation along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Axes permuted: result axis `i` is operand axis `perm[i]`.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// The same elements in row-major order under another shape.
    Reshape,
    /// Softmax over all elements; keeps their order.
    Softmax,
    /// Index of the largest element.
    ArgMax,
}

/// One node: an operation applied to earlier nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Earlier nodes.
    pub inputs: Vec<NodeId>,
    /// Extents of the result, without the batch axis.
    pub shape: Vec<usize>,
    /// The ONNX node it comes from.
    pub name: String,
}

/// The program of one sample, in topological order; node 0 is the input and the last node the output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
}

impl Op {
    /// The operation's name in messages and dumps.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Conv(_) => "conv",
            Op::Dense(_) => "dense",
            Op::Affine { .. } => "affine",
            Op::Scale(_) => "scale",
            Op::Relu => "relu",
            Op::Add => "add",
            Op::MaxPool(_) => "max_pool",
            Op::SumPool(_) => "sum_pool",
            Op::Concat { .. } => "concat",
            Op::Transpose { .. } => "transpose",
            Op::Reshape => "reshape",
            Op::Softmax => "softmax",
            Op::ArgMax => "argmax",
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

    /// The shape of one sample.
    pub fn input_shape(&self) -> &[usize] {
        &self.nodes[0].shape
    }
}

impl std::fmt::Display for Graph {
    /// One line per node: `n3 = conv [16, 32, 32] (n2) "Conv_3"`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "graph {:?} {{", self.name)?;
        for (id, node) in self.iter() {
            let inputs: Vec<String> = node.inputs.iter().map(|input| format!("n{}", input.0)).collect();
            write!(f, "  n{} = {} {:?} ({})", id.0, node.op.name(), node.shape, inputs.join(", "))?;
            match &node.op {
                Op::Conv(conv) => {
                    let Conv { strides, pads, dilations, groups, weight, .. } = conv;
                    let kernel = weight.shape();
                    write!(f, " kernel {kernel:?} strides {strides:?} pads {pads:?}")?;
                    write!(f, " dilations {dilations:?} groups {groups}")?;
                }
                Op::Dense(dense) => write!(f, " weight {:?}", dense.weight.shape())?,
                Op::MaxPool(w) | Op::SumPool(w) => {
                    write!(f, " kernel {:?} strides {:?} pads {:?}", w.kernel, w.strides, w.pads)?;
                }
                Op::Scale(factor) => write!(f, " by {factor}")?,
                Op::Concat { axis } => write!(f, " axis {axis}")?,
                Op::Transpose { perm } => write!(f, " perm {perm:?}")?,
                _ => {}
            }
            writeln!(f, " {:?}", node.name)?;
        }
        writeln!(f, "}}")
    }
}
