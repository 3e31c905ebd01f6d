//! Attributes of `ai.onnx.ml`, each of the type that the operator gives it.

use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto, attribute_proto::AttributeType};
use tract_onnx::prelude::Tensor;

use super::super::tensors;

/// The first attribute of a node that is not among `known`, names with spaces between.
pub(in super::super) fn names_known(node: &NodeProto, known: &str) -> Option<String> {
    let unknown = |attribute: &&AttributeProto| !known.split(' ').any(|known| known == attribute.name);
    node.attribute.iter().find(unknown).map(|attribute| format!("attribute {:?} is not known", attribute.name))
}

/// Reads a node's attributes. What is not there is empty; of the wrong type, an error.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'n>(pub &'n NodeProto);

impl<'n> Attributes<'n> {
    fn of(&self, name: &str, wanted: AttributeType) -> Result<Option<&'n AttributeProto>, String> {
        let Some(attribute) = self.0.attribute.iter().find(|attribute| attribute.name == name) else { return Ok(None) };
        let found = AttributeType::try_from(attribute.r#type).unwrap_or(AttributeType::Undefined);
        match found == wanted || found == AttributeType::Undefined {
            true => Ok(Some(attribute)),
            false => Err(format!("attribute {name:?} is not of its type")),
        }
    }

    /// Several integers.
    pub fn ints(&self, name: &str) -> Result<&'n [i64], String> {
        Ok(self.of(name, AttributeType::Ints)?.map_or(&[], |attribute| &attribute.ints))
    }

    /// One integer.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        Ok(self.of(name, AttributeType::Int)?.map_or(default, |attribute| attribute.i))
    }

    /// One number.
    pub fn float(&self, name: &str, default: f32) -> Result<f32, String> {
        Ok(self.of(name, AttributeType::Float)?.map_or(default, |attribute| attribute.f))
    }

    /// Several numbers, every one finite or, if `endless`, infinite.
    pub fn floats(&self, name: &str, endless: bool) -> Result<Vec<f32>, String> {
        let floats = self.of(name, AttributeType::Floats)?.map_or(&[][..], |attribute| &attribute.floats);
        check(name, floats.iter().map(|x| f64::from(*x)), endless)?;
        Ok(floats.to_vec())
    }

    /// Several numbers, as a list of float32 or, under `name` with `_as_tensor`, as a tensor of
    /// either width.
    pub fn numbers(&self, name: &str, endless: bool) -> Result<Vec<f64>, String> {
        let as_tensor = format!("{name}_as_tensor");
        match self.tensor(&as_tensor, endless)? {
            Some(numbers) if self.0.attribute.iter().any(|attribute| attribute.name == name) => {
                Err(format!("it has both {name} and {as_tensor}, of {} numbers", numbers.len()))
            }
            Some(numbers) => Ok(numbers),
            None => Ok(self.floats(name, endless)?.into_iter().map(f64::from).collect()),
        }
    }

    /// Several numbers of any kind.
    pub fn any_floats(&self, name: &str) -> Result<Vec<f32>, String> {
        Ok(self.of(name, AttributeType::Floats)?.map_or(Vec::new(), |attribute| attribute.floats.clone()))
    }

    /// A tensor of any type.
    pub fn stored(&self, name: &str) -> Result<Option<Tensor>, String> {
        let Some(attribute) = self.of(name, AttributeType::Tensor)? else { return Ok(None) };
        let proto: &TensorProto = attribute.t.as_ref().ok_or_else(|| format!("{name} holds nothing"))?;
        tensors::load(proto, None).map(Some).map_err(|why| format!("{name} {why}"))
    }

    /// The numbers of a tensor.
    pub fn tensor(&self, name: &str, endless: bool) -> Result<Option<Vec<f64>>, String> {
        let Some(tensor) = self.stored(name)? else { return Ok(None) };
        let wide = tensor.cast_to::<f64>().map_err(|e| e.to_string())?;
        let view = wide.to_plain_array_view::<f64>().map_err(|e| e.to_string())?;
        let numbers: Vec<f64> = view.iter().copied().collect();
        check(name, numbers.iter().copied(), endless)?;
        Ok(Some(numbers))
    }

    /// One text.
    pub fn text(&self, name: &str, default: &'static str) -> Result<&'n str, String> {
        match self.of(name, AttributeType::String)? {
            Some(attribute) => std::str::from_utf8(&attribute.s).map_err(|_| format!("{name} is no text")),
            None => Ok(default),
        }
    }

    /// Several texts.
    pub fn texts(&self, name: &str) -> Result<Vec<&'n str>, String> {
        let texts = self.of(name, AttributeType::Strings)?.map_or(&[][..], |attribute| &attribute.strings);
        texts.iter().map(|text| std::str::from_utf8(text).map_err(|_| format!("{name} is no text"))).collect()
    }

    /// Names of classes: integers or texts, under the first or the second name.
    pub fn labels(&self, integers: &str, texts: &str) -> Result<Vec<String>, String> {
        let (integers, texts) = (self.ints(integers)?, self.texts(texts)?);
        match (integers.is_empty(), texts.is_empty()) {
            (false, false) => Err("it has labels of both kinds".into()),
            (false, true) => Ok(integers.iter().map(i64::to_string).collect()),
            _ => Ok(texts.into_iter().map(str::to_owned).collect()),
        }
    }
}

fn check(name: &str, mut numbers: impl Iterator<Item = f64>, endless: bool) -> Result<(), String> {
    let bad = |x: &f64| x.is_nan() || (!endless && x.is_infinite());
    match numbers.position(|x| bad(&x)) {
        Some(at) => Err(format!("{name} holds what is no finite number, at element {at}")),
        None => Ok(()),
    }
}
