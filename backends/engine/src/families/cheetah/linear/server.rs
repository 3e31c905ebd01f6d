//! The server's part of a linear layer.
//!
//! A kernel polynomial is transformed once per micro-batch and multiplied with that operand of
//! every position and tile. Kernels are worked off in [`Blocks`]: only one block is held
//! transformed. Weights are data here, never control: zeros are multiplied like any other value.

use fusion_catalogue::cheetah::Packing;
use fusion_catalogue::rlwe::{POLYNOMIAL_BYTES, SEED_BYTES};
use fusion_ir::types::{mask, wrap};
use rayon::prelude::*;

use super::interleave::{Block, Trees};
use super::layer::{Downloads, FewTerms, Layer};
use super::plaintext;
use crate::ring::sample::{fresh_seed, stream};
use crate::ring::{DEGREE, Kernels, MAX_DEPTH, Operands, PRIMES, Poly, Spectrum, Sums, TILE};
use crate::rlwe::{Ciphertext, PublicKey, Scale};
use crate::{Channel, Error, Kind};

/// Operands that are decoded before they are moved to where they are multiplied.
const AT_ONCE: usize = 32;
/// Results that a thread takes at once: neighbours lie side by side.
const RESULTS_AT_ONCE: usize = 4;

/// Memory that the layers of a micro-batch use one after the other. Nothing in it outlives a
/// layer's use.
#[derive(Default)]
pub struct Workspace {
    operands: Operands,
    kernels: Box<Kernels>,
    sums: Sums,
}

/// Bytes of its [`Workspace`] that [`server`] needs for a layer on `positions` positions: operands,
/// kernels and sums, each of which keeps what it once needed.
pub fn workspace_bytes(packing: &Packing, positions: usize) -> [u64; 3] {
    let rows = positions * packing.tiles();
    let few_terms = FewTerms::new(packing);
    let blocks = Blocks::new(packing, rows, few_terms.as_ref());
    let kernels = few_terms.map_or(blocks.units * blocks.depth, |few| few.exponents.len());
    let spectra = [2 * positions * packing.operands(), kernels, 2 * blocks.units * rows];
    spectra.map(|count| (count * size_of::<[[u64; DEGREE]; PRIMES.len()]>()) as u64)
}

/// Runs one linear layer as the server on `keys.len()` positions: `share` of the operands in, share
/// of the results out.
///
/// `weight` is the kernel `[C_out, C_in / groups, kh, kw]` (or `[m, n]`) within the width that the
/// packing was admitted with, `bias` one element per result channel.
///
/// # Errors
/// [`Error::PeerMisbehaved`] if the client's message is malformed, [`Error::Io`] if the connection
/// or the operating system's randomness fails.
pub fn server(
    channel: &mut dyn Channel,
    packing: &Packing,
    keys: &[PublicKey],
    workspace: &mut Workspace,
    share: &[u64],
    weight: &[i64],
    bias: Option<&[i64]>,
) -> Result<Vec<u64>, Error> {
    let mut bytes = channel.receive(Kind::LinearUpload, keys.len() * packing.upload_bytes())?;
    let kernels = Sparse::new(packing, workspace);
    let layer = kernels.layer(keys, weight)?;
    layer.operands(&bytes, share, &mut workspace.operands)?;
    // The memory of the one message serves the other.
    let download_bytes = keys.len() * packing.download_bytes();
    bytes.clear();
    bytes.shrink_to(download_bytes);
    bytes.resize(download_bytes, 0);
    let mut share = layer.download(workspace, &mut bytes);
    channel.send(Kind::LinearDownload, bytes)?;
    if let Some(bias) = bias {
        add_bias(packing, bias, &mut share);
    }
    Ok(share)
}

/// A packing, and what all kernels of it have in common; the workspace that it was made with serves
/// layers of this packing until another is made with it.
pub(in super::super) struct Sparse<'a> {
    packing: &'a Packing,
    few_terms: Option<FewTerms>,
}

impl<'a> Sparse<'a> {
    pub(in super::super) fn new(packing: &'a Packing, workspace: &mut Workspace) -> Sparse<'a> {
        let few_terms = FewTerms::new(packing);
        workspace.kernels.set_powers(few_terms.as_ref().map_or(&[], |few| &few.exponents));
        Sparse { packing, few_terms }
    }

    /// From the upload of positions with these keys, to which the server adds its `share` of the
    /// operands: its share of the results, and in `download` what the client gets.
    ///
    /// # Errors
    /// As [`server`].
    pub(in super::super) fn evaluate(
        &self,
        keys: &[PublicKey],
        workspace: &mut Workspace,
        upload: &[u8],
        share: &[u64],
        weight: &[i64],
        download: &mut [u8],
    ) -> Result<Vec<u64>, Error> {
        let layer = self.layer(keys, weight)?;
        layer.operands(upload, share, &mut workspace.operands)?;
        Ok(layer.download(workspace, download))
    }

    fn layer<'l>(&'l self, keys: &'l [PublicKey], weight: &'l [i64]) -> Result<Layer<'l>, Error> {
        let (packing, few_terms) = (self.packing, self.few_terms.as_ref());
        Ok(Layer { packing, scale: Scale::new(packing.acc_bits()), keys, weight, few_terms, seed: fresh_seed()? })
    }
}

impl Layer<'_> {
    /// Writes what the client gets for the operands in the workspace; the server's share of it.
    fn download(&self, workspace: &mut Workspace, bytes: &mut [u8]) -> Vec<u64> {
        let share = self.share();
        let mut downloads = Downloads::new(self.packing, bytes);
        let mut trees = Trees::new(self.keys.len());
        for group_block in 0..self.packing.group_blocks() {
            self.results(group_block, workspace, &share, &mut trees, &mut downloads);
        }
        share
    }

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
            let plaintext = plaintext(packing, index, &share[position * elements..][..elements]);
            Ciphertext::decode(seed, index as u64, b, &self.scale, &plaintext)
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

    /// The server's share of the results: uniform, and the masks are what makes up for it.
    fn share(&self) -> Vec<u64> {
        let elements = self.packing.geometry().output_len();
        let mut share = vec![0; self.keys.len() * elements];
        share.par_chunks_mut(elements).enumerate().for_each(|(position, share)| {
            // Streams are numbered from either end: those of results from zero.
            stream(&self.seed, u64::MAX - position as u64).fill(share);
            let mask = mask(self.packing.acc_bits());
            share.iter_mut().for_each(|element| *element &= mask);
        });
        share
    }

    /// Writes the result polynomials of a set of groups that share operands, for every position.
    fn results<'b>(
        &self,
        group_block: usize,
        workspace: &mut Workspace,
        share: &[u64],
        trees: &mut Trees<'b>,
        downloads: &mut Downloads<'b>,
    ) {
        let packing = self.packing;
        let (tiles, images) = (packing.tiles(), packing.group_blocks() * packing.tiles());
        let row = |i: usize| i / tiles * images + group_block * tiles + i % tiles;
        let rows: Vec<usize> = (0..self.keys.len() * tiles).map(row).collect();
        let units = packing.units() / packing.group_blocks();
        let blocks = Blocks::new(packing, rows.len(), self.few_terms);
        let Workspace { operands, kernels, sums } = workspace;
        for first_unit in (0..units).step_by(blocks.units) {
            let units = blocks.units.min(units - first_unit);
            let first_unit = group_block * packing.units() / packing.group_blocks() + first_unit;
            sums.resize(units, rows.len());
            for first in (0..packing.products()).step_by(blocks.depth) {
                let depth = blocks.depth.min(packing.products() - first);
                match self.few_terms {
                    None => kernels.set(units, depth, |unit, k, zero| self.kernel(first_unit + unit, first + k, zero)),
                    Some(few) => kernels.combine(units, &few.terms[first..first + depth], |unit, k, weights| {
                        self.weights(few, first_unit + unit, first + k, weights);
                    }),
                }
                sums.add_products(operands, &rows, first, kernels);
            }
            if packing.levels() > 0 {
                let sums = Block { sums, first: first_unit * tiles, count: units * tiles, tiles };
                self.interleave(&sums, share, trees, downloads);
                continue;
            }
            let places = |number: usize| (first_unit + number / rows.len(), number % rows.len());
            let next = |number| {
                let (unit, row) = places(number);
                downloads.next(row / tiles, unit * tiles + row % tiles)
            };
            let mut results: Vec<[&mut [u8]; 2]> = (0..units * rows.len()).map(next).collect();
            let chunks = results.par_chunks_mut(RESULTS_AT_ONCE).enumerate();
            chunks.for_each_init(Scratch::default, |scratch, (chunk, results)| {
                let first = chunk * RESULTS_AT_ONCE;
                let gathered = scratch.gather(sums, first, results.len());
                for (i, (result, sum)) in results.iter_mut().zip(gathered).enumerate() {
                    let (unit, row) = places(first + i);
                    let mut ciphertext = Ciphertext::from_components(sum.each_mut().map(Spectrum::take));
                    self.mask(row / tiles, unit * tiles + row % tiles, &mut ciphertext, share, result);
                    *sum = ciphertext.into_components();
                }
            });
        }
    }

    /// A kernel polynomial, transformed, made of a zero.
    fn kernel(&self, unit: usize, product: usize, mut kernel: Poly) -> Spectrum {
        for term in self.packing.kernel(unit, product) {
            let weight = self.weight[term.element];
            kernel.add_signed_to(term.coefficient, if term.negative { -weight } else { weight });
        }
        Spectrum::of(kernel)
    }

    /// The weights of a kernel polynomial at its product's powers, made of zeros.
    fn weights(&self, few: &FewTerms, unit: usize, product: usize, weights: &mut [i64]) {
        let powers = &few.terms[product];
        for (i, term) in self.packing.kernel(unit, product).enumerate() {
            let is_at = |power: &u16| usize::from(few.exponents[usize::from(*power)]) == term.coefficient;
            // Of most kernels the terms come in the order in which they were found.
            let at = if powers.get(i).is_some_and(is_at) { Some(i) } else { powers.iter().position(is_at) };
            let weight = self.weight[term.element];
            weights[at.expect("full units have every term")] += if term.negative { -weight } else { weight };
        }
    }
}

/// Memory of a thread for some sums.
#[derive(Default)]
struct Scratch {
    sums: Vec<[Spectrum; 2]>,
}

impl Scratch {
    /// `count` sums from number `first` on.
    fn gather(&mut self, sums: &Sums, first: usize, count: usize) -> &mut [[Spectrum; 2]] {
        self.sums.resize_with(count.max(self.sums.len()), || [Spectrum::zero(), Spectrum::zero()]);
        sums.get(first, &mut self.sums[..count]);
        &mut self.sums[..count]
    }
}

/// How much of a layer is worked on at once.
///
/// A block's transformed kernels pass through memory once for all rows, its operands once per block
/// and its sums twice; so with few rows blocks stay within the caches, and with many they are large
/// in both directions. Kernels of few terms take no memory: their weights stay in a cache, and sums
/// are as long as their kernels fit the nearest one, a tile at a time.
struct Blocks {
    units: usize,
    depth: usize,
}

impl Blocks {
    /// Kernel polynomials of a block for each row: at least, at most.
    const KERNELS: [usize; 2] = [96, 6144];
    /// Sums of a block at most.
    const SUMS: usize = 6144;
    /// Products of a sum of a block, unless a layer has fewer: at least, and, of few terms, at
    /// most.
    const DEPTH: [usize; 2] = [16, 128];
    /// Weights of a block of kernels of few terms.
    const WEIGHTS: usize = 1 << 16;

    /// Blocks of a layer on `rows` rows of operands.
    fn new(packing: &Packing, rows: usize, few_terms: Option<&FewTerms>) -> Blocks {
        let (units, products) = (packing.units() / packing.group_blocks(), packing.products());
        let [shallow, deep] = Blocks::DEPTH;
        let (kernels, depth) = match few_terms {
            Some(few) => {
                let terms = few.terms.iter().map(Vec::len).max().unwrap_or(0).max(1);
                let depth = products.div_ceil(products.div_ceil(deep));
                ((Blocks::WEIGHTS / terms).min(Blocks::KERNELS[1]), depth)
            }
            None => {
                let kernels = (Blocks::KERNELS[0] * rows).min(Blocks::KERNELS[1]);
                // Square, but for the shape of the layer.
                let depth = kernels.isqrt().max(kernels / units).max(shallow);
                (kernels, depth.min(products).min(MAX_DEPTH))
            }
        };
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
