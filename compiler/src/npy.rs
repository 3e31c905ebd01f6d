//! Sample and label files: NumPy's `.npy`.

use std::path::Path;

use fusion_ir::npy::{Npy, NpyError};

use crate::Error;

/// Reads samples: first axis the samples, the rest exactly `shape`; every number finite; at least one sample. Any type of number that
/// float32 holds, in either order of axes.
///
/// # Errors
/// [`Error::Input`] names the file and what is wrong with it; [`Error::Io`] if it cannot be read.
pub fn samples(path: &Path, shape: &[usize]) -> Result<Vec<Vec<f32>>, Error> {
    samples_or_missing(path, shape, false)
}

/// As [`samples`]; with `missing`, numbers may be NaN or infinite.
///
/// # Errors
/// As [`samples`].
pub fn samples_or_missing(path: &Path, shape: &[usize], missing: bool) -> Result<Vec<Vec<f32>>, Error> {
    let bytes = bytes(path)?;
    let npy = parse(path, &bytes)?;
    let found = npy.shape();
    if found.is_empty() || &found[1..] != shape {
        return Err(bad(path, format!("shape {found:?}, but the model needs [samples, {}]", joined(shape))));
    }
    if found[0] == 0 {
        return Err(bad(path, "it holds no samples"));
    }
    let data = npy.reals().map_err(|error| in_sample(path, shape, error))?;
    let sample_len = shape.iter().product::<usize>().max(1);
    if let Some(at) = data.iter().position(|x| !missing && !x.is_finite()) {
        let (sample, element) = (at / sample_len, at % sample_len);
        return Err(bad(path, format!("sample {sample} holds {} at element {element}", data[at])));
    }
    Ok(data.chunks_exact(sample_len).map(<[f32]>::to_vec).collect())
}

/// Reads labels: integers, one per sample, each in `0..classes`.
///
/// # Errors
/// As [`samples`].
pub fn labels(path: &Path, samples: usize, classes: usize) -> Result<Vec<u32>, Error> {
    let bytes = bytes(path)?;
    let npy = parse(path, &bytes)?;
    if npy.shape() != [samples] {
        return Err(bad(path, format!("shape {:?}, but there are {samples} samples", npy.shape())));
    }
    let check = |(index, label): (usize, i64)| match u32::try_from(label) {
        Ok(known) if (known as usize) < classes => Ok(known),
        _ => Err(bad(path, format!("label {label} of sample {index} is not in 0..{classes}"))),
    };
    let labels = npy.integers().map_err(|error| bad(path, error.to_string()))?;
    labels.into_iter().enumerate().map(check).collect()
}

/// Whether the file holds integers, hence labels.
///
/// # Errors
/// As [`samples`].
pub fn is_integer(path: &Path) -> Result<bool, Error> {
    Ok(parse(path, &bytes(path)?)?.is_integer())
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })
}

fn parse<'b>(path: &Path, bytes: &'b [u8]) -> Result<Npy<'b>, Error> {
    Npy::parse(bytes).map_err(|error| bad(path, error.to_string()))
}

/// The error with the sample that it is about.
fn in_sample(path: &Path, shape: &[usize], error: NpyError) -> Error {
    match error {
        NpyError::Loss { index, value, kind } => {
            let len = shape.iter().product::<usize>().max(1);
            let (sample, element) = (index / len, index % len);
            bad(path, format!("sample {sample} holds {value} at element {element}, which {kind} does not hold"))
        }
        other => bad(path, other.to_string()),
    }
}

fn bad(path: &Path, why: impl Into<String>) -> Error {
    Error::Input { path: path.into(), why: why.into() }
}

fn joined(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
