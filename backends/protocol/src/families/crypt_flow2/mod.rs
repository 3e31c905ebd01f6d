//! What the protocols of CrypTFlow2 (Rathee et al., CCS 2020; IACR ePrint 2020/1002) cost: the
//! family that the paper on Fusion compares with, over the same operations with the same results as
//! every other family.

pub mod compare;
mod family;
pub mod he;
pub mod matmul;
pub mod ot;

pub use compare::{Mill, Schedule, Words};
pub use family::Family;

use crate::Cost;
use crate::linear::Geometry;
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
