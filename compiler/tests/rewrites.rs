//! Passes that promise the same numbers give them, on random programs and whatever inputs.

use fusion_compiler::passes::{Program, Settings, run_one};
use fusion_ir::op::{Conv, Op, Piecewise};
use fusion_ir::text::parse;
use fusion_ir::types::signed;
use fusion_ir::verify::{explain, sign_is_proven, verify};
use fusion_ir::{Function, InputFormat, Sign, TensorType, ValueId, Weight, WeightId, Weights, interp};

const EXACT: [&str; 6] =
    ["simplify_shapes", "moves_last", "assign_widths", "merge_layers", "fuse_requant_extend", "join_comparisons"];
/// Widest ring.
const MOST_BITS: u8 = 40;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn elements(&mut self, n: usize, bits: u8) -> Vec<i64> {
        (0..n).map(|_| signed(self.next(), bits)).collect()
    }
}

struct Writer {
    random: Random,
    program: Program,
}

impl Writer {
    /// A program of so many operations, all of whose results are part of its last value.
    fn program(seed: u64, operations: usize) -> Program {
        let mut writer =
            Writer { random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), program: Program::default() };
        let shape = writer.random.one(&[vec![4], vec![2, 3], vec![2, 1, 3], vec![3, 2, 2]]);
        let ty = TensorType { shape, bits: 14, frac: 3, magnitude: 10, sign: Sign::Any };
        writer.push(Op::Input(InputFormat::default()), &[], ty);
        for _ in 0..operations {
            let read = ValueId(writer.random.below(writer.program.function.values.len()) as u32);
            writer.operation(read);
        }
        writer.end();
        writer.program
    }

    fn ty(&self, id: ValueId) -> TensorType {
        self.program.function.value(id).ty.clone()
    }

    /// A value with the sign that is proven of it.
    fn push(&mut self, op: Op, operands: &[ValueId], ty: TensorType) -> ValueId {
        let types: Vec<TensorType> = operands.iter().map(|id| self.ty(*id)).collect();
        let ty = TensorType { magnitude: ty.magnitude.clamp(1, ty.bits - 1), ..ty };
        let proven = !types.is_empty() && sign_is_proven(&op, &types.iter().collect::<Vec<_>>(), &ty);
        let sign = if proven { Sign::NonNegative } else { Sign::Any };
        self.program.function.push(op, operands.to_vec(), TensorType { sign, ..ty }, "n")
    }

    fn weight(&mut self, shape: &[usize], bits: u8, frac: i8) -> WeightId {
        let elements = self.random.elements(shape.iter().product(), bits);
        self.program.weights.0.push(elements);
        self.program.function.push_weight(Weight { name: "w".into(), shape: shape.to_vec(), bits, frac })
    }

    fn operation(&mut self, x: ValueId) {
        let ty = self.ty(x);
        let (bits, shape) = (ty.bits, ty.shape.clone());
        let shift = 1 + self.random.below(6) as u8;
        let lost = |k: u8| TensorType { bits: k, frac: ty.frac - shift as i8, magnitude: k - 1, ..ty.clone() };
        match self.random.below(17) {
            0 => {
                let shape = self.random.one(&[vec![ty.len()], vec![1, ty.len()], vec![ty.len(), 1, 1]]);
                self.push(Op::Reshape, &[x], ty.with_shape(shape));
            }
            1 if shape.len() > 1 => {
                let perm: Vec<usize> = (0..shape.len()).rev().collect();
                let turned: Vec<usize> = perm.iter().map(|axis| shape[*axis]).collect();
                self.push(Op::Transpose { perm }, &[x], ty.with_shape(turned));
            }
            2 if shape[0] > 1 => {
                let mut part = shape.clone();
                part[0] -= 1;
                let start = [vec![self.random.below(2)], vec![0; shape.len() - 1]].concat();
                self.push(Op::Slice { start }, &[x], ty.with_shape(part));
            }
            3 if ty.len() < 20 => {
                let mut twice = shape.clone();
                twice[0] *= 2;
                self.push(Op::Concat { axis: 0 }, &[x, x], ty.with_shape(twice));
            }
            4 | 5 if bits + 6 < MOST_BITS => {
                let k = bits + self.random.one(&[2, 2, 3, 6]);
                self.push(Op::Extend, &[x], TensorType { bits: k, ..ty });
            }
            6 | 7 if bits > shift + 6 && ty.frac > -20 => {
                let k = self.random.one(&[bits - shift, bits - shift, bits - shift - 1, bits]);
                self.push(Op::Requant { shift }, &[x], lost(k));
            }
            8 if bits > shift + 6 && ty.frac > -20 => {
                let op = if self.random.below(2) == 0 {
                    Op::RequantRelu { shift }
                } else {
                    Op::RequantClip { shift, limit: 5 }
                };
                self.push(op, &[x], lost(bits - shift));
            }
            9 => drop(self.push(Op::Relu, &[x], ty)),
            10 if bits > 10 => drop(self.push(Op::Truncate, &[x], TensorType { bits: bits - 2, ..ty })),
            11 => {
                let factor = self.random.one(&[1, 3]);
                let frac = ty.frac + if factor == 1 { 2 } else { 0 };
                self.push(Op::Scale { factor }, &[x], TensorType { frac, ..ty });
            }
            12 if ty.frac < 20 => {
                self.push(Op::ShiftLeft { by: 1 }, &[x], TensorType { frac: ty.frac + 1, ..ty });
            }
            13 => {
                let like = |(id, _): &(ValueId, &fusion_ir::Value)| {
                    let other = self.ty(*id);
                    (other.bits, other.frac, &other.shape) == (ty.bits, ty.frac, &ty.shape)
                };
                let others: Vec<ValueId> = self.program.function.iter().filter(like).map(|(id, _)| id).collect();
                let other = self.random.one(&others);
                self.push(Op::Add, &[x, other], ty);
            }
            14 if bits > 8 => {
                // Thresholds are near enough for the magnitude that is claimed.
                let knots = vec![(self.random.below(4) as i64, 2)];
                let op = Op::Piecewise(Piecewise { first_slope: 1, slope_frac: 0, offset: 0, knots });
                let narrow = TensorType { magnitude: 3, ..ty.clone() };
                let narrow = self.push(Op::Scale { factor: 1 }, &[x], narrow);
                self.push(op, &[narrow], ty);
            }
            15 | 16 if ty.frac < 20 => self.layers(x, &ty),
            _ => {}
        }
    }

    /// One to three layers of `x`, in its ring and in narrower ones.
    fn layers(&mut self, x: ValueId, ty: &TensorType) {
        for _ in 0..1 + self.random.below(3) {
            let bits = ty.bits - if ty.bits > 12 { self.random.below(3) as u8 } else { 0 };
            let ty = TensorType { bits, ..ty.clone() };
            let x = if bits < self.ty(x).bits { self.push(Op::Truncate, &[x], ty.clone()) } else { x };
            let (rows, frac) = (1 + self.random.below(3), self.random.below(2) as i8);
            let [kernel, shape] = match ty.shape[..] {
                [n] => [vec![rows, n], vec![rows]],
                [channels, height, width] => [vec![rows, channels, 1, 1], vec![rows, height, width]],
                _ => return,
            };
            let weight = self.weight(&kernel, 4, frac);
            let out = TensorType { shape, frac: ty.frac + frac, magnitude: bits - 1, ..ty };
            let bias = (self.random.below(2) == 0).then(|| self.weight(&[rows], bits, out.frac));
            let op = if kernel.len() == 2 {
                Op::Dense { weight, bias }
            } else {
                let (strides, dilations) = ([1, 1], [1, 1]);
                Op::Conv(Conv { weight, bias, strides, pads: [0; 4], dilations, groups: 1 })
            };
            let y = self.push(op, &[x], out.clone());
            if self.random.below(3) > 0 && bits > 9 {
                let shift = bits - 8;
                let ty = TensorType { bits: 8, frac: out.frac - shift as i8, magnitude: 7, ..out };
                self.push(Op::Requant { shift }, &[y], ty);
            }
        }
    }

    /// Joins all that nothing reads.
    fn end(&mut self) {
        let users = self.program.function.users();
        let open: Vec<ValueId> =
            self.program.function.iter().map(|(id, _)| id).filter(|id| users[id.index()].is_empty()).collect();
        let mut parts = Vec::new();
        for id in open {
            let ty = self.ty(id);
            let ty = TensorType { bits: 48, ..ty.with_shape([ty.len()]) };
            let flat = self.push(Op::Reshape, &[id], TensorType { bits: self.ty(id).bits, ..ty.clone() });
            let wide = self.push(Op::Extend, &[flat], ty.clone());
            parts.push(self.push(Op::Scale { factor: 1 }, &[wide], TensorType { frac: 0, ..ty }));
        }
        let n = parts.iter().map(|part| self.ty(*part).len()).sum();
        let ty = TensorType { shape: vec![n], bits: 48, frac: 0, magnitude: 47, sign: Sign::Any };
        self.push(Op::Concat { axis: 0 }, &parts, ty);
    }
}

fn outputs(program: &Program, inputs: &[Vec<i64>]) -> Vec<Vec<i64>> {
    inputs.iter().map(|input| interp::output(&program.function, &program.weights, input)).collect()
}

fn well_formed(function: &Function) {
    verify(function).unwrap_or_else(|violations| panic!("{}", explain(function, &violations)));
}

#[test]
fn programs_compute_the_same_after_exact_passes() {
    let settings = Settings::default();
    let mut changed = [0; EXACT.len()];
    for seed in 0..300 {
        let mut program = Writer::program(seed, 30);
        well_formed(&program.function);
        let (n, bits) = (program.function.values[0].ty.len(), program.function.values[0].ty.bits);
        let mut random = Random(seed + 1);
        let inputs: Vec<Vec<i64>> = (0..4).map(|_| random.elements(n, bits)).collect();
        let expected = outputs(&program, &inputs);
        for (pass, changed) in EXACT.iter().zip(&mut changed) {
            let before = program.clone();
            run_one(pass, &mut program, &settings).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            let found = outputs(&program, &inputs);
            assert_eq!(found, expected, "seed {seed}: {pass} of\n{}\nis\n{}", before.function, program.function);
            *changed += usize::from(before != program);
        }
    }
    assert!(changed.iter().all(|changed| *changed >= 20), "each has its turn: {changed:?}");
}

/// A layer's result, moved around, and a skip; a sum of two products.
const SUMS: [&str; 2] = [
    "function \"reshaped\"
weight @w0 \"w\" : i8.6[4,6]
v0 = input : i16.4~9[6] \"x\"
v1 = slice v0 start=[1] : i16.4~9[4] \"p\"
v2 = reshape v1 : i16.4~9[2,2] \"p\"
v3 = extend v0 : i26.4~9[6] \"d\"
v4 = dense v3, @w0 : i26.10~20[4] \"d\"
v5 = requant v4 shift=4 : i22.6~16[4] \"d\"
v6 = reshape v5 : i22.6~16[2,2] \"m\"
v7 = transpose v6 perm=[1,0] : i22.6~16[2,2] \"m\"
v8 = extend v7 : i24.6~16[2,2] \"s\"
v9 = shift_left v8 by=0 : i24.6~16[2,2] \"s\"
v10 = extend v2 : i24.4~9[2,2] \"s\"
v11 = shift_left v10 by=2 : i24.6~11[2,2] \"s\"
v12 = add v9, v11 : i24.6~17[2,2] \"s\"
v13 = requant v12 shift=2 : i22.4~15[2,2] \"s\"
",
    "function \"products\"
v0 = input : i16.4~9[4] \"x\"
v1 = relu v0 : i16.4~9+[4] \"r\"
v2 = extend v0 : i22.4~9[4] \"a\"
v3 = extend v1 : i22.4~9+[4] \"a\"
v4 = mul v2, v3 : i22.8~18[4] \"a\"
v5 = requant v4 shift=4 : i18.4~14[4] \"a\"
v6 = extend v0 : i22.4~9[4] \"b\"
v7 = extend v0 : i22.4~9[4] \"b\"
v8 = mul v6, v7 : i22.8~18[4] \"b\"
v9 = requant v8 shift=4 : i18.4~14[4] \"b\"
v10 = extend v5 : i20.4~14[4] \"s\"
v11 = shift_left v10 by=0 : i20.4~14[4] \"s\"
v12 = extend v9 : i20.4~14[4] \"s\"
v13 = shift_left v12 by=0 : i20.4~14[4] \"s\"
v14 = add v11, v13 : i20.4~15[4] \"s\"
v15 = requant v14 shift=1 : i19.3~14[4] \"s\"
",
];

/// Where nothing wraps, a requantisation less moves a sum by no more than it rounded.
#[test]
fn sums_that_join_accumulators_are_the_same_up_to_rounding() {
    let mut random = Random(7);
    for text in SUMS {
        let function = parse(text).unwrap();
        let weights: Vec<Vec<i64>> =
            function.weights.iter().map(|w| random.elements(w.shape.iter().product(), w.bits)).collect();
        let mut program = Program { function, weights: Weights(weights) };
        let n = program.function.values[0].ty.len();
        let inputs: Vec<Vec<i64>> = (0..200).map(|_| random.elements(n, 10)).collect();
        let expected = outputs(&program, &inputs);
        let requants = |program: &Program| {
            program.function.values.iter().filter(|value| matches!(value.op, Op::Requant { .. })).count()
        };
        let before = requants(&program);
        run_one("merge_residual", &mut program, &Settings::default()).unwrap();
        assert!(requants(&program) == 1 && before > 1);
        let found = outputs(&program, &inputs);
        let mut moved = 0;
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() <= 1, "{found} {expected}");
            moved += usize::from(found != expected);
        }
        assert!(moved < found.len() * found[0].len() / 2, "{moved}");
    }
}
