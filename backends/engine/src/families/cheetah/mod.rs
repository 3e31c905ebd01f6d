//! The `cheetah` family: linear layers over RLWE ciphertexts, comparisons by carry trees.

mod ahead;
pub mod compare;
#[allow(clippy::integer_division_remainder_used, reason = "places in memory")]
pub mod linear;
#[allow(clippy::integer_division_remainder_used, reason = "places in matrices")]
pub mod product;

use fusion_catalogue::cheetah::{Comparisons, Layer, Products, interleaved};
use fusion_catalogue::compare::Nonlinear;
use fusion_catalogue::rlwe::PUBLIC_KEY_BYTES;
use fusion_catalogue::{Keys, SharedSetup};
use fusion_ir::Party;
use rayon::prelude::*;

pub use ahead::Ahead;

use super::{Place, Task};
use crate::compare::evaluate;
use crate::rlwe::{ClientKey, PublicKey};
use crate::{Channel, Error, Kind};

/// One party's half of the family.
pub(crate) struct Engine {
    keys: Keys,
    /// Whether layers share a key pair for each position.
    shared: bool,
    /// Whether layers are computed on masks, ahead of their operands: the levels of the keys for
    /// output packing that these share.
    ahead: Option<u32>,
    /// The levels of the keys for output packing.
    levels: u32,
}

/// What it keeps for a micro-batch.
pub(crate) struct Batch {
    pairs: Pairs,
    workspace: linear::Workspace,
    masks: Option<ahead::Masks>,
    /// To be run beside the micro-batch.
    ahead: Option<Ahead>,
}

impl Batch {
    /// Its linear layers on their masks, if that is how they are computed: once.
    pub fn ahead(&mut self) -> Option<Ahead> {
        self.ahead.take()
    }
}

/// A key pair for each position, for all layers that have none of their own.
enum Pairs {
    None,
    Client(Vec<ClientKey>),
    Server(Vec<PublicKey>),
}

impl super::Engine for Engine {
    type Batch = Batch;
    type Layer = Layer;
    type Products = Products;
    type Comparisons = Comparisons;

    fn new(_: &[u8; 32]) -> Result<Engine, Error> {
        Ok(Engine { keys: Keys::Position, shared: false, ahead: None, levels: 0 })
    }

    fn set_up(&mut self, _: &mut Place<'_>, shared: &SharedSetup, keys: Keys) -> Result<(), Error> {
        *self = Engine { keys, shared: shared.public_keys, ahead: shared.ahead, levels: shared.levels };
        Ok(())
    }

    /// The client makes a key pair for each position and sends the public keys, and those for
    /// output packing, as far as layers share them.
    fn begin(&mut self, place: &mut Place<'_>, positions: usize) -> Result<Batch, Error> {
        let (channel, levels) = (&mut *place.channel, self.levels);
        let pairs = match place.party {
            // No layer shares keys, or none is encrypted here.
            _ if !self.shared => Pairs::None,
            Party::Client => Pairs::Client(client_pairs(channel, positions, levels)?),
            Party::Server => Pairs::Server(server_pairs(channel, positions, levels)?),
        };
        let (ahead, masks) = self.ahead.map(|levels| Ahead::new(place.party, positions, levels)).unzip();
        Ok(Batch { pairs, workspace: linear::Workspace::default(), masks, ahead })
    }

    fn linear(
        &mut self,
        place: &mut Place<'_>,
        batch: &mut Batch,
        packing: &Layer,
        task: Task<'_>,
    ) -> Result<Vec<u64>, Error> {
        if let Some(masks) = &batch.masks {
            assert!(batch.ahead.is_none(), "layers on masks are not run beside the micro-batch that waits for them");
            return masks.linear(place.party, place.channel, packing, task);
        }
        let Task { steps, id, weights, share, positions } = task;
        let (channel, own) = (&mut *place.channel, self.keys.serve_one(packing.levels()));
        match place.party {
            Party::Client => {
                let mut made = Vec::new();
                let keys = batch.client_keys(own, channel, positions, &mut made)?;
                linear::client(channel, packing, keys, share)
            }
            Party::Server => {
                let mut received = Vec::new();
                let (keys, workspace) = batch.server_keys(own, channel, positions, &mut received)?;
                let weights = weights.expect("the server has the weights");
                let op = &steps.function().value(id).op;
                let kernel = weights.get(op.kernel().expect("a linear layer has a kernel"));
                let bias = op.bias().map(|bias| weights.get(bias));
                linear::server(channel, packing, keys, workspace, share, kernel, bias)
            }
        }
    }

    fn product(
        &mut self,
        place: &mut Place<'_>,
        batch: &mut Batch,
        product: &Products,
        shares: [&[u64]; 2],
        positions: usize,
    ) -> Result<Vec<u64>, Error> {
        let (channel, own) = (&mut *place.channel, self.keys.serve_one(product.levels()));
        match place.party {
            Party::Client => {
                let mut made = Vec::new();
                let keys = batch.client_keys(own, channel, positions, &mut made)?;
                product::client(channel, product, keys, shares)
            }
            Party::Server => {
                let mut received = Vec::new();
                let (keys, workspace) = batch.server_keys(own, channel, positions, &mut received)?;
                product::server(channel, product, keys, workspace, shares)
            }
        }
    }

    fn compare(
        &mut self,
        place: &mut Place<'_>,
        &Comparisons { leaves }: &Comparisons,
        operation: &Nonlinear,
        operands: &[&[u64]],
        positions: usize,
    ) -> Result<Vec<u64>, Error> {
        let (channel, correlations) = (&mut *place.channel, &mut *place.correlations);
        let ctx = &mut compare::Ctx { party: place.party, channel, correlations, leaves };
        evaluate(ctx, operation, operands, positions)
    }
}

impl Batch {
    /// The client's pairs for a layer: made for it and sent if it has its `own`, else those that
    /// layers share.
    fn client_keys<'k>(
        &'k mut self,
        own: bool,
        channel: &mut dyn Channel,
        positions: usize,
        made: &'k mut Vec<ClientKey>,
    ) -> Result<&'k mut [ClientKey], Error> {
        match &mut self.pairs {
            _ if own => {
                *made = make_keys(channel, positions)?;
                Ok(made)
            }
            Pairs::Client(keys) => Ok(keys),
            _ => unreachable!("every shared pair is set up for"),
        }
    }

    /// The same of the server's, and the memory that layers use.
    fn server_keys<'k>(
        &'k mut self,
        own: bool,
        channel: &mut dyn Channel,
        positions: usize,
        received: &'k mut Vec<PublicKey>,
    ) -> Result<(&'k [PublicKey], &'k mut linear::Workspace), Error> {
        match &self.pairs {
            _ if own => {
                *received = receive_keys(channel, positions)?;
                Ok((received, &mut self.workspace))
            }
            Pairs::Server(keys) => Ok((keys, &mut self.workspace)),
            _ => unreachable!("every shared pair is set up for"),
        }
    }
}

/// The client makes a key pair for each position and sends the public keys, and of so many levels
/// those for output packing.
fn client_pairs(channel: &mut dyn Channel, positions: usize, levels: u32) -> Result<Vec<ClientKey>, Error> {
    let keys = make_keys(channel, positions)?;
    if levels > 0 {
        keys.iter().try_for_each(|key| channel.send(Kind::PublicKeys, key.packing_keys(levels)))?;
    }
    Ok(keys)
}

/// The server reads what [`client_pairs`] sends.
fn server_pairs(channel: &mut dyn Channel, positions: usize, levels: u32) -> Result<Vec<PublicKey>, Error> {
    let mut keys = receive_keys(channel, positions)?;
    for key in keys.iter_mut().filter(|_| levels > 0) {
        let message = channel.receive(Kind::PublicKeys, interleaved::key_bytes(levels))?;
        key.set_packing_keys(&message, levels)?;
    }
    Ok(keys)
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
#[cfg(not(fusion_ablate = "shared-key"))]
fn client_keys(positions: usize) -> Result<Vec<ClientKey>, Error> {
    (0..positions).into_par_iter().map(|_| ClientKey::generate()).collect()
}

/// INSECURE: one key pair and its seeds for all positions.
#[cfg(fusion_ablate = "shared-key")]
fn client_keys(positions: usize) -> Result<Vec<ClientKey>, Error> {
    let seed = crate::ring::sample::fresh_seed()?;
    Ok((0..positions).map(|_| ClientKey::from_seed(seed.clone())).collect())
}
