//! The compiler on real models. The case folder stands beside the project (or at `FUSION_CASES`);
//! without it these tests say so and pass.

use std::io::Write;
use std::path::{Path, PathBuf};

use fusion_compiler::compile::{Options, compile};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::nn::eval;
use fusion_compiler::{import, samples};
use fusion_ir::Plan;
use fusion_ir::op::Mix;
use fusion_ir::plan::Suggestion;
use ndarray::Axis;

/// The folder of one case, if the case folder is there.
fn case(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases");
    let cases = std::env::var_os("FUSION_CASES").map_or_else(beside, PathBuf::from);
    let folder = cases.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    // Not by a macro, whose words are lost where a test succeeds.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {} is absent", folder.display());
    None
}

/// The first `limit` samples and what onnxruntime computes for them.
fn samples(folder: &Path, shape: &[usize], limit: usize) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let mut inputs = samples::array(&folder.join("inputs.npy"), shape).unwrap();
    let expected: ndarray::ArrayD<f32> = ndarray_npy::read_npy(folder.join("expected.npy")).unwrap();
    let classes = expected.len() / inputs.len();
    let expected = expected.into_raw_vec_and_offset().0.chunks(classes).take(limit).map(<[f32]>::to_vec).collect();
    inputs.truncate(limit);
    (inputs, expected)
}

fn float_network_agrees(name: &str, softmax: bool) {
    let Some(folder) = case(name) else { return };
    let graph = import::read(&folder.join("model.onnx"), None).unwrap();
    let folded = fusion_compiler::nn::fold::fold(graph.clone());
    let (inputs, expected) = samples(&folder, graph.input_shape(), 20);
    for graph in [graph, folded] {
        for (mut output, expected) in eval::outputs(&graph, &inputs).into_iter().zip(&expected) {
            if softmax {
                let top = output.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = output.iter().map(|x| (x - top).exp()).sum();
                output.iter_mut().for_each(|x| *x = (*x - top).exp() / sum);
            }
            let scale = expected.iter().fold(1f32, |m, x| m.max(x.abs()));
            for (a, b) in output.iter().zip(expected) {
                assert!((a - b).abs() <= 1e-4 * scale, "{name}: {a} instead of {b}");
            }
        }
    }
}

#[test]
fn float_mnist_cnn() {
    float_network_agrees("mnist_cnn_cntk", false);
}

#[test]
fn float_mnist_convsmall() {
    float_network_agrees("mnist_convsmall", false);
}

#[test]
fn float_resnet20() {
    float_network_agrees("cifar10_resnet20", false);
}

#[test]
fn float_resnet8() {
    float_network_agrees("cifar10_mlperf_resnet8", true);
}

/// Compiles on a few of the case's samples and compares fixed-point labels with onnxruntime's on
/// the first `limit`.
fn fixed_point_agrees(name: &str, limit: usize, per_cent: usize) {
    let Some(folder) = case(name) else { return };
    let inputs: ndarray::ArrayD<f32> = ndarray_npy::read_npy(folder.join("inputs.npy")).unwrap();
    let calibrate = std::env::temp_dir().join(format!("fusion-{name}-{}.npy", std::process::id()));
    let few = 32.min(inputs.shape()[0] / 2);
    ndarray_npy::write_npy(&calibrate, &inputs.slice_axis(Axis(0), (0..few).into())).unwrap();
    let options = Options {
        calibrate: Some(calibrate.clone()),
        input_shape: Some(inputs.shape().to_vec()),
        verify: Some((Suggestion::default(), Mix { queries: 1024, copies: 5, public: 100 })),
        ..Options::new(folder.join("model.onnx"))
    };
    let compiled = compile(&options).unwrap();
    std::fs::remove_file(&calibrate).unwrap();
    assert!(compiled.summary.agreement.agreeing + 1 >= few, "{:?}", compiled.summary);
    let function = &compiled.plan.function;
    let (inputs, expected) = samples(&folder, &function.values[0].ty.shape, limit);
    let weights = compiled.plan.weights.as_ref().unwrap();
    let evaluated = evaluate(function, weights, &quantise(function, &inputs));
    let room = evaluated.fullest_of_all(function).expect("samples were evaluated");
    assert!(room.fill < 1.0, "{name} overflows: {room:?}");
    let labels = evaluated.labels();
    let agreeing = labels.iter().zip(&expected).filter(|(a, b)| **a == eval::argmax(b) as i64).count();
    assert!(agreeing * 100 >= labels.len() * per_cent, "{name}: {agreeing} of {}", labels.len());
    let bytes = compiled.plan.to_bytes();
    assert_eq!(Plan::from_bytes(&bytes).unwrap(), compiled.plan);
}

#[test]
fn fixed_mnist_cnn() {
    fixed_point_agrees("mnist_cnn_cntk", 400, 99);
}

#[test]
fn fixed_mnist_convsmall() {
    fixed_point_agrees("mnist_convsmall", 400, 99);
}

#[test]
fn fixed_resnet20() {
    fixed_point_agrees("cifar10_resnet20", 60, 97);
}

#[test]
fn fixed_resnet8() {
    fixed_point_agrees("cifar10_mlperf_resnet8", 100, 97);
}

#[test]
fn fixed_squeezenet() {
    fixed_point_agrees("imagenet_squeezenet1.0", 8, 87);
}

#[test]
fn fixed_mobilenetv2() {
    fixed_point_agrees("imagenet_mobilenetv2", 8, 87);
}
