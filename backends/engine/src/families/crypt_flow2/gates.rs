//! Millionaires' protocols, products of shared bits, and products of bits and words.
//!
//! **Millionaires' protocol** (section 3.1, algorithm 1): of every pair of digits the parties get
//! shares mod 2 of whether the server's is below and whether both are equal, by an OT of one among
//! 16 that the client receives with its digit as choice. The server's share is the pad of choice 0
//! plus what choice 0 means, so that it need not be sent. Then neighbours merge: `below` of both is
//! that of the upper ones, or where these are equal that of the lower ones.
//!
//! **Products of shared bits** use triples made by OTs of one among many (section 3.1, appendix A):
//! the client chooses with its random shares of the factors, the server answers with its share of
//! their product. Two products with a common factor take a choice of three bits, two others one of
//! four.
//!
//! **Words**: see [`crate::compare::words`].

use fusion_catalogue::crypt_flow2::Schedule;
use fusion_ir::Party;

use super::Ctx;
use super::opening::{Node, Opened, Shape, digits};
use crate::bits::Bits;
use crate::compare::words::{Pending, Word, Words};
use crate::{Channel, Error, Kind};

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

impl<'a> Gates<'a> {
    /// Runs the millionaires' protocols of a schedule on `n` elements, `numbers` being this
    /// party's, one sequence for each; returns shares mod 2 of whether the server's number is below
    /// the client's.
    pub fn open(
        ctx: &'a mut Ctx,
        schedule: &Schedule,
        n: usize,
        numbers: &[Vec<u64>],
    ) -> Result<(Gates<'a>, Vec<Bits>), Error> {
        let digits = schedule.mills.iter().zip(numbers).flat_map(|(mill, numbers)| digits(mill, numbers)).collect();
        let shape = Shape { schedule, n, digits };
        let Opened { leaves, narrow, wide, received, sent } = match ctx.party {
            Party::Client => shape.client(ctx.channel, ctx.extensions)?,
            Party::Server => shape.server(ctx.channel, ctx.extensions)?,
        };
        let (narrow, wide) = (Queue::new(narrow), Queue::new(wide));
        let (party, channel) = (ctx.party, &mut *ctx.channel);
        let mut gates = Gates { party, channel, n, narrow, wide, received, sent, words_received: 0, words_sent: 0 };
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
}

impl Words for Gates<'_> {
    fn party(&self) -> Party {
        self.party
    }

    fn words(&mut self, inputs: Vec<Word>) -> Result<Vec<Vec<u64>>, Error> {
        let (mut flips, mut words) = (Bits::default(), Vec::new());
        let (mut flips_received, mut bytes_received) = (0, 0);
        let mut pending = Vec::with_capacity(inputs.len());
        for input in inputs {
            pending.push(match input {
                Word::Choice(choice, bits) => {
                    let taken = self.words_received..self.words_received + self.n;
                    self.words_received = taken.end;
                    bytes_received += fusion_catalogue::packed_bytes(self.n, bits) as usize;
                    let random = self.received.0.slice(taken.start, self.n);
                    Pending::choose(choice, bits, (random, self.received.1[taken].to_vec()), &mut flips)
                }
                Word::Value(value, bits) => {
                    let taken = self.words_sent..self.words_sent + self.n;
                    self.words_sent = taken.end;
                    flips_received += self.n;
                    let random = self.sent.each_ref().map(|words| words[taken.clone()].to_vec());
                    Pending::give(value, bits, random, &mut words)
                }
            });
        }
        let mut message = flips.to_bytes();
        message.append(&mut words);
        self.channel.send(Kind::Comparison, message)?;
        let message = self.channel.receive(Kind::Comparison, flips_received.div_ceil(8) + bytes_received)?;
        let (theirs, mut words) = message.split_at(flips_received.div_ceil(8));
        let mut theirs = Queue::new([Bits::from_bytes(theirs, flips_received)?]);
        let finish = |word: Pending| word.finish(|| theirs.take(self.n)[0].clone(), &mut words);
        pending.into_iter().map(finish).collect()
    }
}
