//! Fusion's gadgets: `fusion.mix` behind the input, the argmax or top-k and `fusion.reveal` at the
//! output, and `fusion.check` last. Per position `fusion.mix` is the identity; it stands for the
//! client's secret permutation of copies and public samples.

use fusion_ir::op::Reveal;
use fusion_ir::{Function, Op, Sign, TensorType, ValueId};

use super::{Program, Settings};

pub(super) fn apply(program: &mut Program, settings: &Settings) {
    let old = std::mem::take(&mut program.function.values);
    let function: &mut Function = &mut program.function;
    let mut renamed: Vec<ValueId> = Vec::with_capacity(old.len());
    for mut value in old {
        value.operands.iter_mut().for_each(|operand| *operand = renamed[operand.index()]);
        let (is_input, ty) = (matches!(value.op, Op::Input(_)), value.ty.clone());
        function.values.push(value);
        let mut id = ValueId(function.values.len() as u32 - 1);
        if let (true, Some(mix)) = (is_input, settings.mix) {
            id = function.push(Op::Mix(mix), vec![id], ty, "fusion");
        }
        renamed.push(id);
    }
    let Some(&logits) = renamed.last() else { return };
    let mut output = logits;
    let mut ty = function.value(logits).ty.clone();
    let best = match settings.reveal {
        Reveal::Label => Some((Op::ArgMax, 1)),
        Reveal::TopK(k) => Some((Op::TopK { k }, usize::from(k))),
        Reveal::Logits | Reveal::Value => None,
    };
    if let Some((op, labels)) = best {
        let bits = label_bits(ty.len());
        let mut logits = logits;
        if ty.magnitude + 2 > ty.bits {
            // Differences of logits need a bit more.
            logits = function.push(Op::Extend, vec![logits], TensorType { bits: ty.magnitude + 2, ..ty }, "fusion");
        }
        ty = TensorType { shape: vec![labels], bits, frac: 0, magnitude: bits - 1, sign: Sign::NonNegative };
        output = function.push(op, vec![logits], ty.clone(), "fusion");
    }
    output = function.push(Op::Reveal(settings.reveal), vec![output], ty.clone(), "fusion");
    if settings.mix.is_some() {
        function.push(Op::Check, vec![output], ty, "fusion");
    }
}

/// Width of a non-negative label below `classes`.
fn label_bits(classes: usize) -> u8 {
    (classes.max(2).next_power_of_two().trailing_zeros() as u8 + 1).max(2)
}

#[cfg(test)]
mod tests {
    use fusion_ir::op::Mix;
    use fusion_ir::verify::{verify, verify_executable};

    use super::super::testing::program;
    use super::*;

    const BODY: &str = "v0 = input : i20.4~16[5] \"x\"\nv1 = relu v0 : i20.4~16+[5] \"r\"\n";

    fn ops(reveal: Reveal, mix: Option<Mix>) -> Vec<&'static str> {
        let mut p = program(BODY);
        apply(&mut p, &Settings { reveal, mix, ..Settings::default() });
        verify(&p.function).unwrap();
        super::super::select::apply(&mut p, &Settings::default());
        verify_executable(&p.function).unwrap();
        p.function.values.iter().map(|value| value.op.name()).collect()
    }

    #[test]
    fn gadgets_stand_where_they_must() {
        let mix = Some(Mix { queries: 10, copies: 3, public: 7 });
        let all = ["input", "fusion.mix", "relu", "argmax", "fusion.reveal", "fusion.check"];
        assert_eq!(ops(Reveal::Label, mix), all);
        assert_eq!(ops(Reveal::Label, None), ["input", "relu", "argmax", "fusion.reveal"]);
        assert_eq!(ops(Reveal::TopK(3), None), ["input", "relu", "topk", "fusion.reveal"]);
        assert_eq!(ops(Reveal::Logits, mix), ["input", "fusion.mix", "relu", "fusion.reveal", "fusion.check"]);
    }

    #[test]
    fn labels_fit() {
        assert_eq!([2, 3, 10, 16, 17, 1000, 1001].map(label_bits), [2, 3, 5, 5, 6, 11, 11]);
    }
}
