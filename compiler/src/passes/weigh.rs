//! How long an operation takes on the target, for passes that choose between two ways to compute
//! the same. What each value is computed by is chosen later, together; here each is weighed by
//! itself.

use std::collections::HashMap;

use fusion_ir::{Backend, Function, InputFormat, Op, TensorType, Value, ValueId, WeightId};

use super::select::{Scale, Target};

pub(super) struct Weigh<'t> {
    scale: Scale<'t>,
    /// Seconds of what was asked for before.
    known: HashMap<String, f64>,
}

impl<'t> Weigh<'t> {
    pub fn new(function: &Function, target: &'t Target) -> Self {
        Weigh { scale: Scale::new(function, target), known: HashMap::new() }
    }

    /// Seconds of cutting parts of these types out of a value of type `x`.
    pub fn parts<'p>(
        &mut self,
        function: &Function,
        x: &TensorType,
        parts: impl Iterator<Item = &'p TensorType>,
    ) -> f64 {
        let op = Op::Slice { start: vec![0; x.shape.len()] };
        parts.map(|part| self.seconds(function, &op, x, &TensorType { bits: x.bits, ..part.clone() })).sum()
    }

    /// Seconds of `op`, whose weights `function` declares, on one operand of type `x`; infinitely
    /// many if no protocol carries it.
    pub fn seconds(&mut self, function: &Function, op: &Op, x: &TensorType, ty: &TensorType) -> f64 {
        let mut op = op.clone();
        let mut weights = Vec::new();
        for (at, weight) in op.weights_mut().into_iter().enumerate() {
            weights.push(function.weight(*weight).clone());
            *weight = WeightId(at as u32);
        }
        let kernels: Vec<(&[usize], u8)> = weights.iter().map(|w| (w.shape.as_slice(), w.bits)).collect();
        let key = format!("{op:?} {:?} {} {:?} {:?} {} {kernels:?}", x.shape, x.bits, x.sign, ty.shape, ty.bits);
        if let Some(seconds) = self.known.get(&key) {
            return *seconds;
        }
        let value = |op, operands, ty: &TensorType| Value {
            op,
            operands,
            ty: ty.clone(),
            node: String::new(),
            backend: Backend::Unselected,
        };
        let values = vec![value(Op::Input(InputFormat::default()), vec![], x), value(op, vec![ValueId(0)], ty)];
        let alone = Function { name: String::new(), values, weights };
        let seconds = self.scale.seconds(&alone, ValueId(1));
        self.known.insert(key, seconds);
        seconds
    }
}
