//! ONNX to the float network.
//!
//! Three steps, each of which reports everything it finds at once: [`support`] checks every node of the protobuf against the table of
//! supported operators; tract parses, infers types and shapes for one sample and gives the *typed* model; `walk` translates that.
//! tract's declutter pass is left out on purpose: before it every ONNX operator still has one recognisable form (a 1x1 convolution is a
//! convolution), and the constant folding it would do, `walk` does where needed.

mod ops;
pub mod support;
mod walk;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, tensor_proto::DataType, tensor_shape_proto, type_proto};
use tract_onnx::prelude::{DatumType, Framework, InferenceFact, InferenceModelExt, TypedModel};

use crate::{Error, nn};
use support::NodeSupport;

/// Reads the ONNX model at `path` as the program of one sample.
///
/// `input_shape` overrides the input's extents, batch axis first; it is needed if one of them other than the batch is dynamic.
///
/// # Errors
/// [`Error::Unsupported`] with every node that cannot be compiled, [`Error::Model`] if the file is corrupt or holds NaN or
/// infinity, [`Error::Usage`] if `input_shape` is missing or contradicts the model, [`Error::Io`].
pub fn read(path: &Path, input_shape: Option<&[usize]>) -> Result<nn::Graph, Error> {
    let file = OnnxFile::open(path)?;
    let refused = support::refused(&file.survey());
    if !refused.is_empty() {
        return Err(Error::Unsupported(refused));
    }
    file.check_numbers()?;
    let shape = file.input_shape(input_shape)?;
    let typed = file.typed(&shape)?;
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = if file.graph.name.is_empty() { stem() } else { file.graph.name.clone() };
    walk::graph(&typed, &file.graph, &name).map_err(Error::Unsupported)
}

/// The verdict on every node of the model at `path`.
///
/// # Errors
/// As [`read`], except for unsupported nodes, which are the answer.
pub fn survey(path: &Path) -> Result<Vec<NodeSupport>, Error> {
    Ok(OnnxFile::open(path)?.survey())
}

/// A decoded model whose graph is there and closed.
struct OnnxFile<'p> {
    path: &'p Path,
    proto: ModelProto,
    graph: GraphProto,
}

impl<'p> OnnxFile<'p> {
    fn open(path: &'p Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let proto = tract_onnx::onnx().proto_model_for_read(&mut bytes.as_slice());
        let proto = proto.map_err(|e| corrupt(path, format!("not an ONNX model, or truncated ({e})")))?;
        let graph = proto.graph.clone().ok_or_else(|| corrupt(path, "it holds no graph; it may be truncated"))?;
        // Without it nobody knows what the operators mean; exporters write it behind the graph.
        if proto.opset_import.is_empty() {
            return Err(corrupt(path, "it imports no operator set; it may be truncated"));
        }
        let file = OnnxFile { path, proto, graph };
        file.check_closed()?;
        Ok(file)
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

    /// Types and shapes for one sample. tract is not trusted with hostile files: a panic there is a corrupt model here.
    fn typed(&self, shape: &[usize]) -> Result<TypedModel, Error> {
        let directory = self.path.parent().and_then(Path::to_str);
        let infer = || {
            let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
            let mut model = onnx.parse(&self.proto, directory)?.model;
            let inputs = model.input_outlets()?.to_vec();
            for input in inputs {
                model.set_outlet_fact(input, InferenceFact::dt_shape(DatumType::F32, shape))?;
            }
            model.into_typed()
        };
        let typed = catch_unwind(AssertUnwindSafe(infer))
            .unwrap_or_else(|_| Err(tract_onnx::prelude::TractError::msg("corrupt")));
        typed
            .map_err(|e| corrupt(self.path, format!("types and shapes do not fit together for input {shape:?}: {e:#}")))
    }
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
