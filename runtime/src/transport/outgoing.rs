//! What is to be sent, by all lanes, and the thread that sends it.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::frame::{Frame, Header, Sequence};

/// How often a party shows that it is there, whatever else it sends.
pub const ALIVE_EVERY: Duration = Duration::from_millis(250);

const BUFFER_BYTES: usize = 1 << 16;

/// Messages in the order in which they go out. Its length is the sender's own affair: who waits for an answer stops adding.
#[derive(Default)]
pub struct Outgoing {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<(Header, Vec<u8>)>,
    closed: bool,
    failure: Option<Failure>,
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
                self.changed.notify_one();
                Ok(())
            }
        }
    }

    /// Nothing more will be added: what is queued goes out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Nothing more goes out.
    pub fn fail(&self, failure: Failure) {
        let mut queue = self.lock();
        queue.messages.clear();
        queue.closed = true;
        queue.failure.get_or_insert(failure);
        self.changed.notify_one();
    }

    /// Writes messages until the queue is closed, and flushes whenever it runs empty; between them signs of life, at times
    /// that depend on nothing but the clock.
    pub fn write_all(&self, writer: impl Write) -> io::Result<()> {
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, writer);
        let result = self.write_to(&mut writer);
        // What it holds after a failure is lost: it must not try again.
        let _ = writer.into_parts();
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
            if let Some((header, payload)) = queue.messages.pop_front() {
                drop(queue);
                writer.write_all(&Frame::Message(header).encode(&mut sequence))?;
                writer.write_all(&payload)?;
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
