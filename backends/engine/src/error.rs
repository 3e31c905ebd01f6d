//! Errors, split by blame.

/// Why a protocol could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer sent something that no honest peer sends. The session and everything derived in it
    /// is void.
    #[error("the peer broke the protocol: {0}")]
    PeerMisbehaved(String),
    /// The peer speaks another version or holds another plan.
    #[error("the peer is incompatible: {0}")]
    PeerIncompatible(String),
    /// The connection failed or stalled.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// The same, for another who is to know.
    pub(crate) fn again(&self) -> Error {
        match self {
            Error::PeerMisbehaved(why) => Error::PeerMisbehaved(why.clone()),
            Error::PeerIncompatible(why) => Error::PeerIncompatible(why.clone()),
            Error::Io(error) => Error::Io(std::io::Error::new(error.kind(), error.to_string())),
        }
    }
}
