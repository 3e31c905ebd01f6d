//! Servers that relabel, where public labels are the truth and the honest model is right on some of
//! them only: how often each is accepted, against the formulas of [`fusion_ir::soundness`].
//!
//! A [`World`] is a distribution of samples with what the honest model answers and what is true.
//! The client's gadgets are the real ones; the protocols in between, which answer what the server's
//! function answers, are left out.

use fusion_ir::soundness::{Batch, Policy};
use fusion_runtime::fusion::check::check;
use fusion_runtime::fusion::{Findings, Known, Mix, Sample};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::malice::{Case, Outcome, Rogue, on_every_case};
use crate::rates::coarse;
use crate::statistics::interval;

on_every_case! {
    servers_that_relabel_are_rejected_over_tcp,
}

const TRIALS: u64 = 20_000;
/// Of each side of each interval: all together raise a false alarm less than once in a million
/// runs.
const RISK: f64 = 2e-9;

const BATCHES: [Batch; 3] = [
    Batch { queries: 1, copies: 2, public: 5, tolerated: 2, probes: 0 },
    Batch { queries: 3, copies: 2, public: 6, tolerated: 1, probes: 2 },
    Batch { queries: 4, copies: 3, public: 8, tolerated: 3, probes: 0 },
];

/// Samples are indices, drawn uniformly.
struct World {
    classes: i64,
    /// What the honest model answers.
    model: Vec<i64>,
    /// What is true.
    truth: Vec<i64>,
}

impl World {
    /// `classes` balanced classes and a model that is right on exactly `right` of `samples`
    /// samples.
    fn new(classes: i64, samples: usize, right: usize) -> World {
        let truth: Vec<i64> = (0..samples as i64).map(|sample| sample % classes).collect();
        // 7 is prime to the numbers of samples: errors fall on all classes alike.
        let wrong = |sample: usize| sample * 7 % samples >= right;
        let model = (0..samples).map(|sample| (truth[sample] + i64::from(wrong(sample))) % classes).collect();
        World { classes, model, truth }
    }

    fn share(&self, holds: impl Fn(usize) -> bool) -> f64 {
        (0..self.truth.len()).filter(|sample| holds(*sample)).count() as f64 / self.truth.len() as f64
    }

    fn accuracy(&self) -> f64 {
        self.share(|sample| self.model[sample] == self.truth[sample])
    }

    /// Another label than the model's; the true one wherever the model is wrong: what a server does
    /// that knows its errors.
    fn relabelled(&self, sample: usize) -> i64 {
        match self.model[sample] == self.truth[sample] {
            true => (self.model[sample] + 1) % self.classes,
            false => self.truth[sample],
        }
    }

    /// One batch of samples: what the client finds, and the samples of its queries. `answer` is the
    /// server's at a position for a sample; it sees neither, but its function does the second.
    fn batch(
        &self,
        batch: &Batch,
        rng: &mut ChaCha20Rng,
        answer: &dyn Fn(u64, usize) -> i64,
    ) -> (Findings, Vec<usize>) {
        let mut draw = |count: u64| -> Vec<usize> {
            (0..count).map(|_| ((u128::from(rng.next_u64()) * self.truth.len() as u128) >> 64) as usize).collect()
        };
        let (queries, public, probes) = (draw(batch.queries), draw(batch.public), draw(batch.probes));
        let mix = Mix::new(queries.len(), batch.copies as usize, public.len(), probes.len()).unwrap();
        let sample = |sample: &Sample| match *sample {
            Sample::Query(index) => queries[index],
            Sample::Public(index) => public[index],
            Sample::Probe(index) => probes[index],
        };
        let answers = (0..).zip(mix.samples()).map(|(position, held)| vec![answer(position, sample(held))]).collect();
        let known = |samples: &[usize], labels: &[i64]| samples.iter().map(|at| vec![labels[*at]]).collect::<Vec<_>>();
        let (public, probes) = (known(&public, &self.truth), known(&probes, &self.model));
        let public: Vec<Known> = public.into_iter().map(Known::from).collect();
        let probes: Vec<&[i64]> = probes.iter().map(Vec::as_slice).collect();
        (check(&mix.unmix(answers).unwrap(), &public, &probes, |answer| answer.to_vec()), queries)
    }

    /// How often a server succeeds, with its interval. `goal` says whether an accepted batch is a
    /// success.
    fn rate(
        &self,
        name: &str,
        batch: &Batch,
        answer: &dyn Fn(u64, usize) -> i64,
        goal: &dyn Fn(&Findings, &[usize]) -> bool,
    ) -> [f64; 2] {
        let mut rng = ChaCha20Rng::seed_from_u64(batch.positions());
        let success = |_: &u64| {
            let (findings, queries) = self.batch(batch, &mut rng, answer);
            findings.accepted(batch) && goal(&findings, &queries)
        };
        let hits = (0..TRIALS).filter(success).count() as u64;
        let [low, high] = interval(hits, TRIALS, RISK);
        let Batch { queries, copies, public, tolerated, probes } = batch;
        println!(
            "{name:<52} a={:.2} R={queries} B={copies} T={public} K={probes} u={tolerated}  measured {:.5} [{low:.5}, {high:.5}]",
            self.accuracy(),
            hits as f64 / TRIALS as f64
        );
        [low, high]
    }

    /// Some query has another label than the model's.
    fn other(&self) -> impl Fn(&Findings, &[usize]) -> bool + '_ {
        |findings, queries| queries.iter().zip(&findings.answers).any(|(query, answer)| answer[0] != self.model[*query])
    }

    /// Some query that the model gets right has another label.
    fn harmed(&self) -> impl Fn(&Findings, &[usize]) -> bool + '_ {
        |findings, queries| {
            let harmed = |(query, answer): (&usize, &Vec<i64>)| {
                self.model[*query] == self.truth[*query] && answer[0] != self.model[*query]
            };
            queries.iter().zip(&findings.answers).any(harmed)
        }
    }
}

fn worlds() -> Vec<World> {
    let mut worlds: Vec<World> = [70, 90, 99].into_iter().map(|right| World::new(2, 100, right)).collect();
    worlds.push(World::new(10, 100, 80));
    // A real model without the low bits of its last layer, and the labels of the whole one as the
    // truth.
    for case in [Case::network(), Case::forest()] {
        worlds.push(World { classes: 10, model: case.answers_of(&coarse(case)), truth: case.labels.clone() });
    }
    worlds
}

fn places(batch: &Batch) -> [(&'static str, u64); 4] {
    let some = batch.copies + batch.tolerated;
    [("B", batch.copies), ("B + u", some), ("half", batch.positions() / 2), ("all", batch.positions() - batch.probes)]
}

fn assert_inside([low, high]: [f64; 2], formula: f64, context: &str) {
    assert!((low..=high).contains(&formula), "{context}: {formula} is not in [{low}, {high}]");
}

/// The probability that hits on `hits` positions capture a query and pass, from the definition: a
/// hit public sample is an error with probability `hit`, another one with probability `missed`.
fn exactly(batch: &Batch, hits: u64, hit: f64, missed: f64) -> f64 {
    let choose = |n: u64, k: u64| (0..k).fold(1.0, |ways, i| ways * (n - i) as f64 / (i + 1) as f64);
    let binomial = |n: u64, p: f64, k: u64| choose(n, k) * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32);
    let Batch { queries, copies, public, tolerated, .. } = *batch;
    let terms = (1..=queries.min(hits / copies)).filter(|c| hits - c * copies <= public).map(|c| {
        let j = hits - c * copies;
        let pairs = (0..=j).flat_map(|x| (0..=public - j).map(move |y| (x, y))).filter(|(x, y)| x + y <= tolerated);
        let passes: f64 = pairs.map(|(x, y)| binomial(j, hit, x) * binomial(public - j, missed, y)).sum();
        choose(queries, c) * choose(public, j) * passes
    });
    terms.sum::<f64>() / choose(batch.positions(), hits)
}

/// A server with other labels on `hits` positions and the honest model's elsewhere: as often as the
/// definition says, and at most with `p(d; a)`, which leaves the model's own errors elsewhere out.
fn relabelling(name: &str, relabel: impl Fn(&World, usize) -> i64) {
    for world in worlds() {
        let accuracy = world.accuracy();
        let errors = world.share(|sample| relabel(&world, sample) != world.truth[sample]);
        for batch in &BATCHES {
            for (place, hits) in places(batch) {
                let answer = |position, sample: usize| match position < hits {
                    true => relabel(&world, sample),
                    false => world.model[sample],
                };
                let (exact, bound) =
                    (exactly(batch, hits, errors, 1.0 - accuracy), batch.hit_probability(hits, accuracy));
                let name = format!("{name} {place} positions ({exact:.5} <= {bound:.5})");
                assert_inside(world.rate(&name, batch, &answer, &world.other()), exact, &name);
                assert!(exact <= bound * (1.0 + 1e-9), "{name}");
            }
        }
    }
}

#[test]
fn relabelling_is_accepted_no_more_often_than_p_of_d_and_a() {
    relabelling("relabels", World::relabelled);
}

#[test]
fn a_derangement_that_knows_nothing_of_errors_is_caught_more_often() {
    relabelling("rotates", |world, sample| (world.model[sample] + 1) % world.classes);
}

#[test]
fn relabelling_beside_a_better_model_stays_below_the_bound() {
    for world in worlds() {
        let accuracy = world.accuracy();
        for batch in BATCHES.iter().map(|batch| Batch { probes: 0, ..*batch }) {
            let bound = 2f64.powf(-batch.lambda_bits(accuracy));
            for (place, hits) in places(&batch) {
                let answer = |position, sample: usize| match position < hits {
                    true => world.relabelled(sample),
                    false => world.truth[sample],
                };
                // Where the model is wrong nothing is tampered with: wrong on a share `a` of the
                // samples.
                let formula = batch.mix_probability(hits, accuracy);
                let name = format!("relabels {place} positions, better elsewhere ({formula:.5})");
                assert_inside(world.rate(&name, &batch, &answer, &world.harmed()), formula, &name);
                assert!(formula <= bound * (1.0 + 1e-6), "{name}: {bound}");
            }
        }
    }
}

#[test]
fn blind_servers_pass_as_often_as_their_labels_are_right() {
    for world in worlds() {
        let random: Vec<i64> = {
            let mut rng = ChaCha20Rng::seed_from_u64(5);
            world.truth.iter().map(|_| (rng.next_u64() % world.classes as u64) as i64).collect()
        };
        for batch in BATCHES.iter().map(|batch| Batch { probes: 0, ..*batch }) {
            for (name, label) in [("one label", None), ("random labels", Some(&random))] {
                let answer = |_, sample: usize| label.map_or(0, |labels: &Vec<i64>| labels[sample]);
                let right = world.share(|sample| answer(0, sample) == world.truth[sample]);
                let formula = batch.blind_probability(right);
                let name = format!("{name} for all inputs ({formula:.5})");
                assert_inside(world.rate(&name, &batch, &answer, &|_, _| true), formula, &name);
            }
        }
    }
}

#[test]
fn a_forced_label_stays_below_its_bound() {
    for world in worlds() {
        let share = world.share(|sample| world.truth[sample] == 0);
        for batch in &BATCHES {
            let bound = 2f64.powf(-batch.forced_bits(world.accuracy(), share));
            for better in [false, true] {
                let elsewhere = if better { &world.truth } else { &world.model };
                for (place, hits) in places(batch) {
                    let answer = |position, sample: usize| if position < hits { 0 } else { elsewhere[sample] };
                    let name = format!("forces one label at {place} positions (at most {bound:.5})");
                    let [low, _] = world.rate(&name, batch, &answer, &world.harmed());
                    assert!(low <= bound, "{name}: {low}");
                }
            }
        }
    }
}

/// Bits that batches are planned for, few enough to see.
const LAMBDA: f64 = 6.0;

/// The share of the most frequent label.
fn largest_share(world: &World) -> f64 {
    (0..world.classes).map(|class| world.share(|sample| world.truth[sample] == class)).fold(0.0, f64::max)
}

#[test]
fn planned_batches_hold_relabelling_down() {
    for world in worlds() {
        let accuracy = world.accuracy();
        let largest_share = Some(largest_share(&world));
        // With and without the demand on blind servers, which alone asks for many public samples.
        for catch in [None, Some(0.95)] {
            let policy = Policy { lambda: LAMBDA, accuracy, largest_share, catch, ..Policy::default() };
            let batch = policy.plan(2, None).unwrap();
            for hits in [batch.copies, batch.copies + batch.tolerated, batch.positions()] {
                let answer = |position, sample: usize| match position < hits {
                    true => world.relabelled(sample),
                    false => world.model[sample],
                };
                let name = format!("planned for 2^-{LAMBDA}: relabels {hits} positions");
                let [low, _] = world.rate(&name, &batch, &answer, &world.other());
                assert!(low <= 2f64.powf(-LAMBDA), "{name}: {low}");
            }
        }
    }
}

#[test]
fn planned_batches_hold_blind_servers_down() {
    for world in worlds() {
        let largest_share = Some(largest_share(&world));
        let policy = Policy { lambda: LAMBDA, accuracy: world.accuracy(), largest_share, ..Policy::default() };
        let batch = policy.plan(2, None).unwrap();
        let [low, _] = world.rate("planned for 2^-6: one label for all", &batch, &|_, _| 0, &|_, _| true);
        assert!(low <= 2f64.powf(-LAMBDA), "one label for all: {low}");
    }
}

/// The honest model is the coarse one, the truth what the whole one answers.
fn servers_that_relabel_are_rejected_over_tcp(case: &'static Case) {
    let honest = coarse(case);
    let job = case.job_of_accuracy(&(0..3).collect::<Vec<_>>(), &(3..63).collect::<Vec<_>>(), 0.8);
    let accepted = case.play(&job, 0, Rogue::with_model(honest.clone()));
    assert_eq!(accepted, Outcome::Accepted(case.answers_of(&honest)[..3].to_vec()));
    let relabelled = case.rotated_of(&honest);
    assert_eq!(case.play(&job, 0, Rogue::with_model(relabelled.clone())), Outcome::Rejected, "everything relabelled");
    let beside = Rogue {
        models: vec![case.weights().clone(), relabelled.clone()],
        choice: Box::new(|micro_batch| micro_batch % 2),
        ..Rogue::with_model(relabelled)
    };
    assert_eq!(case.play(&job, 4, beside), Outcome::Rejected, "half relabelled, a better model elsewhere");
    assert_eq!(case.play(&job, 0, Rogue::with_model(case.lazy())), Outcome::Rejected, "one label");
    let mut random = honest;
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let [weight, _] = case.last_layer();
    random.0[weight].iter_mut().for_each(|weight| *weight = (rng.next_u64() % 255) as i64 - 127);
    assert_eq!(case.play(&job, 0, Rogue::with_model(random)), Outcome::Rejected, "random labels");
}
