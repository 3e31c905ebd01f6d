//! Products of two shared matrices: each party computes the product of its own shares, and both
//! cross terms are linear layers of [`linear`](super::linear) with a share for the weights, laid
//! out by [`Product`].
//!
//! On a micro-batch of positions, each under its own key:
//!
//! 1. The client sends its shares of both matrices, packed and encrypted: all positions' operands
//!    of term 0, then those of term 1 ([`Kind::LinearUpload`](crate::Kind)).
//! 2. The server multiplies them by kernel polynomials of the digits of its own shares of the other
//!    matrix, which are different for every position, and sends the sums, each plus a uniform mask,
//!    hidden as those of any linear layer, in the same order
//!    ([`Kind::LinearDownload`](crate::Kind)).
//! 3. The client's result share is what it decrypts of both terms, plus the product of its shares;
//!    the server's is the product of its shares minus the masks.
//!
//! The server learns nothing, the client nothing but its share. The messages are those of
//! [`Product::cost`].

use fusion_catalogue::cheetah::Product;
use fusion_catalogue::linear::Matrices;
use fusion_ir::interp::mat_mul;
use fusion_ir::types::{mask, signed};
use rayon::prelude::*;

use super::linear::{Sparse, Workspace, downloads, upload};
use crate::rlwe::{ClientKey, PublicKey, Scale};
use crate::{Channel, Error, Kind};

/// The client's part, on `keys.len()` positions: its shares of both matrices in, its share of the
/// products out.
///
/// # Errors
/// [`Error::PeerMisbehaved`] if the server's message is malformed, [`Error::Io`] if the connection
/// fails.
pub fn client(
    channel: &mut dyn Channel,
    product: &Product,
    keys: &mut [ClientKey],
    shares: [&[u64]; 2],
) -> Result<Vec<u64>, Error> {
    let (positions, scale) = (keys.len(), Scale::new(product.acc_bits()));
    let mut bytes = Vec::with_capacity(positions * product.upload_bytes());
    for (at, term) in product.terms().iter().enumerate() {
        let operands = CrossTerm::new(product, at).operands(shares[at]);
        bytes.extend(upload(&term.packing, &scale, keys, &operands));
    }
    channel.send(Kind::LinearUpload, bytes)?;
    let bytes = channel.receive(Kind::LinearDownload, positions * product.download_bytes())?;
    let mut result = own(product, shares, positions);
    let mut rest = bytes.as_slice();
    for (at, term) in product.terms().iter().enumerate() {
        let (of_term, behind) = rest.split_at(positions * term.packing.download_bytes());
        rest = behind;
        CrossTerm::new(product, at).add(&downloads(&term.packing, &scale, keys, of_term)?, &mut result);
    }
    Ok(result)
}

/// The server's part, likewise.
///
/// # Errors
/// [`Error::PeerMisbehaved`] if the client's message is malformed, [`Error::Io`] if the connection
/// or the operating system's randomness fails.
pub fn server(
    channel: &mut dyn Channel,
    product: &Product,
    keys: &[PublicKey],
    workspace: &mut Workspace,
    shares: [&[u64]; 2],
) -> Result<Vec<u64>, Error> {
    let positions = keys.len();
    let uploads = channel.receive(Kind::LinearUpload, positions * product.upload_bytes())?;
    let mut bytes = vec![0; positions * product.download_bytes()];
    let mut result = own(product, shares, positions);
    let (mut uploads, mut rest) = (uploads.as_slice(), bytes.as_mut_slice());
    for (at, term) in product.terms().iter().enumerate() {
        let (packing, cross) = (&*term.packing, CrossTerm::new(product, at));
        let kernels = Sparse::new(packing, workspace);
        let weights = shares[1 - at].chunks_exact(product.matrices().operand_lens()[1 - at]);
        // The client's share alone.
        let none = vec![0; packing.geometry().input_len()];
        let mut shares = Vec::with_capacity(positions * product.matrices().result_len());
        for (key, weights) in keys.iter().zip(weights) {
            let (upload, others) = uploads.split_at(packing.upload_bytes());
            let (download, behind) = rest.split_at_mut(packing.download_bytes());
            (uploads, rest) = (others, behind);
            let (key, weights) = (std::slice::from_ref(key), cross.kernel(weights));
            shares.extend(kernels.evaluate(key, workspace, upload, &none, &weights, download)?);
        }
        cross.add(&shares, &mut result);
    }
    channel.send(Kind::LinearDownload, bytes)?;
    Ok(result)
}

/// The products of one party's own shares.
fn own(product: &Product, [x, y]: [&[u64]; 2], positions: usize) -> Vec<u64> {
    let Matrices { batch, rows, inner, columns } = *product.matrices();
    let bits = product.acc_bits();
    let [x, y] = [x, y].map(|share| share.iter().map(|share| *share as i64).collect::<Vec<i64>>());
    let products = mat_mul(&x, &y, [positions * batch, rows, inner, columns], bits);
    products.into_iter().map(|product| product as u64 & mask(bits)).collect()
}

/// Where the elements of one term's layer are in the matrices.
pub(crate) struct CrossTerm {
    /// Rows of the first factor, or columns of the second: of the client's matrix.
    pixels: usize,
    inner: usize,
    /// The same of the server's.
    outputs: usize,
    /// Whether the client's matrix is the first factor.
    first: bool,
    digits: usize,
    digit_bits: u8,
    acc_bits: u8,
}

impl CrossTerm {
    pub(crate) fn new(product: &Product, term: usize) -> CrossTerm {
        let Matrices { rows, inner, columns, .. } = *product.matrices();
        let first = term == 0;
        let (pixels, outputs) = if first { (rows, columns) } else { (columns, rows) };
        let digits = product.terms()[term].digits.into();
        let (digit_bits, acc_bits) = (product.digit_bits(term), product.acc_bits());
        CrossTerm { pixels, inner, outputs, first, digits, digit_bits, acc_bits }
    }

    /// The layer's operand from the client's share of its matrices: for every digit and inner index
    /// a channel, which is that row or column times the digit's place value.
    pub(crate) fn operands(&self, share: &[u64]) -> Vec<u64> {
        let CrossTerm { pixels, inner, digits, digit_bits, acc_bits, .. } = *self;
        let image = |share: &[u64], operand: &mut [u64]| {
            for (channel, line) in operand.chunks_exact_mut(pixels).enumerate() {
                let shift = channel / inner * usize::from(digit_bits);
                for (pixel, value) in line.iter_mut().enumerate() {
                    *value = share[self.place(self.first, channel % inner, pixel)] << shift & mask(acc_bits);
                }
            }
        };
        let mut operands = vec![0; digits * share.len()];
        let matrices = share.par_chunks_exact(inner * pixels);
        let layers = operands.par_chunks_exact_mut(digits * inner * pixels);
        layers.zip(matrices).for_each(|(operand, share)| image(share, operand));
        operands
    }

    /// The layer's kernel from the server's share of its matrices of one position.
    pub(crate) fn kernel(&self, share: &[u64]) -> Vec<i64> {
        let CrossTerm { inner, outputs, digits, .. } = *self;
        let mut kernel = vec![0; digits * share.len()];
        let matrices = share.par_chunks_exact(inner * outputs);
        kernel.par_chunks_exact_mut(digits * inner * outputs).zip(matrices).for_each(|(kernel, share)| {
            for (output, row) in kernel.chunks_exact_mut(digits * inner).enumerate() {
                for index in 0..inner {
                    let mut rest = share[self.place(!self.first, index, output)];
                    for digit in 0..digits {
                        row[digit * inner + index] = self.digit(&mut rest);
                    }
                }
            }
        });
        kernel
    }

    /// The lowest digit, signed; what is left of a share above it.
    fn digit(&self, share: &mut u64) -> i64 {
        let digit = signed(*share, self.digit_bits);
        *share = share.wrapping_sub(digit as u64) >> self.digit_bits;
        digit
    }

    /// Adds the layer's results to the products, those of all positions.
    fn add(&self, layer: &[u64], products: &mut [u64]) {
        let CrossTerm { pixels, outputs, acc_bits, .. } = *self;
        let matrices = layer.par_chunks_exact(pixels * outputs);
        products.par_chunks_exact_mut(pixels * outputs).zip(matrices).for_each(|(product, layer)| {
            for (output, line) in layer.chunks_exact(pixels).enumerate() {
                for (pixel, value) in line.iter().enumerate() {
                    let place = if self.first { pixel * outputs + output } else { output * pixels + pixel };
                    product[place] = product[place].wrapping_add(*value) & mask(acc_bits);
                }
            }
        });
    }

    /// The place of an element of a factor by its inner index and the other one.
    fn place(&self, first: bool, inner: usize, outer: usize) -> usize {
        let columns = if self.first { self.outputs } else { self.pixels };
        if first { outer * self.inner + inner } else { inner * columns + outer }
    }
}
