//! How two parties come to be connected: what a transport gives to the rest.
//!
//! A transport is a [`Link`], usually a [`Connection`] over two byte streams, and something that
//! makes it: [`Dial`] for the client, [`Listen`] for the server. Both are functions or types of one
//! method.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::{Connection, Identity, Link};
use crate::Error;

/// A peer to whom there is a link.
pub struct Met {
    /// The link to it.
    pub link: Box<dyn Link>,
    /// What to call it in messages and in a ledger, an address for example.
    pub name: String,
    /// Whose budget its positions come from.
    pub identity: Identity,
    /// Whether bytes leave this machine without encryption and authentication.
    pub exposed: bool,
}

impl Met {
    /// A peer over a link that the caller vouches for. It is known to ledger and budget by `name`.
    pub fn new(link: impl Link + 'static, name: impl Into<String>) -> Met {
        let name = name.into();
        let identity = Identity::named(&name);
        Met { link: Box::new(link), name, identity, exposed: false }
    }

    /// A peer over two byte streams that the caller vouches for. Reads and writes should give up by
    /// themselves, or be ended by the caller, if the peer stalls; `stall` is after how long.
    /// Dropping the writing half must end what the peer reads.
    ///
    /// # Errors
    /// [`Error::Peer`] if the system has no more threads.
    pub fn over(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        stall: Duration,
        name: impl Into<String>,
    ) -> Result<Met, Error> {
        let connection = Connection::new(reader, writer, stall).map_err(fusion_backends::Error::Io)?;
        Ok(Met::new(connection, name))
    }
}

/// The two ends of a connection within this process: one for the client, one for the server.
///
/// # Errors
/// [`Error::Peer`] if the system has no more pipes or threads.
pub fn in_process() -> Result<[Met; 2], Error> {
    let pipe = || std::io::pipe().map_err(fusion_backends::Error::Io);
    let ((from_server, to_client), (from_client, to_server)) = (pipe()?, pipe()?);
    Ok([
        Met::over(from_server, to_server, Duration::MAX, "this process")?,
        Met::over(from_client, to_client, Duration::MAX, "this process")?,
    ])
}

/// Connects a client to its server.
pub trait Dial {
    /// The server, when all that the client can refuse by itself has been looked at.
    ///
    /// # Errors
    /// [`Error::Peer`] if there is no connection, [`Error::Usage`] if there never could be one.
    fn dial(self) -> Result<Met, Error>;
}

/// Who is met already.
impl Dial for Met {
    fn dial(self) -> Result<Met, Error> {
        Ok(self)
    }
}

impl<F: FnOnce() -> Result<Met, Error>> Dial for F {
    fn dial(self) -> Result<Met, Error> {
        self()
    }
}

/// How long a server that has answered may wait for the others: less than servers wait for a hello,
/// unless they are told otherwise.
const FRESH: Duration = Duration::from_secs(2);
/// How often servers are dialled, most.
const TIMES: usize = 3;

/// Dials all of `servers` at once. One that waited too long for the last of them is left, having
/// been told nothing, and dialled again.
///
/// # Errors
/// Those of the servers; [`Error::Peer`] if they never were there at the same time.
pub(crate) fn dial_all<D: Dial + Clone + Send>(servers: &[D]) -> Result<Vec<Met>, Error> {
    let mut met: Vec<Option<(Met, Instant)>> = servers.iter().map(|_| None).collect();
    for _ in 0..TIMES {
        let found: Vec<Option<Result<(Met, Instant), Error>>> = std::thread::scope(|scope| {
            let dial = |server: &D| {
                let server = server.clone();
                scope.spawn(move || server.dial().map(|met| (met, Instant::now())))
            };
            let threads: Vec<_> =
                met.iter().zip(servers).map(|(met, server)| met.is_none().then(|| dial(server))).collect();
            let resume = |panic| std::panic::resume_unwind(panic);
            threads.into_iter().map(|thread| Some(thread?.join().unwrap_or_else(resume))).collect()
        });
        for (place, found) in met.iter_mut().zip(found) {
            if let Some(found) = found {
                *place = Some(found?);
            }
        }
        let stale = |found: &Option<(Met, Instant)>| found.as_ref().is_some_and(|(_, since)| since.elapsed() > FRESH);
        if !met.iter().any(stale) {
            return Ok(met.into_iter().flatten().map(|(met, _)| met).collect());
        }
        met.iter_mut().filter(|found| stale(found)).for_each(|found| *found = None);
    }
    let late = "the servers take too long to connect to be there at the same time";
    Err(fusion_backends::Error::Io(std::io::Error::new(ErrorKind::TimedOut, late)).into())
}

/// Waits for clients of a server.
pub trait Listen {
    /// The next client.
    ///
    /// # Errors
    /// [`Error::Peer`] if it fails at once, or is nobody who is let in.
    fn accept(&mut self) -> Result<Met, Error>;
}

impl<F: FnMut() -> Result<Met, Error>> Listen for F {
    fn accept(&mut self) -> Result<Met, Error> {
        self()
    }
}
