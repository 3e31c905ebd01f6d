//! One folder for each family of protocols; what they share lies beside them. A session drives each
//! through `Engine`.

pub mod cheetah;
pub mod crypt_flow2;
pub mod garbled;

use fusion_catalogue::compare::Nonlinear;
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
    /// What may be chosen about a comparison.
    type Choice;

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

    /// An operation that looks at bits, on shares of its operands.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    fn compare(
        &mut self,
        place: &mut Place<'_>,
        choice: Self::Choice,
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
