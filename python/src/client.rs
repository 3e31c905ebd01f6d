//! The client.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fusion::tcp;
use fusion::{
    Claim, ClientReport, Clipped, Dial, Event, Flow, Ledger, Met, Policy, PublicSample, Reveal, Row, Statement, Switch,
    assumption, statements,
};
use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::errors::{UsageError, of_session};
use crate::interrupt::interruptible;
use crate::plan::Plan;
use crate::tls;

/// A server's name, the seconds until it was connected, and the network to it in Mbit/s and
/// milliseconds.
type Asked = (String, f64, Option<(f64, f64)>);

/// A report as JSON and as a page, its verdict in words, and the scores of each query if they are
/// revealed.
pub type Ran = (String, String, Words, Option<Vec<Vec<f64>>>);

/// How known samples were answered, why the batch was rejected, what statements rest on, and each
/// with its status.
pub type Words = (String, Vec<&'static str>, String, Vec<(String, String)>);

/// The party that has the inputs and checks the answers.
#[pyclass(frozen, module = "fusion")]
pub struct Client {
    pub client: Arc<fusion::Client>,
    pub servers: Vec<tcp::Server>,
}

/// A batch that nothing has been sent of.
#[pyclass(frozen, module = "fusion")]
pub struct Job(Mutex<Option<fusion::Job>>);

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (plan, addresses, *, reveal, ledger, identity, peers, allow_plaintext, timeout, memory))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn new(
        plan: &Plan,
        addresses: Vec<String>,
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
        let server = |address| tcp::Server { address, options: options.clone() };
        Ok(Client { client: Arc::new(client), servers: addresses.into_iter().map(server).collect() })
    }

    /// Plans a batch.
    #[pyo3(signature = (queries, public, known, *, verify, lambda_bits, catch, accuracy, false_reject, largest_share, copies, tolerate, tolerance, clipped))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn job(
        &self,
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
    ) -> PyResult<Job> {
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
        Ok(Job(Mutex::new(Some(job.map_err(of_session)?))))
    }

    /// Runs a batch with all servers: its report as JSON and as a page, and in words what it rests
    /// on and excludes.
    fn run(&self, py: Python<'_>, job: &Job, progress: Option<Py<PyAny>>) -> PyResult<Ran> {
        let (job, switch) = (job.take()?, Switch::default());
        let (client, servers, through) = (self.client.clone(), self.servers.clone(), switch.clone());
        let work = move || {
            let dial = |server| {
                let through = through.clone();
                move || -> Result<Met, fusion::Error> { through.connect(Dial::dial(server)?) }
            };
            let servers: Vec<_> = servers.iter().map(dial).collect();
            client.run_on(job, &servers, &mut |event| tell(event, progress.as_ref()))
        };
        let report = interruptible(py, work, || switch.turn_off())?.map_err(of_session)?;
        ran(&self.client, &report)
    }

    /// Whether each server would serve this client: its name, the seconds that connecting took, and
    /// the network to it in Mbit/s and milliseconds, if the server let it be measured. Nothing is
    /// counted.
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Asked>> {
        let (client, servers) = (self.client.clone(), self.servers.clone());
        let work = move || servers.iter().map(|server| client.ask(server)).collect::<Result<Vec<_>, _>>();
        let told = |asked: fusion::Asked| {
            let network = asked.network.map(|network| (network.mbit_per_s, network.rtt_ms));
            (asked.name, asked.connected.as_secs_f64(), network)
        };
        Ok(interruptible(py, work, || ())?.map_err(of_session)?.into_iter().map(told).collect())
    }
}

#[pymethods]
impl Job {
    /// Positions in all; none of a batch that has been run.
    #[getter]
    fn positions(&self) -> u64 {
        let job = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        job.as_ref().map_or(0, |job| job.batch().positions())
    }
}

impl Job {
    /// The batch, which is there once.
    pub fn take(&self) -> PyResult<fusion::Job> {
        let job = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        job.ok_or_else(|| UsageError::new_err("this batch has been run"))
    }
}

/// Tells a progress bar what is about to run.
fn tell(event: Event<'_>, progress: Option<&Py<PyAny>>) {
    if let (Event::Step(step), Some(progress)) = (event, progress) {
        let all = step.layers * step.micro_batches;
        // What a progress bar raises is for whoever drew it.
        Python::attach(|py| progress.call1(py, (step.done, all, step.node))).ok();
    }
}

/// A report as Python has it.
pub fn ran(client: &fusion::Client, report: &ClientReport) -> PyResult<Ran> {
    let page = fusion::page(report, &client.plan().schema.classes);
    let named = |claim| match claim {
        Claim::Accuracy => " (accuracy)",
        Claim::Tolerance => " (tolerance)",
        Claim::LargestShare => " (largest_share, else with 99 % by the public labels)",
    };
    let rests_on = assumption(&report.verdict, |claim| named(claim).into());
    let stated = |Statement { status, server }: Statement| (status, server);
    let excludes = statements(&report.verdict).into_iter().map(stated).collect();
    let words = (fusion::known(&report.verdict), fusion::objections(&report.verdict), rests_on, excludes);
    let answers = client.answers();
    let all = report.answers.as_ref().filter(|_| answers.reveal() == Reveal::Logits);
    let scores = all.map(|all| all.iter().map(|answer| answers.reals(answer)).collect());
    let json = serde_json::to_string(report).map_err(|error| UsageError::new_err(error.to_string()))?;
    Ok((json, page, words, scores))
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
