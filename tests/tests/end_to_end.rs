//! The whole way on real models: compile, a server process and a client process, labels equal to
//! the reference.

use std::path::{Path, PathBuf};

use fusion_tests::{arg, case, cut, load, party, read_labels, root, succeed};
use ndarray::{ArrayD, Axis};

struct Model {
    name: &'static str,
    onnx: PathBuf,
    calibrate: PathBuf,
    inputs: PathBuf,
    labels: PathBuf,
}

/// A verified batch: how many samples of the file are queries, how many of the rest are public, and
/// the policy.
struct Batch {
    queries: usize,
    public: usize,
    policy: &'static [&'static str],
    least_positions: u64,
}

fn case_model(name: &'static str, folder: &Path) -> Option<Model> {
    let case = case(name)?;
    let calibrate = folder.join("calibrate.npy");
    cut::<f32>(&case.join("inputs.npy"), 0..32, &calibrate);
    let [onnx, inputs, labels] = ["model.onnx", "inputs.npy", "labels.npy"].map(|file| case.join(file));
    Some(Model { name, onnx, calibrate, inputs, labels })
}

fn compile(model: &Model, folder: &Path, options: &[&str]) -> PathBuf {
    let plan = folder.join("plan.bin");
    let args = ["compile", arg(&model.onnx), "--calibrate", arg(&model.calibrate), "-o", arg(&plan)];
    succeed("fusionc", &[&args, options].concat());
    plan
}

/// Two processes run a verified batch: accepted, every label the reference's, every figure the
/// predicted one.
fn verify(model: &Model, plan: &Path, folder: &Path, batch: &Batch) {
    let file = |name: &str| folder.join(name);
    let [x, px, py] = ["x.npy", "px.npy", "py.npy"].map(file);
    let [labels, expected, report, server_report] = ["labels.csv", "eval.csv", "r.json", "server.json"].map(file);
    let public = batch.queries..batch.queries + batch.public;
    cut::<f32>(&model.inputs, 0..batch.queries, &x);
    cut::<f32>(&model.inputs, public.clone(), &px);
    cut::<i64>(&model.labels, public, &py);
    let server = party::Server::start(plan, &["--report", arg(&server_report)]);
    let mut args = vec!["--input", arg(&x), "--public-inputs", arg(&px), "--public-labels", arg(&py)];
    args.extend(["-o", arg(&labels), "--report", arg(&report)]);
    args.extend(batch.policy);
    let client = party::client(&folder.join("plan.client.bin"), &server.address, &args);
    let said = String::from_utf8_lossy(&client.stderr).into_owned() + &String::from_utf8_lossy(&client.stdout);
    assert_eq!(client.status.code(), Some(0), "{}: {said}", model.name);
    assert_eq!(server.finish().0, Some(0), "{}", model.name);

    succeed("fusionc", &["eval", arg(plan), "--input", arg(&x), "-o", arg(&expected)]);
    assert_eq!(read_labels(&labels), read_labels(&expected), "{}", model.name);

    let read = |path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap();
    let [client, server] = [read(&report), read(&server_report)];
    assert!(client["batch"]["positions"].as_u64().unwrap() >= batch.least_positions, "{}", client["batch"]);
    assert_eq!((&client["verdict"]["accepted"], &client["verdict"]["verified"]), (&true.into(), &true.into()));
    for side in [&client, &server] {
        for direction in ["client_to_server", "server_to_client"] {
            assert_eq!(side["bytes"][direction], side["predicted"][direction], "{} {direction}", model.name);
        }
    }
    assert_eq!(client["rounds"], client["predicted"]["rounds"], "{}", model.name);
    assert!(server["verdict"].is_null() && server["labels"].is_null(), "the server knows no verdict");
}

fn argmax(logits: &ArrayD<f32>) -> Vec<i64> {
    let best = |row: ndarray::ArrayViewD<f32>| {
        let row: Vec<f32> = row.iter().copied().collect();
        (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as i64
    };
    logits.axis_iter(Axis(0)).map(best).collect()
}

/// The share of a case's images on which the fixed-point reference answers as the float model does.
fn agreement(model: &Model, plan: &Path, folder: &Path) -> f64 {
    let labels = folder.join("all.csv");
    succeed("fusionc", &["eval", arg(plan), "--input", arg(&model.inputs), "-o", arg(&labels)]);
    let expected = argmax(&load::<f32>(&model.inputs.with_file_name("expected.npy")));
    let found = read_labels(&labels);
    assert_eq!(found.len(), expected.len());
    found.iter().zip(&expected).filter(|(a, b)| a == b).count() as f64 / found.len() as f64
}

fn digits_model() -> Model {
    let digits = root().join("models/digits");
    let [onnx, calibrate] = ["digits.onnx", "calibrate.npy"].map(|file| digits.join(file));
    // Queries and public samples come from one file here: both are held out.
    let [inputs, labels] = ["queries.npy", "query_labels.npy"].map(|file| digits.join(file));
    Model { name: "digits", onnx, calibrate, inputs, labels }
}

#[test]
fn digits() {
    let folder = tempfile::tempdir().unwrap();
    let model = digits_model();
    let plan = compile(&model, folder.path(), &[]);
    let policy = &["--lambda", "20", "--accuracy", "0.95", "--catch", "0.3"];
    verify(&model, &plan, folder.path(), &Batch { queries: 40, public: 300, policy, least_positions: 200 });
}

#[test]
fn digits_with_packed_results() {
    let folder = tempfile::tempdir().unwrap();
    let model = digits_model();
    let plan = compile(&model, folder.path(), &["--backend", "cheetah(pack)"]);
    let policy = &["--lambda", "5", "--accuracy", "0.95", "--catch", "0.8"];
    verify(&model, &plan, folder.path(), &Batch { queries: 3, public: 40, policy, least_positions: 12 });
}

/// A case: nearly all images answered as the float model does, and a verified batch equal to the
/// reference.
fn real_model(name: &'static str, least_agreement: f64, batch: &Batch) {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = case_model(name, folder.path()) else { return };
    let plan = compile(&model, folder.path(), &[]);
    let agreement = agreement(&model, &plan, folder.path());
    assert!(agreement >= least_agreement, "{name}: {agreement}");
    verify(&model, &plan, folder.path(), batch);
}

const MNIST: Batch = Batch {
    queries: 70,
    public: 330,
    policy: &["--lambda", "10", "--accuracy", "0.95", "--catch", "0.5"],
    least_positions: 200,
};

#[test]
fn mnist_cnn_cntk() {
    real_model("mnist_cnn_cntk", 0.99, &MNIST);
}

#[test]
fn mnist_convsmall() {
    real_model("mnist_convsmall", 0.99, &MNIST);
}

#[test]
fn cifar10_resnet20() {
    let policy = &["--lambda", "3", "--accuracy", "0.9", "--catch", "0.9"];
    real_model("cifar10_resnet20", 0.97, &Batch { queries: 2, public: 20, policy, least_positions: 6 });
}
