use super::*;
use crate::Sign;

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
    assert_eq!(labels(&logits, &[1, 5, 5]), [1]);
    let top = "v1 = topk v0 k=2 : i3.0~2+[2] \"t\"\nv2 = fusion.reveal v1 what=topk:2 : i3.0~2+[2] \"r\"\n";
    assert_eq!(labels(&function(top), &[2, 0]), [2, 0]);
    for wrong in [&[2, 2][..], &[0, 3], &[-1, 0], &[0], &[0, 1, 2]] {
        assert_eq!(labels(&function(top), wrong), [0i64; 0], "{wrong:?}");
    }
    let label = "v1 = argmax v0 : i3.0~2+[1] \"a\"\nv2 = fusion.reveal v1 what=label : i3.0~2+[1] \"r\"\n";
    assert_eq!((labels(&function(label), &[1]), labels(&function(label), &[3])), (vec![1], vec![]));
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

/// The textbook sum, element by element.
fn naive_convolution(conv: &Conv, x: &[i64], xs: [usize; 3], w: &[i64], ws: [usize; 4], out: [usize; 2]) -> Vec<i64> {
    let mut result = Vec::new();
    for m in 0..ws[0] {
        for (i, j) in (0..out[0]).flat_map(|i| (0..out[1]).map(move |j| (i, j))) {
            let mut sum = 0;
            for c in 0..ws[1] {
                let channel = m / (ws[0] / conv.groups) * ws[1] + c;
                for (l, q) in (0..ws[2]).flat_map(|l| (0..ws[3]).map(move |q| (l, q))) {
                    let r = (i * conv.strides[0] + l * conv.dilations[0]) as isize - conv.pads[0] as isize;
                    let s = (j * conv.strides[1] + q * conv.dilations[1]) as isize - conv.pads[1] as isize;
                    if (0..xs[1] as isize).contains(&r) && (0..xs[2] as isize).contains(&s) {
                        sum += w[((m * ws[1] + c) * ws[2] + l) * ws[3] + q]
                            * x[(channel * xs[1] + r as usize) * xs[2] + s as usize];
                    }
                }
            }
            result.push(sum);
        }
    }
    result
}

#[test]
fn convolution_agrees_with_the_textbook_sum() {
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for _ in 0..300 {
        let groups = 1 + random(3);
        let [c_in, c_out] = [groups * (1 + random(2)), groups * (1 + random(2))];
        let (h, w) = (1 + random(7), 1 + random(7));
        let kernel = [c_out, c_in / groups, 1 + random(3), 1 + random(3)];
        let conv = Conv {
            weight: crate::WeightId(0),
            bias: None,
            strides: [1 + random(3), 1 + random(3)],
            pads: [random(3), random(3), random(3), random(3)],
            dilations: [1 + random(2), 1 + random(2)],
            groups,
        };
        let Some(out) = conv.output(h, w, [kernel[2], kernel[3]]) else { continue };
        let x: Vec<i64> = (0..c_in * h * w).map(|_| random(201) as i64 - 100).collect();
        let k: Vec<i64> = (0..kernel.iter().product()).map(|_| random(201) as i64 - 100).collect();
        let found = convolve(&conv, &x, &ty(40, &[c_in, h, w]), &k, &kernel, None, &ty(40, &[c_out, out[0], out[1]]));
        assert_eq!(found, naive_convolution(&conv, &x, [c_in, h, w], &k, kernel, out), "{conv:?} {kernel:?} {h}x{w}");
    }
}
