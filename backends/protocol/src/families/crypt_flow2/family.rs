//! What the family says of itself.

use fusion_ir::op::{Backend, CryptFlow2};

use super::Layer;
use super::he::Slots;
use super::matmul::Products;
use crate::compare::Nonlinear;
use crate::families::cheetah::Packings;
use crate::linear::{Refusal, Shape};
use crate::step::{Compare, Comparer, Linear};

/// The protocols of CrypTFlow2.
pub struct Family;

impl crate::families::Family for Family {
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
