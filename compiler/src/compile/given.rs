//! What the user gives: a model, samples, their labels, and what things are called.

use fusion_ir::Schema;
use fusion_ir::op::Reveal;
use fusion_ir::verify::MAX_TOP;
use fusion_table::{Classes, LabelFile};

use super::Options;
use crate::build::simplify;
use crate::import::{self, Imported};
use crate::nn::{Graph, commute, trees};
use crate::quantise::calibrate::Calibration;
use crate::schema::schema;
use crate::setting::Setting;
use crate::{Error, samples};

/// The network, simplified, where only what is revealed matters.
pub(super) fn network(options: &Options) -> Result<Imported, Error> {
    let part = options.part();
    let network = import::read_part(&options.model, options.input_shape.as_deref(), &part, options.memory)?;
    let graph = simplify(hidden(network.graph, options)?);
    let graph = if matches!(options.reveal, Reveal::Logits | Reveal::Value) {
        graph
    } else {
        commute::without_stretching(graph)
    };
    Ok(Imported { graph, ..network })
}

/// The network with the shape of its trees hidden as far as asked for.
pub(super) fn hidden(graph: Graph, options: &Options) -> Result<Graph, Error> {
    let Some(hide) = options.hide_shape else { return Ok(graph) };
    trees::hide(graph, hide).map_err(|why| Error::Usage(format!("{}: {why}", Setting::HideShape)))
}

/// Refuses to reveal more labels than there are, or values of a model that names classes.
pub(super) fn revealable(reveal: Reveal, classes: Classes<'_>) -> Result<(), Error> {
    let (classes, named) = (classes.count, !classes.names.is_empty());
    let most = classes.min(MAX_TOP);
    match reveal {
        Reveal::Value if named => Err(Error::Usage(format!(
            "{} value is for a model that answers numbers, and this one names classes: label, topk:K or logits",
            Setting::Reveal
        ))),
        Reveal::TopK(k) if usize::from(k) > most => {
            Err(Error::Usage(format!("{} topk:{k}: this model has {classes} classes; at most {most}", Setting::Reveal)))
        }
        _ => Ok(()),
    }
}

/// What the user's samples are and say.
pub(super) struct Given {
    pub calibration: Calibration,
    pub schema: Schema,
    pub notices: Vec<String>,
}

pub(super) fn read_samples(options: &Options, graph: &Graph, network: &Imported) -> Result<Given, Error> {
    let Imported { inputs, prefix, classes: own, .. } = network;
    if let Some(Err(why)) = prefix.as_ref().map(|prefix| prefix.check(graph.input_shape().iter().product())) {
        return Err(Error::Usage(format!("what the client would do before this model cannot be done: {why}")));
    }
    let classes = graph.nodes.last().map_or(0, crate::nn::Node::len);
    let Some(path) = &options.calibrate else {
        let schema = Schema { prefix: prefix.clone(), ..schema(&options.names, inputs, (classes, own), None, &[])? };
        return Ok(Given { calibration: Calibration::synthetic(graph), schema, notices: Vec::new() });
    };
    let others: Vec<&LabelFile> = [&options.labels, &options.checks.expected].into_iter().flatten().collect();
    let files = std::iter::once(path).chain(others.iter().map(|of| &of.path));
    files.into_iter().try_for_each(|path| options.memory.admit(path))?;
    let file = samples::open(path)?;
    let apart: Vec<&str> = others.into_iter().filter_map(|of| samples::apart(path, of)).collect();
    let schema = schema(&options.names, inputs, (classes, own), file.table(), &apart)?;
    let schema = Schema { prefix: prefix.clone(), ..schema };
    let (shape, any) = (graph.input_shape(), trees::decide_alone(graph));
    let (samples, notices) = samples::samples(path, &file, shape, &schema, &apart, any)?;
    let calibration = Calibration::of(samples, graph).with_elements(network.elements);
    Ok(Given { calibration, schema, notices })
}

/// The labels of the calibration samples; the file may have more of both.
pub(super) fn labels(of: &LabelFile, calibration: &Calibration, classes: Classes<'_>) -> Result<Vec<i64>, Error> {
    let mut labels = samples::labels(of, calibration.total, classes)?;
    labels.truncate(calibration.samples.len());
    Ok(labels)
}
