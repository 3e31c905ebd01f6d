//! The secure-inference IR: what is computed, exactly, and nothing about how.
//!
//! A [`Function`] is the program for **one position** of a batch: a list of [`Value`]s in
//! topological order, each an [`Op`] on earlier values with a [`TensorType`]. Every value is a
//! tensor of signed integers in `Z_2^bits`; a protocol holds it as two additive shares. The crate
//! has no I/O and no cryptography: it defines the types ([`types`]), how samples are quantised
//! ([`input`]), the operations ([`op`]), who computes them ([`backend`]), what well-formed means
//! ([`mod@verify`]), a text form that prints and parses ([`text`]), the versioned plan file
//! ([`plan`]), what every backend must agree with bit for bit ([`interp`]), the order of top-k
//! comparisons ([`network`]), the shape of decision trees ([`forest`]), how files of samples are
//! read ([`npy`]) and what their columns are called ([`schema`]), and the arithmetic of Fusion's
//! guarantees.

pub mod backend;
pub mod forest;
pub mod function;
mod ids;
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

pub use backend::Backend;
pub use forest::Forest;
pub use function::{Function, Value, ValueId, Weight, WeightId, Weights};
pub use input::{Feature, InputFormat};
pub use op::Op;
pub use plan::Plan;
pub use prefix::Prefix;
pub use schema::Schema;
pub use types::{Party, Sign, TensorType};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// One of `fusion_ablate`'s values removes one check or protection. tests/ablate/run.sh gives it
// to every crate of the workspace, so this one speaks for all.
#[cfg(all(
    not(debug_assertions),
    any(
        fusion_ablate = "first-rank-only",
        fusion_ablate = "quantised-digest",
        fusion_ablate = "shared-key",
        fusion_ablate = "without-accuracy",
        fusion_ablate = "without-blind",
        fusion_ablate = "without-consistency",
        fusion_ablate = "without-ot-check",
        fusion_ablate = "without-relabelling",
        fusion_ablate = "without-rerandomisation"
    )
))]
compile_error!("fusion_ablate makes Fusion insecure: it is for tests/ablate/run.sh only");
