//! Rising functions behind max-pools: the maximum of `f(x)` is `f` of the maximum, and there are
//! fewer elements after the pool. It also holds where several branches are joined in between. And
//! at the end, where only the order of the scores matters.

use super::build::Builder;
use super::expr::{Binary, Expr};
use super::{Graph, NodeId, Op};

/// The same network with every ReLU and every limit from above behind the max-pool that alone reads
/// it.
pub fn commute(graph: Graph) -> Graph {
    let users = graph.users();
    let mut builder = Builder { graph: Graph { name: graph.name.clone(), nodes: Vec::new() }, node: String::new() };
    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| renamed[input.0]).collect();
        builder.node.clone_from(&node.name);
        renamed.push(match &node.op {
            Op::MaxPool(_) => pooled(&mut builder, &graph, &users, node, node.inputs[0], &renamed),
            op => builder.push(op.clone(), inputs, node.shape.clone()),
        });
    }
    match renamed.last() {
        Some(output) => builder.graph.reachable(*output),
        None => graph,
    }
}

/// The same network without what only stretches its scores at the end, each as the others: their
/// order stays.
pub fn without_stretching(mut graph: Graph) -> Graph {
    let Some(last) = graph.nodes.len().checked_sub(1).map(NodeId) else { return graph };
    let (mut at, mut scores) = (last, last);
    loop {
        let node = graph.node(at);
        match &node.op {
            Op::Reshape => at = node.inputs[0],
            Op::Pointwise(f) if f.is_rising() => (at, scores) = (node.inputs[0], node.inputs[0]),
            Op::Scale(factor) if *factor > 0.0 => (at, scores) = (node.inputs[0], node.inputs[0]),
            _ => break,
        }
    }
    let (shape, name) = (graph.node(last).shape.clone(), graph.node(scores).name.clone());
    let output =
        if graph.node(scores).shape == shape { scores } else { graph.push(Op::Reshape, vec![scores], shape, name) };
    graph.reachable(output)
}

/// The pool `pool` of `x`, a node of `graph`.
fn pooled(
    builder: &mut Builder,
    graph: &Graph,
    users: &[Vec<NodeId>],
    pool: &super::Node,
    x: NodeId,
    renamed: &[NodeId],
) -> NodeId {
    let node = graph.node(x);
    let sole = |id: NodeId| users[id.0].len() == 1;
    let rises = |id: NodeId| sole(id) && rising(&graph.node(id).op);
    let shape = |channels: usize| vec![channels, pool.shape[1], pool.shape[2]];
    match &node.op {
        op if rises(x) => {
            let y = pooled(builder, graph, users, pool, node.inputs[0], renamed);
            builder.node.clone_from(&node.name);
            builder.push(op.clone(), vec![y], shape(node.shape[0]))
        }
        Op::Concat { axis: 0 } if sole(x) && node.inputs.iter().all(|part| rises(*part)) => {
            let mut parts = Vec::new();
            for part in &node.inputs {
                builder.node.clone_from(&pool.name);
                parts.push(pooled(builder, graph, users, pool, *part, renamed));
            }
            builder.node.clone_from(&node.name);
            builder.push(Op::Concat { axis: 0 }, parts, shape(node.shape[0]))
        }
        _ => {
            builder.node.clone_from(&pool.name);
            builder.push(pool.op.clone(), vec![renamed[x.0]], shape(node.shape[0]))
        }
    }
}

fn rising(op: &Op) -> bool {
    match op {
        Op::Relu => true,
        Op::Pointwise(Expr::Binary(Binary::Min, a, b)) => matches!((&**a, &**b), (Expr::X, Expr::Const(_))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use fusion_ir::op::Window;

    use super::*;
    use crate::nn::eval;
    use crate::nn::expr::Unary;

    #[test]
    fn clips_go_behind_pools_through_joins() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [2, 4, 4]);
        let scaled = b.scale(-1.0, x);
        let parts = [x, scaled].map(|x| {
            let r = b.relu(x);
            b.pointwise(Expr::binary(Binary::Min, Expr::X, Expr::Const(3.0)), r)
        });
        let joined = b.concat(&parts, 0);
        let window = Window { kernel: [2, 2], strides: [2, 2], pads: [0; 4] };
        let y = b.push(Op::MaxPool(window), vec![joined], [4, 2, 2]);
        let before = b.graph.reachable(y);
        let after = commute(before.clone());
        let ops: Vec<_> = after.nodes.iter().map(|node| node.op.name()).collect();
        let branch = ["max_pool", "relu", "pointwise"];
        assert_eq!(ops, [&["input", "scale"], &branch[..], &branch, &["concat"]].concat());
        let x: Vec<f32> = (0..32).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
        assert_eq!(eval::run(&before, &x).last(), eval::run(&after, &x).last());
    }

    #[test]
    fn scores_end_before_what_keeps_their_order() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [1, 3]);
        let r = b.relu(x);
        let half = b.scale(0.5, r);
        let s = b.pointwise(Expr::unary(Unary::Sigmoid, Expr::X), half);
        let flat = b.reshape(s, &[3]);
        let graph = without_stretching(b.graph.clone().reachable(flat));
        let ops: Vec<_> = graph.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!((ops, &graph.nodes[2].shape), (vec!["input", "relu", "reshape"], &vec![3]));
        // A clip makes scores equal, and a falling function turns their order round.
        for f in [Expr::binary(Binary::Min, Expr::X, Expr::Const(3.0)), Expr::unary(Unary::Reciprocal, Expr::X)] {
            let y = b.pointwise(f, x);
            let graph = b.graph.clone().reachable(y);
            assert_eq!(without_stretching(graph.clone()), graph);
        }
    }

    #[test]
    fn what_others_read_stays() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [1, 2, 2]);
        let r = b.relu(x);
        let window = Window { kernel: [2, 2], strides: [1, 1], pads: [0; 4] };
        let y = b.push(Op::MaxPool(window), vec![r], [1, 1, 1]);
        let sum = b.push(Op::SumPool(Window { kernel: [2, 2], strides: [1, 1], pads: [0; 4] }), vec![r], [1, 1, 1]);
        let y = b.add(y, sum);
        let graph = b.graph.reachable(y);
        assert_eq!(commute(graph.clone()), graph);
    }
}
