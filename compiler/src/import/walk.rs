//! From tract's typed model of one sample to the float network.
//!
//! Every wire is either a constant, evaluated here whatever operator made it, or a node of the new graph. The batch axis is the leading
//! extent 1; it is dropped. Nodes that cannot be translated are collected; something of their shape stands in for them, so that one run
//! names them all.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fusion_ir::verify::MAX_ELEMENTS;
use tract_onnx::pb::GraphProto;
use tract_onnx::prelude::{IntoArcTensor, OutletId, TValue, Tensor, TypedModel};
use tract_onnx::tract_core::model::TypedNode;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::nn::{Reduce, Softmax};
use tract_onnx::tract_core::ops::source::TypedSource;

use super::{ops, support};
use crate::Unsupported;
use crate::nn::{Graph, NodeId, Op};

/// Translates `model`; `onnx` gives the names that users know.
///
/// # Errors
/// Every node that has no counterpart.
pub(super) fn graph(model: &TypedModel, onnx: &GraphProto, name: &str) -> Result<Graph, Vec<Unsupported>> {
    let mut walk = Walk {
        model,
        onnx: onnx.node.iter().map(|node| (support::display_name(node), node.op_type.clone())).collect(),
        graph: Graph { name: name.into(), nodes: Vec::new() },
        wires: HashMap::new(),
        refused: Vec::new(),
    };
    let internal = |why: String| vec![Unsupported { node: name.into(), op: "model".into(), why }];
    for id in model.eval_order().map_err(|e| internal(format!("no evaluation order: {e}")))? {
        walk.node(&model.nodes()[id]);
    }
    if !walk.refused.is_empty() {
        return Err(walk.refused);
    }
    let output = model.output_outlets().map_err(|e| internal(e.to_string()))?.first();
    match output.and_then(|outlet| walk.wires.get(outlet)) {
        Some(Wire::Value(output)) => finish(walk.graph, *output).map_err(|refused| vec![refused]),
        _ => Err(internal("its output does not depend on its input".into())),
    }
}

/// What a tract outlet became.
#[derive(Clone)]
pub(super) enum Wire {
    Const(Arc<Tensor>),
    Value(NodeId),
    Refused,
}

/// The walk's state.
pub(super) struct Walk<'m> {
    pub model: &'m TypedModel,
    /// ONNX node names with their operators.
    onnx: HashMap<String, String>,
    pub graph: Graph,
    wires: HashMap<OutletId, Wire>,
    refused: Vec<Unsupported>,
}

/// A translation's outcome: the graph node, or why there is none.
pub(super) type Translated = Result<NodeId, String>;

impl Walk<'_> {
    fn node(&mut self, node: &TypedNode) {
        let wires: Vec<Wire> = node.inputs.iter().map(|input| self.wires[input].clone()).collect();
        let wire = if let Some(konst) = node.op_as::<Const>() {
            Wire::Const(konst.val().clone())
        } else if node.op_is::<TypedSource>() {
            match self.sample_shape(OutletId::new(node.id, 0)) {
                Ok(shape) => Wire::Value(self.graph.push(Op::Input, vec![], shape, node.name.clone())),
                Err(why) => self.refuse(node, why),
            }
        } else if wires.iter().any(|wire| matches!(wire, Wire::Refused)) {
            Wire::Refused
        } else if let Some(constants) = wires.iter().map(constant).collect::<Option<Vec<_>>>() {
            return self.evaluate(node, constants);
        } else {
            match self.translate(node, &wires) {
                Ok(id) => Wire::Value(id),
                Err(why) => {
                    let refused = self.refuse(node, why);
                    self.stand_in(node).unwrap_or(refused)
                }
            }
        };
        for slot in 0..node.outputs.len() {
            let wire = if slot == 0 { wire.clone() } else { Wire::Refused };
            self.wires.insert(OutletId::new(node.id, slot), wire);
        }
    }

    /// Evaluates a node that reads constants only.
    fn evaluate(&mut self, node: &TypedNode, constants: Vec<Arc<Tensor>>) {
        let inputs = constants.into_iter().map(TValue::from_const).collect();
        // A hostile constant may make an operator panic; that is a refusal like any other.
        let outputs =
            catch_unwind(AssertUnwindSafe(|| node.op.eval_out_of_plan(inputs).ok().flatten())).unwrap_or_default();
        for slot in 0..node.outputs.len() {
            let value = outputs.as_ref().and_then(|outputs| outputs.get(slot));
            let wire = match value {
                Some(value) => Wire::Const(value.clone().into_arc_tensor()),
                None => self.refuse(node, "cannot be evaluated at compile time".into()),
            };
            self.wires.insert(OutletId::new(node.id, slot), wire);
        }
    }

    fn refuse(&mut self, node: &TypedNode, why: String) -> Wire {
        let (name, op) = self.origin(&node.name).unwrap_or_else(|| (node.name.clone(), node.op.name().to_string()));
        if !self.refused.iter().any(|refused| refused.node == name) {
            self.refused.push(Unsupported { node: name, op, why });
        }
        Wire::Refused
    }

    /// Something of a refused node's shape, so that its readers are still looked at; the graph is never used.
    fn stand_in(&mut self, node: &TypedNode) -> Option<Wire> {
        let shape = self.sample_shape(OutletId::new(node.id, 0)).ok()?;
        Some(Wire::Value(self.push(node, Op::Input, vec![], shape)))
    }

    /// The ONNX node (and its operator) that tract's node `name` comes from: tract appends suffixes to it.
    fn origin(&self, name: &str) -> Option<(String, String)> {
        let mut candidates = vec![name];
        candidates.extend(name.rmatch_indices(['.', '-']).map(|(at, _)| &name[..at]));
        candidates.into_iter().find_map(|name| Some((name.to_string(), self.onnx.get(name)?.clone())))
    }

    /// The name that users know.
    pub fn name(&self, node: &TypedNode) -> String {
        self.origin(&node.name).map_or_else(|| node.name.clone(), |(name, _)| name)
    }

    /// Extents with the batch axis.
    pub fn full_shape(&self, outlet: OutletId) -> Result<Vec<usize>, String> {
        let fact = self.model.outlet_fact(outlet).map_err(|e| e.to_string())?;
        let shape = fact.shape.as_concrete().ok_or_else(|| format!("its shape {:?} is dynamic", fact.shape))?;
        Ok(shape.to_vec())
    }

    /// Extents without the batch axis.
    pub fn sample_shape(&self, outlet: OutletId) -> Result<Vec<usize>, String> {
        let full = self.full_shape(outlet)?;
        let shape = match full.as_slice() {
            [] => vec![1],
            [1, rest @ ..] if !rest.is_empty() => rest.to_vec(),
            other => other.to_vec(),
        };
        match shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent)) {
            Some(0) => Err(format!("its shape {shape:?} is empty")),
            Some(n) if n <= MAX_ELEMENTS => Ok(shape),
            _ => Err(format!("its shape {shape:?} has more than {MAX_ELEMENTS} elements")),
        }
    }

    /// Appends a node named after `node`.
    pub fn push(&mut self, node: &TypedNode, op: Op, inputs: Vec<NodeId>, shape: Vec<usize>) -> NodeId {
        let name = self.name(node);
        self.graph.push(op, inputs, shape, name)
    }

    fn translate(&mut self, node: &TypedNode, wires: &[Wire]) -> Translated {
        let shape = self.sample_shape(OutletId::new(node.id, 0))?;
        let data = wires.iter().find_map(value).ok_or("reads no data")?;
        if let Some(conv) = node.op_as::<Conv>() {
            ops::conv(self, node, conv, wires, shape)
        } else if let Some(einsum) = node.op_as::<EinSum>() {
            ops::dense(self, node, einsum, wires, shape)
        } else if let Some(binary) = node.op_as::<TypedBinOp>() {
            ops::binary(self, node, binary.0.name(), wires, shape)
        } else if let Some(pool) = node.op_as::<MaxPool>() {
            let window = ops::window(&pool.pool_spec, &self.full_shape(node.inputs[0])?)?;
            Ok(self.push(node, Op::MaxPool(window), vec![data], shape))
        } else if let Some(pool) = node.op_as::<SumPool>() {
            ops::sum_pool(self, node, pool, data, shape)
        } else if let Some(reduce) = node.op_as::<Reduce>() {
            ops::reduce(self, node, reduce, data, shape)
        } else if node.op_is::<Softmax>() {
            Ok(self.push(node, Op::Softmax, vec![data], shape))
        } else if let Some(concat) = node.op_as::<TypedConcat>() {
            ops::concat(self, node, concat.axis, wires, shape)
        } else if let Some(axes) = node.op_as::<AxisOp>() {
            ops::axes(self, node, axes, data, shape)
        } else if node.op_is::<Identity>() || node.op_is::<Cast>() || node.op.name() == "Dropout" {
            Ok(data)
        } else if node.op_is::<MultiBroadcastTo>() && self.graph.node(data).len() == shape.iter().product::<usize>() {
            Ok(self.push(node, Op::Reshape, vec![data], shape))
        } else {
            Err(format!("{} on data is not supported", node.op.name()))
        }
    }
}

/// The constant on a wire.
pub(super) fn constant(wire: &Wire) -> Option<Arc<Tensor>> {
    if let Wire::Const(tensor) = wire { Some(tensor.clone()) } else { None }
}

/// The graph node on a wire.
pub(super) fn value(wire: &Wire) -> Option<NodeId> {
    if let Wire::Value(id) = wire { Some(*id) } else { None }
}

/// Ends the graph at its logits, a vector: a final softmax or argmax is left out, since the label is taken inside the protocol anyway.
fn finish(mut graph: Graph, output: NodeId) -> Result<Graph, Unsupported> {
    let mut logits = output;
    let mut at = output;
    loop {
        match graph.node(at).op {
            Op::Softmax | Op::ArgMax => {
                at = graph.node(at).inputs[0];
                logits = at;
            }
            Op::Reshape => at = graph.node(at).inputs[0],
            _ => break,
        }
    }
    let node = graph.node(logits).clone();
    let refuse = |node: &crate::nn::Node, why: &str| Unsupported {
        node: node.name.clone(),
        op: node.op.name().into(),
        why: why.into(),
    };
    if node.len() < 2 {
        return Err(refuse(&node, "one output: a classifier has a score for each of two or more classes"));
    }
    if node.shape.len() != 1 {
        logits = graph.push(Op::Reshape, vec![logits], vec![node.len()], node.name);
    }
    let graph = graph.reachable(logits);
    let inner = graph.nodes.iter().find(|node| matches!(node.op, Op::Softmax | Op::ArgMax));
    match inner {
        Some(node) => Err(refuse(node, "supported at the output only")),
        None => Ok(graph),
    }
}
