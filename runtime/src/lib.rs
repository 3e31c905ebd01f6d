//! Two parties execute a Fusion plan over a network, and the client verifies the answers.

pub mod error;
pub mod fusion;
pub mod session;
pub mod transport;

#[cfg(test)]
mod testing;

pub use error::Error;
