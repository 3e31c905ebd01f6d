//! Coefficient packing: where every element of operand, kernel and result sits.
//!
//! Let `X_v` be the image of virtual channel `v` (a channel's stride phase), `i(W) + j` the
//! coefficient of its pixel `(i, j)` at row pitch `W`, and `S` the block that one image takes,
//! zeros for padding included. An operand polynomial holds `C` virtual channels, a result
//! polynomial `M` result channels:
//!
//! - operand pixel `(v, i, j)` at `v S + iW + j`,
//! - kernel tap `(m, v)` that reads `(dy, dx)` away from the output at
//!   `(mC + C-1-v) S - (dy W + dx)`, where `X^N = -1`,
//! - result `(m, i, j)` at `(mC + C-1) S + iW + j`,
//!
//! and `C M S <= N`. One zero margin per row and per block serves as padding before and after
//! (Cheetah packs with `M = 1` and padding on both sides). A product of operand and kernel meets
//! other channels' terms only a multiple of `S` away from any wanted coefficient, and `S` exceeds
//! what a result can read, before or after.
//!
//! Groups add a term: group `g` of the several that share polynomials is shifted by `a(g)` in the
//! operand and by `k(g)` in the kernel, hence by `a(g) + k(g)` in the result; these are multiples
//! of `C M S` that [`Placement`] keeps apart. A fully connected layer is a convolution on one pixel
//! (`S = 1`). Images larger than a polynomial are cut into tiles of outputs, each with the inputs
//! that it reads; the kernel polynomials are the same for all tiles.
//!
//! With output packing all of this is the layout of polynomials of degree `N / D` in `X^D`, of
//! which a polynomial holds `D`: see [`interleaved`]. Groups that share polynomials then have
//! classes of their own instead of blocks.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::axis::Axis;
use super::interleaved::{self, MAX_LEVELS, SWITCH_BYTES};
use super::noise::{A_EXTRA_BITS, B_EXTRA_BITS, Noise};
use super::placement::Placement;
use crate::linear::{Geometry, Refusal, Shape};
use crate::packed_bytes;
use crate::rlwe::{DEGREE, MAX_ACC_BITS, POLYNOMIAL_BYTES, SEED_BYTES};

/// A search for places of groups leaves no more than this many blocks to one.
const SPARSEST: usize = 4;

/// Where the elements of one linear layer sit in polynomials of degree [`DEGREE`], for one
/// position.
///
/// A *unit* is what shares kernel polynomials. Sum `(unit, tile)`, number `unit * tiles() + tile`,
/// is one of [`products`](Packing::products) products:
/// `operand(first_operand(unit, tile) + k) * kernel(unit, k)` over `k`. Every `2^levels()` sums, in
/// order of their numbers, are packed into one result polynomial; without output packing a result
/// is a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    geometry: Geometry,
    acc_bits: u8,
    rows: Axis,
    columns: Axis,
    phases: Vec<Phase>,
    /// Row pitch `W`.
    pitch: usize,
    /// Block `S`.
    block: usize,
    /// Virtual channels of an operand polynomial, `C`.
    channels: usize,
    /// Result channels of a result polynomial, `M`.
    outputs: usize,
    /// The groups that share operand polynomials, in blocks of `C M S`.
    placement: Placement,
    /// Binary logarithm of `D`: the residue classes of exponents that channels are dealt out to.
    levels: u32,
}

/// Elements at equal distances, and the coefficients that hold them, at equal distances too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the first in the row-major tensor.
    pub element: usize,
    /// From one element to the next.
    pub step: usize,
    /// Index of the first in the polynomial.
    pub coefficient: usize,
    /// From one coefficient to the next.
    pub stride: usize,
    /// How many.
    pub len: usize,
}

impl Run {
    /// Every element's index and its coefficient's.
    pub fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.len).map(move |i| (self.element + i * self.step, self.coefficient + i * self.stride))
    }
}

/// An element of a kernel and the coefficient that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Index in the row-major tensor.
    pub element: usize,
    /// Index in the polynomial.
    pub coefficient: usize,
    /// Whether the coefficient is minus the element.
    pub negative: bool,
}

/// Finds the packings of a network's layers, many of which are alike.
#[derive(Clone, Debug, Default)]
pub struct Packings(BTreeMap<(Geometry, u8, u32), Arc<Packing>>);

impl Packings {
    /// The packing of a layer: [with output packing](Packing::packed) if that is asked for and the
    /// noise of it could be hidden, [without](Packing::of) otherwise. Refused where that could not
    /// be hidden either.
    pub fn find(&mut self, shape: &Shape, output_packing: bool) -> Result<Arc<Packing>, Refusal> {
        if output_packing && let Ok(packing) = self.hideable(shape, MAX_LEVELS) {
            return Ok(packing);
        }
        self.hideable(shape, 0)
    }

    /// The packing of a layer with at most so many levels; refused where the noise could not be
    /// hidden.
    pub(super) fn hideable(&mut self, shape: &Shape, most_levels: u32) -> Result<Arc<Packing>, Refusal> {
        let Shape { geometry, acc_bits, weight_bits } = shape;
        let packing = match self.0.entry((geometry.clone(), *acc_bits, most_levels)) {
            Entry::Occupied(found) => Arc::clone(found.get()),
            Entry::Vacant(place) => {
                Arc::clone(place.insert(Arc::new(Packing::search(geometry, *acc_bits, most_levels)?)))
            }
        };
        packing.noise(*weight_bits)?;
        Ok(packing)
    }
}

/// One phase of a strided convolution: the taps that read it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Phase {
    row: usize,
    column: usize,
    /// Index in the kernel window and distance `dy W + dx`.
    taps: Vec<(usize, isize)>,
}

impl Packing {
    /// The packing with the fewest bytes in which results are sums, of equal ones the one with the
    /// fewest products; the same at both parties.
    pub fn of(geometry: &Geometry, acc_bits: u8) -> Result<Packing, Refusal> {
        Packing::search(geometry, acc_bits, 0)
    }

    /// The packing with the fewest bytes if the server packs results, where every change of key
    /// counts as [`SWITCH_BYTES`]. Where none pays, that is the one [without](Packing::of). Keys
    /// are not counted: many layers share them.
    pub fn packed(geometry: &Geometry, acc_bits: u8) -> Result<Packing, Refusal> {
        Packing::search(geometry, acc_bits, MAX_LEVELS)
    }

    fn search(geometry: &Geometry, acc_bits: u8, most_levels: u32) -> Result<Packing, Refusal> {
        if acc_bits > MAX_ACC_BITS {
            return Err(Refusal::Accumulator(acc_bits));
        }
        geometry.check()?;
        if geometry.kernel[0] * geometry.kernel[1] > DEGREE {
            return Err(Refusal::Kernel);
        }
        let [height, width] = geometry.output();
        let group_outputs = geometry.group()[1];
        let mut best: Option<((usize, usize), Packing)> = None;
        for tile_columns in splits(width) {
            for tile_rows in splits(height) {
                let mut candidate = Packing::tiled(geometry, acc_bits, tile_rows, tile_columns);
                for levels in 0..=most_levels {
                    candidate.levels = levels;
                    let room = candidate.length() / candidate.block;
                    let blocks = candidate.group_channels().div_ceil(candidate.classes());
                    for channels in splits(blocks).filter(|&channels| channels <= room) {
                        let outputs = splits(group_outputs).filter(|outputs| channels * outputs <= room);
                        // Without groups, fewer result channels per polynomial only cost more.
                        let tried = if geometry.groups == 1 { 1 } else { usize::MAX };
                        for outputs in outputs.take(tried) {
                            candidate.set_blocks(channels, outputs, |candidate| {
                                let bytes = candidate.polynomial_bytes() + SWITCH_BYTES * candidate.switches();
                                let cost = (bytes, candidate.kernels() * candidate.tiles());
                                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                                    best = Some((cost, candidate.clone()));
                                }
                            });
                        }
                    }
                }
            }
        }
        best.map(|(_, packing)| packing).ok_or(Refusal::Kernel)
    }

    /// The noise of the layer with weights of `weight_bits`; refused if the flood could not hide
    /// it.
    pub fn noise(&self, weight_bits: u8) -> Result<Noise, Refusal> {
        Noise::new(self.acc_bits, weight_bits, self.terms(), self.levels)
    }

    /// The layer's shape.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Width of operand and result.
    pub fn acc_bits(&self) -> u8 {
        self.acc_bits
    }

    /// Levels of output packing: `2^levels` sums become one result. 0 if results are sums.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// Changes of key that pack the results.
    pub fn switches(&self) -> usize {
        interleaved::switches(self.sums(), self.levels)
    }

    /// Units: sets of sums with the same kernel polynomials.
    pub fn units(&self) -> usize {
        self.group_blocks() * self.group_units()
    }

    /// Units whose kernels have, taken together, all coefficients that kernels of any unit have.
    pub fn full_units(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.group_units()).step_by(self.output_blocks())
    }

    /// Sets of groups that share polynomials; each has as many units as any other.
    pub fn group_blocks(&self) -> usize {
        self.geometry.groups.div_ceil(self.placement.operands.len())
    }

    /// Tiles that an image is cut into.
    pub fn tiles(&self) -> usize {
        self.rows.tiles() * self.columns.tiles()
    }

    /// Products that one sum has.
    pub fn products(&self) -> usize {
        self.group_channels().div_ceil(self.channels * self.classes())
    }

    /// Operand polynomials.
    pub fn operands(&self) -> usize {
        self.group_blocks() * self.tiles() * self.products()
    }

    /// Sums of products.
    pub fn sums(&self) -> usize {
        self.units() * self.tiles()
    }

    /// Result polynomials.
    pub fn results(&self) -> usize {
        self.sums().div_ceil(self.classes())
    }

    /// Kernel polynomials.
    pub fn kernels(&self) -> usize {
        self.units() * self.products()
    }

    /// The most operand coefficients that one result coefficient sums.
    pub fn terms(&self) -> usize {
        let taps: usize = self.geometry.kernel.iter().product();
        let groups = self.placement.turns.iter().map(Vec::len).max().unwrap_or(0);
        groups * self.outputs * self.geometry.group()[0] * taps
    }

    /// Bytes of one position's encrypted operand: a seed, and `b` of every operand polynomial.
    pub fn upload_bytes(&self) -> usize {
        SEED_BYTES + self.operands() * POLYNOMIAL_BYTES
    }

    /// Bits of a returned coefficient of `a`.
    pub fn a_bits(&self) -> u8 {
        self.acc_bits + A_EXTRA_BITS
    }

    /// Bits of a returned coefficient of `b`.
    pub fn b_bits(&self) -> u8 {
        self.acc_bits + B_EXTRA_BITS
    }

    /// Bytes of all `a` of one position's result.
    pub fn a_bytes(&self) -> usize {
        packed_bytes(self.results() * DEGREE, self.a_bits()) as usize
    }

    /// Bytes of the wanted coefficients of `b` of one result polynomial.
    pub fn b_bytes(&self, result: usize) -> usize {
        packed_bytes(self.result_len(result), self.b_bits()) as usize
    }

    /// Bytes of one position's result: `a` of every result polynomial, then the wanted coefficients
    /// of `b` of each.
    pub fn download_bytes(&self) -> usize {
        self.a_bytes() + (0..self.results()).map(|result| self.b_bytes(result)).sum::<usize>()
    }

    /// How many elements a result polynomial holds.
    pub fn result_len(&self, result: usize) -> usize {
        self.members(result).map(|(_, unit, tile)| self.sum_len(unit, tile)).sum()
    }

    /// Index of the first of the [`products`](Packing::products) consecutive operand polynomials of
    /// a sum.
    pub fn first_operand(&self, unit: usize, tile: usize) -> usize {
        (unit / self.group_units() * self.tiles() + tile) * self.products()
    }

    /// What operand polynomial `index` holds of the operand `[C, H, W]`.
    pub fn operand(&self, index: usize) -> impl Iterator<Item = Run> + '_ {
        let (image, channel_block) = (index / self.products(), index % self.products());
        let (group_block, tile) = (image / self.tiles(), image % self.tiles());
        let [rows, columns] = self.tile(tile);
        let (rows, columns) = (self.rows.inputs(rows), self.columns.inputs(columns));
        let [_, height, width] = self.geometry.input;
        self.slots(group_block).flat_map(move |(group, place)| {
            let (rows, columns) = (rows.clone(), columns.clone());
            self.virtual_channels(group, channel_block).flat_map(move |([slot, class], channel, phase)| {
                let channel = group * self.geometry.group()[0] + channel;
                let base = place + slot * self.block;
                let stride = self.classes();
                let len = columns.clone().take_while(|&j| self.columns.image(phase.column, j).is_some()).count();
                let first = self.columns.image(phase.column, columns.start).unwrap_or(0);
                let filled = rows.clone().enumerate().filter(move |_| len > 0);
                filled.filter_map(move |(i, row)| {
                    let row = self.rows.image(phase.row, row)?;
                    let element = (channel * height + row) * width + first;
                    let coefficient = (base + i * self.pitch) * stride + class;
                    Some(Run { element, step: self.columns.stride(), coefficient, stride, len })
                })
            })
        })
    }

    /// What kernel polynomial `product` of `unit` holds of the kernel
    /// `[C_out, C_in / groups, kh, kw]`.
    pub fn kernel(&self, unit: usize, product: usize) -> impl Iterator<Item = Term> + '_ {
        let [group_block, turn, output_block] = self.unit(unit);
        let [group_channels, group_outputs] = self.geometry.group();
        let window: usize = self.geometry.kernel.iter().product();
        self.turn(group_block, turn).flat_map(move |(group, _, shift)| {
            self.block_outputs(output_block).flat_map(move |(slot, output)| {
                let output = group * group_outputs + output;
                self.virtual_channels(group, product).flat_map(move |([channel_slot, class], channel, phase)| {
                    let first = (output * group_channels + channel) * window;
                    let block = slot * self.channels + self.channels - 1 - channel_slot;
                    let base = shift + (block * self.block) as isize;
                    phase.taps.iter().map(move |&(tap, distance)| {
                        let exponent = (base - distance) * self.classes() as isize - class as isize;
                        let degree = DEGREE as isize;
                        Term {
                            element: first + tap,
                            coefficient: exponent.rem_euclid(degree) as usize,
                            negative: exponent.div_euclid(degree) % 2 != 0,
                        }
                    })
                })
            })
        })
    }

    /// What a result polynomial holds of the result `[C_out, H', W']`.
    pub fn result(&self, result: usize) -> impl Iterator<Item = Run> + '_ {
        let of = move |(class, unit, tile)| {
            self.sum(unit, tile).map(move |run| Run { coefficient: run.coefficient + class, ..run })
        };
        self.members(result).flat_map(of)
    }

    /// What sum `(unit, tile)` holds of the result `[C_out, H', W']`, all of it in class 0. It is
    /// wanted alone.
    pub fn sum(&self, unit: usize, tile: usize) -> impl Iterator<Item = Run> + '_ {
        let [group_block, turn, output_block] = self.unit(unit);
        let [tile_row, tile_column] = self.tile(tile);
        let (first_row, first_column) = (self.rows.inputs(tile_row).start, self.columns.inputs(tile_column).start);
        let (rows, columns) = (self.rows.outputs(tile_row), self.columns.outputs(tile_column));
        let [height, width] = self.geometry.output();
        self.turn(group_block, turn).flat_map(move |(group, place, shift)| {
            let (rows, columns) = (rows.clone(), columns.clone());
            self.block_outputs(output_block).flat_map(move |(slot, output)| {
                let output = group * self.geometry.group()[1] + output;
                let base = place.saturating_add_signed(shift) + (slot * self.channels + self.channels - 1) * self.block;
                let (columns, stride) = (columns.clone(), self.classes());
                rows.clone().map(move |i| Run {
                    element: (output * height + i) * width + columns.start,
                    step: 1,
                    coefficient: (base + (i - first_row) * self.pitch + (columns.start - first_column)) * stride,
                    stride,
                    len: columns.len(),
                })
            })
        })
    }

    /// The spatial part of a packing: tiles, pitch and block; one channel per polynomial.
    fn tiled(geometry: &Geometry, acc_bits: u8, tile_rows: usize, tile_columns: usize) -> Packing {
        let (rows, columns) = (Axis::new(geometry, 0, tile_rows), Axis::new(geometry, 1, tile_columns));
        let (vertical, horizontal) = (rows.extents(), columns.extents());
        let pitch = horizontal.filled_and_before.max(horizontal.end);
        // One past the last coefficient that a result reads, and one past the last stored
        // coefficient counted from the first that a result reads.
        let behind = (vertical.end.max(1) - 1) * pitch + horizontal.end;
        let before = (vertical.filled_and_before.max(1) - 1) * pitch + horizontal.filled_and_before;
        let mut phases: Vec<Phase> = Vec::new();
        for l in 0..geometry.kernel[0] {
            for q in 0..geometry.kernel[1] {
                let ((row, dy), (column, dx)) = (rows.tap(l), columns.tap(q));
                let tap = (l * geometry.kernel[1] + q, dy * pitch as isize + dx);
                match phases.iter_mut().find(|phase| (phase.row, phase.column) == (row, column)) {
                    Some(phase) => phase.taps.push(tap),
                    None => phases.push(Phase { row, column, taps: vec![tap] }),
                }
            }
        }
        Packing {
            geometry: geometry.clone(),
            acc_bits,
            rows,
            columns,
            phases,
            pitch,
            block: behind.max(before),
            channels: 1,
            outputs: 1,
            placement: Placement::single(),
            levels: 0,
        }
    }

    /// Every way to put `channels` virtual channels and `outputs` result channels of a group into a
    /// polynomial, and as many groups as fit.
    fn set_blocks(&mut self, channels: usize, outputs: usize, mut each: impl FnMut(&Packing)) {
        (self.channels, self.outputs, self.placement) = (channels, outputs, Placement::single());
        let (groups, blocks) = (self.geometry.groups, DEGREE / self.group_len());
        if self.levels > 0 {
            // As many whole groups as there are classes for, and no polynomial with far fewer.
            let most = (self.classes() / self.group_channels()).clamp(1, groups);
            self.placement = Placement::side_by_side(groups.div_ceil(groups.div_ceil(most)));
            return each(self);
        }
        if groups > 1 {
            self.placement = Placement::one_turn(blocks, groups);
        }
        each(self);
        // Only whole images: that leaves enough to search.
        let worth = |shared: usize| shared > 1 && shared <= blocks && shared * SPARSEST >= blocks && self.tiles() == 1;
        for shared in splits(groups).filter(|&shared| worth(shared)).collect::<Vec<_>>() {
            for placement in Placement::search(blocks, DEGREE.is_multiple_of(self.group_len()), shared) {
                self.placement = placement;
                each(self);
            }
        }
    }

    /// Residue classes of exponents, `D`.
    fn classes(&self) -> usize {
        1 << self.levels
    }

    /// Coefficients of a class, `N / D`.
    fn length(&self) -> usize {
        DEGREE >> self.levels
    }

    /// Virtual channels of a group.
    fn group_channels(&self) -> usize {
        self.geometry.group()[0] * self.phases.len()
    }

    /// The sums of a result polynomial: class, unit, tile.
    fn members(&self, result: usize) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let (tiles, levels) = (self.tiles(), self.levels);
        let numbers = result << levels..((result + 1) << levels).min(self.sums());
        let place = move |(index, number)| (interleaved::class(index, levels), number / tiles, number % tiles);
        numbers.enumerate().map(place)
    }

    /// How many elements sum `(unit, tile)` holds.
    fn sum_len(&self, unit: usize, tile: usize) -> usize {
        let [group_block, turn, output_block] = self.unit(unit);
        let [row, column] = self.tile(tile);
        let channels = self.turn(group_block, turn).count() * self.block_outputs(output_block).count();
        channels * self.rows.outputs(row).len() * self.columns.outputs(column).len()
    }

    /// Coefficients of a group in its classes.
    fn group_len(&self) -> usize {
        self.channels * self.outputs * self.block
    }

    /// Bytes that depend on the packing: `b` of the operands and `a` of the results.
    fn polynomial_bytes(&self) -> usize {
        self.operands() * POLYNOMIAL_BYTES + self.a_bytes()
    }

    /// Sets of a group's result channels that share polynomials.
    fn output_blocks(&self) -> usize {
        self.geometry.group()[1].div_ceil(self.outputs)
    }

    /// Row and column of a tile.
    fn tile(&self, tile: usize) -> [usize; 2] {
        [tile / self.columns.tiles(), tile % self.columns.tiles()]
    }

    /// Units of a set of groups.
    fn group_units(&self) -> usize {
        self.placement.turns.len() * self.output_blocks()
    }

    /// Set of groups, turn and set of result channels of a unit.
    fn unit(&self, unit: usize) -> [usize; 3] {
        let (group_block, rest) = (unit / self.group_units(), unit % self.group_units());
        [group_block, rest / self.output_blocks(), rest % self.output_blocks()]
    }

    /// The groups of a block, each with its place in the operand.
    fn slots(&self, group_block: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let places = self.placement.operands.iter().map(|block| block * self.group_len());
        (group_block * self.placement.operands.len()..self.geometry.groups).zip(places)
    }

    /// The groups of a block that have the given turn, each with its place in the operand and the
    /// shift of its kernel.
    fn turn(&self, group_block: usize, turn: usize) -> impl Iterator<Item = (usize, usize, isize)> + '_ {
        let first = group_block * self.placement.operands.len();
        let groups = self.placement.turns[turn].iter().filter(move |(slot, _)| first + slot < self.geometry.groups);
        let len = self.group_len();
        groups.map(move |&(slot, shift)| (first + slot, self.placement.operands[slot] * len, shift * len as isize))
    }

    /// The virtual channels of a group in a block: slot and class, channel within the group, phase.
    fn virtual_channels(&self, group: usize, block: usize) -> impl Iterator<Item = ([usize; 2], usize, &Phase)> + '_ {
        let per_block = self.channels * self.classes();
        let first = block * per_block;
        let end = (first + per_block).min(self.group_channels());
        // Groups that share polynomials side by side have one block each.
        let side = if self.levels > 0 { group % self.placement.operands.len() * self.group_channels() } else { 0 };
        (first..end).zip(side..).map(|(virtual_channel, at)| {
            let (channel, phase) = (virtual_channel / self.phases.len(), virtual_channel % self.phases.len());
            ([at / self.classes(), at % self.classes()], channel, &self.phases[phase])
        })
    }

    /// The result channels of a block: slot, result channel within the group.
    fn block_outputs(&self, block: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let first = block * self.outputs;
        (first..(first + self.outputs).min(self.geometry.group()[1])).enumerate()
    }
}

/// The distinct sizes `ceil(n / k)` of the largest of `k` parts, descending.
fn splits(n: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(n), move |&size| (size > 1).then(|| n.div_ceil(n.div_ceil(size - 1))))
}
