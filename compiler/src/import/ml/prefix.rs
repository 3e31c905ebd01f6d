//! What the client evaluates before the protocol: categories of the sample's columns, what stands
//! for missing values and, if that is to be public, how columns are scaled. It needs the data in
//! the clear and public constants only.
//!
//! Nodes that do so are taken out of the model. What they give to the rest of it becomes an input
//! of the network, and [`Prefix`] says what its elements are.

mod cells;
mod encoders;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fusion_ir::Prefix;
use fusion_ir::prefix::MAX_COLUMNS;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    GraphProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use tract_onnx::prelude::Tensor;

use super::super::{Input, graph, tensors};
use super::DOMAIN;
use cells::{Cell, Cells, Code};
pub(super) use encoders::{List, looks_up};

/// What decides how much of a model the client evaluates.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rules {
    /// The version of the domain that the model means.
    pub version: i64,
    /// Whether scalers, thresholds of binarizers, and replacements of missing values in front of
    /// trees are public too.
    pub public: bool,
}

/// What was taken out of a model.
pub(in super::super) struct Encoded {
    /// The inputs that rows are made of, in the file's order.
    pub rows: Vec<Input>,
    /// The nodes, in order: name and operator.
    pub nodes: Vec<(String, String)>,
    /// For each input of what is left, its elements.
    elements: HashMap<String, Vec<Cell>>,
}

/// Takes out of `graph` what the client evaluates, if anything.
pub(in super::super) fn take(
    graph: &mut GraphProto,
    constants: &HashMap<String, Arc<Tensor>>,
    rules: Rules,
) -> Option<Encoded> {
    let live = graph::live(graph);
    let read: HashSet<String> =
        live.iter().flat_map(|index| graph::reads(&graph.node[*index])).map(str::to_owned).collect();
    let stored = graph::stored(graph);
    let given: Vec<&ValueInfoProto> = graph
        .input
        .iter()
        .filter(|input| !stored.contains(input.name.as_str()) && read.contains(&input.name))
        .collect();
    let trees = graph.node.iter().any(|node| node.op_type.starts_with("TreeEnsemble"));
    let mut walk = Walk { known: HashMap::new(), constants: constants.clone(), rules, imputes: !trees || rules.public };
    let mut rows = Vec::new();
    let mut elements = HashMap::new();
    let mut from = 0;
    for input in given {
        let (shape, kind) = extents(input)?;
        let n: usize = shape.iter().product();
        let cell = |column| match kind {
            DataType::String => Cell::Text { column },
            DataType::Int32 | DataType::Int64 => Cell::Whole { column, cut: false },
            _ => Cell::Number { column, steps: Vec::new() },
        };
        let cells: Vec<Cell> = (from..from + n).map(cell).collect();
        from += n;
        if from > MAX_COLUMNS {
            return None;
        }
        elements.insert(input.name.clone(), cells.clone());
        walk.known.insert(input.name.clone(), Cells { shape: shape.clone(), cells, done: false });
        rows.push(Input { name: input.name.clone(), shape });
    }
    let mut taken = HashSet::new();
    for (index, node) in graph.node.iter().enumerate().filter(|(index, _)| live.contains(index)) {
        let Some(cells) = walk.node(node) else { continue };
        if cells.done {
            taken.insert(index);
        }
        walk.known.insert(node.output.first()?.clone(), cells);
    }
    // What the rest reads of it becomes an input.
    let rest = live.iter().filter(|index| !taken.contains(*index)).map(|index| &graph.node[*index]);
    let wanted: HashSet<&str> =
        rest.flat_map(graph::reads).chain(graph.output.iter().map(|output| output.name.as_str())).collect();
    let mut inputs = Vec::new();
    for index in &taken {
        let name = &graph.node[*index].output[0];
        if wanted.contains(name.as_str()) {
            let cells = &walk.known[name];
            inputs.push((*index, value_info(name, cells)?));
            elements.insert(name.clone(), cells.cells.clone());
        }
    }
    if inputs.is_empty() {
        return None;
    }
    inputs.sort_by_key(|(index, _)| *index);
    let mut indices: Vec<usize> = taken.iter().copied().collect();
    indices.sort_unstable();
    let named = |index: &usize| {
        let node = &graph.node[*index];
        (super::super::support::display_name(node).to_owned(), node.op_type.clone())
    };
    let nodes = indices.iter().map(named).collect();
    graph.input.extend(inputs.into_iter().map(|(_, input)| input));
    let mut index = 0;
    graph.node.retain(|_| {
        index += 1;
        !taken.contains(&(index - 1))
    });
    Some(Encoded { rows, nodes, elements })
}

impl Encoded {
    /// The prefix for a network with these inputs.
    pub fn prefix(&self, inputs: &[Input]) -> Prefix {
        let mut prefix = Prefix { shape: self.row_shape(), ..Prefix::default() };
        let cells = inputs.iter().flat_map(|input| &self.elements[&input.name]);
        prefix.elements = cells.map(|cell| cell.element(&mut prefix.sets)).collect();
        prefix
    }

    /// A row of one input has its extents; several are flattened, one after the other.
    fn row_shape(&self) -> Vec<usize> {
        match self.rows.as_slice() {
            [Input { shape, .. }] => shape[1..].to_vec(),
            several => vec![several.iter().map(Input::len).sum()],
        }
    }
}

/// The sample's extents with batch 1, and its type.
fn extents(input: &ValueInfoProto) -> Option<(Vec<usize>, DataType)> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref()?.value.as_ref() else { return None };
    let dims = &tensor.shape.as_ref()?.dim;
    let extent = |dim: &tensor_shape_proto::Dimension| match dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(n)) => usize::try_from(n).ok().filter(|n| *n > 0),
        _ => None,
    };
    let rest: Vec<usize> = dims.iter().skip(1).map(extent).collect::<Option<_>>()?;
    let shape = [vec![1], rest].concat();
    let kind = DataType::try_from(tensor.elem_type).ok()?;
    (shape.len() > 1).then_some((shape, kind))
}

/// An input of the rest of the model; `None` if it cannot be one.
fn value_info(name: &str, cells: &Cells) -> Option<ValueInfoProto> {
    let batch = cells.shape.len() > 1 && cells.shape[0] == 1;
    if !batch || !cells.cells.iter().all(Cell::is_number) {
        return None;
    }
    let integer = |cell: &Cell| match cell {
        Cell::Code { codes, .. } => matches!(codes.first(), Some(Code::Integer(_))),
        _ => false,
    };
    let elem_type = if cells.cells.iter().all(integer) { DataType::Int64 } else { DataType::Float } as i32;
    let dimension = |extent: &usize| {
        let value = Some(tensor_shape_proto::dimension::Value::DimValue(*extent as i64));
        tensor_shape_proto::Dimension { value, ..Default::default() }
    };
    let shape = Some(TensorShapeProto { dim: cells.shape.iter().map(dimension).collect() });
    let value = Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type, shape }));
    let r#type = Some(TypeProto { value, ..Default::default() });
    Some(ValueInfoProto { name: name.into(), r#type, ..Default::default() })
}

/// Whether a node has no attributes: with them arithmetic is that of old operator sets.
fn plain(node: &NodeProto) -> bool {
    node.attribute.is_empty()
}

struct Walk {
    known: HashMap<String, Cells>,
    constants: HashMap<String, Arc<Tensor>>,
    rules: Rules,
    /// Whether the client replaces missing values: trees take them as they are.
    imputes: bool,
}

impl Walk {
    /// What a node gives, if it is made of single columns.
    fn node(&mut self, node: &NodeProto) -> Option<Cells> {
        if node.op_type == "Constant" {
            let proto = node.attribute.iter().find_map(|attribute| attribute.t.as_ref())?;
            self.constants.insert(node.output.first()?.clone(), Arc::new(tensors::load(proto, None).ok()?));
            return None;
        }
        let (tabular, public) = (node.domain == DOMAIN, self.rules.public);
        let Some(x) = self.known.get(node.input.first()?) else {
            let (x, constant) = (self.known.get(node.input.get(1)?)?, self.constants.get(node.input.first()?)?);
            let arithmetic = public && plain(node) && matches!(node.op_type.as_str(), "Add" | "Sub" | "Mul");
            return if arithmetic { encoders::arithmetic(node, x, constant, true) } else { None };
        };
        match node.op_type.as_str() {
            "Identity" => Some(x.clone()),
            "Flatten" => Some(Cells { shape: vec![1, x.cells.len()], ..x.clone() }),
            "Reshape" => self.reshape(node, x),
            "Concat" => self.concat(node, x),
            "Gather" => self.gather(node, x),
            "Cast" => encoders::cast(node, x),
            "Add" | "Sub" | "Mul" | "Div" if public && plain(node) => {
                encoders::arithmetic(node, x, self.constants.get(node.input.get(1)?)?, false)
            }
            "ArrayFeatureExtractor" if tabular => {
                let at = self.integers(node.input.get(1)?)?;
                x.picked(x.shape.len() - 1, &at)
            }
            "FeatureVectorizer" if tabular => self.vectorise(node, x),
            "OneHotEncoder" if tabular => encoders::one_hot(node, x),
            "LabelEncoder" if tabular => encoders::label_encoder(node, x, self.rules.version),
            "CategoryMapper" if tabular => encoders::category_mapper(node, x),
            "Imputer" if tabular && self.imputes => encoders::impute(node, x),
            "Scaler" if tabular && public => encoders::scale(node, x),
            "Binarizer" if tabular && public => encoders::binarise(node, x),
            _ => None,
        }
    }

    fn integers(&self, name: &str) -> Option<Vec<i64>> {
        let wide = self.constants.get(name)?.cast_to::<i64>().ok()?;
        let view = wide.to_plain_array_view::<i64>().ok()?;
        Some(view.iter().copied().collect())
    }

    fn reshape(&self, node: &NodeProto, x: &Cells) -> Option<Cells> {
        let wanted = self.integers(node.input.get(1)?)?;
        let mut shape: Vec<usize> = Vec::new();
        for (axis, extent) in wanted.iter().enumerate() {
            shape.push(match extent {
                -1 => 1,
                0 => *x.shape.get(axis)?,
                extent => usize::try_from(*extent).ok()?,
            });
        }
        let n = x.cells.len();
        let known = shape.iter().try_fold(1usize, |all, extent| all.checked_mul(*extent))?;
        if let Some(free) = wanted.iter().position(|extent| *extent == -1) {
            shape[free] = n / known.max(1);
        }
        (shape.iter().product::<usize>() == n).then(|| Cells { shape, ..x.clone() })
    }

    fn concat(&self, node: &NodeProto, x: &Cells) -> Option<Cells> {
        let axis = node.attribute.iter().find(|attribute| attribute.name == "axis").map_or(0, |attribute| attribute.i);
        self.joined(node, x, axis)
    }

    /// Rows joined, integers as numbers.
    fn vectorise(&self, node: &NodeProto, x: &Cells) -> Option<Cells> {
        let joined = self.joined(node, x, -1)?;
        let real = |cell: &Cell| match cell {
            Cell::Whole { column, cut: false } => Some(Cell::Number { column: *column, steps: Vec::new() }),
            Cell::Whole { .. } | Cell::Text { .. } => None,
            other => Some(other.clone()),
        };
        let cells = joined.cells.iter().map(real).collect::<Option<_>>()?;
        Some(Cells { cells, ..joined })
    }

    /// Rows joined along `axis`, the last one.
    fn joined(&self, node: &NodeProto, x: &Cells, axis: i64) -> Option<Cells> {
        let last = x.shape.len() - 1;
        let parts: Vec<&Cells> = node.input.iter().map(|name| self.known.get(name)).collect::<Option<_>>()?;
        let rows = |part: &&Cells| part.shape.len() == x.shape.len() && part.shape[..last].iter().all(|n| *n == 1);
        if (axis != -1 && axis != last as i64) || !parts.iter().all(rows) {
            return None;
        }
        let cells: Vec<Cell> = parts.iter().flat_map(|part| part.cells.iter().cloned()).collect();
        let mut shape = x.shape.clone();
        shape[last] = cells.len();
        Some(Cells { shape, cells, done: parts.iter().any(|part| part.done) })
    }

    fn gather(&self, node: &NodeProto, x: &Cells) -> Option<Cells> {
        let axis = node.attribute.iter().find(|attribute| attribute.name == "axis").map_or(0, |attribute| attribute.i);
        let rank = x.shape.len() as i64;
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis })
            .ok()
            .filter(|axis| *axis + 1 == x.shape.len())?;
        let name = node.input.get(1)?;
        let vector = self.constants.get(name)?.rank() == 1;
        let at = self.integers(name).filter(|_| vector)?;
        x.picked(axis, &at)
    }
}
