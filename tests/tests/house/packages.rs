//! Every crate that is to be published can be: it says what it is, and packages without the
//! folders around it.

use std::collections::BTreeSet;
use std::process::Command;

use fusion_tests::root;

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let command = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(command.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&command.stderr));
    command.stdout
}

/// Packages of the workspace as cargo describes them: those to be published, and the others.
fn packages() -> [Vec<serde_json::Value>; 2] {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata: serde_json::Value = serde_json::from_slice(&text).expect("cargo prints JSON");
    let all = metadata["packages"].as_array().unwrap().clone();
    let (public, own) = all.into_iter().partition(|package| package["publish"].is_null());
    [public, own]
}

#[test]
fn packages_say_what_they_are() {
    let [public, own] = packages();
    assert!(public.len() >= 8 && own.len() >= 2, "{} and {}", public.len(), own.len());
    for package in &public {
        let name = package["name"].as_str().unwrap();
        let said = |key: &str| package[key].as_str().unwrap_or_else(|| panic!("{name} has no {key}")).to_owned();
        assert!((20..=100).contains(&said("description").len()), "{name}: {}", said("description"));
        assert_eq!(said("license"), "MIT OR Apache-2.0", "{name}");
        assert!(said("repository").starts_with("https://"), "{name}");
        assert_eq!(said("readme"), "README.md", "{name}");
        for dependency in package["dependencies"].as_array().unwrap() {
            let (path, kind) = (dependency["path"].as_str(), dependency["kind"].as_str());
            // What tests alone need is left out of a package.
            if let (Some(path), None | Some("build")) = (path, kind) {
                assert_ne!(dependency["req"], "*", "{name}: {path} needs a version beside its path");
                let of = |package: &&serde_json::Value| package["name"] == dependency["name"];
                assert!(public.iter().any(|package| of(&package)), "{name} needs {path}, which is not published");
            }
        }
    }
}

/// In the order in which each finds what it needs, which RELEASING.md lists.
#[test]
fn packages_are_whole_and_in_the_order_of_the_release() {
    let [_, own] = packages();
    let mut arguments = vec!["package", "--workspace", "--no-verify", "--offline", "--allow-dirty", "--target-dir"];
    arguments.push(env!("CARGO_TARGET_TMPDIR"));
    let names: Vec<&str> = own.iter().map(|package| package["name"].as_str().unwrap()).collect();
    names.iter().for_each(|name| arguments.extend(["--exclude", name]));
    cargo(&arguments);
    let [public, _] = packages();
    let text = std::fs::read_to_string(root().join("RELEASING.md")).unwrap();
    let order = text.split_once("In this order: ").and_then(|(_, rest)| rest.split_once('.')).expect("an order").0;
    let order: Vec<&str> = order.split('`').skip(1).step_by(2).collect();
    let all: BTreeSet<&str> = public.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), all, "RELEASING.md lists other packages");
    for package in &public {
        let at = |name: &str| order.iter().position(|listed| *listed == name).unwrap();
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let needs = dependency["name"].as_str().unwrap();
            if all.contains(needs) && dependency["kind"] != "dev" {
                assert!(at(needs) < at(name), "{name} is published before {needs}");
            }
        }
    }
}
