//! How many operands an operation takes, and the shape that it gives.

use super::{MAX_ELEMENTS, MAX_RANKED, MAX_TOP, Rule};
use crate::function::Function;
use crate::op::Op;
use crate::types::TensorType;

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
