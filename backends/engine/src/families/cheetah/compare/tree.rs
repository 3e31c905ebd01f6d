//! Carry trees over the bits of shared numbers.

pub(super) use fusion_catalogue::cheetah::Carries;
use fusion_catalogue::cheetah::SEGMENTS;

use super::gates::{Gates, Inputs};
use super::leaves::{Node, leaves};
use crate::Error;
use crate::bits::Bits;

/// The roots of all segments of `tree`, over `planes`, this party's bits of every position of one
/// segment after the other. A segment of no bits has none.
///
/// First leaves, then level by level `(g, p) of hi, lo = (g_hi + p_hi g_lo, p_hi p_lo)`.
#[allow(clippy::integer_division_remainder_used, reason = "of sizes, which are public")]
pub(super) fn grow(
    gates: &mut Gates,
    planes: impl Iterator<Item = Bits>,
    tree: Carries,
) -> Result<[Option<Node>; SEGMENTS], Error> {
    let mut segments = leaves(gates, planes, tree)?;
    for level in tree.levels() {
        debug_assert!(segments.iter().zip(level).all(|(segment, merges)| segment.len() / 2 == merges));
        let mut inputs = Inputs::default();
        for [lower, upper] in segments.iter().flat_map(|segment| segment.as_chunks().0) {
            match (&upper.propagate, &lower.propagate) {
                (Some(hi), Some(lo)) => inputs.wide.push([hi.clone(), lower.generate.clone(), lo.clone()]),
                (Some(hi), None) => inputs.narrow.push([hi.clone(), lower.generate.clone()]),
                (None, _) => unreachable!("position 0 is the lowest"),
            }
        }
        let outputs = gates.exchange(inputs)?;
        let (mut narrow, mut wide) = (outputs.narrow.into_iter(), outputs.wide.into_iter());
        for segment in &mut segments {
            let mut merged = Vec::with_capacity(segment.len().div_ceil(2));
            let mut nodes = std::mem::take(segment).into_iter();
            while let Some(lower) = nodes.next() {
                let Some(upper) = nodes.next() else {
                    merged.push(lower);
                    break;
                };
                let (carried, propagate) = match lower.propagate {
                    None => (narrow.next(), None),
                    Some(_) => wide.next().map(|[carried, propagate]| (carried, propagate)).unzip(),
                };
                let carried = carried.expect("one product for each merge");
                merged.push(Node { generate: upper.generate.xor(&carried), propagate });
            }
            *segment = merged;
        }
    }
    Ok(segments.map(|mut segment| segment.pop()))
}
