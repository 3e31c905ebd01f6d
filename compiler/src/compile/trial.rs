//! The compiled network beside what the model means: how often they agree, and why they do not.

use std::borrow::Cow;

use fusion_ir::input::Clipped;
use fusion_ir::op::Reveal;

use super::Options;
use super::meaning::Meaning;
use crate::agreement::{Agreement, Cause, Disagreement, scores_differ};
use crate::import::Imported;
use crate::nn::{eval, mask};
use crate::oracle::Answer;
use crate::quantise::calibrate::Calibration;
use crate::refine::Fixed;
use crate::{Error, compare, diagnose};

/// Samples on which the layer that loses most is found.
const COMPARED_SAMPLES: usize = 16;
/// How far float scores of the imported network may be from the model's without a word, as a
/// fraction of their range.
const SMALL_DEVIATION: f64 = 0.01;
/// How far at all.
const LARGE_DEVIATION: f64 = 0.1;

/// All that is compared.
pub(super) struct Trial<'t> {
    pub options: &'t Options,
    pub network: &'t Imported,
    pub calibration: &'t Calibration,
    pub meant: &'t Meaning,
    pub fixed: &'t Fixed,
}

/// What comes out, if there is to be a plan.
pub(super) struct Judged {
    pub agreement: Agreement,
    /// Calibration samples beyond the input's format.
    pub beyond: Vec<Clipped>,
    /// How far values may be from the model's.
    pub tolerance: f64,
    /// What deserves attention.
    pub notices: Vec<String>,
}

impl Trial<'_> {
    /// How the network compares.
    ///
    /// # Errors
    /// [`Error::Disagreement`] if it is not what the model means.
    pub fn judge(&self) -> Result<Judged, Error> {
        let Trial { options, calibration, meant, fixed, .. } = self;
        let answers = self.answers();
        let tolerance = options.checks.tolerance.unwrap_or_else(|| compare::near(&answers));
        let reference = meant.reference.clone();
        let agreement = match self.is_value() {
            true => Agreement::of_values(reference, &fixed.evaluated.logits, &answers, tolerance),
            false => Agreement::of(reference, &fixed.evaluated.labels(), &answers),
        };
        let function = &fixed.built.program.function;
        let beyond = function.quantiser().all_clipped(calibration.samples.iter().map(Vec::as_slice));
        let agreement = if options.checks.refuse_clipped { agreement.without(beyond.clone()) } else { agreement };
        if agreement.share() < options.checks.min_agreement {
            let cause = self.cause(&agreement, tolerance);
            return Err(self.refuse(agreement, cause));
        }
        let mut notices = Vec::new();
        if let Some((deviation, sample)) = self.deviation() {
            let node = meant.first_lost(options, self.network, &calibration.samples[sample]);
            if (deviation.is_nan() || deviation > LARGE_DEVIATION) && options.checks.min_agreement > 0.0 {
                return Err(self.refuse(agreement, Cause::Scores { deviation, node }));
            }
            notices.push(scores_differ(deviation, node.as_deref()));
        }
        Ok(Judged { agreement, beyond, tolerance, notices })
    }

    /// The first samples with what the program takes them for.
    pub fn pairs(&self, most: usize) -> Vec<(&[f32], &[i64])> {
        let Trial { calibration, fixed, .. } = self;
        let pairs = calibration.samples.iter().map(Vec::as_slice).zip(fixed.quantised.iter().map(Vec::as_slice));
        pairs.take(most).collect()
    }

    fn is_value(&self) -> bool {
        self.options.reveal == Reveal::Value
    }

    /// What the model answers; where nobody says it, the network as imported.
    fn answers(&self) -> Cow<'_, [Answer]> {
        let imported = || self.fixed.built.observed.outputs.iter().cloned().map(Answer::Scores).collect();
        self.meant.answers.as_deref().map_or_else(|| Cow::Owned(imported()), Cow::Borrowed)
    }

    fn refuse(&self, agreement: Agreement, cause: Cause) -> Error {
        let (minimum, real) = (self.options.checks.min_agreement, self.calibration.real);
        Error::Disagreement(Box::new(Disagreement { agreement, minimum, real, cause }))
    }

    /// Why they disagree.
    fn cause(&self, agreement: &Agreement, tolerance: f64) -> Cause {
        let Trial { options, network, calibration, meant, fixed } = self;
        let outputs = eval::outputs(&network.graph, &calibration.samples);
        let float = meant.answers.as_ref().map(|answers| match self.is_value() {
            true => {
                let real = |y: &Vec<f32>| y.iter().copied().map(f64::from).collect();
                let reals: Vec<Vec<f64>> = outputs.iter().map(real).collect();
                Agreement::of_values(meant.reference.clone(), &reals, answers, tolerance)
            }
            false => {
                let labels: Vec<i64> = outputs.iter().map(|y| eval::argmax(y) as i64).collect();
                Agreement::of(meant.reference.clone(), &labels, answers)
            }
        });
        match (float, agreement.refused.first()) {
            (_, Some(first)) if 2 * agreement.refused.len() > agreement.differing.len() => {
                Cause::Clipped(first.clone())
            }
            (Some(float), _) if 2 * float.differing.len() > agreement.differing.len() => Cause::Import {
                agreeing: float.agreeing,
                node: meant.first_lost(options, network, &calibration.samples[float.differing[0]]),
            },
            _ => {
                let (program, graph) = (&fixed.built.program, &fixed.built.graph);
                let fullest = |sample: &usize| fixed.evaluated.fullest(&program.function, *sample);
                let full = agreement.differing.iter().filter_map(fullest);
                let full = full.filter(|full| full.fill >= 1.0).max_by(|a, b| a.fill.total_cmp(&b.fill));
                let pairs = self.pairs(COMPARED_SAMPLES);
                let lost = diagnose::most_lost(graph, &program.function, &program.weights, &pairs);
                let (node, hidden) = lost.unwrap_or_default();
                full.map_or_else(|| Cause::Formats { node: node.into(), hidden }, Cause::Overflow)
            }
        }
    }

    /// How far float scores are from the model's, if that is worth a word, and of which sample.
    /// Scores may be stretched; values are compared as they are.
    fn deviation(&self) -> Option<(f64, usize)> {
        let Trial { network, calibration, meant, fixed, .. } = self;
        let known = meant.answers.as_ref().filter(|_| !self.is_value());
        let deviation = |outputs: &[Vec<f32>]| compare::deviation(outputs, known?);
        let small = |deviation: &(f64, usize)| deviation.0 <= SMALL_DEVIATION;
        // What was settled on the samples, roundings left out and masks moved near, is judged by
        // labels: it is no fault of the import.
        let deviation = match deviation(&fixed.built.observed.outputs) {
            Some(far) if !small(&far) && mask::unsettled(&network.graph) => {
                deviation(&eval::outputs(&network.graph, &calibration.samples))
            }
            deviation => deviation,
        };
        deviation.filter(|deviation| !small(deviation))
    }
}
