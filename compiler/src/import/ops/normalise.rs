//! Normalisations by statistics of the data itself.

use fusion_ir::op::Window;
use ndarray::ArrayD;

use super::super::call::{Call, Made, axes, axis, number};
use super::reduce;
use crate::nn::expr::{Binary, Expr, Unary};
use crate::nn::{NodeId, Op};

/// `x / (bias + alpha / size * sum of the squares of `size` neighbouring channels) ^ beta`
pub(in super::super) fn lrn(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let size = usize::try_from(call.int("size", 1)).unwrap_or(0);
    if shape.len() < 3 || !(1..1 << 16).contains(&size) {
        return Err(format!("data of shape {shape:?} has no channels"));
    }
    let (alpha, beta, bias) = (call.float("alpha", 1e-4), call.float("beta", 0.75), call.float("bias", 1.0));
    let squares = call.b.mul(x, x)?;
    let rest: usize = shape[2..].iter().product();
    let image = call.b.reshape(squares, &[shape[0], shape[1], rest]);
    let before = (size - 1) / 2;
    let window = Window { kernel: [size, 1], strides: [1, 1], pads: [before, 0, size - 1 - before, 0] };
    let sums = call.b.push(Op::SumPool(window), vec![image], [shape[0], shape[1], rest]);
    let sums = call.b.reshape(sums, &shape);
    let scaled = Expr::binary(Binary::Mul, Expr::X, Expr::Const(f64::from(alpha) / size as f64));
    let base = Expr::binary(Binary::Add, scaled, Expr::Const(f64::from(bias)));
    let factor = call.b.pointwise(reduce::power(-f64::from(beta)).of(&base), sums);
    call.b.mul(x, factor)
}

pub(in super::super) fn instance(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    if shape.len() < 3 {
        return Err(format!("data of shape {shape:?} has no images"));
    }
    let y = standardise(call, x, shape[0] * shape[1], f64::from(call.float("epsilon", 1e-5)))?;
    per_channel(call, y, &shape, 1)
}

pub(in super::super) fn group(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let groups = usize::try_from(call.int("num_groups", 0)).unwrap_or(0);
    if shape.len() < 3 || groups == 0 || !shape[1].is_multiple_of(groups) {
        return Err(format!("{groups} groups on data of shape {shape:?}"));
    }
    // Before operator set 21 scale and shift are those of groups.
    let repeats = if call.opset < 21 { shape[1] / groups } else { 1 };
    let y = standardise(call, x, shape[0] * groups, f64::from(call.float("epsilon", 1e-5)))?;
    per_channel(call, y, &shape, repeats)
}

pub(in super::super) fn layer(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let axis = axis(call.int("axis", -1), shape.len())?;
    let y = standardise(call, x, shape[..axis].iter().product(), f64::from(call.float("epsilon", 1e-5)))?;
    let scale = call.floats(1, "the scale")?;
    let shift = call.optional_floats(2, "the shift")?.unwrap_or_else(|| number(0.0));
    call.affine(y, &scale, &shift)
}

pub(in super::super) fn mean_variance(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let given = call.ints("axes").unwrap_or_else(|| vec![0, 2, 3]);
    let reduced = axes(&given, shape.len())?;
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !reduced.contains(axis)).collect();
    let perm = [kept.as_slice(), &reduced].concat();
    let moved = call.b.transpose(x, &perm);
    let y = standardise(call, moved, kept.iter().map(|axis| shape[*axis]).product(), 1e-9)?;
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, axis)| back[*axis] = i);
    Ok(call.b.transpose(y, &back))
}

/// Every row of `x` as a matrix of `rows` rows less its mean, over its standard deviation. What is
/// rounded is never the mean but the difference, times `n` over a power of two: a row of equal
/// elements becomes zero.
fn standardise(call: &mut Call, x: NodeId, rows: usize, epsilon: f64) -> Made {
    let shape = call.shape(x);
    let n = shape.iter().product::<usize>() / rows;
    let matrix = call.b.reshape(x, &[rows, n]);
    let power = n.next_power_of_two() as f32;
    let sum = reduce::sums(call, matrix)?;
    let sum = call.b.scale(1.0 / power, sum);
    let sum = call.b.reshape(sum, &[rows, 1]);
    let sum = call.b.expand(sum, &[rows, n])?;
    let scaled = call.b.scale(n as f32 / power, matrix);
    let centred = call.b.sub(scaled, sum);
    let squares = reduce::squares(call, centred)?;
    let variance = Expr::binary(Binary::Mul, Expr::X, Expr::Const(1.0 / n as f64));
    let epsilon = epsilon * (n as f64 / f64::from(power)).powi(2);
    let root = Expr::unary(Unary::Sqrt, Expr::binary(Binary::Add, variance, Expr::Const(epsilon)));
    let inverse = call.b.pointwise(Expr::unary(Unary::Reciprocal, root), squares);
    let inverse = call.b.reshape(inverse, &[rows, 1]);
    let y = call.b.mul(centred, inverse)?;
    Ok(call.b.reshape(y, &shape))
}

/// `x * scale + shift` by inputs 1 and 2, each element of which is for `repeats` channels.
fn per_channel(call: &mut Call, x: NodeId, shape: &[usize], repeats: usize) -> Made {
    let vector = |i: usize, what: &str| -> Result<ArrayD<f32>, String> {
        let given = call.floats(i, what)?;
        let values: Vec<f32> = given.iter().flat_map(|value| std::iter::repeat_n(*value, repeats)).collect();
        if values.len() != shape[1] {
            return Err(format!("{what} has {} elements for {} channels", given.len(), shape[1]));
        }
        let extents: Vec<usize> = (1..shape.len()).map(|axis| if axis == 1 { values.len() } else { 1 }).collect();
        ArrayD::from_shape_vec(extents, values).map_err(|e| e.to_string())
    };
    let (scale, shift) = (vector(1, "the scale")?, vector(2, "the shift")?);
    call.affine(x, &scale, &shift)
}
