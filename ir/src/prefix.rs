//! What the client does to a row of its table before it is a sample: it looks categories up, and
//! does arithmetic on single columns. Needs the data in the clear and public constants only, so it
//! is no part of the protocol. All of it is public and in both parties' plans.
//!
//! A row has columns of numbers and of categories. Each element of the input is a number of the
//! row, or made of one, or what a category stands for.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Most elements of an input that have names.
pub const MAX_COLUMNS: usize = 4096;
/// Most bytes of a name.
pub const MAX_NAME_BYTES: usize = 256;

/// Most categories of all sets together.
pub const MAX_CATEGORIES: usize = 1 << 20;
/// Most numbers that categories stand for, of all elements together.
pub const MAX_VALUES: usize = 1 << 22;
/// Most steps of one element.
pub const MAX_STEPS: usize = 64;

/// Categories that a column may have, all of one kind and different.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Categories {
    /// Integers; what is behind the point of a number is dropped.
    Integers(Vec<i64>),
    /// Text, as it is written.
    Texts(Vec<String>),
    /// Finite numbers, and NaN for a missing one.
    Numbers(Vec<f32>),
}

/// A category that is a number, so that equal ones are one: both zeros, and everything that is
/// missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumberKey(u32);

impl From<f32> for NumberKey {
    fn from(number: f32) -> Self {
        NumberKey(if number.is_nan() { f32::NAN } else { number + 0.0 }.to_bits())
    }
}

/// What is done to a number, in float32: a monotone function of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// `x + c`.
    Add(f32),
    /// `x - c`.
    Subtract(f32),
    /// `c - x`.
    SubtractFrom(f32),
    /// `x c`.
    Multiply(f32),
    /// `x / c`.
    Divide(f32),
    /// `(x - offset) scale`.
    Scale {
        /// What is subtracted.
        offset: f32,
        /// The factor.
        scale: f32,
    },
    /// The number where a value is missing.
    Impute(f32),
    /// 1 above the threshold, else 0.
    Binarise(f32),
    /// `max(x, 0)`.
    Relu,
}

/// What each category of a set stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Values {
    /// 1 for this one, 0 for the others.
    One(u32),
    /// A number each.
    Numbers(Vec<f32>),
}

/// What one element of the input is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Element {
    /// The number in a column.
    Number {
        /// The column.
        column: u32,
        /// What is done to it, first to last.
        steps: Vec<Step>,
    },
    /// What the category in a column stands for.
    Category {
        /// The column.
        column: u32,
        /// Its categories, among [`Prefix::sets`].
        set: u32,
        /// What they stand for.
        values: Values,
        /// What any other category stands for, if there may be others.
        other: Option<f32>,
    },
}

/// From rows to samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prefix {
    /// The extents of a row, if it is an array's.
    pub shape: Vec<usize>,
    /// Sets of categories.
    pub sets: Vec<Categories>,
    /// The elements of the input, row-major.
    pub elements: Vec<Element>,
}

impl Element {
    /// The column that it is made of.
    pub fn column(&self) -> u32 {
        match self {
            Element::Number { column, .. } | Element::Category { column, .. } => *column,
        }
    }
}

impl Step {
    /// Of one number.
    pub fn at(&self, x: f32) -> f32 {
        match *self {
            Step::Add(c) => x + c,
            Step::Subtract(c) => x - c,
            Step::SubtractFrom(c) => c - x,
            Step::Multiply(c) => x * c,
            Step::Divide(c) => x / c,
            Step::Scale { offset, scale } => (x - offset) * scale,
            Step::Impute(c) => {
                if x.is_nan() {
                    c
                } else {
                    x
                }
            }
            Step::Binarise(threshold) => f32::from(u8::from(x > threshold)),
            Step::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
        }
    }

    fn constants(&self) -> Vec<f32> {
        match *self {
            Step::Add(c) | Step::Subtract(c) | Step::SubtractFrom(c) | Step::Multiply(c) | Step::Divide(c) => vec![c],
            Step::Impute(c) | Step::Binarise(c) => vec![c],
            Step::Scale { offset, scale } => vec![offset, scale],
            Step::Relu => vec![],
        }
    }
}

impl PartialEq for Categories {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Categories::Integers(a), Categories::Integers(b)) => a == b,
            (Categories::Texts(a), Categories::Texts(b)) => a == b,
            (Categories::Numbers(a), Categories::Numbers(b)) => {
                a.iter().copied().map(NumberKey::from).eq(b.iter().copied().map(NumberKey::from))
            }
            _ => false,
        }
    }
}

impl Categories {
    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "no set is empty")]
    pub fn len(&self) -> usize {
        match self {
            Categories::Integers(integers) => integers.len(),
            Categories::Texts(texts) => texts.len(),
            Categories::Numbers(numbers) => numbers.len(),
        }
    }

    fn are_different(&self) -> bool {
        match self {
            Categories::Integers(integers) => integers.iter().collect::<HashSet<_>>().len() == integers.len(),
            Categories::Texts(texts) => texts.iter().collect::<HashSet<_>>().len() == texts.len(),
            Categories::Numbers(numbers) => {
                numbers.iter().map(|number| NumberKey::from(*number)).collect::<HashSet<_>>().len() == numbers.len()
            }
        }
    }
}

impl Values {
    /// The number that category `at` stands for.
    pub fn of(&self, at: usize) -> f32 {
        match self {
            Values::One(one) => f32::from(u8::from(*one as usize == at)),
            Values::Numbers(numbers) => numbers[at],
        }
    }
}

impl Prefix {
    /// The columns of a row.
    pub fn columns(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the column holds categories, and which.
    pub fn categories(&self, column: usize) -> Option<&Categories> {
        self.elements.iter().find_map(|element| match element {
            Element::Category { column: of, set, .. } if *of as usize == column => Some(&self.sets[*set as usize]),
            _ => None,
        })
    }

    /// How many constants the client is told.
    pub fn constants(&self) -> usize {
        let values = self.elements.iter().map(|element| match element {
            Element::Category { values: Values::Numbers(numbers), .. } => numbers.len(),
            Element::Number { steps, .. } => steps.iter().map(|step| step.constants().len()).sum(),
            Element::Category { .. } => 0,
        });
        self.sets.iter().map(Categories::len).sum::<usize>() + values.sum::<usize>()
    }

    /// Checks it, since it may come from an adversary, for an input of so many elements.
    ///
    /// # Errors
    /// What is wrong, as a phrase.
    pub fn check(&self, elements: usize) -> Result<(), String> {
        let columns = self.shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
        let Some(columns) = columns.filter(|n| (1..=MAX_COLUMNS).contains(n)) else {
            return Err(format!("rows of shape {:?}", self.shape));
        };
        if self.elements.len() != elements {
            return Err(format!("{} elements for an input of {elements}", self.elements.len()));
        }
        if self.sets.iter().map(Categories::len).sum::<usize>() > MAX_CATEGORIES {
            return Err(format!("more than {MAX_CATEGORIES} categories"));
        }
        if let Some(set) = self.sets.iter().position(|set| set.len() == 0 || !set.are_different()) {
            return Err(format!("set {set} of categories is empty or has one twice"));
        }
        let long = |set: &Categories| match set {
            Categories::Texts(texts) => texts.iter().any(|text| text.len() > MAX_NAME_BYTES),
            _ => false,
        };
        if self.sets.iter().any(long) {
            return Err(format!("a category of more than {MAX_NAME_BYTES} bytes"));
        }
        let endless = |set: &Categories| match set {
            Categories::Numbers(numbers) => numbers.iter().any(|number| number.is_infinite()),
            _ => false,
        };
        if self.sets.iter().any(endless) {
            return Err("a category that is infinite".into());
        }
        let mut values = 0;
        for (at, element) in self.elements.iter().enumerate() {
            let (other, well) = match element {
                Element::Number { steps, .. } => {
                    let finite = |step: &Step| step.constants().iter().all(|c| c.is_finite());
                    (&None, steps.len() <= MAX_STEPS && steps.iter().all(finite))
                }
                Element::Category { set, values: of, other, .. } => {
                    let count = self.sets.get(*set as usize).map_or(0, Categories::len);
                    let fits = match of {
                        Values::One(one) => (*one as usize) < count,
                        Values::Numbers(numbers) => {
                            values += numbers.len();
                            numbers.len() == count && numbers.iter().all(|number| number.is_finite())
                        }
                    };
                    (other, fits)
                }
            };
            if !well || element.column() as usize >= columns || other.is_some_and(|other| !other.is_finite()) {
                return Err(format!("element {at} is made of what there is not"));
            }
        }
        if values > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values of categories"));
        }
        Ok(())
    }
}

/// Most categories of a set that are shown.
const SHOWN: usize = 8;

impl fmt::Display for Categories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = match self {
            Categories::Integers(integers) => integers.iter().take(SHOWN).map(i64::to_string).collect(),
            Categories::Texts(texts) => texts.iter().take(SHOWN).map(|text| format!("{text:?}")).collect(),
            Categories::Numbers(numbers) => numbers.iter().take(SHOWN).map(|number| format!("{number:?}")).collect(),
        };
        let more = self.len().saturating_sub(SHOWN);
        write!(f, "{{{}{}}}", shown.join(", "), if more > 0 { format!(", {more} more") } else { String::new() })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Add(c) => write!(f, "+ {c}"),
            Step::Subtract(c) => write!(f, "- {c}"),
            Step::SubtractFrom(c) => write!(f, "from {c}"),
            Step::Multiply(c) => write!(f, "* {c}"),
            Step::Divide(c) => write!(f, "/ {c}"),
            Step::Scale { offset, scale } => write!(f, "- {offset}, * {scale}"),
            Step::Impute(c) => write!(f, "if missing {c}"),
            Step::Binarise(c) => write!(f, "is above {c}"),
            Step::Relu => write!(f, "at least 0"),
        }
    }
}

impl fmt::Display for Prefix {
    /// One line for each set, then one for each element.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "prefix of rows {:?}, by the client", self.shape)?;
        for (index, set) in self.sets.iter().enumerate() {
            writeln!(f, "categories @c{index} = {set}")?;
        }
        for (at, element) in self.elements.iter().enumerate() {
            let rest = |what: &str, other: &Option<f32>| other.map_or_else(String::new, |x| format!(", {what} {x}"));
            match element {
                Element::Number { column, steps } => {
                    let steps: String = steps.iter().map(|step| format!(", {step}")).collect();
                    writeln!(f, "v0[{at}] = column {column}{steps}")?;
                }
                Element::Category { column, set, values: Values::One(one), other } => {
                    writeln!(f, "v0[{at}] = column {column} is @c{set}[{one}]{}", rest("other", other))?;
                }
                Element::Category { column, set, values: Values::Numbers(numbers), other } => {
                    let shown: Vec<String> = numbers.iter().take(SHOWN).map(f32::to_string).collect();
                    let more = if numbers.len() > SHOWN { ", .." } else { "" };
                    let rest = rest("other", other);
                    writeln!(f, "v0[{at}] = column {column} by @c{set} -> [{}{more}]{rest}", shown.join(", "))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> Prefix {
        let category = |set, values, other| Element::Category { column: 1, set, values, other };
        Prefix {
            shape: vec![2],
            sets: vec![
                Categories::Texts(["Oslo", "Rome"].map(String::from).to_vec()),
                Categories::Integers(vec![3, -1, 7]),
            ],
            elements: vec![
                Element::Number { column: 0, steps: vec![Step::Impute(0.5), Step::Scale { offset: 2.0, scale: 0.25 }] },
                category(0, Values::One(1), Some(0.0)),
                category(1, Values::Numbers(vec![0.25, 1.0, 2.0]), None),
            ],
        }
    }

    #[test]
    fn what_refers_to_nothing_is_refused() {
        let good = prefix();
        assert_eq!((good.check(3), good.columns(), good.constants()), (Ok(()), 2, 11));
        let bad = |change: fn(&mut Prefix), why: &str| {
            let mut prefix = prefix();
            change(&mut prefix);
            let found = prefix.check(3).unwrap_err();
            assert!(found.contains(why), "{found}");
        };
        assert!(good.check(2).unwrap_err().contains("3 elements for an input of 2"));
        bad(|p| p.shape = vec![usize::MAX, 2], "rows of shape");
        bad(|p| p.shape = vec![1], "element 1 is");
        bad(|p| p.sets[1] = Categories::Integers(vec![3, 3]), "twice");
        bad(|p| p.sets[1] = Categories::Integers(vec![]), "empty");
        bad(|p| p.sets[0] = Categories::Texts(vec!["x".repeat(300), "y".into()]), "bytes");
        bad(|p| p.sets[1] = Categories::Numbers(vec![0.0, f32::NAN, -0.0]), "twice");
        bad(|p| p.sets[1] = Categories::Numbers(vec![f32::NAN, -f32::NAN, 1.0]), "twice");
        bad(|p| p.sets[1] = Categories::Numbers(vec![f32::INFINITY, 2.0, 1.0]), "infinite");
        bad(|p| p.elements[0] = Element::Number { column: 0, steps: vec![Step::Relu; 65] }, "element 0 is");
        bad(|p| p.sets.truncate(1), "element 2 is");
        bad(|p| p.elements[0] = Element::Number { column: 0, steps: vec![Step::Impute(f32::NAN)] }, "element 0 is");
        let element = |values, other| Element::Category { column: 1, set: 0, values, other };
        let elements = [
            element(Values::One(2), None),
            element(Values::Numbers(vec![1.0]), None),
            element(Values::Numbers(vec![1.0, f32::INFINITY]), None),
            element(Values::One(0), Some(f32::NAN)),
        ];
        for element in elements {
            let mut prefix = prefix();
            prefix.elements[1] = element;
            assert!(prefix.check(3).unwrap_err().contains("element 1 is"));
        }
    }

    #[test]
    fn it_is_printed_line_by_line() {
        let expected = "prefix of rows [2], by the client\n\
            categories @c0 = {\"Oslo\", \"Rome\"}\n\
            categories @c1 = {3, -1, 7}\n\
            v0[0] = column 0, if missing 0.5, - 2, * 0.25\n\
            v0[1] = column 1 is @c0[1], other 0\n\
            v0[2] = column 1 by @c1 -> [0.25, 1, 2]\n";
        assert_eq!(prefix().to_string(), expected);
    }
}
