//! `fusionc compile`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use fusion_ir::Backend;
use fusion_ir::op::Reveal;
use fusion_table::LabelFile;

use super::policy::PolicyArgs;
use super::target::TargetArgs;
use super::{MemoryArgs, OnClipped, cost, in_flags, output, progress};
use crate::Error;
use crate::agreement::Reference;
use crate::compile::{Checks, Compiled, Options, compile_watched};
use crate::evaluate::Fullest;
use crate::import::Part;
use crate::lower::ProductFormat;
use crate::nn::trees::HideShape;
use crate::passes::select::Choice;
use crate::quantise::Precision;
use crate::refine::Refined;
use crate::schema::Names;

/// Compile an ONNX model into a plan for the server, weights inside, and one for the client,
/// without them
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to write the server's plan; plan.bin gives plan.client.bin for the client
    #[arg(short = 'o', long = "plan", value_name = "PLAN", default_value = "plan.bin")]
    output: PathBuf,
    #[command(flatten)]
    pipeline: Pipeline,
    /// Print every layer's signal-to-noise ratio against the float model on the first calibration
    /// samples
    #[arg(long)]
    diagnose: bool,
}

/// The files that a compilation reads.
pub(super) fn inputs(options: &Options) -> [Option<&PathBuf>; 4] {
    let [labels, expected] = [&options.labels, &options.checks.expected].map(|of| of.as_ref().map(|of| &of.path));
    [Some(&options.model), options.calibrate.as_ref(), labels, expected]
}

/// The options that decide what the plan is; `dump` takes them too.
#[derive(clap::Args)]
pub(super) struct Pipeline {
    /// The ONNX file
    pub model: PathBuf,
    /// Typical inputs to choose number formats on: .npy (first axis the samples), .csv or .parquet;
    /// without them formats are a guess
    #[arg(long, value_name = "X.npy")]
    calibrate: Option<PathBuf>,
    /// Their labels (int64 .npy, or FILE.csv:COLUMN), for the summary's accuracy and the demo
    /// samples
    #[arg(long, value_name = "Y.npy")]
    labels: Option<LabelFile>,
    #[command(flatten)]
    names: NamesArgs,
    /// The input's extents, batch first, if the model leaves them open, such as 1,3,32,32
    #[arg(long, value_name = "N,C,H,W", value_delimiter = ',')]
    input_shape: Option<Vec<usize>>,
    #[command(flatten)]
    pub part: PartArgs,
    /// How wide accumulators are: for the range seen in calibration, or for the worst any input
    /// could do
    #[arg(long, value_enum, default_value_t = Accumulator::Calibrated)]
    acc: Accumulator,
    #[command(flatten)]
    formats: Formats,
    /// exact: the secure result is the reference's, bit for bit
    #[arg(long, value_enum, default_value_t = Arithmetic::Exact)]
    arithmetic: Arithmetic,
    /// Who computes everything that is not local, such as cheetah or cheetah(leaf=2); auto picks
    /// the fastest for each layer
    #[arg(long, default_value = "auto", value_name = "auto|BACKEND", value_parser = choice)]
    backend: Choice,
    #[command(flatten)]
    target: TargetArgs,
    /// A plan without verification: the client trusts the server to use the model and to follow the
    /// protocol
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Decision trees: hide from the client their shape up to the number of trees and the depth of
    /// the deepest, or how many nodes each has
    #[arg(long, value_enum, value_name = "WHAT")]
    hide_shape: Option<Hide>,
    #[command(flatten)]
    checks: ChecksArgs,
    #[command(flatten)]
    memory: MemoryArgs,
}

/// What must hold for there to be a plan.
#[derive(clap::Args)]
struct ChecksArgs {
    /// What your own runtime answers for the samples of --calibrate (.npy: float scores [n,k] or
    /// int64 labels [n]; or labels as FILE.csv:COLUMN); without it tract runs the model's file for
    /// comparison
    #[arg(long, value_name = "Y.npy")]
    expected: Option<LabelFile>,
    /// Least fraction of calibration samples with the float model's label, near ties counted in;
    /// else there is no plan
    #[arg(long, value_name = "FRACTION", default_value_t = Checks::default().min_agreement, value_parser = fraction)]
    min_agreement: f64,
    /// What to do about calibration samples of which more than 1 % of the elements are beyond the
    /// input's format: refuse counts them as ones with another label
    #[arg(long, value_enum, value_name = "warn|refuse", default_value_t = OnClipped::Refuse)]
    clipped: OnClipped,
    /// With --reveal value: how far a value may be from the float model's, and from the known one,
    /// to be the same [default: a thousandth of the range of the model's values]
    #[arg(long, value_name = "DISTANCE", value_parser = distance)]
    tolerance: Option<f64>,
}

/// What things are called. Names are public: the client's plan has them.
#[derive(clap::Args)]
struct NamesArgs {
    /// The columns of a table that the model's inputs come from, in its order [default: the names
    /// of the model's inputs if it has several, or the header of --calibrate]
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    columns: Vec<String>,
    /// What the classes are called, in the order of the model's scores: labels are read and written
    /// by name
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    classes: Vec<String>,
}

/// Which of the model's results the label is of, and what the client does itself; `check` takes
/// them too.
#[derive(clap::Args)]
pub(super) struct PartArgs {
    /// The output with the scores or the label, if the model has several; any value in the graph
    /// may be named
    #[arg(long = "output", value_name = "NAME")]
    name: Option<String>,
    /// Of an output of several rows, the one with the scores (counted from 0 over all axes but the
    /// last)
    #[arg(long, value_name = "N")]
    row: Option<usize>,
    /// The client scales, imputes and binarises the columns itself: the constants that this takes
    /// are public then, in the client's plan
    #[arg(long)]
    public_prefix: bool,
    /// What the client learns: label, topk:K (the labels of the K largest logits in order), logits
    /// (all of them) or value (the numbers of a regressor)
    #[arg(long, default_value = "label", value_name = "WHAT")]
    pub reveal: Reveal,
}

impl PartArgs {
    pub fn part(&self) -> Part {
        let PartArgs { name, row, public_prefix, .. } = self;
        Part { output: name.clone(), row: *row, values: false, public_prefix: *public_prefix }
    }
}

/// Number formats: fewer bits cost fewer bytes and more precision.
#[derive(clap::Args)]
struct Formats {
    /// Width of activations between layers, 8 to 20 [default: 14, and finer formats if rounding
    /// would change labels; with this or --weight-bits, what is said]
    #[arg(long, value_name = "BITS")]
    activation_bits: Option<u8>,
    /// Width of weights, sign included, 4 to 16 [default: 12]. A layer that would be too rough
    /// with them gets wider ones all the same; the summary prints each layer's
    #[arg(long, value_name = "BITS")]
    weight_bits: Option<u8>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Hide {
    /// Every tree becomes a complete one of the depth of the deepest
    Depth,
    /// Every tree gets as many nodes as the largest
    Nodes,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Accumulator {
    Calibrated,
    WorstCase,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Arithmetic {
    Exact,
    Stochastic,
}

pub(super) fn run(args: Args) -> Result<(), Error> {
    let client = client_path(&args.output)?;
    let options = args.pipeline.options()?;
    output::spare(&inputs(&options), &[&args.output, &client])?;
    let compiled = progress::shown(|progress| compile_watched(&options, progress))?;
    let plan = &compiled.plan;
    let text = summary(&compiled, args.diagnose) + &cost::forecast(plan, &options.target)?;
    let digest: String = plan.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    output::write_files(&[(&args.output, plan.to_bytes()), (&client, plan.for_client().to_bytes())])?;
    let files = format!("{} for the server, {} for the client", args.output.display(), client.display());
    output::print(&format!("{text}plan      {digest}\nwritten   {files}\n"))
}

impl Pipeline {
    /// The checked options.
    pub fn options(self) -> Result<Options, Error> {
        if self.arithmetic == Arithmetic::Stochastic {
            return Err(Error::Usage(if self.no_verify {
                "--arithmetic stochastic: no protocol of this version rounds at random; exact is the only choice".into()
            } else {
                "--arithmetic stochastic cannot be verified: copies of a query would disagree by accident".into()
            }));
        }
        let verify = if self.no_verify { None } else { Some(self.policy.suggestion()?) };
        let positions = match &verify {
            Some((_, mix)) => mix.queries * mix.copies + mix.public,
            None => self.policy.queries,
        };
        let mut options = Options {
            model: self.model,
            calibrate: self.calibrate,
            labels: self.labels,
            names: Names { columns: self.names.columns, classes: self.names.classes },
            input_shape: self.input_shape,
            part: self.part.part(),
            precision: Precision { worst_case: self.acc == Accumulator::WorstCase, ..Precision::default() },
            refine: true,
            reveal: self.part.reveal,
            verify,
            checks: Checks {
                expected: self.checks.expected,
                min_agreement: self.checks.min_agreement,
                refuse_clipped: self.checks.clipped == OnClipped::Refuse,
                tolerance: self.checks.tolerance,
            },
            target: self.target.target(positions, self.backend)?,
            memory: self.memory.max_memory,
            hide_shape: self.hide_shape.map(|hide| match hide {
                Hide::Depth => HideShape::Depth,
                Hide::Nodes => HideShape::Nodes,
            }),
        };
        options.widths(self.formats.activation_bits, self.formats.weight_bits)?;
        Ok(options)
    }
}

/// A number from 0 to 1.
fn fraction(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("a fraction is from 0 to 1".into()) }
}

/// A finite number from 0 on.
fn distance(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a distance is a finite number from 0 on".into())
}

/// `auto`, or a backend as plans print it.
fn choice(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => Ok(Choice::Auto),
        text => match text.parse()? {
            backend @ Backend::Cheetah(_) if !backend.is_family() => Err("leaves have 1 to 4 bits".into()),
            Backend::Local | Backend::Unselected => Err(format!("{text} computes nothing that needs messages")),
            backend => Ok(Choice::Always(backend)),
        },
    }
}

/// `plan.bin` gives `plan.client.bin`, `plan` gives `plan.client`.
fn client_path(plan: &Path) -> Result<PathBuf, Error> {
    let stem = plan.file_stem().ok_or_else(|| Error::Usage(format!("-o {}: not a file name", plan.display())))?;
    let mut name = stem.to_os_string();
    name.push(".client");
    if let Some(extension) = plan.extension() {
        name.push(".");
        name.push(extension);
    }
    Ok(plan.with_file_name(name))
}

fn summary(compiled: &Compiled, diagnose: bool) -> String {
    let summary = &compiled.summary;
    let mut text = String::new();
    for warning in &summary.warnings {
        text += &format!("warning   {}\n", in_flags(warning));
    }
    let ty = &compiled.plan.function.values[0].ty;
    let _ = writeln!(
        text,
        "model     {}, input {:?} with {} fractional bits",
        compiled.plan.function.name, ty.shape, ty.frac
    );
    let schema = &compiled.plan.schema;
    for (what, names) in [("columns", &schema.columns), ("classes", &schema.classes)] {
        if let ([first, .., last], n) = (names.as_slice(), names.len()) {
            let _ = writeln!(text, "{what}   {n} named in both plans, from {first:?} to {last:?}");
        }
    }
    if let Some(prefix) = &schema.prefix {
        let (constants, nodes) = (prefix.constants(), prefix.columns());
        let _ = writeln!(
            text,
            "prefix    the client makes the input of {nodes} columns; the {constants} constants that this takes are public"
        );
    }
    for layer in &summary.layers {
        let _ = writeln!(
            text,
            "layer     {:<28} {:>2}-bit weights, {}-bit accumulator (worst case {})",
            layer.node, layer.weight_bits, layer.accumulator_bits, layer.worst_case_bits
        );
    }
    for product in &summary.products {
        let ProductFormat { node, factor_bits: [a, b], lost_bits: lost, ring_bits, .. } = product;
        let rounded =
            if *lost == [0; 2] { String::new() } else { format!(" ({} and {} rounded away)", lost[0], lost[1]) };
        let _ = writeln!(text, "product   {node:<28} {a:>2}- and {b}-bit factors{rounded}, {ring_bits}-bit ring");
    }
    for layer in summary.precision.iter().filter(|_| diagnose) {
        let (all, own) = (layer.decibels, layer.own_decibels);
        let _ = writeln!(text, "precision {:<28} {all:>6.1} dB, {own:.1} dB by its own rounding", layer.node);
    }
    let inexact = summary.precision.iter().filter(|layer| layer.decibels.is_finite());
    let worst = inexact.min_by(|a, b| a.decibels.total_cmp(&b.decibels));
    if let Some(worst) = worst {
        let _ = writeln!(text, "worst     {:<28} {:>6.1} dB above its rounding noise", worst.node, worst.decibels);
    }
    if let Some(Fullest { node, fill }) = summary.fullest.as_ref().filter(|fullest| fullest.fill > 0.0) {
        let _ =
            writeln!(text, "room      {node:<28} {:>6.1} times the calibrated values fit, elsewhere more", 1.0 / fill);
    }
    if let Some(Refined { times, softmax_times, before, after }) = summary.refined {
        let bits = |n: u8| format!("{n} bit{}", if n == 1 { "" } else { "s" });
        let softmax = if softmax_times > 0 { format!(", softmaxes by {}", bits(softmax_times)) } else { String::new() };
        let _ = writeln!(
            text,
            "formats   finer by {}{softmax}: rounding would change the label of {:.1} % of such inputs, now {:.1} %; \
             it would be {:.1} % of the scores, now {:.1} %",
            bits(times),
            100.0 * before.changed,
            100.0 * after.changed,
            100.0 * before.noise,
            100.0 * after.noise,
        );
    }
    let agreement = &summary.agreement;
    let samples = agreement.samples;
    let _ = match agreement.reference {
        Reference::Imported(_) => writeln!(text, "agreement not known; {agreement}"),
        _ => writeln!(text, "agreement {agreement}"),
    };
    if let Some(correct) = summary.correct {
        let what = match agreement.tolerance {
            Some(tolerance) => format!("are within {tolerance} of the given value"),
            None => "have the given label".into(),
        };
        let _ = writeln!(text, "accuracy  {correct} of {samples} calibration samples {what}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::backend::Cheetah;

    #[test]
    fn backends_are_named_as_plans_print_them() {
        let two = Backend::Cheetah(Cheetah { leaf_bits: 2, ..Cheetah::default() });
        assert_eq!(choice("auto"), Ok(Choice::Auto));
        assert_eq!(choice("cheetah(leaf=2)"), Ok(Choice::Always(two)));
        for wrong in ["local", "cheetah(leaf=9)", "cheetah extra", "spdz", ""] {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_clients_plan_lies_beside_the_servers() {
        assert_eq!(client_path(Path::new("a/plan.bin")).unwrap(), Path::new("a/plan.client.bin"));
        assert_eq!(client_path(Path::new("x")).unwrap(), Path::new("x.client"));
        assert!(client_path(Path::new("..")).is_err());
    }

    #[test]
    fn what_can_be_revealed() {
        assert_eq!("logits".parse(), Ok(Reveal::Logits));
        assert_eq!("topk:5".parse(), Ok(Reveal::TopK(5)));
        assert!("topk:0".parse::<Reveal>().unwrap_err().contains("topk:K"));
    }
}
