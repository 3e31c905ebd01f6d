//! The ONNX file: decoded, closed, its nodes in order, its inputs and outputs understood.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto, tensor_shape_proto, type_proto};
use tract_onnx::prelude::{Framework, Tensor};

use super::call::Kind;
use super::ops::types;
use super::support::{NEWEST_OPSET, NodeSupport};
use super::{Batch, Part, graph, lookups, ml, size, support, tensors};
use crate::memory::Memory;
use crate::setting::Setting;
use crate::{Error, Unsupported};

/// Name, extents without the batch axis, and kind of every input.
pub type Inputs = Vec<(String, Vec<usize>, Kind)>;

/// A decoded model whose graph is there and closed.
pub(super) struct OnnxFile<'p> {
    pub path: &'p Path,
    pub opset: i64,
    /// The version of `ai.onnx.ml` that it means.
    pub tabular_version: i64,
    pub graph: GraphProto,
    /// What stands in the way before any node is looked at.
    pub problems: Vec<Unsupported>,
    /// Stored tensors that cannot be used: their names and why.
    pub corrupt: Vec<(String, String)>,
}

impl<'p> OnnxFile<'p> {
    /// Decodes the file and takes the output that `part` asks for.
    pub fn open(path: &'p Path, part: &Part, memory: Memory) -> Result<Self, Error> {
        let bytes = memory.read(path)?;
        let model = tract_onnx::onnx().proto_model_for_read(&mut bytes.as_slice());
        let model = model.map_err(|e| corrupt(path, format!("not an ONNX model, or truncated ({e})")))?;
        // Without it nobody knows what the operators mean; exporters write it behind the graph.
        if model.graph.is_some() && model.opset_import.is_empty() {
            return Err(corrupt(path, "it imports no operator set; it may be truncated"));
        }
        Self::of(path, model, part)
    }

    /// As [`OnnxFile::open`], of a decoded model.
    pub fn of(path: &'p Path, mut model: ModelProto, part: &Part) -> Result<Self, Error> {
        let graph = model.graph.take().ok_or_else(|| corrupt(path, "it holds no graph; it may be truncated"))?;
        let opset = opset(&model);
        let tabular = model.opset_import.iter().find(|import| import.domain == ml::DOMAIN);
        let tabular_version = tabular.map_or(1, |import| import.version);
        let mut file = OnnxFile { path, opset, tabular_version, graph, problems: Vec::new(), corrupt: Vec::new() };
        file.newer(&model);
        file.take_output(part)?;
        let nothing = HashSet::new();
        graph::sort(&mut file.graph, &nothing).map_err(|why| corrupt(path, why))?;
        Ok(file)
    }

    /// What this compiler cannot have understood.
    fn newer(&mut self, model: &ModelProto) {
        let mut problem = |why: String| self.problems.push(row("model", &self.graph.name, why));
        if self.opset > NEWEST_OPSET {
            problem(format!("operator set {} is newer than {NEWEST_OPSET}, the newest that is known", self.opset));
        }
        let own = |domain: &str| matches!(domain, "" | "ai.onnx");
        if self.tabular_version > ml::NEWEST_VERSION {
            let (version, newest) = (self.tabular_version, ml::NEWEST_VERSION);
            problem(format!("version {version} of {} is newer than {newest}, the newest that is known", ml::DOMAIN));
        }
        if let Some(function) =
            model.functions.iter().find(|function| own(function.domain.as_deref().unwrap_or_default()))
        {
            problem(format!("it redefines the operator {:?}", function.name.as_deref().unwrap_or_default()));
        }
        if !self.graph.sparse_initializer.is_empty() {
            problem("it stores sparse tensors".into());
        }
    }

    /// The graph ends at the wanted output.
    fn take_output(&mut self, part: &Part) -> Result<(), Error> {
        let graph = &mut self.graph;
        let outputs = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
        let given = graph.input.iter().map(|input| input.name.as_str());
        let defined: HashSet<&str> = outputs.chain(given).chain(graph::stored(graph)).collect();
        let names: Vec<String> = graph.output.iter().map(|output| format!("{:?}", output.name)).collect();
        if let Some(missing) = graph.output.iter().find(|output| !defined.contains(output.name.as_str())) {
            let why = format!("nothing defines its output {:?}; it may be truncated", missing.name);
            return Err(corrupt(self.path, why));
        }
        let wanted = match (&part.output, graph.output.as_slice()) {
            (_, []) => return Err(corrupt(self.path, "it has no output; it may be truncated")),
            (Some(name), _) if defined.contains(name.as_str()) => name.clone(),
            (Some(name), _) => {
                let why =
                    format!("{} {name}: it has no such value; its outputs are {}", Setting::Output, names.join(", "));
                return Err(Error::Usage(why));
            }
            (None, [output]) => output.name.clone(),
            (None, [first, ..]) if is_label(graph, first) => first.name.clone(),
            (None, [first, ..]) => {
                let why = format!(
                    "it has {} outputs, {}: choose the one with the scores or the label with {}",
                    names.len(),
                    names.join(", "),
                    Setting::Output
                );
                self.problems.push(row("model", &graph.name, why));
                first.name.clone()
            }
        };
        let known = graph.output.iter().find(|output| output.name == wanted).cloned();
        graph.output = vec![known.unwrap_or_else(|| ValueInfoProto { name: wanted, ..ValueInfoProto::default() })];
        Ok(())
    }

    /// Every stored tensor that can be used. The protobuf's copy is given up.
    pub fn constants(&mut self, memory: Memory) -> HashMap<String, Arc<Tensor>> {
        let directory = self.path.parent();
        let mut used = size::Used::none(memory);
        let mut constants = HashMap::new();
        let read: HashSet<String> = self.graph.node.iter().flat_map(graph::reads).map(str::to_string).collect();
        for tensor in &mut self.graph.initializer {
            let admitted =
                tensors::size(tensor).and_then(|bytes| used.add(bytes).map_err(|why| format!("is too large: {why}")));
            let loaded = admitted.and_then(|()| tensors::load(tensor, directory));
            tensor.raw_data = Vec::new();
            match loaded {
                Ok(loaded) => {
                    if let Some(at) = tensors::first_nan(&loaded).filter(|_| read.contains(&tensor.name)) {
                        self.corrupt.push((tensor.name.clone(), format!("holds NaN at element {at}")));
                    }
                    constants.insert(tensor.name.clone(), Arc::new(loaded));
                }
                Err(why) if read.contains(&tensor.name) => self.corrupt.push((tensor.name.clone(), why)),
                Err(_) => {}
            }
        }
        constants
    }

    /// Takes out what the client evaluates of `part`, if anything.
    pub fn encoded(&mut self, constants: &HashMap<String, Arc<Tensor>>, part: &Part) -> Option<ml::prefix::Encoded> {
        lookups::encode(&mut self.graph, constants);
        let rules = ml::prefix::Rules { version: self.tabular_version, public: part.public_prefix };
        ml::prefix::take(&mut self.graph, constants, rules)
    }

    pub fn survey(&self) -> Vec<NodeSupport> {
        support::survey(&self.graph)
    }

    /// How many samples the model's input holds at a time, if it says so and there are several.
    pub fn batch(&self) -> Option<Batch> {
        let stored = graph::stored(&self.graph);
        let mut inputs = self.graph.input.iter().filter(|input| !stored.contains(input.name.as_str()));
        inputs.find_map(|input| {
            let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref()?.value.as_ref() else {
                return None;
            };
            let samples = match tensor.shape.as_ref()?.dim.first()?.value {
                Some(tensor_shape_proto::dimension::Value::DimValue(n)) => usize::try_from(n).ok().filter(|n| *n > 1),
                _ => None,
            };
            Some(Batch { input: input.name.clone(), samples: samples? })
        })
    }

    /// The inputs with batch 1 and their element types, in the file's order. Inputs that the output
    /// does not depend on are passed over.
    pub fn inputs(&self, given: Option<&[usize]>) -> Result<Inputs, Vec<Unsupported>> {
        let live = graph::live(&self.graph);
        let mut read: HashSet<&str> = live.iter().flat_map(|index| graph::reads(&self.graph.node[*index])).collect();
        read.extend(self.graph.output.iter().map(|output| output.name.as_str()));
        let stored = graph::stored(&self.graph);
        let wanted =
            |input: &&ValueInfoProto| !stored.contains(input.name.as_str()) && read.contains(input.name.as_str());
        let inputs: Vec<&ValueInfoProto> = self.graph.input.iter().filter(wanted).collect();
        match (inputs.len(), given) {
            (0, _) => return Err(vec![row("model", &self.graph.name, "its output depends on no input".into())]),
            (n @ 2.., Some(_)) => {
                let why = format!(
                    "it has {n} inputs, and {} is for models of one: fix their shapes in the file",
                    Setting::InputShape
                );
                return Err(vec![row("model", &self.graph.name, why)]);
            }
            _ => {}
        }
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        for input in inputs {
            match self.input(input, given) {
                Ok(input) => found.push(input),
                Err(why) => refused.push(why),
            }
        }
        if refused.is_empty() { Ok(found) } else { Err(refused) }
    }

    fn input(
        &self,
        input: &ValueInfoProto,
        given: Option<&[usize]>,
    ) -> Result<(String, Vec<usize>, Kind), Unsupported> {
        let refuse = |why: String| row("input", &input.name, why);
        let value = input.r#type.as_ref().and_then(|t| t.value.as_ref());
        let Some(type_proto::Value::TensorType(tensor)) = value else {
            return Err(refuse("it is no tensor".into()));
        };
        let kind = types::kind(tensor.elem_type);
        let kind =
            kind.ok_or_else(|| refuse(format!("type {} is not supported", tensors::type_name(tensor.elem_type))))?;
        let extent = |dim: &tensor_shape_proto::Dimension| match dim.value {
            Some(tensor_shape_proto::dimension::Value::DimValue(v)) if v > 0 => usize::try_from(v).ok(),
            _ => None,
        };
        let declared = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(extent).collect::<Vec<_>>());
        merge_shapes(declared, given).map(|shape| (input.name.clone(), shape, kind)).map_err(refuse)
    }
}

/// Whether an output is a classifier's label, beside which its other outputs say the same: integers
/// or texts, one for each sample, of a graph that has operators of `ai.onnx.ml`.
fn is_label(graph: &GraphProto, output: &ValueInfoProto) -> bool {
    let value = output.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = value else { return false };
    let labels = [DataType::Int32, DataType::Int64, DataType::String].map(|kind| kind as i32);
    labels.contains(&tensor.elem_type) && graph.node.iter().any(|node| node.domain == ml::DOMAIN)
}

/// Something about the model that is no node.
fn row(op: &str, name: &str, why: String) -> Unsupported {
    Unsupported { node: name.into(), op: op.into(), why }
}

/// The version of ONNX's own operators that a model means.
fn opset(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().find(|import| matches!(import.domain.as_str(), "" | "ai.onnx"));
    own.map_or(1, |import| import.version)
}

pub(super) fn corrupt(path: &Path, why: impl Into<String>) -> Error {
    Error::Model { path: path.into(), why: why.into() }
}

/// The declared extents, completed and overridden in the batch axis by the given ones, with
/// batch 1.
fn merge_shapes(declared: Option<Vec<Option<usize>>>, given: Option<&[usize]>) -> Result<Vec<usize>, String> {
    let setting = Setting::InputShape;
    let declared = match (declared, given) {
        (Some(declared), _) => declared,
        (None, Some(given)) => vec![None; given.len()],
        (None, None) => return Err(format!("its shape is unknown; give it with {setting}, batch first")),
    };
    let list = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    if let Some(given) = given.filter(|given| given.len() != declared.len()) {
        let mut why = format!("it has {} axes, {setting} {}", declared.len(), given.len());
        if given.len() + 1 == declared.len() {
            why += &format!(": the batch axis is missing; say {setting} 1,{}", list(given));
        }
        return Err(why);
    }
    if declared.len() < 2 {
        return Err("it has no batch axis: the first of its axes is to be the samples', the others one sample's".into());
    }
    let mut shape = vec![1];
    for (axis, extent) in declared.iter().enumerate().skip(1) {
        shape.push(match (extent, given.map(|given| given[axis])) {
            (Some(extent), Some(given)) if *extent != given => {
                return Err(format!("axis {axis} is {extent}, but {setting} says {given}"));
            }
            (_, Some(0)) => return Err(format!("{setting} makes axis {axis} empty")),
            (Some(extent), _) => *extent,
            (None, Some(extent)) => extent,
            (None, None) => return Err(format!("axis {axis} is dynamic; fix it with {setting}, batch first")),
        });
    }
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_merge_or_say_what_is_missing() {
        let declared = || Some(vec![None, Some(3), None]);
        assert_eq!(merge_shapes(declared(), Some(&[7, 3, 5])).unwrap(), [1, 3, 5]);
        assert_eq!(merge_shapes(Some(vec![Some(4), Some(2)]), None).unwrap(), [1, 2]);
        let message = |result: Result<Vec<usize>, String>| result.unwrap_err();
        assert!(message(merge_shapes(declared(), None)).contains("axis 2 is dynamic"));
        assert!(message(merge_shapes(declared(), Some(&[1, 4, 5]))).contains("axis 1 is 3"));
        assert!(message(merge_shapes(declared(), Some(&[3, 5]))).contains("say `input_shape` 1,3,5"));
        assert!(message(merge_shapes(Some(vec![Some(3)]), None)).contains("no batch axis"));
        assert!(message(merge_shapes(None, None)).contains("unknown"));
    }
}
