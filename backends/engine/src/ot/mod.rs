//! Random oblivious transfers between two parties, in both directions, against malicious
//! adversaries.
//!
//! [`Correlations::establish`] runs base OTs (`base`), turns them into punctured PRFs (`pprf`) and
//! keeps these for the session. [`Correlations::draw`] is the *preprocess* step of every protocol
//! that consumes OTs: independent of all inputs, it makes as many correlated rows in both
//! directions as are needed, by OT extension (`softspoken`) or, in rounds of millions, by silent OT
//! (`silent`, `ferret`), hashes them (`hash`) and returns compact [`Pads`] of random OTs: for each,
//! its sender holds `r_0` and `r_1`, its receiver a random choice `c` and `r_c`. The sender does
//! not learn `c`, the receiver not the other pad. Several correlated rows also make one OT of many
//! pads (`pads`).
//!
//! Layers draw from a [`Generator`], which has a channel of its own and may run ahead of them.
//!
//! A peer that deviates is [`Error::PeerMisbehaved`]. After any error the correlations are void:
//! seeds and the senders' secrets are wiped and every further draw fails with the blame of the
//! first failure. Pads already drawn are their holder's.

mod base;
mod builders;
mod extensions;
mod ferret;
mod generator;
mod hash;
#[cfg(any(test, debug_assertions))]
pub mod ideal;
mod kkot;
mod pads;
mod pprf;
mod silent;
mod softspoken;
#[cfg(test)]
mod tests;

use chacha20::ChaCha20Rng;
use fusion_catalogue::ot::{OtCount, OtSource, SoftSpoken};
use fusion_ir::Party;
use rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use extensions::Extensions;
pub use generator::Generator;
pub use pads::{Pads, ReceiverPads, SenderPads};
#[cfg(test)]
pub(crate) use tests::wire;

use crate::kernels::transpose;
use crate::threads::on_pool;
use crate::{Channel, Error, Kind};
use base::Domain;
use builders::{Builder, FEWEST_TILES, Receiving, Sending, Tiles};
use hash::RowHash;

use silent::{Fresh, Silent};

/// One party's half of a session's OT correlations, both directions.
pub struct Correlations {
    party: Party,
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
    delta: Zeroizing<u128>,
    source: Source,
    sender_hash: RowHash,
    receiver_hash: RowHash,
}

/// Where rows come from.
enum Source {
    SoftSpoken { params: SoftSpoken, sender: Box<softspoken::Sender>, receiver: Box<softspoken::Receiver> },
    Silent(Silent),
}

impl Correlations {
    /// Sets up both directions with `peer` at the other end of `channel`: the two exchanges of
    /// [`OtSource::setup`].
    ///
    /// Both parties must use the same `supply` and the same `session_id`, which no other session
    /// may have had.
    pub fn establish(
        party: Party,
        channel: &mut dyn Channel,
        session_id: &[u8; 32],
        supply: OtSource,
    ) -> Result<Correlations, Error> {
        Correlations::establish_with(party, channel, session_id, supply, &mut os_rng()?)
    }

    /// As [`Correlations::establish`], with all randomness from `rng`.
    pub(crate) fn establish_with(
        party: Party,
        channel: &mut dyn Channel,
        session_id: &[u8; 32],
        supply: OtSource,
        rng: &mut ChaCha20Rng,
    ) -> Result<Correlations, Error> {
        // `sending` is the direction in which this party sends the extended OTs: there it
        // *receives* base OTs and trees.
        let sending = Domain { session_id, receiver: party.peer() };
        let receiving = Domain { session_id, receiver: party };

        let params = supply.extension();
        let mut delta = Zeroizing::new([0; 16]);
        rng.fill_bytes(&mut *delta);
        // Rows of silent OT carry their choice in the lowest bit.
        let lowest = u128::from(matches!(supply, OtSource::Silent(_)));
        let delta = Zeroizing::new(u128::from_le_bytes(*delta) | lowest);
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
            // Every number of leaves is a power of two: the secret needs no division.
            let point = (*delta >> (tree * k)) as usize & (params.leaves() - 1);
            punctured.push(pprf::puncture(sending, tree, keys, point as u8, message)?);
        }

        let transcript = |domain: Domain, messages: [&[u8]; 3]| -> [u8; 32] {
            let hash = domain.hash::<Sha256>("transcript ").chain_update([params.k() as u8]);
            messages.iter().fold(hash, |hash, message| hash.chain_update(message)).finalize().into()
        };
        let sent = transcript(sending, [&from_receiver, their_sender, &their_trees]);
        let received = transcript(receiving, [their_receiver, &from_sender, &trees]);
        let sender = softspoken::Sender::new(params, *delta, &punctured, sent);
        let receiver = softspoken::Receiver::new(params, &all_leaves, received);
        let source = match supply {
            OtSource::SoftSpoken(params) => {
                Source::SoftSpoken { params, sender: Box::new(sender), receiver: Box::new(receiver) }
            }
            OtSource::Silent(set) => {
                let session_id = *session_id;
                let sender = Fresh { extension: sender, session_id, receiver: party.peer() };
                let receiver = Fresh { extension: receiver, session_id, receiver: party };
                let mut seed = Zeroizing::new([0; 32]);
                rng.fill_bytes(&mut *seed);
                let sender = silent::Sender::new(set, sender, seed);
                let receiver = silent::Receiver::new(set, receiver);
                Source::Silent(Silent { sender, receiver })
            }
        };
        let [sender_hash, receiver_hash] = [sending, receiving].map(RowHash::new);
        let live = Live { delta, source, sender_hash, receiver_hash };
        Ok(Correlations { party, state: State::Live(Box::new(live)) })
    }

    /// Draws the random OTs that `need` says: the messages of
    /// [`OtPool::draw`](fusion_catalogue::ot::OtPool::draw).
    ///
    /// Both parties must draw the same needs in the same order.
    pub fn draw(&mut self, channel: &mut dyn Channel, need: &OtCount) -> Result<Pads, Error> {
        self.attempt(|live, party| live.draw(party, channel, need))
    }

    /// Makes the correlated rows of as many tiles as the client and the server are to receive, and
    /// drops them: for measurements. The messages are those of drawing as many tiles.
    pub fn discard(&mut self, channel: &mut dyn Channel, tiles: [u64; 2]) -> Result<(), Error> {
        self.attempt(|live, party| live.discard(channel, tiles[party as usize], tiles[party.peer() as usize]))
    }

    fn attempt<T>(&mut self, action: impl FnOnce(&mut Live, Party) -> Result<T, Error>) -> Result<T, Error> {
        // Until the draw succeeds the state is over, so whatever fails drops and wipes it: an
        // extension is never retried.
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
        let result = action(&mut live, self.party);
        self.state = match &result {
            Ok(_) => State::Live(live),
            Err(error) => State::Over { peer_misbehaved: matches!(error, Error::PeerMisbehaved(_)) },
        };
        result
    }
}

impl Live {
    fn draw(&mut self, party: Party, channel: &mut dyn Channel, need: &OtCount) -> Result<Pads, Error> {
        let received = need.received_by(party);
        let sent = need.received_by(party.peer());
        let mut receiving = Builder::new(Receiving { hash: &self.receiver_hash }, &received);
        let mut sending = Builder::new(Sending { hash: &self.sender_hash, delta: &self.delta }, &sent);
        let tiles = [received.tiles(), sent.tiles()];
        self.source.run(channel, tiles, |tiles| receiving.push(tiles), |tiles| sending.push(tiles))?;
        Ok(Pads { sending: sending.finish(), receiving: receiving.finish() })
    }

    fn discard(&mut self, channel: &mut dyn Channel, received: u64, sent: u64) -> Result<(), Error> {
        let rows = |tiles: Vec<Tiles<'_>>| {
            let columns = tiles.into_par_iter().filter(|tiles| tiles.are_columns);
            columns.for_each(|tiles| tiles.blocks.par_iter_mut().with_min_len(FEWEST_TILES).for_each(transpose));
        };
        self.source.run(channel, [received, sent], rows, rows)
    }
}

impl Source {
    /// Makes so many tiles to be received and to be sent: gives the former, of rows `t`, to
    /// `receive`, and the latter, of rows `q`, to `send`.
    fn run(
        &mut self,
        channel: &mut dyn Channel,
        [mut to_receive, mut to_send]: [u64; 2],
        mut receive: impl FnMut(Vec<Tiles<'_>>) + Send,
        mut send: impl FnMut(Vec<Tiles<'_>>) + Send,
    ) -> Result<(), Error> {
        match self {
            Source::SoftSpoken { params, sender, receiver } => {
                if to_receive > 0 {
                    let message = on_pool(|| extend_receiver(receiver, *params, to_receive, receive));
                    channel.send(Kind::OtExtension, message)?;
                }
                if to_send > 0 {
                    let message = channel.receive(Kind::OtExtension, params.extension_bytes(to_send) as usize)?;
                    on_pool(|| extend_sender(sender, *params, to_send, &message, send))?;
                }
            }
            Source::Silent(silent) => loop {
                on_pool(|| {
                    silent.receiver.feed(&mut to_receive, &mut receive);
                    silent.sender.feed(&mut to_send, &mut send);
                });
                if to_receive + to_send == 0 {
                    break;
                }
                silent.begin_round(channel, to_receive > 0, to_send > 0)?;
            },
        }
        Ok(())
    }
}

/// Extends the receiver's side by `tiles` tiles, given to `take`; the message for the sender.
fn extend_receiver(
    receiver: &mut softspoken::Receiver,
    params: SoftSpoken,
    tiles: u64,
    mut take: impl FnMut(Vec<Tiles<'_>>),
) -> Vec<u8> {
    let mut message = vec![0; params.extension_bytes(tiles) as usize];
    let mut rest = message.as_mut_slice();
    for group in softspoken::groups(params, tiles) {
        let part = rest.split_off_mut(..params.group_bytes(&group)).expect("the bytes of every batch");
        take(receiver.extend(&group, part).into_iter().map(softspoken::Batch::tiles).collect());
    }
    message
}

/// Extends the sender's side by `tiles` tiles, given to `take`, with the receiver's message.
fn extend_sender(
    sender: &mut softspoken::Sender,
    params: SoftSpoken,
    tiles: u64,
    mut message: &[u8],
    mut take: impl FnMut(Vec<Tiles<'_>>),
) -> Result<(), Error> {
    for group in softspoken::groups(params, tiles) {
        let part = message.split_off(..params.group_bytes(&group)).ok_or_else(softspoken::wrong_size)?;
        take(sender.extend(&group, part)?.into_iter().map(softspoken::Batch::tiles).collect());
    }
    Ok(())
}

/// A generator for secrets, seeded by the operating system and wiped when dropped.
pub(crate) fn os_rng() -> Result<ChaCha20Rng, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| Error::Io(std::io::Error::other(error.to_string())))?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
