//! Samples out of a file: an array of the right shape, or the right columns of a table.

use fusion_ir::npy::{Npy, NpyError};
use fusion_ir::prefix::{Element, Prefix};

use crate::encode::Encoder;
use crate::error::{CellError, TableError};
use crate::file::File;
use crate::table::{Column, Table, listed};

/// What samples must be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// The extents of one sample.
    pub shape: &'w [usize],
    /// The names of a row's columns, if they have names; without a prefix those are a sample's
    /// elements, row-major.
    pub columns: &'w [String],
    /// What makes samples of rows.
    pub prefix: Option<&'w Prefix>,
    /// Columns that are there for something else: identifiers, labels.
    pub apart: &'w [&'w str],
    /// Whether infinities and NaN, which stands for what is missing, are numbers too; else every
    /// number is finite, and none missing.
    pub any: bool,
}

/// Samples as a file has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Elements of all samples, row-major.
    reals: Vec<f32>,
    /// Elements of one.
    len: usize,
    /// The cells of all rows, if samples are made of them; and how many a row has.
    given: Option<(Vec<Given>, usize)>,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// What a cell holds, whatever a plan makes of it: a number if it is one, else its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// A number; NaN if nothing is there.
    Number(f32),
    /// A text that is no number.
    Text(String),
}

impl Samples {
    /// What was given for each sample: its cells, or its elements if nothing is done to them.
    pub fn given(&self) -> impl Iterator<Item = Vec<Given>> {
        let cells = |at: usize, row: &[f32]| match &self.given {
            Some((cells, columns)) => cells[at * columns..(at + 1) * columns].to_vec(),
            None => row.iter().copied().map(Given::Number).collect(),
        };
        self.rows().enumerate().map(move |(at, row)| cells(at, row))
    }

    /// The samples, at least one, in the file's order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.reals.chunks_exact(self.len)
    }
}

/// The samples in `file`: all rows of a table, or an array whose first axis they are. Any type of
/// number that float32 holds; at least one sample; every number finite.
///
/// # Errors
/// [`TableError`] says what is wrong, and where.
pub fn samples(file: &File, wanted: Wanted<'_>) -> Result<Samples, TableError> {
    match file {
        File::Npy(bytes) => array(bytes, wanted),
        File::Table(table) => rows(table, wanted),
    }
}

fn array(bytes: &[u8], wanted: Wanted<'_>) -> Result<Samples, TableError> {
    let Wanted { shape, prefix, any, .. } = wanted;
    let shape = prefix.map_or(shape, |prefix| &prefix.shape);
    let npy = Npy::parse(bytes)?;
    let found = npy.shape();
    if found.get(1..) != Some(shape) {
        let needed = std::iter::once("samples".into()).chain(shape.iter().map(usize::to_string));
        let needed = needed.collect::<Vec<_>>().join(", ");
        return Err(TableError::Content(format!("its shape is {found:?}, but [{needed}] is needed")));
    }
    if found[0] == 0 {
        return Err(TableError::Content("it holds no sample".into()));
    }
    let len = shape.iter().product::<usize>().max(1);
    let reals = npy.reals().map_err(|error| match error {
        NpyError::Loss { index, value, kind } => {
            TableError::Content(format!("{}, which {kind} does not hold", holds(index, len, &value)))
        }
        other => other.into(),
    })?;
    numbers(reals, len, prefix, any)
}

fn holds(index: usize, len: usize, value: &str) -> String {
    format!("sample {} holds {value} at element {}", index / len, index % len)
}

/// Samples made of rows of `len` numbers each, one after the other: what `prefix` makes of them, if
/// there is one. `any` says whether infinities and NaN are numbers too.
///
/// # Errors
/// [`TableError::Content`] says what is wrong, and where.
pub fn numbers(reals: Vec<f32>, len: usize, prefix: Option<&Prefix>, any: bool) -> Result<Samples, TableError> {
    let len = len.max(1);
    if let Some(prefix) = prefix {
        let encoder = Encoder::new(prefix, any);
        let mut samples = Vec::with_capacity(reals.len() / len * prefix.elements.len());
        for (sample, row) in reals.chunks_exact(len).enumerate() {
            let refuse = |(column, error): (usize, CellError)| {
                TableError::Content(format!("sample {sample}, element {column}: {error}"))
            };
            encoder.encode(|column| Ok(row[column]), |_| Err(CellError::NoText), &mut samples).map_err(refuse)?;
        }
        let given = Some((reals.iter().copied().map(Given::Number).collect(), len));
        return Ok(Samples { reals: samples, len: prefix.elements.len(), given, notices: Vec::new() });
    }
    match reals.iter().position(|real| !any && !real.is_finite()) {
        Some(index) => Err(TableError::Content(holds(index, len, &reals[index].to_string()))),
        None => Ok(Samples { reals, len, given: None, notices: Vec::new() }),
    }
}

fn rows(table: &Table, wanted: Wanted<'_>) -> Result<Samples, TableError> {
    let Wanted { shape, columns, prefix, apart, any } = wanted;
    let len = shape.iter().product::<usize>();
    if columns.len() != prefix.map_or(len, Prefix::columns) || len == 0 {
        let why = "the plan has no names for its inputs, so a table's columns cannot be matched: give the numbers as .npy, or have the \
                   model compiled with the names of its columns";
        return Err(TableError::Content(why.into()));
    }
    let absent: Vec<String> =
        columns.iter().filter(|name| table.columns.iter().all(|column| column.name != **name)).cloned().collect();
    if !absent.is_empty() {
        let (absent, there) = (listed(&absent), listed(&table.names()));
        return Err(TableError::Content(format!("the columns {absent} are missing; its columns are {there}")));
    }
    if table.rows == 0 {
        return Err(TableError::Content("it holds no sample".into()));
    }
    let found: Vec<&Column> = columns.iter().map(|name| table.column(name)).collect::<Result<_, _>>()?;
    let plain;
    let mut given = prefix.is_some().then(Vec::new);
    let prefix = match prefix {
        Some(prefix) => prefix,
        None => {
            plain = as_they_are(len);
            &plain
        }
    };
    let encoder = Encoder::new(prefix, any);
    let mut reals = Vec::with_capacity(table.rows * len);
    for row in 0..table.rows {
        let refuse = |(column, error): (usize, CellError)| table.cell(row, &found[column].name, error);
        let number = |column: usize| found[column].number(row);
        let text = |column: usize| found[column].text(row);
        encoder.encode(number, text, &mut reals).map_err(refuse)?;
        let cell = |column: usize| match number(column) {
            Ok(number) => Given::Number(number),
            Err(_) => Given::Text(found[column].written(row)),
        };
        given.iter_mut().for_each(|given| given.extend((0..found.len()).map(cell)));
    }
    let given = given.map(|given| (given, found.len()));
    let unused = |name: &String| !columns.contains(name) && !apart.contains(&name.as_str());
    let unused: Vec<String> = table.names().into_iter().filter(unused).collect();
    let notice = || format!("columns that the model does not take are ignored: {}", listed(&unused));
    Ok(Samples { reals, len, given, notices: if unused.is_empty() { Vec::new() } else { vec![notice()] } })
}

/// Rows that are samples already.
fn as_they_are(len: usize) -> Prefix {
    let elements = (0..len as u32).map(|column| Element::Number { column, steps: Vec::new() }).collect();
    Prefix { shape: vec![len], sets: Vec::new(), elements }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Kind;

    fn csv(text: &str) -> File {
        File::of(Kind::Csv, text.into()).unwrap()
    }

    fn read(text: &str) -> Result<Samples, String> {
        let columns = ["age", "mean radius"].map(String::from);
        let wanted = Wanted { shape: &[1, 2], columns: &columns, prefix: None, apart: &["id"], any: false };
        samples(&csv(text), wanted).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let found = read("mean radius,id,age\n1.5,x,30\n2.5,y,40\n").unwrap();
        assert_eq!(found.rows().collect::<Vec<_>>(), [[30.0, 1.5], [40.0, 2.5]]);
        assert!(found.notices.is_empty());
        let found = read("mean radius,age,label,note\n1.5,30,M,\n").unwrap();
        assert_eq!(found.notices, ["columns that the model does not take are ignored: \"label\", \"note\""]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_its_place() {
        let error = read("age,radius\n1,2\n").unwrap_err();
        assert_eq!(error, "the columns \"mean radius\" are missing; its columns are \"age\", \"radius\"");
        let error = read("age,mean radius\n1,2\n3,\n").unwrap_err();
        assert_eq!(error, "row 1 (line 3), column \"mean radius\": it is empty, and the model takes no missing values");
        let error = read("age,mean radius\nold,2\n").unwrap_err();
        assert!(error.starts_with("row 0 (line 2), column \"age\": \"old\" is no number"), "{error}");
        assert_eq!(read("age,mean radius\n").unwrap_err(), "it holds no sample");
        assert_eq!(read("age,mean radius,age\n1,2,3\n").unwrap_err(), "it has two columns \"age\"");
        let nameless = Wanted { shape: &[2], columns: &[], prefix: None, apart: &[], any: false };
        assert!(samples(&csv("a,b\n1,2\n"), nameless).unwrap_err().to_string().contains("no names for its inputs"));
    }

    #[test]
    fn missing_values_are_nan_where_the_model_takes_them() {
        let columns = ["a", "b"].map(String::from);
        let wanted = Wanted { shape: &[2], columns: &columns, prefix: None, apart: &[], any: true };
        let found = samples(&csv("a,b\n1,\nNA,4\n"), wanted).unwrap();
        let nan: Vec<bool> = found.rows().flatten().map(|x| x.is_nan()).collect();
        assert_eq!(nan, [false, true, true, false]);
        let finite = Wanted { any: false, ..wanted };
        assert!(samples(&csv("a,b\n1,inf\n"), wanted).is_ok());
        assert!(samples(&csv("a,b\n1,-inf\n"), finite).unwrap_err().to_string().ends_with("-inf is not finite"));
    }
}
