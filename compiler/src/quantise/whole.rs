//! Inputs that are whole numbers, or bits, by the types of the model's file: they are exact without
//! fractional bits.

use super::LEAST_MARGIN;
use crate::nn::Elements;

/// Elements of a sample that is a list share a format if none is more times as large as another:
/// weights of the smaller would be rounded too much.
const ALIKE: f32 = 8.0;

/// The magnitude of elements that have no fractional bits. `None` if they should have some.
///
/// # Errors
/// A warning: samples have numbers that such elements cannot be.
pub(super) fn magnitude(elements: Elements, samples: &[Vec<f32>], list: bool) -> Result<Option<u8>, String> {
    let (can_be, what): (fn(f32) -> bool, _) = match elements {
        Elements::Bit => (|x| x == 0.0 || x == 1.0, "0 or 1"),
        Elements::Whole => (|x| x.fract() == 0.0, "whole numbers"),
        Elements::Real => return Ok(None),
    };
    for (place, sample) in samples.iter().enumerate() {
        if let Some(x) = sample.iter().find(|x| !can_be(**x)) {
            return Err(format!(
                "calibration sample {place} has {x} where the model's type of input holds {what}, so it gets fractional bits"
            ));
        }
    }
    Ok(match elements {
        Elements::Bit => Some(1),
        _ if list && !alike(samples) => None,
        _ => {
            let largest = samples.iter().flatten().fold(0f32, |most, x| most.max(x.abs()));
            Some(super::magnitude(LEAST_MARGIN * largest, 0))
        }
    })
}

/// Whether no element is much smaller than another one on all samples.
fn alike(samples: &[Vec<f32>]) -> bool {
    let elements = samples.first().map_or(0, Vec::len);
    let largest = |place: usize| samples.iter().map(|sample| sample[place].abs()).fold(0.0, f32::max);
    let seen = (0..elements).map(largest).filter(|largest| *largest > 0.0);
    let [low, high] = seen.fold([f32::INFINITY, 0.0], |[low, high], x| [low.min(x), high.max(x)]);
    high <= ALIKE * low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_counts_have_as_many_bits_as_they_need() {
        let rows = |factor: f32| [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]].map(|row| row.map(|x| factor * x).to_vec());
        assert_eq!(magnitude(Elements::Bit, &rows(1.0), true), Ok(Some(1)));
        assert_eq!(magnitude(Elements::Whole, &rows(300.0), true), Ok(Some(10)));
        assert_eq!(magnitude(Elements::Real, &rows(1.0), true), Ok(None));
        // Of one format, weights of small ones would lose to those of large ones; pixels are alike.
        let unlike = [vec![9.0, 0.0], vec![0.0, 1.0]];
        assert_eq!(magnitude(Elements::Whole, &unlike, true), Ok(None));
        assert_eq!(magnitude(Elements::Whole, &unlike, false), Ok(Some(5)));
    }

    #[test]
    fn what_such_elements_cannot_be_is_said() {
        let strange = [
            (Elements::Whole, [4.0, 0.25], "0.25"),
            (Elements::Bit, [1.0, 2.0], "2"),
            (Elements::Bit, [-1.0, 1.0], "-1"),
        ];
        for (elements, row, told) in strange {
            let why = magnitude(elements, &[vec![1.0, 0.0], row.to_vec()], true).unwrap_err();
            assert!(why.contains(&format!("calibration sample 1 has {told} where")), "{why}");
        }
    }
}
