//! What outlives a session: the client's ledger and the server's budget, through the program.

mod common;
mod desk;

use std::io::{Read, Write};
use std::net::TcpListener;

use desk::{Desk, PUBLIC, json};
use fusion_runtime::ledger::{Ledger, Outcome, Record};

/// The sessions of the ledger `name`.
fn records(desk: &Desk, name: &str) -> Vec<Record> {
    let sessions = Ledger::open(&desk.path(name)).unwrap().sessions().unwrap();
    assert!(sessions.iter().map(|(number, _)| *number).eq(1..=sessions.len() as u64));
    sessions.into_iter().map(|(_, record)| record).collect()
}

fn outcomes(desk: &Desk, name: &str) -> Vec<Outcome> {
    records(desk, name).into_iter().map(|record| record.outcome).collect()
}

const DEFAULT_LEDGER: &str = "state/fusion/ledger.redb";

#[test]
fn sessions_are_recorded_with_what_became_of_them() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin --sessions 2");
    let accepted = desk.client(&address, "--report r.json");
    assert_eq!((accepted.code, accepted.stderr.as_str()), (0, ""));
    let report = json(&desk.path("r.json"));
    assert_eq!(report["ledger"]["session"], 1);
    assert_eq!(report["ledger"]["public_fresh"], report["batch"]["public"]);
    assert_eq!(desk.run(&desk.client_line(&address, "--input x.npy --no-verify")).code, 0);
    assert_eq!(server.end().code, 0);
    desk.plan("wrong.bin", &common::wrong_plan());
    let (server, wrong) = desk.server("wrong.bin");
    assert_eq!(desk.client(&wrong, "").code, 3);
    assert_eq!(server.end().code, 0);
    let records = records(&desk, DEFAULT_LEDGER);
    let found: Vec<_> = records.iter().map(|record| (&record.outcome, record.server.as_str())).collect();
    let (first, second) = (address.as_str(), wrong.as_str());
    let expected = [(&Outcome::Accepted, first), (&Outcome::Unverified, first), (&Outcome::Rejected, second)];
    assert_eq!(found, expected);
    assert_eq!(records[0].lambda_bits, report["verdict"]["lambda_achieved_bits"].as_f64());
    assert_eq!(records[1].lambda_bits, None);
}

#[test]
fn a_session_counts_before_its_first_byte() {
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = std::thread::scope(|scope| {
        let client = scope.spawn(|| desk.client(&address, "-o labels.csv --ledger own.redb"));
        let (mut socket, _) = listener.accept().unwrap();
        socket.read_exact(&mut [0]).unwrap();
        assert_eq!(outcomes(&desk, "own.redb"), [Outcome::Started]);
        socket.read_exact(&mut [0; 40]).unwrap();
        socket.write_all(b"").unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        client.join().unwrap()
    });
    assert_eq!(client.code, 4, "{client:?}");
    assert_eq!(outcomes(&desk, "own.redb"), [Outcome::Failed("the connection failed: the peer hung up".into())]);
    // One connection, one session: nothing was tried again.
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(!desk.path(DEFAULT_LEDGER).exists());
}

#[test]
fn evidence_that_is_used_up_is_not_counted_again() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin --sessions 3");
    let session = || {
        let client = desk.client(&address, "--catch 0.1 --report r.json");
        assert_eq!(client.code, 0, "{client:?}");
        (client.stderr, json(&desk.path("r.json")))
    };
    let (warning, first) = session();
    assert_eq!(warning, "");
    let public = first["batch"]["public"].as_u64().unwrap();
    assert!(public < PUBLIC as u64 && first["verdict"]["smallest_eps_99"].as_f64().unwrap() <= 0.1);
    let (warning, second) = session();
    let fresh = PUBLIC as u64 - public;
    let used = format!(
        "{} of {public} public samples were part of a session before: they are no new evidence of accuracy, {fresh} are",
        public - fresh
    );
    assert!(warning.contains(&used), "{warning}");
    assert_eq!(second["ledger"]["public_fresh"], fresh);
    let eps = second["verdict"]["smallest_eps_99"].as_f64().unwrap();
    assert!((eps - (1.0 - 0.01f64.powf(1.0 / fresh as f64))).abs() < 1e-6, "{eps}");
    let (_, third) = session();
    assert_eq!(
        (&third["ledger"]["public_fresh"], &third["verdict"]["smallest_eps_99"]),
        (&0.into(), &None::<u8>.into())
    );
    assert_eq!(server.end().code, 0);
}

#[test]
fn the_risk_of_all_sessions_together_has_a_budget() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin --sessions 2");
    let client = desk.client(&address, "--report r.json --risk-budget 8");
    assert_eq!((client.code, client.stderr.as_str()), (0, ""));
    let once = json(&desk.path("r.json"))["ledger"]["risk_bits"].as_f64().unwrap();
    assert!(once >= 8.0);
    let client = desk.client(&address, &format!("--report r.json --risk-budget {}", once - 0.5));
    assert_eq!(client.code, 0, "only a warning");
    let twice = json(&desk.path("r.json"))["ledger"]["risk_bits"].as_f64().unwrap();
    assert!((once - twice - 1.0).abs() < 1e-6);
    let text = format!(
        "over the 2 sessions of this ledger a label changed at chosen positions may have passed with probability 2^-{:.1}",
        (twice * 10.0).floor() / 10.0
    );
    assert!(client.stderr.contains(&text) && client.stderr.contains("--risk-budget"), "{client:?}");
    assert_eq!(server.end().code, 0);
}

#[test]
fn accepted_queries_serve_as_probes_and_none_may_be_wrong() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin --sessions 3");
    let first = desk.client(&address, "-o labels.csv");
    assert_eq!(first.code, 0, "{first:?}");
    std::fs::rename(desk.path("labels.csv"), desk.path("before.csv")).unwrap();
    let second = desk.client(&address, "--probe-inputs x.npy --probe-labels before.csv --report r.json");
    assert_eq!(second.code, 0, "{second:?}");
    assert!(second.stdout.contains("3 of 3 probes as before"), "{second:?}");
    let report = json(&desk.path("r.json"));
    let shape = |field: &str| report["batch"][field].as_u64().unwrap();
    assert_eq!(shape("probes"), 3);
    assert_eq!(shape("positions"), shape("queries") * shape("copies") + shape("public") + 3);
    assert_eq!((&report["verdict"]["probes_correct"], &report["verdict"]["probes_total"]), (&3.into(), &3.into()));
    // One label of the probes is another: rejected, however many public errors are tolerated.
    let labels = std::fs::read_to_string(desk.path("before.csv")).unwrap();
    std::fs::write(desk.path("other.csv"), labels.replace("1,1", "1,2")).unwrap();
    let third = desk.client(&address, "--probe-inputs x.npy --probe-labels other.csv --accuracy 0.9 -o labels.csv");
    assert_eq!(third.code, 3, "{third:?}");
    assert!(third.stdout.contains("2 of 3 probes as before"), "{third:?}");
    assert!(!desk.path("labels.csv").exists());
    assert_eq!(server.end().code, 0);
    let probes: Vec<_> = records(&desk, DEFAULT_LEDGER).iter().map(|record| record.probes).collect();
    assert_eq!(probes, [0, 3, 3]);
}

#[test]
fn without_a_ledger_nothing_is_kept_and_the_verdict_says_so() {
    let desk = Desk::new();
    let (server, address) = desk.server("plan.bin");
    let client = desk.client(&address, "--no-ledger --report r.json");
    assert_eq!(client.code, 0, "{client:?}");
    assert!(client.stdout.trim_end().ends_with("(not recorded: --no-ledger)"), "{client:?}");
    assert!(!desk.path("state").exists());
    assert!(json(&desk.path("r.json"))["ledger"].is_null());
    server.end();
}

#[test]
fn without_the_ledger_asked_for_nothing_is_sent() {
    let desk = Desk::new();
    std::fs::write(desk.path("diary"), "dear diary").unwrap();
    let files = "--input x.npy --public-inputs px.npy --public-labels py.npy";
    for (place, why) in
        [("diary", "cannot use diary"), (".", "something other than a file"), ("x.npy", "cannot use x.npy")]
    {
        let stderr = desk.refused(&format!("{files} --ledger {place}"));
        assert!(stderr.contains(why), "{stderr}");
    }
    assert_eq!(std::fs::read_to_string(desk.path("diary")).unwrap(), "dear diary");
    let mut homeless = desk.command(&format!("plan.client.bin --role client --connect 127.0.0.1:1 {files}"));
    let homeless = desk::Ended::from(homeless.env_remove("XDG_STATE_HOME").env_remove("HOME").output().unwrap());
    assert_eq!(homeless.code, 2);
    assert!(homeless.stderr.contains("give --ledger FILE or --no-ledger"), "{homeless:?}");
    let stderr = desk.refused(&format!("{files} --ledger l.redb -o l.redb"));
    assert!(stderr.contains("l.redb would be overwritten"), "{stderr}");
}

#[test]
fn a_clients_budget_survives_the_servers_restarts() {
    let desk = Desk::new();
    let three = |address: &str| desk.run(&desk.client_line(address, "--input x.npy --no-verify -o labels.csv"));
    let (server, address) = desk.server("plan.bin --budget 8");
    assert_eq!((three(&address).code, server.end().code), (0, 0));
    assert!(desk.path("state/fusion/budget.redb").exists());
    // Another process, the same client.
    let (server, address) = desk.server("plan.bin --budget 8 --sessions 3");
    assert_eq!(three(&address).code, 0);
    let refusal = "the batch has 3 positions, but of this client's budget of 8 only 2 are left";
    for _ in 0..2 {
        let client = three(&address);
        assert_eq!(client.code, 4, "{client:?}");
        assert!(client.stderr.contains(&format!("it refused: {refusal}")), "{client:?}");
        assert!(!desk.path("labels.csv").exists());
    }
    let server = server.end();
    assert_eq!((server.code, server.stderr.matches(refusal).count()), (4, 2), "{server:?}");
    // Refused sessions count for the client, which cannot know why they were.
    let reasons = outcomes(&desk, DEFAULT_LEDGER);
    assert!(matches!(&reasons[..], [_, _, Outcome::Failed(why), Outcome::Failed(_)] if why.contains(refusal)));
    // Another file, another budget.
    let (server, address) = desk.server("plan.bin --budget 8 --budget-file other.redb");
    assert_eq!((three(&address).code, server.end().code), (0, 0));
}

#[test]
fn a_budget_that_cannot_be_kept_serves_nobody() {
    let desk = Desk::new();
    std::fs::write(desk.path("diary"), "dear diary").unwrap();
    let server = desk.run("plan.bin --role server --listen 127.0.0.1:0 --budget 8 --budget-file diary");
    assert_eq!((server.code, server.stdout.as_str()), (2, ""), "{server:?}");
    assert!(server.stderr.contains("cannot use diary"), "{server:?}");
}
