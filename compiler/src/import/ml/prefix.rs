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

use super::super::whole::{GIVEN, is_whole};
use super::super::{Input, graph, support, tensors};
use super::elements::{Does, does, integer};
use super::exact::{self, Reader};
use cells::{Cell, Cells, Code, Places};
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
        walk.known.insert(input.name.clone(), Cells { of: kind, shape: shape.clone(), cells, done: false });
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
        (support::display_name(node).to_owned(), node.op_type.clone())
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
        let mut places = Places::default();
        prefix.elements = cells.map(|cell| cell.element(&mut prefix.sets, &mut places)).collect();
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
    // What the rest is reckoned in: integers are taken to be no larger than a column's.
    let fits = |code: &Code| code.number().is_some_and(|x| f64::from(x).abs() <= GIVEN as f64);
    let small = |cell: &Cell| match cell {
        Cell::Code { codes, other, .. } => codes.iter().chain(other).all(fits),
        _ => true,
    };
    let elem_type = match cells.of {
        of if is_whole(of) && !cells.cells.iter().all(small) => return None,
        of if of == DataType::Double || is_whole(of) => of,
        _ => DataType::Float,
    } as i32;
    let dimension = |extent: &usize| {
        let value = Some(tensor_shape_proto::dimension::Value::DimValue(*extent as i64));
        tensor_shape_proto::Dimension { value, ..Default::default() }
    };
    let shape = Some(TensorShapeProto { dim: cells.shape.iter().map(dimension).collect() });
    let value = Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type, shape }));
    let r#type = Some(TypeProto { value, ..Default::default() });
    Some(ValueInfoProto { name: name.into(), r#type, ..Default::default() })
}

struct Walk {
    known: HashMap<String, Cells>,
    constants: HashMap<String, Arc<Tensor>>,
    rules: Rules,
    /// Whether the client replaces missing values: trees take them as they are.
    imputes: bool,
}

impl Walk {
    /// What a node gives, if it is made of single columns. A node that is refused elsewhere is none
    /// of the client's either.
    fn node(&mut self, node: &NodeProto) -> Option<Cells> {
        if support::refusal(node).is_some() {
            return None;
        }
        if node.op_type == "Constant" {
            let proto = node.attribute.iter().find_map(|attribute| attribute.t.as_ref())?;
            self.constants.insert(node.output.first()?.clone(), Arc::new(tensors::load(proto, None).ok()?));
            return None;
        }
        let known = |name: &&String| self.known.contains_key(name.as_str());
        let data: Vec<&Cells> = node.input.iter().filter(known).map(|name| &self.known[name]).collect();
        let x = *data.first()?;
        match node.op_type.as_str() {
            "Cast" => return encoders::cast(node, x),
            "OneHotEncoder" => return encoders::one_hot(node, x),
            "LabelEncoder" => return encoders::label_encoder(node, x, self.rules.version),
            "CategoryMapper" => return encoders::category_mapper(node, x),
            _ => {}
        }
        let constant = |name: &String| match self.constants.get(name) {
            Some(constant) => Some(Some(&**constant)),
            None => (name.is_empty() || self.known.contains_key(name)).then_some(None),
        };
        // None if it reads what is neither.
        let constants = node.input.iter().map(constant).collect::<Option<Vec<_>>>()?;
        let last = x.shape.len() - 1;
        match does(Reader { node, of: x.of, shape: &x.shape, constants: &constants }, data.len())? {
            Does::Moves => self.moved(node, x),
            Does::Joins(axis) if axis == last => joined(&data),
            Does::Vectorises => vectorised(node, &data),
            Does::Picks { at, extents } if extents.len() == 1 => Some(x.picked(&at)),
            Does::Steps(of, steps) if self.rules.public || node.op_type == "Imputer" && self.imputes => {
                encoders::stepped(x, of, steps)
            }
            Does::Joins(_) | Does::Picks { .. } | Does::Steps(..) => None,
        }
    }

    /// Under another shape.
    fn moved(&self, node: &NodeProto, x: &Cells) -> Option<Cells> {
        match node.op_type.as_str() {
            "Identity" => Some(x.clone()),
            "Flatten" => x.flattened(integer(node, "axis", 1)),
            "Reshape" => self.reshape(node, x),
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
        // Then a zero is an extent like others, and nothing has such a shape.
        if integer(node, "allowzero", 0) != 0 && wanted.contains(&0) {
            return None;
        }
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
}

/// Rows joined, integers as numbers.
fn vectorised(node: &NodeProto, parts: &[&Cells]) -> Option<Cells> {
    let features: Vec<usize> = parts.iter().map(|part| part.cells.len()).collect();
    exact::whole(node, &features).ok()?;
    let joined = joined(parts)?;
    let real = |cell: &Cell| match cell {
        Cell::Whole { column, cut: false } => Some(Cell::Number { column: *column, steps: Vec::new() }),
        Cell::Whole { .. } | Cell::Text { .. } => None,
        other => Some(other.clone()),
    };
    let cells: Vec<Cell> = joined.cells.iter().map(real).collect::<Option<_>>()?;
    Some(Cells { of: DataType::Float, shape: vec![1, cells.len()], cells, ..joined })
}

/// Rows joined along their last axis.
fn joined(parts: &[&Cells]) -> Option<Cells> {
    let x = parts.first()?;
    let last = x.shape.len() - 1;
    let row = |part: &&Cells| part.shape.len() == x.shape.len() && part.shape[..last].iter().all(|n| *n == 1);
    if !parts.iter().all(row) {
        return None;
    }
    let cells: Vec<Cell> = parts.iter().flat_map(|part| part.cells.iter().cloned()).collect();
    let mut shape = x.shape.clone();
    shape[last] = cells.len();
    Some(Cells { of: x.of, shape, cells, done: parts.iter().any(|part| part.done) })
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;
    use tract_onnx::prelude::tensor1;

    use super::super::DOMAIN;
    use super::*;

    fn node(domain: &str, op: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[f32])]) -> NodeProto {
        let attribute = |(name, numbers): &(&str, &[f32])| match numbers {
            // One number is an integer here, several are floats.
            [i] => AttributeProto { name: (*name).into(), i: *i as i64, r#type: 2, ..Default::default() },
            floats => AttributeProto { name: (*name).into(), floats: floats.to_vec(), r#type: 6, ..Default::default() },
        };
        NodeProto {
            domain: domain.into(),
            op_type: op.into(),
            input: inputs.iter().map(|name| (*name).into()).collect(),
            output: vec![output.into()],
            attribute: attributes.iter().map(attribute).collect(),
            ..Default::default()
        }
    }

    /// The operators that the client takes over of a model from `x`, a row of four float32, to what
    /// the last node gives.
    fn taken(kind: DataType, nodes: &[NodeProto], constants: &[(&str, Tensor)]) -> Vec<String> {
        let value = |name: &str, kind: DataType| {
            let cells = Cells { of: kind, shape: vec![1, 4], cells: Vec::new(), done: false };
            let mut info = value_info(name, &cells).unwrap();
            let Some(type_proto::Value::TensorType(tensor)) = &mut info.r#type.as_mut().unwrap().value else {
                panic!()
            };
            tensor.elem_type = kind as i32;
            info
        };
        let last = &nodes.last().unwrap().output[0];
        let mut graph = GraphProto {
            input: vec![value("x", kind)],
            output: vec![value(last, DataType::Float)],
            node: nodes.to_vec(),
            ..Default::default()
        };
        let constants = constants.iter().map(|(name, tensor)| ((*name).to_owned(), Arc::new(tensor.clone()))).collect();
        let encoded = take(&mut graph, &constants, Rules { version: 3, public: true });
        encoded.map_or(Vec::new(), |encoded| encoded.nodes.into_iter().map(|(_, op)| op).collect())
    }

    #[test]
    fn nodes_of_other_domains_are_none_of_the_clients() {
        let constants = [("c", tensor1(&[1f32, 2.0, 3.0, 4.0])), ("i", tensor1(&[0i64, 1]))];
        let one = |domain: &str, op: &str, second: &[&str]| {
            let inputs = [&["x"][..], second].concat();
            let scaler = node(DOMAIN, "Scaler", &["y"], "z", &[("offset", &[0.5; 2]), ("scale", &[2.0; 2])]);
            taken(DataType::Float, &[node(domain, op, &inputs, "y", &[]), scaler], &constants)
        };
        for domain in ["", "ai.onnx"] {
            assert_eq!(one(domain, "Mul", &["c"]), ["Mul"]);
        }
        assert_eq!(one(DOMAIN, "ArrayFeatureExtractor", &["i"]), ["Scaler"]);
        // A model's own function may have any name.
        for (domain, op, second) in [
            ("my", "Mul", &["c"][..]),
            ("my", "Identity", &[]),
            ("my", "Flatten", &[]),
            ("my", "Concat", &[]),
            ("my", "ArrayFeatureExtractor", &["i"]),
            (DOMAIN, "Mul", &["c"]),
            ("", "ArrayFeatureExtractor", &["i"]),
        ] {
            assert!(one(domain, op, second).is_empty(), "{domain} {op}");
        }
        let backwards = [("c", constants[0].1.clone()), ("i", tensor1(&[-1i64, 0]))];
        let extract = node(DOMAIN, "ArrayFeatureExtractor", &["x", "i"], "y", &[]);
        let scaler = node(DOMAIN, "Scaler", &["y"], "z", &[("offset", &[0.5; 2]), ("scale", &[2.0; 2])]);
        assert!(taken(DataType::Float, &[extract, scaler], &backwards).is_empty());
    }

    /// Shapes decide which number of a scaler is which column's.
    #[test]
    fn attributes_of_moves_count() {
        let scaler = |n: usize| {
            let (offset, scale) = (vec![0.5; n], vec![2.0; n]);
            node(DOMAIN, "Scaler", &["y"], "z", &[("offset", &offset), ("scale", &scale)])
        };
        let flat = |axis: f32, n| {
            taken(DataType::Float, &[node("", "Flatten", &["x"], "y", &[("axis", &[axis])]), scaler(n)], &[])
        };
        for axis in [0.0, 1.0, -1.0] {
            assert_eq!(flat(axis, 4), ["Scaler"]);
        }
        // A column of four rows of one feature.
        assert!(flat(2.0, 4).is_empty() && flat(5.0, 4).is_empty());
        let shaped = |shape: &[i64], attributes: &[(&str, &[f32])]| {
            let nodes = [node("", "Reshape", &["x", "s"], "y", attributes), scaler(4)];
            taken(DataType::Float, &nodes, &[("s", tensor1(shape))])
        };
        assert_eq!(shaped(&[0, 4], &[]), ["Scaler"]);
        assert!(shaped(&[0, 4], &[("allowzero", &[1.0])]).is_empty());
        assert_eq!(shaped(&[1, -1], &[("allowzero", &[1.0])]), ["Scaler"]);
        assert!(shaped(&[1, 4], &[("spin", &[1.0])]).is_empty());
    }

    /// Steps that the plan has none for stay in the protocol, or in the thresholds.
    #[test]
    fn only_steps_of_float32_are_the_clients() {
        let constants =
            [("single", tensor1(&[0.1f32; 4])), ("double", tensor1(&[0.1f64; 4])), ("whole", tensor1(&[1i64; 4]))];
        let one = |kind, constant: &str| taken(kind, &[node("", "Add", &["x", constant], "y", &[])], &constants);
        assert_eq!(one(DataType::Float, "single"), ["Add"]);
        for (kind, constant) in [(DataType::Double, "double"), (DataType::Double, "single"), (DataType::Int64, "whole")]
        {
            assert!(one(kind, constant).is_empty(), "{constant}");
        }
        let widened =
            [node("", "Cast", &["x"], "wide", &[("to", &[11.0])]), node("", "Add", &["wide", "double"], "y", &[])];
        assert!(taken(DataType::Float, &widened, &constants).is_empty());
    }
}
