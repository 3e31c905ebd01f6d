//! Peers that hang up, stall, send garbage, or break the framing at some moment of a session: exit
//! code 4 on whichever side is let down, and nothing written.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use fusion_backends::Kind;
use fusion_tests::desk::Desk;

use crate::relay::{Act, To, relay};

/// Both ends of a session in the middle of which a relay meddles; the side that meets it says
/// `phrase`, within its timeout if it is starved. The other side is told, at the latest, by the
/// connection's end.
fn meddled(desk: &Desk, to: To, kind: Kind, act: Act, phrase: &str) {
    let (server_flags, client_flags): (&[&str], _) = match (act, to) {
        (Act::Stall, To::Server) => (&["--timeout", "1"], ""),
        (Act::Stall, To::Client) => (&[], "--timeout 1"),
        _ => (&[], ""),
    };
    let server = desk.serve(server_flags);
    let address = relay(&server.address, to, kind, act);
    let context = format!("{act:?} of {kind:?} to {to:?}");
    let client = desk.client_refuses(4, &address, client_flags, &[]);
    let greeted = !(kind == Kind::Hello && to == To::Server);
    if !greeted {
        // Who says no hello is no client, and the next one is served.
        let next = desk.client(&server.address, "");
        assert_eq!(next.code, 0, "{context}: {next:?}");
        ["labels.csv", "r.json"].iter().for_each(|name| std::fs::remove_file(desk.path(name)).unwrap());
    }
    let (code, server) = server.finish();
    // Who has sent its last message cannot know what becomes of it.
    let done = kind == Kind::Reveal && to == To::Client;
    assert!(code == Some(4) || (done || !greeted) && code == Some(0), "{context}: {code:?} {server}");
    let (met, other) = if to == To::Client { (&client.err, &server) } else { (&server, &client.err) };
    assert!(met.contains(phrase), "{context}: {phrase:?} is missing: {met}");
    assert!(done || other.contains("the peer hung up") || other.contains("refused"), "{context}: {other}");
    for text in [&client.err, &server] {
        assert!(!text.contains("panicked"), "{context}: {text}");
    }
}

#[test]
fn a_connection_that_ends_at_any_moment_ends_both_sides() {
    let desk = Desk::new();
    for kind in [Kind::Hello, Kind::BaseOt, Kind::LinearDownload, Kind::Comparison, Kind::Reveal] {
        meddled(&desk, To::Client, kind, Act::HangUp, "the peer hung up");
    }
    for kind in [Kind::Hello, Kind::OtExtension, Kind::PublicKeys, Kind::LinearUpload, Kind::Comparison] {
        meddled(&desk, To::Server, kind, Act::HangUp, "the peer hung up");
    }
}

#[test]
fn a_peer_that_stalls_is_given_up() {
    let desk = Desk::new();
    meddled(&desk, To::Client, Kind::Hello, Act::Stall, "no data from the peer for 1 s");
    meddled(&desk, To::Client, Kind::LinearDownload, Act::Stall, "no data from the peer for 1 s");
    meddled(&desk, To::Server, Kind::Comparison, Act::Stall, "no data from the peer for 1 s");
}

#[test]
fn frames_of_wrong_size_kind_or_order_are_refused_at_any_moment() {
    let desk = Desk::new();
    let oversized = Act::Header(|header| header[..4].copy_from_slice(&u32::MAX.to_le_bytes()));
    let unknown = Act::Header(|header| header[4] = 99);
    let another = Act::Header(|header| header[4] = Kind::PublicKeys as u8);
    let elsewhere = Act::Header(|header| header[5] = 200);
    let disordered = Act::Header(|header| header[6] = header[6].wrapping_add(1));
    for (to, kinds) in
        [(To::Client, [Kind::Hello, Kind::LinearDownload]), (To::Server, [Kind::Hello, Kind::LinearUpload])]
    {
        for kind in kinds {
            for (act, phrase) in [
                (oversized, "4294967295"),
                (unknown, "a message of unknown kind 99"),
                (another, "got PublicKeys"),
                (elsewhere, "a message on unknown lane 200"),
                (disordered, "out of order"),
            ] {
                meddled(&desk, to, kind, act, phrase);
            }
        }
    }
    meddled(&desk, To::Client, Kind::Reveal, oversized, "4294967295 bytes");
}

/// A client against a server that is no Fusion server but does `act` with the connection.
fn against(desk: &Desk, act: impl FnOnce(TcpStream) + Send, phrases: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        scope.spawn(move || act(listener.accept().unwrap().0));
        desk.client_refuses(4, &address, "--timeout 1", phrases);
    });
}

/// Sends `bytes` after the first byte of the client's hello, and keeps the connection until the
/// client is gone.
fn answer(bytes: &[u8]) -> impl FnOnce(TcpStream) {
    move |mut socket| {
        socket.read_exact(&mut [0]).unwrap();
        // It may hang up before it has read everything.
        let _ = socket.write_all(bytes).and_then(|()| socket.read_to_end(&mut Vec::new()));
    }
}

/// Bytes without a pattern.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 7u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn servers_that_are_none_are_left() {
    let desk = Desk::new();
    against(&desk, drop, &["the peer hung up"]);
    against(&desk, |socket| socket.shutdown(Shutdown::Write).unwrap(), &["the peer hung up"]);
    against(&desk, answer(b""), &["no data from the peer for 1 s"]);
    against(&desk, answer(&[82, 0, 0]), &["no data from the peer for 1 s"]);
    against(&desk, answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), &["the peer broke the protocol", "unknown kind"]);
    against(&desk, answer(b"SSH-2.0-OpenSSH_9.9\r\n"), &["the peer broke the protocol"]);
    against(&desk, answer(&noise(1 << 16)), &["the peer broke the protocol"]);
    // A hello of the right form that is not Fusion's.
    let alien = [&[74, 0, 0, 0, 1, 0, 0, 0][..], &[b'x'; 74]].concat();
    against(&desk, answer(&alien), &["the peer's hello is not Fusion's"]);
    // A refusal may say why, but not take over the terminal.
    let refusal = [&[10, 0, 0, 0, 2, 0, 0, 0][..], b"no\x1b[2Jmore"].concat();
    against(&desk, answer(&refusal), &["it refused: no\u{fffd}[2Jmore"]);
}

#[test]
fn nobody_listening_is_said_with_the_address() {
    let desk = Desk::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let quick = desk.client_refuses(4, &free, "--timeout 1", &[&format!("cannot connect to {free}")]);
    assert!(!quick.err.contains("waiting"), "{quick:?}");
    // Who is waited for is said after two seconds.
    let waits = format!("waiting for a server at {free}, up to 3 seconds in all (--timeout)");
    desk.client_refuses(4, &free, "--timeout 3", &[&waits, &format!("cannot connect to {free}")]);
    let quiet = desk.client_refuses(4, &free, "--timeout 3 --quiet", &[]);
    assert!(!quiet.err.contains("waiting"), "{quiet:?}");
}

#[test]
fn clients_that_are_none_end_the_servers_session_only() {
    let desk = Desk::new();
    let before = desk.files();
    let strangers: [(&[u8], &str); 6] = [
        (b"", "the peer hung up"),
        (&[88, 0, 0], "the peer hung up"),
        (b"GET / HTTP/1.1\r\n\r\n", "a message of unknown kind"),
        (&[255, 255, 255, 255, 1, 0, 0, 0], "expected Hello of"),
        (&[88, 0, 0, 0, 1, 0, 3, 0], "out of order"),
        (&[9, 0, 0, 0, 9, 0, 0, 0], "got Reveal of 9"),
    ];
    let server = desk.serve(&["--hello-timeout", "1"]);
    for (bytes, _) in strangers {
        let mut socket = TcpStream::connect(&server.address).unwrap();
        socket.write_all(bytes).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        // The server may answer with a refusal; then it hangs up.
        let _ = socket.read_to_end(&mut Vec::new());
    }
    // One that connects and says nothing is given up too.
    let mut silent = TcpStream::connect(&server.address).unwrap();
    silent.read_to_end(&mut Vec::new()).unwrap();
    // None of them was a client. The first one is served, and nobody waits for one who is silent.
    let _silent = TcpStream::connect(&server.address).unwrap();
    let client = desk.client(&server.address, "");
    assert_eq!(client.code, 0, "{client:?}");
    let (code, error) = server.finish();
    assert_eq!(code, Some(0), "{error}");
    for (_, why) in strangers {
        assert!(error.contains(why), "{why}: {error}");
    }
    assert!(error.contains("no hello within 1 s") && !error.contains("panicked"), "{error}");
    for name in ["labels.csv", "r.json"] {
        std::fs::remove_file(desk.path(name)).unwrap();
    }
    desk.unchanged("server", &before);
}

#[test]
fn batches_beyond_the_servers_limits_are_refused_on_both_sides_with_the_limit() {
    let desk = Desk::new();
    for (flags, why) in [
        (["--max-positions", "5"], "this server takes at most 5"),
        (["--micro-batch", "1"], "this server takes micro-batches of at most 1"),
    ] {
        let server = desk.serve(&flags);
        desk.client_refuses(4, &server.address, "", &["it refused: ", why]);
        let (code, error) = server.finish();
        assert_eq!(code, Some(4), "{error}");
        assert!(error.contains(why), "{error}");
    }
}
