//! Comparisons of numbers with thresholds.

use fusion_ir::input::ordered;

use crate::nn::trees::{LARGEST, Test};

/// One comparison of a number of whatever type with a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Ask {
    pub feature: usize,
    pub threshold: f64,
    /// Whether it is true of numbers below the threshold only, not of the threshold itself.
    pub strict: bool,
    /// Whether it is true of all other numbers instead.
    pub above: bool,
    /// What it is of a missing value.
    pub missing: bool,
}

impl Ask {
    /// Whether it is true of `x`.
    pub fn holds(&self, x: f64) -> bool {
        let below = if self.strict { x < self.threshold } else { x <= self.threshold };
        if x.is_nan() { self.missing } else { below != self.above }
    }

    /// The same of numbers of float32.
    pub fn test(&self) -> Test {
        let Ask { feature, threshold, strict, above, missing } = *self;
        Test { feature, most: at_most(threshold, strict), above, missing }
    }
}

/// The order of the largest float32 that is at most `threshold`, or below it if `strict`;
/// `-LARGEST - 1` if there is none.
fn at_most(threshold: f64, strict: bool) -> i64 {
    if threshold.is_nan() {
        return -LARGEST - 1;
    }
    let nearest = threshold as f32;
    let order = ordered(nearest);
    let beyond = if strict { f64::from(nearest) >= threshold } else { f64::from(nearest) > threshold };
    if beyond { order - 1 } else { order }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::trees::unordered;

    #[test]
    fn thresholds_between_float32_are_on_the_right_side() {
        for (threshold, strict, most) in
            [(1.0, false, 1.0f32), (0.1, false, 0.099_999_994), (0.1f32.into(), false, 0.1)]
        {
            assert_eq!(at_most(threshold, strict), ordered(most), "{threshold}");
        }
        assert_eq!(at_most(1.0, true), ordered(1.0) - 1);
        assert_eq!((at_most(-0.0, true), at_most(-0.0, false)), (-1, 0));
        assert_eq!(at_most(f64::NEG_INFINITY, true), -LARGEST - 1);
        assert_eq!((at_most(f64::INFINITY, false), at_most(1e300, false)), (LARGEST, LARGEST - 1));
        assert_eq!([0, 5, -5, LARGEST].map(|order| ordered(unordered(order))), [0, 5, -5, LARGEST]);
    }
}
