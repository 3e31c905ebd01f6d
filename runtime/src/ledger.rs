//! The client's ledger: every session that it started, and what it has already shown to a server.
//!
//! Verification lets a wrong label pass with some small probability per session, so sessions have
//! to be counted, those too that failed: to an attacker an abort is another try. A session is
//! therefore [written down](Ledger::start) before its first byte is sent, and what became of it
//! [afterwards](Ledger::finish); a process that dies in between leaves it as started. Nothing here
//! starts a session again.
//!
//! The ledger also knows by digest which samples were part of a session. A public sample says
//! something about a model's accuracy once; a second time it says the same, and repeated sessions
//! with it are tries. A sample is known by the numbers that the user gave ([`RowDigest`]), whatever
//! the plan: another plan's number formats, which the server chooses, make nothing fresh. What is
//! stored is SHA-256 over a salt of the ledger's own and that digest, so that a sample cannot be
//! looked up in a ledger by its published hash; who has the file can still test a guess.

mod entry;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fusion_ir::Plan;
use redb::{MultimapTableDefinition, ReadableMultimapTable, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use entry::Entry;

use crate::Error;
use crate::fusion::{Job, Row, RowDigest};
use crate::session::hello::hex;
use crate::store::Store;

/// By which much the risk of all sessions together may by default exceed that of one, in bits: a
/// thousand sessions.
pub const SESSIONS_BITS: f64 = 10.0;

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is running, or the process was ended.
    Started,
    /// The answers were accepted.
    Accepted,
    /// The answers were rejected.
    Rejected,
    /// It ended, and nothing was verified.
    Unverified,
    /// It failed before there was a verdict, for this reason.
    Failed(String),
}

/// One session as the ledger has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it started: seconds since 1970, by this machine's clock.
    pub started_unix_s: u64,
    /// The server's address.
    pub server: String,
    /// The plan's digest in hexadecimal.
    pub plan_digest: String,
    /// `R`, queries.
    pub queries: u64,
    /// `B`, copies of each.
    pub copies: u64,
    /// `T`, public samples.
    pub public: u64,
    /// Those of them that no session before had, each counted once.
    pub public_fresh: u64,
    /// `u`, public errors tolerated.
    pub tolerated: u64,
    /// `K`, known-answer probes.
    pub probes: u64,
    /// `-log2` of the probability that a wrong label at fixed positions was accepted
    /// ([`Batch::lambda_bits`] at the accuracy claimed), rounded down; `None` if nothing was
    /// verified.
    ///
    /// [`Batch::lambda_bits`]: fusion_ir::soundness::Batch::lambda_bits
    pub lambda_bits: Option<f64>,
    /// What became of it.
    pub outcome: Outcome,
}

/// A ledger file.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Store,
    salt: [u8; 32],
}

const SALT: TableDefinition<(), [u8; 32]> = TableDefinition::new("salt");
/// [`FORMAT`]. What a sample is known by tells formats apart: its quantised values under one plan
/// where there is no such table, the numbers that a model was given of it in format 2, and the
/// numbers that the user gave since.
const VERSION: TableDefinition<(), u32> = TableDefinition::new("version");
const FORMAT: u32 = 3;
/// A [`Record`] each, as JSON.
const SESSIONS: TableDefinition<u64, &str> = TableDefinition::new("sessions");
/// Digests of samples, and the sessions that had them.
const SAMPLES: MultimapTableDefinition<[u8; 32], u64> = MultimapTableDefinition::new("samples");
const MAX_REASON_CHARS: usize = 300;

impl Ledger {
    /// Opens the ledger at `path`, or begins one there.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be used; [`Error::Usage`] if another version of this
    /// program wrote it.
    pub fn open(path: &Path) -> Result<Ledger, Error> {
        let store = Store::new(path)?;
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh)?;
        let (salt, format) = store.transaction(|transaction| {
            let mut table = transaction.open_table(SALT)?;
            let found = table.get(())?.map(|salt| salt.value());
            let mut version = transaction.open_table(VERSION)?;
            if found.is_none() {
                table.insert((), fresh)?;
                version.insert((), FORMAT)?;
            }
            transaction.open_table(SESSIONS)?;
            transaction.open_multimap_table(SAMPLES)?;
            Ok((found.unwrap_or(fresh), version.get(())?.map_or(1, |version| version.value())))
        })?;
        match format {
            FORMAT => Ok(Ledger { store, salt }),
            1..FORMAT => Err(Error::Usage(format!(
                "{} is a ledger of an earlier version, which cannot tell whether public samples given today were in \
                 its sessions: move it away to begin a new one, and use public samples that no earlier session had",
                path.display()
            ))),
            _ => Err(Error::Usage(format!("{} was written by a newer version of this program", path.display()))),
        }
    }

    /// For each sample whether no session had it.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be used.
    pub fn fresh<'a>(&self, samples: impl Iterator<Item = &'a Row>) -> Result<Vec<bool>, Error> {
        self.store.transaction(|transaction| {
            let table = transaction.open_multimap_table(SAMPLES)?;
            samples.map(|sample| Ok(table.get(self.digest(sample))?.is_empty())).collect()
        })
    }

    /// Writes down that `job` starts now, under `plan` with the server at `address`. It is on disk
    /// when this returns.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be used; then the session may not start.
    pub fn start(&self, job: &Job, plan: &Plan, address: &str) -> Result<Entry, Error> {
        let batch = job.batch();
        let lambda_bits = job.policy().map(|policy| batch.lambda_bits(policy.accuracy));
        self.store.transaction(|transaction| {
            let mut record = Record {
                started_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
                server: address.to_owned(),
                plan_digest: hex(&plan.digest()),
                queries: batch.queries,
                copies: batch.copies,
                public: batch.public,
                public_fresh: 0,
                tolerated: batch.tolerated,
                probes: batch.probes,
                lambda_bits,
                outcome: Outcome::Started,
            };
            let before = sessions(transaction)?;
            let session = before.last().map_or(0, |(session, _)| *session) + 1;
            let mut samples = transaction.open_multimap_table(SAMPLES)?;
            for sample in job.public() {
                let digest = self.digest(&sample.row);
                let known = !samples.get(digest)?.is_empty();
                record.public_fresh += u64::from(!known);
                samples.insert(digest, session)?;
            }
            for probe in job.probes() {
                samples.insert(self.digest(&probe.row), session)?;
            }
            write(transaction, session, &record)?;
            let risk = before.iter().filter_map(|(_, record)| record.lambda_bits).chain(lambda_bits);
            Ok(Entry { session, public_fresh: record.public_fresh, risk_bits: together(risk) })
        })
    }

    /// Writes down what became of a session that was started.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be used; the session stays as started, so it counts all
    /// the same.
    pub fn finish(&self, session: u64, outcome: Outcome) -> Result<(), Error> {
        let outcome = match outcome {
            Outcome::Failed(reason) => Outcome::Failed(reason.chars().take(MAX_REASON_CHARS).collect()),
            other => other,
        };
        self.store.transaction(|transaction| {
            let found = sessions(transaction)?.into_iter().find(|(found, _)| *found == session);
            let (_, record) = found.ok_or_else(|| redb::Error::Corrupted(format!("there is no session {session}")))?;
            write(transaction, session, &Record { outcome, ..record })
        })
    }

    /// All sessions with their numbers, in the order in which they were started.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be used.
    pub fn sessions(&self) -> Result<Vec<(u64, Record)>, Error> {
        self.store.transaction(sessions)
    }

    /// The same as text, a JSON object a line.
    ///
    /// # Errors
    /// As [`Ledger::sessions`].
    pub fn export(&self) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Line {
            session: u64,
            #[serde(flatten)]
            record: Record,
        }
        let line = |(session, record)| serde_json::to_string(&Line { session, record }).map(|line| line + "\n");
        let lines = self.sessions()?.into_iter().map(line).collect::<Result<String, _>>();
        lines.map_err(|error| Error::Bug(error.to_string()))
    }

    fn digest(&self, sample: &Row) -> [u8; 32] {
        let known = match cfg!(fusion_ablate = "quantised-digest") {
            true => RowDigest::of(sample.elements.iter().map(|element| *element as f64)),
            false => sample.digest,
        };
        let hash = Sha256::new().chain_update(b"fusion ledger sample\0").chain_update(self.salt);
        hash.chain_update(known.as_bytes()).finalize().into()
    }
}

fn sessions(transaction: &WriteTransaction) -> Result<Vec<(u64, Record)>, redb::Error> {
    let table = transaction.open_table(SESSIONS)?;
    let read = table.iter()?.map(|entry| {
        let (session, text) = entry?;
        let record = serde_json::from_str(text.value());
        let session = session.value();
        Ok((session, record.map_err(|why| redb::Error::Corrupted(format!("session {session}: {why}")))?))
    });
    read.collect()
}

fn write(transaction: &WriteTransaction, session: u64, record: &Record) -> Result<(), redb::Error> {
    let text = serde_json::to_string(record).map_err(|why| redb::Error::Corrupted(why.to_string()))?;
    transaction.open_table(SESSIONS)?.insert(session, text.as_str())?;
    Ok(())
}

/// `-log2` of the sum of `2^-bits`, rounded down; 0 at least.
fn together(bits: impl Iterator<Item = f64> + Clone) -> f64 {
    let least = bits.clone().fold(f64::INFINITY, f64::min);
    // Relative to the largest, so that nothing underflows that counts. The rounding errors are far
    // below the last step.
    let sum: f64 = bits.map(|bits| (least - bits).exp2()).sum();
    (least - sum.log2() - 1e-9).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusion::{Probe, PublicSample};
    use crate::testing::tiny_plan;
    use fusion_ir::soundness::Policy;

    fn job(public: std::ops::Range<i64>) -> Job {
        let public: Vec<_> = public.map(|x| PublicSample { row: vec![x, -x].into(), known: vec![0].into() }).collect();
        let policy = Policy { lambda: 1.0, catch: Some(0.5), ..Policy::default() };
        Job::verified(vec![vec![99, 99].into()], public, policy).unwrap()
    }

    fn ledger(directory: &tempfile::TempDir) -> Ledger {
        Ledger::open(&directory.path().join("ledger.redb")).unwrap()
    }

    #[test]
    fn what_is_started_is_there_for_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let (plan, job) = (tiny_plan(), job(0..7));
        let entry = ledger(&directory).start(&job, &plan, "192.0.2.1:7").unwrap();
        assert_eq!((entry.session, entry.public_fresh), (1, 7));
        let (number, record) = ledger(&directory).sessions().unwrap().remove(0);
        assert_eq!((number, &record.outcome), (1, &Outcome::Started));
        let Record { queries, copies, public, public_fresh, tolerated, .. } = record;
        let batch = *job.batch();
        assert_eq!((queries, copies, public), (batch.queries, batch.copies, batch.public));
        assert_eq!((public_fresh, tolerated, record.lambda_bits), (7, 0, Some(batch.lambda_bits(1.0))));
        assert_eq!((record.server.as_str(), record.plan_digest), ("192.0.2.1:7", hex(&plan.digest())));
        assert!(record.started_unix_s > 1_600_000_000);
        ledger(&directory).finish(1, Outcome::Failed("x".repeat(10_000))).unwrap();
        assert_eq!(ledger(&directory).start(&job, &plan, "192.0.2.1:7").unwrap().session, 2);
        ledger(&directory).finish(2, Outcome::Rejected).unwrap();
        let outcomes: Vec<_> = ledger(&directory).sessions().unwrap().into_iter().map(|(_, r)| r.outcome).collect();
        assert_eq!(outcomes, [Outcome::Failed("x".repeat(300)), Outcome::Rejected]);
        assert!(ledger(&directory).finish(3, Outcome::Accepted).is_err());
    }

    #[test]
    fn a_sample_is_fresh_once() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(&directory);
        let fresh = |samples: &[[i64; 2]]| {
            let rows: Vec<Row> = samples.iter().map(|sample| sample.to_vec().into()).collect();
            ledger.fresh(rows.iter()).unwrap()
        };
        assert_eq!(fresh(&[[3, -3], [9, -9]]), [true, true]);
        assert_eq!(ledger.start(&job(0..7), &tiny_plan(), "").unwrap().public_fresh, 7);
        assert_eq!(fresh(&[[3, -3], [9, -9]]), [false, true]);
        assert_eq!(ledger.start(&job(4..11), &tiny_plan(), "").unwrap().public_fresh, 4);
        assert_eq!(ledger.start(&job(4..11), &tiny_plan(), "").unwrap().public_fresh, 0);
    }

    #[test]
    fn other_number_formats_make_no_sample_fresh() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(&directory);
        // The same seven rows under a plan with one fractional bit less.
        let under = |scale: f64| {
            let sample = |x: u32| {
                let reals = [f64::from(x) + 0.3, -1.7 * f64::from(x)];
                let elements = reals.iter().map(|real| (real * scale).round() as i64).collect();
                PublicSample { row: Row { elements, digest: RowDigest::of(reals) }, known: vec![0].into() }
            };
            let policy = Policy { lambda: 1.0, catch: Some(0.5), ..Policy::default() };
            Job::verified(vec![vec![99, 99].into()], (0..7).map(sample).collect(), policy).unwrap()
        };
        assert_eq!(ledger.start(&under(16.0), &tiny_plan(), "").unwrap().public_fresh, 7);
        assert_eq!(ledger.start(&under(8.0), &tiny_plan(), "").unwrap().public_fresh, 0);
    }

    #[test]
    fn ledgers_of_other_versions_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.redb");
        Ledger::open(&path).unwrap();
        let store = Store::new(&path).unwrap();
        let write = |version: Option<u32>| {
            let set = |transaction: &WriteTransaction| {
                let mut table = transaction.open_table(VERSION)?;
                table.remove(())?;
                version.map(|version| table.insert((), version).map(|_| ())).transpose()?;
                Ok(())
            };
            store.transaction(set).unwrap();
            Ledger::open(&path).map(|_| ()).map_err(|error| (error.exit_code(), error.to_string()))
        };
        for version in [None, Some(1), Some(FORMAT - 1)] {
            let (code, text) = write(version).unwrap_err();
            assert!(code == 2 && text.contains("earlier version") && text.contains("ledger.redb"), "{text}");
        }
        assert!(write(Some(FORMAT + 1)).unwrap_err().1.contains("newer version"));
        assert_eq!(write(Some(FORMAT)), Ok(()));
    }

    #[test]
    fn a_probe_is_no_fresh_sample_later() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(&directory);
        let probes = (0..3).map(|x| Probe { row: vec![x, -x].into(), answer: vec![0] }).collect();
        let public = (10..17).map(|x| PublicSample { row: vec![x, -x].into(), known: vec![0].into() }).collect();
        let policy = Policy { lambda: 1.0, catch: Some(0.5), ..Policy::default() };
        let all = |public: &[PublicSample]| Ok(vec![true; public.len()]);
        let probed = Job::verified_with(vec![vec![99, 99].into()], public, all, probes, policy).unwrap();
        assert_eq!(ledger.start(&probed, &tiny_plan(), "").unwrap().public_fresh, 7);
        assert_eq!(ledger.sessions().unwrap()[0].1.probes, 3);
        assert_eq!(ledger.start(&job(0..7), &tiny_plan(), "").unwrap().public_fresh, 4);
    }

    #[test]
    fn risks_add_up_over_verified_sessions() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(&directory);
        let job = job(0..7);
        let one = job.batch().lambda_bits(1.0);
        for sessions in 1..=4 {
            let entry = ledger.start(&job, &tiny_plan(), "").unwrap();
            let expected = (one - f64::from(sessions).log2()).max(0.0);
            assert!((entry.risk_bits - expected).abs() < 1e-6, "{sessions}: {} {expected}", entry.risk_bits);
        }
        let unverified = Job::unverified(vec![vec![1, 1].into()]).unwrap();
        let before = ledger.start(&job, &tiny_plan(), "").unwrap().risk_bits;
        let entry = ledger.start(&unverified, &tiny_plan(), "").unwrap();
        assert_eq!((entry.session, entry.risk_bits), (6, before));
        assert_eq!(ledger.sessions().unwrap()[5].1.lambda_bits, None);
    }

    #[test]
    fn probabilities_are_summed_in_the_safe_direction() {
        assert!((together([40.0; 1024].into_iter()) - 30.0).abs() < 1e-6);
        assert!(together([3000.0, 40.0].into_iter()) <= 40.0);
        assert!((together([3000.0, 3000.0].into_iter()) - 2999.0).abs() < 1e-6);
        assert_eq!(together([0.0, 7.0].into_iter()), 0.0);
        assert_eq!(together(std::iter::empty()), f64::INFINITY);
    }

    #[test]
    fn two_ledgers_have_nothing_in_common() {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, other] = [ledger(&directories[0]), ledger(&directories[1])];
        let [this, that] = [Row::from(vec![1, 2]), Row::from(vec![1, 3])];
        assert_ne!(one.digest(&this), other.digest(&this));
        assert_eq!(one.digest(&this), ledger(&directories[0]).digest(&this));
        assert_ne!(one.digest(&this), one.digest(&that));
    }
}
