//! What protocols need of a connection: typed messages of known size, in order.

use std::sync::mpsc;

use crate::Error;

/// What a message carries. Both parties know which kind and size comes next, so anything else is
/// misbehaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Handshake, either way.
    Hello = 1,
    /// A refusal with a reason, instead of any other message.
    Refusal = 2,
    /// Base oblivious transfers.
    BaseOt = 3,
    /// Oblivious-transfer extension: corrections and consistency check.
    OtExtension = 4,
    /// RLWE public keys and seeds, client to server.
    PublicKeys = 5,
    /// Encrypted input shares of a linear layer, client to server.
    LinearUpload = 6,
    /// Masked results of a linear layer, server to client.
    LinearDownload = 7,
    /// Masked bits or words of a comparison, both ways.
    Comparison = 8,
    /// The server's shares of the revealed result, server to client.
    Reveal = 9,
    /// Bytes by which a client that only asks measures the network, both ways.
    Probe = 10,
    /// The client's share of a linear layer's operand less the mask that it was computed on,
    /// client to server.
    LinearUnmask = 11,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 11] = [
        Kind::Hello,
        Kind::Refusal,
        Kind::BaseOt,
        Kind::OtExtension,
        Kind::PublicKeys,
        Kind::LinearUpload,
        Kind::LinearDownload,
        Kind::Comparison,
        Kind::Reveal,
        Kind::Probe,
        Kind::LinearUnmask,
    ];
}

impl TryFrom<u8> for Kind {
    type Error = Error;

    fn try_from(code: u8) -> Result<Kind, Error> {
        let known = Kind::ALL.into_iter().find(|kind| *kind as u8 == code);
        known.ok_or_else(|| Error::PeerMisbehaved(format!("a message of unknown kind {code}")))
    }
}

/// One party's end of an ordered, reliable connection.
///
/// Sending never waits for the peer to receive, so both parties may send before either receives.
pub trait Channel: Send {
    /// Sends one message.
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error>;

    /// Receives the next message, which must be of `kind` and exactly `payload_bytes` long.
    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error>;
}

impl<C: Channel + ?Sized> Channel for Box<C> {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error> {
        (**self).send(kind, payload)
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        (**self).receive(kind, payload_bytes)
    }
}

/// One end of a connection inside this process; see [`pair`].
pub struct LocalChannel {
    outgoing: mpsc::Sender<(Kind, Vec<u8>)>,
    incoming: mpsc::Receiver<(Kind, Vec<u8>)>,
}

/// The two ends of a connection inside this process.
pub fn pair() -> (LocalChannel, LocalChannel) {
    let (to_right, from_left) = mpsc::channel();
    let (to_left, from_right) = mpsc::channel();
    (LocalChannel { outgoing: to_right, incoming: from_right }, LocalChannel { outgoing: to_left, incoming: from_left })
}

impl Channel for LocalChannel {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error> {
        self.outgoing.send((kind, payload)).map_err(|_| hang_up())
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        let (found, payload) = self.incoming.recv().map_err(|_| hang_up())?;
        expect(kind, payload_bytes, found, payload.len())?;
        Ok(payload)
    }
}

fn hang_up() -> Error {
    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the peer hung up").into()
}

/// Refuses a message that is not the one expected.
pub fn expect(kind: Kind, payload_bytes: usize, found: Kind, found_bytes: usize) -> Result<(), Error> {
    if (kind, payload_bytes) == (found, found_bytes) {
        return Ok(());
    }
    Err(Error::PeerMisbehaved(format!(
        "expected {kind:?} of {payload_bytes} bytes, got {found:?} of {found_bytes} bytes"
    )))
}
