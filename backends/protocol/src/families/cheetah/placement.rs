//! How the groups of a grouped convolution share polynomials.
//!
//! An operand polynomial is cut into blocks, and holds group `g` at block `a(g)`. A kernel
//! polynomial holds the kernels of some of these groups, that of group `g` shifted by `k(g)`
//! blocks: the product of operand `h` with kernel `g` lands at block `a(h) + k(g)`, and what is
//! wanted, that of operand and kernel `g`, must lie alone. Groups whose products would meet take
//! *turns*: they share operand polynomials, but neither kernel nor result polynomials.
//!
//! One turn is enough if `k = a` and no three `a` are in arithmetic progression. But operands are
//! dearer than results, and with several turns an operand polynomial holds more groups: those
//! placements are found by a greedy search.

use super::progression::progression_free;

/// The most blocks for which there is a search: the bits of a [`Blocks`].
const MOST_BLOCKS: usize = 128;
/// Pseudorandom sets of blocks that are tried for each number of groups.
const TRIALS: u64 = 4;

/// A set of blocks.
type Blocks = u128;

/// How many groups share operand polynomials, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// The block of each group.
    pub(super) operands: Vec<usize>,
    /// The groups of each result polynomial, by number, and the shifts of their kernels in blocks.
    pub(super) turns: Vec<Vec<(usize, isize)>>,
}

impl Placement {
    /// One group alone.
    pub(super) fn single() -> Placement {
        Placement { operands: vec![0], turns: vec![vec![(0, 0)]] }
    }

    /// At most `most` groups that take a single turn, in `blocks` blocks.
    pub(super) fn one_turn(blocks: usize, most: usize) -> Placement {
        let operands: Vec<usize> = progression_free(blocks.div_ceil(2)).into_iter().take(most).collect();
        let turn = operands.iter().enumerate().map(|(group, &block)| (group, block as isize)).collect();
        Placement { operands, turns: vec![turn] }
    }

    /// `groups` groups in the same block, which something else keeps apart; each takes a turn of
    /// its own.
    pub(super) fn side_by_side(groups: usize) -> Placement {
        Placement { operands: vec![0; groups], turns: (0..groups).map(|group| vec![(group, 0)]).collect() }
    }

    /// Placements of exactly `groups` groups in `blocks` blocks; `closed` says that the blocks fill
    /// the polynomial, so that what leaves at one end comes in again at the other as a whole block.
    pub(super) fn search(blocks: usize, closed: bool, groups: usize) -> impl Iterator<Item = Placement> {
        let sets = if blocks <= MOST_BLOCKS && groups <= blocks { TRIALS } else { 0 };
        (0..sets).map(move |trial| Placement::greedy(blocks, closed, subset(blocks, groups, trial)))
    }

    /// Turns for groups at the given blocks: each takes the group and shift that spoil the fewest
    /// blocks, as long as there is one.
    fn greedy(blocks: usize, closed: bool, operands: Vec<usize>) -> Placement {
        let shifts: Vec<Shift> =
            (1 - blocks as isize..blocks as isize).map(|by| Shift::new(by, blocks, closed, &operands)).collect();
        let mut waiting: Vec<usize> = (0..operands.len()).collect();
        let mut turns = Vec::new();
        while !waiting.is_empty() {
            let (mut turn, mut spoilt, mut wanted): (Vec<_>, Blocks, Blocks) = (Vec::new(), 0, 0);
            loop {
                let pairs = waiting.iter().flat_map(|&group| shifts.iter().map(move |shift| (group, shift)));
                let fitting = pairs.filter(|(group, shift)| {
                    let result = shift.result(operands[*group], blocks);
                    result != 0 && result & (spoilt | shift.twice) == 0 && shift.once & wanted == 0
                });
                let best = fitting.min_by_key(|(_, shift)| (shift.once & !spoilt).count_ones());
                let Some((group, shift)) = best else { break };
                turn.push((group, shift.by));
                spoilt |= shift.once;
                wanted |= shift.result(operands[group], blocks);
                waiting.retain(|&other| other != group);
            }
            // Alone, a group always fits: its kernel is not shifted.
            turns.push(turn);
        }
        Placement { operands, turns }
    }
}

/// What a kernel shifted by `by` blocks makes of all operands.
struct Shift {
    by: isize,
    /// Blocks that some product meets.
    once: Blocks,
    /// Blocks that two products meet.
    twice: Blocks,
}

impl Shift {
    fn new(by: isize, blocks: usize, closed: bool, operands: &[usize]) -> Shift {
        let (mut once, mut twice) = (0, 0);
        for &operand in operands {
            let (at, count) = (operand as isize + by, blocks as isize);
            // Past an end that is not the polynomial's, a product comes in again between two
            // blocks.
            let met = match at {
                0.. if at < count => [at, at],
                0.. => [at - count - isize::from(!closed), at - count],
                _ => [at + count, at + count + isize::from(!closed)],
            };
            let met = met.into_iter().filter(|at| (0..count).contains(at)).fold(0, |met, at| met | 1 << at);
            twice |= once & met;
            once |= met;
        }
        Shift { by, once, twice }
    }

    /// The block of the result of the operand at `operand`; none if it leaves at an end.
    fn result(&self, operand: usize, blocks: usize) -> Blocks {
        let at = operand as isize + self.by;
        if (0..blocks as isize).contains(&at) { 1 << at } else { 0 }
    }
}

/// `count` of `blocks` blocks, ascending: the first ones, or pseudorandom ones.
fn subset(blocks: usize, count: usize, trial: u64) -> Vec<usize> {
    let mut all: Vec<usize> = (0..blocks).collect();
    let mut state = trial;
    for i in 0..if trial == 0 { 0 } else { count } {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        all.swap(i, i + (state >> 33) as usize % (blocks - i));
    }
    all.truncate(count);
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that every group has one turn, and that what it wants lies alone: blocks of length
    /// `length` in a ring of `degree`.
    fn check(placement: &Placement, length: isize, degree: isize) {
        let mut seen = vec![false; placement.operands.len()];
        for turn in &placement.turns {
            for &(group, shift) in turn {
                assert!(!std::mem::replace(&mut seen[group], true));
                let result = placement.operands[group] as isize + shift;
                assert!((0..degree / length).contains(&result));
                for &(other, other_shift) in turn {
                    for (operand, &block) in placement.operands.iter().enumerate() {
                        let apart = ((block as isize + other_shift - result) * length).rem_euclid(degree);
                        let same = (operand, other) == (group, group);
                        assert!(same || apart.min(degree - apart) >= length, "{placement:?}");
                    }
                }
            }
        }
        assert!(seen.into_iter().all(|seen| seen));
    }

    #[test]
    fn what_is_wanted_lies_alone() {
        for (length, degree) in [(64, 4096), (225, 4096), (841, 4096), (100, 4096), (1, 16), (4096, 4096), (33, 4096)] {
            let blocks = (degree / length) as usize;
            check(&Placement::single(), length, degree);
            check(&Placement::one_turn(blocks, 1000), length, degree);
            for groups in (1..=blocks).step_by(blocks.div_ceil(5)) {
                for placement in Placement::search(blocks, degree % length == 0, groups) {
                    assert_eq!(placement.operands.len(), groups);
                    check(&placement, length, degree);
                }
            }
        }
    }
}
