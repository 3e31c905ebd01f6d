//! What operations made of many comparisons cost, given what a family of protocols asks for one of them.

use fusion_ir::network::Network;
use fusion_ir::op::Window;
use fusion_ir::{Op, TensorType, Value};

use crate::compare::{Comparison, Pool, tournament};
use crate::{Cost, elementwise};

/// What a family asks for a comparison of so many elements.
pub type Price<'p> = &'p dyn Fn(&Comparison, usize) -> Cost;

/// The nonlinear operation of `value` on a first operand of type `operand`, on `positions` positions.
pub fn cost(price: Price, value: &Value, operand: &TensorType, positions: usize) -> Cost {
    let (ty, bits) = (&value.ty, operand.bits);
    if let Some(comparison) = elementwise(&value.op, operand, ty) {
        return price(&comparison, positions * ty.len());
    }
    match &value.op {
        Op::MaxPool(window) => {
            let &[channels, height, width] = operand.shape.as_slice() else { return Cost::default() };
            max_pool(price, bits, window, [height, width], channels * positions)
        }
        Op::Piecewise(function) => piecewise(price, bits, function.knots.len(), positions * ty.len()),
        Op::ArgMax => arg_max(price, bits, ty.bits, operand.len(), positions),
        Op::TopK { k } => top_k(price, bits, ty.bits, operand.len(), usize::from(*k), positions),
        _ => Cost::default(),
    }
}

/// A max-pool over `images` images (channels times positions) of `height x width`, [`Pool::images_at_once`] at a time.
pub fn max_pool(price: Price, bits: u8, window: &Window, [height, width]: [usize; 2], images: usize) -> Cost {
    let pool = Pool::new(window, height, width);
    let most = pool.images_at_once();
    let mut cost = Cost::default();
    for start in (0..images).step_by(most) {
        let images = most.min(images - start);
        for contests in tournament(&pool.sizes_across()) {
            cost.then(&price(&Comparison::Max { bits }, contests * pool.rows.len() * images));
        }
        for contests in tournament(&pool.sizes_down()) {
            cost.then(&price(&Comparison::Max { bits }, contests * pool.across.len() * images));
        }
    }
    cost
}

/// The index of the largest of `classes` values for each of `positions` positions.
pub fn arg_max(price: Price, bits: u8, index_bits: u8, classes: usize, positions: usize) -> Cost {
    let mut cost = Cost::default();
    for contests in tournament(&[classes]) {
        cost.then(&price(&Comparison::MaxIndex { bits, index_bits }, contests * positions));
    }
    cost
}

/// The indices of the `k` largest of `classes` values for each of `positions` positions: maxima of keys that hold a value and its index.
pub fn top_k(price: Price, bits: u8, index_bits: u8, classes: usize, k: usize, positions: usize) -> Cost {
    let mut cost = Cost::default();
    for layer in Network::top_k(classes, k).layers {
        cost.then(&price(&Comparison::Max { bits: bits + index_bits }, layer.len() * positions));
    }
    cost
}

/// A piecewise linear function of `knots` knots on `n` elements: as many ReLUs, all of them side by side.
pub fn piecewise(price: Price, bits: u8, knots: usize, n: usize) -> Cost {
    price(&Comparison::Relu { bits }, knots * n)
}
