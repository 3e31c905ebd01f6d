//! The families of protocols, as data: what each could compute, and how it lays an operation out.

use fusion_ir::op::{Backend, Cheetah, CryptFlow2};

use crate::compare::Nonlinear;
use crate::crypt_flow2::{he::Slots, matmul::Products};
use crate::linear::{Packings, Refusal, Shape};
use crate::step::{Compare, Comparer, Linear};

/// A family as the compiler and both parties see it, without its protocols' code.
pub trait Family: Sync {
    /// The ways in which it could compute a linear layer, the one to take where nothing is known first.
    fn linear_candidates(&self) -> Vec<Backend>;

    /// The same of an operation that looks at bits.
    fn compare_candidates(&self) -> Vec<Backend>;

    /// A linear layer as `backend`, one of this family's, lays it out.
    ///
    /// # Errors
    /// If its protocols cannot carry it.
    fn linear(&self, backend: Backend, shape: &Shape, packings: &mut Packings) -> Result<Linear, Refusal>;

    /// An operation that looks at bits, likewise.
    fn compare(&self, backend: Backend, operation: Nonlinear) -> Compare;
}

/// Every family, the default one first.
pub const FAMILIES: [&dyn Family; 3] = [&DEFAULT, &CryptFlow2Family, &GarbledFamily];

/// The family of a backend; the default one as long as none is selected.
pub fn family(backend: Backend) -> &'static dyn Family {
    match backend {
        Backend::Cheetah(_) | Backend::Unselected | Backend::Local => &DEFAULT,
        Backend::CryptFlow2(_) => &CryptFlow2Family,
        Backend::Garbled => &GarbledFamily,
    }
}

const DEFAULT: CheetahFamily = CheetahFamily;

/// RLWE ciphertexts and carry trees.
struct CheetahFamily;

impl CheetahFamily {
    /// The choices for a value; the default ones as long as no backend is selected.
    fn choices(backend: Backend) -> Cheetah {
        match backend {
            Backend::Cheetah(choices) => choices,
            Backend::Unselected | Backend::Local | Backend::CryptFlow2(_) | Backend::Garbled => Cheetah::default(),
        }
    }
}

impl Family for CheetahFamily {
    fn linear_candidates(&self) -> Vec<Backend> {
        let with = |output_packing| Backend::Cheetah(Cheetah { output_packing, ..Cheetah::default() });
        [false, true].map(with).to_vec()
    }

    fn compare_candidates(&self) -> Vec<Backend> {
        let with = |leaf_bits| Backend::Cheetah(Cheetah { leaf_bits, ..Cheetah::default() });
        [Cheetah::default().leaf_bits, 2, 1, 4].map(with).to_vec()
    }

    fn linear(&self, backend: Backend, shape: &Shape, packings: &mut Packings) -> Result<Linear, Refusal> {
        Ok(Linear::Cheetah(packings.find(shape, CheetahFamily::choices(backend).output_packing)?))
    }

    fn compare(&self, backend: Backend, operation: Nonlinear) -> Compare {
        Compare { operation, by: Comparer::Cheetah { leaf_bits: CheetahFamily::choices(backend).leaf_bits } }
    }
}

/// The protocols of CrypTFlow2.
struct CryptFlow2Family;

impl Family for CryptFlow2Family {
    fn linear_candidates(&self) -> Vec<Backend> {
        [CryptFlow2::Ot, CryptFlow2::He].map(Backend::CryptFlow2).to_vec()
    }

    fn compare_candidates(&self) -> Vec<Backend> {
        // They do the same.
        self.linear_candidates()
    }

    fn linear(&self, backend: Backend, shape: &Shape, _: &mut Packings) -> Result<Linear, Refusal> {
        let Shape { geometry, acc_bits, weight_bits } = shape;
        Ok(match backend {
            Backend::CryptFlow2(CryptFlow2::He) => {
                Linear::CryptFlow2He(Box::new(Slots::of(geometry, *acc_bits, *weight_bits)?))
            }
            _ => Linear::CryptFlow2Ot(Box::new(Products::of(geometry.clone(), *acc_bits, *weight_bits))),
        })
    }

    fn compare(&self, _: Backend, operation: Nonlinear) -> Compare {
        Compare { operation, by: Comparer::CryptFlow2 }
    }
}

/// Garbled circuits: everything that looks at bits.
struct GarbledFamily;

impl Family for GarbledFamily {
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
