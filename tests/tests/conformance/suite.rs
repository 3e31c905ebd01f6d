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
use fusion_compiler::nn::{Elements, eval};
use fusion_compiler::passes::Settings;
use fusion_compiler::quantise::{Precision, calibrate::Calibration};
use fusion_compiler::{Error, import};
use fusion_ir::interp;
use fusion_ir::op::Reveal;

use crate::secure::{Program, opened};

/// Files larger than this test nothing that smaller ones do not.
const MAX_ELEMENTS: usize = 1 << 17;

/// Most multiply-accumulates of a float network here.
const MAX_MACS: usize = 8 << 30;

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

/// Tests whose expectation later wheels corrected: the divisor of windows that reach beyond the
/// padding.
const CORRECTED: &[&str] = &["averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True"];

/// The folders of tests, beside that of the node tests. Names of tests begin with theirs, but for
/// node tests.
const FOLDERS: &[&str] = &["node", "pytorch-converted", "pytorch-operator", "simple"];

/// Where the folders of tests lie.
pub fn folder() -> Option<PathBuf> {
    let asked = || {
        let script = "import os, onnx; print(os.path.join(os.path.dirname(onnx.__file__), 'backend/test/data/node'))";
        let output = Command::new("python3").args(["-c", script]).output().ok()?;
        String::from_utf8(output.stdout).ok().map(|path| PathBuf::from(path.trim()))
    };
    let folder = std::env::var_os("FUSION_ONNX_NODE_TESTS").map(PathBuf::from).or_else(asked)?;
    let there = folder.join("test_relu").is_dir();
    folder.parent().map(Path::to_path_buf).filter(|_| there)
}

/// The tests with one float output and a float input, by name.
pub fn tests(data: &Path) -> Vec<Test> {
    let in_folder = |kind: &&str| {
        let entries = std::fs::read_dir(data.join(kind)).expect("the tests can be listed");
        let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        folders.sort();
        let tests = folders.iter().filter_map(|folder| read(kind, folder));
        tests.filter(|test| !CORRECTED.contains(&test.name.as_str())).collect::<Vec<Test>>()
    };
    FOLDERS.iter().flat_map(in_folder).collect()
}

/// Models of real architectures whose weights are all alike, with what they give for a ramp: too
/// large to run securely, so the float network is held against it.
pub fn light(data: &Path) -> Vec<(String, Outcome)> {
    let entries = std::fs::read_dir(data.join("light")).expect("the models can be listed");
    let mut models: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    models.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    models.sort();
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    models.iter().map(|path| (format!("light/{}", name(path).trim_start_matches("light_")), resembles(path))).collect()
}

fn resembles(path: &Path) -> Outcome {
    let expected = path.with_file_name(format!("{}_output_0.pb", path.file_stem().unwrap_or_default().display()));
    let proto = std::fs::File::open(expected).ok().and_then(|file| proto_from_reader(file).ok());
    let expected = proto.and_then(|proto| load_tensor(&*onnx::onnx().provider, &proto, None).ok());
    let Some(expected) = expected.as_ref().and_then(floats) else { return Outcome::Wrong("no expected output".into()) };
    let bytes = std::fs::read(path).expect("the model can be read");
    let model = onnx::onnx().proto_model_for_read(&mut bytes.as_slice()).expect("the model can be decoded");
    let graph = model.graph.as_ref().expect("it holds a graph");
    let stored = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let input = graph.input.iter().find(|input| !stored(&input.name)).expect("it has an input");
    let shape = vec![1, 3, 224, 224];
    let network = match import::function(&model, &[(input.name.clone(), shape)], HashMap::new()) {
        Ok(network) => network,
        Err(Error::Unsupported(nodes)) => {
            return Outcome::Unsupported(nodes.first().map(|n| format!("{}: {}", n.op, n.why)).unwrap_or_default());
        }
        Err(other) => return Outcome::Wrong(other.to_string()),
    };
    if network.macs() > MAX_MACS {
        return Outcome::Unsupported("model: too large for this suite".into());
    }
    let n = 3 * 224 * 224;
    let ramp: Vec<f32> = (0..n).map(|i| i as f32 / n as f32).collect();
    let found = eval::outputs(&network, &[ramp]).swap_remove(0);
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * b.abs();
    if found.len() == expected.len() && found.iter().zip(&expected).all(near) {
        Outcome::Passed
    } else {
        Outcome::Wrong(format!("{:?} instead of {:?}", &found[..4], &expected[..4]))
    }
}

fn read(kind: &str, folder: &Path) -> Option<Test> {
    let name = folder.file_name()?.to_string_lossy().trim_start_matches("test_").to_string();
    let name = if kind == "node" { name } else { format!("{kind}/{name}") };
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
        .filter(|port| !graph.initializer.iter().any(|tensor| tensor.name == port.name))
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
    /// Compiles the test with all float inputs secret, and with only the first one; at least one of
    /// these must be supported.
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
        let calibration = Calibration { samples: vec![sample], total: 1, real: true, elements: Elements::Real };
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

/// The largest error allowed, as a fraction of the largest number in inputs and outputs. A table
/// errs by at most 1/256 of its largest value; operators made of several add up their errors and
/// amplify those of their operands.
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
    let own = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    if SEVERAL_TABLES.iter().any(|start| own.starts_with(start)) { 1.0 / 32.0 } else { 1.0 / 128.0 }
}
