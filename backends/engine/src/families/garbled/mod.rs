//! Garbled circuits for operations that look at bits: one round trip, whatever the circuit's depth.
//!
//! The **server garbles** and the client evaluates: half gates (Zahur, Rosulek and Evans,
//! EUROCRYPT 2015) over free XORs (`gates`), the circuits of `circuits`. The circuit adds the
//! shares up, computes, and adds a mask that the server draws; the client's share is what it
//! decodes, the server's is minus the mask. Results are those of [`fusion_ir::interp`] bit for bit,
//! messages those of [`fusion_catalogue::garbled`].
//!
//! **Who learns what.** The client sends choices of OTs that it receives, each masked by a random
//! one, and nothing else. It never checks a label, so it cannot fail on a gate that a malicious
//! server has garbled wrongly: from whatever it receives it decodes *some* share, and goes on. So a
//! malicious server learns nothing; it can make the result wrong by an error that may depend on
//! this position's values, as in the other families. The client, which follows the protocol, sees
//! one label of every wire, and of the result what is masked by uniform bits: half gates hide the
//! rest if the hash is circular correlation robust for naturally derived keys (Guo et al., IEEE S&P
//! 2020, give it in the ideal-permutation model).

mod circuits;
mod gates;
mod run;
#[cfg(test)]
mod tests;

use chacha20::ChaCha20Rng;
use fusion_catalogue::compare::{Comparison, Nonlinear};
use fusion_catalogue::garbled::{Comparisons, Layer, Products};
use fusion_catalogue::{Keys, SharedSetup};
use fusion_ir::Party;

use super::{Place, Task};
use crate::compare::{self, Compare};
use crate::ot::Generator;
use crate::{Channel, Error};

pub use gates::GateHash;

/// One party's state of the family through a session: the hash, whose tweaks never come twice.
pub struct Engine {
    hash: GateHash,
    rng: ChaCha20Rng,
}

impl super::Engine for Engine {
    type Batch = ();
    type Layer = Layer;
    type Products = Products;
    type Comparisons = Comparisons;

    fn new(session_id: &[u8; 32]) -> Result<Engine, Error> {
        Ok(Engine { hash: GateHash::new(session_id), rng: crate::ot::os_rng()? })
    }

    fn set_up(&mut self, _: &mut Place<'_>, _: &SharedSetup, _: Keys) -> Result<(), Error> {
        Ok(())
    }

    fn begin(&mut self, _: &mut Place<'_>, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn linear(&mut self, _: &mut Place<'_>, (): &mut (), layer: &Layer, _: Task<'_>) -> Result<Vec<u64>, Error> {
        match *layer {}
    }

    fn product(
        &mut self,
        _: &mut Place<'_>,
        (): &mut (),
        products: &Products,
        _: [&[u64]; 2],
        _: usize,
    ) -> Result<Vec<u64>, Error> {
        match *products {}
    }

    fn compare(
        &mut self,
        place: &mut Place<'_>,
        _: &Comparisons,
        operation: &Nonlinear,
        operands: &[&[u64]],
        positions: usize,
    ) -> Result<Vec<u64>, Error> {
        let (channel, correlations) = (&mut *place.channel, &mut *place.correlations);
        let ctx = &mut Ctx { party: place.party, channel, correlations, state: self };
        match *operation {
            Nonlinear::ArgMax { bits, index_bits, classes } => arg_max(ctx, bits, index_bits, classes, operands[0]),
            _ => compare::evaluate(ctx, operation, operands, positions),
        }
    }
}

/// One party's place in a session, as this family needs it.
pub struct Ctx<'a> {
    /// Who this is.
    pub party: Party,
    /// The connection to the peer.
    pub channel: &'a mut dyn Channel,
    /// Where random OTs come from.
    pub correlations: &'a mut Generator,
    /// The family's state.
    pub state: &'a mut Engine,
}

impl Compare for Ctx<'_> {
    fn party(&self) -> Party {
        self.party
    }

    fn compare(&mut self, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error> {
        circuits::compare(self, operation, operands)
    }
}

/// Shares mod `2^index_bits` of [`Op::ArgMax`](fusion_ir::Op::ArgMax) of every `classes` elements
/// of `x`, in one circuit.
///
/// # Panics
/// If `x` is not a whole number of vectors.
pub fn arg_max(ctx: &mut Ctx, bits: u8, index_bits: u8, classes: usize, x: &[u64]) -> Result<Vec<u64>, Error> {
    circuits::arg_max(ctx, bits, index_bits, classes, x)
}
