//! The image that a convolution reads, laid out for it.
//!
//! Every channel is padded and split by the strides: phase `(a, b)` holds the elements of rows
//! `a, a + stride, ..` and columns alike. Then what one kernel element meets at consecutive outputs
//! of a row lies in consecutive places, and so it is from row to row, if a row of outputs is taken
//! to be as long as a row of the phase. The outputs past the real ones mean nothing.

use rayon::prelude::*;

use super::elementwise::BLOCK;
use super::number::Number;
use crate::op::Conv;

/// What kernel elements meet along one axis.
struct Axis {
    /// The phases that some kernel element needs.
    phases: Vec<usize>,
    /// The kernel elements that meet the image at some output.
    taps: Vec<Tap>,
    /// Elements of each phase.
    extent: usize,
    /// The padded coordinate of element `t` of phase `p` is `(first + t) * stride + p`.
    first: usize,
    stride: usize,
    pad: usize,
}

/// One kernel element along an axis: at output `i` it meets element `shift + i` of a phase.
struct Tap {
    kernel: usize,
    /// Place in [`Axis::phases`].
    phase: usize,
    shift: usize,
}

/// The image as described above, with what finds the elements in it.
pub(super) struct Planes<T> {
    /// All channels, and some elements more.
    pub elements: Vec<T>,
    /// Elements of one channel.
    pub channel: usize,
    /// Elements of one row of a phase.
    pub line: usize,
    /// For each kernel element that ever meets the image, in a channel: its index, and the place of
    /// what it meets at the first output.
    pub taps: Vec<(usize, usize)>,
}

impl Axis {
    /// `out` outputs of a kernel of `kernel` elements over `extent` elements behind `pad` zeros.
    fn new(kernel: usize, [stride, step]: [usize; 2], pad: usize, extent: usize, out: usize) -> Axis {
        let meets = |k: &usize| {
            let output = pad.saturating_sub(k * step).div_ceil(stride);
            output < out && output * stride + k * step - pad < extent
        };
        let met: Vec<usize> = (0..kernel).filter(meets).collect();
        let first = met.first().map_or(0, |k| k * step / stride);
        let mut phases: Vec<usize> = met.iter().map(|k| k * step % stride).collect();
        phases.sort_unstable();
        phases.dedup();
        let tap = |kernel: usize| {
            let phase = phases.partition_point(|phase| *phase < kernel * step % stride);
            Tap { kernel, phase, shift: kernel * step / stride - first }
        };
        let taps: Vec<Tap> = met.into_iter().map(tap).collect();
        let reach = taps.last().map_or(0, |tap| tap.shift);
        Axis { phases, taps, extent: out + reach, first, stride, pad }
    }

    /// Which elements of phase `phase` lie inside an image of `extent`, and which element of the
    /// image is the first of them.
    fn inside(&self, phase: usize, extent: usize) -> (std::ops::Range<usize>, usize) {
        let start = self.first * self.stride + phase;
        let from = self.pad.saturating_sub(start).div_ceil(self.stride).min(self.extent);
        let to = (extent + self.pad).saturating_sub(start).div_ceil(self.stride).min(self.extent);
        (from..to.max(from), (start + from * self.stride).saturating_sub(self.pad))
    }
}

impl<T: Number> Planes<T> {
    /// The image `x` of `[channels, height, width]` for a kernel of `[rows, columns]` and `out`
    /// outputs; `spare` elements lie behind.
    pub fn new(conv: &Conv, kernel: [usize; 2], x: &[i64], shape: &[usize], out: [usize; 2], spare: usize) -> Self {
        let axis =
            |i: usize| Axis::new(kernel[i], [conv.strides[i], conv.dilations[i]], conv.pads[i], shape[i + 1], out[i]);
        let (rows, columns) = (axis(0), axis(1));
        let (plane, line) = (rows.extent * columns.extent, columns.extent);
        let channel = rows.phases.len() * columns.phases.len() * plane;
        let mut taps = Vec::with_capacity(rows.taps.len() * columns.taps.len());
        for row in &rows.taps {
            for column in &columns.taps {
                let phase = row.phase * columns.phases.len() + column.phase;
                taps.push((row.kernel * kernel[1] + column.kernel, phase * plane + row.shift * line + column.shift));
            }
        }
        let mut elements = vec![T::default(); shape[0] * channel + spare];
        let image = shape[1] * shape[2];
        if channel > 0 {
            let channels = elements.par_chunks_exact_mut(channel).zip(x.par_chunks_exact(image));
            channels.with_min_len(BLOCK.div_ceil(channel)).for_each(|(channel, image)| {
                let phases = rows.phases.iter().flat_map(|a| columns.phases.iter().map(move |b| (*a, *b)));
                for ((a, b), phase) in phases.zip(channel.chunks_exact_mut(plane)) {
                    fill(phase, image, [&rows, &columns], [a, b], [shape[1], shape[2]]);
                }
            });
        }
        Planes { elements, channel, line, taps }
    }
}

fn fill<T: Number>(
    phase: &mut [T],
    image: &[i64],
    [rows, columns]: [&Axis; 2],
    [a, b]: [usize; 2],
    extents: [usize; 2],
) {
    let (lines, first_row) = rows.inside(a, extents[0]);
    let (places, first_column) = columns.inside(b, extents[1]);
    for (i, line) in phase.chunks_exact_mut(columns.extent).skip(lines.start).take(lines.len()).enumerate() {
        let from = &image[(first_row + i * rows.stride) * extents[1]..][..extents[1]][first_column.min(extents[1])..];
        let to = &mut line[places.clone()];
        if columns.stride == 1 {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = T::of(*from));
        } else {
            to.iter_mut().zip(from.iter().step_by(columns.stride)).for_each(|(to, from)| *to = T::of(*from));
        }
    }
}
