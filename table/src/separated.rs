//! Text with cells separated by commas (RFC 4180), the first line naming the columns.

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use crate::error::TableError;
use crate::table::{Cells, Column, MAX_CELLS, Table, Text};

pub(crate) fn read(bytes: &[u8]) -> Result<Table, TableError> {
    let refuse = |why: String| TableError::Format { kind: "csv", why };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().trim(Trim::Headers).from_reader(bytes);
    let names = reader.headers().map_err(|error| refuse(said(error)))?.clone();
    match names.get(0) {
        None => return Err(refuse("it is empty".into())),
        Some(only) if names.len() == 1 && only.contains([';', '\t']) => {
            return Err(refuse(format!("its first line is {only:?}: columns must be separated by commas")));
        }
        Some(_) => {}
    }
    let mut columns = vec![Text::default(); names.len()];
    let (mut lines, mut record) = (Vec::new(), StringRecord::new());
    while reader.read_record(&mut record).map_err(|error| refuse(said(error)))? {
        lines.push(record.position().map_or(0, |at| line_behind(bytes, at)));
        columns.iter_mut().zip(&record).for_each(|(column, cell)| column.push(cell));
        let cells = lines.len() as u64 * names.len() as u64;
        if cells > MAX_CELLS {
            return Err(TableError::TooLarge { what: "cells", found: cells, most: MAX_CELLS });
        }
    }
    let column = |(name, text): (&str, Text)| Column { name: name.into(), cells: Cells::Text(text) };
    let columns = names.iter().zip(columns).map(column).collect();
    Ok(Table { columns, rows: lines.len(), lines })
}

/// The line of the row that is read at `at`, which may be in front of blank lines.
fn line_behind(bytes: &[u8], at: &csv::Position) -> u64 {
    let rest = bytes.get(at.byte() as usize..).unwrap_or_default();
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    at.line() + blank.filter(|byte| **byte == b'\n').count() as u64
}

/// What the reader says, with the line.
fn said(error: csv::Error) -> String {
    let line = |at: &Option<csv::Position>| at.as_ref().map_or(1, csv::Position::line);
    match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            format!("line {} has {len} cells, the first line {expected_len}", line(pos))
        }
        ErrorKind::Utf8 { pos, .. } => format!("line {} is not text in UTF-8", line(pos)),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_blank_lines_and_marks_are_understood() {
        let text = "\u{feff}id, mean radius ,note\n7,1.5,\"a, \"\"b\"\"\n and c\"\n\n8,,x\r\n";
        let table = read(text.as_bytes()).unwrap();
        assert_eq!((table.names().as_slice(), table.rows), (&["id", "mean radius", "note"].map(String::from)[..], 2));
        let cell = |column: usize, row| table.columns[column].written(row);
        assert_eq!([cell(0, 1), cell(1, 0), cell(1, 1)], ["8", "1.5", ""]);
        assert_eq!(cell(2, 0), "a, \"b\"\n and c");
        // The first row takes two lines, and one is blank.
        assert_eq!(
            [table.place(0, "id").to_string(), table.place(1, "id").to_string()].map(|s| s.replace('"', "'")),
            ["row 0 (line 2), column 'id'", "row 1 (line 5), column 'id'"]
        );
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_line() {
        let about = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert_eq!(about(b""), "not a readable csv file: it is empty");
        assert!(about(b"a,b\n1,2\n3\n").ends_with("line 3 has 1 cells, the first line 2"));
        assert!(about(b"a,b\n1,2\n3,4,5\n").ends_with("line 3 has 3 cells, the first line 2"));
        assert!(about(b"a;b\n1;2\n").contains("separated by commas"));
        assert!(about(b"a,b\n1,2\n\xff\xfe,1\n").ends_with("line 3 is not text in UTF-8"));
    }
}
