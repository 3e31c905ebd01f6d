//! Flags, addresses and places for results that make no sense or do not work.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use fusion_tests::desk::{Desk, Ended};
use fusion_tests::{arg, binary};

const SAMPLES: &str = "--input x.npy --public-inputs px.npy --public-labels py.npy";

#[test]
fn flags_that_do_not_exist_or_lack_something_are_named() {
    let desk = Desk::new();
    let client = "fusion-run plan.client.bin --role client";
    for (line, phrases) in [
        ("fusion-run".into(), &["<PLAN>", "Usage: fusion-run"][..]),
        ("fusion-run plan.bin --colour".into(), &["'--colour'", "Usage: fusion-run"]),
        ("fusion-run plan.bin another.bin".into(), &["'another.bin'"]),
        ("fusion-run plan.bin --role judge".into(), &["'judge'", "server, client"]),
        ("fusion-run plan.bin --role server".into(), &["--listen is missing"]),
        (client.into(), &["--connect is missing"]),
        (format!("{client} --connect 127.0.0.1:9"), &["--input is missing"]),
        (format!("{client} --connect 127.0.0.1:9 --input x.npy"), &["--public-inputs is missing", "--no-verify"]),
        (
            format!("{client} --connect 127.0.0.1:9 --input x.npy --public-inputs px.npy"),
            &["--public-labels is missing", "--no-verify"],
        ),
        (format!("{client} --connect 127.0.0.1:9 {SAMPLES} --no-verify"), &["--public-inputs contradicts --no-verify"]),
        ("fusion-run plan.bin --listen 127.0.0.1:0".into(), &["--listen needs --role server"]),
        ("fusion-run plan.bin --connect 127.0.0.1:9".into(), &["--connect needs --role client"]),
        (
            "fusion-run plan.bin --role server --listen 127.0.0.1:0 --html r.html".into(),
            &["--html is the client's: --report writes the server's"],
        ),
        ("fusion-run plan.bin --role server --lambda 9".into(), &["--lambda is the client's"]),
        ("fusion-run plan.bin --timeout 0".into(), &["'0'", "--timeout"]),
        ("fusion-run plan.bin --micro-batch 0".into(), &["'0'", "--micro-batch"]),
        ("fusionc".into(), &["Usage: fusionc"]),
        ("fusionc decompile plan.bin".into(), &["'decompile'"]),
        ("fusionc compile".into(), &["<MODEL>"]),
        ("fusionc compile m.onnx --colour".into(), &["'--colour'"]),
        ("fusionc compile m.onnx --acc narrow".into(), &["'narrow'", "calibrated, worst-case"]),
        ("fusionc compile m.onnx --reveal everything".into(), &["'everything'", "label, topk:K, logits or value"]),
        ("fusionc compile m.onnx --backend magic".into(), &["'magic'", "auto"]),
        ("fusionc compile m.onnx --arithmetic stochastic".into(), &["--arithmetic stochastic cannot be verified"]),
        ("fusionc compile m.onnx --network slow.toml".into(), &["slow.toml: "]),
        ("fusionc eval plan.bin".into(), &["--input <X.npy>"]),
        ("fusionc soundness".into(), &["--queries <R>"]),
        ("fusionc soundness --queries 0".into(), &["between 1 and", "0 were given"]),
        ("fusionc soundness --queries 9 --accuracy 2".into(), &["accuracy must be"]),
        ("fusionc soundness --queries 9 --catch 0.1 --accuracy 0.5".into(), &["cannot be told from an honest server"]),
        ("fusionc soundness --queries 9 --public 1".into(), &["public samples", "only 1"]),
        ("fusionc dump plan.bin --stage fixed".into(), &["plan.bin: a plan holds the stage plan only"]),
        ("fusionc cost plan.bin --network x.npy".into(), &["x.npy: ", "mbit_per_s = N"]),
    ] {
        desk.refuse(2, &line, phrases);
    }
}

#[test]
fn other_machines_need_encryption_or_a_flag() {
    let desk = Desk::new();
    for line in [
        "fusion-run plan.bin --role server --listen 0.0.0.0:0".into(),
        "fusion-run plan.bin --role server --listen [::]:0".into(),
        // An address for documentation: nobody answers there, and nothing may even try.
        format!("fusion-run plan.client.bin --role client --connect 192.0.2.1:9 {SAMPLES} --lambda 5 -o labels.csv"),
    ] {
        desk.refuse(
            2,
            &line,
            &["is not a loopback address", "neither encrypted nor authenticated", "--allow-plaintext"],
        );
    }
}

#[test]
fn addresses_that_do_not_work_are_named() {
    let desk = Desk::new();
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap();
    for (line, phrases) in [
        ("fusion-run plan.bin --role server --listen here".into(), ["address here does not resolve", "host:port"]),
        ("fusion-run plan.bin --role server --listen 127.0.0.1:99999".into(), ["127.0.0.1:99999", "host:port"]),
        (format!("fusion-run plan.bin --role server --listen {address}"), ["cannot listen on", "in use"]),
        (
            format!("fusion-run plan.client.bin --role client --connect there {SAMPLES} --lambda 5 -o labels.csv"),
            ["address there does not resolve", "host:port"],
        ),
    ] {
        desk.refuse(2, &line, &phrases);
    }
}

#[test]
fn results_that_have_no_place_are_refused_before_the_work() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("folder")).unwrap();
    let client = "fusion-run plan.client.bin --role client --connect 127.0.0.1:9 --timeout 1";
    for (line, what) in [
        (format!("{client} {SAMPLES} -o nowhere/out.csv --report r.json"), "nowhere/out.csv"),
        (format!("{client} {SAMPLES} -o labels.csv --report nowhere/r"), "nowhere/r"),
        (format!("{client} {SAMPLES} -o folder"), "folder"),
        (format!("{client} {SAMPLES} -o x.npy"), "x.npy would be overwritten"),
        (format!("{client} {SAMPLES} -o out --report plan.client.bin"), "plan.client.bin would be overwritten"),
        (format!("{client} {SAMPLES} -o out --report ./out"), "out cannot hold two results"),
        ("fusion-run plan.bin --report nowhere/r".into(), "nowhere/r"),
        ("fusion-run plan.bin --role server --listen 127.0.0.1:0 --report nowhere/r".into(), "nowhere/r"),
        ("fusionc eval plan.bin --input x.npy -o nowhere/out.csv".into(), "nowhere/out.csv"),
        ("fusionc eval plan.bin --input x.npy -o folder".into(), "folder"),
        ("fusionc eval plan.bin --input x.npy -o x.npy".into(), "x.npy would be overwritten"),
        ("fusionc eval plan.bin --input x.npy -o ./plan.bin".into(), "plan.bin would be overwritten"),
    ] {
        desk.refuse(2, &line, &[what]);
    }
    let digits = fusion_tests::root().join("models/digits/digits.onnx");
    desk.write("m.onnx", &std::fs::read(digits).unwrap());
    for (line, what) in [
        ("fusionc compile m.onnx -o nowhere/plan.bin", "nowhere/plan.bin"),
        ("fusionc compile m.onnx -o folder", "folder"),
        ("fusionc compile m.onnx -o ..", "not a file name"),
        ("fusionc compile m.onnx -o m.onnx", "m.onnx would be overwritten"),
        ("fusionc compile m.onnx --calibrate x.npy -o ./x.npy", "x.npy would be overwritten"),
    ] {
        desk.refuse(2, line, &[what]);
    }
}

/// Runs `line` as on a full disk: no file may grow beyond nothing, and what is written fails.
fn on_a_full_disk(desk: &Desk, line: &str) -> Ended {
    let (program, rest) = line.split_once(' ').unwrap();
    let script = format!("trap '' XFSZ; ulimit -f 0; exec {} {rest}", arg(&binary(program)));
    let output = Command::new("sh").args(["-c", &script]).current_dir(desk.path("")).stdin(Stdio::null()).output();
    Ended::new(line, output.unwrap())
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let desk = Desk::new();
    let model = fusion_tests::root().join("models/digits/digits.onnx");
    let before = desk.files();
    for (line, file) in [
        (format!("fusionc compile {} -o plan.bin", arg(&model)), "plan.bin"),
        ("fusionc eval plan.bin --input x.npy -o out.csv".into(), "out.csv"),
        ("fusion-run plan.bin --no-verify --report r.json".into(), "cannot write r.json"),
    ] {
        let ended = on_a_full_disk(&desk, &line);
        ended.failed(&line, 2, &[file, "File too large"]);
        desk.unchanged(&line, &before);
    }
}

#[test]
fn a_full_disk_on_either_side_of_a_session_leaves_nothing_half_written() {
    let desk = Desk::new();
    let before = desk.files();
    let server = desk.serve(&[]);
    let line = format!(
        "fusion-run plan.client.bin --role client --connect {} --no-ledger --input x.npy --no-verify -o labels.csv --report r.json",
        server.address
    );
    desk.write("labels.csv", b"stale");
    on_a_full_disk(&desk, &line).failed(&line, 2, &["cannot write labels.csv", "File too large"]);
    desk.unchanged(&line, &before);
    assert_eq!(server.finish().0, Some(0), "the server's part was done");
}

#[test]
fn a_full_standard_output_does_not_swallow_results() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        fusion_tests::skipped("this system has no /dev/full");
        return;
    }
    let desk = Desk::new();
    let server = desk.serve(&[]);
    for line in [
        "fusionc dump plan.bin".into(),
        "fusionc cost plan.bin".into(),
        "fusionc eval plan.bin --input x.npy".into(),
        "fusionc soundness --queries 9".into(),
        format!(
            "fusion-run plan.client.bin --role client --connect {} --input x.npy --no-verify --quiet",
            server.address
        ),
    ] {
        let stdout = std::fs::OpenOptions::new().write(true).open(full).unwrap();
        let output = desk.command(&line).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
        Ended::new(&line, output.unwrap()).failed(&line, 2, &["standard output", "No space left"]);
    }
}

#[test]
fn pipes_and_links_are_no_place_for_results() {
    let desk = Desk::new();
    assert!(Command::new("mkfifo").arg(desk.path("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("plan.client.bin", desk.path("link")).unwrap();
    for name in ["pipe", "link"] {
        for line in
            [format!("fusionc eval plan.bin --input x.npy -o {name}"), format!("fusion-run plan.bin --report {name}")]
        {
            let ended = desk.run(&line);
            ended.failed(&line, 2, &[name, "something other than a file"]);
            assert!(!std::fs::symlink_metadata(desk.path(name)).unwrap().is_file(), "{line}");
        }
    }
}
