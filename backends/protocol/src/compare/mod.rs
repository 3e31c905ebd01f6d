//! Comparisons: the operations that look at the bits of shared values, whichever family computes
//! them, and what is made of many.
//!
//! Up to [`WAVE`] elements are compared at once; their random OTs are drawn a chunk of [`CHUNK`]
//! elements at a time.

mod nonlinear;

use std::ops::Range;

use fusion_ir::types::Sign;

pub use nonlinear::{Nonlinear, Pool, Price, arg_max, max_pool, piecewise, top_k, tournament};

/// Elements whose random OTs are drawn at once, so that the messages of a draw stay small.
pub const CHUNK: usize = 1 << 17;
/// Elements that are compared at once, a whole number of chunks. More go one wave after the other,
/// so that memory stays bounded; fewer would spend more time waiting for a distant peer than
/// sending.
pub const WAVE: usize = 1 << 20;

/// An elementwise operation that needs to look at the bits of shared values. `x` is signed in
/// `Z_2^bits`, `2 <= bits <= 63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// 1 if `x < 0`, else 0, shared mod 2.
    Sign {
        /// Width of `x`.
        bits: u8,
    },
    /// [`Op::Step`](fusion_ir::Op::Step).
    Step {
        /// Width of `x`.
        bits: u8,
        /// Width of the result, any in `2..=63`.
        k: u8,
    },
    /// [`Op::Requant`](fusion_ir::Op::Requant): any `k` in `2..=63`.
    Requant {
        /// Width of `x`.
        bits: u8,
        /// Bits dropped, in `1..bits`.
        shift: u8,
        /// Width of the result.
        k: u8,
    },
    /// [`Op::RequantRelu`](fusion_ir::Op::RequantRelu).
    RequantRelu {
        /// Width of `x`.
        bits: u8,
        /// Bits dropped, in `1..bits`.
        shift: u8,
        /// Width of the result, at most `bits - shift`.
        k: u8,
    },
    /// [`Op::RequantClip`](fusion_ir::Op::RequantClip).
    RequantClip {
        /// Width of `x`.
        bits: u8,
        /// Bits dropped, in `1..bits`.
        shift: u8,
        /// Width of the result, at most `bits - shift`.
        k: u8,
        /// The largest result, in `1..2^(k-1)`.
        limit: u64,
    },
    /// [`Op::Relu`](fusion_ir::Op::Relu).
    Relu {
        /// Width of `x`.
        bits: u8,
    },
    /// [`Op::Extend`](fusion_ir::Op::Extend).
    Extend {
        /// Width of `x`.
        bits: u8,
        /// Width of the result, greater than `bits`.
        k: u8,
        /// What is proven about `x`; if it is not so, the result is meaningless.
        sign: Sign,
    },
    /// Of operands `a, b`: `b` if `a - b mod 2^bits` is negative, else `a`.
    Max {
        /// Width of `a` and `b`.
        bits: u8,
    },
    /// Of operands `a, b, i, j`: as [`Comparison::Max`] of `a` and `b`, and with it `j` or `i`.
    MaxIndex {
        /// Width of `a` and `b`.
        bits: u8,
        /// Width of `i` and `j`.
        index_bits: u8,
    },
    /// Of operands `a, b`: `a b mod 2^bits`.
    Mul {
        /// Width of `a` and `b`.
        bits: u8,
    },
    /// `x^2 mod 2^bits`.
    Square {
        /// Width of `x`.
        bits: u8,
    },
}

/// Widths of the words that bits of the client's share of `x`, and then of the server's, choose for
/// `x^2 mod 2^bits`.
///
/// With shares `a` and `b` only `a b` is not known to one party, and only mod `2^m`,
/// `m = bits - 1`, as it is doubled. The client's lowest bits choose from `b`, of which `m - i`
/// bits matter to bit `i`; what is above them in `a` is chosen from by the server's bits. So both
/// send about as much.
pub fn square_words(bits: u8) -> [Vec<u8>; 2] {
    let m = bits - 1;
    // (1 - sqrt(1/2)) m
    let low = (u16::from(m) * 3 / 10) as u8;
    [(m - low + 1..=m).rev().collect(), (1..=m - low).rev().collect()]
}

impl Comparison {
    /// Number of results.
    pub fn results(&self) -> usize {
        match self {
            Comparison::MaxIndex { .. } => 2,
            Comparison::Sign { .. } | Comparison::Step { .. } | Comparison::Requant { .. } => 1,
            Comparison::RequantRelu { .. } | Comparison::RequantClip { .. } | Comparison::Relu { .. } => 1,
            Comparison::Extend { .. } | Comparison::Max { .. } => 1,
            Comparison::Mul { .. } | Comparison::Square { .. } => 1,
        }
    }

    /// Number of operands.
    pub fn operands(&self) -> usize {
        match self {
            Comparison::MaxIndex { .. } => 4,
            Comparison::Max { .. } | Comparison::Mul { .. } => 2,
            Comparison::Sign { .. } | Comparison::Step { .. } | Comparison::Requant { .. } => 1,
            Comparison::RequantRelu { .. } | Comparison::RequantClip { .. } => 1,
            Comparison::Relu { .. } | Comparison::Extend { .. } | Comparison::Square { .. } => 1,
        }
    }

    /// The waves of `n` elements.
    pub fn waves(&self, n: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        pieces(n, WAVE / self.weight())
    }

    /// The chunks of a wave of `n` elements.
    pub fn chunks(&self, n: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        pieces(n, CHUNK / self.weight())
    }

    /// How many times the memory of a usual comparison an element needs: a product has many words.
    fn weight(&self) -> usize {
        match self {
            Comparison::Mul { .. } => 8,
            Comparison::Square { .. } => 4,
            Comparison::Sign { .. } | Comparison::Step { .. } | Comparison::Requant { .. } => 1,
            Comparison::RequantRelu { .. } | Comparison::RequantClip { .. } | Comparison::Relu { .. } => 1,
            Comparison::Extend { .. } | Comparison::Max { .. } | Comparison::MaxIndex { .. } => 1,
        }
    }
}

fn pieces(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(most).map(move |start| start..n.min(start + most))
}
