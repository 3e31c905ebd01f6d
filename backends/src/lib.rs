//! Fusion's two-party protocols: linear layers over RLWE ciphertexts, oblivious transfer, comparisons.
//!
//! Every protocol runs over a [`Channel`] between the [client and the server](fusion_ir::Party), and its messages are exactly those that
//! [`fusion_catalogue`] predicts. Nothing here knows about files, sockets or command lines.

pub mod bits;
pub mod channel;
pub mod compare;
pub mod crypt_flow2;
pub mod error;
pub mod garbled;
mod kernels;
pub mod linear;
pub mod local;
pub mod ot;
pub mod ring;
pub mod rlwe;
pub mod session;

pub use channel::{Channel, Kind};
pub use error::Error;
pub use session::{MicroBatch, Session};

#[cfg(all(
    not(debug_assertions),
    any(feature = "shared-key", feature = "without-ot-check", feature = "without-rerandomisation")
))]
compile_error!("a feature that removes a protection is for tests only");
