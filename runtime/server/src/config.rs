//! The configuration file: what it may hold, its defaults, and what is made of it.

mod budgets;
mod clients;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fusion_runtime::service::{Capacity, Deadlines, Hosted, Profile, Settings};
use fusion_runtime::session::Limits;
use fusion_runtime::transport::tcp::{Peer, TcpOptions};
use fusion_runtime::transport::{Authority, Credentials, Lane, Tls, Trust};
use fusion_runtime::{Error, Flow, Identity, PlanFile, Server, memory};
use serde::Deserialize;

pub use budgets::{BudgetConfig, Kept};
use clients::Key;
pub use clients::{Client, ClientLimits};

/// A configuration. Paths are relative to the folder of its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address to wait on, `host:port`. Not reloaded.
    pub listen: String,
    /// The server's certificate and private key in one PEM file; needed unless `listen` is
    /// loopback.
    pub identity: Option<PathBuf>,
    /// The certificates of an organisation's own authority in one PEM file: it may vouch for
    /// clients by their names.
    pub authority: Option<PathBuf>,
    /// Its lists of revoked certificates, in PEM or DER. One that has expired lets nobody in.
    #[serde(default)]
    pub revoked: Vec<PathBuf>,
    /// Allows other addresses than loopback without `identity`.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Threads that compute, for all sessions together; one per core if not given. Not reloaded.
    pub threads: Option<usize>,
    /// What all sessions share.
    #[serde(default)]
    pub limits: Shares,
    /// What clients may have who do not say otherwise for themselves.
    #[serde(default)]
    pub client_defaults: ClientLimits,
    /// Positions that each client may have answered in all.
    pub budget: Option<BudgetConfig>,
    /// Where health and metrics are asked for. Not reloaded.
    pub http: Option<Http>,
    /// What is written about what happens.
    #[serde(default)]
    pub log: Log,
    /// A report of each session.
    pub reports: Option<Reports>,
    /// The models, by name.
    pub plans: BTreeMap<String, PlanConfig>,
    /// The clients, by name. With `identity`, nobody else is let in.
    #[serde(default)]
    pub clients: BTreeMap<String, Client>,
}

/// What all sessions share. Times are in seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shares {
    /// Memory of the process with all its sessions, by forecast.
    pub memory: Size,
    /// Most sessions at once.
    pub sessions: usize,
    /// Most clients that wait for their turn.
    pub queue: usize,
    /// How long one waits, most: clients give up after twice their own `--timeout`.
    pub queue_wait_s: u64,
    /// Most connections without a hello.
    pub pending: usize,
    /// From the connection to the hello, most.
    pub hello_timeout_s: u64,
    /// A client that is silent for so long is given up.
    pub stall_timeout_s: u64,
    /// A session takes so long, most.
    pub session_timeout_s: u64,
    /// How long sessions get to end when the service is told to.
    pub drain_s: u64,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares {
            memory: Size(memory::LIMIT_BYTES),
            sessions: 16,
            queue: 64,
            queue_wait_s: 100,
            pending: 128,
            hello_timeout_s: 10,
            stall_timeout_s: 60,
            session_timeout_s: 6 * 3600,
            drain_s: 60,
        }
    }
}

/// Health and metrics over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where: it is neither encrypted nor authenticated.
    pub listen: SocketAddr,
}

/// Logs, which go to standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`. Not reloaded.
    pub format: LogFormat,
    /// `error`, `warn`, `info` or `debug`.
    pub level: LogLevel,
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object.
    Json,
}

/// What is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What the operator has to look at.
    Error,
    /// And sessions that failed.
    Warn,
    /// And all sessions.
    Info,
    /// And stray connections.
    Debug,
}

/// Reports of sessions, one JSON file each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reports {
    /// The folder, which holds nothing else.
    pub directory: PathBuf,
    /// So many of the newest are kept.
    #[serde(default = "thousand")]
    pub keep: usize,
}

fn thousand() -> usize {
    1000
}

/// A model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// The plan with weights.
    pub file: PathBuf,
    /// Most positions of a session.
    pub max_positions: Option<u64>,
    /// Most positions that run through the layers together; by default as many as fit in memory.
    pub micro_batch: Option<u32>,
    /// Most micro-batches of a session at the same time.
    pub in_flight: Option<u8>,
}

/// Bytes, written as a number with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Size, String> {
        memory::size(&text).map(Size)
    }
}

impl Config {
    /// Reads a configuration. What it says is looked at when it is put to use.
    ///
    /// # Errors
    /// [`Error::Usage`] names the file, the line and what is wrong there.
    pub fn read(path: &Path) -> Result<Config, Error> {
        let refuse = |why: String| Error::Usage(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        // It shows the line, whatever stands there.
        let mut config: Config = toml::from_str(&text).map_err(|error| refuse(veil(&error.to_string())))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.paths().for_each(|path| *path = folder.join(&*path));
        config.check().map_err(refuse)?;
        Ok(config)
    }

    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let plans = self.plans.values_mut().map(|plan| &mut plan.file);
        let budget = self.budget.iter_mut().flat_map(BudgetConfig::paths);
        let reports = self.reports.iter_mut().map(|reports| &mut reports.directory);
        let authority = self.authority.iter_mut().chain(&mut self.revoked);
        plans.chain(self.identity.iter_mut()).chain(authority).chain(budget).chain(reports)
    }

    /// What can be seen without reading other files.
    fn check(&self) -> Result<(), String> {
        let Shares { sessions, pending, hello_timeout_s, stall_timeout_s, session_timeout_s, .. } = self.limits;
        for (name, value) in [
            ("limits.sessions", sessions as u64),
            ("limits.pending", pending as u64),
            ("limits.hello_timeout_s", hello_timeout_s),
            ("limits.stall_timeout_s", stall_timeout_s),
            ("limits.session_timeout_s", session_timeout_s),
            ("threads", self.threads.unwrap_or(1) as u64),
        ] {
            if !(1..=1 << 32).contains(&value) {
                return Err(format!("{name} is {value}, and must be at least 1 and at most {}", 1u64 << 32));
            }
        }
        if self.plans.is_empty() {
            return Err("there is no plan to serve: [plans.NAME] with file = \"plan.bin\" names one".into());
        }
        for (name, plan) in &self.plans {
            if plan.micro_batch == Some(0) || plan.in_flight.is_some_and(|n| n == 0 || usize::from(n) > Lane::STREAMS) {
                let most = Lane::STREAMS;
                return Err(format!("plans.{name}: micro_batch is at least 1, in_flight is 1 to {most}"));
            }
        }
        if let Some(budget) = &self.budget {
            budget.check().map_err(|why| format!("budget: {why}"))?;
        }
        match (&self.identity, self.clients.is_empty()) {
            (Some(_), true) => Err("with identity, [clients.NAME] says by fingerprints or names who is let in".into()),
            (None, false) => Err("[clients.NAME] knows clients by their certificates: that needs identity".into()),
            _ if self.authority.is_none() && !self.revoked.is_empty() => {
                Err("revoked is of an authority: that needs authority".into())
            }
            _ => match self.clients.iter().find(|(_, client)| !client.names.is_empty()) {
                Some((name, _)) if self.authority.is_none() => {
                    Err(format!("clients.{name}: an authority vouches for names: that needs authority"))
                }
                None if self.authority.is_some() => {
                    Err("authority vouches for clients by the names that [clients.NAME] has, and none has any".into())
                }
                _ => Ok(()),
            },
        }
    }

    /// The times and numbers that all sessions share.
    fn capacity(&self) -> Capacity {
        let Shares { memory, sessions, queue, queue_wait_s, .. } = self.limits;
        let memory_bytes = memory.0.saturating_sub(memory::PROCESS_BYTES);
        Capacity { memory_bytes, sessions, queue, patience: Duration::from_secs(queue_wait_s) }
    }

    /// How connections are opened.
    ///
    /// # Errors
    /// [`Error::Usage`] or [`Error::Setting`] if the certificates do not do.
    pub fn tcp(&self) -> Result<TcpOptions, Error> {
        let mut trust = Trust::default();
        for (key, _) in self.known()? {
            match key {
                Key::Fingerprint(fingerprint) => trust.fingerprints.push(fingerprint),
                Key::Name(name) => trust.names.push(name),
            }
        }
        let tls = |path: &PathBuf| {
            let authority = self.authority.as_ref().map(|path| Authority::read(path, &self.revoked)).transpose()?;
            Tls::with(&Credentials::read(path)?, &Trust { authority, ..trust })
        };
        let tls = self.identity.as_ref().map(tls).transpose()?;
        let timeout = Duration::from_secs(self.limits.stall_timeout_s);
        Ok(TcpOptions { timeout, tls, allow_plaintext: self.allow_plaintext })
    }

    /// All that a service goes by, with budgets in `kept`. Plans are read and checked.
    ///
    /// # Errors
    /// As [`PlanFile::open`], [`Server::of_file`] and [`Settings::new`].
    pub fn settings(&self, kept: Option<&Kept>) -> Result<Settings, Error> {
        let budget = self.budget(kept)?;
        let mut plans = Vec::new();
        for (name, plan) in &self.plans {
            let named = |error: Error| match error {
                Error::Setting { why, .. } => Error::Usage(format!("plans.{name}: {why} (limits.memory)")),
                other => other,
            };
            let file = PlanFile::open(&plan.file)?;
            let memory_bytes = Some(self.limits.memory.0);
            let (micro_batch, streams) = (plan.micro_batch, plan.in_flight);
            let flow = Flow { micro_batch, streams, memory_bytes, ..Flow::default() };
            let limits = Limits::of(file.plan(), flow).map_err(named)?;
            let limits = Limits { positions: plan.max_positions.unwrap_or(limits.positions), ..limits };
            let server = Server::of_file(file, flow).map_err(named)?.limits(limits);
            let server = budget.iter().fold(server, |server, budget| server.budget(budget.clone()));
            plans.push(Hosted::new(name, server)?);
        }
        let (known, defaults) = (self.known()?, self.client_defaults);
        let directory = move |peer: &Peer| {
            let known = known.iter().find(|(key, _)| key.is_of(peer));
            let stranger = || Profile {
                name: peer.address.to_string(),
                identity: Identity::of(peer),
                quota: ClientLimits::default().quota(&defaults),
            };
            known.map_or_else(stranger, |(_, profile)| profile.clone())
        };
        let deadlines = Deadlines {
            hello: Duration::from_secs(self.limits.hello_timeout_s),
            session: Some(Duration::from_secs(self.limits.session_timeout_s)),
        };
        let pending = self.limits.pending;
        Settings::new(plans, self.tcp()?, Box::new(directory), self.capacity(), deadlines, pending)
    }
}

/// A text without what may be a password in the address of a database.
fn veil(text: &str) -> String {
    let (mut veiled, mut rest) = (String::new(), text);
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '&');
    while let Some((at, mark)) =
        ["://", "password="].iter().filter_map(|mark| Some((rest.find(mark)? + mark.len(), *mark))).min()
    {
        veiled.push_str(&rest[..at]);
        rest = &rest[at..];
        let value = rest.find(ends).unwrap_or(rest.len());
        let secret = if mark == "://" { rest[..value].rfind('@').unwrap_or(0) } else { value };
        veiled.push_str(if secret > 0 { "***" } else { "" });
        rest = &rest[secret..];
    }
    veiled + rest
}

#[cfg(test)]
mod tests {
    use fusion_runtime::service::Quota;

    use super::*;

    pub(super) fn read(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::read(&path).map_err(|error| error.to_string())?;
        assert!(config.plans.values().all(|plan| plan.file.starts_with(folder.path())));
        Ok(config)
    }

    pub(super) const LEAST: &str = "listen = \"127.0.0.1:0\"\n[plans.one]\nfile = \"plan.bin\"\n";

    #[test]
    fn little_is_needed_and_the_rest_has_defaults() {
        let config = read(LEAST).unwrap();
        assert_eq!(config.limits.memory, Size(4_000_000_000));
        assert_eq!((config.limits.sessions, config.log.level), (16, LogLevel::Info));
        assert!(config.http.is_none() && config.budget.is_none());
        let quota = config.client_defaults.quota(&ClientLimits::default());
        assert_eq!(quota, Quota::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |more: &str| format!("{more}\n{LEAST}");
        for (text, why) in [
            (String::new(), "missing field `listen`"),
            ("listen = \"127.0.0.1:0\"\n[plans]".into(), "there is no plan to serve"),
            (with("lisen = 3"), "unknown field `lisen`"),
            (format!("{LEAST}[limits]\nmemory = \"4\""), "a size is a number with a unit"),
            (format!("{LEAST}[limits]\nsessions = 0"), "limits.sessions is 0"),
            (format!("{LEAST}in_flight = 5"), "in_flight is 1 to 4"),
            (with("identity = \"s.pem\""), "who is let in"),
            (format!("{LEAST}[clients.ann]\nfingerprints = []"), "needs identity"),
            (with("identity = \"s.pem\"\nauthority = \"ca.pem\"") + "[clients.ann]\nfingerprints = []", "none has any"),
            (with("identity = \"s.pem\"") + "[clients.ann]\nnames = [\"ann\"]", "that needs authority"),
            (with("identity = \"s.pem\"\nrevoked = [\"l\"]") + "[clients.ann]\nfingerprints = []", "needs authority"),
            (format!("{LEAST}[log]\nlevel = \"loud\""), "unknown variant `loud`"),
            (format!("{LEAST}[budget]\npositions = 1"), "budget: file or postgres says where"),
            (format!("{LEAST}[budget]\npositions = 1\nfile = \"f\"\npostgres = \"p\""), "file or postgres says"),
            (format!("{LEAST}[budget]\npositions = 1\nfile = \"f\"\npassword_file = \"p\""), "are of postgres"),
            (format!("{LEAST}[budget]\npositions = 1\npostgres = \"p\""), "budget: postgres: this is no address"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains("server.toml: ") && error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_may_be_a_password_is_not_shown() {
        let line = "postgress = \"postgresql://ann:hunter2@db/b\"";
        let error = read(&format!("{LEAST}[budget]\npositions = 1\n{line}")).unwrap_err();
        assert!(error.contains("unknown field `postgress`") && !error.contains("hunter2"), "{error}");
        for (text, veiled) in [
            ("a://u:p@q@h/b c://h/b", "a://***@h/b c://h/b"),
            ("x password=p\u{e9}'s q", "x password=***'s q"),
            ("h?password=p&x=y://z@", "h?password=***&x=y://***@"),
            ("\u{e9}://\u{e9}", "\u{e9}://\u{e9}"),
        ] {
            assert_eq!(veil(text), veiled);
        }
    }
}
