//! The size of a batch and how a session computes it: what the client asks for, and what a server
//! accepts.

use fusion_backends::Error;
use fusion_catalogue::ot::Choice;
use fusion_catalogue::{Keys, Schedule};

use crate::transport::Lane;

/// The size of a batch, which the client decides and the server may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// At least one position, and at most [`Lane::STREAMS`] streams and as many as there are
    /// micro-batches.
    pub schedule: Schedule,
    /// How correlations are made.
    pub offline: Offline,
    /// Which layers share key pairs.
    pub keys: Keys,
}

/// How a session's correlations are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offline {
    /// By what.
    pub choice: Choice,
    /// Whether ahead of the layers, on a thread of each stream, or when a layer needs them.
    pub ahead: bool,
}

impl Default for Offline {
    fn default() -> Offline {
        Offline { choice: Choice::Auto, ahead: true }
    }
}

/// What a server accepts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most positions of one session.
    pub positions: u64,
    /// Largest micro-batch: it bounds the server's memory.
    pub micro_batch: u32,
    /// Most micro-batches at the same time, likewise.
    pub streams: u8,
    /// Largest micro-batch whose layers are computed [ahead](Keys::Ahead), which takes more; 0 if
    /// none are.
    pub ahead: u32,
}

impl BatchSize {
    /// The batch in micro-batches of at most `micro_batch` positions, as many at the same time as
    /// there are, at most `streams`.
    pub fn new(positions: u64, micro_batch: u32, streams: u8, offline: Offline, keys: Keys) -> BatchSize {
        let schedule = Schedule::new(positions, micro_batch, streams.min(Lane::STREAMS as u8));
        BatchSize { schedule, offline, keys }
    }

    /// Whether a server with these limits takes it.
    pub(super) fn check(self, limits: Limits) -> Result<(), Error> {
        let Schedule { positions, micro_batch, streams } = self.schedule;
        if positions == 0 || micro_batch == 0 || streams == 0 {
            return Err(Error::PeerMisbehaved(EMPTY.into()));
        }
        if positions > limits.positions {
            let text = format!("the batch has {positions} positions, this server takes at most {}", limits.positions);
            return Err(Error::PeerIncompatible(text));
        }
        let (most, layers) = match self.keys {
            Keys::Ahead => (limits.ahead.min(limits.micro_batch), " with layers ahead, and perhaps more without"),
            Keys::Layer | Keys::Position => (limits.micro_batch, ""),
        };
        if micro_batch > most {
            let text = format!(
                "the micro-batch has {micro_batch} positions, this server takes micro-batches of at most {most}{layers}"
            );
            return Err(Error::PeerIncompatible(text));
        }
        if usize::from(streams) > Lane::STREAMS || u64::from(streams) > self.schedule.micro_batches() {
            return Err(Error::PeerMisbehaved(format!("the client asks for {streams} streams of micro-batches")));
        }
        if streams > limits.streams {
            let text = format!(
                "the batch has {streams} micro-batches in flight, this server takes at most {}",
                limits.streams
            );
            return Err(Error::PeerIncompatible(text));
        }
        Ok(())
    }
}

/// What a server says to a hello that is right in everything but that it asks for nothing.
pub(super) const EMPTY: &str = "the client asks for an empty batch";
