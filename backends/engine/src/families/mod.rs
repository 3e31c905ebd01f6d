//! One folder for each family of protocols; what they share lies beside them. A session drives each
//! through `Engine`; which there are is the registry's.

use fusion_catalogue::compare::Nonlinear;
use fusion_catalogue::families::{Comparer, Linear, Product};
use fusion_catalogue::{Keys, SharedSetup, Steps};
use fusion_ir::{Party, ValueId, Weights};

use crate::ot::Generator;
use crate::{Channel, Error};

/// One party's half of a family, as a session drives it.
pub(crate) trait Engine {
    /// What it keeps for the positions of a micro-batch.
    type Batch;
    /// How it lays out a linear layer.
    type Layer;
    /// How it lays out products of secret matrices.
    type Products;
    /// Its protocols for what looks at bits.
    type Comparisons;

    /// Before anything is set up.
    ///
    /// # Errors
    /// If the operating system has no randomness.
    fn new(session_id: &[u8; 32]) -> Result<Self, Error>
    where
        Self: Sized;

    /// Sets up what a function's steps need once, as far as it is not there yet.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if a check of the set-up fails.
    fn set_up(&mut self, place: &mut Place<'_>, shared: &SharedSetup, keys: Keys) -> Result<(), Error>;

    /// Begins a micro-batch: whatever its positions need once.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    fn begin(&mut self, place: &mut Place<'_>, positions: usize) -> Result<Self::Batch, Error>;

    /// A linear layer.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    fn linear(
        &mut self,
        place: &mut Place<'_>,
        batch: &mut Self::Batch,
        layer: &Self::Layer,
        task: Task<'_>,
    ) -> Result<Vec<u64>, Error>;

    /// Products of secret matrices, on shares of both factors.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    fn product(
        &mut self,
        place: &mut Place<'_>,
        batch: &mut Self::Batch,
        products: &Self::Products,
        shares: [&[u64]; 2],
        positions: usize,
    ) -> Result<Vec<u64>, Error>;

    /// An operation that looks at bits, on shares of its operands.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    fn compare(
        &mut self,
        place: &mut Place<'_>,
        by: &Self::Comparisons,
        operation: &Nonlinear,
        operands: &[&[u64]],
        positions: usize,
    ) -> Result<Vec<u64>, Error>;
}

/// One party's end of a session.
pub(crate) struct Place<'s> {
    pub party: Party,
    pub channel: &'s mut dyn Channel,
    /// Where random OTs come from.
    pub correlations: &'s mut Generator,
    pub session_id: &'s [u8; 32],
}

/// A linear layer to be computed, of which this party holds a share of the operand.
#[derive(Clone, Copy)]
pub(crate) struct Task<'s> {
    pub steps: &'s Steps,
    pub id: ValueId,
    /// The server's.
    pub weights: Option<&'s Weights>,
    pub share: &'s [u64],
    pub positions: usize,
}

macro_rules! registry {
    ($($family:ident = $module:ident;)*) => {
        $(pub mod $module;)*

        /// One party's halves of all families.
        pub(crate) struct Engines {
            $($module: $module::Engine,)*
        }

        /// What all families keep for the positions of a micro-batch.
        pub(crate) struct Batches {
            $($module: <$module::Engine as Engine>::Batch,)*
        }

        impl Engines {
            /// As [`Engine::new`].
            pub fn new(session_id: &[u8; 32]) -> Result<Engines, Error> {
                Ok(Engines { $($module: $module::Engine::new(session_id)?,)* })
            }

            /// As [`Engine::set_up`].
            pub fn set_up(&mut self, place: &mut Place<'_>, shared: &SharedSetup, keys: Keys) -> Result<(), Error> {
                $(self.$module.set_up(place, shared, keys)?;)*
                Ok(())
            }

            /// As [`Engine::begin`].
            pub fn begin(&mut self, place: &mut Place<'_>, positions: usize) -> Result<Batches, Error> {
                Ok(Batches { $($module: self.$module.begin(place, positions)?,)* })
            }

            /// As [`Engine::linear`].
            pub fn linear(
                &mut self,
                place: &mut Place<'_>,
                batches: &mut Batches,
                layer: &Linear,
                task: Task<'_>,
            ) -> Result<Vec<u64>, Error> {
                match layer {
                    $(Linear::$family(layer) => self.$module.linear(place, &mut batches.$module, layer, task),)*
                }
            }

            /// As [`Engine::product`].
            pub fn product(
                &mut self,
                place: &mut Place<'_>,
                batches: &mut Batches,
                product: &Product,
                shares: [&[u64]; 2],
                positions: usize,
            ) -> Result<Vec<u64>, Error> {
                match product {
                    $(Product::$family(products) => {
                        self.$module.product(place, &mut batches.$module, products, shares, positions)
                    })*
                }
            }

            /// As [`Engine::compare`].
            pub fn compare(
                &mut self,
                place: &mut Place<'_>,
                by: &Comparer,
                operation: &Nonlinear,
                operands: &[&[u64]],
                positions: usize,
            ) -> Result<Vec<u64>, Error> {
                match by {
                    $(Comparer::$family(by) => self.$module.compare(place, by, operation, operands, positions),)*
                }
            }
        }
    };
}

impl Batches {
    /// The linear layers that are computed on masks, beside the micro-batch: once.
    pub fn ahead(&mut self) -> Option<cheetah::Ahead> {
        self.cheetah.ahead()
    }
}

registry! {
    Cheetah = cheetah;
    CryptFlow2 = crypt_flow2;
    Garbled = garbled;
}
