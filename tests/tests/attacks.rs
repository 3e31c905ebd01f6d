//! Malicious servers, each on the real protocol code over TCP, against the real client process.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fusion_backends::{Channel, Error, Kind};
use fusion_ir::Plan;
use fusion_runtime::session::handshake::Limits;
use fusion_runtime::transport::tcp::{TcpOptions, open};
use fusion_tests::{arg, cut, party, read_labels, root, succeed};

const QUERIES: usize = 3;
const PUBLIC: usize = 20;

/// A channel whose owner changes what it sends: called with each message's kind, number among that kind, and payload.
struct Tampering<F> {
    inner: Box<dyn Channel>,
    sent: Vec<Kind>,
    change: F,
}

impl<F: FnMut(Kind, usize, &mut Vec<u8>) + Send> Channel for Tampering<F> {
    fn send(&mut self, kind: Kind, mut payload: Vec<u8>) -> Result<(), Error> {
        let number = self.sent.iter().filter(|earlier| **earlier == kind).count();
        self.sent.push(kind);
        (self.change)(kind, number, &mut payload);
        self.inner.send(kind, payload)
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        self.inner.receive(kind, payload_bytes)
    }
}

/// The digits model compiled, three queries and twenty public samples.
struct Setting {
    folder: tempfile::TempDir,
    expected: Vec<i64>,
}

impl Setting {
    fn new() -> Setting {
        let folder = tempfile::tempdir().unwrap();
        let digits = root().join("models/digits");
        let setting = Setting { expected: Vec::new(), folder };
        let [plan, x, labels] = ["plan.bin", "x.npy", "expected.csv"].map(|name| setting.path(name));
        cut::<f32>(&digits.join("queries.npy"), 0..QUERIES, &x);
        cut::<f32>(&digits.join("public.npy"), 0..PUBLIC, &setting.path("px.npy"));
        cut::<i64>(&digits.join("public_labels.npy"), 0..PUBLIC, &setting.path("py.npy"));
        let [model, calibrate] = ["digits.onnx", "calibrate.npy"].map(|name| digits.join(name));
        succeed("fusionc", &["compile", arg(&model), "--calibrate", arg(&calibrate), "-o", arg(&plan)]);
        succeed("fusionc", &["eval", arg(&plan), "--input", arg(&x), "-o", arg(&labels)]);
        Setting { expected: read_labels(&labels), ..setting }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plan(&self) -> Plan {
        Plan::from_bytes(&std::fs::read(self.path("plan.bin")).unwrap()).unwrap()
    }

    /// The client against a server that runs `plan` and tampers with its messages by `change`: the client's exit code,
    /// and its labels if it wrote any.
    fn attack(
        &self,
        plan: &Plan,
        change: impl FnMut(Kind, usize, &mut Vec<u8>) + Send + 'static,
    ) -> (i32, Option<Vec<i64>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let labels = self.path("labels.csv");
        std::fs::write(&labels, "index,label\n0,stale\n").unwrap();
        let inputs = ["x.npy", "px.npy", "py.npy"].map(|name| self.path(name));
        let more = [
            "--input",
            arg(&inputs[0]),
            "--public-inputs",
            arg(&inputs[1]),
            "--public-labels",
            arg(&inputs[2]),
            "-o",
            arg(&labels),
            "--lambda",
            "8",
            "--accuracy",
            "1",
            "--catch",
            "0.5",
            "--tolerate",
            "0",
        ];
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                let options = TcpOptions { timeout: Duration::from_secs(60), allow_plaintext: false };
                let connection = open(listener.accept().unwrap().0, options).unwrap();
                let channel = Tampering { inner: Box::new(connection), sent: Vec::new(), change };
                let limits = Limits { positions: 1000, micro_batch: 1000 };
                // The client may hang up on it; what counts is what the client makes of the session.
                let _ = fusion_runtime::run_server(Box::new(channel), plan, limits, &mut |_| {});
            });
            party::client(&self.path("plan.client.bin"), &address, &more)
        });
        let written = Path::new(&labels).exists().then(|| read_labels(&labels));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), written)
    }
}

#[test]
fn an_honest_server_is_accepted_with_the_references_labels() {
    let setting = Setting::new();
    assert_eq!(setting.attack(&setting.plan(), |_, _, _| {}), (0, Some(setting.expected.clone())));
}

#[test]
fn another_model_is_rejected() {
    let setting = Setting::new();
    let mut plan = setting.plan();
    // The same architecture and formats, hence the same digest, with the last layer's rows rotated by one class.
    let dense = plan.function.values.iter().rev().find_map(|value| value.op.weights().next()).unwrap();
    let row = plan.function.weight(dense).shape[1];
    plan.weights.as_mut().unwrap().0[dense.index()].rotate_right(row);
    assert_eq!(plan.digest(), setting.plan().digest());
    assert_eq!(setting.attack(&plan, |_, _, _| {}), (3, None));
}

#[test]
fn an_error_on_one_positions_output_share_is_rejected() {
    let setting = Setting::new();
    let change = |kind, number, payload: &mut Vec<u8>| {
        if kind == Kind::Reveal && number == 0 {
            payload[0] ^= 1;
        }
    };
    assert_eq!(setting.attack(&setting.plan(), change), (3, None));
}

#[test]
fn a_corrupt_ot_message_ends_the_session() {
    let setting = Setting::new();
    for spoiled in 0..3 {
        let change = move |kind, number, payload: &mut Vec<u8>| {
            if kind == Kind::OtExtension && number == spoiled {
                // Bit 0 of the correction of every tree: each is caught but with probability 1/16.
                payload.iter_mut().step_by(16).for_each(|byte| *byte ^= 1);
            }
        };
        assert_eq!(setting.attack(&setting.plan(), change), (4, None), "extension {spoiled}");
    }
}
