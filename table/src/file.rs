//! Files in memory.

use std::io::Read;
use std::path::Path;

use crate::table::{MAX_BYTES, Table};
use crate::{TableError, parquet, separated};

/// What a file is, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// NumPy's array, also under any name that says nothing else.
    Npy,
    /// Cells separated by commas, with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// A file's content.
#[derive(Clone, Debug)]
pub enum File {
    /// The bytes of an array.
    Npy(Vec<u8>),
    /// A table.
    Table(Table),
}

impl Kind {
    /// The kind of the file at `path`.
    pub fn of(path: &Path) -> Kind {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("csv") => Kind::Csv,
            Some("parquet" | "pq") => Kind::Parquet,
            _ => Kind::Npy,
        }
    }
}

impl File {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`TableError`] says what is wrong with it; nothing is allocated beyond [`MAX_BYTES`] and
    /// what `MAX_CELLS` take.
    pub fn open(path: &Path) -> Result<File, TableError> {
        let file = std::fs::File::open(path).map_err(TableError::Io)?;
        let large = |found| TableError::TooLarge { what: "bytes", found, most: MAX_BYTES };
        let told = file.metadata().map_err(TableError::Io)?.len();
        if told > MAX_BYTES {
            return Err(large(told));
        }
        // A pipe has no length beforehand.
        let mut bytes = Vec::with_capacity(told as usize);
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(TableError::Io)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(large(bytes.len() as u64));
        }
        File::of(Kind::of(path), bytes)
    }

    /// The file of these bytes.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn of(kind: Kind, bytes: Vec<u8>) -> Result<File, TableError> {
        match kind {
            Kind::Npy => Ok(File::Npy(bytes)),
            Kind::Csv => separated::read(&bytes).map(File::Table),
            Kind::Parquet => parquet::read(bytes).map(File::Table),
        }
    }

    /// The table, if it is one.
    pub fn table(&self) -> Option<&Table> {
        match self {
            File::Table(table) => Some(table),
            File::Npy(_) => None,
        }
    }
}
