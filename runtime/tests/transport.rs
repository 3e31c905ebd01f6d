//! The transport against peers that do not follow the protocol: raw bytes over real loopback sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use fusion_backends::{Channel, Error, Kind};
use fusion_runtime::transport::{Connection, tcp};

const OPTIONS: tcp::TcpOptions = tcp::TcpOptions { timeout: Duration::from_millis(200), allow_plaintext: false };

/// A connection and the raw socket at its other end.
fn against_raw() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let raw = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (tcp::open(listener.accept().unwrap().0, OPTIONS).unwrap(), raw)
}

fn frame(payload: &[u8], kind: Kind, sequence: u16) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes.extend((kind as u16).to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// What receiving a 4-byte hello gives after the peer has sent `bytes` and hung up.
fn receive_after(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let (mut connection, mut raw) = against_raw();
    raw.write_all(bytes).unwrap();
    raw.shutdown(Shutdown::Write).unwrap();
    connection.receive(Kind::Hello, 4)
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
fn an_expected_message_arrives() {
    assert_eq!(receive_after(&frame(b"abcd", Kind::Hello, 0)).unwrap(), b"abcd");
}

#[test]
fn garbage_is_refused() {
    assert_eq!(misbehaviour(receive_after(b"GET / HTTP/1.1\r\n\r\n")), "a message of unknown kind 8239");
}

#[test]
fn an_oversized_frame_is_refused_before_its_payload_is_read() {
    // Only the header was sent: waiting for the payload would end in a hang-up or a stall instead.
    let header = &frame(b"", Kind::Hello, 0)[4..];
    let huge = [&u32::MAX.to_le_bytes(), header].concat();
    assert_eq!(misbehaviour(receive_after(&huge)), "expected Hello of 4 bytes, got Hello of 4294967295");
}

#[test]
fn another_kind_is_refused() {
    let text = misbehaviour(receive_after(&frame(b"abcd", Kind::Reveal, 0)));
    assert_eq!(text, "expected Hello of 4 bytes, got Reveal of 4");
}

#[test]
fn an_out_of_order_frame_is_refused() {
    assert_eq!(misbehaviour(receive_after(&frame(b"abcd", Kind::Hello, 1))), "message 1 out of order: 0 was due");

    let (mut connection, mut raw) = against_raw();
    raw.write_all(&[frame(b"abcd", Kind::Hello, 0), frame(b"abcd", Kind::Hello, 0)].concat()).unwrap();
    connection.receive(Kind::Hello, 4).unwrap();
    assert_eq!(misbehaviour(connection.receive(Kind::Hello, 4)), "message 0 out of order: 1 was due");
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
    let (mut connection, mut raw) = against_raw();
    raw.write_all(&frame(b"abcd", Kind::Hello, 0)[..10]).unwrap();
    assert_eq!(failure(connection.receive(Kind::Hello, 4)), "no data from the peer for 0.2 s");
}

#[test]
fn a_failed_connection_stays_failed() {
    let (mut connection, mut raw) = against_raw();
    raw.write_all(&[frame(b"abc", Kind::Hello, 0), frame(b"abcd", Kind::Hello, 1)].concat()).unwrap();
    misbehaviour(connection.receive(Kind::Hello, 4));
    assert_eq!(failure(connection.receive(Kind::Hello, 4)), "the connection has already failed");
    assert!(connection.send(Kind::Hello, vec![]).is_err());
}

#[test]
fn a_refusal_may_come_instead_of_anything() {
    match receive_after(&frame(b"no \x07thanks", Kind::Refusal, 0)) {
        Err(Error::PeerIncompatible(text)) => assert_eq!(text, "it refused: no \u{fffd}thanks"),
        other => panic!("{other:?}"),
    }
    let long = frame(&[b'x'; 2000], Kind::Refusal, 0);
    assert_eq!(misbehaviour(receive_after(&long)), "expected Hello of 4 bytes, got Refusal of 2000");
}

#[test]
fn sending_never_waits_for_the_peer_and_dropping_delivers_everything() {
    let (mut left, raw) = against_raw();
    let mut right = tcp::open(raw, OPTIONS).unwrap();
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
    let (mut left, raw) = against_raw();
    let mut right = tcp::open(raw, OPTIONS).unwrap();
    for round in 0..u32::from(u16::MAX) + 3 {
        left.send(Kind::Comparison, round.to_le_bytes().to_vec()).unwrap();
    }
    for round in 0..u32::from(u16::MAX) + 3 {
        assert_eq!(right.receive(Kind::Comparison, 4).unwrap(), round.to_le_bytes());
    }
}

#[test]
fn a_peer_that_takes_no_data_is_reported_by_a_later_call() {
    let (mut connection, raw) = against_raw();
    let error = loop {
        if let Err(error) = connection.send(Kind::LinearUpload, vec![0; 1 << 20]) {
            break error;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(error.to_string().ends_with("the peer took no data for 0.2 s"), "{error}");
    drop(raw);
}

#[test]
fn the_wire_is_header_then_payload() {
    let (mut connection, mut raw) = against_raw();
    connection.send(Kind::Hello, b"ab".to_vec()).unwrap();
    connection.send(Kind::Reveal, b"".to_vec()).unwrap();
    drop(connection);
    let mut bytes = Vec::new();
    raw.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [2, 0, 0, 0, 1, 0, 0, 0, b'a', b'b', 0, 0, 0, 0, 9, 0, 1, 0]);
}

#[test]
fn plaintext_stays_on_loopback_unless_allowed() {
    let text = tcp::listen("0.0.0.0:0", OPTIONS).unwrap_err().to_string();
    assert!(text.contains("0.0.0.0:0 is not a loopback address") && text.contains("--allow-plaintext"), "{text}");
    assert!(tcp::listen("0.0.0.0:0", tcp::TcpOptions { allow_plaintext: true, ..OPTIONS }).is_ok());
    assert_eq!(tcp::connect("192.0.2.1:9", OPTIONS).err().unwrap().exit_code(), 2);
    assert_eq!(tcp::connect("nonsense", OPTIONS).err().unwrap().exit_code(), 2);
}

#[test]
fn connecting_gives_up_at_the_deadline() {
    // Bound and dropped: a port where nobody listens.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = tcp::connect(&address.to_string(), OPTIONS).err().unwrap();
    assert!(error.to_string().contains("cannot connect to 127.0.0.1"), "{error}");
    assert_eq!(error.exit_code(), 4);
}
