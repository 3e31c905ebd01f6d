//! Convolutions, matrix products and BatchNormalization.

use fusion_ir::verify::MAX_PRODUCTS;
use ndarray::{Array2, Array4, ArrayD, Axis as Along, Ix4};

use super::super::call::{Call, Made, number};
use super::image::{group_count, per_image};
use super::{volume, window};
use crate::nn::{Conv, Dense, Graph, Node, NodeId, Op};

pub(in super::super) fn conv(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let weight = call.floats(1, "the kernel")?;
    let bias = call.optional_floats(2, "the bias")?;
    convolution(call, x, weight, bias)
}

/// The convolution of `x` by a known kernel, with the attributes of the node.
pub(super) fn convolution(call: &mut Call, x: NodeId, weight: ArrayD<f32>, bias: Option<ArrayD<f32>>) -> Made {
    let channels = weight.shape().first().copied().unwrap_or(0);
    let bias = bias_of(bias, channels)?;
    if call.shape(x).len() == 5 {
        return volume::conv(call, x, weight, &bias);
    }
    let weight = kernel(call, weight)?;
    let shape = call.shape(x);
    let (spatial, image) = image_axes(&shape)?;
    let extents = &weight.shape()[2..];
    let axes = window::axes(call, spatial, &extents[2 - spatial.len()..])?;
    let groups = group_count(call, shape[1], weight.shape()[0])?;
    if weight.shape()[1] * groups != shape[1] {
        return Err(format!("a kernel of {:?} in {groups} groups on {} channels", weight.shape(), shape[1]));
    }
    let line = window::Axis { extent: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0, windows: 1 };
    let [rows, columns] = if let [rows, columns] = axes[..] { [rows, columns] } else { [line, axes[0]] };
    let conv = Conv {
        weight,
        bias,
        strides: [rows.stride, columns.stride],
        pads: [rows.before, columns.before, rows.touched(), columns.touched()],
        dilations: [rows.dilation, columns.dilation],
        groups,
    };
    let out = [conv.bias.len(), rows.windows, columns.windows];
    let mut result = vec![shape[0], out[0]];
    result.extend(axes.iter().map(|axis| axis.windows));
    per_image(call, x, &image, &result, |call, x| Ok(call.b.push(Op::Conv(conv.clone()), vec![x], out)))
}

/// A transposed convolution is a convolution of the image with zeros between its elements by the
/// kernel turned around.
pub(in super::super) fn conv_transpose(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let weight = kernel(call, call.floats(1, "the kernel")?)?;
    let shape = call.shape(x);
    let (spatial, image) = image_axes(&shape)?;
    let n = spatial.len();
    let [c_in, per_group] = [weight.shape()[0], weight.shape()[1]];
    let groups = group_count(call, c_in, c_in)?;
    if c_in != shape[1] {
        return Err(format!("a kernel of {:?} on {} channels", weight.shape(), shape[1]));
    }
    let c_out = per_group * groups;
    let bias = bias_of(call.optional_floats(2, "the bias")?, c_out)?;
    let strides = call.extents("strides", n, 1, 1)?;
    let dilations = call.extents("dilations", n, 1, 1)?;
    let extra = call.extents("output_padding", n, 0, 0)?;
    let pads = call.extents("pads", 2 * n, 0, 0)?;
    let wanted = call.ints("output_shape").map(|s| s.iter().map(|v| *v as usize).collect::<Vec<_>>());
    let automatic = call.text("auto_pad").to_string();
    // For both image axes: input extent, kernel reach, stride, dilation, padding before and behind,
    // extra rows behind.
    let mut plans = vec![(1usize, 1usize, 1usize, 1usize, 0i64, 0i64)];
    let mut result = vec![shape[0], c_out];
    for i in 0..n {
        let kernel = weight.shape()[4 - n + i];
        let reach = dilations[i] * (kernel - 1) + 1;
        let full = strides[i] * (spatial[i] - 1) + extra[i] + reach;
        let wanted = wanted.as_ref().and_then(|w| w.get((w.len() - n.min(w.len())) + i).copied());
        let wanted = wanted.or_else(|| automatic.starts_with("SAME").then(|| spatial[i] * strides[i]));
        let (before, after) = match wanted {
            Some(wanted) => {
                let total = full as i64 - wanted as i64;
                if total < 0 && automatic.starts_with("SAME") {
                    return Err(format!(
                        "auto_pad {automatic} where the kernel reaches {} fewer than a result of {wanted}: runtimes disagree \
                         about its extent and place; write it as pads and output_padding",
                        -total,
                    ));
                }
                // What is missing comes last.
                let half = if total < 0 { total } else { total / 2 };
                if automatic == "SAME_UPPER" { (half, total - half) } else { (total - half, half) }
            }
            None => (pads[i] as i64, pads[n + i] as i64),
        };
        let out = full as i64 - before - after;
        result.push(usize::try_from(out).ok().filter(|out| *out > 0).ok_or("its result is empty")?);
        // What the plain convolution pads by: reach - 1 less the padding that is taken away.
        let (before, after) = (reach as i64 - 1 - before, reach as i64 - 1 - after + extra[i] as i64);
        plans.push((spatial[i], reach, strides[i], dilations[i], before, after));
    }
    let [rows, columns] = [plans[plans.len() - 2], plans[plans.len() - 1]];
    let turned = Array4::from_shape_fn((c_out, c_in / groups, weight.shape()[2], weight.shape()[3]), |(m, c, i, j)| {
        let (group, [kh, kw]) = (m / per_group, [weight.shape()[2], weight.shape()[3]]);
        weight[(group * (c_in / groups) + c, m % per_group, kh - 1 - i, kw - 1 - j)]
    });
    let out: Vec<usize> = if n == 2 { result[1..].to_vec() } else { vec![c_out, 1, result[2]] };
    per_image(call, x, &image, &result, |call, x| {
        let x = spread(call, x, [rows.2, columns.2]);
        let [top, left, bottom, right] = [rows.4, columns.4, rows.5, columns.5];
        // Negative padding takes rows away.
        let crop = |p: i64| usize::try_from(-p).unwrap_or(0);
        let shape = call.shape(x);
        let cut = [
            shape[0],
            shape[1].saturating_sub(crop(top) + crop(bottom)),
            shape[2].saturating_sub(crop(left) + crop(right)),
        ];
        if cut.contains(&0) {
            return Err("its padding takes everything away".into());
        }
        let x = call.b.slice(x, &[0, crop(top), crop(left)], &cut);
        let pads = [top, left, bottom, right].map(|p| usize::try_from(p).unwrap_or(0));
        let (weight, bias) = (turned.clone(), bias.clone());
        let conv = Conv { weight, bias, strides: [1, 1], pads, dilations: [rows.3, columns.3], groups };
        Ok(call.b.push(Op::Conv(conv), vec![x], out.clone()))
    })
}

pub(in super::super) fn gemm(call: &mut Call) -> Made {
    let (alpha, beta) = (call.float("alpha", 1.0), call.float("beta", 1.0));
    let turn = |call: &mut Call, i: usize, name: &str| -> Result<Operand, String> {
        let turned = call.int(name, 0) != 0;
        let operand = operand(call, i)?;
        if operand.shape(call).len() != 2 {
            return Err("its operands must be matrices".into());
        }
        Ok(if turned { operand.transposed(call) } else { operand })
    };
    let a = turn(call, 0, "transA")?;
    let b = turn(call, 1, "transB")?;
    let product = product(call, a, b)?;
    let scaled = call.affine(product, &number(alpha), &number(0.0))?;
    if !call.has(2) || beta == 0.0 {
        return Ok(scaled);
    }
    if call.constant(2).is_some() {
        let c = call.floats(2, "the summand")?.mapv(|c| c * beta);
        return call.affine(scaled, &number(1.0), &c);
    }
    let c = call.data(2)?;
    let c = call.affine(c, &number(beta), &number(0.0))?;
    let shape = call.shape(scaled);
    let c = call.b.expand(c, &shape)?;
    Ok(call.b.add(scaled, c))
}

pub(in super::super) fn mat_mul(call: &mut Call) -> Made {
    let (a, b) = (operand(call, 0)?, operand(call, 1)?);
    multiplied(call, a, b)
}

/// The product as MatMul has it: vectors are rows or columns.
pub(super) fn multiplied(call: &mut Call, mut a: Operand, mut b: Operand) -> Made {
    let (a_shape, b_shape) = (a.shape(call), b.shape(call));
    let mut shape = Vec::new();
    if a_shape.len() == 1 {
        a = a.reshaped(call, &[1, a_shape[0]])?;
    }
    if b_shape.len() == 1 {
        b = b.reshaped(call, &[b_shape[0], 1])?;
    }
    let y = product(call, a, b)?;
    let full = call.shape(y);
    let rank = full.len();
    shape.extend(&full[..rank - 2]);
    shape.extend((a_shape.len() > 1).then_some(full[rank - 2]));
    shape.extend((b_shape.len() > 1).then_some(full[rank - 1]));
    Ok(call.b.reshape(y, &shape))
}

pub(in super::super) fn batch_norm(call: &mut Call) -> Made {
    if call.int("training_mode", 0) != 0 {
        return Err("training_mode is not supported: export the model for inference".into());
    }
    if call.opset < 7 && call.int("is_test", 0) == 0 && call.node.output.len() > 1 {
        return Err("is_test is 0: export the model for inference".into());
    }
    if call.int("spatial", 1) == 0 {
        return Err("spatial = 0 is not supported".into());
    }
    let x = call.data(0)?;
    let shape = call.shape(x);
    let epsilon = call.float("epsilon", 1e-5);
    let vector =
        |i: usize, what: &str| -> Result<Vec<f32>, String> { Ok(call.floats(i, what)?.iter().copied().collect()) };
    let (gamma, beta) = (vector(1, "the scale")?, vector(2, "the shift")?);
    let (mean, variance) = (vector(3, "the mean")?, vector(4, "the variance")?);
    let channels = shape.get(1).copied().ok_or("its data has no channels")?;
    if [&gamma, &beta, &mean, &variance].iter().any(|v| v.len() != channels) {
        return Err(format!("its parameters are not for {channels} channels"));
    }
    let scale: Vec<f32> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let shift: Vec<f32> = beta.iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| b - m * s).collect();
    let extents: Vec<usize> = (1..shape.len()).map(|axis| if axis == 1 { channels } else { 1 }).collect();
    let array = |values| ArrayD::from_shape_vec(extents.clone(), values).map_err(|e| e.to_string());
    let (scale, shift) = (array(scale)?, array(shift)?);
    call.affine(x, &scale, &shift)
}

/// A factor of a matrix product.
pub(super) enum Operand {
    Data(NodeId),
    Const(ArrayD<f32>),
}

impl Operand {
    pub fn shape(&self, call: &Call) -> Vec<usize> {
        match self {
            Operand::Data(x) => call.shape(*x),
            Operand::Const(c) => c.shape().to_vec(),
        }
    }

    /// The last two axes exchanged.
    fn transposed(self, call: &mut Call) -> Operand {
        match self {
            Operand::Data(x) => {
                let rank = call.shape(x).len();
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.swap(rank - 1, rank - 2);
                Operand::Data(call.b.transpose(x, &perm))
            }
            Operand::Const(mut c) => {
                let rank = c.ndim();
                c.swap_axes(rank - 1, rank - 2);
                Operand::Const(c)
            }
        }
    }

    pub fn reshaped(self, call: &mut Call, shape: &[usize]) -> Result<Operand, String> {
        Ok(match self {
            Operand::Data(x) => Operand::Data(call.b.reshape(x, shape)),
            Operand::Const(c) => {
                let elements = c.iter().copied().collect();
                Operand::Const(ArrayD::from_shape_vec(shape, elements).map_err(|e| e.to_string())?)
            }
        })
    }
}

pub(super) fn operand(call: &Call, i: usize) -> Result<Operand, String> {
    match call.constant(i) {
        Some(_) => Ok(Operand::Const(call.floats(i, "the matrix")?)),
        None => call.data(i).map(Operand::Data),
    }
}

/// The product of matrices, batched along leading axes: `[.., m, k] * [.., k, n]`.
pub(super) fn product(call: &mut Call, a: Operand, b: Operand) -> Made {
    let (a_shape, b_shape) = (a.shape(call), b.shape(call));
    let (a_rank, b_rank) = (a_shape.len(), b_shape.len());
    if a_rank < 2 || b_rank < 2 || a_shape[a_rank - 1] != b_shape[b_rank - 2] {
        return Err(format!("matrices {a_shape:?} and {b_shape:?} do not fit together"));
    }
    match (a, b) {
        (Operand::Data(x), Operand::Const(w)) => by_constant(call, x, &w),
        // (A B)^T = B^T A^T
        (a @ Operand::Const(_), b) => {
            let (a, b) = (a.transposed(call), b.transposed(call));
            let turned = product(call, b, a)?;
            let Operand::Data(y) = Operand::Data(turned).transposed(call) else { return Err("constants".into()) };
            Ok(y)
        }
        (Operand::Data(a), Operand::Data(b)) => of_secrets(call, a, b),
    }
}

/// Data times a constant matrix, or one for each index of the leading axes.
pub(super) fn by_constant(call: &mut Call, x: NodeId, w: &ArrayD<f32>) -> Made {
    let shape = call.shape(x);
    let (rank, w_rank) = (shape.len(), w.ndim());
    let [k, n] = [w.shape()[w_rank - 2], w.shape()[w_rank - 1]];
    let batch: usize = w.shape()[..w_rank - 2].iter().product();
    let mut result = crate::nn::build::broadcast(&shape[..rank - 2], &w.shape()[..w_rank - 2])?;
    let leading: usize = result.iter().product();
    result.extend([shape[rank - 2], n]);
    if batch == 1 {
        let rows = shape[..rank - 1].iter().product();
        let w = Array2::from_shape_vec((k, n), w.iter().copied().collect()).map_err(|e| e.to_string())?;
        let x = call.b.reshape(x, &[rows, k]);
        let y = rows_by_matrix(call, x, &w);
        return Ok(call.b.reshape(y, &result));
    }
    if leading != batch {
        return Err("a batch of constant matrices must be as long as that of the data".into());
    }
    // One group of channels for each matrix.
    let rows = shape[rank - 2];
    let full = [&result[..result.len() - 2], &[rows, k]].concat();
    let x = call.b.expand(x, &full)?;
    let x = call.b.reshape(x, &[batch, rows, k]);
    let x = call.b.transpose(x, &[0, 2, 1]);
    let x = call.b.reshape(x, &[batch * k, 1, rows]);
    let elements: Vec<f32> = w.iter().copied().collect();
    let weight = Array4::from_shape_fn((batch * n, k, 1, 1), |(m, c, ..)| elements[(m / n * k + c) * n + m % n]);
    let y = channels(call, x, weight, batch);
    let y = call.b.reshape(y, &[batch, n, rows]);
    let y = call.b.transpose(y, &[0, 2, 1]);
    Ok(call.b.reshape(y, &result))
}

/// `[rows, k] * [k, n]`.
fn rows_by_matrix(call: &mut Call, x: NodeId, w: &Array2<f32>) -> NodeId {
    let (rows, [k, n]) = (call.shape(x)[0], [w.nrows(), w.ncols()]);
    if rows == 1 {
        let x = call.b.reshape(x, &[k]);
        let dense = Dense { weight: w.t().as_standard_layout().into_owned(), bias: vec![0.0; n] };
        return call.b.push(Op::Dense(dense), vec![x], [n]);
    }
    let x = call.b.transpose(x, &[1, 0]);
    let x = call.b.reshape(x, &[k, 1, rows]);
    let weight = Array4::from_shape_fn((n, k, 1, 1), |(m, c, ..)| w[(c, m)]);
    let y = channels(call, x, weight, 1);
    let y = call.b.reshape(y, &[n, rows]);
    call.b.transpose(y, &[1, 0])
}

/// A 1x1 convolution without bias of an image of one line.
fn channels(call: &mut Call, x: NodeId, weight: Array4<f32>, groups: usize) -> NodeId {
    let (m, width) = (weight.shape()[0], call.shape(x)[2]);
    let (strides, dilations, pads, bias) = ([1, 1], [1, 1], [0; 4], vec![0.0; m]);
    call.b.push(Op::Conv(Conv { weight, bias, strides, pads, dilations, groups }), vec![x], [m, 1, width])
}

/// `[.., m, k] * [.., k, n]` of two secrets.
fn of_secrets(call: &mut Call, a: NodeId, b: NodeId) -> Made {
    let (a_shape, b_shape) = (call.shape(a), call.shape(b));
    let (a_rank, b_rank) = (a_shape.len(), b_shape.len());
    let [m, k, n] = [a_shape[a_rank - 2], a_shape[a_rank - 1], b_shape[b_rank - 1]];
    let leading = crate::nn::build::broadcast(&a_shape[..a_rank - 2], &b_shape[..b_rank - 2])?;
    let batch: usize = leading.iter().product();
    let result = [leading.as_slice(), &[m, n]].concat();
    let products = [batch, m, k, n].into_iter().fold(1u64, |products, extent| products.saturating_mul(extent as u64));
    if products.saturating_add(products_of_secrets(&call.b.graph)) > MAX_PRODUCTS {
        return Err(format!(
            "with this one, of {a_shape:?} and {b_shape:?}, products of secret matrices take more than {MAX_PRODUCTS} \
             multiplications: a shorter sequence, a smaller image or fewer layers take less; a matrix that does not \
             depend on the sample is no secret if the model stores it as a constant"
        ));
    }
    if k == 1 {
        // Nothing is summed up.
        return call.b.mul(a, b);
    }
    // One matrix for all those that the other has is beside all their rows.
    if b_shape[..b_rank - 2].iter().all(|extent| *extent == 1) {
        let (a, b) = (call.b.reshape(a, &[1, batch * m, k]), call.b.reshape(b, &[1, k, n]));
        let y = call.b.mat_mul(a, b);
        return Ok(call.b.reshape(y, &result));
    }
    let mut batched = |x: NodeId, matrix: [usize; 2]| -> Made {
        let x = call.b.expand(x, &[leading.as_slice(), &matrix].concat())?;
        Ok(call.b.reshape(x, &[batch, matrix[0], matrix[1]]))
    };
    let (a, b) = (batched(a, [m, k])?, batched(b, [k, n])?);
    let y = call.b.mat_mul(a, b);
    Ok(call.b.reshape(y, &result))
}

/// The multiplications of all products of secret matrices so far.
fn products_of_secrets(graph: &Graph) -> u64 {
    let of = |node: &Node| node.shape.iter().chain([&graph.node(node.inputs[0]).shape[2]]).map(|n| *n as u64).product();
    graph.iter().filter(|(_, node)| node.op == Op::MatMul).map(|(_, node)| -> u64 { of(node) }).sum()
}

/// The kernel with two spatial axes.
fn kernel(call: &Call, mut weight: ArrayD<f32>) -> Result<Array4<f32>, String> {
    if weight.ndim() == 3 {
        weight.insert_axis_inplace(Along(2));
    }
    let dims = weight.ndim();
    let weight = weight.into_dimensionality::<Ix4>();
    let weight = weight.map_err(|_| {
        format!("{}-dimensional kernel; only images (two dimensions) are supported", dims.saturating_sub(2))
    })?;
    let declared = call.ints("kernel_shape").unwrap_or_default();
    let fits = declared.iter().rev().zip(weight.shape().iter().rev()).all(|(a, b)| *a == *b as i64);
    if weight.is_empty() || !fits {
        return Err(format!("its kernel is {:?}, not {declared:?}", weight.shape()));
    }
    Ok(weight)
}

/// One number for each channel.
fn bias_of(bias: Option<ArrayD<f32>>, channels: usize) -> Result<Vec<f32>, String> {
    let Some(bias) = bias else { return Ok(vec![0.0; channels]) };
    match bias.len() {
        1 => Ok(vec![bias.iter().copied().next().unwrap_or(0.0); channels]),
        n if n == channels => Ok(bias.iter().copied().collect()),
        n => Err(format!("{n} bias elements for {channels} channels")),
    }
}

/// The spatial extents of `[N, C, ...]`, and the image `[C, H, W]` that one sample of it is.
fn image_axes(shape: &[usize]) -> Result<(&[usize], Vec<usize>), String> {
    match shape {
        [_, c, w] => Ok((&shape[2..], vec![*c, 1, *w])),
        [_, c, h, w] => Ok((&shape[2..], vec![*c, *h, *w])),
        _ => Err(format!("only images [batch, channels, height, width] are supported, not {shape:?}")),
    }
}

/// Puts zeros between the rows and the columns of an image, so that elements that were neighbours
/// lie `strides` apart: a transposed convolution is a convolution of that.
fn spread(call: &mut Call, x: NodeId, strides: [usize; 2]) -> NodeId {
    let [c, h, w] = [0, 1, 2].map(|axis| call.shape(x)[axis]);
    let x = call.b.reshape(x, &[c, h, 1, w, 1]);
    let x = call.b.pad(x, &[0; 5], &[0, 0, strides[0] - 1, 0, strides[1] - 1]);
    let x = call.b.reshape(x, &[c, h * strides[0], w * strides[1]]);
    call.b.slice(x, &[0; 3], &[c, (h - 1) * strides[0] + 1, (w - 1) * strides[1] + 1])
}
