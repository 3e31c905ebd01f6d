//! Calibration: the samples that formats are chosen on, and the ranges they give.

use std::collections::BTreeMap;
use std::fmt;

use crate::Error;
use crate::lower::wide::opposed_factors;
use crate::nn::eval::{self, Observed, Range};
use crate::nn::scales::Scales;
use crate::nn::{Elements, Graph, NodeId, Op, trees};

/// Most samples used; more change ranges little and cost time.
pub const MAX_SAMPLES: usize = 512;
/// Most multiply-accumulates of all samples together, if there are more than [`ENOUGH_SAMPLES`]: a
/// large network makes do with fewer.
const MOST_MACS: usize = 1 << 38;
/// Samples that are always used: with fewer, formats hold more than they would.
const ENOUGH_SAMPLES: usize = 32;
const SYNTHETIC_SAMPLES: usize = 64;
/// Most multiply-accumulates of all synthetic samples together: a large network makes do with fewer
/// of them.
const SYNTHETIC_MACS: usize = 1 << 34;

/// Samples with what they say about the network.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The samples.
    pub samples: Vec<Vec<f32>>,
    /// How many samples the file holds, used or not.
    pub total: usize,
    /// Whether they are real data; if not, formats are a guess.
    pub real: bool,
    /// What a sample's elements are.
    pub elements: Elements,
}

impl Calibration {
    /// The first of these samples, as many as a network of this size can be run on: [`MAX_SAMPLES`]
    /// at most.
    pub fn of(mut samples: Vec<Vec<f32>>, graph: &Graph) -> Self {
        let total = samples.len();
        samples.truncate(affordable(graph.macs()));
        Calibration { samples, total, real: true, elements: Elements::Real }
    }

    /// Made-up samples: smooth and rough, in `0..1` and around zero, the same at every call. Real
    /// inputs may differ in every respect.
    pub fn synthetic(graph: &Graph) -> Self {
        let mut noise = Noise(0x5eed);
        let len = graph.nodes[0].len();
        let width = graph.input_shape().last().copied().unwrap_or(1);
        let sample = |index: usize| {
            let mut values: Vec<f32> = (0..len).map(|_| noise.uniform()).collect();
            if index.is_multiple_of(2) {
                smooth(&mut values, width);
            }
            if index % 4 >= 2 {
                values.iter_mut().for_each(|x| *x = (*x - 0.5) * 5.0);
            }
            values
        };
        let total = (SYNTHETIC_MACS / graph.macs().max(1)).clamp(4, SYNTHETIC_SAMPLES);
        Calibration { samples: (0..total).map(sample).collect(), total, real: false, elements: Elements::Real }
    }

    /// The same samples, whose elements are known to be such.
    pub fn with_elements(self, elements: Elements) -> Self {
        Calibration { elements, ..self }
    }

    /// What the network does on the samples. Samples that alone would set a range are left out of
    /// ranges and means, and named.
    ///
    /// # Errors
    /// [`Error::Usage`] if the network overflows float32 on a sample.
    pub fn observe(&self, graph: &Graph, scales: &Scales) -> Result<(Observed, Vec<Outlier>), Error> {
        let observed = eval::observe(graph, &scales.layouts, &self.samples);
        let outliers = outliers(graph, &observed);
        if outliers.is_empty() {
            finite(graph, &observed)?;
            return Ok((observed, outliers));
        }
        let regular = |index: &usize| outliers.iter().all(|outlier| outlier.sample != *index);
        let kept: Vec<Vec<f32>> =
            (0..self.samples.len()).filter(regular).map(|index| self.samples[index].clone()).collect();
        let Observed { outputs, each, .. } = observed;
        let observed = Observed { outputs, each, ..eval::observe(graph, &scales.layouts, &kept) };
        finite(graph, &observed)?;
        Ok((observed, outliers))
    }
}

/// How many samples of so many multiply-accumulates are used.
fn affordable(macs: usize) -> usize {
    (MOST_MACS / macs.max(1)).clamp(ENOUGH_SAMPLES, MAX_SAMPLES)
}

/// A sample on which a node's values are far beyond those on all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// The sample's index.
    pub sample: usize,
    /// The ONNX node.
    pub node: String,
    /// Its largest absolute value on that sample.
    pub value: f32,
    /// Its largest absolute value on samples that do not stand out.
    pub usual: f32,
}

impl fmt::Display for Outlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outlier { sample, node, value, usual } = self;
        write!(
            f,
            "calibration sample {sample} alone would set number formats: it takes node {node:?} to {value:.3e}, where others stay below {usual:.3e}. It is left out, and inputs like it are answered wrongly"
        )
    }
}

/// How many times what others reach makes a value stand out.
const OUTLYING: f32 = 8.0;
/// Fewest values among which one can stand out.
const FEWEST: usize = 8;
/// One in so many values may stand out beside the first.
const RARE: usize = 64;

/// What values that do not stand out alone stay below: `OUTLYING` times the largest but a few of
/// them. Infinite if that says nothing.
pub fn regular(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    match sorted.get(1 + values.len() / RARE) {
        Some(usual) if values.len() >= FEWEST && *usual > 0.0 => OUTLYING * usual,
        _ => f32::INFINITY,
    }
}

/// Every sample that stands out at some node, with the node where it does most; none if there are
/// too many to speak of outliers.
fn outliers(graph: &Graph, observed: &Observed) -> Vec<Outlier> {
    let each = &observed.each;
    // A factor that is large where what it multiplies is small has a format of its own.
    let opposed = opposed_factors(graph, &observed.ranges);
    let mut worst: BTreeMap<usize, (f32, Outlier)> = BTreeMap::new();
    let given = trees::given(graph);
    let apart = |id: NodeId| given[id.0] || repeats(graph, id, &opposed);
    for (id, node) in graph.iter().filter(|(id, node)| !matches!(node.op, Op::Input) && !apart(*id)) {
        // What is not finite is beyond everything.
        let magnitude = |ranges: &Vec<Range>| Some(ranges[id.0].magnitude()).filter(|x| x.is_finite());
        let magnitudes: Vec<f32> = each.iter().map(|ranges| magnitude(ranges).unwrap_or(f32::INFINITY)).collect();
        let limit = regular(&magnitudes);
        for (sample, value) in magnitudes.into_iter().enumerate().filter(|(_, value)| *value > limit) {
            let excess = value / limit;
            if worst.get(&sample).is_none_or(|(most, _)| excess > *most) {
                let usual = limit / OUTLYING;
                worst.insert(sample, (excess, Outlier { sample, node: node.name.clone(), value, usual }));
            }
        }
    }
    let too_many = worst.len() > (each.len() / FEWEST).max(1);
    if too_many { Vec::new() } else { worst.into_values().map(|(_, outlier)| outlier).collect() }
}

/// Whether `id` is such a factor or rearranges one.
fn repeats(graph: &Graph, mut id: NodeId, opposed: &[bool]) -> bool {
    while !opposed[id.0] {
        let node = graph.node(id);
        let rearranged = matches!(node.op, Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Concat { .. });
        if !rearranged {
            return false;
        }
        id = node.inputs[0];
    }
    true
}

fn finite(graph: &Graph, observed: &Observed) -> Result<(), Error> {
    // Of what is only compared, numbers may be missing or infinite.
    let given = trees::given(graph);
    let bad = |(range, given): (&Range, &bool)| !given && !range.magnitude().is_finite();
    match observed.ranges.iter().zip(&given).position(bad) {
        Some(at) => {
            let name = &graph.nodes[at].name;
            let what = if observed.ranges[at].magnitude().is_nan() { "be NaN" } else { "overflow float32" };
            Err(Error::Usage(format!("the calibration samples make node {name:?} {what}")))
        }
        None => Ok(()),
    }
}

/// Averages each element with its neighbours in the row and the row above.
fn smooth(values: &mut [f32], width: usize) {
    for at in 1..values.len() {
        let above = at.checked_sub(width).map_or(values[at - 1], |i| values[i]);
        values[at] = 0.45 * (values[at - 1] + above) + 0.1 * values[at];
    }
}

/// SplitMix64: reproducible noise, nothing secret.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::build::Builder;

    #[test]
    fn synthetic_samples_are_reproducible_and_varied() {
        let mut graph = Graph::default();
        graph.push(Op::Input, vec![], vec![1, 8, 8], "x");
        let one = Calibration::synthetic(&graph);
        assert_eq!(one.samples, Calibration::synthetic(&graph).samples);
        assert!(!one.real && one.samples.iter().flatten().all(|x| x.abs() <= 2.5));
        assert!(one.samples.iter().flatten().any(|x| *x < -1.0));
    }

    #[test]
    fn large_networks_are_calibrated_on_fewer_samples() {
        // None, ResNet-50's, VGG-16's and more.
        let used = [0, 4_100_000_000, 15_500_000_000, usize::MAX].map(affordable);
        assert_eq!(used, [512, 67, 32, 32]);
    }

    #[test]
    fn values_that_stand_alone_are_told_from_wide_ones() {
        let mut values = vec![1.0; 40];
        values[7] = 7.9;
        assert_eq!(regular(&values), 8.0);
        values[8] = 1e6;
        assert_eq!(regular(&values), 8.0 * 7.9);
        // Too few to tell, or mostly zero: a rare feature is no outlier.
        assert_eq!(
            [regular(&[1.0, 1e9, 1.0]), regular(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0])],
            [f32::INFINITY; 2]
        );
    }

    #[test]
    fn a_sample_that_alone_sets_a_range_is_left_out_and_named() {
        let mut b = Builder { node: "x".into(), ..Builder::default() };
        let x = b.push(Op::Input, vec![], [2]);
        b.node = "inverse".into();
        let y = b.reciprocal(x);
        let graph = b.graph.reachable(y);
        let mut samples = vec![vec![1.0, 0.5]; 20];
        samples[13][1] = 1e-6;
        let calibration = Calibration { samples, total: 20, real: true, elements: Elements::Real };
        let (observed, outliers) = calibration.observe(&graph, &Scales::of(&graph)).unwrap();
        assert_eq!((observed.ranges[1].magnitude(), observed.outputs.len()), (2.0, 20));
        let [Outlier { sample: 13, node, value, usual }] = &outliers[..] else { panic!("{outliers:?}") };
        assert_eq!((node.as_str(), *value, *usual), ("inverse", 1e6, 2.0));
    }
}
