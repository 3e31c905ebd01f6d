//! Malicious servers against the real client process: its exit code, and that a stale `labels.csv`
//! does not survive.

use std::net::TcpListener;
use std::time::Duration;

use fusion_backends::Kind;
use fusion_runtime::transport::tcp::open;
use fusion_tests::desk::Desk;
use fusion_tests::read_labels;

use crate::malice::{Case, QUERIES, Rogue, on_every_case};
use crate::servers::add_to_labels;

on_every_case! {
    an_honest_server_is_accepted_with_the_references_labels,
    another_model_is_rejected,
    errors_on_some_positions_output_shares_are_rejected,
    a_corrupt_ot_message_ends_the_session,
}

/// The client's exit code against `rogue`, and its labels if it wrote any.
fn attack(case: &Case, rogue: Rogue) -> (i32, Option<Vec<i64>>) {
    let desk = Desk::of(case.example);
    desk.write("labels.csv", b"index,label\n0,stale\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ended = std::thread::scope(|scope| {
        scope.spawn(move || {
            let connection = open(listener.accept().unwrap().0, Duration::from_secs(60)).unwrap();
            // The client may hang up on it; what counts is what the client makes of the session.
            let _ = rogue.serve(&case.plan, connection);
        });
        desk.client(&address, "--timeout 10 --tolerate 2")
    });
    assert!(!ended.err.contains("panicked"), "{ended:?}");
    let labels = desk.path("labels.csv");
    (ended.code, labels.exists().then(|| read_labels(&labels)))
}

fn an_honest_server_is_accepted_with_the_references_labels(case: &'static Case) {
    assert_eq!(attack(case, Rogue::with_model(case.weights().clone())), (0, Some(case.labels[..QUERIES].to_vec())));
}

fn another_model_is_rejected(case: &'static Case) {
    assert_eq!(attack(case, Rogue::with_model(case.rotated())), (3, None));
}

fn errors_on_some_positions_output_shares_are_rejected(case: &'static Case) {
    // More than any query has copies and the client tolerates errors.
    let relabel = |_, payload: &mut Vec<u8>| add_to_labels(case, payload, &(0..14).collect::<Vec<_>>());
    assert_eq!(attack(case, Rogue::changing(case, Kind::Reveal, relabel)), (3, None));
}

fn a_corrupt_ot_message_ends_the_session(case: &'static Case) {
    // Bit 0 of the correction of every tree: each is caught but with probability 1/16.
    let spoil = |_, payload: &mut Vec<u8>| payload.iter_mut().step_by(16).for_each(|byte| *byte ^= 1);
    assert_eq!(attack(case, Rogue::changing(case, Kind::OtExtension, spoil)), (4, None));
}
