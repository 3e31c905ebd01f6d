//! The families of protocols, as data: what each could compute, and how it lays an operation out.
//!
//! A family is a folder that has a `Family`, a `Layer` and a `Comparisons`, and a line in the
//! registry.

mod parts;

use std::sync::Arc;

use fusion_ir::Backend;

use crate::linear::{Matrices, Refusal, Shape};
use cheetah::{Packings, Product};

pub use parts::{Comparisons, Layer, NoLayer};

/// A family as the compiler and both parties see it, without its protocols' code.
pub trait Family: Sync {
    /// The ways in which it could compute a linear layer, the one to take where nothing is known
    /// first.
    fn linear_candidates(&self) -> Vec<Backend>;

    /// The same of an operation that looks at bits.
    fn compare_candidates(&self) -> Vec<Backend>;

    /// The same of products of secret matrices.
    fn product_candidates(&self) -> Vec<Backend> {
        self.compare_candidates()
    }

    /// A linear layer as `backend`, one of this family's, lays it out.
    ///
    /// # Errors
    /// If its protocols cannot carry it.
    fn linear(&self, backend: Backend, shape: &Shape, packings: &mut Packings) -> Result<Linear, Refusal>;

    /// By which protocols it computes what looks at bits, likewise.
    ///
    /// # Errors
    /// If it has none.
    fn compare(&self, backend: Backend) -> Result<Comparer, Refusal>;

    /// Products of secret matrices in a ring of so many bits, by ciphertexts; `None` if they are
    /// computed scalar by scalar, as comparisons are.
    fn product(
        &self,
        _backend: Backend,
        _bits: u8,
        _matrices: &Matrices,
        _packings: &mut Packings,
    ) -> Option<Arc<Product>> {
        None
    }
}

macro_rules! registry {
    ($($family:ident = $module:ident;)*) => {
        $(pub mod $module;)*

        /// Every family, the default one first.
        pub const FAMILIES: &[&dyn Family] = &[$(&$module::Family),*];

        /// The family of a backend; the default one as long as none is selected.
        pub fn family(backend: Backend) -> &'static dyn Family {
            match backend {
                Backend::Unselected | Backend::Local => FAMILIES[0],
                $(Backend::$family { .. } => &$module::Family,)*
            }
        }

        /// A linear layer, laid out as its protocol has it.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Linear {
            $(#[doc = concat!("By the `", stringify!($module), "` family.")] $family($module::Layer),)*
        }

        /// The protocols of a family for what looks at bits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Comparer {
            $(#[doc = concat!("By the `", stringify!($module), "` family.")] $family($module::Comparisons),)*
        }

        impl Linear {
            /// What every family says of its layers.
            pub fn layer(&self) -> &dyn Layer {
                match self {
                    $(Linear::$family(layer) => layer,)*
                }
            }
        }

        impl Comparer {
            /// What every family says of its protocols.
            pub fn protocols(&self) -> &dyn Comparisons {
                match self {
                    $(Comparer::$family(protocols) => protocols,)*
                }
            }
        }
    };
}

registry! {
    Cheetah = cheetah;
    CryptFlow2 = crypt_flow2;
    Garbled = garbled;
}
