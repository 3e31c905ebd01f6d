//! A report of one's own: what a session took, as a table.
//!
//!     cargo run -p fusion-tests --example own_report

use std::error::Error;
use std::fmt::Write;

use fusion::{Client, ClientReport, Event, Flow, Reveal, Server, in_process};

mod digits;

/// The three layers with most traffic, and the verdict.
fn table(report: &ClientReport) -> Result<String, std::fmt::Error> {
    let mut layers: Vec<_> = report.run.bytes.per_layer.iter().collect();
    layers.sort_by_key(|bytes| std::cmp::Reverse(bytes.client_to_server + bytes.server_to_client));
    let mut text = String::from("| layer | operation | kB up | kB down | rounds |\n|---|---|---|---|---|\n");
    for bytes in layers.into_iter().take(3) {
        let (up, down) = (bytes.client_to_server / 1000, bytes.server_to_client / 1000);
        writeln!(text, "| {} | {} | {up} | {down} | {} |", bytes.layer.node, bytes.layer.op, bytes.rounds)?;
    }
    let (verdict, run) = (&report.verdict, &report.run);
    writeln!(text, "\n{} of {} public samples right", verdict.public_correct, verdict.public_total)?;
    let measured = run.bytes.client_to_server + run.bytes.server_to_client;
    let predicted = run.predicted.client_to_server + run.predicted.server_to_client;
    writeln!(text, "{measured} bytes, {predicted} predicted")?;
    Ok(text)
}

/// Runs a session in this process and prints the table.
pub fn main() -> Result<(), Box<dyn Error>> {
    let plan = digits::plan()?;
    let client = Client::without_ledger(plan.for_client(), Reveal::Label)?;
    let server = Server::of_plan(plan, Flow::default())?;
    let job = digits::job(&client)?;
    let [to_server, to_client] = in_process()?;
    let mut layers = 0;
    let report = std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve_peer(to_client, &mut |_| ()));
        let report = client.run(job, to_server, &mut |event| layers += usize::from(matches!(event, Event::Step(_))));
        serving.join().expect("the server does not panic").and(report)
    })?;
    println!("{layers} layers ran\n\n{}", table(&report)?);
    let bytes = &report.run.bytes;
    assert_eq!(bytes.client_to_server, report.run.predicted.client_to_server);
    Ok(())
}
