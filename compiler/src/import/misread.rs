//! What tract 0.23.9 reads without a word and as something else than ONNX means: there it is no
//! witness, and evaluates no constants.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{ModelProto, NodeProto};

/// The first version of ONNX's operators that broadcasts as NumPy does, without attributes.
const BROADCASTING: i64 = 7;

/// The first node that tract misreads, as a phrase.
pub(crate) fn found(model: &ModelProto) -> Option<String> {
    let own = |domain: &str| matches!(domain, "" | "ai.onnx");
    let opset = model.opset_import.iter().find(|import| own(&import.domain)).map_or(1, |import| import.version);
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let misread = nodes.filter_map(|node| Some((node, ignored(node, opset)?)));
    misread.map(|(node, what)| format!("it {what} of node {:?} ({})", node.name, node.op_type)).next()
}

/// Most nodes of trees that tract is asked about: it looks at each of them slowly.
const MOST_NODES: usize = 1 << 14;

/// What tract ignores of a node, or gets wrong.
pub(super) fn ignored(node: &NodeProto, opset: i64) -> Option<&'static str> {
    let given = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let zero_point = node.input.get(2).is_some_and(|name| !name.is_empty());
    match node.op_type.as_str() {
        _ if opset < BROADCASTING && given("axis").is_some() && given("broadcast").is_some_and(|all| all.i != 0) => {
            Some("ignores the axis of a broadcast")
        }
        // Depth before blocks is all that it knows.
        "SpaceToDepth" if given("mode").is_some_and(|mode| mode.s != b"DCR") => Some("ignores the mode"),
        "Celu" | "Swish" if given("alpha").is_some_and(|alpha| alpha.f != 1.0) => Some("ignores alpha"),
        "ConvTranspose" if given("output_shape").is_some() => Some("pads the wrong end for output_shape"),
        "QuantizeLinear" if !zero_point && given("output_dtype").is_some_and(|kind| kind.i != 0) => {
            Some("ignores output_dtype")
        }
        // A label is a class's place here, its name there.
        "TreeEnsembleClassifier" | "LinearClassifier" if named(node) => Some("answers with names of classes"),
        // Of one score for two classes it takes another label than the operator's authors.
        "TreeEnsembleClassifier" if classes(node) < 3 => Some("has labels of its own for the two classes"),
        "TreeEnsembleClassifier" if confused(node) => Some("takes other branches at nodes"),
        "TreeEnsembleClassifier" if absent(node) => Some("ignores that classes have no score"),
        "TreeEnsembleClassifier" if given("nodes_modes").is_some_and(|modes| modes.strings.len() > MOST_NODES) => {
            Some("takes too long over all nodes")
        }
        _ => None,
    }
}

/// Whether some node asks whether a number is at least a threshold, which tract takes for something
/// else, or differs from one, which a missing value does not there.
fn confused(node: &NodeProto) -> bool {
    let modes = node.attribute.iter().filter(|attribute| attribute.name == "nodes_modes");
    let mut modes = modes.flat_map(|modes| &modes.strings);
    modes.any(|mode| matches!(mode.as_slice(), b"BRANCH_GTE" | b"BRANCH_NEQ"))
}

/// Whether some samples may have no score for some class, and others negative ones: nothing counts
/// as zero there. A class has one for certain if all leaves of some tree give it one.
fn absent(node: &NodeProto) -> bool {
    let ints = |name: &str| {
        let found = node.attribute.iter().find(|attribute| attribute.name == name);
        found.map_or(&[][..], |attribute| &attribute.ints)
    };
    let of = |name: &'static str| node.attribute.iter().filter(move |attribute| attribute.name == name);
    let mut leaves: HashMap<i64, usize> = HashMap::new();
    for (tree, mode) in ints("nodes_treeids").iter().zip(of("nodes_modes").flat_map(|modes| &modes.strings)) {
        *leaves.entry(*tree).or_default() += usize::from(mode == b"LEAF");
    }
    let mut scored: HashMap<(i64, i64), HashSet<i64>> = HashMap::new();
    let of_leaves = ints("class_treeids").iter().zip(ints("class_nodeids")).zip(ints("class_ids"));
    for ((tree, leaf), class) in of_leaves {
        scored.entry((*class, *tree)).or_default().insert(*leaf);
    }
    let whole = scored.iter().filter(|((_, tree), of)| leaves.get(tree) == Some(&of.len()));
    let always: HashSet<i64> = whole.map(|((class, _), _)| *class).collect();
    always.len() < classes(node) && of("class_weights").flat_map(|weights| &weights.floats).any(|weight| *weight < 0.0)
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
    fn tract_is_not_asked_about_trees_that_it_reads_otherwise() {
        let ints = |name: &str, ints: &[i64]| AttributeProto {
            name: name.into(),
            ints: ints.to_vec(),
            ..AttributeProto::default()
        };
        let modes = |modes: &[&str]| AttributeProto {
            name: "nodes_modes".into(),
            strings: modes.iter().map(|mode| mode.as_bytes().to_vec()).collect(),
            ..AttributeProto::default()
        };
        let about = |change: &dyn Fn(&mut Vec<AttributeProto>)| {
            let mut odd = model(15, "TreeEnsembleClassifier", 1, ints("classlabels_int64s", &[0, 1, 2]));
            let attributes = &mut odd.graph.as_mut().unwrap().node[0].attribute;
            let zeros = |name: &str, n: usize| ints(name, &vec![0; n]);
            let weights =
                AttributeProto { name: "class_weights".into(), floats: vec![-1.0; 6], ..AttributeProto::default() };
            attributes.extend([ints("class_ids", &[2, 1, 0, 0, 1, 2]), modes(&["BRANCH_LEQ", "LEAF", "LEAF"])]);
            attributes.extend([ints("class_nodeids", &[1, 1, 1, 2, 2, 2]), zeros("class_treeids", 6), weights]);
            attributes.push(zeros("nodes_treeids", 3));
            change(attributes);
            found(&odd).unwrap_or_default()
        };
        assert_eq!(about(&|_| ()), "");
        assert_eq!(about(&|all| all[2] = modes(&["BRANCH_LT", "LEAF", "LEAF"])), "");
        assert!(about(&|all| all[0] = ints("classlabels_int64s", &[0, 1])).contains("two classes"));
        assert!(about(&|all| all[0] = ints("classlabels_int64s", &[0, 1, 5])).contains("names of classes"));
        let gap = ints("class_ids", &[2, 1, 0, 0, 1, 1]);
        assert!(about(&|all| all[1] = gap.clone()).contains("no score"));
        let positive = |all: &mut Vec<AttributeProto>| {
            all[1] = gap.clone();
            all[5].floats = vec![1.0; 6];
        };
        assert_eq!(about(&positive), "");
        assert!(about(&|all| all[2] = modes(&["BRANCH_GTE", "LEAF", "LEAF"])).contains("branches"));
    }

    #[test]
    fn tract_is_not_asked_about_what_it_ignores() {
        let text = |value: &str| AttributeProto { name: "mode".into(), s: value.into(), ..AttributeProto::default() };
        let kind = || AttributeProto { name: "output_dtype".into(), i: 3, ..AttributeProto::default() };
        let about = found(&model(28, "SpaceToDepth", 1, text("CRD"))).unwrap();
        assert_eq!(about, "it ignores the mode of node \"odd\" (SpaceToDepth)");
        assert_eq!(found(&model(28, "SpaceToDepth", 1, text("DCR"))), None);
        assert_eq!(found(&model(28, "DepthToSpace", 1, text("CRD"))), None);
        let alpha = |f: f32| AttributeProto { name: "alpha".into(), f, ..AttributeProto::default() };
        for op in ["Celu", "Swish"] {
            assert!(found(&model(24, op, 1, alpha(0.5))).unwrap().contains("alpha"));
            assert_eq!(found(&model(24, op, 1, alpha(1.0))), None);
        }
        let extents = AttributeProto { name: "output_shape".into(), ints: vec![1, 5], ..AttributeProto::default() };
        assert!(found(&model(13, "ConvTranspose", 2, extents)).unwrap().contains("output_shape"));
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
