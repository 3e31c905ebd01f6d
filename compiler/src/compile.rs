//! The whole pipeline as one call: model and calibration in, plan and summary out.

use std::path::PathBuf;

use fusion_ir::input::Clipped;
use fusion_ir::op::{Mix, Reveal};
use fusion_ir::plan::{Demo, Provenance, Suggestion};
use fusion_ir::verify::MAX_TOP;
use fusion_ir::{Function, Plan, Schema};
use fusion_table::{Classes, LabelFile};

use crate::agreement::{self, Agreement, Cause, Disagreement, Reference};
use crate::build::{MAX_NAMED, Prepared, carried, prepare};
use crate::evaluate::Fullest;
use crate::import::{Batch, Imported, Input};
use crate::lower::{LayerFormat, lower};
use crate::memory::Memory;
use crate::nn::{Graph, commute, eval, mask, trees};
use crate::oracle::{self, Answer, Oracle};
use crate::passes::{self, Program, Settings, Target};
use crate::quantise::calibrate::{Calibration, MAX_SAMPLES};
use crate::quantise::{Precision, margin};
use crate::refine::{self, Fixed, Refined};
use crate::schema::{Names, schema};
use crate::{Error, Unsupported, diagnose, import, samples};

pub use crate::build::{Built, Progress, build, simplify};

/// Samples on which each layer's precision is measured.
const DIAGNOSED_SAMPLES: usize = 2;
/// Samples on which the layer that loses most is found.
const COMPARED_SAMPLES: usize = 16;
/// How far float scores of the imported network may be from the model's without a word, as a
/// fraction of their range.
const SMALL_DEVIATION: f64 = 0.01;
/// How far at all.
const LARGE_DEVIATION: f64 = 0.1;
/// Most demo samples in the server's plan.
const DEMO_SAMPLES: usize = 256;
/// Most elements of all demo samples together; each takes at most 2 bytes or so in the file.
const DEMO_ELEMENTS: usize = 2 << 20;

/// What to compile and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ONNX file.
    pub model: PathBuf,
    /// Calibration samples.
    pub calibrate: Option<PathBuf>,
    /// Labels of the calibration samples.
    pub labels: Option<LabelFile>,
    /// What the input's elements and the classes are called, if the user says it.
    pub names: Names,
    /// The input's extents, batch axis first.
    pub input_shape: Option<Vec<usize>>,
    /// Which of the model's results has the scores.
    pub part: import::Part,
    /// Number formats.
    pub precision: Precision,
    /// Whether formats become finer than that where rounding would change labels.
    pub refine: bool,
    /// What the client learns.
    pub reveal: Reveal,
    /// The suggested batch, with its suggested copies and public samples; `None` for a plan without
    /// verification.
    pub verify: Option<(Suggestion, Mix)>,
    /// What backends are chosen for.
    pub target: Target,
    /// What the model may ask for.
    pub memory: Memory,
    /// What must hold for there to be a plan.
    pub checks: Checks,
    /// What of the shape of decision trees is hidden.
    pub hide_shape: Option<trees::HideShape>,
}

/// What is checked of a compilation before it is one.
#[derive(Clone, Debug)]
pub struct Checks {
    /// What the user's own runtime answers for the calibration samples, scores or labels; else
    /// tract is asked.
    pub expected: Option<LabelFile>,
    /// The least fraction of calibration samples whose fixed-point label is the float model's.
    pub min_agreement: f64,
    /// Whether calibration samples that are too far beyond the input's format count as ones with
    /// another label, since evaluation and client refuse such samples by default.
    pub refuse_clipped: bool,
    /// How far a value may be from the float model's to count as the same; by default
    /// [`agreement::NEAR`] of the range of the model's values.
    pub tolerance: Option<f64>,
}

impl Default for Checks {
    fn default() -> Self {
        Checks { expected: None, min_agreement: 0.95, refuse_clipped: true, tolerance: None }
    }
}

/// Below this agreement there is a warning.
const GOOD_AGREEMENT: f64 = 0.99;

impl Options {
    /// The formats of a network, simplified to `graph`.
    fn precision(&self, network: &Imported, graph: &Graph) -> Precision {
        if self.refine && network.tabular { self.precision.of(graph) } else { self.precision }
    }

    /// What is compiled if nothing but the model is said.
    pub fn new(model: PathBuf) -> Self {
        Options {
            model,
            calibrate: None,
            labels: None,
            names: Names::default(),
            input_shape: None,
            part: import::Part::default(),
            precision: Precision::default(),
            refine: true,
            reveal: Reveal::Label,
            verify: None,
            target: Target::default(),
            memory: Memory::default(),
            checks: Checks::default(),
            hide_shape: None,
        }
    }

    /// Which part of the model's results is wanted, and as what.
    fn part(&self) -> import::Part {
        import::Part { values: self.reveal == Reveal::Value, ..self.part.clone() }
    }
}

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
    /// The secure IR.
    Function(Function),
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
    let Read { calibration, schema, notices } = read_samples(options, &graph, &network)?;
    let named = Classes { count: classes, names: &schema.classes };
    let is_value = options.reveal == Reveal::Value;
    if is_value && !schema.classes.is_empty() {
        return Err(Error::Usage("a model whose values are revealed has no classes to name".into()));
    }
    if options.labels.is_some() && options.calibrate.is_none() {
        return Err(Error::Usage("--labels needs --calibrate: they label its samples".into()));
    }
    let of_labels = |of: &LabelFile| labels(of, &calibration, named);
    let labels = options.labels.as_ref().filter(|_| !is_value).map(of_labels).transpose()?;
    let of_values = |of: &LabelFile| agreement::expected_values(of, calibration.total, classes);
    let values = options.labels.as_ref().filter(|_| is_value).map(of_values).transpose()?;
    if let Reveal::TopK(k) = options.reveal
        && usize::from(k) > classes.min(MAX_TOP)
    {
        let most = classes.min(MAX_TOP);
        return Err(Error::Usage(format!("--reveal topk:{k}: this model has {classes} classes; at most {most}")));
    }
    let meant = Meaning::of(options, &network, &calibration, named, progress)?;
    let refine = options.refine && !is_value;
    let fixed =
        refine::fixed(&graph, &calibration, options.precision(&network, &graph), refine, &settings(options), progress);
    let (Fixed { built, quantised, evaluated }, refined) = fixed?;
    let Built { program, layers, observed, graph, warnings: found } = built;
    let fixed = evaluated.labels();
    let mut correct = None;
    let scores = |outputs: &[Vec<f32>]| outputs.iter().cloned().map(Answer::Scores).collect::<Vec<_>>();
    let imported = meant.answers.is_none().then(|| scores(&observed.outputs));
    let answers = meant.answers.as_deref().or(imported.as_deref()).unwrap_or_default();
    let tolerance = options.checks.tolerance.unwrap_or_else(|| agreement::near(answers));
    let agreement = match is_value {
        true => {
            let found = &evaluated.logits;
            let wrong = |values: Vec<Answer>| agreement::within(found, &values, tolerance).len();
            correct = values.map(|values| found.len() - wrong(values));
            Agreement::of_values(meant.reference.clone(), found, answers, tolerance)
        }
        false => Agreement::of(meant.reference.clone(), &fixed, answers),
    };
    let beyond = program.function.quantiser().all_clipped(calibration.samples.iter().map(Vec::as_slice));
    let agreement = if options.checks.refuse_clipped { agreement.without(beyond.clone()) } else { agreement };
    let pairs = |most: usize| -> Vec<(&[f32], &[i64])> {
        let pairs = calibration.samples.iter().map(Vec::as_slice).zip(quantised.iter().map(Vec::as_slice));
        pairs.take(most).collect()
    };
    if agreement.share() < options.checks.min_agreement {
        let outputs = eval::outputs(&network.graph, &calibration.samples);
        let float = meant.answers.as_ref().map(|answers| match is_value {
            true => {
                let real = |y: &Vec<f32>| y.iter().copied().map(f64::from).collect();
                let reals: Vec<Vec<f64>> = outputs.iter().map(real).collect();
                Agreement::of_values(meant.reference.clone(), &reals, answers, tolerance)
            }
            false => {
                let labels: Vec<i64> = outputs.iter().map(|y| eval::argmax(y) as i64).collect();
                Agreement::of(meant.reference.clone(), &labels, answers)
            }
        });
        let cause = match (float, agreement.refused.first()) {
            (_, Some(first)) if 2 * agreement.refused.len() > agreement.differing.len() => {
                Cause::Clipped(first.clone())
            }
            (Some(float), _) if 2 * float.differing.len() > agreement.differing.len() => Cause::Import {
                agreeing: float.agreeing,
                node: meant.first_lost(options, &network, &calibration.samples[float.differing[0]]),
            },
            _ => {
                let full =
                    agreement.differing.iter().filter_map(|sample| evaluated.fullest(&program.function, *sample));
                let full = full.filter(|full| full.fill >= 1.0).max_by(|a, b| a.fill.total_cmp(&b.fill));
                let pairs = pairs(COMPARED_SAMPLES);
                let lost = diagnose::most_lost(&graph, &program.function, &program.weights, &pairs);
                let (node, hidden) = lost.unwrap_or_default();
                full.map_or_else(|| Cause::Formats { node: node.into(), hidden }, Cause::Overflow)
            }
        };
        let minimum = options.checks.min_agreement;
        return Err(Error::Disagreement(Box::new(Disagreement { agreement, minimum, real: calibration.real, cause })));
    }
    // Scores may be stretched; values are compared as they are.
    let known = meant.answers.as_ref().filter(|_| !is_value);
    let deviation = |outputs: &[Vec<f32>]| agreement::deviation(outputs, known?);
    let small = |deviation: &f64| *deviation <= SMALL_DEVIATION;
    // What was settled on the samples, roundings left out and masks moved near, is judged by
    // labels: it is no fault of the import.
    let deviation = match deviation(&observed.outputs) {
        Some(far) if !small(&far) && mask::unsettled(&network.graph) => {
            deviation(&eval::outputs(&network.graph, &calibration.samples))
        }
        deviation => deviation,
    };
    let mut other_scores = Vec::new();
    if let Some(deviation) = deviation.filter(|deviation| !small(deviation)) {
        let node = meant.first_lost(options, &network, &calibration.samples[0]);
        if (deviation.is_nan() || deviation > LARGE_DEVIATION) && options.checks.min_agreement > 0.0 {
            let (minimum, cause) = (options.checks.min_agreement, Cause::Scores { deviation, node });
            return Err(Error::Disagreement(Box::new(Disagreement {
                agreement,
                minimum,
                real: calibration.real,
                cause,
            })));
        }
        other_scores.push(agreement::scores_differ(deviation, node.as_deref()));
    }
    let right = |labels: &Vec<i64>| labels.iter().zip(&fixed).filter(|(a, b)| a == b).count();
    let summary = Summary {
        precision: diagnose::layers(&graph, &program.function, &program.weights, &pairs(DIAGNOSED_SAMPLES)),
        fullest: evaluated.fullest_of_all(&program.function),
        warnings: [
            notices,
            other_scores,
            warnings(&calibration, &layers, &agreement, graph.macs()),
            clipped(&beyond),
            found,
        ]
        .concat(),
        layers,
        agreement,
        refined,
        correct: labels.as_ref().map(right).or(correct),
    };
    let demo = (!is_value).then(|| demo(quantised, labels.as_ref().unwrap_or(&fixed), labels.is_some()));
    let provenance =
        Provenance { compiler: format!("fusionc {}", env!("CARGO_PKG_VERSION")), calibrated: calibration.real };
    let Program { function, weights } = program;
    let suggestion = options.verify.as_ref().map(|(suggestion, _)| suggestion.clone()).unwrap_or_default();
    let plan = Plan { function, weights: Some(weights), suggestion, provenance, schema, demo };
    Ok(Compiled { plan, summary })
}

/// The network with the shape of its trees hidden as far as asked for.
fn hidden(graph: Graph, options: &Options) -> Result<Graph, Error> {
    let Some(hide) = options.hide_shape else { return Ok(graph) };
    trees::hide(graph, hide).map_err(|why| Error::Usage(format!("--hide-shape: {why}")))
}

/// What the model answers for the calibration samples, by somebody who does not know what was
/// imported.
struct Meaning {
    reference: Reference,
    answers: Option<Vec<Answer>>,
}

impl Meaning {
    fn of(
        options: &Options,
        network: &Imported,
        calibration: &Calibration,
        classes: Classes<'_>,
        progress: &Progress,
    ) -> Result<Meaning, Error> {
        if let Some(path) = &options.checks.expected {
            if options.calibrate.is_none() {
                return Err(Error::Usage("--expected needs --calibrate: they are the outputs for its samples".into()));
            }
            let mut answers = match options.reveal {
                Reveal::Value => agreement::expected_values(path, calibration.total, classes.count)?,
                _ => agreement::expected(path, calibration.total, classes)?,
            };
            answers.truncate(calibration.samples.len());
            return Ok(Meaning { reference: Reference::Expected, answers: Some(answers) });
        }
        if network.prefix.is_some() {
            let why = "the client encodes categories before it".into();
            return Ok(Meaning { reference: Reference::Imported(why), answers: None });
        }
        let inputs = &network.inputs;
        let batch = import::batch(&options.model, &options.part, options.memory)?;
        let samples = calibration.samples.len();
        let told = |done: usize| progress("float model", done, samples);
        let oracle = Oracle::open(&options.model, inputs, &options.part());
        Ok(match oracle.and_then(|oracle| oracle.run(&calibration.samples, &told)) {
            Ok(answers) => {
                batch.map_or(Ok(()), |batch| batch.rows_apart(options, inputs, &calibration.samples, &answers))?;
                // A label of the model's is the number that it calls the class.
                let named = |answer| match answer {
                    Answer::Label(name) => Answer::Label(classes.number(name)),
                    scores => scores,
                };
                Meaning { reference: Reference::Tract, answers: Some(answers.into_iter().map(named).collect()) }
            }
            Err(why) => match batch {
                Some(batch) => return Err(batch.unknown(&why)),
                None => Meaning { reference: Reference::Imported(why), answers: None },
            },
        })
    }

    fn first_lost(&self, options: &Options, network: &Imported, sample: &[f32]) -> Option<String> {
        (self.reference == Reference::Tract)
            .then(|| oracle::first_lost(&options.model, &network.inputs, &network.graph, sample))?
    }
}

impl Batch {
    /// Accepts a model whose input holds several samples if each row of its answers is that of its
    /// sample by itself.
    fn rows_apart(
        &self,
        options: &Options,
        inputs: &[Input],
        samples: &[Vec<f32>],
        answers: &[Answer],
    ) -> Result<(), Error> {
        options.memory.samples(self.samples, inputs.iter().map(Input::len).sum()).map_err(|why| self.unknown(&why))?;
        let several = |input: &Input| {
            let shape = [&[self.samples], input.shape.get(1..).unwrap_or_default()].concat();
            Input { shape, ..input.clone() }
        };
        let inputs: Vec<Input> = inputs.iter().map(several).collect();
        let together: Vec<Vec<f32>> = samples.iter().cycle().take(self.samples).cloned().collect();
        let oracle = Oracle::open(&options.model, &inputs, &options.part());
        let found = oracle.and_then(|oracle| oracle.together(&together)).map_err(|why| self.unknown(&why))?;
        if found.iter().zip(answers.iter().cycle()).all(|(together, alone)| together.resembles(alone)) {
            return Ok(());
        }
        Err(self.refuse("the answer to a sample depends on the others beside it: export it for one sample".into()))
    }

    /// As [`Self::rows_apart`], on a few samples.
    fn checked(&self, options: &Options) -> Result<(), Error> {
        let network = read(options)?;
        let mut samples = read_samples(options, &network.graph, &network)?.calibration.samples;
        samples.truncate(self.samples);
        let oracle = Oracle::open(&options.model, &network.inputs, &options.part());
        let answers = oracle.and_then(|oracle| oracle.run(&samples, &|_| ())).map_err(|why| self.unknown(&why))?;
        self.rows_apart(options, &network.inputs, &samples, &answers)
    }

    fn unknown(&self, why: &str) -> Error {
        self.refuse(format!(
            "tract cannot say whether its rows are independent ({why}): export it for one sample, or give what it answers for the \
             samples of --calibrate with --expected Y.npy"
        ))
    }

    fn refuse(&self, why: String) -> Error {
        let Batch { input, samples } = self;
        let why = format!("its batch axis is fixed to {samples}, and {why}");
        Error::Unsupported(vec![Unsupported { node: input.clone(), op: "input".into(), why }])
    }
}

/// Whether a model whose batch axis is fixed to several samples answers each by itself, by tract on
/// a few calibration samples: so many of them as it takes, `None` for other models.
///
/// # Errors
/// [`Error::Unsupported`] if it does not, or if tract cannot say, and as [`compile`].
pub fn fixed_batch(options: &Options) -> Result<Option<usize>, Error> {
    let Some(batch) = import::batch(&options.model, &options.part, options.memory)? else { return Ok(None) };
    batch.checked(options)?;
    Ok(Some(batch.samples))
}

/// Runs the pipeline up to `stage` and returns what it has then.
///
/// # Errors
/// As [`compile`].
pub fn snapshot(options: &Options, stage: Stage) -> Result<Snapshot, Error> {
    stopped(options, stage).map_err(|error| import::name_operators(error, &options.model))
}

fn stopped(options: &Options, stage: Stage) -> Result<Snapshot, Error> {
    let network = read(options)?;
    let graph = network.graph.clone();
    if stage == Stage::Import {
        return Ok(Snapshot::Graph(graph));
    }
    let Read { calibration, .. } = read_samples(options, &graph, &network)?;
    let precision = options.precision(&network, &graph);
    let Prepared { graph, observed, .. } = prepare(&graph, &calibration, &precision)?;
    let (mut program, _) = lower(&graph, &observed, &precision)?;
    match stage {
        Stage::Import | Stage::Fixed => {}
        Stage::Gadgets => passes::run(&mut program, &settings(options), Some("gadgets"))?,
        Stage::Plan => {
            passes::run(&mut program, &settings(options), None)?;
            carried(&program.function)?;
        }
    }
    Ok(Snapshot::Function(program.function))
}

fn read(options: &Options) -> Result<Imported, Error> {
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

/// What the user's samples are and say.
struct Read {
    calibration: Calibration,
    schema: Schema,
    notices: Vec<String>,
}

fn read_samples(options: &Options, graph: &Graph, network: &Imported) -> Result<Read, Error> {
    let Imported { inputs, prefix, classes: own, .. } = network;
    if let Some(Err(why)) = prefix.as_ref().map(|prefix| prefix.check(graph.input_shape().iter().product())) {
        return Err(Error::Usage(format!("what the client would do before this model cannot be done: {why}")));
    }
    let classes = graph.nodes.last().map_or(0, crate::nn::Node::len);
    let Some(path) = &options.calibrate else {
        let schema = Schema { prefix: prefix.clone(), ..schema(&options.names, inputs, (classes, own), None, &[])? };
        return Ok(Read { calibration: Calibration::synthetic(graph), schema, notices: Vec::new() });
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
    Ok(Read { calibration: Calibration::of(samples, graph), schema, notices })
}

/// The labels of the calibration samples; the file may have more of both.
fn labels(of: &LabelFile, calibration: &Calibration, classes: Classes<'_>) -> Result<Vec<i64>, Error> {
    let mut labels = samples::labels(of, calibration.total, classes)?;
    labels.truncate(calibration.samples.len());
    Ok(labels)
}

fn settings(options: &Options) -> Settings {
    Settings {
        reveal: options.reveal,
        mix: options.verify.as_ref().map(|(_, mix)| *mix),
        target: options.target.clone(),
    }
}

fn demo(mut inputs: Vec<Vec<i64>>, labels: &[i64], labelled: bool) -> Demo {
    let len = inputs.first().map_or(1, Vec::len).max(1);
    inputs.truncate((DEMO_ELEMENTS / len).clamp(1, DEMO_SAMPLES));
    let labels = labels[..inputs.len()].to_vec();
    Demo { inputs, labels, labelled }
}

/// The calibration samples that the input's format does not hold, because others decided on it.
fn clipped(clipped: &[Clipped]) -> Vec<String> {
    let mut named: Vec<String> = clipped.iter().take(MAX_NAMED).map(|found| format!("calibration {found}")).collect();
    if clipped.len() > MAX_NAMED {
        named.push(format!("{} more calibration samples like that", clipped.len() - MAX_NAMED));
    }
    named
}

fn warnings(calibration: &Calibration, layers: &[LayerFormat], agreement: &Agreement, macs: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Reference::Imported(why) = &agreement.reference {
        warnings.push(format!(
            "tract cannot run this file ({why}), so nobody has checked what it means: give what another runtime answers with --expected Y.npy"
        ));
    }
    let (used, total) = (calibration.samples.len(), calibration.total);
    if used < total {
        let why = match used {
            MAX_SAMPLES => "more would change little".into(),
            _ => format!("each takes {} million multiply-accumulates", macs / 1_000_000),
        };
        warnings.push(format!("of {total} calibration samples the first {used} are used: {why}"));
    }
    if agreement.share() < GOOD_AGREEMENT {
        warnings.push(format!("only {agreement}"));
    }
    if !calibration.real {
        warnings.push(
            "number formats were calibrated on made-up samples: expect wrong answers, and give real ones with --calibrate X.npy"
                .into(),
        );
    } else if calibration.samples.len() < 32 {
        let (n, margin) = (calibration.samples.len(), margin(calibration.samples.len()));
        warnings.push(format!(
            "only {n} calibration samples: number formats hold {margin:.1} times their values, and an unusual input may need more; fusionc eval finds such inputs"
        ));
    }
    for layer in layers.iter().filter(|layer| layer.weight_bits < 8) {
        let LayerFormat { node, weight_bits, .. } = layer;
        warnings.push(format!("node {node:?} has only {weight_bits}-bit weights, to fit its accumulator"));
    }
    warnings
}
