//! Cross-layer equalisation (Nagel et al., ICCV 2019, section 4.1): a tensor has one number format,
//! so a channel that is small beside the largest keeps few digits. It is made larger where it
//! arises, and the weights that read it smaller.
//!
//! How much is a balance: the factor is the geometric mean of what the channel lacks and what its
//! readers can give. Factors are powers of two, so that nothing is rounded; no channel outgrows its
//! tensor's largest, no weight its kernel's largest, so that nothing else loses.

use crate::nn::eval::Channels;
use crate::nn::scales::{FIXED, Scales};
use crate::nn::{Graph, Op};

/// Rounds after which it stops if it still moves.
const MAX_ROUNDS: usize = 24;
/// What a channel must lack to be worth the change, in doublings of its factor.
const WORTHWHILE: i32 = 2;

/// The exponent of every variable's factor; `None` if all stay as they are.
pub fn exponents(graph: &Graph, scales: &Scales, channels: &[Channels]) -> Option<Vec<i32>> {
    let shares = shares(graph, scales, channels);
    let maps = maps(graph, scales);
    let limits = summand_limits(graph, scales, channels);
    let mut exponents = vec![0i32; scales.count];
    for _ in 0..MAX_ROUNDS {
        let mut gives = vec![0f64; scales.count];
        let mut room = vec![i32::MAX; scales.count];
        for map in &maps {
            let power = |var: u32| f64::from(exponents[var as usize]).exp2();
            let (mut rows, mut columns) = (vec![0f64; map.rows.len()], vec![0f64; map.columns.len()]);
            for (m, row) in map.weights.chunks_exact(map.per_row).enumerate() {
                let first = m / (map.rows.len() / map.groups) * map.per_row;
                for (c, w) in row.iter().enumerate() {
                    let w = f64::from(*w) * power(map.rows[m]) / power(map.columns[first + c]);
                    rows[m] = rows[m].max(w);
                    columns[first + c] = columns[first + c].max(w);
                }
            }
            let largest = rows.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
            for (var, column) in map.columns.iter().zip(columns) {
                let gives = &mut gives[*var as usize];
                *gives = gives.max(column / largest);
            }
            for (var, row) in map.rows.iter().zip(rows).filter(|(_, row)| *row > 0.0) {
                let room = &mut room[*var as usize];
                *room = (*room).min((largest / row).log2().floor() as i32);
            }
        }
        let mut moved = false;
        for var in 1..scales.count {
            if shares[var] == 0.0 || gives[var] == 0.0 {
                continue;
            }
            let lacks = gives[var] / (shares[var] * f64::from(exponents[var]).exp2());
            let wanted = (lacks.log2() / 2.0).floor() as i32;
            let by = wanted.min(room[var]).min(limits[var].saturating_sub(exponents[var]));
            if by >= 1 && (exponents[var] > 0 || by >= WORTHWHILE) {
                exponents[var] += by;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    exponents.iter().any(|e| *e != 0).then_some(exponents)
}

/// For each variable, its largest element as a fraction of its tensor's largest, where that is
/// most. Zero for what must keep its scale: what is [`FIXED`], and the input's features, which have
/// formats of their own.
fn shares(graph: &Graph, scales: &Scales, channels: &[Channels]) -> Vec<f64> {
    let mut shares = vec![0f64; scales.count];
    for (layout, seen) in scales.layouts.iter().zip(channels) {
        let largest = seen.largest().max(f32::MIN_POSITIVE);
        for (var, channel) in layout.vars.iter().zip(&seen.0) {
            let share = &mut shares[*var as usize];
            *share = share.max(f64::from(channel / largest));
        }
    }
    shares[FIXED as usize] = 0.0;
    for (layout, node) in scales.layouts.iter().zip(&graph.nodes) {
        if matches!(node.op, Op::Normalise(_)) {
            layout.vars.iter().for_each(|var| shares[*var as usize] = 0.0);
        }
    }
    shares
}

/// A linear map's weights, the largest absolute one of each pair of channels, with its variables.
struct Map {
    weights: Vec<f32>,
    /// Input channels of each row.
    per_row: usize,
    groups: usize,
    rows: Vec<u32>,
    columns: Vec<u32>,
}

fn maps(graph: &Graph, scales: &Scales) -> Vec<Map> {
    let mut maps = Vec::new();
    for (layout, node) in scales.layouts.iter().zip(&graph.nodes) {
        let (weights, per_row, groups) = match &node.op {
            Op::Conv(conv) => {
                let taps = conv.weight.shape()[2] * conv.weight.shape()[3];
                let weights: Vec<f32> = conv.weight.iter().map(|w| w.abs()).collect();
                let weights = weights.chunks_exact(taps).map(|taps| taps.iter().fold(0f32, |a, b| a.max(*b))).collect();
                (weights, conv.weight.shape()[1], conv.groups)
            }
            Op::Dense(dense) => (dense.weight.iter().map(|w| w.abs()).collect(), dense.weight.ncols(), 1),
            _ => continue,
        };
        let rows = layout.along(&node.shape, 0).unwrap_or_default();
        let columns = scales.read(graph, node.inputs[0]).unwrap_or_default();
        maps.push(Map { weights, per_row, groups, rows, columns });
    }
    maps
}

/// How far each variable may rise before a summand outgrows the tensor to which it belongs.
fn summand_limits(graph: &Graph, scales: &Scales, channels: &[Channels]) -> Vec<i32> {
    let mut limits = vec![i32::MAX; scales.count];
    for ((layout, node), seen) in scales.layouts.iter().zip(&graph.nodes).zip(channels) {
        let mut limit = |var: u32, summand: f32| {
            let room = (seen.largest() / summand.abs()).log2().floor();
            if summand != 0.0 && room.is_finite() {
                limits[var as usize] = limits[var as usize].min(room as i32);
            }
        };
        let mut by_channel = |bias: &[f32]| {
            let rows = layout.along(&node.shape, 0).unwrap_or_default();
            rows.iter().zip(bias).for_each(|(var, bias)| limit(*var, *bias));
        };
        match &node.op {
            Op::Conv(conv) => by_channel(&conv.bias),
            Op::Dense(dense) => by_channel(&dense.bias),
            Op::Affine(affine) => {
                let at = affine.indices(&node.shape);
                at.into_iter().enumerate().for_each(|(i, at)| limit(layout.var(i), affine.shift[at]));
            }
            _ => {}
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::nn::build::Builder;
    use crate::nn::{Dense, eval};

    /// Two dense layers with a ReLU between; `sizes` are the four hidden channels', which the
    /// second layer takes back, times `weights`.
    fn network(sizes: [f32; 4], weights: [f32; 4]) -> Graph {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [3]);
        let weight = |m, n, size: &dyn Fn(usize, usize) -> f32| {
            Array2::from_shape_fn([m, n], |(i, j)| (0.6 + 0.1 * ((i * 5 + j * 3) % 5) as f32) * size(i, j))
        };
        let first = Dense { weight: weight(4, 3, &|i, _| sizes[i]), bias: vec![0.0; 4] };
        let h = b.push(Op::Dense(first), vec![x], [4]);
        let h = b.relu(h);
        let second = Dense { weight: weight(2, 4, &|_, j| weights[j] / sizes[j]), bias: vec![0.0; 2] };
        let y = b.push(Op::Dense(second), vec![h], [2]);
        b.graph.reachable(y)
    }

    fn hidden(graph: &Graph) -> (Vec<f32>, Option<Vec<i32>>) {
        let scales = Scales::of(graph);
        let samples = [vec![1.0, 0.5, 0.25], vec![0.5, 1.0, 1.0]];
        let observed = eval::observe(graph, &scales.layouts, &samples);
        let found = exponents(graph, &scales, &observed.channels);
        let mut scaled = graph.clone();
        found.iter().for_each(|exponents| scales.apply(&mut scaled, exponents));
        let after = eval::observe(&scaled, &scales.layouts, &samples);
        assert_eq!(after.outputs, observed.outputs);
        (after.channels[1].0.clone(), found)
    }

    #[test]
    fn channels_of_different_scales_end_within_a_small_factor() {
        let (channels, _) = hidden(&network([1.0, 1000.0, 1e-3, 1.0], [1.0; 4]));
        let (least, most) = channels.iter().fold((f32::MAX, 0f32), |(low, high), x| (low.min(*x), high.max(*x)));
        assert!(most / least < 10.0 && most < 3000.0, "{channels:?}");
    }

    #[test]
    fn channels_of_about_one_scale_stay() {
        assert_eq!(hidden(&network([1.0, 3.0, 0.5, 2.0], [1.0; 4])).1, None);
    }

    #[test]
    fn small_channels_that_matter_little_stay() {
        assert_eq!(hidden(&network([1.0, 1.0, 1e-3, 1.0], [1.0, 1.0, 1e-6, 1.0])).1, None);
    }
}
