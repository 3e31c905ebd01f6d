//! ONNX to the float network.
//!
//! Steps that report everything they find at once: `file` decodes and orders the graph; [`support`]
//! checks every node of the protobuf against the table of supported operators; `walk` translates
//! node by node, with the sample's shape in hand; `head` decides what of the last layers the label
//! needs. Operators are read as ONNX defines them, from the protobuf, so each has one recognisable
//! form under its own name. What does not depend on the sample is evaluated by tract.

mod attributes;
mod call;
mod constant;
mod control;
mod file;
mod graph;
mod head;
mod legacy;
mod lookups;
pub(crate) mod misread;
mod ml;
mod ops;
mod size;
pub mod support;
mod tensors;
mod walk;
mod whole;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use fusion_ir::prefix::{Element, Prefix, Values};
use fusion_ir::schema::check_names;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::Tensor;

use crate::memory::Memory;
use crate::nn::build::Builder;
use crate::nn::{Elements, Graph, Op, absorb, compose, mask};
use crate::{Error, Unsupported};
use call::Kind;
use file::{OnnxFile, corrupt};
use support::NodeSupport;

/// Decoded models and tensors as [`function`] takes them.
pub use tract_onnx as onnx;

/// Which part of a model is computed privately. By default all that the client cannot do alone with
/// public constants, up to the only output, which is one row of scores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The name of the output, or of any value in the graph.
    pub output: Option<String>,
    /// Of an output of several rows, the row with the scores.
    pub row: Option<usize>,
    /// Whether its numbers are what is wanted, and not a label.
    pub values: bool,
    /// Whether how columns are scaled is public, so that the client does it.
    pub public_prefix: bool,
}

/// One of a model's inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name in the file; empty for the only input of a network that is not from a file.
    pub name: String,
    /// Its extents, batch first, which is 1.
    pub shape: Vec<usize>,
}

impl Input {
    /// The elements of one sample.
    #[expect(clippy::len_without_is_empty, reason = "no input is empty")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A network and the model's inputs that its one input is made of, flattened, one after the other,
/// if there are several.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    /// The inputs in the file's order.
    pub inputs: Vec<Input>,
    /// What the client makes of them before they are the network's input, if anything.
    pub prefix: Option<Prefix>,
    /// What the network's input consists of.
    pub elements: Elements,
    /// What the model calls the classes, if it is something else than their numbers.
    pub classes: Vec<String>,
    /// Whether it has operators of `ai.onnx.ml`, as models of tables have.
    pub tabular: bool,
}

impl From<Graph> for Imported {
    fn from(graph: Graph) -> Imported {
        let shape = [&[1], graph.input_shape()].concat();
        let inputs = vec![Input { name: String::new(), shape }];
        Imported { graph, inputs, prefix: None, elements: Elements::Real, classes: Vec::new(), tabular: false }
    }
}

/// Reads the ONNX model at `path` as the program of one sample.
///
/// `input_shape` overrides the input's extents, batch axis first; it is needed if one of them other
/// than the batch is dynamic.
///
/// # Errors
/// [`Error::Unsupported`] with every node that cannot be compiled and everything else that is in
/// the way, [`Error::Model`] if the file is corrupt or holds NaN, [`Error::Io`].
pub fn read(path: &Path, input_shape: Option<&[usize]>) -> Result<Graph, Error> {
    Ok(read_part(path, input_shape, &Part::default(), Memory::default())?.graph)
}

/// As [`read`], of a part of the model, if it takes no more than `memory`.
///
/// # Errors
/// As [`read`]; [`Error::Usage`] if there is no such part.
pub fn read_part(path: &Path, input_shape: Option<&[usize]>, part: &Part, memory: Memory) -> Result<Imported, Error> {
    let mut file = OnnxFile::open(path, part, memory)?;
    let constants = file.constants(memory);
    let tabular = file.graph.node.iter().any(|node| node.domain == ml::DOMAIN);
    let encoded = file.encoded(&constants, part);
    let mut refused = support::refused(&file.survey());
    refused.splice(0..0, file.problems.drain(..));
    let start = match file.inputs(input_shape) {
        Ok(inputs) => Some(inputs),
        Err(why) => {
            refused.splice(0..0, why);
            None
        }
    };
    let named = |(name, shape, _): &(String, Vec<usize>, Kind)| Input { name: name.clone(), shape: shape.clone() };
    let sources: Vec<Input> = start.iter().flatten().map(named).collect();
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = if file.graph.name.is_empty() { stem() } else { file.graph.name.clone() };
    let kinds: Vec<(usize, Kind)> =
        start.iter().flatten().map(|(_, shape, kind)| (shape.iter().product(), *kind)).collect();
    let mut found = Err(Vec::new());
    // Without a shape, or without its weights, there is no more to find out.
    if let (Some(inputs), true) = (start, file.corrupt.is_empty()) {
        let directory = path.parent();
        let (graph, opset, name) = (&file.graph, file.opset, name.as_str());
        let start = walk::Start { graph, opset, name, directory, constants, inputs, memory };
        found = walk::graph(start).and_then(|(graph, output, classes)| {
            memory.network(&graph).map_err(|why| vec![why])?;
            let graph = network(graph, output, part)?;
            Ok((classes.filter(|names| are_names(names, &graph)).unwrap_or_default(), graph))
        });
    }
    match found {
        Ok((classes, graph)) if refused.is_empty() => {
            let prefix = encoded.as_ref().map(|encoded| encoded.prefix(&sources));
            let inputs = encoded.map_or(sources, |encoded| encoded.rows);
            let elements = elements(&kinds, prefix.as_ref());
            return Ok(Imported { graph, inputs, prefix, elements, classes, tabular });
        }
        Ok(_) => {}
        Err(found) => {
            let new = found.into_iter().filter(|one| !refused.iter().any(|other| other.node == one.node));
            refused.extend(new.collect::<Vec<_>>());
        }
    }
    if let Some(Batch { input, samples }) = file.batch() {
        let why =
            format!("its batch axis is fixed to {samples}, but one sample is compiled: shapes inside may rely on it");
        refused.push(Unsupported { node: input, op: "input".into(), why });
    }
    let weights: Vec<String> = file.corrupt.iter().map(|(name, why)| format!("weight {name:?} {why}")).collect();
    if refused.is_empty() {
        return Err(corrupt(path, weights.join("; ")));
    }
    let row = |(node, why): (String, String)| Unsupported { node, op: "weight".into(), why };
    refused.extend(file.corrupt.into_iter().map(row));
    Err(Error::Unsupported(refused))
}

/// What the elements of inputs of so many elements of these kinds are, of which the client makes
/// those of the prefix.
fn elements(inputs: &[(usize, Kind)], prefix: Option<&Prefix>) -> Elements {
    let kinds = inputs.iter().flat_map(|(len, kind)| std::iter::repeat_n(kind, *len));
    let made = prefix.map_or(&[][..], |prefix| &prefix.elements).iter().map(Some);
    let each = kinds.zip(made.chain(std::iter::repeat(None))).map(|(kind, made)| match (made, kind) {
        (Some(Element::Category { values: Values::One(_), other, .. }), _) => of_numbers(&[other.unwrap_or(0.0)]),
        (Some(Element::Category { values: Values::Numbers(numbers), other, .. }), _) => {
            of_numbers(numbers).max(of_numbers(&[other.unwrap_or(0.0)]))
        }
        (Some(Element::Number { steps, .. }), _) if !steps.is_empty() => Elements::Real,
        (_, Kind::Truth) => Elements::Bit,
        (_, Kind::Integer(_) | Kind::Narrow) => Elements::Whole,
        (_, Kind::Real | Kind::Quantised { .. }) => Elements::Real,
    });
    each.max().unwrap_or_default()
}

/// What all these numbers are.
fn of_numbers(numbers: &[f32]) -> Elements {
    match numbers {
        _ if numbers.iter().all(|x| *x == 0.0 || *x == 1.0) => Elements::Bit,
        _ if numbers.iter().all(|x| x.fract() == 0.0) => Elements::Whole,
        _ => Elements::Real,
    }
}

/// Whether these are names of the network's classes, and not just their numbers.
fn are_names(names: &[String], graph: &Graph) -> bool {
    let classes = graph.nodes.last().map_or(0, crate::nn::Node::len);
    let numbers = names.iter().enumerate().all(|(index, name)| *name == index.to_string());
    !numbers && !names.is_empty() && check_names(names, classes, "classes").is_ok()
}

/// From what the nodes mean to the network whose result is the scores.
fn network(graph: Graph, output: crate::nn::NodeId, part: &Part) -> Result<Graph, Vec<Unsupported>> {
    let end = if part.values { head::values } else { head::scores };
    let graph = end(graph, output, part.row).map_err(|why| vec![why])?;
    compose::compose(&mask::mark(graph)?).map(absorb::absorb)
}

/// Reads a decoded model as a function of the inputs named in `secret`, given with their shapes;
/// the values of all others are in `constants`. The network's one input is the secret ones,
/// flattened, one after the other; its output is the model's, flattened.
///
/// # Errors
/// As [`read`].
pub fn function(
    model: &ModelProto,
    secret: &[(String, Vec<usize>)],
    constants: HashMap<String, Arc<Tensor>>,
) -> Result<Graph, Error> {
    let mut file = OnnxFile::of(Path::new("model"), model.clone(), &Part::default())?;
    let memory = Memory::default();
    let mut known = file.constants(memory);
    known.extend(constants);
    if !file.problems.is_empty() {
        return Err(Error::Unsupported(file.problems));
    }
    let inputs = secret.iter().map(|(name, shape)| (name.clone(), shape.clone(), Kind::Real)).collect();
    let (graph, opset, name) = (&file.graph, file.opset, file.graph.name.as_str());
    let start = walk::Start { graph, opset, name, directory: None, constants: known, inputs, memory };
    let (graph, output, _) = walk::graph(start).map_err(Error::Unsupported)?;
    if let Some(node) = graph.clone().reachable(output).nodes.iter().find(|node| node.op == Op::ArgMax) {
        let why = "supported at the output of a classifier only".into();
        return Err(Error::Unsupported(vec![Unsupported { node: node.name.clone(), op: "ArgMax".into(), why }]));
    }
    let mut builder = Builder { graph, node: "output".into() };
    let n = builder.graph.node(output).len();
    let flat = builder.reshape(output, &[n]);
    let graph = mask::mark(builder.graph.reachable(flat)).map_err(Error::Unsupported)?;
    compose::compose(&graph).map_err(Error::Unsupported)
}

/// The table's verdict on every node of the model at `path` that `part` of it depends on.
///
/// # Errors
/// As [`read`], except for unsupported nodes, which are the answer.
pub fn survey(path: &Path, part: &Part, memory: Memory) -> Result<Vec<NodeSupport>, Error> {
    let mut file = OnnxFile::open(path, part, memory)?;
    let constants = file.constants(memory);
    let encoded = file.encoded(&constants, part);
    let taken = encoded.into_iter().flat_map(|encoded| encoded.nodes);
    let by_client = |(node, op)| NodeSupport { node, op, constant: false, why_not: None };
    Ok(taken.map(by_client).chain(file.survey()).collect())
}

/// A batch axis that a model fixes to several samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The input.
    pub input: String,
    /// How many.
    pub samples: usize,
}

/// How many samples the model at `path` takes at a time, if it says so and it is several. It is
/// read as the program of one.
///
/// # Errors
/// As [`survey`].
pub fn batch(path: &Path, part: &Part, memory: Memory) -> Result<Option<Batch>, Error> {
    Ok(OnnxFile::open(path, part, memory)?.batch())
}

/// The same error about the model at `path`, nodes with their ONNX operators. What refuses a node
/// behind the import knows only what was made of it.
pub fn name_operators(error: Error, path: &Path) -> Error {
    let Error::Unsupported(mut nodes) = error else { return error };
    // The survey has gone through before.
    let survey = survey(path, &Part::default(), Memory::default()).unwrap_or_default();
    for node in &mut nodes {
        let special = matches!(node.op.as_str(), "input" | "model" | "weight");
        if let Some(row) = survey.iter().find(|row| !special && row.node == node.node) {
            node.op.clone_from(&row.op);
        }
    }
    Error::Unsupported(nodes)
}
