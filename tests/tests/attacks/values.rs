//! Servers that change a regressor's values: by more than twice the tolerance they are caught as
//! often as the formulas say, by less they are outside what is promised. As processes, and in many
//! small batches by the real gadgets.

use fusion_ir::soundness::Batch;
use fusion_runtime::fusion::check::check;
use fusion_runtime::fusion::{Known, Mix, Sample};
use fusion_tests::desk::{Desk, Ended};
use fusion_tests::root;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::statistics::interval;

const TRIALS: u64 = 20_000;
/// Of each side of each interval.
const RISK: f64 = 1e-9;
/// Values are integers here, with no fractional bit.
const TOLERANCE: i64 = 10;
const SAMPLES: i64 = 100;

/// The true value of a sample, and what the honest model answers: within the tolerance on `right`
/// of [`SAMPLES`] samples, at its very edge on some, and far off on the others.
fn truth(sample: i64) -> i64 {
    100 * sample
}

fn model(sample: i64, right: i64) -> i64 {
    let errors = [0, TOLERANCE, -TOLERANCE, 3, -9];
    truth(sample) + if sample * 7 % SAMPLES < right { errors[sample as usize % 5] } else { 3 * TOLERANCE }
}

/// How often a batch is accepted in which some query's value is further from the honest model's
/// than twice the tolerance, and the model is right. `change` is what the server adds.
fn rate(batch: &Batch, right: i64, change: &dyn Fn(u64, i64) -> i64) -> [f64; 2] {
    let mut rng = ChaCha20Rng::seed_from_u64(batch.positions() + right as u64);
    let mut hits = 0;
    for _ in 0..TRIALS {
        let mut draw = |count: u64| -> Vec<i64> {
            (0..count).map(|_| ((u128::from(rng.next_u64()) * SAMPLES as u128) >> 64) as i64).collect()
        };
        let (queries, public) = (draw(batch.queries), draw(batch.public));
        let mix = Mix::new(queries.len(), batch.copies as usize, public.len(), 0).unwrap();
        let sample = |held: &Sample| match *held {
            Sample::Query(index) => queries[index],
            Sample::Public(index) => public[index],
            Sample::Probe(_) => unreachable!("no probes here"),
        };
        let answer = |(position, held)| {
            let sample = sample(held);
            vec![model(sample, right) + change(position, sample)]
        };
        let answers = (0..).zip(mix.samples()).map(answer).collect();
        let known: Vec<Known> =
            public.iter().map(|at| Known::values(vec![truth(*at) as f64], TOLERANCE as f64, 0).unwrap()).collect();
        let findings = check(&mix.unmix(answers).unwrap(), &known, &[], |answer| answer.to_vec());
        let harmed = queries.iter().zip(&findings.answers).any(|(query, answer)| {
            let model = model(*query, right);
            (model - truth(*query)).abs() <= TOLERANCE && (answer[0] - model).abs() > 2 * TOLERANCE
        });
        hits += u64::from(findings.accepted(batch) && harmed);
    }
    interval(hits, TRIALS, RISK)
}

const BATCHES: [Batch; 3] = [
    Batch { queries: 1, copies: 2, public: 5, tolerated: 2, probes: 0 },
    Batch { queries: 3, copies: 2, public: 6, tolerated: 1, probes: 0 },
    Batch { queries: 4, copies: 3, public: 8, tolerated: 3, probes: 0 },
];

/// By one more than twice the tolerance, to either side or towards the truth where the model errs.
#[test]
fn large_changes_are_accepted_no_more_often_than_p_of_d_and_a() {
    let far = 2 * TOLERANCE + 1;
    for right in [70, 90, 100] {
        for batch in &BATCHES {
            let accuracy = right as f64 / SAMPLES as f64;
            let all = batch.positions();
            for hits in [1, batch.copies, batch.copies + batch.tolerated, all / 2, all] {
                let bound = batch.hit_probability(hits, accuracy);
                let towards = |sample| if model(sample, right) - truth(sample) > TOLERANCE { -far } else { far };
                for (name, by) in [("up", &(|_| far) as &dyn Fn(i64) -> i64), ("down", &|_| -far), ("best", &towards)] {
                    let change = |position, sample| if position < hits { by(sample) } else { 0 };
                    let [low, high] = rate(batch, right, &change);
                    println!("{name:<5} {hits} of {batch:?} a={accuracy}: [{low:.5}, {high:.5}] <= {bound:.5}");
                    assert!(low <= bound, "{name} {hits} of {batch:?} a={accuracy}: {low} > {bound}");
                }
            }
        }
    }
}

/// What is not promised: a model without errors may answer anything within the tolerance.
#[test]
fn changes_within_the_tolerance_pass() {
    let known = Known::values(vec![500.0], TOLERANCE as f64, 0).unwrap();
    assert!(known.allows(&[500 + TOLERANCE]) && !known.allows(&[500 + TOLERANCE + 1]));
    let batch = &BATCHES[1];
    let [_, high] = rate(batch, SAMPLES, &|_, _| 2 * TOLERANCE);
    assert!(high < 1e-2, "nothing counts as harm up to twice the tolerance: {high}");
}

fn desk() -> Desk {
    let desk = Desk::bare();
    for entry in std::fs::read_dir(root().join("tests/fixtures/regressor")).unwrap() {
        let path = entry.unwrap().path();
        desk.write(path.file_name().unwrap().to_str().unwrap(), &std::fs::read(&path).unwrap());
    }
    for (model, plan) in [("model", "good"), ("evil", "evil")] {
        let flags = "--reveal value --calibrate calibrate.csv --labels calibrate.csv:price --tolerance 60";
        let said = desk.succeed(&format!("fusionc compile {model}.onnx {flags} -o {plan}.bin"));
        assert!(said.contains("128 of 128 calibration samples are within 60 of "), "{said}");
        assert!(said.contains("are within 60 of the given value"), "{said}");
    }
    desk
}

/// One session of a client that has the good plan with a server of `plan`.
fn session(desk: &Desk, plan: &str, more: &str) -> Ended {
    let server = desk.serve_plan(&format!("{plan}.bin"), &[]);
    let files = "--input queries.csv --id house --public-inputs public.csv --public-labels public.csv:price";
    let address = &server.address;
    desk.run(&format!("fusion-run good.client.bin --role client --connect {address} {files} {more} -o values.csv"))
}

#[test]
fn values_are_verified_written_and_probed() {
    let desk = desk();
    assert_eq!(desk.read("good.client.bin"), desk.read("evil.client.bin"));
    let flags = "--reveal value --tolerance 60 --accuracy 0.9 --no-ledger --report r.json";
    let honest = session(&desk, "good", flags);
    assert_eq!(honest.code, 0, "{honest:?}");
    for phrase in ["ACCEPTED: 6 values", "within 60 (--tolerance)", "changed by more than 120", "smaller changes"] {
        assert!(honest.out.contains(phrase), "{phrase}: {honest:?}");
    }
    // The reference's values to the byte, and onnxruntime's but for its own rounding.
    assert_eq!(
        desk.succeed("fusionc eval good.bin --input queries.csv --id house").as_bytes(),
        desk.read("values.csv")
    );
    let rows = |name: &str| {
        let text = String::from_utf8(desk.read(name)).unwrap();
        let row = |line: &str| line.split_once(',').map(|(id, value)| (id.to_owned(), value.to_owned())).unwrap();
        text.lines().map(row).collect::<Vec<_>>()
    };
    let (found, expected) = (rows("values.csv"), rows("answers.csv"));
    assert_eq!((found.len(), &found[0]), (7, &expected[0]));
    for ((house, found), (same, expected)) in found.iter().zip(&expected).skip(1) {
        let [found, expected] = [found, expected].map(|value| value.parse::<f64>().unwrap());
        assert!(house == same && (found - expected).abs() < 1e-3, "{house}: {found} {expected}");
    }
    let report = desk.json("r.json");
    assert_eq!((&report["verdict"]["tolerance"], report["values"].as_array().unwrap().len()), (&60.0.into(), 6));
    assert!(report.get("labels").is_none(), "{report}");

    let evil = session(&desk, "evil", flags);
    assert_eq!(evil.code, 3, "{evil:?}");
    assert!(evil.out.contains("No value is shown"), "{evil:?}");
    // Probes are compared to the bit, whatever is tolerated.
    std::fs::write(desk.path("before.csv"), desk.succeed("fusionc eval good.bin --input queries.csv --id house"))
        .unwrap();
    let lax = "--reveal value --tolerance 300 --catch 0.9 --accuracy 0.9 --lambda 5 --no-ledger";
    let probes = format!("{lax} --probe-inputs queries.csv --probe-labels before.csv");
    assert_eq!(session(&desk, "good", &probes).code, 0);
    let unprobed = session(&desk, "evil", lax);
    assert_eq!(unprobed.code, 0, "a change that the tolerance covers: {unprobed:?}");
    let probed = session(&desk, "evil", &probes);
    assert_eq!(probed.code, 3, "{probed:?}");
}

#[test]
fn what_values_need_is_said_before_anything_is_sent() {
    let desk = desk();
    let files = "--input queries.csv --id house --public-inputs public.csv";
    let client = "fusion-run good.client.bin --role client --connect 127.0.0.1:1 --timeout 1 --no-ledger";
    for (more, phrase) in [
        ("--public-labels public.csv:price --tolerance 60", "the plan reveals value for every position, not label"),
        ("--public-labels public.csv:price --reveal value", "--tolerance is missing"),
        ("--public-labels public.csv:cost --reveal value --tolerance 60", "no column \"cost\""),
        ("--public-labels public.csv:price --reveal value --tolerance=-1", "not negative"),
        ("--public-labels public.csv:price --reveal value --tolerance nan", "finite"),
        // As near as that to one number are nearly all.
        (
            "--public-labels public.csv:price --reveal value --tolerance 400",
            "public samples are within the tolerance of one value",
        ),
    ] {
        desk.refuse(2, &format!("{client} {files} {more}"), &[phrase]);
    }
    let refused = desk.run("fusionc compile model.onnx --calibrate calibrate.csv --labels calibrate.csv:price");
    assert!(refused.code == 2 && refused.err.contains("a regressor has --reveal value"), "{refused:?}");
}
