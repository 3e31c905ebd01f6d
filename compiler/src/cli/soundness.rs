//! `fusionc soundness`.

use clap::ValueEnum;
use fusion_ir::soundness::{Batch, Forecast, Infeasible, Policy};

use super::output;
use crate::Error;

/// Find the cheapest batch for a policy and say what it proves: copies B, public samples T,
/// tolerated errors u
#[derive(clap::Args)]
pub(super) struct Args {
    /// Queries in the batch
    #[arg(long, value_name = "R")]
    queries: u64,
    /// Labels changed at chosen positions are accepted with probability at most 2^-BITS where the
    /// honest model is right; without --catch also one label for all inputs, or labels at random
    #[arg(long, value_name = "BITS", default_value_t = 40.0)]
    lambda: f64,
    /// A server wrong on this fraction of all inputs is caught with 99 %, instead of servers that
    /// ignore the inputs
    #[arg(long, value_name = "E")]
    catch: Option<f64>,
    /// An honest server is rejected with at most this probability
    #[arg(long, value_name = "F", default_value_t = 0.01)]
    false_reject: f64,
    /// The honest model's accuracy, at least
    #[arg(long, value_name = "A", default_value_t = 1.0)]
    accuracy: f64,
    /// Classes of the model
    #[arg(long, value_name = "K", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    classes: u64,
    /// The largest share of a label among inputs [default: that of balanced classes]
    #[arg(long, value_name = "S")]
    largest_share: Option<f64>,
    /// Fix the number of wrong public answers that are accepted
    #[arg(long, value_name = "U")]
    tolerate: Option<u64>,
    /// Fix the number of copies
    #[arg(long, value_name = "B")]
    copies: Option<u64>,
    /// Fix the number of public samples, instead of finding the cheapest
    #[arg(long, value_name = "T")]
    public: Option<u64>,
    /// Known-answer probes in the batch: queries of earlier accepted batches, none of which may be
    /// answered otherwise now
    #[arg(long, value_name = "K", default_value_t = 0)]
    probes: u64,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let Args { lambda, catch, false_reject, accuracy, tolerate, copies, .. } = *args;
    let balanced = 1.0 / args.classes as f64;
    let largest_share = args.largest_share.or(Some(balanced));
    if largest_share < Some(balanced) {
        let why =
            format!("--largest-share is at least one in {} classes: some label is on so many inputs", args.classes);
        return Err(Error::Usage(why));
    }
    let policy = Policy { lambda, catch, largest_share, false_reject, accuracy, tolerate, copies };
    let batch = match (args.public, args.copies) {
        (Some(public), Some(copies)) => {
            let batch = Batch {
                queries: args.queries,
                copies,
                public,
                tolerated: policy.tolerated(public),
                probes: args.probes,
            };
            // What a given batch proves is the answer, whether or not it was asked for; but the
            // question must make sense.
            match policy.check(&batch) {
                Ok(()) | Err(Infeasible::Unmet { .. }) => batch,
                Err(error) => return Err(Error::Usage(error.to_string())),
            }
        }
        (public, _) => {
            let planned = policy.plan_with_probes(args.queries, public, args.probes);
            planned.map_err(|e| Error::Usage(e.to_string()))?
        }
    };
    let forecast = Forecast::new(&batch, &policy, args.classes);
    match args.format {
        Format::Text => output::print(&forecast.to_string()),
        Format::Json => output::print(&(serde_json::json!(forecast).to_string() + "\n")),
    }
}
