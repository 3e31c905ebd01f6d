//! What has arrived and was not received yet, by lane, with room for no more than an honest peer
//! needs.

use std::collections::VecDeque;
use std::io::{BufReader, ErrorKind, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fusion_backends::{Error, Kind};

use super::failure::Failure;
use super::frame::{Frame, HEADER_BYTES, Header, Sequence, decode_refusal};
use super::turn::Turn;
use super::{Lane, frame};

/// Messages that may wait in one lane, beside the bound on their bytes.
const MESSAGES_AHEAD: usize = 1 << 12;
/// A payload is read in pieces of this size: what a peer only announces takes no memory, and a slow
/// one shows life.
const PIECE_BYTES: usize = 1 << 18;
const BUFFER_BYTES: usize = 1 << 16;
/// Signs of life are no progress: so many times the stall may pass without a message where layers
/// are computed..
pub const PATIENCE: u32 = 20;
/// ..and on the control lane, where nothing takes long.
const CONTROL_PATIENCE: u32 = 2;

/// The messages of all lanes between the thread that reads them and those that wait for them.
///
/// The reader takes a message off the wire if its lane waits for it, or if it fits in the room that
/// the lane has for what comes early. Else it stops reading, for all lanes: the peer's bytes stay
/// in the network, and the peer must wait.
pub struct Incoming {
    state: Mutex<State>,
    changed: Condvar,
    stall: Duration,
}

struct State {
    inboxes: [Inbox; Lane::COUNT],
    failure: Option<Failure>,
    /// The lane that has no room for the next message, and since when.
    full: Option<(Lane, Instant)>,
    /// When the last message arrived, or [`PIECE_BYTES`] of one.
    progress: Instant,
    /// What the peer last said of this party's turn.
    turn: Option<Turn>,
}

#[derive(Default)]
struct Inbox {
    messages: VecDeque<(Header, Vec<u8>)>,
    held_bytes: u64,
    /// The room; there is none until the lane is open.
    ahead_bytes: Option<u64>,
    /// What the lane waits for.
    expected: Option<(Kind, usize)>,
    /// A message of which the connection's end let only the header arrive.
    cut: Option<Header>,
}

impl Incoming {
    /// Empty. A lane whose messages cannot arrive because another lane is full gives up after
    /// `stall`, and one that waits while no message moves either way after [`PATIENCE`] times as
    /// long.
    pub fn new(stall: Duration) -> Incoming {
        let state =
            State { inboxes: Default::default(), failure: None, full: None, progress: Instant::now(), turn: None };
        Incoming { state: Mutex::new(state), changed: Condvar::new(), stall }
    }

    /// Gives `lane` room for `ahead_bytes`; whether it was not open before.
    pub fn open(&self, lane: Lane, ahead_bytes: u64) -> bool {
        let mut state = self.lock();
        let first = state.inboxes[lane.index()].ahead_bytes.replace(ahead_bytes).is_none();
        self.changed.notify_all();
        first
    }

    /// Waits for the next message of `lane`, which must be of `kind` and `payload_bytes` long.
    /// `sent` says when the peer last took something: it cannot answer what is still on its way.
    pub fn receive(
        &self,
        lane: Lane,
        kind: Kind,
        payload_bytes: usize,
        sent: impl Fn() -> Instant,
    ) -> Result<Vec<u8>, Error> {
        let called = Instant::now();
        let mut state = self.lock();
        state.inboxes[lane.index()].expected = Some((kind, payload_bytes));
        self.changed.notify_all();
        let (header, payload) = loop {
            let inbox = &mut state.inboxes[lane.index()];
            if let Some(message) = inbox.messages.pop_front() {
                inbox.held_bytes -= message.1.len() as u64;
                inbox.expected = None;
                break message;
            }
            let cut = inbox.cut;
            if let Some(failure) = &state.failure {
                let Some(wrong) = cut.and_then(|header| header.check(kind, payload_bytes).err()) else {
                    return Err(failure.clone().into());
                };
                drop(state);
                return Err(self.fail(wrong.into()).into());
            }
            if let Some((full, since)) = state.full
                && since.elapsed() >= self.stall
            {
                let text = format!("it is far ahead on {full}, and sends nothing on {lane}");
                state.failure = Some(Failure::Misbehaved(text));
                self.changed.notify_all();
                continue;
            }
            let (since, patience) = match lane {
                Lane::CONTROL => (called, self.stall.saturating_mul(CONTROL_PATIENCE)),
                _ => (called.max(state.progress).max(sent()), self.stall.saturating_mul(PATIENCE)),
            };
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                state.failure = Some(Failure::idleness(patience));
                self.changed.notify_all();
                continue;
            }
            let wait = self.changed.wait_timeout(state, left.min(self.stall));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        };
        self.changed.notify_all();
        drop(state);
        let checked = match header.check(kind, payload_bytes) {
            Ok(()) if header.kind == Kind::Refusal => Err(decode_refusal(&payload)),
            Ok(()) => Ok(payload),
            Err(error) => Err(error),
        };
        checked.map_err(|error| self.fail(error.into()).into())
    }

    /// Ends all lanes; the first failure is the one that counts, and returned. What has arrived can
    /// still be received, and what is wrong with it precedes the end of the connection.
    pub fn fail(&self, failure: Failure) -> Failure {
        let mut state = self.lock();
        if state.failure.as_ref().is_none_or(Failure::is_hang_up) {
            state.failure = Some(failure.clone());
            self.changed.notify_all();
        }
        state.failure.clone().unwrap_or(failure)
    }

    /// What the peer last said of this party's turn.
    pub fn turn(&self) -> Option<Turn> {
        self.lock().turn
    }

    /// Whether no more will arrive.
    pub fn is_over(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// Waits for the peer to hang up, or for the connection to fail, but no longer than `patience`.
    pub fn see_off(&self, patience: Duration) {
        let over = |state: &mut State| state.failure.is_none();
        let waited = self.changed.wait_timeout_while(self.lock(), patience, over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends all lanes, and nothing can be received any more.
    pub fn break_off(&self) {
        self.fail(Failure::broken_off());
        self.lock().inboxes.iter_mut().for_each(|inbox| inbox.messages.clear());
    }

    /// Reads messages until the connection ends or fails.
    pub fn read_all(&self, reader: impl Read) {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        let mut sequence = Sequence::default();
        loop {
            if let Err(failure) = self.read_one(&mut reader, &mut sequence) {
                self.fail(failure);
                return;
            }
        }
    }

    fn read_one(&self, reader: &mut impl Read, sequence: &mut Sequence) -> Result<(), Failure> {
        let reading = |error| Failure::reading(&error, self.stall);
        let mut header = [0; HEADER_BYTES];
        reader.read_exact(&mut header).map_err(reading)?;
        let header = match Frame::decode(header, sequence)? {
            Frame::Message(header) => header,
            Frame::Alive => return Ok(()),
            Frame::Turn => {
                let mut turn = [0; Turn::BYTES];
                reader.read_exact(&mut turn).map_err(reading)?;
                self.lock().turn = Some(Turn::decode(turn));
                return Ok(());
            }
        };
        self.admit(header)?;
        let mut payload = Vec::new();
        let out_of_memory = |_| Failure::Io(ErrorKind::OutOfMemory, "out of memory for a message".into());
        payload.try_reserve_exact(header.payload_bytes).map_err(out_of_memory)?;
        while payload.len() < header.payload_bytes {
            let start = payload.len();
            payload.resize(header.payload_bytes.min(start + PIECE_BYTES), 0);
            if let Err(error) = reader.read_exact(&mut payload[start..]) {
                self.lock().inboxes[header.lane.index()].cut = Some(header);
                return Err(reading(error));
            }
            self.lock().progress = Instant::now();
        }
        let mut state = self.lock();
        state.progress = Instant::now();
        let inbox = &mut state.inboxes[header.lane.index()];
        inbox.held_bytes += payload.len() as u64;
        inbox.messages.push_back((header, payload));
        self.changed.notify_all();
        Ok(())
    }

    /// Waits until the message that `header` announces may be read.
    fn admit(&self, header: Header) -> Result<(), Failure> {
        let mut state = self.lock();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.inboxes[header.lane.index()].admits(header)? {
                state.full = None;
                return Ok(());
            }
            state.full.get_or_insert((header.lane, Instant::now()));
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Whether the next message may be read now.
    fn admits(&self, header: Header) -> Result<bool, Error> {
        if let (Some((kind, payload_bytes)), true) = (self.expected, self.messages.is_empty()) {
            return header.check(kind, payload_bytes).map(|()| true);
        }
        if header.payload_bytes > frame::MAX_PAYLOAD_BYTES {
            let text = format!("a {:?} message of {} bytes, more than any has", header.kind, header.payload_bytes);
            return Err(Error::PeerMisbehaved(text));
        }
        let room = self.ahead_bytes.unwrap_or(0).saturating_sub(self.held_bytes);
        Ok(header.payload_bytes as u64 <= room && self.messages.len() < MESSAGES_AHEAD && self.ahead_bytes.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the header is looked at before or after the connection has ended makes no
    /// difference.
    #[test]
    fn what_a_cut_message_is_precedes_that_it_was_cut() {
        let header = Header { lane: Lane::CONTROL, kind: Kind::Reveal, payload_bytes: 9 };
        let sent = Frame::Message(header).encode(&mut Sequence::default());
        let received = |kind, payload_bytes| {
            let incoming = Incoming::new(Duration::from_secs(1));
            incoming.open(Lane::CONTROL, 100);
            incoming.read_all(&sent[..]);
            incoming.receive(Lane::CONTROL, kind, payload_bytes, Instant::now).unwrap_err().to_string()
        };
        assert!(received(Kind::Hello, 90).ends_with("expected Hello of 90 bytes, got Reveal of 9 bytes"));
        assert!(received(Kind::Reveal, 9).ends_with("the peer hung up"));
    }

    #[test]
    fn what_a_cut_message_is_does_not_precede_that_this_party_ended_the_connection() {
        let header = Header { lane: Lane::CONTROL, kind: Kind::Reveal, payload_bytes: 9 };
        let sent = Frame::Message(header).encode(&mut Sequence::default());
        let incoming = Incoming::new(Duration::from_secs(1));
        incoming.open(Lane::CONTROL, 100);
        incoming.read_all(&sent[..]);
        incoming.lock().failure = Some(Failure::broken_off());
        let error = incoming.receive(Lane::CONTROL, Kind::Hello, 90, Instant::now).unwrap_err().to_string();
        assert!(error.ends_with("the connection was broken off"), "{error}");
    }
}
