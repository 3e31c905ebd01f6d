//! What only calibration can settle: how far down a masked score must lie, and whether a rounding
//! is felt.
//!
//! Exporters mask scores by adding or choosing a number far below all others: -1e4, -1e9, the
//! lowest float, minus infinity. What reads them (a softmax, a maximum) only feels that they are
//! lower than the rest, but in a number format they would leave nothing of it. So [`mark`] finds
//! them by what reads them, and [`settle`] puts them just so far below the scores seen in
//! calibration that no softmax feels them any more: e^-16 of its sum.

use fusion_ir::op::Window;
use rayon::prelude::*;

use super::build::Builder;
use super::expr::{Binary, Expr, Unary};
use super::{Affine, FAR, Graph, Node, NodeId, Op, eval};
use crate::Unsupported;

/// Summands below this are masks if only softmaxes and maxima read the sum.
pub const MASKING: f32 = -50.0;
/// Padding at or below this is lower than any data.
const LOWEST: f32 = -6e4;
/// How far below all other scores of its tensor a masked one lies.
const DISTANCE: f32 = 16.0;
/// Stands for minus infinity, of which a softmax would make no numbers. Anything as far down is
/// hidden.
const HIDDEN: f32 = -1e30;
/// How far outputs may be apart that do not feel what is in rows that are masked entirely, as a
/// part of the largest.
const FELT: f32 = 1e-3;
/// Most steps of a rounding that is kept: with more, what it takes away is like the rounding of
/// fixed point.
const MAX_STEPS: f32 = 32.0;

/// The same network, with masks as [`Op::Mask`] and [`Op::MaskBy`], and padding in front of a
/// max-pool as part of the pool.
///
/// # Errors
/// Every node with an infinite constant that is no mask.
pub fn mark(graph: Graph) -> Result<Graph, Vec<Unsupported>> {
    let users = graph.users();
    let soft = soft(&graph, &users);
    let mut builder = Builder { graph: Graph { name: graph.name.clone(), nodes: Vec::new() }, node: String::new() };
    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| renamed[input.0]).collect();
        builder.node.clone_from(&node.name);
        let changed = match &node.op {
            Op::Affine(_) | Op::Scale(_) if soft[id.0] && is_deep(&graph, id) => {
                let mask = if let Op::Affine(affine) = &node.op { masked(affine).map(Op::Mask) } else { None };
                let summand = || line(&node.op).filter(|_| is_summand(&graph, &users, id));
                mask.or_else(summand).map(|op| (op, inputs.clone()))
            }
            Op::Select if soft[id.0] => choice(&graph, node, &inputs),
            Op::Add if soft[id.0] => match [0, 1].map(|i| is_deep(&graph, node.inputs[i])) {
                [false, true] => Some((Op::MaskSum, inputs.clone())),
                [true, false] => Some((Op::MaskSum, vec![inputs[1], inputs[0]])),
                _ => None,
            },
            Op::MaxPool(window) => padded(&graph, node, window).map(|(source, extents, window)| {
                (Op::MaxPool(window), vec![builder.reshape(renamed[source.0], &extents)])
            }),
            _ => None,
        };
        let (op, inputs) = changed.unwrap_or_else(|| (node.op.clone(), inputs));
        renamed.push(builder.push(op, inputs, node.shape.clone()));
    }
    let Some(output) = renamed.last() else { return Ok(graph) };
    let marked = builder.graph.reachable(*output);
    let endless = |node: &&Node| match &node.op {
        Op::Affine(affine) => affine.shift.contains(&f32::NEG_INFINITY),
        Op::Pointwise(Expr::Const(c)) => c.is_infinite(),
        _ => false,
    };
    let refuse = |node: &Node| Unsupported {
        node: node.name.clone(),
        op: node.op.name().into(),
        why: "a constant of it is infinite, which is supported only as a mask that a softmax or a maximum reads".into(),
    };
    let refused: Vec<Unsupported> = marked.nodes.iter().filter(endless).map(refuse).collect();
    if refused.is_empty() { Ok(marked) } else { Err(refused) }
}

/// Which nodes are read by softmaxes and maxima only, at once or after moves and sums.
fn soft(graph: &Graph, users: &[Vec<NodeId>]) -> Vec<bool> {
    let mut soft = vec![false; graph.nodes.len()];
    for id in (0..graph.nodes.len()).rev() {
        let feels = |user: &NodeId| match &graph.node(*user).op {
            Op::Softmax { log: false, .. } | Op::MaxPool(_) => true,
            Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Concat { .. } | Op::Add => soft[user.0],
            Op::Scale(factor) => *factor > 0.0 && soft[user.0],
            Op::Affine(affine) => affine.scale.iter().all(|s| *s >= 0.0) && soft[user.0],
            Op::Select => soft[user.0] && graph.node(*user).inputs[0].0 != id,
            _ => false,
        };
        soft[id] = !users[id].is_empty() && users[id].iter().all(feels);
    }
    soft
}

/// Whether a summand is made with numbers so large that it may be a mask, which is then made of the
/// sample.
fn is_deep(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match &node.op {
        Op::Scale(factor) => factor.abs() > -MASKING,
        Op::Affine(affine) => affine.scale.iter().chain(&affine.shift).any(|c| c.abs() > -MASKING),
        Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Concat { .. } => {
            node.inputs.iter().any(|input| is_deep(graph, *input))
        }
        _ => false,
    }
}

/// The map as a mask, if it adds nothing but numbers to some elements and hides all others.
fn masked(affine: &Affine) -> Option<Affine> {
    let hidden = |i: usize| affine.shift[i] < MASKING;
    let all = 0..affine.shift.len();
    let plain = all.clone().all(|i| affine.scale[i] == 1.0 || hidden(i) && affine.scale[i] == 0.0);
    let some = all.clone().any(hidden) && !all.clone().all(hidden);
    (plain && some).then(|| affine.clone())
}

/// Whether all that reads a node, at once or after moves, are sums.
fn is_summand(graph: &Graph, users: &[Vec<NodeId>], id: NodeId) -> bool {
    users[id.0].iter().all(|user| match graph.node(*user).op {
        Op::Add => true,
        Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Concat { .. } => is_summand(graph, users, *user),
        _ => false,
    })
}

/// A map that is the same for all elements, as a function: what makes a mask of the sample is
/// public, and nothing is folded into it.
fn line(op: &Op) -> Option<Op> {
    let (scale, shift) = match op {
        Op::Affine(affine) => affine.uniform()?,
        Op::Scale(factor) => (*factor, 0.0),
        _ => return None,
    };
    let scaled = Expr::binary(Binary::Mul, Expr::X, Expr::Const(f64::from(scale)));
    Some(Op::Pointwise(Expr::binary(Binary::Add, scaled, Expr::Const(f64::from(shift)))))
}

/// A choice between scores and a number far below them.
fn choice(graph: &Graph, node: &Node, inputs: &[NodeId]) -> Option<(Op, Vec<NodeId>)> {
    let number = |i: usize| match &graph.node(node.inputs[i]).op {
        Op::Pointwise(Expr::Const(c)) if (*c as f32) < MASKING => Some(*c as f32),
        _ => None,
    };
    let mask = |value: f32, when: bool, x: usize| (Op::MaskBy { value, when }, vec![inputs[x], inputs[0]]);
    match (number(1), number(2)) {
        (Some(value), None) => Some(mask(value, true, 2)),
        (None, Some(value)) => Some(mask(value, false, 1)),
        _ => None,
    }
}

/// What is padded in front of a max-pool, as the image that it is, and the pool with that padding.
fn padded(graph: &Graph, pool: &Node, window: &Window) -> Option<(NodeId, Vec<usize>, Window)> {
    let image = graph.node(pool.inputs[0]);
    let sum = if image.op == Op::Reshape { graph.node(image.inputs[0]) } else { image };
    let Op::Affine(affine) = &sum.op else { return None };
    let Op::Pad { before, after } = &graph.node(sum.inputs[0]).op else { return None };
    let (source, rank) = (graph.node(sum.inputs[0]).inputs[0], sum.shape.len());
    // The last axes are the image's.
    let [c, h, w] = image.shape[..] else { return None };
    let axes = if sum.shape.ends_with(&[h, w]) {
        [Some(rank - 2), Some(rank - 1)]
    } else if w == 1 && sum.shape.ends_with(&[h]) {
        [Some(rank - 1), None]
    } else {
        return None;
    };
    let others = (0..rank).filter(|axis| !axes.contains(&Some(*axis)));
    if others.into_iter().any(|axis| before[axis] + after[axis] > 0) {
        return None;
    }
    let inside = |at: usize, shape: &[usize]| {
        let mut rest = at;
        (0..shape.len()).rev().all(|axis| {
            let place = rest % shape[axis];
            rest /= shape[axis];
            (before[axis]..shape[axis] - after[axis]).contains(&place)
        })
    };
    let lowest = affine.indices(&sum.shape).into_iter().enumerate().all(|(at, i)| {
        let wanted = if inside(at, &sum.shape) { affine.shift[i] == 0.0 } else { affine.shift[i] <= LOWEST };
        wanted && affine.scale[i] == 1.0
    });
    let [top, left] = axes.map(|axis| axis.map_or(0, |axis| before[axis]));
    let [bottom, right] = axes.map(|axis| axis.map_or(0, |axis| after[axis]));
    let own = window.pads;
    let pads = [own[0] + top, own[1] + left, own[2] + bottom, own[3] + right];
    let some = (0..4).all(|side| pads[side] < window.kernel[side % 2]);
    let extents = vec![c, h - top - bottom, w - left - right];
    (lowest && some).then_some((source, extents, Window { pads, ..*window }))
}

/// Whether [`settle`] has anything to do.
pub fn unsettled(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| matches!(node.op, Op::Mask(_) | Op::MaskBy { .. } | Op::MaskSum | Op::Round { .. }))
}

/// What one operand was seen to be, masked elements left out.
#[derive(Clone, Copy)]
struct Seen {
    low: f32,
    high: f32,
}

/// The same network with numbers for masks, and roundings that are felt as functions, by what the
/// samples show.
///
/// Rows that are masked entirely, such as attention of padding has, get numbers that mean nothing;
/// how many samples have some comes with the graph.
///
/// # Errors
/// A node all of whose scores are masked, if the output feels what they are then.
pub fn settle(graph: &Graph, samples: &[Vec<f32>]) -> Result<(Graph, usize), Unsupported> {
    let far = far(graph);
    let (seen, hidden) = observe(graph, &far, samples);
    let mut builder = Builder { graph: Graph { name: graph.name.clone(), nodes: Vec::new() }, node: String::new() };
    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| renamed[input.0]).collect();
        builder.node.clone_from(&node.name);
        let Seen { low, high } = seen[id.0];
        let below = -(2.0 * (high - low) + DISTANCE);
        renamed.push(match &node.op {
            Op::Mask(mask) => {
                builder.unary(Op::Affine(summands(mask, below, low - (high - low) - DISTANCE)), inputs[0])
            }
            Op::MaskBy { value, when } => {
                let hides = if *when { inputs[1] } else { negation(&mut builder, inputs[1]) };
                chosen(&mut builder, inputs[0], hides, *value, low - (high - low) - DISTANCE, below)
            }
            Op::MaskSum => {
                let limit = Expr::binary(Binary::Max, Expr::X, Expr::Const(f64::from(below)));
                let summand = builder.pointwise(limit, inputs[1]);
                builder.add(inputs[0], summand)
            }
            Op::Round { step } if (high - low) / step <= MAX_STEPS => builder.pointwise(rounded(*step), inputs[0]),
            Op::Round { .. } => inputs[0],
            op => builder.push(op.clone(), inputs, node.shape.clone()),
        });
    }
    let settled = match renamed.last() {
        Some(output) => builder.graph.reachable(*output),
        None => builder.graph,
    };
    let feels = |(sample, _): &&(&Vec<f32>, NodeId)| {
        let outputs = [&far, &settled].map(|graph| eval::run(graph, sample).pop().unwrap_or_default());
        let largest = outputs[0].iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= FELT * largest;
        !outputs[0].iter().zip(&outputs[1]).all(near)
    };
    match hidden.iter().find(feels) {
        Some((_, id)) => {
            let node = graph.node(*id);
            let why = "it is the maximum, or the softmax, of scores that are all masked".into();
            Err(Unsupported { node: node.name.clone(), op: node.op.name().into(), why })
        }
        None => Ok((settled, hidden.len())),
    }
}

/// The graph with scores that are hidden, however far, as if by minus infinity.
fn far(graph: &Graph) -> Graph {
    let mut far = graph.clone();
    for node in &mut far.nodes {
        match &mut node.op {
            Op::Mask(mask) => mask.shift.iter_mut().filter(|c| **c < FAR).for_each(|c| *c = HIDDEN),
            Op::MaskBy { value, .. } if *value < FAR => *value = HIDDEN,
            _ => {}
        }
    }
    far
}

/// The mask as a map that adds: `below` takes any score under `floor`.
fn summands(mask: &Affine, below: f32, floor: f32) -> Affine {
    let adds = |i: usize| mask.scale[i] != 0.0 || mask.shift[i] < floor;
    let all = 0..mask.shift.len();
    let shift = all.clone().map(|i| if adds(i) { mask.shift[i].max(below) } else { mask.shift[i] });
    let scale = all.clone().map(|i| if adds(i) { 1.0 } else { 0.0 });
    Affine { shape: mask.shape.clone(), scale: scale.collect(), shift: shift.collect() }
}

/// `x` with `value` where `hides` is 1: by a sum, if the number is below all that matters.
fn chosen(builder: &mut Builder, x: NodeId, hides: NodeId, value: f32, floor: f32, below: f32) -> NodeId {
    if value < floor {
        let summand = builder.scale(below, hides);
        return builder.add(x, summand);
    }
    let shows = negation(builder, hides);
    let kept = builder.zip(Op::Mul, &[x, shows]);
    let summand = builder.scale(value, hides);
    builder.add(kept, summand)
}

/// `1 - x`
fn negation(builder: &mut Builder, x: NodeId) -> NodeId {
    let shape = vec![1; builder.shape(x).len()];
    builder.affine(x, Affine { shape, scale: vec![-1.0], shift: vec![1.0] })
}

/// To the nearest multiple of `step`, ties to even ones.
fn rounded(step: f32) -> Expr {
    let step = f64::from(step);
    let multiple = Expr::binary(Binary::Mul, Expr::X, Expr::Const(step.recip()));
    Expr::binary(Binary::Mul, Expr::unary(Unary::Round, multiple), Expr::Const(step))
}

/// For each node that is to be settled, what its operand is on the samples; and the samples with
/// rows that are masked entirely, with the first of the nodes that read such a row.
fn observe<'s>(graph: &Graph, far: &Graph, samples: &'s [Vec<f32>]) -> (Vec<Seen>, Vec<(&'s Vec<f32>, NodeId)>) {
    let mut read = vec![Vec::new(); graph.nodes.len()];
    for (id, node) in graph.iter() {
        if matches!(node.op, Op::Mask(_) | Op::MaskBy { .. } | Op::MaskSum | Op::Round { .. }) {
            read[node.inputs[0].0].push(id);
        }
    }
    let nothing = Seen { low: f32::INFINITY, high: f32::NEG_INFINITY };
    // Sums and averages of hidden scores are as good as hidden.
    let is_hidden = |x: f32| x < HIDDEN / 1e6;
    let run = |sample: &'s Vec<f32>| {
        let mut seen = vec![nothing; graph.nodes.len()];
        let mut hidden = None;
        eval::visit(far, sample, |id, values| {
            let pool = matches!(far.node(id).op, Op::MaxPool(_));
            if pool && hidden.is_none() && values.iter().any(|x| is_hidden(*x)) {
                hidden = Some((sample, id));
            }
            for user in &read[id.0] {
                let real = values.iter().filter(|x| x.is_finite() && !is_hidden(**x));
                let range = real.fold(nothing, |all, x| Seen { low: all.low.min(*x), high: all.high.max(*x) });
                seen[user.0] = range;
            }
        });
        (seen, hidden)
    };
    let each: Vec<_> = samples.par_iter().map(run).collect();
    let join = |mut all: Vec<Seen>, one: &Vec<Seen>| {
        for (all, one) in all.iter_mut().zip(one) {
            *all = Seen { low: all.low.min(one.low), high: all.high.max(one.high) };
        }
        all
    };
    let seen = each.iter().map(|(seen, _)| seen).fold(vec![nothing; graph.nodes.len()], join);
    // What was never seen has no range.
    let ranged = |seen: Seen| if seen.low > seen.high { Seen { low: 0.0, high: 0.0 } } else { seen };
    (seen.into_iter().map(ranged).collect(), each.iter().filter_map(|(_, hidden)| *hidden).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::compose;

    /// Scores `x + mask`, their softmax, times 10.
    fn attention(mask: &[f32]) -> Graph {
        let n = mask.len();
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [n]);
        let scores = b.affine(x, Affine { shape: vec![n], scale: vec![1.0; n], shift: mask.to_vec() });
        let y = b.push(Op::Softmax { axis: 0, log: false }, vec![scores], [n]);
        let y = b.scale(10.0, y);
        b.graph.reachable(y)
    }

    fn settled(graph: Graph, sample: &[f32]) -> Graph {
        let graph = compose::compose(&mark(graph).unwrap()).unwrap();
        assert!(unsettled(&graph));
        settle(&graph, &[sample.to_vec()]).unwrap().0
    }

    #[test]
    fn masks_of_every_depth_are_alike_and_near() {
        let x = [3.0, -1.0, 2.5, 7.0];
        let sum: f32 = [3.0f32, 2.5].iter().map(|x| x.exp()).sum();
        let expected = [3f32.exp() / sum * 10.0, 0.0, 2.5f32.exp() / sum * 10.0, 0.0];
        for depth in [-1e4, -1e9, f32::MIN, f32::NEG_INFINITY] {
            let graph = settled(attention(&[0.0, depth, 0.0, depth]), &x);
            assert!(!unsettled(&graph));
            let values = eval::run(&graph, &x);
            let lowest = values.iter().flatten().fold(0f32, |low, x| low.min(*x));
            assert!(lowest > -60.0, "{lowest}");
            let found = values.last().unwrap();
            found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{depth}: {a} {b}"));
        }
    }

    #[test]
    fn a_number_that_something_else_reads_is_no_mask() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [2]);
        let y = b.affine(x, Affine { shape: vec![2], scale: vec![1.0; 2], shift: vec![0.0, -1e5] });
        let graph = b.graph.clone().reachable(y);
        assert!(!unsettled(&mark(graph).unwrap()));
        let z = b.affine(x, Affine { shape: vec![2], scale: vec![1.0; 2], shift: vec![0.0, f32::NEG_INFINITY] });
        let refused = mark(b.graph.reachable(z)).unwrap_err();
        assert!(refused[0].why.contains("infinite"), "{}", refused[0].why);
    }

    #[test]
    fn a_mask_that_hides_everything_is_refused() {
        let graph = attention(&[0.0, -1e9]);
        let mut b = Builder { graph, node: "again".into() };
        let x = NodeId(0);
        let all = b.push(Op::Mask(Affine { shape: vec![2], scale: vec![1.0; 2], shift: vec![-1e9; 2] }), vec![x], [2]);
        let y = b.push(Op::Softmax { axis: 0, log: false }, vec![all], [2]);
        let graph = compose::compose(&b.graph.reachable(y)).unwrap();
        let refused = settle(&graph, &[vec![0.5, 1.0]]).unwrap_err();
        assert!(refused.node == "again" && refused.why.contains("all masked"));
    }

    /// Attention of padding, which nothing reads, and the same of a row that is read.
    #[test]
    fn a_row_that_is_masked_entirely_may_be_one_that_nothing_feels() {
        let rows = |weights: [f32; 2]| {
            let mut b = Builder { node: "rows".into(), ..Builder::default() };
            let x = b.push(Op::Input, vec![], [2, 2]);
            let hides = b.pointwise(Expr::binary(Binary::Less, Expr::X, Expr::Const(-9.0)), x);
            let low = b.pointwise(Expr::Const(f64::from(f32::MIN)), hides);
            let scores = b.zip(Op::Select, &[hides, low, x]);
            let y = b.push(Op::Softmax { axis: 1, log: false }, vec![scores], [2, 2]);
            let [one, other] = weights;
            let y = b.affine(
                y,
                Affine { shape: vec![2, 2], scale: vec![one, -one, other, other / 2.0], shift: vec![0.0; 4] },
            );
            let graph = compose::compose(&mark(b.graph.reachable(y)).unwrap()).unwrap();
            settle(&graph, &[vec![1.0, 2.0, -10.0, -12.0], vec![-10.0, 3.0, 0.5, 0.5]])
        };
        let (graph, samples) = rows([1.0, 0.0]).unwrap();
        assert_eq!(samples, 1);
        let found = eval::run(&graph, &[1.0, 2.0, -10.0, -12.0]).pop().unwrap();
        assert!((found[0] - 1.0 / (1.0 + 1f32.exp())).abs() < 1e-4, "{found:?}");
        assert!(rows([1.0, 1.0]).unwrap_err().why.contains("all masked"));
    }

    #[test]
    fn a_choice_by_the_sample_masks_too() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [3]);
        let condition = b.pointwise(Expr::binary(Binary::Less, Expr::X, Expr::Const(0.0)), x);
        let low = b.pointwise(Expr::Const(f64::NEG_INFINITY), condition);
        let scores = b.zip(Op::Select, &[condition, low, x]);
        let y = b.push(Op::Softmax { axis: 0, log: false }, vec![scores], [3]);
        let graph = settled(b.graph.reachable(y), &[-0.5, 1.0, 1.0]);
        for (sample, expected) in [([-0.5, 1.0, 1.0], [0.0, 0.5, 0.5]), ([2.0, -3.0, 2.0], [0.5, 0.0, 0.5])] {
            let found = eval::run(&graph, &sample).pop().unwrap();
            found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{found:?}"));
        }
    }

    #[test]
    fn a_mask_that_is_computed_is_near_too() {
        for depth in [-1e4, f32::MIN] {
            let mut b = Builder::default();
            let x = b.push(Op::Input, vec![], [3]);
            let hidden = b.pointwise(Expr::binary(Binary::Less, Expr::X, Expr::Const(0.0)), x);
            let mask = b.scale(depth, hidden);
            let scores = b.add(mask, x);
            let y = b.push(Op::Softmax { axis: 0, log: false }, vec![scores], [3]);
            let graph = settled(b.graph.reachable(y), &[-0.5, 1.0, 1.0]);
            let values = eval::run(&graph, &[1.0, -3.0, 1.0]);
            let found = values.last().unwrap();
            found.iter().zip([0.5, 0.0, 0.5]).for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{found:?}"));
            let graph = compose::chained(graph);
            let low = eval::run(&graph, &[1.0, -3.0, 1.0]).into_iter().flatten().fold(0f32, f32::min);
            assert!(low > -60.0, "{low}");
        }
    }

    #[test]
    fn padding_in_front_of_a_max_pool_is_the_pools() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [1, 2, 2]);
        let wide = b.pad(x, &[0, 1, 1], &[0, 1, 1]);
        let inside = |at: usize| [5, 6, 9, 10].contains(&at);
        let shift = (0..16).map(|at| if inside(at) { 0.0 } else { -65504.0 }).collect();
        let framed = b.affine(wide, Affine { shape: vec![1, 4, 4], scale: vec![1.0; 16], shift });
        let window = Window { kernel: [2, 2], strides: [2, 2], pads: [0; 4] };
        let y = b.push(Op::MaxPool(window), vec![framed], [1, 2, 2]);
        let graph = mark(b.graph.reachable(y)).unwrap();
        let ops: Vec<_> = graph.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["input", "max_pool"]);
        assert_eq!(eval::run(&graph, &[-1.0, -2.0, -3.0, -4.0]).pop().unwrap(), [-1.0, -2.0, -3.0, -4.0]);
    }

    #[test]
    fn coarse_roundings_stay_and_fine_ones_go() {
        for (step, kept) in [(1.0, true), (0.01, false)] {
            let mut b = Builder::default();
            let x = b.push(Op::Input, vec![], [2]);
            let y = b.unary(Op::Round { step }, x);
            let (graph, _) = settle(&b.graph.reachable(y), &[vec![-2.4, 3.3]]).unwrap();
            let found = eval::run(&graph, &[1.4, 0.5]).pop().unwrap();
            assert_eq!(found, if kept { [1.0, 0.0] } else { [1.4, 0.5] });
        }
    }
}
