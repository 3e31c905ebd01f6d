//! Small models whose meaning was once lost, of the case folder (beside the project or at
//! `FUSION_CASES`): the expected labels, or a refusal that names node and reason. Without the
//! folder these tests say so and pass.

use std::io::Write;
use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Options, compile};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::samples;

/// Cases that are refused, with the node and words of the reason. README's table of what is refused
/// has each.
const REFUSED: &[(&str, [&str; 2])] = &[("output_two_rows_softmax", ["node \"y\"", "several rows of scores"])];
/// Cases whose samples leave the calibrated format: that is said of each, and the labels mean
/// nothing.
const CLIPPED: &[&str] = &["calibration_zeros_input_clipped", "input_beyond_format_not_reported"];

fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases");
    let folder = std::env::var_os("FUSION_CASES").map_or_else(beside, PathBuf::from).join("wrong");
    if folder.is_dir() {
        return Some(folder);
    }
    // Not by a macro, whose words are lost where a test succeeds.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {} is absent", folder.display());
    None
}

/// The labels of the first samples, from `labels.npy` or from a text.
fn expected(case: &Path) -> Vec<i64> {
    if let Ok(labels) = ndarray_npy::read_npy::<_, ndarray::Array1<i64>>(case.join("labels.npy")) {
        return labels.to_vec();
    }
    let text = std::fs::read_to_string(case.join("expected.txt")).unwrap();
    let labels = text.split("labels ").nth(1).unwrap_or_else(|| panic!("{}: no labels", case.display()));
    labels.split([';', '\n']).next().unwrap().split_whitespace().map(|label| label.parse().unwrap()).collect()
}

#[test]
fn cases_that_were_wrong_are_right_or_refused() {
    let Some(folder) = folder() else { return };
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(cases.len() >= 35, "only {} cases", cases.len());
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let is_model = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "onnx");
        let model = std::fs::read_dir(&case).unwrap().map(|entry| entry.unwrap().path()).find(is_model).unwrap();
        let own = Some(case.join("calibrate.npy")).filter(|path| path.is_file());
        let calibrate = Some(own.unwrap_or_else(|| case.join("input.npy")));
        let compiled = compile(&Options { calibrate, ..Options::new(model) });
        if let Some((_, words)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            let why = compiled.expect_err(&name).to_string();
            assert!(words.iter().all(|word| why.contains(word)), "{name}: {why}");
            continue;
        }
        let plan = compiled.unwrap_or_else(|why| panic!("{name}: {why}")).plan;
        let function = &plan.function;
        let samples = samples::array(&case.join("input.npy"), &function.values[0].ty.shape).unwrap();
        if CLIPPED.contains(&name.as_str()) {
            let quantiser = function.quantiser();
            assert!(samples.iter().all(|sample| !quantiser.clipped(sample).is_empty()), "{name}: not clipped");
            continue;
        }
        let expected = expected(&case);
        let quantised = quantise(function, &samples[..expected.len()]);
        let found = evaluate(function, plan.weights.as_ref().unwrap(), &quantised).labels();
        // One near tie may fall either way.
        let differing = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert!(differing <= 1, "{name}: {differing} of {} labels differ", expected.len());
    }
}
