//! The table of supported ONNX operators. It is checked on the protobuf before anything else looks at the model, so that one run names
//! every node that is in the way, and the walk translates by it.
//!
//! Only nodes that depend on the input's *values* must be in the table. What merely computes constants or shapes (`Shape`, `Gather`,
//! `Unsqueeze` ... in front of a `Reshape`) is evaluated at compile time, whatever operator it is.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::call::{Call, Made, Wire};
use super::ops::{activation, arithmetic, linear, normalise, pool, reduce, shape};
use crate::Unsupported;

/// What one node needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSupport {
    /// The node's name, or that of its first output.
    pub node: String,
    /// Its ONNX operator.
    pub op: String,
    /// Whether it is evaluated at compile time.
    pub constant: bool,
    /// Why it is refused, if it is.
    pub why_not: Option<String>,
}

/// How an operator is translated.
#[derive(Clone, Copy)]
enum Rule {
    /// To one output.
    One(fn(&mut Call) -> Made),
    /// To several outputs, or to one that is no plain data.
    Several(fn(&mut Call) -> Result<Vec<Wire>, String>),
}
use Rule::{One, Several};

/// Supported operators.
const SUPPORTED: &[(&str, Rule)] = &[
    ("Abs", One(activation::pointwise)),
    ("Acos", One(activation::pointwise)),
    ("Acosh", One(activation::pointwise)),
    ("Add", One(arithmetic::add)),
    ("And", One(arithmetic::compare)),
    ("ArgMax", One(reduce::arg_max)),
    ("Asin", One(activation::pointwise)),
    ("Asinh", One(activation::pointwise)),
    ("Atan", One(activation::pointwise)),
    ("Atanh", One(activation::pointwise)),
    ("AveragePool", One(pool::average)),
    ("BatchNormalization", One(linear::batch_norm)),
    ("Cast", One(shape::cast)),
    ("CastLike", One(shape::identity)),
    ("Celu", One(activation::pointwise)),
    ("Clip", One(activation::clip)),
    ("Concat", One(shape::concat)),
    ("Conv", One(linear::conv)),
    ("ConvTranspose", One(linear::conv_transpose)),
    ("Cos", One(activation::pointwise)),
    ("Cosh", One(activation::pointwise)),
    ("DepthToSpace", One(shape::depth_to_space)),
    ("DequantizeLinear", One(arithmetic::dequantise)),
    ("Div", One(arithmetic::div)),
    ("Dropout", One(shape::dropout)),
    ("Elu", One(activation::pointwise)),
    ("Erf", One(activation::pointwise)),
    ("Exp", One(activation::pointwise)),
    ("Expand", One(shape::expand)),
    ("Flatten", One(shape::flatten)),
    ("Gather", One(shape::gather)),
    ("GatherElements", One(shape::gather_elements)),
    ("Gelu", One(activation::pointwise)),
    ("Gemm", One(linear::gemm)),
    ("GlobalAveragePool", One(pool::global_average)),
    ("GlobalMaxPool", One(pool::global_max)),
    ("Greater", One(arithmetic::compare)),
    ("GreaterOrEqual", One(arithmetic::compare)),
    ("GroupNormalization", One(normalise::group)),
    ("HardSigmoid", One(activation::pointwise)),
    ("HardSwish", One(activation::pointwise)),
    ("Identity", One(shape::identity)),
    ("InstanceNormalization", One(normalise::instance)),
    ("LRN", One(normalise::lrn)),
    ("LayerNormalization", One(normalise::layer)),
    ("LeakyRelu", One(activation::pointwise)),
    ("Less", One(arithmetic::compare)),
    ("LessOrEqual", One(arithmetic::compare)),
    ("Log", One(activation::pointwise)),
    ("LogSoftmax", One(activation::log_softmax)),
    ("LpPool", One(pool::lp)),
    ("MatMul", One(linear::mat_mul)),
    ("Max", One(arithmetic::max)),
    ("MaxPool", One(pool::max)),
    ("Mean", One(arithmetic::mean)),
    ("MeanVarianceNormalization", One(normalise::mean_variance)),
    ("Min", One(arithmetic::min)),
    ("Mish", One(activation::pointwise)),
    ("Mul", One(arithmetic::mul)),
    ("Neg", One(activation::negate)),
    ("Not", One(activation::pointwise)),
    ("Or", One(arithmetic::compare)),
    ("PRelu", One(activation::p_relu)),
    ("Pad", One(shape::pad)),
    ("Pow", One(activation::pow)),
    ("QuantizeLinear", Several(arithmetic::quantise)),
    ("Reciprocal", One(activation::pointwise)),
    ("ReduceL1", One(reduce::l1)),
    ("ReduceL2", One(reduce::l2)),
    ("ReduceLogSum", One(reduce::log_sum)),
    ("ReduceLogSumExp", One(reduce::log_sum_exp)),
    ("ReduceMax", One(reduce::max)),
    ("ReduceMean", One(reduce::mean)),
    ("ReduceMin", One(reduce::min)),
    ("ReduceProd", One(reduce::prod)),
    ("ReduceSum", One(reduce::sum)),
    ("ReduceSumSquare", One(reduce::sum_square)),
    ("Relu", One(activation::relu)),
    ("Reshape", One(shape::reshape)),
    ("Selu", One(activation::pointwise)),
    ("Shrink", One(activation::pointwise)),
    ("Sigmoid", One(activation::pointwise)),
    ("Sign", One(activation::pointwise)),
    ("Sin", One(activation::pointwise)),
    ("Sinh", One(activation::pointwise)),
    ("Slice", One(shape::slice)),
    ("Softmax", One(activation::softmax)),
    ("Softplus", One(activation::pointwise)),
    ("Softsign", One(activation::pointwise)),
    ("SpaceToDepth", One(shape::space_to_depth)),
    ("Split", Several(shape::split)),
    ("Sqrt", One(activation::pointwise)),
    ("Squeeze", One(shape::squeeze)),
    ("Sub", One(arithmetic::sub)),
    ("Sum", One(arithmetic::add)),
    ("Swish", One(activation::pointwise)),
    ("Tan", One(activation::pointwise)),
    ("Tanh", One(activation::pointwise)),
    ("ThresholdedRelu", One(activation::pointwise)),
    ("Tile", One(shape::tile)),
    ("Transpose", One(shape::transpose)),
    ("Unsqueeze", One(shape::unsqueeze)),
    ("Where", One(arithmetic::choose)),
];

/// Translates a node that reads data.
///
/// # Errors
/// Why it is refused.
pub(super) fn translate(call: &mut Call) -> Result<Vec<Wire>, String> {
    match refusal(call.node).map_or_else(|| rule(&call.node.op_type), Err)? {
        One(translate) => translate(call).map(|id| vec![Wire::Data(id)]),
        Several(translate) => translate(call),
    }
}

/// Names of all supported operators, sorted.
pub fn operators() -> impl Iterator<Item = &'static str> {
    SUPPORTED.iter().map(|(name, _)| *name)
}

/// The verdict on every node that the first output depends on, in graph order.
pub fn survey(graph: &GraphProto) -> Vec<NodeSupport> {
    let initializers: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let mut secret: HashSet<&str> = inputs.filter(|name| !initializers.contains(name)).collect();
    let evaluable = tract_onnx::onnx().op_register.0;
    let live = live_nodes(graph);
    let mut survey = Vec::new();
    for (index, node) in graph.node.iter().enumerate() {
        let has_subgraph = node.attribute.iter().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty());
        let reads_secret = node.input.iter().any(|input| secret.contains(input.as_str())) || has_subgraph;
        let constant = !reads_secret || matches!(node.op_type.as_str(), "Shape" | "Size");
        if !constant {
            secret.extend(node.output.iter().map(String::as_str));
        }
        if !live.contains(&index) {
            continue;
        }
        let known = evaluable.contains_key(&node.op_type) || node.op_type == "CastLike";
        let why_not = match refusal(node) {
            Some(why) => Some(why),
            None if constant => (!known).then(|| "unknown operator".into()),
            None => rule(&node.op_type).err(),
        };
        survey.push(NodeSupport { node: display_name(node), op: node.op_type.clone(), constant, why_not });
    }
    survey
}

/// The refused nodes of a survey.
pub fn refused(survey: &[NodeSupport]) -> Vec<Unsupported> {
    let refuse = |row: &NodeSupport| {
        let why = row.why_not.clone()?;
        Some(Unsupported { node: row.node.clone(), op: row.op.clone(), why })
    };
    survey.iter().filter_map(refuse).collect()
}

/// The node's name, or that of its first output.
pub fn display_name(node: &NodeProto) -> String {
    let unnamed = || node.output.first().cloned().unwrap_or_default();
    if node.name.is_empty() { unnamed() } else { node.name.clone() }
}

/// Indices of the nodes that the first output depends on.
pub(super) fn live_nodes(graph: &GraphProto) -> HashSet<usize> {
    let producers: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.output.iter().map(move |output| (output.as_str(), index)))
        .collect();
    let mut live = HashSet::new();
    let mut wanted: Vec<&str> = graph.output.iter().take(1).map(|output| output.name.as_str()).collect();
    while let Some(name) = wanted.pop() {
        if let Some(index) = producers.get(name)
            && live.insert(*index)
        {
            wanted.extend(graph.node[*index].input.iter().map(String::as_str));
        }
    }
    live
}

fn rule(op: &str) -> Result<Rule, String> {
    let row = SUPPORTED.binary_search_by_key(&op, |(name, _)| name).ok();
    row.map(|at| SUPPORTED[at].1).ok_or_else(|| "operator not supported".into())
}

/// What no node may be, whatever it reads.
fn refusal(node: &NodeProto) -> Option<String> {
    (!matches!(node.domain.as_str(), "" | "ai.onnx")).then(|| format!("operator of the domain {:?}", node.domain))
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::ValueInfoProto;

    use super::*;

    fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            name: name.into(),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    fn port(name: &str) -> ValueInfoProto {
        ValueInfoProto { name: name.into(), ..ValueInfoProto::default() }
    }

    #[test]
    fn every_refused_node_is_named_and_shape_arithmetic_is_not() {
        let graph = GraphProto {
            input: vec![port("x")],
            output: vec![port("y")],
            node: vec![
                node("Einsum", "strange", &["x"], "a"),
                node("Shape", "", &["a"], "s"),
                node("Gather", "pick", &["s"], "g"),
                node("Reshape", "flat", &["a", "g"], "r"),
                node("LSTM", "", &["r"], "t"),
                node("Relu", "last", &["t"], "y"),
                node("Einstein", "dead", &["x"], "unused"),
            ],
            ..GraphProto::default()
        };
        let refused: Vec<_> = refused(&survey(&graph)).into_iter().map(|u| (u.node, u.op)).collect();
        assert_eq!(refused, [("strange".into(), "Einsum".into()), ("t".into(), "LSTM".into())]);
        assert!(survey(&graph).iter().any(|row| row.node == "pick" && row.constant));
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(operators().is_sorted());
    }
}
