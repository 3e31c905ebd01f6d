//! `fusionc eval`.

use std::path::{Path, PathBuf};

use fusion_ir::op::{Op, Reveal};
use fusion_ir::{Function, interp};
use fusion_table::{Classes, File, Kind, LabelFile, Results, Values};

use super::{MemoryArgs, OnClipped, output, progress, read_plan};
use crate::compare::expected_values;
use crate::evaluate::{Evaluated, Fullest, evaluate_watched, quantise};
use crate::oracle::Answer;
use crate::{Error, samples};

/// Most overflowing samples that are listed one by one.
const MAX_LISTED: usize = 10;

/// Run the plaintext fixed-point reference: what a secure run answers, bit for bit
#[derive(clap::Args)]
pub(super) struct Args {
    /// The server's plan
    plan: PathBuf,
    /// Samples: .npy of any number type that float32 holds, first axis the samples; or a table,
    /// .csv or .parquet, with the plan's columns
    #[arg(long, value_name = "X.npy")]
    input: PathBuf,
    /// The column of --input that identifies its rows; it takes the place of `index` in the results
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// Where to write the rows `index,label` (`index,label_1,..` for a top-k plan, `index,value`
    /// for a regressor's): .csv, .parquet or, without identifiers and logits, .npy; standard output
    /// otherwise
    #[arg(short, long, value_name = "Y.csv")]
    output: Option<PathBuf>,
    /// Add every logit to the rows
    #[arg(long)]
    logits: bool,
    /// What to do about a sample of which more than 1 % of the elements are beyond the plan's input
    /// format
    #[arg(long, value_enum, value_name = "warn|refuse", default_value_t = OnClipped::Refuse)]
    clipped: OnClipped,
    /// The true labels (int64 .npy, or FILE.csv:COLUMN): print the accuracy; of values, how far
    /// they are apart
    #[arg(long, value_name = "Y.npy")]
    labels: Option<LabelFile>,
    #[command(flatten)]
    memory: MemoryArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let inputs = [Some(&args.plan), Some(&args.input), args.labels.as_ref().map(|of| &of.path)];
    output::spare(&inputs, args.output.as_deref().as_slice())?;
    let memory = args.memory.max_memory;
    inputs.into_iter().flatten().try_for_each(|path| memory.admit(path))?;
    let plan = read_plan(&args.plan)?;
    let function = &plan.function;
    memory.function(function, rayon::current_num_threads())?;
    let Some(weights) = &plan.weights else {
        let why = "this is the client's plan, without weights; eval needs the server's".into();
        return Err(Error::Input { path: args.plan.clone(), why });
    };
    let file = samples::open(&args.input)?;
    let of_input = args.labels.as_ref().and_then(|of| samples::apart(&args.input, of));
    let apart: Vec<&str> = args.id.as_deref().into_iter().chain(of_input).collect();
    let shape = &function.values[0].ty.shape;
    let (reals, notices) =
        samples::samples(&args.input, &file, shape, &plan.schema, &apart, function.quantiser().is_ordered())?;
    notices.iter().for_each(|notice| output::tell(format_args!("note      {notice}")));
    let id = args.id.as_deref();
    let identifiers = id.map(|id| identifiers(&args.input, &file, id)).transpose()?;
    clipped(function, args, &reals)?;
    let samples = quantise(function, &reals);
    let Some(logits) = interp::logits_of(function) else {
        return Err(Error::Input { path: args.plan.clone(), why: "its function has no logits".into() });
    };
    let classes = Classes { count: function.value(logits).ty.len(), names: &plan.schema.classes };
    let values = function.values.iter().any(|value| value.op == Op::Reveal(Reveal::Value));
    let truth = args.labels.as_ref().filter(|_| !values);
    let truth = truth.map(|of| samples::labels(of, samples.len(), classes)).transpose()?;
    let known = args.labels.as_ref().filter(|_| values);
    let known = known.map(|of| expected_values(of, samples.len(), classes.count)).transpose()?;
    let evaluated = progress::shown(|progress| evaluate_watched(function, weights, &samples, progress));
    let labels = &evaluated.rankings;
    let rows = args.logits.then_some(evaluated.logits.as_slice());
    let ranks = labels.first().map_or(1, Vec::len);
    let results = match values {
        true => Results::of_values(id.zip(identifiers), evaluated.logits.clone(), classes.count),
        false => Results::new(id.zip(identifiers), labels.clone(), ranks, classes, rows),
    };
    let place = args.output.as_deref().unwrap_or(Path::new("standard output"));
    let refuse = |error| samples::refuse(place, error);
    match &args.output {
        Some(path) => output::write_files(&[(path, results.to_bytes(Kind::of(path)).map_err(refuse)?)])?,
        None => output::print(&results.to_csv().map_err(refuse)?)?,
    }
    overflows(function, &evaluated);
    if let Some(known) = known {
        let pairs = evaluated.logits.iter().zip(&known);
        let apart = |(found, known): (&Vec<f64>, &Answer)| {
            let each = found.iter().zip(known.numbers()).map(|(found, known)| (found - f64::from(*known)).abs());
            each.fold(0.0, f64::max)
        };
        let apart: Vec<f64> = pairs.map(apart).collect();
        let (sum, most) = (apart.iter().sum::<f64>(), apart.iter().copied().fold(0.0, f64::max));
        let mean = sum / apart.len() as f64;
        output::tell(format_args!("apart     {mean:.4} from the known values in the mean, {most:.4} at most"));
    }
    if let Some(truth) = truth {
        let right = truth.iter().zip(labels).filter(|(known, found)| found.first() == Some(known)).count();
        let share = 100.0 * right as f64 / labels.len() as f64;
        output::tell(format_args!("accuracy {share:.2} % ({right} of {})", labels.len()));
    }
    Ok(())
}

/// What identifies the rows of a table.
fn identifiers(path: &Path, file: &File, column: &str) -> Result<Values, Error> {
    let Some(table) = file.table() else {
        let why = format!("it is an array, which has no column {column:?} to identify its rows");
        return Err(Error::Input { path: path.into(), why });
    };
    let found = table.column(column).and_then(|column| Values::identifiers(column, table.rows));
    found.map_err(|error| samples::refuse(path, error))
}

/// Says which samples the input's format does not hold.
fn clipped(function: &Function, args: &Args, samples: &[Vec<f32>]) -> Result<(), Error> {
    let clipped = function.quantiser().all_clipped(samples.iter().map(Vec::as_slice));
    clipped.iter().take(MAX_LISTED).for_each(|found| output::tell(format_args!("clipped   {found}")));
    if clipped.len() > MAX_LISTED {
        output::tell(format_args!("clipped   {} more samples like that", clipped.len() - MAX_LISTED));
    }
    match clipped.iter().find(|found| found.is_too_much()) {
        Some(found) if args.clipped == OnClipped::Refuse => Err(Error::Input {
            path: args.input.clone(),
            why: format!(
                "{found}: the answer would be about another sample. Calibrate on samples like these, bring them to the units that the \
                 model was made for, or say --clipped warn"
            ),
        }),
        _ => Ok(()),
    }
}

/// Says which samples a number format does not hold.
fn overflows(function: &Function, evaluated: &Evaluated) {
    let samples = 0..evaluated.rankings.len();
    let fullest = samples.filter_map(|sample| Some((sample, evaluated.fullest(function, sample)?)));
    let over: Vec<(usize, Fullest)> = fullest.filter(|(_, fullest)| fullest.fill >= 1.0).collect();
    for (sample, Fullest { node, fill }) in over.iter().take(MAX_LISTED) {
        output::tell(format_args!(
            "overflow  sample {sample}: node {node:?} reaches {fill:.1} times what its format holds"
        ));
    }
    if !over.is_empty() {
        let (over, all) = (over.len(), evaluated.rankings.len());
        output::tell(format_args!(
            "overflow  {over} of {all} samples: their labels are the secure run's, but mean little; calibrate on more such samples"
        ));
    }
}
