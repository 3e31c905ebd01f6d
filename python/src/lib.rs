//! The native half of the Python package `fusion`: it hands arrays and names to the library face,
//! and gives back what that says. It decides nothing.

mod client;
mod compile;
mod errors;
mod interrupt;
mod plan;
mod scale;
mod server;
mod shards;
mod soundness;

/// See `fusion`.
#[pyo3::pymodule]
mod _fusion {
    #[pymodule_export]
    use crate::client::{Client, Job};
    #[pymodule_export]
    use crate::compile::compile;
    #[pymodule_export]
    use crate::errors::{FusionError, ModelError, PeerError, StateError, UsageError};
    #[pymodule_export]
    use crate::plan::Plan;
    #[pymodule_export]
    use crate::scale::scale;
    #[pymodule_export]
    use crate::server::Server;
    #[pymodule_export]
    use crate::shards::{Begun, answer, begin, reach};
    #[pymodule_export]
    use crate::soundness::soundness;
    #[pymodule_export]
    use crate::tls::keygen;
}

mod tls;
