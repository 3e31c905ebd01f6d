//! Apache Parquet: flat columns of numbers, truth values and text, uncompressed or compressed by
//! Snappy, Gzip or LZ4.

use bytes::Bytes;
use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescriptor, Type};
use std::sync::Arc;

use crate::contain::contain;
use crate::error::TableError;
use crate::table::{Cells, Column, MAX_BYTES, MAX_CELLS, Table, Text, Values, shortened};

/// Rows that are decoded at a time.
const BATCH: usize = 1 << 14;

pub(crate) fn read(bytes: Vec<u8>) -> Result<Table, TableError> {
    // A damaged file may be more than the library bargained for.
    contain(|| table(Bytes::from(bytes))).unwrap_or_else(|| Err(refuse("it is damaged")))
}

/// An error about the whole file.
fn refuse(why: impl std::fmt::Display) -> TableError {
    TableError::Format { kind: "parquet", why: why.to_string() }
}

fn table(bytes: Bytes) -> Result<Table, TableError> {
    let reader = SerializedFileReader::new(bytes).map_err(refuse)?;
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let mut rows = 0usize;
    for group in metadata.row_groups() {
        let more = usize::try_from(group.num_rows()).map_err(|_| refuse("it says that it has less than no rows"))?;
        rows = rows.checked_add(more).ok_or_else(|| refuse("it says that it has more rows than can be counted"))?;
    }
    let cells = (rows as u64).saturating_mul(schema.num_columns().max(1) as u64);
    if cells > MAX_CELLS {
        return Err(TableError::TooLarge { what: "cells", found: cells, most: MAX_CELLS });
    }
    let mut columns = Vec::with_capacity(schema.num_columns());
    for (index, description) in schema.columns().iter().enumerate() {
        let name = description.path().string();
        let mut cells = empty(description);
        for group in 0..metadata.num_row_groups() {
            if matches!(cells, Cells::Other(_)) {
                break;
            }
            let codec = metadata.row_group(group).column(index).compression();
            let known = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::LZ4, Compression::LZ4_RAW];
            if !known.contains(&codec) && !matches!(codec, Compression::GZIP(_)) {
                let why =
                    format!("column {name:?} is compressed by {codec}: write it with snappy, gzip, lz4 or nothing");
                return Err(refuse(why));
            }
            let group = reader.get_row_group(group).map_err(refuse)?;
            let column = group.get_column_reader(index).map_err(refuse)?;
            let unsigned = is_unsigned(description);
            let said = |error: Stopped| refuse(format!("column {:?}: {error}", shortened(&name)));
            append(column, group.metadata().num_rows() as usize, unsigned, &mut cells).map_err(said)?;
        }
        columns.push(Column { name, cells });
    }
    Ok(Table { columns, rows, lines: Vec::new() })
}

fn is_unsigned(column: &ColumnDescriptor) -> bool {
    use ConvertedType::{UINT_8, UINT_16, UINT_32, UINT_64};
    matches!(column.converted_type(), UINT_8 | UINT_16 | UINT_32 | UINT_64)
        || matches!(column.logical_type_ref(), Some(LogicalType::Integer(kind)) if !kind.is_signed)
}

/// What a column's cells are gathered in.
fn empty(column: &ColumnDescriptor) -> Cells {
    let other = || Cells::Other(format!("{:?} {:?}", column.physical_type(), column.converted_type()));
    if column.max_rep_level() > 0 || column.path().parts().len() > 1 {
        return Cells::Other("a nested value".into());
    }
    // Dates, times and decimals are stored as integers that are not their values.
    match (column.physical_type(), column.logical_type_ref()) {
        (Physical::BYTE_ARRAY, Some(LogicalType::String | LogicalType::Enum)) => Cells::Text(Text::default()),
        (Physical::BYTE_ARRAY, None) if column.converted_type() == ConvertedType::UTF8 => Cells::Text(Text::default()),
        (Physical::BOOLEAN, None) => Cells::Integers(Vec::new()),
        (Physical::INT32 | Physical::INT64, Some(LogicalType::Integer(_))) => Cells::Integers(Vec::new()),
        (Physical::INT32 | Physical::INT64, None) => match column.converted_type() {
            ConvertedType::NONE
            | ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::INT_64
            | ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64 => Cells::Integers(Vec::new()),
            _ => other(),
        },
        (Physical::FLOAT | Physical::DOUBLE, None) => Cells::Reals(Vec::new()),
        _ => other(),
    }
}

#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Library(#[from] ParquetError),
    #[error("it ends before its last row")]
    Short,
    #[error("an integer is beyond int64")]
    Wide,
    #[error("text that is not UTF-8")]
    NoText,
    #[error("more than {MAX_BYTES} bytes of text")]
    TooMuchText,
}

/// Adds the `rows` cells of one row group.
fn append(column: ColumnReader, rows: usize, unsigned: bool, cells: &mut Cells) -> Result<(), Stopped> {
    match (column, cells) {
        (ColumnReader::BoolColumnReader(reader), Cells::Integers(all)) => each(reader, rows, |value| {
            all.push(value.map(|value: &bool| i64::from(*value)));
            Ok(())
        }),
        (ColumnReader::Int32ColumnReader(reader), Cells::Integers(all)) => each(reader, rows, |value| {
            let wide = |value: &i32| if unsigned { i64::from(*value as u32) } else { i64::from(*value) };
            all.push(value.map(wide));
            Ok(())
        }),
        (ColumnReader::Int64ColumnReader(reader), Cells::Integers(all)) => each(reader, rows, |value| {
            if unsigned && value.is_some_and(|value: &i64| *value < 0) {
                return Err(Stopped::Wide);
            }
            all.push(value.copied());
            Ok(())
        }),
        (ColumnReader::FloatColumnReader(reader), Cells::Reals(all)) => each(reader, rows, |value| {
            all.push(value.map_or(f64::NAN, |value: &f32| f64::from(*value)));
            Ok(())
        }),
        (ColumnReader::DoubleColumnReader(reader), Cells::Reals(all)) => each(reader, rows, |value| {
            all.push(value.copied().unwrap_or(f64::NAN));
            Ok(())
        }),
        (ColumnReader::ByteArrayColumnReader(reader), Cells::Text(all)) => each(reader, rows, |value| {
            let bytes = value.map_or(&[][..], |value: &ByteArray| value.data());
            all.push(std::str::from_utf8(bytes).map_err(|_| Stopped::NoText)?);
            if all.bytes() as u64 > MAX_BYTES { Err(Stopped::TooMuchText) } else { Ok(()) }
        }),
        _ => Ok(()),
    }
}

/// Tells `push` the values of `rows` rows, in order.
fn each<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    mut push: impl FnMut(Option<&T::T>) -> Result<(), Stopped>,
) -> Result<(), Stopped> {
    let (mut levels, mut values, mut left) = (Vec::new(), Vec::new(), rows);
    while left > 0 {
        levels.clear();
        values.clear();
        let (read, _, _) = reader.read_records(BATCH.min(left), Some(&mut levels), None, &mut values)?;
        left = left.checked_sub(read).filter(|_| read > 0).ok_or(Stopped::Short)?;
        if levels.is_empty() {
            values.iter().try_for_each(|value| push(Some(value)))?;
            continue;
        }
        let mut found = values.iter();
        for level in &levels {
            push(if *level > 0 { Some(found.next().ok_or(Stopped::Short)?) } else { None })?;
        }
    }
    Ok(())
}

/// A file of these columns, compressed by Snappy.
pub(crate) fn write(columns: &[(String, Values)]) -> Result<Vec<u8>, TableError> {
    written(columns).map_err(refuse)
}

fn written(columns: &[(String, Values)]) -> Result<Vec<u8>, ParquetError> {
    let field = |(name, values): &(String, Values)| {
        let (physical, logical) = match values {
            Values::Integers(_) => (Physical::INT64, None),
            Values::Reals(_) => (Physical::DOUBLE, None),
            Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let field = Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED);
        field.with_logical_type(logical).build().map(Arc::new)
    };
    let fields = columns.iter().map(field).collect::<Result<_, _>>()?;
    let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (_, values) in columns {
        let Some(mut column) = group.next_column()? else { break };
        match values {
            Values::Integers(integers) => column.typed::<Int64Type>().write_batch(integers, None, None)?,
            Values::Reals(reals) => column.typed::<DoubleType>().write_batch(reals, None, None)?,
            Values::Text(text) => {
                let text: Vec<ByteArray> = text.iter().map(|cell| ByteArray::from(cell.as_str())).collect();
                column.typed::<ByteArrayType>().write_batch(&text, None, None)?
            }
        };
        column.close()?;
    }
    group.close()?;
    writer.into_inner()
}
