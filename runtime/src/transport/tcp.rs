//! TCP: listening, connecting with a deadline, and where unencrypted bytes may go.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::tls::{TlsReader, TlsWriter};
use super::{Connection, Dial, Fingerprint, Identity, Known, Listen, Met, Shown, Tls};
use crate::{Error, Setting};

/// How long a party waits, and how it speaks to another machine.
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// Time without a byte from the peer after which the session fails; also the deadline of
    /// connecting. Not zero.
    pub timeout: Duration,
    /// Encrypts and authenticates the connection.
    pub tls: Option<Tls>,
    /// Allows addresses other than loopback without TLS. The connection is neither encrypted nor
    /// authenticated.
    pub allow_plaintext: bool,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate's fingerprint, under TLS.
    pub fingerprint: Option<Fingerprint>,
    /// The name that an authority vouches for, if that is how it is known.
    pub name: Option<String>,
    /// What it has shown, under TLS.
    pub shown: Option<Shown>,
}

/// Listens on `address` (`host:port`; port 0 lets the system choose).
///
/// # Errors
/// [`Error::Usage`] if the address does not resolve or cannot be bound, [`Error::Setting`] if it is
/// not loopback and plaintext is not allowed.
pub fn listen(address: &str, options: &TcpOptions) -> Result<TcpListener, Error> {
    let addresses = resolve(address, options)?;
    TcpListener::bind(&addresses[..]).map_err(|error| Error::Usage(format!("cannot listen on {address}: {error}")))
}

/// Whether a server may listen on `address`.
///
/// # Errors
/// As [`listen`], which says more: that the address is free.
pub fn check(address: &str, options: &TcpOptions) -> Result<(), Error> {
    resolve(address, options).map(drop)
}

/// Waits for the next client and opens the connection. Returns who it is, too.
///
/// # Errors
/// [`Error::Peer`] if the connection fails at once, or the client is nobody that TLS lets in.
pub fn accept(listener: &TcpListener, options: &TcpOptions) -> Result<(Connection, Peer), Error> {
    let (stream, address) = listener.accept().map_err(fusion_backends::Error::Io)?;
    greet(stream, address, options)
}

/// Opens the connection over the socket of a client that has been accepted from `address`.
///
/// # Errors
/// As [`accept`].
pub fn greet(stream: TcpStream, address: SocketAddr, options: &TcpOptions) -> Result<(Connection, Peer), Error> {
    let (connection, known) = secure(stream, options, Tls::accept).map_err(fusion_backends::Error::Io)?;
    Ok((connection, Peer::new(address, known)))
}

/// Connects to a server at `address` (`host:port`), trying until the timeout has passed: the server
/// may be starting. Returns who answered, too.
///
/// # Errors
/// [`Error::Usage`] if the address does not resolve, [`Error::Setting`] if it is not loopback and
/// plaintext is not allowed; [`Error::Peer`] if nobody answers in time, or TLS says that it is
/// somebody else.
pub fn connect(address: &str, options: &TcpOptions) -> Result<(Connection, Peer), Error> {
    let addresses = resolve(address, options)?;
    let deadline = Instant::now() + options.timeout;
    let mut turn = addresses.iter().cycle();
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let attempt = match turn.next() {
            Some(peer) => TcpStream::connect_timeout(peer, left).map(|stream| (stream, *peer)),
            None => Err(ErrorKind::AddrNotAvailable.into()),
        };
        match attempt {
            Ok((stream, address)) => {
                // Who answers is who was meant, or not: there is no second attempt.
                let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
                let secured = secure(stream, options, Tls::connect).map_err(named);
                let (connection, known) = secured.map_err(fusion_backends::Error::Io)?;
                return Ok((connection, Peer::new(address, known)));
            }
            Err(error) if Instant::now() + RETRY_PAUSE >= deadline => {
                let text = format!("cannot connect to {address}: {error}");
                return Err(fusion_backends::Error::Io(io::Error::new(error.kind(), text)).into());
            }
            Err(_) => std::thread::sleep(RETRY_PAUSE),
        }
    }
}

/// A server's address, for its client.
#[derive(Clone, Debug)]
pub struct Server {
    /// `host:port`.
    pub address: String,
    /// How to speak to it.
    pub options: TcpOptions,
}

impl Dial for &Server {
    fn dial(self) -> Result<Met, Error> {
        connect(&self.address, &self.options).map(Met::from)
    }
}

/// A socket on which a server waits for clients.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    options: TcpOptions,
}

impl Listener {
    /// As [`listen`].
    ///
    /// # Errors
    /// As [`listen`].
    pub fn bind(address: &str, options: TcpOptions) -> Result<Listener, Error> {
        Ok(Listener { socket: listen(address, &options)?, options })
    }

    /// Where it listens: the port is the one that the system chose.
    ///
    /// # Errors
    /// [`Error::Usage`] if the system does not say.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.socket.local_addr().map_err(|error| Error::Usage(format!("the socket has no address: {error}")))
    }
}

impl Listen for Listener {
    fn accept(&mut self) -> Result<Met, Error> {
        accept(&self.socket, &self.options).map(Met::from)
    }
}

impl From<(Connection, Peer)> for Met {
    fn from((connection, peer): (Connection, Peer)) -> Met {
        let identity = Identity::of(&peer);
        Met { identity, exposed: peer.is_exposed(), ..Met::new(connection, peer.address.to_string()) }
    }
}

impl Identity {
    /// The client at the other end of a connection.
    pub fn of(peer: &Peer) -> Identity {
        match (&peer.name, peer.fingerprint) {
            (Some(name), _) => Identity::holder(name),
            (None, Some(fingerprint)) => Identity::certificate(fingerprint),
            (None, None) => Identity::address(peer.address.ip()),
        }
    }
}

impl Peer {
    fn new(address: SocketAddr, known: Option<Known>) -> Peer {
        let Some(Known { fingerprint, name, shown }) = known else {
            return Peer { address, fingerprint: None, name: None, shown: None };
        };
        Peer { address, fingerprint: Some(fingerprint), name, shown: Some(shown) }
    }

    /// How a client would be known that had come when it did to a server with these options.
    ///
    /// # Errors
    /// Why it would not have been let in.
    pub fn again(&self, options: &TcpOptions) -> Result<Peer, String> {
        let known = match (&options.tls, &self.shown) {
            (None, _) => None,
            (Some(tls), Some(shown)) => Some(tls.again(shown)?),
            (Some(_), None) => return Err("it has shown no certificate".into()),
        };
        Ok(Peer::new(self.address, known))
    }

    /// Whether bytes to it leave this machine without encryption and authentication.
    pub fn is_exposed(&self) -> bool {
        !self.address.ip().is_loopback() && self.fingerprint.is_none()
    }
}

/// A plain connection over a connected socket.
///
/// # Errors
/// If the socket or the system refuses.
pub fn open(stream: TcpStream, timeout: Duration) -> io::Result<Connection> {
    let shut = prepare(&stream, timeout)?;
    let writer = WritingHalf(stream.try_clone()?);
    Connection::with_shutdown(stream, writer, timeout, shut)
}

type Shake = fn(&Tls, TcpStream) -> io::Result<(TlsReader, TlsWriter, Known)>;

/// A connection over a connected socket, under TLS if the options say so.
fn secure(stream: TcpStream, options: &TcpOptions, shake: Shake) -> io::Result<(Connection, Option<Known>)> {
    let Some(tls) = &options.tls else { return Ok((open(stream, options.timeout)?, None)) };
    let shut = prepare(&stream, options.timeout)?;
    let (reader, writer, known) = shake(tls, stream).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            let text = format!("no data from the peer for {} s", options.timeout.as_secs_f64());
            io::Error::new(ErrorKind::TimedOut, text)
        }
        _ => error,
    })?;
    Ok((Connection::with_shutdown(reader, writer, options.timeout, shut)?, Some(known)))
}

/// Makes a socket give up after `timeout`; returns what ends it at once.
fn prepare(stream: &TcpStream, timeout: Duration) -> io::Result<impl Fn() + Send + Sync + use<>> {
    stream.set_nodelay(true)?;
    fill_lossy_links(stream);
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let whole = stream.try_clone()?;
    Ok(move || {
        // It may be shut already.
        let _ = whole.shutdown(Shutdown::Both);
    })
}

/// Lets the system's congestion control go by what arrives instead of by what is lost, where it
/// has one that does and lets everyone use it (BBR: Cardwell et al., ACM Queue 2016): a link of
/// many megabits per second that loses a packet now and then is used, else it is hardly.
fn fill_lossy_links(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_congestion(stream, "bbr");
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

const RETRY_PAUSE: Duration = Duration::from_millis(50);

fn resolve(address: &str, options: &TcpOptions) -> Result<Vec<SocketAddr>, Error> {
    let addresses: Vec<SocketAddr> = match address.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(Error::Usage(format!("address {address} does not resolve (host:port): {error}"))),
    };
    let protected = options.tls.is_some() || options.allow_plaintext;
    if let Some(remote) = addresses.iter().find(|address| !address.ip().is_loopback() && !protected) {
        let why = format!(
            "{remote} is not a loopback address, and the connection would be neither encrypted nor authenticated"
        );
        return Err(Error::setting(Setting::Plaintext, why));
    }
    match addresses.is_empty() {
        true => Err(Error::Usage(format!("address {address} does not resolve"))),
        false => Ok(addresses),
    }
}

/// The writing half of a socket: the reading half keeps the socket open, so dropping must say that
/// no more comes.
struct WritingHalf(TcpStream);

impl Write for WritingHalf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for WritingHalf {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }
}
