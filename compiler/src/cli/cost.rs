//! `fusionc cost`.

use std::fmt::Write;
use std::path::PathBuf;

use fusion_catalogue::ot::{OtPool, OtSource};
use fusion_catalogue::{Cost, Keys, Schedule, Steps};
use fusion_estimate::{SessionTime, SessionTrace};
use fusion_ir::op::Mix;
use fusion_ir::{Op, Party, Plan, ValueId};

use super::policy::PolicyArgs;
use super::target::TargetArgs;
use super::{output, read_plan};
use crate::Error;
use crate::passes::select::{Candidate, Choice, Scale, Target};

/// Positions of a session that is large: what happens once hardly counts.
const LARGE_SESSION: u64 = 1024;

/// Say what a plan costs, layer by layer: bytes each way and rounds, exactly; time on the network
/// and the machine, as a model
#[derive(clap::Args)]
pub(super) struct Args {
    /// A plan, the server's or the client's
    plan: PathBuf,
    /// Key pairs of each position, as the client chooses them: one for every layer or one for all
    /// (layer or position) [default: layer where it adds at most 1 % to a position's bytes]
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
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    policy: PolicyArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let plan = read_plan(&args.plan)?;
    let verified = plan.function.values.iter().any(|value| value.op == Op::Check);
    let mix =
        if verified { args.policy.suggestion()?.1 } else { Mix { queries: args.policy.queries, copies: 1, public: 0 } };
    let positions = mix.queries * mix.copies + mix.public;
    let target = args.target.target(positions, Choice::Auto)?;
    let steps = Steps::of(&plan.function)?;
    let keys = args.keys.unwrap_or_else(|| Keys::of(&steps));
    let session = session(&steps, keys, &target);
    let mut text = format!(
        "{:<6} {:<14} {:<28} {:<18} {:>13} {:>13} {:>6} {:>10}  {}\n",
        "value", "operation", "node", "backend", "to server", "to client", "rounds", "ms", "runner-up"
    );
    let mut scale = Scale::new(&plan.function, &target);
    for (id, value) in plan.function.iter().filter(|(_, value)| !value.op.is_local()) {
        let cost = steps.get(id).cost(keys, 1);
        let row = [&id.to_string(), value.op.name(), &value.node, &value.backend.to_string()];
        let seconds = session.layers[id.index()].seconds / target.schedule.micro_batch as f64;
        let _ = writeln!(text, "{}  {}", line(row, &cost, seconds), runner_up(&plan, id, &mut scale, &target));
    }
    let total: Cost = steps.costs(keys, 1).into_iter().sum();
    let correlations = Correlations::new(&total, positions);
    let each = (session.seconds - session.setup_s) / target.schedule.micro_batch as f64;
    let schedule = Schedule::even(positions, args.micro_batch, args.in_flight);
    let whole_s = SessionTrace::new(&steps, schedule, keys).seconds(&target.machine, target.network);
    let _ = writeln!(text, "{}", line(["", "one position", "", ""], &total, each));
    let mut setup = steps.shared(keys).once();
    setup.then(&correlations.supply.setup());
    let _ = writeln!(text, "{}", line(["", "set-up", "once per session", ""], &setup, session.setup_s));
    let supply = correlations.supply.to_string();
    let _ = writeln!(text, "{}", line(["", "OTs", "of all positions", &supply], &correlations.draws, 0.0));
    let factor = positions as f64 / mix.queries as f64;
    let once = correlations.draws.both_ways() + setup.both_ways();
    let bytes = total.both_ways() as f64 * factor + once as f64 / mix.queries as f64;
    let Mix { queries, copies, public } = mix;
    let _ = writeln!(
        text,
        "bytes and rounds are of one position by itself; ms of one among {} that share their rounds, by {}",
        target.schedule.micro_batch, target.machine.name
    );
    let _ = writeln!(text, "RLWE key pairs of one position: {} (by {keys})", keys.pairs(&steps));
    let _ = writeln!(
        text,
        "{queries} queries, {copies} copies of each, {public} public samples: {positions} positions in micro-batches of {}, {} in flight, about {} and {} per query",
        schedule.micro_batch,
        schedule.streams,
        output::bytes(bytes as u64),
        output::seconds(whole_s / queries as f64)
    );
    output::print(&text)
}

/// The oblivious transfers of a session.
struct Correlations {
    supply: OtSource,
    draws: Cost,
}

impl Correlations {
    /// Of so many positions that each cost `position`, one by one.
    fn new(position: &Cost, positions: u64) -> Correlations {
        let supply = OtSource::for_demand(position.tiles().map(|tiles| tiles * positions));
        let mut stock = OtPool::new(supply);
        let mut draws = Cost::default();
        (0..positions).for_each(|_| draws.then(&position.generator(&mut stock)));
        Correlations { supply, draws }
    }
}

/// Two lines for the end of a compilation.
pub(super) fn forecast(plan: &Plan, target: &Target) -> Result<String, Error> {
    let steps = Steps::of(&plan.function)?;
    let keys = Keys::of(&steps);
    let total: Cost = steps.costs(keys, 1).into_iter().sum();
    // With its part of the OTs of a large session.
    let draws = Correlations::new(&total, LARGE_SESSION).draws;
    let bytes = output::bytes(total.both_ways() + draws.both_ways() / LARGE_SESSION);
    let session = session(&steps, keys, target);
    let seconds = (session.seconds - session.setup_s) / target.schedule.micro_batch as f64;
    let mut text = format!(
        "cost      {bytes} and {} rounds per position; about {} each on this network, {} together, by {}\n",
        total.rounds(),
        output::seconds(seconds),
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

/// The time of one micro-batch.
fn session(steps: &Steps, keys: Keys, target: &Target) -> SessionTime {
    let schedule = Schedule { positions: u64::from(target.schedule.micro_batch), ..target.schedule };
    SessionTrace::new(steps, schedule, keys).play(&target.machine, target.network)
}

fn line([id, op, node, backend]: [&str; 4], cost: &Cost, seconds: f64) -> String {
    let (up, down) = (cost.bytes(Party::Client), cost.bytes(Party::Server));
    let ms = 1e3 * seconds;
    format!("{id:<6} {op:<14} {node:<28} {backend:<18} {up:>13} {down:>13} {:>6} {ms:>10.2}", cost.rounds())
}

/// The best of what was not chosen, and why not: what it would take more or less.
fn runner_up(plan: &Plan, id: ValueId, scale: &mut Scale<'_>, target: &Target) -> String {
    let all = scale.candidates(&plan.function, id);
    let chosen = all.iter().find(|candidate| candidate.backend == plan.function.value(id).backend);
    let other = all.iter().find(|candidate| Some(candidate.backend) != chosen.map(|chosen| chosen.backend));
    let (Some(chosen), Some(other)) = (chosen, other) else { return String::new() };
    let more = |of: fn(&Candidate) -> f64| 1e3 * (of(other) - of(chosen)) / target.schedule.micro_batch as f64;
    let (computing, network) = (more(|c| c.computing_s), more(|c| c.seconds - c.computing_s));
    format!("{} {:+.2} ms: computing {computing:+.2}, network {network:+.2}", other.backend, computing + network)
}
