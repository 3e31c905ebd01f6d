//! The operations and their exact meaning; [`crate::interp`] is the executable form of this page.
//!
//! `x` stands for the operand's elements as signed integers in `Z_2^bits`, `k` for the result's
//! width. All arithmetic wraps. Operations that move or add are local; every other one is a
//! two-party protocol.

use serde::{Deserialize, Serialize};

use crate::forest::Forest;
use crate::ids::WeightId;
use crate::input::InputFormat;

/// A two-dimensional convolution's geometry. Operand `[C_in, H, W]`, weight
/// `[C_out, C_in / groups, kh, kw]`, result `[C_out, H', W']`.
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

/// A sliding window over `[C, H, W]`, each channel by itself. Windows that would leave the padded
/// image are dropped.
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
    /// The labels of the so many largest logits, best first.
    TopK(u16),
    /// Every logit.
    Logits,
    /// The numbers that the model answers: a regressor's.
    Value,
}

/// A piecewise linear function `y = offset + first_slope x + sum of change * max(0, x - threshold)
/// mod 2^bits` over `knots`, each difference wrapped to a signed number of `bits` bits first. All
/// constants are public.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Piecewise {
    /// Slope below the first threshold.
    pub first_slope: i64,
    /// Fractional bits of the slopes: what the result has more than the operand.
    pub slope_frac: u8,
    /// Added constant, with the result's fractional bits.
    pub offset: i64,
    /// Threshold, with the operand's fractional bits, and change of slope there; thresholds rise
    /// strictly.
    pub knots: Vec<(i64, i64)>,
}

/// The parameters of Fusion's gadgets: the compiler's *suggestion*; the client's own policy
/// decides.
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
    /// The client's input, in fixed point, by its public format.
    Input(InputFormat),
    /// `fusion.mix`: the batch is `copies` copies of each query and the public samples under a
    /// secret permutation. Per position it is the identity: every position carries the same
    /// program.
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
    /// `max(0, requant(x))` where the sign is that of `(x + 2^(shift-1)) mod 2^bits`; needs
    /// `k <= bits - shift`.
    RequantRelu {
        /// Bits dropped.
        shift: u8,
    },
    /// `min(limit, max(0, floor(z / 2^shift)))` of `z = (x + 2^(shift-1)) mod 2^bits`, signed: a
    /// requantised ReLU, clipped before anything is dropped at its upper end. Needs
    /// `k <= bits - shift` and `0 < limit < 2^(k-1)`. The limit is public.
    RequantClip {
        /// Bits dropped.
        shift: u8,
        /// The largest result, at the result's format.
        limit: i64,
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
    /// `x + by` with a public constant in the ring's signed range. Local.
    Offset {
        /// The constant.
        by: i64,
    },
    /// `x + weight`: one private constant for each element of the leading axis (weight `[C]`), or
    /// for each element (the operand's shape). Local: the server adds.
    Bias {
        /// The private constants at the operand's format.
        weight: WeightId,
    },
    /// Elementwise sum of two operands of one shape, width and `frac`. Local.
    Add,
    /// Elementwise product of two operands of one width, `frac = frac_a + frac_b`. The second has
    /// the first's shape, or is a vector of one factor for each element of the first's leading
    /// axis.
    Mul,
    /// A piecewise linear function of each element; result width = operand width,
    /// `frac = frac_x + slope_frac`.
    Piecewise(Piecewise),
    /// Maximum over each window, padding excluded: first along rows of the window, then along
    /// columns, each a left-to-right tournament of [`max`](crate::interp::max) on wrapped
    /// differences.
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
    /// Indices of the `k` largest elements of `[n]`, largest first; lower indices win ties. Result
    /// `[k]`.
    ///
    /// Element `i` plays with the key `2^m x_i + n - 1 - i` in `Z_2^(bits + m)`, `m` being the
    /// result's width; of two keys the one wins from which the other's difference is not negative
    /// there, in the order of [`Network::top_k`](crate::network::Network::top_k). So ties are
    /// decided by the keys themselves.
    TopK {
        /// How many.
        k: u16,
    },
    /// `fusion.reveal`: the operand is opened to the client: an [`Op::ArgMax`] for a label, an
    /// [`Op::TopK`] for several, any other for logits or values.
    Reveal(Reveal),
    /// `fusion.check`: the client compares copies and public samples. Local to the client.
    Check,
    /// 1 if `x >= 0`, else 0; an integer, `frac = 0`, of whatever width.
    Step,
    /// Tests `[n]` to leaves `[m]` of a public forest, as integers, `frac = 0`: for every leaf
    /// minus the number of nodes on the way to it that lead elsewhere, by [`Forest::paths`]. Local.
    Paths(Forest),
    /// Products of matrices: `[b, m, k]` and `[b, k, n]`, of one width, give `[b, m, n]`;
    /// `frac = frac_x + frac_y`, sums wrap mod `2^bits`.
    MatMul,
}

impl Op {
    /// The operation's name in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Mix(_) => "fusion.mix",
            Op::Conv(_) => "conv",
            Op::Dense { .. } => "dense",
            Op::Requant { .. } => "requant",
            Op::RequantRelu { .. } => "requant_relu",
            Op::RequantClip { .. } => "requant_clip",
            Op::Relu => "relu",
            Op::Extend => "extend",
            Op::Truncate => "truncate",
            Op::ShiftLeft { .. } => "shift_left",
            Op::Scale { .. } => "scale",
            Op::Offset { .. } => "offset",
            Op::Bias { .. } => "bias",
            Op::Add => "add",
            Op::Mul => "mul",
            Op::MatMul => "mat_mul",
            Op::Piecewise(_) => "piecewise",
            Op::MaxPool(_) => "max_pool",
            Op::SumPool(_) => "sum_pool",
            Op::Concat { .. } => "concat",
            Op::Pad { .. } => "pad",
            Op::Slice { .. } => "slice",
            Op::Transpose { .. } => "transpose",
            Op::Reshape => "reshape",
            Op::ArgMax => "argmax",
            Op::TopK { .. } => "topk",
            Op::Reveal(_) => "fusion.reveal",
            Op::Check => "fusion.check",
            Op::Step => "step",
            Op::Paths(_) => "paths",
        }
    }

    /// Whether each party computes it on its own shares, without a message.
    pub fn is_local(&self) -> bool {
        match self {
            Op::Conv(_) | Op::Dense { .. } => false,
            Op::Requant { .. } | Op::RequantRelu { .. } | Op::RequantClip { .. } | Op::Relu | Op::Step => false,
            Op::Extend | Op::Mul | Op::MatMul | Op::Piecewise(_) | Op::MaxPool(_) => false,
            Op::ArgMax | Op::TopK { .. } | Op::Reveal(_) => false,
            Op::Input(_) | Op::Mix(_) | Op::Truncate | Op::ShiftLeft { .. } | Op::Scale { .. } => true,
            Op::Offset { .. } | Op::Bias { .. } | Op::Add => true,
            Op::SumPool(_) | Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => true,
            Op::Reshape | Op::Check | Op::Paths(_) => true,
        }
    }

    /// The weight that the operand is multiplied by.
    pub fn kernel(&self) -> Option<WeightId> {
        match self {
            Op::Conv(conv) => Some(conv.weight),
            Op::Dense { weight, .. } => Some(*weight),
            Op::Input(_) | Op::Mix(_) | Op::Requant { .. } | Op::RequantRelu { .. } => None,
            Op::RequantClip { .. } | Op::Relu | Op::Extend | Op::Truncate | Op::ShiftLeft { .. } => None,
            Op::Scale { .. } | Op::Offset { .. } | Op::Bias { .. } | Op::Add | Op::Mul | Op::Piecewise(_) => None,
            Op::MaxPool(_) | Op::SumPool(_) | Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } => None,
            Op::Transpose { .. } | Op::Reshape | Op::ArgMax | Op::TopK { .. } | Op::Reveal(_) | Op::Check => None,
            Op::Step | Op::Paths(_) | Op::MatMul => None,
        }
    }

    /// The weight that is added, at the result's format.
    pub fn bias(&self) -> Option<WeightId> {
        match self {
            Op::Conv(conv) => conv.bias,
            Op::Dense { bias, .. } => *bias,
            Op::Bias { weight } => Some(*weight),
            Op::Input(_) | Op::Mix(_) | Op::Requant { .. } | Op::RequantRelu { .. } => None,
            Op::RequantClip { .. } | Op::Relu | Op::Extend | Op::Truncate | Op::ShiftLeft { .. } => None,
            Op::Scale { .. } | Op::Offset { .. } | Op::Add | Op::Mul | Op::Piecewise(_) | Op::MaxPool(_) => None,
            Op::SumPool(_) | Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => None,
            Op::Reshape | Op::ArgMax | Op::TopK { .. } | Op::Reveal(_) | Op::Check | Op::Step => None,
            Op::Paths(_) | Op::MatMul => None,
        }
    }

    /// The places of all weights that it names, in no order.
    pub fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        match self {
            Op::Conv(conv) => std::iter::once(&mut conv.weight).chain(&mut conv.bias).collect(),
            Op::Dense { weight, bias } => std::iter::once(weight).chain(bias).collect(),
            Op::Bias { weight } => vec![weight],
            Op::Input(_) | Op::Mix(_) | Op::Requant { .. } | Op::RequantRelu { .. } => Vec::new(),
            Op::RequantClip { .. } | Op::Relu | Op::Extend | Op::Truncate | Op::ShiftLeft { .. } => Vec::new(),
            Op::Scale { .. } | Op::Offset { .. } | Op::Add | Op::Mul | Op::Piecewise(_) | Op::MaxPool(_) => Vec::new(),
            Op::SumPool(_) | Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => Vec::new(),
            Op::Reshape | Op::ArgMax | Op::TopK { .. } | Op::Reveal(_) | Op::Check | Op::Step => Vec::new(),
            Op::Paths(_) | Op::MatMul => Vec::new(),
        }
    }

    /// The weights this operation reads, kernel before bias.
    pub fn weights(&self) -> impl Iterator<Item = WeightId> + use<> {
        self.kernel().into_iter().chain(self.bias())
    }
}

impl Window {
    /// Output rows and columns over an `height x width` image, or `None` if no window fits.
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let axis = |extent: usize, i: usize| {
            let padded = extent.checked_add(self.pads[i])?.checked_add(self.pads[i + 2])?;
            Some(padded.checked_sub(self.kernel[i])?.checked_div(self.strides[i])? + 1)
        };
        Some([axis(height, 0)?, axis(width, 1)?])
    }
}

impl Conv {
    /// Output rows and columns over an `height x width` image with a `kernel` of rows, columns;
    /// `None` if none fits, or the kernel is empty.
    pub fn output(&self, height: usize, width: usize, kernel: [usize; 2]) -> Option<[usize; 2]> {
        let reach = |i: usize| self.dilations[i].checked_mul(kernel[i].checked_sub(1)?)?.checked_add(1);
        Window { kernel: [reach(0)?, reach(1)?], strides: self.strides, pads: self.pads }.output(height, width)
    }
}
