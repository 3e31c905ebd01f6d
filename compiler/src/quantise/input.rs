//! The input's number format: one for all elements where that is precise enough, else one for each feature.
//!
//! Formats are public, and calibration samples alone decide them, never weights, but for the choice whether features have their own. A
//! feature far from zero, compared with what it varies by, also gets an offset, rounded to an eighth of what its format holds.

use std::collections::HashMap;

use fusion_ir::input::{MAX_FRAC, MAX_OFFSET};
use fusion_ir::{Feature, InputFormat};

use super::calibrate::regular;
use super::{LEAST_MARGIN, frac_for, magnitude};
use crate::nn::scales::{FIXED, Layout, Scales};
use crate::nn::{Graph, Node, NodeId, Normalise, Op};

/// Most features that get their own formats.
const MAX_FEATURES: usize = 4096;
/// Rounding of the input may change results of the first linear layer by this, relative to what they vary by, root mean square.
const GOOD_NOISE: f64 = 1.0 / 256.0;
/// An offset must save so many bits.
const OFFSET_BITS: i16 = 2;

/// The same network with its input's format, and what the user should know about it.
pub fn fit(graph: &Graph, samples: &[Vec<f32>], input_bits: u8) -> (Graph, Vec<String>) {
    let shape = graph.input_shape();
    let largest = samples.iter().flatten().fold(0f32, |most, x| most.max(x.abs()));
    if largest == 0.0 {
        let warning = "every calibration sample is zero everywhere, which says nothing about number formats".into();
        return (graph.clone(), vec![warning]);
    }
    let shared = frac_for(LEAST_MARGIN * largest, input_bits);
    let candidates = (0..shape.len()).filter(|axis| (2..=MAX_FEATURES).contains(&shape[*axis]) || shape.len() == 1);
    let candidates = candidates.filter(|axis| shape[*axis] <= MAX_FEATURES);
    let mut best: Option<(f64, Fit)> = None;
    for axis in candidates {
        let fit = Fit::new(graph, axis, samples, input_bits);
        let together = vec![(-f64::from(shared)).exp2(); shape[axis]];
        if fit.noise(&together) <= GOOD_NOISE {
            return (graph.clone(), Vec::new());
        }
        let apart: Vec<f64> = fit.features.iter().map(|feature| (-f64::from(feature.frac)).exp2()).collect();
        let noise = fit.noise(&apart);
        if best.as_ref().is_none_or(|(least, _)| noise < *least) {
            best = Some((noise, fit));
        }
    }
    let Some((noise, fit)) = best else { return (graph.clone(), Vec::new()) };
    let mut warnings = Vec::new();
    if noise > GOOD_NOISE {
        warnings.push(fit.cannot(graph));
    }
    warnings.extend(fit.guessed());
    (fit.applied(), warnings)
}

/// Formats of the features along one axis.
struct Fit {
    /// The network with a [`Normalise`] that changes nothing.
    graph: Graph,
    scales: Scales,
    axis: usize,
    features: Vec<Feature>,
    /// What each feature varies by: the variance of its elements.
    variances: Vec<f64>,
    /// Features that are zero on all samples.
    silent: Vec<usize>,
    /// Features that share a format with others because something reads them together.
    bound: bool,
}

/// What the samples say about one feature, without those that stand out alone.
struct Seen {
    low: f32,
    high: f32,
    variance: f64,
}

const NORMALISED: NodeId = NodeId(1);

impl Fit {
    fn new(graph: &Graph, axis: usize, samples: &[Vec<f32>], input_bits: u8) -> Fit {
        let count = graph.input_shape()[axis];
        let graph = normalised(graph, axis);
        let scales = Scales::of(&graph);
        let seen: Vec<Seen> = (0..count).map(|feature| see(graph.input_shape(), axis, feature, samples)).collect();
        let silent = (0..count).filter(|i| seen[*i].low == 0.0 && seen[*i].high == 0.0).collect();
        let centred = offsets_pass(&graph);
        let usual = usual(&seen);
        let own: Vec<Feature> =
            seen.iter().zip(centred).map(|(seen, centred)| format(seen, usual, centred, input_bits)).collect();
        // Features with one variable share a format, the coarsest one.
        let vars = &scales.layouts[NORMALISED.0].vars;
        let mut joint: HashMap<u32, i16> = HashMap::new();
        for (var, feature) in vars.iter().zip(&own) {
            joint.entry(*var).and_modify(|frac| *frac = feature.frac.min(*frac)).or_insert(feature.frac);
        }
        let bound = joint.len() < count;
        let shared = |(var, feature): (&u32, &Feature)| match joint[var] {
            frac if frac == feature.frac => *feature,
            frac => Feature { frac, offset: 0 },
        };
        let features = vars.iter().zip(&own).map(shared).collect();
        let variances = seen.iter().map(|seen| seen.variance).collect();
        Fit { graph, scales, axis, features, variances, silent, bound }
    }

    /// How much rounding features in these steps changes the results of the linear maps that read them, relative to what they vary by if
    /// features vary independently: root mean square over all results. Without such maps, the same over the features themselves.
    fn noise(&self, steps: &[f64]) -> f64 {
        let vars = &self.scales.layouts[NORMALISED.0].vars;
        let mut index: HashMap<u32, usize> = HashMap::new();
        index.extend(vars.iter().enumerate().map(|(feature, var)| (*var, feature)));
        let error = |feature: usize| steps[feature] * steps[feature] / 12.0;
        let mut ratios: Vec<f64> = Vec::new();
        for node in &self.graph.nodes {
            let Some(read) = node.inputs.first().and_then(|x| self.scales.read(&self.graph, *x)) else { continue };
            let feature = |c: usize| index.get(&read[c]).copied();
            let mut ratio = |weights: &mut dyn Iterator<Item = (usize, f32)>| {
                let (mut noise, mut signal) = (0.0, 0.0);
                for (c, w) in weights {
                    if let Some(feature) = feature(c) {
                        let power = f64::from(w).powi(2);
                        noise += power * error(feature);
                        signal += power * self.variances[feature];
                    }
                }
                if signal > 0.0 {
                    ratios.push(noise / signal);
                }
            };
            match &node.op {
                Op::Dense(dense) => {
                    dense.weight.rows().into_iter().for_each(|row| ratio(&mut row.iter().copied().enumerate()));
                }
                Op::Conv(conv) => {
                    let [per_row, per_group] = [conv.weight.shape()[0] / conv.groups, conv.weight.shape()[1]];
                    for (m, row) in conv.weight.outer_iter().enumerate() {
                        let channel = |c: usize| m / per_row * per_group + c;
                        let taps = row.indexed_iter().map(|((c, ..), w)| (channel(c), *w));
                        ratio(&mut taps.collect::<Vec<_>>().into_iter());
                    }
                }
                _ => {}
            }
        }
        if ratios.is_empty() {
            let varying = (0..steps.len()).filter(|feature| self.variances[*feature] > 0.0);
            ratios = varying.map(|feature| error(feature) / self.variances[feature]).collect();
        }
        (ratios.iter().sum::<f64>() / ratios.len().max(1) as f64).sqrt()
    }

    /// The network with these formats, weights and biases changed so that it computes the same.
    fn applied(self) -> Graph {
        let Fit { mut graph, scales, axis, features, .. } = self;
        let vars = &scales.layouts[NORMALISED.0].vars;
        // What is not scaled decides the format of the whole.
        let fixed = vars.iter().zip(&features).find(|(var, _)| **var == FIXED).map(|(_, feature)| feature.frac);
        let frac = fixed.unwrap_or(11).clamp(-60, 60);
        absorb_offsets(&mut graph, &features);
        let mut exponents = vec![0; scales.count];
        for (var, feature) in vars.iter().zip(&features).filter(|(var, _)| **var != FIXED) {
            exponents[*var as usize] = i32::from(feature.frac - frac);
        }
        scales.apply(&mut graph, &exponents);
        let format = InputFormat { axis, features };
        graph.nodes[NORMALISED.0].op = Op::Normalise(Normalise { format, frac: frac as i8 });
        graph
    }

    fn cannot(&self, graph: &Graph) -> String {
        let reader = graph.nodes.iter().find(|node| node.inputs.contains(&NodeId(0)));
        let reader = reader.map_or("the output", |node| &node.name);
        let why = if self.bound { "reads them together" } else { "varies little in some of them" };
        format!(
            "the input's features have very different scales, and what node {reader:?} begins {why}: some keep few digits. Bring them to one scale before they are given to the model"
        )
    }

    fn guessed(&self) -> Option<String> {
        let first: Vec<String> = self.silent.iter().take(8).map(usize::to_string).collect();
        let more = if self.silent.len() > first.len() { ", .." } else { "" };
        (!self.silent.is_empty()).then(|| {
            format!(
                "input features {}{more} are zero in all calibration samples: their number formats are a guess",
                first.join(", ")
            )
        })
    }
}

/// The network with a [`Normalise`] behind the input that changes nothing.
fn normalised(graph: &Graph, axis: usize) -> Graph {
    let features = vec![Feature { frac: 0, offset: 0 }; graph.input_shape()[axis]];
    let op = Op::Normalise(Normalise { format: InputFormat { axis, features }, frac: 0 });
    let mut nodes = graph.nodes.clone();
    let Node { shape, name, .. } = nodes[0].clone();
    nodes[1..].iter_mut().flat_map(|node| &mut node.inputs).for_each(|input| input.0 += 1);
    nodes.insert(1, Node { op, inputs: vec![NodeId(0)], shape, name });
    Graph { name: graph.name.clone(), nodes }
}

fn see(shape: &[usize], axis: usize, feature: usize, samples: &[Vec<f32>]) -> Seen {
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let block = shape[axis] * inner;
    let elements = |sample: &'_ Vec<f32>| -> Vec<f32> {
        (0..outer).flat_map(|o| sample[o * block + feature * inner..][..inner].iter().copied()).collect()
    };
    let each: Vec<Vec<f32>> = samples.iter().map(elements).collect();
    let mut middles: Vec<f32> = each.iter().map(|x| x[x.len() / 2]).collect();
    middles.sort_by(f32::total_cmp);
    let middle = middles[middles.len() / 2];
    let distances: Vec<f32> =
        each.iter().map(|x| x.iter().fold(0f32, |most, x| most.max((x - middle).abs()))).collect();
    let limit = regular(&distances);
    let kept = || each.iter().zip(&distances).filter(|(_, distance)| **distance <= limit).flat_map(|(x, _)| x);
    let (low, high) = kept().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
    let n = kept().count().max(1) as f64;
    let mean = kept().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = kept().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    Seen { low, high, variance }
}

/// The median of what features that are not zero reach.
fn usual(seen: &[Seen]) -> f32 {
    let mut reached: Vec<f32> = seen.iter().map(Seen::largest).filter(|x| *x > 0.0).collect();
    reached.sort_by(f32::total_cmp);
    reached.get(reached.len() / 2).copied().unwrap_or(1.0)
}

impl Seen {
    fn largest(&self) -> f32 {
        self.low.abs().max(self.high.abs())
    }
}

/// The finest format that holds [`LEAST_MARGIN`] times what a feature did, counted from its offset if it may have one.
fn format(seen: &Seen, usual: f32, offset_passes: bool, input_bits: u8) -> Feature {
    let largest = if seen.largest() > 0.0 { seen.largest() } else { usual };
    let plain = Feature { frac: finest(LEAST_MARGIN * largest, input_bits), offset: 0 };
    let (low, high) = (f64::from(seen.low), f64::from(seen.high));
    if !offset_passes || high <= low {
        return plain;
    }
    let (middle, reach) = ((low + high) / 2.0, f64::from(LEAST_MARGIN) * (high - low) / 2.0);
    let grain = f64::from(input_bits - 3).exp2();
    for frac in (plain.frac + OFFSET_BITS..=MAX_FRAC).rev() {
        let unit = (-f64::from(frac)).exp2();
        let offset = (middle / unit / grain).round() * grain;
        let reached = (reach + (middle - offset * unit).abs()) / unit;
        if reached < f64::from(input_bits).exp2() && offset.abs() <= MAX_OFFSET as f64 {
            return Feature { frac, offset: offset as i64 };
        }
    }
    plain
}

/// [`frac_for`] without its limits.
fn finest(largest: f32, bits: u8) -> i16 {
    let exponent = f64::from(largest).log2().floor() as i16;
    let near = i16::from(bits) - exponent;
    let reached = |frac: i16| magnitude((f64::from(largest) * f64::from(frac).exp2()) as f32, 0);
    (near - 3..=near + 1).rev().find(|frac| reached(*frac) <= bits).unwrap_or(near - 3).clamp(-MAX_FRAC, MAX_FRAC)
}

/// For each node, which features its elements are, if it only moves elements of the input.
fn moved_features(graph: &Graph) -> Vec<Option<Layout>> {
    let mut moved: Vec<Option<Layout>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let layout = match &node.op {
            Op::Normalise(normalise) => {
                let axis = normalise.format.axis;
                let vars = (0..node.shape[axis] as u32).collect();
                Some(Layout { vars, inner: node.shape[axis + 1..].iter().product() })
            }
            Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } => {
                let x = node.inputs[0];
                moved[x.0].as_ref().and_then(|layout: &Layout| layout.moved(node, &graph.node(x).shape))
            }
            _ => None,
        };
        moved.push(layout);
    }
    moved
}

/// For each feature, whether all that read it are linear maps without padding, whose biases can take an offset back.
fn offsets_pass(graph: &Graph) -> Vec<bool> {
    let moved = moved_features(graph);
    let mut pass = vec![true; moved[NORMALISED.0].as_ref().map_or(0, |layout| layout.vars.len())];
    for (id, node) in graph.iter() {
        for x in &node.inputs {
            let Some(layout) = &moved[x.0] else { continue };
            let linear = match &node.op {
                Op::Dense(_) => true,
                Op::Conv(conv) => conv.pads == [0; 4],
                _ => moved[id.0].is_some(),
            };
            let readable = moved[id.0].is_some() || layout.along(&graph.node(*x).shape, 0).is_some();
            if !linear || !readable {
                layout.vars.iter().for_each(|feature| pass[*feature as usize] = false);
            }
        }
    }
    if let Some(layout) = moved.last().and_then(Option::as_ref) {
        layout.vars.iter().for_each(|feature| pass[*feature as usize] = false);
    }
    pass
}

/// Adds to biases what the features' offsets take away.
fn absorb_offsets(graph: &mut Graph, features: &[Feature]) {
    let moved = moved_features(graph);
    let centre = |feature: u32| {
        let Feature { frac, offset } = features[feature as usize];
        offset as f64 * (-f64::from(frac)).exp2()
    };
    for index in 0..graph.nodes.len() {
        let Some(x) = graph.nodes[index].inputs.first().copied() else { continue };
        let Some(read) = moved[x.0].as_ref().and_then(|layout| layout.along(&graph.node(x).shape, 0)) else { continue };
        match &mut graph.nodes[index].op {
            Op::Dense(dense) => {
                for (row, bias) in dense.weight.rows().into_iter().zip(&mut dense.bias) {
                    let sum: f64 = row.iter().zip(&read).map(|(w, feature)| f64::from(*w) * centre(*feature)).sum();
                    *bias = (f64::from(*bias) + sum) as f32;
                }
            }
            Op::Conv(conv) => {
                let [per_row, per_group] = [conv.weight.shape()[0] / conv.groups, conv.weight.shape()[1]];
                for (m, row) in conv.weight.outer_iter().enumerate() {
                    let feature = |c: usize| read[m / per_row * per_group + c];
                    let taps = row.indexed_iter().map(|((c, ..), w)| f64::from(*w) * centre(feature(c)));
                    conv.bias[m] = (f64::from(conv.bias[m]) + taps.sum::<f64>()) as f32;
                }
            }
            _ => {}
        }
    }
}
