//! Each strategy of a malicious server, once over the real protocols and TCP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fusion_backends::{Kind, bits};
use fusion_ir::Weights;
use fusion_ir::types::mask;

use crate::malice::{Act, Case, Message, Outcome, QUERIES, Rogue, also_with_layers_ahead, on_attention, on_every_case};

on_every_case! {
    an_honest_server_is_accepted_with_the_references_labels,
    tampering_with_positions_is_rejected,
    other_labels_at_every_position_are_rejected,
    another_model_is_rejected_on_all_positions_and_on_some,
    a_lazy_server_is_rejected,
    a_low_quality_model_on_all_positions_is_rejected,
    a_backdoored_model_is_outside_position_consistency,
    corrupt_results_of_linear_layers_never_give_a_wrong_label,
    results_replayed_from_an_earlier_micro_batch_are_rejected,
    corrupt_ot_messages_end_the_session,
    corrupt_comparison_messages_never_give_a_wrong_label,
    withheld_messages_and_early_ends_fail_the_session,
    revealing_twice_what_is_due_once_fails_the_session,
}

on_attention! {
    an_honest_server_is_accepted_with_the_references_labels,
    tampering_with_positions_is_rejected,
    another_model_is_rejected_on_all_positions_and_on_some,
    a_lazy_server_is_rejected,
    corrupt_results_of_linear_layers_never_give_a_wrong_label,
    results_replayed_from_an_earlier_micro_batch_are_rejected,
    withheld_messages_and_early_ends_fail_the_session,
}

also_with_layers_ahead! {
    an_honest_server_is_accepted_with_the_references_labels,
    another_model_is_rejected_on_all_positions_and_on_some,
    corrupt_results_of_linear_layers_never_give_a_wrong_label,
    results_replayed_from_an_earlier_micro_batch_are_rejected,
    corrupt_comparison_messages_never_give_a_wrong_label,
    withheld_messages_and_early_ends_fail_the_session,
}

/// Adds 1 to the labels revealed at the given positions of a batch in one micro-batch.
fn relabel(case: &'static Case, positions: Vec<usize>) -> Rogue {
    Rogue::changing(case, Kind::Reveal, move |_, payload| add_to_labels(case, payload, &positions))
}

/// Adds 1 to revealed labels: to the server's shares of them.
pub fn add_to_labels(case: &Case, payload: &mut Vec<u8>, positions: &[usize]) {
    let width = case.plan.function.values.last().unwrap().ty.bits;
    let mut shares = bits::unpack(payload, payload.len() * 8 / usize::from(width), width).unwrap();
    positions.iter().for_each(|at| shares[*at] = shares[*at].wrapping_add(1) & mask(width));
    *payload = bits::pack(&shares, width);
}

/// What a cheating server may achieve: never a wrong label.
fn assert_safe(case: &Case, outcome: &Outcome, context: &str) {
    let right = Outcome::Accepted(case.expected());
    assert!([Outcome::Rejected, Outcome::Failed, right].contains(outcome), "{context}: {outcome:?}");
}

fn an_honest_server_is_accepted_with_the_references_labels(case: &'static Case) {
    for micro_batch in [0, 8] {
        let outcome = case.play(&case.job(), micro_batch, Rogue::with_model(case.weights().clone()));
        assert_eq!(outcome, Outcome::Accepted(case.expected()));
    }
}

fn tampering_with_positions_is_rejected(case: &'static Case) {
    let job = case.job();
    let (copies, positions) = (job.batch().copies as usize, job.batch().positions() as usize);
    for hits in [1, copies, 2 * copies, positions / 4, positions / 2] {
        // A stride that is prime to the number of positions: what is hit looks random, the
        // permutation is.
        let hit = (0..hits).map(|index| index * 37 % positions).collect();
        assert_eq!(case.play(&job, 0, relabel(case, hit)), Outcome::Rejected, "{hits} of {positions} positions");
    }
}

fn other_labels_at_every_position_are_rejected(case: &'static Case) {
    let job = case.job();
    assert_eq!(case.play(&job, 0, relabel(case, (0..job.batch().positions() as usize).collect())), Outcome::Rejected);
}

fn another_model_is_rejected_on_all_positions_and_on_some(case: &'static Case) {
    assert_eq!(case.play(&case.job(), 0, Rogue::with_model(case.rotated())), Outcome::Rejected);
    let some = Rogue {
        models: vec![case.weights().clone(), case.rotated()],
        choice: Box::new(|micro_batch| usize::from(micro_batch == 2)),
        ..Rogue::with_model(case.rotated())
    };
    assert_eq!(case.play(&case.job(), 4, some), Outcome::Rejected);
}

fn a_lazy_server_is_rejected(case: &'static Case) {
    let lazy = Rogue {
        models: vec![case.weights().clone(), case.lazy()],
        choice: Box::new(|position| position % 2),
        ..Rogue::with_model(case.lazy())
    };
    assert_eq!(case.play(&case.job(), 1, lazy), Outcome::Rejected);
}

fn a_low_quality_model_on_all_positions_is_rejected(case: &'static Case) {
    let wrong = |model: &Weights| case.answers_of(model).iter().zip(&case.labels).filter(|(l, r)| l != r).count();
    // Bad, but not the worst: right on some, wrong on most.
    let models = (2..8).map(|log| crate::rates::thinned(case, 1 << log));
    let model =
        models.into_iter().find(|model| wrong(model) * 10 > case.labels.len() * 6).expect("few features are few");
    assert!(wrong(&model) * 100 < case.labels.len() * 95);
    assert_eq!(case.play(&case.job(), 0, Rogue::with_model(model)), Outcome::Rejected);
}

fn a_backdoored_model_is_outside_position_consistency(case: &'static Case) {
    let (model, triggered) = crate::rates::backdoored(case);
    let harmless: Vec<usize> = (0..case.inputs.len()).filter(|at| !triggered.contains(at)).collect();
    // Consistent, and right on every public sample: only public samples drawn as the queries are
    // would show it.
    let queries = [triggered[0], harmless[0], harmless[1]];
    let answers = case.answers_of(&model);
    let labels: Vec<i64> = queries.iter().map(|at| answers[*at]).collect();
    assert_ne!(labels[0], case.labels[triggered[0]]);
    let outcome = case.play(&case.job_of(&queries, &harmless[2..]), 0, Rogue::with_model(model.clone()));
    assert_eq!(outcome, Outcome::Accepted(labels));
    // Public samples that carry the trigger reject it: p_mix and the accuracy check's tail are
    // about how often they do.
    let public: Vec<usize> = triggered.iter().cycle().take(60).copied().collect();
    assert_eq!(case.play(&case.job_of(&queries, &public), 0, Rogue::with_model(model)), Outcome::Rejected);
}

fn corrupt_results_of_linear_layers_never_give_a_wrong_label(case: &'static Case) {
    type Change = fn(&mut Vec<u8>, &[u8], usize);
    let changes: [(&str, Change); 5] = [
        ("bits flipped at five positions", |payload, _, one| {
            payload[..5 * one].iter_mut().step_by(7).for_each(|byte| *byte ^= 0x50);
        }),
        ("one bit flipped", |payload, _, one| payload[one + 3] ^= 0x80),
        ("the ciphertext of another sample", |payload, _, one| {
            let (left, right) = payload.split_at_mut(4 * one);
            left.swap_with_slice(&mut right[..4 * one]);
        }),
        ("an earlier layer's ciphertext", |payload, earlier, one| {
            let bytes = (5 * one).min(earlier.len());
            payload[..bytes].copy_from_slice(&earlier[..bytes]);
        }),
        ("a zero ciphertext", |payload, _, one| payload[..5 * one].fill(0)),
    ];
    for (name, change) in changes {
        for layer in case.spoiled() {
            let job = case.job();
            let positions = job.batch().positions() as usize;
            let mut earlier = Vec::new();
            let rogue = Rogue::changing(case, Kind::LinearDownload, move |number, payload| {
                let honest = payload.clone();
                if number == layer {
                    let one = payload.len() / positions;
                    change(payload, &earlier, one);
                }
                earlier = honest;
            });
            assert_safe(case, &case.play(&job, 0, rogue), &format!("{name} in layer {layer}"));
        }
    }
}

fn results_replayed_from_an_earlier_micro_batch_are_rejected(case: &'static Case) {
    let job = case.job();
    let mut first = Vec::new();
    let layers = case.linear_layers();
    let rogue = Rogue::changing(case, Kind::LinearDownload, move |number, payload| {
        // The last layer's result, in every micro-batch but the first.
        match number {
            _ if number + 1 == layers => first = payload.clone(),
            _ if number % layers + 1 == layers && payload.len() == first.len() => payload.copy_from_slice(&first),
            _ => {}
        }
    });
    assert_eq!(case.play(&job, 5, rogue), Outcome::Rejected);
}

fn corrupt_ot_messages_end_the_session(case: &'static Case) {
    for spoiled in 0..4 {
        let rogue = Rogue::changing(case, Kind::OtExtension, move |number, payload| {
            if number == spoiled {
                // Bit 0 of the correction of every tree: each is caught but with probability 1/16.
                payload.iter_mut().step_by(16).for_each(|byte| *byte ^= 1);
            }
        });
        assert_eq!(case.play(&case.job(), 0, rogue), Outcome::Failed, "extension {spoiled}");
    }
    for spoiled in 0..2 {
        for place in [0, 40] {
            let rogue = Rogue::changing(case, Kind::BaseOt, move |number, payload| {
                if number == spoiled {
                    let at = place * payload.len() / 64;
                    payload[at] ^= 1;
                }
            });
            assert_eq!(case.play(&case.job(), 0, rogue), Outcome::Failed, "base OTs {spoiled} at {place}");
        }
    }
}

fn corrupt_comparison_messages_never_give_a_wrong_label(case: &'static Case) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let honest = Rogue::changing(case, Kind::Comparison, move |_, _| _ = counter.fetch_add(1, Ordering::Relaxed));
    assert_eq!(case.play(&case.job(), 0, honest), Outcome::Accepted(case.expected()));
    let count = count.load(Ordering::Relaxed);
    for spoiled in [0, count / 8, count / 3, count * 2 / 3, count - 1] {
        let rogue = Rogue::changing(case, Kind::Comparison, move |number, payload| {
            if number == spoiled {
                let some = payload.len().div_ceil(5);
                payload[..some].iter_mut().for_each(|byte| *byte ^= 0xff);
            }
        });
        assert_safe(case, &case.play(&case.job(), 0, rogue), &format!("comparison {spoiled} of {count}"));
    }
}

fn withheld_messages_and_early_ends_fail_the_session(case: &'static Case) {
    let kinds = [Kind::Hello, Kind::BaseOt, Kind::OtExtension, Kind::LinearDownload, Kind::Comparison, Kind::Reveal];
    for kind in kinds {
        let rogue = Rogue::meddling(case, move |found, number, message| match message {
            Message::Sending(_) if (found, number) == (kind, 0) => Act::HangUp,
            _ => Act::Pass,
        });
        assert_eq!(case.play(&case.job(), 0, rogue), Outcome::Failed, "{kind:?} never sent");
    }
    // A truncated message is noticed by its size, one withheld by what comes instead of it.
    for kind in kinds {
        let rogue = Rogue::changing(case, kind, |_, payload| payload.truncate(payload.len() / 2));
        assert_eq!(case.play(&case.job(), 0, rogue), Outcome::Failed, "{kind:?} cut in half");
    }
    let rogue = Rogue::meddling(case, |found, number, message| match message {
        Message::Sending(_) if (found, number) == (Kind::LinearDownload, 0) => Act::Withhold,
        _ => Act::Pass,
    });
    assert_eq!(case.play(&case.job(), 0, rogue), Outcome::Failed, "a result withheld");
}

fn revealing_twice_what_is_due_once_fails_the_session(case: &'static Case) {
    let rogue = Rogue::changing(case, Kind::Reveal, |_, payload| payload.extend_from_within(..));
    assert_eq!(case.play(&case.job(), 0, rogue), Outcome::Failed);
    assert_eq!(case.expected().len(), QUERIES);
}
