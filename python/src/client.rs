//! The client.

use std::path::PathBuf;
use std::sync::Arc;

use fusion::tcp;
use fusion::{Clipped, Dial, Event, Flow, Ledger, Met, Policy, PublicSample, Reveal, Row};
use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn};
use pyo3::prelude::*;

use crate::errors::{UsageError, of_session};
use crate::interrupt::{Switch, interruptible};
use crate::plan::Plan;
use crate::tls;

/// A server's name, the seconds until it was connected, and the network to it in Mbit/s and
/// milliseconds.
type Asked = (String, f64, Option<(f64, f64)>);

/// The party that has the inputs and checks the answers.
#[pyclass(frozen, module = "fusion")]
pub struct Client {
    client: Arc<fusion::Client>,
    server: tcp::Server,
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (plan, address, *, reveal, ledger, identity, peers, allow_plaintext, timeout, memory))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn new(
        plan: &Plan,
        address: String,
        reveal: &str,
        ledger: Option<PathBuf>,
        identity: Option<PathBuf>,
        peers: Option<Vec<String>>,
        allow_plaintext: bool,
        timeout: f64,
        memory: Option<u64>,
    ) -> PyResult<Client> {
        let wanted: Reveal = reveal
            .parse()
            .map_err(|_| UsageError::new_err(format!("reveal {reveal:?} is none of label, topk:K, logits, value")))?;
        let flow = Flow { memory_bytes: memory, ..Flow::default() };
        // The client needs no weights, whoever the plan is from.
        let client = fusion::Client::without_ledger(plan.plan.for_client(), wanted).map_err(of_session)?.flow(flow);
        let client = match ledger {
            Some(path) => client.with_ledger(Ledger::open(&path).map_err(of_session)?),
            None => client,
        };
        let options = tls::options(identity, peers, allow_plaintext, timeout)?;
        Ok(Client { client: Arc::new(client), server: tcp::Server { address, options } })
    }

    /// Runs a batch and gives its report as JSON and as a page.
    #[pyo3(signature = (queries, public, known, *, lambda_bits, catch, accuracy, false_reject, largest_share, copies, tolerate, tolerance, clipped, progress))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn run(
        &self,
        py: Python<'_>,
        queries: PyReadonlyArrayDyn<'_, f32>,
        public: Option<PyReadonlyArrayDyn<'_, f32>>,
        known: Option<PyReadonlyArray1<'_, f64>>,
        lambda_bits: f64,
        catch: Option<f64>,
        accuracy: f64,
        false_reject: f64,
        largest_share: Option<f64>,
        copies: Option<u64>,
        tolerate: Option<u64>,
        tolerance: Option<f64>,
        clipped: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(String, String)> {
        let queries = self.rows("queries", &queries, clipped)?;
        let job = match (public, known) {
            (Some(public), Some(known)) => {
                let public = self.rows("public samples", &public, clipped)?;
                let public = self.public(public, known.as_slice()?, tolerance)?;
                let policy =
                    Policy { lambda: lambda_bits, catch, largest_share, false_reject, accuracy, tolerate, copies };
                self.client.verified(queries, public, Vec::new(), policy)
            }
            _ => fusion::Job::unverified(queries),
        };
        let job = job.map_err(of_session)?;
        let (switch, client, server) = (Switch::default(), self.client.clone(), self.server.clone());
        let through = switch.clone();
        let work = move || {
            let dial = || -> Result<Met, fusion::Error> { through.connect((&server).dial()?) };
            client.run(job, dial, &mut |event| {
                if let (Event::Step(step), Some(progress)) = (event, &progress) {
                    let all = step.layers * step.micro_batches;
                    // What a progress bar raises is for whoever drew it.
                    Python::attach(|py| progress.call1(py, (step.done, all, step.node))).ok();
                }
            })
        };
        let report = interruptible(py, work, || switch.turn_off())?.map_err(of_session)?;
        let page = fusion::page(&report, &self.client.plan().schema.classes);
        let report = serde_json::to_string(&report).map_err(|error| UsageError::new_err(error.to_string()))?;
        Ok((report, page))
    }

    /// Whether the server would serve this client: its name, the seconds that connecting took, and
    /// the network to it in Mbit/s and milliseconds, if the server let it be measured. Nothing is
    /// counted.
    fn ask(&self, py: Python<'_>) -> PyResult<Asked> {
        let (client, server) = (self.client.clone(), self.server.clone());
        let asked = interruptible(py, move || client.ask(&server), || ())?.map_err(of_session)?;
        let network = asked.network.map(|network| (network.mbit_per_s, network.rtt_ms));
        Ok((asked.name, asked.connected.as_secs_f64(), network))
    }
}

impl Client {
    fn rows(&self, what: &str, array: &PyReadonlyArrayDyn<'_, f32>, clipped: &str) -> PyResult<Vec<Row>> {
        let elements = array.as_slice().map_err(|_| UsageError::new_err(format!("{what}: not contiguous")))?;
        let samples = self.client.samples(elements).map_err(|error| UsageError::new_err(format!("{what}: {error}")))?;
        if clipped == "refuse"
            && let Some(Clipped { sample, elements, of, .. }) = samples.clipped.iter().find(|found| found.is_too_much())
        {
            let why = format!(
                "{what}: sample {sample} has {elements} of {of} elements beyond the input's format; if that is meant, \
                 pass clipped=\"warn\""
            );
            return Err(UsageError::new_err(why));
        }
        Ok(samples.rows)
    }

    fn public(&self, rows: Vec<Row>, known: &[f64], tolerance: Option<f64>) -> PyResult<Vec<PublicSample>> {
        if let Some(tolerance) = tolerance {
            return self.client.public_values(rows, known, tolerance).map_err(of_session);
        }
        if self.client.answers().values().is_some() {
            return Err(UsageError::new_err("this plan reveals values: pass tolerance=..., how far they may be off"));
        }
        let labels: Vec<i64> = known.iter().map(|label| *label as i64).collect();
        if let Some(at) = labels.iter().zip(known).position(|(label, known)| *label as f64 != *known) {
            return Err(UsageError::new_err(format!("public label {} is {}, no whole number", at, known[at])));
        }
        self.client.public(rows, &labels).map_err(of_session)
    }
}
