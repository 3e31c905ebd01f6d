//! Operations that put elements to places which constants say, or take them from there.

use std::collections::HashSet;
use std::sync::Arc;

use ndarray::ArrayD;
use tract_onnx::prelude::{IntoArcTensor, Tensor};

use super::super::call::{Call, Kind, Made, Wire, axis, floats_or_infinite};
use super::{arithmetic, shape, types};
use crate::nn::expr::Binary;

/// The extents of data or of a constant.
fn extents(call: &Call, i: usize) -> Result<Vec<usize>, String> {
    match call.constant(i) {
        Some(c) => Ok(c.shape().to_vec()),
        None => call.data(i).map(|x| call.shape(x)),
    }
}

/// Data or a constant as a vector.
fn flat(call: &mut Call, wire: &Wire) -> Result<Wire, String> {
    match wire {
        Wire::Data(x, kind) => {
            let n = call.shape(*x).iter().product();
            Ok(Wire::Data(call.b.reshape(*x, &[n]), *kind))
        }
        Wire::Const(c) => {
            let mut c: Tensor = (**c).clone();
            let n = c.shape().iter().product();
            c.set_shape(&[n]).map_err(|e| e.to_string())?;
            Ok(Wire::Const(Arc::new(c)))
        }
        _ => Err("an input is missing".into()),
    }
}

/// The elements `indices` of a vector.
fn picked(call: &mut Call, vector: &Wire, indices: &[usize]) -> Result<Wire, String> {
    match vector {
        Wire::Data(x, kind) => Ok(Wire::Data(shape::pick(call, *x, 0, indices)?, *kind)),
        Wire::Const(c) => {
            let c: Vec<f32> = floats_or_infinite(c)?.into_iter().collect();
            let picked: Vec<f32> = indices.iter().map(|i| c[*i]).collect();
            let picked = ArrayD::from_shape_vec(vec![indices.len()], picked).map_err(|e| e.to_string())?;
            Ok(Wire::Const(Tensor::from(picked).into_arc_tensor()))
        }
        _ => Err("an input is missing".into()),
    }
}

/// Scatter and ScatterElements: update `(i, j, ..)` goes there, but to the place along one axis
/// that its index says.
pub(in super::super) fn scatter_elements(call: &mut Call) -> Made {
    let shape = extents(call, 0)?;
    let along = axis(call.int("axis", 0), shape.len())?;
    let given = extents(call, 1)?;
    let indices = call.integers(1, "its indices")?.ok_or("its indices are missing")?;
    if given != extents(call, 2)? || given.len() != shape.len() {
        return Err(format!("indices of shape {given:?} for data of shape {shape:?}"));
    }
    if (0..shape.len()).any(|i| i != along && given[i] > shape[i]) {
        return Err(format!("indices of shape {given:?} for data of shape {shape:?}"));
    }
    let place = |(at, index): (usize, &i64)| -> Result<usize, String> {
        let index = axis(*index, shape[along])?;
        let (mut rest, mut stride, mut place) = (at, 1, 0);
        for i in (0..shape.len()).rev() {
            place += stride * if i == along { index } else { rest % given[i] };
            rest /= given[i];
            stride *= shape[i];
        }
        Ok(place)
    };
    let places: Vec<usize> = indices.iter().enumerate().map(place).collect::<Result<_, _>>()?;
    scattered(call, &shape, &places)
}

/// Each index names a slice of the data, which an update replaces.
pub(in super::super) fn scatter_nd(call: &mut Call) -> Made {
    let shape = extents(call, 0)?;
    let (starts, inner) = slices(call, &shape, 0)?;
    let places: Vec<usize> = starts.iter().flat_map(|start| *start..start + inner).collect();
    let updates: usize = extents(call, 2)?.iter().product();
    if updates != places.len() {
        return Err(format!("{updates} updates for {} places", places.len()));
    }
    scattered(call, &shape, &places)
}

/// The slices that an index names each.
pub(in super::super) fn gather_nd(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let given = extents(call, 1)?;
    let batch = usize::try_from(call.int("batch_dims", 0)).unwrap_or(usize::MAX);
    if batch >= given.len() || batch >= shape.len() || given[..batch] != shape[..batch] {
        return Err(format!("{batch} axes of batches of {shape:?} and {given:?}"));
    }
    let (starts, inner) = slices(call, &shape, batch)?;
    let depth = given[given.len() - 1];
    let places: Vec<usize> = starts.iter().flat_map(|start| *start..start + inner).collect();
    if places.is_empty() {
        return Err("its result is empty".into());
    }
    let elements = call.b.reshape(x, &[shape.iter().product()]);
    let y = shape::pick(call, elements, 0, &places)?;
    let result = [&given[..given.len() - 1], &shape[batch + depth..]].concat();
    Ok(call.b.reshape(y, &result))
}

/// Where each slice that constant input 1 names begins among the elements, and how long they are.
fn slices(call: &Call, shape: &[usize], batch: usize) -> Result<(Vec<usize>, usize), String> {
    let given = extents(call, 1)?;
    let indices = call.integers(1, "its indices")?.ok_or("its indices are missing")?;
    let depth = *given.last().filter(|depth| **depth > 0).ok_or("its indices have no axes")?;
    if batch + depth > shape.len() {
        return Err(format!("indices of shape {given:?} for data of shape {shape:?}"));
    }
    let inner: usize = shape[batch + depth..].iter().product();
    let each: usize = shape[batch..].iter().product();
    let batches: usize = shape[..batch].iter().product();
    let per_batch = (indices.len() / depth).div_ceil(batches.max(1));
    let start = |(at, index): (usize, &[i64])| -> Result<usize, String> {
        let mut place = 0;
        for (i, extent) in index.iter().zip(&shape[batch..]) {
            place = place * extent + axis(*i, *extent)?;
        }
        Ok(at / per_batch.max(1) * each + place * inner)
    };
    let starts = indices.chunks_exact(depth).enumerate().map(start).collect::<Result<_, _>>()?;
    Ok((starts, inner))
}

/// The data with updates at `places`: in the place of what was there, or joined with it.
fn scattered(call: &mut Call, shape: &[usize], places: &[usize]) -> Made {
    let op = match call.text("reduction") {
        "" | "none" => None,
        "add" => Some(Binary::Add),
        "mul" => Some(Binary::Mul),
        "max" => Some(Binary::Max),
        "min" => Some(Binary::Min),
        other => return Err(format!("reduction {other:?}")),
    };
    if let (Some(Binary::Add | Binary::Mul), Kind::Integer(_)) = (op, types::common(call, 0)?) {
        return Err("sums and products of updates are not supported on integers: convert them to float first".into());
    }
    let inputs = [call.inputs[0].clone(), call.inputs[2].clone()];
    let mut current = flat(call, &inputs[0])?;
    let updates = flat(call, &inputs[1])?;
    let mut waiting: Vec<usize> = (0..places.len()).collect();
    while !waiting.is_empty() {
        // One update for each place at a time; without a reduction the last one counts.
        let mut taken = HashSet::new();
        let (now, later): (Vec<usize>, Vec<usize>) = match op {
            Some(_) => waiting.iter().copied().partition(|update| taken.insert(places[*update])),
            None => (waiting.clone(), Vec::new()),
        };
        let mut new = picked(call, &updates, &now)?;
        if let Some(op) = op {
            let there: Vec<usize> = now.iter().map(|update| places[*update]).collect();
            let old = picked(call, &current, &there)?;
            new = match (&old, &new) {
                (Wire::Data(_, kind), _) | (_, Wire::Data(_, kind)) => {
                    Wire::Data(arithmetic::two(call, op, &old, &new)?, *kind)
                }
                _ => return Err("reads no data".into()),
            };
        }
        let n: usize = shape.iter().product();
        let mut sources: Vec<usize> = (0..n).collect();
        now.iter().enumerate().for_each(|(i, update)| sources[places[*update]] = n + i);
        let joined = shape::joined(call, &[current, new.clone()], 0)?;
        let kind = if let Wire::Data(_, kind) = new { kind } else { call.kind(0).ok_or("reads no data")? };
        current = Wire::Data(shape::pick(call, joined, 0, &sources)?, kind);
        waiting = later;
    }
    match current {
        Wire::Data(x, _) => Ok(call.b.reshape(x, shape)),
        _ => Err("it has no updates".into()),
    }
}

/// The elements, or the slices along an axis, where a constant is true.
pub(in super::super) fn compress(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let condition = call.integers(1, "its condition")?.ok_or("its condition is missing")?;
    let (x, along) = match call.attribute("axis") {
        Some(a) => (x, axis(a.i, shape.len())?),
        None => (call.b.reshape(x, &[shape.iter().product()]), 0),
    };
    let indices: Vec<usize> = (0..condition.len()).filter(|i| condition[*i] != 0).collect();
    let n = call.shape(x)[along];
    if indices.is_empty() || indices.iter().any(|i| *i >= n) {
        return Err(format!("its condition chooses {indices:?} of {n} elements"));
    }
    shape::pick(call, x, along, &indices)
}

/// The first elements along one axis turned around, as many as a constant says for each index of
/// another axis.
pub(in super::super) fn reverse_sequence(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let [time, batch] =
        [("time_axis", 0), ("batch_axis", 1)].map(|(name, default)| axis(call.int(name, default), shape.len()));
    let (time, batch) = (time?, batch?);
    let lengths = call.integers(1, "its lengths")?.ok_or("its lengths are missing")?;
    let whole: Vec<usize> = lengths.iter().filter_map(|n| usize::try_from(*n).ok()).collect();
    if time == batch
        || whole.len() != shape[batch]
        || lengths.len() != whole.len()
        || whole.iter().any(|n| *n > shape[time])
    {
        return Err(format!("lengths {lengths:?} for data of shape {shape:?}"));
    }
    let turned = |at: usize, length: usize| if at < length { length - 1 - at } else { at };
    if whole.iter().all(|n| *n == whole[0]) {
        let indices: Vec<usize> = (0..shape[time]).map(|at| turned(at, whole[0])).collect();
        return shape::pick(call, x, time, &indices);
    }
    // One batch after the other.
    let mut parts = Vec::new();
    for (i, length) in whole.into_iter().enumerate() {
        let (mut start, mut part) = (vec![0; shape.len()], shape.clone());
        (start[batch], part[batch]) = (i, 1);
        let part = call.b.slice(x, &start, &part);
        let indices: Vec<usize> = (0..shape[time]).map(|at| turned(at, length)).collect();
        parts.push(shape::pick(call, part, time, &indices)?);
    }
    Ok(call.b.concat(&parts, batch))
}

/// The middle of the data, with zeros around it where it is smaller.
pub(in super::super) fn center_crop_pad(call: &mut Call) -> Made {
    let mut x = call.data(0)?;
    let rank = call.shape(x).len();
    let wanted = call.integers(1, "its shape")?.ok_or("its shape is missing")?;
    let along = match call.ints("axes") {
        Some(given) => given.iter().map(|a| axis(*a, rank)).collect::<Result<Vec<usize>, _>>()?,
        None => (0..rank).collect(),
    };
    if along.len() != wanted.len() {
        return Err(format!("a shape {wanted:?} for {} axes", along.len()));
    }
    for (at, wanted) in along.into_iter().zip(wanted) {
        let wanted = usize::try_from(wanted).ok().filter(|n| (1..1 << 20).contains(n)).ok_or("its result is empty")?;
        let mut shape = call.shape(x);
        let n = shape[at];
        let (mut start, mut before, mut after) = (vec![0; rank], vec![0; rank], vec![0; rank]);
        start[at] = n.saturating_sub(wanted) / 2;
        shape[at] = n.min(wanted);
        before[at] = wanted.saturating_sub(n) / 2;
        after[at] = wanted.saturating_sub(n) - before[at];
        let part = call.b.slice(x, &start, &shape);
        x = call.b.pad(part, &before, &after);
    }
    Ok(x)
}
