//! Channels of a linear map's operand that are small where the weights that read them are large, as
//! batch normalisation makes them of channels that hardly vary: a few such weights set the format
//! of all others. Their channels are multiplied by powers of two, which is local, and the weights
//! divided by them, so that others keep their digits in the same accumulator.

use fusion_ir::op::Op;
use fusion_ir::{Sign, TensorType, ValueId};

use super::Lowering;
use super::map::Linear;
use crate::nn;

/// Most channels of one operand that are multiplied.
const MAX_LIFTED: usize = 24;
/// What that must make of the largest weight to be worth it, in bits.
const WORTHWHILE: f64 = 1.5;

impl Linear<'_> {
    /// For each channel of the operand, whose mean squares are `squares`, the exponent of its
    /// factor; `None` where all are zero. No channel becomes larger than the largest is.
    pub(super) fn lifts(&self, squares: &[f32]) -> Option<Vec<u8>> {
        let mut tops = vec![0f32; squares.len()];
        for (channel, w) in self.channels().zip(&self.weight) {
            tops[channel] = tops[channel].max(w.abs());
        }
        let loudest = squares.iter().copied().fold(0f32, f32::max);
        let used = |(top, square): (&f32, &f32)| (*square > 0.0).then_some(*top);
        let mut sorted: Vec<f32> = tops.iter().zip(squares).filter_map(used).collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let usual = sorted.get(MAX_LIFTED.min(sorted.len() / 4)).copied().filter(|top| *top > 0.0)?;
        let exponent = |(top, square): (&f32, &f32)| {
            let wanted = (top / usual).log2().ceil().max(0.0);
            let room = ((loudest / square).log2() / 2.0).floor().max(0.0);
            // What is zero on every sample says nothing about its room.
            if *square > 0.0 { wanted.min(room) as u8 } else { 0 }
        };
        let lifts: Vec<u8> = tops.iter().zip(squares).map(exponent).collect();
        let lifted = |(top, by): (&f32, &u8)| top * (-f32::from(*by)).exp2();
        let left = tops.iter().zip(&lifts).zip(squares).filter(|(_, square)| **square > 0.0);
        let left = left.map(|(pair, _)| lifted(pair)).fold(0f32, f32::max);
        (f64::from(sorted[0] / left).log2() >= WORTHWHILE).then_some(lifts)
    }

    /// The weights divided by two to the power of their channel's exponent, if there is one.
    pub(super) fn divided(&self, lifts: &[u8]) -> Vec<f32> {
        let by = |channel: usize| lifts.get(channel).copied().map_or(0.0, f32::from);
        self.channels().zip(&self.weight).map(|(channel, w)| **w * (-by(channel)).exp2()).collect()
    }
}

/// Numbers of each channel that grow with the `power` of its factor.
pub(super) fn multiplied(of_channels: &[f32], lifts: &[u8], power: f32) -> Vec<f32> {
    of_channels.iter().zip(lifts).map(|(x, by)| x * (power * f32::from(*by)).exp2()).collect()
}

impl Lowering<'_> {
    /// `x`, in the accumulator's ring, with the channels of its leading axis multiplied.
    pub(super) fn lifted(&mut self, x: ValueId, lifts: &[u8], node: &nn::Node) -> ValueId {
        let ty = self.ty(x).clone();
        let most = lifts.iter().copied().max().unwrap_or(0);
        let magnitude = (ty.magnitude + most).min(ty.bits - 1);
        let mut parts = Vec::new();
        let mut from = 0;
        for run in lifts.chunk_by(|a, b| a == b) {
            let shape = [&[run.len()], &ty.shape[1..]].concat();
            let start = [vec![from], vec![0; ty.shape.len() - 1]].concat();
            from += run.len();
            let part = self.same(Op::Slice { start }, vec![x], ty.with_shape(shape), node);
            let bits = ty.bits - 1;
            parts.push(match run[0] {
                0 => part,
                by => {
                    let magnitude = (ty.magnitude + by).min(bits);
                    let ty = TensorType { magnitude, sign: Sign::Any, ..self.ty(part).clone() };
                    self.same(Op::Scale { factor: 1 << by }, vec![part], ty, node)
                }
            });
        }
        let ty = TensorType { magnitude, sign: Sign::Any, ..ty };
        self.same(Op::Concat { axis: 0 }, parts, ty, node)
    }
}
