//! The families of protocols, as data: what each could compute, and how it lays an operation out.

pub mod cheetah;
pub mod crypt_flow2;
pub mod garbled;

use fusion_ir::op::Backend;

use crate::compare::Nonlinear;
use crate::linear::{Refusal, Shape};
use crate::step::{Compare, Linear};
use cheetah::Packings;

/// A family as the compiler and both parties see it, without its protocols' code.
pub trait Family: Sync {
    /// The ways in which it could compute a linear layer, the one to take where nothing is known
    /// first.
    fn linear_candidates(&self) -> Vec<Backend>;

    /// The same of an operation that looks at bits.
    fn compare_candidates(&self) -> Vec<Backend>;

    /// A linear layer as `backend`, one of this family's, lays it out.
    ///
    /// # Errors
    /// If its protocols cannot carry it.
    fn linear(&self, backend: Backend, shape: &Shape, packings: &mut Packings) -> Result<Linear, Refusal>;

    /// An operation that looks at bits, likewise.
    fn compare(&self, backend: Backend, operation: Nonlinear) -> Compare;
}

/// Every family, the default one first.
pub const FAMILIES: [&dyn Family; 3] = [&cheetah::Family, &crypt_flow2::Family, &garbled::Family];

/// The family of a backend; the default one as long as none is selected.
pub fn family(backend: Backend) -> &'static dyn Family {
    match backend {
        Backend::Cheetah(_) | Backend::Unselected | Backend::Local => &cheetah::Family,
        Backend::CryptFlow2(_) => &crypt_flow2::Family,
        Backend::Garbled => &garbled::Family,
    }
}
