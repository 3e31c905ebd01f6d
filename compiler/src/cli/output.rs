//! Writing results: files whole or not at all, and text that may go into a closed pipe.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// Refuses outputs that would overwrite an input.
pub(super) fn spare(inputs: &[Option<&PathBuf>], outputs: &[&Path]) -> Result<(), Error> {
    // What does not exist yet overwrites nothing.
    let same = |one: &Path, other: &Path| matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other);
    match outputs.iter().find(|output| inputs.iter().flatten().any(|input| same(input, output))) {
        Some(output) => Err(Error::Usage(format!("{} would be overwritten: it is an input", output.display()))),
        None => Ok(()),
    }
}

/// Writes every file completely beside its place and only then moves them into place, in order. If
/// writing fails (a full disk), what was there before stays, and nothing half-written is left. Only
/// files are replaced: no directory, device or link.
pub(super) fn write_files(files: &[(&Path, Vec<u8>)]) -> Result<(), Error> {
    for (path, _) in files {
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            let source = std::io::Error::other("something other than a file is there");
            return Err(Error::Io { path: path.into(), source });
        }
    }
    let temporary: Vec<PathBuf> = files.iter().map(|(path, _)| beside(path)).collect();
    let attempt = || {
        for ((path, bytes), temporary) in files.iter().zip(&temporary) {
            let written = std::fs::File::create(temporary).and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            });
            written.map_err(|source| Error::Io { path: path.into(), source })?;
        }
        for ((path, _), temporary) in files.iter().zip(&temporary) {
            std::fs::rename(temporary, path).map_err(|source| Error::Io { path: path.into(), source })?;
        }
        Ok(())
    };
    let result = attempt();
    if result.is_err() {
        for path in &temporary {
            // It may never have been created.
            let _ = std::fs::remove_file(path);
        }
    }
    result
}

/// Prints to standard output; a reader that has gone away is fine.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::Io { path: "standard output".into(), source: e }),
        _ => Ok(()),
    }
}

/// Prints a line for people on standard error. If nobody reads it, that changes nothing about the
/// run.
pub(super) fn tell(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `1234567` as `1.23 MB`.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// `0.0123` as `12.3 ms`.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.2} ms", 1e3 * seconds) } else { format!("{seconds:.2} s") }
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_or_none() {
        let folder = std::env::temp_dir().join(format!("fusionc-output-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (good, bad) = (folder.join("good"), folder.join("missing").join("bad"));
        std::fs::write(&good, b"old").unwrap();
        assert!(write_files(&[(&good, b"new".to_vec()), (&bad, b"x".to_vec())]).is_err());
        assert_eq!(std::fs::read(&good).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        write_files(&[(&good, b"new".to_vec())]).unwrap();
        assert_eq!(std::fs::read(&good).unwrap(), b"new");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
