//! Convolutions of volumes `[C, D, H, W]` as one of an image: the slices that a kernel's depth
//! meets are stacked as channels, and the volumes of all results lie one below the other.

use ndarray::{Array4, Array5, ArrayD, Ix5};

use super::super::call::{Call, Made};
use super::image::{group_count, per_image};
use super::shape;
use super::window::{self, Axis};
use crate::nn::{Conv, NodeId, Op};

pub(super) fn conv(call: &mut Call, x: NodeId, weight: ArrayD<f32>, bias: &[f32]) -> Made {
    let extents = weight.shape().to_vec();
    let weight = weight.into_dimensionality::<Ix5>().map_err(|_| format!("a kernel of {extents:?} on volumes"))?;
    let declared = call.ints("kernel_shape").unwrap_or_default();
    if weight.is_empty() || !declared.is_empty() && !declared.iter().map(|n| *n as usize).eq(extents[2..].to_vec()) {
        return Err(format!("its kernel is {extents:?}, not {declared:?}"));
    }
    let shape = call.shape(x);
    let axes = window::axes(call, &shape[2..], &extents[2..])?;
    let groups = group_count(call, shape[1], extents[0])?;
    if extents[1] * groups != shape[1] {
        return Err(format!("a kernel of {extents:?} in {groups} groups on {} channels", shape[1]));
    }
    let mut result = vec![shape[0], extents[0]];
    result.extend(axes.iter().map(|axis| axis.windows));
    per_image(call, x, &shape[1..], &result, |call, x| convolved(call, x, &weight, bias, &axes, groups))
}

/// The convolution of one volume.
fn convolved(call: &mut Call, x: NodeId, weight: &Array5<f32>, bias: &[f32], axes: &[Axis], groups: usize) -> Made {
    let [depth, rows, columns] = [axes[0], axes[1], axes[2]];
    let [c, h, w] = [0, 2, 3].map(|axis| call.shape(x)[axis]);
    let (per_group, taps) = (c / groups, depth.kernel);
    let x = call.b.pad(x, &[0, depth.before, 0, 0], &[0, depth.touched(), 0, 0]);
    let mut stack = Vec::new();
    for tap in 0..taps {
        let slices = shape::strided(call, x, 1, tap * depth.dilation, depth.stride as i64, depth.windows)?;
        stack.push(call.b.reshape(slices, &[groups, 1, per_group, depth.windows * h * w]));
    }
    let stacked = call.b.concat(&stack, 1);
    let slices = call.b.reshape(stacked, &[taps * c, depth.windows, h, w]);
    // Slices are so high that windows begin at the same row of each; windows over two of them are
    // dropped afterwards.
    let needed = ((rows.windows - 1) * rows.stride + rows.reach()).max(rows.before + h);
    let height = needed.next_multiple_of(rows.stride);
    let padded = call.b.pad(slices, &[0, 0, rows.before, 0], &[0, 0, height - rows.before - h, 0]);
    let tall = call.b.reshape(padded, &[taps * c, depth.windows * height, w]);
    let [m, kh, kw] = [0, 3, 4].map(|axis| weight.shape()[axis]);
    let stacked = Array4::from_shape_fn((m, taps * per_group, kh, kw), |(m, channel, i, j)| {
        weight[(m, channel % per_group, channel / per_group, i, j)]
    });
    let conv = Conv {
        weight: stacked,
        bias: bias.to_vec(),
        strides: [rows.stride, columns.stride],
        pads: [0, columns.before, 0, columns.touched()],
        dilations: [rows.dilation, columns.dilation],
        groups,
    };
    let (found, each) = ((depth.windows * height - rows.reach()) / rows.stride + 1, height / rows.stride);
    let y = call.b.push(Op::Conv(conv), vec![tall], [m, found, columns.windows]);
    let y = call.b.pad(y, &[0; 3], &[0, depth.windows * each - found, 0]);
    let y = call.b.reshape(y, &[m, depth.windows, each, columns.windows]);
    Ok(call.b.slice(y, &[0; 4], &[m, depth.windows, rows.windows, columns.windows]))
}
