//! What the model means in float, by somebody else: the untouched file run by tract, from its bytes
//! to its scores.
//!
//! Nothing here reads what the importer made. tract parses the file, infers its types and runs its
//! own operators; so a fault of the importer shows as a disagreement, not as the same fault twice.

mod trace;

pub(crate) use trace::first_lost;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fusion_table::contain::contain;
use rayon::prelude::*;
use tract_onnx::prelude::{
    Datum, DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue, TValue,
    TVec, Tensor, TractError, TractResult, TypedRunnableModel,
};
use tract_onnx::tract_core::optim::Optimizer;
use tract_onnx::tract_hir::infer::Factoid;

use crate::import::{Input, Part, misread};

/// Most nodes, stored tensors included, of a model that tract optimises: it takes longer by about
/// the cube of their number, and what it saves on every sample only grows with it.
const MOST_OPTIMISED: usize = 400;
/// Most changes that tract's optimiser makes of such a model, for each of its nodes: of some it
/// makes the same ones again and again. Each leaves what the model computes as it is.
const STEPS_PER_NODE: usize = 20;

/// Scores that differ by no more than this fraction of the largest are the same.
const SAME: f32 = 1e-3;

/// The untouched model, ready to run one sample at a time.
pub struct Oracle {
    plan: Arc<TypedRunnableModel>,
    /// The inputs' extents, and their types in the file.
    inputs: Vec<(Vec<usize>, DatumType)>,
    /// Which part of its results is the answer.
    part: Part,
}

/// What the model answers for one sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A score for each class, or a regressor's numbers.
    Scores(Vec<f32>),
    /// The label itself.
    Label(i64),
}

impl Oracle {
    /// Reads the file at `path` for these inputs, one sample being all of them, one after the
    /// other. The answer is `part` of its results, by default the model's first output.
    ///
    /// # Errors
    /// Why tract cannot run it, as a phrase.
    pub fn open(path: &Path, inputs: &[Input], part: &Part) -> Result<Oracle, String> {
        Oracle::with_steps(path, inputs, part, STEPS_PER_NODE)
    }

    /// Opened after at most so many changes for each node.
    fn with_steps(path: &Path, inputs: &[Input], part: &Part, steps_per_node: usize) -> Result<Oracle, String> {
        let prepare = |optimised: bool| {
            let attempt = || -> TractResult<Option<(Arc<TypedRunnableModel>, Vec<DatumType>)>> {
                let (mut model, kinds) = read(path, inputs)?;
                if optimised && model.nodes().len() > MOST_OPTIMISED {
                    return Ok(None);
                }
                match part.output.as_deref() {
                    Some(name) => model.select_outputs_by_name([name])?,
                    None => {
                        let first: Vec<_> = model.output_outlets()?.iter().take(1).copied().collect();
                        model.select_output_outlets(&first)?;
                    }
                }
                let mut model = model.into_typed()?;
                if optimised {
                    let steps = steps_per_node * model.nodes().len();
                    Optimizer::declutter().stopping_at(steps).optimize(&mut model)?;
                    Optimizer::codegen().stopping_at(steps).optimize(&mut model)?;
                }
                Ok(Some((model.into_runnable()?, kinds)))
            };
            spoken(contain(attempt))
        };
        // Not everything that runs can also be optimised.
        let made = match prepare(true) {
            Ok(Some(made)) => Some(made),
            _ => prepare(false)?,
        };
        let (plan, kinds) = made.ok_or("it is not prepared")?;
        let shapes = inputs.iter().map(|input| input.shape.clone());
        Ok(Oracle { plan, inputs: shapes.zip(kinds).collect(), part: part.clone() })
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

    /// The answers to several samples that the model takes at once, as many as its batch axis has
    /// room for.
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
        let output = self.plan.run(values(&self.inputs, samples, count)?)?.remove(0);
        let is_label = output.datum_type().is_integer() || output.datum_type() == DatumType::TDim;
        let width = output.shape().last().copied().unwrap_or(1).max(1);
        if is_label && output.len() == count && !self.part.values {
            return Ok(numbers::<i64>(&output)?.into_iter().map(Answer::Label).collect());
        }
        let scores = numbers::<f32>(&output)?;
        if scores.is_empty() || !scores.len().is_multiple_of(count) {
            return Err(TractError::msg(format!("its output has {} numbers for {count} samples", scores.len())));
        }
        let answer = |scores: &[f32]| {
            let scores = match self.part.row {
                Some(row) => scores.chunks(width).nth(row).unwrap_or_default(),
                None => scores,
            };
            match *scores {
                // One probability or decision: that of the second of two classes.
                [one] if !self.part.values => Answer::Scores(vec![1.0 - one, one]),
                _ => Answer::Scores(scores.to_vec()),
            }
        };
        Ok(scores.chunks_exact(scores.len() / count).map(answer).collect())
    }
}

impl Answer {
    /// Its numbers; none of a label.
    pub fn numbers(&self) -> &[f32] {
        match self {
            Answer::Scores(scores) => scores,
            Answer::Label(_) => &[],
        }
    }

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

/// So many samples, one after the other, as the model's inputs.
fn values(inputs: &[(Vec<usize>, DatumType)], samples: &[f32], count: usize) -> TractResult<TVec<TValue>> {
    let of_input = |shape: &[usize]| shape.iter().product::<usize>() / count;
    let each: usize = inputs.iter().map(|(shape, _)| of_input(shape)).sum();
    if samples.len() != each * count || each == 0 {
        return Err(TractError::msg(format!("{} numbers for {count} samples of {each}", samples.len())));
    }
    let mut from = 0;
    let mut value = |(shape, kind): &(Vec<usize>, DatumType)| {
        let own = from..from + of_input(shape);
        from = own.end;
        let own: Vec<f32> = samples.chunks_exact(each).flat_map(|sample| sample[own.clone()].iter().copied()).collect();
        Ok(Tensor::from_shape(shape, &own)?.cast_to_dt(*kind)?.into_owned().into_tvalue())
    };
    inputs.iter().map(&mut value).collect()
}

/// Decodes the file, its tensors in files beside it included, and fixes the inputs' shapes; with
/// the inputs' types. Inputs that are not among these are left open.
fn read(path: &Path, inputs: &[Input]) -> TractResult<(InferenceModel, Vec<DatumType>)> {
    // Shapes that the file declares beside the operators are hints of its exporter, for another
    // batch maybe.
    let reader = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let proto = reader.proto_model_for_path(path)?;
    if let Some(why) = misread::found(&proto) {
        return Err(TractError::msg(why));
    }
    let folder = path.parent().and_then(Path::to_str);
    let mut model = reader.parse(&proto, folder)?.model;
    // One that is not from a file has no name: the model's only one is meant.
    if inputs.iter().all(|input| !input.name.is_empty()) {
        model.select_inputs_by_name(inputs.iter().map(|input| input.name.as_str()))?;
    }
    let mut kinds = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let kind = model.input_fact(index)?.datum_type.concretize().unwrap_or(f32::datum_type());
        model.set_input_fact(index, InferenceFact::dt_shape(kind, &input.shape))?;
        kinds.push(kind);
    }
    Ok((model, kinds))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_optimised_in_part_answers_the_same() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let models: [(&str, &str, &[usize]); 2] = [
            ("models/digits/digits.onnx", "image", &[1, 1, 8, 8]),
            ("tests/fixtures/graphs/tiny_state/model.onnx", "input", &[1, 6]),
        ];
        for (file, name, shape) in models {
            let input = Input { name: name.into(), shape: shape.to_vec() };
            let samples: Vec<Vec<f32>> =
                (0..4).map(|i| (0..input.len()).map(|j| ((7 * i + 3 * j) % 11) as f32 / 5.0 - 1.0).collect()).collect();
            let answers = |steps| {
                let path = root.join(file);
                let oracle = Oracle::with_steps(&path, std::slice::from_ref(&input), &Part::default(), steps).unwrap();
                oracle.run(&samples, &|_| {}).unwrap()
            };
            let whole = answers(STEPS_PER_NODE);
            for steps in [0, 1, 2] {
                for (one, other) in answers(steps).iter().zip(&whole) {
                    assert!(one.resembles(other), "{file} after {steps} steps a node: {one:?}, not {other:?}");
                }
            }
        }
    }
}
