//! Default exports of models of tables against onnxruntime's labels: support vector machines of
//! every kernel, boosting that is written as one ensemble for each tree, columns of categories,
//! missing values. All rows, in the fixed-point reference that every protocol equals.

use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Compiled, Options, compile};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::samples;
use fusion_ir::npy::Npy;
use fusion_ir::prefix::{Categories, Element, Step};
use fusion_ir::{Op, Plan, Prefix, text};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports").join(name)
}

fn rows(name: &str) -> PathBuf {
    let array = fixture(&format!("{name}.x.npy"));
    if array.exists() { array } else { fixture(&format!("{name}.x.csv")) }
}

/// The fixture to be compiled on its own rows; onnxruntime is the judge here.
fn options(name: &str) -> Options {
    let mut options = Options::new(fixture(&format!("{name}.onnx")));
    options.calibrate = Some(rows(name));
    options.checks.min_agreement = 0.0;
    options
}

fn compiled(name: &str) -> Compiled {
    compile(&options(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn check(name: &str) -> Plan {
    check_plan(name, compiled(name).plan)
}

fn check_plan(name: &str, plan: Plan) -> Plan {
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
    for name in ["linear", "rbf", "rbf3", "poly", "poly2", "sigmoid", "probability", "probability3"] {
        let plan = check(&format!("svc_{name}"));
        let classes: &[&str] = if name == "rbf" { &["ill", "well"] } else { &[] };
        assert_eq!(plan.schema.classes, classes);
    }
}

/// In units in which columns are in the millions a kernel's factor is far below what weights hold.
#[test]
fn support_vector_machines_of_columns_in_any_unit() {
    check("svc_units");
}

#[test]
fn support_vector_machines_without_vectors() {
    for name in ["", "_positive", "_probability", "3"] {
        check(&format!("svc_coefficients{name}"));
    }
}

/// What writes an SVC of two classes gives the class that it does not predict the larger score.
#[test]
fn scores_that_are_not_in_the_labels_order_are_warned_of() {
    let warned = |name: &str, output: Option<&str>| {
        let mut options = options(name);
        options.part.output = output.map(Into::into);
        let warnings = compile(&options).unwrap().summary.warnings;
        warnings.iter().filter(|warning| warning.contains("another class than the model's own label")).count()
    };
    assert_eq!(warned("svc_rbf", Some("probabilities")), 1);
    assert_eq!(warned("svc_rbf", None), 0);
    assert_eq!(warned("svc_rbf3", Some("probabilities")), 0);
    assert_eq!(warned("calibrated_svc", Some("probabilities")), 0);
}

/// They are found by iteration until little changes, which no fixed program does.
#[test]
fn probabilities_of_more_classes_are_refused_by_name() {
    let mut options = options("svc_probability3");
    options.part.output = Some("probabilities".into());
    let error = compile(&options).unwrap_err().to_string();
    for part in ["SVMc", "probabilities of 3 classes", "its label, \"label\", is", "CalibratedClassifierCV"] {
        assert!(error.contains(part), "{error}");
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
    let says = |name: &str| compiled(name).summary.warnings.iter().any(|warning| warning.contains("in fixed point"));
    assert!(says("pca_forest") && !says("one_hot_forest"));
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
fn numbers_are_keys_a_missing_one_too() {
    let plan = check("float_keys");
    let prefix = plan.schema.prefix.expect("a prefix");
    // A key that is there twice counts once.
    let doses = Categories::Numbers(vec![0.5, f32::NAN, 0.0, 2.25]);
    assert_eq!(prefix.categories(1), Some(&doses), "{prefix}");
    let steps = |element: &&Element| matches!(element, Element::Number { steps, .. } if !steps.is_empty());
    assert!(!prefix.elements.iter().any(|element| steps(&element)), "the scaler stays private: {prefix}");
}

/// What scales columns is in the client's plan if that is asked for, and only then.
#[test]
fn a_prefix_is_public_as_far_as_asked_for() {
    for name in ["one_hot", "one_hot_forest", "one_hot_text", "ordinal_text", "float_keys", "imputer", "pca_forest"] {
        let mut options = options(name);
        let private = compile(&options).unwrap().plan.schema.prefix;
        options.part.public_prefix = true;
        let public = check_plan(name, compile(&options).unwrap().plan).schema.prefix.expect("a prefix");
        let steps = |prefix: &Prefix| {
            let of = |element: &Element| match element {
                Element::Number { steps, .. } => steps.iter().filter(|step| !matches!(step, Step::Impute(_))).count(),
                Element::Category { .. } => 0,
            };
            prefix.elements.iter().map(of).sum::<usize>()
        };
        assert_eq!(private.as_ref().map_or(0, steps), 0, "{name}");
        let scaled = public.elements.iter().filter(|element| matches!(element, Element::Number { .. })).count();
        // Nothing scales behind the imputer; PCA shifts columns again before it mixes them.
        let expected = scaled * [0, 1, 2][usize::from(name != "imputer") + usize::from(name == "pca_forest")];
        assert_eq!(steps(&public), expected, "{name}: {public}");
    }
    // Where there is nothing to do, the summary says so.
    let mut options = options("svc_linear");
    options.part.public_prefix = true;
    let Compiled { plan, summary } = compile(&options).unwrap();
    assert!(plan.schema.prefix.is_none());
    assert!(summary.warnings.iter().any(|warning| warning.contains("a public prefix was asked for")));
}

/// Offsets of seconds since an epoch, rows near the border of two classes: whoever scales, the
/// offset is subtracted before digits of the difference are lost.
#[test]
fn a_scaler_of_columns_far_from_zero_may_be_private() {
    let plan = check("far");
    assert!(plan.schema.prefix.is_none());
    let mut options = options("far");
    options.part.public_prefix = true;
    let public = check_plan("far", compile(&options).unwrap().plan);
    assert_eq!(public.schema.prefix.map(|prefix| prefix.constants()), Some(6));
}

/// The same of columns that are subtracted from their offset. Nothing is said of the scores: they
/// are those of the file.
#[test]
fn columns_far_from_zero_may_be_turned_around() {
    check("far_turned");
    let summary = compiled("far_turned").summary;
    assert!(summary.warnings.iter().all(|warning| !warning.contains("scores")), "{:?}", summary.warnings);
}

#[test]
fn missing_values_are_replaced_by_the_client() {
    let plan = check("imputer");
    let prefix = plan.schema.prefix.expect("a prefix");
    assert!(
        prefix
            .elements
            .iter()
            .all(|element| matches!(element, Element::Number { steps, .. } if matches!(steps[..], [Step::Impute(_)])))
    );
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
    assert!(shown.contains("; column 1 = \"body mass\"\n"), "{shown}");
    assert_eq!(text::parse(&shown).unwrap(), plan.function);

    let run = std::process::Command::new(env!("CARGO_BIN_EXE_fusionc"));
    let run = { run }.args(["dump", "--format", "json"]).arg(&path).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let schema = &shown["schema"];
    assert_eq!(schema["columns"], serde_json::json!(["age", "body mass", "city", "grade", "rooms"]));
    assert_eq!(schema["prefix"]["sets"][0], serde_json::json!({ "Texts": ["Oslo", "San José", "a, b"] }));
    let city = serde_json::json!({ "Category": { "column": 2, "set": 0, "values": { "One": 0 }, "other": 0.0 } });
    assert_eq!(schema["prefix"]["elements"][2], city);
    assert_eq!(shown["values"].as_array().map(Vec::len), Some(plan.function.values.len()));
}
