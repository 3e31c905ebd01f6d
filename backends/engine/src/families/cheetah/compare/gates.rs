//! Products of secrets, each from random OTs and one exchange.
//!
//! With pads `r_0, r_1` at the sender of a random OT and `c, r_c` at its receiver, let
//! `r = r_0 + r_1`. All three gates are Beaver's (CRYPTO 1991) circuit randomisation; sums of bits
//! are mod 2.
//!
//! - **Private product**, sender's bit `a` times receiver's bit `b`: the sender sends `e = r + a`,
//!   the receiver `d = b + c`. Since `r_c = r_0 + c r`, the shares of `a b` are `r_0 + d a` and
//!   `r_c + c e`.
//! - **Shared product** `x y` (and `x z`): one OT in each direction. Each party's choice is its
//!   share of a random `a`, its `r` (of one or two bits) its share of a random `b` (and `b'`): the
//!   cross terms `c r` of either direction are shared between `r_0` and `r_c` already, so the
//!   parties hold a triple `a, b, a b` without having said a word. They open `d = x + a` and
//!   `e = y + b`; then `x y = a b + a e + d b + d e`.
//! - **Chosen word**: see [`crate::compare::words`].

use fusion_catalogue::cheetah::{Flight, Leaves};
use fusion_ir::Party;
use rayon::prelude::*;

use crate::bits::Bits;
use crate::compare::words::{Pending, Word, Words};
use crate::ot::Pads;
use crate::threads::items;
use crate::{Channel, Error, Kind};

/// Evaluates gates over `n` elements, using up pads.
pub(super) struct Gates<'a> {
    /// Who this is.
    pub party: Party,
    /// What is left of the chunk's pads.
    pub pads: Pads,
    /// How carry trees begin.
    pub leaves: Leaves,
    channel: &'a mut dyn Channel,
    n: usize,
}

/// The gates of one flight with this party's inputs, in an order both parties agree on.
#[derive(Default)]
pub(super) struct Inputs {
    /// Private products: who receives the OT, this party's bits.
    pub private: Vec<(Party, Bits)>,
    /// Of leaves of more than one bit ([`super::leaves`]): the widths of those opened, and the
    /// masked bits that answer, by receiver.
    pub opened: [Vec<usize>; 2],
    pub answered: [usize; 2],
    /// What this party sends for them, masked already.
    pub masked: Bits,
    /// Shared products: shares of both factors.
    pub narrow: Vec<[Bits; 2]>,
    /// Two shared products: shares of the common factor and of the two others.
    pub wide: Vec<[Bits; 3]>,
    /// Chosen words.
    pub words: Vec<Word>,
}

/// Shares of the products, in the order of the inputs.
#[derive(Default)]
pub(super) struct Outputs {
    pub private: Vec<Bits>,
    /// What the peer sent for leaves of more than one bit.
    pub masked: Received,
    pub narrow: Vec<Bits>,
    pub wide: Vec<[Bits; 2]>,
    pub words: Vec<Vec<u64>>,
}

/// What a private product's party still needs once the peer's bit is there: share =
/// `base + times * (peer's bit)`.
struct Opening {
    base: Bits,
    times: Bits,
}

/// The share of a triple, with `opened` = own shares of `d` and `e`.
struct Triple {
    a: Bits,
    b: Bits,
    ab: Bits,
    d: Bits,
    e: Bits,
}

/// The pads of two shared products: a choice and two bits, and two bits of either pad.
type PairPads = ((Bits, [Bits; 2]), [[Bits; 2]; 2]);

impl Triple {
    /// For the product of these factors.
    fn new(x: &Bits, y: &Bits, [[a, pad], [zero, b]]: [[Bits; 2]; 2]) -> Triple {
        let ab = a.and(&b).xor(&pad).xor(&zero);
        let (d, e) = (x.xor(&a), y.xor(&b));
        Triple { a, b, ab, d, e }
    }

    /// For the products of `x` and each of the others; they have one `d`.
    fn two(x: &Bits, others: [&Bits; 2], ((a, pads), [zeros, sums]): PairPads) -> [Triple; 2] {
        let d = x.xor(&a);
        [0, 1].map(|i| {
            let b = sums[i].clone();
            let ab = a.and(&b).xor(&pads[i]).xor(&zeros[i]);
            let e = others[i].xor(&b);
            Triple { a: a.clone(), b, ab, d: d.clone(), e }
        })
    }

    /// The share of `x y` once the peer's shares of `d` and `e` are there.
    fn product(&self, party: Party, d: &Bits, e: &Bits) -> Bits {
        let (d, e) = (self.d.xor(d), self.e.xor(e));
        let share = self.ab.xor(&self.a.and(&e)).xor(&d.and(&self.b));
        match party {
            Party::Client => share.xor(&d.and(&e)),
            Party::Server => share,
        }
    }
}

impl<'a> Gates<'a> {
    pub fn new(party: Party, channel: &'a mut dyn Channel, pads: Pads, leaves: Leaves, n: usize) -> Gates<'a> {
        Gates { party, pads, leaves, channel, n }
    }

    /// Number of elements.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Whether all pads are used up.
    pub fn finished(&self) -> bool {
        self.pads.sending.is_empty() && self.pads.receiving.is_empty()
    }

    /// Evaluates one flight with one exchange, whose sizes are those of [`Flight::payload_bytes`].
    /// Who has nothing to send is not waited for.
    pub fn exchange(&mut self, inputs: Inputs) -> Result<Outputs, Error> {
        let flight = self.flight(&inputs);
        let mut sent = Bits::default();
        let mut words = Vec::new();
        let private: Vec<Opening> =
            inputs.private.into_iter().map(|(receiver, bits)| self.open_private(receiver, bits, &mut sent)).collect();
        sent.extend(&inputs.masked);
        let together = items(self.n);
        let drawn: Vec<_> = inputs.narrow.into_iter().map(|factors| (factors, self.bits())).collect();
        let narrow = drawn.into_par_iter().with_min_len(together).map(|([x, y], pads)| Triple::new(&x, &y, pads));
        let narrow: Vec<Triple> = narrow.collect();
        for Triple { d, e, .. } in &narrow {
            [d, e].into_iter().for_each(|opened| sent.extend(opened));
        }
        let drawn: Vec<_> = inputs.wide.into_iter().map(|factors| (factors, self.pairs())).collect();
        let wide = drawn.into_par_iter().with_min_len(together);
        let wide: Vec<[Triple; 2]> = wide.map(|([x, y, z], pads)| Triple::two(&x, [&y, &z], pads)).collect();
        for [first, second] in &wide {
            [&first.d, &first.e, &second.e].into_iter().for_each(|opened| sent.extend(opened));
        }
        let pending: Vec<Pending> =
            inputs.words.into_iter().map(|word| self.open_word(word, &mut sent, &mut words)).collect();
        debug_assert_eq!(sent.len(), self.n * flight.bits_sent(self.party));

        let mut message = sent.to_bytes();
        message.append(&mut words);
        if !message.is_empty() {
            self.channel.send(Kind::Comparison, message)?;
        }
        let peer = self.party.peer();
        let message = match flight.payload_bytes(peer, self.n) as usize {
            0 => Vec::new(),
            bytes => self.channel.receive(Kind::Comparison, bytes)?,
        };
        let theirs = self.n * flight.bits_sent(peer);
        let (bits, mut words) = message.split_at(theirs.div_ceil(8));
        let mut theirs = Received { bits: Bits::from_bytes(bits, theirs)?, taken: 0, n: self.n };
        let masked = flight.opened[peer as usize].iter().sum::<usize>() + flight.answered[self.party as usize];

        let private = private.into_iter().map(|opening| opening.base.xor(&opening.times.and(&theirs.next()))).collect();
        let masked = theirs.split(masked);
        let party = self.party;
        let opened: Vec<[Bits; 2]> = narrow.iter().map(|_| [(); 2].map(|()| theirs.next())).collect();
        let narrow = narrow.par_iter().zip(opened).with_min_len(together);
        let narrow = narrow.map(|(triple, [d, e])| triple.product(party, &d, &e)).collect();
        let opened: Vec<[Bits; 3]> = wide.iter().map(|_| [(); 3].map(|()| theirs.next())).collect();
        let wide = wide
            .par_iter()
            .zip(opened)
            .with_min_len(together)
            .map(|([first, second], [d, e, f])| [first.product(party, &d, &e), second.product(party, &d, &f)]);
        let wide = wide.collect();
        let mut products = Vec::with_capacity(pending.len());
        for word in pending {
            products.push(word.finish(|| theirs.next(), &mut words)?);
        }
        Ok(Outputs { private, masked, narrow, wide, words: products })
    }

    fn flight(&self, inputs: &Inputs) -> Flight {
        let mut flight = Flight {
            opened: inputs.opened.clone(),
            answered: inputs.answered,
            narrow: inputs.narrow.len(),
            wide: inputs.wide.len(),
            ..Flight::default()
        };
        for (receiver, _) in &inputs.private {
            flight.private[*receiver as usize] += 1;
        }
        for word in &inputs.words {
            let (chooser, bits) = match word {
                Word::Choice(_, bits) => (self.party, *bits),
                Word::Value(_, bits) => (self.party.peer(), *bits),
            };
            match chooser {
                Party::Client => flight.client_chooses.push(bits),
                Party::Server => flight.server_chooses.push(bits),
            }
        }
        flight
    }

    fn open_private(&mut self, receiver: Party, own: Bits, sent: &mut Bits) -> Opening {
        if receiver == self.party {
            let [choice, pad] = self.pads.receiving.bits(self.n);
            sent.extend(&own.xor(&choice));
            Opening { base: pad, times: choice }
        } else {
            let [zero, sum] = self.pads.sending.bits(self.n);
            sent.extend(&sum.xor(&own));
            Opening { base: zero, times: own }
        }
    }

    /// The pads of a shared product: of the OT that this party receives, and of the other one.
    fn bits(&mut self) -> [[Bits; 2]; 2] {
        [self.pads.receiving.bits(self.n), self.pads.sending.bits(self.n)]
    }

    /// Likewise of two shared products.
    fn pairs(&mut self) -> PairPads {
        (self.pads.receiving.pairs(self.n), self.pads.sending.pairs(self.n))
    }

    fn open_word(&mut self, word: Word, sent: &mut Bits, words: &mut Vec<u8>) -> Pending {
        match word {
            Word::Choice(choice, bits) => Pending::choose(choice, bits, self.pads.receiving.words(self.n), sent),
            Word::Value(value, bits) => Pending::give(value, bits, self.pads.sending.words(self.n), words),
        }
    }
}

impl Words for Gates<'_> {
    fn party(&self) -> Party {
        self.party
    }

    fn words(&mut self, inputs: Vec<Word>) -> Result<Vec<Vec<u64>>, Error> {
        Ok(self.exchange(Inputs { words: inputs, ..Inputs::default() })?.words)
    }
}

/// The peer's single bits, `n` at a time.
#[derive(Default)]
pub(super) struct Received {
    bits: Bits,
    taken: usize,
    n: usize,
}

impl Received {
    /// The next `count` times `n` bits.
    fn split(&mut self, count: usize) -> Received {
        let start = self.taken;
        self.taken += count * self.n;
        Received { bits: self.bits.slice(start, count * self.n), taken: 0, n: self.n }
    }

    /// The next `n` bits.
    pub fn next(&mut self) -> Bits {
        let start = self.taken;
        self.taken += self.n;
        self.bits.slice(start, self.n)
    }
}
