//! Rules of operator sets before 7, brought into today's form: how two operands of different shapes
//! meet.

use std::sync::Arc;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::Tensor;

use super::call::Wire;
use crate::nn::build::Builder;

/// Operators whose second operand is repeated only where an attribute says so, along axes that an
/// attribute names.
const LIMITED: &[&str] = &["Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"];

/// The node and its inputs as operator set 7 has them.
///
/// # Errors
/// Why that cannot be.
pub(super) fn modern(
    builder: &mut Builder,
    node: &NodeProto,
    given: &[Wire],
) -> Result<(NodeProto, Vec<Wire>), String> {
    let mut node = node.clone();
    let mut given = given.to_vec();
    let int = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i);
    let shapes: Option<Vec<Vec<usize>>> = given.iter().map(|wire| extents(builder, wire)).collect();
    match (node.op_type.as_str(), shapes.as_deref()) {
        (op, Some([a, b])) if LIMITED.contains(&op) => {
            if int("broadcast").unwrap_or(0) == 0 {
                if a != b {
                    return Err(format!("shapes {a:?} and {b:?} without broadcast"));
                }
            } else if let Some(axis) = int("axis") {
                let axis = super::call::axis(axis, a.len().max(1))?;
                let behind = a.len().checked_sub(axis + b.len()).ok_or("its second operand has too many axes")?;
                given[1] = reshaped(builder, &given[1], &[b.as_slice(), &vec![1; behind]].concat())?;
            }
        }
        // One slope for each channel.
        ("PRelu", Some([a, b])) if b.len() == 1 && b[0] != 1 && a.len() > 1 => {
            given[1] = reshaped(builder, &given[1], &[b.as_slice(), &vec![1; a.len() - 2]].concat())?;
        }
        ("Max" | "Min" | "Mean" | "Sum", Some(shapes)) if shapes.windows(2).any(|pair| pair[0] != pair[1]) => {
            return Err(format!("shapes {shapes:?} without broadcast"));
        }
        _ => {}
    }
    let gone = ["consumed_inputs", "broadcast"];
    let limited = LIMITED.contains(&node.op_type.as_str());
    node.attribute.retain(|a| !(gone.contains(&a.name.as_str()) || limited && a.name == "axis"));
    Ok((node, given))
}

fn extents(builder: &Builder, wire: &Wire) -> Option<Vec<usize>> {
    match wire {
        Wire::Data(x, _) => Some(builder.shape(*x).to_vec()),
        Wire::Const(c) => Some(c.shape().to_vec()),
        _ => None,
    }
}

fn reshaped(builder: &mut Builder, wire: &Wire, shape: &[usize]) -> Result<Wire, String> {
    match wire {
        Wire::Const(c) => {
            let mut c: Tensor = (**c).clone();
            c.set_shape(shape).map_err(|e| e.to_string())?;
            Ok(Wire::Const(Arc::new(c)))
        }
        Wire::Data(x, kind) => Ok(Wire::Data(builder.reshape(*x, shape), *kind)),
        _ => Ok(Wire::Missing),
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;
    use tract_onnx::prelude::tensor1;

    use super::*;
    use crate::import::call::Kind;
    use crate::nn::Op;

    fn second(op: &str, attributes: &[(&str, i64)]) -> Result<Vec<usize>, String> {
        let mut builder = Builder::default();
        let x = builder.push(Op::Input, vec![], [1, 4, 3, 5]);
        let attribute =
            attributes.iter().map(|(name, i)| AttributeProto { name: (*name).into(), i: *i, ..Default::default() });
        let node = NodeProto { op_type: op.into(), attribute: attribute.collect(), ..NodeProto::default() };
        let given = [Wire::Data(x, Kind::Real), Wire::Const(Arc::new(tensor1(&[1f32, 2.0, 3.0, 4.0])))];
        let (node, given) = modern(&mut builder, &node, &given)?;
        assert!(node.attribute.is_empty());
        Ok(extents(&builder, &given[1]).unwrap())
    }

    #[test]
    fn operands_meet_where_the_attributes_say() {
        assert_eq!(second("Add", &[("broadcast", 1), ("axis", 1)]), Ok(vec![4, 1, 1]));
        assert_eq!(second("Mul", &[("broadcast", 1)]), Ok(vec![4]));
        assert_eq!(second("PRelu", &[]), Ok(vec![4, 1, 1]));
        assert!(second("Add", &[]).unwrap_err().contains("without broadcast"));
        assert!(second("Sum", &[]).is_err());
    }
}
