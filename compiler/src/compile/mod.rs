//! The whole pipeline as one call: model and calibration in, plan and summary out.

mod batch;
mod given;
mod meaning;
mod options;
mod snapshot;
mod trial;
mod warnings;

use fusion_ir::Plan;
use fusion_ir::op::Reveal;
use fusion_ir::plan::{Demo, Provenance};
use fusion_table::{Classes, LabelFile};

pub use batch::fixed_batch;
pub use options::{Checks, Options};
pub use snapshot::{Snapshot, Stage, snapshot};

use crate::agreement::Agreement;
use crate::evaluate::Fullest;
use crate::import::Imported;
use crate::lower::{LayerFormat, ProductFormat};
use crate::oracle::Answer;
use crate::passes::Program;
use crate::refine::{self, Fixed, Refined};
use crate::setting::Setting;
use crate::{Error, compare, diagnose, import};
use given::{Given, hidden, labels, read_samples, revealable};
use meaning::Meaning;
use trial::{Judged, Trial};
use warnings::{clipped, fewer_than_one_label, rounded_trees, unlike_own_label, unused_prefix, warnings};

pub use crate::build::{Built, build, simplify};
pub use crate::progress::Progress;

/// Samples on which each layer's precision is measured.
const DIAGNOSED_SAMPLES: usize = 2;
/// Most demo samples in the server's plan.
const DEMO_SAMPLES: usize = 256;
/// Most elements of all demo samples together; each takes at most 2 bytes or so in the file.
const DEMO_ELEMENTS: usize = 2 << 20;

/// A compilation's result.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The server's plan; [`Plan::for_client`] gives the client's.
    pub plan: Plan,
    /// What to tell the user.
    pub summary: Summary,
}

/// Facts about a compilation.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The linear layers' formats.
    pub layers: Vec<LayerFormat>,
    /// Those of products of secret matrices.
    pub products: Vec<ProductFormat>,
    /// How often the fixed-point label is the float model's.
    pub agreement: Agreement,
    /// How precise each layer is on the first calibration samples.
    pub precision: Vec<diagnose::Precision>,
    /// Where the calibration samples come nearest to the end of a ring.
    pub fullest: Option<Fullest>,
    /// Why formats are finer than asked for, if they are.
    pub refined: Option<Refined>,
    /// Calibration samples whose fixed-point label is the given one, if labels were given.
    pub correct: Option<usize>,
    /// What deserves attention.
    pub warnings: Vec<String>,
}

/// Compiles a model.
///
/// # Errors
/// Everything in [`Error`]; nothing is written.
pub fn compile(options: &Options) -> Result<Compiled, Error> {
    compile_watched(options, &|_, _, _| ())
}

/// As [`compile`]; long steps tell `progress` how far they are.
///
/// # Errors
/// As [`compile`].
pub fn compile_watched(options: &Options, progress: &Progress) -> Result<Compiled, Error> {
    let part = options.part();
    let network = import::read_part(&options.model, options.input_shape.as_deref(), &part, options.memory);
    let compiled = network.and_then(|network| compile_network(options, network, progress));
    compiled.map_err(|error| import::name_operators(error, &options.model))
}

/// The part of [`compile`] behind the import. That `graph` is what the model means is checked, not
/// taken for granted.
///
/// # Errors
/// As [`compile`].
pub fn compile_network(
    options: &Options,
    network: impl Into<Imported>,
    progress: &Progress,
) -> Result<Compiled, Error> {
    let network: Imported = network.into();
    let graph = simplify(hidden(network.graph.clone(), options)?);
    let classes = graph.nodes.last().map_or(0, crate::nn::Node::len);
    let Given { calibration, schema, notices } = read_samples(options, &graph, &network)?;
    let named = Classes { count: classes, names: &schema.classes };
    let is_value = options.reveal == Reveal::Value;
    revealable(options.reveal, named)?;
    if options.labels.is_some() && options.calibrate.is_none() {
        return Err(Error::Usage(format!("{} needs {}: they label its samples", Setting::Labels, Setting::Calibrate)));
    }
    let of_labels = |of: &LabelFile| labels(of, &calibration, named);
    let labels = options.labels.as_ref().filter(|_| !is_value).map(of_labels).transpose()?;
    let of_values = |of: &LabelFile| compare::expected_values(of, calibration.total, classes);
    let values = options.labels.as_ref().filter(|_| is_value).map(of_values).transpose()?;
    let meant = Meaning::of(options, &network, &calibration, named, progress)?;
    let aim = if network.tabular { refine::EVERY_ROW } else { refine::USUAL };
    let aim = (options.refine && !is_value).then_some(aim);
    let precision = options.precision(&network, &graph)?;
    let fixed = refine::fixed(&graph, &calibration, precision, aim, &options.settings(), progress);
    let (fixed, refined) = fixed?;
    let trial = Trial { options, network: &network, calibration: &calibration, meant: &meant, fixed: &fixed };
    let Judged { agreement, beyond, tolerance, notices: other_scores } = trial.judge()?;
    let Fixed { built: Built { program, formats, graph, warnings: found, .. }, evaluated, .. } = &fixed;
    let found_labels = evaluated.labels();
    let right = |labels: &Vec<i64>| labels.iter().zip(&found_labels).filter(|(a, b)| a == b).count();
    let few = labels.as_ref().and_then(|labels| fewer_than_one_label(labels, right(labels)));
    let near =
        |values: &Vec<Answer>| evaluated.logits.len() - compare::within(&evaluated.logits, values, tolerance).len();
    let summary = Summary {
        precision: diagnose::layers(graph, &program.function, &program.weights, &trial.pairs(DIAGNOSED_SAMPLES)),
        fullest: evaluated.fullest_of_all(&program.function),
        warnings: [
            notices,
            other_scores,
            warnings(&calibration, formats, &agreement, graph.macs()),
            unused_prefix(options, &network),
            unlike_own_label(options, &network, &calibration).into_iter().collect(),
            rounded_trees(&network.graph).into_iter().collect(),
            few.into_iter().collect(),
            clipped(&beyond),
            found.clone(),
        ]
        .concat(),
        layers: formats.layers.clone(),
        products: formats.products.clone(),
        agreement,
        refined,
        correct: labels.as_ref().map(right).or(values.as_ref().map(near)),
    };
    let Fixed { built, quantised, .. } = fixed;
    let shown = labels.as_ref().unwrap_or(&found_labels);
    let demo = (!is_value).then(|| demo(quantised, shown, labels.is_some()));
    let provenance =
        Provenance { compiler: format!("fusionc {}", env!("CARGO_PKG_VERSION")), calibrated: calibration.real };
    let Program { function, weights } = built.program;
    let suggestion = options.verify.as_ref().map(|(suggestion, _)| suggestion.clone()).unwrap_or_default();
    let plan = Plan { function, weights: Some(weights), suggestion, provenance, schema, demo };
    Ok(Compiled { plan, summary })
}

fn demo(mut inputs: Vec<Vec<i64>>, labels: &[i64], labelled: bool) -> Demo {
    let len = inputs.first().map_or(1, Vec::len).max(1);
    inputs.truncate((DEMO_ELEMENTS / len).clamp(1, DEMO_SAMPLES));
    let labels = labels[..inputs.len()].to_vec();
    Demo { inputs, labels, labelled }
}
