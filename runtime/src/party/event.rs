//! What a program may show while a session runs.

use crate::Error;
use crate::executor::Step;
use crate::ledger::Entry;
use crate::transport::Turn;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The peer is there, and nothing has been sent.
    Connected {
        /// What it is called.
        name: &'a str,
        /// Whether bytes leave this machine without encryption and authentication.
        exposed: bool,
    },
    /// The ledger counts the session, whatever becomes of it.
    Counted {
        /// How.
        entry: Entry,
        /// Public samples of the batch.
        public: u64,
    },
    /// The server is busy: when this session's turn comes.
    Waiting(Turn),
    /// A layer is about to run.
    Step(Step<'a>),
    /// The session is over, but the ledger did not take its outcome: there it stays as started.
    Unrecorded {
        /// Its number in the ledger.
        session: u64,
        /// Why.
        error: &'a Error,
    },
}

/// Who is told.
pub type Watch<'a> = dyn FnMut(Event<'_>) + Send + 'a;
