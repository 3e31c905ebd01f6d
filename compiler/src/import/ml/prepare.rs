//! What prepares columns: scalers, imputation, joins. Beside the network, which computes them in
//! fixed point, each keeps account of what it does exactly to single elements of the sample, for
//! trees behind it.

use std::sync::Arc;

use fusion_ir::prefix::Step;
use ndarray::{ArrayD, IxDyn, arr1};

use super::super::call::{Call, Kind, Made, Wire};
use super::super::ops::reduce;
use super::attributes::Attributes;
use super::columns::Column;
use crate::nn::NodeId;
use crate::nn::expr::{Binary, Expr, Unary};

/// `Scaler`: `(x - offset) scale`.
pub(in super::super) fn scale(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let attributes = Attributes(call.node);
    let (offset, scale) = (attributes.floats("offset", false)?, attributes.floats("scale", false)?);
    let n = call.shape(x).last().copied().unwrap_or(1);
    if [&offset, &scale].iter().any(|c| c.len() != 1 && c.len() != n) {
        return Err(format!("{} offsets and {} factors for {n} features", offset.len(), scale.len()));
    }
    let at = |c: &[f32], i: usize| if c.len() == 1 { c[0] } else { c[i] };
    let shift: Vec<f32> = (0..n).map(|i| -at(&offset, i) * at(&scale, i)).collect();
    let factors: Vec<f32> = (0..n).map(|i| at(&scale, i)).collect();
    let y = call.affine(x, &arr1(&factors).into_dyn(), &arr1(&shift).into_dyn())?;
    step(call, x, y, |i| Some(Step::Scale { offset: at(&offset, i % n), scale: at(&scale, i % n) }));
    Ok(y)
}

/// `Imputer` of missing values: for numbers that are there it changes nothing.
pub(in super::super) fn impute(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let attributes = Attributes(call.node);
    let numbers = attributes.floats("imputed_value_floats", false)?;
    let replaced = attributes.float("replaced_value_float", 0.0)?;
    if !replaced.is_nan() {
        return Err(format!("it replaces {replaced}, which is a number: only missing values are replaced"));
    }
    let n = call.shape(x).last().copied().unwrap_or(1);
    if numbers.len() != 1 && numbers.len() != n {
        return Err(format!("{} values for {n} features", numbers.len()));
    }
    let at = |i: usize| if numbers.len() == 1 { numbers[0] } else { numbers[i % n] };
    // A node of its own, since what follows is another function of the sample.
    let y = call.b.push(crate::nn::Op::Scale(1.0), vec![x], call.shape(x));
    step(call, x, y, |i| Some(Step::Impute(at(i))));
    Ok(y)
}

/// `OneHotEncoder` of what is no column of the sample: the client has encoded those.
pub(in super::super) fn one_hot(_: &mut Call) -> Made {
    Err("it encodes what the model has computed: only columns of the sample, as they are, are encoded".into())
}

/// `Binarizer`: whether a number is above the threshold.
pub(in super::super) fn binarise(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let threshold = Attributes(call.node).float("threshold", 0.0)?;
    let above = Expr::binary(Binary::Greater, Expr::X, Expr::Const(f64::from(threshold)));
    let y = call.b.pointwise(above, x);
    step(call, x, y, |_| Some(Step::Binarise(threshold)));
    Ok(y)
}

/// `FeatureVectorizer`: rows joined.
pub(in super::super) fn vectorise(call: &mut Call) -> Made {
    let parts: Vec<NodeId> = (0..call.inputs.len()).map(|i| call.data(i)).collect::<Result<_, _>>()?;
    let rank = parts.first().map_or(1, |part| call.shape(*part).len());
    let y = call.b.concat(&parts, rank.max(1) - 1);
    join(call, &parts, y);
    Ok(y)
}

/// `Normalizer`: a row over its norm.
pub(in super::super) fn normalise(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let n = shape.iter().product::<usize>();
    let row = call.b.reshape(x, &[1, n]);
    let norm = match Attributes(call.node).text("norm", "MAX")? {
        "L1" => {
            let absolute = call.b.pointwise(Expr::unary(Unary::Abs, Expr::X), row);
            reduce::sums(call, absolute)?
        }
        "L2" => {
            let squares = reduce::squares(call, row)?;
            call.b.pointwise(Expr::unary(Unary::Sqrt, Expr::X), squares)
        }
        other => return Err(format!("its norm {other:?} is not supported: L1 or L2")),
    };
    let inverse = call.b.reciprocal(norm);
    let inverse = call.b.reshape(inverse, &[1, 1]);
    let y = call.b.mul(row, inverse)?;
    Ok(call.b.reshape(y, &shape))
}

/// Every element's column of `y` is that of `x` with one more step.
fn step(call: &mut Call, x: NodeId, y: NodeId, next: impl Fn(usize) -> Option<Step>) {
    let Some(columns) = call.tabular.columns.get(&x) else { return };
    let stepped: Option<Vec<Column>> =
        columns.iter().enumerate().map(|(i, column)| Some(column.then(next(i)?))).collect();
    if let Some(stepped) = stepped.filter(|_| x != y) {
        call.tabular.columns.insert(y, Arc::new(stepped));
    }
}

fn join(call: &mut Call, parts: &[NodeId], y: NodeId) {
    let known: Option<Vec<Arc<Vec<Column>>>> =
        parts.iter().map(|part| call.tabular.columns.get(part).cloned()).collect();
    if let Some(known) = known {
        // Rows are single, so parts lie one after the other.
        let joined = known.iter().flat_map(|part| part.iter().cloned()).collect();
        call.tabular.columns.insert(y, Arc::new(joined));
    }
}

/// Keeps account of what ONNX's own operators do to columns, after they have been translated to
/// `made`.
pub(in super::super) fn follow(call: &mut Call, made: &[Wire]) {
    let (Some(Wire::Data(y, kind)), Some(op)) = (made.first(), Some(call.node.op_type.as_str())) else { return };
    let (y, kind) = (*y, *kind);
    if call.tabular.columns.contains_key(&y) {
        return;
    }
    let parts: Vec<NodeId> = (0..call.inputs.len()).filter_map(|i| call.data(i).ok()).collect();
    match (op, parts.as_slice()) {
        ("Identity" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze", [x, ..]) => {
            if let Some(columns) = call.tabular.columns.get(x).cloned() {
                call.tabular.columns.insert(y, columns);
            }
        }
        ("Cast", [x]) if kind == Kind::Real => {
            if let Some(columns) = call.tabular.columns.get(x).cloned() {
                call.tabular.columns.insert(y, columns);
            }
        }
        ("Concat", parts) if single_rows(call, parts) && parts.len() == call.inputs.len() => join(call, parts, y),
        ("Gather", [x]) => gather(call, *x, y),
        ("Relu", [x]) => step(call, *x, y, |_| Some(Step::Relu)),
        ("Add" | "Sub" | "Mul" | "Div", [x]) => arithmetic(call, *x, y),
        _ => {}
    }
}

/// Whether all are one row each.
fn single_rows(call: &Call, parts: &[NodeId]) -> bool {
    let row = |shape: &[usize]| shape.split_last().is_none_or(|(_, outer)| outer.iter().all(|extent| *extent == 1));
    parts.iter().all(|part| row(call.b.shape(*part))) && !parts.is_empty()
}

fn gather(call: &mut Call, x: NodeId, y: NodeId) {
    let shape = call.shape(x);
    let axis = call.int("axis", 0);
    let last = axis == shape.len() as i64 - 1 || axis == -1;
    let (Some(columns), true, true) = (call.tabular.columns.get(&x).cloned(), last, single_rows(call, &[x])) else {
        return;
    };
    let Ok(Some(indices)) = call.integers(1, "its indices") else { return };
    let n = columns.len() as i64;
    let place = |i: &i64| columns.get(if *i < 0 { i + n } else { *i } as usize).cloned();
    if let Some(picked) = indices.iter().map(place).collect::<Option<Vec<Column>>>() {
        call.tabular.columns.insert(y, Arc::new(picked));
    }
}

/// A column and a constant, in float32.
fn arithmetic(call: &mut Call, x: NodeId, y: NodeId) {
    let constant = usize::from(matches!(call.inputs.first(), Some(Wire::Data(..))));
    let Ok(c) = call.floats(constant, "its constant") else { return };
    let shape = call.shape(x);
    let Some(c): Option<ArrayD<f32>> = c.broadcast(IxDyn(&shape)).map(|c| c.to_owned()) else { return };
    let c: Vec<f32> = c.iter().copied().collect();
    if call.b.graph.node(y).len() != c.len() {
        return;
    }
    let op = call.node.op_type.clone();
    step(call, x, y, |i| match (op.as_str(), constant) {
        ("Add", _) => Some(Step::Add(c[i])),
        ("Mul", _) => Some(Step::Multiply(c[i])),
        ("Sub", 1) => Some(Step::Subtract(c[i])),
        ("Sub", _) => Some(Step::SubtractFrom(c[i])),
        ("Div", 1) if c[i] != 0.0 => Some(Step::Divide(c[i])),
        _ => None,
    });
}
