//! A server process with its configuration, and clients of it that can be held up.

#![allow(dead_code, reason = "each test uses some of it")]

#[path = "../../../tests/common/mod.rs"]
pub mod common;
pub mod database;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{labelled_points, point, tiny_plan};
use fusion_backends::{Channel, Error as PeerError, Kind};
use fusion_ir::Party;
use fusion_ir::op::Reveal;
use fusion_ir::plan::Plan;
use fusion_ir::soundness::Policy;
use fusion_runtime::fusion::{Job, PublicSample, Row};
use fusion_runtime::memory::Memory;
use fusion_runtime::transport::tcp::{self, TcpOptions};
use fusion_runtime::transport::{Lane, Met, Tls, Turn, Wrapped};
use fusion_runtime::{Client, ClientReport, Error, Event, Flow, resolve};

/// Nothing here takes so long, on the slowest of machines.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// A folder with a plan and a configuration.
pub struct Desk(pub tempfile::TempDir);

impl Desk {
    pub fn new(config: &str) -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        std::fs::write(desk.path("plan.bin"), tiny_plan().to_bytes()).unwrap();
        desk.configure(config);
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `more` comes after the top level, so it begins with the first table. Clients that a test
    /// holds up are not cut off for that, however slow the machine is.
    pub fn configure(&self, more: &str) {
        let patient = format!("[limits]\nstall_timeout_s = {}\n", PATIENCE.as_secs());
        let more = match more.contains("[limits]\n") {
            true => more.replace("[limits]\n", &patient),
            false => patient + more,
        };
        let address = "listen = \"127.0.0.1:0\"\n";
        let rest = "[http]\nlisten = \"127.0.0.1:0\"\n[plans.tiny]\nfile = \"plan.bin\"\n";
        std::fs::write(self.path("server.toml"), format!("{address}{rest}{more}")).unwrap();
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fusion-server"));
        command.arg(self.path("server.toml")).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Starts the server, whose logs go to a file.
    pub fn start(&self) -> Server {
        let log = self.path("log");
        let child = self.command().stderr(File::create(&log).unwrap()).spawn().unwrap();
        Server::of(child, log)
    }
}

/// A server that runs; killed when dropped.
pub struct Server {
    pub child: Child,
    pub address: String,
    pub log: PathBuf,
}

impl Server {
    fn of(mut child: Child, log: PathBuf) -> Server {
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("{first:?}: {}", std::fs::read_to_string(&log).unwrap()));
        Server { address: address.to_owned(), child, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until sessions may start.
    pub fn ready(self) -> Server {
        self.shows("/ready", "200 OK");
        self
    }

    /// Waits until a page says something.
    pub fn shows(&self, path: &str, words: &str) {
        let http = self.http();
        until(words, || get(&http, path).contains(words).then_some(()));
    }

    /// Where health and metrics are, by the log.
    pub fn http(&self) -> String {
        let log = until("the log names it", || Some(self.log()).filter(|log| log.contains("http=")));
        let rest = log.split("http=").nth(1).unwrap().trim_start_matches('"');
        rest.split(['"', ' ', '\n']).next().unwrap().to_owned()
    }

    /// A metric, which need not have labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = get(&self.http(), "/metrics");
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The exit code, which must come.
    pub fn end(&mut self) -> Option<i32> {
        until("it ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that must come.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A page, without its head.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: fusion\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Keeps clients from going on after their hello has been answered, until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let waited = self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), PATIENCE, |open| !*open).unwrap();
        drop(waited);
    }
}

struct Gated(Box<dyn Channel>, Gate);

impl Channel for Gated {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), PeerError> {
        self.1.pass();
        self.0.send(kind, payload)
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, PeerError> {
        self.0.receive(kind, payload_bytes)
    }
}

/// What a client does.
#[derive(Clone)]
pub struct Visit {
    pub plan: Plan,
    pub tls: Option<Tls>,
    pub gate: Option<Gate>,
    /// What the client was told of its turn.
    pub turns: Arc<Mutex<Vec<Turn>>>,
    pub queries: Vec<(i64, i64)>,
}

impl Default for Visit {
    fn default() -> Visit {
        Visit {
            plan: tiny_plan().for_client(),
            tls: None,
            gate: None,
            turns: Arc::default(),
            queries: vec![(3, 1), (-2, 5), (-4, -4)],
        }
    }
}

/// One position at a time, of all that a batch has.
pub const FLOW: fn() -> Flow = || Flow { micro_batch: Some(64), streams: Some(1), ..Flow::default() };

impl Visit {
    /// A verified batch.
    fn job(&self) -> Job {
        let public = labelled_points(30).into_iter();
        let public =
            public.map(|(input, label)| PublicSample { row: Row::from(input), known: vec![label].into() }).collect();
        let queries = self.queries.iter().map(|(x, y)| Row::from(point(*x, *y))).collect();
        Job::verified(queries, public, Policy { lambda: 8.0, ..Policy::default() }).unwrap()
    }

    pub fn positions(&self) -> u64 {
        self.job().batch().positions()
    }

    /// What its session takes of the server's memory.
    pub fn memory_bytes(&self) -> u64 {
        let steps = resolve(&self.plan.function).unwrap();
        let size = FLOW().size(&steps, self.positions() as usize).unwrap();
        Memory::new(&steps).session_bytes(Party::Server, size)
    }

    pub fn run(&self, address: &str) -> Result<ClientReport, Error> {
        let client = Client::without_ledger(self.plan.clone(), Reveal::Label).unwrap().flow(FLOW());
        let options = TcpOptions { timeout: PATIENCE, tls: self.tls.clone(), allow_plaintext: false };
        let dial = || {
            let (connection, peer) = tcp::connect(address, &options)?;
            let gate = self.gate.clone();
            let around = move |lane, channel: Box<dyn Channel>| match &gate {
                Some(gate) if lane != Lane::CONTROL => Box::new(Gated(channel, gate.clone())) as Box<dyn Channel>,
                _ => channel,
            };
            Ok(Met::new(Wrapped::new(connection, around), peer.address.to_string()))
        };
        client.run(self.job(), dial, &mut |event| {
            if let Event::Waiting(turn) = event {
                self.turns.lock().unwrap().push(turn);
            }
        })
    }

    /// Runs on a thread of its own.
    pub fn spawn(self, address: &str) -> JoinHandle<Result<ClientReport, Error>> {
        let address = address.to_owned();
        std::thread::spawn(move || self.run(&address))
    }
}

/// It was accepted, and says what it must.
pub fn accepted(visited: Result<ClientReport, Error>) {
    let report = visited.unwrap();
    assert!(report.verdict.accepted && report.verdict.verified);
    assert_eq!(report.labels.unwrap(), [0, 1, 2]);
}
