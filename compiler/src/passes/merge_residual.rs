//! A skip connection is added to the accumulator of the layer or product that it meets, before the
//! one requantisation that is left:
//!
//! ```text
//!         requant(extend(requant(conv)) + shift_left(extend(skip)))
//! becomes requant(conv + shift_left(extend(skip)))
//! ```
//!
//! Reshapes and transpositions of what is requantised stand between them as well as not. The sum
//! moves to the finest format of its operands. Its width grows by as many bits, so the
//! requantisation's result keeps its format, and fewer roundings make it more exact. Not done where
//! the accumulator would become wider than RLWE allows.

use fusion_catalogue::rlwe::MAX_ACC_BITS;
use fusion_ir::{Op, Sign, TensorType, ValueId};

use super::widths::{can_set_width, set_width};
use super::{Program, Settings};

/// One operand of the sum: `aligned = shift_left(extended = extend(narrow))`.
struct Branch {
    aligned: ValueId,
    extended: ValueId,
    narrow: ValueId,
    /// The accumulator that `narrow` is the requantisation of, moved, if nothing else reads any of
    /// them.
    accumulator: Option<ValueId>,
    /// The moves, last first.
    moves: Vec<ValueId>,
}

pub(super) fn apply(program: &mut Program, _: &Settings) {
    let mut users = program.function.users();
    for index in 0..program.function.values.len() {
        let sum = ValueId(index as u32);
        if program.function.values[index].op == Op::Add && merge(program, &users, sum).is_some() {
            users = program.function.users();
        }
    }
}

fn merge(program: &mut Program, users: &[Vec<ValueId>], sum: ValueId) -> Option<()> {
    let function = &program.function;
    let [requant] = users[sum.index()].as_slice() else { return None };
    let requant = *requant;
    let Op::Requant { shift } = function.value(requant).op else { return None };
    let operands: [ValueId; 2] = function.value(sum).operands.as_slice().try_into().ok()?;
    let mut branches = [branch(program, users, operands[0])?, branch(program, users, operands[1])?];
    if operands[0] == operands[1] || branches.iter().all(|branch| branch.accumulator.is_none()) {
        return None;
    }
    let old = function.value(sum).ty.clone();
    let plan = |branches: &[Branch; 2]| {
        let fracs = branches.iter().map(|b| function.value(b.accumulator.unwrap_or(b.narrow)).ty.frac);
        let frac = fracs.fold(i8::MIN, i8::max);
        let bits = i16::from(old.bits) + i16::from(frac) - i16::from(old.frac);
        let wide_enough = |b: &Branch| {
            let ty = &function.value(b.accumulator.unwrap_or(b.narrow)).ty;
            let magnitude = i16::from(ty.magnitude) + i16::from(frac) - i16::from(ty.frac);
            let follows = |a| u8::try_from(bits).is_ok_and(|bits| can_set_width(program, users, a, bits));
            magnitude < bits && b.accumulator.map_or(i16::from(ty.bits) < bits, follows)
        };
        (frac, bits, bits <= i16::from(MAX_ACC_BITS) && branches.iter().all(wide_enough))
    };
    let (mut frac, mut bits, mut fits) = plan(&branches);
    // With two accumulators of very different formats, one may still be merged.
    for one in 0..2 {
        if !fits && branches.iter().all(|b| b.accumulator.is_some()) {
            let kept = branches[one].accumulator.take();
            (frac, bits, fits) = plan(&branches);
            if !fits {
                branches[one].accumulator = kept;
            }
        }
    }
    let bits = u8::try_from(bits).ok().filter(|_| fits)?;
    for branch in &branches {
        let mut source = branch.accumulator.unwrap_or(branch.extended);
        if branch.accumulator.is_some() {
            set_width(&mut program.function, source, bits);
            for id in branch.moves.iter().rev() {
                let ty = TensorType { sign: Sign::Any, ..program.function.value(source).ty.clone() };
                let moved = &mut program.function.values[id.index()];
                moved.operands = vec![source];
                moved.ty = ty.with_shape(moved.ty.shape.clone());
                source = *id;
            }
        } else {
            program.function.values[branch.extended.index()].ty.bits = bits;
        }
        let ty = program.function.value(source).ty.clone();
        let by = (frac - ty.frac) as u8;
        let aligned = &mut program.function.values[branch.aligned.index()];
        (aligned.op, aligned.operands) = (Op::ShiftLeft { by }, vec![source]);
        aligned.ty.bits = bits;
        aligned.ty.frac = frac;
        aligned.ty.magnitude = ty.magnitude + by;
    }
    let grown = bits - old.bits;
    let value = &mut program.function.values[sum.index()];
    value.ty.bits = bits;
    value.ty.frac = frac;
    value.ty.magnitude = (old.magnitude + grown).min(bits - 1);
    program.function.values[requant.index()].op = Op::Requant { shift: shift + grown };
    Some(())
}

fn branch(program: &Program, users: &[Vec<ValueId>], aligned: ValueId) -> Option<Branch> {
    let function = &program.function;
    let sole = |id: ValueId| users[id.index()].len() == 1;
    let Op::ShiftLeft { .. } = function.value(aligned).op else { return None };
    let extended = function.value(aligned).operands[0];
    if function.value(extended).op != Op::Extend || !sole(aligned) || !sole(extended) {
        return None;
    }
    let narrow = function.value(extended).operands[0];
    let (mut moves, mut at) = (Vec::new(), narrow);
    while matches!(function.value(at).op, Op::Reshape | Op::Transpose { .. }) && sole(at) {
        moves.push(at);
        at = function.value(at).operands[0];
    }
    let value = function.value(at);
    let accumulator = match value.op {
        Op::Requant { .. } if sole(at) && sole(value.operands[0]) => Some(value.operands[0]),
        _ => None,
    };
    let exact = |id: &ValueId| matches!(function.value(*id).op, Op::Conv(_) | Op::Dense { .. } | Op::Mul);
    Some(Branch { aligned, extended, narrow, accumulator: accumulator.filter(exact), moves })
}
