//! Operations that each party computes on its own shares.
//!
//! They are linear mod `2^bits`, so applying them to both shares applies them to the sum; their meaning is the
//! interpreter's, which is why there is no second definition here.

use fusion_ir::types::{signed, wrap};
use fusion_ir::{Op, TensorType, interp};

/// The local operation `op` on one party's shares of `positions` positions, position-major.
///
/// # Panics
/// If `op` is not local, or the shares do not have the shapes of `types`.
pub fn apply(op: &Op, operands: &[&[u64]], types: &[&TensorType], ty: &TensorType, positions: usize) -> Vec<u64> {
    if matches!(op, Op::Mix(_) | Op::Check | Op::Reshape) {
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
        result.extend(interp::apply_public(op, &operands, types, ty).into_iter().map(|x| wrap(x, ty.bits)));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::Sign;
    use fusion_ir::op::Window;

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
            (Op::SumPool(window), vec![&x], ty(13, &[2, 3, 3])),
            (Op::Transpose { perm: vec![2, 0, 1] }, vec![&x], ty(13, &[3, 2, 3])),
            (Op::Pad { before: vec![0, 1, 0], after: vec![1, 0, 0] }, vec![&x], ty(13, &[3, 4, 3])),
            (Op::Slice { start: vec![1, 0, 1] }, vec![&x], ty(13, &[1, 2, 2])),
            (Op::Concat { axis: 1 }, vec![&x, &x], ty(13, &[2, 6, 3])),
            (Op::Reshape, vec![&x], ty(13, &[18])),
        ];
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
            let run = |shares: &[Vec<u64>]| {
                let shares: Vec<&[u64]> = shares.iter().map(Vec::as_slice).collect();
                apply(&op, &shares, &types, &result, POSITIONS)
            };
            let sum: Vec<Vec<u64>> = client.iter().zip(&server).map(|(c, s)| add(c, s, 13)).collect();
            assert_eq!(add(&run(&client), &run(&server), result.bits), run(&sum), "{}", op.name());
        }
    }

    fn add(a: &[u64], b: &[u64], bits: u8) -> Vec<u64> {
        a.iter().zip(b).map(|(a, b)| (a + b) & fusion_ir::types::mask(bits)).collect()
    }
}
