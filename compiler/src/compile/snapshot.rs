//! The pipeline up to some stage.

use fusion_ir::{Function, Schema};
use fusion_table::Classes;

use super::Options;
use super::given::{Given, network, read_samples, revealable};
use crate::build::{Prepared, carried, prepare};
use crate::lower::lower;
use crate::nn::Graph;
use crate::{Error, import, passes};

/// Stages of the pipeline that can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The float network as imported and folded.
    Import,
    /// Naive fixed point.
    Fixed,
    /// After all passes, gadgets in place, no backend chosen.
    Gadgets,
    /// As executed.
    Plan,
}

/// A function or, before lowering, the float network.
#[derive(Clone, Debug)]
pub enum Snapshot {
    /// The float network.
    Graph(Graph),
    /// The secure IR, and what its inputs and classes are called and made of.
    Function(Function, Box<Schema>),
}

/// Runs the pipeline up to `stage` and returns what it has then.
///
/// # Errors
/// As [`compile`](super::compile()).
pub fn snapshot(options: &Options, stage: Stage) -> Result<Snapshot, Error> {
    stopped(options, stage).map_err(|error| import::name_operators(error, &options.model))
}

fn stopped(options: &Options, stage: Stage) -> Result<Snapshot, Error> {
    let network = network(options)?;
    let graph = network.graph.clone();
    if stage == Stage::Import {
        return Ok(Snapshot::Graph(graph));
    }
    let Given { calibration, schema, .. } = read_samples(options, &graph, &network)?;
    let count = graph.nodes.last().map_or(0, crate::nn::Node::len);
    revealable(options.reveal, Classes { count, names: &schema.classes })?;
    let precision = options.precision(&network, &graph)?;
    let Prepared { graph, observed, .. } = prepare(&graph, &calibration, &precision)?;
    let (mut program, _) = lower(&graph, &observed, &precision)?;
    match stage {
        Stage::Import | Stage::Fixed => {}
        Stage::Gadgets => passes::run(&mut program, &options.settings(), Some("gadgets"))?,
        Stage::Plan => {
            passes::run(&mut program, &options.settings(), None)?;
            carried(&program.function)?;
        }
    }
    Ok(Snapshot::Function(program.function, Box::new(schema)))
}
