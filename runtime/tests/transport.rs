//! The transport against peers that do not follow the protocol: raw bytes over real loopback
//! sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fusion_backends::{Channel, Error, Kind};
use fusion_runtime::transport::{ALIVE_EVERY, Connection, Lane, Link, tcp};

const OPTIONS: tcp::TcpOptions =
    tcp::TcpOptions { timeout: Duration::from_millis(200), tls: None, allow_plaintext: false };
const PATIENT: Duration = Duration::from_secs(60);
/// Room for what comes early on a lane.
const AHEAD: u64 = 1 << 10;

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let raw = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, raw)
}

/// A connection and the raw socket at its other end.
fn against_raw(timeout: Duration) -> (Connection, TcpStream) {
    let (socket, raw) = sockets();
    (tcp::open(socket, timeout).unwrap(), raw)
}

fn channel(connection: &mut Connection, lane: Lane) -> Box<dyn Channel> {
    connection.open(lane, AHEAD).unwrap()
}

/// The control lanes of two parties.
fn pair() -> (Box<dyn Channel>, Box<dyn Channel>) {
    let (left, right) = sockets();
    let [left, right] = [left, right].map(|socket| channel(&mut tcp::open(socket, PATIENT).unwrap(), Lane::CONTROL));
    (left, right)
}

fn frame_on(lane: Lane, payload: &[u8], kind: Kind, sequence: u16) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes.extend([kind as u8, lane.index() as u8]);
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn frame(payload: &[u8], kind: Kind, sequence: u16) -> Vec<u8> {
    frame_on(Lane::CONTROL, payload, kind, sequence)
}

/// What receiving a 4-byte hello gives after the peer has sent `bytes` and hung up.
fn receive_after(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let (mut connection, mut raw) = against_raw(PATIENT);
    raw.write_all(bytes).unwrap();
    raw.shutdown(Shutdown::Write).unwrap();
    channel(&mut connection, Lane::CONTROL).receive(Kind::Hello, 4)
}

fn misbehaviour(result: Result<Vec<u8>, Error>) -> String {
    match result {
        Err(Error::PeerMisbehaved(text)) => text,
        other => panic!("expected misbehaviour, got {other:?}"),
    }
}

fn failure(result: Result<Vec<u8>, Error>) -> String {
    match result {
        Err(Error::Io(error)) => error.to_string(),
        other => panic!("expected a failed connection, got {other:?}"),
    }
}

#[test]
fn a_slow_reader_gets_what_was_sent_last_and_shows_life_meanwhile() {
    let (mut connection, mut raw) = against_raw(PATIENT);
    // More than the system holds of what nobody reads.
    let payload = vec![7; 32 << 20];
    channel(&mut connection, Lane::CONTROL).send(Kind::Hello, payload.clone()).unwrap();
    let gone = std::thread::spawn(move || connection.see_off());
    let (mut received, mut sequence) = (Vec::<u8>::new(), 0u16);
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = raw.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        received.extend(&piece[..count]);
        // A sign of life.
        raw.write_all(&[&[0; 6][..], &sequence.to_le_bytes()].concat()).unwrap();
        sequence = sequence.wrapping_add(1);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(received.windows(payload.len()).any(|bytes| bytes == payload));
    // It stays until this side hangs up.
    std::thread::sleep(Duration::from_millis(200));
    assert!(!gone.is_finished());
    raw.write_all(&[&[0; 6][..], &sequence.to_le_bytes()].concat()).unwrap();
    drop(raw);
    gone.join().unwrap();
}

#[test]
fn an_expected_message_arrives() {
    assert_eq!(receive_after(&frame(b"abcd", Kind::Hello, 0)).unwrap(), b"abcd");
}

#[test]
fn garbage_is_refused() {
    assert_eq!(misbehaviour(receive_after(b"GET / HTTP/1.1\r\n\r\n")), "a message of unknown kind 47");
}

#[test]
fn an_oversized_frame_is_refused_before_its_payload_is_read() {
    // Only the header was sent: waiting for the payload would end in a hang-up or a stall instead.
    let header = &frame(b"", Kind::Hello, 0)[4..];
    let huge = [&u32::MAX.to_le_bytes(), header].concat();
    assert!(misbehaviour(receive_after(&huge)).contains("of 4294967295"));
}

#[test]
fn another_kind_is_refused() {
    let text = misbehaviour(receive_after(&frame(b"abcd", Kind::Reveal, 0)));
    assert_eq!(text, "expected Hello of 4 bytes, got Reveal of 4 bytes");
}

#[test]
fn an_out_of_order_frame_is_refused() {
    assert_eq!(misbehaviour(receive_after(&frame(b"abcd", Kind::Hello, 1))), "message 1 out of order: 0 was due");

    let (mut connection, mut raw) = against_raw(PATIENT);
    let mut control = channel(&mut connection, Lane::CONTROL);
    raw.write_all(&[frame(b"abcd", Kind::Hello, 0), frame(b"abcd", Kind::Hello, 0)].concat()).unwrap();
    control.receive(Kind::Hello, 4).unwrap();
    assert_eq!(misbehaviour(control.receive(Kind::Hello, 4)), "message 0 out of order: 1 was due");
}

#[test]
fn a_truncated_header_or_payload_is_a_hang_up() {
    let whole = frame(b"abcd", Kind::Hello, 0);
    for cut in [0, 3, 8, 11] {
        assert_eq!(failure(receive_after(&whole[..cut])), "the peer hung up", "{cut} bytes");
    }
}

#[test]
fn a_silent_peer_is_a_stall() {
    let (mut connection, mut raw) = against_raw(OPTIONS.timeout);
    raw.write_all(&frame(b"abcd", Kind::Hello, 0)[..10]).unwrap();
    let result = channel(&mut connection, Lane::CONTROL).receive(Kind::Hello, 4);
    assert_eq!(failure(result), "no data from the peer for 0.2 s");
}

#[test]
fn a_failure_on_one_lane_is_every_lanes() {
    let (mut connection, mut raw) = against_raw(PATIENT);
    let [mut one, mut other] = [0, 1].map(|stream| channel(&mut connection, Lane::layers(stream)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || (other.receive(Kind::Hello, 4), other));
        raw.write_all(&frame_on(Lane::layers(0), b"abc", Kind::Hello, 0)).unwrap();
        let text = "expected Hello of 4 bytes, got Hello of 3 bytes";
        assert_eq!(misbehaviour(one.receive(Kind::Hello, 4)), text);
        let (result, mut other) = waiting.join().unwrap();
        assert_eq!(misbehaviour(result), text);
        assert_eq!(misbehaviour(other.receive(Kind::Hello, 4)), text, "it stays so");
    });
}

#[test]
fn breaking_off_ends_every_lane_of_both_parties() {
    let (left, right) = sockets();
    let [mut left, mut right] = [left, right].map(|socket| tcp::open(socket, PATIENT).unwrap());
    let [mut here, mut there] = [&mut left, &mut right].map(|end| channel(end, Lane::layers(1)));
    std::thread::scope(|scope| {
        let here = scope.spawn(move || (failure(here.receive(Kind::Hello, 4)), here.send(Kind::Hello, vec![])));
        let there = scope.spawn(move || failure(there.receive(Kind::Hello, 4)));
        left.break_off();
        let (received, sent) = here.join().unwrap();
        assert_eq!(received, "the connection was broken off");
        assert!(sent.is_err());
        assert_eq!(there.join().unwrap(), "the peer hung up");
    });
}

#[test]
fn a_refusal_may_come_instead_of_anything() {
    match receive_after(&frame(b"no \x07thanks", Kind::Refusal, 0)) {
        Err(Error::PeerIncompatible(text)) => assert_eq!(text, "it refused: no \u{fffd}thanks"),
        other => panic!("{other:?}"),
    }
    let long = frame(&[b'x'; 2000], Kind::Refusal, 0);
    assert_eq!(misbehaviour(receive_after(&long)), "expected Hello of 4 bytes, got Refusal of 2000 bytes");
}

#[test]
fn sending_never_waits_for_the_peer_and_dropping_delivers_everything() {
    let (mut left, mut right) = pair();
    // More than the sockets' buffers hold, both ways, before either side receives.
    let payload: Vec<u8> = (0..8 << 20).map(|i: u32| (i % 251) as u8).collect();
    left.send(Kind::LinearUpload, payload.clone()).unwrap();
    right.send(Kind::LinearDownload, payload.clone()).unwrap();
    assert!(left.receive(Kind::LinearDownload, payload.len()).unwrap() == payload);
    let drain = std::thread::spawn(move || {
        let upload = right.receive(Kind::LinearUpload, 8 << 20).unwrap();
        let last = right.receive(Kind::Reveal, 2).unwrap();
        (upload, last, right.receive(Kind::Reveal, 2))
    });
    left.send(Kind::Reveal, b"ok".to_vec()).unwrap();
    drop(left);
    let (upload, last, end) = drain.join().unwrap();
    assert!(upload == payload && last == b"ok");
    assert_eq!(failure(end), "the peer hung up");
}

#[test]
fn sequence_numbers_wrap() {
    let (mut left, mut right) = pair();
    for round in 0..u32::from(u16::MAX) + 3 {
        left.send(Kind::Comparison, round.to_le_bytes().to_vec()).unwrap();
    }
    for round in 0..u32::from(u16::MAX) + 3 {
        assert_eq!(right.receive(Kind::Comparison, 4).unwrap(), round.to_le_bytes());
    }
}

#[test]
fn a_peer_that_takes_no_data_is_reported_by_a_later_call() {
    let (mut connection, mut raw) = against_raw(Duration::from_secs(2));
    let mut control = channel(&mut connection, Lane::CONTROL);
    // It shows that it is alive, and reads nothing.
    let mut alive = 0u16;
    let error = loop {
        raw.write_all(&[[0; 6].as_slice(), &alive.to_le_bytes()].concat()).unwrap();
        alive += 1;
        if let Err(error) = control.send(Kind::LinearUpload, vec![0; 1 << 20]) {
            break error;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(error.to_string().ends_with("the peer took no data for 2 s"), "{error}");
}

/// A link that takes 64 kB at a time, and its time.
struct Slow(TcpStream);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::thread::sleep(Duration::from_millis(30));
        self.0.write(&bytes[..bytes.len().min(1 << 16)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_peer_may_take_its_time_to_answer_what_is_still_on_its_way() {
    const BYTES: usize = 4 << 20;
    // The upload takes longer than the patience.
    let stall = Duration::from_millis(50);
    let (left, right) = sockets();
    let connect = |socket: TcpStream| Connection::new(socket.try_clone().unwrap(), Slow(socket), stall).unwrap();
    let [mut left, mut right] = [left, right].map(connect);
    let mut client = channel(&mut left, Lane::layers(0));
    let mut server = channel(&mut right, Lane::layers(0));
    let uploading = Instant::now();
    client.send(Kind::LinearUpload, vec![7; BYTES]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            server.receive(Kind::LinearUpload, BYTES).unwrap();
            server.send(Kind::LinearDownload, vec![1; 8]).unwrap();
        });
        assert_eq!(client.receive(Kind::LinearDownload, 8).unwrap(), [1; 8]);
    });
    assert!(uploading.elapsed() > stall * Connection::PATIENCE);
}

/// Sends `bytes` one after the other for ever, with signs of life between them, until the
/// connection is gone.
fn dribble(mut raw: TcpStream, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    let pause = Duration::from_millis(2);
    std::thread::spawn(move || {
        for piece in bytes.chunks(1) {
            if raw.write_all(piece).is_err() {
                return;
            }
            std::thread::sleep(pause);
        }
        for alive in (0..=u16::MAX).cycle() {
            if raw.write_all(&[[0; 6].as_slice(), &alive.to_le_bytes()].concat()).is_err() {
                return;
            }
            std::thread::sleep(pause);
        }
    })
}

#[test]
fn signs_of_life_alone_do_not_hold_a_party() {
    let stall = Duration::from_millis(300);
    for (lane, patience) in [(Lane::CONTROL, 2), (Lane::layers(0), Connection::PATIENCE)] {
        let (mut connection, raw) = against_raw(stall);
        let mut waiting = channel(&mut connection, lane);
        let peer = dribble(raw, Vec::new());
        let text = failure(waiting.receive(Kind::Hello, 4));
        let seconds = (patience * stall).as_secs_f64();
        assert_eq!(text, format!("the peer shows signs of life, but sent no message for {seconds} s"));
        drop((connection, waiting));
        peer.join().unwrap();
    }
}

#[test]
fn a_message_that_comes_in_drops_does_not_hold_a_party() {
    let (mut connection, raw) = against_raw(Duration::from_millis(300));
    let mut waiting = channel(&mut connection, Lane::layers(0));
    let peer = dribble(raw, frame_on(Lane::layers(0), &vec![0; 1 << 20], Kind::LinearUpload, 0));
    let text = failure(waiting.receive(Kind::LinearUpload, 1 << 20));
    assert_eq!(text, "the peer shows signs of life, but sent no message for 6 s");
    drop((connection, waiting));
    peer.join().unwrap();
}

#[test]
fn messages_of_one_lane_are_patience_for_all() {
    let stall = Duration::from_millis(300);
    let (left, right) = sockets();
    let [mut left, mut right] = [(left, stall), (right, PATIENT)].map(|(end, stall)| tcp::open(end, stall).unwrap());
    let [mut one, mut other] = [0, 1].map(|stream| channel(&mut right, Lane::layers(stream)));
    let mut waiting = channel(&mut left, Lane::layers(1));
    let mut fed = channel(&mut left, Lane::layers(0));
    let messages = 15 * Connection::PATIENCE;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..messages {
                std::thread::sleep(stall / 12);
                one.send(Kind::Comparison, vec![1]).unwrap();
            }
            other.send(Kind::Hello, b"late".to_vec()).unwrap();
            (one, other)
        });
        scope.spawn(move || (0..messages).for_each(|_| drop(fed.receive(Kind::Comparison, 1).unwrap())));
        assert_eq!(waiting.receive(Kind::Hello, 4).unwrap(), b"late");
    });
}

#[test]
fn the_wire_is_header_then_payload() {
    let (mut connection, mut raw) = against_raw(PATIENT);
    let [mut control, mut layers] = [Lane::CONTROL, Lane::layers(0)].map(|lane| channel(&mut connection, lane));
    control.send(Kind::Hello, b"ab".to_vec()).unwrap();
    layers.send(Kind::BaseOt, b"c".to_vec()).unwrap();
    layers.send(Kind::Reveal, b"".to_vec()).unwrap();
    drop((connection, control, layers));
    let mut bytes = Vec::new();
    raw.read_to_end(&mut bytes).unwrap();
    let expected: [&[u8]; 3] =
        [&[2, 0, 0, 0, 1, 0, 0, 0, b'a', b'b'], &[1, 0, 0, 0, 3, 1, 0, 0, b'c'], &[0, 0, 0, 0, 9, 1, 1, 0]];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn a_busy_party_shows_that_it_is_there() {
    let (mut left, mut right) = {
        let (left, right) = sockets();
        (tcp::open(left, 8 * ALIVE_EVERY).unwrap(), tcp::open(right, 8 * ALIVE_EVERY).unwrap())
    };
    let [mut one, mut other] = [&mut left, &mut right].map(|end| channel(end, Lane::CONTROL));
    // Longer than either would wait in silence.
    std::thread::sleep(10 * ALIVE_EVERY);
    one.send(Kind::Hello, b"late".to_vec()).unwrap();
    assert_eq!(other.receive(Kind::Hello, 4).unwrap(), b"late");
}

#[test]
fn lanes_do_not_wait_for_each_other() {
    let (left, right) = sockets();
    let [mut left, mut right] = [left, right].map(|socket| tcp::open(socket, PATIENT).unwrap());
    let lanes = [0, 1].map(Lane::layers);
    let [mut here, mut there] = [&mut left, &mut right].map(|end| lanes.map(|lane| channel(end, lane)));
    for round in 0..3u8 {
        here[0].send(Kind::Comparison, vec![round]).unwrap();
        here[1].send(Kind::Reveal, vec![round, round]).unwrap();
    }
    // The other way round than sent.
    for round in 0..3u8 {
        assert_eq!(there[1].receive(Kind::Reveal, 2).unwrap(), [round, round]);
    }
    for round in 0..3u8 {
        assert_eq!(there[0].receive(Kind::Comparison, 1).unwrap(), [round]);
    }
}

#[test]
fn a_lane_that_waits_gets_more_than_the_room_for_what_comes_early() {
    let (mut connection, mut raw) = against_raw(PATIENT);
    let mut control = channel(&mut connection, Lane::CONTROL);
    let payload = vec![7; 100 * AHEAD as usize];
    raw.write_all(&frame(&payload, Kind::LinearUpload, 0)).unwrap();
    assert!(control.receive(Kind::LinearUpload, payload.len()).unwrap() == payload);
}

#[test]
fn lanes_that_do_not_exist_are_refused() {
    let mut bytes = frame(b"abcd", Kind::Hello, 0);
    bytes[5] = Lane::COUNT as u8;
    let unknown = format!("a message on unknown lane {}", Lane::COUNT);
    assert_eq!(misbehaviour(receive_after(&bytes)), unknown);
    bytes[4] = 0;
    assert_eq!(misbehaviour(receive_after(&bytes)), unknown);
    bytes[5] = 0;
    assert_eq!(misbehaviour(receive_after(&bytes)), "a sign of life of 4 bytes on the control lane");
}

/// The process's resident memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// What waiting on the control lane gives while the peer sends `message` on another lane without
/// end, and how much it got rid of.
fn flooded(lane: Lane, open: bool, message: fn(u16) -> Vec<u8>) -> (String, usize) {
    let (mut connection, mut raw) = against_raw(Duration::from_secs(1));
    let mut control = channel(&mut connection, Lane::CONTROL);
    let _other = open.then(|| channel(&mut connection, lane));
    let sent = std::thread::spawn(move || {
        let mut sent = 0;
        for sequence in (0..=u16::MAX).cycle() {
            let message = message(sequence);
            if raw.write_all(&message).is_err() {
                break;
            }
            sent += message.len();
        }
        sent
    });
    let text = misbehaviour(control.receive(Kind::Hello, 4));
    drop((connection, control, _other));
    (text, sent.join().unwrap())
}

#[test]
fn a_flood_on_a_lane_that_nobody_reads_stays_in_the_network() {
    let before = resident_bytes();
    let expected = |lane: usize| format!("it is far ahead on lane {lane}, and sends nothing on the control lane");
    for open in [true, false] {
        let large = |sequence| frame_on(Lane::layers(0), &[0; 1 << 9], Kind::Comparison, sequence);
        let (text, sent) = flooded(Lane::layers(0), open, large);
        assert_eq!(text, expected(1));
        // What the sockets' buffers hold, which the system bounds.
        assert!(sent < 64 << 20, "{sent}");
        // Messages of no bytes are bounded by their number.
        let (text, _) =
            flooded(Lane::layers(1), open, |sequence| frame_on(Lane::layers(1), b"", Kind::Reveal, sequence));
        assert_eq!(text, expected(Lane::layers(1).index()));
    }
    assert!(resident_bytes() - before.min(resident_bytes()) < 64 << 20);
}

#[test]
fn a_message_that_is_only_announced_takes_no_memory() {
    let (mut connection, mut raw) = against_raw(PATIENT);
    let _control = channel(&mut connection, Lane::CONTROL);
    let mut layers = connection.open(Lane::layers(0), 1 << 30).unwrap();
    let before = resident_bytes();
    let header = frame_on(Lane::layers(0), b"", Kind::Comparison, 0);
    raw.write_all(&[&(1u32 << 29).to_le_bytes(), &header[4..]].concat()).unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(100) {
        assert!(resident_bytes() < before + (128 << 20));
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(raw);
    assert_eq!(failure(layers.receive(Kind::Comparison, 1 << 29)), "the peer hung up");
}

#[test]
fn a_lane_is_opened_once() {
    let (mut connection, _raw) = against_raw(PATIENT);
    let _first = channel(&mut connection, Lane::layers(0));
    let error = connection.open(Lane::layers(0), AHEAD).err().unwrap();
    assert!(error.to_string().contains("lane 1 is open already"), "{error}");
}

#[test]
fn plaintext_stays_on_loopback_unless_allowed() {
    let text = tcp::listen("0.0.0.0:0", &OPTIONS).unwrap_err().to_string();
    assert!(
        text.contains("0.0.0.0:0 is not a loopback address") && text.contains("neither encrypted nor authenticated"),
        "{text}"
    );
    assert!(tcp::listen("0.0.0.0:0", &tcp::TcpOptions { allow_plaintext: true, ..OPTIONS }).is_ok());
    assert_eq!(tcp::connect("192.0.2.1:9", &OPTIONS).err().unwrap().exit_code(), 2);
    assert_eq!(tcp::connect("nonsense", &OPTIONS).err().unwrap().exit_code(), 2);
}

#[test]
fn connecting_gives_up_at_the_deadline() {
    // Bound and dropped: a port where nobody listens.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = tcp::connect(&address.to_string(), &OPTIONS).err().unwrap();
    assert!(error.to_string().contains("cannot connect to 127.0.0.1"), "{error}");
    assert_eq!(error.exit_code(), 4);
}
