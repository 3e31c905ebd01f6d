//! IR to text.

use std::fmt;

use sha2::{Digest, Sha256};

use super::ops::{attributes, list};
use crate::backend::Backend;
use crate::function::{Function, Value, Weight, WeightId, Weights};
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
