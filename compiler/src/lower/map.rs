//! Linear maps as both layers have them: rows of weights, each on one channel of the operand.

use fusion_ir::TensorType;

use crate::quantise::largest;

/// Products that stay below this fraction of a layer's results may lose digits.
const NEGLIGIBLE: f64 = 1.0 / 64.0;

/// A linear map's parameters in one layout: `rows` output channels, each with `weight.len() / rows`
/// weights.
pub(super) struct Linear<'w> {
    pub weight: Vec<&'w f32>,
    pub shape: Vec<usize>,
    pub bias: &'w [f32],
    /// Channel groups.
    pub groups: usize,
}

impl Linear<'_> {
    /// The weights that each output has.
    pub fn row_len(&self) -> usize {
        (self.weight.len() / self.shape[0].max(1)).max(1)
    }

    /// The operand's channel that each weight reads.
    pub fn channels(&self) -> impl Iterator<Item = usize> + use<> {
        let (row_len, taps) = (self.row_len(), self.shape[2..].iter().product::<usize>());
        let (per_row, per_group, len) = (self.shape[0] / self.groups, self.shape[1], self.weight.len());
        (0..len).map(move |at| at / row_len / per_row * per_group + at % row_len / taps)
    }

    /// The largest absolute weight of those that ever had something to multiply; others may be
    /// limited to it.
    pub fn top_in_use(&self, squares: &[f32]) -> f32 {
        let (row_len, taps) = (self.row_len(), self.shape[2..].iter().product::<usize>());
        let rows = self.weight.chunks_exact(row_len).enumerate();
        let used = rows.flat_map(|(row, weights)| {
            let first = row / (self.shape[0] / self.groups) * self.shape[1];
            weights.iter().enumerate().filter(move |(at, _)| squares[first + at / taps] > 0.0).map(|(_, w)| *w)
        });
        Some(largest(used)).filter(|top| *top > 0.0).unwrap_or_else(|| largest(self.weight.iter().copied()))
    }

    /// What rounding the weights to `rounded` takes from each.
    pub fn rest(&self, rounded: &[i64], frac: i8) -> Vec<f64> {
        let unit = (-f64::from(frac)).exp2();
        self.weight.iter().zip(rounded).map(|(real, integer)| f64::from(**real) - *integer as f64 * unit).collect()
    }

    /// Whether the products with an operand of type `x` stay far below `reach`.
    pub fn is_negligible(&self, x: &TensorType, reach: f32) -> bool {
        let row = |row: &[&f32]| row.iter().map(|w| f64::from(w.abs())).sum::<f64>();
        let most = self.weight.chunks_exact(self.row_len()).map(row).fold(0.0, f64::max);
        most * x.dequantize(1i64 << x.magnitude) <= NEGLIGIBLE * f64::from(reach)
    }

    /// What rounding the weights to `rounded` takes from each output on average, if the operand's
    /// channels have the means `means`: it goes to the bias (Nagel et al., ICCV 2019, section 4.2).
    /// Data behind a ReLU are not centred, so without it weights that nearly cancel leave an error
    /// that is larger than their result.
    pub fn shift(&self, rounded: &[i64], frac: i8, means: &[f32]) -> Vec<f64> {
        let unit = (-f64::from(frac)).exp2();
        let (row_len, taps) = (self.row_len(), self.shape[2..].iter().product::<usize>());
        let rows = self.weight.chunks_exact(row_len).zip(rounded.chunks_exact(row_len)).enumerate();
        let shift = |(row, (real, integer)): (usize, (&[&f32], &[i64]))| {
            let first = row / (self.shape[0] / self.groups) * self.shape[1];
            let lost = real.iter().zip(integer).map(|(w, i)| f64::from(**w) - *i as f64 * unit);
            lost.enumerate().map(|(at, lost)| lost * f64::from(means[first + at / taps])).sum()
        };
        rows.map(shift).collect()
    }
}
