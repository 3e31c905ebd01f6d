//! What documents say of the code, and which of them there are.

use std::path::Path;

use crate::{files, read};

#[test]
fn the_changelog_names_the_formats_of_this_version() {
    let changelog = read(&fusion_tests::root().join("CHANGELOG.md"));
    let formats =
        changelog.lines().find(|line| line.starts_with("Formats: ")).expect("CHANGELOG has a line of formats");
    let (plan, report) = (fusion_ir::plan::VERSION, fusion_runtime::report::VERSION);
    let protocol = fusion_runtime::session::hello::PROTOCOL_VERSION;
    assert_eq!(formats, format!("Formats: plan {plan}, report {report}, protocol {protocol}."));
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut links = 0;
    for document in files("md") {
        let text = read(&document);
        let folder = document.parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            assert!(
                folder.join(Path::new(path)).exists(),
                "{} links to {target}, which is not there",
                document.display()
            );
        }
    }
    assert!(links > 10, "only {links} links were found");
}

#[test]
fn decisions_have_three_parts_and_a_place_in_the_list() {
    let folder = fusion_tests::root().join("docs/decisions");
    let list = read(&folder.join("README.md"));
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    names.sort();
    for (index, name) in names.iter().enumerate() {
        let number = index + 1;
        assert!(name.starts_with(&format!("{number:02}-")), "{name} is decision number {number}");
        let text = read(&folder.join(name));
        let title = text.strip_prefix(&format!("# {number}. ")).and_then(|rest| rest.lines().next());
        let title = title.unwrap_or_else(|| panic!("{name} does not begin with its number and title"));
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, ["## Context", "## Decision", "## Consequence"], "{name}");
        let line = format!("{number}. [{title}]({name})");
        assert!(list.lines().any(|found| found == line), "docs/decisions/README.md lacks the line {line}");
    }
    assert_eq!(list.lines().filter(|line| line.contains("](")).count(), names.len());
}

#[test]
fn every_published_crate_has_a_readme_and_the_workspace_both_licences() {
    let root = fusion_tests::root();
    for manifest in files("toml").into_iter().filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml")) {
        let text = read(&manifest);
        if text.contains("[package]") && !text.contains("publish = false") {
            let readme = manifest.with_file_name("README.md");
            assert!(readme.exists(), "{} has no README.md beside it", manifest.display());
            assert!(text.contains("license.workspace = true"), "{}", manifest.display());
        }
    }
    for (name, words) in [("LICENSE-MIT", "The Fusion authors"), ("LICENSE-APACHE", "Version 2.0, January 2004")] {
        assert!(read(&root.join(name)).contains(words), "{name} lacks its text");
    }
}
