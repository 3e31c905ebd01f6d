//! Strategies of a malicious server against two micro-batches in flight: what it does to one of
//! them, both are rejected for.

use std::collections::HashMap;

use fusion_backends::Kind;

use crate::malice::{Act, Case, Message, Outcome, Rogue, on_attention, on_every_case};
use crate::servers::add_to_labels;

on_every_case! {
    an_honest_server_is_accepted_with_the_references_labels,
    tampering_with_a_position_of_either_stream_is_rejected,
    another_model_in_one_stream_is_rejected,
    corrupt_ot_messages_of_one_stream_end_both,
    results_of_one_micro_batch_sent_for_another_are_never_accepted,
    a_result_that_never_comes_ends_both_streams,
}

on_attention! {
    an_honest_server_is_accepted_with_the_references_labels,
    results_of_one_micro_batch_sent_for_another_are_never_accepted,
}

/// Several micro-batches for each of two streams.
const MICRO_BATCH: usize = 8;

fn play(case: &Case, rogue: Rogue) -> Outcome {
    case.play_side_by_side(&case.job(), MICRO_BATCH, rogue)
}

fn an_honest_server_is_accepted_with_the_references_labels(case: &'static Case) {
    assert_eq!(play(case, Rogue::with_model(case.weights().clone())), Outcome::Accepted(case.expected()));
}

fn tampering_with_a_position_of_either_stream_is_rejected(case: &'static Case) {
    // Micro-batches of the two streams take turns in some order: of the first two reveals one is of
    // either stream, or both of one.
    for tampered in [0, 1] {
        let rogue = Rogue::changing(case, Kind::Reveal, move |number, payload| {
            if number == tampered {
                add_to_labels(case, payload, &[3]);
            }
        });
        assert_eq!(play(case, rogue), Outcome::Rejected);
    }
}

fn another_model_in_one_stream_is_rejected(case: &'static Case) {
    for stream in [0, 1] {
        let models = vec![case.weights().clone(), case.rotated()];
        let choice = Box::new(move |micro_batch| usize::from(micro_batch % 2 == stream));
        assert_eq!(play(case, Rogue { models, choice, ..Rogue::with_model(case.rotated()) }), Outcome::Rejected);
    }
}

fn corrupt_ot_messages_of_one_stream_end_both(case: &'static Case) {
    for kind in [Kind::BaseOt, Kind::OtExtension] {
        for spoiled in 0..2 {
            let rogue = Rogue::changing(case, kind, move |number, payload| {
                if number == spoiled {
                    let middle = payload.len() / 2;
                    payload[middle] ^= 1;
                }
            });
            assert_eq!(play(case, rogue), Outcome::Failed, "{kind:?} {spoiled}");
        }
    }
}

fn results_of_one_micro_batch_sent_for_another_are_never_accepted(case: &'static Case) {
    // Every stream's first results take the place of the first ones of the same size that come
    // later, in whichever stream.
    let mut earlier: HashMap<usize, Vec<u8>> = HashMap::new();
    let rogue = Rogue::changing(case, Kind::LinearDownload, move |_, payload| {
        if let Some(replayed) = earlier.insert(payload.len(), payload.clone()) {
            *payload = replayed;
        }
    });
    assert_eq!(play(case, rogue), Outcome::Rejected);
}

fn a_result_that_never_comes_ends_both_streams(case: &'static Case) {
    for withheld in [0, 1, 5] {
        let rogue = Rogue::meddling(case, move |kind, number, message| match message {
            Message::Sending(_) if (kind, number) == (Kind::LinearDownload, withheld) => Act::HangUp,
            _ => Act::Pass,
        });
        assert_eq!(play(case, rogue), Outcome::Failed);
    }
}
