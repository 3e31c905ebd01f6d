//! Takes down what a service tells: as log lines, metrics and reports.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use fusion_runtime::service::{Caller, Event, Observer, Refusal};
use fusion_runtime::{Error, ServerReport, output, report};
use tracing::{debug, error, info, warn};

use crate::config::Reports;
use crate::logs::tame;
use crate::metrics::{Ended, Metrics};

/// Takes everything down.
pub struct Desk {
    metrics: Arc<Metrics>,
    reports: Option<Reports>,
    written: AtomicU64,
}

impl Desk {
    /// With reports, if they are asked for.
    ///
    /// # Errors
    /// [`Error::Output`] if their folder cannot be made.
    pub fn new(metrics: Arc<Metrics>, reports: Option<Reports>) -> Result<Desk, Error> {
        if let Some(Reports { directory, .. }) = &reports {
            let refuse = |error| Error::Output { path: directory.display().to_string(), error };
            std::fs::create_dir_all(directory).map_err(refuse)?;
        }
        Ok(Desk { metrics, reports, written: AtomicU64::new(0) })
    }

    fn ended(
        &self,
        connection: u64,
        caller: &Caller,
        plan: &str,
        outcome: Result<&ServerReport, &Error>,
        seconds: f64,
    ) {
        let (client, address) = (caller.name.as_str(), caller.address);
        match outcome {
            Ok(report) => {
                let bytes = &report.run.bytes;
                info!(
                    connection,
                    client,
                    %address,
                    plan,
                    outcome = Ended::Served.name(),
                    seconds,
                    positions = report.batch.positions,
                    received_bytes = bytes.client_to_server,
                    sent_bytes = bytes.server_to_client,
                    rounds = report.run.rounds,
                    "session ended"
                );
                if let Err(why) = self.keep(connection, report) {
                    error!(connection, why = tame(&why), "no report");
                }
            }
            Err(why) => {
                let outcome = ended(why).name();
                warn!(connection, client, %address, plan, outcome, seconds, why = tame(why), "session ended");
            }
        }
    }

    /// Writes a session's report, and removes the oldest ones.
    fn keep(&self, connection: u64, served: &ServerReport) -> Result<(), Error> {
        let Some(Reports { directory, keep }) = &self.reports else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Their names in order are their order in time.
        let name = format!("{:016}-{connection:06}.json", now.as_millis());
        output::write(&directory.join(name), report::to_json(served)?.as_bytes())?;
        // Now and then is enough, and the first time shows what earlier processes left.
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(16) {
            prune(directory, *keep);
        }
        Ok(())
    }
}

impl Observer for Desk {
    fn event(&self, connection: u64, event: Event<'_>) {
        match event {
            Event::Stray { address, why } => {
                self.metrics.stray();
                debug!(connection, %address, why = tame(why), "no client");
            }
            Event::Queued { caller, before, memory_bytes } => {
                let client = caller.name.as_str();
                info!(connection, client, address = %caller.address, before, memory_bytes, "waits for its turn");
            }
            Event::Refused { caller, plan, refusal, why } => {
                self.metrics.refused(refusal);
                let (client, plan, reason) = (caller.name.as_str(), plan.unwrap_or(""), refusal.name());
                match refusal {
                    Refusal::Asked => info!(connection, client, address = %caller.address, plan, "asked, no session"),
                    _ => warn!(connection, client, address = %caller.address, plan, reason, why = tame(why), "refused"),
                }
            }
            Event::Started { caller, plan, size, memory_bytes, waited } => {
                let schedule = size.schedule;
                self.metrics.started(plan, schedule.positions, waited);
                info!(
                    connection,
                    client = caller.name.as_str(),
                    address = %caller.address,
                    plan,
                    positions = schedule.positions,
                    micro_batch = schedule.micro_batch,
                    streams = schedule.streams,
                    memory_bytes,
                    waited_s = waited.as_secs_f64(),
                    "session started"
                );
            }
            Event::Ended { caller, plan, outcome, time } => {
                self.metrics.ended(plan, outcome.map_or_else(ended, |_| Ended::Served), time);
                if let Ok(report) = outcome {
                    self.metrics.served(plan, report);
                }
                self.ended(connection, caller, plan, outcome, time.as_secs_f64());
            }
            Event::NotAccepted { why } => {
                self.metrics.not_accepted();
                error!(why = tame(why), "the system gives no connection or no thread");
            }
            _ => {}
        }
    }
}

fn ended(why: &Error) -> Ended {
    match why {
        Error::Peer(_) => Ended::Peer,
        _ => Ended::Failed,
    }
}

/// Removes all but the `keep` newest reports.
fn prune(directory: &Path, keep: usize) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let is_report = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_report).collect();
    paths.sort();
    let surplus = paths.len().saturating_sub(keep);
    for path in &paths[..surplus] {
        if let Err(why) = std::fs::remove_file(path) {
            warn!(path = %path.display(), why = tame(&why), "an old report stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_reports_stay() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["0000000000000003-000001.json", "0000000000000001-000009.json", "0000000000000002-000000.json", "notes"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        prune(folder.path(), 2);
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["0000000000000002-000000.json", "0000000000000003-000001.json", "notes"]);
    }
}
