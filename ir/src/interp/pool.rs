//! Sliding windows, and tournaments by wrapped differences.

use rayon::prelude::*;

use super::elementwise::{BLOCK, ends, left_loses};
use crate::op::Window;
use crate::types::{TensorType, signed};

/// The larger of two elements, by the sign of the difference in `Z_2^bits`; `left` on ties.
pub fn max(left: i64, right: i64, bits: u8) -> i64 {
    if left_loses(left, right, bits) { right } else { left }
}

/// The knock-out order of every tournament: neighbours play, an odd one out goes through, until one
/// is left.
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

/// The part `start..end` of `0..extent` that window number `i` of an axis covers (`axis` 0 rows, 1
/// columns).
pub fn span(window: &Window, axis: usize, i: usize, extent: usize) -> std::ops::Range<usize> {
    let start = i * window.strides[axis];
    let end = (start + window.kernel[axis]).saturating_sub(window.pads[axis]).min(extent);
    start.saturating_sub(window.pads[axis]).min(end)..end
}

pub(super) fn max_pool(window: &Window, x: &[i64], ty: &TensorType) -> Vec<i64> {
    let (low, high) = ends(x);
    // If no difference wraps, the order in which elements meet does not matter.
    if i128::from(high) - i128::from(low) < 1 << (ty.bits - 1) {
        return over_images(window, x, ty, |image, [rows, columns], y| {
            plain_maxima(window, image, [ty.shape[1], ty.shape[2]], [rows, columns], y);
        });
    }
    let best = |players: Vec<i64>| tournament(players, |a, b| max(a, b, ty.bits)).unwrap_or(0);
    over_images(window, x, ty, |image, [rows, columns], y| {
        let [height, width] = [ty.shape[1], ty.shape[2]];
        let across: Vec<i64> = image
            .chunks_exact(width)
            .flat_map(|row| (0..columns).map(move |j| best(row[span(window, 1, j, width)].to_vec())))
            .collect();
        for i in 0..rows {
            let lines = span(window, 0, i, height);
            for j in 0..columns {
                y[i * columns + j] = best(lines.clone().map(|line| across[line * columns + j]).collect());
            }
        }
    })
}

/// Maxima as of ordinary integers, along rows and then along columns.
fn plain_maxima(
    window: &Window,
    image: &[i64],
    [height, width]: [usize; 2],
    [rows, columns]: [usize; 2],
    y: &mut [i64],
) {
    let mut across = vec![0i64; height * columns];
    for (line, row) in across.chunks_exact_mut(columns).zip(image.chunks_exact(width)) {
        for (j, y) in line.iter_mut().enumerate() {
            *y = row[span(window, 1, j, width)].iter().copied().max().unwrap_or(0);
        }
    }
    for (i, y) in y.chunks_exact_mut(columns).take(rows).enumerate() {
        let mut lines = across[span(window, 0, i, height).start * columns..].chunks_exact(columns);
        if let Some(first) = lines.next() {
            y.copy_from_slice(first);
        }
        for line in lines.take(span(window, 0, i, height).len().saturating_sub(1)) {
            y.iter_mut().zip(line).for_each(|(y, x)| *y = (*y).max(*x));
        }
    }
}

pub(super) fn sum_pool(window: &Window, x: &[i64], ty: &TensorType) -> Vec<i64> {
    let [height, width] = [ty.shape[1], ty.shape[2]];
    over_images(window, x, ty, |image, [rows, columns], y| {
        for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            let lines = span(window, 0, i, height);
            let line_sum = |line: usize| {
                let inside = image[line * width..][span(window, 1, j, width)].iter();
                inside.fold(0i64, |sum, x| sum.wrapping_add(*x))
            };
            let sum = lines.fold(0i64, |sum, line| sum.wrapping_add(line_sum(line)));
            y[i * columns + j] = signed(sum as u64, ty.bits);
        }
    })
}

/// What `pool` makes of each channel of `x`, of type `ty`, for windows of so many rows and columns.
fn over_images(
    window: &Window,
    x: &[i64],
    ty: &TensorType,
    pool: impl Fn(&[i64], [usize; 2], &mut [i64]) + Sync,
) -> Vec<i64> {
    let image = ty.shape[1] * ty.shape[2];
    let Some([rows, columns]) = window.output(ty.shape[1], ty.shape[2]) else { return Vec::new() };
    let mut y = vec![0i64; ty.shape[0] * rows * columns];
    let channels = y.par_chunks_exact_mut(rows * columns).zip(x.par_chunks_exact(image));
    channels.with_min_len(BLOCK.div_ceil(image)).for_each(|(y, x)| pool(x, [rows, columns], y));
    y
}
