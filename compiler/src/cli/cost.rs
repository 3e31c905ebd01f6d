//! `fusionc cost`.

use std::fmt::Write;
use std::path::PathBuf;

use fusion_catalogue::{Cost, Network};
use fusion_ir::op::Mix;
use fusion_ir::{Op, Party, Plan};

use super::network::{Choice, seconds};
use super::{compile::PolicyArgs, output, read_plan};
use crate::{Error, Unsupported};

/// Say what a plan costs, layer by layer: bytes each way and rounds, exactly; time on the network, as a model
#[derive(clap::Args)]
pub(super) struct Args {
    /// A plan, the server's or the client's
    plan: PathBuf,
    /// lan (3 Gbit/s, 0.8 ms), wan (400 Mbit/s, 40 ms), or a file with `mbit_per_s = N` and `rtt_ms = N`
    #[arg(long, default_value = "lan")]
    network: Choice,
    #[command(flatten)]
    policy: PolicyArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let plan = read_plan(&args.plan)?;
    let network = args.network.resolve()?;
    let mut text = format!(
        "{:<6} {:<14} {:<28} {:>13} {:>13} {:>6} {:>10}\n",
        "value", "operation", "node", "to server", "to client", "rounds", "network ms"
    );
    for (id, value) in plan.function.iter().filter(|(_, value)| !value.op.is_local()) {
        let cost = layer(&plan, id)?;
        let row = (id.to_string(), value.op.name(), value.node.as_str());
        let _ = writeln!(text, "{}", line(row, &cost, network));
    }
    let total = position(&plan)?;
    let _ = writeln!(text, "{}", line(("".into(), "one position", ""), &total, network));
    let _ = writeln!(text, "{}", line(("".into(), "set-up", "once per session"), &fusion_catalogue::setup(), network));
    let verified = plan.function.values.iter().any(|value| value.op == Op::Check);
    let mix =
        if verified { args.policy.suggestion()?.1 } else { Mix { queries: args.policy.queries, copies: 1, public: 0 } };
    let positions = mix.queries * mix.copies + mix.public;
    let per_query =
        (total.bytes(Party::Client) + total.bytes(Party::Server)) as f64 * positions as f64 / mix.queries as f64;
    let Mix { queries, copies, public } = mix;
    let _ = writeln!(
        text,
        "{queries} queries, {copies} copies of each, {public} public samples: {positions} positions, about {} per query",
        output::bytes(per_query as u64)
    );
    output::print(&text)
}

/// Two lines for the end of a compilation.
pub(super) fn forecast(plan: &Plan, network: Network) -> Result<String, Error> {
    let total = position(plan)?;
    let bytes = output::bytes(total.bytes(Party::Client) + total.bytes(Party::Server));
    let seconds = seconds(network, &total);
    let mut text =
        format!("cost      {bytes} and {} rounds per position, {seconds:.2} s on this network\n", total.rounds());
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

/// The messages of one operation on one position.
fn layer(plan: &Plan, id: fusion_ir::ValueId) -> Result<Cost, Error> {
    fusion_catalogue::layer(&plan.function, id, 1).map_err(|e| {
        let value = plan.function.value(id);
        Error::Unsupported(vec![Unsupported {
            node: value.node.clone(),
            op: value.op.name().into(),
            why: e.to_string(),
        }])
    })
}

/// The messages of the whole function on one position, set-up of the session left out.
fn position(plan: &Plan) -> Result<Cost, Error> {
    let mut total = fusion_catalogue::begin(1);
    for (id, _) in plan.function.iter() {
        total.then(&layer(plan, id)?);
    }
    Ok(total)
}

fn line((id, op, node): (String, &str, &str), cost: &Cost, network: Network) -> String {
    let (up, down) = (cost.bytes(Party::Client), cost.bytes(Party::Server));
    let ms = 1e3 * seconds(network, cost);
    format!("{id:<6} {op:<14} {node:<28} {up:>13} {down:>13} {:>6} {ms:>10.2}", cost.rounds())
}
