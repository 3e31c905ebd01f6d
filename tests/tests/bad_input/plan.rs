//! Plan files that are none, are damaged, or are another's.

use fusion_ir::plan::{self, Plan};
use fusion_tests::desk::Desk;
use fusion_tests::party::Server;

/// Every program that reads a plan, and all ways to name one.
const READERS: [&str; 6] = [
    "fusion-run bad.bin",
    "fusion-run bad.bin --role server --listen 127.0.0.1:0",
    "fusion-run bad.bin --role client --connect 127.0.0.1:9 --timeout 1 --input x.npy --no-verify -o labels.csv --report r.json",
    "fusionc eval bad.bin --input x.npy -o out.csv",
    "fusionc cost bad.bin",
    "fusionc dump bad.bin",
];

fn refused_by_all(desk: &Desk, bytes: &[u8], why: &str) {
    desk.write("bad.bin", bytes);
    for line in READERS {
        desk.refuse(2, line, &[": bad.bin: ", why]);
    }
}

#[test]
fn truncated_plans_are_refused_by_everything_that_reads_plans() {
    let desk = Desk::new();
    let whole = desk.read("plan.bin");
    refused_by_all(&desk, &whole[..10], "the plan is truncated in its header");
    refused_by_all(&desk, &whole[..12], "the plan is truncated in its public section");
    refused_by_all(&desk, &whole[..200], "the plan is truncated in its public section");
    refused_by_all(&desk, &whole[..desk.read("plan.client.bin").len() + 60], "the plan is truncated in its weights");
    refused_by_all(&desk, &whole[..whole.len() - 1], "the plan is truncated in its demo samples");
}

#[test]
fn every_cut_and_every_flipped_byte_is_noticed() {
    let desk = Desk::new();
    let whole = desk.read("plan.bin");
    let line = "fusionc cost bad.bin";
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        desk.write("bad.bin", &whole[..at]);
        desk.refuse(2, line, &["fusionc: bad.bin: "]);
        let mut corrupt = whole.clone();
        corrupt[at] ^= 0x10;
        desk.write("bad.bin", &corrupt);
        desk.refuse(2, line, &["fusionc: bad.bin: "]);
    }
}

#[test]
fn corrupt_and_newer_plans_and_other_files_are_refused() {
    let desk = Desk::new();
    let whole = desk.read("plan.bin");
    let mut corrupt = whole.clone();
    corrupt[300] ^= 1;
    refused_by_all(&desk, &corrupt, "the plan is corrupt in its public section");
    refused_by_all(&desk, &[&whole[..], b"x"].concat(), "the plan is corrupt in its end");
    let mut newer = whole;
    newer[8..12].copy_from_slice(&(plan::VERSION + 1).to_le_bytes());
    refused_by_all(
        &desk,
        &newer,
        &format!("the plan has version {}, this program reads version {}: update it", plan::VERSION + 1, plan::VERSION),
    );
    desk.write("bad.bin", b"GIF89a");
    for line in &READERS[..5] {
        desk.refuse(2, line, &[": bad.bin: this is not a Fusion plan"]);
    }
    // To dump, whatever is not a plan may be a model.
    desk.refuse(2, READERS[5], &["bad.bin: not an ONNX model"]);
    std::fs::remove_file(desk.path("bad.bin")).unwrap();
    READERS.iter().for_each(|line| _ = desk.refuse(2, line, &[": bad.bin: "]));
}

#[test]
fn a_plan_that_opens_more_than_the_result_is_refused() {
    let desk = Desk::new();
    let mut plan = Plan::from_bytes(&desk.read("plan.client.bin")).unwrap();
    // The last value but one is the reveal; this one opens what the layer before it computes.
    let before_reveal = plan.function.values.len() - 3;
    plan.function.values[before_reveal].op = fusion_ir::Op::Reveal(fusion_ir::op::Reveal::Logits);
    refused_by_all(&desk, &plan.to_bytes(), "the plan's function is not acceptable");
}

#[test]
fn the_clients_plan_does_not_do_for_the_server() {
    let desk = Desk::new();
    for (line, why) in [
        ("fusion-run plan.client.bin --role server --listen 127.0.0.1:0", "has no weights: give the server plan.bin"),
        ("fusion-run plan.client.bin", "has no weights: the demonstration needs a plan.bin"),
        ("fusionc eval plan.client.bin --input x.npy -o out.csv", "without weights; eval needs the server's"),
    ] {
        desk.refuse(2, line, &["plan.client.bin", why]);
    }
}

#[test]
fn plans_of_two_compilations_end_both_sides_and_both_are_told() {
    let desk = Desk::new();
    let model = fusion_tests::root().join("models/digits/digits.onnx");
    desk.succeed(&format!("fusionc compile {} -o other.bin", fusion_tests::arg(&model)));
    let digest = |name: &str| {
        let digest = Plan::from_bytes(&desk.read(name)).unwrap().digest();
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let (own, other) = (digest("plan.client.bin"), digest("other.bin"));
    assert_ne!(own, other);
    let server = Server::start(&desk.path("other.bin"), &[]);
    let text =
        format!("the plans come from two different compilations: the client's is {own}, the server's is {other}");
    desk.client_refuses(4, &server.address, "", &[&text]);
    let (code, error) = server.finish();
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains(&text), "{error}");
}
