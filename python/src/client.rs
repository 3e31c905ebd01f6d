//! The client.

use std::path::PathBuf;
use std::sync::Arc;

use fusion::tcp;
use fusion::{
    Claim, Clipped, Dial, Event, Flow, Ledger, Met, Policy, PublicSample, Reveal, Row, Statement, assumption,
    statements,
};
use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::errors::{UsageError, of_session};
use crate::interrupt::{Switch, interruptible};
use crate::plan::Plan;
use crate::tls;

/// A server's name, the seconds until it was connected, and the network to it in Mbit/s and
/// milliseconds.
type Asked = (String, f64, Option<(f64, f64)>);

/// A report as JSON and as a page, its verdict in words, and the scores of each query if they are
/// revealed.
type Ran = (String, String, Words, Option<Vec<Vec<f64>>>);

/// How known samples were answered, why the batch was rejected, what statements rest on, and each
/// with its status.
type Words = (String, Vec<&'static str>, String, Vec<(String, String)>);

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

    /// Runs a batch: its report as JSON and as a page, and in words what it rests on and excludes.
    #[pyo3(signature = (queries, public, known, *, verify, lambda_bits, catch, accuracy, false_reject, largest_share, copies, tolerate, tolerance, clipped, progress))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn run(
        &self,
        py: Python<'_>,
        queries: PyReadonlyArrayDyn<'_, f32>,
        public: Option<PyReadonlyArrayDyn<'_, f32>>,
        known: Option<Known<'_>>,
        verify: bool,
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
    ) -> PyResult<Ran> {
        let queries = self.rows("queries", &queries, clipped)?;
        let job = match (public, known, verify) {
            (Some(public), Some(known), true) => {
                let public = self.rows("public samples", &public, clipped)?;
                let public = self.public(public, known, tolerance)?;
                let policy =
                    Policy { lambda: lambda_bits, catch, largest_share, false_reject, accuracy, tolerate, copies };
                self.client.verified(queries, public, Vec::new(), policy)
            }
            (None, None, false) => fusion::Job::unverified(queries),
            (_, _, false) => return Err(UsageError::new_err("public=... contradicts verify=False")),
            (_, _, true) => return Err(UsageError::new_err("to verify takes public=(samples, labels)")),
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
        let named = |claim| match claim {
            Claim::Accuracy => " (accuracy)",
            Claim::Tolerance => " (tolerance)",
            Claim::LargestShare => " (largest_share, else with 99 % by the public labels)",
        };
        let rests_on = assumption(&report.verdict, |claim| named(claim).into());
        let stated = |Statement { status, server }: Statement| (status, server);
        let excludes = statements(&report.verdict).into_iter().map(stated).collect();
        let words = (fusion::known(&report.verdict), fusion::objections(&report.verdict), rests_on, excludes);
        let answers = self.client.answers();
        let all = report.answers.as_ref().filter(|_| answers.reveal() == Reveal::Logits);
        let scores = all.map(|all| all.iter().map(|answer| answers.reals(answer)).collect());
        let json = serde_json::to_string(&report).map_err(|error| UsageError::new_err(error.to_string()))?;
        Ok((json, page, words, scores))
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
        let plan = self.client.plan();
        let needed = plan.schema.prefix.as_ref().map_or(&plan.function.values[0].ty.shape, |prefix| &prefix.shape);
        if array.shape().get(1..) != Some(&needed[..]) {
            let found = array.shape();
            return Err(UsageError::new_err(format!("{what}: the shape is {found:?}, each is of {needed:?}")));
        }
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

    fn public(&self, rows: Vec<Row>, known: Known<'_>, tolerance: Option<f64>) -> PyResult<Vec<PublicSample>> {
        let answers = self.client.answers();
        let labels = match (known, answers.values().is_some()) {
            (Known::Values(values), true) => {
                let how_far = "this plan reveals values: pass tolerance=..., how far they may be off";
                let tolerance = tolerance.ok_or_else(|| UsageError::new_err(how_far))?;
                return self.client.public_values(rows, values.as_slice()?, tolerance).map_err(of_session);
            }
            (Known::Values(_), false) => return Err(UsageError::new_err("public labels are whole numbers, or names")),
            (Known::Labels(labels), _) => labels.as_slice()?.to_vec(),
            (Known::Names(names), _) => {
                let classes = answers.classes().names;
                let place = |name: &String| classes.iter().position(|class| class == name).map(|at| at as i64);
                let unknown =
                    |name: &String| UsageError::new_err(format!("public label {name:?} is none of {classes:?}"));
                names.iter().map(|name| place(name).ok_or_else(|| unknown(name))).collect::<PyResult<_>>()?
            }
        };
        self.client.public(rows, &labels).map_err(of_session)
    }
}

/// What is known of public samples.
#[derive(FromPyObject)]
pub enum Known<'py> {
    /// Labels, as positions among the classes.
    Labels(PyReadonlyArray1<'py, i64>),
    /// Values.
    Values(PyReadonlyArray1<'py, f64>),
    /// Labels by name.
    Names(Vec<String>),
}
