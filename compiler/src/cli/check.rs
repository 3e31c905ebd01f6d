//! `fusionc check`.

use std::path::PathBuf;

use super::compile::PartArgs;
use super::{MemoryArgs, in_flags, output};

use crate::compile::{self, Options, Snapshot, Stage};
use crate::{Error, import};

/// Say of every node of an ONNX model whether it is supported, and what else is in the way; exit
/// code 2 if anything is
#[derive(clap::Args)]
pub(super) struct Args {
    /// The ONNX file
    model: PathBuf,
    /// The input's extents, batch first, if the model leaves them open
    #[arg(long, value_name = "N,C,H,W", value_delimiter = ',')]
    input_shape: Option<Vec<usize>>,
    /// Typical inputs (.npy, .csv or .parquet), as for compile
    #[arg(long, value_name = "X.npy")]
    calibrate: Option<PathBuf>,
    #[command(flatten)]
    part: PartArgs,
    #[command(flatten)]
    memory: MemoryArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let options = Options {
        calibrate: args.calibrate.clone(),
        input_shape: args.input_shape.clone(),
        part: args.part.part(),
        reveal: args.part.reveal,
        memory: args.memory.max_memory,
        ..Options::new(args.model.clone())
    };
    let survey = import::survey(&args.model, &options.part(), options.memory)?;
    // As far as compile goes, so that both say the same.
    let planned = compile::snapshot(&options, Stage::Plan);
    let refused = if let Err(Error::Unsupported(refused)) = &planned { refused.as_slice() } else { &[] };
    let mut text = String::new();
    for row in &survey {
        let why_not = refused.iter().find(|one| one.node == row.node).map(|one| &one.why);
        let verdict = match why_not {
            Some(why) => format!("NOT SUPPORTED: {}", in_flags(why)),
            None if row.constant => "evaluated at compile time".into(),
            None => "supported".into(),
        };
        text += &format!("{:<22} {:<32} {verdict}\n", row.op, row.node);
    }
    output::print(&text)?;
    let Snapshot::Function(function, _) = planned? else { return Ok(()) };
    if let Some(samples) = compile::fixed_batch(&options)? {
        output::print(&format!(
            "its batch axis is fixed to {samples}: the plan takes one sample, whose answer is the same\n"
        ))?;
    }
    let formats = if options.calibrate.is_some() { "" } else { ", with number formats for made-up samples" };
    output::print(&format!("all supported: {} operations in the plan{formats}\n", function.values.len()))
}
