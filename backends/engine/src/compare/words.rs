//! Products of one party's bit and the other's word, and what is made of them alone: multiplexers,
//! words of shared bits, products.
//!
//! **Chosen word** (CrypTFlow2, section 3; correlated OT), receiver's bit `b` times sender's word
//! `v` mod `2^bits`, with pads `r_0, r_1` at the sender of a random OT and `c, r_c` at its
//! receiver: the sender sends `e = v + r_0 - r_1`, the receiver `d = b + c` (mod 2). The shares of
//! `c v` are `r_c + c e` and `-r_0`, and `b v = d v + (1 - 2 d) c v`.

use fusion_catalogue::compare::square_words;
use fusion_ir::Party;
use fusion_ir::types::mask;
use rayon::prelude::*;

use super::shares::add_constant;
use crate::Error;
use crate::bits::{Bits, each_bit, pack, unpack};
use crate::threads::WORTHWHILE;

/// This party's part of the product of a bit and a word of so many bits.
pub(crate) enum Word {
    /// The bits of the party that chooses.
    Choice(Bits, u8),
    /// The other party's words.
    Value(Vec<u64>, u8),
}

/// Who can multiply bits and words, on elements of a number known to both.
pub(crate) trait Words {
    /// Who this is.
    fn party(&self) -> Party;

    /// All products in one exchange; shares of each mod its width.
    fn words(&mut self, inputs: Vec<Word>) -> Result<Vec<Vec<u64>>, Error>;
}

/// A chosen word after sending.
pub(crate) enum Pending {
    Choice { d: Bits, c: Bits, pad: Vec<u64>, bits: u8 },
    Value { value: Vec<u64>, zero: Vec<u64>, bits: u8 },
}

impl Pending {
    /// After the choice `choice` of words of `bits` bits, with this random OT. Appends what is
    /// opened.
    pub fn choose(choice: Bits, bits: u8, (c, pad): (Bits, Vec<u64>), opened: &mut Bits) -> Pending {
        let d = choice.xor(&c);
        opened.extend(&d);
        Pending::Choice { d, c, pad, bits }
    }

    /// After giving `value`, with this random OT. Appends the masked words.
    pub fn give(value: Vec<u64>, bits: u8, [zero, mut one]: [Vec<u64>; 2], masked: &mut Vec<u8>) -> Pending {
        let masked_value = |((one, zero), v): ((&mut u64, &u64), &u64)| *one = v.wrapping_add(*zero).wrapping_sub(*one);
        one.par_iter_mut().zip(&zero).zip(&value).with_min_len(WORTHWHILE).for_each(masked_value);
        masked.extend(pack(&one, bits));
        Pending::Value { value, zero, bits }
    }

    /// The share of the product, from the peer's `opened` bits or off the front of its masked
    /// words.
    pub fn finish(self, opened: impl FnOnce() -> Bits, masked: &mut &[u8]) -> Result<Vec<u64>, Error> {
        // (1 - 2 d) y without a branch on d.
        let signed = |d: u64, y: u64| (y ^ d.wrapping_neg()).wrapping_add(d);
        Ok(match self {
            Pending::Choice { d, c, pad, bits } => {
                let (part, rest) = masked.split_at(fusion_catalogue::packed_bytes(pad.len(), bits) as usize);
                *masked = rest;
                let mut words = unpack(part, pad.len(), bits)?;
                let mask = mask(bits);
                let parts = words.par_chunks_mut(WORTHWHILE).zip(pad.par_chunks(WORTHWHILE));
                parts.zip(d.parts(WORTHWHILE)).zip(c.parts(WORTHWHILE)).for_each(|(((words, pad), d), c)| {
                    for ((e, pad), (d, c)) in words.iter_mut().zip(pad).zip(each_bit(d).zip(each_bit(c))) {
                        *e = signed(d, pad.wrapping_add(*e & c.wrapping_neg())) & mask;
                    }
                });
                words
            }
            Pending::Value { mut value, zero, bits } => {
                let (opened, mask) = (opened(), mask(bits));
                let parts = value.par_chunks_mut(WORTHWHILE).zip(zero.par_chunks(WORTHWHILE));
                parts.zip(opened.parts(WORTHWHILE)).for_each(|((value, zero), d)| {
                    for ((v, zero), d) in value.iter_mut().zip(zero).zip(each_bit(d)) {
                        *v = (*v & d.wrapping_neg()).wrapping_sub(signed(d, *zero)) & mask;
                    }
                });
                value
            }
        })
    }
}

/// `f` of the number and the value of every bit.
fn each(bit: &Bits, f: impl Fn(usize, u64) -> u64 + Sync) -> Vec<u64> {
    let mut words = vec![0; bit.len()];
    words.par_chunks_mut(WORTHWHILE).zip(bit.parts(WORTHWHILE)).enumerate().for_each(|(part, (words, bit))| {
        let numbers = part * WORTHWHILE..;
        words.iter_mut().zip(numbers.zip(each_bit(bit))).for_each(|(word, (i, b))| *word = f(i, b));
    });
    words
}

/// The chosen word that turns a bit shared mod 2 into a word mod `2^bits`: `b_c + b_s - 2 b_c b_s`,
/// whose product matters mod `2^(bits-1)` only; none at all for one bit.
pub(crate) fn to_word(party: Party, bit: &Bits, bits: u8) -> Option<Word> {
    let width = bits.checked_sub(1).filter(|width| *width > 0)?;
    Some(match party {
        Party::Client => Word::Choice(bit.clone(), width),
        Party::Server => Word::Value(each(bit, |_, b| b.wrapping_neg() & mask(width)), width),
    })
}

/// The share of the word mod `2^bits` of a bit, from that of the product of [`to_word`].
pub(crate) fn from_product(bit: &Bits, product: Option<Vec<u64>>, bits: u8) -> Vec<u64> {
    match product {
        Some(product) => each(bit, |i, b| b.wrapping_add(product[i] << 1) & mask(bits)),
        None => each(bit, |_, b| b & mask(bits)),
    }
}

/// Words mod `2^bits` of bits shared mod 2, all in one exchange, or none if they are of one bit.
pub(crate) fn to_words(words: &mut dyn Words, bits: &[(&Bits, u8)]) -> Result<Vec<Vec<u64>>, Error> {
    let party = words.party();
    let inputs: Vec<Word> = bits.iter().filter_map(|(bit, bits)| to_word(party, bit, *bits)).collect();
    let mut products = if inputs.is_empty() { Vec::new() } else { words.words(inputs)? }.into_iter();
    let word = |(bit, bits): &(&Bits, u8)| {
        let product = if *bits > 1 { products.next() } else { None };
        from_product(bit, product, *bits)
    };
    Ok(bits.iter().map(word).collect())
}

/// The chosen words by which [`select`] multiplies `values` by a shared bit.
pub(crate) fn selection(party: Party, bit: &Bits, values: &[(Vec<u64>, u8)]) -> Vec<Word> {
    let mut inputs = Vec::with_capacity(2 * values.len());
    for chooser in [Party::Client, Party::Server] {
        for (x, width) in values {
            inputs.push(if chooser == party {
                Word::Choice(bit.clone(), *width)
            } else {
                let turned = each(bit, |i, b| (x[i] ^ b.wrapping_neg()).wrapping_add(b) & mask(*width));
                Word::Value(turned, *width)
            });
        }
    }
    inputs
}

/// What [`select`] gives, from the products of its [`selection`].
pub(crate) fn selected(bit: &Bits, values: &[(Vec<u64>, u8)], products: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let (first, second) = products.split_at(values.len());
    let shares = values.iter().zip(first.iter().zip(second)).map(|((x, width), (first, second))| {
        let sum = |i: usize, b: u64| (x[i] & b.wrapping_neg()).wrapping_add(first[i]).wrapping_add(second[i]);
        each(bit, |i, b| sum(i, b) & mask(*width))
    });
    shares.collect()
}

/// The multiplexer (section 3.2, algorithm 6): shares of `bit * x` for each `(x, width)`. With
/// `bit = b_c + b_s - 2 b_c b_s`, each party's share of `x` is multiplied by its own bit at home
/// and by the peer's in a chosen word:
/// `x_p (b_p + b_q - 2 b_p b_q) = x_p b_p + b_q (1 - 2 b_p) x_p`.
pub(crate) fn select(words: &mut dyn Words, bit: &Bits, values: &[(Vec<u64>, u8)]) -> Result<Vec<Vec<u64>>, Error> {
    let products = words.words(selection(words.party(), bit, values))?;
    Ok(selected(bit, values, &products))
}

/// `sum - wrap 2^bits - 2^(bits-1)` mod `2^k`: from shares of an unsigned number offset by
/// `2^(bits-1)` to a signed one, `wrap` being shared mod `2^(k-bits)`.
pub(crate) fn unwrap(party: Party, sum: &[u64], wrap: &[u64], bits: u8, k: u8) -> Vec<u64> {
    let unwrapped: Vec<u64> =
        sum.iter().zip(wrap).map(|(sum, wrap)| sum.wrapping_sub(wrap << bits) & mask(k)).collect();
    add_constant(party, &unwrapped, (1u64 << (bits - 1)).wrapping_neg(), k)
}

/// For proven `0 <= x < 2^(bits-1)`: the shares wrap iff one of their top bits is set, so
/// `1 - wrap` is the product of the complements, one word.
pub(crate) fn extend_known(words: &mut dyn Words, x: &[u64], bits: u8, k: u8) -> Result<Vec<u64>, Error> {
    let clear = Bits::plane(x, bits - 1).not();
    let word = match words.party() {
        Party::Client => Word::Choice(clear, k - bits),
        Party::Server => Word::Value(clear.iter().collect(), k - bits),
    };
    let no_wrap = words.words(vec![word])?.swap_remove(0);
    let sum: Vec<u64> = x.iter().zip(&no_wrap).map(|(x, no_wrap)| x.wrapping_add(no_wrap << bits) & mask(k)).collect();
    Ok(add_constant(words.party(), &sum, (1u64 << bits).wrapping_neg(), k))
}

/// Shares of `x^2`: each party's share squared, and twice the product of both, by the words of
/// [`square_words`].
pub(crate) fn square(words: &mut dyn Words, x: &[u64], bits: u8) -> Result<Vec<u64>, Error> {
    let [client, server] = square_words(bits);
    let low = client.len() as u8;
    // Who chooses by which of its bits, from what is above which place of the other's share.
    let of =
        |party, widths: Vec<u8>, above| widths.into_iter().zip(0..).map(move |(width, i)| (party, i, above, width));
    let terms: Vec<(Party, u8, u8, u8)> = of(Party::Client, client, 0).chain(of(Party::Server, server, low)).collect();
    let input = |&(chooser, i, above, width): &(Party, u8, u8, u8)| match chooser == words.party() {
        true => Word::Choice(Bits::plane(x, i), width),
        false => Word::Value(x.iter().map(|x| (x >> above) & mask(width)).collect(), width),
    };
    let inputs = terms.iter().map(input).collect();
    let mut squares: Vec<u64> = x.iter().map(|x| x.wrapping_mul(*x)).collect();
    for (words, (_, i, above, _)) in words.words(inputs)?.iter().zip(&terms) {
        squares.iter_mut().zip(words).for_each(|(square, word)| *square = square.wrapping_add(word << (i + above + 1)));
    }
    squares.iter_mut().for_each(|square| *square &= mask(bits));
    Ok(squares)
}

/// Shares of `a b` (Gilboa, CRYPTO 1999): with `b = sum of 2^i b_i` at its holder, `a b` is the sum
/// of chosen words, bit `b_i` choosing `2^i a` of the other party, of which only
/// `a mod 2^(bits - i)` matters. Each party's share of `b` meets both shares of `a`.
pub(crate) fn multiply(words: &mut dyn Words, a: &[u64], b: &[u64], bits: u8) -> Result<Vec<u64>, Error> {
    let mut inputs = Vec::with_capacity(2 * usize::from(bits));
    for chooser in [Party::Client, Party::Server] {
        for i in 0..bits {
            inputs.push(if chooser == words.party() {
                Word::Choice(Bits::plane(b, i), bits - i)
            } else {
                Word::Value(a.iter().map(|a| a & mask(bits - i)).collect(), bits - i)
            });
        }
    }
    let mut product: Vec<u64> = a.iter().zip(b).map(|(a, b)| a.wrapping_mul(*b)).collect();
    for (words, i) in words.words(inputs)?.iter().zip((0..bits).cycle()) {
        product.iter_mut().zip(words).for_each(|(product, word)| *product = product.wrapping_add(word << i));
    }
    product.iter_mut().for_each(|product| *product &= mask(bits));
    Ok(product)
}
