//! The shape of products of matrices.

use std::fmt;
use std::ops::Range;

use fusion_ir::{Function, ValueId};

use super::Refusal;
use crate::compare::Comparison;

/// The most multiplications that products of matrices computed scalar by scalar may take, of one
/// position. Each takes a product of shares, so these are a gigabyte or more.
pub const MOST_SCALARS: u64 = 1 << 22;

/// The same of all of a function's together.
pub const MOST_SCALARS_IN_ALL: u64 = 1 << 24;

/// A batch of products of matrices, `[batch, rows, inner]` times `[batch, inner, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Matrices {
    /// Products.
    pub batch: usize,
    /// Rows of the first factor and of the product.
    pub rows: usize,
    /// Columns of the first factor, rows of the second.
    pub inner: usize,
    /// Columns of the second factor and of the product.
    pub columns: usize,
}

impl Matrices {
    /// Those of the product `id`.
    ///
    /// # Errors
    /// If the operands are no batches of matrices that fit.
    pub fn of(function: &Function, id: ValueId) -> Result<Matrices, Refusal> {
        let shape = |at: usize| {
            let operand = function.value(id).operands.get(at)?;
            <[usize; 3]>::try_from(function.value(*operand).ty.shape.as_slice()).ok()
        };
        match (shape(0), shape(1)) {
            (Some([batch, rows, inner]), Some([others, k, columns])) if (batch, inner) == (others, k) => {
                Ok(Matrices { batch, rows, inner, columns })
            }
            _ => Err(Refusal::Operand),
        }
    }

    /// Elements of the factors.
    pub fn operand_lens(&self) -> [usize; 2] {
        [self.rows, self.columns].map(|extent| self.batch * extent * self.inner)
    }

    /// Elements of the products.
    pub fn result_len(&self) -> usize {
        self.batch * self.rows * self.columns
    }

    /// Multiplications of scalars.
    pub fn products(&self) -> u64 {
        [self.batch, self.rows, self.inner, self.columns]
            .into_iter()
            .fold(1, |n, extent| n.saturating_mul(extent as u64))
    }

    /// That there are few enough to compute them scalar by scalar.
    ///
    /// # Errors
    /// If there are not; `whole` says why they cannot be multiplied otherwise, if they were to be.
    pub fn few(&self, whole: Option<Refusal>) -> Result<(), Refusal> {
        match self.products() <= MOST_SCALARS {
            true => Ok(()),
            false => Err(Refusal::Scalars { matrices: *self, whole: whole.map(Box::new) }),
        }
    }

    /// The results of `positions` positions, as many at a time as are summed up together where
    /// every scalar product is a [`Comparison::Mul`]: those with a wave of products, so that memory
    /// stays bounded.
    pub fn sums(&self, bits: u8, positions: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let wave = Comparison::Mul { bits }.waves(usize::MAX).next().map_or(1, |wave| wave.len());
        let (total, most) = (positions * self.result_len(), (wave / self.inner.max(1)).max(1));
        (0..total).step_by(most).map(move |start| start..total.min(start + most))
    }
}

impl fmt::Display for Matrices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Matrices { batch, rows, inner, columns } = self;
        match batch {
            1 => write!(f, "the product of {rows}x{inner} and {inner}x{columns} matrices"),
            _ => write!(f, "{batch} products of {rows}x{inner} and {inner}x{columns} matrices"),
        }
    }
}
