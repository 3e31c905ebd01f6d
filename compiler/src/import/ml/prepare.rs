//! What prepares columns: scalers, imputation, joins. Beside the network, which computes them in
//! fixed point, [`follow`] keeps account of what nodes do exactly to single elements of the sample,
//! for trees behind them.

use std::sync::Arc;

use ndarray::arr1;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::Tensor;

use super::super::call::{Call, Made, Wire, number};
use super::super::ops::reduce;
use super::Tabular;
use super::attributes::Attributes;
use super::columns::Columns;
use super::elements::{self, Does, does};
use super::exact::{self, Reader};
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

/// A node of its own with the values of `x`. The builder makes no such factor and looks through
/// none, as it does through a shape.
fn stand_in(call: &mut Call, x: NodeId) -> NodeId {
    let id = call.b.push(Op::Scale(1.0), vec![x], call.shape(x));
    call.tabular.stand_ins.push(id);
    id
}

impl Tabular {
    /// Makes nodes that only columns needed moves, which cost nothing, once columns are not needed
    /// any more.
    pub fn forget(&self, graph: &mut Graph) {
        self.stand_ins.iter().for_each(|id| graph.nodes[id.0].op = Op::Reshape);
    }
}

/// Nodes that change numbers, even where the network's are what they were.
const COMPUTES: &[&str] =
    &["Add", "Cast", "CastLike", "Clip", "Div", "Imputer", "Max", "Mean", "Min", "Mul", "Pow", "Scaler", "Sub", "Sum"];

/// Keeps account of what a node does to columns, after it has been translated to `made`.
pub(in super::super) fn follow(call: &mut Call, made: &mut [Wire]) {
    let Some(Wire::Data(y, _)) = made.first_mut() else { return };
    let followed = followed(call).filter(|columns| columns.each.len() == call.b.graph.node(*y).len());
    // What is no operation in the network may have been translated to the node that it reads:
    // moves, conversions, and arithmetic whose constant is none in float32.
    let known = call.tabular.columns.get(y);
    let moves = !COMPUTES.contains(&call.node.op_type.as_str());
    match (&followed, known) {
        (Some(columns), Some(known)) if columns == known => return,
        (None, None) => return,
        (None, Some(_)) if moves => return,
        // A node of its own, since what reads it reads another function of the sample.
        (_, Some(_)) => *y = stand_in(call, *y),
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
    let first = known(data.first()?)?;
    let constants: Vec<Option<&Tensor>> = (0..call.inputs.len()).map(|i| call.constant(i).map(|c| &**c)).collect();
    let shape = call.shape(data[0]);
    let does = does(Reader { node: call.node, of: first.of, shape: &shape, constants: &constants }, data.len())?;
    let joined = || data.iter().map(known).collect::<Option<Vec<_>>>();
    let each = |parts: Vec<Arc<Columns>>| parts.iter().flat_map(|part| part.each.iter().cloned()).collect();
    Some(match does {
        Does::Moves => first,
        Does::Joins(_) => Arc::new(Columns { of: first.of, each: each(joined()?) }),
        Does::Vectorises => {
            let parts = joined()?.iter().map(|part| Arc::new(part.narrowed())).collect();
            Arc::new(Columns { of: DataType::Float, each: each(parts) })
        }
        Does::Picks { at, .. } => {
            let each = elements::picked(&first.each, *shape.last()?, &at);
            Arc::new(Columns { of: first.of, each })
        }
        Does::Steps(of, steps) => Arc::new(first.then((of, steps))),
    })
}
