//! The report: one JSON document per run and party. Its fields are a contract; [`VERSION`] changes
//! when they do.
//!
//! The client's report has a verdict and, if it accepted, labels. The server's has neither: it
//! cannot know them. Bytes include frame headers but no signs of life; `rounds` is how often the
//! reporting party turned from sending to receiving.

use std::time::Duration;

use fusion_catalogue::Keys;
use fusion_catalogue::cpu::Form;
use fusion_ir::{Function, Party, Plan};
use serde::Serialize;

use crate::Error;
use crate::executor::{Spent, Totals};
use crate::forecast::Forecast;
pub use crate::forecast::{Correlations, Predicted};
use crate::ledger::Entry;
use crate::session::hello::{PROTOCOL_VERSION, hex};
use crate::transport::Traffic;

/// Version of the report's format.
pub const VERSION: u32 = 5;

/// What the client's user gets to know.
#[derive(Clone, Debug, Serialize)]
pub struct ClientReport {
    /// [`VERSION`].
    pub report_version: u32,
    /// Always `client`.
    pub role: &'static str,
    /// What was concluded.
    pub verdict: Verdict,
    /// What was run.
    pub batch: ClientBatch,
    /// How the client's ledger counts the session; `null` if none is kept.
    pub ledger: Option<Entry>,
    /// What each shard took, of a batch over several servers; left out of one with one server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardRun>,
    /// One label per query, in input order, the best one if there are several; only if accepted,
    /// and if labels are revealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<i64>>,
    /// The values revealed about each query; only if accepted, and if values are revealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Vec<f64>>>,
    /// All labels revealed about each query, best first; only if accepted and the plan reveals
    /// several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_labels: Option<Vec<Vec<i64>>>,
    /// Everything revealed about each query, as [`Answers`](crate::Answers) reads it; only if
    /// accepted.
    #[serde(skip)]
    pub answers: Option<Vec<Vec<i64>>>,
    /// What it took.
    #[serde(flatten)]
    pub run: Run,
}

/// What the server's user gets to know.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReport {
    /// [`VERSION`].
    pub report_version: u32,
    /// Always `server`.
    pub role: &'static str,
    /// What was run.
    pub batch: ServerBatch,
    /// What it took.
    #[serde(flatten)]
    pub run: Run,
}

/// The client's conclusion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether the labels stand. Without verification: always, and it means nothing.
    pub accepted: bool,
    /// Whether anything was verified.
    pub verified: bool,
    /// Whether all copies of each query agreed.
    pub consistent: bool,
    /// Public samples answered rightly: with all the labels that are known of them, or with values
    /// within the tolerance.
    pub public_correct: u64,
    /// Public samples.
    pub public_total: u64,
    /// Wrong public answers that would still have been accepted.
    pub tolerated: u64,
    /// Known-answer probes answered exactly as before.
    pub probes_correct: u64,
    /// Known-answer probes; none may be wrong.
    pub probes_total: u64,
    /// What the plan reveals of each position: `label`, `topk:K`, `logits` or `value`.
    pub revealed: String,
    /// Of the revealed labels, best first, how many the public labels name; the others, and logits,
    /// public samples do not verify.
    pub ranks_verified: usize,
    /// How far a public answer may be from the known value to be correct; `null` for labels. Of
    /// values, bits are about answers that are more than twice as far from the honest model's.
    pub tolerance: Option<f64>,
    /// The least accuracy of the honest model, as the client was told. The bits below rest on it.
    pub accuracy_claimed: f64,
    /// The largest share of a label among inputs: as the client was told, or a bound from the
    /// public labels that holds with 99 %.
    pub largest_share: f64,
    /// Bits asked for.
    pub lambda_requested: f64,
    /// Position consistency: `-log2` of the probability that a label is accepted of a server that
    /// changes all labels at fixed positions, where the honest model is right, rounded down.
    /// `null`, here and below, stands for infinity.
    pub lambda_achieved_bits: f64,
    /// The same of a server that changes all labels.
    pub relabel_all_bits: f64,
    /// The same of a server that gives one label at fixed positions.
    pub forced_label_bits: f64,
    /// The same of a server that gives one label to every input.
    pub constant_label_bits: f64,
    /// The same of a server that draws labels at random.
    pub random_labels_bits: f64,
    /// Smallest error rate that the fresh public samples catch with probability 0.99; `null` if
    /// none. Without a ledger all of them are taken for fresh.
    pub smallest_eps_99: Option<f64>,
    /// Sessions of the batch, each with some server: all numbers above are of all servers together.
    pub servers: usize,
}

/// What the client ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClientBatch {
    /// Queries.
    pub queries: u64,
    /// Copies of each.
    pub copies: u64,
    /// Public samples.
    pub public: u64,
    /// Known-answer probes.
    pub probes: u64,
    /// Positions in all.
    pub positions: u64,
    /// Positions that ran through the layers together; of shards, in the largest.
    pub micro_batch: u32,
    /// Micro-batches that ran at the same time, likewise.
    pub streams: u8,
    /// Which layers had a key pair of their own: `layer` if all that do not pack their results,
    /// `position` if none; `ahead` as `layer`, if linear layers were computed on masks.
    pub keys: Keys,
}

/// One shard of a batch over several servers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardRun {
    /// The server's address.
    pub server: String,
    /// Positions.
    pub positions: u64,
    /// Positions that ran through the layers together.
    pub micro_batch: u32,
    /// Micro-batches that ran at the same time.
    pub streams: u8,
    /// Bytes from client to server.
    pub client_to_server: u64,
    /// Bytes from server to client.
    pub server_to_client: u64,
    /// As for the whole run.
    pub rounds: u64,
    /// From its handshake to its last message.
    pub seconds: f64,
}

/// What the server saw of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServerBatch {
    /// Positions in all.
    pub positions: u64,
    /// Positions that ran through the layers together.
    pub micro_batch: u32,
    /// Micro-batches that ran at the same time.
    pub streams: u8,
    /// Which layers had a key pair of their own: `layer` if all that do not pack their results,
    /// `position` if none; `ahead` as `layer`, if linear layers were computed on masks.
    pub keys: Keys,
}

/// What a run took.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Wall times.
    pub time_s: Times,
    /// Bytes on the wire.
    pub bytes: Bytes,
    /// How often this party turned from sending to receiving, over the handshake and all streams.
    pub rounds: u64,
    /// By stream; streams ran side by side.
    pub streams: Vec<StreamTraffic>,
    /// Correlated OTs consumed.
    pub correlations: Correlations,
    /// What was predicted from the plan.
    pub predicted: Predicted,
    /// Peak resident memory of the process; `null` where the system does not say.
    pub memory_peak_bytes: Option<u64>,
    /// What was predicted of it, for this party alone in its process.
    pub memory_forecast_bytes: u64,
    /// SHA-256 of the plan's public section, in hexadecimal.
    pub plan_digest: String,
    /// The form of the inner loops, as `FUSION_CPU` names it.
    pub kernels: &'static str,
    /// What ran.
    pub versions: Versions,
}

/// Wall times in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    /// From the handshake to the last message.
    pub total: f64,
    /// Set-up and keys: what does not depend on the inputs and comes before each micro-batch's
    /// first layer.
    pub offline: f64,
    /// Everything from the inputs on.
    pub online: f64,
    /// By layer, over all micro-batches; those at the same time are counted each.
    pub per_layer: Vec<LayerTime>,
}

/// One layer's time.
#[derive(Clone, Debug, Serialize)]
pub struct LayerTime {
    /// Value, operation and ONNX node.
    #[serde(flatten)]
    pub layer: Layer,
    /// Seconds.
    pub seconds: f64,
}

/// Bytes on the wire.
#[derive(Clone, Debug, Serialize)]
pub struct Bytes {
    /// From client to server.
    pub client_to_server: u64,
    /// From server to client.
    pub server_to_client: u64,
    /// By layer, over all micro-batches.
    pub per_layer: Vec<LayerBytes>,
}

/// One layer's bytes and rounds.
#[derive(Clone, Debug, Serialize)]
pub struct LayerBytes {
    /// Value, operation and ONNX node.
    #[serde(flatten)]
    pub layer: Layer,
    /// From client to server.
    pub client_to_server: u64,
    /// From server to client.
    pub server_to_client: u64,
    /// As for the whole run.
    pub rounds: u64,
}

/// What one stream of micro-batches exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StreamTraffic {
    /// From client to server.
    pub client_to_server: u64,
    /// From server to client.
    pub server_to_client: u64,
    /// As for the whole run: what this many round trips on the network take, a stream takes at
    /// least.
    pub rounds: u64,
}

/// Which layer.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// The value, `v7` for example.
    pub value: String,
    /// Its operation.
    pub op: &'static str,
    /// The ONNX node it comes from.
    pub node: String,
}

/// What ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// This program.
    pub runtime: &'static str,
    /// The protocol between the parties.
    pub protocol: u16,
    /// The plan format.
    pub plan: u32,
    /// What compiled the plan.
    pub compiler: String,
}

impl Run {
    /// Puts together what `party` measured. `total` covers the whole connection, handshake
    /// included.
    pub fn new(
        party: Party,
        plan: &Plan,
        total: Spent,
        totals: &Totals,
        forecast: &Forecast,
        memory_forecast_bytes: u64,
    ) -> Run {
        let Forecast { predicted, correlations, .. } = *forecast;
        let (client_to_server, server_to_client) = directions(party, total.traffic);
        let layers = || totals.layers.iter().zip(layers(&plan.function));
        Run {
            time_s: Times {
                total: seconds(total.time),
                offline: seconds(totals.offline.time),
                online: seconds(total.time.saturating_sub(totals.offline.time)),
                per_layer: layers().map(|(spent, layer)| LayerTime { layer, seconds: seconds(spent.time) }).collect(),
            },
            bytes: Bytes {
                client_to_server,
                server_to_client,
                per_layer: layers()
                    .map(|(spent, layer)| {
                        let (client_to_server, server_to_client) = directions(party, spent.traffic);
                        LayerBytes { layer, client_to_server, server_to_client, rounds: spent.traffic.rounds }
                    })
                    .collect(),
            },
            rounds: total.traffic.rounds,
            streams: totals.streams.iter().map(|traffic| StreamTraffic::new(party, *traffic)).collect(),
            correlations,
            predicted,
            memory_peak_bytes: memory_peak_bytes(),
            memory_forecast_bytes,
            plan_digest: hex(&plan.digest()),
            kernels: Form::in_use().name(),
            versions: Versions {
                runtime: env!("CARGO_PKG_VERSION"),
                protocol: PROTOCOL_VERSION,
                plan: fusion_ir::plan::VERSION,
                compiler: plan.provenance.compiler.clone(),
            },
        }
    }
}

/// A report as the text of its file.
///
/// # Errors
/// [`Error::Bug`]: every report has a text.
pub fn to_json(report: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(report).map(|text| text + "\n").map_err(|error| Error::Bug(error.to_string()))
}

impl StreamTraffic {
    fn new(party: Party, traffic: Traffic) -> StreamTraffic {
        let (client_to_server, server_to_client) = directions(party, traffic);
        StreamTraffic { client_to_server, server_to_client, rounds: traffic.rounds }
    }
}

/// Bytes from client to server and back.
fn directions(party: Party, traffic: Traffic) -> (u64, u64) {
    match party {
        Party::Client => (traffic.sent_bytes, traffic.received_bytes),
        Party::Server => (traffic.received_bytes, traffic.sent_bytes),
    }
}

fn layers(function: &Function) -> impl Iterator<Item = Layer> {
    function.iter().map(|(id, value)| Layer { value: id.to_string(), op: value.op.name(), node: value.node.clone() })
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// The process's peak resident set, where Linux's `/proc` says it.
fn memory_peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
