//! The handshake: one [hello](super::hello) each way, then both parties know that they execute the
//! same plan on the same batch.
//!
//! The session id, under which every protocol separates its hashes, is SHA-256 over both hellos;
//! the nonces make it fresh if either party is honest. The server learns the number of positions,
//! not how many queries, copies and public samples it is made of. A server that does not like the
//! client's hello sends a refusal that says why, instead of its own.

use fusion_backends::{Channel, Error, Kind};
use fusion_catalogue::{Cost, Keys, Schedule};
use fusion_estimate::Network;
use fusion_ir::{Party, Plan};
use sha2::{Digest, Sha256};

use super::batch::{BatchSize, EMPTY, Limits, Offline};
use super::hello::{CLIENT_HELLO_BYTES, ClientHello, Common, SERVER_HELLO_BYTES, reveal_code};
use super::probe;
use crate::transport::frame::encode_refusal;

/// Room for what may come early on the control lane: a hello, or a refusal.
pub const CONTROL_AHEAD_BYTES: u64 = 1 << 12;

/// Decides whether a session of the size that the client asks for may start, and records it if so.
/// It is called once for a session, after every other check of the handshake has passed.
pub type Admission<'a> = dyn FnMut(BatchSize) -> Result<(), crate::Error> + 'a;

/// What a finished handshake leaves with each party: the same at both. Nothing else makes one, so
/// nothing else starts a session:
///
/// ```compile_fail,E0451
/// # use fusion_runtime::session::{Agreement, BatchSize};
/// # fn without_a_peer(size: BatchSize) {
/// let agreement = Agreement { session_id: [0; 32], size };
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    session_id: [u8; 32],
    size: BatchSize,
}

impl Agreement {
    /// The batch, as the client asked for it and the server accepted it.
    pub fn size(&self) -> BatchSize {
        self.size
    }

    /// The id of one stream of micro-batches: to the protocols each is a session of its own.
    pub fn stream_id(&self, stream: usize) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"fusion stream id\0")
            .chain_update(self.session_id)
            .chain_update([stream as u8])
            .finalize()
            .into()
    }
}

/// The handshake's messages.
pub fn cost() -> Cost {
    let mut cost = Cost::default();
    cost.send(Party::Client, CLIENT_HELLO_BYTES as u64);
    cost.send(Party::Server, SERVER_HELLO_BYTES as u64);
    cost
}

/// The client's side.
///
/// # Errors
/// [`Error::PeerIncompatible`] if the server refuses or holds another plan, and whatever the
/// channel gives.
pub fn client(channel: &mut dyn Channel, plan: &Plan, batch: BatchSize, nonce: [u8; 32]) -> Result<Agreement, Error> {
    let hello = ClientHello { common: Common::new(plan, nonce), batch, reveal: reveal_code(plan) }.encode();
    channel.send(Kind::Hello, hello.clone())?;
    let answer = channel.receive(Kind::Hello, SERVER_HELLO_BYTES)?;
    let mut rest = &answer[..];
    Common::decode(&mut rest)?.check(plan, Party::Server)?;
    Ok(Agreement { session_id: session_id(&hello, &answer), size: batch })
}

/// Asks a server whether it holds `plan`, by a hello for no positions in no streams: it lets the
/// client measure the network, then refuses, and says why. Nothing starts and nothing is spent. The
/// network is `None` if the server has no time for that.
///
/// # Errors
/// As [`client`], if it refuses for another reason.
pub fn ask(channel: &mut dyn Channel, plan: &Plan, nonce: [u8; 32]) -> Result<Option<Network>, Error> {
    ask_for(0, channel, plan, nonce)
}

/// As [`ask`], without measuring the network.
///
/// # Errors
/// As [`ask`].
pub fn reach(channel: &mut dyn Channel, plan: &Plan, nonce: [u8; 32]) -> Result<(), Error> {
    ask_for(1, channel, plan, nonce).map(drop)
}

/// Asks for no positions in so many streams: in none is a wish to measure.
fn ask_for(streams: u8, channel: &mut dyn Channel, plan: &Plan, nonce: [u8; 32]) -> Result<Option<Network>, Error> {
    let schedule = Schedule { positions: 0, micro_batch: 1, streams };
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

/// The server's side. `admission` is called last, with a batch that is within `limits`; the session
/// that it allows counts as started.
///
/// # Errors
/// As [`Arrival::receive`] and [`Arrival::answer`].
pub fn server(
    channel: &mut dyn Channel,
    plan: &Plan,
    limits: Limits,
    admission: &mut Admission<'_>,
    nonce: [u8; 32],
) -> Result<Agreement, crate::Error> {
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
    /// and answers.
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
    ) -> Result<Agreement, crate::Error> {
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
        Ok(Agreement { session_id: session_id(&self.bytes, &answer), size: batch })
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
        _ => "this server cannot serve anyone at the moment: try again later",
    };
    // The session is over: whether the refusal still arrives changes nothing here.
    let _ = channel.send(Kind::Refusal, encode_refusal(reason));
}

/// A fresh nonce from the operating system.
pub fn nonce() -> Result<[u8; 32], getrandom::Error> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

fn session_id(client: &[u8], server: &[u8]) -> [u8; 32] {
    // Both hellos have a fixed length, so their concatenation is unambiguous.
    Sha256::new().chain_update(b"fusion session id\0").chain_update(client).chain_update(server).finalize().into()
}

#[cfg(test)]
mod tests {
    use fusion_catalogue::ot::Choice;

    use super::super::hello::{PROTOCOL_VERSION, hex};
    use super::*;
    use crate::testing::{channels, tiny_plan};

    const LIMITS: Limits = Limits { positions: 100, micro_batch: 16, streams: 1, ahead: 16 };
    const OFFLINE: Offline = Offline { choice: Choice::Silent, ahead: false };
    const SCHEDULE: Schedule = Schedule { positions: 100, micro_batch: 16, streams: 1 };
    const BATCH: BatchSize = BatchSize { schedule: SCHEDULE, offline: OFFLINE, keys: Keys::Layer };

    type Outcome<T> = Result<T, Error>;

    fn shake(client_plan: &Plan, server_plan: &Plan, batch: BatchSize) -> (Outcome<Agreement>, Outcome<Agreement>) {
        let (mut left, mut right) = channels();
        std::thread::scope(|scope| {
            let server =
                scope.spawn(move || match server(&mut *right, server_plan, LIMITS, &mut |_| Ok(()), [2; 32]) {
                    Ok(agreement) => {
                        assert_eq!(agreement.size(), batch);
                        Ok(agreement)
                    }
                    Err(crate::Error::Peer(error)) => Err(error),
                    Err(error) => panic!("{error}"),
                });
            (client(&mut *left, client_plan, batch, [1; 32]), server.join().unwrap())
        })
    }

    #[test]
    fn honest_parties_agree() {
        let plan = tiny_plan();
        for keys in Keys::ALL {
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

    /// They take more memory, so what a server does at once is bounded by itself.
    #[test]
    fn more_layers_ahead_than_the_server_has_room_for_are_refused() {
        let plan = tiny_plan();
        for (keys, ahead, refused) in [
            (Keys::Ahead, 15, Some("micro-batches of at most 15 with layers ahead")),
            (Keys::Ahead, 0, Some("micro-batches of at most 0 with layers ahead")),
            (Keys::Ahead, 16, None),
            (Keys::Layer, 0, None),
        ] {
            let (mut left, mut right) = channels();
            let limits = Limits { ahead, ..LIMITS };
            let (client, server) = std::thread::scope(|scope| {
                let server = scope.spawn(|| server(&mut *right, &plan, limits, &mut |_| Ok(()), [2; 32]));
                (client(&mut *left, &plan, BatchSize { keys, ..BATCH }, [1; 32]), server.join().unwrap())
            });
            match refused {
                None => assert_eq!(client.unwrap(), server.unwrap()),
                Some(why) => {
                    let [client, server] = [client.unwrap_err().to_string(), server.unwrap_err().to_string()];
                    assert!(client.contains(why) && server.contains(why), "{client}; {server}");
                }
            }
        }
    }

    #[test]
    fn another_version_is_named() {
        let plan = tiny_plan();
        let (mut left, mut right) = channels();
        let mut hello = ClientHello { common: Common::new(&plan, [0; 32]), batch: BATCH, reveal: 1 }.encode();
        let other = PROTOCOL_VERSION + 1;
        hello[8] = other as u8;
        left.send(Kind::Hello, hello).unwrap();
        let error = server(&mut *right, &plan, LIMITS, &mut |_| Ok(()), [2; 32]).unwrap_err().to_string();
        let told = format!("the client's is {other}, the server's is {PROTOCOL_VERSION}");
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
