//! What a service tells about itself.

use std::net::SocketAddr;
use std::time::Duration;

use crate::session::BatchSize;
use crate::{Error, ServerReport, Step};

/// Who is told. Sessions tell from their own threads, so this must not wait.
pub trait Observer: Send + Sync {
    /// Something happened. `connection` is the number of a connection, unique in this process.
    fn event(&self, connection: u64, event: Event<'_>);
}

/// A client as the service knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
}

/// What happened on a connection. Nothing in it is secret but what a client or its transport put
/// into the text of an error: that is the peer's, of any form.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// There was no client: no handshake or no hello, nobody known, or garbage. It costs nothing.
    Stray {
        /// Where it came from.
        address: SocketAddr,
        /// What was wrong.
        why: &'a Error,
    },
    /// A client waits for its turn.
    Queued {
        /// Who.
        caller: &'a Caller,
        /// How many are before it.
        before: usize,
        /// What its session will take of memory.
        memory_bytes: u64,
    },
    /// A client is turned away; nothing was spent.
    Refused {
        /// Who.
        caller: &'a Caller,
        /// The plan's name, if the client's plan is known.
        plan: Option<&'a str>,
        /// By what kind of reason.
        refusal: Refusal,
        /// What was wrong.
        why: &'a Error,
    },
    /// A session starts: from here on it counts.
    Started {
        /// Who.
        caller: &'a Caller,
        /// The plan's name.
        plan: &'a str,
        /// Its size.
        size: BatchSize,
        /// What it will take of memory.
        memory_bytes: u64,
        /// How long the client waited for its turn.
        waited: Duration,
    },
    /// A session is about to run a layer.
    Step(Step<'a>),
    /// A session that had started is over.
    Ended {
        /// Who.
        caller: &'a Caller,
        /// The plan's name.
        plan: &'a str,
        /// What it took, or why it failed.
        outcome: Result<&'a ServerReport, &'a Error>,
        /// How long it ran.
        time: Duration,
    },
    /// The system gave no connection or no thread; the service goes on.
    NotAccepted {
        /// Why.
        why: &'a std::io::Error,
    },
}

/// Kinds of reasons to turn a client away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It asked whether it would be served, and for nothing more.
    Asked,
    /// Another protocol, an unknown plan, or a batch beyond what the plan's sessions may have.
    Incompatible,
    /// Beyond what this client may ask for in one session.
    Quota,
    /// More than this client may have in an hour.
    Rate,
    /// The client's budget does not do.
    Budget,
    /// It takes more memory than there is.
    Memory,
    /// Too many wait, or its turn did not come in time.
    Busy,
    /// It went away while it waited.
    Gone,
    /// The service ends.
    Closing,
    /// Something failed on this side: what keeps the budgets, for example.
    Failed,
}

impl Refusal {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Asked => "asked",
            Refusal::Incompatible => "incompatible",
            Refusal::Quota => "quota",
            Refusal::Rate => "rate",
            Refusal::Budget => "budget",
            Refusal::Memory => "memory",
            Refusal::Busy => "busy",
            Refusal::Gone => "gone",
            Refusal::Closing => "closing",
            Refusal::Failed => "failed",
        }
    }
}
