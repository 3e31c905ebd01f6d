//! Products of two secret matrices: how many bits their factors keep.

use fusion_catalogue::cheetah::product::{GOOD_ACC_BITS, ONE_DIGIT_BITS, one_digit_bits};
use fusion_catalogue::linear::Matrices;
use fusion_ir::op::Op;
use fusion_ir::{Sign, TensorType, ValueId};

use super::softmax::longer;
use super::{Lowered, Lowering, ProductFormat, log2_ceil};
use crate::nn::{self, NodeId};

/// So many products of secrets are taken by OTs, mostly.
const FEW_PRODUCTS: u64 = 1 << 11;
/// And so many if their sums must be exact.
const SOME_PRODUCTS: u64 = 1 << 16;
/// A factor keeps so many bits of its largest element.
const LEAST_FACTOR_BITS: u8 = 11;
/// The same beside a softmax.
const LEAST_ROUGH_BITS: u8 = 10;

/// How a product fits its ring.
struct Fit {
    /// Last bits that either factor loses.
    lost_bits: [u8; 2],
    frac: i8,
    magnitude: u8,
    bits: u8,
}

impl Lowering<'_> {
    /// Products of matrices in a ring that holds their sums, then requantised. Where ciphertexts
    /// carry them, factors lose last bits until they hold that ring well.
    pub(super) fn mat_mul(&mut self, id: NodeId, node: &nn::Node, operands: [ValueId; 2]) -> Lowered {
        let &[batch, rows, columns] = node.shape.as_slice() else { return Err("its result is no batch".into()) };
        let operands = operands.map(|operand| self.narrow(operand, node));
        let matrices = Matrices { batch, rows, inner: self.ty(operands[0]).shape[2], columns };
        let growth = log2_ceil(matrices.inner);
        // By OTs any ring will do.
        let exact = self.precision.fine || self.wide.keeps[id.0];
        let most_bits = match matrices.products() {
            ..=FEW_PRODUCTS => super::MAX_RING_BITS,
            ..=SOME_PRODUCTS if exact => super::MAX_RING_BITS,
            _ => self.precision.max_accumulator_bits.min(GOOD_ACC_BITS),
        };
        let operands = operands.map(|operand| self.filled(operand, most_bits, node));
        let types = operands.map(|operand| self.ty(operand).clone());
        let fit = |most_bits, least| self.fit_product(id, &types, growth, most_bits, least);
        // What softmaxes read or give is rough itself.
        let rough = self.attends(id) && most_bits == GOOD_ACC_BITS;
        let least = LEAST_ROUGH_BITS + longer(matrices.inner);
        let one_digit = if rough { Some(fit(ONE_DIGIT_BITS, least)?) } else { None };
        let (fit, least_bits, most_bits) = match one_digit.filter(|fit| fit.bits <= ONE_DIGIT_BITS) {
            // Room for what reads it is as good, if it takes no second one.
            Some(fit) => (fit, ONE_DIGIT_BITS, one_digit_bits(&matrices)),
            None => (fit(most_bits, LEAST_FACTOR_BITS)?, most_bits, most_bits),
        };
        let Fit { lost_bits, frac, magnitude, bits } = fit;
        // Less room than that is none.
        let whole = self.roomy(id, magnitude, bits, super::MAX_RING_BITS);
        let bits = if whole <= most_bits { whole } else { self.roomy(id, magnitude, bits, least_bits.max(bits)) };
        if bits > super::MAX_RING_BITS {
            return Err(format!("its product needs {bits} bits"));
        }
        let ty = TensorType { shape: node.shape.clone(), bits, frac, magnitude, sign: Sign::Any };
        let mut operands = operands;
        for (operand, lost) in operands.iter_mut().zip(lost_bits).filter(|(_, lost)| *lost > 0) {
            *operand = self.requant_by(*operand, lost, node);
        }
        let (factor_bits, ring_bits) = (operands.map(|operand| self.ty(operand).magnitude), ty.bits);
        let node_name = node.name.clone();
        self.formats.products.push(ProductFormat { node: node_name, factor_bits, lost_bits, ring_bits, most_bits });
        let operands = operands.map(|operand| self.extend(operand, ty.bits, node));
        let y = self.same(Op::MatMul, operands.to_vec(), ty.clone(), node);
        if self.wide.keeps[id.0] {
            return Ok(self.kept(id, y));
        }
        // As of a product of elements.
        let filled = (ty.magnitude + self.headroom[id.0]).max(self.precision.activation_bits);
        let filled = self.roomy(id, ty.magnitude, filled, ty.bits.max(filled));
        let y = match filled < ty.bits {
            true => self.same(Op::Truncate, vec![y], TensorType { bits: filled, ..ty }, node),
            false => y,
        };
        Ok(self.narrow(y, node))
    }

    /// The value in a ring of at most so many bits, if its format fits: what is kept may not fill
    /// its own.
    fn filled(&mut self, x: ValueId, most_bits: u8, node: &nn::Node) -> ValueId {
        let ty = self.ty(x).clone();
        let bits = (ty.magnitude + 1).max(most_bits);
        if bits < ty.bits { self.same(Op::Truncate, vec![x], TensorType { bits, ..ty }, node) } else { x }
    }

    /// Products of factors of these types, which lose last bits until the ring has `most_bits`, or
    /// either has only `least` left of its largest element.
    fn fit_product(
        &self,
        id: NodeId,
        types: &[TensorType; 2],
        growth: u8,
        most_bits: u8,
        least: u8,
    ) -> Result<Fit, String> {
        let mut lost_bits = [0; 2];
        loop {
            let left = |at: usize| types[at].magnitude.saturating_sub(lost_bits[at]).max(1);
            let frac = (0..2).map(|at| i16::from(types[at].frac) - i16::from(lost_bits[at])).sum::<i16>();
            let frac = i8::try_from(frac).ok().filter(|frac| frac.abs() < 60);
            let frac = frac.ok_or("its factors are too small or too large")?;
            let magnitude = self.reached(id, frac, left(0) + left(1) + growth);
            let widest = (0..2).map(|at| types[at].bits - lost_bits[at]).fold(0, u8::max);
            let bits = (magnitude + self.headroom[id.0]).max(widest);
            let at = usize::from(left(1) > left(0));
            let spare = left(at).saturating_sub(least);
            if bits <= most_bits || spare == 0 {
                return Ok(Fit { lost_bits, frac, magnitude, bits });
            }
            lost_bits[at] += spare.min((bits - most_bits).div_ceil(2));
        }
    }
}
