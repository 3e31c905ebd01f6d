//! What comparisons cost in CrypTFlow2's way: millionaires' protocols over digits of up to four
//! bits, then words by correlated OTs.

use fusion_ir::Party;
use fusion_ir::types::Sign;

use super::ot::{CODE_BITS, iknp_bytes, kkot_bytes};
use crate::compare::{Comparison, square_words};
use crate::ot::SECURITY_BITS;
use crate::{Cost, Primitive, packed_bytes};

/// Bits of a digit (the paper's `m`, its optimum too).
pub const DIGIT_BITS: usize = 4;

/// One run of the millionaires' protocol (section 3.1, algorithm 1) per element: whether the
/// server's number of `bits` bits is below the client's, shared mod 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mill {
    /// Bits of the numbers, at least one.
    pub bits: usize,
}

impl Mill {
    /// Bits of the digits, lowest first. Equality of the lowest digits matters to nothing above
    /// them.
    pub fn digits(&self) -> Vec<usize> {
        let count = self.bits.div_ceil(DIGIT_BITS);
        (0..count).map(|index| self.bits / count + usize::from(index < self.bits % count)).collect()
    }

    /// Products of every level of the tree: one where the lowest digit takes part, in which only
    /// the order matters, and how many others, each two products with one factor in common.
    pub fn levels(&self) -> Vec<[usize; 2]> {
        let mut nodes = self.digits().len();
        let mut levels = Vec::new();
        while nodes > 1 {
            levels.push([1, nodes / 2 - 1]);
            nodes = nodes.div_ceil(2);
        }
        levels
    }

    /// Masked bits with which the server answers a digit: for every choice but 0, whether it is
    /// below and, but for the lowest digit, whether it is equal.
    pub fn answers(width: usize, lowest: bool) -> usize {
        ((1 << width) - 1) * if lowest { 1 } else { 2 }
    }
}

/// Products of one party's bit and the other's word, in one exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Widths of the words of the server that the client's bits choose.
    pub client_chooses: Vec<u8>,
    /// Widths of the words of the client that the server's bits choose.
    pub server_chooses: Vec<u8>,
}

impl Words {
    /// Widths of the words that `party`'s bits choose.
    pub fn chosen_by(&self, party: Party) -> &[u8] {
        match party {
            Party::Client => &self.client_chooses,
            Party::Server => &self.server_chooses,
        }
    }

    /// Payload of `party`'s message for `n` elements: a bit for each word that it chooses, then its
    /// masked words.
    pub fn payload_bytes(&self, party: Party, n: usize) -> u64 {
        let words = self.chosen_by(party.peer()).iter().map(|bits| packed_bytes(n, *bits));
        packed_bytes(n * self.chosen_by(party).len(), 1) + words.sum::<u64>()
    }
}

/// How an elementwise operation proceeds: all its millionaires' protocols side by side, then words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Comparisons of private numbers.
    pub mills: Vec<Mill>,
    /// Exchanges of words, none empty.
    pub words: Vec<Words>,
}

impl Schedule {
    /// The schedule of `operation`.
    pub fn of(operation: &Comparison) -> Schedule {
        let mill = |bits: u8| Mill { bits: usize::from(bits) };
        let both = |widths: &[u8]| Words { client_chooses: widths.to_vec(), server_chooses: widths.to_vec() };
        let client = |widths: Vec<u8>| Words { client_chooses: widths, ..Words::default() };
        let (mills, mut words) = match *operation {
            Comparison::Sign { bits } => (vec![mill(bits - 1)], vec![]),
            Comparison::Step { bits, k } => (vec![mill(bits - 1)], vec![client(to_word(k))]),
            Comparison::Relu { bits } | Comparison::Max { bits } => (vec![mill(bits - 1)], vec![both(&[bits])]),
            Comparison::MaxIndex { bits, index_bits } => (vec![mill(bits - 1)], vec![both(&[bits, index_bits])]),
            Comparison::Requant { bits, shift, k } if k <= bits - shift => {
                (vec![mill(shift)], vec![client(to_word(k))])
            }
            Comparison::Requant { bits, shift, k } => {
                let widths = [to_word(k), to_word(k - (bits - shift))].concat();
                (vec![mill(shift), mill(bits)], vec![client(widths)])
            }
            Comparison::RequantRelu { bits, shift, k } => {
                (vec![mill(shift), mill(bits - 1)], vec![client(to_word(k)), both(&[k])])
            }
            // One threshold after the other: each selects by itself.
            Comparison::RequantClip { bits, shift, k, .. } => {
                let mills = vec![mill(shift), mill(bits - 1), mill(bits - 1)];
                (mills, vec![client(to_word(k)), both(&[k]), both(&[k])])
            }
            Comparison::Extend { bits, k, sign: Sign::NonNegative } => (vec![], vec![client(vec![k - bits])]),
            Comparison::Extend { bits, k, sign: Sign::Any } => (vec![mill(bits)], vec![client(to_word(k - bits))]),
            // Of every bit the multiples that still matter.
            Comparison::Mul { bits } => (vec![], vec![both(&(1..=bits).rev().collect::<Vec<u8>>())]),
            Comparison::Square { bits } => {
                let [client_chooses, server_chooses] = square_words(bits);
                (vec![], vec![Words { client_chooses, server_chooses }])
            }
        };
        words.retain(|words| *words != Words::default());
        Schedule { mills, words }
    }

    /// Products on all levels: first those with one other factor, then those with two.
    pub fn products(&self) -> [usize; 2] {
        let levels = self.mills.iter().flat_map(Mill::levels);
        levels.fold([0, 0], |[narrow, wide], level| [narrow + level[0], wide + level[1]])
    }

    /// Products of level `level` of all trees together.
    pub fn level(&self, level: usize) -> [usize; 2] {
        let products = self.mills.iter().filter_map(|mill| mill.levels().get(level).copied());
        products.fold([0, 0], |[narrow, wide], level| [narrow + level[0], wide + level[1]])
    }

    /// Levels of the deepest tree.
    pub fn depth(&self) -> usize {
        self.mills.iter().map(|mill| mill.levels().len()).max().unwrap_or(0)
    }

    /// Correlated OTs that `party` receives for `n` elements.
    pub fn received_by(&self, party: Party, n: usize) -> usize {
        self.words.iter().map(|words| n * words.chosen_by(party).len()).sum()
    }

    /// The OTs of one among many for `n` elements: their width and number. First the digits, then
    /// triples for products with two other factors, then those for products with one, two to an OT.
    pub fn many(&self, n: usize) -> Vec<(usize, usize)> {
        let [narrow, wide] = self.products();
        let digits = self.mills.iter().flat_map(Mill::digits).map(|width| (width, n));
        digits.chain([(3, n * wide), (4, (n * narrow).div_ceil(2))]).filter(|(_, n)| *n > 0).collect()
    }

    /// Masked bits with which the server answers the OTs of one among many.
    pub fn answered_bits(&self, n: usize) -> usize {
        let digits = self.mills.iter().map(|mill| {
            let answers = mill.digits().into_iter().enumerate().map(|(index, width)| Mill::answers(width, index == 0));
            n * answers.sum::<usize>()
        });
        let [narrow, wide] = self.products();
        digits.sum::<usize>() + n * wide * 7 * 2 + (n * narrow).div_ceil(2) * 15 * 2
    }

    /// Payload of the client's first message: corrections of both kinds of OT.
    pub fn opening_bytes(&self, n: usize) -> u64 {
        let many: u64 = self.many(n).into_iter().map(|(width, n)| kkot_bytes(width, n)).sum();
        many + iknp_bytes(self.received_by(Party::Client, n))
    }

    /// Payload of the server's first message: corrections of the OTs that it receives, and answers.
    /// If zero, it is not sent.
    pub fn answer_bytes(&self, n: usize) -> u64 {
        iknp_bytes(self.received_by(Party::Server, n)) + packed_bytes(self.answered_bits(n), 1)
    }

    /// The messages of one chunk of `n` elements.
    pub fn chunk(&self, n: usize) -> Cost {
        let mut cost = Cost::default();
        let many: usize = self.many(n).into_iter().map(|(width, n)| width * n).sum();
        cost.client_receives_ots = (many + self.received_by(Party::Client, n)) as u64;
        cost.server_receives_ots = self.received_by(Party::Server, n) as u64;
        cost.send(Party::Client, self.opening_bytes(n));
        if self.answer_bytes(n) > 0 {
            cost.send(Party::Server, self.answer_bytes(n));
        }
        for level in 0..self.depth() {
            let [narrow, wide] = self.level(level);
            let bits = n * (2 * narrow + 3 * wide);
            cost.exchange([packed_bytes(bits, 1); 2]);
            cost.compute(Primitive::GateBit, 2 * bits as u64);
        }
        for words in &self.words {
            cost.exchange([Party::Client, Party::Server].map(|party| words.payload_bytes(party, n)));
            let count = words.client_chooses.len() + words.server_chooses.len();
            cost.compute(Primitive::GateWord, (n * count) as u64);
        }
        let words = self.received_by(Party::Client, n) + self.received_by(Party::Server, n);
        let codewords: usize = self.many(n).into_iter().map(|(_, n)| n).sum();
        cost.compute(Primitive::ColumnOt, (words + CODE_BITS / SECURITY_BITS as usize * codewords) as u64);
        let pads: usize = self.many(n).into_iter().map(|(width, n)| ((1 << width) + 1) * n).sum();
        cost.compute(Primitive::Hash, (pads + 3 * words) as u64);
        cost.compute(Primitive::GateBit, self.answered_bits(n) as u64);
        cost.compute(Primitive::Element, n as u64);
        cost
    }
}

/// Everything that `operation` exchanges for `n` elements, chunk by chunk.
pub fn cost(operation: &Comparison, n: usize) -> Cost {
    let schedule = Schedule::of(operation);
    let mut cost = Cost::default();
    operation.chunks(n).for_each(|chunk| cost.then(&schedule.chunk(chunk.len())));
    cost
}

/// The word of the server that the client's bit chooses to make a shared bit one word of `bits`
/// bits: the product doubles, so its own highest bit does not matter.
fn to_word(bits: u8) -> Vec<u8> {
    if bits > 1 { vec![bits - 1] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_levels_are_those_of_the_paper() {
        let mill = Mill { bits: 36 };
        assert_eq!(mill.digits(), [4; 9]);
        assert_eq!(mill.levels(), [[1, 3], [1, 1], [1, 0], [1, 0]]);
        assert_eq!(Mill { bits: 27 }.digits(), [4, 4, 4, 4, 4, 4, 3]);
        assert_eq!(Mill { bits: 1 }.levels(), [[0; 2]; 0]);
    }

    #[test]
    fn a_relu_of_the_papers_width_costs_what_its_parts_do() {
        let schedule = Schedule::of(&Comparison::Relu { bits: 37 });
        let n = 1 << 16;
        let bits: u64 = schedule.chunk(n).messages.iter().map(|message| message.payload_bytes * 8).sum();
        // Digits 9 x 240 and their answers; four triples with two factors, four with one; what
        // opens them; two words.
        let digits = 9 * 240 + 8 * 30 + 15;
        let triples = 4 * (224 + 14) + 4 * (240 + 30) / 2;
        let expected = digits + triples + 2 * (4 * 2 + 4 * 3) + 2 * (127 + 1 + 37);
        let found = bits / n as u64;
        assert!((expected..expected + 8).contains(&found), "{found} bits, not {expected}");
        assert_eq!(schedule.chunk(n).rounds(), 1 + 4 + 1);
    }
}
