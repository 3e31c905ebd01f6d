//! How full rings get: a run of the reference that also looks at every integer before it is
//! reduced.
//!
//! A value that leaves its ring wraps, in the reference exactly as in every protocol, so that
//! copies of a query agree on the wrong answer. Only whoever knows the weights can see it, and here
//! is where they look.

use super::elementwise::{differences_hold, ends, map};
use super::linear::Sums;
use super::{Function, Op, TensorType, Value, ValueId, Weights, apply_public, apply_with, logits_of, signed, values};
use crate::op::Piecewise;
use crate::types::{MAX_BITS, Sign};

/// One run with what it does to the rings.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The last value's elements, as [`super::output`] gives them.
    pub output: Vec<i64>,
    /// For each value, the largest absolute integer that its operation forms (differences that it
    /// compares included), as a fraction of `2^(bits-1)`: at 1 something wraps. Zero for operations
    /// that only move or narrow.
    pub fill: Vec<f64>,
    /// The elements among which the label is the largest: those of [`super::logits_of`].
    pub logits: Vec<i64>,
}

/// Runs `function` on one quantised input and watches its rings.
///
/// # Panics
/// As [`super::run`].
pub fn watch(function: &Function, weights: &Weights, input: &[i64]) -> Watched {
    let ranked = logits_of(function);
    let (mut fill, mut logits) = (Vec::with_capacity(function.values.len()), Vec::new());
    let mut values = values(function, false, |value, operands| {
        let (elements, most) = step(function, value, weights, operands, input);
        if ranked == Some(ValueId(fill.len() as u32)) {
            logits.clone_from(&elements);
        }
        fill.push(most);
        elements
    });
    Watched { output: values.pop().unwrap_or_default(), fill, logits }
}

fn step(function: &Function, value: &Value, weights: &Weights, operands: &[&[i64]], input: &[i64]) -> (Vec<i64>, f64) {
    let bits = value.ty.bits;
    // In the widest ring nothing wraps.
    let wide = || TensorType { bits: MAX_BITS, ..value.ty.clone() };
    let wide_operand = || TensorType { bits: MAX_BITS, ..function.value(value.operands[0]).ty.clone() };
    let reduced = || apply_with(function, value, weights, operands, input, Sums::Fastest);
    // The elements of the result in the widest ring, which are the result's mod `2^bits`.
    let narrowed = |exact: Vec<i64>| {
        let most = share(ends(&exact), bits);
        if most < 1.0 { (exact, most) } else { (map(&exact, |y| signed(y as u64, bits)), most) }
    };
    // What a rising or falling function makes of the smallest and the largest element.
    let of_ends = |f: &dyn Fn(i128) -> i128| {
        let (low, high) = ends(operands[0]);
        f(low.into()).unsigned_abs().max(f(high.into()).unsigned_abs())
    };
    match &value.op {
        // Missing values are where a ring's sign turns: products with them wrap on purpose.
        Op::Dense { .. } if reads_order(function, value) => (reduced(), 0.0),
        Op::Conv(_) | Op::Dense { .. } | Op::Bias { .. } | Op::Add | Op::Mul | Op::MatMul | Op::SumPool(_) => {
            let value = Value { ty: wide(), ..value.clone() };
            narrowed(apply_with(function, &value, weights, operands, input, Sums::Fastest))
        }
        Op::ShiftLeft { by } => (reduced(), part(of_ends(&|x| x << by), bits)),
        Op::Scale { factor } => (reduced(), part(of_ends(&|x| x * i128::from(*factor)), bits)),
        Op::Offset { by } => (reduced(), part(of_ends(&|x| x + i128::from(*by)), bits)),
        Op::Truncate => (reduced(), share(ends(operands[0]), bits)),
        Op::Paths(_) => {
            // Minus the depth may be the ring's lowest number.
            let exact = apply_public(&value.op, operands, &[&wide_operand()], &wide());
            let exact: Vec<i64> = exact.into_iter().map(|y| y ^ y >> 63).collect();
            (reduced(), share(ends(&exact), bits))
        }
        Op::Requant { shift } | Op::RequantRelu { shift } => {
            let rounded = of_ends(&|x| x + (1 << (shift - 1)));
            // The result has its own ring, which may be narrower than what the shift leaves.
            let from = function.value(value.operands[0]).ty.bits;
            (reduced(), part(rounded, from).max(part(rounded, bits + shift)))
        }
        // What is above the limit needs no room in the result.
        Op::RequantClip { shift, .. } => {
            let rounded = of_ends(&|x| x + (1 << (shift - 1)));
            (reduced(), part(rounded, function.value(value.operands[0]).ty.bits))
        }
        Op::Piecewise(piecewise) => {
            let mut exact = apply_public(&value.op, operands, &[&wide_operand()], &wide());
            // The summand is a value at zero, which the function may never see: reduced, it is that
            // of a function that fits at its kinks.
            let first = piecewise.knots.first().map_or(0, |knot| knot.0);
            let there = piecewise.offset.wrapping_add(piecewise.first_slope.wrapping_mul(first));
            let turns = there.wrapping_sub(signed(there as u64, bits));
            exact.iter_mut().for_each(|y| *y = y.wrapping_sub(turns));
            let differences = differences(piecewise, operands[0], bits);
            let (y, most) = if differences_hold(piecewise, operands[0], bits) {
                narrowed(exact)
            } else {
                (reduced(), share(ends(&exact), bits))
            };
            // What is proven to stay in its ring needs no room.
            let proven = value.ty.sign == Sign::NonNegative && most < 1.0;
            (y, if proven { differences } else { most.max(differences) })
        }
        Op::MaxPool(_) => {
            let negated = map(operands[0], |x| -x);
            let pool = |x: &[i64]| apply_public(&value.op, &[x], &[&wide_operand()], &wide());
            let high = pool(operands[0]);
            let spread = high.iter().zip(pool(&negated)).map(|(high, low)| high + low).max().unwrap_or(0);
            // Where no difference wraps in the widest ring nor in this one, maxima are the same.
            let most = share((0, spread), bits);
            (if share(ends(operands[0]), bits) < 0.5 { high } else { reduced() }, most)
        }
        Op::ArgMax | Op::TopK { .. } => {
            let (low, high) = ends(operands[0]);
            (reduced(), share((0, high - low), function.value(value.operands[0]).ty.bits))
        }
        Op::Input(_) | Op::Mix(_) | Op::Reveal(_) | Op::Check | Op::Relu | Op::Extend | Op::Step => (reduced(), 0.0),
        Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } | Op::Reshape => (reduced(), 0.0),
    }
}

/// Whether a value reads an input whose numbers are [ordered](crate::input::InputFormat::ordered),
/// moved or not.
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

/// The largest difference of an element from a threshold.
fn differences(piecewise: &Piecewise, x: &[i64], bits: u8) -> f64 {
    let (low, high) = ends(x);
    let knots = piecewise.knots.first().zip(piecewise.knots.last());
    knots.map_or(0.0, |(first, last)| share((high - first.0, low - last.0), bits))
}

/// The larger of two absolute values as a fraction of `2^(bits-1)`.
fn share((low, high): (i64, i64), bits: u8) -> f64 {
    part(u128::from(low.unsigned_abs().max(high.unsigned_abs())), bits)
}

fn part(most: u128, bits: u8) -> f64 {
    most as f64 / f64::from(bits - 1).exp2()
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
    fn a_table_far_from_zero_is_no_overflow() {
        // 300 - 4 x, with a kink at 45.
        let body = "v0 = input : i8.0~6[1] \"x\"\nv1 = piecewise v0 slope=-4 slope_frac=0 offset=44 knots=[45:1] : i8.0~7[1] \"t\"\n";
        assert_eq!(watched(body, &[50]).fill[1], 105.0 / 128.0);
        assert_eq!(watched(body, &[42]).fill[1], 132.0 / 128.0);
    }

    #[test]
    fn a_table_that_is_proven_to_stay_in_its_ring_needs_no_room() {
        // From 0 to 126, flat at both ends.
        let body = |sign| {
            format!(
                "v0 = input : i8.0~5[1] \"x\"\n\
                 v1 = piecewise v0 slope=0 slope_frac=0 offset=0 knots=[0:6,21:-6] : i8.0~7{sign}[1] \"t\"\n"
            )
        };
        assert_eq!(watched(&body(""), &[25]).fill[1], 126.0 / 128.0);
        assert_eq!(watched(&body("+"), &[25]).fill[1], 25.0 / 128.0);
    }

    #[test]
    fn comparisons_are_of_differences() {
        let pool = "v0 = input : i8.0~6[1,1,4] \"x\"\nv1 = max_pool v0 kernel=[1,2] strides=[1,2] pads=[0,0,0,0] : i8.0~6[1,1,2] \"p\"\n";
        assert_eq!(watched(pool, &[60, -60, 100, 90]).fill[1], 120.0 / 128.0);
        let top = "v0 = input : i8.0~6[3] \"x\"\nv1 = argmax v0 : i2.0~1[1] \"y\"\n";
        assert_eq!(watched(top, &[60, -60, -70]).fill[1], 130.0 / 128.0);
    }
}
