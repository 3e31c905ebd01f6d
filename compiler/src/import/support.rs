//! The table of supported ONNX operators. It is checked on the protobuf before anything else looks
//! at the model, so that one run names every node that is in the way, and the walk translates by
//! it.
//!
//! Only nodes that depend on the input's *values* must be in the table. What merely computes
//! constants or shapes (`Shape`, `Gather`, `Unsqueeze` ... in front of a `Reshape`) is evaluated at
//! compile time, whatever operator it is.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::call::{Call, Kind, Made, Wire};
use super::ml;
use super::ops::{
    activation, arithmetic, einsum, integers, linear, normalise, places, pool, quantise, recurrent, reduce, resize,
    shape, types,
};
use super::{attributes, constant, control, graph};
use crate::Unsupported;

/// The newest version of ONNX's operators that the rules here were held against.
pub const NEWEST_OPSET: i64 = 28;

/// What one node needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSupport {
    /// The node's name, or that of its first output.
    pub node: String,
    /// Its ONNX operator.
    pub op: String,
    /// Whether it is evaluated at compile time.
    pub constant: bool,
    /// Why it is refused, if it is.
    pub why_not: Option<String>,
}

/// How an operator is translated.
#[derive(Clone, Copy)]
enum Rule {
    /// Numbers to numbers.
    Real(fn(&mut Call) -> Made),
    /// Elements, of whatever type, to other places.
    Moves(fn(&mut Call) -> Made),
    /// To a bool.
    Truth(fn(&mut Call) -> Made),
    /// To an integer.
    Index(fn(&mut Call) -> Made),
    /// To several outputs, or to a type that depends on more.
    Several(fn(&mut Call) -> Result<Vec<Wire>, String>),
}
use Rule::{Index, Moves, Real, Several, Truth};

/// Supported operators, with all attributes that any operator set up to [`NEWEST_OPSET`] gives
/// them.
const SUPPORTED: &[(&str, Rule, &str)] = &[
    ("Abs", Real(activation::pointwise), "consumed_inputs"),
    ("Acos", Real(activation::pointwise), ""),
    ("Acosh", Real(activation::pointwise), ""),
    ("Add", Real(arithmetic::add), "axis broadcast consumed_inputs"),
    ("And", Truth(arithmetic::compare), "axis broadcast"),
    ("ArgMax", Index(reduce::arg_max), "axis keepdims select_last_index"),
    ("ArgMin", Index(reduce::arg_min), "axis keepdims select_last_index"),
    ("ArrayFeatureExtractor", Several(ml::extract), ""),
    ("Asin", Real(activation::pointwise), ""),
    ("Asinh", Real(activation::pointwise), ""),
    ("Atan", Real(activation::pointwise), ""),
    ("Atanh", Real(activation::pointwise), ""),
    ("AveragePool", Real(pool::average), "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides"),
    ("BatchNormalization", Real(linear::batch_norm), "consumed_inputs epsilon is_test momentum spatial training_mode"),
    ("Binarizer", Real(ml::binarise), "threshold"),
    ("Cast", Several(types::cast), "round_mode saturate to"),
    ("CastLike", Several(types::cast_like), "round_mode saturate"),
    ("CategoryMapper", Several(ml::encode), "cats_int64s cats_strings default_int64 default_string"),
    ("Celu", Real(activation::pointwise), "alpha"),
    ("CenterCropPad", Moves(places::center_crop_pad), "axes"),
    ("Clip", Real(activation::clip), "consumed_inputs max min"),
    ("Compress", Moves(places::compress), "axis"),
    ("Concat", Moves(shape::concat), "axis"),
    ("Conv", Real(linear::conv), "auto_pad dilations group kernel_shape pads strides"),
    ("ConvInteger", Several(integers::conv_integer), "auto_pad dilations group kernel_shape pads strides"),
    (
        "ConvTranspose",
        Real(linear::conv_transpose),
        "auto_pad dilations group kernel_shape output_padding output_shape pads strides",
    ),
    ("Cos", Real(activation::pointwise), ""),
    ("Cosh", Real(activation::pointwise), ""),
    ("CumSum", Real(reduce::cum_sum), "exclusive reverse"),
    ("DepthToSpace", Moves(shape::depth_to_space), "blocksize mode"),
    ("DequantizeLinear", Real(quantise::dequantise), "axis block_size output_dtype"),
    ("Div", Real(arithmetic::div), "axis broadcast consumed_inputs"),
    ("Dropout", Moves(shape::dropout), "consumed_inputs is_test ratio seed"),
    ("DynamicQuantizeLinear", Several(integers::dynamic), ""),
    ("DynamicQuantizeMatMul", Several(integers::mat_mul_to_float), ""),
    ("Einsum", Real(einsum::einsum), "equation"),
    ("Elu", Real(activation::pointwise), "alpha consumed_inputs"),
    ("Equal", Truth(arithmetic::differ), "axis broadcast"),
    ("Erf", Real(activation::pointwise), ""),
    ("Exp", Real(activation::pointwise), "consumed_inputs"),
    ("Expand", Moves(shape::expand), ""),
    ("FeatureVectorizer", Real(ml::vectorise), "inputdimensions"),
    ("Flatten", Moves(shape::flatten), "axis"),
    (
        "GRU",
        Several(recurrent::recurrent),
        "activation_alpha activation_beta activations clip direction hidden_size layout linear_before_reset",
    ),
    ("Gather", Moves(shape::gather), "axis"),
    ("GatherElements", Moves(shape::gather_elements), "axis"),
    ("GatherND", Moves(places::gather_nd), "batch_dims"),
    ("Gelu", Real(activation::pointwise), "approximate"),
    ("Gemm", Real(linear::gemm), "alpha beta broadcast transA transB"),
    ("GlobalAveragePool", Real(pool::global_average), ""),
    ("GlobalMaxPool", Real(pool::global_max), ""),
    ("Greater", Truth(arithmetic::compare), "axis broadcast"),
    ("GreaterOrEqual", Truth(arithmetic::compare), ""),
    ("GroupNormalization", Real(normalise::group), "epsilon num_groups stash_type"),
    ("HardSigmoid", Real(activation::pointwise), "alpha beta consumed_inputs"),
    ("HardSwish", Real(activation::pointwise), ""),
    ("Hardmax", Real(reduce::hardmax), "axis"),
    ("Identity", Moves(shape::identity), ""),
    (
        "Imputer",
        Real(ml::impute),
        "imputed_value_floats imputed_value_int64s replaced_value_float replaced_value_int64",
    ),
    ("InstanceNormalization", Real(normalise::instance), "consumed_inputs epsilon"),
    ("IsNaN", Several(activation::is_nan), ""),
    ("LRN", Real(normalise::lrn), "alpha beta bias size"),
    (
        "LSTM",
        Several(recurrent::recurrent),
        "activation_alpha activation_beta activations clip direction hidden_size input_forget layout",
    ),
    (
        "LabelEncoder",
        Several(ml::encode),
        "default_float default_int64 default_string default_tensor keys_floats keys_int64s keys_strings keys_tensor values_floats values_int64s values_strings values_tensor",
    ),
    ("LayerNormalization", Real(normalise::layer), "axis epsilon stash_type"),
    ("LeakyRelu", Real(activation::pointwise), "alpha consumed_inputs"),
    ("Less", Truth(arithmetic::compare), "axis broadcast"),
    ("LessOrEqual", Truth(arithmetic::compare), ""),
    (
        "LinearClassifier",
        Several(ml::linear_classifier),
        "classlabels_ints classlabels_strings coefficients intercepts multi_class post_transform",
    ),
    ("LinearRegressor", Real(ml::linear_regressor), "coefficients intercepts post_transform targets"),
    ("Log", Real(activation::pointwise), "consumed_inputs"),
    ("LogSoftmax", Real(activation::log_softmax), "axis"),
    ("LpPool", Real(pool::lp), "auto_pad ceil_mode dilations kernel_shape p pads strides"),
    ("MatMul", Real(linear::mat_mul), ""),
    ("MatMulInteger", Several(integers::mat_mul_integer), ""),
    ("MatMulIntegerToFloat", Several(integers::mat_mul_to_float), ""),
    ("Max", Real(arithmetic::max), "consumed_inputs"),
    ("MaxPool", Real(pool::max), "auto_pad ceil_mode dilations kernel_shape pads storage_order strides"),
    ("Mean", Real(arithmetic::mean), "consumed_inputs"),
    ("MeanVarianceNormalization", Real(normalise::mean_variance), "axes"),
    ("Min", Real(arithmetic::min), "consumed_inputs"),
    ("Mish", Real(activation::pointwise), ""),
    ("Mul", Real(arithmetic::mul), "axis broadcast consumed_inputs"),
    ("Neg", Real(activation::negate), "consumed_inputs"),
    ("Normalizer", Real(ml::normalise), "norm"),
    ("Not", Truth(activation::pointwise), ""),
    ("OneHotEncoder", Real(ml::one_hot), "cats_int64s cats_strings zeros"),
    ("Or", Truth(arithmetic::compare), "axis broadcast"),
    ("PRelu", Real(activation::p_relu), "consumed_inputs"),
    ("Pad", Moves(shape::pad), "mode paddings pads value"),
    ("Pow", Real(activation::pow), "axis broadcast"),
    ("QGemm", Several(integers::q_gemm), "alpha transA transB"),
    ("QLinearAdd", Several(integers::q_linear_binary), ""),
    (
        "QLinearAveragePool",
        Several(integers::q_linear_average),
        "auto_pad ceil_mode channels_last count_include_pad kernel_shape pads strides",
    ),
    ("QLinearConcat", Several(integers::q_linear_concat), "axis"),
    ("QLinearConv", Several(integers::q_linear_conv), "auto_pad dilations group kernel_shape pads strides"),
    ("QLinearGlobalAveragePool", Several(integers::q_linear_average), "channels_last"),
    ("QLinearLeakyRelu", Several(integers::q_linear_unary), "alpha"),
    ("QLinearMatMul", Several(integers::q_linear_mat_mul), ""),
    ("QLinearMul", Several(integers::q_linear_binary), ""),
    ("QLinearSigmoid", Several(integers::q_linear_unary), ""),
    ("QLinearSoftmax", Several(integers::q_linear_softmax), "axis opset"),
    ("QuantizeLinear", Several(quantise::quantise), "axis block_size output_dtype precision saturate"),
    (
        "RNN",
        Several(recurrent::recurrent),
        "activation_alpha activation_beta activations clip direction hidden_size layout",
    ),
    ("Reciprocal", Real(activation::pointwise), "consumed_inputs"),
    ("ReduceL1", Real(reduce::l1), "axes keepdims noop_with_empty_axes"),
    ("ReduceL2", Real(reduce::l2), "axes keepdims noop_with_empty_axes"),
    ("ReduceLogSum", Real(reduce::log_sum), "axes keepdims noop_with_empty_axes"),
    ("ReduceLogSumExp", Real(reduce::log_sum_exp), "axes keepdims noop_with_empty_axes"),
    ("ReduceMax", Real(reduce::max), "axes keepdims noop_with_empty_axes"),
    ("ReduceMean", Real(reduce::mean), "axes keepdims noop_with_empty_axes"),
    ("ReduceMin", Real(reduce::min), "axes keepdims noop_with_empty_axes"),
    ("ReduceProd", Real(reduce::prod), "axes keepdims noop_with_empty_axes"),
    ("ReduceSum", Real(reduce::sum), "axes keepdims noop_with_empty_axes"),
    ("ReduceSumSquare", Real(reduce::sum_square), "axes keepdims noop_with_empty_axes"),
    ("Relu", Real(activation::relu), "consumed_inputs"),
    ("Reshape", Moves(shape::reshape), "allowzero consumed_inputs shape"),
    (
        "Resize",
        Real(resize::resize),
        "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value keep_aspect_ratio_policy mode nearest_mode",
    ),
    ("ReverseSequence", Moves(places::reverse_sequence), "batch_axis time_axis"),
    ("SVMClassifier", Several(ml::svm_classifier), SVM_CLASSIFIER),
    (
        "SVMRegressor",
        Real(ml::svm_regressor),
        "coefficients kernel_params kernel_type n_supports n_targets one_class post_transform rho support_vectors",
    ),
    ("Scaler", Real(ml::scale), "offset scale"),
    ("Scatter", Moves(places::scatter_elements), "axis"),
    ("ScatterElements", Moves(places::scatter_elements), "axis reduction"),
    ("ScatterND", Moves(places::scatter_nd), "reduction"),
    ("Selu", Real(activation::pointwise), "alpha consumed_inputs gamma"),
    ("Shrink", Real(activation::pointwise), "bias lambd"),
    ("Sigmoid", Real(activation::pointwise), "consumed_inputs"),
    ("Sign", Real(activation::pointwise), ""),
    ("Sin", Real(activation::pointwise), ""),
    ("Sinh", Real(activation::pointwise), ""),
    ("Slice", Moves(shape::slice), "axes ends starts"),
    ("Softmax", Real(activation::softmax), "axis"),
    ("Softplus", Real(activation::pointwise), ""),
    ("Softsign", Real(activation::pointwise), ""),
    ("SpaceToDepth", Moves(shape::space_to_depth), "blocksize mode"),
    ("Split", Several(shape::split), "axis num_outputs split"),
    ("Sqrt", Real(activation::pointwise), "consumed_inputs"),
    ("Squeeze", Moves(shape::squeeze), "axes"),
    ("Sub", Real(arithmetic::sub), "axis broadcast consumed_inputs"),
    ("Sum", Real(arithmetic::add), "consumed_inputs"),
    ("Swish", Real(activation::pointwise), "alpha"),
    ("Tan", Real(activation::pointwise), ""),
    ("Tanh", Real(activation::pointwise), "consumed_inputs"),
    ("ThresholdedRelu", Real(activation::pointwise), "alpha"),
    ("Tile", Moves(shape::tile), ""),
    ("TopK", Several(reduce::top_k), "axis k largest sorted"),
    ("Transpose", Moves(shape::transpose), "perm"),
    ("TreeEnsemble", Real(ml::tree_ensemble), TREES),
    ("TreeEnsembleClassifier", Several(ml::tree_classifier), TREE_CLASSIFIER),
    ("TreeEnsembleRegressor", Real(ml::tree_regressor), TREE_REGRESSOR),
    ("Unsqueeze", Moves(shape::unsqueeze), "axes"),
    ("Upsample", Real(resize::resize), "mode scales"),
    ("Where", Several(arithmetic::choose), ""),
    ("Xor", Truth(arithmetic::differ), "axis broadcast"),
    ("ZipMap", Real(ml::zip_map), "classlabels_int64s classlabels_strings"),
];

/// Those of `ai.onnx.ml`.
const TABULAR: &[&str] = &[
    "ArrayFeatureExtractor",
    "Binarizer",
    "CategoryMapper",
    "FeatureVectorizer",
    "Imputer",
    "LabelEncoder",
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "OneHotEncoder",
    "SVMClassifier",
    "SVMRegressor",
    "Scaler",
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    "ZipMap",
];

/// Those of onnxruntime's domain `com.microsoft`.
const RUNTIME: &[&str] = &[
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
    "QLinearSoftmax",
];

const SVM_CLASSIFIER: &str = "classlabels_ints classlabels_strings coefficients kernel_params kernel_type post_transform prob_a prob_b rho support_vectors vectors_per_class";
const TREES: &str = "aggregate_function leaf_targetids leaf_weights membership_values n_targets nodes_falseleafs nodes_falsenodeids nodes_featureids nodes_hitrates nodes_missing_value_tracks_true nodes_modes nodes_splits nodes_trueleafs nodes_truenodeids post_transform tree_roots";
const TREE_CLASSIFIER: &str = "base_values base_values_as_tensor class_ids class_nodeids class_treeids class_weights class_weights_as_tensor classlabels_int64s classlabels_strings nodes_falsenodeids nodes_featureids nodes_hitrates nodes_hitrates_as_tensor nodes_missing_value_tracks_true nodes_modes nodes_nodeids nodes_treeids nodes_truenodeids nodes_values nodes_values_as_tensor post_transform";
const TREE_REGRESSOR: &str = "aggregate_function base_values base_values_as_tensor n_targets nodes_falsenodeids nodes_featureids nodes_hitrates nodes_hitrates_as_tensor nodes_missing_value_tracks_true nodes_modes nodes_nodeids nodes_treeids nodes_truenodeids nodes_values nodes_values_as_tensor post_transform target_ids target_nodeids target_treeids target_weights target_weights_as_tensor";

/// Translates a node that reads data.
///
/// # Errors
/// Why it is refused.
pub(super) fn translate(call: &mut Call) -> Result<Vec<Wire>, String> {
    let one = |id, kind| vec![Wire::Data(id, kind)];
    match refusal(call.node).map_or_else(|| rule(&call.node.op_type), Err)? {
        Real(translate) => {
            let kind = types::of_numbers(call)?;
            translate(call).map(|id| one(id, kind))
        }
        Moves(translate) => {
            // What says where elements go has a type of its own, and may be refused for being data.
            let id = translate(call)?;
            types::common(call, 0).map(|kind| one(id, kind))
        }
        Truth(translate) => {
            types::comparable(call)?;
            translate(call).map(|id| one(id, Kind::Truth))
        }
        Index(translate) => translate(call).map(|id| one(id, Kind::INDEX)),
        Several(translate) => translate(call),
    }
}

/// Names of all supported operators, sorted.
pub fn operators() -> impl Iterator<Item = &'static str> {
    SUPPORTED.iter().map(|(name, ..)| *name)
}

/// The verdict on every node that the outputs depend on, in graph order. Graphs inside nodes are
/// judged when they are taken.
pub(super) fn survey(graph: &GraphProto) -> Vec<NodeSupport> {
    let initializers = graph::stored(graph);
    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let mut secret: HashSet<&str> = inputs.filter(|name| !initializers.contains(name)).collect();
    let live = graph::live(graph);
    let mut survey = Vec::new();
    for (index, node) in graph.node.iter().enumerate() {
        let control = control::is_control(node);
        let reads_secret = graph::reads(node).iter().any(|input| secret.contains(input));
        let constant = !reads_secret || matches!(node.op_type.as_str(), "Shape" | "Size");
        if !constant {
            secret.extend(node.output.iter().map(String::as_str));
        }
        if !live.contains(&index) {
            continue;
        }
        let why_not = match refusal(node) {
            Some(why) => Some(why),
            None if control => None,
            None if constant => (!constant::evaluable(node)).then(|| "operator not supported on constants".into()),
            None => rule(&node.op_type).err(),
        };
        survey.push(NodeSupport { node: display_name(node), op: node.op_type.clone(), constant, why_not });
    }
    survey
}

/// The refused nodes of a survey.
pub fn refused(survey: &[NodeSupport]) -> Vec<Unsupported> {
    let refuse = |row: &NodeSupport| {
        let why = row.why_not.clone()?;
        Some(Unsupported { node: row.node.clone(), op: row.op.clone(), why })
    };
    survey.iter().filter_map(refuse).collect()
}

/// The node's name, or that of its first output.
pub fn display_name(node: &NodeProto) -> String {
    let unnamed = || node.output.first().cloned().unwrap_or_default();
    if node.name.is_empty() { unnamed() } else { node.name.clone() }
}

fn rule(op: &str) -> Result<Rule, String> {
    let row = SUPPORTED.binary_search_by_key(&op, |(name, ..)| name).ok();
    row.map(|at| SUPPORTED[at].1).ok_or_else(|| "operator not supported".into())
}

/// What no node may be, whatever it reads: of another domain, or with an attribute that nobody here
/// knows.
pub(super) fn refusal(node: &NodeProto) -> Option<String> {
    let tabular = TABULAR.contains(&node.op_type.as_str());
    let runtime = RUNTIME.contains(&node.op_type.as_str());
    let own = match node.domain.as_str() {
        "com.microsoft" => runtime || matches!(node.op_type.as_str(), "DequantizeLinear" | "QuantizeLinear"),
        "" | "ai.onnx" => !tabular && !runtime,
        domain => tabular && domain == ml::DOMAIN,
    };
    if !own && (tabular || node.domain != ml::DOMAIN) {
        return Some(format!("operator of the domain {:?}", node.domain));
    }
    if !own {
        return Some("operator not supported".into());
    }
    let row = SUPPORTED.binary_search_by_key(&node.op_type.as_str(), |(name, ..)| name).ok();
    let known = row.map(|at| SUPPORTED[at].2).or_else(|| constant::attributes(&node.op_type))?;
    if tabular { ml::names_known(node, known) } else { attributes::unknown(node, known) }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::ValueInfoProto;

    use super::*;

    fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            name: name.into(),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    fn port(name: &str) -> ValueInfoProto {
        ValueInfoProto { name: name.into(), ..ValueInfoProto::default() }
    }

    #[test]
    fn every_refused_node_is_named_and_shape_arithmetic_is_not() {
        let graph = GraphProto {
            input: vec![port("x")],
            output: vec![port("y")],
            node: vec![
                node("GridSample", "strange", &["x"], "a"),
                node("Shape", "", &["a"], "s"),
                node("Gather", "pick", &["s"], "g"),
                node("Reshape", "flat", &["a", "g"], "r"),
                node("Det", "", &["r"], "t"),
                node("Relu", "last", &["t"], "y"),
                node("Einstein", "dead", &["x"], "unused"),
            ],
            ..GraphProto::default()
        };
        let refused: Vec<_> = refused(&survey(&graph)).into_iter().map(|u| (u.node, u.op)).collect();
        assert_eq!(refused, [("strange".into(), "GridSample".into()), ("t".into(), "Det".into())]);
        assert!(survey(&graph).iter().any(|row| row.node == "pick" && row.constant));
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(operators().is_sorted());
    }

    #[test]
    fn attributes_that_no_rule_knows_are_refused_by_name() {
        let mut strange = node("SpaceToDepth", "s", &["x"], "y");
        let attribute =
            |name: &str| tract_onnx::pb::AttributeProto { name: name.into(), r#type: 2, ..Default::default() };
        strange.attribute = vec![attribute("blocksize"), attribute("spin")];
        assert!(refusal(&strange).unwrap().contains("\"spin\""));
        strange.attribute.truncate(1);
        assert_eq!(refusal(&strange), None);
        strange.attribute[0].r#type = 1;
        assert!(refusal(&strange).unwrap().contains("\"blocksize\""));
    }
}
