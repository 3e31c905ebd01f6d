//! What a node does to a tensor whose elements are known one by one. The one place that decides so,
//! for what the client evaluates and for what is moved into thresholds.

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::super::call::axis;
use super::exact::{Exact, Reader};

/// What becomes of the elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Does {
    /// They stay, in their order, under whatever shape.
    Moves,
    /// Those of all inputs follow each other, along this axis.
    Joins(usize),
    /// The same, as one row of float32.
    Vectorises,
    /// Along the last axis these are taken, so many for each extent that an index has.
    Picks { at: Vec<usize>, extents: Vec<usize> },
    /// Each becomes another, of this type, or stays if there are no steps.
    Steps(DataType, Vec<Exact>),
}

/// What a node does that reads `reader`'s data, first among `data` tensors of them; `None` if its
/// results are no functions of single elements, or none that is known here.
pub(super) fn does(reader: Reader, data: usize) -> Option<Does> {
    let Reader { node, shape, .. } = reader;
    let inputs = node.input.iter().filter(|name| !name.is_empty()).count();
    match node.op_type.as_str() {
        "Identity" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => Some(Does::Moves),
        "Concat" if data == inputs => {
            let along = axis(integer(node, "axis", 0), shape.len()).ok()?;
            shape[..along].iter().all(|extent| *extent == 1).then_some(Does::Joins(along))
        }
        "FeatureVectorizer" if data == inputs => Some(Does::Vectorises),
        "Gather" | "ArrayFeatureExtractor" if data == 1 => picks(reader),
        _ if data == 1 => reader.steps().map(|(of, steps)| Does::Steps(of, steps)),
        _ => None,
    }
}

fn picks(reader: Reader) -> Option<Does> {
    let Reader { node, shape, .. } = reader;
    let extent = *shape.last()?;
    let gathers = node.op_type == "Gather";
    let last = !gathers || axis(integer(node, "axis", 0), shape.len()).ok()? + 1 == shape.len();
    let indices = reader.constant(1).filter(|_| last)?;
    let wide = indices.cast_to::<i64>().ok()?;
    let view = wide.to_plain_array_view::<i64>().ok()?;
    // onnxruntime counts from the end in Gather only.
    let place = |i: &i64| usize::try_from(if *i < 0 && gathers { *i + extent as i64 } else { *i }).ok();
    let at = view.iter().map(|i| place(i).filter(|i| *i < extent)).collect::<Option<Vec<usize>>>()?;
    let extents = if gathers { indices.shape().to_vec() } else { vec![at.len()] };
    Some(Does::Picks { at, extents })
}

/// An attribute of a node that has been looked at.
pub(super) fn integer(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute.iter().find(|attribute| attribute.name == name).map_or(default, |attribute| attribute.i)
}

/// The elements `at` of each row of `extent`.
pub(super) fn picked<T: Clone>(all: &[T], extent: usize, at: &[usize]) -> Vec<T> {
    all.chunks(extent).flat_map(|row| at.iter().map(|i| row[*i].clone())).collect()
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;
    use tract_onnx::prelude::{Tensor, tensor0, tensor1, tensor2};

    use super::*;

    fn node(op: &str, inputs: usize, axis: i64) -> NodeProto {
        let axis = AttributeProto { name: "axis".into(), i: axis, r#type: 2, ..Default::default() };
        NodeProto { op_type: op.into(), input: vec!["x".into(); inputs], attribute: vec![axis], ..NodeProto::default() }
    }

    fn taken(op: &str, axis: i64, index: &Tensor) -> Option<Does> {
        let (node, constants) = (node(op, 2, axis), [None, Some(index)]);
        does(Reader { node: &node, of: DataType::Float, shape: &[2, 3], constants: &constants }, 1)
    }

    #[test]
    fn places_are_along_the_last_axis() {
        let picks = |at: &[usize], extents: &[usize]| Some(Does::Picks { at: at.to_vec(), extents: extents.to_vec() });
        assert_eq!(taken("Gather", 1, &tensor1(&[-1i64, 0])), picks(&[2, 0], &[2]));
        assert_eq!(taken("Gather", -1, &tensor0(1i32)), picks(&[1], &[]));
        assert_eq!(taken("Gather", 1, &tensor2(&[[1i64], [2]])), picks(&[1, 2], &[2, 1]));
        assert_eq!(taken("Gather", 0, &tensor1(&[0i64])), None);
        assert_eq!(taken("Gather", 1, &tensor1(&[3i64])), None);
        assert_eq!(taken("ArrayFeatureExtractor", 0, &tensor1(&[2i64, 0])), picks(&[2, 0], &[2]));
        assert_eq!(taken("ArrayFeatureExtractor", 0, &tensor1(&[-1i64])), None);
        assert_eq!(picked(&[1, 2, 3, 4, 5, 6], 3, &[2, 0]), [3, 1, 6, 4]);
    }

    #[test]
    fn rows_are_joined_where_their_elements_follow_each_other() {
        let joined = |shape: &[usize], axis: i64, data: usize| {
            let node = node("Concat", 2, axis);
            does(Reader { node: &node, of: DataType::Float, shape, constants: &[None, None] }, data)
        };
        assert_eq!(joined(&[1, 3], -1, 2), Some(Does::Joins(1)));
        assert_eq!(joined(&[2, 3], 0, 2), Some(Does::Joins(0)));
        assert_eq!(joined(&[2, 3], 1, 2), None);
        // A constant among them is no element of the sample.
        assert_eq!(joined(&[1, 3], 1, 1), None);
    }
}
