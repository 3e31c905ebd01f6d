//! Fusion's client (Dong et al., NDSS 2023): mix copies of the queries with samples of known
//! answer, and check.

pub mod check;
pub(crate) mod inputs;
pub mod job;
pub mod known;
pub mod mix;
pub mod row;

pub use check::Findings;
pub use job::{Job, Probe, PublicSample};
pub use known::Known;
pub use mix::{Mix, Sample};
pub use row::{Row, RowDigest};
