//! Look-ups in a private table by integers that the client gives, such as the numbers of words: the
//! client makes a row of each with a single 1, as it encodes categories, and the network multiplies
//! it with the table.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, ValueInfoProto, tensor_shape_proto, type_proto};
use tract_onnx::prelude::{DatumType, Tensor};

use super::size::MOST_LOOKED_UP;
use super::{graph, ml, support};

/// Writes every `Gather` of a constant matrix's rows by integers of the sample as an encoding and a
/// product.
pub(super) fn encode(graph: &mut GraphProto, constants: &HashMap<String, Arc<Tensor>>) {
    let stored: HashSet<String> = graph::stored(graph).into_iter().map(str::to_owned).collect();
    let given = graph.input.iter().filter(|input| !stored.contains(&input.name));
    // What is the client's integers, and how many they are.
    let mut counts: HashMap<String, usize> =
        given.filter_map(|input| Some((input.name.clone(), integers(input)?))).collect();
    let mut shapes: HashSet<String> = constants.keys().cloned().collect();
    for node in std::mem::take(&mut graph.node) {
        let count = |at: usize| node.input.get(at).and_then(|name| counts.get(name)).copied();
        match (node.op_type.as_str(), count(0), count(1)) {
            ("Constant", ..) => shapes.extend(node.output.first().cloned()),
            ("Identity" | "Flatten", Some(count), _) => {
                counts.extend(node.output.first().map(|name| (name.clone(), count)));
            }
            ("Reshape", Some(count), _) if node.input.get(1).is_some_and(|shape| shapes.contains(shape)) => {
                counts.extend(node.output.first().map(|name| (name.clone(), count)));
            }
            ("Cast", Some(count), _) if is_integer(attribute(&node, "to").map_or(0, |to| to.i as i32)) => {
                counts.extend(node.output.first().map(|name| (name.clone(), count)));
            }
            ("Gather", None, Some(count)) => {
                if let (Some(rows), Some(output)) = (rows(&node, constants, count), node.output.first()) {
                    let encoded = format!("{output}/one_hot");
                    graph.node.push(one_hot(&node, encoded.clone(), rows));
                    let (op_type, input) = ("MatMul".into(), vec![encoded, node.input[0].clone()]);
                    graph.node.push(NodeProto { op_type, input, attribute: Vec::new(), ..node });
                    continue;
                }
            }
            _ => {}
        }
        graph.node.push(node);
    }
}

fn is_integer(elem_type: i32) -> bool {
    [DataType::Int64, DataType::Int32].iter().any(|kind| *kind as i32 == elem_type)
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// How many integers a sample of an input has, if it is of integers.
fn integers(input: &ValueInfoProto) -> Option<usize> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref()?.value.as_ref() else { return None };
    let extent = |dim: &tensor_shape_proto::Dimension| match dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(n)) => usize::try_from(n).ok(),
        _ => None,
    };
    let mut extents = tensor.shape.as_ref()?.dim.iter().skip(1).map(extent);
    let count = extents.try_fold(1usize, |n, extent| n.checked_mul(extent?))?;
    is_integer(tensor.elem_type).then_some(count)
}

/// The rows of the table that a Gather looks so many integers up in, if it is one that can be.
fn rows(node: &NodeProto, constants: &HashMap<String, Arc<Tensor>>, count: usize) -> Option<usize> {
    let table = constants.get(node.input.first()?)?;
    let first = matches!(attribute(node, "axis").map_or(0, |axis| axis.i), 0 | -2);
    let fits = first && table.rank() == 2 && table.datum_type() == DatumType::F32 && support::refusal(node).is_none();
    let rows = *table.shape().first()?;
    (fits && (1..=MOST_LOOKED_UP).contains(&rows.checked_mul(count)?)).then_some(rows)
}

/// A row with a single 1 for each integer, which is a row's number: the client refuses another.
fn one_hot(node: &NodeProto, output: String, rows: usize) -> NodeProto {
    let attribute = |name: &str, of: AttributeType| AttributeProto {
        name: name.into(),
        r#type: of as i32,
        ..AttributeProto::default()
    };
    let ints = (0..rows as i64).collect();
    NodeProto {
        op_type: "OneHotEncoder".into(),
        domain: ml::DOMAIN.into(),
        name: support::display_name(node),
        input: vec![node.input[1].clone()],
        output: vec![output],
        attribute: vec![
            AttributeProto { ints, ..attribute("cats_int64s", AttributeType::Ints) },
            AttributeProto { i: 0, ..attribute("zeros", AttributeType::Int) },
        ],
        ..NodeProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_matrices_of_rows_that_are_not_too_many() {
        let table = |shape: &[usize], kind| Arc::new(Tensor::zero_dt(kind, shape).unwrap());
        let found = |axis: i64, table: Arc<Tensor>, count: usize| {
            let axis = AttributeProto {
                name: "axis".into(),
                r#type: AttributeType::Int as i32,
                i: axis,
                ..Default::default()
            };
            let input = ["table", "ids"].map(String::from).to_vec();
            let node = NodeProto { op_type: "Gather".into(), input, attribute: vec![axis], ..Default::default() };
            rows(&node, &HashMap::from([("table".to_owned(), table)]), count)
        };
        let words = || table(&[1 << 10, 2], DatumType::F32);
        assert_eq!([found(0, words(), 1 << 10), found(-2, words(), 7)], [Some(1 << 10); 2]);
        assert_eq!([found(0, words(), (1 << 10) + 1), found(1, words(), 7), found(0, words(), 0)], [None; 3]);
        assert_eq!(found(0, words(), usize::MAX), None);
        for (shape, kind) in [(&[8][..], DatumType::F32), (&[8, 2, 2], DatumType::F32), (&[8, 2], DatumType::I64)] {
            assert_eq!(found(0, table(shape, kind), 7), None, "{shape:?}");
        }
    }
}
