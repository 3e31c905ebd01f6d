//! Comparisons of one kind and width that do not need each other become one, on all elements one
//! after the other, whose parts are cut out: they share their rounds. It is done where that is
//! quicker.
//!
//! Every operation with messages has a *turn*, later than those of what it depends on. As early as
//! possible is where it stands, unless a later turn that its readers allow has one of its kind: an
//! extension of what is known early, of something that is added late. Those of one turn cannot need
//! each other, and parts of one turn only make what is read in later ones, so joining them leaves
//! no circle.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use fusion_ir::{Function, Op, Sign, TensorType, Value, ValueId};

use super::weigh::Weigh;
use super::{Program, Settings, joint_name, simplify_shapes};

/// A joined operation has at most so many times the elements of the largest value.
const MOST_TIMES: usize = 2;

/// What comparisons of one kind have in common: operation, widths, signs, and fractional bits where
/// a sign is known, which giving them another name would hide.
type Kind = (String, u8, u8, Sign, Sign, i8);

pub(super) fn apply(program: &mut Program, settings: &Settings) {
    let function = &mut program.function;
    let mut groups = groups(function);
    if groups.is_empty() {
        return;
    }
    let mut weigh = Weigh::new(function, &settings.target);
    groups.retain(|group| is_quicker(function, &mut weigh, group));
    if !groups.is_empty() {
        join(function, &groups);
        simplify_shapes::apply(program, settings);
    }
}

/// Operations of each element by itself, with messages and one operand. Of others nothing is known.
fn is_elementwise(op: &Op) -> bool {
    matches!(
        op,
        Op::Extend
            | Op::Requant { .. }
            | Op::RequantRelu { .. }
            | Op::RequantClip { .. }
            | Op::Relu
            | Op::Step
            | Op::Piecewise(_)
    )
}

fn kind(function: &Function, value: &Value) -> Option<Kind> {
    let x = is_elementwise(&value.op).then(|| &function.value(value.operands[0]).ty)?;
    let signed = x.sign == Sign::NonNegative || value.ty.sign == Sign::NonNegative;
    let frac = if signed { x.frac } else { 0 };
    Some((format!("{:?}", value.op), x.bits, value.ty.bits, x.sign, value.ty.sign, frac))
}

/// Comparisons that may be joined, each group in order.
fn groups(function: &Function) -> Vec<Vec<ValueId>> {
    // The turn of what has messages; of what is local, that of the last that it depends on.
    let mut turns: Vec<usize> = Vec::with_capacity(function.values.len());
    for value in &function.values {
        let before = value.operands.iter().map(|operand| turns[operand.index()]).max().unwrap_or(0);
        turns.push(before + usize::from(!value.op.is_local()));
    }
    // The latest turn that readers leave each value.
    let mut latest = vec![usize::MAX; function.values.len()];
    let mut groups: HashMap<Kind, BTreeMap<usize, Vec<ValueId>>> = HashMap::new();
    let last = function.values.len().saturating_sub(1);
    for (id, value) in function.iter().rev() {
        let index = id.index();
        let mut before = latest[index];
        if !value.op.is_local() {
            // The last value stays the last.
            if let Some(kind) = kind(function, value).filter(|_| index != last) {
                let turns_of_kind = groups.entry(kind).or_default();
                let taken = turns_of_kind.range(turns[index]..=latest[index]).next();
                let turn = taken.map_or(turns[index], |(turn, _)| *turn);
                turns[index] = turn;
                turns_of_kind.entry(turn).or_default().push(id);
            }
            before = turns[index] - 1;
        }
        for operand in &value.operands {
            latest[operand.index()] = latest[operand.index()].min(before);
        }
    }
    let mut all: Vec<Vec<ValueId>> = groups.into_values().flat_map(BTreeMap::into_values).collect();
    all.iter_mut().for_each(|group| group.reverse());
    all.sort_unstable();
    let largest = function.values.iter().map(|value| value.ty.len()).max().unwrap_or(0);
    let parts = all.into_iter().flat_map(|group| bounded(function, group, largest.saturating_mul(MOST_TIMES)));
    parts.filter(|group| group.len() > 1).collect()
}

/// The group in parts of at most so many elements.
fn bounded(function: &Function, group: Vec<ValueId>, most: usize) -> Vec<Vec<ValueId>> {
    let mut parts = vec![Vec::new()];
    let mut elements = 0;
    for id in group {
        let more = function.value(id).ty.len();
        if elements + more > most {
            parts.push(Vec::new());
            elements = 0;
        }
        elements += more;
        parts.last_mut().expect("there is one").push(id);
    }
    parts
}

fn is_quicker(function: &Function, weigh: &mut Weigh<'_>, group: &[ValueId]) -> bool {
    let types: Vec<[&TensorType; 2]> = group
        .iter()
        .map(|id| function.value(*id))
        .map(|value| [&function.value(value.operands[0]).ty, &value.ty])
        .collect();
    let op = &function.value(group[0]).op;
    let apart: f64 = types.iter().map(|[x, ty]| weigh.seconds(function, op, x, ty)).sum();
    let elements = types.iter().map(|[x, _]| x.len()).sum::<usize>();
    let [x, ty] = types[0].map(|ty| ty.with_shape([elements]));
    let parts: Vec<TensorType> = types.iter().map(|[_, ty]| ty.with_shape([ty.len()])).collect();
    let copies = weigh.seconds(function, &Op::Concat { axis: 0 }, &x, &x) + weigh.parts(function, &ty, parts.iter());
    weigh.seconds(function, op, &x, &ty) + copies < apart
}

/// The function with every group as one operation, in an order that is possible and otherwise as it
/// was.
fn join(function: &mut Function, groups: &[Vec<ValueId>]) {
    let old = std::mem::take(&mut function.values);
    // What is done at once: the first member stands for its group.
    let mut unit: Vec<usize> = (0..old.len()).collect();
    let mut members: HashMap<usize, &[ValueId]> = HashMap::new();
    for group in groups {
        group.iter().for_each(|id| unit[id.index()] = group[0].index());
        members.insert(group[0].index(), group);
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); old.len()];
    let mut missing = vec![0usize; old.len()];
    for (index, value) in old.iter().enumerate() {
        for operand in &value.operands {
            readers[operand.index()].push(unit[index]);
            missing[unit[index]] += 1;
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..old.len()).filter(|index| unit[*index] == *index && missing[*index] == 0).map(Reverse).collect();
    let mut renamed: Vec<ValueId> = vec![ValueId(0); old.len()];
    while let Some(Reverse(at)) = ready.pop() {
        let one = [ValueId(at as u32)];
        let done = members.get(&at).copied().unwrap_or(&one);
        let mut parts: Vec<Value> = done.iter().map(|id| old[id.index()].clone()).collect();
        for operand in parts.iter_mut().flat_map(|part| &mut part.operands) {
            *operand = renamed[operand.index()];
        }
        if let [part] = parts.as_slice() {
            function.values.push(part.clone());
            renamed[at] = ValueId(function.values.len() as u32 - 1);
        } else {
            let joined = joined(function, &parts);
            done.iter().zip(joined).for_each(|(id, part)| renamed[id.index()] = part);
        }
        for reader in done.iter().flat_map(|id| &readers[id.index()]) {
            missing[*reader] -= 1;
            if missing[*reader] == 0 {
                ready.push(Reverse(*reader));
            }
        }
    }
}

/// Appends one operation for all of `parts`, and each one's part of the result.
fn joined(function: &mut Function, parts: &[Value]) -> Vec<ValueId> {
    let operand_ty = |function: &Function, part: &Value| function.value(part.operands[0]).ty.clone();
    let first = operand_ty(function, &parts[0]);
    let mut operands = Vec::with_capacity(parts.len());
    let mut magnitude = 0;
    for part in parts {
        let ty = operand_ty(function, part);
        magnitude = magnitude.max(ty.magnitude);
        let flat = ty.with_shape([ty.len()]);
        let x = function.push(Op::Reshape, part.operands.clone(), flat.clone(), part.node.clone());
        // Fractional bits are only a name.
        operands.push(if ty.frac == first.frac {
            x
        } else {
            function.push(Op::Scale { factor: 1 }, vec![x], TensorType { frac: first.frac, ..flat }, part.node.clone())
        });
    }
    let node = joint_name(parts.iter().map(|part| part.node.as_str()));
    let elements = parts.iter().map(|part| part.ty.len()).sum::<usize>();
    let all = TensorType { shape: vec![elements], magnitude, ..first };
    let all = function.push(Op::Concat { axis: 0 }, operands, all, node.clone());
    let magnitude = parts.iter().map(|part| part.ty.magnitude).max().unwrap_or(1);
    let ty = TensorType { shape: vec![elements], magnitude, ..parts[0].ty.clone() };
    let all = function.push(parts[0].op.clone(), vec![all], ty.clone(), node);
    let mut start = 0;
    let mut results = Vec::with_capacity(parts.len());
    for part in parts {
        let flat = TensorType { shape: vec![part.ty.len()], frac: ty.frac, ..part.ty.clone() };
        let mut y = function.push(Op::Slice { start: vec![start] }, vec![all], flat.clone(), part.node.clone());
        start += part.ty.len();
        if part.ty.frac != ty.frac {
            let flat = TensorType { frac: part.ty.frac, ..flat };
            y = function.push(Op::Scale { factor: 1 }, vec![y], flat, part.node.clone());
        }
        results.push(function.push(Op::Reshape, vec![y], part.ty.clone(), part.node.clone()));
    }
    results
}
