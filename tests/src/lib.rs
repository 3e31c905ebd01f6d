//! What the tests share: the binaries, the model cases, and running both parties of a session.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The workspace's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// The path of a release-shaped binary of this workspace (`fusionc`, `fusion-run`), built on first use with the
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

/// The folder of a real model with data, or `None`, said aloud, where the collection is absent: `FUSION_CASES`, else
/// `../shared/cases` beside the workspace.
pub fn case(name: &str) -> Option<PathBuf> {
    let beside = || root().join("../shared/cases");
    let folder = std::env::var_os("FUSION_CASES").map_or_else(beside, PathBuf::from).join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {} is absent; set FUSION_CASES to a folder that holds it", folder.display());
    None
}
