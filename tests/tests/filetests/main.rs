//! Filetests: `.fir` files of IR text whose comments say what must come out; see [`format`].
//!
//! `FUSION_BLESS=1` writes what came out into the files.

mod commands;
mod format;

use std::path::{Path, PathBuf};

use fusion_compiler::passes::PASSES;
use fusion_tests::root;

fn files() -> Vec<PathBuf> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                collect(&entry, files);
            } else if entry.extension().is_some_and(|extension| extension == "fir") {
                files.push(entry);
            }
        }
    }
    let mut files = Vec::new();
    collect(&root().join("tests/filetests"), &mut files);
    files.sort();
    files
}

#[test]
fn filetests() {
    let files = files();
    assert!(files.len() >= 30, "only {} filetests", files.len());
    let failures: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn check(file: &Path) -> Result<(), String> {
    let name = file.strip_prefix(root()).unwrap_or(file).display();
    let content = std::fs::read_to_string(file).map_err(|e| format!("{name}: {e}"))?;
    let found = format::rewritten(&content, commands::run).map_err(|e| format!("{name}: {e}"))?;
    if found == content {
        return Ok(());
    }
    if std::env::var_os("FUSION_BLESS").is_some() {
        return std::fs::write(file, found).map_err(|e| format!("{name}: {e}"));
    }
    Err(format!("{name}: {}", format::difference(&content, &found)))
}

/// Every pass has a file of its name, in which it changes something.
#[test]
fn every_pass_is_specified() {
    for pass in PASSES {
        let file = match pass.name {
            "select" => "tests/filetests/select/lan.fir".into(),
            name => format!("tests/filetests/pass/{name}.fir"),
        };
        let content = std::fs::read_to_string(root().join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let test = if pass.name == "select" { "; test select".into() } else { format!("; test pass {}", pass.name) };
        let line = content.lines().next().unwrap_or_default();
        assert!(line == test || line.starts_with(&format!("{test} ")), "{file} begins with {line:?}");
        let changes = ["; becomes:", "; by: "].iter().any(|change| content.contains(change));
        assert!(changes, "{file}: the pass changes nothing");
    }
}

const SPECIFIED: &str = "\
; test verify
; A comment of the file's.
function \"first\"
v0 = input : i8.0~6[4] by local \"x\"
v1 = offset v0 by=128 : i8.0~7[4] by local \"o\"
; error: adds 128 to 8 bits (invariant 4)
v2 = relu v1 : i8.0~6+[4] by cheetah \"r\"
v3 = argmax v2 : i3.0~2+[1] by cheetah \"a\"
v4 = fusion.reveal v3 what=label : i3.0~2+[1] by cheetah \"a\"

; Another function.
function \"second\"
v0 = input : i8.0~6[4] by local \"x\"
v1 = argmax v0 : i3.0~2+[1] by cheetah \"a\"
v2 = fusion.reveal v1 what=label : i3.0~2+[1] by cheetah \"a\"
; ok
";

fn rewritten(content: &str) -> Result<String, String> {
    format::rewritten(content, commands::run)
}

#[test]
fn what_comes_out_is_what_is_expected() {
    assert_eq!(rewritten(SPECIFIED), Ok(SPECIFIED.to_owned()));
    let bare: String =
        SPECIFIED.lines().filter(|line| !line.starts_with("; error")).map(|l| format!("{l}\n")).collect();
    assert_eq!(rewritten(&bare), Ok(SPECIFIED.to_owned()), "what is missing is written");
}

/// Whatever else a file expects, it is not what comes out.
#[test]
fn an_expectation_that_never_matches_fails() {
    let error = "; error: adds 128 to 8 bits (invariant 4)\n";
    for (what, from, to) in [
        ("another text", "adds 128", "adds 127"),
        ("at another line", error, ""),
        ("a second one", error, &format!("{error}{error}")),
        ("one where there is none", "by cheetah \"r\"\n", "by cheetah \"r\"\n; error: compares nothing\n"),
        ("a misspelt one", "; error: adds", "; eror: adds"),
        ("another verdict", "; ok", "; error: no reveal (invariant 10)"),
        ("none at all", "; ok\n", ""),
        ("a comment among the values", "v3 = argmax", "; This is no expectation.\nv3 = argmax"),
    ] {
        let wrong = SPECIFIED.replacen(from, to, 1);
        assert_ne!(wrong, SPECIFIED, "{what}");
        assert_eq!(rewritten(&wrong), Ok(SPECIFIED.to_owned()), "{what}");
        assert!(format::difference(&wrong, SPECIFIED).contains("line "), "{what}");
    }
}

#[test]
fn what_cannot_be_run_fails() {
    for (what, from, to, why) in [
        ("an expectation behind the function", "\n; Another", "\n; error: dead\n; Another", "line 11"),
        ("no test line", "; test verify", "; Test verify", "no `; test` line"),
        ("two of them", "; A comment", "; test verify\n; A comment", "two `; test` lines"),
        ("an unknown test", "test verify", "test validate", "\"validate\""),
        ("an argument of another test", "test verify", "test verify seed=3", "\"seed=3\""),
        ("no function", SPECIFIED, "; test verify\n", "no function"),
    ] {
        let wrong = SPECIFIED.replacen(from, to, 1);
        let error = rewritten(&wrong).expect_err(what);
        assert!(error.contains(why), "{what}: {error}");
    }
    let second = SPECIFIED.split_once("; Another function.\n").unwrap().1;
    let error = rewritten(&format!("; test pass simplify\n{second}")).expect_err("an unknown pass");
    assert!(error.contains("no pass \"simplify\""), "{error}");
}
