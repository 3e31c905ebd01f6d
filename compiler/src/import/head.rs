//! The end of the network: from the model's output to a score for each class, a vector. What keeps
//! the order of the scores is left out, since the label is taken inside the protocol anyway.

use crate::Unsupported;
use crate::nn::build::Builder;
use crate::nn::expr::{Binary, Expr, Unary};
use crate::nn::{Affine, Graph, Node, NodeId, Op};
use crate::setting::Setting;

/// Ends the graph at its numbers as they are. Of an output of several rows, `row` says which one.
///
/// # Errors
/// The node whose output is a label, or has no such row.
pub(super) fn values(graph: Graph, output: NodeId, row: Option<usize>) -> Result<Graph, Unsupported> {
    let node = graph.node(output).clone();
    let refuse = |why: String| Unsupported { node: node.name.clone(), op: node.op.name().into(), why };
    let mut builder = Builder { node: node.name.clone(), graph };
    let output = match row {
        Some(row) => chosen(&mut builder, output, row).map_err(refuse)?,
        None => output,
    };
    let n = builder.graph.node(output).len();
    let output = builder.reshape(output, &[n]);
    without_labels(builder.graph.reachable(output))
}

/// Ends the graph at its scores. Of an output of several rows, `row` says which one has them.
///
/// # Errors
/// The node whose output gives no one label.
pub(super) fn scores(graph: Graph, output: NodeId, row: Option<usize>) -> Result<Graph, Unsupported> {
    let node = graph.node(output).clone();
    let refuse = |why: String| Unsupported { node: node.name.clone(), op: node.op.name().into(), why };
    let mut builder = Builder { node: node.name.clone(), graph };
    let output = match row {
        Some(row) => chosen(&mut builder, output, row).map_err(refuse)?,
        None => output,
    };
    let shape = builder.shape(output).to_vec();
    if shape.iter().filter(|extent| **extent != 1).count() > 1 {
        return Err(refuse(format!(
            "its shape {shape:?} is several rows of scores, and one label is given: choose a row with {}, or another output with {}",
            Setting::Row,
            Setting::Output
        )));
    }
    let scores = if builder.graph.node(output).len() == 1 && !is_label(&builder.graph, output) {
        two_classes(&mut builder, output).map_err(refuse)?
    } else {
        ordered(&builder.graph, output)
    };
    let n = builder.graph.node(scores).len();
    if n < 2 {
        return Err(refuse("it has one class".into()));
    }
    let scores = builder.reshape(scores, &[n]);
    without_labels(builder.graph.reachable(scores))
}

/// Why labels have no values.
const WITHIN: &str = "it makes labels of scores, which is supported at the output of a classifier only: of one no \
                      values are revealed, but a label, several, or logits";

/// A graph of scores or values: labels are taken inside the protocol.
fn without_labels(graph: Graph) -> Result<Graph, Unsupported> {
    match graph.nodes.iter().find(|node| node.op == Op::ArgMax) {
        Some(node) => {
            let (node, op) = (node.name.clone(), "ArgMax".into());
            Err(Unsupported { node, op, why: WITHIN.into() })
        }
        None => Ok(graph),
    }
}

/// Row `row` of what is a matrix but for its axes: its last axis has the scores. A softmax of each
/// row does not matter.
fn chosen(builder: &mut Builder, output: NodeId, row: usize) -> Result<NodeId, String> {
    let shape = builder.shape(output).to_vec();
    let last = shape.len() - 1;
    let x = match builder.graph.node(output) {
        Node { op: Op::Softmax { axis, .. }, inputs, .. } if *axis == last => inputs[0],
        _ => output,
    };
    let (rows, n) = (shape[..last].iter().product::<usize>(), shape[last]);
    if row >= rows {
        return Err(format!("{} {row} of {rows} rows; its shape is {shape:?}", Setting::Row));
    }
    let matrix = builder.reshape(x, &[rows, n]);
    let part = builder.slice(matrix, &[row, 0], &[1, n]);
    Ok(builder.reshape(part, &[n]))
}

/// What has its scores in the same order as `x`, as far up as possible.
fn ordered(graph: &Graph, x: NodeId) -> NodeId {
    let (mut found, mut at, mut only_order) = (x, x, false);
    loop {
        let node = graph.node(at);
        let keeps = match &node.op {
            Op::ArgMax => {
                only_order = true;
                true
            }
            // What only stretches all scores alike, where they are only compared.
            Op::Mul if only_order => {
                let factor = node.inputs[1];
                graph.node(factor).len() == 1 && sign(graph, factor, MOST_LOOKED_AT) == Sign::Positive
            }
            Op::Pointwise(f) if only_order && f.is_rising() => true,
            Op::Scale(factor) if only_order => *factor > 0.0,
            Op::Affine(affine) if only_order => affine.uniform().is_some_and(|(scale, _)| scale > 0.0),
            // Over all scores: their order is the operand's.
            Op::Softmax { axis, .. } => node.shape[*axis] == node.len(),
            Op::Pointwise(Expr::Unary(Unary::Sigmoid, inner)) => **inner == Expr::X,
            Op::Reshape => false,
            _ => return found,
        };
        if !keeps && node.op != Op::Reshape {
            return found;
        }
        at = node.inputs[0];
        if keeps {
            found = at;
        }
    }
}

/// What is known of all elements of a value.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Sign {
    Any,
    NotNegative,
    Positive,
}

/// Most nodes that a sign is looked for in, one after the other.
const MOST_LOOKED_AT: usize = 16;

/// The sign of `x`, as far as `most` nodes up show it.
fn sign(graph: &Graph, x: NodeId, most: usize) -> Sign {
    let node = graph.node(x);
    let of = |at: usize| sign(graph, node.inputs[at], most - 1);
    let least = |a: Sign, b: Sign| if a < b { a } else { b };
    match &node.op {
        _ if most == 0 => Sign::Any,
        Op::Pointwise(Expr::Unary(Unary::Exp | Unary::Sigmoid, _)) => Sign::Positive,
        Op::Pointwise(Expr::Unary(Unary::Reciprocal, inner)) if **inner == Expr::X && of(0) == Sign::Positive => {
            Sign::Positive
        }
        op if decides(op) => Sign::NotNegative,
        Op::Relu => Sign::NotNegative,
        Op::Reshape | Op::SumPool(_) => of(0),
        Op::Scale(factor) if *factor > 0.0 => of(0),
        Op::Add => match (of(0), of(1)) {
            (Sign::Any, _) | (_, Sign::Any) => Sign::Any,
            (a, b) if a == Sign::Positive || b == Sign::Positive => Sign::Positive,
            (a, b) => least(a, b),
        },
        _ => Sign::Any,
    }
}

/// Whether `x` is an ArgMax, under whatever shape.
fn is_label(graph: &Graph, x: NodeId) -> bool {
    let node = graph.node(x);
    match node.op {
        Op::ArgMax => true,
        Op::Reshape => is_label(graph, node.inputs[0]),
        _ => false,
    }
}

/// The scores of two classes from one output: of class 1 the probability or the decision, of class
/// 0 what is left.
fn two_classes(builder: &mut Builder, x: NodeId) -> Result<NodeId, String> {
    let mut at = x;
    while builder.graph.node(at).op == Op::Reshape {
        at = builder.graph.node(at).inputs[0];
    }
    let node = builder.graph.node(at);
    let pair = |builder: &mut Builder, zero: NodeId, one: NodeId| {
        let [zero, one] = [zero, one].map(|score| builder.reshape(score, &[1]));
        builder.concat(&[zero, one], 0)
    };
    match &node.op {
        // sigmoid(z) is the second softmax of (-z/2, z/2)
        Op::Pointwise(Expr::Unary(Unary::Sigmoid, inner)) if **inner == Expr::X => {
            let z = node.inputs[0];
            let (zero, one) = (builder.scale(-0.5, z), builder.scale(0.5, z));
            Ok(pair(builder, zero, one))
        }
        op if decides(op) => {
            let shape = vec![1; builder.shape(at).len()];
            let not = builder.affine(at, Affine { shape, scale: vec![-1.0], shift: vec![1.0] });
            Ok(pair(builder, not, at))
        }
        _ => Err(format!(
            "one output, and nothing says which values of it mean what: a classifier has a score for each class, \
                or ends with a Sigmoid or a comparison; a regressor has {} value",
            Setting::Reveal
        )),
    }
}

/// Whether an operation gives 0 or 1.
fn decides(op: &Op) -> bool {
    let truth = |op: &Binary| {
        use Binary::{And, Greater, GreaterOrEqual, Less, LessOrEqual, Or};
        matches!(op, Less | LessOrEqual | Greater | GreaterOrEqual | And | Or)
    };
    match op {
        Op::Pointwise(Expr::Unary(Unary::Not, _)) => true,
        Op::Pointwise(Expr::Binary(op, ..)) | Op::Binary(op) => truth(op),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::eval;

    fn start(shape: &[usize]) -> (Builder, NodeId) {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], shape);
        (b, x)
    }

    #[test]
    fn a_softmax_is_left_out_only_if_it_is_over_all_scores() {
        for (shape, axis, kept) in [([1, 6], 1, false), ([2, 3], 1, true), ([2, 3], 0, true)] {
            let (mut b, x) = start(&shape);
            let y = b.push(Op::Softmax { axis, log: false }, vec![x], shape);
            let y = b.reshape(y, &[1, 6]);
            let graph = scores(b.graph, y, None).unwrap();
            let found = graph.nodes.iter().any(|node| matches!(node.op, Op::Softmax { .. }));
            assert_eq!(found, kept, "{shape:?} {axis}");
        }
    }

    #[test]
    fn a_sigmoid_of_all_scores_is_left_out() {
        let (mut b, x) = start(&[1, 3]);
        let y = b.pointwise(Expr::unary(Unary::Sigmoid, Expr::X), x);
        let graph = scores(b.graph, y, None).unwrap();
        assert_eq!(eval::run(&graph, &[1.0, 9.0, 8.9]).pop().unwrap(), [1.0, 9.0, 8.9]);
    }

    /// As boosting is exported: exponentials over their sum, which is made 1 where it is 0.
    #[test]
    fn what_stretches_all_scores_alike_is_left_out_of_a_label() {
        for positive in [true, false] {
            let (mut b, x) = start(&[1, 3]);
            let f = if positive { Unary::Exp } else { Unary::Sinh };
            let e = b.pointwise(Expr::unary(f, Expr::X), x);
            let image = b.reshape(e, &[1, 1, 3]);
            let window = fusion_ir::op::Window { kernel: [1, 3], strides: [1, 1], pads: [0; 4] };
            let sum = b.push(Op::SumPool(window), vec![image], [1, 1, 1]);
            let sum = b.reshape(sum, &[1, 1]);
            let is_zero = b.pointwise(Expr::unary(Unary::Not, Expr::unary(Unary::Trunc, Expr::X)), sum);
            let sum = b.add(sum, is_zero);
            let inverse = b.reciprocal(sum);
            let y = b.mul(e, inverse).unwrap();
            let label = b.push(Op::ArgMax, vec![y], [1]);
            let graph = scores(b.graph, label, None).unwrap();
            // A sum of what may be negative turns the order round.
            assert_eq!(graph.nodes.len() == 2, positive, "{graph}");
            let found = eval::run(&graph, &[-3.0, 1.0, 0.5]).pop().unwrap();
            assert_eq!(eval::argmax(&found), if positive { 1 } else { 0 });
        }
    }

    #[test]
    fn several_rows_need_a_choice() {
        let (mut b, x) = start(&[2, 3]);
        let y = b.push(Op::Softmax { axis: 1, log: false }, vec![x], [2, 3]);
        let refused = scores(b.graph.clone(), y, None).unwrap_err();
        assert!(refused.why.contains("`part.row`") && refused.why.contains("`part.output`"), "{}", refused.why);
        assert!(scores(b.graph.clone(), y, Some(2)).unwrap_err().why.contains("2 rows"));
        let graph = scores(b.graph, y, Some(1)).unwrap();
        assert_eq!(eval::run(&graph, &[1.0, 2.0, 3.0, 4.0, 6.0, 5.0]).pop().unwrap(), [4.0, 6.0, 5.0]);
    }

    #[test]
    fn one_probability_is_two_classes() {
        let (mut b, x) = start(&[1]);
        let y = b.pointwise(Expr::unary(Unary::Sigmoid, Expr::X), x);
        let graph = scores(b.graph, y, None).unwrap();
        for z in [-2.0f32, -0.1, 0.0, 0.1, 3.0] {
            let found = eval::run(&graph, &[z]).pop().unwrap();
            assert_eq!(eval::argmax(&found), usize::from((-z).exp().recip() > 1.0), "{z}");
            assert!((found[1] - found[0] - z).abs() < 1e-6);
        }
    }

    #[test]
    fn one_decision_is_two_classes_and_a_plain_number_is_none() {
        let (mut b, x) = start(&[1]);
        assert!(scores(b.graph.clone(), x, None).unwrap_err().why.contains("Sigmoid"));
        let y = b.pointwise(Expr::binary(Binary::GreaterOrEqual, Expr::X, Expr::Const(0.5)), x);
        let graph = scores(b.graph, y, None).unwrap();
        let label = |z: f32| eval::argmax(&eval::run(&graph, &[z]).pop().unwrap());
        assert_eq!([0.4, 0.5, 0.6].map(label), [0, 1, 1]);
    }
}
