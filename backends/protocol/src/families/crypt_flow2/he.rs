//! Linear layers over packed ciphertexts with rotations: where every element sits ([`Slots`]),
//! which modulus holds the result, how much noise may grow, and what goes over the wire.
//!
//! As in Gazelle (Juvekar, Vaikuntanathan, Chandrakasan, USENIX Security 2018) and in CrypTFlow2's
//! variant with homomorphic encryption, a plaintext is a vector of `N` numbers modulo a prime `p`,
//! in two rows that rotate. A product with a plaintext is elementwise; taps of a kernel read
//! rotated inputs, channels add up by rotations of sums.
//!
//! **From the field to the ring.** The client encrypts its share of the operand as signed integers.
//! `p` exceeds twice the largest magnitude that a sum of products can have with weights of their
//! width, so the client's part of the result is exact over the integers. It leaves masked by
//! numbers uniform modulo `p`; a millionaires' protocol on the two parts says where they wrapped,
//! and one word turns them into shares mod `2^acc`. (The paper's network stays in the field, and
//! pays for it in every comparison.) The server's own share needs no encryption.

use std::ops::Range;

use fusion_ir::Party;

use super::compare::{Mill, Schedule, Words};
use crate::compare::CHUNK;
use crate::linear::{Geometry, Refusal};
use crate::rlwe::{ERROR_FLIPS, SEED_BYTES};
use crate::{Cost, Primitive, packed_bytes};

/// Ring degree `N`.
pub const DEGREE: usize = 8192;

/// Slots of one of the two rows.
pub const ROW: usize = DEGREE / 2;

/// The primes whose product is the ciphertext modulus `q`: the four largest below 2^50 that are 1
/// mod `2N`. With `N = 8192`, `q < 2^200` and ternary secrets this is within the 128-bit row (218
/// bits) of the Homomorphic Encryption Standard (table 1).
pub const PRIMES: [u64; 4] = [0x3_ffff_ffff_c001, 0x3_ffff_fffc_c001, 0x3_ffff_ffef_4001, 0x3_ffff_ffe9_4001];

/// Bits of one coefficient modulo one prime on the wire.
pub const RESIDUE_BITS: u32 = 50;

/// Bytes of one polynomial modulo `q`.
pub const POLYNOMIAL_BYTES: usize = PRIMES.len() * DEGREE * RESIDUE_BITS as usize / 8;

/// Bits of a digit when a ciphertext is taken apart to change its key after a rotation.
pub const DIGIT_BITS: u32 = 25;

/// Digits of a polynomial: those of its residues.
pub const DIGITS: usize = PRIMES.len() * (RESIDUE_BITS / DIGIT_BITS) as usize;

/// Bits of the switched modulus beyond those of `p`, for the components `a` and `b` of a result.
pub const A_EXTRA_BITS: u8 = 10;
/// See [`A_EXTRA_BITS`].
pub const B_EXTRA_BITS: u8 = 6;

/// Positions that the server works on at once: they share encoded weights, and their rotated
/// operands are in memory together.
pub const POSITIONS_AT_ONCE: usize = 8;

/// Bits of the widest `p`: its switched coefficients fit a word.
pub const MAX_MODULUS_BITS: u8 = 64 - A_EXTRA_BITS;

/// The standard deviation of the flood is at least `2^HIDING_BITS` times that of the noise that
/// depends on weights.
pub const HIDING_BITS: f64 = 40.0;

/// Where the elements of one linear layer sit, for one position.
///
/// A stride of `s` splits the image into phases on which the convolution has stride 1: *virtual
/// channels*. The image of one, or a tile of it, takes a *block* of slots; a row holds
/// [`blocks`](Slots::blocks). A *period* of blocks holds the virtual channels of one group, as many
/// as fit; operand ciphertexts repeat it through both rows, so that every result channel of a
/// result ciphertext finds its operands. A result block reads [`diagonals`](Slots::diagonals)
/// blocks, its own and those after it; where that is not the whole period, a result is the sum of
/// [`parts`](Slots::parts) blocks, which the parties add up after decryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    geometry: Geometry,
    acc_bits: u8,
    modulus: u64,
    phases: Vec<[usize; 2]>,
    taps: Vec<Tap>,
    tiles: Vec<Tile>,
    pitch: usize,
    block: usize,
    period: usize,
    parts: usize,
}

/// A distance at which some kernel element reads: rows and columns of virtual images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tap {
    /// Rows.
    pub rows: isize,
    /// Columns.
    pub columns: isize,
}

/// A part of the result image that is computed at once. Its block's first slot is pixel `origin` of
/// virtual images and of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of the result.
    pub rows: Range<usize>,
    /// Columns of the result.
    pub columns: Range<usize>,
    /// Row and column of the block's first slot.
    pub origin: [isize; 2],
}

impl Slots {
    /// The layout of a layer with weights of `weight_bits`; refused where `p` would be too wide or
    /// the noise could not be hidden.
    pub fn of(geometry: &Geometry, acc_bits: u8, weight_bits: u8) -> Result<Slots, Refusal> {
        geometry.check()?;
        let terms = geometry.group()[0] * geometry.kernel[0] * geometry.kernel[1];
        let refused = Refusal::Flood { acc_bits, weight_bits, products: terms };
        // Shares are at most 2^(acc-1) in magnitude, weights 2^(weight-1).
        let twice = (terms as u128) << (u32::from(acc_bits) + u32::from(weight_bits) - 1);
        if twice >= 1 << MAX_MODULUS_BITS {
            return Err(refused);
        }
        let modulus = plaintext_modulus(twice as u64);
        let axes = [0, 1].map(|axis| distances(geometry, axis));
        let of = |axis: usize| -> Vec<usize> { sorted(axes[axis].iter().map(|(phase, _)| *phase)) };
        let phases = of(0).iter().flat_map(|row| of(1).into_iter().map(|column| [*row, column])).collect::<Vec<_>>();
        let along = |axis: usize| -> Vec<isize> { sorted(axes[axis].iter().map(|(_, distance)| *distance)) };
        let columns = along(1);
        let taps = along(0)
            .iter()
            .flat_map(|rows| columns.iter().map(|columns| Tap { rows: *rows, columns: *columns }))
            .collect();
        let (tiles, [rows, pitch]) = tiles(geometry, [&along(0), &columns]).ok_or(Refusal::Kernel)?;
        let block = (rows * pitch).next_power_of_two();
        let blocks = ROW / block;
        let [channels, _] = geometry.group();
        let period = (channels * phases.len()).next_power_of_two().min(blocks);
        let parts = match geometry.groups {
            1 => {
                let fits = |parts: &usize| *parts <= period && 2 * blocks / parts >= geometry.outputs;
                std::iter::successors(Some(1), |parts| Some(2 * parts)).take_while(fits).last().unwrap_or(1)
            }
            _ => period,
        };
        let slots =
            Slots { geometry: geometry.clone(), acc_bits, modulus, phases, taps, tiles, pitch, block, period, parts };
        if slots.modulus_bits() > MAX_MODULUS_BITS || slots.hiding_bits() < HIDING_BITS {
            Err(refused)
        } else {
            Ok(slots)
        }
    }

    /// The layer's shape.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Width of the result.
    pub fn acc_bits(&self) -> u8 {
        self.acc_bits
    }

    /// The plaintext modulus `p`.
    pub fn modulus(&self) -> u64 {
        self.modulus
    }

    /// Bits of `p`.
    pub fn modulus_bits(&self) -> u8 {
        (64 - self.modulus.leading_zeros()) as u8
    }

    /// Bits of a switched coefficient of a result's `a`.
    pub fn a_bits(&self) -> u8 {
        self.modulus_bits() + A_EXTRA_BITS
    }

    /// Bits of a switched coefficient of a result's `b`.
    pub fn b_bits(&self) -> u8 {
        self.modulus_bits() + B_EXTRA_BITS
    }

    /// Tiles of the result.
    pub fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// The distances that are read at, by rows and then columns.
    pub fn taps(&self) -> &[Tap] {
        &self.taps
    }

    /// From one row of an image to the next.
    pub fn pitch(&self) -> usize {
        self.pitch
    }

    /// Slots of a block.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Blocks of a row.
    pub fn blocks(&self) -> usize {
        ROW / self.block
    }

    /// Blocks that a result is the sum of.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Blocks that a result block reads in every operand ciphertext.
    pub fn diagonals(&self) -> usize {
        self.period / self.parts
    }

    /// Operand ciphertexts that every result sums over.
    pub fn summands(&self) -> usize {
        (self.geometry.group()[0] * self.phases.len()).div_ceil(self.period)
    }

    /// Result ciphertexts of one tile.
    pub fn results(&self) -> usize {
        (self.geometry.outputs * self.parts).div_ceil(2 * self.blocks())
    }

    /// Operand ciphertexts of one tile: with groups, each result has its own.
    pub fn operands(&self) -> usize {
        self.summands() * if self.geometry.groups == 1 { 1 } else { self.results() }
    }

    /// The operand ciphertext number `summand` of result ciphertext `result`.
    pub fn operand(&self, result: usize, summand: usize) -> usize {
        if self.geometry.groups == 1 { summand } else { result * self.summands() + summand }
    }

    /// The result channel of block `block` (`0..2 blocks`, row by row) of result ciphertext
    /// `result`; `None` past the last.
    pub fn output(&self, result: usize, block: usize) -> Option<usize> {
        let (period, place) = (block / self.period, block % self.period);
        let within = period * self.diagonals() + place % self.diagonals();
        Some(result * (2 * self.blocks() / self.parts) + within).filter(|output| *output < self.geometry.outputs)
    }

    /// The virtual channel of block `block` of operand ciphertext `operand`: its channel, and its
    /// phase.
    pub fn channel(&self, operand: usize, block: usize) -> Option<(usize, [usize; 2])> {
        let summand = operand % self.summands();
        let virtual_channel = summand * self.period + block % self.period;
        let (channel, phase) = (virtual_channel / self.phases.len(), virtual_channel % self.phases.len());
        let [channels, outputs] = self.geometry.group();
        // With groups, a block holds what the result of the same block reads.
        let group = match self.geometry.groups {
            1 => 0,
            _ => self.output(operand / self.summands(), block)? / outputs,
        };
        (channel < channels).then(|| (group * channels + channel, self.phases[phase]))
    }

    /// The element of the operand at a place of the block that holds `channel` at `phase` of a
    /// tile; `None` outside the image.
    pub fn element(
        &self,
        tile: &Tile,
        (channel, phase): (usize, [usize; 2]),
        [row, column]: [usize; 2],
    ) -> Option<usize> {
        let [_, height, width] = self.geometry.input;
        let at = |axis: usize, place: usize, extent: usize| {
            let place = usize::try_from(tile.origin[axis] + place as isize).ok()?;
            Some(place * self.geometry.strides[axis] + phase[axis]).filter(|at| *at < extent)
        };
        Some((channel * height + at(0, row, height)?) * width + at(1, column, width)?)
    }

    /// The kernel element `(row, column)` that reads `phase` at distance `tap`.
    pub fn kernel_element(&self, phase: [usize; 2], tap: Tap) -> Option<[usize; 2]> {
        let along = |axis: usize, distance: isize| {
            (0..self.geometry.kernel[axis]).find(|k| distance_of(&self.geometry, axis, *k) == (phase[axis], distance))
        };
        Some([along(0, tap.rows)?, along(1, tap.columns)?])
    }

    /// Steps that rows are rotated by, each to the left and below [`ROW`]: to reach every tap row
    /// by row and column by column, and from one diagonal to the next.
    pub fn steps(&self) -> Vec<usize> {
        let reach = |step: usize, distances: &mut dyn Iterator<Item = isize>| {
            let distances: Vec<isize> = distances.collect();
            let forward = distances.iter().any(|distance| *distance > 0).then_some(step % ROW);
            let backward = distances.iter().any(|distance| *distance < 0).then_some((ROW - step % ROW) % ROW);
            [forward, backward]
        };
        let rows = reach(self.pitch, &mut self.taps.iter().map(|tap| tap.rows));
        let columns = reach(1, &mut self.taps.iter().map(|tap| tap.columns));
        let diagonals = (self.diagonals() > 1).then_some(self.block % ROW);
        sorted(rows.into_iter().chain(columns).chain([diagonals]).flatten().filter(|step| *step > 0))
    }

    /// Bits of each of the three uniform summands of the flood.
    pub fn flood_bits(&self) -> u32 {
        197 - u32::from(self.modulus_bits())
    }

    /// Binary logarithm of the flood's standard deviation over that of the noise that depends on
    /// weights, at most.
    pub fn hiding_bits(&self) -> f64 {
        let error = f64::from(ERROR_FLIPS) / 2.0;
        let degree = DEGREE as f64;
        // Of a change of key: every digit times a fresh error.
        let change = DIGITS as f64 * degree * f64::from(2 * DIGIT_BITS).exp2() / 3.0 * error;
        let most = |distance: &dyn Fn(&Tap) -> isize| {
            self.taps.iter().map(|tap| distance(tap).unsigned_abs()).max().unwrap_or(0)
        };
        let changes = (most(&|tap| tap.rows) + most(&|tap| tap.columns)) as f64;
        let operand = error + 1.0 / 12.0 + changes * change;
        // A plaintext polynomial has coefficients of at most p / 2.
        let products = (self.summands() * self.taps.len() * self.diagonals()) as f64;
        let product = degree * (self.modulus as f64 / 2.0).powi(2) * operand;
        let rerandomisation = 2.0 * degree * (2.0 / 3.0) * error;
        let weighted = products * product + self.diagonals() as f64 * change + rerandomisation;
        f64::from(self.flood_bits() - 1) - weighted.log2() / 2.0
    }

    /// Bytes that one position uploads: the seed, then `b` of every operand of every tile.
    pub fn upload_bytes(&self) -> usize {
        SEED_BYTES + self.tiles.len() * self.operands() * POLYNOMIAL_BYTES
    }

    /// Bytes of one result: `a`, then `b`.
    pub fn result_bytes(&self) -> usize {
        (packed_bytes(DEGREE, self.a_bits()) + packed_bytes(DEGREE, self.b_bits())) as usize
    }

    /// Bytes that one position downloads.
    pub fn download_bytes(&self) -> usize {
        self.tiles.len() * self.results() * self.result_bytes()
    }

    /// Bytes of one position's operands of a tile at the server, rotated to every tap.
    pub fn operand_memory_bytes(&self) -> u64 {
        2 * (self.operands() * self.taps.len()) as u64 * SPECTRUM_BYTES
    }

    /// How masked results become shares mod `2^acc`.
    pub fn conversion(&self) -> Schedule {
        let word = Words { client_chooses: vec![self.acc_bits - 1], ..Words::default() };
        Schedule { mills: vec![Mill { bits: usize::from(self.modulus_bits()) }], words: vec![word] }
    }

    /// The messages of the layer on a micro-batch of `positions`.
    pub fn cost(&self, positions: usize) -> Cost {
        let mut cost = Cost::default();
        cost.send(Party::Client, (positions * self.upload_bytes()) as u64);
        cost.send(Party::Server, (positions * self.download_bytes()) as u64);
        let tiles = self.tiles.len();
        let products = tiles * self.results() * self.summands() * self.taps.len() * self.diagonals();
        let reach = self.operands() * (self.taps.len() - 1) + self.results() * (self.diagonals() - 1);
        cost.compute(Primitive::PackedCiphertext, (positions * tiles * self.operands()) as u64);
        cost.compute(Primitive::PackedKernel, products as u64);
        cost.compute(Primitive::PackedProduct, (positions * products) as u64);
        cost.compute(Primitive::Rotation, (positions * tiles * reach) as u64);
        cost.compute(Primitive::PackedResult, (positions * tiles * self.results()) as u64);
        for chunk in conversion_chunks(positions * self.geometry.output_len()) {
            cost.then(&self.conversion().chunk(chunk.len()));
        }
        cost
    }
}

/// The chunks in which `n` masked results become shares.
pub fn conversion_chunks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(CHUNK).map(move |start| start..n.min(start + CHUNK))
}

/// The steps that the rotations of all given layers need together.
pub fn steps<'a>(layers: impl IntoIterator<Item = &'a Slots>) -> Vec<usize> {
    sorted(layers.into_iter().flat_map(Slots::steps))
}

/// Bytes of the keys of one sample: its public key, and for every step of a rotation one polynomial
/// for each digit, after the seed of all that are uniform.
pub fn key_bytes(steps: usize) -> usize {
    SEED_BYTES + (1 + steps * DIGITS) * POLYNOMIAL_BYTES
}

/// Bytes that the server keeps of one sample's keys, as transforms in words.
pub fn key_memory_bytes(steps: usize) -> u64 {
    2 * (1 + steps * DIGITS) as u64 * SPECTRUM_BYTES
}

/// Bytes of a polynomial's transform in words.
const SPECTRUM_BYTES: u64 = (PRIMES.len() * DEGREE * 8) as u64;

/// The least prime above `least` that is 1 mod `2N` and with which transforms are fast.
fn plaintext_modulus(least: u64) -> u64 {
    // The transform's library has no correct path for some primes in between.
    const GAP: Range<u64> = 1 << 50..1 << 51;
    let order = 2 * DEGREE as u64;
    let above = |least: u64| {
        let mut candidates = (least / order + 1..).map(|k| k * order + 1);
        candidates.find(|n| is_prime(*n)).expect("primes are dense")
    };
    match above(least.max(1 << 20)) {
        prime if GAP.contains(&prime) => above(GAP.end),
        prime => prime,
    }
}

/// Whether `n`, odd and below 2^63, is prime: Miller and Rabin's test with bases that suffice for
/// 64 bits (Sorenson and Webster 2015).
fn is_prime(n: u64) -> bool {
    let multiply = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(n)) as u64;
    let twos = (n - 1).trailing_zeros();
    [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37].into_iter().filter(|base| base % n != 0).all(|base| {
        let (mut power, mut square, mut exponent) = (1, base % n, (n - 1) >> twos);
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = multiply(power, square);
            }
            square = multiply(square, square);
            exponent >>= 1;
        }
        let mut witness = power != 1;
        for _ in 0..twos {
            witness &= power != n - 1;
            power = multiply(power, power);
        }
        !witness
    })
}

/// The phase that kernel row or column `k` reads, and how far from the output's place.
fn distance_of(geometry: &Geometry, axis: usize, k: usize) -> (usize, isize) {
    let (at, stride) =
        ((k * geometry.dilations[axis]) as isize - geometry.pads[axis] as isize, geometry.strides[axis] as isize);
    (at.rem_euclid(stride) as usize, at.div_euclid(stride))
}

fn distances(geometry: &Geometry, axis: usize) -> Vec<(usize, isize)> {
    (0..geometry.kernel[axis]).map(|k| distance_of(geometry, axis, k)).collect()
}

/// The tiles of the result, as few as possible, and the rows and columns of their blocks; `None` if
/// not even one pixel fits.
fn tiles(geometry: &Geometry, taps: [&[isize]; 2]) -> Option<(Vec<Tile>, [usize; 2])> {
    let output = geometry.output();
    let image = [0, 1].map(|axis| geometry.input[axis + 1].div_ceil(geometry.strides[axis]));
    let before = taps.map(|taps| taps.iter().copied().min().unwrap_or(0).min(0));
    let after = taps.map(|taps| taps.iter().copied().max().unwrap_or(0).max(0));
    // A whole image needs no padding: what is read outside is a product with zero.
    let extent = |axis: usize, size: usize| match size == output[axis] {
        true => image[axis].max(output[axis]),
        false => size + (after[axis] - before[axis]) as usize,
    };
    let sizes = |axis: usize| {
        let n = output[axis];
        std::iter::successors(Some(n), move |&size| (size > 1).then(|| n.div_ceil(n.div_ceil(size - 1))))
    };
    let candidates = sizes(0).flat_map(|rows| sizes(1).map(move |columns| [rows, columns]));
    let fits = |[rows, columns]: &[usize; 2]| extent(0, *rows) * extent(1, *columns) <= ROW;
    let count = |[rows, columns]: &[usize; 2]| output[0].div_ceil(*rows) * output[1].div_ceil(*columns);
    let size = candidates.filter(fits).min_by_key(|size| (count(size), extent(0, size[0]) * extent(1, size[1])))?;
    let along = |axis: usize| {
        (0..output[axis]).step_by(size[axis]).map(move |start| start..output[axis].min(start + size[axis]))
    };
    let origin = |axis: usize, start: usize| if size[axis] == output[axis] { 0 } else { start as isize + before[axis] };
    let mut tiles = Vec::new();
    for rows in along(0) {
        for columns in along(1) {
            let origin = [origin(0, rows.start), origin(1, columns.start)];
            tiles.push(Tile { rows: rows.clone(), columns, origin });
        }
    }
    Some((tiles, [extent(0, size[0]), extent(1, size[1])]))
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primes_are_the_largest_of_their_form() {
        let order = 2 * DEGREE as u64;
        let candidates = (1..(1u64 << RESIDUE_BITS) / order).rev().map(|k| k * order + 1);
        assert_eq!(candidates.filter(|n| is_prime(*n)).take(4).collect::<Vec<_>>(), PRIMES);
        let trial = |n: u64| (2..n).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        assert!((3..20_001).step_by(2).all(|n| is_prime(n) == trial(n)));
    }

    #[test]
    fn moduli_hold_what_they_must_and_avoid_the_gap() {
        for least in [1, 1 << 30, (1 << 50) - 5, 1 << 50, (1 << 51) - 1, 1 << 53] {
            let modulus = plaintext_modulus(least);
            assert!(modulus > least && modulus % (2 * DEGREE as u64) == 1 && is_prime(modulus));
            assert!(!(1 << 50..1 << 51).contains(&modulus));
        }
    }

    #[test]
    fn every_result_reads_every_channel_once() {
        let square = |channels, size, outputs, kernel, stride, pad, groups| Geometry {
            input: [channels, size, size],
            outputs,
            kernel: [kernel; 2],
            strides: [stride; 2],
            pads: [pad; 4],
            dilations: [1; 2],
            groups,
        };
        for geometry in [
            square(16, 32, 16, 3, 1, 1, 1),
            square(3, 9, 70, 3, 2, 1, 1),
            square(100, 8, 10, 1, 1, 0, 1),
            square(12, 14, 12, 3, 2, 1, 12),
            square(12, 10, 24, 3, 1, 1, 4),
            square(2, 90, 3, 3, 1, 1, 1),
            Geometry::dense(700, 30),
        ] {
            let slots = Slots::of(&geometry, 24, 8).unwrap();
            let blocks = slots.blocks();
            let [channels, outputs] = geometry.group();
            let mut read = vec![0u32; geometry.outputs * geometry.input[0] * 9];
            for result in 0..slots.results() {
                for block in 0..2 * blocks {
                    let Some(output) = slots.output(result, block) else { continue };
                    for summand in 0..slots.summands() {
                        for diagonal in 0..slots.diagonals() {
                            let from = block / blocks * blocks + (block % blocks + diagonal) % blocks;
                            let operand = slots.operand(result, summand);
                            let Some((channel, phase)) = slots.channel(operand, from) else { continue };
                            assert_eq!(channel / channels, output / outputs);
                            read[(output * geometry.input[0] + channel) * 9 + phase[0] * 3 + phase[1]] += 1;
                        }
                    }
                }
            }
            let expected = geometry.outputs * channels * slots.phases.len();
            assert!(read.iter().all(|n| *n <= 1) && read.iter().sum::<u32>() as usize == expected, "{geometry:?}");
        }
    }

    #[test]
    fn wide_sums_are_refused() {
        assert!(Slots::of(&Geometry::dense(4608, 10), 28, 12).is_ok());
        assert!(Slots::of(&Geometry::dense(4608, 10), 34, 12).is_err());
    }
}
