//! Factorials, binomial coefficients and tail sums in the logarithm, with a stated error.

/// `ln n!` with an error below `2^-50 (1 + ln n!)`: a product while it is short, then Stirling's
/// series.
pub(super) fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|factor| factor as f64).product::<f64>().ln();
    }
    let n = n as f64;
    let (inverse, square) = (1.0 / n, 1.0 / (n * n));
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (n + 0.5) * n.ln() - n + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

/// `ln C(n, k)`, minus infinity where `k > n`.
pub(super) fn ln_choose(n: u64, k: u64) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// What to add to a logarithm assembled from factorials of numbers that sum to at most a few `n`,
/// so that it is an upper bound: a generous multiple of their errors and of the roundings in
/// between.
pub(super) fn margin(n: u64) -> f64 {
    (1.0 + ln_factorial(n)) * 2f64.powi(-46)
}

/// The logarithm of the sum of `exp(ln_term(i))` over `lo ..= hi`, for terms that are log-concave
/// in `i` and positive.
///
/// Sums outwards from the largest term; once the rest, bounded by its first term times their
/// number, is below rounding it is added as that bound. `None` if the sum cannot exceed
/// `exp(floor)`, which the largest term alone may show.
pub(super) fn ln_sum(lo: u64, hi: u64, floor: f64, ln_term: impl Fn(u64) -> f64) -> Option<f64> {
    if lo > hi {
        return None;
    }
    let mode = first(lo, hi, |i| i == hi || ln_term(i + 1) < ln_term(i)).unwrap_or(hi);
    let peak = ln_term(mode);
    if peak == f64::NEG_INFINITY || peak + ((hi - lo + 1) as f64).ln() <= floor {
        return None;
    }
    let mut sum = 1.0;
    let mut add = |i: u64, left: u64| {
        let term = (ln_term(i) - peak).exp();
        let rest = term * (left + 1) as f64;
        let negligible = rest < sum * 2f64.powi(-60);
        sum += if negligible { rest } else { term };
        negligible
    };
    for i in mode + 1..=hi {
        if add(i, hi - i) {
            break;
        }
    }
    for i in (lo..mode).rev() {
        if add(i, i - lo) {
            break;
        }
    }
    let total = peak + sum.ln();
    (total > floor).then_some(total)
}

/// The least `i` in `lo ..= hi` with `holds(i)`, for a predicate that once true stays true. Gallops
/// from `lo`, so small answers never ask about large `i`.
pub(super) fn first(lo: u64, hi: u64, mut holds: impl FnMut(u64) -> bool) -> Option<u64> {
    let (mut below, mut above, mut step) = (lo, lo, 1);
    if lo > hi {
        return None;
    }
    while !holds(above) {
        if above == hi {
            return None;
        }
        below = above + 1;
        above = above.saturating_add(step).min(hi);
        step = step.saturating_mul(2);
    }
    while below < above {
        let middle = below + (above - below) / 2;
        if holds(middle) { above = middle } else { below = middle + 1 }
    }
    Some(above)
}

/// `P[Bin(n, p) = k]` in the logarithm.
pub(super) fn ln_binomial(n: u64, p: f64, k: u64) -> f64 {
    // 0 * ln 0 counts as 0.
    let power = |exponent: u64, ln: f64| if exponent == 0 { 0.0 } else { exponent as f64 * ln };
    ln_choose(n, k) + power(k, p.ln()) + power(n - k, (-p).ln_1p())
}

/// `P[lo <= Bin(n, p) <= hi]`, rounded up; 1 if `p` is no number. Zero only where it is impossible.
pub(super) fn binomial(n: u64, p: f64, lo: u64, hi: u64) -> f64 {
    match ln_binomial_sum(n, p, lo, hi) {
        f64::NEG_INFINITY => 0.0,
        ln => ln.exp().clamp(f64::MIN_POSITIVE, 1.0),
    }
}

/// The logarithm of [`binomial`], which holds probabilities below the smallest float too.
pub(super) fn ln_binomial_sum(n: u64, p: f64, lo: u64, hi: u64) -> f64 {
    let hi = hi.min(n);
    let possible = |possible| if possible { 0.0 } else { f64::NEG_INFINITY };
    if p.is_nan() || (lo == 0 && hi == n) {
        return 0.0;
    }
    // At the ends of the range of p all terms but one vanish, and the sum wants positive ones.
    if p <= 0.0 {
        return possible(lo == 0);
    }
    if p >= 1.0 {
        return possible(lo <= n && hi == n);
    }
    if lo > hi {
        return f64::NEG_INFINITY;
    }
    // From the largest term outwards, each from its neighbour; the rest is bounded as in `ln_sum`.
    let mode = ((n as f64 * p) as u64).clamp(lo, hi);
    let (odds, mut sum) = (p / (1.0 - p), 1.0);
    let mut term = 1.0;
    for k in mode + 1..=hi {
        term *= (n - k + 1) as f64 / k as f64 * odds;
        sum += term;
        if term * ((hi - k) as f64) < sum * 2f64.powi(-60) {
            sum += term * (hi - k) as f64;
            break;
        }
    }
    term = 1.0;
    for k in (lo..mode).rev() {
        term *= (k + 1) as f64 / (n - k) as f64 / odds;
        sum += term;
        if term * ((k - lo) as f64) < sum * 2f64.powi(-60) {
            sum += term * (k - lo) as f64;
            break;
        }
    }
    (ln_binomial(n, p, mode) + sum.ln() + margin(n)).min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factorials_match_the_sum_of_logarithms() {
        let (mut sum, mut carry) = (0.0f64, 0.0f64);
        for n in 1..=300_000u64 {
            // Compensated, so that the oracle is the better of the two.
            let term = (n as f64).ln() - carry;
            let next = sum + term;
            carry = (next - sum) - term;
            sum = next;
            if n < 200 || n % 1009 == 0 {
                assert!((ln_factorial(n) - sum).abs() <= 2f64.powi(-50) * (1.0 + sum), "{n}");
            }
        }
        assert_eq!(ln_factorial(0), 0.0);
    }

    #[test]
    fn binomial_sums_match_the_recurrence() {
        for (n, p) in [(1u64, 0.5f64), (7, 0.3), (40, 0.24), (300, 0.02), (2000, 0.04)] {
            let mut mass = (n as f64 * (-p).ln_1p()).exp();
            let mut below = 0.0;
            for k in 0..=n {
                below += mass;
                let (at_most, at_least) = (binomial(n, p, 0, k), binomial(n, p, k, n));
                assert!((at_most - below.min(1.0)).abs() < 1e-9, "{n} {p} {k}: {at_most} {below}");
                assert!((at_least - (1.0 - below + mass).max(0.0)).abs() < 1e-9, "{n} {p} {k}");
                mass *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
            }
        }
    }

    #[test]
    fn binomial_ends() {
        assert_eq!(binomial(10, 0.0, 0, 3), 1.0);
        assert_eq!(binomial(10, 0.0, 1, 10), 0.0);
        assert_eq!(binomial(10, 1.0, 0, 9), 0.0);
        assert_eq!(binomial(10, 1.0, 4, 10), 1.0);
        assert_eq!(binomial(0, 0.4, 0, 0), 1.0);
        assert_eq!(binomial(5, 0.4, 6, 5), 0.0);
        // Below the smallest float, yet not zero.
        assert_eq!(binomial(1 << 30, 0.5, 0, 3), f64::MIN_POSITIVE);
    }

    #[test]
    fn searching_finds_the_least() {
        for answer in 0..40 {
            assert_eq!(first(0, 39, |i| i >= answer), (answer <= 39).then_some(answer));
            assert_eq!(first(3, u64::MAX, |i| i >= answer), Some(answer.max(3)));
        }
        assert_eq!(first(0, u64::MAX, |_| false), None);
        assert_eq!(first(5, 4, |_| true), None);
    }
}
