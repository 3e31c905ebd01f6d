//! `e^x` of numbers that are zero at most, the scores of a softmax less their largest, as the table
//! with fewest kinks.
//!
//! What reads the table is a sum of exponentials, and products with one over it. So an error of a
//! fixed size, a percent of the largest, is a small part of every weight that says something.
//!
//! All changes of slope are even and both ends are flat. Then the table has no negative result
//! whatever its operand is: beyond the place where differences to a kink wrap, it falls from its
//! end to zero as it rose. See the verifier's proof of signs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::corners::{Begin, Lattice, fewest};
use super::table::Table;

/// How far the coarsest table is from the function at most.
const ERROR: f64 = 1.0 / 128.0;
/// Fractional bits of its slopes, half of whose unit no slope uses.
const SLOPE_FRAC: u8 = 7;
/// Its kinks are multiples of two to the power of minus this.
const GRID: u8 = 4;
/// How much further down than where the function is small enough the first kink may be.
const BELOW: f64 = 2.0;

/// Most times that errors are halved.
pub const MAX_DETAIL: u8 = 5;
/// As often where nobody can tell what they do to labels.
pub const USUAL_DETAIL: u8 = 1;

/// What a table takes for its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Fractional bits that its operand should have.
    pub frac: i8,
    /// Fractional bits of its slopes.
    pub slope_frac: u8,
}

impl Formats {
    /// Of the table with the coarsest one's error halved so often.
    pub fn of(detail: u8) -> Formats {
        Formats { frac: (GRID + 1 + detail) as i8, slope_frac: SLOPE_FRAC + detail }
    }

    /// The ring that holds its results, which are less than 1.
    pub fn bits(self, frac: i8) -> u8 {
        (frac + self.slope_frac as i8 + 1) as u8
    }
}

/// The table for operands with `frac` fractional bits, its errors halved `detail` times. `None` if
/// these are too few.
pub fn exponential(frac: i8, detail: u8) -> Option<Table> {
    let grid = (GRID + detail / 2).min(u8::try_from(frac).ok()?);
    let segments = segments(grid, detail)?;
    let place = |corner: i64| corner << (frac as u8 - grid);
    let first = segments.first()?.0;
    let rising = segments.iter().map(|(corner, slope)| (place(*corner), 2 * slope));
    let segments = std::iter::once((place(first - 1), 0)).chain(rising).chain([(0, 0)]).collect();
    Some(Table::of_segments(frac, Formats::of(detail).slope_frac, segments, 0))
}

/// Places and halved slopes of a table's rising segments.
type Segments = Vec<(i64, i64)>;

/// Those of a table. The search takes a moment, and every softmax at every try of formats asks for
/// the same.
fn segments(grid: u8, detail: u8) -> Option<Segments> {
    static FOUND: Mutex<BTreeMap<(u8, u8), Option<Segments>>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let search = || {
        let tolerance = ERROR * (-f64::from(detail)).exp2();
        let step = (-f64::from(grid)).exp2();
        // Twice the unit of results, as slopes are even.
        let lattice = Lattice { step, unit: 2.0 * step * (-f64::from(Formats::of(detail).slope_frac)).exp2() };
        let lowest = ((tolerance.ln() - BELOW) / step).floor() as i64;
        let most = (1.0 / lattice.unit) as i64;
        Some(fewest(&f64::exp, lattice, [lowest, 0], tolerance, 0..most, Begin::FlatThenRising)?.segments)
    };
    found.entry((grid, detail)).or_insert_with(search).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::verify::sign_is_proven;
    use fusion_ir::{Op, Sign, TensorType, interp};

    fn results(frac: i8, detail: u8, bits: u8) -> (Table, bool, Vec<i64>) {
        let table = exponential(frac, detail).unwrap();
        let half = 1i64 << (bits - 1);
        let x: Vec<i64> = (-half..half).collect();
        let ty = |frac| TensorType { shape: vec![x.len()], bits, frac, magnitude: bits - 1, sign: Sign::Any };
        let op = Op::Piecewise(table.piecewise(bits));
        let (from, to) = (ty(frac), ty(frac + table.slope_frac as i8));
        let proven = sign_is_proven(&op, &[&from], &to);
        let y = interp::apply_public(&op, &[&x], &[&from], &to);
        (table, proven, y)
    }

    #[test]
    fn few_kinks_do_and_errors_halve() {
        for (detail, kinks) in [(0, 7), (1, 10), (2, 14), (3, 20), (4, 28), (5, 39)] {
            let formats = Formats::of(detail);
            let bits = formats.bits(formats.frac);
            let (table, proven, y) = results(formats.frac, detail, bits);
            assert!(proven && y.iter().all(|y| *y >= 0));
            assert!(table.knots() <= kinks, "{detail}: {}", table.knots());
            let real = |at: usize, frac: i8| (at as f64 - (y.len() / 2) as f64) * (-f64::from(frac)).exp2();
            let unit = (-f64::from(formats.frac) - f64::from(table.slope_frac)).exp2();
            let error = |at: usize| (y[at] as f64 * unit - real(at, formats.frac).exp()).abs();
            let worst = (0..=y.len() / 2).map(error).fold(0.0, f64::max);
            let allowed = (-7.0 - f64::from(detail)).exp2();
            assert!(worst <= 1.01 * allowed && worst > allowed / 2.0, "{detail}: {worst}");
        }
    }

    #[test]
    fn no_operand_of_any_ring_has_a_negative_result() {
        for (frac, detail, more) in [(5, 0, 0), (6, 1, 0), (6, 1, 3), (4, 1, 0), (9, 1, 1), (7, 2, 2), (3, 3, 0)] {
            let (_, proven, y) = results(frac, detail, Formats::of(detail).bits(frac) + more);
            assert!(proven && y.iter().all(|y| *y >= 0), "{frac} {detail} {more}");
        }
        // A ring that holds only half of the results proves nothing.
        assert!(!results(6, 0, Formats::of(0).bits(6) - 1).1);
        assert!(exponential(-1, 0).is_none());
    }
}
