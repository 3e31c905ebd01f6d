//! The `cheetah` family: linear layers over RLWE ciphertexts ([`Packing`]), comparisons by carry
//! trees ([`Carries`]).
//!
//! **Linear layers.** The client encrypts its share of the operand, coefficient-packed; the server
//! adds its own share, multiplies by kernel polynomials and returns masked results (Cheetah, Huang
//! et al., USENIX Security 2022, section 3, with several output channels per product), packed into
//! few ciphertexts where that is chosen ([`interleaved`]). How much noise may grow is [`noise`]'s.
//! Everything here is public geometry: it depends on shapes and widths, never on a weight's value.
//! Layers may be computed on masks, [ahead](crate::Keys::Ahead) of their operands.

mod axis;
mod carries;
mod family;
mod flight;
pub mod interleaved;
pub mod noise;
mod packing;
mod placement;
pub mod product;
mod progression;
mod trees;

use fusion_ir::Party;

pub use carries::{Carries, Leaf, Leaves, SEGMENTS};
pub use family::{Comparisons, Family, Layer, Products};
pub use flight::Flight;
pub use packing::{Packing, Packings, Run, Term};
pub use product::Product;

use crate::{Cost, Primitive, packed_bytes};

/// Terms of a kernel polynomial up to which the server sums them up instead of transforming the
/// polynomial.
pub const FEW_TERMS: usize = 24;

/// The messages of one linear layer on a micro-batch of `positions`: the encrypted operands up, the
/// masked results down.
pub fn cost(packing: &Packing, positions: usize) -> Cost {
    let mut cost = Cost::default();
    cost.send(Party::Client, (positions * packing.upload_bytes()) as u64);
    cost.send(Party::Server, (positions * packing.download_bytes()) as u64);
    let (operands, results) = (positions * packing.operands(), positions * packing.results());
    let sums = positions * packing.sums();
    cost.compute(Primitive::Ciphertext, operands as u64);
    match packing.terms() / packing.products() {
        terms @ ..=FEW_TERMS => cost.compute(Primitive::KernelTerm, (packing.kernels() * terms) as u64),
        _ => cost.compute(Primitive::Kernel, packing.kernels() as u64),
    }
    cost.compute(Primitive::Product, (sums * packing.products()) as u64);
    cost.compute(Primitive::KeySwitch, (positions * packing.switches()) as u64);
    cost.compute(Primitive::Result, results as u64);
    cost
}

/// The message of a linear layer that was computed [ahead](crate::Keys::Ahead), when its turn
/// comes: the client's share less its mask, on which the server then computes in the clear.
pub fn unmasked_cost(packing: &Packing, positions: usize) -> Cost {
    let mut cost = Cost::default();
    let geometry = packing.geometry();
    cost.send(Party::Client, packed_bytes(positions * geometry.input_len(), packing.acc_bits()));
    let products = geometry.output_len() * (geometry.weight_len() / geometry.outputs.max(1));
    cost.compute(Primitive::LocalElement, (positions * (products + geometry.input_len())) as u64);
    cost
}
