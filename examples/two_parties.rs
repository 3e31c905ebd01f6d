//! A server and a client over TCP, with a budget on one side and a ledger on the other.
//!
//! Here they are two threads and loopback; between machines, give both `TcpOptions` a `Tls`.
//!
//!     cargo run -p fusion-tests --example two_parties

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use fusion::{Budget, Client, Event, Flow, Ledger, Limits, Plan, PlanFile, Reveal, Server, tcp};

mod digits;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs one session, then one that is beyond the budget.
pub fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("fusion-example-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = run(&folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let plan = digits::plan()?;
    std::fs::write(folder.join("plan.bin"), plan.to_bytes())?;
    std::fs::write(folder.join("plan.client.bin"), plan.for_client().to_bytes())?;

    // The plan comes from the server: reading it verifies it.
    let plan = Plan::from_bytes(&std::fs::read(folder.join("plan.client.bin"))?)?;
    let client = Client::new(plan, Reveal::Label, Ledger::open(&folder.join("ledger.redb"))?)?;
    let job = digits::job(&client)?;
    let positions = job.batch().positions();

    // The server's weights stay in its file. Its budget for a client is one such batch.
    let server = Server::of_file(PlanFile::open(&folder.join("plan.bin"))?, Flow::default())?;
    let limits = Limits::of(server.plan(), Flow::default())?;
    let server = server.limits(Limits { positions: 1000, ..limits });
    let server = server.budget(Budget::open(&folder.join("budget.redb"), positions)?);
    let options = tcp::TcpOptions { timeout: TIMEOUT, tls: None, allow_plaintext: false };
    let mut listener = tcp::Listener::bind("127.0.0.1:0", options.clone())?;
    let address = tcp::Server { address: listener.address()?.to_string(), options };

    std::thread::scope(|scope| {
        let serving = scope.spawn(move || {
            let served = server.serve(&mut listener, &mut |_| ());
            let refused = server.serve(&mut listener, &mut |_| ()).map(|_| ());
            (served, refused)
        });
        let report = client.run(job, &address, &mut |event| match event {
            Event::Counted { entry, public } => {
                println!("session {}: {} of {public} public samples are fresh", entry.session, entry.public_fresh);
            }
            Event::Step(step) => println!("{} {}", step.op, step.node),
            _ => {}
        })?;
        println!("labels {:?}", report.labels);
        assert!(report.verdict.accepted);

        // The same batch again is more than the server still answers.
        let refused = client.run(digits::job(&client)?, &address, &mut |_| ());
        let text = refused.expect_err("the budget is spent").to_string();
        println!("{text}");
        assert!(text.contains("budget"));
        let (served, error) = serving.join().expect("the server does not panic");
        println!("{} was served {} positions", served?.name, report.batch.positions);
        assert!(error.is_err());
        Ok(())
    })
}
