//! The table of supported ONNX operators, checked on the protobuf before anything else looks at the model, so that one run names
//! every node that is in the way.
//!
//! Only nodes that depend on the input's *values* must be in the table. What merely computes constants or shapes (`Shape`, `Gather`,
//! `Unsqueeze` ... in front of a `Reshape`) is evaluated at compile time, whatever operator it is.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

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

type Check = fn(&NodeProto) -> Option<String>;

/// Supported operators; the function says why a particular node is not.
const SUPPORTED: &[(&str, Check)] = &[
    ("Add", anything),
    ("ArgMax", first_wins),
    ("AveragePool", average_pool),
    ("BatchNormalization", inference_only),
    ("Cast", anything),
    ("Clip", anything),
    ("Concat", anything),
    ("Conv", planar),
    ("Div", anything),
    ("Dropout", anything),
    ("Flatten", anything),
    ("Gemm", no_transposed_input),
    ("GlobalAveragePool", anything),
    ("GlobalMaxPool", anything),
    ("Identity", anything),
    ("LogSoftmax", anything),
    ("MatMul", anything),
    ("MaxPool", max_pool),
    ("Mul", anything),
    ("ReduceMean", anything),
    ("Relu", anything),
    ("Reshape", anything),
    ("Softmax", anything),
    ("Squeeze", anything),
    ("Sub", anything),
    ("Transpose", anything),
    ("Unsqueeze", anything),
];

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
        let row = SUPPORTED.iter().find(|(name, _)| *name == node.op_type);
        let why_not = if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            Some(format!("operator of the domain {:?}", node.domain))
        } else if constant {
            (!evaluable.contains_key(&node.op_type)).then(|| "unknown operator".into())
        } else {
            row.map_or_else(|| Some("operator not supported".into()), |(_, check)| check(node))
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

fn live_nodes(graph: &GraphProto) -> HashSet<usize> {
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

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn flag(node: &NodeProto, name: &str) -> i64 {
    attribute(node, name).map_or(0, |attribute| attribute.i)
}

fn ints<'n>(node: &'n NodeProto, name: &str) -> &'n [i64] {
    attribute(node, name).map_or(&[], |attribute| &attribute.ints)
}

fn anything(_: &NodeProto) -> Option<String> {
    None
}

fn planar(node: &NodeProto) -> Option<String> {
    let axes = ints(node, "kernel_shape").len();
    (axes != 0 && axes != 2).then(|| format!("{axes}-dimensional kernel; only images (two dimensions) are supported"))
}

fn pool(node: &NodeProto) -> Option<String> {
    let dilated = ints(node, "dilations").iter().any(|d| *d != 1);
    planar(node).or_else(|| dilated.then(|| "dilated windows are not supported".into()))
}

fn max_pool(node: &NodeProto) -> Option<String> {
    let indices = node.output.len() > 1 && node.output.iter().skip(1).any(|name| !name.is_empty());
    pool(node).or_else(|| indices.then(|| "its second output (indices) is not supported".into()))
}

fn average_pool(node: &NodeProto) -> Option<String> {
    let padded = ints(node, "pads").iter().any(|p| *p != 0)
        || attribute(node, "auto_pad").is_some_and(|a| a.s.starts_with(b"SAME"));
    let varies = padded && flag(node, "count_include_pad") == 0;
    let ceil = flag(node, "ceil_mode") != 0;
    pool(node)
        .or_else(|| varies.then(|| "padding without count_include_pad: the divisor would change at the border".into()))
        .or_else(|| ceil.then(|| "ceil_mode: the divisor would change at the border".into()))
}

fn inference_only(node: &NodeProto) -> Option<String> {
    (flag(node, "training_mode") != 0).then(|| "training_mode is not supported: export the model for inference".into())
}

fn no_transposed_input(node: &NodeProto) -> Option<String> {
    (flag(node, "transA") != 0).then(|| "transA is not supported: it would mix samples".into())
}

fn first_wins(node: &NodeProto) -> Option<String> {
    (flag(node, "select_last_index") != 0).then(|| "select_last_index is not supported: ties go to the first".into())
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
                node("Erf", "strange", &["x"], "a"),
                node("Shape", "", &["a"], "s"),
                node("Gather", "pick", &["s"], "g"),
                node("Reshape", "flat", &["a", "g"], "r"),
                node("Tanh", "", &["r"], "t"),
                node("Relu", "last", &["t"], "y"),
                node("Einstein", "dead", &["x"], "unused"),
            ],
            ..GraphProto::default()
        };
        let refused: Vec<_> = refused(&survey(&graph)).into_iter().map(|u| (u.node, u.op)).collect();
        assert_eq!(refused, [("strange".into(), "Erf".into()), ("t".into(), "Tanh".into())]);
        assert!(survey(&graph).iter().any(|row| row.node == "pick" && row.constant));
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(operators().is_sorted());
    }
}
