//! Operations that only move elements.

use ndarray::{ArrayD, Axis};

use super::super::call::{Call, Kind, Made, Wire, axes, axis, floats_or_infinite, number};
use super::super::size::MOST_LOOKED_UP;
use super::types;
use crate::nn::NodeId;
use crate::nn::build::broadcast;
use crate::nn::mask::MASKING;

/// Why indices that are made of the sample are refused.
const CHOSEN_BY_SAMPLE: &str = "its indices must be constant: which elements it takes may not depend on the sample";

/// Most parts that a gather is cut into.
const MAX_RUNS: usize = 4096;

pub(in super::super) fn identity(call: &mut Call) -> Made {
    call.data(0)
}

pub(in super::super) fn dropout(call: &mut Call) -> Made {
    let training = call
        .constant(2)
        .and_then(|t| t.cast_to::<f32>().ok()?.to_plain_array_view::<f32>().ok()?.iter().next().copied());
    let ratio = call.optional_floats(1, "the ratio")?.and_then(|r| r.iter().copied().next()).unwrap_or(0.5);
    if training.is_some_and(|t| t != 0.0) && ratio != 0.0 {
        return Err("training_mode is not supported: export the model for inference".into());
    }
    if call.opset < 7 && call.int("is_test", 0) == 0 {
        return Err("is_test is 0: export the model for inference".into());
    }
    call.data(0)
}

pub(in super::super) fn reshape(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let wanted = call.integers_either(1, "shape")?.ok_or("its shape is missing")?;
    let copies_zero = call.int("allowzero", 0) == 0;
    let mut result = Vec::new();
    for (i, extent) in wanted.iter().enumerate() {
        result.push(match *extent {
            0 if copies_zero => *shape.get(i).ok_or("it copies an extent that is not there")?,
            -1 => 0,
            n => usize::try_from(n).map_err(|_| format!("extent {n}"))?,
        });
    }
    let open = wanted.iter().position(|extent| *extent == -1);
    if let Some(open) = open {
        let known: usize = result.iter().enumerate().filter(|(i, _)| *i != open).map(|(_, n)| *n).product();
        result[open] = shape.iter().product::<usize>().checked_div(known).unwrap_or(0);
    }
    same_elements(call, x, &result)
}

pub(in super::super) fn flatten(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let at = call.int("axis", 1);
    let axis = if at == shape.len() as i64 { shape.len() } else { axis(at, shape.len())? };
    let (outer, inner): (usize, usize) = (shape[..axis].iter().product(), shape[axis..].iter().product());
    same_elements(call, x, &[outer, inner])
}

pub(in super::super) fn squeeze(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let dropped = match call.integers_either(1, "axes")? {
        Some(given) => axes(&given, shape.len())?,
        None => (0..shape.len()).filter(|axis| shape[*axis] == 1).collect(),
    };
    let result: Vec<usize> = (0..shape.len()).filter(|axis| !dropped.contains(axis)).map(|axis| shape[axis]).collect();
    same_elements(call, x, &result)
}

pub(in super::super) fn unsqueeze(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let given = call.integers_either(1, "axes")?.ok_or("its axes are missing")?;
    let shape = call.shape(x);
    let new = axes(&given, shape.len() + given.len())?;
    let mut old = shape.iter().copied();
    let extents = (0..shape.len() + new.len()).map(|axis| if new.contains(&axis) { Some(1) } else { old.next() });
    let result: Vec<usize> = extents.collect::<Option<_>>().ok_or("its axes do not fit")?;
    same_elements(call, x, &result)
}

pub(in super::super) fn transpose(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let rank = call.shape(x).len();
    let perm = call.ints("perm").unwrap_or_else(|| (0..rank as i64).rev().collect());
    let perm: Vec<usize> = perm.iter().map(|a| axis(*a, rank)).collect::<Result<_, _>>()?;
    axes(&perm.iter().map(|a| *a as i64).collect::<Vec<_>>(), rank)?;
    if perm.len() != rank {
        return Err(format!("{perm:?} is no permutation of {rank} axes"));
    }
    Ok(call.b.transpose(x, &perm))
}

pub(in super::super) fn expand(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let wanted = call.integers(1, "its shape")?.ok_or("its shape is missing")?;
    let wanted: Vec<usize> = wanted.iter().filter_map(|n| usize::try_from(*n).ok()).collect();
    let shape = broadcast(&call.shape(x), &wanted)?;
    call.b.expand(x, &shape)
}

pub(in super::super) fn tile(call: &mut Call) -> Made {
    let mut x = call.data(0)?;
    if call.opset < 6 {
        return Err("its form before operator set 6 is not supported".into());
    }
    let times = call.integers(1, "its repeats")?.ok_or("its repeats are missing")?;
    for (axis, n) in times.iter().enumerate().take(call.shape(x).len()) {
        let n =
            usize::try_from(*n).ok().filter(|n| (1..=MAX_RUNS).contains(n)).ok_or_else(|| format!("{n} repeats"))?;
        x = call.b.concat(&vec![x; n], axis);
    }
    Ok(x)
}

pub(in super::super) fn concat(call: &mut Call) -> Made {
    let parts: Vec<Wire> = call.inputs.iter().filter(|wire| !matches!(wire, Wire::Missing)).cloned().collect();
    let default = if call.opset < 4 { Some(1) } else { None };
    let along = call.attribute("axis").map(|a| a.i).or(default).ok_or("its axis is missing")?;
    joined(call, &parts, along)
}

/// Data and constants one after the other: constants are added to zeros in their places.
pub(in super::super) fn joined(call: &mut Call, parts: &[Wire], along: i64) -> Made {
    let shape_of = |call: &Call, wire: &Wire| match wire {
        Wire::Data(x, _) => Ok(call.shape(*x)),
        Wire::Const(c) => Ok(c.shape().to_vec()),
        _ => Err("it joins what is not there".to_string()),
    };
    let first = shape_of(call, parts.first().ok_or("joins nothing")?)?;
    let axis = axis(along, first.len())?;
    let mut lengths = Vec::new();
    for part in parts {
        let shape = shape_of(call, part)?;
        if shape.len() != first.len() || (0..first.len()).any(|i| i != axis && shape[i] != first[i]) {
            return Err(format!("shapes {first:?} and {shape:?} do not fit together"));
        }
        lengths.push(shape[axis]);
    }
    let data: Vec<usize> = (0..parts.len()).filter(|i| matches!(parts[*i], Wire::Data(..))).collect();
    let mut pieces = Vec::new();
    for (at, index) in data.iter().enumerate() {
        // Constants before the first data, and those behind each.
        let Wire::Data(x, _) = parts[*index] else { continue };
        let next = data.get(at + 1).copied().unwrap_or(parts.len());
        let (mut before, mut after) = (vec![0; first.len()], vec![0; first.len()]);
        before[axis] = if at == 0 { lengths[..*index].iter().sum() } else { 0 };
        after[axis] = lengths[index + 1..next].iter().sum();
        pieces.push(call.b.pad(x, &before, &after));
    }
    if pieces.is_empty() {
        return Err("it joins constants only".into());
    }
    let y = call.b.concat(&pieces, axis);
    if data.len() == parts.len() {
        return Ok(y);
    }
    let mut summands = ArrayD::<f32>::zeros(call.shape(y));
    let mut from = 0;
    for (part, length) in parts.iter().zip(&lengths) {
        if let Wire::Const(c) = part {
            let mut place = summands.slice_axis_mut(Axis(axis), (from..from + length).into());
            place.assign(&floats_or_infinite(c)?);
        }
        from += length;
    }
    call.affine(y, &number(1.0), &summands)
}

pub(in super::super) fn split(call: &mut Call) -> Result<Vec<Wire>, String> {
    let x = call.data(0)?;
    let kind = types::common(call, 0)?;
    let shape = call.shape(x);
    let axis = axis(call.int("axis", 0), shape.len())?;
    let parts = call.node.output.len().max(1);
    let declared = call.int("num_outputs", parts as i64);
    if declared != parts as i64 {
        return Err(format!("num_outputs is {declared}, but it has {parts} outputs"));
    }
    let lengths: Vec<usize> = match call.integers_either(1, "split")? {
        Some(given) => given.iter().filter_map(|n| usize::try_from(*n).ok()).collect(),
        None => {
            let each = shape[axis].div_ceil(parts);
            (0..parts).map(|i| shape[axis].saturating_sub(i * each).min(each)).collect()
        }
    };
    if lengths.iter().sum::<usize>() != shape[axis] || lengths.len() < parts || lengths.contains(&0) {
        return Err(format!("parts {lengths:?} of {}", shape[axis]));
    }
    let mut from = 0;
    let mut outputs = Vec::new();
    for length in lengths {
        let (mut start, mut part) = (vec![0; shape.len()], shape.clone());
        (start[axis], part[axis]) = (from, length);
        outputs.push(Wire::Data(call.b.slice(x, &start, &part), kind));
        from += length;
    }
    Ok(outputs)
}

pub(in super::super) fn slice(call: &mut Call) -> Made {
    let mut x = call.data(0)?;
    let rank = call.shape(x).len();
    let starts = call.integers_either(1, "starts")?.ok_or("its starts are missing")?;
    let ends = call.integers_either(2, "ends")?.ok_or("its ends are missing")?;
    let along = call.integers_either(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.integers(4, "its steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), along.len(), steps.len()] != [starts.len(); 3] {
        return Err("its starts, ends, axes and steps differ in number".into());
    }
    for (i, a) in along.iter().enumerate() {
        let axis = axis(*a, rank)?;
        let n = call.shape(x)[axis] as i64;
        let step = steps[i];
        let from_end = |position: i64| if position < 0 { position.saturating_add(n) } else { position };
        let (start, end) = if step > 0 {
            (from_end(starts[i]).clamp(0, n), from_end(ends[i]).clamp(0, n))
        } else {
            (from_end(starts[i]).clamp(-1, n - 1), from_end(ends[i]).clamp(-1, n - 1))
        };
        let count = match step {
            0 => return Err("a step of 0".into()),
            step if step > 0 => (end - start + step - 1).div_euclid(step),
            step => (start - end - step - 1).div_euclid(-step),
        };
        let count = usize::try_from(count).ok().filter(|n| *n > 0).ok_or("its result is empty")?;
        x = strided(call, x, axis, start as usize, step, count)?;
    }
    Ok(x)
}

/// `count` elements from `start` on, `step` apart.
pub(super) fn strided(call: &mut Call, x: NodeId, axis: usize, start: usize, step: i64, count: usize) -> Made {
    let mut shape = call.shape(x);
    let mut begin = vec![0; shape.len()];
    if step > 1 {
        // Rows of `step` elements, of which the first is wanted.
        let (step, n) = (step as usize, shape[axis]);
        let needed = count * step;
        begin[axis] = start;
        shape[axis] = needed.min(n - start);
        let part = call.b.slice(x, &begin, &shape);
        let mut after = vec![0; shape.len()];
        after[axis] = needed - shape[axis];
        let part = call.b.pad(part, &vec![0; shape.len()], &after);
        let mut rows = shape.clone();
        rows[axis] = count;
        rows.insert(axis + 1, step);
        let part = call.b.reshape(part, &rows);
        rows[axis + 1] = 1;
        let part = call.b.slice(part, &vec![0; rows.len()], &rows);
        rows.remove(axis + 1);
        return Ok(call.b.reshape(part, &rows));
    }
    let indices: Vec<usize> = (0..count as i64).map(|i| (start as i64 + i * step) as usize).collect();
    pick(call, x, axis, &indices)
}

pub(in super::super) fn gather(call: &mut Call) -> Made {
    if call.constant(0).is_some() && call.constant(1).is_none() {
        return Err(format!(
            "it looks up in a constant what the sample says: supported for the rows of a matrix of float32, integers of \
             an input whose shape the file fixes, and at most {MOST_LOOKED_UP} rows times look-ups"
        ));
    }
    let x = call.data(0)?;
    let shape = call.shape(x);
    let axis = axis(call.int("axis", 0), shape.len())?;
    let extents = call.constant(1).ok_or(CHOSEN_BY_SAMPLE)?.shape().to_vec();
    let indices = call.integers(1, "its indices")?.unwrap_or_default();
    let indices: Vec<usize> =
        indices.iter().map(|i| super::super::call::axis(*i, shape[axis])).collect::<Result<_, _>>()?;
    if indices.is_empty() {
        return Err("its result is empty".into());
    }
    let y = pick(call, x, axis, &indices)?;
    let result = [&shape[..axis], &extents, &shape[axis + 1..]].concat();
    Ok(call.b.reshape(y, &result))
}

/// Result element `(i, j, ..)` is the one there, but at the place along one axis that constant
/// indices of the result's shape say.
pub(in super::super) fn gather_elements(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let shape = call.shape(x);
    let along = axis(call.int("axis", 0), shape.len())?;
    let result = call.constant(1).ok_or(CHOSEN_BY_SAMPLE)?.shape().to_vec();
    let indices = call.integers(1, "its indices")?.unwrap_or_default();
    if result.len() != shape.len() || (0..shape.len()).any(|i| i != along && result[i] > shape[i]) {
        return Err(format!("indices of shape {result:?} for data of shape {shape:?}"));
    }
    let flat = |(at, index): (usize, &i64)| -> Result<usize, String> {
        let index = axis(*index, shape[along])?;
        let (mut rest, mut stride, mut flat) = (at, 1, 0);
        for i in (0..shape.len()).rev() {
            flat += stride * if i == along { index } else { rest % result[i] };
            rest /= result[i];
            stride *= shape[i];
        }
        Ok(flat)
    };
    let places: Vec<usize> = indices.iter().enumerate().map(flat).collect::<Result<_, _>>()?;
    let elements = call.b.reshape(x, &[shape.iter().product()]);
    let y = pick(call, elements, 0, &places)?;
    Ok(call.b.reshape(y, &result))
}

pub(in super::super) fn pick(call: &mut Call, x: NodeId, axis: usize, indices: &[usize]) -> Made {
    let runs = 1 + indices.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    if runs > MAX_RUNS {
        return Err(format!("it takes {runs} separate parts; at most {MAX_RUNS}"));
    }
    Ok(call.b.select(x, axis, indices))
}

/// Constants around the data, or repetitions of it. Negative padding takes elements away.
pub(in super::super) fn pad(call: &mut Call) -> Made {
    let mut x = call.data(0)?;
    let rank = call.shape(x).len();
    let pads = match call.ints("paddings") {
        Some(pads) => pads,
        None => call.integers_either(1, "pads")?.ok_or("its pads are missing")?,
    };
    let along = call
        .integers(3, "its axes")?
        .map_or(Ok((0..rank).collect::<Vec<_>>()), |given| given.iter().map(|a| axis(*a, rank)).collect())?;
    if pads.len() != 2 * along.len() || pads.iter().any(|p| p.abs() > 1 << 20) {
        return Err(format!("pads {pads:?} for {} axes", along.len()));
    }
    let value = match (call.attribute("value"), call.constant(2)) {
        (Some(value), _) => value.f,
        (None, Some(value)) => floats_or_infinite(value)?.iter().copied().next().unwrap_or(0.0),
        (None, None) if call.has(2) => return Err("its value must be a constant".into()),
        (None, None) => 0.0,
    };
    if matches!(call.kind(0), Some(Kind::Quantised { .. })) {
        return Err("padding of quantised integers is not supported".into());
    }
    let mode = match call.text("mode") {
        "" => "constant".to_string(),
        mode => mode.to_string(),
    };
    let (mut before, mut after) = (vec![0i64; rank], vec![0i64; rank]);
    for (i, axis) in along.iter().enumerate() {
        (before[*axis], after[*axis]) = (pads[i], pads[along.len() + i]);
    }
    // First what is taken away.
    let shape = call.shape(x);
    let crop = |p: i64| usize::try_from(-p).unwrap_or(0);
    let start: Vec<usize> = before.iter().map(|p| crop(*p)).collect();
    let cut: Vec<usize> = (0..rank).map(|i| shape[i].saturating_sub(start[i] + crop(after[i]))).collect();
    if cut.contains(&0) {
        return Err("its result is empty".into());
    }
    x = call.b.slice(x, &start, &cut);
    let grow = |pads: &[i64]| pads.iter().map(|p| usize::try_from(*p).unwrap_or(0)).collect::<Vec<_>>();
    let (before, after) = (grow(&before), grow(&after));
    if mode == "constant" && (value < MASKING || value == f32::INFINITY) {
        // What masks must not be mixed with the data: it is added to the zeros only.
        let inside: Vec<std::ops::Range<usize>> = (0..rank).map(|i| before[i]..before[i] + cut[i]).collect();
        let x = call.b.pad(x, &before, &after);
        let summands = ArrayD::from_shape_fn(call.shape(x), |at| {
            let data = (0..rank).all(|i| inside[i].contains(&at[i]));
            if data { 0.0 } else { value }
        });
        return call.affine(x, &number(1.0), &summands);
    }
    if mode == "constant" {
        // pad(x, c) = pad(x - c, 0) + c
        let x = call.affine(x, &number(1.0), &number(-value))?;
        let x = call.b.pad(x, &before, &after);
        return call.affine(x, &number(1.0), &number(value));
    }
    for axis in 0..rank {
        let n = cut[axis] as i64;
        let position = |i: i64| match mode.as_str() {
            "edge" => Some(i.clamp(0, n - 1)),
            "wrap" => Some(i.rem_euclid(n)),
            "reflect" if n == 1 => Some(0),
            "reflect" => {
                let i = i.rem_euclid(2 * n - 2);
                Some(if i < n { i } else { 2 * n - 2 - i })
            }
            _ => None,
        };
        let indices = (-(before[axis] as i64)..n + after[axis] as i64).map(|i| position(i).map(|i| i as usize));
        let indices: Vec<usize> = indices.collect::<Option<_>>().ok_or_else(|| format!("mode {mode:?}"))?;
        x = pick(call, x, axis, &indices)?;
    }
    Ok(x)
}

pub(in super::super) fn depth_to_space(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let (shape, block) = (call.shape(x), usize::try_from(call.int("blocksize", 0)).unwrap_or(0));
    let [n, c, h, w] = shape[..] else { return Err(format!("data of shape {shape:?} has no images")) };
    if block == 0 || block > 1 << 10 || c % (block * block) != 0 {
        return Err(format!("blocks of {block} on {c} channels"));
    }
    let depth = c / (block * block);
    let (six, perm) = if columns_first(call)? {
        ([n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3])
    } else {
        ([n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2])
    };
    let y = call.b.reshape(x, &six);
    let y = call.b.transpose(y, &perm);
    Ok(call.b.reshape(y, &[n, depth, h * block, w * block]))
}

pub(in super::super) fn space_to_depth(call: &mut Call) -> Made {
    let x = call.data(0)?;
    let (shape, block) = (call.shape(x), usize::try_from(call.int("blocksize", 0)).unwrap_or(0));
    let [n, c, h, w] = shape[..] else { return Err(format!("data of shape {shape:?} has no images")) };
    if block == 0 || h % block != 0 || w % block != 0 {
        return Err(format!("blocks of {block} on {h} x {w}"));
    }
    let y = call.b.reshape(x, &[n, c, h / block, block, w / block, block]);
    let perm = if columns_first(call)? { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    let y = call.b.transpose(y, &perm);
    Ok(call.b.reshape(y, &[n, c * block * block, h / block, w / block]))
}

/// Whether `mode` is `CRD`: the original channels vary slowest, not the places within a block.
fn columns_first(call: &Call) -> Result<bool, String> {
    match call.text("mode") {
        "" | "DCR" => Ok(false),
        "CRD" => Ok(true),
        other => Err(format!("mode {other:?}")),
    }
}

fn same_elements(call: &mut Call, x: NodeId, shape: &[usize]) -> Made {
    let before = call.shape(x);
    if before.iter().product::<usize>() == shape.iter().product::<usize>() {
        Ok(call.b.reshape(x, shape))
    } else {
        Err(format!("{before:?} cannot become {shape:?}"))
    }
}
