//! Whole sessions between two threads: labels, verdicts, counters and the report.

mod common;

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::{labelled_points, point, tiny_label, tiny_plan, wrong_plan};
use fusion_backends::tap::{Message, watched};
use fusion_backends::{Channel, Kind};
use fusion_catalogue::{FRAME_HEADER_BYTES, Keys};
use fusion_ir::plan::Plan;
use fusion_ir::soundness::Policy;
use fusion_runtime::fusion::{Job, PublicSample};
use fusion_runtime::ledger::Entry;
use fusion_runtime::session::Limits;
use fusion_runtime::transport::{Connection, Lane, Wrapped};
use fusion_runtime::{
    ClientReport, Error, Flow, PlanFile, ServerReport, report, run_client, run_server, run_server_if,
};

const LIMITS: Limits = Limits { positions: 1000, micro_batch: 64, streams: Lane::STREAMS as u8, ahead: 64 };
const QUERIES: [(i64, i64); 3] = [(3, 1), (-2, 5), (-4, -4)];

/// The two ends of a connection over in-process pipes.
fn connections() -> (Connection, Connection) {
    let ((from_right, to_left), (from_left, to_right)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let connect = |reader, writer| Connection::new(reader, writer, Duration::MAX).unwrap();
    (connect(from_right, to_right), connect(from_left, to_left))
}

/// Messages as they were sent: lane, kind and size.
type Sent = Arc<Mutex<Vec<(Lane, Kind, usize)>>>;

fn job() -> Job {
    let queries = QUERIES.iter().map(|(x, y)| point(*x, *y).into()).collect();
    let sample = |(input, label): (Vec<i64>, i64)| PublicSample { row: input.into(), known: vec![label].into() };
    let public = labelled_points(40).into_iter().map(sample).collect();
    Job::verified(queries, public, Policy { lambda: 8.0, ..Policy::default() }).unwrap()
}

struct Session {
    client: Result<ClientReport, Error>,
    server: Result<ServerReport, Error>,
    client_sent: Vec<(Lane, Kind, usize)>,
}

/// One session of a client that holds [`tiny_plan`] with a server that may hold other weights and
/// change what it sends.
fn session(server_plan: &Plan, job: &Job, micro_batch: Option<u32>, tamper: fn(Kind, &mut Vec<u8>)) -> Session {
    session_in(server_plan, job, Flow { micro_batch, ..Flow::default() }, tamper)
}

fn session_in(server_plan: &Plan, job: &Job, flow: Flow, tamper: fn(Kind, &mut Vec<u8>)) -> Session {
    let (left, right) = connections();
    let client_sent = Sent::default();
    // Records what is sent, and lets an adversary change it.
    let around = |sent: Sent, tamper: fn(Kind, &mut Vec<u8>)| {
        move |lane, inner: Box<dyn Channel>| {
            let sent = sent.clone();
            let tap = move |kind, message: Message<'_>| {
                if let Message::Sending(payload) = message {
                    tamper(kind, payload);
                    sent.lock().unwrap().push((lane, kind, payload.len()));
                }
            };
            Box::new(watched(inner, tap)) as Box<dyn Channel>
        }
    };
    let left = Wrapped::new(left, around(client_sent.clone(), |_, _| ()));
    let right = Wrapped::new(right, around(Sent::default(), tamper));
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(|| run_server(Box::new(right), server_plan, LIMITS, &mut |_| ()));
        let plan = tiny_plan().for_client();
        (run_client(Box::new(left), &plan, job, flow, &mut |_| ()), server.join().unwrap())
    });
    let mut client_sent = client_sent.lock().unwrap().clone();
    // In order within each lane.
    client_sent.sort_by_key(|(lane, ..)| *lane);
    Session { client, server, client_sent }
}

fn honest(_: Kind, _: &mut Vec<u8>) {}

#[test]
fn an_honest_server_is_accepted_and_the_labels_are_right() {
    for micro_batch in [None, Some(5), Some(1)] {
        let session = session(&tiny_plan(), &job(), micro_batch, honest);
        let client = session.client.unwrap();
        assert!(client.verdict.accepted && client.verdict.verified && client.verdict.consistent);
        assert_eq!(client.labels, Some(QUERIES.map(|(x, y)| tiny_label(x, y)).to_vec()));
        session.server.unwrap();
    }
}

#[test]
fn measured_bytes_and_rounds_are_the_predicted_ones() {
    let cases = [(None, 2, 1), (Some(7), 1, 1), (Some(7), 2, 2), (Some(5), 2, 2)];
    for (case, keys) in cases.into_iter().flat_map(|case| Keys::ALL.map(|keys| (case, keys))) {
        let (micro_batch, in_flight, streams) = case;
        let flow = Flow { micro_batch, streams: Some(in_flight), keys: Some(keys), ..Flow::default() };
        let session = session_in(&tiny_plan(), &job(), flow, honest);
        let client = session.client.unwrap();
        assert_eq!((client.batch.streams, client.batch.keys), (streams, keys));
        let server = session.server.unwrap();
        assert_eq!(server.batch.keys, keys);
        let (client, server) = (client.run, server.run);
        assert_eq!(client.bytes.client_to_server, client.predicted.client_to_server);
        assert_eq!(client.bytes.server_to_client, client.predicted.server_to_client);
        assert_eq!(client.rounds, client.predicted.rounds);
        assert_eq!(server.bytes.client_to_server, client.bytes.client_to_server);
        assert_eq!(server.bytes.server_to_client, client.bytes.server_to_client);
        assert_eq!(server.predicted, client.predicted);
        // What each stream saw adds up, with the handshake, to the whole.
        assert_eq!(client.streams.len(), usize::from(streams));
        let sum = |of: fn(&report::StreamTraffic) -> u64| client.streams.iter().map(of).sum::<u64>();
        assert_eq!(sum(|stream| stream.rounds) + 1, client.rounds);
        assert!(sum(|stream| stream.client_to_server) < client.bytes.client_to_server);
        assert!(server.streams.iter().zip(&client.streams).all(|(server, client)| {
            (server.client_to_server, server.server_to_client) == (client.client_to_server, client.server_to_client)
        }));
    }
}

#[test]
fn streams_end_together_when_one_of_them_fails() {
    // Either stream's revealed labels arrive short: that one is misbehaviour, and no label of the
    // other one is given.
    let tamper = |kind, payload: &mut Vec<u8>| {
        if kind == Kind::Reveal {
            payload.pop();
        }
    };
    for streams in [1, 2] {
        let session = session_in(
            &tiny_plan(),
            &job(),
            Flow { micro_batch: Some(8), streams: Some(streams), ..Flow::default() },
            tamper,
        );
        let error = session.client.unwrap_err().to_string();
        assert!(error.starts_with("the peer broke the protocol: expected Reveal"), "{error}");
        // It may have sent its last message before it could notice.
        if let Err(error) = session.server {
            assert_eq!(error.to_string(), "the connection failed: the peer hung up");
        }
    }
}

/// A client's lane on which nothing is received until the connection has ended on the other
/// stream's.
struct Late {
    inner: Box<dyn Channel>,
    lane: Lane,
    ended: Arc<(Mutex<bool>, Condvar)>,
}

impl Channel for Late {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), fusion_backends::Error> {
        self.inner.send(kind, payload)
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, fusion_backends::Error> {
        let (ended, changed) = &*self.ended;
        if (self.lane, kind) == (Lane::layers(1), Kind::Reveal) {
            let _ended = changed.wait_while(ended.lock().unwrap(), |ended| !*ended).unwrap();
        }
        let result = self.inner.receive(kind, payload_bytes);
        if self.lane == Lane::layers(0) && result.is_err() {
            *ended.lock().unwrap() = true;
            changed.notify_all();
        }
        result
    }
}

#[test]
fn a_hang_up_on_one_stream_does_not_hide_what_the_peer_did_on_the_other() {
    let ((from_right, to_left), (from_left, to_right)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let gate = Arc::<(Mutex<Gate>, Condvar)>::default();
    let left = Connection::new(from_right, to_right, Duration::MAX).unwrap();
    let right = Connection::new(from_left, Counted(to_left, gate.clone()), Duration::MAX).unwrap();
    let ended = Arc::<(Mutex<bool>, Condvar)>::default();
    let left =
        Wrapped::new(left, move |lane, inner| Box::new(Late { inner, lane, ended: ended.clone() }) as Box<dyn Channel>);
    // The server sends a short message on its second stream and hangs up before the last of its
    // first.
    let right = Wrapped::new(right, move |lane, inner| {
        Box::new(HangingUp { inner, lane, gate: gate.clone() }) as Box<dyn Channel>
    });
    let flow = Flow { micro_batch: Some(job().batch().positions().div_ceil(2) as u32), ..Flow::default() };
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(|| run_server(Box::new(right), &tiny_plan(), LIMITS, &mut |_| ()));
        (run_client(Box::new(left), &tiny_plan().for_client(), &job(), flow, &mut |_| ()), server.join().unwrap())
    });
    assert!(server.is_err());
    let error = client.unwrap_err().to_string();
    assert!(error.starts_with("the peer broke the protocol: expected Reveal"), "{error}");
}

/// What a server has queued and what has left it, in bytes; whether it has cheated.
#[derive(Default)]
struct Gate {
    queued: u64,
    written: u64,
    cheated: bool,
}

/// A server's writer that says what has left it.
struct Counted<W>(W, Arc<(Mutex<Gate>, Condvar)>);

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.0.lock().unwrap().written += written as u64;
        self.1.1.notify_all();
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A server's lane: the second stream's reveal is short, and the first stream's never comes. It
/// hangs up when the short one has left.
struct HangingUp {
    inner: Box<dyn Channel>,
    lane: Lane,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

impl Channel for HangingUp {
    fn send(&mut self, kind: Kind, mut payload: Vec<u8>) -> Result<(), fusion_backends::Error> {
        let (gate, changed) = &*self.gate;
        if (self.lane, kind) == (Lane::layers(0), Kind::Reveal) {
            let waits = |gate: &mut Gate| !gate.cheated || gate.written < gate.queued;
            let _gate = changed.wait_while(gate.lock().unwrap(), waits).unwrap();
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if kind == Kind::Reveal {
            payload.pop();
        }
        let mut gate = gate.lock().unwrap();
        gate.queued += FRAME_HEADER_BYTES + payload.len() as u64;
        gate.cheated |= kind == Kind::Reveal;
        drop(gate);
        changed.notify_all();
        self.inner.send(kind, payload)
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, fusion_backends::Error> {
        self.inner.receive(kind, payload_bytes)
    }
}

/// A server's lane on which results of linear layers are never sent.
struct Withholding {
    inner: Box<dyn Channel>,
    /// Waits until this is true, or hangs up if there is none.
    over: Option<Arc<(Mutex<bool>, Condvar)>>,
}

impl Channel for Withholding {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), fusion_backends::Error> {
        if kind != Kind::LinearDownload {
            return self.inner.send(kind, payload);
        }
        if let Some(over) = &self.over {
            let _over = over.1.wait_while(over.0.lock().unwrap(), |over| !*over).unwrap();
        }
        Err(std::io::Error::other("it would not").into())
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, fusion_backends::Error> {
        self.inner.receive(kind, payload_bytes)
    }
}

/// Whoever waits for a layer on its mask hears why it does not come.
#[test]
fn a_server_that_hangs_up_or_stalls_over_a_linear_layer_is_what_the_client_says() {
    let half = job().batch().positions().div_ceil(2) as u32;
    let flows = [(u32::MAX, 1), (half, 2)].map(|(micro_batch, streams)| Flow {
        micro_batch: Some(micro_batch),
        streams: Some(streams),
        ..Flow::default()
    });
    for (flow, keys) in flows.into_iter().flat_map(|flow| Keys::ALL.map(|keys| (flow, keys))) {
        let flow = Flow { keys: Some(keys), ..flow };
        for stalls in [false, true] {
            let ((from_right, to_left), (from_left, to_right)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
            let left = Connection::new(from_right, to_right, Duration::from_millis(100)).unwrap();
            let right = Connection::new(from_left, to_left, Duration::MAX).unwrap();
            let over = Arc::<(Mutex<bool>, Condvar)>::default();
            let waited = stalls.then(|| Arc::clone(&over));
            let right = Wrapped::new(right, move |_, inner| {
                Box::new(Withholding { inner, over: waited.clone() }) as Box<dyn Channel>
            });
            let error = std::thread::scope(|scope| {
                scope.spawn(|| run_server(Box::new(right), &tiny_plan(), LIMITS, &mut |_| ()).unwrap_err());
                let left = Box::new(left);
                let error = run_client(left, &tiny_plan().for_client(), &job(), flow, &mut |_| ()).unwrap_err();
                *over.0.lock().unwrap() = true;
                over.1.notify_all();
                error.to_string()
            });
            let expected = match stalls {
                true => "the connection failed: the peer shows signs of life, but sent no message for",
                false => "the connection failed: the peer hung up",
            };
            assert!(error.starts_with(expected), "{keys} in {:?} streams: {error}", flow.streams);
        }
    }
}

#[test]
fn weights_read_from_the_file_give_the_same_answers_and_losing_them_ends_the_session() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let serve = |spoil: bool, keys: Keys| {
        std::fs::write(file.path(), tiny_plan().to_bytes()).unwrap();
        let opened = PlanFile::open(file.path()).unwrap();
        if spoil {
            std::fs::write(file.path(), []).unwrap();
        }
        let (left, right) = connections();
        std::thread::scope(|scope| {
            let (plan, admission) = (opened.plan().clone(), &mut |_| Ok(()));
            let client = scope.spawn(move || {
                let flow = Flow { micro_batch: Some(8), keys: Some(keys), ..Flow::default() };
                run_client(Box::new(left), &tiny_plan().for_client(), &job(), flow, &mut |_| ())
            });
            let server = run_server_if(admission, Box::new(right), &plan, &opened, LIMITS, &mut |_| ());
            (client.join().unwrap(), server)
        })
    };
    for keys in Keys::ALL {
        let (client, server) = serve(false, keys);
        assert_eq!(client.unwrap().labels, Some(QUERIES.map(|(x, y)| tiny_label(x, y)).to_vec()));
        server.unwrap();
        let (client, server) = serve(true, keys);
        let error = server.unwrap_err();
        assert_eq!(error.exit_code(), 2, "{keys}: {error}");
        assert!(error.to_string().contains("weights have changed since it was opened"), "{error}");
        assert_eq!(client.unwrap_err().to_string(), "the connection failed: the peer hung up", "{keys}");
    }
}

#[test]
fn another_model_is_rejected_and_no_label_is_given() {
    // The same architecture and formats, so the same digest.
    assert_eq!(wrong_plan().digest(), tiny_plan().digest());
    let client = session(&wrong_plan(), &job(), None, honest).client.unwrap();
    assert!(!client.verdict.accepted && client.verdict.consistent);
    assert_eq!(client.verdict.public_correct, 0);
    assert_eq!(client.labels, None);
}

#[test]
fn a_wrong_answer_at_one_position_is_rejected() {
    // One bit of the first revealed share, whatever its packing.
    let tamper = |kind, payload: &mut Vec<u8>| {
        if kind == Kind::Reveal {
            payload[0] ^= 1;
        }
    };
    let client = session(&tiny_plan(), &job(), None, tamper).client.unwrap();
    assert!(!client.verdict.accepted);
    assert_eq!(client.labels, None);
}

#[test]
fn a_message_of_another_size_ends_the_session_without_a_verdict() {
    let tamper = |kind, payload: &mut Vec<u8>| {
        if kind == Kind::Reveal {
            payload.push(0);
        }
    };
    let error = session(&tiny_plan(), &job(), None, tamper).client.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().starts_with("the peer broke the protocol"), "{error}");
}

#[test]
fn the_client_behaves_the_same_on_accept_and_reject() {
    let accepted = session(&tiny_plan(), &job(), Some(16), honest);
    let rejected = session(&wrong_plan(), &job(), Some(16), honest);
    assert!(accepted.client.unwrap().verdict.accepted && !rejected.client.unwrap().verdict.accepted);
    assert_eq!(accepted.client_sent, rejected.client_sent);
    assert!(accepted.client_sent.iter().all(|(_, kind, _)| *kind != Kind::Refusal));
}

#[test]
fn without_verification_each_query_runs_once_and_anything_is_believed() {
    let queries = QUERIES.iter().map(|(x, y)| point(*x, *y).into()).collect();
    let job = Job::unverified(queries).unwrap();
    let client = session(&wrong_plan(), &job, None, honest).client.unwrap();
    assert!(client.verdict.accepted && !client.verdict.verified);
    assert_eq!((client.batch.positions, client.batch.copies, client.batch.public), (3, 1, 0));
    assert_eq!(client.labels, Some(QUERIES.map(|(x, y)| (tiny_label(x, y) + 1) % 3).to_vec()));
}

#[test]
fn a_server_without_weights_does_not_start() {
    let session = session(&tiny_plan().for_client(), &job(), None, honest);
    let error = session.server.unwrap_err();
    assert_eq!(error.to_string(), "the plan has no weights: give the server plan.bin");
    assert_eq!(error.exit_code(), 2);
    assert_eq!(session.client.unwrap_err().to_string(), "the connection failed: the peer hung up");
}

#[test]
fn an_empty_micro_batch_is_refused_before_anything_is_sent() {
    let session = session(&tiny_plan(), &job(), Some(0), honest);
    assert_eq!(session.client.unwrap_err().exit_code(), 2);
    assert_eq!(session.client_sent, []);
}

#[test]
fn public_samples_used_before_are_no_evidence() {
    let mut job = job();
    let public = job.batch().public;
    let eps = |job: &Job| {
        let client = session(&tiny_plan(), job, None, honest).client.unwrap();
        assert_eq!((client.verdict.accepted, client.verdict.public_total), (true, public));
        assert_eq!(client.ledger, job.entry());
        client.verdict.smallest_eps_99
    };
    let all = eps(&job);
    assert_eq!(all, job.batch().smallest_eps(0.99));
    let mut among = |public_fresh| {
        job.set_entry(Entry { session: 7, public_fresh, risk_bits: 3.0 });
        eps(&job)
    };
    assert_eq!(among(public), all);
    assert!((among(1).unwrap() - 0.99).abs() < 1e-9);
    assert_eq!(among(0), None);
}

#[test]
fn progress_visits_every_layer_of_every_micro_batch() {
    let (left, right) = connections();
    let (plan, job) = (tiny_plan(), job());
    let mut steps = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| run_server(Box::new(right), &plan, LIMITS, &mut |_| ()).unwrap());
        let mut progress = |step: fusion_runtime::Step<'_>| {
            steps.push((step.micro_batch, step.layer, step.op.to_owned(), step.traffic.sent_bytes));
        };
        run_client(
            Box::new(left),
            &plan,
            &job,
            Flow { micro_batch: Some(16), streams: Some(1), ..Flow::default() },
            &mut progress,
        )
        .unwrap();
    });
    let positions = job.batch().positions() as usize;
    let expected: Vec<_> =
        (0..positions.div_ceil(16)).flat_map(|batch| (0..6).map(move |layer| (batch, layer))).collect();
    assert_eq!(steps.iter().map(|step| (step.0, step.1)).collect::<Vec<_>>(), expected);
    assert_eq!(steps[2].2, "dense");
    assert!(steps.is_sorted_by_key(|step| step.3));
}

/// Replaces what differs from run to run and from machine to machine.
fn fixed(run: &mut report::Run) {
    assert!(run.time_s.total >= run.time_s.offline && run.time_s.online >= 0.0);
    run.time_s.total = 3.0;
    run.time_s.offline = 1.0;
    run.time_s.online = 2.0;
    run.time_s.per_layer.iter_mut().for_each(|layer| layer.seconds = 0.25);
    run.memory_peak_bytes = run.memory_peak_bytes.map(|_| 1 << 20);
    run.memory_forecast_bytes = 2 << 20;
    run.kernels = "portable";
    run.versions = report::Versions { runtime: "0.0.0", protocol: 1, plan: 1, ..run.versions.clone() };
    // Exact figures are asserted elsewhere; here only the format counts.
    run.bytes.client_to_server = 1;
    run.bytes.server_to_client = 2;
    run.bytes
        .per_layer
        .iter_mut()
        .for_each(|layer| (layer.client_to_server, layer.server_to_client, layer.rounds) = (0, 0, 0));
    run.rounds = 3;
    run.streams.iter_mut().for_each(|stream| {
        (stream.client_to_server, stream.server_to_client, stream.rounds) = (0, 0, 1);
    });
    run.predicted = report::Predicted { client_to_server: 1, server_to_client: 2, rounds: 3 };
    run.correlations = report::Correlations::default();
    run.plan_digest = "digest".into();
}

#[test]
fn the_clients_report_has_this_form() {
    let mut client = session(&tiny_plan(), &job(), Some(64), honest).client.unwrap();
    fixed(&mut client.run);
    insta::assert_snapshot!(report::to_json(&client).unwrap());
}

#[test]
fn a_rejecting_report_has_no_labels() {
    let client = session(&wrong_plan(), &job(), None, honest).client.unwrap();
    let text = report::to_json(&client).unwrap();
    assert!(text.contains("\"accepted\": false") && !text.contains("\"labels\""), "{text}");
}

#[test]
fn the_servers_report_has_neither_verdict_nor_labels() {
    let mut server = session(&tiny_plan(), &job(), Some(64), honest).server.unwrap();
    fixed(&mut server.run);
    let text = report::to_json(&server).unwrap();
    for secret in ["verdict", "accepted", "labels", "queries", "copies", "public"] {
        assert!(!text.contains(secret), "{secret}");
    }
    insta::assert_snapshot!(text);
}
