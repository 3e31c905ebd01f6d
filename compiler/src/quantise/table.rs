//! Functions as tables: from a pointwise function on a range to the exact integer function that the
//! protocol computes.
//!
//! The table is a polyline near the function. Kinks and jumps of the function are points of it,
//! found exactly; between them it has few corners and crosses the function. The polyline *is* the
//! fixed-point reference; how far it may be from the function is [`TOLERANCE`].

use fusion_ir::op::Piecewise;
use fusion_ir::types::{signed, wrap};
use fusion_ir::verify::MAX_KNOTS;

use super::corners::{Begin, Corners, Lattice, fewest};
use super::polyline::{self, Allowed};
use crate::nn::eval::Range;
use crate::nn::expr::{Binary, Expr};

/// Largest error of a table on its range, as a fraction of the function's largest absolute value
/// there.
pub const TOLERANCE: f64 = 1.0 / 256.0;
/// And as a fraction of its usual value, the root mean square of what was seen.
pub const USUAL_TOLERANCE: f64 = 1.0 / 64.0;
/// The same where a table is half as long, because a function is symmetric.
const FOLDED_TOLERANCE: f64 = USUAL_TOLERANCE / 2.0;
/// How exactly a function must be symmetric, as a fraction of its largest value.
const SYMMETRIC: f64 = 1e-9;
/// What is usual may make a table finer by this factor.
const FINEST: f64 = 1.0 / 16.0;

/// Places among which a search chooses a table's corners.
pub(super) const MOST_PLACES: i64 = 192;
/// Values that a corner may have on either side of the function.
const VALUES: f64 = 8.0;

/// Most bits of precision that slopes get beyond those of the operand.
const MAX_SLOPE_FRAC: u8 = 40;
/// Operands lie nearer to zero: no ring has so many bits.
const FARTHEST: i64 = 1 << 60;
/// Places at which a function is looked at over its whole range.
const SAMPLES: i64 = 4096;

/// What a function gave on calibration samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Results {
    /// Its largest absolute value.
    pub largest: f32,
    /// The root mean square of its values.
    pub usual: f32,
    /// If each value has to be right relative to itself: the magnitude below which that does not
    /// matter.
    pub least: Option<f32>,
    /// What part its table may have of the usual tolerance.
    pub part: f64,
}

/// A polyline over integers, with the operand's `frac` fractional bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    frac: i8,
    /// Fractional bits of its slopes.
    pub slope_frac: u8,
    /// Places and slopes of the segments that begin there; the first slope also holds below, the
    /// last beyond.
    segments: Vec<(i64, i64)>,
    /// Value at the first place, with `frac + slope_frac` fractional bits.
    start: i64,
}

impl Table {
    /// The table of `f` for operands in `range` (and some way beyond, where `f` allows) with `frac`
    /// fractional bits; `results` are what was seen.
    ///
    /// # Errors
    /// Why there is none, as a phrase.
    pub fn new(f: &Expr, range: Range, frac: i8, results: Results) -> Result<Table, String> {
        let (low, high, seen) = look(f, range, frac, results)?;
        // A function that is zero on the whole range is as good as exact.
        let unit = (-f64::from(frac)).exp2();
        let tolerance = match results.least {
            Some(least) if seen > 0.0 => relative(least, results.part),
            _ if seen > 0.0 => tolerance(results, seen, USUAL_TOLERANCE),
            _ => Allowed::everywhere(unit),
        };
        let table = Table::over(f, [low, high], frac, tolerance)?;
        match table.knots() {
            ..=MAX_KNOTS => Ok(table),
            // Four times the tolerance takes half the pieces.
            _ if results.part < 1.0 => Table::new(f, range, frac, Results { part: 4.0 * results.part, ..results }),
            knots => Err(format!("{f} takes {knots} pieces on {low}..{high}; at most {MAX_KNOTS}")),
        }
    }

    /// The polyline with these places and slopes of the segments that begin there, in rising order;
    /// `start` is its value at the first.
    pub(super) fn of_segments(frac: i8, slope_frac: u8, segments: Vec<(i64, i64)>, start: i64) -> Table {
        Table { frac, slope_frac, segments, start }
    }

    /// The table on integers from one to another, within `tolerance`.
    fn over(f: &Expr, [low, high]: [i64; 2], frac: i8, tolerance: Allowed) -> Result<Table, String> {
        let unit = (-f64::from(frac)).exp2();
        let at = |i: i64| f.at(i as f64 * unit);
        let mut points = vec![low, high];
        for switch in f.switches() {
            points.extend(breaks(f, &switch, low, high, unit, tolerance));
        }
        points.retain(|point| (low..=high).contains(point));
        points.sort_unstable();
        points.dedup();
        let polyline = polyline::fit(&at, &points, tolerance);
        let tables = (0..=MAX_SLOPE_FRAC).map(|slope_frac| Table::rounded(&polyline, frac, slope_frac, tolerance));
        let finest = polyline.iter().map(|(_, y)| tolerance.at(*y)).fold(f64::INFINITY, f64::min);
        let fits = |(table, error): &(Table, f64)| *error <= 0.25 && table.resolution() <= 4.0 * finest;
        let found = tables.into_iter().find(fits).map(|(table, _)| table);
        // On rings of few bits a search finds slopes with few digits; more pieces cost more.
        let smooth = points.len() == 2 && tolerance.part == 0.0;
        let coarse = smooth.then(|| Table::coarse(&|x| f.at(x), [low, high], frac, tolerance.least)).flatten();
        let is_better = |coarse: &Table| {
            found.as_ref().is_none_or(|table| coarse.knots() <= table.knots() && coarse.slope_frac < table.slope_frac)
        };
        let found = coarse.filter(is_better).or(found);
        found.ok_or_else(|| format!("{f} is too steep for a table on {low}..{high}"))
    }

    /// The table with fewest pieces of a smooth function, whose chords may be `tolerance` from it.
    fn coarse(at: &impl Fn(f64) -> f64, [low, high]: [i64; 2], frac: i8, tolerance: f64) -> Option<Table> {
        // What crosses a curve is half as far from it as a chord.
        let tolerance = tolerance / 2.0;
        let apart = (0..60).find(|apart| (high - low) >> apart <= MOST_PLACES)?;
        let step = (f64::from(apart) - f64::from(frac)).exp2();
        let places = [low >> apart, -(-high >> apart)];
        let digits = (VALUES / tolerance).log2().ceil() as i32;
        // Beyond that the operand alone has more digits than the error allows to be told apart.
        let slope_frac = u8::try_from(digits + apart - i32::from(frac)).ok()?;
        let unit = step * (-f64::from(slope_frac)).exp2();
        let heights = (places[0]..=places[1]).map(|place| at(place as f64 * step));
        let (least, largest) = heights.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
        if !least.is_finite() || !largest.is_finite() {
            return None;
        }
        // Where the function has one sign, corners have no other.
        let values = if least >= 0.0 { 0 } else { i64::MIN }..if largest <= 0.0 { 1 } else { i64::MAX };
        let Corners { start, segments } = fewest(at, Lattice { step, unit }, places, tolerance, values, Begin::First)?;
        let mut joined: Vec<(i64, i64)> = segments.iter().map(|(place, slope)| (place << apart, *slope)).collect();
        joined.dedup_by_key(|(_, slope)| *slope);
        Some(Table { frac, slope_frac, segments: joined, start: start << apart })
    }

    /// Slopes rounded to `slope_frac` bits, each so that its segment ends as near to the point as
    /// it can; and the largest error there, as a part of what is allowed.
    fn rounded(points: &[(i64, f64)], frac: i8, slope_frac: u8, tolerance: Allowed) -> (Table, f64) {
        let scale = (f64::from(frac) + f64::from(slope_frac)).exp2();
        let start = (points[0].1 * scale).round();
        let off = |value: f64, target: f64| (value / scale - target).abs() / tolerance.at(target);
        let (mut value, mut error) = (start, off(start, points[0].1));
        let mut segments: Vec<(i64, i64)> = Vec::new();
        for pair in points.windows(2) {
            let [(from, _), (to, target)] = [pair[0], pair[1]];
            let length = (to - from) as f64;
            let slope = ((target * scale - value) / length).round();
            value += slope * length;
            error = error.max(off(value, target));
            if segments.last().is_none_or(|(_, last)| *last != slope as i64) {
                segments.push((from, slope as i64));
            }
        }
        if segments.is_empty() {
            segments.push((points[0].0, 0));
        }
        (Table { frac, slope_frac, segments, start: start as i64 }, error)
    }

    /// The distance of neighbouring results.
    fn resolution(&self) -> f64 {
        (-f64::from(self.frac) - f64::from(self.slope_frac)).exp2()
    }

    /// Number of kinks: what its protocol costs.
    pub fn knots(&self) -> usize {
        self.segments.len() - 1
    }

    /// Whether a kink lies below zero.
    pub fn bends_below_zero(&self) -> bool {
        self.segments.get(1).is_some_and(|(place, _)| *place < 0)
    }

    /// The largest absolute place of a kink.
    pub fn furthest_kink(&self) -> i64 {
        self.segments[1..].iter().map(|(place, _)| place.abs()).max().unwrap_or(0)
    }

    /// Slope and summand, if it is a straight line, in a ring of `bits` bits.
    pub fn line(&self, bits: u8) -> Option<(i64, i64)> {
        let [(from, slope)] = self.segments[..] else { return None };
        let ring = |x: i64| signed(wrap(x, bits), bits);
        Some((ring(slope), ring(self.start.wrapping_sub(slope.wrapping_mul(from)))))
    }

    /// The operation's parameters in a ring of `bits` bits, which hold its results.
    pub fn piecewise(&self, bits: u8) -> Piecewise {
        let ring = |x: i64| signed(wrap(x, bits), bits);
        let (from, first) = self.segments[0];
        let change = |pair: &[(i64, i64)]| (pair[1].0, ring(pair[1].1.wrapping_sub(pair[0].1)));
        Piecewise {
            first_slope: ring(first),
            slope_frac: self.slope_frac,
            offset: ring(self.start.wrapping_sub(first.wrapping_mul(from))),
            knots: self.segments.windows(2).map(change).collect(),
        }
    }

    /// The largest absolute result on operands in `low..=high`.
    pub fn largest(&self, low: i64, high: i64) -> i64 {
        let value = |x: i64| {
            let (mut y, mut from, mut slope) = (i128::from(self.start), self.segments[0].0, self.segments[0].1);
            for (place, next) in &self.segments[1..] {
                if x <= *place {
                    break;
                }
                y += i128::from(slope) * i128::from(place - from);
                (from, slope) = (*place, *next);
            }
            (y + i128::from(slope) * i128::from(x - from)).unsigned_abs()
        };
        let inside = self.segments.iter().map(|(place, _)| (*place).clamp(low, high));
        let largest = inside.chain([low, high]).map(value).max().unwrap_or(0);
        i64::try_from(largest).unwrap_or(i64::MAX)
    }
}

/// A function that is even, or a ReLU but for an even function: `max(x, 0)` times a power of two
/// plus a table of `|x|`. SiLU and GELU are such functions. The table needs half the kinks, and
/// what it adds to the ReLU is small.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// The logarithm of the ReLU's slope, if it is part of it.
    pub relu: Option<i8>,
    /// What is left, for `|x|`.
    pub table: Table,
}

impl Folded {
    /// That form of `f`, with the parameters of [`Table::new`]; `None` if `f` has none.
    pub fn new(f: &Expr, range: Range, frac: i8, results: Results) -> Option<Folded> {
        let (low, high, seen) = look(f, range, frac, results).ok().filter(|(.., seen)| *seen > 0.0)?;
        let reach = high.max(-low);
        let unit = (-f64::from(frac)).exp2();
        let odd = |x: f64| f.at(x) - f.at(-x);
        // Equalised channels have factors of powers of two.
        let twos = (odd(reach as f64 * unit) / (reach as f64 * unit)).log2().round();
        let is = |slope: f64| {
            let even = |x: f64| (odd(x) - slope * x).abs() <= SYMMETRIC * seen;
            samples(1, reach.max(1)).all(|i| even(i as f64 * unit))
        };
        let slope = [twos.exp2(), 0.0].into_iter().find(|slope| slope.is_finite() && is(*slope))?;
        let relu = (slope > 0.0).then_some(twos as i8);
        let line = Expr::binary(Binary::Mul, Expr::Const(slope), Expr::X);
        let rest = if relu.is_some() { Expr::binary(Binary::Sub, f.clone(), line) } else { f.clone() };
        let tolerance = tolerance(results, seen, FOLDED_TOLERANCE);
        let table = Table::over(&rest, [0, reach], frac, tolerance).ok()?;
        let folded = Folded { relu, table };
        // What the ReLU is multiplied by has the table's fractional bits.
        folded.relu_shift().is_none_or(|by| (0..=MAX_SLOPE_FRAC as i8).contains(&by)).then_some(folded)
    }

    /// The places by which the ReLU is shifted.
    pub fn relu_shift(&self) -> Option<i8> {
        self.relu.map(|twos| self.table.slope_frac as i8 + twos)
    }
}

/// The integers for which a table of `f` is made, and its largest absolute value there.
pub(super) fn look(f: &Expr, range: Range, frac: i8, results: Results) -> Result<(i64, i64, f64), String> {
    let unit = (-f64::from(frac)).exp2();
    let at = |i: i64| f.at(i as f64 * unit);
    let (low, high) = domain(&at, range, unit)?;
    let seen = samples(low, high).map(|i| at(i).abs()).fold(0.0, f64::max);
    // What lies between the values seen may be a pole.
    if results.largest > 0.0 && seen > 16.0 * f64::from(results.largest) + unit {
        return Err(format!("{f} runs away between the calibrated values"));
    }
    Ok((low, high, seen))
}

/// What each value may be off, relative to itself; below `least` as much as there.
pub fn relative(least: f32, part: f64) -> Allowed {
    let part = part * TOLERANCE;
    Allowed { part, least: f64::from(least) * part }
}

/// How far chords may be from a function that reaches `largest`.
pub(super) fn tolerance(results: Results, largest: f64, usual: f64) -> Allowed {
    let usual = (f64::from(results.usual) * usual).max(largest * TOLERANCE * FINEST);
    Allowed::everywhere(results.part * usual.min(largest * TOLERANCE))
}

/// The integers for which the table is made: the range, and an eighth of it on both sides where the
/// function does not run away.
fn domain(at: &impl Fn(i64) -> f64, range: Range, unit: f64) -> Result<(i64, i64), String> {
    let bounded = |place: f64| (place as i64).clamp(-FARTHEST, FARTHEST);
    let mut low = bounded((f64::from(range.low) / unit).floor());
    let mut high = bounded((f64::from(range.high) / unit).ceil());
    // Rounding of the operand may leave the function's domain by a little.
    while low < high && !at(low).is_finite() {
        low += 1;
    }
    while high > low && !at(high).is_finite() {
        high -= 1;
    }
    let seen = samples(low, high).map(|i| at(i).abs()).fold(0.0, f64::max);
    if !seen.is_finite() {
        return Err("the function has a pole in the calibrated range".into());
    }
    let margin = ((high - low) / 8).max(1);
    // What is zero everywhere may begin where its operand was never seen.
    let largest = if seen > 0.0 { seen } else { low.abs().max(high.abs()) as f64 * unit };
    let tame = |from: i64, to: i64| samples(from, to).all(|i| at(i).abs() <= 1.5 * largest);
    if tame(low - margin, low) {
        low -= margin;
    }
    if tame(high, high + margin) {
        high += margin;
    }
    Ok((low, high.max(low + 1)))
}

fn samples(low: i64, high: i64) -> impl Iterator<Item = i64> {
    let step = ((high - low) / SAMPLES).max(1);
    (0..=(high - low) / step).map(move |i| low + i * step).chain([high])
}

/// Where `switch` changes its sign: one point at a kink, the points on both sides of a jump.
fn breaks(f: &Expr, switch: &Expr, low: i64, high: i64, unit: f64, tolerance: Allowed) -> Vec<i64> {
    let class = |x: f64| switch.at(x).partial_cmp(&0.0);
    let mut found = Vec::new();
    let mut last = low;
    for next in samples(low, high) {
        let (mut a, mut b) = (last as f64 * unit, next as f64 * unit);
        let before = class(a);
        last = next;
        if before == class(b) {
            continue;
        }
        for _ in 0..60 {
            let middle = (a + b) / 2.0;
            if class(middle) == before { a = middle } else { b = middle }
        }
        let place = b / unit;
        let allowed = tolerance.at(f.at(b));
        let jump = (f.at(b + 1e-3 * unit) - f.at(b - 1e-3 * unit)).abs() > allowed;
        let nearest = place.round();
        if !jump {
            found.push(nearest as i64);
        } else if (place - nearest).abs() > 1e-6 {
            found.extend([place.floor() as i64, place.floor() as i64 + 1]);
        } else {
            // On an integer the function's own value there says to which side it belongs.
            let i = nearest as i64;
            let here = f.at(i as f64 * unit);
            let left = f.at((nearest - 1e-3) * unit);
            found.extend(if (here - left).abs() <= allowed { [i, i + 1] } else { [i - 1, i] });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::expr::Unary;
    use fusion_ir::{Op, Sign, TensorType, interp};

    const RESULTS: Results = Results { largest: 20.0, usual: 20.0, least: None, part: 1.0 };

    /// The largest error on the range, as a fraction of the largest value, by the reference
    /// interpreter.
    fn error(f: &Expr, low: f32, high: f32, frac: i8) -> (f64, usize) {
        let range = Range { low, high };
        let table = Table::new(f, range, frac, RESULTS).unwrap();
        let ty = |frac| TensorType { shape: vec![1], bits: 48, frac, magnitude: 40, sign: Sign::Any };
        let op = Op::Piecewise(table.piecewise(48));
        let unit = (-f64::from(frac)).exp2();
        let (mut worst, mut largest) = (0f64, 0f64);
        for i in (f64::from(low) / unit).ceil() as i64..=(f64::from(high) / unit) as i64 {
            let y = interp::apply_public(&op, &[&[i]], &[&ty(frac)], &ty(frac + table.slope_frac as i8))[0];
            let found = y as f64 * unit / f64::from(table.slope_frac).exp2();
            let exact = f.at(i as f64 * unit);
            worst = worst.max((found - exact).abs());
            largest = largest.max(exact.abs());
            assert!(y.abs() <= table.largest(i, i) + 1);
        }
        (worst / largest, table.knots())
    }

    #[test]
    fn smooth_functions_keep_the_tolerance() {
        for (f, low, high) in [
            (Unary::Sigmoid, -8.0, 8.0),
            (Unary::Tanh, -3.0, 5.0),
            (Unary::Exp, -12.0, 0.0),
            (Unary::Reciprocal, 1.0, 40.0),
            (Unary::Log, 0.25, 9.0),
            (Unary::Erf, -2.0, 2.0),
            (Unary::Sqrt, 0.0, 9.0),
        ] {
            let (error, knots) = error(&Expr::unary(f, Expr::X), low, high, 9);
            assert!(error <= 1.6 * TOLERANCE, "{f:?}: {error}");
            assert!(knots <= 24, "{f:?}: {knots} knots");
        }
    }

    #[test]
    fn piecewise_linear_functions_are_exact() {
        let number = Expr::Const;
        let clip = Expr::binary(Binary::Min, Expr::binary(Binary::Max, Expr::X, number(0.0)), number(6.0));
        assert_eq!(error(&clip, -9.0, 9.0, 8), (0.0, 2));
        let abs = Expr::unary(Unary::Abs, Expr::X);
        assert_eq!(error(&abs, -9.0, 3.0, 8), (0.0, 1));
        let step = Expr::binary(Binary::GreaterOrEqual, Expr::X, number(1.0));
        assert_eq!(error(&step, -4.0, 4.0, 8), (0.0, 2));
        let above = Expr::select(Expr::binary(Binary::LessOrEqual, Expr::X, number(0.3)), number(0.0), Expr::X);
        let (error, knots) = error(&above, -4.0, 4.0, 8);
        assert!(error < 1e-3 && knots <= 3, "{error} {knots}");
    }

    #[test]
    fn values_that_are_usually_small_make_a_table_finer() {
        let swish = Expr::binary(Binary::Mul, Expr::X, Expr::unary(Unary::Sigmoid, Expr::X));
        let table = |usual| {
            let results = Results { usual, ..RESULTS };
            Table::new(&swish, Range { low: -20.0, high: 20.0 }, 8, results).unwrap()
        };
        let knots = [20.0, 1.0, 1e-9].map(|usual| table(usual).knots());
        assert!(knots[0] < knots[1] && knots[1] < knots[2] && knots[2] < 40, "{knots:?}");
    }

    fn times(a: Expr, b: Expr) -> Expr {
        Expr::binary(Binary::Mul, a, b)
    }

    fn silu() -> Expr {
        times(Expr::X, Expr::unary(Unary::Sigmoid, Expr::X))
    }

    #[test]
    fn symmetric_functions_fold_and_need_half_the_kinks() {
        let scaled = |c: f64| times(Expr::X, Expr::Const(c));
        let one_plus = |e: Expr| Expr::binary(Binary::Add, Expr::Const(1.0), e);
        let gelu = times(scaled(0.5), one_plus(Expr::unary(Unary::Erf, scaled(0.5f64.sqrt()))));
        let quick_gelu = times(Expr::X, Expr::unary(Unary::Sigmoid, scaled(1.702)));
        let softplus = Expr::unary(Unary::Softplus, Expr::X);
        let bell = Expr::unary(Unary::Exp, Expr::unary(Unary::Neg, times(Expr::X, Expr::X)));
        let range = Range { low: -8.0, high: 7.0 };
        for (f, relu) in [
            (silu(), Some(0)),
            (times(silu(), Expr::Const(2.0)), Some(1)),
            (times(gelu.clone(), Expr::Const(0.25)), Some(-2)),
            (gelu, Some(0)),
            (quick_gelu, Some(0)),
            (softplus, Some(0)),
            (bell, None),
        ] {
            let largest = f.at(7.0).max(1.0) as f32;
            let results = Results { largest, usual: largest / 8.0, least: None, part: 1.0 };
            let folded = Folded::new(&f, range, 9, results).unwrap();
            assert_eq!(folded.relu, relu, "{f}");
            // Twice as fine with fewer kinks than the whole function has.
            let whole = Table::new(&f, range, 9, results).unwrap();
            assert!(folded.table.knots() + 1 < whole.knots(), "{f}: {} of {}", folded.table.knots(), whole.knots());
            let piecewise = Op::Piecewise(folded.table.piecewise(48));
            let ty = |frac| TensorType { shape: vec![1], bits: 48, frac, magnitude: 40, sign: Sign::Any };
            let frac = 9 + folded.table.slope_frac as i8;
            // Also twice as far out as was seen: only the bell's tail is known there.
            for x in (-8 * 1024..=8 * 1024).step_by(3) {
                let rest = interp::apply_public(&piecewise, &[&[i64::abs(x)]], &[&ty(9)], &ty(frac))[0];
                let found = ty(frac).dequantize(rest)
                    + relu.map_or(0.0, |twos| x.max(0) as f64 / 512.0 * f64::from(twos).exp2());
                let error = (found - f.at(x as f64 / 512.0)).abs();
                let tolerance = f64::from(results.usual) * FOLDED_TOLERANCE;
                assert!(error <= 1.3 * tolerance, "{f} at {}: {error}", x as f64 / 512.0);
            }
        }
    }

    #[test]
    fn what_is_not_symmetric_does_not_fold() {
        let range = Range { low: -4.0, high: 4.0 };
        let mish = times(Expr::X, Expr::unary(Unary::Tanh, Expr::unary(Unary::Softplus, Expr::X)));
        let shifted = silu().of(&Expr::binary(Binary::Add, Expr::X, Expr::Const(0.01)));
        for f in [mish, shifted, Expr::unary(Unary::Tanh, Expr::X), Expr::unary(Unary::Exp, Expr::X)] {
            assert_eq!(Folded::new(&f, range, 9, RESULTS), None, "{f}");
        }
    }

    #[test]
    fn operands_that_no_ring_holds_are_no_panic() {
        let relu = Expr::binary(Binary::Max, Expr::X, Expr::Const(0.0));
        let range = Range { low: f32::MIN, high: f32::MAX };
        assert!(Table::new(&relu, range, 9, RESULTS).is_err_and(|why| why.contains("runs away")));
    }

    #[test]
    fn a_function_that_is_zero_where_it_was_seen_keeps_its_kink() {
        let below = Expr::binary(Binary::Min, Expr::X, Expr::Const(0.0));
        let range = Range { low: 0.01, high: 3.0 };
        let results = Results { largest: 0.0, usual: 0.0, least: None, part: 1.0 };
        let table = Table::new(&below, range, 9, results).unwrap();
        assert_eq!((table.knots(), table.largest(-512, 0)), (1, 512 << table.slope_frac));
        let zero = Expr::Const(0.0);
        assert_eq!(Table::new(&zero, range, 9, results).unwrap().knots(), 0);
        assert_eq!(Folded::new(&zero, range, 9, results), None);
    }

    #[test]
    fn a_relative_table_is_right_wherever_its_function_is_large_or_small() {
        let f = Expr::binary(Binary::Pow, Expr::X, Expr::Const(-0.5));
        let (low, high, frac) = (1.0 / 4096.0, 4.0, 20);
        let results = Results { largest: 64.0, usual: 40.0, least: Some(0.25), part: 1.0 };
        let table = Table::new(&f, Range { low, high }, frac, results).unwrap();
        let unit = (-f64::from(frac)).exp2();
        let scale = unit / f64::from(table.slope_frac).exp2();
        let mut x = f64::from(low);
        while x < f64::from(high) {
            let i = (x / unit).round() as i64;
            let exact = f.at(i as f64 * unit);
            let off = (table.largest(i, i) as f64 * scale - exact).abs() / exact;
            assert!(off <= 1.6 * TOLERANCE, "{x}: {off}");
            x *= 1.03;
        }
        assert!(table.knots() < 60, "{}", table.knots());
    }

    #[test]
    fn poles_are_refused() {
        for f in [Unary::Reciprocal, Unary::Tan] {
            assert!(
                Table::new(
                    &Expr::unary(f, Expr::X),
                    Range { low: -3.1, high: 3.0 },
                    9,
                    Results { largest: 2.0, usual: 1.0, least: None, part: 1.0 }
                )
                .is_err()
            );
        }
    }

    #[test]
    fn a_straight_line_has_no_knots() {
        let f = Expr::binary(Binary::Add, Expr::binary(Binary::Mul, Expr::X, Expr::Const(-2.0)), Expr::Const(0.5));
        let table = Table::new(&f, Range { low: -3.0, high: 3.0 }, 4, RESULTS).unwrap();
        assert_eq!((table.knots(), table.slope_frac, table.line(20)), (0, 0, Some((-2, 8))));
    }
}
