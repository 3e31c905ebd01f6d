//! Operations that only move elements.

use crate::op::Op;
use crate::types::TensorType;

/// A block of elements that an operation takes from one operand.
struct Block {
    operand: usize,
    /// Extents along the result's axes.
    extents: Vec<usize>,
    /// Index of the block's first element in the operand, and how far apart neighbours along each
    /// axis are there.
    from: (usize, Vec<usize>),
    /// The same in the result.
    to: (usize, Vec<usize>),
}

/// Neighbouring elements of a block.
struct Run {
    operand: usize,
    from: usize,
    /// How far apart they are in the operand; in the result they are neighbours.
    step: usize,
    to: usize,
    len: usize,
}

/// The result of a moving operation; what comes from nowhere is a padding zero.
pub(super) fn apply(op: &Op, operands: &[&[i64]], types: &[&TensorType], ty: &TensorType) -> Vec<i64> {
    let mut result = vec![0; ty.len()];
    for_each_run(op, types, ty, |run| {
        let to = &mut result[run.to..][..run.len];
        let from = &operands[run.operand][run.from..];
        match run.step {
            1 => to.copy_from_slice(&from[..run.len]),
            step => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
        }
    });
    result
}

/// Where each element of a moving operation's result comes from: operand and index there, or `None`
/// for a padding zero. The one definition of `concat`, `pad`, `slice` and `transpose`, used on
/// integers here and on shares by backends.
pub fn gather(op: &Op, types: &[&TensorType], ty: &TensorType) -> Vec<Option<(usize, usize)>> {
    let mut sources = vec![None; ty.len()];
    for_each_run(op, types, ty, |run| {
        for (i, source) in sources[run.to..][..run.len].iter_mut().enumerate() {
            *source = Some((run.operand, run.from + i * run.step));
        }
    });
    sources
}

fn blocks(op: &Op, types: &[&TensorType], ty: &TensorType) -> Vec<Block> {
    let (own, first) = (strides(&ty.shape), strides(&types[0].shape));
    let at = |strides: &[usize], at: &[usize]| strides.iter().zip(at).map(|(stride, i)| stride * i).sum();
    let block = |operand: usize, extents: &[usize], from: (usize, Vec<usize>), to: usize| Block {
        operand,
        extents: extents.to_vec(),
        from,
        to: (to, own.clone()),
    };
    match op {
        Op::Concat { axis } => {
            let mut start = 0;
            let part = |(operand, part): (usize, &&TensorType)| {
                let to = start * own[*axis];
                start += part.shape[*axis];
                block(operand, &part.shape, (0, strides(&part.shape)), to)
            };
            types.iter().enumerate().map(part).collect()
        }
        Op::Pad { before, .. } => vec![block(0, &types[0].shape, (0, first), at(&own, before))],
        Op::Slice { start } => vec![block(0, &ty.shape, (at(&first, start), first.clone()), 0)],
        Op::Transpose { perm } => {
            vec![block(0, &ty.shape, (0, perm.iter().map(|axis| first[*axis]).collect()), 0)]
        }
        _ => Vec::new(),
    }
}

/// Row-major strides.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

fn for_each_run(op: &Op, types: &[&TensorType], ty: &TensorType, mut visit: impl FnMut(Run)) {
    for Block { operand, extents, from, to } in blocks(op, types, ty) {
        let Some((&len, outer)) = extents.split_last() else { continue };
        let step = from.1[outer.len()];
        let mut at = vec![0; outer.len()];
        let (mut source, mut target) = (from.0, to.0);
        for _ in 0..outer.iter().product() {
            visit(Run { operand, from: source, step, to: target, len });
            for axis in (0..outer.len()).rev() {
                at[axis] += 1;
                source += from.1[axis];
                target += to.1[axis];
                if at[axis] < outer[axis] {
                    break;
                }
                source -= from.1[axis] * at[axis];
                target -= to.1[axis] * at[axis];
                at[axis] = 0;
            }
        }
    }
}
