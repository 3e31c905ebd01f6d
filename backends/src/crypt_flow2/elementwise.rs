//! The elementwise operations, as [`Schedule`] says.

use fusion_catalogue::compare::Comparison;
use fusion_catalogue::crypt_flow2::Schedule;
use fusion_ir::Party;
use fusion_ir::types::{Sign, mask};

use super::Ctx;
use super::gates::{Gates, Word};
use crate::Error;
use crate::bits::Bits;

/// Number of results of an operation.
pub(super) fn results(operation: &Comparison) -> usize {
    match operation {
        Comparison::MaxIndex { .. } => 2,
        _ => 1,
    }
}

/// Shares of the results of one chunk from shares of the operands.
pub(super) fn evaluate(
    ctx: &mut Ctx,
    schedule: &Schedule,
    operation: &Comparison,
    operands: &[&[u64]],
) -> Result<Vec<Vec<u64>>, Error> {
    let (party, n) = (ctx.party, operands[0].len());
    // What is taken apart: the difference of two operands, or the operand with a constant added.
    let x = match (*operation, operands) {
        (Comparison::Max { bits } | Comparison::MaxIndex { bits, .. }, [a, b, ..]) => subtract(a, b, bits),
        (Comparison::Requant { bits, shift, k }, [x]) if k > bits - shift => {
            // With 2^(bits-1) added, numbers are unsigned.
            add_constant(party, x, (1 << (shift - 1)) + (1 << (bits - 1)), bits)
        }
        (Comparison::Requant { bits, shift, .. } | Comparison::RequantRelu { bits, shift, .. }, [x]) => {
            add_constant(party, x, 1 << (shift - 1), bits)
        }
        (Comparison::Extend { bits, sign: Sign::Any, .. }, [x]) => add_constant(party, x, 1 << (bits - 1), bits),
        (Comparison::Mul { .. }, [a, _]) => a.to_vec(),
        (_, [x]) => x.to_vec(),
        _ => panic!("{operation:?} on {} operands", operands.len()),
    };
    let numbers: Vec<Vec<u64>> = schedule.mills.iter().map(|mill| carry_operand(party, &x, mill.bits as u8)).collect();
    let (mut gates, carries) = Gates::open(ctx, schedule, n, &numbers)?;
    let negative = |bits: u8| carries[carries.len() - 1].xor(&Bits::plane(&x, bits - 1));
    let one = |result: Vec<u64>| vec![result];
    match *operation {
        Comparison::Sign { bits } => Ok(one(negative(bits).iter().collect())),
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
            // floor(z / 2^shift) = (z_c >> shift) + (z_s >> shift) + low carry - wrap 2^(bits-shift).
            let kept = bits - shift;
            let words = to_words(&mut gates, &[(&carries[0], k), (&carries[1], k - kept)])?;
            Ok(one(unwrap(party, &truncate(&x, &words[0], shift, k), &words[1], kept, k)))
        }
        Comparison::RequantRelu { bits, shift, k } => {
            let words = to_words(&mut gates, &[(&carries[0], k)])?;
            let positive = complement(party, &negative(bits));
            select(&mut gates, &positive, &[(truncate(&x, &words[0], shift, k), k)])
        }
        Comparison::Extend { bits, k, sign: Sign::NonNegative } => extend_known(&mut gates, &x, bits, k).map(one),
        Comparison::Extend { bits, k, sign: Sign::Any } => {
            let words = to_words(&mut gates, &[(&carries[0], k - bits)])?;
            Ok(one(unwrap(party, &x, &words[0], bits, k)))
        }
        Comparison::Mul { bits } => multiply(&mut gates, operands[0], operands[1], bits).map(one),
    }
}

/// This party's number in the millionaires' protocol that says whether the lowest `bits` bits of `x_client + x_server` carry over:
/// whether `2^bits - 1 - x_server < x_client`.
pub(super) fn carry_operand(party: Party, x: &[u64], bits: u8) -> Vec<u64> {
    match party {
        Party::Client => x.iter().map(|x| x & mask(bits)).collect(),
        Party::Server => x.iter().map(|x| !x & mask(bits)).collect(),
    }
}

/// Words mod `2^bits` of bits shared mod 2, all in one exchange: `b_c + b_s - 2 b_c b_s`, of which the product matters mod
/// `2^(bits-1)` only; none at all for one bit.
pub(super) fn to_words(gates: &mut Gates, bits: &[(&Bits, u8)]) -> Result<Vec<Vec<u64>>, Error> {
    let width = |bits: u8| bits.checked_sub(1).filter(|width| *width > 0);
    let inputs: Vec<Word> = bits
        .iter()
        .filter_map(|(bit, bits)| {
            let width = width(*bits)?;
            Some(match gates.party {
                Party::Client => Word::Choice((*bit).clone(), width),
                Party::Server => Word::Value(bit.iter().map(|b| b.wrapping_neg() & mask(width)).collect(), width),
            })
        })
        .collect();
    let mut products = if inputs.is_empty() { Vec::new() } else { gates.words(inputs)? }.into_iter();
    let word = |(bit, bits): &(&Bits, u8)| {
        let product = width(*bits).and_then(|_| products.next()).unwrap_or_else(|| vec![0; bit.len()]);
        bit.iter().zip(product).map(|(b, product)| b.wrapping_add(product << 1) & mask(*bits)).collect()
    };
    Ok(bits.iter().map(word).collect())
}

/// The multiplexer (section 3.2, algorithm 6): shares of `bit * x` for each `(x, width)`. With `bit = b_c + b_s - 2 b_c b_s`, each
/// party's share of `x` is multiplied by its own bit at home and by the peer's in a word:
/// `x_p (b_p + b_q - 2 b_p b_q) = x_p b_p + b_q (1 - 2 b_p) x_p`.
fn select(gates: &mut Gates, bit: &Bits, values: &[(Vec<u64>, u8)]) -> Result<Vec<Vec<u64>>, Error> {
    let mut inputs = Vec::with_capacity(2 * values.len());
    for chooser in [Party::Client, Party::Server] {
        for (x, width) in values {
            inputs.push(if chooser == gates.party {
                Word::Choice(bit.clone(), *width)
            } else {
                let turned = bit.iter().zip(x).map(|(b, x)| (x ^ b.wrapping_neg()).wrapping_add(b) & mask(*width));
                Word::Value(turned.collect(), *width)
            });
        }
    }
    let products = gates.words(inputs)?;
    let (first, second) = products.split_at(values.len());
    let shares = values.iter().zip(first.iter().zip(second)).map(|((x, width), (first, second))| {
        let own = bit.iter().zip(x).map(|(b, x)| x & b.wrapping_neg());
        let products = first.iter().zip(second).map(|(a, b)| a.wrapping_add(*b));
        own.zip(products).map(|(own, product)| own.wrapping_add(product) & mask(*width)).collect()
    });
    Ok(shares.collect())
}

/// Faithful truncation (section 4): shares shifted on their own, and the carry out of what was dropped.
fn truncate(x: &[u64], carry: &[u64], shift: u8, k: u8) -> Vec<u64> {
    x.iter().zip(carry).map(|(x, carry)| (x >> shift).wrapping_add(*carry) & mask(k)).collect()
}

/// `sum - wrap 2^bits - 2^(bits-1)` mod `2^k`: from shares of an unsigned number offset by `2^(bits-1)` to a signed one.
fn unwrap(party: Party, sum: &[u64], wrap: &[u64], bits: u8, k: u8) -> Vec<u64> {
    let unwrapped: Vec<u64> =
        sum.iter().zip(wrap).map(|(sum, wrap)| sum.wrapping_sub(wrap << bits) & mask(k)).collect();
    add_constant(party, &unwrapped, (1u64 << (bits - 1)).wrapping_neg(), k)
}

/// For proven `0 <= x < 2^(bits-1)`: the shares wrap iff one of their top bits is set, so `1 - wrap` is the product of the
/// complements, one word.
fn extend_known(gates: &mut Gates, x: &[u64], bits: u8, k: u8) -> Result<Vec<u64>, Error> {
    let clear = Bits::plane(x, bits - 1).not();
    let word = match gates.party {
        Party::Client => Word::Choice(clear, k - bits),
        Party::Server => Word::Value(clear.iter().collect(), k - bits),
    };
    let no_wrap = gates.words(vec![word])?.swap_remove(0);
    let sum: Vec<u64> = x.iter().zip(&no_wrap).map(|(x, no_wrap)| x.wrapping_add(no_wrap << bits) & mask(k)).collect();
    Ok(add_constant(gates.party, &sum, (1u64 << bits).wrapping_neg(), k))
}

/// Shares of `a b` (Gilboa, CRYPTO 1999): each party's bits of its share of `a` choose multiples of the other's share of `b`.
fn multiply(gates: &mut Gates, a: &[u64], b: &[u64], bits: u8) -> Result<Vec<u64>, Error> {
    let mut inputs = Vec::with_capacity(2 * usize::from(bits));
    for chooser in [Party::Client, Party::Server] {
        for (place, width) in (1..=bits).rev().enumerate() {
            inputs.push(if chooser == gates.party {
                Word::Choice(Bits::plane(a, place as u8), width)
            } else {
                Word::Value(b.iter().map(|b| b & mask(width)).collect(), width)
            });
        }
    }
    let mut product: Vec<u64> = a.iter().zip(b).map(|(a, b)| a.wrapping_mul(*b)).collect();
    for (index, words) in gates.words(inputs)?.into_iter().enumerate() {
        let place = index % usize::from(bits);
        product.iter_mut().zip(words).for_each(|(product, word)| *product = product.wrapping_add(word << place));
    }
    product.iter_mut().for_each(|product| *product &= mask(bits));
    Ok(product)
}

/// The complement of a bit shared mod 2: one party turns its share.
fn complement(party: Party, bit: &Bits) -> Bits {
    match party {
        Party::Client => bit.clone(),
        Party::Server => bit.not(),
    }
}

fn add_constant(party: Party, x: &[u64], constant: u64, bits: u8) -> Vec<u64> {
    match party {
        Party::Client => x.to_vec(),
        Party::Server => x.iter().map(|x| x.wrapping_add(constant) & mask(bits)).collect(),
    }
}

fn add(a: &[u64], b: &[u64], bits: u8) -> Vec<u64> {
    a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b) & mask(bits)).collect()
}

fn subtract(a: &[u64], b: &[u64], bits: u8) -> Vec<u64> {
    a.iter().zip(b).map(|(a, b)| a.wrapping_sub(*b) & mask(bits)).collect()
}

fn negate(x: &[u64], bits: u8) -> Vec<u64> {
    x.iter().map(|x| x.wrapping_neg() & mask(bits)).collect()
}
