//! Operations resolved: what a value of a function is to the protocols, with everything that its
//! family decided about it.

use fusion_ir::Party;

use crate::cheetah::Packing;
use crate::compare::Nonlinear;
use crate::crypt_flow2::{self, he::Slots};
use crate::{Cost, Keys, Primitive, packed_bytes};

pub use crate::families::{Comparer, Linear, Product};

/// One value of a function, resolved.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Each party by itself on its own shares.
    Local(Local),
    /// A convolution or a fully connected layer.
    Linear(Linear),
    /// Products of shared matrices, whole ones: those of scalars are comparisons.
    Product(Product),
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

/// An operation on bits, and by which protocols.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// What is computed.
    pub operation: Nonlinear,
    /// By what.
    pub by: Comparer,
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
            Step::Linear(linear) => linear.layer().cost(keys, positions),
            Step::Product(product) => product.products().cost(keys, positions),
            Step::Compare(compare) => compare.by.with(keys).protocols().cost(&compare.operation, positions),
            Step::Reveal(reveal) => reveal.cost(positions),
        }
    }

    /// The packing of a linear layer of the `cheetah` family.
    pub fn packing(&self) -> Option<&Packing> {
        match self {
            Step::Linear(Linear::Cheetah(packing)) => Some(packing),
            Step::Linear(_) | Step::Product(_) | Step::Local(_) | Step::Compare(_) | Step::Reveal(_) => None,
        }
    }

    /// The packing of a layer that a session with these keys computes on a mask,
    /// [ahead](Keys::Ahead) of its operand.
    ///
    /// Those are the linear layers of the `cheetah` family. Both factors of a product of secret
    /// matrices are shared: nobody has weights that a mask could be multiplied with beforehand, so
    /// it is computed when its operands are there, whatever the keys.
    pub fn masked(&self, keys: Keys) -> Option<&Packing> {
        match (keys, self) {
            (Keys::Ahead, Step::Linear(Linear::Cheetah(packing))) => Some(packing),
            (Keys::Ahead, Step::Linear(_) | Step::Product(_)) => None,
            (Keys::Ahead, Step::Local(_) | Step::Compare(_) | Step::Reveal(_)) => None,
            (Keys::Layer | Keys::Position, _) => None,
        }
    }

    /// The levels of output packing of a step whose ciphertexts are those of the `cheetah` family;
    /// `None` of others.
    pub fn levels(&self) -> Option<u32> {
        match self {
            Step::Linear(Linear::Cheetah(packing)) => Some(packing.levels()),
            Step::Product(Product::Cheetah(product)) => Some(product.levels()),
            Step::Linear(_) | Step::Product(_) | Step::Local(_) | Step::Compare(_) | Step::Reveal(_) => None,
        }
    }

    /// The slots of a linear layer by packed ciphertexts.
    pub fn slots(&self) -> Option<&Slots> {
        match self {
            Step::Linear(Linear::CryptFlow2(crypt_flow2::Layer::He(slots))) => Some(slots),
            Step::Linear(_) | Step::Product(_) | Step::Local(_) | Step::Compare(_) | Step::Reveal(_) => None,
        }
    }

    /// Whether it needs the extensions of the `crypt_flow2` family.
    pub fn extends(&self) -> bool {
        match self {
            Step::Linear(linear) => matches!(linear, Linear::CryptFlow2(_)),
            Step::Product(product) => matches!(product, Product::CryptFlow2(_)),
            Step::Compare(compare) => matches!(compare.by, Comparer::CryptFlow2(_)),
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

impl Reveal {
    /// One message: the server's share.
    fn cost(&self, positions: usize) -> Cost {
        let mut cost = Cost::default();
        cost.send(Party::Server, packed_bytes(positions * self.elements, self.bits));
        cost
    }
}
