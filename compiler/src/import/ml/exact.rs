//! What nodes do to single elements, exactly as onnxruntime computes it. This is the one place that
//! says which step a node is: for the client, which takes steps before the protocol, and for trees,
//! whose thresholds are moved through them.

use fusion_ir::prefix::Step;
use ndarray::{Axis, IxDyn};
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::{Datum, DatumType, Tensor};

use super::super::whole::is_whole;
use super::attributes::Attributes;

/// A step of a number.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Exact {
    /// In float32.
    Single(Step),
    /// In float64, with this constant.
    Wide(Arithmetic, f64),
    /// In integers, with this constant. That none wraps around is seen to where its node is read.
    Whole(Arithmetic, i64),
    /// A `Scaler` of a float64, whose result is a float32.
    Scale { offset: f32, scale: f32 },
    /// Rounded to float32.
    Narrow,
    /// An integer as a float64.
    Widen,
    /// Not below `low`, then not above `high`, in whatever type. What is missing stays so.
    Limit { low: Option<Number>, high: Option<Number> },
}

/// A number between two steps. Those of float32 and float64 are float64; integers are wider than
/// any type's, so that steps beyond what a type holds, which no row has, are monotone all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Number {
    Real(f64),
    Whole(i128),
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

impl Exact {
    /// Of one number.
    pub fn at(&self, x: Number) -> Number {
        let single = |x: f32| Number::Real(x.into());
        match self {
            Exact::Single(step) => single(step.at(x.single())),
            Exact::Wide(how, c) => Number::Real(how.at(x.real(), *c)),
            Exact::Whole(how, c) => match x.whole() {
                Some(x) => Number::Whole(how.of_integers(x, i128::from(*c))),
                None => Number::Real(how.at(x.real(), *c as f64)),
            },
            Exact::Scale { offset, scale } => single(((x.real() - f64::from(*offset)) * f64::from(*scale)) as f32),
            Exact::Narrow => single(x.single()),
            Exact::Widen => Number::Real(x.real()),
            Exact::Limit { low, high } => {
                let x = low.filter(|low| x.is_below(*low)).unwrap_or(x);
                high.filter(|high| high.is_below(x)).unwrap_or(x)
            }
        }
    }
}

impl Number {
    /// As a float64.
    pub fn real(self) -> f64 {
        match self {
            Number::Real(x) => x,
            Number::Whole(x) => x as f64,
        }
    }

    fn single(self) -> f32 {
        match self {
            Number::Real(x) => x as f32,
            Number::Whole(x) => x as f32,
        }
    }

    /// As an integer, if it is finite.
    fn whole(self) -> Option<i128> {
        match self {
            Number::Real(x) => x.is_finite().then_some(x as i128),
            Number::Whole(x) => Some(x),
        }
    }

    fn is_below(self, other: Number) -> bool {
        match (self, other) {
            (Number::Whole(x), Number::Whole(y)) => x < y,
            (x, y) => x.real() < y.real(),
        }
    }
}

impl Arithmetic {
    fn at(self, x: f64, c: f64) -> f64 {
        match self {
            Arithmetic::Add => x + c,
            Arithmetic::Subtract => x - c,
            Arithmetic::SubtractFrom => c - x,
            Arithmetic::Multiply => x * c,
            Arithmetic::Divide => x / c,
        }
    }

    /// Integers are not divided.
    fn of_integers(self, x: i128, c: i128) -> i128 {
        match self {
            Arithmetic::Add => x.saturating_add(c),
            Arithmetic::Subtract => x.saturating_sub(c),
            Arithmetic::SubtractFrom => c.saturating_sub(x),
            Arithmetic::Multiply | Arithmetic::Divide => x.saturating_mul(c),
        }
    }
}

/// A node and the one tensor of data that it reads, of type `of` and these extents.
#[derive(Clone, Copy)]
pub(super) struct Reader<'r> {
    pub node: &'r NodeProto,
    pub of: DataType,
    pub shape: &'r [usize],
    /// Its inputs, as far as they are constants.
    pub constants: &'r [Option<&'r Tensor>],
}

impl<'r> Reader<'r> {
    /// Constant input `i`.
    pub fn constant(&self, i: usize) -> Option<&'r Tensor> {
        self.constants.get(i).copied().flatten()
    }

    /// What the node does to every element of its data, and the type that it gives. No steps if
    /// numbers stay what they are; `None` if the node is no function of single elements that is
    /// exact here.
    pub fn steps(&self) -> Option<(DataType, Vec<Exact>)> {
        let Reader { node, of, shape, .. } = *self;
        let n: usize = shape.iter().product();
        let all = |step: Exact| vec![step; n];
        let float = matches!(of, DataType::Float);
        let op = node.op_type.as_str();
        match op {
            "Cast" => cast(node, of).map(|(to, step)| (to, step.map_or(Vec::new(), all))),
            "Relu" if float => Some((of, all(Exact::Single(Step::Relu)))),
            "Relu" => {
                let zero = if is_whole(of) { Number::Whole(0) } else { Number::Real(0.0) };
                Some((of, all(Exact::Limit { low: Some(zero), high: None })))
            }
            "Neg" => Some((of, all(constant_step(Arithmetic::SubtractFrom, of, Number::Whole(0))?))),
            "Scaler" => {
                let [offsets, scales] = scaler(node, shape).ok()?;
                let step = |at: usize| {
                    let (offset, scale) = (offsets[at % offsets.len()], scales[at % scales.len()]);
                    match of {
                        DataType::Double => Exact::Scale { offset, scale },
                        // Integers become float32 first.
                        _ => Exact::Single(Step::Scale { offset, scale }),
                    }
                };
                is_number(of).then(|| (DataType::Float, (0..n).map(step).collect()))
            }
            "Imputer" if float => {
                let numbers = imputed(node, shape).ok()?;
                let step = |at: usize| Exact::Single(Step::Impute(numbers[at % numbers.len()]));
                Some((of, (0..n).map(step).collect()))
            }
            "Binarizer" if float => Some((of, all(Exact::Single(Step::Binarise(threshold(node).ok()?))))),
            "Add" | "Sub" | "Mul" | "Div" if node.attribute.is_empty() => {
                let (constant, first) = match self.constants {
                    [Some(constant), None] => (constant, true),
                    [None, Some(constant)] => (constant, false),
                    _ => return None,
                };
                let how = match (op, first) {
                    ("Add", _) => Arithmetic::Add,
                    ("Mul", _) => Arithmetic::Multiply,
                    ("Sub", false) => Arithmetic::Subtract,
                    ("Sub", true) => Arithmetic::SubtractFrom,
                    ("Div", false) => Arithmetic::Divide,
                    _ => return None,
                };
                let numbers = numbers(constant, of, shape)?.into_iter();
                Some((of, numbers.map(|c| constant_step(how, of, c)).collect::<Option<_>>()?))
            }
            "Max" | "Min" | "Clip" => self.limits().map(|steps| (of, steps)),
            _ => None,
        }
    }

    /// Of a node that leaves every element between two limits, or on one side of one.
    fn limits(&self) -> Option<Vec<Exact>> {
        let Reader { node, of, shape, constants } = *self;
        let n: usize = shape.iter().product();
        let mut steps = vec![Exact::Limit { low: None, high: None }; n];
        let mut limit = |numbers: Vec<Number>, is_low: bool| {
            for (step, number) in steps.iter_mut().zip(numbers) {
                let Exact::Limit { low, high } = step else { continue };
                let (own, above) = if is_low { (low, true) } else { (high, false) };
                // Of several limits on one side the closest counts.
                let closer = |old: &Number| if above { old.is_below(number) } else { number.is_below(*old) };
                if own.as_ref().is_none_or(closer) {
                    *own = Some(number);
                }
            }
        };
        if node.op_type != "Clip" {
            for constant in constants.iter().flatten() {
                limit(numbers(constant, of, shape)?, node.op_type == "Max");
            }
            return Some(steps);
        }
        for (at, name, is_low) in [(1, "min", true), (2, "max", false)] {
            if let Some(constant) = self.constant(at) {
                limit(numbers(constant, of, shape)?, is_low);
            } else if let Some(attribute) = node.attribute.iter().find(|attribute| attribute.name == name) {
                // Up to operator set 10, where it is a float32 for every type.
                let number = Some(attribute.f).filter(|x| !x.is_nan() && !is_whole(of))?;
                limit(vec![Number::Real(number.into()); n], is_low);
            }
        }
        Some(steps)
    }
}

fn is_number(of: DataType) -> bool {
    matches!(of, DataType::Float | DataType::Double) || is_whole(of)
}

/// The type that a cast gives.
pub(super) fn cast_to(node: &NodeProto) -> Option<DataType> {
    let to = node.attribute.iter().find(|attribute| attribute.name == "to")?.i;
    DataType::try_from(i32::try_from(to).ok()?).ok()
}

/// The type that a cast gives, and what it does to numbers if it does anything.
fn cast(node: &NodeProto, of: DataType) -> Option<(DataType, Option<Exact>)> {
    let to = cast_to(node)?;
    let step = match (of, to) {
        (DataType::Float | DataType::Bool, DataType::Float) => None,
        (of, DataType::Float) if is_number(of) => Some(Exact::Narrow),
        (of, DataType::Double) if is_whole(of) => Some(Exact::Widen),
        (of, DataType::Double) if is_number(of) || of == DataType::Bool => None,
        (of, to) if is_whole(to) && (is_whole(of) || of == DataType::Bool) => None,
        _ => return None,
    };
    Some((to, step))
}

/// Arithmetic of type `of` with a constant of it, or with the integer zero.
fn constant_step(how: Arithmetic, of: DataType, constant: Number) -> Option<Exact> {
    let real = Some(constant.real()).filter(|c| c.is_finite() && (how != Arithmetic::Divide || *c != 0.0));
    match of {
        DataType::Float => real.map(|c| {
            let c = c as f32;
            Exact::Single(match how {
                Arithmetic::Add => Step::Add(c),
                Arithmetic::Subtract => Step::Subtract(c),
                Arithmetic::SubtractFrom => Step::SubtractFrom(c),
                Arithmetic::Multiply => Step::Multiply(c),
                Arithmetic::Divide => Step::Divide(c),
            })
        }),
        DataType::Double => real.map(|c| Exact::Wide(how, c)),
        // Integers are divided another way.
        _ if is_whole(of) && how != Arithmetic::Divide => {
            Some(Exact::Whole(how, i64::try_from(constant.whole()?).ok()?))
        }
        _ => None,
    }
}

/// A constant of type `of`, repeated as far as a tensor goes. `None` if it has another type or
/// holds what is no number.
fn numbers(constant: &Tensor, of: DataType, shape: &[usize]) -> Option<Vec<Number>> {
    fn repeated<T: Datum + Copy>(constant: &Tensor, shape: &[usize], number: fn(T) -> Number) -> Option<Vec<Number>> {
        let mut view = constant.to_plain_array_view::<T>().ok()?;
        // Axes in front that count nothing.
        while view.ndim() > shape.len() && view.shape()[0] == 1 {
            view = view.index_axis_move(Axis(0), 0);
        }
        Some(view.broadcast(IxDyn(shape))?.iter().map(|c| number(*c)).collect())
    }
    let all = match (of, constant.datum_type()) {
        (DataType::Float, DatumType::F32) => repeated::<f32>(constant, shape, |c| Number::Real(c.into())),
        (DataType::Double, DatumType::F64) => repeated::<f64>(constant, shape, Number::Real),
        (DataType::Int32, DatumType::I32) => repeated::<i32>(constant, shape, |c| Number::Whole(c.into())),
        (DataType::Int64, DatumType::I64) => repeated::<i64>(constant, shape, |c| Number::Whole(c.into())),
        _ => None,
    };
    all.filter(|all| all.iter().all(|c| !c.real().is_nan()))
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
        let constants = [None, constant];
        let constants = if constant.is_some() { &constants[..] } else { &constants[..1] };
        let (_, steps) = Reader { node, of, shape: &[1, 1], constants }.steps()?;
        let x = if is_whole(of) { Number::Whole(x as i128) } else { Number::Real(x) };
        Some(steps.iter().fold(x, |x, step| step.at(x)).real())
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
        // An integer becomes a float32 first: 16,777,219 does 16,777,220.
        assert_eq!(one(&scaler, DataType::Int64, None, 16_777_219.0), Some(2_507_571.5));
    }

    /// Beyond 2^53 there are integers that float64 has not, and a cast to float32 rounds once.
    #[test]
    fn integers_are_exact() {
        let (million, one_more) = (tensor0(1_000_003i64), tensor0(1i64));
        let product = Exact::Whole(Arithmetic::Multiply, 1_000_003);
        let Number::Whole(y) = product.at(Number::Real(16_777_215.0)) else { panic!() };
        assert_eq!(y, 16_777_215 * 1_000_003);
        assert_eq!(one(&node("Mul"), DataType::Int64, Some(&million), 3.0), Some(3_000_009.0));
        assert_eq!(
            one(&node("Add"), DataType::Int64, Some(&one_more), 9_007_199_254_740_992.0),
            Some(9_007_199_254_740_992.0)
        );
        let odd = Exact::Whole(Arithmetic::Add, 1).at(Number::Whole(1 << 53));
        assert_eq!(odd, Number::Whole((1 << 53) + 1));
        // (2^24 + 1) 2^30 + 1 is nearer to the even float32 above; by way of float64 it is a tie.
        let near_tie = Number::Whole((((1 << 24) + 1) << 30) + 1);
        let (narrow, wide) = (Exact::Narrow.at(near_tie), Exact::Narrow.at(Exact::Widen.at(near_tie)));
        assert_eq!((narrow.real(), wide.real()), (((1u64 << 24) + 2) as f64 * 2f64.powi(30), 2f64.powi(54)));
        let lowest = Exact::Whole(Arithmetic::Multiply, i64::MIN);
        assert!(lowest.at(lowest.at(Number::Real(-3e38))).real() < -1e38);
    }

    #[test]
    fn limits_have_the_tensors_type() {
        let limit = |op: &str, of, constant: &Tensor, x: f64| one(&node(op), of, Some(constant), x);
        let (single, double, whole) = (tensor0(0.1f32), tensor0(0.1f64), tensor0(-2i32));
        assert_eq!(limit("Max", DataType::Float, &single, -1.0), Some(0.1f32.into()));
        assert_eq!(limit("Min", DataType::Double, &double, 1.0), Some(0.1));
        assert_eq!(limit("Clip", DataType::Int32, &whole, -7.0), Some(-2.0));
        assert_eq!(limit("Max", DataType::Float, &double, -1.0), None);
        assert!(limit("Max", DataType::Float, &single, f64::NAN).unwrap().is_nan());
        assert_eq!(limit("Max", DataType::Float, &tensor0(f32::NAN), 1.0), None);
        assert_eq!(one(&node("Neg"), DataType::Int64, None, 7.0), Some(-7.0));
        assert_eq!(one(&node("Neg"), DataType::Float, None, 7.0), Some(-7.0));
        // If the limits cross, the upper one counts. Of several on one side the closest does.
        let (low, high) = (tensor0(2f32), tensor0(1f32));
        let all = |op: &str, constants: &[Option<&Tensor>], x: f64| {
            let node = node(op);
            let reader = Reader { node: &node, of: DataType::Float, shape: &[1], constants };
            reader.steps().unwrap().1[0].at(Number::Real(x)).real()
        };
        assert_eq!(all("Clip", &[None, Some(&low), Some(&high)], 9.0), 1.0);
        assert_eq!(all("Clip", &[None, None, Some(&high)], -9.0), -9.0);
        assert_eq!(
            [all("Max", &[Some(&high), None, Some(&low)], 0.0), all("Min", &[Some(&high), None, Some(&low)], 9.0)],
            [2.0, 1.0]
        );
        let mut old = node("Clip");
        old.attribute = vec![AttributeProto { name: "max".into(), f: 0.5, r#type: 1, ..Default::default() }];
        assert_eq!(one(&old, DataType::Float, None, 3.0), Some(0.5));
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
        let (node, constants) = (node("Add"), [None, Some(&constant)]);
        let reader = Reader { node: &node, of: DataType::Float, shape: &[1, 3], constants: &constants };
        assert!(reader.steps().is_none());
        let three = tensor1(&[1f32, 2.0, 3.0]).into_shape(&[1, 1, 3]).unwrap();
        let steps = Reader { constants: &[None, Some(&three)], ..reader }.steps().unwrap().1;
        assert_eq!(steps, [1.0, 2.0, 3.0].map(|c| Exact::Single(Step::Add(c))));
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
