//! Errors, split by blame, and the exit code each one means.

use std::path::Path;

use fusion_ir::op::Reveal;

/// Why a run did not finish. That verification *rejected* a server's answers is not an error but an
/// [outcome](crate::Verdict).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag, file or policy of this party's user; nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// A setting of this party's user that does not go with the others; nothing was sent. Programs
    /// say what the setting is called with them.
    #[error("{why}")]
    Setting {
        /// Which.
        setting: Setting,
        /// What is wrong.
        why: String,
    },
    /// Results could not be written; nothing is left half-written.
    #[error("cannot write {path}: {error}")]
    Output {
        /// The file.
        path: String,
        /// The cause.
        error: std::io::Error,
    },
    /// A ledger or a budget cannot be kept, so nothing that it would count may start.
    #[error("cannot use {path}: {why}")]
    State {
        /// The file.
        path: String,
        /// The cause.
        why: String,
    },
    /// The peer or the connection failed; whatever the session had derived is void.
    #[error("{0}")]
    Peer(#[from] fusion_backends::Error),
    /// The session with one of several servers failed, and with it the batch; what other shards had
    /// derived is void too.
    #[error("{server} (shard {number} of {of}): {error}")]
    Shard {
        /// What the server is called.
        server: String,
        /// Which shard, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// Why.
        error: Box<Error>,
    },
    /// The operating system gives no randomness.
    #[error("the system's random generator failed: {0}")]
    Entropy(#[from] getrandom::Error),
    /// Something that cannot happen did.
    #[error("internal error: {0}")]
    Bug(String),
}

/// What a user may set, where an error is about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// What a plan may reveal of each position: this is what it does reveal.
    Reveal(Reveal),
    /// What the process may take of memory, for so many micro-batches in flight.
    Memory {
        /// Micro-batches in flight.
        streams: u8,
    },
    /// This party's certificate and key.
    Credentials,
    /// The fingerprints of the certificates that the peer may have.
    Peers,
    /// The smallest error rate of a server to be caught, which the text calls `` `catch` ``.
    Catch,
    /// Whether bytes may leave this machine unprotected.
    Plaintext,
}

impl Error {
    /// An [`Error::Setting`].
    pub(crate) fn setting(setting: Setting, why: impl Into<String>) -> Error {
        Error::Setting { setting, why: why.into() }
    }

    /// Why, wherever it happened.
    pub fn cause(&self) -> &Error {
        match self {
            Error::Shard { error, .. } => error.cause(),
            error => error,
        }
    }

    /// The process exit code: 2 for bad usage, input, output or state, 4 for a peer or protocol
    /// failure, 1 for a bug.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Setting { .. } | Error::Output { .. } | Error::State { .. } => 2,
            Error::Peer(_) => 4,
            Error::Shard { error, .. } => error.exit_code(),
            Error::Entropy(_) | Error::Bug(_) => 1,
        }
    }

    /// An [`Error::Output`] about `path`.
    pub(crate) fn output(path: &Path, error: std::io::Error) -> Error {
        Error::Output { path: path.display().to_string(), error }
    }
}
