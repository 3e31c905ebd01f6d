//! `--role server`: waits for clients and serves them one after the other.

use std::net::TcpListener;

use fusion_ir::Plan;
use fusion_runtime::session::{BatchSize, Limits};
use fusion_runtime::transport::Tls;
use fusion_runtime::transport::tcp::{self, TcpOptions};
use fusion_runtime::{Budget, Error, Identity, PlanFile, ServerReport, output, report, resolve, run_server_if, store};

use crate::Ending;
use crate::args::Args;
use crate::progress::Bar;
use crate::verdict::{megabytes, say, warn_plaintext};

/// Positions of one session unless the flag says otherwise.
const MAX_POSITIONS: u64 = 1 << 20;

/// Serves `--sessions` sessions. The error, if any, is the last failed session's: others go on.
pub fn run(args: &Args) -> Result<Ending, Error> {
    let listen = args.need("--listen", &args.listen)?;
    if let Some(path) = &args.report {
        output::prepare(path)?;
    }
    let file = PlanFile::open(args.plan())?;
    let limits = limits(args, file.plan())?;
    let budget = budget(args)?;
    let tcp = args.tcp()?;
    let listener = tcp::listen(listen, &tcp)?;
    let address = listener.local_addr().map_err(|error| Error::Usage(format!("cannot listen on {listen}: {error}")))?;
    warn_plaintext(&tcp::Peer { address, fingerprint: tcp.tls.as_ref().map(Tls::fingerprint) });
    // The first line of output, for scripts.
    say(format_args!("listening on {address}"));

    let mut outcome = Ok(Ending::Finished);
    let sessions = args.sessions.unwrap_or(1);
    for left in (0..sessions).rev() {
        let served = session(args, &tcp, &file, limits, budget.as_ref(), &listener);
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
    Ok(Limits {
        positions: args.max_positions.unwrap_or(MAX_POSITIONS),
        micro_batch: match args.micro_batch {
            Some(given) => given,
            None => {
                let steps = resolve(&plan.function)?;
                args.flow().largest(&steps)?
            }
        },
        streams: args.flow().streams(),
    })
}

/// What each client may still have answered, unless that is anything.
fn budget(args: &Args) -> Result<Option<Budget>, Error> {
    let Some(positions) = args.budget else { return Ok(None) };
    let path =
        args.budget_file.clone().map_or_else(|| store::default_place("budget.redb", "--budget-file FILE"), Ok)?;
    Budget::open(&path, positions).map(Some)
}

fn session(
    args: &Args,
    tcp: &TcpOptions,
    file: &PlanFile,
    limits: Limits,
    budget: Option<&Budget>,
    listener: &TcpListener,
) -> Result<(), Error> {
    let (connection, peer) = tcp::accept(listener, tcp)?;
    let client = Identity::of(&peer);
    let admission =
        &mut |size: BatchSize| budget.map_or(Ok(()), |budget| budget.spend(&client, size.schedule.positions));
    let bar = Bar::new(args.quiet);
    let served = run_server_if(admission, Box::new(connection), file.plan(), file, limits, &mut |step| bar.show(step));
    drop(bar);
    let served = served?;
    if let Some(path) = &args.report {
        output::write(path, report::to_json(&served)?.as_bytes())?;
    }
    if !args.quiet {
        say(format_args!("served {}: {}", peer.address, summary(&served)));
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
