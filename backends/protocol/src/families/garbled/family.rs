//! What the family says of itself.

use fusion_ir::Backend;

use super::Circuit;
use crate::Cost;
use crate::compare::{Comparison, Nonlinear};
use crate::families::cheetah::Packings;
use crate::families::{self, Comparer, Linear};
use crate::linear::{Refusal, Shape};

pub use crate::families::{Absent as Layer, Absent as Products};

/// Garbled circuits: everything that looks at bits.
pub struct Family;

/// Circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparisons;

impl families::Family for Family {
    fn linear_candidates(&self) -> Vec<Backend> {
        Vec::new()
    }

    fn compare_candidates(&self) -> Vec<Backend> {
        vec![Backend::Garbled]
    }

    fn linear(&self, _: Backend, _: &Shape, _: &mut Packings) -> Result<Linear, Refusal> {
        Err(Refusal::Absent("garbled circuits", "linear layers"))
    }

    fn compare(&self, _: Backend) -> Result<Comparer, Refusal> {
        Ok(Comparer::Garbled(Comparisons))
    }
}

impl families::Comparisons for Comparisons {
    fn price(&self, comparison: &Comparison, n: usize) -> Cost {
        Circuit::of(comparison).cost(n)
    }

    fn cost(&self, operation: &Nonlinear, positions: usize) -> Cost {
        super::cost(operation, positions)
    }
}
