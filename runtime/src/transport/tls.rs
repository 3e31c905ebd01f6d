//! TLS 1.3 in which both parties show certificates that the other one knows: [`super::trust`] says
//! how.
//!
//! There is no resumption: a connection is with somebody who is expected, or there is none. A TLS
//! session is one object, so its two halves share it under a lock that nobody holds while waiting
//! for the network.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection, version};

use super::trust::{Known, Shown, Trust, Verifier};
use super::{Credentials, Fingerprint};
use crate::{Error, Setting};

/// How this party speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    verifier: Arc<Verifier>,
    fingerprint: Fingerprint,
}

impl Tls {
    /// As the holder of `credentials`, with any of `peers`.
    ///
    /// # Errors
    /// As [`Tls::with`].
    pub fn new(credentials: &Credentials, peers: &[Fingerprint]) -> Result<Tls, Error> {
        Tls::with(credentials, &Trust { fingerprints: peers.to_vec(), ..Trust::default() })
    }

    /// As the holder of `credentials`, with whom `trust` lets in.
    ///
    /// # Errors
    /// [`Error::Setting`] if nobody is let in, or the credentials are of a kind that TLS 1.3 does
    /// not know; [`Error::Usage`] if an authority or a name does not do.
    pub fn with(credentials: &Credentials, trust: &Trust) -> Result<Tls, Error> {
        let refuse = |error: rustls::Error| {
            Error::setting(Setting::Credentials, format!("these credentials do not do: {error}"))
        };
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Verifier::new(trust, &provider)?);
        let chain = credentials.chain.clone();
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(refuse)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(chain.clone(), credentials.key.clone_key())
            .map_err(refuse)?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(refuse)?
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>)
            .with_single_cert(chain, credentials.key.clone_key())
            .map_err(refuse)?;
        server.send_tls13_tickets = 0;
        let (client, server) = (Arc::new(client), Arc::new(server));
        Ok(Tls { client, server, verifier, fingerprint: credentials.fingerprint() })
    }

    /// What peers know this party by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Shakes hands over a connected socket as the one who connected.
    ///
    /// # Errors
    /// If the peer is nobody expected or speaks no TLS 1.3, or the connection fails.
    pub fn connect(&self, socket: TcpStream) -> io::Result<(TlsReader, TlsWriter, Known)> {
        let name = ServerName::try_from("fusion").map_err(io::Error::other)?;
        self.shake(ClientConnection::new(Arc::clone(&self.client), name).map_err(io::Error::other)?.into(), socket)
    }

    /// Shakes hands over a connected socket as the one who was connected to.
    ///
    /// # Errors
    /// As [`Tls::connect`].
    pub fn accept(&self, socket: TcpStream) -> io::Result<(TlsReader, TlsWriter, Known)> {
        self.shake(ServerConnection::new(Arc::clone(&self.server)).map_err(io::Error::other)?.into(), socket)
    }

    /// What a client that has shown this would be known by if it had come to this party, with what
    /// is known now.
    ///
    /// # Errors
    /// Why it would not have been let in.
    pub fn again(&self, shown: &Shown) -> Result<Known, String> {
        self.verifier.again(shown).map_err(|error| explain(io::Error::new(ErrorKind::InvalidData, error)).to_string())
    }

    fn shake(&self, mut session: Connection, mut socket: TcpStream) -> io::Result<(TlsReader, TlsWriter, Known)> {
        complete(&mut session, &mut socket).map_err(explain)?;
        let known = session.peer_certificates().and_then(|chain| self.verifier.known(Shown::now(chain)));
        let known = known.ok_or_else(|| io::Error::other("the peer showed no certificate"))?;
        let session = Arc::new(Mutex::new(session));
        let reader = TlsReader {
            socket: socket.try_clone()?,
            session: Arc::clone(&session),
            raw: vec![0; RAW_BYTES],
            plain: Vec::new(),
            read: 0,
        };
        Ok((reader, TlsWriter { socket, session, raw: Vec::new() }, known))
    }
}

/// Completes the handshake within the time that the socket gives one read: a peer that sends a byte
/// now and then does not hold this party for longer than a silent one.
fn complete(session: &mut Connection, socket: &mut TcpStream) -> io::Result<()> {
    let limit = socket.read_timeout()?;
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    while session.is_handshaking() {
        while session.wants_write() {
            session.write_tls(socket)?;
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(left)?;
        if session.read_tls(socket)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = session.process_new_packets() {
            // Tells the peer what is wrong, if it still listens.
            let _ = session.write_tls(socket);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
    }
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    socket.set_read_timeout(limit)
}

const RAW_BYTES: usize = 1 << 16;

/// The half that receives.
pub struct TlsReader {
    socket: TcpStream,
    session: Arc<Mutex<Connection>>,
    raw: Vec<u8>,
    /// Decrypted, and how much of it was read.
    plain: Vec<u8>,
    read: usize,
}

/// The half that sends. Dropping it tells the peer that no more comes.
pub struct TlsWriter {
    socket: TcpStream,
    session: Arc<Mutex<Connection>>,
    raw: Vec<u8>,
}

impl Read for TlsReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.read == self.plain.len() && !bytes.is_empty() {
            self.plain.clear();
            self.read = 0;
            let count = self.socket.read(&mut self.raw)?;
            let mut session = lock(&self.session);
            if count == 0 {
                // Whether the peer has said that this is the end, nothing more comes.
                return Ok(0);
            }
            let mut raw = &self.raw[..count];
            while !raw.is_empty() {
                session.read_tls(&mut raw)?;
                let state = session
                    .process_new_packets()
                    .map_err(|error| explain(io::Error::new(ErrorKind::InvalidData, error)))?;
                let start = self.plain.len();
                self.plain.resize(start + state.plaintext_bytes_to_read(), 0);
                session.reader().read_exact(&mut self.plain[start..])?;
                if state.peer_has_closed() && self.plain.is_empty() {
                    return Ok(0);
                }
            }
        }
        let count = bytes.len().min(self.plain.len() - self.read);
        bytes[..count].copy_from_slice(&self.plain[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

impl Write for TlsWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut session = lock(&self.session);
        let count = session.writer().write(bytes)?;
        collect(&mut session, &mut self.raw)?;
        drop(session);
        self.send()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl TlsWriter {
    fn send(&mut self) -> io::Result<()> {
        let sent = self.socket.write_all(&self.raw);
        self.raw.clear();
        sent
    }
}

impl Drop for TlsWriter {
    fn drop(&mut self) {
        let mut session = lock(&self.session);
        session.send_close_notify();
        let collected = collect(&mut session, &mut self.raw);
        drop(session);
        // The connection may be gone already: then nobody is there to be told.
        let _ = collected.and_then(|()| self.send()).and_then(|()| self.socket.shutdown(Shutdown::Write));
    }
}

/// Moves what the session wants sent to `raw`.
fn collect(session: &mut Connection, raw: &mut Vec<u8>) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(raw)?;
    }
    Ok(())
}

fn lock(session: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error of the TLS session in words for people.
fn explain(error: io::Error) -> io::Error {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                io::Error::new(error.kind(), "the peer hung up during the TLS handshake (it may expect no TLS)")
            }
            _ => error,
        };
    };
    let text = match cause {
        rustls::Error::General(text) => text.clone(),
        rustls::Error::AlertReceived(alert) => {
            format!("the peer refuses the TLS connection ({alert:?}): it may not know this party's certificate")
        }
        rustls::Error::InvalidMessage(_) => "the peer speaks no TLS".to_owned(),
        rustls::Error::NoCertificatesPresented => "the peer showed no certificate".to_owned(),
        other => format!("TLS: {other}"),
    };
    io::Error::new(ErrorKind::ConnectionAborted, text)
}
