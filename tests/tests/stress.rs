//! Short forms of the programs in `tests/service` and `tests/net`, which run release binaries for
//! minutes: here a few sessions each, and no time is asserted.

use std::path::Path;
use std::process::Command;

use fusion_tests::{arg, binary, root, skipped};

/// Runs a program of Python's, which must succeed or say that it was skipped.
fn python(program: &str, args: &[&str]) {
    let output = Command::new("python3").arg(root().join(program)).args(args).output();
    let Ok(output) = output else { return skipped(&format!("{program} needs python3")) };
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    match output.status.code() {
        Some(77) => skipped(&err),
        code => assert_eq!(code, Some(0), "{program} {args:?}\n{out}\n{err}"),
    }
}

/// The folder of the binaries, which are built.
fn binaries() -> String {
    let program = binary("fusion-server");
    arg(program.parent().unwrap_or(Path::new("."))).to_owned()
}

#[test]
fn eight_clients_a_ninth_and_strays() {
    let sizes = ["--queries", "3", "--rounds", "1", "--strays", "40", "--no-times"];
    python("tests/service/many.py", &[&sizes[..], &["--binaries", &binaries()]].concat());
}

#[test]
fn kills() {
    python("tests/service/kills.py", &["--kills", "6", "--no-times", "--binaries", &binaries()]);
}

#[test]
fn kills_of_replicas() {
    python("tests/service/replicas.py", &["--kills", "5", "--binaries", &binaries()]);
}

#[test]
fn replicas_that_cannot_begin_leave_no_database_behind() {
    let place = tempfile::tempdir().expect("there is a temporary folder");
    // The database is somebody else's process, who must get in.
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    let mut command = Command::new("python3");
    command.arg(root().join("tests/service/replicas.py")).args(["--binaries", arg(place.path())]);
    let Ok(output) = command.env("TMPDIR", place.path()).output() else { return skipped("no python3") };
    let err = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        return skipped(&err);
    }
    assert!(!output.status.success() && err.contains("fusionc"), "{err}");
    let processes = std::fs::read_dir("/proc").expect("there are processes").flatten();
    let words = processes.filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
    let left: Vec<String> = words.filter(|words| words.contains(arg(place.path()))).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// On a slow link, where what was sent last is on its way when its sender is done.
#[test]
fn a_session_over_a_link_of_our_own() {
    let digits = root().join("models/digits");
    let plan = tempfile::tempdir().expect("there is a temporary folder");
    let file = plan.path().join("plan.bin");
    let [model, calibrate, input] =
        ["digits.onnx", "calibrate.npy", "queries.npy"].map(|name| arg(&digits.join(name)).to_owned());
    fusion_tests::succeed("fusionc", &["compile", &model, "--calibrate", &calibrate, "--no-verify", "-o", arg(&file)]);
    let session = ["run", arg(&file), "--input", &input, "--profile", "slow", "--repeat", "1"];
    let batch = ["--cost-args", "--queries 350", "--binaries", &binaries()];
    python("tests/net/bed.py", &[&session[..], &batch].concat());
}
