//! Softmax inside a network, by operations that have protocols: subtract the maximum, exponentiate
//! by a table, divide by the sum.

use super::build::Builder;
use super::expr::{Expr, Unary};
use super::{NodeId, Op};

/// The softmax of `x` along `axis`, or its logarithm.
pub(super) fn expand(builder: &mut Builder, x: NodeId, axis: usize, log: bool) -> Result<NodeId, String> {
    let shape = builder.shape(x).to_vec();
    let mut perm: Vec<usize> = (0..shape.len()).collect();
    let last = perm.remove(axis);
    perm.push(last);
    let moved = builder.transpose(x, &perm);
    let moved_shape = builder.shape(moved).to_vec();
    let n = shape[axis];
    let rows = moved_shape.iter().product::<usize>() / n;
    let x = builder.reshape(moved, &[rows, n]);

    let top = builder.pool_rows(Op::MaxPool, x);
    let top = column(builder, top, n)?;
    let below = builder.sub(x, top);
    let exp = builder.pointwise(Expr::unary(Unary::Exp, Expr::X), below);
    let sum = builder.pool_rows(Op::SumPool, exp);
    let y = if log {
        let log = builder.pointwise(Expr::unary(Unary::Log, Expr::X), sum);
        let log = column(builder, log, n)?;
        builder.sub(below, log)
    } else {
        let inverse = builder.reciprocal(sum);
        let inverse = builder.reshape(inverse, &[rows, 1]);
        builder.mul(exp, inverse)?
    };

    let y = builder.reshape(y, &moved_shape);
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, axis)| back[*axis] = i);
    Ok(builder.transpose(y, &back))
}

/// A vector of rows repeated to `[rows, n]`.
fn column(builder: &mut Builder, x: NodeId, n: usize) -> Result<NodeId, String> {
    let rows = builder.shape(x)[0];
    let x = builder.reshape(x, &[rows, 1]);
    builder.expand(x, &[rows, n])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::eval;

    #[test]
    fn it_is_the_softmax_along_any_axis() {
        for (axis, log) in [(0, false), (1, false), (2, true)] {
            let mut b = Builder::default();
            let x = b.push(Op::Input, vec![], [2, 3, 2]);
            let y = expand(&mut b, x, axis, log).unwrap();
            let x: Vec<f32> = (0..12).map(|i| (i * 5 % 7) as f32 / 2.0).collect();
            let found = eval::run(&b.graph.reachable(y), &x).pop().unwrap();
            let stride = [6, 2, 1][axis];
            let n = [2, 3, 2][axis];
            for (i, found) in found.iter().enumerate() {
                let first = i - i / stride % n * stride;
                let sum: f32 = (0..n).map(|j| x[first + j * stride].exp()).sum();
                let expected = x[i].exp() / sum;
                let expected = if log { expected.ln() } else { expected };
                assert!((found - expected).abs() < 1e-5, "{axis} {i}: {found} {expected}");
            }
        }
    }
}
