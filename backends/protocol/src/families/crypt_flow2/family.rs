//! What the family says of itself.

use fusion_ir::Party;
use fusion_ir::backend::{Backend, CryptFlow2};

use super::compare;
use super::he::Slots;
use super::matmul;
use crate::compare::Comparison;
use crate::families::cheetah::Packings;
use crate::families::parts::peak_bytes;
use crate::families::{self, Comparer, Linear};
use crate::linear::{Geometry, Refusal, Shape};
use crate::{Cost, Keys};

pub use crate::families::Absent as Products;

/// The protocols of CrypTFlow2.
pub struct Family;

/// A linear layer of this family.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// By correlated OTs on the bits of the weights.
    Ot(Box<matmul::Products>),
    /// In slots of ciphertexts.
    He(Box<Slots>),
}

/// Millionaires' protocols on digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparisons;

impl families::Family for Family {
    fn linear_candidates(&self) -> Vec<Backend> {
        [CryptFlow2::Ot, CryptFlow2::He].map(Backend::CryptFlow2).to_vec()
    }

    fn compare_candidates(&self) -> Vec<Backend> {
        // They do the same.
        self.linear_candidates()
    }

    fn linear(&self, backend: Backend, shape: &Shape, _: &mut Packings) -> Result<Linear, Refusal> {
        let Shape { geometry, acc_bits, weight_bits } = shape;
        Ok(Linear::CryptFlow2(match backend {
            Backend::CryptFlow2(CryptFlow2::He) => Layer::He(Box::new(Slots::of(geometry, *acc_bits, *weight_bits)?)),
            _ => Layer::Ot(Box::new(matmul::Products::of(geometry.clone(), *acc_bits, *weight_bits))),
        }))
    }

    fn compare(&self, _: Backend) -> Result<Comparer, Refusal> {
        Ok(Comparer::CryptFlow2(Comparisons))
    }
}

impl families::Layer for Layer {
    fn cost(&self, _: Keys, positions: usize) -> Cost {
        match self {
            Layer::Ot(products) => products.cost(positions),
            Layer::He(slots) => slots.cost(positions),
        }
    }

    fn geometry(&self) -> &Geometry {
        match self {
            Layer::Ot(products) => products.geometry(),
            Layer::He(slots) => slots.geometry(),
        }
    }

    fn peak_bytes(&self, party: Party, positions: u64, alive: u64, result: u64) -> u64 {
        match self {
            Layer::Ot(products) => positions * alive + products.peak_bytes(positions as usize),
            Layer::He(slots) => {
                peak_bytes(party, [slots.upload_bytes(), slots.download_bytes()], positions, alive, result)
            }
        }
    }
}

impl families::Comparisons for Comparisons {
    fn price(&self, comparison: &Comparison, n: usize) -> Cost {
        compare::cost(comparison, n)
    }
}
