//! Decision trees: every test is a comparison with a private threshold, and the leaf that is
//! reached counts no test that leads elsewhere.
//!
//! ```text
//! tests   step(one private feature, once or twice, and a private threshold)
//! paths   the public forest: minus the number of tests on the way to each leaf that lead elsewhere
//! leaves  step(that): 1 for the leaf of each tree that is reached
//! digits  private sums of leaves, in digits no wider than weights; put together again locally
//! ```

use fusion_catalogue::rlwe::MAX_ACC_BITS;
use fusion_ir::input::ORDERED_BITS;
use fusion_ir::op::Op;
use fusion_ir::{InputFormat, Sign, TensorType, ValueId};

use super::{Lowered, Lowering};
use crate::nn::trees::{LARGEST, Test, Trees, unordered};
use crate::nn::{self, NodeId};

/// Width of the sums of leaves: the widest accumulator.
const SUM_BITS: u8 = MAX_ACC_BITS;
/// Sums of leaves stay below two to the power of this, so that their differences do not wrap.
const SUM_MAGNITUDE: u8 = SUM_BITS - 2;
/// Bits of a digit of a leaf. More products leave less room to hide their noise.
const DIGIT_BITS: [u8; 2] = [11, 8];
/// Leaves from which on digits are short.
const MANY_LEAVES: usize = 1 << 18;
/// Width of selections: factors of one and two.
const SELECTION_BITS: u8 = 3;

impl Lowering<'_> {
    /// An input of which only the order counts.
    pub(super) fn ordered_input(&mut self, node: &nn::Node) -> ValueId {
        let format = InputFormat { ordered: true, ..InputFormat::default() };
        let ty = TensorType {
            shape: node.shape.clone(),
            bits: ORDERED_BITS,
            frac: 0,
            magnitude: ORDERED_BITS - 1,
            sign: Sign::Any,
        };
        self.same(Op::Input(format), vec![], ty, node)
    }

    /// The trees' results for the features `x`.
    pub(super) fn trees(&mut self, id: NodeId, node: &nn::Node, x: ValueId, trees: &Trees) -> Lowered {
        let named = |part: &str| nn::Node { name: format!("{}.{part}", node.name), ..node.clone() };
        let extent = trees.forest.extent().ok_or("trees that are not whole")?;
        let tests = named("tests");
        let differences = self.differences(&tests, x, &trees.tests);
        // Minus the depth is the lowest number.
        let path_bits = extent.depth.max(2).next_power_of_two().trailing_zeros() as u8 + 1;
        let ty =
            TensorType { shape: vec![extent.tests], bits: path_bits, frac: 0, magnitude: 1, sign: Sign::NonNegative };
        let leaves = named("leaves");
        let all = if extent.tests == 0 {
            return Err("no tree tests anything: its result is a constant".into());
        } else {
            let truths = self.same(Op::Step, vec![differences], ty.clone(), &tests);
            let ty = TensorType { shape: vec![extent.leaves], magnitude: path_bits - 1, sign: Sign::Any, ..ty.clone() };
            self.same(Op::Paths(trees.forest.clone()), vec![truths], ty, &leaves)
        };
        let ty = TensorType { shape: vec![extent.leaves], bits: SUM_BITS, ..ty };
        let reached = self.same(Op::Step, vec![all], ty, &leaves);
        let sum = self.sums(node, &named("digits"), reached, trees);
        Ok(if self.wide.keeps[id.0] { self.kept(id, sum) } else { self.requant(sum, node) })
    }

    /// For every test, a number that is not negative exactly if it is true.
    fn differences(&mut self, node: &nn::Node, x: ValueId, tests: &[Test]) -> ValueId {
        let x = {
            let ty = self.ty(x).with_shape([self.ty(x).len()]);
            if self.ty(x).shape == ty.shape { x } else { self.same(Op::Reshape, vec![x], ty, node) }
        };
        let ordered = nn::trees::decide_alone(self.graph);
        let (bits, x) = match ordered {
            true => (ORDERED_BITS, x),
            false => {
                let bits = self.ty(x).bits + 1;
                (bits, self.extend(x, bits, node))
            }
        };
        let ty = self.ty(x).clone();
        let features = ty.len();
        let mut selection = vec![0i64; tests.len() * features];
        let mut thresholds = Vec::with_capacity(tests.len());
        for (row, test) in selection.chunks_exact_mut(features).zip(tests) {
            let (factor, threshold) =
                if ordered { by_order(test) } else { (-1, at_format(test, ty.frac, ty.bits - 1)) };
            // x > t is the complement, -1 - (t - x).
            let (factor, threshold) = if test.above { (-factor, -1 - threshold) } else { (factor, threshold) };
            row[test.feature] = factor;
            thresholds.push(threshold);
        }
        let shape = vec![tests.len(), features];
        let weight = self.weight(format!("{}.features", node.name), shape, SELECTION_BITS, 0, selection);
        let name = format!("{}.thresholds", node.name);
        let bias = Some(self.weight(name, vec![tests.len()], bits, ty.frac, thresholds));
        let ty = TensorType { shape: vec![tests.len()], bits, magnitude: bits - 1, sign: Sign::Any, ..ty };
        self.same(Op::Dense { weight, bias }, vec![x], ty, node)
    }

    /// For every result its base and the leaves that are `reached`.
    fn sums(&mut self, node: &nn::Node, digits: &nn::Node, reached: ValueId, trees: &Trees) -> ValueId {
        let largest = trees.ranges().iter().flatten().fold(0f64, |most, end| most.max(end.abs()));
        let leaf = trees.leaves.iter().chain(&trees.base).fold(0f64, |most, leaf| most.max(leaf.abs()));
        // Roundings of all trees together, and a bit for what the range itself is rounded by.
        let room = f64::from(SUM_MAGNITUDE).exp2() - trees.forest.0.len() as f64 - 2.0;
        let fits = |frac: &i8| largest.max(leaf) * f64::from(*frac).exp2() < room;
        let frac = (-60..=60).rev().find(fits).unwrap_or(-60);
        let count = trees.leaves.ncols();
        let digit_bits = DIGIT_BITS[usize::from(count >= MANY_LEAVES)];
        let places = usize::from((SUM_MAGNITUDE + 1).div_ceil(digit_bits));
        let results = trees.base.len();
        let integer = |real: &f64| (real * f64::from(frac).exp2()).round() as i64;
        let mut weight = vec![0i64; places * results * count];
        for (at, leaf) in trees.leaves.iter().enumerate() {
            let mut rest = integer(leaf);
            for place in 0..places {
                let low = if place + 1 == places { rest } else { lowest_digit(rest, digit_bits) };
                weight[place * results * count + at] = low;
                rest = (rest - low) >> digit_bits;
            }
        }
        let mut bias = vec![0i64; places * results];
        bias[..results].iter_mut().zip(&trees.base).for_each(|(bias, base)| *bias = integer(base));
        let rows = places * results;
        let weight = self.weight(format!("{}.values", digits.name), vec![rows, count], digit_bits + 1, frac, weight);
        let bias = Some(self.weight(format!("{}.base", digits.name), vec![rows], SUM_BITS, frac, bias));
        let ty = TensorType { shape: vec![rows], bits: SUM_BITS, frac, magnitude: SUM_MAGNITUDE, sign: Sign::Any };
        let all = self.same(Op::Dense { weight, bias }, vec![reached], ty.clone(), digits);
        let part = ty.with_shape([results]);
        let mut sum = self.same(Op::Slice { start: vec![0] }, vec![all], part.clone(), digits);
        for place in 1..places {
            let start = vec![place * results];
            let digit = self.same(Op::Slice { start }, vec![all], part.clone(), digits);
            let factor = 1i64 << (place * usize::from(digit_bits));
            let scaled = self.same(Op::Scale { factor }, vec![digit], part.clone(), digits);
            let name = if place + 1 == places { node } else { digits };
            sum = self.same(Op::Add, vec![sum, scaled], part.clone(), name);
        }
        sum
    }
}

/// The factor and the summand that make a number of any feature's order which is not negative if it
/// is at most the test's, and for a missing value as it should be. That is where the ring's sign
/// turns, `2^33`: once it, with a threshold from zero on added, is negative; twice it is nothing.
fn by_order(test: &Test) -> (i64, i64) {
    let most = test.most.clamp(-LARGEST - 1, LARGEST);
    let once = (test.missing != test.above) == (most < 0);
    if once { (-1, most) } else { (-2, 2 * most + 1) }
}

/// The test's threshold rounded down to a format, within its ring.
fn at_format(test: &Test, frac: i8, magnitude: u8) -> i64 {
    let limit = f64::from(magnitude).exp2();
    if test.most < -LARGEST {
        return -limit as i64;
    }
    let threshold = f64::from(unordered(test.most)) * f64::from(frac).exp2();
    threshold.floor().clamp(-limit, limit - 1.0) as i64
}

/// The lowest digit of a number, between minus half of the base and half of it.
fn lowest_digit(x: i64, bits: u8) -> i64 {
    fusion_ir::types::signed(x as u64, bits)
}

#[cfg(test)]
mod tests {
    use fusion_ir::input::{MISSING, ordered};
    use fusion_ir::types::signed;

    use super::*;

    #[test]
    fn every_comparison_is_right_missing_values_included() {
        let reals =
            [f32::NEG_INFINITY, f32::MIN, -1.0, -0.0, f32::from_bits(1), 1.0, 1.000_000_1, f32::MAX, f32::INFINITY];
        for most in reals.iter().map(|x| ordered(*x)).chain([-LARGEST - 1]) {
            for (above, missing) in [(false, false), (false, true), (true, false), (true, true)] {
                let test = Test { feature: 0, most, above, missing };
                let (factor, threshold) = by_order(&test);
                let (factor, threshold) = if above { (-factor, -1 - threshold) } else { (factor, threshold) };
                let holds = |order: i64| signed((factor * order + threshold) as u64, ORDERED_BITS) >= 0;
                for x in reals {
                    assert_eq!(holds(ordered(x)), test.holds(x), "{x} {test:?}");
                }
                assert_eq!(holds(MISSING), missing, "{test:?}");
            }
        }
    }

    #[test]
    fn digits_make_the_number_again() {
        for bits in DIGIT_BITS {
            for x in [0, 1, -1, 1023, 1024, -1025, 0xffff_ffff, -0xffff_ffff, 0x1234_5678] {
                let (mut rest, mut sum) = (x, 0);
                let places = (SUM_MAGNITUDE + 1).div_ceil(bits);
                for place in 0..places {
                    let low = if place + 1 == places { rest } else { lowest_digit(rest, bits) };
                    assert!(low.abs() <= 1 << bits && (low < 1 << bits));
                    sum += low << (place * bits);
                    rest = (rest - low) >> bits;
                }
                assert_eq!(sum, x);
            }
        }
    }
}
