//! The server's part of a linear layer.
//!
//! A kernel polynomial is transformed once per micro-batch and multiplied with that operand of every position and tile. Kernels
//! are worked off in [`Blocks`]: only one block is held transformed. Weights are data here, never control: zeros are
//! multiplied like any other value.

use fusion_catalogue::linear::{DEGREE, POLYNOMIAL_BYTES, Packing, Run, SEED_BYTES};
use fusion_ir::types::{mask, wrap};
use rayon::prelude::*;

use crate::bits::pack;
use crate::ring::sample::{Seed, fresh_seed, stream};
use crate::ring::{Kernels, MAX_DEPTH, Operands, Poly, Spectrum, Sums, TILE};
use crate::rlwe::{Ciphertext, PublicKey, ResultCiphertext, Scale};
use crate::{Channel, Error, Kind};

/// Operands that are decoded before they are moved to where they are multiplied.
const AT_ONCE: usize = 32;
/// Results that a thread takes at once: neighbours lie side by side.
const RESULTS_AT_ONCE: usize = 4;

/// Memory that the layers of a micro-batch use one after the other. Nothing in it outlives a layer's use.
#[derive(Default)]
pub struct Workspace {
    operands: Operands,
    kernels: Kernels,
    sums: Sums,
}

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
    workspace: &mut Workspace,
    share: &[u64],
    weight: &[i64],
    bias: Option<&[i64]>,
) -> Result<Vec<u64>, Error> {
    let bytes = channel.receive(Kind::LinearUpload, keys.len() * packing.upload_bytes())?;
    let layer = Layer { packing, scale: Scale::new(packing.acc_bits()), keys, weight, seed: fresh_seed()? };
    layer.operands(&bytes, share, &mut workspace.operands)?;
    drop(bytes);
    let results: Vec<Masked> =
        (0..packing.group_blocks()).flat_map(|group_block| layer.results(group_block, workspace)).collect();
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
    /// The encrypted operands with the server's share added: row `position * images + image`.
    fn operands(&self, bytes: &[u8], share: &[u64], operands: &mut Operands) -> Result<(), Error> {
        let (packing, count) = (self.packing, self.packing.operands());
        let elements = packing.geometry().input_len();
        assert_eq!(share.len(), self.keys.len() * elements);
        let decode = |number: usize| {
            let (position, index) = (number / count, number % count);
            let upload = &bytes[position * packing.upload_bytes()..][..packing.upload_bytes()];
            let wrong = || Error::PeerMisbehaved("an upload without a seed".into());
            let (seed, polynomials) = upload.split_first_chunk::<SEED_BYTES>().ok_or_else(wrong)?;
            let b = &polynomials[index * POLYNOMIAL_BYTES..][..POLYNOMIAL_BYTES];
            let share = &share[position * elements..][..elements];
            let pairs = packing.operand(index).flat_map(Run::pairs);
            let plaintexts = pairs.map(|(element, coefficient)| (coefficient, share[element]));
            Ciphertext::decode(seed, index as u64, b, &self.scale, plaintexts)
        };
        let total = self.keys.len() * count;
        operands.resize(total / packing.products(), packing.products());
        for first in (0..total).step_by(AT_ONCE) {
            let numbers = first..total.min(first + AT_ONCE);
            let some: Result<Vec<Ciphertext>, Error> = numbers.into_par_iter().map(decode).collect();
            let some: Vec<[Spectrum; 2]> = some?.into_iter().map(Ciphertext::into_components).collect();
            operands.set(first, &some);
        }
        Ok(())
    }

    /// The result polynomials of a set of groups that share operands, for every position; unit by unit, then by position.
    fn results(&self, group_block: usize, workspace: &mut Workspace) -> Vec<Masked> {
        let packing = self.packing;
        let (tiles, images) = (packing.tiles(), packing.group_blocks() * packing.tiles());
        let row = |i: usize| i / tiles * images + group_block * tiles + i % tiles;
        let rows: Vec<usize> = (0..self.keys.len() * tiles).map(row).collect();
        let units = packing.units() / packing.group_blocks();
        let blocks = Blocks::new(units, packing.products(), rows.len());
        let mut results = Vec::with_capacity(units * rows.len());
        let Workspace { operands, kernels, sums } = workspace;
        for first_unit in (0..units).step_by(blocks.units) {
            let units = blocks.units.min(units - first_unit);
            let first_unit = group_block * packing.units() / packing.group_blocks() + first_unit;
            sums.clear(units, rows.len());
            for first in (0..packing.products()).step_by(blocks.depth) {
                let depth = blocks.depth.min(packing.products() - first);
                kernels.set(units, depth, |unit, k, zero| self.kernel(first_unit + unit, first + k, zero));
                sums.add_products(operands, &rows, first, kernels);
            }
            let chunks = (0..(units * rows.len()).div_ceil(RESULTS_AT_ONCE)).into_par_iter();
            results.par_extend(chunks.flat_map_iter(|chunk| {
                let first = chunk * RESULTS_AT_ONCE;
                let numbers = first..(units * rows.len()).min(first + RESULTS_AT_ONCE);
                let masked = |(sum, number)| {
                    let (unit, row) = (first_unit + number / rows.len(), number % rows.len());
                    self.mask(row / tiles, unit, row % tiles, Ciphertext::from_components(sum))
                };
                sums.get(numbers.clone()).into_iter().zip(numbers).map(masked)
            }));
        }
        results
    }

    /// A kernel polynomial, transformed, made of a zero.
    fn kernel(&self, unit: usize, product: usize, mut kernel: Poly) -> Spectrum {
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
        let mut wanted = Vec::with_capacity(DEGREE);
        let runs = self.packing.result(unit, tile).flat_map(Run::pairs);
        runs.for_each(|(_, coefficient)| wanted.push((coefficient, rng.next_u64() & mask(self.packing.acc_bits()))));
        let masks = wanted.iter().map(|&(_, mask)| mask).collect();
        let result = sum.into_result(&self.keys[position], &self.scale, &mut rng, &wanted);
        Masked { position, index, result, masks }
    }

    /// The message to the client, and the server's share: minus the masks.
    fn download(&self, results: Vec<Masked>) -> (Vec<u8>, Vec<u64>) {
        let packing = self.packing;
        let elements = packing.geometry().output_len();
        let mut positions: Vec<Vec<Masked>> = self.keys.iter().map(|_| Vec::with_capacity(packing.results())).collect();
        // Units are in order, and so are the results that each has of one position.
        for masked in results {
            positions[masked.position].push(masked);
        }
        let mut share = vec![0; self.keys.len() * elements];
        let mut bytes = Vec::with_capacity(self.keys.len() * packing.download_bytes());
        for (results, share) in positions.into_iter().zip(share.chunks_mut(elements)) {
            let mut b = vec![0; elements];
            for Masked { index, result, masks, .. } in results {
                bytes.extend(result.a);
                let runs = packing.result(index / packing.tiles(), index % packing.tiles()).flat_map(Run::pairs);
                let mut values = result.b.into_iter().zip(masks);
                runs.for_each(|(element, _)| {
                    if let Some((value, masked)) = values.next() {
                        b[element] = value;
                        share[element] = masked.wrapping_neg() & mask(packing.acc_bits());
                    }
                });
            }
            bytes.extend(pack(&b, packing.b_bits()));
        }
        (bytes, share)
    }
}

/// How much of a layer is worked on at once.
///
/// A block's transformed kernels pass through memory once for all rows, its operands once per block and its sums twice; so
/// with few rows blocks stay within the caches, and with many they are large in both directions.
struct Blocks {
    units: usize,
    depth: usize,
}

impl Blocks {
    /// Kernel polynomials of a block for each row: at least, at most.
    const KERNELS: [usize; 2] = [96, 6144];
    /// Sums of a block at most.
    const SUMS: usize = 6144;

    /// Blocks of a layer of `units` units, `products` products each, on `rows` rows of operands.
    fn new(units: usize, products: usize, rows: usize) -> Blocks {
        let kernels = (Blocks::KERNELS[0] * rows).min(Blocks::KERNELS[1]);
        // Square, but for the shape of the layer.
        let depth = kernels.isqrt().max(kernels / units).min(products).min(MAX_DEPTH);
        let whole_tiles = (kernels / depth).min(Blocks::SUMS / rows).max(TILE) / TILE * TILE;
        Blocks { units: whole_tiles.min(units), depth }
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
