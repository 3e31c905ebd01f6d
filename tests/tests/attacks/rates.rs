//! How often each strategy gets a wrong label accepted, measured against the formulas.
//!
//! The client's gadgets are the real ones ([`Mix`] under the system's randomness, [`check`]); the
//! protocols in between are replaced by the reference interpreter's labels, which they equal, so
//! that many batches can be tried. Batches are small and weak on purpose: rates that can be seen.

use fusion_ir::Weights;
use fusion_ir::interp;
use fusion_ir::soundness::Batch;
use fusion_runtime::fusion::check::check;
use fusion_runtime::fusion::{Known, Mix, Sample};
use fusion_tests::desk::Example;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::malice::{Case, on_every_case};
use crate::statistics::interval;

on_every_case! {
    rates_of_tampering_with_fixed_positions_are_p,
    rates_of_tampering_with_a_random_fraction_are_the_mean_of_p,
    rates_of_models_that_are_wrong_on_some_samples_are_p_mix,
    rates_of_rejecting_an_honest_server_are_as_said,
}

const TRIALS: u64 = 40_000;
/// Of each side of each interval: all together raise a false alarm less than once in a million
/// runs.
const RISK: f64 = 5e-9;

/// Batches that are weak in different ways.
const BATCHES: [Batch; 4] = [
    Batch { queries: 1, copies: 2, public: 3, tolerated: 0, probes: 0 },
    Batch { queries: 2, copies: 2, public: 4, tolerated: 1, probes: 0 },
    Batch { queries: 3, copies: 1, public: 5, tolerated: 2, probes: 0 },
    Batch { queries: 4, copies: 3, public: 6, tolerated: 2, probes: 0 },
];

/// What a server answers at a position for the sample with this index: it sees neither, but its
/// model does the second.
type Answer<'a> = dyn FnMut(u64, usize) -> i64 + 'a;

/// One batch of samples drawn independently from the case's: whether it was accepted, and whether
/// with a wrong label.
fn trial(case: &Case, batch: &Batch, rng: &mut ChaCha20Rng, answer: &mut Answer<'_>) -> [bool; 2] {
    let mut draw = |count: u64| -> Vec<usize> {
        (0..count).map(|_| ((u128::from(rng.next_u64()) * case.inputs.len() as u128) >> 64) as usize).collect()
    };
    let (queries, public) = (draw(batch.queries), draw(batch.public));
    let mix = Mix::new(queries.len(), batch.copies as usize, public.len(), 0).unwrap();
    let sample = |sample: &Sample| match *sample {
        Sample::Query(index) => queries[index],
        Sample::Public(index) => public[index],
        Sample::Probe(_) => unreachable!("these batches have no probes"),
    };
    let answers = (0..).zip(mix.samples()).map(|(position, held)| vec![answer(position, sample(held))]).collect();
    let right = |samples: &[usize]| samples.iter().map(|at| vec![case.labels[*at]]).collect::<Vec<_>>();
    let known: Vec<Known> = right(&public).into_iter().map(Known::from).collect();
    let findings = check(&mix.unmix(answers).unwrap(), &known, &[], |answer| answer.to_vec());
    let accepted = findings.accepted(batch);
    [accepted, accepted && findings.answers != right(&queries)]
}

/// Tries a strategy on every batch and prints a line for each; the measured rate of wrong labels
/// accepted must not contradict the formula. `strategy` gives, for a batch, the answers and the
/// formula's value.
fn measure<'a>(case: &Case, name: &str, mut strategy: impl FnMut(&Batch, &mut ChaCha20Rng) -> (Box<Answer<'a>>, f64)) {
    let mut contradictions = Vec::new();
    for (index, batch) in BATCHES.iter().enumerate() {
        let mut rng = ChaCha20Rng::seed_from_u64(index as u64);
        let mut choices = ChaCha20Rng::seed_from_u64(100 + index as u64);
        let (mut hits, mut formula) = (0, 0.0);
        for _ in 0..TRIALS {
            let (mut answer, expected) = strategy(batch, &mut choices);
            formula = expected;
            hits += u64::from(trial(case, batch, &mut rng, &mut *answer)[1]);
        }
        let [low, high] = interval(hits, TRIALS, RISK);
        let Batch { queries, copies, public, tolerated, .. } = batch;
        let rate = hits as f64 / TRIALS as f64;
        let line = format!(
            "{name:<44} R={queries} B={copies} T={public} u={tolerated}  formula {formula:.5}  measured {rate:.5}  \
             [{low:.5}, {high:.5}]"
        );
        println!("{line}");
        if !(low..=high).contains(&formula) {
            contradictions.push(line);
        }
    }
    assert!(contradictions.is_empty(), "measured rates contradict the formula:\n{}", contradictions.join("\n"));
}

/// The first `hits` positions; the client's permutation makes any choice as good.
fn hit(case: &Case, hits: u64) -> Box<Answer<'_>> {
    let (labels, classes) = (&case.labels, case.classes() as i64);
    Box::new(move |position, sample| (labels[sample] + i64::from(position < hits)) % classes)
}

/// Another model's answers at the first `hits` positions, and the fraction of samples on which they
/// are wrong.
fn partly<'a>(case: &'a Case, answers: &'a [i64], hits: u64) -> Box<Answer<'a>> {
    let labels = &case.labels;
    Box::new(move |position, sample| if position < hits { answers[sample] } else { labels[sample] })
}

fn error_rate(case: &Case, answers: &[i64]) -> f64 {
    let labels = &case.labels;
    answers.iter().zip(labels).filter(|(found, right)| found != right).count() as f64 / labels.len() as f64
}

/// Wrong on some samples: at B positions, at half of all, and at all.
fn measure_partly(case: &Case, name: &str, answers: &[i64]) {
    let eps = error_rate(case, answers);
    assert!(eps > 0.0 && eps < 1.0, "{name}: wrong on {eps}");
    type Hits = fn(&Batch) -> u64;
    let places: [(&str, Hits); 3] =
        [("B positions", |batch| batch.copies), ("half", |batch| batch.positions() / 2), ("all", Batch::positions)];
    for (place, hits) in places {
        measure(case, &format!("{name} (eps {eps:.3}) at {place}"), |batch, _| {
            (partly(case, answers, hits(batch)), batch.mix_probability(hits(batch), eps))
        });
    }
}

/// The right model with the low bits of its last layer gone: right on most samples.
pub fn coarse(case: &Case) -> Weights {
    let bits = match case.example {
        Example::Network | Example::Attention => 11,
        Example::Forest => 6,
    };
    let mut model = case.weights().clone();
    model.0[case.last_layer()[0]].iter_mut().for_each(|weight| *weight = *weight >> bits << bits);
    model
}

/// The right model with its last layer blind to all but one in `kept` features.
pub fn thinned(case: &Case, kept: usize) -> Weights {
    let mut model = case.weights().clone();
    let weight = &mut model.0[case.last_layer()[0]];
    (0..weight.len()).filter(|at| at % kept != 0).for_each(|at| weight[at] = 0);
    model
}

/// A model that is right but on samples with a feature that few have; and all samples on which it
/// is wrong.
pub fn backdoored(case: &Case) -> (Weights, Vec<usize>) {
    let [weight, _] = case.last_layer();
    let function = &case.plan.function;
    let (_, layer) = function.iter().find(|(_, value)| value.op.weights().any(|w| w.index() == weight)).unwrap();
    let features = function.value(layer.operands[0]).ty.len();
    // Sums of leaves are as wide as they can be already.
    let room = function.weights[weight].bits - 1 - u8::from(case.example == Example::Forest);
    let activations: Vec<Vec<i64>> = case
        .inputs
        .iter()
        .map(|input| interp::run(function, case.weights(), input).swap_remove(layer.operands[0].index()))
        .collect();
    // The rarest feature that makes enough of a difference.
    let models = (0..features).map(|feature| {
        let mut model = case.weights().clone();
        // The highest digit, if rows are digits.
        let rows = model.0[weight].len() / features;
        let row = rows - case.classes() + 3;
        model.0[weight][row * features + feature] = (1 << room) - 1;
        (activations.iter().filter(|active| active[feature] > 0).count(), model)
    });
    let mut models: Vec<(usize, Weights)> = models.collect();
    models.sort_by_key(|(active, _)| *active);
    let wrong = |model: &Weights| -> Vec<usize> {
        let answers = case.answers_of(model);
        (0..answers.len()).filter(|at| answers[*at] != case.labels[*at]).collect()
    };
    let mut tried = models.into_iter().map(|(_, model)| (wrong(&model), model));
    let (wrong, model) = tried.find(|(wrong, _)| wrong.len() >= 4).expect("some feature matters");
    (model, wrong)
}

fn rates_of_tampering_with_fixed_positions_are_p(case: &'static Case) {
    type Hits = fn(&Batch) -> u64;
    let strategies: [(&str, Hits); 6] = [
        ("1 position", |_| 1),
        ("B positions", |batch| batch.copies),
        ("B + u positions", |batch| batch.copies + batch.tolerated),
        ("2 B positions", |batch| 2 * batch.copies),
        ("half of all positions", |batch| batch.positions() / 2),
        ("the worst number of positions", |batch| batch.worst_hit(1.0).0),
    ];
    for (name, hits) in strategies {
        measure(case, name, |batch, _| {
            let hits = hits(batch);
            (hit(case, hits), if hits > batch.positions() { 0.0 } else { batch.hit_probability(hits, 1.0) })
        });
    }
}

fn rates_of_tampering_with_a_random_fraction_are_the_mean_of_p(case: &'static Case) {
    for q in [0.2, 0.5] {
        measure(case, &format!("each position with probability {q}"), |batch, rng| {
            let positions = batch.positions();
            let drawn = (0..positions).filter(|_| (rng.next_u64() as f64) < q * 2f64.powi(64)).count();
            let mut mass = (1.0 - q).powi(positions as i32);
            let mut mean = 0.0;
            for hits in 0..=positions {
                mean += mass * batch.hit_probability(hits, 1.0);
                mass *= (positions - hits) as f64 / (hits + 1) as f64 * q / (1.0 - q);
            }
            (hit(case, drawn as u64), mean)
        });
    }
}

fn rates_of_models_that_are_wrong_on_some_samples_are_p_mix(case: &'static Case) {
    measure_partly(case, "lazy: one constant label", &case.answers_of(&case.lazy()));
    measure_partly(case, "low quality: few bits", &case.answers_of(&coarse(case)));
    measure_partly(case, "low quality: 1 feature in 4", &case.answers_of(&thinned(case, 4)));
    measure_partly(case, "backdoored", &case.answers_of(&backdoored(case).0));
}

fn rates_of_rejecting_an_honest_server_are_as_said(case: &'static Case) {
    // The client's labels are the truth, the honest model is wrong on some: the coarse model's
    // place in `measure`.
    let answers = case.answers_of(&coarse(case));
    let accuracy = 1.0 - error_rate(case, &answers);
    for (index, batch) in BATCHES.iter().enumerate() {
        let mut rng = ChaCha20Rng::seed_from_u64(200 + index as u64);
        let mut honest = |_, sample: usize| answers[sample];
        let rejected = (0..TRIALS).filter(|_| !trial(case, batch, &mut rng, &mut honest)[0]).count() as u64;
        let ([low, high], formula) = (interval(rejected, TRIALS, RISK), batch.false_reject(accuracy));
        println!("honest, accuracy {accuracy:.3}: {batch:?} formula {formula:.5} [{low:.5}, {high:.5}]");
        assert!((low..=high).contains(&formula), "{batch:?}: {formula} {low} {high}");
    }
}
