//! The pipeline behind the import: from a float network and calibration samples to the program that
//! the parties execute.

use std::collections::HashMap;

use fusion_catalogue::Steps;
use fusion_ir::{Function, Op};

use crate::Error;
use crate::lower::{Formats, lower};
use crate::nn::eval::Observed;
use crate::nn::scales::Scales;
use crate::nn::{Graph, commute, compose, fold, gates, mask};
use crate::passes::{self, Program, Settings};
use crate::quantise::calibrate::Calibration;
use crate::quantise::{Precision, equalise, input};

/// Most calibration samples that are named because they stand out.
pub(crate) const MAX_NAMED: usize = 8;

/// A folded network as a program that can be executed.
#[derive(Clone, Debug)]
pub struct Built {
    /// The function with its weights.
    pub program: Program,
    /// The formats of linear layers and of products of secret matrices.
    pub formats: Formats,
    /// What the float network does on the calibration samples.
    pub observed: Observed,
    /// The float network as it was lowered, in units that fit its number formats.
    pub graph: Graph,
    /// What deserves attention.
    pub warnings: Vec<String>,
}

/// What is done on floats: affine maps folded, rising functions behind pools, products with their
/// gates apart.
pub fn simplify(graph: Graph) -> Graph {
    gates::split(commute::commute(fold::fold(graph)))
}

/// What only the calibration samples decide: how far down masked scores lie, which roundings are
/// felt.
///
/// # Errors
/// [`Error::Unsupported`] for a node all of whose scores are masked.
fn settle(graph: Graph, calibration: &Calibration) -> Result<(Graph, Vec<String>), Error> {
    if !mask::unsettled(&graph) {
        return Ok((graph, Vec::new()));
    }
    let settled = mask::settle(&graph, &calibration.samples).map_err(|why| Error::Unsupported(vec![why]))?;
    let (settled, hidden) = settled;
    let warning = || {
        format!(
            "{hidden} of {} calibration samples have rows of scores that are all masked; the result does not depend on \
             them there, which nobody has checked for other samples",
            calibration.samples.len()
        )
    };
    Ok((simplify(compose::chained(settled)), (hidden > 0).then(warning).into_iter().collect()))
}

/// From a folded, settled network to what the parties
/// execute.
///
/// # Errors
/// [`Error::Unsupported`] for layers that no format or protocol holds, [`Error::Usage`] as
/// [`Calibration::observe`].
pub fn build(
    graph: &Graph,
    calibration: &Calibration,
    precision: &Precision,
    settings: &Settings,
) -> Result<Built, Error> {
    let Prepared { graph, observed, warnings } = prepare(graph, calibration, precision)?;
    let (mut program, mut formats) = lower(&graph, &observed, precision)?;
    passes::run(&mut program, settings, None)?;
    carried(&program.function)?;
    // Sums that joined an accumulator may have widened it, and so may layers that joined it.
    let mut bits: HashMap<&str, u8> = HashMap::new();
    for value in program.function.values.iter().filter(|value| matches!(value.op, Op::Conv(_) | Op::Dense { .. })) {
        bits.entry(&value.node).or_insert(value.ty.bits);
    }
    // A name of the model's own may have the sign in it that joins names.
    for value in &program.function.values {
        let Some(own) = bits.get(value.node.as_str()).copied() else { continue };
        value.node.split(passes::JOINT).for_each(|part| {
            bits.entry(part).or_insert(own);
        });
    }
    for layer in &mut formats.layers {
        layer.accumulator_bits = bits.get(layer.node.as_str()).copied().unwrap_or(layer.accumulator_bits);
    }
    Ok(Built { program, formats, observed, graph, warnings })
}

/// A network in units that fit its number formats, and what it does on the calibration samples.
pub(crate) struct Prepared {
    pub graph: Graph,
    pub observed: Observed,
    pub warnings: Vec<String>,
}

/// The network in units that fit its number formats: features of the input and channels inside are
/// scaled by powers of two.
pub(crate) fn prepare(graph: &Graph, calibration: &Calibration, precision: &Precision) -> Result<Prepared, Error> {
    let (graph, mut warnings) = settle(graph.clone(), calibration)?;
    let (mut graph, found) = input::fit(&graph, &calibration.samples, calibration.elements, precision.input_bits);
    warnings.extend(found);
    let scales = Scales::of(&graph);
    let (mut observed, outliers) = calibration.observe(&graph, &scales)?;
    warnings.extend(outliers.iter().take(MAX_NAMED).map(ToString::to_string));
    if outliers.len() > MAX_NAMED {
        warnings.push(format!("{} more calibration samples stand out like that", outliers.len() - MAX_NAMED));
    }
    if let Some(exponents) = equalise::exponents(&graph, &scales, &observed.channels) {
        scales.apply(&mut graph, &exponents);
        observed = calibration.observe(&graph, &scales)?.0;
    }
    Ok(Prepared { graph, observed, warnings })
}

/// Every layer fits the protocols that would carry it.
pub(crate) fn carried(function: &Function) -> Result<(), Error> {
    Steps::of(function).map(|_| ()).map_err(Error::from)
}
