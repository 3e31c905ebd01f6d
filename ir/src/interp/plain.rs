//! The operations as [`Op`] states them, element by element on integers that do not overflow: what
//! the interpreter is tested against.

use crate::op::{Conv, Op, Piecewise, Window};
use crate::types::TensorType;

/// The integer in `-2^(bits-1) .. 2^(bits-1)` that is `x` mod `2^bits`.
fn ring(x: i128, bits: u8) -> i64 {
    let (whole, half) = (1i128 << bits, 1i128 << (bits - 1));
    ((x + half).rem_euclid(whole) - half) as i64
}

fn wide(x: i64) -> i128 {
    x.into()
}

/// The sum of a convolution, mod `2^bits`.
pub fn convolve(
    conv: &Conv,
    (x, xs): (&[i64], &[usize]),
    (w, ws): (&[i64], &[usize]),
    bias: Option<&[i64]>,
    ty: &TensorType,
) -> Vec<i64> {
    let mut result = Vec::new();
    for m in 0..ws[0] {
        for (i, j) in (0..ty.shape[1]).flat_map(|i| (0..ty.shape[2]).map(move |j| (i, j))) {
            let mut sum = bias.map_or(0, |bias| wide(bias[m]));
            for c in 0..ws[1] {
                let channel = m / (ws[0] / conv.groups) * ws[1] + c;
                for (l, q) in (0..ws[2]).flat_map(|l| (0..ws[3]).map(move |q| (l, q))) {
                    let r = (i * conv.strides[0] + l * conv.dilations[0]) as isize - conv.pads[0] as isize;
                    let s = (j * conv.strides[1] + q * conv.dilations[1]) as isize - conv.pads[1] as isize;
                    if (0..xs[1] as isize).contains(&r) && (0..xs[2] as isize).contains(&s) {
                        let weight = w[((m * ws[1] + c) * ws[2] + l) * ws[3] + q];
                        let product = wide(weight) * wide(x[(channel * xs[1] + r as usize) * xs[2] + s as usize]);
                        sum = wide(ring(sum + product, ty.bits));
                    }
                }
            }
            result.push(ring(sum, ty.bits));
        }
    }
    result
}

/// The product of a matrix and a vector, mod `2^bits`.
pub fn dense(w: &[i64], x: &[i64], bias: Option<&[i64]>, bits: u8) -> Vec<i64> {
    let row = |(m, row): (usize, &[i64])| {
        let products = row.iter().zip(x).map(|(w, x)| wide(*w) * wide(*x));
        ring(products.sum::<i128>() + bias.map_or(0, |bias| wide(bias[m])), bits)
    };
    w.chunks_exact(x.len()).enumerate().map(row).collect()
}

/// The product of the matrices with the same index in two batches, mod `2^bits`.
pub fn mat_mul(x: &[i64], y: &[i64], [b, m, k, n]: [usize; 4], bits: u8) -> Vec<i64> {
    let mut z = Vec::new();
    for (h, (i, j)) in (0..b).flat_map(|h| (0..m).flat_map(move |i| (0..n).map(move |j| (h, (i, j))))) {
        let product = |l: usize| wide(x[(h * m + i) * k + l]) * wide(y[(h * k + l) * n + j]);
        z.push((0..k).fold(0, |sum, l| ring(wide(sum) + product(l), bits)));
    }
    z
}

/// An operation of each element, or of each and its counterpart.
pub fn elementwise(op: &Op, a: &[i64], b: &[i64], operand: u8, bits: u8) -> Vec<i64> {
    let rounded = |x: i64, shift: u8| wide(ring(wide(x) + (1 << (shift - 1)), operand));
    let one = |i: usize| {
        let x = a[i];
        // What a shorter second operand has for this element.
        let y = || wide(b[i / (a.len() / b.len())]);
        match op {
            Op::Requant { shift } => ring(rounded(x, *shift).div_euclid(1 << shift), bits),
            Op::RequantRelu { shift } => ring(rounded(x, *shift).max(0).div_euclid(1 << shift), bits),
            Op::RequantClip { shift, limit } => {
                ring(rounded(x, *shift).div_euclid(1 << shift).max(0).min(wide(*limit)), bits)
            }
            Op::Relu => x.max(0),
            Op::Step => i64::from(x >= 0),
            Op::Extend => x,
            Op::Truncate => ring(wide(x), bits),
            Op::ShiftLeft { by } => ring(wide(x) * (1 << by), bits),
            Op::Scale { factor } => ring(wide(x) * wide(*factor), bits),
            Op::Offset { by } => ring(wide(x) + wide(*by), bits),
            Op::Add => ring(wide(x) + y(), bits),
            Op::Mul => ring(wide(x) * y(), bits),
            Op::Piecewise(Piecewise { first_slope, offset, knots, .. }) => {
                let mut sum = wide(*offset) + wide(*first_slope) * wide(x);
                for (threshold, change) in knots {
                    sum += wide(*change) * wide(ring(wide(x) - wide(*threshold), bits).max(0));
                }
                ring(sum, bits)
            }
            other => panic!("{} is not elementwise", other.name()),
        }
    };
    (0..a.len()).map(one).collect()
}

/// Maxima by wrapped differences: along rows, then along columns, each from left to right in rounds
/// of neighbours.
pub fn max_pool(window: &Window, x: &[i64], ty: &TensorType) -> Vec<i64> {
    let winner = |mut players: Vec<i64>| {
        while players.len() > 1 {
            let play = |pair: &[i64]| match *pair {
                [a, b] if ring(wide(a) - wide(b), ty.bits) < 0 => b,
                _ => pair[0],
            };
            players = players.chunks(2).map(play).collect();
        }
        players[0]
    };
    windows(window, ty, |channel, rows, columns| {
        let row = |r: usize| winner(columns.iter().map(|c| at(x, ty, channel, r, *c)).collect());
        winner(rows.iter().map(|r| row(*r)).collect())
    })
}

/// Sums over windows.
pub fn sum_pool(window: &Window, x: &[i64], ty: &TensorType) -> Vec<i64> {
    windows(window, ty, |channel, rows, columns| {
        let all = rows.iter().flat_map(|r| columns.iter().map(move |c| (*r, *c)));
        ring(all.map(|(r, c)| wide(at(x, ty, channel, r, c))).sum(), ty.bits)
    })
}

fn at(x: &[i64], ty: &TensorType, channel: usize, row: usize, column: usize) -> i64 {
    x[(channel * ty.shape[1] + row) * ty.shape[2] + column]
}

/// `of` each channel and the rows and columns of each of its windows that lie inside the image.
fn windows(window: &Window, ty: &TensorType, of: impl Fn(usize, &[usize], &[usize]) -> i64) -> Vec<i64> {
    let inside = |axis: usize, i: usize| -> Vec<usize> {
        let padded = (0..window.kernel[axis]).map(|k| i * window.strides[axis] + k);
        padded.filter_map(|p| p.checked_sub(window.pads[axis])).filter(|p| *p < ty.shape[axis + 1]).collect()
    };
    let [rows, columns] = window.output(ty.shape[1], ty.shape[2]).unwrap();
    let mut result = Vec::new();
    for channel in 0..ty.shape[0] {
        for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            result.push(of(channel, &inside(0, i), &inside(1, j)));
        }
    }
    result
}

/// An operation that moves elements.
pub fn moved(op: &Op, operands: &[&[i64]], shapes: &[Vec<usize>], out: &[usize]) -> Vec<i64> {
    let places = |shape: &[usize]| -> Vec<Vec<usize>> {
        shape.iter().fold(vec![Vec::new()], |all, n| {
            all.iter().flat_map(|at| (0..*n).map(move |i| [at.as_slice(), &[i]].concat())).collect()
        })
    };
    let place = |at: &[usize]| places(out).iter().position(|other| other == at);
    let mut result = vec![0; places(out).len()];
    let mut start = 0;
    for (x, shape) in operands.iter().zip(shapes) {
        for (x, at) in x.iter().zip(places(shape)) {
            let to: Vec<Option<usize>> = match op {
                Op::Concat { axis } => {
                    at.iter().enumerate().map(|(i, n)| Some(n + if i == *axis { start } else { 0 })).collect()
                }
                Op::Pad { before, .. } => at.iter().zip(before).map(|(n, before)| Some(n + before)).collect(),
                Op::Slice { start } => at.iter().zip(start).map(|(n, start)| n.checked_sub(*start)).collect(),
                Op::Transpose { perm } => perm.iter().map(|axis| Some(at[*axis])).collect(),
                other => panic!("{} moves nothing", other.name()),
            };
            // What a slice leaves out has no place.
            if let Some(place) = to.into_iter().collect::<Option<Vec<usize>>>().and_then(|to| place(&to)) {
                result[place] = *x;
            }
        }
        if let Op::Concat { axis } = op {
            start += shape[*axis];
        }
    }
    result
}
