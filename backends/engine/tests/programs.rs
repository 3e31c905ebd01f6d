//! Random programs: every operation on values that other operations made, at random widths, shapes,
//! parameters and leaf widths.

mod common;

use chacha20::ChaCha20Rng;
use common::parties::Supply;
use fusion_catalogue::ot::{Ferret, OtSource};
use fusion_catalogue::{Keys, Resolver};
use fusion_ir::backend::{Cheetah, CryptFlow2};
use fusion_ir::op::{Conv, Piecewise, Window};
use fusion_ir::types::{Sign, signed};
use fusion_ir::verify::{sign_is_proven, verify};
use fusion_ir::{Backend, Forest, Function, Op, TensorType, ValueId, Weight, WeightId};
use rand_core::{Rng, SeedableRng};

const KEYS: [Keys; 3] = Keys::ALL;

/// Every tenth program makes its OTs.
fn supply(seed: u64) -> Supply {
    if seed.is_multiple_of(10) { Supply::Made(OtSource::Silent(Ferret::B11)) } else { Supply::Dealt }
}

#[test]
fn random_programs_equal_the_interpreter_and_their_forecasts() {
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..60 {
        let mut writer = Writer::new(seed);
        for _ in 0..200 {
            if writer.function.values.len() > 14 {
                break;
            }
            writer.write();
        }
        writer.function.values.iter().for_each(|value| *seen.entry(value.op.name()).or_insert(0) += 1);
        common::check(&writer.function, KEYS[seed as usize / 3 % 3], 1 + seed as usize % 3, seed, supply(seed));
    }
    let shapeless = ["fusion.mix", "fusion.reveal", "fusion.check"];
    assert!(seen.len() + shapeless.len() >= 30, "every operation has its turn: {seen:?}");
}

#[test]
fn so_they_do_by_random_families() {
    let mut used = [0; 3];
    for seed in 100..130 {
        let mut writer = Writer::new(seed);
        for _ in 0..60 {
            writer.write();
        }
        for index in 0..writer.function.values.len() {
            let place = writer.below(3) as usize;
            let families =
                [CryptFlow2::Ot, CryptFlow2::He].map(Backend::CryptFlow2).into_iter().chain([Backend::Garbled]);
            let before = writer.function.values[index].backend;
            if before == Backend::Local {
                continue;
            }
            let family = families.clone().nth(place).unwrap_or(before);
            // Not every family carries every linear layer.
            if Resolver::default().step(&writer.function, ValueId(index as u32), family).is_ok() {
                writer.function.values[index].backend = family;
                used[place] += 1;
            }
        }
        common::check(&writer.function, KEYS[seed as usize / 2 % 3], 1 + seed as usize % 2, seed, supply(seed));
    }
    assert!(used.iter().all(|count| *count >= 20), "{used:?}");
}

/// Writes a function, one random operation after the other.
struct Writer {
    function: Function,
    rng: ChaCha20Rng,
}

impl Writer {
    fn new(seed: u64) -> Writer {
        let mut writer = Writer { function: Function::default(), rng: ChaCha20Rng::seed_from_u64(seed) };
        let shape = vec![writer.size(3), writer.size(6), writer.size(6)];
        let bits = 2 + writer.below(33) as u8;
        let ty = TensorType { shape, bits, frac: 8, magnitude: bits - 2, sign: Sign::Any };
        writer.function.push(Op::Input(Default::default()), vec![], ty, "");
        writer
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    /// `1..=most`.
    fn size(&mut self, most: usize) -> usize {
        1 + self.below(most as u64) as usize
    }

    fn constant(&mut self, bits: u8) -> i64 {
        let narrow = 1 + self.below(u64::from(bits)) as u8;
        signed(self.rng.next_u64(), narrow)
    }

    fn weight(&mut self, shape: Vec<usize>, bits: u8, frac: i8) -> WeightId {
        self.function.push_weight(Weight { name: String::new(), shape, bits, frac })
    }

    /// Appends an operation if the one thought of is well-formed.
    fn write(&mut self) {
        let before = (self.function.values.len(), self.function.weights.len());
        let operand = ValueId(self.below(before.0 as u64) as u32);
        let x = self.function.value(operand).ty.clone();
        let (op, operands, mut ty) = self.think(operand, &x);
        ty.magnitude = ty.bits.saturating_sub(2);
        ty.sign = Sign::Any;
        let types: Vec<&TensorType> = operands.iter().map(|v| &self.function.value(*v).ty).collect();
        let allowed = ty.len() <= 400 && (2..=63).contains(&ty.bits);
        if allowed && types.len() == operands.len() && sign_is_proven(&op, &types, &ty) {
            ty.sign = Sign::NonNegative;
        }
        let leaf_bits = 1 + self.below(4) as u8;
        let [output_packing, scalar_products] = [(); 2].map(|()| self.below(2) == 1);
        let choices = Cheetah { leaf_bits, output_packing, scalar_products };
        let backend = if op.is_local() { Backend::Local } else { Backend::Cheetah(choices) };
        let id = self.function.push(op, operands, ty, "");
        self.function.values[id.index()].backend = backend;
        let sound = match verify(&self.function) {
            // Values that nobody reads are looked at all the same.
            Err(violations) => violations.iter().all(|violation| violation.invariant == 9),
            Ok(()) => true,
        };
        if !allowed || !sound || Resolver::default().step(&self.function, id, backend).is_err() {
            self.function.values.truncate(before.0);
            self.function.weights.truncate(before.1);
        }
    }

    fn think(&mut self, operand: ValueId, x: &TensorType) -> (Op, Vec<ValueId>, TensorType) {
        let TensorType { bits, frac, .. } = *x;
        let shift = 1 + self.below(u64::from(bits)) as u8;
        let wider = bits + 1 + self.below(20) as u8;
        let k = 2 + self.below(40) as u8;
        let with = |bits: u8, frac: i8| TensorType { bits, frac, ..x.clone() };
        let one = vec![operand];
        let axes = x.shape.len();
        match self.below(31) {
            0 => (Op::Requant { shift }, one, with(k, frac - shift as i8)),
            1 => (Op::RequantRelu { shift }, one, with(k.min(bits - shift.min(bits)), frac - shift as i8)),
            2 => (Op::Relu, one, x.clone()),
            26 => {
                let k = k.min(bits - shift.min(bits));
                let limit = 1 + self.below(1 << k.saturating_sub(1)) as i64;
                (Op::RequantClip { shift, limit }, one, with(k, frac - shift as i8))
            }
            3 => (Op::Extend, one, with(wider, frac)),
            4 => (Op::Truncate, one, with(2 + self.below(u64::from(bits)) as u8, frac)),
            5 => (Op::ShiftLeft { by: shift / 4 }, one, with(bits, frac + (shift / 4) as i8)),
            6 => (Op::Scale { factor: self.constant(bits) }, one, x.clone()),
            7 => (Op::Offset { by: self.constant(bits) }, one, x.clone()),
            8 => {
                let shape = if self.below(2) == 0 { x.shape.clone() } else { x.shape[..1].to_vec() };
                (Op::Bias { weight: self.weight(shape, bits, frac) }, one, x.clone())
            }
            9 => (Op::Add, vec![operand; 2], x.clone()),
            10 => (Op::Mul, vec![operand; 2], with(bits, frac.saturating_mul(2))),
            // A vector to multiply others by, and a product with one if there is one that fits.
            11 => {
                let start = x.shape.iter().map(|extent| self.below(*extent as u64) as usize).collect();
                let mut shape = vec![1; axes];
                shape[0] = x.shape[0];
                let start: Vec<usize> = std::iter::once(0).chain(Vec::into_iter(start).skip(1)).collect();
                (Op::Slice { start }, one, x.with_shape(shape))
            }
            12 | 13 => {
                let vectors = self.function.iter().filter(|(_, v)| v.ty.shape == x.shape[..1] && v.ty.bits == bits);
                let vector = vectors.map(|(id, _)| id).next_back().unwrap_or(operand);
                let frac = frac.saturating_add(self.function.value(vector).ty.frac);
                (Op::Mul, vec![operand, vector], with(bits, frac))
            }
            14 | 15 => {
                let mut knots: Vec<(i64, i64)> =
                    (0..self.size(4)).map(|_| [(); 2].map(|()| self.constant(bits)).into()).collect();
                if self.below(2) == 0 {
                    // A clip, whose sign may be provable.
                    knots = vec![(self.constant(bits).max(0), -1)];
                }
                knots.sort_unstable();
                knots.dedup_by_key(|knot| knot.0);
                let first_slope = if knots.len() == 1 { 1 } else { self.constant(bits) };
                let slope_frac = self.below(3) as u8;
                let offset = if knots.len() == 1 { 0 } else { self.constant(bits) };
                let function = Piecewise { first_slope, slope_frac, offset, knots };
                (Op::Piecewise(function), one, with(bits, frac + slope_frac as i8))
            }
            16 | 17 => {
                let window = self.window();
                let output = if axes == 3 { window.output(x.shape[1], x.shape[2]) } else { None };
                let [rows, columns] = output.unwrap_or_default();
                let op = if self.below(2) == 0 { Op::MaxPool(window) } else { Op::SumPool(window) };
                (op, one, x.with_shape([x.shape[0], rows, columns]))
            }
            18 => {
                let axis = self.below(axes as u64) as usize;
                let mut shape = x.shape.clone();
                shape[axis] *= 2;
                (Op::Concat { axis }, vec![operand; 2], x.with_shape(shape))
            }
            19 => {
                let [before, after] =
                    [(); 2].map(|()| x.shape.iter().map(|_| self.below(2) as usize).collect::<Vec<_>>());
                let shape: Vec<usize> = (0..axes).map(|i| x.shape[i] + before[i] + after[i]).collect();
                (Op::Pad { before, after }, one, x.with_shape(shape))
            }
            20 => {
                let mut perm: Vec<usize> = (0..axes).collect();
                perm.swap(0, self.below(axes as u64) as usize);
                let shape: Vec<usize> = perm.iter().map(|axis| x.shape[*axis]).collect();
                (Op::Transpose { perm }, one, x.with_shape(shape))
            }
            21 | 22 => (Op::Reshape, one, x.with_shape([x.len()])),
            23 => {
                let (groups, kernel) = (1, [self.size(3), self.size(3)]);
                let out = self.size(3);
                let weight = self.weight(vec![out, x.shape[0], kernel[0], kernel[1]], 2 + k % 7, 2);
                let bias = (self.below(2) == 0).then(|| self.weight(vec![out], bits, frac + 2));
                let pads = [(); 4].map(|()| self.below(2) as usize);
                let conv =
                    Conv { weight, bias, strides: [self.size(2), self.size(2)], pads, dilations: [1, 1], groups };
                let output = if axes == 3 { conv.output(x.shape[1], x.shape[2], kernel) } else { None };
                let [rows, columns] = output.unwrap_or_default();
                (Op::Conv(conv), one, TensorType { shape: vec![out, rows, columns], ..with(bits, frac + 2) })
            }
            24 => {
                let out = self.size(5);
                let weight = self.weight(vec![out, x.shape[0]], 2 + k % 7, -1);
                (Op::Dense { weight, bias: None }, one, TensorType { shape: vec![out], ..with(bits, frac - 1) })
            }
            25 => {
                let index_bits = (x.len().max(2).ilog2() as u8 + 2).max(k % 12);
                (Op::ArgMax, one, TensorType { shape: vec![1], ..with(index_bits, 0) })
            }
            28 => (Op::Step, one, with(k, 0)),
            // Of a batch of matrices and one that fits it, mostly itself.
            30 => {
                let shape = x.shape.clone();
                let fits = |other: &TensorType| {
                    axes == 3
                        && other.shape.len() == 3
                        && other.bits == bits
                        && other.shape[..2] == [shape[0], shape[2]]
                };
                let others = self.function.iter().filter(|(_, v)| fits(&v.ty));
                let (other, y) = others.map(|(id, v)| (id, v.ty.clone())).next_back().unwrap_or((operand, x.clone()));
                let columns = y.shape.get(2).copied().unwrap_or(1);
                let ty = with(bits, frac.saturating_add(y.frac));
                (
                    Op::MatMul,
                    vec![operand, other],
                    TensorType { shape: vec![shape[0], *shape.get(1).unwrap_or(&1), columns], ..ty },
                )
            }
            29 => {
                // A chain with as many tests as there are elements, some of them two to a node.
                let mut items = Vec::new();
                let mut left = x.len();
                while left > 0 {
                    let tests = left.min(self.size(2));
                    items.extend([tests as u16, 0]);
                    left -= tests;
                }
                items.push(0);
                let leaves = items.iter().filter(|tests| **tests == 0).count();
                (Op::Paths(Forest(items)), one, x.with_shape([leaves]))
            }
            _ => {
                let (top, index_bits) = (self.size(x.len().min(9)), x.len().max(2).ilog2() as u8 + 2);
                (Op::TopK { k: top as u16 }, one, TensorType { shape: vec![top], ..with(index_bits, 0) })
            }
        }
    }

    fn window(&mut self) -> Window {
        let kernel = [self.size(3), self.size(3)];
        let pads = [0, 1, 2, 3].map(|i| self.below(kernel[i % 2] as u64) as usize);
        Window { kernel, strides: [self.size(3), self.size(3)], pads }
    }
}
