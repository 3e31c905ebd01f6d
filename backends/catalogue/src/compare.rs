//! What comparisons cost: the schedules that the protocols follow, and the exact messages that result.
//!
//! Every comparison is a sequence of *flights*. In a flight both parties send one message and then receive one; it evaluates
//! gates that do not depend on each other ([`Flight`]). The gates use up random OTs, drawn beforehand ([`Need`]) a chunk of
//! [`CHUNK`] elements at a time. Up to [`WAVE`] elements go through the flights together. The core is one carry tree ([`Carries`]) over the bits of the two shares: generate/propagate
//! nodes as in a carry-lookahead adder, over secret bits. How many bits its leaves have at most is a choice: `leaf_bits`, in
//! `1..=4`, throughout.
//!
//! An OT of `2^w` choices takes as many correlated OTs as `w` leaves of one bit and saves the merges between them, of two
//! correlated OTs each; its answers are `2 (2^w - 1)` bits. Two bits send least, three need fewest correlations.

use std::ops::Range;

use fusion_ir::Party;
use fusion_ir::interp::span;
use fusion_ir::network::Network;
use fusion_ir::op::Window;
use fusion_ir::types::Sign;

use crate::ot::{Need, TABLE_WIDTHS};
use crate::{Cost, Primitive, packed_bytes};

/// Elements whose random OTs are drawn at once, so that the messages of a draw stay small.
pub const CHUNK: usize = 1 << 17;
/// Elements that are compared at once, a whole number of chunks. More go one wave after the other, so that memory stays bounded;
/// fewer would spend more time waiting for a distant peer than sending.
pub const WAVE: usize = 1 << 20;

/// An elementwise operation that needs to look at the bits of shared values. `x` is signed in `Z_2^bits`, `2 <= bits <= 63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// 1 if `x < 0`, else 0, shared mod 2.
    Sign {
        /// Width of `x`.
        bits: u8,
    },
    /// [`Op::Requant`](fusion_ir::Op::Requant): any `k` in `2..=63`.
    Requant {
        /// Width of `x`.
        bits: u8,
        /// Bits dropped, in `1..bits`.
        shift: u8,
        /// Width of the result.
        k: u8,
    },
    /// [`Op::RequantRelu`](fusion_ir::Op::RequantRelu).
    RequantRelu {
        /// Width of `x`.
        bits: u8,
        /// Bits dropped, in `1..bits`.
        shift: u8,
        /// Width of the result, at most `bits - shift`.
        k: u8,
    },
    /// [`Op::Relu`](fusion_ir::Op::Relu).
    Relu {
        /// Width of `x`.
        bits: u8,
    },
    /// [`Op::Extend`](fusion_ir::Op::Extend).
    Extend {
        /// Width of `x`.
        bits: u8,
        /// Width of the result, greater than `bits`.
        k: u8,
        /// What is proven about `x`; if it is not so, the result is meaningless.
        sign: Sign,
    },
    /// Of operands `a, b`: `b` if `a - b mod 2^bits` is negative, else `a`.
    Max {
        /// Width of `a` and `b`.
        bits: u8,
    },
    /// Of operands `a, b, i, j`: as [`Comparison::Max`] of `a` and `b`, and with it `j` or `i`.
    MaxIndex {
        /// Width of `a` and `b`.
        bits: u8,
        /// Width of `i` and `j`.
        index_bits: u8,
    },
    /// Of operands `a, b`: `a b mod 2^bits`.
    Mul {
        /// Width of `a` and `b`.
        bits: u8,
    },
}

/// The gates of one flight, each over all elements at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flight {
    /// Products of a bit that the client knows and a bit that the server knows, by who receives the OT: client, server.
    pub private: [usize; 2],
    /// Widths of the leaves of more than one bit that are begun: 1-of-many OTs whose choice bits their receiver opens, by receiver.
    pub opened: [Vec<usize>; 2],
    /// Masked bits with which senders answer what was opened in the flight before, by receiver.
    pub answered: [usize; 2],
    /// Products of two shared bits.
    pub narrow: usize,
    /// Two products of shared bits with one factor in common.
    pub wide: usize,
    /// Products of the client's bit and the server's word of so many bits (the client receives the OT).
    pub client_chooses: Vec<u8>,
    /// Products of the server's bit and the client's word of so many bits.
    pub server_chooses: Vec<u8>,
}

impl Flight {
    /// Widths of the words in products with a bit that `party` knows.
    pub fn chosen_by(&self, party: Party) -> &[u8] {
        match party {
            Party::Client => &self.client_chooses,
            Party::Server => &self.server_chooses,
        }
    }

    /// Single bits that `party` sends per element.
    pub fn bits_sent(&self, party: Party) -> usize {
        let leaves = self.opened[party as usize].iter().sum::<usize>() + self.answered[party.peer() as usize];
        self.private[0] + self.private[1] + leaves + 2 * self.narrow + 3 * self.wide + self.chosen_by(party).len()
    }

    /// Payload of the message of `party` for `n` elements: single bits, then one packing for each word.
    pub fn payload_bytes(&self, party: Party, n: usize) -> u64 {
        let words = self.chosen_by(party.peer()).iter().map(|bits| packed_bytes(n, *bits));
        packed_bytes(n * self.bits_sent(party), 1) + words.sum::<u64>()
    }

    fn need(&self, n: usize) -> Need {
        let mut need = Need::default();
        for party in [Party::Client, Party::Server] {
            let ots = need.received_by_mut(party);
            ots.bits = (n * (self.private[party as usize] + self.narrow)) as u64;
            for width in &self.opened[party as usize] {
                ots.tables[width - TABLE_WIDTHS.start()] += n as u64;
            }
            ots.pairs = (n * self.wide) as u64;
            ots.words = (n * self.chosen_by(party).len()) as u64;
        }
        need
    }

    fn cost(&self, n: usize) -> Cost {
        let mut cost = Cost::default();
        cost.exchange([Party::Client, Party::Server].map(|party| self.payload_bytes(party, n)));
        let bits = self.bits_sent(Party::Client) + self.bits_sent(Party::Server);
        let words = self.client_chooses.len() + self.server_chooses.len();
        cost.compute(Primitive::GateBit, (n * bits) as u64);
        cost.compute(Primitive::GateWord, (n * words) as u64);
        cost
    }
}

/// One carry tree: the carry out of the lowest `low` bits of `x_client + x_server`, and the generate/propagate pair of the
/// `high` bits above them. With `low = 0` it is the carry out of the `high` lowest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carries {
    /// Bits of the lower segment.
    pub low: usize,
    /// Bits of the upper segment.
    pub high: usize,
    /// Most bits of a leaf.
    pub leaf_bits: u8,
}

/// A leaf of a carry tree: neighbouring positions whose generate and propagate bits come from one OT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// How many positions.
    pub width: usize,
    /// Who receives the OT.
    pub receiver: Party,
    /// Whether position 0 is among them, so that nothing can be propagated.
    pub lowest: bool,
}

impl Leaf {
    /// Results: whether it generates, and, unless it is the lowest, whether it propagates.
    pub fn results(&self) -> usize {
        if self.lowest { 1 } else { 2 }
    }

    /// Answers of the sender of a leaf of more than one bit, for every choice but 0.
    pub fn answers(&self) -> usize {
        (1 << self.width) - 1
    }
}

/// The merges of one level of a tree: neighbours, lowest first; an odd one out stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Merges within the lower segment.
    pub low: usize,
    /// Merges within the upper segment.
    pub high: usize,
}

impl Carries {
    /// The leaves of the lower and of the upper segment, lowest first, all of nearly one width.
    pub fn leaves(&self) -> [Vec<Leaf>; 2] {
        let mut receivers = [Party::Client, Party::Server].into_iter().cycle();
        let mut lowest = true;
        [self.low, self.high].map(|bits| {
            let count = bits.div_ceil(usize::from(self.leaf_bits));
            let leaf = |(index, receiver)| {
                let width = bits / count + usize::from(index < bits % count);
                Leaf { width, receiver, lowest: std::mem::take(&mut lowest) }
            };
            (0..count).zip(receivers.by_ref()).map(leaf).collect()
        })
    }

    /// The levels of the tree, leaves not counted.
    pub fn levels(&self) -> Vec<Level> {
        let [mut low, mut high] = [self.low, self.high].map(|bits| bits.div_ceil(usize::from(self.leaf_bits)));
        let mut levels = Vec::new();
        while low > 1 || high > 1 {
            levels.push(Level { low: low / 2, high: high / 2 });
            low = low.div_ceil(2);
            high = high.div_ceil(2);
        }
        levels
    }

    /// Whether the first merge of a segment, the one with bit 0, needs no propagate bit.
    pub fn bit_0_is_high(&self) -> bool {
        self.low == 0
    }

    fn flights(&self) -> Vec<Flight> {
        let (mut first, mut second) = (Flight::default(), Flight::default());
        for leaf in self.leaves().iter().flatten() {
            let receiver = leaf.receiver as usize;
            if leaf.width == 1 {
                first.private[receiver] += 1;
            } else {
                first.opened[receiver].push(leaf.width);
                second.answered[receiver] += leaf.results() * leaf.answers();
            }
        }
        let mut flights = vec![first, second];
        flights.retain(|flight| *flight != Flight::default());
        for level in self.levels() {
            let first = if self.bit_0_is_high() { level.high } else { level.low };
            let narrow = first.min(1);
            flights.push(Flight { narrow, wide: level.low + level.high - narrow, ..Flight::default() });
        }
        flights
    }
}

impl Comparison {
    /// The carry tree, if the operation needs one.
    pub fn carries(&self, leaf_bits: u8) -> Option<Carries> {
        let tree = |low: u8, total: u8| Carries { low: usize::from(low), high: usize::from(total - low), leaf_bits };
        match *self {
            Comparison::Requant { bits, shift, k } if k <= bits - shift => Some(tree(shift, shift)),
            Comparison::Requant { bits, shift, .. } => Some(tree(shift, bits)),
            Comparison::RequantRelu { bits, shift, .. } => Some(tree(shift, bits - 1)),
            Comparison::Extend { sign: Sign::NonNegative, .. } => None,
            Comparison::Extend { bits, .. } => Some(tree(0, bits)),
            Comparison::Sign { bits }
            | Comparison::Relu { bits }
            | Comparison::Max { bits }
            | Comparison::MaxIndex { bits, .. } => Some(tree(0, bits - 1)),
            Comparison::Mul { .. } => None,
        }
    }

    /// The flights of one chunk.
    pub fn flights(&self, leaf_bits: u8) -> Vec<Flight> {
        let carries = self.carries(leaf_bits);
        let mut flights = carries.map_or_else(Vec::new, |carries| carries.flights());
        let join = carries.map_or(0, |carries| usize::from(carries.low > 0 && carries.high > 0));
        // A shared bit to a word of `bits` bits: the product doubles, so its own highest bit does not matter.
        let to_word = |bits: u8| if bits > 1 { vec![bits - 1] } else { Vec::new() };
        let select = |widths: &[u8]| Flight {
            client_chooses: widths.to_vec(),
            server_chooses: widths.to_vec(),
            ..Flight::default()
        };
        let joined = |k| Flight { narrow: join, client_chooses: to_word(k), ..Flight::default() };
        match *self {
            Comparison::Sign { .. } => {}
            Comparison::Requant { bits, shift, k } => {
                flights.push(joined(k));
                if k > bits - shift {
                    flights.push(Flight { client_chooses: to_word(k - (bits - shift)), ..Flight::default() });
                }
            }
            Comparison::RequantRelu { k, .. } => flights.extend([joined(k), select(&[k])]),
            Comparison::Relu { bits } | Comparison::Max { bits } => flights.push(select(&[bits])),
            Comparison::MaxIndex { bits, index_bits } => flights.push(select(&[bits, index_bits])),
            Comparison::Extend { bits, k, sign: Sign::NonNegative } => {
                flights.push(Flight { client_chooses: vec![k - bits], ..Flight::default() });
            }
            Comparison::Extend { bits, k, sign: Sign::Any } => {
                flights.push(Flight { client_chooses: to_word(k - bits), ..Flight::default() });
            }
            // Bit i of a factor multiplies what is left of the ring above it.
            Comparison::Mul { bits } => flights.push(select(&(1..=bits).rev().collect::<Vec<u8>>())),
        }
        flights.retain(|flight| *flight != Flight::default());
        flights
    }

    /// The random OTs of one chunk of `n` elements.
    pub fn need(&self, leaf_bits: u8, n: usize) -> Need {
        let mut need = Need::default();
        self.flights(leaf_bits).iter().for_each(|flight| need += flight.need(n));
        need
    }

    /// The messages of one wave of `n` elements after its draws.
    pub fn online(&self, leaf_bits: u8, n: usize) -> Cost {
        let mut cost = Cost::default();
        self.flights(leaf_bits).iter().for_each(|flight| cost.then(&flight.cost(n)));
        cost.compute(Primitive::Element, n as u64);
        cost
    }

    /// Everything for `n` elements: wave by wave the draws of its chunks and its online phase.
    pub fn cost(&self, leaf_bits: u8, n: usize) -> Cost {
        let mut cost = Cost::default();
        for wave in self.waves(n) {
            for chunk in self.chunks(wave.len()) {
                cost.draw(self.need(leaf_bits, chunk.len()));
            }
            cost.then(&self.online(leaf_bits, wave.len()));
        }
        cost
    }

    /// The waves of `n` elements.
    pub fn waves(&self, n: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        pieces(n, WAVE / self.weight())
    }

    /// The chunks of a wave of `n` elements.
    pub fn chunks(&self, n: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        pieces(n, CHUNK / self.weight())
    }

    /// How many times the memory of a usual comparison an element needs: a product has many words.
    fn weight(&self) -> usize {
        match self {
            Comparison::Mul { .. } => 8,
            _ => 1,
        }
    }
}

fn pieces(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(most).map(move |start| start..n.min(start + most))
}

/// The contests of every level of a knock-out among groups of these sizes: in each group neighbours play, an odd one out goes
/// through, until one is left in every group.
pub fn tournament(sizes: &[usize]) -> Vec<usize> {
    let mut sizes = sizes.to_vec();
    let mut levels = Vec::new();
    while sizes.iter().any(|size| *size > 1) {
        levels.push(sizes.iter().map(|size| size / 2).sum());
        sizes.iter_mut().for_each(|size| *size = size.div_ceil(2));
    }
    levels
}

/// How a max-pool goes over images of one size: first along rows, over every row that some window sees, then along columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The rows that are read, in order.
    pub rows: Vec<usize>,
    /// For every output column the columns of its window, padding excluded.
    pub across: Vec<Range<usize>>,
    /// For every output row its window as places in [`Pool::rows`], padding excluded.
    pub down: Vec<Range<usize>>,
}

impl Pool {
    /// Over images of `height x width`; nothing if no window fits.
    pub fn new(window: &Window, height: usize, width: usize) -> Pool {
        let [output_rows, output_columns] = window.output(height, width).unwrap_or_default();
        let down: Vec<_> = (0..output_rows).map(|i| span(window, 0, i, height)).collect();
        let rows = covered(&down, height);
        let place = |row: usize| rows.partition_point(|read| *read < row);
        Pool {
            down: down.iter().map(|window| place(window.start)..place(window.end)).collect(),
            across: (0..output_columns).map(|j| span(window, 1, j, width)).collect(),
            rows,
        }
    }

    /// Images that are pooled at once, so that memory stays bounded: those with a wave of players in their rows' windows.
    pub fn images_at_once(&self) -> usize {
        let players = self.rows.len() * self.sizes_across().iter().sum::<usize>();
        (WAVE / players.max(1)).max(1)
    }

    /// Group sizes of the step along rows, for one row.
    pub fn sizes_across(&self) -> Vec<usize> {
        self.across.iter().map(|window| window.len()).collect()
    }

    /// Group sizes of the step along columns, for one output column.
    pub fn sizes_down(&self) -> Vec<usize> {
        self.down.iter().map(|window| window.len()).collect()
    }
}

/// The numbers below `end` that lie in one of `ranges`, in order, in time linear in `end` and their number.
fn covered(ranges: &[Range<usize>], end: usize) -> Vec<usize> {
    let (mut opened, mut closed) = (vec![0usize; end + 1], vec![0usize; end + 1]);
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        opened[range.start] += 1;
        closed[range.end] += 1;
    }
    let mut open = 0;
    let mut inside = |place: &usize| {
        open += opened[*place];
        open -= closed[*place];
        open > 0
    };
    (0..end).filter(&mut inside).collect()
}

/// A max-pool over `images` images (channels times positions) of `height x width`, [`Pool::images_at_once`] at a time.
pub fn max_pool(bits: u8, leaf_bits: u8, window: &Window, height: usize, width: usize, images: usize) -> Cost {
    let pool = Pool::new(window, height, width);
    let most = pool.images_at_once();
    let mut cost = Cost::default();
    for start in (0..images).step_by(most) {
        let images = most.min(images - start);
        for contests in tournament(&pool.sizes_across()) {
            cost.then(&Comparison::Max { bits }.cost(leaf_bits, contests * pool.rows.len() * images));
        }
        for contests in tournament(&pool.sizes_down()) {
            cost.then(&Comparison::Max { bits }.cost(leaf_bits, contests * pool.across.len() * images));
        }
    }
    cost
}

/// The index of the largest of `classes` values for each of `positions` positions.
pub fn arg_max(bits: u8, index_bits: u8, leaf_bits: u8, classes: usize, positions: usize) -> Cost {
    let mut cost = Cost::default();
    for contests in tournament(&[classes]) {
        cost.then(&Comparison::MaxIndex { bits, index_bits }.cost(leaf_bits, contests * positions));
    }
    cost
}

/// The indices of the `k` largest of `classes` values for each of `positions` positions: maxima of keys that hold a value and its index.
pub fn top_k(bits: u8, index_bits: u8, leaf_bits: u8, classes: usize, k: usize, positions: usize) -> Cost {
    let mut cost = Cost::default();
    for layer in Network::top_k(classes, k).layers {
        cost.then(&Comparison::Max { bits: bits + index_bits }.cost(leaf_bits, layer.len() * positions));
    }
    cost
}

/// A piecewise linear function of `knots` knots on `n` elements: as many ReLUs, all of them side by side.
pub fn piecewise(bits: u8, leaf_bits: u8, knots: usize, n: usize) -> Cost {
    Comparison::Relu { bits }.cost(leaf_bits, knots * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fused_requantisation_costs_what_the_design_says() {
        let op = Comparison::RequantRelu { bits: 28, shift: 12, k: 16 };
        let need = op.need(3, 1);
        // 9 leaves of three bits, 7 merges within segments and the join with two OTs each; one to arithmetic, two to select.
        assert_eq!(need.client_receives.total() + need.server_receives.total(), 9 * 3 + 8 * 2 + 1 + 2);
        // Bits per element, both ways: leaves 17, but 10 where nothing propagates; merges 6, but those at bit 0 (two levels and
        // the join) 4; a word of 15 and its choice; two words of 16 and their choices.
        let online = op.online(3, 1 << 10);
        let bits: u64 = online.messages.iter().map(|message| message.payload_bytes * 8).sum();
        assert_eq!(bits >> 10, 9 * 17 - 7 + 8 * 6 - 3 * 2 + 16 + 34);
        assert_eq!(online.rounds(), 2 + 3 + 1 + 1);
    }

    #[test]
    fn low_carries_need_only_the_low_bits() {
        let narrow = Comparison::Requant { bits: 34, shift: 6, k: 16 };
        assert_eq!(narrow.carries(2), Some(Carries { low: 6, high: 0, leaf_bits: 2 }));
        let exact = Comparison::Requant { bits: 16, shift: 6, k: 16 };
        assert_eq!(exact.carries(1), Some(Carries { low: 6, high: 10, leaf_bits: 1 }));
        let sign_known = Comparison::Extend { bits: 16, k: 28, sign: Sign::NonNegative };
        assert_eq!(sign_known.need(3, 10).client_receives.total(), 10);
        assert_eq!(sign_known.online(3, 8).messages.iter().map(|m| m.payload_bytes).collect::<Vec<_>>(), [1, 12]);
    }

    #[test]
    fn tournaments_play_all_but_one() {
        assert_eq!(tournament(&[10]), [5, 2, 1, 1]);
        assert_eq!(tournament(&[3, 2, 1]), [2, 1]);
        assert_eq!(tournament(&[1, 1]), [0; 0]);
        assert_eq!(tournament(&[]), [0; 0]);
    }

    #[test]
    fn pools_read_only_what_windows_see() {
        let window = Window { kernel: [2, 3], strides: [3, 2], pads: [0, 1, 0, 1] };
        let pool = Pool::new(&window, 7, 5);
        assert_eq!(pool.rows, [0, 1, 3, 4]);
        assert_eq!(pool.down, [0..2, 2..4]);
        assert_eq!(pool.across, [0..2, 1..4, 3..5]);
    }

    #[test]
    fn waves_follow_each_other_and_chunks_draw_for_themselves() {
        let op = Comparison::Relu { bits: 16 };
        let mut both = op.cost(2, WAVE);
        both.then(&op.cost(2, 3));
        assert_eq!(op.cost(2, WAVE + 3), both);
        assert_eq!(op.cost(0, 0), Cost::default());
        let [more, few] = [CHUNK + 3, 3].map(|n| op.cost(2, n));
        assert_eq!((more.messages.len(), more.draws.len()), (few.messages.len(), few.draws.len() + 1));
    }
}
