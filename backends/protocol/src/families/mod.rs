//! The families of protocols, as data: what each could compute, and how it lays an operation out.
//!
//! A family is a folder that has a `Family`, a `Layer`, a `Products` and a `Comparisons`, and a
//! line in the registry.

mod parts;

use fusion_ir::Backend;

use crate::Keys;
use crate::linear::{Matrices, Refusal, Shape};
use cheetah::Packings;

pub use parts::{Absent, Comparisons, Layer, Products};

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

    /// Products of secret matrices in a ring of so many bits, as `backend` multiplies whole ones;
    /// `None` if it multiplies scalars, by [comparisons](Family::compare).
    ///
    /// # Errors
    /// If its protocols for whole matrices cannot carry these.
    fn product(&self, _: Backend, _bits: u8, _: &Matrices, _: &mut Packings) -> Result<Option<Product>, Refusal> {
        Ok(None)
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

        /// Products of secret matrices, laid out as their protocol has them.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Product {
            $(#[doc = concat!("By the `", stringify!($module), "` family.")] $family($module::Products),)*
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

        impl Product {
            /// What every family says of its products.
            pub fn products(&self) -> &dyn Products {
                match self {
                    $(Product::$family(products) => products,)*
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

impl Comparer {
    /// As a session with these keys runs them.
    pub fn with(self, keys: Keys) -> Comparer {
        match self {
            Comparer::Cheetah(comparisons) => Comparer::Cheetah(comparisons.with(keys)),
            other => other,
        }
    }
}

registry! {
    Cheetah = cheetah;
    CryptFlow2 = crypt_flow2;
    Garbled = garbled;
}
