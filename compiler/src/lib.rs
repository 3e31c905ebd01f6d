//! ONNX to secure-inference plans.
//!
//! [`import`] reads a model as a float network ([`nn`]), calibration and [`lower`] turn it into the secure IR in fixed point, and
//! [`passes`] make that a plan. The binary `fusionc` ([`cli`]) is a thin skin over [`compile`].

mod error;
pub mod import;
pub mod nn;
pub mod npy;

pub use error::{Error, Unsupported};
