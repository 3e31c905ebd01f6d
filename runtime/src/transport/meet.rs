//! How two parties come to be connected: what a transport gives to the rest.
//!
//! A transport is a [`Link`], usually a [`Connection`] over two byte streams, and something that
//! makes it: [`Dial`] for the client, [`Listen`] for the server. Both are functions or types of one
//! method.

use std::io::{Read, Write};
use std::time::Duration;

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
