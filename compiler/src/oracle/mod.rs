//! What the model means in float, by somebody else: the untouched file run by tract, from its bytes to its scores.
//!
//! Nothing here reads what the importer made. tract parses the file, infers its types and runs its own operators; so a fault of the
//! importer shows as a disagreement, not as the same fault twice.

mod misread;
mod trace;

pub(crate) use trace::first_lost;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use tract_onnx::prelude::{
    Datum, DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue, TValue,
    Tensor, TractError, TractResult, TypedRunnableModel, tvec,
};
use tract_onnx::tract_hir::infer::Factoid;

use crate::contain::contain;

/// Most nodes, stored tensors included, of a model that tract optimises: it takes longer by about the cube of their number, and what it
/// saves on every sample only grows with it.
const MOST_OPTIMISED: usize = 400;

/// Scores that differ by no more than this fraction of the largest are the same.
const SAME: f32 = 1e-3;

/// The untouched model, ready to run one sample at a time.
pub struct Oracle {
    plan: Arc<TypedRunnableModel>,
    /// The input's extents, and its type in the file.
    shape: Vec<usize>,
    kind: DatumType,
    /// Of an output of several rows, the one with the scores.
    row: Option<usize>,
}

/// What the model answers for one sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A score for each class.
    Scores(Vec<f32>),
    /// The label itself.
    Label(i64),
}

impl Oracle {
    /// Reads the file at `path` for inputs of `shape`, batch axis first. The answer is the value called `output`, by default the
    /// model's first output; of several rows, `row`.
    ///
    /// # Errors
    /// Why tract cannot run it, as a phrase.
    pub fn open(path: &Path, shape: &[usize], output: Option<&str>, row: Option<usize>) -> Result<Oracle, String> {
        let prepare = |optimised: bool| {
            let attempt = || -> TractResult<Option<(Arc<TypedRunnableModel>, DatumType)>> {
                let (mut model, kind) = read(path, shape)?;
                if optimised && model.nodes().len() > MOST_OPTIMISED {
                    return Ok(None);
                }
                match output {
                    Some(name) => model.select_outputs_by_name([name])?,
                    None => {
                        let first: Vec<_> = model.output_outlets()?.iter().take(1).copied().collect();
                        model.select_output_outlets(&first)?;
                    }
                }
                let plan = if optimised {
                    model.into_optimized()?.into_runnable()
                } else {
                    model.into_typed()?.into_runnable()
                };
                Ok(Some((plan?, kind)))
            };
            spoken(contain(attempt))
        };
        // Not everything that runs can also be optimised.
        let made = match prepare(true) {
            Ok(Some(made)) => Some(made),
            _ => prepare(false)?,
        };
        let (plan, kind) = made.ok_or("it is not prepared")?;
        Ok(Oracle { plan, shape: shape.to_vec(), kind, row })
    }

    /// The answers for `samples`, in parallel; `done` is told how many there are, again and again.
    ///
    /// # Errors
    /// Why tract does not get through a sample.
    pub fn run(&self, samples: &[Vec<f32>], done: &(dyn Fn(usize) + Sync)) -> Result<Vec<Answer>, String> {
        let count = AtomicUsize::new(0);
        let one = |sample: &Vec<f32>| {
            let answer = spoken(contain(|| self.answer(sample)));
            done(count.fetch_add(1, Ordering::Relaxed) + 1);
            answer
        };
        samples.par_iter().map(one).collect()
    }

    /// The answers to several samples that the model takes at once, as many as its batch axis has room for.
    ///
    /// # Errors
    /// Why there are none, as a phrase.
    pub fn together(&self, samples: &[Vec<f32>]) -> Result<Vec<Answer>, String> {
        spoken(contain(|| self.answers(&samples.concat(), samples.len())))
    }

    fn answer(&self, sample: &[f32]) -> TractResult<Answer> {
        self.answers(sample, 1)?.pop().ok_or_else(|| TractError::msg("its output is empty"))
    }

    /// What the output says of each of `count` samples.
    fn answers(&self, samples: &[f32], count: usize) -> TractResult<Vec<Answer>> {
        let output = self.plan.run(tvec![input(&self.shape, self.kind, samples)?])?.remove(0);
        let is_label = output.datum_type().is_integer() || output.datum_type() == DatumType::TDim;
        let width = output.shape().last().copied().unwrap_or(1).max(1);
        if is_label && output.len() == count {
            return Ok(numbers::<i64>(&output)?.into_iter().map(Answer::Label).collect());
        }
        let scores = numbers::<f32>(&output)?;
        if scores.is_empty() || !scores.len().is_multiple_of(count) {
            return Err(TractError::msg(format!("its output has {} numbers for {count} samples", scores.len())));
        }
        let answer = |scores: &[f32]| {
            let scores = match self.row {
                Some(row) => scores.chunks(width).nth(row).unwrap_or_default(),
                None => scores,
            };
            match *scores {
                // One probability or decision: that of the second of two classes.
                [one] => Answer::Scores(vec![1.0 - one, one]),
                _ => Answer::Scores(scores.to_vec()),
            }
        };
        Ok(scores.chunks_exact(scores.len() / count).map(answer).collect())
    }
}

impl Answer {
    /// Whether both are the same but for rounding.
    pub fn resembles(&self, other: &Answer) -> bool {
        match (self, other) {
            (Answer::Label(one), Answer::Label(two)) => one == two,
            (Answer::Scores(one), Answer::Scores(two)) => {
                let most = one.iter().chain(two).fold(0f32, |most, x| most.max(x.abs()));
                let near = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= SAME * most;
                one.len() == two.len() && one.iter().zip(two).all(near)
            }
            _ => false,
        }
    }
}

/// A sample as the model's input.
fn input(shape: &[usize], kind: DatumType, sample: &[f32]) -> TractResult<TValue> {
    Ok(Tensor::from_shape(shape, sample)?.cast_to_dt(kind)?.into_owned().into_tvalue())
}

/// Decodes the file, its tensors in files beside it included, and fixes the input's shape; with the input's type.
fn read(path: &Path, shape: &[usize]) -> TractResult<(InferenceModel, DatumType)> {
    // Shapes that the file declares beside the operators are hints of its exporter, for another batch maybe.
    let reader = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let proto = reader.proto_model_for_path(path)?;
    if let Some(why) = misread::found(&proto) {
        return Err(TractError::msg(why));
    }
    let folder = path.parent().and_then(Path::to_str);
    let model = reader.parse(&proto, folder)?.model;
    let kind = model.input_fact(0)?.datum_type.concretize().unwrap_or(f32::datum_type());
    Ok((model.with_input_fact(0, InferenceFact::dt_shape(kind, shape))?, kind))
}

fn numbers<T: Datum + Copy>(tensor: &Tensor) -> TractResult<Vec<T>> {
    let tensor =
        if tensor.datum_type() == DatumType::TDim { tensor.cast_to::<i64>()?.into_owned() } else { tensor.clone() };
    Ok(tensor.cast_to::<T>()?.to_plain_array_view::<T>()?.iter().copied().collect())
}

/// A panic or an error as a phrase.
fn spoken<T>(outcome: Option<TractResult<T>>) -> Result<T, String> {
    match outcome {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(error.root_cause().to_string()),
        None => Err("it panics".into()),
    }
}
