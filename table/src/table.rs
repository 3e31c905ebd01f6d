//! A table in memory, column by column.

use std::borrow::Cow;

use fusion_ir::npy::{float32, float32_of_integer};

use crate::error::{CellError, Place, TableError};

/// Most bytes of a file.
pub const MAX_BYTES: u64 = 4 << 30;
/// Most cells of a table.
pub const MAX_CELLS: u64 = 1 << 27;

/// Text cells, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    data: String,
    ends: Vec<usize>,
}

/// The cells of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Text; what is empty is missing.
    Text(Text),
    /// Integers and truth values, if not missing.
    Integers(Vec<Option<i64>>),
    /// Floats; what is missing is NaN.
    Reals(Vec<f64>),
    /// Something else, with the name of its type: it can be passed over, not read.
    Other(String),
}

/// A named column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its cells.
    pub cells: Cells,
}

/// Columns of the same length.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The columns in the file's order.
    pub columns: Vec<Column>,
    /// Rows, the header not counted.
    pub rows: usize,
    /// Of a text file, each row's line.
    pub(crate) lines: Vec<u64>,
}

impl Text {
    /// Adds a cell.
    pub fn push(&mut self, cell: &str) {
        self.data.push_str(cell);
        self.ends.push(self.data.len());
    }

    /// The cell of a row.
    pub fn get(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.data[start..self.ends[row]]
    }

    /// Bytes of all cells.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }
}

/// A column of results.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Integers.
    Integers(Vec<i64>),
    /// Floats.
    Reals(Vec<f64>),
    /// Text.
    Text(Vec<String>),
}

impl Values {
    /// What identifies rows, as a table has it. Text that is integers, all of them, becomes
    /// integers.
    ///
    /// # Errors
    /// [`TableError::Content`] if some row has none, or the column can be no identifier.
    pub fn identifiers(column: &Column, rows: usize) -> Result<Values, TableError> {
        let written: Vec<String> = (0..rows).map(|row| column.written(row)).collect();
        if let Some(row) = written.iter().position(String::is_empty) {
            let why = format!("row {row} has nothing in column {:?}, which is to identify it", column.name);
            return Err(TableError::Content(why));
        }
        let integer = |text: &String| text.parse::<i64>().ok().filter(|integer| integer.to_string() == *text);
        Ok(match (&column.cells, written.iter().map(integer).collect::<Option<Vec<i64>>>()) {
            (Cells::Text(_) | Cells::Integers(_), Some(integers)) => Values::Integers(integers),
            (Cells::Reals(reals), _) => Values::Reals(reals.clone()),
            _ => Values::Text(written),
        })
    }

    /// How a row is written.
    pub fn written(&self, row: usize) -> String {
        match self {
            Values::Integers(integers) => integers[row].to_string(),
            Values::Reals(reals) => reals[row].to_string(),
            Values::Text(text) => text[row].clone(),
        }
    }
}

/// What programs write where there is no number.
fn is_missing(cell: &str) -> bool {
    matches!(cell, "" | "NA" | "N/A" | "null" | "NULL") || cell.eq_ignore_ascii_case("nan")
}

impl Column {
    /// The number in a row, NaN if there is none.
    pub(crate) fn number(&self, row: usize) -> Result<f32, CellError> {
        let real = |wide: f64| float32(wide).ok_or_else(|| CellError::Loss(wide.to_string()));
        match &self.cells {
            Cells::Reals(reals) => real(reals[row]),
            Cells::Integers(integers) => {
                let Some(wide) = integers[row] else { return Ok(f32::NAN) };
                float32_of_integer(wide.into()).ok_or_else(|| CellError::Loss(wide.to_string()))
            }
            Cells::Text(text) => match text.get(row).trim() {
                cell if is_missing(cell) => Ok(f32::NAN),
                cell if cell.eq_ignore_ascii_case("true") => Ok(1.0),
                cell if cell.eq_ignore_ascii_case("false") => Ok(0.0),
                cell => real(cell.parse().map_err(|_| CellError::NoNumber(shortened(cell)))?),
            },
            Cells::Other(kind) => Err(CellError::NoNumber(kind.clone())),
        }
    }

    /// The text in a row; empty if nothing is there. Numbers as they are written.
    pub(crate) fn text(&self, row: usize) -> Result<Cow<'_, str>, CellError> {
        match &self.cells {
            Cells::Text(text) => Ok(Cow::Borrowed(text.get(row))),
            Cells::Other(kind) => Err(CellError::NoNumber(kind.clone())),
            _ => Ok(Cow::Owned(self.written(row))),
        }
    }

    /// What is written in a row; empty if nothing is. Whole numbers are written without a point.
    pub fn written(&self, row: usize) -> String {
        match &self.cells {
            Cells::Text(text) => text.get(row).to_owned(),
            Cells::Integers(integers) => integers[row].map_or_else(String::new, |integer| integer.to_string()),
            Cells::Reals(reals) if reals[row].is_nan() => String::new(),
            Cells::Reals(reals) => reals[row].to_string(),
            Cells::Other(_) => String::new(),
        }
    }
}

impl Table {
    /// The names of the columns.
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// The column of that name.
    ///
    /// # Errors
    /// [`TableError::Content`] if there is none, or more than one.
    pub fn column(&self, name: &str) -> Result<&Column, TableError> {
        let mut found = self.columns.iter().filter(|column| column.name == name);
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(column),
            (None, _) => Err(TableError::Content(format!(
                "it has no column {name:?}; its columns are {}",
                listed(&self.names())
            ))),
            (Some(_), Some(_)) => Err(TableError::Content(format!("it has two columns {name:?}"))),
        }
    }

    /// Where a cell is.
    pub(crate) fn place(&self, row: usize, column: &str) -> Place {
        Place { row, line: self.lines.get(row).copied(), column: column.into() }
    }

    /// An error about a cell.
    pub(crate) fn cell(&self, row: usize, column: &str, error: CellError) -> TableError {
        TableError::Cell { place: self.place(row, column), error }
    }
}

/// Most names that a message lists.
const MAX_LISTED: usize = 12;

/// Names in a message.
pub(crate) fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_LISTED).map(|name| format!("{:?}", shortened(name))).collect();
    let more = names.len().saturating_sub(MAX_LISTED);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

/// The beginning of a text that may be long.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cells: &[&str]) -> Column {
        let mut text = Text::default();
        cells.iter().for_each(|cell| text.push(cell));
        Column { name: "c".into(), cells: Cells::Text(text) }
    }

    #[test]
    fn text_is_read_as_numbers_and_truth_values() {
        let column = text(&["0.1", " -3 ", "1e5", "True", "FALSE", "+7"]);
        let read: Vec<f32> = (0..6).map(|row| column.number(row).unwrap()).collect();
        assert_eq!(read, [0.1, -3.0, 1e5, 1.0, 0.0, 7.0]);
        let missing = text(&["", "NA", "nan", "NaN", "null"]);
        assert_eq!([text(&["inf"]).number(0), text(&["-inf"]).number(0)], [Ok(f32::INFINITY), Ok(f32::NEG_INFINITY)]);
        assert!((0..5).all(|row| missing.number(row).unwrap().is_nan()));
        let wrong = text(&["male", "1,5", "16777217", "1e39"]);
        let said: Vec<String> = (0..4).map(|row| wrong.number(row).unwrap_err().to_string()).collect();
        assert!(
            said[0].starts_with("\"male\" is no number") && said[1].starts_with("\"1,5\" is no number"),
            "{said:?}"
        );
        assert!(said[2].starts_with("16777217 is a number that float32 does not hold") && said[3].contains("float32"));
    }

    #[test]
    fn numbers_keep_their_meaning() {
        let column = |cells| Column { name: "c".into(), cells };
        let integers = column(Cells::Integers(vec![Some(16_777_216), Some(16_777_217), None]));
        assert_eq!(integers.number(0), Ok(16_777_216.0));
        assert_eq!(integers.number(1), Err(CellError::Loss("16777217".into())));
        assert!(integers.number(2).unwrap().is_nan());
        assert_eq!([integers.written(1), integers.written(2)], ["16777217", ""]);
        let reals = column(Cells::Reals(vec![0.1, 3.0, f64::NAN]));
        assert_eq!(reals.number(0), Ok(0.1));
        assert_eq!([reals.written(0), reals.written(1), reals.written(2)], ["0.1", "3", ""]);
    }
}
