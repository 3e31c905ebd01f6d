//! Explaining measured times as sums of what was computed.

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

/// The non-negative values of the unknowns that explain the samples best: least squares of the
/// relative errors, so that short measurements count as much as long ones.
///
/// Cyclic coordinate descent, each step the exact minimum along its coordinate or zero (Franc,
/// Hlavac, Navara: "Sequential coordinate-wise algorithm for the non-negative least squares
/// problem", CAIP 2005).
pub fn non_negative(samples: &[Sample], unknowns: usize) -> Vec<f64> {
    const SWEEPS: usize = 20_000;
    let rows: Vec<Vec<f64>> =
        samples.iter().map(|sample| sample.counts.iter().map(|count| count / sample.total).collect()).collect();
    let column = |i: usize| rows.iter().map(move |row| row[i]);
    let product = |i: usize, j: usize| column(i).zip(column(j)).map(|(a, b)| a * b).sum::<f64>();
    let normal: Vec<Vec<f64>> = (0..unknowns).map(|i| (0..unknowns).map(|j| product(i, j)).collect()).collect();
    let unknown: Vec<f64> = samples.iter().map(|sample| 1.0 - sample.known / sample.total).collect();
    let mut values = vec![0.0; unknowns];
    // The gradient at `values`.
    let mut gradient: Vec<f64> =
        (0..unknowns).map(|i| -column(i).zip(&unknown).map(|(a, b)| a * b).sum::<f64>()).collect();
    for _ in 0..SWEEPS {
        for i in (0..unknowns).filter(|i| normal[*i][*i] > 0.0) {
            let better = (values[i] - gradient[i] / normal[i][i]).max(0.0);
            let change = better - values[i];
            values[i] = better;
            gradient.iter_mut().zip(&normal[i]).for_each(|(gradient, n)| *gradient += change * n);
        }
    }
    values
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
        let found = non_negative(&samples, 3);
        assert!(found.iter().zip(truth).all(|(a, b)| (a / b - 1.0).abs() < 1e-6), "{found:?}");
        assert!(errors(&samples, &found).iter().all(|error| error.abs() < 1e-6));
    }

    #[test]
    fn nothing_is_negative_and_what_never_occurs_is_zero() {
        let mut samples = samples([2.0, -1.0, 0.0], &[[10.0, 5.0, 0.0], [8.0, 1.0, 0.0], [9.0, 9.0, 0.0]]);
        let found = non_negative(&samples, 3);
        assert_eq!(found[1..], [0.0, 0.0]);
        // With one unknown left, the best relative fit is known in closed form.
        let rows: Vec<[f64; 2]> = samples.iter().map(|s| [s.counts[0] / s.total, 1.0 - s.known / s.total]).collect();
        let sum = |f: fn(&[f64; 2]) -> f64| rows.iter().map(f).sum::<f64>();
        let best = sum(|[a, b]| a * b) / sum(|[a, _]| a * a);
        assert!((found[0] - best).abs() < 1e-9);
        samples.clear();
        assert_eq!(non_negative(&samples, 3), [0.0; 3]);
    }
}
