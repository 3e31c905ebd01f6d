//! Attacks: malicious servers on the real protocol code over TCP, how often each gets a wrong label
//! accepted against what the formulas say, what a server sees, what a hostile plan can do, and what
//! a curious client can do.
//!
//! A server that cheats ends in rejection (exit code 3), in a failed session (4), or is accepted
//! with the right labels; with wrong labels only as often as [`fusion_ir::soundness`] says.
//! [`rates`] prints the measured table:
//! `cargo test -p fusion-tests --test attacks rates -- --nocapture`. Which check stops which attack
//! is shown by `tests/ablate/run.sh`.

mod ablations;
mod curious;
mod leaks;
mod malice;
mod plans;
mod processes;
mod rates;
mod relabel;
mod revealed;
mod samples;
mod seek;
mod servers;
mod shards;
mod statistics;
mod streams;
mod trees;
mod values;
