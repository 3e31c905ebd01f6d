//! What tract 0.23.9 reads without a word and as something else than ONNX means: there it is no
//! witness.

use tract_onnx::pb::{ModelProto, NodeProto};

/// The first version of ONNX's operators that broadcasts as NumPy does, without attributes.
const BROADCASTING: i64 = 7;

/// The first node that tract misreads, as a phrase.
pub(super) fn found(model: &ModelProto) -> Option<String> {
    let own = |domain: &str| matches!(domain, "" | "ai.onnx");
    let opset = model.opset_import.iter().find(|import| own(&import.domain)).map_or(1, |import| import.version);
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let misread = nodes.filter_map(|node| Some((node, ignored(node, opset)?)));
    misread.map(|(node, what)| format!("it {what} of node {:?} ({})", node.name, node.op_type)).next()
}

/// Most nodes of trees that tract is asked about: it looks at each of them slowly.
const MOST_NODES: usize = 1 << 14;

/// What tract ignores of a node, or gets wrong.
fn ignored(node: &NodeProto, opset: i64) -> Option<&'static str> {
    let given = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let zero_point = node.input.get(2).is_some_and(|name| !name.is_empty());
    match node.op_type.as_str() {
        _ if opset < BROADCASTING && given("axis").is_some() && given("broadcast").is_some_and(|all| all.i != 0) => {
            Some("ignores the axis of a broadcast")
        }
        // Depth before blocks is all that it knows.
        "SpaceToDepth" if given("mode").is_some_and(|mode| mode.s != b"DCR") => Some("ignores the mode"),
        "QuantizeLinear" if !zero_point && given("output_dtype").is_some_and(|kind| kind.i != 0) => {
            Some("ignores output_dtype")
        }
        // A label is a class's place here, its name there.
        "TreeEnsembleClassifier" | "LinearClassifier" if named(node) => Some("answers with names of classes"),
        // Of one score for two classes it takes another label than the operator's authors.
        "TreeEnsembleClassifier" if classes(node) < 3 => Some("has labels of its own for the two classes"),
        "TreeEnsembleClassifier" if tracked(node) => Some("loses missing values at nodes"),
        "TreeEnsembleClassifier" if given("nodes_modes").is_some_and(|modes| modes.strings.len() > MOST_NODES) => {
            Some("takes too long over all nodes")
        }
        _ => None,
    }
}

/// Whether missing values are sent to some node's true branch.
fn tracked(node: &NodeProto) -> bool {
    let tracks = node.attribute.iter().find(|attribute| attribute.name == "nodes_missing_value_tracks_true");
    tracks.is_some_and(|tracks| tracks.ints.contains(&1))
}

/// Whether classes are called something else than `0, 1, ..`.
fn named(node: &NodeProto) -> bool {
    let mut labels = node.attribute.iter().filter(|attribute| attribute.name.starts_with("classlabels"));
    labels.any(|labels| !labels.strings.is_empty() || !labels.ints.iter().copied().eq(0..labels.ints.len() as i64))
}

fn classes(node: &NodeProto) -> usize {
    let labels = node.attribute.iter().filter(|attribute| attribute.name.starts_with("classlabels"));
    labels.map(|labels| labels.ints.len() + labels.strings.len()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::{AttributeProto, GraphProto, OperatorSetIdProto};

    use super::*;

    fn model(opset: i64, op: &str, inputs: usize, attribute: AttributeProto) -> ModelProto {
        let node = NodeProto {
            op_type: op.into(),
            name: "odd".into(),
            input: vec!["x".into(); inputs],
            attribute: vec![attribute],
            ..NodeProto::default()
        };
        let graph = GraphProto { node: vec![node], ..GraphProto::default() };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: opset }];
        ModelProto { graph: Some(graph), opset_import, ..ModelProto::default() }
    }

    #[test]
    fn tract_is_not_asked_about_what_it_ignores() {
        let text = |value: &str| AttributeProto { name: "mode".into(), s: value.into(), ..AttributeProto::default() };
        let kind = || AttributeProto { name: "output_dtype".into(), i: 3, ..AttributeProto::default() };
        let about = found(&model(28, "SpaceToDepth", 1, text("CRD"))).unwrap();
        assert_eq!(about, "it ignores the mode of node \"odd\" (SpaceToDepth)");
        assert_eq!(found(&model(28, "SpaceToDepth", 1, text("DCR"))), None);
        assert_eq!(found(&model(28, "DepthToSpace", 1, text("CRD"))), None);
        assert!(found(&model(21, "QuantizeLinear", 2, kind())).is_some());
        assert_eq!(found(&model(21, "QuantizeLinear", 3, kind())), None);
        let mut old = model(6, "Add", 2, AttributeProto { name: "axis".into(), i: 1, ..AttributeProto::default() });
        assert_eq!(found(&old), None);
        let broadcast = AttributeProto { name: "broadcast".into(), i: 1, ..AttributeProto::default() };
        old.graph.as_mut().unwrap().node[0].attribute.push(broadcast);
        assert!(found(&old).unwrap().contains("broadcast"));
        old.opset_import[0].version = 7;
        assert_eq!(found(&old), None);
    }
}
