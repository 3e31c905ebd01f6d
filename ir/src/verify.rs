//! The verifier: what a well-formed function is, as numbered invariants.
//!
//! A violation in a function that a pass made is a bug in the pass; in a plan file it is a hostile
//! or corrupt plan. All violations are collected.
//!
//! 1. Operands come before their readers, and every operation has as many operands as it takes.
//! 2. Widths are in `2..=63`, `magnitude < bits`, no extent is zero, and sizes stay below
//!    [`MAX_ELEMENTS`] and [`MAX_VALUES`]; all `mat_mul` together have at most [`MAX_PRODUCTS`].
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
//!     need no message; leaves have 1 to 4 bits, and no choice is one that means nothing for the
//!     operation. Whether that backend carries the operation at these widths is its own to say.

mod executable;
mod rules;
mod sign;
#[cfg(test)]
mod tests;
mod types;

use std::fmt;

#[cfg(doc)]
use crate::backend::Backend;
use crate::function::{Function, Value, ValueId, WeightId};
use crate::op::Op;
use crate::types::{Sign, TensorType};

use rules::{arity, check_bias, check_format, check_shift, differences_may_wrap, products, shape};
pub use sign::sign_is_proven;
use types::{check_type, check_weight};

/// Most elements of one value or weight.
pub const MAX_ELEMENTS: usize = 1 << 28;
/// Most values of a function.
pub const MAX_VALUES: usize = 1 << 16;
/// Widest weight.
pub const MAX_WEIGHT_BITS: u8 = 16;
/// Most scalar products of all `mat_mul` of a function together.
pub const MAX_PRODUCTS: u64 = 1 << 36;
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
        self.products();
        self.uses();
        self
    }

    /// The sum that invariant 2 bounds, up to the first value that exceeds it.
    fn products(&mut self) {
        let mut total = 0u64;
        for (id, value) in self.function.iter() {
            let ty = |operand: &ValueId| self.function.values.get(operand.index()).map(|value| &value.ty);
            let operands: Option<Vec<&TensorType>> = value.operands.iter().map(ty).collect();
            let (Op::MatMul, Some(&[x, y])) = (&value.op, operands.as_deref()) else { continue };
            total = total.saturating_add(products(x, y));
            if total > MAX_PRODUCTS {
                return self.report(
                    2,
                    Some(id),
                    format!("up to here, products of matrices have {total} scalar products; at most {MAX_PRODUCTS}"),
                );
            }
        }
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
}
