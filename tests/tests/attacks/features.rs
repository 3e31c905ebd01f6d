//! The features that remove a check are for `tests/ablate/run.sh` alone.

use std::collections::BTreeSet;
use std::process::Command;

/// Every feature that makes Fusion insecure, and the crate that has it.
const INSECURE: [(&str, &str); 9] = [
    ("fusion-backends", "shared-key"),
    ("fusion-backends", "without-ot-check"),
    ("fusion-backends", "without-rerandomisation"),
    ("fusion-ir", "without-blind"),
    ("fusion-ir", "without-relabelling"),
    ("fusion-runtime", "first-rank-only"),
    ("fusion-runtime", "quantised-digest"),
    ("fusion-runtime", "without-accuracy"),
    ("fusion-runtime", "without-consistency"),
];

#[test]
fn nothing_enables_an_insecure_feature_by_default() {
    let command = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&command.stdout).unwrap();
    let mut found = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        for (feature, enables) in package["features"].as_object().unwrap() {
            let enables: Vec<&str> = enables.as_array().unwrap().iter().map(|each| each.as_str().unwrap()).collect();
            match (name, feature.as_str()) {
                // What programs need that libraries do not.
                (_, "default") => assert_eq!(enables, ["cli"], "{name}"),
                (_, "cli") => assert!(enables.iter().all(|each| each.starts_with("dep:")), "{name}: {enables:?}"),
                // This package forwards each to whose it is.
                ("fusion-tests", _) => assert_eq!(enables.len(), 1, "{name}: {feature} enables {enables:?}"),
                _ => {
                    assert!(enables.is_empty(), "{name}: {feature} enables {enables:?}");
                    found.insert((name.to_owned(), feature.clone()));
                }
            }
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let of_ours = dependency["name"].as_str().unwrap().starts_with("fusion-");
            assert!(!of_ours || dependency["features"].as_array().unwrap().is_empty(), "{name}: {dependency}");
        }
    }
    let known = INSECURE.map(|(package, feature)| (package.to_owned(), feature.to_owned()));
    assert_eq!(found, BTreeSet::from(known), "a feature that is not listed here, or none that is");
}
