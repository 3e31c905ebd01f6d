//! Functions as sums of ReLUs ([`Bends`]) between two linear layers: the operand is cut to the bits
//! that the kinks look at where the first layer's accumulator is requantised anyway, and the sum is
//! made in the second one's ring, so nothing is requantised or extended but what is never negative.
//!
//! The ring of the ReLUs holds the operands of calibration, with the formats' margin, and their
//! differences to the kinks. What is beyond it wraps, as everything beyond its format does.

use fusion_ir::op::Op;
use fusion_ir::{Sign, TensorType, ValueId};

use super::Lowering;
use super::softmax::Softmaxes;
use super::wide::{Wide, origin};
use crate::nn::eval::Observed;
use crate::nn::{self, Graph, NodeId};
use crate::quantise::bends::Bends;
use crate::quantise::table::Results;
use crate::quantise::{self, Precision};

/// A function that is made so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bent {
    bends: Bends,
    /// The ring of its operand and its ReLUs.
    bits: u8,
}

/// Which functions are made so.
#[derive(Clone, Debug)]
pub(super) struct AllBent {
    /// By the function's node.
    functions: Vec<Option<Bent>>,
    /// The function behind each layer, if it is one.
    behind: Vec<Option<NodeId>>,
}

impl AllBent {
    /// None.
    pub fn none(graph: &Graph) -> AllBent {
        AllBent { functions: vec![None; graph.nodes.len()], behind: vec![None; graph.nodes.len()] }
    }

    /// Those of `graph`, in formats that hold `margin` times what was `observed`.
    pub fn of(
        graph: &Graph,
        users: &[Vec<NodeId>],
        observed: &Observed,
        precision: &Precision,
        margin: f32,
        (softmaxes, wide): (&Softmaxes, &Wide),
    ) -> AllBent {
        let mut all = AllBent::none(graph);
        for (id, node) in graph.iter() {
            let nn::Op::Pointwise(f) = &node.op else { continue };
            let layer = origin(graph, node.inputs[0]);
            let apart = softmaxes.roles[id.0].is_none() && wide.least[id.0].is_none() && !wide.keeps[layer.0];
            if !apart || !is_linear(&graph.node(layer).op) || !is_between(graph, users, layer, id) {
                continue;
            }
            let range = observed.ranges[node.inputs[0].0];
            let largest = observed.ranges[id.0].magnitude();
            let usual = observed.powers[id.0].sqrt() as f32;
            let results = Results { largest, usual, least: None, part: precision.part() };
            let held = margin * observed.ranges[layer.0].magnitude();
            let Some(bends) = Bends::new(f, range, held, results, precision.coarse) else { continue };
            let unit = (-f32::from(bends.frac)).exp2();
            let reach = held + bends.furthest() as f32 * unit;
            let bits = quantise::magnitude(reach, bends.frac) + 1;
            all.functions[id.0] = Some(Bent { bends, bits });
            all.behind[layer.0] = Some(id);
        }
        all
    }

    fn behind(&self, layer: NodeId) -> Option<&Bent> {
        self.behind[layer.0].and_then(|function| self.functions[function.0].as_ref())
    }
}

fn is_linear(op: &nn::Op) -> bool {
    matches!(op, nn::Op::Conv(_) | nn::Op::Dense(_))
}

/// Fewest products in a row of a layer whose errors of single elements are small beside the sum.
const MANY: usize = 16;

/// Whether each result of a layer is made of many elements, whose errors average out; a depthwise
/// one passes them on as they are.
fn averages(op: &nn::Op) -> bool {
    match op {
        nn::Op::Conv(conv) => conv.groups == 1 && conv.weight.shape()[1..].iter().product::<usize>() >= MANY,
        nn::Op::Dense(dense) => dense.weight.ncols() >= MANY,
        _ => false,
    }
}

/// Whether nothing but `function` reads `layer`, and nothing but layers that average read
/// `function`, through moves.
fn is_between(graph: &Graph, users: &[Vec<NodeId>], layer: NodeId, function: NodeId) -> bool {
    let mut at = layer;
    while at != function {
        let [only] = users[at.0][..] else { return false };
        if only != function && !graph.node(only).op.moves() {
            return false;
        }
        at = only;
    }
    let mut open = vec![function];
    while let Some(at) = open.pop() {
        for user in &users[at.0] {
            match &graph.node(*user).op {
                op if op.moves() || matches!(op, nn::Op::Concat { .. }) => open.push(*user),
                op if averages(op) => {}
                _ => return false,
            }
        }
        if users[at.0].is_empty() {
            return false;
        }
    }
    true
}

impl Lowering<'_> {
    /// The width, at least `bits` and at most `most_bits`, of a layer's accumulator of this
    /// magnitude: if a sum of ReLUs follows, one that leaves its ring when it is cut.
    pub(super) fn roomy_before_bends(&self, layer: NodeId, magnitude: u8, bits: u8, most_bits: u8) -> u8 {
        let Some(Bent { bends, bits: ring }) = self.bent.behind(layer) else { return bits };
        let cut = quantise::magnitude(self.margin * self.ranges[layer.0], bends.frac);
        bits.max((magnitude + ring.saturating_sub(cut)).min(most_bits))
    }

    /// The value of a layer, cut to the fractional bits and the ring of the sum of ReLUs behind it.
    pub(super) fn cut_for_bends(&mut self, layer: NodeId, node: &nn::Node, value: ValueId) -> ValueId {
        let Some(Bent { bends, bits }) = self.bent.behind(layer).cloned() else { return value };
        let Some(cut) = self.cut_again(value, bends.frac, node) else { return value };
        let cut = self.in_ring(cut, bits, node);
        self.kept.insert(cut);
        cut
    }

    /// The function as a sum of ReLUs, in a ring that holds it whatever the operand is. `None` if
    /// it is not made so, or the operand was not cut for it.
    pub(super) fn bent(&mut self, id: NodeId, node: &nn::Node, x: ValueId) -> Option<ValueId> {
        let Bent { bends, bits } = self.bent.functions[id.0].clone()?;
        let ty = self.ty(x).clone();
        if (ty.frac, ty.bits) != (bends.frac, bits) {
            return None;
        }
        let (n, k) = (node.len(), bends.kinks.len());
        let flat = TensorType { shape: vec![1, n], sign: Sign::Any, magnitude: bits - 1, ..ty };
        let x = self.same(Op::Reshape, vec![x], flat.clone(), node);
        let differences = bends.kinks.iter().map(|(place, _)| match place {
            0 => x,
            place => self.same(Op::Offset { by: -place }, vec![x], flat.clone(), node),
        });
        let differences: Vec<ValueId> = differences.collect();
        let all = TensorType { shape: vec![k, n], ..flat };
        let above = match k {
            1 => differences[0],
            _ => self.same(Op::Concat { axis: 0 }, differences, all.clone(), node),
        };
        let all = TensorType { sign: Sign::NonNegative, ..all };
        let above = self.same(Op::Relu, vec![above], all.clone(), node);
        let most = (1i128 << (bits - 1)) - 1;
        let [least, largest] = bends.spread().map(|factors| i128::from(factors) * most);
        let wide = (bits + 1..).find(|wide| least >= -(1i128 << (wide - 1)) && largest < 1i128 << (wide - 1))?;
        if wide > super::MAX_RING_BITS {
            return None;
        }
        let above = self.same(Op::Extend, vec![above], TensorType { bits: wide, ..all.clone() }, node);
        let frac = bends.frac + bends.slope_frac as i8;
        let magnitude = self.reached(id, frac, wide - 1);
        let row = TensorType { shape: vec![1, n], bits: wide, ..all };
        let term = TensorType { frac, sign: Sign::Any, magnitude: wide - 1, ..row.clone() };
        let mut sum: Option<ValueId> = None;
        for (at, (_, factor)) in bends.kinks.iter().enumerate() {
            let part = self.same(Op::Slice { start: vec![at, 0] }, vec![above], row.clone(), node);
            let part = self.same(Op::Scale { factor: *factor }, vec![part], term.clone(), node);
            sum = Some(match sum {
                None => part,
                Some(sum) => self.same(Op::Add, vec![sum, part], term.clone(), node),
            });
        }
        let y =
            self.same(Op::Reshape, vec![sum?], TensorType { magnitude, ..term.with_shape(node.shape.clone()) }, node);
        // The error is far above the last of so many digits, and the next layer needs room for
        // them.
        let y = match magnitude.saturating_sub(self.precision.activation_bits) {
            more @ 3.. => self.requant_by(y, more, node),
            _ => y,
        };
        self.kept.insert(y);
        Some(y)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::build::{Built, build};
    use crate::evaluate;
    use crate::nn::build::Builder;
    use crate::nn::expr::{Binary, Expr, Unary};
    use crate::nn::scales::Scales;
    use crate::nn::{Dense, eval};
    use crate::passes::Settings;
    use crate::quantise::calibrate::Calibration;
    use fusion_ir::interp;
    use fusion_ir::op::Reveal;

    const WIDTH: usize = 24;

    fn layer(b: &mut Builder, x: NodeId, from: usize) -> NodeId {
        let weights = (from..from + WIDTH * WIDTH).map(|i| (i * i % 31) as f32 / 16.0 - 1.0).collect();
        let weight = Array2::from_shape_vec((WIDTH, WIDTH), weights).unwrap();
        b.push(nn::Op::Dense(Dense { weight, bias: vec![0.1; WIDTH] }), vec![x], [WIDTH])
    }

    fn silu(b: &mut Builder, x: NodeId) -> NodeId {
        let f = Expr::binary(Binary::Mul, Expr::X, Expr::unary(Unary::Sigmoid, Expr::X));
        b.push(nn::Op::Pointwise(f), vec![x], [WIDTH])
    }

    #[test]
    fn between_two_layers_nothing_is_extended_but_what_is_never_negative() {
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [WIDTH]);
        let x = layer(&mut b, x, 1);
        let x = silu(&mut b, x);
        let y = layer(&mut b, x, 5);
        let graph = b.graph.reachable(y);
        let calibration = Calibration::synthetic(&graph);
        let settings = Settings { reveal: Reveal::Logits, ..Settings::default() };
        let Built { program, .. } = build(&graph, &calibration, &Precision::default(), &settings).unwrap();
        let function = &program.function;
        let relu = function.iter().find(|(_, value)| matches!(value.op, Op::Relu)).unwrap().0;
        assert!(function.values.iter().all(|value| !matches!(value.op, Op::Piecewise(_))));
        // Before it one requantisation, behind it one extension of what is never negative.
        let mut at = function.value(relu).operands[0];
        while !matches!(function.value(at).op, Op::Requant { .. }) {
            assert!(function.value(at).op.is_local(), "{:?}", function.value(at).op);
            at = function.value(at).operands[0];
        }
        let behind: Vec<_> =
            function.iter().skip_while(|(id, _)| *id != relu).skip(1).map(|(_, value)| value).collect();
        let layer = behind.iter().position(|value| matches!(value.op, Op::Dense { .. })).unwrap();
        let extended: Vec<_> = behind[..layer].iter().filter(|value| !value.op.is_local()).collect();
        let [extended] = extended[..] else { panic!("{extended:?}") };
        assert!(extended.op == Op::Extend && extended.ty.sign == Sign::NonNegative);
        assert_eq!(extended.ty.bits, behind[layer].ty.bits);

        let sample = &calibration.samples[3];
        let quantised = evaluate::quantise(function, std::slice::from_ref(sample));
        let found = interp::output(function, &program.weights, &quantised[0]);
        let ty = &function.values.iter().rev().find(|value| !matches!(value.op, Op::Reveal(_) | Op::Check)).unwrap().ty;
        let float = eval::run(&graph, sample).pop().unwrap();
        let most = float.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (found, float) in found.iter().zip(&float) {
            let error = (ty.dequantize(*found) - f64::from(*float)).abs();
            assert!(error < 0.05 * f64::from(most), "{} {float}", ty.dequantize(*found));
        }
    }

    #[test]
    fn where_labels_are_not_compared_it_is_as_fine_as_a_table() {
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [WIDTH]);
        let x = layer(&mut b, x, 1);
        let x = silu(&mut b, x);
        let y = layer(&mut b, x, 5);
        let graph = b.graph.reachable(y);
        let calibration = Calibration::synthetic(&graph);
        let built = |precision: Precision| build(&graph, &calibration, &precision, &Settings::default()).unwrap();
        let has_table =
            |built: &Built| built.program.function.values.iter().any(|value| matches!(value.op, Op::Piecewise(_)));
        assert!(has_table(&built(Precision::of_widths(Some(14), Some(12)))), "of the widths that were asked for");
        let relus = |coarse| {
            let built = built(Precision { coarse, ..Precision::default() });
            assert!(!has_table(&built));
            let Built { program, .. } = built;
            let relus = program.function.values.iter().filter(|value| value.op == Op::Relu);
            relus.map(|value| value.ty.len()).sum::<usize>()
        };
        let [coarse, fine] = [true, false].map(relus);
        assert!(coarse < fine, "{coarse} {fine}");
    }

    #[test]
    fn what_others_read_as_well_is_no_sum_of_relus() {
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [WIDTH]);
        let x = layer(&mut b, x, 1);
        let y = silu(&mut b, x);
        let z = layer(&mut b, y, 5);
        let bent = |graph: &Graph| {
            let calibration = Calibration::synthetic(graph);
            let observed = calibration.observe(graph, &Scales::of(graph)).unwrap().0;
            let (users, precision) = (graph.users(), Precision::default());
            let wide = Wide::of(graph, &users, &observed.ranges, &precision);
            let all = AllBent::of(graph, &users, &observed, &precision, 2.0, (&Softmaxes::of(graph, &users), &wide));
            all.functions.iter().flatten().count()
        };
        assert_eq!(bent(&b.graph.clone().reachable(z)), 1);
        let mut few = b.clone();
        let part = few.slice(y, &[0], &[MANY - 1]);
        let weight = Array2::from_elem((2, MANY - 1), 0.5);
        let part = few.push(nn::Op::Dense(Dense { weight, bias: vec![0.0; 2] }), vec![part], [2]);
        assert_eq!(bent(&few.graph.reachable(part)), 0);
        let mut both = b.clone();
        let sum = both.push(nn::Op::Add, vec![z, y], [WIDTH]);
        assert_eq!(bent(&both.graph.reachable(sum)), 0);
        let sum = b.push(nn::Op::Add, vec![z, x], [WIDTH]);
        assert_eq!(bent(&b.graph.reachable(sum)), 0);
    }
}
