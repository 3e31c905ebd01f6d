//! Networks of gates in fixed point: SiLU, squeeze-and-excite and hard swish keep the labels of
//! float, and each layer its precision.

use fusion_compiler::compile::{Built, build, simplify};
use fusion_compiler::diagnose;
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::nn::build::Builder;
use fusion_compiler::nn::eval;
use fusion_compiler::nn::expr::{Binary, Expr, Unary};
use fusion_compiler::nn::{Conv, Dense, Elements, Graph, NodeId, Op};
use fusion_compiler::passes::Settings;
use fusion_compiler::quantise::Precision;
use fusion_compiler::quantise::calibrate::Calibration;
use fusion_ir::op::Window;
use ndarray::{Array2, Array4};

const SIDE: usize = 8;
const CALIBRATED: usize = 32;
const TESTED: u64 = 200;

/// Reproducible numbers of mean 0 and about unit variance.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| 1.7 * next()).collect()
}

fn conv(b: &mut Builder, name: &str, x: NodeId, out: usize, kernel: usize, groups: usize) -> NodeId {
    b.node = name.into();
    let (seed, shape) = (b.graph.nodes.len() as u64, b.shape(x).to_vec());
    let fan_in = shape[0] / groups * kernel * kernel;
    let weight = noise(out * fan_in, seed).into_iter().enumerate();
    // Rows of different sizes, as batch normalisation leaves them.
    let row = |at: usize| [1.0, 0.4, 2.0, 0.8, 1.3][at / fan_in % 5] / (fan_in as f32).sqrt();
    let weight: Vec<f32> = weight.map(|(at, w)| w * row(at)).collect();
    let weight = Array4::from_shape_vec([out, shape[0] / groups, kernel, kernel], weight).unwrap();
    let bias = noise(out, seed + 1000).iter().map(|b| 0.4 * b).collect();
    let (strides, pads, dilations) = ([1, 1], [kernel / 2; 4], [1, 1]);
    let op = Conv { weight, bias, strides, pads, dilations, groups };
    b.push(Op::Conv(op), vec![x], [out, shape[1], shape[2]])
}

fn dense(b: &mut Builder, name: &str, x: NodeId, m: usize) -> NodeId {
    b.node = name.into();
    let (seed, n) = (b.graph.nodes.len() as u64, b.shape(x)[0]);
    let weight = noise(m * n, seed).iter().map(|w| 2.0 * w / (n as f32).sqrt()).collect();
    let weight = Array2::from_shape_vec([m, n], weight).unwrap();
    b.push(Op::Dense(Dense { weight, bias: noise(m, seed + 1000) }), vec![x], [m])
}

fn sigmoid() -> Expr {
    Expr::unary(Unary::Sigmoid, Expr::X)
}

fn silu() -> Expr {
    Expr::binary(Binary::Mul, Expr::X, sigmoid())
}

/// `clip(x + 3, 0, 6) / 6`
fn hard_sigmoid() -> Expr {
    let shifted = Expr::binary(Binary::Add, Expr::X, Expr::Const(3.0));
    let clipped = Expr::binary(Binary::Min, Expr::binary(Binary::Max, shifted, Expr::Const(0.0)), Expr::Const(6.0));
    Expr::binary(Binary::Div, clipped, Expr::Const(6.0))
}

fn hard_swish() -> Expr {
    Expr::binary(Binary::Mul, Expr::X, hard_sigmoid())
}

fn activation(b: &mut Builder, name: &str, f: Expr, x: NodeId) -> NodeId {
    b.node = name.into();
    b.pointwise(f, x)
}

fn mean(b: &mut Builder, name: &str, x: NodeId) -> NodeId {
    b.node = name.into();
    let channels = b.shape(x)[0];
    let window = Window { kernel: [SIDE; 2], strides: [1, 1], pads: [0; 4] };
    let sum = b.push(Op::SumPool(window), vec![x], [channels, 1, 1]);
    let mean = b.scale(1.0 / (SIDE * SIDE) as f32, sum);
    b.reshape(mean, &[channels])
}

/// `x` with each channel times a gate made of all channels' means.
fn squeeze_and_excite(b: &mut Builder, x: NodeId, inner: Expr, gate: Expr) -> NodeId {
    let channels = b.shape(x)[0];
    let squeezed = mean(b, "squeeze", x);
    let hidden = dense(b, "reduce", squeezed, channels / 4);
    let hidden = activation(b, "inner", inner, hidden);
    let raised = dense(b, "raise", hidden, channels);
    let gate = activation(b, "gate", gate, raised);
    b.node = "excite".into();
    let gate = b.reshape(gate, &[channels, 1, 1]);
    b.mul(x, gate).unwrap()
}

/// A stem, `body`, and a head of ten classes.
fn network(body: impl Fn(&mut Builder, NodeId) -> NodeId) -> Graph {
    let mut b = Builder::default();
    let x = b.push(Op::Input, vec![], [3, SIDE, SIDE]);
    let stem = conv(&mut b, "stem", x, 8, 3, 1);
    let y = body(&mut b, stem);
    let y = mean(&mut b, "mean", y);
    let y = dense(&mut b, "head", y, 10);
    simplify(b.graph.reachable(y))
}

/// One of ten pictures, with noise.
fn image(seed: u64) -> Vec<f32> {
    let len = 3 * SIDE * SIDE;
    let picture = noise(len, 7000 + seed % 10);
    picture.iter().zip(noise(len, 9000 + seed)).map(|(a, b)| a + 0.4 * b).collect()
}

/// The network in fixed point, and how many samples that it was not calibrated on keep the float
/// label.
fn agreeing(graph: &Graph) -> (Built, usize) {
    let samples: Vec<Vec<f32>> = (0..CALIBRATED as u64).map(image).collect();
    let calibration = Calibration { samples, total: CALIBRATED, real: true, elements: Elements::Real };
    let built = build(graph, &calibration, &Precision::default(), &Settings::default()).unwrap();
    let function = &built.program.function;
    let fresh: Vec<Vec<f32>> = (1000..1000 + TESTED).map(image).collect();
    let labels = evaluate(function, &built.program.weights, &quantise(function, &fresh)).labels();
    let float = fresh.iter().map(|sample| eval::argmax(eval::run(graph, sample).last().unwrap()) as i64);
    let same = labels.iter().zip(float).filter(|(a, b)| *a == b).count();
    (built, same)
}

/// Each layer's own rounding noise, in decibels below its values.
fn own_noise(built: &Built) -> Vec<(String, f64)> {
    let function = &built.program.function;
    let samples: Vec<Vec<f32>> = (2000..2004).map(image).collect();
    let fixed = quantise(function, &samples);
    let pairs: Vec<(&[f32], &[i64])> = samples.iter().map(Vec::as_slice).zip(fixed.iter().map(Vec::as_slice)).collect();
    let layers = diagnose::layers(&built.graph, function, &built.program.weights, &pairs);
    layers.into_iter().map(|layer| (layer.node, layer.own_decibels)).collect()
}

fn assert_precise(built: &Built, least: f64) {
    for (node, decibels) in own_noise(built) {
        assert!(decibels >= least, "{node}: {decibels:.1} dB");
    }
}

#[test]
fn a_block_of_efficientnet_keeps_float_labels() {
    let graph = network(|b, x| {
        let wide = conv(b, "expand", x, 32, 1, 1);
        let wide = activation(b, "silu", silu(), wide);
        let deep = conv(b, "depthwise", wide, 32, 3, 32);
        let deep = activation(b, "deep_silu", silu(), deep);
        let gated = squeeze_and_excite(b, deep, silu(), sigmoid());
        let narrow = conv(b, "project", gated, 8, 1, 1);
        b.node = "residual".into();
        b.add(x, narrow)
    });
    let (built, same) = agreeing(&graph);
    assert_eq!(same, TESTED as usize);
    assert_precise(&built, 46.0);
    // Both activations are a ReLU and a table of |x|.
    let relus = built.program.function.values.iter().filter(|value| value.op.name() == "relu");
    assert_eq!(relus.map(|value| value.node.as_str()).collect::<Vec<_>>(), ["silu", "deep_silu", "inner"]);
}

#[test]
fn squeeze_and_excite_with_hard_gates_keeps_float_labels() {
    let graph = network(|b, x| {
        let wide = conv(b, "expand", x, 24, 1, 1);
        let wide = b.relu(wide);
        let gated = squeeze_and_excite(b, wide, Expr::binary(Binary::Max, Expr::X, Expr::Const(0.0)), hard_sigmoid());
        conv(b, "project", gated, 8, 1, 1)
    });
    let (built, same) = agreeing(&graph);
    assert_eq!(same, TESTED as usize);
    assert_precise(&built, 46.0);
}

#[test]
fn hard_swish_is_a_product_and_keeps_float_labels() {
    let graph = network(|b, x| {
        let x = activation(b, "first", hard_swish(), x);
        let deep = conv(b, "depthwise", x, 8, 3, 8);
        let deep = activation(b, "second", hard_swish(), deep);
        let wide = conv(b, "expand", deep, 24, 1, 1);
        activation(b, "third", hard_swish(), wide)
    });
    let (built, same) = agreeing(&graph);
    assert_eq!(same, TESTED as usize);
    assert_precise(&built, 46.0);
    let products = built.program.function.values.iter().filter(|value| value.op == fusion_ir::Op::Mul);
    assert_eq!(products.count(), 3);
}

/// A kernel with a row far larger than the others, since its channel is small, behind an activation
/// that lets no scale pass.
#[test]
fn rows_that_a_large_one_dwarfs_keep_their_digits() {
    let graph = network(|b, x| {
        let wide = conv(b, "expand", x, 8, 1, 1);
        let x = activation(b, "silu", silu(), wide);
        let deep = conv(b, "depthwise", x, 8, 3, 8);
        for (node, factor) in [(wide, 1.0 / 32.0), (deep, 32.0)] {
            let Op::Conv(conv) = &mut b.graph.nodes[node.0].op else { unreachable!() };
            conv.weight.slice_mut(ndarray::s![0, .., .., ..]).mapv_inplace(|w| factor * w);
            conv.bias[0] = 0.0;
        }
        let deep = activation(b, "deep_silu", silu(), deep);
        conv(b, "project", deep, 8, 1, 1)
    });
    let (built, same) = agreeing(&graph);
    let bits = |name: &str| built.formats.layers.iter().find(|layer| layer.node == name).unwrap().weight_bits;
    // The small channel is multiplied instead of the large row widening all weights.
    assert_eq!((bits("project"), bits("depthwise")), (12, 12));
    assert_eq!(same, TESTED as usize);
}
