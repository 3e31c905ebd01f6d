//! `fusion-server`: serves plans to many clients until it is told to end.

// They panic where nobody reads.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod config;
mod desk;
mod http;
mod logs;
mod metrics;
mod postgres;

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use clap::Parser;
use fusion_catalogue::cpu;
use fusion_runtime::service::{Drained, Observer, Service};
use fusion_runtime::transport::tcp;
use fusion_runtime::{Error, Setting, output};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

use config::{Config, Kept};
use desk::Desk;
use http::Page;
use logs::{Logs, tame};
use metrics::Metrics;
use postgres::Postgres;

/// Serves Fusion plans to many clients, until it is told to end.
///
/// The configuration says what is served, to whom and within which limits; docs/operating.md of the
/// sources describes it. SIGTERM or SIGINT ends the service: sessions that run may end within
/// limits.drain_s, a second signal cuts them off. SIGHUP reads the configuration again. The first
/// line of output says where it listens; logs go to standard error.
///
/// Exit codes: 0 all sessions had ended when it ended, 5 some were cut off, 2 bad configuration or
/// state, 1 a bug.
#[derive(Debug, Parser)]
#[command(name = "fusion-server", version, max_term_width = 100)]
struct Args {
    /// The configuration, in TOML
    config: PathBuf,
    /// Check the configuration and all that it names, and do nothing else
    #[arg(long)]
    check_config: bool,
    /// Print what each client has spent and has left of its budget, as CSV, and do nothing else
    #[arg(long, conflicts_with = "check_config")]
    show_budgets: bool,
    /// Give a client positions of its budget back, and do nothing else: by its name, or its
    /// identity as --show-budgets prints it
    #[arg(long, value_name = "CLIENT", requires = "positions", conflicts_with_all = ["check_config", "show_budgets"])]
    refund: Option<String>,
    /// How many --refund gives back
    #[arg(long, value_name = "N", requires = "refund")]
    positions: Option<u64>,
}

/// Exit code of a service that cut sessions off.
const CUT_OFF: u8 = 5;

/// What the main thread is told.
enum Told {
    Signal(i32),
    /// The service does not accept any more.
    Accepted(std::io::Result<()>),
    Drained(Drained),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match std::panic::catch_unwind(|| run(&args)) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => {
            let hint = match &error {
                Error::Setting { setting: Setting::Plaintext, .. } => {
                    ": identity protects it, allow_plaintext permits it"
                }
                Error::Setting { setting: Setting::Credentials, .. } => {
                    " (identity; fusion-run --keygen makes a file for it)"
                }
                _ => "",
            };
            let _ = writeln!(std::io::stderr(), "fusion-server: {error}{hint}");
            ExitCode::from(error.exit_code())
        }
        Err(_) => ExitCode::from(1),
    }
}

fn run(args: &Args) -> Result<u8, Error> {
    cpu::from_environment().map_err(|refused| Error::Usage(format!("{}: {refused}", cpu::VARIABLE)))?;
    let config = Config::read(&args.config)?;
    if args.show_budgets {
        output::print(&config.budgets()?)?;
        return Ok(0);
    }
    if let (Some(client), Some(positions)) = (&args.refund, args.positions) {
        // Done is done, whoever hears of it: a failure here would ask for a second time.
        let _ = output::print(&config.refund(client, positions)?);
        return Ok(0);
    }
    let kept = config.kept()?;
    let settings = config.settings(kept.as_ref())?;
    let database = kept.as_ref().and_then(|kept| kept.database.clone());
    if args.check_config {
        let plans = config.plans.len();
        let text = format!("{} will do: {plans} plans, {} clients\n", args.config.display(), config.clients.len());
        let away = database.as_ref().and_then(|database| database.away());
        let away = away.map_or_else(String::new, |why| format!("but there are no budgets at the moment: {why}\n"));
        output::print(&(text + &away))?;
        return Ok(0);
    }
    let (tell, told) = mpsc::channel();
    // From here on a signal is heard, though nobody may look at it yet.
    signals(&tell).map_err(|error| Error::Usage(format!("signals cannot be waited for: {error}")))?;
    if let Some(threads) = config.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build_global().map_err(|error| Error::Usage(format!("threads = {threads}: {error}")))?;
    }
    let listener = tcp::listen(&config.listen, &config.tcp()?)?;
    let no_socket = |error: std::io::Error| Error::Usage(format!("the socket cannot be used: {error}"));
    let address = listener.local_addr().map_err(no_socket)?;
    let (http, http_address) = listen_http(&config)?;

    let logs = Logs::begin(&config.log);
    if let Some(database) = &database {
        database.watch();
    }
    let metrics = Arc::new(Metrics::new(logs.lost()));
    let desk = Arc::new(Desk::new(Arc::clone(&metrics), config.reports.clone())?);
    let service = Service::new(settings, desk as Arc<dyn Observer>);
    if let Some(http) = http {
        pages(http, Arc::clone(&service), metrics, database).map_err(no_socket)?;
    }
    let stopper = listener.try_clone().map_err(no_socket)?;
    let (own, tell_end) = (Arc::clone(&service), tell.clone());
    let accept = move || drop(tell_end.send(Told::Accepted(own.run(listener))));
    std::thread::Builder::new().name("fusion-accept".into()).spawn(accept).map_err(no_socket)?;

    let (plans, clients) = (config.plans.len(), config.clients.len());
    info!(%address, http = http_address, plans, clients, version = env!("CARGO_PKG_VERSION"), "listening");
    // For scripts; if nobody reads it, that changes nothing.
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
    notify(&[NotifyState::Ready]);
    let code = attend(args, config, kept.as_ref(), &service, &stopper, &logs, (&tell, &told));
    if let Some(database) = kept.as_ref().and_then(|kept| kept.database.as_ref()) {
        database.finish();
    }
    drop(logs);
    Ok(code)
}

/// Does what signals say, until the service has ended.
fn attend(
    args: &Args,
    mut config: Config,
    kept: Option<&Kept>,
    service: &Arc<Service>,
    listener: &TcpListener,
    logs: &Logs,
    (tell, told): (&Sender<Told>, &Receiver<Told>),
) -> u8 {
    let mut stopping = false;
    loop {
        // The channel is open for as long as this thread has a sender.
        let Ok(message) = told.recv() else { return 1 };
        match message {
            Told::Signal(SIGHUP) if !stopping => {
                if let Ok(usec) = NotifyState::monotonic_usec_now() {
                    notify(&[NotifyState::Reloading, usec]);
                }
                reload(args, &mut config, kept, service, logs);
                notify(&[NotifyState::Ready]);
            }
            Told::Signal(SIGHUP) => {}
            Told::Signal(_) if stopping => {
                warn!("told again to end: sessions are cut off");
                service.give_up();
            }
            Told::Signal(signal) => {
                stopping = true;
                let sessions = service.status().load.sessions;
                info!(signal, sessions, drain_s = config.limits.drain_s, "about to end");
                notify(&[NotifyState::Stopping]);
                service.stop(listener);
                let (own, tell) = (Arc::clone(service), tell.clone());
                let patience = Duration::from_secs(config.limits.drain_s);
                let drain = move || drop(tell.send(Told::Drained(own.drain(patience))));
                if let Err(why) = std::thread::Builder::new().name("fusion-drain".into()).spawn(drain) {
                    error!(why = tame(&why), "no thread to wait for sessions: they are cut off");
                    return CUT_OFF;
                }
            }
            Told::Accepted(_) if stopping => {}
            Told::Accepted(outcome) => {
                let why = outcome.err().map_or_else(|| "it ended".to_owned(), |error| tame(&error));
                error!(why, "the service does not accept any more");
                return 1;
            }
            Told::Drained(Drained::Finished) => {
                info!("ended; all sessions had ended");
                return 0;
            }
            Told::Drained(Drained::CutOff(clients)) => {
                warn!(clients, "ended; sessions were cut off");
                return CUT_OFF;
            }
        }
    }
}

/// Reads the configuration again. What is wrong changes nothing.
fn reload(args: &Args, config: &mut Config, kept: Option<&Kept>, service: &Service, logs: &Logs) {
    let read = Config::read(&args.config).and_then(|new| Ok((new.settings(kept)?, new)));
    let (settings, new) = match read {
        Ok(read) => read,
        Err(why) => return error!(why = tame(&why), "the new configuration is refused, the old one stays"),
    };
    let fixed = |config: &Config| {
        let http = config.http.as_ref().map(|http| http.listen);
        (config.listen.clone(), config.threads, http, config.log.format)
    };
    let same_budgets = match (&new.budget, &config.budget) {
        (Some(new), Some(old)) => new.is_where(old),
        (new, old) => new.is_none() && old.is_none(),
    };
    let reports = |config: &Config| config.reports.as_ref().map(|reports| (reports.directory.clone(), reports.keep));
    if fixed(&new) != fixed(config) || reports(&new) != reports(config) || !same_budgets {
        let why = "listen, threads, http, log.format, where budgets are kept and reports are not reloaded: restart \
                   for them";
        return error!(why, "the new configuration is refused, the old one stays");
    }
    // A service that listens beyond this machine must not lose its protection.
    if let Err(why) = new.tcp().and_then(|tcp| tcp::check(&new.listen, &tcp)) {
        return error!(why = tame(&why), "the new configuration is refused, the old one stays");
    }
    logs.level(new.log.level);
    let cut_off = service.reload(settings);
    *config = new;
    let (plans, clients) = (config.plans.len(), config.clients.len());
    info!(plans, clients, cut_off, "the configuration was read again");
}

fn listen_http(config: &Config) -> Result<(Option<TcpListener>, Option<String>), Error> {
    let Some(http) = &config.http else { return Ok((None, None)) };
    let refuse = |error: std::io::Error| Error::Usage(format!("http.listen {}: {error}", http.listen));
    let listener = TcpListener::bind(http.listen).map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?.to_string();
    Ok((Some(listener), Some(address)))
}

/// What the address for health and metrics shows.
fn pages(
    listener: TcpListener,
    service: Arc<Service>,
    metrics: Arc<Metrics>,
    database: Option<Arc<Postgres>>,
) -> std::io::Result<()> {
    let pages = move |path: &str| {
        let status = service.status();
        let budgets = database.as_ref().is_none_or(|database| database.away().is_none());
        match path {
            "/live" => Some(Page::plain("200 OK", "live\n")),
            "/ready" if status.stopping => Some(Page::plain("503 Service Unavailable", "about to end\n")),
            "/ready" if !budgets => Some(Page::plain("503 Service Unavailable", "no budgets at the moment\n")),
            "/ready" => Some(Page::plain("200 OK", "ready\n")),
            "/metrics" => Some(Page {
                status: "200 OK",
                kind: "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text: metrics.text(status, budgets),
            }),
            _ => None,
        }
    };
    http::serve(listener, Arc::new(pages))
}

fn signals(tell: &Sender<Told>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let tell = tell.clone();
    let listen = move || signals.forever().all(|signal| tell.send(Told::Signal(signal)).is_ok());
    std::thread::Builder::new().name("fusion-signals".into()).spawn(listen).map(drop)
}

/// Tells systemd, if it wants to know.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(state) {
        warn!(why = tame(&why), "systemd was not told");
    }
}
