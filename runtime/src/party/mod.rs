//! The two parties, with what outlives a session: plan, ledger, budget.
//!
//! The order in which a session's parts come is decided here: what can be refused is refused before
//! there is a connection, a session is in the ledger before its first byte is sent, its outcome
//! after the last. Programs say what their users want and show [`Event`]s.

mod client;
mod event;
mod samples;
mod server;

pub use client::{Asked, Begun, Client};
pub use event::{Event, Watch};
pub use server::{Served, Server};
