//! The cross-sample attack: who finds equal samples knows which positions are copies, and can be
//! wrong on all copies of one query and on nothing else.
//!
//! With a key pair and seeds of its own for every position, equal samples look like any others. If
//! positions share them (the feature `shared-key`), equal samples have equal ciphertexts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use fusion_backends::Kind;
use fusion_backends::bits::unpack;
use fusion_catalogue::cheetah::Packing;
use fusion_catalogue::rlwe::{POLYNOMIAL_BYTES, PUBLIC_KEY_BYTES, SEED_BYTES};
use fusion_catalogue::step::Product;
use fusion_catalogue::{Keys, Step, Steps};
use fusion_runtime::Flow;

use crate::malice::{Act, Case, Message, Outcome, QUERIES, Rogue, on_attention, on_every_case};
use crate::servers::add_to_labels;

on_every_case! {
    with_a_key_for_every_sample_a_server_finds_no_copies_and_is_rejected,
    no_two_samples_and_with_keys_by_layer_no_two_layers_share_a_key_or_a_ciphertext,
    what_is_sent_instead_of_an_operand_is_uniform_and_of_equal_samples_independent,
}

on_attention! {
    no_two_samples_and_with_keys_by_layer_no_two_layers_share_a_key_or_a_ciphertext,
}

/// A server that compares the ciphertexts of the first upload, changes the labels of the largest
/// set of positions that look alike, if there is any, and is honest otherwise. The sets it found
/// are written down.
fn comparing(case: &'static Case, positions: usize, found: Arc<Mutex<Vec<usize>>>) -> Rogue {
    let function = &case.plan.function;
    let (first, _) = function.iter().find(|(_, value)| value.op.weights().next().is_some()).unwrap();
    let steps = Steps::of(function).unwrap();
    let one = steps.get(first).packing().unwrap().upload_bytes();
    Rogue::meddling(case, move |kind, number, message| {
        match (kind, message) {
            (Kind::LinearUpload, Message::Received(payload)) if number == 0 => {
                assert_eq!(payload.len(), positions * one);
                let ciphertexts: Vec<&[u8]> = payload.chunks(one).map(|upload| &upload[SEED_BYTES..]).collect();
                let alike = |at: usize| (0..positions).filter(|other| ciphertexts[*other] == ciphertexts[at]).collect();
                let largest = (0..positions).map(alike).max_by_key(Vec::len).unwrap_or_default();
                *found.lock().unwrap() = largest;
            }
            (Kind::Reveal, Message::Sending(payload)) => {
                let found = found.lock().unwrap();
                // Alone, a position is no copy that it knows: it has to guess as many as there may
                // be.
                let guess: Vec<usize> = if found.len() > 1 { found.clone() } else { (0..positions / 4).collect() };
                add_to_labels(case, payload, &guess);
            }
            _ => {}
        }
        Act::Pass
    })
}

/// What the client makes of it, and how many positions the server took for copies of one query.
fn attack(case: &'static Case) -> (Outcome, usize, usize) {
    let job = case.job();
    let found = Arc::new(Mutex::new(Vec::new()));
    let outcome = case.play(&job, 0, comparing(case, job.batch().positions() as usize, Arc::clone(&found)));
    let alike = found.lock().unwrap().len();
    (outcome, alike, job.batch().copies as usize)
}

fn with_a_key_for_every_sample_a_server_finds_no_copies_and_is_rejected(case: &'static Case) {
    let (outcome, alike, copies) = attack(case);
    assert!(copies > 1);
    assert_eq!((outcome, alike), (Outcome::Rejected, 1));
}

/// What a server sees of a client's keys and ciphertexts.
#[derive(Default)]
struct Seen {
    kinds: Vec<Kind>,
    public_keys: usize,
    /// Of public keys and uploads.
    seeds: Vec<Vec<u8>>,
    /// Every other part of them, polynomial by polynomial.
    polynomials: Vec<Vec<u8>>,
}

impl Seen {
    /// Notes parts of a message, each of so many bytes for each position, which begin with a seed.
    fn note(&mut self, kind: Kind, payload: &[u8], parts: &[usize]) {
        self.kinds.push(kind);
        let (mut rest, positions) = (payload, payload.len() / parts.iter().sum::<usize>());
        for one in parts {
            let (part, behind) = rest.split_at(positions * one);
            rest = behind;
            for of_position in part.chunks(*one) {
                self.public_keys += usize::from(kind == Kind::PublicKeys);
                self.seeds.push(of_position[..SEED_BYTES].to_vec());
                self.polynomials.extend(of_position[SEED_BYTES..].chunks(POLYNOMIAL_BYTES).map(<[u8]>::to_vec));
            }
        }
        assert!(rest.is_empty());
    }
}

fn no_two_samples_and_with_keys_by_layer_no_two_layers_share_a_key_or_a_ciphertext(case: &'static Case) {
    let function = &case.plan.function;
    let steps = Steps::of(function).unwrap();
    // Of every message its parts, of each the bytes of one position: a product's terms come one
    // after the other.
    let parts = |step: &Step| match step {
        Step::Product(Product::Cheetah(product)) => {
            product.terms().iter().map(|term| term.packing.upload_bytes()).collect()
        }
        step => step.packing().map(Packing::upload_bytes).into_iter().collect(),
    };
    let uploads: Vec<Vec<usize>> = steps.iter().filter(|step| Keys::Layer.own(step)).map(parts).collect();
    assert!(uploads.len() > 1);
    let ciphertexts = uploads.concat().len();
    let job = case.job();
    let positions = job.batch().positions() as usize;
    let half = positions.div_ceil(2);
    let all = [(Keys::Layer, uploads.len()), (Keys::Ahead, uploads.len()), (Keys::Position, 1)];
    // Products keep their lane: beside it, what goes ahead comes in no order that could be told.
    let ordered = |keys| keys != Keys::Ahead || case.products().is_empty();
    for (keys, pairs) in all.into_iter().filter(|(keys, _)| ordered(*keys)) {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (noted, sizes) = (Arc::clone(&seen), uploads.clone());
        let rogue = Rogue::meddling(case, move |kind, number, message| {
            let parts = match kind {
                Kind::PublicKeys => &[PUBLIC_KEY_BYTES][..],
                Kind::LinearUpload => &sizes[number % sizes.len()],
                _ => return Act::Pass,
            };
            if let Message::Received(payload) = message {
                noted.lock().unwrap().note(kind, payload, parts);
            }
            Act::Pass
        });
        let flow = Flow { micro_batch: Some(half as u32), streams: Some(1), keys: Some(keys), ..Flow::default() };
        assert_eq!(case.play_in(&job, flow, rogue, |_, channel| channel), Outcome::Accepted(case.expected()));
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!((seen.public_keys, seen.seeds.len()), (positions * pairs, positions * (pairs + ciphertexts)));
        for parts in [&seen.seeds, &seen.polynomials] {
            assert_eq!(parts.iter().collect::<BTreeSet<_>>().len(), parts.len(), "by {keys}");
        }
        // A layer's keys come right before its upload: when nothing was decrypted under them.
        let one = match keys {
            Keys::Layer | Keys::Ahead => [Kind::PublicKeys, Kind::LinearUpload].repeat(uploads.len()),
            Keys::Position => [vec![Kind::PublicKeys], vec![Kind::LinearUpload; uploads.len()]].concat(),
        };
        assert_eq!(seen.kinds, one.repeat(2));
    }
}

/// With layers ahead the server gets the client's share less a mask: of a batch of equal samples,
/// in every layer.
fn what_is_sent_instead_of_an_operand_is_uniform_and_of_equal_samples_independent(case: &'static Case) {
    let steps = Steps::of(&case.plan.function).unwrap();
    let layers: Vec<&Packing> = steps.iter().filter_map(|step| step.masked(Keys::Ahead)).collect();
    assert!(layers.len() > 1);
    let job = case.job_of(&[7; QUERIES], &[7; 60]);
    let positions = job.batch().positions() as usize;
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let rogue = Rogue::meddling(case, move |kind, _, message| {
        if let (Kind::LinearUnmask, Message::Received(payload)) = (kind, message) {
            noted.lock().unwrap().push(payload.clone());
        }
        Act::Pass
    });
    let micro_batch = Some(positions as u32);
    let flow = Flow { micro_batch, streams: Some(1), keys: Some(Keys::Ahead), ..Flow::default() };
    let right = vec![case.labels[7]; QUERIES];
    assert_eq!(case.play_in(&job, flow, rogue, |_, channel| channel), Outcome::Accepted(right));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), layers.len());
    for (payload, packing) in seen.iter().zip(layers) {
        let (elements, bits) = (packing.geometry().input_len(), packing.acc_bits());
        let masked = unpack(payload, positions * elements, bits).unwrap();
        let of_position: Vec<&[u64]> = masked.chunks_exact(elements).collect();
        assert_eq!(of_position.iter().collect::<BTreeSet<_>>().len(), positions, "no two are equal");
        // Every bit of an element, and of the difference of two positions, is set as often as not.
        for bit in 0..bits {
            let set = |values: &mut dyn Iterator<Item = u64>| values.filter(|value| value >> bit & 1 == 1).count();
            let alone = set(&mut masked.iter().copied());
            assert_half(alone, positions * elements, "an element");
            let neighbours = of_position.windows(2).flat_map(|pair| pair[0].iter().zip(pair[1]));
            let differing = set(&mut neighbours.map(|(one, other)| one ^ other));
            assert_half(differing, (positions - 1) * elements, "a difference");
        }
    }
}

/// Six standard deviations of as many fair coins.
fn assert_half(heads: usize, coins: usize, what: &str) {
    let (mean, deviation) = (coins as f64 / 2.0, (coins as f64).sqrt() / 2.0);
    assert!((heads as f64 - mean).abs() < 6.0 * deviation, "a bit of {what} is set {heads} times of {coins}");
}

#[cfg(fusion_ablate = "shared-key")]
#[test]
fn with_a_shared_key_a_server_finds_the_copies_and_gets_a_wrong_label_accepted() {
    let case = Case::network();
    let (outcome, alike, copies) = attack(case);
    assert_eq!(alike, copies);
    let Outcome::Accepted(labels) = outcome else { panic!("{outcome:?}") };
    let expected = case.expected();
    assert!(expected.iter().all(|label| *label < 9), "one more is another class");
    let wrong: Vec<_> = labels.iter().zip(&expected).filter(|(found, right)| found != right).collect();
    assert_eq!(wrong.len(), 1, "{labels:?} instead of {expected:?}");
    assert_eq!(*wrong[0].0, wrong[0].1 + 1);
}
