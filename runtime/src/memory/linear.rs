//! What a linear layer takes beside the shares of operand and result, by the protocol that computes it.

use fusion_backends::linear::workspace_bytes;
use fusion_catalogue::crypt_flow2::he::Slots;
use fusion_catalogue::crypt_flow2::matmul::Products;
use fusion_catalogue::linear::{Packing, Unsupported};
use fusion_ir::op::CryptFlow2;
use fusion_ir::{Backend, Function, Party, ValueId};

use super::WORD_BYTES;

/// Bytes of the seeds of one correlated OT and of its row in the extension, at the party with more of them.
const OT_BYTES: u64 = 2 * 16 + 2 * 16;
/// Vectors of words that either party works with for one bit of all weights of a batch: two pads and what is masked.
const VECTORS: u64 = 3;

/// One linear layer, laid out as its protocol has it.
#[derive(Clone, Debug)]
pub(super) enum Linear {
    /// Coefficients of ciphertexts.
    Packing(Box<Packing>),
    /// Slots of ciphertexts.
    Slots(Box<Slots>),
    /// Correlated OTs.
    Products(Box<Products>),
}

impl Linear {
    /// The linear layer `id` on its backend.
    ///
    /// # Errors
    /// If its protocol cannot carry it.
    pub(super) fn new(function: &Function, id: ValueId) -> Result<Linear, Unsupported> {
        Ok(match function.value(id).backend {
            Backend::CryptFlow2(CryptFlow2::He) => Linear::Slots(Box::new(Slots::new(function, id)?)),
            Backend::CryptFlow2(CryptFlow2::Ot) => Linear::Products(Box::new(Products::new(function, id)?)),
            Backend::Garbled => return Err(Unsupported::Circuit),
            Backend::Cheetah(_) | Backend::Local | Backend::Unselected => {
                Linear::Packing(Box::new(Packing::new(function, id)?))
            }
        })
    }

    /// What the server's workspace holds for it, in three parts that layers share.
    pub(super) fn workspace_bytes(&self, positions: usize) -> [u64; 3] {
        match self {
            Linear::Packing(packing) => workspace_bytes(packing, positions),
            Linear::Slots(_) | Linear::Products(_) => [0; 3],
        }
    }

    /// What `party` keeps at once, shares of the layer's result and of whatever is `alive` beside it included.
    pub(super) fn bytes(&self, party: Party, positions: u64, alive: u64, result: u64) -> u64 {
        let (alive, result) = (alive * WORD_BYTES, result * WORD_BYTES);
        let (upload, download) = match self {
            Linear::Packing(packing) => (packing.upload_bytes() as u64, packing.download_bytes() as u64),
            Linear::Slots(slots) => (slots.upload_bytes() as u64, slots.download_bytes() as u64),
            Linear::Products(products) => return positions * alive + batch_bytes(products, positions as usize),
        };
        match party {
            // The message that is sent; or one that came and what is read out of it, by position and in all.
            Party::Client => positions * (alive - result + upload).max(alive + download + result),
            Party::Server => positions * (alive - result + upload).max(alive + download),
        }
    }
}

/// What the largest batch of weights takes: its messages, the seeds behind them, and the vectors of one bit. Fewer positions make batches
/// of more weights, and the last micro-batch may have few.
fn batch_bytes(products: &Products, positions: usize) -> u64 {
    let batch = |positions: usize, weights| {
        let vectors = VECTORS * WORD_BYTES * products.elements(&weights, positions) as u64;
        let messages = products.choice_bytes(&weights) + products.vector_bytes(&weights, positions);
        messages + vectors + OT_BYTES * products.ots(&weights) as u64
    };
    let largest = |positions| products.batches(positions).into_iter().map(|weights| batch(positions, weights)).max();
    largest(1).max(largest(positions)).unwrap_or(0)
}
