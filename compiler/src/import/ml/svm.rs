//! Support vector machines: kernels of the sample with each support vector, sums of them for each
//! pair of classes, and the pairs' votes.

use ndarray::{Array2, Axis, arr1};

use super::super::call::{Call, Kind, Made, Wire, number};
use super::attributes::Attributes;
use super::label;
use super::linear::{keeps_order, label_instead};
use crate::nn::expr::{Binary, Expr, Unary};
use crate::nn::{Dense, NodeId, Op};

/// Largest power of a polynomial kernel.
const MAX_DEGREE: u8 = 8;

/// Binary orders of magnitude between a unit and one up to which it is one.
const NEAR_ONE: f64 = 4.0;

/// A function of the sample and a support vector.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kernel {
    /// `x.s`
    Linear,
    /// `exp(-gamma |x - s|^2)`
    Radial { gamma: f64 },
    /// `(gamma x.s + shift)^degree`
    Polynomial { gamma: f64, shift: f64, degree: u8 },
    /// `tanh(gamma x.s + shift)`
    Sigmoid { gamma: f64, shift: f64 },
}

/// Weighted sums of kernels.
struct Machine {
    kernel: Kernel,
    /// `[vectors, features]`.
    vectors: Array2<f64>,
    /// `[sums, vectors]`.
    coefficients: Array2<f64>,
    /// What is added to each sum.
    rho: Vec<f64>,
}

/// `SVMClassifier`: the label, and what the pairs of classes say.
pub(in super::super) fn svm_classifier(call: &mut Call) -> Result<Vec<Wire>, String> {
    let attributes = Attributes(call.node);
    let names = attributes.labels("classlabels_ints", "classlabels_strings")?;
    let classes = names.len();
    if classes < 2 {
        return Err(format!("it has {classes} classes"));
    }
    let post = attributes.text("post_transform", "NONE")?;
    keeps_order(post)?;
    let per_class = attributes.ints("vectors_per_class")?;
    if per_class.is_empty() {
        return without_vectors(call, names);
    }
    let counts: Option<Vec<usize>> = per_class.iter().map(|n| usize::try_from(*n).ok()).collect();
    let counts = counts.filter(|counts| counts.len() == classes).ok_or("its vectors are not those of its classes")?;
    let given = numbers(attributes, "coefficients")?;
    let total = counts.iter().try_fold(0usize, |sum, n| sum.checked_add(*n)).filter(|total| *total > 0);
    let fits = |total: &usize| total.checked_mul(classes - 1) == Some(given.len());
    let Some(total) = total.filter(fits) else {
        return Err(format!("{} coefficients for {counts:?} vectors of {classes} classes", given.len()));
    };
    let given = Array2::from_shape_vec((classes - 1, total), given).map_err(|e| e.to_string())?;
    let pairs: Vec<(usize, usize)> = (0..classes).flat_map(|i| (i + 1..classes).map(move |j| (i, j))).collect();
    let rho = numbers(attributes, "rho")?;
    if rho.len() != pairs.len() {
        return Err(format!("{} summands for {} pairs of classes", rho.len(), pairs.len()));
    }
    // A vector of a class has a coefficient for each other one, in the order of those.
    let first = |class: usize| counts[..class].iter().sum::<usize>();
    let mut coefficients = Array2::zeros((pairs.len(), total));
    for (row, (i, j)) in pairs.iter().enumerate() {
        for (own, other) in [(*i, j - 1), (*j, *i)] {
            for at in first(own)..first(own) + counts[own] {
                coefficients[[row, at]] = given[[other, at]];
            }
        }
    }
    let machine = Machine { kernel: kernel(attributes)?, vectors: vectors(call, total)?, coefficients, rho };
    let sums = machine.sums(call)?;
    label::rename(call, names)?;
    let deciding = match classes {
        // The first class has the vote if the sum is above zero.
        2 => {
            let (one, other) = (call.b.scale(0.5, sums), call.b.scale(-0.5, sums));
            call.b.concat(&[one, other], 0)
        }
        _ => votes(call, sums, &pairs, classes),
    };
    let deciding = call.b.reshape(deciding, &[1, classes]);
    let label = label::best(call, deciding);
    Ok(vec![Wire::Data(label, Kind::INDEX), scores(call, sums, classes, post)?])
}

/// `SVMRegressor`.
pub(in super::super) fn svm_regressor(call: &mut Call) -> Made {
    let attributes = Attributes(call.node);
    if attributes.text("post_transform", "NONE")? != "NONE" {
        return Err("its post_transform is not supported".into());
    }
    let coefficients = numbers(attributes, "coefficients")?;
    let rho = numbers(attributes, "rho")?;
    let count = attributes.int("n_supports", 0)?;
    let Ok(count) = usize::try_from(count) else { return Err(format!("it has {count} vectors")) };
    if rho.len() != 1 || coefficients.is_empty() {
        return Err(format!("{} coefficients and {} summands", coefficients.len(), rho.len()));
    }
    let n = coefficients.len();
    let machine = match count {
        // The coefficients are the one vector.
        0 => {
            let vectors = Array2::from_shape_vec((1, n), coefficients).map_err(|e| e.to_string())?;
            Machine { kernel: Kernel::Linear, vectors, coefficients: Array2::ones((1, 1)), rho }
        }
        _ if count != n => return Err(format!("{n} coefficients for {count} vectors")),
        _ => {
            let coefficients = Array2::from_shape_vec((1, n), coefficients).map_err(|e| e.to_string())?;
            Machine { kernel: kernel(attributes)?, vectors: vectors(call, count)?, coefficients, rho }
        }
    };
    let sum = machine.sums(call)?;
    let one_class = attributes.int("one_class", 0)? != 0;
    let y = match one_class {
        true => {
            let above = Expr::binary(Binary::Greater, Expr::X, Expr::Const(0.0));
            let sign = Expr::select(above, Expr::Const(1.0), Expr::Const(-1.0));
            call.b.pointwise(sign, sum)
        }
        false => sum,
    };
    Ok(call.b.reshape(y, &[1, 1]))
}

/// A classifier that has a row of coefficients for each class instead of vectors.
fn without_vectors(call: &mut Call, names: Vec<String>) -> Result<Vec<Wire>, String> {
    let attributes = Attributes(call.node);
    let (coefficients, rho) = (numbers(attributes, "coefficients")?, numbers(attributes, "rho")?);
    let classes = names.len();
    let x = call.data(0)?;
    let n = call.shape(x).iter().product::<usize>();
    let (Some(rho), true) = (rho.first(), coefficients.len() == n * classes) else {
        return Err(format!("{} coefficients for {classes} classes of {n} features", coefficients.len()));
    };
    let vectors = Array2::from_shape_vec((classes, n), coefficients).map_err(|e| e.to_string())?;
    let rho = vec![*rho; classes];
    let positive = vectors.iter().all(|x| *x >= 0.0);
    let machine = Machine { kernel: Kernel::Linear, vectors, coefficients: Array2::eye(classes), rho };
    let sums = machine.sums(call)?;
    label::rename(call, names)?;
    let post = attributes.text("post_transform", "NONE")?;
    let deciding = match classes {
        2 if numbers(attributes, "prob_a")?.is_empty() => first_too_large(call, sums, positive)?,
        _ => sums,
    };
    let deciding = call.b.reshape(deciding, &[1, classes]);
    let label = label::best(call, deciding);
    let scores = match post {
        "NONE" => Wire::Data(call.b.reshape(sums, &[1, classes]), Kind::Real),
        post => {
            Wire::Without(format!("scores by the post_transform {post:?} are not supported{}", label_instead(call)))
        }
    };
    Ok(vec![Wire::Data(label, Kind::INDEX), scores])
}

/// Of two classes onnxruntime takes the second if it has the larger score, and also if the first's
/// score is above zero or, where no coefficient is negative, above a half.
fn first_too_large(call: &mut Call, sums: NodeId, positive: bool) -> Made {
    let [first, second] = [0, 1].map(|class| call.b.slice(sums, &[class], &[1]));
    let second = call.b.sub(second, first);
    let above = call.affine(first, &number(1.0), &number(if positive { -0.5 } else { 0.0 }))?;
    let both = call.b.concat(&[second, above], 0);
    let both = call.b.reshape(both, &[1, 2]);
    let most = call.b.pool_rows(Op::MaxPool, both);
    let (zero, one) = (call.b.scale(-0.5, most), call.b.scale(0.5, most));
    Ok(call.b.concat(&[zero, one], 0))
}

/// How many pairs each class wins. Of equal ones the first is before the others by less than a
/// vote.
fn votes(call: &mut Call, sums: NodeId, pairs: &[(usize, usize)], classes: usize) -> NodeId {
    let first = call.b.pointwise(Expr::binary(Binary::Greater, Expr::X, Expr::Const(0.0)), sums);
    let mut weight = Array2::zeros((classes, pairs.len()));
    let mut bias: Vec<f32> = (0..classes).map(|class| -(class as f32) / (2 * classes) as f32).collect();
    for (at, (i, j)) in pairs.iter().enumerate() {
        weight[[*i, at]] = 1.0;
        weight[[*j, at]] = -1.0;
        bias[*j] += 1.0;
    }
    call.b.push(Op::Dense(Dense { weight, bias }), vec![first], [classes])
}

/// A classifier's second output.
fn scores(call: &mut Call, sums: NodeId, classes: usize, post: &str) -> Result<Wire, String> {
    let attributes = Attributes(call.node);
    let (a, b) = (numbers(attributes, "prob_a")?, numbers(attributes, "prob_b")?);
    Ok(match (classes, a.as_slice(), b.as_slice()) {
        (2, [a], [b]) if post == "NONE" => {
            // 1 / (1 + exp(a x + b)), and what is left of it.
            let z = call.affine(sums, &number(-*a as f32), &number(-*b as f32))?;
            let minus = call.b.scale(-1.0, z);
            let pair = call.b.concat(&[z, minus], 0);
            let pair = call.b.reshape(pair, &[1, 2]);
            Wire::Data(call.b.pointwise(Expr::unary(Unary::Sigmoid, Expr::X), pair), Kind::Real)
        }
        (2, [], []) if post == "NONE" => {
            let minus = call.b.scale(-1.0, sums);
            let pair = call.b.concat(&[minus, sums], 0);
            Wire::Data(call.b.reshape(pair, &[1, 2]), Kind::Real)
        }
        (_, [], []) if post == "NONE" => {
            let n = call.shape(sums)[0];
            Wire::Data(call.b.reshape(sums, &[1, n]), Kind::Real)
        }
        (3.., [_, ..], _) => Wire::Without(format!(
            "probabilities of {classes} classes, which are found by iteration, are not supported{}. For probabilities train \
             CalibratedClassifierCV on a machine without them",
            label_instead(call)
        )),
        _ => Wire::Without(format!("scores by the post_transform {post:?} are not supported{}", label_instead(call))),
    })
}

fn kernel(attributes: Attributes) -> Result<Kernel, String> {
    let given = numbers(attributes, "kernel_params")?;
    let (gamma, shift, degree) = match given.as_slice() {
        [] => (0.0, 0.0, 0.0),
        [gamma, shift, degree] => (*gamma, *shift, *degree),
        other => return Err(format!("{} numbers for its kernel", other.len())),
    };
    match attributes.text("kernel_type", "LINEAR")? {
        "LINEAR" => Ok(Kernel::Linear),
        "RBF" => Ok(Kernel::Radial { gamma }),
        "SIGMOID" => Ok(Kernel::Sigmoid { gamma, shift }),
        "POLY" => match (1..=MAX_DEGREE).find(|n| f64::from(*n) == degree) {
            Some(degree) => Ok(Kernel::Polynomial { gamma, shift, degree }),
            None => Err(format!("a polynomial of degree {degree}; 1 to {MAX_DEGREE} are supported")),
        },
        other => Err(format!("its kernel {other:?} is not known")),
    }
}

fn numbers(attributes: Attributes, name: &str) -> Result<Vec<f64>, String> {
    Ok(attributes.floats(name, false)?.into_iter().map(f64::from).collect())
}

/// The support vectors, one a row.
fn vectors(call: &Call, count: usize) -> Result<Array2<f64>, String> {
    let given = numbers(Attributes(call.node), "support_vectors")?;
    let n = call.shape(call.data(0)?).iter().product::<usize>();
    let wrong = format!("{} numbers for {count} support vectors of {n} features", given.len());
    Array2::from_shape_vec((count, n), given).map_err(|_| wrong)
}

fn dense(call: &mut Call, x: NodeId, weight: &Array2<f64>, bias: &[f64]) -> NodeId {
    let bias = bias.iter().map(|b| *b as f32).collect::<Vec<f32>>();
    let rows = bias.len();
    call.b.push(Op::Dense(Dense { weight: weight.mapv(|w| w as f32), bias }), vec![x], [rows])
}

impl Machine {
    /// A vector of the sums.
    fn sums(&self, call: &mut Call) -> Made {
        let Machine { kernel, vectors, coefficients, rho } = self;
        let x = call.data(0)?;
        let n = call.shape(x).iter().product::<usize>();
        if n != vectors.ncols() {
            return Err(format!("its vectors have {} features, the sample {n}", vectors.ncols()));
        }
        let x = call.b.reshape(x, &[n]);
        let projected = |call: &mut Call, gamma: f64, shift: f64| {
            dense(call, x, &vectors.mapv(|s| gamma * s), &vec![shift; vectors.nrows()])
        };
        let values = match *kernel {
            // Sums of products with vectors are products with sums of them.
            Kernel::Linear => return Ok(dense(call, x, &coefficients.dot(vectors), rho)),
            Kernel::Radial { gamma } => {
                let exponents = self.distances(call, x, -gamma)?;
                call.b.pointwise(Expr::unary(Unary::Exp, Expr::X), exponents)
            }
            Kernel::Polynomial { gamma, shift, degree } => {
                let base = projected(call, gamma, shift);
                (1..degree).try_fold(base, |power, _| call.b.mul(power, base))?
            }
            Kernel::Sigmoid { gamma, shift } => {
                let z = projected(call, gamma, shift);
                call.b.pointwise(Expr::unary(Unary::Tanh, Expr::X), z)
            }
        };
        Ok(dense(call, values, coefficients, rho))
    }

    /// `factor |x - s|^2` for each vector, as `factor (|x|^2 - 2 x.s + |s|^2)`, with the vectors'
    /// mean as the origin: far from it the terms are large and nearly cancel. In units in which the
    /// factor is about one, `x` and its square have one size, whatever units the columns have.
    fn distances(&self, call: &mut Call, x: NodeId, factor: f64) -> Made {
        let mean = self.vectors.mean_axis(Axis(0)).ok_or("it has no support vectors")?.mapv(|c| c as f32);
        let centred = &self.vectors - &mean.mapv(f64::from);
        let away = arr1(&mean.mapv(|c| -c).to_vec()).into_dyn();
        let x = call.affine(x, &number(1.0), &away)?;
        let squares = call.b.mul(x, x)?;
        // A power of two, by which a multiplication is none.
        let unit = (0.5 * factor.abs().log2()).round();
        let unit = if factor != 0.0 && (NEAR_ONE..60.0).contains(&unit.abs()) { unit.exp2() } else { 1.0 };
        let (x, squares) = (call.b.scale(unit as f32, x), call.b.scale((unit * unit) as f32, squares));
        let both = call.b.concat(&[x, squares], 0);
        let of_squares = Array2::from_elem(centred.dim(), factor / (unit * unit));
        let of_x = centred.mapv(|s| -2.0 * factor * s / unit);
        let weight = ndarray::concatenate(Axis(1), &[of_x.view(), of_squares.view()]);
        let weight = weight.map_err(|e| e.to_string())?;
        let norms: Vec<f64> = centred.rows().into_iter().map(|s| factor * s.dot(&s)).collect();
        Ok(dense(call, both, &weight, &norms))
    }
}
