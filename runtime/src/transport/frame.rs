//! The frame around every message: an 8-byte header, then the payload.
//!
//! | bytes | field                                                            |
//! |-------|------------------------------------------------------------------|
//! | 0..4  | payload length, little-endian                                    |
//! | 4..6  | [`Kind`], little-endian                                          |
//! | 6..8  | sequence number within its direction, little-endian, from 0, wraps |
//!
//! A receiver always knows which message comes next, so a header is checked against the expected one before a byte of
//! payload is allocated or read. The one exception is a [`Kind::Refusal`], which may come instead of anything.

use fusion_backends::{Error, Kind, channel::expect};
use fusion_catalogue::FRAME_HEADER_BYTES;

/// The largest payload of a frame, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 30;

/// The largest text of a refusal, in bytes of UTF-8.
pub const MAX_REFUSAL_BYTES: usize = 1024;

/// [`FRAME_HEADER_BYTES`] as an array length.
pub const HEADER_BYTES: usize = FRAME_HEADER_BYTES as usize;

/// A decoded header whose kind exists and whose sequence number is the one that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload carries.
    pub kind: Kind,
    /// Length of the payload.
    pub payload_bytes: usize,
}

impl Header {
    /// The header's wire form as message number `sequence` of its direction. `payload_bytes` must be at most
    /// [`MAX_PAYLOAD_BYTES`], else the message is an input error of the caller's.
    pub fn encode(self, sequence: u16) -> std::io::Result<[u8; HEADER_BYTES]> {
        if self.payload_bytes > MAX_PAYLOAD_BYTES {
            let text = format!(
                "a {:?} message of {} bytes exceeds the limit of {MAX_PAYLOAD_BYTES} (a smaller --micro-batch helps)",
                self.kind, self.payload_bytes
            );
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        }
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&(self.payload_bytes as u32).to_le_bytes());
        bytes[4..6].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[6..8].copy_from_slice(&sequence.to_le_bytes());
        Ok(bytes)
    }

    /// Decodes the header of message number `sequence`.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`] if the kind is unknown or the message is not in order.
    pub fn decode(bytes: [u8; HEADER_BYTES], sequence: u16) -> Result<Header, Error> {
        let [l0, l1, l2, l3, k0, k1, s0, s1] = bytes;
        let kind = Kind::try_from(u16::from_le_bytes([k0, k1]))?;
        let found = u16::from_le_bytes([s0, s1]);
        if found != sequence {
            return Err(Error::PeerMisbehaved(format!("message {found} out of order: {sequence} was due")));
        }
        Ok(Header { kind, payload_bytes: u32::from_le_bytes([l0, l1, l2, l3]) as usize })
    }

    /// Refuses a header that is neither the expected one nor a refusal of acceptable length.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`].
    pub fn check(self, kind: Kind, payload_bytes: usize) -> Result<(), Error> {
        if self.kind == Kind::Refusal && self.payload_bytes <= MAX_REFUSAL_BYTES {
            return Ok(());
        }
        expect(kind, payload_bytes, self.kind, self.payload_bytes)
    }
}

/// The payload of a refusal that says `reason`, cut at [`MAX_REFUSAL_BYTES`].
pub fn encode_refusal(reason: &str) -> Vec<u8> {
    reason.as_bytes()[..reason.floor_char_boundary(MAX_REFUSAL_BYTES)].to_vec()
}

/// The error that a received refusal stands for. Its text comes from the peer and goes to a terminal, so whatever is
/// not printable is replaced.
pub fn decode_refusal(payload: &[u8]) -> Error {
    let text = String::from_utf8_lossy(payload);
    let printable = |c: char| matches!(c, '\'' | '"' | '\\') || c.escape_debug().count() == 1;
    let text: String = text.chars().map(|c| if printable(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
    Error::PeerIncompatible(format!("it refused: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_eight_little_endian_bytes() {
        let header = Header { kind: Kind::LinearUpload, payload_bytes: 0x01_02_03 };
        let bytes = header.encode(0xabcd).unwrap();
        assert_eq!(bytes, [3, 2, 1, 0, 6, 0, 0xcd, 0xab]);
        assert_eq!(Header::decode(bytes, 0xabcd).unwrap(), header);
    }

    #[test]
    fn unknown_kinds_and_wrong_sequences_are_refused() {
        let kind = Header::decode([0, 0, 0, 0, 99, 0, 0, 0], 0).unwrap_err().to_string();
        assert!(kind.contains("unknown kind 99"), "{kind}");
        let order = Header::decode([0, 0, 0, 0, 1, 0, 5, 0], 4).unwrap_err().to_string();
        assert!(order.contains("message 5 out of order: 4 was due"), "{order}");
    }

    #[test]
    fn only_the_expected_header_or_a_short_refusal_passes() {
        let of = |kind, payload_bytes| Header { kind, payload_bytes };
        assert!(of(Kind::Reveal, 8).check(Kind::Reveal, 8).is_ok());
        assert!(of(Kind::Reveal, 9).check(Kind::Reveal, 8).is_err());
        assert!(of(Kind::BaseOt, 8).check(Kind::Reveal, 8).is_err());
        assert!(of(Kind::Refusal, MAX_REFUSAL_BYTES).check(Kind::Reveal, 8).is_ok());
        assert!(of(Kind::Refusal, MAX_REFUSAL_BYTES + 1).check(Kind::Reveal, 8).is_err());
    }

    #[test]
    fn a_payload_above_the_limit_is_not_sent() {
        let header = Header { kind: Kind::LinearUpload, payload_bytes: MAX_PAYLOAD_BYTES };
        assert!(header.encode(0).is_ok());
        assert!(Header { payload_bytes: MAX_PAYLOAD_BYTES + 1, ..header }.encode(0).is_err());
    }

    #[test]
    fn refusals_are_bounded_and_printable() {
        let long = "é".repeat(MAX_REFUSAL_BYTES);
        assert_eq!(encode_refusal(&long).len(), MAX_REFUSAL_BYTES);
        assert_eq!(encode_refusal(&format!("a{long}")).len(), MAX_REFUSAL_BYTES - 1);

        let text = decode_refusal(b"clear\x1b[2J \xff line\n\xe2\x80\xae'quoted'").to_string();
        assert_eq!(
            text,
            "the peer is incompatible: it refused: clear\u{fffd}[2J \u{fffd} line\u{fffd}\u{fffd}'quoted'"
        );
    }
}
