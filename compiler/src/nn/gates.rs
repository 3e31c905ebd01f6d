//! Products with a gate: `x g(x)` whose gate `g` is made of straight lines, such as a hard swish.
//! The product of `x` and the gate is exact and takes a comparison for each of the gate's few
//! kinks; a table of the whole curve is neither.

use super::expr::{Binary, Expr, Unary};
use super::{Graph, NodeId, Op};

/// The same network with every such function as a product.
pub fn split(graph: Graph) -> Graph {
    let mut result = Graph { name: graph.name.clone(), nodes: Vec::new() };
    let users: Vec<usize> = graph.users().iter().map(Vec::len).collect();
    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in graph.nodes {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| renamed[input.0]).collect();
        let gate = match &node.op {
            Op::Pointwise(f) => f.gate().filter(|gate| gate.is_piecewise_linear() && !f.is_piecewise_linear()),
            _ => None,
        };
        // A public factor behind such a product goes into its gate.
        if let Op::Scale(factor) = node.op
            && let Some(product) = scaled_gate(&mut result, inputs[0], factor, users[node.inputs[0].0])
        {
            renamed.push(product);
            continue;
        }
        renamed.push(match gate {
            Some(gate) => {
                let gate = result.push(Op::Pointwise(gate), inputs.clone(), node.shape.clone(), node.name.clone());
                result.push(Op::Mul, vec![inputs[0], gate], node.shape, node.name)
            }
            None => result.push(node.op, inputs, node.shape, node.name),
        });
    }
    result
}

/// The product `x`, of which there is one reader, with its gate times `factor`; `None` if it is no
/// product with a gate of its own.
fn scaled_gate(result: &mut Graph, x: NodeId, factor: f32, readers: usize) -> Option<NodeId> {
    let &[operand, gate] = result.node(x).inputs.as_slice() else { return None };
    // The gate was made for this product, right before it.
    let own = x.0 == gate.0 + 1 && result.node(gate).inputs == [operand] && result.node(x).op == Op::Mul;
    let Op::Pointwise(g) = &result.node(gate).op else { return None };
    if !own || readers != 1 {
        return None;
    }
    let scaled = Expr::binary(Binary::Mul, g.clone(), Expr::Const(f64::from(factor)));
    result.nodes[gate.0].op = Op::Pointwise(scaled);
    Some(x)
}

impl Expr {
    /// The `g` of `f(x) = x g(x)`, if the way `f` is written shows it.
    fn gate(&self) -> Option<Expr> {
        match self {
            Expr::X => Some(Expr::Const(1.0)),
            Expr::Unary(Unary::Neg, a) => Some(Expr::unary(Unary::Neg, a.gate()?)),
            Expr::Binary(Binary::Mul, a, b) => match (a.gate(), b.gate()) {
                (Some(gate), _) => Some(Expr::binary(Binary::Mul, gate, (**b).clone())),
                (None, Some(gate)) => Some(Expr::binary(Binary::Mul, (**a).clone(), gate)),
                (None, None) => None,
            },
            Expr::Binary(Binary::Div, a, b) => Some(Expr::binary(Binary::Div, a.gate()?, (**b).clone())),
            Expr::Binary(op @ (Binary::Add | Binary::Sub), a, b) => Some(Expr::binary(*op, a.gate()?, b.gate()?)),
            _ => None,
        }
    }

    /// Whether it is made of straight lines, as it is written.
    fn is_piecewise_linear(&self) -> bool {
        let constant = |e: &Expr| matches!(e.affine(), Some((0.0, _)));
        match self {
            Expr::X | Expr::Const(_) => true,
            Expr::Unary(Unary::Abs | Unary::Neg | Unary::Sign | Unary::Not, a) => a.is_piecewise_linear(),
            Expr::Unary(..) => constant(self),
            Expr::Binary(Binary::Mul, a, b) => {
                (constant(a) || constant(b)) && a.is_piecewise_linear() && b.is_piecewise_linear()
            }
            Expr::Binary(Binary::Div, a, b) => constant(b) && a.is_piecewise_linear(),
            Expr::Binary(Binary::Pow, ..) => constant(self),
            Expr::Binary(_, a, b) => a.is_piecewise_linear() && b.is_piecewise_linear(),
            Expr::Select(condition, a, b) => [condition, a, b].iter().all(|e| e.is_piecewise_linear()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Builder;
    use super::*;
    use crate::nn::eval;

    fn clip(e: Expr, high: f64) -> Expr {
        Expr::binary(Binary::Min, Expr::binary(Binary::Max, e, Expr::Const(0.0)), Expr::Const(high))
    }

    fn plus(e: Expr, c: f64) -> Expr {
        Expr::binary(Binary::Add, e, Expr::Const(c))
    }

    fn ops(f: Expr) -> Vec<&'static str> {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [4]);
        let y = b.pointwise(f, x);
        let before = b.graph.reachable(y);
        let after = split(before.clone());
        let samples = [-4.0, -1.25, 0.5, 7.0];
        let (one, other) = (eval::run(&before, &samples), eval::run(&after, &samples));
        one.last().unwrap().iter().zip(other.last().unwrap()).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
        after.nodes.iter().map(|node| node.op.name()).collect()
    }

    #[test]
    fn a_hard_swish_is_a_product_however_it_is_written() {
        let product = ["input", "pointwise", "mul"];
        let sixth = || Expr::Const(1.0 / 6.0);
        let shifted = || clip(plus(Expr::X, 3.0), 6.0);
        assert_eq!(ops(Expr::binary(Binary::Mul, Expr::X, Expr::binary(Binary::Mul, shifted(), sixth()))), product);
        let whole = Expr::binary(Binary::Mul, shifted(), Expr::X);
        assert_eq!(ops(Expr::binary(Binary::Div, whole.clone(), Expr::Const(6.0))), product);
        assert_eq!(ops(Expr::binary(Binary::Mul, whole, sixth())), product);
    }

    #[test]
    fn a_factor_behind_the_product_goes_into_the_gate() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [4]);
        let f = Expr::binary(Binary::Mul, Expr::X, clip(plus(Expr::X, 3.0), 6.0));
        let y = b.pointwise(f, x);
        let sixth = b.scale(1.0 / 6.0, y);
        let both = b.add(x, sixth);
        let before = b.graph.reachable(both);
        let after = split(before.clone());
        let ops: Vec<_> = after.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["input", "pointwise", "mul", "add"]);
        let samples = [-4.0, -1.25, 0.5, 7.0];
        let (one, other) = (eval::run(&before, &samples), eval::run(&after, &samples));
        one.last().unwrap().iter().zip(other.last().unwrap()).for_each(|(a, b)| assert!((a - b).abs() < 1e-5));
    }

    #[test]
    fn other_functions_stay_as_they_are() {
        let one = ["input", "pointwise"];
        assert_eq!(ops(Expr::binary(Binary::Mul, Expr::X, Expr::unary(Unary::Sigmoid, Expr::X))), one);
        assert_eq!(ops(clip(Expr::X, 6.0)), one);
        let leaky = Expr::select(
            Expr::binary(Binary::Less, Expr::X, Expr::Const(0.0)),
            Expr::binary(Binary::Mul, Expr::X, Expr::Const(0.1)),
            Expr::X,
        );
        assert_eq!(ops(leaky), one);
    }
}
