//! What the family says of itself.

use fusion_ir::op::Backend;

use crate::compare::Nonlinear;
use crate::families::cheetah::Packings;
use crate::linear::{Refusal, Shape};
use crate::step::{Compare, Comparer, Linear};

/// Garbled circuits: everything that looks at bits.
pub struct Family;

impl crate::families::Family for Family {
    fn linear_candidates(&self) -> Vec<Backend> {
        Vec::new()
    }

    fn compare_candidates(&self) -> Vec<Backend> {
        vec![Backend::Garbled]
    }

    fn linear(&self, _: Backend, _: &Shape, _: &mut Packings) -> Result<Linear, Refusal> {
        Err(Refusal::Circuit)
    }

    fn compare(&self, _: Backend, operation: Nonlinear) -> Compare {
        Compare { operation, by: Comparer::Garbled }
    }
}
