//! Pads for a session's layers, on demand or by a thread that runs ahead of them.

use std::sync::Arc;
use std::thread::JoinHandle;

use fusion_catalogue::ot::{OtCount, OtSource};
use fusion_ir::Party;

use super::{Correlations, Pads};
use crate::shelf::{Filling, Shelf, Stored};
use crate::{Channel, Error};

/// Makes one party's [`Pads`] on a channel of its own, independently of all inputs.
///
/// A generator works [on demand](Generator::on_demand), each draw exchanging the messages of
/// [`OtPool::draw`](fusion_catalogue::ot::OtPool::draw); or, if it is known what will be drawn, it
/// [runs ahead](Generator::ahead) on a thread of its own. The messages on its channel are the same,
/// and both parties may choose independently.
///
/// After any error every draw fails, with the blame of the first failure, and pads made ahead are
/// wiped.
pub struct Generator {
    mode: Mode,
}

enum Mode {
    OnDemand {
        correlations: Box<Correlations>,
        channel: Box<dyn Channel>,
    },
    Ahead {
        shelf: Arc<Shelf<OtCount, Pads>>,
        thread: Option<JoinHandle<()>>,
    },
    /// For tests: see [`super::ideal`].
    #[cfg(any(test, debug_assertions))]
    Dealt(Box<super::ideal::Dealer>),
}

impl Generator {
    /// Pads that wait for their draw take up no more memory than this, but that of the largest
    /// draw.
    pub const AHEAD_BYTES: usize = 48 << 20;

    /// Sets up correlations with the generator at the other end of `channel`, which no other
    /// messages may cross ([`OtSource::setup`]), and makes pads of them on demand.
    ///
    /// Both parties must use the same `supply` and the same `session_id`, which no other session
    /// may have had.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if a check fails.
    pub fn establish(
        party: Party,
        mut channel: Box<dyn Channel>,
        session_id: &[u8; 32],
        supply: OtSource,
    ) -> Result<Generator, Error> {
        let correlations = Correlations::establish(party, &mut *channel, session_id, supply)?;
        Ok(Generator::on_demand(correlations, channel))
    }

    /// From correlations that were established over `channel`.
    pub fn on_demand(correlations: Correlations, channel: Box<dyn Channel>) -> Generator {
        Generator { mode: Mode::OnDemand { correlations: Box::new(correlations), channel } }
    }

    /// From correlations that were established over `channel`, and running ahead: it makes the pads
    /// of `needs` in order; exactly these must be drawn.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn ahead(
        mut correlations: Correlations,
        mut channel: Box<dyn Channel>,
        needs: impl IntoIterator<Item = OtCount, IntoIter: Send + 'static>,
    ) -> Result<Generator, Error> {
        let shelf = Arc::new(Shelf::new(Generator::AHEAD_BYTES, "oblivious transfers"));
        let (needs, filling) = (needs.into_iter(), Filling::of(&shelf));
        let run = move || {
            for need in needs {
                let made = correlations.draw(&mut *channel, &need);
                if !filling.put(need, made) {
                    return;
                }
            }
            filling.finished();
        };
        let thread = std::thread::Builder::new().name("correlations".into()).spawn(run)?;
        Ok(Generator { mode: Mode::Ahead { shelf, thread: Some(thread) } })
    }

    /// For tests: one that hands out what a trusted dealer has dealt, without any message.
    #[cfg(any(test, debug_assertions))]
    pub fn dealt(dealer: super::ideal::Dealer) -> Generator {
        Generator { mode: Mode::Dealt(Box::new(dealer)) }
    }

    /// The random OTs that `need` says. Both parties must draw the same needs in the same order.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if a check fails.
    ///
    /// # Panics
    /// If it runs ahead and the need is not the one that was announced.
    pub fn draw(&mut self, need: &OtCount) -> Result<Pads, Error> {
        match &mut self.mode {
            Mode::OnDemand { correlations, channel } => correlations.draw(&mut **channel, need),
            Mode::Ahead { shelf, .. } => shelf.take(need),
            #[cfg(any(test, debug_assertions))]
            Mode::Dealt(dealer) => Ok(dealer.deal(need)),
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        if let Mode::Ahead { shelf, thread } = &mut self.mode {
            // A thread that has made everything is about to end, and with it its end of the
            // channel. One that waits for its peer ends when the connection does.
            if shelf.close()
                && let Some(thread) = thread.take()
            {
                let _ = thread.join();
            }
        }
    }
}

impl Stored for Pads {
    fn bytes(&self) -> usize {
        Pads::bytes(self)
    }
}

#[cfg(test)]
mod tests {
    use fusion_catalogue::ot::{Ferret, Ots, SoftSpoken, TILE_ROWS};

    use super::*;
    use crate::Kind;
    use crate::channel::{LocalChannel, pair};

    const ID: [u8; 32] = [8; 32];

    fn need(client: u64, server: u64) -> OtCount {
        let ots = |words| Ots { words, bits: 3, ..Ots::default() };
        OtCount { client_receives: ots(client), server_receives: ots(server) }
    }

    /// Runs both parties, each with correlations and the channel that they were established over.
    fn both<T: Send>(supply: OtSource, run: impl Fn(Party, Correlations, LocalChannel) -> T + Sync) -> [T; 2] {
        let (left, right) = pair();
        let side = |party, mut channel: LocalChannel| {
            let correlations = Correlations::establish(party, &mut channel, &ID, supply).unwrap();
            run(party, correlations, channel)
        };
        std::thread::scope(|scope| {
            let server = scope.spawn(|| side(Party::Server, right));
            [side(Party::Client, left), server.join().unwrap()]
        })
    }

    #[test]
    fn a_generator_that_runs_ahead_makes_what_one_on_demand_makes() {
        // More than may be kept, and one that is by itself.
        let large = Generator::AHEAD_BYTES as u64 / 16 + 1;
        let needs = [
            need(70, 1),
            need(0, 1000),
            need(large, 1),
            need(0, 0),
            need(large / 2, 2),
            need(large / 2, 1),
            need(5, 5),
        ];
        let supply = OtSource::Silent(Ferret::B11);
        for ahead in [[true, true], [true, false]] {
            let [client, server] = both(supply, |party, correlations, channel| {
                let channel = Box::new(channel);
                let mut generator = match ahead[party as usize] {
                    true => Generator::ahead(correlations, channel, needs).unwrap(),
                    false => Generator::on_demand(correlations, channel),
                };
                needs.map(|need| {
                    let mut pads = generator.draw(&need).unwrap();
                    let [sent, received] = [need.received_by(party.peer()), need.received_by(party)];
                    let [zeros, ones] = pads.sending.words(sent.words as usize);
                    let (choices, chosen) = pads.receiving.words(received.words as usize);
                    let choices: Vec<u64> = choices.iter().collect();
                    (zeros, ones, choices, chosen.to_vec())
                })
            });
            for (client, server) in client.iter().zip(&server) {
                for (sender, receiver) in [(client, server), (server, client)] {
                    for (i, choice) in receiver.2.iter().enumerate() {
                        assert_eq!(receiver.3[i], if *choice == 1 { sender.1[i] } else { sender.0[i] });
                    }
                }
            }
        }
    }

    #[test]
    fn a_misbehaving_peer_is_blamed_and_nothing_made_before_is_handed_out() {
        let need = need(100, 0);
        let supply = OtSource::default();
        let [_, server] = both(supply, |party, mut correlations, mut channel| {
            if party == Party::Client {
                correlations.draw(&mut channel, &need).unwrap();
                let bytes = SoftSpoken::default().extension_bytes(need.client_receives.tiles()) as usize;
                channel.send(Kind::OtExtension, vec![7; bytes]).unwrap();
                // Its own message of the second draw does not matter any more, but hanging up early
                // would.
                let _ = channel.receive(Kind::OtExtension, 0);
                return true;
            }
            let mut generator = Generator::ahead(correlations, Box::new(channel), [need; 3]).unwrap();
            let Mode::Ahead { shelf, .. } = &generator.mode else { unreachable!() };
            assert_eq!(shelf.ended_with(), 0);
            [0, 1].iter().all(|_| matches!(generator.draw(&need), Err(Error::PeerMisbehaved(_))))
        });
        assert!(server);
    }

    #[test]
    fn a_lost_connection_ends_it_without_blame_and_dropping_it_never_hangs() {
        let need = need(TILE_ROWS, 0);
        let [_, server] = both(OtSource::default(), |party, mut correlations, mut channel| {
            if party == Party::Client {
                correlations.draw(&mut channel, &need).unwrap();
                return true;
            }
            let mut generator = Generator::ahead(correlations, Box::new(channel), std::iter::repeat(need)).unwrap();
            let lost = loop {
                if let Err(error) = generator.draw(&need) {
                    break matches!(error, Error::Io(_));
                }
            };
            lost && matches!(generator.draw(&need), Err(Error::Io(_)))
        });
        assert!(server);
        both(OtSource::default(), |_, correlations, channel| {
            let mut generator = Generator::ahead(correlations, Box::new(channel), std::iter::repeat(need)).unwrap();
            // Fails if the peer was quicker.
            let _ = generator.draw(&need);
        });
    }

    #[test]
    #[should_panic(expected = "another need")]
    fn what_was_not_announced_is_not_drawn() {
        both(OtSource::default(), |party, correlations, channel| {
            let mut generator = Generator::ahead(correlations, Box::new(channel), [need(1, 1)]).unwrap();
            if party == Party::Client {
                let _ = generator.draw(&need(2, 1));
            }
        });
    }
}
