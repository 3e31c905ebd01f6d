//! Text to IR.

use std::collections::HashMap;

use super::cursor::{Cursor, Parsed};
use super::ops::{Attributes, build};
use crate::backend::Backend;
use crate::function::{Function, Value, ValueId, Weight, WeightId};
use crate::types::{Sign, TensorType};

/// Why a text is not IR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

/// Reads a function. The result is not verified.
///
/// # Errors
/// The first line that is not IR.
pub fn parse(text: &str) -> Result<Function, ParseError> {
    let mut function = Function::default();
    for (index, line) in text.lines().enumerate() {
        let mut cursor = Cursor { rest: line };
        parse_line(&mut cursor, &mut function).map_err(|message| ParseError { line: index + 1, message })?;
    }
    Ok(function)
}

fn parse_line(cursor: &mut Cursor, function: &mut Function) -> Parsed<()> {
    if cursor.at_end() {
        return Ok(());
    }
    match cursor.word()? {
        "function" => function.name = cursor.quoted()?,
        "weight" => {
            if cursor.id("@w")? != function.weights.len() as u32 {
                return Err(format!("the next weight is @w{}", function.weights.len()));
            }
            let name = cursor.quoted()?;
            cursor.expect(":")?;
            cursor.expect("i")?;
            let bits = cursor.number()?;
            cursor.expect(".")?;
            let frac = cursor.number()?;
            function.weights.push(Weight { name, bits, frac, shape: cursor.list()? });
        }
        word if word.strip_prefix('v') == Some(&function.values.len().to_string()) => {
            cursor.expect("=")?;
            let value = parse_value(cursor)?;
            function.values.push(value);
        }
        word => return Err(format!("expected function, weight or v{}, found {word:?}", function.values.len())),
    }
    if cursor.at_end() { Ok(()) } else { Err(format!("{:?} is left over", cursor.rest)) }
}

fn parse_value(cursor: &mut Cursor) -> Parsed<Value> {
    let name = cursor.word()?.to_owned();
    let mut operands = Vec::new();
    let mut weights = Vec::new();
    while cursor.peek("v") || cursor.peek("@w") {
        if cursor.peek("@w") {
            weights.push(WeightId(cursor.id("@w")?));
        } else {
            operands.push(ValueId(cursor.id("v")?));
        }
        if !cursor.accept(",") {
            break;
        }
    }
    let mut attributes = Attributes(HashMap::new());
    while !cursor.accept(":") {
        let key = cursor.word()?.to_owned();
        cursor.expect("=")?;
        let value = cursor.attribute()?;
        attributes.0.insert(key, value);
    }
    let ty = parse_type(cursor)?;
    let backend = if cursor.accept("by ") {
        cursor.take(|c| !c.is_whitespace() && c != '"').parse()?
    } else {
        Backend::Unselected
    };
    let op = build(&name, &mut attributes, &weights)?;
    if let Some(key) = attributes.0.keys().next() {
        return Err(format!("{name} has no parameter {key:?}"));
    }
    Ok(Value { op, operands, ty, backend, node: cursor.quoted()? })
}

fn parse_type(cursor: &mut Cursor) -> Parsed<TensorType> {
    cursor.expect("i")?;
    let bits = cursor.number()?;
    cursor.expect(".")?;
    let frac = cursor.number()?;
    cursor.expect("~")?;
    let magnitude = cursor.number()?;
    let sign = if cursor.accept("+") { Sign::NonNegative } else { Sign::Any };
    Ok(TensorType { bits, frac, magnitude, sign, shape: cursor.list()? })
}
