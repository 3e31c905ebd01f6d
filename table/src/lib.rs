//! The data owner's files: samples and labels to read, results to write, as NumPy's `.npy`, `.csv`
//! or `.parquet`.
//!
//! A [`File`] is read whole, within [limits](MAX_BYTES). [`samples()`] finds a table's columns by
//! the names that the plan gives its inputs, in whatever order the file has them; [`labels()`]
//! reads numbers or names of classes, [`values()`] a regressor's numbers; [`Results`] writes
//! answers. Compiler and runtime read with the same code, so a sample means the same to both.
//! Nothing here is secret to the file's owner, and nothing is sent.

pub mod contain;
mod encode;
mod error;
mod file;
mod labels;
mod parquet;
mod results;
mod samples;
mod separated;
mod table;
mod values;

pub use error::{CellError, Place, TableError};
pub use file::{File, Kind};
pub use labels::{Classes, LabelFile, Scores, labels, scores_or_labels};
pub use results::Results;
pub use samples::{Given, Samples, Wanted, numbers, samples};
pub use table::{Cells, Column, MAX_BYTES, MAX_CELLS, Table, Text, Values};
pub use values::values;
