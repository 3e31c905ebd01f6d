//! Compiles a classifier and runs both parties in this process.
//!
//!     cargo run -p fusion-tests --example in_process

use std::error::Error;

use fusion::{Client, Flow, Reveal, Server, in_process};

mod digits;

/// Prints two labels, if the client accepts them.
pub fn main() -> Result<(), Box<dyn Error>> {
    let plan = digits::plan()?;
    let client = Client::without_ledger(plan.for_client(), Reveal::Label)?;
    let server = Server::of_plan(plan, Flow::default())?;
    let job = digits::job(&client)?;

    let [to_server, to_client] = in_process()?;
    let (report, served) = std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve_peer(to_client, &mut |_| ()));
        (client.run(job, to_server, &mut |_| ()), serving.join().expect("the server does not panic"))
    });
    let (report, served) = (report?, served?);
    println!("{} positions answered, accepted: {}", served.report.batch.positions, report.verdict.accepted);
    println!("labels {:?}, known {:?}", report.labels, digits::labels("query_labels.npy", 2)?);
    assert_eq!(report.labels, Some(digits::labels("query_labels.npy", 2)?));
    Ok(())
}
