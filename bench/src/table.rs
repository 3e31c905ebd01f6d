//! A record as the table that papers have: time, bytes and rounds of a query, beside the
//! baseline's.

use std::fmt::Write;

use crate::record::{Mode, PeerRow, Record, Row, median};

/// What others are compared with: CrypTFlow2's protocols, every query once.
pub const BASELINE: &str = "crypt_flow2-he";
/// The backend that the compiler chooses layer by layer.
const CHOSEN: &str = "auto";

/// The table, how good forecasts of time were, and how the compiler's choice compares with single
/// backends.
pub fn table(record: &Record) -> String {
    let mut text = format!(
        "{}, {} threads, load {}; {} build of {}\n\n",
        record.host.processor,
        record.host.threads,
        load(record),
        record.versions.profile,
        record.versions.commit
    );
    let _ = writeln!(
        text,
        "{:<14} {:<11} {:<8} {:<17} {:>7} {:>9} {:>10} {:>11} {:>8} {:>8} {:>8} {:>9}",
        "workload",
        "mode",
        "network",
        "backend",
        "queries",
        "positions",
        "s/query",
        "MB/query",
        "rounds",
        "time x",
        "bytes x",
        "forecast"
    );
    for row in &record.rows {
        let _ = writeln!(text, "{}", line(row, baseline(&record.rows, row)));
    }
    if !record.peers.is_empty() {
        text += "\nother systems, one query: time x and bytes x are how much less the best row above takes\n";
    }
    for peer in &record.peers {
        let _ = writeln!(text, "{}", peer_line(peer, &record.rows));
    }
    text += "\ntime x and bytes x: how much less a query takes than with semi-honest crypt_flow2-he in this run\n";
    let errors = record.rows.iter().map(Row::forecast_error).collect();
    let _ = writeln!(
        text,
        "forecast times are off by {:.0} % (median of {} rows)",
        100.0 * median(errors),
        record.rows.len()
    );
    for row in record.rows.iter().filter(|row| row.backend == CHOSEN) {
        if let Some(Comparison { best, median, shortest, processor }) = against_best(&record.rows, row) {
            let processor = processor.map_or("unknown".into(), |ratio| format!("{ratio:.3}"));
            let _ = writeln!(
                text,
                "{} {} on {}: auto over {best}, the best single backend: {median:.3} (median of {} pairs of times), \
                 {shortest:.3} (shortest times), {processor} (processor times)",
                row.workload,
                name(row.mode),
                row.network_name,
                row.seconds.len()
            );
        }
    }
    text
}

/// The layers of every row, measured and forecast.
pub fn layers(record: &Record) -> String {
    let mut text = String::new();
    for row in &record.rows {
        let _ = writeln!(
            text,
            "\n{} {} by {} on {}, {} positions",
            row.workload,
            name(row.mode),
            row.backend,
            row.network_name,
            row.positions_run
        );
        for layer in &row.layers {
            let _ = writeln!(
                text,
                "{:<6} {:<14} {:<28} {:<18} {:>13} {:>10.4} s {:>10.4} s forecast",
                layer.value, layer.op, layer.node, layer.backend, layer.bytes, layer.seconds, layer.forecast_s
            );
        }
    }
    text
}

fn line(row: &Row, baseline: Option<&Row>) -> String {
    let times = |ratio: Option<f64>| ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
    let sampled = if row.positions_run < row.batch.positions { "*" } else { "" };
    format!(
        "{:<14} {:<11} {:<8} {:<17} {:>7} {:>9} {:>10} {:>11.2} {:>8} {:>8} {:>8} {:>+8.0}%",
        row.workload,
        name(row.mode),
        row.network_name,
        row.backend,
        row.batch.queries,
        row.batch.positions,
        format!("{:.3}{sampled}", row.seconds_per_query()),
        row.bytes_per_query() / 1e6,
        row.rounds,
        times(baseline.map(|base| base.seconds_per_query() / row.seconds_per_query())),
        times(baseline.map(|base| base.bytes_per_query() / row.bytes_per_query())),
        100.0 * (row.forecast_and_measured_s[0] / row.forecast_and_measured_s[1] - 1.0),
    )
}

/// A peer beside the semi-honest row of the same workload and network with a single query that
/// takes the least time.
fn peer_line(peer: &PeerRow, rows: &[Row]) -> String {
    let alike = |row: &&Row| {
        (&row.workload, &row.network_name) == (&peer.workload, &peer.network_name)
            && row.mode == Mode::SemiHonest
            && row.batch.queries == 1
    };
    let ours = rows.iter().filter(alike).min_by(|a, b| a.median_s().total_cmp(&b.median_s()));
    let times = |ratio: Option<f64>| ratio.map_or("-".into(), |ratio| format!("{ratio:.1}"));
    let last = peer.runs.last();
    format!(
        "{:<14} {:<8} {:<18} {:<8} {:>10.3} s {:>11.2} MB {:>8} {:>8}  label {}; set-up {:.1} s, {:.1} MB; the first query {:.1} s, {:.1} MB",
        peer.workload,
        peer.network_name,
        peer.peer,
        last.map_or("", |run| &run.version),
        peer.median_s(),
        peer.bytes() / 1e6,
        times(ours.map(|ours| peer.median_s() / ours.median_s())),
        times(ours.map(|ours| peer.bytes() / ours.bytes_per_query())),
        last.map_or("-".into(), |run| run.label.to_string()),
        last.map_or(f64::NAN, |run| run.setup_s),
        last.map_or(f64::NAN, |run| run.setup_bytes as f64 / 1e6),
        last.map_or(f64::NAN, |run| run.first_s),
        last.map_or(f64::NAN, |run| run.first_bytes.both() as f64 / 1e6),
    )
}

/// The semi-honest baseline on the same network: with as many queries if there is such a row, since
/// queries share rounds, weights and set-up, else the first.
fn baseline<'r>(rows: &'r [Row], row: &Row) -> Option<&'r Row> {
    let same = |other: &&Row| {
        (&other.workload, &other.network_name) == (&row.workload, &row.network_name)
            && other.backend == BASELINE
            && other.mode == Mode::SemiHonest
    };
    let alike = |other: &&Row| other.batch.queries == row.batch.queries;
    rows.iter().filter(same).find(alike).or_else(|| rows.iter().find(same))
}

/// How the compiler's choice compares with the best single backend: ratios below one are its gain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison<'r> {
    /// The single backend with the shortest time for the same task. Other programs only make times
    /// longer.
    pub best: &'r str,
    /// Median of the ratios of times, pair by pair.
    pub median: f64,
    /// Ratio of the shortest times.
    pub shortest: f64,
    /// Ratio of processor times, where the system says them.
    pub processor: Option<f64>,
}

/// Compares `row` with the best single backend among `rows`, if there is any for the same task.
pub fn against_best<'r>(rows: &'r [Row], row: &Row) -> Option<Comparison<'r>> {
    let same = |other: &&Row| {
        (&other.workload, &other.network_name, other.mode, other.batch)
            == (&row.workload, &row.network_name, row.mode, row.batch)
            && other.backend != CHOSEN
    };
    let best = rows.iter().filter(same).min_by(|a, b| a.shortest_s().total_cmp(&b.shortest_s()))?;
    let ratios = row.seconds.iter().zip(&best.seconds).map(|(auto, single)| auto / single);
    Some(Comparison {
        best: &best.backend,
        median: median(ratios.collect()),
        shortest: row.shortest_s() / best.shortest_s(),
        processor: row.cpu_s.zip(best.cpu_s).map(|(auto, single)| auto / single),
    })
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::SemiHonest => "semi-honest",
        Mode::Verified => "verified",
    }
}

fn load(record: &Record) -> String {
    let [start, end] = record.host.load.map(|load| load.map_or("unknown".into(), |load| format!("{:.1}", load[0])));
    format!("{start} at the start, {end} at the end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{record, row};
    use crate::record::{BatchShape, Directions, PeerRun};

    #[test]
    fn rows_are_compared_with_the_baseline_of_their_network() {
        let rows = vec![
            row("crypt_flow2-he", "wan", Mode::SemiHonest, &[8.0], 4000),
            row("crypt_flow2-he", "lan", Mode::SemiHonest, &[80.0], 4000),
            row("auto", "wan", Mode::Verified, &[2.0], 1000),
            row("auto", "moon", Mode::Verified, &[2.0], 1000),
        ];
        let text = table(&record(rows));
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(" auto ")).collect();
        assert!(lines[0].contains("4.00     4.00") && lines[1].contains("-        -"), "{text}");
        assert!(text.contains("off by 10 % (median of 4 rows)"), "{text}");
    }

    #[test]
    fn peers_are_compared_with_the_fastest_single_query() {
        let single = |seconds: f64, bytes: u64| {
            let row = row("auto", "wan", Mode::SemiHonest, &[seconds], bytes);
            Row { batch: BatchShape { queries: 1, copies: 1, public: 0, positions: 1 }, ..row }
        };
        let bytes = Directions { client_to_server: 1500, server_to_client: 500 };
        let run = PeerRun {
            version: "9".into(),
            compile_s: 1.0,
            setup_s: 3.0,
            setup_bytes: 4_000_000,
            first_s: 9.0,
            first_bytes: bytes,
            seconds: 8.0,
            cpu_s: 1.0,
            bytes,
            label: 0,
            memory_peak_bytes: 1,
        };
        let (workload, network) = ("resnet20".into(), fusion_estimate::Network::WAN);
        let peer = PeerRow { peer: "p".into(), workload, network_name: "wan".into(), network, runs: vec![run] };
        let mut all = record(vec![single(4.0, 100), single(2.0, 200), row("auto", "wan", Mode::SemiHonest, &[1.0], 1)]);
        all.peers.push(peer);
        let text = table(&all);
        let line = text.lines().find(|line| line.contains(" p ")).unwrap();
        assert!(line.contains("8.000 s") && line.contains(" 4.0     10.0  label 0; set-up 3.0 s, 4.0 MB"), "{line}");
    }

    #[test]
    fn a_baseline_with_as_many_queries_is_preferred() {
        let single = row("crypt_flow2-he", "wan", Mode::SemiHonest, &[8.0], 4000);
        let mut batch = single.clone();
        batch.batch.queries = 256;
        let verified = Row { batch: batch.batch, ..row("auto", "wan", Mode::Verified, &[2.0], 1000) };
        let rows = [single, batch, verified];
        assert_eq!(baseline(&rows, &rows[2]), Some(&rows[1]));
        assert_eq!(baseline(&rows[..1], &rows[2]), Some(&rows[0]));
    }

    #[test]
    fn the_best_single_backend_is_compared_pair_by_pair() {
        let rows = vec![
            row("cheetah", "wan", Mode::Verified, &[2.0, 4.0, 4.0], 1),
            row("garbled", "wan", Mode::Verified, &[9.0, 9.0, 9.0], 1),
            row("cheetah", "lan", Mode::Verified, &[0.1, 0.1, 0.1], 1),
            row("auto", "wan", Mode::Verified, &[1.0, 4.0, 3.0], 1),
        ];
        let found = against_best(&rows, &rows[3]);
        assert_eq!(found, Some(Comparison { best: "cheetah", median: 0.75, shortest: 0.5, processor: Some(1.0) }));
        assert_eq!(against_best(&rows[3..], &rows[3]), None);
    }
}
