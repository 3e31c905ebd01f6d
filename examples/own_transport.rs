//! A transport of one's own: Unix sockets. What a transport needs is two byte streams, whose reads
//! and writes end by themselves, and a name for the peer.
//!
//!     cargo run -p fusion-tests --example own_transport

use std::error::Error;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use fusion::{Client, Connection, Dial, Flow, Listen, Met, PeerError, Reveal, Server};

mod digits;

const STALL: Duration = Duration::from_secs(60);

/// The server's side.
struct Door(UnixListener);

impl Listen for Door {
    fn accept(&mut self) -> Result<Met, fusion::Error> {
        let (stream, _) = self.0.accept().map_err(PeerError::Io)?;
        met(stream, "a local process")
    }
}

/// The client's side.
struct Path(PathBuf);

impl Dial for Path {
    fn dial(self) -> Result<Met, fusion::Error> {
        met(UnixStream::connect(&self.0).map_err(PeerError::Io)?, &self.0.to_string_lossy())
    }
}

/// A connection over a socket. Only the writing half is shut when it is dropped, so the reading
/// half keeps what is still on its way.
fn met(stream: UnixStream, name: &str) -> Result<Met, fusion::Error> {
    let prepare = || {
        stream.set_read_timeout(Some(STALL))?;
        stream.set_write_timeout(Some(STALL))?;
        let (writer, whole) = (Writer(stream.try_clone()?), stream.try_clone()?);
        let shut = move || drop(whole.shutdown(Shutdown::Both));
        Connection::with_shutdown(stream.try_clone()?, writer, STALL, shut)
    };
    Ok(Met::new(prepare().map_err(PeerError::Io)?, name))
}

/// The writing half: dropping it tells the peer that no more comes.
struct Writer(UnixStream);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

/// Runs one session over a socket in a temporary folder.
pub fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("fusion-example-{}.socket", std::process::id()));
    let mut door = Door(UnixListener::bind(&path)?);
    let plan = digits::plan()?;
    let client = Client::without_ledger(plan.for_client(), Reveal::Label)?;
    let server = Server::of_plan(plan, Flow::default())?;
    let job = digits::job(&client)?;
    let report = std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&mut door, &mut |_| ()));
        let report = client.run(job, Path(path.clone()), &mut |_| ());
        serving.join().expect("the server does not panic").and(report)
    });
    std::fs::remove_file(&path)?;
    let report = report?;
    println!("accepted: {}, labels {:?}", report.verdict.accepted, report.labels);
    assert!(report.verdict.accepted);
    Ok(())
}
