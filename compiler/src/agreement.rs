//! How often fixed point gives the label that the model's own meaning in float gives.

use std::fmt;

use fusion_ir::input::Clipped;

use crate::evaluate::Fullest;
use crate::setting::Setting;

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
                "\n  do: {}\n  or: {} 0 makes a plan all the same",
                import_advice(&agreement.reference),
                Setting::MinAgreement
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
                write!(f, "\n  do: calibrate on more samples like the queries, or take {}", Setting::WorstCase)?;
            }
            Cause::Formats { node, hidden } => {
                let hidden = 100.0 * hidden;
                write!(f, "\n  node {node:?} loses most: rounding hides {hidden:.0} % of how its elements vary")?;
                let advice = if *real {
                    format!(
                        "give more bits with {} and {}, bring inputs to one scale, and calibrate on samples like the queries",
                        Setting::ActivationBits,
                        Setting::WeightBits
                    )
                } else {
                    format!(
                        "give typical inputs with {}: made-up ones, between -2.5 and 2.5 in every element, are not what \
                         this model is for",
                        Setting::Calibrate
                    )
                };
                write!(f, "\n  do: {advice}")?;
            }
        }
        let share = (100.0 * agreement.share()).floor() / 100.0;
        write!(f, "\n  or: {} {share} makes a plan all the same", Setting::MinAgreement)
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

fn import_advice(reference: &Reference) -> String {
    let expected = Setting::Expected;
    match reference {
        Reference::Expected => {
            format!("see that {expected} has the outputs for these samples in their order; then report this")
        }
        _ => {
            format!("give your own runtime's outputs for these samples with {expected}; if that fails too, report this")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Answer;

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
