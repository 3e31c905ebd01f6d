//! Evaluation at compile time: what a node gives that reads constants only, whatever operator it
//! is. tract knows them all, but for what it [misreads](misread).

use std::sync::Arc;

use fusion_table::contain::contain;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
};
use tract_onnx::prelude::{DatumType, InferenceModelExt, IntoArcTensor, IntoRunnable, Tensor, TractResult, tvec};

use super::{misread, size};

/// Operators that are evaluated at compile time beyond those that data may meet, with their
/// attributes.
const EVALUATED: &[(&str, &str)] = &[
    ("Ceil", ""),
    ("Constant", "value value_float value_floats value_int value_ints"),
    ("ConstantOfShape", "value"),
    ("EyeLike", "dtype k"),
    ("Floor", ""),
    ("If", "else_branch then_branch"),
    ("IsInf", "detect_negative detect_positive"),
    ("Loop", "body"),
    ("Mod", "fmod"),
    ("NonZero", ""),
    ("OneHot", "axis"),
    ("Range", ""),
    ("Round", ""),
    ("Shape", "end start"),
    ("Size", ""),
    ("Trilu", "upper"),
];

/// Operators that data may meet and constants may not: how large their results become is not
/// reckoned in advance, or tract has other rules.
const DATA_ONLY: &[&str] = &[
    "CenterCropPad",
    "ConvInteger",
    "DynamicQuantizeLinear",
    "Einsum",
    "GRU",
    "LSTM",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "RNN",
    "Resize",
    "Scatter",
    "Upsample",
];

/// The attributes of an operator that is evaluated only.
pub(super) fn attributes(op: &str) -> Option<&'static str> {
    EVALUATED.iter().find(|(name, _)| *name == op).map(|(_, attributes)| *attributes)
}

/// Whether a node that reads constants only can be evaluated.
pub(super) fn evaluable(node: &NodeProto) -> bool {
    let op = node.op_type.as_str();
    let own = node.domain != "com.microsoft" || matches!(op, "DequantizeLinear" | "QuantizeLinear");
    let known = super::support::operators().any(|name| name == op) && !DATA_ONLY.contains(&op);
    own && (attributes(op).is_some() || known)
}

/// Evaluates a node under the operator set `opset`; an input that is not given is `None`.
///
/// # Errors
/// Why there is no result, as a phrase. tract is not trusted with hostile constants: a panic there
/// is a refusal like any other.
pub(super) fn evaluate(
    node: &NodeProto,
    inputs: &[Option<Arc<Tensor>>],
    opset: i64,
    used: &mut size::Used,
) -> Result<Vec<Arc<Tensor>>, String> {
    used.check(node, inputs)?;
    if let Some(what) = misread::ignored(node, opset) {
        return Err(format!("constants are evaluated by tract, which {what}"));
    }
    let attempt = || -> TractResult<Vec<Arc<Tensor>>> {
        let model = tract_onnx::onnx().parse(&model_of(node, inputs, opset), None)?.model;
        let typed = model.into_typed()?;
        let folded: Option<Vec<_>> =
            typed.output_outlets()?.iter().map(|o| typed.outlet_fact(*o).ok()?.konst.clone()).collect();
        if let Some(constants) = folded {
            return Ok(constants);
        }
        let outputs = typed.into_runnable()?.run(tvec![])?;
        Ok(outputs.into_iter().map(|value| value.into_arc_tensor()).collect())
    };
    let plain = || -> TractResult<Vec<Arc<Tensor>>> { attempt()?.into_iter().map(numbers).collect() };
    let refused = || "cannot be evaluated at compile time".to_string();
    let made = contain(plain).ok_or_else(refused)?.map_err(|e| format!("{}: {}", refused(), e.root_cause()))?;
    used.add(made.iter().map(|tensor| tensor.as_bytes().len() as u64).sum())?;
    Ok(made)
}

/// tract computes extents as symbolic expressions; here all symbols are known.
fn numbers(tensor: Arc<Tensor>) -> TractResult<Arc<Tensor>> {
    if tensor.datum_type() == DatumType::TDim {
        return Ok(tensor.cast_to::<i64>()?.into_owned().into_arc_tensor());
    }
    Ok(tensor)
}

/// A model of one node, its inputs as initializers.
fn model_of(node: &NodeProto, inputs: &[Option<Arc<Tensor>>], opset: i64) -> ModelProto {
    let mut node = node.clone();
    if node.domain == "com.microsoft" {
        // The operators of that name are ONNX's.
        node.domain.clear();
    }
    let mut initializer = Vec::new();
    for (index, (name, value)) in node.input.iter_mut().zip(inputs).enumerate() {
        let Some(value) = value else { continue };
        // Two inputs may be one tensor; as initializers they need names of their own.
        *name = format!("input-{index}");
        initializer.push(proto(name, value));
    }
    node.output.retain(|name| !name.is_empty());
    let output = node.output.iter().map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() });
    let graph = GraphProto { output: output.collect(), node: vec![node], initializer, ..GraphProto::default() };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: opset }];
    ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() }
}

fn proto(name: &str, tensor: &Tensor) -> TensorProto {
    let data_type = match tensor.datum_type() {
        DatumType::Bool => DataType::Bool,
        DatumType::U8 => DataType::Uint8,
        DatumType::U16 => DataType::Uint16,
        DatumType::U32 => DataType::Uint32,
        DatumType::U64 => DataType::Uint64,
        DatumType::I8 => DataType::Int8,
        DatumType::I16 => DataType::Int16,
        DatumType::I32 => DataType::Int32,
        DatumType::I64 => DataType::Int64,
        DatumType::F16 => DataType::Float16,
        DatumType::F32 => DataType::Float,
        DatumType::F64 => DataType::Double,
        _ => DataType::Undefined,
    };
    TensorProto {
        name: name.into(),
        dims: tensor.shape().iter().map(|extent| *extent as i64).collect(),
        data_type: data_type as i32,
        raw_data: tensor.as_bytes().to_vec(),
        ..TensorProto::default()
    }
}
