//! How a chunk of comparisons opens: two messages that carry all its OTs, and the digits' answers.

use fusion_catalogue::crypt_flow2::{Mill, Schedule};
use fusion_ir::Party;
use rand_core::Rng;

use crate::bits::Bits;
use crate::compare::shares::equals;
use crate::ot::Extensions;
use crate::{Channel, Error, Kind};

/// The first two messages of a chunk.
pub(super) struct Shape<'s> {
    pub schedule: &'s Schedule,
    pub n: usize,
    pub digits: Vec<Digit>,
}

/// One digit of every element: its bits, lowest first.
pub(super) struct Digit {
    bits: Vec<Bits>,
    lowest: bool,
}

/// A node of a tree: whether the server's digits are below the client's, and, but where the lowest
/// digit is among them, equal.
pub(super) struct Node {
    pub below: Bits,
    pub equal: Option<Bits>,
}

/// What the first two messages leave.
pub(super) struct Opened {
    /// Of every digit.
    pub leaves: Vec<Node>,
    /// Triples for products with one other factor: both factors, their product.
    pub narrow: [Bits; 3],
    /// For those with two: the factors, their products.
    pub wide: [Bits; 5],
    /// Choices and pads of the words that this party receives.
    pub received: (Bits, Vec<u64>),
    /// Pads of those that it sends.
    pub sent: [Vec<u64>; 2],
}

impl Shape<'_> {
    /// Lengths of the sequences of triples: with two other factors, and halves of those with one.
    fn triples(&self) -> [usize; 2] {
        let [narrow, wide] = self.schedule.products();
        [self.n * wide, (self.n * narrow).div_ceil(2)]
    }

    /// The client's leaves, and what is left for gates.
    pub fn client(&self, channel: &mut dyn Channel, extensions: &mut Extensions) -> Result<Opened, Error> {
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
        Ok(Opened { leaves, narrow, wide: [x, y, z, product, product2], received, sent })
    }

    /// The server's.
    pub fn server(&self, channel: &mut dyn Channel, extensions: &mut Extensions) -> Result<Opened, Error> {
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
        Ok(Opened { leaves, narrow, wide: [x, y, z, product, product2], received, sent })
    }

    fn leaves(&self, shares: impl Iterator<Item = [Bits; 2]>) -> Vec<Node> {
        let node =
            |(digit, [below, equal]): (&Digit, [Bits; 2])| Node { below, equal: (!digit.lowest).then_some(equal) };
        self.digits.iter().zip(shares).map(node).collect()
    }
}

/// What the server answered.
struct Answers {
    bits: Bits,
    taken: usize,
}

impl Answers {
    /// The client's shares: the pad and, for every choice but 0, the answer where it is the chosen
    /// one.
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

/// The server's shares, the pads of choice 0 plus its entries; appends the masked differences of
/// all other choices to the answers.
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

/// The digits of every number, lowest first.
pub(super) fn digits(mill: &Mill, numbers: &[u64]) -> Vec<Digit> {
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
