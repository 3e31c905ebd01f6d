//! What a session knows of the ledger that counts it.

use serde::Serialize;

/// How the ledger counts a session that is about to run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Its number in the ledger, from 1.
    pub session: u64,
    /// Public samples that no session before had, each counted once.
    pub public_fresh: u64,
    /// `-log2` of the sum over all verified sessions, this one included, of the probability that a
    /// wrong label at fixed positions is accepted, rounded down; 0 at least.
    pub risk_bits: f64,
}
