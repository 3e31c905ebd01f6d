//! OT extension of CrypTFlow2's kind: correlated OTs by IKNP in both directions, OTs of one among
//! many by KKOT, received by the client.
//!
//! Other than [`super::Correlations`], nothing is drawn ahead: messages are made by the protocols
//! that use them, which put the parts they need side by side. IKNP is SoftSpoken with `k = 1`, with
//! its consistency check, so both directions are secure against a malicious server; KKOT needs
//! none, since its receiver is the client ([`super::kkot`]).

use chacha20::ChaCha20Rng;
use fusion_catalogue::crypt_flow2::ot::{iknp, iknp_bytes};
use fusion_ir::Party;
use rand_core::Rng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::base::{self, Domain};
use super::hash::RowHash;
use super::{kkot, os_rng, pprf, softspoken};
use crate::bits::Bits;
use crate::kernels::{COLUMNS, transpose};
use crate::{Channel, Error, Kind};

/// One party's half of a session's extensions. After an error it must be dropped.
pub struct Extensions {
    sender: softspoken::Sender,
    sender_hash: RowHash,
    receiver: softspoken::Receiver,
    receiver_hash: RowHash,
    many: Many,
    /// Of this party's random choices.
    pub(crate) rng: ChaCha20Rng,
}

enum Many {
    Receiver(Box<kkot::Receiver>),
    Sender(Box<kkot::Sender>),
}

/// The runs of base OTs: IKNP's two directions, KKOT's two halves.
#[derive(Clone, Copy, PartialEq)]
enum Run {
    Iknp(Party),
    Kkot(u8),
}

const RUNS: [Run; 4] = [Run::Iknp(Party::Client), Run::Iknp(Party::Server), Run::Kkot(0), Run::Kkot(1)];

impl Run {
    /// Who receives the extended OTs, and so sends the base OTs.
    fn receiver(self) -> Party {
        match self {
            Run::Iknp(receiver) => receiver,
            Run::Kkot(_) => Party::Client,
        }
    }

    /// An identifier of its own for every run of a session.
    fn id(self, session_id: &[u8; 32]) -> [u8; 32] {
        let purpose: [u8; 2] = match self {
            Run::Iknp(receiver) => [0, receiver as u8],
            Run::Kkot(half) => [1, half],
        };
        Sha256::new_with_prefix(b"fusion crypt_flow2 v1 ")
            .chain_update(session_id)
            .chain_update(purpose)
            .finalize()
            .into()
    }
}

impl Extensions {
    /// Sets up all extensions with the peer: the two exchanges of
    /// [`fusion_catalogue::crypt_flow2::ot::setup`].
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if a point is none or a check
    /// fails.
    pub fn establish(party: Party, channel: &mut dyn Channel, session_id: &[u8; 32]) -> Result<Extensions, Error> {
        Extensions::establish_with(party, channel, session_id, os_rng()?)
    }

    /// As [`Extensions::establish`], with all randomness from `rng`.
    pub(crate) fn establish_with(
        party: Party,
        channel: &mut dyn Channel,
        session_id: &[u8; 32],
        mut rng: ChaCha20Rng,
    ) -> Result<Extensions, Error> {
        let ids = RUNS.map(|run| run.id(session_id));
        let domain = |index: usize| Domain { session_id: &ids[index], receiver: RUNS[index].receiver() };
        let sends_base = |index: &usize| RUNS[*index].receiver() == party;

        // First the messages of this party's base receivers, then those of its base senders, each
        // in the order of the runs.
        let (mut first, mut senders, mut receivers) = (Vec::new(), Vec::new(), Vec::new());
        for index in (0..RUNS.len()).filter(|index| !sends_base(index)) {
            let secret = Zeroizing::new(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
            let (receiver, message) = base::Receiver::new(domain(index), !*secret, &mut rng);
            receivers.push((index, secret, receiver, message.clone()));
            first.extend(message);
        }
        for index in (0..RUNS.len()).filter(sends_base) {
            let (sender, message) = base::Sender::new(&mut rng);
            senders.push((index, sender, message.clone()));
            first.extend(message);
        }
        channel.send(Kind::BaseOt, first)?;
        let theirs = senders.len() * base::RECEIVER_BYTES + receivers.len() * base::SENDER_BYTES;
        let theirs = channel.receive(Kind::BaseOt, theirs)?;
        let (from_receivers, from_senders) = theirs.split_at(senders.len() * base::RECEIVER_BYTES);

        let (mut pairs, mut keys) = (Vec::new(), Vec::new());
        for ((index, sender, own), message) in senders.into_iter().zip(from_receivers.chunks(base::RECEIVER_BYTES)) {
            pairs.push((index, sender.finish(domain(index), message)?, digest(&[message, &own])));
        }
        for ((index, secret, receiver, own), message) in
            receivers.into_iter().zip(from_senders.chunks(base::SENDER_BYTES))
        {
            keys.push((index, receiver.finish(domain(index), message)?, secret, digest(&[&own, message])));
        }

        // IKNP's streams are checked; each party sends them in one run and receives them in the
        // other.
        let (sending, receiving) = (party.peer() as usize, party as usize);
        let (_, own_pairs, received) = &pairs[usize::from(pairs[0].0 != receiving)];
        let (_, own_keys, delta, sent) = &keys[usize::from(keys[0].0 != sending)];
        let (mut leaves, mut checks) = (Vec::with_capacity(COLUMNS), Vec::new());
        for (tree, pair) in own_pairs.iter().enumerate() {
            let (tree, message) = pprf::expand(domain(receiving), tree, &[*pair]);
            leaves.push(tree);
            checks.extend(message);
        }
        channel.send(Kind::BaseOt, checks.clone())?;
        let bytes = iknp().tree_bytes() as usize;
        let their_checks = channel.receive(Kind::BaseOt, bytes * iknp().trees())?;
        let mut punctured = Vec::with_capacity(COLUMNS);
        for (tree, (key, check)) in own_keys.iter().zip(their_checks.chunks_exact(bytes)).enumerate() {
            let point = (**delta >> tree & 1) as u8;
            punctured.push(pprf::puncture(domain(sending), tree, &[*key], point, check)?);
        }

        let hash = |index: usize| RowHash::new(domain(index));
        let many = match party {
            Party::Client => {
                let [left, right] = [2, 3].map(|run| pairs.iter().find(|(index, ..)| *index == run));
                let (Some((_, left, _)), Some((_, right, _))) = (left, right) else {
                    unreachable!("the client sends these")
                };
                Many::Receiver(Box::new(kkot::Receiver::new([left.as_slice(), right.as_slice()], hash(2))))
            }
            Party::Server => {
                let [left, right] = [2, 3].map(|run| keys.iter().find(|(index, ..)| *index == run));
                let (Some((_, left, low, _)), Some((_, right, high, _))) = (left, right) else {
                    unreachable!("the server receives these")
                };
                let secret = Zeroizing::new([**low, **high]);
                Many::Sender(Box::new(kkot::Sender::new(secret, [left.as_slice(), right.as_slice()], hash(2))))
            }
        };
        Ok(Extensions {
            sender: softspoken::Sender::new(iknp(), **delta, &punctured, digest(&[sent, &their_checks])),
            sender_hash: hash(sending),
            receiver: softspoken::Receiver::new(iknp(), &leaves, digest(&[received, &checks])),
            receiver_hash: hash(receiving),
            many,
            rng,
        })
    }

    /// As the client, receives OTs of one among `2^w` with the given choices: appends to the
    /// message to the server, and returns both bits of every chosen pad.
    ///
    /// # Panics
    /// At the server.
    pub fn receive_many(&mut self, choices: &[Bits], message: &mut Vec<u8>) -> [Bits; 2] {
        match &mut self.many {
            Many::Receiver(receiver) => receiver.receive(choices, message),
            Many::Sender(_) => panic!("only the client receives OTs of one among many"),
        }
    }

    /// As the server, sends `n` OTs of one among `2^width`: takes the client's part off the front
    /// of `message`, and returns both bits of every pad.
    ///
    /// # Panics
    /// At the client.
    pub fn send_many(&mut self, width: usize, n: usize, message: &mut &[u8]) -> Result<Vec<[Bits; 2]>, Error> {
        match &mut self.many {
            Many::Sender(sender) => sender.send(width, n, message),
            Many::Receiver(_) => panic!("only the server sends OTs of one among many"),
        }
    }

    /// Receives `n` random OTs of words: appends to the message to the sender, and returns every
    /// choice and the chosen word.
    pub fn receive_words(&mut self, n: usize, message: &mut Vec<u8>) -> (Bits, Vec<u64>) {
        let mut words = Vec::with_capacity(n.next_multiple_of(COLUMNS));
        let hash = &self.receiver_hash;
        let choices = receive(&mut self.receiver, n, message, |tile, rows| words.extend(hash.hash_tile(tile, rows, 0)));
        words.truncate(n);
        (choices, words)
    }

    /// Sends `n` random OTs of words: takes the receiver's part off the front of `message`, and
    /// returns both words of each.
    pub fn send_words(&mut self, n: usize, message: &mut &[u8]) -> Result<[Vec<u64>; 2], Error> {
        let offsets = [0, self.sender.delta()];
        let mut words = offsets.map(|_| Zeroizing::new(Vec::with_capacity(n.next_multiple_of(COLUMNS))));
        let hash = &self.sender_hash;
        send(&mut self.sender, n, message, |tile, rows| {
            let pads = words.iter_mut().zip(offsets);
            pads.for_each(|(words, offset)| words.extend(hash.hash_tile(tile, rows, offset)));
        })?;
        words.iter_mut().for_each(|words| words.truncate(n));
        Ok(words.map(|mut words| std::mem::take(&mut *words)))
    }

    /// As [`Extensions::receive_words`], with pads of 128 bits: seeds of longer ones.
    pub fn receive_seeds(&mut self, n: usize, message: &mut Vec<u8>) -> (Bits, Zeroizing<Vec<u128>>) {
        let mut seeds = Zeroizing::new(Vec::with_capacity(n.next_multiple_of(COLUMNS)));
        let hash = &self.receiver_hash;
        let choices = receive(&mut self.receiver, n, message, |tile, rows| seeds.extend(blocks(hash, tile, rows, 0)));
        seeds.truncate(n);
        (choices, seeds)
    }

    /// As [`Extensions::send_words`], with pads of 128 bits: seeds of longer ones.
    pub fn send_seeds(&mut self, n: usize, message: &mut &[u8]) -> Result<[Zeroizing<Vec<u128>>; 2], Error> {
        let offsets = [0, self.sender.delta()];
        let mut seeds = offsets.map(|_| Zeroizing::new(Vec::with_capacity(n.next_multiple_of(COLUMNS))));
        let hash = &self.sender_hash;
        send(&mut self.sender, n, message, |tile, rows| {
            let pads = seeds.iter_mut().zip(offsets);
            pads.for_each(|(seeds, offset)| seeds.extend(blocks(hash, tile, rows, offset)));
        })?;
        seeds.iter_mut().for_each(|seeds| seeds.truncate(n));
        Ok(seeds)
    }
}

/// Extends by `n` rows as their receiver, tile by tile.
fn receive(
    receiver: &mut softspoken::Receiver,
    n: usize,
    message: &mut Vec<u8>,
    mut each: impl FnMut(u64, &[u128; COLUMNS]),
) -> Bits {
    let mut choices = Vec::with_capacity(n.div_ceil(64) + 1);
    for group in softspoken::groups(iknp(), n.div_ceil(COLUMNS) as u64) {
        let start = message.len();
        message.resize(start + iknp().group_bytes(&group), 0);
        for batch in receiver.extend(&group, &mut message[start..]) {
            let rows = batch.columns.as_chunks_mut::<COLUMNS>().0;
            for (tile, (rows, choice)) in (batch.first_tile..).zip(rows.iter_mut().zip(batch.choices)) {
                transpose(rows);
                each(tile, rows);
                choices.extend([*choice as u64, (*choice >> 64) as u64]);
            }
        }
    }
    Bits::from_words(choices, n)
}

/// Extends by `n` rows as their sender, tile by tile, and checks the receiver.
fn send(
    sender: &mut softspoken::Sender,
    n: usize,
    message: &mut &[u8],
    mut each: impl FnMut(u64, &[u128; COLUMNS]),
) -> Result<(), Error> {
    let (mut own, rest) = message.split_at_checked(iknp_bytes(n) as usize).ok_or_else(softspoken::wrong_size)?;
    *message = rest;
    for group in softspoken::groups(iknp(), n.div_ceil(COLUMNS) as u64) {
        let part = own.split_off(..iknp().group_bytes(&group)).ok_or_else(softspoken::wrong_size)?;
        for batch in sender.extend(&group, part)? {
            let rows = batch.columns.as_chunks_mut::<COLUMNS>().0;
            for (tile, rows) in (batch.first_tile..).zip(rows) {
                transpose(rows);
                each(tile, rows);
            }
        }
    }
    Ok(())
}

/// Hashes of 128 bits: two of 64 under tweaks that are as far apart as tiles will never be.
fn blocks(hash: &RowHash, tile: u64, rows: &[u128; COLUMNS], offset: u128) -> [u128; COLUMNS] {
    const FAR: u64 = 1 << 50;
    let [low, high] = [tile, tile + FAR].map(|tile| Zeroizing::new(hash.hash_tile(tile, rows, offset)));
    std::array::from_fn(|i| u128::from(low[i]) | u128::from(high[i]) << 64)
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"fusion crypt_flow2 v1 transcript ");
    parts.iter().fold(hash, |hash, part| hash.chain_update(part)).finalize().into()
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::channel::{LocalChannel, pair};

    fn both<T: Send>(run: impl Fn(Party, &mut Extensions, &mut LocalChannel) -> T + Sync) -> [T; 2] {
        let (left, right) = pair();
        let side = |party, mut channel: LocalChannel| {
            let rng = ChaCha20Rng::seed_from_u64(party as u64);
            let mut extensions = Extensions::establish_with(party, &mut channel, &[5; 32], rng).expect("honest peer");
            run(party, &mut extensions, &mut channel)
        };
        std::thread::scope(|scope| {
            let server = scope.spawn(|| side(Party::Server, right));
            [side(Party::Client, left), server.join().expect("server")]
        })
    }

    #[test]
    fn words_and_seeds_are_random_ots_in_both_directions() {
        for receiver in [Party::Client, Party::Server] {
            for n in [1, 128, 300] {
                let [client, server] = both(|party, extensions, channel| {
                    if party == receiver {
                        let mut message = Vec::new();
                        let words = extensions.receive_words(n, &mut message);
                        let seeds = extensions.receive_seeds(n, &mut message);
                        assert_eq!(message.len() as u64, 2 * iknp_bytes(n));
                        channel.send(Kind::OtExtension, message).expect("the peer listens");
                        return (Some((words, seeds)), None);
                    }
                    let message = channel.receive(Kind::OtExtension, 2 * iknp_bytes(n) as usize).expect("honest peer");
                    let mut rest = &message[..];
                    let words = extensions.send_words(n, &mut rest).expect("honest peer");
                    let seeds = extensions.send_seeds(n, &mut rest).expect("honest peer");
                    (None, Some((words, seeds)))
                });
                let ((received, _), (_, sent)) =
                    if receiver == Party::Client { (client, server) } else { (server, client) };
                let (words, seeds) = received.expect("of the receiver");
                let (sent_words, sent_seeds) = sent.expect("of the sender");
                for i in 0..n {
                    let choice = |bits: &Bits| (bits.words()[i / 64] >> (i % 64) & 1) as usize;
                    assert_eq!(words.1[i], sent_words[choice(&words.0)][i]);
                    assert_ne!(words.1[i], sent_words[1 - choice(&words.0)][i]);
                    assert_eq!(seeds.1[i], sent_seeds[choice(&seeds.0)][i]);
                    assert_ne!(seeds.1[i], sent_seeds[1 - choice(&seeds.0)][i]);
                }
            }
        }
    }

    #[test]
    fn a_corrupted_extension_is_caught_in_both_directions() {
        for receiver in [Party::Client, Party::Server] {
            let [client, server] = both(|party, extensions, channel| {
                if party == receiver {
                    let mut message = Vec::new();
                    extensions.receive_words(100, &mut message);
                    message[20] ^= 4;
                    channel.send(Kind::OtExtension, message).expect("the peer listens");
                    return true;
                }
                let message = channel.receive(Kind::OtExtension, iknp_bytes(100) as usize).expect("sent");
                matches!(extensions.send_words(100, &mut &message[..]), Err(Error::PeerMisbehaved(_)))
            });
            assert!(client && server);
        }
    }
}
