//! Rewriting an operation together with its operand's, the shape that several passes share.

use fusion_ir::{Function, Op, Value, ValueId};

/// Replaces every value whose operation `join`s with that of its first operand (outer, inner) by
/// one on the inner's operands, then takes out every value that changes `nothing`.
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
    // What every value is read as.
    let mut stand_in: Vec<ValueId> = (0..function.values.len() as u32).map(ValueId).collect();
    for index in 0..function.values.len() {
        let operands = &mut function.values[index].operands;
        operands.iter_mut().for_each(|operand| *operand = stand_in[operand.index()]);
        let value = &function.values[index];
        if nothing(function, value) {
            stand_in[index] = value.operands[0];
        }
    }
    if let Some(output) = stand_in.last() {
        function.values.truncate(output.index() + 1);
    }
}
