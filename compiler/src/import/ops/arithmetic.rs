//! Operations on two or more operands, each with a constant or with another secret.

use std::sync::Arc;

use ndarray::ArrayD;
use tract_onnx::prelude::Tensor;

use super::super::call::{Call, Made, Wire, floats, number, uniform};
use super::activation::limited;
use crate::nn::build::broadcast;
use crate::nn::expr::{Binary, Expr};
use crate::nn::{NodeId, Op};

pub(in super::super) fn add(call: &mut Call) -> Made {
    variadic(call, Binary::Add)
}

pub(in super::super) fn sub(call: &mut Call) -> Made {
    variadic(call, Binary::Sub)
}

pub(in super::super) fn mul(call: &mut Call) -> Made {
    variadic(call, Binary::Mul)
}

pub(in super::super) fn div(call: &mut Call) -> Made {
    variadic(call, Binary::Div)
}

pub(in super::super) fn max(call: &mut Call) -> Made {
    variadic(call, Binary::Max)
}

pub(in super::super) fn min(call: &mut Call) -> Made {
    variadic(call, Binary::Min)
}

pub(in super::super) fn mean(call: &mut Call) -> Made {
    let sum = variadic(call, Binary::Add)?;
    Ok(call.b.scale(1.0 / call.inputs.len() as f32, sum))
}

pub(in super::super) fn compare(call: &mut Call) -> Made {
    let op = match call.node.op_type.as_str() {
        "Less" => Binary::Less,
        "LessOrEqual" => Binary::LessOrEqual,
        "Greater" => Binary::Greater,
        "GreaterOrEqual" => Binary::GreaterOrEqual,
        "And" => Binary::And,
        _ => Binary::Or,
    };
    variadic(call, op)
}

/// `Where`: a condition on the sample or a constant one.
pub(in super::super) fn choose(call: &mut Call) -> Made {
    let mut shape = Vec::new();
    for i in 0..3 {
        let other = match call.constant(i) {
            Some(c) => c.shape().to_vec(),
            None => call.shape(call.data(i)?),
        };
        shape = broadcast(&shape, &other)?;
    }
    if let Some(mask) = call.constant(0) {
        let mask = floats(mask)?;
        let mut sum: Option<NodeId> = None;
        let mut constant = ArrayD::zeros(shape.clone());
        for (i, mask) in [(1, mask.clone()), (2, mask.mapv(|m| 1.0 - m))] {
            if let Some(c) = call.constant(i) {
                constant = constant + floats(c)? * &mask;
            } else {
                let x = call.data(i)?;
                let x = call.affine(x, &mask, &number(0.0))?;
                let x = call.b.expand(x, &shape)?;
                sum = Some(sum.map_or(x, |sum| call.b.add(sum, x)));
            }
        }
        return call.affine(sum.ok_or("reads no data")?, &number(1.0), &constant);
    }
    let condition = call.data(0)?;
    let condition = call.b.expand(condition, &shape)?;
    let mut operands = vec![condition];
    for i in 1..3 {
        let x = match call.constant(i).map(|c| floats(c)).transpose()? {
            // A number is a function of the condition, too.
            Some(c) if uniform(&c).is_some() => {
                call.b.pointwise(Expr::Const(f64::from(uniform(&c).unwrap_or_default())), condition)
            }
            Some(c) => call.affine(condition, &number(0.0), &c)?,
            None => call.data(i)?,
        };
        operands.push(call.b.expand(x, &shape)?);
    }
    Ok(call.b.zip(Op::Select, &operands))
}

/// A real number is kept; the integer that stands for it never exists. Its rounding is part of the tolerance, its range is not.
pub(in super::super) fn quantise(call: &mut Call) -> Result<Vec<Wire>, String> {
    let x = call.data(0)?;
    let scale = call.floats(1, "its scale")?;
    let zero: Option<Arc<Tensor>> = call.constant(2).cloned();
    if call.has(2) && zero.is_none() {
        return Err("its zero point must be a constant".into());
    }
    let (least, most) = match zero.as_ref().map_or(tract_onnx::prelude::DatumType::U8, |z| z.datum_type()) {
        tract_onnx::prelude::DatumType::U8 => (0.0, 255.0),
        tract_onnx::prelude::DatumType::I8 => (-128.0, 127.0),
        tract_onnx::prelude::DatumType::U16 => (0.0, 65535.0),
        tract_onnx::prelude::DatumType::I16 => (-32768.0, 32767.0),
        other => return Err(format!("integers of type {other:?}")),
    };
    let zero = zero.map(|z| floats(&z)).transpose()?.and_then(|z| uniform(&z));
    let (Some(scale), zero) = (uniform(&scale), f64::from(zero.unwrap_or(0.0))) else {
        return Err("a scale for each channel of activations is not supported".into());
    };
    let real = |integer: f64| (integer - zero) * f64::from(scale);
    let y = limited(call, x, Some(real(least)).map(|low| if low == 0.0 { 0.0 } else { low }), Some(real(most)));
    Ok(vec![Wire::Quantised(y)])
}

pub(in super::super) fn dequantise(call: &mut Call) -> Made {
    match call.inputs.first() {
        Some(Wire::Quantised(x)) => Ok(*x),
        _ => Err("it must follow a QuantizeLinear".into()),
    }
}

fn variadic(call: &mut Call, op: Binary) -> Made {
    let mut operands: Vec<Wire> = call.inputs.iter().filter(|wire| !matches!(wire, Wire::Missing)).cloned().collect();
    if operands.len() > 2 {
        // Operators of so many operands do not mind their order, and constants meet data first.
        operands.sort_by_key(|wire| matches!(wire, Wire::Const(_)));
    }
    let mut operands = operands.into_iter();
    let mut result = operands.next().ok_or("reads nothing")?;
    for next in operands {
        result = Wire::Data(two(call, op, &result, &next)?);
    }
    match result {
        Wire::Data(id) => Ok(id),
        _ => Err("arithmetic on quantised integers is not supported".into()),
    }
}

fn two(call: &mut Call, op: Binary, a: &Wire, b: &Wire) -> Made {
    match (a, b) {
        (Wire::Data(a), Wire::Data(b)) => secrets(call, op, *a, *b),
        (Wire::Data(x), Wire::Const(c)) => {
            let c = floats(c)?;
            with_constant(call, op, *x, &c, false)
        }
        (Wire::Const(c), Wire::Data(x)) => {
            let c = floats(c)?;
            with_constant(call, op, *x, &c, true)
        }
        _ => Err("arithmetic on quantised integers is not supported".into()),
    }
}

fn secrets(call: &mut Call, op: Binary, a: NodeId, b: NodeId) -> Made {
    if op == Binary::Mul {
        return call.b.mul(a, b);
    }
    let shape = broadcast(&call.shape(a), &call.shape(b))?;
    if op == Binary::Div && a != b {
        // The inverse of the divisor before it is repeated.
        let inverse = call.b.reciprocal(b);
        return call.b.mul(a, inverse);
    }
    let (a, b) = (call.b.expand(a, &shape)?, call.b.expand(b, &shape)?);
    Ok(match op {
        Binary::Add => call.b.add(a, b),
        Binary::Sub => call.b.sub(a, b),
        _ => call.b.binary(op, a, b),
    })
}

fn with_constant(call: &mut Call, op: Binary, x: NodeId, c: &ArrayD<f32>, constant_first: bool) -> Made {
    let (one, zero, minus) = (number(1.0), number(0.0), number(-1.0));
    match op {
        Binary::Add => return call.affine(x, &one, c),
        Binary::Sub if constant_first => return call.affine(x, &minus, c),
        Binary::Sub => return call.affine(x, &one, &c.mapv(|c| -c)),
        Binary::Mul => return call.affine(x, c, &zero),
        Binary::Div if constant_first => {
            let inverse = call.b.reciprocal(x);
            return call.affine(inverse, c, &zero);
        }
        Binary::Div if c.iter().any(|c| *c == 0.0) => return Err("division by zero".into()),
        Binary::Div => return call.affine(x, &c.mapv(|c| 1.0 / c), &zero),
        _ => {}
    }
    let shape = broadcast(&call.shape(x), c.shape())?;
    let x = call.b.expand(x, &shape)?;
    if let Some(c) = uniform(c) {
        if c == 0.0 && op == Binary::Max {
            return Ok(call.b.relu(x));
        }
        let c = Expr::Const(f64::from(c));
        let f = if constant_first { Expr::binary(op, c, Expr::X) } else { Expr::binary(op, Expr::X, c) };
        return Ok(call.b.pointwise(f, x));
    }
    // f(x, c) by a function of x - c.
    let difference = call.affine(x, &one, &c.mapv(|c| -c))?;
    let zero = Expr::Const(0.0);
    match op {
        Binary::Max => {
            let positive = call.b.relu(difference);
            call.affine(positive, &one, c)
        }
        Binary::Min => {
            let negative = call.b.pointwise(Expr::binary(Binary::Min, Expr::X, zero), difference);
            call.affine(negative, &one, c)
        }
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            let f = if constant_first { Expr::binary(op, zero, Expr::X) } else { Expr::binary(op, Expr::X, zero) };
            Ok(call.b.pointwise(f, difference))
        }
        _ => Err("constants that differ between elements are not supported".into()),
    }
}
