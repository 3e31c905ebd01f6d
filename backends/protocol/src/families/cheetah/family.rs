//! What the family says of itself.

use fusion_ir::op::{Backend, Cheetah};

use super::packing::Packings;
use crate::compare::Nonlinear;
use crate::linear::{Refusal, Shape};
use crate::step::{Compare, Comparer, Linear};

/// RLWE ciphertexts and carry trees.
pub struct Family;

impl Family {
    /// The choices for a value; the default ones as long as no backend is selected.
    fn choices(backend: Backend) -> Cheetah {
        match backend {
            Backend::Cheetah(choices) => choices,
            Backend::Unselected | Backend::Local | Backend::CryptFlow2(_) | Backend::Garbled => Cheetah::default(),
        }
    }
}

impl crate::families::Family for Family {
    fn linear_candidates(&self) -> Vec<Backend> {
        let with = |output_packing| Backend::Cheetah(Cheetah { output_packing, ..Cheetah::default() });
        [false, true].map(with).to_vec()
    }

    fn compare_candidates(&self) -> Vec<Backend> {
        let with = |leaf_bits| Backend::Cheetah(Cheetah { leaf_bits, ..Cheetah::default() });
        [Cheetah::default().leaf_bits, 2, 1, 4].map(with).to_vec()
    }

    fn linear(&self, backend: Backend, shape: &Shape, packings: &mut Packings) -> Result<Linear, Refusal> {
        Ok(Linear::Cheetah(packings.find(shape, Family::choices(backend).output_packing)?))
    }

    fn compare(&self, backend: Backend, operation: Nonlinear) -> Compare {
        Compare { operation, by: Comparer::Cheetah { leaf_bits: Family::choices(backend).leaf_bits } }
    }
}
