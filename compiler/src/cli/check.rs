//! `fusionc check`.

use std::path::PathBuf;

use super::output;
use crate::import::{self, support};
use crate::{Error, compile};

/// Say of every node of an ONNX model whether it is supported; exit code 2 if one is not
#[derive(clap::Args)]
pub(super) struct Args {
    /// The ONNX file
    model: PathBuf,
    /// The input's extents, batch first, if the model leaves them open
    #[arg(long, value_name = "N,C,H,W", value_delimiter = ',')]
    input_shape: Option<Vec<usize>>,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let survey = import::survey(&args.model)?;
    let mut text = String::new();
    for row in &survey {
        let verdict = match &row.why_not {
            Some(why) => format!("NOT SUPPORTED: {why}"),
            None if row.constant => "evaluated at compile time".into(),
            None => "supported".into(),
        };
        text += &format!("{:<22} {:<32} {verdict}\n", row.op, row.node);
    }
    output::print(&text)?;
    let refused = support::refused(&survey);
    if !refused.is_empty() {
        return Err(Error::Unsupported(refused));
    }
    // The table knows operators; shapes, constants and what they combine to show here.
    let graph = import::read(&args.model, args.input_shape.as_deref());
    let graph = compile::simplify(graph.map_err(|error| import::name_operators(error, &args.model))?);
    output::print(&format!("all supported: {} layers after folding\n", graph.nodes.len()))
}
