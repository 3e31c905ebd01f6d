//! The reference interpreter: multiply-accumulates per second, layer by layer and of a whole
//! ResNet-50.
//!
//!     cargo bench -p fusion-ir --bench interp             # everything
//!     cargo bench -p fusion-ir --bench interp -- layers   # or resnet50
//!
//! Every figure is of the fastest of some runs, on all cores. `watched` is what `fusionc eval` and
//! `fusionc compile` run; its samples go side by side.

use std::time::Instant;

use fusion_ir::op::{Conv, Window};
use fusion_ir::{Function, InputFormat, Op, Sign, TensorType, ValueId, Weight, WeightId, Weights, interp};
use rayon::prelude::*;

const WEIGHT_BITS: u8 = 12;
const ACTIVATION_BITS: u8 = 16;
const ACCUMULATOR_BITS: u8 = 34;

fn main() {
    let chosen = |name: &str| {
        let mut names = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|arg| arg == name)
    };
    if chosen("layers") {
        println!("{:<58} {:>8} {:>8}", "layer", "M MAC", "G MAC/s");
        for (name, network) in layers() {
            report(&name, &network, 1);
        }
    }
    if chosen("resnet50") {
        report("ResNet-50, watched", &resnet50(), 2 * rayon::current_num_threads());
    }
}

/// Layers as they occur: channels in and out, kernel, side of the image, stride, groups.
fn layers() -> Vec<(String, Network)> {
    let conv = |c_in: usize, c_out: usize, kernel: usize, side: usize, stride: usize, groups: usize| {
        let mut network = Network::new(&[c_in, side, side]);
        network.conv(ValueId(0), c_out, kernel, stride, groups);
        let name = format!("conv {c_in} to {c_out}, {kernel}x{kernel} on {side}x{side}, /{stride}, {groups} groups");
        (name, network)
    };
    let dense = |n: usize, m: usize| {
        let mut network = Network::new(&[n]);
        network.dense(ValueId(0), m);
        (format!("dense {n} to {m}"), network)
    };
    vec![
        conv(3, 64, 7, 224, 2, 1),
        conv(64, 64, 3, 56, 1, 1),
        conv(128, 128, 3, 28, 1, 1),
        conv(512, 512, 3, 7, 1, 1),
        conv(64, 256, 1, 56, 1, 1),
        conv(1024, 2048, 1, 14, 2, 1),
        conv(256, 256, 3, 14, 1, 32),
        conv(96, 96, 3, 112, 2, 96),
        conv(384, 384, 3, 14, 1, 384),
        dense(784, 512),
        dense(25088, 4096),
    ]
}

struct Network {
    function: Function,
    weights: Weights,
    noise: u64,
    macs: u64,
}

impl Network {
    fn new(shape: &[usize]) -> Network {
        let mut function = Function::default();
        let ty = TensorType {
            shape: shape.to_vec(),
            bits: ACCUMULATOR_BITS,
            frac: 0,
            magnitude: ACTIVATION_BITS - 1,
            sign: Sign::Any,
        };
        function.push(Op::Input(InputFormat::default()), vec![], ty, "input");
        Network { function, weights: Weights::default(), noise: 1, macs: 0 }
    }

    fn shape(&self, x: ValueId) -> Vec<usize> {
        self.function.value(x).ty.shape.clone()
    }

    fn push(&mut self, op: Op, operands: Vec<ValueId>, shape: Vec<usize>, bits: u8) -> ValueId {
        let ty = TensorType { shape, bits, frac: 0, magnitude: bits - 2, sign: Sign::Any };
        self.function.push(op, operands, ty, "node")
    }

    fn elements(&mut self, n: usize, bits: u8) -> Vec<i64> {
        let one = |_| {
            self.noise = self.noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.noise as i64) >> (64 - bits)
        };
        (0..n).map(one).collect()
    }

    fn weight(&mut self, shape: Vec<usize>) -> WeightId {
        let elements = self.elements(shape.iter().product(), WEIGHT_BITS);
        self.weights.0.push(elements);
        self.function.push_weight(Weight { name: "weight".into(), shape, bits: WEIGHT_BITS, frac: 0 })
    }

    fn conv(&mut self, x: ValueId, c_out: usize, k: usize, stride: usize, groups: usize) -> ValueId {
        let shape = self.shape(x);
        let per_group = shape[0] / groups;
        let weight = self.weight(vec![c_out, per_group, k, k]);
        let conv = Conv { weight, bias: None, strides: [stride; 2], pads: [k / 2; 4], dilations: [1; 2], groups };
        let [rows, columns] = conv.output(shape[1], shape[2], [k, k]).expect("the kernel fits");
        self.macs += (c_out * rows * columns * per_group * k * k) as u64;
        self.push(Op::Conv(conv), vec![x], vec![c_out, rows, columns], ACCUMULATOR_BITS)
    }

    fn dense(&mut self, x: ValueId, m: usize) -> ValueId {
        let n = self.shape(x)[0];
        let weight = self.weight(vec![m, n]);
        self.macs += (m * n) as u64;
        self.push(Op::Dense { weight, bias: None }, vec![x], vec![m], ACCUMULATOR_BITS)
    }

    /// The activation behind an accumulator, as wide as the next one.
    fn relu(&mut self, x: ValueId) -> ValueId {
        let shift = ACCUMULATOR_BITS - ACTIVATION_BITS;
        let y = self.push(Op::RequantRelu { shift }, vec![x], self.shape(x), ACTIVATION_BITS);
        self.push(Op::Extend, vec![y], self.shape(x), ACCUMULATOR_BITS)
    }
}

/// The layers of ResNet-50 on an image of 224 x 224, with random weights.
fn resnet50() -> Network {
    let mut net = Network::new(&[3, 224, 224]);
    let stem = net.conv(ValueId(0), 64, 7, 2, 1);
    let stem = net.relu(stem);
    let window = Window { kernel: [3, 3], strides: [2, 2], pads: [1; 4] };
    let mut x = net.push(Op::MaxPool(window), vec![stem], vec![64, 56, 56], ACCUMULATOR_BITS);
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let skip = if block == 0 { net.conv(x, 4 * width, 1, stride, 1) } else { x };
            let y = net.conv(x, width, 1, 1, 1);
            let y = net.relu(y);
            let y = net.conv(y, width, 3, stride, 1);
            let y = net.relu(y);
            let y = net.conv(y, 4 * width, 1, 1, 1);
            let shape = net.shape(y);
            let sum = net.push(Op::Add, vec![y, skip], shape, ACCUMULATOR_BITS);
            x = net.relu(sum);
        }
    }
    let window = Window { kernel: [7, 7], strides: [7, 7], pads: [0; 4] };
    let pooled = net.push(Op::SumPool(window), vec![x], vec![2048, 1, 1], ACCUMULATOR_BITS);
    let flat = net.push(Op::Reshape, vec![pooled], vec![2048], ACCUMULATOR_BITS);
    net.dense(flat, 1000);
    net
}

fn report(name: &str, network: &Network, samples: usize) {
    let Network { function, weights, macs, .. } = network;
    let mut noise = Network::new(&[1]);
    let n = function.values[0].ty.len();
    let inputs: Vec<Vec<i64>> = (0..samples).map(|_| noise.elements(n, ACTIVATION_BITS)).collect();
    let run = || {
        let start = Instant::now();
        if samples == 1 {
            std::hint::black_box(interp::output(function, weights, &inputs[0]));
        } else {
            inputs.par_iter().for_each(|x| drop(std::hint::black_box(interp::watch(function, weights, x))));
        }
        start.elapsed().as_secs_f64()
    };
    let repeats = if samples == 1 { 10 } else { 3 };
    let seconds = (0..repeats).map(|_| run()).fold(f64::INFINITY, f64::min);
    let all = (macs * samples as u64) as f64;
    println!("{name:<58} {:>8.1} {:>8.2}", *macs as f64 / 1e6, all / seconds / 1e9);
}
