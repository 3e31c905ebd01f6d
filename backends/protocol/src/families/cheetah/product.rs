//! Products of two shared matrices: each cross term of their shares is a linear layer, whose
//! operand is the client's share of one matrix and whose weights are the server's share of the
//! other.
//!
//! Shares are elements of the whole ring, so as weights they are as wide as the accumulator, and
//! the noise of such weights could not be hidden. They are cut into signed digits,
//! `y = sum of 2^(w i) d_i mod 2^acc`. Of a matrix with `k` columns (or rows) the layer then has
//! `digits * k` channels: the client encrypts `2^(w i) x mod 2^acc` for every digit `i`, and `d_i`
//! is the weight of that channel. The sum is the same mod `2^acc`, and the noise is what
//! [`noise`](super::noise) says of that layer with weights of `w` bits: of the largest
//! magnitude, though shares are uniform.
//!
//! The products of a batch are the groups of a layer. With `k` the matrices' inner extent:
//!
//! - term 0 has the operand `[batch * digits * k, 1, rows]` and the kernel
//!   `[batch * columns, digits * k, 1, 1]`; its results are the products, transposed;
//! - term 1 has the operand `[batch * digits * k, 1, columns]` and the kernel
//!   `[batch * rows, digits * k, 1, 1]`; its results are the products.

use std::sync::Arc;

use fusion_ir::Party;

use super::interleaved::MAX_LEVELS;
use super::packing::{Packing, Packings};
use crate::linear::{Geometry, Matrices, Refusal, Shape};
use crate::rlwe::{MAX_ACC_BITS, public_keys};
use crate::{Cost, Keys, Primitive};

/// The most digits that shares are cut into. More would only make room for more than any layer adds
/// up.
pub const MAX_DIGITS: u8 = 4;

/// Up to so many bits of an accumulator, products of the sizes that networks have take two digits;
/// with more, they take three, and less output packing.
pub const GOOD_ACC_BITS: u8 = 33;

/// Up to so many bits they take one digit, and half the bytes.
pub const ONE_DIGIT_BITS: u8 = 24;

/// The widest ring, at least [`ONE_DIGIT_BITS`], in which products of these matrices take one digit
/// with and without output packing: sums of few products leave room for some bits more.
pub fn one_digit_bits(matrices: &Matrices) -> u8 {
    let takes_one = |acc_bits: &u8| {
        let digits = |packed| {
            let product = Product::of(matrices, *acc_bits, packed, &mut Packings::default()).ok()?;
            product.terms.iter().map(|term| term.digits).max()
        };
        [false, true].into_iter().all(|packed| digits(packed) == Some(1))
    };
    (ONE_DIGIT_BITS + 1..=MAX_ACC_BITS).take_while(takes_one).last().unwrap_or(ONE_DIGIT_BITS)
}

/// A batch of products of shared matrices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    matrices: Matrices,
    acc_bits: u8,
    terms: [Term; 2],
}

/// A cross term: the client's share of one matrix (the first in term 0) times the server's share of
/// the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The layer that it is.
    pub packing: Arc<Packing>,
    /// Digits of the server's share.
    pub digits: u8,
}

impl Product {
    /// The products with output packing, if that is asked for and could be hidden, else without it,
    /// each term in the fewest digits whose noise could be hidden. Refused if there are none.
    pub fn of(
        matrices: &Matrices,
        acc_bits: u8,
        output_packing: bool,
        packings: &mut Packings,
    ) -> Result<Product, Refusal> {
        if acc_bits > MAX_ACC_BITS {
            return Err(Refusal::Accumulator(acc_bits));
        }
        let mut term = |pixels, outputs| {
            let most_levels = if output_packing { MAX_LEVELS } else { 0 };
            let mut refused = Refusal::Malformed;
            for levels in (0..=most_levels).rev() {
                for digits in 1..=MAX_DIGITS.min(acc_bits) {
                    let geometry = geometry(matrices, pixels, outputs, digits);
                    let shape = Shape { geometry, acc_bits, weight_bits: digit_bits(acc_bits, digits) };
                    match packings.hideable(&shape, levels) {
                        Ok(packing) => return Ok(Term { packing, digits }),
                        Err(why) => refused = why,
                    }
                }
            }
            Err(refused)
        };
        let terms = [term(matrices.rows, matrices.columns)?, term(matrices.columns, matrices.rows)?];
        Ok(Product { matrices: *matrices, acc_bits, terms })
    }

    /// The matrices.
    pub fn matrices(&self) -> &Matrices {
        &self.matrices
    }

    /// Width of operands and results.
    pub fn acc_bits(&self) -> u8 {
        self.acc_bits
    }

    /// Both cross terms.
    pub fn terms(&self) -> &[Term; 2] {
        &self.terms
    }

    /// Bits of a digit of either term.
    pub fn digit_bits(&self, term: usize) -> u8 {
        digit_bits(self.acc_bits, self.terms[term].digits)
    }

    /// Levels of output packing.
    pub fn levels(&self) -> u32 {
        self.terms.iter().map(|term| term.packing.levels()).fold(0, u32::max)
    }

    /// Bytes of one position's encrypted operands, those of term 0 first.
    pub fn upload_bytes(&self) -> usize {
        self.terms.iter().map(|term| term.packing.upload_bytes()).sum()
    }

    /// Bytes of one position's results, likewise.
    pub fn download_bytes(&self) -> usize {
        self.terms.iter().map(|term| term.packing.download_bytes()).sum()
    }

    /// What it takes on a micro-batch, public keys included where it has some of its own: the
    /// encrypted operands up, the masked results down. Kernels are each position's own.
    pub fn cost(&self, keys: Keys, positions: usize) -> Cost {
        let mut cost = if keys.serve_one(self.levels()) { public_keys(positions) } else { Cost::default() };
        cost.send(Party::Client, (positions * self.upload_bytes()) as u64);
        cost.send(Party::Server, (positions * self.download_bytes()) as u64);
        for term in &self.terms {
            let work = super::cost(&term.packing, 1).work;
            let of_one = work.into_iter().filter(|(primitive, _)| *primitive != Primitive::Message);
            of_one.for_each(|(primitive, count)| cost.compute(primitive, positions as u64 * count));
        }
        // Operands are spread, weights cut up, results put in their places.
        let spread = |term: &Term| term.packing.geometry().input_len() + term.packing.geometry().weight_len();
        let moved = self.terms.iter().map(spread).sum::<usize>() + 4 * self.matrices.result_len();
        cost.compute(Primitive::MovedElement, (positions * moved) as u64);
        cost
    }

    /// Bytes that `party` keeps at once on so many positions; see
    /// [`Layer::peak_bytes`](crate::families::Layer::peak_bytes).
    pub fn peak_bytes(&self, party: Party, positions: u64, alive: u64, result: u64) -> u64 {
        let words = |elements: usize| (size_of::<u64>() * elements) as u64;
        let of_terms = |of: &dyn Fn(&Packing) -> u64| self.terms.iter().map(|term| of(&term.packing)).fold(0, u64::max);
        let (upload, download) = (self.upload_bytes() as u64, self.download_bytes() as u64);
        // Shares as the product of either party's own is taken of them.
        let own = self.matrices.operand_lens().map(words).into_iter().sum::<u64>();
        let spread = |packing: &Packing| words(packing.geometry().input_len());
        match party {
            // A term's operand and its ciphertexts, on their way to the message; or the message
            // that came and a term's results, by position and in all.
            Party::Client => {
                let term = of_terms(&|packing| spread(packing) + packing.upload_bytes() as u64);
                positions * (alive - result + upload + term).max(alive + download + own.max(2 * result))
            }
            // Both messages; one position's digits.
            Party::Server => {
                let one = of_terms(&|packing| spread(packing) + words(packing.geometry().weight_len()));
                one + positions * (alive + upload + download + own.max(result))
            }
        }
    }
}

/// Bits of each of so many digits.
fn digit_bits(acc_bits: u8, digits: u8) -> u8 {
    acc_bits.div_ceil(digits)
}

/// The layer of a term, whose operand has so many pixels.
fn geometry(matrices: &Matrices, pixels: usize, outputs: usize, digits: u8) -> Geometry {
    Geometry {
        input: [matrices.batch * usize::from(digits) * matrices.inner, 1, pixels],
        outputs: matrices.batch * outputs,
        kernel: [1, 1],
        strides: [1, 1],
        pads: [0; 4],
        dilations: [1, 1],
        groups: matrices.batch,
    }
}
