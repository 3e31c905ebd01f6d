//! What compiles computes what the ONNX file means: small models, each of a kind that was once
//! misread, with another runtime's labels.

use std::path::{Path, PathBuf};

use fusion_compiler::agreement::{Agreement, Reference};
use fusion_compiler::compile::{Options, compile, simplify};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::import::{self, Imported, Part};
use fusion_compiler::memory::Memory;
use fusion_compiler::nn::{eval, mask};
use fusion_compiler::oracle::Oracle;
use fusion_compiler::samples;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/meaning")
}

fn labels(folder: &Path) -> Vec<i64> {
    let labels: ndarray::Array1<i64> = ndarray_npy::read_npy(folder.join("labels.npy")).unwrap();
    labels.to_vec()
}

fn differing(found: &[i64], expected: &[i64]) -> usize {
    found.iter().zip(expected).filter(|(a, b)| a != b).count()
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn networks_mean_what_their_files_mean() {
    for case in cases() {
        let graph = import::read(&case.join("model.onnx"), None).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
        let samples = samples::array(&case.join("input.npy"), graph.input_shape()).unwrap();
        let expected = labels(&case);
        let (settled, _) = mask::settle(&graph, &samples).unwrap();
        for graph in [graph.clone(), settled.clone(), simplify(settled)] {
            let outputs = eval::outputs(&graph, &samples[..expected.len()]);
            let found: Vec<i64> = outputs.iter().map(|y| eval::argmax(y) as i64).collect();
            assert_eq!(differing(&found, &expected), 0, "{}: {found:?}", case.display());
        }
    }
}

#[test]
fn plans_mean_what_their_files_mean() {
    for case in cases() {
        let calibrate = Some(case.join("input.npy"));
        let options = Options { calibrate, ..Options::new(case.join("model.onnx")) };
        let plan = compile(&options).unwrap_or_else(|e| panic!("{}: {e}", case.display())).plan;
        let samples = samples::array(&case.join("input.npy"), &plan.function.values[0].ty.shape).unwrap();
        let expected = labels(&case);
        let quantised = quantise(&plan.function, &samples[..expected.len()]);
        let found = evaluate(&plan.function, plan.weights.as_ref().unwrap(), &quantised).labels();
        // A near tie may fall either way.
        assert!(differing(&found, &expected) <= 1, "{}: {found:?}", case.display());
    }
}

/// The witness of compilations says what onnxruntime says, or that it cannot.
#[test]
fn tract_means_what_onnxruntime_means() {
    let mut silent = Vec::new();
    for case in cases() {
        let Imported { graph, inputs, .. } =
            import::read_part(&case.join("model.onnx"), None, &Part::default(), Memory::default()).unwrap();
        let samples = samples::array(&case.join("input.npy"), graph.input_shape()).unwrap();
        let oracle = Oracle::open(&case.join("model.onnx"), &inputs, &Part::default());
        let expected = labels(&case);
        match oracle.and_then(|oracle| oracle.run(&samples[..expected.len()], &|_| ())) {
            Ok(answers) => {
                let agreement = Agreement::of(Reference::Tract, &expected, &answers);
                assert_eq!(agreement.differing, [] as [usize; 0], "{}", case.display());
            }
            Err(_) => silent.push(case.file_name().unwrap().to_string_lossy().into_owned()),
        }
    }
    let known =
        ["add6_broadcast_axis", "bf16_weight", "if_constant_condition", "loop", "loop_scanned_outputs", "s2d28_crd"];
    let quantised = ["quantise_int4", "quantize_output_dtype_int8_no_zero_point", "quantize_output_dtype_mid"];
    let known = [&known[..], &quantised].concat();
    assert!(silent.iter().all(|name| known.contains(&name.as_str())), "tract is silent on {silent:?}");
}
