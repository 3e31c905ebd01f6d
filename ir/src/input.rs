//! How the client's real numbers become the input's integers. All of it is public and in both
//! parties' plans.
//!
//! Features of a table have their own units, from 1e-3 to 1e5, and some lie far from zero (a year).
//! So each index along one axis of the input may have a scale and an offset of its own; the model's
//! first linear layers take them back.
//!
//! What is only compared with thresholds needs no unit at all, only its order: [`ordered`] maps
//! every float32 to an integer so that any two compare as before. No range has to be known, and no
//! threshold is rounded.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::TensorType;

/// One feature's format: the element for `real` is `round(real * 2^frac) - offset`, limited to the
/// input's magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Feature {
    /// Fractional bits, within [`MAX_FRAC`] on both sides.
    pub frac: i16,
    /// What stands for zero, at most [`MAX_OFFSET`] in absolute value.
    pub offset: i64,
}

/// The formats of the features along one axis of the input; without features, all elements have the
/// value's own format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InputFormat {
    /// The axis along which features lie.
    pub axis: usize,
    /// One for each index along the axis, or none.
    pub features: Vec<Feature>,
    /// Whether elements are [`ordered`] instead of quantised.
    pub ordered: bool,
}

/// Width of the ring of [`ordered`] numbers.
pub const ORDERED_BITS: u8 = 34;

/// What stands for a missing value, NaN, among [`ordered`] numbers: `-2^33`, which is `2^33` too.
///
/// Twice it is 0. So whoever compares `x` with a threshold decides by a factor of 1 or 2, which
/// changes nothing for numbers, on which side of it missing values are.
pub const MISSING: i64 = -1 << (ORDERED_BITS - 1);

/// Every float32 as an integer below `2^31` in absolute value, in their order: `x <= y` exactly if
/// `ordered(x) <= ordered(y)`. Both zeros are 0. NaN is [`MISSING`].
pub fn ordered(real: f32) -> i64 {
    if real.is_nan() {
        return MISSING;
    }
    let magnitude = i64::from(real.to_bits() & (u32::MAX >> 1));
    if real.is_sign_negative() { -magnitude } else { magnitude }
}

/// Most fractional bits of a feature, on both sides of zero: what float32 reaches.
pub const MAX_FRAC: i16 = 160;
/// Largest offset of a feature: what float64 holds exactly.
pub const MAX_OFFSET: i64 = 1 << 52;

/// The input's format with its type: the one place where samples are quantised.
#[derive(Clone, Copy, Debug)]
pub struct Quantiser<'f> {
    /// The input's type.
    pub ty: &'f TensorType,
    format: Option<&'f InputFormat>,
}

/// A sample with elements that the input's format does not hold. They are limited to it, so that
/// the answer is about another sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clipped {
    /// The sample's index.
    pub sample: usize,
    /// How many elements.
    pub elements: usize,
    /// Of how many.
    pub of: usize,
    /// The features that they belong to, those with most elements first; indices of elements if the
    /// input has no features.
    pub features: Vec<usize>,
}

/// Features that are named of one sample.
const NAMED: usize = 5;

impl Clipped {
    /// Whether more than one element in a hundred is beyond the format.
    pub fn is_too_much(&self) -> bool {
        100 * self.elements > self.of
    }
}

impl fmt::Display for Clipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clipped { sample, elements, of, features } = self;
        let named: Vec<String> = features.iter().take(NAMED).map(usize::to_string).collect();
        let more = if features.len() > NAMED { ", .." } else { "" };
        write!(
            f,
            "sample {sample}: {elements} of {of} elements are beyond the input's format, feature {}{more}",
            named.join(", ")
        )
    }
}

impl<'f> Quantiser<'f> {
    /// That of an input of type `ty`.
    pub(crate) fn new(ty: &'f TensorType, format: Option<&'f InputFormat>) -> Self {
        let format = format.filter(|format| format.ordered || !format.features.is_empty());
        Quantiser { ty, format }
    }

    /// What of the samples the format does not hold: one entry for each sample of which that is
    /// anything.
    pub fn all_clipped<'s>(&self, samples: impl IntoIterator<Item = &'s [f32]>) -> Vec<Clipped> {
        let one = |(sample, reals): (usize, &[f32])| {
            let clipped = self.clipped(reals);
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            clipped.iter().for_each(|at| *counts.entry(self.feature(*at)).or_default() += 1);
            let mut features: Vec<usize> = counts.keys().copied().collect();
            features.sort_by_key(|feature| Reverse(counts[feature]));
            let found = Clipped { sample, elements: clipped.len(), of: reals.len(), features };
            (found.elements > 0).then_some(found)
        };
        samples.into_iter().enumerate().filter_map(one).collect()
    }

    /// The sample's elements in fixed point, row-major. Each is the nearest one (ties away from
    /// zero), limited to the magnitude, so that an outlier clips as an image would instead of
    /// wrapping. Every number of the sample must be one that it [takes](Self::takes).
    pub fn quantise(&self, sample: &[f32]) -> Vec<i64> {
        if self.is_ordered() {
            return sample.iter().map(|real| ordered(*real)).collect();
        }
        let limit = self.limit();
        sample.iter().enumerate().map(|(at, real)| self.unlimited(at, *real).clamp(-limit, limit)).collect()
    }

    /// Whether only the order of numbers counts.
    pub fn is_ordered(&self) -> bool {
        self.format.is_some_and(|format| format.ordered)
    }

    /// Whether an element of a sample may be `real`: every finite number, and infinities and NaN
    /// where only the order counts.
    pub fn takes(&self, real: f32) -> bool {
        real.is_finite() || self.is_ordered()
    }

    /// The elements of the sample that its format does not hold: those that
    /// [`quantise`](Self::quantise) limits.
    pub fn clipped(&self, sample: &[f32]) -> Vec<usize> {
        if self.is_ordered() {
            return Vec::new();
        }
        let beyond = |(at, real): (usize, &f32)| self.unlimited(at, *real).unsigned_abs() > self.limit().unsigned_abs();
        (0..sample.len()).zip(sample).filter(|pair| beyond(*pair)).map(|(at, _)| at).collect()
    }

    /// The index along the features' axis of the element number `at`; `at` itself if there are no
    /// features.
    pub fn feature(&self, at: usize) -> usize {
        self.format.filter(|format| !format.features.is_empty()).map_or(at, |format| {
            let inner: usize = self.ty.shape.iter().skip(format.axis + 1).product();
            at / inner.max(1) % format.features.len()
        })
    }

    fn limit(&self) -> i64 {
        (1i64 << self.ty.magnitude) - 1
    }

    fn unlimited(&self, at: usize, real: f32) -> i64 {
        let own = Feature { frac: i16::from(self.ty.frac), offset: 0 };
        let Feature { frac, offset } = self.format.map_or(own, |format| format.features[self.feature(at)]);
        let scaled = (f64::from(real) * f64::from(frac).exp2()).round();
        (scaled as i64).saturating_sub(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Function;
    use crate::text::parse;

    fn function(input: &str) -> Function {
        parse(&format!("function \"f\"\nv0 = {input} \"x\"\n")).unwrap()
    }

    #[test]
    fn without_features_every_element_has_the_types_format() {
        let function = function("input : i16.4~14[5]");
        let quantiser = function.quantiser();
        assert_eq!(quantiser.quantise(&[1.0, -0.04, 0.03, 1e9, -1e9]), [16, -1, 0, (1 << 14) - 1, -(1 << 14) + 1]);
        assert_eq!(quantiser.clipped(&[1.0, 1023.9, 1024.1, f32::MAX, f32::MIN]), [2, 3, 4]);
        assert_eq!(quantiser.feature(3), 3);
    }

    #[test]
    fn every_feature_has_its_own_scale_and_offset() {
        // A year from 2004 on in 64ths, a fraction in 2^20ths, a salary in units of 32.
        let function = function("input axis=0 features=[6:128256,20:0,-5:1000] : i14.6~12[3]");
        let quantiser = function.quantiser();
        assert_eq!(quantiser.quantise(&[2004.0, 0.001, 32000.0]), [0, 1049, 0]);
        assert_eq!(quantiser.quantise(&[2020.5, -0.0039, 33000.0]), [1056, -4089, 31]);
        assert_eq!(quantiser.quantise(&[1900.0, 3e38, -3e38]), [-4095, 4095, -4095]);
        assert_eq!(quantiser.clipped(&[1900.0, 0.001, 3e38]), [0, 2]);
    }

    #[test]
    fn order_is_kept_and_nothing_else() {
        let reals = [f32::NEG_INFINITY, f32::MIN, -1.0, -f32::MIN_POSITIVE, -f32::from_bits(1), 0.0];
        let positive = reals.iter().rev().skip(1).map(|x| -x);
        let reals: Vec<f32> = reals.iter().copied().chain(positive).collect();
        assert!(reals.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert!(reals.iter().all(|x| ordered(*x).abs() < 1 << 31 && ordered(-x) == -ordered(*x)));
        // Neighbours have neighbouring integers.
        let next = |x: f32| f32::from_bits(x.to_bits() + 1);
        assert!([0.0f32, 1.0, 1.5, f32::MAX].iter().all(|x| ordered(next(*x)) == ordered(*x) + 1));
        assert_eq!((ordered(-0.0), ordered(f32::NAN), ordered(-f32::NAN)), (0, MISSING, MISSING));
        let function = function("input ordered=float32 : i34.0~33[3]");
        let quantiser = function.quantiser();
        assert_eq!(quantiser.quantise(&[f32::NAN, 1.0, -1.0]), [MISSING, 0x3f80_0000, -0x3f80_0000]);
        assert!(quantiser.takes(f32::NAN) && quantiser.clipped(&[f32::NAN; 3]).is_empty() && quantiser.feature(2) == 2);
    }

    #[test]
    fn samples_beyond_the_format_are_counted_and_named() {
        let function = function("input axis=1 features=[1:0,2:0] : i8.1~6[3,2]");
        let good = [0.0; 6];
        let bad = [0.0, 99.0, 0.0, 99.0, -99.0, 1.0];
        let found = function.quantiser().all_clipped([&good[..], &bad]);
        assert_eq!(found, [Clipped { sample: 1, elements: 3, of: 6, features: vec![1, 0] }]);
        let text = "sample 1: 3 of 6 elements are beyond the input's format, feature 1, 0";
        assert_eq!((found[0].to_string().as_str(), found[0].is_too_much()), (text, true));
        let few = Clipped { sample: 0, elements: 1, of: 100, features: (0..9).collect() };
        assert!(!few.is_too_much() && few.to_string().ends_with("feature 0, 1, 2, 3, 4, .."));
    }

    #[test]
    fn features_lie_along_their_axis() {
        let function = function("input axis=1 features=[1:0,2:0,3:1] : i14.1~12[2,3,2]");
        let quantiser = function.quantiser();
        assert_eq!(quantiser.quantise(&[1.0; 12]), [2, 2, 4, 4, 7, 7, 2, 2, 4, 4, 7, 7]);
        assert_eq!([0, 3, 5, 6, 11].map(|at| quantiser.feature(at)), [0, 1, 2, 0, 2]);
    }
}
