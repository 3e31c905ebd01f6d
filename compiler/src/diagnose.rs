//! Where fixed point loses precision: each layer's signal-to-noise ratio against the float network on the same samples.

use std::collections::HashMap;

use fusion_ir::{Function, Op, Weights, interp};
use rayon::prelude::*;

use crate::nn::{Graph, eval};

/// One layer's precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    /// The ONNX node.
    pub node: String,
    /// Ten times the decimal logarithm of the signal's power over that of the difference from float; infinite without difference.
    pub decibels: f64,
}

/// The precision of every layer whose value exists in both, in the order of execution.
pub fn layers(graph: &Graph, function: &Function, weights: &Weights, samples: &[(&[f32], &[i64])]) -> Vec<Precision> {
    let per_sample: Vec<HashMap<&str, [f64; 2]>> =
        samples.par_iter().map(|(real, fixed)| powers(graph, function, weights, real, fixed)).collect();
    let mut layers: Vec<Precision> = Vec::new();
    for value in &function.values {
        let seen = layers.iter().any(|layer| layer.node == value.node);
        let found: Vec<[f64; 2]> = per_sample.iter().filter_map(|all| all.get(value.node.as_str()).copied()).collect();
        if seen || found.is_empty() {
            continue;
        }
        let [signal, noise] = [0, 1].map(|i| found.iter().map(|powers| powers[i]).sum::<f64>());
        let decibels = if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() };
        layers.push(Precision { node: value.node.clone(), decibels });
    }
    layers
}

/// For each ONNX node, the power of its last float value and that of the fixed-point value's difference from it.
fn powers<'f>(
    graph: &Graph,
    function: &'f Function,
    weights: &Weights,
    real: &[f32],
    fixed: &[i64],
) -> HashMap<&'f str, [f64; 2]> {
    let mut floats: HashMap<&str, Vec<f32>> = HashMap::new();
    eval::visit(graph, real, |id, value| drop(floats.insert(&graph.node(id).name, value.to_vec())));
    let mut powers = HashMap::new();
    for (value, elements) in function.values.iter().zip(interp::run(function, weights, fixed)) {
        let gadget = matches!(value.op, Op::Mix(_) | Op::ArgMax | Op::TopK { .. } | Op::Reveal(_) | Op::Check);
        let Some(float) = floats.get(value.node.as_str()).filter(|f| f.len() == elements.len() && !gadget) else {
            continue;
        };
        let mut sums = [0.0; 2];
        for (real, element) in float.iter().zip(&elements) {
            let real = f64::from(*real);
            sums[0] += real * real;
            sums[1] += (value.ty.dequantize(*element) - real).powi(2);
        }
        powers.insert(value.node.as_str(), sums);
    }
    powers
}
