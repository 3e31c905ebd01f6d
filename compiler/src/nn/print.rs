//! The float network as text, for people.

use std::fmt;

use super::{Conv, Graph, Op};

impl fmt::Display for Graph {
    /// One line per node: `n3 = conv [16, 32, 32] (n2) "Conv_3"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {:?} {{", self.name)?;
        for (id, node) in self.iter() {
            let inputs: Vec<String> = node.inputs.iter().map(|input| format!("n{}", input.0)).collect();
            write!(f, "  n{} = {} {:?} ({})", id.0, node.op.name(), node.shape, inputs.join(", "))?;
            match &node.op {
                Op::Conv(conv) => {
                    let Conv { strides, pads, dilations, groups, weight, .. } = conv;
                    let kernel = weight.shape();
                    write!(f, " kernel {kernel:?} strides {strides:?} pads {pads:?}")?;
                    write!(f, " dilations {dilations:?} groups {groups}")?;
                }
                Op::Dense(dense) => write!(f, " weight {:?}", dense.weight.shape())?,
                Op::Normalise(normalise) => {
                    write!(f, " {} features along axis {}", normalise.format.features.len(), normalise.format.axis)?;
                }
                Op::Affine(affine) => write!(f, " coefficients {:?}", affine.shape)?,
                Op::MaxPool(w) | Op::SumPool(w) => {
                    write!(f, " kernel {:?} strides {:?} pads {:?}", w.kernel, w.strides, w.pads)?;
                }
                Op::Mask(mask) => write!(f, " coefficients {:?}", mask.shape)?,
                Op::MaskBy { value, when } => write!(f, " by {value} where {when}")?,
                Op::Round { step } => write!(f, " to multiples of {step}")?,
                Op::Scale(factor) => write!(f, " by {factor}")?,
                Op::Pointwise(expr) => write!(f, " {expr}")?,
                Op::Binary(op) => write!(f, " {op:?}")?,
                Op::Concat { axis } | Op::Softmax { axis, .. } => write!(f, " axis {axis}")?,
                Op::Slice { start } => write!(f, " start {start:?}")?,
                Op::Pad { before, after } => write!(f, " before {before:?} after {after:?}")?,
                Op::Transpose { perm } => write!(f, " perm {perm:?}")?,
                Op::Trees(trees) => write!(f, " {} tests {} leaves", trees.tests.len(), trees.leaves.ncols())?,
                _ => {}
            }
            writeln!(f, " {:?}", node.name)?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for super::Expr {
    /// Prefix notation: `max(x, 0)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::Expr;
        match self {
            Expr::X => f.write_str("x"),
            Expr::Const(c) => write!(f, "{c}"),
            Expr::Unary(op, a) => write!(f, "{}({a})", format!("{op:?}").to_lowercase()),
            Expr::Binary(op, a, b) => write!(f, "{}({a}, {b})", format!("{op:?}").to_lowercase()),
            Expr::Select(condition, a, b) => write!(f, "select({condition}, {a}, {b})"),
        }
    }
}
