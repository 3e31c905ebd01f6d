//! Polylines near functions: few corners, and errors that cancel.

/// How far a polyline may be from its function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowed {
    /// As a part of the function's value there.
    pub part: f64,
    /// Wherever it is.
    pub least: f64,
}

impl Allowed {
    /// The same everywhere.
    pub fn everywhere(least: f64) -> Allowed {
        Allowed { part: 0.0, least }
    }

    /// Where the function is `y`.
    pub fn at(self, y: f64) -> f64 {
        self.least.max(self.part * y.abs())
    }
}

/// Places between two corners at which a function is looked at.
const CHECKS: i64 = 48;

/// Corners of a polyline near `at`. It goes exactly through the function at `fixed`, its kinks and
/// ends, which rise; between them the corners are as far apart as chords stay within `tolerance`,
/// and as high as makes the square of the error least, as a part of what is allowed. So a curve is
/// crossed instead of cut off: means over many elements keep no error of one sign. Where the
/// function has one sign, the polyline's corners have no other.
pub fn fit(at: &impl Fn(i64) -> f64, fixed: &[i64], tolerance: Allowed) -> Vec<(i64, f64)> {
    let mut corners = vec![fixed[0]];
    for pair in fixed.windows(2) {
        while corners[corners.len() - 1] < pair[1] {
            corners.push(furthest(at, corners[corners.len() - 1], pair[1], tolerance));
        }
    }
    let heights: Vec<f64> = corners.iter().map(|x| at(*x)).collect();
    let is_fixed: Vec<bool> = corners.iter().map(|x| fixed.binary_search(x).is_ok()).collect();
    let (positive, negative) = (heights.iter().all(|y| *y >= 0.0), heights.iter().all(|y| *y <= 0.0));
    let bounds = (if positive { 0.0 } else { f64::MIN }, if negative { 0.0 } else { f64::MAX });
    let best = least_squares(at, &corners, &heights, &is_fixed, tolerance);
    corners.into_iter().zip(best.into_iter().map(|y| y.clamp(bounds.0, bounds.1))).collect()
}

/// The heights with the least integral of the squared error; `heights` where they are fixed.
fn least_squares(
    at: &impl Fn(i64) -> f64,
    corners: &[i64],
    heights: &[f64],
    is_fixed: &[bool],
    tolerance: Allowed,
) -> Vec<f64> {
    let n = corners.len();
    // A tridiagonal system: each corner's own coefficient, the one it shares with the next, and the
    // right side.
    let (mut own, mut next, mut right) = (vec![0f64; n], vec![0f64; n], vec![0f64; n]);
    for i in 0..n.saturating_sub(1) {
        let (from, to) = (corners[i], corners[i + 1]);
        let places = between(from, to);
        let even = (to - from) as f64 / places.clone().count() as f64;
        for x in places {
            let weight = even * (tolerance.least / tolerance.at(at(x))).powi(2);
            let t = (x - from) as f64 / (to - from) as f64;
            own[i] += weight * (1.0 - t) * (1.0 - t);
            own[i + 1] += weight * t * t;
            next[i] += weight * t * (1.0 - t);
            right[i] += weight * (1.0 - t) * at(x);
            right[i + 1] += weight * t * at(x);
        }
    }
    for i in 0..n {
        if is_fixed[i] {
            (own[i], right[i]) = (1.0, heights[i]);
        }
    }
    // Elimination from left to right; a fixed corner takes part as a known number.
    let below = |i: usize| if is_fixed[i] { 0.0 } else { next[i - 1] };
    let above = |i: usize| if is_fixed[i] { 0.0 } else { next[i] };
    for i in 1..n {
        let factor = below(i) / own[i - 1];
        own[i] -= factor * above(i - 1);
        right[i] -= factor * right[i - 1];
    }
    let mut best = vec![0f64; n];
    for i in (0..n).rev() {
        let known = if i + 1 < n { above(i) * best[i + 1] } else { 0.0 };
        best[i] = (right[i] - known) / own[i];
    }
    best
}

/// The furthest point up to `end` to which a straight line from `from` stays within the tolerance.
fn furthest(at: &impl Fn(i64) -> f64, from: i64, end: i64, tolerance: Allowed) -> i64 {
    let good = |to: i64| {
        let (a, b) = (at(from), at(to));
        let slope = (b - a) / (to - from) as f64;
        between(from, to).all(|x| {
            let y = at(x);
            (a + slope * (x - from) as f64 - y).abs() <= tolerance.at(y)
        })
    };
    if good(end) {
        return end;
    }
    let (mut reached, mut beyond) = (from + 1, end);
    while beyond - reached > 1 {
        let middle = reached + (beyond - reached) / 2;
        if good(middle) { reached = middle } else { beyond = middle }
    }
    reached
}

/// Evenly spaced integers from one to another, both included where their distance allows.
fn between(from: i64, to: i64) -> impl Iterator<Item = i64> + Clone {
    let step = ((to - from) / CHECKS).max(1);
    (0..=(to - from) / step).map(move |i| from + i * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and largest absolute error over all integers.
    fn errors(at: &impl Fn(i64) -> f64, corners: &[(i64, f64)]) -> (f64, f64) {
        let mut all = Vec::new();
        for pair in corners.windows(2) {
            let [(from, a), (to, b)] = [pair[0], pair[1]];
            let line = |x: i64| a + (b - a) * (x - from) as f64 / (to - from) as f64;
            all.extend((from..to).map(|x| line(x) - at(x)));
        }
        let worst = all.iter().fold(0f64, |most, e| most.max(e.abs()));
        (all.iter().sum::<f64>() / all.len() as f64, worst)
    }

    #[test]
    fn errors_on_a_parabola_cancel() {
        let square = |x: i64| (x as f64 / 100.0).powi(2);
        let corners = fit(&square, &[0, 1000], Allowed::everywhere(0.2));
        let (mean, worst) = errors(&square, &corners);
        assert!(corners.len() > 4 && mean.abs() < 0.02 && worst < 0.2, "{mean} {worst} {corners:?}");
        // Chords have an error of one sign, two thirds of their largest on average.
        let chords: Vec<(i64, f64)> = corners.iter().map(|(x, _)| (*x, square(*x))).collect();
        assert!(errors(&square, &chords).0 > 0.1);
    }

    #[test]
    fn kinks_and_ends_are_exact_and_straight_lines_stay() {
        let clip = |x: i64| (x as f64).clamp(-7.0, 30.0);
        assert_eq!(
            fit(&clip, &[-50, -7, 30, 90], Allowed::everywhere(0.5)),
            [(-50, -7.0), (-7, -7.0), (30, 30.0), (90, 30.0)]
        );
        let bent = |x: i64| if x < 0 { 0.0 } else { (x as f64).sqrt() };
        let corners = fit(&bent, &[-100, 0, 400], Allowed::everywhere(0.25));
        assert_eq!((corners[0], corners[1]), ((-100, 0.0), (0, 0.0)));
        assert_eq!(corners[corners.len() - 1], (400, 20.0));
    }

    #[test]
    fn a_function_of_one_sign_stays_so() {
        let decay = |x: i64| (-x as f64 / 8.0).exp();
        assert!(fit(&decay, &[0, 200], Allowed::everywhere(0.02)).iter().all(|(_, y)| *y >= 0.0));
        assert!(fit(&|x| -decay(x), &[0, 200], Allowed::everywhere(0.02)).iter().all(|(_, y)| *y <= 0.0));
    }
}
