//! Linear layers by correlated OTs: see [`fusion_catalogue::crypt_flow2::matmul`].
//!
//! For bit `i` of a weight, 0 or 1, and the vector `x` of the client's shares that the weight is
//! multiplied with, the parties get shares of `bit * x mod 2^(acc-i)`: of two pads stretched from
//! the seeds of an OT, the client sends `r_0 - r_1 + x`, and keeps `-r_0`. The server multiplies
//! its own share at home. It receives IKNP's OTs, which check that it chooses bits; so whatever it
//! does, each of the client's vectors stays masked by a pad that it lacks. All positions of a
//! micro-batch hang on the same choices: a server cannot even use different weights for different
//! positions.

use std::ops::Range;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use fusion_catalogue::crypt_flow2::matmul::Products;
use fusion_catalogue::packed_bytes;
use fusion_ir::types::mask;
use rayon::prelude::*;

use super::Ctx;
use crate::bits::{Bits, pack, unpack};
use crate::{Error, Kind};

/// The client's share of the products of its share `x`, position-major, with the server's weights.
///
/// # Errors
/// Whatever the channel gives, and [`Error::PeerMisbehaved`].
pub fn client(ctx: &mut Ctx, products: &Products, positions: usize, x: &[u64]) -> Result<Vec<u64>, Error> {
    let mut result = vec![0u64; positions * products.geometry().output_len()];
    for weights in products.batches(positions) {
        let n = products.ots(&weights);
        let message = ctx.channel.receive(Kind::OtExtension, products.choice_bytes(&weights) as usize)?;
        let mut rest = &message[..];
        let seeds = ctx.extensions.send_seeds(n, &mut rest)?;
        let flips = Bits::from_bytes(rest, n)?;
        let flips: Vec<bool> = flips.iter().map(|flip| flip == 1).collect();
        let mut message = Vec::with_capacity(products.vector_bytes(&weights, positions) as usize);
        for bit in 0..products.weight_bits() {
            let width = products.acc_bits() - bit;
            let vectors: Vec<(Vec<u64>, Vec<u64>)> = weights
                .clone()
                .into_par_iter()
                .map(|weight| {
                    let ot = usize::from(bit) * weights.len() + weight - weights.start;
                    let [zero, one] = [flips[ot], !flips[ot]].map(|side| stretch(seeds[usize::from(side)][ot]));
                    let elements = elements(products, positions, weight, x);
                    let both = elements.zip(zero.zip(one));
                    both.map(|(x, (r0, r1))| (x.wrapping_add(r0.wrapping_sub(r1)) & mask(width), r0)).unzip()
                })
                .collect();
            let masked: Vec<u64> = vectors.iter().flat_map(|(masked, _)| masked.iter().copied()).collect();
            message.extend(pack(&masked, width));
            let own = vectors.into_iter().map(|(_, zero)| zero.into_iter().map(u64::wrapping_neg).collect());
            accumulate(products, positions, &weights, bit, own, &mut result);
        }
        ctx.channel.send(Kind::Comparison, message)?;
    }
    result.iter_mut().for_each(|y| *y &= mask(products.acc_bits()));
    Ok(result)
}

/// The server's share of the products of the client's share with `weight`, position-major; those of
/// its own share are its own business.
///
/// # Errors
/// Whatever the channel gives, and [`Error::PeerMisbehaved`].
pub fn server(ctx: &mut Ctx, products: &Products, positions: usize, weight: &[i64]) -> Result<Vec<u64>, Error> {
    let mut result = vec![0u64; positions * products.geometry().output_len()];
    for weights in products.batches(positions) {
        let n = products.ots(&weights);
        let mut message = Vec::with_capacity(products.choice_bytes(&weights) as usize);
        let (random, seeds) = ctx.extensions.receive_seeds(n, &mut message);
        let values: Vec<u64> = weight[weights.clone()].iter().map(|w| *w as u64).collect();
        let mut choices = Bits::default();
        (0..products.weight_bits()).for_each(|bit| choices.extend(&Bits::plane(&values, bit)));
        message.extend(choices.xor(&random).to_bytes());
        ctx.channel.send(Kind::OtExtension, message)?;

        let message = ctx.channel.receive(Kind::Comparison, products.vector_bytes(&weights, positions) as usize)?;
        let mut rest = &message[..];
        let elements = products.elements(&weights, positions);
        for bit in 0..products.weight_bits() {
            let width = products.acc_bits() - bit;
            let (part, after) = rest.split_at(packed_bytes(elements, width) as usize);
            rest = after;
            let masked = unpack(part, elements, width)?;
            let mut start = 0;
            let starts: Vec<usize> = weights
                .clone()
                .map(|weight| {
                    start += positions * products.places(weight).count();
                    start
                })
                .collect();
            let vectors: Vec<Vec<u64>> = starts
                .par_iter()
                .enumerate()
                .map(|(index, end)| {
                    let begin = if index == 0 { 0 } else { starts[index - 1] };
                    let chosen = (values[index] >> bit & 1).wrapping_neg();
                    let pads = stretch(seeds[usize::from(bit) * weights.len() + index]);
                    masked[begin..*end].iter().zip(pads).map(|(e, pad)| pad.wrapping_add(e & chosen)).collect()
                })
                .collect();
            accumulate(products, positions, &weights, bit, vectors.into_iter(), &mut result);
        }
    }
    result.iter_mut().for_each(|y| *y &= mask(products.acc_bits()));
    Ok(result)
}

/// The elements of all positions that a weight is multiplied with.
fn elements<'x>(products: &Products, positions: usize, weight: usize, x: &'x [u64]) -> impl Iterator<Item = u64> + 'x {
    let places: Vec<usize> = products.places(weight).map(|(element, _)| element).collect();
    let len = products.geometry().input_len();
    (0..positions).flat_map(move |position| places.clone().into_iter().map(move |place| x[position * len + place]))
}

/// Adds `2^bit` times every weight's vector to what it contributes to; the highest bit of a weight
/// counts negative.
fn accumulate(
    products: &Products,
    positions: usize,
    weights: &Range<usize>,
    bit: u8,
    vectors: impl Iterator<Item = Vec<u64>>,
    result: &mut [u64],
) {
    let len = products.geometry().output_len();
    let negative = bit + 1 == products.weight_bits();
    let factor = if negative { (1u64 << bit).wrapping_neg() } else { 1 << bit };
    for (weight, vector) in weights.clone().zip(vectors) {
        let places: Vec<usize> = products.places(weight).map(|(_, place)| place).collect();
        let mut vector = vector.into_iter();
        for position in 0..positions {
            for (place, value) in places.iter().zip(vector.by_ref()) {
                let sum = &mut result[position * len + place];
                *sum = sum.wrapping_add(value.wrapping_mul(factor));
            }
        }
    }
}

/// Words stretched from a seed: AES-128 in counter mode.
fn stretch(seed: u128) -> impl Iterator<Item = u64> {
    const BLOCKS: u128 = 32;
    let cipher = Aes128Enc::new(&seed.to_le_bytes().into());
    (0u128..).step_by(BLOCKS as usize).flat_map(move |first| {
        let mut blocks: [Block; BLOCKS as usize] = std::array::from_fn(|i| (first + i as u128).to_le_bytes().into());
        cipher.encrypt_blocks(&mut blocks);
        blocks.into_iter().flat_map(|block| {
            let block = u128::from_le_bytes(block.into());
            [block as u64, (block >> 64) as u64]
        })
    })
}
