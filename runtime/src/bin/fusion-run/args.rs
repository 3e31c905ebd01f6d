//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Parser, ValueEnum};
use fusion_catalogue::Keys;
use fusion_catalogue::ot::Choice;
use fusion_ir::op::Reveal;
use fusion_ir::soundness::Policy;
use fusion_runtime::ledger::SESSIONS_BITS;
use fusion_runtime::session::Offline;
use fusion_runtime::transport::tcp::{self, TcpOptions};
use fusion_runtime::transport::{Authority, Credentials, Fingerprint, Lane, Tls, Trust};
use fusion_runtime::{Error, Flow, Setting, memory};
use fusion_table::LabelFile;

/// What makes oblivious transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Correlations {
    /// Silent OT for large batches, else SoftSpokenOT
    Auto,
    /// SoftSpokenOT: 31 bits each
    Softspoken,
    /// Silent OT: half a bit each, in rounds of millions
    Silent,
}

/// What is done about samples that the input's format does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnClipped {
    /// Say so and go on
    Warn,
    /// Send nothing
    Refuse,
}

impl From<Correlations> for Choice {
    fn from(correlations: Correlations) -> Choice {
        match correlations {
            Correlations::Auto => Choice::Auto,
            Correlations::Softspoken => Choice::SoftSpoken,
            Correlations::Silent => Choice::Silent,
        }
    }
}

/// Runs a Fusion plan: private inference whose answers the client verifies.
///
/// Without --role both parties run in this process over loopback on the plan's demo samples. With
/// --role server the process owns the model and waits for a client; with --role client it owns the
/// inputs, and learns and checks the labels.
///
/// The environment variable FUSION_CPU forces the form of the inner loops: portable, neon, avx2,
/// avx2-vaes, avx512 or avx512-ifma. Without it the best one that the processor can run is used.
/// All compute the same.
///
/// A server counts clients, not connections: who connects and sends no hello is left alone.
///
/// Exit codes: 0 accepted (or finished without verification), 3 rejected by verification, 2 bad
/// usage or input, 4 the peer or the connection failed, 1 a bug.
#[derive(Debug, Parser)]
#[command(group = ArgGroup::new("trusted").multiple(true))]
#[command(name = "fusion-run", version, disable_version_flag = true, max_term_width = 100)]
pub struct Args {
    /// The compiled plan: plan.bin for the server and for the demonstration, plan.client.bin for
    /// the client
    #[arg(required_unless_present_any = ["keygen", "version", "show_ledger"])]
    plan: Option<PathBuf>,
    /// Which party this is
    #[arg(long, value_enum)]
    pub role: Option<Role>,

    /// Address to wait on, host:port; port 0 lets the system choose. The first line printed says
    /// which
    #[arg(long, value_name = "ADDR", help_heading = "Server")]
    pub listen: Option<String>,
    /// Most positions (copies and public samples included) that one session may have [default:
    /// 1048576]
    #[arg(long, value_name = "N", help_heading = "Server")]
    pub max_positions: Option<u64>,
    /// Positions that each client may have answered in all, over sessions and restarts [default: no
    /// limit]
    #[arg(long, value_name = "POSITIONS", help_heading = "Server")]
    pub budget: Option<u64>,
    /// Where spent budgets are kept [default: fusion/budget.redb in $XDG_STATE_HOME or
    /// ~/.local/state]
    #[arg(long, value_name = "FILE", requires = "budget", help_heading = "Server")]
    pub budget_file: Option<PathBuf>,
    /// Sessions to serve, one after the other, before exiting [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Server")]
    pub sessions: Option<u64>,

    /// Hang up on who has connected and not said hello after so long: no client, so no session
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600),
          help_heading = "Server")]
    pub hello_timeout: u64,

    /// The server's address, host:port; of several that offer the same plan each computes a part of
    /// the batch at the same time, and there is one verdict. If one fails, so has the batch
    #[arg(long, value_name = "ADDR,..", value_delimiter = ',', help_heading = "Client")]
    pub connect: Vec<String>,
    /// Ask the server whether it would serve this client under this plan, measure the network to
    /// it, and do nothing else: no session, no position. fusionc --network auto goes by what was
    /// measured
    #[arg(long, help_heading = "Client")]
    pub doctor: bool,
    /// With --doctor: say what a batch of so many queries would take there
    #[arg(long, value_name = "R", requires = "doctor", value_parser = clap::value_parser!(u64).range(1..=1 << 20),
          help_heading = "Client")]
    pub queries: Option<u64>,
    /// Queries: .npy of any number type that float32 holds, first axis the samples; or a table,
    /// .csv or .parquet, with the plan's columns
    #[arg(long, value_name = "X.npy", help_heading = "Client")]
    pub input: Option<PathBuf>,
    /// The column of --input (and of --probe-inputs) that identifies its rows: results have it in
    /// the place of `index`. It is not sent
    #[arg(long, value_name = "COLUMN", help_heading = "Client")]
    pub id: Option<String>,
    /// What to do about a sample of which more than 1 % of the elements are beyond the plan's input
    /// format [default: refuse]
    #[arg(long, value_enum, value_name = "warn|refuse", help_heading = "Client")]
    pub clipped: Option<OnClipped>,
    /// Public samples: like the queries, from the same distribution, never shown to the server
    #[arg(long, value_name = "PX.npy", help_heading = "Client")]
    pub public_inputs: Option<PathBuf>,
    /// Labels of the public samples: int64 .npy, one each or ranked in k columns, FILE.csv:COLUMN,
    /// or labels.csv; or their values, likewise. With one label each only the first of several
    /// revealed ranks is verified, and logits never
    #[arg(long, value_name = "PY.npy", help_heading = "Client")]
    pub public_labels: Option<LabelFile>,
    /// Known-answer probes: queries of earlier accepted batches under this plan, as --input was
    #[arg(long, value_name = "X.npy", requires = "probe_labels", help_heading = "Client")]
    pub probe_inputs: Option<PathBuf>,
    /// Everything accepted for the probes, all of which must come again: labels.csv or .parquet as
    /// it was written (or, where a plan reveals one label, int64 .npy)
    #[arg(long, value_name = "labels.csv", requires = "probe_inputs", help_heading = "Client")]
    pub probe_labels: Option<PathBuf>,
    /// Where accepted labels go: columns `index,label` (or `index,label_1,..`, or
    /// `index,label,logit_0,..`, or `index,value`), one row per query, as .csv, .parquet or, of
    /// labels alone, .npy
    #[arg(short, long, value_name = "labels.csv", help_heading = "Client")]
    pub output: Option<PathBuf>,
    /// What the plan may reveal of each position, most: label, topk:K or logits; or value, which a
    /// regressor answers. Everything revealed tells about the model, and is the server's to decide
    /// [default: label]
    #[arg(long, value_name = "WHAT", help_heading = "Client")]
    reveal: Option<Reveal>,

    /// Of a plan that reveals values: how far from its known value a public answer may be to be
    /// right. Accuracy is how often the honest model is as near; bits are about answers more than
    /// twice as far from the honest model's
    #[arg(long, value_name = "DISTANCE", help_heading = "Verification (client)")]
    pub tolerance: Option<f64>,
    /// A server that changes all labels at positions of its choice has one accepted where the
    /// honest model is right with probability at most 2^-BITS; without --catch so does one that
    /// gives one label to all inputs, or labels at random. One label forced at chosen positions is
    /// not planned for: the verdict prints what it reaches [default: 40]
    #[arg(long, value_name = "BITS", help_heading = "Verification (client)")]
    pub lambda: Option<f64>,
    /// Error rate of a bad server that must be caught with probability 0.99, instead of the demand
    /// on servers that ignore the inputs
    #[arg(long, value_name = "RATE", help_heading = "Verification (client)")]
    pub catch: Option<f64>,
    /// Probability at most of rejecting an honest server [default: 0.01]
    #[arg(long, value_name = "P", help_heading = "Verification (client)")]
    pub false_reject: Option<f64>,
    /// Accuracy that an honest server's model has, at least; below 1, some public errors are
    /// tolerated. The verdict rests on it: a claim that is too high proves less than it says
    /// [default: 1]
    #[arg(long, value_name = "RATE", help_heading = "Verification (client)")]
    pub accuracy: Option<f64>,
    /// The largest share of a label among inputs, if it is known [default: an upper bound from the
    /// public labels]
    #[arg(long, value_name = "SHARE", help_heading = "Verification (client)")]
    pub largest_share: Option<f64>,
    /// Wrong public answers to tolerate, instead of what --accuracy and --false-reject give
    #[arg(long, value_name = "N", help_heading = "Verification (client)")]
    pub tolerate: Option<u64>,
    /// Copies of each query, instead of the cheapest number
    #[arg(long, value_name = "B", help_heading = "Verification (client)")]
    pub copies: Option<u64>,
    /// Believe whatever the server answers: each query once, nothing else
    #[arg(long, help_heading = "Verification (client)")]
    pub no_verify: bool,

    /// Where every started session and the samples it used are recorded [default:
    /// fusion/ledger.redb in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE", conflicts_with = "no_ledger", help_heading = "Verification (client)")]
    pub ledger: Option<PathBuf>,
    /// Record nothing: neither earlier sessions nor samples used before are counted
    #[arg(long, help_heading = "Verification (client)")]
    pub no_ledger: bool,
    /// Print the sessions of the ledger, a JSON object each, and do nothing else
    #[arg(long, conflicts_with = "role", help_heading = "Verification (client)")]
    pub show_ledger: bool,
    /// Warn once a wrong label has passed in any session of the ledger with probability over
    /// 2^-BITS [default: lambda - 10, a thousand sessions]
    #[arg(long, value_name = "BITS", conflicts_with = "no_ledger", help_heading = "Verification (client)")]
    pub risk_budget: Option<f64>,

    /// Write a JSON report
    #[arg(long, value_name = "r.json")]
    pub report: Option<PathBuf>,
    /// Write the client's report as a page for a browser
    #[arg(long, value_name = "report.html")]
    pub html: Option<PathBuf>,
    /// Positions that run through the layers together, most; the server's bounds what it accepts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub micro_batch: Option<u32>,
    /// Memory that either party's process may take, by forecast: 3.5GB or 800MB, for example; it
    /// bounds the micro-batch [default: 4GB]
    #[arg(long, value_name = "SIZE", value_parser = memory::size)]
    pub memory: Option<u64>,
    /// Micro-batches at the same time, most: while one waits for the network, another computes
    /// [default: 4, or 2 where memory holds only smaller ones of 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=Lane::STREAMS as i64))]
    pub in_flight: Option<u8>,
    /// How oblivious transfers are made
    #[arg(long, value_enum, default_value_t = Correlations::Auto, help_heading = "Client")]
    pub correlations: Correlations,
    /// Key pairs of each position (layer, position or ahead): one for every layer that does not
    /// pack its results; one for all; or as for layer, and linear layers are computed on masks,
    /// ahead of their operands. Where a layer has a pair of its own, privacy of the inputs does not
    /// rest on key-dependent messages [default: ahead for up to 4 positions where --doctor measured
    /// the network to this server last and that is forecast to be clearly quicker; else layer where
    /// it adds at most 1 % to a position's bytes]
    #[arg(long, value_name = "WHICH", help_heading = "Client")]
    pub keys: Option<Keys>,
    /// Give up when the peer sends nothing for so long, or shows signs of life but sends no message
    /// for 20 times as long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    pub timeout: u64,
    /// This party's certificate and private key, in one PEM file: the connection is then encrypted
    /// and mutually authenticated (TLS 1.3), as it must be between machines. --keygen makes one
    #[arg(long, value_name = "FILE", requires = "trusted", requires = "role", help_heading = "Between machines")]
    pub identity: Option<PathBuf>,
    /// SHA-256 fingerprint of the other party's certificate, as --keygen printed it there; a server
    /// may name several clients
    #[arg(
        long,
        value_name = "FINGERPRINT",
        requires = "identity",
        group = "trusted",
        help_heading = "Between machines"
    )]
    pub peer: Vec<Fingerprint>,
    /// Certificates, in one PEM file, of an organisation's own authority: the other party may show
    /// one that it issued to --peer-name. Chain, time and purpose must be right
    #[arg(
        long,
        value_name = "FILE",
        requires = "identity",
        requires = "peer_name",
        group = "trusted",
        help_heading = "Between machines"
    )]
    pub authority: Option<PathBuf>,
    /// The authority's list of revoked certificates, in PEM or DER; one of every issuer in a chain.
    /// It must not have expired
    #[arg(long, value_name = "FILE", requires = "authority", help_heading = "Between machines")]
    pub revoked: Vec<PathBuf>,
    /// The other party's name, as its certificate has it (a subject alternative name); a server may
    /// name several clients
    #[arg(long, value_name = "NAME", requires = "authority", help_heading = "Between machines")]
    pub peer_name: Vec<String>,
    /// Make a new certificate and private key for --identity, print the fingerprint that the other
    /// party needs, and do nothing else
    #[arg(long, value_name = "FILE", exclusive = true, help_heading = "Between machines")]
    pub keygen: Option<PathBuf>,
    /// Allow other addresses than loopback without --identity: the connection is neither encrypted
    /// nor authenticated
    #[arg(long, conflicts_with = "identity", help_heading = "Between machines")]
    pub allow_plaintext: bool,
    /// Threads that compute [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub threads: Option<u64>,
    /// No progress bar and no summary
    #[arg(short, long)]
    pub quiet: bool,
    /// Print the version and do nothing else
    #[arg(short = 'V', long)]
    pub version: bool,
    /// With --version: print also which kernels are in use, and which this processor can run
    #[arg(long, requires = "version")]
    pub verbose: bool,
}

/// A party of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Owns the model; learns nothing.
    Server,
    /// Owns the inputs; learns the labels.
    Client,
}

impl Args {
    /// Refuses flags of another form of the command.
    pub fn check(&self) -> Result<(), Error> {
        let server = [
            ("--listen", self.listen.is_some()),
            ("--max-positions", self.max_positions.is_some()),
            ("--budget", self.budget.is_some()),
            ("--sessions", self.sessions.is_some()),
        ];
        let client = [
            ("--connect", !self.connect.is_empty()),
            ("--input", self.input.is_some()),
            ("--public-inputs", self.public_inputs.is_some()),
            ("--public-labels", self.public_labels.is_some()),
            ("--probe-inputs", self.probe_inputs.is_some()),
            ("--id", self.id.is_some()),
            ("--output", self.output.is_some()),
            ("--reveal", self.reveal.is_some()),
            ("--clipped", self.clipped.is_some()),
            ("--ledger", self.ledger.is_some()),
            ("--no-ledger", self.no_ledger),
            ("--risk-budget", self.risk_budget.is_some()),
            ("--doctor", self.doctor),
        ];
        let verification = [
            ("--tolerance", self.tolerance.is_some()),
            ("--lambda", self.lambda.is_some()),
            ("--catch", self.catch.is_some()),
            ("--false-reject", self.false_reject.is_some()),
            ("--accuracy", self.accuracy.is_some()),
            ("--largest-share", self.largest_share.is_some()),
            ("--tolerate", self.tolerate.is_some()),
            ("--copies", self.copies.is_some()),
        ];
        let no_verify = [("--no-verify", self.no_verify)];
        let refuse = |flags: &[(&str, bool)], why: &str| match flags.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Error::Usage(format!("{flag} {why}"))),
            None => Ok(()),
        };
        if self.role != Some(Role::Server) {
            refuse(&server, "needs --role server")?;
        }
        if self.role != Some(Role::Client) {
            refuse(&client, "needs --role client")?;
        }
        if self.role == Some(Role::Server) {
            refuse(&verification, "is the client's: the server has no part in verification")?;
            refuse(&no_verify, "is the client's: the server has no part in verification")?;
            refuse(&[("--keys", self.keys.is_some())], "is the client's, who tells the server")?;
            refuse(&[("--html", self.html.is_some())], "is the client's: --report writes the server's")?;
        }
        if self.no_verify {
            refuse(&verification, "contradicts --no-verify")?;
            refuse(&client[2..5], "contradicts --no-verify")?;
        }
        match self.risk_budget {
            Some(bits) if !(bits.is_finite() && bits >= 0.0) => {
                Err(Error::Usage(format!("--risk-budget must be finite and not negative, but is {bits}")))
            }
            _ => Ok(()),
        }
    }

    /// The compiled plan.
    pub fn plan(&self) -> &Path {
        self.plan.as_deref().unwrap_or(Path::new(""))
    }

    /// The column that identifies rows.
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or("index")
    }

    /// What the client's user accepts to be revealed.
    pub fn reveal(&self) -> Reveal {
        self.reveal.unwrap_or(Reveal::Label)
    }

    /// The probability, as `-log2`, that all sessions together may have had of a wrong label.
    pub fn risk_budget(&self) -> f64 {
        self.risk_budget.unwrap_or((self.policy().lambda - SESSIONS_BITS).max(0.0))
    }

    /// The client's demands; the safe default for each that is not made.
    pub fn policy(&self) -> Policy {
        let default = Policy::default();
        Policy {
            lambda: self.lambda.unwrap_or(default.lambda),
            catch: self.catch,
            largest_share: self.largest_share,
            false_reject: self.false_reject.unwrap_or(default.false_reject),
            accuracy: self.accuracy.unwrap_or(default.accuracy),
            tolerate: self.tolerate,
            copies: self.copies,
        }
    }

    /// How the batch goes through the layers.
    pub fn flow(&self) -> Flow {
        let offline = Offline { choice: self.correlations.into(), ..Offline::default() };
        Flow {
            micro_batch: self.micro_batch,
            streams: self.in_flight,
            memory_bytes: self.memory,
            offline,
            keys: self.keys,
            ..Flow::default()
        }
    }

    /// How this party uses the network.
    ///
    /// # Errors
    /// [`Error::Usage`] if its credentials cannot be used.
    pub fn tcp(&self) -> Result<TcpOptions, Error> {
        let tls = |path: &PathBuf| {
            let authority = self.authority.as_ref().map(|path| Authority::read(path, &self.revoked)).transpose()?;
            let trust = Trust { fingerprints: self.peer.clone(), authority, names: self.peer_name.clone() };
            Tls::with(&Credentials::read(path)?, &trust)
        };
        let tls = self.identity.as_ref().map(tls).transpose()?;
        Ok(TcpOptions { timeout: Duration::from_secs(self.timeout), tls, allow_plaintext: self.allow_plaintext })
    }

    /// The servers of `--connect`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is none; as [`Args::tcp`].
    pub fn servers(&self) -> Result<Vec<tcp::Server>, Error> {
        if self.connect.is_empty() || self.connect.iter().any(String::is_empty) {
            return Err(Error::Usage("--connect is missing".into()));
        }
        if let Some((at, twice)) =
            self.connect.iter().enumerate().find(|(at, address)| self.connect[..*at].contains(address))
        {
            return Err(Error::Usage(format!(
                "--connect names {twice} twice, at {} and before: two sessions at once are two servers'",
                at + 1
            )));
        }
        let options = self.tcp()?;
        let server = |address: &String| tcp::Server { address: address.clone(), options: options.clone() };
        Ok(self.connect.iter().map(server).collect())
    }

    /// A flag without which this form of the command cannot run.
    pub fn need<'a, T>(&self, flag: &str, value: &'a Option<T>) -> Result<&'a T, Error> {
        value.as_ref().ok_or_else(|| Error::Usage(format!("{flag} is missing")))
    }
}

/// An error as this program says it, settings by the names of their flags.
pub fn said(error: &Error) -> String {
    match error {
        Error::Setting { setting: Setting::Catch, why } => why.replace("`catch`", "--catch"),
        _ => error.to_string() + &hint(error),
    }
}

/// What this program calls the setting that an error is about, to follow the error's text.
fn hint(error: &Error) -> String {
    let Error::Setting { setting, .. } = error else { return String::new() };
    match setting {
        Setting::Reveal(found) => format!(": --reveal {found} accepts that"),
        Setting::Memory { streams: 1 } => " (--memory)".into(),
        Setting::Memory { .. } => " (--memory; --in-flight 1 needs less)".into(),
        Setting::Credentials => " (--identity; --keygen makes a file for it)".into(),
        Setting::Peers => ": --identity needs --peer, or --authority and --peer-name".into(),
        Setting::Plaintext => {
            ": --identity with --peer or --authority protects it; --allow-plaintext permits it (on a private link, or \
                               through a tunnel of your own)"
                .into()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &str) -> Result<Args, String> {
        let args = Args::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        args.check().map_err(|error| error.to_string())?;
        Ok(args)
    }

    #[test]
    fn the_three_forms_parse() {
        checked("fusion-run plan.bin").unwrap();
        checked("fusion-run plan.bin --lambda 20").unwrap();
        checked("fusion-run plan.bin --role server --listen 127.0.0.1:0 --max-positions 9").unwrap();
        let client = checked(
            "fusion-run plan.client.bin --role client --connect localhost:7 --input X.npy --public-inputs PX.npy \
             --public-labels PY.npy -o labels.csv --report r.json --lambda 20 --catch 0.1 --false-reject 0.05 \
             --accuracy 0.9 --largest-share 0.4 --tolerate 3 --copies 2",
        )
        .unwrap();
        let expected = Policy {
            lambda: 20.0,
            catch: Some(0.1),
            largest_share: Some(0.4),
            false_reject: 0.05,
            accuracy: 0.9,
            tolerate: Some(3),
            copies: Some(2),
        };
        assert_eq!(client.policy(), expected);
    }

    #[test]
    fn the_policy_is_safe_unless_said_otherwise() {
        let args = checked("fusion-run p --role client").unwrap();
        assert_eq!((args.policy(), args.risk_budget(), args.no_ledger), (Policy::default(), 30.0, false));
        assert_eq!(checked("fusion-run p --role client --lambda 8").unwrap().risk_budget(), 0.0);
        assert_eq!(checked("fusion-run p --role client --risk-budget 7.5").unwrap().risk_budget(), 7.5);
    }

    #[test]
    fn flags_of_another_form_are_refused() {
        for (line, why) in [
            ("fusion-run p --listen a:1", "--listen needs --role server"),
            ("fusion-run p --role client --sessions 2", "--sessions needs --role server"),
            ("fusion-run p --role server --input x", "--input needs --role client"),
            ("fusion-run p --role server --lambda 3", "--lambda is the client's"),
            ("fusion-run p --role server --no-verify", "--no-verify is the client's"),
            ("fusion-run p --role client --no-verify --copies 3", "--copies contradicts --no-verify"),
            ("fusion-run p --role client --no-verify --public-inputs x", "--public-inputs contradicts --no-verify"),
            ("fusion-run p --role nobody", "invalid value 'nobody'"),
            ("fusion-run p --role client --probe-inputs x", "--probe-labels <labels.csv>"),
            ("fusion-run p --role server --probe-inputs x --probe-labels y", "--probe-inputs needs --role client"),
            ("fusion-run p --role client --no-verify --probe-inputs x --probe-labels y", "--probe-inputs contradicts"),
            ("fusion-run p --ledger l", "--ledger needs --role client"),
            ("fusion-run p --no-ledger", "--no-ledger needs --role client"),
            ("fusion-run p --clipped warn", "--clipped needs --role client"),
            ("fusion-run p --reveal logits", "--reveal needs --role client"),
            ("fusion-run p --role server --tolerance 1", "--tolerance is the client's"),
            ("fusion-run p --role client --no-verify --tolerance 1", "--tolerance contradicts --no-verify"),
            ("fusion-run p --role client --reveal all", "label, topk:K, logits or value"),
            ("fusion-run p --in-flight 5", "invalid value '5'"),
            ("fusion-run p --memory 3", "3.5GB or 800MB"),
            ("fusion-run p --role client --no-ledger --ledger l", "cannot be used with"),
            ("fusion-run p --role client --no-ledger --risk-budget 3", "cannot be used with"),
            ("fusion-run p --role client --risk-budget nan", "--risk-budget must be finite"),
            ("fusion-run p --role client --budget 7", "--budget needs --role server"),
            ("fusion-run p --role server --budget-file b", "--budget <POSITIONS>"),
            ("fusion-run p --timeout 0", "invalid value '0'"),
            ("fusion-run p --keys both", "none of layer, position and ahead"),
            ("fusion-run p --role server --keys layer", "--keys is the client's"),
        ] {
            let text = checked(line).unwrap_err();
            assert!(text.contains(why), "{line}: {text}");
        }
    }
}
