//! What the family says of itself.

use std::sync::Arc;

use fusion_ir::Party;
use fusion_ir::backend::{Backend, Cheetah};

use super::carries::Leaves;
use super::packing::{Packing, Packings};
use super::product::Product;
use crate::compare::Comparison;
use crate::families::parts::peak_bytes;
use crate::families::{self, Comparer, Linear};
use crate::linear::{Geometry, Matrices, Refusal, Shape};
use crate::rlwe::public_keys;
use crate::{Cost, Keys};

/// RLWE ciphertexts and carry trees.
pub struct Family;

/// A linear layer, in coefficients of ciphertexts.
pub type Layer = Arc<Packing>;

/// Products of matrices, likewise.
pub type Products = Arc<Product>;

/// Carry trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparisons {
    /// How they begin.
    pub leaves: Leaves,
}

impl Comparisons {
    /// As a session with these keys runs them. With layers ahead the client knows its share of a
    /// layer's result first, and receives all leaves, which are as wide as they may be: nothing
    /// else goes on while few positions wait for the network.
    pub fn with(self, keys: Keys) -> Comparisons {
        match keys {
            Keys::Layer | Keys::Position => self,
            Keys::Ahead => Comparisons { leaves: Leaves { bits: Leaves::WIDEST, receiver: Some(Party::Client) } },
        }
    }
}

impl Family {
    /// The choices for a value; the default ones where its backend is no family.
    fn choices(backend: Backend) -> Cheetah {
        if let Backend::Cheetah(choices) = backend { choices } else { Cheetah::default() }
    }
}

impl families::Family for Family {
    fn linear_candidates(&self) -> Vec<Backend> {
        let with = |output_packing| Backend::Cheetah(Cheetah { output_packing, ..Cheetah::default() });
        [false, true].map(with).to_vec()
    }

    fn compare_candidates(&self) -> Vec<Backend> {
        let with = |leaf_bits| Backend::Cheetah(Cheetah { leaf_bits, ..Cheetah::default() });
        [Cheetah::default().leaf_bits, 2, 1, 4].map(with).to_vec()
    }

    fn product_candidates(&self) -> Vec<Backend> {
        let by_ot = Cheetah { scalar_products: true, ..Cheetah::default() };
        self.linear_candidates().into_iter().chain([Backend::Cheetah(by_ot)]).collect()
    }

    fn linear(&self, backend: Backend, shape: &Shape, packings: &mut Packings) -> Result<Linear, Refusal> {
        Ok(Linear::Cheetah(packings.find(shape, Family::choices(backend).output_packing)?))
    }

    fn compare(&self, backend: Backend) -> Result<Comparer, Refusal> {
        Ok(Comparer::Cheetah(Comparisons { leaves: Family::choices(backend).leaf_bits.into() }))
    }

    fn product(
        &self,
        backend: Backend,
        bits: u8,
        matrices: &Matrices,
        packings: &mut Packings,
    ) -> Result<Option<families::Product>, Refusal> {
        let Cheetah { output_packing, scalar_products, .. } = Family::choices(backend);
        if scalar_products {
            return Ok(None);
        }
        let product = Product::of(matrices, bits, output_packing, packings)?;
        Ok(Some(families::Product::Cheetah(Arc::new(product))))
    }
}

impl families::Layer for Layer {
    fn cost(&self, keys: Keys, positions: usize) -> Cost {
        if keys == Keys::Ahead {
            return super::unmasked_cost(self, positions);
        }
        let mut cost = if keys.serve_one(self.levels()) { public_keys(positions) } else { Cost::default() };
        cost.then(&super::cost(self, positions));
        cost
    }

    fn geometry(&self) -> &Geometry {
        Packing::geometry(self)
    }

    fn peak_bytes(&self, party: Party, positions: u64, alive: u64, result: u64) -> u64 {
        peak_bytes(party, [self.upload_bytes(), self.download_bytes()], positions, alive, result)
    }
}

impl families::Products for Products {
    fn cost(&self, keys: Keys, positions: usize) -> Cost {
        Product::cost(self, keys, positions)
    }

    fn peak_bytes(&self, party: Party, positions: u64, alive: u64, result: u64) -> u64 {
        Product::peak_bytes(self, party, positions, alive, result)
    }
}

impl families::Comparisons for Comparisons {
    fn price(&self, comparison: &Comparison, n: usize) -> Cost {
        comparison.cost(self.leaves, n)
    }
}
