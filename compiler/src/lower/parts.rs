//! Tensors side by side, whose formats differ.

use fusion_ir::op::Op;
use fusion_ir::{Sign, TensorType, ValueId};

use super::Lowering;
use crate::nn::{self, NodeId};

impl Lowering<'_> {
    /// The parts at the coarsest of their formats.
    pub(super) fn concat(&mut self, node: &nn::Node, parts: Vec<ValueId>, axis: usize) -> ValueId {
        let parts: Vec<ValueId> = parts.into_iter().map(|part| self.narrow(part, node)).collect();
        let frac = parts.iter().map(|part| self.ty(*part).frac).min().unwrap_or(0);
        let aligned: Vec<ValueId> = parts.into_iter().map(|part| self.coarsen(part, frac, node)).collect();
        // What is kept may be in a ring of its own.
        let bits = aligned.iter().map(|part| self.ty(*part).bits).max().unwrap_or(0);
        let aligned: Vec<ValueId> = aligned.into_iter().map(|part| self.extend(part, bits, node)).collect();
        let types = || aligned.iter().map(|part| self.ty(*part));
        let magnitude = types().map(|ty| ty.magnitude).max().unwrap_or(1);
        let proven = types().all(|ty| ty.sign == Sign::NonNegative);
        let sign = if proven { Sign::NonNegative } else { Sign::Any };
        let ty = TensorType { shape: node.shape.clone(), magnitude, sign, ..self.ty(aligned[0]).clone() };
        self.same(Op::Concat { axis }, aligned, ty, node)
    }

    /// Whether nothing but layers read `id`.
    pub(super) fn beside_layers(&self, id: NodeId) -> bool {
        let readers = &self.users[id.0];
        !readers.is_empty()
            && !self.precision.fine
            && readers.iter().all(|reader| {
                let op = &self.graph.node(*reader).op;
                matches!(op, nn::Op::Conv(_) | nn::Op::Dense(_)) || op.moves() && self.beside_layers(*reader)
            })
    }

    /// The parts at the finest of their formats, for layers, whose rings have room.
    pub(super) fn side_by_side(&mut self, node: &nn::Node, parts: Vec<ValueId>, axis: usize) -> ValueId {
        let narrow: Vec<ValueId> = parts.iter().map(|part| self.narrow(*part, node)).collect();
        let finest = narrow.iter().map(|part| self.ty(*part).frac).max().unwrap_or(0);
        let by = |lowering: &Self, part: ValueId| finest - lowering.ty(part).frac;
        let bits = narrow.iter().map(|part| i16::from(self.ty(*part).bits) + i16::from(by(self, *part))).max();
        let bits = bits.and_then(|bits| u8::try_from(bits).ok()).unwrap_or(u8::MAX);
        // What is shifted has no proven sign any more.
        let differ = narrow.iter().any(|part| by(self, *part) > 0);
        if !differ || bits >= self.precision.max_accumulator_bits {
            return self.concat(node, parts, axis);
        }
        let mut aligned = Vec::with_capacity(narrow.len());
        for part in narrow {
            let by = by(self, part) as u8;
            let part = self.extend(part, bits, node);
            let ty = self.ty(part).clone();
            aligned.push(match by {
                0 => part,
                _ => {
                    let magnitude = (ty.magnitude + by).min(bits - 1);
                    let ty = TensorType { frac: finest, magnitude, sign: Sign::Any, ..ty };
                    self.same(Op::ShiftLeft { by }, vec![part], ty, node)
                }
            });
        }
        let magnitude = aligned.iter().map(|part| self.ty(*part).magnitude).max().unwrap_or(1);
        let ty = TensorType { shape: node.shape.clone(), magnitude, sign: Sign::Any, ..self.ty(aligned[0]).clone() };
        let y = self.same(Op::Concat { axis }, aligned, ty, node);
        self.kept.insert(y);
        y
    }
}

#[cfg(test)]
mod tests {
    use fusion_ir::interp;
    use fusion_ir::op::Reveal;
    use ndarray::Array4;

    use crate::build::{Built, build};
    use crate::evaluate;
    use crate::nn::build::Builder;
    use crate::nn::{self, Op, eval};
    use crate::passes::Settings;
    use crate::quantise::Precision;
    use crate::quantise::calibrate::Calibration;

    /// A skip beside what a ReLU makes far larger, as a block of a transformer has it.
    #[test]
    fn small_parts_beside_large_ones_keep_their_format() {
        let one = [1, 1];
        let layer = |weight: Array4<f32>| {
            let bias = vec![0.0; weight.shape()[0]];
            Op::Conv(nn::Conv { weight, bias, strides: one, pads: [0; 4], dilations: one, groups: 1 })
        };
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [4, 1, 3]);
        let large = Array4::from_shape_fn((4, 4, 1, 1), |(i, j, ..)| 900.0 + (i * 3 + j) as f32);
        let large = b.push(layer(large), vec![x], [4, 1, 3]);
        let large = b.relu(large);
        let both = b.push(Op::Concat { axis: 0 }, vec![large, x], [8, 1, 3]);
        let weight = Array4::from_shape_fn((4, 8, 1, 1), |(i, j, ..)| match j {
            ..4 => 1.0 / 1024.0,
            _ => f32::from(u8::from(j - 4 == i)),
        });
        let y = b.push(layer(weight), vec![both], [4, 1, 3]);
        let graph = b.graph.reachable(y);
        let calibration = Calibration::synthetic(&graph);
        let settings = Settings { reveal: Reveal::Logits, ..Settings::default() };
        let Built { program, .. } = build(&graph, &calibration, &Precision::default(), &settings).unwrap();
        let function = &program.function;
        let quantised = evaluate::quantise(function, &calibration.samples);
        let ends = |op: &fusion_ir::Op| matches!(op, fusion_ir::Op::Reveal(_) | fusion_ir::Op::Check);
        let ty = &function.values.iter().rev().find(|value| !ends(&value.op)).unwrap().ty;
        for (sample, quantised) in calibration.samples.iter().zip(&quantised) {
            let found = interp::output(function, &program.weights, quantised);
            for (found, float) in found.iter().zip(eval::run(&graph, sample).pop().unwrap()) {
                let error = (ty.dequantize(*found) - f64::from(float)).abs();
                assert!(error < 0.05, "{} {float}", ty.dequantize(*found));
            }
        }
    }
}
