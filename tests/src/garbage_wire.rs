//! Bytes from an adversary where a connection begins: frames and handshakes. Targets of `fuzz/`,
//! and of the tests that run them on mutations of good input.

use std::io::Cursor;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use fusion_backends::{Channel, Error, Kind};
use fusion_ir::{Plan, text};
use fusion_runtime::session::{BatchSize, Limits, handshake};
use fusion_runtime::transport::{Connection, Lane, Link};

use crate::garbage;

/// What the server of [`handshake`] accepts.
const LIMITS: Limits = Limits { positions: 100, micro_batch: 16, streams: 2, ahead: 4 };

/// Any stream is taken apart into frames that were asked for, or refused. The first byte says what
/// is asked for on each lane.
pub fn frames(bytes: &[u8]) {
    // A frame for which there is no room waits for its lane, and the other lanes wait for this
    // long.
    frames_within(bytes, Duration::from_millis(1));
}

/// [`frames`] with a peer that may stall for `stall`. Returns how many frames were taken.
pub fn frames_within(bytes: &[u8], stall: Duration) -> usize {
    let Some((&choice, stream)) = bytes.split_first() else { return 0 };
    let reader = Cursor::new(stream.to_vec());
    let mut connection = Connection::new(reader, std::io::sink(), stall).expect("there are threads");
    let mut channels: Vec<_> =
        lanes().map(|lane| connection.open(lane, 64).expect("each lane is opened once")).collect();
    let (mut taken, size) = (0, usize::from(choice >> 4));
    for (at, channel) in channels.iter_mut().enumerate() {
        // Every frame takes bytes of the stream, so this ends.
        loop {
            match channel.receive(kind(choice, at), size) {
                Ok(payload) => assert_eq!(payload.len(), size),
                Err(error) => break assert!(!error.to_string().is_empty()),
            }
            taken += 1;
        }
    }
    taken
}

fn lanes() -> impl Iterator<Item = Lane> {
    (0..Lane::COUNT).filter_map(|index| Lane::from_index(index as u8))
}

/// None is a refusal, which may come instead of any other.
fn kind(choice: u8, lane: usize) -> Kind {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Refusal).collect();
    kinds[(usize::from(choice) + lane) % kinds.len()]
}

/// A stream of frames that are all asked for, behind their first byte: good input to mutate.
pub fn good_frames() -> Vec<u8> {
    let (sender, written) = channel();
    let mut connection = Connection::new(std::io::empty(), Recorder(sender), Duration::MAX).expect("there are threads");
    // Sizes of 3.
    let choice = 0x34u8;
    for (at, lane) in lanes().enumerate() {
        let mut channel = connection.open(lane, 64).expect("each lane is opened once");
        // Whether the reader has met the end already makes no difference to what is written.
        let _ = channel.send(kind(choice, at), vec![at as u8; usize::from(choice >> 4)]);
    }
    drop(connection);
    [vec![choice], written.iter().flatten().collect()].concat()
}

struct Recorder(Sender<Vec<u8>>);

impl std::io::Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Any hello is refused as the peer's fault, or opens a session within the limits; for the client
/// only its own plan's does.
pub fn handshake(bytes: &[u8]) {
    let plan = plan();
    let admission = &mut |_| Ok(());
    match handshake::server(&mut Fixed::new(bytes), &plan, LIMITS, admission, [1; 32]) {
        Ok(agreement) => {
            let schedule = agreement.size().schedule;
            assert!((1..=LIMITS.positions).contains(&schedule.positions));
            assert!((1..=LIMITS.micro_batch).contains(&schedule.micro_batch));
            assert!((1..=LIMITS.streams).contains(&schedule.streams));
            assert!(bytes.windows(32).any(|window| window == plan.digest()));
        }
        Err(error) => assert!(matches!(error, fusion_runtime::Error::Peer(_)) && !error.to_string().is_empty()),
    }
    let size = size(&plan);
    match handshake::client(&mut Fixed::new(bytes), &plan, size, [2; 32]) {
        Ok(_) => assert!(bytes.windows(32).any(|window| window == plan.digest())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Both parties' hellos: good input to mutate.
pub fn good_hellos() -> [Vec<u8>; 2] {
    let plan = plan();
    let size = size(&plan);
    let mut client = Fixed::new(&[]);
    let _ = handshake::client(&mut client, &plan, size, [3; 32]);
    let client = client.sent();
    let mut server = Fixed::new(&client);
    handshake::server(&mut server, &plan, LIMITS, &mut |_| Ok(()), [4; 32]).expect("it is a client's hello");
    [client, server.sent()]
}

fn size(plan: &Plan) -> BatchSize {
    let steps = fusion_runtime::resolve(&plan.function).expect("the protocols carry the plan");
    fusion_runtime::Flow::default().size(&steps, 10).expect("the plan is small")
}

fn plan() -> Plan {
    let function = text::parse(
        "function \"tiny\"\nweight @w0 \"w\" : i12.4[3,2]\n\
         v0 = input : i20.4~9[2] by local \"x\"\n\
         v1 = dense v0, @w0 : i20.8~18[3] by cheetah \"scores\"\n\
         v2 = argmax v1 : i3.0~2+[1] by cheetah \"label\"\n\
         v3 = fusion.reveal v2 what=label : i3.0~2+[1] by cheetah \"label\"\n",
    );
    let payload = garbage::public_section(function.expect("the text is well-formed"));
    Plan::from_bytes(&garbage::sealed(&payload)).expect("the plan is a good one")
}

/// A channel on which the same bytes come whatever is asked for, as many as are asked for.
struct Fixed {
    bytes: Vec<u8>,
    sent: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
}

impl Fixed {
    fn new(bytes: &[u8]) -> Fixed {
        Fixed { bytes: bytes.to_vec(), sent: channel() }
    }

    /// The first message that was sent.
    fn sent(&self) -> Vec<u8> {
        self.sent.1.try_recv().expect("a message was sent")
    }
}

impl Channel for Fixed {
    fn send(&mut self, _: Kind, payload: Vec<u8>) -> Result<(), Error> {
        let _ = self.sent.0.send(payload);
        Ok(())
    }

    fn receive(&mut self, _: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        let mut payload = self.bytes.clone();
        payload.resize(payload_bytes, 0);
        Ok(payload)
    }
}
