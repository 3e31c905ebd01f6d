//! The test files: which there are, what they hold, and how near their results must come.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fusion_compiler::compile;
use fusion_compiler::evaluate::quantise;
use fusion_compiler::import::onnx;
use fusion_compiler::import::onnx::pb::{ModelProto, type_proto};
use fusion_compiler::import::onnx::prelude::{DatumType, Framework, Tensor};
use fusion_compiler::import::onnx::tensor::{load_tensor, proto_from_reader};
use fusion_compiler::passes::Settings;
use fusion_compiler::quantise::{Precision, calibrate::Calibration};
use fusion_compiler::{Error, import};
use fusion_ir::interp;
use fusion_ir::op::Reveal;

use crate::secure::{Program, opened};

/// Files larger than this test nothing that smaller ones do not.
const MAX_ELEMENTS: usize = 1 << 17;

/// What became of a test.
#[derive(Debug)]
pub enum Outcome {
    Passed,
    Unsupported(String),
    Wrong(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed => f.write_str("passed"),
            Outcome::Unsupported(why) => write!(f, "unsupported: {}", why.replace('\n', " ")),
            Outcome::Wrong(why) => write!(f, "WRONG: {why}"),
        }
    }
}

/// One test of the suite.
pub struct Test {
    pub name: String,
    model: ModelProto,
    inputs: Vec<(String, Arc<Tensor>)>,
    expected: Vec<f32>,
}

/// A compiled test with what it must give.
pub struct Job {
    pub program: Program,
    expected: Vec<f32>,
    tolerance: f64,
}

/// Where the node tests lie.
pub fn folder() -> Option<PathBuf> {
    let asked = || {
        let script = "import os, onnx; print(os.path.join(os.path.dirname(onnx.__file__), 'backend/test/data/node'))";
        let output = Command::new("python3").args(["-c", script]).output().ok()?;
        String::from_utf8(output.stdout).ok().map(|path| PathBuf::from(path.trim()))
    };
    let folder = std::env::var_os("FUSION_ONNX_NODE_TESTS").map(PathBuf::from).or_else(asked)?;
    (folder.join("test_relu").is_dir()).then_some(folder)
}

/// The tests with one float output and a float input, by name.
pub fn tests(folder: &Path) -> Vec<Test> {
    let entries = std::fs::read_dir(folder).expect("the node tests can be listed");
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    folders.iter().filter_map(|folder| read(folder)).collect()
}

fn read(folder: &Path) -> Option<Test> {
    let name = folder.file_name()?.to_string_lossy().trim_start_matches("test_").to_string();
    let bytes = std::fs::read(folder.join("model.onnx")).ok()?;
    let model = onnx::onnx().proto_model_for_read(&mut bytes.as_slice()).ok()?;
    let graph = model.graph.as_ref()?;
    let float = |port: &onnx::pb::ValueInfoProto| match port.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => tensor.elem_type == 1,
        _ => false,
    };
    if graph.output.len() != 1 || !float(&graph.output[0]) || !graph.input.first().is_some_and(float) {
        return None;
    }
    let data = folder.join("test_data_set_0");
    let tensor = |file: String| -> Option<Tensor> {
        let proto = proto_from_reader(std::fs::File::open(data.join(file)).ok()?).ok()?;
        load_tensor(&*onnx::onnx().provider, &proto, None).ok()
    };
    let inputs: Option<Vec<_>> = graph
        .input
        .iter()
        .enumerate()
        .map(|(i, port)| Some((port.name.clone(), Arc::new(tensor(format!("input_{i}.pb"))?))))
        .collect();
    let expected = floats(&tensor("output_0.pb".into())?)?;
    Some(Test { name, inputs: inputs?, expected, model })
}

fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    let view = tensor.to_plain_array_view::<f32>().ok()?;
    Some(view.iter().copied().collect())
}

impl Test {
    /// Compiles the test with all float inputs secret, and with only the first one; at least one of these must be supported.
    pub fn prepare(&self) -> Result<Vec<Job>, Outcome> {
        let float = |tensor: &Tensor| tensor.datum_type() == DatumType::F32;
        let all = self.inputs.iter().filter(|(_, tensor)| float(tensor)).count();
        let mut jobs = Vec::new();
        let mut refusal = String::new();
        for secret in if all > 1 { vec![all, 1] } else { vec![1] } {
            match self.compile(secret) {
                Ok(job) => jobs.push(job),
                Err(Error::Unsupported(nodes)) => {
                    refusal = nodes.first().map(|node| format!("{}: {}", node.op, node.why)).unwrap_or_default();
                }
                Err(other) => return Err(Outcome::Wrong(other.to_string())),
            }
        }
        if jobs.is_empty() { Err(Outcome::Unsupported(refusal)) } else { Ok(jobs) }
    }

    fn compile(&self, secrets: usize) -> Result<Job, Error> {
        let (mut secret, mut sample, mut constants) = (Vec::new(), Vec::new(), HashMap::new());
        for (name, tensor) in &self.inputs {
            let values = floats(tensor).filter(|_| secret.len() < secrets);
            if let Some(values) = values {
                secret.push((name.clone(), tensor.shape().to_vec()));
                sample.extend(values);
            } else {
                constants.insert(name.clone(), tensor.clone());
            }
        }
        let refuse = |why: &str| {
            let (node, op, why) = (self.name.clone(), "model".into(), why.into());
            Error::Unsupported(vec![fusion_compiler::Unsupported { node, op, why }])
        };
        if sample.is_empty() || self.expected.is_empty() {
            return Err(refuse("empty tensors"));
        }
        if sample.len().max(self.expected.len()) > MAX_ELEMENTS {
            return Err(refuse("too large for this suite"));
        }
        if !sample.iter().chain(&self.expected).all(|x| x.is_finite()) {
            return Err(refuse("infinite numbers"));
        }
        let graph = compile::simplify(import::function(&self.model, &secret, constants)?);
        let inputs = sample.iter().fold(0f32, |m, x| m.max(x.abs()));
        let calibration = Calibration { samples: vec![sample], total: 1, real: true };
        let settings = Settings { reveal: Reveal::Logits, ..Settings::default() };
        let built = compile::build(&graph, &calibration, &Precision::default(), &settings)?;
        let (function, weights) = (built.program.function, built.program.weights);
        let input = quantise(&function, &calibration.samples).swap_remove(0);
        let largest = self.expected.iter().fold(inputs, |m, x| m.max(x.abs()));
        let tolerance = f64::from(largest) * tolerance(&self.name);
        Ok(Job { program: Program { function, weights, input }, expected: self.expected.clone(), tolerance })
    }
}

impl Job {
    /// Holds the secure result against the reference's, and that against what is expected.
    pub fn judge(&self, secure: &[i64]) -> Result<(), String> {
        let Program { function, weights, input } = &self.program;
        let reference = interp::output(function, weights, input);
        if secure != reference {
            return Err("the secure result is not the reference's".into());
        }
        if reference.len() != self.expected.len() {
            return Err(format!("{} elements, not {}", reference.len(), self.expected.len()));
        }
        let ty = &opened(function).ty;
        let error = |(found, expected): (&i64, &f32)| (ty.dequantize(*found) - f64::from(*expected)).abs();
        let (at, worst) = reference
            .iter()
            .zip(&self.expected)
            .map(error)
            .enumerate()
            .fold((0, 0.0), |worst, next| if next.1 > worst.1 { next } else { worst });
        if worst <= self.tolerance {
            return Ok(());
        }
        let (found, expected) = (ty.dequantize(reference[at]), self.expected[at]);
        Err(format!("{found} instead of {expected} at {at}; tolerance {}", self.tolerance))
    }
}

/// The largest error allowed, as a fraction of the largest number in inputs and outputs. A table errs by at most 1/256 of its largest
/// value; operators made of several add up their errors and amplify those of their operands.
fn tolerance(name: &str) -> f64 {
    const SEVERAL_TABLES: &[&str] = &[
        "softmax",
        "logsoftmax",
        "reduce_log_sum",
        "reduce_l2",
        "lppool",
        "instancenorm",
        "group_normalization",
        "layer_normalization",
        "mvn",
        "sce_",
        "pow",
    ];
    if SEVERAL_TABLES.iter().any(|start| name.starts_with(start)) { 1.0 / 32.0 } else { 1.0 / 128.0 }
}
