//! Models of several inputs are compiled as one of all of them, and tables find them by name.

mod support;

use std::path::{Path, PathBuf};

use fusion_compiler::agreement::Reference;
use fusion_compiler::compile::{Options, compile};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::import::{self, Part};
use fusion_compiler::memory::Memory;
use fusion_compiler::nn::Op;
use fusion_compiler::schema::Names;
use fusion_compiler::{Error, samples};
use fusion_table::LabelFile;
use support::{int, model_of, node, numbers, tensor};

struct Folder(tempfile::TempDir);

impl Folder {
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn folder() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

/// As skl2onnx writes a pipeline on a data frame: one input for each column, joined; one has two
/// elements here. What reads them joins them in another order than the file lists them.
fn columns() -> Vec<u8> {
    let nodes = [
        node("Concat", "join", &["body_mass", "age", "pressure"], "all", &[int("axis", 1)]),
        node("Sub", "centre", &["all", "mean"], "centred", &[]),
        node("MatMul", "fc", &["centred", "w"], "y", &[]),
    ];
    let inputs: [(&str, &[u64]); 3] = [("age", &[1]), ("body_mass", &[1]), ("pressure", &[2])];
    let weights: Vec<f32> = numbers(12);
    model_of(
        &inputs,
        &["y"],
        13,
        &nodes,
        &[tensor("mean", &[4], &[25.0, 50.0, 120.0, 80.0]), tensor("w", &[4, 3], &weights)],
    )
}

/// Rows of age, body mass, and pressure, twice.
fn rows() -> Vec<[f32; 4]> {
    let row = |x: &[f32]| [50.0 + 10.0 * x[0], 25.0 + 4.0 * x[1], 120.0 + 9.0 * x[2], 80.0 + 5.0 * x[3]];
    numbers(160).chunks(4).map(row).collect()
}

/// What the model says of a row.
fn label([age, mass, high, low]: [f32; 4]) -> (i64, f32) {
    let weights = numbers(12);
    let x = [mass - 25.0, age - 50.0, high - 120.0, low - 80.0];
    let scores = [0, 1, 2].map(|class| (0..4).map(|i| x[i] * weights[3 * i + class]).sum::<f32>());
    let mut order = [0, 1, 2];
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    (order[0] as i64, scores[order[0]] - scores[order[1]])
}

#[test]
fn inputs_of_one_column_each_are_one_vector_again() {
    let folder = folder();
    let file = folder.write("columns.onnx", &columns());
    let imported = import::read_part(&file, None, &Part::default(), Memory::default()).unwrap();
    let named: Vec<(&str, &[usize])> =
        imported.inputs.iter().map(|input| (input.name.as_str(), input.shape.as_slice())).collect();
    assert_eq!(named, [("age", &[1, 1][..]), ("body_mass", &[1, 1]), ("pressure", &[1, 2])]);
    let ops = |op: &dyn Fn(&Op) -> bool| imported.graph.nodes.iter().filter(|node| op(&node.op)).count();
    assert_eq!(imported.graph.input_shape(), [4]);
    assert_eq!(ops(&|op| matches!(op, Op::Slice { .. })), 3, "{}", imported.graph);
}

#[test]
fn a_table_finds_them_by_name_and_tract_agrees() {
    let folder = folder();
    let model = folder.write("columns.onnx", &columns());
    let line = |[age, mass, high, low]: &[f32; 4]| format!("{low},{mass},x,{age},{high}\n");
    let header = "pressure[1],body mass,note,age,pressure[0]\n";
    let table: String = std::iter::once(header.to_owned()).chain(rows().iter().map(line)).collect();
    let calibrate = folder.write("c.csv", table.as_bytes());
    let compiled = compile(&Options { calibrate: Some(calibrate.clone()), ..Options::new(model.clone()) }).unwrap();
    let agreement = &compiled.summary.agreement;
    assert_eq!((&agreement.reference, agreement.agreeing), (&Reference::Tract, 40), "{agreement}");
    let plan = compiled.plan;
    assert_eq!(plan.schema.columns, ["age", "body mass", "pressure[0]", "pressure[1]"]);
    assert!(compiled.summary.warnings.iter().any(|warning| warning.contains("are ignored: \"note\"")));

    let file = samples::open(&calibrate).unwrap();
    let (read, _) = samples::samples(&calibrate, &file, &[4], &plan.schema, &[], false).unwrap();
    assert_eq!(read.iter().map(|row| row.as_slice()).collect::<Vec<_>>(), rows());
    let quantised = quantise(&plan.function, &read);
    let labels = evaluate(&plan.function, plan.weights.as_ref().unwrap(), &quantised).labels();
    for (row, found) in rows().into_iter().zip(labels) {
        let (expected, lead) = label(row);
        assert!(found == expected || lead < 0.1, "{row:?}");
    }

    let refused = |options: Options| compile(&options).unwrap_err().to_string();
    let names = Names { columns: vec!["age".into()], classes: Vec::new() };
    let text = refused(Options { names, calibrate: Some(calibrate.clone()), ..Options::new(model.clone()) });
    assert_eq!(text, "`names.columns`: 1 names for 4 inputs");
    let names = Names { columns: Vec::new(), classes: vec!["low".into(), "high".into()] };
    let text = refused(Options { names, ..Options::new(model.clone()) });
    assert_eq!(text, "`names.classes`: 2 names for 3 classes");
    let Err(Error::Unsupported(why)) = compile(&Options { input_shape: Some(vec![1, 4]), ..Options::new(model) })
    else {
        panic!("compiled")
    };
    assert!(why[0].why.contains("`input_shape` is for models of one"), "{}", why[0]);
}

/// Default exports of pipelines on data frames: nothing is said but what to calibrate on, and every
/// label is onnxruntime's by name.
#[test]
fn exports_of_data_frames_answer_by_name() {
    let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/data_frame").join(name);
    for (name, classes) in [("forest", ["ill, maybe", "well"].as_slice()), ("logistic", &["1", "2", "7"])] {
        let table = fixture(&format!("{name}.csv"));
        let answer: LabelFile = format!("{}:answer", table.display()).parse().unwrap();
        let mut options = Options::new(fixture(&format!("{name}.onnx")));
        (options.calibrate, options.labels) = (Some(table.clone()), Some(answer.clone()));
        options.checks.expected = Some(answer.clone());
        options.checks.min_agreement = 1.0;
        let compiled = compile(&options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let agreement = &compiled.summary.agreement;
        assert_eq!((agreement.agreeing, agreement.near_ties, compiled.summary.correct), (300, 0, Some(300)), "{name}");
        let schema = &compiled.plan.schema;
        assert_eq!(schema.columns, ["age of patient", "smoker", "body mass", "pressure"]);
        assert_eq!(schema.classes, classes, "{name}");
        // tract agrees too, or says that it cannot know.
        options.checks.expected = None;
        options.checks.min_agreement = 0.99;
        compile(&options).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
