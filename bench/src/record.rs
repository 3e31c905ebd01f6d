//! The JSON beside every table: all that it takes to print the table and draw the plot again.

use std::path::Path;

use anyhow::Context;
use fusion_estimate::{Machine, Network};
use serde::{Deserialize, Serialize};

/// Version of the format.
pub const VERSION: u32 = 2;

/// One run of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub record_version: u32,
    /// Where it ran.
    pub host: Host,
    /// What ran.
    pub versions: Versions,
    /// The machine profile that times were forecast with.
    pub machine: Machine,
    /// What was measured.
    pub rows: Vec<Row>,
    /// What other systems took beside it.
    #[serde(default)]
    pub peers: Vec<PeerRow>,
}

/// The machine, as far as it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Processor.
    pub processor: String,
    /// Processors that the program may use.
    pub threads: usize,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Operating system and its version.
    pub system: String,
    /// Load averages over 1, 5 and 15 minutes at the start and at the end, both parties of the
    /// bench included.
    pub load: [Option<[f64; 3]>; 2],
    /// Seconds since 1970 at the start.
    pub unix_time: u64,
}

/// What ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    /// This program.
    pub bench: String,
    /// The commit it was built from, with a remark if files had been changed since.
    pub commit: String,
    /// The compiler that built it.
    pub rustc: String,
    /// How it was built: `release` or `debug`.
    pub profile: String,
    /// The command line.
    pub command: Vec<String>,
}

/// Whether the client checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Every query once, and the server is believed.
    SemiHonest,
    /// Copies of the queries, and public samples.
    Verified,
}

/// A plan on a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the workload.
    pub workload: String,
    /// What the plan was compiled with as `--backend`.
    pub backend: String,
    /// Name of the network.
    pub network_name: String,
    /// The emulated link.
    pub network: Network,
    /// Whether the client checks.
    pub mode: Mode,
    /// The batch that the figures are of.
    pub batch: BatchShape,
    /// Seconds of every repetition, from the handshake to the last message, for the whole batch.
    /// Where fewer positions were run than the batch has, in proportion: then set-up is counted too
    /// often, never too rarely.
    pub seconds: Vec<f64>,
    /// Positions that were run in each repetition.
    pub positions_run: u64,
    /// Positions that went through the layers together.
    pub micro_batch: u32,
    /// Micro-batches in flight.
    pub streams: u8,
    /// Seconds forecast for the positions that were run, and what they took, the median of all
    /// repetitions.
    pub forecast_and_measured_s: [f64; 2],
    /// Processor seconds of both parties, the median of all repetitions, in proportion as
    /// `seconds`.
    pub cpu_s: Option<f64>,
    /// Bytes of the whole batch. Exact; where fewer positions were run, theirs were measured equal
    /// to the forecast.
    pub bytes: Directions,
    /// Rounds of the whole batch, exact likewise.
    pub rounds: u64,
    /// What made correlations.
    pub supply: String,
    /// Correlated OTs of the positions that were run, by receiver.
    pub correlations: [u64; 2],
    /// Peak memory of the process with both parties, by then.
    pub memory_peak_bytes: Option<u64>,
    /// SHA-256 of the plan's public section.
    pub plan_digest: String,
    /// The layers that have messages, over the positions that were run, from the last repetition.
    pub layers: Vec<Layer>,
}

/// Another system on a network: one query by itself, semi-honest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerRow {
    /// The system and its settings.
    pub peer: String,
    /// Name of the workload.
    pub workload: String,
    /// Name of the network.
    pub network_name: String,
    /// The emulated link.
    pub network: Network,
    /// Each repetition.
    pub runs: Vec<PeerRun>,
}

/// One session of another system. Times are the client's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerRun {
    /// Its version, as it says.
    pub version: String,
    /// Seconds of its compiler.
    pub compile_s: f64,
    /// Seconds until both parties were connected and the weights shared.
    pub setup_s: f64,
    /// Bytes of that, both ways.
    pub setup_bytes: u64,
    /// Seconds of the first query, with what comes once in a session.
    pub first_s: f64,
    /// Bytes of the first query.
    pub first_bytes: Directions,
    /// Seconds of a query: the second, or the first if that was long.
    pub seconds: f64,
    /// Processor seconds of both parties for it.
    pub cpu_s: f64,
    /// Its bytes, counted on the link, with what its transport adds.
    pub bytes: Directions,
    /// The label of the image.
    pub label: i64,
    /// Peak memory of the party with more of it.
    pub memory_peak_bytes: u64,
}

impl PeerRow {
    /// Median of the repetitions' seconds.
    pub fn median_s(&self) -> f64 {
        median(self.runs.iter().map(|run| run.seconds).collect())
    }

    /// Bytes of a query, both ways, the median.
    pub fn bytes(&self) -> f64 {
        median(self.runs.iter().map(|run| run.bytes.both() as f64).collect())
    }
}

impl Directions {
    /// Both together.
    pub fn both(&self) -> u64 {
        self.client_to_server + self.server_to_client
    }
}

/// A batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchShape {
    /// Queries.
    pub queries: u64,
    /// Copies of each.
    pub copies: u64,
    /// Public samples.
    pub public: u64,
    /// All of them.
    pub positions: u64,
}

/// Bytes each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directions {
    /// From client to server.
    pub client_to_server: u64,
    /// From server to client.
    pub server_to_client: u64,
}

/// One layer of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The value, `v7` for example.
    pub value: String,
    /// Its operation.
    pub op: String,
    /// Who computes it.
    pub backend: String,
    /// The ONNX node it comes from.
    pub node: String,
    /// Seconds that the client measured.
    pub seconds: f64,
    /// Seconds forecast.
    pub forecast_s: f64,
    /// Bytes both ways.
    pub bytes: u64,
}

impl Row {
    /// Median of the repetitions' seconds.
    pub fn median_s(&self) -> f64 {
        median(self.seconds.clone())
    }

    /// The shortest of the repetitions' seconds.
    pub fn shortest_s(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Seconds of a query.
    pub fn seconds_per_query(&self) -> f64 {
        self.median_s() / self.batch.queries as f64
    }

    /// Bytes of a query, both ways.
    pub fn bytes_per_query(&self) -> f64 {
        self.bytes.both() as f64 / self.batch.queries as f64
    }

    /// How far the forecast time is off, as a fraction of the measured one.
    pub fn forecast_error(&self) -> f64 {
        let [forecast, measured] = self.forecast_and_measured_s;
        (forecast / measured - 1.0).abs()
    }
}

impl Record {
    /// Reads a record's file.
    ///
    /// # Errors
    /// If it cannot be read or is none of this version.
    pub fn read(path: &Path) -> anyhow::Result<Record> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let record: Record =
            serde_json::from_str(&text).with_context(|| format!("{} is no record of this program", path.display()))?;
        anyhow::ensure!(record.record_version == VERSION, "{} has another version", path.display());
        Ok(record)
    }

    /// Writes the record.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// The median; of two middle ones their mean; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => (values[(n - 1) / 2] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A row of which only what is given matters.
    pub fn row(backend: &str, network: &str, mode: Mode, seconds: &[f64], bytes: u64) -> Row {
        Row {
            workload: "resnet20".into(),
            backend: backend.into(),
            network_name: network.into(),
            network: Network::WAN,
            mode,
            batch: BatchShape { queries: 2, copies: 1, public: 0, positions: 2 },
            seconds: seconds.to_vec(),
            positions_run: 2,
            micro_batch: 2,
            streams: 1,
            forecast_and_measured_s: [1.1, 1.0],
            cpu_s: Some(1.5),
            bytes: Directions { client_to_server: bytes / 2, server_to_client: bytes - bytes / 2 },
            rounds: 30,
            supply: "softspoken(k=4)".into(),
            correlations: [5, 6],
            memory_peak_bytes: None,
            plan_digest: "00".into(),
            layers: vec![Layer {
                value: "v1".into(),
                op: "conv".into(),
                backend: "cheetah".into(),
                node: "c".into(),
                seconds: 0.5,
                forecast_s: 0.6,
                bytes: 7,
            }],
        }
    }

    /// A record of these rows.
    pub fn record(rows: Vec<Row>) -> Record {
        let host = Host {
            processor: "p".into(),
            threads: 2,
            memory_bytes: Some(1 << 34),
            system: "s".into(),
            load: [Some([0.5, 0.25, 0.125]), None],
            unix_time: 1,
        };
        let versions = Versions {
            bench: "0".into(),
            commit: "c".into(),
            rustc: "r".into(),
            profile: "release".into(),
            command: vec!["fusion-bench".into()],
        };
        Record { record_version: VERSION, host, versions, machine: Machine::default(), rows, peers: Vec::new() }
    }

    #[test]
    fn records_survive_their_file() {
        let record = record(vec![row("auto", "wan", Mode::Verified, &[3.0, 1.0, 2.0], 11)]);
        let file = tempfile::NamedTempFile::new().unwrap();
        record.write(file.path()).unwrap();
        assert_eq!(Record::read(file.path()).unwrap(), record);
        std::fs::write(file.path(), "{}").unwrap();
        assert!(Record::read(file.path()).unwrap_err().to_string().contains("no record"));
    }

    #[test]
    fn figures_are_per_query() {
        let row = row("auto", "wan", Mode::SemiHonest, &[3.0, 1.0, 2.0], 11);
        assert_eq!((row.median_s(), row.seconds_per_query(), row.bytes_per_query()), (2.0, 1.0, 5.5));
        assert!((row.forecast_error() - 0.1).abs() < 1e-12);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }
}
