//! Servers that relabel, as processes with the models of `tests/fixtures/relabel`: two classes
//! exchanged, another second place, another number format for the same samples.

use std::path::PathBuf;

use fusion_ir::soundness::Policy;
use fusion_runtime::fusion::check::check;
use fusion_runtime::fusion::mix::Unmixed;
use fusion_runtime::fusion::{Job, Known, PublicSample, Row, RowDigest};
use fusion_runtime::ledger::Ledger;
use fusion_tests::desk::{Desk, Ended};
use fusion_tests::{cut, root};

use crate::malice::Case;

/// A folder with the plans of a model and of its evil twin, and the data of both: `good.bin`,
/// `good.client.bin`, `evil.bin`.
fn desk(model: &str, reveal: &str) -> Desk {
    let desk = Desk::bare();
    for entry in std::fs::read_dir(root().join("tests/fixtures/relabel")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        desk.write(path.file_name().unwrap().to_str().unwrap(), &std::fs::read(&path).unwrap());
    }
    for (twin, plan) in [("", "good"), ("_evil", "evil")] {
        let line =
            format!("fusionc compile {model}{twin}.onnx --calibrate {model}_cal.npy --reveal {reveal} -o {plan}.bin");
        desk.succeed(&line);
    }
    desk
}

/// One session of a client that has the good plan with a server of `plan`.
fn session(desk: &Desk, plan: &str, model: &str, more: &str) -> Ended {
    let server = desk.serve_plan(plan, &[]);
    let files = format!("--input {model}_q.npy --public-inputs {model}_p.npy");
    let address = &server.address;
    desk.run(&format!("fusion-run good.client.bin --role client --connect {address} {files} {more} -o labels.csv"))
}

#[test]
fn exchanged_classes_are_never_accepted_by_default() {
    let desk = desk("coin", "label");
    let flags = "--public-labels coin_p_y.npy --accuracy 0.7 --report r.json --no-ledger";
    // The 400 public samples do not suffice for a model that is right on 70 % of two classes: the
    // refusal says what would.
    let refused = session(&desk, "good.bin", "coin", flags);
    refused.failed("coin", 2, &["public samples", "ignores the inputs"]);
    // With what is needed beside it, or less demanded, an honest server is accepted and its evil
    // twin never.
    let lax = format!("{flags} --catch 0.5");
    let honest = session(&desk, "good.bin", "coin", &lax);
    assert_eq!(honest.code, 0, "{honest:?}");
    assert!(honest.out.contains("is right on at least 70 % of inputs"), "{honest:?}");
    for _ in 0..3 {
        let evil = session(&desk, "evil.bin", "coin", &lax);
        assert_eq!(evil.code, 3, "{evil:?}");
    }
}

#[test]
fn another_second_place_is_rejected_where_ranks_are_known() {
    let desk = desk("ring", "topk:2");
    let flags =
        |labels: &str| format!("--public-labels {labels} --reveal topk:2 --no-ledger --lambda 10 --report r.json");
    // Labels of one rank say nothing about the second, and the verdict says so.
    let first = session(&desk, "evil.bin", "ring", &flags("ring_p_y.npy"));
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.contains("not verified:             ranks beyond the first 1 of 2"), "{first:?}");
    assert_eq!(desk.json("r.json")["verdict"]["ranks_verified"], 1);
    // Rankings do.
    let honest = session(&desk, "good.bin", "ring", &flags("ring_p_s.npy"));
    assert_eq!(honest.code, 0, "{honest:?}");
    assert!(!honest.out.contains("not verified"), "{honest:?}");
    assert_eq!(desk.json("r.json")["verdict"]["ranks_verified"], 2);
    std::fs::rename(desk.path("labels.csv"), desk.path("before.csv")).unwrap();
    let evil = session(&desk, "evil.bin", "ring", &flags("ring_p_s.npy"));
    assert_eq!(evil.code, 3, "{evil:?}");
    // So do probes, which are compared in full.
    let probes = "--probe-inputs ring_q.npy --probe-labels before.csv";
    let honest = session(&desk, "good.bin", "ring", &format!("{} {probes}", flags("ring_p_y.npy")));
    assert_eq!(honest.code, 0, "{honest:?}");
    let evil = session(&desk, "evil.bin", "ring", &format!("{} {probes}", flags("ring_p_y.npy")));
    assert_eq!(evil.code, 3, "{evil:?}");
    assert!(evil.out.contains("probes as before"), "{evil:?}");
}

#[test]
fn revealed_logits_are_written_and_compared_in_full() {
    let desk = desk("ring", "logits");
    let flags = "--public-labels ring_p_y.npy --reveal logits --no-ledger --lambda 10 --report r.json";
    let honest = session(&desk, "good.bin", "ring", flags);
    assert_eq!(honest.code, 0, "{honest:?}");
    assert!(honest.out.contains("not verified:             logits, but for which is the largest"), "{honest:?}");
    let written = String::from_utf8(desk.read("labels.csv")).unwrap();
    assert_eq!(written, desk.succeed("fusionc eval good.bin --input ring_q.npy --logits"));
    std::fs::rename(desk.path("labels.csv"), desk.path("before.csv")).unwrap();
    let probes = format!("{flags} --probe-inputs ring_q.npy --probe-labels before.csv");
    assert_eq!(session(&desk, "good.bin", "ring", &probes).code, 0);
    let evil = session(&desk, "evil.bin", "ring", &probes);
    assert_eq!(evil.code, 3, "{evil:?}");
}

#[test]
fn another_number_format_makes_no_public_sample_fresh() {
    // Few enough that a second session has to take them again.
    const SAMPLES: usize = 150;
    let desk = desk("coin", "label");
    let data = root().join("tests/fixtures/relabel");
    cut::<f32>(&data.join("coin_p.npy"), 0..SAMPLES, &desk.path("coin_p.npy"));
    cut::<i64>(&data.join("coin_p_y.npy"), 0..SAMPLES, &desk.path("coin_p_y.npy"));
    desk.succeed("fusionc compile coin.onnx --calibrate coin_cal.npy --activation-bits 12 -o other.bin");
    let digest = |plan: &str| desk.succeed(&format!("fusionc dump {plan} --stage plan"));
    assert_ne!(digest("good.client.bin"), digest("other.client.bin"));
    let line = |plan: &str, address: &str| {
        format!(
            "fusion-run {plan}.client.bin --role client --connect {address} --input coin_q.npy --public-inputs coin_p.npy \
             --public-labels coin_p_y.npy --accuracy 0.7 --catch 0.5 --report r.json --ledger own.redb"
        )
    };
    let fresh = |plan: &str| {
        let server = desk.serve_plan(&format!("{plan}.bin"), &[]);
        let ended = desk.run(&line(plan, &server.address));
        assert_eq!(ended.code, 0, "{ended:?}");
        let report = desk.json("r.json");
        [&report["ledger"]["public_fresh"], &report["batch"]["public"]].map(|count| count.as_u64().unwrap())
    };
    let [first, public] = fresh("good");
    assert_eq!(first, public);
    let [second, public] = fresh("other");
    assert_eq!(second, SAMPLES as u64 - public);
}

#[test]
fn a_changed_second_place_is_an_error_where_it_is_known() {
    // Copies agree, and the first places are right.
    let answers = Unmixed { queries: vec![vec![vec![1, 2]; 3]], public: vec![vec![3, 0]; 4], probes: vec![vec![5, 6]] };
    let (ranked, probes): (_, [&[i64]; 1]) = ([(); 4].map(|()| Known::from(vec![3, 4])), [&[5, 7]]);
    let findings = check(&answers, &ranked, &probes, |answer| answer.to_vec());
    assert_eq!((findings.consistent, findings.public_correct, findings.probes_correct), (true, 0, 0));
    let first = [(); 4].map(|()| Known::from(vec![3]));
    assert_eq!(check(&answers, &first, &[], |answer| answer.to_vec()).public_correct, 4);
}

#[test]
fn the_ledger_knows_samples_whatever_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("ledger.redb")).unwrap();
    let job = |scale: f64| {
        let row = |real: f64| Row { elements: vec![(real * scale).round() as i64], digest: RowDigest::of([real]) };
        let public =
            (0..40).map(|x| PublicSample { row: row(f64::from(x) + 0.3), known: vec![i64::from(x % 4)].into() });
        let policy = Policy { lambda: 5.0, largest_share: Some(0.3), ..Policy::default() };
        Job::verified(vec![row(-1.0)], public.take(5).collect(), policy).unwrap()
    };
    let plan = &Case::network().plan;
    let fresh = |scale| ledger.start(&job(scale), plan, "").unwrap().public_fresh;
    assert!(fresh(16.0) >= 4);
    assert!(fresh(8.0) <= 1, "a coarser format makes samples fresh");
}
