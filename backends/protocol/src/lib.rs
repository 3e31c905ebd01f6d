//! What Fusion's protocols are and what each costs, as data: no protocol code, so the compiler can
//! see it.
//!
//! A protocol's cost is the exact list of messages it exchanges ([`Cost`]); bytes and rounds follow
//! from the list.

mod bits;
pub mod compare;
mod cost;
pub mod cpu;
pub mod families;
mod keys;
pub mod linear;
pub mod ot;
pub mod rlwe;
mod schedule;
mod setup;
pub mod step;
mod steps;

pub use bits::packed_bytes;
pub use cost::{Cost, FRAME_HEADER_BYTES, Message, Primitive};
pub use families::{cheetah, crypt_flow2, garbled};
pub use keys::Keys;
pub use schedule::{Counts, Schedule};
pub use setup::SharedSetup;
pub use step::Step;
pub use steps::{Resolver, Steps, Unsupported, candidates};
