//! The protocols of CrypTFlow2 (Rathee et al., CCS 2020; IACR ePrint 2020/1002), as one more family
//! over the same operations: the millionaires' protocol on digits of four bits, and what is built
//! of it.
//!
//! Operands and results are shares `x = x_client + x_server mod 2^bits`; results are those of
//! [`fusion_ir::interp`] bit for bit, and messages those of [`fusion_catalogue::crypt_flow2`]. OTs
//! are extended in every run, without preprocessing, as in the paper.
//!
//! **Who learns what.** Nothing: what the client sends are sums with key streams that the server
//! lacks, and bits and words masked by pads that are used once; so it is uniform, whatever a
//! malicious server does. The client never aborts on what a message says, but for the consistency
//! check of IKNP where the server receives, which does not depend on any secret of this layer. What
//! the server sends is masked likewise, against a client that follows the protocol.

pub mod bfv;
mod elementwise;
mod gates;
pub mod he;
pub mod matmul;
mod opening;
#[cfg(test)]
mod tests;

use fusion_catalogue::compare::{Comparison, Nonlinear};
use fusion_catalogue::crypt_flow2::he::key_bytes;
use fusion_catalogue::crypt_flow2::{Comparisons, Layer, Products, Schedule};
use fusion_catalogue::{Keys, SharedSetup};
use fusion_ir::types::{mask, signed};
use fusion_ir::{Function, Party, Value, Weights, interp};
use rayon::prelude::*;

use super::{Place, Task};
use crate::compare::pieces::{Results, pieces};
use crate::compare::{Compare, evaluate};
use crate::ot::Extensions;
use crate::{Channel, Error, Kind};

/// One party's half of the family.
pub(crate) struct Engine {
    /// There if a step needs them.
    extensions: Option<Extensions>,
    /// Steps of the rotations of packed ciphertexts, if there are any.
    rotations: Option<Vec<usize>>,
}

/// Keys of packed ciphertexts, for each position.
pub(crate) enum Batch {
    None,
    Client(Vec<bfv::ClientKey>),
    Server(Vec<bfv::ServerKey>),
}

impl Engine {
    fn ctx<'s>(&'s mut self, place: &'s mut Place<'_>) -> Ctx<'s> {
        let extensions = self.extensions.as_mut().expect("every step of the family is set up for");
        Ctx { party: place.party, channel: &mut *place.channel, extensions }
    }
}

impl super::Engine for Engine {
    type Batch = Batch;
    type Layer = Layer;
    type Products = Products;
    type Comparisons = Comparisons;

    fn new(_: &[u8; 32]) -> Result<Engine, Error> {
        Ok(Engine { extensions: None, rotations: None })
    }

    fn set_up(&mut self, place: &mut Place<'_>, shared: &SharedSetup, _: Keys) -> Result<(), Error> {
        self.rotations.clone_from(&shared.rotations);
        if shared.extensions && self.extensions.is_none() {
            self.extensions = Some(Extensions::establish(place.party, &mut *place.channel, place.session_id)?);
        }
        Ok(())
    }

    fn begin(&mut self, place: &mut Place<'_>, positions: usize) -> Result<Batch, Error> {
        let Some(rotations) = &self.rotations else { return Ok(Batch::None) };
        Ok(match place.party {
            Party::Client => {
                let mut keys = Vec::with_capacity(positions);
                for _ in 0..positions {
                    let (key, message) = bfv::ClientKey::generate(rotations)?;
                    place.channel.send(Kind::PublicKeys, message)?;
                    keys.push(key);
                }
                Batch::Client(keys)
            }
            Party::Server => {
                let mut keys = Vec::with_capacity(positions);
                for _ in 0..positions {
                    let message = place.channel.receive(Kind::PublicKeys, key_bytes(rotations.len()))?;
                    keys.push(bfv::ServerKey::decode(&message, rotations)?);
                }
                Batch::Server(keys)
            }
        })
    }

    fn linear(
        &mut self,
        place: &mut Place<'_>,
        batch: &mut Batch,
        layer: &Layer,
        task: Task<'_>,
    ) -> Result<Vec<u64>, Error> {
        let Task { steps, id, weights, share, positions } = task;
        let (function, value) = (steps.function(), steps.function().value(id));
        let ctx = &mut self.ctx(place);
        let Some(weights) = weights else {
            return match (layer, batch) {
                (Layer::He(slots), Batch::Client(keys)) => he::client(ctx, slots, keys, share),
                (Layer::He(_), _) => unreachable!("keys are there for every packed layer"),
                (Layer::Ot(products), _) => matmul::client(ctx, products, positions, share),
            };
        };
        let kernel = weights.get(value.op.kernel().expect("a linear layer has a kernel"));
        let mut result = match (layer, batch) {
            (Layer::He(slots), Batch::Server(keys)) => he::server(ctx, slots, keys, kernel)?,
            (Layer::He(_), _) => unreachable!("keys are there for every packed layer"),
            (Layer::Ot(products), _) => matmul::server(ctx, products, positions, kernel)?,
        };
        add_own(function, value, weights, share, &mut result);
        Ok(result)
    }

    fn product(
        &mut self,
        _: &mut Place<'_>,
        _: &mut Batch,
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
        evaluate(&mut self.ctx(place), operation, operands, positions)
    }
}

/// One party's place in a session, as this family needs it.
pub struct Ctx<'a> {
    /// Who this is.
    pub party: Party,
    /// The connection to the peer.
    pub channel: &'a mut dyn Channel,
    /// Where OTs come from.
    pub extensions: &'a mut Extensions,
}

impl Compare for Ctx<'_> {
    fn party(&self) -> Party {
        self.party
    }

    fn compare(&mut self, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error> {
        run(self, operation, operands)
    }
}

/// `operation` on shares of equally many elements: one operand `x`, or `a, b`, or `a, b, i, j`.
/// Returns the shares of the one result, or of maximum and index. Exchanges exactly the messages of
/// [`fusion_catalogue::crypt_flow2::compare::cost`].
///
/// # Panics
/// If there are not as many operands as the operation has, or they differ in length.
pub fn run(ctx: &mut Ctx, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error> {
    let schedule = Schedule::of(operation);
    let n = operands[0].len();
    let mut results = Results::new(operation, n);
    for chunk in pieces(operation, operands, operation.chunks(n)) {
        results.append(elementwise::evaluate(ctx, &schedule, operation, &chunk)?);
    }
    Ok(results.all())
}

/// Adds to `result` what a linear layer gives on the server's own share, bias included; all
/// position-major.
///
/// # Panics
/// If `value` is no linear layer of `function`, or the lengths do not fit.
pub fn add_own(function: &Function, value: &Value, weights: &Weights, share: &[u64], result: &mut [u64]) {
    let operand = &function.value(value.operands[0]).ty;
    let bits = value.ty.bits;
    let positions = result.par_chunks_mut(value.ty.len()).zip(share.par_chunks(operand.len()));
    positions.for_each(|(result, share)| {
        let share: Vec<i64> = share.iter().map(|x| signed(*x, operand.bits)).collect();
        let own = interp::apply(function, value, weights, &[&share], &[]);
        result.iter_mut().zip(own).for_each(|(y, own)| *y = y.wrapping_add(own as u64) & mask(bits));
    });
}
