//! `--role server`: serves clients one after the other, as many as asked for.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use fusion_ir::Plan;
use fusion_runtime::service::{
    Caller, Capacity, Deadlines, Event, Hosted, Observer, Profile, Quota, Refusal, Service, Settings,
};
use fusion_runtime::session::Limits;
use fusion_runtime::transport::{Identity, Tls, tcp};
use fusion_runtime::{Budget, Error, PlanFile, Server, ServerReport, output, report, store};

use crate::Ending;
use crate::args::{self, Args};
use crate::progress::Bar;
use crate::verdict::{complain, megabytes, say, warn, warn_plaintext};

/// Who may wait for its turn or has not said hello yet, most.
const CROWD: usize = 256;

/// Serves `--sessions` sessions. What went wrong with the last one, if anything, is how the program
/// ends: others go on.
pub fn run(args: &Args) -> Result<Ending, Error> {
    let listen = args.need("--listen", &args.listen)?;
    if let Some(path) = &args.report {
        output::prepare(path)?;
    }
    let file = PlanFile::open(args.plan())?;
    let limits = limits(args, file.plan())?;
    let mut server = Server::of_file(file, args.flow())?.limits(limits);
    if let Some(budget) = budget(args)? {
        server = server.budget(budget);
    }
    let tcp = args.tcp()?;
    let fingerprint = tcp.tls.as_ref().map(Tls::fingerprint);
    let listener = tcp::listen(listen, &tcp)?;
    let settings = settings(args, server, tcp)?;
    let no_socket = |error: std::io::Error| Error::Usage(format!("the socket cannot be used: {error}"));
    let address = listener.local_addr().map_err(no_socket)?;
    if (tcp::Peer { address, fingerprint, name: None, shown: None }).is_exposed() {
        warn_plaintext();
    }
    let desk = Arc::new(Desk::new(args, listener.try_clone().map_err(no_socket)?));
    let service = Service::new(settings, Arc::clone(&desk) as Arc<dyn Observer>);
    let _ = desk.service.set(Arc::downgrade(&service));
    // The first line of output, for scripts.
    say(format_args!("listening on {address}"));
    service.run(listener).map_err(no_socket)?;
    // The last session is over, or about to be.
    service.drain(Duration::MAX);
    Ok(desk.ending())
}

fn settings(args: &Args, server: Server, tcp: tcp::TcpOptions) -> Result<Settings, Error> {
    let hosted = Hosted::new(args.plan().display().to_string(), server)?;
    let directory = |peer: &tcp::Peer| Profile {
        name: peer.address.to_string(),
        identity: Identity::of(peer),
        quota: Quota::default(),
    };
    // One after the other: how much memory one takes is bounded by its micro-batch.
    let capacity = Capacity { memory_bytes: u64::MAX, sessions: 1, queue: CROWD, patience: Duration::MAX };
    let deadlines = Deadlines { hello: Duration::from_secs(args.hello_timeout), session: None };
    Settings::new(vec![hosted], tcp, Box::new(directory), capacity, deadlines, CROWD)
}

/// What this server accepts.
pub fn limits(args: &Args, plan: &Plan) -> Result<Limits, Error> {
    let limits = Limits::of(plan, args.flow())?;
    Ok(Limits { positions: args.max_positions.unwrap_or(limits.positions), ..limits })
}

/// What each client may still have answered, unless that is anything.
fn budget(args: &Args) -> Result<Option<Budget>, Error> {
    let Some(positions) = args.budget else { return Ok(None) };
    let path =
        args.budget_file.clone().map_or_else(|| store::default_place("budget.redb", "--budget-file FILE"), Ok)?;
    Budget::open(&path, positions).map(Some)
}

/// Shows what happens, and ends the service after so many sessions.
struct Desk {
    quiet: bool,
    report: Option<std::path::PathBuf>,
    left: AtomicU64,
    bar: Mutex<Option<Bar>>,
    ending: Mutex<Ending>,
    listener: TcpListener,
    service: OnceLock<Weak<Service>>,
}

impl Desk {
    fn new(args: &Args, listener: TcpListener) -> Desk {
        Desk {
            quiet: args.quiet,
            report: args.report.clone(),
            left: AtomicU64::new(args.sessions.unwrap_or(1)),
            bar: Mutex::new(None),
            ending: Mutex::new(Ending::Finished),
            listener,
            service: OnceLock::new(),
        }
    }

    fn ending(&self) -> Ending {
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One session is over.
    fn over(&self, ending: Ending) {
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        // Those that come after the last one are refused, and change nothing.
        let Ok(before) = before else { return };
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = ending;
        if before == 1
            && let Some(service) = self.service.get().and_then(Weak::upgrade)
        {
            service.stop(&self.listener);
        }
    }

    fn served(&self, caller: &Caller, served: &ServerReport) -> Result<(), Error> {
        if let Some(path) = &self.report {
            output::write(path, report::to_json(served)?.as_bytes())?;
        }
        if !self.quiet {
            say(format_args!("served {}: {}", caller.name, summary(served)));
        }
        Ok(())
    }

    fn failed(&self, caller: &Caller, error: &Error) -> Ending {
        complain(format_args!("client {}: {}", caller.name, args::said(error)));
        Ending::Failed(error.exit_code())
    }
}

impl Observer for Desk {
    fn event(&self, _: u64, event: Event<'_>) {
        let bar = || self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Step(step) => bar().get_or_insert_with(|| Bar::new(self.quiet)).show(step),
            Event::Stray { address, why } => warn(format_args!("{address} is no client: {why}")),
            Event::NotAccepted { why } => warn(format_args!("a connection was not accepted: {why}")),
            Event::Refused { refusal: Refusal::Asked, .. } => {}
            Event::Refused { refusal: Refusal::Gone | Refusal::Closing, caller, why, .. } => {
                warn(format_args!("client {} was not served: {why}", caller.name));
            }
            Event::Refused { caller, why, .. } => self.over(self.failed(caller, why)),
            Event::Ended { caller, outcome, .. } => {
                drop(bar().take());
                let served = match outcome {
                    Ok(report) => self.served(caller, report),
                    Err(error) => return self.over(self.failed(caller, error)),
                };
                self.over(served.map_or_else(|error| self.failed(caller, &error), |()| Ending::Finished));
            }
            _ => {}
        }
    }
}

fn summary(served: &ServerReport) -> String {
    let bytes = &served.run.bytes;
    format!(
        "{} positions, {} received, {} sent, {:.1} s (what the client concluded is its own)",
        served.batch.positions,
        megabytes(bytes.client_to_server),
        megabytes(bytes.server_to_client),
        served.run.time_s.total
    )
}
