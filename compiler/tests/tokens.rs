//! A tiny BERT that is given the numbers of words: the client makes rows with a single 1 of them,
//! and fixed point answers what onnxruntime does (`tests/fixtures/tokens/make.py`).

use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Checks, Options, compile};
use fusion_compiler::{import, samples};
use fusion_ir::op::Reveal;
use fusion_ir::prefix::{Element, Values};
use fusion_ir::{Op, interp};
use ndarray::Array2;

const WORDS: usize = 61;
const TOKENS: usize = 10;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tokens").join(name)
}

#[test]
fn a_tiny_bert_answers_what_onnxruntime_does() {
    let (calibrate, answers) = (fixture("bert.x.npy"), fixture("bert.y.npy"));
    let expected: Array2<f32> = ndarray_npy::read_npy(&answers).unwrap();
    let checks = Checks { expected: Some(answers.into()), ..Checks::default() };
    let options = Options {
        calibrate: Some(calibrate.clone()),
        checks,
        reveal: Reveal::Logits,
        ..Options::new(fixture("bert.onnx"))
    };
    let compiled = compile(&options).unwrap();
    let (plan, agreement) = (&compiled.plan, &compiled.summary.agreement);
    assert!(agreement.share() >= 0.97, "{agreement}");
    // A row is the three inputs one after the other; what the client makes of it are the numbers of
    // two of them, and for every word that a token may be whether it is that.
    let prefix = plan.schema.prefix.as_ref().unwrap();
    assert_eq!(prefix.shape, [3 * TOKENS]);
    let of_words = |element: &&Element| matches!(element, Element::Category { column, other: None, .. } if (*column as usize) < TOKENS);
    assert_eq!(prefix.elements.iter().filter(of_words).count(), TOKENS * WORDS);
    let ones =
        prefix.elements.iter().filter(|element| matches!(element, Element::Category { values: Values::One(_), .. }));
    assert_eq!(ones.count(), TOKENS * (WORDS + 2));
    assert_eq!(prefix.sets.len(), 2, "words and types");
    // Rows and masks are whole numbers, so nothing is rounded or a guess.
    let given = &plan.function.values[0].ty;
    assert_eq!((given.frac, given.magnitude), (0, 2), "{given}");
    let warnings = &compiled.summary.warnings;
    assert!(!warnings.iter().any(|why| why.contains("features")), "{warnings:?}");
    // The table is a layer's kernel.
    let kernel = |value: &fusion_ir::Value| value.op.kernel().map(|id| plan.function.weight(id).shape.clone());
    let kernels: Vec<Vec<usize>> = plan.function.values.iter().filter_map(kernel).collect();
    assert!(kernels.iter().any(|shape| shape[..2] == [16, WORDS]), "{kernels:?}");
    assert!(plan.function.values.iter().any(|value| value.op == Op::MatMul));

    let ty = &plan.function.values.iter().rev().nth(1).unwrap().ty;
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    let weights = plan.weights.as_ref().unwrap();
    let (rows, notices) =
        samples::samples(&calibrate, &samples::open(&calibrate).unwrap(), &[], &plan.schema, &[], false).unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    let inputs = fusion_compiler::evaluate::quantise(&plan.function, &rows);
    for (sample, wanted) in inputs.iter().zip(expected.rows()) {
        let found = interp::output(&plan.function, weights, sample);
        for (a, b) in found.iter().map(|x| ty.dequantize(*x) as f32).zip(wanted) {
            assert!((a - b).abs() <= scale / 16.0, "{a} instead of {b} of {scale}");
        }
    }
}

#[test]
fn integers_that_are_no_row_of_the_table_are_refused() {
    let options = Options { calibrate: Some(fixture("bert.x.npy")), ..Options::new(fixture("bert.onnx")) };
    let schema = compile(&options).unwrap().plan.schema;
    let path = std::env::temp_dir().join(format!("fusion-tokens-{}.npy", std::process::id()));
    for (place, id) in [(4, 61), (0, -1), (25, 2)] {
        let mut rows: Array2<i64> = ndarray_npy::read_npy(fixture("bert.x.npy")).unwrap();
        rows[(7, place)] = id;
        ndarray_npy::write_npy(&path, &rows).unwrap();
        let file = samples::open(&path).unwrap();
        let refused = samples::samples(&path, &file, &[], &schema, &[], false).unwrap_err().to_string();
        assert!(refused.contains(&format!("sample 7, element {place}: \"{id}\" is no category")), "{refused}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn look_ups_that_are_not_supported_are_refused_by_name() {
    let read = |name: &str| import::read(&fixture(name), None).map_err(|error| error.to_string());
    for name in ["rows.onnx", "reshaped.onnx"] {
        assert!(read(name).is_ok(), "{name}: {:?}", read(name).err());
    }
    for name in ["columns.onnx", "counted.onnx"] {
        let why = read(name).unwrap_err();
        assert!(why.contains("\"lookup\" (Gather): it looks up in a constant what the sample says"), "{name}: {why}");
    }
    let given = import::read(&fixture("open.onnx"), Some(&[1, 5])).unwrap_err().to_string();
    assert!(given.contains("lookup") && given.contains("an input whose shape the file fixes"), "{given}");
    let open = read("open.onnx").unwrap_err();
    assert!(open.contains("\"ids\""), "{open}");
}
