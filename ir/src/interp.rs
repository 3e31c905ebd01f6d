//! The reference interpreter: every operation on plain integers. Every backend must agree with it
//! bit for bit.
//!
//! Elements are signed integers in `Z_2^bits`. Large operations are spread over threads; samples
//! are independent, so callers run those in parallel, too.

mod elementwise;
mod fill;
mod linear;
mod moves;
mod number;
#[cfg(test)]
mod plain;
mod planes;
mod pool;

use crate::function::{Function, Value, ValueId, Weights};
use crate::network::Network;
use crate::op::{Op, Reveal};
use crate::types::{TensorType, signed, wrap};
use elementwise::{left_loses, map, rounded, zip, zip_spread};
use linear::{Convolution, Sums};

pub use fill::{Watched, watch};
pub use linear::mat_mul;
pub use moves::gather;
pub use pool::{max, span, tournament};

/// Runs `function` on one quantised input and returns every value's elements, in [`ValueId`] order.
///
/// # Panics
/// If the function does not pass [`crate::verify::verify`], or `input` or `weights` do not have its
/// shapes.
pub fn run(function: &Function, weights: &Weights, input: &[i64]) -> Vec<Vec<i64>> {
    values(function, true, |value, operands| apply_with(function, value, weights, operands, input, Sums::Fastest))
}

/// Runs `function` on one quantised input and returns its last value; values that nobody will read
/// are dropped.
///
/// # Panics
/// As [`run`].
pub fn output(function: &Function, weights: &Weights, input: &[i64]) -> Vec<i64> {
    let apply =
        |value: &Value, operands: &[&[i64]]| apply_with(function, value, weights, operands, input, Sums::Fastest);
    values(function, false, apply).pop().unwrap_or_default()
}

/// What `apply` makes of every value's operands, value by value. Unless `keep`, what nobody will
/// read is dropped.
fn values(function: &Function, keep: bool, mut apply: impl FnMut(&Value, &[&[i64]]) -> Vec<i64>) -> Vec<Vec<i64>> {
    let last_uses = function.last_uses();
    let mut values: Vec<Vec<i64>> = Vec::with_capacity(function.values.len());
    for (id, value) in function.iter() {
        let operands: Vec<&[i64]> = value.operands.iter().map(|v| values[v.index()].as_slice()).collect();
        let elements = apply(value, &operands);
        assert_eq!(elements.len(), value.ty.len(), "{} of node {}", value.op.name(), value.node);
        for operand in value.operands.iter().filter(|operand| !keep && last_uses[operand.index()] == id) {
            values[operand.index()] = Vec::new();
        }
        values.push(elements);
    }
    values
}

/// The value whose largest element is the label: the operand of the function's argmax or top-k,
/// else what it reveals.
pub fn logits_of(function: &Function) -> Option<ValueId> {
    let find = |wanted: fn(&Op) -> bool| function.values.iter().find(|value| wanted(&value.op));
    let ranked = find(|op| matches!(op, Op::ArgMax | Op::TopK { .. }));
    ranked.or_else(|| find(|op| matches!(op, Op::Reveal(_))))?.operands.first().copied()
}

/// What `function` says by what it reveals about one position: labels, best first, or a
/// regressor's numbers. Of logits the label is the index of the largest, the lowest winning ties;
/// else labels are what was revealed, if it is so many different classes of the function. Nothing
/// if it is not what could be revealed.
pub fn meaning(function: &Function, revealed: &[i64]) -> Vec<i64> {
    let what = function.values.iter().rev().find_map(|value| match value.op {
        Op::Reveal(what) => Some(what),
        _ => None,
    });
    let count = match what {
        Some(Reveal::Label) => 1,
        Some(Reveal::TopK(k)) => usize::from(k),
        Some(Reveal::Logits) | None => {
            let best = (0..revealed.len()).rev().max_by_key(|index| revealed[*index]);
            return best.map(|index| index as i64).into_iter().collect();
        }
        Some(Reveal::Value) => return revealed.to_vec(),
    };
    let classes = logits_of(function).map_or(0, |logits| function.value(logits).ty.len());
    let exists = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < classes);
    let distinct = (1..revealed.len()).all(|i| !revealed[..i].contains(&revealed[i]));
    let right = revealed.len() == count && distinct && revealed.iter().all(exists);
    if right { revealed.to_vec() } else { Vec::new() }
}

/// One operation on plain integers. How long a linear one takes does not depend on the elements:
/// they may be shares.
///
/// # Panics
/// If operands or weights do not have the function's shapes.
pub fn apply(function: &Function, value: &Value, weights: &Weights, operands: &[&[i64]], input: &[i64]) -> Vec<i64> {
    apply_with(function, value, weights, operands, input, Sums::Ring)
}

fn apply_with(
    function: &Function,
    value: &Value,
    weights: &Weights,
    operands: &[&[i64]],
    input: &[i64],
    sums: Sums,
) -> Vec<i64> {
    let types: Vec<&TensorType> = value.operands.iter().map(|v| &function.value(*v).ty).collect();
    let bits = value.ty.bits;
    match &value.op {
        Op::Input(_) => map(input, |x| signed(x as u64, bits)),
        Op::Conv(conv) => {
            let (kernel, weight) = (&function.weight(conv.weight).shape, weights.get(conv.weight));
            let bias = conv.bias.map(|b| weights.get(b));
            Convolution { conv, kernel, weight, bias }.apply(operands[0], types[0], &value.ty, sums)
        }
        Op::Dense { weight, bias } => {
            let bias = bias.map(|bias| weights.get(bias));
            linear::dense(weights.get(*weight), operands[0], bias, value.ty.len(), bits)
        }
        Op::Bias { weight } => add_bias(operands[0], weights.get(*weight), bits),
        _ => apply_public(&value.op, operands, &types, &value.ty),
    }
}

/// `x` plus a bias for each element of the leading axis: [`Op::Bias`].
///
/// # Panics
/// If the elements of `x` do not fall into as many equal parts as `bias` has elements.
pub fn add_bias(x: &[i64], bias: &[i64], bits: u8) -> Vec<i64> {
    zip_spread(x, bias, |x, bias| signed(x.wrapping_add(bias) as u64, bits))
}

/// Repeats every element of `elements` equally often, in a row, so that there are `n` in all: a
/// vector with one element for each index of a tensor's leading axis becomes as long as that
/// tensor.
///
/// # Panics
/// If `n` is no multiple of the length of `elements`.
pub fn spread<T>(elements: &[T], n: usize) -> impl Iterator<Item = &T> {
    let each = n / elements.len().max(1);
    assert_eq!(each * elements.len(), n, "{} elements over {n}", elements.len());
    elements.iter().flat_map(move |element| std::iter::repeat_n(element, each))
}

/// One operation without weights on plain integers; see [`Op`] for each meaning.
///
/// # Panics
/// If operands do not have the shapes of `types`, or `op` reads weights or is the input.
pub fn apply_public(op: &Op, operands: &[&[i64]], types: &[&TensorType], ty: &TensorType) -> Vec<i64> {
    let bits = ty.bits;
    let x = operands.first().copied().unwrap_or_default();
    match op {
        Op::Mix(_) | Op::Reveal(_) | Op::Check | Op::Reshape | Op::Extend => x.to_vec(),
        Op::Requant { shift } => map(x, |x| signed((rounded(x, *shift, types[0].bits) >> shift) as u64, bits)),
        Op::RequantRelu { shift } => {
            map(x, |x| signed((rounded(x, *shift, types[0].bits).max(0) >> shift) as u64, bits))
        }
        Op::RequantClip { shift, limit } => {
            map(x, |x| signed((rounded(x, *shift, types[0].bits) >> shift).clamp(0, (*limit).max(0)) as u64, bits))
        }
        Op::Relu => map(x, |x| x.max(0)),
        Op::Step => map(x, |x| signed(u64::from(x >= 0), bits)),
        Op::Paths(forest) => {
            let tests: Vec<u64> = x.iter().map(|x| *x as u64).collect();
            forest.paths(&tests, 1).into_iter().map(|y| signed(y, bits)).collect()
        }
        Op::Truncate => map(x, |x| signed(x as u64, bits)),
        Op::ShiftLeft { by } => map(x, |x| signed((x as u64) << by, bits)),
        Op::Scale { factor } => map(x, |x| signed(x.wrapping_mul(*factor) as u64, bits)),
        Op::Offset { by } => map(x, |x| signed(x.wrapping_add(*by) as u64, bits)),
        Op::Mul => zip_spread(x, operands[1], |a, b| signed(a.wrapping_mul(b) as u64, bits)),
        Op::MatMul => {
            let (shape, columns) = (&types[0].shape, ty.shape[2]);
            mat_mul(x, operands[1], [shape[0], shape[1], shape[2], columns], bits)
        }
        Op::Piecewise(function) => elementwise::piecewise(function, x, bits),
        Op::Add => zip(x, operands[1], |a, b| signed(a.wrapping_add(b) as u64, bits)),
        Op::MaxPool(window) => pool::max_pool(window, x, types[0]),
        Op::SumPool(window) => pool::sum_pool(window, x, types[0]),
        Op::ArgMax => {
            let better = |a: (i64, i64), b: (i64, i64)| if left_loses(a.0, b.0, types[0].bits) { b } else { a };
            let players = x.iter().zip(0..).map(|(x, i)| (*x, i)).collect();
            vec![signed(tournament(players, better).map_or(0, |best| best.1) as u64, bits)]
        }
        Op::TopK { k } => top_k(x, usize::from(*k), types[0].bits, bits),
        Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => {
            moves::apply(op, operands, types, ty)
        }
        Op::Input(_) | Op::Conv(_) | Op::Dense { .. } | Op::Bias { .. } => {
            unreachable!("{} reads more than operands", op.name())
        }
    }
}

/// See [`Op::TopK`]; `bits` is the elements' width, `index_bits` the result's.
fn top_k(x: &[i64], k: usize, bits: u8, index_bits: u8) -> Vec<i64> {
    let last = x.len() as u64 - 1;
    let key = |(x, place): (&i64, u64)| signed((*x as u64) << index_bits | place, bits + index_bits);
    let mut keys: Vec<i64> = x.iter().zip((0..=last).rev()).map(key).collect();
    let Network { layers, top } = Network::top_k(x.len(), k);
    for [i, j] in layers.into_iter().flatten() {
        if left_loses(keys[i], keys[j], bits + index_bits) {
            keys.swap(i, j);
        }
    }
    top.into_iter().map(|place| signed(last.wrapping_sub(wrap(keys[place], index_bits)), index_bits)).collect()
}

#[cfg(test)]
mod tests;
