//! From byte streams to the typed messages that protocols exchange.
//!
//! [`frame`] is the wire format. A [`Link`] gives a session its channels, one for each [`Lane`]; a [`Connection`] is one
//! over any two byte streams, [`tcp`] opens such streams and decides where plaintext may go, and [`Metered`] counts bytes,
//! messages and rounds. Encryption belongs between `tcp` and `Connection`: a TLS session's two halves are byte streams too.
//! So are the ends of a [`link`], which has a network's rate and delay inside one process.

mod connection;
mod failure;
pub mod frame;
mod incoming;
mod lane;
pub mod link;
mod meter;
mod outgoing;
pub mod tcp;

pub use connection::Connection;
pub(crate) use lane::BreakOff;
pub use lane::{Lane, Link, Wrapped};
pub use meter::{Meter, Metered, Traffic};
pub use outgoing::ALIVE_EVERY;
