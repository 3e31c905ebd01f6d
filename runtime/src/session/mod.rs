//! How two parties agree to run one plan on one batch.

pub mod handshake;
mod probe;

pub use handshake::{Admission, Arrival, BatchSize, Limits, Offline};
