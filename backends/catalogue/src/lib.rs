//! What Fusion's protocols are and what each costs, as data: no protocol code, so the compiler can see it.
//!
//! A protocol's cost is the exact list of messages it exchanges ([`Cost`]); bytes and rounds follow from the list.

mod bits;
pub mod compare;
pub mod contests;
mod cost;
pub mod cpu;
pub mod crypt_flow2;
pub mod garbled;
mod keys;
mod layer;
pub mod linear;
pub mod ot;
pub mod profile;
mod schedule;
pub mod time;

pub use bits::packed_bytes;
pub use cost::{Cost, FRAME_HEADER_BYTES, Message, Primitive};
pub use keys::Keys;
pub use layer::{Demand, begin, cheetah, elementwise, layer, reveal, setup};
pub use profile::{Machine, Network};
pub use schedule::{Counts, Schedule};
