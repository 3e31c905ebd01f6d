//! One operator at a time, with its attributes: the network as imported and fixed point are held
//! against what onnxruntime gives (`tests/fixtures/operators/make.py`).

use std::collections::HashMap;
use std::path::Path;

use fusion_compiler::compile::{build, simplify};
use fusion_compiler::evaluate::quantise;
use fusion_compiler::import::onnx;
use fusion_compiler::import::onnx::pb::{ModelProto, type_proto};
use fusion_compiler::import::onnx::prelude::Framework;
use fusion_compiler::nn::{Elements, eval};
use fusion_compiler::passes::Settings;
use fusion_compiler::quantise::Precision;
use fusion_compiler::quantise::calibrate::Calibration;
use fusion_compiler::{import, nn};
use fusion_ir::op::Reveal;
use fusion_ir::{Op, interp};

/// Largest error of the float network, relative to the largest number.
const FLOAT: f32 = 2e-5;
/// Largest error of fixed point: a few tables.
const FIXED: f32 = 1.0 / 64.0;

fn extents(port: &onnx::pb::ValueInfoProto) -> Vec<usize> {
    let Some(type_proto::Value::TensorType(tensor)) = port.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        panic!("{} is no tensor", port.name)
    };
    let extent = |dim: &onnx::pb::tensor_shape_proto::Dimension| match dim.value {
        Some(onnx::pb::tensor_shape_proto::dimension::Value::DimValue(n)) => n as usize,
        _ => panic!("{} has an open extent", port.name),
    };
    tensor.shape.iter().flat_map(|shape| shape.dim.iter().map(extent)).collect()
}

/// The model of one case.
fn case(model: &ModelProto, at: usize) -> (ModelProto, Vec<usize>) {
    let mut model = model.clone();
    let graph = model.graph.as_mut().unwrap();
    graph.output = vec![graph.output[at].clone()];
    graph.input = vec![graph.input[at].clone()];
    let shape = extents(&graph.input[0]);
    // Nodes of the other cases have no input any more.
    let name = graph.output[0].name.clone();
    let own = |name: &String, other: &str| other == name || other.starts_with(&format!("{name}."));
    graph.node.retain(|node| node.output.iter().any(|output| own(&name, output)));
    graph.initializer.retain(|tensor| own(&name, &tensor.name));
    (model, shape)
}

fn near(name: &str, found: &[f32], expected: &[f32], part: f32) {
    let scale = expected.iter().fold(1f32, |most, x| most.max(x.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= part * scale, "{name}: {found} instead of {expected} at {at}");
    }
}

fn fixed(graph: nn::Graph, sample: &[f32]) -> Vec<f32> {
    let calibration = Calibration { samples: vec![sample.to_vec()], total: 1, real: true, elements: Elements::Real };
    let settings = Settings { reveal: Reveal::Logits, ..Settings::default() };
    let built = build(&simplify(graph), &calibration, &Precision::default(), &settings).unwrap();
    let (function, weights) = (built.program.function, built.program.weights);
    let input = quantise(&function, &calibration.samples).swap_remove(0);
    let reveal = function.values.iter().find(|value| matches!(value.op, Op::Reveal(_))).unwrap();
    let ty = &function.value(reveal.operands[0]).ty;
    interp::output(&function, &weights, &input).into_iter().map(|x| ty.dequantize(x) as f32).collect()
}

/// Every case of a group.
fn group(name: &str, least: usize) {
    group_within(name, least, [FLOAT, FIXED]);
}

/// Every case of a group, with the largest errors in float and in fixed point.
fn group_within(name: &str, least: usize, [float, fixed_point]: [f32; 2]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/operators");
    let bytes = std::fs::read(folder.join(format!("{name}.onnx"))).unwrap();
    let model = onnx::onnx().proto_model_for_read(&mut bytes.as_slice()).unwrap();
    let expected: ndarray::Array1<f32> = ndarray_npy::read_npy(folder.join(format!("{name}.npy"))).unwrap();
    let mut expected = expected.as_slice().unwrap();
    let outputs = model.graph.as_ref().unwrap().output.clone();
    assert!(outputs.len() >= least, "{name}: only {} cases", outputs.len());
    for (at, output) in outputs.iter().enumerate() {
        let n = extents(output).iter().product();
        let (wanted, rest) = expected.split_at(n);
        expected = rest;
        let (one, shape) = case(&model, at);
        let sample: Vec<f32> =
            (0..shape.iter().product()).map(|i: usize| ((i * 7 + 3) % 13) as f32 / 8.0 - 0.75).collect();
        let label = format!("{name}/{}", output.name);
        let input = format!("{}.x", output.name);
        let imported = import::function(&one, &[(input, shape)], HashMap::new());
        let graph = imported.unwrap_or_else(|error| panic!("{label}: {error}"));
        let found = eval::run(&graph, &sample).pop().unwrap();
        assert_eq!(found.len(), wanted.len(), "{label}");
        near(&label, &found, wanted, float);
        near(&format!("{label} in fixed point"), &fixed(graph, &sample), wanted, fixed_point);
    }
    assert!(expected.is_empty(), "{name}: {} numbers more than the outputs have", expected.len());
}

#[test]
fn images_resized() {
    group("resize", 150);
    group("upsample", 4);
    group("resize10", 3);
}

#[test]
fn sequences() {
    group("recurrent", 60);
}

#[test]
fn volumes() {
    group("volumes", 18);
}

#[test]
fn places_that_constants_say() {
    group("places", 32);
    group("hardmax11", 2);
}

#[test]
fn sums_of_products() {
    group("einsum", 16);
}

/// Roundings to 255 steps, of which dynamic ones are not made here, are what they differ by.
#[test]
fn quantised_integers() {
    // A result at a tie may be the next step, of 1/40.
    group_within("integers", 24, [1.0 / 36.0, 1.0 / 24.0]);
}
