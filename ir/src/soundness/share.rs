//! How frequent the most frequent label may be, judged by labels that were drawn.

use super::CONFIDENCE;
use super::tails::binomial;

/// An upper bound, with confidence [`CONFIDENCE`] over the draw, on the largest share of a label in
/// the distribution that `labels` labels were drawn from, of which the most frequent one has
/// `most`: Clopper and Pearson's. It grows with `most`, so it holds for the label that is the most
/// frequent in truth. 1 without labels, or if all are equal.
pub fn largest_share(most: u64, labels: u64) -> f64 {
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
        // Never seen among n labels: 1 - doubt^(1/n).
        assert!((largest_share(0, 50) - (1.0 - 0.01f64.powf(0.02))).abs() < 1e-9);
        // Of 10 labels of two classes, 5 each: P[Bin(10, p) <= 5] = 0.01.
        let bound = largest_share(5, 10);
        assert!((binomial(10, bound, 0, 5) - 0.01).abs() < 1e-9 && (0.82..0.86).contains(&bound), "{bound}");
        assert_eq!(largest_share(0, 0), 1.0);
        assert_eq!(largest_share(7, 7), 1.0);
    }

    #[test]
    fn more_labels_say_more() {
        let bounds = [10, 100, 1000, 100_000].map(|n| largest_share(n / 2, n));
        assert!(bounds.windows(2).all(|pair| pair[0] > pair[1]) && bounds[3] < 0.51, "{bounds:?}");
        assert!(bounds.iter().all(|bound| *bound > 0.5));
    }
}
