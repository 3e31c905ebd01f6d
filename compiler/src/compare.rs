//! How answers are compared: labels but for near ties, values within a tolerance, scores behind
//! what the model does to all of them.

use fusion_table::{Classes, LabelFile, Scores, scores_or_labels};

use crate::agreement::{Agreement, Reference};
use crate::nn::eval::argmax;
use crate::oracle::Answer;
use crate::{Error, samples};

/// A disagreement counts as a *near tie* if the float score of the label given is less than this
/// fraction of the sample's range of scores below the best one: no format decides such a sample,
/// and no two float runtimes need do.
pub const NEAR_TIE: f32 = 1.0 / 1024.0;

impl Agreement {
    /// Compares `labels` with the answers of `reference`, sample by sample.
    pub fn of(reference: Reference, labels: &[i64], answers: &[Answer]) -> Agreement {
        let mut near_ties = 0;
        let mut differing = Vec::new();
        for (sample, (label, answer)) in labels.iter().zip(answers).enumerate() {
            match verdict(*label, answer) {
                Verdict::Same => {}
                Verdict::NearTie => near_ties += 1,
                Verdict::Differs => differing.push(sample),
            }
        }
        let agreeing = labels.len() - differing.len();
        let (samples, refused) = (labels.len(), Vec::new());
        Agreement { reference, agreeing, near_ties, samples, differing, tolerance: None, refused }
    }

    /// Compares values with the answers of `reference`, sample by sample.
    pub fn of_values(reference: Reference, values: &[Vec<f64>], answers: &[Answer], tolerance: f64) -> Agreement {
        let differing = within(values, answers, tolerance);
        let (samples, agreeing, refused) = (values.len(), values.len() - differing.len(), Vec::new());
        Agreement { reference, agreeing, near_ties: 0, samples, differing, tolerance: Some(tolerance), refused }
    }
}

/// How far values may be apart unless the user says it, as a fraction of their range.
pub const NEAR: f64 = 1e-3;

/// [`NEAR`] of the range of the model's values.
pub fn near(answers: &[Answer]) -> f64 {
    let values =
        || answers.iter().flat_map(Answer::numbers).map(|value| f64::from(*value)).filter(|value| value.is_finite());
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if most > least { NEAR * (most - least) } else { 0.0 }
}

/// The samples whose values are not all within the tolerance.
pub fn within(values: &[Vec<f64>], answers: &[Answer], tolerance: f64) -> Vec<usize> {
    let near = |(value, answer): (&f64, &f32)| (value - f64::from(*answer)).abs() <= tolerance;
    let same = |values: &[f64], answers: &[f32]| values.len() == answers.len() && values.iter().zip(answers).all(near);
    let pairs = values.iter().zip(answers).enumerate();
    pairs.filter(|(_, (values, answer))| !same(values, answer.numbers())).map(|(sample, _)| sample).collect()
}

/// How far the scores of the network as imported are from the model's, at most, as a fraction of a
/// sample's range of scores, and of which sample. `None` if only labels are known. What the model
/// does to all scores at the end, a softmax, its logarithm or a sigmoid, is done here too if that
/// explains more.
pub fn deviation(imported: &[Vec<f32>], answers: &[Answer]) -> Option<(f64, usize)> {
    let mut pairs: Vec<(&[f32], &[f32])> = Vec::new();
    for (own, answer) in imported.iter().zip(answers) {
        match answer {
            Answer::Scores(scores) if scores.len() == own.len() => pairs.push((own, scores)),
            _ => return None,
        }
    }
    let worst = |read: fn(&[f32]) -> Vec<f32>| {
        let each = pairs.iter().map(|(own, scores)| distance(&read(own), scores)).zip(0..);
        each.fold((0.0, 0), |most: (f64, usize), one| if one.0 > most.0 || one.0.is_nan() { one } else { most })
    };
    let readings = [<[f32]>::to_vec, softmax, log_softmax, sigmoid].map(worst);
    readings.into_iter().reduce(|least, one| if one.0 < least.0 || least.0.is_nan() { one } else { least })
}

/// Differences up to this fraction of the largest score are rounding.
const ROUNDING: f32 = 8.0 * f32::EPSILON;

fn log_softmax(x: &[f32]) -> Vec<f32> {
    softmax(x).into_iter().map(f32::ln).collect()
}

fn sigmoid(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| (1.0 + (-x).exp()).recip()).collect()
}

fn softmax(x: &[f32]) -> Vec<f32> {
    let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = x.iter().map(|x| (x - top).exp()).sum();
    x.iter().map(|x| (x - top).exp() / sum).collect()
}

/// The largest difference as a fraction of the range of `b`; none if it is no more than float32's
/// rounding, which is all the range there is where scores tie.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let finite = || b.iter().copied().filter(|x| x.is_finite());
    let range = finite().fold(f32::NEG_INFINITY, f32::max) - finite().fold(f32::INFINITY, f32::min);
    let most = a.iter().zip(b).filter(|(a, b)| a != b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let rounding = ROUNDING * finite().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    if most <= rounding { 0.0 } else { f64::from(most) / f64::from(range) }
}

enum Verdict {
    Same,
    NearTie,
    Differs,
}

fn verdict(label: i64, answer: &Answer) -> Verdict {
    let scores = match answer {
        Answer::Label(expected) if *expected == label => return Verdict::Same,
        Answer::Label(_) => return Verdict::Differs,
        Answer::Scores(scores) => scores,
    };
    if scores.iter().any(|score| score.is_nan()) {
        return Verdict::Differs;
    }
    let best = argmax(scores);
    if best as i64 == label {
        return Verdict::Same;
    }
    let Some(given) = usize::try_from(label).ok().and_then(|label| scores.get(label)) else { return Verdict::Differs };
    let range = scores[best] - scores.iter().copied().fold(f32::INFINITY, f32::min);
    // Scores that are all the same say nothing, so they excuse nothing.
    if range > 0.0 && scores[best] - given < NEAR_TIE * range { Verdict::NearTie } else { Verdict::Differs }
}

/// Reads what the user's own runtime answers for `total` samples: float scores `[samples, classes]`
/// or labels.
///
/// # Errors
/// [`Error::Input`] names the file and what is wrong with it.
pub fn expected(of: &LabelFile, total: usize, classes: Classes<'_>) -> Result<Vec<Answer>, Error> {
    let file = samples::open(&of.path)?;
    let found = scores_or_labels(&file, of.column.as_deref(), total, classes);
    let answer = |found| match found {
        Scores::Scores(scores) => Answer::Scores(scores),
        Scores::Label(label) => Answer::Label(label),
    };
    Ok(found.map_err(|error| samples::refuse(&of.path, error))?.into_iter().map(answer).collect())
}

/// The same of values: numbers, `[samples]` or `[samples, values]`.
///
/// # Errors
/// As [`expected`].
pub fn expected_values(of: &LabelFile, total: usize, values: usize) -> Result<Vec<Answer>, Error> {
    let file = samples::open(&of.path)?;
    let found = fusion_table::values(&file, of.column.as_deref(), [total, values], "samples");
    let answer = |values: Vec<f64>| Answer::Scores(values.into_iter().map(|value| value as f32).collect());
    Ok(found.map_err(|error| samples::refuse(&of.path, error))?.into_iter().map(answer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_within_a_tolerance() {
        let answers = [vec![1.0f32], vec![3.0], vec![f32::NAN], vec![5.0]].map(Answer::Scores);
        let values = [1.25, 3.26, 0.0, 4.75].map(|value| vec![value]);
        assert_eq!(within(&values, &answers, 0.25), [1, 2]);
        assert_eq!((near(&answers), near(&answers[..1])), (4.0 * NEAR, 0.0));
        let agreement = Agreement::of_values(Reference::Expected, &values, &answers, 0.25);
        let text = agreement.to_string();
        assert!(text.starts_with("2 of 4 calibration samples are within 0.25 of the expected value ("), "{text}");
        assert_eq!(within(&[vec![1.0, 2.0]], &[Answer::Scores(vec![1.0])], 9.0), [0]);
    }

    #[test]
    fn near_ties_are_told_from_wrong_labels() {
        let answers = [
            Answer::Scores(vec![0.0, 1.0, 0.9995]),
            Answer::Scores(vec![0.0, 1.0, 0.998]),
            Answer::Scores(vec![2.0, 2.0, 2.0]),
            Answer::Scores(vec![0.0, 1.0, 0.5]),
            Answer::Label(2),
            Answer::Label(1),
            Answer::Scores(vec![1.0, 2.0]),
        ];
        let found = Agreement::of(Reference::Tract, &[2, 2, 2, 1, 2, 2, 2], &answers);
        assert_eq!((found.agreeing, found.near_ties), (3, 1));
        assert_eq!(found.differing, [1, 2, 5, 6]);
    }

    #[test]
    fn scores_are_compared_behind_a_softmax_too() {
        let logits = vec![vec![1.0, 3.0, 2.0], vec![-1.0, 0.0, 4.0]];
        let answers = |f: &dyn Fn(&[f32]) -> Vec<f32>| logits.iter().map(|x| Answer::Scores(f(x))).collect::<Vec<_>>();
        assert_eq!(deviation(&logits, &answers(&<[f32]>::to_vec)), Some((0.0, 0)));
        assert_eq!(deviation(&logits, &answers(&softmax)), Some((0.0, 0)));
        let near = deviation(&logits, &answers(&|x| softmax(x).iter().map(|p| p.ln() + 1e-6).collect())).unwrap();
        assert!(near.0 < 1e-5, "{near:?}");
        let half = deviation(&logits, &answers(&|x| vec![x[0], x[1] + 1.0, x[2]])).unwrap();
        assert!((half.0 - 1.0 / 3.0).abs() < 1e-6 && half.1 == 0, "{half:?}");
        let second = deviation(&logits, &answers(&|x| vec![x[0], x[1], x[2].min(3.0)])).unwrap();
        assert_eq!(second, (0.25, 1));
        assert_eq!(deviation(&logits, &[Answer::Label(1), Answer::Label(2)]), None);
        let tie = |third: f32| deviation(&[vec![0.5; 3]], &[Answer::Scores(vec![0.5, 0.5, third])]).unwrap().0;
        assert_eq!([tie(0.5), tie(0.500_000_1), tie(0.5001)], [0.0, 0.0, 1.0]);
    }
}
