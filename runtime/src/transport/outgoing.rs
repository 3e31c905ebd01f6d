//! What is to be sent, by all lanes, and the thread that sends it.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::frame::{Frame, Header, Sequence};
use super::turn::Turn;

/// How often a party shows that it is there, whatever else it sends.
pub const ALIVE_EVERY: Duration = Duration::from_millis(250);

const BUFFER_BYTES: usize = 1 << 16;
/// A payload is written in pieces of this size, each of which is progress.
const PIECE_BYTES: usize = 1 << 18;

/// Messages in the order in which they go out. Its length is the sender's own affair: who waits for
/// an answer stops adding.
pub struct Outgoing {
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    messages: VecDeque<(Header, Vec<u8>)>,
    /// What the peer is to be told of its turn.
    turn: Option<Turn>,
    closed: bool,
    /// Whether nothing is written any more.
    ended: bool,
    /// When the last piece of a message was written.
    progress: Instant,
    failure: Option<Failure>,
}

impl Default for Outgoing {
    fn default() -> Outgoing {
        let queue = Queue {
            messages: VecDeque::new(),
            turn: None,
            closed: false,
            ended: false,
            progress: Instant::now(),
            failure: None,
        };
        Outgoing { queue: Mutex::new(queue), changed: Condvar::new() }
    }
}

impl Outgoing {
    /// Adds a message.
    ///
    /// # Errors
    /// If the connection has failed.
    pub fn push(&self, header: Header, payload: Vec<u8>) -> Result<(), Failure> {
        let mut queue = self.lock();
        match &queue.failure {
            Some(failure) => Err(failure.clone()),
            None => {
                queue.messages.push_back((header, payload));
                self.changed.notify_all();
                Ok(())
            }
        }
    }

    /// Tells the peer of its turn; the last one counts.
    pub fn tell(&self, turn: Turn) {
        self.lock().turn = Some(turn);
        self.changed.notify_all();
    }

    /// Nothing more will be added: what is queued goes out. Waits for that, and no longer than
    /// `patience` without progress; whether it is done.
    pub fn finish(&self, patience: Duration) -> bool {
        let mut queue = self.lock();
        queue.closed = true;
        queue.progress = Instant::now();
        self.changed.notify_all();
        loop {
            let left = patience.saturating_sub(queue.progress.elapsed());
            if queue.ended || left.is_zero() {
                return queue.ended;
            }
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// When the last piece of a message was written.
    pub fn progress(&self) -> Instant {
        self.lock().progress
    }

    /// Nothing more goes out.
    pub fn fail(&self, failure: Failure) {
        let mut queue = self.lock();
        queue.messages.clear();
        queue.closed = true;
        queue.failure.get_or_insert(failure);
        self.changed.notify_all();
    }

    /// Writes messages until the queue is closed, and flushes whenever it runs empty; between them
    /// signs of life, at times that depend on nothing but the clock.
    pub fn write_all(&self, writer: impl Write) -> io::Result<()> {
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, writer);
        let result = self.write_to(&mut writer);
        // What it holds after a failure is lost: it must not try again.
        let _ = writer.into_parts();
        self.lock().ended = true;
        self.changed.notify_all();
        result
    }

    fn write_to(&self, writer: &mut BufWriter<impl Write>) -> io::Result<()> {
        let mut sequence = Sequence::default();
        let mut alive_at = Instant::now() + ALIVE_EVERY;
        loop {
            if Instant::now() >= alive_at {
                writer.write_all(&Frame::Alive.encode(&mut sequence))?;
                writer.flush()?;
                alive_at = (alive_at + ALIVE_EVERY).max(Instant::now());
            }
            let mut queue = self.lock();
            if let Some(turn) = queue.turn.take() {
                drop(queue);
                writer.write_all(&Frame::Turn.encode(&mut sequence))?;
                writer.write_all(&turn.encode())?;
            } else if let Some((header, payload)) = queue.messages.pop_front() {
                drop(queue);
                writer.write_all(&Frame::Message(header).encode(&mut sequence))?;
                for piece in payload.chunks(PIECE_BYTES) {
                    writer.write_all(piece)?;
                    self.lock().progress = Instant::now();
                }
            } else if !writer.buffer().is_empty() {
                drop(queue);
                writer.flush()?;
            } else if queue.closed {
                return Ok(());
            } else {
                let left = alive_at.saturating_duration_since(Instant::now());
                // Whatever wakes it up, the next turn looks at everything.
                let _ = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Lane;
    use fusion_backends::Kind;

    /// Takes `pieces` pieces, then none for ever.
    struct Stuck {
        pieces: usize,
        released: std::sync::mpsc::Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.pieces == 0 {
                let _ = self.released.recv();
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.pieces -= 1;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_queued_goes_out_unless_nobody_takes_it() {
        let header = |payload_bytes| Header { lane: Lane::layers(0), kind: Kind::Comparison, payload_bytes };
        for (pieces, done) in [(usize::MAX, true), (3, false)] {
            let (release, released) = std::sync::mpsc::channel();
            let outgoing = Outgoing::default();
            outgoing.push(header(5 * PIECE_BYTES), vec![0; 5 * PIECE_BYTES]).unwrap();
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| outgoing.write_all(Stuck { pieces, released }));
                let patience = if done { Duration::MAX } else { Duration::from_millis(100) };
                assert_eq!(outgoing.finish(patience), done);
                drop(release);
                assert_eq!(writer.join().unwrap().is_ok(), done);
            });
        }
    }
}
