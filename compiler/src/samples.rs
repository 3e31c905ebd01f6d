//! The user's files of samples and labels, with errors that name them.

use std::path::Path;

use fusion_ir::Schema;
use fusion_table::{Classes, File, LabelFile, TableError, Wanted};

use crate::Error;

/// Opens a file of samples or labels.
///
/// # Errors
/// [`Error::Input`] names the file and what is wrong with it; [`Error::Io`] if it cannot be read.
pub fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| refuse(path, error))
}

/// The samples of a file: an array whose other axes are `shape`, or a table with the columns of
/// `schema`, whose prefix is evaluated; infinities and NaN among them if `any` numbers are taken;
/// with what the user should know.
///
/// # Errors
/// As [`open`].
pub fn samples(
    path: &Path,
    file: &File,
    shape: &[usize],
    schema: &Schema,
    apart: &[&str],
    any: bool,
) -> Result<(Vec<Vec<f32>>, Vec<String>), Error> {
    let Schema { columns, prefix, .. } = schema;
    let wanted = Wanted { shape, columns, prefix: prefix.as_ref(), apart, any };
    let samples = fusion_table::samples(file, wanted).map_err(|error| refuse(path, error))?;
    let notice = |notice: &String| format!("{}: {notice}", path.display());
    Ok((samples.rows().map(<[f32]>::to_vec).collect(), samples.notices.iter().map(notice).collect()))
}

/// The samples of an `.npy` file.
///
/// # Errors
/// As [`open`].
pub fn array(path: &Path, shape: &[usize]) -> Result<Vec<Vec<f32>>, Error> {
    Ok(samples(path, &open(path)?, shape, &Schema::default(), &[], false)?.0)
}

/// Reads one label for each of `samples` samples.
///
/// # Errors
/// As [`open`].
pub fn labels(of: &LabelFile, samples: usize, classes: Classes<'_>) -> Result<Vec<i64>, Error> {
    let file = open(&of.path)?;
    let labels = fusion_table::labels(&file, of.column.as_deref(), [samples, 1], "samples", classes);
    Ok(labels.map_err(|error| refuse(&of.path, error))?.into_iter().flatten().collect())
}

/// The column that is for something else than samples, if `of` is a column of the table at `path`.
pub fn apart<'l>(path: &Path, of: &'l LabelFile) -> Option<&'l str> {
    of.column.as_deref().filter(|_| of.path == path)
}

/// The error about the file at `path`.
pub fn refuse(path: &Path, error: TableError) -> Error {
    match error {
        TableError::Io(source) => Error::Io { path: path.into(), source },
        error => Error::Input { path: path.into(), why: error.to_string() },
    }
}
