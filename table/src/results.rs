//! Results to write.

use crate::error::TableError;
use crate::file::Kind;
use crate::labels::Classes;
use crate::parquet;
use crate::table::Values;

/// Named columns of one length, in order: what identifies a row, its labels and logits, or its
/// values.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    columns: Vec<(String, Values)>,
    rows: usize,
    /// Labels as numbers, or values, for an array.
    array: Array,
    /// Whether there is more than an array has place for.
    more: Option<&'static str>,
}

/// What an array has place for.
#[derive(Clone, Debug, PartialEq)]
enum Array {
    Labels(Vec<Vec<i64>>),
    Values(Vec<Vec<f64>>),
}

impl Results {
    /// Values of rows, `count` of each, with what identifies the rows, by default their indices.
    pub fn of_values(identifiers: Option<(&str, Values)>, values: Vec<Vec<f64>>, count: usize) -> Results {
        let (first, more) = first(identifiers, values.len());
        let mut columns = vec![first];
        for index in 0..count {
            let column = values.iter().map(|row| row.get(index).copied().unwrap_or(f64::NAN));
            columns.push((crate::values::name(index, count), Values::Reals(column.collect())));
        }
        Results { columns, rows: values.len(), array: Array::Values(values), more }
    }

    /// Labels of rows, `ranks` of each, best first, with what identifies the rows, by default their
    /// indices, and logits, if there are any.
    pub fn new(
        identifiers: Option<(&str, Values)>,
        labels: Vec<Vec<i64>>,
        ranks: usize,
        classes: Classes<'_>,
        logits: Option<&[Vec<f64>]>,
    ) -> Results {
        let rows = labels.len();
        let numbers = classes.numbers();
        let called = |numbers: &[i64], label: i64| {
            usize::try_from(label).ok().and_then(|at| numbers.get(at)).copied().unwrap_or(label)
        };
        let (first, more) = first(identifiers, rows);
        let more = more.or(logits.map(|_| "logits"));
        let mut columns = vec![first];
        for rank in 0..ranks.max(1) {
            let name = if ranks > 1 { format!("label_{}", rank + 1) } else { "label".into() };
            let all = labels.iter().map(|labels| labels.get(rank).copied().unwrap_or(-1));
            let values = match (classes.names, &numbers) {
                ([], _) => Values::Integers(all.collect()),
                (_, Some(numbers)) => Values::Integers(all.map(|label| called(numbers, label)).collect()),
                _ => Values::Text(all.map(|label| classes.name(label)).collect()),
            };
            columns.push((name, values));
        }
        let logits = logits.into_iter().flat_map(|rows| {
            (0..classes.count).map(|class| {
                let column = rows.iter().map(|row| row.get(class).copied().unwrap_or(f64::NAN));
                (format!("logit_{class}"), Values::Reals(column.collect()))
            })
        });
        columns.extend(logits);
        let number = |label: &i64| numbers.as_ref().map_or(*label, |numbers| called(numbers, *label));
        let labels = labels.iter().map(|labels| labels.iter().map(number).collect()).collect();
        Results { columns, rows, array: Array::Labels(labels), more }
    }

    /// The names of the columns.
    pub fn header(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The file's content, by its kind.
    ///
    /// # Errors
    /// [`TableError::Content`] if an array has no place for all of it.
    pub fn to_bytes(&self, kind: Kind) -> Result<Vec<u8>, TableError> {
        match (kind, self.more) {
            (Kind::Csv, _) => self.to_csv().map(String::into_bytes),
            (Kind::Parquet, _) => parquet::write(&self.columns),
            (Kind::Npy, None) => Ok(self.to_npy()),
            (Kind::Npy, Some(more)) => Err(TableError::Content(format!(
                "an array has no place for {more} beside labels: write .csv or .parquet"
            ))),
        }
    }

    /// Cells separated by commas, a header first.
    ///
    /// # Errors
    /// None that can be provoked.
    pub fn to_csv(&self) -> Result<String, TableError> {
        let refuse = |error: csv::Error| TableError::Format { kind: "csv", why: error.to_string() };
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.header()).map_err(refuse)?;
        for row in 0..self.rows {
            let cells = self.columns.iter().map(|(_, values)| values.written(row));
            writer.write_record(cells).map_err(refuse)?;
        }
        let bytes = writer.into_inner().map_err(|error| refuse(error.into_error().into()))?;
        String::from_utf8(bytes).map_err(|error| TableError::Content(error.to_string()))
    }

    /// Labels as int64, values as float64: `[rows]`, or `[rows, n]` if there are several.
    fn to_npy(&self) -> Vec<u8> {
        let (kind, each) = match &self.array {
            Array::Labels(labels) => ("<i8", labels.first().map_or(1, Vec::len)),
            Array::Values(values) => ("<f8", values.first().map_or(1, Vec::len)),
        };
        let shape = match each {
            1 => format!("({},)", self.rows),
            each => format!("({}, {each})", self.rows),
        };
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        // The format wants data to begin at a multiple of 64 bytes.
        let len = (10 + header.len() + 1).next_multiple_of(64) - 10;
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((len as u16).to_le_bytes());
        bytes.extend(format!("{header:<width$}\n", width = len - 1).bytes());
        match &self.array {
            Array::Labels(labels) => bytes.extend(labels.iter().flatten().flat_map(|label| label.to_le_bytes())),
            Array::Values(values) => bytes.extend(values.iter().flatten().flat_map(|value| value.to_le_bytes())),
        }
        bytes
    }
}

/// The first column, and whether it is something that an array has no place for.
fn first(identifiers: Option<(&str, Values)>, rows: usize) -> ((String, Values), Option<&'static str>) {
    match identifiers {
        Some((name, values)) => ((name.to_owned(), values), Some("identifiers")),
        None => (("index".into(), Values::Integers((0..rows as i64).collect())), None),
    }
}
