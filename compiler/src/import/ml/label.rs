//! Labels, and what gives them names.

use std::sync::Arc;

use ndarray::Array2;
use tract_onnx::prelude::{DatumType, Tensor};

use super::super::call::{Call, Kind, Made, Wire};
use super::super::ops::{shape, types};
use super::attributes::Attributes;
use super::prefix::{List, looks_up};
use crate::nn::eval::argmax;
use crate::nn::expr::{Binary, Expr};
use crate::nn::{NodeId, Op};

/// `ArrayFeatureExtractor`: columns of a table; or the names of classes, if the index is a label.
pub(in super::super) fn extract(call: &mut Call) -> Result<Vec<Wire>, String> {
    if let (Some(names), Some(kind)) = (call.constant(0).cloned(), call.kind(1)) {
        let label = call.data(1)?;
        if !types::is_index(call, label) {
            return Err("it looks something up that the sample names".into());
        }
        rename(call, texts(&names)?)?;
        return Ok(vec![Wire::Data(label, kind)]);
    }
    let x = call.data(0)?;
    let kind = call.kind(0).unwrap_or(Kind::Real);
    let extents = call.shape(x);
    let axis = extents.len() - 1;
    let indices = call.integers(1, "its indices")?.unwrap_or_default();
    let place = |i: &i64| usize::try_from(*i).ok().filter(|i| *i < extents[axis]);
    let indices: Option<Vec<usize>> = indices.iter().map(place).collect();
    let indices = indices.filter(|indices| !indices.is_empty()).ok_or("an index of it is out of range")?;
    let y = shape::pick(call, x, axis, &indices)?;
    Ok(vec![Wire::Data(y, kind)])
}

/// `LabelEncoder` and `CategoryMapper` of a label: other names.
pub(in super::super) fn encode(call: &mut Call) -> Result<Vec<Wire>, String> {
    let label = call.data(0)?;
    let mapper = call.node.op_type == "CategoryMapper";
    if !types::is_index(call, label) {
        // Of columns of the sample the client has encoded what it can.
        if !mapper {
            looks_up(call.node)?;
        }
        return Err(
            "it encodes what the model has computed: only columns of the sample, as they are, are encoded".into()
        );
    }
    let (keys, values) = match mapper {
        true => {
            let attributes = Attributes(call.node);
            let (texts, integers) = (attributes.texts("cats_strings")?, attributes.ints("cats_int64s")?);
            let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
            let integers: Vec<String> = integers.iter().map(i64::to_string).collect();
            let of_texts = call.tabular.labels.iter().flatten().any(|name| texts.contains(name));
            if of_texts { (texts, integers) } else { (integers, texts) }
        }
        false => (names(List::of(call.node, "keys")?)?, names(List::of(call.node, "values")?)?),
    };
    if keys.is_empty() || keys.len() != values.len() {
        return Err(format!("{} keys and {} values", keys.len(), values.len()));
    }
    let known = call.tabular.labels.clone();
    let n = known.as_ref().map_or(keys.len(), Vec::len);
    let new = |index: usize| {
        let old = known.as_ref().map_or_else(|| index.to_string(), |names| names[index].clone());
        keys.iter().position(|key| *key == old).map(|at| values[at].clone())
    };
    let names: Option<Vec<String>> = (0..n).map(new).collect();
    rename(call, names.ok_or("a class has no name in it")?)?;
    Ok(vec![Wire::Data(label, Kind::INDEX)])
}

/// `ZipMap`: probabilities with the names of their classes, which are known.
pub(in super::super) fn zip_map(call: &mut Call) -> Made {
    call.data(0)
}

/// From now on classes have these names.
pub(super) fn rename(call: &mut Call, names: Vec<String>) -> Result<(), String> {
    let mut sorted = names.clone();
    sorted.sort();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("two of its classes have one name".into());
    }
    call.tabular.labels = Some(names);
    Ok(())
}

/// The index of the largest of the scores `x`.
pub(super) fn best(call: &mut Call, x: NodeId) -> NodeId {
    call.b.push(Op::ArgMax, vec![x], [1])
}

/// A label inside the network compared with constants: for each of them whether it is that class.
/// `None` if this node compares something else.
pub(in super::super) fn is_one_of(call: &mut Call) -> Option<Made> {
    let constant = usize::from(matches!(call.inputs.first(), Some(Wire::Data(..))));
    let label = call.data(1 - constant).ok()?;
    if !types::is_index(call, label) {
        return None;
    }
    let classes = call.integers(constant, "what it compares a label with").ok()??;
    let mut at = label;
    while call.b.graph.node(at).op == Op::Reshape {
        at = call.b.graph.node(at).inputs[0];
    }
    let scores = call.b.graph.node(at).inputs[0];
    let shape = crate::nn::build::broadcast(&call.shape(label), call.constant(constant)?.shape());
    let truths = shape.and_then(|shape| {
        let truths = classes_of(call, scores, &classes)?;
        Ok(call.b.reshape(truths, &shape))
    });
    Some(truths)
}

/// For each class whether its score is the largest, the first of equal ones. Of one tree's scores
/// that is a matter of its leaves.
fn classes_of(call: &mut Call, scores: NodeId, classes: &[i64]) -> Made {
    let mut at = scores;
    while call.b.graph.node(at).op == Op::Reshape {
        at = call.b.graph.node(at).inputs[0];
    }
    let node = call.b.graph.node(at);
    let n = node.len();
    if let Op::Trees(trees) = &node.op
        && trees.forest.extent().is_some_and(|extent| extent.trees == 1)
    {
        let x = node.inputs[0];
        let mut chosen = (**trees).clone();
        chosen.leaves = Array2::zeros((classes.len(), trees.leaves.ncols()));
        chosen.base = vec![0.0; classes.len()];
        for (leaf, weights) in trees.leaves.columns().into_iter().enumerate() {
            let scores: Vec<f32> = weights.iter().zip(&trees.base).map(|(w, base)| (w + base) as f32).collect();
            let best = argmax(&scores) as i64;
            for (row, class) in classes.iter().enumerate() {
                chosen.leaves[[row, leaf]] = f64::from(u8::from(*class == best));
            }
        }
        return Ok(call.b.push(Op::Trees(Arc::new(chosen)), vec![x], [classes.len()]));
    }
    if n != 2 || classes.iter().any(|class| !(0..2).contains(class)) {
        return Err(format!("it compares a label out of {n} inside the network"));
    }
    let flat = call.b.reshape(scores, &[2]);
    let [first, second] = [0, 1].map(|class| call.b.slice(flat, &[class], &[1]));
    let difference = call.b.sub(second, first);
    let one = |call: &mut Call, class: i64| {
        let op = if class == 1 { Binary::Greater } else { Binary::LessOrEqual };
        call.b.pointwise(Expr::binary(op, Expr::X, Expr::Const(0.0)), difference)
    };
    let truths: Vec<NodeId> = classes.iter().map(|class| one(call, *class)).collect();
    Ok(call.b.concat(&truths, 0))
}

/// Keys or values as names of classes.
fn names(list: List) -> Result<Vec<String>, String> {
    match list {
        List::Texts(texts) => Ok(texts),
        List::Integers(integers) => Ok(integers.iter().map(i64::to_string).collect()),
        List::Reals(_) => Err("labels have integers or texts as names, no real numbers".into()),
    }
}

fn texts(names: &Tensor) -> Result<Vec<String>, String> {
    if names.datum_type() == DatumType::String {
        let view = names.to_plain_array_view::<String>().map_err(|e| e.to_string())?;
        return Ok(view.iter().cloned().collect());
    }
    let wide = names.cast_to::<i64>().map_err(|e| e.to_string())?;
    let view = wide.to_plain_array_view::<i64>().map_err(|e| e.to_string())?;
    Ok(view.iter().map(i64::to_string).collect())
}
