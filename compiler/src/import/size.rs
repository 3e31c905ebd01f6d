//! How large what a node asks for becomes, before anything of that size is made.

use std::sync::Arc;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::Tensor;

use crate::memory::Memory;
use crate::nn::build::broadcast;
use crate::setting::Setting;

/// Most rows of a private table times look-ups in it: as many elements the client encrypts.
pub(super) const MOST_LOOKED_UP: usize = 1 << 20;

/// What stored and computed constants and the network's weights take, of what they may.
pub(super) struct Used {
    bytes: u64,
    memory: Memory,
}

impl Used {
    /// Nothing so far, of `memory`.
    pub fn none(memory: Memory) -> Used {
        Used { bytes: 0, memory }
    }

    /// Counts `bytes` more.
    ///
    /// # Errors
    /// Says that there are too many.
    pub fn add(&mut self, bytes: u64) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= self.memory.bytes() {
            return Ok(());
        }
        Err(format!("with it weights and constants take more than {} {}", Setting::Memory, self.memory))
    }

    /// Refuses a node whose result on these constants would be too large.
    ///
    /// # Errors
    /// Says how many elements it would have.
    pub fn check(&self, node: &NodeProto, inputs: &[Option<Arc<Tensor>>]) -> Result<(), String> {
        let (elements, each) = (elements(node, inputs), element_bytes(node, inputs));
        let bytes = u128::from(self.bytes).saturating_add(elements.saturating_mul(each.into()));
        if bytes <= u128::from(self.memory.bytes()) {
            return Ok(());
        }
        Err(format!(
            "its result has {elements} elements of {each} bytes: with it weights and constants take more than {} {}",
            Setting::Memory,
            self.memory
        ))
    }

    /// Refuses a network of so many layers.
    ///
    /// # Errors
    /// Says what the limit is.
    pub fn check_layers(&self, layers: usize) -> Result<(), String> {
        check_layers(layers, self.memory)
    }
}

/// Refuses a network of so many layers.
///
/// # Errors
/// Says what the limit is.
pub(super) fn check_layers(layers: usize, memory: Memory) -> Result<(), String> {
    let most = memory.layers();
    if layers <= most {
        return Ok(());
    }
    let limit = Setting::Memory;
    Err(format!("with it the network has more than the {most} layers that {limit} {memory} has room for"))
}

/// Bytes of an element of a node's result, at most.
fn element_bytes(node: &NodeProto, inputs: &[Option<Arc<Tensor>>]) -> u64 {
    let read = inputs.iter().flatten().map(|tensor| tensor.datum_type().size_of()).max().unwrap_or(4);
    let wide = matches!(node.op_type.as_str(), "Cast" | "ConstantOfShape" | "EyeLike");
    if wide { 8 } else { read.max(1) as u64 }
}

/// How many elements a node's result has at most. Operators that are not named here give no more
/// than they read.
fn elements(node: &NodeProto, inputs: &[Option<Arc<Tensor>>]) -> u128 {
    let shape = |i: usize| inputs.get(i).and_then(Option::as_ref).map_or(&[][..], |tensor| tensor.shape());
    let len = |i: usize| product(shape(i).iter().map(|extent| *extent as i128));
    let numbers = |i: usize| inputs.get(i).and_then(Option::as_ref).and_then(numbers).unwrap_or_default();
    let read = || (0..inputs.len()).map(len).fold(0, u128::saturating_add);
    match node.op_type.as_str() {
        "ConstantOfShape" => product(numbers(0)),
        "Expand" => {
            let wanted: Vec<usize> = numbers(1).iter().map(|n| usize::try_from(*n).unwrap_or(usize::MAX)).collect();
            joint(&[shape(0), &wanted]).unwrap_or_else(|| len(0).saturating_mul(product(numbers(1))))
        }
        "Tile" => len(0).saturating_mul(product(numbers(1))),
        "Range" => {
            let float = |i: usize| inputs.get(i)?.as_ref()?.cast_to_scalar::<f64>().ok();
            let (start, limit, step) = (float(0), float(1), float(2));
            let count = start.zip(limit).zip(step).map(|((start, limit), step)| ((limit - start) / step).ceil());
            count.map_or(0, |count| if count.is_finite() { count.max(0.0) as u128 } else { u128::MAX })
        }
        "OneHot" => len(0).saturating_mul(product(numbers(1).into_iter().take(1))),
        "EyeLike" => len(0),
        // All of the other axes for every index.
        "Gather" => {
            let axis = node.attribute.iter().find(|attribute| attribute.name == "axis").map_or(0, |axis| axis.i);
            let axis = if axis < 0 { axis + shape(0).len() as i64 } else { axis };
            let picked = usize::try_from(axis).ok().and_then(|axis| shape(0).get(axis)).copied().unwrap_or(1);
            len(0).div_ceil(picked.max(1) as u128).saturating_mul(len(1))
        }
        "GatherND" => {
            let depth = shape(1).last().copied().unwrap_or(1).max(1);
            let rest = product(shape(0).iter().skip(depth).map(|extent| *extent as i128));
            (len(1) / depth as u128).saturating_mul(rest)
        }
        "Pad" => {
            let pads = attribute(node, "pads").unwrap_or_else(|| numbers(1));
            let half = pads.len() / 2;
            let padded = |(axis, extent): (usize, &usize)| {
                let around = |at: usize| pads.get(at).copied().unwrap_or(0).max(0);
                (*extent as i128).saturating_add(around(axis)).saturating_add(around(half + axis))
            };
            product(shape(0).iter().enumerate().map(padded))
        }
        "MatMul" | "Gemm" => {
            let widest = |i: usize| shape(i).iter().copied().max().unwrap_or(1) as u128;
            let batches = |i: usize| product(shape(i).iter().rev().skip(2).map(|extent| *extent as i128));
            widest(0).saturating_mul(widest(1)).saturating_mul(batches(0).max(batches(1)))
        }
        // What is left is elementwise, where operands are repeated to a common shape, or no larger
        // than what it reads.
        _ => {
            let shapes: Vec<&[usize]> = (0..inputs.len()).map(shape).collect();
            joint(&shapes).unwrap_or(0).max(read())
        }
    }
}

/// Elements of the common shape, if there is one.
fn joint(shapes: &[&[usize]]) -> Option<u128> {
    let mut all: Vec<usize> = Vec::new();
    for shape in shapes {
        all = broadcast(&all, shape).ok()?;
    }
    Some(product(all.into_iter().map(|extent| extent as i128)))
}

fn product(extents: impl IntoIterator<Item = i128>) -> u128 {
    extents.into_iter().fold(1, |all, extent| all.saturating_mul(u128::try_from(extent).unwrap_or(0)))
}

fn numbers(tensor: &Arc<Tensor>) -> Option<Vec<i128>> {
    let tensor = tensor.cast_to::<i64>().ok()?;
    let view = tensor.to_plain_array_view::<i64>().ok()?;
    Some(view.iter().map(|n| i128::from(*n)).collect())
}

fn attribute(node: &NodeProto, name: &str) -> Option<Vec<i128>> {
    let found = node.attribute.iter().find(|attribute| attribute.name == name)?;
    Some(found.ints.iter().map(|n| i128::from(*n)).collect())
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    fn found(op: &str, inputs: &[Tensor]) -> u128 {
        let inputs: Vec<_> = inputs.iter().map(|tensor| Some(Arc::new(tensor.clone()))).collect();
        elements(&NodeProto { op_type: op.into(), ..NodeProto::default() }, &inputs)
    }

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::zero::<f32>(shape).unwrap()
    }

    #[test]
    fn sizes_are_known_before_anything_is_made() {
        assert_eq!(found("ConstantOfShape", &[tensor1(&[1i64 << 40, 3])]), 3 << 40);
        assert_eq!(found("Expand", &[zeros(&[4, 1]), tensor1(&[1i64, 1 << 50])]), 4 << 50);
        assert_eq!(found("Expand", &[zeros(&[4, 1]), tensor1(&[1i64, 5])]), 20);
        assert_eq!(found("Tile", &[zeros(&[2, 3]), tensor1(&[1i64 << 62, 1 << 62])]), 6 << 124);
        assert_eq!(found("Range", &[Tensor::from(0i64), Tensor::from(1i64 << 60), Tensor::from(2i64)]), 1 << 59);
        assert_eq!(found("Range", &[Tensor::from(0f32), Tensor::from(1f32), Tensor::from(0f32)]), u128::MAX);
        assert_eq!(found("OneHot", &[zeros(&[7]), tensor1(&[1i64 << 40]), zeros(&[2])]), 7 << 40);
        assert_eq!(found("Pad", &[zeros(&[2, 3]), tensor1(&[0i64, 1 << 40, 0, 4])]), 2 * ((1 << 40) + 7));
        assert_eq!(found("Add", &[zeros(&[1000, 1]), zeros(&[1, 1000])]), 1_000_000);
        assert_eq!(found("Concat", &[zeros(&[10, 2]), zeros(&[5, 2])]), 30);
        assert_eq!(found("MatMul", &[zeros(&[30, 2]), zeros(&[2, 40])]), 1200);
        assert_eq!(found("Gather", &[zeros(&[30_000, 768]), zeros(&[128])]), 128 * 768);
        assert_eq!(found("GatherND", &[zeros(&[10, 1000]), zeros(&[50, 1])]), 50_000);
        assert_eq!(found("Relu", &[zeros(&[10, 2])]), 20);
    }

    #[test]
    fn limits_are_said() {
        let wanted = Some(Arc::new(tensor1(&[100i64])));
        let node = NodeProto { op_type: "ConstantOfShape".into(), ..NodeProto::default() };
        let mut used = Used::none(Memory::of_bytes(1000));
        assert_eq!(used.add(200), Ok(()));
        assert_eq!(used.check(&node, std::slice::from_ref(&wanted)), Ok(()));
        assert_eq!(used.add(1), Ok(()));
        let refused = used.check(&node, &[wanted]).unwrap_err();
        assert!(refused.contains("100 elements") && refused.contains("`memory` 1kB"), "{refused}");
        assert!(used.add(800).unwrap_err().contains("`memory` 1kB"));
        let memory = Memory::of_bytes(400_000);
        assert!(check_layers(10, memory).is_ok() && check_layers(11, memory).unwrap_err().contains("10 layers"));
    }
}
