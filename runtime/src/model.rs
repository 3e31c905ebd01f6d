//! Where the server's weights come from: memory, or the plan's file, one layer at a time.
//!
//! A file is read at its weights' places when a layer needs them, not mapped: what is cut short or
//! written to while it is mapped kills the process or changes under its hands, and a layer reads
//! each of its weights once per micro-batch anyway. What is read must be what was there when the
//! file was opened.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fusion_ir::plan::{PlanError, StoredWeights};
use fusion_ir::{Function, Plan, Value, WeightId, Weights};

use crate::Error;
use crate::input::refuse;

/// Gives the weights of a function's layers.
pub trait Model: Sync {
    /// The weights that `value` of `function` reads; of others it may have any or no elements.
    ///
    /// # Errors
    /// [`Error::State`] if they can no longer be had.
    fn layer(&self, function: &Function, value: &Value) -> Result<Cow<'_, Weights>, Error>;
}

impl Model for Weights {
    fn layer(&self, _: &Function, _: &Value) -> Result<Cow<'_, Weights>, Error> {
        Ok(Cow::Borrowed(self))
    }
}

/// A server's plan whose weights stay in its file.
#[derive(Debug)]
pub struct PlanFile {
    path: PathBuf,
    plan: Plan,
    stored: StoredWeights,
    file: Mutex<File>,
}

impl PlanFile {
    /// Opens a plan with weights. All of it is read once and checked, and nothing but the program
    /// is kept.
    ///
    /// # Errors
    /// [`Error::Usage`] names the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<PlanFile, Error> {
        let mut file = File::open(path).map_err(|error| refuse(path, format!("cannot be read: {error}")))?;
        let scanned = Plan::scan(BufReader::new(&mut file)).map_err(|error| refuse(path, error))?;
        let (plan, Some(stored)) = scanned else {
            return Err(refuse(path, "it has no weights: give the server plan.bin"));
        };
        Ok(PlanFile { path: path.to_owned(), plan, stored, file: Mutex::new(file) })
    }

    /// The program, without weights and demo samples.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn read(&self, function: &Function, id: WeightId) -> Result<Vec<i64>, Error> {
        let place = self.stored.bytes(id);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(place.start))?;
            file.by_ref().take(place.end - place.start).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let lost = |why: PlanError| Error::State { path: self.path.display().to_string(), why: why.to_string() };
        let bytes = read().map_err(|error| lost(PlanError::Unreadable(error.to_string())))?;
        self.stored.decode(function, id, &bytes).map_err(lost)
    }
}

impl Model for PlanFile {
    fn layer(&self, function: &Function, value: &Value) -> Result<Cow<'_, Weights>, Error> {
        let mut weights = vec![Vec::new(); function.weights.len()];
        for id in value.op.weights() {
            weights[id.index()] = self.read(function, id)?;
        }
        Ok(Cow::Owned(Weights(weights)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::tiny_plan;

    #[test]
    fn a_layer_gets_the_weights_it_reads_and_no_others() {
        let (plan, file) = (tiny_plan(), tempfile::NamedTempFile::new().unwrap());
        fs::write(file.path(), plan.to_bytes()).unwrap();
        let opened = PlanFile::open(file.path()).unwrap();
        assert_eq!(*opened.plan(), plan.for_client());
        let mut read = 0;
        for value in &plan.function.values {
            let found = opened.layer(&plan.function, value).unwrap();
            for (index, elements) in found.0.iter().enumerate() {
                let wanted = value.op.weights().any(|id| id.index() == index);
                let expected = if wanted { plan.weights.as_ref().unwrap().0[index].as_slice() } else { &[] };
                assert_eq!(elements, expected);
                read += usize::from(wanted);
            }
        }
        assert!(read > 0);
    }

    #[test]
    fn plans_without_weights_and_damaged_ones_are_refused() {
        let (plan, file) = (tiny_plan(), tempfile::NamedTempFile::new().unwrap());
        let bytes = plan.to_bytes();
        let place = Plan::scan(&bytes[..]).unwrap().1.unwrap().bytes(WeightId(0));
        let mut corrupt = bytes.clone();
        corrupt[place.start as usize] ^= 1;
        for (bytes, why) in [
            (plan.for_client().to_bytes().as_slice(), "it has no weights: give the server plan.bin"),
            (&bytes[..place.end as usize - 1], "the plan is truncated in its weights"),
            (&corrupt, "the plan is corrupt in its weights"),
            (&b"GIF89a"[..], "this is not a Fusion plan"),
        ] {
            fs::write(file.path(), bytes).unwrap();
            let error = PlanFile::open(file.path()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert_eq!(error.to_string(), format!("{}: {why}", file.path().display()));
        }
    }

    #[test]
    fn a_file_that_changes_is_noticed_when_it_is_read() {
        let (plan, file) = (tiny_plan(), tempfile::NamedTempFile::new().unwrap());
        let bytes = plan.to_bytes();
        let place = Plan::scan(&bytes[..]).unwrap().1.unwrap().bytes(WeightId(0));
        let reader = plan.function.values.iter().find(|value| value.op.kernel() == Some(WeightId(0))).unwrap();
        let mut other = bytes.clone();
        other[place.start as usize] ^= 1;
        for changed in [&other[..], &bytes[..place.start as usize], &bytes[..place.end as usize - 1], &[]] {
            fs::write(file.path(), &bytes).unwrap();
            let opened = PlanFile::open(file.path()).unwrap();
            assert!(opened.layer(&plan.function, reader).is_ok());
            // In place: the open file sees it.
            fs::write(file.path(), changed).unwrap();
            let error = opened.layer(&plan.function, reader).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("the plan's weights have changed since it was opened"), "{error}");
        }
    }
}
