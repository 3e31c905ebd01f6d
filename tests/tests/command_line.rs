//! The programs as a person meets them: what they say about themselves, what a run ends with, and
//! the files it leaves.

use fusion_tests::desk::{Desk, QUERIES};
use fusion_tests::{read_labels, root, run, succeed};
use serde_json::Value;

/// Every flag of the contract, by command.
const FLAGS: [(&str, &[&str]); 7] = [
    (
        "fusionc compile",
        &[
            "<MODEL>",
            "-o",
            "--calibrate",
            "--input-shape",
            "--acc",
            "calibrated",
            "worst-case",
            "--network",
            "lan",
            "wan",
            "--reveal",
            "label",
            "logits",
            "--arithmetic",
            "exact",
            "stochastic",
            "--backend",
            "auto",
            "cheetah",
            "--no-verify",
            "--queries",
            "--lambda",
            "--catch",
            "--accuracy",
        ],
    ),
    ("fusionc check", &["<MODEL>", "--input-shape"]),
    (
        "fusionc dump",
        &["--stage", "import", "fixed", "gadgets", "plan", "--format", "text", "dot", "json", "--annotate", "--html"],
    ),
    ("fusionc cost", &["<PLAN>", "--network", "--queries", "--html"]),
    ("fusionc eval", &["<PLAN>", "--input", "-o", "--logits"]),
    (
        "fusionc soundness",
        &["--queries", "--lambda", "--catch", "--false-reject", "--accuracy", "--tolerate", "--format", "text", "json"],
    ),
    (
        "fusion-run",
        &[
            "[PLAN]",
            "--role",
            "server",
            "client",
            "--listen",
            "--max-positions",
            "--connect",
            "--input",
            "--public-inputs",
            "--public-labels",
            "-o",
            "--report",
            "--lambda",
            "--catch",
            "--false-reject",
            "--accuracy",
            "--tolerate",
            "--copies",
            "--no-verify",
            "Exit codes: 0",
            "3 rejected",
            "2 bad usage",
            "4 the peer",
            "1 a bug",
        ],
    ),
];

/// Runs `line`, whose first word is the binary.
fn said(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    succeed(words[0], &words[1..])
}

#[test]
fn help_mentions_every_flag_and_what_it_is_for() {
    for (command, flags) in FLAGS {
        let help = said(&format!("{command} --help"));
        assert!(help.contains(&format!("Usage: {command} ")), "{help}");
        for flag in flags {
            assert!(help.contains(flag), "{command}: {flag} is missing: {help}");
        }
        // A flag without a word about it helps nobody.
        let short = said(&format!("{command} -h"));
        for line in short.lines().filter(|line| line.trim_start().starts_with('-')) {
            let about = line.trim().split("  ").skip(1).map(str::trim).find(|part| !part.is_empty());
            assert!(about.is_some_and(|about| about.contains(' ')), "{command}: {line:?} is not explained");
        }
    }
}

#[test]
fn the_compiler_lists_its_commands() {
    let help = said("fusionc --help");
    for command in ["compile", "check", "dump", "cost", "eval", "soundness"] {
        let line = help.lines().find(|line| line.trim_start().starts_with(command));
        assert!(line.is_some_and(|line| line.split_whitespace().count() > 4), "{command}: {help}");
    }
    assert_eq!(run("fusionc", &[]).status.code(), Some(2));
}

#[test]
fn versions_name_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(said("fusionc --version"), format!("fusionc {version}\n"));
    assert_eq!(said("fusion-run --version"), format!("fusion-run {version}\n"));
}

#[test]
fn soundness_fits_on_one_screen() {
    let text = said("fusionc soundness --queries 1024 --accuracy 0.76 --catch 0.4");
    assert!(text.lines().count() <= 24 && text.lines().all(|line| line.len() <= 96), "{text}");
    for row in [
        "queries R",
        "copies of each B",
        "public samples T",
        "u = ",
        "positions",
        "honest server rejected",
        "If the honest model is right on at least 76 % of inputs",
        "all labels changed, chosen positions",
        "other labels everywhere",
        "one label for all inputs",
        "one label, chosen positions",
        "labels at random",
        "2^-",
        "caught with 99 %",
        "nothing is said",
    ] {
        assert!(text.contains(row), "{row} is missing: {text}");
    }
}

fn soundness(flags: &str) -> Value {
    serde_json::from_str(&said(&format!("fusionc soundness --format json {flags}"))).unwrap()
}

/// C(2,1) C(12,4+j) summed over j <= 6, over C(16,8) hits, and the like, worked out by hand.
#[test]
fn soundness_as_json_has_the_known_answers() {
    let answer = soundness("--queries 1024");
    for (name, expected) in [("queries", 1024), ("copies", 5), ("public", 41), ("tolerated", 0), ("positions", 5161)] {
        assert_eq!(answer[name], expected, "{name}: {answer}");
    }
    // Five hits, all copies of one query: 1024 / C(5161, 5).
    assert_eq!(answer["worst_hits"], 5);
    let choose = |n: f64, k: u32| (0..k).map(|i| (n - f64::from(i)) / f64::from(k - i)).product::<f64>();
    let p = 1024.0 / choose(5161.0, 5);
    let close = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} is not {expected}");
    };
    close(&answer["worst_probability"], p);
    close(&answer["lambda_bits"], -p.log2());
    // 41 public samples, none tolerated: (1 - eps)^41 = 0.01, and two balanced classes: 2^-41.
    close(&answer["smallest_eps_99"], 1.0 - 0.01f64.powf(1.0 / 41.0));
    close(&answer["constant_bits"], 41.0);
    close(&answer["overhead"], 5161.0 / 1024.0);

    let tolerant = soundness("--queries 1 --copies 2 --public 3 --tolerate 1 --lambda 0 --accuracy 0.9");
    // d = 3 of 5 positions: both copies and one of three public samples, 3 / 10; d = 4: both copies
    // and two, of which at most one may be an error, 3 / 5 (1 - 0.9^2).
    assert_eq!(tolerant["worst_hits"], 3);
    close(&tolerant["worst_probability"], 0.3);
    // Everything relabelled: the model is right on at most one of three.
    close(&tolerant["relabel_all_bits"], -(0.001f64 + 3.0 * 0.9 * 0.01).log2());
    // An honest server errs on two or three of three public samples.
    close(&tolerant["false_reject"], 3.0 * 0.01 * 0.9 + 0.001);
}

#[test]
fn the_demonstration_ends_with_what_a_newcomer_needs() {
    let desk = Desk::new();
    let out = desk.succeed("fusion-run plan.bin --report r.json");
    let report = desk.json("r.json");
    let (batch, verdict) = (&report["batch"], &report["verdict"]);
    let labels: Vec<String> = report["labels"].as_array().unwrap().iter().map(Value::to_string).collect();
    let bytes =
        report["bytes"]["client_to_server"].as_u64().unwrap() + report["bytes"]["server_to_client"].as_u64().unwrap();
    let per_query = bytes as f64 / batch["queries"].as_f64().unwrap() / 1e6;
    for phrase in [
        format!("ACCEPTED: {} labels", labels.len()),
        format!("{}, {} copies of each", batch["queries"], batch["copies"]),
        format!("{}, {} answered correctly", batch["public"], verdict["public_correct"]),
        format!("excluded but for 2^-{:.0}", verdict["lambda_achieved_bits"].as_f64().unwrap().floor()),
        "excluded with 99 %".into(),
        "not excluded".into(),
        labels.join(" "),
        format!("traffic per query           {per_query:.2} MB"),
    ] {
        assert!(out.contains(&phrase), "{phrase:?} is missing: {out}");
    }
    let last = out.lines().last().unwrap();
    assert!(last.contains("demo samples") && last.contains("no evidence"), "{last}");
    assert!(batch["copies"].as_u64().unwrap() > 1 && batch["public"].as_u64().unwrap() > 0, "{batch}");
}

#[test]
fn without_verification_every_verdict_line_says_so() {
    let desk = Desk::new();
    let demo = desk.succeed("fusion-run plan.bin --no-verify");
    assert!(demo.starts_with("UNVERIFIED (--no-verify): "), "{demo}");
    assert!(!demo.contains("ACCEPTED"), "{demo}");

    let server = desk.serve(&[]);
    let client = format!("fusion-run plan.client.bin --role client --connect {}", server.address);
    let line = format!("{client} --input x.npy --no-verify -o labels.csv --report r.json");
    let out = desk.succeed(&line);
    assert!(out.starts_with(&format!("UNVERIFIED (--no-verify): {QUERIES} labels")), "{out}");
    assert_eq!(desk.json("r.json")["verdict"]["verified"], false);
    assert_eq!(server.finish().0, Some(0));

    // A plan that was compiled so says it too, whether or not the client verifies.
    let model = root().join("models/digits/digits.onnx");
    desk.succeed(&format!("fusionc compile {} --calibrate x.npy --no-verify -o plan.bin", model.display()));
    for flags in ["", "--no-verify"] {
        let demo = desk.run(&format!("fusion-run plan.bin {flags}"));
        assert_eq!(demo.code, 0, "{demo:?}");
        let verdict = demo.out.lines().next().unwrap();
        assert!(verdict.contains("the plan was compiled with --no-verify"), "{verdict}");
    }
}

/// Every field of the contract; a `/` goes into an object.
const BOTH: [&str; 17] = [
    "report_version",
    "role",
    "batch/positions",
    "batch/micro_batch",
    "batch/keys",
    "time_s/total",
    "time_s/offline",
    "time_s/online",
    "time_s/per_layer",
    "bytes/client_to_server",
    "bytes/server_to_client",
    "bytes/per_layer",
    "rounds",
    "correlations",
    "memory_peak_bytes",
    "plan_digest",
    "kernels",
];
const CLIENT_ONLY: [&str; 13] = [
    "verdict/accepted",
    "verdict/verified",
    "verdict/consistent",
    "verdict/public_correct",
    "verdict/public_total",
    "verdict/tolerated",
    "verdict/lambda_requested",
    "verdict/lambda_achieved_bits",
    "verdict/smallest_eps_99",
    "batch/queries",
    "batch/copies",
    "batch/public",
    "labels",
];

fn has(report: &Value, field: &str) -> bool {
    report.pointer(&format!("/{field}")).is_some_and(|value| !value.is_null())
}

#[test]
fn reports_and_labels_have_the_form_of_the_contract() {
    let desk = Desk::new();
    let server_report = desk.path("server.json");
    let server = desk.serve(&["--report", fusion_tests::arg(&server_report)]);
    let client = desk.client(&server.address, "");
    assert_eq!(client.code, 0, "{client:?}");
    assert_eq!(server.finish().0, Some(0));
    let (client, server) = (desk.json("r.json"), desk.json("server.json"));
    for field in BOTH.into_iter().chain(["versions/runtime", "versions/protocol", "versions/plan", "versions/compiler"])
    {
        assert!(has(&client, field), "the client's report lacks {field}: {client:#}");
        assert!(has(&server, field), "the server's report lacks {field}: {server:#}");
    }
    for field in CLIENT_ONLY {
        assert!(has(&client, field), "the client's report lacks {field}: {client:#}");
        assert!(!has(&server, field), "the server cannot know {field}: {server:#}");
    }
    assert!(server.get("verdict").is_none() && server.get("labels").is_none(), "{server:#}");
    assert_eq!((&client["role"], &server["role"]), (&"client".into(), &"server".into()));
    for field in ["plan_digest", "correlations", "batch/positions", "bytes/client_to_server", "bytes/server_to_client"]
    {
        let at = format!("/{field}");
        assert_eq!(client.pointer(&at), server.pointer(&at), "{field}");
    }
    // Layer by layer, and nothing is counted twice: set-up and keys come on top.
    let direction = |direction: &str| {
        let layers = client["bytes"]["per_layer"].as_array().unwrap();
        let sum: u64 = layers.iter().map(|layer| layer[direction].as_u64().unwrap()).sum();
        assert!(0 < sum && sum < client["bytes"][direction].as_u64().unwrap(), "{direction}: {sum}");
        layers.len()
    };
    assert_eq!(direction("client_to_server"), direction("server_to_client"));
    assert_eq!(client["time_s"]["per_layer"].as_array().unwrap().len(), direction("client_to_server"));

    let csv = String::from_utf8(desk.read("labels.csv")).unwrap();
    let labels = read_labels(&desk.path("labels.csv"));
    assert_eq!(labels.len(), QUERIES);
    assert!(csv.ends_with('\n') && !csv.contains(' '), "{csv:?}");
    assert_eq!(client["labels"], serde_json::json!(labels));
    // Byte for byte what the plaintext reference writes.
    assert_eq!(csv, desk.succeed("fusionc eval plan.bin --input x.npy"));
}

#[test]
fn several_labels_are_revealed_in_order_and_checked_by_the_first() {
    let desk = Desk::new();
    let model = root().join("models/digits/digits.onnx");
    let compile =
        |k: u32| format!("fusionc compile {} --calibrate x.npy --reveal topk:{k} -o plan.bin", model.display());
    desk.succeed(&compile(3));
    // Nothing is sent for a plan that reveals more than the client's user asked for.
    for (wanted, code) in [("", 2), ("--reveal topk:2", 2)] {
        desk.client_refuses(
            code,
            "127.0.0.1:1",
            wanted,
            &["the plan reveals topk:3 for every position", "--reveal topk:3"],
        );
    }
    let server = desk.serve(&[]);
    let client = desk.client(&server.address, "--reveal topk:3");
    assert_eq!(client.code, 0, "{client:?}");
    assert_eq!(server.finish().0, Some(0));
    let csv = String::from_utf8(desk.read("labels.csv")).unwrap();
    assert!(csv.starts_with("index,label_1,label_2,label_3\n0,"), "{csv}");
    // Byte for byte what the plaintext reference writes.
    assert_eq!(csv, desk.succeed("fusionc eval plan.bin --input x.npy"));
    let report = desk.json("r.json");
    assert_eq!(report["top_labels"].as_array().unwrap().len(), QUERIES);
    let first: Vec<_> = report["top_labels"].as_array().unwrap().iter().map(|labels| labels[0].clone()).collect();
    assert_eq!(report["labels"].as_array().unwrap(), &first);

    for k in [0, 11, 70_000] {
        let ended = desk.run(&compile(k));
        ended.failed(&compile(k), 2, &[&format!("topk:{k}")]);
    }
}

#[test]
fn a_rejection_has_exit_code_3_shows_no_label_and_removes_stale_ones() {
    let desk = Desk::new();
    desk.spoil_labels();
    let server = desk.serve(&[]);
    let samples =
        "--input x.npy --public-inputs px.npy --public-labels wrong.npy --lambda 5 --accuracy 0.9 --catch 0.6";
    let line = format!(
        "fusion-run plan.client.bin --role client --connect {} {samples} -o labels.csv --report r.json",
        server.address
    );
    desk.write("labels.csv", b"index,label\n0,7\n");
    let client = desk.run(&line);
    assert_eq!(client.code, 3, "{client:?}");
    assert!(client.out.starts_with("REJECTED: ") && client.out.contains("No label is shown"), "{client:?}");
    assert!(!desk.path("labels.csv").exists());
    let report = desk.json("r.json");
    assert_eq!(report["verdict"]["accepted"], false);
    assert_eq!(report["verdict"]["verified"], true);
    assert!(report.get("labels").is_none(), "{report:#}");
    let (code, error) = server.finish();
    assert_eq!((code, error.as_str()), (Some(0), ""), "the server cannot know");
}

#[test]
fn every_stage_and_format_of_a_dump_and_the_costs_are_printed() {
    let desk = Desk::new();
    let model = root().join("models/digits/digits.onnx");
    for stage in ["import", "fixed", "gadgets", "plan"] {
        let text = desk.succeed(&format!("fusionc dump {} --calibrate x.npy --stage {stage}", model.display()));
        assert!(text.contains("conv1"), "{stage}: {text}");
        assert_eq!(text.contains("fusion.mix"), ["gadgets", "plan"].contains(&stage), "{stage}: {text}");
    }
    let text = desk.succeed("fusionc dump plan.bin");
    assert_eq!(
        fusion_ir::text::parse(&text).unwrap().to_string(),
        fusion_ir::text::parse(&desk.succeed("fusionc dump plan.client.bin")).unwrap().to_string()
    );
    assert!(desk.succeed("fusionc dump plan.bin --annotate").contains("bytes to server"));
    assert!(desk.succeed("fusionc dump plan.bin --format dot").starts_with("digraph"));
    assert!(serde_json::from_str::<Value>(&desk.succeed("fusionc dump plan.bin --format json")).is_ok());
    let cost = desk.succeed("fusionc cost plan.client.bin --queries 10 --network wan");
    for word in ["conv1", "conv2", "dense", "rounds", "one position", "per query"] {
        assert!(cost.contains(word), "{word} is missing: {cost}");
    }
    let check = desk.succeed(&format!("fusionc check {}", model.display()));
    assert!(check.contains("all supported"), "{check}");
}
