//! One party's half of a session: the state that protocols share, and each IR operation on a micro-batch.
//!
//! A session is [established](Session::establish) once: oblivious transfers in both directions, on a channel of their own. A [micro-batch](MicroBatch)
//! then [begins](Session::begin) with a fresh RLWE key pair for each of its positions, which is dropped with it. Layers with
//! [a pair of their own](fusion_catalogue::Keys) make one for each position when it is their turn, and drop it when they are done.
//! [`Session::run`] takes shares to shares. Messages are those of [`fusion_catalogue::setup`],
//! [`begin`](fusion_catalogue::begin), [`layer`](fusion_catalogue::layer) and [`reveal`](fusion_catalogue::reveal), and for correlations
//! of [`Cost::generator`](fusion_catalogue::Cost::generator).

use fusion_catalogue::crypt_flow2::he::{Slots, key_bytes};
use fusion_catalogue::crypt_flow2::matmul::Products;
use fusion_catalogue::linear::{PUBLIC_KEY_BYTES, Packing, interleaved};
use fusion_catalogue::ot::{Need, Supply};
use fusion_catalogue::{Demand, Keys};
use fusion_ir::op::CryptFlow2;
use fusion_ir::types::signed;
use fusion_ir::{Backend, Function, Op, Party, TensorType, Value, ValueId, Weights, interp};
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
    keys: Keys,
    demand: Demand,
    garbled: garbled::State,
    /// Those of the `crypt_flow2` family, if the function needs any.
    extensions: Option<Extensions>,
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
    ) -> Result<Session, Error> {
        let correlations = Generator::establish(party, offline, &session_id, supply)?;
        let (keys, demand) = (Keys::Position, Demand { public_keys: true, ..Demand::default() });
        let garbled = garbled::State::new(&session_id)?;
        Ok(Session { party, channel: online, correlations, session_id, keys, demand, garbled, extensions: None })
    }

    /// Prepares for `function`, once and before the first micro-batch: which layers share key pairs, the same at both parties, and what other
    /// families than the default one need.
    ///
    /// # Errors
    /// As [`Session::establish`].
    pub fn prepare(&mut self, function: &Function, keys: Keys) -> Result<(), Error> {
        (self.keys, self.demand) = (keys, Demand::of(function, keys));
        if self.demand.crypt_flow2 {
            self.extensions = Some(Extensions::establish(self.party, &mut *self.channel, &self.session_id)?);
        }
        Ok(())
    }

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

    /// Begins a micro-batch of `positions` positions: the client makes a key pair for each and sends the public keys, and those for
    /// output packing, as far as the function has layers that share them.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if a public key is none.
    pub fn begin(&mut self, positions: usize) -> Result<MicroBatch, Error> {
        let levels = self.demand.levels;
        let shared = match self.party {
            // No layer shares keys, or none is encrypted.
            _ if !self.demand.public_keys => SharedKeys::None,
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
        let packed = match (&self.demand.steps, self.party) {
            (None, _) => PackedKeys::None,
            (Some(steps), Party::Client) => {
                let mut keys = Vec::with_capacity(positions);
                for _ in 0..positions {
                    let (key, message) = bfv::ClientKey::generate(steps)?;
                    self.channel.send(Kind::PublicKeys, message)?;
                    keys.push(key);
                }
                PackedKeys::Client(keys)
            }
            (Some(steps), Party::Server) => {
                let mut keys = Vec::with_capacity(positions);
                for _ in 0..positions {
                    let message = self.channel.receive(Kind::PublicKeys, key_bytes(steps.len()))?;
                    keys.push(bfv::ServerKey::decode(&message, steps)?);
                }
                PackedKeys::Server(keys)
            }
        };
        Ok(MicroBatch { positions, shared, packed, workspace: linear::Workspace::default() })
    }

    /// The operation of value `id` on this party's shares of its operands, position-major. The server gives the
    /// weights, the client `None`. The input and the reveal are not operations on shares.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`].
    ///
    /// # Panics
    /// If the function is not [verified](fusion_ir::verify::verify_executable) and
    /// [supported](fusion_catalogue::layer), not the one that was [prepared](Session::prepare), or the shares do not have its shapes.
    pub fn run(
        &mut self,
        batch: &mut MicroBatch,
        function: &Function,
        id: ValueId,
        weights: Option<&Weights>,
        operands: &[&[u64]],
    ) -> Result<Vec<u64>, Error> {
        let value = function.value(id);
        let types: Vec<&TensorType> = value.operands.iter().map(|v| &function.value(*v).ty).collect();
        if value.op.is_local() {
            return Ok(local::apply(self.party, &value.op, operands, &types, &value.ty, weights, batch.positions()));
        }
        let linear = matches!(value.op, Op::Conv(_) | Op::Dense { .. });
        match value.backend {
            Backend::CryptFlow2(kind) if linear => self.crypt_flow2(kind, batch, function, id, weights, operands[0]),
            _ if linear => self.linear(batch, function, id, weights, operands[0]),
            _ => self.compare(value, &types, operands, batch.positions()),
        }
    }

    /// Opens a value to the client, who gets its elements as signed integers; the server gets `None`.
    ///
    /// # Errors
    /// Whatever the channel gives, and [`Error::PeerMisbehaved`] if the server's share is no packing of elements.
    pub fn reveal(&mut self, ty: &TensorType, share: &[u64]) -> Result<Option<Vec<i64>>, Error> {
        match self.party {
            Party::Server => {
                self.channel.send(Kind::Reveal, bits::pack(share, ty.bits))?;
                Ok(None)
            }
            Party::Client => {
                let bytes = fusion_catalogue::packed_bytes(share.len(), ty.bits) as usize;
                let theirs = bits::unpack(&self.channel.receive(Kind::Reveal, bytes)?, share.len(), ty.bits)?;
                let sum = |(own, theirs): (&u64, u64)| signed(own.wrapping_add(theirs), ty.bits);
                Ok(Some(share.iter().zip(theirs).map(sum).collect()))
            }
        }
    }

    fn linear(
        &mut self,
        batch: &mut MicroBatch,
        function: &Function,
        id: ValueId,
        weights: Option<&Weights>,
        share: &[u64],
    ) -> Result<Vec<u64>, Error> {
        let packing = Packing::new(function, id).expect("a supported function");
        let (channel, own) = (&mut *self.channel, self.keys.serve_one(&packing));
        match self.party {
            Party::Client => {
                let mut made;
                let keys = match &mut batch.shared {
                    _ if own => {
                        made = make_keys(channel, batch.positions)?;
                        &mut made
                    }
                    SharedKeys::Client(keys) => keys,
                    _ => unreachable!("the function was prepared for"),
                };
                linear::client(channel, &packing, keys, share)
            }
            Party::Server => {
                let received;
                let keys = match &batch.shared {
                    _ if own => {
                        received = receive_keys(channel, batch.positions)?;
                        &received
                    }
                    SharedKeys::Server(keys) => keys,
                    _ => unreachable!("the function was prepared for"),
                };
                let weights = weights.expect("the server has the weights");
                let op = &function.value(id).op;
                let kernel = weights.get(op.kernel().expect("a linear layer has a kernel"));
                let bias = op.bias().map(|bias| weights.get(bias));
                linear::server(channel, &packing, keys, &mut batch.workspace, share, kernel, bias)
            }
        }
    }

    fn crypt_flow2(
        &mut self,
        linear: CryptFlow2,
        batch: &mut MicroBatch,
        function: &Function,
        id: ValueId,
        weights: Option<&Weights>,
        share: &[u64],
    ) -> Result<Vec<u64>, Error> {
        let value = function.value(id);
        let extensions = self.extensions.as_mut().expect("the function was prepared for");
        let ctx = &mut crypt_flow2::Ctx { party: self.party, channel: &mut *self.channel, extensions };
        let supported = "a supported function";
        let products = || Products::new(function, id).expect(supported);
        let slots = || Slots::new(function, id).expect(supported);
        let Some(weights) = weights else {
            return match &mut batch.packed {
                PackedKeys::Client(keys) if linear == CryptFlow2::He => he::client(ctx, &slots(), keys, share),
                _ => matmul::client(ctx, &products(), batch.positions, share),
            };
        };
        let kernel = weights.get(value.op.kernel().expect("a linear layer has a kernel"));
        let mut result = match &batch.packed {
            PackedKeys::Server(keys) if linear == CryptFlow2::He => he::server(ctx, &slots(), keys, kernel)?,
            _ => matmul::server(ctx, &products(), batch.positions, kernel)?,
        };
        crypt_flow2::add_own(function, value, weights, share, &mut result);
        Ok(result)
    }

    fn compare(
        &mut self,
        value: &Value,
        types: &[&TensorType],
        operands: &[&[u64]],
        positions: usize,
    ) -> Result<Vec<u64>, Error> {
        let (operand, share) = (types[0], operands[0]);
        let (party, channel) = (self.party, &mut *self.channel);
        if let (Backend::Garbled, Op::ArgMax) = (value.backend, &value.op) {
            let ctx =
                &mut garbled::Ctx { party, channel, correlations: &mut self.correlations, state: &mut self.garbled };
            return garbled::arg_max(ctx, operand.bits, value.ty.bits, operand.len(), share);
        }
        let (mut trees, mut mills, mut circuits);
        let ctx: &mut dyn Compare = match (value.backend, &mut self.extensions) {
            (Backend::CryptFlow2(_), Some(extensions)) => {
                mills = crypt_flow2::Ctx { party, channel, extensions };
                &mut mills
            }
            (Backend::Garbled, _) => {
                circuits =
                    garbled::Ctx { party, channel, correlations: &mut self.correlations, state: &mut self.garbled };
                &mut circuits
            }
            _ => {
                let leaf_bits = fusion_catalogue::cheetah(value).leaf_bits;
                trees = Ctx { party, channel, correlations: &mut self.correlations, leaf_bits };
                &mut trees
            }
        };
        if let Some(comparison) = fusion_catalogue::elementwise(&value.op, operand, &value.ty) {
            let mut operands = operands.to_vec();
            let spread: Vec<u64>;
            if types.len() == 2 && types[1].len() < operand.len() {
                spread = interp::spread(operands[1], positions * operand.len()).copied().collect();
                operands[1] = &spread;
            }
            return Ok(ctx.compare(&comparison, &operands)?.swap_remove(0));
        }
        match &value.op {
            Op::MaxPool(window) => max_pool(ctx, operand.bits, window, operand.shape[1], operand.shape[2], share),
            Op::Piecewise(function) => piecewise(ctx, operand.bits, function, share),
            Op::ArgMax => arg_max(ctx, operand.bits, value.ty.bits, operand.len(), share),
            Op::TopK { k } => top_k(ctx, operand.bits, value.ty.bits, operand.len(), usize::from(*k), share),
            op => unreachable!("{} is no operation on shares", op.name()),
        }
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
