//! A client's report as a page that people look at: one file without scripts, for any browser.

use std::fmt::Write;

use fusion_ir::soundness::Batch;

use crate::report::{ClientBatch, Run};
use crate::statements::{Claim, assumption, statements};
use crate::{ClientReport, Verdict};

/// Most layers that are shown: those that take longest.
const MOST_LAYERS: usize = 400;
/// A layer that sends nothing is shown if it takes this long.
const LEAST_SECONDS: f64 = 0.001;
/// Most classes whose answers are counted.
const MOST_CLASSES: usize = 20;
/// Numbers of copies that are compared.
const COPIES: u64 = 9;

/// The page. `classes` are the names of labels, if they have names.
pub fn page(report: &ClientReport, classes: &[String]) -> String {
    let ClientReport { verdict, batch, run, .. } = report;
    let mut body = String::new();
    heading(&mut body, verdict, batch);
    if verdict.verified && verdict.accepted {
        assurances(&mut body, verdict);
    }
    figures(&mut body, report);
    answers(&mut body, report, classes);
    layers(&mut body, run);
    if verdict.verified && verdict.accepted {
        copies(&mut body, verdict, batch);
    }
    provenance(&mut body, report);
    let style = include_str!("page.css");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Fusion: {}</title>\n<style>\n{style}</style>\n<main>\n{body}</main>\n</html>\n",
        name(verdict).to_lowercase()
    )
}

fn name(verdict: &Verdict) -> &'static str {
    match (verdict.verified, verdict.accepted) {
        (false, _) => "Unverified",
        (true, true) => "Accepted",
        (true, false) => "Rejected",
    }
}

fn heading(body: &mut String, verdict: &Verdict, batch: &ClientBatch) {
    let (name, queries) = (name(verdict), batch.queries);
    let what = if verdict.revealed == "value" { "values" } else { "labels" };
    let text = match (verdict.verified, verdict.accepted) {
        (false, _) => format!("{queries} {what}, believed as the server gave them."),
        (true, true) => format!("{queries} {what}. All {} copies of each query agree.", batch.copies),
        (true, false) if verdict.consistent => {
            format!("No {what} are shown: too many public samples were answered wrongly.")
        }
        (true, false) => format!("No {what} are shown: copies of a query got different answers."),
    };
    let _ = write!(body, "<header class=\"verdict {}\">\n<h1>{name}</h1>\n<p>{text}</p>\n", name.to_lowercase());
    if verdict.verified {
        let Verdict { public_correct, public_total, tolerated, probes_correct, probes_total, .. } = verdict;
        let _ =
            write!(body, "<p>{public_correct} of {public_total} public samples correct, {tolerated} errors tolerated");
        if *probes_total > 0 {
            let _ = write!(body, "; {probes_correct} of {probes_total} probes as before");
        }
        body.push_str(".</p>\n");
    }
    body.push_str("</header>\n");
}

fn assurances(body: &mut String, verdict: &Verdict) {
    let claimed = |claim| match claim {
        Claim::Accuracy | Claim::Tolerance => String::new(),
        Claim::LargestShare => " (as told, or with 99 % by the public labels)".into(),
    };
    let _ = write!(
        body,
        "<h2>What this excludes</h2>\n<p class=\"faint\">{}:</p>\n<div class=\"wide\"><table>\n\
         <tr><th scope=\"col\">Status</th><th scope=\"col\">What</th></tr>\n",
        escaped(&assumption(verdict, claimed))
    );
    for statement in statements(verdict) {
        let (status, server) = (exponent(&statement.status), escaped(&statement.server));
        let _ = writeln!(body, "<tr><td class=\"status\">{status}</td><td>{server}</td></tr>");
    }
    body.push_str("</table></div>\n");
}

fn figures(body: &mut String, ClientReport { batch, run, ledger, .. }: &ClientReport) {
    body.push_str("<h2>The session</h2>\n<dl class=\"figures\">\n");
    let mut figure = |name: &str, value: String| {
        let _ = writeln!(body, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    figure("queries", batch.queries.to_string());
    figure("copies of each", batch.copies.to_string());
    figure("public samples", batch.public.to_string());
    if let Some(entry) = ledger.filter(|_| batch.public > 0) {
        figure("of them new evidence", entry.public_fresh.to_string());
    }
    figure("positions in all", batch.positions.to_string());
    figure("time", seconds(run.time_s.total));
    figure("of it before the inputs", seconds(run.time_s.offline));
    figure("to the server", bytes(run.bytes.client_to_server));
    figure("to the client", bytes(run.bytes.server_to_client));
    figure("foretold, both ways", bytes(run.predicted.client_to_server + run.predicted.server_to_client));
    figure("rounds", run.rounds.to_string());
    if let Some(peak) = run.memory_peak_bytes {
        figure("peak of memory", bytes(peak));
    }
    figure("foretold, of this party", bytes(run.memory_forecast_bytes));
    body.push_str("</dl>\n");
}

/// How often each label was given.
fn answers(body: &mut String, report: &ClientReport, classes: &[String]) {
    let Some(labels) = &report.labels else { return };
    let mut counts = std::collections::BTreeMap::<i64, usize>::new();
    labels.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
    let mut counts: Vec<(i64, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(label, count)| (std::cmp::Reverse(*count), *label));
    let most = counts.first().map_or(1, |(_, count)| *count);
    body.push_str("<h2>Answers</h2>\n<div class=\"wide\"><table class=\"narrow\">\n<tr><th scope=\"col\">Label</th><th scope=\"col\">Queries</th></tr>\n");
    for (label, count) in counts.iter().take(MOST_CLASSES) {
        let name = usize::try_from(*label).ok().and_then(|at| classes.get(at));
        let name = name.map_or_else(|| label.to_string(), |name| escaped(name));
        let bar = bar("time", *count as f64 / most as f64, &count.to_string());
        let _ = writeln!(body, "<tr><td>{name}</td>{bar}</tr>");
    }
    body.push_str("</table></div>\n");
    if counts.len() > MOST_CLASSES {
        let _ = writeln!(body, "<p class=\"faint\">and {} more labels.</p>", counts.len() - MOST_CLASSES);
    }
}

fn layers(body: &mut String, run: &Run) {
    let (times, traffic) = (&run.time_s.per_layer, &run.bytes.per_layer);
    let mut shown: Vec<usize> = (0..times.len().min(traffic.len())).collect();
    let busy = |at: &usize| {
        times[*at].seconds >= LEAST_SECONDS || traffic[*at].client_to_server + traffic[*at].server_to_client > 0
    };
    shown.retain(busy);
    shown.sort_by(|a, b| times[*b].seconds.total_cmp(&times[*a].seconds));
    let (left, most) = (shown.len().saturating_sub(MOST_LAYERS), shown.len().min(MOST_LAYERS));
    shown.truncate(most);
    shown.sort_unstable();
    let largest = |of: &dyn Fn(usize) -> f64| shown.iter().map(|at| of(*at)).fold(f64::MIN_POSITIVE, f64::max);
    let time = |at: usize| times[at].seconds;
    let up = |at: usize| traffic[at].client_to_server as f64;
    let down = |at: usize| traffic[at].server_to_client as f64;
    let (slowest, most_up, most_down) = (largest(&time), largest(&up), largest(&down));
    body.push_str(
        "<h2>Layers</h2>\n<p class=\"faint\">All micro-batches together. Those that run at the same time are counted each, \
         so times may add up to more than the session's. Waiting for the other party is part of a layer.</p>\n\
         <div class=\"wide layers\"><table>\n<tr><th scope=\"col\">Node</th><th scope=\"col\">Operation</th><th scope=\"col\">Time</th>\
         <th scope=\"col\">To the server</th><th scope=\"col\">To the client</th><th scope=\"col\" class=\"number\">Rounds</th></tr>\n",
    );
    for at in shown.iter().copied() {
        let layer = &times[at].layer;
        let _ = writeln!(
            body,
            "<tr><td><code>{}</code></td><td>{}</td>{}{}{}<td class=\"number\">{}</td></tr>",
            escaped(&layer.node),
            escaped(layer.op),
            bar("time", time(at) / slowest, &seconds(time(at))),
            bar("up", up(at) / most_up, &bytes(traffic[at].client_to_server)),
            bar("down", down(at) / most_down, &bytes(traffic[at].server_to_client)),
            traffic[at].rounds
        );
    }
    body.push_str("</table></div>\n");
    if left > 0 {
        let _ = writeln!(body, "<p class=\"faint\">and {left} layers that take less time.</p>");
    }
}

/// What other numbers of copies would have proved.
fn copies(body: &mut String, verdict: &Verdict, batch: &ClientBatch) {
    let of = |copies: u64| {
        let ClientBatch { queries, public, probes, .. } = *batch;
        Batch { queries, copies, public, tolerated: verdict.tolerated, probes }
    };
    body.push_str(
        "<h2>More or fewer copies</h2>\n<p class=\"faint\">With these queries and public samples, on the same assumptions: \
         bits by which the first of these is excluded, and what they cost.</p>\n<div class=\"wide\"><table class=\"narrow\">\n<tr>\
         <th scope=\"col\" class=\"number\">Copies</th><th scope=\"col\">Bits</th><th scope=\"col\" class=\"number\">Positions</th></tr>\n",
    );
    let last = COPIES.max(batch.copies + 2);
    let bits = |copies: u64| of(copies).lambda_bits(verdict.accuracy_claimed);
    let most = (1..=last).map(bits).filter(|bits| bits.is_finite()).fold(1.0, f64::max);
    for copies in 1..=last {
        let bits = bits(copies);
        let text = if bits.is_finite() { format!("{:.1}", (10.0 * bits).floor() / 10.0) } else { "unbounded".into() };
        let this = if copies == batch.copies { " class=\"this\"" } else { "" };
        let _ = writeln!(
            body,
            "<tr{this}><td class=\"number\">{copies}</td>{}<td class=\"number\">{}</td></tr>",
            bar("time", bits.min(most) / most, &text),
            of(copies).positions()
        );
    }
    body.push_str("</table></div>\n");
}

fn provenance(body: &mut String, report: &ClientReport) {
    let ClientReport { batch, run, ledger, .. } = report;
    body.push_str("<h2>What ran</h2>\n<div class=\"wide\"><table>\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(body, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
    };
    row("plan", format!("<code>{}</code>", escaped(&run.plan_digest)));
    row("compiled by", escaped(&run.versions.compiler));
    let versions = &run.versions;
    row("run by", format!("{}, protocol {}, plan {}", versions.runtime, versions.protocol, versions.plan));
    row("kernels", escaped(run.kernels));
    row("micro-batches", format!("of {} positions, {} at a time", batch.micro_batch, batch.streams));
    row("ledger", ledger.as_ref().map_or("none kept".into(), |entry| format!("session {}", entry.session)));
    body.push_str("</table></div>\n");
}

fn bar(kind: &str, part: f64, text: &str) -> String {
    let rem = 6.0 * part.clamp(0.0, 1.0);
    format!("<td class=\"bar {kind}\"><i style=\"width:{rem:.2}rem\"></i>{text}</td>")
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} us", 1e6 * s),
        s if s < 1.0 => format!("{:.1} ms", 1e3 * s),
        s => format!("{s:.2} s"),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        b if b < 1000 => format!("{b} B"),
        b if b < 1_000_000 => format!("{:.1} kB", b as f64 / 1e3),
        b => format!("{:.1} MB", b as f64 / 1e6),
    }
}

/// Text with `2^-40.0` as a power.
fn exponent(text: &str) -> String {
    match text.split_once("2^") {
        Some((before, power)) => format!("{}2<sup>{}</sup>", escaped(before), escaped(power)),
        None => escaped(text),
    }
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_no_markup() {
        assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
        assert_eq!(exponent("excluded but for 2^-40.1"), "excluded but for 2<sup>-40.1</sup>");
        assert_eq!(exponent("excluded"), "excluded");
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!([0.0000021, 0.0123, 12.345].map(seconds), ["2 us", "12.3 ms", "12.35 s"]);
        assert_eq!([999, 1500, 2_340_000].map(bytes), ["999 B", "1.5 kB", "2.3 MB"]);
        assert!(bar("up", 2.0, "x").contains("width:6.00rem"));
    }
}
