//! `--doctor`: what is known of a server that would serve, of the network to it, and of what a
//! batch would take there. No session, no position.

use std::path::Path;
use std::time::Duration;

use fusion_catalogue::cpu::{self, Form};
use fusion_estimate::{Machine, Network};
use fusion_ir::Op;
use fusion_runtime::session::hello::{PROTOCOL_VERSION, hex};
use fusion_runtime::transport::{Turn, tcp};
use fusion_runtime::{Client, Error, Flow, output, store};

use crate::Ending;
use crate::args::{Args, said};
use crate::verdict::{self, complain, say};

/// Asks each server, and says what there is to say.
pub fn run(args: &Args, client: &Client, servers: &[tcp::Server]) -> Result<Ending, Error> {
    // What one server says does not hide what the next one does.
    let mut ended = Ok(Ending::Finished);
    for server in servers {
        if let Err(error) = one(args, client, server, servers.len() as u64)
            && let Err(earlier) = std::mem::replace(&mut ended, Err(error))
        {
            complain(said(&earlier));
        }
    }
    ended
}

/// Asks one of `of` servers.
fn one(args: &Args, client: &Client, server: &tcp::Server, of: u64) -> Result<(), Error> {
    let asked = client.ask(server)?;
    if asked.exposed {
        verdict::warn_plaintext();
    }
    let ms = |time: Duration| format!("{:.1} ms", 1e3 * time.as_secs_f64());
    let encrypted = if server.options.tls.is_some() { "TLS 1.3" } else { "no TLS" };
    let line = |what: &str, found: String| say(format_args!("{what:<12}{found}"));
    line("server", format!("{}, connected in {}", asked.name, ms(asked.connected)));
    line("identity", format!("{}, {encrypted}", asked.identity));
    line("protocol", format!("{PROTOCOL_VERSION}, as the server's"));
    line("plan", format!("{}, as the server's", hex(&client.plan().digest())));
    line("queue", queue(asked.turn));
    let Some(network) = asked.network else {
        line("network", "not measured: the server had no time for it".into());
        return Ok(());
    };
    let kept = keep(network, &server.address).map_or_else(String::new, |path| format!(" ({path})"));
    let Network { mbit_per_s, rtt_ms } = network;
    line("network", format!("{rtt_ms:.2} ms there and back, {mbit_per_s:.1} Mbit/s at least each way{kept}"));
    if let Some(queries) = args.queries {
        line("batch", batch(args, client, [queries, of], network)?);
    }
    Ok(())
}

/// When a session that asked for a turn now would have it.
fn queue(turn: Option<Turn>) -> String {
    match turn {
        Some(Turn { before: 0, wait: Some(Duration::ZERO) }) => "nobody waits".into(),
        Some(turn) => turn.to_string(),
        None => "this server does not say".into(),
    }
}

/// What a batch of so many queries is made of, and what one of so many servers would take for its
/// part.
fn batch(args: &Args, client: &Client, [queries, of]: [u64; 2], network: Network) -> Result<String, Error> {
    let verified = !args.no_verify && client.plan().function.values.iter().any(|value| value.op == Op::Check);
    let (positions, made_of) = match verified {
        true => {
            let batch = args.policy().plan(queries, None).map_err(|why| Error::Usage(why.to_string()))?;
            let (copies, public) = (batch.copies, batch.public);
            (batch.positions(), format!("{queries} queries, {copies} copies of each, {public} public samples"))
        }
        false => (queries, format!("{queries} queries, unverified")),
    };
    let (machine, origin) = machine();
    // As a client that has measured it has it.
    let client = client.clone().flow(Flow { network: Some(network), ..args.flow() });
    let (seconds, bytes) = client.foretell(positions.div_ceil(of), &machine, network)?;
    let megabytes = bytes as f64 / 1e6;
    let made_of = if of > 1 { format!("{made_of}, one part in {of}") } else { made_of };
    Ok(format!("{made_of}: about {seconds:.1} s and {megabytes:.1} MB, by {} ({origin})", machine.name))
}

/// The profile that `fusionc calibrate` measured here, else a built-in one.
fn machine() -> (Machine, &'static str) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let read = || {
        let path = store::default_place("machine.json", "").ok()?;
        let machine: Machine = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let of_here = machine.is_of(&cpu::processor(), Form::in_use(), threads).is_ok();
        (of_here && machine.is_complete()).then_some((machine, "measured here"))
    };
    read().unwrap_or_else(|| (Machine::built_in(Form::in_use()), "not measured here: see fusionc calibrate"))
}

/// Writes the network to where `fusionc --network auto` looks, and [`known_network`]; where that
/// is. Having no such place is no reason to fail.
fn keep(network: Network, server: &str) -> Option<String> {
    let path = store::default_place("network.toml", "").ok()?;
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).ok()?;
    let text = format!("# by fusion-run --doctor\n{SERVER} = {server}\n{network}");
    output::write(&path, text.as_bytes()).ok()?;
    Some(path.display().to_string())
}

/// The line that says to whom the network was measured.
const SERVER: &str = "server";

/// The network to this server, if it is the one that was measured last.
pub fn known_network(server: &str) -> Option<Network> {
    let text = std::fs::read_to_string(store::default_place("network.toml", "").ok()?).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let measured = lines.filter(|(name, _)| name.trim() == SERVER).map(|(_, value)| value.trim()).next()?;
    if measured == server { text.parse().ok() } else { None }
}
