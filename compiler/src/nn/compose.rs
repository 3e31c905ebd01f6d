//! Pointwise functions joined: operations between several functions of one tensor become one
//! function of it, and those that have no counterpart in the IR are written in terms of others.

use super::build::Builder;
use super::expr::{Binary, Expr, Unary};
use super::softmax;
use super::{Graph, NodeId, Op};
use crate::Unsupported;

/// Most steps that become one function.
const MOST_STEPS: usize = 64;

/// The same network without [`Op::Binary`], [`Op::Select`] and [`Op::Softmax`].
///
/// # Errors
/// Every node that remains.
pub fn compose(graph: &Graph) -> Result<Graph, Vec<Unsupported>> {
    let mut builder = Builder { graph: Graph { name: graph.name.clone(), nodes: Vec::new() }, node: String::new() };
    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    let mut refused = Vec::new();
    for node in &graph.nodes {
        builder.node.clone_from(&node.name);
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| renamed[input.0]).collect();
        let made = match &node.op {
            Op::Softmax { axis, log } => softmax::expand(&mut builder, inputs[0], *axis, *log),
            op => joined(&mut builder, op, &inputs).map_or_else(|| replaced(&mut builder, node, &inputs), Ok),
        };
        renamed.push(made.unwrap_or_else(|why| {
            refused.push(Unsupported { node: node.name.clone(), op: node.op.name().into(), why });
            builder.push(Op::Input, vec![], node.shape.clone())
        }));
    }
    match (refused.is_empty(), renamed.last()) {
        (true, Some(output)) => Ok(chained(builder.graph.reachable(*output))),
        _ => Err(refused),
    }
}

/// Functions of functions that nothing else reads become one.
pub fn chained(mut graph: Graph) -> Graph {
    let users = graph.users();
    let sole = |id: NodeId| users[id.0].len() == 1;
    for id in (0..graph.nodes.len()).map(NodeId) {
        if !matches!(graph.node(id).op, Op::Pointwise(_)) {
            continue;
        }
        let steps = chain(&graph, id);
        // Of what it reads, what nothing else reads may disappear; that is worth it up to the
        // furthest table.
        let below = steps[1..].iter().take_while(|(id, _)| sole(*id)).count();
        let table = |at: &usize| matches!(graph.node(steps[*at].0).op, Op::Pointwise(_));
        let Some(furthest) = (1..=below).rev().find(table) else { continue };
        let (source, f) = steps[furthest + 1].clone();
        graph.nodes[id.0].op = Op::Pointwise(f);
        graph.nodes[id.0].inputs = vec![source];
    }
    let last = NodeId(graph.nodes.len() - 1);
    graph.reachable(last)
}

/// One function of the nearest tensor that all of `inputs` are functions of, if that saves a
/// non-linear operation.
fn joined(builder: &mut Builder, op: &Op, inputs: &[NodeId]) -> Option<NodeId> {
    let shape = builder.shape(*inputs.first()?).to_vec();
    let several = matches!(op, Op::Add | Op::Mul | Op::Binary(_) | Op::Select);
    if !several || inputs.iter().any(|input| builder.shape(*input) != shape) {
        return None;
    }
    let chains: Vec<Vec<(NodeId, Expr)>> = inputs.iter().map(|input| chain(&builder.graph, *input)).collect();
    let known = |id: &NodeId, chain: &[(NodeId, Expr)]| chain.iter().find(|(at, _)| at == id).map(|(_, f)| f.clone());
    let source =
        chains[0].iter().map(|(id, _)| *id).filter(|id| chains.iter().all(|c| known(id, c).is_some())).max()?;
    let functions: Vec<Expr> = chains.iter().filter_map(|chain| known(&source, chain)).collect();
    let linear = functions.iter().all(|f| f.affine().is_some());
    let two = |op: Binary| Expr::binary(op, functions[0].clone(), functions[1].clone());
    let joined = match op {
        Op::Add | Op::Mul if linear => return None,
        Op::Add => two(Binary::Add),
        Op::Mul => two(Binary::Mul),
        Op::Binary(op) => two(*op),
        _ => Expr::select(truth(&functions[0]), functions[1].clone(), functions[2].clone()),
    };
    Some(builder.pointwise(joined, source))
}

fn is_truth(op: Binary) -> bool {
    use Binary::{And, Greater, GreaterOrEqual, Less, LessOrEqual, Or};
    matches!(op, And | Greater | GreaterOrEqual | Less | LessOrEqual | Or)
}

/// A condition as an expression that shows where it changes; its values are 0 and 1, or near them.
fn truth(condition: &Expr) -> Expr {
    match condition {
        Expr::Unary(Unary::Not, _) | Expr::Const(_) => condition.clone(),
        Expr::Binary(op, ..) if is_truth(*op) => condition.clone(),
        _ => Expr::binary(Binary::Greater, condition.clone(), Expr::Const(0.5)),
    }
}

/// `id` as a function of itself, of what it reads, and so on as long as that is pointwise, up to
/// [`MOST_STEPS`].
fn chain(graph: &Graph, mut id: NodeId) -> Vec<(NodeId, Expr)> {
    let mut chain = vec![(id, Expr::X)];
    while chain.len() <= MOST_STEPS {
        let node = graph.node(id);
        let step = match &node.op {
            Op::Relu => Expr::binary(Binary::Max, Expr::X, Expr::Const(0.0)),
            Op::Pointwise(f) => f.clone(),
            Op::Scale(factor) => Expr::binary(Binary::Mul, Expr::X, Expr::Const(f64::from(*factor))),
            Op::Affine(affine) if affine.uniform().is_some() => {
                let (scale, shift) = affine.uniform().unwrap_or_default();
                let scaled = Expr::binary(Binary::Mul, Expr::X, Expr::Const(f64::from(scale)));
                Expr::binary(Binary::Add, scaled, Expr::Const(f64::from(shift)))
            }
            _ => return chain,
        };
        id = node.inputs[0];
        let (_, last) = &chain[chain.len() - 1];
        chain.push((id, last.of(&step)));
    }
    chain
}

fn replaced(builder: &mut Builder, node: &super::Node, inputs: &[NodeId]) -> Result<NodeId, String> {
    match (&node.op, inputs) {
        (Op::Binary(op), &[a, b]) => two(builder, *op, a, b),
        // b + condition (a - b)
        (Op::Select, &[condition, a, b]) => {
            let difference = builder.sub(a, b);
            let chosen = builder.mul(difference, condition)?;
            Ok(builder.add(b, chosen))
        }
        (Op::Reshape, &[x]) => Ok(builder.reshape(x, &node.shape)),
        (Op::Transpose { perm }, &[x]) => Ok(builder.transpose(x, perm)),
        (Op::Relu | Op::Pointwise(_) | Op::Scale(_) | Op::Affine(_) | Op::Mask(_) | Op::Round { .. }, &[x]) => {
            Ok(builder.unary(node.op.clone(), x))
        }
        (Op::Add | Op::MaskBy { .. } | Op::MaskSum, _) => Ok(builder.zip(node.op.clone(), inputs)),
        (Op::Concat { axis }, _) => Ok(builder.concat(inputs, *axis)),
        (op, _) => Ok(builder.push(op.clone(), inputs.to_vec(), node.shape.clone())),
    }
}

fn two(builder: &mut Builder, op: Binary, a: NodeId, b: NodeId) -> Result<NodeId, String> {
    match op {
        // max(a, b) = b + relu(a - b), min(a, b) = a - relu(a - b)
        Binary::Max | Binary::Min => {
            let difference = builder.sub(a, b);
            let positive = builder.relu(difference);
            Ok(if op == Binary::Max { builder.add(b, positive) } else { builder.sub(a, positive) })
        }
        Binary::Div => {
            let inverse = builder.pointwise(Expr::unary(Unary::Reciprocal, Expr::X), b);
            builder.mul(a, inverse)
        }
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            let difference = builder.sub(a, b);
            Ok(builder.pointwise(Expr::binary(op, Expr::X, Expr::Const(0.0)), difference))
        }
        Binary::And => builder.mul(a, b),
        Binary::Or => two(builder, Binary::Max, a, b),
        Binary::Pow => Err("a secret exponent".into()),
        Binary::Add | Binary::Sub | Binary::Mul => Err("left over".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::eval;

    #[test]
    fn a_gelu_of_many_nodes_is_one_function() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [4]);
        let scaled = b.scale(0.5f32.sqrt(), x);
        let erf = b.pointwise(Expr::unary(Unary::Erf, Expr::X), scaled);
        let plus = b.pointwise(Expr::binary(Binary::Add, Expr::X, Expr::Const(1.0)), erf);
        let product = b.mul(x, plus).unwrap();
        let y = b.scale(0.5, product);
        let before = b.graph.clone().reachable(y);
        let after = compose(&before).unwrap();
        let ops: Vec<_> = after.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["input", "pointwise", "scale"]);
        let samples = [-1.5, 0.0, 0.7, 3.0];
        let (one, other) = (eval::run(&before, &samples), eval::run(&after, &samples));
        one.last().unwrap().iter().zip(other.last().unwrap()).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
    }

    #[test]
    fn a_table_of_a_table_is_one_even_if_others_read_what_both_are_of() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [3]);
        let shared = b.scale(2.0, x);
        let inner = b.pointwise(Expr::unary(Unary::Exp, Expr::X), shared);
        let scaled = b.scale(-1.0, inner);
        let outer = b.pointwise(Expr::unary(Unary::Sigmoid, Expr::X), scaled);
        let y = b.concat(&[outer, shared], 0);
        let before = b.graph.clone().reachable(y);
        let after = compose(&before).unwrap();
        let ops: Vec<_> = after.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["input", "scale", "pointwise", "concat"]);
        let (one, other) = (eval::run(&before, &[-1.0, 0.0, 1.5]), eval::run(&after, &[-1.0, 0.0, 1.5]));
        one.last().unwrap().iter().zip(other.last().unwrap()).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
        // What something else reads stays.
        let y = b.concat(&[outer, inner], 0);
        let after = compose(&b.graph.clone().reachable(y)).unwrap();
        assert_eq!(after.nodes.iter().filter(|node| matches!(node.op, Op::Pointwise(_))).count(), 2);
    }

    #[test]
    fn operations_between_different_tensors_are_rewritten() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [6]);
        let (one, two) = (b.slice(x, &[0], &[3]), b.slice(x, &[3], &[3]));
        let max = b.binary(Binary::Max, one, two);
        let min = b.binary(Binary::Min, one, two);
        let less = b.binary(Binary::Less, one, two);
        let chosen = b.push(Op::Select, vec![less, max, min], [3]);
        let graph = compose(&b.graph.clone().reachable(chosen)).unwrap();
        assert!(graph.nodes.iter().all(|node| !matches!(node.op, Op::Binary(_) | Op::Select)));
        let y = eval::run(&graph, &[1.0, -2.0, 5.0, 3.0, -4.0, 5.0]).pop().unwrap();
        assert_eq!(y, [3.0, -4.0, 5.0]);
    }
}
