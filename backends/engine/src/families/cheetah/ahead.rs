//! Linear layers on masks, ahead of their operands.
//!
//! The linear layers of DELPHI (Mishra et al., USENIX Security 2020, section 4) by the protocol of
//! [`linear`](super::linear), which is run with a uniform mask `r` as the client's share and none
//! of the server's: the server gets a uniform `s`, the client `W r - s`. When the layer's turn
//! comes and `x` is shared between `x_c` and `x_s`, the client sends `x_c - r`; the server's share
//! of the result is `W (x_s + x_c - r) + s` and the bias, the client's is what it has.
//!
//! **Who learns what.** Nothing: `r` is used once, so `m = x_c - r`, which the client sends, is
//! uniform. A malicious server can make the result `f(x_c - m) + g(m)`, for any `f` that it could
//! evaluate on a ciphertext and that it fixed before it saw `m`, and for any `g`. In the other
//! order it could choose a uniform `m` itself and evaluate the same on an encryption of `x_c`: so
//! it can do nothing here that it could not do there. An encryption of `r` and `m` are as good as
//! one of `x_c`: so a layer has a [key pair of its own](Keys::Layer), as in the other order, unless
//! it packs its results.
//!
//! **Which layers.** Those of [`Step::masked`](fusion_catalogue::Step::masked).
//!
//! Layers of a micro-batch are worked off in order on a channel of their own. The client is one
//! operand ahead of the results. Messages there are those of [`Steps::ahead`].

use std::ops::Deref;
use std::sync::Arc;

use fusion_catalogue::cheetah::Packing;
use fusion_catalogue::{Keys, Steps, packed_bytes};
use fusion_ir::types::{mask as ring, signed, wrap};
use fusion_ir::{Party, ValueId, Weights, interp};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::{client_pairs, linear, server_pairs};
use crate::bits::{pack, unpack};
use crate::families::Task;
use crate::ring::sample::{fresh_seed, stream};
use crate::rlwe::ClientKey;
use crate::shelf::{Filling, Shelf, Stored};
use crate::{Channel, Error, Kind};

/// The client's masks of a layer's operand: with what the server is sent later they are its share.
type Mask = Zeroizing<Vec<u64>>;

/// What a party has of a layer on its mask.
pub(super) struct Made {
    /// The client's; the server has none.
    mask: Mask,
    /// Of the result.
    share: Vec<u64>,
    /// The server's; the client has none.
    weights: Weights,
}

impl Stored for Made {
    fn bytes(&self) -> usize {
        8 * (self.mask.len() + self.share.len() + self.weights.0.iter().map(Vec::len).sum::<usize>())
    }
}

/// A layer whose operand the client has sent.
struct Asked<'l> {
    id: ValueId,
    packing: &'l Packing,
    own: Option<Vec<ClientKey>>,
    mask: Mask,
}

/// Where a micro-batch's layers find what was made of them.
pub(super) struct Masks(Arc<Shelf<ValueId, Made>>);

impl Drop for Masks {
    fn drop(&mut self) {
        // Nobody wants the rest.
        self.0.close();
    }
}

/// The linear layers of a micro-batch, to be run on their masks beside the micro-batch itself.
pub struct Ahead {
    party: Party,
    positions: usize,
    /// Of output packing, for the keys that layers share.
    levels: u32,
    filling: Filling<ValueId, Made>,
}

/// Why they could not be run.
enum Fault<E> {
    /// The session's channel or peer.
    Session(Error),
    /// Who has the weights.
    Weights(E),
}

impl<E> From<Error> for Fault<E> {
    fn from(error: Error) -> Fault<E> {
        Fault::Session(error)
    }
}

impl Ahead {
    /// What waits for its layer takes up no more memory than this, but that of the largest layer.
    pub const MOST_BYTES: usize = 48 << 20;

    /// Layers that pack their results in `levels` levels at most.
    pub(super) fn new(party: Party, positions: usize, levels: u32) -> (Ahead, Masks) {
        let shelf = Arc::new(Shelf::new(Ahead::MOST_BYTES, "linear layers"));
        (Ahead { party, positions, levels, filling: Filling::of(&shelf) }, Masks(shelf))
    }

    /// Runs them on `channel`, which no other messages cross. The server gives every layer's
    /// weights, the client none. Ends early if the micro-batch does.
    ///
    /// # Errors
    /// What `weights` gives, and as [`MicroBatch::run`](crate::MicroBatch::run). The micro-batch
    /// fails then, too, and with the same error if it is the channel's or the peer's.
    ///
    /// # Panics
    /// If the server lacks weights.
    pub fn run<W: Deref<Target = Weights>, E: From<Error>>(
        self,
        channel: &mut dyn Channel,
        steps: &Steps,
        weights: impl FnMut(ValueId) -> Result<Option<W>, E>,
    ) -> Result<(), E> {
        let layers = steps.function().iter().filter_map(|(id, _)| Some((id, steps.get(id).masked(Keys::Ahead)?)));
        let layers: Vec<(ValueId, &Packing)> = layers.collect();
        let through = match self.party {
            Party::Client => self.client(channel, &layers).map_err(Fault::Session),
            Party::Server => self.server(channel, steps, &layers, weights),
        };
        match through {
            Ok(true) => {
                self.filling.finished();
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(Fault::Session(error)) => {
                self.filling.failed(&error);
                Err(error.into())
            }
            Err(Fault::Weights(error)) => Err(error),
        }
    }

    /// Whether the micro-batch wanted all of them.
    fn server<W: Deref<Target = Weights>, E>(
        &self,
        channel: &mut dyn Channel,
        steps: &Steps,
        layers: &[(ValueId, &Packing)],
        mut weights: impl FnMut(ValueId) -> Result<Option<W>, E>,
    ) -> Result<bool, Fault<E>> {
        let shared = if self.levels > 0 { server_pairs(channel, self.positions, self.levels)? } else { Vec::new() };
        let mut workspace = linear::Workspace::default();
        for &(id, packing) in layers {
            let own = match Keys::Ahead.serve_one(packing.levels()) {
                true => Some(server_pairs(channel, self.positions, 0)?),
                false => None,
            };
            let keys = own.as_ref().unwrap_or(&shared);
            let weights = weights(id).map_err(Fault::Weights)?.expect("the server has the weights");
            let op = &steps.function().value(id).op;
            let kernel = weights.get(op.kernel().expect("a linear layer has a kernel"));
            let none = vec![0; self.positions * packing.geometry().input_len()];
            let share = linear::server(channel, packing, keys, &mut workspace, &none, kernel, None)?;
            let mut kept = Weights(vec![Vec::new(); steps.function().weights.len()]);
            op.weights().for_each(|id| kept.0[id.index()] = weights.get(id).to_vec());
            if !self.filling.put(id, Ok(Made { mask: Mask::default(), share, weights: kept })) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same.
    fn client(&self, channel: &mut dyn Channel, layers: &[(ValueId, &Packing)]) -> Result<bool, Error> {
        let mut shared = if self.levels > 0 { client_pairs(channel, self.positions, self.levels)? } else { Vec::new() };
        let seed = fresh_seed()?;
        let mut before: Option<Asked<'_>> = None;
        for (number, &(id, packing)) in (0..).zip(layers) {
            let mut mask = Mask::new(vec![0; self.positions * packing.geometry().input_len()]);
            stream(&seed, number).fill(&mut mask);
            mask.iter_mut().for_each(|element| *element &= ring(packing.acc_bits()));
            let mut own = match Keys::Ahead.serve_one(packing.levels()) {
                true => Some(client_pairs(channel, self.positions, 0)?),
                false => None,
            };
            linear::client_asks(channel, packing, own.as_mut().unwrap_or(&mut shared), &mask)?;
            let asked = before.replace(Asked { id, packing, own, mask });
            if !self.read(channel, asked, &shared)? {
                return Ok(false);
            }
        }
        self.read(channel, before, &shared)
    }

    /// Reads the results of a layer, if there is one; whether to go on.
    fn read(&self, channel: &mut dyn Channel, asked: Option<Asked<'_>>, shared: &[ClientKey]) -> Result<bool, Error> {
        let Some(Asked { id, packing, own, mask }) = asked else { return Ok(true) };
        let share = linear::client_reads(channel, packing, own.as_deref().unwrap_or(shared))?;
        Ok(self.filling.put(id, Ok(Made { mask, share, weights: Weights::default() })))
    }
}

impl Masks {
    /// The layer's turn: from shares of the operand to shares of the result.
    pub fn linear(
        &self,
        party: Party,
        channel: &mut dyn Channel,
        packing: &Packing,
        task: Task<'_>,
    ) -> Result<Vec<u64>, Error> {
        let Task { steps, id, share, positions, .. } = task;
        let (bits, ring) = (packing.acc_bits(), ring(packing.acc_bits()));
        match party {
            Party::Client => {
                let made = self.0.take(&id)?;
                let masked: Vec<u64> =
                    share.iter().zip(made.mask.iter()).map(|(x, r)| x.wrapping_sub(*r) & ring).collect();
                channel.send(Kind::LinearUnmask, pack(&masked, bits))?;
                Ok(made.share)
            }
            Party::Server => {
                let elements = packing.geometry().input_len();
                let bytes = packed_bytes(positions * elements, bits) as usize;
                let masked = unpack(&channel.receive(Kind::LinearUnmask, bytes)?, positions * elements, bits)?;
                let made = self.0.take(&id)?;
                let (function, value) = (steps.function(), steps.function().value(id));
                let of_position = |(own, masked): (&[u64], &[u64])| {
                    let sums = own.iter().zip(masked).map(|(own, masked)| signed(own.wrapping_add(*masked), bits));
                    interp::apply(function, value, &made.weights, &[&sums.collect::<Vec<i64>>()], &[])
                };
                let operands = share.par_chunks_exact(elements).zip(masked.par_chunks_exact(elements));
                let products: Vec<i64> = operands.flat_map_iter(of_position).collect();
                let sum = |(y, s): (i64, u64)| wrap(y, bits).wrapping_add(s) & ring;
                Ok(products.into_iter().zip(made.share).map(sum).collect())
            }
        }
    }
}
