//! One party's half of a session: the state that protocols share, and each step of a function on a micro-batch.
//!
//! A session is [established](Session::establish) first: oblivious transfers in both directions, on a channel of their own. Then it is
//! [prepared](Unprepared::prepare) for a function, resolved into [steps](Steps). A [micro-batch](MicroBatch)
//! [begins](Session::begin) with a fresh RLWE key pair for each of its positions, which is dropped with it. Layers with
//! [a pair of their own](fusion_catalogue::Keys) make one for each position when it is their turn, and drop it when they are done.
//! [`Session::run`] takes shares to shares. Messages are those of [`SharedSetup`] and of each [step's cost](Step::cost), and for
//! correlations of [`Cost::generator`](fusion_catalogue::Cost::generator).

use std::sync::Arc;

use fusion_catalogue::compare::Nonlinear;
use fusion_catalogue::crypt_flow2::he::key_bytes;
use fusion_catalogue::linear::{PUBLIC_KEY_BYTES, Packing, interleaved};
use fusion_catalogue::ot::{Need, Supply};
use fusion_catalogue::step::{Comparer, Linear, Reveal};
use fusion_catalogue::{Keys, SharedSetup, Step, Steps};
use fusion_ir::types::signed;
use fusion_ir::{Party, TensorType, ValueId, Weights, interp};
use rayon::prelude::*;

use crate::compare::{Compare, Ctx, arg_max, max_pool, piecewise, top_k};
use crate::crypt_flow2::{bfv, he, matmul};
use crate::ot::{Extensions, Generator};
use crate::rlwe::{ClientKey, PublicKey};
use crate::{Channel, Error, Kind, bits, crypt_flow2, garbled, linear, local};

/// One party's half of a session. After an error it must be dropped.
pub struct Session {
    party: Party,
    channel: Box<dyn Channel>,
    correlations: Generator,
    session_id: [u8; 32],
    steps: Arc<Steps>,
    keys: Keys,
    shared: SharedSetup,
    garbled: garbled::State,
    /// Those of the `crypt_flow2` family, if the function needs any.
    extensions: Option<Extensions>,
}

/// A session that makes correlations and has no function yet. After an error it must be dropped.
pub struct Unprepared {
    party: Party,
    channel: Box<dyn Channel>,
    correlations: Generator,
    session_id: [u8; 32],
}

/// Positions that go through the layers together, each under keys of its own.
pub struct MicroBatch {
    positions: usize,
    shared: SharedKeys,
    packed: PackedKeys,
    workspace: linear::Workspace,
}

/// A key pair for each position, for all layers that have none of their own.
enum SharedKeys {
    None,
    Client(Vec<ClientKey>),
    Server(Vec<PublicKey>),
}

/// Keys of the `crypt_flow2` family's packed ciphertexts.
enum PackedKeys {
    None,
    Client(Vec<bfv::ClientKey>),
    Server(Vec<bfv::ServerKey>),
}

impl MicroBatch {
    /// How many positions.
    pub fn positions(&self) -> usize {
        self.positions
    }
}

impl Unprepared {
    /// Makes the random OTs of the draws that will come, [exactly these](fusion_catalogue::Cost::draws), ahead of the layers and of the inputs, on a
    /// thread of its own. Without this they are made when a layer needs them.
    ///
    /// # Errors
    /// If the system has no thread for it.
    ///
    /// # Panics
    /// If it was called before.
    pub fn preprocess(&mut self, draws: impl IntoIterator<Item = Need, IntoIter: Send + 'static>) -> Result<(), Error> {
        self.correlations.preprocess(draws)
    }

    /// Sets up what the families of these steps need. Steps and keys, which say which layers share key pairs, are the same at both parties.
    ///
    /// # Errors
    /// As [`Session::establish`].
    pub fn prepare(self, steps: Arc<Steps>, keys: Keys) -> Result<Session, Error> {
        let Unprepared { party, channel, correlations, session_id } = self;
        let garbled = garbled::State::new(&session_id)?;
        let (shared, extensions) = (SharedSetup::default(), None);
        let mut session =
            Session { party, channel, correlations, session_id, steps, keys, shared, garbled, extensions };
        session.set_up()?;
        Ok(session)
    }
}

impl Session {
    /// Sets up a session with the peer, whose layers are at the other end of `online` and whose generator of correlations, of this `supply`, is
    /// at the other end of `offline`. `session_id` and `supply` are the same at both parties, the former no other session's.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if a check of the set-up fails.
    pub fn establish(
        party: Party,
        online: Box<dyn Channel>,
        offline: Box<dyn Channel>,
        session_id: [u8; 32],
        supply: Supply,
    ) -> Result<Unprepared, Error> {
        let correlations = Generator::establish(party, offline, &session_id, supply)?;
        Ok(Unprepared { party, channel: online, correlations, session_id })
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
        self.shared = self.steps.shared(self.keys);
        if self.shared.extensions && self.extensions.is_none() {
            self.extensions = Some(Extensions::establish(self.party, &mut *self.channel, &self.session_id)?);
        }
        Ok(())
    }

    /// Begins a micro-batch of `positions` positions: the client makes a key pair for each and sends the public keys, and those for
    /// output packing, as far as the function has layers that share them.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if a public key is none.
    pub fn begin(&mut self, positions: usize) -> Result<MicroBatch, Error> {
        let levels = self.shared.levels;
        let shared = match self.party {
            // No layer shares keys, or none is encrypted.
            _ if !self.shared.public_keys => SharedKeys::None,
            Party::Client => {
                let keys = make_keys(&mut *self.channel, positions)?;
                if levels > 0 {
                    keys.iter().try_for_each(|key| self.channel.send(Kind::PublicKeys, key.packing_keys(levels)))?;
                }
                SharedKeys::Client(keys)
            }
            Party::Server => {
                let mut keys = receive_keys(&mut *self.channel, positions)?;
                for key in keys.iter_mut().filter(|_| levels > 0) {
                    let message = self.channel.receive(Kind::PublicKeys, interleaved::key_bytes(levels))?;
                    key.set_packing_keys(&message, levels)?;
                }
                SharedKeys::Server(keys)
            }
        };
        let packed = match (&self.shared.rotations, self.party) {
            (None, _) => PackedKeys::None,
            (Some(rotations), Party::Client) => {
                let mut keys = Vec::with_capacity(positions);
                for _ in 0..positions {
                    let (key, message) = bfv::ClientKey::generate(rotations)?;
                    self.channel.send(Kind::PublicKeys, message)?;
                    keys.push(key);
                }
                PackedKeys::Client(keys)
            }
            (Some(rotations), Party::Server) => {
                let mut keys = Vec::with_capacity(positions);
                for _ in 0..positions {
                    let message = self.channel.receive(Kind::PublicKeys, key_bytes(rotations.len()))?;
                    keys.push(bfv::ServerKey::decode(&message, rotations)?);
                }
                PackedKeys::Server(keys)
            }
        };
        Ok(MicroBatch { positions, shared, packed, workspace: linear::Workspace::default() })
    }

    /// The step of value `id` on this party's shares of its operands, position-major. The server gives the
    /// weights, the client `None`. The input and the reveal are not operations on shares.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    ///
    /// # Panics
    /// If the function is not [verified](fusion_ir::verify::verify_executable), or the shares do not have its shapes.
    pub fn run(
        &mut self,
        batch: &mut MicroBatch,
        id: ValueId,
        weights: Option<&Weights>,
        operands: &[&[u64]],
    ) -> Result<Vec<u64>, Error> {
        let steps = Arc::clone(&self.steps);
        match steps.get(id) {
            Step::Local(_) => {
                let (function, value) = (steps.function(), steps.function().value(id));
                let types: Vec<&TensorType> = value.operands.iter().map(|v| &function.value(*v).ty).collect();
                Ok(local::apply(self.party, &value.op, operands, &types, &value.ty, weights, batch.positions()))
            }
            Step::Linear(Linear::Cheetah(packing)) => self.linear(batch, packing, id, weights, operands[0]),
            Step::Linear(layer) => self.crypt_flow2(batch, layer, id, weights, operands[0]),
            Step::Compare(compare) => self.compare(&compare.operation, compare.by, operands, batch.positions()),
            Step::Reveal(_) => unreachable!("a reveal is no operation on shares"),
        }
    }

    /// Opens a value to the client, who gets its elements as signed integers; the server gets `None`.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if the server's share is no packing of elements.
    ///
    /// # Panics
    /// If value `id` is no reveal.
    pub fn reveal(&mut self, id: ValueId, share: &[u64]) -> Result<Option<Vec<i64>>, Error> {
        let Step::Reveal(Reveal { bits: width, .. }) = *self.steps.get(id) else { panic!("{id} opens nothing") };
        match self.party {
            Party::Server => {
                self.channel.send(Kind::Reveal, bits::pack(share, width))?;
                Ok(None)
            }
            Party::Client => {
                let bytes = fusion_catalogue::packed_bytes(share.len(), width) as usize;
                let theirs = bits::unpack(&self.channel.receive(Kind::Reveal, bytes)?, share.len(), width)?;
                let sum = |(own, theirs): (&u64, u64)| signed(own.wrapping_add(theirs), width);
                Ok(Some(share.iter().zip(theirs).map(sum).collect()))
            }
        }
    }

    fn linear(
        &mut self,
        batch: &mut MicroBatch,
        packing: &Packing,
        id: ValueId,
        weights: Option<&Weights>,
        share: &[u64],
    ) -> Result<Vec<u64>, Error> {
        let (channel, own) = (&mut *self.channel, self.keys.serve_one(packing));
        match self.party {
            Party::Client => {
                let mut made;
                let keys = match &mut batch.shared {
                    _ if own => {
                        made = make_keys(channel, batch.positions)?;
                        &mut made
                    }
                    SharedKeys::Client(keys) => keys,
                    _ => unreachable!("every shared pair is set up for"),
                };
                linear::client(channel, packing, keys, share)
            }
            Party::Server => {
                let received;
                let keys = match &batch.shared {
                    _ if own => {
                        received = receive_keys(channel, batch.positions)?;
                        &received
                    }
                    SharedKeys::Server(keys) => keys,
                    _ => unreachable!("every shared pair is set up for"),
                };
                let weights = weights.expect("the server has the weights");
                let op = &self.steps.function().value(id).op;
                let kernel = weights.get(op.kernel().expect("a linear layer has a kernel"));
                let bias = op.bias().map(|bias| weights.get(bias));
                linear::server(channel, packing, keys, &mut batch.workspace, share, kernel, bias)
            }
        }
    }

    fn crypt_flow2(
        &mut self,
        batch: &mut MicroBatch,
        layer: &Linear,
        id: ValueId,
        weights: Option<&Weights>,
        share: &[u64],
    ) -> Result<Vec<u64>, Error> {
        let (function, value) = (self.steps.function(), self.steps.function().value(id));
        let extensions = self.extensions.as_mut().expect("steps of the family have its extensions set up");
        let ctx = &mut crypt_flow2::Ctx { party: self.party, channel: &mut *self.channel, extensions };
        let Some(weights) = weights else {
            return match (layer, &mut batch.packed) {
                (Linear::CryptFlow2He(slots), PackedKeys::Client(keys)) => he::client(ctx, slots, keys, share),
                (Linear::CryptFlow2Ot(products), _) => matmul::client(ctx, products, batch.positions, share),
                _ => unreachable!("keys are there for every layer that is packed"),
            };
        };
        let kernel = weights.get(value.op.kernel().expect("a linear layer has a kernel"));
        let mut result = match (layer, &batch.packed) {
            (Linear::CryptFlow2He(slots), PackedKeys::Server(keys)) => he::server(ctx, slots, keys, kernel)?,
            (Linear::CryptFlow2Ot(products), _) => matmul::server(ctx, products, batch.positions, kernel)?,
            _ => unreachable!("keys are there for every layer that is packed"),
        };
        crypt_flow2::add_own(function, value, weights, share, &mut result);
        Ok(result)
    }

    fn compare(
        &mut self,
        operation: &Nonlinear,
        by: Comparer,
        operands: &[&[u64]],
        positions: usize,
    ) -> Result<Vec<u64>, Error> {
        let (party, channel) = (self.party, &mut *self.channel);
        match by {
            Comparer::Cheetah { leaf_bits } => evaluate(
                &mut Ctx { party, channel, correlations: &mut self.correlations, leaf_bits },
                operation,
                operands,
                positions,
            ),
            Comparer::CryptFlow2 => {
                let extensions = self.extensions.as_mut().expect("steps of the family have its extensions set up");
                evaluate(&mut crypt_flow2::Ctx { party, channel, extensions }, operation, operands, positions)
            }
            Comparer::Garbled => {
                let (correlations, state) = (&mut self.correlations, &mut self.garbled);
                let ctx = &mut garbled::Ctx { party, channel, correlations, state };
                match *operation {
                    Nonlinear::ArgMax { bits, index_bits, classes } => {
                        garbled::arg_max(ctx, bits, index_bits, classes, operands[0])
                    }
                    _ => evaluate(ctx, operation, operands, positions),
                }
            }
        }
    }
}

/// The operation by a family's comparisons.
fn evaluate(
    ctx: &mut dyn Compare,
    operation: &Nonlinear,
    operands: &[&[u64]],
    positions: usize,
) -> Result<Vec<u64>, Error> {
    let x = operands[0];
    match *operation {
        Nonlinear::Elementwise { comparison, elements } => {
            let spread: Vec<u64>;
            let mut operands = operands.to_vec();
            if let [x, factors] = &mut operands[..]
                && factors.len() < x.len()
            {
                spread = interp::spread(factors, positions * elements).copied().collect();
                *factors = &spread;
            }
            Ok(ctx.compare(&comparison, &operands)?.swap_remove(0))
        }
        Nonlinear::Piecewise { bits, ref function, .. } => piecewise(ctx, bits, function, x),
        Nonlinear::MaxPool { bits, ref window, input: [_, height, width] } => {
            max_pool(ctx, bits, window, height, width, x)
        }
        Nonlinear::ArgMax { bits, index_bits, classes } => arg_max(ctx, bits, index_bits, classes, x),
        Nonlinear::TopK { bits, index_bits, classes, k } => top_k(ctx, bits, index_bits, classes, k, x),
    }
}

/// The client makes a key pair for each position and sends the public keys.
fn make_keys(channel: &mut dyn Channel, positions: usize) -> Result<Vec<ClientKey>, Error> {
    let keys = client_keys(positions)?;
    let public: Vec<&[u8]> = keys.iter().map(ClientKey::public).collect();
    channel.send(Kind::PublicKeys, public.concat())?;
    Ok(keys)
}

/// The server reads what [`make_keys`] sends.
fn receive_keys(channel: &mut dyn Channel, positions: usize) -> Result<Vec<PublicKey>, Error> {
    let public = channel.receive(Kind::PublicKeys, positions * PUBLIC_KEY_BYTES)?;
    public.par_chunks_exact(PUBLIC_KEY_BYTES).map(PublicKey::decode).collect()
}

/// A key pair for each position, each fresh.
#[cfg(not(feature = "shared-key"))]
fn client_keys(positions: usize) -> Result<Vec<ClientKey>, Error> {
    (0..positions).into_par_iter().map(|_| ClientKey::generate()).collect()
}

/// INSECURE: one key pair and its seeds for all positions.
#[cfg(feature = "shared-key")]
fn client_keys(positions: usize) -> Result<Vec<ClientKey>, Error> {
    let seed = crate::ring::sample::fresh_seed()?;
    Ok((0..positions).map(|_| ClientKey::from_seed(seed.clone())).collect())
}
