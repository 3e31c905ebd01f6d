//! Graphs on which something once went wrong, found by `tests/differential`: right labels or the
//! refusal that is expected.

use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Options, compile};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::samples;

fn folders() -> Vec<PathBuf> {
    let graphs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/graphs");
    let entries = std::fs::read_dir(graphs).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The labels that a compilation gives, or why there is none.
fn labels(folder: &Path) -> Result<Vec<i64>, String> {
    let samples = folder.join("input.npy");
    let options = Options { calibrate: Some(samples.clone()), ..Options::new(folder.join("model.onnx")) };
    let plan = compile(&options).map_err(|error| error.to_string())?.plan;
    let function = &plan.function;
    let samples = samples::array(&samples, &function.values[0].ty.shape).map_err(|error| error.to_string())?;
    Ok(evaluate(function, plan.weights.as_ref().unwrap(), &quantise(function, &samples)).labels())
}

#[test]
fn graphs_that_once_went_wrong_are_right_or_refused() {
    let folders = folders();
    assert!(folders.len() >= 20, "only {} folders", folders.len());
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let expected = std::fs::read_to_string(folder.join("expected.txt")).unwrap();
        let line = |key: &str| expected.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        match (labels(&folder), line("labels")) {
            (Ok(found), Some(wanted)) => {
                let wanted: Vec<&str> = wanted.split_whitespace().collect();
                assert_eq!(found.len(), wanted.len(), "{name}");
                for (sample, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                    assert!(
                        wanted == "-" || found.to_string() == wanted,
                        "{name}: sample {sample}: {found}, not {wanted}"
                    );
                }
            }
            (Ok(_), None) => panic!("{name}: compiled, though it should be refused"),
            (Err(why), _) => {
                let allowed = line("refused").or(line("or"));
                assert!(allowed.is_some_and(|text| why.contains(text)), "{name}: {why}");
            }
        }
    }
}
