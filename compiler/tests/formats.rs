//! Number formats on inputs that calibration has not seen.

use fusion_compiler::compile::{Built, build, simplify};
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

/// Reproducible numbers in `-1..1`.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn conv(b: &mut Builder, name: &str, x: NodeId, seed: u64) -> NodeId {
    b.node = name.into();
    let weight = Array4::from_shape_vec([4, 4, 3, 3], noise(144, seed)).unwrap();
    let op = Conv { weight, bias: noise(4, seed + 1), strides: [1, 1], pads: [1; 4], dilations: [1, 1], groups: 1 };
    b.push(Op::Conv(op), vec![x], [4, 6, 6])
}

/// Every kind of operation that can leave a ring: linear maps, a skip connection, a clip, a
/// product, a sum pool, private summands.
fn network() -> Graph {
    let mut b = Builder::default();
    let x = b.push(Op::Input, vec![], [4, 6, 6]);
    let first = conv(&mut b, "first", x, 1);
    let first = b.relu(first);
    let second = conv(&mut b, "second", first, 3);
    let sum = b.add(first, second);
    let sum = b.relu(sum);
    b.node = "clip".into();
    let clip = b.pointwise(Expr::binary(Binary::Min, Expr::X, Expr::Const(6.0)), sum);
    b.node = "gate".into();
    let gate = b.pointwise(Expr::unary(Unary::Sigmoid, Expr::X), second);
    let product = b.mul(clip, gate).unwrap();
    b.node = "pool".into();
    let window = Window { kernel: [2, 2], strides: [2, 2], pads: [0; 4] };
    let pooled = b.push(Op::SumPool(window), vec![product], [4, 3, 3]);
    let pooled = b.scale(0.3, pooled);
    let flat = b.reshape(pooled, &[36]);
    b.node = "dense".into();
    // Positive weights of positive data: sums come near their worst case, so that formats for it
    // keep some precision.
    let weight = Array2::from_shape_vec([5, 36], noise(180, 9)).unwrap().mapv(f32::abs);
    let y = b.push(Op::Dense(Dense { weight, bias: noise(5, 10) }), vec![flat], [5]);
    simplify(b.graph.reachable(y))
}

/// How full rings get on inputs that are large everywhere.
fn fill(calibrated_on: Vec<f32>, worst_case: bool) -> f64 {
    let graph = network();
    let calibration = Calibration { samples: vec![calibrated_on], total: 1, real: true, elements: Elements::Real };
    let precision = Precision { worst_case, ..Precision::default() };
    let program = build(&graph, &calibration, &precision, &Settings::default()).unwrap().program;
    let mut samples: Vec<Vec<f32>> = (0..20).map(|seed| noise(144, 100 + seed)).collect();
    samples.iter_mut().flatten().for_each(|x| *x *= 100.0);
    samples.extend([vec![100.0; 144], vec![-100.0; 144]]);
    let evaluated = evaluate(&program.function, &program.weights, &quantise(&program.function, &samples));
    evaluated.fullest_of_all(&program.function).unwrap().fill
}

/// The formats that `graph` gets on `samples`, its warnings, and how many of the samples keep the
/// float label.
fn fixed(graph: &Graph, samples: Vec<Vec<f32>>) -> (Built, usize) {
    let calibration = Calibration { total: samples.len(), samples, real: true, elements: Elements::Real };
    let built = build(graph, &calibration, &Precision::default(), &Settings::default()).unwrap();
    let function = &built.program.function;
    let labels = evaluate(function, &built.program.weights, &quantise(function, &calibration.samples)).labels();
    let float = calibration.samples.iter().map(|sample| eval::argmax(eval::run(graph, sample).last().unwrap()) as i64);
    let agreeing = labels.iter().zip(float).filter(|(a, b)| *a == b).count();
    (built, agreeing)
}

fn images(n: usize, len: usize) -> Vec<Vec<f32>> {
    (0..n).map(|seed| noise(len, 1000 + seed as u64)).collect()
}

/// `[m, n]` weights of noise, each times `size(row, column)`.
fn dense(b: &mut Builder, name: &str, x: NodeId, m: usize, size: impl Fn(usize, usize) -> f32) -> NodeId {
    b.node = name.into();
    let n = b.shape(x)[0];
    let noise = noise(m * n, 50 + b.graph.nodes.len() as u64);
    let weight = Array2::from_shape_fn([m, n], |(i, j)| noise[i * n + j] * size(i, j));
    b.push(Op::Dense(Dense { weight, bias: vec![0.0; m] }), vec![x], [m])
}

#[test]
fn channels_of_different_scales_keep_their_digits() {
    let sizes = [1.0, 1000.0, 1e-3, 1.0, 30.0, 1e-2];
    let mut b = Builder::default();
    let x = b.push(Op::Input, vec![], [8]);
    let h = dense(&mut b, "first", x, 6, |i, _| sizes[i]);
    let h = b.relu(h);
    let y = dense(&mut b, "second", h, 5, |_, j| 1.0 / sizes[j]);
    let graph = b.graph.reachable(y);
    let (built, agreeing) = fixed(&graph, images(200, 8));
    assert!(agreeing >= 196, "{agreeing} of 200");
    assert!(built.warnings.is_empty(), "{:?}", built.warnings);
}

/// Squares of columns in the millions, whose weights are far below what weights elsewhere have.
#[test]
fn weights_beside_large_data_may_be_tiny() {
    for power in [0, 20] {
        let size = 2f32.powi(power);
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [8]);
        let squares = b.mul(x, x).unwrap();
        let y = dense(&mut b, "scores", squares, 5, |_, _| size.powi(-2));
        let mut samples = images(200, 8);
        samples.iter_mut().flatten().for_each(|x| *x *= size);
        let (_, agreeing) = fixed(&b.graph.reachable(y), samples);
        assert!(agreeing >= 196, "2^{power}: {agreeing} of 200");
    }
}

/// A channel that is small behind a curve, which no factor passes, and that the next kernel makes
/// large again.
fn one_huge_row() -> Graph {
    let small = |channel: usize| if channel == 3 { 1.0 / 300.0 } else { 1.0 };
    let mut b = Builder::default();
    let x = b.push(Op::Input, vec![], [8]);
    let h = dense(&mut b, "first", x, 8, |i, _| 2.0 * small(i));
    let h = b.pointwise(Expr::unary(Unary::Tanh, Expr::X), h);
    let image = b.reshape(h, &[8, 1, 1]);
    b.node = "depthwise".into();
    let weight = Array4::from_shape_fn([8, 1, 1, 1], |(channel, ..)| 0.9 / small(channel));
    let (strides, dilations) = ([1, 1], [1, 1]);
    let conv = Conv { weight, bias: vec![0.1; 8], strides, pads: [0; 4], dilations, groups: 8 };
    let h = b.push(Op::Conv(conv), vec![image], [8, 1, 1]);
    let h = b.reshape(h, &[8]);
    let h = b.pointwise(Expr::unary(Unary::Tanh, Expr::X), h);
    let y = dense(&mut b, "last", h, 4, |_, _| 1.0);
    b.graph.reachable(y)
}

#[test]
fn a_channel_that_one_huge_weight_reads_is_multiplied_instead() {
    let (built, agreeing) = fixed(&one_huge_row(), images(200, 8));
    let layer = |name: &str| built.formats.layers.iter().find(|layer| layer.node == name).unwrap();
    assert_eq!(layer("depthwise").weight_bits, layer("first").weight_bits, "{:?}", built.formats.layers);
    let of_depthwise = built.program.function.values.iter().filter(|value| value.node == "depthwise");
    let factors: Vec<_> = of_depthwise.filter(|value| matches!(value.op, fusion_ir::Op::Scale { .. })).collect();
    assert!(matches!(factors.as_slice(), [value] if value.ty.shape == [1, 1, 1]), "{factors:?}");
    assert!(agreeing >= 196, "{agreeing} of 200");
}

#[test]
fn a_kernel_with_one_huge_row_gets_wider_weights_where_few_samples_are_known() {
    let (built, agreeing) = fixed(&one_huge_row(), images(31, 8));
    let bits = |name: &str| built.formats.layers.iter().find(|layer| layer.node == name).map(|layer| layer.weight_bits);
    assert!(bits("depthwise") > bits("first"), "{:?}", built.formats.layers);
    assert!(agreeing >= 30, "{agreeing} of 31");
}

/// A residual stream of 16 channels, one of which is `size` times the others; what reads it takes
/// that back if `back`.
fn spiked(size: f32, back: bool) -> Graph {
    let spike = move |channel: usize| if channel == 5 { size } else { 1.0 };
    let read = move |channel: usize| if back { 1.0 / spike(channel) } else { 1.0 };
    let mut b = Builder::default();
    let x = b.push(Op::Input, vec![], [8]);
    let mut stream = dense(&mut b, "stem", x, 16, |row, _| spike(row));
    for block in ["one", "two", "three"] {
        let h = dense(&mut b, &format!("{block}.in"), stream, 24, |_, column| read(column));
        let h = b.relu(h);
        let h = dense(&mut b, &format!("{block}.out"), h, 16, |row, _| 0.3 * spike(row));
        stream = b.add(stream, h);
    }
    let y = dense(&mut b, "last", stream, 5, |_, column| read(column));
    b.graph.reachable(y)
}

#[test]
fn one_channel_far_above_the_others_in_a_residual_stream_hides_none_of_them() {
    for (size, back) in [(1.0, true), (500.0, true), (500.0, false)] {
        let (_, agreeing) = fixed(&spiked(size, back), images(400, 8));
        assert!(agreeing >= 398, "{size} {back}: {agreeing} of 400");
    }
}

#[test]
fn a_layer_of_zeros_is_its_bias() {
    let mut b = Builder::default();
    let x = b.push(Op::Input, vec![], [4]);
    let zeros = Dense { weight: Array2::zeros([3, 4]), bias: vec![0.5, 2.0, -1.0] };
    let h = b.push(Op::Dense(zeros), vec![x], [3]);
    let h = b.relu(h);
    let y = dense(&mut b, "last", h, 3, |_, _| 1.0);
    let (_, agreeing) = fixed(&b.graph.reachable(y), images(20, 4));
    assert_eq!(agreeing, 20);
}

#[test]
fn one_blank_sample_sets_no_format_and_is_named() {
    // Each sample over its first element's size, which on one sample is next to nothing.
    let mut b = Builder::default();
    let x = b.push(Op::Input, vec![], [5]);
    b.node = "size".into();
    let size = b.slice(x, &[0], &[1]);
    let size = b.pointwise(Expr::unary(Unary::Abs, Expr::X), size);
    b.node = "inverse".into();
    let inverse = b.reciprocal(size);
    let rest = b.slice(x, &[1], &[4]);
    b.node = "scaled".into();
    let scaled = b.mul(rest, inverse).unwrap();
    let y = dense(&mut b, "last", scaled, 3, |_, _| 1.0);
    let graph = b.graph.reachable(y);
    let mut samples = images(60, 5);
    samples.iter_mut().for_each(|sample| sample[0] = 0.5 + 0.4 * sample[0]);
    samples[41][0] = 1e-6;
    let (built, agreeing) = fixed(&graph, samples);
    assert!(agreeing >= 58, "{agreeing} of 60");
    let [warning] = &built.warnings[..] else { panic!("{:?}", built.warnings) };
    assert!(warning.contains("sample 41") && warning.contains("\"inverse\""), "{warning}");
}

#[test]
fn nothing_wraps_in_formats_for_the_worst_case() {
    let fill = fill(noise(144, 77), true);
    assert!(fill < 1.0, "{fill}");
}

#[test]
fn functions_that_saturate_do_not_wrap_at_their_limit() {
    let one = |op| Expr::unary(op, Expr::X);
    let selu = || Expr::select(Expr::binary(Binary::Less, Expr::X, Expr::Const(0.0)), one(Unary::Tanh), Expr::X);
    let functions = [one(Unary::Sigmoid), one(Unary::Tanh), Expr::unary(Unary::Erf, selu())];
    for (function, scale) in functions.iter().flat_map(|f| (0..24).map(move |i| (f, 1.3f32.powi(i)))) {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [5]);
        b.node = "limited".into();
        let y = b.pointwise(function.clone(), x);
        let weight = Array2::from_shape_vec([4, 5], noise(20, 3)).unwrap();
        let y = b.push(Op::Dense(Dense { weight, bias: noise(4, 4) }), vec![y], [4]);
        let samples: Vec<Vec<f32>> = (0..32).map(|seed| noise(5, 50 + seed)).collect();
        let samples: Vec<Vec<f32>> = samples.into_iter().map(|s| s.into_iter().map(|x| x * scale).collect()).collect();
        let calibration = Calibration { total: 32, real: true, elements: Elements::Real, samples };
        let graph = simplify(b.graph.reachable(y));
        let built = build(&graph, &calibration, &Precision::default(), &Settings::default());
        let Ok(program) = built.map(|built| built.program) else { continue };
        let evaluated =
            evaluate(&program.function, &program.weights, &quantise(&program.function, &calibration.samples));
        let fullest = evaluated.fullest_of_all(&program.function).unwrap();
        assert!(fullest.fill < 1.0, "{function} of numbers up to {scale}: {fullest:?}");
    }
}

#[test]
fn formats_for_the_worst_case_that_keep_no_precision_are_refused() {
    let mut b = Builder::default();
    let mut x = b.push(Op::Input, vec![], [4, 6, 6]);
    for (seed, name) in ["one", "two", "three", "four", "five", "six"].into_iter().enumerate() {
        let y = conv(&mut b, name, x, seed as u64);
        x = b.relu(y);
    }
    let y = b.reshape(x, &[144]);
    let graph = simplify(b.graph.reachable(y));
    let calibration = Calibration { samples: vec![noise(144, 7)], total: 1, real: true, elements: Elements::Real };
    let build = |worst_case| {
        let precision = Precision { worst_case, ..Precision::default() };
        build(&graph, &calibration, &precision, &Settings::default())
    };
    assert!(build(false).is_ok());
    let refused = build(true).unwrap_err().to_string();
    assert!(refused.contains("worst case"), "{refused}");
}

#[test]
fn calibrated_formats_can_be_exceeded_and_it_shows() {
    let mut point = vec![0.0; 144];
    point[50] = 1.0;
    let fill = fill(point, false);
    assert!(fill >= 1.0, "{fill}");
}

/// Products of a matrix and its transpose, without a batch.
fn gram(rows: usize, inner: usize) -> Graph {
    let mut b = Builder::default();
    let x = b.push(Op::Input, vec![], [1, rows, inner]);
    b.node = "gram".into();
    let turned = b.transpose(x, &[0, 2, 1]);
    let y = b.mat_mul(x, turned);
    let y = b.reshape(y, &[rows * rows]);
    simplify(b.graph.reachable(y))
}

/// Where ciphertexts carry a product, its factors lose the bits that they have no room for; few
/// products and those of fine formats keep them; and what neither carries is refused.
#[test]
fn rings_of_products_are_those_that_their_protocols_carry() {
    let fine = Precision { activation_bits: 22, input_bits: 20, fine: true, ..Precision::default() };
    for (rows, precision, is_cut) in
        [(8, Precision::default(), true), (1, Precision::default(), false), (4, fine, false)]
    {
        let (graph, inner, sample) = (gram(rows, 2048), 2048, noise(rows * 2048, 5));
        let calibration = Calibration { samples: vec![sample.clone()], total: 1, real: true, elements: Elements::Real };
        let built = build(&graph, &calibration, &precision, &Settings::default()).unwrap();
        let program = built.program;
        let values = &program.function.values;
        let at = values.iter().position(|value| value.op == fusion_ir::Op::MatMul).unwrap();
        // What is said of it is what was done.
        let [format] = &built.formats.products[..] else { panic!("{:?}", built.formats) };
        assert_eq!((format.node.as_str(), format.ring_bits), ("gram", values[at].ty.bits));
        let factors = [0, 1].map(|factor| &values[values[at].operands[factor].index()].ty);
        assert_eq!(factors.map(|ty| ty.magnitude), format.factor_bits);
        let input = values[0].ty.frac;
        assert_eq!(factors.map(|ty| (input - ty.frac) as u8), format.lost_bits, "{format:?}");
        assert_eq!(is_cut, format.lost_bits != [0, 0], "{format:?}");
        let requantised = values[..at].iter().any(|value| matches!(value.op, fusion_ir::Op::Requant { .. }));
        assert_eq!((values[at].ty.bits <= 33, requantised), (is_cut, is_cut), "{rows} rows: {}", values[at].ty);
        let input = &quantise(&program.function, std::slice::from_ref(&sample))[0];
        let found = &fusion_ir::interp::run(&program.function, &program.weights, input)[at];
        for (i, j) in (0..rows).flat_map(|i| (0..rows).map(move |j| (i, j))) {
            let row = |i: usize| sample[i * inner..][..inner].iter().map(|x| f64::from(*x));
            let expected: f64 = row(i).zip(row(j)).map(|(a, b)| a * b).sum();
            let found = values[at].ty.dequantize(found[i * rows + j]);
            assert!((found - expected).abs() < 0.5, "{rows} rows: {found} instead of {expected}");
        }
    }
    let calibration =
        Calibration { samples: vec![noise(24 * 8192, 6)], total: 1, real: true, elements: Elements::Real };
    let worst = Precision { worst_case: true, ..Precision::default() };
    let refused = build(&gram(24, 8192), &calibration, &worst, &Settings::default()).unwrap_err().to_string();
    assert!(
        refused.contains("are more than the 4194304 that are done one by one") && refused.contains("gram"),
        "{refused}"
    );
    assert!(refused.contains("ciphertexts do not carry them"), "{refused}");
}
