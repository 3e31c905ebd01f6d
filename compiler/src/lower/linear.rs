//! Linear layers: how wide their weights and accumulators are.

use fusion_ir::op::Op;
use fusion_ir::verify::MAX_WEIGHT_BITS;
use fusion_ir::{Sign, TensorType, ValueId, WeightId};

use super::lift::multiplied;
use super::map::Linear;
use super::{LayerFormat, Lowered, Lowering};
use crate::nn::{self, NodeId};
use crate::quantise::{self, LEAST_MARGIN, MIN_WEIGHT_BITS, frac_of_weights, largest, magnitude, quantise};

/// What is known about a linear map's operand.
struct Operand<'x> {
    ty: &'x TensorType,
    /// Mean square of each channel on calibration samples.
    squares: &'x [f32],
    /// The largest weight that must be held.
    top: f32,
}

/// A linear map's weights as integers, and what that makes of its results.
struct Fit {
    weight_bits: u8,
    frac: i8,
    weight: Vec<i64>,
    /// Magnitude that no input exceeds.
    worst: u8,
    /// Magnitude to make room for.
    magnitude: u8,
}

/// What rounding takes from a layer's parameters.
struct Rest {
    weight: Vec<f64>,
    bias: Vec<f64>,
    /// Fractional bits of the rounded weights.
    frac: i8,
}

/// Most further bits of weights.
const REST_BITS: u8 = 11;
/// Weights are not made narrower than this to make room for sums.
const GOOD_WEIGHT_BITS: u8 = 9;
/// Fewest bits that the largest calibrated value of a layer must keep.
const MIN_SIGNIFICANT_BITS: u8 = 3;
/// Weights are good enough if rounding them moves results by less than this, root mean square over
/// all rows; see [`Fit::errors`].
const GOOD_ERROR: f64 = 1.0 / 256.0;
/// So many samples tell that a channel inside the network is idle.
const MANY_SAMPLES: usize = 32;
/// A row is faint if its products are below this fraction of the largest row's.
const FAINT: f64 = 1.0 / 128.0;
/// Weights get more bits than asked for, if the accumulator has room, if rounding them moves the
/// results of half the rows by more than this.
const ROUGH_ERROR: f64 = 1.0 / 64.0;
/// As many more as take it below this.
const FINE_ERROR: f64 = 1.0 / 512.0;

impl Lowering<'_> {
    /// The linear map on `x`, requantised; `op` makes the operation of the declared kernel and
    /// bias.
    pub(super) fn linear(
        &mut self,
        id: NodeId,
        node: &nn::Node,
        x: ValueId,
        linear: Linear,
        op: impl Fn(WeightId, Option<WeightId>) -> Op,
    ) -> Lowered {
        let x_ty = self.ty(x).clone();
        let narrowest = (self.precision.activation_bits + 1).max(x_ty.bits);
        // Room for a sum or a join is welcome, but not at the price of the weights.
        let joint = self.joint_range(id).max(largest(linear.bias));
        let own = self.ranges[id.0].max(largest(linear.bias));
        let mut squares = self.observed.squares[node.inputs[0].0].clone();
        let mut means = self.observed.means[node.inputs[0].0].clone();
        // What the client gives may be zero on all samples by chance, a rare feature; a channel
        // inside hardly is, on many.
        let known = self.observed.outputs.len() >= MANY_SAMPLES && !self.is_given(node.inputs[0]);
        // What joins a sum's accumulator is left as it is.
        let alone = self.users[id.0].iter().all(|user| self.graph.node(*user).op != nn::Op::Add);
        let lifts = Some(&linear).filter(|_| known && alone && !self.precision.worst_case && !self.precision.fine);
        let lifts = lifts.and_then(|linear| linear.lifts(&squares)).unwrap_or_default();
        let divided = linear.divided(&lifts);
        let linear = if lifts.is_empty() { linear } else { Linear { weight: divided.iter().collect(), ..linear } };
        let mut operand_ty = x_ty.clone();
        if let Some(most) = lifts.iter().max() {
            (squares, means) = (multiplied(&squares, &lifts, 2.0), multiplied(&means, &lifts, 1.0));
            operand_ty.magnitude += most;
        }
        let top = if known { linear.top_in_use(&squares) } else { largest(linear.weight.iter().copied()) };
        let operand = Operand { ty: &operand_ty, squares: &squares, top };
        let fit = |reach, least| self.fit(&linear, &operand, reach, self.headroom[id.0], least);
        let fitted = fit(joint, GOOD_WEIGHT_BITS).or_else(|| fit(own, MIN_WEIGHT_BITS));
        let Fit { weight_bits, frac, weight, worst, magnitude } = fitted.ok_or_else(|| {
            let most = self.precision.max_accumulator_bits;
            format!("its accumulator needs more than {most} bits even with {MIN_WEIGHT_BITS}-bit weights")
        })?;
        let bits = (magnitude + self.headroom[id.0]).max(narrowest);
        let most = self.precision.max_accumulator_bits.max(bits);
        let bits = self.roomy(id, magnitude, bits, most);
        let bits = self.roomy_before_bends(id, magnitude, bits, most);
        let worst_case_bits = worst + 1;
        self.formats.layers.push(LayerFormat {
            node: node.name.clone(),
            weight_bits,
            accumulator_bits: bits,
            worst_case_bits,
        });
        let left =
            quantise::magnitude(self.ranges[id.0], x_ty.frac + frac - (bits - self.precision.activation_bits) as i8);
        if self.precision.worst_case && left < MIN_SIGNIFICANT_BITS {
            return Err("formats for the worst case leave nothing of the values that occur: use calibrated ones".into());
        }
        let wide = self.extend(x, bits, node);
        let wide = if lifts.is_empty() { wide } else { self.lifted(wide, &lifts, node) };
        let ty = TensorType { shape: node.shape.clone(), bits, frac: x_ty.frac + frac, magnitude, sign: Sign::Any };
        let channels = linear.shape[0];
        let fine = self.precision.fine;
        let shift = match fine {
            // What is lost comes back with the rest of the weights.
            true => vec![0.0; channels],
            false => linear.shift(&weight, frac, &means),
        };
        let rest = linear.rest(&weight, frac);
        let weight = self.weight(format!("{}.weight", node.name), linear.shape.clone(), weight_bits, frac, weight);
        // Always there, even if zero: whether it is zero is the model owner's business.
        let bias = linear.bias.iter().zip(shift).map(|(b, shift)| f64::from(*b) + shift);
        let elements: Vec<i64> = bias.map(|b| quantise(b, ty.frac, bits)).collect();
        let unit = (-f64::from(ty.frac)).exp2();
        let lost = |(b, rounded): (&f32, &i64)| f64::from(*b) - *rounded as f64 * unit;
        let rest = Rest { weight: rest, bias: linear.bias.iter().zip(&elements).map(lost).collect(), frac };
        let bias = Some(self.weight(format!("{}.bias", node.name), vec![channels], bits, ty.frac, elements));
        let acc = self.same(op(weight, bias), vec![wide], ty, node);
        let acc = if fine { self.refined(node, x, &linear, &rest, acc, op) } else { acc };
        Ok(self.requant(acc, node))
    }

    /// The accumulator `acc` with what rounding took from its weights added, as far as a layer of
    /// its own holds it whatever the operand `x` is.
    fn refined(
        &mut self,
        node: &nn::Node,
        x: ValueId,
        linear: &Linear,
        rest: &Rest,
        acc: ValueId,
        op: impl Fn(WeightId, Option<WeightId>) -> Op,
    ) -> ValueId {
        let (x_ty, acc_ty) = (self.ty(x).clone(), self.ty(acc).clone());
        // A weight is off by half a unit at most, and so is the bias.
        let magnitude = |digit: u8| x_ty.magnitude + digit + super::log2_ceil(linear.row_len() + 1) - 1;
        let most = self.precision.max_accumulator_bits;
        let Some(digit) = (1..=REST_BITS).rev().find(|digit| magnitude(*digit) < most) else { return acc };
        let (magnitude, frac) = (magnitude(digit), acc_ty.frac + digit as i8);
        let bits = (magnitude + 1).max(acc_ty.bits);
        let integers = |rest: &[f64], frac: i8, bits: u8| rest.iter().map(|w| quantise(*w, frac, bits)).collect();
        let weights = integers(&rest.weight, rest.frac + digit as i8, digit + 1);
        let biases = integers(&rest.bias, frac, bits);
        let name = |of: &str| format!("{}.{of}", node.name);
        let weight = self.weight(name("rest"), linear.shape.clone(), digit + 1, rest.frac + digit as i8, weights);
        let bias = Some(self.weight(name("rest.bias"), vec![linear.shape[0]], bits, frac, biases));
        let wide = self.extend(x, bits, node);
        let ty = TensorType { bits, frac, magnitude, ..acc_ty.clone() };
        let small = self.same(op(weight, bias), vec![wide], ty, node);
        let small = self.requant_by(small, digit, node);
        let ty = self.ty(small).clone();
        let small = if ty.bits > acc_ty.bits {
            let magnitude = ty.magnitude.min(acc_ty.bits - 1);
            self.same(Op::Truncate, vec![small], TensorType { bits: acc_ty.bits, magnitude, ..ty }, node)
        } else {
            self.extend(small, acc_ty.bits, node)
        };
        self.same(Op::Add, vec![acc, small], acc_ty, node)
    }

    /// The widest weights, at least `least` bits, with which results up to `reach` fit the widest
    /// accumulator. Where a margin of more than a factor of two would take a wider accumulator,
    /// weights that are good enough without their last bit give it instead.
    fn fit(&self, linear: &Linear, operand: &Operand, reach: f32, headroom: u8, least: u8) -> Option<Fit> {
        let Operand { ty: x, squares, top } = *operand;
        let at = |weight_bits: u8, frac: i8| {
            let weight: Vec<i64> = linear.weight.iter().map(|w| quantise(f64::from(**w), frac, weight_bits)).collect();
            let worst = worst_case(&weight, linear.bias, x, frac);
            let calibrated = magnitude(self.margin * reach, x.frac + frac);
            let magnitude = if self.precision.worst_case { worst } else { calibrated.min(worst) };
            Fit { weight_bits, frac, weight, worst, magnitude }
        };
        let rounded = |weight_bits: u8| at(weight_bits, frac_of_weights(top, weight_bits - 1, x.frac));
        let fits = |fit: &Fit| fit.magnitude + headroom <= self.precision.max_accumulator_bits;
        let found = (least..=self.precision.weight_bits).rev().map(rounded).find(fits);
        if found.is_none() && linear.is_negligible(x, reach) {
            // Few digits are left of weights that hardly matter beside what is added to them.
            let weight_bits = self.precision.weight_bits;
            let finest = frac_of_weights(top, weight_bits - 1, x.frac);
            return (-finest.abs()..=finest).rev().map(|frac| at(weight_bits, frac)).find(fits);
        }
        let mut fit = found?;
        let fine = FINE_ERROR * self.precision.part();
        let rough = if self.precision.detail == 0 { ROUGH_ERROR } else { fine };
        // Kernels of which some rows are far larger than others lose digits in the others.
        while fit.weight_bits >= self.precision.weight_bits
            && fit.weight_bits < MAX_WEIGHT_BITS
            && (fit.weight_bits > self.precision.weight_bits || middling(&fit.errors(linear, squares), rough))
            && middling(&fit.errors(linear, squares), fine)
        {
            let wider = rounded(fit.weight_bits + 1);
            if !fits(&wider) {
                break;
            }
            fit = wider;
        }
        let enough = magnitude(LEAST_MARGIN * reach, x.frac + fit.frac);
        if fit.magnitude <= enough || fit.weight_bits <= least.max(GOOD_WEIGHT_BITS) {
            return Some(fit);
        }
        let narrower = rounded(fit.weight_bits - 1);
        Some(if good(&narrower.errors(linear, squares), self.precision.part()) { narrower } else { fit })
    }

    /// Whether `id` only moves elements of the input.
    fn is_given(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        match &node.op {
            nn::Op::Input | nn::Op::Normalise(_) => true,
            nn::Op::Reshape | nn::Op::Transpose { .. } | nn::Op::Slice { .. } | nn::Op::Pad { .. } => {
                self.is_given(node.inputs[0])
            }
            _ => false,
        }
    }

    /// The largest absolute value that `id`'s format must hold: its own, that of a sum it feeds
    /// directly, which may join its accumulator later, and those of everything that is concatenated
    /// with it, so that all parts get one format.
    fn joint_range(&self, id: NodeId) -> f32 {
        let sums = self.users[id.0].iter().filter(|user| self.graph.node(**user).op == nn::Op::Add);
        sums.fold(self.reach[id.0], |reach, sum| reach.max(self.ranges[sum.0]))
    }
}

impl Fit {
    /// What rounding the weights changes in each row's results, and what they are, in power, if the
    /// operand's channels have the mean squares `squares` and are independent.
    fn errors(&self, linear: &Linear, squares: &[f32]) -> Vec<[f64; 2]> {
        let unit = (-f64::from(self.frac)).exp2();
        let (row_len, taps) = (linear.row_len(), linear.shape[2..].iter().product::<usize>());
        let rows = linear.weight.chunks_exact(row_len).zip(self.weight.chunks_exact(row_len)).enumerate();
        let powers = |(row, (real, integer)): (usize, (&[&f32], &[i64]))| {
            let first = row / (linear.shape[0] / linear.groups) * linear.shape[1];
            let mut powers = [0.0, f64::MIN_POSITIVE];
            for (at, (w, i)) in real.iter().zip(integer).enumerate() {
                let (w, square) = (f64::from(**w), f64::from(squares[first + at / taps]));
                powers[0] += (w - *i as f64 * unit).powi(2) * square;
                powers[1] += w * w * square;
            }
            powers
        };
        rows.map(powers).collect()
    }
}

/// Whether rounding changes results little, on average over all rows: by so much of what is enough.
fn good(errors: &[[f64; 2]], part: f64) -> bool {
    let mean = errors.iter().map(|[noise, signal]| noise / signal).sum::<f64>() / errors.len().max(1) as f64;
    mean < (GOOD_ERROR * part).powi(2)
}

/// Whether rounding changes results by `error` or more in half the rows that are not faint.
fn middling(errors: &[[f64; 2]], error: f64) -> bool {
    let faint = FAINT.powi(2) * errors.iter().map(|[_, signal]| *signal).fold(0.0, f64::max);
    let heard = errors.iter().filter(|[_, signal]| *signal > faint);
    let mut ratios: Vec<f64> = heard.map(|[noise, signal]| noise / signal).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).is_some_and(|median| *median >= error.powi(2))
}

/// Magnitude that no operand of type `x` can make any row exceed.
fn worst_case(weight: &[i64], bias: &[f32], x: &TensorType, frac: i8) -> u8 {
    let row_len = weight.len() / bias.len().max(1);
    let rows = weight.chunks_exact(row_len.max(1)).zip(bias).map(|(row, bias)| {
        let weights: u128 = row.iter().map(|w| u128::from(w.unsigned_abs())).sum();
        let bias = quantise(f64::from(bias.abs()), x.frac + frac, 62);
        (weights << x.magnitude) + u128::from(bias.unsigned_abs())
    });
    let most = rows.max().unwrap_or(0);
    (u128::BITS - most.leading_zeros()).max(1) as u8
}
