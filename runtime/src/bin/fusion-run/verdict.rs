//! What people read at the end.

use std::io::Write;

use fusion_ir::Plan;
use fusion_runtime::ClientReport;
use fusion_runtime::report::Verdict;

/// The verdict, and if the answers are accepted what it excludes and what not: one line each.
pub fn words(report: &ClientReport, plan: &Plan) -> String {
    let (verdict, batch) = (&report.verdict, &report.batch);
    let what = if verdict.revealed == "value" { "value" } else { "label" };
    let unverified_plan = if plan.is_verified() { "" } else { " (the plan was compiled with --no-verify)" };
    if !verdict.verified {
        return format!(
            "UNVERIFIED (--no-verify): {} {what}s, believed as the server gave them{unverified_plan}",
            batch.queries
        );
    }
    let known = format!(
        "{} of {} public samples correct, {} errors tolerated{}",
        verdict.public_correct,
        verdict.public_total,
        verdict.tolerated,
        match verdict.probes_total {
            0 => String::new(),
            total => format!(", {} of {total} probes as before", verdict.probes_correct),
        }
    );
    if !verdict.accepted {
        let why = if verdict.consistent { "" } else { "copies of a query got different answers; " };
        let errors = verdict.public_total - verdict.public_correct;
        let hint = match verdict.consistent && errors > verdict.tolerated && verdict.public_correct > 0 {
            true => "; if the honest model is known to make such errors, --accuracy says so",
            false => "",
        };
        return format!("REJECTED: {why}{known}{hint}. No {what} is shown{unverified_plan}");
    }
    let first =
        format!("ACCEPTED: {} {what}s, {} copies of each agree, {known}{unverified_plan}", batch.queries, batch.copies);
    [vec![first], excluded(verdict)].concat().join("\n")
}

/// What an accepted batch excludes, and what it does not.
fn excluded(verdict: &Verdict) -> Vec<String> {
    // The claim as it was made, without the noise of a product of floats.
    let accuracy = (verdict.accuracy_claimed * 1e11).round() / 1e9;
    let share = (verdict.largest_share * 1000.0).ceil() / 10.0;
    let probes = match verdict.probes_total {
        0 => "",
        _ => ", the probes' earlier answers were the honest model's",
    };
    let (right, shared) = match verdict.tolerance {
        Some(tolerance) => {
            (format!("within {tolerance} (--tolerance)"), format!("no value is as near to more than {share} % of them"))
        }
        None => ("right".into(), format!("no label is on more than {share} %")),
    };
    let mut lines = vec![
        format!("If the honest model is {right} on at least {accuracy} % of inputs (--accuracy), {shared}"),
        "(--largest-share, else with 99 % by the public labels), and queries and public samples are independent".into(),
        format!("draws of one kind that the server never saw{probes}, then in this session"),
    ];
    let mut row = |what: String, server: &str| lines.push(format!("  {what:<26}{server}"));
    let but_for = |bits: f64| match bits {
        f64::INFINITY => "excluded:".to_owned(),
        bits if bits < 1.0 => "not excluded:".to_owned(),
        bits => format!("excluded but for 2^-{:.1}:", (bits * 10.0).floor() / 10.0),
    };
    let far = |tolerance: f64| format!("by more than {} ", 2.0 * tolerance);
    let (what, far) = match verdict.tolerance {
        Some(tolerance) => ("value", far(tolerance)),
        None => ("label", String::new()),
    };
    row(
        but_for(verdict.lambda_achieved_bits),
        &format!("at chosen positions every {what} changed {far}where the honest model is right")
            .replace("d where", "d, where"),
    );
    row(but_for(verdict.forced_label_bits), &format!("at chosen positions one {what} forced"));
    row(
        but_for(verdict.constant_label_bits.min(verdict.random_labels_bits)),
        &format!("one {what} for all inputs, or {what}s at random"),
    );
    if !far.is_empty() {
        row("not excluded:".into(), "smaller changes, of all values too, as long as public ones stay near enough");
    }
    match verdict.smallest_eps_99 {
        Some(eps) => {
            let percent = (eps * 1000.0).ceil() / 10.0;
            row("excluded with 99 %:".into(), &format!("errors on {percent:.1} % or more of all such inputs"));
            row(
                "not excluded:".into(),
                &format!("errors on less than {percent:.1} %, even on inputs of the server's choice"),
            );
        }
        None => row("not excluded:".into(), "errors on any share of inputs: too few public samples are new evidence"),
    }
    row("not excluded:".into(), "errors that the honest model makes; another model that is right as often");
    match (verdict.revealed.strip_prefix("topk:"), verdict.ranks_verified) {
        (Some(k), known) if k.parse().is_ok_and(|k: usize| k > known) => {
            let probes = if verdict.probes_total > 0 { ", only compared with probes" } else { "" };
            row(
                "not verified:".into(),
                &format!("ranks beyond the first {known} of {k}: public labels do not name them{probes}"),
            );
        }
        (None, _) if verdict.revealed == "logits" => {
            let probes = if verdict.probes_total > 0 { ", and compared with probes" } else { "" };
            row("not verified:".into(), &format!("logits beyond their largest: equal in all copies{probes}, no more"));
        }
        _ => {}
    }
    lines
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

/// Prints a line about something wrong, likewise.
pub fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "fusion-run: {line}");
}

/// Prints a warning, likewise.
pub fn warn(line: impl std::fmt::Display) {
    complain(format_args!("warning: {line}"));
}

/// Says that the connection leaves this machine and is not protected.
pub fn warn_plaintext() {
    warn(
        "the connection is neither encrypted nor authenticated (--allow-plaintext): anyone on the path can take \
         either party's place",
    );
}
