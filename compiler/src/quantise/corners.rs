//! Polylines with fewest corners whose slopes have few digits. A table's ring has the bits of its
//! operand and those of its slopes, and every corner costs a comparison in it: of both there should
//! be as few as the error allows.

use std::collections::BTreeMap;
use std::ops::Range;

/// Where corners may be: at multiples of a step, with values that are multiples of a unit. So
/// slopes are multiples of the unit over the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    /// Distance of places.
    pub step: f64,
    /// Distance of values.
    pub unit: f64,
}

/// A polyline on a [`Lattice`].
#[derive(Clone, Debug, PartialEq)]
pub struct Corners {
    /// The value where it begins.
    pub start: i64,
    /// Places and slopes of the segments that begin there.
    pub segments: Vec<(i64, i64)>,
}

/// How a polyline begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the first place, near the function.
    First,
    /// With zero, up to wherever the function is that small.
    Flat,
    /// The same, and all slopes are positive.
    FlatThenRising,
}

/// Places within a step at which a function is looked at.
const CHECKS: usize = 4;

/// A corner as it is reached best.
#[derive(Clone, Copy)]
struct Reached {
    corners: u32,
    error: f64,
    /// The corner before it, its place and value, and the slope from there.
    before: Option<(i64, i64, i64)>,
}

impl Reached {
    fn is_better(self, other: Reached) -> bool {
        (self.corners, self.error) < (other.corners, other.error)
    }
}

/// Sums over all samples up to one, of what the squared error is made of.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: f64,
    x: f64,
    xx: f64,
    y: f64,
    xy: f64,
    yy: f64,
}

/// The function `at`, in steps and units, from the first of some samples.
struct Sampled {
    first: i64,
    values: Vec<f64>,
    sums: Vec<Sums>,
}

impl Sampled {
    fn new(at: &impl Fn(f64) -> f64, Lattice { step, unit }: Lattice, [low, high]: [i64; 2]) -> Sampled {
        let places = 0..=(high - low) as usize * CHECKS;
        let place = |i: usize| i as f64 / CHECKS as f64;
        let values: Vec<f64> = places.map(|i| at((low as f64 + place(i)) * step) / unit).collect();
        let add = |sums: &mut Sums, (i, y): (usize, &f64)| {
            let x = place(i);
            let Sums { n, x: sx, xx, y: sy, xy, yy } = *sums;
            *sums = Sums { n: n + 1.0, x: sx + x, xx: xx + x * x, y: sy + y, xy: xy + x * y, yy: yy + y * y };
            Some(*sums)
        };
        let sums = values.iter().enumerate().scan(Sums::default(), add).collect();
        Sampled { first: low, values, sums }
    }

    fn index(&self, place: i64) -> usize {
        (place - self.first) as usize * CHECKS
    }

    /// The squared error of the line from `(from, y)` to the place `to`, its first sample left out.
    fn error(&self, from: i64, y: i64, to: i64, slope: i64) -> f64 {
        let [a, b] = [from, to].map(|place| self.sums[self.index(place)]);
        let s = slope as f64;
        let c = y as f64 - s * (from - self.first) as f64;
        let part = |of: fn(&Sums) -> f64| of(&b) - of(&a);
        let line = c * c * part(|s| s.n) + 2.0 * c * s * part(|s| s.x) + s * s * part(|s| s.xx);
        line - 2.0 * c * part(|s| s.y) - 2.0 * s * part(|s| s.xy) + part(|s| s.yy)
    }
}

/// The polyline on `lattice` from one place to another that is nowhere further than `tolerance`
/// from `at`, has fewest corners, and of those the least squared error. Its corners have `values`,
/// and it begins as said. `None` if there is none.
pub fn fewest(
    at: &impl Fn(f64) -> f64,
    lattice: Lattice,
    range: [i64; 2],
    tolerance: f64,
    values: Range<i64>,
    begin: Begin,
) -> Option<Corners> {
    let [low, high] = range;
    let sampled = Sampled::new(at, lattice, range);
    let tolerance = tolerance / lattice.unit;
    let value = |place: i64| sampled.values[sampled.index(place)];
    // By value, for each place.
    let mut best: Vec<BTreeMap<i64, Reached>> = vec![BTreeMap::new(); (high - low) as usize + 1];
    let least_slope = if begin == Begin::FlatThenRising { 1 } else { i64::MIN };
    let small = sampled.values.iter().take_while(|y| y.abs() <= tolerance).count();
    for from in low..high {
        let first = Reached { corners: 0, error: 0.0, before: None };
        if begin != Begin::First && sampled.index(from) < small {
            let error = sampled.error(low, 0, from, 0);
            best[(from - low) as usize].insert(0, Reached { error, ..first });
        } else if from == low && begin == Begin::First {
            let near = (value(low) - tolerance).ceil() as i64..=(value(low) + tolerance).floor() as i64;
            best[0].extend(near.filter(|y| values.contains(y)).map(|y| (y, first)));
        }
        for (y, reached) in std::mem::take(&mut best[(from - low) as usize]).into_iter().collect::<Vec<_>>() {
            best[(from - low) as usize].insert(y, reached);
            // The slopes with which the line stays near all samples up to a place.
            let (mut least, mut largest) = (f64::NEG_INFINITY, f64::INFINITY);
            let mut next = sampled.index(from) + 1;
            for to in from + 1..=high {
                while next <= sampled.index(to) {
                    let along = (next - sampled.index(from)) as f64 / CHECKS as f64;
                    let rise = sampled.values[next] - y as f64;
                    least = least.max((rise - tolerance) / along);
                    largest = largest.min((rise + tolerance) / along);
                    next += 1;
                }
                if least > largest {
                    break;
                }
                for slope in (least.ceil() as i64).max(least_slope)..=largest.floor() as i64 {
                    let end = y + slope * (to - from);
                    if !values.contains(&end) {
                        continue;
                    }
                    let error = reached.error + sampled.error(from, y, to, slope);
                    let next = Reached { corners: reached.corners + 1, error, before: Some((from, y, slope)) };
                    let held = best[(to - low) as usize].entry(end).or_insert(next);
                    if next.is_better(*held) {
                        *held = next;
                    }
                }
            }
        }
    }
    let ends = best[(high - low) as usize].values();
    let end = ends.copied().reduce(|best, next| if next.is_better(best) { next } else { best })?;
    let (mut segments, mut start, mut before) = (Vec::new(), 0, end.before);
    while let Some((place, y, slope)) = before {
        segments.push((place, slope));
        (start, before) = (y, best[(place - low) as usize][&y].before);
    }
    segments.reverse();
    Some(Corners { start, segments })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Range<i64> = i64::MIN..i64::MAX;

    /// The largest error at all multiples of a sixteenth of a step.
    fn worst(at: impl Fn(f64) -> f64, lattice: Lattice, high: i64, found: &Corners) -> f64 {
        let value = |x: f64| {
            let (mut y, mut ends) = (found.start as f64, found.segments.iter().skip(1).map(|s| s.0).chain([high]));
            for (place, slope) in &found.segments {
                let end = ends.next().unwrap() as f64;
                y += *slope as f64 * (x.min(end) - *place as f64).max(0.0);
            }
            y * lattice.unit
        };
        let places = (16 * found.segments[0].0..=16 * high).map(|i| i as f64 / 16.0);
        places.map(|x| (value(x) - at(x * lattice.step)).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn a_parabola_takes_as_many_segments_as_theory_says() {
        // Segments of length h cross x^2 with errors of h^2 / 8 at least.
        let lattice = Lattice { step: 1.0 / 16.0, unit: 1.0 / 1024.0 };
        let square = |x: f64| x * x;
        for (tolerance, segments) in [(1.0 / 8.0, 4), (1.0 / 32.0, 8), (1.0 / 128.0, 16)] {
            let found = fewest(&square, lattice, [-32, 32], tolerance, ALL, Begin::First).unwrap();
            assert!((segments..=segments + 1).contains(&found.segments.len()), "{}", found.segments.len());
            assert!(worst(square, lattice, 32, &found) <= 1.02 * tolerance);
        }
    }

    #[test]
    fn straight_lines_are_exact_and_corners_lie_where_they_bend() {
        let lattice = Lattice { step: 0.25, unit: 0.125 };
        let bent = |x: f64| x.abs() - 1.0;
        let found = fewest(&bent, lattice, [-8, 12], 0.125, ALL, Begin::First).unwrap();
        assert_eq!(found, Corners { start: 8, segments: vec![(-8, -2), (0, 2)] });
        // Too coarse a lattice has none.
        assert_eq!(fewest(&bent, Lattice { step: 0.25, unit: 8.0 }, [-8, 12], 0.125, ALL, Begin::First), None);
    }

    #[test]
    fn what_begins_flat_does_so_up_to_where_the_function_is_not_small_any_more() {
        let lattice = Lattice { step: 0.125, unit: 1.0 / 512.0 };
        // Small at first, and once more where it crosses zero on its way up.
        let dips = |x: f64| if x < -1.0 { 0.0 } else { x * (x + 1.0) };
        let found = fewest(&dips, lattice, [-64, 16], 1.0 / 64.0, ALL, Begin::Flat).unwrap();
        assert_eq!(found.start, 0);
        assert!((-8..-6).contains(&found.segments[0].0) && found.segments[0].1 < 0, "{:?}", found.segments);
        assert!(worst(dips, lattice, 16, &found) <= 1.02 / 64.0);
        assert_eq!(fewest(&|x: f64| x + 20.0, lattice, [-64, 16], 1.0 / 64.0, ALL, Begin::Flat), None);
    }
}
