//! Each strategy of a malicious server, once over the real protocols and TCP.

use fusion_backends::{Kind, bits};
use fusion_ir::Weights;
use fusion_ir::types::mask;

use crate::malice::{Act, Case, Message, Outcome, QUERIES, Rogue, play};

/// Adds 1 to the labels revealed at the given positions of a batch in one micro-batch.
fn relabel(positions: Vec<usize>) -> Rogue {
    Rogue::changing(Kind::Reveal, move |_, payload| add_to_labels(payload, &positions))
}

/// Adds 1 to revealed labels: to the server's shares of them.
pub fn add_to_labels(payload: &mut Vec<u8>, positions: &[usize]) {
    let width = Case::get().plan.function.values.last().unwrap().ty.bits;
    let mut shares = bits::unpack(payload, payload.len() * 8 / usize::from(width), width).unwrap();
    positions.iter().for_each(|at| shares[*at] = shares[*at].wrapping_add(1) & mask(width));
    *payload = bits::pack(&shares, width);
}

/// What a cheating server may achieve: never a wrong label.
fn assert_safe(outcome: &Outcome, context: &str) {
    let right = Outcome::Accepted(Case::get().expected());
    assert!([Outcome::Rejected, Outcome::Failed, right].contains(outcome), "{context}: {outcome:?}");
}

#[test]
fn an_honest_server_is_accepted_with_the_references_labels() {
    let case = Case::get();
    for micro_batch in [0, 8] {
        let outcome = play(&case.job(), micro_batch, Rogue::with_model(case.weights().clone()));
        assert_eq!(outcome, Outcome::Accepted(case.expected()));
    }
}

#[test]
fn tampering_with_positions_is_rejected() {
    let job = Case::get().job();
    let (copies, positions) = (job.batch().copies as usize, job.batch().positions() as usize);
    for hits in [1, copies, 2 * copies, positions / 4, positions / 2] {
        // A stride that is prime to the number of positions: what is hit looks random, the
        // permutation is.
        let hit = (0..hits).map(|index| index * 37 % positions).collect();
        assert_eq!(play(&job, 0, relabel(hit)), Outcome::Rejected, "{hits} of {positions} positions");
    }
}

#[test]
fn other_labels_at_every_position_are_rejected() {
    let job = Case::get().job();
    assert_eq!(play(&job, 0, relabel((0..job.batch().positions() as usize).collect())), Outcome::Rejected);
}

#[test]
fn another_model_is_rejected_on_all_positions_and_on_some() {
    let case = Case::get();
    assert_eq!(play(&case.job(), 0, Rogue::with_model(case.rotated())), Outcome::Rejected);
    let some = Rogue {
        models: vec![case.weights().clone(), case.rotated()],
        choice: Box::new(|micro_batch| usize::from(micro_batch == 2)),
        ..Rogue::with_model(case.rotated())
    };
    assert_eq!(play(&case.job(), 4, some), Outcome::Rejected);
}

#[test]
fn a_lazy_server_is_rejected() {
    let case = Case::get();
    let lazy = Rogue {
        models: vec![case.weights().clone(), case.lazy()],
        choice: Box::new(|position| position % 2),
        ..Rogue::with_model(case.lazy())
    };
    assert_eq!(play(&case.job(), 1, lazy), Outcome::Rejected);
}

#[test]
fn a_low_quality_model_on_all_positions_is_rejected() {
    let case = Case::get();
    let wrong = |model: &Weights| case.answers_of(model).iter().zip(&case.labels).filter(|(l, r)| l != r).count();
    // Bad, but not the worst: right on some, wrong on most.
    let models = (2..8).map(|log| crate::rates::thinned(case, 1 << log));
    let model =
        models.into_iter().find(|model| wrong(model) * 10 > case.labels.len() * 6).expect("few features are few");
    assert!(wrong(&model) * 100 < case.labels.len() * 95);
    assert_eq!(play(&case.job(), 0, Rogue::with_model(model)), Outcome::Rejected);
}

#[test]
fn a_backdoored_model_is_outside_position_consistency() {
    let case = Case::get();
    let (model, triggered) = crate::rates::backdoored(case);
    let harmless: Vec<usize> = (0..case.inputs.len()).filter(|at| !triggered.contains(at)).collect();
    // Consistent, and right on every public sample: only public samples drawn as the queries are
    // would show it.
    let queries = [triggered[0], harmless[0], harmless[1]];
    let answers = case.answers_of(&model);
    let labels: Vec<i64> = queries.iter().map(|at| answers[*at]).collect();
    assert_ne!(labels[0], case.labels[triggered[0]]);
    let outcome = play(&case.job_of(&queries, &harmless[2..]), 0, Rogue::with_model(model.clone()));
    assert_eq!(outcome, Outcome::Accepted(labels));
    // Public samples that carry the trigger reject it: p_mix and the accuracy check's tail are
    // about how often they do.
    let public: Vec<usize> = triggered.iter().cycle().take(60).copied().collect();
    assert_eq!(play(&case.job_of(&queries, &public), 0, Rogue::with_model(model)), Outcome::Rejected);
}

#[test]
fn corrupt_results_of_linear_layers_never_give_a_wrong_label() {
    let case = Case::get();
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
        for layer in 0..3 {
            let job = case.job();
            let positions = job.batch().positions() as usize;
            let mut earlier = Vec::new();
            let rogue = Rogue::changing(Kind::LinearDownload, move |number, payload| {
                let honest = payload.clone();
                if number == layer {
                    let one = payload.len() / positions;
                    change(payload, &earlier, one);
                }
                earlier = honest;
            });
            assert_safe(&play(&job, 0, rogue), &format!("{name} in layer {layer}"));
        }
    }
}

#[test]
fn results_replayed_from_an_earlier_micro_batch_are_rejected() {
    let job = Case::get().job();
    let mut first = Vec::new();
    let rogue = Rogue::changing(Kind::LinearDownload, move |number, payload| {
        // Three linear layers: the last one's result, in every micro-batch but the first.
        match number {
            2 => first = payload.clone(),
            _ if number % 3 == 2 && payload.len() == first.len() => payload.copy_from_slice(&first),
            _ => {}
        }
    });
    assert_eq!(play(&job, 5, rogue), Outcome::Rejected);
}

#[test]
fn corrupt_ot_messages_end_the_session() {
    for spoiled in 0..4 {
        let rogue = Rogue::changing(Kind::OtExtension, move |number, payload| {
            if number == spoiled {
                // Bit 0 of the correction of every tree: each is caught but with probability 1/16.
                payload.iter_mut().step_by(16).for_each(|byte| *byte ^= 1);
            }
        });
        assert_eq!(play(&Case::get().job(), 0, rogue), Outcome::Failed, "extension {spoiled}");
    }
    for spoiled in 0..2 {
        for place in [0, 40] {
            let rogue = Rogue::changing(Kind::BaseOt, move |number, payload| {
                if number == spoiled {
                    let at = place * payload.len() / 64;
                    payload[at] ^= 1;
                }
            });
            assert_eq!(play(&Case::get().job(), 0, rogue), Outcome::Failed, "base OTs {spoiled} at {place}");
        }
    }
}

#[test]
fn corrupt_comparison_messages_never_give_a_wrong_label() {
    for spoiled in [0, 3, 9, 20] {
        let rogue = Rogue::changing(Kind::Comparison, move |number, payload| {
            if number == spoiled {
                let some = payload.len().div_ceil(5);
                payload[..some].iter_mut().for_each(|byte| *byte ^= 0xff);
            }
        });
        assert_safe(&play(&Case::get().job(), 0, rogue), &format!("comparison {spoiled}"));
    }
}

#[test]
fn withheld_messages_and_early_ends_fail_the_session() {
    let kinds = [Kind::Hello, Kind::BaseOt, Kind::OtExtension, Kind::LinearDownload, Kind::Comparison, Kind::Reveal];
    for kind in kinds {
        let rogue = Rogue::meddling(move |found, number, message| match message {
            Message::Sending(_) if (found, number) == (kind, 0) => Act::HangUp,
            _ => Act::Pass,
        });
        assert_eq!(play(&Case::get().job(), 0, rogue), Outcome::Failed, "{kind:?} never sent");
    }
    // A truncated message is noticed by its size, one withheld by what comes instead of it.
    for kind in kinds {
        let rogue = Rogue::changing(kind, |_, payload| payload.truncate(payload.len() / 2));
        assert_eq!(play(&Case::get().job(), 0, rogue), Outcome::Failed, "{kind:?} cut in half");
    }
    let rogue = Rogue::meddling(|found, number, message| match message {
        Message::Sending(_) if (found, number) == (Kind::LinearDownload, 0) => Act::Withhold,
        _ => Act::Pass,
    });
    assert_eq!(play(&Case::get().job(), 0, rogue), Outcome::Failed, "a result withheld");
}

#[test]
fn revealing_twice_what_is_due_once_fails_the_session() {
    let rogue = Rogue::changing(Kind::Reveal, |_, payload| payload.extend_from_within(..));
    assert_eq!(play(&Case::get().job(), 0, rogue), Outcome::Failed);
    assert_eq!(Case::get().expected().len(), QUERIES);
}
