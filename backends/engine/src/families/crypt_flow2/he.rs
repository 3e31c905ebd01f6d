//! Linear layers over packed ciphertexts with rotations: see [`fusion_catalogue::crypt_flow2::he`].
//!
//! The client sends its share encrypted; the server rotates it to every tap, multiplies by weights,
//! sums over channels with one rotation for every diagonal, and returns masked, re-randomised and
//! flooded results. A millionaires' protocol on the masked results and the masks turns both into
//! shares mod `2^acc`. Weights are data, never control: zeros are multiplied like any other value.

use fusion_catalogue::crypt_flow2::he::{
    DEGREE, POLYNOMIAL_BYTES, POSITIONS_AT_ONCE, ROW, Slots, Tap, Tile, conversion_chunks,
};
use fusion_catalogue::rlwe::SEED_BYTES;
use fusion_ir::Party;
use fusion_ir::types::{mask, signed};
use rayon::prelude::*;

use super::Ctx;
use super::bfv::{Ciphertext, ClientKey, Encoder, ServerKey, Spectrum, decrypt};
use super::gates::Gates;
use crate::compare::words::to_words;
use crate::ring::Modulus;
use crate::ring::sample::{fresh_seed, stream};
use crate::{Error, Kind};

/// The client's share of the products of its share `x`, position-major, with the server's weights.
///
/// # Errors
/// Whatever the channel gives, and [`Error::PeerMisbehaved`].
pub fn client(ctx: &mut Ctx, slots: &Slots, keys: &mut [ClientKey], x: &[u64]) -> Result<Vec<u64>, Error> {
    let encoder = Encoder::new(slots.modulus());
    let elements = slots.geometry().input_len();
    let seeds: Vec<_> = keys.iter_mut().map(ClientKey::next_upload).collect();
    let uploads = keys.par_iter().zip(&seeds).zip(x.par_chunks(elements)).map(|((key, (public, errors)), x)| {
        let mut upload = Vec::with_capacity(slots.upload_bytes());
        upload.extend_from_slice(&public[..]);
        let operands = slots.tiles().iter().flat_map(|tile| (0..slots.operands()).map(move |operand| (tile, operand)));
        for (index, (tile, operand)) in operands.enumerate() {
            let values = operand_slots(slots, &encoder, tile, operand, x);
            upload.extend(key.encrypt([public, errors], index as u64, &encoder, &values));
        }
        upload
    });
    let uploads: Vec<Vec<u8>> = uploads.collect();
    ctx.channel.send(Kind::LinearUpload, uploads.concat())?;
    let bytes = ctx.channel.receive(Kind::LinearDownload, keys.len() * slots.download_bytes())?;
    let results: Result<Vec<Vec<u64>>, Error> = bytes
        .par_chunks(slots.download_bytes())
        .zip(&*keys)
        .map(|(bytes, key)| {
            let decrypted = bytes.chunks(slots.result_bytes()).map(|result| decrypt(key, &encoder, slots, result));
            Ok(collect(slots, &decrypted.collect::<Result<Vec<_>, Error>>()?))
        })
        .collect();
    convert(ctx, slots, &results?.concat())
}

/// The server's share of the products of the client's share with `weight`, position-major; those of
/// its own share are its own business.
///
/// # Errors
/// Whatever the channel gives, [`Error::Io`] if the operating system's randomness fails, and
/// [`Error::PeerMisbehaved`].
pub fn server(ctx: &mut Ctx, slots: &Slots, keys: &[ServerKey], weight: &[i64]) -> Result<Vec<u64>, Error> {
    let layer = Layer { slots, encoder: Encoder::new(slots.modulus()), weight };
    let seed = fresh_seed()?;
    let bytes = ctx.channel.receive(Kind::LinearUpload, keys.len() * slots.upload_bytes())?;
    let (mut message, mut masks) = (Vec::with_capacity(keys.len() * slots.download_bytes()), Vec::new());
    let mut number = 0;
    for (keys, uploads) in keys.chunks(POSITIONS_AT_ONCE).zip(bytes.chunks(POSITIONS_AT_ONCE * slots.upload_bytes())) {
        let mut results: Vec<Vec<(Vec<u8>, Vec<u64>)>> = keys.iter().map(|_| Vec::new()).collect();
        for (index, tile) in slots.tiles().iter().enumerate() {
            let operands = keys.par_iter().zip(uploads.par_chunks(slots.upload_bytes()));
            let operands: Result<Vec<_>, Error> =
                operands.map(|(key, upload)| layer.rotate(index, key, upload)).collect();
            let operands = operands?;
            for result in 0..slots.results() {
                let sums = layer.sums(tile, result, keys, &operands);
                let finished = sums.into_par_iter().enumerate().map(|(position, sum)| {
                    let rng = &mut stream(&seed, number + position as u64);
                    sum.into_result(&keys[position], &layer.encoder, slots, rng)
                });
                let finished: Vec<_> = finished.collect();
                number += keys.len() as u64;
                results.iter_mut().zip(finished).for_each(|(results, result)| results.push(result));
            }
        }
        for results in results {
            let (bytes, own): (Vec<Vec<u8>>, Vec<Vec<u64>>) = results.into_iter().unzip();
            message.extend(bytes.into_iter().flatten());
            masks.extend(collect(slots, &own));
        }
    }
    ctx.channel.send(Kind::LinearDownload, message)?;
    convert(ctx, slots, &masks)
}

/// The slots of an operand ciphertext: signed shares, zero outside of images.
#[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
fn operand_slots(slots: &Slots, encoder: &Encoder, tile: &Tile, operand: usize, x: &[u64]) -> Vec<u64> {
    let mut values = vec![0; DEGREE];
    for (block, values) in values.chunks_mut(slots.block()).enumerate() {
        let Some(channel) = slots.channel(operand, block) else { continue };
        for (place, value) in values.iter_mut().enumerate() {
            let at = [place / slots.pitch(), place % slots.pitch()];
            if let Some(element) = slots.element(tile, channel, at) {
                *value = encoder.residue(signed(x[element], slots.acc_bits()));
            }
        }
    }
    values
}

/// The elements of a result, modulo `p`, from the slots of all result ciphertexts of all tiles:
/// each is the sum of its parts.
fn collect(slots: &Slots, results: &[Vec<u64>]) -> Vec<u64> {
    let [height, width] = slots.geometry().output();
    let p = Modulus::new(slots.modulus());
    let mut elements = vec![0u64; slots.geometry().output_len()];
    for (tile, results) in slots.tiles().iter().zip(results.chunks(slots.results())) {
        for (result, values) in results.iter().enumerate() {
            for (block, values) in values.chunks(slots.block()).enumerate() {
                let Some(output) = slots.output(result, block) else { continue };
                for (i, j, place) in pixels(slots, tile) {
                    let sum = &mut elements[(output * height + i) * width + j];
                    *sum = p.add(*sum, values[place]);
                }
            }
        }
    }
    elements
}

/// The result's pixels in a tile, with their places in a block.
fn pixels<'s>(slots: &'s Slots, tile: &'s Tile) -> impl Iterator<Item = (usize, usize, usize)> + 's {
    let place = |at: usize, origin: isize| (at as isize - origin) as usize;
    tile.rows.clone().flat_map(move |i| {
        let start = place(i, tile.origin[0]) * slots.pitch();
        tile.columns.clone().map(move |j| (i, j, start + place(j, tile.origin[1])))
    })
}

/// From the client's `z = y + r mod p` and the server's mask `r`, with `|y| < p / 2`, to shares of
/// `y` mod `2^acc`.
///
/// With `h = (p - 1) / 2` added to `z`, `y + h` is in `0..p`, and `y + h = z - r + p` if `z < r`,
/// else `z - r`.
fn convert(ctx: &mut Ctx, slots: &Slots, own: &[u64]) -> Result<Vec<u64>, Error> {
    let (p, bits, party) = (slots.modulus(), slots.modulus_bits(), ctx.party);
    let (half, modulus) = ((p - 1) >> 1, Modulus::new(p));
    let schedule = slots.conversion();
    let mut shares = Vec::with_capacity(own.len());
    for chunk in conversion_chunks(own.len()) {
        let own: Vec<u64> = match party {
            Party::Client => own[chunk].iter().map(|z| modulus.add(*z, half)).collect(),
            Party::Server => own[chunk].to_vec(),
        };
        // The server's complement is below the client's iff z < r.
        let complements = vec![own.iter().map(|value| !value & mask(bits)).collect()];
        let (mut gates, wrapped) = Gates::open(ctx, &schedule, own.len(), &complements)?;
        let wrapped = to_words(&mut gates, &[(&wrapped[0], slots.acc_bits())])?;
        let share = |(own, wrap): (&u64, &u64)| {
            let part = match party {
                Party::Client => own.wrapping_sub(half),
                Party::Server => own.wrapping_neg(),
            };
            part.wrapping_add(wrap.wrapping_mul(p)) & mask(slots.acc_bits())
        };
        shares.extend(own.iter().zip(&wrapped[0]).map(share));
    }
    Ok(shares)
}

/// What one layer is computed from at the server.
struct Layer<'a> {
    slots: &'a Slots,
    encoder: Encoder,
    weight: &'a [i64],
}

/// A tile's operands, rotated to every tap: by operand, then by tap.
type Rotated = Vec<Vec<Ciphertext>>;

impl Layer<'_> {
    /// One position's operands of tile number `tile`, rotated to every tap.
    fn rotate(&self, tile: usize, key: &ServerKey, upload: &[u8]) -> Result<Rotated, Error> {
        let wrong = || Error::PeerMisbehaved("an upload without a seed".into());
        let (seed, polynomials) = upload.split_first_chunk::<SEED_BYTES>().ok_or_else(wrong)?;
        let count = self.slots.operands();
        let polynomials = polynomials.chunks(POLYNOMIAL_BYTES).enumerate().skip(tile * count).take(count);
        let rotated = polynomials.map(|(index, b)| {
            let ciphertext = Ciphertext::decode(seed, index as u64, b)?;
            let rows = self.reach(ciphertext, self.slots.pitch(), |tap| tap.rows, key);
            let columns = rows.into_iter().flat_map(|row| self.reach(row, 1, |tap| tap.columns, key));
            Ok(columns.collect())
        });
        rotated.collect()
    }

    /// The ciphertext rotated to every distance along one axis, in ascending order: step by step
    /// from the one before.
    #[allow(clippy::integer_division_remainder_used, reason = "of distances, which are public")]
    fn reach(&self, at_zero: Ciphertext, step: usize, along: fn(&Tap) -> isize, key: &ServerKey) -> Vec<Ciphertext> {
        let mut distances: Vec<isize> = self.slots.taps().iter().map(along).collect();
        distances.sort_unstable();
        distances.dedup();
        let [least, most] = [distances[0].min(0), distances[distances.len() - 1].max(0)];
        let hoisted = at_zero.clone().hoist();
        let walk = |count: usize, step: usize| {
            let mut walked = Vec::with_capacity(count);
            for _ in 0..count {
                let next = match walked.last() {
                    None => hoisted.rotate(step, key),
                    Some(last) => Ciphertext::clone(last).hoist().rotate(step, key),
                };
                walked.push(next);
            }
            walked
        };
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        if most > 0 {
            forward = walk(most as usize, step % ROW);
        }
        if least < 0 {
            backward = walk(least.unsigned_abs(), (ROW - step % ROW) % ROW);
        }
        let at = |distance: &isize| match *distance {
            0 => at_zero.clone(),
            forth @ 1.. => forward[forth as usize - 1].clone(),
            back => backward[back.unsigned_abs() - 1].clone(),
        };
        distances.iter().map(at).collect()
    }

    /// One result ciphertext for every position: over all diagonals from the last to the first,
    /// rotated by a block in between.
    #[allow(clippy::integer_division_remainder_used, reason = "of distances, which are public")]
    fn sums(&self, tile: &Tile, result: usize, keys: &[ServerKey], operands: &[Rotated]) -> Vec<Ciphertext> {
        let slots = self.slots;
        let mut sums: Vec<Ciphertext> = keys.iter().map(|_| Ciphertext::zero()).collect();
        for diagonal in (0..slots.diagonals()).rev() {
            if diagonal + 1 < slots.diagonals() {
                let rotated = sums.into_par_iter().zip(keys);
                sums = rotated.map(|(sum, key)| sum.hoist().rotate(slots.block() % ROW, key)).collect();
            }
            for summand in 0..slots.summands() {
                let operand = slots.operand(result, summand);
                let plaintexts =
                    slots.taps().par_iter().map(|tap| self.plaintext(tile, result, operand, diagonal, *tap));
                let plaintexts: Vec<Spectrum> = plaintexts.collect();
                sums.par_iter_mut().zip(operands).for_each(|(sum, operands)| {
                    let products = operands[operand].iter().zip(&plaintexts);
                    products.for_each(|(ciphertext, plaintext)| sum.add_product(ciphertext, plaintext));
                });
            }
        }
        sums
    }

    /// The weights that operand ciphertext `operand`, rotated to `tap`, is multiplied with for
    /// `diagonal` of a result.
    #[allow(clippy::integer_division_remainder_used, reason = "of places, which are public")]
    fn plaintext(&self, tile: &Tile, result: usize, operand: usize, diagonal: usize, tap: Tap) -> Spectrum {
        let slots = self.slots;
        let (blocks, geometry) = (slots.blocks(), slots.geometry());
        let mut values = vec![0; DEGREE];
        for (from, values) in values.chunks_mut(slots.block()).enumerate() {
            // The result's block is `diagonal` before the one that is read, within the row.
            let block = from / blocks * blocks + (from % blocks + blocks - diagonal) % blocks;
            let (Some(output), Some((channel, phase))) = (slots.output(result, block), slots.channel(operand, from))
            else {
                continue;
            };
            let Some([row, column]) = slots.kernel_element(phase, tap) else { continue };
            let [channels, _] = geometry.group();
            let [rows, columns] = geometry.kernel;
            let weight = self.weight[((output * channels + channel % channels) * rows + row) * columns + column];
            let weight = self.encoder.residue(weight);
            for (_, _, place) in pixels(slots, tile) {
                // Places that would be read outside of the block, or of the image, are zero
                // whatever the weight is.
                let at = [(place / slots.pitch()) as isize + tap.rows, (place % slots.pitch()) as isize + tap.columns];
                let inside = at.map(usize::try_from);
                let [Ok(y), Ok(x)] = inside else { continue };
                if x < slots.pitch() && slots.element(tile, (channel, phase), [y, x]).is_some() {
                    values[place] = weight;
                }
            }
        }
        Spectrum::of(self.encoder.multiplier(&values))
    }
}
