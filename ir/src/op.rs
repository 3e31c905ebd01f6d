//! The operations and their exact meaning; [`crate::interp`] is the executable form of this page.
//!
//! `x` stands for the operand's elements as signed integers in `Z_2^bits`, `k` for the result's width. All
//! arithmetic wraps. Operations that move or add are local; every other one is a two-party protocol.

use serde::{Deserialize, Serialize};

use crate::WeightId;

/// A two-dimensional convolution's geometry. Operand `[C_in, H, W]`, weight `[C_out, C_in / groups, kh, kw]`,
/// result `[C_out, H', W']`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conv {
    /// Private integer kernel `[C_out, C_in / groups, kh, kw]`.
    pub weight: WeightId,
    /// Private bias `[C_out]` at the accumulator's format.
    pub bias: Option<WeightId>,
    /// Rows, columns.
    pub strides: [usize; 2],
    /// Zero padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Rows, columns.
    pub dilations: [usize; 2],
    /// Number of channel groups.
    pub groups: usize,
}

/// A sliding window over `[C, H, W]`, each channel by itself. Windows that would leave the padded image are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Rows, columns.
    pub kernel: [usize; 2],
    /// Rows, columns.
    pub strides: [usize; 2],
    /// Top, left, bottom, right; each smaller than the kernel.
    pub pads: [usize; 4],
}

/// What leaves the computation, and always to the client only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reveal {
    /// The label.
    Label,
    /// Every logit.
    Logits,
}

/// Which protocol family computes a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Backend {
    /// Not chosen yet.
    #[default]
    Unselected,
    /// Each party by itself on its own shares.
    Local,
    /// RLWE linear layers and carry-tree comparisons over correlated OTs.
    Cheetah,
}

/// The parameters of Fusion's gadgets: the compiler's *suggestion*; the client's own policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// Queries the suggestion was made for.
    pub queries: u64,
    /// Copies of each query.
    pub copies: u64,
    /// Public samples.
    pub public: u64,
}

/// One operation. Shapes are without the batch axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// The client's input, in fixed point.
    Input,
    /// `fusion.mix`: the batch is `copies` copies of each query and the public samples under a secret permutation.
    /// Per position it is the identity: every position carries the same program.
    Mix(Mix),
    /// Convolution; result width = operand width, `frac = frac_x + frac_w`, wrap mod `2^bits`.
    Conv(Conv),
    /// Fully connected: operand `[n]`, weight `[m, n]`, result `[m]`; formats as [`Op::Conv`].
    Dense {
        /// Private integer matrix `[m, n]`.
        weight: WeightId,
        /// Private bias `[m]` at the accumulator's format.
        bias: Option<WeightId>,
    },
    /// `floor(((x + 2^(shift-1)) mod 2^bits, signed) / 2^shift) mod 2^k`; `shift >= 1`.
    Requant {
        /// Bits dropped.
        shift: u8,
    },
    /// `max(0, requant(x))` where the sign is that of `(x + 2^(shift-1)) mod 2^bits`; needs `k <= bits - shift`.
    RequantRelu {
        /// Bits dropped.
        shift: u8,
    },
    /// `x` if `x >= 0`, else 0.
    Relu,
    /// The same integer in a wider ring, `k > bits`.
    Extend,
    /// `x mod 2^k`, `k < bits`. Local.
    Truncate,
    /// `x * 2^by`. Local.
    ShiftLeft {
        /// Places.
        by: u8,
    },
    /// `x * factor` with a public factor. Local.
    Scale {
        /// The factor.
        factor: i64,
    },
    /// Elementwise sum of two operands of one shape, width and `frac`. Local.
    Add,
    /// Maximum over each window, padding excluded: first along rows of the window, then along columns, each a
    /// left-to-right tournament of [`max`](crate::interp::max) on wrapped differences.
    MaxPool(Window),
    /// Sum over each window, padding counted as zero. Local.
    SumPool(Window),
    /// Concatenation along `axis`. Local.
    Concat {
        /// Axis.
        axis: usize,
    },
    /// Zero padding of every axis. Local.
    Pad {
        /// Elements added before each axis.
        before: Vec<usize>,
        /// Elements added after each axis.
        after: Vec<usize>,
    },
    /// `start .. start + extent` of every axis, extents being the result's shape. Local.
    Slice {
        /// First element of each axis.
        start: Vec<usize>,
    },
    /// Axes permuted: result axis `i` is operand axis `perm[i]`. Local.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// The same elements in row-major order under another shape. Local.
    Reshape,
    /// Index of the largest element of `[n]`; the lowest index wins ties. Result `[1]`.
    ArgMax,
    /// `fusion.reveal`: the operand is opened to the client: an [`Op::ArgMax`] for a label.
    Reveal(Reveal),
    /// `fusion.check`: the client compares copies and public samples. Local to the client.
    Check,
}

impl Op {
    /// The operation's name in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Mix(_) => "fusion.mix",
            Op::Conv(_) => "conv",
            Op::Dense { .. } => "dense",
            Op::Requant { .. } => "requant",
            Op::RequantRelu { .. } => "requant_relu",
            Op::Relu => "relu",
            Op::Extend => "extend",
            Op::Truncate => "truncate",
            Op::ShiftLeft { .. } => "shift_left",
            Op::Scale { .. } => "scale",
            Op::Add => "add",
            Op::MaxPool(_) => "max_pool",
            Op::SumPool(_) => "sum_pool",
            Op::Concat { .. } => "concat",
            Op::Pad { .. } => "pad",
            Op::Slice { .. } => "slice",
            Op::Transpose { .. } => "transpose",
            Op::Reshape => "reshape",
            Op::ArgMax => "argmax",
            Op::Reveal(_) => "fusion.reveal",
            Op::Check => "fusion.check",
        }
    }

    /// Whether each party computes it on its own shares, without a message.
    pub fn is_local(&self) -> bool {
        match self {
            Op::Conv(_) | Op::Dense { .. } | Op::Requant { .. } | Op::RequantRelu { .. } | Op::Relu => false,
            Op::Extend | Op::MaxPool(_) | Op::ArgMax | Op::Reveal(_) => false,
            Op::Input | Op::Mix(_) | Op::Truncate | Op::ShiftLeft { .. } | Op::Scale { .. } | Op::Add => true,
            Op::SumPool(_) | Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => true,
            Op::Reshape | Op::Check => true,
        }
    }

    /// The weights this operation reads, kernel before bias.
    pub fn weights(&self) -> impl Iterator<Item = WeightId> + use<> {
        let (weight, bias) = match self {
            Op::Conv(conv) => (Some(conv.weight), conv.bias),
            Op::Dense { weight, bias } => (Some(*weight), *bias),
            _ => (None, None),
        };
        weight.into_iter().chain(bias)
    }
}

impl Window {
    /// Output rows and columns over an `height x width` image, or `None` if no window fits.
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let axis = |extent: usize, i: usize| {
            let padded = extent + self.pads[i] + self.pads[i + 2];
            Some(padded.checked_sub(self.kernel[i])? / self.strides[i] + 1)
        };
        Some([axis(height, 0)?, axis(width, 1)?])
    }
}

impl Conv {
    /// Output rows and columns over an `height x width` image with a `kernel` of rows, columns; `None` if none fits.
    pub fn output(&self, height: usize, width: usize, kernel: [usize; 2]) -> Option<[usize; 2]> {
        let reach = |i: usize| self.dilations[i] * (kernel[i] - 1) + 1;
        Window { kernel: [reach(0), reach(1)], strides: self.strides, pads: self.pads }.output(height, width)
    }
}
