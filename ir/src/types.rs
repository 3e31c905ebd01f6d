//! Number formats: what a tensor of secret integers looks like.

use serde::{Deserialize, Serialize};

/// The two parties of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Party {
    /// The data owner: private inputs, learns the labels.
    Client,
    /// The model owner: private weights, learns nothing.
    Server,
}

impl Party {
    /// The other party.
    pub fn peer(self) -> Party {
        match self {
            Party::Client => Party::Server,
            Party::Server => Party::Client,
        }
    }
}

/// What is *proven* (not merely calibrated) about the sign of every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sign {
    /// Nothing is known.
    Any,
    /// Every element is in `0..2^(bits-1)`, whatever the inputs.
    NonNegative,
}

/// The type of one value: a tensor of signed integers in `Z_2^bits` for one position of the batch
/// (no batch axis).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorType {
    /// Extents, outermost first; images are `[channels, height, width]`.
    pub shape: Vec<usize>,
    /// Ring width, `2..=63`: elements are integers mod `2^bits`, read as signed.
    pub bits: u8,
    /// Fractional bits: the real value is `element / 2^frac`.
    pub frac: i8,
    /// Calibrated magnitude: on calibration data, margin included, `|element| < 2^magnitude`. A
    /// public format, not a proof; at most `bits - 1`.
    pub magnitude: u8,
    /// What is proven about the sign.
    pub sign: Sign,
}

/// The largest ring width of a value.
pub const MAX_BITS: u8 = 63;
/// The smallest ring width of a value.
pub const MIN_BITS: u8 = 2;

impl TensorType {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether some extent is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same format with another shape.
    pub fn with_shape(&self, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { shape: shape.into(), ..self.clone() }
    }

    /// The real number that `element` stands for.
    pub fn dequantize(&self, element: i64) -> f64 {
        element as f64 * (-f64::from(self.frac)).exp2()
    }
}

/// `value mod 2^bits` as an unsigned ring element.
pub fn wrap(value: i64, bits: u8) -> u64 {
    value as u64 & mask(bits)
}

/// The signed integer that the ring element `value` (taken mod `2^bits`) stands for.
pub fn signed(value: u64, bits: u8) -> i64 {
    let unused = 64 - u32::from(bits);
    ((value << unused) as i64) >> unused
}

/// The mask of the low `bits` bits, `1..=64`.
pub fn mask(bits: u8) -> u64 {
    u64::MAX >> (64 - u32::from(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_elements_and_signed_integers_agree() {
        assert_eq!(wrap(-1, 4), 15);
        assert_eq!(signed(15, 4), -1);
        assert_eq!(signed(7, 4), 7);
        assert_eq!(signed(8, 4), -8);
        assert_eq!(signed(16 + 3, 4), 3);
        assert_eq!(signed(u64::MAX >> 1, 63), -1);
        for value in -8..8 {
            assert_eq!(signed(wrap(value, 4), 4), value);
        }
    }

    #[test]
    fn elements_stand_for_reals() {
        let ty = TensorType { shape: vec![1], bits: 16, frac: 4, magnitude: 14, sign: Sign::Any };
        assert_eq!(ty.dequantize(-8), -0.5);
    }
}
