//! Fusion's two-party protocols: linear layers over RLWE ciphertexts, oblivious transfer,
//! comparisons.
//!
//! Every protocol runs over a [`Channel`] between the [client and the server](fusion_ir::Party),
//! and its messages are exactly those that [`fusion_catalogue`] predicts. Nothing here knows about
//! files, sockets or command lines.
//!
//! Processors divide some numbers faster than others. So a division or a remainder has public
//! operands: a lint asks every one for its reason, but for the modules that only compute with
//! places and moduli. Residues of secrets are [`ring::Modulus`]'s.

#![cfg_attr(not(test), warn(clippy::integer_division_remainder_used))]

#[allow(clippy::integer_division_remainder_used, reason = "places of bits")]
pub mod bits;
pub mod channel;
pub mod compare;
pub mod error;
pub mod families;
#[allow(clippy::integer_division_remainder_used, reason = "places in memory")]
mod kernels;
pub mod local;
pub mod ot;
#[allow(clippy::integer_division_remainder_used, reason = "places in memory, and what is computed of the moduli")]
pub mod ring;
pub mod rlwe;
pub mod session;
mod shelf;
pub mod tap;
mod threads;

pub use channel::{Channel, Kind};
pub use error::Error;
pub use families::{cheetah, crypt_flow2, garbled};
pub use session::{MicroBatch, Session};
