//! The `cheetah` family: linear layers over RLWE ciphertexts ([`Packing`]), comparisons by carry trees ([`Carries`]).
//!
//! **Linear layers.** The client encrypts its share of the operand, coefficient-packed; the server adds its own share, multiplies by
//! kernel polynomials and returns masked results (Cheetah, Huang et al., USENIX Security 2022, section 3, with
//! several output channels per product), packed into few ciphertexts where that is chosen ([`interleaved`]). How much noise may grow is
//! [`noise`]'s. Everything here is public geometry: it depends on shapes and widths, never on a weight's value.

mod axis;
mod carries;
mod flight;
pub mod interleaved;
pub mod noise;
mod packing;
mod placement;
mod progression;
mod trees;

use fusion_ir::Party;
use fusion_ir::op::{Backend, Cheetah};

pub use carries::{Carries, Leaf, SEGMENTS};
pub use flight::Flight;
pub use packing::{Packing, Packings, Run, Term};

use crate::compare::Nonlinear;
use crate::linear::{Refusal, Shape};
use crate::step::{Compare, Comparer, Linear};
use crate::{Cost, Primitive};

/// Terms of a kernel polynomial up to which the server sums them up instead of transforming the polynomial.
pub const FEW_TERMS: usize = 24;

/// The messages of one linear layer on a micro-batch of `positions`: the encrypted operands up, the masked results down.
pub fn cost(packing: &Packing, positions: usize) -> Cost {
    let mut cost = Cost::default();
    cost.send(Party::Client, (positions * packing.upload_bytes()) as u64);
    cost.send(Party::Server, (positions * packing.download_bytes()) as u64);
    let (operands, results) = (positions * packing.operands(), positions * packing.results());
    let sums = positions * packing.sums();
    cost.compute(Primitive::Ciphertext, operands as u64);
    match packing.terms() / packing.products() {
        terms @ ..=FEW_TERMS => cost.compute(Primitive::KernelTerm, (packing.kernels() * terms) as u64),
        _ => cost.compute(Primitive::Kernel, packing.kernels() as u64),
    }
    cost.compute(Primitive::Product, (sums * packing.products()) as u64);
    cost.compute(Primitive::KeySwitch, (positions * packing.switches()) as u64);
    cost.compute(Primitive::Result, results as u64);
    cost
}

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

impl super::Family for Family {
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
