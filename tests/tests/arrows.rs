//! The crates depend on each other only along the arrows of ARCHITECTURE.md, and the insecure stays
//! out. Within a crate no two modules need each other.

use std::process::Command;

use fusion_tests::modules::Uses;
use fusion_tests::root;

/// Every crate with the only crates of this workspace it may depend on.
const ARROWS: [(&str, &[&str]); 13] = [
    ("fusion-ir", &[]),
    ("fusion-catalogue", &["fusion-ir"]),
    ("fusion-estimate", &["fusion-catalogue", "fusion-ir"]),
    ("fusion-backends", &["fusion-catalogue", "fusion-ir"]),
    ("fusion-page", &[]),
    ("fusion-table", &["fusion-ir"]),
    ("fusion-compiler", &["fusion-catalogue", "fusion-estimate", "fusion-ir", "fusion-page", "fusion-table"]),
    (
        "fusion-runtime",
        &["fusion-backends", "fusion-catalogue", "fusion-estimate", "fusion-ir", "fusion-page", "fusion-table"],
    ),
    ("fusion-server", &["fusion-catalogue", "fusion-runtime"]),
    ("fusion-bench", &["fusion-catalogue", "fusion-estimate", "fusion-ir", "fusion-runtime"]),
    (
        "fusion",
        &["fusion-backends", "fusion-catalogue", "fusion-compiler", "fusion-estimate", "fusion-ir", "fusion-runtime"],
    ),
    ("fusion-python", &["fusion"]),
    (
        "fusion-tests",
        &[
            "fusion",
            "fusion-backends",
            "fusion-catalogue",
            "fusion-compiler",
            "fusion-ir",
            "fusion-runtime",
            "fusion-table",
        ],
    ),
];

fn metadata() -> serde_json::Value {
    let command = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    serde_json::from_slice(&command.stdout).expect("cargo prints JSON")
}

#[test]
fn crates_depend_along_the_arrows_only() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), ARROWS.len(), "a crate without arrows: add it here and to ARCHITECTURE.md");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = ARROWS.iter().find(|(member, _)| *member == name).unwrap_or_else(|| panic!("{name}"));
        let own = package["dependencies"].as_array().unwrap().iter().filter(|dep| dep["kind"] != "dev");
        for dependency in own.map(|dep| dep["name"].as_str().unwrap()).filter(|dep| dep.starts_with("fusion")) {
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn only_one_crate_knows_tract_cryptography_or_a_database() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let owner = match dependency["name"].as_str().unwrap() {
                "tract-onnx" => "fusion-compiler",
                "tfhe-ntt" | "curve25519-dalek" | "aes" => "fusion-backends",
                "tokio" | "tokio-postgres" | "tokio-rustls" => "fusion-server",
                _ => continue,
            };
            assert_eq!(name, owner, "{}", dependency["name"]);
        }
    }
}

/// Folders of sources.
const SOURCES: [&str; 13] = [
    "ir/src",
    "backends/protocol/src",
    "backends/estimate/src",
    "backends/engine/src",
    "compiler/src",
    "runtime/src",
    "runtime/face/src",
    "runtime/server/src",
    "python/src",
    "page/src",
    "table/src",
    "tests/src",
    "bench/src",
];

#[test]
fn no_two_modules_need_each_other() {
    for folder in SOURCES {
        let found = Uses::of(&root().join(folder)).circles();
        assert!(found.is_empty(), "{folder}: move what both need to a module of its own: {found:?}");
    }
}
