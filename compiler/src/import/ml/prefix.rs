//! What the client evaluates before the protocol: categories of the sample's columns, and what
//! stands for missing values. It needs the data in the clear and public constants only.
//!
//! Nodes that do so are taken out of the model. What they give to the rest of it becomes an input
//! of the network, and [`Prefix`] says what its elements are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fusion_ir::prefix::MAX_COLUMNS;
use fusion_ir::prefix::{Categories, Element, Prefix, Values};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    GraphProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use tract_onnx::prelude::Tensor;

use super::super::{Input, graph, tensors};
use super::DOMAIN;
use super::attributes::Attributes;

/// What was taken out of a model.
pub(in super::super) struct Encoded {
    /// The inputs that rows are made of, in the file's order.
    pub rows: Vec<Input>,
    /// The nodes, in order: name and operator.
    pub nodes: Vec<(String, String)>,
    /// For each input of what is left, its elements.
    elements: HashMap<String, Vec<Cell>>,
}

/// One element of a tensor, as far as it depends on one column of a row only.
#[derive(Clone, Debug)]
enum Cell {
    /// The number in a column, or one where it is missing.
    Number { column: usize, missing: Option<f32> },
    /// The integer in a column, or the number there cut to one.
    Whole { column: usize, cut: bool },
    /// The text in a column.
    Text { column: usize },
    /// 1 if the column has this category, else 0; if `others`, of all other categories too.
    One { column: usize, set: Arc<Categories>, one: usize, others: bool },
    /// What the column's category stands for.
    Code { column: usize, set: Arc<Categories>, codes: Arc<Vec<Code>>, other: Option<Code> },
}

/// What a category stands for.
#[derive(Clone, Debug, PartialEq)]
enum Code {
    Integer(i64),
    Real(f32),
    Text(String),
}

/// A tensor made of such elements.
#[derive(Clone, Debug)]
struct Cells {
    shape: Vec<usize>,
    cells: Vec<Cell>,
    /// Whether the client has done something to some of them.
    done: bool,
}

/// Takes out of `graph` what the client evaluates, if anything.
pub(in super::super) fn take(graph: &mut GraphProto, constants: &HashMap<String, Arc<Tensor>>) -> Option<Encoded> {
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
    let mut walk = Walk { known: HashMap::new(), constants: constants.clone(), imputes: !trees };
    let mut rows = Vec::new();
    let mut elements = HashMap::new();
    let mut from = 0;
    for input in given {
        let (shape, kind) = extents(input)?;
        let n: usize = shape.iter().product();
        let cell = |column| match kind {
            DataType::String => Cell::Text { column },
            DataType::Int32 | DataType::Int64 => Cell::Whole { column, cut: false },
            _ => Cell::Number { column, missing: None },
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

impl Cell {
    fn element(&self, sets: &mut Vec<Categories>) -> Element {
        let mut place = |set: &Categories| {
            let known = sets.iter().position(|other| other == set);
            known.unwrap_or_else(|| {
                sets.push(set.clone());
                sets.len() - 1
            }) as u32
        };
        match self {
            Cell::Number { column, missing } => Element::Number { column: *column as u32, missing: *missing },
            Cell::One { column, set, one, others } => Element::Category {
                column: *column as u32,
                set: place(set),
                values: Values::One(*one as u32),
                other: others.then_some(0.0),
            },
            Cell::Code { column, set, codes, other } => Element::Category {
                column: *column as u32,
                set: place(set),
                values: Values::Numbers(codes.iter().filter_map(Code::number).collect()),
                other: other.as_ref().and_then(Code::number),
            },
            // Of text, and of what was cut, no input is made.
            Cell::Whole { column, .. } | Cell::Text { column } => {
                Element::Number { column: *column as u32, missing: None }
            }
        }
    }

    /// Whether it is a number that the network can be given.
    fn is_number(&self) -> bool {
        match self {
            Cell::Number { .. } | Cell::Whole { cut: false, .. } | Cell::One { .. } => true,
            Cell::Whole { .. } | Cell::Text { .. } => false,
            Cell::Code { codes, other, .. } => codes.iter().chain(other).all(|code| code.number().is_some()),
        }
    }
}

impl Code {
    fn number(&self) -> Option<f32> {
        match self {
            Code::Integer(integer) => Some(*integer as f32).filter(|real| *real as i64 == *integer),
            Code::Real(real) => Some(*real).filter(|real| real.is_finite()),
            Code::Text(_) => None,
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

struct Walk {
    known: HashMap<String, Cells>,
    constants: HashMap<String, Arc<Tensor>>,
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
        let x = self.known.get(node.input.first()?)?;
        let tabular = node.domain == DOMAIN;
        match node.op_type.as_str() {
            "Identity" => Some(x.clone()),
            "Flatten" => Some(Cells { shape: vec![1, x.cells.len()], ..x.clone() }),
            "Reshape" => self.reshape(node, x),
            "Concat" => self.concat(node, x),
            "Gather" => self.gather(node, x),
            "Cast" => cast(node, x),
            "ArrayFeatureExtractor" if tabular => {
                let at = self.integers(node.input.get(1)?)?;
                x.picked(x.shape.len() - 1, &at)
            }
            "OneHotEncoder" if tabular => one_hot(node, x),
            "LabelEncoder" if tabular => label_encoder(node, x),
            "CategoryMapper" if tabular => category_mapper(node, x),
            "Imputer" if tabular && self.imputes => impute(node, x),
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

    /// Rows joined.
    fn concat(&self, node: &NodeProto, x: &Cells) -> Option<Cells> {
        let last = x.shape.len() - 1;
        let axis = node.attribute.iter().find(|attribute| attribute.name == "axis").map_or(0, |attribute| attribute.i);
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

impl Cells {
    /// Some places along the last axis.
    fn picked(&self, axis: usize, at: &[i64]) -> Option<Cells> {
        let extent = self.shape[axis];
        let place =
            |i: &i64| usize::try_from(if *i < 0 { *i + extent as i64 } else { *i }).ok().filter(|i| *i < extent);
        let at: Vec<usize> = at.iter().map(place).collect::<Option<_>>()?;
        let mut shape = self.shape.clone();
        shape[axis] = at.len();
        let cells = self.cells.chunks(extent).flat_map(|row| at.iter().map(|i| row[*i].clone())).collect();
        Some(Cells { shape, cells, done: self.done })
    }

    /// Each element replaced by several, along a new axis if there is more than one.
    fn mapped(&self, shape: Vec<usize>, f: impl Fn(&Cell) -> Option<Vec<Cell>>) -> Option<Cells> {
        let cells: Vec<Vec<Cell>> = self.cells.iter().map(f).collect::<Option<_>>()?;
        Some(Cells { shape, cells: cells.concat(), done: true })
    }
}

fn cast(node: &NodeProto, x: &Cells) -> Option<Cells> {
    let to = node.attribute.iter().find(|attribute| attribute.name == "to")?.i;
    let to = DataType::try_from(i32::try_from(to).ok()?).ok()?;
    let integer = matches!(to, DataType::Int64 | DataType::Int32);
    if !integer && !matches!(to, DataType::Float | DataType::Double) {
        return None;
    }
    let code = |code: &Code| match code {
        Code::Integer(i) if !integer => Some(Code::Real(*i as f32)),
        Code::Real(r) if integer => Some(Code::Integer(*r as i64)),
        Code::Text(_) => None,
        other => Some(other.clone()),
    };
    let cell = |cell: &Cell| match cell {
        Cell::Number { column, missing: None } if integer => Some(Cell::Whole { column: *column, cut: true }),
        Cell::Whole { column, cut: false } if !integer => Some(Cell::Number { column: *column, missing: None }),
        Cell::Number { .. } if integer => None,
        Cell::Text { .. } => None,
        Cell::Code { column, set, codes, other } => {
            let codes: Vec<Code> = codes.iter().map(code).collect::<Option<_>>()?;
            let other = match other {
                Some(other) => Some(code(other)?),
                None => None,
            };
            Some(Cell::Code { column: *column, set: set.clone(), codes: codes.into(), other })
        }
        other => Some(other.clone()),
    };
    let cells: Vec<Cell> = x.cells.iter().map(cell).collect::<Option<_>>()?;
    Some(Cells { cells, ..x.clone() })
}

fn one_hot(node: &NodeProto, x: &Cells) -> Option<Cells> {
    let attributes = Attributes(node);
    let (integers, texts) = (attributes.ints("cats_int64s").ok()?, attributes.texts("cats_strings").ok()?);
    let others = attributes.int("zeros", 1).ok()? != 0;
    let set = match (integers.is_empty(), texts.is_empty()) {
        (false, true) => Categories::Integers(integers.to_vec()),
        (true, false) => Categories::Texts(texts.iter().map(|text| (*text).to_owned()).collect()),
        _ => return None,
    };
    let (set, n) = (Arc::new(set.clone()), set.len());
    let shape = [x.shape.as_slice(), &[n]].concat();
    x.mapped(shape, |cell| match (cell, &*set) {
        (Cell::Number { column, missing: None } | Cell::Whole { column, .. }, Categories::Integers(_))
        | (Cell::Text { column }, Categories::Texts(_)) => {
            let one = |one| Cell::One { column: *column, set: set.clone(), one, others };
            Some((0..n).map(one).collect())
        }
        (Cell::Code { column, set: own, codes, other }, _) => {
            let category = |at: usize| match &*set {
                Categories::Integers(integers) => Code::Integer(integers[at]),
                Categories::Texts(texts) => Code::Text(texts[at].clone()),
            };
            let all: Vec<Code> = (0..n).map(category).collect();
            // A code that is no category would be an error for some rows.
            if !others && codes.iter().chain(other).any(|code| !all.contains(code)) {
                return None;
            }
            let one = |category: &Code| {
                let is = |code: &Code| Code::Real(f32::from(u8::from(code == category)));
                let codes: Vec<Code> = codes.iter().map(is).collect();
                Cell::Code { column: *column, set: own.clone(), codes: codes.into(), other: other.as_ref().map(is) }
            };
            Some(all.iter().map(one).collect())
        }
        _ => None,
    })
}

/// Keys and what they stand for.
struct Pairs {
    keys: Categories,
    codes: Arc<Vec<Code>>,
    other: Code,
}

fn label_encoder(node: &NodeProto, x: &Cells) -> Option<Cells> {
    let attributes = Attributes(node);
    let texts = |name: &str| attributes.texts(name).ok().filter(|texts| !texts.is_empty());
    let integers = |name: &str| attributes.ints(name).ok().filter(|integers| !integers.is_empty());
    let floats = |name: &str| attributes.floats(name, false).ok().filter(|floats| !floats.is_empty());
    let keys = match (texts("keys_strings"), integers("keys_int64s")) {
        (Some(texts), None) => Categories::Texts(texts.into_iter().map(str::to_owned).collect()),
        (None, Some(integers)) => Categories::Integers(integers.to_vec()),
        _ => return None,
    };
    let (codes, other) = match (texts("values_strings"), integers("values_int64s"), floats("values_floats")) {
        (Some(texts), None, None) => {
            let other = attributes.text("default_string", "_Unused").ok()?;
            (texts.into_iter().map(|text| Code::Text(text.to_owned())).collect(), Code::Text(other.to_owned()))
        }
        (None, Some(integers), None) => {
            let other = attributes.int("default_int64", -1).ok()?;
            (integers.iter().map(|integer| Code::Integer(*integer)).collect(), Code::Integer(other))
        }
        (None, None, Some(floats)) => {
            let other = attributes.float("default_float", -0.0).ok()?;
            (floats.into_iter().map(Code::Real).collect::<Vec<Code>>(), Code::Real(other))
        }
        _ => return None,
    };
    encoded(x, &Pairs { keys, codes: codes.into(), other })
}

/// Texts to integers, or back.
fn category_mapper(node: &NodeProto, x: &Cells) -> Option<Cells> {
    let attributes = Attributes(node);
    let texts: Vec<String> = attributes.texts("cats_strings").ok()?.into_iter().map(str::to_owned).collect();
    let integers = attributes.ints("cats_int64s").ok()?.to_vec();
    let of_text = matches!(x.cells.first()?, Cell::Text { .. });
    let pairs = if of_text {
        let codes: Vec<Code> = integers.into_iter().map(Code::Integer).collect();
        let other = Code::Integer(attributes.int("default_int64", -1).ok()?);
        Pairs { keys: Categories::Texts(texts), codes: codes.into(), other }
    } else {
        let codes: Vec<Code> = texts.into_iter().map(Code::Text).collect();
        let other = Code::Text(attributes.text("default_string", "_Unused").ok()?.to_owned());
        Pairs { keys: Categories::Integers(integers), codes: codes.into(), other }
    };
    encoded(x, &pairs)
}

fn encoded(x: &Cells, pairs: &Pairs) -> Option<Cells> {
    let Pairs { keys, codes, other } = pairs;
    if keys.len() != codes.len() || keys.len() == 0 {
        return None;
    }
    let set = Arc::new(keys.clone());
    x.mapped(x.shape.clone(), |cell| match (cell, keys) {
        (Cell::Whole { column, .. }, Categories::Integers(_)) | (Cell::Text { column }, Categories::Texts(_)) => {
            let (set, codes, other) = (set.clone(), codes.clone(), Some(other.clone()));
            Some(vec![Cell::Code { column: *column, set, codes, other }])
        }
        _ => None,
    })
}

fn impute(node: &NodeProto, x: &Cells) -> Option<Cells> {
    let attributes = Attributes(node);
    let numbers = attributes.floats("imputed_value_floats", false).ok()?;
    let replaced = attributes.float("replaced_value_float", 0.0).ok()?;
    let n = *x.shape.last()?;
    if !replaced.is_nan() || (numbers.len() != 1 && numbers.len() != n) {
        return None;
    }
    let cell = |(at, cell): (usize, &Cell)| match cell {
        Cell::Number { column, missing: None } => {
            Some(Cell::Number { column: *column, missing: Some(numbers[at % n % numbers.len()]) })
        }
        _ => None,
    };
    let cells: Vec<Cell> = x.cells.iter().enumerate().map(cell).collect::<Option<_>>()?;
    Some(Cells { cells, shape: x.shape.clone(), done: true })
}
