//! From the ONNX graph to the float network, node by node.
//!
//! Every name is either a constant, evaluated here whatever operator made it, or a node of the new
//! graph, whose shape is known: the sample's is. Nodes that cannot be translated are collected;
//! what reads them is passed over, so that one run names them all.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use fusion_ir::verify::MAX_ELEMENTS;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto, tensor_proto::DataType, type_proto};
use tract_onnx::prelude::{Tensor, tensor1};

use super::call::{Call, Kind, Wire};
use super::control::Network as _;
use super::ml::{self, Tabular};
use super::{constant, control, graph, legacy, size, support, tensors};
use crate::Unsupported;
use crate::memory::Memory;
use crate::nn::build::Builder;
use crate::nn::{Graph, Node, NodeId, Op};

/// What is known before the walk.
pub(super) struct Start<'s> {
    pub graph: &'s GraphProto,
    pub opset: i64,
    pub name: &'s str,
    /// The model's folder, where tensors may lie.
    pub directory: Option<&'s Path>,
    /// Names that are constants.
    pub constants: HashMap<String, Arc<Tensor>>,
    /// Secret inputs with their shapes. Together they are the network's one input, one after the
    /// other.
    pub inputs: Vec<(String, Vec<usize>, Kind)>,
    /// What constants and weights may take.
    pub memory: Memory,
}

/// The walk under way.
struct Walk<'w> {
    builder: Builder,
    opset: i64,
    directory: Option<&'w Path>,
    /// What names stand for, those of inner graphs last.
    scopes: Vec<HashMap<String, Wire>>,
    /// Constants that were bfloat16.
    narrowed: HashSet<String>,
    /// What constants and weights take so far.
    used: size::Used,
    memory: Memory,
    refused: Vec<Unsupported>,
    /// What is known beside the network.
    tabular: Tabular,
    /// What is put behind the names of nodes: which turn of a loop they belong to.
    suffix: String,
}

/// A network, its output, and what its classes are called, if the model says so.
pub(super) type Network = (Graph, NodeId, Option<Vec<String>>);

/// The network that ends at the model's output, its softmaxes as they are, and what the model calls
/// the classes.
///
/// # Errors
/// Every node that has no counterpart.
pub(super) fn graph(start: Start) -> Result<Network, Vec<Unsupported>> {
    let Start { graph, opset, name, directory, constants, inputs, memory } = start;
    let mut used = size::Used::none(memory);
    // What is stored has been admitted one by one.
    let stored: u64 = constants.values().map(|tensor| tensor.as_bytes().len() as u64).sum();
    used.add(stored).map_err(|why| refusal(name, &why))?;
    let builder = Builder { graph: Graph { name: name.into(), nodes: Vec::new() }, node: "input".into() };
    let narrow = |tensor: &&tract_onnx::pb::TensorProto| tensor.data_type == DataType::Bfloat16 as i32;
    let mut walk = Walk {
        builder,
        opset,
        directory,
        scopes: vec![constants.into_iter().map(|(name, tensor)| (name, Wire::Const(tensor))).collect()],
        narrowed: graph.initializer.iter().filter(narrow).map(|tensor| tensor.name.clone()).collect(),
        used,
        memory,
        refused: Vec::new(),
        tabular: Tabular::default(),
        suffix: String::new(),
    };
    let mut from = 0;
    for (name, id, kind) in sources(&mut walk.builder, &inputs) {
        let elements = walk.builder.graph.node(id).len();
        let end = elements.saturating_add(from);
        let of = graph.input.iter().find(|input| input.name == name).and_then(element_type);
        if let Some(of) = of.filter(|_| end <= ml::MAX_COLUMNS) {
            walk.tabular.given(id, of, from..end);
        }
        from = end;
        walk.scopes[0].insert(name.into(), Wire::Data(id, kind));
    }
    walk.nodes(graph);
    walk.tabular.forget(&mut walk.builder.graph);
    let output = graph.output.first().map(|output| walk.read(&output.name));
    if !walk.refused.is_empty() {
        return Err(walk.refused);
    }
    match output {
        Some(Wire::Data(output, kind)) if !matches!(kind, Kind::Quantised { .. }) => {
            Ok((walk.builder.graph, output, walk.tabular.labels))
        }
        Some(Wire::Data(..)) => Err(refusal(name, "its output is quantised integers: end it with DequantizeLinear")),
        _ => Err(refusal(name, "its output does not depend on its input, or is none that a network gives")),
    }
}

fn refusal(name: &str, why: &str) -> Vec<Unsupported> {
    vec![Unsupported { node: name.into(), op: "model".into(), why: why.into() }]
}

impl Walk<'_> {
    /// Translates the nodes that the outputs of `graph` depend on.
    fn nodes(&mut self, graph: &GraphProto) {
        let live = graph::live(graph);
        let wanted: HashSet<&str> = graph
            .output
            .iter()
            .map(|output| output.name.as_str())
            .chain(live.iter().flat_map(|index| graph::reads(&graph.node[*index])))
            .collect();
        for (_, node) in graph.node.iter().enumerate().filter(|(index, _)| live.contains(index)) {
            let name = format!("{}{}", support::display_name(node), self.suffix);
            self.builder.node.clone_from(&name);
            let refused =
                graph::reads(node).into_iter().any(|name| matches!(self.read(name), Wire::Refused | Wire::Without(_)));
            let outcome = if refused { Err(None) } else { self.outputs(node) };
            let outputs = outcome.unwrap_or_else(|why| {
                self.refused.extend(why.map(|why| Unsupported { node: name.clone(), op: node.op_type.clone(), why }));
                vec![Wire::Refused; node.output.len()]
            });
            let missing = |(slot, name): (usize, &String)| match outputs.get(slot) {
                _ if !wanted.contains(name.as_str()) => None,
                Some(Wire::Without(why)) => Some(why.clone()),
                Some(_) => None,
                None => Some(format!("its output {slot} is not supported")),
            };
            if let Some(why) = node.output.iter().enumerate().find_map(missing) {
                self.refused.push(Unsupported { node: name, op: node.op_type.clone(), why });
            }
            let scope = self.scopes.len() - 1;
            for (slot, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                self.scopes[scope].insert(name.clone(), outputs.get(slot).cloned().unwrap_or(Wire::Refused));
            }
        }
    }

    /// Stored tensors of a graph inside a node.
    fn store(&mut self, graph: &GraphProto) -> Result<HashMap<String, Wire>, String> {
        let mut scope = HashMap::new();
        for tensor in &graph.initializer {
            let loaded = tensors::size(tensor).and_then(|bytes| self.used.add(bytes));
            let loaded = loaded.and_then(|()| tensors::load(tensor, self.directory));
            let loaded = loaded.map_err(|why| format!("weight {:?} {why}", tensor.name))?;
            scope.insert(tensor.name.clone(), Wire::Const(Arc::new(loaded)));
        }
        Ok(scope)
    }

    /// What a node gives; no reason if what is inside it has said why.
    fn outputs(&mut self, node: &NodeProto) -> Result<Vec<Wire>, Option<String>> {
        if let Some(why) = support::refusal(node) {
            return Err(Some(why));
        }
        if control::is_control(node) {
            return control::outputs(self, node);
        }
        self.plain(node).map_err(Some)
    }

    fn plain(&mut self, node: &NodeProto) -> Result<Vec<Wire>, String> {
        let given: Vec<Wire> = node.input.iter().map(|name| self.read(name)).collect();
        let narrow = node.input.iter().find(|name| self.narrowed.contains(*name));
        if let (Some(name), false) = (narrow, matches!(node.op_type.as_str(), "Cast" | "CastLike")) {
            return Err(format!("arithmetic in bfloat16, the type of {name:?}, is not supported: cast it to float32"));
        }
        if self.opset < 7 {
            let (node, given) = legacy::modern(&mut self.builder, node, &given)?;
            return self.translate(&node, &given);
        }
        self.translate(node, &given)
    }

    fn translate(&mut self, node: &NodeProto, given: &[Wire]) -> Result<Vec<Wire>, String> {
        let constants: Option<Vec<Option<Arc<Tensor>>>> = given
            .iter()
            .map(|wire| match wire {
                Wire::Const(tensor) => Some(Some(tensor.clone())),
                Wire::Missing => Some(None),
                _ => None,
            })
            .collect();
        match (node.op_type.as_str(), given.first(), constants) {
            ("Shape", Some(Wire::Data(x, _)), _) => Ok(vec![Wire::Const(Arc::new(extents(&self.builder, node, *x)))]),
            ("Size", Some(Wire::Data(x, _)), _) => {
                let n = self.builder.shape(*x).iter().product::<usize>() as i64;
                Ok(vec![Wire::Const(Arc::new(Tensor::from(n)))])
            }
            ("Constant", ..) if node.attribute.iter().any(|attribute| attribute.t.is_some()) => self.stored(node),
            (op, _, Some(constants)) if op != "CastLike" => {
                if !constant::evaluable(node) {
                    return Err("operator not supported on constants".into());
                }
                let made = constant::evaluate(node, &constants, self.opset, &mut self.used)?;
                Ok(made.into_iter().map(Wire::Const).collect())
            }
            _ => {
                let first = self.builder.graph.nodes.len();
                let (opset, memory) = (self.opset, self.memory);
                let tabular = &mut self.tabular;
                let mut call = Call { b: &mut self.builder, node, inputs: given, opset, tabular, memory };
                let mut made = support::translate(&mut call)?;
                ml::follow(&mut call, &mut made);
                self.used.check_layers(self.builder.graph.nodes.len())?;
                let weights: u64 = self.builder.graph.nodes[first..].iter().map(|node| node.op.parameters()).sum();
                self.used.add(weights * size_of::<f32>() as u64)?;
                let large = |node: &Node| node.is_empty() || node.len() > MAX_ELEMENTS;
                match self.builder.graph.nodes[first..].iter().find(|node| large(node)) {
                    Some(node) => Err(format!("shape {:?}: empty, or more than {MAX_ELEMENTS} elements", node.shape)),
                    None => Ok(made),
                }
            }
        }
    }

    /// The tensor of a Constant.
    fn stored(&mut self, node: &NodeProto) -> Result<Vec<Wire>, String> {
        let tensor = node.attribute.iter().find_map(|attribute| attribute.t.as_ref()).ok_or("it holds nothing")?;
        let loaded = tensors::size(tensor).and_then(|bytes| self.used.add(bytes));
        let loaded = loaded.and_then(|()| tensors::load(tensor, self.directory));
        let loaded = loaded.map_err(|why| format!("its tensor {why}"))?;
        if let Some(at) = tensors::first_nan(&loaded) {
            return Err(format!("its tensor holds NaN at element {at}"));
        }
        if tensor.data_type == DataType::Bfloat16 as i32 {
            self.narrowed.extend(node.output.first().cloned());
        }
        Ok(vec![Wire::Const(Arc::new(loaded))])
    }
}

impl control::Network for Walk<'_> {
    fn read(&self, name: &str) -> Wire {
        let known = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        known.cloned().unwrap_or(Wire::Missing)
    }

    fn inside(
        &mut self,
        graph: &GraphProto,
        given: Vec<(String, Wire)>,
        turn: Option<i64>,
    ) -> Result<Vec<Wire>, Option<String>> {
        let mut scope = self.store(graph).map_err(Some)?;
        scope.extend(given);
        let (before, outer) = (self.refused.len(), self.suffix.clone());
        if let Some(turn) = turn {
            self.suffix = format!("{outer}/{turn}");
        }
        self.scopes.push(scope);
        self.nodes(graph);
        let outputs = graph.output.iter().map(|output| self.read(&output.name)).collect();
        self.scopes.pop();
        self.suffix = outer;
        if self.refused.len() > before { Err(None) } else { Ok(outputs) }
    }

    fn call<'c>(&'c mut self, node: &'c NodeProto) -> Call<'c> {
        let Walk { builder, tabular, memory, .. } = self;
        // As the newest version of the operators that a node's parts are made of.
        Call { b: builder, node, inputs: &[], opset: 13, tabular, memory: *memory }
    }
}

/// The element type that an input is declared with.
fn element_type(input: &ValueInfoProto) -> Option<DataType> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref()?.value.as_ref() else { return None };
    DataType::try_from(tensor.elem_type).ok()
}

fn sources<'i>(builder: &mut Builder, inputs: &'i [(String, Vec<usize>, Kind)]) -> Vec<(&'i str, NodeId, Kind)> {
    if let [(name, shape, kind)] = inputs {
        // Samples have no batch axis.
        let sample = if let [1, rest @ ..] = shape.as_slice() { rest } else { shape };
        let sample = if sample.is_empty() { &[1] } else { sample };
        let x = builder.push(Op::Input, vec![], sample);
        return vec![(name, builder.reshape(x, shape), *kind)];
    }
    let lengths = inputs.iter().map(|(_, shape, _)| shape.iter().product::<usize>());
    let all = builder.push(Op::Input, vec![], [lengths.sum::<usize>()]);
    let mut from = 0;
    let mut parts = Vec::new();
    for (name, shape, kind) in inputs {
        let n = shape.iter().product();
        let part = builder.slice(all, &[from], &[n]);
        parts.push((name.as_str(), builder.reshape(part, shape), *kind));
        from += n;
    }
    parts
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
