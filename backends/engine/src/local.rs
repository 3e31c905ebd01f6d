//! Operations that each party computes on its own shares.
//!
//! They are linear mod `2^bits`, so applying them to both shares applies them to the sum. Their
//! meaning is the interpreter's: what moves elements follows its [`gather`](interp::gather), found
//! once for all positions, and pooling is done by it. A constant is added to one share, the
//! server's.

use fusion_ir::types::{mask, signed, wrap};
use fusion_ir::{Op, Party, TensorType, Weights, interp};
use rayon::prelude::*;

/// The local operation `op` on the shares that `party` holds of `positions` positions,
/// position-major. The server gives the weights.
///
/// # Panics
/// If `op` is not local, the shares do not have the shapes of `types`, or the server lacks the
/// weights.
pub fn apply(
    party: Party,
    op: &Op,
    operands: &[&[u64]],
    types: &[&TensorType],
    ty: &TensorType,
    weights: Option<&Weights>,
    positions: usize,
) -> Vec<u64> {
    let x = operands[0];
    assert_eq!(x.len(), positions * types[0].len(), "{} of {positions} positions", op.name());
    let mask = mask(ty.bits);
    let each = |f: &dyn Fn(u64) -> u64| x.iter().map(|x| f(*x) & mask).collect();
    match op {
        Op::Mix(_) | Op::Check | Op::Reshape => x.to_vec(),
        Op::Offset { .. } | Op::Bias { .. } if party == Party::Client => x.to_vec(),
        Op::Truncate => each(&|x| x),
        Op::ShiftLeft { by } => each(&|x| x << by),
        Op::Scale { factor } => each(&|x| x.wrapping_mul(*factor as u64)),
        Op::Offset { by } => each(&|x| x.wrapping_add(*by as u64)),
        Op::Paths(forest) => {
            let one = u64::from(party == Party::Server);
            let of_position = |x: &[u64]| forest.paths(x, one).into_iter().map(|y| y & mask).collect::<Vec<u64>>();
            x.par_chunks_exact(types[0].len().max(1)).flat_map(of_position).collect()
        }
        Op::Bias { weight } => {
            let bias = weights.expect("the server has the weights").get(*weight);
            let add = |x: &[u64]| {
                let sums = interp::spread(bias, x.len()).zip(x).map(|(bias, x)| x.wrapping_add(*bias as u64) & mask);
                sums.collect::<Vec<u64>>()
            };
            x.chunks_exact(ty.len().max(1)).flat_map(add).collect()
        }
        Op::Add => x.iter().zip(operands[1]).map(|(a, b)| a.wrapping_add(*b) & mask).collect(),
        Op::Concat { .. } | Op::Pad { .. } | Op::Slice { .. } | Op::Transpose { .. } => {
            moved(op, operands, types, ty, positions)
        }
        Op::SumPool(_) => by_the_interpreter(op, x, types, ty),
        Op::Input(_) | Op::Conv(_) | Op::Dense { .. } | Op::Requant { .. } | Op::RequantRelu { .. } => no_local(op),
        Op::RequantClip { .. } | Op::Relu | Op::Extend | Op::Mul | Op::Piecewise(_) | Op::MaxPool(_) => no_local(op),
        Op::ArgMax | Op::TopK { .. } | Op::Reveal(_) | Op::Step | Op::MatMul => no_local(op),
    }
}

/// Elements from where [`interp::gather`] says, of every position alike.
fn moved(op: &Op, operands: &[&[u64]], types: &[&TensorType], ty: &TensorType, positions: usize) -> Vec<u64> {
    let sources = interp::gather(op, types, ty);
    let mut result = vec![0; positions * sources.len()];
    let of_position = |(position, result): (usize, &mut [u64])| {
        let operands: Vec<&[u64]> =
            operands.iter().zip(types).map(|(share, ty)| &share[position * ty.len()..][..ty.len()]).collect();
        for (element, source) in result.iter_mut().zip(&sources) {
            if let Some((operand, index)) = source {
                *element = operands[*operand][*index];
            }
        }
    };
    result.par_chunks_mut(sources.len().max(1)).enumerate().for_each(of_position);
    result
}

fn no_local(op: &Op) -> ! {
    unreachable!("{} takes messages, or is the client's own", op.name())
}

/// The interpreter's result on each position's elements as signed integers.
fn by_the_interpreter(op: &Op, x: &[u64], types: &[&TensorType], ty: &TensorType) -> Vec<u64> {
    let of_position = |x: &[u64]| {
        let x: Vec<i64> = x.iter().map(|x| signed(*x, types[0].bits)).collect();
        let result = interp::apply_public(op, &[&x], types, ty);
        result.into_iter().map(|x| wrap(x, ty.bits)).collect::<Vec<u64>>()
    };
    x.par_chunks_exact(types[0].len().max(1)).flat_map(of_position).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::op::Window;
    use fusion_ir::{Sign, WeightId};

    #[test]
    fn shares_of_the_result_are_the_interpreters_on_the_sum() {
        let ty =
            |bits, shape: &[usize]| TensorType { shape: shape.to_vec(), bits, frac: 0, magnitude: 4, sign: Sign::Any };
        let x = ty(13, &[2, 3, 3]);
        let x18 = ty(13, &[18]);
        let window = Window { kernel: [2, 2], strides: [1, 1], pads: [0, 1, 1, 0] };
        let cases = [
            (Op::Add, vec![&x, &x], x.clone()),
            (Op::Scale { factor: -7 }, vec![&x], x.clone()),
            (Op::ShiftLeft { by: 3 }, vec![&x], x.clone()),
            (Op::Truncate, vec![&x], ty(9, &[2, 3, 3])),
            (Op::Offset { by: -1234 }, vec![&x], x.clone()),
            (Op::Bias { weight: WeightId(0) }, vec![&x], x.clone()),
            (Op::Bias { weight: WeightId(1) }, vec![&x], x.clone()),
            (Op::SumPool(window), vec![&x], ty(13, &[2, 3, 3])),
            (Op::Transpose { perm: vec![2, 0, 1] }, vec![&x], ty(13, &[3, 2, 3])),
            (Op::Pad { before: vec![0, 1, 0], after: vec![1, 0, 0] }, vec![&x], ty(13, &[3, 4, 3])),
            (Op::Slice { start: vec![1, 0, 1] }, vec![&x], ty(13, &[1, 2, 2])),
            (Op::Concat { axis: 1 }, vec![&x, &x], ty(13, &[2, 6, 3])),
            (Op::Reshape, vec![&x], ty(13, &[18])),
            (Op::Paths("[2*o3o..oo...,2o3oo....]".parse().unwrap()), vec![&x18], ty(13, &[14])),
        ];
        let weights = Weights(vec![vec![5, -4000], (-9..9).collect()]);
        const POSITIONS: usize = 2;
        let mut state = 5u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 20
        };
        for (op, types, result) in cases {
            assert!(op.is_local());
            let mut tensor = || (0..POSITIONS * 18).map(|_| random() & 0x1fff).collect::<Vec<u64>>();
            let client: Vec<Vec<u64>> = types.iter().map(|_| tensor()).collect();
            let server: Vec<Vec<u64>> = types.iter().map(|_| tensor()).collect();
            let run = |party, shares: &[Vec<u64>]| {
                let shares: Vec<&[u64]> = shares.iter().map(Vec::as_slice).collect();
                apply(party, &op, &shares, &types, &result, (party == Party::Server).then_some(&weights), POSITIONS)
            };
            let sum: Vec<Vec<u64>> = client.iter().zip(&server).map(|(c, s)| add(c, s, 13)).collect();
            let found = add(&run(Party::Client, &client), &run(Party::Server, &server), result.bits);
            let of_position = |position: usize| {
                let operands: Vec<Vec<i64>> =
                    sum.iter().map(|x| x[position * 18..][..18].iter().map(|x| signed(*x, 13)).collect()).collect();
                let operands: Vec<&[i64]> = operands.iter().map(Vec::as_slice).collect();
                match &op {
                    Op::Bias { weight } => interp::add_bias(operands[0], weights.get(*weight), result.bits),
                    op => interp::apply_public(op, &operands, &types, &result),
                }
            };
            let expected: Vec<u64> = (0..POSITIONS).flat_map(of_position).map(|x| wrap(x, result.bits)).collect();
            assert_eq!(found, expected, "{}", op.name());
        }
    }

    fn add(a: &[u64], b: &[u64], bits: u8) -> Vec<u64> {
        a.iter().zip(b).map(|(a, b)| (a + b) & mask(bits)).collect()
    }
}
