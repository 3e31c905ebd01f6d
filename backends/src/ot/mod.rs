//! Random oblivious transfers between two parties, in both directions, against malicious adversaries.
//!
//! [`Correlations::establish`] runs base OTs (`base`), turns them into punctured PRFs (`pprf`) and keeps these for the
//! session. [`Correlations::draw`] is the *preprocess* step of every protocol that consumes OTs: independent of all inputs, it
//! extends in both directions by what is needed (`softspoken`), hashes the correlated rows (`hash`) and returns compact
//! [`Pads`] of random OTs: for each, its sender holds `r_0` and `r_1`, its receiver a random choice `c` and `r_c`. The sender does
//! not learn `c`, the receiver not the other pad.
//!
//! A peer that deviates is [`Error::PeerMisbehaved`]. After any error the correlations are void: seeds and the senders' secrets
//! are wiped and every further draw fails with the blame of the first failure. Pads already drawn are their holder's.

mod base;
mod hash;
mod kernels;
mod pads;
mod pprf;
mod softspoken;

use fusion_catalogue::ot::{Need, Ots, SoftSpoken, batches};
use fusion_ir::Party;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

pub use pads::{Pads, ReceiverPads, SenderPads};

use crate::{Channel, Error, Kind};
use base::Domain;
use hash::RowHash;
use kernels::{COLUMNS, transpose};

/// One party's half of a session's OT correlations, both directions.
pub struct Correlations {
    party: Party,
    params: SoftSpoken,
    state: State,
}

enum State {
    Live(Box<Live>),
    /// Something went wrong: whether it was the peer's fault.
    Over { peer_misbehaved: bool },
}

struct Live {
    sender: softspoken::Sender,
    sender_hash: RowHash,
    receiver: softspoken::Receiver,
    receiver_hash: RowHash,
}

impl Correlations {
    /// Sets up both directions with `peer` at the other end of `channel`: the two exchanges of [`SoftSpoken::setup`].
    ///
    /// Both parties must use the same `params` and the same `session_id`, which no other session may have had.
    pub fn establish(
        party: Party,
        channel: &mut dyn Channel,
        session_id: &[u8; 32],
        params: SoftSpoken,
    ) -> Result<Correlations, Error> {
        Correlations::establish_with(party, channel, session_id, params, &mut os_rng()?)
    }

    /// As [`Correlations::establish`], with all randomness from `rng`.
    fn establish_with(
        party: Party,
        channel: &mut dyn Channel,
        session_id: &[u8; 32],
        params: SoftSpoken,
        rng: &mut ChaCha20Rng,
    ) -> Result<Correlations, Error> {
        // `sending` is the direction in which this party sends the extended OTs: there it *receives* base OTs and trees.
        let sending = Domain { session_id, receiver: party.peer() };
        let receiving = Domain { session_id, receiver: party };

        let mut delta = Zeroizing::new([0; 16]);
        rng.fill_bytes(&mut *delta);
        let delta = Zeroizing::new(u128::from_le_bytes(*delta));
        // Level i of the trees is opened on the side opposite to bit i of the point.
        let (base_receiver, from_receiver) = base::Receiver::new(sending, !*delta, rng);
        let (base_sender, from_sender) = base::Sender::new(rng);
        channel.send(Kind::BaseOt, [&from_receiver[..], &from_sender].concat())?;
        let theirs = channel.receive(Kind::BaseOt, base::RECEIVER_BYTES + base::SENDER_BYTES)?;
        let (their_receiver, their_sender) = theirs.split_at(base::RECEIVER_BYTES);
        let pairs = base_sender.finish(receiving, their_receiver)?;
        let keys = base_receiver.finish(sending, their_sender)?;

        let k = params.k();
        let mut all_leaves = Vec::with_capacity(params.trees());
        let mut trees = Vec::new();
        for (tree, pairs) in pairs.chunks_exact(k).enumerate() {
            let (leaves, message) = pprf::expand(receiving, tree, pairs);
            all_leaves.push(leaves);
            trees.extend_from_slice(&message);
        }
        channel.send(Kind::BaseOt, trees.clone())?;
        let their_trees = channel.receive(Kind::BaseOt, params.tree_bytes() as usize * params.trees())?;
        let mut punctured = Vec::with_capacity(params.trees());
        let messages = their_trees.chunks_exact(params.tree_bytes() as usize);
        for (tree, (keys, message)) in keys.chunks_exact(k).zip(messages).enumerate() {
            let point = (*delta >> (tree * k)) as usize % params.leaves();
            punctured.push(pprf::puncture(sending, tree, keys, point as u8, message)?);
        }

        let transcript = |domain: Domain, messages: [&[u8]; 3]| -> [u8; 32] {
            let hash = domain.hash::<Sha256>("transcript ").chain_update([params.k() as u8]);
            messages.iter().fold(hash, |hash, message| hash.chain_update(message)).finalize().into()
        };
        let sent = transcript(sending, [&from_receiver, their_sender, &their_trees]);
        let received = transcript(receiving, [their_receiver, &from_sender, &trees]);
        let live = Live {
            sender: softspoken::Sender::new(params, *delta, &punctured, sent),
            sender_hash: RowHash::new(sending),
            receiver: softspoken::Receiver::new(params, &all_leaves, received),
            receiver_hash: RowHash::new(receiving),
        };
        Ok(Correlations { party, params, state: State::Live(Box::new(live)) })
    }

    /// Draws the random OTs that `need` says: the messages of [`SoftSpoken::draw`].
    ///
    /// Both parties must draw the same needs in the same order.
    pub fn draw(&mut self, channel: &mut dyn Channel, need: &Need) -> Result<Pads, Error> {
        // Until the draw succeeds the state is over, so whatever fails drops and wipes it: an extension is never retried.
        let over = State::Over { peer_misbehaved: false };
        let mut live = match std::mem::replace(&mut self.state, over) {
            State::Live(live) => live,
            State::Over { peer_misbehaved } => {
                self.state = State::Over { peer_misbehaved };
                let why = "an earlier failure ended the session's oblivious transfers";
                return Err(match peer_misbehaved {
                    true => Error::PeerMisbehaved(why.into()),
                    false => Error::Io(std::io::Error::other(why)),
                });
            }
        };
        let result = live.draw(self.party, self.params, channel, need);
        self.state = match &result {
            Ok(_) => State::Live(live),
            Err(error) => State::Over { peer_misbehaved: matches!(error, Error::PeerMisbehaved(_)) },
        };
        result
    }
}

impl Live {
    fn draw(
        &mut self,
        party: Party,
        params: SoftSpoken,
        channel: &mut dyn Channel,
        need: &Need,
    ) -> Result<Pads, Error> {
        let received = need.received_by(party);
        let sent = need.received_by(party.peer());
        let receiving = match received.total() {
            0 => ReceiverPads::default(),
            _ => {
                let (pads, message) = self.receive(&received, params);
                channel.send(Kind::OtExtension, message)?;
                pads
            }
        };
        let sending = match sent.total() {
            0 => SenderPads::default(),
            _ => {
                let message = channel.receive(Kind::OtExtension, params.extension_bytes(&sent) as usize)?;
                self.send(&sent, params, &message)?
            }
        };
        Ok(Pads { sending, receiving })
    }

    fn receive(&mut self, ots: &Ots, params: SoftSpoken) -> (ReceiverPads, Vec<u8>) {
        let mut message = Vec::with_capacity(params.extension_bytes(ots) as usize);
        let mut pads = pads::ReceiverBuilder::new(ots);
        for tiles in batches(ots.tiles()) {
            let mut batch = self.receiver.extend(tiles as usize, &mut message);
            let rows = batch.columns.as_chunks_mut::<COLUMNS>().0;
            for (tile, (rows, choices)) in (batch.first_tile..).zip(rows.iter_mut().zip(batch.choices.iter())) {
                transpose(rows);
                self.receiver_hash.hash_tile(tile, rows);
                pads.push(*choices, rows);
            }
        }
        (pads.finish(), message)
    }

    fn send(&mut self, ots: &Ots, params: SoftSpoken, mut message: &[u8]) -> Result<SenderPads, Error> {
        let mut pads = pads::SenderBuilder::new(ots);
        let delta = Zeroizing::new(self.sender.delta());
        let mut others = [0; COLUMNS];
        for tiles in batches(ots.tiles()) {
            let (part, rest) = message.split_at(params.batch_bytes(tiles) as usize);
            message = rest;
            let mut batch = self.sender.extend(tiles as usize, part)?;
            let rows = batch.columns.as_chunks_mut::<COLUMNS>().0;
            for (tile, rows) in (batch.first_tile..).zip(rows) {
                transpose(rows);
                others.iter_mut().zip(rows.iter()).for_each(|(other, row)| *other = row ^ *delta);
                self.sender_hash.hash_tile(tile, rows);
                self.sender_hash.hash_tile(tile, &mut others);
                pads.push(rows, &others);
            }
        }
        others.zeroize();
        Ok(pads.finish())
    }
}

/// A generator for secrets, seeded by the operating system.
fn os_rng() -> Result<ChaCha20Rng, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| Error::Io(std::io::Error::other(error.to_string())))?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{LocalChannel, pair};

    const ID: [u8; 32] = [3; 32];

    /// Runs both parties' `run` on an established session.
    fn both<T: Send>(k: u8, run: impl Fn(Party, &mut Correlations, &mut LocalChannel) -> T + Sync) -> [T; 2] {
        let (left, right) = pair();
        let side = |party, mut channel: LocalChannel| {
            let params = SoftSpoken::new(k).unwrap();
            let mut correlations = Correlations::establish(party, &mut channel, &ID, params).unwrap();
            run(party, &mut correlations, &mut channel)
        };
        std::thread::scope(|scope| {
            let server = scope.spawn(|| side(Party::Server, right));
            [side(Party::Client, left), server.join().unwrap()]
        })
    }

    fn check_direction(ots: &Ots, sending: &mut SenderPads, receiving: &mut ReceiverPads) {
        let [zero, sum] = sending.bits(ots.bits as usize);
        let [choice, pad] = receiving.bits(ots.bits as usize);
        assert_eq!(pad, zero.xor(&choice.and(&sum)));
        let pairs = ots.pairs as usize;
        let ([zeros, sums], (choice, pads)) = (sending.pairs(pairs), receiving.pairs(pairs));
        for i in 0..2 {
            assert_eq!(pads[i], zeros[i].xor(&choice.and(&sums[i])));
        }
        let (choice, words) = receiving.words(ots.words as usize);
        let [zeros, ones] = sending.words(ots.words as usize);
        for (i, choice) in choice.iter().enumerate() {
            assert_eq!(words[i], if choice == 1 { ones[i] } else { zeros[i] });
            assert_ne!(zeros[i], ones[i]);
        }
        assert!(sending.is_empty() && receiving.is_empty());
    }

    #[test]
    fn pads_are_random_ots_in_both_directions() {
        let needs = [
            Need {
                client_receives: Ots { bits: 40_000, pairs: 129, words: 1000 },
                server_receives: Ots { bits: 0, pairs: 300, words: 1 },
            },
            Need { client_receives: Ots::default(), server_receives: Ots { bits: 64, pairs: 0, words: 0 } },
        ];
        for k in [2, 4] {
            let [mut client, mut server] =
                both(k, |_, correlations, channel| needs.map(|need| correlations.draw(channel, &need).unwrap()));
            for (need, (client, server)) in needs.iter().zip(client.iter_mut().zip(&mut server)) {
                check_direction(&need.client_receives, &mut server.sending, &mut client.receiving);
                check_direction(&need.server_receives, &mut client.sending, &mut server.receiving);
            }
        }
    }

    #[test]
    fn pads_look_random() {
        let ots = Ots { bits: 10_000, ..Ots::default() };
        let need = Need { client_receives: ots, server_receives: ots };
        let [client, server] = both(4, |_, correlations, channel| {
            let mut pads = correlations.draw(channel, &need).unwrap();
            [pads.sending.bits(10_000), pads.receiving.bits(10_000)]
        });
        for bits in [client, server].iter().flatten().flatten() {
            let ones: u64 = bits.iter().sum();
            assert!((4700..5300).contains(&ones), "{ones} of 10000 bits are one");
        }
    }

    #[test]
    fn a_corrupted_extension_voids_the_correlations() {
        let need = Need { client_receives: Ots { bits: 1, ..Ots::default() }, ..Need::default() };
        let [_, server] = both(4, |party, correlations, channel| {
            if party == Party::Client {
                let bytes = SoftSpoken::default().extension_bytes(&need.client_receives) as usize;
                channel.send(Kind::OtExtension, vec![0x55; bytes]).unwrap();
                return [true, true];
            }
            let refused = |result: Result<Pads, Error>| matches!(result, Err(Error::PeerMisbehaved(_)));
            [refused(correlations.draw(channel, &need)), refused(correlations.draw(channel, &Need::default()))]
        });
        assert_eq!(server, [true, true]);
    }

    #[test]
    fn a_lost_connection_is_not_the_peers_misbehaviour() {
        let need = Need { client_receives: Ots { bits: 1, ..Ots::default() }, ..Need::default() };
        let [_, server] = both(4, |party, correlations, channel| {
            if party == Party::Client {
                *channel = pair().0;
                return [true, true];
            }
            [0, 1].map(|_| matches!(correlations.draw(channel, &need), Err(Error::Io(_))))
        });
        assert_eq!(server, [true, true]);
    }

    #[test]
    fn different_sessions_do_not_understand_each_other() {
        let (mut left, mut right) = pair();
        let params = SoftSpoken::default();
        let results = std::thread::scope(|scope| {
            let server =
                scope.spawn(move || Correlations::establish(Party::Server, &mut right, &[4; 32], params).is_err());
            [Correlations::establish(Party::Client, &mut left, &ID, params).is_err(), server.join().unwrap()]
        });
        assert_eq!(results, [true, true]);
    }
}
