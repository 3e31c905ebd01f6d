//! One sample as the plan has it, and what it is known by.

use std::fmt;

use sha2::{Digest, Sha256};

/// What a sample is known by, whatever the plan: SHA-256 of the numbers that the user gave.
///
/// Other number formats, calibrations or models do not make another sample of it; nor does the type
/// of the numbers, or the sign of a zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowDigest([u8; 32]);

/// A sample: quantised as the plan's input, and known by what it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Quantised elements.
    pub elements: Vec<i64>,
    /// Of the numbers that the user gave.
    pub digest: RowDigest,
}

impl RowDigest {
    /// The digest of a sample of these numbers.
    pub fn of(reals: impl IntoIterator<Item = f64>) -> RowDigest {
        let hash = Sha256::new().chain_update(b"fusion sample\0");
        // Adding zero makes a positive zero of a negative one, and changes nothing else. A missing
        // value has many forms.
        let number = |real: f64| if real.is_nan() { f64::NAN } else { real + 0.0 };
        let all = reals.into_iter().fold(hash, |hash, real| hash.chain_update(number(real).to_bits().to_le_bytes()));
        RowDigest(all.finalize().into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Nothing of it: who can print it could test guesses of the sample.
impl fmt::Debug for RowDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowDigest(..)")
    }
}

/// A sample of which nothing is known but what the plan makes of it.
impl From<Vec<i64>> for Row {
    fn from(elements: Vec<i64>) -> Row {
        let digest = RowDigest::of(elements.iter().map(|element| *element as f64));
        Row { elements, digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_its_numbers_alone() {
        let row = [0.5f32, -0.0, 3.0];
        let digest = RowDigest::of(row.iter().map(|real| f64::from(*real)));
        assert_eq!(digest, RowDigest::of([0.5, 0.0, 3.0]));
        assert_ne!(digest, RowDigest::of([0.5, 0.0, 3.0 + f64::EPSILON * 2.0]));
        assert_ne!(digest, RowDigest::of([0.5, 3.0, 0.0]));
        assert_ne!(digest, RowDigest::of([0.5, 0.0, 3.0, 0.0]));
        assert_eq!(Row::from(vec![1, -2]).digest, RowDigest::of([1.0, -2.0]));
        assert!(!format!("{digest:?}").contains(char::is_numeric));
    }
}
