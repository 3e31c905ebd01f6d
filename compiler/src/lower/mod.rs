//! From the float network to the secure IR in fixed point, naively: one operation after the other,
//! a requantisation after every linear one, an extension before. The passes make it cheap.
//!
//! Rules that keep the secure result equal to the reference whatever the input: operand and result
//! of a linear operation have the accumulator's width; a requantisation keeps exactly the bits that
//! are left (`k = acc - shift`); biases are integers at the accumulator's format.

mod bends;
mod elementwise;
mod lift;
mod linear;
mod map;
mod mat_mul;
mod parts;
mod rows;
mod softmax;
mod trees;
pub(crate) mod wide;

use std::collections::HashSet;

use fusion_ir::op::{Conv, Op, Window};
use fusion_ir::verify::sign_is_proven;
use fusion_ir::{Function, InputFormat, Sign, TensorType, ValueId, Weight, WeightId, Weights};

use bends::AllBent;
use map::Linear;
use softmax::{Role, Softmaxes};
use wide::Wide;

use crate::nn::eval::Observed;
use crate::nn::{self, Graph, NodeId};
use crate::passes::{Program, dead_code};
use crate::quantise::{LEAST_MARGIN, Precision, frac_for, magnitude, margin};
use crate::{Error, Unsupported};

/// The formats of one linear layer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerFormat {
    /// The ONNX node.
    pub node: String,
    /// Width of its weights.
    pub weight_bits: u8,
    /// Width of its accumulator.
    pub accumulator_bits: u8,
    /// Width that no input of the declared magnitude could exceed.
    pub worst_case_bits: u8,
}

/// The formats of products of secret matrices, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductFormat {
    /// The ONNX node.
    pub node: String,
    /// Bits of either factor's largest element.
    pub factor_bits: [u8; 2],
    /// Last bits that either lost to fit the ring.
    pub lost_bits: [u8; 2],
    /// Width of factors and sums.
    pub ring_bits: u8,
    /// Width that they were to fit.
    pub most_bits: u8,
}

/// What lowering decided about formats, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    /// Those of linear layers.
    pub layers: Vec<LayerFormat>,
    /// Those of products of secret matrices.
    pub products: Vec<ProductFormat>,
}

/// Lowers `graph`, which did what was `observed` on calibration data.
///
/// # Errors
/// [`Error::Unsupported`] for a layer that no allowed accumulator holds, or a softmax or argmax
/// left inside.
pub fn lower(graph: &Graph, observed: &Observed, precision: &Precision) -> Result<(Program, Formats), Error> {
    let users = graph.users();
    let ranges: Vec<f32> = observed.ranges.iter().map(|range| range.magnitude()).collect();
    let softmaxes = if precision.fine { Softmaxes::none(graph) } else { Softmaxes::of(graph, &users) };
    let wide = Wide::of(graph, &users, &observed.ranges, precision);
    let margin = margin(observed.outputs.len()) * precision.room();
    let bent = match precision.fine || precision.worst_case || !precision.bends {
        true => AllBent::none(graph),
        false => AllBent::of(graph, &users, observed, precision, margin, (&softmaxes, &wide)),
    };
    let mut lowering = Lowering {
        graph,
        observed,
        margin,
        precision,
        headroom: headroom(graph, &users),
        wide,
        softmaxes,
        bent,
        kept: HashSet::new(),
        reach: reach(graph, &users, &ranges),
        ranges,
        users,
        function: Function { name: graph.name.clone(), ..Function::default() },
        weights: Vec::new(),
        values: Vec::new(),
        formats: Formats::default(),
    };
    lowering.limit_weights();
    let mut refused = Vec::new();
    for (id, node) in graph.iter() {
        match lowering.node(id, node) {
            Ok(value) => {
                let value = lowering.cut_for_softmax(id, node, value);
                let value = lowering.cut_for_bends(id, node, value);
                let value = lowering.cut_for_variance(id, node, value);
                let value = lowering.bounded(value, node);
                lowering.values.push(value);
                lowering.passed_on(node, value);
            }
            Err(why) => {
                refused.push(Unsupported { node: node.name.clone(), op: node.op.name().into(), why });
                break;
            }
        }
    }
    if !refused.is_empty() {
        return Err(Error::Unsupported(refused));
    }
    let Lowering { function, weights, formats, .. } = lowering;
    let mut program = Program { function, weights: Weights(weights) };
    // A factor may have its summands in another ring than they were first given.
    dead_code::remove(&mut program);
    Ok((program, formats))
}

/// Whether there is a softmax inside.
pub fn has_softmax(graph: &Graph) -> bool {
    Softmaxes::of(graph, &graph.users()).roles.iter().any(Option::is_some)
}

/// Bits of a ring, the sign's among them, that a value leaves free which is moved into it.
const SPARE_BITS: u8 = 3;
/// Most bits by which an addition shifts one operand to align it with the other.
const MAX_ALIGNMENT: i8 = 16;
/// Most fractional bits of a node's result: with a kernel's of any size they stay within the IR's
/// limit.
const MOST_FRAC: i8 = 34;
/// Widest ring of a product or a table.
const MAX_RING_BITS: u8 = 60;

struct Lowering<'g> {
    graph: &'g Graph,
    observed: &'g Observed,
    /// How many times the observed values formats hold.
    margin: f32,
    /// Each node's largest absolute value.
    ranges: Vec<f32>,
    /// What each node's format must hold, itself included.
    reach: Vec<f32>,
    /// Bits between each node's magnitude and its width: one more if a comparison between elements
    /// follows.
    headroom: Vec<u8>,
    wide: Wide,
    softmaxes: Softmaxes,
    bent: AllBent,
    /// Values that keep more bits than activations have.
    kept: HashSet<ValueId>,
    precision: &'g Precision,
    users: Vec<Vec<NodeId>>,
    function: Function,
    weights: Vec<Vec<i64>>,
    /// Each node's value.
    values: Vec<ValueId>,
    formats: Formats,
}

type Lowered = Result<ValueId, String>;

impl Lowering<'_> {
    fn node(&mut self, id: NodeId, node: &nn::Node) -> Lowered {
        let operand = |at: usize| self.values[node.inputs[at].0];
        match &node.op {
            nn::Op::Input => Ok(self.input(id, node)),
            nn::Op::Normalise(_) => Ok(operand(0)),
            nn::Op::Conv(conv) => {
                let weight = conv.weight.iter().collect();
                let (shape, groups) = (conv.weight.shape().to_vec(), conv.groups);
                let linear = Linear { weight, shape, bias: &conv.bias, groups };
                let nn::Conv { strides, mut pads, dilations, groups, .. } = *conv;
                let reach = [0, 1].map(|i| dilations[i] * (conv.weight.shape()[2 + i] - 1) + 1);
                let x = operand(0);
                // Protocols pad by less than a kernel; what is beyond is explicit.
                let x = if (0..4).any(|i| pads[i] >= reach[i % 2]) {
                    self.pad(x, std::mem::take(&mut pads), node)
                } else {
                    x
                };
                let op = |weight, bias| Op::Conv(Conv { weight, bias, strides, pads, dilations, groups });
                self.linear(id, node, x, linear, op)
            }
            nn::Op::Dense(dense) => {
                let weight = dense.weight.iter().collect();
                let linear = Linear { weight, shape: dense.weight.shape().to_vec(), bias: &dense.bias, groups: 1 };
                self.linear(id, node, operand(0), linear, |weight, bias| Op::Dense { weight, bias })
            }
            nn::Op::Trees(trees) => self.trees(id, node, operand(0), trees),
            nn::Op::Relu => {
                let x = self.narrow(operand(0), node);
                Ok(self.same(Op::Relu, vec![x], TensorType { sign: Sign::NonNegative, ..self.ty(x).clone() }, node))
            }
            nn::Op::Add => {
                let operands = [operand(0), operand(1)];
                let local = self.softmaxes.roles[id.0].filter(|role| *role == Role::Difference);
                let local = local.and_then(|_| self.difference(id, node, operands));
                Ok(local.unwrap_or_else(|| self.add(id, node, operands)))
            }
            nn::Op::MaxPool(window) => {
                let x = self.narrow(operand(0), node);
                let x = self.comparable(x, node);
                let ty = self.ty(x).with_shape(node.shape.clone());
                let y = self.same(Op::MaxPool(window.clone()), vec![x], ty, node);
                Ok(self.kept(id, y))
            }
            nn::Op::SumPool(window) => Ok(self.sum_pool(id, node, operand(0), window)),
            nn::Op::Scale(factor) => self.scale(id, node, operand(0), *factor),
            nn::Op::Pointwise(f) => self.pointwise(id, node, operand(0), f),
            nn::Op::Mul => self.product(id, node, [operand(0), operand(1)]),
            nn::Op::MatMul => self.mat_mul(id, node, [operand(0), operand(1)]),
            nn::Op::Affine(affine) if affine.scale.iter().all(|s| *s == 1.0) => {
                Ok(self.shift(id, node, operand(0), &affine.shift))
            }
            nn::Op::Slice { start } => {
                let ty = self.ty(operand(0)).with_shape(node.shape.clone());
                Ok(self.same(Op::Slice { start: start.clone() }, vec![operand(0)], ty, node))
            }
            nn::Op::Pad { before, after } => {
                let ty = self.ty(operand(0)).with_shape(node.shape.clone());
                let op = Op::Pad { before: before.clone(), after: after.clone() };
                Ok(self.same(op, vec![operand(0)], ty, node))
            }
            nn::Op::Concat { axis } => {
                let parts = node.inputs.iter().map(|input| self.values[input.0]).collect();
                Ok(match self.beside_layers(id) {
                    true => self.side_by_side(node, parts, *axis),
                    false => self.concat(node, parts, *axis),
                })
            }
            nn::Op::Transpose { perm } => {
                let ty = self.ty(operand(0)).with_shape(node.shape.clone());
                Ok(self.same(Op::Transpose { perm: perm.clone() }, vec![operand(0)], ty, node))
            }
            nn::Op::Reshape => {
                let ty = self.ty(operand(0)).with_shape(node.shape.clone());
                Ok(self.same(Op::Reshape, vec![operand(0)], ty, node))
            }
            nn::Op::Affine(_) | nn::Op::Binary(_) | nn::Op::Select | nn::Op::Softmax { .. } | nn::Op::ArgMax => {
                Err("left over inside the network".into())
            }
            nn::Op::Mask(_) | nn::Op::MaskBy { .. } | nn::Op::MaskSum | nn::Op::Round { .. } => {
                Err("left unsettled".into())
            }
        }
    }

    fn input(&mut self, id: NodeId, node: &nn::Node) -> ValueId {
        if nn::trees::decide_alone(self.graph) {
            return self.ordered_input(node);
        }
        let Precision { input_bits, activation_bits, .. } = *self.precision;
        let normalised = self.users[id.0].iter().find_map(|user| match &self.graph.node(*user).op {
            nn::Op::Normalise(nn::Normalise { format, frac, magnitude }) => Some((format.clone(), *frac, *magnitude)),
            _ => None,
        });
        // Inputs beyond it are limited to it, so there is no need to be careful.
        let shared = || (InputFormat::default(), frac_for(LEAST_MARGIN * self.ranges[id.0], input_bits), input_bits);
        let (format, frac, magnitude) = normalised.unwrap_or_else(shared);
        let ty = TensorType { shape: node.shape.clone(), bits: activation_bits, frac, magnitude, sign: Sign::Any };
        self.same(Op::Input(format), vec![], ty, node)
    }

    /// `a + b` at the finer of the two formats, then requantised.
    fn add(&mut self, id: NodeId, node: &nn::Node, operands: [ValueId; 2]) -> ValueId {
        let operands = operands.map(|operand| self.narrow(operand, node));
        // An operand that is tiny beside the other gives up bits that the sum would not notice.
        let coarser = operands.map(|operand| self.ty(operand).frac).into_iter().fold(i8::MAX, i8::min);
        let operands = operands.map(|operand| self.coarsen(operand, coarser + MAX_ALIGNMENT, node));
        let frac = operands.map(|operand| self.ty(operand).frac).into_iter().fold(i8::MIN, i8::max);
        let shifted = operands.map(|operand| {
            let ty = self.ty(operand);
            ty.magnitude + (frac - ty.frac) as u8
        });
        let most = shifted[0].max(shifted[1]) + 1;
        let sum = self.reached(id, frac, most);
        let wanted = (sum + self.headroom[id.0]).max(most);
        let given = operands.map(|operand| self.ty(operand).bits).into_iter().fold(0, u8::max);
        let bits = wanted.max(self.precision.activation_bits + 1).max(given);
        let aligned = operands.map(|operand| {
            let wide = self.extend(operand, bits, node);
            let ty = self.ty(wide).clone();
            let by = (frac - ty.frac) as u8;
            let ty = TensorType { frac, magnitude: ty.magnitude + by, sign: Sign::Any, ..ty };
            self.same(Op::ShiftLeft { by }, vec![wide], ty, node)
        });
        let ty = TensorType { magnitude: sum.min(bits - 1), ..self.ty(aligned[0]).clone() };
        let sum = self.same(Op::Add, aligned.to_vec(), ty, node);
        self.requant(sum, node)
    }

    /// The exact sum, in a ring that holds it whatever the operand is.
    fn sum_pool(&mut self, id: NodeId, node: &nn::Node, x: ValueId, window: &Window) -> ValueId {
        let growth = log2_ceil(window.kernel[0] * window.kernel[1]);
        let TensorType { bits, frac, magnitude, .. } = *self.ty(x);
        // A product that is kept for its sum has room for it already.
        let product = wide::origin(self.graph, node.inputs[0]);
        let product = self.wide.keeps[product.0] && self.graph.node(product).op == nn::Op::Mul;
        let kept = self.wide.keeps[id.0] && (product || magnitude + growth < bits);
        let kept = kept || (self.are_exponentials(node.inputs[0]) && magnitude + growth < bits);
        let margin = if product { self.margin.powi(2) } else { self.margin };
        let magnitude = self.reached_within(id, frac, magnitude + growth, margin);
        let kept = kept && magnitude + self.headroom[id.0] <= bits;
        let bits = (bits + growth).max(magnitude + self.headroom[id.0]);
        let wide = if kept { x } else { self.extend(x, bits, node) };
        let ty = self.ty(wide).clone();
        let magnitude = magnitude.min(ty.bits - 1);
        let ty = TensorType { shape: node.shape.clone(), magnitude, sign: Sign::Any, ..ty };
        let sum = self.same(Op::SumPool(window.clone()), vec![wide], ty, node);
        self.kept(id, sum)
    }

    /// An image in a frame of zeros: top, left, bottom, right.
    fn pad(&mut self, x: ValueId, pads: [usize; 4], node: &nn::Node) -> ValueId {
        let ty = self.ty(x).clone();
        let [top, left, bottom, right] = pads;
        let (before, after) = (vec![0, top, left], vec![0, bottom, right]);
        let shape: Vec<usize> = (0..3).map(|axis| before[axis] + ty.shape[axis] + after[axis]).collect();
        self.same(Op::Pad { before, after }, vec![x], ty.with_shape(shape), node)
    }

    /// The value in the activations' width, if it is wider: without its last bits, or whole in a
    /// smaller ring if it is so small, as counts are.
    fn narrow(&mut self, x: ValueId, node: &nn::Node) -> ValueId {
        let TensorType { bits, magnitude, .. } = *self.ty(x);
        let activation_bits = self.precision.activation_bits;
        if bits <= activation_bits || self.kept.contains(&x) {
            x
        } else if magnitude + SPARE_BITS <= activation_bits {
            self.in_ring(x, activation_bits, node)
        } else {
            self.requant(x, node)
        }
    }

    /// The value rounded to at most `frac` fractional bits, in the same ring.
    fn coarsen(&mut self, mut x: ValueId, frac: i8, node: &nn::Node) -> ValueId {
        while self.ty(x).frac > frac {
            let ty = self.ty(x).clone();
            let shift = ((ty.frac - frac) as u8).min(ty.bits - 1);
            let magnitude = ty.magnitude.saturating_sub(shift).max(1);
            let ty = TensorType { frac: ty.frac - shift as i8, magnitude, sign: Sign::Any, ..ty };
            x = self.same(Op::Requant { shift }, vec![x], ty, node);
        }
        x
    }

    /// The value with no more fractional bits than what follows can stand: of numbers that are
    /// tiny, layer after layer, there would be more each time.
    fn bounded(&mut self, x: ValueId, node: &nn::Node) -> ValueId {
        let bounded = self.coarsen(x, MOST_FRAC, node);
        if self.kept.contains(&x) {
            self.kept.insert(bounded);
        }
        bounded
    }

    /// The value with a spare bit for differences.
    fn comparable(&mut self, x: ValueId, node: &nn::Node) -> ValueId {
        let TensorType { bits, magnitude, .. } = *self.ty(x);
        if magnitude + 2 > bits { self.extend(x, bits + 1, node) } else { x }
    }

    fn extend(&mut self, x: ValueId, bits: u8, node: &nn::Node) -> ValueId {
        let ty = self.ty(x).clone();
        if ty.bits == bits { x } else { self.same(Op::Extend, vec![x], TensorType { bits, ..ty }, node) }
    }

    /// The value of `id`, which stays as it is if that is said of it.
    fn kept(&mut self, id: NodeId, value: ValueId) -> ValueId {
        if self.wide.keeps[id.0] || self.softmaxes.roles[id.0] == Some(Role::Largest) {
            self.kept.insert(value);
        }
        value
    }

    /// What only rearranges a value that keeps its bits keeps them too.
    fn passed_on(&mut self, node: &nn::Node, value: ValueId) {
        let rearranged = node.op.moves() || matches!(node.op, nn::Op::Concat { .. });
        if rearranged && node.inputs.iter().all(|input| self.kept.contains(&self.values[input.0])) {
            self.kept.insert(value);
        }
    }

    /// Drops all bits beyond the activations' width.
    fn requant(&mut self, x: ValueId, node: &nn::Node) -> ValueId {
        self.requant_by(x, self.ty(x).bits - self.precision.activation_bits, node)
    }

    /// Drops the last `shift` bits.
    fn requant_by(&mut self, x: ValueId, shift: u8, node: &nn::Node) -> ValueId {
        let ty = self.ty(x).clone();
        let bits = ty.bits - shift;
        let magnitude = ty.magnitude.saturating_sub(shift).max(1);
        let ty = TensorType { bits, frac: ty.frac - shift as i8, magnitude, sign: Sign::Any, ..ty };
        self.same(Op::Requant { shift }, vec![x], ty, node)
    }

    /// The value, which nothing has read yet, cut to `frac` fractional bits where it is requantised
    /// anyway. `None` if it is not, or has too few.
    fn cut_again(&mut self, value: ValueId, frac: i8, node: &nn::Node) -> Option<ValueId> {
        let made = self.function.value(value);
        if value.index() + 1 != self.function.values.len() || !matches!(made.op, Op::Requant { .. }) {
            return None;
        }
        let wide = made.operands[0];
        let shift = u8::try_from(self.ty(wide).frac - frac).ok().filter(|shift| *shift > 0)?;
        self.function.values.pop();
        Some(self.requant_by(wide, shift, node))
    }

    /// The value in a ring of so many bits, which hold it.
    fn in_ring(&mut self, x: ValueId, bits: u8, node: &nn::Node) -> ValueId {
        let ty = self.ty(x).clone();
        if bits >= ty.bits {
            return self.extend(x, bits, node);
        }
        let truncated = TensorType { bits, magnitude: ty.magnitude.min(bits - 1), ..ty.clone() };
        let sign = if sign_is_proven(&Op::Truncate, &[&ty], &truncated) { ty.sign } else { Sign::Any };
        self.same(Op::Truncate, vec![x], TensorType { sign, ..truncated }, node)
    }

    fn weight(&mut self, name: String, shape: Vec<usize>, bits: u8, frac: i8, elements: Vec<i64>) -> WeightId {
        self.weights.push(elements);
        self.function.push_weight(Weight { name, shape, bits, frac })
    }

    fn same(&mut self, op: Op, operands: Vec<ValueId>, ty: TensorType, node: &nn::Node) -> ValueId {
        self.function.push(op, operands, ty, node.name.clone())
    }

    /// The magnitude that a node's result with `frac` fractional bits is given, which is never more
    /// than `most`: what its operands' magnitudes allow.
    fn reached(&self, id: NodeId, frac: i8, most: u8) -> u8 {
        self.reached_within(id, frac, most, self.margin)
    }

    /// As [`reached`](Self::reached), with a margin of its own.
    fn reached_within(&self, id: NodeId, frac: i8, most: u8, margin: f32) -> u8 {
        let calibrated = magnitude(margin * self.ranges[id.0], frac);
        if self.precision.worst_case { most } else { calibrated.min(most) }
    }

    fn ty(&self, id: ValueId) -> &TensorType {
        &self.function.value(id).ty
    }
}

/// Operations whose result has their operand's format.
fn keeps_format(op: &nn::Op) -> bool {
    matches!(
        op,
        nn::Op::Relu
            | nn::Op::MaxPool(_)
            | nn::Op::Reshape
            | nn::Op::Transpose { .. }
            | nn::Op::Slice { .. }
            | nn::Op::Pad { .. }
    )
}

fn headroom(graph: &Graph, users: &[Vec<NodeId>]) -> Vec<u8> {
    let mut headroom = vec![1; graph.nodes.len()];
    for (id, _) in graph.iter().rev() {
        let passes_on =
            |op: &nn::Op| keeps_format(op) || matches!(op, nn::Op::Concat { .. } | nn::Op::Add | nn::Op::Scale(_));
        let compares = |user: &NodeId| match &graph.node(*user).op {
            nn::Op::MaxPool(_) => true,
            op => passes_on(op) && headroom[user.0] == 2,
        };
        if id.0 + 1 == graph.nodes.len() || users[id.0].iter().any(compares) {
            headroom[id.0] = 2;
        }
    }
    headroom
}

/// For each node, the largest absolute value that its format must hold: its own, and those of
/// everything that is concatenated with it.
fn reach(graph: &Graph, users: &[Vec<NodeId>], ranges: &[f32]) -> Vec<f32> {
    // What each node is made of by operations that keep the format.
    let mut origin = ranges.to_vec();
    for (id, node) in graph.iter().filter(|(_, node)| keeps_format(&node.op)) {
        origin[id.0] = origin[id.0].max(origin[node.inputs[0].0]);
    }
    let mut reach = ranges.to_vec();
    for (id, _) in graph.iter().rev() {
        for user in &users[id.0] {
            let node = graph.node(*user);
            if keeps_format(&node.op) {
                reach[id.0] = reach[id.0].max(reach[user.0]);
            } else if matches!(node.op, nn::Op::Concat { .. }) {
                let parts = node.inputs.iter().map(|part| origin[part.0]);
                reach[id.0] = parts.fold(reach[id.0].max(reach[user.0]), f32::max);
            }
        }
    }
    reach
}

fn log2_ceil(n: usize) -> u8 {
    n.max(1).next_power_of_two().trailing_zeros() as u8
}
