//! The handshake: one hello each way, then both parties know that they execute the same plan on the
//! same batch.
//!
//! ```text
//! client -> server   magic, version, plan digest, nonce, positions, micro-batch, streams,
//!                    correlations, keys, reveal                    (CLIENT_HELLO_BYTES)
//! server -> client   magic, version, plan digest, nonce            (SERVER_HELLO_BYTES)
//! ```
//!
//! Integers are little-endian. The session id, under which every protocol separates its hashes, is
//! SHA-256 over both hellos; the nonces make it fresh if either party is honest. The server learns
//! the number of positions, not how many queries, copies and public samples it is made of. A server
//! that does not like the client's hello sends a refusal that says why, instead of its own.

use fusion_backends::{Channel, Error, Kind};
use fusion_catalogue::ot::Choice;
use fusion_catalogue::{Cost, Keys, Schedule};
use fusion_estimate::Network;
use fusion_ir::op::Reveal;
use fusion_ir::{Function, Op, Party, Plan};
use sha2::{Digest, Sha256};

use super::probe;
use crate::transport::Lane;
use crate::transport::frame::encode_refusal;

/// Version of the protocol between the parties.
pub const PROTOCOL_VERSION: u16 = 4;
/// Size of the client's hello.
pub const CLIENT_HELLO_BYTES: usize = SERVER_HELLO_BYTES + 8 + 4 + 1 + 1 + 1 + 1;
/// Size of the server's hello.
pub const SERVER_HELLO_BYTES: usize = MAGIC.len() + 2 + 32 + 32;

/// Room for what may come early on the control lane: a hello, or a refusal.
pub const CONTROL_AHEAD_BYTES: u64 = 1 << 12;

/// The size of a batch, which the client decides and the server may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// At least one position, and at most [`Lane::STREAMS`] streams and as many as there are
    /// micro-batches.
    pub schedule: Schedule,
    /// How correlations are made.
    pub offline: Offline,
    /// Which layers share key pairs.
    pub keys: Keys,
}

/// How a session's correlations are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offline {
    /// By what.
    pub choice: Choice,
    /// Whether ahead of the layers, on a thread of each stream, or when a layer needs them.
    pub ahead: bool,
}

impl Default for Offline {
    fn default() -> Offline {
        Offline { choice: Choice::Auto, ahead: true }
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

/// What a server accepts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most positions of one session.
    pub positions: u64,
    /// Largest micro-batch: it bounds the server's memory.
    pub micro_batch: u32,
    /// Most micro-batches at the same time, likewise.
    pub streams: u8,
}

/// Decides whether a session of the size that the client asks for may start, and records it if so.
/// It is called once for a session, after every other check of the handshake has passed.
pub type Admission<'a> = dyn FnMut(BatchSize) -> Result<(), crate::Error> + 'a;

/// The handshake's messages.
pub fn cost() -> Cost {
    let mut cost = Cost::default();
    cost.send(Party::Client, CLIENT_HELLO_BYTES as u64);
    cost.send(Party::Server, SERVER_HELLO_BYTES as u64);
    cost
}

/// The client's side. Returns the session id.
///
/// # Errors
/// [`Error::PeerIncompatible`] if the server refuses or holds another plan, and whatever the
/// channel gives.
pub fn client(channel: &mut dyn Channel, plan: &Plan, batch: BatchSize, nonce: [u8; 32]) -> Result<[u8; 32], Error> {
    let hello = ClientHello { common: Common::new(plan, nonce), batch, reveal: reveal_code(plan) }.encode();
    channel.send(Kind::Hello, hello.clone())?;
    let answer = channel.receive(Kind::Hello, SERVER_HELLO_BYTES)?;
    let mut rest = &answer[..];
    Common::decode(&mut rest)?.check(plan, Party::Server)?;
    Ok(session_id(&hello, &answer))
}

/// Asks a server whether it holds `plan`, by a hello for no positions in no streams: it lets the
/// client measure the network, then refuses, and says why. Nothing starts and nothing is spent. The
/// network is `None` if the server has no time for that.
///
/// # Errors
/// As [`client`], if it refuses for another reason.
pub fn ask(channel: &mut dyn Channel, plan: &Plan, nonce: [u8; 32]) -> Result<Option<Network>, Error> {
    let schedule = Schedule { positions: 0, micro_batch: 1, streams: 0 };
    let batch = BatchSize { schedule, offline: Offline::default(), keys: Keys::Position };
    let hello = ClientHello { common: Common::new(plan, nonce), batch, reveal: reveal_code(plan) }.encode();
    channel.send(Kind::Hello, hello)?;
    let mut network = None;
    let answer = probe::measure(channel).and_then(|measured| {
        network = measured;
        channel.receive(Kind::Hello, SERVER_HELLO_BYTES)
    });
    match answer {
        // Perhaps at once.
        Err(Error::PeerIncompatible(why)) if why.contains(EMPTY) => Ok(network),
        Err(error) => Err(error),
        Ok(_) => Err(Error::PeerMisbehaved("it accepted a batch of no positions".into())),
    }
}

/// The server's side. Returns the session id and the batch. `admission` is called
/// last, with a batch that is within `limits`; the session that it allows counts as started.
///
/// # Errors
/// As [`Arrival::receive`] and [`Arrival::answer`].
pub fn server(
    channel: &mut dyn Channel,
    plan: &Plan,
    limits: Limits,
    admission: &mut Admission<'_>,
    nonce: [u8; 32],
) -> Result<([u8; 32], BatchSize), crate::Error> {
    Arrival::receive(channel)?.answer(channel, plan, limits, admission, nonce)
}

/// A client's hello that has arrived: well-formed and of this protocol, nothing else is known of
/// it.
#[derive(Debug)]
pub struct Arrival {
    bytes: Vec<u8>,
    hello: ClientHello,
}

impl Arrival {
    /// Waits for the hello.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`] if it is none, [`Error::PeerIncompatible`] if it is of another
    /// version; the client is told. And whatever the channel gives.
    pub fn receive(channel: &mut dyn Channel) -> Result<Arrival, crate::Error> {
        let received = channel.receive(Kind::Hello, CLIENT_HELLO_BYTES).and_then(|bytes| {
            let hello = ClientHello::decode(&bytes)?;
            hello.common.check_version(Party::Client)?;
            Ok(Arrival { bytes, hello })
        });
        received.map_err(crate::Error::from).inspect_err(|error| refuse(channel, error))
    }

    /// The plan that the client holds.
    pub fn plan_digest(&self) -> [u8; 32] {
        self.hello.common.digest
    }

    /// Whether the client only [asks](ask).
    pub fn asks_for_nothing(&self) -> bool {
        self.hello.batch.schedule.positions == 0
    }

    /// Checks that the client means `plan` and a batch within `limits`, asks `admission` about it
    /// and answers. Returns the session id and the batch.
    ///
    /// # Errors
    /// [`Error::PeerIncompatible`] if the client holds another plan or asks for more than `limits`;
    /// the client is told, as it is what `admission` objects. And whatever the channel gives.
    pub fn answer(
        self,
        channel: &mut dyn Channel,
        plan: &Plan,
        limits: Limits,
        admission: &mut Admission<'_>,
        nonce: [u8; 32],
    ) -> Result<([u8; 32], BatchSize), crate::Error> {
        if self.measures(plan) {
            probe::serve(channel)?;
        }
        let admitted = self.check(plan, limits).map_err(crate::Error::from).and_then(|batch| {
            admission(batch)?;
            Ok(batch)
        });
        let batch = admitted.inspect_err(|error| refuse(channel, error))?;
        let answer = Common::new(plan, nonce).encode();
        channel.send(Kind::Hello, answer.clone())?;
        Ok((session_id(&self.bytes, &answer), batch))
    }

    /// Whether the client asks, holds the same plan, and would like to measure the network.
    fn measures(&self, plan: &Plan) -> bool {
        let asks = self.asks_for_nothing() && self.hello.batch.schedule.streams == 0;
        asks && self.hello.common.check_plan(plan, Party::Client).is_ok()
    }

    fn check(&self, plan: &Plan, limits: Limits) -> Result<BatchSize, Error> {
        self.hello.common.check_plan(plan, Party::Client)?;
        if self.hello.reveal != reveal_code(plan) {
            return Err(Error::PeerMisbehaved("the client expects another result than its plan reveals".into()));
        }
        self.hello.batch.check(limits)?;
        Ok(self.hello.batch)
    }
}

/// Tells a client why its hello leads to nothing, as far as that is its business.
pub fn refuse(channel: &mut dyn Channel, error: &crate::Error) {
    let reason = match error {
        crate::Error::Peer(Error::PeerMisbehaved(reason) | Error::PeerIncompatible(reason)) => reason,
        // The connection is gone.
        crate::Error::Peer(_) => return,
        // None of the client's business.
        _ => "this server cannot serve anyone at the moment",
    };
    // The session is over: whether the refusal still arrives changes nothing here.
    let _ = channel.send(Kind::Refusal, encode_refusal(reason));
}

/// The id of one stream of a session's micro-batches: to the protocols each is a session of its
/// own.
pub fn stream_id(session_id: &[u8; 32], stream: usize) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"fusion stream id\0")
        .chain_update(session_id)
        .chain_update([stream as u8])
        .finalize()
        .into()
}

/// A fresh nonce from the operating system.
pub fn nonce() -> Result<[u8; 32], getrandom::Error> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a server says to a hello that is right in everything but that it asks for nothing.
const EMPTY: &str = "the client asks for an empty batch";

const MAGIC: &[u8; 8] = b"fusion\r\n";

/// What both hellos begin with.
#[derive(Debug)]
struct Common {
    version: u16,
    digest: [u8; 32],
    nonce: [u8; 32],
}

#[derive(Debug)]
struct ClientHello {
    common: Common,
    batch: BatchSize,
    reveal: u8,
}

impl Common {
    fn new(plan: &Plan, nonce: [u8; 32]) -> Common {
        Common { version: PROTOCOL_VERSION, digest: plan.digest(), nonce }
    }

    fn encode(&self) -> Vec<u8> {
        [&MAGIC[..], &self.version.to_le_bytes(), &self.digest, &self.nonce].concat()
    }

    fn decode(rest: &mut &[u8]) -> Result<Common, Error> {
        if take::<8>(rest)? != *MAGIC {
            return Err(Error::PeerMisbehaved("the peer's hello is not Fusion's".into()));
        }
        Ok(Common { version: u16::from_le_bytes(take(rest)?), digest: take(rest)?, nonce: take(rest)? })
    }

    /// Whether `sender` speaks this protocol and holds this plan.
    fn check(&self, plan: &Plan, sender: Party) -> Result<(), Error> {
        self.check_version(sender)?;
        self.check_plan(plan, sender)
    }

    /// Whether `sender` speaks this protocol. The text names the parties, since both may read it.
    fn check_version(&self, sender: Party) -> Result<(), Error> {
        let (own, found) = (PROTOCOL_VERSION, self.version);
        if found != own {
            let text = "the parties speak two protocol versions";
            return Err(Error::PeerIncompatible(per_party(sender, text, found, own)));
        }
        Ok(())
    }

    /// Whether `sender` holds this plan, likewise.
    fn check_plan(&self, plan: &Plan, sender: Party) -> Result<(), Error> {
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
    fn encode(&self) -> Vec<u8> {
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

    fn decode(bytes: &[u8]) -> Result<ClientHello, Error> {
        let rest = &mut &bytes[..];
        let common = Common::decode(rest)?;
        let (positions, micro_batch) = (u64::from_le_bytes(take(rest)?), u32::from_le_bytes(take(rest)?));
        let [streams, offline, keys, reveal] = take(rest)?;
        let (offline, keys) = (Offline::decode(offline)?, decode_keys(keys)?);
        let batch = BatchSize { schedule: Schedule { positions, micro_batch, streams }, offline, keys };
        Ok(ClientHello { common, batch, reveal })
    }
}

impl BatchSize {
    /// The batch in micro-batches of at most `micro_batch` positions, as many at the same time as
    /// there are, at most `streams`.
    pub fn new(positions: u64, micro_batch: u32, streams: u8, offline: Offline, keys: Keys) -> BatchSize {
        let schedule = Schedule::new(positions, micro_batch, streams.min(Lane::STREAMS as u8));
        BatchSize { schedule, offline, keys }
    }

    fn check(self, limits: Limits) -> Result<(), Error> {
        let Schedule { positions, micro_batch, streams } = self.schedule;
        if positions == 0 || micro_batch == 0 || streams == 0 {
            return Err(Error::PeerMisbehaved(EMPTY.into()));
        }
        if positions > limits.positions {
            let text = format!("the batch has {positions} positions, this server takes at most {}", limits.positions);
            return Err(Error::PeerIncompatible(text));
        }
        if micro_batch > limits.micro_batch {
            let text = format!(
                "the micro-batch has {micro_batch} positions, this server takes micro-batches of at most {}",
                limits.micro_batch
            );
            return Err(Error::PeerIncompatible(text));
        }
        if usize::from(streams) > Lane::STREAMS || u64::from(streams) > self.schedule.micro_batches() {
            return Err(Error::PeerMisbehaved(format!("the client asks for {streams} streams of micro-batches")));
        }
        if streams > limits.streams {
            let text = format!(
                "the batch has {streams} micro-batches in flight, this server takes at most {}",
                limits.streams
            );
            return Err(Error::PeerIncompatible(text));
        }
        Ok(())
    }
}

/// Which layers share key pairs, as one byte.
fn keys_code(keys: Keys) -> u8 {
    match keys {
        Keys::Position => 0,
        Keys::Layer => 1,
    }
}

fn decode_keys(code: u8) -> Result<Keys, Error> {
    let known = [Keys::Position, Keys::Layer].into_iter().find(|keys| keys_code(*keys) == code);
    known.ok_or_else(|| Error::PeerMisbehaved(format!("the client asks for key pairs of unknown kind {code}")))
}

/// What a function opens to the client.
pub fn revealed(function: &Function) -> Option<Reveal> {
    function.values.iter().rev().find_map(|value| match value.op {
        Op::Reveal(reveal) => Some(reveal),
        _ => None,
    })
}

/// What the plan opens to the client, as one byte.
fn reveal_code(plan: &Plan) -> u8 {
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

fn session_id(client: &[u8], server: &[u8]) -> [u8; 32] {
    // Both hellos have a fixed length, so their concatenation is unambiguous.
    Sha256::new().chain_update(b"fusion session id\0").chain_update(client).chain_update(server).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{channels, tiny_plan};

    const LIMITS: Limits = Limits { positions: 100, micro_batch: 16, streams: 1 };
    const OFFLINE: Offline = Offline { choice: Choice::Silent, ahead: false };
    const SCHEDULE: Schedule = Schedule { positions: 100, micro_batch: 16, streams: 1 };
    const BATCH: BatchSize = BatchSize { schedule: SCHEDULE, offline: OFFLINE, keys: Keys::Layer };

    type Outcome<T> = Result<T, Error>;

    fn shake(client_plan: &Plan, server_plan: &Plan, batch: BatchSize) -> (Outcome<[u8; 32]>, Outcome<[u8; 32]>) {
        let (mut left, mut right) = channels();
        std::thread::scope(|scope| {
            let server =
                scope.spawn(move || match server(&mut *right, server_plan, LIMITS, &mut |_| Ok(()), [2; 32]) {
                    Ok((id, found)) => {
                        assert_eq!(found, batch);
                        Ok(id)
                    }
                    Err(crate::Error::Peer(error)) => Err(error),
                    Err(error) => panic!("{error}"),
                });
            (client(&mut *left, client_plan, batch, [1; 32]), server.join().unwrap())
        })
    }

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
        for keys in [Keys::Layer, Keys::Position] {
            assert_eq!(decode_keys(keys_code(keys)).unwrap(), keys);
        }
        assert!((2..=255).all(|code| matches!(decode_keys(code), Err(Error::PeerMisbehaved(_)))));
    }

    #[test]
    fn honest_parties_agree_on_a_session_id() {
        let plan = tiny_plan();
        for keys in [Keys::Layer, Keys::Position] {
            let (client, server) = shake(&plan.for_client(), &plan, BatchSize { keys, ..BATCH });
            assert_eq!(client.unwrap(), server.unwrap());
        }
    }

    #[test]
    fn the_session_id_depends_on_both_hellos() {
        assert_ne!(session_id(&[1; 9], &[2; 9]), session_id(&[1; 9], &[3; 9]));
        assert_ne!(session_id(&[1; 9], &[2; 9]), session_id(&[4; 9], &[2; 9]));
    }

    #[test]
    fn plans_of_two_compilations_are_refused_by_both_and_named() {
        let plan = tiny_plan();
        let mut other = plan.clone();
        other.provenance.compiler = "another".into();
        let (client, server) = shake(&other, &plan, BATCH);
        for (side, error) in [("client", client.unwrap_err()), ("server", server.unwrap_err())] {
            assert!(matches!(error, Error::PeerIncompatible(_)), "{side}: {error}");
            let text = error.to_string();
            assert!(text.contains("two different compilations"), "{side}: {text}");
            assert!(text.contains(&hex(&plan.digest())) && text.contains(&hex(&other.digest())), "{side}: {text}");
        }
    }

    #[test]
    fn batches_above_the_servers_limits_are_refused_with_the_limit() {
        let plan = tiny_plan();
        for (schedule, limit) in [
            (Schedule { positions: 101, ..SCHEDULE }, "at most 100"),
            (Schedule { micro_batch: 17, ..SCHEDULE }, "at most 16"),
            (Schedule { positions: 0, ..SCHEDULE }, "empty batch"),
            (Schedule { streams: 0, ..SCHEDULE }, "empty batch"),
            (Schedule { streams: 2, ..SCHEDULE }, "2 micro-batches in flight, this server takes at most 1"),
            (Schedule { streams: 5, ..SCHEDULE }, "asks for 5 streams"),
            (Schedule { positions: 16, streams: 2, ..SCHEDULE }, "asks for 2 streams"),
        ] {
            let (client, server) = shake(&plan, &plan, BatchSize { schedule, ..BATCH });
            let (client, server) = (client.unwrap_err().to_string(), server.unwrap_err().to_string());
            assert!(client.contains("it refused") && client.contains(limit), "{client}");
            assert!(server.contains(limit), "{server}");
        }
    }

    #[test]
    fn admission_is_asked_about_good_hellos_only_and_the_client_reads_its_objection() {
        let plan = tiny_plan();
        let state = || crate::Error::State { path: "/secret/budget".into(), why: "the disk is full".into() };
        let objection = || Error::PeerIncompatible("only 3 are left".into()).into();
        type Objection<'a> = &'a (dyn Fn() -> crate::Error + Sync);
        let cases: [(u64, Objection<'_>, usize, &str); 3] = [
            (100, &objection, 1, "it refused: only 3 are left"),
            (100, &state, 1, "it refused: this server cannot serve anyone at the moment"),
            (101, &objection, 0, "at most 100"),
        ];
        for (positions, objection, asked, told) in cases {
            let (mut left, mut right) = channels();
            let batch = BatchSize { schedule: Schedule { positions, ..SCHEDULE }, ..BATCH };
            let (client, server) = std::thread::scope(|scope| {
                let plan = &plan;
                let server = scope.spawn(move || {
                    let mut sizes = Vec::new();
                    let admission = &mut |size| {
                        sizes.push(size);
                        Err(objection())
                    };
                    let error = server(&mut *right, plan, LIMITS, admission, [2; 32]).unwrap_err();
                    (error, sizes)
                });
                (client(&mut *left, plan, batch, [1; 32]), server.join().unwrap())
            });
            assert_eq!(server.1, vec![batch; asked]);
            let client = client.unwrap_err().to_string();
            assert!(client.contains(told) && !client.contains("/secret"), "{client}");
            if asked == 1 {
                assert_eq!(server.0.to_string(), objection().to_string());
            }
        }
    }

    #[test]
    fn asking_starts_nothing_and_tells_whether_a_plan_is_there() {
        let plan = tiny_plan();
        let mut other = plan.clone();
        other.provenance.compiler = "another".into();
        for (asked, found) in [(&plan, true), (&other, false)] {
            let (mut left, mut right) = channels();
            let (client, server) = std::thread::scope(|scope| {
                let plan = &plan;
                let server = scope.spawn(move || {
                    let arrival = Arrival::receive(&mut *right).unwrap();
                    assert!(arrival.asks_for_nothing());
                    arrival.answer(&mut *right, plan, LIMITS, &mut |_| panic!("nothing starts"), [2; 32]).is_err()
                });
                (ask(&mut *left, asked, [1; 32]), server.join().unwrap())
            });
            assert!(server);
            assert_eq!(client.is_ok(), found);
            match client {
                Ok(network) => assert!(network.is_some_and(|network| network.rtt_ms > 0.0 && network.mbit_per_s > 0.0)),
                Err(error) => assert!(error.to_string().contains("two different compilations"), "{error}"),
            }
        }
    }

    #[test]
    fn another_version_is_named() {
        let plan = tiny_plan();
        let (mut left, mut right) = channels();
        let mut hello = ClientHello { common: Common::new(&plan, [0; 32]), batch: BATCH, reveal: 1 }.encode();
        hello[8] = 7;
        left.send(Kind::Hello, hello).unwrap();
        let error = server(&mut *right, &plan, LIMITS, &mut |_| Ok(()), [2; 32]).unwrap_err().to_string();
        let told = format!("the client's is 7, the server's is {PROTOCOL_VERSION}");
        assert!(error.contains(&told), "{error}");
    }

    #[test]
    fn the_cost_is_what_is_sent() {
        let plan = tiny_plan();
        let (left, mut right) = channels();
        let (mut left, meter) = crate::transport::Metered::new(left);
        std::thread::scope(|scope| {
            scope.spawn(|| server(&mut *right, &plan, LIMITS, &mut |_| Ok(()), [2; 32]).unwrap());
            client(&mut left, &plan, BATCH, [1; 32]).unwrap();
        });
        let (traffic, cost) = (meter.read(), cost());
        assert_eq!(traffic.sent_bytes, cost.bytes(Party::Client));
        assert_eq!(traffic.received_bytes, cost.bytes(Party::Server));
        assert_eq!(traffic.rounds, cost.rounds());
    }
}
