//! The elementwise operations, as [`Schedule`] says.

use fusion_catalogue::compare::Comparison;
use fusion_catalogue::crypt_flow2::Schedule;
use fusion_ir::Party;
use fusion_ir::types::{Sign, mask};

use super::Ctx;
use super::gates::Gates;
use crate::Error;
use crate::bits::Bits;
use crate::compare::shares::{add, add_constant, complement, subtract, truncate};
use crate::compare::words::{extend_known, multiply, select, square, to_words, unwrap};

/// Shares of the results of one chunk from shares of the operands.
pub(super) fn evaluate(
    ctx: &mut Ctx,
    schedule: &Schedule,
    operation: &Comparison,
    operands: &[&[u64]],
) -> Result<Vec<Vec<u64>>, Error> {
    let (party, n) = (ctx.party, operands[0].len());
    // What is taken apart: the difference of two operands, or the operand with a constant added.
    let x = operands[0];
    let x = match *operation {
        Comparison::Max { bits } | Comparison::MaxIndex { bits, .. } => subtract(x, operands[1], bits),
        Comparison::Requant { bits, shift, k } if k > bits - shift => {
            // With 2^(bits-1) added, numbers are unsigned.
            add_constant(party, x, (1 << (shift - 1)) + (1 << (bits - 1)), bits)
        }
        Comparison::Requant { bits, shift, .. }
        | Comparison::RequantRelu { bits, shift, .. }
        | Comparison::RequantClip { bits, shift, .. } => add_constant(party, x, 1 << (shift - 1), bits),
        Comparison::Extend { bits, sign: Sign::Any, .. } => add_constant(party, x, 1 << (bits - 1), bits),
        Comparison::Extend { sign: Sign::NonNegative, .. } => x.to_vec(),
        Comparison::Mul { .. } | Comparison::Square { .. } => x.to_vec(),
        Comparison::Sign { .. } | Comparison::Step { .. } | Comparison::Relu { .. } => x.to_vec(),
    };
    let mut numbers: Vec<Vec<u64>> =
        schedule.mills.iter().map(|mill| carry_operand(party, &x, mill.bits as u8)).collect();
    let less = match *operation {
        Comparison::RequantClip { bits, shift, limit, .. } => {
            let less = add_constant(party, &x, (limit << shift).wrapping_neg(), bits);
            numbers[2] = carry_operand(party, &less, bits - 1);
            less
        }
        _ => Vec::new(),
    };
    let (mut gates, carries) = Gates::open(ctx, schedule, n, &numbers)?;
    let negative = |bits: u8| carries[carries.len() - 1].xor(&Bits::plane(&x, bits - 1));
    let one = |result: Vec<u64>| vec![result];
    match *operation {
        Comparison::Sign { bits } => Ok(one(negative(bits).iter().collect())),
        Comparison::Step { bits, k } => to_words(&mut gates, &[(&complement(party, &negative(bits)), k)]),
        Comparison::Relu { bits } => select(&mut gates, &complement(party, &negative(bits)), &[(x, bits)]),
        Comparison::Max { bits } => {
            let gain = select(&mut gates, &negative(bits), &[(negate(&x, bits), bits)])?;
            Ok(one(add(operands[0], &gain[0], bits)))
        }
        Comparison::MaxIndex { bits, index_bits } => {
            let differences = [(negate(&x, bits), bits), (subtract(operands[3], operands[2], index_bits), index_bits)];
            let gain = select(&mut gates, &negative(bits), &differences)?;
            Ok(vec![add(operands[0], &gain[0], bits), add(operands[2], &gain[1], index_bits)])
        }
        Comparison::Requant { bits, shift, k } if k <= bits - shift => {
            Ok(one(truncate(&x, &to_words(&mut gates, &[(&carries[0], k)])?[0], shift, k)))
        }
        Comparison::Requant { bits, shift, k } => {
            // floor(z / 2^shift) = (z_c >> shift) + (z_s >> shift) + low carry - wrap
            // 2^(bits-shift).
            let kept = bits - shift;
            let words = to_words(&mut gates, &[(&carries[0], k), (&carries[1], k - kept)])?;
            Ok(one(unwrap(party, &truncate(&x, &words[0], shift, k), &words[1], kept, k)))
        }
        Comparison::RequantRelu { bits, shift, k } => {
            let words = to_words(&mut gates, &[(&carries[0], k)])?;
            let positive = complement(party, &negative(bits));
            select(&mut gates, &positive, &[(truncate(&x, &words[0], shift, k), k)])
        }
        Comparison::RequantClip { bits, shift, k, limit } => {
            let words = to_words(&mut gates, &[(&carries[0], k)])?;
            let [negative, below] =
                [(&carries[1], &x), (&carries[2], &less)].map(|(c, x)| c.xor(&Bits::plane(x, bits - 1)));
            let difference = add_constant(party, &truncate(&x, &words[0], shift, k), limit.wrapping_neg(), k);
            let clipped = select(&mut gates, &below, &[(difference, k)])?;
            let clipped = add_constant(party, &clipped[0], limit, k);
            select(&mut gates, &complement(party, &negative), &[(clipped, k)])
        }
        Comparison::Extend { bits, k, sign: Sign::NonNegative } => extend_known(&mut gates, &x, bits, k).map(one),
        Comparison::Extend { bits, k, sign: Sign::Any } => {
            let words = to_words(&mut gates, &[(&carries[0], k - bits)])?;
            Ok(one(unwrap(party, &x, &words[0], bits, k)))
        }
        Comparison::Mul { bits } => multiply(&mut gates, operands[0], operands[1], bits).map(one),
        Comparison::Square { bits } => square(&mut gates, &x, bits).map(one),
    }
}

/// This party's number in the millionaires' protocol that says whether the lowest `bits` bits of
/// `x_client + x_server` carry over: whether `2^bits - 1 - x_server < x_client`.
pub(super) fn carry_operand(party: Party, x: &[u64], bits: u8) -> Vec<u64> {
    match party {
        Party::Client => x.iter().map(|x| x & mask(bits)).collect(),
        Party::Server => x.iter().map(|x| !x & mask(bits)).collect(),
    }
}

fn negate(x: &[u64], bits: u8) -> Vec<u64> {
    x.iter().map(|x| x.wrapping_neg() & mask(bits)).collect()
}
