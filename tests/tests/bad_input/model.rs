//! Models and calibration data that `fusionc` must refuse.

use fusion_tests::desk::Desk;
use fusion_tests::root;
use ndarray::{Array, Array1};

use crate::onnx::{FLOAT, Graph, INT64, WEIGHTS, nested, node, port, tensor};

/// Compiles `model` onto the plans of the desk, which must survive.
fn refused(desk: &Desk, model: &[u8], more: &str, phrases: &[&str]) {
    desk.write("model.onnx", model);
    desk.refuse(2, &format!("fusionc compile model.onnx -o plan.bin {more}"), phrases);
}

fn digits() -> Vec<u8> {
    std::fs::read(root().join("models/digits/digits.onnx")).unwrap()
}

#[test]
fn the_model_that_the_others_spoil_is_good() {
    let desk = Desk::new();
    desk.write("model.onnx", &Graph::default().to_bytes());
    desk.succeed("fusionc compile model.onnx -o made.bin");
    assert!(desk.succeed("fusionc dump made.bin").contains("\"scores\""));
    assert!(desk.path("made.client.bin").exists());
}

#[test]
fn truncated_models_are_named() {
    let desk = Desk::new();
    let whole = digits();
    for end in (0..whole.len()).step_by(whole.len() / 12).chain([1, 2, 5, whole.len() - 1]) {
        refused(&desk, &whole[..end], "", &["fusionc: model model.onnx: ", "truncated"]);
    }
}

#[test]
fn files_that_are_no_models_are_named() {
    let desk = Desk::new();
    for bytes in [&b"GIF89a"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"# a model\n", &[0; 64]] {
        refused(&desk, bytes, "", &["fusionc: model model.onnx: not an ONNX model, or truncated"]);
    }
    std::fs::create_dir(desk.path("folder")).unwrap();
    for (line, what) in [
        ("fusionc compile missing.onnx -o plan.bin", "missing.onnx: "),
        ("fusionc compile folder -o plan.bin", "folder: "),
        ("fusionc check missing.onnx", "missing.onnx: "),
        ("fusionc compile plan.bin -o p.bin", "model plan.bin: not an ONNX model"),
    ] {
        desk.refuse(2, line, &[what]);
    }
}

/// A flipped bit may give another good model (a weight), but never a bug or a plan that is half
/// there.
#[test]
fn corrupt_models_are_refused_or_are_models() {
    let desk = Desk::new();
    let whole = digits();
    let mut refusals = 0;
    // Structure is at both ends; in between lie weights, of which every 37th byte will do.
    let ends = (0..whole.len()).step_by(7).filter(|at| *at < 60 || *at + 200 > whole.len());
    for at in ends.chain((60..whole.len() - 200).step_by(whole.len() / 12)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x5a;
        desk.write("model.onnx", &bytes);
        let before = desk.files();
        let ended = desk.run("fusionc check model.onnx");
        desk.unchanged("fusionc check", &before);
        if ended.code != 0 {
            ended.failed(&format!("byte {at}"), 2, &["fusionc: "]);
            refusals += 1;
        }
    }
    assert!(refusals > 10, "{refusals}");
}

#[test]
fn every_unsupported_node_is_listed_with_its_operator() {
    let desk = Desk::new();
    let nodes = vec![
        node("Det", "squash", &["x"], "a"),
        node("Relu", "fine", &["a"], "b"),
        node("GridSample", "", &["b"], "unnamed_output"),
        node("Gemm", "supported", &["unnamed_output", "w"], "c"),
        node("Det", "memory", &["c"], "d"),
        node("MyOwn", "mine", &["d"], "y"),
    ];
    let model = Graph { nodes, ..Graph::default() }.to_bytes();
    let phrases = [
        "4 nodes are not supported:",
        "node \"squash\" (Det): ",
        "node \"unnamed_output\" (GridSample): ",
        "node \"memory\" (Det): ",
        "node \"mine\" (MyOwn): ",
    ];
    refused(&desk, &model, "", &phrases);
    let check = desk.refuse(2, "fusionc check model.onnx", &phrases);
    assert_eq!(check.out.lines().count(), 6, "a line per node: {}", check.out);
    assert_eq!(check.out.matches("NOT SUPPORTED").count(), 4, "{}", check.out);
    assert!(!check.err.contains("fine"), "{}", check.err);
}

#[test]
fn one_unsupported_node_is_one() {
    let desk = Desk::new();
    let nodes = vec![node("MatMul", "scores", &["x", "w"], "a"), node("Det", "wave", &["a"], "y")];
    refused(&desk, &Graph { nodes, ..Graph::default() }.to_bytes(), "", &["1 node is not", "node \"wave\" (Det)"]);
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let desk = Desk::new();
    for (value, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut elements = WEIGHTS;
        elements[7] = value;
        let model = Graph { weights: vec![tensor("w", &[4, 3], &elements)], ..Graph::default() };
        let why = format!("weight \"w\" holds {text} at element 7");
        refused(&desk, &model.to_bytes(), "", &[&why]);
    }
}

#[test]
fn models_that_do_not_fit_together_are_refused() {
    let desk = Desk::new();
    let weights = |dims: &[u64], elements: &[f32]| vec![tensor("w", dims, elements)];
    let input = |elements, dims: &[Option<u64>]| vec![port("x", elements, dims)];
    let row = [Some(1), Some(4)];
    let cases: [(Graph, &str); 10] = [
        (
            Graph { inputs: input(INT64, &row), ..Graph::default() },
            "node \"scores\" (MatMul): its operands have different types",
        ),
        (Graph { inputs: input(FLOAT, &[Some(4)]), ..Graph::default() }, "input \"x\": it has no batch axis"),
        (
            Graph { inputs: input(FLOAT, &[Some(1), Some(7)]), ..Graph::default() },
            "matrices [1, 7] and [4, 3] do not fit together",
        ),
        (Graph { inputs: Vec::new(), ..Graph::default() }, "node \"scores\" reads \"x\", which nothing defines"),
        (Graph { outputs: Vec::new(), ..Graph::default() }, "it has no output"),
        (Graph { outputs: vec![port("z", FLOAT, &row)], ..Graph::default() }, "nothing defines its output \"z\""),
        (Graph { weights: weights(&[4, 3], &WEIGHTS[..11]), ..Graph::default() }, "model model.onnx: "),
        (Graph { weights: weights(&[1 << 40, 1 << 40], &WEIGHTS), ..Graph::default() }, "model model.onnx: "),
        (Graph { weights: weights(&[4, 1], &WEIGHTS[..4]), ..Graph::default() }, "or ends with a Sigmoid"),
        (
            Graph {
                inputs: vec![port("x", FLOAT, &row), port("second", FLOAT, &[Some(4)])],
                nodes: vec![node("Add", "both", &["x", "second"], "y")],
                ..Graph::default()
            },
            "input \"second\": it has no batch axis",
        ),
    ];
    for (graph, why) in cases {
        refused(&desk, &graph.to_bytes(), "", &[why]);
    }
    refused(&desk, &nested(2_000), "", &["model model.onnx: "]);
}

#[test]
fn open_extents_must_be_given_and_given_ones_must_fit() {
    let desk = Desk::new();
    let open = Graph { inputs: vec![port("x", FLOAT, &[None, None])], ..Graph::default() }.to_bytes();
    refused(&desk, &open, "", &["input \"x\": axis 1 is dynamic; fix it with --input-shape"]);
    refused(&desk, &open, "--input-shape 1,4,4", &["it has 2 axes, --input-shape 3"]);
    refused(&desk, &open, "--input-shape 4", &["the batch axis is missing; say --input-shape 1,4"]);
    refused(&desk, &open, "--input-shape 1,0", &["--input-shape makes axis 1 empty"]);
    refused(&desk, &open, "--input-shape 1,5", &["matrices [1, 5] and [4, 3] do not fit together"]);
    refused(&desk, &open, "--input-shape 1,four", &["--input-shape", "'four'"]);
    refused(
        &desk,
        &open,
        "--input-shape 1,4000000000000000000",
        &["[1, 4000000000000000000] and [4, 3] do not fit together"],
    );
    let fixed = Graph::default().to_bytes();
    refused(&desk, &fixed, "--input-shape 1,5", &["axis 1 is 4, but --input-shape says 5"]);
    desk.write("model.onnx", &open);
    desk.succeed("fusionc compile model.onnx -o made.bin --input-shape 1,4");
}

#[test]
fn calibration_data_must_fit_the_model() {
    let desk = Desk::new();
    let model = digits();
    desk.write_array("wide.npy", &Array::<f32, _>::zeros((3, 1, 8, 9)));
    desk.write_array("double.npy", &Array::<f64, _>::from_elem((3, 1, 8, 8), 1e39));
    desk.write_array("empty.npy", &Array::<f32, _>::zeros((0, 1, 8, 8)));
    desk.write_array("nan.npy", &Array::from_elem((3, 1, 8, 8), f32::NAN));
    desk.write_array("huge.npy", &Array::from_elem((3, 1, 8, 8), f32::MAX));
    desk.write_array("high.npy", &Array1::<i64>::from_elem(3, 10));
    desk.write_array("four.npy", &Array1::<i64>::zeros(4));
    for (more, why) in [
        ("--calibrate missing.npy", "missing.npy: "),
        ("--calibrate wide.npy", "wide.npy: its shape is [3, 1, 8, 9], but [samples, 1, 8, 8] is needed"),
        ("--calibrate double.npy", "which float32 does not hold"),
        ("--calibrate empty.npy", "empty.npy: it holds no sample"),
        ("--calibrate nan.npy", "nan.npy: sample 0 holds NaN at element 0"),
        ("--calibrate huge.npy", "overflow float32"),
        ("--calibrate model.onnx", "model.onnx: not a readable .npy file"),
        ("--calibrate x.npy --labels high.npy", "high.npy: label 10 of sample 0 is not in 0..10"),
        ("--calibrate x.npy --labels four.npy", "four.npy: its shape is [4], but there are 3 samples"),
        ("--calibrate x.npy --labels x.npy", "x.npy: elements of type '<f4', but int64 is needed"),
        ("--labels py.npy", "--labels needs --calibrate"),
    ] {
        refused(&desk, &model, more, &[why]);
    }
}
