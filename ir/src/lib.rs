//! The secure-inference IR: what is computed, exactly, and nothing about how.
//!
//! A [`Function`] is the program for **one position** of a batch: a list of [`Value`]s in topological
//! order, each an [`Op`] on earlier values with a [`TensorType`]. Every value is a tensor of signed
//! integers in `Z_2^bits`; a protocol holds it as two additive shares. The crate has no I/O and no
//! cryptography: it defines the types ([`types`]), the operations ([`op`]), what well-formed means

//! backend must agree with bit for bit ([`interp`]), and the arithmetic of Fusion's guarantees
//! ([`soundness`]).

pub mod function;
pub mod op;
pub mod types;

pub use function::{Function, Value, ValueId, Weight, WeightId, Weights};
pub use op::Op;
pub use types::{Party, Sign, TensorType};
