//! Widths, fractional bits, constants and shifts, as an operation and its operands have them.

use super::{MAX_KNOTS, MAX_WEIGHT_BITS, Rule};
use crate::function::Function;
use crate::op::{Op, Piecewise};
use crate::types::{MAX_BITS, Sign, TensorType};

use super::types::check_input;

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
