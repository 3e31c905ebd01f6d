//! Output packing at the server: sums, as they become ready, go through a tree for each result.

use std::ops::Range;

use rayon::prelude::*;

use super::layer::{Downloads, Layer};
use crate::ring::{Spectrum, Sums};
use crate::rlwe::{Ciphertext, Tree};

/// Sums that are ready: for every position those with consecutive numbers.
pub(super) struct Block<'a> {
    pub(super) sums: &'a Sums,
    /// Number of the first, and how many there are.
    pub(super) first: usize,
    pub(super) count: usize,
    /// Of each unit.
    pub(super) tiles: usize,
}

/// Of every position the result that is begun but not complete, if there is one.
pub(super) struct Trees<'a> {
    begun: Vec<Option<Begun<'a>>>,
}

/// A result that sums are still added to, and where it belongs.
struct Begun<'a> {
    tree: Tree,
    bytes: [&'a mut [u8]; 2],
}

/// Consecutive sums that belong to one result of each of some positions.
struct Part<'a> {
    positions: Range<usize>,
    result: usize,
    numbers: Range<usize>,
    begun: Vec<Option<Begun<'a>>>,
}

/// Sums that are gathered at once: neighbours lie side by side.
const AT_ONCE: usize = 4;

impl Trees<'_> {
    /// Nothing begun, for so many positions.
    pub(super) fn new(positions: usize) -> Trees<'static> {
        Trees { begun: (0..positions).map(|_| None).collect() }
    }
}

impl Layer<'_> {
    /// Packs a block, the next after all before it, and writes the results that are complete.
    pub(super) fn interleave<'b>(
        &self,
        block: &Block,
        share: &[u64],
        trees: &mut Trees<'b>,
        downloads: &mut Downloads<'b>,
    ) {
        let levels = self.packing.levels();
        let end = block.first + block.count;
        let positions_at_once = (AT_ONCE / block.tiles).max(1);
        let mut parts = Vec::new();
        for first in (0..self.keys.len()).step_by(positions_at_once) {
            let positions = first..self.keys.len().min(first + positions_at_once);
            for result in block.first >> levels..end.div_ceil(1 << levels) {
                let numbers = (result << levels).max(block.first)..((result + 1) << levels).min(end);
                let begun = positions.clone().map(|position| {
                    let begin = || Begun { tree: Tree::default(), bytes: downloads.next(position, result) };
                    Some(trees.begun[position].take().unwrap_or_else(begin))
                });
                let begun = begun.collect();
                parts.push(Part { positions: positions.clone(), result, numbers, begun });
            }
        }
        parts.par_iter_mut().for_each(|part| self.interleave_part(block, share, part));
        for part in parts {
            part.positions.zip(part.begun).for_each(|(position, begun)| trees.begun[position] = begun);
        }
    }

    fn interleave_part(&self, block: &Block, share: &[u64], part: &mut Part) {
        let (levels, tiles, rows) = (self.packing.levels(), block.tiles, self.keys.len() * block.tiles);
        let mut sums: Vec<[Spectrum; 2]> = Vec::new();
        let mut number = part.numbers.start;
        while number < part.numbers.end {
            let (unit, tile) = ((number - block.first) / tiles, (number - block.first) % tiles);
            // A position that is alone has all its sums side by side, others those of a unit.
            let neighbours = if rows == tiles { AT_ONCE } else { AT_ONCE.min(tiles - tile) };
            let neighbours = neighbours.min(part.numbers.end - number);
            let count = (part.positions.len() - 1) * tiles + neighbours;
            sums.resize_with(count.max(sums.len()), || [Spectrum::zero(), Spectrum::zero()]);
            block.sums.get(unit * rows + part.positions.start * tiles + tile, &mut sums[..count]);
            for (i, position) in part.positions.clone().enumerate() {
                let Some(begun) = &mut part.begun[i] else { continue };
                for sum in &mut sums[i * tiles..][..neighbours] {
                    let sum = std::mem::replace(sum, [Spectrum::zero(), Spectrum::zero()]);
                    begun.tree.push(Ciphertext::from_components(sum), levels, &self.keys[position]);
                }
            }
            number += neighbours;
        }
        if part.numbers.end == self.packing.sums().min((part.result + 1) << levels) {
            for (position, begun) in part.positions.clone().zip(&mut part.begun) {
                let Some(Begun { mut tree, mut bytes }) = begun.take() else { continue };
                let mut packed = tree.finish(levels, &self.keys[position]);
                self.mask(position, part.result, &mut packed, share, &mut bytes);
            }
        }
    }
}
