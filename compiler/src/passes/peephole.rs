//! Rewriting an operation together with its operand's, the shape that several passes share.

use fusion_ir::{Function, Op, Value, ValueId};

use super::widths::forward;

/// Replaces every value whose operation `join`s with that of its first operand (outer, inner) by one on the inner's operands,
/// then takes out every value that changes `nothing`.
pub(super) fn rewrite(
    function: &mut Function,
    join: impl Fn(&Value, &Op) -> Option<Op>,
    nothing: impl Fn(&Function, &Value) -> bool,
) {
    for index in 0..function.values.len() {
        let Some(&x) = function.values[index].operands.first() else { continue };
        let inner = function.value(x).clone();
        let value = &mut function.values[index];
        if let Some(joined) = join(value, &inner.op) {
            value.op = joined;
            value.operands = inner.operands;
        }
    }
    for index in 0..function.values.len() {
        let value = &function.values[index];
        if nothing(function, value) {
            let x = value.operands[0];
            forward(function, ValueId(index as u32), x);
        }
    }
}
