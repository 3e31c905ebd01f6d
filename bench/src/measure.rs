//! One session: both parties in this process, each on a thread of its own, over an emulated link.

use std::time::Duration;

use anyhow::{Context, anyhow};
use fusion_estimate::Network;
use fusion_ir::{Plan, Weights, interp};
use fusion_runtime::Answers;
use fusion_runtime::fusion::{Job, PublicSample, Row, RowDigest};
use fusion_runtime::session::Limits;
use fusion_runtime::transport::Connection;
use fusion_runtime::transport::link::{LinkReader, LinkWriter, link};
use fusion_runtime::{ClientReport, Flow, run_client, run_server};

use crate::host::cpu_s;
use fusion_ir::soundness::Policy;

/// Longest silence; emulated links never stall, so it is one of a party that computes.
const STALL: Duration = Duration::from_secs(600);

/// What a session took.
pub struct Measured {
    /// What the client reports.
    pub report: ClientReport,
    /// Processor seconds of both parties, where the system says it.
    pub cpu_s: Option<f64>,
}

/// Runs `job` on a plan with weights.
///
/// # Errors
/// Whatever either party meets; and if bytes or rounds are not those forecast, or a verdict is not
/// acceptance.
pub fn session(plan: &Plan, job: &Job, flow: Flow, network: Network) -> anyhow::Result<Measured> {
    let limits = Limits { positions: u64::MAX >> 1, micro_batch: u32::MAX, streams: u8::MAX, ahead: u32::MAX };
    // One after the other, as the forecast of time has it.
    let [client, server] = link(network).map(|(reader, writer)| connection(reader, writer));
    let (client, server) = (client?, server?);
    let before = cpu_s();
    let client_plan = plan.for_client();
    let (report, served) = std::thread::scope(|scope| {
        let server = scope.spawn(|| run_server(Box::new(server), plan, limits, &mut |_| ()));
        (run_client(Box::new(client), &client_plan, job, flow, &mut |_| ()), server.join())
    });
    let cpu_s = before.zip(cpu_s()).map(|(before, after)| after - before);
    let served = served.map_err(|_| anyhow!("the server's thread panicked"))?;
    let report = match (report, served) {
        (Ok(report), Ok(_)) => report,
        (Err(client), Err(server)) => return Err(anyhow!("client: {client}; server: {server}")),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => return Err(error.into()),
    };
    let run = &report.run;
    let measured = (run.bytes.client_to_server, run.bytes.server_to_client, run.rounds);
    let forecast = (run.predicted.client_to_server, run.predicted.server_to_client, run.predicted.rounds);
    anyhow::ensure!(measured == forecast, "bytes and rounds {measured:?} are not those forecast, {forecast:?}");
    anyhow::ensure!(report.verdict.accepted, "the client rejects an honest server");
    Ok(Measured { report, cpu_s })
}

/// `count` inputs for a plan: its demo samples over and over, or made-up ones.
pub fn inputs(plan: &Plan, count: usize) -> Vec<Vec<i64>> {
    let ty = &plan.function.values[0].ty;
    let made_up = || vec![(0..ty.len() as i64).map(|i| i * 7919 % (1 << ty.magnitude.min(62))).collect()];
    let distinct = match &plan.demo {
        Some(demo) if !demo.inputs.is_empty() => demo.inputs.clone(),
        _ => made_up(),
    };
    distinct.iter().cycle().take(count).cloned().collect()
}

/// [`inputs`] as the rows of a job.
pub fn rows(plan: &Plan, count: usize) -> Vec<Row> {
    inputs(plan, count).into_iter().map(Row::from).collect()
}

/// A verified batch that an honest server passes: the known labels are the reference's.
///
/// # Errors
/// If the policy cannot be met or the plan has no weights.
pub fn verified(plan: &Plan, queries: u64, policy: Policy) -> anyhow::Result<Job> {
    let weights: &Weights = plan.weights.as_ref().context("a plan without weights")?;
    let needed = policy.plan(queries, None)?.public as usize;
    let distinct = inputs(plan, plan.demo.as_ref().map_or(1, |demo| demo.inputs.len().clamp(1, needed.max(1))));
    let answers = Answers::new(plan);
    let known: Vec<(Vec<i64>, Vec<i64>)> = distinct
        .into_iter()
        .map(|input| (answers.meaning(&interp::output(&plan.function, weights, &input)), input))
        .collect();
    // There may be fewer inputs than samples: each sample passes for one of its own.
    let row = |index: usize, elements: Vec<i64>| Row { elements, digest: RowDigest::of([index as f64]) };
    let queries: Vec<Row> = (0..).zip(inputs(plan, queries as usize)).map(|(at, input)| row(at, input)).collect();
    let public = (queries.len()..).zip(known.iter().cycle().take(needed).cloned());
    let public =
        public.map(|(at, (labels, input))| PublicSample { row: row(at, input), known: labels.into() }).collect();
    Ok(Job::verified(queries, public, policy)?)
}

fn connection(reader: LinkReader, writer: LinkWriter) -> std::io::Result<Connection> {
    Connection::new(reader, writer, STALL)
}
