//! IR to text.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::backend::Backend;
use crate::function::{Function, Value, Weight, WeightId, Weights};
use crate::op::{Op, Reveal};
use crate::types::{Sign, TensorType};

/// The function's text with a digest of each weight's elements as a comment beside its declaration.
/// Only a model owner can print this.
pub fn print_with_weights(function: &Function, weights: &Weights) -> String {
    let mut lines: Vec<String> = function.to_string().lines().map(str::to_owned).collect();
    for (index, elements) in weights.0.iter().enumerate() {
        let mut hash = Sha256::new();
        elements.iter().for_each(|element| hash.update(element.to_le_bytes()));
        let start: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        if let Some(line) = lines.get_mut(1 + index) {
            line.push_str(&format!(" ; sha256 {start}"));
        }
    }
    lines.join("\n") + "\n"
}

/// `text` in double quotes; quotes, backslashes and control characters are escaped.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "function {}", quote(&self.name))?;
        for (index, weight) in self.weights.iter().enumerate() {
            writeln!(f, "weight {} {weight}", WeightId(index as u32))?;
        }
        for (id, value) in self.iter() {
            writeln!(f, "{id} = {value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} : i{}.{}{}", quote(&self.name), self.bits, self.frac, list(&self.shape))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.op.name())?;
        let operands = self.operands.iter().map(ToString::to_string);
        let read: Vec<String> = operands.chain(self.op.weights().map(|w| w.to_string())).collect();
        if !read.is_empty() {
            write!(f, " {}", read.join(", "))?;
        }
        for (name, value) in attributes(&self.op) {
            write!(f, " {name}={value}")?;
        }
        write!(f, " : {}", self.ty)?;
        if self.backend != Backend::Unselected {
            write!(f, " by {}", self.backend)?;
        }
        write!(f, " {}", quote(&self.node))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.sign == Sign::NonNegative { "+" } else { "" };
        write!(f, "i{}.{}~{}{sign}{}", self.bits, self.frac, self.magnitude, list(&self.shape))
    }
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

/// An operation's parameters as the text form writes them, weights left out.
fn attributes(op: &Op) -> Vec<(&'static str, String)> {
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
        _ => Vec::new(),
    }
}

fn pairs(pairs: &[(i64, i64)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(a, b)| format!("{a}:{b}")).collect();
    format!("[{}]", pairs.join(","))
}

fn list(items: &[usize]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("[{}]", items.join(","))
}
