//! How fast this machine is: small networks are run, and the times of their layers explained by
//! what they compute.

mod networks;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use fusion_catalogue::cpu::{self, Form};
use fusion_catalogue::ot::OtPool;
use fusion_catalogue::{Cost, Keys, Primitive, Schedule};
use fusion_estimate::{Clock, SessionTrace};
use fusion_estimate::{Machine, Network};
use fusion_runtime::fusion::Job;
use fusion_runtime::resolve;
use fusion_runtime::session::Offline;

use crate::fit::{Sample, errors, non_negative};
use crate::measure::{rows, session};
use crate::{host, record};
use networks::{Experiment, experiments};

/// The link that networks are run over: fast, but with waiting for messages as there is over any.
const NETWORK: Network = Network::LAN;
/// How often each network is run at most.
const REPETITIONS: usize = 4;
/// No repetition begins that would probably end later.
const ENOUGH: Duration = Duration::from_secs(16);

/// A machine profile, and how well it explains what it was made from.
pub struct Calibration {
    /// The profile.
    pub machine: Machine,
    /// The layers that were measured.
    pub layers: Vec<Explained>,
}

/// A layer that was measured.
pub struct Explained {
    /// What it is.
    pub what: String,
    /// What it took.
    pub seconds: f64,
    /// What the profile says of it over that, minus one.
    pub error: f64,
}

/// Measures this machine, in some seconds. Repetitions go over all networks before the next begins,
/// and the shortest times count: what else runs on a machine only makes times longer. There are as
/// many as take little time, and one at least. `progress` hears of every network before it is run:
/// the repetition, the network's number, and of how many.
///
/// # Errors
/// If a session fails.
pub fn calibrate(progress: &mut dyn FnMut([usize; 3])) -> anyhow::Result<Calibration> {
    let experiments = experiments();
    let costs = experiments.iter().map(costs).collect::<anyhow::Result<Vec<_>>>()?;
    let mut shortest: Vec<Vec<f64>> = costs.iter().map(|costs| vec![f64::INFINITY; costs.len()]).collect();
    let begin = Instant::now();
    for repetition in 0..REPETITIONS {
        let each = begin.elapsed() / repetition.max(1) as u32;
        if repetition > 0 && begin.elapsed() + each > ENOUGH {
            break;
        }
        for (number, (experiment, shortest)) in experiments.iter().zip(&mut shortest).enumerate() {
            progress([repetition, number, experiments.len()]);
            shortest.iter_mut().zip(times(experiment)?).for_each(|(shortest, time)| *shortest = shortest.min(time));
        }
    }
    let mut layers: Vec<Explained> = Vec::new();
    let mut samples: Vec<Sample> = Vec::new();
    for ((experiment, costs), shortest) in experiments.iter().zip(&costs).zip(&shortest) {
        for (index, (cost, seconds)) in costs.iter().zip(shortest).enumerate() {
            if let Some(sample) = sample(cost, *seconds) {
                samples.push(sample);
                layers.push(Explained { what: experiment.what(index), seconds: *seconds, error: 0.0 });
            }
        }
    }
    let form = Form::in_use();
    let like_it = Machine::built_in(form).nanoseconds;
    let expected = Primitive::ALL.map(|primitive| 1e-9 * like_it.get(&primitive).copied().unwrap_or(0.0));
    let values = non_negative(&samples, &expected);
    layers.iter_mut().zip(errors(&samples, &values)).for_each(|(layer, error)| layer.error = error);
    let nanoseconds: BTreeMap<Primitive, f64> =
        Primitive::ALL.into_iter().zip(values.into_iter().map(|seconds| rounded(seconds * 1e9))).collect();
    let error = rounded(record::median(layers.iter().map(|layer| layer.error.abs()).collect()));
    let (name, threads) = (cpu::processor(), host::threads());
    Ok(Calibration { machine: Machine { name, form, threads, error, nanoseconds }, layers })
}

/// Three digits of a number: there is no more truth in it.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// What an experiment costs before its first layer, and in each of them, correlations included.
fn costs(experiment: &Experiment) -> anyhow::Result<Vec<Cost>> {
    let steps = resolve(&experiment.plan.function).context("a network for calibration")?;
    let (positions, keys) = (experiment.positions, Keys::of(&*steps));
    let schedule = Schedule::single(positions);
    let mut course = SessionTrace::new(&steps, schedule, keys);
    course.correlations = experiment.correlations;
    let supply = course.supply(0);
    let mut before = supply.setup();
    before.then(&course.setup);
    let mut stock = OtPool::new(supply);
    let mut costs: Vec<Cost> = course.whole.iter().map(|cost| cost.with_generator(&mut stock)).collect();
    if let Some(begin) = costs.first_mut() {
        before.then(begin);
        *begin = before;
    }
    Ok(costs)
}

/// Runs it; the seconds of what [`costs`] says.
fn times(experiment: &Experiment) -> anyhow::Result<Vec<f64>> {
    let Experiment { plan, positions, correlations } = experiment;
    let job = Job::unverified(rows(plan, *positions))?;
    // Nothing ahead: what a layer takes includes its correlations.
    let offline = Offline { choice: *correlations, ahead: false };
    let steps = resolve(&plan.function).context("a network for calibration")?;
    let flow = fusion_runtime::Flow {
        micro_batch: Some(*positions as u32),
        streams: Some(1),
        keys: Some(Keys::of(&*steps)),
        offline,
        ..fusion_runtime::Flow::default()
    };
    let run = session(plan, &job, flow, NETWORK)?.report.run.time_s;
    Ok(std::iter::once(run.offline).chain(run.per_layer.iter().map(|layer| layer.seconds)).collect())
}

/// What a layer took as a sum of what it computed; nothing if that is too little for the clock.
fn sample(cost: &Cost, seconds: f64) -> Option<Sample> {
    let count = |primitive| cost.work.get(primitive).copied().unwrap_or(0) as f64;
    let counts: Vec<f64> = Primitive::ALL.iter().map(count).collect();
    let known = Clock::new(NETWORK).run(cost, 0.0);
    let measurable = seconds > 20e-6 && counts.iter().any(|count| *count > 0.0);
    measurable.then_some(Sample { counts, known, total: seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_of_an_experiment_has_a_time() {
        let all = experiments();
        let smallest = all.iter().min_by_key(|experiment| experiment.plan.function.values[0].ty.len()).unwrap();
        let (costs, times) = (costs(smallest).unwrap(), times(smallest).unwrap());
        assert_eq!((costs.len(), times.len()), (smallest.plan.function.values.len() + 1, costs.len()));
        let samples: Vec<Sample> = costs.iter().zip(&times).filter_map(|(cost, time)| sample(cost, *time)).collect();
        assert!(!samples.is_empty() && samples.iter().all(|sample| sample.total.is_finite() && sample.known >= 0.0));
    }
}
