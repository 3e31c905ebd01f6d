//! Operations on two or more operands, each with a constant or with another secret.

use ndarray::{ArrayD, Zip};

use super::super::call::{Call, Kind, Made, Wire, floats, floats_or_infinite, number, uniform};
use super::super::ml::label;
use super::types;
use crate::nn::build::broadcast;
use crate::nn::expr::{Binary, Expr, Unary};
use crate::nn::mask::MASKING;
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

/// `Equal` and, of truths, `Xor`: functions of the difference.
pub(in super::super) fn differ(call: &mut Call) -> Made {
    if let Some(truths) = label::is_one_of(call) {
        return truths;
    }
    let function = if call.node.op_type == "Xor" { Unary::Abs } else { Unary::Not };
    let difference = variadic(call, Binary::Sub)?;
    Ok(call.b.pointwise(Expr::unary(function, Expr::X), difference))
}

/// `Where`: a condition on the sample or a constant one.
pub(in super::super) fn choose(call: &mut Call) -> Result<Vec<Wire>, String> {
    if call.kind(0).is_some_and(|kind| kind != Kind::Truth) {
        return Err("its condition is no bool".into());
    }
    let kind = types::common(call, 1)?;
    chosen(call).map(|y| vec![Wire::Data(y, kind)])
}

fn chosen(call: &mut Call) -> Made {
    let mut shape = Vec::new();
    for i in 0..3 {
        let other = match call.constant(i) {
            Some(c) => c.shape().to_vec(),
            None => call.shape(call.data(i)?),
        };
        shape = broadcast(&shape, &other)?;
    }
    if let Some(mask) = call.constant(0) {
        let mask = floats(mask)?.mapv(|m| f32::from(u8::from(m != 0.0)));
        let one = uniform(&mask).map(|m| if m != 0.0 { 1 } else { 2 });
        if let Some(Ok(x)) = one.map(|i| call.data(i)) {
            return call.b.expand(x, &shape);
        }
        let mut constant = ArrayD::zeros(shape.clone());
        let mut chosen: Vec<(NodeId, ArrayD<f32>)> = Vec::new();
        for (i, mask) in [(1, mask.clone()), (2, mask.mapv(|m| 1.0 - m))] {
            if let Some(c) = call.constant(i) {
                let (c, mask) = (spread(&floats_or_infinite(c)?, &shape)?, spread(&mask, &shape)?);
                Zip::from(&mut constant).and(&c).and(&mask).for_each(|y, c, m| *y = if *m != 0.0 { *c } else { *y });
            } else {
                chosen.push((call.data(i)?, mask));
            }
        }
        let Some((first, rest)) = chosen.split_first() else { return Err("reads no data".into()) };
        let mut sum = call.affine(first.0, &first.1, &constant)?;
        for (x, mask) in rest {
            let x = call.affine(*x, mask, &number(0.0))?;
            let (a, b) = (call.b.expand(sum, &shape)?, call.b.expand(x, &shape)?);
            sum = call.b.add(a, b);
        }
        return Ok(sum);
    }
    let condition = call.data(0)?;
    let condition = call.b.expand(condition, &shape)?;
    let numbers = |i: usize| call.constant(i).map(|c| floats_or_infinite(c)).transpose();
    let (one, other) = (numbers(1)?, numbers(2)?);
    // Among numbers so far down a constant is one of the scores that a mask may hide.
    let masks = [&one, &other].iter().any(|c| c.as_ref().and_then(uniform).is_some_and(|c| c < MASKING));
    let plain = |c: &Option<ArrayD<f32>>| c.as_ref().is_none_or(|c| masks || uniform(c).is_some());
    if plain(&one) && plain(&other) {
        let mut operands = vec![condition];
        for (i, c) in [(1, one), (2, other)] {
            let x = match (c.as_ref().and_then(uniform), c) {
                // A number is a function of the condition, too.
                (Some(c), _) => call.b.pointwise(Expr::Const(f64::from(c)), condition),
                (None, Some(c)) => call.affine(condition, &number(0.0), &c)?,
                (None, None) => call.data(i)?,
            };
            operands.push(call.b.expand(x, &shape)?);
        }
        return Ok(call.b.zip(Op::Select, &operands));
    }
    // b + condition (a - b), or a + (1 - condition) (b - a): the constants are summands.
    match (one, other) {
        (Some(a), Some(b)) => {
            let difference = spread(&a, &shape)? - &spread(&b, &shape)?;
            call.affine(condition, &difference, &b)
        }
        (a, b) => {
            let (constant, factor) = match (&a, &b) {
                (Some(a), _) => (a, call.affine(condition, &number(-1.0), &number(1.0))?),
                (_, Some(b)) => (b, condition),
                _ => return Err("reads no constant".into()),
            };
            let x = call.data(if a.is_some() { 2 } else { 1 })?;
            let difference = call.affine(x, &number(1.0), &constant.mapv(|c| -c))?;
            let difference = call.b.expand(difference, &shape)?;
            let chosen = call.b.mul(difference, factor)?;
            call.affine(chosen, &number(1.0), constant)
        }
    }
}

/// The constant `c` broadcast to `shape`.
fn spread(c: &ArrayD<f32>, shape: &[usize]) -> Result<ArrayD<f32>, String> {
    let view = c.broadcast(shape).ok_or_else(|| format!("a constant of shape {:?} among {shape:?}", c.shape()))?;
    Ok(view.to_owned())
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
        result = Wire::Data(two(call, op, &result, &next)?, Kind::Real);
    }
    match result {
        Wire::Data(id, _) => Ok(id),
        _ => Err("reads no data".into()),
    }
}

pub(super) fn two(call: &mut Call, op: Binary, a: &Wire, b: &Wire) -> Made {
    match (a, b) {
        (Wire::Data(a, _), Wire::Data(b, _)) => secrets(call, op, *a, *b),
        (Wire::Data(x, _), Wire::Const(c)) => {
            let c = floats_or_infinite(c)?;
            with_constant(call, op, *x, &c, false)
        }
        (Wire::Const(c), Wire::Data(x, _)) => {
            let c = floats_or_infinite(c)?;
            with_constant(call, op, *x, &c, true)
        }
        _ => Err("reads no data".into()),
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
        // Of truths, which are 0 or 1.
        Binary::And => return call.affine(x, c, &zero),
        Binary::Or => return call.affine(x, &c.mapv(|c| 1.0 - c), c),
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
