//! The graph's own structure: what its nodes read, in which order they can run, and which of them
//! matter.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

/// The graphs inside a node: branches of an If, the body of a Loop.
pub(super) fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// Every name that a node reads, those that graphs inside it read from outside included.
pub(super) fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    bodies(node).for_each(|body| names.extend(captured(body)));
    names
}

/// What a graph inside a node reads from outside.
fn captured(body: &GraphProto) -> Vec<&str> {
    let mut own = stored(body);
    own.extend(body.input.iter().map(|input| input.name.as_str()));
    own.extend(body.node.iter().flat_map(|node| &node.output).map(String::as_str));
    let inside = body.node.iter().flat_map(reads);
    let given = body.output.iter().map(|output| output.name.as_str());
    inside.chain(given).filter(|name| !own.contains(name)).collect()
}

/// Names of a graph's stored tensors.
pub(super) fn stored(graph: &GraphProto) -> HashSet<&str> {
    graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect()
}

/// Brings the nodes into an order in which each reads only what comes before, as near to theirs as
/// possible; graphs inside nodes too. `outside` are the names that are known without them.
///
/// # Errors
/// A name that is read and defined by nobody, or twice, or by what depends on it.
pub(super) fn sort(graph: &mut GraphProto, outside: &HashSet<String>) -> Result<(), String> {
    let mut known: HashSet<String> = outside.clone();
    known.extend(graph.input.iter().map(|input| input.name.clone()));
    known.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if producers.insert(output, index).is_some() || known.contains(output) {
                return Err(format!("node {:?} defines {output:?} a second time", super::support::display_name(node)));
            }
        }
    }
    let order = order(graph, &known, &producers)?;
    let mut nodes: Vec<Option<NodeProto>> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|index| nodes[index].take()).collect();
    for node in &mut graph.node {
        for body in node.attribute.iter_mut().flat_map(inner) {
            sort(body, &known)?;
        }
        known.extend(node.output.iter().cloned());
    }
    Ok(())
}

fn inner(attribute: &mut AttributeProto) -> impl Iterator<Item = &mut GraphProto> {
    attribute.g.iter_mut().chain(&mut attribute.graphs)
}

/// Indices of the nodes, depth first: what a node reads comes before it, else they keep their
/// order.
fn order(graph: &GraphProto, known: &HashSet<String>, producers: &HashMap<&str, usize>) -> Result<Vec<usize>, String> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let name = |index: usize| super::support::display_name(&graph.node[index]);
    let mut state = vec![State::New; graph.node.len()];
    let mut order = Vec::with_capacity(graph.node.len());
    for first in 0..graph.node.len() {
        let mut stack = vec![first];
        while let Some(index) = stack.last().copied() {
            if state[index] != State::New {
                stack.pop();
                if state[index] == State::Open {
                    state[index] = State::Done;
                    order.push(index);
                }
                continue;
            }
            state[index] = State::Open;
            for read in reads(&graph.node[index]) {
                match producers.get(read) {
                    _ if known.contains(read) => {}
                    None => return Err(format!("node {:?} reads {read:?}, which nothing defines", name(index))),
                    Some(before) => match state[*before] {
                        State::New => stack.push(*before),
                        State::Done => {}
                        State::Open => {
                            return Err(format!("node {:?} reads {read:?}, which depends on it", name(index)));
                        }
                    },
                }
            }
        }
    }
    Ok(order)
}

/// Indices of the nodes that the outputs depend on.
pub(super) fn live(graph: &GraphProto) -> HashSet<usize> {
    let producers: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.output.iter().map(move |output| (output.as_str(), index)))
        .collect();
    let mut live = HashSet::new();
    let mut wanted: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    while let Some(name) = wanted.pop() {
        if let Some(index) = producers.get(name)
            && live.insert(*index)
        {
            wanted.extend(reads(&graph.node[*index]));
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            name: name.into(),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    fn sorted(nodes: Vec<NodeProto>) -> Result<Vec<String>, String> {
        let mut graph = GraphProto { node: nodes, ..GraphProto::default() };
        sort(&mut graph, &HashSet::from(["x".to_string()]))?;
        Ok(graph.node.into_iter().map(|node| node.name).collect())
    }

    #[test]
    fn nodes_come_after_what_they_read_and_else_stay() {
        let nodes = vec![node("last", &["b", "a"], "y"), node("first", &["x"], "a"), node("second", &["a"], "b")];
        assert_eq!(sorted(nodes).unwrap(), ["first", "second", "last"]);
        let nodes = vec![node("one", &["x"], "a"), node("two", &["x"], "b"), node("three", &["a"], "c")];
        assert_eq!(sorted(nodes).unwrap(), ["one", "two", "three"]);
    }

    #[test]
    fn circles_gaps_and_doubles_are_named() {
        let why = |nodes| sorted(nodes).unwrap_err();
        assert!(why(vec![node("a", &["q"], "p"), node("b", &["p"], "q")]).contains("depends on it"));
        assert!(why(vec![node("a", &["gone"], "p")]).contains("\"gone\", which nothing defines"));
        assert!(why(vec![node("a", &["x"], "p"), node("b", &["x"], "p")]).contains("a second time"));
    }

    #[test]
    fn what_a_branch_reads_from_outside_counts() {
        let branch = GraphProto {
            node: vec![node("inside", &["a", "own"], "z"), node("own", &["a"], "own")],
            output: vec![tract_onnx::pb::ValueInfoProto { name: "z".into(), ..Default::default() }],
            ..GraphProto::default()
        };
        let attribute = AttributeProto { name: "then_branch".into(), g: Some(branch), ..AttributeProto::default() };
        let choice = NodeProto { attribute: vec![attribute], ..node("if", &["x"], "y") };
        assert_eq!(reads(&choice), ["x", "a", "a"]);
        assert_eq!(sorted(vec![choice, node("before", &["x"], "a")]).unwrap(), ["before", "if"]);
    }
}
