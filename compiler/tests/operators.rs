//! Small ONNX models, operator by operator: import, fold, lower and all passes must keep the float
//! network's answer.

mod support;

use std::path::PathBuf;

use fusion_compiler::compile::{Options, compile};
use fusion_compiler::evaluate::quantise;
use fusion_compiler::nn::{eval, fold};
use fusion_compiler::{Error, import};
use fusion_ir::interp;
use fusion_ir::op::Reveal;
use support::{float, int, integers, ints, model, model_of, node, numbers, tensor};

/// A file that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Scratch {
        let path = std::env::temp_dir().join(format!("fusion-operators-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// Compiles and compares the fixed-point logits with the float ones of the unfolded network, within
/// `tolerance`.
fn compiles(name: &str, bytes: &[u8], tolerance: f64) -> Vec<&'static str> {
    let file = Scratch::new(name, bytes);
    let graph = import::read(&file.0, None).unwrap_or_else(|e| panic!("{name}: {e}"));
    let options = Options { reveal: Reveal::Logits, ..Options::new(file.0.clone()) };
    let plan = compile(&options).unwrap_or_else(|e| panic!("{name}: {e}")).plan;
    let logits = plan.function.values.iter().rev().nth(1).unwrap();
    let weights = plan.weights.as_ref().unwrap();
    let len: usize = graph.input_shape().iter().product();
    for seed in 0..4 {
        let sample: Vec<f32> = numbers(len + seed)[seed..].to_vec();
        let expected = eval::run(&graph, &sample).pop().unwrap();
        let folded = eval::run(&fold::fold(graph.clone()), &sample).pop().unwrap();
        let found = interp::output(&plan.function, weights, &quantise(&plan.function, &[sample])[0]);
        assert_eq!((found.len(), folded.len()), (expected.len(), expected.len()), "{name}");
        for ((element, expected), folded) in found.iter().zip(&expected).zip(&folded) {
            let found = logits.ty.dequantize(*element);
            assert!((found - f64::from(*expected)).abs() < tolerance, "{name}: {found} instead of {expected}");
            assert!((folded - expected).abs() < 1e-4, "{name}: {folded} instead of {expected} after folding");
        }
    }
    plan.function.values.iter().map(|value| value.op.name()).collect()
}

fn flat(from: &str) -> Vec<u8> {
    node("Flatten", "flat", &[from], "y", &[int("axis", 1)])
}

#[test]
fn convolutions_of_all_geometries() {
    let w = || tensor("w", &[4, 1, 3, 3], &numbers(36));
    let b = || tensor("b", &[4], &[0.5, -0.5, 0.25, 1.0]);
    for (name, attributes) in [
        ("plain", vec![int("group", 4)]),
        ("asymmetric", vec![int("group", 4), ints("pads", &[0, 1, 2, 0]), ints("strides", &[2, 1])]),
        ("dilated", vec![int("group", 4), ints("dilations", &[2, 1]), ints("pads", &[1, 1, 1, 1])]),
        ("wide pads", vec![int("group", 4), ints("pads", &[3, 3, 3, 3])]),
    ] {
        let conv = node("Conv", name, &["x", "w", "b"], "c", &attributes);
        compiles(name, &model(&[4, 6, 5], &[conv, flat("c")], &[w(), b()]), 0.02);
    }
}

#[test]
fn batch_norm_folds_on_either_side() {
    let w = tensor("w", &[2, 2, 3, 3], &numbers(36));
    let norm = |x: &str, y: &str| node("BatchNormalization", y, &[x, "s", "b", "m", "v"], y, &[float("epsilon", 1e-3)]);
    let pads = [ints("pads", &[1, 1, 1, 1])];
    let nodes = [
        norm("x", "n1"),
        node("Conv", "c", &["n1", "w"], "c", &pads),
        norm("c", "n2"),
        node("Relu", "r", &["n2"], "r", &[]),
        flat("r"),
    ];
    let vector = |name: &str, values: [f32; 2]| tensor(name, &[2], &values);
    let parameters =
        [w, vector("s", [0.5, 2.0]), vector("b", [0.25, -1.0]), vector("m", [0.1, -0.2]), vector("v", [4.0, 0.5])];
    let ops = compiles("batch_norm", &model(&[2, 4, 4], &nodes, &parameters), 0.05);
    assert_eq!(ops.iter().filter(|op| **op == "conv").count(), 1, "{ops:?}");
    assert!(ops.contains(&"bias"), "the first norm's shift cannot enter padding: {ops:?}");
}

#[test]
fn pools_averages_and_dense_layers() {
    let w = || tensor("w", &[3, 8], &numbers(24));
    let gemm = |x: &str| node("Gemm", "fc", &[x, "w"], "y", &[int("transB", 1)]);
    let max = node(
        "MaxPool",
        "max",
        &["r"],
        "p",
        &[ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1, 1, 0, 0])],
    );
    let relu = node("Relu", "r", &["x"], "r", &[]);
    let ops = compiles(
        "max_pool",
        &model(&[2, 4, 4], &[relu, max, node("Flatten", "f", &["p"], "f", &[]), gemm("f")], &[w()]),
        0.02,
    );
    assert_eq!(ops.iter().position(|op| *op == "relu"), ops.iter().position(|op| *op == "max_pool").map(|at| at + 1));

    let average = node("AveragePool", "avg", &["x"], "p", &[ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]);
    let ops = compiles(
        "average",
        &model(&[2, 4, 4], &[average, node("Flatten", "f", &["p"], "f", &[]), gemm("f")], &[w()]),
        0.02,
    );
    assert!(!ops.contains(&"scale") && ops.iter().filter(|op| **op == "requant").count() == 0, "{ops:?}");

    let global = node("GlobalAveragePool", "gap", &["x"], "p", &[]);
    let relu = node("Relu", "r", &["p"], "r", &[]);
    let nodes = [global, relu, node("Flatten", "f", &["r"], "f", &[]), gemm("f")];
    let ops = compiles("average before relu", &model(&[8, 3, 3], &nodes, &[w()]), 0.02);
    assert!(ops.contains(&"scale"), "{ops:?}");
}

#[test]
fn residuals_branches_and_joins() {
    let w = |name: &str| tensor(name, &[2, 2, 3, 3], &numbers(36));
    let conv = |x: &str, w: &str, y: &str| node("Conv", y, &[x, w], y, &[ints("pads", &[1, 1, 1, 1])]);
    let relu = |x: &str, y: &str| node("Relu", y, &[x], y, &[]);
    let add = |a: &str, b: &str, y: &str| node("Add", y, &[a, b], y, &[]);
    let nodes =
        [conv("x", "w1", "a"), relu("a", "b"), conv("b", "w2", "c"), add("c", "b", "d"), relu("d", "e"), flat("e")];
    let ops = compiles("residual", &model(&[2, 4, 4], &nodes, &[w("w1"), w("w2")]), 0.05);
    assert_eq!(ops.iter().filter(|op| op.starts_with("requant")).count(), 2, "{ops:?}");

    let nodes = [
        conv("x", "w1", "a"),
        conv("x", "w2", "b"),
        node("Sub", "d", &["a", "b"], "d", &[]),
        relu("d", "e"),
        flat("e"),
    ];
    compiles("difference", &model(&[2, 4, 4], &nodes, &[w("w1"), w("w2")]), 0.05);

    let concat = node("Concat", "j", &["b", "x"], "d", &[int("axis", 1)]);
    let nodes = [conv("x", "w1", "a"), relu("a", "b"), concat, flat("d")];
    compiles("concat", &model(&[2, 4, 4], &nodes, &[w("w1")]), 0.05);

    let transpose = node("Transpose", "t", &["x"], "t", &[ints("perm", &[0, 2, 3, 1])]);
    compiles("transpose", &model(&[2, 3, 4], &[transpose, relu("t", "r"), flat("r")], &[]), 0.02);
}

#[test]
fn operands_of_very_different_sizes() {
    let w = |name: &str, by: f32| tensor(name, &[2, 2, 1, 1], &[1.0, 0.5, -0.25, 0.75].map(|w: f32| w * by));
    let conv = |w: &str, y: &str| node("Conv", y, &["x", w], y, &[]);
    for (name, tiny) in [("tiny", 1e-7), ("dead", 0.0)] {
        let add = node("Add", "s", &["a", "b"], "s", &[]);
        let nodes = [conv("w1", "a"), conv("w2", "b"), add, flat("s")];
        compiles(name, &model(&[2, 4, 4], &nodes, &[w("w1", 1.0), w("w2", tiny)]), 0.02);
        let join = node("Concat", "j", &["a", "b"], "j", &[int("axis", 1)]);
        let nodes = [conv("w1", "a"), conv("w2", "b"), join, flat("j")];
        compiles(name, &model(&[2, 4, 4], &nodes, &[w("w1", 100.0), w("w2", tiny)]), 0.2);
    }
}

#[test]
fn softmax_and_argmax_at_the_end_are_dropped() {
    let w = || tensor("w", &[4, 3], &numbers(12));
    let matmul = node("MatMul", "fc", &["x", "w"], "l", &[]);
    for last in [node("Softmax", "s", &["l"], "y", &[]), node("ArgMax", "a", &["l"], "y", &[int("axis", 1)])] {
        let ops = compiles("last", &model(&[4], &[matmul.clone(), last], &[w()]), 0.02);
        assert_eq!(ops, ["input", "dense", "fusion.reveal"]);
    }
    let inner = [matmul, node("Softmax", "inner", &["l"], "s", &[]), node("Relu", "r", &["s"], "y", &[])];
    let ops = compiles("inner", &model(&[4], &inner, &[w()]), 0.02);
    assert!(ops.contains(&"piecewise") && ops.contains(&"mul"), "{ops:?}");
}

/// Matrices of two secrets: one for each, one for all on either side, and what is no sum.
#[test]
fn products_of_secret_matrices_are_one_operation() {
    let mean = || node("ReduceMean", "mean", &["x"], "u", &[ints("axes", &[1]), int("keepdims", 1)]);
    let turn = |x: &str| node("Transpose", "turn", &[x], "t", &[ints("perm", &[0, 1, 3, 2])]);
    let product = |a: &str, b: &str| node("MatMul", "product", &[a, b], "z", &[]);
    let x = |h: usize, i: usize, l: usize, sample: &[f32]| sample[(h * 3 + i) * 4 + l];
    let u = move |i: usize, l: usize, sample: &[f32]| (x(0, i, l, sample) + x(1, i, l, sample)) / 2.0;
    type Element = Box<dyn Fn(usize, usize, usize, &[f32]) -> f32>;
    let sum = |n: usize, term: &dyn Fn(usize) -> f32| (0..n).map(term).sum::<f32>();
    type Case = (&'static str, Vec<Vec<u8>>, [usize; 2], Element);
    let cases: [Case; 4] = [
        (
            "for each",
            vec![turn("x"), product("x", "t")],
            [3, 3],
            Box::new(move |h, i, j, s| sum(4, &|l| x(h, i, l, s) * x(h, j, l, s))),
        ),
        (
            "of inner extents",
            vec![turn("x"), product("t", "x")],
            [4, 4],
            Box::new(move |h, i, j, s| sum(3, &|l| x(h, l, i, s) * x(h, l, j, s))),
        ),
        (
            "one on the right",
            vec![mean(), turn("u"), product("x", "t")],
            [3, 3],
            Box::new(move |h, i, j, s| sum(4, &|l| x(h, i, l, s) * u(j, l, s))),
        ),
        (
            "one on the left",
            vec![mean(), turn("u"), product("t", "x")],
            [4, 4],
            Box::new(move |h, i, j, s| sum(3, &|l| u(l, i, s) * x(h, l, j, s))),
        ),
    ];
    for (name, mut nodes, [rows, columns], element) in cases {
        nodes.push(flat("z"));
        let bytes = model(&[2, 3, 4], &nodes, &[]);
        let file = Scratch::new(name, &bytes);
        let (graph, sample) = (import::read(&file.0, None).unwrap(), numbers(24));
        let found = eval::run(&graph, &sample).pop().unwrap();
        let places = (0..2).flat_map(|h| (0..rows).flat_map(move |i| (0..columns).map(move |j| (h, i, j))));
        for (found, (h, i, j)) in found.iter().zip(places) {
            assert!((found - element(h, i, j, &sample)).abs() < 1e-4, "{name}: {found} at {h}, {i}, {j}");
        }
        drop(file);
        let ops = compiles(name, &bytes, 0.05);
        assert_eq!(ops.iter().filter(|op| **op == "mat_mul").count(), 1, "{name}: {ops:?}");
        assert!(!ops.contains(&"mul"), "{name}: {ops:?}");
    }
    // Nothing is summed up.
    let outer = [node("Unsqueeze", "column", &["x"], "c", &[ints("axes", &[2])]), product("c", "r")];
    let row = node("Unsqueeze", "row", &["x"], "r", &[ints("axes", &[1])]);
    let ops = compiles("outer", &model(&[5], &[row, outer[0].clone(), outer[1].clone(), flat("z")], &[]), 0.02);
    assert!(ops.contains(&"mul") && !ops.contains(&"mat_mul"), "{ops:?}");
}

#[test]
fn every_unsupported_node_is_named_and_not_what_follows_it() {
    let nodes = [
        node("Pow", "p1", &["x", "several"], "p1", &[]),
        node("Relu", "r", &["p1"], "r", &[]),
        node("Pow", "p2", &["x", "several"], "p2", &[]),
        node("Add", "s", &["r", "p2"], "s", &[]),
        flat("s"),
    ];
    let several = [tensor("several", &[2], &[1.0, 3.0])];
    let file = Scratch::new("several", &model(&[2, 2, 2], &nodes, &several));
    let Err(Error::Unsupported(refused)) = import::read(&file.0, None) else { panic!("compiled") };
    let names: Vec<_> = refused.iter().map(|node| (node.node.as_str(), node.op.as_str())).collect();
    assert_eq!(names, [("p1", "Pow"), ("p2", "Pow")]);
    assert!(refused[0].why.contains("differ between elements"), "{}", refused[0].why);
}

#[test]
fn a_softmax_is_a_number_always() {
    let rest = || {
        [
            node("Where", "kept", &["none", "zero", "weights"], "k", &[]),
            node("Reshape", "rows", &["k", "shape"], "r", &[]),
            node("Gemm", "dense", &["r", "w"], "y", &[]),
        ]
    };
    let stored = || {
        let zero = tensor("zero", &[], &[0.0]);
        [zero, integers("shape", &[1, 8]), tensor("w", &[8, 3], &numbers(24))]
    };
    for (opset, axis) in [(13, 2), (11, 2)] {
        let attention = [
            node("Softmax", "soft", &["x"], "weights", &[int("axis", axis)]),
            node("IsNaN", "nan", &["weights"], "none", &[]),
        ];
        let nodes = [&attention[..], &rest()].concat();
        let model = model_of(&[("x", &[2, 4])], &["y"], opset, &nodes, &stored());
        let operations = compiles("nan", &model, 0.02);
        assert!(!operations.contains(&"select"), "{operations:?}");
    }
    let imputed = [node("Relu", "relu", &["x"], "weights", &[]), node("IsNaN", "nan", &["weights"], "none", &[])];
    let file = Scratch::new("imputed", &model(&[2, 4], &[&imputed[..], &rest()].concat(), &stored()));
    let Err(Error::Unsupported(refused)) = import::read(&file.0, None) else { panic!("compiled") };
    assert!(refused.len() == 1 && refused[0].node == "nan", "{refused:?}");
    assert!(refused[0].why.contains("what a Softmax gives"), "{refused:?}");
}

/// As T5 masks: the sample chooses between a bias of each element and the lowest float.
#[test]
fn a_mask_may_hide_constants() {
    for lowest in [f32::MIN, f32::NEG_INFINITY, -1e4] {
        let nodes = [
            node("Less", "hides", &["x", "limit"], "h", &[]),
            node("Where", "mask", &["h", "lowest", "bias"], "m", &[]),
            node("Add", "masked", &["x", "m"], "s", &[]),
            node("Softmax", "soft", &["s"], "p", &[int("axis", 2)]),
            node("Reshape", "rows", &["p", "shape"], "r", &[]),
            node("Gemm", "dense", &["r", "w"], "y", &[]),
        ];
        let stored = [
            tensor("limit", &[4], &[-0.5, -9.0, -0.25, -9.0]),
            tensor("lowest", &[], &[lowest]),
            tensor("bias", &[1, 2, 4], &numbers(8)),
            integers("shape", &[1, 8]),
            tensor("w", &[8, 3], &numbers(24)),
        ];
        compiles("bias", &model(&[2, 4], &nodes, &stored), 0.04);
    }
}

#[test]
fn rows_that_the_sample_chooses_are_refused_as_such() {
    let nodes = [
        node("ArgMax", "last", &["x"], "l", &[int("axis", 1), int("keepdims", 0)]),
        node("Gather", "pooled", &["x", "l"], "g", &[int("axis", 1)]),
        flat("g"),
    ];
    let file = Scratch::new("chosen", &model(&[4], &nodes, &[]));
    let Err(Error::Unsupported(refused)) = import::read(&file.0, None) else { panic!("compiled") };
    assert!(
        refused.iter().any(|node| node.node == "pooled" && node.why.contains("may not depend on the sample")),
        "{refused:?}"
    );
}

#[test]
fn constants_may_come_in_any_place() {
    let constants = [tensor("c", &[], &[0.25]), tensor("d", &[4], &[0.5, -0.5, 0.0, 0.125])];
    for op in ["Max", "Min", "Sum", "Mean"] {
        for inputs in [["c", "d", "x"], ["c", "x", "d"], ["x", "c", "d"]] {
            let nodes = [node(op, "all", &inputs, "y", &[])];
            compiles(op, &model(&[4], &nodes, &constants), 0.02);
        }
    }
}

/// Constants are evaluated by tract, which ignores `alpha` here.
#[test]
fn constants_that_tract_misreads_are_refused() {
    let constants = [tensor("c", &[4], &[-1.0, -0.5, 1.0, 2.0])];
    let of = |alpha: f32| {
        let celu = node("Celu", "odd", &["c"], "k", &[float("alpha", alpha)]);
        model(&[4], &[celu, node("Add", "sum", &["x", "k"], "y", &[])], &constants)
    };
    compiles("celu", &of(1.0), 0.02);
    let file = Scratch::new("misread", &of(0.5));
    let Err(Error::Unsupported(refused)) = import::read(&file.0, None) else { panic!("compiled") };
    assert_eq!(refused.len(), 1);
    assert!(refused[0].node == "odd" && refused[0].why.contains("ignores alpha"), "{:?}", refused[0]);
}

#[test]
fn clips_are_minima_of_relus() {
    let clip = |x: &str, y: &str| node("Clip", y, &[x, "zero", "six"], y, &[]);
    let limits = [tensor("zero", &[], &[0.0]), tensor("six", &[], &[0.6])];
    let ops = compiles("clip", &model(&[2, 2, 2], &[clip("x", "c"), flat("c")], &limits), 0.02);
    assert_eq!(ops.iter().filter(|op| **op == "piecewise").count(), 1, "{ops:?}");
}

#[test]
fn activations_of_many_nodes_are_one_table() {
    let scalars = [tensor("root", &[], &[0.5f32.sqrt()]), tensor("one", &[], &[1.0]), tensor("half", &[], &[0.5])];
    let gelu = [
        node("Mul", "scale", &["x", "root"], "a", &[]),
        node("Erf", "erf", &["a"], "b", &[]),
        node("Add", "plus", &["b", "one"], "c", &[]),
        node("Mul", "times", &["x", "c"], "d", &[]),
        node("Mul", "halve", &["d", "half"], "e", &[]),
        flat("e"),
    ];
    let ops = compiles("gelu", &model(&[2, 3, 3], &gelu, &scalars), 0.03);
    assert_eq!(ops.iter().filter(|op| **op == "piecewise").count(), 1, "{ops:?}");
    assert!(!ops.contains(&"mul"), "{ops:?}");
}

#[test]
fn channels_last_exports_cost_nothing() {
    let w = |name: &str| tensor(name, &[2, 2, 3, 3], &numbers(36));
    let to = |x: &str, y: &str| node("Transpose", y, &[x], y, &[ints("perm", &[0, 3, 1, 2])]);
    let back = |x: &str, y: &str| node("Transpose", y, &[x], y, &[ints("perm", &[0, 2, 3, 1])]);
    let conv = |x: &str, w: &str, y: &str| node("Conv", y, &[x, w], y, &[ints("pads", &[1, 1, 1, 1])]);
    let nodes = [
        to("x", "x1"),
        conv("x1", "w1", "c1"),
        back("c1", "y1"),
        node("Add", "bias", &["y1", "b"], "z1", &[]),
        node("Relu", "relu", &["z1"], "r1", &[]),
        to("r1", "x2"),
        conv("x2", "w2", "c2"),
        back("c2", "y2"),
        node("Add", "skip", &["y2", "x"], "s", &[]),
        flat("s"),
    ];
    let bias = tensor("b", &[2], &[0.5, -0.25]);
    let ops = compiles("channels_last", &model(&[4, 4, 2], &nodes, &[w("w1"), w("w2"), bias]), 0.03);
    assert_eq!(ops.iter().filter(|op| **op == "conv").count(), 2, "{ops:?}");
    assert!(ops.contains(&"requant_relu") && !ops.contains(&"bias"), "{ops:?}");
}
