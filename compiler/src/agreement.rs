//! How often fixed point gives the label that the model's own meaning in float gives.

use std::fmt;

use fusion_table::{Classes, LabelFile, Scores, scores_or_labels};

use fusion_ir::input::Clipped;

use crate::evaluate::Fullest;
use crate::nn::eval::argmax;
use crate::oracle::Answer;
use crate::{Error, samples};

/// A disagreement counts as a *near tie* if the float score of the label given is less than this
/// fraction of the sample's range of scores below the best one: no format decides such a sample,
/// and no two float runtimes need do.
pub const NEAR_TIE: f32 = 1.0 / 1024.0;

/// Who says what the model means.
#[derive(Clone, Debug, PartialEq)]
pub enum Reference {
    /// tract, which runs the file as it is.
    Tract,
    /// The outputs that the user gave.
    Expected,
    /// Nobody: tract cannot run the file, for the reason given. The network as imported is all
    /// there is.
    Imported(String),
}

/// Labels compared over the calibration samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// Whose labels they are compared with.
    pub reference: Reference,
    /// Samples with the same label, near ties among them.
    pub agreeing: usize,
    /// Samples with another label that is a near tie.
    pub near_ties: usize,
    /// All samples.
    pub samples: usize,
    /// The samples whose labels differ by more than a near tie, and those that are
    /// [refused](Agreement::refused).
    pub differing: Vec<usize>,
    /// How far values may be apart to be the same; `None` for labels.
    pub tolerance: Option<f64>,
    /// Samples that are too far beyond the input's format to be evaluated at all, whatever their
    /// label. They do not agree.
    pub refused: Vec<Clipped>,
}

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

    /// The same without the samples of `clipped` that evaluation and client refuse.
    pub fn without(mut self, clipped: Vec<Clipped>) -> Agreement {
        self.refused = clipped.into_iter().filter(Clipped::is_too_much).collect();
        self.differing.extend(self.refused.iter().map(|found| found.sample));
        self.differing.sort_unstable();
        self.differing.dedup();
        self.agreeing = self.samples - self.differing.len();
        self.near_ties = self.near_ties.min(self.agreeing);
        self
    }

    /// The fraction of samples that agree.
    pub fn share(&self) -> f64 {
        self.agreeing as f64 / self.samples.max(1) as f64
    }

    /// Between which fractions the agreement on all inputs like these samples is, with 95 %
    /// confidence: Wilson's score interval.
    pub fn interval(&self) -> [f64; 2] {
        let (n, p, z) = (self.samples.max(1) as f64, self.share(), 1.959_964);
        let centre = p + z * z / (2.0 * n);
        let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        [centre - spread, centre + spread].map(|bound| (bound / (1.0 + z * z / n)).clamp(0.0, 1.0))
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

/// Why labels differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// The network that was imported is not the model's, in float already.
    Import {
        /// Samples whose label the imported network has in float.
        agreeing: usize,
        /// The first ONNX node whose values it does not have.
        node: Option<String>,
    },
    /// The same, though it does not show in the labels of these samples.
    Scores {
        /// The largest difference of float scores, as a fraction of their range.
        deviation: f64,
        /// The first ONNX node whose values the imported network does not have.
        node: Option<String>,
    },
    /// Samples are beyond the input's format; one of them, with its features.
    Clipped(Clipped),
    /// Some number format does not hold its values.
    Overflow(Fullest),
    /// Number formats are too coarse.
    Formats {
        /// The layer that loses most.
        node: String,
        /// The part of its elements' variation from sample to sample that rounding hides, beyond
        /// what is hidden in what it reads.
        hidden: f64,
    },
}

/// An agreement that is too low.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// What was found.
    pub agreement: Agreement,
    /// The fraction of samples that would have done.
    pub minimum: f64,
    /// Whether the samples are real data.
    pub real: bool,
    /// Where it comes from.
    pub cause: Cause,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tract => write!(f, "the label that tract gives the untouched file"),
            Reference::Expected => write!(f, "the expected label"),
            Reference::Imported(_) => write!(f, "the float label of the network as imported"),
        }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Agreement { reference, agreeing, near_ties, samples, refused, .. } = self;
        let [low, high] = self.interval().map(|bound| 100.0 * bound);
        match self.tolerance {
            Some(tolerance) => {
                let reference = reference.to_string().replace("label", "value");
                write!(f, "{agreeing} of {samples} calibration samples are within {tolerance} of {reference} ")?;
            }
            None => write!(f, "{agreeing} of {samples} calibration samples have {reference} ")?,
        }
        match near_ties {
            0 => {}
            1 => write!(f, "(one is a near tie; ")?,
            many => write!(f, "({many} are near ties; ")?,
        }
        let open = if *near_ties == 0 { "(" } else { "" };
        write!(f, "{open}95 % confidence: {low:.1} to {high:.1} % of such inputs)")?;
        match refused.as_slice() {
            [] => Ok(()),
            [first, ..] => {
                let n = refused.len();
                write!(f, "; {n} beyond the input's format count as others, as evaluation refuses them ({first})")
            }
        }
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disagreement { agreement, minimum, real, cause } = self;
        if let Cause::Scores { deviation, node } = cause {
            write!(f, "no plan: {}", scores_differ(*deviation, node.as_deref()))?;
            return write!(
                f,
                "\n  do: {}\n  or: --min-agreement 0 makes a plan all the same",
                import_advice(&agreement.reference)
            );
        }
        write!(f, "no plan: only {agreement}, and {:.2} % must", 100.0 * minimum)?;
        match cause {
            Cause::Scores { .. } => {}
            Cause::Import { agreeing, node } => {
                let samples = agreement.samples;
                write!(
                    f,
                    "
  the network as imported has it for {agreeing} of {samples} in float already"
                )?;
                if let Some(node) = node {
                    write!(f, "; node {node:?} is the first whose values are others")?;
                }
                write!(f, "\n  do: {}", import_advice(&agreement.reference))?;
            }
            Cause::Clipped(_) => {
                write!(
                    f,
                    "\n  do: calibrate on samples in the units that the model was made for, all like the queries"
                )?;
            }
            Cause::Overflow(Fullest { node, fill }) => {
                write!(f, "\n  node {node:?} reaches {fill:.1} times what its number format holds")?;
                write!(f, "\n  do: calibrate on more samples like the queries, or take --acc worst-case")?;
            }
            Cause::Formats { node, hidden } => {
                let hidden = 100.0 * hidden;
                write!(f, "\n  node {node:?} loses most: rounding hides {hidden:.0} % of how its elements vary")?;
                let advice = if *real {
                    "give more bits with --activation-bits and --weight-bits, bring inputs to one scale, and calibrate on \
                     samples like the queries"
                } else {
                    "give typical inputs with --calibrate X.npy: made-up ones, between -2.5 and 2.5 in every element, are \
                     not what this model is for"
                };
                write!(f, "\n  do: {advice}")?;
            }
        }
        let share = (100.0 * agreement.share()).floor() / 100.0;
        write!(f, "\n  or: --min-agreement {share} makes a plan all the same")
    }
}

/// What is wrong with an imported network whose float scores are not the model's.
pub fn scores_differ(deviation: f64, node: Option<&str>) -> String {
    let place = node.map_or_else(String::new, |node| format!(", beginning at node {node:?}"));
    let share = 100.0 * deviation;
    format!(
        "the network as imported has other float scores than the model, by up to {share:.0} % of their range{place}"
    )
}

fn import_advice(reference: &Reference) -> &'static str {
    match reference {
        Reference::Expected => "see that Y.npy holds the outputs for these samples in their order; then report this",
        _ => "give your own runtime's outputs for these samples with --expected Y.npy; if that fails too, report this",
    }
}

/// How far the scores of the network as imported are from the model's, at most, as a fraction of a
/// sample's range of scores. `None` if only labels are known. What the model does to all scores at
/// the end, a softmax, its logarithm or a sigmoid, is done here too if that explains more.
pub fn deviation(imported: &[Vec<f32>], answers: &[Answer]) -> Option<f64> {
    let mut pairs: Vec<(&[f32], &[f32])> = Vec::new();
    for (own, answer) in imported.iter().zip(answers) {
        match answer {
            Answer::Scores(scores) if scores.len() == own.len() => pairs.push((own, scores)),
            _ => return None,
        }
    }
    let worst = |read: fn(&[f32]) -> Vec<f32>| {
        let each = pairs.iter().map(|(own, scores)| distance(&read(own), scores));
        each.fold(0.0, |most: f64, one| if one > most || one.is_nan() { one } else { most })
    };
    [<[f32]>::to_vec, softmax, log_softmax, sigmoid].into_iter().map(worst).reduce(f64::min)
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
    fn samples_that_evaluation_refuses_do_not_agree() {
        let agreement = Agreement::of(Reference::Tract, &[1, 2, 3, 3], &[1, 1, 3, 3].map(Answer::Label));
        assert_eq!((agreement.agreeing, agreement.differing.as_slice()), (3, &[1][..]));
        let clipped = |sample, elements| Clipped { sample, elements, of: 200, features: vec![7] };
        // Sample 1 differs already, and sample 2 is clipped only a little.
        let agreement = agreement.without(vec![clipped(1, 90), clipped(2, 2), clipped(3, 3)]);
        assert_eq!((agreement.agreeing, agreement.differing.as_slice(), agreement.refused.len()), (2, &[1, 3][..], 2));
        let text = agreement.to_string();
        assert!(text.starts_with("2 of 4") && text.contains("2 beyond") && text.contains("feature 7"), "{text}");
    }

    #[test]
    fn scores_are_compared_behind_a_softmax_too() {
        let logits = vec![vec![1.0, 3.0, 2.0], vec![-1.0, 0.0, 4.0]];
        let answers = |f: &dyn Fn(&[f32]) -> Vec<f32>| logits.iter().map(|x| Answer::Scores(f(x))).collect::<Vec<_>>();
        assert_eq!(deviation(&logits, &answers(&<[f32]>::to_vec)), Some(0.0));
        assert_eq!(deviation(&logits, &answers(&softmax)), Some(0.0));
        assert!(deviation(&logits, &answers(&|x| softmax(x).iter().map(|p| p.ln() + 1e-6).collect())).unwrap() < 1e-5);
        let half = deviation(&logits, &answers(&|x| vec![x[0], x[1] + 1.0, x[2]])).unwrap();
        assert!((half - 1.0 / 3.0).abs() < 1e-6, "{half}");
        assert_eq!(deviation(&logits, &[Answer::Label(1), Answer::Label(2)]), None);
        let tie = |third: f32| deviation(&[vec![0.5; 3]], &[Answer::Scores(vec![0.5, 0.5, third])]).unwrap();
        assert_eq!([tie(0.5), tie(0.500_000_1), tie(0.5001)], [0.0, 0.0, 1.0]);
    }

    /// Values of the interval as statsmodels' `proportion_confint(k, n, method="wilson")` gives
    /// them.
    #[test]
    fn intervals_are_wilsons() {
        let about = |k: usize, n: usize| {
            let agreement =
                Agreement { agreeing: k, ..Agreement::of(Reference::Tract, &vec![0; n], &vec![Answer::Label(0); n]) };
            agreement.interval().map(|bound| (1e4 * bound).round() / 1e4)
        };
        assert_eq!(about(64, 64), [0.9434, 1.0]);
        assert_eq!(about(8, 10), [0.4902, 0.9433]);
        assert_eq!(about(0, 20), [0.0, 0.1611]);
    }
}
