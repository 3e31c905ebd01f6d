//! Reductions over any axes.

use fusion_ir::op::Window;

use super::super::call::{Call, Kind, Made, Wire, axes, axis};
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
    first_of(call, x)
}

pub(in super::super) fn arg_min(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let x = call.b.scale(-1.0, x);
    first_of(call, x)
}

/// The first index of the largest element along the node's axis.
fn first_of(call: &mut Call, x: NodeId) -> Made {
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

/// The largest or the smallest element along an axis, and at the output its index.
pub(in super::super) fn top_k(call: &mut Call) -> Result<Vec<Wire>, String> {
    let kind = super::types::of_numbers(call)?;
    let x = call.data(0)?;
    let shape = call.shape(x);
    let along = axis(call.int("axis", -1), shape.len())?;
    let k = match call.attribute("k") {
        Some(k) => k.i,
        None => call.integers(1, "its number")?.and_then(|k| k.first().copied()).unwrap_or(0),
    };
    if k != 1 {
        return Err(format!("the {k} largest: only the largest is supported"));
    }
    let sign = if call.int("largest", 1) != 0 { 1.0 } else { -1.0 };
    let upright = call.b.scale(sign, x);
    let y = along_rows(call, upright, along, |call, matrix| {
        let y = call.b.pool_rows(Op::MaxPool, matrix);
        let rows = call.shape(matrix)[0];
        Ok(call.b.reshape(y, &[rows, 1]))
    })?;
    let mut wires = vec![Wire::Data(call.b.scale(sign, y), kind)];
    if shape[along] == shape.iter().product::<usize>() {
        let index = call.b.push(Op::ArgMax, vec![upright], vec![1; shape.len()]);
        wires.push(Wire::Data(index, Kind::INDEX));
    }
    Ok(wires)
}

/// Sums of all elements up to each along an axis.
pub(in super::super) fn cum_sum(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let rank = call.shape(x).len();
    let along = call.integers(1, "its axis")?.and_then(|axis| axis.first().copied()).ok_or("its axis is missing")?;
    let along = axis(along, rank)?;
    let (exclusive, reverse) = (call.int("exclusive", 0) != 0, call.int("reverse", 0) != 0);
    if exclusive && call.shape(x)[along] == 1 {
        return Err("it is the sum of no elements".into());
    }
    along_rows(call, x, along, |call, matrix| {
        let sums = sums_so_far(call, matrix, reverse);
        Ok(if exclusive { moved_on(call, sums, reverse) } else { sums })
    })
}

/// 1 at the first of the largest elements along an axis, 0 elsewhere. Up to operator set 12 along
/// all axes from there on.
pub(in super::super) fn hardmax(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let old = call.opset < 13;
    let along = axis(call.int("axis", if old { 1 } else { -1 }), shape.len())?;
    if !old {
        return along_rows(call, x, along, one_hot);
    }
    let outer: usize = shape[..along].iter().product();
    let matrix = call.b.reshape(x, &[outer, shape[along..].iter().product()]);
    let y = one_hot(call, matrix)?;
    Ok(call.b.reshape(y, &shape))
}

/// 1 at the first of each row's largest elements, 0 elsewhere.
fn one_hot(call: &mut Call, matrix: NodeId) -> Made {
    let extents = call.shape(matrix);
    let top = call.b.pool_rows(Op::MaxPool, matrix);
    let top = call.b.reshape(top, &[extents[0], 1]);
    let top = call.b.expand(top, &extents)?;
    let below = call.b.sub(matrix, top);
    let largest = Expr::binary(Binary::GreaterOrEqual, Expr::X, Expr::Const(0.0));
    let largest = call.b.pointwise(largest, below);
    if extents[1] == 1 {
        return Ok(largest);
    }
    // Of several that are equal, those behind the first have one before them.
    let sums = sums_so_far(call, largest, false);
    let before = moved_on(call, sums, false);
    let first = call.b.sub(largest, before);
    Ok(call.b.relu(first))
}

/// Sums of each row up to every element, or from it on.
fn sums_so_far(call: &mut Call, matrix: NodeId, reverse: bool) -> NodeId {
    let [rows, n] = [call.shape(matrix)[0], call.shape(matrix)[1]];
    let image = call.b.reshape(matrix, &[rows, 1, n]);
    let pads = if reverse { [0, 0, 0, n - 1] } else { [0, n - 1, 0, 0] };
    let window = Window { kernel: [1, n], strides: [1, 1], pads };
    let sums = call.b.push(Op::SumPool(window), vec![image], [rows, 1, n]);
    call.b.reshape(sums, &[rows, n])
}

/// Each row moved by one place, with a zero in front (or, of sums from the end, behind).
fn moved_on(call: &mut Call, matrix: NodeId, reverse: bool) -> NodeId {
    let [rows, n] = [call.shape(matrix)[0], call.shape(matrix)[1]];
    let part = call.b.slice(matrix, &[0, usize::from(reverse)], &[rows, n - 1]);
    call.b.pad(part, &[0, usize::from(!reverse)], &[0, usize::from(reverse)])
}

/// `f` on the matrix whose rows lie along an axis; it gives a matrix of as many rows.
fn along_rows(call: &mut Call, x: NodeId, along: usize, f: impl Fn(&mut Call, NodeId) -> Made) -> Made {
    let shape = call.shape(x);
    let mut perm: Vec<usize> = (0..shape.len()).collect();
    perm.swap(along, shape.len() - 1);
    let moved = call.b.transpose(x, &perm);
    let mut extents = call.shape(moved);
    let n = shape[along];
    let matrix = call.b.reshape(moved, &[shape.iter().product::<usize>() / n, n]);
    let y = f(call, matrix)?;
    let last = extents.len() - 1;
    extents[last] = call.shape(y)[1];
    let y = call.b.reshape(y, &extents);
    Ok(call.b.transpose(y, &perm))
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
