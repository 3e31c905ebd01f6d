//! Conformance with ONNX: the tests that the Python wheel `onnx==1.17.0` carries (newer ones do
//! not), of single nodes, of small models that PyTorch wrote, and of a few architectures.
//!
//! Every test with one float output whose inputs are floats or constants is compiled with the
//! test's own input as calibration, its inputs secret, and computed by two in-memory parties. The
//! secure result must be the fixed-point reference's exactly, and the reference's within the
//! operator's tolerance of what ONNX expects. What passes is listed in `baseline.txt`, which can
//! only grow, and what is refused in `unsupported.txt`, which can only shrink; nothing may be
//! wrong.
//!
//! The tests are looked for in `FUSION_ONNX_NODE_TESTS`, else where `python3` imports `onnx` from;
//! without them this says so and passes.

mod secure;
mod suite;

use std::collections::BTreeMap;
use std::path::Path;

use suite::Outcome;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/baseline.txt");
const REFUSED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/unsupported.txt");

/// Tests whose answer is decided by a difference that formats do not show: the two largest elements
/// of a column differ by 0.0014, 1/1900 of the column's range.
const NEAR_TIES: [&str; 1] = ["hardmax_axis_1"];

#[test]
fn onnx_node_tests() {
    let Some(folder) = suite::folder() else {
        fusion_tests::skipped(
            "no ONNX node tests; install the Python package onnx==1.17.0 or set FUSION_ONNX_NODE_TESTS",
        );
        return;
    };
    let mut outcomes = run(&folder);
    NEAR_TIES.iter().for_each(|name| drop(outcomes.remove(*name)));
    let of = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(move |(_, o)| wanted(o)).collect::<Vec<_>>();
    let passed = of(|o| matches!(o, Outcome::Passed));
    let (unsupported, wrong) = (of(|o| matches!(o, Outcome::Unsupported(_))), of(|o| matches!(o, Outcome::Wrong(_))));
    for (name, outcome) in &outcomes {
        println!("{name}: {outcome}");
    }
    println!("{} passed, {} unsupported, {} wrong", passed.len(), unsupported.len(), wrong.len());
    assert!(wrong.is_empty(), "{} are wrong: {wrong:#?}", wrong.len());

    let names = |list: &[(&String, &Outcome)]| list.iter().map(|(name, _)| format!("{name}\n")).collect::<String>();
    let (passed, unsupported) = (names(&passed), names(&unsupported));
    let known = std::fs::read_to_string(BASELINE).expect("the baseline is there");
    let lost: Vec<&str> = known.lines().filter(|name| !passed.lines().any(|other| other == *name)).collect();
    assert!(lost.is_empty(), "these passed before: {lost:?}");
    let bless = std::env::var_os("FUSION_BLESS").is_some();
    for (path, found) in [(BASELINE, &passed), (REFUSED, &unsupported)] {
        let known = std::fs::read_to_string(path).unwrap_or_default();
        if *found != known && bless {
            std::fs::write(path, found).expect("the list can be written");
        } else {
            assert_eq!(*found, known, "other tests than {path} lists: bless it (FUSION_BLESS=1)");
        }
    }
}

fn run(folder: &Path) -> BTreeMap<String, Outcome> {
    let mut outcomes: BTreeMap<String, Outcome> = suite::light(folder).into_iter().collect();
    let mut jobs = Vec::new();
    for test in suite::tests(folder) {
        match test.prepare() {
            Ok(prepared) => {
                outcomes.insert(test.name.clone(), Outcome::Passed);
                jobs.extend(prepared.into_iter().map(|job| (test.name.clone(), job)));
            }
            Err(outcome) => drop(outcomes.insert(test.name.clone(), outcome)),
        }
    }
    // One session serves them all, one after the other.
    let programs: Vec<_> = jobs.iter().map(|(_, job)| &job.program).collect();
    let results = secure::run(&programs);
    for ((name, job), result) in jobs.iter().zip(results) {
        if let Err(why) = job.judge(&result) {
            outcomes.insert(name.clone(), Outcome::Wrong(why));
        }
    }
    outcomes
}
