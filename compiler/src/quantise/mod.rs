//! From real ranges to number formats.
//!
//! All scales are powers of two, so a format is a number of fractional bits. A tensor's *magnitude*
//! is the number of bits that its largest calibrated absolute value needs, with a [`margin`] to
//! spare. Accumulators that are nevertheless exceeded wrap, in the reference exactly as in the
//! protocol.

pub mod bends;
pub mod calibrate;
pub mod corners;
pub mod equalise;
pub mod exponential;
pub mod input;
pub mod polyline;
pub mod table;
mod whole;

use std::ops::RangeInclusive;

use fusion_catalogue::rlwe::MAX_ACC_BITS;

use crate::Error;
use crate::nn::Graph;
use crate::setting::Setting;

/// How many bits each kind of tensor gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// Ring width of activations between layers.
    pub activation_bits: u8,
    /// Width of weights, sign included.
    pub weight_bits: u8,
    /// Magnitude of the model's input, margin included.
    pub input_bits: u8,
    /// Widest accumulator.
    pub max_accumulator_bits: u8,
    /// Whether accumulators hold the static worst case of their weights instead of the calibrated
    /// range.
    pub worst_case: bool,
    /// How many times the errors are halved that tables of functions and rounded weights may have.
    pub detail: u8,
    /// How many times the errors of softmaxes inside the network are halved.
    pub softmax_detail: u8,
    /// Whether linear layers add what rounding takes from their weights, as a second layer, and
    /// tables of functions are as fine.
    pub fine: bool,
    /// Whether functions between two layers, and what a normalisation divides, may be as coarse as
    /// labels stand, where labels can be compared.
    pub coarse: bool,
    /// Whether functions between two layers may be sums of ReLUs, in formats of their own.
    pub bends: bool,
}

/// Most multiply-accumulates of a network whose formats are [fine](Precision::fine).
const MAX_FINE_MACS: usize = 1 << 16;
/// Width of activations then.
const FINE_ACTIVATION_BITS: u8 = 22;
/// Magnitude of the input then.
const FINE_INPUT_BITS: u8 = 20;

impl Default for Precision {
    fn default() -> Self {
        Precision {
            activation_bits: 14,
            weight_bits: 12,
            input_bits: 12,
            max_accumulator_bits: MAX_ACC_BITS,
            worst_case: false,
            detail: 0,
            softmax_detail: 0,
            fine: false,
            coarse: true,
            bends: true,
        }
    }
}

/// Widths of activations that may be asked for.
pub const ACTIVATION_BITS: RangeInclusive<u8> = 8..=20;
/// Widths of weights that may be asked for.
pub const WEIGHT_BITS: RangeInclusive<u8> = MIN_WEIGHT_BITS..=16;

/// Most times that rounding is halved.
pub const MAX_DETAIL: u8 = 5;

impl Precision {
    /// The usual formats with these widths, as far as they are given.
    pub fn of_widths(activation_bits: Option<u8>, weight_bits: Option<u8>) -> Precision {
        let usual = Precision::default();
        // Of these widths, and of no others.
        let bends = activation_bits.is_none() && weight_bits.is_none();
        let activation_bits = activation_bits.unwrap_or(usual.activation_bits);
        let input_bits = usual.input_bits.min(activation_bits.saturating_sub(1));
        let weight_bits = weight_bits.unwrap_or(usual.weight_bits);
        Precision { activation_bits, input_bits, weight_bits, bends, ..usual }
    }

    /// The same where nobody can tell what rounding does to labels: so it does little.
    pub fn unjudged(self) -> Precision {
        Precision { coarse: false, softmax_detail: self.softmax_detail.max(exponential::USUAL_DETAIL), ..self }
    }

    /// Whether there are such formats.
    ///
    /// # Errors
    /// [`Error::Usage`], with what there is.
    pub fn check(self) -> Result<Precision, Error> {
        let widths = [
            (Setting::ActivationBits, self.activation_bits, ACTIVATION_BITS),
            (Setting::WeightBits, self.weight_bits, WEIGHT_BITS),
        ];
        for (setting, bits, range) in widths {
            if !range.contains(&bits) {
                return Err(Error::Usage(format!("{setting} {bits}: from {} to {}", range.start(), range.end())));
            }
        }
        let Precision { activation_bits, input_bits, max_accumulator_bits, .. } = self;
        if input_bits == 0 || input_bits >= activation_bits {
            let most = activation_bits - 1;
            return Err(Error::Usage(format!(
                "inputs of {input_bits} bits and {} {activation_bits}: inputs have from 1 to {most}",
                Setting::ActivationBits
            )));
        }
        if !(activation_bits + 1..=MAX_ACC_BITS).contains(&max_accumulator_bits) {
            let least = activation_bits + 1;
            return Err(Error::Usage(format!(
                "accumulators of {max_accumulator_bits} bits: from {least} to {MAX_ACC_BITS}"
            )));
        }
        Ok(self)
    }

    /// What `graph`, a model of tables, gets if nothing else is asked for. Of thousands of rows
    /// some lie as near to the border between two classes as one part in a hundred thousand;
    /// networks on them are so small that formats which tell those apart cost little.
    pub fn of(self, graph: &Graph) -> Precision {
        if self.worst_case || graph.input_shape().len() != 1 || graph.macs() > MAX_FINE_MACS {
            return self;
        }
        let (activation_bits, input_bits) = (FINE_ACTIVATION_BITS, FINE_INPUT_BITS);
        Precision { activation_bits, input_bits, fine: true, ..self }
    }

    /// The formats with half of every rounding error; `None` if that is as fine as they get. The
    /// first ones have a bit for [`Precision::room`] besides.
    pub fn finer(self) -> Option<Precision> {
        let Precision { input_bits, detail, fine, .. } = self;
        let activation_bits = self.activation_bits + if detail == 0 && !fine { 2 } else { 1 };
        let finer = Precision { activation_bits, input_bits: input_bits + 1, detail: detail + 1, ..self };
        (detail < MAX_DETAIL).then_some(finer)
    }

    /// The formats with half the error of softmaxes; `None` if that is as fine as they get.
    pub fn finer_softmax(self) -> Option<Precision> {
        let softmax_detail = self.softmax_detail + 1;
        (softmax_detail <= exponential::MAX_DETAIL && !self.fine).then_some(Precision { softmax_detail, ..self })
    }

    /// How many times as much as others these formats hold: what makes errors larger from layer to
    /// layer does so with what one input has beyond all others. Fine formats are of networks that
    /// have few layers.
    pub fn room(self) -> f32 {
        if self.detail > 0 && !self.fine { 2.0 } else { 1.0 }
    }

    /// What part remains of the errors that tables and rounded weights may have.
    pub fn part(self) -> f64 {
        (-f64::from(self.detail)).exp2()
    }
}

/// The margin that many samples leave: what is said about factors below holds for inputs like them.
pub const LEAST_MARGIN: f32 = 2.0;

/// How many times the largest absolute value seen on `samples` calibration samples a format must
/// hold.
///
/// On networks for images, one in a thousand inputs exceeds some tensor's range on 32 others by a
/// factor of 2, and about as many exceed the range on four others by 3 or on two by 3.5; a single
/// sample may miss a range by 5. Formats are powers of two, so they hold up to twice as much.
pub fn margin(samples: usize) -> f32 {
    LEAST_MARGIN * (1.0 + 1.0 / (samples.max(1) as f32).sqrt())
}

/// Fewest weight bits that still mean something.
pub const MIN_WEIGHT_BITS: u8 = 4;
/// Fractional bits of weights and activations stay within this on both sides, so that sums of them
/// stay within the IR's limit.
const MAX_FRAC: i8 = 30;
/// Fractional bits of a product up to which a layer's weights may have more.
const MOST_FRAC: i8 = 50;

/// The most fractional bits with which every `|x| <= largest` stays below `2^bits` in absolute
/// value after rounding.
pub fn frac_for(largest: f32, bits: u8) -> i8 {
    frac_up_to(largest, bits, MAX_FRAC)
}

/// The same of weights of a layer on data with `beside` fractional bits. Beside data that are large
/// weights may be smaller than elsewhere.
pub fn frac_of_weights(largest: f32, bits: u8, beside: i8) -> i8 {
    let most = if largest > 0.0 { (MOST_FRAC - beside).clamp(MAX_FRAC, MOST_FRAC) } else { MAX_FRAC };
    frac_up_to(largest, bits, most)
}

fn frac_up_to(largest: f32, bits: u8, most: i8) -> i8 {
    (-MAX_FRAC..=most).rev().find(|frac| magnitude(largest, *frac) <= bits).unwrap_or(-MAX_FRAC)
}

/// The fewest bits `m >= 1` with `|round(x * 2^frac)| < 2^m` for every `|x| <= largest`.
pub fn magnitude(largest: f32, frac: i8) -> u8 {
    let integer = (f64::from(largest) * f64::from(frac).exp2()).round();
    (1..=127).find(|m| integer < f64::from(*m).exp2()).unwrap_or(127)
}

/// `real * 2^frac`, rounded, ties away from zero, saturated to `bits` signed bits.
pub fn quantise(real: f64, frac: i8, bits: u8) -> i64 {
    let limit = 1i64 << (bits - 1);
    let scaled = (real * f64::from(frac).exp2()).round();
    (scaled as i64).clamp(-limit, limit - 1)
}

/// The largest absolute value.
pub fn largest<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0f32, |most, x| most.max(x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_there_are_not_are_refused() {
        for (activation_bits, weight_bits) in [(None, None), (Some(8), None), (Some(20), Some(4)), (None, Some(16))] {
            let precision = Precision::of_widths(activation_bits, weight_bits);
            assert_eq!(precision.check().unwrap(), precision);
            assert!(precision.input_bits < precision.activation_bits);
        }
        let refused = |precision: Precision| precision.check().unwrap_err().to_string();
        let usual = Precision::default();
        for (precision, why) in [
            (Precision::of_widths(Some(7), None), "`precision.activation_bits` 7: from 8 to 20"),
            (Precision::of_widths(Some(0), None), "`precision.activation_bits` 0: from 8 to 20"),
            (Precision::of_widths(None, Some(17)), "`precision.weight_bits` 17: from 4 to 16"),
            (Precision { activation_bits: 8, ..usual }, "inputs have from 1 to 7"),
            (Precision { input_bits: 0, ..usual }, "inputs have from 1 to 13"),
            (Precision { max_accumulator_bits: 14, ..usual }, "accumulators of 14 bits"),
        ] {
            assert!(refused(precision).contains(why), "{}", refused(precision));
        }
    }

    #[test]
    fn formats_hold_their_range_tightly() {
        assert_eq!(magnitude(1.0, 0), 1);
        assert_eq!(magnitude(1.5, 0), 2);
        assert_eq!(magnitude(255.0, 3), 11);
        assert_eq!(magnitude(0.0, 10), 1);
        assert_eq!(frac_for(255.0, 11), 3);
        assert_eq!(frac_for(256.0, 11), 2);
        assert_eq!(frac_for(0.0, 11), MAX_FRAC);
        let tiny = 2f32.powi(-43);
        assert_eq!([-28, 0, 10, 30].map(|beside| frac_of_weights(tiny, 5, beside)), [47, 47, 40, 30]);
        assert_eq!([-28, 0, 30].map(|beside| frac_of_weights(0.75, 11, beside)), [11; 3]);
        assert_eq!(frac_of_weights(0.0, 11, -28), MAX_FRAC);
        for largest in [1e-4, 0.3, 1.0, 7.99, 526.0, 1e5] {
            let frac = frac_for(largest, 15);
            assert!(magnitude(largest, frac) <= 15 && magnitude(largest, frac + 1) > 15);
        }
    }

    #[test]
    fn margins_shrink_with_more_samples() {
        assert_eq!([1, 4, 16].map(margin), [4.0, 3.0, 2.5]);
        assert!(margin(0) == margin(1) && margin(512) < 2.1);
    }

    #[test]
    fn quantised_numbers_saturate() {
        assert_eq!(quantise(0.75, 1, 8), 2);
        assert_eq!(quantise(-0.75, 1, 8), -2);
        assert_eq!(quantise(1e9, 1, 8), 127);
        assert_eq!(quantise(-1e9, 1, 8), -128);
    }
}
