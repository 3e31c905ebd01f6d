//! One spatial axis of a linear layer.

use std::ops::Range;

use crate::linear::Geometry;

/// One spatial axis, cut into tiles of consecutive outputs.
///
/// A stride of `s` splits the image into `s` phases, image `a` holding every `s`-th element from
/// `a` on; on each phase the convolution has stride 1. Positions below are those within a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    dilation: usize,
    /// Outputs of one tile (of the last one maybe fewer).
    pub(super) tile: usize,
}

impl Axis {
    /// Rows (`index` 0) or columns (1) of a checked `geometry`.
    pub(super) fn new(geometry: &Geometry, index: usize, tile: usize) -> Axis {
        Axis {
            input: geometry.input[index + 1],
            output: geometry.output()[index],
            kernel: geometry.kernel[index],
            stride: geometry.strides[index],
            pad: geometry.pads[index],
            dilation: geometry.dilations[index],
            tile,
        }
    }

    /// The phase that tap `k` of the kernel reads, and how far from the output's position.
    pub(super) fn tap(&self, k: usize) -> (usize, isize) {
        let (at, stride) = ((k * self.dilation) as isize - self.pad as isize, self.stride as isize);
        (at.rem_euclid(stride) as usize, at.div_euclid(stride))
    }

    /// From one element of a phase to the next.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Number of tiles.
    pub(super) fn tiles(&self) -> usize {
        self.output.div_ceil(self.tile)
    }

    /// The outputs of a tile.
    pub(super) fn outputs(&self, tile: usize) -> Range<usize> {
        tile * self.tile..((tile + 1) * self.tile).min(self.output)
    }

    /// The positions of a phase that a tile's outputs read, padding excluded.
    pub(super) fn inputs(&self, tile: usize) -> Range<usize> {
        let reads = self.reads(tile);
        let start = reads.start.max(0) as usize;
        start..(self.input.div_ceil(self.stride)).min(reads.end.max(0) as usize).max(start)
    }

    /// Where in the image position `at` of phase `phase` is; `None` past the end.
    pub(super) fn image(&self, phase: usize, at: usize) -> Option<usize> {
        Some(at * self.stride + phase).filter(|&at| at < self.input)
    }

    /// Positions that the outputs of `tile` read, padding included.
    fn reads(&self, tile: usize) -> Range<isize> {
        let outputs = self.outputs(tile);
        let (first, last) = (self.tap(0).1, self.tap(self.kernel - 1).1);
        outputs.start as isize + first..outputs.end as isize + last
    }

    /// Largest extents over all tiles.
    pub(super) fn extents(&self) -> Extents {
        let mut extents = Extents::default();
        for tile in 0..self.tiles() {
            let (inputs, reads) = (self.inputs(tile), self.reads(tile));
            let before = inputs.start.saturating_add_signed(-reads.start);
            let end = (reads.end - inputs.start as isize).max(0) as usize;
            extents.filled_and_before = extents.filled_and_before.max(inputs.len() + before);
            extents.end = extents.end.max(end);
        }
        extents
    }
}

/// What a tile needs along one axis, counted from the first element it stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents {
    /// Stored elements, and the padding read before them.
    pub(super) filled_and_before: usize,
    /// One past the last element read, padding after included.
    pub(super) end: usize,
}
