//! From byte streams to the typed messages that protocols exchange.
//!
//! [`frame`] is the wire format. A [`Link`] gives a session its channels, one for each [`Lane`]; a
//! [`Connection`] is one over any two byte streams, [`tcp`] opens such streams and decides where
//! plaintext may go, with [`Tls`] between the holders of known [`Credentials`], and [`Metered`]
//! counts bytes, messages and rounds. The ends of a [`link`], which has a network's rate and delay
//! inside one process, are byte streams too. [`Dial`] and [`Listen`] are what a transport of one's
//! own implements.

mod caller;
mod connection;
mod failure;
pub mod frame;
mod identity;
mod incoming;
mod lane;
pub mod link;
mod meet;
mod meter;
mod outgoing;
mod switch;
pub mod tcp;
mod tls;
mod trust;
mod turn;

pub use caller::Identity;
pub use connection::{Connection, Pulse};
pub use identity::{Credentials, Fingerprint};
pub(crate) use lane::BreakOff;
pub use lane::{Lane, Link, Wrapped};
pub(crate) use meet::dial_all;
pub use meet::{Dial, Listen, Met, in_process};
pub use meter::{Meter, Metered, Traffic};
pub use outgoing::ALIVE_EVERY;
pub use switch::Switch;
pub use tls::Tls;
pub use trust::{Authority, Known, Shown, Trust};
pub use turn::{Told, Turn};
