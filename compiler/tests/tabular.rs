//! Classifiers of tables in raw units: features from 1e-3 to 1e5, a year, columns that are mostly
//! zero.

use std::path::Path;

use fusion_compiler::compile::{Compiled, Options, compile};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::samples;
use fusion_ir::text::parse;
use fusion_ir::{Op, Plan};

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tabular").join(name)
}

fn compiled(name: &str) -> Compiled {
    let calibrate = Some(file(&format!("{name}_calibrate.npy")));
    compile(&Options { calibrate, ..Options::new(file(&format!("{name}.onnx"))) }).unwrap()
}

/// Fixed point gives onnxruntime's label on all rows but `missed`.
fn agrees(name: &str, missed: usize) {
    let Compiled { plan, .. } = compiled(name);
    let samples = samples::array(&file(&format!("{name}.npy")), &plan.function.values[0].ty.shape).unwrap();
    let expected: ndarray::Array1<i64> = ndarray_npy::read_npy(file(&format!("{name}_labels.npy"))).unwrap();
    let labels = evaluate(&plan.function, plan.weights.as_ref().unwrap(), &quantise(&plan.function, &samples)).labels();
    assert_eq!(labels.len(), expected.len());
    let wrong = labels.iter().zip(&expected).filter(|(a, b)| a != b).count();
    assert!(wrong <= missed, "{name}: {wrong} of {} labels differ", labels.len());
}

#[test]
fn wine_with_a_scaler_inside() {
    agrees("wine", 0);
}

#[test]
fn cancer_with_its_scaler_folded() {
    agrees("cancer", 2);
}

#[test]
fn census_with_a_year_and_rare_columns() {
    agrees("census", 6);
}

#[test]
fn both_plans_and_the_text_carry_the_features_formats() {
    let Compiled { plan, summary } = compiled("census");
    let Op::Input(format) = &plan.function.values[0].op else { panic!("value 0 is the input") };
    let fracs: Vec<i16> = format.features.iter().map(|feature| feature.frac).collect();
    assert_eq!((format.axis, fracs.len()), (0, 15));
    // The sampling weight has units of many, the rate of a fraction of a thousandth; the year
    // counts from another one.
    assert!(fracs[1] < -3 && fracs[6] - fracs[1] > 22, "{fracs:?}");
    let year = format.features[5];
    let centre = year.offset as f64 / f64::from(year.frac).exp2();
    assert!(year.frac >= 6 && (1995.0..2015.0).contains(&centre), "{year:?}");

    let client = Plan::from_bytes(&plan.for_client().to_bytes()).unwrap();
    assert_eq!(client.function, plan.function);
    assert_eq!(parse(&plan.function.to_string()).unwrap(), plan.function);
    assert!(summary.warnings.iter().all(|warning| !warning.contains("scale")), "{:?}", summary.warnings);
}
