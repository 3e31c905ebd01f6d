//! Values that need more bits than activations have, since a function is steep where they are
//! small: the variance under a reciprocal root, the sum of squares under a root. The sums and
//! products that such an operand is made of are exact in a wide ring anyway; here it is decided how
//! much of that is kept.
//!
//! A factor that is large where what it multiplies is small, as in every normalisation, has to be
//! right *relative to itself*: an error of a fraction of it is that fraction of the product,
//! wherever on its range.

use fusion_ir::ValueId;

use super::Lowering;
use crate::nn::eval::Range;
use crate::nn::expr::Expr;
use crate::nn::{self, Graph, NodeId};
use crate::quantise::Precision;
use crate::quantise::frac_for;
use crate::quantise::polyline::Allowed;
use crate::quantise::table::{TOLERANCE, relative};

/// How many times smaller a product must be than its factors' largest values allow before one of
/// them counts as relative.
const OPPOSED: f32 = 4.0;
/// Most bits of the operand or the result of such a function.
const MAX_KEPT_BITS: u8 = 36;
/// What a normalisation divides has at least so many units in the spread of a row: rounding is one
/// percent of that.
const SPREAD_UNITS: f64 = 32.0;
/// And the factor that stands for its inverse so many in its least.
const FACTOR_UNITS: f64 = 64.0;
/// Places at which a function's steepness is looked at.
const PLACES: i32 = 512;

/// What is known of every node before it is lowered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wide {
    /// Whether the node's value stays in the ring that it is computed in, for a function that needs
    /// its small values.
    pub keeps: Vec<bool>,
    /// For a function whose error is relative: the magnitude below which that of its results does
    /// not matter.
    pub least: Vec<Option<f32>>,
}

impl Wide {
    pub(super) fn of(graph: &Graph, users: &[Vec<NodeId>], ranges: &[Range], precision: &Precision) -> Wide {
        let mut wide = Wide { keeps: vec![false; graph.nodes.len()], least: vec![None; graph.nodes.len()] };
        for (id, node) in graph.iter() {
            if node.op == nn::Op::Add {
                centred(graph, users, &node.inputs).into_iter().flatten().for_each(|id| wide.keeps[id.0] = true);
            }
            if matches!(node.op, nn::Op::MaxPool(_)) {
                extreme_of_trees(graph, users, id, &mut wide.keeps);
            }
            let nn::Op::Pointwise(f) = &node.op else { continue };
            wide.least[id.0] = opposed(graph, users, ranges, id);
            let operand = node.inputs[0];
            let allowed = allowed(ranges[id.0], wide.least[id.0], precision.part());
            let usual = frac_for(ranges[operand.0].magnitude(), precision.activation_bits - 2);
            if wanted_frac(f, ranges[operand.0], 0.0, allowed) > usual || sums_squares(graph, operand) {
                sources(graph, users, operand, &mut wide.keeps);
            }
        }
        wide
    }
}

/// What a table may err by whose results have this range.
fn allowed(results: Range, least: Option<f32>, part: f64) -> Allowed {
    let most = f64::from(results.magnitude()) * TOLERANCE * part;
    match least {
        Some(least) => relative(least, part),
        None => Allowed::everywhere(most),
    }
}

/// The nodes that all that reads them multiplies with what is small where they are large.
pub(crate) fn opposed_factors(graph: &Graph, ranges: &[Range]) -> Vec<bool> {
    let users = graph.users();
    let is_factor = |(id, node): (NodeId, &nn::Node)| {
        matches!(node.op, nn::Op::Pointwise(_)) && opposed(graph, &users, ranges, id).is_some()
    };
    graph.iter().map(is_factor).collect()
}

/// If all that reads `id` multiplies it with what is small where it is large: the magnitude below
/// which it does not matter.
fn opposed(graph: &Graph, users: &[Vec<NodeId>], ranges: &[Range], id: NodeId) -> Option<f32> {
    let mut least = f32::INFINITY;
    let mut open = vec![id];
    while let Some(at) = open.pop() {
        for user in &users[at.0] {
            let node = graph.node(*user);
            match node.op {
                nn::Op::Mul => {
                    let [a, b] = node.inputs[..] else { return None };
                    let other = ranges[if a == at { b } else { a }.0].magnitude();
                    if a == b || other == 0.0 {
                        return None;
                    }
                    least = least.min(ranges[user.0].magnitude() / other);
                }
                _ if node.op.moves() || matches!(node.op, nn::Op::Concat { .. }) => open.push(*user),
                _ => return None,
            }
        }
    }
    (least * OPPOSED < ranges[id.0].magnitude()).then_some(least)
}

/// Whether `id` is a sum of squares, whose ring is hardly wider than theirs.
fn sums_squares(graph: &Graph, mut id: NodeId) -> bool {
    let mut sums = false;
    loop {
        let node = graph.node(id);
        match node.op {
            nn::Op::Mul => return sums && node.inputs[0] == node.inputs[1],
            nn::Op::SumPool(_) => sums = true,
            ref op if op.moves() => {}
            _ => return false,
        }
        id = node.inputs[0];
    }
}

/// Marks what `id` is computed of by exact sums and products that nothing else reads.
fn sources(graph: &Graph, users: &[Vec<NodeId>], mut id: NodeId, keeps: &mut [bool]) {
    let mut chain = Vec::new();
    while users[id.0].len() == 1 {
        let node = graph.node(id);
        match node.op {
            nn::Op::Mul | nn::Op::MatMul => {
                chain.push(id);
                return chain.into_iter().for_each(|id| keeps[id.0] = true);
            }
            nn::Op::SumPool(_) | nn::Op::Scale(_) => chain.push(id),
            nn::Op::Affine(ref affine) if affine.scale.iter().all(|s| *s == 1.0) => chain.push(id),
            _ if node.op.moves() => {}
            _ => return,
        }
        id = node.inputs[0];
    }
}

/// Marks trees whose results are compared with each other by the pool `id` alone, so that they are
/// compared as exactly as they are summed, and the pool if only its sign changes.
fn extreme_of_trees(graph: &Graph, users: &[Vec<NodeId>], id: NodeId, keeps: &mut [bool]) {
    let mut at = graph.node(id).inputs[0];
    while graph.node(at).op.moves() && users[at.0].len() == 1 {
        at = graph.node(at).inputs[0];
    }
    if !matches!(graph.node(at).op, nn::Op::Trees(_)) || users[at.0].len() != 1 {
        return;
    }
    keeps[at.0] = true;
    let mut next = id;
    while let [only] = users[next.0][..] {
        next = only;
        match graph.node(next).op {
            nn::Op::Scale(-1.0) => return keeps[id.0] = true,
            ref op if op.moves() => {}
            _ => return,
        }
    }
}

/// What stands between the difference of elements and their sum, and the elements: rounded there,
/// the difference of equals is not zero.
fn centred(graph: &Graph, users: &[Vec<NodeId>], operands: &[NodeId]) -> Option<Vec<NodeId>> {
    let chains = [0, 1].map(|at| exact_chain(graph, users, operands[at]));
    let common = chains[0].iter().position(|id| chains[1].contains(id))?;
    let other = chains[1].iter().position(|id| *id == chains[0][common])?;
    let between = [&chains[0][..common], &chains[1][..other]];
    let sums = between.map(|part| part.iter().filter(|id| matches!(graph.node(**id).op, nn::Op::SumPool(_))).count());
    matches!(sums, [0, 1] | [1, 0]).then(|| between.concat())
}

/// `id` and what it is made of by sums and factors that are exact and that nothing else reads; the
/// last is not.
fn exact_chain(graph: &Graph, users: &[Vec<NodeId>], mut id: NodeId) -> Vec<NodeId> {
    let mut chain = vec![id];
    loop {
        let node = graph.node(id);
        let sole = users[id.0].iter().all(|user| *user == users[id.0][0]);
        let exact = match &node.op {
            nn::Op::SumPool(_) => true,
            // No more than a weight's bits.
            nn::Op::Scale(factor) => factor.to_bits() & 0xfff == 0,
            nn::Op::Concat { .. } => node.inputs.iter().all(|input| *input == node.inputs[0]),
            op => op.moves(),
        };
        if !exact || !sole {
            return chain;
        }
        id = node.inputs[0];
        chain.push(id);
    }
}

/// The fractional bits of an operand in `range` and at least `floor` with which its rounding moves
/// `f` by less than half of what is allowed.
pub(super) fn wanted_frac(f: &Expr, range: Range, floor: f64, allowed: Allowed) -> i8 {
    let (low, high) = (f64::from(range.low).max(floor), f64::from(range.high));
    if low.is_nan() || high.is_nan() || low >= high {
        return i8::MIN;
    }
    let even = (0..=PLACES).map(|i| low + (high - low) * f64::from(i) / f64::from(PLACES));
    // Where a function is steep at small operands, places lie closer there.
    let ratio = if low > 0.0 { (high / low).ln() / f64::from(PLACES) } else { 0.0 };
    let close = (0..=PLACES).map(|i| low * (ratio * f64::from(i)).exp());
    let unit = |x: f64| {
        let step = 1e-6 * x.abs().max(1e-3 * (high - low));
        let slope = ((f.at(x + step) - f.at(x - step)) / (2.0 * step)).abs();
        allowed.at(f.at(x)) / slope
    };
    let units = even.chain(close).map(unit).filter(|unit| !unit.is_nan());
    (-units.fold(f64::INFINITY, f64::min).log2()).ceil().clamp(-60.0, 60.0) as i8
}

impl Lowering<'_> {
    /// The operand of a function, with as many bits as its steepness asks for, if it has them; and
    /// the least operand that says anything.
    pub(super) fn steep(&mut self, id: NodeId, node: &nn::Node, x: ValueId, f: &Expr) -> (ValueId, f64) {
        let ty = self.ty(x).clone();
        let activation_bits = self.precision.activation_bits;
        if ty.bits <= activation_bits || !self.wide.keeps[origin(self.graph, node.inputs[0]).0] {
            return (self.narrow(x, node), f64::NEG_INFINITY);
        }
        // Summands that are all below half of their operands' unit are lost: what is less than
        // their sum is noise.
        let summands = self.summands(node.inputs[0]) as f64;
        let floor = summands / 4.0 * (-f64::from(ty.frac)).exp2();
        let allowed = allowed(self.observed.ranges[id.0], self.wide.least[id.0], self.precision.part());
        let wanted = wanted_frac(f, self.observed.ranges[node.inputs[0].0], floor, allowed);
        let narrow = ty.frac - (ty.bits - activation_bits) as i8;
        let widest = ty.frac - ty.bits.saturating_sub(MAX_KEPT_BITS) as i8;
        let frac = wanted.clamp(narrow, widest);
        (self.dropped(x, (ty.frac - frac) as u8, node), floor)
    }

    /// The result of a function whose error is relative, with the bits that its small values need.
    pub(super) fn relative(&mut self, id: NodeId, node: &nn::Node, y: ValueId, least: f32) -> ValueId {
        let ty = self.ty(y).clone();
        let Range { low, high } = self.observed.ranges[id.0];
        let smallest = low.abs().min(high.abs()).max(least);
        let coarse = self.may_be_coarse();
        let units = if coarse { FACTOR_UNITS } else { 2.0 / TOLERANCE };
        let unit = f64::from(smallest) * self.precision.part() / units;
        let wanted = (-unit.log2()).ceil().clamp(-60.0, 60.0) as i8;
        // A product takes the square of its ring's bits.
        let most = if coarse { wanted } else { ty.frac };
        let narrow = (ty.frac - ty.bits.saturating_sub(self.precision.activation_bits) as i8).min(most);
        let widest = ty.frac - ty.bits.saturating_sub(MAX_KEPT_BITS) as i8;
        let frac = wanted.clamp(narrow.min(ty.frac), widest.max(narrow));
        self.dropped(y, (ty.frac - frac) as u8, node)
    }

    /// The value without its last `shift` bits, to be kept so.
    fn dropped(&mut self, x: ValueId, shift: u8, node: &nn::Node) -> ValueId {
        let y = if shift == 0 { x } else { self.requant_by(x, shift, node) };
        self.kept.insert(y);
        y
    }

    /// How many products a sum is of.
    fn summands(&self, mut id: NodeId) -> usize {
        let mut n = 1;
        loop {
            let node = self.graph.node(id);
            match &node.op {
                nn::Op::SumPool(window) => n *= window.kernel[0] * window.kernel[1],
                nn::Op::Mul => return n,
                nn::Op::MatMul => return n * self.graph.node(node.inputs[0]).shape[2],
                _ => {}
            }
            match node.inputs.first() {
                Some(x) => id = *x,
                None => return n,
            }
        }
    }

    /// The value of `id`, if it is what a normalisation divides by its spread, cut to the bits that
    /// rows of the least spread need.
    pub(super) fn cut_for_variance(&mut self, id: NodeId, node: &nn::Node, value: ValueId) -> ValueId {
        let Some(spread) = self.least_spread(id) else { return value };
        let frac = (SPREAD_UNITS / spread).log2().ceil() as i8 + self.precision.detail as i8;
        if frac >= self.ty(value).frac {
            return value;
        }
        let Some(cut) = self.cut_again(value, frac, node) else { return value };
        self.kept.insert(cut);
        cut
    }

    /// The least root mean square of `id`'s rows, if nothing but products read it, and one is a
    /// square that is summed over each row.
    fn least_spread(&self, id: NodeId) -> Option<f64> {
        let mut open = vec![id];
        let mut least: Option<f64> = None;
        while let Some(at) = open.pop() {
            for user in &self.users[at.0] {
                let node = self.graph.node(*user);
                match node.op {
                    nn::Op::Mul if node.inputs[0] == node.inputs[1] => {
                        let (pool, n) = self.pool_behind(*user)?;
                        let mean = f64::from(self.observed.ranges[pool.0].low) / n as f64;
                        let spread = Some(mean.sqrt()).filter(|spread| *spread > 0.0)?;
                        least = Some(least.map_or(spread, |least| least.min(spread)));
                    }
                    nn::Op::Mul => {}
                    ref op if op.moves() => open.push(*user),
                    _ => return None,
                }
            }
        }
        least.filter(|_| self.may_be_coarse())
    }

    /// Whether the function `id` gives what a normalisation multiplies its rows by, and may be
    /// coarse.
    pub(super) fn normalises(&self, id: NodeId) -> bool {
        self.may_be_coarse() && sums_squares(self.graph, self.graph.node(id).inputs[0]) && self.divides_rows(id)
    }

    /// Whether nothing but products read `id`, of which it is the one factor of each row.
    fn divides_rows(&self, id: NodeId) -> bool {
        let is_factor = |user: &NodeId| {
            let node = self.graph.node(*user);
            match node.op {
                nn::Op::Mul => self.graph.node(node.inputs[0]).len() > self.graph.node(id).len(),
                ref op => op.moves() && self.divides_rows(*user),
            }
        };
        !self.users[id.0].is_empty() && self.users[id.0].iter().all(is_factor)
    }

    /// Whether what a normalisation divides, and by what, may be as coarse as labels stand.
    fn may_be_coarse(&self) -> bool {
        self.precision.coarse && !self.precision.fine && !self.precision.worst_case
    }

    /// The sum that alone reads `id`, and of how many.
    fn pool_behind(&self, mut id: NodeId) -> Option<(NodeId, usize)> {
        while let [user] = self.users[id.0][..] {
            match &self.graph.node(user).op {
                nn::Op::SumPool(window) => return Some((user, window.kernel[0] * window.kernel[1])),
                op if op.moves() => id = user,
                _ => return None,
            }
        }
        None
    }

    /// The magnitude of the sums of the product `id`, which has `magnitude` itself, that read it
    /// and nothing else does. They hold as much as factors do that are all as large as their
    /// formats.
    pub(super) fn summed(&self, mut id: NodeId, frac: i8, magnitude: u8) -> u8 {
        let (mut most, mut summed) = (magnitude, magnitude);
        while let [user] = self.users[id.0][..] {
            let node = self.graph.node(user);
            match &node.op {
                nn::Op::SumPool(window) => {
                    most += super::log2_ceil(window.kernel[0] * window.kernel[1]);
                    summed = summed.max(self.reached_within(user, frac, most, self.margin.powi(2)));
                }
                op if op.moves() => {}
                _ => break,
            }
            id = user;
        }
        summed
    }
}

/// What `id` is a rearrangement of.
pub(super) fn origin(graph: &Graph, mut id: NodeId) -> NodeId {
    while graph.node(id).op.moves() {
        id = graph.node(id).inputs[0];
    }
    id
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::build::{Built, build};
    use crate::nn::Dense;
    use crate::nn::build::Builder;
    use crate::nn::expr::{Binary, Unary};
    use crate::passes::Settings;
    use crate::quantise::calibrate::Calibration;
    use fusion_ir::Op;
    use fusion_ir::op::Reveal;

    #[test]
    fn what_is_divided_by_its_spread_is_cut_to_what_that_needs() {
        const WIDTH: usize = 16;
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [WIDTH]);
        let weight = Array2::from_shape_fn((WIDTH, WIDTH), |(i, j)| ((i * 5 + j * 3) % 7) as f32 / 4.0 - 0.7);
        let c = b.push(nn::Op::Dense(Dense { weight, bias: vec![0.5; WIDTH] }), vec![x], [WIDTH]);
        let c = b.reshape(c, &[1, WIDTH]);
        let squares = b.mul(c, c).unwrap();
        let sum = b.pool_rows(nn::Op::SumPool, squares);
        let mean = Expr::binary(Binary::Mul, Expr::X, Expr::Const(1.0 / WIDTH as f64));
        let root = Expr::unary(Unary::Sqrt, Expr::binary(Binary::Add, mean, Expr::Const(1e-3)));
        let inverse = b.pointwise(Expr::unary(Unary::Reciprocal, root), sum);
        let y = b.mul(c, inverse).unwrap();
        let y = b.relu(y);
        let graph = b.graph.reachable(y);
        let calibration = Calibration::synthetic(&graph);
        let settings = Settings { reveal: Reveal::Logits, ..Settings::default() };
        let Built { program, observed, graph, .. } =
            build(&graph, &calibration, &Precision::default(), &settings).unwrap();
        let pool = graph.nodes.iter().position(|node| matches!(node.op, nn::Op::SumPool(_))).unwrap();
        let spread = (f64::from(observed.ranges[pool].low) / WIDTH as f64).sqrt();
        let function = &program.function;
        let squares = function.values.iter().find(|value| value.op == Op::Mul).unwrap();
        assert_eq!(squares.operands[0], squares.operands[1]);
        let unit = (-f64::from(function.value(squares.operands[0]).ty.frac)).exp2();
        assert!((SPREAD_UNITS..2.0 * SPREAD_UNITS).contains(&(spread / unit)), "{spread} {unit}");
        // So have the factors, in the least that matters to the product.
        let factors = function.values.iter().rev().find(|value| value.op == Op::Mul).unwrap().operands[1];
        let unit = (-f64::from(function.value(factors).ty.frac)).exp2();
        let inverse = graph.nodes.iter().position(|node| matches!(node.op, nn::Op::Pointwise(_))).unwrap();
        let least = f64::from(observed.ranges[inverse].low);
        assert!((FACTOR_UNITS / 2.0..2.0 * FACTOR_UNITS).contains(&(least / unit)), "{least} {unit}");
        // The sum is made in the squares' ring.
        let sum = function.values.iter().find(|value| matches!(value.op, Op::SumPool(_))).unwrap();
        assert_eq!(sum.ty.bits, squares.ty.bits);
        // Which holds it of a row that is all at the ends of its format.
        let most = observed.ranges[pool].magnitude() * crate::quantise::LEAST_MARGIN.powi(2);
        assert!(sum.ty.bits > crate::quantise::magnitude(most, sum.ty.frac), "{} {most}", sum.ty);
    }
}
