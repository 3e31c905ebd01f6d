//! How two parties agree to run one plan on one batch.

mod batch;
pub mod handshake;
pub mod hello;
pub(crate) mod probe;

pub use batch::{BatchSize, Limits, Offline};
pub use handshake::{Admission, Agreement, Arrival};
