//! What the features of a table and the classes are called, and what becomes of rows before they
//! are samples. All of it is public: both parties' plans have it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::function::Function;
use crate::interp;
use crate::prefix::{MAX_COLUMNS, MAX_NAME_BYTES, Prefix};

/// Names of a row's columns and of the classes; none where nothing has a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// The column of a table that each column of a row comes from. Without a prefix those are the
    /// elements of the input, row-major.
    pub columns: Vec<String>,
    /// What each label is called.
    pub classes: Vec<String>,
    /// What the client does to rows, if anything.
    pub prefix: Option<Prefix>,
}

/// Why names cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Another number of names than of things.
    #[error("{names} names for {things} {what}")]
    Count {
        /// Names there are.
        names: usize,
        /// What they are to name.
        things: usize,
        /// Whether those are columns or classes.
        what: &'static str,
    },
    /// One name for two things.
    #[error("the name {0:?} is there twice")]
    Twice(String),
    /// A name that is empty, too long, or does not print.
    #[error("{0:?} is no name: it is empty, has control characters, or more than {MAX_NAME_BYTES} bytes")]
    NoName(String),
    /// More columns than have names.
    #[error("{0} columns have no names: at most {MAX_COLUMNS} have")]
    TooMany(usize),
    /// What the client is to do to rows cannot be done.
    #[error("the prefix that the client evaluates has {0}")]
    Prefix(String),
}

impl Schema {
    /// Checks the names against a function, whose plan may come from an adversary.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub fn check(&self, function: &Function) -> Result<(), SchemaError> {
        let elements = function.values.first().map_or(0, |input| input.ty.len());
        let classes = interp::logits_of(function).map_or(0, |logits| function.value(logits).ty.len());
        let columns = match &self.prefix {
            Some(prefix) => {
                prefix.check(elements).map_err(SchemaError::Prefix)?;
                prefix.columns()
            }
            None => elements,
        };
        check_names(&self.columns, columns, "columns")?;
        if self.columns.len() > MAX_COLUMNS {
            return Err(SchemaError::TooMany(self.columns.len()));
        }
        check_names(&self.classes, classes, "classes")
    }
}

/// Checks that `names`, if there are any, are different names for `things` things.
///
/// # Errors
/// [`SchemaError`].
pub fn check_names(names: &[String], things: usize, what: &'static str) -> Result<(), SchemaError> {
    if !names.is_empty() && names.len() != things {
        return Err(SchemaError::Count { names: names.len(), things, what });
    }
    let mut known = HashSet::new();
    for name in names {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(SchemaError::NoName(name.chars().take(40).collect()));
        }
        if !known.insert(name) {
            return Err(SchemaError::Twice(name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_each_different_and_printable() {
        let check = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            check_names(&names, 2, "columns").map_err(|error| error.to_string())
        };
        assert_eq!([check(&[]), check(&["a", "größe [m]"])], [Ok(()), Ok(())]);
        assert_eq!(check(&["a"]).unwrap_err(), "1 names for 2 columns");
        assert_eq!(check(&["a", "a"]).unwrap_err(), "the name \"a\" is there twice");
        for bad in ["", "a\u{1b}[2J", "line\nbreak", &"x".repeat(257)] {
            assert!(check(&["a", bad]).unwrap_err().contains("is no name"), "{bad:?}");
        }
    }
}
