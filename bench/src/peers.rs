//! Other systems beside this one: the same network, images and emulated link.
//!
//! A peer is a program of ours in the peer's own language that runs one party. Both parties are
//! processes of this machine, and every connection between them goes through this process, which
//! delays it as the link does and counts its bytes. A connection has the link's rate for itself:
//! what answers ride on it takes little.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fusion_estimate::Network;
use fusion_runtime::transport::link::link;
use serde::Deserialize;

use crate::record::{Directions, PeerRun};
use crate::workload::{Folders, Workload};

/// A query that took longer is not run a second time to see it without what comes once.
const LONG_S: f64 = 60.0;
/// How often a party's port is tried until it listens.
const TRIES: u32 = 600;

/// SPU, by the Python that has it.
#[derive(Clone, Debug)]
pub struct Spu {
    /// The interpreter.
    pub python: PathBuf,
    /// `spu_party.py` of this folder's neighbour.
    pub party: PathBuf,
    /// `cheetah` or `semi2k`.
    pub protocol: String,
    /// Bits of its ring.
    pub field: u32,
}

/// What a party says of itself, when it is set up.
#[derive(Deserialize)]
struct Ready {
    compile_s: f64,
    setup_s: f64,
    version: String,
}

/// What a party says of a query.
#[derive(Clone, Deserialize)]
struct Ran {
    seconds: f64,
    cpu_s: f64,
    label: Option<i64>,
    memory_peak_bytes: u64,
}

impl Spu {
    /// What it is called in records.
    pub fn name(&self) -> String {
        format!("spu {} FM{}", self.protocol, self.field)
    }

    /// Runs one query of `workload` over a link, or two if they are short.
    ///
    /// # Errors
    /// If a party does not start, does not know an operation, or ends early.
    pub fn run(&self, workload: &Workload, folders: &Folders, network: Network) -> anyhow::Result<PeerRun> {
        let bytes: Arc<[AtomicU64; 2]> = Arc::default();
        let own = [free_port()?, free_port()?];
        // Each party reaches the other through a relay.
        let [to_server, to_client] =
            [(0, 1), (1, 0)].map(|(at, from)| relay(own[at], network, Arc::clone(&bytes), from));
        let (to_server, to_client) = (to_server?, to_client?);
        let addresses = [[own[0], to_client.address], [to_server.address, own[1]]];
        let mut parties = Vec::new();
        for (party, addresses) in addresses.iter().enumerate() {
            parties.push(Party::start(self, workload, folders, party, addresses)?);
        }
        let [server, client] = &mut parties[..] else { unreachable!("two were started") };
        let (ready, _): (Ready, Ready) = (server.hear()?, client.hear()?);
        let seen = || [0, 1].map(|from| bytes[from].load(Ordering::SeqCst));
        let setup_bytes = seen();
        let mut query = || -> anyhow::Result<(Ran, Ran, Directions)> {
            let before = seen();
            server.go()?;
            client.go()?;
            let (server, client) = (server.hear()?, client.hear()?);
            let [server_to_client, client_to_server] = [0, 1].map(|from| seen()[from] - before[from]);
            Ok((server, client, Directions { client_to_server, server_to_client }))
        };
        let first = query()?;
        let last = if first.1.seconds < LONG_S { query()? } else { first.clone() };
        let (server, client, bytes) = last;
        Ok(PeerRun {
            version: ready.version,
            compile_s: ready.compile_s,
            setup_s: ready.setup_s,
            setup_bytes: setup_bytes.iter().sum(),
            first_s: first.1.seconds,
            first_bytes: first.2,
            seconds: client.seconds,
            cpu_s: server.cpu_s + client.cpu_s,
            bytes,
            label: client.label.context("the client says no label")?,
            memory_peak_bytes: server.memory_peak_bytes.max(client.memory_peak_bytes),
        })
    }
}

/// One party's process.
struct Party {
    name: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    errors: tempfile::NamedTempFile,
}

impl Party {
    fn start(
        spu: &Spu,
        workload: &Workload,
        folders: &Folders,
        party: usize,
        addresses: &[SocketAddr; 2],
    ) -> anyhow::Result<Party> {
        let errors = tempfile::NamedTempFile::new()?;
        let mut child = Command::new(&spu.python)
            .arg(&spu.party)
            .args([workload.model(folders), workload.inputs(folders)])
            .args(["--party", &party.to_string(), "--protocol", &spu.protocol, "--field", &spu.field.to_string()])
            .arg("--addresses")
            .args(addresses.map(|address| address.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen()?)
            .spawn()
            .with_context(|| format!("{} does not start", spu.python.display()))?;
        let (input, output) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        let name = format!("party {party} of {}", spu.name());
        Ok(Party { name, child, input, output: BufReader::new(output), errors })
    }

    fn go(&mut self) -> anyhow::Result<()> {
        self.input.write_all(b"go\n").with_context(|| format!("{} has ended", self.name))
    }

    /// Its next line of JSON; what its libraries print is passed over.
    fn hear<T: for<'de> Deserialize<'de>>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line)? == 0 {
                let said = std::fs::read_to_string(self.errors.path()).unwrap_or_default();
                // Lines that begin so are of a stack.
                let last = said.trim_end().lines().rfind(|line| !line.trim_start().starts_with('#'));
                bail!("{} has ended: {}", self.name, last.filter(|line| !line.is_empty()).unwrap_or("without a word"));
            }
            if line.starts_with('{') {
                return serde_json::from_str(&line).with_context(|| format!("{} says {line:?}", self.name));
            }
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // A party that has ended already is as good.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Where a relay listens; it takes no more connections once this is dropped.
struct Relay {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // It waits for a connection; if none can be made it waits on, for nobody.
        TcpStream::connect(self.address).ok();
    }
}

/// Passes connections on to `target`, which party `1 - from` listens at, over a link of its own
/// each. Bytes are counted by the party that sends them.
fn relay(target: SocketAddr, network: Network, bytes: Arc<[AtomicU64; 2]>, from: usize) -> anyhow::Result<Relay> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let relay = Relay { address: listener.local_addr()?, over: Arc::default() };
    let over = Arc::clone(&relay.over);
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            if over.load(Ordering::SeqCst) {
                return;
            }
            // A party that cannot be reached hangs up on the other, which says so.
            if let Some(far) = reach(target) {
                join(near, far, network, &bytes, from).ok();
            }
        }
    });
    Ok(relay)
}

/// A connection to a party that may not listen yet.
fn reach(target: SocketAddr) -> Option<TcpStream> {
    (0..TRIES).find_map(|_| {
        let found = TcpStream::connect(target).ok();
        if found.is_none() {
            std::thread::sleep(Duration::from_millis(100));
        }
        found
    })
}

fn join(
    near: TcpStream,
    far: TcpStream,
    network: Network,
    bytes: &Arc<[AtomicU64; 2]>,
    from: usize,
) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let [(near_reader, near_writer), (far_reader, far_writer)] = link(network);
    let counted = |party: usize| {
        let bytes = Arc::clone(bytes);
        move |count: usize| {
            bytes[party].fetch_add(count as u64, Ordering::SeqCst);
        }
    };
    copy(near.try_clone()?, near_writer, counted(from));
    copy(far_reader, far.try_clone()?, drop);
    copy(far, far_writer, counted(1 - from));
    copy(near_reader, near, drop);
    Ok(())
}

/// Copies until either side ends, on a thread of its own.
fn copy(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    mut passed: impl FnMut(usize) + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut room = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut room) {
            passed(count);
            if to.write_all(&room[..count]).is_err() {
                return;
            }
        }
    });
}

/// An address that nobody listens at.
fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Where `spu_party.py` lies: beside this crate's sources, or below the folder that one works in.
///
/// # Errors
/// If it is in neither place.
pub fn party(name: &str) -> anyhow::Result<PathBuf> {
    let places = [Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name), Path::new("bench/peers").join(name)];
    let found = places.iter().find(|place| place.is_file());
    ensure!(found.is_some(), "{} is not there: run from the repository's folder", places[1].display());
    Ok(found.cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_relay_delays_and_counts_both_ways() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let bytes: Arc<[AtomicU64; 2]> = Arc::default();
        let network = Network { mbit_per_s: 1e4, rtt_ms: 40.0 };
        let relay = relay(listener.local_addr().unwrap(), network, Arc::clone(&bytes), 1).unwrap();
        let began = Instant::now();
        let mut near = TcpStream::connect(relay.address).unwrap();
        near.write_all(&[1; 100]).unwrap();
        let mut far = listener.accept().unwrap().0;
        let mut came = [0; 100];
        far.read_exact(&mut came).unwrap();
        assert!(came == [1; 100] && began.elapsed() >= Duration::from_millis(20));
        far.write_all(&[2; 7]).unwrap();
        near.read_exact(&mut came[..7]).unwrap();
        assert!(came[..7] == [2; 7] && began.elapsed() >= Duration::from_millis(40));
        assert_eq!([0, 1].map(|from| bytes[from].load(Ordering::SeqCst)), [7, 100]);
    }

    #[test]
    fn a_party_that_ends_early_is_an_error_with_its_last_words() {
        let workload = Workload::named("digits").unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folders = Folders { models: root.join("models"), cases: root.join("cases") };
        // A shell takes the script for one of its own.
        let mut script = tempfile::NamedTempFile::new().unwrap();
        script.write_all(b"echo noise; echo 'no such module: spu' >&2; echo '#0 main()' >&2; exit 1\n").unwrap();
        let party = script.path().to_owned();
        let spu = Spu { python: "sh".into(), party, protocol: "cheetah".into(), field: 64 };
        let error = spu.run(&workload, &folders, Network::LAN).unwrap_err().to_string();
        assert!(error.contains("party 0 of spu cheetah FM64") && error.ends_with("no such module: spu"), "{error}");
    }

    #[test]
    fn what_two_parties_say_becomes_a_run() {
        let workload = Workload::named("digits").unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folders = Folders { models: root.join("models"), cases: root.join("cases") };
        let mut script = tempfile::NamedTempFile::new().unwrap();
        let text = r#"echo '{"compile_s": 1.0, "setup_s": 2.0, "version": "9"}'
            while read go; do echo '{"seconds": 0.5, "cpu_s": 0.25, "label": 3, "memory_peak_bytes": 8}'; done"#;
        script.write_all(text.as_bytes()).unwrap();
        let party = script.path().to_owned();
        let spu = Spu { python: "sh".into(), party, protocol: "semi2k".into(), field: 32 };
        let run = spu.run(&workload, &folders, Network::LAN).unwrap();
        assert_eq!((run.version.as_str(), run.label, run.cpu_s, run.bytes.client_to_server), ("9", 3, 0.5, 0));
    }
}
