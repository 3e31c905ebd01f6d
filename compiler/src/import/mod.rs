//! ONNX to the float network.
//!
//! Three steps, each of which reports everything it finds at once: [`support`] checks every node of the protobuf against the table of
//! supported operators; `walk` translates node by node, with the sample's shape in hand; the end decides what of the last layers the
//! label needs. Operators are read as ONNX defines them, from the protobuf, so each has one recognisable form under its own name. What
//! does not depend on the sample is evaluated by tract.

mod call;
mod constant;
mod ops;
pub mod support;
mod walk;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, tensor_proto::DataType, tensor_shape_proto, type_proto};
use tract_onnx::prelude::{Framework, Tensor};
use tract_onnx::tensor::load_tensor;

use crate::nn::build::Builder;
use crate::nn::{self, Graph, NodeId, Op, compose};
use crate::{Error, Unsupported};
use support::NodeSupport;

/// Decoded models and tensors as [`function`] takes them.
pub use tract_onnx as onnx;

/// Reads the ONNX model at `path` as the program of one sample.
///
/// `input_shape` overrides the input's extents, batch axis first; it is needed if one of them other than the batch is dynamic.
///
/// # Errors
/// [`Error::Unsupported`] with every node that cannot be compiled, [`Error::Model`] if the file is corrupt or holds NaN or
/// infinity, [`Error::Usage`] if `input_shape` is missing or contradicts the model, [`Error::Io`].
pub fn read(path: &Path, input_shape: Option<&[usize]>) -> Result<Graph, Error> {
    let mut file = OnnxFile::open(path)?;
    let refused = support::refused(&file.survey());
    let shape = match file.input_shape(input_shape) {
        Ok(shape) => shape,
        // Without a shape there is no more to find out.
        Err(_) if !refused.is_empty() => return Err(Error::Unsupported(refused)),
        Err(why) => return Err(why),
    };
    file.check_numbers()?;
    let inputs = vec![(file.input_name(), shape)];
    let constants = file.constants()?;
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = if file.graph.name.is_empty() { stem() } else { file.graph.name.clone() };
    let start = walk::Start { graph: &file.graph, opset: file.opset, name: &name, constants, inputs };
    match walk::graph(start) {
        Ok((graph, output)) if refused.is_empty() => {
            let graph = classifier(graph, output).map_err(|why| Error::Unsupported(vec![why]))?;
            compose::compose(&graph).map_err(Error::Unsupported)
        }
        Ok(_) => Err(Error::Unsupported(refused)),
        Err(mut found) => {
            found.retain(|one| !refused.iter().any(|other| other.node == one.node));
            Err(Error::Unsupported([refused, found].concat()))
        }
    }
}

/// Reads a decoded model as a function of the inputs named in `secret`, given with their shapes; the values of all others are in
/// `constants`. The network's one input is the secret ones, flattened, one after the other; its output is the model's, flattened.
///
/// # Errors
/// As [`read`].
pub fn function(
    model: &ModelProto,
    secret: &[(String, Vec<usize>)],
    constants: HashMap<String, Arc<Tensor>>,
) -> Result<Graph, Error> {
    let path = Path::new("model");
    let graph = model.graph.clone().ok_or_else(|| corrupt(path, "it holds no graph"))?;
    let mut file = OnnxFile { path, opset: opset(model), graph };
    let mut known = file.constants()?;
    known.extend(constants);
    let inputs = secret.to_vec();
    let start = walk::Start { graph: &file.graph, opset: file.opset, name: &file.graph.name, constants: known, inputs };
    let (graph, output) = walk::graph(start).map_err(Error::Unsupported)?;
    if let Some(node) = graph.clone().reachable(output).nodes.iter().find(|node| node.op == Op::ArgMax) {
        let why = "supported at the output of a classifier only".into();
        return Err(Error::Unsupported(vec![Unsupported { node: node.name.clone(), op: "ArgMax".into(), why }]));
    }
    let mut builder = Builder { graph, node: "output".into() };
    let n = builder.graph.node(output).len();
    let flat = builder.reshape(output, &[n]);
    compose::compose(&builder.graph.reachable(flat)).map_err(Error::Unsupported)
}

/// The verdict on every node of the model at `path`.
///
/// # Errors
/// As [`read`], except for unsupported nodes, which are the answer.
pub fn survey(path: &Path) -> Result<Vec<NodeSupport>, Error> {
    Ok(OnnxFile::open(path)?.survey())
}

/// The same error about the model at `path`, nodes with their ONNX operators. What refuses a node behind the import knows only what was
/// made of it.
pub fn name_operators(error: Error, path: &Path) -> Error {
    let Error::Unsupported(mut nodes) = error else { return error };
    // The survey has gone through before.
    let survey = survey(path).unwrap_or_default();
    for node in &mut nodes {
        if let Some(row) = survey.iter().find(|row| row.node == node.node) {
            node.op.clone_from(&row.op);
        }
    }
    Error::Unsupported(nodes)
}

/// Ends the graph at its logits, a vector: a final softmax or argmax is left out, since the label is taken inside the protocol anyway.
fn classifier(graph: Graph, output: NodeId) -> Result<Graph, Unsupported> {
    let mut logits = output;
    let mut at = output;
    loop {
        match graph.node(at).op {
            Op::Softmax { .. } | Op::ArgMax => {
                at = graph.node(at).inputs[0];
                logits = at;
            }
            Op::Reshape => at = graph.node(at).inputs[0],
            _ => break,
        }
    }
    let node = graph.node(logits);
    let refuse = |node: &nn::Node, why: &str| Unsupported {
        node: node.name.clone(),
        op: node.op.name().into(),
        why: why.into(),
    };
    let n = node.len();
    if n < 2 {
        return Err(refuse(node, "one output: a classifier has a score for each of two or more classes"));
    }
    let mut builder = Builder { node: node.name.clone(), graph };
    let logits = builder.reshape(logits, &[n]);
    let graph = builder.graph.reachable(logits);
    match graph.nodes.iter().find(|node| node.op == Op::ArgMax) {
        Some(node) => Err(refuse(node, "supported at the output only")),
        None => Ok(graph),
    }
}

/// A decoded model whose graph is there and closed.
struct OnnxFile<'p> {
    path: &'p Path,
    opset: i64,
    graph: GraphProto,
}

impl<'p> OnnxFile<'p> {
    fn open(path: &'p Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let proto = tract_onnx::onnx().proto_model_for_read(&mut bytes.as_slice());
        let mut proto = proto.map_err(|e| corrupt(path, format!("not an ONNX model, or truncated ({e})")))?;
        let graph = proto.graph.take().ok_or_else(|| corrupt(path, "it holds no graph; it may be truncated"))?;
        // Without it nobody knows what the operators mean; exporters write it behind the graph.
        if proto.opset_import.is_empty() {
            return Err(corrupt(path, "it imports no operator set; it may be truncated"));
        }
        let file = OnnxFile { path, opset: opset(&proto), graph };
        file.check_closed()?;
        Ok(file)
    }

    /// Every stored tensor. The protobuf's copy is given up.
    fn constants(&mut self) -> Result<HashMap<String, Arc<Tensor>>, Error> {
        let directory = self.path.parent().and_then(Path::to_str);
        let provider = tract_onnx::onnx().provider;
        let mut constants = HashMap::new();
        for mut tensor in std::mem::take(&mut self.graph.initializer) {
            // tract is not trusted with hostile files: a panic there is a corrupt model here.
            let loaded = catch_unwind(AssertUnwindSafe(|| load_tensor(&*provider, &tensor, directory)));
            let name = std::mem::take(&mut tensor.name);
            let loaded = loaded.ok().and_then(Result::ok).filter(|found| found.len() == elements(&tensor));
            let loaded =
                loaded.ok_or_else(|| corrupt(self.path, format!("weight {name:?} is not what it declares")))?;
            constants.insert(name, Arc::new(loaded));
        }
        Ok(constants)
    }

    /// The name of the only input.
    fn input_name(&self) -> String {
        let stored = |name: &str| self.graph.initializer.iter().any(|tensor| tensor.name == name);
        self.graph.input.iter().find(|input| !stored(&input.name)).map_or_else(String::new, |input| input.name.clone())
    }

    fn survey(&self) -> Vec<NodeSupport> {
        support::survey(&self.graph)
    }

    /// Every name that is read is defined before, and there is one output.
    fn check_closed(&self) -> Result<(), Error> {
        let graph = &self.graph;
        let names = graph.input.iter().map(|i| &i.name).chain(graph.initializer.iter().map(|t| &t.name));
        let mut defined: std::collections::HashSet<&str> = names.map(String::as_str).collect();
        for node in &graph.node {
            let unknown = node.input.iter().find(|input| !input.is_empty() && !defined.contains(input.as_str()));
            if let Some(input) = unknown {
                let node = support::display_name(node);
                return Err(corrupt(self.path, format!("node {node:?} reads {input:?}, which nothing defines")));
            }
            defined.extend(node.output.iter().map(String::as_str));
        }
        match graph.output.as_slice() {
            [output] if defined.contains(output.name.as_str()) => Ok(()),
            [output] => {
                Err(corrupt(self.path, format!("nothing defines its output {:?}; it may be truncated", output.name)))
            }
            [] => Err(corrupt(self.path, "it has no output; it may be truncated")),
            outputs => Err(corrupt(self.path, format!("it has {} outputs; a classifier has one", outputs.len()))),
        }
    }

    /// No stored float is NaN or infinite.
    fn check_numbers(&self) -> Result<(), Error> {
        let constants = self.graph.node.iter().flat_map(|node| {
            let name = support::display_name(node);
            node.attribute.iter().filter_map(move |a| Some((name.clone(), a.t.as_ref()?)))
        });
        let initializers = self.graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor));
        for (name, tensor) in initializers.chain(constants) {
            if let Some((index, value)) = first_bad_float(tensor) {
                return Err(corrupt(self.path, format!("weight {name:?} holds {value} at element {index}")));
            }
        }
        Ok(())
    }

    /// The input's extents with batch 1.
    fn input_shape(&self, given: Option<&[usize]>) -> Result<Vec<usize>, Error> {
        let stored = |name: &str| self.graph.initializer.iter().any(|tensor| tensor.name == name);
        let inputs: Vec<_> = self.graph.input.iter().filter(|input| !stored(&input.name)).collect();
        let [input] = inputs.as_slice() else {
            return Err(corrupt(self.path, format!("it has {} inputs; a classifier has one", inputs.len())));
        };
        let value = input.r#type.as_ref().and_then(|t| t.value.as_ref());
        let Some(type_proto::Value::TensorType(tensor)) = value else {
            return Err(corrupt(self.path, format!("input {:?} has no tensor type", input.name)));
        };
        if tensor.elem_type != DataType::Float as i32 {
            return Err(corrupt(self.path, format!("input {:?} is not float32", input.name)));
        }
        let extent = |dim: &tensor_shape_proto::Dimension| match dim.value {
            Some(tensor_shape_proto::dimension::Value::DimValue(v)) if v > 0 => usize::try_from(v).ok(),
            _ => None,
        };
        let declared = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(extent).collect::<Vec<_>>());
        merge_shapes(&input.name, declared, given)
    }
}

/// The version of ONNX's own operators that a model means.
fn opset(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().find(|import| matches!(import.domain.as_str(), "" | "ai.onnx"));
    own.map_or(1, |import| import.version)
}

fn elements(tensor: &TensorProto) -> usize {
    tensor.dims.iter().map(|extent| usize::try_from(*extent).unwrap_or(0)).product()
}

fn corrupt(path: &Path, why: impl Into<String>) -> Error {
    Error::Model { path: path.into(), why: why.into() }
}

/// The declared extents, completed and overridden in the batch axis by the given ones, with batch 1.
fn merge_shapes(
    name: &str,
    declared: Option<Vec<Option<usize>>>,
    given: Option<&[usize]>,
) -> Result<Vec<usize>, Error> {
    let usage = |why: String| Error::Usage(format!("input {name:?}: {why}"));
    let declared = match (declared, given) {
        (Some(declared), _) => declared,
        (None, Some(given)) => vec![None; given.len()],
        (None, None) => return Err(usage("its shape is unknown; give it with --input-shape".into())),
    };
    if given.is_some_and(|given| given.len() != declared.len()) {
        return Err(usage(format!(
            "it has {} axes, --input-shape {}",
            declared.len(),
            given.unwrap_or_default().len()
        )));
    }
    if declared.len() < 2 {
        return Err(usage("it has no batch axis".into()));
    }
    let mut shape = vec![1];
    for (axis, extent) in declared.iter().enumerate().skip(1) {
        shape.push(match (extent, given.map(|given| given[axis])) {
            (Some(extent), Some(given)) if *extent != given => {
                return Err(usage(format!("axis {axis} is {extent}, but --input-shape says {given}")));
            }
            (_, Some(0)) => return Err(usage(format!("--input-shape makes axis {axis} empty"))),
            (Some(extent), _) => *extent,
            (None, Some(extent)) => extent,
            (None, None) => return Err(usage(format!("axis {axis} is dynamic; fix it with --input-shape"))),
        });
    }
    Ok(shape)
}

fn first_bad_float(tensor: &TensorProto) -> Option<(usize, f64)> {
    let singles = tensor.float_data.iter().map(|x| f64::from(*x)).enumerate().find(|(_, x)| !x.is_finite());
    let doubles = tensor.double_data.iter().copied().enumerate().find(|(_, x)| !x.is_finite());
    let raw = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => {
            let words = tensor.raw_data.chunks_exact(4).filter_map(|word| word.try_into().ok().map(f32::from_le_bytes));
            words.map(f64::from).enumerate().find(|(_, x)| !x.is_finite())
        }
        Ok(DataType::Double) => {
            let words = tensor.raw_data.chunks_exact(8).filter_map(|word| word.try_into().ok().map(f64::from_le_bytes));
            words.enumerate().find(|(_, x)| !x.is_finite())
        }
        _ => None,
    };
    singles.or(doubles).or(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_merge_or_say_what_is_missing() {
        let declared = || Some(vec![None, Some(3), None]);
        assert_eq!(merge_shapes("x", declared(), Some(&[7, 3, 5])).unwrap(), [1, 3, 5]);
        assert_eq!(merge_shapes("x", Some(vec![Some(4), Some(2)]), None).unwrap(), [1, 2]);
        let message = |result: Result<Vec<usize>, Error>| result.unwrap_err().to_string();
        assert!(message(merge_shapes("x", declared(), None)).contains("axis 2 is dynamic"));
        assert!(message(merge_shapes("x", declared(), Some(&[1, 4, 5]))).contains("axis 1 is 3"));
        assert!(message(merge_shapes("x", declared(), Some(&[1, 3]))).contains("3 axes"));
        assert!(message(merge_shapes("x", None, None)).contains("unknown"));
    }

    #[test]
    fn bad_floats_are_found_where_they_are() {
        let raw_data: Vec<u8> = [1f32, 2.0, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = TensorProto { raw_data, data_type: DataType::Float as i32, ..TensorProto::default() };
        assert_eq!(first_bad_float(&tensor).map(|(index, _)| index), Some(2));
        let tensor = TensorProto { float_data: vec![0.0, f32::INFINITY], ..TensorProto::default() };
        assert_eq!(first_bad_float(&tensor), Some((1, f64::INFINITY)));
        assert_eq!(first_bad_float(&TensorProto::default()), None);
    }
}
