//! The secure-inference IR: what is computed, exactly, and nothing about how.
//!
//! A [`Function`] is the program for **one position** of a batch: a list of [`Value`]s in
//! topological order, each an [`Op`] on earlier values with a [`TensorType`]. Every value is a
//! tensor of signed integers in `Z_2^bits`; a protocol holds it as two additive shares. The crate
//! has no I/O and no cryptography: it defines the types ([`types`]), how samples are quantised
//! ([`input`]), the operations ([`op`]), what well-formed means ([`mod@verify`]), a text form that
//! prints and parses ([`text`]), the versioned plan file ([`plan`]), what every backend must agree
//! with bit for bit ([`interp`]), the order of top-k contests ([`network`]), the shape of decision
//! trees ([`forest`]), how files of samples are read ([`npy`]) and what their columns are called
//! ([`schema`]), and the arithmetic of Fusion's guarantees.

pub mod forest;
pub mod function;
pub mod input;
pub mod interp;
pub mod network;
pub mod npy;
pub mod op;
pub mod plan;
pub mod prefix;
pub mod schema;
pub mod soundness;
pub mod text;
pub mod types;
pub mod verify;

pub use forest::Forest;
pub use function::{Function, Value, ValueId, Weight, WeightId, Weights};
pub use input::{Feature, InputFormat};
pub use op::{Backend, Op};
pub use plan::Plan;
pub use prefix::Prefix;
pub use schema::Schema;
pub use types::{Party, Sign, TensorType};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(not(debug_assertions), any(feature = "without-blind", feature = "without-relabelling")))]
compile_error!("a feature that weakens the planner is for tests only");
