//! Reductions over any axes.

use super::super::call::{Call, Made, axes, axis};
use crate::nn::expr::{Binary, Expr, Unary};
use crate::nn::{NodeId, Op};

pub(in super::super) fn sum(call: &mut Call) -> Made {
    reduce(call, sums)
}

pub(in super::super) fn mean(call: &mut Call) -> Made {
    reduce(call, means)
}

pub(in super::super) fn max(call: &mut Call) -> Made {
    reduce(call, |call, x| Ok(call.b.pool_rows(Op::MaxPool, x)))
}

/// `min(x) = -max(-x)`
pub(in super::super) fn min(call: &mut Call) -> Made {
    reduce(call, |call, x| {
        let x = call.b.scale(-1.0, x);
        let y = call.b.pool_rows(Op::MaxPool, x);
        Ok(call.b.scale(-1.0, y))
    })
}

pub(in super::super) fn l1(call: &mut Call) -> Made {
    reduce(call, |call, x| {
        let x = call.b.pointwise(Expr::unary(Unary::Abs, Expr::X), x);
        sums(call, x)
    })
}

pub(in super::super) fn l2(call: &mut Call) -> Made {
    reduce(call, |call, x| {
        if call.shape(x)[1] == 1 {
            let magnitudes = call.b.pointwise(Expr::unary(Unary::Abs, Expr::X), x);
            return sums(call, magnitudes);
        }
        let squares = squares(call, x)?;
        Ok(call.b.pointwise(Expr::unary(Unary::Sqrt, Expr::X), squares))
    })
}

pub(in super::super) fn sum_square(call: &mut Call) -> Made {
    reduce(call, squares)
}

pub(in super::super) fn log_sum(call: &mut Call) -> Made {
    reduce(call, |call, x| {
        let sum = sums(call, x)?;
        Ok(call.b.pointwise(Expr::unary(Unary::Log, Expr::X), sum))
    })
}

/// The logarithm of the sum of exponentials, the largest taken out: no exponential exceeds 1.
pub(in super::super) fn log_sum_exp(call: &mut Call) -> Made {
    reduce(call, |call, x| {
        let shape = call.shape(x);
        if shape[1] == 1 {
            return sums(call, x);
        }
        let top = call.b.pool_rows(Op::MaxPool, x);
        let column = call.b.reshape(top, &[shape[0], 1]);
        let column = call.b.expand(column, &shape)?;
        let below = call.b.sub(x, column);
        let exp = call.b.pointwise(Expr::unary(Unary::Exp, Expr::X), below);
        let sum = sums(call, exp)?;
        let log = call.b.pointwise(Expr::unary(Unary::Log, Expr::X), sum);
        Ok(call.b.add(log, top))
    })
}

/// Few factors, one after the other.
pub(in super::super) fn prod(call: &mut Call) -> Made {
    reduce(call, |call, x| {
        let [rows, n] = [call.shape(x)[0], call.shape(x)[1]];
        if n > 16 {
            return Err(format!("a product of {n} secrets; at most 16"));
        }
        let factor = |call: &mut Call, i: usize| call.b.slice(x, &[0, i], &[rows, 1]);
        let first = factor(call, 0);
        let mut y = first;
        for i in 1..n {
            let next = factor(call, i);
            y = call.b.mul(y, next)?;
        }
        Ok(call.b.reshape(y, &[rows]))
    })
}

/// The index of the largest score: at the output only, where it is what the client learns.
pub(in super::super) fn arg_max(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let axis = axis(call.int("axis", 0), shape.len())?;
    if call.int("select_last_index", 0) != 0 {
        return Err("select_last_index is not supported: ties go to the first".into());
    }
    if shape[axis] != shape.iter().product::<usize>() {
        return Err(format!("over axis {axis} of {shape:?}: only one label for each sample is supported"));
    }
    Ok(call.b.push(Op::ArgMax, vec![x], [1]))
}

/// Sums of the rows of a matrix.
pub(in super::super) fn sums(call: &mut Call, x: NodeId) -> Made {
    Ok(call.b.pool_rows(Op::SumPool, x))
}

/// Means of the rows of a matrix.
pub(super) fn means(call: &mut Call, x: NodeId) -> Made {
    let n = call.shape(x)[1];
    let sum = sums(call, x)?;
    Ok(call.b.scale(1.0 / n as f32, sum))
}

/// Sums of squares of the rows of a matrix.
pub(in super::super) fn squares(call: &mut Call, x: NodeId) -> Made {
    let squares = call.b.mul(x, x)?;
    sums(call, squares)
}

/// `x ^ exponent`, as a public function.
pub(super) fn power(exponent: f64) -> Expr {
    Expr::binary(Binary::Pow, Expr::X, Expr::Const(exponent))
}

/// `f` on the matrix whose rows are what is reduced to one element each.
fn reduce(call: &mut Call, f: impl Fn(&mut Call, NodeId) -> Made) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let given = call.integers_either(1, "axes")?.unwrap_or_default();
    let reduced = match given.is_empty() {
        // Nothing is reduced; what the operator does to each element remains.
        true if call.int("noop_with_empty_axes", 0) != 0 => Vec::new(),
        true => (0..shape.len()).collect(),
        false => axes(&given, shape.len())?,
    };
    let keep = call.int("keepdims", 1) != 0;
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !reduced.contains(axis)).collect();
    let perm = [kept.as_slice(), &reduced].concat();
    let n: usize = reduced.iter().map(|axis| shape[*axis]).product();
    let rows = shape.iter().product::<usize>() / n;
    let moved = call.b.transpose(x, &perm);
    let matrix = call.b.reshape(moved, &[rows, n]);
    let y = f(call, matrix)?;
    let result: Vec<usize> = if keep {
        (0..shape.len()).map(|axis| if reduced.contains(&axis) { 1 } else { shape[axis] }).collect()
    } else {
        kept.iter().map(|axis| shape[*axis]).collect()
    };
    Ok(call.b.reshape(y, &result))
}
