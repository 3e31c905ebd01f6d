//! The elementwise operations as circuits of [`gates`](super::gates), flight by flight as
//! [`Comparison::flights`](fusion_catalogue::compare::Comparison::flights) says.

use fusion_catalogue::compare::{Carries, Comparison};
use fusion_ir::Party;
use fusion_ir::types::{Sign, mask};

use super::gates::{Gates, Inputs, Outputs, Word};
use super::leaves::{Node, leaves};
use crate::Error;
use crate::bits::Bits;

/// Number of results of an operation.
pub(super) fn results(operation: &Comparison) -> usize {
    match operation {
        Comparison::MaxIndex { .. } => 2,
        _ => 1,
    }
}

/// Shares of the results from shares of the operands.
pub(super) fn evaluate(gates: &mut Gates, operation: &Comparison, operands: &[&[u64]]) -> Result<Vec<Vec<u64>>, Error> {
    let one = |result: Vec<u64>| vec![result];
    match (*operation, operands) {
        (Comparison::Sign { bits }, [x]) => Ok(one(negative(gates, x, bits)?.iter().collect())),
        (Comparison::Relu { bits }, [x]) => {
            let positive = complement(gates.party, &negative(gates, x, bits)?);
            Ok(select(gates, &positive, &[(x.to_vec(), bits)])?)
        }
        (Comparison::Requant { bits, shift, k }, [x]) if k <= bits - shift => {
            requant_modular(gates, x, bits, shift, k).map(one)
        }
        (Comparison::Requant { bits, shift, k }, [x]) => requant_signed(gates, x, bits, shift, k).map(one),
        (Comparison::RequantRelu { bits, shift, k }, [x]) => requant_relu(gates, x, bits, shift, k),
        (Comparison::Extend { bits, k, sign: Sign::NonNegative }, [x]) => extend_known(gates, x, bits, k).map(one),
        (Comparison::Extend { bits, k, sign: Sign::Any }, [x]) => extend(gates, x, bits, k).map(one),
        (Comparison::Max { bits }, [a, b]) => {
            let difference = subtract(b, a, bits);
            let right = negative(gates, &subtract(a, b, bits), bits)?;
            let gain = select(gates, &right, &[(difference, bits)])?;
            Ok(vec![add(a, &gain[0], bits)])
        }
        (Comparison::MaxIndex { bits, index_bits }, [a, b, i, j]) => {
            let right = negative(gates, &subtract(a, b, bits), bits)?;
            let differences = [(subtract(b, a, bits), bits), (subtract(j, i, index_bits), index_bits)];
            let gain = select(gates, &right, &differences)?;
            Ok(vec![add(a, &gain[0], bits), add(i, &gain[1], index_bits)])
        }
        (Comparison::Mul { bits }, [a, b]) => multiply(gates, a, b, bits).map(one),
        _ => panic!("{operation:?} on {} operands", operands.len()),
    }
}

/// The carry tree over so many bits.
fn tree(gates: &Gates, low: u8, high: u8) -> Carries {
    Carries { low: usize::from(low), high: usize::from(high), leaf_bits: gates.leaf_bits }
}

/// The roots of both segments of a carry tree; a segment of no bits has none.
struct Roots {
    low: Option<Node>,
    high: Option<Node>,
}

/// Leaves, then level by level `(g, p) of hi, lo = (g_hi + p_hi g_lo, p_hi p_lo)`.
fn grow(gates: &mut Gates, x: &[u64], tree: Carries) -> Result<Roots, Error> {
    let [mut low, mut high] = leaves(gates, x, tree)?;
    for level in tree.levels() {
        debug_assert_eq!((level.low, level.high), (low.len() / 2, high.len() / 2));
        let mut inputs = Inputs::default();
        for [lower, upper] in low.as_chunks().0.iter().chain(high.as_chunks().0) {
            match (&upper.propagate, &lower.propagate) {
                (Some(hi), Some(lo)) => inputs.wide.push([hi.clone(), lower.generate.clone(), lo.clone()]),
                (Some(hi), None) => inputs.narrow.push([hi.clone(), lower.generate.clone()]),
                (None, _) => unreachable!("position 0 is the lowest"),
            }
        }
        let outputs = gates.exchange(inputs)?;
        let (mut narrow, mut wide) = (outputs.narrow.into_iter(), outputs.wide.into_iter());
        for segment in [&mut low, &mut high] {
            let mut merged = Vec::with_capacity(segment.len().div_ceil(2));
            let mut nodes = std::mem::take(segment).into_iter();
            while let Some(lower) = nodes.next() {
                let Some(upper) = nodes.next() else {
                    merged.push(lower);
                    break;
                };
                let (carried, propagate) = match lower.propagate {
                    None => (narrow.next(), None),
                    Some(_) => wide.next().map(|[carried, propagate]| (carried, propagate)).unzip(),
                };
                let carried = carried.expect("one product for each merge");
                merged.push(Node { generate: upper.generate.xor(&carried), propagate });
            }
            *segment = merged;
        }
    }
    Ok(Roots { low: low.pop(), high: high.pop() })
}

/// Shares mod 2 of whether `x < 0`: the sum of both top bits and the carry into them.
fn negative(gates: &mut Gates, x: &[u64], bits: u8) -> Result<Bits, Error> {
    let tree = tree(gates, 0, bits - 1);
    let roots = grow(gates, x, tree)?;
    let carry = roots.high.expect("at least one bit").generate;
    Ok(carry.xor(&Bits::plane(x, bits - 1)))
}

/// `x + 2^(shift-1)`, the constant added by the server, and its carries with the low one at `shift`.
///
/// The flight that joins the segments already turns the low carry into a word of `k` bits. Returns the shifted shares with it
/// added, mod `2^k`, and the carry out of both segments mod 2.
fn drop_bits(gates: &mut Gates, x: &[u64], shift: u8, k: u8, tree: Carries) -> Result<(Vec<u64>, Bits), Error> {
    let roots = grow(gates, x, tree)?;
    let low = roots.low.expect("at least one bit is dropped").generate;
    let mut inputs = Inputs::default();
    if let Some(Node { propagate: Some(propagate), .. }) = &roots.high {
        inputs.narrow.push([propagate.clone(), low.clone()]);
    }
    inputs.words.extend(to_word(gates.party, &low, k));
    let (word, mut outputs) = exchange_word(gates, inputs, &low, k)?;
    let carry = match (roots.high, outputs.narrow.pop()) {
        (Some(high), Some(carried)) => high.generate.xor(&carried),
        _ => low,
    };
    Ok((x.iter().zip(&word).map(|(x, word)| (x >> shift).wrapping_add(*word) & mask(k)).collect(), carry))
}

/// For `k <= bits - shift`: the low carry suffices, since what wraps falls out of `k` bits.
fn requant_modular(gates: &mut Gates, x: &[u64], bits: u8, shift: u8, k: u8) -> Result<Vec<u64>, Error> {
    let rounded = add_constant(gates.party, x, 1 << (shift - 1), bits);
    let tree = tree(gates, shift, 0);
    Ok(drop_bits(gates, &rounded, shift, k, tree)?.0)
}

/// For `k > bits - shift`: with `2^(bits-1)` added, numbers are unsigned and the carry out of the whole says whether the shares
/// wrap: `floor(z / 2^shift) = (z_c >> shift) + (z_s >> shift) + low carry - wrap 2^(bits-shift)`.
fn requant_signed(gates: &mut Gates, x: &[u64], bits: u8, shift: u8, k: u8) -> Result<Vec<u64>, Error> {
    let kept = bits - shift;
    let offset = add_constant(gates.party, x, (1 << (shift - 1)) + (1 << (bits - 1)), bits);
    let tree = tree(gates, shift, kept);
    let (sum, wrap) = drop_bits(gates, &offset, shift, k, tree)?;
    unwrap(gates, &sum, &wrap, kept, k)
}

/// As [`requant_signed`] with nothing dropped.
fn extend(gates: &mut Gates, x: &[u64], bits: u8, k: u8) -> Result<Vec<u64>, Error> {
    let offset = add_constant(gates.party, x, 1 << (bits - 1), bits);
    let tree = tree(gates, 0, bits);
    let roots = grow(gates, &offset, tree)?;
    let wrap = roots.high.expect("at least one bit").generate;
    unwrap(gates, &offset, &wrap, bits, k)
}

/// `sum - wrap 2^bits - 2^(bits-1)` mod `2^k`: from shares of an unsigned number offset by `2^(bits-1)` to a signed one.
fn unwrap(gates: &mut Gates, sum: &[u64], wrap: &Bits, bits: u8, k: u8) -> Result<Vec<u64>, Error> {
    let inputs = Inputs { words: to_word(gates.party, wrap, k - bits).into_iter().collect(), ..Inputs::default() };
    let (word, _) = exchange_word(gates, inputs, wrap, k - bits)?;
    let unwrapped: Vec<u64> =
        sum.iter().zip(&word).map(|(sum, wrap)| sum.wrapping_sub(wrap << bits) & mask(k)).collect();
    Ok(add_constant(gates.party, &unwrapped, (1u64 << (bits - 1)).wrapping_neg(), k))
}

/// For proven `0 <= x < 2^(bits-1)`: the shares wrap iff one of their top bits is set, so `1 - wrap` is the product of the
/// complements, one chosen word.
fn extend_known(gates: &mut Gates, x: &[u64], bits: u8, k: u8) -> Result<Vec<u64>, Error> {
    let clear = Bits::plane(x, bits - 1).not();
    let word = match gates.party {
        Party::Client => Word::Choice(clear, k - bits),
        Party::Server => Word::Value(clear.iter().collect(), k - bits),
    };
    let outputs = gates.exchange(Inputs { words: vec![word], ..Inputs::default() })?;
    let unwrapped: Vec<u64> =
        x.iter().zip(&outputs.words[0]).map(|(x, no_wrap)| x.wrapping_add(no_wrap << bits) & mask(k)).collect();
    Ok(add_constant(gates.party, &unwrapped, (1u64 << bits).wrapping_neg(), k))
}

/// One tree: the carry into the top bit gives the sign, the low carry the shifted value, which is right where it is not negative.
fn requant_relu(gates: &mut Gates, x: &[u64], bits: u8, shift: u8, k: u8) -> Result<Vec<Vec<u64>>, Error> {
    let rounded = add_constant(gates.party, x, 1 << (shift - 1), bits);
    let tree = tree(gates, shift, bits - 1 - shift);
    let (shifted, carry) = drop_bits(gates, &rounded, shift, k, tree)?;
    let positive = complement(gates.party, &carry.xor(&Bits::plane(&rounded, bits - 1)));
    select(gates, &positive, &[(shifted, k)])
}

/// Shares of `bit * x` for each `(x, width)`. With `bit = b_c + b_s - 2 b_c b_s`, each party's share of `x` is multiplied by its own
/// bit at home and by the peer's in a chosen word: `x_p (b_p + b_q - 2 b_p b_q) = x_p b_p + b_q (1 - 2 b_p) x_p`.
fn select(gates: &mut Gates, bit: &Bits, values: &[(Vec<u64>, u8)]) -> Result<Vec<Vec<u64>>, Error> {
    let mut inputs = Inputs::default();
    for chooser in [Party::Client, Party::Server] {
        for (x, width) in values {
            inputs.words.push(if chooser == gates.party {
                Word::Choice(bit.clone(), *width)
            } else {
                let turned = bit.iter().zip(x).map(|(b, x)| (x ^ b.wrapping_neg()).wrapping_add(b) & mask(*width));
                Word::Value(turned.collect(), *width)
            });
        }
    }
    let outputs = gates.exchange(inputs)?;
    let (first, second) = outputs.words.split_at(values.len());
    let shares = values.iter().zip(first.iter().zip(second)).map(|((x, width), (first, second))| {
        let products = first.iter().zip(second).map(|(a, b)| a.wrapping_add(*b));
        bit.iter()
            .zip(x)
            .zip(products)
            .map(|((b, x), ab)| (x & b.wrapping_neg()).wrapping_add(ab) & mask(*width))
            .collect()
    });
    Ok(shares.collect())
}

/// Gilboa's product (CRYPTO 1999): with `b = sum of 2^i b_i` at its holder, `a b` is the sum of chosen words, bit `b_i` choosing
/// `2^i a` of the other party, of which only `a mod 2^(bits - i)` matters. Each party's share of `b` meets both shares of `a`.
fn multiply(gates: &mut Gates, a: &[u64], b: &[u64], bits: u8) -> Result<Vec<u64>, Error> {
    let mut inputs = Inputs::default();
    for chooser in [Party::Client, Party::Server] {
        for i in 0..bits {
            inputs.words.push(if chooser == gates.party {
                Word::Choice(Bits::plane(b, i), bits - i)
            } else {
                Word::Value(a.iter().map(|a| a & mask(bits - i)).collect(), bits - i)
            });
        }
    }
    let outputs = gates.exchange(inputs)?;
    let mut product: Vec<u64> = a.iter().zip(b).map(|(a, b)| a.wrapping_mul(*b)).collect();
    for (words, i) in outputs.words.iter().zip((0..bits).cycle()) {
        product.iter_mut().zip(words).for_each(|(product, word)| *product = product.wrapping_add(word << i));
    }
    product.iter_mut().for_each(|product| *product &= mask(bits));
    Ok(product)
}

/// The chosen word that turns a shared bit into a word mod `2^bits`: `b_c + b_s - 2 b_c b_s`, whose product matters mod
/// `2^(bits-1)` only; none at all for one bit.
fn to_word(party: Party, bit: &Bits, bits: u8) -> Option<Word> {
    let width = bits.checked_sub(1).filter(|width| *width > 0)?;
    Some(match party {
        Party::Client => Word::Choice(bit.clone(), width),
        Party::Server => Word::Value(bit.iter().map(|b| b.wrapping_neg() & mask(width)).collect(), width),
    })
}

/// Runs a flight whose last word, if any, is that of [`to_word`]; returns the word's shares.
fn exchange_word(gates: &mut Gates, inputs: Inputs, bit: &Bits, bits: u8) -> Result<(Vec<u64>, Outputs), Error> {
    let nothing = inputs.words.is_empty() && inputs.narrow.is_empty();
    let mut outputs = match nothing {
        true => Outputs::default(),
        false => gates.exchange(inputs)?,
    };
    let products = outputs.words.pop().unwrap_or_else(|| vec![0; gates.n()]);
    let words = bit.iter().zip(products).map(|(b, product)| b.wrapping_add(product << 1) & mask(bits)).collect();
    Ok((words, outputs))
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
