//! How fast this machine is: small networks are run, and the times of their layers explained by what they compute.

use std::collections::BTreeMap;

use anyhow::Context;
use fusion_catalogue::ot::{Stock, Supply};
use fusion_catalogue::time::Clock;
use fusion_catalogue::{Cost, Machine, Network, Primitive};
use fusion_ir::op::{Cheetah, Conv, Reveal, Window};
use fusion_ir::plan::{Provenance, Suggestion};
use fusion_ir::{Backend, Function, Op, Plan, Sign, TensorType, ValueId, Weight, Weights};
use fusion_runtime::Flow;
use fusion_runtime::fusion::Job;
use fusion_runtime::session::Offline;

use crate::fit::{Sample, errors, non_negative};
use crate::measure::{inputs, session};
use crate::{host, record};

/// The link that networks are run over: fast, but with waiting for messages as there is over any.
const NETWORK: Network = Network::LAN;
/// How often each network is run; the medians of its layers' times count.
const REPETITIONS: usize = 3;

/// A machine profile, and how well it explains what it was made from.
pub struct Calibration {
    /// The profile.
    pub machine: Machine,
    /// Median of the layers' relative errors.
    pub median_error: f64,
    /// Layers that were measured.
    pub samples: usize,
}

/// Measures this machine, in seconds.
///
/// # Errors
/// If a session fails.
pub fn calibrate() -> anyhow::Result<Calibration> {
    let mut samples = Vec::new();
    for (shape, micro_batches) in [
        (Shape { channels: 8, extent: 16, leaf: 0 }, &[1, 16][..]),
        (Shape { channels: 16, extent: 32, leaf: 1 }, &[1, 4]),
        (Shape { channels: 64, extent: 28, leaf: 2 }, &[1]),
        (Shape { channels: 128, extent: 14, leaf: 3 }, &[1, 2]),
    ] {
        let plan = plan(&shape);
        for &positions in micro_batches {
            samples.extend(layers(&plan, positions)?);
        }
    }
    let values = non_negative(&samples, Primitive::ALL.len());
    let median_error = record::median(errors(&samples, &values).into_iter().map(f64::abs).collect());
    let nanoseconds: BTreeMap<Primitive, f64> =
        Primitive::ALL.into_iter().zip(values.into_iter().map(|seconds| seconds * 1e9)).collect();
    let machine = Machine { name: host::processor(), threads: host::threads(), nanoseconds };
    Ok(Calibration { machine, median_error, samples: samples.len() })
}

/// One sample for each layer of a plan and one for what comes before them: what it computes for a micro-batch of `positions`,
/// and what it took.
fn layers(plan: &Plan, positions: usize) -> anyhow::Result<Vec<Sample>> {
    let function = &plan.function;
    let mut costs = Vec::new();
    for (id, _) in function.iter() {
        costs.push(fusion_catalogue::layer(function, id, positions).context("a layer for calibration")?);
    }
    let mut all = Cost::default();
    costs.iter().for_each(|cost| all.then(cost));
    let supply = Supply::for_demand(all.tiles());
    let mut stock = Stock::new(supply);
    costs = costs.iter().map(|cost| cost.with_generator(&mut stock)).collect();
    let mut before = supply.setup();
    before.then(&fusion_catalogue::setup(function));
    before.then(&fusion_catalogue::begin(function, positions));
    costs.insert(0, before);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); costs.len()];
    for _ in 0..REPETITIONS {
        let job = Job::unverified(inputs(plan, positions))?;
        // Nothing ahead: what a layer takes includes its correlations.
        let offline = Offline { ahead: false, ..Offline::default() };
        let flow = Flow { micro_batch: Some(positions as u32), streams: Some(1), offline, ..Flow::default() };
        let run = session(plan, &job, flow, NETWORK)?.report.run.time_s;
        let seconds = std::iter::once(run.offline).chain(run.per_layer.iter().map(|layer| layer.seconds));
        times.iter_mut().zip(seconds).for_each(|(times, seconds)| times.push(seconds));
    }
    let samples = costs.iter().zip(times).map(|(cost, times)| {
        let count = |primitive| cost.work.get(primitive).copied().unwrap_or(0) as f64;
        let known = Clock::new(NETWORK).run(cost, 0.0);
        Sample { counts: Primitive::ALL.iter().map(count).collect(), known, total: record::median(times) }
    });
    // What takes a few microseconds is mostly the clock.
    Ok(samples.filter(|sample| sample.total > 20e-6 && sample.counts.iter().any(|count| *count > 0.0)).collect())
}

/// Size of a network for calibration.
struct Shape {
    channels: usize,
    extent: usize,
    /// Which widths of leaves its comparisons begin with.
    leaf: u8,
}

/// Convolutions of several kinds, comparisons, local operations and a fully connected layer, as networks have them.
fn plan(shape: &Shape) -> Plan {
    let mut net = Net { function: Function { name: "calibration".into(), ..Function::default() }, weights: Vec::new() };
    let Shape { channels, extent, leaf } = *shape;
    let input = net.value(Op::Input, vec![], &[channels, extent, extent], ACC);
    let wide = net.conv(input, channels, 3, 1);
    let active = net.activate(wide);
    let wide = net.extend(active);
    let point = net.conv(wide, 2 * channels, 1, 1);
    let strided = net.conv(wide, 2 * channels, 3, 2);
    let active = net.activate(point);
    let half = (extent / 2).max(1);
    let window = Window { kernel: [2, 2], strides: [2, 2], pads: [0; 4] };
    let pooled = net.value(Op::MaxPool(window), vec![active], &[2 * channels, half, half], NARROW);
    let pooled = net.extend(pooled);
    let pooled = net.value(Op::ShiftLeft { by: SHIFT }, vec![pooled], &[2 * channels, half, half], ACC);
    let sum = net.value(Op::Add, vec![pooled, strided], &[2 * channels, half, half], ACC);
    let rounded = net.value(Op::Requant { shift: SHIFT }, vec![sum], &[2 * channels, half, half], NARROW);
    let relu = net.value(Op::Relu, vec![rounded], &[2 * channels, half, half], NARROW);
    let flipped = net.value(Op::Transpose { perm: vec![0, 2, 1] }, vec![relu], &[2 * channels, half, half], NARROW);
    let window = Window { kernel: [half, half], strides: [half, half], pads: [0; 4] };
    let mean = net.value(Op::SumPool(window), vec![flipped], &[2 * channels, 1, 1], NARROW);
    let flat = net.value(Op::Reshape, vec![mean], &[2 * channels], NARROW);
    let flat = net.value(Op::Extend, vec![flat], &[2 * channels], ACC);
    let weight = net.weight(&[100, 2 * channels]);
    let scores = net.value(Op::Dense { weight, bias: None }, vec![flat], &[100], ACC);
    let label = net.value(Op::ArgMax, vec![scores], &[1], 8);
    net.value(Op::Reveal(Reveal::Label), vec![label], &[1], 8);
    net.choose(leaf);
    Plan {
        function: net.function,
        suggestion: Suggestion::default(),
        provenance: Provenance::default(),
        weights: Some(Weights(net.weights)),
        demo: None,
    }
}

const ACC: u8 = 28;
const SHIFT: u8 = 12;
const NARROW: u8 = ACC - SHIFT;

/// A network under construction.
struct Net {
    function: Function,
    weights: Vec<Vec<i64>>,
}

impl Net {
    fn value(&mut self, op: Op, operands: Vec<ValueId>, shape: &[usize], bits: u8) -> ValueId {
        let sign = if matches!(op, Op::RequantRelu { .. } | Op::Relu) { Sign::NonNegative } else { Sign::Any };
        // Weights have all the fractional bits.
        let wide = matches!(op, Op::Conv(_) | Op::Dense { .. } | Op::ShiftLeft { .. } | Op::Add);
        let frac = if wide { SHIFT as i8 } else { 0 };
        let ty = TensorType { shape: shape.to_vec(), bits, frac, magnitude: bits - 2, sign };
        self.function.push(op, operands, ty, "")
    }

    fn weight(&mut self, shape: &[usize]) -> fusion_ir::WeightId {
        let len: usize = shape.iter().product();
        self.weights.push((0..len as i64).map(|i| i * 7919 % 2047 - 1023).collect());
        self.function.push_weight(Weight { name: String::new(), shape: shape.to_vec(), bits: 12, frac: SHIFT as i8 })
    }

    fn conv(&mut self, x: ValueId, outputs: usize, kernel: usize, stride: usize) -> ValueId {
        let [channels, height, width] = self.function.value(x).ty.shape[..] else { unreachable!("images") };
        let weight = self.weight(&[outputs, channels, kernel, kernel]);
        let pad = kernel / 2;
        let conv = Conv {
            weight,
            bias: None,
            strides: [stride; 2],
            pads: [pad, pad, pad + 1 - stride, pad + 1 - stride].map(|p| if kernel == 1 { 0 } else { p }),
            dilations: [1, 1],
            groups: 1,
        };
        let [rows, columns] = conv.output(height, width, [kernel; 2]).unwrap_or_default();
        self.value(Op::Conv(conv), vec![x], &[outputs, rows, columns], ACC)
    }

    fn activate(&mut self, x: ValueId) -> ValueId {
        let shape = self.function.value(x).ty.shape.clone();
        self.value(Op::RequantRelu { shift: SHIFT }, vec![x], &shape, NARROW)
    }

    fn extend(&mut self, x: ValueId) -> ValueId {
        let shape = self.function.value(x).ty.shape.clone();
        self.value(Op::Extend, vec![x], &shape, ACC)
    }

    /// Gives every value its backend; the comparisons take turns with the widths of leaves, from `first` on.
    fn choose(&mut self, first: u8) {
        let mut leaves = (1..=4).cycle().skip(usize::from(first));
        for value in &mut self.function.values {
            value.backend = match &value.op {
                op if op.is_local() => Backend::Local,
                Op::Conv(_) | Op::Dense { .. } => Backend::Cheetah(Cheetah::default()),
                _ => Backend::Cheetah(Cheetah { leaf_bits: leaves.next().unwrap_or(1), ..Cheetah::default() }),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::verify::{explain, verify_executable};

    #[test]
    fn networks_for_calibration_are_well_formed_and_run() {
        let plan = plan(&Shape { channels: 2, extent: 4, leaf: 0 });
        verify_executable(&plan.function).unwrap_or_else(|why| panic!("{}", explain(&plan.function, &why)));
        let samples = layers(&plan, 2).unwrap();
        assert!(samples.iter().all(|sample| sample.total.is_finite() && sample.counts.iter().any(|n| *n > 0.0)));
    }
}
