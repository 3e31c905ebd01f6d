//! What nodes do to single elements, exactly as onnxruntime computes it. This is the one place that
//! says which step a node is: for the client, which takes steps before the protocol, and for trees,
//! whose thresholds are moved through them.

use fusion_ir::prefix::Step;
use ndarray::IxDyn;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::{Datum, DatumType, Tensor};

use super::attributes::Attributes;

/// A step of a number. Between steps numbers are float64, which holds those of every type that has
/// steps: float32, float64, and integers up to [`WHOLE`].
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Exact {
    /// In float32.
    Single(Step),
    /// In the tensor's own type, float64 or integers, with this constant.
    Wide(Arithmetic, f64),
    /// A `Scaler` of a float64, whose result is a float32.
    Scale { offset: f32, scale: f32 },
    /// Rounded to float32.
    Narrow,
    /// `max(x, 0)`, of whatever type.
    Relu,
}

/// `x` and a constant `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Arithmetic {
    Add,
    Subtract,
    /// `c - x`.
    SubtractFrom,
    Multiply,
    Divide,
}

/// Largest constant of integer arithmetic. A column holds integers that float32 holds, of 24 bits
/// beside their scale, so one such sum or product is one of float64.
const WHOLE: i64 = 1 << 24;

impl Exact {
    /// Of one number.
    pub fn at(&self, x: f64) -> f64 {
        match self {
            Exact::Single(step) => f64::from(step.at(x as f32)),
            Exact::Wide(Arithmetic::Add, c) => x + c,
            Exact::Wide(Arithmetic::Subtract, c) => x - c,
            Exact::Wide(Arithmetic::SubtractFrom, c) => c - x,
            Exact::Wide(Arithmetic::Multiply, c) => x * c,
            Exact::Wide(Arithmetic::Divide, c) => x / c,
            Exact::Scale { offset, scale } => f64::from(((x - f64::from(*offset)) * f64::from(*scale)) as f32),
            Exact::Narrow => f64::from(x as f32),
            Exact::Relu if x < 0.0 => 0.0,
            Exact::Relu => x,
        }
    }
}

/// What a node does to every element of its data, a tensor of type `of`, and the type that it
/// gives. `constant` is its other operand, if it has one, and whether that is the first. No steps
/// if numbers stay what they are; `None` if the node is no function of single elements that is
/// exact here.
pub(super) fn steps(
    node: &NodeProto,
    of: DataType,
    shape: &[usize],
    constant: Option<(&Tensor, bool)>,
) -> Option<(DataType, Vec<Exact>)> {
    let n: usize = shape.iter().product();
    let all = |step: Exact| vec![step; n];
    let float = matches!(of, DataType::Float);
    match (node.op_type.as_str(), constant) {
        ("Cast", None) => cast(node, of).map(|(to, step)| (to, step.map_or(Vec::new(), all))),
        ("Relu", None) => Some((of, all(if float { Exact::Single(Step::Relu) } else { Exact::Relu }))),
        ("Scaler", None) => {
            let [offsets, scales] = scaler(node, shape).ok()?;
            let step = |at: usize| {
                let (offset, scale) = (offsets[at % offsets.len()], scales[at % scales.len()]);
                match of {
                    DataType::Double => Exact::Scale { offset, scale },
                    _ => Exact::Single(Step::Scale { offset, scale }),
                }
            };
            is_number(of).then(|| (DataType::Float, (0..n).map(step).collect()))
        }
        ("Imputer", None) if float => {
            let numbers = imputed(node, shape).ok()?;
            let step = |at: usize| Exact::Single(Step::Impute(numbers[at % numbers.len()]));
            Some((of, (0..n).map(step).collect()))
        }
        ("Binarizer", None) if float => Some((of, all(Exact::Single(Step::Binarise(threshold(node).ok()?))))),
        ("Add" | "Sub" | "Mul" | "Div", Some((constant, first))) if node.attribute.is_empty() => {
            let how = match (node.op_type.as_str(), first) {
                ("Add", _) => Arithmetic::Add,
                ("Mul", _) => Arithmetic::Multiply,
                ("Sub", false) => Arithmetic::Subtract,
                ("Sub", true) => Arithmetic::SubtractFrom,
                ("Div", false) => Arithmetic::Divide,
                _ => return None,
            };
            arithmetic(how, of, shape, constant).map(|steps| (of, steps))
        }
        _ => None,
    }
}

fn is_number(of: DataType) -> bool {
    matches!(of, DataType::Float | DataType::Double | DataType::Int32 | DataType::Int64)
}

/// The type that a cast gives, and what it does to numbers if it does anything.
fn cast(node: &NodeProto, of: DataType) -> Option<(DataType, Option<Exact>)> {
    let to = node.attribute.iter().find(|attribute| attribute.name == "to")?.i;
    let to = DataType::try_from(i32::try_from(to).ok()?).ok()?;
    let whole = |of: DataType| matches!(of, DataType::Bool | DataType::Int32 | DataType::Int64);
    let step = match (of, to) {
        (DataType::Double | DataType::Int32 | DataType::Int64, DataType::Float) => Some(Exact::Narrow),
        (DataType::Float | DataType::Bool, DataType::Float) => None,
        (of, DataType::Double) if is_number(of) || whole(of) => None,
        (of, DataType::Int32 | DataType::Int64) if whole(of) => None,
        _ => return None,
    };
    Some((to, step))
}

/// A constant of the tensor's own type, repeated as far as the tensor goes.
fn arithmetic(how: Arithmetic, of: DataType, shape: &[usize], constant: &Tensor) -> Option<Vec<Exact>> {
    let nonzero = |c: &f64| how != Arithmetic::Divide || *c != 0.0;
    match (of, constant.datum_type()) {
        (DataType::Float, DatumType::F32) => {
            let step = |c: f32| {
                Some(Exact::Single(match how {
                    Arithmetic::Add => Step::Add(c),
                    Arithmetic::Subtract => Step::Subtract(c),
                    Arithmetic::SubtractFrom => Step::SubtractFrom(c),
                    Arithmetic::Multiply => Step::Multiply(c),
                    Arithmetic::Divide => Step::Divide(c),
                }))
                .filter(|_| c.is_finite() && nonzero(&f64::from(c)))
            };
            repeated::<f32>(constant, shape)?.into_iter().map(step).collect()
        }
        (DataType::Double, DatumType::F64) => {
            let step = |c: f64| Some(Exact::Wide(how, c)).filter(|_| c.is_finite() && nonzero(&c));
            repeated::<f64>(constant, shape)?.into_iter().map(step).collect()
        }
        // Integers are divided another way.
        (DataType::Int32, DatumType::I32) | (DataType::Int64, DatumType::I64) if how != Arithmetic::Divide => {
            let wide = constant.cast_to::<i64>().ok()?;
            let step = |c: i64| Some(Exact::Wide(how, c as f64)).filter(|_| c.abs() <= WHOLE);
            repeated::<i64>(&wide, shape)?.into_iter().map(step).collect()
        }
        _ => None,
    }
}

fn repeated<T: Datum + Copy>(constant: &Tensor, shape: &[usize]) -> Option<Vec<T>> {
    let view = constant.to_plain_array_view::<T>().ok()?;
    Some(view.broadcast(IxDyn(shape))?.iter().copied().collect())
}

/// Offsets and factors of a `Scaler`, one of each or one for each feature.
pub(super) fn scaler(node: &NodeProto, shape: &[usize]) -> Result<[Vec<f32>; 2], String> {
    let attributes = Attributes(node);
    let numbers = |name: &str| for_features(attributes.floats(name, false)?, shape, name);
    Ok([numbers("offset")?, numbers("scale")?])
}

/// What an `Imputer` puts where a value is missing, one number or one for each feature.
pub(super) fn imputed(node: &NodeProto, shape: &[usize]) -> Result<Vec<f32>, String> {
    let attributes = Attributes(node);
    let replaced = attributes.float("replaced_value_float", 0.0)?;
    if !replaced.is_nan() {
        return Err(format!("it replaces {replaced}, which is a number: only missing values are replaced"));
    }
    for_features(attributes.floats("imputed_value_floats", false)?, shape, "imputed_value_floats")
}

/// Above what a `Binarizer` gives 1.
pub(super) fn threshold(node: &NodeProto) -> Result<f32, String> {
    let threshold = Attributes(node).float("threshold", 0.0)?;
    if threshold.is_finite() { Ok(threshold) } else { Err(format!("its threshold is {threshold}")) }
}

fn for_features(numbers: Vec<f32>, shape: &[usize], name: &str) -> Result<Vec<f32>, String> {
    let n = shape.last().copied().unwrap_or(1);
    match numbers.len() {
        1 => Ok(numbers),
        all if all == n && shape.len() <= 2 => Ok(numbers),
        all if all == n => {
            Err(format!("{name} has {all} numbers for the last of {} axes: make it a table", shape.len()))
        }
        all => Err(format!("{name} has {all} numbers for {n} features")),
    }
}

/// Whether the inputs of a `FeatureVectorizer`, of so many features, are joined whole.
///
/// # Errors
/// If it cuts or fills one.
pub(super) fn whole(node: &NodeProto, features: &[usize]) -> Result<(), String> {
    let wanted = Attributes(node).ints("inputdimensions")?;
    let differ = |(wanted, found): (&i64, &usize)| usize::try_from(*wanted) != Ok(*found);
    if wanted.is_empty() || wanted.len() == features.len() && !wanted.iter().zip(features).any(differ) {
        return Ok(());
    }
    Err(format!("its inputdimensions {wanted:?} are not those of its inputs, {features:?}: it would cut or fill them"))
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;
    use tract_onnx::prelude::{tensor0, tensor1};

    use super::*;

    fn node(op: &str) -> NodeProto {
        NodeProto { op_type: op.into(), ..NodeProto::default() }
    }

    fn with(name: &str, floats: &[f32]) -> AttributeProto {
        AttributeProto { name: name.into(), floats: floats.to_vec(), r#type: 6, ..Default::default() }
    }

    fn cast_to(to: DataType) -> NodeProto {
        let to = AttributeProto { name: "to".into(), i: to as i64, r#type: 2, ..Default::default() };
        NodeProto { attribute: vec![to], ..node("Cast") }
    }

    /// What a value becomes by one node of a tensor of one element.
    fn one(node: &NodeProto, of: DataType, constant: Option<&Tensor>, x: f64) -> Option<f64> {
        let (_, steps) = steps(node, of, &[1, 1], constant.map(|constant| (constant, false)))?;
        Some(steps.iter().fold(x, |x, step| step.at(x)))
    }

    /// Numbers that onnxruntime 1.32 gives where float32 would give others.
    #[test]
    fn every_type_has_its_own_arithmetic() {
        let (single, double) = (tensor0(0.1f32), tensor0(0.1f64));
        assert_eq!(one(&node("Add"), DataType::Float, Some(&single), 0.7f32.into()), Some((0.7f32 + 0.1).into()));
        assert_eq!(one(&node("Add"), DataType::Double, Some(&double), 0.7f32.into()), Some(f64::from(0.7f32) + 0.1));
        let whole = tensor0(1i64);
        assert_eq!(one(&node("Add"), DataType::Int64, Some(&whole), 16_777_216.0), Some(16_777_217.0));
        assert_eq!(one(&cast_to(DataType::Float), DataType::Int64, None, 16_777_219.0), Some(16_777_220.0));
        // A constant of another type, a division of integers, a half: no step that is known here.
        assert_eq!(one(&node("Add"), DataType::Double, Some(&single), 1.0), None);
        assert_eq!(one(&node("Div"), DataType::Int64, Some(&tensor0(2i64)), 3.0), None);
        assert_eq!(one(&node("Add"), DataType::Int64, Some(&tensor0(WHOLE + 1)), 3.0), None);
        assert_eq!(one(&cast_to(DataType::Float16), DataType::Float, None, 1.0), None);
        assert_eq!(one(&cast_to(DataType::Float), DataType::String, None, 1.0), None);
    }

    /// `Scaler` of a float64 subtracts and multiplies in float64.
    #[test]
    fn a_scaler_rounds_a_float64_once() {
        let attribute = vec![with("offset", &[1e7]), with("scale", &[0.37])];
        let scaler = NodeProto { attribute, ..node("Scaler") };
        let x = 1e7 + 0.3;
        assert_eq!(one(&scaler, DataType::Double, None, x), Some(f64::from(0.111f32)));
        assert_eq!(one(&scaler, DataType::Float, None, x), Some(0.0));
    }

    #[test]
    fn features_are_those_of_a_table() {
        let scaler = |n: usize| NodeProto {
            attribute: vec![with("offset", &vec![0.0; n]), with("scale", &vec![2.0; n])],
            ..node("Scaler")
        };
        assert!(super::scaler(&scaler(2), &[1, 2]).is_ok() && super::scaler(&scaler(1), &[1, 3, 2]).is_ok());
        // onnxruntime counts features along axis 1 there.
        assert!(super::scaler(&scaler(2), &[1, 3, 2]).unwrap_err().contains("last of 3 axes"));
        assert!(super::scaler(&scaler(3), &[1, 2]).unwrap_err().contains("3 numbers for 2 features"));
        let constant = tensor1(&[1f32, 2.0]);
        assert!(steps(&node("Add"), DataType::Float, &[1, 3], Some((&constant, false))).is_none());
    }

    #[test]
    fn vectors_that_are_cut_are_refused() {
        let dimensions = |ints: &[i64]| {
            let ints =
                AttributeProto { name: "inputdimensions".into(), ints: ints.to_vec(), r#type: 7, ..Default::default() };
            NodeProto { attribute: vec![ints], ..node("FeatureVectorizer") }
        };
        assert_eq!(whole(&dimensions(&[2, 2]), &[2, 2]), Ok(()));
        for cut in [&[1, 3][..], &[3, 1], &[2], &[2, 2, 2]] {
            assert!(whole(&dimensions(cut), &[2, 2]).unwrap_err().contains("cut or fill"));
        }
    }
}
