//! The program as its users meet it: the three forms, exit codes, files, and every bad input's
//! message.

mod common;
mod desk;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use common::{deep_plan, demo_plan, tiny_label, tiny_plan, wrong_plan};
use desk::{Desk, Ended, PUBLIC, QUERIES, json};
use fusion_ir::plan::Plan;
use ndarray::{Array, Array1};
use ndarray_npy::write_npy;

fn expected_csv() -> String {
    let rows = QUERIES.iter().enumerate().map(|(i, (x, y))| format!("{i},{}\n", tiny_label(*x, *y)));
    std::iter::once("index,label\n".to_owned()).chain(rows).collect()
}

#[test]
fn two_processes_give_verified_labels() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin --report server.json");
    std::fs::write(desk.path("labels.csv"), "stale").unwrap();
    let client = desk.client(&address, "-o labels.csv --report r.json --html report.html");
    assert_eq!(client.code, 0, "{client:?}");
    assert!(client.stdout.starts_with("ACCEPTED: 3 labels"), "{client:?}");
    let page = std::fs::read_to_string(desk.path("report.html")).unwrap();
    for phrase in ["<h1>Accepted</h1>", "3 labels", "excluded but for 2<sup>-", "<h2>Layers</h2>", "class=\"this\""] {
        assert!(page.contains(phrase), "{phrase}: {page}");
    }
    assert!(!page.contains("<script") && !page.contains("http"), "{page}");
    assert_eq!(client.stderr, "");
    assert_eq!(std::fs::read_to_string(desk.path("labels.csv")).unwrap(), expected_csv());
    let server = server.end();
    assert_eq!(server.code, 0, "{server:?}");
    assert!(server.stdout.contains("served 127.0.0.1:"), "{server:?}");

    let (client, server) = (json(&desk.path("r.json")), json(&desk.path("server.json")));
    assert_eq!(client["verdict"]["accepted"], true);
    assert_eq!(client["predicted"]["client_to_server"], client["bytes"]["client_to_server"]);
    assert_eq!(client["predicted"]["server_to_client"], client["bytes"]["server_to_client"]);
    assert_eq!(client["predicted"]["rounds"], client["rounds"]);
    assert_eq!(client["plan_digest"], server["plan_digest"]);
    assert!(server.get("verdict").is_none() && server.get("labels").is_none());
}

#[test]
fn without_an_output_file_labels_are_printed_first() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin --sessions 2 --quiet");
    let client = desk.client(&address, "");
    assert!(client.stdout.starts_with(&expected_csv()), "{client:?}");
    let quiet = desk.client(&address, "--quiet");
    assert_eq!(quiet.stdout, expected_csv());
    assert_eq!(server.end().stdout, "");
}

#[test]
fn another_model_is_rejected_with_exit_code_3_and_stale_labels_are_gone() {
    let desk = Desk::new();
    desk.plan("wrong.bin", &wrong_plan());
    let (server, address) = desk.server("wrong.bin");
    std::fs::write(desk.path("labels.csv"), "stale").unwrap();
    std::fs::write(desk.path("report.html"), "stale").unwrap();
    let client = desk.client(&address, "-o labels.csv --report r.json --html report.html");
    assert_eq!(client.code, 3, "{client:?}");
    assert!(client.stdout.starts_with("REJECTED: too many public samples were answered wrongly (0 of "), "{client:?}");
    assert!(!desk.path("labels.csv").exists());
    let page = std::fs::read_to_string(desk.path("report.html")).unwrap();
    assert!(page.contains("<h1>Rejected</h1>") && !page.contains("<h2>Answers</h2>"), "{page}");
    let report = json(&desk.path("r.json"));
    assert_eq!(report["verdict"]["accepted"], false);
    assert!(report.get("labels").is_none());
    assert_eq!(server.end().code, 0, "the server cannot know");
}

#[test]
fn no_verify_says_so() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin");
    let line = format!("plan.client.bin --role client --connect {address} --input x.npy --no-verify");
    let client = desk.run(&line);
    assert_eq!(client.code, 0, "{client:?}");
    assert!(client.stdout.contains("UNVERIFIED (--no-verify): 3 labels"), "{client:?}");
    assert!(server.end().stdout.contains("3 positions"));
}

#[test]
fn plans_of_two_compilations_end_both_sides_with_exit_code_4_and_both_digests() {
    let desk = Desk::new();
    let mut other = tiny_plan();
    other.provenance.compiler = "test 2".into();
    desk.plan("other.bin", &other);
    let (server, address) = desk.server("other.bin");
    let (client, server) = (desk.client(&address, ""), server.end());
    let hex = |plan: &Plan| plan.digest().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for side in [client, server] {
        assert_eq!(side.code, 4, "{side:?}");
        assert!(side.stderr.contains("two different compilations"), "{side:?}");
        assert!(side.stderr.contains(&hex(&other)) && side.stderr.contains(&hex(&tiny_plan())), "{side:?}");
    }
}

#[test]
fn a_batch_beyond_the_servers_limit_is_refused() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin --max-positions 5");
    let client = desk.client(&address, "-o labels.csv");
    assert_eq!((client.code, server.end().code), (4, 4));
    assert!(client.stderr.contains("this server takes at most 5"), "{client:?}");
    assert!(!desk.path("labels.csv").exists());
}

#[test]
fn servers_that_hang_up_stall_or_send_garbage_end_with_exit_code_4() {
    let desk = Desk::new();
    for (answer, why) in [
        (Some(&b""[..]), "the peer hung up"),
        (Some(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]), "the peer broke the protocol"),
        (None, "no data from the peer for 1 s"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let client = std::thread::scope(|scope| {
            let client = scope.spawn(|| desk.client(&address, "-o labels.csv --timeout 1"));
            let (mut socket, _) = listener.accept().unwrap();
            match answer {
                Some(bytes) => {
                    // Wait for the hello, so that hanging up is not a reset.
                    socket.read_exact(&mut [0; 8]).unwrap();
                    socket.write_all(bytes).unwrap();
                    socket.shutdown(std::net::Shutdown::Write).unwrap();
                    client.join().unwrap()
                }
                None => client.join().unwrap(),
            }
        });
        assert_eq!(client.code, 4, "{client:?}");
        assert!(client.stderr.contains(why), "{why}: {client:?}");
        assert!(!desk.path("labels.csv").exists());
    }
}

#[test]
fn the_demonstration_ends_with_what_was_proven() {
    let desk = Desk::new();
    let demo = desk.run("plan.bin --report r.json");
    assert_eq!(demo.code, 0, "{demo:?}");
    for phrase in [
        "ACCEPTED: 8 labels",
        "queries                     8, ",
        "copies of each",
        "public samples              46, 46 answered correctly",
        "8 of 8 equal labels given with the data",
        "excluded but for 2^-40.0: at chosen positions every label changed, where the honest model is right",
        "excluded but for 2^-43.8: one label for all inputs, or labels at random",
        "excluded with 99 %:       errors on 9.6 % or more",
        "not excluded:             errors on less than 9.6 %",
        "traffic per query",
        "both parties on this machine",
        "no evidence about a real server",
    ] {
        assert!(demo.stdout.contains(phrase), "{phrase}: {demo:?}");
    }
    assert_eq!(json(&desk.path("r.json"))["verdict"]["lambda_requested"], 40.0);
    assert_eq!(demo.stderr, "");
}

#[test]
fn a_demonstration_with_few_samples_says_what_it_reaches() {
    let desk = Desk::new();
    desk.plan("few.bin", &demo_plan(3));
    let demo = desk.run("few.bin --report r.json");
    assert_eq!(demo.code, 0, "{demo:?}");
    let verdict = json(&desk.path("r.json"))["verdict"].clone();
    assert!(verdict["lambda_requested"].as_f64().unwrap() < 40.0, "{verdict}");
    assert!(demo.stdout.contains("ACCEPTED"));
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin");
    // No file may grow beyond 0 blocks, and the write fails instead of the process: as on a full
    // disk.
    let program = env!("CARGO_BIN_EXE_fusion-run");
    let files = "--input x.npy --public-inputs px.npy --public-labels py.npy --lambda 8 -o labels.csv --no-ledger";
    let script =
        format!("trap '' XFSZ; ulimit -f 0; exec {program} plan.client.bin --role client --connect {address} {files}");
    let client = Command::new("sh").args(["-c", &script]).current_dir(desk.0.path()).output().unwrap();
    let client = Ended::from(client);
    assert_eq!(client.code, 2, "{client:?}");
    assert!(client.stderr.contains("cannot write labels.csv"), "{client:?}");
    // What the samples were used for is not lost.
    assert!(client.stdout.starts_with(&expected_csv()), "{client:?}");
    let entries = std::fs::read_dir(desk.0.path()).unwrap();
    assert!(entries.map(|entry| entry.unwrap().file_name()).all(|name| !name.to_string_lossy().contains("labels")));
    server.end();
}

#[test]
fn the_ledger_can_be_read() {
    let desk = Desk::new();
    let none = |line: &str| {
        let shown = desk.run(line);
        assert!(shown.code == 2 && shown.stderr.contains(": there is no ledger"), "{shown:?}");
    };
    none("--show-ledger");
    let (server, address) = desk.server("plan.bin --sessions 2");
    for _ in 0..2 {
        assert_eq!(desk.client(&address, "-o labels.csv").code, 0);
    }
    server.end();
    let shown = desk.run("--show-ledger");
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
    let lines: Vec<serde_json::Value> = shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (line, session) in lines.iter().zip(1..) {
        assert_eq!((line["session"].as_u64(), line["queries"].as_u64()), (Some(session), Some(3)));
        assert_eq!((&line["outcome"], &line["server"]), (&"accepted".into(), &address.as_str().into()));
    }
    none("--show-ledger --ledger other.redb");
}

#[test]
fn a_server_can_be_asked_without_a_session() {
    let desk = Desk::new();
    let mut other = tiny_plan();
    other.provenance.compiler = "test 2".into();
    desk.plan("other.client.bin", &other.for_client());
    let (server, address) = desk.server("plan.bin --budget 1000");
    for _ in 0..2 {
        let asked = desk.run(&desk.client_line(&address, "--doctor --queries 3 --lambda 5"));
        assert_eq!((asked.code, asked.stderr.as_str()), (0, ""), "{asked:?}");
        let digest: String = tiny_plan().digest().iter().map(|byte| format!("{byte:02x}")).collect();
        for phrase in [&digest, "address 127.0.0.1, no TLS", "ms there and back", "nobody waits", "3 queries, "] {
            assert!(asked.stdout.contains(phrase), "{phrase}: {asked:?}");
        }
    }
    let measured = std::fs::read_to_string(desk.path("state/fusion/network.toml")).unwrap();
    let network: fusion_estimate::Network = measured.parse().unwrap();
    assert!(network.mbit_per_s > 1.0 && network.rtt_ms < 1000.0, "{network:?}");
    assert!(measured.contains(&format!("server = {address}\n")), "{measured}");
    let asked = desk.run(&format!("other.client.bin --role client --connect {address} --doctor"));
    assert!(asked.code == 4 && asked.stderr.contains("two different compilations"), "{asked:?}");
    // Nothing was spent, and the one session is still to come.
    assert!(!desk.path("state/fusion/ledger.redb").exists());
    let client = desk.client(&address, "--report r.json");
    assert_eq!((client.code, server.end().code), (0, 0), "{client:?}");
    let spent = json(&desk.path("r.json"))["batch"]["positions"].as_u64().unwrap();
    let budget = fusion_runtime::Budget::open(&desk.path("state/fusion/budget.redb"), 1000).unwrap();
    let client = fusion_runtime::Identity::address("127.0.0.1".parse().unwrap());
    assert_eq!(budget.left(&client).unwrap(), 1000 - spent);
}

/// A single query's linear layers are computed ahead where that is forecast to be quicker on the
/// network that was measured last, to this very server; and as its user says, if one does.
#[test]
fn what_was_measured_decides_how_a_query_is_computed() {
    let desk = Desk::new();
    // Waiting for layers is a large part of what it takes.
    let plan = deep_plan(6);
    desk.plan("plan.bin", &plan);
    desk.plan("plan.client.bin", &plan.for_client());
    let (server, address) = desk.server("plan.bin --sessions 6");
    let keys = |flags: &str| {
        let flags = format!("--input x.npy --no-verify --report r.json {flags}");
        let ended = desk.run(&desk.client_line(&address, &flags));
        assert_eq!(ended.code, 0, "{ended:?}");
        json(&desk.path("r.json"))["batch"]["keys"].as_str().unwrap().to_owned()
    };
    let measured = |server: &str, network: fusion_estimate::Network| {
        std::fs::create_dir_all(desk.path("state/fusion")).unwrap();
        let text = format!("# by fusion-run --doctor\nserver = {server}\n{network}");
        std::fs::write(desk.path("state/fusion/network.toml"), text).unwrap();
    };
    assert_eq!(keys(""), "position", "nothing was measured");
    measured(&address, fusion_estimate::Network::WAN);
    assert_eq!((keys(""), keys("--keys layer")), ("ahead".into(), "layer".into()));
    measured("elsewhere.example.org:9000", fusion_estimate::Network::WAN);
    assert_eq!(keys(""), "position", "another server's network");
    measured(&address, fusion_estimate::Network { mbit_per_s: 20_000.0, rtt_ms: 0.05 });
    assert_eq!((keys(""), keys("--keys ahead")), ("position".into(), "ahead".into()));
    assert_eq!(server.end().code, 0);
}

#[test]
fn warnings_that_nobody_takes_change_nothing() {
    let desk = Desk::new();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (server, address) = desk.server("plan.bin --sessions 2");
    assert_eq!(desk.client(&address, "").code, 0);
    // The public samples are used a second time, which is worth a warning.
    let files = "--input x.npy --public-inputs px.npy --public-labels py.npy --lambda 8";
    let mut again = desk.command(&desk.client_line(&address, files));
    let again = again.stderr(full()).output().unwrap();
    assert_eq!(again.status.code(), Some(0));
    assert!(String::from_utf8(again.stdout).unwrap().starts_with(&expected_csv()));
    assert_eq!(server.end().code, 0);
    let refused = desk.command("none.bin").stderr(full()).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn plans_that_are_none_are_refused() {
    let desk = Desk::new();
    let bytes = tiny_plan().to_bytes();
    std::fs::write(desk.path("cut.bin"), &bytes[..60]).unwrap();
    let mut corrupt = bytes.clone();
    corrupt[70] ^= 1;
    std::fs::write(desk.path("corrupt.bin"), corrupt).unwrap();
    let mut newer = bytes;
    newer[8] = 9;
    std::fs::write(desk.path("newer.bin"), newer).unwrap();
    for (line, why) in [
        ("cut.bin", "cut.bin: the plan is truncated"),
        ("corrupt.bin", "corrupt.bin: the plan is corrupt"),
        ("newer.bin", "newer.bin: the plan has version 9"),
        ("x.npy", "x.npy: this is not a Fusion plan"),
        ("missing.bin", "missing.bin: cannot be read"),
        ("plan.client.bin", "plan.client.bin has no weights"),
        ("plan.client.bin --role server --listen 127.0.0.1:0", "has no weights: give the server plan.bin"),
        ("plan.bin --role server", "--listen is missing"),
        ("plan.bin --role server --listen 0.0.0.0:0", "--allow-plaintext"),
        ("plan.bin --role client", "--connect is missing"),
    ] {
        let ended = desk.run(line);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(why), "{why}: {ended:?}");
    }
}

#[test]
fn bad_samples_and_policies_are_refused_before_anything_is_sent() {
    let desk = Desk::new();
    write_npy(desk.path("wide.npy"), &Array::<f32, _>::zeros((3, 5))).unwrap();
    write_npy(desk.path("double.npy"), &Array::<f64, _>::from_elem((3, 2), 16_777_217.0)).unwrap();
    write_npy(desk.path("empty.npy"), &Array::<f32, _>::zeros((0, 2))).unwrap();
    write_npy(desk.path("nan.npy"), &Array::<f32, _>::from_elem((3, 2), f32::NAN)).unwrap();
    write_npy(desk.path("few.npy"), &Array1::<i64>::zeros(3)).unwrap();
    write_npy(desk.path("high.npy"), &Array1::<i64>::from_elem(PUBLIC, 3)).unwrap();
    let public = "--public-inputs px.npy --public-labels py.npy";
    for (line, why) in [
        (format!("--input wide.npy {public}"), "wide.npy: its shape is [3, 5], but [samples, 2] is needed"),
        (
            format!("--input double.npy {public}"),
            "double.npy: sample 0 holds 16777217 at element 0, which float32 does not hold",
        ),
        (format!("--input empty.npy {public}"), "empty.npy: it holds no sample"),
        (format!("--input nan.npy {public}"), "nan.npy: sample 0 holds NaN at element 0"),
        ("--input x.npy".into(), "--public-inputs is missing"),
        ("--input x.npy --public-inputs px.npy".into(), "--public-labels is missing"),
        ("--input x.npy --public-inputs px.npy --public-labels few.npy".into(), "there are 60 public samples"),
        ("--input x.npy --public-inputs px.npy --public-labels high.npy".into(), "label 3 of sample 0 is not in 0..3"),
        (format!("--input x.npy {public} --catch 0.01"), "public samples for this many queries, but there are only 60"),
        (format!("--input x.npy {public} --accuracy 1.5"), "accuracy must be between"),
        (format!("--input x.npy {public} -o x.npy"), "x.npy would be overwritten: it is an input"),
        (format!("--input x.npy {public} -o r --report r"), "r cannot hold two results"),
        (format!("--input x.npy {public} -o no/labels.csv"), "cannot write no/labels.csv"),
    ] {
        let stderr = desk.refused(&line);
        assert!(stderr.contains(why), "{line}: {stderr}");
    }
    assert!(desk.path("x.npy").exists());
}
