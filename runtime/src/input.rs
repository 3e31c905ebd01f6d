//! Sample, label and plan files of this party's user.

use std::path::Path;

use fusion_ir::Plan;
use fusion_ir::input::{Clipped, Quantiser};
use fusion_table::{Classes, File, Given, LabelFile, TableError, Values, Wanted};

use crate::Error;
use crate::fusion::{Row, RowDigest};
use crate::steps;

/// Reads a plan. Its function is verified and its protocols carry every layer: it may come from an
/// adversary.
///
/// # Errors
/// [`Error::Usage`] names the file and what is wrong with it.
pub fn plan(path: &Path) -> Result<Plan, Error> {
    let bytes = bytes(path)?;
    let plan = Plan::from_bytes(&bytes).map_err(|error| refuse(path, error))?;
    match steps::resolve(&plan.function) {
        Err(Error::Usage(why)) => Err(refuse(path, why)),
        Err(error) => Err(error),
        Ok(_) => Ok(plan),
    }
}

/// Samples of a file.
#[derive(Clone, Debug)]
pub struct Samples {
    /// What a batch is made of.
    pub rows: Vec<Row>,
    /// The samples with elements that the input's format does not hold.
    pub clipped: Vec<Clipped>,
    /// What identifies the rows, if that was asked for.
    pub identifiers: Option<Values>,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// What of a table is no feature.
#[derive(Clone, Copy, Debug, Default)]
pub struct Apart<'a> {
    /// The column that identifies the rows: it is kept.
    pub identifier: Option<&'a str>,
    /// Columns that are for something else.
    pub others: &'a [&'a str],
}

/// Reads samples and quantises them: an array whose first axis they are and whose others are the
/// shape of the plan's input (of a row, if the plan has a [prefix](fusion_ir::prefix), which is
/// evaluated here), or a table with the plan's columns; at least one sample, every number
/// one that the format [takes](fusion_ir::input::Quantiser::takes). Any type of number that float32
/// holds. Each result has as many elements as the input, and is known by the numbers in the file.
///
/// # Errors
/// [`Error::Usage`] names the file and what is wrong with it.
pub fn samples(path: &Path, plan: &Plan, apart: Apart<'_>) -> Result<Samples, Error> {
    let quantiser = plan.function.quantiser();
    let file = open(path)?;
    let known: Vec<&str> = apart.identifier.into_iter().chain(apart.others.iter().copied()).collect();
    let wanted = Wanted {
        shape: &quantiser.ty.shape,
        columns: &plan.schema.columns,
        prefix: plan.schema.prefix.as_ref(),
        apart: &known,
        any: quantiser.is_ordered(),
    };
    let samples = fusion_table::samples(&file, wanted).map_err(|error| refuse(path, error))?;
    let identifiers = apart.identifier.map(|name| identifiers(&file, name)).transpose();
    let identifiers = identifiers.map_err(|error| refuse(path, error))?;
    Ok(Samples { identifiers, ..quantised(samples, quantiser) })
}

/// Samples in the plan's format, known by what was given for them.
pub(crate) fn quantised(samples: fusion_table::Samples, quantiser: Quantiser<'_>) -> Samples {
    let row = |(sample, given): (&[f32], Vec<Given>)| Row {
        elements: quantiser.quantise(sample),
        digest: RowDigest::of_cells(&given),
    };
    Samples {
        rows: samples.rows().zip(samples.given()).map(row).collect(),
        clipped: quantiser.all_clipped(samples.rows()),
        identifiers: None,
        notices: samples.notices,
    }
}

fn identifiers(file: &File, name: &str) -> Result<Values, TableError> {
    let none = || TableError::Content(format!("it is an array, which has no column {name:?} to identify its rows"));
    let table = file.table().ok_or_else(none)?;
    Values::identifiers(table.column(name)?, table.rows)
}

/// Reads the labels of `samples` samples (`of` says to people what those are): one of each, or up
/// to `ranks` different ones, best first.
///
/// # Errors
/// [`Error::Usage`] names the file and what is wrong with it.
pub fn labels(
    from: &LabelFile,
    [samples, ranks]: [usize; 2],
    of: &str,
    classes: Classes<'_>,
) -> Result<Vec<Vec<i64>>, Error> {
    let labels = fusion_table::labels(&open(&from.path)?, from.column.as_deref(), [samples, ranks], of, classes);
    labels.map_err(|error| refuse(&from.path, error))
}

/// Reads the values of `samples` samples (`of` says to people what those are), `count` of each.
///
/// # Errors
/// [`Error::Usage`] names the file and what is wrong with it.
pub fn values(from: &LabelFile, [samples, count]: [usize; 2], of: &str) -> Result<Vec<Vec<f64>>, Error> {
    let values = fusion_table::values(&open(&from.path)?, from.column.as_deref(), [samples, count], of);
    values.map_err(|error| refuse(&from.path, error))
}

/// Opens a file of samples, labels or results.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| refuse(path, error))
}

/// An [`Error::Usage`] about `path`.
pub(crate) fn refuse(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Usage(format!("{}: {why}", path.display()))
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| refuse(path, format!("cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::{Function, Schema};
    use ndarray::{Array, ArrayBase, Dimension, OwnedRepr, ShapeBuilder};
    use ndarray_npy::{WritableElement, write_npy};

    fn input() -> Plan {
        let function: Function = fusion_ir::text::parse("function \"f\"\nv0 = input : i16.4~10[1,3] \"x\"\n").unwrap();
        let schema = Schema { columns: ["a", "b", "c"].map(String::from).to_vec(), ..Schema::default() };
        Plan { function, schema, weights: None, ..crate::testing::tiny_plan() }
    }

    const THREE: Classes<'_> = Classes { count: 3, names: &[] };

    /// What `read` says about a file with `bytes`.
    fn about<T: std::fmt::Debug>(bytes: &[u8], read: impl Fn(&Path) -> Result<T, Error>) -> String {
        let file = tempfile::Builder::new().suffix(".npy").tempfile().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let error = read(file.path()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        let name = file.path().display().to_string();
        text.strip_prefix(&format!("{name}: ")).expect("the file is named").to_owned()
    }

    fn npy<T: WritableElement, D: Dimension>(array: &ArrayBase<OwnedRepr<T>, D>) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_npy(file.path(), array).unwrap();
        std::fs::read(file.path()).unwrap()
    }

    fn about_samples(bytes: &[u8]) -> String {
        about(bytes, |path| samples(path, &input(), Apart::default()))
    }

    #[test]
    fn good_files_are_read_and_quantised() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let reals = Array::from_shape_vec((2, 1, 3), vec![0.0, 1.0, -0.5, 100.0, -100.0, 0.03f32]).unwrap();
        write_npy(file.path(), &reals).unwrap();
        let Samples { rows, clipped, .. } = samples(file.path(), &input(), Apart::default()).unwrap();
        assert!(clipped.len() == 1 && (clipped[0].sample, clipped[0].elements) == (1, 2), "{clipped:?}");
        assert_eq!([&rows[0].elements[..], &rows[1].elements], [[0, 16, -8], [1023, -1023, 0]]);
        assert_eq!(rows[0].digest, RowDigest::of([0.0, 1.0, -0.5]));
        let fortran = Array::from_shape_fn((2, 1, 3).f(), |(i, _, j)| [[1i32, 2, 3], [4, 5, 6]][i][j]);
        write_npy(file.path(), &fortran).unwrap();
        let rows = samples(file.path(), &input(), Apart::default()).unwrap().rows;
        assert_eq!([&rows[0].elements[..], &rows[1].elements], [[16, 32, 48], [64, 80, 96]]);
        write_npy(file.path(), &Array::from_vec(vec![2i64, 0])).unwrap();
        assert_eq!(labels(&file.path().to_owned().into(), [2, 1], "public samples", THREE).unwrap(), [[2], [0]]);
    }

    #[test]
    fn samples_that_do_not_fit_are_refused() {
        let shape = about_samples(&npy(&Array::<f32, _>::zeros((2, 3))));
        assert_eq!(shape, "its shape is [2, 3], but [samples, 1, 3] is needed");
        let flat = about_samples(&npy(&Array::<f32, _>::zeros(())));
        assert_eq!(flat, "its shape is [], but [samples, 1, 3] is needed");
        assert_eq!(about_samples(&npy(&Array::<f32, _>::zeros((0, 1, 3)))), "it holds no sample");
        let double = about_samples(&npy(&Array::<f64, _>::from_elem((2, 1, 3), 1e39)));
        assert!(double.starts_with("sample 0 holds 1") && double.ends_with("which float32 does not hold"), "{double}");
    }

    #[test]
    fn numbers_that_are_none_are_refused_with_their_place() {
        let mut reals = Array::<f32, _>::zeros((4, 1, 3));
        reals[[2, 0, 1]] = f32::NAN;
        assert_eq!(about_samples(&npy(&reals)), "sample 2 holds NaN at element 1");
        reals[[0, 0, 2]] = f32::NEG_INFINITY;
        assert_eq!(about_samples(&npy(&reals)), "sample 0 holds -inf at element 2");
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        let about_labels =
            |bytes: &[u8]| about(bytes, |path| labels(&path.to_owned().into(), [2, 1], "public samples", THREE));
        let count = about_labels(&npy(&Array::from_vec(vec![1i64])));
        assert_eq!(count, "its shape is [1], but there are 2 public samples");
        let high = about_labels(&npy(&Array::from_vec(vec![0i64, 3])));
        assert_eq!(high, "label 3 of sample 1 is not in 0..3");
        let low = about_labels(&npy(&Array::from_vec(vec![-1i64, 0])));
        assert_eq!(low, "label -1 of sample 0 is not in 0..3");
        let dtype = about_labels(&npy(&Array::from_vec(vec![0f32, 1.0])));
        assert!(dtype.contains("<f4") && dtype.contains("int64 is needed"), "{dtype}");
    }

    #[test]
    fn tables_are_read_by_name_with_what_identifies_their_rows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.csv");
        std::fs::write(&path, "c,id,a,y,b\n-0.5,p-1,0,1,1\n0.03,p-2,100,0,-100\n").unwrap();
        let apart = Apart { identifier: Some("id"), others: &["y"] };
        let read = samples(&path, &input(), apart).unwrap();
        assert_eq!([&read.rows[0].elements[..], &read.rows[1].elements], [[0, 16, -8], [1023, -1023, 0]]);
        assert_eq!(read.rows[0].digest, RowDigest::of([0.0, 1.0, -0.5]));
        assert_eq!(read.identifiers, Some(Values::Text(vec!["p-1".into(), "p-2".into()])));
        assert_eq!((read.clipped.len(), read.notices.len()), (1, 0));
        let read = samples(&path, &input(), Apart::default()).unwrap();
        assert_eq!(read.notices, ["columns that the model does not take are ignored: \"id\", \"y\""]);
        std::fs::write(&path, "a,b,c\n1,2,\n").unwrap();
        let error = samples(&path, &input(), Apart::default()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.starts_with(&format!("{}: row 0 (line 2), column \"c\": it is empty", path.display())), "{text}");
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = npy(&Array::<f32, _>::zeros((2, 1, 3)));
        assert!(about_samples(&whole[..whole.len() - 1]).starts_with("it is truncated"));
        for bytes in [&whole[..20], b"GIF89a", b"", &[&whole[..], b"x"].concat()] {
            let text = about_samples(bytes);
            assert!(text.starts_with("not a readable .npy file"), "{text}");
        }
        assert_eq!(about(b"GIF89a", plan), "this is not a Fusion plan");
        let missing = plan(Path::new("/nowhere/plan.bin")).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/plan.bin: cannot be read"), "{missing}");
    }
}
