//! Estimates of time: the exact messages of a session on a [`Network`], and in between its
//! computations on a [`Machine`].

mod link;
mod profile;
mod session;
mod stream;

pub use profile::{Machine, Network, NotANetwork};
pub use session::{Clock, SessionTime, SessionTrace};
pub use stream::LayerTime;
