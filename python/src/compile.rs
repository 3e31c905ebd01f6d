//! From a model to a plan.

use std::io::Cursor;
use std::path::PathBuf;

use fusion::{Compiler, Machine, Reveal, Suggestion};
use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::errors::{UsageError, of_compiler};
use crate::interrupt::interruptible;
use crate::plan::{Plan, network};

/// Compiles an ONNX model: a file, or its bytes.
#[pyfunction]
#[pyo3(signature = (model, calibrate, *, labels, scores, input_shape, reveal, verify, queries, accuracy, catch, network, min_agreement, weight_bits, activation_bits))]
#[expect(clippy::too_many_arguments, reason = "they have names in Python")]
pub fn compile(
    py: Python<'_>,
    model: Model,
    calibrate: Option<PyReadonlyArrayDyn<'_, f32>>,
    labels: Option<Vec<i64>>,
    scores: Option<PyReadonlyArrayDyn<'_, f32>>,
    input_shape: Option<Vec<usize>>,
    reveal: &str,
    verify: bool,
    queries: u64,
    accuracy: Option<f64>,
    catch: Option<f64>,
    network: &str,
    min_agreement: f64,
    weight_bits: Option<u8>,
    activation_bits: Option<u8>,
) -> PyResult<Plan> {
    let reveal: Reveal = reveal
        .parse()
        .map_err(|_| UsageError::new_err(format!("reveal {reveal:?} is none of label, topk:K, logits, value")))?;
    let mut compiler = Compiler::new()
        .reveal(reveal)
        .between(self::network(network)?, Machine::like_this())
        .min_agreement(min_agreement);
    if let Some(samples) = &calibrate {
        let elements = samples.as_slice().map_err(|_| UsageError::new_err("calibrate is not contiguous"))?;
        compiler = compiler.calibrate(samples.shape(), elements);
    }
    if let Some(labels) = &labels {
        compiler = compiler.expect_labels(labels);
    }
    if let Some(scores) = &scores {
        let elements = scores.as_slice().map_err(|_| UsageError::new_err("expected is not contiguous"))?;
        compiler = compiler.expect_scores(scores.shape(), elements);
    }
    if let Some(shape) = input_shape {
        compiler = compiler.input_shape(&shape);
    }
    compiler = compiler.widths(activation_bits, weight_bits);
    compiler = match verify {
        true => compiler.suggest(Suggestion { queries, lambda_bits: 40.0, catch, accuracy }),
        false => compiler.without_verification(),
    };
    let compiled = interruptible(
        py,
        move || match model {
            Model::File(path) => compiler.compile_file(&path),
            Model::Bytes(bytes) => compiler.compile(Cursor::new(bytes)),
        },
        || (),
    )?;
    compiled.map(Plan::compiled).map_err(of_compiler)
}

/// Where a model is.
#[derive(FromPyObject)]
pub enum Model {
    /// In memory.
    Bytes(Vec<u8>),
    /// In a file, with others beside it perhaps.
    File(PathBuf),
}
