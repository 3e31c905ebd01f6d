//! Silent OT as a session uses it: the first round's base by OT extension, rounds when they are
//! due, and rows tile by tile.

use chacha20::ChaCha20Rng;
use fusion_catalogue::ot::{Ferret, OtSource, SoftSpoken};
use fusion_ir::Party;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use super::base::Domain;
use super::builders::Tiles;
use super::{ferret, softspoken};
use crate::kernels::{COLUMNS, transpose};
use crate::threads::on_pool;
use crate::{Channel, Error, Kind};

/// One party's silent OT, both directions.
pub(super) struct Silent {
    pub sender: Sender,
    pub receiver: Receiver,
}

/// The direction in which this party sends the OTs.
pub(super) struct Sender {
    set: Ferret,
    state: SenderState,
    cursor: Cursor,
}

enum SenderState {
    /// With the seed of what trees will be grown from.
    Fresh(Box<(Fresh<softspoken::Sender>, Zeroizing<[u8; 32]>)>),
    Running(Box<ferret::Sender>),
}

/// The direction in which this party receives the OTs.
pub(super) struct Receiver {
    set: Ferret,
    state: ReceiverState,
    cursor: Cursor,
}

enum ReceiverState {
    Fresh(Box<Fresh<softspoken::Receiver>>),
    Running(Box<ferret::Receiver>),
}

/// What the first round begins with.
pub(super) struct Fresh<E> {
    /// The session's extension, of [`OtSource::extension`].
    pub extension: E,
    /// The session.
    pub session_id: [u8; 32],
    /// The receiver of the OTs.
    pub receiver: Party,
}

impl Silent {
    /// Exchanges the messages of a round in the directions in which tiles are still to be received
    /// or sent.
    pub fn begin_round(&mut self, channel: &mut dyn Channel, receives: bool, sends: bool) -> Result<(), Error> {
        const KIND: Kind = Kind::OtExtension;
        if let (ReceiverState::Fresh(fresh), true) = (&mut self.receiver.state, receives) {
            let (generator, message) = on_pool(|| fresh.receiver(self.receiver.set));
            channel.send(KIND, message)?;
            self.receiver.state = ReceiverState::Running(Box::new(generator));
        }
        if let (SenderState::Fresh(fresh), true) = (&mut self.sender.state, sends) {
            let ((fresh, seed), set) = (&mut **fresh, self.sender.set);
            let message = channel.receive(KIND, extension(set).extension_bytes(set.base_tiles()) as usize)?;
            let generator = on_pool(|| fresh.sender(set, seed, &message))?;
            self.sender.state = SenderState::Running(Box::new(generator));
        }
        let mut sender = match &mut self.sender.state {
            SenderState::Running(sender) if sends => Some(sender),
            _ => None,
        };
        let mut receiver = match &mut self.receiver.state {
            ReceiverState::Running(receiver) if receives => Some(receiver),
            _ => None,
        };
        if let Some(sender) = &mut sender {
            channel.send(KIND, on_pool(|| sender.begin()))?;
        }
        if let Some(receiver) = &mut receiver {
            let trees = channel.receive(KIND, self.receiver.set.trees_bytes() as usize)?;
            channel.send(KIND, on_pool(|| receiver.begin(&trees))?.to_vec())?;
        }
        if let Some(sender) = &mut sender {
            let challenge = channel.receive(KIND, Ferret::CHECK_BYTES as usize)?;
            let wrong_size = || Error::PeerMisbehaved("a challenge of the wrong size".into());
            let challenge = challenge.try_into().map_err(|_| wrong_size())?;
            channel.send(KIND, sender.answer(challenge).to_vec())?;
        }
        if let Some(receiver) = &mut receiver {
            receiver.check(&channel.receive(KIND, Ferret::DIGEST_BYTES as usize)?)?;
        }
        Ok(())
    }
}

impl Sender {
    /// Before the first round. Trees will be grown from what `seed` gives.
    pub fn new(set: Ferret, fresh: Fresh<softspoken::Sender>, seed: Zeroizing<[u8; 32]>) -> Sender {
        Sender { set, state: SenderState::Fresh(Box::new((fresh, seed))), cursor: Cursor::default() }
    }

    /// Gives `take` up to `tiles` tiles, as many as the round still has, and counts them down.
    pub fn feed(&mut self, tiles: &mut u64, take: &mut impl FnMut(Vec<Tiles<'_>>)) {
        let SenderState::Running(generator) = &mut self.state else { return };
        while *tiles > 0 {
            if self.cursor.at_end() {
                self.cursor.refill(generator.next_trees(trees(self.set, *tiles)).len());
            }
            let Some(next) = self.cursor.next(generator.rows(), tiles) else { return };
            take(vec![next]);
        }
    }
}

impl Receiver {
    /// Before the first round.
    pub fn new(set: Ferret, fresh: Fresh<softspoken::Receiver>) -> Receiver {
        Receiver { set, state: ReceiverState::Fresh(Box::new(fresh)), cursor: Cursor::default() }
    }

    /// Gives `take` up to `tiles` tiles, as many as the round still has, and counts them down.
    pub fn feed(&mut self, tiles: &mut u64, take: &mut impl FnMut(Vec<Tiles<'_>>)) {
        let ReceiverState::Running(generator) = &mut self.state else { return };
        while *tiles > 0 {
            if self.cursor.at_end() {
                self.cursor.refill(generator.next_trees(trees(self.set, *tiles)).len());
            }
            let Some(next) = self.cursor.next(generator.rows(), tiles) else { return };
            take(vec![next]);
        }
    }
}

impl Fresh<softspoken::Sender> {
    /// The generator with its base from the receiver's message.
    fn sender(&mut self, set: Ferret, seed: &[u8; 32], mut message: &[u8]) -> Result<ferret::Sender, Error> {
        let mut base = Base::new(set);
        for group in softspoken::groups(extension(set), set.base_tiles()) {
            let part = message.split_off(..extension(set).group_bytes(&group)).ok_or_else(softspoken::wrong_size)?;
            for batch in self.extension.extend(&group, part)? {
                batch.columns.as_chunks_mut().0.iter_mut().for_each(|columns| base.push(columns, 0));
            }
        }
        let domain = Domain { session_id: &self.session_id, receiver: self.receiver };
        let (delta, transcript) = (self.extension.delta(), self.extension.transcript());
        Ok(ferret::Sender::new(set, delta, domain, transcript, base.rows, ChaCha20Rng::from_seed(*seed)))
    }
}

impl Fresh<softspoken::Receiver> {
    /// The generator and the message for the sender's base.
    fn receiver(&mut self, set: Ferret) -> (ferret::Receiver, Vec<u8>) {
        let mut base = Base::new(set);
        let mut message = vec![0; extension(set).extension_bytes(set.base_tiles()) as usize];
        let mut rest = message.as_mut_slice();
        for group in softspoken::groups(extension(set), set.base_tiles()) {
            let part = rest.split_off_mut(..extension(set).group_bytes(&group)).expect("the bytes of every batch");
            for batch in self.extension.extend(&group, part) {
                let tiles = batch.columns.as_chunks_mut().0.iter_mut();
                tiles.zip(batch.choices).for_each(|(columns, choices)| base.push(columns, *choices));
            }
        }
        let domain = Domain { session_id: &self.session_id, receiver: self.receiver };
        (ferret::Receiver::new(set, domain, self.extension.transcript(), base.rows), message)
    }
}

/// The extension that makes the first round's base.
fn extension(set: Ferret) -> SoftSpoken {
    OtSource::Silent(set).extension()
}

/// Rows whose lowest bit is the choice. Since that of `delta` is 1, it may be overwritten: by the
/// choice at the receiver, by 0 at the sender.
struct Base {
    rows: Zeroizing<Vec<u128>>,
    wanted: usize,
}

impl Base {
    fn new(set: Ferret) -> Base {
        let wanted = set.base_rows() as usize;
        Base { rows: Zeroizing::new(Vec::with_capacity(wanted)), wanted }
    }

    fn push(&mut self, columns: &mut [u128; COLUMNS], choices: u128) {
        transpose(columns);
        let missing = self.wanted - self.rows.len();
        let rows = columns.iter().enumerate().map(|(r, row)| row & !1 | choices >> r & 1);
        self.rows.extend(rows.take(missing));
    }
}

/// How many trees are worth making at once where `tiles` are wanted.
fn trees(set: Ferret, tiles: u64) -> u64 {
    tiles.div_ceil(set.tree_tiles())
}

/// The place within the rows of the trees that were made last.
#[derive(Default)]
struct Cursor {
    taken: usize,
    tiles: usize,
    next_tile: u64,
}

impl Cursor {
    /// Whether new trees are needed.
    fn at_end(&self) -> bool {
        self.taken == self.tiles
    }

    /// So many rows were made.
    fn refill(&mut self, rows: usize) {
        (self.taken, self.tiles) = (0, rows >> COLUMNS.trailing_zeros());
    }

    /// The next tiles of `rows`, at most `wanted`, which is counted down; `None` at the end.
    fn next<'a>(&mut self, rows: &'a mut [u128], wanted: &mut u64) -> Option<Tiles<'a>> {
        let n = usize::try_from(*wanted).unwrap_or(usize::MAX).min(self.tiles - self.taken);
        let blocks = &mut rows.as_chunks_mut().0[self.taken..][..n];
        let next = Tiles { first: self.next_tile, choices: &[], blocks, are_columns: false };
        *wanted -= n as u64;
        self.taken += n;
        self.next_tile += n as u64;
        (n > 0).then_some(next)
    }
}
