//! Softmaxes inside the network, which [`nn`](crate::nn) has taken apart: `e = exp(x - max(x))`,
//! `w = e / sum(e)`.
//!
//! A weight is wrong by what is wrong with its exponential and with the sum, each as a part of
//! itself, and neither needs to be better than the other. So the exponential's table, its operand
//! and the weights have formats of their own, whatever other activations have:
//! [`Precision::softmax_detail`](crate::quantise::Precision) says how fine. The scores are cut to
//! the bits that the table looks at, in a ring that holds its results and the difference of any two
//! scores that occurred in calibration, with the formats' margin. Between the scores and the sum
//! only exponentials are cut that have more bits than their products need. A difference beyond that
//! ring wraps, as everything beyond its format does, and the least score has the weight of the
//! largest then.

use std::collections::{HashMap, HashSet};

use fusion_ir::op::Op;
use fusion_ir::verify::sign_is_proven;
use fusion_ir::{Sign, TensorType, ValueId};

use super::wide::origin;
use super::{Lowered, Lowering, log2_ceil, rows};
use crate::nn::eval::Range;
use crate::nn::expr::{Expr, Unary};
use crate::nn::{self, Graph, NodeId};
use crate::quantise;
use crate::quantise::exponential::{Formats, USUAL_DETAIL, exponential};
use crate::quantise::table::{Results, Table};

/// What a node is to a softmax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What makes the scores, which nothing but this difference and its largest reads.
    Scores(NodeId),
    /// The largest of them, or that with the other sign.
    Largest,
    /// Scores less the largest.
    Difference,
    /// The exponentials.
    Exponential,
    /// One over their sum, of so many at most.
    Inverse(usize),
    /// The weights, of so many in a row at most.
    Weights(usize),
}

/// The softmaxes of a network.
pub(super) struct Softmaxes {
    /// Each node's part in one.
    pub roles: Vec<Option<Role>>,
    /// Whether the node is a product of matrices that makes scores or takes weights.
    products: Vec<bool>,
}

impl Softmaxes {
    /// Nothing is said of any.
    pub fn none(graph: &Graph) -> Softmaxes {
        Softmaxes { roles: vec![None; graph.nodes.len()], products: vec![false; graph.nodes.len()] }
    }

    pub fn of(graph: &Graph, users: &[Vec<NodeId>]) -> Softmaxes {
        let mut found = Softmaxes::none(graph);
        for (id, node) in graph.iter() {
            if node.op == nn::Op::Pointwise(Expr::unary(Unary::Exp, Expr::X)) {
                found.mark(graph, users, id);
            }
        }
        found
    }

    /// Marks the softmax whose exponentials are those of `id`, if it is one.
    fn mark(&mut self, graph: &Graph, users: &[Vec<NodeId>], id: NodeId) {
        let difference = graph.node(id).inputs[0];
        let Some(Largest { scores, chain, rows }) = less_largest(graph, difference) else { return };
        let Some((inverse, terms, weights)) = weights(graph, users, id, &rows) else { return };
        self.roles[id.0] = Some(Role::Exponential);
        self.roles[inverse.0] = Some(Role::Inverse(terms));
        self.roles[weights.0] = Some(Role::Weights(terms));
        let is_product = |id: &NodeId| graph.node(*id).op == nn::Op::MatMul;
        let products =
            readers(graph, users, weights).into_iter().filter(is_product).chain(made_by(graph, users, scores));
        products.for_each(|product| self.products[product.0] = true);
        // What others read, or read otherwise, keeps its format.
        if users[difference.0] != [id] || !chain.iter().all(|at| readers(graph, users, *at).len() == 1) {
            return;
        }
        let of_scores = readers(graph, users, scores);
        if of_scores.len() == 2 && of_scores.iter().all(|reader| *reader == difference || chain.contains(reader)) {
            self.roles[scores.0] = Some(Role::Scores(difference));
            self.roles[difference.0] = Some(Role::Difference);
            chain.iter().for_each(|at| self.roles[at.0] = Some(Role::Largest));
        }
    }
}

/// The product of matrices that `id` is, but for factors, if nothing else reads it.
fn made_by(graph: &Graph, users: &[Vec<NodeId>], mut id: NodeId) -> Option<NodeId> {
    loop {
        let node = graph.node(id);
        match &node.op {
            nn::Op::MatMul => return Some(id),
            nn::Op::Scale(_) | nn::Op::Affine(_) => {}
            nn::Op::Conv(conv) if conv.weight.shape()[1..] == [1, 1, 1] => {}
            op if op.moves() => {}
            _ => return None,
        }
        id = node.inputs[0];
        if users[id.0].len() != 1 {
            return None;
        }
    }
}

/// Scores less the largest of their row.
struct Largest {
    /// What makes them.
    scores: NodeId,
    /// The nodes between them and the difference that are no moves.
    chain: [NodeId; 2],
    /// The row of each element of the difference.
    rows: Vec<usize>,
}

/// If `id` is `x - max(x)`, where every element is in the row whose largest it loses.
fn less_largest(graph: &Graph, id: NodeId) -> Option<Largest> {
    let node = graph.node(id);
    let &[a, b] = node.inputs.as_slice() else { return None };
    if node.op != nn::Op::Add {
        return None;
    }
    [(a, b), (b, a)].into_iter().find_map(|(x, other)| {
        let minus = spread(graph, other);
        let pool = spread(graph, *graph.node(minus).inputs.first()?);
        let is = graph.node(minus).op == nn::Op::Scale(-1.0) && matches!(graph.node(pool).op, nn::Op::MaxPool(_));
        let scores = origin(graph, x);
        if !is || origin(graph, graph.node(pool).inputs[0]) != scores {
            return None;
        }
        let of_score = rows::pooled(graph, scores, pool)?;
        let elements = rows::copied(graph, scores, x)?;
        let rows: Vec<usize> = elements.iter().map(|element| of_score[*element]).collect();
        let whole = elements.iter().collect::<HashSet<_>>().len() == of_score.len();
        (whole && rows::copied(graph, pool, other)? == rows).then_some(Largest { scores, chain: [pool, minus], rows })
    })
}

/// What `id` is copies of.
fn spread(graph: &Graph, id: NodeId) -> NodeId {
    let node = graph.node(id);
    match &node.op {
        op if op.moves() => spread(graph, node.inputs[0]),
        nn::Op::Concat { .. } => {
            let copied = spread(graph, node.inputs[0]);
            let mut others = node.inputs.iter().filter(|input| **input != node.inputs[0]);
            if others.all(|input| spread(graph, *input) == copied) { copied } else { id }
        }
        _ => id,
    }
}

/// All that reads `id`, moves and copies left out.
fn readers(graph: &Graph, users: &[Vec<NodeId>], id: NodeId) -> Vec<NodeId> {
    let (mut open, mut found) = (vec![id], Vec::new());
    while let Some(at) = open.pop() {
        for user in &users[at.0] {
            let is_move = graph.node(*user).op.moves() || spread(graph, *user) != *user;
            let list = if is_move { &mut open } else { &mut found };
            if !list.contains(user) {
                list.push(*user);
            }
        }
    }
    found
}

/// The inverse sum of the exponentials `id`, of how many, and their product with it, if nothing
/// else reads either. Every sum is of whole `rows`, so it has a 1 among its terms, and every
/// exponential is in the sum that it is divided by.
fn weights(graph: &Graph, users: &[Vec<NodeId>], id: NodeId, rows: &[usize]) -> Option<(NodeId, usize, NodeId)> {
    let of_exponentials = readers(graph, users, id);
    let &[a, b] = of_exponentials.as_slice() else { return None };
    let (sum, product) = if graph.node(a).op == nn::Op::Mul { (b, a) } else { (a, b) };
    let nn::Op::SumPool(window) = &graph.node(sum).op else { return None };
    let &[inverse] = readers(graph, users, sum).as_slice() else { return None };
    let is_inverse = graph.node(inverse).op == nn::Op::Pointwise(Expr::unary(Unary::Reciprocal, Expr::X));
    let meets = readers(graph, users, inverse) == [product] && graph.node(product).op == nn::Op::Mul;
    if !is_inverse || !meets {
        return None;
    }
    let sums = rows::pooled(graph, id, sum)?;
    let mut sum_of_row = HashMap::new();
    let whole = rows.iter().zip(&sums).all(|(row, sum)| sum_of_row.entry(row).or_insert(sum) == &sum);
    let &[x, factor] = graph.node(product).inputs.as_slice() else { return None };
    let of = |operand: NodeId| rows::copied(graph, id, operand).map(|i| i.into_iter().map(|i| sums[i]).collect());
    let inverses = rows::copied(graph, sum, graph.node(inverse).inputs[0])?;
    let by = |operand: NodeId| {
        rows::copied(graph, inverse, operand).map(|i| i.into_iter().map(|i| inverses[i]).collect::<Vec<usize>>())
    };
    // A factor of fewer elements goes with as many of the other's as come one after the other.
    let (x, factor): (Vec<usize>, Vec<usize>) = of(x).zip(by(factor)).or_else(|| by(x).zip(of(factor)))?;
    let each = x.len() / factor.len().max(1);
    let own = x.chunks_exact(each.max(1)).zip(&factor).all(|(x, factor)| x.iter().all(|x| x == factor));
    (whole && own).then_some((inverse, window.kernel[0] * window.kernel[1], product))
}

/// What nothing is larger than by more than rounding, where it is 1 at most.
const ONE: f32 = 1.0625;
/// Fractional bits of the coarsest weights and inverse sums in rows of up to 128.
const WEIGHT_FRAC: i8 = 12;
/// And of the coarsest exponentials where they are multiplied.
const EXPONENTIAL_FRAC: i8 = 8;
/// And of the coarsest sums, which are at least 1.
const SUM_FRAC: i8 = 7;

/// Bits more for weights in rows of `terms`, all of which may be alike.
pub(super) fn longer(terms: usize) -> u8 {
    log2_ceil(terms).saturating_sub(7)
}

impl Lowering<'_> {
    /// Weights and inverse sums are 1 at most, whatever the samples show.
    pub(super) fn limit_weights(&mut self) {
        for (role, range) in self.softmaxes.roles.iter().zip(&mut self.ranges) {
            if matches!(role, Some(Role::Inverse(_) | Role::Weights(_))) {
                *range = ONE / self.margin;
            }
        }
    }

    /// Whether `id` is a product of matrices beside a softmax that need not be exact.
    pub(super) fn attends(&self, id: NodeId) -> bool {
        self.softmaxes.products[id.0] && self.beyond_usual() == 0
    }

    /// How often errors are halved beyond those of the usual exponential.
    fn beyond_usual(&self) -> u8 {
        self.precision.softmax_detail.saturating_sub(USUAL_DETAIL)
    }

    fn formats(&self) -> Formats {
        Formats::of(self.precision.softmax_detail)
    }

    fn weight_frac(&self, terms: usize) -> i8 {
        WEIGHT_FRAC + (self.beyond_usual() + longer(terms)) as i8
    }

    /// The ring, for scores that are cut, of them, their differences and the exponentials.
    fn score_bits(&self, scores: NodeId, difference: NodeId) -> u8 {
        let formats = self.formats();
        let holds = |id: NodeId| quantise::magnitude(self.margin * self.ranges[id.0], formats.frac);
        // A comparison with a kink has a difference as well.
        formats.bits(formats.frac).max(holds(scores).max(holds(difference).min(holds(scores) + 1)) + 2)
    }

    /// The width, at least `bits` and at most `most_bits`, of what makes `id` of this magnitude: if
    /// they are scores, one that leaves their ring when they are cut.
    pub(super) fn roomy(&self, id: NodeId, magnitude: u8, bits: u8, most_bits: u8) -> u8 {
        let Some(Role::Scores(difference)) = self.softmaxes.roles[id.0] else { return bits };
        let cut = quantise::magnitude(self.margin * self.ranges[id.0], self.formats().frac);
        let room = self.score_bits(id, difference).saturating_sub(cut);
        bits.max((magnitude + room).min(most_bits))
    }

    /// The value of `id`, cut to the fractional bits that its softmax looks at, and to a ring that
    /// holds what it computes.
    pub(super) fn cut_for_softmax(&mut self, id: NodeId, node: &nn::Node, value: ValueId) -> ValueId {
        let frac = match self.softmaxes.roles[id.0] {
            Some(Role::Scores(_)) => self.formats().frac,
            Some(Role::Weights(terms)) => self.weight_frac(terms),
            _ => return value,
        };
        let Some(cut) = self.cut_again(value, frac, node) else { return value };
        let cut = match self.softmaxes.roles[id.0] {
            Some(Role::Scores(difference)) => {
                let bits = self.score_bits(id, difference).max(self.ty(cut).magnitude + 2);
                self.in_ring(cut, bits, node)
            }
            _ => cut,
        };
        self.kept.insert(cut);
        cut
    }

    /// Scores less the largest: local, as their ring has room for the difference. `None` if it has
    /// not.
    pub(super) fn difference(&mut self, id: NodeId, node: &nn::Node, operands: [ValueId; 2]) -> Option<ValueId> {
        let [a, b] = operands.map(|operand| self.ty(operand).clone());
        let magnitude = self.reached(id, a.frac, a.magnitude.max(b.magnitude) + 1);
        if (a.bits, a.frac) != (b.bits, b.frac) || magnitude + 2 > a.bits {
            return None;
        }
        let ty = TensorType { magnitude, sign: Sign::Any, ..a };
        let difference = self.same(Op::Add, operands.to_vec(), ty, node);
        self.kept.insert(difference);
        Some(difference)
    }

    /// The exponentials of what is zero at most. `None` if it has too few fractional bits.
    pub(super) fn exponentials(&mut self, node: &nn::Node, x: ValueId) -> Option<ValueId> {
        let formats = self.formats();
        let TensorType { bits, frac, .. } = *self.ty(x);
        let idle = u8::try_from(frac - formats.frac).unwrap_or(0);
        let spare = bits.saturating_sub(formats.bits(formats.frac)).min(idle);
        let frac = frac - spare as i8;
        let table = exponential(frac, self.precision.softmax_detail)?;
        let x = if spare > 0 { self.requant_by(x, spare, node) } else { x };
        let bits = formats.bits(frac).max(self.ty(x).bits).max(self.ty(x).magnitude + 2);
        let x = self.extend(x, bits, node);
        let op = Op::Piecewise(table.piecewise(bits));
        let (frac, magnitude) = (frac + formats.slope_frac as i8, formats.bits(frac) - 1);
        let ty = TensorType { bits, frac, magnitude, sign: Sign::Any, ..self.ty(x).clone() };
        let proven = sign_is_proven(&op, &[self.ty(x)], &ty);
        let sign = if proven { Sign::NonNegative } else { Sign::Any };
        let y = self.same(op, vec![x], TensorType { sign, ..ty }, node);
        let y = self.cut_exponentials(node, y);
        self.kept.insert(y);
        Some(y)
    }

    /// Exponentials without the last bits, which their errors leave no meaning, in the ring of
    /// their product with the inverse of their sum. What is never negative is extended by next to
    /// nothing, so that comes first.
    fn cut_exponentials(&mut self, node: &nn::Node, x: ValueId) -> ValueId {
        let ty = self.ty(x).clone();
        let terms = node.shape.last().copied().unwrap_or(1);
        let frac = EXPONENTIAL_FRAC + (self.beyond_usual() + longer(terms)) as i8;
        let shift = u8::try_from(ty.frac - frac).unwrap_or(0);
        let bits = (frac + self.weight_frac(terms) + 2) as u8;
        if shift == 0 || ty.sign != Sign::NonNegative || bits + shift <= ty.bits {
            return x;
        }
        let wide = self.extend(x, bits + shift, node);
        // The largest is 1, rounded.
        let magnitude = ty.magnitude - shift + 1;
        let ty = TensorType { bits, frac, magnitude, sign: Sign::Any, ..ty };
        self.same(Op::Requant { shift }, vec![wide], ty, node)
    }

    /// Whether `id` is exponentials of a softmax, moved.
    pub(super) fn are_exponentials(&self, id: NodeId) -> bool {
        self.softmaxes.roles[origin(self.graph, id).0] == Some(Role::Exponential)
    }

    /// One over the sum of so many exponentials.
    pub(super) fn inverse(&mut self, id: NodeId, node: &nn::Node, x: ValueId, terms: usize) -> Lowered {
        let ty = self.ty(x).clone();
        // Of a sum near 1, activations' bits in a format for the largest may be too few.
        let dropped = ty.bits.saturating_sub(self.precision.activation_bits) as i8;
        let least = SUM_FRAC + self.beyond_usual() as i8;
        let x = match u8::try_from(ty.frac - least) {
            Ok(shift) if ty.frac - dropped < least && !self.kept.contains(&x) => match shift {
                0 => x,
                _ => self.requant_by(x, shift, node),
            },
            _ => self.narrow(x, node),
        };
        let range = Range { low: 1.0, high: terms as f32 };
        let part = (-f64::from(self.beyond_usual())).exp2();
        let results = Results { largest: 1.0, usual: 1.0, least: Some(1.0 / terms as f32), part };
        let table = Table::new(&Expr::unary(Unary::Reciprocal, Expr::X), range, self.ty(x).frac, results)?;
        let y = self.by_table(id, node, x, &table)?;
        let idle = u8::try_from(self.ty(y).frac - self.weight_frac(terms)).unwrap_or(0);
        let y = if idle > 0 { self.requant_by(y, idle, node) } else { y };
        self.kept.insert(y);
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Built, build};
    use crate::evaluate;
    use crate::nn::build::Builder;
    use crate::nn::eval;
    use crate::passes::Settings;
    use crate::quantise::Precision;
    use crate::quantise::calibrate::Calibration;
    use fusion_ir::interp;
    use fusion_ir::op::Reveal;

    fn marked(graph: &Graph) -> Vec<(&'static str, Role)> {
        let found = Softmaxes::of(graph, &graph.users()).roles;
        graph.nodes.iter().zip(found).filter_map(|(node, role)| Some((node.op.name(), role?))).collect()
    }

    #[test]
    fn a_softmax_is_found_with_all_its_parts() {
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [2, 3, 5]);
        let scores = b.scale(0.3, x);
        let softmax = b.unary(nn::Op::Softmax { axis: 2, log: false }, scores);
        let y = b.relu(softmax);
        let graph = nn::compose::compose(&b.graph.reachable(y)).unwrap();
        let difference = NodeId(graph.nodes.iter().position(|node| node.op == nn::Op::Add).unwrap());
        let parts = [
            ("scale", Role::Scores(difference)),
            ("max_pool", Role::Largest),
            ("scale", Role::Largest),
            ("add", Role::Difference),
            ("pointwise", Role::Exponential),
            ("pointwise", Role::Inverse(5)),
            ("mul", Role::Weights(5)),
        ];
        assert_eq!(marked(&graph), parts);
    }

    /// `exp(x - top)` over the sums of its rows.
    fn by_hand(b: &mut Builder, x: NodeId, top: NodeId) -> NodeId {
        let below = b.sub(x, top);
        let exp = b.unary(nn::Op::Pointwise(Expr::unary(Unary::Exp, Expr::X)), below);
        let sum = b.pool_rows(nn::Op::SumPool, exp);
        let inverse = b.reciprocal(sum);
        let rows = b.shape(x)[0];
        let inverse = b.reshape(inverse, &[rows, 1]);
        b.mul(exp, inverse).unwrap()
    }

    #[test]
    fn the_largest_of_all_or_of_another_row_is_no_softmaxs() {
        let found = |top: fn(&mut Builder, NodeId) -> NodeId| {
            let mut b = Builder::default();
            let x = b.push(nn::Op::Input, vec![], [4, 4]);
            let scores = b.scale(0.3, x);
            let top = top(&mut b, scores);
            let y = by_hand(&mut b, scores, top);
            let y = b.relu(y);
            marked(&b.graph.reachable(y)).len()
        };
        let own = |b: &mut Builder, x: NodeId| {
            let top = b.pool_rows(nn::Op::MaxPool, x);
            let top = b.reshape(top, &[4, 1]);
            b.expand(top, &[4, 4]).unwrap()
        };
        assert_eq!(found(own), 7);
        // A sum of other rows than the largest is of may be next to nothing.
        let of_all = |b: &mut Builder, x: NodeId| {
            let all = b.reshape(x, &[1, 16]);
            let top = b.pool_rows(nn::Op::MaxPool, all);
            let top = b.reshape(top, &[1, 1]);
            b.expand(top, &[4, 4]).unwrap()
        };
        assert_eq!(found(of_all), 0);
        // What is subtracted lies along the other axis, so a difference may be positive.
        let across = |b: &mut Builder, x: NodeId| {
            let top = b.pool_rows(nn::Op::MaxPool, x);
            let top = b.reshape(top, &[1, 4]);
            b.expand(top, &[4, 4]).unwrap()
        };
        assert_eq!(found(across), 0);
    }

    #[test]
    fn weights_of_long_rows_sum_to_one() {
        for (terms, tolerance) in [(20, 0.02), (512, 0.02), (2048, 0.02)] {
            let mut b = Builder::default();
            let x = b.push(nn::Op::Input, vec![], [2, terms]);
            let softmax = b.unary(nn::Op::Softmax { axis: 1, log: false }, x);
            let y = b.pool_rows(nn::Op::SumPool, softmax);
            let graph = nn::compose::compose(&b.graph.reachable(y)).unwrap();
            let calibration = Calibration::synthetic(&graph);
            let settings = Settings { reveal: Reveal::Logits, ..Settings::default() };
            let Built { program, .. } = build(&graph, &calibration, &Precision::default(), &settings).unwrap();
            // All alike, and one beside which the others are little together.
            let mut sample = vec![0.3; 2 * terms];
            sample[terms..].fill(-2.0);
            sample[terms] = 2.4;
            let quantised = evaluate::quantise(&program.function, &[sample]);
            let function = &program.function;
            let found = interp::output(function, &program.weights, &quantised[0]);
            let output = function.values.iter().rev().find(|value| !matches!(value.op, Op::Reveal(_) | Op::Check));
            for found in found.iter().map(|found| output.unwrap().ty.dequantize(*found)) {
                assert!((found - 1.0).abs() < tolerance, "a row of {terms} sums to {found}");
            }
        }
    }

    #[test]
    fn scores_that_others_read_keep_their_format() {
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [3, 5]);
        let scores = b.scale(0.3, x);
        let softmax = b.unary(nn::Op::Softmax { axis: 1, log: false }, scores);
        let y = b.add(softmax, scores);
        let roles = marked(&nn::compose::compose(&b.graph.reachable(y)).unwrap());
        let parts = [("pointwise", Role::Exponential), ("pointwise", Role::Inverse(5)), ("mul", Role::Weights(5))];
        assert_eq!(roles, parts);
    }

    #[test]
    fn other_exponentials_are_none() {
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [3, 5]);
        let y = b.pointwise(Expr::unary(Unary::Exp, Expr::X), x);
        assert!(marked(&b.graph.reachable(y)).is_empty());
        // A logarithm of a softmax has no inverse sum.
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [3, 5]);
        let log = b.unary(nn::Op::Softmax { axis: 1, log: true }, x);
        let y = b.relu(log);
        assert!(marked(&nn::compose::compose(&b.graph.reachable(y)).unwrap()).is_empty());
    }

    #[test]
    fn between_the_scores_and_the_sum_nothing_is_extended_or_cut() {
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [6, 20]);
        let scores = b.scale(0.3, x);
        let softmax = b.unary(nn::Op::Softmax { axis: 1, log: false }, scores);
        let y = b.scale(3.0, softmax);
        let graph = nn::compose::compose(&b.graph.reachable(y)).unwrap();
        let calibration = Calibration::synthetic(&graph);
        let settings = Settings { reveal: Reveal::Logits, ..Settings::default() };
        let Built { program, .. } = build(&graph, &calibration, &Precision::default(), &settings).unwrap();
        let function = &program.function;
        let exponentials: Vec<_> = function.iter().filter(|(_, value)| value.ty.sign == Sign::NonNegative).collect();
        let (_, exponential) = exponentials.iter().find(|(_, v)| matches!(v.op, Op::Piecewise(_))).unwrap();
        assert_eq!((exponential.ty.bits, exponential.ty.frac), (13, 12));
        let mut open = exponential.operands.clone();
        // Scores that come in a ring too small are extended at once.
        let is_cut = |at: ValueId| matches!(function.value(at).op, Op::Requant { .. });
        while let Some(at) = open.pop() {
            let value = function.value(at);
            assert_eq!(value.ty.bits, 13);
            match value.op {
                Op::Requant { .. } => {}
                Op::Extend if is_cut(value.operands[0]) => {}
                Op::Extend | Op::Truncate => panic!("{:?}", value.op),
                _ => open.extend(&value.operands),
            }
        }
        // Behind it they are cut once, and their sum and their product take that.
        let cut = function.values.iter().find(|value| value.op == Op::Mul).unwrap().operands[0];
        assert!(matches!(function.value(cut).op, Op::Requant { shift: 4 }), "{:?}", function.value(cut).op);
        let sum = function.values.iter().find(|value| matches!(value.op, Op::SumPool(_))).unwrap();
        let mut at = sum.operands[0];
        while at != cut {
            assert!(function.value(at).op.is_local() && function.value(at).operands.len() == 1);
            at = function.value(at).operands[0];
        }
        let sample = &calibration.samples[3];
        let quantised = evaluate::quantise(function, std::slice::from_ref(sample));
        let found = interp::output(function, &program.weights, &quantised[0]);
        let ty = &function.values.iter().rev().find(|value| !matches!(value.op, Op::Reveal(_) | Op::Check)).unwrap().ty;
        for (found, float) in found.iter().zip(eval::run(&graph, sample).pop().unwrap()) {
            assert!((ty.dequantize(*found) - f64::from(float)).abs() < 0.05, "{} {float}", ty.dequantize(*found));
        }
    }
}
