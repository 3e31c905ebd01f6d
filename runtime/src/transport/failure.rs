//! Why a connection is over, for each of its lanes to say.

use std::io::{self, ErrorKind};
use std::time::Duration;

use fusion_backends::Error;

/// An [`Error`] that can be given to every lane.
#[derive(Clone, Debug)]
pub enum Failure {
    /// [`Error::PeerMisbehaved`].
    Misbehaved(String),
    /// [`Error::PeerIncompatible`].
    Incompatible(String),
    /// [`Error::Io`].
    Io(ErrorKind, String),
}

impl Failure {
    /// The peer closed the connection.
    pub fn hang_up() -> Failure {
        Failure::Io(ErrorKind::UnexpectedEof, "the peer hung up".into())
    }

    /// Whether this is [`Failure::hang_up`].
    pub fn is_hang_up(&self) -> bool {
        matches!(self, Failure::Io(ErrorKind::UnexpectedEof, _))
    }

    /// This party closed the connection.
    pub fn broken_off() -> Failure {
        Failure::Io(ErrorKind::NotConnected, "the connection was broken off".into())
    }

    /// Nothing came for `stall`.
    pub fn silence(stall: Duration) -> Failure {
        Failure::Io(ErrorKind::TimedOut, format!("no data from the peer for {} s", stall.as_secs_f64()))
    }

    /// The peer is there, and sent no message for `patience`.
    pub fn idleness(patience: Duration) -> Failure {
        let text = format!("the peer shows signs of life, but sent no message for {} s", patience.as_secs_f64());
        Failure::Io(ErrorKind::TimedOut, text)
    }

    /// A read that failed, by a reader that gives up after `stall`.
    pub fn reading(error: &io::Error, stall: Duration) -> Failure {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::silence(stall),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::hang_up(),
            kind => Failure::Io(kind, error.to_string()),
        }
    }

    /// A write that failed, by a writer that gives up after `stall`.
    pub fn writing(error: &io::Error, stall: Duration) -> Failure {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let text = format!("the peer took no data for {} s", stall.as_secs_f64());
                Failure::Io(ErrorKind::TimedOut, text)
            }
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::hang_up(),
            kind => Failure::Io(kind, error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::PeerMisbehaved(text) => Failure::Misbehaved(text),
            Error::PeerIncompatible(text) => Failure::Incompatible(text),
            Error::Io(error) => Failure::Io(error.kind(), error.to_string()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Misbehaved(text) => Error::PeerMisbehaved(text),
            Failure::Incompatible(text) => Error::PeerIncompatible(text),
            Failure::Io(kind, text) => Error::Io(io::Error::new(kind, text)),
        }
    }
}
