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
    precision: Option<Precision>,
    widths: [Option<u8>; 2],
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
            precision: None,
            widths: [None; 2],
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

    /// How many bits inputs, weights, activations and accumulators have, instead of what the
    /// compiler would choose.
    pub fn precision(self, precision: Precision) -> Compiler {
        Compiler { precision: Some(precision), ..self }
    }

    /// How many bits activations and weights have. If neither is given the compiler chooses, and
    /// makes formats finer where rounding would change labels; else they are what is said, and what
    /// is not given is as usual.
    pub fn widths(self, activation_bits: Option<u8>, weight_bits: Option<u8>) -> Compiler {
        Compiler { widths: [activation_bits, weight_bits], ..self }
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
        let [activation_bits, weight_bits] = self.widths;
        options.widths(activation_bits, weight_bits)?;
        if let Some(precision) = self.precision {
            (options.precision, options.refine) = (precision, false);
        }
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

#[cfg(test)]
mod tests {
    use fusion_ir::npy::Npy;

    use super::*;

    /// One width given alone: what goes with it is made to fit, and formats stay as they are.
    #[test]
    fn widths_are_checked_and_kept() {
        let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/digits").join(name);
        let bytes = std::fs::read(file("calibrate.npy")).unwrap();
        let samples = Npy::parse(&bytes).unwrap();
        let compiler = Compiler::new().calibrate(samples.shape(), &samples.reals().unwrap()).min_agreement(0.0);
        let compiled = |compiler: Compiler| compiler.compile_file(&file("digits.onnx"));
        for widths in [[Some(8), None], [None, Some(4)]] {
            let summary = compiled(compiler.clone().widths(widths[0], widths[1])).unwrap().summary;
            assert_eq!(summary.refined, None);
        }
        let narrow = Precision { activation_bits: 8, ..Precision::default() };
        for compiler in [compiler.clone().widths(Some(7), None), compiler.precision(narrow)] {
            let refused = compiled(compiler).unwrap_err();
            assert!(matches!(&refused, Error::Usage(why) if why.contains("`precision.activation_bits`")), "{refused}");
        }
    }
}
