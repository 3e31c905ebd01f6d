//! Sample, label and plan files of this party's user.

use std::path::Path;

use fusion_ir::Plan;
use fusion_ir::input::{Clipped, Quantiser};
use fusion_ir::npy::{Npy, NpyError};

use crate::Error;
use crate::fusion::{Row, RowDigest};

/// Reads a plan. Its function is verified: it may come from an adversary.
///
/// # Errors
/// [`Error::Usage`] names the file and what is wrong with it.
pub fn plan(path: &Path) -> Result<Plan, Error> {
    let bytes = bytes(path)?;
    Plan::from_bytes(&bytes).map_err(|error| refuse(path, error))
}

/// Samples of a file.
#[derive(Clone, Debug)]
pub struct Samples {
    /// What a batch is made of.
    pub rows: Vec<Row>,
    /// The samples with elements that the input's format does not hold.
    pub clipped: Vec<Clipped>,
}

/// Reads samples and quantises them: first axis the samples, the others the shape of the plan's input; at least one
/// sample, every number one that the format [takes](Quantiser::takes). Any type of number that float32 holds, in either order of axes. Each result has as many
/// elements as the input, and is known by the numbers in the file.
///
/// # Errors
/// [`Error::Usage`] names the file and what is wrong with it.
pub fn samples(path: &Path, quantiser: Quantiser<'_>) -> Result<Samples, Error> {
    let ty = quantiser.ty;
    let bytes = bytes(path)?;
    let npy = Npy::parse(&bytes).map_err(|error| refuse(path, error))?;
    let found = npy.shape();
    if found.get(1..) != Some(&ty.shape[..]) {
        let shape = std::iter::once("samples".into()).chain(ty.shape.iter().map(usize::to_string));
        let shape = shape.collect::<Vec<_>>().join(", ");
        return Err(refuse(path, format!("its shape is {found:?}, the plan needs [{shape}]")));
    }
    if found[0] == 0 {
        return Err(refuse(path, "it holds no sample"));
    }
    let sample_len = ty.len();
    let place = |index: usize| (index / sample_len, index % sample_len);
    let elements = npy.reals().map_err(|error| match error {
        NpyError::Loss { index, value, kind } => {
            let (sample, element) = place(index);
            refuse(path, format!("sample {sample} holds {value} at element {element}, which {kind} does not hold"))
        }
        other => refuse(path, other),
    })?;
    if let Some(at) = elements.iter().position(|element| !quantiser.takes(*element)) {
        let (sample, element) = place(at);
        return Err(refuse(path, format!("sample {sample} holds {} at element {element}", elements[at])));
    }
    let row = |sample: &[f32]| Row {
        elements: quantiser.quantise(sample),
        digest: RowDigest::of(sample.iter().map(|real| f64::from(*real))),
    };
    let samples = || elements.chunks_exact(sample_len);
    Ok(Samples { rows: samples().map(row).collect(), clipped: quantiser.all_clipped(samples()) })
}

/// Reads the labels of `samples` samples (`of` says to people what those are), each in `0..classes`: one of each, or
/// up to `ranks` different ones, best first. Integers in a `.npy` file of shape `[samples]` or `[samples, k]`, or a `.csv`
/// file with the header `index,label` or `index,label_1,..,label_k`.
///
/// # Errors
/// [`Error::Usage`] names the file and what is wrong with it.
pub fn labels(path: &Path, samples: usize, of: &str, classes: usize, ranks: usize) -> Result<Vec<Vec<i64>>, Error> {
    let csv = path.extension().is_some_and(|extension| extension == "csv");
    let (shape, labels) = if csv { csv_labels(path)? } else { npy_labels(path)? };
    let known = match shape[..] {
        [rows] if rows == samples => 1,
        [rows, known] if rows == samples => known,
        _ => return Err(refuse(path, format!("its shape is {shape:?}, but there are {samples} {of}"))),
    };
    if known == 0 || known > ranks {
        let why = format!("it has {known} labels of each sample, but the plan reveals {ranks}");
        return Err(refuse(path, why));
    }
    let labels: Vec<Vec<i64>> = labels.chunks_exact(known).map(<[i64]>::to_vec).collect();
    let exists = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < classes);
    for (at, labels) in labels.iter().enumerate() {
        if let Some(label) = labels.iter().find(|label| !exists(label)) {
            return Err(refuse(path, format!("label {label} of sample {at} is not in 0..{classes}")));
        }
        if (1..labels.len()).any(|rank| labels[..rank].contains(&labels[rank])) {
            return Err(refuse(path, format!("sample {at} has a label twice among its ranks")));
        }
    }
    Ok(labels)
}

fn csv_labels(path: &Path) -> Result<(Vec<usize>, Vec<i64>), Error> {
    let text = std::fs::read_to_string(path).map_err(|error| refuse(path, format!("cannot be read: {error}")))?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let columns: Vec<&str> = header.split(',').skip(1).take_while(|name| name.starts_with("label")).collect();
    if !header.starts_with("index,") || columns.is_empty() {
        return Err(refuse(path, "its first line is not index,label or index,label_1,.."));
    }
    let mut labels = Vec::new();
    let mut rows = 0;
    for (row, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let whole = cells.len() == header.split(',').count() && cells[0] == row.to_string();
        let read = || cells[1..=columns.len()].iter().map(|cell| cell.parse().ok()).collect::<Option<Vec<i64>>>();
        let Some(row_labels) = whole.then(read).flatten() else {
            return Err(refuse(path, format!("line {} is not a label for index {row}", row + 2)));
        };
        labels.extend(row_labels);
        rows = row + 1;
    }
    let shape = if columns.len() == 1 { vec![rows] } else { vec![rows, columns.len()] };
    Ok((shape, labels))
}

fn npy_labels(path: &Path) -> Result<(Vec<usize>, Vec<i64>), Error> {
    let bytes = bytes(path)?;
    let npy = Npy::parse(&bytes).map_err(|error| refuse(path, error))?;
    Ok((npy.shape().to_vec(), npy.integers().map_err(|error| refuse(path, error))?))
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
    use fusion_ir::Function;
    use ndarray::{Array, ArrayBase, Dimension, OwnedRepr, ShapeBuilder};
    use ndarray_npy::{WritableElement, write_npy};

    fn function() -> Function {
        fusion_ir::text::parse("function \"f\"\nv0 = input : i16.4~10[1,3] \"x\"\n").unwrap()
    }

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
        about(bytes, |path| samples(path, function().quantiser()))
    }

    #[test]
    fn good_files_are_read_and_quantised() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let reals = Array::from_shape_vec((2, 1, 3), vec![0.0, 1.0, -0.5, 100.0, -100.0, 0.03f32]).unwrap();
        write_npy(file.path(), &reals).unwrap();
        let Samples { rows, clipped } = samples(file.path(), function().quantiser()).unwrap();
        assert!(clipped.len() == 1 && (clipped[0].sample, clipped[0].elements) == (1, 2), "{clipped:?}");
        assert_eq!([&rows[0].elements[..], &rows[1].elements], [[0, 16, -8], [1023, -1023, 0]]);
        assert_eq!(rows[0].digest, RowDigest::of([0.0, 1.0, -0.5]));
        let fortran = Array::from_shape_fn((2, 1, 3).f(), |(i, _, j)| [[1i32, 2, 3], [4, 5, 6]][i][j]);
        write_npy(file.path(), &fortran).unwrap();
        let rows = samples(file.path(), function().quantiser()).unwrap().rows;
        assert_eq!([&rows[0].elements[..], &rows[1].elements], [[16, 32, 48], [64, 80, 96]]);
        write_npy(file.path(), &Array::from_vec(vec![2i64, 0])).unwrap();
        assert_eq!(labels(file.path(), 2, "public samples", 3, 1).unwrap(), [[2], [0]]);
    }

    #[test]
    fn samples_that_do_not_fit_are_refused() {
        let shape = about_samples(&npy(&Array::<f32, _>::zeros((2, 3))));
        assert_eq!(shape, "its shape is [2, 3], the plan needs [samples, 1, 3]");
        let flat = about_samples(&npy(&Array::<f32, _>::zeros(())));
        assert_eq!(flat, "its shape is [], the plan needs [samples, 1, 3]");
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
        let about_labels = |bytes: &[u8]| about(bytes, |path| labels(path, 2, "public samples", 3, 1));
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
    fn accepted_labels_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("labels.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            labels(&path, 2, "public samples", 3, 2)
        };
        assert_eq!(read("index,label\n0,2\n1,0\n").unwrap(), [[2], [0]]);
        assert_eq!(read("index,label_1,label_2\n0,2,1\n1,0,2\n").unwrap(), [[2, 1], [0, 2]]);
        assert_eq!(read("index,label,logit_0,logit_1\n0,1,-0.5,2\n1,0,7,1\n").unwrap(), [[1], [0]]);
        for (text, why) in [
            ("", "first line is not index,label"),
            ("0,2\n1,0\n", "first line is not index,label"),
            ("index,label\n0,2\n", "its shape is [1], but there are 2 public samples"),
            ("index,label\n0,2\n2,0\n", "line 3 is not a label for index 1"),
            ("index,label\n0,2\n1,zero\n", "line 3 is not a label for index 1"),
            ("index,label\n0,2\n1,3\n", "label 3 of sample 1 is not in 0..3"),
            ("index,label_1,label_2\n0,2,2\n1,0,1\n", "sample 0 has a label twice"),
            ("index,label_1,label_2,label_3\n0,2,1,0\n1,0,1,2\n", "3 labels of each sample, but the plan reveals 2"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
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
