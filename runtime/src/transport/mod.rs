//! From byte streams to the typed messages that protocols exchange.
//!
//! [`frame`] is the wire format, [`Connection`] a channel over any two byte streams, [`tcp`] opens such streams and
//! decides where plaintext may go, and [`Metered`] counts bytes, messages and rounds. Encryption belongs between
//! `tcp` and `Connection`: a TLS session's two halves are byte streams too.

mod connection;
pub mod frame;
mod meter;
pub mod tcp;

pub use connection::Connection;
pub use meter::{Meter, Metered, Traffic};
