//! What the protocols of CrypTFlow2 (Rathee et al., CCS 2020; IACR ePrint 2020/1002) cost: the family that the paper on Fusion compares
//! with, over the same operations with the same results as every other family.

pub mod compare;
pub mod he;
pub mod matmul;
pub mod ot;

pub use compare::{Mill, Schedule, Words};

use fusion_ir::op::{Backend, CryptFlow2};

use crate::Cost;
use crate::compare::Nonlinear;
use crate::families::cheetah::Packings;
use crate::linear::{Geometry, Refusal, Shape};
use crate::step::{Compare, Comparer, Linear};
use he::Slots;
use matmul::Products;

/// A linear layer of this family.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// By correlated OTs on the bits of the weights.
    Ot(Box<Products>),
    /// In slots of ciphertexts.
    He(Box<Slots>),
}

impl Layer {
    /// The messages of the layer on a micro-batch of `positions`.
    pub fn cost(&self, positions: usize) -> Cost {
        match self {
            Layer::Ot(products) => products.cost(positions),
            Layer::He(slots) => slots.cost(positions),
        }
    }

    /// The layer's shape.
    pub fn geometry(&self) -> &Geometry {
        match self {
            Layer::Ot(products) => products.geometry(),
            Layer::He(slots) => slots.geometry(),
        }
    }
}

/// The protocols of CrypTFlow2.
pub struct Family;

impl super::Family for Family {
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
                Linear::CryptFlow2(Layer::He(Box::new(Slots::of(geometry, *acc_bits, *weight_bits)?)))
            }
            _ => Linear::CryptFlow2(Layer::Ot(Box::new(Products::of(geometry.clone(), *acc_bits, *weight_bits)))),
        })
    }

    fn compare(&self, _: Backend, operation: Nonlinear) -> Compare {
        Compare { operation, by: Comparer::CryptFlow2 }
    }
}
