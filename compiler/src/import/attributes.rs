//! What attributes a node may have. One that no rule knows changes the operator's meaning, so it is
//! refused, by name.

use tract_onnx::pb::{AttributeProto, NodeProto, attribute_proto::AttributeType};

/// The first attribute of a node that is not among `known`, names with spaces between, or has
/// another type than ONNX gives it.
pub(super) fn unknown(node: &NodeProto, known: &str) -> Option<String> {
    node.attribute.iter().find_map(|attribute| {
        let name = attribute.name.as_str();
        if !known.split(' ').any(|known| known == name) {
            return Some(format!("attribute {name:?} is not known"));
        }
        (!typed(attribute)).then(|| format!("attribute {name:?} is not of its type"))
    })
}

/// Whether the attribute has the type that ONNX gives its name. Old files do not say what type
/// theirs have.
fn typed(attribute: &AttributeProto) -> bool {
    let found = AttributeType::try_from(attribute.r#type).unwrap_or(AttributeType::Undefined);
    let wanted = match attribute.name.as_str() {
        "alpha" | "beta" | "bias" | "epsilon" | "gamma" | "lambd" | "max" | "min" | "momentum" | "ratio" => {
            AttributeType::Float
        }
        "clip" | "cubic_coeff_a" | "extrapolation_value" => AttributeType::Float,
        "activation_alpha" | "activation_beta" | "scales" => AttributeType::Floats,
        "axes" | "consumed_inputs" | "dilations" | "ends" | "kernel_shape" | "output_padding" | "output_shape" => {
            AttributeType::Ints
        }
        "paddings" | "pads" | "perm" | "shape" | "split" | "starts" | "strides" => AttributeType::Ints,
        "approximate" | "auto_pad" | "direction" | "equation" | "mode" | "round_mode" => AttributeType::String,
        "coordinate_transformation_mode" | "keep_aspect_ratio_policy" | "nearest_mode" | "reduction" => {
            AttributeType::String
        }
        "activations" => AttributeType::Strings,
        "value_float" => AttributeType::Float,
        "value_floats" => AttributeType::Floats,
        "value_ints" => AttributeType::Ints,
        "value_string" => AttributeType::String,
        "value_strings" => AttributeType::Strings,
        "body" | "else_branch" | "then_branch" => AttributeType::Graph,
        // A tensor of Constant and ConstantOfShape, a number of Pad.
        "value" => return matches!(found, AttributeType::Tensor | AttributeType::Float | AttributeType::Undefined),
        _ => AttributeType::Int,
    };
    found == wanted || found == AttributeType::Undefined
}
