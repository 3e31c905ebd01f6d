//! The batch that a plan suggests.

use fusion_ir::op::Mix;
use fusion_ir::plan::Suggestion;
use fusion_ir::soundness::Policy;

use crate::Error;

/// The batch to suggest; the client's own policy decides.
#[derive(clap::Args)]
pub(super) struct PolicyArgs {
    /// Suggested batch: number of queries
    #[arg(long, value_name = "R", default_value_t = 1024)]
    pub queries: u64,
    /// Suggested batch: a wrong label at fixed positions is accepted with probability at most
    /// 2^-BITS
    #[arg(long, value_name = "BITS", default_value_t = 40.0)]
    lambda: f64,
    /// Suggested batch: a server wrong on this fraction of all inputs is caught with 99 %
    #[arg(long, value_name = "E")]
    catch: Option<f64>,
    /// Suggested batch: the model's accuracy on inputs like the client's; 1 if not given, which
    /// tolerates no public error
    #[arg(long, value_name = "A")]
    accuracy: Option<f64>,
}

impl PolicyArgs {
    /// The suggestion and the cheapest batch that meets it.
    pub fn suggestion(&self) -> Result<(Suggestion, Mix), Error> {
        let PolicyArgs { queries, lambda, catch, accuracy } = *self;
        let policy = Policy { lambda, catch, accuracy: accuracy.unwrap_or(1.0), ..Policy::default() };
        let batch = policy.plan(queries, None).map_err(|e| Error::Usage(e.to_string()))?;
        let suggestion = Suggestion { queries, lambda_bits: lambda, catch, accuracy };
        Ok((suggestion, Mix { queries, copies: batch.copies, public: batch.public }))
    }
}
