//! What the tests share: the binaries, the model cases, and running both parties of a session as
//! processes.

pub mod desk;
pub mod garbage;
pub mod garbage_onnx;
pub mod garbage_session;
pub mod garbage_wire;
pub mod modules;
#[path = "../../backends/engine/tests/common/parties.rs"]
pub mod parties;
pub mod party;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use ndarray::{ArrayD, Axis, Slice};
use ndarray_npy::{ReadableElement, WritableElement, read_npy, write_npy};

/// The workspace's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// The path of a binary of this workspace (`fusionc`, `fusion-run`), built on first use with the
/// profile of the running tests.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--workspace", "--bins", "--quiet", "--offline"])
            .current_dir(root())
            .stdin(Stdio::null())
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the binaries do not build");
        // The test executable itself lies in <target>/<profile>/deps.
        let test = std::env::current_exe().expect("tests know their path");
        test.ancestors().nth(2).expect("tests lie in deps").to_owned()
    });
    folder.join(name)
}

/// Runs a binary to its end.
pub fn run(name: &str, args: &[&str]) -> Output {
    Command::new(binary(name)).args(args).stdin(Stdio::null()).output().expect("the binary runs")
}

/// Runs a binary that must succeed; its standard output.
///
/// # Panics
/// With everything it said if it fails.
pub fn succeed(name: &str, args: &[&str]) -> String {
    let output = run(name, args);
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{name} {args:?} ended with {}\n{out}\n{err}", output.status);
    out
}

/// The folder of a real model with data, or `None`, said aloud, where the collection is absent:
/// `FUSION_CASES`, else `../shared/cases` beside the workspace.
pub fn case(name: &str) -> Option<PathBuf> {
    let beside = || root().join("../shared/cases");
    let folder = std::env::var_os("FUSION_CASES").map_or_else(beside, PathBuf::from).join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    skipped(&format!("{} is absent; set FUSION_CASES to a folder that holds it", folder.display()));
    None
}

/// Says that something was not tested, and why. Not by a macro: their words are lost where a test
/// succeeds.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {}", why.trim_start_matches("SKIPPED:").trim());
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// Reads a whole array.
pub fn load<T: ReadableElement>(path: &Path) -> ArrayD<T> {
    read_npy(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes samples `range` of the array in `from` to `to`.
pub fn cut<T: ReadableElement + WritableElement + Clone>(from: &Path, range: std::ops::Range<usize>, to: &Path) {
    let part = load::<T>(from).slice_axis(Axis(0), Slice::from(range)).to_owned();
    write_npy(to, &part.as_standard_layout().to_owned()).expect("the folder is writable");
}

/// The labels of a `labels.csv`, after checking its header and its indices.
pub fn read_labels(path: &Path) -> Vec<i64> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("index,label"));
    let row = |(index, line): (usize, &str)| {
        let (found, label) = line.split_once(',').expect("two columns");
        assert_eq!(found.parse(), Ok(index));
        label.parse().expect("a number")
    };
    lines.enumerate().map(row).collect()
}
