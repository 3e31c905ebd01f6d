//! Operations made of many comparisons, and what they cost given what a family of protocols asks
//! for one of them.

use std::ops::Range;

#[cfg(doc)]
use fusion_ir::Op;
use fusion_ir::interp::span;
use fusion_ir::network::Network;
use fusion_ir::op::{Piecewise, Window};

use super::{Comparison, WAVE};
use crate::Cost;
use crate::linear::Matrices;

/// What a family asks for a comparison of so many elements.
pub type Price<'p> = &'p dyn Fn(&Comparison, usize) -> Cost;

/// A nonlinear operation of one position, as comparisons that any family can run.
#[derive(Clone, Debug, PartialEq)]
pub enum Nonlinear {
    /// One comparison of every element.
    Elementwise {
        /// Which.
        comparison: Comparison,
        /// Of how many elements.
        elements: usize,
    },
    /// [`Op::Piecewise`].
    Piecewise {
        /// Width of operand and result.
        bits: u8,
        /// The function.
        function: Piecewise,
        /// Of how many elements.
        elements: usize,
    },
    /// [`Op::MaxPool`].
    MaxPool {
        /// Width of operand and result.
        bits: u8,
        /// The window.
        window: Window,
        /// The operand: channels, rows, columns.
        input: [usize; 3],
    },
    /// [`Op::MatMul`], scalar by scalar.
    MatMul {
        /// Width of operands and result.
        bits: u8,
        /// The matrices.
        matrices: Matrices,
    },
    /// [`Op::ArgMax`].
    ArgMax {
        /// Width of the operand.
        bits: u8,
        /// Width of the result.
        index_bits: u8,
        /// Elements of the operand.
        classes: usize,
    },
    /// [`Op::TopK`].
    TopK {
        /// Width of the operand.
        bits: u8,
        /// Width of the result.
        index_bits: u8,
        /// Elements of the operand.
        classes: usize,
        /// Elements of the result.
        k: usize,
    },
}

impl Nonlinear {
    /// What it takes on `positions` positions by a family of this `price`.
    pub fn cost(&self, price: Price, positions: usize) -> Cost {
        match *self {
            Nonlinear::Elementwise { comparison, elements } => price(&comparison, positions * elements),
            Nonlinear::Piecewise { bits, ref function, elements } => {
                piecewise(price, bits, function.knots.len(), positions * elements)
            }
            Nonlinear::MaxPool { bits, ref window, input: [channels, height, width] } => {
                max_pool(price, bits, window, [height, width], channels * positions)
            }
            Nonlinear::MatMul { bits, ref matrices } => mat_mul(price, bits, matrices, positions),
            Nonlinear::ArgMax { bits, index_bits, classes } => arg_max(price, bits, index_bits, classes, positions),
            Nonlinear::TopK { bits, index_bits, classes, k } => top_k(price, bits, index_bits, classes, k, positions),
        }
    }

    /// At most how many of one position's elements are compared together, and how often as many one
    /// after the other, if its first operand has `operand` of them and its result `result`.
    pub fn together(&self, operand: u64, result: u64) -> (u64, u64) {
        match self {
            // Along rows, then along columns.
            Nonlinear::MaxPool { .. } => (operand / 2, 3),
            Nonlinear::Elementwise { .. } | Nonlinear::Piecewise { .. } => (operand.max(result), 1),
            Nonlinear::ArgMax { .. } | Nonlinear::TopK { .. } => (operand.max(result), 1),
            Nonlinear::MatMul { matrices, .. } => (matrices.products(), 1),
        }
    }
}

/// A max-pool over `images` images (channels times positions) of `height x width`,
/// [`Pool::images_at_once`] at a time.
pub fn max_pool(price: Price, bits: u8, window: &Window, [height, width]: [usize; 2], images: usize) -> Cost {
    let pool = Pool::new(window, height, width);
    let most = pool.images_at_once();
    let mut cost = Cost::default();
    for start in (0..images).step_by(most) {
        let images = most.min(images - start);
        for pairs in tournament(&pool.sizes_across()) {
            cost.then(&price(&Comparison::Max { bits }, pairs * pool.rows.len() * images));
        }
        for pairs in tournament(&pool.sizes_down()) {
            cost.then(&price(&Comparison::Max { bits }, pairs * pool.across.len() * images));
        }
    }
    cost
}

/// Products of matrices, [some results](Matrices::sums) at a time.
pub fn mat_mul(price: Price, bits: u8, matrices: &Matrices, positions: usize) -> Cost {
    // All waves but the last are alike.
    let mut alike: Vec<(usize, usize)> = Vec::new();
    for sums in matrices.sums(bits, positions) {
        match alike.last_mut() {
            Some((len, times)) if *len == sums.len() => *times += 1,
            _ => alike.push((sums.len(), 1)),
        }
    }
    let wave = |(len, times)| price(&Comparison::Mul { bits }, len * matrices.inner).times(times);
    alike.into_iter().map(wave).sum()
}

/// The index of the largest of `classes` values for each of `positions` positions.
pub fn arg_max(price: Price, bits: u8, index_bits: u8, classes: usize, positions: usize) -> Cost {
    let mut cost = Cost::default();
    for pairs in tournament(&[classes]) {
        cost.then(&price(&Comparison::MaxIndex { bits, index_bits }, pairs * positions));
    }
    cost
}

/// The indices of the `k` largest of `classes` values for each of `positions` positions: maxima of
/// keys that hold a value and its index.
pub fn top_k(price: Price, bits: u8, index_bits: u8, classes: usize, k: usize, positions: usize) -> Cost {
    let mut cost = Cost::default();
    for layer in Network::top_k(classes, k).layers {
        cost.then(&price(&Comparison::Max { bits: bits + index_bits }, layer.len() * positions));
    }
    cost
}

/// A piecewise linear function of `knots` knots on `n` elements: as many ReLUs, all of them side by
/// side.
pub fn piecewise(price: Price, bits: u8, knots: usize, n: usize) -> Cost {
    price(&Comparison::Relu { bits }, knots * n)
}

/// The pairs of every level of a tournament among groups of these sizes: in each group
/// neighbours play, an odd one out goes through, until one is left in every group.
pub fn tournament(sizes: &[usize]) -> Vec<usize> {
    let mut sizes = sizes.to_vec();
    let mut levels = Vec::new();
    while sizes.iter().any(|size| *size > 1) {
        levels.push(sizes.iter().map(|size| size / 2).sum());
        sizes.iter_mut().for_each(|size| *size = size.div_ceil(2));
    }
    levels
}

/// How a max-pool goes over images of one size: first along rows, over every row that some window
/// sees, then along columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The rows that are read, in order.
    pub rows: Vec<usize>,
    /// For every output column the columns of its window, padding excluded.
    pub across: Vec<Range<usize>>,
    /// For every output row its window as places in [`Pool::rows`], padding excluded.
    pub down: Vec<Range<usize>>,
}

impl Pool {
    /// Over images of `height x width`; nothing if no window fits.
    pub fn new(window: &Window, height: usize, width: usize) -> Pool {
        let [output_rows, output_columns] = window.output(height, width).unwrap_or_default();
        let down: Vec<_> = (0..output_rows).map(|i| span(window, 0, i, height)).collect();
        let rows = covered(&down, height);
        let place = |row: usize| rows.partition_point(|read| *read < row);
        Pool {
            down: down.iter().map(|window| place(window.start)..place(window.end)).collect(),
            across: (0..output_columns).map(|j| span(window, 1, j, width)).collect(),
            rows,
        }
    }

    /// Images that are pooled at once, so that memory stays bounded: those with a wave of players
    /// in their rows' windows.
    pub fn images_at_once(&self) -> usize {
        let players = self.rows.len() * self.sizes_across().iter().sum::<usize>();
        (WAVE / players.max(1)).max(1)
    }

    /// Group sizes of the step along rows, for one row.
    pub fn sizes_across(&self) -> Vec<usize> {
        self.across.iter().map(|window| window.len()).collect()
    }

    /// Group sizes of the step along columns, for one output column.
    pub fn sizes_down(&self) -> Vec<usize> {
        self.down.iter().map(|window| window.len()).collect()
    }
}

/// The numbers below `end` that lie in one of `ranges`, in order, in time linear in `end` and their
/// number.
fn covered(ranges: &[Range<usize>], end: usize) -> Vec<usize> {
    let (mut opened, mut closed) = (vec![0usize; end + 1], vec![0usize; end + 1]);
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        opened[range.start] += 1;
        closed[range.end] += 1;
    }
    let mut open = 0;
    let mut inside = |place: &usize| {
        open += opened[*place];
        open -= closed[*place];
        open > 0
    };
    (0..end).filter(&mut inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tournaments_play_all_but_one() {
        assert_eq!(tournament(&[10]), [5, 2, 1, 1]);
        assert_eq!(tournament(&[3, 2, 1]), [2, 1]);
        assert_eq!(tournament(&[1, 1]), [0; 0]);
        assert_eq!(tournament(&[]), [0; 0]);
    }

    #[test]
    fn pools_read_only_what_windows_see() {
        let window = Window { kernel: [2, 3], strides: [3, 2], pads: [0, 1, 0, 1] };
        let pool = Pool::new(&window, 7, 5);
        assert_eq!(pool.rows, [0, 1, 3, 4]);
        assert_eq!(pool.down, [0..2, 2..4]);
        assert_eq!(pool.across, [0..2, 1..4, 3..5]);
    }
}
