//! Functions of each element.

use std::sync::Arc;

use tract_onnx::prelude::{DatumType, Tensor};

use super::super::call::{Call, Made, Wire, floats_or_infinite, number, uniform};
use super::reduce;
use crate::nn::Op;
use crate::nn::expr::{Binary, Expr, Unary};

/// The function that a node applies to each element of its one operand; `None` for other operators.
fn function(call: &Call) -> Option<Expr> {
    let tanh = call.text("approximate") == "tanh";
    named(call.node.op_type.as_str(), tanh, &|name, default| f64::from(call.float(name, default)))
}

/// The function of each element that the operator `op` is, with its numbers by `float` from their
/// names and defaults; `tanh` asks for the approximation of a Gelu.
pub(super) fn named(op: &str, tanh: bool, float: &dyn Fn(&str, f32) -> f64) -> Option<Expr> {
    let x = || Expr::X;
    let number = Expr::Const;
    let two = Expr::binary;
    let one = Expr::unary;
    let negative = || two(Binary::Less, x(), number(0.0));
    let times = |factor: f64, e: Expr| two(Binary::Mul, e, number(factor));
    let plus = |e: Expr, summand: f64| two(Binary::Add, e, number(summand));
    let exp_minus_1 = |e: Expr| plus(one(Unary::Exp, e), -1.0);
    let hard_sigmoid = |alpha: f64, beta: f64| {
        two(Binary::Max, two(Binary::Min, plus(times(alpha, x()), beta), number(1.0)), number(0.0))
    };
    Some(match op {
        "Abs" => one(Unary::Abs, x()),
        "Acos" => one(Unary::Acos, x()),
        "Acosh" => one(Unary::Acosh, x()),
        "Asin" => one(Unary::Asin, x()),
        "Asinh" => one(Unary::Asinh, x()),
        "Atan" => one(Unary::Atan, x()),
        "Atanh" => one(Unary::Atanh, x()),
        "Cos" => one(Unary::Cos, x()),
        "Cosh" => one(Unary::Cosh, x()),
        "Erf" => one(Unary::Erf, x()),
        "Exp" => one(Unary::Exp, x()),
        "Log" => one(Unary::Log, x()),
        "Not" => one(Unary::Not, x()),
        "Reciprocal" => one(Unary::Reciprocal, x()),
        "Sigmoid" => one(Unary::Sigmoid, x()),
        "Sign" => one(Unary::Sign, x()),
        "Sin" => one(Unary::Sin, x()),
        "Sinh" => one(Unary::Sinh, x()),
        "Softplus" => one(Unary::Softplus, x()),
        "Sqrt" => one(Unary::Sqrt, x()),
        "Tan" => one(Unary::Tan, x()),
        "Tanh" => one(Unary::Tanh, x()),
        "LeakyRelu" => Expr::select(negative(), times(float("alpha", 0.01), x()), x()),
        "ThresholdedRelu" => {
            let below = two(Binary::LessOrEqual, x(), number(float("alpha", 1.0)));
            Expr::select(below, number(0.0), x())
        }
        "Elu" => Expr::select(negative(), times(float("alpha", 1.0), exp_minus_1(x())), x()),
        "Celu" => {
            let alpha = float("alpha", 1.0);
            Expr::select(negative(), times(alpha, exp_minus_1(times(alpha.recip(), x()))), x())
        }
        "Selu" => {
            let (alpha, gamma) = (float("alpha", 1.673_263_2), float("gamma", 1.050_701));
            times(gamma, Expr::select(negative(), times(alpha, exp_minus_1(x())), x()))
        }
        "HardSigmoid" => hard_sigmoid(float("alpha", 0.2), float("beta", 0.5)),
        "HardSwish" => two(Binary::Mul, x(), hard_sigmoid(1.0 / 6.0, 0.5)),
        "Swish" => two(Binary::Mul, x(), one(Unary::Sigmoid, times(float("alpha", 1.0), x()))),
        "Mish" => two(Binary::Mul, x(), one(Unary::Tanh, one(Unary::Softplus, x()))),
        "Softsign" => two(Binary::Div, x(), plus(one(Unary::Abs, x()), 1.0)),
        "Gelu" if tanh => {
            let cubed = two(Binary::Mul, x(), two(Binary::Mul, x(), x()));
            let inner = times((2.0 / std::f64::consts::PI).sqrt(), two(Binary::Add, x(), times(0.044_715, cubed)));
            two(Binary::Mul, times(0.5, x()), plus(one(Unary::Tanh, inner), 1.0))
        }
        "Gelu" => {
            let erf = one(Unary::Erf, times(0.5f64.sqrt(), x()));
            two(Binary::Mul, times(0.5, x()), plus(erf, 1.0))
        }
        "Shrink" => {
            let (lambda, bias) = (float("lambd", 0.5), float("bias", 0.0));
            let above = Expr::select(two(Binary::Greater, x(), number(lambda)), plus(x(), -bias), number(0.0));
            Expr::select(two(Binary::Less, x(), number(-lambda)), plus(x(), bias), above)
        }
        _ => return None,
    })
}

pub(in super::super) fn pointwise(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let function = function(call).ok_or("operator not supported")?;
    Ok(call.b.pointwise(function, x))
}

pub(in super::super) fn relu(call: &mut Call) -> Made {
    let x = call.data(0)?;
    Ok(call.b.relu(x))
}

pub(in super::super) fn negate(call: &mut Call) -> Made {
    let x = call.data(0)?;
    Ok(call.b.scale(-1.0, x))
}

/// Limits are attributes up to operator set 10, inputs from then on. From 0 on it is a ReLU, which
/// has the cheapest protocol.
pub(in super::super) fn clip(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let limit = |i: usize, name: &str| -> Result<Option<f64>, String> {
        if let Some(attribute) = call.attribute(name) {
            return Ok(Some(f64::from(attribute.f)));
        }
        if !call.has(i) {
            return Ok(None);
        }
        let limit = call.constant(i).ok_or_else(|| format!("its {name} must be a constant"))?;
        let limit = uniform(&floats_or_infinite(limit)?).ok_or("its limits must be numbers")?;
        Ok(Some(f64::from(limit)))
    };
    let bounded = |limit: &f64| limit.abs() < f64::from(f32::MAX);
    let (low, high) = (limit(1, "min")?.filter(bounded), limit(2, "max")?.filter(bounded));
    if low.is_some_and(f64::is_nan) || high.is_some_and(f64::is_nan) {
        return Err("a limit of it is no number".into());
    }
    Ok(limited(call, x, low, high))
}

/// `min(max(x, low), high)`
pub(super) fn limited(call: &mut Call, x: crate::nn::NodeId, low: Option<f64>, high: Option<f64>) -> crate::nn::NodeId {
    let below = |e: Expr| high.map_or(e.clone(), |high| Expr::binary(Binary::Min, e, Expr::Const(high)));
    match low {
        Some(0.0) => {
            let positive = call.b.relu(x);
            call.b.pointwise(below(Expr::X), positive)
        }
        Some(low) => call.b.pointwise(below(Expr::binary(Binary::Max, Expr::X, Expr::Const(low))), x),
        None => call.b.pointwise(below(Expr::X), x),
    }
}

/// `relu(x) + slope * (x - relu(x))`: the slopes are weights and stay private, unless there is only
/// one.
pub(in super::super) fn p_relu(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let slope = call.floats(1, "the slope")?;
    let positive = call.b.relu(x);
    let negative = call.b.sub(x, positive);
    let scaled = call.affine(negative, &slope, &number(0.0))?;
    Ok(call.b.add(positive, scaled))
}

pub(in super::super) fn pow(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let exponent = call.floats(1, "the exponent")?;
    match uniform(&exponent) {
        Some(1.0) => Ok(x),
        Some(2.0) => call.b.mul(x, x),
        Some(p) => Ok(call.b.pointwise(reduce::power(f64::from(p)), x)),
        None => Err("exponents that differ between elements are not supported".into()),
    }
}

pub(in super::super) fn softmax(call: &mut Call) -> Made {
    normalised(call, false)
}

pub(in super::super) fn log_softmax(call: &mut Call) -> Made {
    normalised(call, true)
}

/// `IsNaN` of a softmax, by which attention gives nothing where a row of scores is masked entirely.
/// Here such a row has scores like any other.
pub(in super::super) fn is_nan(call: &mut Call) -> Result<Vec<Wire>, String> {
    let x = call.data(0)?;
    let mut source = call.b.graph.node(x);
    while source.op == Op::Reshape {
        source = call.b.graph.node(source.inputs[0]);
    }
    if !matches!(source.op, Op::Softmax { log: false, .. }) {
        return Err("it is supported of what a Softmax gives, which is a number always".into());
    }
    let never = Tensor::zero_dt(DatumType::Bool, &call.shape(x)).map_err(|e| e.to_string())?;
    Ok(vec![Wire::Const(Arc::new(never))])
}

/// Up to operator set 12 along all axes from `axis` on, from then on along one.
fn normalised(call: &mut Call, log: bool) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let old = call.opset < 13;
    let axis = super::super::call::axis(call.int("axis", if old { 1 } else { -1 }), shape.len().max(1))?;
    if !old {
        return Ok(call.b.push(Op::Softmax { axis, log }, vec![x], shape));
    }
    let outer: usize = shape[..axis].iter().product();
    let matrix = call.b.reshape(x, &[outer, shape[axis..].iter().product()]);
    let matrix_shape = call.shape(matrix);
    let y = call.b.push(Op::Softmax { axis: 1, log }, vec![matrix], matrix_shape);
    Ok(call.b.reshape(y, &shape))
}
