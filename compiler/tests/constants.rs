//! Constants before, behind and between layers with weights, which folding may move: results are
//! those that a few lines of arithmetic give.

mod support;

use fusion_compiler::compile::{Options, compile};
use fusion_compiler::evaluate::quantise;
use fusion_compiler::import;
use fusion_compiler::nn::{eval, fold};
use fusion_ir::interp;
use fusion_ir::op::Reveal;
use support::{float, int, model, node, numbers, tensor};

/// Largest error of fixed point.
const FIXED: f32 = 0.03;
const SAMPLES: usize = 8;

/// The network as imported, folded and in fixed point gives what the formula does.
fn gives(name: &str, bytes: &[u8], formula: impl Fn(&[f32]) -> Vec<f32>) {
    let folder = std::env::temp_dir().join(format!("fusion-constants-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [file, calibrate] = ["model.onnx", "x.npy"].map(|file| folder.join(file));
    std::fs::write(&file, bytes).unwrap();
    let graph = import::read(&file, None).unwrap_or_else(|e| panic!("{name}: {e}"));
    let len: usize = graph.input_shape().iter().product();
    let samples: Vec<Vec<f32>> = (0..SAMPLES).map(|seed| numbers(len + seed)[seed..].to_vec()).collect();
    let shape = [&[SAMPLES], graph.input_shape()].concat();
    ndarray_npy::write_npy(&calibrate, &ndarray::ArrayD::from_shape_vec(shape, samples.concat()).unwrap()).unwrap();
    let options = Options { reveal: Reveal::Logits, calibrate: Some(calibrate), ..Options::new(file) };
    let plan = compile(&options).unwrap_or_else(|e| panic!("{name}: {e}")).plan;
    std::fs::remove_dir_all(&folder).unwrap();
    let scores = &plan.function.values.iter().rev().nth(1).unwrap().ty;
    for sample in samples {
        let right = formula(&sample);
        let near = |found: Vec<f32>, error: f32, which: &str| {
            assert_eq!(found.len(), right.len(), "{name}, {which}");
            let all = found.iter().zip(&right).all(|(found, right)| (found - right).abs() <= error);
            assert!(all, "{name}, {which}: {found:?} instead of {right:?}");
        };
        near(eval::run(&graph, &sample).pop().unwrap(), 1e-4, "as imported");
        near(eval::run(&fold::fold(graph.clone()), &sample).pop().unwrap(), 1e-4, "folded");
        let input = quantise(&plan.function, &[sample]).swap_remove(0);
        let found = interp::output(&plan.function, plan.weights.as_ref().unwrap(), &input);
        near(found.into_iter().map(|x| scores.dequantize(x) as f32).collect(), FIXED, "in fixed point");
    }
}

fn flat(from: &str) -> Vec<u8> {
    node("Flatten", "flat", &[from], "y", &[int("axis", 1)])
}

#[test]
fn a_constant_minus_a_product_with_weights() {
    let constants = [tensor("w", &[3, 2], &[0.5, -1.0, 1.5, 0.25, -0.5, 2.0]), tensor("b", &[2], &[1.0, -2.0])];
    let nodes = [node("MatMul", "product", &["x", "w"], "p", &[]), node("Sub", "minus", &["b", "p"], "y", &[])];
    gives("minus", &model(&[3], &nodes, &constants), |x| {
        vec![1.0 - (0.5 * x[0] + 1.5 * x[1] - 0.5 * x[2]), -2.0 - (-x[0] + 0.25 * x[1] + 2.0 * x[2])]
    });
}

/// The row belongs to the columns of the product, as many as its rows here.
#[test]
fn a_row_behind_weights_on_the_left() {
    let constants = [tensor("w", &[2, 2], &[0.5, -1.0, 1.5, 0.25]), tensor("b", &[2], &[1.0, -2.0])];
    let nodes =
        [node("MatMul", "product", &["w", "x"], "p", &[]), node("Add", "plus", &["p", "b"], "s", &[]), flat("s")];
    gives("left", &model(&[2, 2], &nodes, &constants), |x| {
        vec![
            0.5 * x[0] - x[2] + 1.0,
            0.5 * x[1] - x[3] - 2.0,
            1.5 * x[0] + 0.25 * x[2] + 1.0,
            1.5 * x[1] + 0.25 * x[3] - 2.0,
        ]
    });
}

/// One number, and one for each channel. Both channels are positive, as one range holds them.
#[test]
fn constants_divided_by_a_convolution() {
    for (name, shape, c) in [("one", &[][..], [16.0, 16.0]), ("each", &[2, 1, 1][..], [16.0, -9.0])] {
        let count = if shape.is_empty() { 1 } else { 2 };
        let constants = [
            tensor("w", &[2, 1, 1, 1], &[0.25, -0.125]),
            tensor("b", &[2], &[9.0, 6.0]),
            tensor("c", shape, &c[..count]),
        ];
        let conv = node("Conv", "conv", &["x", "w", "b"], "p", &[]);
        let nodes = [conv, node("Div", "over", &["c", "p"], "q", &[]), flat("q")];
        gives(name, &model(&[1, 2, 2], &nodes, &constants), |x| {
            let first = x.iter().map(|x| c[0] / (0.25 * x + 9.0));
            first.chain(x.iter().map(|x| c[1] / (-0.125 * x + 6.0))).collect()
        });
    }
}

/// The same initializer behind two convolutions, and beside them.
#[test]
fn one_constant_that_several_subtract() {
    let constants = [
        tensor("v", &[2, 2, 1, 1], &[0.5, 0.0, 0.0, -1.0]),
        tensor("w", &[2, 2, 1, 1], &[0.0, 1.0, 1.5, 0.0]),
        tensor("c", &[2, 1, 1], &[0.75, -0.5]),
    ];
    let branch = |from: &str, name: &str| {
        let less = format!("{name}.less");
        [node("Sub", &less, &[from, "c"], &less, &[]), node("Relu", name, &[&less], name, &[])]
    };
    let mut nodes = vec![node("Conv", "p", &["x", "v"], "p", &[]), node("Conv", "q", &["x", "w"], "q", &[])];
    nodes.extend([("p", "r"), ("q", "s"), ("x", "t")].into_iter().flat_map(|(from, name)| branch(from, name)));
    nodes.extend([node("Concat", "all", &["r", "s", "t"], "u", &[int("axis", 1)]), flat("u")]);
    gives("several", &model(&[2, 1, 2], &nodes, &constants), |x| {
        let less = |x: f32, c: f32| (x - c).max(0.0);
        let pair = |part: &[f32], factor: f32, c: f32| part.iter().map(|x| less(factor * x, c)).collect::<Vec<f32>>();
        let (first, second) = x.split_at(2);
        [
            pair(first, 0.5, 0.75),
            pair(second, -1.0, -0.5),
            pair(second, 1.0, 0.75),
            pair(first, 1.5, -0.5),
            pair(first, 1.0, 0.75),
            pair(second, 1.0, -0.5),
        ]
        .concat()
    });
}

#[test]
fn a_normalisation_behind_a_transposed_convolution_in_groups() {
    let w = [0.5, -1.0, 1.5, 0.25, -0.5, 1.0, 0.75, -0.25];
    let (scale, shift) = ([1.0, 2.0, -0.5, 1.5], [0.25, -0.5, 1.0, 0.0]);
    let (mean, variance) = ([0.5, -0.25, 0.0, 0.125], [1.0, 4.0, 0.25, 1.0]);
    let vector = |name: &str, of: &[f32]| tensor(name, &[4], of);
    let constants = [
        tensor("w", &[4, 2, 1, 1], &w),
        vector("s", &scale),
        vector("b", &shift),
        vector("m", &mean),
        vector("v", &variance),
    ];
    let nodes = [
        node("ConvTranspose", "conv", &["x", "w"], "p", &[int("group", 2)]),
        node("BatchNormalization", "norm", &["p", "s", "b", "m", "v"], "n", &[float("epsilon", 1e-6)]),
        flat("n"),
    ];
    gives("groups", &model(&[4, 1, 2], &nodes, &constants), |x| {
        let element = |channel: usize, at: usize| {
            let (group, own) = (channel / 2, channel % 2);
            let product: f32 = (2 * group..2 * group + 2).map(|from| x[2 * from + at] * w[2 * from + own]).sum();
            (product - mean[channel]) / variance[channel].sqrt() * scale[channel] + shift[channel]
        };
        (0..8).map(|at| element(at / 2, at % 2)).collect()
    });
}

/// A causal mask as exporters write it: minus infinity above the diagonal, zero elsewhere.
#[test]
fn a_triangle_of_minus_infinities() {
    let constants = [tensor("full", &[3, 3], &[f32::NEG_INFINITY; 9]), support::integers("k", &[1])];
    let scalar = node("Squeeze", "scalar", &["k"], "one", &[]);
    let nodes = [
        scalar,
        node("Trilu", "above", &["full", "one"], "mask", &[int("upper", 1)]),
        node("Add", "masked", &["x", "mask"], "s", &[]),
        node("Softmax", "softmax", &["s"], "a", &[int("axis", u64::MAX)]),
        node("MatMul", "attend", &["a", "x"], "o", &[]),
        flat("o"),
    ];
    let bytes = support::model_of(&[("x", &[3, 3])], &["y"], 14, &nodes, &constants);
    gives("triangle", &bytes, |x| {
        let row = |at: usize| {
            let powers: Vec<f32> = x[3 * at..=4 * at].iter().map(|x| x.exp()).collect();
            let total: f32 = powers.iter().sum();
            (0..3).map(move |column| powers.iter().enumerate().map(|(j, p)| p / total * x[3 * j + column]).sum())
        };
        (0..3).flat_map(|at| row(at).collect::<Vec<f32>>()).collect()
    });
}

/// One for each channel, added behind the Relu: sums may be negative.
#[test]
fn a_constant_behind_the_relu_of_a_convolution() {
    let constants = [tensor("w", &[2, 1, 1, 1], &[0.5, -1.0]), tensor("k", &[2, 1, 1], &[-2.0, 1.5])];
    let nodes = [
        node("Conv", "conv", &["x", "w"], "p", &[]),
        node("Relu", "relu", &["p"], "r", &[]),
        node("Add", "plus", &["r", "k"], "s", &[]),
        flat("s"),
    ];
    gives("behind", &model(&[1, 2, 2], &nodes, &constants), |x| {
        let first = x.iter().map(|x| (0.5 * x).max(0.0) - 2.0);
        first.chain(x.iter().map(|x| (-x).max(0.0) + 1.5)).collect()
    });
}

/// Only with the constant 1 is it a softplus.
#[test]
fn the_logarithm_of_an_exponential_plus_a_constant() {
    for (name, c) in [("log-half", 0.5f32), ("log-one", 1.0), ("log-two", 2.0)] {
        let nodes = [
            node("Exp", "exp", &["x"], "e", &[]),
            node("Add", "plus", &["e", "c"], "s", &[]),
            node("Log", "log", &["s"], "y", &[]),
        ];
        let right = |x: &[f32]| x.iter().map(|x| (x.exp() + c).ln()).collect();
        gives(name, &model(&[4], &nodes, &[tensor("c", &[], &[c])]), right);
    }
}

/// Gates of channels: the image times a hard sigmoid of its mean.
#[test]
fn an_image_times_the_hard_sigmoid_of_another_value() {
    let nodes = [
        node("GlobalAveragePool", "mean", &["x"], "m", &[]),
        node("Conv", "conv", &["m", "w"], "z", &[]),
        node("HardSigmoid", "gate", &["z"], "g", &[float("alpha", 1.0 / 6.0), float("beta", 0.5)]),
        node("Mul", "times", &["x", "g"], "s", &[]),
        flat("s"),
    ];
    let w = tensor("w", &[2, 2, 1, 1], &[1.0, -2.0, 0.5, 3.0]);
    gives("gates", &model(&[2, 1, 2], &nodes, &[w]), |x| {
        let means = [(x[0] + x[1]) / 2.0, (x[2] + x[3]) / 2.0];
        let gate = |z: f32| (z / 6.0 + 0.5).clamp(0.0, 1.0);
        let gates = [gate(means[0] - 2.0 * means[1]), gate(0.5 * means[0] + 3.0 * means[1])];
        x.iter().enumerate().map(|(at, x)| x * gates[at / 2]).collect()
    });
}
