//! Output packing at the server: sums, as they become ready, go through a tree for each result.

use std::ops::Range;

use rayon::prelude::*;

use super::server::{Downloads, Layer};
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

/// Consecutive sums of one position that belong to one result.
struct Part<'a> {
    position: usize,
    result: usize,
    numbers: Range<usize>,
    begun: Option<Begun<'a>>,
}

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
        let mut parts = Vec::new();
        for (position, begun) in trees.begun.iter_mut().enumerate() {
            for result in block.first >> levels..end.div_ceil(1 << levels) {
                let numbers = (result << levels).max(block.first)..((result + 1) << levels).min(end);
                let begin = || Begun { tree: Tree::default(), bytes: downloads.next(position, result) };
                let begun = Some(begun.take().unwrap_or_else(begin));
                parts.push(Part { position, result, numbers, begun });
            }
        }
        parts.par_iter_mut().for_each(|part| self.interleave_part(block, share, part));
        for part in parts {
            trees.begun[part.position] = part.begun;
        }
    }

    fn interleave_part(&self, block: &Block, share: &[u64], part: &mut Part) {
        let (key, levels) = (&self.keys[part.position], self.packing.levels());
        let Some(begun) = &mut part.begun else { return };
        let rows = self.keys.len() * block.tiles;
        for number in part.numbers.clone() {
            let (unit, tile) = ((number - block.first) / block.tiles, (number - block.first) % block.tiles);
            let mut sum = [[Spectrum::zero(), Spectrum::zero()]];
            block.sums.get(unit * rows + part.position * block.tiles + tile, &mut sum);
            let [sum] = sum;
            begun.tree.push(Ciphertext::from_components(sum), levels, key);
        }
        if part.numbers.end == self.packing.sums().min((part.result + 1) << levels) {
            let mut packed = begun.tree.finish(levels, key);
            self.mask(part.position, part.result, &mut packed, share, &mut begun.bytes);
            part.begun = None;
        }
    }
}
