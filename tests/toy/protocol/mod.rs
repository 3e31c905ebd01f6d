//! INSECURE. What the `toy` family costs: the client's share up in the clear, the result's share
//! down.

use fusion_ir::{Backend, Party};

use super::cheetah::Packings;
use crate::compare::Comparison;
use crate::linear::{Geometry, Refusal, Shape};
use crate::{Cost, Keys, packed_bytes};

pub use super::Absent as Products;

/// Linear layers only.
pub struct Family;

/// A linear layer: its shape says it all.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer(pub Shape);

/// It has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparisons {}

impl super::Family for Family {
    fn linear_candidates(&self) -> Vec<Backend> {
        vec![Backend::Toy]
    }

    fn compare_candidates(&self) -> Vec<Backend> {
        Vec::new()
    }

    fn linear(&self, _: Backend, shape: &Shape, _: &mut Packings) -> Result<super::Linear, Refusal> {
        Ok(super::Linear::Toy(Layer(shape.clone())))
    }

    fn compare(&self, _: Backend) -> Result<super::Comparer, Refusal> {
        Err(Refusal::Absent("toys", "comparisons"))
    }
}

impl Layer {
    /// Payload of the client's message and of the server's.
    pub fn message_bytes(&self, positions: usize) -> [u64; 2] {
        let Layer(Shape { geometry, acc_bits, .. }) = self;
        [geometry.input_len(), geometry.output_len()].map(|len| packed_bytes(positions * len, *acc_bits))
    }
}

impl super::Layer for Layer {
    fn cost(&self, _: Keys, positions: usize) -> Cost {
        let [up, down] = self.message_bytes(positions);
        let mut cost = Cost::default();
        cost.send(Party::Client, up);
        cost.send(Party::Server, down);
        cost
    }

    fn geometry(&self) -> &Geometry {
        &self.0.geometry
    }

    fn peak_bytes(&self, _: Party, positions: u64, alive: u64, _: u64) -> u64 {
        positions * alive + self.message_bytes(positions as usize).iter().sum::<u64>()
    }
}

impl super::Comparisons for Comparisons {
    fn price(&self, _: &Comparison, _: usize) -> Cost {
        match *self {}
    }
}
