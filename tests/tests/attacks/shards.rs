//! One batch over several servers, some of which cheat: what one of them does to its part, the
//! whole batch is rejected for, or has failed; and what the others see says nothing of the verdict.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fusion_backends::Kind;
use fusion_ir::op::Reveal;
use fusion_runtime::fusion::Job;
use fusion_runtime::transport::tcp::{self, TcpOptions, open};
use fusion_runtime::transport::{Identity, Lane, Met, Wrapped};
use fusion_runtime::{Client, Flow};

use crate::leaks::{Event, Log, noted};
use crate::malice::{Act, Case, Message, Outcome, Rogue, on_every_case};
use crate::servers::add_to_labels;

on_every_case! {
    honest_servers_are_accepted_with_the_references_labels,
    a_server_that_relabels_its_part_is_rejected,
    a_server_that_changes_one_position_of_its_part_is_rejected,
    servers_that_do_the_same_are_rejected,
    results_of_one_servers_part_sent_for_anothers_are_rejected,
    an_abort_ends_the_batch_and_every_server_has_seen_what_it_would_have_seen,
    an_abort_after_another_part_has_given_everything_is_a_failure_of_the_batch,
    what_a_server_sees_says_nothing_of_the_other_parts,
}

/// How long a party waits for the other.
const PATIENCE: Duration = Duration::from_secs(300);

/// What passed on the lanes between the client and one server.
type SharedLog = Arc<Mutex<Log>>;

/// The result for a client of `job` over the servers `rogues`, and what passed on the lanes to
/// each.
fn play(case: &Case, job: &Job, rogues: Vec<Rogue>) -> (Outcome, Vec<Log>) {
    let logs: Vec<SharedLog> = rogues.iter().map(|_| SharedLog::default()).collect();
    let outcome = play_into(&logs, case, job, rogues);
    (outcome, logs.iter().map(|log| log.lock().unwrap().clone()).collect())
}

/// The same; `logs` can be looked at while it goes on.
fn play_into(logs: &[SharedLog], case: &Case, job: &Job, rogues: Vec<Rogue>) -> Outcome {
    let listeners: Vec<TcpListener> = rogues.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    std::thread::scope(|scope| {
        let dial = |(listener, log): (&TcpListener, &SharedLog)| {
            let (address, log) = (listener.local_addr().unwrap().to_string(), Arc::clone(log));
            move || {
                let options = TcpOptions { timeout: PATIENCE, tls: None, allow_plaintext: false };
                let (connection, _) = tcp::connect(&address, &options)?;
                // Of asking, which comes first, nothing is kept.
                log.lock().unwrap().clear();
                let log = Arc::clone(&log);
                let link = Wrapped::new(connection, move |lane: Lane, inner| noted(lane, inner, &log));
                Ok(Met { link: Box::new(link), identity: Identity::named(&address), name: address, exposed: false })
            }
        };
        let servers: Vec<_> = listeners.iter().zip(logs).map(dial).collect();
        for (listener, rogue) in listeners.into_iter().zip(rogues) {
            scope.spawn(move || {
                let accept = || open(listener.accept().unwrap().0, PATIENCE).unwrap();
                // It is asked first whether it would serve.
                assert!(honest(case).serve(&case.plan, accept()).is_err());
                // The client may hang up on it; what counts is what it makes of the batch.
                let _ = rogue.serve(&case.plan, accept());
            });
        }
        let flow = Flow { micro_batch: Some(8), streams: Some(1), ..Flow::default() };
        let client = Client::without_ledger(case.plan.for_client(), Reveal::Label).unwrap().flow(flow);
        match client.run_on(job.clone(), &servers, &mut |_| ()) {
            Ok(report) if report.verdict.accepted => Outcome::Accepted(report.labels.unwrap()),
            Ok(report) => {
                assert_eq!(report.labels, None, "labels of a rejected batch");
                Outcome::Rejected
            }
            Err(error) => {
                assert_eq!(error.exit_code(), 4, "{error}");
                Outcome::Failed
            }
        }
    })
}

fn honest(case: &Case) -> Rogue {
    Rogue::with_model(case.weights().clone())
}

/// Honest servers, and `rogue` in the place `at`.
fn among(case: &Case, servers: usize, at: usize, rogue: Rogue) -> Vec<Rogue> {
    let mut all: Vec<Rogue> = (0..servers).map(|_| honest(case)).collect();
    all[at] = rogue;
    all
}

fn honest_servers_are_accepted_with_the_references_labels(case: &'static Case) {
    for servers in [2, 3] {
        let rogues = (0..servers).map(|_| honest(case)).collect();
        assert_eq!(play(case, &case.job(), rogues).0, Outcome::Accepted(case.expected()));
    }
}

fn a_server_that_relabels_its_part_is_rejected(case: &'static Case) {
    for (servers, at) in [(2, 0), (2, 1), (3, 2)] {
        let rogue = Rogue::with_model(case.rotated());
        assert_eq!(play(case, &case.job(), among(case, servers, at, rogue)).0, Outcome::Rejected, "{at} of {servers}");
    }
}

fn a_server_that_changes_one_position_of_its_part_is_rejected(case: &'static Case) {
    // Two copies of each query at least, and no public error is tolerated: one position is a copy
    // whose other is elsewhere, or a public sample.
    for at in [0, 1] {
        let rogue = Rogue::changing(case, Kind::Reveal, move |number, payload| {
            if number == 0 {
                add_to_labels(case, payload, &[3]);
            }
        });
        assert_eq!(play(case, &case.job(), among(case, 2, at, rogue)).0, Outcome::Rejected);
    }
}

fn servers_that_do_the_same_are_rejected(case: &'static Case) {
    // All of them relabel, which makes all copies agree wherever they are.
    let rogues = (0..3).map(|_| Rogue::with_model(case.rotated())).collect();
    assert_eq!(play(case, &case.job(), rogues).0, Outcome::Rejected);
    // Each relabels the same part of its positions.
    let half = || Rogue {
        models: vec![case.weights().clone(), case.rotated()],
        choice: Box::new(|micro_batch| micro_batch % 2),
        ..honest(case)
    };
    assert_eq!(play(case, &case.job(), vec![half(), half()]).0, Outcome::Rejected);
}

/// What servers tell each other: by number and size whose result came first, and how often it was
/// sent again.
#[derive(Default)]
struct Notes {
    first: HashMap<(usize, usize), (usize, Vec<u8>)>,
    replaced: usize,
}

fn results_of_one_servers_part_sent_for_anothers_are_rejected(case: &'static Case) {
    // Whoever is later with a result of some size sends the other's instead: what both have from
    // the client, they have under different keys.
    let notes: Arc<Mutex<Notes>> = Arc::default();
    let rogue = |server: usize| {
        let notes = Arc::clone(&notes);
        Rogue::changing(case, Kind::LinearDownload, move |number, payload| {
            let Notes { first, replaced } = &mut *notes.lock().unwrap();
            let (whose, found) = first.entry((number, payload.len())).or_insert_with(|| (server, payload.clone()));
            if *whose != server {
                payload.clone_from(found);
                *replaced += 1;
            }
        })
    };
    assert_eq!(play(case, &case.job(), vec![rogue(0), rogue(1)]).0, Outcome::Rejected);
    assert!(notes.lock().unwrap().replaced > 0, "none was exchanged");
}

fn an_abort_after_another_part_has_given_everything_is_a_failure_of_the_batch(case: &'static Case) {
    let positions = case.job().batch().positions() as usize;
    // The first part has one position more if they are odd.
    let micro_batches = [positions.div_ceil(2), positions / 2].map(|part| part.div_ceil(8));
    let logs = [SharedLog::default(), SharedLog::default()];
    let reveals = |log: &SharedLog| {
        let received = |event: &&Event| matches!(event, Event::Received(Kind::Reveal, _));
        log.lock().unwrap().get(&Lane::layers(0)).map_or(0, |events| events.iter().filter(received).count())
    };
    // The second part's last reveal never comes; it has been awaited alone: the client has all of
    // the first part.
    let first = Arc::clone(&logs[0]);
    let waiting = Rogue::meddling(case, move |kind, number, message| match message {
        Message::Sending(_) if (kind, number) == (Kind::Reveal, micro_batches[1] - 1) => {
            let patience = Instant::now() + PATIENCE / 2;
            while reveals(&first) < micro_batches[0] && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(5));
            }
            Act::HangUp
        }
        _ => Act::Pass,
    });
    assert_eq!(play_into(&logs, case, &case.job(), vec![honest(case), waiting]), Outcome::Failed);
    assert_eq!(logs.each_ref().map(reveals), [micro_batches[0], micro_batches[1] - 1]);
}

fn an_abort_ends_the_batch_and_every_server_has_seen_what_it_would_have_seen(case: &'static Case) {
    let (outcome, reference) = play(case, &case.job(), vec![honest(case), honest(case)]);
    assert!(matches!(outcome, Outcome::Accepted(_)));
    let public: Vec<usize> = (100..160).collect();
    for withheld in [0, 1] {
        let aborting = || {
            Rogue::meddling(case, move |kind, number, message| match message {
                Message::Sending(_) if (kind, number) == (Kind::LinearDownload, withheld) => Act::HangUp,
                _ => Act::Pass,
            })
        };
        let mut seen = Vec::new();
        // Other inputs, and each time another permutation.
        for queries in [[0, 1, 2], [31, 32, 33], [7, 7, 7]] {
            let job = case.job_of(&queries, &public);
            let (outcome, logs) = play(case, &job, vec![honest(case), aborting()]);
            assert_eq!(outcome, Outcome::Failed);
            // The other server sees what it would have seen, and at some point the end: it is told
            // nothing else.
            for (lane, events) in &logs[0] {
                // A generator's thread may still be about to end.
                let before: Vec<Event> = events.iter().take_while(|event| **event != Event::HungUp).cloned().collect();
                assert!(events.len() <= before.len() + 1, "nothing comes after the end");
                assert!(reference[0][lane].starts_with(&before), "{lane}");
            }
            seen.push(layers(&logs[1]));
        }
        assert!(seen[0].len() > 1 && seen.windows(2).all(|pair| pair[0] == pair[1]), "the same up to its own abort");
    }
}

fn layers(log: &Log) -> Vec<Event> {
    log[&Lane::layers(0)].clone()
}

fn what_a_server_sees_says_nothing_of_the_other_parts(case: &'static Case) {
    let public: Vec<usize> = (100..160).collect();
    let (outcome, reference) = play(case, &case.job_of(&[0, 1, 2], &public), vec![honest(case), honest(case)]);
    assert_eq!(outcome, Outcome::Accepted(case.labels[..3].to_vec()));
    let ends = |log: &Log| log.values().all(|events| events.ends_with(&[Event::HungUp]));
    assert!(reference.iter().all(|log| ends(log) && log.len() == 3));
    // Other inputs; copies and public samples that are all alike; another server that relabels.
    for (queries, other) in
        [([31, 32, 33], honest(case)), ([7, 7, 7], honest(case)), ([0, 1, 2], Rogue::with_model(case.rotated()))]
    {
        let rejected = other.models[0] != *case.weights();
        let (outcome, logs) = play(case, &case.job_of(&queries, &public), vec![honest(case), other]);
        assert_eq!(outcome == Outcome::Rejected, rejected);
        assert_eq!(logs, reference);
    }
}
