//! What documents say of the code, and which of them there are.

use std::path::Path;

use crate::{files, read};

#[test]
fn the_changelog_names_the_formats_of_this_version() {
    let changelog = read(&fusion_tests::root().join("CHANGELOG.md"));
    let formats = changelog.lines().find(|line| line.starts_with("Formats: ")).expect("CHANGELOG has a line of formats");
    let (plan, report) = (fusion_ir::plan::VERSION, fusion_runtime::report::VERSION);
    let protocol = fusion_runtime::session::handshake::PROTOCOL_VERSION;
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
            assert!(folder.join(Path::new(path)).exists(), "{} links to {target}, which is not there", document.display());
        }
    }
    assert!(links > 10, "only {links} links were found");
}
