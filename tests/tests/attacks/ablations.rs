//! What removes a check is for `tests/ablate/run.sh` alone: no feature does, and what the code asks
//! for is known to the script, its documentation, the compiler's lint and the guard of release
//! builds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use fusion_tests::root;

/// The words in `text` that begin with `before` and end where `after` comes.
fn between(text: &str, before: &str, after: &str) -> BTreeSet<String> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once(after)).map(|(word, _)| word.to_owned()).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match path.extension() {
            _ if path.is_dir() => sources(&path, found),
            Some(extension) if extension == "rs" => found.push_str(&fs::read_to_string(path).unwrap()),
            _ => {}
        }
    }
}

#[test]
fn whoever_lists_what_can_be_removed_lists_the_same() {
    let mut code = String::new();
    for folder in ["ir/src/soundness", "backends/engine/src", "backends/protocol/src", "runtime/src", "compiler/src"] {
        sources(&root().join(folder), &mut code);
    }
    let (before, after) = ("fusion_ablate = \"", "\"");
    let asked = between(&code, before, after);
    assert_eq!(asked.len(), 9, "{asked:?}");
    assert_eq!(between(&read("ir/src/lib.rs"), before, after), asked, "the guard of release builds");
    assert_eq!(between(&read("tests/ablate/README.md"), "\n| `", "` |"), {
        let mut rows = asked.clone();
        rows.insert("fusion_ablate".into());
        rows
    });
    let script = read("tests/ablate/run.sh");
    let rows = script.split_once("rows=(").and_then(|(_, rest)| rest.split_once("\n)")).expect("rows").0;
    assert_eq!(between(rows, "\n    \"", " "), asked, "the script");
    let lint = read("Cargo.toml");
    let values =
        lint.split_once("cfg(fusion_ablate, values(").and_then(|(_, rest)| rest.split_once("))")).expect("values");
    let words = values.0.split('"').skip(1).step_by(2).map(str::to_owned);
    assert_eq!(words.collect::<BTreeSet<_>>(), asked, "the lint");
}

#[test]
fn no_feature_changes_what_is_checked() {
    let command = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&command.stdout).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        for (feature, enables) in package["features"].as_object().unwrap() {
            let enables: Vec<&str> = enables.as_array().unwrap().iter().map(|each| each.as_str().unwrap()).collect();
            match feature.as_str() {
                // What programs need that libraries do not.
                "default" => assert_eq!(enables, ["cli"], "{name}"),
                "cli" => assert!(enables.iter().all(|each| each.starts_with("dep:")), "{name}: {enables:?}"),
                other => panic!("{name} has a feature {other}: it must not change what is computed or checked"),
            }
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let of_ours = dependency["name"].as_str().unwrap().starts_with("fusion-");
            assert!(!of_ours || dependency["features"].as_array().unwrap().is_empty(), "{name}: {dependency}");
        }
    }
}
