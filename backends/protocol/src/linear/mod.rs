//! Linear layers as every family sees them: their shape, and why a family may refuse one.

mod geometry;
mod matrices;

pub use geometry::{Geometry, Shape};
pub use matrices::{MOST_SCALARS, MOST_SCALARS_IN_ALL, Matrices};

use crate::rlwe::{DEGREE, MAX_ACC_BITS};

/// The most rows or columns of a layer's operand and result.
pub const MAX_EXTENT: usize = 1 << 16;

/// The most taps of a kernel's window, under any protocol.
pub const MAX_TAPS: usize = 1 << 18;

/// Why a protocol cannot carry an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The value is not a convolution or a fully connected layer, or its shapes contradict each
    /// other.
    #[error("not a well-formed linear layer")]
    Malformed,
    /// The operand is not of the shape that the operation takes.
    #[error("its operand is not of the shape that it takes")]
    Operand,
    /// The accumulator is wider than [`MAX_ACC_BITS`].
    #[error("an accumulator of {0} bits is wider than {MAX_ACC_BITS}")]
    Accumulator(u8),
    /// The operand or the result has more than [`MAX_EXTENT`] rows or columns.
    #[error("an image of more than {MAX_EXTENT} rows or columns")]
    Extent,
    /// The kernel has more than [`MAX_TAPS`] taps.
    #[error("a kernel of more than {MAX_TAPS} taps")]
    Window,
    /// Not even one output fits a polynomial.
    #[error("the kernel reaches over more than {DEGREE} elements")]
    Kernel,
    /// The chosen family does not compute operations of this kind at all: who, and what.
    #[error("{0} have no {1}")]
    Absent(&'static str, &'static str),
    /// Products of matrices would be computed scalar by scalar, and are more than [`MOST_SCALARS`].
    #[error(
        "{matrices}: {} multiplications are more than the {MOST_SCALARS} that are done one by one: {}",
        matrices.products(),
        advice(whole.as_deref())
    )]
    Scalars {
        /// The matrices.
        matrices: Matrices,
        /// Why whole matrices cannot be multiplied, if the backend was to do that.
        whole: Option<Box<Refusal>>,
    },
    /// With these, all products of a function's matrices that are computed scalar by scalar are
    /// more than [`MOST_SCALARS_IN_ALL`].
    #[error(
        "with it, the multiplications of products of matrices that are done one by one are {0}, more than \
         {MOST_SCALARS_IN_ALL}: have more of them done by ciphertexts, as backend cheetah does"
    )]
    ScalarsInAll(u64),
    /// The weights are so wide or so many that their noise could not be hidden.
    #[error("{products} products with {weight_bits}-bit weights are too noisy to hide at {acc_bits} accumulator bits")]
    Flood {
        /// Width of the accumulator.
        acc_bits: u8,
        /// Width of the weights.
        weight_bits: u8,
        /// Products that one output coefficient sums.
        products: usize,
    },
}

/// What to do about too many products of scalars.
fn advice(whole: Option<&Refusal>) -> String {
    match whole {
        None => "have them done by ciphertexts, as backend cheetah does".into(),
        Some(why) => {
            format!("take smaller matrices or factors of fewer bits, for ciphertexts do not carry them ({why})")
        }
    }
}
