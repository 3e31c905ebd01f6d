//! Functions: values in topological order, and the weights they name.

use petgraph::graph::DiGraph;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
pub use crate::ids::{ValueId, WeightId};
use crate::input::Quantiser;
use crate::op::Op;
use crate::types::TensorType;

/// One value: an operation applied to earlier values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// The operation.
    pub op: Op,
    /// Earlier values.
    pub operands: Vec<ValueId>,
    /// The result.
    pub ty: TensorType,
    /// The ONNX node it comes from.
    pub node: String,
    /// Which protocol family computes it.
    pub backend: Backend,
}

/// What is public about a weight: everything but its elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Name in the ONNX model, or derived from it.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Every element is in `-2^(bits-1) .. 2^(bits-1)`.
    pub bits: u8,
    /// Fractional bits.
    pub frac: i8,
}

/// The elements of every weight of a function, in [`WeightId`] order, row-major. Server-private.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights(pub Vec<Vec<i64>>);

impl Weights {
    /// The elements of `id`.
    pub fn get(&self, id: WeightId) -> &[i64] {
        &self.0[id.index()]
    }
}

/// The program of one position.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// The model's name.
    pub name: String,
    /// Values in topological order: operands come first.
    pub values: Vec<Value>,
    /// The weights that operations name.
    pub weights: Vec<Weight>,
}

impl Function {
    /// The value `id`.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The weight `id`.
    pub fn weight(&self, id: WeightId) -> &Weight {
        &self.weights[id.index()]
    }

    /// Appends a value.
    pub fn push(&mut self, op: Op, operands: Vec<ValueId>, ty: TensorType, node: impl Into<String>) -> ValueId {
        self.values.push(Value { op, operands, ty, node: node.into(), backend: Backend::Unselected });
        ValueId(self.values.len() as u32 - 1)
    }

    /// Declares a weight.
    pub fn push_weight(&mut self, weight: Weight) -> WeightId {
        self.weights.push(weight);
        WeightId(self.weights.len() as u32 - 1)
    }

    /// How samples become this function's input.
    ///
    /// # Panics
    /// If the function is empty.
    pub fn quantiser(&self) -> Quantiser<'_> {
        let input = &self.values[0];
        let format = match &input.op {
            Op::Input(format) => Some(format),
            _ => None,
        };
        Quantiser::new(&input.ty, format)
    }

    /// Ids with their values, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (ValueId, &Value)> + ExactSizeIterator {
        self.values.iter().enumerate().map(|(i, value)| (ValueId(i as u32), value))
    }

    /// For every value, the values that read it, in order, once per operand position.
    pub fn users(&self) -> Vec<Vec<ValueId>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for (id, value) in self.iter() {
            for operand in &value.operands {
                users[operand.index()].push(id);
            }
        }
        users
    }

    /// For every value, the last value that reads it (itself if none): after that its shares can be
    /// dropped.
    pub fn last_uses(&self) -> Vec<ValueId> {
        let mut last: Vec<ValueId> = (0..self.values.len() as u32).map(ValueId).collect();
        for (id, value) in self.iter() {
            for operand in &value.operands {
                last[operand.index()] = id;
            }
        }
        last
    }

    /// The most elements that values have at any time whose shares or integers must be kept, what
    /// is being computed included.
    pub fn most_live(&self) -> usize {
        let last_uses = self.last_uses();
        let (mut live, mut most) = (0usize, 0);
        for (id, value) in self.iter() {
            live = live.saturating_add(value.ty.len());
            most = most.max(live);
            let mut read: Vec<ValueId> = value.operands.clone();
            read.sort_unstable();
            read.dedup();
            let done = read.into_iter().filter(|operand| last_uses[operand.index()] == id);
            live -= done.map(|operand| self.value(operand).ty.len()).sum::<usize>();
        }
        most
    }

    /// The data-flow graph: an edge from each operand to its reader, weighted by operand position.
    pub fn graph(&self) -> DiGraph<ValueId, usize> {
        let mut graph = DiGraph::with_capacity(self.values.len(), self.values.len());
        let nodes: Vec<_> = self.iter().map(|(id, _)| graph.add_node(id)).collect();
        for (id, value) in self.iter() {
            for (position, operand) in value.operands.iter().enumerate() {
                graph.add_edge(nodes[operand.index()], nodes[id.index()], position);
            }
        }
        graph
    }
}
