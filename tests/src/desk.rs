//! A user's folder: plans, samples and results, and the commands run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use ndarray::{Array, Dimension};
use ndarray_npy::{WritableElement, write_npy};
use tempfile::TempDir;

use crate::party::Server;
use crate::{arg, binary, cut, load, root, succeed};

/// Queries in a desk's `x.npy`.
pub const QUERIES: usize = 3;
/// Public samples in a desk's `px.npy`, and labels in its `py.npy`.
pub const PUBLIC: usize = 40;
/// The outputs and demands of [`Desk::client`]; a small batch.
const CLIENT: &str = "-o labels.csv --report r.json --lambda 5 --accuracy 0.9 --catch 0.6";

/// A fresh folder with what both parties need: `plan.bin` and `plan.client.bin` of a model of
/// digits, the queries `x.npy`, the public samples `px.npy` and their labels `py.npy`.
///
/// What programs keep between runs goes to a second folder, so that a desk's own files are the
/// user's alone.
pub struct Desk(TempDir, TempDir);

/// A process that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A model of digits that a desk can have; samples are the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// The convolutional network of `models/digits`.
    Network,
    /// The random forest of `tests/fixtures/forest`.
    Forest,
    /// The attention of `tests/fixtures/attention`, its products of secret matrices by ciphertexts.
    Attention,
}

impl Example {
    /// Compiled, with samples and labels: the true ones, or where the model is wrong on too many
    /// its own.
    fn files(self) -> BTreeMap<String, Vec<u8>> {
        let desk = Desk::bare();
        let digits = root().join("models/digits");
        let (model, labels) = match self {
            Example::Network => (digits.join("digits.onnx"), Some(digits.join("public_labels.npy"))),
            Example::Forest => (root().join("tests/fixtures/forest/digits.onnx"), None),
            Example::Attention => (root().join("tests/fixtures/attention/digits.onnx"), None),
        };
        let calibrate = digits.join("calibrate.npy");
        let plan = desk.path("plan.bin");
        let backend = if self == Example::Attention { "cheetah" } else { "auto" };
        let files = [arg(&model), "--calibrate", arg(&calibrate), "-o", arg(&plan)];
        succeed("fusionc", &[&["compile", "--backend", backend], &files[..]].concat());
        cut::<f32>(&digits.join("queries.npy"), 0..QUERIES, &desk.path("x.npy"));
        cut::<f32>(&digits.join("public.npy"), 0..PUBLIC, &desk.path("px.npy"));
        match labels {
            Some(labels) => cut::<i64>(&labels, 0..PUBLIC, &desk.path("py.npy")),
            None => _ = desk.succeed("fusionc eval plan.bin --input px.npy -o py.npy"),
        }
        desk.files()
    }
}

impl Desk {
    /// A fresh one of the network.
    #[expect(clippy::new_without_default, reason = "it touches the disk")]
    pub fn new() -> Desk {
        Desk::of(Example::Network)
    }

    /// A fresh one. Each model is compiled once per test process.
    pub fn of(example: Example) -> Desk {
        static MASTERS: [OnceLock<BTreeMap<String, Vec<u8>>>; 3] = [const { OnceLock::new() }; 3];
        let master = MASTERS[example as usize].get_or_init(|| example.files());
        let desk = Desk::bare();
        master.iter().for_each(|(name, bytes)| desk.write(name, bytes));
        desk
    }

    /// One without files.
    pub fn bare() -> Desk {
        let folder = || tempfile::tempdir().expect("there is a temporary folder");
        Desk(folder(), folder())
    }

    /// The path of the file `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("the desk is writable");
    }

    /// Writes an array.
    pub fn write_array<T: WritableElement, D: Dimension>(&self, name: &str, array: &Array<T, D>) {
        write_npy(self.path(name), array).expect("the desk is writable");
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Reads a JSON file.
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Every file in the folder; directories are empty files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.0.path()).expect("the desk is readable");
        let file = |path: &Path| if path.is_file() { std::fs::read(path).expect("it is readable") } else { Vec::new() };
        let named = |path: PathBuf| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), file(&path));
        entries.map(|entry| named(entry.expect("the desk is readable").path())).collect()
    }

    /// Public labels that are all wrong, as `wrong.npy`: an honest server looks like a cheating one
    /// to whoever uses them.
    pub fn spoil_labels(&self) {
        self.write_array("wrong.npy", &load::<i64>(&self.path("py.npy")).mapv(|label| (label + 1) % 10));
    }

    /// A command in this folder; `line` is the binary's name and its arguments, separated by
    /// blanks.
    pub fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = Command::new(binary(words.next().expect("a line names a binary")));
        command.args(words).current_dir(self.0.path()).env("XDG_STATE_HOME", self.1.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, line: &str) -> Ended {
        Ended::new(line, self.command(line).output().expect("the binary runs"))
    }

    /// Runs a command that must succeed; its standard output.
    ///
    /// # Panics
    /// With everything it said if it fails.
    pub fn succeed(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
        ended.out
    }

    /// Runs a command that must fail with exit code `code`, say each of `phrases`, and leave every
    /// file as it was. Results of an earlier run, `labels.csv` and `r.json`, are planted if the
    /// line names them, and must be gone.
    ///
    /// # Panics
    /// If it does not.
    pub fn refuse(&self, code: i32, line: &str, phrases: &[&str]) -> Ended {
        let before = self.files();
        self.plant_stale(line);
        let ended = self.run(line);
        ended.failed(line, code, phrases);
        self.unchanged(line, &before);
        ended
    }

    /// Runs a client that must fail against a server at `address`, as [`Desk::refuse`] has it.
    ///
    /// # Panics
    /// If it does not.
    pub fn client_refuses(&self, code: i32, address: &str, more: &str, phrases: &[&str]) -> Ended {
        self.refuse(code, &client_line(address, more), phrases)
    }

    /// Runs a client against a server at `address`: `labels.csv`, `r.json`, a small batch, and
    /// `more`.
    pub fn client(&self, address: &str, more: &str) -> Ended {
        self.run(&client_line(address, more))
    }

    /// Starts a server of `plan.bin`.
    pub fn serve(&self, more: &[&str]) -> Server {
        self.serve_plan("plan.bin", more)
    }

    /// Starts a server of a plan.
    pub fn serve_plan(&self, plan: &str, more: &[&str]) -> Server {
        Server::start(&self.path(plan), more)
    }

    /// Asserts that the files are as they were.
    ///
    /// # Panics
    /// With the names of the files that are not.
    pub fn unchanged(&self, line: &str, before: &BTreeMap<String, Vec<u8>>) {
        let after = self.files();
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(before), "{line}: which files there are");
        let changed: Vec<_> = after.iter().filter(|(name, bytes)| before.get(*name) != Some(*bytes)).collect();
        assert!(changed.is_empty(), "{line}: changed {:?}", changed.iter().map(|(name, _)| name).collect::<Vec<_>>());
    }

    fn plant_stale(&self, line: &str) {
        for name in line.split_whitespace().filter(|word| ["labels.csv", "r.json"].contains(word)) {
            self.write(name, b"stale");
        }
    }
}

impl Ended {
    /// What a finished process left.
    ///
    /// # Panics
    /// If a signal ended it or it did not print text.
    pub fn new(line: &str, output: Output) -> Ended {
        let text = |bytes| String::from_utf8(bytes).unwrap_or_else(|error| panic!("{line}: {error}"));
        let code = output.status.code().unwrap_or_else(|| panic!("{line}: {}", output.status));
        Ended { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Asserts the exit code, that standard error says each of `phrases`, and that nothing
    /// panicked.
    ///
    /// # Panics
    /// With everything it said.
    pub fn failed(&self, line: &str, code: i32, phrases: &[&str]) {
        assert_eq!(self.code, code, "{line}: {self:?}");
        for phrase in phrases {
            assert!(self.err.contains(phrase), "{line}: {phrase:?} is missing: {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{line}: {}", self.err);
    }
}

fn client_line(address: &str, more: &str) -> String {
    let files = "--input x.npy --public-inputs px.npy --public-labels py.npy";
    format!("fusion-run plan.client.bin --role client --connect {address} {files} {CLIENT} {more}")
}
