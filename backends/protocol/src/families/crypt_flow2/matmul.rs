//! Linear layers by correlated OTs (section 5.1; Mohassel and Zhang, SecureML, IEEE S&P 2017,
//! section IV): every bit of every weight is the server's choice between two vectors of the
//! client's, all the elements that this weight is multiplied with, of all positions of a
//! micro-batch.

use std::ops::Range;

use fusion_ir::Party;

use super::ot::iknp_bytes;
use crate::linear::Geometry;
use crate::{Cost, Primitive, packed_bytes};

/// Elements of the vectors of one bit of all weights in a batch, unless one weight alone has more.
const BATCH_ELEMENTS: usize = 1 << 18;

/// Bytes of the seeds of one correlated OT and of its row in the extension, at the party with more
/// of them.
const OT_BYTES: u64 = 2 * 16 + 2 * 16;
/// Vectors of words that either party works with for one bit of all weights of a batch: two pads
/// and what is masked.
const VECTORS: u64 = 3;
const WORD_BYTES: u64 = 8;

/// One linear layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Products {
    geometry: Geometry,
    acc_bits: u8,
    weight_bits: u8,
}

impl Products {
    /// Those of a layer with weights of `weight_bits`.
    pub fn of(geometry: Geometry, acc_bits: u8, weight_bits: u8) -> Products {
        // Bits above the accumulator's do not matter.
        Products { geometry, acc_bits, weight_bits: weight_bits.min(acc_bits) }
    }

    /// The layer's shape.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Width of the result.
    pub fn acc_bits(&self) -> u8 {
        self.acc_bits
    }

    /// Bits of a weight that choose.
    pub fn weight_bits(&self) -> u8 {
        self.weight_bits
    }

    /// Every product that `weight` takes part in: the index of the operand's element that it is
    /// multiplied with, and of the result's element to which the product is added. Both are indices
    /// into the flat tensors of one position.
    pub fn places(&self, weight: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Geometry { input: [_, height, width], kernel: [rows, columns], strides, .. } = self.geometry;
        let [channels, outputs] = self.geometry.group();
        let (tap, channel) = (weight % (rows * columns), weight / (rows * columns) % channels);
        let output = weight / (rows * columns * channels);
        let channel = output / outputs * channels + channel;
        let [across, down] = [self.valid(1, tap % columns), self.valid(0, tap / columns)];
        let [_, result_width] = self.geometry.output();
        let result = output * self.geometry.output().iter().product::<usize>();
        let [row, column] = [self.offset(0, tap / columns), self.offset(1, tap % columns)];
        down.flat_map(move |i| {
            across.clone().map(move |j| {
                let (y, x) = ((i * strides[0]).wrapping_add(row), (j * strides[1]).wrapping_add(column));
                ((channel * height + y) * width + x, result + i * result_width + j)
            })
        })
    }

    /// The batches that the weights are worked off in, for so many positions.
    pub fn batches(&self, positions: usize) -> Vec<Range<usize>> {
        let mut batches = Vec::new();
        let (mut start, mut elements) = (0, 0);
        for weight in 0..self.geometry.weight_len() {
            let more = positions * self.len(weight);
            if weight > start && elements + more > BATCH_ELEMENTS {
                batches.push(start..weight);
                (start, elements) = (weight, 0);
            }
            elements += more;
        }
        batches.push(start..self.geometry.weight_len());
        batches
    }

    /// Payload of the server's message for a batch: corrections of the OTs, then its choices.
    pub fn choice_bytes(&self, weights: &Range<usize>) -> u64 {
        let n = self.ots(weights);
        iknp_bytes(n) + packed_bytes(n, 1)
    }

    /// Correlated OTs of a batch.
    pub fn ots(&self, weights: &Range<usize>) -> usize {
        weights.len() * usize::from(self.weight_bits)
    }

    /// Elements of the vectors of one bit of all weights of a batch.
    pub fn elements(&self, weights: &Range<usize>, positions: usize) -> usize {
        positions * weights.clone().map(|weight| self.len(weight)).sum::<usize>()
    }

    /// Payload of the client's message for a batch: for every bit the masked vectors, in which the
    /// place of the bit is left out.
    pub fn vector_bytes(&self, weights: &Range<usize>, positions: usize) -> u64 {
        let n = self.elements(weights, positions);
        (0..self.weight_bits).map(|bit| packed_bytes(n, self.acc_bits - bit)).sum()
    }

    /// The messages of the layer on a micro-batch of `positions`.
    pub fn cost(&self, positions: usize) -> Cost {
        let mut cost = Cost::default();
        for weights in self.batches(positions) {
            let ots = self.ots(&weights) as u64;
            cost.send(Party::Server, self.choice_bytes(&weights));
            cost.send(Party::Client, self.vector_bytes(&weights, positions));
            cost.server_receives_ots += ots;
            cost.compute(Primitive::ColumnOt, ots);
            cost.compute(Primitive::WeightBit, ots);
            cost.compute(
                Primitive::VectorWord,
                u64::from(self.weight_bits) * self.elements(&weights, positions) as u64,
            );
        }
        cost
    }

    /// Bytes that the largest batch of weights takes at either party: its messages, the seeds
    /// behind them, and the vectors of one bit. Fewer positions make batches of more weights, and
    /// the last micro-batch may have few.
    pub fn peak_bytes(&self, positions: usize) -> u64 {
        let batch = |positions: usize, weights| {
            let vectors = VECTORS * WORD_BYTES * self.elements(&weights, positions) as u64;
            let messages = self.choice_bytes(&weights) + self.vector_bytes(&weights, positions);
            messages + vectors + OT_BYTES * self.ots(&weights) as u64
        };
        let largest = |positions| self.batches(positions).into_iter().map(|weights| batch(positions, weights)).max();
        largest(1).max(largest(positions)).unwrap_or(0)
    }

    /// How many places a weight contributes to.
    fn len(&self, weight: usize) -> usize {
        let [rows, columns] = self.geometry.kernel;
        let tap = weight % (rows * columns);
        self.valid(0, tap / columns).len() * self.valid(1, tap % columns).len()
    }

    /// The places of the result, along one axis, at which kernel row or column `k` reads inside the
    /// image.
    fn valid(&self, axis: usize, k: usize) -> Range<usize> {
        let (stride, pad) = (self.geometry.strides[axis], self.geometry.pads[axis]);
        let offset = k * self.geometry.dilations[axis];
        let end = (self.geometry.input[axis + 1] + pad).saturating_sub(offset).div_ceil(stride);
        let end = end.min(self.geometry.output()[axis]);
        pad.saturating_sub(offset).div_ceil(stride).min(end)..end
    }

    /// What is added, wrapping, to a scaled place of the result to get the place that is read.
    fn offset(&self, axis: usize, k: usize) -> usize {
        (k * self.geometry.dilations[axis]).wrapping_sub(self.geometry.pads[axis])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_the_weights_and_stay_small() {
        let geometry = Geometry {
            input: [8, 40, 40],
            outputs: 16,
            kernel: [3, 3],
            strides: [1, 1],
            pads: [1; 4],
            dilations: [1, 1],
            groups: 1,
        };
        let products = Products::of(geometry, 24, 10);
        let batches = products.batches(3);
        assert!(batches.len() > 1 && batches.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((batches[0].start, batches[batches.len() - 1].end), (0, 16 * 8 * 9));
        assert!(batches.iter().all(|batch| products.elements(batch, 3) <= BATCH_ELEMENTS));
        // A corner of the kernel misses a row and a column.
        assert_eq!([products.len(0), products.len(1), products.len(4)], [39 * 39, 39 * 40, 40 * 40]);
        assert_eq!(products.places(0).next(), Some((0, 41)));
        assert_eq!(products.places(8 * 9 + 9 + 4).next(), Some((1600, 1600)));
    }
}
