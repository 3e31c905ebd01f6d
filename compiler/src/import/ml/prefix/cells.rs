//! Elements of tensors that are made of one column of a row each.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use fusion_ir::prefix::{Categories, Element, MAX_STEPS, Step, Values};
use tract_onnx::pb::tensor_proto::DataType;

use super::super::elements;

/// One element of a tensor, as far as it depends on one column of a row only.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// The number in a column, and what is done to it.
    Number { column: usize, steps: Vec<Step> },
    /// The integer in a column, or the number there cut to one.
    Whole { column: usize, cut: bool },
    /// The text in a column.
    Text { column: usize },
    /// 1 if the column has this category, else 0; if `others`, of all other categories too.
    One { column: usize, set: Arc<Categories>, one: usize, others: bool },
    /// What the column's category stands for.
    Code { column: usize, set: Arc<Categories>, codes: Arc<Vec<Code>>, other: Option<Code> },
}

/// Where sets of categories are among all, by their addresses: a table's has a row for each word,
/// and as many elements are made of it.
#[derive(Default)]
pub(super) struct Places<'c>(HashMap<*const Categories, u32>, PhantomData<&'c Categories>);

/// What a category stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Code {
    Integer(i64),
    Real(f32),
    Text(String),
}

/// A tensor made of such elements.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    /// Its element type.
    pub of: DataType,
    pub shape: Vec<usize>,
    pub cells: Vec<Cell>,
    /// Whether the client has done something to some of them.
    pub done: bool,
}

impl Cell {
    /// What the client makes of a row; `known` are the places of sets that cells share.
    pub fn element<'c>(&'c self, sets: &mut Vec<Categories>, known: &mut Places<'c>) -> Element {
        let mut place = |set: &'c Arc<Categories>| {
            *known.0.entry(Arc::as_ptr(set)).or_insert_with(|| {
                let equal = sets.iter().position(|other| *other == **set);
                equal.unwrap_or_else(|| {
                    sets.push(Categories::clone(set));
                    sets.len() - 1
                }) as u32
            })
        };
        match self {
            Cell::Number { column, steps } => Element::Number { column: *column as u32, steps: steps.clone() },
            Cell::One { column, set, one, others } => Element::Category {
                column: *column as u32,
                set: place(set),
                values: Values::One(*one as u32),
                other: others.then_some(0.0),
            },
            Cell::Code { column, set, codes, other } => Element::Category {
                column: *column as u32,
                set: place(set),
                values: Values::Numbers(codes.iter().filter_map(Code::number).collect()),
                other: other.as_ref().and_then(Code::number),
            },
            // Of text, and of what was cut, no input is made.
            Cell::Whole { column, .. } | Cell::Text { column } => {
                Element::Number { column: *column as u32, steps: Vec::new() }
            }
        }
    }

    /// The number with one more step, if it is one.
    pub fn then(&self, step: &Step) -> Option<Cell> {
        let code = |code: &Code| code.number().map(|x| Code::Real(step.at(x)));
        match self {
            Cell::Number { column, steps } if steps.len() < MAX_STEPS => {
                Some(Cell::Number { column: *column, steps: [steps.as_slice(), std::slice::from_ref(step)].concat() })
            }
            Cell::Whole { column, cut: false } => Some(Cell::Number { column: *column, steps: vec![step.clone()] }),
            Cell::One { column, set, one, others } => {
                let codes = (0..set.len()).map(|at| Code::Real(step.at(f32::from(u8::from(at == *one))))).collect();
                let other = others.then(|| Code::Real(step.at(0.0)));
                Some(Cell::Code { column: *column, set: set.clone(), codes: Arc::new(codes), other })
            }
            Cell::Code { column, set, codes, other } => {
                let codes: Vec<Code> = codes.iter().map(code).collect::<Option<_>>()?;
                let other = match other {
                    Some(other) => Some(code(other)?),
                    None => None,
                };
                Some(Cell::Code { column: *column, set: set.clone(), codes: codes.into(), other })
            }
            _ => None,
        }
    }

    /// Whether it is a number that the network can be given.
    pub fn is_number(&self) -> bool {
        match self {
            Cell::Number { .. } | Cell::Whole { cut: false, .. } | Cell::One { .. } => true,
            Cell::Whole { .. } | Cell::Text { .. } => false,
            Cell::Code { codes, other, .. } => codes.iter().chain(other).all(|code| code.number().is_some()),
        }
    }
}

impl Code {
    pub fn number(&self) -> Option<f32> {
        match self {
            Code::Integer(integer) => Some(*integer as f32).filter(|real| *real as i64 == *integer),
            Code::Real(real) => Some(*real).filter(|real| real.is_finite()),
            Code::Text(_) => None,
        }
    }
}

impl Cells {
    /// As a matrix, whose rows are what the axes before `axis` count.
    pub fn flattened(&self, axis: i64) -> Option<Cells> {
        let rank = self.shape.len();
        let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok().filter(|at| *at <= rank)?;
        let shape = [&self.shape[..axis], &self.shape[axis..]].map(|extents| extents.iter().product()).to_vec();
        Some(Cells { shape, ..self.clone() })
    }

    /// Some places along the last axis.
    pub fn picked(&self, at: &[usize]) -> Cells {
        let mut shape = self.shape.clone();
        let extent = shape.pop().unwrap_or(1);
        shape.push(at.len());
        Cells { of: self.of, shape, cells: elements::picked(&self.cells, extent, at), done: self.done }
    }

    /// Every element with one more step, of type `of` then.
    pub fn stepped(&self, of: DataType, steps: &[Step]) -> Option<Cells> {
        let cells = self.cells.iter().zip(steps).map(|(cell, step)| cell.then(step)).collect::<Option<_>>()?;
        Some(Cells { of, cells, shape: self.shape.clone(), done: true })
    }

    /// Each element replaced by several of type `of`, along a new axis if there is more than one.
    pub fn mapped(&self, of: DataType, shape: Vec<usize>, f: impl Fn(&Cell) -> Option<Vec<Cell>>) -> Option<Cells> {
        let cells: Vec<Vec<Cell>> = self.cells.iter().map(f).collect::<Option<_>>()?;
        Some(Cells { of, shape, cells: cells.concat(), done: true })
    }
}
