//! Default exports of models of tables against onnxruntime's labels: support vector machines of
//! every kernel, boosting that is written as one ensemble for each tree, columns of categories,
//! missing values. All rows, in the fixed-point reference that every protocol equals.

use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Compiled, Options, compile};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::samples;
use fusion_ir::npy::Npy;
use fusion_ir::prefix::{Categories, Element};
use fusion_ir::{Op, Plan, text};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports").join(name)
}

fn rows(name: &str) -> PathBuf {
    let array = fixture(&format!("{name}.x.npy"));
    if array.exists() { array } else { fixture(&format!("{name}.x.csv")) }
}

/// The fixture compiled on its own rows; onnxruntime is the judge here.
fn compiled(name: &str) -> Compiled {
    let mut options = Options::new(fixture(&format!("{name}.onnx")));
    options.calibrate = Some(rows(name));
    options.checks.min_agreement = 0.0;
    compile(&options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn check(name: &str) -> Plan {
    let plan = compiled(name).plan;
    let function = &plan.function;
    let (path, shape) = (rows(name), &function.values[0].ty.shape);
    let file = samples::open(&path).unwrap();
    let any = function.quantiser().is_ordered();
    let (samples, _) = samples::samples(&path, &file, shape, &plan.schema, &[], any).unwrap();
    let expected = std::fs::read(fixture(&format!("{name}.y.npy"))).unwrap();
    let expected = Npy::parse(&expected).unwrap().integers().unwrap();
    let found = evaluate(function, plan.weights.as_ref().unwrap(), &quantise(function, &samples)).labels();
    let wrong: Vec<usize> = (0..found.len()).filter(|row| found[*row] != expected[*row]).collect();
    assert!(wrong.is_empty() && found.len() == expected.len(), "{name}: rows {wrong:?}");
    plan
}

#[test]
fn support_vector_machines() {
    for name in ["linear", "rbf", "rbf3", "poly", "poly2", "sigmoid", "probability"] {
        let plan = check(&format!("svc_{name}"));
        let classes: &[&str] = if name == "rbf" { &["ill", "well"] } else { &[] };
        assert_eq!(plan.schema.classes, classes);
    }
}

#[test]
fn calibrated_classifiers() {
    check("calibrated");
    check("calibrated_svc");
}

#[test]
fn boosting_of_single_trees_is_one_exact_forest() {
    for name in ["ada_boost", "ada_boost3"] {
        let function = check(name).function;
        let paths = function.values.iter().filter(|value| matches!(value.op, Op::Paths(_))).count();
        assert!(function.quantiser().is_ordered() && paths == 1, "{function}");
    }
}

#[test]
fn boosting_of_labels_of_other_models() {
    check("ada_boost_linear");
}

#[test]
fn trees_behind_what_mixes_features() {
    check("pca_forest");
}

#[test]
fn categories_are_encoded_by_the_client() {
    for name in ["one_hot", "one_hot_forest", "one_hot_text", "ordinal_text", "encoders"] {
        let plan = check(name);
        let prefix = plan.schema.prefix.as_ref().expect("a prefix");
        let forest = name.ends_with("forest") || name.starts_with("ordinal");
        assert_eq!(plan.function.quantiser().is_ordered(), forest, "{name}");
        let client = Plan::from_bytes(&plan.for_client().to_bytes()).unwrap();
        assert_eq!(client.schema, plan.schema);
        if name == "one_hot_text" {
            assert_eq!(plan.schema.columns, ["age", "body mass", "city", "grade", "rooms"]);
            let city = Categories::Texts(["Oslo", "San José", "a, b"].map(String::from).to_vec());
            assert!(prefix.sets.len() == 3 && prefix.categories(2) == Some(&city), "{prefix}");
            assert_eq!(prefix.elements.len(), 2 + 3 + 2 + 5);
        }
    }
}

#[test]
fn missing_values_are_replaced_by_the_client() {
    let plan = check("imputer");
    let prefix = plan.schema.prefix.expect("a prefix");
    assert!(prefix.elements.iter().all(|element| matches!(element, Element::Number { missing: Some(_), .. })));
    assert_eq!(prefix.constants(), 5);
}

/// What the client does is printed, and the text still parses.
#[test]
fn a_dump_shows_the_prefix() {
    let plan = compiled("one_hot_text").plan;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.bin");
    std::fs::write(&path, plan.to_bytes()).unwrap();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_fusionc")).arg("dump").arg(&path).output().unwrap();
    let shown = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success() && shown.contains("; categories @c0 = {\"Oslo\", \"San José\", \"a, b\"}"), "{shown}");
    assert!(shown.contains("; v0[2] = column 2 is @c0[0], other 0\n"), "{shown}");
    assert_eq!(text::parse(&shown).unwrap(), plan.function);
}
