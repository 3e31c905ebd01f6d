//! One query's way down: in the chain of calls from a client's `run` to each message, no file comes
//! twice. Who reads the code from top to bottom never has to go back up.
//!
//! Chains are read from backtraces, so this needs the line tables of the `dev` profile.

use std::backtrace::Backtrace;
use std::collections::BTreeSet;
use std::io::{PipeReader, PipeWriter, pipe};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fusion::{Backend, Client, Flow, Job, Met, Plan, Reveal, Server};
use fusion_backends::tap::watched;
use fusion_catalogue::candidates;
use fusion_runtime::transport::{Connection, Wrapped};

#[allow(dead_code, reason = "the examples have more to show")]
#[path = "../../examples/digits/mod.rs"]
mod digits;

/// The workspace's files in the chain of calls that leads here, outermost first, each as often as
/// it is come to.
fn chain() -> Vec<String> {
    let trace = Backtrace::force_capture().to_string();
    let places = trace.lines().filter_map(|line| line.trim().strip_prefix("at "));
    let root = fusion_tests::root();
    let own = |place: &str| {
        let file = place.split(':').next()?.trim_start_matches("./");
        let file = file.strip_prefix(root.to_str()?).map_or(file, |rest| rest.trim_start_matches('/'));
        let of_crate = ["ir/", "backends/", "runtime/"].iter().any(|folder| file.starts_with(folder));
        (of_crate && file.contains("/src/")).then(|| file.to_owned())
    };
    let mut files: Vec<String> = places.filter_map(own).collect();
    files.reverse();
    files.dedup();
    files
}

/// All chains that lead to a message of a session of two positions, whose operations `backend`
/// computes as far as it can.
fn chains(plan: &Plan, backend: &str) -> BTreeSet<Vec<String>> {
    let backend: Backend = backend.parse().unwrap();
    let mut plan = plan.clone();
    for value in &mut plan.function.values {
        if candidates(&value.op).contains(&backend) {
            value.backend = backend;
        }
    }
    let client = Client::without_ledger(plan.for_client(), Reveal::Label).unwrap();
    let server = Server::of_plan(plan, Flow::default()).unwrap();
    let queries = client.samples(&digits::images("queries.npy", 2).unwrap()).unwrap().rows;
    let job = Job::unverified(queries).unwrap();
    let chains: Arc<Mutex<BTreeSet<Vec<String>>>> = Arc::default();
    let watched_link = |reader: PipeReader, writer: PipeWriter| {
        let chains = Arc::clone(&chains);
        let note = |chains: &Mutex<BTreeSet<Vec<String>>>| {
            chains.lock().unwrap().insert(chain());
        };
        let connection = Connection::new(reader, writer, Duration::MAX).unwrap();
        let link = Wrapped::new(connection, move |_, channel| {
            note(&chains);
            let chains = Arc::clone(&chains);
            Box::new(watched(channel, move |_, _| note(&chains)))
        });
        Met::new(link, "this process")
    };
    let [(from_server, to_client), (from_client, to_server)] = [pipe().unwrap(), pipe().unwrap()];
    let to_server = watched_link(from_server, to_server);
    let to_client = watched_link(from_client, to_client);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve_peer(to_client, &mut |_| ()).unwrap());
        client.run(job, to_server, &mut |_| ()).unwrap();
        serving.join().unwrap();
    });
    let mut found = chains.lock().unwrap();
    std::mem::take(&mut *found)
}

#[test]
fn no_file_is_entered_twice_on_the_way_down() {
    let plan = digits::plan().unwrap();
    for (backend, file) in [
        ("cheetah", "cheetah/linear/client.rs"),
        ("cheetah(pack)", "cheetah/linear/server.rs"),
        ("crypt_flow2-ot", "crypt_flow2/matmul.rs"),
        ("crypt_flow2-he", "crypt_flow2/he.rs"),
        ("garbled", "garbled/run.rs"),
    ] {
        let chains = chains(&plan, backend);
        if chains.iter().all(Vec::is_empty) {
            fusion_tests::skipped("no line tables");
            return;
        }
        let entered = |chain: &Vec<String>| chain.iter().any(|entered| entered.ends_with(file));
        assert!(chains.iter().any(entered), "{backend} does not come to {file}: {chains:?}");
        let twice = |chain: &&Vec<String>| chain.iter().collect::<BTreeSet<_>>().len() < chain.len();
        let found: Vec<String> = chains.iter().filter(twice).map(|chain| chain.join("\n  ")).collect();
        assert!(found.is_empty(), "{backend}, {} chains:\n{}", found.len(), found.join("\n\n"));
    }
}
