//! Kernel extents, strides, dilations and padding of convolutions and pools, along each spatial
//! axis.

use super::super::call::Call;

/// One spatial axis of a sliding window over `extent` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Axis {
    pub extent: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Padding before the first element.
    pub before: usize,
    /// Padding behind the last, as declared.
    pub after: usize,
    /// Windows.
    pub windows: usize,
}

impl Axis {
    /// Extent of one window, gaps included.
    pub fn reach(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Padding behind the last element that windows touch, declared or not.
    pub fn touched(&self) -> usize {
        ((self.windows - 1) * self.stride + self.reach()).saturating_sub(self.extent + self.before)
    }

    /// How many of window `i`'s taps lie in `-before .. extent + after`.
    pub fn taps(&self, i: usize, before: usize, after: usize) -> usize {
        let position = |tap: usize| i * self.stride + tap * self.dilation;
        (0..self.kernel)
            .filter(|tap| (self.before - before..self.before + self.extent + after).contains(&position(*tap)))
            .count()
    }
}

/// The window of a node over data of the spatial extents `spatial`, with a kernel of `kernel`.
pub(in super::super) fn axes(call: &Call, spatial: &[usize], kernel: &[usize]) -> Result<Vec<Axis>, String> {
    let n = spatial.len();
    if kernel.len() != n || kernel.contains(&0) {
        return Err(format!("a kernel of {kernel:?} on {n} spatial axes"));
    }
    let strides = call.extents("strides", n, 1, 1)?;
    let dilations = call.extents("dilations", n, 1, 1)?;
    let pads = call.ints("pads").filter(|pads| !pads.is_empty()).unwrap_or_else(|| vec![0; 2 * n]);
    let pads: Vec<usize> = pads.iter().filter_map(|p| usize::try_from(*p).ok().filter(|p| *p < 1 << 20)).collect();
    if pads.len() != 2 * n {
        return Err("negative padding, or not for every axis".into());
    }
    let (automatic, ceil) = (call.text("auto_pad"), call.int("ceil_mode", 0) != 0);
    let make = |i: usize| {
        let (extent, kernel, stride, dilation) = (spatial[i], kernel[i], strides[i], dilations[i]);
        let (before, after) = (pads[i], pads[n + i]);
        let mut axis = Axis { extent, kernel, stride, dilation, before, after, windows: 1 };
        if automatic.starts_with("SAME") {
            axis.windows = extent.div_ceil(stride);
            let covered = (axis.windows - 1) * stride + axis.reach();
            if covered + 1 < extent {
                let why =
                    format!("auto_pad SAME of windows {} apart, with {} elements to spare", stride, extent - covered);
                return Err(format!("{why}: runtimes disagree where the first begins; write it as pads"));
            }
            let total = covered.saturating_sub(extent);
            axis.before = if automatic == "SAME_LOWER" { total.div_ceil(2) } else { total / 2 };
            axis.after = total - axis.before;
            return Ok(axis);
        }
        if automatic == "VALID" {
            (axis.before, axis.after) = (0, 0);
        }
        let room = (extent + axis.before + axis.after)
            .checked_sub(axis.reach())
            .ok_or("the window is larger than the data")?;
        axis.windows = if ceil { room.div_ceil(stride) } else { room / stride } + 1;
        // A window that would begin behind the data is none.
        if ceil && (axis.windows - 1) * stride >= extent + axis.before {
            axis.windows -= 1;
        }
        Ok(axis)
    };
    (0..n).map(make).collect()
}
