//! A client's report as a page that people look at: one file without scripts, for any browser.

use fusion_ir::soundness::Batch;
use fusion_page::{Cell, Column, Kind, Page, Table, Width, bytes, seconds};

use crate::report::{ClientBatch, Run, ShardRun};
use crate::statements::{Claim, assumption, known, objections, statements};
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
    let mut page = Page::new(&name(verdict).to_lowercase());
    heading(&mut page, verdict, batch);
    if verdict.verified && verdict.accepted {
        assurances(&mut page, verdict);
    }
    figures(&mut page, report);
    answers(&mut page, report, classes);
    shards(&mut page, &report.shards);
    layers(&mut page, run);
    if verdict.verified && verdict.accepted {
        copies(&mut page, verdict, batch);
    }
    provenance(&mut page, report);
    page.finish()
}

fn name(verdict: &Verdict) -> &'static str {
    match (verdict.verified, verdict.accepted) {
        (false, _) => "Unverified",
        (true, true) => "Accepted",
        (true, false) => "Rejected",
    }
}

fn heading(page: &mut Page, verdict: &Verdict, batch: &ClientBatch) {
    let (name, queries) = (name(verdict), batch.queries);
    let what = if verdict.revealed == "value" { "values" } else { "labels" };
    let text = match (verdict.verified, verdict.accepted) {
        (false, _) => format!("{queries} {what}, believed as the server gave them."),
        (true, true) => format!("{queries} {what}. All {} copies of each query agree.", batch.copies),
        (true, false) => format!("No {what} are shown: {}.", objections(verdict).join("; ")),
    };
    let mut paragraphs = vec![text];
    if verdict.verified {
        paragraphs.push(format!("{}.", known(verdict)));
    }
    page.heading(&name.to_lowercase(), name, &paragraphs);
}

fn assurances(page: &mut Page, verdict: &Verdict) {
    let claimed = |claim| match claim {
        Claim::Accuracy | Claim::Tolerance => String::new(),
        Claim::LargestShare => " (as told, or with 99 % by the public labels)".into(),
    };
    page.section("What this excludes");
    page.note(&format!("{}:", assumption(verdict, claimed)));
    let mut table = Table::new("What this excludes", Width::Whole, &[Column::Words("Status"), Column::Words("What")]);
    for statement in statements(verdict) {
        table.row(&[Cell::Status(statement.status), Cell::Text(statement.server)]);
    }
    page.table(table);
}

fn figures(page: &mut Page, ClientReport { batch, run, ledger, .. }: &ClientReport) {
    let mut figures = vec![
        ("queries", batch.queries.to_string()),
        ("copies of each", batch.copies.to_string()),
        ("public samples", batch.public.to_string()),
    ];
    if let Some(entry) = ledger.filter(|_| batch.public > 0) {
        figures.push(("of them new evidence", entry.public_fresh.to_string()));
    }
    figures.extend([
        ("positions in all", batch.positions.to_string()),
        ("time", seconds(run.time_s.total)),
        ("of it before the inputs", seconds(run.time_s.offline)),
        ("to the server", bytes(run.bytes.client_to_server)),
        ("to the client", bytes(run.bytes.server_to_client)),
        ("foretold, both ways", bytes(run.predicted.client_to_server + run.predicted.server_to_client)),
        ("rounds", run.rounds.to_string()),
    ]);
    if let Some(peak) = run.memory_peak_bytes {
        figures.push(("peak of memory", bytes(peak)));
    }
    figures.push(("foretold, of this party", bytes(run.memory_forecast_bytes)));
    page.section("The session");
    page.figures(&figures);
}

/// How often each label was given.
fn answers(page: &mut Page, report: &ClientReport, classes: &[String]) {
    let Some(labels) = &report.labels else { return };
    let mut counts = std::collections::BTreeMap::<i64, usize>::new();
    labels.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
    let mut counts: Vec<(i64, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(label, count)| (std::cmp::Reverse(*count), *label));
    let most = counts.first().map_or(1, |(_, count)| *count) as f64;
    let mut table = Table::new("Answers", Width::Narrow, &[Column::Words("Label"), Column::Words("Queries")]);
    for (label, count) in counts.iter().take(MOST_CLASSES) {
        let name = usize::try_from(*label).ok().and_then(|at| classes.get(at));
        let name = name.map_or_else(|| label.to_string(), String::clone);
        table.row(&[Cell::Text(name), Cell::bar(Kind::Time, *count as f64, most, count.to_string())]);
    }
    page.section("Answers");
    page.table(table);
    if counts.len() > MOST_CLASSES {
        page.note(&format!("and {} more labels.", counts.len() - MOST_CLASSES));
    }
}

/// Which server had which part of the batch.
fn shards(page: &mut Page, shards: &[ShardRun]) {
    if shards.is_empty() {
        return;
    }
    page.section("Servers");
    page.note("The positions of the whole batch were shuffled once and cut into parts, one for each server.");
    let columns = ["Server", "Time", "To the server", "To the client"].map(Column::Words);
    let columns: Vec<Column> = columns.into_iter().chain(["Positions", "Rounds"].map(Column::Numbers)).collect();
    let mut table = Table::new("Servers", Width::Whole, &columns);
    let most = |of: &dyn Fn(&ShardRun) -> f64| shards.iter().map(of).fold(0.0, f64::max);
    let [slowest, most_up, most_down] = [
        most(&|shard| shard.seconds),
        most(&|shard| shard.client_to_server as f64),
        most(&|shard| shard.server_to_client as f64),
    ];
    for shard in shards {
        table.row(&[
            Cell::Code(shard.server.clone()),
            Cell::bar(Kind::Time, shard.seconds, slowest, seconds(shard.seconds)),
            Cell::bar(Kind::Up, shard.client_to_server as f64, most_up, bytes(shard.client_to_server)),
            Cell::bar(Kind::Down, shard.server_to_client as f64, most_down, bytes(shard.server_to_client)),
            Cell::Number(shard.positions.to_string()),
            Cell::Number(shard.rounds.to_string()),
        ]);
    }
    page.table(table);
}

fn layers(page: &mut Page, run: &Run) {
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
    let largest = |of: &dyn Fn(usize) -> f64| shown.iter().map(|at| of(*at)).fold(0.0, f64::max);
    let time = |at: usize| times[at].seconds;
    let up = |at: usize| traffic[at].client_to_server as f64;
    let down = |at: usize| traffic[at].server_to_client as f64;
    let (slowest, most_up, most_down) = (largest(&time), largest(&up), largest(&down));
    page.section("Layers");
    page.note(
        "All micro-batches together. Those that run at the same time are counted each, so times may add up to more \
         than the session's. Waiting for the other party is part of a layer.",
    );
    let columns = ["Node", "Operation", "Time", "To the server", "To the client"].map(Column::Words);
    let columns: Vec<Column> = columns.into_iter().chain([Column::Numbers("Rounds")]).collect();
    let mut table = Table::new("Layers", Width::Whole, &columns);
    for at in shown.iter().copied() {
        let layer = &times[at].layer;
        table.row(&[
            Cell::Code(layer.node.to_string()),
            Cell::Text(layer.op.to_string()),
            Cell::bar(Kind::Time, time(at), slowest, seconds(time(at))),
            Cell::bar(Kind::Up, up(at), most_up, bytes(traffic[at].client_to_server)),
            Cell::bar(Kind::Down, down(at), most_down, bytes(traffic[at].server_to_client)),
            Cell::Number(traffic[at].rounds.to_string()),
        ]);
    }
    page.table(table);
    if left > 0 {
        page.note(&format!("and {left} layers that take less time."));
    }
}

/// What other numbers of copies would have proved.
fn copies(page: &mut Page, verdict: &Verdict, batch: &ClientBatch) {
    let of = |copies: u64| {
        let ClientBatch { queries, public, probes, .. } = *batch;
        Batch { queries, copies, public, tolerated: verdict.tolerated, probes }
    };
    page.section("More or fewer copies");
    page.note(
        "With these queries and public samples, on the same assumptions: bits by which the first of these is excluded, \
         and what they cost.",
    );
    let columns = [Column::Numbers("Copies"), Column::Words("Bits"), Column::Numbers("Positions")];
    let mut table = Table::new("More or fewer copies", Width::Narrow, &columns);
    let last = COPIES.max(batch.copies + 2);
    let bits = |copies: u64| of(copies).lambda_bits(verdict.accuracy_claimed);
    let most = (1..=last).map(bits).filter(|bits| bits.is_finite()).fold(1.0, f64::max);
    for copies in 1..=last {
        let bits = bits(copies);
        let text = if bits.is_finite() { format!("{:.1}", (10.0 * bits).floor() / 10.0) } else { "unbounded".into() };
        let cells = [
            Cell::Number(copies.to_string()),
            Cell::bar(Kind::Time, bits.min(most), most, text),
            Cell::Number(of(copies).positions().to_string()),
        ];
        if copies == batch.copies { table.this(&cells) } else { table.row(&cells) }
    }
    page.table(table);
}

fn provenance(page: &mut Page, report: &ClientReport) {
    let ClientReport { batch, run, ledger, .. } = report;
    let versions = &run.versions;
    let mut table = Table::new("What ran", Width::Whole, &[]);
    let mut row = |name: &str, value: Cell| table.row(&[Cell::Head(name.into()), value]);
    row("plan", Cell::Code(run.plan_digest.clone()));
    row("compiled by", Cell::Text(versions.compiler.clone()));
    let run_by = format!("{}, protocol {}, plan {}", versions.runtime, versions.protocol, versions.plan);
    row("run by", Cell::Text(run_by));
    row("kernels", Cell::Text(run.kernels.into()));
    row("micro-batches", Cell::Text(format!("of {} positions, {} at a time", batch.micro_batch, batch.streams)));
    let kept = ledger.as_ref().map_or("none kept".into(), |entry| format!("session {}", entry.session));
    row("ledger", Cell::Text(kept));
    page.section("What ran");
    page.table(table);
}
