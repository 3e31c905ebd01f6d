//! What a service has done, as OpenMetrics. No label is chosen by a client.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fusion_runtime::ServerReport;
use fusion_runtime::service::{Refusal, Status};

use crate::logs::Lost;

type Labels<const N: usize> = [(&'static str, String); N];
type Counts<const N: usize> = Family<Labels<N>, Counter>;

/// The metrics of a service.
pub struct Metrics {
    registry: Mutex<Registry>,
    sessions: Counts<2>,
    refused: Counts<1>,
    strays: Counter,
    not_accepted: Counter,
    positions: Counts<1>,
    bytes: Counts<2>,
    rounds: Counts<1>,
    seconds: Family<Labels<1>, Histogram>,
    waited: Histogram,
    layers: Family<Labels<1>, Counter<f64, AtomicU64>>,
    now: Now,
    lost: Lost,
}

/// What is read when it is asked for.
#[derive(Default)]
struct Now {
    running: Gauge,
    queued: Gauge,
    pending: Gauge,
    memory: Gauge,
    memory_limit: Gauge,
    resident: Gauge,
    stopping: Gauge,
    budgets: Gauge,
    lost: Gauge,
}

/// How a session that had started ended.
#[derive(Clone, Copy, Debug)]
pub enum Ended {
    /// All its positions were answered.
    Served,
    /// The client or the connection failed, or was cut.
    Peer,
    /// This side failed.
    Failed,
}

impl Ended {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Ended::Served => "served",
            Ended::Peer => "peer_failed",
            Ended::Failed => "failed",
        }
    }
}

impl Metrics {
    /// All zero.
    pub fn new(lost: Lost) -> Metrics {
        let mut registry = Registry::with_prefix("fusion");
        let seconds = || Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0]);
        let metrics = Metrics {
            registry: Mutex::default(),
            sessions: Counts::default(),
            refused: Counts::default(),
            strays: Counter::default(),
            not_accepted: Counter::default(),
            positions: Counts::default(),
            bytes: Counts::default(),
            rounds: Counts::default(),
            seconds: Family::new_with_constructor(seconds),
            waited: seconds(),
            layers: Family::default(),
            now: Now::default(),
            lost,
        };
        let Metrics { sessions, refused, strays, not_accepted, positions, bytes, rounds, .. } = &metrics;
        registry.register("sessions", "Sessions that started, by how they ended", sessions.clone());
        registry.register("refused", "Clients that were turned away, by kind of reason", refused.clone());
        registry.register("stray_connections", "Connections of which none was a client's", strays.clone());
        registry.register("not_accepted", "Connections or threads that the system did not give", not_accepted.clone());
        registry.register("positions", "Positions of sessions that started", positions.clone());
        registry.register_with_unit("traffic", "Bytes of served sessions", Unit::Bytes, bytes.clone());
        registry.register("rounds", "Rounds of served sessions", rounds.clone());
        let Metrics { seconds, waited, layers, now, .. } = &metrics;
        let unit = || Unit::Seconds;
        registry.register_with_unit("session", "How long sessions took", unit(), seconds.clone());
        registry.register_with_unit("wait", "How long clients waited for their turn", unit(), waited.clone());
        registry.register_with_unit("layer", "Time in layers, by operation; streams add up", unit(), layers.clone());
        registry.register("running_sessions", "Sessions that run", now.running.clone());
        registry.register("queue_length", "Clients that wait for their turn", now.queued.clone());
        registry.register("pending_connections", "Connections without a hello", now.pending.clone());
        let bytes = || Unit::Bytes;
        registry.register_with_unit("memory_forecast", "What sessions take, by forecast", bytes(), now.memory.clone());
        registry.register_with_unit("memory_limit", "Of how much", bytes(), now.memory_limit.clone());
        registry.register_with_unit("memory_resident", "What the process takes", bytes(), now.resident.clone());
        registry.register("stopping", "1 once no new sessions start", now.stopping.clone());
        registry.register("budgets_reachable", "0 while the database of budgets is away", now.budgets.clone());
        registry.register("log_lines_lost", "Log lines that nobody took", now.lost.clone());
        *lock(&metrics.registry) = registry;
        metrics
    }

    /// There was no client.
    pub fn stray(&self) {
        self.strays.inc();
    }

    /// The system gave no connection.
    pub fn not_accepted(&self) {
        self.not_accepted.inc();
    }

    /// A client was turned away.
    pub fn refused(&self, refusal: Refusal) {
        self.refused.get_or_create(&[("reason", refusal.name().to_owned())]).inc();
    }

    /// A session started.
    pub fn started(&self, plan: &str, positions: u64, waited: Duration) {
        self.positions.get_or_create(&[("plan", plan.to_owned())]).inc_by(positions);
        self.waited.observe(waited.as_secs_f64());
    }

    /// A session ended.
    pub fn ended(&self, plan: &str, ended: Ended, time: Duration) {
        self.sessions.get_or_create(&[("plan", plan.to_owned()), ("outcome", ended.name().to_owned())]).inc();
        self.seconds.get_or_create(&[("plan", plan.to_owned())]).observe(time.as_secs_f64());
    }

    /// What a session took that was served.
    pub fn served(&self, plan: &str, report: &ServerReport) {
        let run = &report.run;
        let plan = || ("plan", plan.to_owned());
        for (direction, bytes) in [("received", run.bytes.client_to_server), ("sent", run.bytes.server_to_client)] {
            self.bytes.get_or_create(&[plan(), ("direction", direction.to_owned())]).inc_by(bytes);
        }
        self.rounds.get_or_create(&[plan()]).inc_by(run.rounds);
        for time in &run.time_s.per_layer {
            self.layers.get_or_create(&[("operation", time.layer.op.to_owned())]).inc_by(time.seconds.max(0.0));
        }
    }

    /// All of it as text; `budgets` is whether they can be reached.
    pub fn text(&self, status: Status, budgets: bool) -> String {
        let Now { running, queued, pending, memory, memory_limit, resident, stopping, lost, .. } = &self.now;
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(running, status.load.sessions as u64);
        set(queued, status.load.queued as u64);
        set(pending, status.pending as u64);
        set(memory, status.load.memory_bytes);
        set(memory_limit, status.load.limit_bytes);
        set(resident, resident_bytes().unwrap_or(0));
        set(stopping, u64::from(status.stopping));
        set(&self.now.budgets, u64::from(budgets));
        set(lost, self.lost.lines());
        let mut text = String::new();
        // A string takes everything.
        let _ = encode(&mut text, &lock(&self.registry));
        text
    }
}

fn lock(registry: &Mutex<Registry>) -> std::sync::MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The process's resident set, where Linux's `/proc` says it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
