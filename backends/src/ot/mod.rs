//! Random oblivious transfers between two parties, in both directions, against malicious adversaries.
//!
//! [`Correlations::establish`] runs base OTs (`base`), turns them into punctured PRFs (`pprf`) and keeps these for the
//! session. [`Correlations::draw`] is the *preprocess* step of every protocol that consumes OTs: independent of all inputs, it
//! extends in both directions by what is needed (`softspoken`), hashes the correlated rows (`hash`) and returns compact
//! [`Pads`] of random OTs: for each, its sender holds `r_0` and `r_1`, its receiver a random choice `c` and `r_c`. The sender does
//! not learn `c`, the receiver not the other pad. Several correlated rows also make one OT of many pads (`pads`).
//!
//! A peer that deviates is [`Error::PeerMisbehaved`]. After any error the correlations are void: seeds and the senders' secrets
//! are wiped and every further draw fails with the blame of the first failure. Pads already drawn are their holder's.

mod base;
mod hash;
mod pads;
mod pprf;
mod softspoken;
#[cfg(test)]
mod tests;

use fusion_catalogue::ot::{Need, Ots, SoftSpoken, batches};
use fusion_ir::Party;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use pads::{Pads, ReceiverPads, SenderPads};
#[cfg(test)]
pub(crate) use tests::wire;

use crate::kernels::{COLUMNS, transpose};
use crate::{Channel, Error, Kind};
use base::Domain;
use hash::RowHash;

/// One party's half of a session's OT correlations, both directions.
pub struct Correlations {
    party: Party,
    params: SoftSpoken,
    state: State,
}

enum State {
    Live(Box<Live>),
    /// Something went wrong: whether it was the peer's fault.
    Over {
        peer_misbehaved: bool,
    },
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
    pub(crate) fn establish_with(
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
        let mut pads = pads::ReceiverBuilder::new(ots, &self.receiver_hash);
        for tiles in batches(ots.tiles()) {
            let batch = self.receiver.extend(tiles as usize, &mut message);
            let rows = batch.columns.as_chunks_mut::<COLUMNS>().0;
            for (tile, (rows, choices)) in (batch.first_tile..).zip(rows.iter_mut().zip(batch.choices.iter())) {
                transpose(rows);
                pads.push(tile, *choices, rows);
            }
        }
        (pads.finish(), message)
    }

    fn send(&mut self, ots: &Ots, params: SoftSpoken, mut message: &[u8]) -> Result<SenderPads, Error> {
        let mut pads = pads::SenderBuilder::new(ots, &self.sender_hash, self.sender.delta());
        for tiles in batches(ots.tiles()) {
            let (part, rest) = message.split_at(params.batch_bytes(tiles) as usize);
            message = rest;
            let batch = self.sender.extend(tiles as usize, part)?;
            let rows = batch.columns.as_chunks_mut::<COLUMNS>().0;
            for (tile, rows) in (batch.first_tile..).zip(rows) {
                transpose(rows);
                pads.push(tile, rows);
            }
        }
        Ok(pads.finish())
    }
}

/// A generator for secrets, seeded by the operating system.
fn os_rng() -> Result<ChaCha20Rng, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| Error::Io(std::io::Error::other(error.to_string())))?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
