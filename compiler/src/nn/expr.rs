//! Pointwise functions of one variable, as expressions: what an activation means before it becomes
//! a table.
//!
//! Exporters write activations as one node or as a dozen (`0.5 x (1 + erf(x / sqrt 2))`).
//! Expressions compose, so both end as one function of the tensor that they read. Everything in an
//! expression is public: it is part of the architecture.

/// A function of one real variable.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// The variable.
    X,
    /// A constant.
    Const(f64),
    /// A function of an expression.
    Unary(Unary, Box<Expr>),
    /// An operation on two expressions; comparisons and logic give 1 or 0.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// The second expression where the first is not zero, else the third.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// How a function answers a positive factor of its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Degree {
    /// It is zero.
    Any,
    /// By that power of the factor.
    Of(i8),
}

/// Functions of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "these are the functions of their names")]
pub enum Unary {
    Abs,
    Acosh,
    Asin,
    Asinh,
    Acos,
    Atan,
    Atanh,
    Cos,
    Cosh,
    Erf,
    Exp,
    Log,
    Neg,
    Not,
    Reciprocal,
    Round,
    Sigmoid,
    Sign,
    Sin,
    Sinh,
    Softplus,
    Sqrt,
    Tan,
    Tanh,
    Trunc,
}

/// Functions of two arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "these are the operations of their names")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
}

impl Expr {
    /// `op(a, b)`.
    pub fn binary(op: Binary, a: Expr, b: Expr) -> Expr {
        Expr::Binary(op, Box::new(a), Box::new(b))
    }

    /// `op(a)`.
    pub fn unary(op: Unary, a: Expr) -> Expr {
        Expr::Unary(op, Box::new(a))
    }

    /// `a` where `condition` is not zero, else `b`.
    pub fn select(condition: Expr, a: Expr, b: Expr) -> Expr {
        Expr::Select(Box::new(condition), Box::new(a), Box::new(b))
    }

    /// The value at `x`; infinite or NaN where the function is not defined.
    pub fn at(&self, x: f64) -> f64 {
        match self {
            Expr::X => x,
            Expr::Const(c) => *c,
            Expr::Unary(op, a) => op.at(a.at(x)),
            Expr::Binary(op, a, b) => op.at(a.at(x), b.at(x)),
            Expr::Select(condition, a, b) => {
                if condition.at(x) != 0.0 {
                    a.at(x)
                } else {
                    b.at(x)
                }
            }
        }
    }

    /// The values at all of `x`: what [`Self::at`] gives, operation by operation.
    pub fn each(&self, x: &[f64]) -> Vec<f64> {
        match self {
            Expr::X => x.to_vec(),
            Expr::Const(c) => vec![*c; x.len()],
            Expr::Unary(op, a) => a.each(x).into_iter().map(|a| op.at(a)).collect(),
            Expr::Binary(op, a, b) => {
                let (mut left, right) = (a.each(x), b.each(x));
                let mut zip = |f: fn(f64, f64) -> f64| left.iter_mut().zip(&right).for_each(|(a, b)| *a = f(*a, *b));
                match op {
                    Binary::Add => zip(|a, b| a + b),
                    Binary::Mul => zip(|a, b| a * b),
                    Binary::Max => zip(f64::max),
                    Binary::Min => zip(f64::min),
                    _ => left.iter_mut().zip(&right).for_each(|(a, b)| *a = op.at(*a, *b)),
                }
                left
            }
            Expr::Select(condition, a, b) => {
                let choices = a.each(x).into_iter().zip(b.each(x));
                condition.each(x).into_iter().zip(choices).map(|(c, (a, b))| if c != 0.0 { a } else { b }).collect()
            }
        }
    }

    /// This function of `inner`.
    pub fn of(&self, inner: &Expr) -> Expr {
        match self {
            Expr::X => inner.clone(),
            Expr::Const(c) => Expr::Const(*c),
            Expr::Unary(op, a) => Expr::unary(*op, a.of(inner)),
            Expr::Binary(op, a, b) => Expr::binary(*op, a.of(inner), b.of(inner)),
            Expr::Select(condition, a, b) => Expr::select(condition.of(inner), a.of(inner), b.of(inner)),
        }
    }

    /// Whether it is `factor * x + summand`, and with what numbers.
    pub fn affine(&self) -> Option<(f64, f64)> {
        match self {
            Expr::X => Some((1.0, 0.0)),
            Expr::Const(c) => Some((0.0, *c)),
            Expr::Unary(Unary::Neg, a) => a.affine().map(|(f, s)| (-f, -s)),
            Expr::Binary(op, a, b) => {
                let ((fa, sa), (fb, sb)) = (a.affine()?, b.affine()?);
                match op {
                    Binary::Add => Some((fa + fb, sa + sb)),
                    Binary::Sub => Some((fa - fb, sa - sb)),
                    Binary::Mul if fb == 0.0 => Some((fa * sb, sa * sb)),
                    Binary::Mul if fa == 0.0 => Some((fb * sa, sb * sa)),
                    Binary::Div if fb == 0.0 && sb != 0.0 => Some((fa / sb, sa / sb)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether a larger argument always gives a larger value, as it is written.
    pub fn is_rising(&self) -> bool {
        let number = |e: &Expr| e.affine().filter(|(factor, _)| *factor == 0.0).map(|(_, number)| number);
        match self {
            Expr::X => true,
            Expr::Unary(op, a) => {
                use Unary::{Asinh, Atan, Erf, Exp, Sigmoid, Sinh, Softplus, Tanh};
                matches!(op, Asinh | Atan | Erf | Exp | Sigmoid | Sinh | Softplus | Tanh) && a.is_rising()
            }
            Expr::Binary(Binary::Add, a, b) => {
                number(a).is_some() && b.is_rising() || a.is_rising() && (number(b).is_some() || b.is_rising())
            }
            Expr::Binary(Binary::Sub, a, b) => a.is_rising() && number(b).is_some(),
            Expr::Binary(Binary::Mul, a, b) => {
                number(a).is_some_and(|c| c > 0.0) && b.is_rising()
                    || number(b).is_some_and(|c| c > 0.0) && a.is_rising()
            }
            Expr::Binary(Binary::Div, a, b) => number(b).is_some_and(|c| c > 0.0) && a.is_rising(),
            _ => false,
        }
    }

    /// Whether `f(s x) = s f(x)` for every `s > 0`, as it is written.
    pub fn is_homogeneous(&self) -> bool {
        matches!(self.degree(), Some(Degree::Any | Degree::Of(1)))
    }

    /// The `d` of `f(s x) = s^d f(x)`, if the way it is written shows that there is one.
    fn degree(&self) -> Option<Degree> {
        let common = |a: &Expr, b: &Expr| match (a.degree()?, b.degree()?) {
            (Degree::Any, d) | (d, Degree::Any) => Some(d),
            (a, b) => (a == b).then_some(a),
        };
        match self {
            Expr::X => Some(Degree::Of(1)),
            Expr::Const(0.0) => Some(Degree::Any),
            Expr::Const(_) => Some(Degree::Of(0)),
            Expr::Unary(Unary::Abs | Unary::Neg, a) => a.degree(),
            Expr::Unary(Unary::Sign | Unary::Not, a) => a.degree().map(|_| Degree::Of(0)),
            Expr::Unary(_, a) => a.degree().filter(|d| *d == Degree::Of(0)),
            Expr::Binary(Binary::Add | Binary::Sub | Binary::Max | Binary::Min, a, b) => common(a, b),
            Expr::Binary(Binary::Mul, a, b) => match (a.degree()?, b.degree()?) {
                (Degree::Of(a), Degree::Of(b)) => Some(Degree::Of(a + b)),
                _ => Some(Degree::Any),
            },
            Expr::Binary(Binary::Div, a, b) => a.degree().filter(|_| b.degree() == Some(Degree::Of(0))),
            Expr::Binary(Binary::Pow | Binary::And | Binary::Or, a, b) => common(a, b).filter(|d| *d == Degree::Of(0)),
            Expr::Binary(_, a, b) => common(a, b).map(|_| Degree::Of(0)),
            Expr::Select(condition, a, b) => condition.degree().filter(|d| *d == Degree::Of(0)).and(common(a, b)),
        }
    }

    /// Whether a value that was cut to an integer is more than compared.
    pub fn shows_integers(&self) -> bool {
        match self {
            Expr::X | Expr::Const(_) => false,
            Expr::Unary(Unary::Trunc, _) => true,
            Expr::Unary(Unary::Not | Unary::Sign, _) => false,
            Expr::Unary(_, a) => a.shows_integers(),
            Expr::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, a, b)
            | Expr::Binary(Binary::Max | Binary::Min | Binary::Pow, a, b) => a.shows_integers() || b.shows_integers(),
            Expr::Binary(..) => false,
            Expr::Select(_, a, b) => a.shows_integers() || b.shows_integers(),
        }
    }

    /// Functions whose sign changes are the only places where this one may have a kink or a jump.
    pub fn switches(&self) -> Vec<Expr> {
        let mut found = Vec::new();
        self.collect_switches(&mut found);
        found
    }

    fn collect_switches(&self, found: &mut Vec<Expr>) {
        match self {
            Expr::X | Expr::Const(_) => {}
            Expr::Unary(op, a) => {
                if matches!(op, Unary::Abs | Unary::Sign | Unary::Not) {
                    found.push((**a).clone());
                }
                a.collect_switches(found);
            }
            Expr::Binary(op, a, b) => {
                if !matches!(op, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Pow) {
                    found.push(Expr::binary(Binary::Sub, (**a).clone(), (**b).clone()));
                }
                a.collect_switches(found);
                b.collect_switches(found);
            }
            Expr::Select(condition, a, b) => [condition, a, b].iter().for_each(|e| e.collect_switches(found)),
        }
    }
}

impl Unary {
    /// The value at `x`.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Unary::Abs => x.abs(),
            Unary::Acosh => x.acosh(),
            Unary::Asin => x.asin(),
            Unary::Asinh => x.asinh(),
            Unary::Acos => x.acos(),
            Unary::Atan => x.atan(),
            Unary::Atanh => x.atanh(),
            Unary::Cos => x.cos(),
            Unary::Cosh => x.cosh(),
            Unary::Erf => erf(x),
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Neg => -x,
            Unary::Not => f64::from(u8::from(x == 0.0)),
            Unary::Reciprocal => x.recip(),
            Unary::Round => x.round_ties_even(),
            Unary::Sigmoid => (1.0 + (-x).exp()).recip(),
            Unary::Sign if x == 0.0 => 0.0,
            Unary::Sign => x.signum(),
            Unary::Sin => x.sin(),
            Unary::Sinh => x.sinh(),
            Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Unary::Sqrt => x.sqrt(),
            Unary::Tan => x.tan(),
            Unary::Tanh => x.tanh(),
            Unary::Trunc => x.trunc(),
        }
    }
}

impl Binary {
    /// The value at `(a, b)`.
    pub fn at(self, a: f64, b: f64) -> f64 {
        let truth = |holds: bool| f64::from(u8::from(holds));
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
            Binary::Pow => a.powf(b),
            Binary::Less => truth(a < b),
            Binary::LessOrEqual => truth(a <= b),
            Binary::Greater => truth(a > b),
            Binary::GreaterOrEqual => truth(a >= b),
            Binary::And => truth(a != 0.0 && b != 0.0),
            Binary::Or => truth(a != 0.0 || b != 0.0),
        }
    }
}

/// The error function: its Taylor series near zero, the continued fraction of its complement
/// beyond.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    if z > 6.0 {
        return x.signum();
    }
    let scale = 2.0 / std::f64::consts::PI.sqrt();
    if z < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return scale * sum;
    }
    let fraction = (1..60).rev().fold(z, |tail, n| z + f64::from(n) / 2.0 / tail);
    x.signum() * (1.0 - (-z * z).exp() / (std::f64::consts::PI.sqrt() * fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_has_its_known_values() {
        for (x, y) in [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((erf(x) - y).abs() < 1e-9 && (erf(-x) + y).abs() < 1e-9, "{x}");
        }
        for (x, y) in [(2.5, 0.999_593_047_98), (3.0, 0.999_977_909_5), (7.0, 1.0)] {
            assert!((erf(x) - y).abs() < 1e-9, "{x} {}", erf(x));
        }
        assert!((erf(2.499_999_9) - erf(2.500_000_1)).abs() < 1e-8);
    }

    #[test]
    fn expressions_compose() {
        let relu = Expr::binary(Binary::Max, Expr::X, Expr::Const(0.0));
        let shifted = Expr::binary(Binary::Sub, Expr::X, Expr::Const(3.0));
        let both = relu.of(&shifted);
        assert_eq!([both.at(1.0), both.at(5.0)], [0.0, 2.0]);
        assert_eq!(both.affine(), None);
        assert_eq!(shifted.of(&shifted).affine(), Some((1.0, -6.0)));
        assert_eq!(both.switches().len(), 1);
        let step = Expr::select(Expr::binary(Binary::Less, Expr::X, Expr::Const(1.0)), Expr::Const(2.0), Expr::X);
        assert_eq!([step.at(0.5), step.at(1.5)], [2.0, 1.5]);
    }

    #[test]
    fn many_values_at_once_are_the_single_ones() {
        let ops = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min, Binary::Less];
        let x: Vec<f64> = (-9..9).map(|i| f64::from(i) * 0.37).chain([f64::INFINITY, f64::NAN, -0.0]).collect();
        for op in ops {
            let sine = Expr::unary(Unary::Sin, Expr::X);
            let both = Expr::binary(op, sine.clone(), Expr::Const(0.4));
            let f = Expr::select(Expr::binary(Binary::Greater, Expr::X, sine), both, Expr::X);
            let each: Vec<u64> = f.each(&x).into_iter().map(f64::to_bits).collect();
            assert_eq!(each, x.iter().map(|x| f.at(*x).to_bits()).collect::<Vec<_>>(), "{f}");
        }
    }
}
