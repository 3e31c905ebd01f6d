//! Tree ensembles of every layout against onnxruntime's labels, on rows that lie on thresholds,
//! with missing values and infinities: all of them, in the fixed-point reference that every
//! protocol equals.

use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Compiled, Options, compile};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::nn::trees::HideShape;
use fusion_compiler::samples;
use fusion_ir::Op;
use fusion_ir::npy::Npy;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tabular")
}

fn names() -> Vec<String> {
    let all = std::fs::read_dir(fixtures()).expect("fixtures are there");
    let names = all.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".onnx")?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The fixture compiled on its own rows; onnxruntime is the judge here.
fn compiled(name: &str, hide_shape: Option<HideShape>) -> Compiled {
    let file = |kind: &str| fixtures().join(format!("{name}.{kind}"));
    let mut options = Options::new(file("onnx"));
    options.calibrate = Some(file("x.npy"));
    options.checks.min_agreement = 0.0;
    options.hide_shape = hide_shape;
    compile(&options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Holds the labels of every row against onnxruntime's.
fn check(name: &str, compiled: &Compiled) {
    let file = |kind: &str| std::fs::read(fixtures().join(format!("{name}.{kind}.npy"))).unwrap();
    let rows = Npy::parse(&file("x")).unwrap().reals().unwrap();
    let expected = Npy::parse(&file("y")).unwrap().integers().unwrap();
    let function = &compiled.plan.function;
    let samples: Vec<Vec<f32>> = rows.chunks(function.values[0].ty.len()).map(<[f32]>::to_vec).collect();
    let weights = compiled.plan.weights.as_ref().unwrap();
    let found = evaluate(function, weights, &quantise(function, &samples)).labels();
    let wrong: Vec<usize> = (0..found.len()).filter(|row| found[*row] != expected[*row]).collect();
    assert!(wrong.is_empty() && found.len() == expected.len(), "{name}: rows {wrong:?} of\n{function}");
    assert!(matches!(&function.values[0].op, Op::Input(format) if format.ordered), "{name}");
}

#[test]
fn every_label_is_onnxruntimes() {
    assert!(names().len() >= 20);
    names().iter().for_each(|name| check(name, &compiled(name, None)));
}

/// The client scales and imputes; thresholds are those of scaled features then. What the client has
/// no step for, arithmetic in float64, stays in the thresholds.
#[test]
fn a_public_prefix_has_the_same_labels() {
    let constants = [
        ("prepared", 12),
        ("far", 8),
        ("wide", 0),
        ("wide_scaler", 0),
        ("wide_input", 0),
        ("whole", 0),
        ("limits", 4),
        ("whole_scaler", 8),
        ("whole_limits", 0),
    ];
    for (name, constants) in constants {
        let file = |kind: &str| fixtures().join(format!("{name}.{kind}"));
        let mut options = Options::new(file("onnx"));
        options.calibrate = Some(file("x.npy"));
        options.checks.min_agreement = 0.0;
        options.part.public_prefix = true;
        let plan = compile(&options).unwrap().plan;
        let path = file("x.npy");
        let shape = &plan.function.values[0].ty.shape;
        let opened = samples::open(&path).unwrap();
        let (rows, _) = samples::samples(&path, &opened, shape, &plan.schema, &[], true).unwrap();
        let found = evaluate(&plan.function, plan.weights.as_ref().unwrap(), &quantise(&plan.function, &rows)).labels();
        let expected = Npy::parse(&std::fs::read(file("y.npy")).unwrap()).unwrap().integers().unwrap();
        assert!(found == expected && plan.function.quantiser().is_ordered(), "{name}");
        assert_eq!(plan.schema.prefix.map_or(0, |prefix| prefix.constants()), constants, "{name}");
    }
}

/// onnxruntime's integers wrap around, those here do not.
#[test]
fn integers_that_wrap_are_refused_by_name() {
    for (name, node, kind) in [
        ("mul", "Mul0", "int32"),
        ("million", "Mul0", "int32"),
        ("second", "Mul1", "int64"),
        ("sub", "-Sub1", "int32"),
        ("cast", "to_cast0", "int32"),
        ("codes", "enlarge", "int32"),
        ("product", "multiply", "int32"),
    ] {
        let model = fixtures().join(format!("refused/{name}.onnx"));
        for public_prefix in [false, true] {
            let mut options = Options::new(model.clone());
            options.part.public_prefix = public_prefix;
            let Err(why) = compile(&options).map(|_| ()) else { panic!("{name} is compiled") };
            let why = why.to_string();
            let words = [format!("node {node:?}"), kind.into(), "wrap around".into(), "Cast to".into()];
            assert!(words.iter().all(|word| why.contains(word)), "{name}: {why}");
        }
    }
}

#[test]
fn hidden_shapes_have_the_same_labels() {
    for name in ["missing", "newest", "first_logit", "missing_two"] {
        for hide in [HideShape::Depth, HideShape::Nodes] {
            check(name, &compiled(name, Some(hide)));
        }
    }
}

/// Features, thresholds, kinds of comparison, what becomes of missing values, and leaves are in no
/// byte of the client's plan. What either party sends and when follows from that plan alone.
#[test]
fn ensembles_of_one_shape_have_one_clients_plan() {
    let [a, b] = ["twin_a", "twin_b"].map(|name| compiled(name, None).plan);
    assert_ne!(a.weights, b.weights);
    assert_eq!(a.for_client().to_bytes(), b.for_client().to_bytes());
    assert_eq!(a.digest(), b.digest());
    // Hidden up to the depth, ensembles of as many trees and one depth are alike too.
    let forest = |name: &str| {
        let plan = compiled(name, Some(HideShape::Depth)).plan;
        plan.function.values.iter().find_map(|value| match &value.op {
            Op::Paths(forest) => Some(forest.clone()),
            _ => None,
        })
    };
    let plain = |name: &str| compiled(name, None).plan.function;
    assert_eq!(forest("three"), forest("three_softmax"));
    assert_ne!(plain("three"), plain("three_softmax"));
}
