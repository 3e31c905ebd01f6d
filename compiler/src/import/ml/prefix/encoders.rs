//! What single nodes make of columns: casts, encoders, and arithmetic with public constants.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use fusion_ir::prefix::{Categories, NumberKey, Step};
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::{DatumType, Tensor};

use super::super::super::whole::is_whole;
use super::super::attributes::Attributes;
use super::super::exact::{self, Exact};
use super::cells::{Cell, Cells, Code};

pub(super) fn cast(node: &NodeProto, x: &Cells) -> Option<Cells> {
    let to = exact::cast_to(node)?;
    let integer = is_whole(to);
    if !integer && !matches!(to, DataType::Float | DataType::Double) {
        return None;
    }
    let code = |code: &Code| match code {
        Code::Integer(i) if to == DataType::Double && *i as f32 as i64 != *i => None,
        Code::Integer(i) if to == DataType::Int32 && i32::try_from(*i).is_err() => None,
        Code::Integer(i) if !integer => Some(Code::Real(*i as f32)),
        // Beyond what the type holds nobody says what it becomes.
        Code::Real(r) if integer && r.abs() >= if to == DataType::Int32 { 2f32.powi(31) } else { 2f32.powi(63) } => {
            None
        }
        Code::Real(r) if integer => Some(Code::Integer(*r as i64)),
        Code::Text(_) => None,
        other => Some(other.clone()),
    };
    let cell = |cell: &Cell| match cell {
        Cell::Number { column, steps } if integer && steps.is_empty() => {
            Some(Cell::Whole { column: *column, cut: true })
        }
        Cell::Whole { column, cut: false } if !integer => Some(Cell::Number { column: *column, steps: Vec::new() }),
        Cell::Number { .. } if integer => None,
        Cell::Text { .. } => None,
        Cell::Code { column, set, codes, other } => {
            let codes: Vec<Code> = codes.iter().map(code).collect::<Option<_>>()?;
            let other = match other {
                Some(other) => Some(code(other)?),
                None => None,
            };
            Some(Cell::Code { column: *column, set: set.clone(), codes: codes.into(), other })
        }
        other => Some(other.clone()),
    };
    let cells: Vec<Cell> = x.cells.iter().map(cell).collect::<Option<_>>()?;
    Some(Cells { of: to, cells, ..x.clone() })
}

pub(super) fn one_hot(node: &NodeProto, x: &Cells) -> Option<Cells> {
    let attributes = Attributes(node);
    let (integers, texts) = (attributes.ints("cats_int64s").ok()?, attributes.texts("cats_strings").ok()?);
    let others = attributes.int("zeros", 1).ok()? != 0;
    let set = match (integers.is_empty(), texts.is_empty()) {
        (false, true) => Categories::Integers(integers.to_vec()),
        (true, false) => Categories::Texts(texts.iter().map(|text| (*text).to_owned()).collect()),
        _ => return None,
    };
    let (set, n) = (Arc::new(set.clone()), set.len());
    let shape = [x.shape.as_slice(), &[n]].concat();
    x.mapped(DataType::Float, shape, |cell| match (cell, &*set) {
        (Cell::Number { steps, .. }, _) if !steps.is_empty() => None,
        (Cell::Number { column, .. } | Cell::Whole { column, .. }, Categories::Integers(_))
        | (Cell::Text { column }, Categories::Texts(_)) => {
            let one = |one| Cell::One { column: *column, set: set.clone(), one, others };
            Some((0..n).map(one).collect())
        }
        (Cell::Code { column, set: own, codes, other }, _) => {
            let category = |at: usize| match &*set {
                Categories::Integers(integers) => Code::Integer(integers[at]),
                Categories::Texts(texts) => Code::Text(texts[at].clone()),
                Categories::Numbers(numbers) => Code::Real(numbers[at]),
            };
            let all: Vec<Code> = (0..n).map(category).collect();
            // A code that is no category would be an error for some rows.
            if !others && codes.iter().chain(other).any(|code| !all.contains(code)) {
                return None;
            }
            let one = |category: &Code| {
                let is = |code: &Code| Code::Real(f32::from(u8::from(code == category)));
                let codes: Vec<Code> = codes.iter().map(is).collect();
                Cell::Code { column: *column, set: own.clone(), codes: codes.into(), other: other.as_ref().map(is) }
            };
            Some(all.iter().map(one).collect())
        }
        _ => None,
    })
}

/// Keys and what they stand for.
struct Pairs {
    keys: Categories,
    /// The type of what they stand for.
    of: DataType,
    codes: Arc<Vec<Code>>,
    other: Code,
}

/// Keys or values of a `LabelEncoder`.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum List {
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Reals(Vec<f32>),
}

impl List {
    /// Those of the node, `of` being `keys` or `values`.
    ///
    /// # Errors
    /// If there are none, or of two kinds.
    pub fn of(node: &NodeProto, of: &str) -> Result<List, String> {
        let attributes = Attributes(node);
        let texts: Vec<String> = attributes.texts(&format!("{of}_strings"))?.into_iter().map(str::to_owned).collect();
        let integers = attributes.ints(&format!("{of}_int64s"))?.to_vec();
        let reals = attributes.any_floats(&format!("{of}_floats"))?;
        let tensor = attributes.stored(&format!("{of}_tensor"))?;
        match (texts.as_slice(), integers.as_slice(), reals.as_slice(), tensor) {
            ([_, ..], [], [], None) => Ok(List::Texts(texts)),
            ([], [_, ..], [], None) => Ok(List::Integers(integers)),
            ([], [], [_, ..], None) => Ok(List::Reals(reals)),
            ([], [], [], Some(tensor)) => List::stored(&tensor).map_err(|why| format!("its {of}_tensor {why}")),
            ([], [], [], None) => Err(format!("it has no {of}")),
            _ => Err(format!("it has {of} of two kinds")),
        }
    }

    fn stored(tensor: &Tensor) -> Result<List, String> {
        fn all<T: tract_onnx::prelude::Datum>(tensor: &Tensor) -> Result<Vec<T>, String> {
            let cast = tensor.cast_to::<T>().map_err(|e| e.to_string())?;
            Ok(cast.to_plain_array_view::<T>().map_err(|e| e.to_string())?.iter().cloned().collect())
        }
        match tensor.datum_type() {
            DatumType::String => Ok(List::Texts(all(tensor)?)),
            kind if kind.is_integer() => Ok(List::Integers(all(tensor)?)),
            DatumType::F32 => Ok(List::Reals(all(tensor)?)),
            DatumType::F64 => {
                let narrow = |x: &f64| Some(*x as f32).filter(|y| f64::from(*y) == *x || x.is_nan());
                let reals = all::<f64>(tensor)?.iter().map(narrow).collect::<Option<Vec<f32>>>();
                reals.map(List::Reals).ok_or_else(|| "has numbers that float32 does not hold".into())
            }
            other => Err(format!("is of type {other:?}")),
        }
    }

    fn codes(self) -> Vec<Code> {
        match self {
            List::Texts(texts) => texts.into_iter().map(Code::Text).collect(),
            List::Integers(integers) => integers.into_iter().map(Code::Integer).collect(),
            List::Reals(reals) => reals.into_iter().map(Code::Real).collect(),
        }
    }
}

/// Whether a missing value may be a key: before this version of the domain onnxruntime finds none.
const NAN_KEYS_SINCE: i64 = 4;

/// Whether a `LabelEncoder` has keys and values that the client can look up.
///
/// # Errors
/// Why not.
pub(in super::super) fn looks_up(node: &NodeProto) -> Result<(), String> {
    pairs(node, NAN_KEYS_SINCE).map(|_| ())
}

fn pairs(node: &NodeProto, version: i64) -> Result<Pairs, String> {
    let attributes = Attributes(node);
    let (keys, values) = (List::of(node, "keys")?, List::of(node, "values")?);
    let other = match (&values, attributes.stored("default_tensor")?) {
        (List::Texts(_), None) => Code::Text(attributes.text("default_string", "_Unused")?.to_owned()),
        (List::Integers(_), None) => Code::Integer(attributes.int("default_int64", -1)?),
        (List::Reals(_), None) => Code::Real(attributes.float("default_float", -0.0)?),
        (_, Some(tensor)) => match List::stored(&tensor)?.codes().as_slice() {
            [one] => one.clone(),
            several => return Err(format!("its default_tensor has {} elements", several.len())),
        },
    };
    let mut codes = values.codes();
    let keys = match keys {
        List::Texts(texts) => Categories::Texts(first_of_each(texts, &mut codes, Clone::clone)?),
        List::Integers(integers) => Categories::Integers(first_of_each(integers, &mut codes, |i| *i)?),
        List::Reals(reals) => {
            let mut reals = first_of_each(reals, &mut codes, |x| NumberKey::from(*x))?;
            if let Some(infinite) = reals.iter().find(|x| x.is_infinite()) {
                return Err(format!("its key {infinite} is not finite"));
            }
            if let Some(at) = reals.iter().position(|x| x.is_nan()).filter(|_| version < NAN_KEYS_SINCE) {
                reals.remove(at);
                codes.remove(at);
            }
            Categories::Numbers(reals)
        }
    };
    if keys.len() == 0 {
        return Err("it has no key that is found".into());
    }
    let of = match (&other, attributes.stored("values_tensor")?) {
        (_, Some(tensor)) if tensor.datum_type() == DatumType::F64 => DataType::Double,
        (Code::Text(_), _) => DataType::String,
        (Code::Integer(_), _) => DataType::Int64,
        (Code::Real(_), _) => DataType::Float,
    };
    Ok(Pairs { keys, of, codes: codes.into(), other })
}

/// Of equal keys the first counts.
fn first_of_each<T, K: Hash + Eq>(
    keys: Vec<T>,
    codes: &mut Vec<Code>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, String> {
    if keys.len() != codes.len() {
        return Err(format!("{} keys and {} values", keys.len(), codes.len()));
    }
    let mut seen = HashSet::new();
    let pairs = keys.into_iter().zip(std::mem::take(codes)).filter(|(one, _)| seen.insert(key(one)));
    let (keys, kept): (Vec<T>, Vec<Code>) = pairs.unzip();
    *codes = kept;
    Ok(keys)
}

pub(super) fn label_encoder(node: &NodeProto, x: &Cells, version: i64) -> Option<Cells> {
    encoded(x, &pairs(node, version).ok()?)
}

/// Texts to integers, or back.
pub(super) fn category_mapper(node: &NodeProto, x: &Cells) -> Option<Cells> {
    let attributes = Attributes(node);
    let texts: Vec<String> = attributes.texts("cats_strings").ok()?.into_iter().map(str::to_owned).collect();
    let integers = attributes.ints("cats_int64s").ok()?.to_vec();
    let of_text = matches!(x.cells.first()?, Cell::Text { .. });
    let pairs = if of_text {
        let codes: Vec<Code> = integers.into_iter().map(Code::Integer).collect();
        let other = Code::Integer(attributes.int("default_int64", -1).ok()?);
        Pairs { keys: Categories::Texts(texts), of: DataType::Int64, codes: codes.into(), other }
    } else {
        let codes: Vec<Code> = texts.into_iter().map(Code::Text).collect();
        let other = Code::Text(attributes.text("default_string", "_Unused").ok()?.to_owned());
        Pairs { keys: Categories::Integers(integers), of: DataType::String, codes: codes.into(), other }
    };
    encoded(x, &pairs)
}

fn encoded(x: &Cells, pairs: &Pairs) -> Option<Cells> {
    let Pairs { keys, of, codes, other } = pairs;
    if keys.len() != codes.len() || keys.len() == 0 {
        return None;
    }
    let set = Arc::new(keys.clone());
    x.mapped(*of, x.shape.clone(), |cell| match (cell, keys) {
        (Cell::Number { steps, .. }, _) if !steps.is_empty() => None,
        (Cell::Whole { column, .. }, Categories::Integers(_))
        | (Cell::Text { column }, Categories::Texts(_))
        | (Cell::Number { column, .. }, Categories::Numbers(_)) => {
            let (set, codes, other) = (set.clone(), codes.clone(), Some(other.clone()));
            Some(vec![Cell::Code { column: *column, set, codes, other }])
        }
        _ => None,
    })
}

/// Every element with its steps, if they are the client's: those of float32.
pub(super) fn stepped(x: &Cells, of: DataType, steps: Vec<Exact>) -> Option<Cells> {
    let single = |step: Exact| if let Exact::Single(step) = step { Some(step) } else { None };
    x.stepped(of, &steps.into_iter().map(single).collect::<Option<Vec<Step>>>()?)
}
