//! The server's part of a linear layer.
//!
//! A kernel polynomial is transformed once per micro-batch and multiplied with that operand of every position and tile
//! while it is at hand; what is held transformed is one block of kernel polynomials per thread. Weights are data here, never
//! control: zeros are multiplied like any other value.

use fusion_catalogue::linear::{POLYNOMIAL_BYTES, Packing, SEED_BYTES};
use fusion_ir::types::{mask, wrap};
use rand_core::Rng;
use rayon::prelude::*;

use crate::bits::pack;
use crate::ring::sample::{Seed, fresh_seed, stream};
use crate::ring::{Poly, Spectrum};
use crate::rlwe::{Ciphertext, PublicKey, ResultCiphertext, Scale};
use crate::{Channel, Error, Kind};

/// Kernel polynomials that a thread holds transformed.
const KERNEL_BLOCK: usize = 16;

/// Runs one linear layer as the server on `keys.len()` positions: `share` of the operands in, share of the results out.
///
/// `weight` is the kernel `[C_out, C_in / groups, kh, kw]` (or `[m, n]`) within the width that the packing was admitted with,
/// `bias` one element per result channel.
///
/// # Errors
/// [`Error::PeerMisbehaved`] if the client's message is malformed, [`Error::Io`] if the connection or the operating
/// system's randomness fails.
pub fn server(
    channel: &mut dyn Channel,
    packing: &Packing,
    keys: &[PublicKey],
    share: &[u64],
    weight: &[i64],
    bias: Option<&[i64]>,
) -> Result<Vec<u64>, Error> {
    let bytes = channel.receive(Kind::LinearUpload, keys.len() * packing.upload_bytes())?;
    let layer = Layer { packing, scale: Scale::new(packing.acc_bits()), keys, weight, seed: fresh_seed()? };
    let operands = layer.operands(&bytes, share)?;
    drop(bytes);
    let results: Vec<Vec<Masked>> =
        (0..packing.units()).into_par_iter().map(|unit| layer.unit(unit, &operands)).collect();
    let (bytes, mut share) = layer.download(results);
    channel.send(Kind::LinearDownload, bytes)?;
    if let Some(bias) = bias {
        add_bias(packing, bias, &mut share);
    }
    Ok(share)
}

/// What one layer is computed from.
struct Layer<'a> {
    packing: &'a Packing,
    scale: Scale,
    keys: &'a [PublicKey],
    weight: &'a [i64],
    /// Of all masks, re-randomisations and floods: one stream per result polynomial and position.
    seed: Seed,
}

/// One result polynomial of one position, and the masks in it.
struct Masked {
    position: usize,
    /// Number of the result polynomial.
    index: usize,
    result: ResultCiphertext,
    masks: Vec<u64>,
}

impl Layer<'_> {
    /// The encrypted operands of all positions with the server's share added.
    fn operands(&self, bytes: &[u8], share: &[u64]) -> Result<Vec<Ciphertext>, Error> {
        let elements = self.packing.geometry().input_len();
        assert_eq!(share.len(), self.keys.len() * elements);
        let positions = bytes.par_chunks(self.packing.upload_bytes()).zip(share.par_chunks(elements));
        let ciphertexts = positions.flat_map(|(bytes, share)| {
            let (seed, polynomials) = bytes.split_at(SEED_BYTES);
            polynomials.par_chunks(POLYNOMIAL_BYTES).enumerate().map(move |(index, b)| {
                let seed =
                    seed.first_chunk().ok_or_else(|| Error::PeerMisbehaved("an upload without a seed".into()))?;
                let plaintexts = self.packing.operand(index).map(|term| (term.coefficient, share[term.element]));
                Ciphertext::decode(seed, index as u64, b, &self.scale, plaintexts)
            })
        });
        ciphertexts.collect()
    }

    /// The result polynomials of one unit, for every position.
    fn unit(&self, unit: usize, operands: &[Ciphertext]) -> Vec<Masked> {
        let packing = self.packing;
        let tiles = packing.tiles();
        let mut sums: Vec<Ciphertext> = (0..self.keys.len() * tiles).map(|_| Ciphertext::zero()).collect();
        for first in (0..packing.products()).step_by(KERNEL_BLOCK) {
            let products = first..packing.products().min(first + KERNEL_BLOCK);
            let kernels: Vec<Spectrum> = products.map(|product| self.kernel(unit, product)).collect();
            sums.par_iter_mut().enumerate().for_each(|(i, sum)| {
                let (position, tile) = (i / tiles, i % tiles);
                let operand = position * packing.operands() + packing.first_operand(unit, tile) + first;
                for (ciphertext, kernel) in operands[operand..].iter().zip(&kernels) {
                    sum.add_product(ciphertext, kernel);
                }
            });
        }
        let results = sums.into_par_iter().enumerate();
        results.map(|(i, sum)| self.mask(i / tiles, unit, i % tiles, sum)).collect()
    }

    /// A kernel polynomial, transformed.
    fn kernel(&self, unit: usize, product: usize) -> Spectrum {
        let mut kernel = Poly::zero();
        for term in self.packing.kernel(unit, product) {
            let weight = self.weight[term.element];
            kernel.add_signed_to(term.coefficient, if term.negative { -weight } else { weight });
        }
        Spectrum::of(kernel)
    }

    /// Turns a sum into what the client gets.
    fn mask(&self, position: usize, unit: usize, tile: usize, sum: Ciphertext) -> Masked {
        let index = unit * self.packing.tiles() + tile;
        let mut rng = stream(&self.seed, (position * self.packing.results() + index) as u64);
        let terms = self.packing.result(unit, tile);
        let coefficients: Vec<usize> = terms.map(|term| term.coefficient).collect();
        let masks: Vec<u64> = coefficients.iter().map(|_| rng.next_u64() & mask(self.packing.acc_bits())).collect();
        let wanted = coefficients.into_iter().zip(masks.iter().copied());
        let result = sum.into_result(&self.keys[position], &self.scale, &mut rng, wanted);
        Masked { position, index, result, masks }
    }

    /// The message to the client, and the server's share: minus the masks.
    fn download(&self, units: Vec<Vec<Masked>>) -> (Vec<u8>, Vec<u64>) {
        let packing = self.packing;
        let elements = packing.geometry().output_len();
        let mut positions: Vec<Vec<Masked>> = self.keys.iter().map(|_| Vec::with_capacity(packing.results())).collect();
        // Units are in order, and so are the results that each has of one position.
        for masked in units.into_iter().flatten() {
            positions[masked.position].push(masked);
        }
        let mut share = vec![0; self.keys.len() * elements];
        let mut bytes = Vec::with_capacity(self.keys.len() * packing.download_bytes());
        for (results, share) in positions.into_iter().zip(share.chunks_mut(elements)) {
            let mut b = vec![0; elements];
            for Masked { index, result, masks, .. } in results {
                bytes.extend(result.a);
                let terms = packing.result(index / packing.tiles(), index % packing.tiles());
                for (term, (value, masked)) in terms.zip(result.b.into_iter().zip(masks)) {
                    b[term.element] = value;
                    share[term.element] = masked.wrapping_neg() & mask(packing.acc_bits());
                }
            }
            bytes.extend(pack(&b, packing.b_bits()));
        }
        (bytes, share)
    }
}

/// Adds to every result its channel's bias.
fn add_bias(packing: &Packing, bias: &[i64], share: &mut [u64]) {
    let [height, width] = packing.geometry().output();
    let bits = packing.acc_bits();
    for (channel, elements) in share.chunks_mut(height * width).enumerate() {
        let bias = wrap(bias[channel % packing.geometry().outputs], bits);
        for element in elements {
            *element = element.wrapping_add(bias) & mask(bits);
        }
    }
}
