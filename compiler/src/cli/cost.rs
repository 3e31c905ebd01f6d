//! `fusionc cost`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use fusion_catalogue::{Cost, Keys, Schedule};
use fusion_ir::op::Mix;
use fusion_ir::{Op, Party, Plan};

use super::policy::PolicyArgs;
use super::target::TargetArgs;
use super::{output, read_plan};
use crate::Error;
use crate::cost::{self, Batch, Costs, RunnerUp};
use crate::page;
use crate::passes::select::{Choice, Target};

/// Positions of a session that is large: what happens once hardly counts.
const LARGE_SESSION: u64 = 1024;

/// Say what a plan costs, layer by layer: bytes each way and rounds, exactly; time on the network
/// and the machine, as a model
#[derive(clap::Args)]
pub(super) struct Args {
    /// A plan, the server's or the client's
    plan: PathBuf,
    /// Key pairs of each position, as the client chooses them (layer, position or ahead): one for
    /// every layer; one for all; or as for layer, and linear layers are computed on masks, ahead of
    /// their operands [default: ahead for a batch of up to 4 positions that is forecast to be
    /// clearly quicker so; else layer where it adds at most 1 % to a position's bytes]
    #[arg(long, value_name = "WHICH")]
    keys: Option<Keys>,
    /// Positions that the client runs through the layers together, most: as many as its memory
    /// holds
    #[arg(long, value_name = "N", default_value_t = Schedule::LARGEST_MICRO_BATCH,
          value_parser = clap::value_parser!(u32).range(1..))]
    micro_batch: u32,
    /// Micro-batches at the same time, most, as the client has it
    #[arg(long, value_name = "N", default_value_t = Schedule::MOST_STREAMS,
          value_parser = clap::value_parser!(u8).range(1..=Schedule::MOST_STREAMS as i64))]
    in_flight: u8,
    /// Write it as a page for a browser too, with batches of other sizes and other networks
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    policy: PolicyArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let outputs: Vec<&Path> = args.html.iter().map(PathBuf::as_path).collect();
    output::spare(&[Some(&args.plan)], &outputs)?;
    let plan = read_plan(&args.plan)?;
    let mix = cost::mix(&plan, args.policy.of(args.policy.queries))?;
    let target = args.target.target(cost::positions(&mix), Choice::Auto)?;
    let costs = Costs::new(&plan, &target, args.keys)?;
    let batch = costs.batch(mix, args.micro_batch, args.in_flight);
    if let Some(path) = &args.html {
        // Of sizes that no batch can have under this policy there is nothing to say.
        let mixes = page::SIZES.iter().filter_map(|queries| cost::mix(&plan, args.policy.of(*queries)).ok());
        let others: Vec<Batch> = mixes.map(|mix| costs.batch(mix, args.micro_batch, args.in_flight)).collect();
        output::write_files(&[(path, page::cost(&costs, &batch, &others).into_bytes())])?;
    }
    output::print(&text(&costs, &batch))
}

fn text(costs: &Costs<'_>, batch: &Batch) -> String {
    let mut text = format!(
        "{:<6} {:<14} {:<28} {:<18} {:>13} {:>13} {:>6} {:>10}  {}\n",
        "value", "operation", "node", "backend", "to server", "to client", "rounds", "ms", "runner-up"
    );
    let (function, target) = (&costs.plan().function, costs.target());
    let position = costs.position();
    for (layer, other) in position.layers.iter().zip(costs.runners_up()) {
        let value = function.value(layer.id);
        let row = [&layer.id.to_string(), value.op.name(), &value.node, &value.backend.to_string()];
        let other = other.as_ref().map(runner_up).unwrap_or_default();
        let _ = writeln!(text, "{}  {other}", line(row, &layer.cost, layer.seconds));
    }
    let _ = writeln!(text, "{}", line(["", "one position", "", ""], &position.total, position.seconds));
    let mut setup = position.setup;
    setup.then(&batch.supply.setup());
    let _ = writeln!(text, "{}", line(["", "set-up", "once per session", ""], &setup, position.setup_s));
    let supply = batch.supply.to_string();
    let _ = writeln!(text, "{}", line(["", "OTs", "of all positions", &supply], &batch.draws, 0.0));
    let Mix { queries, copies, public } = batch.mix;
    let _ = writeln!(
        text,
        "bytes and rounds are of one position by itself; ms of one among {} that share their rounds, by {}",
        target.schedule.micro_batch, target.machine.name
    );
    let _ = writeln!(text, "RLWE key pairs of one position: {} (by {})", costs.key_pairs(), costs.keys());
    let _ = writeln!(
        text,
        "{queries} queries, {copies} copies of each, {public} public samples: {} positions in micro-batches of {}, {} in flight, about {} and {} per query",
        batch.positions(),
        batch.schedule.micro_batch,
        batch.schedule.streams,
        output::bytes(batch.query_bytes),
        output::seconds(batch.query_s())
    );
    text
}

/// Two lines for the end of a compilation.
pub(super) fn forecast(plan: &Plan, target: &Target) -> Result<String, Error> {
    let position = Costs::new(plan, target, None)?.position();
    // With its part of the OTs of a large session.
    let (_, draws) = cost::transfers(&position.total, LARGE_SESSION);
    let bytes = output::bytes(position.total.both_ways() + draws.both_ways() / LARGE_SESSION);
    let mut text = format!(
        "cost      {bytes} and {} rounds per position; about {} each on this network, {} together, by {}\n",
        position.total.rounds(),
        output::seconds(position.seconds),
        target.schedule.micro_batch,
        target.machine.name
    );
    if let Some(Op::Mix(Mix { queries, copies, public })) = plan.function.values.get(1).map(|value| &value.op) {
        let _ = writeln!(
            text,
            "verified  suggested for {queries} queries: {copies} copies of each, {public} public samples"
        );
    } else {
        text += "verified  NO: the client will trust the server\n";
    }
    Ok(text)
}

fn line([id, op, node, backend]: [&str; 4], cost: &Cost, seconds: f64) -> String {
    let (up, down) = (cost.bytes(Party::Client), cost.bytes(Party::Server));
    let ms = 1e3 * seconds;
    format!("{id:<6} {op:<14} {node:<28} {backend:<18} {up:>13} {down:>13} {:>6} {ms:>10.2}", cost.rounds())
}

/// The best of what was not chosen: what it would take more or less.
fn runner_up(other: &RunnerUp) -> String {
    let [computing, network] = [other.computing_s, other.network_s].map(|seconds| 1e3 * seconds);
    format!("{} {:+.2} ms: computing {computing:+.2}, network {network:+.2}", other.backend, computing + network)
}
