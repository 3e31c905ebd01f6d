//! Operations resolved: what a value of a function is to the protocols, with everything that its
//! family decided about it.

use fusion_ir::Party;

use crate::cheetah::{self, Packing};
use crate::compare::{Comparison, Nonlinear};
use crate::crypt_flow2::he::Slots;
use crate::linear::Geometry;
use crate::rlwe::public_keys;
use crate::{Cost, Keys, Primitive, crypt_flow2, garbled, packed_bytes};
use std::sync::Arc;

/// One value of a function, resolved.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Each party by itself on its own shares.
    Local(Local),
    /// A convolution or a fully connected layer.
    Linear(Linear),
    /// An operation that looks at the bits of shared values.
    Compare(Compare),
    /// The server's share is opened to the client.
    Reveal(Reveal),
}

/// What a local operation computes, on one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// In order, or all over the place.
    pub primitive: Primitive,
    /// Elements that are read or written.
    pub elements: usize,
}

/// A linear layer, laid out as its protocol has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Linear {
    /// In coefficients of ciphertexts.
    Cheetah(Arc<Packing>),
    /// By correlated OTs, or in slots of ciphertexts.
    CryptFlow2(crypt_flow2::Layer),
}

/// An operation on bits, and by which protocols.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// What is computed.
    pub operation: Nonlinear,
    /// By what.
    pub by: Comparer,
}

/// The protocols of a family for one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparer {
    /// Carry trees with leaves of at most so many bits.
    Cheetah {
        /// `1..=4`.
        leaf_bits: u8,
    },
    /// Millionaires' protocols on digits.
    CryptFlow2,
    /// Circuits.
    Garbled,
}

/// What is opened, of one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reveal {
    /// Elements.
    pub elements: usize,
    /// Width of each.
    pub bits: u8,
}

impl Step {
    /// What it takes on a micro-batch, its own public keys included where it has some.
    pub fn cost(&self, keys: Keys, positions: usize) -> Cost {
        match self {
            Step::Local(local) => local.cost(positions),
            Step::Linear(linear) => linear.cost(keys, positions),
            Step::Compare(compare) => compare.cost(positions),
            Step::Reveal(reveal) => reveal.cost(positions),
        }
    }

    /// The packing of a linear layer of the `cheetah` family.
    pub fn packing(&self) -> Option<&Packing> {
        match self {
            Step::Linear(Linear::Cheetah(packing)) => Some(packing),
            Step::Linear(Linear::CryptFlow2(_)) => None,
            Step::Local(_) | Step::Compare(_) | Step::Reveal(_) => None,
        }
    }

    /// The slots of a linear layer by packed ciphertexts.
    pub fn slots(&self) -> Option<&Slots> {
        match self {
            Step::Linear(Linear::CryptFlow2(crypt_flow2::Layer::He(slots))) => Some(slots),
            Step::Linear(Linear::CryptFlow2(crypt_flow2::Layer::Ot(_)) | Linear::Cheetah(_)) => None,
            Step::Local(_) | Step::Compare(_) | Step::Reveal(_) => None,
        }
    }

    /// Whether it needs the extensions of the `crypt_flow2` family.
    pub fn extends(&self) -> bool {
        match self {
            Step::Linear(linear) => matches!(linear, Linear::CryptFlow2(_)),
            Step::Compare(compare) => compare.by == Comparer::CryptFlow2,
            Step::Local(_) | Step::Reveal(_) => false,
        }
    }
}

impl Local {
    fn cost(&self, positions: usize) -> Cost {
        let mut cost = Cost::default();
        // Both parties.
        cost.compute(self.primitive, 2 * (positions * self.elements) as u64);
        cost
    }
}

impl Linear {
    fn cost(&self, keys: Keys, positions: usize) -> Cost {
        match self {
            Linear::Cheetah(packing) => {
                let mut cost = if keys.serve_one(packing) { public_keys(positions) } else { Cost::default() };
                cost.then(&cheetah::cost(packing, positions));
                cost
            }
            Linear::CryptFlow2(layer) => layer.cost(positions),
        }
    }

    /// The layer's shape.
    pub fn geometry(&self) -> &Geometry {
        match self {
            Linear::Cheetah(packing) => packing.geometry(),
            Linear::CryptFlow2(layer) => layer.geometry(),
        }
    }

    /// Bytes that `party` keeps at once on so many positions beside the shares that are `alive`,
    /// each of so many bytes of one position, its `result`'s share included.
    pub fn peak_bytes(&self, party: Party, positions: u64, alive: u64, result: u64) -> u64 {
        let (upload, download) = match self {
            Linear::Cheetah(packing) => (packing.upload_bytes() as u64, packing.download_bytes() as u64),
            Linear::CryptFlow2(crypt_flow2::Layer::He(slots)) => {
                (slots.upload_bytes() as u64, slots.download_bytes() as u64)
            }
            Linear::CryptFlow2(crypt_flow2::Layer::Ot(products)) => {
                return positions * alive + products.peak_bytes(positions as usize);
            }
        };
        match party {
            // The message that is sent; or one that came and what is read out of it, by position
            // and in all.
            Party::Client => positions * (alive - result + upload).max(alive + download + result),
            Party::Server => positions * (alive - result + upload).max(alive + download),
        }
    }
}

impl Compare {
    fn cost(&self, positions: usize) -> Cost {
        match self.by {
            Comparer::Garbled => garbled::cost(&self.operation, positions),
            Comparer::Cheetah { .. } | Comparer::CryptFlow2 => {
                self.operation.cost(&|comparison, n| self.by.price(comparison, n), positions)
            }
        }
    }
}

impl Comparer {
    /// What one comparison of `n` elements takes.
    pub fn price(&self, comparison: &Comparison, n: usize) -> Cost {
        match *self {
            Comparer::Cheetah { leaf_bits } => comparison.cost(leaf_bits, n),
            Comparer::CryptFlow2 => crypt_flow2::compare::cost(comparison, n),
            Comparer::Garbled => garbled::Circuit::of(comparison).cost(n),
        }
    }
}

impl Reveal {
    /// One message: the server's share.
    fn cost(&self, positions: usize) -> Cost {
        let mut cost = Cost::default();
        cost.send(Party::Server, packed_bytes(positions * self.elements, self.bits));
        cost
    }
}
