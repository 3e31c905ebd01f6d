//! Operations that each party computes on its own shares.
//!
//! They are linear mod `2^bits`, so applying them to both shares applies them to the sum; their meaning is the
//! interpreter's, which is why there is no second definition here. A constant is added to one share, the server's.

use fusion_ir::types::{signed, wrap};
use fusion_ir::{Op, Party, TensorType, Weights, interp};

/// The local operation `op` on the shares that `party` holds of `positions` positions, position-major. The server gives the weights.
///
/// # Panics
/// If `op` is not local, the shares do not have the shapes of `types`, or the server lacks the weights.
pub fn apply(
    party: Party,
    op: &Op,
    operands: &[&[u64]],
    types: &[&TensorType],
    ty: &TensorType,
    weights: Option<&Weights>,
    positions: usize,
) -> Vec<u64> {
    let constant = matches!(op, Op::Offset { .. } | Op::Bias { .. });
    if matches!(op, Op::Mix(_) | Op::Check | Op::Reshape) || (constant && party == Party::Client) {
        return operands[0].to_vec();
    }
    let mut result = Vec::with_capacity(positions * ty.len());
    for position in 0..positions {
        let of_position = |(shares, ty): (&&[u64], &&TensorType)| {
            let share = &shares[position * ty.len()..(position + 1) * ty.len()];
            share.iter().map(|x| signed(*x, ty.bits)).collect::<Vec<i64>>()
        };
        let operands: Vec<Vec<i64>> = operands.iter().zip(types).map(of_position).collect();
        let operands: Vec<&[i64]> = operands.iter().map(Vec::as_slice).collect();
        let elements = match op {
            Op::Bias { weight } => {
                let bias = weights.expect("the server has the weights").get(*weight);
                interp::add_bias(operands[0], bias, ty.bits)
            }
            _ => interp::apply_public(op, &operands, types, ty),
        };
        result.extend(elements.into_iter().map(|x| wrap(x, ty.bits)));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::op::Window;
    use fusion_ir::{Sign, WeightId};

    #[test]
    fn shares_of_the_result_are_results_of_the_shares() {
        let ty =
            |bits, shape: &[usize]| TensorType { shape: shape.to_vec(), bits, frac: 0, magnitude: 4, sign: Sign::Any };
        let x = ty(13, &[2, 3, 3]);
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
            assert_eq!(found, run(Party::Server, &sum), "{}", op.name());
        }
    }

    fn add(a: &[u64], b: &[u64], bits: u8) -> Vec<u64> {
        a.iter().zip(b).map(|(a, b)| (a + b) & fusion_ir::types::mask(bits)).collect()
    }
}
