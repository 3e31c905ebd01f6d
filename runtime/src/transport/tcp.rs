//! TCP: listening, connecting with a deadline, and where unencrypted bytes may go.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::Connection;
use crate::Error;

/// How long a party waits, and whether it may speak to another machine without encryption.
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions {
    /// Time without a byte from the peer after which the session fails; also the deadline of connecting. Not zero.
    pub timeout: Duration,
    /// Allows addresses other than loopback. The connection is neither encrypted nor authenticated.
    pub allow_plaintext: bool,
}

/// Listens on `address` (`host:port`; port 0 lets the system choose).
///
/// # Errors
/// [`Error::Usage`] if the address does not resolve, cannot be bound, or is not loopback and plaintext is not allowed.
pub fn listen(address: &str, options: TcpOptions) -> Result<TcpListener, Error> {
    let addresses = resolve(address, options)?;
    TcpListener::bind(&addresses[..]).map_err(|error| Error::Usage(format!("cannot listen on {address}: {error}")))
}

/// Waits for the next client and opens the connection. Returns its address too.
///
/// # Errors
/// [`Error::Peer`] if the connection fails at once.
pub fn accept(listener: &TcpListener, options: TcpOptions) -> Result<(Connection, SocketAddr), Error> {
    let (stream, peer) = listener.accept().map_err(fusion_backends::Error::Io)?;
    Ok((open(stream, options).map_err(fusion_backends::Error::Io)?, peer))
}

/// Connects to a server at `address` (`host:port`), trying until the timeout has passed: the server may be starting. Returns
/// the address that answered too.
///
/// # Errors
/// [`Error::Usage`] if the address does not resolve, or is not loopback and plaintext is not allowed;
/// [`Error::Peer`] if nobody answers in time.
pub fn connect(address: &str, options: TcpOptions) -> Result<(Connection, SocketAddr), Error> {
    let addresses = resolve(address, options)?;
    let deadline = Instant::now() + options.timeout;
    let mut turn = addresses.iter().cycle();
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let attempt = match turn.next() {
            Some(peer) => TcpStream::connect_timeout(peer, left).and_then(|s| Ok((open(s, options)?, *peer))),
            None => Err(ErrorKind::AddrNotAvailable.into()),
        };
        match attempt {
            Ok(connected) => return Ok(connected),
            Err(error) if Instant::now() + RETRY_PAUSE >= deadline => {
                let text = format!("cannot connect to {address}: {error}");
                return Err(fusion_backends::Error::Io(io::Error::new(error.kind(), text)).into());
            }
            Err(_) => std::thread::sleep(RETRY_PAUSE),
        }
    }
}

/// A connection over a connected socket.
pub fn open(stream: TcpStream, options: TcpOptions) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(options.timeout))?;
    stream.set_write_timeout(Some(options.timeout))?;
    let (writer, whole) = (WritingHalf(stream.try_clone()?), stream.try_clone()?);
    let shut = move || {
        // It may be shut already.
        let _ = whole.shutdown(Shutdown::Both);
    };
    Connection::with_shutdown(stream, writer, options.timeout, shut)
}

const RETRY_PAUSE: Duration = Duration::from_millis(50);

fn resolve(address: &str, options: TcpOptions) -> Result<Vec<SocketAddr>, Error> {
    let addresses: Vec<SocketAddr> = match address.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(Error::Usage(format!("address {address} does not resolve (host:port): {error}"))),
    };
    if let Some(remote) = addresses.iter().find(|address| !address.ip().is_loopback() && !options.allow_plaintext) {
        return Err(Error::Usage(format!(
            "{remote} is not a loopback address, and the connection would be neither encrypted nor authenticated; \
             --allow-plaintext permits it (on a private link, or through a tunnel of your own)"
        )));
    }
    match addresses.is_empty() {
        true => Err(Error::Usage(format!("address {address} does not resolve"))),
        false => Ok(addresses),
    }
}

/// The writing half of a socket: the reading half keeps the socket open, so dropping must say that no more comes.
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
