//! Hellos as bytes.
//!
//! ```text
//! client's   magic, version, plan digest, nonce, positions, micro-batch, streams, correlations,
//!            keys, reveal                                          (CLIENT_HELLO_BYTES)
//! server's   magic, version, plan digest, nonce                    (SERVER_HELLO_BYTES)
//! ```
//!
//! Integers are little-endian.

use fusion_backends::Error;
use fusion_catalogue::ot::Choice;
use fusion_catalogue::{Keys, Schedule};
use fusion_ir::op::Reveal;
use fusion_ir::{Function, Op, Party, Plan};

use super::batch::{BatchSize, Offline};

/// Version of the protocol between the parties.
pub const PROTOCOL_VERSION: u16 = 7;
/// Size of the client's hello.
pub const CLIENT_HELLO_BYTES: usize = SERVER_HELLO_BYTES + 8 + 4 + 1 + 1 + 1 + 1;
/// Size of the server's hello.
pub const SERVER_HELLO_BYTES: usize = MAGIC.len() + 2 + 32 + 32;

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a function opens to the client.
pub fn revealed(function: &Function) -> Option<Reveal> {
    function.values.iter().rev().find_map(|value| match value.op {
        Op::Reveal(reveal) => Some(reveal),
        _ => None,
    })
}

const MAGIC: &[u8; 8] = b"fusion\r\n";

/// What both hellos begin with.
#[derive(Debug)]
pub(super) struct Common {
    version: u16,
    pub digest: [u8; 32],
    nonce: [u8; 32],
}

/// The client's hello.
#[derive(Debug)]
pub(super) struct ClientHello {
    pub common: Common,
    pub batch: BatchSize,
    pub reveal: u8,
}

impl Common {
    pub fn new(plan: &Plan, nonce: [u8; 32]) -> Common {
        Common { version: PROTOCOL_VERSION, digest: plan.digest(), nonce }
    }

    pub fn encode(&self) -> Vec<u8> {
        [&MAGIC[..], &self.version.to_le_bytes(), &self.digest, &self.nonce].concat()
    }

    pub fn decode(rest: &mut &[u8]) -> Result<Common, Error> {
        if take::<8>(rest)? != *MAGIC {
            return Err(Error::PeerMisbehaved("the peer's hello is not Fusion's".into()));
        }
        Ok(Common { version: u16::from_le_bytes(take(rest)?), digest: take(rest)?, nonce: take(rest)? })
    }

    /// Whether `sender` speaks this protocol and holds this plan.
    pub fn check(&self, plan: &Plan, sender: Party) -> Result<(), Error> {
        self.check_version(sender)?;
        self.check_plan(plan, sender)
    }

    /// Whether `sender` speaks this protocol. The text names the parties, since both may read it.
    pub fn check_version(&self, sender: Party) -> Result<(), Error> {
        let (own, found) = (PROTOCOL_VERSION, self.version);
        if found != own {
            let text = "the parties speak two protocol versions";
            return Err(Error::PeerIncompatible(per_party(sender, text, found, own)));
        }
        Ok(())
    }

    /// Whether `sender` holds this plan, likewise.
    pub fn check_plan(&self, plan: &Plan, sender: Party) -> Result<(), Error> {
        let (own, found) = (plan.digest(), self.digest);
        if found != own {
            let text = "the plans come from two different compilations";
            return Err(Error::PeerIncompatible(per_party(sender, text, hex(&found), hex(&own))));
        }
        Ok(())
    }
}

fn per_party<T: std::fmt::Display>(sender: Party, what: &str, found: T, own: T) -> String {
    let (client, server) = if sender == Party::Client { (found, own) } else { (own, found) };
    format!("{what}: the client's is {client}, the server's is {server}")
}

impl ClientHello {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.common.encode();
        let Schedule { positions, micro_batch, streams } = self.batch.schedule;
        bytes.extend(positions.to_le_bytes());
        bytes.extend(micro_batch.to_le_bytes());
        bytes.push(streams);
        bytes.push(self.batch.offline.encode());
        bytes.push(keys_code(self.batch.keys));
        bytes.push(self.reveal);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<ClientHello, Error> {
        let rest = &mut &bytes[..];
        let common = Common::decode(rest)?;
        let (positions, micro_batch) = (u64::from_le_bytes(take(rest)?), u32::from_le_bytes(take(rest)?));
        let [streams, offline, keys, reveal] = take(rest)?;
        let (offline, keys) = (Offline::decode(offline)?, decode_keys(keys)?);
        let batch = BatchSize { schedule: Schedule { positions, micro_batch, streams }, offline, keys };
        Ok(ClientHello { common, batch, reveal })
    }
}

impl Offline {
    const CHOICES: [Choice; 3] = [Choice::Auto, Choice::SoftSpoken, Choice::Silent];

    /// Bit 0 says whether it is ahead, the others are the choice.
    fn encode(self) -> u8 {
        let choice = Offline::CHOICES.iter().position(|choice| *choice == self.choice).unwrap_or(0);
        (choice as u8) << 1 | u8::from(self.ahead)
    }

    fn decode(code: u8) -> Result<Offline, Error> {
        let choice = Offline::CHOICES.get(usize::from(code >> 1)).copied();
        let unknown = || Error::PeerMisbehaved(format!("the client asks for correlations of unknown kind {code}"));
        Ok(Offline { choice: choice.ok_or_else(unknown)?, ahead: code & 1 == 1 })
    }
}

/// Which layers share key pairs, as one byte.
fn keys_code(keys: Keys) -> u8 {
    match keys {
        Keys::Position => 0,
        Keys::Layer => 1,
        Keys::Ahead => 2,
    }
}

fn decode_keys(code: u8) -> Result<Keys, Error> {
    let known = Keys::ALL.into_iter().find(|keys| keys_code(*keys) == code);
    known.ok_or_else(|| Error::PeerMisbehaved(format!("the client asks for key pairs of unknown kind {code}")))
}

/// What the plan opens to the client, as one byte.
pub(super) fn reveal_code(plan: &Plan) -> u8 {
    match revealed(&plan.function) {
        None => 0,
        Some(Reveal::Label) => 1,
        Some(Reveal::Logits) => 2,
        Some(Reveal::TopK(_)) => 3,
        Some(Reveal::Value) => 4,
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, tail) =
        rest.split_first_chunk().ok_or_else(|| Error::PeerMisbehaved("the peer's hello is short".into()))?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_make_correlations_are_one_byte_and_unknown_ones_are_refused() {
        for choice in Offline::CHOICES {
            for ahead in [false, true] {
                let offline = Offline { choice, ahead };
                assert_eq!(Offline::decode(offline.encode()).unwrap(), offline);
            }
        }
        assert!((6..=255).all(|code| matches!(Offline::decode(code), Err(Error::PeerMisbehaved(_)))));
    }

    #[test]
    fn kinds_of_key_pairs_are_one_byte_and_unknown_ones_are_refused() {
        for keys in Keys::ALL {
            assert_eq!(decode_keys(keys_code(keys)).unwrap(), keys);
        }
        assert!((3..=255).all(|code| matches!(decode_keys(code), Err(Error::PeerMisbehaved(_)))));
    }
}
