//! Tree ensembles of every layout against onnxruntime's labels, on rows that lie on thresholds, with missing values and infinities: all of them, in
//! the fixed-point reference that every protocol equals.

use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Options, compile};
use fusion_compiler::evaluate::{evaluate, quantise};
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

#[test]
fn every_label_is_onnxruntimes() {
    assert!(names().len() >= 18);
    for name in names() {
        let file = |kind: &str| fixtures().join(format!("{name}.{kind}"));
        let mut options = Options::new(file("onnx"));
        options.calibrate = Some(file("x.npy"));
        // onnxruntime is the judge here.
        options.checks.min_agreement = 0.0;
        let compiled = compile(&options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bytes = std::fs::read(file("x.npy")).unwrap();
        let rows = Npy::parse(&bytes).unwrap().reals().unwrap();
        let function = &compiled.plan.function;
        let samples: Vec<Vec<f32>> = rows.chunks(function.values[0].ty.len()).map(<[f32]>::to_vec).collect();
        let bytes = std::fs::read(file("y.npy")).unwrap();
        let expected = Npy::parse(&bytes).unwrap().integers().unwrap();
        let weights = compiled.plan.weights.as_ref().unwrap();
        let found = evaluate(function, weights, &quantise(function, &samples)).labels();
        let wrong: Vec<usize> = (0..found.len()).filter(|row| found[*row] != expected[*row]).collect();
        assert!(wrong.is_empty() && found.len() == expected.len(), "{name}: rows {wrong:?} of\n{function}");
        assert!(matches!(&function.values[0].op, Op::Input(format) if format.ordered), "{name}");
    }
}
