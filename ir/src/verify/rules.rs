//! What each operation takes and gives: how many operands, the shape of its result, its width and
//! fractional bits, constants, biases and shifts.

use super::types::check_input;
use super::{MAX_ELEMENTS, MAX_KNOTS, MAX_RANKED, MAX_TOP, MAX_WEIGHT_BITS, Rule};
use crate::function::Function;
use crate::op::{Op, Piecewise};
use crate::types::{MAX_BITS, Sign, TensorType};

/// Number of operands; `None` for one or more.
pub(super) fn arity(op: &Op) -> Option<usize> {
    match op {
        Op::Input(_) => Some(0),
        Op::Add | Op::Mul | Op::MatMul => Some(2),
        Op::Concat { .. } => None,
        Op::Mix(_) | Op::Conv(_) | Op::Dense { .. } | Op::Requant { .. } | Op::RequantRelu { .. } => Some(1),
        Op::RequantClip { .. } | Op::Relu | Op::Extend | Op::Truncate | Op::ShiftLeft { .. } => Some(1),
        Op::Scale { .. } | Op::Offset { .. } | Op::Bias { .. } | Op::Piecewise(_) | Op::MaxPool(_) => Some(1),
        Op::SumPool(_) | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } | Op::Reshape => Some(1),
        Op::ArgMax | Op::TopK { .. } | Op::Reveal(_) | Op::Check | Op::Step | Op::Paths(_) => Some(1),
    }
}

fn image(ty: &TensorType) -> Rule<[usize; 3]> {
    ty.shape.as_slice().try_into().map_err(|_| format!("{:?} is not [channels, height, width]", ty.shape))
}

/// The shape that `op` gives; the declared type `ty` decides where the operation leaves a choice.
pub(super) fn shape(function: &Function, op: &Op, operands: &[&TensorType], ty: &TensorType) -> Rule<Vec<usize>> {
    let first = || operands[0].shape.clone();
    match op {
        Op::Input(_) => Ok(ty.shape.clone()),
        Op::Conv(conv) => {
            let [c_in, height, width] = image(operands[0])?;
            let weight = &function.weight(conv.weight).shape;
            let &[c_out, per_group, kh, kw] = weight.as_slice() else {
                return Err(format!("{weight:?} is not [out, in / groups, height, width]"));
            };
            let sizes = conv.strides.iter().chain(&conv.dilations).chain(&conv.pads).chain([&conv.groups]);
            if sizes.clone().any(|n| *n > MAX_ELEMENTS) || conv.strides.contains(&0) || conv.dilations.contains(&0) {
                return Err("strides, pads or dilations out of range".into());
            }
            if conv.groups == 0 || per_group.checked_mul(conv.groups) != Some(c_in) || c_out % conv.groups != 0 {
                return Err(format!("{c_in} channels in {} groups against {weight:?}", conv.groups));
            }
            let [rows, columns] = conv.output(height, width, [kh, kw]).ok_or("the kernel is larger than the image")?;
            Ok(vec![c_out, rows, columns])
        }
        Op::Dense { weight, .. } => match function.weight(*weight).shape.as_slice() {
            &[m, n] if operands[0].shape == [n] => Ok(vec![m]),
            other => Err(format!("{other:?} times {:?}", operands[0].shape)),
        },
        Op::MaxPool(window) | Op::SumPool(window) => {
            let [channels, height, width] = image(operands[0])?;
            let too_far = (0..4).any(|i| window.pads[i] >= window.kernel[i % 2]);
            if window.strides.contains(&0) || window.kernel.iter().any(|k| *k > MAX_ELEMENTS) || too_far {
                return Err("strides, pads or kernel out of range".into());
            }
            let [rows, columns] = window.output(height, width).ok_or("the window is larger than the image")?;
            Ok(vec![channels, rows, columns])
        }
        Op::Add if operands[0].shape != operands[1].shape => {
            Err(format!("adds {:?} and {:?}", operands[0].shape, operands[1].shape))
        }
        Op::Mul => {
            let [a, b] = [0, 1].map(|i| operands[i].shape.as_slice());
            let fits = a == b || b.len() == 1 && a.first() == b.first();
            if fits { Ok(first()) } else { Err(format!("multiplies {a:?} and {b:?}")) }
        }
        Op::MatMul => mat_mul(operands[0], operands[1]),
        Op::Piecewise(function) if operands[0].len().saturating_mul(function.knots.len()) > MAX_ELEMENTS => {
            Err(format!("{} knots for {} elements", function.knots.len(), operands[0].len()))
        }
        Op::Concat { axis } => {
            let mut result = first();
            let along = |ty: &TensorType| ty.shape.get(*axis).copied();
            let mut total = 0;
            for operand in operands {
                total += along(operand).ok_or("no such axis")?;
                let mut rest = operand.shape.clone();
                rest[*axis] = result[*axis];
                if rest != result {
                    return Err(format!("joins {:?} and {result:?}", operand.shape));
                }
            }
            result[*axis] = total;
            Ok(result)
        }
        Op::Pad { before, after } => {
            let shape = first();
            if before.len() != shape.len() || after.len() != shape.len() {
                return Err("pads another number of axes".into());
            }
            let sum = |i: usize| shape[i].checked_add(before[i])?.checked_add(after[i]);
            (0..shape.len()).map(sum).collect::<Option<_>>().ok_or_else(|| "pads out of range".into())
        }
        Op::Slice { start } => {
            let shape = first();
            let fits = start.len() == shape.len() && ty.shape.len() == shape.len();
            let inside = |i: usize| start[i].checked_add(ty.shape[i]).is_some_and(|end| end <= shape[i]);
            if fits && (0..shape.len()).all(inside) { Ok(ty.shape.clone()) } else { Err("leaves its operand".into()) }
        }
        Op::Transpose { perm } => {
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..operands[0].shape.len()) {
                return Err(format!("{perm:?} is no permutation of the axes"));
            }
            Ok(perm.iter().map(|axis| operands[0].shape[*axis]).collect())
        }
        Op::Reshape if operands[0].len() == ty.len() => Ok(ty.shape.clone()),
        Op::Reshape => Err(format!("{} elements become {}", operands[0].len(), ty.len())),
        Op::Paths(forest) => {
            let extent = forest.extent().ok_or("trees that are not whole")?;
            let tests = operands[0].shape == [extent.tests];
            if tests {
                Ok(vec![extent.leaves])
            } else {
                Err(format!("{} tests from {:?}", extent.tests, operands[0].shape))
            }
        }
        Op::ArgMax | Op::TopK { .. } if operands[0].shape.len() != 1 => Err("needs a vector".into()),
        Op::ArgMax => Ok(vec![1]),
        Op::TopK { k } => {
            let (n, k) = (operands[0].len(), usize::from(*k));
            let fits = (1..=n.min(MAX_TOP)).contains(&k) && n <= MAX_RANKED;
            if fits { Ok(vec![k]) } else { Err(format!("the {k} largest of {n}")) }
        }
        Op::Mix(_) | Op::Requant { .. } | Op::RequantRelu { .. } | Op::RequantClip { .. } | Op::Relu => Ok(first()),
        Op::Extend | Op::Truncate | Op::ShiftLeft { .. } | Op::Scale { .. } | Op::Offset { .. } => Ok(first()),
        Op::Bias { .. } | Op::Add | Op::Piecewise(_) | Op::Reveal(_) | Op::Check | Op::Step => Ok(first()),
    }
}

/// The shape of the products of the matrices `x` and `y`.
fn mat_mul(x: &TensorType, y: &TensorType) -> Rule<Vec<usize>> {
    let (&[b, m, k], &[others, inner, n]) = (x.shape.as_slice(), y.shape.as_slice()) else {
        return Err(format!("multiplies {:?} and {:?}, not batches of matrices", x.shape, y.shape));
    };
    match (b, k) == (others, inner) {
        true => Ok(vec![b, m, n]),
        false => Err(format!("multiplies {:?} and {:?}", x.shape, y.shape)),
    }
}

/// Scalar products of a `mat_mul` of `x` and `y`, whatever their shapes.
pub(super) fn products(x: &TensorType, y: &TensorType) -> u64 {
    let columns = y.shape.last().copied().unwrap_or(0);
    x.shape.iter().chain([&columns]).fold(1u64, |products, extent| products.saturating_mul(*extent as u64))
}

pub(super) fn check_format(function: &Function, op: &Op, operands: &[&TensorType], ty: &TensorType) -> Rule<()> {
    if let Op::Input(format) = op {
        return check_input(format, ty);
    }
    let Some(first) = operands.first() else { return Ok(()) };
    let frac = match op {
        Op::Conv(conv) => i16::from(first.frac) + i16::from(function.weight(conv.weight).frac),
        Op::Dense { weight, .. } => i16::from(first.frac) + i16::from(function.weight(*weight).frac),
        Op::Requant { shift } | Op::RequantRelu { shift } | Op::RequantClip { shift, .. } => {
            i16::from(first.frac) - i16::from(*shift)
        }
        Op::ShiftLeft { by } => i16::from(first.frac) + i16::from(*by),
        Op::Scale { .. } => i16::from(ty.frac),
        Op::Mul | Op::MatMul => i16::from(first.frac) + i16::from(operands[1].frac),
        Op::Piecewise(function) => i16::from(first.frac) + i16::from(function.slope_frac),
        Op::ArgMax | Op::TopK { .. } | Op::Step => 0,
        Op::Paths(_) if first.frac != 0 => return Err(format!("tests of {} fractional bits", first.frac)),
        Op::Input(_) | Op::Mix(_) | Op::Relu | Op::Extend | Op::Truncate => i16::from(first.frac),
        Op::Offset { .. } | Op::Bias { .. } | Op::Add | Op::MaxPool(_) | Op::SumPool(_) => i16::from(first.frac),
        Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => i16::from(first.frac),
        Op::Reshape | Op::Reveal(_) | Op::Check | Op::Paths(_) => i16::from(first.frac),
    };
    if frac != i16::from(ty.frac) {
        return Err(format!("{} fractional bits, not {frac}", ty.frac));
    }
    let width_fits = match op {
        Op::Requant { .. } | Op::RequantRelu { .. } | Op::RequantClip { .. } | Op::Step => true,
        Op::Extend => ty.bits > first.bits,
        Op::Truncate => ty.bits < first.bits,
        Op::ArgMax => first.len() <= 1 << (ty.bits - 1),
        Op::TopK { .. } => first.len() <= 1 << (ty.bits - 1) && first.bits + ty.bits <= MAX_BITS,
        Op::Input(_) | Op::Mix(_) | Op::Conv(_) | Op::Dense { .. } | Op::Relu => ty.bits == first.bits,
        Op::ShiftLeft { .. } | Op::Scale { .. } | Op::Offset { .. } | Op::Bias { .. } => ty.bits == first.bits,
        Op::Add | Op::Mul | Op::MatMul | Op::Piecewise(_) | Op::MaxPool(_) | Op::SumPool(_) => ty.bits == first.bits,
        Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => ty.bits == first.bits,
        Op::Reshape | Op::Reveal(_) | Op::Check | Op::Paths(_) => ty.bits == first.bits,
    };
    if !width_fits {
        return Err(format!("{} bits from {}", ty.bits, first.bits));
    }
    for other in &operands[1..] {
        if other.bits != first.bits || (other.frac != first.frac && !matches!(op, Op::Mul | Op::MatMul)) {
            let TensorType { bits, frac, .. } = other;
            return Err(format!("operands of {bits}.{frac} and {}.{} bits", first.bits, first.frac));
        }
    }
    if let Op::ShiftLeft { by } = op
        && *by >= ty.bits
    {
        return Err(format!("shifts {} bits by {by}", ty.bits));
    }
    check_constants(op, ty)
}

fn check_constants(op: &Op, ty: &TensorType) -> Rule<()> {
    let limit = 1i64 << (ty.bits - 1);
    let in_range = |constant: i64| (-limit..limit).contains(&constant);
    match op {
        Op::Offset { by } if !in_range(*by) => Err(format!("adds {by} to {} bits", ty.bits)),
        Op::RequantClip { limit: clip, .. } if !(1..limit).contains(clip) => {
            Err(format!("clips {} bits at {clip}", ty.bits))
        }
        Op::Piecewise(Piecewise { first_slope, offset, knots, .. }) => {
            let fits = |(threshold, change): &(i64, i64)| in_range(*threshold) && in_range(*change);
            if !in_range(*first_slope) || !in_range(*offset) || !knots.iter().all(fits) {
                return Err(format!("constants out of the range of {} bits", ty.bits));
            }
            if !(1..=MAX_KNOTS).contains(&knots.len()) {
                return Err(format!("{} knots; at most {MAX_KNOTS}", knots.len()));
            }
            if knots.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
                return Err("thresholds do not rise".into());
            }
            Ok(())
        }
        Op::Input(_) | Op::Mix(_) | Op::Conv(_) | Op::Dense { .. } | Op::Requant { .. } => Ok(()),
        Op::RequantRelu { .. } | Op::RequantClip { .. } | Op::Relu | Op::Extend | Op::Truncate => Ok(()),
        Op::ShiftLeft { .. } | Op::Scale { .. } | Op::Offset { .. } | Op::Bias { .. } | Op::Add | Op::Mul => Ok(()),
        Op::MaxPool(_) | Op::SumPool(_) | Op::Concat { .. } | Op::Pad { .. } => Ok(()),
        Op::Slice { .. } | Op::Transpose { .. } | Op::Reshape | Op::ArgMax | Op::TopK { .. } => Ok(()),
        Op::Reveal(_) | Op::Check | Op::Step | Op::Paths(_) | Op::MatMul => Ok(()),
    }
}

/// Whether calibrated elements of `operand` may be so far apart, or from a threshold, that their
/// difference wraps.
pub(super) fn differences_may_wrap(op: &Op, operand: &TensorType) -> bool {
    match op {
        Op::MaxPool(_) | Op::ArgMax | Op::TopK { .. } => operand.magnitude + 2 > operand.bits,
        Op::Piecewise(function) => {
            let (most, limit) = (1i128 << operand.magnitude, 1i128 << (operand.bits - 1));
            let least = if operand.sign == Sign::NonNegative { 0 } else { -most };
            function.knots.iter().any(|(threshold, _)| {
                let threshold = i128::from(*threshold);
                most - 1 - threshold >= limit || least - threshold < -limit
            })
        }
        Op::Input(_) | Op::Mix(_) | Op::Conv(_) | Op::Dense { .. } | Op::Requant { .. } => false,
        Op::RequantRelu { .. } | Op::RequantClip { .. } | Op::Relu | Op::Extend | Op::Truncate => false,
        Op::ShiftLeft { .. } | Op::Scale { .. } | Op::Offset { .. } | Op::Bias { .. } | Op::Add | Op::Mul => false,
        Op::SumPool(_) | Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => false,
        Op::Reshape | Op::Reveal(_) | Op::Check | Op::Step | Op::Paths(_) | Op::MatMul => false,
    }
}

pub(super) fn check_bias(function: &Function, op: &Op, ty: &TensorType) -> Rule<()> {
    let kernel = op.kernel().map(|id| function.weight(id));
    if let Some(kernel) = kernel.filter(|kernel| kernel.bits > MAX_WEIGHT_BITS) {
        return Err(format!("{} weight bits; at most {MAX_WEIGHT_BITS}", kernel.bits));
    }
    let Some(bias) = op.bias().map(|id| function.weight(id)) else { return Ok(()) };
    let fits = match kernel {
        Some(kernel) => kernel.shape.first().is_some_and(|m| bias.shape == [*m]),
        None => bias.shape == ty.shape || ty.shape.first().is_some_and(|leading| bias.shape == [*leading]),
    };
    if !fits {
        return Err(format!("a bias of {:?}", bias.shape));
    }
    if (bias.bits, bias.frac) != (ty.bits, ty.frac) {
        return Err(format!("a bias of {}.{} bits for {}.{}", bias.bits, bias.frac, ty.bits, ty.frac));
    }
    Ok(())
}

pub(super) fn check_shift(op: &Op, operands: &[&TensorType], ty: &TensorType) -> Rule<()> {
    let (Op::Requant { shift } | Op::RequantRelu { shift } | Op::RequantClip { shift, .. }) = op else {
        return Ok(());
    };
    let bits = operands[0].bits;
    if *shift == 0 || *shift >= bits {
        return Err(format!("drops {shift} of {bits} bits"));
    }
    if !matches!(op, Op::Requant { .. }) && ty.bits > bits - shift {
        return Err(format!("keeps {} of {bits} bits after dropping {shift}", ty.bits));
    }
    Ok(())
}
