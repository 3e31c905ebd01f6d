//! The frame around every message: an 8-byte header, then the payload.
//!
//! | bytes | field                                                                 |
//! |-------|-----------------------------------------------------------------------|
//! | 0..4  | payload length, little-endian                                         |
//! | 4     | [`Kind`], or 0 for a sign of life                                     |
//! | 5     | [`Lane`]                                                              |
//! | 6..8  | sequence number within its lane and direction, little-endian, wraps   |
//!
//! Who receives on a lane knows which message comes next there, so a header is checked against the
//! expected one, and what nobody waits for yet against the room left for it, before a byte of
//! payload is allocated or read. The one exception is a [`Kind::Refusal`], which may come instead
//! of anything. A sign of life belongs to the control lane and says nothing, or, to a client that
//! waits, what its [`Turn`] is; no message's size or order depends on it.

use fusion_backends::{Error, Kind, channel::expect};
use fusion_catalogue::FRAME_HEADER_BYTES;

use super::Lane;
use super::turn::Turn;

/// The largest payload of a frame, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 30;

/// The largest text of a refusal, in bytes of UTF-8.
pub const MAX_REFUSAL_BYTES: usize = 1024;

/// [`FRAME_HEADER_BYTES`] as an array length.
pub const HEADER_BYTES: usize = FRAME_HEADER_BYTES as usize;

/// The kind of a sign of life.
const ALIVE: u8 = 0;

/// What a frame is, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Nothing but that the peer is there.
    Alive,
    /// The same, and a [`Turn`] follows.
    Turn,
    /// A message.
    Message(Header),
}

/// A decoded header: its kind and its lane exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which channel the message belongs to.
    pub lane: Lane,
    /// What the payload carries.
    pub kind: Kind,
    /// Length of the payload.
    pub payload_bytes: usize,
}

/// The next sequence number of every lane, one direction.
#[derive(Debug, Default)]
pub struct Sequence([u16; Lane::COUNT]);

impl Sequence {
    fn next(&mut self, lane: Lane) -> u16 {
        let number = self.0[lane.index()];
        self.0[lane.index()] = number.wrapping_add(1);
        number
    }
}

impl Frame {
    /// The frame's header, numbered.
    pub fn encode(self, sequence: &mut Sequence) -> [u8; HEADER_BYTES] {
        let (code, lane, payload_bytes) = match self {
            Frame::Alive => (ALIVE, Lane::CONTROL, 0),
            Frame::Turn => (ALIVE, Lane::CONTROL, Turn::BYTES),
            Frame::Message(Header { lane, kind, payload_bytes }) => (kind as u8, lane, payload_bytes),
        };
        let [l0, l1, l2, l3] = (payload_bytes as u32).to_le_bytes();
        let [s0, s1] = sequence.next(lane).to_le_bytes();
        [l0, l1, l2, l3, code, lane.index() as u8, s0, s1]
    }

    /// Decodes a header that is the next one of its lane.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`] if the kind or the lane is unknown or the message is not in order.
    pub fn decode(bytes: [u8; HEADER_BYTES], sequence: &mut Sequence) -> Result<Frame, Error> {
        let [l0, l1, l2, l3, code, lane, s0, s1] = bytes;
        let payload_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let wrong = |text| Err(Error::PeerMisbehaved(text));
        let kind = if code == ALIVE { None } else { Some(Kind::try_from(code)?) };
        let Some(lane) = Lane::from_index(lane) else { return wrong(format!("a message on unknown lane {lane}")) };
        let (found, due) = (u16::from_le_bytes([s0, s1]), sequence.next(lane));
        if found != due {
            return wrong(format!("message {found} out of order: {due} was due"));
        }
        match kind {
            Some(kind) => Ok(Frame::Message(Header { lane, kind, payload_bytes })),
            None if (lane, payload_bytes) == (Lane::CONTROL, 0) => Ok(Frame::Alive),
            None if (lane, payload_bytes) == (Lane::CONTROL, Turn::BYTES) => Ok(Frame::Turn),
            None => wrong(format!("a sign of life of {payload_bytes} bytes on {lane}")),
        }
    }
}

impl Header {
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

/// Refuses to send what no frame holds: an error of the caller's, not the peer's.
///
/// # Errors
/// An input error that says how to avoid it.
pub fn check_outgoing(kind: Kind, payload_bytes: usize) -> std::io::Result<()> {
    if payload_bytes <= MAX_PAYLOAD_BYTES {
        return Ok(());
    }
    let text = format!(
        "a {kind:?} message of {payload_bytes} bytes exceeds the limit of {MAX_PAYLOAD_BYTES} (a smaller micro-batch helps)"
    );
    Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text))
}

/// The payload of a refusal that says `reason`, cut at [`MAX_REFUSAL_BYTES`].
pub fn encode_refusal(reason: &str) -> Vec<u8> {
    reason.as_bytes()[..reason.floor_char_boundary(MAX_REFUSAL_BYTES)].to_vec()
}

/// The error that a received refusal stands for. Its text comes from the peer and goes to a
/// terminal, so whatever is not printable is replaced.
pub fn decode_refusal(payload: &[u8]) -> Error {
    let text = String::from_utf8_lossy(payload);
    let printable = |c: char| matches!(c, '\'' | '"' | '\\') || c.escape_debug().count() == 1;
    let text: String = text.chars().map(|c| if printable(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
    Error::PeerIncompatible(format!("it refused: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One lane's number is this, all others are at their beginning.
    fn at(lane: usize, number: u16) -> Sequence {
        let mut sequence = Sequence::default();
        sequence.0[lane] = number;
        sequence
    }

    fn message(kind: Kind, payload_bytes: usize) -> Header {
        Header { lane: Lane::masks(0), kind, payload_bytes }
    }

    #[test]
    fn the_header_is_eight_bytes_numbered_by_lane() {
        let [mut sent, mut received] = [(); 2].map(|()| at(3, 0xabcd));
        let frame = Frame::Message(message(Kind::LinearUpload, 0x01_02_03));
        let bytes = frame.encode(&mut sent);
        assert_eq!(bytes, [3, 2, 1, 0, 6, 3, 0xcd, 0xab]);
        assert_eq!(Frame::decode(bytes, &mut received).unwrap(), frame);
        assert_eq!(Frame::Alive.encode(&mut sent), [0; 8]);
        assert_eq!(Frame::Alive.encode(&mut sent), [0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(frame.encode(&mut sent)[5..], [3, 0xce, 0xab]);
        assert_eq!(Frame::decode([0; 8], &mut received).unwrap(), Frame::Alive);
        let turn = Frame::Turn.encode(&mut sent);
        assert_eq!(turn, [8, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(Frame::decode(turn, &mut at(0, 2)).unwrap(), Frame::Turn);
    }

    #[test]
    fn every_kind_and_lane_survives_and_nothing_else_is_one() {
        let mut found = 0;
        for code in 0..=255 {
            for lane in 0..=255 {
                let decoded = Frame::decode([0, 0, 0, 0, code, lane, 0, 0], &mut Sequence::default());
                if let Ok(frame) = decoded {
                    assert_eq!(frame.encode(&mut Sequence::default())[4..6], [code, lane]);
                    found += 1;
                }
            }
        }
        assert_eq!(found, Kind::ALL.len() * Lane::COUNT + 1);
    }

    #[test]
    fn what_is_no_header_is_named() {
        let text = |bytes| Frame::decode(bytes, &mut at(0, 4)).unwrap_err().to_string();
        for (bytes, why) in [
            ([0, 0, 0, 0, 99, 0, 4, 0], "unknown kind 99"),
            ([0, 0, 0, 0, 1, 13, 4, 0], "unknown lane 13"),
            ([0, 0, 0, 0, 1, 0, 5, 0], "message 5 out of order: 4 was due"),
            ([0, 0, 0, 0, 1, 1, 4, 0], "message 4 out of order: 0 was due"),
            ([7, 0, 0, 0, 0, 0, 4, 0], "a sign of life of 7 bytes on the control lane"),
            ([0, 0, 0, 0, 0, 1, 0, 0], "a sign of life of 0 bytes on lane 1"),
        ] {
            assert!(text(bytes).contains(why), "{}", text(bytes));
        }
    }

    #[test]
    fn only_the_expected_header_or_a_short_refusal_passes() {
        assert!(message(Kind::Reveal, 8).check(Kind::Reveal, 8).is_ok());
        assert!(message(Kind::Reveal, 9).check(Kind::Reveal, 8).is_err());
        assert!(message(Kind::BaseOt, 8).check(Kind::Reveal, 8).is_err());
        assert!(message(Kind::Refusal, MAX_REFUSAL_BYTES).check(Kind::Reveal, 8).is_ok());
        assert!(message(Kind::Refusal, MAX_REFUSAL_BYTES + 1).check(Kind::Reveal, 8).is_err());
    }

    #[test]
    fn a_payload_above_the_limit_is_not_sent() {
        assert!(check_outgoing(Kind::LinearUpload, MAX_PAYLOAD_BYTES).is_ok());
        let error = check_outgoing(Kind::LinearUpload, MAX_PAYLOAD_BYTES + 1).unwrap_err().to_string();
        assert!(error.contains("a smaller micro-batch"), "{error}");
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
