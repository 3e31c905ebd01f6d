//! Numbers that a regressor is to answer, out of a file.

use fusion_ir::npy::Npy;

use crate::error::{CellError, TableError};
use crate::file::File;
use crate::table::{Cells, Column, Table, shortened};

/// Reads the `count` values of each of `samples` samples (`of` says to people what those are): an
/// array of numbers of shape `[samples]` or `[samples, count]`; one column of a table; or a table
/// of results, with a column `value` or columns `value_1`, `value_2` and so on.
///
/// # Errors
/// [`TableError`] says what is wrong, and where.
pub fn values(
    file: &File,
    column: Option<&str>,
    [samples, count]: [usize; 2],
    of: &str,
) -> Result<Vec<Vec<f64>>, TableError> {
    let (shape, values) = match (file, column) {
        (File::Npy(_), Some(column)) => {
            return Err(TableError::Content(format!("it is an array, which has no column {column:?}")));
        }
        (File::Npy(bytes), None) => {
            let npy = Npy::parse(bytes)?;
            (npy.shape().to_vec(), npy.doubles()?)
        }
        (File::Table(table), column) => columns(table, column, count)?,
    };
    let whole = shape == [samples, count] || count == 1 && shape == [samples];
    if !whole {
        let needed = if count == 1 { format!("[{samples}]") } else { format!("[{samples}, {count}]") };
        let why = format!("its shape is {shape:?}, but {needed} is needed: there are {samples} {of}");
        return Err(TableError::Content(why));
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(TableError::Content(format!("the value of sample {} is {}", at / count.max(1), values[at]))),
        None => Ok(values.chunks_exact(count.max(1)).map(<[f64]>::to_vec).collect()),
    }
}

/// What a column with one of so many values is called in results.
pub(crate) fn name(index: usize, count: usize) -> String {
    if count > 1 { format!("value_{}", index + 1) } else { "value".into() }
}

fn columns(table: &Table, column: Option<&str>, count: usize) -> Result<(Vec<usize>, Vec<f64>), TableError> {
    let found: Vec<&Column> = match column {
        Some(name) => vec![table.column(name)?],
        None => {
            table.check_index()?;
            (0..count).map(|index| table.column(&name(index, count))).collect::<Result<_, _>>()?
        }
    };
    let mut values = Vec::with_capacity(table.rows * found.len());
    for row in 0..table.rows {
        for column in &found {
            values.push(column.real(row).map_err(|error| table.cell(row, &column.name, error))?);
        }
    }
    Ok((vec![table.rows, found.len()], values))
}

impl Column {
    /// The number in a row.
    ///
    /// # Errors
    /// [`CellError::NoValue`].
    pub fn real(&self, row: usize) -> Result<f64, CellError> {
        let found = match &self.cells {
            Cells::Reals(reals) => reals.get(row).copied(),
            _ => self.written(row).trim().parse().ok(),
        };
        let none = || CellError::NoValue(shortened(&self.written(row)));
        found.filter(|number: &f64| number.is_finite()).ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn read(text: &str, column: Option<&str>, count: usize) -> Result<Vec<Vec<f64>>, String> {
        let file = File::of(Kind::Csv, text.into()).unwrap();
        values(&file, column, [2, count], "public samples").map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_of_a_column_or_of_results() {
        assert_eq!(read("id,price\n7,1.5\n8,-2e3\n", Some("price"), 1).unwrap(), [[1.5], [-2000.0]]);
        assert_eq!(read("index,value\n0,3\n1,0.125\n", None, 1).unwrap(), [[3.0], [0.125]]);
        assert_eq!(read("k,value_1,value_2\na,3,1\nb,4,0\n", None, 2).unwrap(), [[3.0, 1.0], [4.0, 0.0]]);
        for (text, column, why) in [
            (
                "id,price\n7,1.5\n8,dear\n",
                Some("price"),
                "row 1 (line 3), column \"price\": \"dear\" is no finite number",
            ),
            ("id,price\n7,\n8,1\n", Some("price"), "row 0 (line 2), column \"price\": \"\" is no finite number"),
            ("id,price\n7,inf\n8,1\n", Some("price"), "\"inf\" is no finite number"),
            ("id,price\n7,2\n", Some("price"), "its shape is [1, 1], but [2] is needed"),
            ("id,price\n7,2\n8,1\n", None, "no column \"value\""),
        ] {
            let error = read(text, column, 1).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(read("id,price\n7,2\n8,1\n", Some("price"), 2).unwrap_err().contains("[2, 2] is needed"));
    }
}
