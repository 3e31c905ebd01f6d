//! Functions of each element, products of secrets, and private summands.

use fusion_ir::op::Op;
use fusion_ir::verify::sign_is_proven;
use fusion_ir::{Sign, TensorType, ValueId};

use super::softmax::Role;
use super::{Lowered, Lowering, log2_ceil};
use crate::nn::eval::Range;
use crate::nn::expr::Expr;
use crate::nn::{self, NodeId};
use crate::quantise::table::{Folded, Results, Table};
use crate::quantise::{frac_for, largest, magnitude, quantise};

/// Of so many elements tables are as fine as other formats.
const FEW: usize = 64;
/// And of so many nearly.
const SOME: usize = 2048;
/// A function is at most so many times finer for a part of it that is small.
const MOST_FINER: f32 = 8.0;

/// A factor as an odd integer of about so many bits and the fractional bits beside it, however
/// small or large it is.
fn factor_of(factor: f32, bits: u8) -> (i64, i32) {
    if factor == 0.0 {
        return (0, 0);
    }
    let factor = f64::from(factor);
    let exponent = factor.abs().log2().floor() as i32;
    let mantissa = factor / f64::from(exponent).exp2();
    let places = frac_for(mantissa.abs() as f32, bits);
    let integer = quantise(mantissa, places, 2 * bits);
    let twos = integer.trailing_zeros();
    (integer >> twos, i32::from(places) - twos as i32 - exponent)
}

impl Lowering<'_> {
    /// `x * factor` by a public factor: only a change of format if it is a power of two, else kept
    /// to a dozen significant bits.
    pub(super) fn scale(&mut self, id: NodeId, node: &nn::Node, x: ValueId, factor: f32) -> Lowered {
        let (integer, places) = factor_of(factor, self.precision.weight_bits);
        let frac = i8::try_from(i32::from(self.ty(x).frac) + places).ok().filter(|frac| frac.abs() < 60);
        let frac = frac.ok_or_else(|| format!("its factor of {factor:e} is too small or too large for its data"))?;
        if integer.abs() == 1 {
            let ty = TensorType { frac, sign: Sign::Any, ..self.ty(x).clone() };
            let y = self.same(Op::Scale { factor: integer }, vec![x], ty, node);
            return Ok(self.kept(id, y));
        }
        let growth = log2_ceil(integer.unsigned_abs() as usize);
        let bits = (self.ty(x).bits + growth).max(self.precision.activation_bits + 1);
        let wide = self.extend(x, bits, node);
        let most = self.ty(x).magnitude + growth;
        let magnitude = self.reached(id, frac, most).min(bits - 1);
        let ty = TensorType { frac, magnitude, sign: Sign::Any, ..self.ty(wide).clone() };
        let product = self.same(Op::Scale { factor: integer }, vec![wide], ty, node);
        Ok(if self.wide.keeps[id.0] { self.kept(id, product) } else { self.requant(product, node) })
    }

    /// A public function by a table for the calibrated range.
    pub(super) fn pointwise(&mut self, id: NodeId, node: &nn::Node, x: ValueId, f: &Expr) -> Lowered {
        if f.shows_integers() {
            return Err("it needs real numbers cut to integers: they can be compared, not more".into());
        }
        match self.softmaxes.roles[id.0] {
            Some(Role::Exponential) => {
                let x = self.narrow(x, node);
                if let Some(y) = self.exponentials(node, x) {
                    return Ok(y);
                }
            }
            Some(Role::Inverse(terms)) => return self.inverse(id, node, x, terms),
            _ => {}
        }
        if let Some(y) = self.bent(id, node, x) {
            return Ok(y);
        }
        let (x, floor) = self.steep(id, node, x, f);
        let ty = self.ty(x).clone();
        let usual = self.usual(id);
        let part = self.part(node);
        let results = Results { largest: self.ranges[id.0], usual, least: self.wide.least[id.0], part };
        let Range { low, high } = self.observed.ranges[node.inputs[0].0];
        let start = low.max(floor as f32).min(high);
        // What noise alone could make larger needs no room: below its start the table goes on
        // straight.
        if start > low {
            let most = [start, high].map(|x| f.at(f64::from(x)).abs() as f32).into_iter().fold(0.0, f32::max);
            self.ranges[id.0] = self.ranges[id.0].min(2.0 * most);
        }
        let range = Range { low: start, high };
        let table = Table::new(f, range, ty.frac, results)?;
        // Beside the other half of the kinks, it saves their comparisons' share of the ReLU's.
        let folded = Folded::new(f, range, ty.frac, results);
        if let Some(folded) = folded.filter(|folded| (1..table.knots()).contains(&(folded.table.knots() + 1))) {
            return self.folded(id, node, x, &folded);
        }
        let y = self.by_table(id, node, x, &table)?;
        Ok(match self.wide.least[id.0] {
            Some(least) => self.relative(id, node, y, least),
            None if self.normalises(id) => self.relative(id, node, y, 0.0),
            None => self.narrow(y, node),
        })
    }

    /// What the table makes of `x`, all of it.
    pub(super) fn by_table(&mut self, id: NodeId, node: &nn::Node, x: ValueId, table: &Table) -> Lowered {
        let ty = self.ty(x).clone();
        let frac = ty.frac + table.slope_frac as i8;
        let limit = (1i64 << ty.magnitude) - 1;
        let least = if ty.sign == Sign::NonNegative { 0 } else { -limit };
        // What the table can give on its operand's range.
        let holds = |most: i64| 64 - most.leading_zeros() as u8;
        let largest = table.largest(least, limit);
        // What is just below a power of two must not be rounded up to it where the format is
        // narrowed.
        let dropped = (holds(largest) + self.headroom[id.0]).saturating_sub(self.precision.activation_bits);
        let most = holds(largest.saturating_add((1i64 << dropped.min(62)) / 2));
        let result = self.reached(id, frac, most.max(1));
        // What is never negative is still further than its magnitude from a kink below zero.
        let one_sided = ty.sign == Sign::NonNegative && !table.bends_below_zero();
        let differences = if one_sided { ty.magnitude + 1 } else { ty.magnitude + 2 };
        // A kink may lie further out than the operand reaches.
        let kinks = holds(table.furthest_kink()) + 1;
        let bits = (result + self.headroom[id.0]).max(differences).max(kinks).max(ty.bits);
        if bits > super::MAX_RING_BITS {
            return Err(format!("its table needs {bits} bits"));
        }
        let wide = self.extend(x, bits, node);
        let operand = self.ty(wide).clone();
        let result = TensorType { shape: node.shape.clone(), bits, frac, magnitude: result, sign: Sign::Any };
        Ok(if let Some((slope, offset)) = table.line(bits) {
            let scaled = self.same(Op::Scale { factor: slope }, vec![wide], result.clone(), node);
            self.same(Op::Offset { by: offset }, vec![scaled], result, node)
        } else {
            let op = Op::Piecewise(table.piecewise(bits));
            let proven = sign_is_proven(&op, &[&operand], &result);
            let sign = if proven { Sign::NonNegative } else { Sign::Any };
            self.same(op, vec![wide], TensorType { sign, ..result }, node)
        })
    }

    /// The usual value of a function, or of what is made of a part of it by a factor and a summand,
    /// if that is less: `2 sigmoid(2x) - 1` may be small where the sigmoid is not.
    fn usual(&self, id: NodeId) -> f32 {
        let power = |id: NodeId| self.observed.powers[id.0].sqrt() as f32;
        let of = |id: NodeId| self.users[id.0].iter().map(|user| (*user, &self.graph.node(*user).op));
        let parts = of(id).filter(|(_, op)| matches!(op, nn::Op::Slice { .. }));
        let scaled = parts.flat_map(|(part, _)| of(part)).filter_map(|(id, op)| match op {
            nn::Op::Scale(factor) if *factor != 0.0 => Some((id, factor.abs())),
            _ => None,
        });
        let shifted = scaled.flat_map(|(scaled, factor)| {
            let sums = of(scaled).filter(|(_, op)| matches!(op, nn::Op::Affine(_)));
            sums.map(move |(sum, _)| power(sum) / factor)
        });
        shifted.fold(power(id), f32::min).max(power(id) / MOST_FINER)
    }

    /// What part of the usual tolerance a table has. It has as many more pieces as the root of one
    /// over that, for each element.
    fn part(&self, node: &nn::Node) -> f64 {
        let part = match (self.precision.fine, node.len()) {
            (false, _) => 1.0,
            (true, ..=FEW) => 1.0 / 1024.0,
            (true, ..=SOME) => 1.0 / 64.0,
            (true, _) => 1.0 / 16.0,
        };
        part * self.precision.part()
    }

    /// A function of `|x|`, with `max(x, 0)` times a power of two added if that is its other part.
    fn folded(&mut self, id: NodeId, node: &nn::Node, x: ValueId, folded: &Folded) -> Lowered {
        let (ty, table) = (self.ty(x).clone(), &folded.table);
        let frac = ty.frac + table.slope_frac as i8;
        let limit = (1i64 << ty.magnitude) - 1;
        let rest = table.largest(0, limit);
        let relu_shift = folded.relu_shift().map(|by| by as u8);
        let most = relu_shift.map_or(rest, |by| rest.saturating_add(limit << by));
        let holds = |most: i64| 64 - most.leading_zeros() as u8;
        let magnitude = self.reached(id, frac, holds(most).max(1));
        let bits = (magnitude + self.headroom[id.0]).max(holds(rest) + 1).max(ty.magnitude + 2).max(ty.bits);
        if bits > super::MAX_RING_BITS {
            return Err(format!("its table needs {bits} bits"));
        }
        let positive = TensorType { sign: Sign::NonNegative, ..ty.clone() };
        let positive = self.same(Op::Relu, vec![x], positive, node);
        let positive = self.extend(positive, bits, node);
        let wide = self.extend(x, bits, node);
        // |x| = 2 max(x, 0) - x
        let local = TensorType { bits, sign: Sign::Any, ..ty.clone() };
        let twice = TensorType { magnitude: ty.magnitude + 1, ..local.clone() };
        let twice = self.same(Op::Scale { factor: 2 }, vec![positive], twice, node);
        let minus = self.same(Op::Scale { factor: -1 }, vec![wide], local.clone(), node);
        let absolute = self.same(Op::Add, vec![twice, minus], local, node);
        let result = TensorType { shape: node.shape.clone(), bits, frac, magnitude, sign: Sign::Any };
        let small = TensorType { magnitude: holds(rest).max(1), ..result.clone() };
        let mut y = self.same(Op::Piecewise(table.piecewise(bits)), vec![absolute], small, node);
        if let Some(by) = relu_shift {
            let shifted = TensorType { magnitude: (ty.magnitude + by).min(bits - 1), ..result.clone() };
            // Also where the places that it gains are not those of the table.
            let shift = if by == table.slope_frac { Op::ShiftLeft { by } } else { Op::Scale { factor: 1 << by } };
            let shifted = self.same(shift, vec![positive], shifted, node);
            y = self.same(Op::Add, vec![shifted, y], result, node);
        }
        Ok(self.narrow(y, node))
    }

    /// `a * b` in a ring that holds it, then requantised.
    pub(super) fn product(&mut self, id: NodeId, node: &nn::Node, operands: [ValueId; 2]) -> Lowered {
        let [a, b] = operands.map(|operand| self.narrow(operand, node));
        let types = [a, b].map(|operand| self.ty(operand).clone());
        let frac = i16::from(types[0].frac) + i16::from(types[1].frac);
        let frac =
            i8::try_from(frac).ok().filter(|frac| frac.abs() < 60).ok_or("its factors are too small or too large")?;
        let result = self.reached(id, frac, types[0].magnitude + types[1].magnitude);
        let keeps = self.wide.keeps[id.0];
        let filled = if keeps { self.summed(id, frac, result) } else { result };
        let bits = (filled + self.headroom[id.0]).max(types[0].bits).max(types[1].bits);
        if bits > super::MAX_RING_BITS {
            return Err(format!("its product needs {bits} bits"));
        }
        let first = self.factor(a, bits, node);
        let [a, b] = [first, if a == b { first } else { self.factor(b, bits, node) }];
        let ty = TensorType { shape: node.shape.clone(), bits, frac, magnitude: result, sign: Sign::Any };
        let y = self.same(Op::Mul, vec![a, b], ty, node);
        if keeps {
            return Ok(y);
        }
        // A factor with many bits leaves the product in a ring that it does not fill.
        let filled = (result + self.headroom[id.0]).max(self.precision.activation_bits);
        let y = if filled < bits {
            let ty = TensorType { bits: filled, ..self.ty(y).clone() };
            self.same(Op::Truncate, vec![y], ty, node)
        } else {
            y
        };
        Ok(self.narrow(y, node))
    }

    /// A factor in a product's ring; private summands that were its last operation are added there,
    /// so that the extension meets what makes the rest.
    fn factor(&mut self, x: ValueId, bits: u8, node: &nn::Node) -> ValueId {
        let value = self.function.value(x).clone();
        let Op::Bias { weight } = value.op else { return self.extend(x, bits, node) };
        let mut rest = value.operands[0];
        if self.function.value(rest).op == Op::Extend {
            rest = self.function.value(rest).operands[0];
        }
        let wide = self.extend(rest, bits, node);
        let declared = self.function.weight(weight).clone();
        let elements = self.weights[weight.index()].clone();
        let weight = self.weight(declared.name, declared.shape, bits, declared.frac, elements);
        self.same(Op::Bias { weight }, vec![wide], TensorType { bits, ..value.ty }, node)
    }

    /// `x + shift` by private summands, one for each element of the leading axis.
    pub(super) fn shift(&mut self, id: NodeId, node: &nn::Node, x: ValueId, shift: &[f32]) -> ValueId {
        let keeps = self.wide.keeps[id.0];
        let x = if keeps { x } else { self.narrow(x, node) };
        let ty = self.ty(x).clone();
        let most = ty.magnitude.max(magnitude(largest(shift), ty.frac)) + 1;
        let result = self.reached(id, ty.frac, most);
        let bits = (result + self.headroom[id.0]).max(ty.bits);
        let wide = self.extend(x, bits, node);
        let elements = shift.iter().map(|b| quantise(f64::from(*b), ty.frac, bits)).collect();
        let weight = self.weight(format!("{}.bias", node.name), vec![shift.len()], bits, ty.frac, elements);
        let ty = TensorType { bits, magnitude: result, sign: Sign::Any, ..ty };
        let y = self.same(Op::Bias { weight }, vec![wide], ty, node);
        if keeps { self.kept(id, y) } else { self.narrow(y, node) }
    }
}

#[cfg(test)]
mod tests {
    use fusion_ir::interp;
    use fusion_ir::op::Reveal;
    use ndarray::Array2;

    use super::*;
    use crate::build::{Built, build};
    use crate::evaluate;
    use crate::nn::build::Builder;
    use crate::nn::expr::{Binary, Unary};
    use crate::nn::{Dense, eval};
    use crate::passes::Settings;
    use crate::quantise::Precision;
    use crate::quantise::calibrate::Calibration;

    #[test]
    fn factors_of_every_size_keep_their_bits() {
        for twos in [-100, -48, -31, -12, 0, 3, 40, 100] {
            let power = f64::from(twos).exp2() as f32;
            assert_eq!(factor_of(power, 12), (1, -twos));
            assert_eq!(factor_of(-power, 12), (-1, -twos));
            for factor in [0.3f32, 1.999_999_9, -5.7] {
                let (integer, places) = factor_of(factor * power, 12);
                let real = integer as f64 * f64::from(-places).exp2();
                assert!((real / f64::from(factor * power) - 1.0).abs() < 1.0 / 4096.0, "{factor} 2^{twos}: {real}");
                assert!(integer % 2 != 0 && integer.abs() <= 4096, "{factor} 2^{twos}: {integer}");
            }
        }
        assert_eq!(factor_of(0.0, 12).0, 0);
    }

    /// An LSTM's new cell as `2 sigmoid(2x) - 1`, far smaller than the gates beside it.
    #[test]
    fn small_parts_of_a_function_are_right_for_themselves() {
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [4]);
        let weight = Array2::from_shape_fn((4, 4), |(i, j)| match i == j {
            true if i < 2 => 3.0,
            true => 0.3,
            false => 0.0,
        });
        let sum = b.push(nn::Op::Dense(Dense { weight, bias: vec![0.0; 4] }), vec![x], [4]);
        let gates = b.pointwise(Expr::unary(Unary::Sigmoid, Expr::X), sum);
        let twice = b.slice(gates, &[2], &[2]);
        let twice = b.scale(2.0, twice);
        let shift = nn::Affine { shape: vec![2], scale: vec![1.0; 2], shift: vec![-1.0; 2] };
        let new = b.affine(twice, shift);
        let others = b.slice(gates, &[0], &[2]);
        let y = b.mul(new, others).unwrap();
        let y = b.add(y, new);
        let graph = b.graph.reachable(y);
        let calibration = Calibration::synthetic(&graph);
        let settings = Settings { reveal: Reveal::Logits, ..Settings::default() };
        let Built { program, .. } = build(&graph, &calibration, &Precision::default(), &settings).unwrap();
        let function = &program.function;
        let quantised = evaluate::quantise(function, &calibration.samples);
        let ty = &function.values.iter().rev().find(|value| !matches!(value.op, Op::Reveal(_) | Op::Check)).unwrap().ty;
        let (mut noise, mut signal) = (0.0, 0.0);
        for (sample, quantised) in calibration.samples.iter().zip(&quantised) {
            let found = interp::output(function, &program.weights, quantised);
            for (found, float) in found.iter().zip(eval::run(&graph, sample).pop().unwrap()) {
                noise += (ty.dequantize(*found) - f64::from(float)).powi(2);
                signal += f64::from(float).powi(2);
            }
        }
        assert!(noise < signal / 10_000.0, "{noise} of {signal}");
    }

    /// What sentence models divide by: how many words are no padding.
    #[test]
    fn counts_keep_all_digits_in_rings_that_other_readers_need() {
        const WORDS: usize = 12;
        let mut b = Builder::default();
        let x = b.push(nn::Op::Input, vec![], [WORDS]);
        let weight = Array2::from_shape_fn((WORDS, WORDS), |(i, j)| 0.37 * (i as f32 - 1.3 * j as f32));
        let sums = b.push(nn::Op::Dense(Dense { weight, bias: vec![0.0; WORDS] }), vec![x], [WORDS]);
        let row = b.reshape(x, &[1, WORDS]);
        let count = b.pool_rows(nn::Op::SumPool, row);
        let some = Expr::binary(Binary::Max, Expr::X, Expr::Const(1e-9));
        let inverse = b.pointwise(Expr::unary(Unary::Reciprocal, some), count);
        let inverse = b.concat(&[inverse; WORDS], 0);
        let y = b.mul(sums, inverse).unwrap();
        let graph = b.graph.reachable(y);
        let row = |n: usize| (0..WORDS).map(|i| f32::from(u8::from(i < n))).collect();
        let calibration = Calibration::of((6..=WORDS).map(row).collect(), &graph).with_elements(nn::Elements::Bit);
        let settings = Settings { reveal: Reveal::Logits, ..Settings::default() };
        let Built { program, .. } = build(&graph, &calibration, &Precision::default(), &settings).unwrap();
        let function = &program.function;
        let pooled = function.values.iter().find(|value| matches!(value.op, Op::SumPool(_))).unwrap();
        assert_eq!(pooled.ty.frac, 0);
        let quantised = evaluate::quantise(function, &calibration.samples);
        let ty = &function.values.iter().rev().find(|value| !matches!(value.op, Op::Reveal(_) | Op::Check)).unwrap().ty;
        for (sample, quantised) in calibration.samples.iter().zip(&quantised) {
            let expected = eval::run(&graph, sample).pop().unwrap();
            let found = interp::output(function, &program.weights, quantised);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((ty.dequantize(*found) - f64::from(*expected)).abs() < 0.02, "{expected}");
            }
        }
    }
}
