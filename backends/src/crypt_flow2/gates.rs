//! Millionaires' protocols, products of shared bits, and products of bits and words.
//!
//! **Millionaires' protocol** (section 3.1, algorithm 1): of every pair of digits the parties get shares mod 2 of whether the server's
//! is below and whether both are equal, by an OT of one among 16 that the client receives with its digit as choice. The server's share is
//! the pad of choice 0 plus what choice 0 means, so that it need not be sent. Then neighbours merge: `below` of both is that of the
//! upper ones, or where these are equal that of the lower ones.
//!
//! **Products of shared bits** use triples made by OTs of one among many (section 3.1, appendix A): the client chooses with its random
//! shares of the factors, the server answers with its share of their product. Two products with a common factor take a choice of three
//! bits, two others one of four.
//!
//! **Words**: receiver's bit `b` times sender's word `v` mod `2^bits` by a correlated OT: with pads `r_0, r_1` the sender sends
//! `e = v + r_0 - r_1`, the receiver `d = b + c`. The shares of `c v` are `r_c + c e` and `-r_0`, and `b v = d v + (1 - 2 d) c v`.

use fusion_catalogue::crypt_flow2::{Mill, Schedule};
use fusion_ir::Party;
use fusion_ir::types::mask;
use rand_core::Rng;

use super::Ctx;
use crate::bits::{Bits, pack, unpack};
use crate::ot::Extensions;
use crate::{Channel, Error, Kind};

/// This party's part of the product of a bit and a word of so many bits.
pub(super) enum Word {
    /// The bits of the party that chooses.
    Choice(Bits, u8),
    /// The other party's words.
    Value(Vec<u64>, u8),
}

/// What is left of one chunk's OTs.
pub(super) struct Gates<'a> {
    /// Who this is.
    pub party: Party,
    channel: &'a mut dyn Channel,
    n: usize,
    narrow: Queue<3>,
    wide: Queue<5>,
    received: (Bits, Vec<u64>),
    sent: [Vec<u64>; 2],
    words_received: usize,
    words_sent: usize,
}

/// Sequences of bits, taken `n` at a time.
struct Queue<const N: usize> {
    bits: [Bits; N],
    taken: usize,
}

impl<const N: usize> Queue<N> {
    fn new(bits: [Bits; N]) -> Queue<N> {
        Queue { bits, taken: 0 }
    }

    fn take(&mut self, n: usize) -> [Bits; N] {
        let start = self.taken;
        self.taken += n;
        self.bits.each_ref().map(|bits| bits.slice(start, n))
    }
}

/// A node of a tree: whether the server's digits are below the client's, and, but where the lowest digit is among them, equal.
struct Node {
    below: Bits,
    equal: Option<Bits>,
}

impl<'a> Gates<'a> {
    /// Runs the millionaires' protocols of a schedule on `n` elements, `numbers` being this party's, one sequence for each; returns
    /// shares mod 2 of whether the server's number is below the client's.
    pub fn open(
        ctx: &'a mut Ctx,
        schedule: &Schedule,
        n: usize,
        numbers: &[Vec<u64>],
    ) -> Result<(Gates<'a>, Vec<Bits>), Error> {
        let digits = schedule.mills.iter().zip(numbers).flat_map(|(mill, numbers)| digits(mill, numbers)).collect();
        let shape = Shape { schedule, n, digits };
        let (leaves, mut gates) = match ctx.party {
            Party::Client => shape.client(ctx.channel, ctx.extensions)?,
            Party::Server => shape.server(ctx.channel, ctx.extensions)?,
        };
        let mut leaves = leaves.into_iter();
        let trees = schedule.mills.iter().map(|mill| leaves.by_ref().take(mill.digits().len()).collect()).collect();
        let below = gates.merge(trees)?;
        Ok((gates, below))
    }

    /// Merges every tree to its root, level by level, all trees at once.
    fn merge(&mut self, mut trees: Vec<Vec<Node>>) -> Result<Vec<Bits>, Error> {
        while trees.iter().any(|tree| tree.len() > 1) {
            let (mut narrow, mut wide) = (Vec::new(), Vec::new());
            for [lower, upper] in trees.iter().flat_map(|tree| tree.as_chunks().0) {
                let equal = upper.equal.clone().expect("only the lowest digit lacks it");
                match &lower.equal {
                    None => narrow.push([equal, lower.below.clone()]),
                    Some(lower_equal) => wide.push([equal, lower.below.clone(), lower_equal.clone()]),
                }
            }
            let (narrow, wide) = self.products(&narrow, &wide)?;
            let (mut narrow, mut wide) = (narrow.into_iter(), wide.into_iter());
            for tree in &mut trees {
                let mut nodes = std::mem::take(tree).into_iter();
                while let Some(lower) = nodes.next() {
                    let Some(upper) = nodes.next() else {
                        tree.push(lower);
                        break;
                    };
                    let (carried, equal) = match lower.equal {
                        None => (narrow.next(), None),
                        Some(_) => wide.next().map(|[below, equal]| (below, equal)).unzip(),
                    };
                    let carried = carried.expect("one product for each merge");
                    tree.push(Node { below: upper.below.xor(&carried), equal });
                }
            }
        }
        Ok(trees.into_iter().flatten().map(|root| root.below).collect())
    }

    /// Products of shared bits, in one exchange: `x y`, and `x y` with `x z`.
    fn products(&mut self, narrow: &[[Bits; 2]], wide: &[[Bits; 3]]) -> Result<(Vec<Bits>, Vec<[Bits; 2]>), Error> {
        let mut sent = Bits::default();
        let mut open = |own: &Bits, random: &Bits| {
            let opened = own.xor(random);
            sent.extend(&opened);
            opened
        };
        let mut pending = Vec::with_capacity(narrow.len() + 2 * wide.len());
        for [x, y] in narrow {
            let [a, b, ab] = self.narrow.take(self.n);
            pending.push((None, open(x, &a), open(y, &b), [a, b, ab]));
        }
        for [x, y, z] in wide {
            let [a, b, b2, ab, ab2] = self.wide.take(self.n);
            let d = open(x, &a);
            let place = pending.len();
            pending.push((None, d.clone(), open(y, &b), [a.clone(), b, ab]));
            pending.push((Some(place), d, open(z, &b2), [a, b2, ab2]));
        }
        self.channel.send(Kind::Comparison, sent.to_bytes())?;
        let bytes = self.channel.receive(Kind::Comparison, sent.len().div_ceil(8))?;
        let mut theirs = Queue::new([Bits::from_bytes(&bytes, sent.len())?]);
        let mut products = Vec::with_capacity(pending.len());
        let mut opened: Vec<Bits> = Vec::with_capacity(pending.len());
        for (common, own_d, own_e, [a, b, ab]) in pending {
            let d = match common {
                Some(place) => opened[place].clone(),
                None => own_d.xor(&theirs.take(self.n)[0]),
            };
            let e = own_e.xor(&theirs.take(self.n)[0]);
            let share = ab.xor(&a.and(&e)).xor(&d.and(&b));
            products.push(if self.party == Party::Client { share.xor(&d.and(&e)) } else { share });
            opened.push(d);
        }
        let pairs = products.split_off(narrow.len());
        Ok((products, pairs.as_chunks().0.to_vec()))
    }

    /// Products of bits and words, in one exchange; shares of each mod its width.
    pub fn words(&mut self, inputs: Vec<Word>) -> Result<Vec<Vec<u64>>, Error> {
        let (mut flips, mut words) = (Bits::default(), Vec::new());
        let mut pending = Vec::with_capacity(inputs.len());
        for input in inputs {
            match input {
                Word::Choice(choice, bits) => {
                    let taken = self.words_received..self.words_received + self.n;
                    self.words_received = taken.end;
                    let random = self.received.0.slice(taken.start, self.n);
                    let flip = choice.xor(&random);
                    flips.extend(&flip);
                    pending.push(Pending::Choice { flip, random, pad: self.received.1[taken].to_vec(), bits });
                }
                Word::Value(value, bits) => {
                    let taken = self.words_sent..self.words_sent + self.n;
                    self.words_sent = taken.end;
                    let [zero, one] = self.sent.each_ref().map(|words| &words[taken.clone()]);
                    let masked = value
                        .iter()
                        .zip(zero.iter().zip(one))
                        .map(|(v, (r0, r1))| v.wrapping_add(r0.wrapping_sub(*r1)));
                    words.extend(pack(&masked.collect::<Vec<u64>>(), bits));
                    pending.push(Pending::Value { value, zero: zero.to_vec(), bits });
                }
            }
        }
        let flips_received = self.n * pending.iter().filter(|word| matches!(word, Pending::Value { .. })).count();
        let words_received = pending.iter().map(|word| match word {
            Pending::Choice { bits, .. } => fusion_catalogue::packed_bytes(self.n, *bits) as usize,
            Pending::Value { .. } => 0,
        });
        let expected = flips_received.div_ceil(8) + words_received.sum::<usize>();
        let mut message = flips.to_bytes();
        message.append(&mut words);
        self.channel.send(Kind::Comparison, message)?;
        let message = self.channel.receive(Kind::Comparison, expected)?;
        let (theirs, mut words) = message.split_at(flips_received.div_ceil(8));
        let mut theirs = Queue::new([Bits::from_bytes(theirs, flips_received)?]);
        pending.into_iter().map(|word| word.finish(self.n, &mut theirs, &mut words)).collect()
    }
}

/// A word after sending.
enum Pending {
    Choice { flip: Bits, random: Bits, pad: Vec<u64>, bits: u8 },
    Value { value: Vec<u64>, zero: Vec<u64>, bits: u8 },
}

impl Pending {
    fn finish(self, n: usize, theirs: &mut Queue<1>, words: &mut &[u8]) -> Result<Vec<u64>, Error> {
        // (1 - 2 d) y without a branch on d.
        let turned = |d: u64, y: u64| (y ^ d.wrapping_neg()).wrapping_add(d);
        Ok(match self {
            Pending::Choice { flip, random, pad, bits } => {
                let (part, rest) = words.split_at(fusion_catalogue::packed_bytes(n, bits) as usize);
                *words = rest;
                let opened = flip.iter().zip(random.iter()).zip(pad.iter().zip(unpack(part, n, bits)?));
                opened
                    .map(|((d, c), (pad, e))| turned(d, pad.wrapping_add(e & c.wrapping_neg())) & mask(bits))
                    .collect()
            }
            Pending::Value { value, zero, bits } => {
                let [flips] = theirs.take(n);
                let share = |(d, (v, zero)): (u64, (&u64, &u64))| {
                    (v & d.wrapping_neg()).wrapping_sub(turned(d, *zero)) & mask(bits)
                };
                flips.iter().zip(value.iter().zip(&zero)).map(share).collect()
            }
        })
    }
}

/// The first two messages of a chunk.
struct Shape<'s> {
    schedule: &'s Schedule,
    n: usize,
    digits: Vec<Digit>,
}

/// One digit of every element: its bits, lowest first.
struct Digit {
    bits: Vec<Bits>,
    lowest: bool,
}

impl Shape<'_> {
    /// Lengths of the sequences of triples: with two other factors, and halves of those with one.
    fn triples(&self) -> [usize; 2] {
        let [narrow, wide] = self.schedule.products();
        [self.n * wide, (self.n * narrow).div_ceil(2)]
    }

    fn client<'a>(
        &self,
        channel: &'a mut dyn Channel,
        extensions: &mut Extensions,
    ) -> Result<(Vec<Node>, Gates<'a>), Error> {
        let [wide, half] = self.triples();
        let mut message = Vec::with_capacity(self.schedule.opening_bytes(self.n) as usize);
        let choose = |choices: Vec<Bits>, extensions: &mut Extensions, message: &mut Vec<u8>| {
            let pads = extensions.receive_many(&choices, message);
            (choices, pads)
        };
        let mut chosen = Vec::with_capacity(self.digits.len() + 2);
        for digit in &self.digits {
            chosen.push(choose(digit.bits.clone(), extensions, &mut message));
        }
        for (width, n) in [(3, wide), (4, half)] {
            let random = (0..width).map(|_| random(extensions, n)).collect();
            chosen.push(choose(random, extensions, &mut message));
        }
        let received = extensions.receive_words(self.schedule.received_by(Party::Client, self.n), &mut message);
        channel.send(Kind::OtExtension, message)?;

        let answer = match self.schedule.answer_bytes(self.n) {
            0 => Vec::new(),
            bytes => channel.receive(Kind::OtExtension, bytes as usize)?,
        };
        let mut rest = &answer[..];
        let sent = extensions.send_words(self.schedule.received_by(Party::Server, self.n), &mut rest)?;
        let mut answers = Answers { bits: Bits::from_bytes(rest, self.schedule.answered_bits(self.n))?, taken: 0 };
        let results = self.digits.iter().map(|digit| if digit.lowest { 1 } else { 2 }).chain([2, 2]);
        let mut shares: Vec<(Vec<Bits>, [Bits; 2])> = chosen
            .into_iter()
            .zip(results)
            .map(|((choices, pads), results)| answers.open(choices, pads, results))
            .collect();
        let (four, narrow) = shares.pop().expect("two sequences of triples");
        let (three, wide) = shares.pop().expect("two sequences of triples");
        let [a, b, a2, b2]: [Bits; 4] = four.try_into().expect("four choice bits");
        let [x, y, z]: [Bits; 3] = three.try_into().expect("three choice bits");
        let leaves = self.leaves(shares.into_iter().map(|(_, share)| share));
        let narrow = join([[a, a2], [b, b2], narrow]);
        let [product, product2] = wide;
        Ok((leaves, Gates::new(Party::Client, channel, self.n, narrow, [x, y, z, product, product2], received, sent)))
    }

    fn server<'a>(
        &self,
        channel: &'a mut dyn Channel,
        extensions: &mut Extensions,
    ) -> Result<(Vec<Node>, Gates<'a>), Error> {
        let [wide, half] = self.triples();
        let opening = channel.receive(Kind::OtExtension, self.schedule.opening_bytes(self.n) as usize)?;
        let mut rest = &opening[..];
        let mut answers = Bits::default();
        let mut shares = Vec::with_capacity(self.digits.len());
        for digit in &self.digits {
            let pads = extensions.send_many(digit.bits.len(), self.n, &mut rest)?;
            let results = if digit.lowest { 1 } else { 2 };
            shares.push(answer(&pads, results, |choice| order(&digit.bits, choice), &mut answers));
        }
        let factor =
            |share: &Bits, choice: usize, bit: usize| if choice >> bit & 1 == 1 { share.not() } else { share.clone() };
        let [x, y, z] = [(); 3].map(|()| random(extensions, wide));
        let pads = extensions.send_many(3, wide, &mut rest)?;
        let entries = |choice| {
            let first = factor(&x, choice, 0);
            [first.and(&factor(&y, choice, 1)), first.and(&factor(&z, choice, 2))]
        };
        let [product, product2] = answer(&pads, 2, entries, &mut answers);
        let [a, b, a2, b2] = [(); 4].map(|()| random(extensions, half));
        let pads = extensions.send_many(4, half, &mut rest)?;
        let entries = |choice| {
            let first = factor(&a, choice, 0).and(&factor(&b, choice, 1));
            [first, factor(&a2, choice, 2).and(&factor(&b2, choice, 3))]
        };
        let narrow = answer(&pads, 2, entries, &mut answers);
        let sent = extensions.send_words(self.schedule.received_by(Party::Client, self.n), &mut rest)?;

        let mut message = Vec::with_capacity(self.schedule.answer_bytes(self.n) as usize);
        let received = extensions.receive_words(self.schedule.received_by(Party::Server, self.n), &mut message);
        message.extend(answers.to_bytes());
        if !message.is_empty() {
            channel.send(Kind::OtExtension, message)?;
        }
        let leaves = self.leaves(shares.into_iter());
        let narrow = join([[a, a2], [b, b2], narrow]);
        Ok((leaves, Gates::new(Party::Server, channel, self.n, narrow, [x, y, z, product, product2], received, sent)))
    }

    fn leaves(&self, shares: impl Iterator<Item = [Bits; 2]>) -> Vec<Node> {
        let node =
            |(digit, [below, equal]): (&Digit, [Bits; 2])| Node { below, equal: (!digit.lowest).then_some(equal) };
        self.digits.iter().zip(shares).map(node).collect()
    }
}

impl<'a> Gates<'a> {
    fn new(
        party: Party,
        channel: &'a mut dyn Channel,
        n: usize,
        narrow: [Bits; 3],
        wide: [Bits; 5],
        received: (Bits, Vec<u64>),
        sent: [Vec<u64>; 2],
    ) -> Gates<'a> {
        let (narrow, wide) = (Queue::new(narrow), Queue::new(wide));
        Gates { party, channel, n, narrow, wide, received, sent, words_received: 0, words_sent: 0 }
    }
}

/// What the server answered.
struct Answers {
    bits: Bits,
    taken: usize,
}

impl Answers {
    /// The client's shares: the pad and, for every choice but 0, the answer where it is the chosen one.
    fn open(&mut self, choices: Vec<Bits>, pads: [Bits; 2], results: usize) -> (Vec<Bits>, [Bits; 2]) {
        let n = choices[0].len();
        let mut shares = pads;
        let last = (1usize << choices.len()) - 1;
        for choice in 1..=last {
            let chosen = equals(&choices, choice);
            for share in shares.iter_mut().take(results) {
                *share = share.xor(&self.bits.slice(self.taken, n).and(&chosen));
                self.taken += n;
            }
        }
        (choices, shares)
    }
}

/// The server's shares, the pads of choice 0 plus its entries; appends the masked differences of all other choices to the answers.
fn answer(pads: &[[Bits; 2]], results: usize, entries: impl Fn(usize) -> [Bits; 2], answers: &mut Bits) -> [Bits; 2] {
    let masked = |choice: usize| {
        let entries = entries(choice);
        [0, 1].map(|result| entries[result].xor(&pads[choice][result]))
    };
    let own = masked(0);
    for choice in 1..pads.len() {
        let masked = masked(choice);
        (0..results).for_each(|result| answers.extend(&masked[result].xor(&own[result])));
    }
    own
}

/// Whether the server's digit is below `choice`, and whether it is `choice`.
fn order(bits: &[Bits], choice: usize) -> [Bits; 2] {
    let below = bits.iter().enumerate().fold(Bits::zeros(bits[0].len()), |below, (i, bit)| match choice >> i & 1 {
        0 => below.and(&bit.not()),
        _ => bit.and(&below.not()).not(),
    });
    [below, equals(bits, choice)]
}

/// Whether the number of these bits, lowest first, is `number`.
fn equals(bits: &[Bits], number: usize) -> Bits {
    let matches = bits.iter().enumerate().map(|(i, bit)| if number >> i & 1 == 1 { bit.clone() } else { bit.not() });
    matches.reduce(|all, bit| all.and(&bit)).unwrap_or_default()
}

/// The digits of every number, lowest first.
fn digits(mill: &Mill, numbers: &[u64]) -> Vec<Digit> {
    let mut planes = (0..mill.bits).map(|i| Bits::plane(numbers, i as u8));
    let widths = mill.digits().into_iter().enumerate();
    widths.map(|(index, width)| Digit { bits: planes.by_ref().take(width).collect(), lowest: index == 0 }).collect()
}

/// Both halves of each, one after the other.
fn join(halves: [[Bits; 2]; 3]) -> [Bits; 3] {
    halves.map(|[mut first, second]| {
        first.extend(&second);
        first
    })
}

fn random(extensions: &mut Extensions, n: usize) -> Bits {
    Bits::from_words((0..n.div_ceil(64)).map(|_| extensions.rng.next_u64()).collect(), n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_those_of_numbers() {
        for width in 1..=4u8 {
            let numbers: Vec<u64> = (0..1 << width).collect();
            let bits: Vec<Bits> = (0..width).map(|i| Bits::plane(&numbers, i)).collect();
            for choice in 0..1usize << width {
                let [below, equal] = order(&bits, choice);
                assert!(below.iter().zip(&numbers).all(|(bit, x)| bit == u64::from(*x < choice as u64)));
                assert!(equal.iter().zip(&numbers).all(|(bit, x)| bit == u64::from(*x == choice as u64)));
            }
        }
    }
}
