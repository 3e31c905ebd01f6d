//! Labels out of a file: one of each sample, or several, best first.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use fusion_ir::npy::Npy;

use crate::error::{CellError, TableError};
use crate::file::{File, Kind};
use crate::samples::{self, Wanted};
use crate::table::{Cells, Column, Table, listed, shortened};

/// A file and, of a table, the column that has the labels: `file.csv:column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFile {
    /// The file.
    pub path: PathBuf,
    /// The column.
    pub column: Option<String>,
}

/// The classes that labels name.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'c> {
    /// How many there are.
    pub count: usize,
    /// Their names, if they have any.
    pub names: &'c [String],
}

impl FromStr for LabelFile {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<LabelFile, Self::Err> {
        let whole = || LabelFile { path: text.into(), column: None };
        // Names of files and of columns may have colons: the first one behind a table's file
        // splits.
        let splits = text.match_indices(':').map(|(at, _)| (&text[..at], &text[at + 1..]));
        let mut split = splits.filter(|(path, column)| Kind::of(Path::new(path)) != Kind::Npy && !column.is_empty());
        Ok(split
            .next()
            .map_or_else(whole, |(path, column)| LabelFile { path: path.into(), column: Some(column.into()) }))
    }
}

impl From<PathBuf> for LabelFile {
    fn from(path: PathBuf) -> LabelFile {
        LabelFile { path, column: None }
    }
}

impl Classes<'_> {
    /// The numbers that classes are called, if that is what they all are called.
    pub fn numbers(&self) -> Option<Vec<i64>> {
        let names = self.names.iter().map(|name| name.parse().ok());
        names.collect::<Option<_>>().filter(|_| !self.names.is_empty())
    }

    /// The label that is called this number; the number itself if labels are not called numbers, -1
    /// if none is called so.
    pub fn number(&self, name: i64) -> i64 {
        let place = |names: Vec<i64>| names.iter().position(|other| *other == name).map_or(-1, |label| label as i64);
        self.numbers().map_or(name, place)
    }

    /// What people read for a label.
    pub fn name(&self, label: i64) -> String {
        let name = usize::try_from(label).ok().and_then(|label| self.names.get(label));
        name.cloned().unwrap_or_else(|| label.to_string())
    }

    /// The label that is written like this: a class's name or, if no name is a number, its number.
    fn label(&self, written: &str) -> Result<i64, CellError> {
        if let Some(label) = self.names.iter().position(|name| name == written) {
            return Ok(label as i64);
        }
        let numbered = self.names.iter().all(|name| name.parse::<i64>().is_err());
        let number = written.trim().parse::<i64>().ok().filter(|_| numbered);
        match number.and_then(|number| usize::try_from(number).ok()) {
            Some(label) if label < self.count => Ok(label as i64),
            _ => {
                let needed = match self.names {
                    [] => format!("numbers from 0 to {} are (the plan has no names of classes)", self.count.max(1) - 1),
                    names => format!("the classes are {}", listed(names)),
                };
                Err(CellError::NoLabel { found: shortened(written), needed })
            }
        }
    }
}

/// Reads the labels of `samples` samples (`of` says to people what those are): one of each, or up
/// to `ranks` different ones, best first. An array of integers of shape `[samples]` or
/// `[samples, k]`; one column of a table; or a table of results, with a column `label` or columns
/// `label_1`, `label_2` and so on.
///
/// # Errors
/// [`TableError`] says what is wrong, and where.
pub fn labels(
    file: &File,
    column: Option<&str>,
    [samples, ranks]: [usize; 2],
    of: &str,
    classes: Classes<'_>,
) -> Result<Vec<Vec<i64>>, TableError> {
    let (shape, labels) = match file {
        File::Npy(bytes) => array(bytes, column, classes)?,
        File::Table(table) => columns(table, column, classes)?,
    };
    let known = match shape[..] {
        [rows] if rows == samples => 1,
        [rows, known] if rows == samples => known,
        _ => return Err(TableError::Content(format!("its shape is {shape:?}, but there are {samples} {of}"))),
    };
    if known == 0 || known > ranks {
        let why = format!("it has {known} labels of each sample, but the plan reveals {ranks}");
        return Err(TableError::Content(why));
    }
    let labels: Vec<Vec<i64>> = labels.chunks_exact(known).map(<[i64]>::to_vec).collect();
    let twice = |labels: &Vec<i64>| (1..labels.len()).any(|rank| labels[..rank].contains(&labels[rank]));
    match labels.iter().position(twice) {
        Some(at) => Err(TableError::Content(format!("sample {at} has a label twice among its ranks"))),
        None => Ok(labels),
    }
}

fn array(bytes: &[u8], column: Option<&str>, classes: Classes<'_>) -> Result<(Vec<usize>, Vec<i64>), TableError> {
    if let Some(column) = column {
        return Err(TableError::Content(format!("it is an array, which has no column {column:?}")));
    }
    let npy = Npy::parse(bytes)?;
    let mut labels = npy.integers()?;
    let per_sample = npy.shape().get(1..).map_or(1, |rest| rest.iter().product::<usize>()).max(1);
    if classes.numbers().is_some() {
        for (at, label) in labels.iter_mut().enumerate() {
            let refuse = |error| TableError::Content(format!("sample {}: {error}", at / per_sample));
            *label = classes.label(&label.to_string()).map_err(refuse)?;
        }
    }
    let exists = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < classes.count);
    match labels.iter().position(|label| !exists(label)) {
        Some(at) => {
            let (label, sample, most) = (labels[at], at / per_sample, classes.count);
            Err(TableError::Content(format!("label {label} of sample {sample} is not in 0..{most}")))
        }
        None => Ok((npy.shape().to_vec(), labels)),
    }
}

fn columns(table: &Table, column: Option<&str>, classes: Classes<'_>) -> Result<(Vec<usize>, Vec<i64>), TableError> {
    let found: Vec<&Column> = match column {
        Some(name) => vec![table.column(name)?],
        None => {
            table.check_index()?;
            let ranked = |rank: usize| table.column(&format!("label_{rank}")).ok();
            let ranks: Vec<&Column> = (1..).map_while(ranked).collect();
            match table.column("label") {
                Ok(label) => vec![label],
                Err(_) if !ranks.is_empty() => ranks,
                Err(_) => {
                    let names = listed(&table.names());
                    let why =
                        format!("it has no column \"label\" or \"label_1\": say FILE:COLUMN; its columns are {names}");
                    return Err(TableError::Content(why));
                }
            }
        }
    };
    let mut labels = Vec::with_capacity(table.rows * found.len());
    for row in 0..table.rows {
        for column in &found {
            labels.push(column.label(row, classes).map_err(|error| table.cell(row, &column.name, error))?);
        }
    }
    let shape = if found.len() == 1 { vec![table.rows] } else { vec![table.rows, found.len()] };
    Ok((shape, labels))
}

impl Column {
    /// The label in a row.
    ///
    /// # Errors
    /// [`CellError::NoLabel`].
    pub fn label(&self, row: usize, classes: Classes<'_>) -> Result<i64, CellError> {
        match &self.cells {
            Cells::Other(kind) => {
                Err(CellError::NoLabel { found: kind.clone(), needed: "numbers and text are".into() })
            }
            _ => classes.label(&self.written(row)),
        }
    }
}

impl Table {
    /// Checks that a column `index` has the rows' own.
    pub(crate) fn check_index(&self) -> Result<(), TableError> {
        let Some(index) = self.columns.first().filter(|column| column.name == "index") else { return Ok(()) };
        match (0..self.rows).find(|row| index.written(*row) != row.to_string()) {
            Some(row) => Err(self.cell(row, "index", CellError::Index(shortened(&index.written(row))))),
            None => Ok(()),
        }
    }
}

/// What another program answered for each of `samples` samples.
#[derive(Clone, Debug, PartialEq)]
pub enum Scores {
    /// A score for each class.
    Scores(Vec<f32>),
    /// The label.
    Label(i64),
}

/// Reads what another program answered for `samples` samples: labels, as [`labels`], or floats of
/// shape `[samples, classes]`.
///
/// # Errors
/// [`TableError`] says what is wrong, and where.
pub fn scores_or_labels(
    file: &File,
    column: Option<&str>,
    samples: usize,
    classes: Classes<'_>,
) -> Result<Vec<Scores>, TableError> {
    if let File::Npy(bytes) = file
        && !Npy::parse(bytes)?.is_integer()
    {
        let wanted = Wanted { shape: &[classes.count], columns: &[], prefix: None, apart: &[], any: false };
        let scores = samples::samples(file, wanted)?;
        let found = scores.rows().len();
        if found != samples {
            let why = format!("it holds the outputs of {found} samples, but there are {samples}");
            return Err(TableError::Content(why));
        }
        return Ok(scores.rows().map(|row| Scores::Scores(row.to_vec())).collect());
    }
    let labels = labels(file, column, [samples, 1], "samples", classes)?;
    Ok(labels.into_iter().flatten().map(Scores::Label).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, column: Option<&str>, names: &[&str]) -> Result<Vec<Vec<i64>>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = File::of(Kind::Csv, text.into()).unwrap();
        labels(&file, column, [2, 2], "public samples", Classes { count: 3, names: &names }).map_err(|e| e.to_string())
    }

    #[test]
    fn a_table_and_its_column_are_told_apart() {
        let parse = |text: &str| text.parse::<LabelFile>().unwrap();
        let of = |path: &str, column: Option<&str>| LabelFile { path: path.into(), column: column.map(String::from) };
        assert_eq!(parse("x.csv:diagnosis"), of("x.csv", Some("diagnosis")));
        assert_eq!(parse("a/b.PARQUET:a:b c"), of("a/b.PARQUET", Some("a:b c")));
        assert_eq!(parse("C:\\data\\x.csv:y"), of("C:\\data\\x.csv", Some("y")));
        for whole in ["y.npy", "labels.csv", "odd:name.npy", "x.csv:"] {
            assert_eq!(parse(whole), of(whole, None));
        }
    }

    #[test]
    fn labels_are_numbers_or_names() {
        let table = "id,diagnosis\n7,B\n8,M\n";
        assert_eq!(read(table, Some("diagnosis"), &["M", "B", "?"]).unwrap(), [[1], [0]]);
        assert_eq!(read("d\n2\n0\n", Some("d"), &["M", "B", "?"]).unwrap(), [[2], [0]]);
        // Names that are numbers are names.
        assert_eq!(read("d\n2\n1\n", Some("d"), &["1", "2", "3"]).unwrap(), [[1], [0]]);
        let error = read("d\n2\n0\n", Some("d"), &["1", "2", "3"]).unwrap_err();
        assert!(error.starts_with("row 1 (line 3), column \"d\": \"0\" is no label: the classes are \"1\""), "{error}");
        let error = read(table, Some("diagnosis"), &[]).unwrap_err();
        assert!(error.contains("\"B\" is no label: numbers from 0 to 2 are"), "{error}");
        assert!(read(table, Some("label"), &[]).unwrap_err().contains("no column \"label\""));
    }

    #[test]
    fn results_can_be_read_again() {
        assert_eq!(read("index,label\n0,2\n1,0\n", None, &[]).unwrap(), [[2], [0]]);
        assert_eq!(read("patient,label\n17,2\n23,0\n", None, &[]).unwrap(), [[2], [0]]);
        assert_eq!(read("index,label_1,label_2\n0,2,1\n1,0,2\n", None, &[]).unwrap(), [[2, 1], [0, 2]]);
        assert_eq!(read("index,label,logit_0,logit_1\n0,1,-0.5,2\n1,0,7,1\n", None, &[]).unwrap(), [[1], [0]]);
        for (text, why) in [
            ("0,2\n1,0\n", "no column \"label\""),
            ("index,label\n0,2\n", "its shape is [1], but there are 2 public samples"),
            ("index,label\n0,2\n2,0\n", "row 1 (line 3), column \"index\": \"2\" is not the row's index"),
            ("index,label\n0,2\n1,zero\n", "row 1 (line 3), column \"label\": \"zero\" is no label"),
            ("index,label\n0,2\n1,3\n", "\"3\" is no label: numbers from 0 to 2 are"),
            ("index,label_1,label_2\n0,2,2\n1,0,1\n", "sample 0 has a label twice"),
            ("index,label_1,label_2,label_3\n0,2,1,0\n1,0,1,2\n", "3 labels of each sample, but the plan reveals 2"),
        ] {
            let error = read(text, None, &[]).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
