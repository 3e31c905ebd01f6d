//! TLS 1.3 in which both parties show certificates that the other one knows by their fingerprints.
//!
//! There are no certificate authorities, no names and no resumption: a connection is with the
//! holder of one of the expected keys, or there is none. A TLS session is one object, so its two
//! halves share it under a lock that nobody holds while waiting for the network.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, ServerConfig,
    ServerConnection, SignatureScheme, version,
};

use super::{Credentials, Fingerprint};
use crate::{Error, Setting};

/// How this party speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

impl Tls {
    /// As the holder of `credentials`, with any of `peers`.
    ///
    /// # Errors
    /// [`Error::Setting`] if there are no peers, or the credentials are of a kind that TLS 1.3 does
    /// not know.
    pub fn new(credentials: &Credentials, peers: &[Fingerprint]) -> Result<Tls, Error> {
        if peers.is_empty() {
            let why = "the fingerprint of the other party's certificate is missing";
            return Err(Error::setting(Setting::Peers, why));
        }
        let refuse = |error: rustls::Error| {
            Error::setting(Setting::Credentials, format!("these credentials do not do: {error}"))
        };
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let pinned = Arc::new(Pinned { peers: peers.to_vec(), algorithms });
        let chain = vec![credentials.certificate.clone()];
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(refuse)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&pinned) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(chain.clone(), credentials.key.clone_key())
            .map_err(refuse)?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(refuse)?
            .with_client_cert_verifier(pinned)
            .with_single_cert(chain, credentials.key.clone_key())
            .map_err(refuse)?;
        server.send_tls13_tickets = 0;
        Ok(Tls { client: Arc::new(client), server: Arc::new(server), fingerprint: credentials.fingerprint() })
    }

    /// What peers know this party by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Shakes hands over a connected socket as the one who connected.
    ///
    /// # Errors
    /// If the peer is nobody expected or speaks no TLS 1.3, or the connection fails.
    pub fn connect(&self, socket: TcpStream) -> io::Result<(TlsReader, TlsWriter, Fingerprint)> {
        let name = ServerName::try_from("fusion").map_err(io::Error::other)?;
        shake(ClientConnection::new(Arc::clone(&self.client), name).map_err(io::Error::other)?.into(), socket)
    }

    /// Shakes hands over a connected socket as the one who was connected to.
    ///
    /// # Errors
    /// As [`Tls::connect`].
    pub fn accept(&self, socket: TcpStream) -> io::Result<(TlsReader, TlsWriter, Fingerprint)> {
        shake(ServerConnection::new(Arc::clone(&self.server)).map_err(io::Error::other)?.into(), socket)
    }
}

fn shake(mut session: Connection, mut socket: TcpStream) -> io::Result<(TlsReader, TlsWriter, Fingerprint)> {
    complete(&mut session, &mut socket).map_err(explain)?;
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or_else(|| io::Error::other("the peer showed no certificate"))?;
    let fingerprint = Fingerprint::of(certificate);
    let session = Arc::new(Mutex::new(session));
    let reader = TlsReader {
        socket: socket.try_clone()?,
        session: Arc::clone(&session),
        raw: vec![0; RAW_BYTES],
        plain: Vec::new(),
        read: 0,
    };
    Ok((reader, TlsWriter { socket, session, raw: Vec::new() }, fingerprint))
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

/// Accepts certificates by their fingerprints, if their holder has signed the handshake.
#[derive(Debug)]
struct Pinned {
    peers: Vec<Fingerprint>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let found = Fingerprint::of(certificate);
        if self.peers.contains(&found) {
            return Ok(());
        }
        Err(rustls::Error::General(format!(
            "the peer's certificate has the fingerprint {found}, which is not the one to expect"
        )))
    }
}

const NO_TLS12: &str = "TLS 1.2 was never offered";

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(certificate).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(NO_TLS12.into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(certificate).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(NO_TLS12.into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
