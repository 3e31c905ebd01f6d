//! What people read at the end.

use std::io::Write;

use fusion_ir::Plan;
use fusion_runtime::ClientReport;
use fusion_runtime::report::Verdict;
use fusion_runtime::statements::{Claim, Statement, assumption, known, objections, statements};

/// Of a line of prose.
const COLUMNS: usize = 110;

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
    let known = known(verdict);
    if !verdict.accepted {
        let why = objections(verdict).join("; ");
        let errors = verdict.public_total - verdict.public_correct;
        let hint = match verdict.consistent && errors > verdict.tolerated && verdict.public_correct > 0 {
            true => "; if the honest model is known to make such errors, --accuracy says so",
            false => "",
        };
        return format!("REJECTED: {why} ({known}){hint}. No {what} is shown{unverified_plan}");
    }
    let first =
        format!("ACCEPTED: {} {what}s, {} copies of each agree, {known}{unverified_plan}", batch.queries, batch.copies);
    [vec![first], excluded(verdict)].concat().join("\n")
}

/// What an accepted batch excludes, and what it does not.
fn excluded(verdict: &Verdict) -> Vec<String> {
    let named = |claim| match claim {
        Claim::Accuracy => " (--accuracy)",
        Claim::Tolerance => " (--tolerance)",
        Claim::LargestShare => " (--largest-share, else with 99 % by the public labels)",
    };
    let mut lines = wrapped(&assumption(verdict, |claim| named(claim).into()));
    let row = |Statement { status, server }: Statement| format!("  {:<26}{server}", format!("{status}:"));
    lines.extend(statements(verdict).into_iter().map(row));
    lines
}

/// Lines of a sentence.
fn wrapped(sentence: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in sentence.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
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
