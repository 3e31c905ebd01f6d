//! The elementwise operations as circuits of [`gates`](super::gates), flight by flight as
//! [`Comparison::flights`](fusion_catalogue::compare::Comparison::flights) says.

use fusion_catalogue::compare::Comparison;
use fusion_ir::types::Sign;
use rayon::prelude::*;

use super::gates::{Gates, Inputs, Outputs};
use super::leaves::Node;
use super::tree::{Carries, grow};
use crate::Error;
use crate::bits::Bits;
use crate::compare::shares::{add, add_constant, complement, subtract, truncate};
use crate::compare::words::{self, extend_known, multiply, select, square, to_word};
use crate::threads::items;

/// Shares of the results from shares of the operands.
pub(super) fn evaluate(gates: &mut Gates, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error> {
    let one = |result: Vec<u64>| vec![result];
    let x = operands[0];
    match *operation {
        Comparison::Sign { bits } => Ok(one(negative(gates, x, bits)?.iter().collect())),
        Comparison::Step { bits, k } => {
            let positive = complement(gates.party, &negative(gates, x, bits)?);
            exchange_word(gates, Inputs::default(), &positive, k).map(|(word, _)| one(word))
        }
        Comparison::Relu { bits } => {
            let positive = complement(gates.party, &negative(gates, x, bits)?);
            Ok(select(gates, &positive, &[(x.to_vec(), bits)])?)
        }
        Comparison::Requant { bits, shift, k } if k <= bits - shift => {
            requant_modular(gates, x, bits, shift, k).map(one)
        }
        Comparison::Requant { bits, shift, k } => requant_signed(gates, x, bits, shift, k).map(one),
        Comparison::RequantRelu { bits, shift, k } => requant_relu(gates, x, bits, shift, k),
        Comparison::RequantClip { bits, shift, k, limit } => requant_clip(gates, x, bits, shift, k, limit).map(one),
        Comparison::Extend { bits, k, sign: Sign::NonNegative } => extend_known(gates, x, bits, k).map(one),
        Comparison::Extend { bits, k, sign: Sign::Any } => extend(gates, x, bits, k).map(one),
        Comparison::Max { bits } => {
            let (a, b) = (x, operands[1]);
            let difference = subtract(b, a, bits);
            let right = negative(gates, &subtract(a, b, bits), bits)?;
            let gain = select(gates, &right, &[(difference, bits)])?;
            Ok(vec![add(a, &gain[0], bits)])
        }
        Comparison::MaxIndex { bits, index_bits } => {
            let [a, b, i, j] = [0, 1, 2, 3].map(|at| operands[at]);
            let right = negative(gates, &subtract(a, b, bits), bits)?;
            let differences = [(subtract(b, a, bits), bits), (subtract(j, i, index_bits), index_bits)];
            let gain = select(gates, &right, &differences)?;
            Ok(vec![add(a, &gain[0], bits), add(i, &gain[1], index_bits)])
        }
        Comparison::Mul { bits } => multiply(gates, x, operands[1], bits).map(one),
        Comparison::Square { bits } => square(gates, x, bits).map(one),
    }
}

/// Bits `range` of `x`, lowest first.
fn planes(x: &[u64], range: std::ops::Range<u8>) -> impl Iterator<Item = Bits> {
    let planes = range.into_par_iter().with_min_len(items(x.len())).map(|bit| Bits::plane(x, bit));
    planes.collect::<Vec<Bits>>().into_iter()
}

/// The generate and propagate bits of the two segments of `x` above each other, of `low` and `high`
/// bits.
fn grow_two(gates: &mut Gates, x: &[u64], low: u8, high: u8) -> Result<[Option<Node>; 2], Error> {
    let tree = Carries::new(low, high, gates.leaves);
    let [low, high, ..] = grow(gates, planes(x, 0..low + high), tree)?;
    Ok([low, high])
}

/// Shares mod 2 of whether `x < 0`: the sum of both top bits and the carry into them.
fn negative(gates: &mut Gates, x: &[u64], bits: u8) -> Result<Bits, Error> {
    let [_, root] = grow_two(gates, x, 0, bits - 1)?;
    let carry = root.expect("at least one bit").generate;
    Ok(carry.xor(&Bits::plane(x, bits - 1)))
}

/// With a tree of segments `low = shift` and `high`, of numbers to which half of what is dropped
/// was added: the shifted shares with the low carry added, mod `2^k`, and the carry out of both
/// segments mod 2.
///
/// The flight that joins the segments already turns the low carry into a word of `k` bits.
fn drop_bits(gates: &mut Gates, x: &[u64], shift: u8, k: u8, high: u8) -> Result<(Vec<u64>, Bits), Error> {
    let [low, high] = grow_two(gates, x, shift, high)?;
    let low = low.expect("at least one bit is dropped").generate;
    let mut inputs = Inputs::default();
    if let Some(Node { propagate: Some(propagate), .. }) = &high {
        inputs.narrow.push([propagate.clone(), low.clone()]);
    }
    let (word, mut outputs) = exchange_word(gates, inputs, &low, k)?;
    let carry = match (high, outputs.narrow.pop()) {
        (Some(high), Some(carried)) => high.generate.xor(&carried),
        _ => low,
    };
    Ok((truncate(x, &word, shift, k), carry))
}

/// For `k <= bits - shift`: the low carry suffices, since what wraps falls out of `k` bits.
fn requant_modular(gates: &mut Gates, x: &[u64], bits: u8, shift: u8, k: u8) -> Result<Vec<u64>, Error> {
    let rounded = add_constant(gates.party, x, 1 << (shift - 1), bits);
    Ok(drop_bits(gates, &rounded, shift, k, 0)?.0)
}

/// For `k > bits - shift`: with `2^(bits-1)` added, numbers are unsigned and the carry out of the
/// whole says whether the shares wrap:
/// `floor(z / 2^shift) = (z_c >> shift) + (z_s >> shift) + low carry - wrap 2^(bits-shift)`.
fn requant_signed(gates: &mut Gates, x: &[u64], bits: u8, shift: u8, k: u8) -> Result<Vec<u64>, Error> {
    let kept = bits - shift;
    let offset = add_constant(gates.party, x, (1 << (shift - 1)) + (1 << (bits - 1)), bits);
    let (sum, wrap) = drop_bits(gates, &offset, shift, k, kept)?;
    unwrap(gates, &sum, &wrap, kept, k)
}

/// As [`requant_signed`] with nothing dropped.
fn extend(gates: &mut Gates, x: &[u64], bits: u8, k: u8) -> Result<Vec<u64>, Error> {
    let offset = add_constant(gates.party, x, 1 << (bits - 1), bits);
    let [_, root] = grow_two(gates, &offset, 0, bits)?;
    let wrap = root.expect("at least one bit").generate;
    unwrap(gates, &offset, &wrap, bits, k)
}

/// As [`words::unwrap`], with `wrap` shared mod 2.
fn unwrap(gates: &mut Gates, sum: &[u64], wrap: &Bits, bits: u8, k: u8) -> Result<Vec<u64>, Error> {
    let word = exchange_word(gates, Inputs::default(), wrap, k - bits)?.0;
    Ok(words::unwrap(gates.party, sum, &word, bits, k))
}

/// One tree: the carry into the top bit gives the sign, the low carry the shifted value, which is
/// right where it is not negative.
fn requant_relu(gates: &mut Gates, x: &[u64], bits: u8, shift: u8, k: u8) -> Result<Vec<Vec<u64>>, Error> {
    let rounded = add_constant(gates.party, x, 1 << (shift - 1), bits);
    let (shifted, carry) = drop_bits(gates, &rounded, shift, k, bits - 1 - shift)?;
    let positive = complement(gates.party, &carry.xor(&Bits::plane(&rounded, bits - 1)));
    select(gates, &positive, &[(shifted, k)])
}

/// Both thresholds in one tree, whose last two segments are the highest bits of `z` and of
/// `z - limit 2^shift`, below which the two are alike.
///
/// With `c` the carry into these bits and sums mod 2, `z >= 0` is `a + p c` and `z < limit 2^shift`
/// (as the difference wraps) is `b + q c`. Their product says whether `z` is between both. For
/// `c = 0` and `c = 1` it is computed while `c` is.
fn requant_clip(gates: &mut Gates, x: &[u64], bits: u8, shift: u8, k: u8, limit: u64) -> Result<Vec<u64>, Error> {
    let party = gates.party;
    let z = add_constant(party, x, 1 << (shift - 1), bits);
    let less = add_constant(party, &z, (limit << shift).wrapping_neg(), bits);
    let tree = Comparison::RequantClip { bits, shift, k, limit }.carries(gates.leaves).expect("a clip has a tree");
    let common = (tree.segments[0] + tree.segments[1]) as u8;
    let segments = grow(gates, planes(&z, 0..bits - 1).chain(planes(&less, common..bits - 1)), tree)?;
    let [Some(low), middle, Some(above), Some(below)] = segments else { unreachable!("segments of at least one bit") };
    let (Some(p), Some(q)) = (above.propagate, below.propagate) else { unreachable!("position 0 is the lowest") };
    let a = complement(party, &above.generate.xor(&Bits::plane(&z, bits - 1)));
    let b = below.generate.xor(&Bits::plane(&less, bits - 1));

    let low = low.generate;
    let mut inputs = Inputs { narrow: vec![[a.clone(), b.clone()], [a.xor(&p), b.xor(&q)]], ..Inputs::default() };
    let (generated, propagate) = match middle {
        Some(Node { generate, propagate }) => (Some(generate), propagate),
        None => (None, None),
    };
    inputs.narrow.extend(propagate.map(|propagate| [propagate, low.clone()]));
    let (word, outputs) = exchange_word(gates, inputs, &low, k)?;
    let mut products = outputs.narrow.into_iter();
    let mut between = || products.next().expect("a product of each");
    let (between, otherwise) = (between(), between());
    let carry = match (generated, products.next()) {
        (Some(generated), Some(carried)) => generated.xor(&carried),
        _ => low,
    };

    let inputs = Inputs { wide: vec![[carry, p, between.xor(&otherwise)]], ..Inputs::default() };
    let [changed_a, changed] = gates.exchange(inputs)?.wide.swap_remove(0);
    let (positive, between) = (a.xor(&changed_a), between.xor(&changed));

    // between (z / 2^shift - limit) + positive limit, where the limit's zeros need no bits.
    let limit_bits = k - limit.trailing_zeros() as u8;
    let difference = add_constant(party, &truncate(&z, &word, shift, k), limit.wrapping_neg(), k);
    let values = [(difference, k)];
    let mut inputs = Inputs { words: words::selection(party, &between, &values), ..Inputs::default() };
    inputs.words.extend(to_word(party, &positive, limit_bits));
    let mut products = gates.exchange(inputs)?.words;
    let positive = words::from_product(&positive, products.pop(), limit_bits);
    let inside = words::selected(&between, &values, &products).swap_remove(0);
    let limits: Vec<u64> = positive.iter().map(|positive| positive.wrapping_mul(limit)).collect();
    Ok(add(&inside, &limits, k))
}

/// Runs a flight with one more word, that of `bit` mod `2^bits`, if it needs any; returns the
/// word's shares.
fn exchange_word(gates: &mut Gates, mut inputs: Inputs, bit: &Bits, bits: u8) -> Result<(Vec<u64>, Outputs), Error> {
    inputs.words.extend(to_word(gates.party, bit, bits));
    let nothing = inputs.words.is_empty() && inputs.narrow.is_empty();
    let mut outputs = match nothing {
        true => Outputs::default(),
        false => gates.exchange(inputs)?,
    };
    let word = words::from_product(bit, outputs.words.pop(), bits);
    Ok((word, outputs))
}
