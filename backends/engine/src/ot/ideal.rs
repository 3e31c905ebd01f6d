//! For tests: the ideal functionality of oblivious transfer, a trusted dealer inside the process.
//!
//! What it deals is distributed as what the protocols make, and no message passes. So a test of
//! layers or comparisons that is not about oblivious transfer spends no time on it.
//!
//! **Not for use between parties**: both ends know all pads of both. No build without debug
//! assertions, hence no release build, has this module; programs do not use it in any build.

// As where the module is declared. Without it there, no release build compiles.
#[cfg(not(any(test, debug_assertions)))]
compile_error!("a dealer that knows everybody's pads is for tests only");

use std::sync::{Arc, Mutex, PoisonError};

use chacha20::ChaCha20Rng;
use fusion_catalogue::ot::{OtCount, Ots};
use fusion_ir::Party;
use rand_core::{Rng, SeedableRng};

use super::Pads;
use super::pads::{Queue, ReceiverPads, SenderPads};
use crate::bits::Bits;

/// One party's end of a dealer.
pub struct Dealer {
    party: Party,
    /// What the other end has too: each deals what both get, and keeps its own.
    rng: ChaCha20Rng,
    drawn: Drawn,
}

/// What one party has drawn, in order.
pub type Drawn = Arc<Mutex<Vec<OtCount>>>;

/// The client's and the server's end of a dealer, whose pads `seed` determines. They must draw the
/// same needs in the same order.
pub fn pair(seed: u64) -> (Dealer, Dealer) {
    let end = |party| Dealer { party, rng: ChaCha20Rng::seed_from_u64(seed), drawn: Drawn::default() };
    (end(Party::Client), end(Party::Server))
}

impl Dealer {
    /// What this end has drawn and will draw, to be compared with what was predicted.
    pub fn drawn(&self) -> Drawn {
        Arc::clone(&self.drawn)
    }

    /// This end's pads of `need`.
    pub(super) fn deal(&mut self, need: &OtCount) -> Pads {
        // A test that panicked with the lock held is no reason to panic too.
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).push(*need);
        let mut direction = |ots| deal(&ots, &mut self.rng);
        let (to_client, to_server) = (direction(need.client_receives), direction(need.server_receives));
        match self.party {
            Party::Client => Pads { sending: to_server.0, receiving: to_client.1 },
            Party::Server => Pads { sending: to_client.0, receiving: to_server.1 },
        }
    }
}

/// Both sides of one direction.
fn deal(ots: &Ots, rng: &mut ChaCha20Rng) -> (SenderPads, ReceiverPads) {
    let (bits, bits_received) = of_two::<1>(ots.bits as usize, rng);
    let (pairs, pairs_received) = of_two::<2>(ots.pairs as usize, rng);
    let (mut tables, mut tables_received): ([Queue<Bits>; 3], [Queue<Bits>; 3]) = Default::default();
    for (place, (width, n)) in ots.tables().enumerate() {
        (tables[place], tables_received[place]) = of_many(width, n as usize, rng);
    }
    let n = ots.words as usize;
    let [zeros, ones] = [0, 1].map(|_| (0..n).map(|_| rng.next_u64()).collect::<Vec<u64>>());
    let choices = random(n, rng);
    let choose = |((zero, one), choice): ((&u64, &u64), u64)| if choice == 1 { *one } else { *zero };
    let chosen = zeros.iter().zip(&ones).zip(choices.iter()).map(choose).collect();
    let sending = SenderPads { bits, pairs, tables, words: Queue::new(vec![zeros, ones]) };
    let choices = Queue::new(vec![choices]);
    let words = Queue::new(vec![chosen]);
    (sending, ReceiverPads { bits: bits_received, pairs: pairs_received, tables: tables_received, choices, words })
}

/// 1-of-2 OTs of `WIDTH` bits: every bit of `r_0`, then every bit of `r_0 + r_1`; the choices, then
/// every bit of what was chosen.
fn of_two<const WIDTH: usize>(n: usize, rng: &mut ChaCha20Rng) -> (Queue<Bits>, Queue<Bits>) {
    let [zeros, sums] = [0, 1].map(|_| [0; WIDTH].map(|_| random(n, rng)));
    let choice = random(n, rng);
    let chosen = zeros.iter().zip(&sums).map(|(zero, sum)| zero.xor(&choice.and(sum)));
    let received = std::iter::once(choice.clone()).chain(chosen).collect();
    (Queue::new(zeros.into_iter().chain(sums).collect()), Queue::new(received))
}

/// 1-of-`2^width` OTs of two bits: both bits of every pad; the bits of every choice, lowest first,
/// and both bits of the pad chosen.
fn of_many(width: usize, n: usize, rng: &mut ChaCha20Rng) -> (Queue<Bits>, Queue<Bits>) {
    let pads: Vec<Bits> = (0..2 << width).map(|_| random(n, rng)).collect();
    let choices: Vec<Bits> = (0..width).map(|_| random(n, rng)).collect();
    let mut chosen = [0, 1].map(|_| Bits::zeros(n));
    for (number, pad) in pads.chunks_exact(2).enumerate() {
        let here = |bit: usize| if number >> bit & 1 == 1 { choices[bit].clone() } else { choices[bit].not() };
        let here = (1..width).fold(here(0), |all, bit| all.and(&here(bit)));
        chosen.iter_mut().zip(pad).for_each(|(chosen, pad)| *chosen = chosen.xor(&here.and(pad)));
    }
    (Queue::new(pads), Queue::new(choices.into_iter().chain(chosen).collect()))
}

fn random(n: usize, rng: &mut ChaCha20Rng) -> Bits {
    Bits::from_words((0..n.div_ceil(64)).map(|_| rng.next_u64()).collect(), n)
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_direction;
    use super::*;

    #[test]
    fn dealt_pads_are_random_ots_in_both_directions() {
        let needs = [
            OtCount {
                client_receives: Ots { bits: 1000, pairs: 129, words: 70, tables: [300, 64, 3] },
                server_receives: Ots { bits: 0, pairs: 1, words: 1, tables: [0, 1, 200] },
            },
            OtCount { client_receives: Ots::default(), server_receives: Ots { bits: 64, ..Ots::default() } },
        ];
        let (mut client, mut server) = pair(1);
        for need in needs {
            let (mut client, mut server) = (client.deal(&need), server.deal(&need));
            check_direction(&need.client_receives, &mut server.sending, &mut client.receiving);
            check_direction(&need.server_receives, &mut client.sending, &mut server.receiving);
        }
        assert_eq!([client, server].map(|end| end.drawn().lock().unwrap().clone()), [needs, needs]);
    }

    #[test]
    fn dealt_pads_look_random_and_differ_from_draw_to_draw() {
        let need = OtCount { client_receives: Ots { bits: 10_000, ..Ots::default() }, ..OtCount::default() };
        let (mut client, mut server) = pair(2);
        let mut draw = || {
            let (mut client, mut server) = (client.deal(&need), server.deal(&need));
            [client.receiving.bits(10_000), server.sending.bits(10_000)].concat()
        };
        let (first, second) = (draw(), draw());
        for (first, second) in first.iter().zip(&second) {
            for bits in [first, second, &first.xor(second)] {
                let ones: u64 = bits.iter().sum();
                assert!((4700..5300).contains(&ones), "{ones} of 10000 bits are one");
            }
        }
    }
}
