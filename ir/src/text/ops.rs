//! The parameters of operations, to text and back: a new operation has its text here.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::cursor::{Cursor, Parsed};
use crate::function::WeightId;
use crate::input::{Feature, InputFormat};
use crate::op::{Conv, Mix, Op, Piecewise, Reveal, Window};

/// An operation's parameters as the text form writes them, weights left out.
pub(super) fn attributes(op: &Op) -> Vec<(&'static str, String)> {
    match op {
        Op::Input(format) if format.ordered => vec![("ordered", "float32".into())],
        Op::Input(format) if !format.features.is_empty() => {
            let features: Vec<(i64, i64)> = format.features.iter().map(|f| (i64::from(f.frac), f.offset)).collect();
            vec![("axis", format.axis.to_string()), ("features", pairs(&features))]
        }
        Op::Mix(mix) => vec![
            ("queries", mix.queries.to_string()),
            ("copies", mix.copies.to_string()),
            ("public", mix.public.to_string()),
        ],
        Op::Conv(conv) => vec![
            ("strides", list(&conv.strides)),
            ("pads", list(&conv.pads)),
            ("dilations", list(&conv.dilations)),
            ("groups", conv.groups.to_string()),
        ],
        Op::Requant { shift } | Op::RequantRelu { shift } => vec![("shift", shift.to_string())],
        Op::RequantClip { shift, limit } => vec![("shift", shift.to_string()), ("limit", limit.to_string())],
        Op::ShiftLeft { by } => vec![("by", by.to_string())],
        Op::Scale { factor } => vec![("factor", factor.to_string())],
        Op::Offset { by } => vec![("by", by.to_string())],
        Op::Piecewise(function) => vec![
            ("slope", function.first_slope.to_string()),
            ("slope_frac", function.slope_frac.to_string()),
            ("offset", function.offset.to_string()),
            ("knots", pairs(&function.knots)),
        ],
        Op::TopK { k } => vec![("k", k.to_string())],
        Op::Paths(forest) => vec![("trees", forest.to_string())],
        Op::MaxPool(window) | Op::SumPool(window) => {
            vec![("kernel", list(&window.kernel)), ("strides", list(&window.strides)), ("pads", list(&window.pads))]
        }
        Op::Concat { axis } => vec![("axis", axis.to_string())],
        Op::Pad { before, after } => vec![("before", list(before)), ("after", list(after))],
        Op::Slice { start } => vec![("start", list(start))],
        Op::Transpose { perm } => vec![("perm", list(perm))],
        Op::Reveal(what) => vec![("what", what.to_string())],
        Op::Input(_) | Op::Dense { .. } | Op::Bias { .. } | Op::Add | Op::Mul | Op::MatMul => Vec::new(),
        Op::Relu | Op::Extend | Op::Truncate | Op::Step | Op::Reshape | Op::ArgMax | Op::Check => Vec::new(),
    }
}

/// Parameters that a line gives.
pub(super) struct Attributes(pub HashMap<String, String>);

impl Attributes {
    fn text(&mut self, key: &str) -> Parsed<String> {
        self.0.remove(key).ok_or_else(|| format!("parameter {key} is missing"))
    }

    fn number<T: FromStr>(&mut self, key: &str) -> Parsed<T> {
        self.text(key)?.parse().map_err(|_| format!("parameter {key} is not a number in range"))
    }

    fn list(&mut self, key: &str) -> Parsed<Vec<usize>> {
        Cursor { rest: &self.text(key)? }.list()
    }

    /// `[a:b,..]`.
    fn pairs(&mut self, key: &str) -> Parsed<Vec<(i64, i64)>> {
        let text = self.text(key)?;
        let mut cursor = Cursor { rest: &text };
        cursor.expect("[")?;
        let mut pairs = Vec::new();
        while !cursor.accept("]") {
            if !pairs.is_empty() {
                cursor.expect(",")?;
            }
            let first = cursor.number()?;
            cursor.expect(":")?;
            pairs.push((first, cursor.number()?));
        }
        Ok(pairs)
    }

    /// `axis=0 features=[frac:offset,..]`, or `ordered=float32`, or nothing.
    fn features(&mut self) -> Parsed<InputFormat> {
        if self.0.contains_key("ordered") {
            return match self.text("ordered")?.as_str() {
                "float32" => Ok(InputFormat { ordered: true, ..InputFormat::default() }),
                other => Err(format!("the order of {other:?}")),
            };
        }
        if !self.0.contains_key("features") {
            return Ok(InputFormat::default());
        }
        let feature = |(frac, offset)| {
            let frac = i16::try_from(frac).map_err(|_| format!("a feature of {frac} fractional bits"))?;
            Ok(Feature { frac, offset })
        };
        let features = self.pairs("features")?.into_iter().map(feature).collect::<Parsed<_>>()?;
        Ok(InputFormat { axis: self.number("axis")?, features, ordered: false })
    }

    fn array<const N: usize>(&mut self, key: &str) -> Parsed<[usize; N]> {
        self.list(key)?.try_into().map_err(|_| format!("parameter {key} has {N} elements"))
    }
}

/// The operation of a name with what is given, all of which it takes out.
pub(super) fn build(name: &str, given: &mut Attributes, weights: &[WeightId]) -> Parsed<Op> {
    let most = match name {
        "conv" | "dense" => 2,
        "bias" => 1,
        _ => 0,
    };
    let weight = match weights {
        [] if most == 0 => WeightId(0),
        [weight, ..] if weights.len() <= most => *weight,
        _ => return Err(format!("{name} with {} weights", weights.len())),
    };
    let bias = weights.get(1).copied();
    Ok(match name {
        "input" => Op::Input(given.features()?),
        "fusion.mix" => Op::Mix(Mix {
            queries: given.number("queries")?,
            copies: given.number("copies")?,
            public: given.number("public")?,
        }),
        "conv" => Op::Conv(Conv {
            weight,
            bias,
            strides: given.array("strides")?,
            pads: given.array("pads")?,
            dilations: given.array("dilations")?,
            groups: given.number("groups")?,
        }),
        "dense" => Op::Dense { weight, bias },
        "requant" => Op::Requant { shift: given.number("shift")? },
        "requant_relu" => Op::RequantRelu { shift: given.number("shift")? },
        "requant_clip" => Op::RequantClip { shift: given.number("shift")?, limit: given.number("limit")? },
        "relu" => Op::Relu,
        "extend" => Op::Extend,
        "truncate" => Op::Truncate,
        "shift_left" => Op::ShiftLeft { by: given.number("by")? },
        "scale" => Op::Scale { factor: given.number("factor")? },
        "offset" => Op::Offset { by: given.number("by")? },
        "bias" => Op::Bias { weight },
        "add" => Op::Add,
        "mul" => Op::Mul,
        "mat_mul" => Op::MatMul,
        "piecewise" => Op::Piecewise(Piecewise {
            first_slope: given.number("slope")?,
            slope_frac: given.number("slope_frac")?,
            offset: given.number("offset")?,
            knots: given.pairs("knots")?,
        }),
        "max_pool" => Op::MaxPool(window(given)?),
        "sum_pool" => Op::SumPool(window(given)?),
        "concat" => Op::Concat { axis: given.number("axis")? },
        "pad" => Op::Pad { before: given.list("before")?, after: given.list("after")? },
        "slice" => Op::Slice { start: given.list("start")? },
        "transpose" => Op::Transpose { perm: given.list("perm")? },
        "reshape" => Op::Reshape,
        "step" => Op::Step,
        "paths" => Op::Paths(given.text("trees")?.parse()?),
        "argmax" => Op::ArgMax,
        "topk" => Op::TopK { k: given.number("k")? },
        "fusion.reveal" => Op::Reveal(given.text("what")?.parse()?),
        "fusion.check" => Op::Check,
        other => return Err(format!("no operation {other:?}")),
    })
}

fn window(given: &mut Attributes) -> Parsed<Window> {
    Ok(Window { kernel: given.array("kernel")?, strides: given.array("strides")?, pads: given.array("pads")? })
}

impl fmt::Display for Reveal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reveal::Label => f.write_str("label"),
            Reveal::TopK(k) => write!(f, "topk:{k}"),
            Reveal::Logits => f.write_str("logits"),
            Reveal::Value => f.write_str("value"),
        }
    }
}

impl FromStr for Reveal {
    type Err = String;

    /// `label`, `topk:K` with `K >= 1`, `logits` or `value`.
    fn from_str(text: &str) -> Parsed<Reveal> {
        match (text, text.strip_prefix("topk:").map(str::parse)) {
            ("label", _) => Ok(Reveal::Label),
            ("logits", _) => Ok(Reveal::Logits),
            ("value", _) => Ok(Reveal::Value),
            (_, Some(Ok(k @ 1..))) => Ok(Reveal::TopK(k)),
            _ => Err(format!("cannot reveal {text:?}: label, topk:K, logits or value")),
        }
    }
}

/// `[a:b,..]`.
fn pairs(pairs: &[(i64, i64)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(a, b)| format!("{a}:{b}")).collect();
    format!("[{}]", pairs.join(","))
}

/// `[a,b,..]`.
pub(super) fn list(items: &[usize]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("[{}]", items.join(","))
}
