//! Estimates of time: the exact messages of a session on a [`Network`], and in between its
//! computations on a [`Machine`].

mod built_in;
mod link;
mod profile;
mod session;
mod stream;
mod suited;

pub use profile::{Machine, Network, NotANetwork, NotOfThisMachine};
pub use session::{Clock, SessionTime, SessionTrace};
pub use stream::LayerTime;
pub use suited::{AHEAD_POSITIONS, suited};
