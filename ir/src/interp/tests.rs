use super::*;
use crate::Sign;
use crate::op::{Conv, Piecewise, Window};

fn ty(bits: u8, shape: &[usize]) -> TensorType {
    TensorType { shape: shape.to_vec(), bits, frac: 0, magnitude: bits - 2, sign: Sign::Any }
}

fn unary(op: Op, x: &[i64], bits: u8, k: u8) -> Vec<i64> {
    let operand = ty(bits, &[x.len()]);
    apply_public(&op, &[x], &[&operand], &ty(k, &[x.len()]))
}

#[test]
fn requant_is_floor_of_the_rounded_and_wrapped() {
    // (x + 2) >> 2 on 5 bits: 15 + 2 = 17 wraps to -15, and floor(-15 / 4) = -4.
    assert_eq!(
        unary(Op::Requant { shift: 2 }, &[0, 1, 2, 5, 6, -1, -2, -3, -16, 13, 14, 15], 5, 3),
        [0, 0, 1, 1, 2, 0, 0, -1, -4, 3, -4, -4]
    );
    // A wider result keeps the same integers, a narrower one wraps them.
    assert_eq!(unary(Op::Requant { shift: 2 }, &[-16, 13, 14], 5, 9), [-4, 3, -4]);
    assert_eq!(unary(Op::Requant { shift: 2 }, &[-16, 13, 6], 5, 2), [0, -1, -2]);
    assert_eq!(unary(Op::RequantRelu { shift: 2 }, &[-16, 13, 14, 6, -3, -2], 5, 3), [0, 3, 0, 2, 0, 0]);
    // A clip looks at the accumulator itself, so that a result of fewer bits does not wrap.
    let clip = Op::RequantClip { shift: 1, limit: 3 };
    assert_eq!(unary(clip, &[-16, -2, 0, 1, 4, 5, 6, 13, 14, 15], 5, 3), [0, 0, 0, 1, 2, 3, 3, 3, 3, 0]);
}

#[test]
fn elementwise_operations_wrap() {
    assert_eq!(unary(Op::Relu, &[-8, -1, 0, 7], 4, 4), [0, 0, 0, 7]);
    assert_eq!(unary(Op::Truncate, &[-8, 7, 5], 4, 3), [0, -1, -3]);
    assert_eq!(unary(Op::ShiftLeft { by: 1 }, &[5, -3], 4, 4), [-6, -6]);
    assert_eq!(unary(Op::Scale { factor: 3 }, &[3, -3], 4, 4), [-7, 7]);
    let four = ty(4, &[2]);
    assert_eq!(apply_public(&Op::Add, &[&[7, -8], &[1, -1]], &[&four, &four], &four), [-8, 7]);
}

#[test]
fn steps_and_paths_are_integers() {
    assert_eq!(unary(Op::Step, &[-8, -1, 0, 7], 4, 2), [0, 0, 1, 1]);
    // A node, whose truth has a node of two tests, the first less the second.
    let forest = Op::Paths("[o2o...]".parse().unwrap());
    let leaves = |tests: &[i64]| apply_public(&forest, &[tests], &[&ty(3, &[3])], &ty(3, &[3]));
    assert_eq!(leaves(&[1, 1, 0]), [0, -1, -1]);
    assert_eq!(leaves(&[1, 1, 1]), [-1, 0, -1]);
    assert_eq!(leaves(&[0, 1, 0]), [-1, -2, 0]);
}

#[test]
fn argmax_keeps_the_lowest_index_on_ties() {
    for (logits, label) in [(vec![3, 1, 3], 0), (vec![1, 3, 2, 3], 1), (vec![-1, -1, -1, 0, 0], 3), (vec![5], 0)] {
        let operand = ty(8, &[logits.len()]);
        assert_eq!(apply_public(&Op::ArgMax, &[&logits], &[&operand], &ty(4, &[1])), [label], "{logits:?}");
    }
}

#[test]
fn the_largest_come_in_order_and_lower_indices_first() {
    let mut state = 9u64;
    for n in [1usize, 2, 3, 10, 33] {
        for k in [1, 2, 5, n].into_iter().filter(|k| *k <= n) {
            let mut random = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as i64 % 6 - 3
            };
            let x: Vec<i64> = (0..n).map(|_| random()).collect();
            let mut expected: Vec<i64> = (0..n as i64).collect();
            expected.sort_by_key(|i| -x[*i as usize]);
            let found = apply_public(&Op::TopK { k: k as u16 }, &[&x], &[&ty(8, &[n])], &ty(7, &[k]));
            assert_eq!(found, expected[..k], "{k} largest of {x:?}");
        }
    }
}

#[test]
fn labels_are_read_off_what_is_revealed() {
    let function = |ending: &str| {
        let text = format!("function \"f\"\nv0 = input : i8.0~4[3] by local \"x\"\n{ending}");
        crate::text::parse(&text).unwrap()
    };
    let logits = function("v1 = fusion.reveal v0 what=logits : i8.0~4[3] \"r\"\n");
    assert_eq!(meaning(&logits, &[1, 5, 5]), [1]);
    let top = "v1 = topk v0 k=2 : i3.0~2+[2] \"t\"\nv2 = fusion.reveal v1 what=topk:2 : i3.0~2+[2] \"r\"\n";
    assert_eq!(meaning(&function(top), &[2, 0]), [2, 0]);
    for wrong in [&[2, 2][..], &[0, 3], &[-1, 0], &[0], &[0, 1, 2]] {
        assert_eq!(meaning(&function(top), wrong), [0i64; 0], "{wrong:?}");
    }
    let label = "v1 = argmax v0 : i3.0~2+[1] \"a\"\nv2 = fusion.reveal v1 what=label : i3.0~2+[1] \"r\"\n";
    assert_eq!((meaning(&function(label), &[1]), meaning(&function(label), &[3])), (vec![1], vec![]));
}

#[test]
fn products_wrap_and_spread() {
    let image = ty(8, &[2, 3]);
    let x = [1, -2, 100, 3, 4, -128];
    let times = |y: &[i64], shape: &[usize]| apply_public(&Op::Mul, &[&x, y], &[&image, &ty(8, shape)], &image);
    assert_eq!(times(&[2, -3], &[2]), [2, -4, -56, -9, -12, -128]);
    assert_eq!(times(&[1, 1, 2, -1, 0, -1], &[2, 3]), [1, -2, -56, -3, 0, -128]);
    assert_eq!(add_bias(&x, &[100, -1], 8), [101, 98, -56, 2, 3, 127]);
}

#[test]
fn piecewise_functions_bend_at_their_knots() {
    let function = |first_slope, offset, knots: &[(i64, i64)]| {
        Op::Piecewise(Piecewise { first_slope, slope_frac: 0, offset, knots: knots.to_vec() })
    };
    let clip = function(0, 0, &[(0, 1), (6, -1)]);
    assert_eq!(unary(clip, &[-30, -1, 0, 5, 6, 7, 30], 8, 8), [0, 0, 0, 5, 6, 6, 6]);
    let leaky = function(1, 0, &[(0, 9)]);
    assert_eq!(unary(leaky, &[-8, -1, 0, 1, 8], 8, 8), [-8, -1, 0, 10, 80]);
    // 7 - (-8) = 15 wraps to -1 on four bits, so nothing is added.
    assert_eq!(unary(function(0, 3, &[(-8, 1)]), &[7, -8, -1], 4, 4), [3, 3, -6]);
}

#[test]
fn pools_leave_padding_out_of_maxima_and_zero_in_sums() {
    let image = ty(8, &[1, 3, 3]);
    let x = [-1, -2, -3, -4, -5, -6, -7, -8, -9];
    let window = Window { kernel: [2, 2], strides: [2, 2], pads: [1, 1, 0, 0] };
    assert_eq!(window.output(3, 3), Some([2, 2]));
    assert_eq!(apply_public(&Op::MaxPool(window.clone()), &[&x], &[&image], &ty(8, &[1, 2, 2])), [-1, -2, -4, -5]);
    assert_eq!(apply_public(&Op::SumPool(window), &[&x], &[&image], &ty(8, &[1, 2, 2])), [-1, -5, -11, -28]);
}

#[test]
fn maxima_of_operands_too_far_apart_follow_the_wrapped_difference() {
    assert_eq!(max(7, -8, 4), -8, "15 wraps to -1: the left side loses");
    assert_eq!(max(3, -4, 4), 3);
}

#[test]
fn moves_are_index_maps() {
    let x = ty(8, &[2, 3]);
    let data = [0, 1, 2, 3, 4, 5];
    let moved = |op: Op, shape: &[usize]| apply_public(&op, &[&data], &[&x], &ty(8, shape));
    assert_eq!(moved(Op::Transpose { perm: vec![1, 0] }, &[3, 2]), [0, 3, 1, 4, 2, 5]);
    assert_eq!(moved(Op::Slice { start: vec![1, 1] }, &[1, 2]), [4, 5]);
    assert_eq!(moved(Op::Pad { before: vec![0, 1], after: vec![1, 0] }, &[3, 4]), [0, 0, 1, 2, 0, 3, 4, 5, 0, 0, 0, 0]);
    let both = apply_public(&Op::Concat { axis: 1 }, &[&data, &[7, 8]], &[&x, &ty(8, &[2, 1])], &ty(8, &[2, 4]));
    assert_eq!(both, [0, 1, 2, 7, 3, 4, 5, 8]);
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Signed integers of `bits` bits, the extreme ones more often than chance has it.
    fn elements(&mut self, n: usize, bits: u8) -> Vec<i64> {
        let half = 1i64 << (bits - 1);
        let one = |_| match self.below(8) {
            0 => half.wrapping_neg(),
            1 => half.wrapping_sub(1),
            _ => signed((self.below(1 << 31) as u64) << 32 | self.below(1 << 31) as u64, bits),
        };
        (0..n).map(one).collect()
    }
}

fn linear(op: Op, weights: Vec<(Vec<usize>, Vec<i64>)>, x: &TensorType, ty: &TensorType) -> (Function, Weights) {
    let mut function = Function::default();
    let mut elements = Vec::new();
    for (shape, weight) in weights {
        function.push_weight(crate::Weight { name: "w".into(), shape, bits: 16, frac: 0 });
        elements.push(weight);
    }
    let input = function.push(Op::Input(crate::InputFormat::default()), vec![], x.clone(), "x");
    function.push(op, vec![input], ty.clone(), "y");
    (function, Weights(elements))
}

/// What every way to run the last value gives.
fn every_way(function: &Function, weights: &Weights, x: &[i64]) -> [Vec<i64>; 4] {
    let last = function.values.last().unwrap();
    let watched = watch(function, weights, x);
    [
        run(function, weights, x).pop().unwrap(),
        output(function, weights, x),
        watched.output,
        apply(function, last, weights, &[x], &[]),
    ]
}

/// All vectors of this processor, with all numbers.
fn vectors_and_sums() -> Vec<(pulp::Arch, Sums)> {
    let mut vectors = vec![pulp::Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        vectors.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
        vectors.extend(pulp::x86::V4::try_new().map(pulp::Arch::V4));
    }
    vectors.into_iter().flat_map(|vectors| [(vectors, Sums::Ring), (vectors, Sums::Fastest)]).collect()
}

#[test]
fn convolutions_are_the_textbook_sum() {
    let mut random = Random(1);
    let mut tried = 0;
    for case in 0..1500 {
        let groups = random.pick(&[1, 1, 2, 3, 5]);
        let [c_in, c_out] = [(); 2].map(|()| groups * random.pick(&[1, 1, 2, 3, 5]));
        let kernel = vec![c_out, c_in / groups, 1 + random.below(4), 1 + random.below(4)];
        let conv = Conv {
            weight: crate::WeightId(0),
            bias: (random.below(2) == 0).then_some(crate::WeightId(1)),
            strides: [1 + random.below(4), 1 + random.below(4)],
            pads: [(); 4].map(|()| random.pick(&[0, 1, 2, 3, 9])),
            dilations: [random.pick(&[1, 1, 2, 7]), random.pick(&[1, 2, 3, 40])],
            groups,
        };
        let (height, width) = (1 + random.below(9), 1 + random.below(21));
        let Some([rows, columns]) = conv.output(height, width, [kernel[2], kernel[3]]) else { continue };
        tried += 1;
        // Sums far inside what floats hold, at its end, and beyond everything.
        let (bits, x_bits, w_bits) = random.pick(&[
            (28, 16, 12),
            (34, 30, 16),
            (53, 33, 16),
            (63, 40, 16),
            (63, 63, 63),
            (64, 64, 64),
            (2, 2, 2),
        ]);
        let (x_ty, ty) = (ty(bits.min(63), &[c_in, height, width]), ty(bits.min(63), &[c_out, rows, columns]));
        let x = random.elements(x_ty.len(), x_bits.min(63));
        let w = random.elements(kernel.iter().product(), w_bits);
        let b = random.elements(c_out, bits);
        let bias = conv.bias.map(|_| b.as_slice());
        let expected = plain::convolve(&conv, (&x, &x_ty.shape), (&w, &kernel), bias, &ty);
        let convolution = Convolution { conv: &conv, kernel: &kernel, weight: &w, bias };
        for (vectors, sums) in vectors_and_sums() {
            let found = convolution.apply_with(vectors, &x, &x_ty, &ty, sums);
            assert_eq!(found, expected, "case {case}, {vectors:?}, {sums:?}");
        }
        let mut weights = vec![(kernel.clone(), w.clone())];
        weights.extend(bias.map(|bias| (vec![c_out], bias.to_vec())));
        let (function, weights) = linear(Op::Conv(conv), weights, &x_ty, &ty);
        for found in every_way(&function, &weights, &x) {
            assert_eq!(found, expected, "case {case}\n{function}");
        }
    }
    assert!(tried > 500, "{tried}");
}

/// Large enough for several threads, and for blocks of rows and columns that are not full.
#[test]
fn large_convolutions_are_the_textbook_sum() {
    let mut random = Random(2);
    for (c_in, c_out, groups, k, side, stride) in
        [(16, 37, 1, 3, 23, 1), (64, 64, 64, 3, 41, 2), (24, 36, 12, 5, 31, 1), (48, 130, 1, 1, 17, 2)]
    {
        let pads = [k / 2; 4];
        let conv =
            Conv { weight: crate::WeightId(0), bias: None, strides: [stride; 2], pads, dilations: [1; 2], groups };
        let [rows, columns] = conv.output(side, side, [k, k]).unwrap();
        let kernel = vec![c_out, c_in / groups, k, k];
        let (x_ty, ty) = (ty(30, &[c_in, side, side]), ty(30, &[c_out, rows, columns]));
        let (x, w) = (random.elements(x_ty.len(), 16), random.elements(kernel.iter().product(), 12));
        let expected = plain::convolve(&conv, (&x, &x_ty.shape), (&w, &kernel), None, &ty);
        let convolution = Convolution { conv: &conv, kernel: &kernel, weight: &w, bias: None };
        for (vectors, sums) in vectors_and_sums() {
            assert!(convolution.apply_with(vectors, &x, &x_ty, &ty, sums) == expected, "{vectors:?}, {sums:?}");
        }
        let (function, weights) = linear(Op::Conv(conv), vec![(kernel, w)], &x_ty, &ty);
        for found in every_way(&function, &weights, &x) {
            assert!(found == expected, "{function}");
        }
    }
}

#[test]
fn floats_are_used_where_they_hold_every_sum_and_nowhere_else() {
    use linear::floats_hold;
    assert!(floats_hold(4608, &[-2048, 5], &[32767, -32768]));
    // 2^26 * 2^26 * 2 is the first sum too large.
    assert!(floats_hold(1, &[1 << 26], &[-(1 << 26)]));
    assert!(!floats_hold(2, &[1 << 26], &[-(1 << 26)]));
    assert!(!floats_hold(1, &[0], &[i64::MIN]));
    assert!(!floats_hold(usize::MAX, &[i64::MIN], &[i64::MIN]));
}

#[test]
fn matrices_are_the_textbook_sum() {
    let mut random = Random(3);
    for (rows, n, bits, x_bits) in [(1, 1, 8, 8), (10, 33, 28, 16), (7, 100, 63, 63), (300, 700, 34, 34), (3, 5, 2, 2)]
    {
        let (x_ty, ty) = (ty(bits, &[n]), ty(bits, &[rows]));
        let (x, w, b) = (random.elements(n, x_bits), random.elements(rows * n, 16), random.elements(rows, bits));
        let op = Op::Dense { weight: crate::WeightId(0), bias: Some(crate::WeightId(1)) };
        let (function, weights) = linear(op, vec![(vec![rows, n], w.clone()), (vec![rows], b.clone())], &x_ty, &ty);
        for found in every_way(&function, &weights, &x) {
            assert_eq!(found, plain::dense(&w, &x, Some(&b), bits));
        }
    }
}

/// The last value as every run gives it; operands are slices of the input.
fn watched(op: &Op, operands: &[&[i64]], types: &[TensorType], ty: &TensorType) -> Vec<i64> {
    let mut function = Function::default();
    let total = operands.iter().map(|x| x.len()).sum::<usize>();
    let input = TensorType { shape: vec![total], ..types[0].clone() };
    let all = function.push(Op::Input(crate::InputFormat::default()), vec![], input, "x");
    let mut from = 0;
    let mut parts = Vec::new();
    for part in types {
        let flat = part.with_shape([part.len()]);
        let slice = function.push(Op::Slice { start: vec![from] }, vec![all], flat, "s");
        parts.push(function.push(Op::Reshape, vec![slice], part.clone(), "r"));
        from += part.len();
    }
    function.push(op.clone(), parts, ty.clone(), "y");
    watch(&function, &Weights::default(), &operands.concat()).output
}

#[test]
fn elementwise_operations_are_their_definitions() {
    let mut random = Random(4);
    for case in 0..400 {
        let bits = random.pick(&[2, 4, 9, 16, 28, 34, 62, 63]);
        let k = random.pick(&[2, 3, 8, 16, 28, 63]);
        let shift = 1 + random.below(usize::from(bits) - 1) as u8;
        let half = 1i64 << (bits - 1);
        let mut constant = || random.elements(1, bits)[0];
        let mut knots: Vec<(i64, i64)> = (0..1 + case % 7).map(|_| (constant(), constant())).collect();
        knots.sort_unstable();
        knots.dedup_by_key(|knot| knot.0);
        let bend = Piecewise { first_slope: constant(), slope_frac: 0, offset: constant(), knots };
        let mut ops = vec![
            (Op::Requant { shift }, k),
            (Op::Relu, bits),
            (Op::Step, k),
            (Op::ShiftLeft { by: shift - 1 }, bits),
            (Op::Scale { factor: constant() }, bits),
            (Op::Offset { by: constant() }, bits),
            (Op::Add, bits),
            (Op::Mul, bits),
            (Op::Piecewise(bend), bits),
        ];
        let kept = bits - shift;
        if kept >= 2 {
            ops.push((Op::RequantRelu { shift }, kept));
            ops.push((Op::RequantClip { shift, limit: ((half >> shift) / 2).max(1) }, kept));
        }
        ops.push(if k > bits { (Op::Extend, k) } else { (Op::Truncate, k) });
        // Ordinary elements, all elements, and enough of them for several threads.
        let (n, x_bits) = random.pick(&[(6, bits.div_ceil(2).max(2)), (6, bits), (40_000, bits)]);
        let n = if case % 16 == 0 { n } else { 6 };
        let x = random.elements(n, x_bits);
        let spread = random.pick(&[1, 2, 3]);
        for (op, k) in ops {
            let operand = ty(bits, &[n / 2, 2]);
            let (mut operands, mut types) = (vec![x.as_slice()], vec![operand.clone()]);
            let other = random.elements(if op == Op::Mul && spread == 2 { n / 2 } else { n }, x_bits);
            if matches!(op, Op::Add | Op::Mul) {
                operands.push(&other);
                types.push(if other.len() == n { operand.clone() } else { ty(bits, &[n / 2]) });
            }
            let result = ty(k, &[n / 2, 2]);
            let expected = plain::elementwise(&op, &x, &other, bits, k);
            let found = apply_public(&op, &operands, &types.iter().collect::<Vec<_>>(), &result);
            assert!(found == expected, "case {case}: {op:?} of {bits} bits to {k}");
            assert!(watched(&op, &operands, &types, &result) == expected, "case {case}: {op:?} of {bits} bits to {k}");
        }
    }
}

#[test]
fn products_of_matrices_are_their_definition() {
    let mut random = Random(9);
    for case in 0..200 {
        let [b, m, k, n] = [(); 4].map(|()| 1 + random.below(if case % 20 == 0 { 40 } else { 5 }));
        let bits = random.pick(&[2, 9, 28, 34, 62, 63]);
        let x_bits = random.pick(&[bits, (bits / 2).max(2)]);
        let types = [ty(bits, &[b, m, k]), ty(bits, &[b, k, n])];
        let [x, y] = [0, 1].map(|i| random.elements(types[i].len(), x_bits));
        let (operands, result) = ([x.as_slice(), &y], ty(bits, &[b, m, n]));
        let expected = plain::mat_mul(&x, &y, [b, m, k, n], bits);
        let found = apply_public(&Op::MatMul, &operands, &types.iter().collect::<Vec<_>>(), &result);
        assert!(found == expected, "case {case}: {b} of {m}x{k}x{n}, {bits} bits");
        assert!(watched(&Op::MatMul, &operands, &types, &result) == expected, "case {case}: {bits} bits");
    }
    // [[1, 2], [3, 4]] [[5, 6], [7, 8]]
    let types = [ty(8, &[1, 2, 2]), ty(8, &[1, 2, 2])];
    let found = apply_public(&Op::MatMul, &[&[1, 2, 3, 4], &[5, 6, 7, 8]], &[&types[0], &types[1]], &types[0]);
    assert_eq!(found, [19, 22, 43, 50]);
}

#[test]
fn pools_are_their_definitions() {
    let mut random = Random(5);
    for case in 0..600 {
        let kernel = [1 + random.below(4), 1 + random.below(4)];
        let mut pad = |i: usize| random.below(kernel[i % 2]);
        let pads = [pad(0), pad(1), pad(2), pad(3)];
        let window = Window { kernel, strides: [1 + random.below(3), 1 + random.below(3)], pads };
        let side = if case % 50 == 0 { 90 } else { 9 };
        let (height, width) = (1 + random.below(side), 1 + random.below(side));
        let Some([rows, columns]) = window.output(height, width) else { continue };
        let bits = random.pick(&[2, 8, 28, 63]);
        let (image, result) = (ty(bits, &[3, height, width]), ty(bits, &[3, rows, columns]));
        let x_bits = random.pick(&[bits, (bits / 2).max(2)]);
        let x = random.elements(image.len(), x_bits);
        for (op, expected) in [
            (Op::MaxPool(window.clone()), plain::max_pool(&window, &x, &image)),
            (Op::SumPool(window.clone()), plain::sum_pool(&window, &x, &image)),
        ] {
            assert!(apply_public(&op, &[&x], &[&image], &result) == expected, "{op:?} of {image:?}");
            assert!(watched(&op, &[&x], std::slice::from_ref(&image), &result) == expected, "{op:?} of {image:?}");
        }
    }
}

#[test]
fn moves_are_their_definitions() {
    let mut random = Random(6);
    for _ in 0..300 {
        let shape: Vec<usize> = (0..1 + random.below(4)).map(|_| 1 + random.below(4)).collect();
        let mut small = |most: usize| -> Vec<usize> { shape.iter().map(|_| random.below(most)).collect() };
        let (before, after) = (small(3), small(3));
        let sum = |axis: usize| shape[axis] + before[axis] + after[axis];
        let start: Vec<usize> = shape.iter().zip(small(4)).map(|(n, i)| i.min(n - 1)).collect();
        let cut: Vec<usize> = shape.iter().zip(&start).zip(small(4)).map(|((n, s), i)| (i + 1).min(n - s)).collect();
        let mut perm: Vec<usize> = (0..shape.len()).collect();
        perm.rotate_left(random.below(shape.len()));
        perm.swap(0, random.below(shape.len()));
        let axis = random.below(shape.len());
        let mut second = shape.clone();
        second[axis] = 1 + random.below(3);
        let mut joined = shape.clone();
        joined[axis] += second[axis];
        let padded = (0..shape.len()).map(sum).collect();
        let permuted = perm.iter().map(|axis| shape[*axis]).collect();
        for (op, out, shapes) in [
            (Op::Pad { before: before.clone(), after: after.clone() }, padded, vec![shape.clone()]),
            (Op::Slice { start: start.clone() }, cut.clone(), vec![shape.clone()]),
            (Op::Transpose { perm: perm.clone() }, permuted, vec![shape.clone()]),
            (Op::Concat { axis }, joined, vec![shape.clone(), second]),
        ] {
            let types: Vec<TensorType> = shapes.iter().map(|shape| ty(20, shape)).collect();
            let x: Vec<Vec<i64>> = types.iter().map(|ty| random.elements(ty.len(), 20)).collect();
            let operands: Vec<&[i64]> = x.iter().map(Vec::as_slice).collect();
            let (types, result): (Vec<&TensorType>, _) = (types.iter().collect(), ty(20, &out));
            let expected = plain::moved(&op, &operands, &shapes, &out);
            assert_eq!(apply_public(&op, &operands, &types, &result), expected, "{op:?} of {shapes:?}");
            let sources = gather(&op, &types, &result).into_iter();
            let gathered: Vec<i64> = sources.map(|from| from.map_or(0, |(k, i)| operands[k][i])).collect();
            assert_eq!(gathered, expected, "{op:?} of {shapes:?}");
        }
    }
}
