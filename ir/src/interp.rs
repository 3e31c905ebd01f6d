//! The reference interpreter: every operation on plain integers. Every backend must agree with it bit for bit.
//!
//! Elements are signed integers in `Z_2^bits`. Only the values matter here, not speed; samples are independent, so
//! callers run them in parallel.

mod fill;

use crate::function::{Function, Value, ValueId, Weights};
use crate::network::Network;
use crate::op::{Conv, Op, Piecewise, Reveal, Window};
use crate::types::{TensorType, signed, wrap};

pub use fill::{Watched, watch};

/// Runs `function` on one quantised input and returns every value's elements, in [`ValueId`] order.
///
/// # Panics
/// If the function does not pass [`crate::verify::verify`], or `input` or `weights` do not have its shapes.
pub fn run(function: &Function, weights: &Weights, input: &[i64]) -> Vec<Vec<i64>> {
    let mut values: Vec<Vec<i64>> = Vec::with_capacity(function.values.len());
    for (_, value) in function.iter() {
        let operands: Vec<&[i64]> = value.operands.iter().map(|v| values[v.index()].as_slice()).collect();
        let elements = apply(function, value, weights, &operands, input);
        assert_eq!(elements.len(), value.ty.len(), "{} of node {}", value.op.name(), value.node);
        values.push(elements);
    }
    values
}

/// Runs `function` on one quantised input and returns its last value; values that nobody will read are dropped.
///
/// # Panics
/// As [`run`].
pub fn output(function: &Function, weights: &Weights, input: &[i64]) -> Vec<i64> {
    let last_uses = function.last_uses();
    let mut values: Vec<Vec<i64>> = Vec::with_capacity(function.values.len());
    for (id, value) in function.iter() {
        let operands: Vec<&[i64]> = value.operands.iter().map(|v| values[v.index()].as_slice()).collect();
        let elements = apply(function, value, weights, &operands, input);
        for operand in &value.operands {
            if last_uses[operand.index()] == id {
                values[operand.index()] = Vec::new();
            }
        }
        values.push(elements);
    }
    values.pop().unwrap_or_default()
}

/// The value whose largest element is the label: the operand of the function's argmax or top-k, else what it reveals.
pub fn logits_of(function: &Function) -> Option<ValueId> {
    let find = |wanted: fn(&Op) -> bool| function.values.iter().find(|value| wanted(&value.op));
    let ranked = find(|op| matches!(op, Op::ArgMax | Op::TopK { .. }));
    ranked.or_else(|| find(|op| matches!(op, Op::Reveal(_))))?.operands.first().copied()
}

/// The labels in what `function` reveals about one position, best first. Of logits that is the index of the largest, the lowest
/// winning ties; else what was revealed, if it is so many different classes of the function, and nothing if it is not.
pub fn labels(function: &Function, revealed: &[i64]) -> Vec<i64> {
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
    };
    let classes = logits_of(function).map_or(0, |logits| function.value(logits).ty.len());
    let exists = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < classes);
    let distinct = (1..revealed.len()).all(|i| !revealed[..i].contains(&revealed[i]));
    let right = revealed.len() == count && distinct && revealed.iter().all(exists);
    if right { revealed.to_vec() } else { Vec::new() }
}

/// One operation on plain integers.
///
/// # Panics
/// If operands or weights do not have the function's shapes.
pub fn apply(function: &Function, value: &Value, weights: &Weights, operands: &[&[i64]], input: &[i64]) -> Vec<i64> {
    let types: Vec<&TensorType> = value.operands.iter().map(|v| &function.value(*v).ty).collect();
    let bits = value.ty.bits;
    match &value.op {
        Op::Input(_) => input.iter().map(|x| signed(*x as u64, bits)).collect(),
        Op::Conv(conv) => {
            let kernel = &function.weight(conv.weight).shape;
            let bias = conv.bias.map(|b| weights.get(b));
            convolve(conv, operands[0], types[0], weights.get(conv.weight), kernel, bias, &value.ty)
        }
        Op::Dense { weight, bias } => {
            let rows = weights.get(*weight).chunks_exact(types[0].len().max(1));
            let dot =
                |row: &[i64]| row.iter().zip(operands[0]).fold(0i64, |s, (w, x)| s.wrapping_add(w.wrapping_mul(*x)));
            let mut sums: Vec<i64> = rows.map(dot).collect();
            if let Some(bias) = bias {
                sums.iter_mut().zip(weights.get(*bias)).for_each(|(y, b)| *y = y.wrapping_add(*b));
            }
            sums.into_iter().map(|y| signed(y as u64, bits)).collect()
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
    spread(bias, x.len()).zip(x).map(|(bias, x)| signed(x.wrapping_add(*bias) as u64, bits)).collect()
}

/// Each of `elements` so often in a row that there are `n`: how a vector meets a tensor whose leading axis it belongs to.
///
/// # Panics
/// If that is impossible.
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
    let each = |f: &dyn Fn(i64) -> i64| operands[0].iter().map(|x| f(*x)).collect();
    match op {
        Op::Mix(_) | Op::Reveal(_) | Op::Check | Op::Reshape | Op::Extend => operands[0].to_vec(),
        Op::Requant { shift } => each(&|x| signed((rounded(x, *shift, types[0].bits) >> shift) as u64, bits)),
        Op::RequantRelu { shift } => {
            each(&|x| signed((rounded(x, *shift, types[0].bits).max(0) >> shift) as u64, bits))
        }
        Op::RequantClip { shift, limit } => {
            each(&|x| signed((rounded(x, *shift, types[0].bits) >> shift).clamp(0, (*limit).max(0)) as u64, bits))
        }
        Op::Relu => each(&|x| x.max(0)),
        Op::Step => each(&|x| signed(u64::from(x >= 0), bits)),
        Op::Paths(forest) => {
            let tests: Vec<u64> = operands[0].iter().map(|x| *x as u64).collect();
            forest.paths(&tests, 1).into_iter().map(|y| signed(y, bits)).collect()
        }
        Op::Truncate => each(&|x| signed(x as u64, bits)),
        Op::ShiftLeft { by } => each(&|x| signed((x as u64) << by, bits)),
        Op::Scale { factor } => each(&|x| signed(x.wrapping_mul(*factor) as u64, bits)),
        Op::Offset { by } => each(&|x| signed(x.wrapping_add(*by) as u64, bits)),
        Op::Mul => {
            let factors = spread(operands[1], operands[0].len());
            operands[0].iter().zip(factors).map(|(a, b)| signed(a.wrapping_mul(*b) as u64, bits)).collect()
        }
        Op::Piecewise(function) => each(&|x| piecewise(function, x, bits)),
        Op::Add => operands[0].iter().zip(operands[1]).map(|(a, b)| signed(a.wrapping_add(*b) as u64, bits)).collect(),
        Op::MaxPool(window) => max_pool(window, operands[0], types[0]),
        Op::SumPool(window) => sum_pool(window, operands[0], types[0]),
        Op::ArgMax => {
            let better = |a: (i64, i64), b: (i64, i64)| if left_loses(a.0, b.0, types[0].bits) { b } else { a };
            let contest = operands[0].iter().zip(0..).map(|(x, i)| (*x, i)).collect();
            vec![signed(tournament(contest, better).map_or(0, |best| best.1) as u64, bits)]
        }
        Op::TopK { k } => top_k(operands[0], usize::from(*k), types[0].bits, bits),
        Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => {
            gather(op, types, ty).into_iter().map(|from| from.map_or(0, |(k, i)| operands[k][i])).collect()
        }
        Op::Input(_) | Op::Conv(_) | Op::Dense { .. } | Op::Bias { .. } => {
            unreachable!("{} reads more than operands", op.name())
        }
    }
}

/// Where each element of a moving operation's result comes from: operand and index there, or `None` for a padding
/// zero. The one definition of `concat`, `pad`, `slice` and `transpose`, used on integers here and on shares by backends.
pub fn gather(op: &Op, types: &[&TensorType], ty: &TensorType) -> Vec<Option<(usize, usize)>> {
    let mut sources = Vec::with_capacity(ty.len());
    let mut at = vec![0usize; ty.shape.len()];
    for _ in 0..ty.len() {
        sources.push(source(op, types, &at));
        for axis in (0..at.len()).rev() {
            at[axis] += 1;
            if at[axis] < ty.shape[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    sources
}

fn source(op: &Op, types: &[&TensorType], at: &[usize]) -> Option<(usize, usize)> {
    let row_major =
        |shape: &[usize], at: &[usize]| at.iter().zip(shape).fold(0, |index, (i, extent)| index * extent + i);
    match op {
        Op::Concat { axis } => {
            let mut at = at.to_vec();
            for (k, ty) in types.iter().enumerate() {
                if at[*axis] < ty.shape[*axis] {
                    return Some((k, row_major(&ty.shape, &at)));
                }
                at[*axis] -= ty.shape[*axis];
            }
            None
        }
        Op::Pad { before, .. } => {
            let inside = at.iter().zip(before).map(|(i, b)| i.checked_sub(*b)).collect::<Option<Vec<usize>>>()?;
            let shape = &types[0].shape;
            inside.iter().zip(shape).all(|(i, extent)| i < extent).then(|| (0, row_major(shape, &inside)))
        }
        Op::Slice { start } => {
            let shifted: Vec<usize> = at.iter().zip(start).map(|(i, s)| i + s).collect();
            Some((0, row_major(&types[0].shape, &shifted)))
        }
        Op::Transpose { perm } => {
            let mut from = vec![0; at.len()];
            perm.iter().zip(at).for_each(|(axis, i)| from[*axis] = *i);
            Some((0, row_major(&types[0].shape, &from)))
        }
        _ => None,
    }
}

fn piecewise(function: &Piecewise, x: i64, bits: u8) -> i64 {
    let start = function.offset.wrapping_add(function.first_slope.wrapping_mul(x));
    let above = |threshold: i64| signed(x.wrapping_sub(threshold) as u64, bits).max(0);
    let bend = |y: i64, (threshold, change): &(i64, i64)| y.wrapping_add(change.wrapping_mul(above(*threshold)));
    signed(function.knots.iter().fold(start, bend) as u64, bits)
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

/// `(x + 2^(shift-1)) mod 2^bits`, signed.
fn rounded(x: i64, shift: u8, bits: u8) -> i64 {
    signed((x as u64).wrapping_add(1 << (shift - 1)), bits)
}

/// Whether `left` loses against `right`: the sign of their difference in `Z_2^bits`.
fn left_loses(left: i64, right: i64, bits: u8) -> bool {
    signed(left.wrapping_sub(right) as u64, bits) < 0
}

/// The larger of two elements, by the sign of the difference in `Z_2^bits`; `left` on ties.
pub fn max(left: i64, right: i64, bits: u8) -> i64 {
    if left_loses(left, right, bits) { right } else { left }
}

/// The knock-out order of every tournament: neighbours play, an odd one out goes through, until one is left.
pub fn tournament<T>(mut players: Vec<T>, mut play: impl FnMut(T, T) -> T) -> Option<T> {
    while players.len() > 1 {
        let mut waiting = players.into_iter();
        let mut winners = Vec::new();
        while let Some(left) = waiting.next() {
            winners.push(match waiting.next() {
                Some(right) => play(left, right),
                None => left,
            });
        }
        players = winners;
    }
    players.pop()
}

/// The part `start..end` of `0..extent` that window number `i` of an axis covers (`axis` 0 rows, 1 columns).
pub fn span(window: &Window, axis: usize, i: usize, extent: usize) -> std::ops::Range<usize> {
    let start = i * window.strides[axis];
    let end = (start + window.kernel[axis]).saturating_sub(window.pads[axis]).min(extent);
    start.saturating_sub(window.pads[axis]).min(end)..end
}

fn max_pool(window: &Window, x: &[i64], ty: &TensorType) -> Vec<i64> {
    let [height, width] = [ty.shape[1], ty.shape[2]];
    let [rows, columns] = window.output(height, width).unwrap_or_default();
    let best = |players: Vec<i64>| tournament(players, |a, b| max(a, b, ty.bits)).unwrap_or(0);
    let mut result = Vec::with_capacity(ty.shape[0] * rows * columns);
    for image in x.chunks_exact(height * width) {
        let across: Vec<i64> = image
            .chunks_exact(width)
            .flat_map(|row| (0..columns).map(move |j| best(row[span(window, 1, j, width)].to_vec())))
            .collect();
        for i in 0..rows {
            let lines = span(window, 0, i, height);
            result.extend((0..columns).map(|j| best(lines.clone().map(|line| across[line * columns + j]).collect())));
        }
    }
    result
}

fn sum_pool(window: &Window, x: &[i64], ty: &TensorType) -> Vec<i64> {
    let [height, width] = [ty.shape[1], ty.shape[2]];
    let [rows, columns] = window.output(height, width).unwrap_or_default();
    let mut result = Vec::with_capacity(ty.shape[0] * rows * columns);
    for image in x.chunks_exact(height * width) {
        for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            let lines = span(window, 0, i, height);
            let line_sum = |line: usize| image[line * width..][span(window, 1, j, width)].iter();
            let sum = lines.flat_map(line_sum).fold(0i64, |s, x| s.wrapping_add(*x));
            result.push(signed(sum as u64, ty.bits));
        }
    }
    result
}

fn convolve(
    conv: &Conv,
    x: &[i64],
    x_ty: &TensorType,
    weight: &[i64],
    kernel: &[usize],
    bias: Option<&[i64]>,
    ty: &TensorType,
) -> Vec<i64> {
    let [height, width] = [x_ty.shape[1], x_ty.shape[2]];
    let [c_out, per_group, kh, kw] = [kernel[0], kernel[1], kernel[2], kernel[3]];
    let [rows, columns] = [ty.shape[1], ty.shape[2]];
    let [stride, step] = [conv.strides, conv.dilations];
    let mut result = vec![0i64; c_out * rows * columns];
    for (m, plane) in result.chunks_exact_mut(rows * columns).enumerate() {
        plane.fill(bias.map_or(0, |b| b[m]));
        let first = m / (c_out / conv.groups) * per_group;
        for tap in 0..per_group * kh * kw {
            let [c, l, q] = [tap / (kh * kw), tap / kw % kh, tap % kw];
            let w = weight[m * per_group * kh * kw + tap];
            // The output columns whose input column q * step + j * stride - pad lies inside the image.
            let offset = q * step[1];
            let from = conv.pads[1].saturating_sub(offset).div_ceil(stride[1]);
            let to = (width + conv.pads[1]).saturating_sub(offset).div_ceil(stride[1]).min(columns);
            if from >= to {
                continue;
            }
            for i in 0..rows {
                let Some(line) = (i * stride[0] + l * step[0]).checked_sub(conv.pads[0]).filter(|line| *line < height)
                else {
                    continue;
                };
                let start = ((first + c) * height + line) * width + from * stride[1] + offset - conv.pads[1];
                let y = &mut plane[i * columns + from..i * columns + to];
                if stride[1] == 1 {
                    y.iter_mut().zip(&x[start..]).for_each(|(y, x)| *y = y.wrapping_add(w.wrapping_mul(*x)));
                } else {
                    let x = x[start..].iter().step_by(stride[1]);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = y.wrapping_add(w.wrapping_mul(*x)));
                }
            }
        }
    }
    result.iter_mut().for_each(|y| *y = signed(*y as u64, ty.bits));
    result
}

#[cfg(test)]
mod tests;
