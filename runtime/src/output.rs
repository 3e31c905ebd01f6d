//! Result files: whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// Removes what an earlier run may have left at `path`, and makes sure that this run will be able
/// to write there.
///
/// # Errors
/// [`Error::Output`] if the directory does not exist or cannot be written, or `path` is something
/// other than a file.
pub fn prepare(path: &Path) -> Result<(), Error> {
    let prepare = || {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => return Err(io::Error::other("something other than a file is there")),
            Ok(_) => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let probe = beside(path)?;
        sweep(path);
        File::create_new(&probe)?;
        fs::remove_file(probe)
    };
    prepare().map_err(|error| Error::output(path, error))
}

/// Writes `bytes` to `path`: through a file beside it that takes its name once everything is on
/// disk.
///
/// # Errors
/// [`Error::Output`], a full disk for example; then nothing is left behind.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let temporary = beside(path)?;
        let written = File::create_new(&temporary).and_then(|mut file| {
            // Shows others that this file has an owner.
            let _ = file.try_lock();
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        });
        written.inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })?;
        // The new name is to outlive a loss of power, where the system can promise that.
        let _ = folder(path).and_then(File::open).and_then(|folder| folder.sync_all());
        Ok(())
    };
    write().map_err(|error| Error::output(path, error))
}

/// Prints results to standard output; a reader that has gone away is fine.
///
/// # Errors
/// [`Error::Output`], a full disk for example.
pub fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::output(Path::new("standard output"), error))
        }
        _ => Ok(()),
    }
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    Ok(path.with_file_name(format!("{}{}{SUFFIX}", prefix(path)?, std::process::id())))
}

const SUFFIX: &str = ".tmp";

/// What names of temporary files for `path` begin with; the process's number follows.
fn prefix(path: &Path) -> io::Result<String> {
    let name = path.file_name().ok_or_else(|| io::Error::other("this is not the name of a file"))?;
    Ok(format!(".{}.", name.to_string_lossy()))
}

fn folder(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().ok_or_else(|| io::Error::other("this is not the name of a file"))?;
    Ok(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}

/// Removes what processes that died while they wrote to `path` have left. Those that live hold a
/// lock.
fn sweep(path: &Path) {
    let (Ok(prefix), Ok(Ok(entries))) = (prefix(path), folder(path).map(fs::read_dir)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(SUFFIX));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if number.is_some_and(is_number)
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn stale_files_go_first_and_new_ones_are_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("labels.csv");
        fs::write(&path, "stale").unwrap();
        prepare(&path).unwrap();
        assert!(names(directory.path()).is_empty());
        write(&path, b"index,label\n0,7\n1,0\n").unwrap();
        write(&path, b"index,label\n0,7\n1,1\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "index,label\n0,7\n1,1\n");
        assert_eq!(names(directory.path()), ["labels.csv"]);
    }

    #[test]
    fn places_that_cannot_be_written_are_refused_beforehand() {
        let directory = tempfile::tempdir().unwrap();
        for (path, why) in [
            (directory.path().join("missing/labels.csv"), "No such file"),
            (directory.path().to_owned(), "other than a file"),
            (PathBuf::from("/dev/full"), "other than a file"),
        ] {
            let error = prepare(&path).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().starts_with(&format!("cannot write {}: ", path.display())), "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn what_dead_processes_left_is_removed_and_what_others_write_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("labels.csv");
        let left = [".labels.csv.4000000000.tmp", ".labels.csv.12.tmp"];
        let others =
            [".labels.csv.12a.tmp", ".labels.csv..tmp", ".other.csv.12.tmp", ".labels.csv.13.tmp", "notes.tmp"];
        for name in left.iter().chain(&others) {
            fs::write(directory.path().join(name), "half").unwrap();
        }
        let written = File::open(directory.path().join(".labels.csv.13.tmp")).unwrap();
        written.try_lock().unwrap();
        prepare(&path).unwrap();
        let mut found = names(directory.path());
        found.sort();
        let mut expected = others;
        expected.sort_unstable();
        assert_eq!(found, expected);
        drop(written);
        prepare(&path).unwrap();
        assert!(!names(directory.path()).contains(&".labels.csv.13.tmp".to_owned()));
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("occupied");
        fs::create_dir(&path).unwrap();
        assert!(matches!(write(&path, b"x"), Err(Error::Output { .. })));
        assert_eq!(names(directory.path()), ["occupied"]);
    }
}
