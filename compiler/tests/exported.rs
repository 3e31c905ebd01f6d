//! Networks that PyTorch exported, and one like a transformer: the float network and fixed point
//! are held against onnxruntime's scores (`tests/fixtures/{torch,spike}/make.py`).

use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Checks, Options, compile};
use fusion_compiler::evaluate::quantise;
use fusion_compiler::nn::eval;
use fusion_compiler::{import, samples};
use fusion_ir::interp;
use fusion_ir::op::Reveal;
use ndarray::{Array2, ArrayD};

const SAMPLES: usize = 64;

/// The samples that `make.py` gave to onnxruntime: of a linear congruential generator.
fn numbers(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (4.0 * (f64::from(state) / 2f64.powi(32)) - 2.0) as f32
    };
    (0..n).map(|_| next()).collect()
}

/// A file that goes away with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// Scores by fixed point are as near as `part` of the largest, and the labels are the same but for
/// samples whose two best scores lie nearer to each other than twice that.
fn agrees(name: &str, part: f32) {
    let kind = if name == "spike" { name } else { "torch" };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(kind);
    let (model, answers) = (folder.join(format!("{name}.onnx")), folder.join(format!("{name}.npy")));
    let expected: Array2<f32> = ndarray_npy::read_npy(&answers).unwrap();
    let graph = import::read(&model, None).unwrap();
    let shape = graph.input_shape().to_vec();
    let each: usize = shape.iter().product();
    let all = numbers(SAMPLES * each);
    let scratch = std::env::temp_dir().join(format!("fusion-exported-{}-{name}.npy", std::process::id()));
    let scratch = Scratch(scratch);
    let array = ArrayD::from_shape_vec([&[SAMPLES], shape.as_slice()].concat(), all.clone()).unwrap();
    ndarray_npy::write_npy(&scratch.0, &array).unwrap();
    assert_eq!(samples::array(&scratch.0, &shape).unwrap().concat(), all);

    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    let inputs: Vec<Vec<f32>> = all.chunks(each).map(<[f32]>::to_vec).collect();
    for (found, wanted) in eval::outputs(&graph, &inputs).iter().zip(expected.rows()) {
        for (a, b) in found.iter().zip(wanted) {
            assert!((a - b).abs() <= 1e-4 * scale, "{name}: {a} instead of {b}");
        }
    }
    let checks = Checks { expected: Some(answers.clone().into()), ..Checks::default() };
    let calibrate = Some(scratch.0.clone());
    let options = Options { calibrate, checks, reveal: Reveal::Logits, ..Options::new(model) };
    let plan = compile(&options).unwrap_or_else(|e| panic!("{name}: {e}")).plan;
    let ty = &plan.function.values.iter().rev().nth(1).unwrap().ty;
    let weights = plan.weights.as_ref().unwrap();
    for (sample, wanted) in quantise(&plan.function, &inputs).iter().zip(expected.rows()) {
        let found = interp::output(&plan.function, weights, sample);
        let found: Vec<f32> = found.into_iter().map(|x| ty.dequantize(x) as f32).collect();
        let wanted = wanted.to_vec();
        for (a, b) in found.iter().zip(&wanted) {
            assert!((a - b).abs() <= part * scale, "{name}: {a} instead of {b} of {scale} in fixed point");
        }
        let (label, best) = (eval::argmax(&found), eval::argmax(&wanted));
        let near = wanted[best] - wanted[label] <= 2.0 * part * scale;
        assert!(label == best || near, "{name}: {label} instead of {best} of {wanted:?}");
    }
}

#[test]
fn an_image_network_with_a_nearest_upsampling() {
    agrees("unet_nearest", 1.0 / 64.0);
}

#[test]
fn an_lstm() {
    agrees("lstm", 1.0 / 32.0);
}

#[test]
fn a_gru_of_both_directions() {
    agrees("gru_bi", 1.0 / 32.0);
}

#[test]
fn a_network_of_volumes() {
    agrees("cnn3d", 1.0 / 64.0);
}

#[test]
fn one_dimension_far_above_the_others_before_a_normalisation() {
    agrees("spike", 1.0 / 64.0);
}
