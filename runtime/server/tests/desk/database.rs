//! A PostgreSQL server of a test's own: Debian's programs, a folder of its own, loopback.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::until;

/// Set where PostgreSQL must be there: then nothing is skipped.
const NEEDED: &str = "FUSION_NEED_POSTGRES";

/// What the role `fusion` says to be let in.
pub const PASSWORD: &str = "correct-horse-battery";

/// A server that runs; ended when dropped.
pub struct Database {
    folder: tempfile::TempDir,
    programs: PathBuf,
    pub port: u16,
    child: Option<Child>,
}

/// Where PostgreSQL's programs are, the newest of Debian's first.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let has_all = |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).exists());
    folders.into_iter().find(has_all)
}

/// A program as somebody whom PostgreSQL accepts: it refuses to be run by root.
fn command(program: &Path) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

impl Database {
    /// One with an empty database `fusion`, owned by the role `fusion`; `None`, and a loud word, if
    /// there are no programs.
    pub fn start() -> Option<Database> {
        // Ports that the system gives to nobody who does not ask for them: a database that is
        // stopped must find its own again.
        let first = u64::from(std::process::id()) * 7919 + std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
        Database::at_one_of((0..50).map(|turn| 10_000 + ((first + turn * 101) % 20_000) as u16))
    }

    /// As [`Database::start`], at the first of these ports that nobody has.
    pub fn at_one_of(ports: impl IntoIterator<Item = u16>) -> Option<Database> {
        let Some(programs) = programs() else {
            let why = "budgets in PostgreSQL need its server (Debian: apt-get install postgresql)";
            assert!(std::env::var_os(NEEDED).is_none(), "{NEEDED} is set: {why}");
            // Not by a macro, whose words are lost where a test succeeds.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database { folder, programs, port: 0, child: None };
        // The owner of the folder is whoever runs the server.
        let _ = Command::new("chown").arg("postgres").arg(database.folder.path()).stderr(Stdio::null()).status();
        let made = command(&database.programs.join("initdb"))
            .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--username=boss", "--auth-local=trust"])
            .arg("--auth-host=scram-sha-256")
            .arg(database.data())
            .current_dir("/")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let found = ports.into_iter().any(|port| {
            database.port = port;
            database.try_to_begin(&[])
        });
        assert!(found, "no port: {}", database.log());
        database.boss(&format!("CREATE ROLE fusion LOGIN PASSWORD '{PASSWORD}'"));
        database.boss("CREATE DATABASE fusion OWNER fusion");
        Some(database)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it again, with more settings, and waits until it answers.
    pub fn begin(&mut self, settings: &[String]) {
        until("the database is back", || self.try_to_begin(settings).then_some(()));
    }

    /// Whether it answers; else it has ended, since somebody else has its port, for example.
    fn try_to_begin(&mut self, settings: &[String]) -> bool {
        let mut command = command(&self.programs.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        // What is killed here are programs, not the system, so its memory of files will do.
        command.args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-p", &self.port.to_string()]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let answers = until("the database answers", || {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some());
            if ended { Some(false) } else { self.ask("postgres", "SELECT 1").ok().map(|_| true) }
        });
        if !answers {
            self.child = None;
        }
        answers
    }

    /// Ends it, connections and all.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // To the program itself: QUIT has it end at once, and its processes with it.
        let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
        let _ = child.wait();
    }

    /// Stops all its processes in their tracks, or lets them go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let Some(child) = &self.child else { return };
        let main = child.id().to_string();
        // None if it has ended by itself.
        let children = std::fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap_or_default();
        for process in children.split_whitespace().chain([main.as_str()]) {
            // One of them may have ended by itself.
            let _ = Command::new("kill").args([signal, process]).stderr(Stdio::null()).status();
        }
    }

    /// The address for a configuration.
    pub fn address(&self) -> String {
        format!("postgresql://fusion@127.0.0.1:{}/fusion", self.port)
    }

    /// The budget's table of a configuration that has the password from `password` in its folder.
    pub fn config(&self, positions: u64) -> String {
        let address = self.address();
        format!("[budget]\npositions = {positions}\npostgres = \"{address}\"\npassword_file = \"password\"\n")
    }

    /// What the database says to a statement in `psql`, without headings.
    pub fn says(&self, statement: &str) -> String {
        self.ask("fusion", statement).unwrap()
    }

    /// A session of `psql` that has done a statement in a transaction, which lasts until it is
    /// dropped.
    pub fn hold(&self, statement: &str) -> Held {
        let mut psql = self.psql("fusion");
        let mut child = psql.args(["-XAtq"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut words = child.stdin.take().unwrap();
        write!(words, "BEGIN;\n{statement};\n\\echo done\n").unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "done"), "{statement}");
        Held(Some(words), child)
    }

    /// What `psql` says to a script, run by the role `fusion` in `folder`: whether all went well,
    /// and the text.
    pub fn script(&self, folder: &Path, script: &str) -> (bool, String) {
        std::fs::write(folder.join("script.sql"), script).unwrap();
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "fusion", "-d", "fusion"]);
        psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-f", "script.sql"]).env("PGPASSWORD", PASSWORD);
        let output = psql.current_dir(folder).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.success(), text.concat())
    }

    /// Writes a file that only the server reads; its path.
    pub fn keep(&self, name: &str, text: &str) -> String {
        let path = self.data().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let _ = Command::new("chown").arg("postgres").arg(&path).stderr(Stdio::null()).status();
        path.display().to_string()
    }

    fn boss(&self, statement: &str) {
        self.ask("postgres", statement).unwrap();
    }

    fn ask(&self, name: &str, statement: &str) -> Result<String, String> {
        let mut psql = self.psql(name);
        let output = psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        if output.status.success() { Ok(out) } else { Err(err) }
    }

    fn psql(&self, name: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.arg("-h").arg(self.folder.path()).args(["-p", &self.port.to_string(), "-U", "boss", "-d", name]);
        psql
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

/// A transaction that is under way.
pub struct Held(Option<ChildStdin>, Child);

impl Drop for Held {
    fn drop(&mut self) {
        // psql ends with its input, and so does the transaction.
        self.0 = None;
        let _ = self.1.wait();
    }
}

/// Also while a test panics, so nothing here does.
impl Drop for Database {
    fn drop(&mut self) {
        self.freeze(false);
        self.stop();
    }
}
