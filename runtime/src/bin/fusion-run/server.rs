//! `--role server`: waits for clients and serves them one after the other.

use fusion_ir::Plan;
use fusion_runtime::session::Limits;
use fusion_runtime::transport::{Tls, tcp};
use fusion_runtime::{Budget, Error, Event, PlanFile, Server, ServerReport, output, report, store};

use crate::Ending;
use crate::args::Args;
use crate::progress::Bar;
use crate::verdict::{megabytes, say, warn_plaintext};

/// Serves `--sessions` sessions. The error, if any, is the last failed session's: others go on.
pub fn run(args: &Args) -> Result<Ending, Error> {
    let listen = args.need("--listen", &args.listen)?;
    if let Some(path) = &args.report {
        output::prepare(path)?;
    }
    let file = PlanFile::open(args.plan())?;
    let limits = limits(args, file.plan())?;
    let mut server = Server::of_file(file, args.flow())?.limits(limits);
    if let Some(budget) = budget(args)? {
        server = server.budget(budget);
    }
    let tcp = args.tcp()?;
    let fingerprint = tcp.tls.as_ref().map(Tls::fingerprint);
    let mut listener = tcp::Listener::bind(listen, tcp)?;
    let address = listener.address()?;
    if (tcp::Peer { address, fingerprint }).is_exposed() {
        warn_plaintext();
    }
    // The first line of output, for scripts.
    say(format_args!("listening on {address}"));

    let mut outcome = Ok(Ending::Finished);
    let sessions = args.sessions.unwrap_or(1);
    for left in (0..sessions).rev() {
        let served = session(args, &server, &mut listener);
        if let Err(error) = served {
            if left > 0 {
                eprintln!("fusion-run: {error}");
            }
            outcome = Err(error);
        }
    }
    outcome
}

/// What this server accepts.
pub fn limits(args: &Args, plan: &Plan) -> Result<Limits, Error> {
    let limits = Limits::of(plan, args.flow())?;
    Ok(Limits { positions: args.max_positions.unwrap_or(limits.positions), ..limits })
}

/// What each client may still have answered, unless that is anything.
fn budget(args: &Args) -> Result<Option<Budget>, Error> {
    let Some(positions) = args.budget else { return Ok(None) };
    let path =
        args.budget_file.clone().map_or_else(|| store::default_place("budget.redb", "--budget-file FILE"), Ok)?;
    Budget::open(&path, positions).map(Some)
}

fn session(args: &Args, server: &Server, listener: &mut tcp::Listener) -> Result<(), Error> {
    let mut bar = None;
    let watch = &mut |event: Event<'_>| {
        if let Event::Step(step) = event {
            bar.get_or_insert_with(|| Bar::new(args.quiet)).show(step);
        }
    };
    let served = server.serve(listener, watch);
    drop(bar);
    let served = served?;
    if let Some(path) = &args.report {
        output::write(path, report::to_json(&served.report)?.as_bytes())?;
    }
    if !args.quiet {
        say(format_args!("served {}: {}", served.name, summary(&served.report)));
    }
    Ok(())
}

fn summary(served: &ServerReport) -> String {
    let bytes = &served.run.bytes;
    format!(
        "{} positions, {} received, {} sent, {:.1} s (what the client concluded is its own)",
        served.batch.positions,
        megabytes(bytes.client_to_server),
        megabytes(bytes.server_to_client),
        served.run.time_s.total
    )
}
