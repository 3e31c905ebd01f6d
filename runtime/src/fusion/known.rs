//! What the client knows of the right answer to a public sample, and when an answer is right.
//!
//! Labels are right if they are the known ones. A value is right within a tolerance that the client
//! names: twice the tolerance away from a right value, none is right, on which position consistency
//! of values rests (SECURITY.md).

use std::collections::BTreeMap;

/// What is known of the right answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// Labels, best first: one, or more where the plan reveals more. All of them are compared.
    Labels(Vec<i64>),
    /// Values, all of which an answer has to be near.
    Values(Values),
}

/// Known values.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// The right numbers, as many as the plan reveals.
    values: Vec<f64>,
    /// How far an answer may be from each.
    tolerance: f64,
    /// Fractional bits of answers.
    frac: i8,
}

impl From<Vec<i64>> for Known {
    fn from(labels: Vec<i64>) -> Known {
        Known::Labels(labels)
    }
}

impl Known {
    /// Values, and how far answers, integers with `frac` fractional bits, may be from them; `None`
    /// unless all of these are finite, and the tolerance is not negative.
    pub fn values(values: Vec<f64>, tolerance: f64, frac: i8) -> Option<Known> {
        let finite = values.iter().all(|value| value.is_finite()) && tolerance.is_finite();
        (finite && tolerance >= 0.0).then_some(Known::Values(Values { values, tolerance, frac }))
    }

    /// How many labels, or values.
    #[expect(clippy::len_without_is_empty, reason = "nothing known is no evidence")]
    pub fn len(&self) -> usize {
        match self {
            Known::Labels(labels) => labels.len(),
            Known::Values(Values { values, .. }) => values.len(),
        }
    }

    /// How far an answer may be from a known value.
    pub fn tolerance(&self) -> Option<f64> {
        match self {
            Known::Labels(_) => None,
            Known::Values(Values { tolerance, .. }) => Some(*tolerance),
        }
    }

    /// Whether an answer of this [meaning](fusion_ir::interp::meaning) is right.
    pub fn allows(&self, meaning: &[i64]) -> bool {
        match self {
            Known::Labels(known) => {
                let ranks = if cfg!(fusion_ablate = "first-rank-only") { 1 } else { known.len() };
                !known.is_empty() && meaning.get(..ranks) == known.get(..ranks)
            }
            Known::Values(known) => {
                let near = |(element, value): (&i64, &f64)| (known.real(*element) - value).abs() <= known.tolerance;
                let whole = !meaning.is_empty() && meaning.len() == known.values.len();
                whole && meaning.iter().zip(&known.values).all(near)
            }
        }
    }
}

impl Values {
    fn real(&self, element: i64) -> f64 {
        element as f64 * (-f64::from(self.frac)).exp2()
    }
}

/// Of how many samples one answer can be right at most, whatever it is: those with the most
/// frequent label, or those with a value within the tolerance of one number.
pub(super) fn most_alike<'k>(known: impl Iterator<Item = &'k Known>) -> u64 {
    let mut counts = BTreeMap::<i64, u64>::new();
    let mut ends: Vec<Vec<(f64, bool)>> = Vec::new();
    for known in known {
        match known {
            Known::Labels(labels) => {
                labels.first().into_iter().for_each(|label| *counts.entry(*label).or_default() += 1)
            }
            Known::Values(Values { values, tolerance, .. }) => {
                ends.resize(ends.len().max(values.len()), Vec::new());
                let each = ends.iter_mut().zip(values);
                each.for_each(|(ends, value)| ends.extend([(value - tolerance, false), (value + tolerance, true)]));
            }
        }
    }
    // Of several values each has to be near: no more samples than for any of them.
    let windows = ends.into_iter().map(most_overlapping).min();
    counts.into_values().max().into_iter().chain(windows).max().unwrap_or(0)
}

/// The most closed intervals with a point in common; `true` marks their upper ends.
fn most_overlapping(mut ends: Vec<(f64, bool)>) -> u64 {
    // Where one begins and another ends, both have the point.
    ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (mut open, mut most) = (0u64, 0);
    for (_, upper) in ends {
        open = if upper { open.saturating_sub(1) } else { open + 1 };
        most = most.max(open);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: f64, tolerance: f64) -> Known {
        Known::values(vec![value], tolerance, 3).unwrap()
    }

    #[test]
    fn values_are_right_within_the_tolerance_and_not_beyond() {
        // Eighths: 1.5 is 12.
        let known = value(1.5, 0.25);
        let right: Vec<i64> = (0..30).filter(|element| known.allows(&[*element])).collect();
        assert_eq!(right, [10, 11, 12, 13, 14]);
        assert!(!known.allows(&[]) && !known.allows(&[12, 12]));
        assert!(value(1.5, 0.0).allows(&[12]) && !value(1.5, 0.0).allows(&[13]));
        let two = Known::values(vec![1.5, -1.0], 0.25, 3).unwrap();
        assert!(two.allows(&[10, -6]) && !two.allows(&[10, -5]) && !two.allows(&[9, -8]) && !two.allows(&[12]));
        for (values, tolerance) in [(f64::NAN, 0.1), (f64::INFINITY, 0.1), (0.0, -0.1), (0.0, f64::NAN)] {
            assert_eq!(Known::values(vec![values], tolerance, 3), None);
        }
    }

    /// The triangle inequality that position consistency of values rests on, to the last bit.
    #[test]
    fn twice_the_tolerance_from_a_right_value_nothing_is_right() {
        let known = value(0.3, 0.7);
        let right: Vec<i64> = (-99..99).filter(|element| known.allows(&[*element])).collect();
        for (a, b) in right.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            assert!((a - b).abs() as f64 / 8.0 <= 1.4, "{a} {b}");
        }
    }

    #[test]
    fn one_answer_is_right_for_no_more_samples_than_that() {
        let most = |known: &[Known]| most_alike(known.iter());
        let labels: Vec<Known> = [1, 2, 2, 3].map(|label| vec![label].into()).into();
        assert_eq!((most(&labels), most(&[])), (2, 0));
        let values = |all: &[f64], tolerance| all.iter().map(|x| value(*x, tolerance)).collect::<Vec<_>>();
        let some = [0.0, 1.0, 1.5, 2.0, 4.0, 4.0];
        assert_eq!([0.0, 0.25, 0.5, 1.0, 2.0, 9.0].map(|t| most(&values(&some, t))), [2, 2, 3, 4, 6, 6]);
        // By trying every answer.
        for tolerance in [0.0, 0.3, 0.5, 0.77, 1.2] {
            let known = values(&some, tolerance);
            let right = |element: i64| known.iter().filter(|known| known.allows(&[element])).count() as u64;
            let tried = (-80..80).map(right).max().unwrap();
            assert!(tried <= most(&known) && most(&known) <= tried + 1, "{tolerance}");
        }
        let pairs = [[0.0, 0.0], [0.0, 9.0], [9.0, 9.0]].map(|pair| Known::values(pair.to_vec(), 1.0, 3).unwrap());
        assert_eq!(most(&pairs), 2);
    }
}
