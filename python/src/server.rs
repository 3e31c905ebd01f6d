//! A server on a thread of its own.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fusion::service::{Capacity, Deadlines, Event, Hosted, Observer, Profile, Quota, Refusal, Service, Settings};
use fusion::{Budget, Flow, Identity, Limits, tcp};
use pyo3::prelude::*;

use crate::errors::{UsageError, of_session};
use crate::interrupt::interruptible;
use crate::plan::Plan;
use crate::tls;

/// Who may wait for its turn or has not said hello yet, most.
const CROWD: usize = 256;
/// From the connection to the client's hello.
const HELLO: Duration = Duration::from_secs(10);
/// Sessions that are remembered.
const REMEMBERED: usize = 1000;

/// The party that has the model. It answers clients until it is stopped.
#[pyclass(frozen, module = "fusion")]
pub struct Server {
    address: SocketAddr,
    listener: TcpListener,
    service: Arc<Service>,
    desk: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Reports as JSON of the sessions that ended well, texts of those that did not.
#[derive(Default)]
struct Desk(Mutex<VecDeque<Result<String, String>>>);

impl Observer for Desk {
    fn event(&self, _: u64, event: Event<'_>) {
        let ended = match event {
            Event::Ended { outcome: Ok(report), .. } => {
                serde_json::to_string(report).map_err(|error| error.to_string())
            }
            Event::Refused { refusal: Refusal::Asked | Refusal::Gone | Refusal::Closing, .. } => return,
            Event::Ended { outcome: Err(why), .. } | Event::Refused { why, .. } => Err(why.to_string()),
            _ => return,
        };
        let mut all = lock(&self.0);
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(ended);
    }
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (plan, *, listen, sessions, budget, positions, identity, peers, allow_plaintext, timeout, memory))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn new(
        plan: &Plan,
        listen: &str,
        sessions: usize,
        budget: Option<PathBuf>,
        positions: Option<u64>,
        identity: Option<PathBuf>,
        peers: Option<Vec<String>>,
        allow_plaintext: bool,
        timeout: f64,
        memory: Option<u64>,
    ) -> PyResult<Server> {
        let flow = Flow { memory_bytes: memory, ..Flow::default() };
        let mut server = fusion::Server::of_plan(fusion::Plan::clone(&plan.plan), flow).map_err(of_session)?;
        let options = tls::options(identity, peers, allow_plaintext, timeout)?;
        if let Some(positions) = positions {
            let limits = Limits::of(server.plan(), flow).map_err(of_session)?;
            server = server.limits(Limits { positions, ..limits });
        }
        server = match (budget, positions) {
            (Some(path), Some(positions)) => server.budget(Budget::open(&path, positions).map_err(of_session)?),
            (None, _) => server,
            (Some(_), None) => {
                return Err(UsageError::new_err("a budget file goes with positions=..., what it allows a client"));
            }
        };
        let listener = tcp::listen(listen, &options).map_err(of_session)?;
        let address = listener.local_addr()?;
        let settings = settings(server, options, sessions).map_err(of_session)?;
        let desk = Arc::new(Desk::default());
        let service = Service::new(settings, Arc::clone(&desk) as Arc<dyn Observer>);
        let (own, socket) = (Arc::clone(&service), listener.try_clone()?);
        let serve = move || {
            // Without a first thread nobody is served, as `is_running` says.
            let _ = own.run(socket);
        };
        let thread = std::thread::Builder::new().name("fusion-server".into()).spawn(serve)?;
        Ok(Server { address, listener, service, desk, thread: Mutex::new(Some(thread)) })
    }

    #[getter]
    fn address(&self) -> String {
        self.address.to_string()
    }

    #[getter]
    fn is_running(&self) -> bool {
        lock(&self.thread).as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// What became of each session: `(whether it ended well, report as JSON or the reason)`.
    fn ended(&self) -> Vec<(bool, String)> {
        let told = |ended: &Result<String, String>| match ended {
            Ok(report) => (true, report.clone()),
            Err(why) => (false, why.clone()),
        };
        lock(&self.desk.0).iter().map(told).collect()
    }

    /// Takes no more clients, and breaks off those that are being served unless `drain`.
    #[pyo3(signature = (drain = true))]
    fn stop(&self, py: Python<'_>, drain: bool) -> PyResult<()> {
        let Some(thread) = lock(&self.thread).take() else { return Ok(()) };
        self.service.stop(&self.listener);
        let service = Arc::clone(&self.service);
        let wait = move || {
            service.drain(if drain { Duration::MAX } else { Duration::ZERO });
            // A panic was printed when it happened.
            drop(thread.join());
        };
        interruptible(py, wait, || self.service.give_up())
    }
}

fn settings(server: fusion::Server, tcp: tcp::TcpOptions, sessions: usize) -> Result<Settings, fusion::Error> {
    let hosted = Hosted::new("the plan", server)?;
    let directory = |peer: &tcp::Peer| Profile {
        name: peer.address.to_string(),
        identity: Identity::of(peer),
        quota: Quota::default(),
    };
    // How much memory a session takes is bounded by its micro-batch.
    let capacity =
        Capacity { memory_bytes: u64::MAX, sessions: sessions.max(1), queue: CROWD, patience: Duration::MAX };
    let deadlines = Deadlines { hello: HELLO, session: None };
    Settings::new(vec![hosted], tcp, Box::new(directory), capacity, deadlines, CROWD)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
