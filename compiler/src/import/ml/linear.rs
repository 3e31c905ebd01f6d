//! Linear models.

use ndarray::Array2;

use super::super::call::{Call, Kind, Made, Wire};
use super::attributes::Attributes;
use super::label;
use crate::nn::expr::{Expr, Unary};
use crate::nn::{Dense, NodeId, Op};

/// `LinearClassifier`: the label, and a score for each class.
pub(in super::super) fn linear_classifier(call: &mut Call) -> Result<Vec<Wire>, String> {
    let attributes = Attributes(call.node);
    let names = attributes.labels("classlabels_ints", "classlabels_strings")?;
    let post = attributes.text("post_transform", "NONE")?;
    keeps_order(post)?;
    let (coefficients, intercepts) =
        (attributes.floats("coefficients", false)?, attributes.floats("intercepts", false)?);
    let raw = scores(call, &coefficients, &intercepts, intercepts.len().max(1))?;
    let rows = call.shape(raw)[1];
    let names = if names.is_empty() { (0..rows.max(2)).map(|i| i.to_string()).collect() } else { names };
    if names.len() != rows.max(2) {
        return Err(format!("it has {rows} scores and {} classes", names.len()));
    }
    let classes = if rows == 1 { second_class(call, raw) } else { raw };
    label::rename(call, names)?;
    let label = label::best(call, classes);
    Ok(vec![Wire::Data(label, Kind::INDEX), probabilities(call, raw, post)])
}

/// `LinearRegressor`.
pub(in super::super) fn linear_regressor(call: &mut Call) -> Made {
    let attributes = Attributes(call.node);
    if attributes.text("post_transform", "NONE")? != "NONE" {
        return Err("its post_transform is not supported".into());
    }
    let targets = usize::try_from(attributes.int("targets", 1)?).ok().filter(|n| *n > 0).ok_or("it has no target")?;
    let (coefficients, intercepts) =
        (attributes.floats("coefficients", false)?, attributes.floats("intercepts", false)?);
    scores(call, &coefficients, &intercepts, targets)
}

/// `[1, rows]` from a table's row.
fn scores(call: &mut Call, coefficients: &[f32], intercepts: &[f32], rows: usize) -> Made {
    let x = call.data(0)?;
    let n = call.shape(x).iter().product::<usize>();
    if coefficients.len() != rows * n || !(intercepts.is_empty() || intercepts.len() == rows) {
        let (c, i) = (coefficients.len(), intercepts.len());
        return Err(format!("{c} coefficients and {i} intercepts for {rows} scores of {n} features"));
    }
    let flat = call.b.reshape(x, &[n]);
    let weight = Array2::from_shape_vec((rows, n), coefficients.to_vec()).map_err(|e| e.to_string())?;
    let bias = if intercepts.is_empty() { vec![0.0; rows] } else { intercepts.to_vec() };
    let y = call.b.push(Op::Dense(Dense { weight, bias }), vec![flat], [rows]);
    Ok(call.b.reshape(y, &[1, rows]))
}

/// Scores of two classes from that of the second: it is taken if it is above 0.
pub(super) fn second_class(call: &mut Call, score: NodeId) -> NodeId {
    let score = call.b.reshape(score, &[1]);
    let (zero, one) = (call.b.scale(-0.5, score), call.b.scale(0.5, score));
    let pair = call.b.concat(&[zero, one], 0);
    call.b.reshape(pair, &[1, 2])
}

/// What a classifier's second output is of its scores `[1, n]`.
pub(super) fn probabilities(call: &mut Call, scores: NodeId, post: &str) -> Wire {
    let shape = call.shape(scores);
    let sigmoid = Expr::unary(Unary::Sigmoid, Expr::X);
    let y = match (post, shape[1]) {
        ("NONE", 1) => {
            let score = call.b.reshape(scores, &[1]);
            let other = call.b.scale(-1.0, score);
            let pair = call.b.concat(&[other, score], 0);
            call.b.reshape(pair, &[1, 2])
        }
        ("NONE", _) => scores,
        ("LOGISTIC", 1) => {
            let score = call.b.reshape(scores, &[1]);
            let other = call.b.scale(-1.0, score);
            let pair = call.b.concat(&[other, score], 0);
            let pair = call.b.reshape(pair, &[1, 2]);
            call.b.pointwise(sigmoid, pair)
        }
        ("LOGISTIC", _) => call.b.pointwise(sigmoid, scores),
        ("SOFTMAX", n) if n > 1 => call.b.push(Op::Softmax { axis: 1, log: false }, vec![scores], shape),
        (_, n) => {
            let why = format!("scores of {} by the post_transform {post:?} are not supported", counted(n));
            return Wire::Without(why + &label_instead(call));
        }
    };
    Wire::Data(y, Kind::Real)
}

fn counted(classes: usize) -> String {
    if classes == 1 { "one class".into() } else { format!("{classes} classes") }
}

/// What can be asked for instead of a classifier's scores.
pub(super) fn label_instead(call: &Call) -> String {
    match call.node.output.first() {
        Some(label) if call.node.output.len() > 1 => format!("; its label, {label:?}, is"),
        _ => String::new(),
    }
}

/// Whether a transform of scores keeps their order, so that labels do not depend on it.
pub(super) fn keeps_order(post: &str) -> Result<(), String> {
    match post {
        "NONE" | "LOGISTIC" | "SOFTMAX" | "SOFTMAX_ZERO" | "PROBIT" => Ok(()),
        other => Err(format!("its post_transform {other:?} is not known")),
    }
}
