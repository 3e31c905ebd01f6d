//! The verifier: what a well-formed function is, as numbered invariants.
//!
//! A violation in a function that a pass made is a bug in the pass; in a plan file it is a hostile
//! or corrupt plan. All violations are collected.
//!
//! 1. Operands come before their readers, and every operation has as many operands as it takes.
//! 2. Widths are in `2..=63`, `magnitude < bits`, no extent is zero, and sizes stay below
//!    [`MAX_ELEMENTS`] and [`MAX_VALUES`].
//! 3. The result's shape is the one that the operation gives.
//! 4. The result's width and `frac` follow from the operands' as [`Op`] says; public constants are
//!    in the ring's signed range, and thresholds rise. An input has a format for each index along
//!    its features' axis, or for none.
//! 5. Weights exist, have the shape their operation needs, at most [`MAX_WEIGHT_BITS`] bits (a
//!    bias: the accumulator's width and `frac`), and belong to one operation.
//! 6. Shifts are in `1..bits`; a fused `requant_relu` has `k <= bits - shift`, so that one carry
//!    tree gives both sign and rounding.
//! 7. Operands of comparisons between secrets (`max_pool`, `argmax`, `topk`) have
//!    `magnitude <= bits - 2`, so that calibrated differences do not wrap; nor do those from the
//!    thresholds of `piecewise`.
//! 8. A sign is claimed only where it is proven.
//! 9. Value 0 is the only input; every other value but the last is read.
//! 10. (executable) The only reveal is the last operation, or the last but a final `fusion.check`;
//!     it opens an argmax, or a topk or the logits if it says so; so nothing else leaves, and it
//!     leaves to the client.
//! 11. (executable) `fusion.mix` reads the input and nothing else does; it is there exactly if
//!     `fusion.check` is.
//! 12. (executable) Every value has a backend: [`Backend::Local`] exactly for the operations that
//!     need no message; leaves have 1 to 4 bits. Whether that backend carries the operation at
//!     these widths is its own to say.

mod sign;
#[cfg(test)]
mod tests;
mod types;

use std::fmt;

use crate::backend::Backend;
use crate::function::{Function, Value, ValueId, WeightId};
use crate::op::{Op, Piecewise, Reveal};
use crate::types::{MAX_BITS, Sign, TensorType};

pub use sign::sign_is_proven;
use types::{check_input, check_type, check_weight};

/// Most elements of one value or weight.
pub const MAX_ELEMENTS: usize = 1 << 28;
/// Most values of a function.
pub const MAX_VALUES: usize = 1 << 16;
/// Widest weight.
pub const MAX_WEIGHT_BITS: u8 = 16;
/// Most scalar products of a `mat_mul`.
pub const MAX_PRODUCTS: usize = 1 << 32;
/// Most knots of a `piecewise`.
pub const MAX_KNOTS: usize = 1 << 10;
/// Most indices of a `topk`.
pub const MAX_TOP: usize = 128;
/// Most elements of a `topk`'s operand.
pub const MAX_RANKED: usize = 1 << 16;

/// One broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number in the [module's list](self).
    pub invariant: u8,
    /// Where.
    pub value: Option<ValueId>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{value}: {} (invariant {})", self.message, self.invariant),
            None => write!(f, "{} (invariant {})", self.message, self.invariant),
        }
    }
}

/// Checks invariants 1 to 9.
///
/// # Errors
/// Every violation.
pub fn verify(function: &Function) -> Result<(), Vec<Violation>> {
    Verifier::new(function).structure().finish()
}

/// Checks invariants 1 to 12: the function can be executed and opens nothing but its result.
///
/// # Errors
/// Every violation.
pub fn verify_executable(function: &Function) -> Result<(), Vec<Violation>> {
    let checked = Verifier::new(function).structure();
    if checked.violations.is_empty() { checked.gadgets().backends().finish() } else { checked.finish() }
}

/// The function's text with every offending line underlined and explained.
pub fn explain(function: &Function, violations: &[Violation]) -> String {
    let mut text = String::new();
    for line in function.to_string().lines() {
        text.push_str(line);
        text.push('\n');
        for violation in violations {
            let at = violation.value.map(|value| format!("{value} ="));
            if at.is_some_and(|at| line.trim_start().starts_with(&at)) {
                let indent = line.len() - line.trim_start().len();
                text.push_str(&format!("{}{}\n", " ".repeat(indent), "^".repeat(line.trim().chars().count())));
                text.push_str(&format!("{}{violation}\n", " ".repeat(indent)));
            }
        }
    }
    for violation in violations.iter().filter(|violation| violation.value.is_none()) {
        text.push_str(&format!("{violation}\n"));
    }
    text
}

struct Verifier<'f> {
    function: &'f Function,
    violations: Vec<Violation>,
}

/// What an operation gives: `Err` says why it cannot be applied.
type Rule<T> = Result<T, String>;

impl<'f> Verifier<'f> {
    fn new(function: &'f Function) -> Self {
        Verifier { function, violations: Vec::new() }
    }

    fn finish(self) -> Result<(), Vec<Violation>> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations) }
    }

    fn report(&mut self, invariant: u8, value: Option<ValueId>, message: impl Into<String>) {
        self.violations.push(Violation { invariant, value, message: message.into() });
    }

    fn structure(mut self) -> Self {
        if self.function.values.len() > MAX_VALUES {
            self.report(2, None, format!("{} values; at most {MAX_VALUES}", self.function.values.len()));
            return self;
        }
        for (index, weight) in self.function.weights.iter().enumerate() {
            if let Err(message) = check_weight(weight) {
                self.report(5, None, format!("{}: {message}", WeightId(index as u32)));
            }
        }
        for (id, value) in self.function.iter() {
            self.value(id, value);
        }
        self.uses();
        self
    }

    fn value(&mut self, id: ValueId, value: &Value) {
        if let Err(message) = check_type(&value.ty) {
            return self.report(2, Some(id), message);
        }
        let expected = arity(&value.op);
        if let Some(late) = value.operands.iter().find(|operand| **operand >= id) {
            return self.report(1, Some(id), format!("reads {late}, which does not come before it"));
        }
        if expected.is_some_and(|n| n != value.operands.len()) || (expected.is_none() && value.operands.is_empty()) {
            return self.report(1, Some(id), format!("{} operands", value.operands.len()));
        }
        if let Some(missing) = value.op.weights().find(|w| w.index() >= self.function.weights.len()) {
            return self.report(5, Some(id), format!("reads {missing}, which does not exist"));
        }
        let operands: Vec<&TensorType> = value.operands.iter().map(|v| &self.function.value(*v).ty).collect();
        if operands.iter().any(|ty| check_type(ty).is_err()) {
            // Reported where they are made; what follows counts on sound operands.
            return;
        }
        match shape(self.function, &value.op, &operands, &value.ty) {
            Ok(shape) if shape == value.ty.shape => {}
            Ok(shape) => self.report(3, Some(id), format!("the result is {:?}, not {shape:?}", value.ty.shape)),
            Err(message) => self.report(3, Some(id), message),
        }
        if let Err(message) = check_format(self.function, &value.op, &operands, &value.ty) {
            self.report(4, Some(id), message);
        }
        if let Err(message) = check_bias(self.function, &value.op, &value.ty) {
            self.report(5, Some(id), message);
        }
        if let Err(message) = check_shift(&value.op, &operands, &value.ty) {
            self.report(6, Some(id), message);
        }
        if operands.first().is_some_and(|operand| differences_may_wrap(&value.op, operand)) {
            let TensorType { bits, magnitude, .. } = operands[0];
            self.report(7, Some(id), format!("compares {bits}-bit elements of magnitude {magnitude}"));
        }
        if value.ty.sign == Sign::NonNegative && !sign_is_proven(&value.op, &operands, &value.ty) {
            self.report(8, Some(id), "claims a sign that nothing proves");
        }
    }

    fn uses(&mut self) {
        let mut readers = vec![0usize; self.function.weights.len()];
        for (id, value) in self.function.iter() {
            if matches!(value.op, Op::Input(_)) != (id == ValueId(0)) {
                self.report(9, Some(id), "the input is value 0 and nothing else");
            }
            for weight in value.op.weights() {
                let Some(count) = readers.get_mut(weight.index()) else { continue };
                *count += 1;
                if *count > 1 {
                    self.report(5, Some(id), format!("{weight} belongs to another operation"));
                }
            }
        }
        if let Some(unread) = readers.iter().position(|n| *n == 0) {
            self.report(5, None, format!("{} belongs to no operation", WeightId(unread as u32)));
        }
        if self.function.values.is_empty() {
            return self.report(9, None, "there is no input");
        }
        if self
            .function
            .values
            .iter()
            .flat_map(|value| &value.operands)
            .any(|v| v.index() >= self.function.values.len())
        {
            return;
        }
        let users = self.function.users();
        for (id, _) in self.function.iter().rev().skip(1) {
            if users[id.index()].is_empty() {
                self.report(9, Some(id), "is never read");
            }
        }
    }

    fn gadgets(mut self) -> Self {
        let function = self.function;
        let checked = matches!(function.values.last(), Some(Value { op: Op::Check, .. }));
        let last = function.values.len() - 1;
        let opens = if checked { last.wrapping_sub(1) } else { last };
        for (id, value) in function.iter() {
            match value.op {
                Op::Reveal(_) if id.index() != opens => self.report(10, Some(id), "reveals before the end"),
                Op::Check if id.index() != last => self.report(10, Some(id), "checks before the end"),
                Op::Mix(_) if value.operands != [ValueId(0)] => {
                    self.report(11, Some(id), "mixes what is not the input")
                }
                Op::Mix(_) if !checked => self.report(11, Some(id), "mixes what nothing checks"),
                Op::Input(_) | Op::Mix(_) => {}
                _ if checked && value.operands.contains(&ValueId(0)) => {
                    self.report(11, Some(id), "bypasses fusion.mix")
                }
                _ => {}
            }
        }
        if checked && !function.values.iter().any(|value| matches!(value.op, Op::Mix(_))) {
            self.report(11, None, "fusion.check without fusion.mix");
        }
        match function.values.get(opens) {
            Some(Value { op: Op::Reveal(what), operands, .. }) => {
                let says: &[Reveal] = match function.value(operands[0]).op {
                    Op::ArgMax => &[Reveal::Label],
                    Op::TopK { k } => &[Reveal::TopK(k)],
                    _ => &[Reveal::Logits, Reveal::Value],
                };
                if !says.contains(what) {
                    self.report(10, Some(ValueId(opens as u32)), "opens something else than it says");
                }
            }
            _ => self.report(10, None, "does not end in a reveal"),
        }
        self
    }

    fn backends(mut self) -> Self {
        for (id, value) in self.function.iter() {
            let fits = match value.op.is_local() {
                true => value.backend == Backend::Local,
                false => value.backend.is_family(),
            };
            if !fits {
                self.report(12, Some(id), format!("{} cannot run on backend {}", value.op.name(), value.backend));
            }
        }
        self
    }
}

/// Number of operands; `None` for one or more.
fn arity(op: &Op) -> Option<usize> {
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
fn shape(function: &Function, op: &Op, operands: &[&TensorType], ty: &TensorType) -> Rule<Vec<usize>> {
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
    if (b, k) != (others, inner) {
        return Err(format!("multiplies {:?} and {:?}", x.shape, y.shape));
    }
    match [b, m, k, n].into_iter().try_fold(1usize, usize::checked_mul) {
        Some(products) if products <= MAX_PRODUCTS => Ok(vec![b, m, n]),
        _ => Err(format!("multiplies {:?} and {:?}: more than {MAX_PRODUCTS} products", x.shape, y.shape)),
    }
}

fn check_format(function: &Function, op: &Op, operands: &[&TensorType], ty: &TensorType) -> Rule<()> {
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
fn differences_may_wrap(op: &Op, operand: &TensorType) -> bool {
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

fn check_bias(function: &Function, op: &Op, ty: &TensorType) -> Rule<()> {
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

fn check_shift(op: &Op, operands: &[&TensorType], ty: &TensorType) -> Rule<()> {
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
