//! What makes a function executable: its gadgets, and who computes its values.

use super::Verifier;
use crate::backend::Backend;
use crate::function::{Value, ValueId};
use crate::op::{Op, Reveal};

impl Verifier<'_> {
    /// Invariants 10 and 11.
    pub(super) fn gadgets(mut self) -> Self {
        let function = self.function;
        let checked = matches!(function.values.last(), Some(Value { op: Op::Check, .. }));
        let last = function.values.len() - 1;
        let opens = if checked { last.wrapping_sub(1) } else { last };
        for (id, value) in function.iter() {
            match value.op {
                Op::Reveal(_) if id.index() != opens => self.report(10, Some(id), "reveals before the end"),
                Op::Check if id.index() != last => self.report(10, Some(id), "checks before the end"),
                Op::Mix(_) if value.operands != [ValueId(0)] => {
                    self.report(11, Some(id), "mixes what is not the input")
                }
                Op::Mix(_) if !checked => self.report(11, Some(id), "mixes what nothing checks"),
                Op::Input(_) | Op::Mix(_) => {}
                _ if checked && value.operands.contains(&ValueId(0)) => {
                    self.report(11, Some(id), "bypasses fusion.mix")
                }
                _ => {}
            }
        }
        if checked && !function.values.iter().any(|value| matches!(value.op, Op::Mix(_))) {
            self.report(11, None, "fusion.check without fusion.mix");
        }
        match function.values.get(opens) {
            Some(Value { op: Op::Reveal(what), operands, .. }) => {
                let says: &[Reveal] = match function.value(operands[0]).op {
                    Op::ArgMax => &[Reveal::Label],
                    Op::TopK { k } => &[Reveal::TopK(k)],
                    _ => &[Reveal::Logits, Reveal::Value],
                };
                if !says.contains(what) {
                    self.report(10, Some(ValueId(opens as u32)), "opens something else than it says");
                }
            }
            _ => self.report(10, None, "does not end in a reveal"),
        }
        self
    }

    /// Invariant 12.
    pub(super) fn backends(mut self) -> Self {
        for (id, value) in self.function.iter() {
            let fits = match value.op.is_local() {
                true => value.backend == Backend::Local,
                false => value.backend.is_family(),
            };
            if !fits {
                self.report(12, Some(id), format!("{} cannot run on backend {}", value.op.name(), value.backend));
            } else if value.backend != value.backend.for_op(&value.op) {
                let message =
                    format!("{} has no scalar products for backend {} to choose", value.op.name(), value.backend);
                self.report(12, Some(id), message);
            }
        }
        self
    }
}
