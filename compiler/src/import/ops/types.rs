//! Conversions between element types, and which types an operator takes. In the network every
//! number is a real one; what a type does to a value (truth, truncation, wrapping) is done here or
//! refused.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::{DatumType, Tensor};

use super::super::call::{Call, Kind, Wire};
use super::super::tensors::type_name;
use super::super::whole::Whole;
use crate::nn::expr::{Expr, Unary};
use crate::nn::{NodeId, Op};

/// Operators that give the same on integers as on real numbers.
const ON_INTEGERS: &[&str] = &[
    "Abs",
    "Add",
    "Clip",
    "CumSum",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "ReduceL1",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Sign",
    "Sub",
    "Sum",
];
/// Those of `ai.onnx.ml` that read integers and give float32.
const FROM_INTEGERS: &[&str] = &["FeatureVectorizer", "Normalizer", "Scaler"];

/// Those that cannot leave the range of their operands either.
const IN_RANGE: &[&str] = &["Clip", "Max", "MaxPool", "Min", "ReduceMax", "ReduceMin", "Relu", "Sign"];

/// Those that choose among their operands' integers, which keep scale and zero point.
const CHOOSE: &[&str] = &["GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMin"];

pub(in super::super) fn cast(call: &mut Call) -> Result<Vec<Wire>, String> {
    let to = i32::try_from(call.int("to", 0)).unwrap_or(0);
    converted(call, to)
}

/// The second operand only gives the type.
pub(in super::super) fn cast_like(call: &mut Call) -> Result<Vec<Wire>, String> {
    let to = match call.inputs.get(1) {
        Some(Wire::Const(like)) => type_of(like),
        Some(Wire::Data(_, Kind::Real)) => Some(DataType::Float),
        Some(Wire::Data(_, Kind::Truth)) => Some(DataType::Bool),
        Some(Wire::Data(_, Kind::Integer(whole))) => Some(whole.of),
        _ => None,
    };
    let to = to.ok_or("the type that it converts to is not known")?;
    if let Some(Wire::Const(x)) = call.inputs.first() {
        return constant(x, to);
    }
    converted(call, to as i32)
}

/// A constant in another type.
fn constant(x: &Tensor, to: DataType) -> Result<Vec<Wire>, String> {
    let target = DatumType::try_from(to).map_err(|e| e.to_string())?;
    let y = x.cast_to_dt(target).map_err(|e| e.to_string())?.into_owned();
    Ok(vec![Wire::Const(std::sync::Arc::new(y))])
}

fn converted(call: &mut Call, to: i32) -> Result<Vec<Wire>, String> {
    let x = call.data(0)?;
    let from = call.kind(0).unwrap_or(Kind::Real);
    let refuse = |what: &str| Err(format!("conversion of {what} to {} is not supported", type_name(to)));
    if matches!(from, Kind::Quantised { .. }) {
        return refuse("quantised integers");
    }
    let (y, kind) = match DataType::try_from(to) {
        Ok(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16) => (x, Kind::Real),
        Ok(DataType::Bool) if from == Kind::Truth => (x, from),
        // x != 0
        Ok(DataType::Bool) => {
            let zero = Expr::unary(Unary::Not, Expr::X);
            (call.b.pointwise(Expr::unary(Unary::Not, zero), x), Kind::Truth)
        }
        Ok(to @ (DataType::Int32 | DataType::Int64)) => match from {
            Kind::Integer(whole) => (x, Kind::Integer(whole.converted(to)?)),
            Kind::Truth => (x, Kind::Integer(Whole::truths(to))),
            _ if from != Kind::Real || is_index(call, x) => (x, Kind::Integer(Whole::given(to))),
            _ => (call.b.pointwise(Expr::unary(Unary::Trunc, Expr::X), x), Kind::Integer(Whole::given(to))),
        },
        Ok(DataType::Int8 | DataType::Int16 | DataType::Uint8 | DataType::Uint16 | DataType::Uint32)
        | Ok(DataType::Uint64)
            if from == Kind::Truth || is_index(call, x) =>
        {
            (x, Kind::Narrow)
        }
        _ if from == Kind::Real => return refuse("real numbers, which are truncated,"),
        _ => return refuse("integers"),
    };
    Ok(vec![Wire::Data(y, kind)])
}

/// Whether the data are a label.
pub(in super::super) fn is_index(call: &Call, mut x: NodeId) -> bool {
    while call.b.graph.node(x).op == Op::Reshape {
        x = call.b.graph.node(x).inputs[0];
    }
    call.b.graph.node(x).op == Op::ArgMax
}

fn type_of(tensor: &Tensor) -> Option<DataType> {
    Some(match tensor.datum_type() {
        DatumType::Bool => DataType::Bool,
        DatumType::F16 => DataType::Float16,
        DatumType::F32 => DataType::Float,
        DatumType::F64 => DataType::Double,
        DatumType::I8 => DataType::Int8,
        DatumType::I16 => DataType::Int16,
        DatumType::I32 => DataType::Int32,
        DatumType::I64 => DataType::Int64,
        DatumType::U8 => DataType::Uint8,
        DatumType::U16 => DataType::Uint16,
        DatumType::U32 => DataType::Uint32,
        DatumType::U64 => DataType::Uint64,
        _ => return None,
    })
}

/// What data of an ONNX element type are; `None` if they are no numbers, or of a type that is not
/// supported.
pub(in super::super) fn kind(data_type: i32) -> Option<Kind> {
    Some(match DataType::try_from(data_type).ok()? {
        DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16 => Kind::Real,
        DataType::Bool => Kind::Truth,
        of @ (DataType::Int32 | DataType::Int64) => Kind::Integer(Whole::given(of)),
        DataType::Int8 | DataType::Int16 => Kind::Narrow,
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64 => Kind::Narrow,
        _ => return None,
    })
}

/// The one element type of all data that a node reads from input `first` on; of its constants, if
/// it reads no data there.
pub(in super::super) fn common(call: &Call, first: usize) -> Result<Kind, String> {
    let mut kinds = (first..call.inputs.len()).filter_map(|i| call.kind(i));
    let constants = || (first..call.inputs.len()).filter_map(|i| call.constant(i));
    let data = kinds.next();
    let joined = match data {
        Some(kind) => kinds.try_fold(kind, Kind::or),
        None => {
            let known = constants().find_map(|c| type_of(c)).and_then(|known| kind(known as i32));
            Some(match known.ok_or("its operands have no type")? {
                Kind::Integer(Whole { of, .. }) => Kind::Integer(Whole::none(of)),
                other => other,
            })
        }
    };
    let joined = joined.ok_or("its operands have different types, or are quantised differently")?;
    let Kind::Integer(whole) = joined else { return Ok(joined) };
    // Constants become elements of the result, and do not only say where elements go.
    let op = call.node.op_type.as_str();
    let takes =
        data.is_none() || matches!(op, "Concat" | "Pad" | "Scatter" | "ScatterElements" | "ScatterND" | "Where");
    Ok(Kind::Integer(constants().filter(|_| takes).fold(whole, |whole, c| whole.or_constant(c))))
}

/// The element type that an operator on numbers gives.
pub(in super::super) fn of_numbers(call: &Call) -> Result<Kind, String> {
    let op = call.node.op_type.as_str();
    let mut result = Kind::Real;
    for kind in (0..call.inputs.len()).filter_map(|i| call.kind(i)) {
        match kind {
            Kind::Real => {}
            Kind::Truth => return Err("it reads a bool where numbers are needed".into()),
            Kind::Quantised { .. } if CHOOSE.contains(&op) => result = kind,
            Kind::Quantised { .. } if op != "DequantizeLinear" => {
                return Err("arithmetic on quantised integers is not supported".into());
            }
            Kind::Quantised { .. } => {}
            Kind::Integer(_) | Kind::Narrow if op == "DequantizeLinear" => {}
            Kind::Integer(_) | Kind::Narrow
                if (0..call.inputs.len()).any(|i| call.constant(i).is_some_and(is_real)) =>
            {
                return Err("its operands have different types".into());
            }
            Kind::Integer(_) if FROM_INTEGERS.contains(&op) => {}
            Kind::Integer(_) if ON_INTEGERS.contains(&op) => result = kind,
            Kind::Narrow if IN_RANGE.contains(&op) => result = kind,
            Kind::Integer(_) => return Err("it is not supported on integers: convert them to float first".into()),
            Kind::Narrow => return Err("it may wrap on narrow integers: convert them to float first".into()),
        }
    }
    let Kind::Integer(_) = result else { return Ok(result) };
    let whole = |i: usize| if let Some(Kind::Integer(whole)) = call.kind(i) { Some(whole) } else { None };
    let data: Vec<Whole> = (0..call.inputs.len()).filter_map(whole).collect();
    let constants: Vec<&Tensor> = (0..call.inputs.len()).filter_map(|i| call.constant(i).map(|c| &**c)).collect();
    let extents = |i: usize| match call.constant(i) {
        Some(constant) => constant.shape().to_vec(),
        None => call.data(i).map_or(Vec::new(), |x| call.shape(x).to_vec()),
    };
    let elements = match op {
        "MatMul" => extents(0).last().copied().unwrap_or(1),
        _ => extents(0).iter().product(),
    };
    Whole::of_node(op, &data, &constants, elements).map(Kind::Integer)
}

fn is_real(constant: &std::sync::Arc<Tensor>) -> bool {
    matches!(constant.datum_type(), DatumType::F16 | DatumType::F32 | DatumType::F64)
}

/// The operands of a comparison, or of an operator on truths, are such.
pub(in super::super) fn comparable(call: &Call) -> Result<(), String> {
    let logic = matches!(call.node.op_type.as_str(), "And" | "Or" | "Xor" | "Not");
    for kind in (0..call.inputs.len()).filter_map(|i| call.kind(i)) {
        match kind {
            Kind::Quantised { .. } => return Err("it is not supported on quantised integers".into()),
            Kind::Truth if !logic && call.node.op_type != "Equal" => return Err("it compares bools".into()),
            Kind::Real | Kind::Integer(_) | Kind::Narrow if logic => return Err("it reads numbers, not bools".into()),
            _ => {}
        }
    }
    Ok(())
}
