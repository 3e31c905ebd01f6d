//! One ONNX node on its way into the network: its inputs, attributes and the builder it is written
//! with.

use std::sync::Arc;

use ndarray::ArrayD;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::prelude::{DatumType, Tensor};

use super::ml::Tabular;
use super::whole::Whole;
use crate::memory::Memory;
use crate::nn::build::Builder;
use crate::nn::{Affine, NodeId};

/// What a name of the ONNX graph stands for.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    /// An input that is left out.
    Missing,
    /// Known at compile time.
    Const(Arc<Tensor>),
    /// Depends on the sample.
    Data(NodeId, Kind),
    /// Output of a node that was refused; what reads it cannot be judged.
    Refused,
    /// Output that a node does not give, and why; it is refused if something reads it.
    Without(String),
}

/// What an ONNX element type means for data. All of them are numbers in the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A float of any width.
    Real,
    /// A bool: exactly 0 or 1.
    Truth,
    /// An integer of 32 or 64 bits, which does not wrap.
    Integer(Whole),
    /// An integer of 8 or 16 bits, or an unsigned one: arithmetic wraps where the network's does
    /// not.
    Narrow,
    /// An integer `q` that QuantizeLinear made: in the network the real number
    /// `(q - zero) * scale`.
    Quantised { scale: f32, zero: f32 },
}

impl Kind {
    /// An element's place: a label.
    pub const INDEX: Kind = Kind::Integer(Whole::given(DataType::Int64));

    /// What may be one or the other; `None` if no tensor holds both.
    pub fn or(self, other: Kind) -> Option<Kind> {
        match (self, other) {
            (Kind::Integer(one), Kind::Integer(other)) => Some(Kind::Integer(one.or(other))),
            (one, other) => (one == other).then_some(one),
        }
    }
}

/// A node with what it reads.
pub(super) struct Call<'c> {
    pub b: &'c mut Builder,
    pub node: &'c NodeProto,
    pub inputs: &'c [Wire],
    pub opset: i64,
    pub tabular: &'c mut Tabular,
    /// What the network may take.
    pub memory: Memory,
}

/// A translation's outcome: the graph node, or why there is none.
pub(super) type Made = Result<NodeId, String>;

impl Call<'_> {
    /// The shape of data.
    pub fn shape(&self, x: NodeId) -> Vec<usize> {
        self.b.shape(x).to_vec()
    }

    /// Input `i`, which depends on the sample.
    pub fn data(&self, i: usize) -> Made {
        match self.inputs.get(i) {
            Some(Wire::Data(id, _)) => Ok(*id),
            Some(Wire::Const(_)) => Err(format!("input {i} must not be a constant")),
            _ => Err(format!("input {i} is missing")),
        }
    }

    /// The element type of input `i`, if it is data.
    pub fn kind(&self, i: usize) -> Option<Kind> {
        if let Some(Wire::Data(_, kind)) = self.inputs.get(i) { Some(*kind) } else { None }
    }

    /// Whether input `i` is given.
    pub fn has(&self, i: usize) -> bool {
        !matches!(self.inputs.get(i), None | Some(Wire::Missing))
    }

    /// Input `i`, if it is a constant.
    pub fn constant(&self, i: usize) -> Option<&Arc<Tensor>> {
        if let Some(Wire::Const(tensor)) = self.inputs.get(i) { Some(tensor) } else { None }
    }

    /// The numbers of constant input `i`, called `what`.
    pub fn floats(&self, i: usize, what: &str) -> Result<ArrayD<f32>, String> {
        let tensor = self.constant(i).ok_or_else(|| format!("{what} must be a constant"))?;
        let real = floats_or_infinite(tensor)?;
        match real.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            Some((at, bad)) => {
                let name = self.node.input.get(i).map_or("", String::as_str);
                Err(format!("{what}: weight {name:?} holds {bad} at element {at}"))
            }
            None => Ok(real),
        }
    }

    /// As [`Call::floats`], `None` if the input is not given.
    pub fn optional_floats(&self, i: usize, what: &str) -> Result<Option<ArrayD<f32>>, String> {
        if self.has(i) { self.floats(i, what).map(Some) } else { Ok(None) }
    }

    /// The integers of constant input `i`, called `what`; `None` if it is not given.
    pub fn integers(&self, i: usize, what: &str) -> Result<Option<Vec<i64>>, String> {
        if !self.has(i) {
            return Ok(None);
        }
        let tensor = self.constant(i).ok_or_else(|| format!("{what} must be constant"))?;
        let tensor = tensor.cast_to::<i64>().map_err(|e| e.to_string())?;
        let view = tensor.to_plain_array_view::<i64>().map_err(|e| e.to_string())?;
        Ok(Some(view.iter().copied().collect()))
    }

    /// Integers that are an attribute in older operator sets and input `i` in newer ones.
    pub fn integers_either(&self, i: usize, name: &str) -> Result<Option<Vec<i64>>, String> {
        match self.ints(name) {
            Some(values) => Ok(Some(values)),
            None => self.integers(i, name),
        }
    }

    /// An attribute.
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    /// A float attribute.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |attribute| attribute.f)
    }

    /// An attribute of several integers.
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|attribute| attribute.ints.clone())
    }

    /// An attribute of several extents, one for each of `axes` spatial axes, each at least `least`.
    pub fn extents(&self, name: &str, axes: usize, least: usize, default: usize) -> Result<Vec<usize>, String> {
        let Some(values) = self.ints(name).filter(|values| !values.is_empty()) else { return Ok(vec![default; axes]) };
        let values: Vec<usize> = values.iter().filter_map(|v| usize::try_from(*v).ok()).collect();
        let sane = values.len() == axes && values.iter().all(|v| (least..1 << 20).contains(v));
        if sane {
            Ok(values)
        } else {
            Err(format!("{name} {:?} for {axes} spatial axes", self.ints(name).unwrap_or_default()))
        }
    }

    /// A text attribute.
    pub fn text(&self, name: &str) -> &str {
        self.attribute(name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok()).unwrap_or("")
    }

    /// The data input of a node with one, and the constant's coefficients along with it:
    /// `x * scale + shift`.
    pub fn affine(&mut self, x: NodeId, scale: &ArrayD<f32>, shift: &ArrayD<f32>) -> Made {
        let mut shape = self.shape(x);
        for other in [scale.shape(), shift.shape()] {
            shape = crate::nn::build::broadcast(&shape, other)?;
        }
        let x = self.b.expand(x, &shape)?;
        // Extents of the coefficients: those of either constant, aligned at the last axis.
        let aligned = |c: &ArrayD<f32>| [vec![1; shape.len() - c.ndim()], c.shape().to_vec()].concat();
        let extents: Vec<usize> = aligned(scale).iter().zip(aligned(shift)).map(|(a, b)| *a.max(&b)).collect();
        let spread = |c: &ArrayD<f32>| -> Result<Vec<f32>, String> {
            let view = c.broadcast(extents.clone()).ok_or("its constants do not fit together")?;
            Ok(view.iter().copied().collect())
        };
        let affine = Affine { scale: spread(scale)?, shift: spread(shift)?, shape: extents };
        // A summand of minus infinity may be a mask: the network says so when it is known what
        // reads it.
        let allowed = |c: &&f32| c.is_finite() || **c == f32::NEG_INFINITY;
        if let Some(bad) = affine.shift.iter().find(|c| !allowed(c)).or(affine.scale.iter().find(|c| !c.is_finite())) {
            return Err(format!("a constant of it is {bad}"));
        }
        Ok(self.b.affine(x, affine))
    }
}

/// An axis that may count from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let positive = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(positive).ok().filter(|axis| *axis < rank).ok_or_else(|| format!("axis {axis} of {rank}"))
}

/// Several such axes, sorted.
pub(super) fn axes(given: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut axes: Vec<usize> = given.iter().map(|a| axis(*a, rank)).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    if axes.len() == given.len() { Ok(axes) } else { Err(format!("axes {given:?} name one twice")) }
}

/// A single number.
pub(super) fn number(x: f32) -> ArrayD<f32> {
    ndarray::arr0(x).into_dyn()
}

/// A constant as finite floats.
pub(super) fn floats(tensor: &Tensor) -> Result<ArrayD<f32>, String> {
    let real = floats_or_infinite(tensor)?;
    match real.iter().find(|x| !x.is_finite()) {
        Some(bad) => Err(format!("a constant of it is {bad}")),
        None => Ok(real),
    }
}

/// A constant as floats.
pub(super) fn floats_or_infinite(tensor: &Tensor) -> Result<ArrayD<f32>, String> {
    if tensor.datum_type() == DatumType::String {
        return Err("a constant of it is text".into());
    }
    let tensor = tensor.cast_to::<f32>().map_err(|e| e.to_string())?;
    let view = tensor.to_plain_array_view::<f32>().map_err(|e| e.to_string())?;
    ArrayD::from_shape_vec(view.shape(), view.iter().copied().collect()).map_err(|e| e.to_string())
}

/// The number, if all of a constant's elements are it.
pub(super) fn uniform(c: &ArrayD<f32>) -> Option<f32> {
    let first = *c.iter().next()?;
    c.iter().all(|x| *x == first).then_some(first)
}
