//! Two parties execute a Fusion plan over a network, and the client verifies the answers.

pub mod error;
pub mod transport;

pub use error::Error;
