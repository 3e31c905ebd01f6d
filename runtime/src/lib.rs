//! Two parties execute a Fusion plan over a network, and the client verifies the answers.
//!
//! A [`Client`] and a [`Server`] keep what outlives a session: a plan, a ledger, a budget.
//! [`run_client`] and [`run_server`] are one session each over any [`Link`](transport::Link); a
//! [`Job`] is what the client brings to it. The batch is mixed ([`fusion::mix`]), cut into
//! micro-batches that go through the layers in streams ([`executor`]), and checked after the last
//! message ([`fusion::check`]).

pub mod answers;
pub mod budget;
pub mod client;
pub mod error;
pub mod executor;
pub mod forecast;
pub mod fusion;
pub mod input;
pub mod ledger;
pub mod memory;
pub mod model;
pub mod output;
pub mod page;
pub mod party;
pub mod report;
pub mod scale;
pub mod server;
pub mod service;
pub mod session;
pub mod shard;
pub mod statements;
pub mod steps;
pub mod store;
pub mod transport;

#[cfg(test)]
mod testing;

pub use answers::Answers;
pub use budget::{Budget, BudgetFile, BudgetStore, Change};
pub use client::Flow;
pub use error::{Error, Setting};
pub use executor::{Progress, Step};
pub use fusion::Job;
pub use ledger::Ledger;
pub use model::{Model, PlanFile};
pub use party::{Begun, Client, Event, Server};
pub use report::{ClientReport, ServerReport, Verdict};
pub use server::{run_server, run_server_if};
pub use shard::{Answered, Shard, Spread, run_client};
pub use steps::resolve;
pub use transport::Identity;
