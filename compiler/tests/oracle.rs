//! What fixed point is compared with: the model's file itself. A network that means something else
//! has no plan.

mod support;

use std::path::{Path, PathBuf};

use fusion_compiler::agreement::{Cause, Disagreement, Reference};
use fusion_compiler::compile::{Options, compile, compile_network};
use fusion_compiler::nn::expr::{Expr, Unary};
use fusion_compiler::nn::{Graph, Op};
use fusion_compiler::quantise::MAX_DETAIL;
use fusion_compiler::quantise::Precision;
use fusion_compiler::refine::{Refined, USUAL};
use fusion_compiler::{Error, import};
use support::{model, node, numbers, tensor};

fn digits(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits").join(file)
}

fn options() -> Options {
    Options { calibrate: Some(digits("calibrate.npy")), ..Options::new(digits("digits.onnx")) }
}

/// The first node with an operation called `op`.
fn first(graph: &Graph, op: &str) -> usize {
    graph.nodes.iter().position(|node| node.op.name() == op).unwrap()
}

/// The imported network with node number `at` left out.
fn without(mut graph: Graph, at: usize) -> Graph {
    graph.nodes[at].op = Op::Reshape;
    graph
}

/// Imports that are wrong, each in another way; every one computes something.
fn wrong_imports(right: &Graph) -> Vec<(&'static str, Graph)> {
    let mut wrong: Vec<(&'static str, Graph)> = Vec::new();
    let mut change = |name: &'static str, op: &str, how: &dyn Fn(&mut Op)| {
        let mut graph = right.clone();
        let at = first(&graph, op);
        how(&mut graph.nodes[at].op);
        assert_ne!(graph, *right, "{name} changes nothing");
        wrong.push((name, graph));
    };
    change("a true convolution: kernels upside down", "conv", &|op| {
        let Op::Conv(conv) = op else { panic!() };
        conv.weight.invert_axis(ndarray::Axis(2));
        conv.weight.invert_axis(ndarray::Axis(3));
        conv.weight = conv.weight.as_standard_layout().into_owned();
    });
    change("kernels with rows and columns exchanged", "conv", &|op| {
        let Op::Conv(conv) = op else { panic!() };
        conv.weight = conv.weight.clone().permuted_axes([0, 1, 3, 2]).as_standard_layout().into_owned();
    });
    change("all padding on one side", "conv", &|op| {
        let Op::Conv(conv) = op else { panic!() };
        conv.pads = [2, 2, 0, 0];
    });
    change("groups of a grouped convolution interleaved", "conv", &|op| {
        let Op::Conv(conv) = op else { panic!() };
        conv.weight = conv.weight.select(ndarray::Axis(0), &[0, 2, 4, 6, 1, 3, 5, 7]);
    });
    change("sums instead of maxima", "max_pool", &|op| {
        let Op::MaxPool(window) = op else { panic!() };
        *op = Op::SumPool(window.clone());
    });
    change("absolute values instead of a ReLU", "relu", &|op| *op = Op::Pointwise(Expr::unary(Unary::Abs, Expr::X)));
    change("classes counted from one", "dense", &|op| {
        let Op::Dense(dense) = op else { panic!() };
        let classes = dense.bias.len();
        dense.bias.rotate_right(1);
        let rows: Vec<usize> = (0..classes).map(|class| (class + classes - 1) % classes).collect();
        dense.weight = dense.weight.select(ndarray::Axis(0), &rows);
    });
    change("an image flattened with its channels last", "dense", &|op| {
        let Op::Dense(dense) = op else { panic!() };
        let (pixels, channels) = (16, dense.weight.ncols() / 16);
        let columns: Vec<usize> = (0..pixels * channels).map(|i| i % channels * pixels + i / channels).collect();
        dense.weight = dense.weight.select(ndarray::Axis(1), &columns);
    });
    change("scores with the wrong sign", "dense", &|op| {
        let Op::Dense(dense) = op else { panic!() };
        dense.weight.mapv_inplace(|w| -w);
    });
    let relu = first(right, "relu");
    wrong.push(("a ReLU left out", without(right.clone(), relu)));
    let mut scaled = right.clone();
    let first_reader = first(&scaled, "conv");
    if let Op::Conv(conv) = &mut scaled.nodes[first_reader].op {
        conv.weight.mapv_inplace(|w| w / 255.0);
    }
    wrong.push(("pixels scaled to 0..1 once more", scaled));
    wrong
}

#[test]
fn no_plan_for_a_network_that_is_not_the_models() {
    let options = options();
    let right = import::read(&options.model, None).unwrap();
    let compiled = compile_network(&options, right.clone(), &|_, _, _| ()).unwrap();
    let agreement = compiled.summary.agreement;
    assert_eq!((agreement.reference, agreement.agreeing), (Reference::Tract, agreement.samples));
    let wrong = wrong_imports(&right);
    assert!(wrong.len() >= 10);
    for (name, graph) in wrong {
        match compile_network(&options, graph, &|_, _, _| ()) {
            Err(Error::Disagreement(found)) => {
                assert!(matches!(found.cause, Cause::Import { .. } | Cause::Scores { .. }), "{name}: {found}");
            }
            other => panic!("{name}: {:?}", other.map(|compiled| compiled.summary.agreement)),
        }
    }
}

#[test]
fn scores_that_differ_are_seen_where_labels_do_not() {
    let mut options = options();
    let mut graph = import::read(&options.model, None).unwrap();
    let at = first(&graph, "conv");
    let Op::Conv(conv) = &mut graph.nodes[at].op else { panic!() };
    conv.bias.fill(0.0);
    let error = compile_network(&options, graph.clone(), &|_, _, _| ()).unwrap_err().to_string();
    assert!(error.contains("other float scores") && error.contains("\"conv1\""), "{error}");
    options.checks.min_agreement = 0.0;
    let warnings = compile_network(&options, graph, &|_, _, _| ()).unwrap().summary.warnings;
    assert!(warnings.iter().any(|warning| warning.contains("scores") && warning.contains("conv1")), "{warnings:?}");
    let compiled = compile(&options).unwrap();
    assert_eq!(compiled.summary.warnings, [] as [&str; 0]);
}

#[test]
fn the_node_where_an_import_goes_wrong_is_named() {
    let options = options();
    let right = import::read(&options.model, None).unwrap();
    for (name, node) in [("sums instead of maxima", "pool1"), ("classes counted from one", "dense")] {
        let (_, graph) = wrong_imports(&right).into_iter().find(|(other, _)| *other == name).unwrap();
        let error = compile_network(&options, graph, &|_, _, _| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("node {node:?} is the first")), "{name}: {error}");
    }
}

fn coarse() -> Precision {
    Precision { activation_bits: 8, weight_bits: 4, input_bits: 2, ..Precision::default() }
}

#[test]
fn formats_that_would_change_labels_become_finer() {
    let mut options = options();
    options.checks.min_agreement = 0.0;
    assert_eq!(compile(&options).unwrap().summary.refined, None);
    options.precision = coarse();
    let refined = compile(&options).unwrap().summary;
    options.refine = false;
    let coarse = compile(&options).unwrap().summary;
    let Some(Refined { times, softmax_times: 0, before, after }) = refined.refined else {
        panic!("{:?}", refined.agreement)
    };
    assert!((1..=MAX_DETAIL).contains(&times) && before.changed > USUAL.most, "{times} {before:?}");
    assert!(after.changed <= before.changed && after.noise < before.noise, "{before:?} {after:?}");
    assert_eq!(coarse.refined, None);
    assert!(refined.agreement.agreeing > coarse.agreement.agreeing, "{} {}", refined.agreement, coarse.agreement);
}

/// The narrowest and the widest that may be asked for, and nothing but them.
#[test]
fn widths_are_what_is_asked_for() {
    let mut options = options();
    options.checks.min_agreement = 0.0;
    for (activation_bits, weight_bits) in [(8, 4), (8, 16), (20, 4), (20, 16)] {
        options.widths(Some(activation_bits), Some(weight_bits)).unwrap();
        let compiled = compile(&options).unwrap();
        let rectified = compiled.plan.function.values.iter().find(|value| value.op == fusion_ir::Op::Relu);
        assert_eq!(rectified.unwrap().ty.bits, activation_bits);
        assert_eq!(compiled.summary.refined, None);
    }
    options.precision.activation_bits = 5;
    assert!(matches!(compile(&options), Err(Error::Usage(why)) if why.contains("`precision.activation_bits` 5")));
}

#[test]
fn coarse_formats_are_told_from_wrong_imports() {
    let mut options = options();
    (options.precision, options.refine) = (coarse(), false);
    options.checks.min_agreement = 1.0;
    let Err(Error::Disagreement(found)) = compile(&options) else { panic!("two bits are enough for digits") };
    assert!(matches!(&found.cause, Cause::Formats { node, hidden } if !node.is_empty() && *hidden > 0.0), "{found}");
    assert!(found.to_string().contains("`precision.activation_bits`"), "{found}");
    let made_up = Disagreement { real: false, ..*found };
    assert!(made_up.to_string().contains("made-up") && made_up.to_string().contains("`calibrate`"), "{made_up}");
    options.checks.min_agreement = 0.0;
    let compiled = compile(&options).unwrap();
    assert!(compiled.summary.warnings.iter().any(|warning| warning.starts_with("only ")), "{:?}", compiled.summary);
}

#[test]
fn networks_too_long_to_be_optimised_by_tract_are_run_all_the_same() {
    let mut nodes = vec![node("MatMul", "fc", &["x", "w"], "h0", &[])];
    let name = |i: usize| if i == 600 { "y".to_string() } else { format!("h{i}") };
    nodes.extend((0..600).map(|i| node("Relu", &format!("relu{i}"), &[&name(i)], &name(i + 1), &[])));
    let bytes = model(&[4], &nodes, &[tensor("w", &[4, 3], &numbers(12))]);
    let path = std::env::temp_dir().join(format!("fusion-long-{}.onnx", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let agreement = compile(&Options::new(path.clone())).unwrap().summary.agreement;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(agreement.reference, Reference::Tract);
    assert!(agreement.share() > 0.95, "{agreement}");
}
