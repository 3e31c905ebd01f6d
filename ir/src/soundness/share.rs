//! How frequent the most frequent label may be, judged by labels that were drawn.

use super::CONFIDENCE;
use super::tails::binomial;

/// An upper bound, with confidence [`CONFIDENCE`] over the draw, on the largest share of a label in the distribution
/// that labels with these counts were drawn from: Clopper and Pearson's for the most frequent label. It grows with
/// the count, so it holds for the label that is the most frequent in truth. 1 without labels, or if all are equal.
pub fn largest_share(counts: &[u64]) -> f64 {
    let labels: u64 = counts.iter().sum();
    let most = counts.iter().copied().max().unwrap_or(0);
    let doubt = 1.0 - CONFIDENCE;
    let (mut likely, mut unlikely) = (0.0, 1.0);
    while unlikely - likely > 2f64.powi(-40) {
        let share = 0.5 * (likely + unlikely);
        if binomial(labels, share, 0, most) <= doubt { unlikely = share } else { likely = share }
    }
    unlikely
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // One class never seen among n labels: 1 - doubt^(1/n).
        let bound = largest_share(&[0]);
        assert_eq!(bound, 1.0);
        // Of 10 labels of two classes, 5 each: P[Bin(10, p) <= 5] = 0.01.
        let bound = largest_share(&[5, 5]);
        assert!((binomial(10, bound, 0, 5) - 0.01).abs() < 1e-9 && (0.82..0.86).contains(&bound), "{bound}");
        assert_eq!(largest_share(&[]), 1.0);
        assert_eq!(largest_share(&[7, 0, 0]), 1.0);
    }

    #[test]
    fn more_labels_say_more() {
        let bounds = [10, 100, 1000, 100_000].map(|n| largest_share(&[n / 2, n / 2]));
        assert!(bounds.windows(2).all(|pair| pair[0] > pair[1]) && bounds[3] < 0.51, "{bounds:?}");
        assert!(bounds.iter().all(|bound| *bound > 0.5));
    }
}
