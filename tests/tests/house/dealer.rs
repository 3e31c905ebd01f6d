//! The dealer of oblivious transfers that tests use is in no release build, and no program uses it.

use std::path::Path;
use std::process::Command;

use fusion_tests::root;

use crate::{files, read};

/// What the compiler says of the dealer's module by itself, with debug assertions or without.
fn compiled(assertions: &str) -> String {
    let (folder, flag) = (tempfile::tempdir().unwrap(), format!("-Cdebug-assertions={assertions}"));
    let rustc = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"))
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", &flag, "--out-dir"])
        .arg(folder.path())
        .arg(root().join("backends/engine/src/ot/ideal.rs"))
        .output()
        .expect("rustc lies beside cargo");
    String::from_utf8_lossy(&rustc.stderr).into_owned()
}

#[test]
fn no_release_build_has_a_dealer() {
    let guard = "is for tests only";
    // By itself it does not compile in any case: the rest of its crate is missing.
    let [with, without] = ["on", "off"].map(compiled);
    assert!(with.contains("error") && !with.contains(guard), "{with}");
    assert!(without.contains(guard), "{without}");
    let profiles = read(&root().join("Cargo.toml"));
    let release = profiles.split("\n[").filter(|section| section.starts_with("profile.release"));
    assert!(release.clone().count() > 1 && release.clone().all(|section| !section.contains("debug-assertions")));
}

#[test]
fn only_tests_use_a_dealer() {
    let of_programs = |path: &Path| {
        let crates = ["backends/protocol", "backends/estimate", "table", "compiler", "runtime", "python", "bench"];
        crates.iter().any(|folder| path.starts_with(root().join(folder)))
    };
    let mut seen = 0;
    for path in files("rs").into_iter().filter(|path| of_programs(path)) {
        seen += 1;
        let text = read(&path);
        for name in ["ot::ideal", "ideal::", "Unprepared::dealt", "Generator::dealt"] {
            assert!(!text.contains(name), "{} uses a dealer: {name}", path.display());
        }
    }
    assert!(seen > 100, "only {seen} files");
}
