//! What a client sees of decision trees: of two ensembles of one shape the same messages, and
//! shares that say nothing of thresholds, features, leaves, or the leaf that is reached.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fusion_catalogue::{Keys, Step, Steps};
use fusion_ir::{Plan, interp};
use fusion_runtime::forecast::Forecast;
use fusion_runtime::session::{BatchSize, Offline};
use fusion_runtime::transport::Lane;
use fusion_runtime::{input, resolve};
use fusion_tests::desk::Desk;
use fusion_tests::parties::{Line, Outcome, Program, Supply, seats};
use fusion_tests::root;

use crate::leaks::{Log, noted};

const POSITIONS: usize = 128;

/// What a client gets to know of one micro-batch.
struct Transcript {
    /// The messages on all lanes.
    messages: Log,
    /// Its share of every value that protocols compute, position-major.
    shares: BTreeMap<usize, Vec<u64>>,
    labels: Vec<i64>,
}

/// A micro-batch of `inputs` by the real protocols.
fn transcript(plan: &Plan, inputs: &[Vec<i64>], keys: Keys) -> Transcript {
    let function = &plan.function;
    let steps = resolve(function).unwrap();
    let size = BatchSize::new(inputs.len() as u64, inputs.len() as u32, 1, Offline::default(), keys);
    let log = Arc::new(Mutex::new(Log::new()));
    let [client, server] = seats(Supply::Made(Forecast::new(&steps, size).supply(0)));
    let client = client.over(|line, inner| match line {
        Line::Online => noted(Lane::layers(0), inner, &log),
        Line::Offline => noted(Lane::correlations(0), inner, &log),
        Line::Masks => noted(Lane::masks(0), inner, &log),
    });
    let (weights, inputs) = (plan.weights.as_ref().unwrap(), inputs.concat());
    let program = Program { steps: Arc::clone(&steps), keys: size.keys, weights, inputs: &inputs };
    let [client, server] = program.run([client, server]);
    server.unwrap();
    let Outcome { shares, revealed } = client.unwrap();
    let labels = revealed.unwrap();
    let of_protocols = shares.into_iter().enumerate().filter(|(at, _)| {
        let step = &steps.iter().nth(*at).unwrap();
        matches!(step, Step::Linear(_) | Step::Compare(_))
    });
    let messages = log.lock().unwrap().clone();
    Transcript { messages, shares: of_protocols.collect(), labels }
}

/// A fixture compiled, and its rows.
fn compiled(name: &str, more: &str) -> (Plan, Vec<Vec<i64>>) {
    let desk = Desk::bare();
    for kind in ["onnx", "x.npy"] {
        let bytes = std::fs::read(root().join(format!("tests/fixtures/tabular/{name}.{kind}"))).unwrap();
        desk.write(&format!("model.{kind}"), &bytes);
    }
    desk.succeed(&format!("fusionc compile model.onnx --calibrate model.x.npy --min-agreement 0 {more} -o plan.bin"));
    let plan = Plan::from_bytes(&desk.read("plan.bin")).unwrap();
    let rows = input::samples(&desk.path("model.x.npy"), &plan, input::Apart::default()).unwrap().rows;
    (plan, rows.into_iter().map(|row| row.elements).collect())
}

fn reference(plan: &Plan, inputs: &[Vec<i64>]) -> Vec<i64> {
    let weights = plan.weights.as_ref().unwrap();
    inputs.iter().map(|input| interp::output(&plan.function, weights, input)[0]).collect()
}

#[test]
fn two_ensembles_of_one_shape_look_alike_to_a_client() {
    let [a, b] = ["twin_a", "twin_b"].map(|name| compiled(name, ""));
    assert_eq!(a.0.for_client().to_bytes(), b.0.for_client().to_bytes());
    for keys in Keys::ALL {
        let [of_a, of_b] = [&a, &b].map(|(plan, _)| transcript(plan, &a.1, keys));
        // They are different models, and each is computed rightly.
        assert_eq!((&of_a.labels, &of_b.labels), (&reference(&a.0, &a.1), &reference(&b.0, &a.1)));
        assert_ne!(of_a.labels, of_b.labels);
        for lane in [Lane::layers(0), Lane::correlations(0)] {
            assert!(of_a.messages[&lane].len() > 5, "{keys}: {lane:?}");
        }
        // But for the end, nothing crosses the lane of linear layers on masks without them.
        let ahead = resolve(&a.0.function).unwrap().shared(keys).ahead.is_some();
        assert_eq!(of_a.messages[&Lane::masks(0)].len() > 1, ahead);
        assert_eq!(of_a.messages, of_b.messages, "{keys}");
    }
}

/// One sample at all positions: whatever the model does is the same at each of them, so a bit of a
/// share that leans to either side says something.
#[test]
fn the_clients_shares_say_nothing_of_the_trees() {
    for (name, keys) in ["twin_a", "twin_b"].into_iter().flat_map(|name| Keys::ALL.map(|keys| (name, keys))) {
        let (plan, rows) = compiled(name, "");
        let seen = transcript(&plan, &vec![rows[0].clone(); POSITIONS], keys);
        assert!(seen.labels.iter().all(|label| *label == seen.labels[0]));
        let steps = Steps::of(&plan.function).unwrap();
        assert_eq!(steps.iter().filter(|step| matches!(step, Step::Linear(_))).count(), 2);
        assert!(seen.shares.len() >= 5, "tests, truths, leaves, sums, label");
        for (value, share) in &seen.shares {
            let ty = &plan.function.values[*value].ty;
            let len = ty.len();
            for (element, bit) in (0..len).flat_map(|element| (0..ty.bits).map(move |bit| (element, bit))) {
                let ones = share.iter().skip(element).step_by(len).filter(|word| **word >> bit & 1 == 1).count();
                // Seven deviations.
                let apart = (ones as f64 - POSITIONS as f64 / 2.0).abs() / (POSITIONS as f64).sqrt() * 2.0;
                assert!(
                    apart < 7.0,
                    "{name}: v{value}[{element}] has bit {bit} set at {ones} of {POSITIONS} positions"
                );
            }
        }
    }
}

#[test]
fn with_hidden_shapes_ensembles_of_one_depth_look_alike() {
    let messages = |name: &str, more: &str| {
        let (plan, rows) = compiled(name, more);
        transcript(&plan, &rows[..8], Keys::of(&*resolve(&plan.function).unwrap())).messages
    };
    let hidden = "--hide-shape depth";
    assert_eq!(messages("three", hidden), messages("three_softmax", hidden));
    assert_ne!(messages("three", ""), messages("three_softmax", ""), "their shapes differ");
}
