//! A server on a thread of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fusion::{Budget, Error, Flow, Guest, Limits, Listen, Met, ServerReport, tcp};
use pyo3::prelude::*;

use crate::errors::{UsageError, of_session};
use crate::interrupt::Switch;
use crate::plan::Plan;
use crate::tls;

/// The party that has the model. It answers one client after the other until it is stopped.
#[pyclass(frozen, module = "fusion")]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    /// Breaks off the session that runs.
    switch: Mutex<Switch>,
    /// Reports as JSON of the sessions that ended well, texts of those that did not.
    ended: Mutex<Vec<Result<String, String>>>,
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (plan, *, listen, budget, positions, identity, peers, allow_plaintext, timeout, memory))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn new(
        plan: &Plan,
        listen: &str,
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
        let listener = tcp::Listener::bind(listen, options).map_err(of_session)?;
        let address = listener.address().map_err(of_session)?;
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new().name("fusion-server".into()).spawn(move || shared.serve(&server, listener))?
        };
        Ok(Server { address, shared, thread: Mutex::new(Some(thread)) })
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
        lock(&self.shared.ended).iter().map(told).collect()
    }

    /// Takes no more clients, and breaks off the one that is being served unless `drain`.
    #[pyo3(signature = (drain = true))]
    fn stop(&self, py: Python<'_>, drain: bool) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if !drain {
            lock(&self.shared.switch).turn_off();
        }
        let Some(thread) = lock(&self.thread).take() else { return };
        // Whoever waits for a client gets one, and looks whether it should stop.
        let mut wake = self.address;
        if wake.ip().is_unspecified() {
            wake.set_ip(match wake {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        py.detach(|| {
            while !thread.is_finished() {
                // A server that is busy or gone needs no waking.
                drop(TcpStream::connect_timeout(&wake, Duration::from_millis(100)));
                std::thread::sleep(Duration::from_millis(20));
            }
            // A panic was printed when it happened.
            drop(thread.join());
        });
    }
}

impl Shared {
    fn serve(&self, server: &fusion::Server, mut listener: tcp::Listener) {
        while !self.stopping.load(Ordering::SeqCst) {
            let met = listener.accept();
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            let switch = Switch::default();
            *lock(&self.switch) = switch.clone();
            let ended = match met.and_then(|met| switch.connect(met)).and_then(|met| serve(server, met)) {
                Ok(None) => continue,
                Ok(Some(report)) => serde_json::to_string(&report).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            lock(&self.ended).push(ended);
        }
    }
}

/// Serves a client. One that only asks whether it would be served had no session.
fn serve(server: &fusion::Server, Met { link, identity, .. }: Met) -> Result<Option<ServerReport>, Error> {
    let guest = Guest::receive(link)?;
    let only_asks = guest.asks_for_nothing();
    let served = server.serve_guest(guest, &mut |size| server.spend(&identity, size), &mut |_| ());
    if only_asks { Ok(None) } else { served.map(Some) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
