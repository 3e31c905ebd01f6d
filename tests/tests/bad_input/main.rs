//! Bad input of every kind, given to the real programs: each gets its exit code and a message that
//! names what is at fault and what to do, and no file is lost or half-written.

mod model;
mod onnx;
mod peer;
mod plan;
mod relay;
mod samples;
mod usage;
