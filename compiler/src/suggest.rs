//! What a plan is made for: the batch that it suggests, and how that would go through the layers.

use fusion_catalogue::Schedule;
use fusion_ir::op::Mix;
use fusion_ir::plan::Suggestion;
use fusion_ir::soundness::Policy;

use crate::Error;

/// Positions that are taken to go through the layers together in a batch that has as many: about
/// what fits memory for a large network. What they share is nearly shared out by then, so the
/// choice of backends hardly depends on it.
const MICRO_BATCH: u32 = 16;

/// The cheapest batch that meets a suggestion, beside it: what a verified plan carries.
///
/// # Errors
/// [`Error::Usage`] if no batch meets it.
pub fn batch(suggestion: Suggestion) -> Result<(Suggestion, Mix), Error> {
    let Suggestion { queries, lambda_bits: lambda, catch, accuracy } = suggestion;
    let policy = Policy { lambda, catch, accuracy: accuracy.unwrap_or(1.0), ..Policy::default() };
    let batch = policy.plan(queries, None).map_err(|why| Error::Usage(why.to_string()))?;
    Ok((suggestion, Mix { queries, copies: batch.copies, public: batch.public }))
}

/// How a batch of so many positions is taken to go through the layers.
pub fn schedule(positions: u64) -> Schedule {
    Schedule::new(positions.max(1), MICRO_BATCH, Schedule::USUAL_STREAMS)
}
