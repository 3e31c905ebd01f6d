//! One sample as the plan has it, and what it is known by.

use std::fmt;

use fusion_table::Given;
use sha2::{Digest, Sha256};

const PURPOSE: &[u8] = b"fusion sample\0";
/// Stands before a text: a NaN that no number is.
const TEXT: u64 = 0xffff_ffff_ffff_ffff;

/// What a sample is known by, whatever the plan: SHA-256 of the numbers and texts that the user
/// gave.
///
/// Other number formats, calibrations, models, or what a plan has the client do to them first, do
/// not make another sample of it; nor does the type of the numbers, or the sign of a zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowDigest([u8; 32]);

/// A sample: quantised as the plan's input, and known by what it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Quantised elements.
    pub elements: Vec<i64>,
    /// Of what the user gave.
    pub digest: RowDigest,
}

impl RowDigest {
    /// The digest of a sample of these numbers.
    pub fn of(reals: impl IntoIterator<Item = f64>) -> RowDigest {
        let mut hash = Sha256::new_with_prefix(PURPOSE);
        reals.into_iter().for_each(|real| hash.update(number(real)));
        RowDigest(hash.finalize().into())
    }

    /// The digest of a sample that is made of these cells; that of the numbers if all are.
    pub fn of_cells(cells: &[Given]) -> RowDigest {
        let mut hash = Sha256::new_with_prefix(PURPOSE);
        for cell in cells {
            match cell {
                Given::Number(real) => hash.update(number(f64::from(*real))),
                Given::Text(text) => {
                    hash.update(TEXT.to_le_bytes());
                    hash.update((text.len() as u64).to_le_bytes());
                    hash.update(text);
                }
            }
        }
        RowDigest(hash.finalize().into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A number's bytes. Adding zero makes a positive zero of a negative one, and changes nothing else.
/// A missing value has many forms.
fn number(real: f64) -> [u8; 8] {
    let one_form = if real.is_nan() { f64::NAN } else { real + 0.0 };
    one_form.to_bits().to_le_bytes()
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

    #[test]
    fn cells_are_told_apart_and_numbers_are_what_they_are_without_them() {
        let [number, text] = [Given::Number, |_| Given::Text("a".into())];
        assert_eq!(RowDigest::of_cells(&[number(0.5), number(-0.0)]), RowDigest::of([0.5, 0.0]));
        let texts =
            |cells: &[&str]| RowDigest::of_cells(&cells.iter().map(|x| Given::Text((*x).into())).collect::<Vec<_>>());
        assert_ne!(texts(&["a", "b"]), texts(&["ab", ""]));
        assert_ne!(texts(&["a"]), texts(&["b"]));
        assert_ne!(RowDigest::of_cells(&[number(1.0), text(0.0)]), RowDigest::of_cells(&[text(0.0), number(1.0)]));
    }
}
