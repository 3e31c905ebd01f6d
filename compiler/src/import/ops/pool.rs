//! Pools of any number of spatial axes: along two of them at a time, since sums and maxima are
//! separable.

use ndarray::ArrayD;

use fusion_ir::op::Window;

use super::super::call::{Call, Made, number};
use super::super::size;
use super::reduce;
use super::window::{Axis, axes};
use crate::nn::expr::{Expr, Unary};
use crate::nn::{NodeId, Op};

pub(in super::super) fn max(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let axes = start(call, x)?;
    pool(call, x, &axes, Op::MaxPool)
}

pub(in super::super) fn average(call: &mut Call) -> Made {
    let x = call.data(0)?;
    averaged(call, x)
}

/// The means of `x`, with the attributes of the node.
pub(super) fn averaged(call: &mut Call, x: NodeId) -> Made {
    let axes = start(call, x)?;
    let include = call.int("count_include_pad", 0) != 0;
    let sum = pool(call, x, &axes, Op::SumPool)?;
    let counted = |axis: &Axis, i| if include { axis.taps(i, axis.before, axis.after) } else { axis.taps(i, 0, 0) };
    divide(call, sum, &axes, counted)
}

/// The sum of absolute values, or the root of the sum of squares. Higher roots are too steep at
/// zero for a table.
pub(in super::super) fn lp(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let axes = start(call, x)?;
    match call.int("p", 2) {
        1 => {
            let magnitudes = call.b.pointwise(Expr::unary(Unary::Abs, Expr::X), x);
            pool(call, magnitudes, &axes, Op::SumPool)
        }
        2 => {
            let squares = call.b.mul(x, x)?;
            let sum = pool(call, squares, &axes, Op::SumPool)?;
            Ok(call.b.pointwise(Expr::unary(Unary::Sqrt, Expr::X), sum))
        }
        p => Err(format!("p = {p}: only 1 and 2 are supported")),
    }
}

pub(in super::super) fn global_max(call: &mut Call) -> Made {
    let x = call.data(0)?;
    global(call, x, |call, x| Ok(call.b.pool_rows(Op::MaxPool, x)))
}

pub(in super::super) fn global_average(call: &mut Call) -> Made {
    let x = call.data(0)?;
    averaged_whole(call, x)
}

/// The mean of each channel of `x`.
pub(super) fn averaged_whole(call: &mut Call, x: NodeId) -> Made {
    global(call, x, reduce::means)
}

fn start(call: &Call, x: NodeId) -> Result<Vec<Axis>, String> {
    let shape = call.shape(x);
    if !(3..=5).contains(&shape.len()) {
        return Err(format!("data of shape {shape:?} has no images"));
    }
    let kernel = call.extents("kernel_shape", shape.len() - 2, 1, 1)?;
    let apart = call.extents("dilations", shape.len() - 2, 1, 1)?.iter().any(|dilation| *dilation != 1);
    if apart && call.text("auto_pad").starts_with("SAME") {
        return Err("auto_pad SAME with dilations: runtimes disagree about its padding; write it as pads".into());
    }
    axes(call, &shape[2..], &kernel)
}

fn global(call: &mut Call, x: NodeId, f: impl Fn(&mut Call, NodeId) -> Made) -> Made {
    let shape = call.shape(x);
    if shape.len() < 3 {
        return Err(format!("data of shape {shape:?} has no images"));
    }
    let rows = shape[0] * shape[1];
    let matrix = call.b.reshape(x, &[rows, shape[2..].iter().product()]);
    let y = f(call, matrix)?;
    let result: Vec<usize> = (0..shape.len()).map(|axis| if axis < 2 { shape[axis] } else { 1 }).collect();
    Ok(call.b.reshape(y, &result))
}

/// The pool along all spatial axes.
fn pool(call: &mut Call, x: NodeId, axes: &[Axis], op: fn(Window) -> Op) -> Made {
    let mut shape = call.shape(x);
    let mut x = x;
    // Axes with gaps between their taps first, one by one.
    for (i, axis) in axes.iter().enumerate().filter(|(_, axis)| axis.dilation != 1 && axis.kernel != 1) {
        x = dilated(call, x, 2 + i, axis, op)?;
        shape[2 + i] = axis.windows;
    }
    let plain: Vec<Axis> =
        axes.iter()
            .map(|axis| {
                if axis.dilation != 1 && axis.kernel != 1 { unit(axis.windows) } else { Axis { dilation: 1, ..*axis } }
            })
            .collect();
    let mut last = plain.len();
    while last > 0 {
        let first = last.saturating_sub(2);
        let pair: Vec<Axis> = plain[first..last].to_vec();
        let [rows, columns] = if let [rows, columns] = pair[..] { [rows, columns] } else { [pair[0], unit(1)] };
        let behind: usize = shape[2 + last..].iter().product();
        // Axes behind the pair are done: one by one they would be channels, so they come first.
        let outer: usize = shape[..2 + first].iter().product();
        let (height, width) = (rows.extent, columns.extent);
        let mut image = call.b.reshape(x, &[outer, height * width, behind]);
        image = call.b.transpose(image, &[0, 2, 1]);
        image = call.b.reshape(image, &[outer * behind, height, width]);
        let window = Window {
            kernel: [rows.kernel, columns.kernel],
            strides: [rows.stride, columns.stride],
            pads: [rows.before, columns.before, rows.touched(), columns.touched()],
        };
        if (0..4).any(|i| window.pads[i] >= window.kernel[i % 2]) {
            return Err(format!(
                "padding {:?} of a window {:?}: it may not be all padding",
                window.pads, window.kernel
            ));
        }
        let nothing = window.kernel == [1, 1] && window.strides == [1, 1];
        if !nothing {
            image = call.b.push(op(window), vec![image], [outer * behind, rows.windows, columns.windows]);
        }
        image = call.b.reshape(image, &[outer, behind, rows.windows * columns.windows]);
        image = call.b.transpose(image, &[0, 2, 1]);
        for (i, axis) in pair.iter().enumerate() {
            shape[2 + first + i] = axis.windows;
        }
        x = call.b.reshape(image, &shape);
        last = first;
    }
    Ok(x)
}

fn unit(extent: usize) -> Axis {
    Axis { extent, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0, windows: extent }
}

/// The pool along one axis whose taps lie apart: every tap of every window beside the others, then
/// a pool over them.
fn dilated(call: &mut Call, x: NodeId, at: usize, axis: &Axis, op: fn(Window) -> Op) -> Made {
    let mut shape = call.shape(x);
    let sums = matches!(op(Window { kernel: [1, 1], strides: [1, 1], pads: [0; 4] }), Op::SumPool(_));
    let (mut before, mut after) = (vec![0; shape.len()], vec![0; shape.len()]);
    (before[at], after[at]) = (axis.before, axis.touched());
    let x = if sums { call.b.pad(x, &before, &after) } else { x };
    let mut taps = Vec::new();
    for tap in 0..axis.kernel {
        let source = |window: usize| -> Result<usize, String> {
            let position = |tap: usize| window * axis.stride + tap * axis.dilation;
            if sums {
                return Ok(position(tap));
            }
            // A tap in the padding repeats one that is not: the maximum does not change.
            let inside = |p: &usize| (axis.before..axis.before + axis.extent).contains(p);
            let all = [tap].into_iter().chain(0..axis.kernel).map(position);
            all.into_iter().find(inside).map(|p| p - axis.before).ok_or_else(|| "a window is all padding".into())
        };
        let indices: Vec<usize> = (0..axis.windows).map(source).collect::<Result<_, _>>()?;
        taps.push(call.b.select(x, at, &indices));
        size::check_layers(call.b.graph.nodes.len(), call.memory)?;
    }
    shape[at] = axis.windows;
    let (outer, inner) = (shape[..at].iter().product::<usize>(), shape[at..].iter().product::<usize>());
    let taps: Vec<NodeId> = taps.into_iter().map(|tap| call.b.reshape(tap, &[outer, 1, inner])).collect();
    let stacked = call.b.concat(&taps, 1);
    let window = Window { kernel: [axis.kernel, 1], strides: [1, 1], pads: [0; 4] };
    let y = call.b.push(op(window), vec![stacked], [outer, 1, inner]);
    Ok(call.b.reshape(y, &shape))
}

/// Sums divided by how many taps each window has.
fn divide(call: &mut Call, sum: NodeId, axes: &[Axis], counted: impl Fn(&Axis, usize) -> usize) -> Made {
    let counts: Vec<Vec<usize>> =
        axes.iter().map(|axis| (0..axis.windows).map(|i| counted(axis, i)).collect()).collect();
    if counts.iter().flatten().any(|n| *n == 0) {
        return Err("a window is all padding".into());
    }
    if counts.iter().all(|along| along.iter().all(|n| *n == along[0])) {
        let n: usize = counts.iter().map(|along| along[0]).product();
        return Ok(call.b.scale(1.0 / n as f32, sum));
    }
    let extents: Vec<usize> = counts.iter().map(Vec::len).collect();
    let factor = ArrayD::from_shape_fn(extents, |at| {
        let n: usize = counts.iter().enumerate().map(|(axis, along)| along[at[axis]]).product();
        1.0 / n as f32
    });
    call.affine(sum, &factor, &number(0.0))
}
