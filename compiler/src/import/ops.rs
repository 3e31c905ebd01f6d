//! One function per kind of typed operator: what it is in the float network, or why it is not.

use fusion_ir::op::Window;
use ndarray::{Array2, ArrayD, Ix4};
use tract_onnx::prelude::{OutletId, Tensor};
use tract_onnx::tract_core::axes::Axis as MappedAxis;
use tract_onnx::tract_core::model::TypedNode;
use tract_onnx::tract_core::ops::change_axes::{AxisOp, InOut};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer};

use super::walk::{Translated, Walk, Wire, constant, value};
use crate::nn::{self, NodeId, Op};

pub(super) fn conv(walk: &mut Walk, node: &TypedNode, op: &Conv, wires: &[Wire], shape: Vec<usize>) -> Translated {
    let (Some(Wire::Value(x)), Some(Wire::Const(weight))) = (wires.first(), wires.get(1)) else {
        return Err("the kernel must be a constant".into());
    };
    let bias = wires.get(2).and_then(constant).ok_or("the bias must be a constant")?;
    if op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW {
        return Err("quantised convolutions are not supported".into());
    }
    let full = walk.full_shape(node.inputs[0])?;
    let Window { strides, pads, .. } = window(&op.pool_spec, &full)?;
    let weight =
        floats(weight)?.into_dimensionality::<Ix4>().map_err(|_| "only images (two dimensions) are supported")?;
    let bias = per_channel(&floats(&bias)?, weight.shape()[0])?;
    let dilations = op.pool_spec.dilations();
    let dilations = [dilations[0], dilations[1]];
    let conv = nn::Conv { weight, bias, strides, pads, dilations, groups: op.group };
    Ok(walk.push(node, Op::Conv(conv), vec![*x], shape))
}

/// A matrix product with a constant, whatever the order of its axes: all data axes but the summed ones have extent 1.
pub(super) fn dense(walk: &mut Walk, node: &TypedNode, op: &EinSum, wires: &[Wire], shape: Vec<usize>) -> Translated {
    let (data_slot, x, weight) = match wires {
        [Wire::Value(x), Wire::Const(weight)] => (0, *x, weight),
        [Wire::Const(weight), Wire::Value(x)] => (1, *x, weight),
        _ => return Err("a product of two secrets is not supported".into()),
    };
    let weight_slot = 1 - data_slot;
    let data_shape = walk.full_shape(node.inputs[data_slot])?;
    let mut weight = floats(weight)?;
    let (mut summed, mut kept) = (Vec::new(), Vec::new());
    for axis in op.axes.iter_all_axes() {
        let at = |slot: usize| single(&axis.inputs[slot]);
        let out = single(&axis.outputs[0]);
        match (at(data_slot), at(weight_slot), out) {
            (Some(data), Some(weight), None) => summed.push((data, weight)),
            (None, Some(weight), Some(out)) => kept.push((out, weight)),
            (Some(data), _, _) if data_shape[data] == 1 => {}
            (None, Some(axis), None) if weight.shape()[axis] == 1 => {}
            (None, None, _) => {}
            _ => {
                return Err(format!(
                    "only a vector times a matrix is supported, not {:?}",
                    axes_text(op.axes.iter_all_axes())
                ));
            }
        }
    }
    summed.sort_unstable();
    kept.sort_unstable();
    let order: Vec<usize> = kept.iter().chain(&summed).map(|(_, axis)| *axis).collect();
    let rest: Vec<usize> = (0..weight.ndim()).filter(|axis| !order.contains(axis)).collect();
    if rest.iter().any(|axis| weight.shape()[*axis] != 1) {
        return Err("only a vector times a matrix is supported".into());
    }
    weight = weight.permuted_axes([order, rest].concat());
    let rows: usize = kept.iter().enumerate().map(|(i, _)| weight.shape()[i]).product();
    let columns = weight.len() / rows.max(1);
    if columns != walk.graph.node(x).len() {
        return Err("only a vector times a matrix is supported".into());
    }
    let elements: Vec<f32> = weight.iter().copied().collect();
    let weight = Array2::from_shape_vec((rows, columns), elements).map_err(|e| e.to_string())?;
    let flat = flatten(walk, node, x);
    let bias = vec![0.0; rows];
    let product = walk.push(node, Op::Dense(nn::Dense { weight, bias }), vec![flat], vec![rows]);
    Ok(if shape == [rows] { product } else { walk.push(node, Op::Reshape, vec![product], shape) })
}

pub(super) fn binary(walk: &mut Walk, node: &TypedNode, op: &str, wires: &[Wire], shape: Vec<usize>) -> Translated {
    let op = op.to_ascii_lowercase();
    if let [Wire::Value(a), Wire::Value(b)] = wires {
        let (a, mut b) = (*a, *b);
        if walk.graph.node(a).shape != shape || walk.graph.node(b).shape != shape {
            return Err("broadcasting one secret over another is not supported".into());
        }
        if op == "sub" {
            let channels = shape[0];
            let negate = Op::Affine { scale: vec![-1.0; channels], shift: vec![0.0; channels] };
            b = walk.push(node, negate, vec![b], shape.clone());
        } else if op != "add" {
            return Err(format!("{op} of two secrets is not supported"));
        }
        return Ok(walk.push(node, Op::Add, vec![a, b], shape));
    }
    let (x, c, constant_first) = match wires {
        [Wire::Value(x), Wire::Const(c)] => (*x, floats(c)?, false),
        [Wire::Const(c), Wire::Value(x)] => (*x, floats(c)?, true),
        _ => return Err("needs two operands".into()),
    };
    if walk.graph.node(x).len() != shape.iter().product::<usize>() {
        return Err("broadcasting a secret is not supported".into());
    }
    let c = match c.len() {
        1 => vec![c.iter().copied().next().unwrap_or(0.0); shape[0]],
        _ => along_channels(&c, &walk.full_shape(OutletId::new(node.id, 0))?, &shape)?,
    };
    let zeros = || vec![0.0; shape[0]];
    let ones = || vec![1.0; shape[0]];
    let affine = |scale, shift| Ok(Op::Affine { scale, shift });
    let translated = match op.as_str() {
        "add" => affine(ones(), c),
        "sub" if constant_first => affine(vec![-1.0; shape[0]], c),
        "sub" => affine(ones(), c.iter().map(|c| -c).collect()),
        "mul" if averages(walk, x, c[0]) && uniform(&c) => Ok(Op::Scale(c[0])),
        "mul" => affine(c, zeros()),
        "div" if constant_first => Err("division by a secret is not supported".into()),
        "div" if c.contains(&0.0) => Err("division by zero".into()),
        "div" if averages(walk, x, 1.0 / c[0]) && uniform(&c) => Ok(Op::Scale(1.0 / c[0])),
        "div" => affine(c.iter().map(|c| 1.0 / c).collect(), zeros()),
        "max" if c.iter().all(|c| *c == 0.0) => Ok(Op::Relu),
        "min" if c.iter().all(|c| *c == f32::INFINITY || *c == f32::MAX) => return Ok(x),
        "max" => Err(format!("clipping from below at {} is not supported, only at 0 (ReLU)", c[0])),
        "min" => Err(format!("clipping from above at {} is not supported", c[0])),
        _ => Err(format!("{op} is not supported")),
    };
    translated.map(|op| walk.push(node, op, vec![x], shape))
}

/// The window of a pooling or convolution, `full` being `[1, C, H, W]`.
pub(super) fn window(spec: &PoolSpec, full: &[usize]) -> Result<Window, String> {
    if spec.data_format != DataFormat::NCHW || spec.rank() != 2 || full.len() != 4 || full[0] != 1 {
        return Err(format!("only images [batch, channels, height, width] are supported, not {full:?}"));
    }
    let padding = spec.computed_padding(&full[2..]);
    Ok(Window {
        kernel: [spec.kernel_shape[0], spec.kernel_shape[1]],
        strides: [spec.stride(0), spec.stride(1)],
        pads: [padding[0].pad_before, padding[1].pad_before, padding[0].pad_after, padding[1].pad_after],
    })
}

pub(super) fn sum_pool(walk: &mut Walk, node: &TypedNode, op: &SumPool, x: NodeId, shape: Vec<usize>) -> Translated {
    let window = window(&op.pool_spec, &walk.full_shape(node.inputs[0])?)?;
    if op.normalize && !op.count_include_pad && window.pads != [0; 4] {
        return Err("padding without count_include_pad: the divisor would change at the border".into());
    }
    let count = (window.kernel[0] * window.kernel[1]) as f32;
    let sum = walk.push(node, Op::SumPool(window), vec![x], shape.clone());
    Ok(if op.normalize { walk.push(node, Op::Scale(1.0 / count), vec![sum], shape) } else { sum })
}

/// Reductions: over a whole image, or the argmax of the scores.
pub(super) fn reduce(walk: &mut Walk, node: &TypedNode, op: &Reduce, x: NodeId, shape: Vec<usize>) -> Translated {
    let full = walk.full_shape(node.inputs[0])?;
    let mut axes: Vec<usize> = op.axes.iter().copied().filter(|axis| full[*axis] > 1).collect();
    axes.sort_unstable();
    match op.reducer {
        Reducer::ArgMax(false)
            if full.iter().product::<usize>() == axes.iter().map(|axis| full[*axis]).product::<usize>() =>
        {
            Ok(walk.push(node, Op::ArgMax, vec![x], vec![1]))
        }
        Reducer::Sum | Reducer::Max if full.len() == 4 && op.axes.as_slice() == [2, 3] => {
            let window = Window { kernel: [full[2], full[3]], strides: [1, 1], pads: [0; 4] };
            let op = if op.reducer == Reducer::Sum { Op::SumPool(window) } else { Op::MaxPool(window) };
            Ok(walk.push(node, op, vec![x], shape))
        }
        _ => Err(format!("reduction {:?} over axes {:?} of {full:?} is not supported", op.reducer, op.axes)),
    }
}

pub(super) fn concat(walk: &mut Walk, node: &TypedNode, axis: usize, wires: &[Wire], shape: Vec<usize>) -> Translated {
    let inputs: Vec<NodeId> = wires.iter().filter_map(value).collect();
    let axis = axis.checked_sub(1).ok_or("joining samples is not supported")?;
    if inputs.len() != wires.len() {
        return Err("joining data with constants is not supported".into());
    }
    Ok(walk.push(node, Op::Concat { axis }, inputs, shape))
}

/// Reshapes and transpositions; one that only moves extents of 1 is a reshape.
pub(super) fn axes(walk: &mut Walk, node: &TypedNode, op: &AxisOp, x: NodeId, shape: Vec<usize>) -> Translated {
    let full = walk.full_shape(node.inputs[0])?;
    if let AxisOp::Move(from, to) = op {
        let mut perm: Vec<usize> = (0..full.len()).collect();
        let moved = perm.remove(*from);
        perm.insert(*to, moved);
        let visible: Vec<usize> = perm.iter().copied().filter(|axis| full[*axis] != 1).collect();
        if !visible.is_sorted() {
            if full[0] != 1 || perm[0] != 0 {
                return Err("moving the batch axis is not supported".into());
            }
            let perm = perm[1..].iter().map(|axis| axis - 1).collect();
            return Ok(walk.push(node, Op::Transpose { perm }, vec![x], shape));
        }
    }
    Ok(if walk.graph.node(x).shape == shape { x } else { walk.push(node, Op::Reshape, vec![x], shape) })
}

fn flatten(walk: &mut Walk, node: &TypedNode, x: NodeId) -> NodeId {
    let len = walk.graph.node(x).len();
    if walk.graph.node(x).shape == [len] { x } else { walk.push(node, Op::Reshape, vec![x], vec![len]) }
}

/// Whether multiplying `x` by `factor` makes a sum over windows their average.
fn averages(walk: &Walk, x: NodeId, factor: f32) -> bool {
    match &walk.graph.node(x).op {
        Op::Reshape => averages(walk, walk.graph.node(x).inputs[0], factor),
        Op::SumPool(window) => (factor * (window.kernel[0] * window.kernel[1]) as f32 - 1.0).abs() < 1e-5,
        _ => false,
    }
}

fn uniform(values: &[f32]) -> bool {
    values.iter().all(|value| *value == values[0])
}

fn floats(tensor: &Tensor) -> Result<ArrayD<f32>, String> {
    let tensor = tensor.cast_to::<f32>().map_err(|e| e.to_string())?;
    let view = tensor.to_plain_array_view::<f32>().map_err(|e| e.to_string())?;
    let elements: Vec<f32> = view.iter().copied().collect();
    if let Some(bad) = elements.iter().find(|x| !x.is_finite()) {
        return Err(format!("a constant of it is {bad}"));
    }
    ArrayD::from_shape_vec(view.shape(), elements).map_err(|e| e.to_string())
}

/// A bias: one number per channel, or one for all.
fn per_channel(bias: &ArrayD<f32>, channels: usize) -> Result<Vec<f32>, String> {
    let elements: Vec<f32> = bias.iter().copied().collect();
    match elements.as_slice() {
        [one] => Ok(vec![*one; channels]),
        all if all.len() == channels => Ok(elements),
        all => Err(format!("{} bias elements for {channels} channels", all.len())),
    }
}

/// The constant's value per channel; it must not vary along any other axis. `full` is the result's shape with the batch axis.
fn along_channels(c: &ArrayD<f32>, full: &[usize], sample: &[usize]) -> Result<Vec<f32>, String> {
    let channel_axis = full.len() - sample.len();
    let missing = full.len().checked_sub(c.ndim()).ok_or("broadcasting a secret is not supported")?;
    let varies = |(axis, extent): (usize, &usize)| *extent != 1 && axis + missing != channel_axis;
    if c.shape().iter().enumerate().any(varies) {
        return Err(format!(
            "a constant of shape {:?} on data of shape {full:?}: it may vary by channel only",
            c.shape()
        ));
    }
    Ok(c.iter().copied().collect())
}

fn single(positions: &[usize]) -> Option<usize> {
    if let [position] = positions { Some(*position) } else { None }
}

fn axes_text<'a>(axes: impl Iterator<Item = &'a MappedAxis>) -> Vec<(usize, usize)> {
    axes.map(|axis| (axis.interface(InOut::In(0)).len(), axis.interface(InOut::In(1)).len())).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Dimension;

    use super::*;

    #[test]
    fn constants_vary_by_channel_only() {
        let c = |shape: &[usize]| ArrayD::from_shape_fn(shape, |at| at.slice().iter().sum::<usize>() as f32);
        assert_eq!(along_channels(&c(&[3, 1, 1]), &[1, 3, 5, 5], &[3, 5, 5]).unwrap(), [0.0, 1.0, 2.0]);
        assert_eq!(along_channels(&c(&[1, 3]), &[1, 3], &[3]).unwrap(), [0.0, 1.0, 2.0]);
        assert!(along_channels(&c(&[5]), &[1, 3, 5, 5], &[3, 5, 5]).is_err());
    }
}
