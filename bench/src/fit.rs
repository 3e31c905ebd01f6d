//! Explaining measured times as sums of what was computed.

use crate::record::median;

/// One measurement: how often each of the unknowns occurred, and what it took together.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Occurrences of each unknown.
    pub counts: Vec<f64>,
    /// What is known to be due to something else.
    pub known: f64,
    /// Everything together, positive.
    pub total: f64,
}

/// The non-negative values of the unknowns that explain the samples best: the least sum of relative
/// errors, so that short measurements count as much as long ones, and those that something else
/// disturbed for little.
///
/// Unknowns that the samples do not tell apart keep the proportions of `expected`, of which those
/// at zero say nothing.
///
/// Least squares again and again, each sample weighed by the inverse of its error before (Holland
/// and Welsch: "Robust regression using iteratively reweighted least-squares", 1977).
pub fn non_negative(samples: &[Sample], expected: &[f64]) -> Vec<f64> {
    const ROUNDS: usize = 12;
    /// Errors below are as good as none.
    const SMALL: f64 = 0.02;
    /// What an unknown's relative distance to its expectation weighs.
    const PROPORTION: f64 = 5.0;
    let mut values = vec![0.0; expected.len()];
    let mut all = samples.to_vec();
    let speed = speed(samples, expected);
    for (unknown, expected) in expected.iter().enumerate().filter(|(_, expected)| **expected > 0.0) {
        let mut counts = vec![0.0; values.len()];
        counts[unknown] = 1.0 / (speed * expected);
        all.push(Sample { counts, known: 0.0, total: 1.0 });
    }
    let mut weights = vec![1.0; samples.len()];
    for _ in 0..ROUNDS {
        weights.resize(all.len(), PROPORTION);
        least_squares(&all, &weights, &mut values);
        weights = errors(samples, &values).into_iter().map(|error| 1.0 / error.abs().max(SMALL)).collect();
    }
    values
}

/// By how much `expected` falls short of the samples, in the median.
fn speed(samples: &[Sample], expected: &[f64]) -> f64 {
    let ratio = |sample: &Sample| {
        let said = sample.counts.iter().zip(expected).map(|(count, value)| count * value).sum::<f64>();
        (sample.total - sample.known) / said
    };
    let ratios = samples.iter().map(ratio).filter(|ratio| ratio.is_finite() && *ratio > 0.0).collect::<Vec<_>>();
    if ratios.is_empty() { 1.0 } else { median(ratios) }
}

/// Improves `values` to those of least weighted squares of the relative errors.
///
/// Cyclic coordinate descent, each step the exact minimum along its coordinate or zero (Franc,
/// Hlavac, Navara: "Sequential coordinate-wise algorithm for the non-negative least squares
/// problem", CAIP 2005).
fn least_squares(samples: &[Sample], weights: &[f64], values: &mut [f64]) {
    const SWEEPS: usize = 5_000;
    let unknowns = values.len();
    let rows: Vec<Vec<f64>> =
        samples.iter().map(|sample| sample.counts.iter().map(|count| count / sample.total).collect()).collect();
    let column = |i: usize| rows.iter().map(move |row| row[i]);
    let product =
        |i: usize, j: usize| column(i).zip(column(j)).zip(weights).map(|((a, b), weight)| a * b * weight).sum::<f64>();
    let normal: Vec<Vec<f64>> = (0..unknowns).map(|i| (0..unknowns).map(|j| product(i, j)).collect()).collect();
    // The gradient at `values`.
    let missing: Vec<f64> =
        errors(samples, values).into_iter().zip(weights).map(|(error, weight)| error * weight).collect();
    let mut gradient: Vec<f64> =
        (0..unknowns).map(|i| column(i).zip(&missing).map(|(a, b)| a * b).sum::<f64>()).collect();
    for _ in 0..SWEEPS {
        for i in (0..unknowns).filter(|i| normal[*i][*i] > 0.0) {
            let better = (values[i] - gradient[i] / normal[i][i]).max(0.0);
            let change = better - values[i];
            values[i] = better;
            gradient.iter_mut().zip(&normal[i]).for_each(|(gradient, n)| *gradient += change * n);
        }
    }
}

/// Each sample's error: what `values` say of it over what it took, minus one.
pub fn errors(samples: &[Sample], values: &[f64]) -> Vec<f64> {
    let said = |sample: &Sample| sample.counts.iter().zip(values).map(|(count, value)| count * value).sum::<f64>();
    samples.iter().map(|sample| (sample.known + said(sample)) / sample.total - 1.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: [f64; 3], counts: &[[f64; 3]]) -> Vec<Sample> {
        let total = |counts: &[f64; 3]| counts.iter().zip(values).map(|(count, value)| count * value).sum::<f64>();
        let known = |counts: &[f64; 3]| counts[0] * 0.5;
        let sample = |counts: &[f64; 3]| Sample {
            counts: counts.to_vec(),
            known: known(counts),
            total: known(counts) + total(counts),
        };
        counts.iter().map(sample).collect()
    }

    #[test]
    fn exact_samples_give_exact_values() {
        let truth = [3.0, 0.01, 500.0];
        let counts = [[10.0, 9000.0, 1.0], [1.0, 100.0, 0.0], [0.0, 7.0, 2.0], [5.0, 0.0, 1.0], [90.0, 100.0, 3.0]];
        let samples = samples(truth, &counts);
        let found = non_negative(&samples, &[0.0; 3]);
        assert!(found.iter().zip(truth).all(|(a, b)| (a / b - 1.0).abs() < 1e-6), "{found:?}");
        assert!(errors(&samples, &found).iter().all(|error| error.abs() < 1e-6));
    }

    #[test]
    fn what_was_disturbed_hardly_counts() {
        let truth = [3.0, 0.01, 500.0];
        let counts: Vec<[f64; 3]> =
            (1..20).map(|i| [f64::from(i * 7 % 11), f64::from(i * i * 40), f64::from(i % 3)]).collect();
        let mut samples = samples(truth, &counts);
        [2, 9, 14].into_iter().for_each(|disturbed| samples[disturbed].total *= 2.5);
        let off = |values: &[f64]| values.iter().zip(truth).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
        assert!(off(&non_negative(&samples, &[0.0; 3])) < 0.05);
        let mut squares = [0.0; 3];
        least_squares(&samples, &[1.0; 19], &mut squares);
        assert!(off(&squares) > 0.1, "{squares:?}");
    }

    #[test]
    fn what_samples_do_not_tell_apart_keeps_its_proportions() {
        // The first two always come together; everything takes twice what was expected.
        let truth = [4.0, 2.0, 600.0];
        let counts = [[10.0, 10.0, 1.0], [1.0, 1.0, 0.0], [7.0, 7.0, 2.0], [5.0, 5.0, 1.0], [90.0, 90.0, 0.0]];
        let found = non_negative(&samples(truth, &counts), &[2.0, 1.0, 300.0]);
        assert!(found.iter().zip(truth).all(|(a, b)| (a / b - 1.0).abs() < 0.05), "{found:?}");
    }

    #[test]
    fn nothing_is_negative_and_what_never_occurs_is_zero() {
        let mut samples = samples([2.0, -1.0, 0.0], &[[10.0, 5.0, 0.0], [8.0, 1.0, 0.0], [9.0, 9.0, 0.0]]);
        let found = non_negative(&samples, &[0.0; 3]);
        assert_eq!(found[1..], [0.0, 0.0]);
        // With one unknown left, the best relative fit is known in closed form.
        let rows: Vec<[f64; 2]> = samples.iter().map(|s| [s.counts[0] / s.total, 1.0 - s.known / s.total]).collect();
        let sum = |f: fn(&[f64; 2]) -> f64| rows.iter().map(f).sum::<f64>();
        let best = sum(|[a, b]| a * b) / sum(|[a, _]| a * a);
        let mut values = [0.0; 3];
        least_squares(&samples, &[1.0; 3], &mut values);
        assert!((values[0] - best).abs() < 1e-9 && values[1..] == [0.0, 0.0], "{values:?}");
        samples.clear();
        assert_eq!(non_negative(&samples, &[0.0; 3]), [0.0; 3]);
    }
}
