//! One party's half of a session: the state that protocols share, and each step of a function on a
//! micro-batch.
//!
//! Each stage of a session is a type, made of the one before:
//!
//! 1. [`Session::establish`] gives an [`Established`]: oblivious transfers in both directions, on a
//!    channel of their own.
//! 2. [`Established::preprocess`] or [`Established::on_demand`] gives an [`Unprepared`]: random OTs
//!    are made ahead of the layers or when a layer needs them.
//! 3. [`Unprepared::prepare`] gives a [`Session`] for a function, resolved into [steps](Steps).
//! 4. [`Session::begin`] gives a [`MicroBatch`] with a fresh RLWE key pair for each of its
//!    positions, which is dropped with it. Layers with [a pair of their
//!    own](fusion_catalogue::Keys) make one for each position when it is their turn, and drop it
//!    when they are done.
//!    With [layers ahead](Keys::Ahead) there are keys of [`MicroBatch::ahead`] instead, which
//!    somebody must run beside it, on a channel of its own.
//! 5. [`MicroBatch::run`] takes shares to shares, [`MicroBatch::reveal`] opens the result.
//!
//! Messages are those of [`SharedSetup`] and of each [step's cost](Step::cost), and for
//! correlations of [`Cost::generator`](fusion_catalogue::Cost::generator).
//!
//! ```
//! # use std::sync::Arc;
//! # use fusion_backends::{Error, Session, session::Established};
//! # use fusion_catalogue::{Keys, Steps};
//! # use fusion_ir::ValueId;
//! # fn half(established: Established, steps: Arc<Steps>, share: &[u64]) -> Result<(), Error> {
//! let mut session = established.on_demand().prepare(steps, Keys::Position)?;
//! let mut batch = session.begin(1)?;
//! batch.run(ValueId(1), None, &[share])?;
//! # Ok(())
//! # }
//! ```
//!
//! What is not prepared for a function begins nothing:
//!
//! ```compile_fail,E0599
//! # use fusion_backends::{Error, session::Established};
//! # fn half(established: Established) -> Result<(), Error> {
//! let mut session = established.on_demand();
//! let batch = session.begin(1)?;
//! # Ok(())
//! # }
//! ```
//!
//! What will be drawn is said once:
//!
//! ```compile_fail,E0382
//! # use fusion_backends::{Error, session::Established};
//! # fn half(established: Established) -> Result<(), Error> {
//! let ahead = established.preprocess([])?;
//! let again = established.preprocess([])?;
//! # Ok(())
//! # }
//! ```
//!
//! And a micro-batch is through before another one begins:
//!
//! ```compile_fail,E0499
//! # use fusion_backends::{Error, Session};
//! # use fusion_ir::ValueId;
//! # fn half(session: &mut Session, share: &[u64]) -> Result<(), Error> {
//! let mut first = session.begin(1)?;
//! let second = session.begin(1)?;
//! first.run(ValueId(1), None, &[share])?;
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

#[cfg(doc)]
use fusion_catalogue::SharedSetup;
use fusion_catalogue::ot::{OtCount, OtSource};
use fusion_catalogue::step::{Compare, Reveal};
use fusion_catalogue::{Keys, Step, Steps};
use fusion_ir::types::signed;
use fusion_ir::{Party, TensorType, ValueId, Weights};

use crate::families::cheetah::Ahead;
use crate::families::{Batches, Engines, Place, Task};
use crate::ot::{Correlations, Generator};
use crate::{Channel, Error, Kind, bits, local};

/// One party's half of a session. After an error it must be dropped.
pub struct Session {
    wire: Wire,
    steps: Arc<Steps>,
    keys: Keys,
    engines: Engines,
}

/// A session with oblivious transfers in both directions, of which no pads were made yet. After an
/// error it must be dropped.
pub struct Established {
    party: Party,
    online: Box<dyn Channel>,
    offline: Box<dyn Channel>,
    correlations: Correlations,
    session_id: [u8; 32],
}

/// A session that makes pads and has no function yet. After an error it must be dropped.
pub struct Unprepared {
    wire: Wire,
}

/// What all families use of a session.
struct Wire {
    party: Party,
    channel: Box<dyn Channel>,
    correlations: Generator,
    session_id: [u8; 32],
}

/// Positions that go through the layers together, each under keys of its own; one of a session at a
/// time.
pub struct MicroBatch<'s> {
    session: &'s mut Session,
    positions: usize,
    batches: Batches,
}

impl Wire {
    fn place(&mut self) -> Place<'_> {
        let Wire { party, channel, correlations, session_id } = self;
        Place { party: *party, channel: &mut **channel, correlations, session_id }
    }
}

impl Established {
    /// Makes the random OTs of the draws that will come, [exactly
    /// these](fusion_catalogue::Cost::draws), ahead of the layers and of the inputs, on a thread of
    /// its own.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn preprocess(
        self,
        draws: impl IntoIterator<Item = OtCount, IntoIter: Send + 'static>,
    ) -> Result<Unprepared, Error> {
        let Established { party, online, offline, correlations, session_id } = self;
        let correlations = Generator::ahead(correlations, offline, draws)?;
        Ok(Unprepared { wire: Wire { party, channel: online, correlations, session_id } })
    }

    /// Makes random OTs when a layer needs them. The messages are the same; each party chooses for
    /// itself.
    pub fn on_demand(self) -> Unprepared {
        let Established { party, online, offline, correlations, session_id } = self;
        let correlations = Generator::on_demand(correlations, offline);
        Unprepared { wire: Wire { party, channel: online, correlations, session_id } }
    }
}

impl Unprepared {
    /// For tests: a session whose random OTs a [trusted dealer](crate::ot::ideal) deals.
    #[cfg(any(test, debug_assertions))]
    pub fn dealt(
        party: Party,
        online: Box<dyn Channel>,
        session_id: [u8; 32],
        dealer: crate::ot::ideal::Dealer,
    ) -> Unprepared {
        let correlations = Generator::dealt(dealer);
        Unprepared { wire: Wire { party, channel: online, correlations, session_id } }
    }

    /// Sets up what the families of these steps need. Steps and keys, which say which layers share
    /// key pairs, are the same at both parties.
    ///
    /// # Errors
    /// As [`Session::establish`].
    pub fn prepare(self, steps: Arc<Steps>, keys: Keys) -> Result<Session, Error> {
        let engines = Engines::new(&self.wire.session_id)?;
        let mut session = Session { wire: self.wire, steps, keys, engines };
        session.set_up()?;
        Ok(session)
    }
}

impl Session {
    /// Sets up a session with the peer, whose layers are at the other end of `online` and whose
    /// generator of correlations, of this `supply`, is at the other end of `offline`. `session_id`
    /// and `supply` are the same at both parties, the former no other session's.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if a check of the set-up fails.
    pub fn establish(
        party: Party,
        online: Box<dyn Channel>,
        mut offline: Box<dyn Channel>,
        session_id: [u8; 32],
        supply: OtSource,
    ) -> Result<Established, Error> {
        let correlations = Correlations::establish(party, &mut *offline, &session_id, supply)?;
        Ok(Established { party, online, offline, correlations, session_id })
    }

    /// Goes on with another function, whose micro-batches come after all others'.
    ///
    /// # Errors
    /// As [`Session::establish`].
    pub fn continue_with(&mut self, steps: Arc<Steps>, keys: Keys) -> Result<(), Error> {
        (self.steps, self.keys) = (steps, keys);
        self.set_up()
    }

    /// What the families need of what is not there yet.
    fn set_up(&mut self) -> Result<(), Error> {
        self.engines.set_up(&mut self.wire.place(), &self.steps.shared(self.keys), self.keys)
    }

    /// Begins a micro-batch of `positions` positions: the client makes a key pair for each and
    /// sends the public keys, and those for output packing, as far as the function has layers that
    /// share them.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if a public key is none.
    pub fn begin(&mut self, positions: usize) -> Result<MicroBatch<'_>, Error> {
        let batches = self.engines.begin(&mut self.wire.place(), positions)?;
        Ok(MicroBatch { session: self, positions, batches })
    }
}

impl MicroBatch<'_> {
    /// How many positions.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// The linear layers to be run on masks beside this micro-batch, which waits for them, if the
    /// session's keys are [such](Keys::Ahead) and it has any; once.
    pub fn ahead(&mut self) -> Option<Ahead> {
        self.batches.ahead()
    }

    /// The steps of the session's function.
    pub fn steps(&self) -> &Arc<Steps> {
        &self.session.steps
    }

    /// Whether the server must give [`MicroBatch::run`] the weights of value `id`: not if they were
    /// given where it was computed [ahead](MicroBatch::ahead).
    pub fn needs_weights(&self, id: ValueId) -> bool {
        self.steps().get(id).masked(self.session.keys).is_none()
    }

    /// The step of value `id` on this party's shares of its operands, position-major; its share of
    /// the result, which by itself says nothing. The server gives the weights [where they are
    /// needed](MicroBatch::needs_weights), the client `None`.
    /// The input and the reveal are not operations on shares.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    ///
    /// # Panics
    /// If the function is not [verified](fusion_ir::verify::verify_executable), the shares do not
    /// have its shapes, or nobody has asked for what runs [ahead](MicroBatch::ahead).
    pub fn run(&mut self, id: ValueId, weights: Option<&Weights>, operands: &[&[u64]]) -> Result<Vec<u64>, Error> {
        let MicroBatch { session, positions, batches } = self;
        let Session { wire, steps, keys, engines } = &mut **session;
        let (steps, positions, place) = (&**steps, *positions, &mut wire.place());
        let task = |share| Task { steps, id, weights, share, positions };
        match steps.get(id) {
            Step::Local(_) => {
                let (function, value) = (steps.function(), steps.function().value(id));
                let types: Vec<&TensorType> = value.operands.iter().map(|v| &function.value(*v).ty).collect();
                Ok(local::apply(place.party, &value.op, operands, &types, &value.ty, weights, positions))
            }
            Step::Linear(layer) => engines.linear(place, batches, layer, task(operands[0])),
            Step::Product(product) => engines.product(place, batches, product, [operands[0], operands[1]], positions),
            Step::Compare(Compare { operation, by }) => {
                engines.compare(place, &by.with(*keys), operation, operands, positions)
            }
            Step::Reveal(_) => unreachable!("a reveal is no operation on shares"),
        }
    }

    /// Opens a value to the client, who learns its elements, as signed integers; the server learns
    /// nothing and gets `None`.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if the server's share is no
    /// packing of elements.
    ///
    /// # Panics
    /// If value `id` is no reveal.
    pub fn reveal(&mut self, id: ValueId, share: &[u64]) -> Result<Option<Vec<i64>>, Error> {
        let Step::Reveal(Reveal { bits: width, .. }) = *self.session.steps.get(id) else {
            panic!("{id} opens nothing")
        };
        let Place { party, channel, .. } = self.session.wire.place();
        match party {
            Party::Server => {
                channel.send(Kind::Reveal, bits::pack(share, width))?;
                Ok(None)
            }
            Party::Client => {
                let bytes = fusion_catalogue::packed_bytes(share.len(), width) as usize;
                let theirs = bits::unpack(&channel.receive(Kind::Reveal, bytes)?, share.len(), width)?;
                let sum = |(own, theirs): (&u64, u64)| signed(own.wrapping_add(theirs), width);
                Ok(Some(share.iter().zip(theirs).map(sum).collect()))
            }
        }
    }
}
