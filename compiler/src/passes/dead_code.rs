//! Removes values and weights that nothing reads.

use std::collections::HashMap;

use fusion_ir::{ValueId, WeightId};

use super::Program;

/// Keeps the input, the last value and what it depends on.
pub(crate) fn remove(program: &mut Program) {
    let function = &mut program.function;
    let Some(last) = function.values.len().checked_sub(1) else { return };
    let mut live = vec![false; function.values.len()];
    (live[0], live[last]) = (true, true);
    for index in (0..=last).rev() {
        if live[index] {
            function.values[index].operands.iter().for_each(|operand| live[operand.index()] = true);
        }
    }
    let mut values = HashMap::new();
    let mut weights: HashMap<WeightId, WeightId> = HashMap::new();
    let old = std::mem::take(&mut function.values);
    let declared = std::mem::take(&mut function.weights);
    let elements = std::mem::take(&mut program.weights.0);
    for (index, mut value) in old.into_iter().enumerate().filter(|(index, _)| live[*index]) {
        value.operands.iter_mut().for_each(|operand| *operand = values[operand]);
        let keep = |weight: &mut WeightId| {
            let next = WeightId(function.weights.len() as u32);
            let kept = *weights.entry(*weight).or_insert_with(|| {
                function.weights.push(declared[weight.index()].clone());
                program.weights.0.extend(elements.get(weight.index()).cloned());
                next
            });
            *weight = kept;
        };
        value.op.weights_mut().into_iter().for_each(keep);
        function.values.push(value);
        values.insert(ValueId(index as u32), ValueId(function.values.len() as u32 - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::program;
    use super::*;

    #[test]
    fn what_nothing_reads_goes_with_its_weights() {
        let mut p = program(
            "weight @w0 \"a\" : i4.0[2,2]\nweight @w1 \"b\" : i4.0[3,2]\n\
             v0 = input : i16.0~9[2] \"x\"\nv1 = dense v0, @w0 : i16.0~13[2] \"a\"\nv2 = add v1, v0 : i16.0~14[2] \"s\"\n\
             v3 = dense v2, @w1 : i16.0~14[3] \"b\"\n",
        );
        p.function.values[3].operands = vec![ValueId(0)];
        let kept = p.weights.0[1].clone();
        remove(&mut p);
        assert_eq!((p.function.values.len(), p.function.weights[0].name.as_str()), (2, "b"));
        assert_eq!(p.weights.0, [kept]);
    }
}
