//! What steps share: what is set up once for a session, and once for each position.

use fusion_ir::Party;

use crate::linear::{PUBLIC_KEY_BYTES, interleaved};
use crate::{Cost, Keys, Primitive, Step, crypt_flow2};

/// What the steps of a function need besides their own messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedSetup {
    /// A public key for each position: there are linear layers of the `cheetah` family without one of their own.
    pub public_keys: bool,
    /// The most levels of [output packing](interleaved) that one of those layers has: keys of so many for each position.
    pub levels: u32,
    /// The extensions of the `crypt_flow2` family, once for a session.
    pub extensions: bool,
    /// Keys of packed ciphertexts for each position, with rotations by these steps, if there are such layers.
    pub rotations: Option<Vec<usize>>,
}

impl SharedSetup {
    /// What these steps need with these keys.
    pub fn of<'s>(steps: impl IntoIterator<Item = &'s Step>, keys: Keys) -> SharedSetup {
        let mut shared = SharedSetup::default();
        let mut slots = Vec::new();
        for step in steps {
            shared.public_keys |= step.packing().is_some_and(|packing| !keys.serve_one(packing));
            shared.levels = step.packing().map_or(0, |packing| packing.levels()).max(shared.levels);
            shared.extensions |= step.extends();
            slots.extend(step.slots());
        }
        shared.rotations = (!slots.is_empty()).then(|| crypt_flow2::he::steps(slots));
        shared
    }

    /// The messages of setting up a session's layers, before any position. Its generator sets up as its
    /// [source](crate::ot::Supply::setup) does.
    pub fn once(&self) -> Cost {
        if self.extensions { crypt_flow2::ot::setup() } else { Cost::default() }
    }

    /// The messages that begin a micro-batch: the client's keys for each position, as far as layers share any.
    pub fn begin(&self, positions: usize) -> Cost {
        let mut cost = Cost::default();
        if self.public_keys {
            cost.then(&public_keys(positions));
        }
        if self.levels > 0 {
            (0..positions).for_each(|_| cost.send(Party::Client, interleaved::key_bytes(self.levels) as u64));
            let keys = positions * self.levels as usize * interleaved::KEYS_PER_LEVEL;
            cost.compute(Primitive::Ciphertext, keys as u64);
        }
        if let Some(rotations) = &self.rotations {
            let bytes = crypt_flow2::he::key_bytes(rotations.len());
            (0..positions).for_each(|_| cost.send(Party::Client, bytes as u64));
            let polynomials = positions * bytes / crypt_flow2::he::POLYNOMIAL_BYTES;
            cost.compute(Primitive::PackedKey, polynomials as u64);
        }
        cost
    }
}

/// A public key for each position.
pub(crate) fn public_keys(positions: usize) -> Cost {
    let mut cost = Cost::default();
    cost.send(Party::Client, (positions * PUBLIC_KEY_BYTES) as u64);
    cost.compute(Primitive::KeyPair, positions as u64);
    cost
}
