//! What people read at the end.

use std::io::Write;

use fusion_ir::Plan;
use fusion_runtime::ClientReport;
use fusion_runtime::transport::tcp::Peer;

/// The verdict in one paragraph.
pub fn line(report: &ClientReport, plan: &Plan) -> String {
    let (verdict, batch) = (&report.verdict, &report.batch);
    let unverified_plan = if plan.is_verified() { "" } else { " (the plan was compiled with --no-verify)" };
    if !verdict.verified {
        return format!(
            "UNVERIFIED (--no-verify): {} labels, believed as the server gave them{unverified_plan}",
            batch.queries
        );
    }
    let public = format!(
        "{} of {} public samples correct, {} errors tolerated",
        verdict.public_correct, verdict.public_total, verdict.tolerated
    );
    let probes = match verdict.probes_total {
        0 => String::new(),
        total => format!(", {} of {total} probes as before", verdict.probes_correct),
    };
    let public = public + &probes;
    if !verdict.accepted {
        let why = if verdict.consistent { "" } else { "copies of a query got different answers; " };
        let hint = match verdict.consistent && verdict.public_correct > 0 {
            true => "; if an honest model makes such errors, --accuracy says so",
            false => "",
        };
        return format!("REJECTED: {why}{public}{hint}. No label is shown{unverified_plan}");
    }
    let bits = (verdict.lambda_achieved_bits * 10.0).floor() / 10.0;
    let caught = match verdict.smallest_eps_99 {
        Some(eps) => {
            format!(", a server wrong on {:.1} % of samples is caught with 99 %", (eps * 1000.0).ceil() / 10.0)
        }
        None => String::new(),
    };
    format!(
        "ACCEPTED: {} labels, {} copies of each agree, {public}; a wrong label at fixed positions passes with \
         2^-{bits:.1}{caught}{unverified_plan}",
        batch.queries, batch.copies
    )
}

/// Bytes for people.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// Prints a line for people. If nobody reads it any more, that changes nothing about the run.
pub fn say(line: impl std::fmt::Display) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Says that the connection is not protected, if it leaves this machine.
pub fn warn_plaintext(peer: &Peer) {
    if !peer.address.ip().is_loopback() && peer.fingerprint.is_none() {
        eprintln!(
            "fusion-run: warning: the connection is neither encrypted nor authenticated (--allow-plaintext): anyone \
             on the path can take either party's place"
        );
    }
}
