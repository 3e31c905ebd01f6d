//! What can be wrong with a file. Messages do not name it: who opened it does.

use std::fmt;

use fusion_ir::npy::NpyError;

/// Where a cell is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The row's index, counted from 0 without the header.
    pub row: usize,
    /// Its line in a text file, counted from 1.
    pub line: Option<u64>,
    /// The column's name.
    pub column: String,
}

/// Why a cell is not what is needed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CellError {
    /// No value, where one is needed.
    #[error("it is empty, and the model takes no missing values")]
    Empty,
    /// Text, where a number is needed.
    #[error("{0:?} is no number; the model takes numbers (true and false are 1 and 0), no categories")]
    NoNumber(String),
    /// A category that is not in its set.
    #[error("{found:?} is no category that the model knows: {known}")]
    Unknown {
        /// What is there.
        found: String,
        /// The categories.
        known: String,
    },
    /// Text categories in an array.
    #[error("it holds categories that are text: give a table")]
    NoText,
    /// Infinity.
    #[error("{0} is not finite")]
    NotFinite(f32),
    /// A number that float32 does not hold.
    #[error("{0} is a number that float32 does not hold")]
    Loss(String),
    /// No label.
    #[error("{found:?} is no label: {needed}")]
    NoLabel {
        /// What is there.
        found: String,
        /// What would do.
        needed: String,
    },
    /// No finite number, where a value is needed.
    #[error("{0:?} is no finite number")]
    NoValue(String),
    /// An index that is not the row's.
    #[error("{0:?} is not the row's index")]
    Index(String),
    /// An identifier that is not the sample's.
    #[error("{found:?} is another sample than {wanted:?}, which has this row among the inputs")]
    Other {
        /// What is there.
        found: String,
        /// The sample's identifier.
        wanted: String,
    },
}

/// Why a file is not what is needed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
    /// It is larger than what is read.
    #[error("it has {found} {what}, more than the {most} that are read: divide it")]
    TooLarge {
        /// Bytes or cells.
        what: &'static str,
        /// How many there are, at least.
        found: u64,
        /// How many there may be.
        most: u64,
    },
    /// No array of numbers.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// No table.
    #[error("not a readable {kind} file: {why}")]
    Format {
        /// The kind of file.
        kind: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A cell that does not fit.
    #[error("{place}: {error}")]
    Cell {
        /// Where it is.
        place: Place,
        /// What is wrong with it.
        error: CellError,
    },
    /// Anything else about the whole.
    #[error("{0}")]
    Content(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        write!(f, ", column {:?}", self.column)
    }
}
