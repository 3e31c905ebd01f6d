//! One party's half of a session: the state that protocols share, and each step of a function on a
//! micro-batch.
//!
//! A session is [established](Session::establish) first: oblivious transfers in both directions, on
//! a channel of their own. Then it is [prepared](Unprepared::prepare) for a function, resolved into
//! [steps](Steps). A [micro-batch](MicroBatch) [begins](Session::begin) with a fresh RLWE key pair
//! for each of its positions, which is dropped with it. Layers with [a pair of their
//! own](fusion_catalogue::Keys) make one for each position when it is their turn, and drop it when
//! they are done. [`Session::run`] takes shares to shares. Messages are those of [`SharedSetup`]
//! and of each [step's cost](Step::cost), and for correlations of
//! [`Cost::generator`](fusion_catalogue::Cost::generator).

use std::sync::Arc;

#[cfg(doc)]
use fusion_catalogue::SharedSetup;
use fusion_catalogue::ot::{OtCount, OtSource};
use fusion_catalogue::step::{Compare, Reveal};
use fusion_catalogue::{Keys, Step, Steps};
use fusion_ir::types::signed;
use fusion_ir::{Party, TensorType, ValueId, Weights};

use crate::families::{Batches, Engines, Place, Task};
use crate::ot::Generator;
use crate::{Channel, Error, Kind, bits, local};

/// One party's half of a session. After an error it must be dropped.
pub struct Session {
    wire: Wire,
    steps: Arc<Steps>,
    keys: Keys,
    engines: Engines,
}

/// A session that makes correlations and has no function yet. After an error it must be dropped.
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

/// Positions that go through the layers together, each under keys of its own.
pub struct MicroBatch {
    positions: usize,
    batches: Batches,
}

impl MicroBatch {
    /// How many positions.
    pub fn positions(&self) -> usize {
        self.positions
    }
}

impl Wire {
    fn place(&mut self) -> Place<'_> {
        let Wire { party, channel, correlations, session_id } = self;
        Place { party: *party, channel: &mut **channel, correlations, session_id }
    }
}

impl Unprepared {
    /// Makes the random OTs of the draws that will come, [exactly
    /// these](fusion_catalogue::Cost::draws), ahead of the layers and of the inputs, on a thread of
    /// its own. Without this they are made when a layer needs them.
    ///
    /// # Errors
    /// If the system has no thread for it.
    ///
    /// # Panics
    /// If it was called before.
    pub fn preprocess(
        &mut self,
        draws: impl IntoIterator<Item = OtCount, IntoIter: Send + 'static>,
    ) -> Result<(), Error> {
        self.wire.correlations.preprocess(draws)
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
        offline: Box<dyn Channel>,
        session_id: [u8; 32],
        supply: OtSource,
    ) -> Result<Unprepared, Error> {
        let correlations = Generator::establish(party, offline, &session_id, supply)?;
        Ok(Unprepared { wire: Wire { party, channel: online, correlations, session_id } })
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
    pub fn begin(&mut self, positions: usize) -> Result<MicroBatch, Error> {
        let batches = self.engines.begin(&mut self.wire.place(), positions)?;
        Ok(MicroBatch { positions, batches })
    }

    /// The step of value `id` on this party's shares of its operands, position-major. The server
    /// gives the weights, the client `None`. The input and the reveal are not operations on shares.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    ///
    /// # Panics
    /// If the function is not [verified](fusion_ir::verify::verify_executable), or the shares do
    /// not have its shapes.
    pub fn run(
        &mut self,
        batch: &mut MicroBatch,
        id: ValueId,
        weights: Option<&Weights>,
        operands: &[&[u64]],
    ) -> Result<Vec<u64>, Error> {
        let (steps, positions, place) = (&*self.steps, batch.positions, &mut self.wire.place());
        let task = |share| Task { steps, id, weights, share, positions };
        match steps.get(id) {
            Step::Local(_) => {
                let (function, value) = (steps.function(), steps.function().value(id));
                let types: Vec<&TensorType> = value.operands.iter().map(|v| &function.value(*v).ty).collect();
                Ok(local::apply(place.party, &value.op, operands, &types, &value.ty, weights, positions))
            }
            Step::Linear(layer) => self.engines.linear(place, &mut batch.batches, layer, task(operands[0])),
            Step::Compare(Compare { operation, by }) => self.engines.compare(place, by, operation, operands, positions),
            Step::Reveal(_) => unreachable!("a reveal is no operation on shares"),
        }
    }

    /// Opens a value to the client, who gets its elements as signed integers; the server gets
    /// `None`.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if the server's share is no
    /// packing of elements.
    ///
    /// # Panics
    /// If value `id` is no reveal.
    pub fn reveal(&mut self, id: ValueId, share: &[u64]) -> Result<Option<Vec<i64>>, Error> {
        let Step::Reveal(Reveal { bits: width, .. }) = *self.steps.get(id) else { panic!("{id} opens nothing") };
        match self.wire.party {
            Party::Server => {
                self.wire.channel.send(Kind::Reveal, bits::pack(share, width))?;
                Ok(None)
            }
            Party::Client => {
                let bytes = fusion_catalogue::packed_bytes(share.len(), width) as usize;
                let theirs = bits::unpack(&self.wire.channel.receive(Kind::Reveal, bytes)?, share.len(), width)?;
                let sum = |(own, theirs): (&u64, u64)| signed(own.wrapping_add(theirs), width);
                Ok(Some(share.iter().zip(theirs).map(sum).collect()))
            }
        }
    }
}
