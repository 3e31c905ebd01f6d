//! Changing the ring of a value and of what feeds it, shared by the passes that do.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use fusion_ir::types::{signed, wrap};
use fusion_ir::{Function, Op, Sign, ValueId};

use super::Program;

/// Operations whose result in a wider ring follows from operands in the wider ring.
fn follows(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::Dense { .. }
            | Op::ShiftLeft { .. }
            | Op::Scale { .. }
            | Op::Offset { .. }
            | Op::Bias { .. }
            | Op::Add
            | Op::Mul
            | Op::SumPool(_)
            | Op::Concat { .. }
            | Op::Pad { .. }
            | Op::Slice { .. }
            | Op::Transpose { .. }
            | Op::Reshape
    )
}

/// `id` and what it is made of up to extensions, if [`set_width`] can give all of it the width
/// `bits`: nothing else reads any of it.
fn made_of(program: &Program, users: &[Vec<ValueId>], id: ValueId, bits: u8) -> Option<BTreeSet<ValueId>> {
    let mut all = BTreeSet::new();
    let mut open = vec![id];
    while let Some(at) = open.pop() {
        if !all.insert(at) {
            continue;
        }
        let value = program.function.value(at);
        if value.ty.magnitude >= bits {
            return None;
        }
        match &value.op {
            Op::Extend if program.function.value(value.operands[0]).ty.bits < bits => {}
            op if follows(op) => {
                let fits = |b: &i64| *b == signed(wrap(*b, bits), bits);
                if !op.bias().iter().all(|bias| program.weights.get(*bias).iter().all(fits)) {
                    return None;
                }
                open.extend(&value.operands);
            }
            _ => return None,
        }
    }
    let inside = |at: &ValueId| *at == id || users[at.index()].iter().all(|user| all.contains(user));
    (users[id.index()].len() <= 1 && all.iter().all(inside)).then_some(all)
}

/// Whether [`set_width`] can give `id` the width `bits`.
pub(super) fn can_set_width(program: &Program, users: &[Vec<ValueId>], id: ValueId, bits: u8) -> bool {
    made_of(program, users, id, bits).is_some()
}

/// Gives `id` and what feeds it, up to the extensions, the width `bits`. Exact where nothing wraps.
pub(super) fn set_width(function: &mut Function, id: ValueId, bits: u8) {
    let mut open = vec![id];
    let mut done = BTreeSet::new();
    while let Some(at) = open.pop() {
        if !done.insert(at) {
            continue;
        }
        let value = &mut function.values[at.index()];
        value.ty.bits = bits;
        if value.op == Op::Extend {
            continue;
        }
        open.extend(&value.operands);
        if let Some(bias) = value.op.bias() {
            function.weights[bias.index()].bits = bits;
        }
    }
}

/// Whether it is proven whatever the input is that nothing wraps in what makes `id` of extensions
/// by local operations: then its extension to any wider ring is the same operations in that ring.
pub(super) fn never_wraps(function: &Function, id: ValueId) -> bool {
    fitting(function, id, &mut HashMap::new()).is_some()
}

/// What `id` may be, if it is made so and its ring holds that; `known` has what was asked before.
fn fitting(
    function: &Function,
    id: ValueId,
    known: &mut HashMap<ValueId, Option<RangeInclusive<i128>>>,
) -> Option<RangeInclusive<i128>> {
    if let Some(range) = known.get(&id) {
        return range.clone();
    }
    let range = within(function, id, known);
    known.insert(id, range.clone());
    range
}

fn within(
    function: &Function,
    id: ValueId,
    known: &mut HashMap<ValueId, Option<RangeInclusive<i128>>>,
) -> Option<RangeInclusive<i128>> {
    let value = function.value(id);
    let mut operand = |at: usize| fitting(function, value.operands[at], known);
    let [low, high] = match &value.op {
        Op::Extend => {
            let x = &function.value(value.operands[0]).ty;
            let half = 1i128 << (x.bits - 1);
            [if x.sign == Sign::NonNegative { 0 } else { -half }, half - 1]
        }
        Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } => ends(operand(0)?),
        Op::Pad { .. } => with_zero(operand(0)?),
        Op::SumPool(window) => {
            let summands = (window.kernel[0] * window.kernel[1]) as i128;
            with_zero(operand(0)?).map(|end| summands * end)
        }
        Op::ShiftLeft { by } => ends(operand(0)?).map(|end| end << by),
        Op::Scale { factor } => {
            let [a, b] = ends(operand(0)?).map(|end| i128::from(*factor) * end);
            [a.min(b), a.max(b)]
        }
        Op::Concat { .. } => {
            let parts: Option<Vec<_>> = (0..value.operands.len()).map(operand).collect();
            let parts = parts?.into_iter().map(ends);
            parts.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])])?
        }
        Op::Add => {
            let [a, b] = [ends(operand(0)?), ends(operand(1)?)];
            [a[0] + b[0], a[1] + b[1]]
        }
        _ => return None,
    };
    let half = 1i128 << (value.ty.bits - 1);
    (low >= -half && high < half).then_some(low..=high)
}

fn ends(range: RangeInclusive<i128>) -> [i128; 2] {
    [*range.start(), *range.end()]
}

/// The ends of the range, zero included: that of a border.
fn with_zero(range: RangeInclusive<i128>) -> [i128; 2] {
    [(*range.start()).min(0), (*range.end()).max(0)]
}

#[cfg(test)]
mod tests {
    use super::super::testing::program;
    use super::super::{Settings, run_one};
    use super::*;

    /// Twice the first half less five times the second, of what is never negative, and beside it
    /// the input.
    fn body(bits: u8) -> String {
        let ty = |bits: u8, rest: &str| format!("i{bits}.0~{}{rest}", bits - 1);
        let (wide, all) = (ty(bits, "[2]"), ty(20, "[2]"));
        format!(
            "v0 = input : i8.0~7[4] \"x\"\n\
             v1 = relu v0 : i8.0~7+[4] \"r\"\n\
             v2 = extend v1 : i{bits}.0~7+[4] \"e\"\n\
             v3 = slice v2 start=[0] : i{bits}.0~7+[2] \"a\"\n\
             v4 = slice v2 start=[2] : i{bits}.0~7+[2] \"b\"\n\
             v5 = scale v3 factor=2 : {wide} \"a\"\n\
             v6 = scale v4 factor=-5 : {wide} \"b\"\n\
             v7 = add v5, v6 : {wide} \"s\"\n\
             v8 = extend v7 : {all} \"s\"\n"
        )
    }

    #[test]
    fn sums_of_parts_of_one_extension_are_extended_in_front() {
        // From -5 * 127 to 2 * 127.
        for (bits, proven) in [(11, true), (10, false)] {
            let mut p = program(&body(bits));
            assert_eq!(never_wraps(&p.function, ValueId(7)), proven);
            run_one("assign_widths", &mut p, &Settings::default()).unwrap();
            let extensions: Vec<u8> =
                p.function.values.iter().filter(|value| value.op == Op::Extend).map(|value| value.ty.bits).collect();
            assert_eq!(extensions, if proven { vec![20] } else { vec![10, 20] });
        }
    }

    /// Asked twice at each, it would take longer than anybody waits.
    #[test]
    fn what_is_doubled_often_is_looked_at_once() {
        let mut text = "v0 = input : i8.0~7[2] \"x\"\nv1 = extend v0 : i59.0~7[2] \"e\"\n".to_string();
        for at in 2..50 {
            let x = at - 1;
            text += &format!("v{at} = add v{x}, v{x} : i59.0~58[2] \"s\"\n");
        }
        assert!(never_wraps(&program(&text).function, ValueId(49)));
    }

    #[test]
    fn what_others_read_keeps_its_width() {
        let reads = "v9 = extend v3 : i20.0~7+[2] \"a\"\nv10 = add v8, v9 : i20.0~19[2] \"o\"\n";
        let p = program(&(body(11) + reads));
        let users = p.function.users();
        assert!(!can_set_width(&p, &users, ValueId(7), 20));
        let p = program(&body(11));
        assert!(can_set_width(&p, &p.function.users(), ValueId(7), 20));
    }
}
