//! Operands piece by piece, and the results put together again.

use std::ops::Range;

use fusion_catalogue::compare::Comparison;

/// The operands of `operation` on each of `pieces`.
///
/// # Panics
/// If there are not as many operands as the operation has, or they differ in length.
pub(crate) fn pieces<'o>(
    operation: &Comparison,
    operands: &[&'o [u64]],
    pieces: impl Iterator<Item = Range<usize>>,
) -> impl Iterator<Item = Vec<&'o [u64]>> {
    assert_eq!(operands.len(), operation.operands(), "operands of {operation:?}");
    assert!(operands.iter().all(|operand| operand.len() == operands[0].len()), "operands of different lengths");
    pieces.map(|piece| operands.iter().map(|operand| &operand[piece.clone()]).collect())
}

/// The results of `operation`, from those of one piece after the other.
pub(crate) struct Results(Vec<Vec<u64>>);

impl Results {
    /// None yet, of `n` elements.
    pub fn new(operation: &Comparison, n: usize) -> Results {
        Results(vec![Vec::with_capacity(n); operation.results()])
    }

    /// With those of the next piece.
    pub fn append(&mut self, piece: Vec<Vec<u64>>) {
        self.0.iter_mut().zip(piece).for_each(|(result, piece)| result.extend(piece));
    }

    /// All of them.
    pub fn all(self) -> Vec<Vec<u64>> {
        self.0
    }
}
