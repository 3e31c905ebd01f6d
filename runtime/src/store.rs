//! Small databases that outlive a process: the client's [ledger](crate::ledger) and the server's
//! [budget](crate::budget).
//!
//! A store is one redb file, readable by its owner only. It is open only for the moment of each
//! transaction, so several processes may share it; a transaction is on disk when it returns. Within
//! a process, transactions on one store take turns.

use std::fs::{self, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, WriteTransaction};

use crate::Error;

/// How long another process may keep the file before this one gives up.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl Store {
    /// The store at `path`. The file and its directory are made if there are none.
    ///
    /// # Errors
    /// [`Error::State`] if that fails; nothing else is looked at yet.
    pub fn new(path: &Path) -> Result<Store, Error> {
        let store = Store { path: path.to_owned(), turn: Arc::default() };
        create(path).map_err(|error| store.refuse(error))?;
        Ok(store)
    }

    /// Runs `change` as one transaction: all of it is on disk afterwards, or after an error nothing
    /// of it.
    ///
    /// # Errors
    /// [`Error::State`] if the file is no store of ours, cannot be written, or stays with another
    /// process.
    pub fn transaction<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> Result<T, Error> {
        let attempt = || {
            let transaction = self.database()?.begin_write()?;
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // redb does not survive every corrupt file. Nothing of what it worked on is used again.
        match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(done) => done.map_err(|error: redb::Error| self.refuse(error)),
            Err(_) => Err(self.refuse("the file is corrupt: restore it from a copy")),
        }
    }

    /// An [`Error::State`] about this store.
    pub fn refuse(&self, why: impl std::fmt::Display) -> Error {
        Error::State { path: self.path.display().to_string(), why: why.to_string() }
    }

    fn database(&self) -> Result<Database, redb::Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Database::create(&self.path) {
                Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => {
                    std::thread::sleep(RETRY_PAUSE);
                }
                opened => return Ok(opened?),
            }
        }
    }
}

/// Where the file `name` is kept unless the user says otherwise: `$XDG_STATE_HOME/fusion`, or
/// `~/.local/state/fusion`.
///
/// # Errors
/// [`Error::Usage`] if the environment names no such place; it says that `flag` does.
pub fn default_place(name: &str, flag: &str) -> Result<PathBuf, Error> {
    let absolute = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let state = state.ok_or_else(|| {
        Error::Usage(format!("neither XDG_STATE_HOME nor HOME says where {name} is to be kept: give {flag}"))
    })?;
    Ok(state.join("fusion").join(name))
}

/// Makes an empty file that is nobody else's to read, unless there is a file already.
fn create(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(io::Error::other("something other than a file is there")),
        _ => options.open(path).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{ReadableTable, TableDefinition};

    const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");

    fn count(store: &Store) -> Result<u64, Error> {
        store.transaction(|transaction| {
            let mut counts = transaction.open_table(COUNTS)?;
            let count = counts.get("n")?.map_or(0, |count| count.value()) + 1;
            counts.insert("n", count)?;
            Ok(count)
        })
    }

    #[test]
    fn transactions_of_many_threads_follow_one_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/counts.redb");
        std::thread::scope(|scope| {
            let run = || (0..5).for_each(|_| assert!(count(&Store::new(&path).unwrap()).unwrap() > 0));
            (0..4).for_each(|_| drop(scope.spawn(run)));
        });
        assert_eq!(count(&Store::new(&path).unwrap()).unwrap(), 21);
    }

    #[test]
    fn what_failed_left_no_trace() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("counts")).unwrap();
        assert_eq!(count(&store).unwrap(), 1);
        let failed = store.transaction(|transaction| {
            transaction.open_table(COUNTS)?.insert("n", 100)?;
            Err::<(), _>(redb::Error::Corrupted("on purpose".into()))
        });
        assert!(matches!(failed, Err(Error::State { .. })));
        assert_eq!(count(&store).unwrap(), 2);
    }

    #[test]
    fn files_that_are_no_stores_are_refused_and_spared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        for text in [&b"dear diary"[..], &[7; 5000]] {
            fs::write(&path, text).unwrap();
            let error = Store::new(&path).and_then(|store| count(&store)).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("notes.txt"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), text);
        }
        for place in [directory.path(), Path::new("/dev/null"), &path.join("below-a-file")] {
            assert!(matches!(Store::new(place), Err(Error::State { .. })), "{}", place.display());
        }
    }

    /// Whatever a disk does to a store, it is refused or serves: nothing panics out of here.
    #[test]
    fn corrupt_stores_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counts");
        let store = Store::new(&path).unwrap();
        (0..5).for_each(|_| assert!(count(&store).is_ok()));
        let good = fs::read(&path).unwrap();
        let mut refused = 0;
        // Much of the header, then places all over the file.
        let places = (0..512).step_by(7).chain((512..good.len()).step_by(9973));
        for place in places {
            let mut bad = good.clone();
            bad[place] ^= 0xff;
            fs::write(&path, &bad).unwrap();
            if let Err(error) = count(&store) {
                assert!(error.exit_code() == 2 && error.to_string().contains("counts"), "{place}: {error}");
                refused += 1;
            }
        }
        assert!(refused > 0);
        fs::write(&path, &good).unwrap();
        assert_eq!(count(&store).unwrap(), 6);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_a_store() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counts");
        count(&Store::new(&path).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
