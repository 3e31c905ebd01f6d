//! The batch that a plan suggests.

use fusion_ir::op::Mix;
use fusion_ir::plan::Suggestion;

use crate::{Error, suggest};

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
        suggest::batch(self.of(self.queries))
    }

    /// What is suggested for another number of queries.
    pub fn of(&self, queries: u64) -> Suggestion {
        let PolicyArgs { lambda, catch, accuracy, .. } = *self;
        Suggestion { queries, lambda_bits: lambda, catch, accuracy }
    }
}
