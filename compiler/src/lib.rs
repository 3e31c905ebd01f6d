//! ONNX to secure-inference plans.
//!
//! [`import`] reads a model as a float network ([`nn`]), calibration ([`quantise`]) and [`lower`]
//! turn it into the secure IR in fixed point, and [`passes`] make that a plan. The binary `fusionc`
//! ([`cli`]) is a thin skin over [`compile`].

pub mod agreement;
mod build;
#[cfg(feature = "cli")]
pub mod cli;
pub mod compare;
pub mod compile;
pub mod cost;
pub mod diagnose;
mod error;
pub mod evaluate;
pub mod import;
pub mod lower;
pub mod memory;
pub mod nn;
pub mod oracle;
pub mod page;
pub mod passes;
mod progress;
pub mod quantise;
pub mod refine;
pub mod samples;
pub mod schema;
pub mod setting;
pub mod suggest;

pub use error::{Error, Unsupported};
