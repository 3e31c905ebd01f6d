//! Small networks that between them compute every primitive, each in several proportions to the
//! others.

use fusion_catalogue::ot::Choice;
use fusion_ir::backend::{Cheetah, CryptFlow2};
use fusion_ir::op::{Conv, Reveal, Window};
use fusion_ir::plan::{Provenance, Suggestion};
use fusion_ir::{Backend, Function, Op, Plan, Schema, Sign, TensorType, ValueId, Weight, WeightId, Weights};

/// A network, and how it is to be run.
pub struct Experiment {
    /// What is run.
    pub plan: Plan,
    /// Positions, all in one micro-batch.
    pub positions: usize,
    /// What makes correlations.
    pub correlations: Choice,
}

impl Experiment {
    /// What layer number `index` is, where 0 is what comes before the first one.
    pub fn what(&self, index: usize) -> String {
        let Experiment { plan, positions, correlations } = self;
        let Some(value) = index.checked_sub(1).and_then(|index| plan.function.values.get(index)) else {
            return format!("set-up, {positions} positions, {correlations:?}");
        };
        let operand = value.operands.first().map_or(&[][..], |operand| &plan.function.value(*operand).ty.shape);
        let (op, shape) = (value.op.name(), &value.ty.shape);
        format!("{op} {operand:?} to {shape:?} by {}, {positions} positions, {correlations:?}", value.backend)
    }
}

/// Everything that is run. Layers are as small as the clock and the fixed parts of their times
/// allow, and few: they are run on slow machines, too.
pub fn experiments() -> Vec<Experiment> {
    let mut all = Vec::new();
    let mut add = |plan: Plan, positions: usize, correlations: Choice| {
        all.push(Experiment { plan, positions, correlations });
    };
    let extension = Choice::SoftSpoken;
    let he = |_| Backend::CryptFlow2(CryptFlow2::He);
    for ([channels, extent], positions) in [([8, 16], 1), ([32, 28], 1), ([32, 28], 3), ([128, 7], 1), ([128, 7], 6)] {
        add(convolutions(DEFAULT, channels, extent), positions, extension);
    }
    let packed = Backend::Cheetah(Cheetah { output_packing: true, ..Cheetah::default() });
    for ([channels, extent], positions) in [([32, 14], 2), ([128, 7], 1)] {
        add(convolutions(packed, channels, extent), positions, extension);
    }
    for (elements, leaves) in [(300, &[1, 4][..]), (9_000, &[1, 2, 3, 4]), (40_000, &[2, 4])] {
        add(comparisons(cheetah, elements, leaves), 1, extension);
    }
    for (elements, leaves) in [(9_000, &[2][..]), (30_000, &[1, 3])] {
        add(comparisons(cheetah, elements, leaves), 1, Choice::Silent);
    }
    for elements in [300, 8_000] {
        add(comparisons(he, elements, &[1]), 1, extension);
        add(comparisons(|_| Backend::Garbled, elements / 10, &[1]), 1, extension);
    }
    for [channels, extent] in [[4, 8], [8, 16]] {
        add(convolutions(he(1), channels, extent), 1, extension);
    }
    for positions in [1, 2] {
        add(convolutions(Backend::CryptFlow2(CryptFlow2::Ot), 4, 6), positions, extension);
    }
    for positions in [1, 4] {
        add(local(64, 40), positions, extension);
    }
    all
}

const DEFAULT: Backend = Backend::Cheetah(Cheetah { leaf_bits: 3, output_packing: false, scalar_products: false });
/// Width of an accumulator.
const ACC: u8 = 28;
/// Bits that a requantisation drops.
const SHIFT: u8 = 12;

/// The `cheetah` family with leaves of so many bits.
fn cheetah(leaf_bits: u8) -> Backend {
    Backend::Cheetah(Cheetah { leaf_bits, ..Cheetah::default() })
}

/// Linear layers one after the other: large kernels and small ones, more channels and fewer,
/// strides, and a fully connected one.
fn convolutions(backend: Backend, channels: usize, extent: usize) -> Plan {
    let mut net = Net::new(backend, &[channels, extent, extent]);
    net.conv(channels, 3, 1);
    net.conv(2 * channels, 1, 1);
    net.conv(channels / 2, 1, 1);
    net.conv(channels, 3, 2);
    net.conv(2 * channels, 3, 1);
    net.conv(channels, 1, 2);
    let [rows, columns] = [net.shape()[1], net.shape()[2]];
    let window = Window { kernel: [rows, columns], strides: [rows, columns], pads: [0; 4] };
    net.push(Op::SumPool(window), &[channels, 1, 1], ACC);
    net.push(Op::Reshape, &[channels], ACC);
    net.dense(100);
    net.finish()
}

/// Comparisons of about so many elements, again for leaves of each of these widths.
fn comparisons(backend: impl Fn(u8) -> Backend, elements: usize, leaf_bits: &[u8]) -> Plan {
    let columns = elements.div_ceil(16).max(8) / 4 * 4;
    let shape = [4, 4, columns];
    let mut net = Net::new(backend(leaf_bits[0]), &shape);
    for leaf_bits in leaf_bits {
        net.backend = backend(*leaf_bits);
        net.push(Op::RequantRelu { shift: SHIFT }, &shape, ACC - SHIFT);
        net.push(Op::Extend, &shape, ACC);
        net.push(Op::ShiftLeft { by: SHIFT }, &shape, ACC);
        net.push(Op::Relu, &shape, ACC);
        net.push(Op::Requant { shift: SHIFT }, &shape, ACC - SHIFT);
        // Of either sign as far as anyone knows, so that it takes a tree.
        net.push(Op::Extend, &shape, ACC);
        net.push(Op::ShiftLeft { by: SHIFT }, &shape, ACC);
    }
    let window = Window { kernel: [2, 2], strides: [2, 2], pads: [0; 4] };
    net.push(Op::MaxPool(window), &[4, 2, columns / 2], ACC);
    net.finish()
}

/// Operations without messages.
fn local(channels: usize, extent: usize) -> Plan {
    let shape = [channels, extent, extent];
    let mut net = Net::new(DEFAULT, &shape);
    net.push(Op::Transpose { perm: vec![0, 2, 1] }, &shape, ACC);
    net.push(Op::ShiftLeft { by: 1 }, &shape, ACC);
    let before = net.last;
    net.push(Op::Transpose { perm: vec![0, 2, 1] }, &shape, ACC);
    net.add(before);
    let window = Window { kernel: [2, 2], strides: [2, 2], pads: [0; 4] };
    net.push(Op::SumPool(window), &[channels, extent / 2, extent / 2], ACC);
    net.finish()
}

/// A network under construction, value after value.
struct Net {
    function: Function,
    weights: Vec<Vec<i64>>,
    /// Of the values that follow.
    backend: Backend,
    last: ValueId,
}

impl Net {
    fn new(backend: Backend, input: &[usize]) -> Net {
        let function = Function { name: "calibration".into(), ..Function::default() };
        let mut net = Net { function, weights: Vec::new(), backend, last: ValueId(0) };
        net.value(Op::Input(Default::default()), vec![], input, ACC);
        net
    }

    fn shape(&self) -> &[usize] {
        &self.function.value(self.last).ty.shape
    }

    /// `op` of the last value.
    fn push(&mut self, op: Op, shape: &[usize], bits: u8) {
        self.value(op, vec![self.last], shape, bits);
    }

    /// The sum of the last value and `other`.
    fn add(&mut self, other: ValueId) {
        let shape = self.shape().to_vec();
        self.value(Op::Add, vec![self.last, other], &shape, ACC);
    }

    fn conv(&mut self, outputs: usize, kernel: usize, stride: usize) {
        let [channels, height, width] = self.shape()[..] else { unreachable!("images") };
        let weight = self.weight(&[outputs, channels, kernel, kernel]);
        let before = kernel / 2;
        let after = if kernel == 1 { 0 } else { before + 1 - stride };
        let pads = [before, before, after, after];
        let conv = Conv { weight, bias: None, strides: [stride; 2], pads, dilations: [1, 1], groups: 1 };
        let [rows, columns] = conv.output(height, width, [kernel; 2]).unwrap_or_default();
        self.push(Op::Conv(conv), &[outputs, rows, columns], ACC);
    }

    fn dense(&mut self, outputs: usize) {
        let inputs = self.shape()[0];
        let weight = self.weight(&[outputs, inputs]);
        self.push(Op::Dense { weight, bias: None }, &[outputs], ACC);
    }

    /// The largest of what there is, to the client.
    fn finish(mut self) -> Plan {
        let elements = self.shape().iter().product();
        self.push(Op::Reshape, &[elements], ACC);
        let few = elements.min(20);
        self.push(Op::Slice { start: vec![0] }, &[few], ACC);
        self.push(Op::ArgMax, &[1], 8);
        self.push(Op::Reveal(Reveal::Label), &[1], 8);
        Plan {
            function: self.function,
            suggestion: Suggestion::default(),
            provenance: Provenance::default(),
            schema: Schema::default(),
            weights: Some(Weights(self.weights)),
            demo: None,
        }
    }

    fn weight(&mut self, shape: &[usize]) -> WeightId {
        let len: usize = shape.iter().product();
        self.weights.push((0..len as i64).map(|i| i * 7919 % 2047 - 1023).collect());
        self.function.push_weight(Weight { name: String::new(), shape: shape.to_vec(), bits: 12, frac: 0 })
    }

    fn value(&mut self, op: Op, operands: Vec<ValueId>, shape: &[usize], bits: u8) {
        let operand = operands.first().map(|operand| &self.function.value(*operand).ty);
        let (frac, sign) = operand.map_or((0, Sign::Any), |ty| (ty.frac, ty.sign));
        let frac = match op {
            Op::Requant { shift } | Op::RequantRelu { shift } => frac - shift as i8,
            Op::ShiftLeft { by } => frac + by as i8,
            Op::ArgMax | Op::Reveal(_) => 0,
            _ => frac,
        };
        let sign = match op {
            Op::RequantRelu { .. } | Op::Relu => Sign::NonNegative,
            Op::Extend => sign,
            _ => Sign::Any,
        };
        let backend = match &op {
            op if op.is_local() => Backend::Local,
            Op::Reveal(_) => DEFAULT,
            _ => self.backend,
        };
        let ty = TensorType { shape: shape.to_vec(), bits, frac, magnitude: bits - 2, sign };
        self.last = self.function.push(op, operands, ty, "");
        if let Some(value) = self.function.values.last_mut() {
            value.backend = backend;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::verify::{explain, verify_executable};

    #[test]
    fn networks_are_well_formed_and_compute_every_primitive() {
        let mut found = std::collections::BTreeSet::new();
        for experiment in experiments() {
            let function = &experiment.plan.function;
            verify_executable(function).unwrap_or_else(|why| panic!("{}", explain(function, &why)));
            let costs = super::super::costs(&experiment).unwrap();
            found.extend(costs.iter().flat_map(|cost| cost.work.keys().copied()));
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), fusion_catalogue::Primitive::ALL);
    }
}
