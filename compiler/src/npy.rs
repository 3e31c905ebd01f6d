//! Sample and label files: NumPy's `.npy`, read strictly.

use std::path::Path;

use ndarray::ArrayD;
use ndarray_npy::{ReadNpyError, ReadNpyExt};

use crate::Error;

/// Reads samples: float32 in C order, first axis the samples, the rest exactly `shape`; every number finite; at least one sample.
///
/// # Errors
/// [`Error::Input`] names the file and what is wrong with it; [`Error::Io`] if it cannot be read.
pub fn samples(path: &Path, shape: &[usize]) -> Result<Vec<Vec<f32>>, Error> {
    let array: ArrayD<f32> = read(path, "float32")?;
    let found = array.shape();
    if found.is_empty() || &found[1..] != shape {
        return Err(bad(path, format!("shape {found:?}, but the model needs [samples, {}]", joined(shape))));
    }
    if found[0] == 0 {
        return Err(bad(path, "it holds no samples"));
    }
    let data = elements(path, array)?;
    let sample_len = shape.iter().product::<usize>().max(1);
    if let Some(at) = data.iter().position(|x| !x.is_finite()) {
        let (sample, element) = (at / sample_len, at % sample_len);
        return Err(bad(path, format!("sample {sample} holds {} at element {element}", data[at])));
    }
    Ok(data.chunks_exact(sample_len).map(<[f32]>::to_vec).collect())
}

/// Reads labels: int64 in C order, one per sample, each in `0..classes`.
///
/// # Errors
/// As [`samples`].
pub fn labels(path: &Path, samples: usize, classes: usize) -> Result<Vec<u32>, Error> {
    let array: ArrayD<i64> = read(path, "int64")?;
    if array.shape() != [samples] {
        return Err(bad(path, format!("shape {:?}, but there are {samples} samples", array.shape())));
    }
    let check = |(index, label): (usize, i64)| match u32::try_from(label) {
        Ok(known) if (known as usize) < classes => Ok(known),
        _ => Err(bad(path, format!("label {label} of sample {index} is not in 0..{classes}"))),
    };
    elements(path, array)?.into_iter().enumerate().map(check).collect()
}

fn bad(path: &Path, why: impl Into<String>) -> Error {
    Error::Input { path: path.into(), why: why.into() }
}

fn joined(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

fn read<T>(path: &Path, dtype: &str) -> Result<ArrayD<T>, Error>
where
    ArrayD<T>: ReadNpyExt,
{
    let file = std::fs::File::open(path).map_err(|source| Error::Io { path: path.into(), source })?;
    ArrayD::<T>::read_npy(std::io::BufReader::new(file)).map_err(|e| match e {
        ReadNpyError::WrongDescriptor(found) => bad(path, format!("elements of type {found}, but {dtype} is needed")),
        ReadNpyError::MissingData => bad(path, "it is truncated"),
        other => bad(path, format!("not a readable .npy file: {other}")),
    })
}

fn elements<T>(path: &Path, array: ArrayD<T>) -> Result<Vec<T>, Error> {
    if !array.is_standard_layout() {
        return Err(bad(path, "Fortran order; save it in C order (numpy.ascontiguousarray)"));
    }
    Ok(array.into_raw_vec_and_offset().0)
}
