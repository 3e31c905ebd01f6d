//! Libraries do not know that they have a command line: none of their texts names a flag.

use std::path::Path;

use fusion_tests::root;

use super::{files, read};

/// Folders of libraries' sources, without those of their programs.
const LIBRARIES: [&str; 10] = [
    "ir/src",
    "page/src",
    "table/src",
    "backends/protocol/src",
    "backends/estimate/src",
    "backends/engine/src",
    "compiler/src",
    "runtime/src",
    "runtime/face/src",
    "python/src",
];
/// What of them is a program, or says to a package's user where else a setting is: names in
/// messages are its business.
const PROGRAMS: [&str; 4] = ["compiler/src/bin", "compiler/src/cli", "runtime/src/bin", "python/src/errors.rs"];

#[test]
fn texts_of_libraries_name_no_flags() {
    let is_in = |path: &Path, folders: &[&str]| folders.iter().any(|folder| path.starts_with(root().join(folder)));
    let mut looked_at = 0;
    for path in files("rs").iter().filter(|path| is_in(path, &LIBRARIES) && !is_in(path, &PROGRAMS)) {
        let source = read(path);
        let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let texts = literals(code);
        looked_at += texts.len();
        for text in texts {
            assert!(
                !names_a_flag(&text),
                "{}: {text:?}: name a setting, and let the program say its flag",
                path.display()
            );
        }
    }
    assert!(looked_at > 1000, "{looked_at} texts");
}

/// Whether there is something like `--input` in it.
fn names_a_flag(text: &str) -> bool {
    text.match_indices("--").any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + 2..].chars().next();
        before != Some('-') && after.is_some_and(|c| c.is_ascii_lowercase())
    })
}

/// The string literals of Rust code, as they are written.
fn literals(code: &str) -> Vec<String> {
    let code: Vec<char> = code.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| code.get(at + i) == Some(&c));
    let find = |from: usize, what: &str| (from..code.len()).find(|at| starts(*at, what)).unwrap_or(code.len());
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let word = at > 0 && (code[at - 1].is_alphanumeric() || code[at - 1] == '_');
        let hashes = (at + 1..code.len()).take_while(|i| code[*i] == '#').count();
        at = match code[at] {
            '/' if starts(at, "//") => find(at, "\n"),
            '/' if starts(at, "/*") => find(at, "*/") + 2,
            'r' if !word && code.get(at + 1 + hashes) == Some(&'"') => {
                let end = find(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes)));
                found.push(code[at + 2 + hashes..end].iter().collect());
                end + 1 + hashes
            }
            '"' => {
                let mut end = at + 1;
                while end < code.len() && code[end] != '"' {
                    end += if code[end] == '\\' { 2 } else { 1 };
                }
                found.push(code[at + 1..end.min(code.len())].iter().collect());
                end + 1
            }
            // A character, not a lifetime.
            '\'' if starts(at + 1, "\\") => find(at + 3, "'") + 1,
            '\'' if code.get(at + 2) == Some(&'\'') => at + 3,
            _ => at + 1,
        };
    }
    found
}

#[test]
fn flags_are_found_in_every_kind_of_literal() {
    let code = "// \"--comment\"\nlet x: &'a str = \"one \\\" --two\"; /* \"--no\" */ f('\"', '\\'', b\"three\", r#\"a \"--four\" b\"#)";
    let texts = literals(code);
    assert_eq!(texts, ["one \\\" --two", "three", "a \"--four\" b"]);
    let flags: Vec<bool> = texts.iter().map(|text| names_a_flag(text)).collect();
    assert_eq!(flags, [true, false, true]);
    assert!(!["a--", "-- b", "--- x", "---x"].iter().any(|text| names_a_flag(text)));
}
