//! Measuring plans, each repetition of all of them before the next, so that what disturbs the
//! machine disturbs all alike.

use std::path::{Path, PathBuf};

use anyhow::Context;
use fusion_catalogue::Schedule;
use fusion_catalogue::ot::{Choice, OtSource};
use fusion_estimate::SessionTrace;
use fusion_estimate::{Machine, Network};
use fusion_ir::soundness::Policy;
use fusion_ir::{Plan, ValueId};
use fusion_runtime::Flow;
use fusion_runtime::forecast::Forecast;
use fusion_runtime::fusion::Job;
use fusion_runtime::resolve;
use fusion_runtime::session::BatchSize;

use crate::measure::{self, Measured};
use crate::peers::Spu;
use crate::prepare::Prepared;
use crate::record::{BatchShape, Directions, Layer, Mode, PeerRow, Row, median};
use crate::workload::{Folders, Workload};

/// How to measure.
pub struct Settings {
    /// Folder of the plans.
    pub folder: PathBuf,
    /// Networks for plans that are not made for one.
    pub networks: Vec<(String, Network)>,
    /// Repetitions.
    pub repeat: usize,
    /// Positions to run of a larger batch.
    pub sample: Option<u64>,
    /// Largest micro-batch, and how many are in flight.
    pub flow: Flow,
    /// The machine profile for forecasts.
    pub machine: Machine,
    /// Other systems to run beside the plans.
    pub peers: Vec<Spu>,
    /// Where their models are.
    pub folders: Folders,
}

/// A plan on a network, what is run of it, and what came out.
struct Entry<'a> {
    prepared: &'a Prepared,
    network_name: String,
    network: Network,
    batch: BatchShape,
    run: Vec<Measured>,
    /// How it is run.
    flow: Flow,
}

/// What is done with the rows so far, and with those of peers.
pub type Save<'a> = dyn FnMut(&[Row], &[PeerRow]) -> anyhow::Result<()> + 'a;

/// Measures `plans`, on every network that they are for. After every repetition `save` gets what
/// there is by then.
///
/// # Errors
/// If a plan cannot be read, a session fails, or `save` does.
pub fn run(plans: &[Prepared], settings: &Settings, save: &mut Save<'_>) -> anyhow::Result<Vec<Row>> {
    let mut entries = Vec::new();
    for prepared in plans {
        let made_for = |name: &String| prepared.network.as_ref().is_none_or(|network| network == name);
        for (network_name, network) in settings.networks.iter().filter(|(name, _)| made_for(name)) {
            let batch = batch(prepared)?;
            let (network_name, network) = (network_name.clone(), *network);
            entries.push(Entry { prepared, network_name, network, batch, run: Vec::new(), flow: settings.flow });
        }
    }
    let mut others = beside(&entries, settings)?;
    let mut rows = Vec::new();
    for repetition in 1..=settings.repeat {
        for entry in &mut entries {
            let Prepared { workload, backend, mode, .. } = entry.prepared;
            let plan = read(&settings.folder.join(&entry.prepared.file))?;
            let (job, flow) = job(entry, &plan, settings)?;
            entry.flow = flow;
            let measured = measure::session(&plan, &job, flow, entry.network)
                .with_context(|| format!("{workload} by {backend}"))?;
            let seconds = measured.report.run.time_s.total;
            eprintln!(
                "{repetition}/{} {workload} {mode:?} by {backend} on {}: {} of {} positions in {seconds:.2} s",
                settings.repeat, entry.network_name, measured.report.batch.positions, entry.batch.positions
            );
            entry.run.push(measured);
        }
        rows = entries.iter().map(|entry| row(entry, settings)).collect::<anyhow::Result<_>>()?;
        save(&rows, &peer_rows(&others))?;
        for at in 0..others.len() {
            let (row, spu, workload) = &others[at];
            let run = spu.run(workload, &settings.folders, row.network);
            let run = run.with_context(|| format!("{} by {}", row.workload, row.peer))?;
            eprintln!(
                "{repetition}/{} {} by {} on {}: {:.2} s, the first {:.2} s",
                settings.repeat, row.workload, row.peer, row.network_name, run.seconds, run.first_s
            );
            others[at].0.runs.push(run);
            save(&rows, &peer_rows(&others))?;
        }
    }
    Ok(rows)
}

/// Every peer on every workload and network that plans are measured on.
fn beside<'s>(entries: &[Entry], settings: &'s Settings) -> anyhow::Result<Vec<(PeerRow, &'s Spu, Workload)>> {
    let mut all: Vec<(PeerRow, &Spu, Workload)> = Vec::new();
    for entry in entries {
        let name = &entry.prepared.workload;
        let workload = Workload::named(name).with_context(|| format!("there is no workload {name:?}"))?;
        for spu in &settings.peers {
            let (peer, network_name) = (spu.name(), entry.network_name.clone());
            let row = PeerRow { peer, workload: name.clone(), network_name, network: entry.network, runs: Vec::new() };
            if all.iter().all(|(other, ..)| *other != row) {
                all.push((row, spu, workload));
            }
        }
    }
    Ok(all)
}

/// Those that have run.
fn peer_rows(others: &[(PeerRow, &Spu, Workload)]) -> Vec<PeerRow> {
    others.iter().map(|(row, ..)| row.clone()).filter(|row| !row.runs.is_empty()).collect()
}

/// The batch that a plan is for.
fn batch(prepared: &Prepared) -> anyhow::Result<BatchShape> {
    let queries = prepared.queries;
    Ok(match prepared.mode {
        Mode::SemiHonest => BatchShape { queries, copies: 1, public: 0, positions: queries },
        Mode::Verified => {
            let batch = policy(prepared.lambda).plan(queries, None)?;
            BatchShape { queries, copies: batch.copies, public: batch.public, positions: batch.positions() }
        }
    })
}

/// An honest server's answers are the reference's, so no error need be tolerated.
fn policy(lambda: f64) -> Policy {
    Policy { lambda, largest_share: Some(0.5), ..Policy::default() }
}

/// The batch, or as many positions as are run of it, and how. The server cannot tell a copy or a
/// public sample from a query, so a part of a verified batch is a semi-honest batch of as many
/// positions; its correlations are made as the whole batch's would be.
fn job(entry: &Entry, plan: &Plan, settings: &Settings) -> anyhow::Result<(Job, Flow)> {
    let mut flow = settings.flow;
    if let Some(sample) = settings.sample.filter(|sample| *sample < entry.batch.positions) {
        if flow.offline.choice == Choice::Auto {
            let steps = resolve(&plan.function)?;
            let whole = flow.size(&steps, entry.batch.positions as usize)?;
            flow.offline.choice = match Forecast::new(&steps, whole).supply(0) {
                OtSource::SoftSpoken(_) => Choice::SoftSpoken,
                OtSource::Silent(_) => Choice::Silent,
            };
        }
        return Ok((Job::unverified(measure::rows(plan, sample as usize))?, flow));
    }
    let queries = entry.batch.queries;
    let job = match entry.prepared.mode {
        Mode::Verified => measure::verified(plan, queries, policy(entry.prepared.lambda))?,
        Mode::SemiHonest => Job::unverified(measure::rows(plan, queries as usize))?,
    };
    Ok((job, flow))
}

fn row(entry: &Entry, settings: &Settings) -> anyhow::Result<Row> {
    let plan = read(&settings.folder.join(&entry.prepared.file))?;
    let last = &entry.run.last().context("nothing was run")?.report;
    let run = &last.run;
    let (positions, micro_batch, streams) = (last.batch.positions, last.batch.micro_batch, last.batch.streams);
    let steps = resolve(&plan.function)?;
    let keys = last.batch.keys;
    let size = BatchSize::new(entry.batch.positions, micro_batch, streams, entry.flow.offline, keys);
    let whole = Forecast::new(&steps, size);
    let mut course = SessionTrace::new(&steps, Schedule { positions, micro_batch, streams }, keys);
    course.correlations = entry.flow.offline.choice;
    let forecast = course.play(&settings.machine, entry.network);
    let share = entry.batch.positions as f64 / positions as f64;
    let seconds: Vec<f64> = entry.run.iter().map(|measured| measured.report.run.time_s.total).collect();
    let cpu: Option<Vec<f64>> = entry.run.iter().map(|measured| measured.cpu_s).collect();
    let layers = run.time_s.per_layer.iter().zip(&run.bytes.per_layer).zip(&forecast.layers).enumerate();
    let layers = layers.filter(|(_, ((_, bytes), _))| bytes.client_to_server + bytes.server_to_client > 0);
    Ok(Row {
        workload: entry.prepared.workload.clone(),
        backend: entry.prepared.backend.clone(),
        network_name: entry.network_name.clone(),
        network: entry.network,
        mode: entry.prepared.mode,
        batch: entry.batch,
        forecast_and_measured_s: [forecast.seconds, median(seconds.clone())],
        seconds: seconds.iter().map(|seconds| seconds * share).collect(),
        positions_run: positions,
        micro_batch,
        streams,
        cpu_s: cpu.map(|cpu| median(cpu) * share),
        bytes: Directions {
            client_to_server: whole.predicted.client_to_server,
            server_to_client: whole.predicted.server_to_client,
        },
        rounds: whole.predicted.rounds,
        supply: course.supply(0).to_string(),
        correlations: [run.correlations.client_receives_ots, run.correlations.server_receives_ots],
        memory_peak_bytes: run.memory_peak_bytes,
        plan_digest: run.plan_digest.clone(),
        layers: layers
            .map(|(index, ((time, bytes), forecast))| Layer {
                value: time.layer.value.clone(),
                op: time.layer.op.into(),
                backend: plan.function.value(ValueId(index as u32)).backend.to_string(),
                node: time.layer.node.clone(),
                seconds: time.seconds,
                forecast_s: forecast.seconds,
                bytes: bytes.client_to_server + bytes.server_to_client,
            })
            .collect(),
    })
}

fn read(path: &Path) -> anyhow::Result<Plan> {
    Ok(fusion_runtime::input::plan(path)?)
}
