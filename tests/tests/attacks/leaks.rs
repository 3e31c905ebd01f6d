//! What a server sees: on every lane the same messages, of the same sizes in the same order,
//! whatever the inputs, the permutation and the verdict, and nothing after the last of them. How
//! lanes interleave is up to the threads' clocks: no lane waits for what another has decrypted.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use fusion_backends::tap::{Message, watched};
use fusion_backends::{Channel, Kind};
use fusion_catalogue::Keys;
use fusion_ir::Plan;
use fusion_runtime::forecast::Forecast;
use fusion_runtime::resolve;
use fusion_runtime::session::{BatchSize, Offline};
use fusion_runtime::transport::Lane;
use fusion_runtime::transport::frame::HEADER_BYTES;
use fusion_tests::desk::Desk;
use fusion_tests::root;

use crate::malice::{Case, Outcome, QUERIES, Rogue, also_with_layers_ahead, on_every_case};
use crate::servers::add_to_labels;

on_every_case! {
    messages_are_the_same_whatever_the_inputs_the_permutation_and_the_verdict,
    side_by_side_each_stream_does_the_same_whatever_the_inputs_and_the_verdict,
}

also_with_layers_ahead! {
    messages_are_the_same_whatever_the_inputs_the_permutation_and_the_verdict,
    side_by_side_each_stream_does_the_same_whatever_the_inputs_and_the_verdict,
}

/// One message or the end, as it appears to whoever watches the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Sent(Kind, usize),
    Received(Kind, usize),
    HungUp,
}

/// What happened on each lane.
pub type Log = BTreeMap<Lane, Vec<Event>>;

/// What passes on a lane, and that it ends.
struct Notes {
    lane: Lane,
    log: Arc<Mutex<Log>>,
}

impl Notes {
    fn message(&self, kind: Kind, message: Message<'_>) {
        self.note(match message {
            Message::Sending(payload) => Event::Sent(kind, payload.len()),
            Message::Received(payload) => Event::Received(kind, payload.len()),
        });
    }

    fn note(&self, event: Event) {
        self.log.lock().unwrap().entry(self.lane).or_default().push(event);
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.note(Event::HungUp);
    }
}

/// A lane of which everything that passes is written down.
pub fn noted(lane: Lane, inner: Box<dyn Channel>, log: &Arc<Mutex<Log>>) -> Box<dyn Channel> {
    let notes = Notes { lane, log: Arc::clone(log) };
    Box::new(watched(inner, move |kind, message| notes.message(kind, message)))
}

/// What a session looks like from outside, and how it ended.
fn watch(case: &Case, streams: u8, queries: &[usize], public: &[usize], rogue: Rogue) -> (Log, Outcome) {
    let log = Arc::new(Mutex::new(Log::new()));
    let shared = Arc::clone(&log);
    let around = move |lane, inner| noted(lane, inner, &shared);
    let outcome = case.play_over(&case.job_of(queries, public), 16, streams, rogue, around);
    let events = log.lock().unwrap().clone();
    (events, outcome)
}

fn messages_are_the_same_whatever_the_inputs_the_permutation_and_the_verdict(case: &'static Case) {
    let honest = || Rogue::with_model(case.weights().clone());
    let tampering = |first: usize, count: usize| {
        Rogue::changing(case, Kind::Reveal, move |number, payload| {
            if number == 0 {
                add_to_labels(case, payload, &(first..first + count).collect::<Vec<_>>());
            }
        })
    };
    let public: Vec<usize> = (100..160).collect();
    let (reference, outcome) = watch(case, 1, &[0, 1, 2], &public, honest());
    assert_eq!(outcome, Outcome::Accepted(case.labels[..QUERIES].to_vec()));
    assert_eq!(reference.keys().copied().collect::<Vec<_>>(), [vec![Lane::CONTROL], lanes(case, 0)].concat());
    for events in reference.values() {
        let ends = events.iter().filter(|event| **event == Event::HungUp).count();
        assert!(ends == 1 && events.ends_with(&[Event::HungUp]), "it hangs up once, and does nothing after");
    }
    let layers = &reference[&Lane::layers(0)];
    let last = [Event::Received(Kind::Reveal, reveal_bytes(layers)), Event::HungUp];
    assert!(layers.ends_with(&last), "it hangs up on the last protocol message");
    let linear = reference.get(&Lane::masks(0)).map_or(0, Vec::len);
    assert!(layers.len() + linear > 50 && reference[&Lane::correlations(0)].len() > 8);

    // The same inputs under other permutations and keys, others, and all the same: all queries and
    // public samples equal.
    let equal = [7; 60];
    for (queries, public) in [([0, 1, 2], &public[..]), ([31, 32, 33], &public[..]), ([7, 7, 7], &equal[..])] {
        let (events, outcome) = watch(case, 1, &queries, public, honest());
        assert!(matches!(outcome, Outcome::Accepted(_)));
        assert_eq!(events, reference);
    }
    for (first, count) in [(0, 1), (5, 9), (0, 16)] {
        let (events, outcome) = watch(case, 1, &[0, 1, 2], &public, tampering(first, count));
        assert_eq!(outcome, Outcome::Rejected);
        assert_eq!(events, reference, "a rejecting client does the same");
    }
    let (events, outcome) = watch(case, 1, &[0, 1, 2], &public, Rogue::with_model(case.rotated()));
    assert_eq!((events, outcome), (reference, Outcome::Rejected));
}

fn side_by_side_each_stream_does_the_same_whatever_the_inputs_and_the_verdict(case: &'static Case) {
    let public: Vec<usize> = (100..160).collect();
    let (reference, outcome) = watch(case, 2, &[0, 1, 2], &public, Rogue::with_model(case.weights().clone()));
    assert_eq!(outcome, Outcome::Accepted(case.labels[..QUERIES].to_vec()));
    let lanes = [0, 1].map(|stream| lanes(case, stream)).concat();
    assert_eq!(reference.keys().skip(1).copied().collect::<Vec<_>>(), lanes);
    let (events, outcome) = watch(case, 2, &[7, 7, 7], &public, Rogue::with_model(case.rotated()));
    assert_eq!((events, outcome), (reference, Outcome::Rejected));
}

/// The lanes of a stream.
fn lanes(case: &Case, stream: usize) -> Vec<Lane> {
    let masks = (case.keys == Some(Keys::Ahead)).then(|| Lane::masks(stream));
    [Lane::layers(stream), Lane::correlations(stream)].into_iter().chain(masks).collect()
}

fn reveal_bytes(events: &[Event]) -> usize {
    let reveals = events.iter().rev().find_map(|event| match event {
        Event::Received(Kind::Reveal, bytes) => Some(*bytes),
        _ => None,
    });
    reveals.expect("something was revealed")
}

/// Passes a connection on to `server` and counts what the client sends until it hangs up, but for
/// signs of life: their number depends on the clock alone.
fn count_bytes(server: &str) -> (String, std::thread::JoinHandle<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let upstream = TcpStream::connect(server).unwrap();
    let counting = std::thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let (mut from, mut into) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
        // The server's end must not end the client's: whatever the client still says afterwards is
        // counted too.
        std::thread::spawn(move || std::io::copy(&mut from, &mut into));
        let (mut count, mut header) = (0, [0; HEADER_BYTES]);
        let (mut client, mut upstream) = (BufReader::new(client), upstream);
        while client.read_exact(&mut header).is_ok() {
            let [l0, l1, l2, l3, code, ..] = header;
            let mut frame = [&header[..], &vec![0; u32::from_le_bytes([l0, l1, l2, l3]) as usize]].concat();
            client.read_exact(&mut frame[HEADER_BYTES..]).unwrap();
            count += if code == 0 { 0 } else { frame.len() as u64 };
            let _ = upstream.write_all(&frame);
        }
        let _ = upstream.shutdown(Shutdown::Write);
        count
    });
    (address, counting)
}

#[test]
fn the_client_process_sends_exactly_the_forecast_and_then_nothing_whether_it_accepts_or_rejects() {
    let desk = Desk::new();
    desk.spoil_labels();
    let plan = Plan::from_bytes(&desk.read("plan.client.bin")).unwrap();
    let mut counts = Vec::new();
    for (flags, code) in [("", 0), ("--public-labels wrong.npy", 3)] {
        let server = desk.serve(&[]);
        let (address, counting) = count_bytes(&server.address);
        let files = "--input x.npy --public-inputs px.npy --lambda 5 --tolerate 3 --copies 3 --report r.json";
        let labels = if flags.is_empty() { "--public-labels py.npy" } else { flags };
        let line = format!("fusion-run plan.client.bin --role client --connect {address} {files} {labels}");
        let ended = desk.run(&line);
        assert_eq!(ended.code, code, "{ended:?}");
        assert_eq!(server.finish().0, Some(0));
        let batch = &desk.json("r.json")["batch"];
        let steps = resolve(&plan.function).unwrap();
        let keys = Keys::of(&*steps);
        let size = BatchSize::new(
            batch["positions"].as_u64().unwrap(),
            batch["micro_batch"].as_u64().unwrap() as u32,
            batch["streams"].as_u64().unwrap() as u8,
            Offline::default(),
            keys,
        );
        let forecast = Forecast::new(&steps, size);
        let counted = counting.join().unwrap();
        assert_eq!(counted, forecast.predicted.client_to_server);
        counts.push((size, counted));
    }
    assert_eq!(counts[0], counts[1]);
}

/// The ONNX model in `bytes` with the float data of its tensor `name` rotated by `floats`.
fn rotate(bytes: &mut [u8], name: &str, floats: usize) {
    // TensorProto.raw_data follows the name: field 9, length-delimited, the length a varint.
    let start = [name.as_bytes(), &[0x4a]].concat();
    let at = bytes.windows(start.len()).position(|window| window == start).unwrap() + name.len();
    let (mut length, mut shift, mut start) = (0usize, 0, at + 1);
    loop {
        let byte = bytes[start];
        length |= usize::from(byte & 0x7f) << shift;
        (shift, start) = (shift + 7, start + 1);
        if byte & 0x80 == 0 {
            break;
        }
    }
    bytes[start..start + length].rotate_right(4 * floats);
}

#[test]
fn the_clients_plan_is_the_same_for_two_models_of_one_architecture_and_format_choice() {
    let desk = Desk::new();
    let mut model = std::fs::read(root().join("models/digits/digits.onnx")).unwrap();
    // Classes renamed: other weights, the same formats.
    rotate(&mut model, "dense.weight", 256);
    rotate(&mut model, "dense.bias", 1);
    desk.write("other.onnx", &model);
    let calibrate = root().join("models/digits/calibrate.npy");
    desk.succeed(&format!("fusionc compile other.onnx --calibrate {} -o other.bin", fusion_tests::arg(&calibrate)));
    assert_eq!(desk.read("other.client.bin"), desk.read("plan.client.bin"));
    let [other, plan] = ["other.bin", "plan.bin"].map(|name| Plan::from_bytes(&desk.read(name)).unwrap());
    assert_ne!(other.weights, plan.weights);
    // Nor is there room for any: the plan of the client does not shrink or grow with what the
    // weights are.
    let mut zero = plan.clone();
    zero.weights.as_mut().unwrap().0.iter_mut().for_each(|tensor| tensor.fill(0));
    assert_eq!(zero.for_client().to_bytes(), desk.read("plan.client.bin"));
}
