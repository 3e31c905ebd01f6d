//! From bytes and arrays to a plan.

use std::io::Read;
use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Compiled, Options, compile};
use fusion_compiler::passes::select::Choice;
use fusion_compiler::quantise::Precision;
use fusion_compiler::{Error, suggest};
use fusion_estimate::{Machine, Network};
use fusion_ir::op::Reveal;
use fusion_ir::plan::Suggestion;
use ndarray::ArrayViewD;
use ndarray_npy::WritableElement;
use tempfile::TempDir;

/// Makes plans out of ONNX classifiers.
#[derive(Clone, Debug)]
pub struct Compiler {
    samples: Option<(Vec<usize>, Vec<f32>)>,
    expected: Option<Expected>,
    input_shape: Option<Vec<usize>>,
    precision: Precision,
    reveal: Reveal,
    suggestion: Option<Suggestion>,
    network: Network,
    machine: Machine,
    choice: Choice,
    min_agreement: f64,
}

/// What another runtime answers.
#[derive(Clone, Debug)]
enum Expected {
    Labels(Vec<i64>),
    /// With their shape.
    Scores(Vec<usize>, Vec<f32>),
}

impl Default for Compiler {
    fn default() -> Compiler {
        Compiler::new()
    }
}

impl Compiler {
    /// A compiler for verified plans that reveal a label, between machines on a LAN.
    pub fn new() -> Compiler {
        let default = Options::new("model.onnx".into());
        Compiler {
            samples: None,
            expected: None,
            input_shape: None,
            precision: default.precision,
            reveal: default.reveal,
            suggestion: Some(Suggestion { queries: 1024, lambda_bits: 40.0, catch: None, accuracy: None }),
            network: default.target.network,
            machine: default.target.machine,
            choice: default.target.choice,
            min_agreement: default.checks.min_agreement,
        }
    }

    /// Chooses number formats on these inputs, which should be like those to come; without them
    /// formats are a guess. `shape` has the samples as its first axis.
    pub fn calibrate(self, shape: &[usize], elements: &[f32]) -> Compiler {
        Compiler { samples: Some((shape.to_vec(), elements.to_vec())), ..self }
    }

    /// The labels that the model has for the calibration samples, of a runtime of one's own: a plan
    /// is held against them instead of against tract's.
    pub fn expect_labels(self, labels: &[i64]) -> Compiler {
        Compiler { expected: Some(Expected::Labels(labels.to_vec())), ..self }
    }

    /// The same as scores, or as values of a regressor. `shape` has the samples as its first axis.
    pub fn expect_scores(self, shape: &[usize], scores: &[f32]) -> Compiler {
        Compiler { expected: Some(Expected::Scores(shape.to_vec(), scores.to_vec())), ..self }
    }

    /// The input's extents, batch first, where the model leaves them open.
    pub fn input_shape(self, shape: &[usize]) -> Compiler {
        Compiler { input_shape: Some(shape.to_vec()), ..self }
    }

    /// How many bits weights, activations and accumulators have.
    pub fn precision(self, precision: Precision) -> Compiler {
        Compiler { precision, ..self }
    }

    /// What the client learns of each query.
    pub fn reveal(self, reveal: Reveal) -> Compiler {
        Compiler { reveal, ..self }
    }

    /// The batch that the plan suggests; the client's own policy decides.
    pub fn suggest(self, suggestion: Suggestion) -> Compiler {
        Compiler { suggestion: Some(suggestion), ..self }
    }

    /// Makes plans for clients who trust the server to use the model and to follow the protocol.
    pub fn without_verification(self) -> Compiler {
        Compiler { suggestion: None, ..self }
    }

    /// What the choice of protocols is made for.
    pub fn between(self, network: Network, machine: Machine) -> Compiler {
        Compiler { network, machine, ..self }
    }

    /// Which protocols may be chosen.
    pub fn choice(self, choice: Choice) -> Compiler {
        Compiler { choice, ..self }
    }

    /// Which part of the calibration samples must have the label that the model gives in float,
    /// from 0 to 1; else there is no plan.
    pub fn min_agreement(self, part: f64) -> Compiler {
        Compiler { min_agreement: part, ..self }
    }

    /// Compiles an ONNX model. While it is compiled it is kept, with the samples, in a temporary
    /// folder that only this user can read.
    ///
    /// # Errors
    /// Everything about the model that is not supported, at once; or what is wrong with model,
    /// samples or options.
    pub fn compile(&self, mut onnx: impl Read) -> Result<Compiled, Error> {
        let folder = folder()?;
        let path = folder.path().join("model.onnx");
        let mut write = || std::io::copy(&mut onnx, &mut std::fs::File::create(&path)?);
        write().map_err(|source| Error::Io { path: "model".into(), source })?;
        self.compile_in(&folder, &path).map_err(|error| match error {
            Error::Model { why, .. } => Error::Model { path: "model".into(), why },
            other => other,
        })
    }

    /// Compiles an ONNX file, whose weights may be in further files beside it.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn compile_file(&self, path: &Path) -> Result<Compiled, Error> {
        self.compile_in(&folder()?, path)
    }

    fn compile_in(&self, folder: &TempDir, model: &Path) -> Result<Compiled, Error> {
        let mut options = Options::new(model.to_owned());
        if let Some((shape, elements)) = &self.samples {
            options.calibrate = Some(write(folder, SAMPLES, shape, elements)?);
        }
        if let Some(expected) = &self.expected {
            let path = match expected {
                Expected::Labels(labels) => write(folder, EXPECTED, &[labels.len()], labels)?,
                Expected::Scores(shape, scores) => write(folder, EXPECTED, shape, scores)?,
            };
            options.checks.expected = Some(path.into());
        }
        options.input_shape.clone_from(&self.input_shape);
        options.precision = self.precision;
        options.reveal = self.reveal;
        options.verify = self.suggestion.clone().map(suggest::batch).transpose()?;
        options.checks.min_agreement = self.min_agreement;
        let positions = options.verify.as_ref().map_or(1, |(_, mix)| mix.queries * mix.copies + mix.public);
        options.target.network = self.network;
        options.target.machine = self.machine.clone();
        options.target.schedule = suggest::schedule(positions);
        options.target.choice = self.choice;
        compile(&options).map_err(|error| match error {
            Error::Input { path, why } if path.starts_with(folder.path()) => {
                Error::Input { path: path.file_stem().unwrap_or(path.as_os_str()).into(), why }
            }
            other => other,
        })
    }
}

/// The calibration samples' file.
const SAMPLES: &str = "samples.npy";
/// The file of what is expected of them.
const EXPECTED: &str = "expected.npy";

/// Writes an array for the compiler.
fn write<T: WritableElement>(folder: &TempDir, name: &str, shape: &[usize], elements: &[T]) -> Result<PathBuf, Error> {
    let refuse = |why: String| Error::Input { path: name.trim_end_matches(".npy").into(), why };
    let array = ArrayViewD::from_shape(shape, elements);
    let array = array.map_err(|why| refuse(format!("{} elements of shape {shape:?}: {why}", elements.len())))?;
    let path = folder.path().join(name);
    ndarray_npy::write_npy(&path, &array).map_err(|why| refuse(why.to_string()))?;
    Ok(path)
}

fn folder() -> Result<TempDir, Error> {
    TempDir::new().map_err(|source| Error::Io { path: std::env::temp_dir(), source })
}
