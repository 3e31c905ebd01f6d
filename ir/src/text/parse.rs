//! Text to IR.

use std::collections::HashMap;
use std::str::FromStr;

use crate::backend::Backend;
use crate::function::{Function, Value, ValueId, Weight, WeightId};
use crate::input::{Feature, InputFormat};
use crate::op::{Conv, Mix, Op, Piecewise, Reveal, Window};
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

type Parsed<T> = Result<T, String>;

struct Cursor<'t> {
    rest: &'t str,
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

struct Attributes(HashMap<String, String>);

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

fn build(name: &str, given: &mut Attributes, weights: &[WeightId]) -> Parsed<Op> {
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

fn window(given: &mut Attributes) -> Parsed<Window> {
    Ok(Window { kernel: given.array("kernel")?, strides: given.array("strides")?, pads: given.array("pads")? })
}

impl<'t> Cursor<'t> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty() || self.rest.starts_with(';')
    }

    fn peek(&mut self, prefix: &str) -> bool {
        self.skip_space();
        self.rest.starts_with(prefix)
    }

    fn accept(&mut self, token: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.accept(token) { Ok(()) } else { Err(format!("expected {token:?} at {:?}", self.rest)) }
    }

    fn take(&mut self, part: impl Fn(char) -> bool) -> &'t str {
        self.skip_space();
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn word(&mut self) -> Parsed<&'t str> {
        match self.take(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
            "" => Err(format!("expected a word at {:?}", self.rest)),
            word => Ok(word),
        }
    }

    fn number<T: FromStr>(&mut self) -> Parsed<T> {
        let digits = self.take(|c| c.is_ascii_digit() || c == '-');
        digits.parse().map_err(|_| format!("{digits:?} is not a number in range, before {:?}", self.rest))
    }

    fn id(&mut self, prefix: &str) -> Parsed<u32> {
        self.expect(prefix)?;
        self.number()
    }

    fn list(&mut self) -> Parsed<Vec<usize>> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.accept("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.number()?);
        }
        Ok(items)
    }

    fn attribute(&mut self) -> Parsed<String> {
        let text = if self.peek("[") {
            let end = self.rest.find(']').ok_or("a list without end")?;
            let (list, rest) = self.rest.split_at(end + 1);
            self.rest = rest;
            list
        } else {
            self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'))
        };
        Ok(text.to_owned())
    }

    fn quoted(&mut self) -> Parsed<String> {
        self.expect("\"")?;
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    self.rest = chars.as_str();
                    return Ok(text);
                }
                '\\' if chars.as_str().starts_with("u{") => {
                    let (code, rest) = chars.as_str()[2..].split_once('}').ok_or("an escape without end")?;
                    let code = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
                    text.push(code.ok_or("an escape that is no character")?);
                    chars = rest.chars();
                }
                '\\' => text.extend(chars.next()),
                c => text.push(c),
            }
        }
        Err("a string without end".into())
    }
}
