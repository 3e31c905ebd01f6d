//! Formats as fine as labels need: how many labels rounding changes, and finer formats where that
//! is too many.
//!
//! Few calibration samples lie so near to a tie that their own label changes. But errors of one
//! sample are like those of another; so every sample's scores are tried with every other sample's
//! errors, which says from some dozens of samples what happens to one in a thousand. Samples that
//! the network was trained on lie further from ties than others, so that is not enough: the errors
//! must also be small beside the differences between a sample's scores.

use crate::Error;
use crate::build::{Built, build};
use crate::compare::NEAR_TIE;
use crate::evaluate::{Evaluated, evaluate_watched, quantise};
use crate::lower::has_softmax;
use crate::nn::eval::argmax;
use crate::nn::{Graph, trees};
use crate::passes::Settings;
use crate::progress::Progress;
use crate::quantise::calibrate::Calibration;
use crate::quantise::{MAX_DETAIL, Precision};

/// How often rounding may change labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    /// It may change this part of labels before formats become finer.
    pub most: f64,
    /// Then they become so fine that it changes no more than this.
    pub goal: f64,
}

/// Of networks that read images, sounds or texts.
pub const USUAL: Aim = Aim { most: 0.01, goal: 1.0 / 256.0 };
/// Of models of tables: people look at single rows.
pub const EVERY_ROW: Aim = Aim { most: 1.0 / 4096.0, goal: 1.0 / 4096.0 };
/// Nor may errors of the scores be a larger part of their differences, in root mean squares: 30 dB.
pub const MAX_NOISE: f64 = 1.0 / 32.0;
/// The part of it that may be left when formats have half the errors.
const LEFT: f64 = 0.75;
/// Fewer samples say nothing about errors.
const FEWEST: usize = 16;
/// Most samples that are tried with each other.
const MOST: usize = 128;

/// What finer formats are for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refined {
    /// How often errors were halved.
    pub times: u8,
    /// How often those of softmaxes were.
    pub softmax_times: u8,
    /// What rounding would have done.
    pub before: Harm,
    /// What it does.
    pub after: Harm,
}

/// What rounding does to scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Harm {
    /// The part of labels that it changes, of pairs of a sample and another one's errors.
    pub changed: f64,
    /// Its errors as a part of the differences between scores.
    pub noise: f64,
}

impl Harm {
    /// Whether labels suffer enough for finer formats.
    fn is_much(self, aim: Aim) -> bool {
        self.changed > aim.most || self.noise > MAX_NOISE
    }

    /// Whether finer formats are good for nothing more.
    fn is_little(self, aim: Aim) -> bool {
        self.changed <= aim.goal && self.noise <= MAX_NOISE
    }

    /// Whether at most this part of `before` is left where that is much. If half the errors do not
    /// do that, it is not rounding that does harm.
    fn heals(self, before: Harm, aim: Aim) -> bool {
        (before.changed <= aim.most || self.changed <= LEFT * before.changed)
            && (before.noise <= MAX_NOISE || self.noise <= LEFT * before.noise)
    }
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

/// `graph` in fixed point: at `precision`, or, if there is an `aim` and rounding changes more
/// labels than it allows or is more than [`MAX_NOISE`] of the scores, at so much more that it
/// hardly does. Samples that are no real data say nothing about that, and trees round nothing;
/// where labels are not compared, formats begin finer.
///
/// # Errors
/// As [`build`] at `precision`.
pub fn fixed(
    graph: &Graph,
    calibration: &Calibration,
    precision: Precision,
    aim: Option<Aim>,
    settings: &Settings,
    progress: &Progress,
) -> Result<(Fixed, Option<Refined>), Error> {
    let attempt = |precision: &Precision| -> Result<Fixed, Error> {
        let built = build(graph, calibration, precision, settings)?;
        let quantised = quantise(&built.program.function, &calibration.samples);
        let evaluated = evaluate_watched(&built.program.function, &built.program.weights, &quantised, progress);
        Ok(Fixed { built, quantised, evaluated })
    };
    let aim = aim.filter(|_| calibration.real && calibration.samples.len() >= FEWEST);
    let mut precision = if aim.is_some() { precision } else { precision.unjudged() };
    let mut best = attempt(&precision)?;
    if aim.is_some() && best.held(calibration).len() < FEWEST {
        precision = precision.unjudged();
        best = attempt(&precision)?;
    }
    let [before] = best.harm(calibration, [1.0]);
    let aim = aim.filter(|aim| before.is_much(*aim) && !trees::decide_alone(graph));
    let Some(aim) = aim else { return Ok((best, None)) };
    // Errors that are half as large say which precision to begin with.
    let halved: [f64; MAX_DETAIL as usize] = std::array::from_fn(|times| (-(times as f64 + 1.0)).exp2());
    let skipped = best.harm(calibration, halved).iter().take_while(|harm| !harm.is_little(aim)).count();
    let wrong = best.wrong();
    let mut search = Search { attempt: &attempt, calibration, aim, before, wrong, best, precision, least: before };
    search.climb(Precision::finer, skipped);
    // Softmaxes have tables of their own, which are most of what attention costs.
    if !search.least.is_little(aim) && has_softmax(&search.best.built.graph) {
        search.climb(Precision::finer_softmax, 0);
        if search.precision.detail == precision.detail && search.precision != precision {
            search.climb(Precision::finer, 0);
        }
    }
    let Search { best, least: after, precision: Precision { detail, softmax_detail, .. }, .. } = search;
    let (times, softmax_times) = (detail - precision.detail, softmax_detail - precision.softmax_detail);
    Ok((best, (times + softmax_times > 0).then_some(Refined { times, softmax_times, before, after })))
}

/// The best formats so far.
struct Search<'s> {
    attempt: &'s dyn Fn(&Precision) -> Result<Fixed, Error>,
    calibration: &'s Calibration,
    aim: Aim,
    /// What rounding does without any of this.
    before: Harm,
    /// The labels that it changes.
    wrong: usize,
    best: Fixed,
    precision: Precision,
    /// What rounding still does.
    least: Harm,
}

impl Search<'_> {
    /// Tries ever `finer` formats, the first few left out, until rounding does little.
    fn climb(&mut self, finer: fn(Precision) -> Option<Precision>, skipped: usize) {
        let steps: Vec<Precision> = std::iter::successors(finer(self.precision), |at| finer(*at)).collect();
        for step in &steps[skipped.min(steps.len().saturating_sub(1))..] {
            if self.least.is_little(self.aim) {
                break;
            }
            // What fits no accumulator or table is no help.
            let Ok(next) = (self.attempt)(step) else { break };
            let [harm] = next.harm(self.calibration, [1.0]);
            let better = harm.noise < self.least.noise && harm.changed <= self.least.changed;
            if better && harm.heals(self.before, self.aim) && next.wrong() <= self.wrong {
                (self.best, self.least, self.precision) = (next, harm, *step);
            }
        }
    }
}

impl Fixed {
    /// The samples that every format holds.
    fn held(&self, calibration: &Calibration) -> Vec<usize> {
        let function = &self.built.program.function;
        let clipped = function.quantiser().all_clipped(calibration.samples.iter().map(Vec::as_slice));
        let held = |sample: &usize| {
            let full = self.evaluated.fullest(function, *sample).is_some_and(|full| full.fill >= 1.0);
            !full && clipped.iter().all(|found| found.sample != *sample)
        };
        (0..calibration.samples.len()).filter(held).collect()
    }

    /// What rounding does, if errors are `scales` times what they are. What samples do that some
    /// format does not hold is another matter.
    fn harm<const N: usize>(&self, calibration: &Calibration, scales: [f64; N]) -> [Harm; N] {
        let held = self.held(calibration);
        let float: Vec<&[f32]> = held.iter().map(|sample| self.built.observed.outputs[*sample].as_slice()).collect();
        let fixed: Vec<&[f64]> = held.iter().map(|sample| self.evaluated.logits[*sample].as_slice()).collect();
        let noise = noise(&float, &fixed);
        scales.map(|scale| Harm { changed: changed(&float, &fixed, scale), noise: scale * noise })
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

/// The root mean square of what `fixed` logits have in error, as a part of that of the `float`
/// ones, both without what all scores of a sample have in common. Zero as for [`changed`].
fn noise(float: &[&[f32]], fixed: &[&[f64]]) -> f64 {
    let known = float.iter().zip(fixed).all(|(a, b)| a.len() == b.len());
    if float.len() < FEWEST || !known {
        return 0.0;
    }
    let spread = |scores: &[f64]| -> f64 {
        let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        scores.iter().map(|score| (score - mean) * (score - mean)).sum()
    };
    let mut sums = [0.0; 2];
    for (float, fixed) in float.iter().zip(fixed) {
        let float: Vec<f64> = float.iter().copied().map(f64::from).collect();
        let errors: Vec<f64> = fixed.iter().zip(&float).map(|(fixed, float)| fixed - float).collect();
        sums[0] += spread(&errors);
        sums[1] += spread(&float);
    }
    if sums[1] > 0.0 { (sums[0] / sums[1]).sqrt() } else { 0.0 }
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
    use crate::nn::build::Builder;
    use crate::nn::expr::{Binary, Expr, Unary};
    use crate::nn::{Dense, Op};

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

    #[test]
    fn noise_is_a_part_of_the_differences_between_scores() {
        let float: Vec<Vec<f32>> = (0..FEWEST).map(|i| vec![i as f32 + 4.0, i as f32, i as f32 - 4.0]).collect();
        let fixed: Vec<Vec<f64>> =
            float.iter().map(|x| x.iter().zip([0.5, 0.5, 0.5]).map(|(x, e)| f64::from(*x) + e).collect()).collect();
        let float: Vec<&[f32]> = float.iter().map(Vec::as_slice).collect();
        let slices = |fixed: &[Vec<f64>]| noise(&float, &fixed.iter().map(Vec::as_slice).collect::<Vec<_>>());
        // What all scores share is none.
        assert_eq!(slices(&fixed), 0.0);
        // Differences of 4, -4, 0 and errors of 1, -1, 0, or of twice that in a quarter of the
        // samples.
        let wrong: Vec<Vec<f64>> = fixed.iter().map(|x| vec![x[0] - 1.0, x[1], x[2] + 1.0]).collect();
        assert_eq!(slices(&wrong), 0.25);
        let some =
            |i: usize, x: &Vec<f64>| if i.is_multiple_of(4) { vec![x[0] + 2.0, x[1], x[2] - 2.0] } else { x.clone() };
        let wrong: Vec<Vec<f64>> = fixed.iter().enumerate().map(|(i, x)| some(i, x)).collect();
        assert_eq!(slices(&wrong), 0.25);
        assert_eq!(noise(&float[1..], &wrong[1..].iter().map(Vec::as_slice).collect::<Vec<_>>()), 0.0);
    }

    #[test]
    fn formats_are_finer_for_either_harm_and_only_if_that_helps() {
        let harm = |changed, noise| Harm { changed, noise };
        assert!(!harm(0.01, MAX_NOISE).is_much(USUAL));
        assert!(harm(0.02, 0.0).is_much(USUAL) && harm(0.0, 0.04).is_much(USUAL));
        assert!(harm(USUAL.goal, MAX_NOISE).is_little(USUAL) && !harm(0.01, 0.0).is_little(USUAL));
        assert!(harm(0.001, 0.0).is_much(EVERY_ROW) && !harm(0.0002, 0.0).is_much(EVERY_ROW));
        let before = harm(0.0, 0.1);
        assert!(harm(0.0, 0.07).heals(before, USUAL) && !harm(0.0, 0.08).heals(before, USUAL));
        assert!(!harm(0.02, 0.01).heals(harm(0.02, 0.1), USUAL));
    }

    #[test]
    fn formats_begin_finer_where_too_few_samples_are_held_to_compare_labels() {
        const N: usize = 24;
        let mut b = Builder::default();
        let noise = |i: usize| ((i * i * 7 + i) % 31) as f32 / 16.0 - 1.0;
        let layer = |b: &mut Builder, x| {
            let weight = ndarray::Array2::from_shape_fn((N, N), |(i, j)| noise(N * i + j));
            b.push(Op::Dense(Dense { weight, bias: vec![0.1; N] }), vec![x], [N])
        };
        let x = b.push(Op::Input, vec![], [N]);
        let x = layer(&mut b, x);
        let silu = Expr::binary(Binary::Mul, Expr::X, Expr::unary(Unary::Sigmoid, Expr::X));
        let x = b.pointwise(silu, x);
        let y = layer(&mut b, x);
        let graph = b.graph.reachable(y);
        let mut samples: Vec<Vec<f32>> = (0..FEWEST).map(|i| (0..N).map(|j| noise(N * i + j)).collect()).collect();
        let settings = Settings::default();
        let progress: &Progress = &|_, _, _| ();
        let mut is_unjudged = |factor: f32| {
            samples[3].iter_mut().for_each(|x| *x *= factor);
            let calibration = Calibration::of(samples.clone(), &graph);
            let with = |precision: Precision| build(&graph, &calibration, &precision, &settings).unwrap().program;
            let (coarse, unjudged) = (with(Precision::default()), with(Precision::default().unjudged()));
            assert_ne!(coarse.function.values, unjudged.function.values);
            let (found, _) =
                fixed(&graph, &calibration, Precision::default(), Some(USUAL), &settings, progress).unwrap();
            found.built.program.function.values == unjudged.function.values
        };
        assert!(!is_unjudged(1.0), "all samples are held");
        assert!(is_unjudged(100.0), "one stands out and is limited");
    }
}
