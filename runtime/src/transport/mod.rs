//! From byte streams to the typed messages that protocols exchange.
//!
//! [`frame`] is the wire format, [`Connection`] a channel over any two byte streams, [`tcp`] opens such streams and
//! decides where plaintext may go, and [`Metered`] counts bytes, messages and rounds. Encryption belongs between
//! `tcp` and `Connection`: a TLS session's two halves are byte streams too. So are the ends of a [`link`], which has a network's
//! rate and delay inside one process.

mod connection;
pub mod frame;
pub mod link;
mod meter;
pub mod tcp;

pub use connection::Connection;
pub use meter::{Meter, Metered, Traffic};
