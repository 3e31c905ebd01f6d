//! Normalisations of rows whose deviations lie far apart: each row must be right to a small part of
//! itself.

mod support;

use fusion_compiler::compile::{Options, compile};
use fusion_compiler::evaluate::quantise;
use fusion_ir::interp;
use fusion_ir::op::Reveal;
use support::{int, integers, model_of, node, numbers, tensor};

const ROWS: usize = 5;

/// Samples of five rows of `n` elements: with deviations of about 2, 1/2, 1/8 and 1/32 around
/// different means, and one of equal elements.
fn samples(n: usize) -> Vec<Vec<f32>> {
    let row = |sample: usize, row: usize| {
        let noise = numbers(n + sample + 3 * row)[sample + 3 * row..].to_vec();
        let deviation = if row == 4 { 0.0 } else { 4.0 * 0.25f32.powi(row as i32) };
        noise.into_iter().map(move |x| 0.3 * row as f32 - 0.7 + deviation * x).collect::<Vec<f32>>()
    };
    (0..24).map(|sample| (0..ROWS).flat_map(|r| row(sample, r)).collect()).collect()
}

/// Every row less its mean, over its deviation.
fn standardised(sample: &[f32], n: usize) -> Vec<f64> {
    let row = |row: &[f32]| {
        let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        let mean = row.iter().sum::<f64>() / n as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        row.into_iter().map(|x| (x - mean) / (variance + 1e-5).sqrt()).collect::<Vec<f64>>()
    };
    sample.chunks(n).flat_map(row).collect()
}

fn deviation(row: &[f32]) -> f64 {
    let n = row.len() as f64;
    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    (row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// The model's scores in fixed point, one for each element of the sample.
fn scores(name: &str, n: usize, bytes: &[u8], samples: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let folder = std::env::temp_dir().join(format!("fusion-normalisations-{}-{name}-{n}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [model, calibrate] = ["model.onnx", "x.npy"].map(|file| folder.join(file));
    std::fs::write(&model, bytes).unwrap();
    let all = ndarray::Array3::from_shape_vec((samples.len(), ROWS, n), samples.concat()).unwrap();
    ndarray_npy::write_npy(&calibrate, &all).unwrap();
    let mut options = Options { reveal: Reveal::Logits, calibrate: Some(calibrate), ..Options::new(model) };
    // Labels say little where rows of equal elements tie.
    options.checks.min_agreement = 0.0;
    let plan = compile(&options).unwrap_or_else(|e| panic!("{name}: {e}")).plan;
    std::fs::remove_dir_all(&folder).unwrap();
    let weights = plan.weights.as_ref().unwrap();
    let scores = plan.function.values.iter().rev().nth(1).unwrap();
    let run =
        |x: &Vec<i64>| interp::output(&plan.function, weights, x).iter().map(|y| scores.ty.dequantize(*y)).collect();
    quantise(&plan.function, samples).iter().map(run).collect()
}

fn holds(name: &str, n: usize, nodes: &[Vec<u8>], initializers: &[Vec<u8>]) {
    let shape = [ROWS as u64, n as u64];
    let bytes = model_of(&[("x", &shape)], &["y"], 17, nodes, initializers);
    let samples = samples(n);
    for (sample, found) in samples.iter().zip(scores(name, n, &bytes, &samples)) {
        let deviations: Vec<f64> = sample.chunks(n).map(deviation).collect();
        for (at, (found, exact)) in found.iter().zip(standardised(sample, n)).enumerate() {
            // The rounding of the input (units of 2^-9) and of the difference (2^-8) is a larger
            // part of a smaller row. What is equal has no difference to round.
            let rounding = if deviations[at / n] > 0.0 { 1.5 / 256.0 / deviations[at / n] } else { 0.0 };
            let allowed = 0.03 + rounding;
            assert!((found - exact).abs() <= allowed, "{name}, n = {n}: element {at}: {found} instead of {exact}");
        }
    }
}

fn flat(from: &str) -> Vec<u8> {
    node("Reshape", "flat", &[from, "flat_shape"], "y", &[])
}

#[test]
fn layer_normalisation() {
    for n in [2, 7, 8, 48] {
        let scale = tensor("scale", &[n as u64], &vec![1.0; n]);
        let nodes = [node("LayerNormalization", "ln", &["x", "scale"], "z", &[]), flat("z")];
        holds("layer", n, &nodes, &[scale, integers("flat_shape", &[1, -1])]);
    }
}

#[test]
fn instance_normalisation() {
    let [scale, shift] = [("scale", 1.0), ("shift", 0.0)].map(|(name, value)| tensor(name, &[5], &[value; ROWS]));
    let nodes = [node("InstanceNormalization", "in", &["x", "scale", "shift"], "z", &[]), flat("z")];
    holds("instance", 12, &nodes, &[scale, shift, integers("flat_shape", &[1, -1])]);
}

/// As exporters wrote it before there was an operator.
#[test]
fn a_normalisation_of_many_nodes() {
    let mean =
        |from: &str, to: &str| node("ReduceMean", to, &[from], to, &[support::ints("axes", &[2]), int("keepdims", 1)]);
    let nodes = [
        mean("x", "mean"),
        node("Sub", "centred", &["x", "mean"], "centred", &[]),
        node("Mul", "squares", &["centred", "centred"], "squares", &[]),
        mean("squares", "variance"),
        node("Add", "more", &["variance", "epsilon"], "more", &[]),
        node("Sqrt", "deviation", &["more"], "deviation", &[]),
        node("Div", "z", &["centred", "deviation"], "z", &[]),
        flat("z"),
    ];
    holds("composed", 16, &nodes, &[tensor("epsilon", &[1], &[1e-5]), integers("flat_shape", &[1, -1])]);
}
