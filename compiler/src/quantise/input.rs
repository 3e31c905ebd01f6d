//! The input's number format: one for all elements where that is precise enough, else one for each
//! feature.
//!
//! Formats are public, and calibration samples alone decide them, never weights, but for the choice
//! whether features have their own. A feature far from zero, compared with what it varies by, also
//! gets an offset, rounded to an eighth of what its format holds.

use std::collections::{HashMap, HashSet};

use fusion_ir::input::{MAX_FRAC, MAX_OFFSET};
use fusion_ir::{Feature, InputFormat};

use super::calibrate::regular;
use super::{LEAST_MARGIN, frac_for, magnitude, whole};
use crate::nn::scales::{FIXED, Layout, Scales};
use crate::nn::{Affine, Elements, Graph, Node, NodeId, Normalise, Op, trees};

/// Most features that get their own formats.
const MAX_FEATURES: usize = 4096;
/// Rounding of the input may change results of the first linear layer by this, relative to what
/// they vary by, root mean square.
const GOOD_NOISE: f64 = 1.0 / 256.0;
/// An offset must save so many bits.
const OFFSET_BITS: i16 = 2;

/// The same network with its input's format, and what the user should know about it.
pub fn fit(graph: &Graph, samples: &[Vec<f32>], elements: Elements, input_bits: u8) -> (Graph, Vec<String>) {
    if trees::decide_alone(graph) {
        // Order needs no format.
        return (graph.clone(), Vec::new());
    }
    let shape = graph.input_shape();
    let largest = samples.iter().flatten().fold(0f32, |most, x| most.max(x.abs()));
    if largest == 0.0 {
        let warning = "every calibration sample is zero everywhere, which says nothing about number formats".into();
        return (graph.clone(), vec![warning]);
    }
    let mut warnings = Vec::new();
    match whole::magnitude(elements, samples, shape.len() == 1) {
        // Exact without fractional bits.
        Ok(Some(magnitude)) if magnitude <= input_bits => {
            let normalise = Normalise { format: InputFormat::default(), frac: 0, magnitude };
            return (normalised(graph, normalise), warnings);
        }
        Ok(_) => {}
        Err(strange) => warnings.push(strange),
    }
    let shared = frac_for(LEAST_MARGIN * largest, input_bits);
    let candidates = (0..shape.len()).filter(|axis| shape[*axis] <= MAX_FEATURES);
    let mut fits: Vec<Fit> = candidates.map(|axis| Fit::new(graph, axis, samples, input_bits)).collect();
    // Formats along an axis help only where linear maps can take its scales back; where none does,
    // the first axis speaks for all.
    let helps = fits.iter().any(Fit::is_free);
    fits.retain(|fit| fit.is_free() || !helps);
    fits.truncate(if helps { fits.len() } else { 1 });
    let together = |fit: &Fit| fit.noise(|_| (-f64::from(shared)).exp2());
    if fits.iter().all(|fit| together(fit) <= GOOD_NOISE) {
        return (graph.clone(), warnings);
    }
    let apart = |fit: Fit| (fit.noise(|feature| (-f64::from(fit.features[feature].frac)).exp2()), fit);
    let best = fits.into_iter().map(apart).min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((noise, fit)) = best else { return (graph.clone(), warnings) };
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
    /// Bits of their formats.
    input_bits: u8,
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
        let features = vec![Feature { frac: 0, offset: 0 }; count];
        let plain = InputFormat { axis, features, ordered: false };
        let graph = normalised(graph, Normalise { format: plain, frac: 0, magnitude: input_bits });
        let scales = Scales::of(&graph);
        let seen: Vec<Seen> = (0..count).map(|feature| see(graph.input_shape(), axis, feature, samples)).collect();
        let silent = (0..count).filter(|i| seen[*i].low == 0.0 && seen[*i].high == 0.0).collect();
        let centred = offsets_pass(&graph);
        let usual = usual(&seen);
        let own: Vec<Feature> =
            seen.iter().zip(centred).map(|(seen, centred)| format(seen, usual, centred, input_bits)).collect();
        // Features with one variable share a format, the coarsest one.
        let vars = variables(&scales, &graph, axis);
        let mut joint: HashMap<u32, i16> = HashMap::new();
        for (var, feature) in vars.iter().zip(&own) {
            joint.entry(*var).and_modify(|frac| *frac = feature.frac.min(*frac)).or_insert(feature.frac);
        }
        let bound = joint.len() < count;
        let shared = |(var, feature): (&u32, &Feature)| {
            // The same offset in coarser units: without it the feature might not fit.
            let coarser = f64::from(joint[var] - feature.frac).exp2();
            Feature { frac: joint[var], offset: (feature.offset as f64 * coarser).round() as i64 }
        };
        let features = vars.iter().zip(&own).map(shared).collect();
        let variances = seen.iter().map(|seen| seen.variance).collect();
        Fit { graph, scales, axis, features, variances, silent, bound, input_bits }
    }

    /// Whether some feature may have a scale of its own.
    fn is_free(&self) -> bool {
        variables(&self.scales, &self.graph, self.axis).iter().any(|var| *var != FIXED)
    }

    /// How much rounding features in these steps changes the results of the linear maps that read
    /// them, relative to what they vary by if features vary independently: root mean square over
    /// all results. Without such maps, the same over the features themselves.
    fn noise(&self, step: impl Fn(usize) -> f64) -> f64 {
        let vars = variables(&self.scales, &self.graph, self.axis);
        let mut index: HashMap<u32, usize> = HashMap::new();
        // What keeps its scale cannot be told from all else that does.
        let free = vars.iter().enumerate().filter(|(_, var)| **var != FIXED);
        index.extend(free.map(|(feature, var)| (*var, feature)));
        let silent: HashSet<usize> = self.silent.iter().copied().collect();
        // Zero is exact in every format.
        let error = |feature: usize| if silent.contains(&feature) { 0.0 } else { step(feature).powi(2) / 12.0 };
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
            let varying = (0..self.features.len()).filter(|feature| self.variances[*feature] > 0.0);
            ratios = varying.map(|feature| error(feature) / self.variances[feature]).collect();
        }
        (ratios.iter().sum::<f64>() / ratios.len().max(1) as f64).sqrt()
    }

    /// The network with these formats, weights and biases changed so that it computes the same.
    fn applied(self) -> Graph {
        let Fit { mut graph, scales, axis, features, input_bits, .. } = self;
        let vars = variables(&scales, &graph, axis);
        // What is not scaled decides the format of the whole.
        let fixed = vars.iter().zip(&features).find(|(var, _)| **var == FIXED).map(|(_, feature)| feature.frac);
        let frac = fixed.unwrap_or(11).clamp(-60, 60);
        absorb_offsets(&mut graph, &features);
        let mut exponents = vec![0; scales.count];
        for (var, feature) in vars.iter().zip(&features).filter(|(var, _)| **var != FIXED) {
            exponents[*var as usize] = i32::from(feature.frac - frac);
        }
        scales.apply(&mut graph, &exponents);
        let format = InputFormat { axis, features, ordered: false };
        graph.nodes[NORMALISED.0].op = Op::Normalise(Normalise { format, frac: frac as i8, magnitude: input_bits });
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

/// The variable of each feature.
fn variables(scales: &Scales, graph: &Graph, axis: usize) -> Vec<u32> {
    scales.layouts[NORMALISED.0].along(&graph.node(NORMALISED).shape, axis).unwrap_or_default()
}

/// The network with `normalise`, which changes nothing, behind the input.
fn normalised(graph: &Graph, normalise: Normalise) -> Graph {
    let op = Op::Normalise(normalise);
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

/// The finest format that holds [`LEAST_MARGIN`] times what a feature did, counted from its offset
/// if it may have one.
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

/// For each feature, whether all that read it are linear maps without padding, whose biases can
/// take an offset back.
fn offsets_pass(graph: &Graph) -> Vec<bool> {
    let moved = moved_features(graph);
    let mut pass = vec![true; moved[NORMALISED.0].as_ref().map_or(0, |layout| layout.vars.len())];
    for (id, node) in graph.iter() {
        for x in &node.inputs {
            let Some(layout) = &moved[x.0] else { continue };
            let linear = match &node.op {
                Op::Dense(_) => true,
                Op::Conv(conv) => conv.pads == [0; 4],
                Op::Affine(affine) => takes_offsets(affine, node.len()),
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

/// Whether summands, one for each element, can take an offset back.
fn takes_offsets(affine: &Affine, elements: usize) -> bool {
    affine.shape.iter().product::<usize>() == elements && affine.scale.iter().all(|s| *s == 1.0)
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
            Op::Affine(affine) if takes_offsets(affine, read.len()) => {
                for (shift, feature) in affine.shift.iter_mut().zip(&read) {
                    *shift = (f64::from(*shift) + centre(*feature)) as f32;
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

#[cfg(test)]
mod tests {
    use fusion_ir::op::Window;
    use ndarray::{Array2, Array4};

    use super::*;
    use crate::nn::build::Builder;
    use crate::nn::expr::{Expr, Unary};
    use crate::nn::{Conv, Dense, eval};

    /// Reproducible numbers in `-1..1`.
    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Rows of features `centre + spread * noise`.
    fn rows(features: &[(f32, f32)]) -> Vec<Vec<f32>> {
        let row = |seed| noise(features.len(), seed).iter().zip(features).map(|(n, (c, s))| c + s * n).collect();
        (0..40).map(row).collect()
    }

    fn dense(b: &mut Builder, x: NodeId, weight: Vec<f32>) -> NodeId {
        let (n, m) = (b.shape(x)[0], weight.len() / b.shape(x)[0]);
        let weight = Array2::from_shape_vec([m, n], weight).unwrap();
        b.push(Op::Dense(Dense { weight, bias: vec![0.5; m] }), vec![x], [m])
    }

    fn format_of(graph: &Graph) -> Option<&InputFormat> {
        graph.nodes.iter().find_map(|node| match &node.op {
            Op::Normalise(normalise) => Some(&normalise.format),
            _ => None,
        })
    }

    fn same(before: &Graph, after: &Graph, samples: &[Vec<f32>]) {
        for sample in samples {
            let (a, b) = (eval::run(before, sample).pop().unwrap(), eval::run(after, sample).pop().unwrap());
            let scale = a.iter().fold(1f32, |most, x| most.max(x.abs()));
            a.iter().zip(&b).for_each(|(a, b)| assert!((a - b).abs() < 1e-3 * scale, "{a} {b}"));
        }
    }

    #[test]
    fn features_of_one_scale_share_a_format() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [6]);
        let y = dense(&mut b, x, noise(18, 1));
        let graph = b.graph.reachable(y);
        let (fitted, warnings) = fit(&graph, &rows(&[(0.5, 0.5); 6]), Elements::Real, 12);
        assert_eq!((fitted, warnings.len()), (graph.clone(), 0));
        // Small features that matter little do not need their own either: pixels at the border of
        // an image.
        let quiet = [(0.5, 0.5), (0.5, 0.5), (0.5, 0.5), (0.0, 0.01), (0.0, 0.0), (0.5, 0.5)];
        assert_eq!(fit(&graph, &rows(&quiet), Elements::Real, 12).0, graph);
    }

    #[test]
    fn whole_numbers_are_exact_and_others_keep_their_digits() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [3]);
        let y = dense(&mut b, x, vec![1.0, 1e-3, 5.0]);
        let graph = b.graph.reachable(y);
        let rows = |factor: f32| {
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]].map(|row| row.map(|x: f32| factor * x).to_vec())
        };
        for (elements, factor, expected) in [(Elements::Bit, 1.0, 1), (Elements::Whole, 300.0, 10)] {
            let (fitted, warnings) = fit(&graph, &rows(factor), elements, 12);
            let Op::Normalise(Normalise { format, frac, magnitude }) = &fitted.nodes[1].op else { panic!("no format") };
            same(&graph, &fitted, &rows(factor));
            assert_eq!((format.features.len(), *frac, *magnitude, warnings.len()), (0, 0, expected, 0));
        }
        // Large ones leave no room for their last digits, and fractions are a mistake.
        for (factor, warned) in [(3e4, 0), (0.5, 1)] {
            let real = fit(&graph, &rows(factor), Elements::Real, 12);
            let (fitted, warnings) = fit(&graph, &rows(factor), Elements::Whole, 12);
            assert_eq!((&fitted, warnings.len()), (&real.0, real.1.len() + warned));
        }
    }

    #[test]
    fn features_in_their_own_units_have_their_own_formats() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [5]);
        let features = [(0.0, 1e5), (2005.0, 15.0), (0.0, 2e-3), (0.5, 0.5), (0.0, 0.0)];
        // What a scaler inside the model makes of the weights.
        let weight =
            noise(20, 2).iter().zip([1e-5, 0.07, 500.0, 2.0, 1.0].iter().cycle()).map(|(w, s)| w * s).collect();
        let h = dense(&mut b, x, weight);
        let y = b.relu(h);
        let graph = b.graph.reachable(y);
        let samples = rows(&features);
        let (fitted, warnings) = fit(&graph, &samples, Elements::Real, 12);
        let features = &format_of(&fitted).unwrap().features;
        let plain = |frac| Feature { frac, offset: 0 };
        assert_eq!((features[0], features[2]), (plain(-6), plain(19)));
        let year = features[1];
        assert_eq!((year.frac, year.offset), (7, 2004 << 7));
        assert!(warnings.len() == 1 && warnings[0].contains("features 4 are zero"), "{warnings:?}");
        same(&graph, &fitted, &samples);
    }

    #[test]
    fn summands_take_offsets_back() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [2]);
        let centred = b.affine(x, Affine { shape: vec![2], scale: vec![1.0; 2], shift: vec![-2000.0, -3.0] });
        let squares = b.mul(centred, centred).unwrap();
        let y = dense(&mut b, squares, vec![1e-2, 1.0, 0.5e-2, -1.0]);
        let graph = b.graph.reachable(y);
        let samples = rows(&[(2004.0, 10.0), (3.0, 1.0)]);
        let (fitted, _) = fit(&graph, &samples, Elements::Real, 12);
        let format = format_of(&fitted).unwrap();
        let found = &format.features;
        assert!(found[0].offset != 0, "{found:?}");
        let normalise = fitted.nodes.iter().find_map(|node| match &node.op {
            Op::Normalise(normalise) => Some(normalise),
            _ => None,
        });
        let units = |sample: &Vec<f32>| normalise.unwrap().apply(sample, &[2]);
        let unit = f32::from(normalise.unwrap().frac).exp2();
        assert!(samples.iter().flat_map(units).all(|x| (x * unit).abs() < 4096.0), "{found:?}");
        same(&graph, &fitted, &samples);
    }

    #[test]
    fn tiny_and_huge_inputs_have_a_format() {
        for scale in [1e-10, 1e-30, 1e30] {
            let mut b = Builder::default();
            let x = b.push(Op::Input, vec![], [3]);
            let y = dense(&mut b, x, noise(6, 3).iter().map(|w| w / scale).collect());
            let graph = b.graph.reachable(y);
            let samples = rows(&[(0.0, scale); 3]);
            let (fitted, warnings) = fit(&graph, &samples, Elements::Real, 12);
            assert!(warnings.is_empty(), "{warnings:?}");
            same(&graph, &fitted, &samples);
            let reached = eval::run(&fitted, &samples[0])[1].iter().fold(0f32, |most, x| most.max(x.abs()));
            assert!((0.1..4.0).contains(&reached), "{reached}");
        }
    }

    #[test]
    fn channels_of_an_image_are_features_and_padding_keeps_offsets_away() {
        let image = |pads: [usize; 4]| {
            let mut b = Builder::default();
            let x = b.push(Op::Input, vec![], [2, 4, 4]);
            let mut weight = Array4::from_shape_vec([3, 2, 3, 3], noise(54, 4)).unwrap();
            weight.slice_mut(ndarray::s![.., 1, .., ..]).mapv_inplace(|w| w * 1e4);
            let (strides, dilations) = ([1, 1], [1, 1]);
            let conv = Conv { weight, bias: noise(3, 5), strides, pads, dilations, groups: 1 };
            let side = 2 + pads[0] + pads[2];
            let y = b.push(Op::Conv(conv), vec![x], [3, side, side]);
            let window = Window { kernel: [side, side], strides: [1, 1], pads: [0; 4] };
            let y = b.push(Op::SumPool(window), vec![y], [3, 1, 1]);
            b.graph.reachable(y)
        };
        let channel = |c: usize, n: f32| if c == 0 { 300.0 + n } else { n * 1e-4 };
        let sample = |seed| noise(32, seed).iter().enumerate().map(|(i, n)| channel(i / 16, *n)).collect();
        let samples: Vec<Vec<f32>> = (0..20).map(sample).collect();
        for (pads, offset) in [([0; 4], true), ([1; 4], false)] {
            let graph = image(pads);
            let (fitted, _) = fit(&graph, &samples, Elements::Real, 12);
            let format = format_of(&fitted).unwrap();
            assert_eq!((format.axis, format.features[0].offset != 0), (0, offset));
            assert_eq!(format.features[1], Feature { frac: 24, offset: 0 });
            same(&graph, &fitted, &samples);
        }
    }

    #[test]
    fn what_a_curve_reads_keeps_one_format_and_says_so() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [2]);
        let curve = b.pointwise(Expr::unary(Unary::Tanh, Expr::X), x);
        let y = dense(&mut b, curve, noise(4, 6));
        let graph = b.graph.reachable(y);
        let samples = rows(&[(0.0, 1e4), (0.0, 1e-2)]);
        let (fitted, warnings) = fit(&graph, &samples, Elements::Real, 12);
        assert!(warnings.len() == 1 && warnings[0].contains("one scale"), "{warnings:?}");
        let features = &format_of(&fitted).unwrap().features;
        assert!(features.len() == 2 && features[0] == features[1], "{features:?}");
        same(&graph, &fitted, &samples);
    }
}
