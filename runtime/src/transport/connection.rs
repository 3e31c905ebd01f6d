//! A [`Channel`] over any pair of byte streams.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use fusion_backends::{Channel, Error, Kind};

use super::frame::{HEADER_BYTES, Header, decode_refusal};

/// One party's end of a connection: frames over a reading and a writing half.
///
/// The halves are any byte streams (a TCP socket's, a TLS session's, a pipe's) whose reads and writes give up by
/// themselves when the peer stalls. A thread writes, so [`Channel::send`] never waits for the peer. Dropping the
/// connection sends what is still queued, then drops both halves. After the first error every call fails.
pub struct Connection {
    reader: BufReader<Box<dyn Read + Send>>,
    queue: Option<mpsc::Sender<Frame>>,
    writer: Option<JoinHandle<()>>,
    write_error: Arc<OnceLock<io::Error>>,
    sent: u16,
    received: u16,
    stall: Duration,
    broken: bool,
}

struct Frame {
    header: [u8; HEADER_BYTES],
    payload: Vec<u8>,
}

impl Connection {
    /// A connection over two halves; `stall` is the time after which they give up, for the error message only.
    pub fn new(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        stall: Duration,
    ) -> io::Result<Connection> {
        let (queue, frames) = mpsc::channel();
        let write_error = Arc::new(OnceLock::new());
        let failed = Arc::clone(&write_error);
        let writer = std::thread::Builder::new().name("fusion-writer".into()).spawn(move || {
            if let Err(error) = write_frames(writer, &frames) {
                // Set before `frames` is dropped, so that a failing `send` finds the reason.
                let _ = failed.set(error);
            }
        })?;
        Ok(Connection {
            reader: BufReader::with_capacity(BUFFER_BYTES, Box::new(reader)),
            queue: Some(queue),
            writer: Some(writer),
            write_error,
            sent: 0,
            received: 0,
            stall,
            broken: false,
        })
    }

    fn try_send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error> {
        if self.write_error.get().is_some() {
            return Err(self.writing_failed());
        }
        let header = Header { kind, payload_bytes: payload.len() }.encode(self.sent)?;
        self.sent = self.sent.wrapping_add(1);
        let queued = self.queue.as_ref().is_some_and(|queue| queue.send(Frame { header, payload }).is_ok());
        if queued { Ok(()) } else { Err(self.writing_failed()) }
    }

    fn try_receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        let mut header = [0; HEADER_BYTES];
        self.read_exact(&mut header)?;
        let header = Header::decode(header, self.received)?;
        self.received = self.received.wrapping_add(1);
        header.check(kind, payload_bytes)?;
        let mut payload = Vec::new();
        payload.try_reserve_exact(header.payload_bytes).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        payload.resize(header.payload_bytes, 0);
        self.read_exact(&mut payload)?;
        if header.kind == Kind::Refusal { Err(decode_refusal(&payload)) } else { Ok(payload) }
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.reader.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let text = format!("no data from the peer for {} s", self.stall.as_secs_f64());
                io::Error::new(ErrorKind::TimedOut, text).into()
            }
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => hang_up(),
            _ => Error::Io(error),
        })
    }

    fn writing_failed(&self) -> Error {
        match self.write_error.get() {
            Some(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    let text = format!("the peer took no data for {} s", self.stall.as_secs_f64());
                    io::Error::new(ErrorKind::TimedOut, text).into()
                }
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => hang_up(),
                kind => io::Error::new(kind, error.to_string()).into(),
            },
            None => hang_up(),
        }
    }

    fn unbroken<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.broken {
            return Err(io::Error::new(ErrorKind::NotConnected, "the connection has already failed").into());
        }
        let result = call(self);
        self.broken = result.is_err();
        result
    }
}

impl Channel for Connection {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error> {
        self.unbroken(|connection| connection.try_send(kind, payload))
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        self.unbroken(|connection| connection.try_receive(kind, payload_bytes))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closing the queue ends the thread once everything is written.
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

const BUFFER_BYTES: usize = 1 << 16;

/// Writes frames until the queue is closed, and flushes whenever it runs empty.
fn write_frames(writer: impl Write, frames: &mpsc::Receiver<Frame>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, writer);
    loop {
        let frame = match frames.try_recv() {
            Ok(frame) => frame,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                writer.flush()?;
                match frames.recv() {
                    Ok(frame) => frame,
                    Err(mpsc::RecvError) => break,
                }
            }
        };
        writer.write_all(&frame.header)?;
        writer.write_all(&frame.payload)?;
    }
    writer.flush()
}

fn hang_up() -> Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the peer hung up").into()
}
