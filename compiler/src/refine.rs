//! Formats as fine as labels need: how many labels rounding changes, and finer formats where that
//! is too many.
//!
//! Few calibration samples lie so near to a tie that their own label changes. But errors of one
//! sample are like those of another; so every sample's scores are tried with every other sample's
//! errors, which says from some dozens of samples what happens to one in a thousand.

use crate::Error;
use crate::agreement::NEAR_TIE;
use crate::build::{Built, Progress, build};
use crate::evaluate::{Evaluated, evaluate_watched, quantise};
use crate::nn::eval::argmax;
use crate::nn::{Graph, trees};
use crate::passes::Settings;
use crate::quantise::Precision;
use crate::quantise::calibrate::Calibration;

/// Rounding may change this part of labels before formats become finer.
pub const MAX_CHANGED: f64 = 0.01;
/// Then they become so fine that it changes no more than this.
const GOAL: f64 = 1.0 / 256.0;
/// Fewer samples say nothing about errors.
pub const FEWEST: usize = 16;
/// Most samples that are tried with each other.
const MOST: usize = 128;

/// What finer formats are for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refined {
    /// How often errors were halved.
    pub times: u8,
    /// What part of labels rounding would have changed.
    pub before: f64,
    /// What part it changes.
    pub after: f64,
}

/// A network in fixed point, with what it does on the calibration samples.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// The program and its formats.
    pub built: Built,
    /// The samples as it takes them.
    pub quantised: Vec<Vec<i64>>,
    /// What it makes of them.
    pub evaluated: Evaluated,
}

/// `graph` in fixed point: at `precision`, or, if `refine` and rounding changes more than
/// [`MAX_CHANGED`] of the labels, at so much more that it hardly does. Samples that are no real
/// data say nothing about that, and trees round nothing.
///
/// # Errors
/// As [`build`] at `precision`.
pub fn fixed(
    graph: &Graph,
    calibration: &Calibration,
    precision: Precision,
    refine: bool,
    settings: &Settings,
    progress: &Progress,
) -> Result<(Fixed, Option<Refined>), Error> {
    let attempt = |precision: &Precision| -> Result<Fixed, Error> {
        let built = build(graph, calibration, precision, settings)?;
        let quantised = quantise(&built.program.function, &calibration.samples);
        let evaluated = evaluate_watched(&built.program.function, &built.program.weights, &quantised, progress);
        Ok(Fixed { built, quantised, evaluated })
    };
    let mut best = attempt(&precision)?;
    let [before] = best.changed(calibration, [1.0]);
    let (mut least, wrong) = (before, best.wrong());
    if !refine || before <= MAX_CHANGED || !calibration.real || trees::decide_alone(graph) {
        return Ok((best, None));
    }
    // Errors that are half as large say which precision to begin with.
    let halved = [1, 2, 3].map(|times: i32| (-f64::from(times)).exp2());
    let foreseen = best.changed(calibration, halved);
    let skipped = foreseen.iter().take_while(|changed| **changed > GOAL).count();
    let finer = std::iter::successors(precision.finer(), |finer| finer.finer());
    let finer: Vec<Precision> = finer.collect();
    let mut times = 0;
    for finer in &finer[skipped.min(finer.len().saturating_sub(1))..] {
        // What fits no accumulator or table is no help.
        let Ok(next) = attempt(finer) else { break };
        let [changed] = next.changed(calibration, [1.0]);
        // If half the errors do not change half as many labels, it is not rounding that does.
        if changed < least && changed <= before / 2.0 && next.wrong() <= wrong {
            (best, least, times) = (next, changed, finer.detail - precision.detail);
        }
        if least <= GOAL {
            break;
        }
    }
    let refined = Refined { times, before, after: least };
    Ok((best, (times > 0).then_some(refined)))
}

impl Fixed {
    /// The part of labels that rounding changes, if errors are `scales` times what they are. What
    /// samples do that some format does not hold is another matter.
    fn changed<const N: usize>(&self, calibration: &Calibration, scales: [f64; N]) -> [f64; N] {
        let function = &self.built.program.function;
        let clipped = function.quantiser().all_clipped(calibration.samples.iter().map(Vec::as_slice));
        let held = |sample: &usize| {
            let full = self.evaluated.fullest(function, *sample).is_some_and(|full| full.fill >= 1.0);
            !full && clipped.iter().all(|found| found.sample != *sample)
        };
        let held: Vec<usize> = (0..calibration.samples.len()).filter(held).collect();
        let float: Vec<&[f32]> = held.iter().map(|sample| self.built.observed.outputs[*sample].as_slice()).collect();
        let fixed: Vec<&[f64]> = held.iter().map(|sample| self.evaluated.logits[*sample].as_slice()).collect();
        scales.map(|scale| changed(&float, &fixed, scale))
    }

    /// The samples whose label is not the float network's, near ties left out.
    fn wrong(&self) -> usize {
        let pairs = self.built.observed.outputs.iter().zip(self.evaluated.labels());
        pairs.filter(|(scores, label)| usize::try_from(*label).is_ok_and(|label| differs(scores, label))).count()
    }
}

/// The part of labels that change if the error of one sample's `fixed` logits, times `scale`, is
/// added to another's `float` ones, near ties left out. Zero of fewer than [`FEWEST`] samples, or
/// if logits are not known.
fn changed(float: &[&[f32]], fixed: &[&[f64]], scale: f64) -> f64 {
    let samples = float.len().min(MOST);
    let known = float.iter().zip(fixed).all(|(a, b)| a.len() == b.len());
    if samples < FEWEST || !known {
        return 0.0;
    }
    let pairs = (0..samples).flat_map(|scored| (0..samples).map(move |wrong| (scored, wrong)));
    let moved = |(scored, wrong): &(usize, usize)| {
        let scores = float[*scored];
        let errors = fixed[*wrong].iter().zip(float[*wrong]).map(|(fixed, float)| fixed - f64::from(*float));
        let moved = |(score, error): (&f32, f64)| (f64::from(*score) + scale * error) as f32;
        let moved: Vec<f32> = scores.iter().zip(errors).map(moved).collect();
        differs(scores, argmax(&moved))
    };
    let count = pairs.filter(|(scored, wrong)| scored != wrong).filter(moved).count();
    count as f64 / (samples * (samples - 1)) as f64
}

/// Whether `label` is not that of the largest of `scores`, nor nearly.
fn differs(scores: &[f32], label: usize) -> bool {
    let best = argmax(scores);
    let range = scores[best] - scores.iter().copied().fold(f32::INFINITY, f32::min);
    best != label && scores.get(label).is_some_and(|given| scores[best] - given >= NEAR_TIE * range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(float: &[Vec<f32>], fixed: &[Vec<f64>], scale: f64) -> f64 {
        let float: Vec<&[f32]> = float.iter().map(Vec::as_slice).collect();
        changed(&float, &fixed.iter().map(Vec::as_slice).collect::<Vec<_>>(), scale)
    }

    #[test]
    fn errors_of_one_sample_are_tried_on_all_others() {
        // Margins 1, 2, .., 20 of the first of two classes; one sample's error is 5.5 against it.
        let float: Vec<Vec<f32>> = (1..=20).map(|margin| vec![margin as f32, 0.0, -20.0]).collect();
        let exact: Vec<Vec<f64>> = float.iter().map(|x| x.iter().copied().map(f64::from).collect()).collect();
        assert_eq!(part(&float, &exact, 1.0), 0.0);
        let mut fixed = exact.clone();
        fixed[19][1] += 5.5;
        // Not its own label, but those of the five with smaller margins; of two with half of it.
        assert_eq!([1.0, 0.5].map(|scale| part(&float, &fixed, scale)), [5.0, 2.0].map(|n| n / (20.0 * 19.0)));
        // What all scores share changes nothing, nor do near ties.
        fixed[19] = exact[19].iter().map(|x| x + 7.0).collect();
        assert_eq!(part(&float, &fixed, 1.0), 0.0);
        let ties: Vec<Vec<f32>> = (0..20).map(|_| vec![1.0, 0.9999, 0.0]).collect();
        assert_eq!(part(&ties, &vec![vec![0.9, 1.0, 0.0]; 20], 1.0), 0.0);
        assert_eq!(part(&float[..FEWEST - 1], &vec![vec![0.0, 100.0, 0.0]; FEWEST - 1], 1.0), 0.0);
    }
}
