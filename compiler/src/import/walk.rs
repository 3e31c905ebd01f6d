//! From the ONNX graph to the float network, node by node.
//!
//! Every name is either a constant, evaluated here whatever operator made it, or a node of the new graph, whose shape is known: the
//! sample's is. Nodes that cannot be translated are collected; what reads them is passed over, so that one run names them all.

use std::collections::HashMap;
use std::sync::Arc;

use fusion_ir::verify::MAX_ELEMENTS;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::{Tensor, tensor1};

use super::call::{Call, Wire};
use super::{constant, support};
use crate::Unsupported;
use crate::nn::build::Builder;
use crate::nn::{Graph, Node, NodeId, Op};

/// What is known before the walk.
pub(super) struct Start<'s> {
    pub graph: &'s GraphProto,
    pub opset: i64,
    pub name: &'s str,
    /// Names that are constants.
    pub constants: HashMap<String, Arc<Tensor>>,
    /// Secret inputs with their shapes. Together they are the network's one input, one after the other.
    pub inputs: Vec<(String, Vec<usize>)>,
}

/// The network that ends at the model's first output, its softmaxes as they are.
///
/// # Errors
/// Every node that has no counterpart.
pub(super) fn graph(start: Start) -> Result<(Graph, NodeId), Vec<Unsupported>> {
    let Start { graph, opset, name, constants, inputs } = start;
    let mut builder = Builder { graph: Graph { name: name.into(), nodes: Vec::new() }, node: "input".into() };
    let mut wires: HashMap<&str, Wire> = HashMap::new();
    for (name, tensor) in &constants {
        wires.insert(name, Wire::Const(tensor.clone()));
    }
    sources(&mut builder, &inputs).into_iter().for_each(|(name, id)| drop(wires.insert(name, Wire::Data(id))));
    let live = support::live_nodes(graph);
    let mut refused: Vec<Unsupported> = Vec::new();
    for (_, node) in graph.node.iter().enumerate().filter(|(index, _)| live.contains(index)) {
        let read = |name: &String| wires.get(name.as_str()).cloned().unwrap_or(Wire::Missing);
        let given: Vec<Wire> = node.input.iter().map(read).collect();
        builder.node = support::display_name(node);
        let outcome = if given.iter().any(|wire| matches!(wire, Wire::Refused)) {
            Err(None)
        } else {
            translate(&mut builder, node, &given, opset).map_err(Some)
        };
        let outputs = outcome.unwrap_or_else(|why| {
            refused.extend(why.map(|why| Unsupported { node: builder.node.clone(), op: node.op_type.clone(), why }));
            Vec::new()
        });
        for (slot, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            wires.insert(name, outputs.get(slot).cloned().unwrap_or(Wire::Refused));
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    match graph.output.first().and_then(|output| wires.get(output.name.as_str())) {
        Some(Wire::Data(output)) => Ok((builder.graph, *output)),
        _ => Err(vec![Unsupported {
            node: name.into(),
            op: "model".into(),
            why: "its output does not depend on its input, or is none that a network gives".into(),
        }]),
    }
}

fn sources<'i>(builder: &mut Builder, inputs: &'i [(String, Vec<usize>)]) -> Vec<(&'i str, NodeId)> {
    if let [(name, shape)] = inputs {
        // Samples have no batch axis.
        let sample = if let [1, rest @ ..] = shape.as_slice() { rest } else { shape };
        let sample = if sample.is_empty() { &[1] } else { sample };
        let x = builder.push(Op::Input, vec![], sample);
        return vec![(name, builder.reshape(x, shape))];
    }
    let lengths = inputs.iter().map(|(_, shape)| shape.iter().product::<usize>());
    let all = builder.push(Op::Input, vec![], [lengths.sum::<usize>()]);
    let mut from = 0;
    let mut parts = Vec::new();
    for (name, shape) in inputs {
        let n = shape.iter().product();
        let part = builder.slice(all, &[from], &[n]);
        parts.push((name.as_str(), builder.reshape(part, shape)));
        from += n;
    }
    parts
}

fn translate(builder: &mut Builder, node: &NodeProto, given: &[Wire], opset: i64) -> Result<Vec<Wire>, String> {
    let constants: Option<Vec<Option<Arc<Tensor>>>> = given
        .iter()
        .map(|wire| match wire {
            Wire::Const(tensor) => Some(Some(tensor.clone())),
            Wire::Missing => Some(None),
            _ => None,
        })
        .collect();
    match (node.op_type.as_str(), given.first(), constants) {
        ("Shape", Some(Wire::Data(x)), _) => Ok(vec![Wire::Const(Arc::new(extents(builder, node, *x)))]),
        ("Size", Some(Wire::Data(x)), _) => {
            let n = builder.shape(*x).iter().product::<usize>() as i64;
            Ok(vec![Wire::Const(Arc::new(Tensor::from(n)))])
        }
        // The second operand only gives the type, and all numbers are of one.
        ("CastLike", Some(wire @ Wire::Const(_)), _) => Ok(vec![wire.clone()]),
        (_, _, Some(constants)) => {
            Ok(constant::evaluate(node, &constants, opset)?.into_iter().map(Wire::Const).collect())
        }
        _ => {
            let first = builder.graph.nodes.len();
            let made = support::translate(&mut Call { b: builder, node, inputs: given, opset })?;
            let large = |node: &Node| node.is_empty() || node.len() > MAX_ELEMENTS;
            match builder.graph.nodes[first..].iter().find(|node| large(node)) {
                Some(node) => Err(format!("shape {:?}: empty, or more than {MAX_ELEMENTS} elements", node.shape)),
                None => Ok(made),
            }
        }
    }
}

/// The operator `Shape`, which may name a range of axes.
fn extents(builder: &Builder, node: &NodeProto, x: NodeId) -> Tensor {
    let shape: Vec<i64> = builder.shape(x).iter().map(|extent| *extent as i64).collect();
    let rank = shape.len() as i64;
    let bound = |name: &str, default: i64| {
        let given = node.attribute.iter().find(|attribute| attribute.name == name).map_or(default, |a| a.i);
        (if given < 0 { given + rank } else { given }).clamp(0, rank) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", rank));
    tensor1(&shape[start.min(end)..end])
}
