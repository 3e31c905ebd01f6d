//! What people see during a session: warnings, and on a terminal micro-batch, layer and bytes so
//! far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use fusion_runtime::ledger::Entry;
use fusion_runtime::transport::{Dial, Met, Turn, tcp};
use fusion_runtime::{Error, Event, Step};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Args;
use crate::verdict::{complain, warn, warn_plaintext};

/// Shows a client's session.
pub struct Screen {
    quiet: bool,
    risk_budget_bits: f64,
    bar: Option<Bar>,
    exposed: bool,
}

impl Screen {
    /// An empty one.
    pub fn new(args: &Args) -> Screen {
        Screen { quiet: args.quiet, risk_budget_bits: args.risk_budget(), bar: None, exposed: false }
    }

    /// Shows what has happened.
    pub fn show(&mut self, event: Event<'_>) {
        match event {
            // Once, however many servers there are.
            Event::Connected { exposed: true, .. } if !std::mem::replace(&mut self.exposed, true) => warn_plaintext(),
            Event::Counted { entry, public } => {
                warn_used(public, entry.public_fresh);
                warn_risk(&entry, self.risk_budget_bits);
            }
            Event::Waiting(turn) => self.bar.get_or_insert_with(|| Bar::new(self.quiet)).wait(turn),
            Event::Step(step) => self.bar.get_or_insert_with(|| Bar::new(self.quiet)).show(step),
            Event::Unrecorded { session, error } => {
                self.bar = None;
                warn(format_args!("session {session} stays without an outcome: {error}"));
            }
            _ => {}
        }
    }
}

fn warn_used(public: u64, fresh: u64) {
    if fresh < public {
        warn(format_args!(
            "{} of {public} public samples were part of a session before: they are no new evidence of accuracy, \
             {fresh} are",
            public - fresh
        ));
    }
}

fn warn_risk(entry: &Entry, budget_bits: f64) {
    if entry.risk_bits < budget_bits {
        let bits = (entry.risk_bits * 10.0).floor() / 10.0;
        warn(format_args!(
            "over the {} sessions of this ledger a label changed at chosen positions may have passed with probability \
             2^-{bits:.1}, more than the budget of 2^-{budget_bits} (--risk-budget)",
            entry.session
        ));
    }
}

/// A server that has not answered by then is waited for, which is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects to `server`, which may still be starting.
///
/// # Errors
/// As [`tcp::connect`].
pub fn dial(server: &tcp::Server, quiet: bool) -> Result<Met, Error> {
    let (answered, answer) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if answer.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) && !quiet {
                let tcp::Server { address, options } = server;
                complain(format_args!(
                    "waiting for a server at {address}, up to {} seconds in all (--timeout)",
                    options.timeout.as_secs()
                ));
            }
        });
        let met = server.dial();
        drop(answered);
        met
    })
}

/// A bar on standard error, invisible if that is not a terminal.
pub struct Bar {
    bar: ProgressBar,
    quiet: bool,
    /// Sessions that were before this one when that was last said; [`Bar::RUNS`] once it runs.
    before: AtomicU64,
}

impl Bar {
    /// A bar that is shown unless `quiet`.
    pub fn new(quiet: bool) -> Bar {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{bar:24} {percent:>3} % {elapsed:>4} {msg}");
        let bar = ProgressBar::with_draw_target(None, target);
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Bar { bar, quiet, before: AtomicU64::new(Bar::UNSAID) }
    }

    const UNSAID: u64 = u64::MAX;
    const RUNS: u64 = u64::MAX - 1;

    /// Shows when the session's turn comes; where there is no terminal, as a line whenever another
    /// number of sessions is before it. Once it runs, a server has no more to say of that.
    pub fn wait(&self, turn: Turn) {
        let said = self.before.load(Ordering::Relaxed);
        if said == Bar::RUNS {
            return;
        }
        self.before.store(turn.before.into(), Ordering::Relaxed);
        let text = format!("the server is busy: {turn}");
        match self.bar.is_hidden() {
            true if !self.quiet && said != u64::from(turn.before) => warn(format_args!("{text}")),
            true => {}
            false => self.bar.set_message(text),
        }
    }

    /// Shows what is about to run.
    pub fn show(&self, step: Step<'_>) {
        self.before.store(Bar::RUNS, Ordering::Relaxed);
        self.bar.set_length((step.micro_batches * step.layers) as u64);
        self.bar.set_position(step.done as u64);
        let bytes = HumanBytes(step.traffic.sent_bytes + step.traffic.received_bytes);
        let batch = format!("{}/{}", step.micro_batch + 1, step.micro_batches);
        self.bar.set_message(format!("micro-batch {batch}, {} {}, {bytes}", step.op, step.node));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
