//! How full rings get: a run of the reference that also looks at every integer before it is reduced.
//!
//! A value that leaves its ring wraps, in the reference exactly as in every protocol, so that copies of a query agree on the wrong answer.
//! Only whoever knows the weights can see it, and here is where they look.

use super::{Function, Op, TensorType, Value, Weights, apply, apply_public, signed};
use crate::types::MAX_BITS;

/// One run with what it does to the rings.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The last value's elements, as [`super::output`] gives them.
    pub output: Vec<i64>,
    /// For each value, the largest absolute integer that its operation forms (differences that it compares included), as a fraction
    /// of `2^(bits-1)`: at 1 something wraps. Zero for operations that only move or narrow.
    pub fill: Vec<f64>,
}

/// Runs `function` on one quantised input and watches its rings.
///
/// # Panics
/// As [`super::run`].
pub fn watch(function: &Function, weights: &Weights, input: &[i64]) -> Watched {
    let last_uses = function.last_uses();
    let mut values: Vec<Vec<i64>> = Vec::with_capacity(function.values.len());
    let mut fill = Vec::with_capacity(function.values.len());
    for (id, value) in function.iter() {
        let operands: Vec<&[i64]> = value.operands.iter().map(|v| values[v.index()].as_slice()).collect();
        let (elements, most) = step(function, value, weights, &operands, input);
        for operand in value.operands.iter().filter(|operand| last_uses[operand.index()] == id) {
            values[operand.index()] = Vec::new();
        }
        values.push(elements);
        fill.push(most);
    }
    Watched { output: values.pop().unwrap_or_default(), fill }
}

fn step(function: &Function, value: &Value, weights: &Weights, operands: &[&[i64]], input: &[i64]) -> (Vec<i64>, f64) {
    let bits = value.ty.bits;
    // In the widest ring nothing wraps.
    let wide = || TensorType { bits: MAX_BITS, ..value.ty.clone() };
    let wide_operand = || TensorType { bits: MAX_BITS, ..function.value(value.operands[0]).ty.clone() };
    let reduced = || apply(function, value, weights, operands, input);
    match &value.op {
        // Missing values are where a ring's sign turns: products with them wrap on purpose.
        Op::Dense { .. } if reads_order(function, value) => (reduced(), 0.0),
        Op::Conv(_) | Op::Dense { .. } | Op::Bias { .. } | Op::Add | Op::Mul | Op::SumPool(_) => {
            let value = Value { ty: wide(), ..value.clone() };
            let mut y = apply(function, &value, weights, operands, input);
            let most = share(&y, bits);
            y.iter_mut().for_each(|y| *y = signed(*y as u64, bits));
            (y, most)
        }
        Op::ShiftLeft { .. } | Op::Scale { .. } | Op::Offset { .. } => {
            let exact = apply_public(&value.op, operands, &[&wide_operand()], &wide());
            (reduced(), share(&exact, bits))
        }
        Op::Truncate => (reduced(), share(operands[0], bits)),
        Op::Paths(_) => {
            let exact = apply_public(&value.op, operands, &[&wide_operand()], &wide());
            (reduced(), share(&exact, bits))
        }
        Op::Requant { shift } | Op::RequantRelu { shift } => {
            let from = function.value(value.operands[0]).ty.bits;
            let half = 1i64 << (shift - 1);
            let rounded: Vec<i64> = operands[0].iter().map(|x| x + half).collect();
            // The result has its own ring, which may be narrower than what the shift leaves.
            (reduced(), share(&rounded, from).max(share(&rounded, bits + shift)))
        }
        // What is above the limit needs no room in the result.
        Op::RequantClip { shift, .. } => {
            let rounded: Vec<i64> = operands[0].iter().map(|x| x + (1 << (shift - 1))).collect();
            (reduced(), share(&rounded, function.value(value.operands[0]).ty.bits))
        }
        Op::Piecewise(piecewise) => {
            let exact = apply_public(&value.op, operands, &[&wide_operand()], &wide());
            let (low, high) = ends(operands[0]);
            let knots = piecewise.knots.first().zip(piecewise.knots.last());
            let differences = knots.map_or([0, 0], |(first, last)| [high - first.0, low - last.0]);
            (reduced(), share(&exact, bits).max(share(&differences, bits)))
        }
        Op::MaxPool(_) => {
            let negated: Vec<i64> = operands[0].iter().map(|x| -x).collect();
            let pool = |x: &[i64]| apply_public(&value.op, &[x], &[&wide_operand()], &wide());
            let spread: Vec<i64> = pool(operands[0]).iter().zip(pool(&negated)).map(|(high, low)| high + low).collect();
            (reduced(), share(&spread, bits))
        }
        Op::ArgMax | Op::TopK { .. } => {
            let (low, high) = ends(operands[0]);
            (reduced(), share(&[high - low], function.value(value.operands[0]).ty.bits))
        }
        Op::Input(_) | Op::Mix(_) | Op::Reveal(_) | Op::Check | Op::Relu | Op::Extend | Op::Step => (reduced(), 0.0),
        Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } | Op::Reshape => (reduced(), 0.0),
    }
}

/// Whether a value reads an input whose numbers are [ordered](crate::input::InputFormat::ordered), moved or not.
fn reads_order(function: &Function, value: &Value) -> bool {
    let Some(operand) = value.operands.first().map(|operand| function.value(*operand)) else { return false };
    match &operand.op {
        Op::Input(format) => format.ordered,
        Op::Mix(_) | Op::Reshape | Op::Slice { .. } | Op::Concat { .. } | Op::Transpose { .. } => {
            reads_order(function, operand)
        }
        _ => false,
    }
}

/// The largest absolute value as a fraction of `2^(bits-1)`.
fn share(x: &[i64], bits: u8) -> f64 {
    let most = x.iter().map(|x| x.unsigned_abs()).max().unwrap_or(0);
    most as f64 / f64::from(bits - 1).exp2()
}

fn ends(x: &[i64]) -> (i64, i64) {
    let join = |(low, high): (i64, i64), x: &i64| (low.min(*x), high.max(*x));
    x.iter().fold((i64::MAX, i64::MIN), join)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    fn watched(body: &str, input: &[i64]) -> Watched {
        let function = text::parse(&format!("function \"f\"\n{body}")).unwrap();
        let watched = watch(&function, &Weights::default(), input);
        assert_eq!(watched.output, super::super::output(&function, &Weights::default(), input));
        watched
    }

    #[test]
    fn sums_and_products_are_seen_before_they_wrap() {
        let body = "v0 = input : i8.0~6[2] \"x\"\nv1 = scale v0 factor=3 : i8.0~7[2] \"s\"\nv2 = add v1, v0 : i8.0~7[2] \"a\"\n";
        assert_eq!(watched(body, &[10, -20]).fill, [0.0, 60.0 / 128.0, 80.0 / 128.0]);
        // -150 wraps to 106, and the sum is of what is there.
        assert_eq!(watched(body, &[0, -50]).fill, [0.0, 150.0 / 128.0, 56.0 / 128.0]);
    }

    #[test]
    fn rounding_and_narrowing_fill_rings_too() {
        let body = "v0 = input : i8.0~6[2] \"x\"\nv1 = requant v0 shift=2 : i6.-2~4[2] \"r\"\nv2 = truncate v1 : i3.-2~2[2] \"t\"\n";
        assert_eq!(watched(body, &[30, -50]).fill, [0.0, 48.0 / 128.0, 12.0 / 4.0]);
        assert_eq!(watched(body, &[126, 0]).fill[1], 1.0);
        let body = "v0 = input : i8.0~6[2] \"x\"\nv1 = requant_clip v0 shift=2 limit=3 : i3.-2~2+[2] \"c\"\n";
        assert_eq!(watched(body, &[94, -3]).fill, [0.0, 96.0 / 128.0]);
    }

    #[test]
    fn comparisons_are_of_differences() {
        let pool = "v0 = input : i8.0~6[1,1,4] \"x\"\nv1 = max_pool v0 kernel=[1,2] strides=[1,2] pads=[0,0,0,0] : i8.0~6[1,1,2] \"p\"\n";
        assert_eq!(watched(pool, &[60, -60, 100, 90]).fill[1], 120.0 / 128.0);
        let top = "v0 = input : i8.0~6[3] \"x\"\nv1 = argmax v0 : i2.0~1[1] \"y\"\n";
        assert_eq!(watched(top, &[60, -60, -70]).fill[1], 130.0 / 128.0);
    }
}
