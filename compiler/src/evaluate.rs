//! The fixed-point reference on many samples: what it answers, and how much room its number formats
//! leave.

use std::sync::atomic::{AtomicUsize, Ordering};

use fusion_ir::{Function, Value, Weights, interp};
use rayon::prelude::*;

use crate::progress::Progress;

/// What the reference does on quantised samples.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// What each sample's answer [means](interp::meaning): labels, best first, as many as the
    /// function reveals; or numbers.
    pub rankings: Vec<Vec<i64>>,
    /// For each sample, how full it makes every value's ring: [`interp::Watched::fill`].
    fill: Vec<Vec<f64>>,
    /// Each sample's logits, as the numbers that they stand for.
    pub logits: Vec<Vec<f64>>,
}

/// The fullest ring.
#[derive(Clone, Debug, PartialEq)]
pub struct Fullest {
    /// The ONNX node.
    pub node: String,
    /// The largest absolute value as a fraction of what the ring holds; from 1 on it wraps.
    pub fill: f64,
}

/// Runs the reference on all samples, in parallel.
///
/// # Panics
/// As [`interp::run`].
pub fn evaluate(function: &Function, weights: &Weights, samples: &[Vec<i64>]) -> Evaluated {
    evaluate_watched(function, weights, samples, &|_, _, _| ())
}

/// As [`evaluate`]; `progress` is told how many samples are done.
///
/// # Panics
/// As [`interp::run`].
pub fn evaluate_watched(
    function: &Function,
    weights: &Weights,
    samples: &[Vec<i64>],
    progress: &Progress,
) -> Evaluated {
    let done = AtomicUsize::new(0);
    let run = |sample: &Vec<i64>| {
        let watched = interp::watch(function, weights, sample);
        progress("fixed point", done.fetch_add(1, Ordering::Relaxed) + 1, samples.len());
        let ty = interp::logits_of(function).map(|logits| &function.value(logits).ty);
        let logits = ty.map_or_else(Vec::new, |ty| watched.logits.iter().map(|x| ty.dequantize(*x)).collect());
        ((interp::meaning(function, &watched.output), watched.fill), logits)
    };
    let (outcome, logits): (Vec<_>, Vec<_>) = samples.par_iter().map(run).unzip();
    let (rankings, fill) = outcome.into_iter().unzip();
    Evaluated { rankings, fill, logits }
}

/// The samples in the input's fixed-point format.
pub fn quantise(function: &Function, samples: &[Vec<f32>]) -> Vec<Vec<i64>> {
    let quantiser = function.quantiser();
    samples.iter().map(|sample| quantiser.quantise(sample)).collect()
}

impl Evaluated {
    /// Each sample's label: the index of the largest logit, the lowest winning ties.
    pub fn labels(&self) -> Vec<i64> {
        self.rankings.iter().map(|labels| labels.first().copied().unwrap_or(-1)).collect()
    }

    /// Where one sample comes nearest to the end of a ring. The samples are those that `function`
    /// was evaluated on.
    pub fn fullest(&self, function: &Function, sample: usize) -> Option<Fullest> {
        let (value, fill): (&Value, &f64) =
            function.values.iter().zip(&self.fill[sample]).max_by(|a, b| a.1.total_cmp(b.1))?;
        Some(Fullest { node: value.node.clone(), fill: *fill })
    }

    /// The fullest ring on all samples.
    pub fn fullest_of_all(&self, function: &Function) -> Option<Fullest> {
        let each = (0..self.fill.len()).filter_map(|sample| self.fullest(function, sample));
        each.max_by(|a, b| a.fill.total_cmp(&b.fill))
    }
}
