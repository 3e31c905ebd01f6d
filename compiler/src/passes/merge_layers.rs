//! Linear layers of one operand become one with the results of all, whose parts are cut out: the
//! operand is encrypted once, and their rounds are one's. Queries, keys and values are such layers,
//! and the branches of an inception module. Where that takes longer they stay apart.
//!
//! All of them are computed in the widest ring. A part that wants `d` fewer bits is the same
//! integers modulo a smaller power of two; a requantisation of it reads `2^d x` instead, modulo the
//! larger one, and drops `d` more bits, so that requantisations of all parts are of one width.

use std::collections::HashMap;

use fusion_ir::{Function, Op, Sign, TensorType, Value, ValueId, Weight, WeightId};

use super::weigh::Weigh;
use super::{Program, Settings, joint_name};

/// Layers of one operand, in order.
struct Group {
    /// What is moved to be the operand, in the widest ring.
    root: ValueId,
    /// How it is moved.
    moves: Vec<ValueId>,
    layers: Vec<ValueId>,
}

pub(super) fn apply(program: &mut Program, settings: &Settings) {
    let groups = groups(&program.function);
    if groups.is_empty() {
        return;
    }
    let mut weigh = Weigh::new(&program.function, &settings.target);
    let groups: Vec<Group> = groups.into_iter().filter(|group| is_quicker(program, &mut weigh, group)).collect();
    if !groups.is_empty() {
        merge(program, &groups);
    }
}

/// What a layer's operand is made of by moves, first ones first, whatever ring it is truncated to.
fn source(function: &Function, mut id: ValueId) -> (ValueId, Vec<ValueId>) {
    let mut moves = Vec::new();
    loop {
        let value = function.value(id);
        match value.op {
            Op::Truncate => {}
            Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Pad { .. } => moves.push(id),
            _ => {
                moves.reverse();
                return (id, moves);
            }
        }
        id = value.operands[0];
    }
}

/// What layers must have in common, beside the operand.
fn geometry(function: &Function, value: &Value) -> Option<String> {
    match &value.op {
        Op::Conv(conv) if conv.groups == 1 => {
            let kernel = &function.weight(conv.weight).shape[1..];
            Some(format!("{kernel:?} {:?} {:?} {:?}", conv.strides, conv.pads, conv.dilations))
        }
        Op::Dense { .. } => Some("dense".into()),
        _ => None,
    }
}

fn groups(function: &Function) -> Vec<Group> {
    let mut at: HashMap<(ValueId, String), usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (id, value) in function.iter() {
        let Some(geometry) = geometry(function, value) else { continue };
        let (root, moves) = source(function, value.operands[0]);
        let steps = moves.iter().map(|id| function.value(*id));
        let steps: Vec<String> = steps.map(|step| format!("{:?} {:?}", step.op, step.ty.shape)).collect();
        let group = *at.entry((root, steps.concat() + &geometry)).or_insert_with(|| {
            groups.push(Group { root, moves, layers: Vec::new() });
            groups.len() - 1
        });
        groups[group].layers.push(id);
    }
    groups.retain(|group| group.layers.len() > 1);
    groups
}

/// The ring of the widest layer.
fn ring(function: &Function, group: &Group) -> u8 {
    group.layers.iter().map(|layer| function.value(*layer).ty.bits).max().unwrap_or(0)
}

fn is_quicker(program: &mut Program, weigh: &mut Weigh<'_>, group: &Group) -> bool {
    let function = &program.function;
    let apart = group.layers.iter().map(|layer| {
        let value = function.value(*layer);
        weigh.seconds(function, &value.op, &function.value(value.operands[0]).ty, &value.ty)
    });
    let apart: f64 = apart.sum();
    let bits = ring(function, group);
    let first = function.value(group.layers[0]).operands[0];
    let x = TensorType { bits, ..function.value(first).ty.clone() };
    let declared = function.weights.len();
    let (op, ty) = joined(program, group);
    let parts = group.layers.iter().map(|layer| &program.function.value(*layer).ty);
    let together = weigh.seconds(&program.function, &op, &x, &ty) + weigh.parts(&program.function, &ty, parts);
    program.function.weights.truncate(declared);
    program.weights.0.truncate(declared);
    together < apart
}

/// The layer that computes all of a group's, whose weights are declared here, and its result.
fn joined(program: &mut Program, group: &Group) -> (Op, TensorType) {
    let function = &program.function;
    let bits = ring(function, group);
    let values: Vec<&Value> = group.layers.iter().map(|layer| function.value(*layer)).collect();
    let kernels: Vec<WeightId> = values.iter().filter_map(|value| value.op.kernel()).collect();
    let rows = || kernels.iter().map(|kernel| function.weight(*kernel).shape[0]);
    let first = function.weight(kernels[0]);
    // Integers are as they are: each part's fractional bits are said where it is cut out.
    let kernel = Weight {
        name: joint_name(kernels.iter().map(|kernel| function.weight(*kernel).name.as_str())),
        shape: [&[rows().sum()], &first.shape[1..]].concat(),
        bits: kernels.iter().map(|kernel| function.weight(*kernel).bits).max().unwrap_or(first.bits),
        frac: first.frac,
    };
    let weights: Vec<i64> = kernels.iter().flat_map(|kernel| program.weights.get(*kernel).to_vec()).collect();
    let of = |(value, rows): (&&Value, usize)| match value.op.bias() {
        Some(bias) => program.weights.get(bias).to_vec(),
        None => vec![0; rows],
    };
    let biases: Vec<i64> = values.iter().zip(rows()).flat_map(of).collect();
    let named = values.iter().filter_map(|value| value.op.bias()).map(|bias| function.weight(bias).name.as_str());
    let bias = Weight { name: joint_name(named), shape: vec![biases.len()], bits, frac: values[0].ty.frac };
    let magnitude = values.iter().map(|value| value.ty.magnitude).max().unwrap_or(1);
    let shape = [&[biases.len()], &values[0].ty.shape[1..]].concat();
    let ty = TensorType { shape, bits, magnitude, sign: Sign::Any, ..values[0].ty.clone() };
    let mut op = values[0].op.clone();
    let kernel = program.function.push_weight(kernel);
    let bias = program.function.push_weight(bias);
    program.weights.0.extend([weights, biases]);
    match &mut op {
        Op::Conv(conv) => (conv.weight, conv.bias) = (kernel, Some(bias)),
        Op::Dense { weight, bias: place } => (*weight, *place) = (kernel, Some(bias)),
        _ => unreachable!("only layers are joined"),
    }
    (op, ty)
}

fn merge(program: &mut Program, groups: &[Group]) {
    let users = program.function.users();
    let mut joined_at: HashMap<ValueId, usize> = HashMap::new();
    for (at, group) in groups.iter().enumerate() {
        joined_at.extend(group.layers.iter().map(|layer| (*layer, at)));
    }
    let joint: Vec<(Op, TensorType)> = groups.iter().map(|group| joined(program, group)).collect();
    let old = std::mem::take(&mut program.function.values);
    let is_requant = |id: &ValueId| {
        matches!(old[id.index()].op, Op::Requant { .. } | Op::RequantRelu { .. } | Op::RequantClip { .. })
    };
    // By how much more the readers of each part drop.
    let mut further: HashMap<ValueId, u8> = HashMap::new();
    for (layer, at) in &joined_at {
        let by = joint[*at].1.bits - old[layer.index()].ty.bits;
        if by > 0 && !users[layer.index()].is_empty() && users[layer.index()].iter().all(is_requant) {
            further.insert(*layer, by);
        }
    }
    let function = &mut program.function;
    let mut renamed: Vec<ValueId> = Vec::with_capacity(old.len());
    let mut whole: Vec<Option<(ValueId, usize)>> = vec![None; groups.len()];
    for (index, value) in old.iter().enumerate() {
        let id = ValueId(index as u32);
        let mut value = value.clone();
        let reads = value.operands.first().copied();
        value.operands.iter_mut().for_each(|operand| *operand = renamed[operand.index()]);
        let Some(at) = joined_at.get(&id) else {
            if let Some(by) = reads.and_then(|reads| further.get(&reads)) {
                let (Op::Requant { shift } | Op::RequantRelu { shift } | Op::RequantClip { shift, .. }) = &mut value.op
                else {
                    unreachable!("all readers are requantisations");
                };
                *shift += by;
            }
            function.values.push(value);
            renamed.push(ValueId(function.values.len() as u32 - 1));
            continue;
        };
        let (op, ty) = &joint[*at];
        if whole[*at].is_none() {
            let group = &groups[*at];
            let node = joint_name(group.layers.iter().map(|layer| old[layer.index()].node.as_str()));
            let mut x = renamed[group.root.index()];
            let x_ty = function.value(x).ty.clone();
            if x_ty.bits > ty.bits {
                let magnitude = x_ty.magnitude.min(ty.bits - 1);
                let ty = TensorType { bits: ty.bits, magnitude, sign: Sign::Any, ..x_ty };
                x = function.push(Op::Truncate, vec![x], ty, node.clone());
            }
            for step in &group.moves {
                let step = old[step.index()].clone();
                let TensorType { magnitude, sign, .. } = function.value(x).ty;
                let ty = TensorType { bits: ty.bits, magnitude, sign, ..step.ty };
                x = function.push(step.op, vec![x], ty, node.clone());
            }
            whole[*at] = Some((function.push(op.clone(), vec![x], ty.clone(), node), 0));
        }
        let Some((whole, row)) = &mut whole[*at] else { unreachable!("it was just made") };
        let start = [vec![*row], vec![0; ty.shape.len() - 1]].concat();
        *row += value.ty.shape[0];
        let part = TensorType { bits: ty.bits, frac: ty.frac, ..value.ty.clone() };
        let mut y = function.push(Op::Slice { start }, vec![*whole], part.clone(), value.node.clone());
        if part.frac != value.ty.frac {
            let ty = TensorType { frac: value.ty.frac, ..part };
            y = function.push(Op::Scale { factor: 1 }, vec![y], ty, value.node.clone());
        }
        if let Some(by) = further.get(&id) {
            let TensorType { frac, magnitude, .. } = value.ty;
            let ty = TensorType { bits: ty.bits, frac: frac + *by as i8, magnitude: magnitude + by, ..value.ty };
            y = function.push(Op::ShiftLeft { by: *by }, vec![y], ty, value.node);
        } else if value.ty.bits < ty.bits {
            y = function.push(Op::Truncate, vec![y], value.ty, value.node);
        }
        renamed.push(y);
    }
}
