//! Comparisons by carry trees.
//!
//! Operands and results are shares `x = x_client + x_server mod 2^bits` as `u64 < 2^bits`. [`run`]
//! is the elementwise protocol of [`Comparison`], which also states each operation's exact
//! messages. Results are those of [`fusion_ir::interp`] bit for bit.
//!
//! The millionaire core follows Cheetah (Huang et al., USENIX Security 2022, section 4) and
//! CrypTFlow2 (Rathee et al., CCS 2020, section 3) with leaves of a few bits (`leaves`), and one
//! tree for both the carry out of the dropped bits and the sign. Unlike theirs, an AND of shared
//! bits is a Beaver triple made of one random OT in each direction without communication, so a
//! level of the tree is one exchange (`gates`).
//!
//! **Who learns what.** Nothing: every bit and word that is sent is masked by a pad that is used
//! once, so every message that the honest party sends is uniform, whatever its peer does. A
//! malicious peer can make results wrong by an error that may depend on this position's values, as
//! if another function had been computed; it does not learn the result. It causes no failure that
//! depends on them, since the only failures are messages of a wrong size or with filling bits set,
//! and those of the OT extension.

mod elementwise;
mod gates;
mod leaves;
#[cfg(test)]
mod tests;
mod tree;

use fusion_catalogue::cheetah::Leaves;
use fusion_catalogue::compare::Comparison;
use fusion_ir::Party;

use crate::compare::Compare;
use crate::compare::pieces::{Results, pieces};
use crate::ot::{Generator, Pads};
use crate::{Channel, Error};

/// One party's place in a session, as comparisons need it.
pub struct Ctx<'a> {
    /// Who this is.
    pub party: Party,
    /// The connection to the peer.
    pub channel: &'a mut dyn Channel,
    /// Where random OTs come from.
    pub correlations: &'a mut Generator,
    /// How carry trees begin; the same at both parties.
    pub leaves: Leaves,
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
/// [`Comparison::cost`].
///
/// # Panics
/// If there are not as many operands as the operation has, or they differ in length.
pub fn run(ctx: &mut Ctx, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error> {
    let n = operands[0].len();
    let mut results = Results::new(operation, n);
    for wave in pieces(operation, operands, operation.waves(n)) {
        let pads = draw(ctx, operation, wave[0].len())?;
        results.append(online(ctx, pads, operation, &wave)?);
    }
    Ok(results.all())
}

/// Draws what one wave of `n` elements needs, chunk by chunk.
pub fn draw(ctx: &mut Ctx, operation: &Comparison, n: usize) -> Result<Pads, Error> {
    let mut pads = Pads::default();
    for chunk in operation.chunks(n) {
        pads.append(ctx.correlations.draw(&operation.need(ctx.leaves, chunk.len()))?);
    }
    Ok(pads)
}

/// The online phase of one wave: consumes exactly what [`Comparison::need`] says and exchanges the
/// messages of [`Comparison::online`].
///
/// # Panics
/// If `pads` are not what the operation needs.
pub fn online(ctx: &mut Ctx, pads: Pads, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error> {
    let mut gates = gates::Gates::new(ctx.party, ctx.channel, pads, ctx.leaves, operands[0].len());
    let results = elementwise::evaluate(&mut gates, operation, operands)?;
    assert!(gates.finished(), "pads left over");
    Ok(results)
}
