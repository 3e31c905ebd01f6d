//! `fusionc check`.

use std::path::PathBuf;

use super::compile::PartArgs;
use super::output;
use crate::import;
use crate::{Error, compile};

/// Say of every node of an ONNX model whether it is supported; exit code 2 if one is not
#[derive(clap::Args)]
pub(super) struct Args {
    /// The ONNX file
    model: PathBuf,
    /// The input's extents, batch first, if the model leaves them open
    #[arg(long, value_name = "N,C,H,W", value_delimiter = ',')]
    input_shape: Option<Vec<usize>>,
    #[command(flatten)]
    part: PartArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let part = args.part.part();
    let survey = import::survey(&args.model, &part)?;
    let graph = import::read_part(&args.model, args.input_shape.as_deref(), &part);
    let graph = graph.map_err(|error| import::name_operators(error, &args.model));
    let refused = if let Err(Error::Unsupported(refused)) = &graph { refused.as_slice() } else { &[] };
    let mut text = String::new();
    for row in &survey {
        let why_not = refused.iter().find(|one| one.node == row.node).map(|one| &one.why);
        let verdict = match why_not {
            Some(why) => format!("NOT SUPPORTED: {why}"),
            None if row.constant => "evaluated at compile time".into(),
            None => "supported".into(),
        };
        text += &format!("{:<22} {:<32} {verdict}\n", row.op, row.node);
    }
    output::print(&text)?;
    let graph = compile::simplify(graph?);
    output::print(&format!("all supported: {} layers after folding\n", graph.nodes.len()))
}
