//! What verification costs: seconds and bytes of a query over the number of queries in a batch,
//! redrawn from a record.

use std::path::Path;

use anyhow::{Context, anyhow};
use fusion_ir::soundness::Policy;
use plotters::prelude::*;

use crate::record::{Mode, Record, Row};

/// Demands that are drawn, in bits.
const LAMBDAS: [f64; 3] = [20.0, 40.0, 64.0];
/// Batches from one query to so many, as a power of two.
const LARGEST_LOG: u32 = 14;
const SIZE: (u32, u32) = (1100, 480);
const FONT: &str = "sans-serif";

/// Draws the row of `record` for `workload`, `network` and `backend` to an SVG file.
///
/// # Errors
/// If there is no such row or the file cannot be written.
pub fn plot(record: &Record, workload: &str, network: &str, backend: &str, path: &Path) -> anyhow::Result<()> {
    let of = |row: &&Row, backend: &str| {
        (row.workload.as_str(), row.network_name.as_str(), row.backend.as_str()) == (workload, network, backend)
    };
    // Of the largest batch: what its positions share is shared out.
    let row = record.rows.iter().filter(|row| of(row, backend)).max_by_key(|row| row.batch.positions);
    let row = row.with_context(|| format!("the record has no {workload} by {backend} on {network}"))?;
    let unverified = record.rows.iter().filter(|row| of(row, crate::table::BASELINE) && row.mode == Mode::SemiHonest);
    let baseline = unverified.max_by_key(|row| row.batch.positions);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        root.fill(&WHITE)?;
        let titled = root.titled(&format!("{workload} by {backend} on {network}"), (FONT, 20))?;
        let [left, right] = &titled.split_evenly((1, 2))[..] else { return Ok(()) };
        let seconds = |row: &Row| row.median_s() / row.batch.positions as f64;
        let megabytes = |row: &Row| {
            (row.bytes.client_to_server + row.bytes.server_to_client) as f64 / row.batch.positions as f64 / 1e6
        };
        panel(left, "seconds per query", seconds(row), baseline.map(seconds))?;
        panel(right, "MB per query", megabytes(row), baseline.map(megabytes))?;
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// Positions that a verified batch of so many queries needs for each of them.
pub fn positions_per_query(lambda: f64, queries: u64) -> Option<f64> {
    let batch = Policy { lambda, ..Policy::default() }.plan(queries, None).ok()?;
    Some(batch.positions() as f64 / queries as f64)
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// One line for each lambda, and flat ones for what is not verified.
fn panel(
    area: &Panel<'_>,
    title: &str,
    position: f64,
    baseline: Option<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let queries = || (0..=LARGEST_LOG).map(|log| 1u64 << log);
    let curve = |lambda: f64| -> Vec<(f64, f64)> {
        queries().filter_map(|r| Some((r as f64, position * positions_per_query(lambda, r)?))).collect()
    };
    let curves = LAMBDAS.map(|lambda| (lambda, curve(lambda)));
    let all = || curves.iter().flat_map(|(_, points)| points.iter().map(|(_, y)| *y)).chain(baseline);
    let (least, most) = (all().fold(position, f64::min) / 1.5, all().fold(position, f64::max) * 1.5);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d((1.0..f64::from(1 << LARGEST_LOG)).log_scale(), (least..most).log_scale())?;
    chart.configure_mesh().x_desc("queries in the batch").y_desc(title).light_line_style(WHITE).draw()?;
    for (index, (lambda, points)) in curves.into_iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(format!("verified, lambda = {lambda}"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    let flat = [("not verified", Some(position), BLACK), ("crypt_flow2-he, not verified", baseline, RED)];
    for (label, value, colour) in flat {
        let Some(value) = value else { continue };
        let ends = [(1.0, value), (f64::from(1 << LARGEST_LOG), value)];
        chart
            .draw_series(LineSeries::new(ends, colour.stroke_width(1)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.4)).draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{record, row};

    #[test]
    fn larger_batches_and_smaller_demands_cost_less_per_query() {
        let cost = |lambda, queries| positions_per_query(lambda, queries).unwrap();
        assert!(cost(40.0, 64) > cost(40.0, 1024) && cost(40.0, 1024) > cost(20.0, 1024));
        assert!(cost(20.0, 1024) > 1.0);
    }

    #[test]
    fn a_record_becomes_a_drawing_with_every_line() {
        let record = record(vec![
            row("auto", "wan", Mode::Verified, &[3.0], 4_000_000),
            row("crypt_flow2-he", "wan", Mode::SemiHonest, &[30.0], 90_000_000),
        ]);
        let file = tempfile::Builder::new().suffix(".svg").tempfile().unwrap();
        plot(&record, "resnet20", "wan", "auto", file.path()).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        for label in ["lambda = 20", "lambda = 40", "lambda = 64", "crypt_flow2-he", "queries in the batch"] {
            assert!(text.contains(label), "{label}");
        }
        assert!(plot(&record, "resnet20", "lan", "auto", file.path()).is_err());
    }
}
