//! What `fusionc` says of plans, as pages that people look at.

mod cost;
mod program;

pub use cost::{SIZES, cost};
pub use program::{graph, program};
