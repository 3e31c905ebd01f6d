//! What prepares columns: scalers, imputation, joins. Beside the network, which computes them in
//! fixed point, [`follow`] keeps account of what nodes do exactly to single elements of the sample,
//! for trees behind them.

use std::sync::Arc;

use ndarray::arr1;
use tract_onnx::pb::tensor_proto::DataType;

use super::super::call::{Call, Made, Wire, number};
use super::super::ops::reduce;
use super::attributes::Attributes;
use super::columns::Columns;
use super::exact;
use crate::nn::expr::{Binary, Expr, Unary};
use crate::nn::{Graph, NodeId, Op};

/// `Scaler`: `(x - offset) scale`.
pub(in super::super) fn scale(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let [offsets, scales] = exact::scaler(call.node, &call.shape(x))?;
    let shift: Vec<f32> = offsets.iter().map(|offset| -offset).collect();
    let centred = call.affine(x, &number(1.0), &arr1(&shift).into_dyn())?;
    call.affine(centred, &arr1(&scales).into_dyn(), &number(0.0))
}

/// `Imputer` of missing values: for numbers that are there it changes nothing.
pub(in super::super) fn impute(call: &mut Call) -> Made {
    let x = call.data(0)?;
    exact::imputed(call.node, &call.shape(x))?;
    Ok(x)
}

/// `OneHotEncoder` of what is no column of the sample: the client has encoded those.
pub(in super::super) fn one_hot(_: &mut Call) -> Made {
    Err("it encodes what the model has computed: only columns of the sample, as they are, are encoded".into())
}

/// `Binarizer`: whether a number is above the threshold.
pub(in super::super) fn binarise(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let above = Expr::binary(Binary::Greater, Expr::X, Expr::Const(f64::from(exact::threshold(call.node)?)));
    Ok(call.b.pointwise(above, x))
}

/// `FeatureVectorizer`: rows joined.
pub(in super::super) fn vectorise(call: &mut Call) -> Made {
    let parts: Vec<NodeId> = (0..call.inputs.len()).map(|i| call.data(i)).collect::<Result<_, _>>()?;
    let features: Vec<usize> = parts.iter().map(|part| call.shape(*part).iter().product()).collect();
    exact::whole(call.node, &features)?;
    let rows: Vec<NodeId> = parts.iter().zip(&features).map(|(part, n)| call.b.reshape(*part, &[1, *n])).collect();
    Ok(call.b.concat(&rows, 1))
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

/// A node that changes nothing but has columns of its own. The builder takes no such factor for
/// granted, as it takes a shape.
const OWN: Op = Op::Scale(1.0);

/// Makes what only [`follow`] needed a move, which costs nothing, once columns are not needed any
/// more.
pub(in super::super) fn forget(graph: &mut Graph) {
    graph.nodes.iter_mut().filter(|node| node.op == OWN).for_each(|node| node.op = Op::Reshape);
}

/// Keeps account of what a node does to columns, after it has been translated to `made`.
pub(in super::super) fn follow(call: &mut Call, made: &mut [Wire]) {
    let Some(Wire::Data(y, _)) = made.first_mut() else { return };
    let followed = followed(call).filter(|columns| columns.each.len() == call.b.graph.node(*y).len());
    // What the network has no operation for may have been translated to the node that it reads.
    let known = call.tabular.columns.get(y);
    let moves = !matches!(call.node.op_type.as_str(), "Cast" | "CastLike");
    match (&followed, known) {
        (Some(columns), Some(known)) if columns == known => return,
        (None, None) => return,
        (None, Some(_)) if moves => return,
        // A node of its own, since what reads it reads another function of the sample.
        (_, Some(_)) => *y = call.b.push(OWN, vec![*y], call.shape(*y)),
        (Some(_), None) => {}
    }
    if let Some(columns) = followed {
        call.tabular.columns.insert(*y, columns);
    }
}

/// The columns of what a node gives, if it is made of single columns.
fn followed(call: &Call) -> Option<Arc<Columns>> {
    let data: Vec<NodeId> = (0..call.inputs.len()).filter_map(|i| call.data(i).ok()).collect();
    let known = |x: &NodeId| call.tabular.columns.get(x).cloned();
    match (call.node.op_type.as_str(), data.as_slice()) {
        ("Identity" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze", [x, ..]) => known(x),
        ("Concat" | "FeatureVectorizer", parts) if parts.len() == call.inputs.len() => {
            let joined = joined(call, &parts.iter().map(known).collect::<Option<Vec<_>>>()?)?;
            single_rows(call, parts).then(|| Arc::new(joined))
        }
        ("Gather" | "ArrayFeatureExtractor", [x]) => {
            let (rank, extent) = (call.shape(*x).len(), *call.shape(*x).last()?);
            let axis = if call.node.op_type == "Gather" { call.int("axis", 0) } else { -1 };
            let last = axis == -1 || axis == rank as i64 - 1;
            let indices = call.integers(1, "its indices").ok()??;
            known(x).filter(|_| last)?.picked(extent, &indices).map(Arc::new)
        }
        (_, [x]) => {
            let columns = known(x)?;
            let constant = (0..call.inputs.len()).find_map(|i| Some((&**call.constant(i)?, i == 0)));
            let steps = exact::steps(call.node, columns.of, &call.shape(*x), constant)?;
            Some(Arc::new(columns.then(steps)))
        }
        _ => None,
    }
}

/// Whether all are one row each.
fn single_rows(call: &Call, parts: &[NodeId]) -> bool {
    let row = |shape: &[usize]| shape.split_last().is_none_or(|(_, outer)| outer.iter().all(|extent| *extent == 1));
    parts.iter().all(|part| row(call.b.shape(*part))) && !parts.is_empty()
}

/// Rows one after the other; a `FeatureVectorizer` makes float32 of whatever they are.
fn joined(call: &Call, parts: &[Arc<Columns>]) -> Option<Columns> {
    let vectorises = call.node.op_type == "FeatureVectorizer";
    let of = if vectorises { DataType::Float } else { parts.first()?.of };
    let mut each = Vec::new();
    for part in parts {
        let narrows = vectorises && part.of != DataType::Float;
        let steps = if narrows { vec![exact::Exact::Narrow; part.each.len()] } else { Vec::new() };
        each.extend(part.then((of, steps)).each);
    }
    Some(Columns { of, each })
}
