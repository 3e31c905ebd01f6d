//! Number formats on inputs that calibration has not seen.

use fusion_compiler::compile::{build, simplify};
use fusion_compiler::evaluate::{evaluate, quantise};
use fusion_compiler::nn::build::Builder;
use fusion_compiler::nn::expr::{Binary, Expr, Unary};
use fusion_compiler::nn::{Conv, Dense, Graph, NodeId, Op};
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

/// Every kind of operation that can leave a ring: linear maps, a skip connection, a clip, a product, a sum pool, private summands.
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
    // Positive weights of positive data: sums come near their worst case, so that formats for it keep some precision.
    let weight = Array2::from_shape_vec([5, 36], noise(180, 9)).unwrap().mapv(f32::abs);
    let y = b.push(Op::Dense(Dense { weight, bias: noise(5, 10) }), vec![flat], [5]);
    simplify(b.graph.reachable(y))
}

/// How full rings get on inputs that are large everywhere.
fn fill(calibrated_on: Vec<f32>, worst_case: bool) -> f64 {
    let graph = network();
    let calibration = Calibration { samples: vec![calibrated_on], total: 1, real: true };
    let precision = Precision { worst_case, ..Precision::default() };
    let program = build(&graph, &calibration, &precision, &Settings::default()).unwrap().program;
    let mut samples: Vec<Vec<f32>> = (0..20).map(|seed| noise(144, 100 + seed)).collect();
    samples.iter_mut().flatten().for_each(|x| *x *= 100.0);
    samples.extend([vec![100.0; 144], vec![-100.0; 144]]);
    let evaluated = evaluate(&program.function, &program.weights, &quantise(&program.function, &samples));
    evaluated.fullest_of_all(&program.function).unwrap().fill
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
        let calibration = Calibration { total: 32, real: true, samples };
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
    let calibration = Calibration { samples: vec![noise(144, 7)], total: 1, real: true };
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
