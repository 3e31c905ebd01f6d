//! Operators on quantised integers, ONNX's and onnxruntime's (`com.microsoft`): each is the
//! operation on the real numbers that its integers stand for, limited to the result's range.

use std::sync::Arc;

use ndarray::ArrayD;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::Tensor;

use super::super::call::{Call, Kind, Made, Wire, number};
use super::super::whole::Whole;
use super::linear::{self, Operand};
use super::quantise::{real, requantised};
use super::{arithmetic, pool, shape};
use crate::nn::expr::{Binary, Expr, Unary};
use crate::nn::{NodeId, Op};

type Wires = Result<Vec<Wire>, String>;

/// Data among the operands of a QLinear operator; `at` is its integers' place.
fn data(call: &mut Call, at: usize) -> Made {
    match real(call, at, at + 1, at + 2, 0)? {
        Operand::Data(x) => Ok(x),
        Operand::Const(_) => Err(format!("input {at} must not be a constant")),
    }
}

fn matrix(call: &mut Call, at: usize, axis: usize) -> Result<ArrayD<f32>, String> {
    match real(call, at, at + 1, at + 2, axis)? {
        Operand::Const(c) => Ok(c),
        Operand::Data(_) => Err(format!("input {at} must be a constant")),
    }
}

/// A bias in units of the product of the two scales.
fn bias(call: &Call, at: usize, scales: [usize; 2], factor: f32) -> Result<Option<ArrayD<f32>>, String> {
    let Some(integers) = call.optional_floats(at, "the bias")? else { return Ok(None) };
    let [a, b] = scales.map(|at| call.floats(at, "a scale"));
    let (a, b) = (a?, b?);
    let unit = |i: usize| {
        let of =
            |scales: &ArrayD<f32>| scales.iter().copied().nth(if scales.len() == 1 { 0 } else { i }).unwrap_or(0.0);
        of(&a) * of(&b) * factor
    };
    let real: Vec<f32> = integers.iter().enumerate().map(|(i, q)| q * unit(i)).collect();
    ArrayD::from_shape_vec(integers.shape(), real).map(Some).map_err(|e| e.to_string())
}

pub(in super::super) fn q_linear_conv(call: &mut Call) -> Wires {
    let x = data(call, 0)?;
    let weight = matrix(call, 3, 0)?;
    let bias = bias(call, 8, [1, 4], 1.0)?;
    let y = linear::convolution(call, x, weight, bias)?;
    requantised(call, y, 6, 7)
}

pub(in super::super) fn q_linear_mat_mul(call: &mut Call) -> Wires {
    let a = real(call, 0, 1, 2, 0)?;
    let columns = call.constant(3).map_or(0, |b| b.rank().saturating_sub(1));
    let b = real(call, 3, 4, 5, columns)?;
    let y = linear::multiplied(call, a, b)?;
    requantised(call, y, 6, 7)
}

/// onnxruntime's Gemm. Without a scale of the result that is a real number.
pub(in super::super) fn q_gemm(call: &mut Call) -> Wires {
    let x = data(call, 0)?;
    let turned = [call.int("transA", 0) != 0, call.int("transB", 0) != 0];
    let mut weight = matrix(call, 3, usize::from(!turned[1]))?;
    if call.shape(x).len() != 2 || weight.ndim() != 2 {
        return Err("its operands must be matrices".into());
    }
    let x = if turned[0] { call.b.transpose(x, &[1, 0]) } else { x };
    if turned[1] {
        weight.swap_axes(0, 1);
    }
    let alpha = call.float("alpha", 1.0);
    let product = linear::by_constant(call, x, &weight.mapv(|w| w * alpha))?;
    let bias = bias(call, 6, [1, 4], alpha)?.unwrap_or_else(|| number(0.0));
    let y = call.affine(product, &number(1.0), &bias)?;
    if call.has(7) { requantised(call, y, 7, 8) } else { Ok(vec![Wire::Data(y, Kind::Real)]) }
}

/// Sums and products, repeated to a common shape.
pub(in super::super) fn q_linear_binary(call: &mut Call) -> Wires {
    let op = if call.node.op_type == "QLinearAdd" { Binary::Add } else { Binary::Mul };
    let wire = |operand: Operand| match operand {
        Operand::Data(x) => Wire::Data(x, Kind::Real),
        Operand::Const(c) => Wire::Const(Arc::new(Tensor::from(c))),
    };
    let [a, b] = [0, 3].map(|at| real(call, at, at + 1, at + 2, 0));
    let y = arithmetic::two(call, op, &wire(a?), &wire(b?))?;
    requantised(call, y, 6, 7)
}

/// A function of each element.
pub(in super::super) fn q_linear_unary(call: &mut Call) -> Wires {
    let x = data(call, 0)?;
    let f = if call.node.op_type == "QLinearSigmoid" {
        Expr::unary(Unary::Sigmoid, Expr::X)
    } else {
        let alpha = f64::from(call.float("alpha", 0.01));
        let negative = Expr::binary(Binary::Less, Expr::X, Expr::Const(0.0));
        Expr::select(negative, Expr::binary(Binary::Mul, Expr::X, Expr::Const(alpha)), Expr::X)
    };
    let y = call.b.pointwise(f, x);
    requantised(call, y, 3, 4)
}

pub(in super::super) fn q_linear_softmax(call: &mut Call) -> Wires {
    let x = data(call, 0)?;
    let shape = call.shape(x);
    let axis = super::super::call::axis(call.int("axis", -1), shape.len())?;
    if call.int("opset", 13) < 13 && shape[axis..].iter().filter(|n| **n != 1).count() > 1 {
        return Err("along several axes, as before operator set 13, is not supported".into());
    }
    let y = call.b.push(Op::Softmax { axis, log: false }, vec![x], shape);
    requantised(call, y, 3, 4)
}

pub(in super::super) fn q_linear_average(call: &mut Call) -> Wires {
    if call.int("channels_last", 0) != 0 {
        return Err("channels_last is not supported".into());
    }
    let x = data(call, 0)?;
    let y = if call.node.op_type == "QLinearAveragePool" {
        pool::averaged(call, x)?
    } else {
        pool::averaged_whole(call, x)?
    };
    requantised(call, y, 3, 4)
}

/// The result's scale and zero point come first, then each part with its own.
pub(in super::super) fn q_linear_concat(call: &mut Call) -> Wires {
    let mut parts = Vec::new();
    for at in (2..call.inputs.len()).step_by(3) {
        parts.push(match real(call, at, at + 1, at + 2, 0)? {
            Operand::Data(x) => Wire::Data(x, Kind::Real),
            Operand::Const(c) => Wire::Const(Arc::new(Tensor::from(c))),
        });
    }
    let along = call.attribute("axis").map(|a| a.i).ok_or("its axis is missing")?;
    let y = shape::joined(call, &parts, along)?;
    requantised(call, y, 0, 1)
}

/// Its scale depends on the sample, and the product of what reads it with that scale does not: the
/// scale is 1 here and the integers are the real numbers themselves. Their rounding is fixed
/// point's.
pub(in super::super) fn dynamic(call: &mut Call) -> Wires {
    let x = reals(call)?;
    let one = Wire::Const(Arc::new(Tensor::from(1f32)));
    let zero = Wire::Const(Arc::new(Tensor::from(0u8)));
    Ok(vec![Wire::Data(x, Kind::Quantised { scale: 1.0, zero: 0.0 }), one, zero])
}

/// Input 0, which must be real numbers.
fn reals(call: &Call) -> Made {
    if call.kind(0).is_some_and(|kind| kind != Kind::Real) {
        return Err("it reads no real numbers".into());
    }
    call.data(0)
}

/// Integers less their zero point. Those that QuantizeLinear made are real numbers here.
fn shifted(call: &mut Call, at: usize, zero_at: usize, axis: usize) -> Result<Operand, String> {
    let zero = call.optional_floats(zero_at, "its zero point")?.unwrap_or_else(|| number(0.0));
    if call.constant(at).is_some() {
        let mut integers = call.floats(at, "the integers")?;
        let zero = super::quantise::along(&zero, integers.ndim(), axis)?;
        let zero = zero.broadcast(integers.shape()).ok_or("its zero points do not fit")?.to_owned();
        integers -= &zero;
        return Ok(Operand::Const(integers));
    }
    let x = call.data(at)?;
    let zero = super::super::call::uniform(&zero).ok_or("a zero point for each row of activations is not supported")?;
    let (factor, shift) = match call.kind(at) {
        Some(Kind::Quantised { scale, zero: origin }) => (scale.recip(), origin - zero),
        Some(Kind::Integer(_) | Kind::Narrow) => (1.0, -zero),
        _ => return Err("it reads no integers".into()),
    };
    call.affine(x, &number(factor), &number(shift)).map(Operand::Data)
}

pub(in super::super) fn conv_integer(call: &mut Call) -> Wires {
    let weight = match shifted(call, 1, 3, 0)? {
        Operand::Const(weight) => weight,
        Operand::Data(_) => return Err("the kernel must be a constant".into()),
    };
    match shifted(call, 0, 2, 0)? {
        Operand::Data(x) => {
            let terms = weight.shape()[1..].iter().product();
            integer(linear::convolution(call, x, weight, None)?, terms)
        }
        Operand::Const(_) => Err("reads no data".into()),
    }
}

pub(in super::super) fn mat_mul_integer(call: &mut Call) -> Wires {
    let a = shifted(call, 0, 2, 0)?;
    let columns = call.constant(1).map_or(0, |b| b.rank().saturating_sub(1));
    let b = shifted(call, 1, 3, columns)?;
    let terms = a.shape(call).last().copied().unwrap_or(1);
    integer(linear::multiplied(call, a, b)?, terms)
}

/// Sums of so many products of bytes less their zero points.
fn integer(y: NodeId, terms: usize) -> Wires {
    Ok(vec![Wire::Data(y, Kind::Integer(Whole::products_of_bytes(DataType::Int32, terms)))])
}

/// onnxruntime's products of quantised matrices that end as real numbers. The data of
/// DynamicQuantizeMatMul are real numbers that it quantises itself.
pub(in super::super) fn mat_mul_to_float(call: &mut Call) -> Wires {
    let dynamic = call.node.op_type == "DynamicQuantizeMatMul";
    let columns = call.constant(1).map_or(0, |b| b.rank().saturating_sub(1));
    let (a, b, bias) = if dynamic {
        (Operand::Data(reals(call)?), real(call, 1, 2, 3, columns)?, 4)
    } else {
        (real(call, 0, 2, 4, 0)?, real(call, 1, 3, 5, columns)?, 6)
    };
    let product = linear::multiplied(call, a, b)?;
    let bias = call.optional_floats(bias, "the bias")?.unwrap_or_else(|| number(0.0));
    Ok(vec![Wire::Data(call.affine(product, &number(1.0), &bias)?, Kind::Real)])
}
