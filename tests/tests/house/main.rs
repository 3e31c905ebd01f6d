//! Habits that no compiler checks: scripts read their arguments, documents name what there is,
//! comments are narrow, texts of libraries name no flags.

mod comments;
mod dealer;
mod documents;
mod packages;
mod scripts;
mod texts;

use std::path::{Path, PathBuf};

/// Every file of the workspace with this extension, by path from its root, sorted. What builds
/// leave is passed over.
fn files(extension: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("the workspace is readable") {
            let path = entry.expect("the workspace is readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != ".git" {
                walk(&path, extension, found);
            } else if path.is_file() && path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&fusion_tests::root(), extension, &mut found);
    found.sort();
    assert!(!found.is_empty(), "no file ends with .{extension}");
    found
}

/// The text of a file.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
