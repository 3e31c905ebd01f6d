//! The protocols of CrypTFlow2 (Rathee et al., CCS 2020; IACR ePrint 2020/1002), as one more family over the same operations: the
//! millionaires' protocol on digits of four bits, and what is built of it.
//!
//! Operands and results are shares `x = x_client + x_server mod 2^bits`; results are those of [`fusion_ir::interp`] bit for bit, and
//! messages those of [`fusion_catalogue::crypt_flow2`]. OTs are extended in every run, without preprocessing, as in the paper.
//!
//! **Who learns what.** Nothing: what the client sends are sums with key streams that the server lacks, and bits and words masked
//! by pads that are used once; so it is uniform, whatever a malicious server does. The client never aborts on what a message says, but for
//! the consistency check of IKNP where the server receives, which does not depend on any secret of this layer. What the server
//! sends is masked likewise, against a client that follows the protocol.

pub mod bfv;
mod elementwise;
mod gates;
pub mod he;
pub mod matmul;
mod opening;
#[cfg(test)]
mod tests;

use fusion_catalogue::compare::Comparison;
use fusion_catalogue::crypt_flow2::Schedule;
use fusion_ir::types::{mask, signed};
use fusion_ir::{Function, Party, Value, Weights, interp};
use rayon::prelude::*;

use crate::compare::{Compare, in_pieces};
use crate::ot::Extensions;
use crate::{Channel, Error};

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

/// `operation` on shares of equally many elements: one operand `x`, or `a, b`, or `a, b, i, j`. Returns the shares of the one
/// result, or of maximum and index. Exchanges exactly the messages of [`fusion_catalogue::crypt_flow2::compare::cost`].
///
/// # Panics
/// If there are not as many operands as the operation has, or they differ in length.
pub fn run(ctx: &mut Ctx, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error> {
    let schedule = Schedule::of(operation);
    let chunks = operation.chunks(operands[0].len());
    in_pieces(operation, operands, chunks, |part| elementwise::evaluate(ctx, &schedule, operation, part))
}

/// Adds to `result` what a linear layer gives on the server's own share, bias included; all position-major.
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
