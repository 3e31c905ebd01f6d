//! Functions that are flat up to some place, as sums of few ReLUs: GELU, SiLU, softplus, sigmoid.
//!
//! `f(x)` is the sum of `c max(x - t, 0)` over its kinks. Each of these ReLUs is in the ring that
//! differences to a kink need, which has as few fractional bits as the error allows; it is never
//! negative, so it is extended by one correlated OT to the ring in which the sum is made, and the
//! factors `c` may have as many digits as they like.

use super::corners::{Begin, Corners, Lattice, fewest};
use super::table::{MOST_PLACES, Results, USUAL_TOLERANCE, look, tolerance};
use crate::nn::eval::Range;
use crate::nn::expr::Expr;

/// How far such a sum may be from its function, as a fraction of its usual value, the root mean
/// square of what was seen, if labels say whether that is too much; else as far as a table.
const TOLERANCE: f64 = 1.0 / 16.0;
/// Values that a corner may have on either side of the function.
const VALUES: f64 = 4.0;
/// An operand's unit is at most so many times the tolerance: rounding it moves the function by a
/// third of that, in root mean square, where its slope is 1.
const UNIT: f64 = 2.0;
/// The same where the tolerance is that of labels, beside which rounding should not be the larger
/// error.
const COARSE_UNIT: f64 = 1.5;
/// Fractional bits that an operand may have.
const FRACS: std::ops::RangeInclusive<i8> = -12..=12;
/// Functions with more kinks are better off as tables.
const MOST_KINKS: usize = 16;

/// A sum of ReLUs of an operand with `frac` fractional bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Bends {
    /// Fractional bits of the operand.
    pub frac: i8,
    /// Fractional bits of the factors.
    pub slope_frac: u8,
    /// Places, which rise, and factors.
    pub kinks: Vec<(i64, i64)>,
}

impl Bends {
    /// That form of `f` on `range` (and some way beyond, where `f` allows), in a format that holds
    /// operands up to `held` in absolute value, as coarse as labels allow if `coarse`. `None` if
    /// `f` is nowhere flat below the range that is held, or has too many kinks.
    pub fn new(f: &Expr, range: Range, held: f32, results: Results, coarse: bool) -> Option<Bends> {
        // What is made of straight pieces is exact as a table.
        if !f.switches().is_empty() {
            return None;
        }
        let (_, _, seen) = look(f, range, *FRACS.end(), results).ok()?;
        if results.least.is_some() || seen <= 0.0 {
            return None;
        }
        let tolerance = match coarse {
            true => results.part * f64::from(results.usual) * TOLERANCE,
            false => tolerance(results, seen, USUAL_TOLERANCE).least,
        };
        if tolerance <= 0.0 {
            return None;
        }
        let range = Range { low: flat_below(f, range.low, held, tolerance), ..range };
        let unit = if coarse { COARSE_UNIT } else { UNIT };
        let frac = (-(unit * tolerance).log2()).ceil();
        let frac = Some(frac as i8).filter(|frac| FRACS.contains(frac))?;
        let (low, high, _) = look(f, range, frac, results).ok()?;
        let apart = (0..60).find(|apart| (high - low) >> apart <= MOST_PLACES)?;
        let step = (f64::from(apart) - f64::from(frac)).exp2();
        let slope_frac = (VALUES * step / tolerance).log2().ceil().max(0.0);
        let lattice = Lattice { step, unit: step * (-slope_frac).exp2() };
        let places = [low >> apart, -(-high >> apart)];
        let all = i64::MIN..i64::MAX;
        let Corners { segments, .. } = fewest(&|x| f.at(x), lattice, places, tolerance, all, Begin::Flat)?;
        let before = std::iter::once(0).chain(segments.iter().map(|(_, slope)| *slope));
        let kinks = segments.iter().zip(before).map(|((place, slope), before)| (place << apart, slope - before));
        let kinks: Vec<(i64, i64)> = kinks.filter(|(_, change)| *change != 0).collect();
        (1..=MOST_KINKS).contains(&kinks.len()).then_some(Bends { frac, slope_frac: slope_frac as u8, kinks })
    }

    /// The largest absolute place of a kink.
    pub fn furthest(&self) -> i64 {
        self.kinks.iter().map(|(place, _)| place.abs()).max().unwrap_or(0)
    }

    /// The sums of all factors below and above zero: what a sum of ReLUs below `1` stays between.
    pub fn spread(&self) -> [i64; 2] {
        [i64::MIN..0, 0..i64::MAX].map(|sign| self.kinks.iter().map(|kink| kink.1).filter(|c| sign.contains(c)).sum())
    }
}

/// Steps in which a flat place is looked for.
const STEPS: i32 = 64;

/// The nearest place, from `low` down to `-held`, from which on `f` is small enough to begin with
/// zero; `low` if there is none.
fn flat_below(f: &Expr, low: f32, held: f32, tolerance: f64) -> f32 {
    let places = (0..=STEPS).map(|i| low + (-held - low).min(0.0) * (i as f32 / STEPS as f32));
    let small = |place: &f32| f.at(f64::from(*place)).abs() <= tolerance / 2.0;
    // From the far end: a place where it only changes its sign is none.
    places.rev().take_while(small).last().unwrap_or(low)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;
    use crate::nn::expr::{Binary, Unary};

    fn times(a: Expr, b: Expr) -> Expr {
        Expr::binary(Binary::Mul, a, b)
    }

    fn gelu() -> Expr {
        let erf = Expr::unary(Unary::Erf, times(Expr::X, Expr::Const(0.5f64.sqrt())));
        times(times(Expr::X, Expr::Const(0.5)), Expr::binary(Binary::Add, Expr::Const(1.0), erf))
    }

    fn bends(f: &Expr, [low, high]: [f32; 2], results: Results) -> Option<Bends> {
        Bends::new(f, Range { low, high }, high, results, true)
    }

    #[test]
    fn a_gelu_is_a_handful_of_relus() {
        let results = Results { largest: 6.0, usual: 0.5, least: None, part: 1.0 };
        for (part, most) in [(1.0, 5), (0.5, 7), (0.25, 10)] {
            let bends = bends(&gelu(), [-7.0, 6.0], Results { part, ..results }).unwrap();
            let unit = (-f64::from(bends.frac)).exp2();
            let error = |x: i64| {
                let sum: i64 = bends.kinks.iter().map(|(place, c)| c * (x - place).max(0)).sum();
                (sum as f64 * unit * (-f64::from(bends.slope_frac)).exp2() - gelu().at(x as f64 * unit)).abs()
            };
            // Also far beyond what was seen.
            let worst = (-(40.0 / unit) as i64..(12.0 / unit) as i64).map(error).fold(0.0, f64::max);
            assert!(worst <= 1.1 * part * 0.5 * TOLERANCE, "{worst}");
            assert!(bends.kinks.len() <= most && unit <= UNIT * part * 0.5 * TOLERANCE, "{bends:?}");
        }
    }

    #[test]
    fn a_function_that_is_flat_below_what_was_seen_begins_there() {
        let results = Results { largest: 2.6, usual: 0.35, least: None, part: 1.0 };
        let range = Range { low: -1.2, high: 2.6 };
        let of = |held, coarse| Bends::new(&gelu(), range, held, results, coarse);
        // As a normalisation leaves operands: a GELU is not small enough where they end.
        assert_eq!(of(2.6, false), None);
        let [coarse, fine] = [true, false].map(|coarse| of(6.0, coarse).unwrap());
        assert!(coarse.kinks.len() < fine.kinks.len() && coarse.frac < fine.frac, "{coarse:?} {fine:?}");
        let unit = (-f64::from(fine.frac)).exp2();
        let error = |x: i64| {
            let sum: i64 = fine.kinks.iter().map(|(place, c)| c * (x - place).max(0)).sum();
            (sum as f64 * unit * (-f64::from(fine.slope_frac)).exp2() - gelu().at(x as f64 * unit)).abs()
        };
        let worst = (-(9.0 / unit) as i64..(3.0 / unit) as i64).map(error).fold(0.0, f64::max);
        assert!(worst <= 1.1 * 2.6 * table::TOLERANCE, "{worst}");
    }

    #[test]
    fn what_is_nowhere_flat_is_no_sum_of_relus() {
        let results = Results { largest: 1.0, usual: 0.7, least: None, part: 1.0 };
        assert_eq!(bends(&Expr::unary(Unary::Tanh, Expr::X), [-3.0, 3.0], results), None);
        let near = Range { low: -0.5, high: 3.0 };
        let held = |held| Bends::new(&gelu(), near, held, Results { largest: 3.0, ..results }, true);
        assert!(held(0.5).is_none() && held(6.0).is_some());
        // Nor what has its kinks in places of its own.
        let limited = Expr::binary(Binary::Min, times(Expr::X, Expr::Const(0.2)), Expr::Const(0.5));
        let hard = Expr::binary(Binary::Max, Expr::binary(Binary::Add, limited, Expr::Const(0.5)), Expr::Const(0.0));
        assert_eq!(bends(&times(Expr::X, hard), [-6.0, 6.0], Results { largest: 6.0, ..results }), None);
        // Where each value has to be right relative to itself.
        let results = Results { least: Some(0.1), ..results };
        assert_eq!(bends(&gelu(), [-3.0, 3.0], Results { largest: 3.0, ..results }), None);
    }
}
