//! A [`Link`] over any pair of byte streams.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use fusion_backends::{Channel, Error, Kind};

use super::failure::Failure;
use super::frame::{Header, check_outgoing};
use super::incoming::{Incoming, PATIENCE};
use super::outgoing::Outgoing;
use super::turn::{Told, Turn};
use super::{Lane, Link};

/// What a peer gets, most, to read what was sent last and to hang up.
const LAST_MOMENTS: Duration = Duration::from_secs(60);

/// One party's end of a connection: lanes of frames over a reading and a writing half.
///
/// The halves are any byte streams (a TCP socket's, a TLS session's, a pipe's) whose reads and
/// writes give up by themselves when the peer stalls. A peer that shows signs of life and gets
/// nowhere is given up after some [more time](Connection::PATIENCE). A thread writes, so
/// [`Channel::send`] never waits for the peer; another one reads, so no lane waits for another
/// one's reader. Dropping the connection and all its channels sends what is still queued, then
/// drops the writing half. After the first error every call on every lane fails with it.
pub struct Connection(Arc<Halves>);

/// Ends the connection with the last of its users.
struct Halves {
    incoming: Arc<Incoming>,
    outgoing: Arc<Outgoing>,
    writer: Option<JoinHandle<()>>,
    stall: Duration,
    shut: Box<dyn Fn() + Send + Sync>,
}

/// The channel of one lane.
struct LaneChannel {
    lane: Lane,
    halves: Arc<Halves>,
}

impl Connection {
    /// So many times the stall may pass without a message from a peer that shows signs of life, or
    /// without one that it takes.
    pub const PATIENCE: u32 = PATIENCE;

    /// A connection over two halves; `stall` is the time after which they give up. Dropping the
    /// writing half must end the peer's reading.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub fn new(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        stall: Duration,
    ) -> io::Result<Connection> {
        Connection::with_shutdown(reader, writer, stall, || ())
    }

    /// [`Connection::new`] with a way to make reads and writes that are under way return at once.
    ///
    /// # Errors
    /// As [`Connection::new`].
    pub fn with_shutdown(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        stall: Duration,
        shut: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Connection> {
        let (incoming, outgoing) = (Arc::new(Incoming::new(stall)), Arc::new(Outgoing::default()));
        let own = Arc::clone(&incoming);
        Builder::new().name("fusion-reader".into()).spawn(move || own.read_all(reader))?;
        let (into, own) = (Arc::clone(&incoming), Arc::clone(&outgoing));
        let write = move || {
            if let Err(error) = own.write_all(writer) {
                let failure = Failure::writing(&error, stall);
                // A peer that hangs up may have said why: that is still to be read, and then the
                // end.
                if !failure.is_hang_up() {
                    into.fail(failure.clone());
                }
                own.fail(failure);
            }
        };
        let writer = Builder::new().name("fusion-writer".into()).spawn(write)?;
        Ok(Connection(Arc::new(Halves { incoming, outgoing, writer: Some(writer), stall, shut: Box::new(shut) })))
    }

    /// For who waits without receiving.
    pub fn pulse(&self) -> Pulse {
        Pulse { incoming: Arc::clone(&self.0.incoming), outgoing: Arc::clone(&self.0.outgoing) }
    }
}

/// A connection beside its lanes: whether it still stands, and what its client is told.
#[derive(Clone)]
pub struct Pulse {
    incoming: Arc<Incoming>,
    outgoing: Arc<Outgoing>,
}

impl Pulse {
    /// Whether the peer has hung up or fallen silent, or the connection failed in another way.
    pub fn is_over(&self) -> bool {
        self.incoming.is_over()
    }

    /// Tells a client that waits about its turn.
    pub fn tell(&self, turn: Turn) {
        self.outgoing.tell(turn);
    }
}

impl Link for Connection {
    fn open(&mut self, lane: Lane, ahead_bytes: u64) -> Result<Box<dyn Channel>, Error> {
        if !self.0.incoming.open(lane, ahead_bytes) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{lane} is open already")).into());
        }
        Ok(Box::new(LaneChannel { lane, halves: Arc::clone(&self.0) }))
    }

    fn see_off(&self) {
        if self.0.finish() {
            self.0.incoming.see_off(self.0.stall.min(LAST_MOMENTS));
        }
    }

    fn told(&self) -> Option<Told> {
        let incoming = Arc::clone(&self.0.incoming);
        Some(Arc::new(move || incoming.turn()))
    }

    fn break_off(&self) {
        self.0.outgoing.fail(Failure::broken_off());
        self.0.incoming.break_off();
        (self.0.shut)();
    }
}

impl Channel for LaneChannel {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error> {
        check_outgoing(kind, payload.len())?;
        let header = Header { lane: self.lane, kind, payload_bytes: payload.len() };
        self.halves.outgoing.push(header, payload).map_err(Error::from)
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        self.halves.incoming.receive(self.lane, kind, payload_bytes, || self.halves.outgoing.progress())
    }
}

impl Halves {
    /// Sends what is queued and drops the writing half; whether that is done.
    fn finish(&self) -> bool {
        self.outgoing.finish(self.stall.saturating_mul(PATIENCE))
    }
}

impl Drop for Halves {
    fn drop(&mut self) {
        if !self.finish() {
            (self.shut)();
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        // Everything is written or lost, and nobody is left to receive: the reader may go.
        self.incoming.break_off();
        (self.shut)();
    }
}
