//! Where fixed point loses precision: each layer's signal-to-noise ratio against the float network
//! on the same samples.

use std::collections::HashMap;

use fusion_ir::{Function, Op, Weights, interp};
use rayon::prelude::*;

use crate::nn::{Graph, NodeId, eval};

/// One layer's precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    /// The ONNX node.
    pub node: String,
    /// Ten times the decimal logarithm of the signal's power over that of the difference from
    /// float; infinite without difference.
    pub decibels: f64,
    /// The same with the difference from what float makes of the fixed-point operands: the layer's
    /// own noise.
    pub own_decibels: f64,
}

/// The precision of every layer whose value exists in both, in the order of execution.
pub fn layers(graph: &Graph, function: &Function, weights: &Weights, samples: &[(&[f32], &[i64])]) -> Vec<Precision> {
    let per_sample: Vec<HashMap<&str, [f64; 3]>> =
        samples.par_iter().map(|(real, fixed)| powers(graph, function, weights, real, fixed)).collect();
    let mut layers: Vec<Precision> = Vec::new();
    for value in &function.values {
        let seen = layers.iter().any(|layer| layer.node == value.node);
        let found: Vec<[f64; 3]> = per_sample.iter().filter_map(|all| all.get(value.node.as_str()).copied()).collect();
        if seen || found.is_empty() {
            continue;
        }
        let [signal, noise, own] = [0, 1, 2].map(|i| found.iter().map(|powers| powers[i]).sum::<f64>());
        let decibels = |noise: f64| if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() };
        let (node, decibels, own_decibels) = (value.node.clone(), decibels(noise), decibels(own));
        layers.push(Precision { node, decibels, own_decibels });
    }
    layers
}

/// The layer that loses most, and how much: what part of its elements' variation from sample to
/// sample is hidden by rounding, beyond what is hidden in what it reads. A feature that a shared
/// number format rounds away is seen so, however small it is.
pub fn most_lost<'f>(
    graph: &Graph,
    function: &'f Function,
    weights: &Weights,
    samples: &[(&[f32], &[i64])],
) -> Option<(&'f str, f64)> {
    let mut moments: Vec<Vec<Moments>> = vec![Vec::new(); function.values.len()];
    for (real, fixed) in samples {
        counterparts(graph, function, weights, real, fixed, |at, real, fixed| {
            let moments = &mut moments[at];
            moments.resize(real.len(), Moments::default());
            moments.iter_mut().zip(real).zip(fixed).for_each(|((moments, real), fixed)| moments.add(*real, fixed));
        });
    }
    // What has no counterpart in the float network shows as much as what it reads.
    let mut hidden: Vec<f64> = Vec::with_capacity(function.values.len());
    let mut most: Option<(&str, f64)> = None;
    for (value, moments) in function.values.iter().zip(&moments) {
        let read = value.operands.iter().map(|operand| hidden[operand.index()]).fold(0.0, f64::max);
        let own = hidden_part(moments, samples.len()).unwrap_or(read);
        if most.is_none_or(|(_, lost)| own - read > lost) {
            most = Some((&value.node, own - read));
        }
        hidden.push(own);
    }
    most
}

/// Sums over samples of one element: its float value, the square, and the square of fixed point's
/// error.
#[derive(Clone, Copy, Debug, Default)]
struct Moments([f64; 3]);

impl Moments {
    fn add(&mut self, real: f32, fixed: f64) {
        let real = f64::from(real);
        self.0[0] += real;
        self.0[1] += real * real;
        self.0[2] += (fixed - real).powi(2);
    }
}

/// The mean over all elements that vary of error over variance, each at most 1.
fn hidden_part(moments: &[Moments], samples: usize) -> Option<f64> {
    let n = samples.max(1) as f64;
    let part = |Moments([sum, squares, errors]): &Moments| {
        let variance = squares / n - (sum / n).powi(2);
        // Below float32's own precision an element is constant.
        (variance > 1e-12 * squares / n).then(|| (errors / n / variance).min(1.0))
    };
    let parts: Vec<f64> = moments.iter().filter_map(part).collect();
    (!parts.is_empty()).then(|| parts.iter().sum::<f64>() / parts.len() as f64)
}

/// For each ONNX node, the power of its last float value, that of the fixed-point value's
/// difference from it, and that of its difference from what float makes of the fixed-point
/// operands.
fn powers<'f>(
    graph: &Graph,
    function: &'f Function,
    weights: &Weights,
    real: &[f32],
    fixed: &[i64],
) -> HashMap<&'f str, [f64; 3]> {
    let mut powers = HashMap::new();
    let mut found: HashMap<&'f str, Vec<f32>> = HashMap::new();
    counterparts(graph, function, weights, real, fixed, |at, real, fixed| {
        let mut sums = [0.0; 3];
        let fixed: Vec<f64> = fixed.collect();
        for (real, fixed) in real.iter().zip(&fixed) {
            let real = f64::from(*real);
            sums[0] += real * real;
            sums[1] += (fixed - real).powi(2);
        }
        let node = function.values[at].node.as_str();
        powers.insert(node, sums);
        found.insert(node, fixed.into_iter().map(|x| x as f32).collect());
    });
    let last: HashMap<&str, NodeId> = graph.iter().map(|(id, node)| (node.name.as_str(), id)).collect();
    // What an operation reads of other ONNX nodes is what fixed point has there.
    let given =
        |id: NodeId| found.get(graph.node(id).name.as_str()).filter(|_| last[graph.node(id).name.as_str()] == id);
    let mut values: Vec<Vec<f32>> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        let value = eval::apply(graph, node, &values, real);
        if let Some(fixed) = given(id) {
            let power = powers.get_mut(node.name.as_str());
            let own = value.iter().zip(fixed).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            power.into_iter().for_each(|powers| powers[2] = own);
        }
        values.push(given(id).cloned().unwrap_or(value));
    }
    powers
}

/// Shows every fixed-point value's index beside the last float value of the same ONNX node, and
/// what the fixed-point elements stand for.
fn counterparts(
    graph: &Graph,
    function: &Function,
    weights: &Weights,
    real: &[f32],
    fixed: &[i64],
    mut show: impl FnMut(usize, &[f32], &mut dyn Iterator<Item = f64>),
) {
    let mut floats: HashMap<&str, Vec<f32>> = HashMap::new();
    eval::visit(graph, real, |id, value| drop(floats.insert(&graph.node(id).name, value.to_vec())));
    // What comes before a node's last value is on the way to it.
    let last: HashMap<&str, usize> = function.values.iter().enumerate().map(|(at, v)| (v.node.as_str(), at)).collect();
    for (at, (value, elements)) in function.values.iter().zip(interp::run(function, weights, fixed)).enumerate() {
        if last[value.node.as_str()] != at {
            continue;
        }
        let ordered = matches!(&value.op, Op::Input(format) if format.ordered);
        let gadget =
            ordered || matches!(value.op, Op::Mix(_) | Op::ArgMax | Op::TopK { .. } | Op::Reveal(_) | Op::Check);
        let Some(float) = floats.get(value.node.as_str()).filter(|f| f.len() == elements.len() && !gadget) else {
            continue;
        };
        show(at, float, &mut elements.iter().map(|element| value.ty.dequantize(*element)));
    }
}
