//! `fusionc eval`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use fusion_ir::{Function, interp};
use rayon::prelude::*;

use super::{MemoryArgs, output, progress, read_plan};
use crate::evaluate::{Evaluated, Fullest, evaluate_watched, quantise};
use crate::{Error, npy};

/// Most overflowing samples that are listed one by one.
const MAX_LISTED: usize = 10;

/// Run the plaintext fixed-point reference: what a secure run answers, bit for bit
#[derive(clap::Args)]
pub(super) struct Args {
    /// The server's plan
    plan: PathBuf,
    /// Samples (.npy of any number type that float32 holds, first axis the samples)
    #[arg(long, value_name = "X.npy")]
    input: PathBuf,
    /// Where to write the rows `index,label` (`index,label_1,..` for a top-k plan); standard output otherwise
    #[arg(short, long, value_name = "CSV")]
    output: Option<PathBuf>,
    /// Add every logit to the rows
    #[arg(long)]
    logits: bool,
    /// What to do about a sample of which more than 1 % of the elements are beyond the plan's input format
    #[arg(long, value_enum, value_name = "warn|refuse", default_value_t = OnClipped::Refuse)]
    clipped: OnClipped,
    /// The true labels (int64 .npy): print the accuracy
    #[arg(long, value_name = "Y.npy")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    memory: MemoryArgs,
}

/// What is done about samples that the input's format does not hold.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum OnClipped {
    /// Say so and go on
    Warn,
    /// Evaluate nothing
    Refuse,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let inputs = [Some(&args.plan), Some(&args.input), args.labels.as_ref()];
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
    let missing = function.quantiser().is_ordered();
    let reals = npy::samples_or_missing(&args.input, &function.values[0].ty.shape, missing)?;
    clipped(function, args, &reals)?;
    let samples = quantise(function, &reals);
    let Some(logits) = interp::logits_of(function) else {
        return Err(Error::Input { path: args.plan.clone(), why: "its function has no logits".into() });
    };
    let classes = function.value(logits).ty.len();
    let truth = args.labels.as_ref().map(|path| npy::labels(path, samples.len(), classes)).transpose()?;
    let evaluated = progress::shown(|progress| evaluate_watched(function, weights, &samples, progress));
    let labels = &evaluated.rankings;
    let mut csv = match labels.first().map_or(1, Vec::len) {
        0 | 1 => String::from("index,label"),
        k => (1..=k).fold(String::from("index"), |header, place| header + &format!(",label_{place}")),
    };
    let ty = &function.value(logits).ty;
    let rows: Vec<Vec<i64>> = if args.logits {
        (0..classes).for_each(|class| csv += &format!(",logit_{class}"));
        let all = |sample: &Vec<i64>| interp::run(function, weights, sample).swap_remove(logits.index());
        samples.par_iter().map(all).collect()
    } else {
        vec![Vec::new(); samples.len()]
    };
    csv.push('\n');
    for (index, (labels, row)) in labels.iter().zip(&rows).enumerate() {
        let _ = write!(csv, "{index}");
        labels.iter().for_each(|label| csv += &format!(",{label}"));
        row.iter().for_each(|element| csv += &format!(",{}", ty.dequantize(*element)));
        csv.push('\n');
    }
    match &args.output {
        Some(path) => output::write_files(&[(path, csv.into_bytes())])?,
        None => output::print(&csv)?,
    }
    overflows(function, &evaluated);
    if let Some(truth) = truth {
        let right =
            truth.iter().zip(labels).filter(|(known, found)| found.first() == Some(&i64::from(**known))).count();
        let share = 100.0 * right as f64 / labels.len() as f64;
        eprintln!("accuracy {share:.2} % ({right} of {})", labels.len());
    }
    Ok(())
}

/// Says which samples the input's format does not hold.
fn clipped(function: &Function, args: &Args, samples: &[Vec<f32>]) -> Result<(), Error> {
    let clipped = function.quantiser().all_clipped(samples.iter().map(Vec::as_slice));
    clipped.iter().take(MAX_LISTED).for_each(|found| eprintln!("clipped   {found}"));
    if clipped.len() > MAX_LISTED {
        eprintln!("clipped   {} more samples like that", clipped.len() - MAX_LISTED);
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
        eprintln!("overflow  sample {sample}: node {node:?} reaches {fill:.1} times what its format holds");
    }
    if !over.is_empty() {
        let (over, all) = (over.len(), evaluated.rankings.len());
        eprintln!(
            "overflow  {over} of {all} samples: their labels are the secure run's, but mean little; calibrate on more such samples"
        );
    }
}
